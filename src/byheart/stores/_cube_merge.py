"""Versions of a cube as a graph, and the three-way merge over it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from byheart.core.memory import Conflict
from byheart.stores._writer import Conn

__all__ = ["Versions", "merged", "versions_of"]


@dataclass
class Versions:
    """Every version's parents and what it changed against the first of them."""

    parents: dict[int, list[int]]
    changes: dict[int, dict[str, Any]]

    def contents(self, number: int | None) -> dict[str, str]:
        """Root to item of a version: the changes along its first parents, oldest first."""
        path = []
        while number is not None:
            if number not in self.changes:
                from byheart.core.errors import UnknownName

                raise UnknownName("version", str(number), map(str, sorted(self.changes)))
            path.append(number)
            number = next(iter(self.parents[number]), None)
        out: dict[str, str] = {}
        for step in reversed(path):
            for root in self.changes[step].get("drop", ()):
                out.pop(root, None)
            out.update(dict(self.changes[step].get("put", ())))
        return out

    def base(self, ours: int | None, theirs: int | None) -> int | None:
        """The newest version that both descend from."""
        common = self._ancestors(ours) & self._ancestors(theirs)
        return max(common, default=None)

    def _ancestors(self, number: int | None) -> set[int]:
        seen: set[int] = set()
        todo = [] if number is None else [number]
        while todo:
            one = todo.pop()
            if one not in seen:
                seen.add(one)
                todo += self.parents[one]
        return seen


def versions_of(conn: Conn, cube: str) -> Versions:
    """Read a cube's versions."""
    parents, changes = {}, {}
    for number, parent, merged_, data in conn.execute(
        "SELECT v.number, v.parent, v.merged, e.data FROM versions v JOIN events e ON e.seq = v.seq"
        " WHERE v.cube = ?",
        (cube,),
    ):
        parents[number] = [p for p in (parent, merged_) if p is not None]
        changes[number] = json.loads(data)
    return Versions(parents, changes)


def merged(
    base: dict[str, str], ours: dict[str, str], theirs: dict[str, str]
) -> tuple[dict[str, str], list[Conflict]]:
    """What both agree on and what one of them changed; what both changed apart is a conflict.

    >>> merged({"a": "a"}, {"a": "a"}, {"a": "a2"})[0]
    {'a': 'a2'}
    >>> merged({"a": "a"}, {"a": "a1"}, {})[1]
    [Conflict(key='a', base='a', ours='a1', theirs=None)]
    """
    out, conflicts = {}, []
    for key in sorted({*base, *ours, *theirs}):
        b, o, t = base.get(key), ours.get(key), theirs.get(key)
        if o == t or t == b:
            pick = o
        elif o == b:
            pick = t
        else:
            conflicts.append(Conflict(key, b, o, t))
            continue
        if pick is not None:
            out[key] = pick
    return out, conflicts
