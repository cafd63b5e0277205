"""Reading a number as a model writes it."""

from __future__ import annotations

import math
import re
from fractions import Fraction

from byheart.audits._calc.expression import evaluate
from byheart.core.errors import DataError

__all__ = ["exact_number", "number"]

_THOUSANDS = re.compile(r"(?<=\d)(?:,|\\,|\{,\}|,\\!)(?=\d{3}(?!\d))")
_WRAPPING = re.compile(
    r"\\(?:text|mathrm|mathbf|displaystyle)\b|\\boxed|[$\\]?[%$]|\\!|\\;|\\quad|\\approx|\u2248"
)
_SCIENTIFIC = re.compile(
    r"(?P<m>[-+]?(?:\d+\.?\d*|\.\d+))(?:[eE](?P<e>[-+]?\d+)|\*?10\^(?:\{(?P<b>[-+]?\d+)\}|(?P<p>\d+)))"
)
_MIXED = re.compile(r"(?P<sign>-?)(?P<whole>\d+)\s*\\[dt]?frac\{(?P<p>\d+)\}\{(?P<q>\d+)\}")
_MOST = 2_000
"""Characters of a number; what is longer is no answer."""


def exact_number(text: str | None) -> Fraction | None:
    """The number that a text is, exactly; None if it is none.

    Decimals, ``p/q``, ``\\frac{p}{q}``, ``2\\frac{1}{3}``, thousands separators, scientific notation
    (``1.5e-6``, ``1.5 \\times 10^{-6}``), a dollar or percent sign (which is dropped), and sums and
    products of such. Infinity, NaN and what divides by zero are none.

    >>> exact_number("$1,234.50"), exact_number(r"2\\frac{1}{3}"), exact_number("about ten")
    (Fraction(2469, 2), Fraction(7, 3), None)
    """
    if text is None or len(text) > _MOST:
        return None
    plain = _WRAPPING.sub(" ", text).strip().rstrip(".,;: ").strip()
    while plain.startswith("{") and plain.endswith("}"):
        plain = plain[1:-1].strip()
    plain = _THOUSANDS.sub("", plain)
    for sign in ("\\times", "\\cdot", "\u00d7", "\u00b7"):
        plain = plain.replace(sign, "*")
    plain = re.sub(r"\\([dt]?frac)\s*(\d)\s*(\d)", r"\\\1{\2}{\3}", plain.replace("\u2212", "-"))
    tight = re.sub(r"\s*([-+*/^(){}])\s*", r"\1", plain)
    found = _SCIENTIFIC.fullmatch(tight)
    if found:
        power = int(found["e"] or found["b"] or found["p"])
        return Fraction(found["m"]) * Fraction(10) ** power if abs(power) <= 400 else None
    found = _MIXED.fullmatch(plain)
    if found:
        if not int(found["q"]):
            return None
        value = int(found["whole"]) + Fraction(int(found["p"]), int(found["q"]))
        return -value if found["sign"] else value
    if re.search(r"\d\s+\d", tight):
        return None  # two numbers
    try:
        return evaluate(tight)
    except DataError:
        return None


def number(text: str | None) -> float | None:
    """The same as a float; None if it is none, or none that a float can hold.

    >>> number("-19.87"), number(r"\\frac{7}{2}"), number("nan"), number("1e999")
    (-19.87, 3.5, None, None)
    """
    exact = exact_number(text)
    if exact is None:
        return None
    try:
        value = float(exact)
    except OverflowError:
        return None
    return value if math.isfinite(value) else None
