"""Values of an evaluation over columns: what a column can hold, and when it has to give way."""

from __future__ import annotations

import ast
from typing import Any

import numpy as np

__all__ = ["Value"]

Value = Any
"""A Python number (the same at every point), an array ``[N]``, a list, a tuple, or a `_Set` of them."""

_EXACT = 2**53
_INT64 = 2**62


class _Leave(Exception):
    """The columns cannot carry this; the scalar form can."""


class _Set(list[Any]):
    """Elements of a set, repeats included."""


_ERRORS = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, RecursionError)
"""What Python raises from an expression of this language."""


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
