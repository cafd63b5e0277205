"""What may be seen: both clocks, the scope, access, states, validity."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from byheart.core.errors import UsageError
from byheart.core.item import KINDS, moment
from byheart.stores._candidates import Span
from byheart.stores._schema import NEVER, to_micros

if TYPE_CHECKING:
    from byheart.stores._store import Store
    from byheart.stores._writer import Conn

__all__ = ["Moment", "Seen", "state_then", "times", "visible"]


@dataclass(frozen=True, slots=True)
class Moment:
    """Both clocks of a question, in microseconds.

    Args:
        valid: When it should hold in the world.
        known: What the store knew by then.
        past: Whether `known` was given.
    """

    valid: int
    known: int
    past: bool


def times(
    store: Store,
    conn: Conn,
    as_of: datetime | str | None,
    known_at: datetime | str | None,
) -> Moment:
    """The clocks of a question. Left out they are now; `known_at` alone also sets `as_of`."""
    last = conn.execute("SELECT at FROM events ORDER BY seq DESC LIMIT 1").fetchone()
    now = max(store._now(), last[0] if last else NEVER)
    known_time, valid_time = moment(known_at, "known_at"), moment(as_of, "as_of")
    known_us = now if known_time is None else to_micros(known_time)
    valid_us = known_us if valid_time is None else to_micros(valid_time)
    return Moment(valid_us, known_us, known_at is not None)


def state_then(store: Store, known: int) -> str:
    """SQL: the state that an item ``i`` was in as the store knew it at a time."""
    told = store._c.json_text("s.data", "to")
    return (
        f"coalesce((SELECT {told} FROM events s WHERE s.subject = i.id AND s.scope = i.scope"
        f" AND s.kind = 'state' AND s.at <= {known} ORDER BY s.seq DESC LIMIT 1), 'Generated')"
    )


def visible(
    store: Store,
    conn: Conn,
    when: Moment,
    *,
    rows: Sequence[int] | None = None,
    kinds: Iterable[str] = (),
    archived: bool = False,
    more: str = "",
    values: Sequence[Any] = (),
) -> list[tuple[int, int, int, str]]:
    """Row, validity and state of what the handle may see at a moment, in the order of recording.

    Every reading path goes through here: the scope is part of the statement.
    """
    state = "i.state" if not when.past else state_then(store, when.known)
    where = [store._in_scope(conn, "i.scope"), store._allowed(conn, "i")]
    where.append(
        f"s.known_from <= {when.known} AND s.known_to > {when.known}"
        f" AND s.valid_from <= {when.valid} AND s.valid_to > {when.valid}"
        f" AND (i.expires IS NULL OR i.expires > {when.valid} OR {state} = 'Frozen')"
    )
    out = "'Expired'" if archived else "'Expired', 'Archived'"
    where.append(f"{state} NOT IN ({out})")
    wanted = [kinds] if isinstance(kinds, str) else list(kinds)
    for kind in wanted:
        if kind not in KINDS:
            raise UsageError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}")
    if wanted:
        where.append("i.kind IN (" + ",".join(f"'{k}'" for k in wanted) + ")")
    if more:
        where.append(more)
    found: list[tuple[int, int, int, str]] = []
    pieces = [None] if rows is None else [rows[b : b + 1000] for b in range(0, len(rows), 1000)]
    for piece in pieces:
        limit = "" if piece is None else f" AND i.row IN ({','.join(map(str, map(int, piece)))})"
        found += conn.execute(
            f"SELECT i.row, s.valid_from, s.valid_to, {state} FROM items i JOIN spans s"
            f" ON s.row = i.row WHERE {' AND '.join(where)}{limit} ORDER BY i.row",
            tuple(values),
        ).fetchall()
    return found


class Seen:
    """Which rows a question may see; each is looked up once.

    Args:
        store: Whose.
        conn: To read by.
        when: Both clocks.
        kinds: Kinds of items; none for all.
        archived: Archived ones too.
        members: The rows of a cube's version, if it is one that is asked.
    """

    def __init__(
        self, store: Store, conn: Conn, when: Moment, kinds: Iterable[str], archived: bool,
        members: Sequence[int] | None,
    ) -> None:  # fmt: skip
        self._store, self._conn, self._when = store, conn, when
        self._kinds, self._archived, self.members = kinds, archived, members
        self._mine = None if members is None else frozenset(members)
        self._known: dict[int, Span | None] = {}

    def __call__(self, rows: Sequence[int]) -> dict[int, Span]:
        """Those of the rows that may be seen, in their order."""
        if self._mine is not None:  # neighbours may lie outside of the cube
            rows = [r for r in rows if r in self._mine]
        fresh = [r for r in rows if r not in self._known]
        if fresh:
            self._known.update(dict.fromkeys(fresh))
            self._known.update(self._look(fresh))
        return {r: span for r in rows if (span := self._known[r]) is not None}

    def _look(self, rows: Sequence[int]) -> dict[int, Span]:
        store, conn, when, kinds = self._store, self._conn, self._when, self._kinds
        if self.members is not None:  # a cube's version holds whatever was superseded since
            return store._members_visible(conn, when, rows, kinds)
        found = visible(store, conn, when, rows=rows, kinds=kinds, archived=self._archived)
        return {r: (a, b, s) for r, a, b, s in found}
