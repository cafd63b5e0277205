"""Items, links and cubes out of JSON lines, all of them or nothing."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from byheart.core.errors import ByheartError, DataError
from byheart.core.item import Item
from byheart.core.lifecycle import STATES
from byheart.core.memory import Receipt
from byheart.stores._log import Draft
from byheart.stores._schema import FOREVER

if TYPE_CHECKING:
    from byheart.stores._store import Store
    from byheart.stores._writer import Conn

from byheart.stores._exchange_cubes import take_cube
from byheart.stores._exchange_json import PATHS, VERSION, parse_json

__all__ = ["import_lines"]


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
        return take_cube(store, conn, record["cube"], place)
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
    for to in PATHS[state]:
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
