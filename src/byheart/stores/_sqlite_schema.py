"""The file: SQLite's settings, its indexes over words and vectors, and its errors as ours.

==========  =====================================================================================
segments    groups of one scope's items in the keyword index: their rows and lengths
postings    which items of a segment have a word, and how often; see `_sqlite_words`
vectors     one row an item and embedder, with a checksum
==========  =====================================================================================
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from byheart.core.errors import CorruptStore, OutputError, StoreBusy, StoreError
from byheart.stores._schema import CATALOGUE, DERIVED, KEEP, LOG, SCHEMA

__all__ = ["INDEXES", "open_file", "statements", "told"]

APPLICATION = 0x62796874

INDEXES = """
CREATE TABLE IF NOT EXISTS segments(
  id INTEGER PRIMARY KEY AUTOINCREMENT, scope INTEGER NOT NULL, first INTEGER NOT NULL,
  last INTEGER NOT NULL, n INTEGER NOT NULL, docs BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS segments_scope ON segments(scope, last);
CREATE TABLE IF NOT EXISTS postings(
  segment INTEGER NOT NULL, term TEXT NOT NULL, data BLOB NOT NULL, PRIMARY KEY(segment, term))
  WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS vectors(
  id INTEGER PRIMARY KEY AUTOINCREMENT, embedder INTEGER NOT NULL REFERENCES embedders(id),
  scope INTEGER NOT NULL, row INTEGER NOT NULL, data BLOB NOT NULL, crc INTEGER NOT NULL,
  UNIQUE(embedder, row));
CREATE INDEX IF NOT EXISTS vectors_scope ON vectors(embedder, scope, id);
"""


@contextlib.contextmanager
def told(path: Path) -> Iterator[None]:
    """SQLite's errors as ours, with the file's name and what to do."""
    try:
        yield
    except sqlite3.Error as error:
        name = getattr(error, "sqlite_errorname", "") or ""
        if name.startswith("SQLITE_FULL"):
            raise OutputError(
                f"{path}: the disk is full; nothing of this call was written. "
                "Free some space and call again"
            ) from error
        if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            raise StoreBusy(
                f"{path}: other processes hold the file; nothing was written. "
                "Call again, or open it with a longer timeout="
            ) from error
        if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
            raise CorruptStore(
                f"{path}: {error}; it is damaged or no memory. Run `byheart memory check` on it "
                "and go back to a backup or an export"
            ) from error
        if name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_IOERR", "SQLITE_PERM")):
            raise OutputError(
                f"{path}: {error} ({name}); nothing of this call was written. Check that the "
                "folder exists, can be written and has room"
            ) from error
        if name.startswith("SQLITE_TOOBIG"):
            raise StoreError(f"{path}: an item of over 1 GB does not fit; split it") from error
        raise CorruptStore(f"{path}: {error} ({name or type(error).__name__})") from error


def open_file(path: Path, *, create: bool) -> sqlite3.Connection:
    """A connection with byheart's settings.

    WAL, so that readers never wait for writers; `synchronous=FULL`, so that a commit is on disk;
    `secure_delete`, so that what is deleted is overwritten.

    Raises:
        CorruptStore: The file is no memory, or of a later version.
        OutputError: It cannot be made.
    """
    if not create and not path.exists():
        raise OutputError(f"{path} does not exist; write something to it first, or check the path")
    _look(path, create=create)
    with told(path):
        conn = sqlite3.connect(
            path, timeout=30.0, isolation_level=None, check_same_thread=False, cached_statements=256
        )
    try:
        with told(path):
            _prepare(conn, path)
    except BaseException:
        conn.close()
        raise
    return conn


def _look(path: Path, *, create: bool) -> None:
    """SQLite takes a file of a few bytes for an empty one and would begin anew over it."""
    try:
        with open(path, "rb") as file:
            head = file.read(512)
    except FileNotFoundError:
        return
    except OSError as error:
        raise OutputError(f"{path}: {error.strerror or error}; name another file") from error
    if not head and not create:
        raise CorruptStore(f"{path} is empty: no memory, or one that was cut off")
    if head and (len(head) < 512 or not head.startswith(b"SQLite format 3\0")):
        raise CorruptStore(
            f"{path} is no memory, or its beginning is damaged (it starts with {head[:16]!r}); go "
            "back to a backup or an export, or name another file"
        )


def _prepare(conn: sqlite3.Connection, path: Path) -> None:
    if path.exists() and path.stat().st_size:
        (application,) = conn.execute("PRAGMA application_id").fetchone()
        (version,) = conn.execute("PRAGMA user_version").fetchone()
        if application != APPLICATION and (application or version or _tables(conn)):
            raise CorruptStore(
                f"{path} is an SQLite file of another program; name another file for the memory"
            )
        if version > SCHEMA:
            raise CorruptStore(
                f"{path} was written by a later byheart (schema {version}, this one knows "
                f"{SCHEMA}); upgrade: pip install -U byheart"
            )
    (mode,) = conn.execute("PRAGMA journal_mode=WAL").fetchone()
    if mode != "wal":
        raise OutputError(
            f"{path}: this file system has no write-ahead log ({mode}); put the file on a local disk"
        )
    for pragma in (
        "synchronous=FULL", "foreign_keys=ON", "secure_delete=ON", "cache_size=-65536", "wal_autocheckpoint=4000",
        "temp_store=MEMORY", "recursive_triggers=ON",
    ):  # fmt: skip
        conn.execute(f"PRAGMA {pragma}")
    if conn.execute("PRAGMA user_version").fetchone()[0] < SCHEMA:
        conn.execute("BEGIN IMMEDIATE")
        try:
            if conn.execute("PRAGMA user_version").fetchone()[0] < SCHEMA:
                for statement in statements(LOG + KEEP + DERIVED + CATALOGUE + INDEXES):
                    conn.execute(statement)
                conn.execute(f"PRAGMA application_id={APPLICATION}")
                conn.execute(f"PRAGMA user_version={SCHEMA}")
            conn.execute("COMMIT")
        except BaseException:
            if conn.in_transaction:
                conn.execute("ROLLBACK")
            raise


def _tables(conn: sqlite3.Connection) -> int:
    return int(conn.execute("SELECT count(*) FROM sqlite_master").fetchone()[0])


def statements(script: str) -> Iterator[str]:
    """The statements of a script, one by one (`executescript` would commit)."""
    one = ""
    for line in script.splitlines():
        one += line + "\n"
        if sqlite3.complete_statement(one):
            yield one
            one = ""
