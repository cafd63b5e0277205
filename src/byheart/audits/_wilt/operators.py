"""Operators, comparisons and choices over columns; see `byheart.audits._wilt.vector`."""

from __future__ import annotations

import ast
import functools
import math
import operator
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from byheart.audits._wilt import scalar
from byheart.audits._wilt.bounds import BINARY, COMPARE, UNARY
from byheart.audits._wilt.columns import (
    _ERRORS,
    _EXACT,
    _INT64,
    Value,
    _comparable,
    _distinct_rows,
    _equal,
    _fits,
    _is_float,
    _largest,
    _Leave,
    _or,
    _same_items,
    _select,
    _sequence,
    _Set,
    _truth,
    _whole,
)
from byheart.audits._wilt.language import LIMITS, Function
from byheart.core.errors import BudgetExceeded

__all__ = ["Operators"]

_HELD = 30_000_000
"""Numbers in columns that lists may hold, 240 MB: 435 columns over the grid."""

_ARGUMENTS = 8
"""Of a call that is made point by point, since each becomes a list of Python's numbers."""


class Operators:
    """One evaluation; calls and loops are added by `byheart.audits._wilt.vector`."""

    def __init__(
        self, function: Function, columns: Sequence[np.ndarray], clock: scalar.Work | None = None
    ) -> None:
        self.clock, self.room = clock or scalar.Work(LIMITS.total), _HELD
        self.function, self.n = function, len(columns[0])
        self.raised = np.zeros(self.n, dtype=bool)
        self.work = 2_000_000_000  # array elements; a second or two
        if function.star or function.defaults or len(columns) != len(function.params):
            raise _Leave
        self.env: dict[str, Value] = dict(zip(function.params, columns, strict=True))

    # every method takes the points at which Python would be evaluating this node

    def eval(self, node: ast.expr, env: dict[str, Value], active: np.ndarray) -> Value:
        self.work -= self.n
        if self.work < 0:
            raise _Leave
        self.clock.take(0)
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
            return [self._held(v) for _, v in self._loop(node, env, active, whole=True)]
        if isinstance(node, ast.Attribute):
            return getattr(math, node.attr)
        if isinstance(node, ast.Call):
            return self._call(node, env, active)
        raise _Leave

    def _held(self, value: Value) -> Value:
        """A value that stays in a list with others: columns are long, and lists of them large."""
        self.room -= self.n
        if self.room < 0:
            raise _Leave
        return value

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
        if len(args) > _ARGUMENTS:
            raise _Leave
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
        raise NotImplementedError

    def _call(self, node: ast.Call, env: dict[str, Value], active: np.ndarray) -> Value:
        raise NotImplementedError


BINARY_ARRAY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: np.add, ast.Sub: np.subtract, ast.Mult: np.multiply, ast.Div: np.true_divide,
    ast.FloorDiv: np.floor_divide, ast.Mod: np.mod, ast.BitAnd: np.bitwise_and,
    ast.BitOr: np.bitwise_or, ast.BitXor: np.bitwise_xor,
}  # fmt: skip
