"""A rule over whole columns of numbers, with numpy, to the bit what Python gives point by point.

Each point has Python's value or has raised what Python raises; `and`, `or`, chains, `all` and `any`
narrow the set of points that are still being evaluated, so that an error counts only where Python
would have reached it. What numpy does another way (powers, logarithms: the last digit
differs between processors) is computed by Python's own functions, element by element. Where
types differ from point to point, or a list's length does, the scalar form takes over.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from byheart.audits._wilt import scalar
from byheart.audits._wilt.bounds import to_range
from byheart.audits._wilt.columns import (
    _ERRORS,
    _EXACT,
    _INT64,
    Value,
    _bind,
    _comparable,
    _equal,
    _fits,
    _huge,
    _is_float,
    _largest,
    _Leave,
    _leave,
    _or,
    _select,
    _sequence,
    _Set,
    _truth,
    _whole,
    _wide,
)
from byheart.audits._wilt.language import LIMITS, Function, callee
from byheart.audits._wilt.operators import Operators
from byheart.core.errors import BudgetExceeded

__all__ = ["evaluate", "evaluate_plain"]


def evaluate(
    function: Function, columns: Sequence[np.ndarray], work: scalar.Work | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Values and where it raised; see `Function.over`."""
    columns = [np.asarray(c) for c in columns]
    work = work or scalar.Work(LIMITS.total)
    if len(columns[0]) and len({c.dtype.kind for c in columns}) == 1:
        try:
            with np.errstate(all="ignore"):
                return _Columns(function, columns, work).run()
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


class _Columns(Operators):
    """One evaluation."""

    def run(self) -> tuple[np.ndarray, np.ndarray]:
        value = self.eval(self.function.body, self.env, np.ones(self.n, dtype=bool))
        if isinstance(value, np.ndarray):
            return value, self.raised
        if isinstance(value, bool | int | float) and not _huge(value):
            return np.full(self.n, value), self.raised
        raise _Leave

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
                self._held(self._apply(args[0], list(v), env, active))
                for v in zip(*lists, strict=False)
            ]
        if name == "filter" or "key" in words:
            raise _Leave
        given: list[Value] = []
        for arg in args:
            if isinstance(arg, ast.GeneratorExp):
                given.append([self._held(v) for _, v in self._loop(arg, env, active, whole=True)])
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
            for item in items:
                self._held(item)
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
