"""Reading a user's `date,value` file: strict, and clear about what is wrong and where."""

from __future__ import annotations

import csv
import io
import itertools
import math
import re
from dataclasses import dataclass
from pathlib import Path

from byheart.core.errors import DataError, UsageError

__all__ = ["Rows", "read_csv"]

_MISSING = {"", ".", "na", "n/a", "nan", "null", "none", "#n/a", "-"}


@dataclass(frozen=True)
class Rows:
    """Rows of a file: (date, value, line), the frequency and the largest number of decimals."""

    rows: list[tuple[str, float, int]]
    freq: str
    decimals: int


def read_csv(path: Path, *, freq: str | None, gaps: str) -> tuple[Rows, str]:
    """Rows and the heading of the value column; see `Series.from_csv`."""
    if gaps not in ("error", "skip"):
        raise UsageError(f"gaps is 'error' or 'skip', got {gaps!r}")
    if freq is not None and freq not in "AQMWD":
        raise UsageError(f"freq is A, Q, M, W or D, got {freq!r}")
    text = _text(path)
    _refuse_semicolons(path, text)
    reader = csv.reader(io.StringIO(text, newline=""))
    lines = [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
    if not lines:
        raise DataError(f"{path} is empty; expected a header 'date,value' and rows below it")
    header = [cell.strip() for cell in lines[0][1]]
    date_at, value_at, vintage_at = _columns(path, header)
    raw: list[tuple[str, float, int]] = []
    holes: list[tuple[int, str]] = []
    decimals = 0
    for number, row in lines[1:]:
        if len(row) != len(header):
            hint = (
                "; if the decimal mark is a comma, write 3.7 instead of 3,7"
                if len(row) == len(header) + 1
                else ""
            )
            raise DataError(
                f"{path}, line {number}: {len(row)} cells, the header has {len(header)}{hint}"
            )
        cell = row[value_at].strip()
        if cell.lower() in _MISSING:
            if gaps == "error":
                raise DataError(
                    f"{path}, line {number}: no value at {row[date_at].strip()!r} "
                    f"(found {cell!r}); fill it, remove the row, or leave it out with "
                    "gaps='skip' (--set economic-recall.gaps=skip)"
                )
            holes.append((number, row[date_at]))
            continue
        raw.append((row[date_at].strip(), _number(path, number, cell), number))
        decimals = max(decimals, len(cell.partition(".")[2]) if "e" not in cell.lower() else 0)
    if len(raw) < 2:
        raise DataError(
            f"{path}: {len(raw)} row{'s' if len(raw) != 1 else ''} with a value; "
            "a series needs at least two"
        )
    chosen = freq or _tell_freq(path, raw, vintage_at is not None)
    rows = [(_date(path, line, d, chosen), v, line) for d, v, line in raw]
    _check_order(path, rows, vintage_at is not None)
    if gaps == "error":
        _check_gaps(path, rows, chosen)
    return Rows(rows, chosen, min(decimals, 6)), header[value_at]


def _text(path: Path) -> str:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"{path} does not exist; give the path of a date,value file") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise DataError(f"{path} is UTF-16; save it as UTF-8")
    if b"\x00" in data[:4096]:
        raise DataError(f"{path} is not a text file (it holds null bytes); export it as CSV")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise DataError(f"{path}, line {line}: not UTF-8; save it as UTF-8") from error


def _refuse_semicolons(path: Path, text: str) -> None:
    first = next((line for line in text.splitlines() if line.strip()), "")
    for mark, name in ((";", "semicolons"), ("\t", "tabs")):
        if mark in first and "," not in first:
            comma = re.search(rf"{re.escape(mark)}\s*\"?-?\d+,\d", text) is not None
            also = ", with a comma as decimal mark," if comma else ""
            raise DataError(
                f"{path}, line 1: cells are separated by {name}{also} and not by commas; "
                "save it as comma-separated with a decimal point (2009-10,9.5)"
            )


def _columns(path: Path, header: list[str]) -> tuple[int, int, int | None]:
    names = [h.lower() for h in header]
    if len(names) < 2:
        raise DataError(f"{path}, line 1: one column {header}; expected a header 'date,value'")
    if any(re.fullmatch(r"\d{4}([-/]\d{1,2}){0,2}|-?\d+(\.\d+)?", n) for n in names):
        raise DataError(f"{path}, line 1: no header (found {','.join(header)}); add 'date,value'")
    dates = [i for i, n in enumerate(names) if n in ("date", "observation_date", "month", "period")]
    vintage = next((i for i, n in enumerate(names) if n in ("vintage", "realtime_start")), None)
    values = [i for i, n in enumerate(names) if n == "value"]
    rest = [i for i in range(len(names)) if i not in dates[:1] and i != vintage]
    if not values and len(rest) == 1:
        values = rest
    if not values:  # a price file: Date,Open,High,Low,Close,Adj Close,Volume
        values = [i for i, n in enumerate(names) if n == "close"]
    if not dates or not values:
        raise DataError(
            f"{path}, line 1: columns are {', '.join(header)}; "
            "one must be called 'date' and one 'value' (or 'close')"
        )
    return dates[0], values[0], vintage


