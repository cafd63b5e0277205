"""What can be wrong with the keyword index of a file."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

import numpy as np

from byheart.core.memory import Problem
from byheart.core.spoken import spoken
from byheart.core.words import words_version
from byheart.stores._log import payload_hash, unpack
from byheart.stores._postings import decode
from byheart.stores._words import counted
from byheart.stores._writer import Conn

__all__ = ["layout", "up_to_date", "word_problems", "words_of"]

FORMAT = 1
"""Goes up whenever the bytes of segments or postings mean something else."""

MOST = 50
"""Problems of one kind that are listed one by one."""


def layout() -> str:
    """What made the index: rules of words, release of the stemmer, form of the postings."""
    return f"{words_version()} postings {FORMAT}"


def up_to_date(conn: Conn) -> bool:
    """Whether the index was made by the same rules and the same release of the stemmer."""
    made = conn.execute("SELECT value FROM meta WHERE key = 'words'").fetchone()
    return made is not None and made[0] == layout()


def words_of(body: Mapping[str, Any]) -> tuple[list[str], int]:
    """The words of an item's body, and how many they are, small change left out.

    Speaker and captions are words of an item too.
    """
    return counted(spoken(body["content"], body.get("labels", {})).all)


def word_problems(conn: Conn) -> Iterator[Problem]:
    """Every word of every indexed item is in its postings as often as in the item, and no other."""
    if not up_to_date(conn):
        return  # made by other rules: the next query makes it anew
    told: set[int] = set()
    for id, scope, n, docs in conn.execute("SELECT id, scope, n, docs FROM segments ORDER BY id"):
        name = f"segment {id}"
        rows, lengths = np.frombuffer(docs, "<i8", min(n, len(docs) // 8)), np.zeros(0, "<i4")
        if len(docs) == 12 * n and n:
            lengths = np.frombuffer(docs, "<i4", n, 8 * n)
        if not len(lengths) or (rows[1:] <= rows[:-1]).any() or told & set(rows.tolist()):
            yield Problem("words", name, "is damaged; rebuild")
            continue
        told |= set(rows.tolist())
        try:
            found = _sums(conn, id, lengths)
        except ValueError as error:
            yield Problem("words", name, f"is damaged ({error}); rebuild")
            continue
        yield from islice(_unlike(conn, scope, rows, lengths, found), MOST)
    for (id,) in conn.execute(
        "SELECT DISTINCT segment FROM postings WHERE segment NOT IN (SELECT id FROM segments)"
    ).fetchall():
        yield Problem("words", f"segment {id}", "has postings and is gone; rebuild")
    conn.execute("CREATE TEMP TABLE IF NOT EXISTS indexed(row INTEGER PRIMARY KEY)")
    conn.executemany("INSERT INTO indexed VALUES(?)", ((r,) for r in told))
    for (row,) in conn.execute(
        "SELECT i.row FROM items i WHERE i.row <= (SELECT max(s.last) FROM segments s WHERE"
        " s.scope = i.scope) AND i.row NOT IN (SELECT row FROM indexed) LIMIT ?",
        (MOST,),
    ).fetchall():
        yield Problem("words", f"row {row}", "was left out of the index; rebuild")
    conn.execute("DROP TABLE indexed")


def _sums(conn: Conn, id: int, lengths: np.ndarray) -> np.ndarray:
    """One number for all words and counts of each item of a segment.

    Raises:
        ValueError: Postings that cannot be.
    """
    out = np.zeros(len(lengths), np.uint64)
    for term, data in conn.execute("SELECT term, data FROM postings WHERE segment = ?", (id,)):
        docs, counts = decode(data)
        if (docs[1:] <= docs[:-1]).any() or docs[-1] >= len(lengths) or (lengths[docs] < 0).any():
            raise ValueError("postings of no item")
        out[docs] += np.uint64(zlib.crc32(term.encode())) * (
            np.ones(len(docs), np.uint64) if counts is None else counts.astype(np.uint64)
        )
    return out


def _unlike(
    conn: Conn, scope: int, rows: np.ndarray, lengths: np.ndarray, found: np.ndarray
) -> Iterator[Problem]:
    for row, n, told in zip(rows.tolist(), lengths.tolist(), found.tolist(), strict=True):
        record = conn.execute(
            "SELECT p.salt, p.body, e.payload, e.scope FROM events e LEFT JOIN payloads p"
            " ON p.seq = e.seq WHERE e.seq = ?",
            (row,),
        ).fetchone()
        if record is None or record[3] != scope:
            yield Problem("words", f"row {row}", "is indexed and is no item of its scope; rebuild")
        elif n < 0:
            if record[1] is not None:
                yield Problem("words", f"row {row}", "was left out of the index; rebuild")
        elif record[1] is None:
            yield Problem("words", f"row {row}", "is indexed and was erased; rebuild")
        elif payload_hash(record[0], record[1]) == record[2]:
            words, length = words_of(unpack(record[1])[0])
            if length != n:
                yield Problem("words", f"row {row}", "has another number of words; rebuild")
            if sum(zlib.crc32(w.encode()) for w in words) % 2**64 != told:
                yield Problem("words", f"row {row}", "is indexed under other words; rebuild")
