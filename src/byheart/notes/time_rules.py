"""The grammar of English time expressions: patterns, and the days each of them means.

Public face and conventions are in `byheart.notes.time_expressions`.
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Callable
from datetime import date, timedelta

__all__ = ["GATES", "RULES", "Interval", "hinted", "month_name", "offset"]

# not the calendar module's: those change with the process's locale
_MONTH_NAMES = [
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
_DAY_NAMES = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
_MONTHS = {form: i for i, n in enumerate(_MONTH_NAMES, 1) for form in (n, n[:3])} | {"sept": 9}
_DAYS = {form: i for i, n in enumerate(_DAY_NAMES) for form in (n, n[:3])} | {
    "tues": 1,
    "thur": 3,
    "thurs": 3,
}
_NUMERALS = "zero one two three four five six seven eight nine ten eleven twelve"
_COUNTS: dict[str, tuple[int, int]] = {word: (i, i) for i, word in enumerate(_NUMERALS.split())} | {
    "a": (1, 1),
    "an": (1, 1),
    "the": (1, 1),
    "a couple of": (2, 2),
    "a couple": (2, 2),
    "couple of": (2, 2),
    "couple": (2, 2),
    "a few": (2, 4),
    "few": (2, 4),
    "some": (2, 4),
    "several": (3, 7),
}
_ORDINALS = {"first": 1, "second": 2, "third": 3, "fourth": 4, "fifth": 5, "last": -1, "1st": 1} | {
    "2nd": 2,
    "3rd": 3,
    "4th": 4,
    "5th": 5,
}
_SEASONS = {"spring": 3, "summer": 6, "autumn": 9, "fall": 9, "winter": 12}
_FEASTS: dict[str, tuple[int, int]] = {
    "christmas eve": (12, 24),
    "christmas day": (12, 25),
    "christmas": (12, 25),
    "new year's eve": (12, 31),
    "new year's day": (1, 1),
    "new year's": (1, 1),
    "halloween": (10, 31),
    "valentine's day": (2, 14),
    "independence day": (7, 4),
}


Interval = tuple[date, date]


def month_name(month: int) -> str:
    """English name of a month, 1 to 12, whatever the locale."""
    return _MONTH_NAMES[month - 1]


def _shift_month(day: date, months: int) -> date:
    """First day of the month `months` after that of `day`; outside years 1..9999 an error."""
    index = day.year * 12 + day.month - 1 + months
    return date(index // 12, index % 12 + 1, 1)


def _month(year: int, month: int) -> Interval:
    return date(year, month, 1), date(year, month, calendar.monthrange(year, month)[1])


def _year(year: int) -> Interval:
    return date(year, 1, 1), date(year, 12, 31)


def _week(day: date) -> Interval:
    monday = day - timedelta(days=day.weekday())
    return monday, monday + timedelta(days=6)


def _weekend(day: date) -> Interval:
    saturday = day - timedelta(days=day.weekday()) + timedelta(days=5)
    return saturday, saturday + timedelta(days=1)


def _season(year: int, name: str) -> Interval:
    begin = date(year, _SEASONS[name], 1)
    return begin, _shift_month(begin, 3) - timedelta(days=1)


def _unit(day: date, unit: str) -> Interval:
    """The calendar unit that holds `day`."""
    return {
        "day": lambda: (day, day),
        "week": lambda: _week(day),
        "weekend": lambda: _weekend(day),
        "month": lambda: _month(day.year, day.month),
        "year": lambda: _year(day.year),
        "decade": lambda: (_year(day.year // 10 * 10)[0], _year(day.year // 10 * 10 + 9)[1]),
    }[unit]()


def _moved(day: date, unit: str, n: int) -> date:
    """`day` moved by n units; a day that the month lacks becomes its last."""
    if unit in ("day", "week", "weekend"):
        return day + timedelta(days=n * (1 if unit == "day" else 7))
    months = {"month": 1, "year": 12, "decade": 120}[unit] * n
    begin = _shift_month(day, months)
    return begin.replace(day=min(day.day, calendar.monthrange(begin.year, begin.month)[1]))


def _nearest(said: date, of_year: Callable[[int], Interval]) -> Interval:
    """The yearly occurrence whose start lies nearest to `said`, the earlier one at a tie."""
    found = [of_year(said.year + k) for k in (-1, 0, 1) if 1 <= said.year + k <= 9999]
    return min(found, key=lambda i: abs((i[0] - said).days))


_NUMBER = r"(?:\d{1,3}|" + "|".join(sorted(_COUNTS, key=len, reverse=True)) + ")"
_UNIT = r"(?P<unit>day|week|weekend|month|year|decade)s?"
_MONTH = r"(?P<month>" + "|".join(sorted(_MONTHS, key=len, reverse=True)) + r")\.?"
_WEEKDAY = r"(?P<weekday>" + "|".join(sorted(_DAYS, key=len, reverse=True)) + r")"
_DAY = r"(?P<day>[0-3]?\d)(?:st|nd|rd|th)?"
_YEAR = r"(?P<year>(?:1[5-9]|20|21)\d\d)"
_ORDINAL = r"(?P<ordinal>" + "|".join(_ORDINALS) + ")"
_SEASON = r"(?P<season>" + "|".join(_SEASONS) + ")"
_FEAST = r"(?P<feast>" + "|".join(_FEASTS) + ")"
_WHICH = r"(?P<which>last|past|previous|this past|next|this coming|coming|this)"
_PART = r"(?P<part>early|mid|late|(?:the )?beginning of|(?:the )?end of|(?:the )?middle of|(?:the )?start of|(?:the )?first half of|(?:the )?second half of)"

_Rule = Callable[[re.Match[str], date], "Interval | None"]
GATES = {
    "year": re.compile(r"\d{4}"),
    "month": re.compile(_MONTH, re.I),
    "weekday": re.compile(_WEEKDAY, re.I),
    "unit": re.compile(_UNIT, re.I),
    "season": re.compile(_SEASON, re.I),
    "feast": re.compile(_FEAST, re.I),
}
"""What has to be in a text, anywhere, before a rule that names it is worth trying."""

RULES: list[tuple[re.Pattern[str], frozenset[str], bool, _Rule]] = []
"""Pattern, gates, whether a day of speaking is needed, meaning; dates with their year come first."""


def _rule(pattern: str, *, said: bool = True) -> Callable[[_Rule], _Rule]:
    compiled = re.compile(rf"(?<![\w-])(?:{pattern})(?!\w)", re.I)
    gates = frozenset(GATES.keys() & compiled.groupindex.keys())

    def keep(meaning: _Rule) -> _Rule:
        RULES.append((compiled, gates, said, meaning))
        return meaning

    return keep


def _count(text: str) -> tuple[int, int]:
    text = " ".join(text.lower().split())
    return (int(text), int(text)) if text.isdigit() else _COUNTS[text]


def _direction(which: str) -> int:
    which = which.lower()
    return 0 if which == "this" else 1 if which in ("next", "coming", "this coming") else -1


def _weekday(day: date, weekday: int, which: int) -> date:
    """The last such weekday before `day` (-1), up to it (0), or the next after it (1)."""
    if which > 0:
        return day + timedelta(days=(weekday - day.weekday() - 1) % 7 + 1)
    back = (day.weekday() - weekday) % 7
    return day - timedelta(days=back or (7 if which < 0 else 0))


# absolute


@_rule(r"(?P<y>\d{4})-(?P<m>\d{1,2})-(?P<d>\d{1,2})", said=False)
def _iso(m: re.Match[str], _: date) -> Interval:
    day = date(int(m["y"]), int(m["m"]), int(m["d"]))
    return day, day


@_rule(rf"{_DAY}(?:\s+of)?\s*{_MONTH},?\s*{_YEAR}", said=False)
@_rule(rf"{_MONTH}\s*{_DAY},?\s+{_YEAR}", said=False)
def _full(m: re.Match[str], _: date) -> Interval:
    day = date(int(m["year"]), _MONTHS[m["month"].lower()], int(m["day"]))
    return day, day


_THIRDS = {"beginning": "early", "start": "early", "middle": "mid", "end": "late"}


def _part(part: str, interval: Interval) -> Interval:
    """A third (early, mid, late) or half of an interval."""
    words = [w for w in part.lower().split() if w not in ("the", "of")]
    first, days = interval[0], (interval[1] - interval[0]).days + 1
    if "half" in words:
        middle = first + timedelta(days=days // 2)
        return (first, middle - timedelta(days=1)) if words[0] == "first" else (middle, interval[1])
    which = _THIRDS.get(words[0], words[0])
    third = days // 3
    a, b = first + timedelta(days=third), first + timedelta(days=2 * third)
    return {
        "early": (first, a - timedelta(days=1)),
        "mid": (a, b - timedelta(days=1)),
        "late": (b, interval[1]),
    }[which]


@_rule(rf"{_PART}[\s-]+{_MONTH}(?:\s+of)?,?\s+{_YEAR}", said=False)
def _part_of_month(m: re.Match[str], _: date) -> Interval:
    return _part(m["part"], _month(int(m["year"]), _MONTHS[m["month"].lower()]))


@_rule(rf"{_PART}[\s-]+{_YEAR}", said=False)
def _part_of_year(m: re.Match[str], _: date) -> Interval:
    return _part(m["part"], _year(int(m["year"])))


@_rule(rf"{_ORDINAL}\s+weekend\s+(?:of|in)\s+{_MONTH},?\s+{_YEAR}", said=False)
@_rule(rf"{_ORDINAL}\s+week\s+(?:of|in)\s+{_MONTH},?\s+{_YEAR}", said=False)
@_rule(rf"{_ORDINAL}\s+{_WEEKDAY}\s+(?:of|in)\s+{_MONTH},?\s+{_YEAR}", said=False)
def _nth_of_month(m: re.Match[str], _: date) -> Interval | None:
    first, last = _month(int(m["year"]), _MONTHS[m["month"].lower()])
    n, groups = _ORDINALS[m["ordinal"].lower()], m.groupdict()
    if "weekday" not in groups and "weekend" not in m[0].lower():
        begin = first + timedelta(days=7 * (n - 1)) if n > 0 else last - timedelta(days=6)
        return (begin, min(begin + timedelta(days=6), last)) if begin <= last else None
    weekday = _DAYS[m["weekday"].lower()] if "weekday" in groups else 5
    found = [
        d
        for k in range((last - first).days + 1)
        if (d := first + timedelta(days=k)).weekday() == weekday
    ]
    if not -len(found) <= n <= len(found):
        return None
    day = found[n - 1] if n > 0 else found[-1]
    return day, day + timedelta(days=0 if "weekday" in groups else 1)


@_rule(rf"{_MONTH}(?:\s+of)?,?\s+{_YEAR}", said=False)
def _month_of_year(m: re.Match[str], _: date) -> Interval:
    return _month(int(m["year"]), _MONTHS[m["month"].lower()])


@_rule(rf"{_SEASON}(?:\s+of)?,?\s+{_YEAR}", said=False)
def _season_of_year(m: re.Match[str], _: date) -> Interval:
    return _season(int(m["year"]), m["season"].lower())


@_rule(rf"{_FEAST},?\s+{_YEAR}", said=False)
def _feast_of_year(m: re.Match[str], _: date) -> Interval:
    day = date(int(m["year"]), *_FEASTS[m["feast"].lower().replace("’", "'")])
    return day, day


@_rule(r"(?P<y>(?:1[5-9]|20|21)\d)0s", said=False)
def _decade(m: re.Match[str], _: date) -> Interval:
    return _year(int(m["y"]) * 10)[0], _year(int(m["y"]) * 10 + 9)[1]


# relative to the day of speaking


@_rule(rf"(?P<n>{_NUMBER})\s+{_UNIT}\s+(?:ago|back|earlier)")
def _ago(m: re.Match[str], said: date) -> Interval:
    few, many = _count(m["n"])
    unit = m["unit"].lower()
    return _unit(_moved(said, unit, -many), unit)[0], _unit(_moved(said, unit, -few), unit)[1]


@_rule(rf"in\s+(?P<n>{_NUMBER})\s+{_UNIT}(?:'s?\s+time)?")
@_rule(rf"(?P<n>{_NUMBER})\s+{_UNIT}\s+from\s+(?:now|today)")
def _ahead(m: re.Match[str], said: date) -> Interval:
    few, many = _count(m["n"])
    unit = m["unit"].lower()
    return _unit(_moved(said, unit, few), unit)[0], _unit(_moved(said, unit, many), unit)[1]


@_rule(
    rf"(?:in\s+|over\s+|for\s+)?the\s+(?:last|past)\s+(?P<n>(?!the\b|a\b|an\b){_NUMBER})\s+{_UNIT}"
)
def _past_units(m: re.Match[str], said: date) -> Interval:
    return _moved(said, m["unit"].lower(), -_count(m["n"])[1]), said


@_rule(r"the\s+day\s+before\s+yesterday")
def _before_yesterday(_: re.Match[str], said: date) -> Interval:
    return said - timedelta(days=2), said - timedelta(days=2)


@_rule(r"the\s+day\s+after\s+tomorrow")
def _after_tomorrow(_: re.Match[str], said: date) -> Interval:
    return said + timedelta(days=2), said + timedelta(days=2)


@_rule(r"(?P<word>yesterday|last\s+night|today|tonight|this\s+(?:morning|afternoon|evening))")
@_rule(r"(?P<word>tomorrow)")
def _near_day(m: re.Match[str], said: date) -> Interval:
    word = m["word"].lower()
    step = 1 if word == "tomorrow" else -1 if word[0] == "y" or word.endswith("night") else 0
    day = said + timedelta(days=0 if word == "tonight" else step)
    return day, day


@_rule(r"recently|the\s+other\s+day|lately")
def _recently(_: re.Match[str], said: date) -> Interval:
    return said - timedelta(days=14), said


@_rule(rf"(?:the\s+)?{_WHICH}\s+{_UNIT}")
def _which_unit(m: re.Match[str], said: date) -> Interval:
    unit, step = m["unit"].lower(), _direction(m["which"])
    # "last weekend" said on a weekend is the one before
    return _unit(_moved(said, unit, step), unit)


@_rule(rf"(?:the\s+)?{_WHICH}\s+{_WEEKDAY}")
def _which_weekday(m: re.Match[str], said: date) -> Interval:
    weekday, step = _DAYS[m["weekday"].lower()], _direction(m["which"])
    if step == 0:
        day = _week(said)[0] + timedelta(days=weekday)
    else:
        day = _weekday(said, weekday, step)
    return day, day


@_rule(rf"(?:the\s+)?{_WHICH}\s+{_MONTH}")
def _which_month(m: re.Match[str], said: date) -> Interval | None:
    if m["month"] in ("may", "march", "mar", "dec"):  # "this may be": only a capital tells
        return None
    return _which_yearly(m["which"], said, lambda y: _month(y, _MONTHS[m["month"].lower()]))


@_rule(rf"(?:the\s+)?{_WHICH}\s+{_SEASON}")
def _which_season(m: re.Match[str], said: date) -> Interval:
    return _which_yearly(m["which"], said, lambda y: _season(y, m["season"].lower()))


@_rule(rf"(?:the\s+)?{_WHICH}\s+{_FEAST}")
def _which_feast(m: re.Match[str], said: date) -> Interval:
    def of(year: int) -> Interval:
        day = date(year, *_FEASTS[m["feast"].lower().replace("’", "'")])
        return day, day

    return _which_yearly(m["which"], said, of)


def _which_yearly(which: str, said: date, of_year: Callable[[int], Interval]) -> Interval:
    """Last: the latest that has ended; next: the first yet to begin; this: of this year."""
    step = _direction(which)
    years = [of_year(said.year + k) for k in (-2, -1, 0, 1, 2)]
    if step < 0:
        return [i for i in years if i[1] < said][-1]
    if step > 0:
        return next(i for i in years if i[0] > said)
    return years[2]


@_rule(r"(?P<weekday>" + "|".join(_DAY_NAMES) + r")s?")
@_rule(rf"on\s+{_WEEKDAY}s?")
def _bare_weekday(m: re.Match[str], said: date) -> Interval:
    day = _weekday(said, _DAYS[m["weekday"].lower()], 0)
    return day, day


@_rule(rf"{_DAY}(?:\s+of)?\s+{_MONTH}")
@_rule(rf"{_MONTH}\s+{_DAY}")
def _day_of_month(m: re.Match[str], said: date) -> Interval:
    month, day = _MONTHS[m["month"].lower()], int(m["day"])

    def of(year: int) -> Interval:
        d = date(year, month, min(day, calendar.monthrange(year, month)[1]))
        return d, d

    if not 1 <= day <= calendar.monthrange(2000, month)[1]:
        raise ValueError(day)
    return _nearest(said, of)


@_rule(
    rf"(?:in|since|by|during|until|till|from|of|around|before|after)\s+(?:{_PART}[\s-]+)?{_MONTH}"
)
def _bare_month(m: re.Match[str], said: date) -> Interval:
    found = _nearest(said, lambda y: _month(y, _MONTHS[m["month"].lower()]))
    return _part(m["part"], found) if m["part"] else found


@_rule(rf"(?:in|since|by|during|over|for)\s+(?:the\s+)?{_SEASON}")
def _bare_season(m: re.Match[str], said: date) -> Interval:
    return _nearest(said, lambda y: _season(y, m["season"].lower()))


@_rule(rf"(?:on|at|for|over|during|before|after|since|until)\s+{_FEAST}")
def _bare_feast(m: re.Match[str], said: date) -> Interval:
    def of(year: int) -> Interval:
        day = date(year, *_FEASTS[m["feast"].lower().replace("’", "'")])
        return day, day

    return _nearest(said, of)


@_rule(
    rf"(?:in|since|by|during|until|till|from|of|around|before|after|the\s+year)\s+{_YEAR}",
    said=False,
)
def _bare_year(m: re.Match[str], _: date) -> Interval:
    return _year(int(m["year"]))


_OFFSET = re.compile(
    rf"(?:(?:the\s+)?(?:(?P<n>{_NUMBER})|last|next|first)\s+)?(?:(?P<unit>day|week|weekend|month|year)s?|{_WEEKDAY}s?)"
    r"\s+(?P<side>before|after|of|following|prior to)\s+(?:the\s+)?$",
    re.I,
)


def offset(text: str, begin: int, anchor: Interval) -> tuple[int, Interval] | None:
    """ "Two weekends before" in front of a date: where it begins, and the days it means."""
    # no such phrase is longer; a whole text in front of every date would take quadratic time
    base_at = max(0, begin - 60)
    m = _OFFSET.search(text[base_at:begin])
    if m is None:
        return None
    at = base_at + m.start()
    if at and text[at - 1].isalnum():
        return None
    few, many = _count(m["n"]) if m["n"] else (1, 1)
    side = m["side"].lower()
    if side == "of":
        one = m["n"] is None or m["n"].lower() == "the"
        if m["weekday"] or not one or m["unit"].lower() not in ("week", "weekend"):
            return None
        return at, _unit(anchor[0], m["unit"].lower())
    sign = -1 if side in ("before", "prior to") else 1
    base = anchor[0] if sign < 0 else anchor[1]
    if m["weekday"]:
        day = _weekday(base, _DAYS[m["weekday"].lower()], sign)
        day += timedelta(days=7 * sign * (many - 1))
        return at, (day, day)
    unit = m["unit"].lower()
    ends = sorted((_moved(base, unit, sign * few), _moved(base, unit, sign * many)))
    if unit == "week" and anchor[0] == anchor[1] and few == many == 1:
        # "the week before 6 July": the seven days up to it
        ends = sorted((base + timedelta(days=sign), base + timedelta(days=7 * sign)))
        return at, (ends[0], ends[1])
    if unit == "day":
        return at, (ends[0], ends[1])
    return at, (_unit(ends[0], unit)[0], _unit(ends[1], unit)[1])


_NEAR = "yesterday today tonight tomorrow night morning afternoon evening recently lately"
_UNITS = "day week weekend month year decade"
_HINTS = frozenset(
    [*_NEAR.split(), *_MONTHS, *_DAYS, *_SEASONS]
    + [unit + s for unit in _UNITS.split() for s in ("", "s")]
    + [day + "s" for day in _DAY_NAMES]
    + [feast.split()[0].split("'")[0] for feast in _FEASTS]
)
_HINT_WORD = re.compile(r"[a-z]+|\d{4}")


def hinted(text: str) -> bool:
    """Whether a text may hold a time expression: the cheap look before the rules."""
    found = _HINT_WORD.findall(text.lower())
    return not _HINTS.isdisjoint(found) or any(word[0].isdigit() for word in found)
