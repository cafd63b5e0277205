"""Transactions: one writer at a time, waiting calls of a process share one commit."""

from __future__ import annotations

import contextlib
import os
import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, Protocol, TypeVar

from byheart.core.errors import StoreError, UsageError

__all__ = ["Conn", "Connections", "Job"]

_GONE = (
    "the database ended the transaction by itself (a full disk does that); nothing of it was kept"
)

T = TypeVar("T")


class Rows(Protocol):
    """What a statement gave."""

    @property
    def rowcount(self) -> int: ...
    def fetchone(self) -> Any: ...
    def fetchall(self) -> list[Any]: ...
    def __iter__(self) -> Iterator[Any]: ...


class Conn(Protocol):
    """What the stores need of a connection; `sqlite3.Connection` has it as it is.

    Statements are written in the SQL that SQLite and PostgreSQL share, with ``?`` or ``?1`` for
    values: ``ON CONFLICT (key) DO UPDATE``, ``FILTER``, ``TRUE``, ``"user"`` in quotes.
    """

    def execute(self, sql: str, values: Any = ..., /) -> Rows: ...
    def executemany(self, sql: str, values: Any, /) -> Any: ...


Job = Callable[[Any], T]


class _Ticket(Generic[T]):
    """A job that waits for its commit."""

    def __init__(self, job: Job[T], durable: bool) -> None:
        self.job, self.durable = job, durable
        self.done = False
        self.result: Any = None
        self.error: BaseException | None = None


class Connections(ABC):
    """Connections of one process to one place.

    Calls of several threads that wait for the same lock are committed together by whoever gets it
    (group commit): one flush of the disk for all of them. Each has its own savepoint, so one that
    raises takes nothing of the others with it.

    Args:
        timeout: Seconds to wait for other processes.
        create: Whether to make what is not there.
    """

    def __init__(self, *, timeout: float = 60.0, create: bool = True) -> None:
        self.timeout = timeout
        self._start()
        self._writer = self._open(create=create)

    def _start(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._queue: deque[_Ticket[Any]] = deque()
        self._local = threading.local()
        self._readers: list[Any] = []
        self._closed = False

    # ---------------------------------------------------------------- what a database does its way

    @abstractmethod
    def told(self) -> contextlib.AbstractContextManager[None]:
        """The database's errors as ours."""

    @abstractmethod
    def json_text(self, column: str, key: str) -> str:
        """SQL: the text of a key of a column that holds a JSON object."""

    @abstractmethod
    def begins(self, column: str, text: str) -> tuple[str, list[Any]]:
        """SQL and its values: a column's text begins so."""

    @abstractmethod
    def stream(self, conn: Any, sql: str, values: Sequence[Any] = ()) -> Rows:
        """As `conn.execute`, for more rows than fit in memory."""

    @abstractmethod
    def _open(self, *, create: bool = False) -> Any: ...

    @abstractmethod
    def _close(self, conn: Any) -> None: ...

    @abstractmethod
    def _open_transaction(self, conn: Any) -> bool: ...

    @abstractmethod
    def _begin(self, durable: bool) -> None:
        """Begin on the writer's connection, alone among all processes."""

    @abstractmethod
    def _finish(self) -> None:
        """Commit on the writer's connection."""

    @abstractmethod
    def _begin_reading(self) -> Any:
        """This thread's connection, in a snapshot."""

    def _settle(self, conn: Any) -> None:  # noqa: B027  (a database may have nothing to do)
        """A job is through: whatever it left to be sent is sent, so that it fails by itself."""

    def _done_reading(self, conn: Any) -> None:  # noqa: B027
        """The snapshot was ended."""

    # ---------------------------------------------------------------- the same for all

    def _after_fork(self) -> None:
        # connections must not cross a fork: the child opens its own
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
            StoreBusy: Other processes held the place longer than the timeout.
            OutputError: Disk full or not writable.
        """
        self._after_fork()
        ticket: _Ticket[T] = _Ticket(job, durable)
        if self.in_transaction:
            if not self._open_transaction(self._writer):
                raise StoreError(_GONE)
            with self.told():
                self._run(ticket, alone=False)
            if ticket.error is not None:
                raise ticket.error
            return ticket.result  # type: ignore[no-any-return]
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

    @property
    def in_transaction(self) -> bool:
        """Whether this thread is within `transaction`."""
        return getattr(self._local, "within", False)

    def apart(self, what: str) -> None:
        """Refuse, within `transaction`, what takes up or leaves traces beside the log.

        Raises:
            UsageError: This thread is within one.
        """
        if self.in_transaction:
            raise UsageError(
                f"{what} is not possible within a transaction; call it before or after"
            )

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """What this thread writes within is kept as a whole or not at all; others wait meanwhile."""
        self._after_fork()
        if self.in_transaction:
            yield
            return
        with self._lock:
            with self.told():
                self._begin(True)
            self._local.within = True
            try:
                yield
                if not self._open_transaction(self._writer):
                    raise StoreError(_GONE)
                with self.told():
                    self._finish()
            except BaseException:
                with contextlib.suppress(Exception), self.told():
                    if self._open_transaction(self._writer):
                        self._writer.execute("ROLLBACK")
                raise
            finally:
                self._local.within = False

    def _commit(self, batch: list[_Ticket[Any]]) -> None:
        try:
            with self.told():
                self._begin(any(t.durable for t in batch))
                for ticket in batch:
                    self._run(ticket, alone=len(batch) == 1)
                if self._open_transaction(self._writer):
                    self._finish()
        except BaseException as error:
            with contextlib.suppress(Exception), self.told():
                if self._open_transaction(self._writer):
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
            with self.told():
                ticket.result = ticket.job(conn)
                self._settle(conn)
        except Exception as error:
            ticket.error = error
            if not self._open_transaction(conn):  # the database itself rolled back (disk full)
                raise
            if alone:
                conn.execute("ROLLBACK")
                return
            conn.execute("ROLLBACK TO job")
        if not alone:
            conn.execute("RELEASE job")

    def is_writer(self, conn: Any) -> bool:
        """Whether this is the connection that writes, whose view is not committed yet."""
        return conn is self._writer

    @contextlib.contextmanager
    def reading(self) -> Iterator[Any]:
        """This thread's connection, in one snapshot: all it reads is of the same moment."""
        self._after_fork()
        if self.in_transaction:  # sees what it wrote
            with self.told():
                yield self._writer
            return
        with self.told():
            conn = getattr(self._local, "conn", None)
            if conn is not None and self._open_transaction(conn):
                yield conn
                return
            conn = self._begin_reading()
            try:
                yield conn
            finally:
                try:
                    if self._open_transaction(conn):
                        conn.execute("COMMIT")
                finally:
                    self._done_reading(conn)

    def close(self) -> None:
        """Close all connections of this process."""
        if self._closed or os.getpid() != self._pid:
            return
        with self._lock:
            self._closed = True
            for conn in [*self._readers, self._writer]:
                with contextlib.suppress(Exception):
                    self._close(conn)
