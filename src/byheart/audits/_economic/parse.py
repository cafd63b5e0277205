"""From a model's reply to a number, a direction, a date or a company.

Sheet, section 3.5: code fences off, first JSON object, its key; else the first number in the text,
with thousands marks, currency, percent and unit words applied. The queried date is taken out first,
so that a year in the echo of the question is never read as the value.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from byheart.audits._economic.numbers import SCALE, chosen, plain

__all__ = ["Answer", "parse_direction", "parse_object", "parse_value"]

_MONTHS = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
]
_MONTH = "(?:" + "|".join(f"{m[:3]}(?:{m[3:]})?" for m in _MONTHS) + r")\.?"
_ANY_YEAR = r"(?:19|20)\d{2}(?![.,]?\d)"
_ORDINAL = r"(?:st|nd|rd|th)?"
_REFUSAL = re.compile(
    r"\b(?:i (?:do not|don't|don’t|did not|didn't) (?:know|have|recall|remember)|"
    r"not (?:sure|available|known|publicly available)|unknown|unavailable|no (?:data|information)\b|"
    r"n/a\b|(?:can ?not|can't|can’t|could not|couldn't|couldn’t|unable to) "
    r"(?:provide|recall|answer|determine|know|give|find|access|verify)|"
    r"(?:training|knowledge)(?: data)?(?: cut-?off)? (?:only )?(?:ends|ended|goes|stops|is limited))",
    re.IGNORECASE,
)
_HEDGED = re.compile(r"\b(?:but|however|estimate|guess|best)\b", re.IGNORECASE)
_SURE = (
    r"[\"']?confidence[\"']?(?:\s+(?:level|is|of))*\s*[:=]?\s*(\d+(?:\.\d+)?)\s*%?"
    r"|(?<![\d.])(\d+(?:\.\d+)?)\s*% (?:confident|sure|certain|confidence)"
)
_OTHER = "¤"
"""Stands where a date was taken out that was not the queried one."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A number read from a reply.

    Attributes:
        value: None if the reply gives none (a refusal, null, no number).
        confidence: 0 to 100, where the reply tells one.
        is_range: The reply gave a range; `value` is its middle.
    """

    value: float | None
    confidence: float | None = None
    is_range: bool = False


def parse_object(text: str) -> dict[str, Any] | None:
    """The first JSON object in a text, also one that was cut off after its first pairs.

    >>> parse_object('Sure! ```json {"value": 3.5, "confidence": 80} ```')
    {'value': 3.5, 'confidence': 80}
    >>> parse_object('{"value": 3.5, "confid')
    {'value': 3.5}
    """
    decoder = json.JSONDecoder()
    for match in re.finditer(r"\{", text):
        try:
            found, _ = decoder.raw_decode(text[match.start() :])
        except ValueError:
            continue
        if isinstance(found, dict):
            return found
    start = text.find("{")
    if start < 0:
        return None
    pairs = re.findall(
        r"[\"']?(\w+)[\"']?\s*:\s*(\"[^\"]*\"|'[^']*'|[-+$]?[\d.,]*\d%?(?:\s*\w+)?|null|None|true|false)",
        text[start:],
    )
    return {key: _plain(value) for key, value in pairs} or None


def _plain(value: str) -> Any:
    if value in ("null", "None"):
        return None
    if value[0] in "\"'":
        return value[1:-1]
    try:
        return json.loads(value.rstrip(","))
    except ValueError:
        return value


def parse_value(
    reply: str,
    *,
    dates: Sequence[str] = (),
    keys: Sequence[str] = ("value",),
    echo: str = "",
    scale: float = 1.0,
) -> Answer:
    """The number a reply gives.

    Args:
        reply: What the model said.
        dates: The queried dates, ``YYYY-MM`` and the like; every spelling of them is taken out of
            free text before a number is looked for.
        keys: JSON keys that hold the number, in order.
        echo: The series' name; numbers that belong to it ("S&P 500") are no values.
        scale: What the series counts in (1e9 for "billions of dollars"); a number that comes with
            a unit word is divided by it.

    >>> parse_value("In May 2020 it was about $1.2 trillion.", dates=["2020-05"]).value
    1200000000000.0
    >>> parse_value("between 3% and 4%")
    Answer(value=3.5, confidence=None, is_range=True)
    >>> parse_value("I do not know.").value is None
    True
    """
    text = re.sub(r"```[a-zA-Z]*", " ", reply).strip()
    found = parse_object(text)
    if found is not None:
        lowered = {str(k).lower(): v for k, v in found.items()}
        confidence = _confidence(lowered.get("confidence"))
        for key in keys:
            if key in lowered:
                inner = _of(lowered[key], dates, scale)
                return Answer(inner.value, confidence, inner.is_range)
    told = re.search(_SURE, text, re.IGNORECASE)
    confidence = _confidence(float(next(filter(None, told.groups())))) if told else None
    text = re.sub(_SURE, " ", text, flags=re.IGNORECASE)
    for word, number in re.findall(r"(\S+)\s+(\d[\d.,]*)", echo):
        text = re.sub(rf"{re.escape(word)}\s*{re.escape(number)}", " ", text, flags=re.IGNORECASE)
    names = [float(n) for n in re.findall(r"(?<![\d.,])\d+(?![\d.,]*\d)", echo)]
    inner = _free(text, dates, scale, names)
    return Answer(inner.value, confidence, inner.is_range)


def _of(value: Any, dates: Sequence[str], scale: float = 1.0) -> Answer:
    if value is None or isinstance(value, bool):
        return Answer(None)
    if isinstance(value, int | float):
        return Answer(float(value) if math.isfinite(value) else None)
    if isinstance(value, list) and len(value) == 2:
        ends = [_of(v, dates, scale).value for v in value]
        if ends[0] is not None and ends[1] is not None:
            return Answer((ends[0] + ends[1]) / 2, is_range=True)
    if not isinstance(value, str):
        return Answer(None)
    return _free(value, dates, scale)


def _free(
    text: str, dates: Sequence[str], scale: float = 1.0, echoed: Sequence[float] = ()
) -> Answer:
    text = re.sub(r"<think>.*?(?:</think>|\Z)", " ", text, flags=re.DOTALL)
    clean = strip_dates(plain(text), dates)
    found = chosen(clean, scale=scale, echoed=echoed)
    if found is None or not math.isfinite(found.value):
        return Answer(None)
    refusal = _REFUSAL.search(clean, 0, found.start)
    if refusal:
        since = clean[refusal.end() : found.start]
        if not _HEDGED.search(since) or _OTHER in since.rpartition("but")[2]:
            return Answer(None)
    return Answer(found.value, is_range=found.is_range)


def _confidence(value: Any) -> float | None:
    if isinstance(value, str):
        value = _free(value, ()).value
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    value = float(value)
    return min(max(value * 100 if 0 < value < 1 else value, 0.0), 100.0)


def strip_dates(text: str, dates: Sequence[str]) -> str:
    """`text` without any spelling of the given dates, and without other dates that are plain to see.

    Months and days are removed together with their year; the queried year alone too; another year
    only behind such words as "in" or "as of". What is left of a question's echo ("1982-84=100",
    "12-month") goes as well.
    """
    for date in dates:
        text = _sub(_spellings(date), " ", text)
    year, other = _ANY_YEAR, f" {_OTHER} "
    text = re.sub(r"\b(?:19|20)\d{2}(?:\s*[-–]\s*(?:\d{2}|(?:19|20)\d{2}))?\s*=\s*100\b", " ", text)
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
        name = _MONTHS[month - 1]
        spelled = rf"\b{name[:3]}(?:{name[3:]})?\.?"
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


def unit_scale(unit: str) -> float:
    """What a unit counts in.

    >>> unit_scale("billions of US dollars"), unit_scale("percent")
    (1000000000.0, 1.0)
    """
    first = unit.lower().split()[:1]
    return SCALE.get(first[0].rstrip("s"), 1.0) if first and len(first[0]) > 1 else 1.0


def parse_direction(reply: str) -> int | None:
    """+1 for up, -1 for down, None where neither or both are said.

    >>> parse_direction('{"direction": "down"}'), parse_direction("It rose."), parse_direction("?")
    (-1, 1, None)
    """
    found = parse_object(reply) or {}
    text = str(found.get("direction", reply)).lower()
    up = re.search(r"\b(?:up|ris(?:e|es|ing)|rose|increas\w*|higher|above|grow\w*|grew)\b", text)
    down = re.search(
        r"\b(?:down|f[ae]ll(?:s|ing|en)?|decreas\w*|lower|below|declin\w*|drop\w*)\b", text
    )
    if bool(up) == bool(down):
        return None
    return 1 if up else -1


def month_name(month: int) -> str:
    """1 to ``"January"``."""
    return _MONTHS[month - 1].capitalize()


def month_number(text: Any) -> int | None:
    """A month from its number or name, else None."""
    if isinstance(text, bool) or text is None:
        return None
    if isinstance(text, int | float):
        return int(text) if 1 <= text <= 12 else None
    word = str(text).strip().lower()
    if word.isdigit():
        return int(word) if 1 <= int(word) <= 12 else None
    hits = [i + 1 for i, m in enumerate(_MONTHS) if len(word) >= 3 and m.startswith(word[:3])]
    return hits[0] if hits else None


def parse_date(reply: str) -> tuple[int | None, int | None]:
    """Year and month a reply gives; None for what it does not give.

    >>> parse_date('{"year": 2008, "month": 9}'), parse_date("It was in March of 2020.")
    ((2008, 9), (2020, 3))
    """
    found = parse_object(reply)
    if found and ("year" in found or "month" in found):
        year = _of(found.get("year"), ()).value
        return (int(year) if year else None), month_number(found.get("month"))
    iso = re.search(r"\b((?:1[89]|20)\d{2})-(\d{2})\b", reply)
    if iso:
        return int(iso[1]), month_number(iso[2])
    year_text = re.search(r"\b(?:1[89]|20)\d{2}\b", reply)
    month_text = re.search(rf"\b{_MONTH}\b", reply, re.IGNORECASE)
    return (
        int(year_text[0]) if year_text else None,
        month_number(month_text[0].rstrip(".")) if month_text else None,
    )
