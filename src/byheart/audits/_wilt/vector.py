"""A rule over whole columns of numbers, with numpy, to the bit what Python gives point by point.

Each point has Python's value or has raised what Python raises; `and`, `or`, chains, `all` and `any`
narrow the set of points that are still being evaluated, so that an error counts only where Python
would have reached it. What numpy does another way (powers, logarithms: the last digit
differs between processors) is computed by Python's own functions, element by element. Where
types differ from point to point, or a list's length does, the scalar form takes over.
"""

from __future__ import annotations

import ast
import functools
import math
import operator
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from byheart.audits._wilt import scalar
from byheart.audits._wilt.bounds import BINARY, COMPARE, UNARY, to_range
from byheart.audits._wilt.language import LIMITS, Function, callee
from byheart.core.errors import BudgetExceeded

__all__ = ["evaluate", "evaluate_plain"]

Value = Any
"""A Python number (the same at every point), an array ``[N]``, a list, a tuple, or a `_Set` of them."""

_EXACT = 2**53
_INT64 = 2**62


class _Leave(Exception):
    """The columns cannot carry this; the scalar form can."""


class _Set(list[Any]):
    """Elements of a set, repeats included."""


def evaluate(
    function: Function, columns: Sequence[np.ndarray], work: scalar.Work | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Values and where it raised; see `Function.over`."""
    columns = [np.asarray(c) for c in columns]
    work = work or scalar.Work(LIMITS.total)
    if len(columns[0]) and len({c.dtype.kind for c in columns}) == 1:
        try:
            with np.errstate(all="ignore"):
                return _Columns(function, columns).run()
        except _Leave:
            pass
    return evaluate_plain(function, list(zip(*(c.tolist() for c in columns), strict=True)), work)


def evaluate_plain(
    function: Function, points: Sequence[tuple[float, ...]], work: scalar.Work | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The same one point after the other; the documentation of `evaluate`, and its way out.

    Raises:
        BudgetExceeded: A number or the work grows past the limits.
    """
    work = work or scalar.Work(LIMITS.total)
    values = np.empty(len(points), dtype=object)
    raised = np.zeros(len(points), dtype=bool)
    call = function._compiled
    for i, point in enumerate(points):
        try:
            values[i] = call(*point, work=work)
        except BudgetExceeded:
            raise
        except _ERRORS:
            values[i], raised[i] = False, True
    return values, raised


_ERRORS = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, RecursionError)
"""What Python raises from an expression of this language."""


