"""Vectors in PostgreSQL by pgvector: exact for small scopes, an HNSW index of its own for a large one.

Up to `EXACT` vectors of a scope are compared one by one. For more, a thread builds an index over
the scope's vectors alone (``WHERE embedder = ... AND scope = ...``), while queries go on comparing
one by one; once it stands, PostgreSQL keeps it up with every write, so nothing is ever missed. An
index over all scopes would be simpler, but then one scope's vectors would decide which of another's
are found, and how fast.

Vectors have length 1, so the inner product is the cosine. The index keeps them as `halfvec`, at half
the size; what it finds is compared again in full.
"""

from __future__ import annotations

import contextlib
import struct
import threading
import zlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from byheart.core.memory import Problem
from byheart.stores._embedder import best
from byheart.stores._postgres_conn import Half, Vector
from byheart.stores._postgres_schema import LOCK

if TYPE_CHECKING:
    from byheart.stores._postgres_conn import PgConnection
    from byheart.stores.postgres import PostgresStore

__all__ = ["EXACT", "MOST_DIMENSIONS", "PgVectorIndex", "check_vectors"]

EXACT = 5_000
MOST_DIMENSIONS = 4_000
"""pgvector indexes no longer halfvec; above, every vector is compared."""

_MEMORY = 512
"""MB that building an index may take at most, unless the server allows more by itself."""


