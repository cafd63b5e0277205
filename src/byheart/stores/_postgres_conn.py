"""A connection to PostgreSQL that speaks as the stores do: placeholders, text with NUL, vectors."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

from byheart.core.errors import need
from byheart.stores._postgres_address import Address

__all__ = ["Half", "PgConnection", "Vector", "adapt_vectors"]

_PARTS = re.compile(r"""'(?:[^']|'')*'|"[^"]*"|\?(\d*)""")


@lru_cache(maxsize=4096)
def _translated(sql: str) -> str:
    """``?`` and ``?1`` as ``$1``; what is in quotes stays.

    >>> _translated("SELECT '?' WHERE a = ? AND b = ?")
    "SELECT '?' WHERE a = $1 AND b = $2"
    >>> _translated("a = ?2 OR b = ?1")
    'a = $2 OR b = $1'
    """
    count = itertools.count(1)

    def one(found: re.Match[str]) -> str:
        if not found[0].startswith("?"):
            return found[0]
        return f"${found[1] or next(count)}"

    return _PARTS.sub(one, sql)


def _escape(text: str) -> str:
    """PostgreSQL's text holds no NUL: U+0000 is kept as U+0001 U+0001, U+0001 as U+0001 U+0002.

    Different texts stay different and in their order; and what begins with another still does.
    """
    if "\0" in text or "\1" in text:
        return text.replace("\1", "\1\2").replace("\0", "\1\1")
    return text


def _unescape(text: str) -> str:
    return text.replace("\1\1", "\0").replace("\1\2", "\1") if "\1" in text else text


class _Later:
    """What a statement gave that is not sent yet; asking for it sends it."""

    def __init__(self, conn: PgConnection) -> None:
        self._conn = conn
        self.cursor: Any = None

    @property
    def rowcount(self) -> int:
        """Rows that it changed."""
        if self.cursor is None:
            self._conn.flush()
        return int(self.cursor.rowcount)


_CHANGES = re.compile(r"\s*(INSERT|UPDATE|DELETE)\b")
_AT_ONCE = 1000


class Vector(str):
    """Text of a vector, sent as pgvector's type, so that the server reads it once a statement."""


class Half(str):
    """Text of a vector of half precision."""


class PgConnection:
    """What the stores need of a connection, over psycopg's; see `byheart.stores._writer.Conn`.

    Args:
        address: Where.
        timeout: Seconds to wait for the server, and for locks once it is there.
    """

    def __init__(self, address: Address, *, timeout: float) -> None:
        psycopg = need("psycopg", "postgres")
        given = psycopg.conninfo.conninfo_to_dict(address.conninfo)
        defaults = {
            "connect_timeout": max(2, min(round(timeout), 30)),
            "tcp_user_timeout": max(2000, round(timeout * 1000)),
            "application_name": "byheart",
        }
        more = {k: v for k, v in defaults.items() if k not in given}
        self.raw: Any = psycopg.connect(
            address.conninfo, autocommit=True, client_encoding="utf8", **more
        )
        self._numbers = itertools.count()
        self.lazy = False
        self._waiting: list[tuple[_Later, str, Any]] = []
        self.notices: list[str] = []
        self.raw.add_notice_handler(
            lambda d: self.notices.append(address.clean(d.message_primary or ""))
        )
        _adapt(self.raw)

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open; False on a connection that was lost."""
        return self.raw.info.transaction_status.name in ("ACTIVE", "INTRANS", "INERROR")

    @property
    def alive(self) -> bool:
        """Whether the connection is up, as far as is known without asking."""
        return not self.raw.closed

    def execute(self, sql: str, values: Sequence[Any] = (), /) -> Any:
        """Run a statement; the rows are here when it returns.

        On a connection that writes (`lazy`), what changes rows and gives none waits for the next
        statement that reads, for `flush` or for 1,000 of its kind, and all of it is sent at once.
        """
        import psycopg

        if self.lazy and _CHANGES.match(sql) and "RETURNING" not in sql:
            later = _Later(self)
            self._waiting.append((later, _translated(sql), tuple(values) or None))
            if len(self._waiting) >= _AT_ONCE:
                self.flush()
            return later
        if sql.startswith("ROLLBACK"):
            self._waiting.clear()
        self.flush()
        cursor = psycopg.RawCursor(self.raw)
        return cursor.execute(_translated(sql), tuple(values) or None)

    def executemany(self, sql: str, values: Any, /) -> Any:
        """Run a statement for each of several values, all sent at once."""
        import psycopg

        several = [tuple(v) for v in values]
        if self.lazy:
            for one in several:
                self.execute(sql, one)
        elif several:
            psycopg.RawCursor(self.raw).executemany(_translated(sql), several)

    def flush(self) -> None:
        """Run what waits, in one message; an error is that of the first statement that failed."""
        import psycopg

        if not self._waiting:
            return
        waiting, self._waiting = self._waiting, []
        with self.raw.pipeline():
            for later, sql, values in waiting:
                later.cursor = psycopg.RawCursor(self.raw)
                later.cursor.execute(sql, values)

    def discard(self) -> None:
        """Forget what waits: the transaction it belonged to is gone."""
        self._waiting.clear()

    def script(self, sql: str) -> list[Any]:
        """Run several statements without values in one message; rows of the last."""
        import psycopg

        self.flush()
        cursor = psycopg.RawCursor(self.raw)
        cursor.execute(sql)
        while cursor.nextset():
            pass
        return cursor.fetchall() if cursor.description else []

    def stream(self, sql: str, values: Sequence[Any] = ()) -> Iterator[Any]:
        """Rows in pieces of 1,000, for more than fit in memory; within a transaction."""
        import psycopg

        self.flush()
        with psycopg.RawServerCursor(self.raw, f"byheart_{next(self._numbers)}") as cursor:
            cursor.itersize = 1000
            cursor.execute(_translated(sql), tuple(values) or None)
            yield from cursor

    def close(self) -> None:
        """Close it."""
        self.raw.close()


def _adapt(raw: Any) -> None:
    """Whole numbers as bigint, text as text with NUL escaped; so that statements have one type."""
    from psycopg.types.numeric import Int8Dumper
    from psycopg.types.string import StrDumper, TextLoader

    class Text(StrDumper):
        def dump(self, obj: str) -> Any:
            return super().dump(_escape(obj))

    class Loader(TextLoader):
        def load(self, data: Any) -> Any:
            return _unescape(str(super().load(data)))

    class Whole(Int8Dumper):
        def upgrade(self, obj: int, format: Any) -> Whole:
            return self

        def get_key(self, obj: int, format: Any) -> type:
            return self.cls

    raw.adapters.register_dumper(str, Text)
    raw.adapters.register_dumper(int, Whole)
    raw.adapters.register_loader("text", Loader)


def adapt_vectors(raw: Any) -> None:
    """Send `Vector` and `Half` under the numbers that the extension's types have here."""
    from psycopg.types.string import StrDumper

    (numbers,) = raw.execute(
        "SELECT ARRAY[CAST(CAST('vector' AS regtype) AS oid), CAST(CAST('halfvec' AS regtype) AS oid)]"
    ).fetchall()
    for kind, number in zip((Vector, Half), numbers[0], strict=True):
        raw.adapters.register_dumper(kind, type("Dumper", (StrDumper,), {"oid": int(number)}))
