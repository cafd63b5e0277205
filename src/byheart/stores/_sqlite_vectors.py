"""Vectors: one table for all embedders, each under its name and version; exact or HNSW search.

Up to `EXACT` vectors of a scope are compared one by one. Above, usearch's HNSW holds the older
ones and the newest are still compared one by one, until a background thread has taken them in: so
a query never waits for the index and never misses what it does not hold yet.
"""

from __future__ import annotations

import os
import threading
import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from byheart.core.errors import CorruptStore
from byheart.stores._embedder import best
from byheart.stores._sqlite_graph import (
    Graph,
    available,
    grow,
    load_graph,
    save_graph,
)
from byheart.stores._writer import Conn

if TYPE_CHECKING:
    from byheart.stores.sqlite import SqliteStore

__all__ = ["EXACT", "VectorIndex"]

EXACT = 5_000
PART = 20_000
"""Items whose vectors are read at once."""


def keep(conn: Conn, embedder: int, made: Sequence[tuple[int, bytes]]) -> int:
    """Store vectors of items that are still there."""
    n = 0
    for row, data in made:
        n += conn.execute(
            "INSERT INTO vectors(embedder, scope, row, data, crc)"
            " SELECT ?, scope, row, ?, ? FROM items WHERE row = ? ON CONFLICT DO NOTHING",
            (embedder, data, zlib.crc32(data), row),
        ).rowcount
    return n


def drop_damaged(conn: Conn) -> int:
    """Take out vectors that are not what was written, or whose item is gone; how many."""
    bad = []
    for id, data, crc, d, there in conn.execute(
        "SELECT v.id, v.data, v.crc, e.dimensions, i.row FROM vectors v JOIN embedders e"
        " ON e.id = v.embedder LEFT JOIN items i ON i.row = v.row AND i.scope = v.scope"
    ):
        if there is None or zlib.crc32(data) != crc or len(data) % (4 * d) or not data:
            bad.append((id,))
    conn.executemany("DELETE FROM vectors WHERE id = ?", bad)
    return len(bad)


