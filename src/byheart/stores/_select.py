"""Which items a selector means."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from byheart.core.item import moment
from byheart.core.memory import Selector
from byheart.stores._log import load_items
from byheart.stores._schema import to_micros

if TYPE_CHECKING:
    from byheart.stores._store import Store
    from byheart.stores._writer import Conn

__all__ = ["selected"]


def selected(store: Store, conn: Conn, what: Selector) -> list[int]:
    """Rows of this scope that fit, history included, in the order of recording.

    Raises:
        UnknownName: An id is not there.
    """
    where = [store._in_scope(conn, "i.scope"), store._allowed(conn, "i")]
    values: list[Any] = []
    if what.ids:
        rows = sorted({store._find(conn, id)[0] for id in what.ids})
        where.append(f"i.row IN ({','.join(map(str, rows))})")
    if what.source is not None:
        if what.source.endswith("*"):
            sql, more = store._c.begins("i.source", what.source[:-1])
            where.append(sql)
            values += more
        else:
            where.append("i.source = ?")
            values.append(what.source)
    for column, value in (("kind", what.kind), ("state", what.state)):
        if value is not None:
            where.append(f"i.{column} = ?")
            values.append(value)
    for sign, name in (("<", "before"), (">=", "after")):
        at = moment(getattr(what, name), name)
        if at is not None:
            where.append(f"(SELECT at FROM events WHERE seq = i.row) {sign} ?")
            values.append(to_micros(at))
    rows = [
        r
        for (r,) in conn.execute(
            f"SELECT i.row FROM items i WHERE {' AND '.join(where)} ORDER BY i.row", values
        )
    ]
    if not what.labels:
        return rows
    out = []
    for begin in range(0, len(rows), 500):
        for row, item in sorted(load_items(conn, rows[begin : begin + 500]).items()):
            if all(_has(item.labels.get(n), v) for n, v in what.labels.items()):
                out.append(row)
    return out


def _has(label: Any, value: Any) -> bool:
    return label == value or (isinstance(label, list) and value in label)
