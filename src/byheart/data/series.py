"""Dated series of published numbers: the user's CSV, and what offline packages carry.

Nothing here touches a network. The packages `cpi`, `arch`, `bokeh-sampledata` and `statsmodels` are
located, not imported: their data files are read as they lie (importing `cpi` would warn that it is
stale, and download a database where it has none).
"""

from __future__ import annotations

import csv
import functools
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from byheart.core.errors import DataError, UsageError

__all__ = ["FREQUENCIES", "Series", "load", "month_index", "month_label", "registry"]

FREQUENCIES = {"A": "annual", "Q": "quarterly", "M": "monthly", "W": "weekly", "D": "daily"}
"""Letter to word."""

_SHAPES = {
    "A": re.compile(r"(\d{4})"),
    "Q": re.compile(r"(\d{4})-Q([1-4])"),
    "M": re.compile(r"(\d{4})-(\d{2})"),
    "W": re.compile(r"(\d{4})-(\d{2})-(\d{2})"),
    "D": re.compile(r"(\d{4})-(\d{2})-(\d{2})"),
}
_RATE_UNITS = ("percent", "%", "pp", "percentage")


def month_index(date: str) -> int:
    """Months since year 0 of the *last* month of a date or period.

    >>> month_index("2024-Q2") - month_index("2024-06-03"), month_index("2023") % 12
    (0, 11)
    """
    match = re.fullmatch(r"(\d{4})(?:-(?:Q([1-4])|(\d{2})(?:-\d{2})?))?", date)
    if not match or (match[3] and not 1 <= int(match[3]) <= 12):
        raise UsageError(f"{date!r} is no date; write YYYY, YYYY-Qn, YYYY-MM or YYYY-MM-DD")
    month = int(match[3]) if match[3] else int(match[2]) * 3 if match[2] else 12
    return int(match[1]) * 12 + month - 1


def month_label(index: int) -> str:
    """The inverse for months: ``YYYY-MM``.

    >>> month_label(month_index("2024-06"))
    '2024-06'
    """
    return f"{index // 12:04d}-{index % 12 + 1:02d}"


