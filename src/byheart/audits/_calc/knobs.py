"""Knobs that are one number or several, also as text from a command line."""

from __future__ import annotations

from typing import Any

from byheart.core.errors import UsageError

__all__ = ["several"]


def several(knob: str, value: Any, kind: type) -> tuple[Any, ...]:
    """One number or several as a tuple.

    Raises:
        UsageError: Names the knob, if it is none of that kind, empty, or names one twice.

    >>> several("steps", "5,10", int), several("ratios", 0.5, float)
    ((5, 10), (0.5,))
    """
    many = value.split(",") if isinstance(value, str) else value
    many = many if isinstance(many, list | tuple | range) else (many,)
    try:
        out = tuple(kind(v) for v in many if not isinstance(v, bool))
        same = all(isinstance(v, str) or float(v) == o for v, o in zip(many, out, strict=True))
    except (TypeError, ValueError, OverflowError):
        same, out = False, ()
    if not same or not out or len(set(out)) != len(out):
        words = "whole numbers" if kind is int else "numbers"
        raise UsageError(f"{knob} names {words}, once each, got {value!r}")
    return out
