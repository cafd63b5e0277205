"""`PostgresStore`: a memory in a PostgreSQL database, for more than one machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from byheart.core.item import Scope
from byheart.core.memory import Problem
from byheart.stores import _postgres_erase
from byheart.stores._embedder import Embedder
from byheart.stores._postgres_address import Address
from byheart.stores._postgres_vectors import PgVectorIndex, check_vectors
from byheart.stores._postgres_words import PgWordIndex
from byheart.stores._postgres_writer import PostgresConnections
from byheart.stores._store import Store

__all__ = ["PostgresStore"]


class PostgresStore(Store):
    """A memory in a PostgreSQL database with pgvector: the behaviour of `SqliteStore`.

    A write is on the server's disk when it returns, or it raised. Any number of processes on any
    number of machines may use it at once.

    Args:
        url: ``postgresql://user@host:port/database``; ``?schema=NAME`` names the schema with the
            tables (``byheart`` if left out), which is made if it is not there. The password is
            better kept in ``~/.pgpass`` or ``PGPASSWORD``; it is never shown.
        scope: Whose memory; see `byheart.core.item.Scope`.
        embedder: For search by meaning beside words.
        actor: Who calls: named in the log, and asked for by a cube's access rules.
        clock: Seconds since 1970; tests give their own.
        timeout: Seconds to wait for the server, for other processes, and for any one statement.
        create: False raises where there is no memory.
        background: Embed many outstanding items, and index many vectors, in threads.
        schema: Instead of in the URL.

    Raises:
        UsageError: The URL cannot be read.
        StoreError: The server is not reached, has no pgvector, or refuses.
        OutputError: There is no memory and `create` is False.
        MissingExtra: psycopg is not installed.
    """

    def __init__(
        self,
        url: str | Address,
        scope: Scope | str | Mapping[str, str] | None = None,
        *,
        embedder: Embedder | None = None,
        actor: str = "local",
        clock: Callable[[], float] | None = None,
        timeout: float = 60.0,
        create: bool = True,
        background: bool = True,
        schema: str | None = None,
    ) -> None:
        address = Address.parse(url, schema)
        super().__init__(
            address.name, scope,
            lambda: PostgresConnections(address, timeout=timeout, create=create),
            embedder=embedder, actor=actor, clock=clock, timeout=timeout, background=background,
        )  # fmt: skip
        self._words, self._vectors = PgWordIndex(), PgVectorIndex(self)
        self._finish_erasure()

    def again(self, scope: Any = None, **options: Any) -> PostgresStore:
        """Another handle on the same database; scope and options as for the first."""
        return PostgresStore(self._c.address, self.scope if scope is None else scope, **options)

    _beyond = _postgres_erase.BEYOND

    def _scrub(self, reached: dict[str, int], vacuum: bool, *, wait: bool = True) -> list[str]:
        return _postgres_erase.scrub(self, reached, vacuum, wait=wait)

    def _place_problems(self, conn: Any) -> Iterator[Problem]:
        yield from check_vectors(conn)
        if conn.execute("SHOW fsync").fetchone()[0] == "off":
            yield Problem(
                "server", "fsync", "is off: a crash of the machine can lose what was confirmed"
            )

    def check(self, head: str | None = None) -> list[Problem]:
        """As `SqliteStore.check`; the pages of the disk are the server's to verify (checksums)."""
        with self._c.patient():
            return super().check(head)

    def rebuild(self) -> dict[str, int]:
        """As `SqliteStore.rebuild`."""
        with self._c.patient():
            return super().rebuild()

    def stats(self) -> dict[str, Any]:
        """As `SqliteStore.stats`."""
        out = super().stats()
        if self._vectors.error is not None:
            out["indexing stopped"] = str(self._vectors.error)
        return out
