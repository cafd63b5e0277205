"""Erasing: out of payloads, indexes, vectors, links and free pages; the chain still verifies."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from byheart.core.errors import FrozenError
from byheart.core.memory import Receipt, Selector
from byheart.stores._log import Draft, payload_hash, unpack
from byheart.stores._schema import from_micros
from byheart.stores._select import selected

if TYPE_CHECKING:
    from byheart.stores._store import Store
    from byheart.stores._writer import Conn

__all__ = ["erase"]


def erase(store: Store, what: Selector, *, versions: bool, derived: bool, vacuum: bool) -> Receipt:
    """`Store.erase`."""
    reached: dict[str, int] = {}
    ids: list[str] = []
    beyond: list[str] = []

    def job(conn: Conn) -> list[tuple[int, int]]:
        reached.clear()
        ids.clear()
        beyond.clear()
        rows = _widen(store, conn, selected(store, conn, what), versions, derived)
        if not rows:
            return []
        beyond.extend(_outside(store, conn, rows))
        done = []
        for scope, some in _by_scope(conn, rows).items():
            for row, id, state in some:
                if state == "Frozen":
                    raise FrozenError(f"item {id} is frozen; unfreeze it first, then erase it")
                store._may_change(conn, id, scope, erasing=True)
                ids.append(id)
                _count(reached, _take(store, conn, row, scope, id))
            payloads = _payloads(conn, scope, [id for _, id, _ in some])
            data = {"ids": [id for _, id, _ in some], "payloads": payloads}
            done += store._append(conn, [Draft("erase", "", scope, data)])
            conn.executemany("DELETE FROM payloads WHERE seq = ?", [(p,) for p in payloads])
            _count(reached, {"entries of the log": len(payloads)})
        while store._words.outstanding(conn, store._scope_ids(conn)):
            store._words.index(conn, store._scope_ids(conn))
        store._words.settle(conn)
        conn.execute(
            "INSERT INTO meta VALUES('erasures', 1) ON CONFLICT (key) DO UPDATE"
            " SET value = CAST(meta.value AS INTEGER) + 1"
        )
        conn.execute("INSERT INTO meta VALUES('scrub', 1) ON CONFLICT (key) DO NOTHING")
        return done

    done = store._c.write(job)
    if not done:
        return Receipt("erase", (), None, None)
    reached["items"] = len(ids)
    beyond += store._scrub(reached, vacuum)
    with store._read_lock:
        store._erasures = -1
    return Receipt(
        "erase", tuple(ids), (done[0][0], done[-1][0]), from_micros(done[-1][1]), reached,
        (*beyond, *store._beyond),
    )  # fmt: skip


def _count(reached: dict[str, int], more: dict[str, int]) -> None:
    for name, n in more.items():
        reached[name] = reached.get(name, 0) + n


def _widen(store: Store, conn: Conn, rows: list[int], versions: bool, derived: bool) -> list[int]:
    """Rows with their other versions, and with what was derived from them, as asked."""
    todo, seen = list(rows), set(rows)
    mine = f"{store._in_scope(conn, 'i.scope')} AND {store._allowed(conn, 'i')}"
    while todo:
        row = todo.pop()
        id, root, scope = conn.execute(
            "SELECT id, root, scope FROM items WHERE row = ?", (row,)
        ).fetchone()
        more: list[tuple[int]] = []
        if versions:
            more += conn.execute(
                f"SELECT row FROM items i WHERE root = ? AND scope = ? AND {mine}", (root, scope)
            ).fetchall()
        if derived:
            more += conn.execute(
                f"SELECT i.row FROM parents p JOIN items i ON i.row = p.row WHERE p.parent = ?"
                f" AND i.scope = ? AND {mine}",
                (id, scope),
            ).fetchall()
        fresh = {r for (r,) in more} - seen
        seen |= fresh
        todo += sorted(fresh)
    return sorted(seen)


def _by_scope(conn: Conn, rows: list[int]) -> dict[int, list[Any]]:
    out: dict[int, list[Any]] = {}
    for row in rows:
        scope, *rest = conn.execute(
            "SELECT scope, row, id, state FROM items WHERE row = ?", (row,)
        ).fetchone()
        out.setdefault(scope, []).append(tuple(rest))
    return out


def _take(store: Store, conn: Conn, row: int, scope: int, id: str) -> dict[str, int]:
    """Take an item out of the indexes; the entry that erases takes it out of the other tables."""
    found = conn.execute(
        "SELECT p.salt, p.body, e.payload FROM payloads p JOIN events e ON e.seq = p.seq"
        " WHERE p.seq = ?",
        (row,),
    ).fetchone()
    sound = found is not None and payload_hash(found[0], found[1]) == found[2]
    body = unpack(found[1])[0] if sound else None
    out = {"keyword index": store._words.drop(conn, row, scope, body)}
    out["vectors"] = store._vectors.drop(conn, row)
    (out["links"],) = conn.execute(
        "SELECT count(*) FROM links WHERE scope = ?1 AND (a = ?2 OR b = ?2)", (scope, id)
    ).fetchone()
    (out["places in cubes"],) = conn.execute(
        "SELECT count(*) FROM members m JOIN cubes c ON c.id = m.cube WHERE m.item = ? AND"
        " c.scope = ?",
        (id, scope),
    ).fetchone()
    return out


def _payloads(conn: Conn, scope: int, ids: list[str]) -> list[int]:
    """Entries about these items that still have a body."""
    out: list[int] = []
    for id in ids:
        out += [
            seq
            for (seq,) in conn.execute(
                "SELECT p.seq FROM events e JOIN payloads p ON p.seq = e.seq WHERE e.subject = ?"
                " AND e.scope = ?",
                (id, scope),
            )
        ]
    # a rejected proposal quotes all the items it is about, and is filed under the first
    gone = set(ids)
    for seq, data in conn.execute(
        "SELECT p.seq, e.data FROM events e JOIN payloads p ON p.seq = e.seq"
        " WHERE e.kind = 'reject' AND e.scope = ?",
        (scope,),
    ).fetchall():
        about = json.loads(data).get("about")
        if isinstance(about, list) and gone.intersection(map(str, about)):
            out.append(seq)
    return sorted(set(out))


def _outside(store: Store, conn: Conn, rows: list[int]) -> list[str]:
    """Exports that were made since the items were written, and items derived from them."""
    out = []
    where = store._in_scope(conn, "e.scope")
    for at, packed in conn.execute(
        "SELECT e.at, p.body FROM events e JOIN payloads p ON p.seq = e.seq WHERE e.kind = 'export'"
        f" AND {where} AND e.seq > ? ORDER BY e.seq",
        (rows[0],),
    ):
        when = from_micros(at)
        name = unpack(packed)[0].get("to", "?")
        out.append(f"the export to {name} of {when:%Y-%m-%d %H:%M} UTC")
    marks = ",".join(map(str, rows))
    left = conn.execute(
        "SELECT DISTINCT i.id FROM parents p JOIN items i ON i.row = p.row WHERE p.parent IN"
        f" (SELECT id FROM items WHERE row IN ({marks})) AND i.row NOT IN ({marks})"
        f" AND {store._in_scope(conn, 'i.scope')} AND {store._allowed(conn, 'i')}",
    ).fetchall()
    if left:
        out.append(
            "items derived from these (erase them too with derived=True): "
            + ", ".join(i for (i,) in left[:20])
        )
    return out
