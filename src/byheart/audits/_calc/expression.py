"""Reading an arithmetic expression in LaTeX, and its exact value.

The language is the one of the published problems: whole numbers and decimals, ``\\frac{p}{q}``, whole
powers, ``+ - * /``, brackets, and a few spellings of the same (``\\cdot``, ``\\times``, ``\\div``,
``\\dfrac``, ``\\left(``). Nothing is ever executed, and what is read is bounded in length, depth,
exponents and digits, so that text written by a model can be read too.
"""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache
from math import gcd

from byheart.core.errors import DataError

__all__ = ["MAX_CHARACTERS", "MAX_DEPTH", "MAX_DIGITS", "evaluate", "evaluate_plain", "operations"]

MAX_CHARACTERS = 20_000
MAX_DEPTH = 60
MAX_DIGITS = 20_000
"""Of numerators and denominators that are met on the way."""
MAX_EXPONENT = 1_000

_BITS = int(MAX_DIGITS * 3.33)
_TOKEN = re.compile(
    r"\\[dt]?frac\{(-?\d+)\}\{(-?\d+)\}(?:\^(?:(\d+)|\{(\d+)\}))?"
    r"|(\d+\.?\d*|\.\d+)(?:\^(?:(\d+)|\{(\d+)\}))?|([-+*/()])|\s+"
)
_GROUP = re.compile(r"\((?:[^()]|\((?:[^()]|\((?:[^()]|\([^()]*\))*+\))*+\))*+\)")
"""A term in brackets, up to four deep: expressions of one level share many of them."""
_REMEMBERED = 400
"""Characters of the longest term in brackets whose value is kept."""
_EXPONENT = re.compile(r"\^(?:(\d+)|\{(\d+)\})")
_SPELLINGS = (
    ("\\left", ""), ("\\right", ""), ("\\cdot", "*"), ("\\times", "*"), ("\\div", "/"),
    ("\u00d7", "*"), ("\u00b7", "*"), ("\u00f7", "/"), ("\u2212", "-"), ("\\,", " "), ("\\ ", " "),
)  # fmt: skip

Pair = tuple[int, int]
"""Numerator and denominator; the denominator is not 0."""


def _fail(expression: str, why: str) -> DataError:
    shown = expression if len(expression) <= 80 else expression[:77] + "..."
    return DataError(f"{shown!r} cannot be evaluated: {why}")


def evaluate(expression: str) -> Fraction:
    """The exact value of an expression.

    Powers bind strongest, then ``*`` and ``/`` from the left, then ``+`` and ``-``; a power of a
    fraction is of the whole fraction.

    Args:
        expression: Such as ``(\\frac{25}{4}/31+9^2)/7``; at most 20,000 characters.

    Raises:
        DataError: If it is no such expression, divides by zero, or passes a bound; it says which.

    >>> evaluate(r"\\frac{15}{3}-15^2"), evaluate("1/3*3"), evaluate("7-(2+1)")
    (Fraction(-220, 1), Fraction(1, 1), Fraction(4, 1))
    """
    text = expression
    if len(text) > MAX_CHARACTERS:
        raise _fail(text, f"{len(text)} characters; at most {MAX_CHARACTERS} are read")
    if text.count("\\") > text.count("\\frac") or not text.isascii():
        for old, new in _SPELLINGS:
            text = text.replace(old, new)
    try:
        return Fraction(*_walk(text))
    except (ValueError, ZeroDivisionError) as error:
        raise _fail(expression, str(error)) from error


@lru_cache(maxsize=100_000)
def _atom(text: str) -> Pair:
    """A number, a fraction or a power of one."""
    found = _TOKEN.fullmatch(text)
    if found is None:
        raise ValueError(f"{text[:20]!r} is no number")
    top, bottom, power, braced, number, power2, braced2, _ = found.groups()
    if number is not None:
        whole, _, part = number.partition(".")
        pair = int((whole + part) or "0"), 10 ** len(part)
        exponent = power2 or braced2
    else:
        pair, exponent = (int(top), int(bottom)), power or braced
        if pair[1] == 0:
            raise ZeroDivisionError("it divides by zero")
        if pair[1] < 0:
            pair = -pair[0], -pair[1]
    return pair if exponent is None else _power_of(pair, int(exponent))


def _power_of(pair: Pair, n: int) -> Pair:
    if n > MAX_EXPONENT or n * max(pair[0].bit_length(), pair[1].bit_length()) > _BITS:
        raise ValueError(f"the exponent {n} is too large")
    return pair[0] ** n, pair[1] ** n


@lru_cache(maxsize=50_000)
def _group(text: str) -> Pair:
    """The value of a term in brackets, without them, lowest terms."""
    n, d = _walk(text)
    common = gcd(n, d)
    return n // common, d // common