class _Columns:
    """One evaluation."""

    def __init__(self, function: Function, columns: Sequence[np.ndarray]) -> None:
        self.function, self.n = function, len(columns[0])
        self.raised = np.zeros(self.n, dtype=bool)
        self.work = 2_000_000_000  # array elements; a second or two
        if function.star or function.defaults or len(columns) != len(function.params):
            raise _Leave
        self.env: dict[str, Value] = dict(zip(function.params, columns, strict=True))

    def run(self) -> tuple[np.ndarray, np.ndarray]:
        value = self.eval(self.function.body, self.env, np.ones(self.n, dtype=bool))
        if isinstance(value, np.ndarray):
            return value, self.raised
        if isinstance(value, bool | int | float) and not _huge(value):
            return np.full(self.n, value), self.raised
        raise _Leave

    # every method takes the points at which Python would be evaluating this node

    def eval(self, node: ast.expr, env: dict[str, Value], active: np.ndarray) -> Value:
        self.work -= self.n
        if self.work < 0:
            raise _Leave
        if isinstance(node, ast.Constant):
            return node.value
        if isinstance(node, ast.Name):
            return env[node.id]
        if isinstance(node, ast.BoolOp):
            return self._bool(node, env, active)
        if isinstance(node, ast.UnaryOp):
            return self._unary(node, env, active)
        if isinstance(node, ast.BinOp):
            a, b = self.eval(node.left, env, active), self.eval(node.right, env, active)
            return self._binary(type(node.op), a, b, active)
        if isinstance(node, ast.Compare):
            return self._compare(node, env, active)
        if isinstance(node, ast.IfExp):
            return self._choice(node, env, active)
        if isinstance(node, ast.Tuple | ast.List | ast.Set):
            items = self._items(node.elts, env, active)
            kind = {ast.Tuple: tuple, ast.List: list, ast.Set: _Set}[type(node)]
            return kind(items)
        if isinstance(node, ast.Subscript):
            return self._subscript(node, env, active)
        if isinstance(node, ast.ListComp):
            return [value for _, value in self._loop(node, env, active, whole=True)]
        if isinstance(node, ast.Attribute):
            return getattr(math, node.attr)
        if isinstance(node, ast.Call):
            return self._call(node, env, active)
        raise _Leave

    def fail(self, where: np.ndarray | bool, active: np.ndarray) -> None:
        self.raised |= active & where

    def _bool(self, node: ast.BoolOp, env: dict[str, Value], active: np.ndarray) -> Value:
        going = isinstance(node.op, ast.And)
        value = self.eval(node.values[0], env, active)
        for part in node.values[1:]:
            truth = _truth(value)
            if isinstance(truth, bool):
                if truth is not going:
                    return value
                value = self.eval(part, env, active)
                continue
            on = truth if going else ~truth
            active = active & on
            value = _select(on, self.eval(part, env, active), value)
        return value

    def _choice(self, node: ast.IfExp, env: dict[str, Value], active: np.ndarray) -> Value:
        truth = _truth(self.eval(node.test, env, active))
        if isinstance(truth, bool):
            return self.eval(node.body if truth else node.orelse, env, active)
        yes = self.eval(node.body, env, active & truth)
        return _select(truth, yes, self.eval(node.orelse, env, active & ~truth))

    def _unary(self, node: ast.UnaryOp, env: dict[str, Value], active: np.ndarray) -> Value:
        value = self.eval(node.operand, env, active)
        if isinstance(node.op, ast.Not):
            truth = _truth(value)
            return not truth if isinstance(truth, bool) else ~truth
        if not isinstance(value, np.ndarray):
            return self._static(UNARY[type(node.op)], (value,), active)
        value = _whole(value)
        if isinstance(node.op, ast.USub):
            return -value
        if isinstance(node.op, ast.UAdd):
            return value
        if value.dtype.kind == "f":
            self.fail(True, active)
            return value
        return ~value

    def _static(
        self, call: Callable[..., Any], args: Sequence[Value], active: np.ndarray, **words: Any
    ) -> Value:
        """Python's own call, where nothing depends on the point."""
        try:
            value = call(*args, **words)
        except BudgetExceeded:
            raise _Leave from None  # Python may never reach it; the scalar form knows
        except _ERRORS:
            self.fail(True, active)
            return False
        if isinstance(value, complex):
            raise _Leave
        return value

    def _compare(self, node: ast.Compare, env: dict[str, Value], active: np.ndarray) -> Value:
        left = self.eval(node.left, env, active)
        value: Value = True
        for op, part in zip(node.ops, node.comparators, strict=True):
            right = self.eval(part, env, active)
            now = self._compared(type(op), left, right, active)
            truth = _truth(value)
            value = now if truth is True else _select(np.broadcast_to(truth, self.n), now, value)
            truth = _truth(value)
            if truth is False:
                return value
            if not isinstance(truth, bool):
                active = active & truth
            left = right
        return value

    def _compared(self, op: type[ast.cmpop], a: Value, b: Value, active: np.ndarray) -> Value:
        if op in (ast.In, ast.NotIn):
            if not isinstance(b, list | tuple):
                raise _Leave
            found: Value = False
            for item in b:
                if isinstance(item, list | tuple) or isinstance(a, list | tuple):
                    raise _Leave
                found = _or(found, _equal(a, item))
            if op is ast.In:
                return found
            return not found if isinstance(found, bool) else ~found
        if isinstance(a, list | tuple) or isinstance(b, list | tuple):
            if op not in (ast.Eq, ast.NotEq):
                raise _Leave
            same = _same_items(a, b)
            if op is ast.Eq:
                return same
            return not same if isinstance(same, bool) else ~same
        if not isinstance(a, np.ndarray) and not isinstance(b, np.ndarray):
            return self._static(COMPARE[op], (a, b), active)
        if a is None or b is None:
            if op in (ast.Eq, ast.NotEq):
                return op is ast.NotEq
            self.fail(True, active)
            return False
        _comparable(a, b)
        return COMPARE[op](a, b)

    def _binary(self, op: type[ast.operator], a: Value, b: Value, active: np.ndarray) -> Value:
        array_a, array_b = isinstance(a, np.ndarray), isinstance(b, np.ndarray)
        if not array_a and not array_b:
            if isinstance(a, _Set) or isinstance(b, _Set):
                raise _Leave
            return self._static(BINARY[op], (a, b), active)
        if not all(isinstance(v, np.ndarray | int | float) for v in (a, b)):
            raise _Leave
        a, b = _whole(a), _whole(b)
        floats = _is_float(a) or _is_float(b)
        if op in (ast.BitAnd, ast.BitOr, ast.BitXor):
            if floats:
                self.fail(True, active)
                return False
            _fits(a, b)
            return BINARY_ARRAY[op](a, b)
        if op in (ast.LShift, ast.RShift, ast.Pow):
            return self._power(op, a, b, active)
        if floats:
            if _is_float(a) != _is_float(b):
                _comparable(a, b)
        elif op is ast.Div:
            if max(_largest(a), _largest(b)) > _EXACT:
                raise _Leave
        elif op is ast.Mult:
            if _largest(a) * _largest(b) >= _INT64:
                raise _Leave
        elif _largest(a) + _largest(b) >= _INT64:
            raise _Leave
        if op in (ast.Div, ast.FloorDiv, ast.Mod):
            zero = np.broadcast_to(np.asarray(b == 0), self.n)
            if zero.any():
                self.fail(zero, active)
                b = np.where(zero, 1, b)
        return BINARY_ARRAY[op](a, b)

    def _power(self, op: type[ast.operator], a: Value, b: Value, active: np.ndarray) -> Value:
        whole = op is ast.Pow and not _is_float(a) and isinstance(b, int)
        if whole and 0 <= b < 64 and _largest(a) ** b < _INT64:
            return np.asarray(a, dtype=np.int64) ** b
        # a float's power is not held back: it cannot grow past a float
        call = operator.pow if op is ast.Pow and (_is_float(a) or _is_float(b)) else BINARY[op]
        return self._each(call, (a, b), active)

    def _each(
        self, call: Callable[..., Any], args: Sequence[Value], active: np.ndarray, **words: Any
    ) -> Value:
        """Python's own function at every point that is being evaluated."""
        if not all(isinstance(a, np.ndarray | int | float) for a in args):
            raise _Leave
        if not any(isinstance(a, np.ndarray) for a in args):
            return self._static(call, args, active, **words)
        self.work -= 20 * self.n
        at = np.flatnonzero(active & ~self.raised)
        # whole numbers repeat on a grid: each combination is computed once
        first, back = _distinct_rows([a[at] for a in args if isinstance(a, np.ndarray)])
        rows = at if first is None else at[first]
        lists = [
            a[rows].tolist() if isinstance(a, np.ndarray) else [a] * len(rows) for a in args
        ]  # fmt: skip
        out: list[Any] = []
        bad = np.zeros(len(rows), dtype=bool)
        try:  # as a rule nothing raises
            out = list(map(functools.partial(call, **words) if words else call, *lists))
        except (BudgetExceeded, *_ERRORS):
            out = []
            for i, v in enumerate(zip(*lists, strict=True)):
                try:
                    out.append(call(*v, **words))
                except BudgetExceeded:
                    raise _Leave from None
                except _ERRORS:
                    bad[i] = True
                    out.append(None)
        kinds = set(map(type, out)) - {type(None)}
        if kinds == {float}:
            some = np.zeros(len(rows))
        elif kinds == {bool} or not kinds:
            some = np.zeros(len(rows), dtype=bool)
        elif kinds <= {int, bool} and all(v is None or abs(v) < _INT64 for v in out):
            some = np.zeros(len(rows), dtype=np.int64)
        else:
            raise _Leave
        some[:] = [0 if v is None else v for v in out] if bad.any() else out
        if back is not None:
            some, bad = some[back], bad[back]
        self.raised[at[bad]] = True
        result = np.zeros(self.n, dtype=some.dtype)
        result[at] = some
        return result

    def _items(
        self, nodes: Sequence[ast.expr], env: dict[str, Value], active: np.ndarray
    ) -> list[Value]:
        out: list[Value] = []
        for node in nodes:
            if isinstance(node, ast.Starred):
                out.extend(_sequence(self.eval(node.value, env, active)))
            else:
                out.append(self.eval(node, env, active))
        return out

    def _subscript(self, node: ast.Subscript, env: dict[str, Value], active: np.ndarray) -> Value:
        value = self.eval(node.value, env, active)
        if not isinstance(value, list | tuple) or isinstance(value, _Set):
            raise _Leave
        if isinstance(node.slice, ast.Slice):
            ends = [
                None if e is None else self.eval(e, env, active)
                for e in (node.slice.lower, node.slice.upper, node.slice.step)
            ]
            if not all(e is None or isinstance(e, int) for e in ends):
                raise _Leave
            return self._static(value.__getitem__, (slice(*ends),), active)
        index = self.eval(node.slice, env, active)
        if not isinstance(index, int):
            raise _Leave
        return self._static(value.__getitem__, (index,), active)

    # loops

    def _loop(
        self,
        node: ast.ListComp | ast.GeneratorExp | ast.SetComp,
        env: dict[str, Value],
        active: np.ndarray,
        *,
        whole: bool = False,
        stop: list[np.ndarray] | None = None,
        level: int = 0,
    ) -> Iterator[tuple[np.ndarray, Value]]:
        """Where each element takes part, and its value. `whole` refuses elements that take part at
        some points only. `stop[0]` is narrowed by the consumer as points are done."""
        part = node.generators[level]
        env = dict(env)
        for item in _sequence(self.eval(part.iter, env, active)):
            _bind(part.target, item, env)
            on = active if stop is None else active & stop[0]
            for condition in part.ifs:
                truth = _truth(self.eval(condition, env, on))
                if isinstance(truth, bool):
                    on = on if truth else np.zeros(self.n, dtype=bool)
                    if not truth:
                        break
                else:
                    if whole:
                        raise _Leave
                    on = on & truth
            else:
                if level + 1 < len(node.generators):
                    yield from self._loop(node, env, on, whole=whole, stop=stop, level=level + 1)
                else:
                    yield on, self.eval(node.elt, env, on)

    def _all_any(self, name: str, node: ast.expr, env: dict[str, Value], active: np.ndarray) -> Any:
        """all and any; over a generator they stop, point by point, where Python stops."""
        every = name == "all"
        going = np.ones(self.n, dtype=bool)
        if isinstance(node, ast.GeneratorExp):
            stop = [going]
            for on, value in self._loop(node, env, active, stop=stop):
                truth = _truth(value)
                stop[0] = stop[0] & ~(on & (~_wide(truth, self.n) if every else truth))
            return stop[0] if every else ~stop[0]
        if isinstance(node, ast.ListComp):
            for on, value in self._loop(node, env, active):
                truth = _truth(value)
                going = going & ~(on & (~_wide(truth, self.n) if every else truth))
            return going if every else ~going
        if isinstance(node, ast.Call) and callee(node.func) in ("map", "filter"):
            if callee(node.func) == "filter":
                raise _Leave
            return self._mapped(every, node, env, active)
        for value in _sequence(self.eval(node, env, active)):
            truth = _wide(_truth(value), self.n)
            going = going & (truth if every else ~truth)
        return going if every else ~going

    def _mapped(
        self, every: bool, node: ast.Call, env: dict[str, Value], active: np.ndarray
    ) -> Any:
        """all or any over map, which is as lazy as a generator."""
        going = np.ones(self.n, dtype=bool)
        lists = [_sequence(self.eval(a, env, active)) for a in node.args[1:]]
        for values in zip(*lists, strict=False):
            result = self._apply(node.args[0], list(values), env, active & going)
            truth = _wide(_truth(result), self.n)
            going = going & (truth if every else ~truth)
        return going if every else ~going

    def _counted(self, node: ast.GeneratorExp | ast.ListComp, env: dict[str, Value],
                 active: np.ndarray) -> Value:  # fmt: skip
        """Sum of a comprehension; elements may take part at some points only."""
        total: Value = 0
        for on, value in self._loop(node, env, active):
            if not isinstance(value, np.ndarray | int | float):
                raise _Leave
            added = self._binary(ast.Add, total, value, on)
            total = added if on is active else _select(on, added, total)
        return total

    def _length(self, node: ast.ListComp, env: dict[str, Value], active: np.ndarray) -> Value:
        count = np.zeros(self.n, dtype=np.int64)
        for on, _ in self._loop(node, env, active):
            count += on
        return count

    # calls

    def _call(self, node: ast.Call, env: dict[str, Value], active: np.ndarray) -> Value:
        name, args = callee(node.func), node.args
        words = {w.arg or "": w.value for w in node.keywords}
        if name in ("all", "any") and len(args) == 1 and not words:
            return self._all_any(name, args[0], env, active)
        if name == "isinstance":
            return self._isinstance(args, env, active)
        loop = args[0] if len(args) == 1 and not words else None
        if name == "sum" and isinstance(loop, ast.GeneratorExp | ast.ListComp):
            return self._counted(loop, env, active)
        if name == "len" and isinstance(loop, ast.ListComp):
            return self._length(loop, env, active)
        if name == "map" and len(args) > 1 and not words:
            lists = [_sequence(self.eval(a, env, active)) for a in args[1:]]
            return [
                self._apply(args[0], list(v), env, active) for v in zip(*lists, strict=False)
            ]  # fmt: skip
        if name == "filter" or "key" in words:
            raise _Leave
        given: list[Value] = []
        for arg in args:
            if isinstance(arg, ast.GeneratorExp):
                given.append([v for _, v in self._loop(arg, env, active, whole=True)])
            else:
                given += self._items([arg], env, active)
        if name == ".is_integer":
            assert isinstance(node.func, ast.Attribute)
            given = [self.eval(node.func.value, env, active), *given]
        return self._named(name, given, active, **{k: self.eval(v, env, active) for k, v in words.items()})  # fmt: skip

    def _apply(
        self, function: ast.expr, values: list[Value], env: dict[str, Value], active: np.ndarray
    ) -> Value:
        """A function handed to map, at one element."""
        if isinstance(function, ast.Lambda):
            names = [p.arg for p in (*function.args.posonlyargs, *function.args.args)]
            if len(names) != len(values):
                self.fail(True, active)
                return False
            return self.eval(
                function.body, {**env, **dict(zip(names, values, strict=True))}, active
            )
        return self._named(callee(function), values, active)

    def _isinstance(
        self, args: Sequence[ast.expr], env: dict[str, Value], active: np.ndarray
    ) -> bool:
        value = self.eval(args[0], env, active)
        some = args[1].elts if isinstance(args[1], ast.Tuple) else [args[1]]
        asked = {t.id for t in some if isinstance(t, ast.Name)}
        if isinstance(value, list | tuple | type(None)):
            return False
        kind = value.dtype.kind if isinstance(value, np.ndarray) else type(value).__name__[0]
        if kind == "b" and isinstance(value, np.ndarray) and "int" not in asked:
            raise _Leave  # whole numbers and truth values share a column
        if kind == "i" and isinstance(value, np.ndarray) and "bool" in asked:
            raise _Leave
        return bool(asked & {"i": {"int"}, "f": {"float"}, "b": {"int", "bool"}}[kind])

    def _named(self, name: str, given: list[Value], active: np.ndarray, **words: Value) -> Value:
        """A call whose arguments are known."""
        plain = not words and len(given) == 1
        one = given[0] if plain else None
        if name in ("min", "max") and not words:
            items = _sequence(one) if plain and isinstance(one, list | tuple) else given
            if len(items) and (len(given) > 1 or isinstance(one, list | tuple)):
                return self._extreme(name, items)
            raise _Leave
        if name == "range":
            if words or not all(isinstance(v, int) for v in given):
                raise _Leave
            some = self._static(to_range, given, active)
            return list(some) if isinstance(some, range) and len(some) <= 500 else _leave()
        if plain and isinstance(one, list | tuple):
            return self._of_sequence(name, one, active)
        if name in ("zip", "enumerate") and not words:
            lists = [_sequence(v) for v in given[: 1 if name == "enumerate" else None]]
            if name == "enumerate":
                return [(i, v) for i, v in enumerate(lists[0])] if plain else _leave()
            return list(zip(*lists, strict=False))
        if plain and isinstance(one, np.ndarray):
            fast = self._of_array(name, one, active)
            if fast is not None:
                return fast
        if name == "math.gcd" and not words and len(given) == 2:
            a, b = (_whole(v) for v in given)
            if not _is_float(a) and not _is_float(b):
                _fits(a, b)
                return np.gcd(a, b)
        if any(isinstance(v, list | tuple | type(None)) for v in (*given, *words.values())):
            raise _Leave
        if any(isinstance(v, np.ndarray) for v in words.values()) or name not in scalar._CALLS:
            raise _Leave
        if name in ("divmod", "all", "any", "set", "sorted", "sum", "list", "tuple", "reversed"):
            raise _Leave
        return self._each(scalar._CALLS[name], given, active, **words)

    def _of_sequence(self, name: str, items: Value, active: np.ndarray) -> Value:
        if isinstance(items, _Set) and name != "len":
            raise _Leave
        if name == "len":
            return self._distinct(items) if isinstance(items, _Set) else len(items)
        if name in ("list", "tuple", "set"):
            if any(isinstance(v, list) for v in items) and name == "set":
                raise _Leave
            return {"list": list, "tuple": tuple, "set": _Set}[name](items)
        if name == "sum":
            total: Value = 0
            for value in items:
                if not isinstance(value, np.ndarray | int | float):
                    raise _Leave
                total = self._binary(ast.Add, total, value, active)
            return total
        if name == "reversed":
            return list(items)[::-1]
        if name == "bool":
            return len(items) > 0
        if name == "sorted":
            return self._sorted(items)
        if name == "enumerate":
            return list(enumerate(items))
        if name == "zip":
            return [(v,) for v in items]
        raise _Leave

    def _of_array(self, name: str, a: np.ndarray, active: np.ndarray) -> Value:
        """What numpy does exactly as Python does; None where there is no such thing."""
        if name == "bool":
            return a != 0
        if name == "float":
            if a.dtype.kind == "i" and _largest(a) > _EXACT:
                return None
            return a.astype(np.float64)
        a = _whole(a)
        if name == "abs":
            return np.abs(a)
        if a.dtype.kind == "i":
            return a if name in ("int", "round", "math.floor", "math.ceil", "math.trunc") else None
        step = {"int": np.trunc, "math.trunc": np.trunc, "math.floor": np.floor,
                "math.ceil": np.ceil, "round": np.rint}.get(name)  # fmt: skip
        if step is not None:
            bad = ~np.isfinite(a)
            if bad.any():
                self.fail(bad, active)
                a = np.where(bad, 0.0, a)
            if np.abs(a[active], dtype=float).max(initial=0.0) >= _INT64:
                raise _Leave
            return step(np.where(active, a, 0.0)).astype(np.int64)
        if name == "math.sqrt":
            bad = a < 0
            self.fail(bad, active)
            return np.sqrt(np.where(bad, 0.0, a))
        if name == "math.fabs":
            return np.abs(a)
        if name in (".is_integer", "float.is_integer"):
            return np.isfinite(a) & (np.floor(a) == a)
        return None

    def _extreme(self, name: str, items: Sequence[Value]) -> Value:
        best, *rest = items
        for value in rest:
            if not all(isinstance(v, np.ndarray | int | float) for v in (best, value)):
                raise _Leave
            if not isinstance(best, np.ndarray) and not isinstance(value, np.ndarray):
                best = max(best, value) if name == "max" else min(best, value)
                continue
            _comparable(best, value)
            best = _select(value > best if name == "max" else value < best, value, best)
        return best

    def _distinct(self, items: Sequence[Value]) -> Value:
        count: Value = 0
        for i, value in enumerate(items):
            if isinstance(value, list | tuple):
                raise _Leave
            known: Value = False
            for other in items[:i]:
                known = _or(known, _equal(value, other))
            count = count + (1 - _whole(known))
        return count

    def _sorted(self, items: Sequence[Value]) -> Value:
        if not all(isinstance(v, np.ndarray | int | float) for v in items):
            raise _Leave
        if not any(isinstance(v, np.ndarray) for v in items):
            return sorted(items)
        if len({_is_float(_whole(v)) for v in items}) > 1:
            raise _Leave
        whole = np.stack([np.broadcast_to(np.asarray(_whole(v)), self.n) for v in items])
        if whole.dtype.kind == "O" or (whole.dtype.kind == "f" and np.isnan(whole).any()):
            raise _Leave
        return list(np.sort(whole, axis=0, kind="stable"))


