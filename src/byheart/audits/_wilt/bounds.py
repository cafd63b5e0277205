"""Arithmetic that cannot run away: Python's own results, refused where they grow past `LIMITS`."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Iterable
from typing import Any

from byheart.audits._wilt.language import LIMITS
from byheart.core.errors import BudgetExceeded

__all__ = ["BINARY", "COMPARE", "MATH_CALLS", "UNARY", "plain_sum", "rounded", "sized"]


def too_large(what: str) -> BudgetExceeded:
    """The error for whatever is larger than a rule may have it."""
    return BudgetExceeded(f"{what} is larger than a rule may have it")


def sized(value: Any) -> Any:
    """`value`, if it is no number or collection past the limits."""
    if isinstance(value, int):
        if value.bit_length() > LIMITS.bits:
            raise too_large("a whole number")
    elif isinstance(value, list | tuple | set) and len(value) > LIMITS.items:
        raise too_large("a list")
    return value


def _times(a: Any, b: Any) -> Any:
    for some, n in ((a, b), (b, a)):
        if isinstance(some, list | tuple) and isinstance(n, int) and len(some) * n > LIMITS.items:
            raise too_large("a list")
    return sized(a * b)


def _power(a: Any, b: Any) -> Any:
    if isinstance(a, int) and isinstance(b, int) and b > 0 and abs(a) > 1:  # noqa: SIM102
        if a.bit_length() * b > 2 * LIMITS.bits:
            raise too_large("a power")
    return sized(a**b)


def _left(a: Any, b: Any) -> Any:
    if isinstance(a, int) and isinstance(b, int) and b > LIMITS.bits:
        raise too_large("a shift")
    return sized(a << b)


BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: lambda a, b: sized(a + b),
    ast.Sub: operator.sub,
    ast.Mult: _times,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: _power,
    ast.LShift: _left,
    ast.RShift: operator.rshift,
    ast.BitAnd: operator.and_,
    ast.BitOr: operator.or_,
    ast.BitXor: operator.xor,
}

UNARY: dict[type[ast.unaryop], Callable[[Any], Any]] = {
    ast.Not: operator.not_,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
    ast.Invert: operator.invert,
}

COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda a, b: a in b,
    ast.NotIn: lambda a, b: a not in b,
}


def plain_sum(items: Iterable[Any], /, start: Any = 0) -> Any:
    """Sum from left to right. Python 3.12 and later add floats another way, in the last digit; rules
    mean the same under every Python."""
    total = start
    for item in items:
        total = sized(total + item)
    return total


def rounded(number: Any, ndigits: Any = None) -> Any:
    """`round`, which at a billion digits would fill the memory."""
    if isinstance(ndigits, int) and abs(ndigits) > 400:
        raise too_large("the number of digits")
    return round(number) if ndigits is None else sized(round(number, ndigits))


def to_int(number: Any = 0) -> int:
    """`int` of a number; of nothing else."""
    if isinstance(number, float | int):
        return int(number)
    raise TypeError(f"int() of a {type(number).__name__}")


def to_float(number: Any = 0.0) -> float:
    """`float` of a number; of nothing else."""
    if isinstance(number, float | int):
        return float(number)
    raise TypeError(f"float() of a {type(number).__name__}")


def to_range(*ends: int) -> range:
    """`range`, of bounded length."""
    some = range(*ends)
    if len(some) > 100_000:  # a float is looked for in a range one by one
        raise too_large("a range")
    return some


def power(a: Any, b: Any, mod: Any = None) -> Any:
    """`pow` with two or three arguments."""
    if mod is None:
        return _power(a, b)
    if any(isinstance(n, int) and n.bit_length() > 256 for n in (a, b, mod)):
        raise too_large("a power")
    return pow(a, b, mod)


def is_whole(number: Any) -> bool:
    """`float.is_integer`, as a float has it. Whole numbers have had it since Python 3.12 only; here
    they never do, as with the authors, so that a guess scores the same everywhere."""
    if type(number) is not float:
        raise AttributeError(f"{type(number).__name__} has no is_integer")
    return number.is_integer()


def whole_float(number: Any) -> bool:
    """`float.is_integer` called by that name."""
    if type(number) is not float:
        raise TypeError(f"float.is_integer of a {type(number).__name__}")
    return number.is_integer()


def _small(function: Callable[..., Any], most: int) -> Callable[..., Any]:
    def bounded(*args: Any) -> Any:
        if any(isinstance(a, int) and a > most for a in args):
            raise too_large("an argument")
        return sized(function(*args))

    return bounded


def _product(items: Iterable[Any], /, *, start: Any = 1) -> Any:
    total = start
    for item in items:
        total = _times(total, item)
    return total


MATH_CALLS: dict[str, Callable[..., Any]] = {
    f"math.{n}": getattr(math, n) for n in dir(math) if callable(getattr(math, n)) and n[0] != "_"
} | {
    "math.factorial": _small(math.factorial, 500),
    "math.comb": _small(math.comb, 2000),
    "math.perm": _small(math.perm, 2000),
    "math.lcm": lambda *args: sized(math.lcm(*args)),
    "math.prod": _product,
}
"""The functions of `math`; those whose result explodes are held back."""
