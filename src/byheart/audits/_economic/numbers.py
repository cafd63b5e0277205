"""Numbers as people and models write them, in running text.

Thousands marks, decimal commas, currencies, unit words, accounting parentheses, signs of several
alphabets, fractions, powers of ten, ranges, and "fell 508 points to 1,738.74".
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["SCALE", "Found", "chosen", "plain"]

SCALE = {"thousand": 1e3, "k": 1e3, "million": 1e6, "mn": 1e6, "mln": 1e6, "m": 1e6,
         "billion": 1e9, "bn": 1e9, "b": 1e9, "trillion": 1e12, "tn": 1e12, "trn": 1e12, "t": 1e12,
         "basis point": 0.01, "basis points": 0.01, "bps": 0.01, "bp": 0.01}  # fmt: skip
"""Unit word to factor; basis points are hundredths of a percentage point."""

_FRACTIONS = {"½": 0.5, "¼": 0.25, "¾": 0.75, "⅛": 0.125, "⅜": 0.375, "⅝": 0.625, "⅞": 0.875,
              "⅓": 1 / 3, "⅔": 2 / 3}  # fmt: skip
_SUPERSCRIPT = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")

_DASH = r"[-+–−]"
# A sign stands before its number with nothing to its left; "CPI - 3.1" and "3-4" have none.
_SIGN = rf"(?:(?<![\w)%.,]){_DASH}(?=\S)|(?<![\w)%.,] )(?<![\w)%.,])−\s|(?<=[:=]\s){_DASH}\s|\b(?:minus|negative)\s+)?"
_MONEY = rf"(?:(?:(?:US|[AC])?[$€£¥]|USD|EUR|GBP|JPY)\s?{_DASH}?)?"
_DIGITS = (
    r"(?:[1-9]\d{0,2}(?:,\d{2,3})*,\d{3}(?:\.\d+)?"  # 1,234.5 and 12,34,567
    r"|\d{1,3}(?:\.\d{3})+,\d+|\d{1,3}(?:\.\d{3}){2,}"  # 1.234,56
    r"|\d+,\d+|\d+(?:\.\d+)?|\.\d+)(?:[eE][-+]?\d+)?(?![.,]?\d)"
)
_NUMBER = rf"{_SIGN}{_MONEY}{_DIGITS}"
_UNIT = (
    r"(?:\s*%|[\s-]*(?:thousand|million|billion|trillion|mln|mn|bn|trn|tn|basis\s+points?|bps|bp)"
    r"(?![A-Za-z])|[kmbt](?![A-Za-z])|)"
)
_END = r"(?:(?![A-Za-z\d])|(?=(?:pp|pct|points?|pts|percent|USD|EUR)\b))"  # not 2nd, 2Q09, 10Y
_START = r"(?<![A-Za-z\d.])(?<!\d,)"
_ONE = re.compile(rf"{_START}({_NUMBER})({_UNIT}){_END}", re.IGNORECASE)
_RANGE = re.compile(
    rf"(?P<between>\bbetween\s+)?{_START}({_NUMBER})({_UNIT})(?:\s*(?P<dash>[-–—−])\s*|\s+"
    rf"(?P<word>to|and|until)\s+)({_NUMBER})({_UNIT}){_END}",
    re.IGNORECASE,
)
_CHANGE = re.compile(
    r"\b(?:r[io]sen?|rose|f[ae]ll(?:en)?|increas\w*|decreas\w*|gain\w*|lost|climb\w*|drop\w*|"
    r"declin\w*|grew|grown|jump\w*|plung\w*|advanc\w*|slip\w*|surg\w*|tumbl\w*|up|down|moved?)\b"
    r"[^.;\d]{0,24}$",
    re.IGNORECASE,
)
_CUE = re.compile(
    r"(?:^|[:=~≈>]|\b(?:was|is|were|be|been|at|to|of|about|around|approximately|roughly|nearly|"
    r"almost|over|under|value|averaged|stood|closed|reached|hit))[\s*_`\"'(\[$]*$",
    re.IGNORECASE,
)
_LABEL = re.compile(
    r"(?:\\boxed\{|\b(?:final\s+)?(?:answer|value)\b[\s*_`\"]*(?:is|was|:|=)[\s*_`\"]*(?:about\s+|"
    r"approximately\s+)?)$",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Found:
    """A number in a text.

    Attributes:
        value: With sign and unit word applied.
        start: Where it stands.
        is_range: It is the middle of a range.
    """

    value: float
    start: int
    is_range: bool = False


def plain(text: str) -> str:
    """Digits of every script, fractions, powers of ten and thin spaces as ASCII.

    >>> plain("3½ %, 1.5×10³, 1\\u202f234.5, ３.４")
    '3.5 %, 1.5e3, 1234.5, 3.4'
    """
    out = []
    for c in text:
        if ord(c) < 128:
            out.append(c)
        elif c.isdecimal():
            out.append(str(unicodedata.decimal(c)))
        else:
            out.append({"٫": ".", "٬": ",", "．": "."}.get(c, c))
    text = "".join(out)
    text = re.sub(
        rf"(?<!\d)(\d*)\s?([{''.join(_FRACTIONS)}])",
        lambda m: f"{int(m[1] or 0) + _FRACTIONS[m[2]]:g}",
        text,
    )
    text = re.sub(
        r"(?<![\d.,/])(\d+)[ -](\d{1,2})/(2|4|8|16|32|64)(?![\d/])",
        lambda m: f"{int(m[1]) + int(m[2]) / int(m[3]):g}" if int(m[2]) < int(m[3]) else m[0],
        text,
    )
    text = re.sub(
        r"(?<=\d)\s*[x×*·]\s*10\s*(?:(?:\^|\*\*)\s*\{?([-+]?\d+)\}?|([⁻⁰¹²³⁴-⁹]+))",
        lambda m: f"e{m[1] or m[2].translate(_SUPERSCRIPT)}",
        text,
    )
    text = re.sub(r"(?<=\d)[\u00a0\u2007\u2009\u202f'’](?=\d{3}(?!\d))", "", text)
    text = re.sub(
        r"(?<![\d.,])\d{1,3}(?: \d{3})+(?=,\d{1,2}(?!\d))", lambda m: m[0].replace(" ", ""), text
    )
    return re.sub(r"[\u00a0\u2007\u2009\u202f]", " ", text)


def chosen(text: str, *, scale: float = 1.0, echoed: Iterable[float] = ()) -> Found | None:
    """The number that a text gives: a labelled one, else the first that is no echo.

    Args:
        text: As `plain` leaves it, queried dates already taken out.
        scale: What the series counts in; a number with a unit word is divided by it.
        echoed: Numbers of the series' name: passed over where another number follows and nothing
            such as "was" or a colon introduces them.

    >>> chosen("It fell 508 points to 1,738.74").value, chosen("(2.5)%").value
    (1738.74, -2.5)
    """
    numbers = list(_ONE.finditer(text))
    if not numbers:
        return None
    names = set(echoed)
    at = next((i for i, m in enumerate(numbers) if _LABEL.search(_before(text, m))), None)
    if at is None:
        at = 0
        while at + 1 < len(numbers):
            m = numbers[at]
            listed = at == 0 and re.fullmatch(r"\s*\(?\d{1,2}[.)]\s+", text[: m.end() + 2])
            named = _value(m[1], "", 1.0) in names and not _CUE.search(_before(text, m))
            if not (listed or named):
                break
            at += 1
        at = _changed_to(text, numbers, at)
    m = numbers[at]
    for pair in _RANGE.finditer(text, max(0, m.start() - 20)):
        if pair.start(2) > m.start(1):
            break
        if pair.start(2) == m.start(1):
            middle = _middle(pair, scale)
            if middle is not None:
                return Found(middle, m.start(1), is_range=True)
    unit, negative = m[2], False
    before = _before(text, m)
    closed = re.match(rf"\s*\)({_UNIT})", text[m.end() :], re.IGNORECASE)
    if closed and re.search(r"(?:^|[:=]|\b(?:was|is|of|at|to|by|be|were))[\s*_`\"]*\($", before):
        unit, negative = unit.strip() or closed[1], True
    value = _value(m[1], unit, scale)
    return Found(-abs(value) if negative else value, m.start(1))


def _before(text: str, m: re.Match[str]) -> str:
    """The words in front of a number; not all of them, so that long replies stay quick."""
    return text[max(0, m.start() - 60) : m.start()]


def _changed_to(text: str, numbers: list[re.Match[str]], at: int) -> int:
    """In "rose 9.1 % to 296.311" and "fell from 3.5 to 3.1" the second number is the value."""
    if at + 1 < len(numbers) and _CHANGE.search(_before(text, numbers[at])):
        step = text[numbers[at].end() : numbers[at + 1].start()]
        if len(step) < 60 and re.search(r"\bto\s+(?:about\s+|around\s+|a\s+\w+\s+of\s+)?$", step):
            return at + 1
    return at


def _middle(pair: re.Match[str], scale: float) -> float | None:
    if (pair["word"] or "").lower() == "and" and not pair["between"]:
        return None
    low_unit, high_unit = pair[3].strip(" -"), pair[7].strip(" -")
    low = _value(pair[2], low_unit or high_unit, scale)
    high = _value(pair[6], high_unit or low_unit, scale)
    return None if pair["dash"] and low > high else (low + high) / 2


def _value(digits: str, unit: str, scale: float) -> float:
    negative = bool(re.match(r"\s*(?:[-–−]|minus|negative)", digits, re.IGNORECASE)) or bool(
        re.search(r"[$€£¥DPYR]\s?[-–−]", digits)
    )
    bare = re.sub(r"^[^\d.]*", "", digits)
    if re.fullmatch(r"\d{1,3}(?:\.\d{3})+(?:,\d+)?", bare) and ("," in bare or bare.count(".") > 1):
        bare = bare.replace(".", "").replace(",", ".")
    elif re.fullmatch(r"[1-9]\d{0,2}(?:,\d{2,3})*,\d{3}(?:\.\d+)?(?:[eE][-+]?\d+)?", bare):
        bare = bare.replace(",", "")
    else:
        bare = bare.replace(",", ".")
    factor = SCALE.get(re.sub(r"\s+", " ", unit.strip(" -").lower()))
    value = float(bare) * (factor / scale if factor else 1.0)
    return -value if negative else value