BINARY_ARRAY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: np.add, ast.Sub: np.subtract, ast.Mult: np.multiply, ast.Div: np.true_divide,
    ast.FloorDiv: np.floor_divide, ast.Mod: np.mod, ast.BitAnd: np.bitwise_and,
    ast.BitOr: np.bitwise_or, ast.BitXor: np.bitwise_xor,
}  # fmt: skip


def _distinct_rows(columns: list[np.ndarray]) -> tuple[np.ndarray | None, np.ndarray | None]:
    """One index of each combination, and for each row which combination it is; None where they are
    not few. Floats are left as they are: minus zero equals zero."""
    size, key = 1, None
    for column in columns:
        if not len(column) or column.dtype.kind == "f":
            return None, None
        low, high = int(column.min()), int(column.max())
        size *= high - low + 1
        if size > len(column):
            return None, None
        part = column.astype(np.int64) - low
        key = part if key is None else key * (high - low + 1) + part
    assert key is not None
    first = np.full(size, -1)
    first[key] = np.arange(len(key))
    present = np.flatnonzero(first >= 0)
    number = np.zeros(size, dtype=np.int64)
    number[present] = np.arange(len(present))
    return first[present], number[key]


def _leave() -> Any:
    raise _Leave


def _sequence(value: Value) -> list[Any] | tuple[Any, ...]:
    if isinstance(value, _Set) or not isinstance(value, list | tuple):
        raise _Leave
    return value


