"""Transactions: one writer at a time, waiting calls of a process share one commit."""

from __future__ import annotations

import contextlib
import os
import random
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Generic, TypeVar

from byheart.stores._sqlite_schema import open_file, told

__all__ = ["Connections"]

T = TypeVar("T")
Job = Callable[[sqlite3.Connection], T]


class _Ticket(Generic[T]):
    """A job that waits for its commit."""

    def __init__(self, job: Job[T], durable: bool) -> None:
        self.job, self.durable = job, durable
        self.done = False
        self.result: Any = None
        self.error: BaseException | None = None


class Connections:
    """Connections of one process to one file.

    Calls of several threads that wait for the same lock are committed together by whoever gets it
    (group commit): one flush of the disk for all of them. Each has its own savepoint, so one that
    raises takes nothing of the others with it.

    Args:
        path: The file.
        timeout: Seconds to wait for other processes.
        create: Whether to make the file.
    """

    def __init__(self, path: Path, *, timeout: float = 60.0, create: bool = True) -> None:
        self.path, self.timeout = path, timeout
        self._start()
        self._writer = self._open(create=create)

    def _start(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._queue: deque[_Ticket[Any]] = deque()
        self._local = threading.local()
        self._readers: list[sqlite3.Connection] = []
        self._durable = True
        self._closed = False

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

    def _after_fork(self) -> None:
        # SQLite's connections must not cross a fork: the child opens its own
        if os.getpid() != self._pid:
            self._inherited = (self._writer, self._readers)
            self._start()
            self._writer = self._open()

    def write(self, job: Job[T], *, durable: bool = True) -> T:
        """Run a job in a transaction; when this returns it is on disk.

        Args:
            job: Gets the connection. It may be run in one transaction with other threads' jobs.
            durable: False for derived data: it is not flushed, because it can be rebuilt.

        Raises:
            StoreBusy: Other processes held the file longer than the timeout.
            OutputError: Disk full or not writable.
        """
        self._after_fork()
        ticket: _Ticket[T] = _Ticket(job, durable)
        self._queue.append(ticket)
        with self._lock:
            if not ticket.done:
                batch = []
                while self._queue:
                    batch.append(self._queue.popleft())
                self._commit(batch)
        if ticket.error is not None:
            raise ticket.error
        return ticket.result  # type: ignore[no-any-return]

    def _commit(self, batch: list[_Ticket[Any]]) -> None:
        try:
            with told(self.path):
                self._set_durable(any(t.durable for t in batch))
                self.retry(lambda: self._writer.execute("BEGIN IMMEDIATE"))
                for ticket in batch:
                    self._run(ticket, alone=len(batch) == 1)
                if self._writer.in_transaction:
                    self.retry(lambda: self._writer.execute("COMMIT"))
        except BaseException as error:
            with contextlib.suppress(sqlite3.Error):
                if self._writer.in_transaction:
                    self._writer.execute("ROLLBACK")
            for ticket in batch:
                ticket.error = ticket.error or error
            if not isinstance(error, Exception):
                raise
        finally:
            for ticket in batch:
                ticket.done = True

    def _run(self, ticket: _Ticket[Any], *, alone: bool) -> None:
        conn = self._writer
        if not alone:
            conn.execute("SAVEPOINT job")
        try:
            with told(self.path):
                ticket.result = ticket.job(conn)
        except Exception as error:
            ticket.error = error
            if not conn.in_transaction:  # SQLite itself rolled back (disk full, I/O error)
                raise
            if alone:
                conn.execute("ROLLBACK")
                return
            conn.execute("ROLLBACK TO job")
        if not alone:
            conn.execute("RELEASE job")

    def _set_durable(self, durable: bool) -> None:
        if durable != self._durable:
            self._writer.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
            self._durable = durable

    def is_writer(self, conn: sqlite3.Connection) -> bool:
        """Whether this is the connection that writes, whose view is not committed yet."""
        return conn is self._writer

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
    def reading(self) -> Iterator[sqlite3.Connection]:
        """This thread's connection, in one snapshot: all it reads is of the same moment."""
        self._after_fork()
        conn = getattr(self._local, "conn", None)
        if conn is None:
            conn = self._local.conn = self._open()
            self._readers.append(conn)
        with told(self.path):
            if conn.in_transaction:
                yield conn
                return
            self.retry(lambda: conn.execute("BEGIN"))
            try:
                yield conn
            finally:
                if conn.in_transaction:
                    conn.execute("COMMIT")

    @contextlib.contextmanager
    def alone(self) -> Iterator[sqlite3.Connection]:
        """The writer's connection outside of a transaction, for VACUUM and checkpoints."""
        self._after_fork()
        with self._lock, told(self.path):
            self._set_durable(True)
            yield self._writer

    def close(self) -> None:
        """Close all; the last process to do so folds the write-ahead log into the file."""
        if self._closed or os.getpid() != self._pid:
            return
        with self._lock:
            self._closed = True
            for conn in [*self._readers, self._writer]:
                with contextlib.suppress(sqlite3.Error):
                    conn.close()
