"""A database's address without its password, and PostgreSQL's errors as ours."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

from byheart.core.errors import (
    CorruptStore,
    OutputError,
    StoreBusy,
    StoreError,
    UsageError,
    need,
)

__all__ = ["Address", "is_address", "lost", "told"]

_HOST = re.compile(r"(\[[0-9a-fA-F:.%]*\]|[^:\[\]]*)(:\d*)?")
_HIDDEN = "postgresql://USER@HOST:PORT/DATABASE"


def is_address(place: object) -> bool:
    """Whether a memory's place names a PostgreSQL server.

    >>> is_address("postgresql://ana@db.example/memory"), is_address("home.db")
    (True, False)
    """
    return isinstance(place, str) and place.startswith(("postgresql:", "postgres:"))


@dataclass(frozen=True)
class Address:
    """Where a database is. The password is in `conninfo` alone, which is never shown.

    Args:
        conninfo: For libpq.
        name: For people: user, host, port, database and schema.
        schema: Where the tables lie.
        password: To be struck out of whatever the server says.
    """

    conninfo: str = field(repr=False)
    name: str
    schema: str
    password: str = field(default="", repr=False)

    @classmethod
    def parse(cls, url: str | Address, schema: str | None = None) -> Address:
        """From ``postgresql://user@host:port/database?schema=name``.

        Raises:
            UsageError: It cannot be read. What it says is not repeated: a password may be in it.
        """
        wrong = (
            f"the address of the database cannot be read; write {_HIDDEN}, signs such as @ : / in "
            "names as %40 %3A %2F, and only options that libpq knows. A password is better kept in "
            "~/.pgpass or PGPASSWORD"
        )
        if isinstance(url, Address):
            return url
        if not is_address(url) or "://" not in url:
            raise UsageError(wrong)
        psycopg = need("psycopg", "postgres")
        try:
            parts = urlsplit(url)
            hosts = parts.netloc.rpartition("@")[2]
            if not all(_HOST.fullmatch(host) for host in hosts.split(",")):
                raise ValueError("a host or port that is none")
            query = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=False))
            named = query.pop("schema", None)
            if "@" in (parts.netloc.rpartition("@")[0]):
                raise ValueError("an @ that is not escaped")
            bare = urlunsplit(parts._replace(query=urlencode(query, quote_via=quote)))
            told = psycopg.conninfo.conninfo_to_dict(bare)
        except (ValueError, psycopg.Error):
            raise UsageError(wrong) from None
        if named is not None and schema is not None and named != schema:
            raise UsageError(f"the address names the schema {named!r} and schema= is {schema!r}")
        where = schema or named or "byheart"
        if not where.isprintable() or len(where.encode()) > 63 or where.startswith("pg_"):
            raise UsageError(
                f"a schema's name is 1 to 63 printable characters and does not begin with pg_, got "
                f"{where!r}"
            )
        user, host = told.get("user"), told.get("host", "")
        name = "postgresql://" + (f"{user}@" if user else "")
        name += "" if str(host).startswith("/") else str(host)
        name += f":{told['port']}" if "port" in told else ""
        name += f"/{told.get('dbname', user or '')}"
        name += "" if where == "byheart" else f"?schema={where}"
        return cls(bare, name, where, str(told.get("password") or ""))

    def clean(self, text: object) -> str:
        """What a server or libpq said, in one line, without the password."""
        said = " ".join(str(text).split())
        return said.replace(self.password, "***") if self.password else said


def lost(error: BaseException) -> bool:
    """Whether an error of psycopg's means that the connection is gone."""
    state = getattr(error, "sqlstate", None) or ""
    name = type(error).__name__
    return name in ("OperationalError", "InterfaceError", "AdminShutdown", "CrashShutdown") and (
        state == "" or state[:2] == "08" or state.startswith("57P")
    )


_SAYS: tuple[tuple[tuple[str, ...], type[Exception], str], ...] = (
    (("53100",), OutputError,
     "the server's disk is full ({said}); nothing of this call was written. Free some space and "
     "call again"),
    (("53300",), StoreError,
     "the server takes no more connections ({said}); close some, or raise its max_connections"),
    (("53",), StoreBusy, "the server is short of resources ({said}); call again"),
    (("55P03", "57014"), StoreBusy,
     "other processes hold the memory, or the server took too long ({said}); nothing was written. "
     "Call again, or open it with a longer timeout="),
    (("40001", "40P01"), StoreBusy,
     "another process was in the way ({said}); nothing was written. Call again"),
    (("42501",), StoreError,
     "the role lacks a right ({said}); grant it, or open the memory with the role that owns it"),
    (("25006",), StoreError,
     "the database is read-only ({said}), perhaps a replica; open the memory on the primary"),
    (("42P01", "42703", "42704", "3F000", "42883"), CorruptStore,
     "a part of the memory is not there ({said}); run `byheart memory check`, or go back to a "
     "backup"),
    (("XX", "58"), CorruptStore,
     "the server found damage ({said}); see its log and go back to a backup or an export"),
    (("54",), StoreError, "a limit of the server was met ({said}); split the item"),
)  # fmt: skip


@contextlib.contextmanager
def told(address: Address) -> Iterator[None]:
    """PostgreSQL's errors as ours: which database, what it said, what to do; no password."""
    psycopg = need("psycopg", "postgres")
    try:
        yield
    except psycopg.Error as error:
        said = address.clean(getattr(error.diag, "message_primary", None) or error)
        if lost(error):
            raise StoreError(
                f"{address.name}: no connection ({said}); nothing that was not confirmed was "
                "written. Check address, role and that the server is up, then call again"
            ) from error
        state = error.sqlstate or ""
        for states, kind, text in _SAYS:
            if state.startswith(states):
                raise kind(f"{address.name}: {text.format(said=said)}") from error
        raise StoreError(
            f"{address.name}: {said} ({state or type(error).__name__}); nothing of this call was "
            "written"
        ) from error