class VectorIndex:
    """Nearest vectors of a handle's scopes under one embedder.

    Args:
        store: Whose; its path names the files that keep graphs.
    """

    def __init__(self, store: SqliteStore) -> None:
        self._store = store
        self.lock = threading.RLock()
        self._thread: threading.Thread | None = None
        self.erasures = -1
        self.forget()

    def prepare(self, conn: Conn, embedder: int, scopes: tuple[int, ...]) -> None:
        """Before `nearest`: take in what was embedded since, and grow the graph in a thread."""
        with self.lock:
            self._take_up(embedder, scopes, self._store._erasures)
            while self.refresh(conn, embedder, scopes):
                pass
        busy = self._thread is not None and self._thread.is_alive()
        if self.n > EXACT and not busy and available():
            self._thread = threading.Thread(
                target=grow, args=(self._store, EXACT), name="byheart-graph", daemon=True
            )
            self._thread.start()

    def _take_up(self, embedder: int, scopes: tuple[int, ...], erasures: int) -> None:
        """Begin with a kept graph, where what is here is of other scopes or holds what was erased."""
        if self.of != (embedder, scopes) or self.erasures != erasures:
            self.forget()
            self.erasures = erasures
            load_graph(self._store, (embedder, scopes), erasures)

    def settle(self) -> None:
        """After many were embedded: take all into the graph at once and keep it."""
        store, more = self._store, True
        while more and available() and not store._stop.is_set():
            with store._c.reading() as conn, self.lock:
                scopes, embedder = store._scope_ids(conn), store._embedder_id()
                if not scopes:
                    return
                # the next query still notices for itself: others forget then, too
                self._take_up(embedder, scopes, store._erasure_count(conn))
                more = self.refresh(conn, embedder, scopes)
            if self.n > EXACT:
                grow(store, EXACT, PART // 10, os.cpu_count() or 1)
        if self.graph is not None:  # the last ones too: the next start need not read them
            grow(store, 0, PART // 10, os.cpu_count() or 1)
            save_graph(store)

    def close(self) -> None:
        """Wait for the thread, keep the graph."""
        if self._thread is not None:
            self._thread.join(timeout=60)
        save_graph(self._store)

    keep = staticmethod(keep)

    @staticmethod
    def cosines(
        conn: Conn, embedder: int, rows: Sequence[int], query: np.ndarray
    ) -> dict[int, float]:
        """Exact cosine of each item's nearest passage, for rows that have vectors."""
        return cosines(conn, embedder, rows, query)

    def about(
        self, conn: Conn, embedder: int, rows: Sequence[int], query: np.ndarray
    ) -> tuple[dict[int, float], bool]:
        """As `cosines`, but to about a hundredth where the graph can tell; whether it is exact."""
        with self.lock:
            if self.graph is None or self.of[0] != embedder:
                return cosines(conn, embedder, rows, query), True
            near = self.graph.about(np.array(rows, np.int64), query)
        held = np.isfinite(near).tolist()
        out = {r: c for r, c, h in zip(rows, near.tolist(), held, strict=True) if h}
        return out | cosines(conn, embedder, [r for r in rows if r not in out], query), False

    @staticmethod
    def passages(conn: Conn, embedder: int, rows: Sequence[int]) -> dict[int, np.ndarray]:
        """`[P, D]` vectors of each item's passages, for rows that have them."""
        return passages(conn, embedder, rows)

    @staticmethod
    def drop(conn: Conn, row: int) -> int:
        """Take an item out; how many vectors."""
        return conn.execute("DELETE FROM vectors WHERE row = ?", (row,)).rowcount

    drop_damaged = staticmethod(drop_damaged)

    def forget(self) -> None:
        """After an erasure, or for other scopes: begin anew."""
        with self.lock:
            self._forget()

    def _forget(self) -> None:
        self.of: tuple[int, tuple[int, ...]] = (0, ())
        self.erasures = -1
        self.last = 0
        self.ids = np.zeros(0, np.int64)
        self._rows = np.zeros(0, np.int64)
        self._room = np.zeros((0, 0), np.float32)
        self._begin = 0
        self.n = 0
        self.graph: Graph | None = None

    def __len__(self) -> int:
        return self.n + (0 if self.graph is None else len(self.graph.rows))

    def refresh(self, conn: Conn, embedder: int, scopes: tuple[int, ...]) -> bool:
        """Take in what was embedded since, `PART` items at most; whether there may be more.

        Raises:
            CorruptStore: A vector is not what was written.
        """
        self.of = (embedder, scopes)
        marks = ",".join(map(str, scopes))
        told, blocks = [], []
        for id, row, data, crc in conn.execute(
            f"SELECT id, row, data, crc FROM vectors WHERE embedder = ? AND scope IN ({marks})"
            " AND id > ? ORDER BY id LIMIT ?",
            (embedder, self.last, PART),
        ):
            if zlib.crc32(data) != crc:
                raise CorruptStore(
                    f"the vector of row {row} is damaged; `byheart memory rebuild` makes it anew"
                )
            blocks.append(np.frombuffer(data, np.float32))
            told.append((id, row))
        if not told:
            return False
        (d,) = conn.execute("SELECT dimensions FROM embedders WHERE id = ?", (embedder,)).fetchone()
        parts = [b.reshape(-1, d) for b in blocks]
        both = np.repeat(np.array(told, np.int64), [len(p) for p in parts], axis=0)
        self._add(both[:, 0], both[:, 1], np.concatenate(parts))
        self.last = told[-1][0]
        return len(told) == PART

    def _live(self) -> slice:
        """Where the vectors are that no graph holds; those before have gone into it."""
        return slice(self._begin, self._begin + self.n)

    def _add(self, ids: np.ndarray, rows: np.ndarray, vectors: np.ndarray) -> None:
        end = self._begin + self.n
        if end + len(rows) > len(self._room):
            live, size = self._live(), max(self.n + self.n // 2 + len(rows), 256)
            old = self._room[live], self._rows[live], self.ids[live]
            self._room = np.empty((size, vectors.shape[1]), np.float32)
            self._rows, self.ids = np.empty(size, np.int64), np.empty(size, np.int64)
            if self.n:
                self._room[: self.n], self._rows[: self.n], self.ids[: self.n] = old
            self._begin, end = 0, self.n
        fresh = slice(end, end + len(rows))
        self._room[fresh], self._rows[fresh], self.ids[fresh] = vectors, rows, ids
        self.n += len(rows)

    def to_graph(self, most: int, threads: int = 1) -> int:
        """Move the oldest vectors into the graph, items whole; returns how many vectors."""
        ids = self.ids[self._live()]
        n = min(most, self.n)
        while n < self.n and ids[n] == ids[n - 1]:
            n += 1
        if n == 0:
            return 0
        if self.graph is None:
            self.graph = Graph(self._room.shape[1])
        oldest = slice(self._begin, self._begin + n)
        self.graph.add(self._rows[oldest], self._room[oldest], int(ids[n - 1]), threads)
        self._begin, self.n = self._begin + n, self.n - n
        if 4 * self.n < len(self._room) and len(self._room) > 4 * EXACT:  # give the memory back
            live = self._live()
            self._room, self._rows = self._room[live].copy(), self._rows[live].copy()
            self.ids, self._begin = self.ids[live].copy(), 0
        return n

    def nearest(self, conn: Conn, query: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows of the n nearest items and the cosine of each one's nearest passage."""
        with self.lock:
            return self._nearest(query, n)

    def _nearest(self, query: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
        rows, scores = [], []
        if self.n:
            near = self._room[self._live()] @ query
            top = np.arange(self.n)
            if self.n > 4 * n:
                top = np.argpartition(-near, 4 * n)[: 4 * n]
            rows.append(self._rows[self._begin + top])
            scores.append(near[top])
        if self.graph is not None:
            found = self.graph.search(query, n)
            rows.append(found[0])
            scores.append(found[1])
        if not rows:
            return np.zeros(0, np.int64), np.zeros(0, np.float32)
        return best(np.concatenate(rows), np.concatenate(scores), n)


def passages(conn: Conn, embedder: int, rows: Sequence[int]) -> dict[int, np.ndarray]:
    """`[P, D]` vectors of each item's passages, for rows that have them."""
    out: dict[int, np.ndarray] = {}
    if not rows:
        return out
    (d,) = conn.execute("SELECT dimensions FROM embedders WHERE id = ?", (embedder,)).fetchone()
    for begin in range(0, len(rows), 500):
        marks = ",".join(map(str, map(int, rows[begin : begin + 500])))
        for row, data in conn.execute(
            f"SELECT row, data FROM vectors WHERE embedder = ? AND row IN ({marks})", (embedder,)
        ):
            out[row] = np.frombuffer(data, np.float32).reshape(-1, d)
    return out


def cosines(conn: Conn, embedder: int, rows: Sequence[int], query: np.ndarray) -> dict[int, float]:
    """Exact cosine of each item's nearest passage, for rows that have vectors."""
    told: list[tuple[int, bytes]] = []
    for begin in range(0, len(rows), 500):
        marks = ",".join(map(str, map(int, rows[begin : begin + 500])))
        told += conn.execute(
            f"SELECT row, data FROM vectors WHERE embedder = ? AND row IN ({marks})", (embedder,)
        ).fetchall()
    if not told:
        return {}
    near = np.frombuffer(b"".join(d for _, d in told), np.float32).reshape(-1, len(query)) @ query
    ends = np.cumsum([len(d) // (4 * len(query)) for _, d in told])
    best = np.maximum.reduceat(near, np.concatenate([[0], ends[:-1]]))
    return dict(zip([r for r, _ in told], best.tolist(), strict=True))
