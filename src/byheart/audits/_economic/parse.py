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

from byheart.audits._economic.dates import OTHER, month_number, parse_date, strip_dates
from byheart.audits._economic.numbers import SCALE, chosen, plain

__all__ = ["Answer", "parse_direction", "parse_object", "parse_value"]

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
        if not _HEDGED.search(since) or OTHER in since.rpartition("but")[2]:
            return Answer(None)
    return Answer(found.value, is_range=found.is_range)


def _confidence(value: Any) -> float | None:
    if isinstance(value, str):
        value = _free(value, ()).value
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    value = float(value)
    return min(max(value * 100 if 0 < value < 1 else value, 0.0), 100.0)


def unit_scale(unit: str) -> float:
    """What a unit counts in.

    >>> unit_scale("billions of US dollars"), unit_scale("percent")
    (1000000000.0, 1.0)
    """
    first = unit.lower().split()[:1]
    return SCALE.get(first[0].rstrip("s"), 1.0) if first and len(first[0]) > 1 else 1.0


_UP = (
    r"\b(?:up|upwards?|r[io]s(?:e|es|en|ing)|rose|increas\w*|higher|above|grow\w*|grew|gain\w*|"
    r"climb\w*|positive|jump\w*)\b|^\W*\+(?:1|\W*$)"
)
_DOWN = (
    r"\b(?:down|downwards?|f[ae]ll(?:s|ing|en)?|decreas\w*|lower|below|declin\w*|drop\w*|lost|"
    r"plung\w*|plummet\w*|negative|slipped)\b|^\W*[-−](?:1|\W*$)"
)


def parse_direction(reply: str) -> int | None:
    """+1 for up, -1 for down, None where neither or both are said, or one is denied.

    >>> parse_direction('{"direction": "down"}'), parse_direction("It rose."), parse_direction("?")
    (-1, 1, None)
    """
    found = {str(k).lower(): v for k, v in (parse_object(reply) or {}).items()}
    text = str(found.get("direction", reply)).lower()
    if text.strip() in ("1", "1.0"):
        return 1
    text = re.sub(r"\b(?:up or down|down or up)\b", " ", text)  # the question, echoed
    if re.search(
        r"\b(?:not|n't|never|neither)\s+(?:\w+\s+){0,2}?(?:go|gone|up|down|ris|fall|incr|decr)",
        text,
    ):
        return None
    up, down = re.search(_UP, text), re.search(_DOWN, text)
    if bool(up) == bool(down):
        return None
    return 1 if up else -1


def said_date(reply: str) -> tuple[int | None, int | None]:
    """Year and month from a JSON reply, else from free text.

    >>> said_date('{"year": 2008, "month": 9}'), said_date("It was in March of 2020.")
    ((2008, 9), (2020, 3))
    """
    found = {str(k).lower(): v for k, v in (parse_object(reply) or {}).items()}
    if "year" not in found and "month" not in found:
        return parse_date(reply)
    year = _of(found.get("year"), ()).value
    if year is None and isinstance(found.get("year"), str):
        return parse_date(str(found["year"]))
    return (int(year) if year else None), month_number(found.get("month"))
