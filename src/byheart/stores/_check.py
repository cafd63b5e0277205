"""`check`, `rebuild` and `stats`: the log replayed beside what is derived from it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

from byheart.core.errors import CorruptStore, OutputError
from byheart.core.memory import Problem
from byheart.stores._apply import apply
from byheart.stores._catch_up import embed
from byheart.stores._embedder import missing
from byheart.stores._log import START, entry_hash, payload_hash, unpack
from byheart.stores._schema import DERIVED, DERIVED_TABLES, FOREVER
from byheart.stores._sqlite_schema import statements
from byheart.stores._visible import times, visible

if TYPE_CHECKING:
    from byheart.stores._store import Store
    from byheart.stores._writer import Conn

__all__ = ["check", "rebuild", "stats"]


MOST = 50
"""Problems of one table that are listed one by one."""


def check(store: Store, head: str | None) -> list[Problem]:
    """`Store.check`."""
    problems: list[Problem] = []
    try:
        with store._c.reading() as conn:
            found, replay = _chain(store, conn, head)
            problems += found
            problems += _tables(store, conn, replay)
            problems += store._words.problems(store, conn)
            problems += store._place_problems(conn)
            if conn.execute("SELECT 1 FROM meta WHERE key = 'scrub'").fetchone():
                problems.append(
                    Problem("file", "free pages", "an erasure is not finished; open it again alone")
                )
    except (CorruptStore, OutputError, sqlite3.Error) as error:
        problems.append(Problem("file", store.place, f"cannot be read: {error}"))
    return problems


def _chain(
    store: Store, conn: Conn, head: str | None
) -> tuple[list[Problem], sqlite3.Connection | None]:
    """Verify hashes and payloads; the log replayed in memory, unless it cannot be."""
    problems: list[Problem] = []
    replay: sqlite3.Connection | None = sqlite3.connect(":memory:", isolation_level=None)
    for statement in statements(DERIVED):
        replay.execute(statement)  # type: ignore[union-attr]
    before, last_seq, last_at = START, 0, -FOREVER
    gone: dict[int, str] = {}
    erased: set[int] = set()
    for seq, at, scope, kind, subject, actor, data, digest, hash, salt, packed in store._c.stream(
        conn,
        "SELECT e.seq, e.at, e.scope, e.kind, e.subject, e.actor, e.data, e.payload, e.hash,"
        " p.salt, p.body FROM events e LEFT JOIN payloads p ON p.seq = e.seq ORDER BY e.seq",
    ):
        name = f"entry {seq} ({kind} {subject})"
        if seq != last_seq + 1:
            problems.append(Problem("chain", name, f"entries {last_seq + 1} to {seq - 1} are gone"))
        if at <= last_at:
            problems.append(Problem("chain", name, "is not later than the entry before"))
        if entry_hash(before, seq, at, scope, kind, subject, actor, data, digest) != hash:
            problems.append(
                Problem("chain", name, "its hash does not fit; it or the one before was changed")
            )
        before, last_seq, last_at = hash, seq, at
        body = None
        if packed is not None:
            if digest is None or payload_hash(salt, packed) != digest:
                problems.append(
                    Problem("payload", name, "its content is not what was written; use a backup")
                )
            else:
                body = unpack(packed)[0]
        elif digest is not None:
            gone[seq] = name
        try:
            told = json.loads(data)
            if kind == "erase":
                erased |= set(told["payloads"])
            if replay is not None:
                apply(replay, seq, at, scope, kind, subject, told, body)
        except (ValueError, KeyError, CorruptStore, sqlite3.Error) as error:
            problems.append(Problem("chain", name, f"cannot be replayed: {error}"))
            replay = None
    problems += [
        Problem("payload", name, "its content is gone and no entry erased it; use a backup")
        for seq, name in gone.items()
        if seq not in erased
    ]
    if (
        head is not None
        and not conn.execute(
            "SELECT 1 FROM events WHERE hash = ?", (bytes.fromhex(head),)
        ).fetchone()
    ):
        problems.append(
            Problem("chain", f"head {head[:12]}...", "is not in the log: its end was cut off")
        )
    return problems, replay


def _tables(store: Store, conn: Conn, replay: sqlite3.Connection | None) -> Iterator[Problem]:
    """Rows of derived tables that differ from the replayed ones."""
    if replay is None:
        return
    for table in reversed(DERIVED_TABLES):
        order = "1, 2" if table == "parents" else "1, 2, 3"
        all_rows = f"SELECT * FROM {table} ORDER BY {order}"
        here, there = store._c.stream(conn, all_rows), replay.execute(all_rows)
        for mine, wanted in islice(_differences(iter(here), there), MOST):
            row = mine or wanted
            what = "is missing" if mine is None else "should not be there"
            yield Problem(
                table, f"row {row[0]} {row[1]}", f"{what}; `byheart memory rebuild` restores it"
            )


def _differences(here: Any, there: Any) -> Iterator[tuple[Any, Any]]:
    """Rows of two sorted streams that only one of them has; whole rows are compared."""
    mine, wanted = next(here, None), next(there, None)
    while mine is not None or wanted is not None:
        if mine == wanted:
            mine, wanted = next(here, None), next(there, None)
        elif wanted is None or (mine is not None and _key(mine) <= _key(wanted)):
            yield mine, None
            mine = next(here, None)
        else:
            yield None, wanted
            wanted = next(there, None)


def _key(row: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple((v is not None, str(type(v)), v) for v in row[:3])


def rebuild(store: Store) -> dict[str, int]:
    """`Store.rebuild`."""
    done: dict[str, int] = {}

    def job(conn: Conn) -> None:
        found, _ = _chain(store, conn, None)
        bad = [p for p in found if p.part in ("chain", "payload")]
        if bad:
            raise CorruptStore(
                f"{store.place}: the log itself is damaged ({bad[0]}); go back to a backup or an "
                "export. Nothing was changed"
            )
        for table in DERIVED_TABLES:
            conn.execute(f"DELETE FROM {table}")
        entries = 0
        for seq, at, scope, kind, subject, data, packed in store._c.stream(
            conn,
            "SELECT e.seq, e.at, e.scope, e.kind, e.subject, e.data, p.body FROM events e"
            " LEFT JOIN payloads p ON p.seq = e.seq ORDER BY e.seq",
        ):
            body = None if packed is None else unpack(packed)[0]
            apply(conn, seq, at, scope, kind, subject, json.loads(data), body)
            entries += 1
        store._words.clear(conn)
        scopes = [s for (s,) in conn.execute("SELECT id FROM scopes")]
        while store._words.outstanding(conn, scopes):
            store._words.index(conn, scopes)
        dropped = store._vectors.drop_damaged(conn)
        conn.execute(
            "INSERT INTO meta VALUES('erasures', 1) ON CONFLICT (key) DO UPDATE"
            " SET value = CAST(meta.value AS INTEGER) + 1"
        )
        done.update({"entries": entries, "vectors dropped": dropped})
        (done["items"],) = conn.execute("SELECT count(*) FROM items").fetchone()

    store._c.write(job)
    if store.embedder is not None:
        done["vectors made"] = embed(store) or 0
    return done


def stats(store: Store) -> dict[str, Any]:
    """`Store.stats`."""
    with store._c.reading() as conn:
        mine = f"{store._in_scope(conn, 'i.scope')} AND {store._allowed(conn, 'i')}"
        when = times(store, conn, None, None)
        current = len(visible(store, conn, when))
        count, size = conn.execute(
            "SELECT count(*), coalesce(sum(length(p.body)), 0) FROM items i JOIN payloads p"
            f" ON p.seq = i.row WHERE {mine}"
        ).fetchone()
        states, kinds = (
            dict(
                conn.execute(
                    f"SELECT {column}, count(*) FROM items i WHERE {mine} GROUP BY 1 ORDER BY 1"
                ).fetchall()
            )
            for column in ("state", "kind")
        )
        (entries,) = conn.execute(
            f"SELECT count(*) FROM events e WHERE {store._in_scope(conn, 'e.scope')} AND"
            f" {store._allowed_event(conn)}"
        ).fetchone()
        vectors = {
            f"{name} {version}".strip(): n
            for name, version, n in conn.execute(
                "SELECT e.name, e.version, count(DISTINCT v.row) FROM vectors v JOIN embedders e"
                " ON e.id = v.embedder JOIN items i ON i.row = v.row"
                f" WHERE {mine} GROUP BY e.id ORDER BY e.id"
            )
        }
        cubes = len(store.cubes())
    out: dict[str, Any] = {
        "scope": str(store.scope),
        "current": current,
        "items": count,
        "entries": entries,
        "bytes": size,
        "states": states,
        "kinds": kinds,
        "cubes": cubes,
        "vectors": vectors,
    }
    if store.embedder is not None:
        id = store._embedder_id()
        with store._c.reading() as conn:
            lacking = missing(conn, id, store._scope_ids(conn) or (0,))
        out["without a vector"] = len(lacking)
        if store._background_error is not None:
            out["embedding stopped"] = str(store._background_error)
    return out
