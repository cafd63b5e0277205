"""Pairs as records with Book-SORT's field names: JSON lines, `datasets`, and back."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from byheart.audits._sort.books import Book
from byheart.audits._sort.pairs import Pair
from byheart.core._files import write_atomically
from byheart.core._json_lines import read_json_lines
from byheart.core.errors import DataError, UsageError, need

__all__ = ["FIELDS", "read_pairs", "record", "strays", "to_datasets", "to_jsonl"]

FIELDS = (
    "book_idx", "excerpt_idx", "segment_idx", "segment_1", "segment_2", "seg1_pos", "seg2_pos",
    "distance_bin", "present_seg1_first", "excerpt_pos", "excerpt_text", "book_title", "num_words",
    "segment_length", "excerpt_length",
)  # fmt: skip
"""As in the data set `memari/booksort`."""


def record(pair: Pair) -> dict[str, Any]:
    """One pair with the fields of the published records.

    ``segment_1`` is the one that stands earlier in the book; ``excerpt_pos`` is the start of the
    excerpt as a share of the book's words.

    >>> pair = Pair("b", "Tales", 0, 50, 9, 2, 5, "It rained.", "We left.", 0, 4, True, words=100)
    >>> record(pair)["present_seg1_first"], record(pair)["excerpt_pos"]
    (1, 0.5)
    """
    values = (
        int(pair.book) if pair.book.isdecimal() else pair.book, pair.excerpt_index, 0, pair.first,
        pair.second, pair.first_at, pair.second_at, pair.bin, int(pair.earlier_first),
        pair.start / pair.words if pair.words else 0.0, pair.excerpt, pair.title, pair.words,
        pair.segment_length, pair.excerpt_length,
    )  # fmt: skip
    return dict(zip(FIELDS, values, strict=True))


def to_jsonl(pairs: Iterable[Pair], path: str | Path) -> Path:
    """Write pairs to a JSON-lines file, whole or not at all, and return its path.

    Raises:
        OutputError: If it cannot be written.
    """
    path = Path(path).expanduser()
    lines = (json.dumps(record(p), ensure_ascii=False) + "\n" for p in pairs)
    write_atomically(path, "".join(lines))
    return path


def to_datasets(pairs: Sequence[Pair]) -> Any:
    """The pairs as a `datasets.Dataset`; its `to_parquet` writes the published format.

    Raises:
        UsageError: If there is no pair.
        MissingExtra: If the package `datasets` is not installed.
    """
    if not pairs:
        raise UsageError("no pair is given")
    datasets = need("datasets", "audit")
    records = [record(p) for p in pairs]
    if len({type(r["book_idx"]) for r in records}) > 1:  # a column has one type
        records = [{**r, "book_idx": str(r["book_idx"])} for r in records]
    return datasets.Dataset.from_list(records)


def read_pairs(path: str | Path) -> list[Pair]:
    """Pairs from JSON lines with the published field names.

    A segment that does not stand at the told place of its excerpt is refused. Whether the excerpt is
    of the book that is named, only the book can tell: see `strays`.

    Raises:
        DataError: With the line: a field is missing or of another kind, or a key has a gap.
    """
    out, ids = [], set()
    for _, where, row in read_json_lines(path):
        missing = [f for f in FIELDS if f not in row and f != "segment_idx"]
        if missing:
            raise DataError(f"{where}: lacks {', '.join(missing)}")
        for name in ("segment_1", "segment_2", "excerpt_text", "book_title"):
            if not isinstance(row[name], str):
                raise DataError(f"{where}: {name} must be text, got {row[name]!r:.60}")
        for name in ("excerpt_idx", "seg1_pos", "seg2_pos", "distance_bin", "num_words",
                     "segment_length", "excerpt_length", "present_seg1_first"):  # fmt: skip
            if not isinstance(row[name], int):
                raise DataError(f"{where}: {name} must be a whole number, got {row[name]!r:.60}")
        if row["present_seg1_first"] not in (0, 1):
            raise DataError(
                f"{where}: present_seg1_first is 0 or 1, got {row['present_seg1_first']}"
            )
        if not isinstance(row["excerpt_pos"], int | float):
            raise DataError(
                f"{where}: excerpt_pos must be a number, got {row['excerpt_pos']!r:.60}"
            )
        pair = Pair(
            str(row["book_idx"]), row["book_title"], row["excerpt_idx"],
            round(row["excerpt_pos"] * row["num_words"]), row["excerpt_length"],
            row["segment_length"], row["distance_bin"], row["segment_1"], row["segment_2"],
            row["seg1_pos"], row["seg2_pos"], bool(row["present_seg1_first"]),
            row["excerpt_text"], row["num_words"],
        )  # fmt: skip
        lines = "\n" in pair.excerpt  # events, one a line
        words = pair.excerpt.split("\n" if lines else None)
        for name, text, at in (("segment_1", pair.first, pair.first_at),
                               ("segment_2", pair.second, pair.second_at)):  # fmt: skip
            sought = text.split("\n" if lines else None)
            if not sought or at < 0 or words[at : at + len(sought)] != sought:
                raise DataError(f"{where}: {name} does not stand at word {at} of its excerpt")
        if pair.first_at >= pair.second_at:
            raise DataError(f"{where}: seg1_pos {pair.first_at} is not before {pair.second_at}")
        if pair.id in ids:
            raise DataError(f"{where}: a second pair {pair.id}; each is named once")
        ids.add(pair.id)
        out.append(pair)
    if not out:
        raise DataError(f"{path} holds no pairs")
    return out


def strays(pairs: Sequence[Pair], book: Book) -> list[Pair]:
    """The pairs whose excerpt does not stand in the book.

    The authors' script draws the pairs of one book (Pomona, 73017) from the text of another.

    >>> from dataclasses import replace
    >>> book = Book.from_text("It rained. We left. It was late.")
    >>> pair = Pair("b", "Tales", 0, 0, 4, 2, 5, "It rained.", "We left.", 0, 2, True, "It rained. We left.")
    >>> strays([pair], book), len(strays([replace(pair, excerpt="It snowed. We left.")], book))
    ([], 1)
    """
    whole = book.joint.join(("", *book.words, ""))
    return [p for p in pairs if book.joint + p.excerpt + book.joint not in whole]
