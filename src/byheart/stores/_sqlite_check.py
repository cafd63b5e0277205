"""What can be wrong with the file and its vectors."""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from byheart.core.memory import Problem
from byheart.stores._sqlite_graph import check_graphs

if TYPE_CHECKING:
    from byheart.stores.sqlite import SqliteStore

__all__ = ["MOST", "place_problems"]

MOST = 50
"""Problems of one kind that are listed one by one."""


def place_problems(store: SqliteStore, conn: sqlite3.Connection) -> Iterator[Problem]:
    """Pages, foreign keys, vectors and kept graphs."""
    yield from _file(conn)
    yield from _vectors(conn)
    yield from check_graphs(store)


def _file(conn: sqlite3.Connection) -> Iterator[Problem]:
    for (line,) in conn.execute(f"PRAGMA integrity_check({MOST})"):
        if line != "ok":
            yield Problem("file", "pages", str(line))
    for table, row, parent, _ in conn.execute("PRAGMA foreign_key_check").fetchall()[:MOST]:
        yield Problem(table, f"row {row}", f"names a row of {parent} that is not there; rebuild")


def _vectors(conn: sqlite3.Connection) -> Iterator[Problem]:
    count = 0
    for row, data, crc, d, there in conn.execute(
        "SELECT v.row, v.data, v.crc, e.dimensions, i.row FROM vectors v JOIN embedders e"
        " ON e.id = v.embedder LEFT JOIN items i ON i.row = v.row AND i.scope = v.scope"
    ):
        what = ""
        if there is None:
            what = "belongs to no item of its scope"
        elif zlib.crc32(data) != crc or len(data) % (4 * d) or not data:
            what = "is damaged"
        if what and count < MOST:
            count += 1
            yield Problem("vectors", f"row {row}", f"{what}; `byheart memory rebuild` restores it")
