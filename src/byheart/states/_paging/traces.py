"""Traces from files: libCacheSim's oracleGeneral, CSV, and one page a line; read in pieces.

Pages become numbers on the way. Up to `MEMORY` requests lie in memory, longer ones in a temporary
file that the operating system pages in and out, so a trace may be larger than memory; the distinct
pages must fit.
"""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from byheart.core.errors import DataError, UnknownName, need
from byheart.states._paging.bits import Trace

__all__ = ["FORMATS", "read_trace"]

FORMATS = ("oracleGeneral", "csv", "txt")
MEMORY = 50_000_000
"""Requests that are kept in memory; more lie in a file."""

PIECE = 1 << 20
"""Requests that are numbered at once."""

_RECORD = np.dtype([("time", "<u4"), ("id", "<u8"), ("size", "<u4"), ("next", "<i8")])
_NAMES = ("obj_id", "object", "id", "key", "page", "block", "lbn", "offset")


def read_trace(
    path: str | Path,
    format: str | None = None,
    *,
    column: str | int | None = None,
    progress: Callable[[float], None] | None = None,
) -> Trace:
    """Read a trace.

    Args:
        path: A file; ``.gz`` and ``.zst`` (with the package zstandard) are unpacked on the way.
        format: ``"oracleGeneral"`` (records of 24 bytes: u32 time, u64 id, u32 size, i64 next),
            ``"csv"`` or ``"txt"``; by the file's name if left out.
        column: Of a CSV: a heading, or a number from 0 on. Left out, a heading such as "obj_id" or
            "key" is looked for, and a file of one column needs none.
        progress: Called with the share read.

    Raises:
        DataError: The file cannot be read; with its line or record.
        MissingExtra: It is packed by zstd and zstandard is not installed.
    """
    path = Path(path)
    kind = format or _kind(path)
    if kind not in FORMATS:
        raise UnknownName("trace format", kind, FORMATS)
    try:
        size = max(path.stat().st_size, 1)
        with open(path, "rb") as raw:
            file = _unpacked(path, raw)
            pieces = {"oracleGeneral": _records, "txt": _lines}.get(kind)
            found = pieces(path, file) if pieces else _columns(path, file, column)
            return _numbered(path, found, lambda: progress and progress(raw.tell() / size))
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist") from error
    except (OSError, EOFError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error


def _kind(path: Path) -> str:
    names = [s.lower() for s in path.suffixes if s.lower() not in (".gz", ".zst")]
    if any(s in (".bin", ".oraclegeneral") for s in names) or "oraclegeneral" in path.name.lower():
        return "oracleGeneral"
    return "csv" if names[-1:] in ([".csv"], [".tsv"]) else "txt"


def _unpacked(path: Path, raw: BinaryIO) -> BinaryIO:
    if path.suffix == ".gz":
        return cast(BinaryIO, gzip.GzipFile(fileobj=raw))
    if path.suffix == ".zst":
        zstandard: Any = need("zstandard", "states")
        return cast(BinaryIO, zstandard.ZstdDecompressor().stream_reader(raw))
    return raw


def _records(path: Path, file: BinaryIO) -> Iterator[np.ndarray]:
    buffered, count = io.BufferedReader(cast(io.RawIOBase, file)), 0
    while data := buffered.read(PIECE * _RECORD.itemsize):
        whole = len(data) - len(data) % _RECORD.itemsize
        count += whole // _RECORD.itemsize
        if whole < len(data):
            raise DataError(
                f"{path}, record {count + 1}: cut off after {len(data) - whole} of 24 bytes; is it "
                "a trace in the format oracleGeneral?"
            )
        yield np.frombuffer(data, _RECORD)["id"]


def _lines(path: Path, file: BinaryIO) -> Iterator[np.ndarray]:
    piece: list[str] = []
    for line in _text(path, file):
        if page := line.strip():
            piece.append(page)
        if len(piece) == PIECE:
            yield np.array(piece)
            piece = []
    yield np.array(piece)


def _text(path: Path, file: BinaryIO) -> Iterator[str]:
    number = 0
    text = io.TextIOWrapper(file, "utf-8-sig", newline=None)
    try:
        for number, line in enumerate(text, 1):  # noqa: B007
            yield line
    except UnicodeDecodeError as error:
        raise DataError(f"{path}, line {number + 1}: not UTF-8 text; name the format") from error
    finally:
        with contextlib.suppress(ValueError):  # the file was closed before, after an error
            text.detach()  # else it closes the file


def _columns(path: Path, file: BinaryIO, column: str | int | None) -> Iterator[np.ndarray]:
    comma = "\t" if ".tsv" in path.suffixes else ","
    rows = csv.reader(_text(path, file), delimiter=comma)
    first = next(rows, None)
    if first is None:
        return
    heads = [h.strip() for h in first]
    at, headed = _column(path, heads, column)
    piece = [] if headed else [heads[at]]
    try:
        for row in rows:
            if not row:
                continue
            if at >= len(row) or not row[at].strip():
                raise DataError(f"{path}, line {rows.line_num}: no column {at} in it: {row!r:.80}")
            piece.append(row[at].strip())
            if len(piece) == PIECE:
                yield np.array(piece)
                piece = []
    except csv.Error as error:
        raise DataError(f"{path}, line {rows.line_num}: {error}") from error
    yield np.array(piece)


def _column(path: Path, heads: list[str], column: str | int | None) -> tuple[int, bool]:
    """Which column, and whether the first line is headings."""
    number = int(column) if isinstance(column, str) and column.isdigit() else column
    if isinstance(number, int):
        if not 0 <= number < len(heads):
            raise DataError(f"{path}, line 1: {len(heads)} columns, so there is no column {number}")
        return number, not any(c.isdigit() for c in heads[number])
    if number is not None:
        if number not in heads:
            raise UnknownName("column", number, heads)
        return heads.index(number), True
    for name in _NAMES:
        for i, head in enumerate(heads):
            if head.lower() == name:
                return i, True
    if len(heads) == 1:
        return 0, not any(c.isdigit() for c in heads[0])
    raise DataError(f"{path} has the columns {', '.join(heads)}; say which one holds the page")


def _numbered(path: Path, pieces: Iterator[np.ndarray], told: Callable[[], Any]) -> Trace:
    """Pages as numbers in the order of their names."""
    known: dict[Any, int] = {}
    parts: list[np.ndarray] = []
    store: Any = None
    total, numbers = 0, False
    for piece in pieces:
        if not len(piece):
            continue
        numbers = piece.dtype.kind == "u"
        names, inverse = np.unique(piece, return_inverse=True)
        number = np.array([known.setdefault(n, len(known)) for n in names.tolist()], np.int64)
        parts.append(number[inverse.reshape(-1)])
        total += len(piece)
        if total > MEMORY:
            store = store or tempfile.TemporaryFile()  # noqa: SIM115  (as long as the array)
            for part in parts:
                store.write(part.tobytes())
            parts = []
        told()
    if not total:
        raise DataError(f"{path} is empty: there is no request in it")
    names = np.array(list(known), np.uint64 if numbers else None)  # int64 would lose the largest
    order = np.argsort(names, kind="stable")
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    if store is None:
        return Trace(rank[np.concatenate(parts)], names[order])
    for part in parts:
        store.write(part.tobytes())
    store.flush()
    pages = np.memmap(store, np.int64, "r+", shape=(total,))
    for begin in range(0, total, PIECE):
        pages[begin : begin + PIECE] = rank[pages[begin : begin + PIECE]]
    return Trace(pages, names[order])
