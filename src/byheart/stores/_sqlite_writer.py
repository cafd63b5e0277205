"""Connections to a file: waiting for its lock, group commit without a flush where it may."""

from __future__ import annotations

import contextlib
import random
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from byheart.stores._sqlite_schema import open_file, told
from byheart.stores._writer import Connections, Rows

__all__ = ["SqliteConnections"]

T = TypeVar("T")


class SqliteConnections(Connections):
    """Connections of one process to one file.

    Args:
        path: The file.
        timeout: Seconds to wait for other processes.
        create: Whether to make the file.
    """

    def __init__(self, path: Path, *, timeout: float = 60.0, create: bool = True) -> None:
        self.path = path
        super().__init__(timeout=timeout, create=create)

    def _start(self) -> None:
        super()._start()
        self._durable = True

    def told(self) -> contextlib.AbstractContextManager[None]:
        """SQLite's errors as ours, with the file's name."""
        return told(self.path)

    def json_text(self, column: str, key: str) -> str:
        """SQL: the text of a key of a column that holds a JSON object."""
        return f"json_extract({column}, '$.{key}')"

    def begins(self, column: str, text: str) -> tuple[str, list[Any]]:
        """SQL and its values: a column's text begins so."""
        return f"substr({column}, 1, ?) = ?", [len(text), text]

    def stream(self, conn: Any, sql: str, values: Sequence[Any] = ()) -> Rows:
        """As `conn.execute`, which gives row by row."""
        return conn.execute(sql, values)  # type: ignore[no-any-return]

    def _open(self, *, create: bool = False) -> sqlite3.Connection:
        begin = time.monotonic()
        while True:
            try:
                with told(self.path):
                    conn = open_file(self.path, create=create)
                    conn.execute("PRAGMA busy_timeout=20")
                    return conn
            except TimeoutError:
                if time.monotonic() - begin > self.timeout:
                    raise
                time.sleep(random.uniform(0.001, 0.02))

    def _close(self, conn: sqlite3.Connection) -> None:
        # the last process to do so folds the write-ahead log into the file
        conn.close()

    def _open_transaction(self, conn: sqlite3.Connection) -> bool:
        return conn.in_transaction

    def _begin(self, durable: bool) -> None:
        self._set_durable(durable)
        self.retry(lambda: self._writer.execute("BEGIN IMMEDIATE"))

    def _finish(self) -> None:
        self.retry(lambda: self._writer.execute("COMMIT"))

    def _begin_reading(self) -> sqlite3.Connection:
        conn: sqlite3.Connection | None = getattr(self._local, "conn", None)
        if conn is None:
            conn = self._local.conn = self._open()
            self._readers.append(conn)
        self.retry(lambda: conn.execute("BEGIN"))
        return conn

    def _set_durable(self, durable: bool) -> None:
        if durable != self._durable:
            self._writer.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
            self._durable = durable

    def retry(self, call: Callable[[], T]) -> T:
        """Call until the file is free; short random naps share it more evenly than SQLite's."""
        begin = time.monotonic()
        while True:
            try:
                return call()
            except sqlite3.OperationalError as error:
                busy = error.sqlite_errorname.startswith(("SQLITE_BUSY", "SQLITE_LOCKED"))
                if not busy or time.monotonic() - begin > self.timeout:
                    raise
                time.sleep(random.uniform(0.0002, 0.004))

    @contextlib.contextmanager
    def alone(self) -> Iterator[sqlite3.Connection]:
        """The writer's connection outside of a transaction, for VACUUM and checkpoints."""
        self._after_fork()
        self.apart("VACUUM")
        with self._lock, told(self.path):
            self._set_durable(True)
            yield self._writer