def _number(path: Path, line: int, cell: str) -> float:
    if re.fullmatch(r"-?\d+,\d+", cell):
        raise DataError(
            f"{path}, line {line}: {cell!r} has a comma; write a decimal point (3.7), "
            "and no thousands marks"
        )
    try:
        value = float(cell)
    except ValueError:
        raise DataError(f"{path}, line {line}: {cell!r} is not a number") from None
    if not math.isfinite(value) or "_" in cell:
        raise DataError(f"{path}, line {line}: {cell!r} is not a finite number")
    return value


_DAY = re.compile(r"(\d{4})[-/](\d{1,2})[-/](\d{1,2})(?:[T ].*)?")
_MONTH = re.compile(r"(\d{4})[-/ ]?M?(\d{2})")
_QUARTER = re.compile(r"(\d{4})[-: ]?Q([1-4])", re.IGNORECASE)


def _tell_freq(path: Path, rows: list[tuple[str, float, int]], vintages: bool) -> str:
    first = rows[0][0]
    if re.fullmatch(r"\d{4}", first):
        return "A"
    if _QUARTER.fullmatch(first):
        return "Q"
    if _MONTH.fullmatch(first):
        return "M"
    days = [m for d, _, _ in rows if (m := _DAY.fullmatch(d))]
    if len(days) < 2:
        raise DataError(
            f"{path}, line {rows[0][2]}: {first!r} is no date; write YYYY-MM-DD, YYYY-MM, "
            "YYYY-Qn or YYYY"
        )
    if len({m[3] for m in days}) == 1:
        months = {(int(m[2]) - 1) % 12 for m in days}
        if len(months) == 1 and not vintages:
            return "A"
        return "Q" if len({m % 3 for m in months}) == 1 and len(months) <= 4 else "M"
    import datetime

    try:
        stamps = sorted({datetime.date(*(int(g) for g in m.groups()[:3])) for m in days})
    except ValueError as error:
        raise DataError(f"{path}: a date cannot be: {error}") from error
    steps = sorted((b - a).days for a, b in itertools.pairwise(stamps))
    middle = steps[len(steps) // 2] if steps else 1
    return "D" if middle < 5 else "W" if middle < 10 else "M" if middle < 45 else "Q"


def _date(path: Path, line: int, cell: str, freq: str) -> str:
    day, month, quarter = (p.fullmatch(cell) for p in (_DAY, _MONTH, _QUARTER))
    parts: tuple[int, int, int] | None = None
    if day:
        parts = int(day[1]), int(day[2]), int(day[3])
    elif month and freq in "MQA":
        parts = int(month[1]), int(month[2]), 1
    elif quarter and freq in "QA":
        parts = int(quarter[1]), int(quarter[2]) * 3, 1
    elif freq == "A" and re.fullmatch(r"\d{4}", cell):
        parts = int(cell), 12, 1
    if parts is not None:
        import datetime

        try:
            datetime.date(*parts)
        except ValueError:
            parts = None
    if parts is None:
        raise DataError(
            f"{path}, line {line}: {cell!r} is no date for frequency {freq}; write YYYY-MM-DD, "
            "YYYY-MM, YYYY-Qn or YYYY"
        )
    year, m, d = parts
    return {
        "A": f"{year:04d}",
        "Q": f"{year:04d}-Q{(m - 1) // 3 + 1}",
        "M": f"{year:04d}-{m:02d}",
    }.get(freq, f"{year:04d}-{m:02d}-{d:02d}")


def _check_order(path: Path, rows: list[tuple[str, float, int]], vintages: bool) -> None:
    for (a, _, line_a), (b, _, line_b) in itertools.pairwise(rows):
        if a == b and not vintages:
            raise DataError(
                f"{path}, line {line_b}: {b} was already on line {line_a}; keep one of them, or "
                "add a 'vintage' column"
            )
        if a > b:
            raise DataError(f"{path}, line {line_b}: {b} comes after {a}; sort the file by date")


def _check_gaps(path: Path, rows: list[tuple[str, float, int]], freq: str) -> None:
    from byheart.data.series import month_index

    step = {"A": 12, "Q": 3, "M": 1}.get(freq)
    if step is None:
        return
    for (a, _, _), (b, _, line) in itertools.pairwise(rows):
        if a != b and month_index(b) - month_index(a) != step:
            raise DataError(
                f"{path}, line {line}: a gap between {a} and {b}; fill it, or leave it out "
                "with gaps='skip' (--set economic-recall.gaps=skip)"
            )
