"""The keyword index in the file: segments of items, and each segment's postings.

Items are indexed in the order of recording, those that are outstanding as one segment. Eight
segments of about the same size are merged into one, up to `STABLE` items, so that an item is
rewritten a handful of times and a word is looked up in a few dozen places. A segment belongs to one
scope: neither scores nor the work of a query depend on what others wrote.

=========  =======================================================================================
segments   rows of its items (8 bytes each), then their lengths in words (4 bytes each, -1 where
           one was erased)
postings   a row a segment and word, as in `_postings`
=========  =======================================================================================
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from byheart.core.memory import Problem
from byheart.stores._log import payload_hash, unpack
from byheart.stores._postings import decode, encode, invert, merge
from byheart.stores._sqlite_schema import INDEXES, statements
from byheart.stores._sqlite_words_check import layout, up_to_date, word_problems, words_of
from byheart.stores._word_index import STABLE, SegmentScores
from byheart.stores._writer import Conn

__all__ = ["WordIndex", "drop_words", "index_words", "settle"]

BYTES = 2**26
"""Of content that are indexed in one go."""

MERGE = 8
"""So many segments of about one size become one; each is at most so many times another's size."""


def clear(conn: Conn) -> None:
    """Empty the index, to be filled anew by the rules of this version."""
    # the first three are of earlier versions
    for table in ("places", "words", "lengths", "segments", "postings"):
        conn.execute(f"DROP TABLE IF EXISTS {table}")
    for statement in statements(INDEXES):
        conn.execute(statement)
    conn.execute(
        "INSERT INTO meta VALUES('words', ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        (layout(),),
    )


def outstanding(conn: Conn, scopes: Sequence[int]) -> bool:
    """Whether items of these scopes are not in the index yet, or all have to be indexed anew."""
    return (bool(scopes) and not up_to_date(conn)) or any(
        conn.execute(
            "SELECT 1 FROM items WHERE scope = ?1 AND row > ?2 LIMIT 1", (scope, _last(conn, scope))
        ).fetchone()
        for scope in scopes
    )


def _last(conn: Conn, scope: int) -> int:
    """The newest row that is in the index."""
    found = conn.execute("SELECT max(last) FROM segments WHERE scope = ?", (scope,)).fetchone()[0]
    return found or 0


def index_words(conn: Conn, scopes: Sequence[int]) -> int:
    """Index what is outstanding, at most `STABLE` items a scope; returns how many."""
    if not up_to_date(conn):
        old = conn.execute("SELECT 1 FROM meta WHERE key = 'words'").fetchone()
        clear(conn)
        if old is not None:  # what other processes hold in memory is of the old words
            conn.execute(
                "INSERT INTO meta VALUES('erasures', 1) ON CONFLICT (key) DO UPDATE"
                " SET value = CAST(meta.value AS INTEGER) + 1"
            )
    done = 0
    for scope in scopes:
        rows, lengths, words, size = [], [], [], 0
        for row, salt, packed, digest in conn.execute(
            "SELECT i.row, p.salt, p.body, e.payload FROM items i JOIN payloads p ON p.seq = i.row"
            " JOIN events e ON e.seq = i.row WHERE i.scope = ?1 AND i.row > ?2 ORDER BY i.row"
            " LIMIT ?3",
            (scope, _last(conn, scope), STABLE),
        ):
            # a damaged item has no words here and is named by `check` and by reading it
            sound = payload_hash(salt, packed) == digest
            found, n = words_of(unpack(packed)[0]) if sound else ([], 0)
            rows.append(row)
            lengths.append(n)
            words.append(found)
            size += len(packed)
            if size > BYTES:
                break
        if rows:
            _add(conn, scope, np.array(rows), np.array(lengths), invert(words))
            _tidy(conn, scope)
        done += len(rows)
    return done


def _add(
    conn: Conn,
    scope: int,
    rows: np.ndarray,
    lengths: np.ndarray,
    postings: Iterator[tuple[str, bytes]],
) -> None:
    """One segment more."""
    docs = rows.astype("<i8").tobytes() + lengths.astype("<i4").tobytes()
    (id,) = conn.execute(
        "INSERT INTO segments(scope, first, last, n, docs) VALUES(?,?,?,?,?) RETURNING id",
        (scope, int(rows[0]), int(rows[-1]), len(rows), docs),
    ).fetchone()
    conn.executemany(
        "INSERT INTO postings VALUES(?,?,?)", ((id, term, data) for term, data in postings)
    )


