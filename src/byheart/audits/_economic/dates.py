"""Dates in replies: taking the queried one out of a text, and reading the one that is given."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

__all__ = ["OTHER", "month_name", "month_number", "parse_date", "strip_dates"]

MONTHS = ("january", "february", "march", "april", "may", "june", "july", "august", "september",
          "october", "november", "december")  # fmt: skip
_SPELLED = [f"{m[:3]}(?:{m[3:]})?" for m in MONTHS]
_SPELLED[8] = "sep(?:t(?:ember)?)?"
_MONTH = "(?:" + "|".join(_SPELLED) + r")\.?"
_YEAR = r"(?:1[89]|20)\d{2}"
_ANY_YEAR = r"(?:19|20)\d{2}(?![.,]?\d)"
_ORDINAL = r"(?:st|nd|rd|th)?"
OTHER = "¤"
"""Stands where a date was taken out that was not the queried one."""


def strip_dates(text: str, dates: Sequence[str]) -> str:
    """`text` without any spelling of the given dates, and without other dates that are plain to see.

    Months and days are removed together with their year; the queried year alone too; another year
    only behind such words as "in" or "as of". What is left of a question's echo ("1982-84=100",
    "12-month") goes as well.
    """
    year, other = _ANY_YEAR, f" {OTHER} "
    text = re.sub(r"\b(?:19|20)\d{2}(?:\s*[-–]\s*(?:\d{2}|(?:19|20)\d{2}))?\s*=\s*100\b", " ", text)
    # Spans first: of "1999-2000" the queried year alone would leave "-2000".
    text = _sub(
        [
            rf"(?<![\d.,$])(?:19|20)\d{{2}}\s*[-–/−]\s*{year}(?![-/]\d)",
            rf"\b(?:from|between)\s+{year}\s+(?:to|and|until|through)\s+{year}",
        ],
        other,
        text,
    )
    text = re.sub(r"(?<![\d.,$])(?:19|20)\d{2}[–−]\d{2}(?![.,]?\d)", other, text)
    for date in dates:
        text = _sub(_spellings(date), " ", text)
    text = _sub(
        [
            r"(?<![\d.,$])(?:19|20)\d{2}\s*[-–]\s*(?:\d{2}|(?:19|20)\d{2})(?![.,]?\d|[-/]\d)",
            r"(?<![\d.,$])(?:19|20)\d{2}[-/]\d{1,2}(?:[-/]\d{1,2})?(?!\.?\d)",
            r"(?<![\d.,$])\d{1,2}/\d{1,2}/(?:\d{4}|\d{2})(?![.,]?\d)",
            rf"(?<![\d.,$])(?:\d{{1,2}}{_ORDINAL}\s+(?:of\s+)?)?\b{_MONTH}\s*(?:\d{{1,2}}{_ORDINAL}(?!\d))?,?"
            rf"\s*(?:of\s+)?{year}",
            rf"\b(?:in|since|during|until|till|through|before|after|as\s+of|year|FY|fiscal|late|early|"
            rf"mid)[\s-]+(?:the\s+(?:year\s+)?)?{year}(?!\s*%|\s+points)",
        ],
        other,
        text,
    )  # fmt: skip
    fewer = re.sub(
        rf"\b(?:of|by|from|to|the|BLS|FRED)[\s(-]+(?<![.,]){year}(?!\s*%|\s+points)", other, text
    )
    if re.search(r"\d", fewer):
        text = fewer
    return re.sub(
        r"(?<![\d.,])\d+[- ](?:month|mo|year|yr|y|quarter|day|week)s?\b",
        " ",
        text,
        flags=re.IGNORECASE,
    )


def _spellings(date: str) -> list[str]:
    """Patterns of every way to write a date; the year alone comes last."""
    year = date[:4]
    month = int(date[5:7]) if re.match(r"\d{4}-\d{2}", date) else None
    day = int(date[8:10]) if len(date) == 10 else None
    quarter = date[6] if "-Q" in date else None
    free, ends = r"(?<![\d.,$])", r"(?![.,]?\d)"
    out = [
        rf"{free}{year}[-/]\d{{1,2}}(?:[-/]\d{{1,2}})?(?!\.?\d)",
        rf"{free}\d{{1,2}}/(?:\d{{1,2}}/)?{year}{ends}",
        rf"{free}\d{{1,2}}\.\d{{1,2}}\.{year}{ends}",
    ]
    if month:
        spelled = rf"\b{_SPELLED[month - 1]}\b\.?"
        out += [
            rf"{free}{year}\.{month:02d}(?:\.\d{{2}})?{ends}",
            rf"(?:{free}\d{{1,2}}{_ORDINAL}\s+(?:of\s+)?)?{spelled}\s*(?:\d{{1,2}}{_ORDINAL}(?!\d))?,?\s*(?:of\s+)?{year}{ends}",
            rf"{free}{year}\s+{spelled}",
        ]
        if day:
            out += [
                rf"{spelled}\s+0?{day}{_ORDINAL}(?![.,]?\d|\s*%)",
                rf"{free}0?{day}{_ORDINAL}\s+(?:of\s+)?{spelled}",
                rf"{free}0?{month}/0?{day}(?![./]?\d)",
            ]
    if quarter:
        word = ("first", "second", "third", "fourth")[int(quarter) - 1]
        out += [
            rf"{free}{year}[-: ]?Q{quarter}\b",
            rf"\bQ{quarter}[,:']?\s*(?:of\s+)?(?:{year}|{year[2:]})?{ends}",
            rf"{free}{quarter}Q\s?'?(?:{year}|{year[2:]})?{ends}",
            rf"\b(?:the\s+)?(?:{word}|{quarter}{_ORDINAL})\s+quarter(?:\s+of)?(?:\s+{year})?{ends}",
        ]
    return [*out, rf"{free}{year}(?![.,]\d)\b"]


def _sub(patterns: Sequence[str], by: str, text: str) -> str:
    for pattern in patterns:
        text = re.sub(pattern, by, text, flags=re.IGNORECASE)
    return text


def month_name(month: int) -> str:
    """1 to ``"January"``."""
    return MONTHS[month - 1].capitalize()


def month_number(text: Any) -> int | None:
    """A month from its number or name, else None."""
    if isinstance(text, bool) or text is None:
        return None
    if isinstance(text, int | float):
        return int(text) if 1 <= text <= 12 else None
    word = str(text).strip().lower()
    if word.isdigit():
        return int(word) if 1 <= int(word) <= 12 else None
    hits = [i + 1 for i, m in enumerate(MONTHS) if len(word) >= 3 and m.startswith(word[:3])]
    return hits[0] if hits else None


def parse_date(reply: str) -> tuple[int | None, int | None]:
    """Year and month a reply gives; None for what it does not give.

    >>> parse_date("It was in March of 2020."), parse_date("9/15/2008"), parse_date("2008")
    ((2020, 3), (2008, 9), (2008, None))
    """
    forms = (
        rf"\b(?P<y>{_YEAR})[-/.](?P<m>\d{{1,2}})\b",
        rf"(?<![\d/.-])(?P<m>\d{{1,2}})/(?:\d{{1,2}}/)?(?P<y>{_YEAR})\b",
        rf"\b\d{{1,2}}\.(?P<m>\d{{1,2}})\.(?P<y>{_YEAR})\b",
        rf"\b(?P<m>{_MONTH})\s*(?:\d{{1,2}}{_ORDINAL})?,?\s*(?:of\s+)?(?P<y>{_YEAR})\b",
        rf"\b(?P<y>{_YEAR}),?\s+\(?(?P<m>{_MONTH})(?![a-z])",
    )
    found = [m for form in forms if (m := re.search(form, reply, re.IGNORECASE))]
    if found:
        first = min(found, key=lambda m: m.start())
        month = first["m"].rstrip(".")
        if month_number(month) is None and month.isdigit():
            month = reply[first.start() :].split("/")[1]  # 15/9/2008: the day stands first
        return int(first["y"]), month_number(month)
    year = re.search(rf"\b{_YEAR}\b", reply)
    named = re.search(rf"\b{_MONTH}(?![a-z])", reply, re.IGNORECASE)
    return (
        int(year[0]) if year else None,
        month_number(named[0].rstrip(".")) if named else None,
    )