class PgVectorIndex:
    """Nearest vectors of a handle's scopes under one embedder.

    Args:
        store: Whose.
    """

    def __init__(self, store: PostgresStore) -> None:
        self._store = store
        self._lock = threading.RLock()
        self._thread: threading.Thread | None = None
        self._builder: PgConnection | None = None
        self.error: Exception | None = None
        self.forget()

    def forget(self) -> None:
        """After an erasure, or for other scopes: count anew."""
        with self._lock:
            self.of: tuple[int, tuple[int, ...]] = (0, ())
            self.counts: dict[int, int] = {}
            self.indexed: set[int] = set()
            self._last, self._passages, self._d = 0, False, 0

    def __len__(self) -> int:
        return sum(self.counts.values())

    def prepare(self, conn: PgConnection, embedder: int, scopes: tuple[int, ...]) -> None:
        """Before `nearest`: count what was embedded since, and index a large scope in a thread."""
        with self._lock:
            if self.of != (embedder, scopes):
                self.forget()
                self.of = (embedder, scopes)
                (self._d,) = conn.execute(
                    "SELECT dimensions FROM embedders WHERE id = ?", (embedder,)
                ).fetchone()
            for scope, n, last, passages in conn.execute(
                "SELECT scope, count(*), max(id), bool_or(part > 0) FROM vectors WHERE embedder = ?"
                f" AND scope IN ({','.join(map(str, scopes))}) AND id > ? GROUP BY scope",
                (embedder, self._last),
            ).fetchall():
                self.counts[scope] = self.counts.get(scope, 0) + n
                self._last, self._passages = max(self._last, last), self._passages or passages
            large = [s for s, n in self.counts.items() if n > EXACT and self._d <= MOST_DIMENSIONS]
            self.indexed = _standing(conn, embedder) & set(large) if large else set()
            todo = sorted(set(large) - self.indexed)
            busy = self._thread is not None and self._thread.is_alive()
            if todo and not busy and self.error is None and self._store.background:
                self._thread = threading.Thread(
                    target=self._build, args=(embedder, self._d, todo), name="byheart-hnsw",
                    daemon=True,
                )  # fmt: skip
                self._thread.start()

    def nearest(
        self, conn: PgConnection, query: np.ndarray, n: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Rows of the n nearest items and the cosine of each one's nearest passage."""
        with self._lock:
            (embedder, scopes), indexed = self.of, set(self.indexed)
            most = 4 * n if self._passages else n
        text = _text(query)
        found: list[tuple[int, float]] = []
        rest = [s for s in scopes if s not in indexed]
        if rest:
            found += conn.execute(
                "SELECT row, -(v <#> ?1) FROM vectors WHERE embedder = ?2 AND"
                f" scope IN ({','.join(map(str, rest))}) ORDER BY v <#> ?1 LIMIT ?3",
                (text, embedder, most),
            ).fetchall()
        if indexed:
            conn.script(
                f"SET LOCAL hnsw.ef_search = {min(1000, max(100, 2 * most))};"
                " SET LOCAL hnsw.iterative_scan = strict_order"
            )
        for scope in sorted(indexed):
            found += conn.execute(
                f"SELECT row, -(v <#> ?1) FROM vectors WHERE embedder = {embedder} AND scope ="
                f" {scope} ORDER BY (v::halfvec({self._d})) <#> ?3 LIMIT ?2",
                (text, most, Half(text)),
            ).fetchall()
        if not found:
            return np.zeros(0, np.int64), np.zeros(0, np.float32)
        rows, scores = zip(*found, strict=True)
        return best(np.array(rows, np.int64), np.array(scores, np.float32), n)

    def passages(
        self, conn: PgConnection, embedder: int, rows: Sequence[int]
    ) -> dict[int, np.ndarray]:
        """`[P, D]` vectors of each item's passages, for rows that have them."""
        parts: dict[int, list[np.ndarray]] = {}
        if rows:
            for row, sent in conn.execute(
                "SELECT row, vector_send(v) FROM vectors WHERE embedder = ? AND row = ANY(?)"
                " ORDER BY row, part",
                (embedder, [int(r) for r in rows]),
            ).fetchall():
                parts.setdefault(row, []).append(_numbers(sent))
        return {row: np.stack(several) for row, several in parts.items()}

    def cosines(
        self, conn: PgConnection, embedder: int, rows: Sequence[int], query: np.ndarray
    ) -> dict[int, float]:
        """Exact cosine of each item's nearest passage, for rows that have vectors."""
        if not rows:
            return {}
        found = conn.execute(
            "SELECT row, max(-(v <#> ?)) FROM vectors WHERE embedder = ? AND"
            " row = ANY(?) GROUP BY row",
            (_text(query), embedder, [int(r) for r in rows]),
        ).fetchall()
        return dict(found)

    def about(
        self, conn: PgConnection, embedder: int, rows: Sequence[int], query: np.ndarray
    ) -> tuple[dict[int, float], bool]:
        """`cosines`: PostgreSQL computes where the vectors lie, less than all digits gains nothing."""
        return self.cosines(conn, embedder, rows, query), True

    def keep(self, conn: PgConnection, embedder: int, made: Sequence[tuple[int, bytes]]) -> int:
        """Store vectors of items that are still there."""
        if not made:
            return 0
        (d,) = conn.execute("SELECT dimensions FROM embedders WHERE id = ?", (embedder,)).fetchone()
        there = dict(
            conn.execute(
                "SELECT row, scope FROM items WHERE row = ANY(?)", ([row for row, _ in made],)
            ).fetchall()
        )
        values = [
            (row, part, embedder, there[row], _text(vector), zlib.crc32(vector.tobytes()))
            for row, data in made
            if row in there
            for part, vector in enumerate(np.frombuffer(data, np.float32).reshape(-1, d))
        ]
        conn.executemany(
            "INSERT INTO vectors(row, part, embedder, scope, v, crc)"
            " VALUES(?,?,?,?,?,?) ON CONFLICT DO NOTHING",
            values,
        )
        return len({v[0] for v in values})

    def drop(self, conn: PgConnection, row: int) -> int:
        """Take an item out; how many vectors."""
        return int(conn.execute("DELETE FROM vectors WHERE row = ?", (row,)).rowcount)

    def drop_damaged(self, conn: PgConnection) -> int:
        """Take out vectors that are not what was written, or whose item is gone; how many."""
        bad = {(row, embedder) for row, embedder, _ in _damaged(conn)}
        for row, embedder in bad:
            conn.execute("DELETE FROM vectors WHERE row = ? AND embedder = ?", (row, embedder))
        return len(bad)

    # ---------------------------------------------------------------- the HNSW indexes

    def _build(self, embedder: int, d: int, scopes: list[int]) -> None:
        try:
            self._builder = self._store._c.separate()
            try:
                with self._store._c.told():
                    for scope in scopes:
                        if not self._store._stop.is_set():
                            build(self._builder, embedder, scope, d, self.counts.get(scope, 0))
            finally:
                self._builder.close()
                self._builder = None
        except Exception as error:  # queries go on comparing one by one; stats() says so
            if not self._store._stop.is_set():
                self.error = error

    def close(self) -> None:
        """Let an index be finished that is being built, up to the timeout; then give it up."""
        thread, builder = self._thread, self._builder
        if thread is None or not thread.is_alive():
            return
        thread.join(timeout=self._store._c.timeout)
        if thread.is_alive() and builder is not None:
            with contextlib.suppress(Exception):
                builder.raw.cancel_safe(timeout=5)
            thread.join(timeout=10)


def index_name(embedder: int, scope: int) -> str:
    """Of the HNSW index over a scope's vectors."""
    return f"vectors_hnsw_{embedder}_{scope}"


def build(conn: PgConnection, embedder: int, scope: int, d: int, n: int) -> None:
    """Build a scope's index, unless another process does; nobody waits for it."""
    name = index_name(embedder, scope)
    key = zlib.crc32(name.encode()) >> 1
    if not conn.execute("SELECT pg_try_advisory_lock(?::int, ?::int)", (LOCK, key)).fetchone()[0]:
        return
    try:
        if scope in _standing(conn, embedder):
            return
        conn.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")  # one that was cut short
        (have,) = conn.execute(
            "SELECT setting::bigint / 1024 FROM pg_settings WHERE name = 'maintenance_work_mem'"
        ).fetchone()
        wanted = min(_MEMORY, 64 + n * (2 * d + 400) // 2**20)
        if wanted > have:
            conn.script(f"SET maintenance_work_mem = '{wanted}MB'")
        conn.script("SET lock_timeout = 0")
        conn.execute(
            f"CREATE INDEX CONCURRENTLY {name} ON vectors USING hnsw"
            f" ((v::halfvec({d})) halfvec_ip_ops) WITH (m = 16, ef_construction = 128)"
            f" WHERE embedder = {embedder} AND scope = {scope}"
        )
    finally:
        if conn.alive:
            conn.execute("SELECT pg_advisory_unlock(?::int, ?::int)", (LOCK, key))


def _standing(conn: PgConnection, embedder: int) -> set[int]:
    """Scopes whose index can be used."""
    head = f"vectors_hnsw_{embedder}_"
    return {
        int(name[len(head) :])
        for (name,) in conn.execute(
            "SELECT CAST(c.relname AS text) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid"
            " WHERE i.indrelid = CAST('vectors' AS regclass) AND i.indisvalid"
            " AND starts_with(CAST(c.relname AS text), ?)",
            (head,),
        ).fetchall()
    }


def _text(vector: np.ndarray) -> Vector:
    """A vector as pgvector reads it; nine digits bring every float32 back as it was."""
    return Vector("[" + ",".join(f"{x:.9g}" for x in vector.tolist()) + "]")


def _numbers(sent: bytes) -> np.ndarray:
    """A vector out of pgvector's binary form: dimensions, a reserved number, big-endian floats."""
    (d,) = struct.unpack_from(">H", sent)
    return np.frombuffer(sent, ">f4", count=d, offset=4).astype(np.float32)


def _damaged(conn: PgConnection) -> Iterator[tuple[int, int, str]]:
    for row, embedder, sent, crc, d, there in conn.stream(
        "SELECT v.row, v.embedder, vector_send(v.v), v.crc, e.dimensions, i.row FROM vectors v"
        " JOIN embedders e ON e.id = v.embedder LEFT JOIN items i ON i.row = v.row"
        " AND i.scope = v.scope"
    ):
        vector = _numbers(sent)
        if there is None:
            yield row, embedder, "belongs to no item of its scope"
        elif len(vector) != d or zlib.crc32(vector.tobytes()) != crc:
            yield row, embedder, "is damaged"


def check_vectors(conn: PgConnection, most: int = 50) -> Iterator[Problem]:
    """Damaged vectors, and indexes that were not finished."""
    for n, (row, _, what) in enumerate(_damaged(conn)):
        if n < most:
            yield Problem("vectors", f"row {row}", f"{what}; `byheart memory rebuild` restores it")
    for (name,) in conn.execute(
        "SELECT CAST(c.relname AS text) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid"
        " WHERE i.indrelid = CAST('vectors' AS regclass) AND NOT i.indisvalid"
        " AND NOT EXISTS (SELECT 1 FROM pg_stat_progress_create_index p"
        " WHERE p.index_relid = i.indexrelid)"
    ).fetchall():
        yield Problem("vectors", name, f"was not finished; type: DROP INDEX {name}")


def any_index(conn: Any) -> bool:
    """Whether any scope has an HNSW index, whole or not."""
    return bool(
        conn.execute(
            "SELECT 1 FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE i.indrelid ="
            " CAST('vectors' AS regclass) AND starts_with(CAST(c.relname AS text), 'vectors_hnsw_')"
        ).fetchone()
    )
