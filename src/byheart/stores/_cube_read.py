"""Finding cubes, their versions and what is in them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, cast

from byheart.core.cube import Cube, CubeVersion
from byheart.core.errors import AccessDenied, FrozenError, UnknownName, UsageError
from byheart.core.item import Item, Scope, moment
from byheart.stores._cube_merge import versions_of
from byheart.stores._life import may
from byheart.stores._log import load_items, unpack
from byheart.stores._schema import FOREVER, from_micros, to_micros

if TYPE_CHECKING:
    from byheart.stores._store import Store
    from byheart.stores._visible import Moment
    from byheart.stores._writer import Conn, Connections

__all__ = ["CubeReadMethods", "split_name"]


def split_name(cube: str) -> tuple[str, str]:
    """Name and branch of ``"name@branch"``; without an @ the branch is "main"."""
    name, at, branch = cube.partition("@")
    if not name or (at and not branch):
        raise UsageError(f"a cube is named name or name@branch, got {cube!r}")
    return name, branch or "main"


class CubeReadMethods:
    """The part of a store that reads cubes."""

    if TYPE_CHECKING:
        actor: str
        _c: Connections
        _in_scope: Callable[[Conn, str], str]
        _allowed: Callable[[Conn, str], str]
        _now: Callable[[], int]
        _scope_of: Callable[[Conn, int], Scope]

    def _cube(self, conn: Conn, name: str, need: str = "read") -> tuple[str, int]:
        """Id and scope of a cube that the caller may read, write or share.

        Raises:
            UnknownName: None of that name that the caller may read.
            AccessDenied: It may be read, but not more.
            FrozenError: It is to be written and is frozen or expired.
        """
        rows = conn.execute(
            "SELECT id, scope, name, owner, access, state, expires FROM cubes WHERE"
            f" {self._in_scope(conn, 'scope')}"
        ).fetchall()
        open_to_me = [r for r in rows if may(self.actor, "read", r[3], json.loads(r[4]))]
        found = [r for r in open_to_me if r[2] == name]
        if not found:
            raise UnknownName("cube", name, {r[2] for r in open_to_me})
        id, scope, _, owner, access, state, expires = found[0]
        if need != "read" and not may(self.actor, need, owner, json.loads(access)):
            raise AccessDenied(
                f"{self.actor!r} may not {need} the cube {name!r}; ask its owner, {owner!r}"
            )
        over = expires is not None and expires <= self._now()
        if state == "Expired" or over:
            raise FrozenError(f"the cube {name!r} has expired; only its items can be erased")
        if need == "write" and state == "Frozen":
            raise FrozenError(f"the cube {name!r} is frozen; unfreeze it first")
        return id, scope

    def cubes(self) -> list[Cube]:
        """Cubes of the scope that the caller may read, by name."""
        with self._c.reading() as conn:
            rows = conn.execute(
                f"SELECT id, owner, access FROM cubes WHERE {self._in_scope(conn, 'scope')}"
                " ORDER BY name, id"
            ).fetchall()
            return [
                self._told(conn, id)
                for id, owner, access in rows
                if may(self.actor, "read", owner, json.loads(access))
            ]

    def cube(self, name: str) -> Cube:
        """A cube by its name.

        Raises:
            UnknownName: None of that name that the caller may read; near ones are named.
        """
        with self._c.reading() as conn:
            return self._told(conn, self._cube(conn, name)[0])

    def _told(self, conn: Conn, id: str) -> Cube:
        scope, name, owner, state, expires, access = conn.execute(
            "SELECT scope, name, owner, state, expires, access FROM cubes WHERE id = ?", (id,)
        ).fetchone()
        branches = dict(
            conn.execute(
                "SELECT branch, max(number) FROM versions WHERE cube = ? GROUP BY branch", (id,)
            ).fetchall()
        )
        made = conn.execute(
            "SELECT p.body FROM events e LEFT JOIN payloads p ON p.seq = e.seq WHERE e.subject = ?"
            " AND e.kind = 'cube'",
            (id,),
        ).fetchone()
        told = unpack(made[0])[0] if made and made[0] is not None else {}
        return Cube(
            id, name, self._scope_of(conn, scope), owner, state, json.loads(access),
            from_micros(expires), told.get("provenance", {}), branches,
            tuple(i for _, i in self._members(conn, id, "main")),
        )  # fmt: skip

    @staticmethod
    def _members(conn: Conn, cube: str, branch: str) -> list[tuple[str, str]]:
        if not conn.execute(
            "SELECT 1 FROM versions WHERE cube = ? AND branch = ?", (cube, branch)
        ).fetchone():
            known = conn.execute("SELECT DISTINCT branch FROM versions WHERE cube = ?", (cube,))
            raise UnknownName("branch", branch, [b for (b,) in known])
        return conn.execute(
            "SELECT root, item FROM members WHERE cube = ? AND branch = ? ORDER BY item",
            (cube, branch),
        ).fetchall()

    def cube_items(self, cube: str, version: int | None = None) -> list[Item]:
        """Items of ``"name"`` or ``"name@branch"`` as it stands, or as a version had it."""
        name, branch = split_name(cube)
        with self._c.reading() as conn:
            id, scope = self._cube(conn, name)
            if version is None:
                ids = [i for _, i in self._members(conn, id, branch)]
            else:
                ids = sorted(versions_of(conn, id).contents(version).values())
            rows = self._item_rows(conn, scope, ids)
            marks = ",".join(map(str, rows)) or "NULL"
            seen = f"i.row IN ({marks}) AND {self._allowed(conn, 'i')}"
            kept = {r for (r,) in conn.execute(f"SELECT i.row FROM items i WHERE {seen}")}
            rows = [r for r in rows if r in kept]
            items = load_items(conn, rows)
        return [items[r] for r in rows if r in items]

    @staticmethod
    def _item_rows(conn: Conn, scope: int, ids: Sequence[str]) -> list[int]:
        rows = []
        for id in ids:
            found = conn.execute(
                "SELECT row FROM items WHERE scope = ? AND id = ?", (scope, id)
            ).fetchone()
            if found:  # erased items have left every version
                rows.append(found[0])
        return rows

    def _cube_rows(self, cube: str, known_at: datetime | str | None = None) -> list[int]:
        """Rows of a cube's items, as it stands or as it was known at a time."""
        name, branch = split_name(cube)
        known = moment(known_at, "known_at")
        with self._c.reading() as conn:
            id, scope = self._cube(conn, name)
            ids = [i for _, i in self._members(conn, id, branch)]
            if known is not None:
                (version,) = conn.execute(
                    "SELECT max(v.number) FROM versions v JOIN events e ON e.seq = v.seq"
                    " WHERE v.cube = ? AND v.branch = ? AND e.at <= ?",
                    (id, branch, to_micros(known)),
                ).fetchone()
                ids = sorted(versions_of(conn, id).contents(version).values())
            return self._item_rows(conn, scope, ids)

    def _members_visible(
        self, conn: Conn, when: Moment, rows: Sequence[int], kinds: Iterable[str]
    ) -> dict[int, tuple[int, int, str]]:
        """Of a cube's rows those that did not expire; superseded ones are the version's still."""
        wanted = [kinds] if isinstance(kinds, str) else list(kinds)
        out = {}
        marks = ",".join(map(str, map(int, rows))) or "NULL"
        from byheart.stores._visible import state_then

        column = state_then(cast("Store", self), when.known) if when.past else "i.state"
        for row, kind, state, expires, at, data in conn.execute(
            f"SELECT i.row, i.kind, {column}, i.expires, e.at, e.data FROM items i JOIN events e"
            f" ON e.seq = i.row WHERE i.row IN ({marks}) AND {self._in_scope(conn, 'i.scope')}"
            f" AND {self._allowed(conn, 'i')}"
        ):
            told = json.loads(data)
            begin, end = told.get("from", at), told.get("to", FOREVER)
            lives = expires is None or expires > when.valid or state == "Frozen"
            alive = state != "Expired" and lives
            if alive and begin <= when.valid < end and (not wanted or kind in wanted):
                out[row] = (begin, end, state)
        return out

    def cube_versions(self, name: str) -> list[CubeVersion]:
        """All versions, oldest first."""
        with self._c.reading() as conn:
            id, _ = self._cube(conn, name)
            out = []
            for number, branch, parent, merged_, at, actor, packed in conn.execute(
                "SELECT v.number, v.branch, v.parent, v.merged, e.at, e.actor, p.body FROM versions"
                " v JOIN events e ON e.seq = v.seq LEFT JOIN payloads p ON p.seq = v.seq"
                " WHERE v.cube = ? ORDER BY v.number",
                (id,),
            ):
                when = from_micros(at)
                assert when is not None
                message = "" if packed is None else unpack(packed)[0].get("message", "")
                out.append(CubeVersion(number, branch, parent, merged_, when, actor, message))
            return out
