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

__all__ = ["Answer", "parse_direction", "parse_object", "parse_value"]

_SCALE = {"thousand": 1e3, "k": 1e3, "million": 1e6, "mn": 1e6, "m": 1e6, "billion": 1e9,
          "bn": 1e9, "b": 1e9, "trillion": 1e12, "tn": 1e12, "t": 1e12}  # fmt: skip
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
_NUMBER = (
    r"[-+−–]?\s?[$€£¥]?\s?(?:\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+)(?:[eE][-+]?\d+)?"
)
_UNIT = r"(?:\s*%|[\s-]*(?:thousand|million|billion|trillion|mn|bn|tn)\b|[kKmMbBtT]\b)?"
_FOUND = re.compile(rf"(?<![\w.])({_NUMBER})({_UNIT})")
_RANGE = re.compile(
    rf"(?<![\w.])({_NUMBER})({_UNIT})\s*(?:-|–|—|to|and|until)\s*({_NUMBER})({_UNIT})(?![\w.]*\d)",
    re.IGNORECASE,
)
_REFUSAL = re.compile(
    r"\b(?:i (?:do not|don't|don’t) (?:know|have)|not (?:sure|available|known)|unknown|"
    r"(?:cannot|can't|can’t|unable to) (?:provide|recall|answer|determine|know|give))",
    re.IGNORECASE,
)


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
        text = re.sub(r"\"?confidence\"?\s*:\s*[\d.]+", " ", text)
    for word, number in re.findall(r"(\S+)\s+(\d[\d.,]*)", echo):
        text = re.sub(rf"{re.escape(word)}\s*{re.escape(number)}", " ", text, flags=re.IGNORECASE)
    return _of(text, dates, scale)


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


def _free(text: str, dates: Sequence[str], scale: float = 1.0) -> Answer:
    clean = strip_dates(text, dates)
    spread = _RANGE.search(clean)
    first = _FOUND.search(clean)
    refusal = _REFUSAL.search(clean)
    if first is None or (refusal and refusal.start() < first.start()):
        return Answer(None)
    if spread is not None and spread.start() <= first.start():
        low_unit, high_unit = spread[2].strip(" -"), spread[4].strip(" -")
        low = _number(spread[1], low_unit or high_unit, scale)
        high = _number(spread[3].lstrip("-–− "), high_unit or low_unit, scale)
        if low <= high:
            return Answer((low + high) / 2, is_range=True)
    return Answer(_number(first[1], first[2], scale))


def _number(digits: str, unit: str, scale: float = 1.0) -> float:
    negative = digits.lstrip().startswith(("-", "−", "–"))
    plain = re.sub(r"[^\d.eE+-]", "", digits).lstrip("+-")
    factor = _SCALE.get(unit.strip(" -").lower())
    value = float(plain) * (factor / scale if factor else 1.0)
    return -value if negative else value


def _confidence(value: Any) -> float | None:
    if isinstance(value, str):
        value = _free(value, ()).value
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    value = float(value)
    return min(max(value * 100 if 0 < value < 1 else value, 0.0), 100.0)


def strip_dates(text: str, dates: Sequence[str]) -> str:
    """`text` without any spelling of the given dates.

    Months and days are removed together with their year; a year alone too, and a day number only
    where it stands beside its month.
    """
    for date in dates:
        year = date[:4]
        month = int(date[5:7]) if re.match(r"\d{4}-\d{2}", date) else None
        quarter = date[6] if "-Q" in date else None
        patterns = [
            rf"\b{year}[-/.]\d{{1,2}}(?:[-/.]\d{{1,2}})?\b",
            rf"\b\d{{1,2}}/(?:\d{{1,2}}/)?{year}\b",
        ]
        if month:
            name = _MONTHS[month - 1]
            spelled = rf"{name[:3]}(?:{name[3:]})?\.?"
            patterns += [
                rf"\b(?:\d{{1,2}}(?:st|nd|rd|th)?\s+(?:of\s+)?)?{spelled}\s*(?:\d{{1,2}}(?:st|nd|rd|th)?)?,?\s*(?:of\s+)?{year}\b",
                rf"\b{year}\s+{spelled}\b",
                rf"\b{spelled}\s+\d{{1,2}}(?:st|nd|rd|th)?\b",
            ]
        if quarter:
            words = ("first", "second", "third", "fourth")[int(quarter) - 1]
            patterns += [
                rf"\b{year}[- ]?Q{quarter}\b",
                rf"\bQ{quarter},?\s*(?:of\s+)?{year}\b",
                rf"\b(?:the\s+)?{words}\s+quarter(?:\s+of)?\s+{year}\b",
                rf"\bQ{quarter}\b",
            ]
        patterns.append(rf"(?<![\d.,$]){year}(?![\d.]\d|,\d{{3}})\b")
        for pattern in patterns:
            text = re.sub(pattern, " ", text, flags=re.IGNORECASE)
    # What is left of an echo such as "1982-84=100" or "12-month" is no value either.
    text = re.sub(r"\b(?:19|20)\d{2}\s*[-–]\s*(?:\d{2}|(?:19|20)\d{2})(?:\s*=\s*100)?\b", " ", text)
    return re.sub(r"\b\d+[- ](?:month|year|quarter|day|week)s?\b", " ", text, flags=re.IGNORECASE)


def unit_scale(unit: str) -> float:
    """What a unit counts in.

    >>> unit_scale("billions of US dollars"), unit_scale("percent")
    (1000000000.0, 1.0)
    """
    first = unit.lower().split()[:1]
    return _SCALE.get(first[0].rstrip("s"), 1.0) if first and len(first[0]) > 1 else 1.0


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
