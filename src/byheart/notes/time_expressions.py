"""Time expressions in English text, each resolved to the days it names.

"Last Friday", said on Wednesday, 10 May 2023, is 5 May 2023; "in July" said that day is the whole
of July 2022 or 2023, whichever the tense-less rule below picks. Every expression becomes an
*interval* of days, because notes speak of weeks, months and seasons more often than of days;
general date parsers return one instant, which is why the grammar is written out here.

Conventions (tested one by one):

- weeks begin on Monday, a weekend is Saturday and Sunday, seasons are the northern ones
  (winter is December to February and is named after the year of its December);
- a bare weekday is the latest one up to the day of speaking; "next" or a future preposition
  ("this coming") takes the following one;
- a bare month or day of a month is the occurrence whose start lies nearest to the day of speaking;
- "a few" and "some" are 2 to 4, "a couple of" is 2, "several" 3 to 7, "recently" the last 14 days;
- "N weeks ago" is the calendar week that holds the day N weeks back; likewise months and years.

No clock times: what is finer than a day stays a day. Nothing is guessed without a day of speaking:
relative expressions are then left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime

from byheart.notes.time_rules import GATES, RULES, Interval, hinted, offset

__all__ = ["TimeSpan", "find_times", "parse_moment"]


@dataclass(frozen=True)
class TimeSpan:
    """The days that an expression names.

    Args:
        first: First day.
        last: Last day, included.
        text: The expression as it stands.
        start: Its offset in the text.
    """

    first: date
    last: date
    text: str = ""
    start: int = 0

    @property
    def days(self) -> int:
        """How many days it spans, at least 1."""
        return (self.last - self.first).days + 1


def find_times(text: str, said: date | datetime | None = None) -> list[TimeSpan]:
    """Every time expression in `text`, resolved against the day it was said.

    Of expressions that overlap the one that begins first is kept, of those the longest.

    Args:
        text: English text.
        said: The day of speaking; without it only dates that name their year are found.

    Returns:
        The spans in order of the text.

    >>> for t in find_times("I went last Friday, two weeks after 1 May 2023", date(2023, 5, 17)):
    ...     print(t.text, t.first, t.last)
    last Friday 2023-05-12 2023-05-12
    two weeks after 1 May 2023 2023-05-15 2023-05-21
    """
    if not hinted(text):
        return []
    return list(_find(text, said.date() if isinstance(said, datetime) else said))


_Found = tuple[int, int, "Interval | None"]


def _find(text: str, said: date | None) -> tuple[TimeSpan, ...]:
    there = {name for name, gate in GATES.items() if gate.search(text)}
    found = _matches(text, said, there, relative=False)
    if said is not None:
        # "in December" of "in December 2022" is no expression of its own
        dated = bytearray(len(text))
        for begin, stop, _ in found:
            dated[begin:stop] = b"\1" * (stop - begin)
        for begin, stop, interval in _matches(text, said, there, relative=True):
            if dated.find(1, begin, stop) < 0:
                found.append((begin, stop, interval))
    found.sort(key=lambda f: (f[0], -f[1]))
    spans, end = [], 0
    for begin, stop, interval in _with_offsets(text, found):
        if begin >= end:
            end = stop
            if interval is not None:
                spans.append(TimeSpan(*interval, text[begin:stop], begin))
    return tuple(spans)


def _matches(text: str, said: date | None, there: set[str], *, relative: bool) -> list[_Found]:
    """What the rules find, with or without those that need a day of speaking."""
    found: list[_Found] = []
    for pattern, gates, needs_said, meaning in RULES:
        if needs_said != relative or not gates <= there:
            continue
        for m in pattern.finditer(text):
            try:
                interval = meaning(m, said or date.min)
            except (ValueError, OverflowError):
                # 31 June, or a day outside the calendar: no days, and no part of it is a date
                found.append((m.start(), m.end(), None))
                continue
            if interval is not None and interval[0] <= interval[1]:
                found.append((m.start(), m.end(), interval))
    return found


def _with_offsets(text: str, found: Iterable[_Found]) -> list[_Found]:
    """ "The week before 6 July 2023" in place of the date it leans on."""
    out: list[_Found] = []
    for begin, stop, interval in found:
        out.append((begin, stop, interval))
        if interval is None:
            continue
        try:
            leans = offset(text, begin, interval)
        except (ValueError, OverflowError):
            leans = None
        if leans is not None:
            out.append((leans[0], stop, leans[1]))
    return sorted(out, key=lambda f: (f[0], -f[1]))


_CLOCK = re.compile(r"(?<!\d)(\d{1,2}):(\d{2})(?::(\d{2}))?\s*([ap])?\.?m?", re.I)


def parse_moment(text: str) -> datetime | None:
    """The moment a written time stamp names, without time zone unless it carries one.

    ISO 8601 first, then a date with year anywhere in the text and a clock time beside it.

    >>> parse_moment("1:56 pm on 8 May, 2023")
    datetime.datetime(2023, 5, 8, 13, 56)
    >>> parse_moment("some day") is None
    True
    """
    try:
        return datetime.fromisoformat(text.strip())
    except ValueError:
        pass
    days = [t for t in find_times(text) if t.days == 1]
    if not days:
        return None
    day, clock = days[0].first, _CLOCK.search(text)
    if clock is None:
        return datetime(day.year, day.month, day.day)
    hour, minute, second = int(clock[1]), int(clock[2]), int(clock[3] or 0)
    if clock[4]:
        hour = hour % 12 + (12 if clock[4].lower() == "p" else 0)
    if hour > 23 or minute > 59 or second > 59:
        return None
    return datetime(day.year, day.month, day.day, hour, minute, second)
