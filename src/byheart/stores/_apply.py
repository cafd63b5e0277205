"""What one entry of the log does to the derived tables.

Writing calls this, and so does `rebuild`: there is no other way into these tables, so what is
derived is what the log says. An entry whose body was erased is applied by its structure alone; the
entry that erased it comes later and takes the rest away.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from byheart.core.errors import CorruptStore
from byheart.core.item import Scope, canonical
from byheart.stores._schema import FOREVER
from byheart.stores._writer import Conn

__all__ = ["apply"]

Body = Mapping[str, Any] | None


def apply(
    conn: Conn,
    seq: int,
    at: int,
    scope: int,
    kind: str,
    subject: str,
    data: Mapping[str, Any],
    body: Body,
) -> None:
    """Apply one entry."""
    if kind in ("write", "supersede"):
        _write(conn, seq, at, scope, subject, data, body)
    elif kind in _STEPS:
        _STEPS[kind](conn, seq, at, scope, subject, data, body)
    elif kind not in _QUIET:
        raise CorruptStore(f"entry {seq} of the log is of an unknown kind, {kind!r}")


_QUIET = ("export", "reject", "recall")
"""Kinds that only stand in the log."""


def _row(conn: Conn, scope: int, id: str) -> int | None:
    found = conn.execute("SELECT row FROM items WHERE scope = ? AND id = ?", (scope, id)).fetchone()
    return found[0] if found else None


def _write(
    conn: Conn,
    seq: int,
    at: int,
    scope: int,
    subject: str,
    data: Mapping[str, Any],
    body: Body,
) -> None:
    old, told = data.get("old"), body or {}
    root, old_row = subject, None
    if old is not None:
        found = conn.execute(
            "SELECT row, root FROM items WHERE scope = ? AND id = ?", (scope, old)
        ).fetchone()
        if found:
            old_row, root = found
    thread = told.get("labels", {}).get("thread")
    conn.execute(
        "INSERT INTO items VALUES(?,?,?,?,'Generated',?,?,?,?,?,?,?,0)",
        (
            seq,
            subject,
            scope,
            data["kind"],
            root,
            old,
            told.get("digest"),
            told.get("source"),
            None if thread is None else str(thread),
            data.get("expires"),
            at,
        ),
    )
    for parent in dict.fromkeys(told.get("parents", ())):
        conn.execute("INSERT INTO parents VALUES(?,?)", (parent, seq))
    if not data.get("draft"):
        _open(conn, seq, old_row, data.get("from", at), data.get("to", FOREVER), at)


def _open(conn: Conn, row: int, old: int | None, begin: int, end: int, at: int) -> None:
    """Item `row` holds from begin to end; of what it supersedes the rest of the time is left."""
    if old is not None:
        spans = conn.execute(
            "SELECT valid_from, valid_to FROM spans WHERE row = ? AND known_to = ?", (old, FOREVER)
        ).fetchall()
        conn.execute(
            "UPDATE spans SET known_to = ? WHERE row = ? AND known_to = ?", (at, old, FOREVER)
        )
        for first, last in spans:
            if first < min(last, begin):
                _span(conn, old, at, first, min(last, begin))
            if max(first, end) < last:
                _span(conn, old, at, max(first, end), last)
    _span(conn, row, at, begin, end)


def _span(conn: Conn, row: int, at: int, first: int, last: int, origin: int | None = None) -> None:
    conn.execute(
        "INSERT INTO spans VALUES(?,?,?,?,?,?)",
        (row, at, first, last, FOREVER, at if origin is None else origin),
    )


def _undo(
    conn: Conn, seq: int, at: int, scope: int, subject: str, data: Mapping[str, Any],
    body: Body,
) -> None:  # fmt: skip
    """What that entry opened is closed, what it closed is opened: recorded times are unique."""
    target = data["at"]
    chain = (
        "row IN (SELECT row FROM items WHERE scope = ?4 AND"
        " root = (SELECT root FROM items WHERE scope = ?4 AND id = ?5))"
    )
    values = (at, target, FOREVER, scope, subject)
    reopened = conn.execute(
        f"SELECT row, valid_from, valid_to, origin FROM spans WHERE known_to = ?2 AND {chain}"
        " AND ?1 > ?2 AND ?3 > ?2",  # SQLite wants every numbered value to be used
        values,
    ).fetchall()
    conn.execute(
        "UPDATE spans SET known_to = ?1 WHERE (known_from = ?2 OR origin = ?2) AND known_to = ?3"
        f" AND {chain}",
        values,
    )
    for row, first, last, origin in reopened:
        _span(conn, row, at, first, last, origin)


def _scope(
    conn: Conn, seq: int, at: int, scope: int, subject: str, data: Mapping[str, Any],
    body: Body,
) -> None:  # fmt: skip
    parts = Scope.parse(body["scope"]).parts if body else ("erased", str(scope), "", "")
    conn.execute("INSERT INTO scopes VALUES(?,?,?,?,?)", (scope, *parts))


def _state(
    conn: Conn, seq: int, at: int, scope: int, subject: str, data: Mapping[str, Any],
    body: Body,
) -> None:  # fmt: skip
    conn.execute(
        "UPDATE items SET state = ?, touched = ? WHERE scope = ? AND id = ?",
        (data["to"], at, scope, subject),
    )


def _use(
    conn: Conn, seq: int, at: int, scope: int, subject: str, data: Mapping[str, Any],
    body: Body,
) -> None:  # fmt: skip
    for id in data["ids"]:
        conn.execute(
            "UPDATE items SET uses = uses + 1, touched = ? WHERE scope = ? AND id = ?",
            (at, scope, id),
        )


def _erase(
    conn: Conn, seq: int, at: int, scope: int, subject: str, data: Mapping[str, Any],
    body: Body,
) -> None:  # fmt: skip
    for id in data["ids"]:
        row = _row(conn, scope, id)
        if row is None:
            continue
        for table in ("spans", "parents"):
            conn.execute(f"DELETE FROM {table} WHERE row = ?", (row,))
        conn.execute("DELETE FROM links WHERE scope = ? AND (a = ? OR b = ?)", (scope, id, id))
        conn.execute(
            "DELETE FROM members WHERE item = ? AND cube IN (SELECT id FROM cubes WHERE scope = ?)",
            (id, scope),
        )
        conn.execute("DELETE FROM items WHERE row = ?", (row,))


def _link(
    conn: Conn, seq: int, at: int, scope: int, subject: str, data: Mapping[str, Any],
    body: Body,
) -> None:  # fmt: skip
    conn.execute(
        "INSERT INTO links VALUES(?,?,?,?,?,?) ON CONFLICT (scope, a, b, label) DO UPDATE SET weight = excluded.weight,"
        " seq = excluded.seq",
        (scope, subject, data["to"], (body or {}).get("label", ""), data["weight"], seq),
    )


def _unlink(
    conn: Conn, seq: int, at: int, scope: int, subject: str, data: Mapping[str, Any],
    body: Body,
) -> None:  # fmt: skip
    conn.execute(
        "DELETE FROM links WHERE scope = ? AND a = ? AND b = ? AND label = ?",
        (scope, subject, data["to"], (body or {}).get("label", "")),
    )


def _cube(
    conn: Conn, seq: int, at: int, scope: int, subject: str, data: Mapping[str, Any],
    body: Body,
) -> None:  # fmt: skip
    told = body or {"name": subject, "owner": "", "access": {}}
    conn.execute(
        "INSERT INTO cubes VALUES(?,?,?,?,?,?,?)",
        (
            subject, scope, told["name"], told["owner"], "Generated", data.get("expires"),
            canonical(told["access"]),
        ),
    )  # fmt: skip


def _cube_access(
    conn: Conn, seq: int, at: int, scope: int, subject: str, data: Mapping[str, Any],
    body: Body,
) -> None:  # fmt: skip
    if body:
        conn.execute(
            "UPDATE cubes SET owner = ?, access = ? WHERE id = ?",
            (body["owner"], canonical(body["access"]), subject),
        )


def _cube_state(
    conn: Conn, seq: int, at: int, scope: int, subject: str, data: Mapping[str, Any],
    body: Body,
) -> None:  # fmt: skip
    conn.execute("UPDATE cubes SET state = ? WHERE id = ?", (data["to"], subject))


def _cube_commit(
    conn: Conn, seq: int, at: int, scope: int, subject: str, data: Mapping[str, Any],
    body: Body,
) -> None:  # fmt: skip
    branch, number, parent = data["branch"], data["number"], data.get("parent")
    conn.execute(
        "INSERT INTO versions VALUES(?,?,?,?,?,?)",
        (subject, number, branch, parent, data.get("merged"), seq),
    )
    if "fork" in data:
        conn.execute(
            "INSERT INTO members SELECT cube, ?, root, item FROM members WHERE cube = ?"
            " AND branch = ?",
            (branch, subject, data["fork"]),
        )
    for root in data.get("drop", ()):
        conn.execute(
            "DELETE FROM members WHERE cube = ? AND branch = ? AND root = ?",
            (subject, branch, root),
        )
    for root, item in data.get("put", ()):
        conn.execute(
            "INSERT INTO members VALUES(?,?,?,?) ON CONFLICT (cube, branch, root)"
            " DO UPDATE SET item = excluded.item",
            (subject, branch, root, item),
        )
    for item, old, first, last in data.get("publish", ()):
        row = _row(conn, scope, item)
        if row is not None:
            before = None if old is None else _row(conn, scope, old)
            _open(conn, row, before, at if first is None else first, last, at)


_STEPS = {
    "undo": _undo,
    "scope": _scope,
    "state": _state,
    "use": _use,
    "erase": _erase,
    "link": _link,
    "unlink": _unlink,
    "cube": _cube,
    "cube-access": _cube_access,
    "cube-state": _cube_state,
    "cube-commit": _cube_commit,
}