@dataclass(frozen=True)
class Series:
    """A dated series of numbers that the world published.

    Args:
        name: As a person would name it in a question.
        unit: ``"percent"`` (then it is a rate and errors are percentage points), or words such as
            ``"index, 1982-84=100"``.
        freq: ``A``, ``Q``, ``M``, ``W`` or ``D``.
        dates: ``[N]`` sorted, unique: ``YYYY``, ``YYYY-Qn``, ``YYYY-MM`` or ``YYYY-MM-DD``.
        values: ``[N]`` finite numbers.
        vintage: When these values were published or read ("2026-08"); revised data differ by it.
        adjusted: Whether seasonally adjusted; None where that has no meaning.
        source: Where it comes from.
        decimals: Published precision: digits after the point.
        alternatives: Other vintages' values by date, for ``match="any_vintage"``.

    Raises:
        DataError: If the rows cannot be a series.

    >>> s = Series("Unemployment rate", "percent", "M", ("2009-09", "2009-10"), (9.8, 10.0))
    >>> s.value("2009-10"), s.rate
    (10.0, True)
    """

    name: str
    unit: str
    freq: str
    dates: tuple[str, ...]
    values: tuple[float, ...]
    vintage: str = ""
    adjusted: bool | None = None
    source: str = ""
    decimals: int = 2
    alternatives: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "dates", tuple(self.dates))
        object.__setattr__(self, "values", tuple(float(v) for v in self.values))
        if self.freq not in _SHAPES:
            raise DataError(f"freq must be one of {', '.join(_SHAPES)}, got {self.freq!r}")
        if len(self.dates) != len(self.values):
            raise DataError(f"{self.name}: {len(self.dates)} dates, {len(self.values)} values")
        if len(self.dates) < 2:
            raise DataError(f"{self.name}: {len(self.dates)} rows; a series needs at least two")
        for date, value in zip(self.dates, self.values, strict=True):
            if not _valid(date, self.freq):
                raise DataError(
                    f"{self.name}: {date!r} is no {FREQUENCIES[self.freq]} date "
                    f"({_example(self.freq)})"
                )
            if not math.isfinite(value):
                raise DataError(f"{self.name}: the value at {date} is {value}")
        for a, b in zip(self.dates, self.dates[1:], strict=False):
            if a >= b:
                what = "occurs twice" if a == b else f"comes before {b}"
                raise DataError(f"{self.name}: {a} {what}; dates must be sorted and unique")

    def __len__(self) -> int:
        return len(self.dates)

    @property
    def rate(self) -> bool:
        """Whether errors are percentage points (a rate) rather than shares of the level."""
        return any(word in self.unit.lower().split() for word in _RATE_UNITS) or self.unit == "%"

    @functools.cached_property
    def months(self) -> tuple[int, ...]:
        """`month_index` of every date: the blocks of the bootstrap."""
        return tuple(month_index(d) for d in self.dates)

    def index(self, date: str) -> int:
        """Position of a date.

        Raises:
            DataError: If it is not in the series.
        """
        try:
            return self.dates.index(date)
        except ValueError:
            raise DataError(
                f"{self.name} has no value at {date}; it spans {self.dates[0]} to {self.dates[-1]}"
            ) from None

    def value(self, date: str) -> float:
        """The value at a date."""
        return self.values[self.index(date)]

    def truths(self, date: str) -> tuple[float, ...]:
        """This value, then those of other vintages."""
        return (self.value(date), *self.alternatives.get(date, ()))

    def split(self, cutoff: str, embargo: int = 0) -> tuple[list[int], list[int]]:
        """Positions up to the cutoff's month, and positions `embargo` months or more after it."""
        at = month_index(cutoff)
        months = self.months
        return (
            [i for i, m in enumerate(months) if m <= at],
            [i for i, m in enumerate(months) if m > at + embargo],
        )

    def between(self, start: str | None = None, end: str | None = None) -> Series:
        """The part from `start` to `end`, both included."""
        low = -1 if start is None else month_index(start)
        high = 10**9 if end is None else month_index(end)
        keep = [i for i, m in enumerate(self.months) if low <= m <= high]
        return replace(
            self,
            dates=tuple(self.dates[i] for i in keep),
            values=tuple(self.values[i] for i in keep),
        )

    def with_vintage(self, other: Series) -> Series:
        """The same series that also accepts `other`'s values where both have a date."""
        known = dict(zip(other.dates, other.values, strict=True))
        extra = {d: (*self.alternatives.get(d, ()), known[d]) for d in self.dates if d in known}
        return replace(self, alternatives={**self.alternatives, **extra})

    def format(self, value: float) -> str:
        """A value at the published precision.

        >>> Series("x", "", "A", ("2000", "2001"), (1, 2), decimals=1).format(1.25)
        '1.2'
        """
        return f"{value:.{self.decimals}f}"

    @classmethod
    def from_csv(
        cls,
        path: str | Path,
        *,
        name: str | None = None,
        unit: str = "",
        freq: str | None = None,
        vintage: str = "",
        adjusted: bool | None = None,
        gaps: str = "error",
    ) -> Series:
        """Read ``date,value`` (and perhaps ``vintage``) from a comma-separated file with a header.

        FRED's two columns (``observation_date,UNRATE``) are taken as they are. With a vintage
        column a date may stand more than once: the first row of a date is the value, the others
        are `alternatives`.

        Args:
            path: The file, UTF-8, with or without a byte-order mark.
            name: What the question calls the series; None takes the value column's heading, or
                the file's name where that heading is just "value".
            unit: As for `Series`.
            freq: None tells it from the dates.
            vintage: As for `Series`.
            adjusted: As for `Series`.
            gaps: ``"error"`` refuses missing values and missing periods; ``"skip"`` leaves them
                out.

        Raises:
            DataError: Names the file, the line and what is wrong with it.
            UsageError: If `gaps` or `freq` is none of the above.
        """
        from byheart.data._series_csv import read_csv

        rows, heading = read_csv(Path(path), freq=freq, gaps=gaps)
        stem = Path(path).stem.replace("_", " ").replace("-", " ")
        title = name or (stem if heading.lower() in ("value", "close") else heading)
        first: dict[str, float] = {}
        others: dict[str, tuple[float, ...]] = {}
        for date, value, _ in rows.rows:
            if date in first:
                others[date] = (*others.get(date, ()), value)
            else:
                first[date] = value
        return cls(
            name=title,
            unit=unit,
            freq=rows.freq,
            dates=tuple(first),
            values=tuple(first.values()),
            vintage=vintage,
            adjusted=adjusted,
            source=Path(path).name,
            decimals=rows.decimals,
            alternatives=others,
        )

    def to_csv(self, path: str | Path) -> None:
        """Write ``date,value``; `from_csv` is the inverse."""
        with Path(path).open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["date", "value"])
            writer.writerows(
                (d, self.format(v)) for d, v in zip(self.dates, self.values, strict=True)
            )


def _valid(date: str, freq: str) -> bool:
    match = _SHAPES[freq].fullmatch(date)
    if not match:
        return False
    if freq in "MWD" and not 1 <= int(match[2]) <= 12:
        return False
    if freq in "WD":
        import datetime

        try:
            datetime.date(int(match[1]), int(match[2]), int(match[3]))
        except ValueError:
            return False
    return True


def _example(freq: str) -> str:
    return {"A": "1999", "Q": "1999-Q4", "M": "1999-12"}.get(freq, "1999-12-31")


def load(key: str) -> Series:
    """A series of the offline packages by its key, or any BLS consumer price series.

    Args:
        key: As `registry` lists it, or ``"cpi:SERIES_ID"`` for any of the `cpi` package.

    Raises:
        UnknownName: If there is no such series; the nearest names are suggested.
        MissingExtra: If the package that carries it is not installed.

    >>> load("us_cpi_nsa").value("2022-06")
    296.311
    """
    from byheart.data import _series_packages

    return _series_packages.load(key)


def registry() -> dict[str, str]:
    """Key to a line about it, of every series that `load` knows. Nothing is opened.

    >>> "us_cpi_nsa" in registry()
    True
    """
    from byheart.data import _series_packages

    return _series_packages.registry()


def resolve(entries: Sequence[str | Path | Series]) -> list[Series]:
    """Keys, paths of CSV files, and series, as series."""
    out = []
    for entry in entries:
        if isinstance(entry, Series):
            out.append(entry)
        elif isinstance(entry, Path) or str(entry).lower().endswith(".csv"):
            out.append(Series.from_csv(entry))
        else:
            out.append(load(str(entry)))
    return out