def _bind(target: ast.expr, value: Value, env: dict[str, Value]) -> None:
    if isinstance(target, ast.Name):
        env[target.id] = value
        return
    assert isinstance(target, ast.Tuple | ast.List)
    values = _sequence(value)
    if len(values) != len(target.elts):
        raise _Leave
    for part, each in zip(target.elts, values, strict=True):
        _bind(part, each, env)


def _truth(value: Value) -> Any:
    if isinstance(value, np.ndarray):
        return value if value.dtype == bool else value != 0
    return bool(value)


def _wide(truth: Any, n: int) -> np.ndarray:
    return np.broadcast_to(np.asarray(truth, dtype=bool), n)


def _whole(value: Value) -> Value:
    """Truth values as the whole numbers that they are in arithmetic."""
    if isinstance(value, np.ndarray):
        return value.astype(np.int64) if value.dtype == bool else value
    return int(value) if isinstance(value, bool) else value


def _is_float(value: Value) -> bool:
    return value.dtype.kind == "f" if isinstance(value, np.ndarray) else isinstance(value, float)


def _huge(value: Value) -> bool:
    return isinstance(value, int) and abs(value) >= _INT64


def _largest(value: Value) -> int:
    if isinstance(value, np.ndarray):
        return max(abs(int(value.min())), abs(int(value.max())))
    return abs(value) if isinstance(value, int) else 0


