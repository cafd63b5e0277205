"""Cubes in the store: made, changed, branched, merged, composed, frozen and expired."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from byheart.core.errors import (
    AccessDenied,
    MergeConflict,
    StoreError,
    UnknownName,
    UsageError,
)
from byheart.core.item import Item, Scope, moment, new_id
from byheart.core.lifecycle import check_step
from byheart.core.memory import Conflict, Receipt
from byheart.stores._cube_merge import merged, versions_of
from byheart.stores._cube_read import CubeReadMethods, split_name
from byheart.stores._log import Draft
from byheart.stores._schema import FOREVER, to_micros

if TYPE_CHECKING:
    from byheart.stores._writer import Conn, Connections

__all__ = ["CubeMethods", "access_rules"]

Resolve = Callable[[Conflict], str | None]


class CubeMethods(CubeReadMethods):
    """The part of a store that changes cubes."""

    if TYPE_CHECKING:
        actor: str
        scope: Scope
        _c: Connections
        _in_scope: Callable[[Conn, str], str]
        _allowed: Callable[[Conn, str], str]
        _find: Callable[[Conn, str], tuple[int, int, str]]
        _log: Callable[..., Receipt]
        _append: Callable[..., list[tuple[int, int]]]
        _receipt: Callable[..., Receipt]
        _new: Callable[..., list[Draft]]
        _now: Callable[[], int]
        _scope_for: Callable[[Conn, Scope | None], int]
        _scope_of: Callable[[Conn, int], Scope]

    # ---------------------------------------------------------------- making and changing

    def create_cube(
        self, name: str, items: Iterable[str | Item] = (), *, owner: str | None = None,
        access: Mapping[str, Iterable[str]] | None = None,
        expires_at: datetime | str | None = None, provenance: Mapping[str, Any] | None = None,
        id: str | None = None,
    ) -> Receipt:  # fmt: skip
        """Make a cube; its first version is 1 on "main".

        Args:
            name: Unique in the scope; printable, without @.
            items: Ids of items of this scope, or new items, which are written.
            owner: The caller, if left out.
            access: See `byheart.core.cube.Cube`.
            expires_at: Time to live.
            provenance: Where it comes from.
            id: Only for a cube that moves in from another store.

        Raises:
            UsageError: There is one of that name, or the name cannot be one.
        """
        if not name or "@" in name or not name.isprintable():
            raise UsageError(f"a cube's name must be printable and without @, got {name!r}")
        rules = access_rules(access)
        until = moment(expires_at, "expires_at")
        cube, items = id or new_id(), list(items)

        def job(conn: Conn) -> list[tuple[int, int]]:
            scope = self._scope_for(conn, None)
            if conn.execute(
                "SELECT 1 FROM cubes WHERE (scope = ? AND name = ?) OR id = ?", (scope, name, cube)
            ).fetchone():
                raise UsageError(f"a cube {name!r} is there already; commit to it, or branch it")
            body = {"name": name, "owner": owner or self.actor, "access": rules}
            body["provenance"] = dict(provenance or {})
            data = {} if until is None else {"expires": to_micros(until)}
            done = self._append(conn, [Draft("cube", cube, scope, data, body)])
            return done + self._commit(conn, cube, scope, "main", items, (), "made", first=True)

        return self._receipt("cube", [cube], self._c.write(job))

    def _commit(
        self, conn: Conn, cube: str, scope: int, branch: str,
        put: Iterable[str | Item], drop: Iterable[str], message: str, *, first: bool = False,
        merged_: int | None = None,
    ) -> list[tuple[int, int]]:  # fmt: skip
        """Write new items and a version; the same way for every change."""
        before = {} if first else dict(self._members(conn, cube, branch))
        done: list[tuple[int, int]] = []
        pairs = []
        for what in put:
            if isinstance(what, Item):
                drafts = self._new(
                    conn, scope, what, draft=branch != "main" or bool(what.supersedes)
                )
                done += self._append(conn, drafts) if drafts else []
                what = what.id
            row, of, _ = self._find(conn, what)
            if of != scope:
                raise UsageError(f"item {what} is of another scope than the cube")
            (root,) = conn.execute("SELECT root FROM items WHERE row = ?", (row,)).fetchone()
            pairs.append([root, what])
        gone = []
        for id in drop:
            root = next((r for r, i in before.items() if id in (i, r)), None)
            if root is None:
                raise UnknownName("item of this branch", id, before.values())
            gone.append(root)
        number, parent = self._next(conn, cube, branch)
        data: dict[str, Any] = {"branch": branch, "number": number, "put": pairs}
        data.update(
            {} if parent is None else {"parent": parent}, **({"drop": gone} if gone else {})
        )
        if merged_ is not None:
            data["merged"] = merged_
        if branch == "main":
            publish = [
                p for root, id in pairs if (p := self._publish(conn, scope, id, before.get(root)))
            ]
            data.update({"publish": publish} if publish else {})
        body = {"message": message} if message else None
        return done + self._append(conn, [Draft("cube-commit", cube, scope, data, body)])

    @staticmethod
    def _next(conn: Conn, cube: str, branch: str) -> tuple[int, int | None]:
        (number,) = conn.execute(
            "SELECT coalesce(max(number), 0) + 1 FROM versions WHERE cube = ?", (cube,)
        ).fetchone()
        (parent,) = conn.execute(
            "SELECT max(number) FROM versions WHERE cube = ? AND branch = ?", (cube, branch)
        ).fetchone()
        return number, parent

    @staticmethod
    def _publish(conn: Conn, scope: int, id: str, old: str | None) -> list[Any] | None:
        """What makes a draft current: id, what it replaces, its validity. None if it is already."""
        row, data = conn.execute(
            "SELECT i.row, e.data FROM items i JOIN events e ON e.seq = i.row WHERE i.scope = ?"
            " AND i.id = ?",
            (scope, id),
        ).fetchone()
        told = json.loads(data)
        if (
            not told.get("draft")
            or conn.execute("SELECT 1 FROM spans WHERE row = ?", (row,)).fetchone()
        ):
            return None
        return [id, old or told.get("old"), told.get("from"), told.get("to", FOREVER)]

    def commit(
        self, cube: str, put: Iterable[str | Item] = (), drop: Iterable[str] = (), message: str = ""
    ) -> Receipt:
        """A new version of ``"name"`` or ``"name@branch"``.

        Args:
            cube: Which, and on which branch.
            put: Ids of items, or new items. One that supersedes an item of the branch takes its
                place: on "main" for all of the memory, on another branch for that branch only.
            drop: Ids that leave the cube; the items themselves stay.
            message: What for.
        """
        name, branch = split_name(cube)
        put, drop = list(put), list(drop)
        if not put and not drop:
            raise UsageError("commit changes nothing; name items to put or to drop")

        def job(conn: Conn) -> list[tuple[int, int]]:
            id, scope = self._cube(conn, name, "write")
            return self._commit(conn, id, scope, branch, put, drop, message)

        ids = [p.id if isinstance(p, Item) else p for p in put]
        return self._receipt("commit", ids, self._c.write(job))

    def branch(self, name: str, new: str, *, source: str = "main") -> Receipt:
        """Begin a branch where another stands."""
        if not new or not new.isprintable() or "@" in new:
            raise UsageError(f"a branch's name must be printable and without @, got {new!r}")

        def make(conn: Conn) -> list[Draft]:
            id, scope = self._cube(conn, name, "write")
            self._members(conn, id, source)
            number, there = self._next(conn, id, new)
            if there is not None:
                raise UsageError(f"the cube {name!r} has a branch {new!r} already")
            _, parent = self._next(conn, id, source)
            data = {"branch": new, "number": number, "parent": parent, "fork": source}
            return [Draft("cube-commit", id, scope, data)]

        return self._log("branch", [], make)

    def merge(
        self, name: str, source: str, into: str = "main", *,
        resolve: str | Resolve | None = None, message: str = "",
    ) -> Receipt:  # fmt: skip
        """Three-way merge of one branch into another.

        Args:
            name: The cube.
            source: Branch whose changes are taken.
            into: Branch that gets them.
            resolve: What to do about conflicts: ``"ours"`` (of `into`), ``"theirs"`` (of `source`),
                or a function from a `Conflict` to the id to keep (None drops it).
            message: What for.

        Raises:
            MergeConflict: Both changed the same item and `resolve` was not given; nothing changed.
        """
        if isinstance(resolve, str) and resolve not in ("ours", "theirs"):
            raise UsageError(f'resolve must be "ours", "theirs" or a function, got {resolve!r}')

        def job(conn: Conn) -> list[tuple[int, int]]:
            id, scope = self._cube(conn, name, "write")
            ours = dict(self._members(conn, id, into))
            theirs = dict(self._members(conn, id, source))
            history = versions_of(conn, id)
            tips = [self._next(conn, id, b)[1] for b in (into, source)]
            base = history.contents(history.base(tips[0], tips[1]))
            # what was erased since is in no branch, so it must not count as dropped in one
            base = {k: v for k, v in base.items() if self._item_rows(conn, scope, [v])}
            result, conflicts = merged(base, ours, theirs)
            if conflicts and resolve is None:
                raise MergeConflict(
                    f"{name}: {source} and {into} both changed "
                    + "; ".join(
                        f"{c.key} (ours {c.ours}, theirs {c.theirs})" for c in conflicts[:10]
                    )
                    + '; call with resolve="ours", "theirs" or a function',
                    conflicts,
                )
            for c in conflicts:
                keep = resolve(c) if callable(resolve) else getattr(c, str(resolve))
                if keep not in (None, c.base, c.ours, c.theirs):
                    raise UsageError(f"resolve returned {keep!r} for {c}; it is none of the three")
                if keep is not None:
                    result[c.key] = keep
            put = [i for k, i in sorted(result.items()) if ours.get(k) != i]
            drop = sorted(k for k in ours if k not in result)
            text = message or f"merge {source} into {into}"
            return self._commit(conn, id, scope, into, put, drop, text, merged_=tips[1])

        return self._receipt("merge", [], self._c.write(job))

    def compose(self, name: str, parts: Sequence[str], *, resolve: str | None = None) -> Receipt:
        """A new cube out of others; where two hold other versions of an item, that is a conflict.

        Args:
            name: Of the new cube.
            parts: ``"name"`` or ``"name@branch"`` each; their versions are noted as provenance.
            resolve: ``"first"`` or ``"last"`` of the parts wins.

        Raises:
            MergeConflict: As `merge`.
        """
        if resolve not in (None, "first", "last"):
            raise UsageError(f'resolve must be "first" or "last", got {resolve!r}')
        if len(parts) < 2:
            raise UsageError("a cube is composed of at least two")
        whole: dict[str, str] = {}
        conflicts, versions = [], {}
        with self._c.reading() as conn:
            for part in parts:
                part_name, branch = split_name(part)
                id, _ = self._cube(conn, part_name, "share")
                versions[part] = self._next(conn, id, branch)[1]
                for root, item in self._members(conn, id, branch):
                    if whole.get(root, item) != item:
                        conflicts.append(Conflict(root, None, whole[root], item))
                    if root not in whole or resolve == "last":
                        whole[root] = item
        if conflicts and resolve is None:
            raise MergeConflict(
                f"the parts hold {len(conflicts)} items in different versions; "
                'call with resolve="first" or "last"',
                conflicts,
            )
        return self.create_cube(name, sorted(whole.values()), provenance={"composed of": versions})

    # ---------------------------------------------------------------- governance

    def share_cube(
        self, name: str, access: Mapping[str, Iterable[str]], *, owner: str | None = None
    ) -> Receipt:
        """Set a cube's access rules, and its owner where one is named."""
        rules = access_rules(access)

        def make(conn: Conn) -> list[Draft]:
            id, scope = self._cube(conn, name, "share")
            (now,) = conn.execute("SELECT owner FROM cubes WHERE id = ?", (id,)).fetchone()
            if owner is not None and self.actor != now:
                raise AccessDenied(f"only its owner, {now!r}, may give the cube {name!r} away")
            return [Draft("cube-access", id, scope, {}, {"owner": owner or now, "access": rules})]

        return self._log("share", [], make)

    def transition_cube(self, name: str, to: str, reason: str = "") -> Receipt:
        """Take a cube to another state; "Frozen" refuses every change until it is "Activated"."""

        def make(conn: Conn) -> list[Draft]:
            id, scope = self._cube(conn, name)
            owner, before = conn.execute(
                "SELECT owner, state FROM cubes WHERE id = ?", (id,)
            ).fetchone()
            if self.actor != owner:
                raise AccessDenied(f"only its owner, {owner!r}, may change the state of {name!r}")
            check_step(before, to)
            body = {"reason": reason} if reason else None
            return [Draft("cube-state", id, scope, {"from": before, "to": to}, body)]

        return self._log("state", [], make)

    def freeze_cube(self, name: str, reason: str = "") -> Receipt:
        """Make a cube and its items unchangeable; a new one is activated first."""
        if self.cube(name).state == "Generated":
            self.transition_cube(name, "Activated", "to be frozen")
        return self.transition_cube(name, "Frozen", reason)

    def unfreeze_cube(self, name: str, reason: str = "") -> Receipt:
        """Let a frozen cube be changed again."""
        if self.cube(name).state != "Frozen":
            raise StoreError(f"the cube {name!r} is not frozen")
        return self.transition_cube(name, "Activated", reason)


def access_rules(access: Mapping[str, Iterable[str]] | None) -> dict[str, list[str]]:
    out: dict[str, list[str]] = {}
    for what, who in (access or {}).items():
        if what not in ("read", "write", "share"):
            raise UsageError(f"access has read, write and share, got {what!r}")
        if isinstance(who, str):
            raise UsageError(f"access: {what} must be a list of callers, got the text {who!r}")
        out[what] = sorted(set(who))
    return out
