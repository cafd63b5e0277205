"""Connections to a PostgreSQL server: one writer at a time over all machines, lost ones made anew."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

from byheart.core.errors import StoreError
from byheart.stores._postgres_address import Address, lost, told
from byheart.stores._postgres_conn import PgConnection, adapt_vectors
from byheart.stores._postgres_schema import LOCK, prepare
from byheart.stores._writer import Connections, Rows

__all__ = ["PostgresConnections"]


class PostgresConnections(Connections):
    """Connections of one process to one database.

    A writing transaction takes an advisory lock first, so that the chain of hashes and the numbers
    of the log stay total over all clients; PostgreSQL frees it when the transaction ends, however
    it ends. Readers take no lock.

    Args:
        address: Where.
        timeout: Seconds to wait for the server, for the lock, and for any one statement.
        create: Whether to make the tables.
    """

    def __init__(self, address: Address, *, timeout: float = 60.0, create: bool = True) -> None:
        self.address = address
        self._patience = 0
        super().__init__(timeout=timeout, create=create)

    def _start(self) -> None:
        super()._start()
        self._free: list[PgConnection] = []
        self._free_lock = threading.Lock()
        self._xid: int | None = None

    def told(self) -> contextlib.AbstractContextManager[None]:
        """PostgreSQL's errors as ours."""
        return told(self.address)

    def json_text(self, column: str, key: str) -> str:
        """SQL: the text of a key of a column that holds a JSON object."""
        return f"(CAST({column} AS json) ->> '{key}')"

    def begins(self, column: str, text: str) -> tuple[str, list[Any]]:
        """SQL and its values: a column's text begins so."""
        return f"starts_with({column}, ?)", [text]

    def stream(self, conn: Any, sql: str, values: Sequence[Any] = ()) -> Rows:
        """Rows in pieces, by a cursor of the server."""
        return conn.stream(sql, values)  # type: ignore[no-any-return]

    @contextlib.contextmanager
    def patient(self) -> Iterator[None]:
        """Statements may take as long as they do: for what goes over the whole memory."""
        self._patience += 1
        try:
            yield
        finally:
            self._patience -= 1

    # ---------------------------------------------------------------- connecting

    def _open(self, *, create: bool = False) -> PgConnection:
        with self.told():
            conn = PgConnection(self.address, timeout=self.timeout)
            try:
                most = max(1, round(self.timeout * 1000))
                conn.script(
                    f"SET lock_timeout = {most}; SET statement_timeout = {most};"
                    # the planner would read a small table whole, and its size is of all scopes
                    "SET enable_seqscan = off; SET jit = off; SET default_transaction_read_only = off"
                )
                prepare(conn, self.address, create=create)
                adapt_vectors(conn.raw)
                (safe,) = conn.execute("SHOW synchronous_commit").fetchone()
                if safe == "off":  # a write is on disk when it returns, whatever the server's habit
                    conn.script("SET synchronous_commit = on")
                conn.notices.clear()
                return conn
            except BaseException:
                conn.close()
                raise

    def _close(self, conn: PgConnection) -> None:
        conn.close()

    def separate(self) -> PgConnection:
        """A connection of its own, without time limits, for VACUUM and building an index."""
        self._after_fork()
        conn = self._open()
        with self.told():
            conn.script("SET statement_timeout = 0")
        return conn

    def _open_transaction(self, conn: PgConnection) -> bool:
        return conn.in_transaction

    # ---------------------------------------------------------------- writing

    def _begin(self, durable: bool) -> None:
        try:
            self._begin_on(self._writer, durable)
        except Exception as error:
            if not lost(error):
                raise
            # it was lost while idle, so nothing is in doubt: once more, on a new one
            with contextlib.suppress(Exception):
                self._writer.close()
            self._writer = self._open()
            self._begin_on(self._writer, durable)

    def _begin_on(self, conn: PgConnection, durable: bool) -> None:
        # each statement sees what was committed before it, so all that follow the lock see the end
        # of the log
        conn.discard()
        fast = "" if durable else " SET LOCAL synchronous_commit = off;"
        slow = " SET LOCAL statement_timeout = 0;" if self._patience else ""
        rows = conn.script(
            f"BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE;{fast}{slow}"
            f" SELECT pg_advisory_xact_lock({LOCK}, CAST(CAST('events' AS regclass) AS oid)::int);"
            " SELECT CAST(CAST(pg_current_xact_id() AS text) AS bigint)"
        )
        self._xid = rows[0][0]
        conn.lazy = True

    def _settle(self, conn: PgConnection) -> None:
        conn.flush()

    def _finish(self) -> None:
        try:
            self._writer.execute("COMMIT")
        except Exception as error:
            if not lost(error):
                raise
            self._find_out(error)

    def _find_out(self, error: Exception) -> None:
        """The connection was lost while committing: ask the server what became of it."""
        until = time.monotonic() + min(self.timeout, 60.0)
        while True:
            try:
                conn = self._open()
                with self.told():
                    (status,) = conn.execute(
                        "SELECT pg_xact_status(CAST(CAST(? AS text) AS xid8))", (str(self._xid),)
                    ).fetchone()
                if status == "committed":
                    self._writer = conn
                    return
                conn.close()
                if status == "aborted":
                    raise error
                reason = f"the server says {status}"
            except StoreError as again:
                reason = str(again)
            if time.monotonic() > until:
                raise StoreError(
                    f"{self.address.name}: the connection was lost while a write was being "
                    f"confirmed, and whether it is there could not be found out ({reason}). Look "
                    "for its ids, or call again with the same items: what is there is not doubled"
                ) from error
            time.sleep(0.1)

    # ---------------------------------------------------------------- reading

    def _begin_reading(self) -> PgConnection:
        with self._free_lock:
            conn = self._free.pop() if self._free else None
        slow = "; SET LOCAL statement_timeout = 0" if self._patience else ""
        begin = f"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY{slow}"
        if conn is not None:
            try:
                conn.script(begin)
            except Exception as error:
                if not lost(error):
                    raise
                self._forget(conn)
                conn = None
        if conn is None:
            conn = self._open()
            with self._free_lock:
                self._readers.append(conn)
            conn.script(begin)
        self._local.conn = conn
        return conn

    def _done_reading(self, conn: PgConnection) -> None:
        """Threads come and go; connections are few, so the next thread gets this one."""
        self._local.conn = None
        if conn.alive and not conn.in_transaction:
            with self._free_lock:
                self._free.append(conn)
        else:
            self._forget(conn)

    def _forget(self, conn: PgConnection) -> None:
        with self._free_lock:
            if conn in self._readers:
                self._readers.remove(conn)
        with contextlib.suppress(Exception):
            conn.close()
