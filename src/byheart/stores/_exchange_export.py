"""Items, links and cubes of a store as JSON lines."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from byheart.core.item import canonical
from byheart.core.memory import Selector
from byheart.stores._log import load_items, undone, unpack
from byheart.stores._schema import FOREVER

if TYPE_CHECKING:
    from byheart.stores._store import Store
    from byheart.stores._writer import Conn

from byheart.stores._exchange_json import VERSION

__all__ = ["export_lines"]


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