def _tidy(conn: Conn, scope: int) -> None:
    """Merge what has become many."""
    while True:
        sizes: dict[int, list[tuple[int, int]]] = {}
        for id, n in conn.execute(
            "SELECT id, n FROM segments WHERE scope = ? AND n < ? ORDER BY first, id",
            (scope, STABLE),
        ).fetchall():
            sizes.setdefault((n.bit_length() - 1) // 3, []).append((id, n))
        many = [s for s in sizes.values() if len(s) >= MERGE]
        if not many:
            return
        ids, total = [], 0
        for id, n in many[0]:
            ids.append(id)
            total += n
            if total >= STABLE:
                break
        _merge(conn, scope, ids)


def _merge(conn: Conn, scope: int, ids: Sequence[int]) -> None:
    """Several segments as one; erased items leave no place."""
    docs = [_docs(conn, id) for id in ids]
    rows, lengths = (np.concatenate(parts) for parts in zip(*docs, strict=True))
    order = np.argsort(rows, kind="stable")
    order = order[lengths[order] >= 0]
    new = np.full(len(rows), -1)
    new[order] = np.arange(len(order))
    parts, begin = [], 0
    for id, (some, _) in zip(ids, docs, strict=True):
        told = conn.execute("SELECT term, data FROM postings WHERE segment = ?", (id,)).fetchall()
        parts.append((new[begin : begin + len(some)], told))
        begin += len(some)
    for id in ids:
        _remove(conn, id)
    if len(order):
        _add(conn, scope, rows[order], lengths[order], merge(parts))


def _docs(conn: Conn, id: int) -> tuple[np.ndarray, np.ndarray]:
    n, data = conn.execute("SELECT n, docs FROM segments WHERE id = ?", (id,)).fetchone()
    return np.frombuffer(data, "<i8", n), np.frombuffer(data, "<i4", n, 8 * n)


def _remove(conn: Conn, id: int) -> None:
    conn.execute("DELETE FROM postings WHERE segment = ?", (id,))
    conn.execute("DELETE FROM segments WHERE id = ?", (id,))


# -------------------------------------------------------------------- erasing


def drop_words(conn: Conn, row: int, scope: int, body: Mapping[str, Any] | None) -> int:
    """Note that an item has to leave the index, which `settle` does; 1 if it is in it.

    Args:
        conn: In the transaction that erases.
        row: Of the item.
        scope: Its scope's number.
        body: What it says; None if that is damaged, then its words are looked for.
    """
    if not up_to_date(conn) or row > _last(conn, scope):
        return 0
    # in memory, and gone with the transaction if it is undone
    conn.execute(
        "CREATE TEMP TABLE IF NOT EXISTS leaving(row INTEGER PRIMARY KEY, scope INTEGER, words TEXT)"
    )
    words = None if body is None else " ".join(dict.fromkeys(words_of(body)[0]))
    conn.execute("INSERT OR REPLACE INTO leaving VALUES(?,?,?)", (row, scope, words))
    return 1


def settle(conn: Conn) -> None:
    """Take out of the postings what `drop_words` noted."""
    if not conn.execute("SELECT 1 FROM sqlite_temp_master WHERE name = 'leaving'").fetchone():
        return
    for scope, first, last in conn.execute(
        "SELECT scope, min(row), max(row) FROM leaving GROUP BY scope"
    ).fetchall():
        for (id,) in conn.execute(
            "SELECT id FROM segments WHERE scope = ? AND first <= ? AND last >= ?",
            (scope, last, first),
        ).fetchall():
            _take_out(conn, scope, id)
    conn.execute("DROP TABLE leaving")


def _take_out(conn: Conn, scope: int, id: int) -> None:
    """Take the leaving items of one segment out of it."""
    rows, lengths = _docs(conn, id)
    told = dict(
        conn.execute(
            "SELECT row, words FROM leaving WHERE scope = ? AND row BETWEEN ? AND ?",
            (scope, int(rows[0]), int(rows[-1])),
        ).fetchall()
    )
    gone = np.flatnonzero(np.isin(rows, np.fromiter(told, np.int64, len(told))))
    if not len(gone):
        return
    left = lengths.copy()
    left[gone] = -1
    if (left < 0).all():
        _remove(conn, id)
        return
    words = [told[r] for r in rows[gone].tolist()]
    if None in words or 4 * len(gone) > len(rows):
        terms = [t for (t,) in conn.execute("SELECT term FROM postings WHERE segment = ?", (id,))]
    else:
        terms = sorted({t for some in words for t in some.split(" ") if t})
    mark = np.zeros(len(rows), bool)
    mark[gone] = True
    for term in terms:
        found = conn.execute(
            "SELECT data FROM postings WHERE segment = ? AND term = ?", (id, term)
        ).fetchone()
        if found is None:
            continue
        docs, counts = decode(found[0])
        stay = ~mark[docs]
        if stay.all():
            continue
        if stay.any():
            data = encode(docs[stay], None if counts is None else counts[stay])
            conn.execute(
                "UPDATE postings SET data = ? WHERE segment = ? AND term = ?", (data, id, term)
            )
        else:
            conn.execute("DELETE FROM postings WHERE segment = ? AND term = ?", (id, term))
    conn.execute(
        "UPDATE segments SET docs = ? WHERE id = ?",
        (rows.astype("<i8").tobytes() + left.astype("<i4").tobytes(), id),
    )


class WordIndex(SegmentScores):
    """The keyword index of a file: made and emptied here, scored in `SegmentScores`."""

    index = staticmethod(index_words)
    outstanding = staticmethod(outstanding)
    drop = staticmethod(drop_words)
    settle = staticmethod(settle)
    clear = staticmethod(clear)

    def problems(self, store: object, conn: Conn) -> Iterator[Problem]:
        """What `check` finds wrong with the index."""
        return word_problems(conn)
