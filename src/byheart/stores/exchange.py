"""Export and import: JSON lines that any store reads, checked line by line.

The first line says what it is; then one line an item, link or cube::

    {"byheart": "memory", "version": 1, "scope": "acme/ana"}
    {"item": {"id": "01J...", "content": "...", "digest": "..."}, "state": "Activated"}
    {"link": {"from": "01J...", "to": "01J...", "label": "", "weight": 1.0}}
    {"cube": {"name": "trip", "versions": [...], ...}}

Recorded times are those of the store that records, so an importing store's history begins at the
import; valid times travel. Content is text and JSON: nothing in a file is ever executed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from byheart.core.errors import ByheartError, DataError
from byheart.core.item import Item, canonical, moment, new_id
from byheart.core.lifecycle import STATES
from byheart.core.memory import Receipt, Selector
from byheart.stores._log import Draft, load_items, undone, unpack
from byheart.stores._schema import FOREVER, to_micros

if TYPE_CHECKING:
    from byheart.stores._store import Store
    from byheart.stores._writer import Conn

__all__ = ["VERSION", "export_lines", "import_lines"]

VERSION = 1
_PATHS = {
    "Generated": (),
    "Activated": ("Activated",),
    "Merged": ("Activated", "Merged"),
    "Archived": ("Archived",),
    "Frozen": ("Activated", "Frozen"),
    "Expired": ("Expired",),
}


def export_lines(
    store: Store,
    selector: Selector | None = None,
    *,
    history: bool = True,
    cube: str | None = None,
) -> Iterator[str]:
    """Lines of an export, without line ends.

    Args:
        store: Opened for the scope.
        selector: Which items; all if left out.
        history: Superseded, undone and archived ones too, and cubes.
        cube: Only this cube with all its versions and their items.
    """
    yield canonical({"byheart": "memory", "version": VERSION, "scope": str(store.scope)})
    wanted = None
    if cube is not None:
        with store._c.reading() as conn:
            id, scope = store._cube(conn, cube, "share")
            ids = {
                item
                for (data,) in conn.execute(
                    "SELECT e.data FROM versions v JOIN events e ON e.seq = v.seq WHERE v.cube = ?",
                    (id,),
                )
                for _, item in json.loads(data).get("put", ())
            }
            wanted = sorted(store._item_rows(conn, scope, sorted(ids)))
    with store._c.reading() as conn:
        rows = (
            store._rows(conn, selector, None, None, history or wanted is not None)
            if wanted is None
            else wanted
        )
        cubes = [cube] if cube is not None else []
        if history and selector is None and cube is None:
            cubes = [c.name for c in store.cubes()]
    kept: set[str] = set()
    for begin in range(0, len(rows), 500):
        with store._c.reading() as conn:
            for row, record in _records(conn, rows[begin : begin + 500]):
                kept.add(record["item"]["id"])
                if record["item"].get("supersedes", row) not in kept:
                    # what it took the place of was erased, or is not part of this export
                    record["item"].pop("supersedes", None)
                yield canonical(record)
    with store._c.reading() as conn:
        links = conn.execute(
            f"SELECT a, b, label, weight FROM links WHERE {store._in_scope(conn, 'scope')}"
            " ORDER BY seq"
        ).fetchall()
        told = [_cube_record(store, conn, name) for name in cubes]
    for a, b, label, weight in links:
        if a in kept and b in kept:
            yield canonical({"link": {"from": a, "to": b, "label": label, "weight": weight}})
    for record in told:
        yield canonical({"cube": record})


def _records(conn: Conn, rows: list[int]) -> Iterator[tuple[int, dict[str, Any]]]:
    items = load_items(conn, rows)
    for row in rows:
        if row not in items:
            continue
        record: dict[str, Any] = {"item": items[row].to_dict()}
        (state,) = conn.execute("SELECT state FROM items WHERE row = ?", (row,)).fetchone()
        if state != "Generated":
            record["state"] = state
        spans = conn.execute("SELECT known_to FROM spans WHERE row = ?", (row,)).fetchall()
        (kind,) = conn.execute("SELECT kind FROM events WHERE seq = ?", (row,)).fetchone()
        if not spans:
            record["draft"] = True
        elif kind == "write" and items[row].supersedes is not None:
            record["published"] = True
        elif not any(k == FOREVER for (k,) in spans):
            (scope,) = conn.execute("SELECT scope FROM items WHERE row = ?", (row,)).fetchone()
            record["undone"] = row in undone(conn, scope, record["item"]["id"])
        yield row, record


def _cube_record(store: Store, conn: Conn, name: str) -> dict[str, Any]:
    id, _ = store._cube(conn, name, "share")
    cube = store._told(conn, id)
    record = cube.to_dict()
    for key in ("items", "branches", "scope"):
        record.pop(key)
    record["versions"] = []
    for data, packed in conn.execute(
        "SELECT e.data, p.body FROM versions v JOIN events e ON e.seq = v.seq LEFT JOIN payloads p"
        " ON p.seq = v.seq WHERE v.cube = ? ORDER BY v.number",
        (id,),
    ):
        version = {k: v for k, v in json.loads(data).items() if k != "publish"}
        if packed is not None:
            version["message"] = unpack(packed)[0].get("message", "")
        record["versions"].append(version)
    return record


def import_lines(store: Store, lines: Iterable[str], where: str = "import") -> Receipt:
    """Take in an export, all of it or nothing; items that are there already are left as they are.

    Args:
        store: Opened for the scope that gets them.
        lines: Of the file.
        where: Its name, for messages.

    Raises:
        DataError: With line and column of what cannot be read.
    """
    ids: list[str] = []

    def job(conn: Conn) -> list[tuple[int, int]]:
        ids.clear()
        done: list[tuple[int, int]] = []
        scopes: dict[Any, int] = {}
        first = True
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            place = f"{where}, line {number}"
            record = parse_json(line, place)
            if not isinstance(record, dict):
                raise DataError(f"{place}: a line is a JSON object, got {line.strip()[:40]!r}")
            if first:
                _header(record, place)
                first = False
                continue
            try:
                done += _take(store, conn, record, place, scopes, ids)
            except DataError:
                raise
            except (ByheartError, KeyError, TypeError, ValueError, AttributeError) as error:
                what = f"{error!r}" if isinstance(error, KeyError) else str(error)
                raise DataError(f"{place}: {what}; nothing was imported") from error
        if first:
            raise DataError(f"{where} is empty; an export begins with a line that says so")
        return done

    return store._receipt("import", ids, store._c.write(job))


def parse_json(text: str, where: str) -> Any:
    """JSON, or line and column of what is wrong.

    Raises:
        DataError: It cannot be read, or is nested too deeply.
    """
    try:
        return json.loads(text, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        line = f", line {error.lineno}" if "line" not in where.rsplit(",", 1)[-1] else ""
        raise DataError(
            f"{where}{line}, column {error.colno}: {error.msg}, at {text[error.pos : error.pos + 20]!r}"
        ) from error
    except (RecursionError, ValueError) as error:
        raise DataError(f"{where}: {error}") from error


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")


def _header(record: dict[str, Any], place: str) -> None:
    if record.get("byheart") != "memory":
        raise DataError(
            f"{place}: this is no export of a memory; it must begin with "
            '{"byheart": "memory", "version": 1}. For other files see --format'
        )
    version = record.get("version")
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise DataError(f"{place}: version must be a whole number, got {version!r}")
    if version > VERSION:
        raise DataError(
            f"{place}: the export is of version {version}, this byheart reads {VERSION}; upgrade: "
            "pip install -U byheart"
        )


def _take(
    store: Store,
    conn: Conn,
    record: dict[str, Any],
    place: str,
    scopes: dict[Any, int],
    ids: list[str],
) -> list[tuple[int, int]]:
    if "item" in record:
        return _take_item(store, conn, record, place, scopes, ids)
    if "link" in record:
        link = record["link"]
        if not isinstance(link, dict):
            raise DataError(f"{place}: a link is a JSON object, got {link!r}")
        weight, label = link.get("weight", 1.0), link.get("label", "")
        if isinstance(weight, bool) or not isinstance(weight, int | float):
            raise DataError(f"{place}: a link's weight is a number, got {weight!r}")
        if not isinstance(label, str):
            raise DataError(f"{place}: a link's label is text, got {label!r}")
        scope, weight = store._same_scope(conn, link["from"], link["to"]), float(weight)
        body = {"label": label} if label else None
        data = {"to": link["to"], "weight": weight}
        return store._append(conn, [Draft("link", link["from"], scope, data, body)])
    if "cube" in record:
        return _take_cube(store, conn, record["cube"], place)
    raise DataError(f"{place}: a line has an item, a link or a cube, got {sorted(record)[:5]}")


def _take_item(
    store: Store,
    conn: Conn,
    record: dict[str, Any],
    place: str,
    scopes: dict[Any, int],
    ids: list[str],
) -> list[tuple[int, int]]:
    item = Item.from_dict(record["item"], place)
    if not store.scope.open:  # it moves into the handle's scope
        item = item.but(scope=None)
    state = record.get("state", "Generated")
    if state not in STATES:
        raise DataError(f"{place}: state must be one of {', '.join(STATES)}, got {state!r}")
    if item.scope not in scopes:
        scopes[item.scope] = store._scope_for(conn, item.scope)
    scope = scopes[item.scope]
    draft = record.get("draft") is True
    drafts = store._new(conn, scope, item, draft=draft)
    if not drafts:
        return []
    old = item.supersedes
    if old is not None and not draft and record.get("published") is not True:
        there = conn.execute(
            "SELECT 1 FROM items WHERE scope = ? AND id = ?", (scope, old)
        ).fetchone()
        if not there:
            raise DataError(
                f"{place}: item {item.id} supersedes {old}, which is neither before it in the file "
                "nor in this memory"
            )
        if old not in ids:
            _may_supersede(store, conn, old, scope, f"{place}: item {item.id} supersedes {old}")
        d = drafts[0]
        drafts = [Draft("supersede", d.subject, scope, d.data, d.body, d.blob)]
    ids.append(item.id)
    done = store._append(conn, drafts)
    if record.get("undone") is True:
        seq, at = done[-1]
        done += store._append(conn, [Draft("undo", item.id, scope, {"at": at, "seq": seq})])
    before = "Generated"
    for to in _PATHS[state]:
        done += store._append(conn, [store._step(item.id, scope, before, to, "import")])
        before = to
    return done


def _may_supersede(store: Store, conn: Conn, old: str, scope: int, what: str) -> None:
    """What was here before the import is protected as it is from any other caller."""
    row, _, state = store._find(conn, old)
    if state in ("Frozen", "Expired"):
        raise DataError(f"{what}, which is {state} here; nothing was imported")
    store._may_change(conn, old, scope)
    open_ = conn.execute(
        "SELECT 1 FROM spans WHERE row = ? AND known_to = ?", (row, FOREVER)
    ).fetchone()
    taken = conn.execute(
        "SELECT i.id FROM items i JOIN spans s ON s.row = i.row AND s.known_to = ?"
        " WHERE i.scope = ? AND i.supersedes = ?",
        (FOREVER, scope, old),
    ).fetchone()
    if taken or not open_:
        by = f"was superseded here by {taken[0]}" if taken else "is no longer current here"
        raise DataError(
            f"{what}, which {by}; nothing was imported. Undo one of the two, then import again"
        )


def _take_cube(store: Store, conn: Conn, told: Any, place: str) -> list[tuple[int, int]]:
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
    for to in _PATHS[state]:
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
