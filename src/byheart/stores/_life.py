"""States, uses, time to live, links between items, and whom a cube lets in."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from byheart.core.errors import AccessDenied, FrozenError, UsageError
from byheart.core.item import Scope
from byheart.core.lifecycle import check_step
from byheart.core.memory import Receipt
from byheart.stores._log import Draft

if TYPE_CHECKING:
    from byheart.stores._writer import Conn, Connections

__all__ = ["LifeMethods", "may"]


def may(actor: str, what: str, owner: str, access: Mapping[str, Any]) -> bool:
    """Whether a caller may "read", "write" or "share": the owner may, others if they are listed."""
    listed = access.get(what, ())
    return actor == owner or actor in listed or "*" in listed


class LifeMethods:
    """The part of a store that is about states and permissions."""

    if TYPE_CHECKING:
        actor: str
        scope: Scope
        _c: Connections
        _in_scope: Callable[[Conn, str], str]
        _find: Callable[[Conn, str], tuple[int, int, str]]
        _log: Callable[..., Receipt]
        _now: Callable[[], int]

    def _denied(self, conn: Conn) -> list[str]:
        """Cubes of the scope that the caller may not read."""
        return [
            id
            for id, owner, access in conn.execute(
                f"SELECT id, owner, access FROM cubes WHERE {self._in_scope(conn, 'scope')}"
            )
            if not may(self.actor, "read", owner, json.loads(access))
        ]

    def _allowed(self, conn: Conn, items: str) -> str:
        """SQL: neither the item nor another version of it is in a cube closed to the caller."""
        denied = self._denied(conn)
        if not denied:
            return "TRUE"
        names = ",".join(f"'{c}'" for c in denied)
        return f"{items}.root NOT IN (SELECT root FROM members WHERE cube IN ({names}))"

    def _allowed_event(self, conn: Conn) -> str:
        denied = self._denied(conn)
        if not denied:
            return "TRUE"
        names = ",".join(f"'{c}'" for c in denied)
        return (
            f"e.subject NOT IN ({names}) AND"
            f" e.subject NOT IN (SELECT i.id FROM members m JOIN items i ON i.root = m.root"
            f" WHERE m.cube IN ({names}))"
        )

    def _may_change(self, conn: Conn, id: str, scope: int, *, erasing: bool = False) -> None:
        """Raise where a cube that holds the item is frozen, or not the caller's to write."""
        for name, state, owner, access in conn.execute(
            "SELECT DISTINCT c.name, c.state, c.owner, c.access FROM members m JOIN cubes c"
            " ON c.id = m.cube WHERE m.item = ? AND c.scope = ?",
            (id, scope),
        ).fetchall():
            if state == "Frozen" or (state == "Expired" and not erasing):
                raise FrozenError(f"item {id} is in the cube {name!r}, which is {state}")
            if not may(self.actor, "write", owner, json.loads(access)):
                raise AccessDenied(
                    f"{self.actor!r} may not write to the cube {name!r}, which holds item {id}; "
                    f"ask its owner, {owner!r}"
                )

    def transition(self, id: str, to: str, reason: str = "") -> Receipt:
        """Take an item to another state of its life.

        Args:
            id: Of the item.
            to: "Activated", "Merged", "Archived", "Frozen" or "Expired".
            reason: For the log.

        Raises:
            IllegalTransition: The lifecycle has no such step.
        """

        def make(conn: Conn) -> list[Draft]:
            _, scope, before = self._find(conn, id)
            check_step(before, to)
            self._may_change(conn, id, scope)
            return [self._step(id, scope, before, to, reason)]

        return self._log("state", [id], make)

    @staticmethod
    def _step(id: str, scope: int, before: str, to: str, reason: str) -> Draft:
        body = {"reason": reason} if reason else None
        return Draft("state", id, scope, {"from": before, "to": to}, body)

    def use(self, ids: Iterable[str]) -> Receipt:
        """Note that items were used; a first use activates them."""
        ids = list(dict.fromkeys(ids))

        def make(conn: Conn) -> list[Draft]:
            by_scope: dict[int, list[str]] = {}
            steps = []
            for id in ids:
                _, scope, state = self._find(conn, id)
                by_scope.setdefault(scope, []).append(id)
                if state == "Generated":
                    steps.append(self._step(id, scope, state, "Activated", "first use"))
            return steps + [Draft("use", "", s, {"ids": some}) for s, some in by_scope.items()]

        return self._log("use", ids, make)

    def expire(self, idle: timedelta | None = None) -> Receipt:
        """Run the timers: what outlived its time to live is Expired, what lies idle Archived.

        Frozen items stay as they are.

        Args:
            idle: Archive items that were neither written, used nor moved for so long.
        """
        if idle is not None and idle <= timedelta(0):
            raise UsageError(f"idle must be a time above zero, got {idle}")
        ids: list[str] = []

        def make(conn: Conn) -> list[Draft]:
            ids.clear()
            out = []
            mine = f"{self._in_scope(conn, 'i.scope')} AND {self._allowed(conn, 'i')}"
            for id, scope, state in conn.execute(
                f"SELECT id, scope, state FROM items i WHERE {mine} AND expires <= ? AND"
                " state NOT IN ('Frozen', 'Expired') ORDER BY row",
                (self._now(),),
            ).fetchall():
                if state == "Merged":
                    out.append(self._step(id, scope, state, "Archived", "time to live"))
                    state = "Archived"
                out.append(self._step(id, scope, state, "Expired", "time to live"))
                ids.append(id)
            if idle is not None:
                since = self._now() - idle // timedelta(microseconds=1)
                for id, scope, state in conn.execute(
                    f"SELECT id, scope, state FROM items i WHERE {mine} AND touched <= ? AND"
                    " state IN ('Generated', 'Activated', 'Merged') ORDER BY row",
                    (since,),
                ).fetchall():
                    if id not in ids:
                        out.append(self._step(id, scope, state, "Archived", f"idle for {idle}"))
                        ids.append(id)
            return out

        receipt = self._log("expire", [], make)
        return Receipt("expire", tuple(ids), receipt.seq, receipt.at)

    def link(self, a: str, b: str, label: str = "", weight: float = 1.0) -> Receipt:
        """Link an item to another; a link that is there gets the new weight."""

        def make(conn: Conn) -> list[Draft]:
            scope = self._same_scope(conn, a, b)
            body = {"label": str(label)} if label else None
            return [Draft("link", a, scope, {"to": b, "weight": float(weight)}, body)]

        return self._log("link", [a, b], make)

    def unlink(self, a: str, b: str, label: str = "") -> Receipt:
        """Take a link away; it stays in the log."""

        def make(conn: Conn) -> list[Draft]:
            scope = self._same_scope(conn, a, b)
            found = conn.execute(
                "SELECT 1 FROM links WHERE scope = ? AND a = ? AND b = ? AND label = ?",
                (scope, a, b, label),
            ).fetchone()
            if not found:
                raise UsageError(f"{a} is not linked to {b} as {label!r}")
            body = {"label": str(label)} if label else None
            return [Draft("unlink", a, scope, {"to": b}, body)]

        return self._log("unlink", [a, b], make)

    def _same_scope(self, conn: Conn, a: str, b: str) -> int:
        scopes = {self._find(conn, a)[1], self._find(conn, b)[1]}
        if len(scopes) > 1:
            raise UsageError(f"{a} and {b} are of different scopes; links do not cross them")
        return scopes.pop()

    def links(self, id: str) -> list[tuple[str, str, str, float]]:
        """Links from and to an item: from, to, label, weight."""
        with self._c.reading() as conn:
            _, scope, _ = self._find(conn, id)
            seen = (
                "(SELECT i.id FROM items i WHERE i.scope = ?1 AND " + self._allowed(conn, "i") + ")"
            )
            return conn.execute(
                f"SELECT a, b, label, weight FROM links WHERE scope = ?1 AND (a = ?2 OR b = ?2)"
                f" AND a IN {seen} AND b IN {seen} ORDER BY seq",
                (scope, id),
            ).fetchall()