def _walk(text: str) -> Pair:
    """One pass with a stack: (sum so far, product so far, sign or operation that waits)."""
    stack: list[tuple[int, int, int, int, str]] = []
    sum_n, sum_d = 0, 1  # finished terms
    term_n, term_d = 1, 1  # the term that is being read, its sign included
    waits = "+"  # what the next factor is joined with; "" after a factor
    at = 0
    match = _TOKEN.match
    end = len(text)
    while at < end:
        found = match(text, at)
        if found is None:
            raise ValueError(f"{text[at : at + 12]!r} is not understood")
        at = found.end()
        sign = found.lastindex
        if sign is None:
            continue
        if sign < 8:
            n, d = _atom(found.group())
            value = True
        else:
            token = found.group(8)
            value = False
            if token == "(":
                if not waits:
                    raise ValueError("an operation is missing before '('")
                whole = _GROUP.match(text, at - 1)
                if whole and whole.end() - at < _REMEMBERED and not stack:
                    n, d = _group(whole.group()[1:-1])
                    at, value = whole.end(), True
                elif len(stack) >= MAX_DEPTH:
                    raise ValueError(f"more than {MAX_DEPTH} brackets are nested")
                else:
                    stack.append((sum_n, sum_d, term_n, term_d, waits))
                    sum_n, sum_d, term_n, term_d, waits = 0, 1, 1, 1, "+"
            elif token == ")":
                if not stack or waits:
                    raise ValueError("a ')' stands where none can")
                n, d = sum_n * term_d + term_n * sum_d, sum_d * term_d
                sum_n, sum_d, term_n, term_d, waits = stack.pop()
                value = True
            elif waits:
                if waits not in "+-" or token not in "+-":
                    raise ValueError(f"{token!r} stands where a number is needed")
                if token == "-":  # a sign
                    term_n = -term_n
                if waits == "-":
                    raise ValueError("two signs in a row")
                waits = "-"
            elif token in "*/":
                waits = token
            else:
                sum_n, sum_d = sum_n * term_d + term_n * sum_d, sum_d * term_d
                term_n, term_d = (1 if token == "+" else -1), 1
                waits = "+"
            if value and at < end and text[at] == "^":  # of a term in brackets
                power = _EXPONENT.match(text, at)
                if power is None:
                    raise ValueError("a whole exponent is needed after '^'")
                at = power.end()
                n, d = _power_of((n, d), int(power[1] or power[2]))
        if value:
            if not waits:
                raise ValueError("an operation is missing between two numbers")
            if waits == "/":
                if n == 0:
                    raise ZeroDivisionError("it divides by zero")
                if n < 0:
                    n, d = -n, -d
                n, d = d, n
            term_n *= n
            term_d *= d
            waits = ""
            if term_n.bit_length() > _BITS or term_d.bit_length() > _BITS:
                raise ValueError(f"numbers of more than {MAX_DIGITS} digits arise")
    if stack:
        raise ValueError("a ')' is missing")
    if waits:
        raise ValueError("it ends where a number is needed")
    return sum_n * term_d + term_n * sum_d, sum_d * term_d


def evaluate_plain(expression: str) -> Fraction:
    """The same value by recursive descent over characters, with a `Fraction` at every step.

    It reads the published language only. Slow and short: it documents `evaluate`, and is what the
    benchmark compares with.

    >>> evaluate_plain(r"(\\frac{1}{2}+2)*3^2")
    Fraction(45, 2)
    """
    value, at = _sum(expression, 0)
    if at != len(expression):
        raise _fail(expression, f"{expression[at:][:12]!r} is left over")
    return value


def _sum(text: str, at: int) -> tuple[Fraction, int]:
    value, at = _product(text, at)
    while at < len(text) and text[at] in "+-":
        other, after = _product(text, at + 1)
        value = value + other if text[at] == "+" else value - other
        at = after
    return value, at


def _product(text: str, at: int) -> tuple[Fraction, int]:
    value, at = _power(text, at)
    while at < len(text) and text[at] in "*/":
        other, after = _power(text, at + 1)
        if text[at] == "/" and other == 0:
            raise _fail(text, "it divides by zero")
        value = value * other if text[at] == "*" else value / other
        at = after
    return value, at


def _power(text: str, at: int) -> tuple[Fraction, int]:
    if text[at : at + 1] == "(":
        value, at = _sum(text, at + 1)
        if text[at : at + 1] != ")":
            raise _fail(text, "a ')' is missing")
        at += 1
    elif text.startswith("\\frac{", at):
        middle = text.index("}{", at)
        last = text.index("}", middle + 2)
        value = Fraction(int(text[at + 6 : middle]), int(text[middle + 2 : last]))
        at = last + 1
    else:
        value_of, at = _digits(text, at)
        value = Fraction(value_of)
    if text[at : at + 1] == "^":
        exponent, at = _digits(text, at + 1)
        value = value**exponent
    return value, at


def _digits(text: str, at: int) -> tuple[int, int]:
    last = at
    while last < len(text) and text[last].isdigit():
        last += 1
    if last == at:
        raise _fail(text, f"a number is needed at {text[at:][:12]!r}")
    return int(text[at:last]), last


def operations(expression: str) -> int:
    """How many of ``+ - * /`` the expression has: its level.

    >>> operations(r"(\\frac{25}{4}/31+9^2)/7")
    3
    """
    return sum(map(expression.count, "+-*/"))
