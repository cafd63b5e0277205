"""What can be wrong with the file, the keyword index and the vectors."""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from byheart.core.memory import Problem
from byheart.stores._log import payload_hash, unpack
from byheart.stores._sqlite_graph import check_graphs
from byheart.stores._sqlite_words import words_of

if TYPE_CHECKING:
    from byheart.stores.sqlite import SqliteStore

__all__ = ["MOST", "place_problems"]

MOST = 50
"""Problems of one kind that are listed one by one."""


def place_problems(store: SqliteStore, conn: sqlite3.Connection) -> Iterator[Problem]:
    """Pages, foreign keys, words, vectors and kept graphs."""
    yield from _file(conn)
    yield from _words(conn)
    yield from _vectors(conn)
    yield from check_graphs(store)


def _file(conn: sqlite3.Connection) -> Iterator[Problem]:
    for (line,) in conn.execute(f"PRAGMA integrity_check({MOST})"):
        if line != "ok":
            yield Problem("file", "pages", str(line))
    for table, row, parent, _ in conn.execute("PRAGMA foreign_key_check").fetchall()[:MOST]:
        yield Problem(table, f"row {row}", f"names a row of {parent} that is not there; rebuild")


def _words(conn: sqlite3.Connection) -> Iterator[Problem]:
    """Every token of every indexed item is in the index at its place, and nothing else is."""
    wanted: dict[int, int] = {}
    lengths: dict[int, int] = {}
    for row, scope, n, salt, packed, digest in conn.execute(
        "SELECT l.row, l.scope, l.tokens, p.salt, p.body, e.payload FROM lengths l"
        " LEFT JOIN payloads p ON p.seq = l.row LEFT JOIN events e ON e.seq = l.row"
    ):
        lengths[row] = n
        if packed is None or payload_hash(salt, packed) != digest:
            continue
        text, count = words_of(scope, unpack(packed)[0]["content"])
        wanted[row] = _sum(enumerate(text.split(" "))) if text else 0
        if count != n:
            yield Problem("words", f"row {row}", "has another number of words; rebuild")
    found: dict[int, int] = dict.fromkeys(wanted, 0)
    for term, row, place in conn.execute("SELECT term, doc, offset FROM places"):
        if row not in lengths:
            yield Problem("words", f"row {row}", "is indexed and is no item; rebuild")
            return
        if row in found:
            found[row] = (found[row] + zlib.crc32(term.encode()) * (place + 1)) % 2**64
    wrong = [r for r, value in wanted.items() if found[r] != value]
    for row in wrong[:MOST]:
        yield Problem("words", f"row {row}", "is indexed under other words; rebuild")


def _sum(places: Any) -> int:
    return sum(zlib.crc32(term.encode()) * (i + 1) for i, term in places) % 2**64


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
