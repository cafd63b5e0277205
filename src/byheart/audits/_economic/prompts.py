"""What each probe asks, in our own words: the papers' wording could not be read (sheet, 3.3)."""

from __future__ import annotations

from collections.abc import Sequence

from byheart.audits._economic.dates import month_name
from byheart.core.ask import Message, Prompt
from byheart.data.series import FREQUENCIES, Series

__all__ = [
    "PREFIX",
    "boundary_text",
    "date_words",
    "dating_question",
    "describe",
    "direction_question",
    "frame",
    "unmask_question",
    "value_question",
]

PREFIX = {
    "value": "Answer:",
    "value_context": "Answer:",
    "boundary": "Answer:",
    "scan": "Answer:",
    "direction": '{"direction":',
    "dating": '{"year":',
    "unmask": '{"company":',
}
"""How the reply of each probe begins; given to models that only continue text."""


def date_words(date: str) -> str:
    """A date as a person writes it.

    >>> date_words("2008-10-10"), date_words("2009-Q3"), date_words("2022-06")
    ('10 October 2008', 'the third quarter of 2009', 'June 2022')
    """
    if "-Q" in date:
        words = ("first", "second", "third", "fourth")[int(date[-1]) - 1]
        return f"the {words} quarter of {date[:4]}"
    parts = date.split("-")
    if len(parts) == 1:
        return date
    month = f"{month_name(int(parts[1]))} {parts[0]}"
    return month if len(parts) == 2 else f"{int(parts[2])} {month}"


def describe(series: Series) -> str:
    """Unit, frequency and adjustment, as the question states them."""
    bits = [f"unit: {series.unit}"] if series.unit else []
    bits.append(f"{FREQUENCIES[series.freq]} data")
    if series.adjusted is not None and "seasonally adjusted" not in series.name:
        bits.append("seasonally adjusted" if series.adjusted else "not seasonally adjusted")
    return ", ".join(bits)


def value_question(series: Series, date: str, *, context: int = 0, confidence: bool = False) -> str:
    """Probe 1, or with `context` > 0 probe 2: the values of that many dates before are told.

    The question comes last and ends with the date, so that what differs between two questions of
    one series stands right before the reply.
    """
    shape = (
        'Reply with JSON only: {"value": number or null, "confidence": 0-100}.'
        if confidence
        else "Reply with the number only."
    )
    told = ""
    if context:
        at = series.index(date)
        before = [
            f"{date_words(series.dates[i])}: {series.format(series.values[i])}"
            for i in range(max(0, at - context), at)
        ]
        told = f" Earlier values: {'; '.join(before)}." if before else ""
    return (
        f"Recall a published figure ({describe(series)}). {shape}{told} "
        f"What was the {series.name} {_on(date)} {date_words(date)}?"
    )


def _on(date: str) -> str:
    return "on" if date.count("-") == 2 else "in"


def direction_question(series: Series, date: str, *, history: int = 12) -> str:
    """Probe 5: the data up to the date before, and the sign of the next change."""
    at = series.index(date)
    told = "; ".join(
        f"{date_words(series.dates[i])}: {series.format(series.values[i])}"
        for i in range(max(0, at - history), at)
    )
    return (
        f"{series.name[:1].upper()}{series.name[1:]} ({describe(series)}): {told}. "
        'Reply with JSON only: {"direction": "up" or "down"}. '
        f"Did it go up or down {_on(date)} {date_words(date)}?"
    )


def boundary_text(boundary: str) -> str:
    """Probe 4: the order to forget everything after a date."""
    day = date_words(boundary)
    return (
        f"You are an analyst and today is {day}. You have no knowledge of anything that happened "
        f"or was published after {day}. Use only what was known by then; do not use later data."
    )


def dating_question(text: str) -> str:
    """Probe 3: the headline, and nothing but the headline."""
    return (
        f'Headline: "{text.strip()}"\nIn which year and month was it published? '
        'Reply with JSON only: {"year": YYYY, "month": 1-12}.'
    )


def unmask_question(text: str) -> str:
    """Probe 6: an anonymised text; who speaks, and when."""
    return (
        "Names, dates and numbers in this text were replaced by placeholders. Say which company "
        "it is about and which quarter. Reply with JSON only: "
        '{"company": name, "ticker": symbol, "year": YYYY, "quarter": 1-4, "confidence": 0-100}.\n\n'
        f"{text.strip()}"
    )


def frame(question: str, *, chat: bool, system: str = "", prefix: str = "") -> Prompt:
    """The question as chat messages, or as text whose continuation is the reply."""
    if chat:
        messages: Sequence[Message] = (("system", system),) if system else ()
        return (*messages, ("user", question))
    return f"{system}\n\n{question}\n{prefix}" if system else f"{question}\n{prefix}"