def _fits(*values: Value) -> None:
    if any(_huge(v) for v in values):
        raise _Leave


def _comparable(a: Value, b: Value) -> None:
    """Refuse what numpy would compare or add inexactly: large whole numbers beside floats."""
    _fits(a, b)
    if _is_float(a) != _is_float(b):
        for value in (a, b):
            if not _is_float(value) and _largest(_whole(value)) > _EXACT:
                raise _Leave


def _equal(a: Value, b: Value) -> Any:
    """Equality as `in` and sets have it; identity comes first there, and NaN is itself."""
    if a is None or b is None:
        return a is b
    for value in (a, b):
        if _is_float(value) and bool(np.isnan(value).any()):
            raise _Leave
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        _comparable(a, b)
    return a == b


def _same_items(a: Value, b: Value) -> Any:
    if isinstance(a, _Set) or isinstance(b, _Set):
        raise _Leave
    if type(a) is not type(b) or len(a) != len(b):
        return False
    same: Any = True
    for left, right in zip(a, b, strict=True):
        nested = isinstance(left, list | tuple) or isinstance(right, list | tuple)
        equal = _same_items(left, right) if nested else _equal(left, right)
        same = (
            equal if same is True
            else same if equal is True
            else np.logical_and(same, equal)
        )  # fmt: skip
    return bool(same) if isinstance(same, bool | np.bool_) else same


def _or(a: Any, b: Any) -> Any:
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        return np.logical_or(a, b)
    return bool(a or b)


def _select(where: np.ndarray, yes: Value, no: Value) -> Value:
    """`yes` at some points, `no` at the others, if one column can hold both."""
    if not all(isinstance(v, np.ndarray | int | float) for v in (yes, no)):
        raise _Leave
    if _is_float(yes) != _is_float(no):
        raise _Leave
    _fits(yes, no)
    if not isinstance(where, np.ndarray):
        return yes if where else no
    return np.where(where, yes, no)
