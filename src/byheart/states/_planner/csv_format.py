"""Buffers as CSV in minimalloc's format: ``id,lower,upper,size``, and ``offset`` in a plan."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from pathlib import Path

from byheart.core.errors import DataError, OutputError
from byheart.states._planner.types import Buffer, MemoryPlan, checked

__all__ = ["read_buffers", "read_offsets", "write_buffers", "write_plan"]

_SAME = {"buffer": "id", "buffer_id": "id", "begin": "lower"}
_NEEDED = ("id", "lower", "upper", "size")


def read_buffers(path: Path | str) -> tuple[Buffer, ...]:
    """Read buffers.

    Lifetimes are half-open. Columns may stand in any order; minimalloc's older names are read as
    it reads them: ``buffer`` for id, ``begin`` or ``start`` for lower, and ``end`` for upper, whose
    value is the last moment and so one less. A column ``offset`` is passed over.

    Args:
        path: A file in UTF-8, with LF or CRLF line ends.

    Raises:
        DataError: If the file cannot be read as that; the message names the line.
    """
    return tuple(b for b, _ in _rows(Path(path)))


def read_offsets(path: Path | str) -> dict[str, int]:
    """Offset by id, of a plan that `write_plan` or minimalloc wrote.

    Raises:
        DataError: As `read_buffers`, and if there is no column ``offset``.
    """
    found = {b.id: offset for b, offset in _rows(Path(path))}
    missing = [i for i, offset in found.items() if offset is None]
    if missing:
        raise DataError(f"{path}: buffer {missing[0]!r} has no offset; is this a plan?")
    return {i: offset for i, offset in found.items() if offset is not None}


def _rows(path: Path) -> list[tuple[Buffer, int | None]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise DataError(f"{path}: there is no such file") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: byte {error.start} is not UTF-8; is this a CSV file?") from error
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from error
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise DataError(f"{path}, line {line}: holds a NUL byte; is this a CSV file?")
    reader = csv.reader(io.StringIO(text, newline=""))
    columns: list[str] | None = None
    first: dict[str, int] = {}
    rows: list[tuple[Buffer, int | None]] = []
    late = 0
    while True:
        try:
            fields = next(reader)
        except StopIteration:
            break
        except csv.Error as error:
            raise DataError(f"{path}, line {reader.line_num}: {error}") from error
        where = f"{path}, line {reader.line_num}"
        if not fields or all(not f.strip() for f in fields):
            continue
        if columns is None:
            columns, late = _header([f.strip() for f in fields], where)
            continue
        if len(fields) != len(columns):
            raise DataError(f"{where}: {len(fields)} fields, the header has {len(columns)}")
        row = dict(zip(columns, (f.strip() for f in fields), strict=True))
        buffer = Buffer(
            row["id"],
            _number(row["lower"], "lower", where),
            _number(row["upper"], "upper", where) + late,
            _number(row["size"], "size", where),
        )
        if not buffer.id:
            raise DataError(f"{where}: the id is empty")
        if buffer.id in first:
            raise DataError(f"{where}: id {buffer.id!r} stands in line {first[buffer.id]} already")
        first[buffer.id] = reader.line_num
        try:
            checked([buffer])
        except DataError as error:
            raise DataError(f"{where}: {error}") from error
        if row.get("alignment") not in (None, "", "1"):
            raise DataError(
                f"{where}: alignment is {row['alignment']}; one alignment holds for all buffers, "
                "give it to plan_memory and leave the column out"
            )
        if row.get("gaps"):
            raise DataError(
                f"{where}: gaps are not planned with; split the buffer, or leave it out"
            )
        offset = row.get("offset")
        rows.append((buffer, _number(offset, "offset", where) if offset else None))
    if columns is None:
        raise DataError(f"{path}: is empty; the first line must be id,lower,upper,size")
    checked(b for b, _ in rows)
    return rows


def _header(names: list[str], where: str) -> tuple[list[str], int]:
    late = 1 if "end" in names else 0
    columns = [_SAME.get(n, {"start": "lower", "end": "upper"}.get(n, n)) for n in names]
    missing = [n for n in _NEEDED if n not in columns]
    if missing:
        raise DataError(
            f"{where}: the header is {','.join(names)!r} and lacks {', '.join(missing)}; "
            "it must be id,lower,upper,size"
        )
    twice = [n for n in columns if columns.count(n) > 1]
    if twice:
        raise DataError(f"{where}: the header names {twice[0]} twice")
    known = {*_NEEDED, "offset", "alignment", "gaps", "hint"}
    unknown = [n for n in columns if n not in known]
    if unknown:
        raise DataError(
            f"{where}: there is no column {unknown[0]!r}; known: {', '.join(sorted(known))}"
        )
    return columns, late


def _number(text: str, name: str, where: str) -> int:
    digits = text[1:] if text[:1] == "-" else text
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 19):
        raise DataError(f"{where}: {name} is {text!r}; a whole number is needed")
    return int(text)


def write_buffers(buffers: Iterable[Buffer], path: Path | str) -> None:
    """Write buffers in minimalloc's format, with LF line ends.

    Raises:
        OutputError: If the file cannot be written.
    """
    _write(path, [[*_NEEDED], *([b.id, b.lower, b.upper, b.size] for b in buffers)])


def write_plan(plan: MemoryPlan, path: Path | str) -> None:
    """Write a plan as minimalloc does: the buffers with a column ``offset``.

    Raises:
        OutputError: If the file cannot be written.
    """
    rows = (
        [b.id, b.lower, b.upper, b.size, o] for b, o in zip(plan.buffers, plan.offsets, strict=True)
    )
    _write(path, [[*_NEEDED, "offset"], *rows])


def _write(path: Path | str, rows: list[list[object]]) -> None:
    out = io.StringIO(newline="")
    csv.writer(out, lineterminator="\n").writerows(rows)
    try:
        Path(path).write_text(out.getvalue(), encoding="utf-8", newline="")
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror}") from error
