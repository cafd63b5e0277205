"""Vectors: one table for all embedders, each under its name and version; exact or HNSW search.

Up to `EXACT` vectors of a scope are compared one by one. Above, usearch's HNSW holds the older
ones and the newest are still compared one by one, until a background thread has taken them in: so
a query never waits for the index and never misses what it does not hold yet.
"""

from __future__ import annotations

import os
import threading
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from byheart.core.errors import ByheartError, CorruptStore, ModelError
from byheart.core.item import Item
from byheart.stores._log import load_items
from byheart.stores._schema import FOREVER
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

__all__ = ["EXACT", "Embedder", "VectorIndex", "embed_batch", "missing", "register"]

EXACT = 5_000
PART = 20_000
"""Items whose vectors are read at once."""

PROBE = "The quick brown fox jumps over the lazy dog."


def _whole(item: Item) -> list[str]:
    return [item.content]


@dataclass
class Embedder:
    """A function from texts to vectors, with the name and version its vectors are kept under.

    Args:
        encode: Texts to `[N, D]` numbers; rows are scaled to length 1 here.
        name: Of the model; vectors of different names or versions are never compared.
        version: Of the model.
        passages: An item to the texts that are embedded for it; its content, if left out.
    """

    encode: Callable[[list[str]], Any]
    name: str
    version: str = ""
    passages: Callable[[Item], list[str]] = _whole
    id: int = 0
    _probe: np.ndarray | None = field(default=None, repr=False)

    def __call__(self, texts: list[str]) -> np.ndarray:
        """`[N, D]` float32 rows of length 1.

        Raises:
            ModelError: It raised, or what it returned is not N rows of finite numbers.
        """
        try:
            out = np.asarray(self.encode(list(texts)), dtype=np.float32)
        except ByheartError:
            raise
        except Exception as error:
            raise ModelError(
                f"the embedder {self.name!r} failed on {len(texts)} texts: "
                f"{type(error).__name__}: {error}"
            ) from error
        if out.ndim != 2 or len(out) != len(texts) or out.shape[1] == 0:
            raise ModelError(
                f"the embedder {self.name!r} returned an array of shape {out.shape} for "
                f"{len(texts)} texts; it must be [{len(texts)}, D]"
            )
        if self._probe is not None and out.shape[1] != len(self._probe):
            raise ModelError(
                f"the embedder {self.name!r} returned vectors of {out.shape[1]} numbers, and before "
                f"of {len(self._probe)}; give each model a name or version of its own"
            )
        if not np.isfinite(out).all():
            raise ModelError(f"the embedder {self.name!r} returned numbers that are not finite")
        norm = np.linalg.norm(out, axis=1, keepdims=True)
        return out / np.where(norm > 0, norm, 1)

    def probe(self) -> np.ndarray:
        """The vector of one fixed sentence, by which a changed model is noticed."""
        if self._probe is None:
            self._probe = self([PROBE])[0]
        return self._probe


def known(conn: Conn, embedder: Embedder) -> int | None:
    """The number of an embedder that the file has: same name and version, and same answers."""
    like = f"{embedder.version}~%"
    for id, probe in conn.execute(
        "SELECT id, probe FROM embedders WHERE name = ? AND (version = ? OR version LIKE ?)"
        " ORDER BY id DESC",
        (embedder.name, embedder.version, like),
    ):
        kept = np.frombuffer(probe, np.float32)
        mine = embedder.probe()
        if kept.shape == mine.shape and float(kept @ mine) > 0.999:
            return int(id)
    return None


def register(conn: Conn, embedder: Embedder) -> int:
    """Its number; a model that answers otherwise under the same name becomes a version of its own."""
    id = known(conn, embedder)
    if id is None:
        (n,) = conn.execute(
            "SELECT count(*) FROM embedders WHERE name = ? AND (version = ? OR version LIKE ?)",
            (embedder.name, embedder.version, f"{embedder.version}~%"),
        ).fetchone()
        version = embedder.version if n == 0 else f"{embedder.version}~{n + 1}"
        probe = embedder.probe()
        id = conn.execute(
            "INSERT INTO embedders(name, version, dimensions, probe) VALUES(?,?,?,?) RETURNING id",
            (embedder.name, version, len(probe), probe.tobytes()),
        ).fetchone()[0]
    return int(id)


def missing(
    conn: Conn, embedder: int, scopes: Sequence[int], limit: int = FOREVER, after: int = 0,
    before: int = FOREVER,
) -> list[int]:  # fmt: skip
    """Rows between `after` and `before` without a vector of this embedder, newest first."""
    marks = ",".join(map(str, scopes)) or "NULL"
    return [
        row
        for (row,) in conn.execute(
            f"SELECT row FROM items WHERE scope IN ({marks}) AND row > ? AND row < ?"
            " AND NOT EXISTS (SELECT 1 FROM vectors v WHERE v.embedder = ? AND v.row = items.row)"
            " ORDER BY row DESC LIMIT ?",
            (after, before, embedder, limit),
        )
    ]


def embed_batch(read: Conn, embedder: Embedder, rows: Sequence[int]) -> list[tuple[int, bytes]]:
    """Vectors of some items, computed outside of any transaction: row and bytes of `[P, D]`."""
    items = load_items(read, rows)
    texts, owner = [], []
    for row, item in items.items():
        for passage in embedder.passages(item) or [item.content]:
            texts.append(passage[:20_000])
            owner.append(row)
    if not texts:
        return []
    vectors, of = embedder(texts), np.array(owner)
    return [(row, vectors[of == row].tobytes()) for row in items]


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


def best(rows: np.ndarray, scores: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Each row once with its highest score, the n highest, best first."""
    order = np.lexsort((rows, -scores))
    _, first = np.unique(rows[order], return_index=True)
    keep_ = order[np.sort(first)][:n]
    return rows[keep_], scores[keep_]


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
