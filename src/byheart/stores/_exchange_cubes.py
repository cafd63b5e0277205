"""A cube out of a line of an export, checked field by field."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from byheart.core.errors import DataError
from byheart.core.item import moment, new_id
from byheart.core.lifecycle import STATES
from byheart.stores._log import Draft
from byheart.stores._schema import to_micros

if TYPE_CHECKING:
    from byheart.stores._store import Store
    from byheart.stores._writer import Conn

from byheart.stores._exchange_json import PATHS

__all__ = ["take_cube"]


def take_cube(store: Store, conn: Conn, told: Any, place: str) -> list[tuple[int, int]]:
    if not isinstance(told, dict):
        raise DataError(f"{place}: a cube is a JSON object, got {told!r}")
    scope = store._scope_for(conn, None)
    name, cube = told["name"], told["id"]
    if not isinstance(name, str) or not isinstance(cube, str) or not name or "@" in name:
        raise DataError(f"{place}: a cube has a name (without @) and an id, got {name!r}, {cube!r}")
    if not all(c.isalnum() for c in cube) or not cube:
        raise DataError(f"{place}: a cube's id is letters and digits, got {cube!r}")
    if conn.execute(
        "SELECT 1 FROM cubes WHERE scope = ? AND (id = ? OR name = ?)", (scope, cube, name)
    ).fetchone():
        raise DataError(f"{place}: a cube {name!r} is in this memory already; import it elsewhere")
    if conn.execute("SELECT 1 FROM cubes WHERE id = ?", (cube,)).fetchone():
        cube = new_id()  # another scope of this store has it under the id
    from byheart.stores._cubes import access_rules

    state = told.get("state", "Generated")
    if state not in STATES:
        raise DataError(f"{place}: state must be one of {', '.join(STATES)}, got {state!r}")
    body = {
        "name": name,
        "owner": str(told.get("owner") or store.actor),
        "access": access_rules(told.get("access")),
        "provenance": {**dict(told.get("provenance") or {}), "imported": place},
    }
    until = moment(told.get("expires_at"), "expires_at")
    data: dict[str, Any] = {} if until is None else {"expires": to_micros(until)}
    done = store._append(conn, [Draft("cube", cube, scope, data, body)])
    seen: set[str] = set()
    roots: dict[str, str] = {}
    versions = told["versions"]
    if not isinstance(versions, list) or not versions:
        raise DataError(f"{place}: the cube {name!r} has no versions")
    for number, version in enumerate(versions, 1):
        data = _version(version, number, seen, f"{place}, version {number}")
        message = version.get("message")
        for key, value in (
            ("put", [[roots.setdefault(r, _root(store, conn, i)), i] for r, i in data["put"]]),
            ("drop", [roots.get(r, r) for r in data["drop"]]),
        ):
            data.pop(key)
            data.update({key: value} if key in version else {})
        seen.add(data["branch"])
        text = {"message": str(message)} if message else None
        done += store._append(conn, [Draft("cube-commit", cube, scope, data, text)])
    before = "Generated"
    for to in PATHS[state]:
        step = {"from": before, "to": to}
        done += store._append(conn, [Draft("cube-state", cube, scope, step, {"reason": "import"})])
        before = to
    return done


def _root(store: Store, conn: Conn, item: str) -> str:
    row, _, _ = store._find(conn, item)
    return str(conn.execute("SELECT root FROM items WHERE row = ?", (row,)).fetchone()[0])


def _version(version: Any, number: int, seen: set[str], place: str) -> dict[str, Any]:
    """The structure of a version, checked field by field."""
    if not isinstance(version, dict) or version.get("number") != number:
        raise DataError(f"{place}: versions are objects numbered 1, 2, 3, ...")
    branch = version.get("branch")
    if not isinstance(branch, str) or not branch or "@" in branch:
        raise DataError(f"{place}: a branch has a name without @, got {branch!r}")
    out: dict[str, Any] = {"branch": branch, "number": number}
    for key in ("parent", "merged"):
        value = version.get(key)
        if value is not None:
            if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < number:
                raise DataError(f"{place}: {key} must be an earlier version, got {value!r}")
            out[key] = value
    if "fork" in version:
        if version["fork"] not in seen or branch in seen:
            raise DataError(f"{place}: forks {version['fork']!r} into {branch!r}, which cannot be")
        out["fork"] = version["fork"]
    elif number > 1 and branch not in seen:
        raise DataError(f"{place}: the branch {branch!r} comes from nowhere")
    for key, width in (("put", 2), ("drop", 0)):
        rows = version.get(key, [])
        ok = isinstance(rows, list) and all(
            isinstance(r, str)
            if width == 0
            else isinstance(r, list) and len(r) == width and all(isinstance(x, str) for x in r)
            for r in rows
        )
        if not ok:
            raise DataError(f"{place}: {key} is a list of ids, got {rows!r}")
        out[key] = rows
    return out
