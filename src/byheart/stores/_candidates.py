"""What a ranker is given: candidates with neighbours and vectors, and statistics of the whole."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING, Any

import numpy as np

from byheart.core.item import Item
from byheart.core.memory import Candidate, Hit, Sample
from byheart.core.spoken import spoken
from byheart.stores._bm25 import Asked
from byheart.stores._log import load_items
from byheart.stores._schema import from_micros

if TYPE_CHECKING:
    from byheart.stores._store import Store
    from byheart.stores._writer import Conn

__all__ = [
    "ANCHORS",
    "Days",
    "Kept",
    "Span",
    "candidates",
    "everything",
    "hit",
    "nearest_passage",
    "said_then",
]

Span = tuple[int, int, str]
"""Valid from, valid to, state."""

_EPOCH = date(1970, 1, 1).toordinal()
_DAY = 86_400_000_000
ANCHORS, STRETCH = 16, 8
"""So many items behind each of so many rows tell what the items of the whole are like."""


Read = Callable[["Conn", int, Sequence[int]], dict[int, np.ndarray]]
"""Reads the vectors of rows under an embedder."""


class Kept:
    """Items and vectors that were read lately, so that ranking does not read them each time.

    It holds nothing that was erased: a store empties it whenever anybody erased something.

    Args:
        most: Items, and as many arrays of vectors.
        longest: Characters of a content, and numbers of an array, above which it is not kept.
    """

    def __init__(self, most: int = 8192, longest: int = 4000) -> None:
        self.most, self.longest = most, longest
        self.forget()

    def forget(self) -> None:
        """Begin anew."""
        self._items: dict[int, Item] = {}
        self._valid: dict[int, tuple[int, int, Item]] = {}
        self._vectors: dict[int, np.ndarray] = {}
        self._embedder = 0
        self._sample: tuple[tuple[tuple[int, ...], int], Sample] | None = None

    def items(self, conn: Conn, rows: Sequence[int]) -> dict[int, Item]:
        """Items by their rows."""
        out = {r: self._items[r] for r in rows if r in self._items}
        fresh = load_items(conn, [r for r in rows if r not in out])
        _add(
            self._items,
            {r: i for r, i in fresh.items() if len(i.content) <= self.longest and i.blob is None},
            self.most,
        )
        return out | fresh

    def valid(self, row: int, item: Item, span: Span) -> Item:
        """An item with the validity that it has at the time asked for: the same object each time."""
        known = self._valid.get(row)
        if known is not None and known[0] == span[0] and known[1] == span[1]:
            return known[2]
        item = hit(item, span, 0.0, 0.0, None).item
        if row in self._items:
            _add(self._valid, {row: (span[0], span[1], item)}, self.most)
        return item

    def vectors(
        self, conn: Conn, read: Read, embedder: int, rows: Sequence[int]
    ) -> dict[int, np.ndarray]:
        """`[P, D]` vectors of rows that have them under an embedder."""
        if embedder != self._embedder:
            self._vectors, self._embedder = {}, embedder
        out = {r: self._vectors[r] for r in rows if r in self._vectors}
        fresh = read(conn, embedder, [r for r in rows if r not in out])
        _add(self._vectors, {r: v for r, v in fresh.items() if v.size <= self.longest}, self.most)
        return out | fresh

    def sample(
        self,
        conn: Conn,
        anchors: Sequence[int],
        seen: Callable[[Sequence[int]], dict[int, Span]],
        read: Read | None,
        embedder: int,
    ) -> Sample:
        """Some items behind each of some rows; read once for the same rows and embedder."""
        of = (tuple(anchors), embedder)
        if self._sample is None or self._sample[0] != of:
            rows, runs = _stretches(conn, anchors, seen)
            items = load_items(conn, rows)
            rows = [r for r in rows if r in items]
            told = [spoken(items[r].content, items[r].labels) for r in rows]
            vectors = {} if read is None else read(conn, embedder, rows)
            none = np.zeros(
                (0, next(iter(vectors.values())).shape[1] if vectors else 0), np.float32
            )
            made = Sample(
                tuple(t.speaker for t in told),
                tuple(runs[r] for r in rows),
                tuple(vectors.get(r, none) for r in rows) if vectors else (),
            )
            self._sample = of, made
        return self._sample[1]


def _stretches(
    conn: Conn, anchors: Sequence[int], seen: Callable[[Sequence[int]], dict[int, Span]]
) -> tuple[list[int], dict[int, int]]:
    """The rows from each anchor on in its scope that may be seen, and the run of each."""
    runs: dict[int, int] = {}
    run = 0
    for anchor in anchors:
        found = conn.execute(
            "SELECT row, thread FROM items WHERE scope = (SELECT scope FROM items WHERE row = ?)"
            " AND row >= ? ORDER BY row LIMIT ?",
            (anchor, anchor, STRETCH),
        ).fetchall()
        may, before = seen([r for r, _ in found]), None
        for row, thread in found:
            if row in may:
                run += not runs or thread is None or thread != before
                runs[row], before = run, thread
        run += 1
    return sorted(runs), runs


def _add(kept: dict[int, Any], fresh: dict[int, Any], most: int) -> None:
    kept.update(fresh)
    if len(kept) > most:  # a quarter at once, so that it is seldom
        for row in list(kept)[: len(kept) - 3 * most // 4]:
            del kept[row]


class Days:
    """The day on which each item of a handle's scopes was said, read when a time is asked for."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """After an erasure, or for other scopes: begin anew."""
        self._rows, self._days = np.zeros(0, np.int64), np.zeros(0, np.int64)
        self._of: tuple[int, ...] = ()

    def all(self, conn: Conn, scopes: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
        """Rows and the ordinals of their days, `[N]` each, in the order of recording."""
        if scopes != self._of:
            self.forget()
            self._of = scopes
        last = int(self._rows[-1]) if len(self._rows) else 0
        fresh = conn.execute(
            "SELECT i.row, min(s.valid_from) FROM items i JOIN spans s ON s.row = i.row"
            f" WHERE i.scope IN ({','.join(map(str, scopes))}) AND i.row > ?"
            " GROUP BY i.row ORDER BY i.row",
            (last,),
        ).fetchall()
        if fresh:
            table = np.array(fresh, np.int64)
            self._rows = np.concatenate([self._rows, table[:, 0]])
            self._days = np.concatenate([self._days, _EPOCH + table[:, 1] // _DAY])
        return self._rows, self._days


def said_then(
    store: Store,
    conn: Conn,
    scopes: tuple[int, ...],
    spans: Iterable[tuple[date, date]],
    asked: Asked,
) -> tuple[np.ndarray, np.ndarray]:
    """Rows of what was said within spans of days, with their scores by words (0 where none)."""
    rows, days = store._days.all(conn, scopes)
    met = np.zeros(len(rows), bool)
    for first, last in spans:
        met |= (days >= first.toordinal()) & (days <= last.toordinal())
    return rows[met], asked.at(rows[met])


def everything(
    conn: Conn, scopes: tuple[int, ...], most: int, members: Sequence[int] | None
) -> list[int] | None:
    """All rows of the scopes, or of a cube's version; None if there are more than `most`."""
    if members is not None:
        return list(members) if len(members) <= most else None
    if not most:
        return None
    of = f"FROM items WHERE scope IN ({','.join(map(str, scopes))})"
    if conn.execute(f"SELECT 1 {of} LIMIT 1 OFFSET ?", (most,)).fetchone():
        return None
    return [r for (r,) in conn.execute(f"SELECT row {of}").fetchall()]


def hit(item: Item, span: Span, score: float, words: float, meaning: float | None) -> Hit:
    """An item with the validity that it has at the time asked for."""
    at = {"valid_from": from_micros(span[0]), "valid_to": from_micros(span[1])}
    if any(getattr(item, name) != value for name, value in at.items()):
        item = item.but(**at)
    return Hit(item, score, span[2], words, meaning)


def nearest_passage(vectors: Mapping[int, np.ndarray], query: np.ndarray) -> dict[int, float]:
    """Cosine of each row's nearest passage."""
    if not vectors:
        return {}
    counts = np.array([len(v) for v in vectors.values()], np.int64)
    near = np.concatenate(list(vectors.values())) @ query
    starts = np.cumsum(counts) - counts
    return dict(zip(vectors, np.maximum.reduceat(near, starts).tolist(), strict=True))


def candidates(
    store: Store,
    conn: Conn,
    pool: dict[int, Span],
    near: dict[int, Span],
    words: dict[int, float],
    meaning: dict[int, float],
    runs: dict[int, int],
    vectors: dict[int, np.ndarray],
    places: Mapping[int, int],
) -> list[Candidate]:
    """Candidates in the order of recording, of what was superseded that of the first version."""
    spans = pool | near
    items = store._kept.items(conn, list(spans))
    return [
        Candidate(
            store._kept.valid(row, items[row], spans[row]), 0.0, spans[row][2], words.get(row, 0.0),
            meaning.get(row), places.get(row, row), row in pool, runs.get(row), vectors.get(row),
        )
        for row in sorted(items, key=lambda r: (places.get(r, r), r))
    ]  # fmt: skip
