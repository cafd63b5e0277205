"""The part of `byheart.Memory` that is about cubes, states and links."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from byheart.core.cube import Cube, CubeVersion
from byheart.core.errors import AccessDenied, OutputError, StoreError, UsageError
from byheart.core.item import Item
from byheart.core.memory import Conflict, Receipt
from byheart.stores.exchange import export_lines, import_lines

if TYPE_CHECKING:
    from byheart.memory import Memory

__all__ = ["CubeVerbs"]


class CubeVerbs:
    """Every method mirrors one of the store, whose docstring has the details."""

    if TYPE_CHECKING:
        store: Any

    # ---------------------------------------------------------------- cubes

    def create_cube(self, name: str, items: Iterable[str | Item] = (), **options: Any) -> Receipt:
        """Make a cube out of ids or new items; see `SqliteStore.create_cube`."""
        receipt: Receipt = self.store.create_cube(name, items, **options)
        return receipt

    def cubes(self) -> list[Cube]:
        """Cubes that the caller may read, by name."""
        found: list[Cube] = self.store.cubes()
        return found

    def cube(self, name: str) -> Cube:
        """A cube by its name."""
        found: Cube = self.store.cube(name)
        return found

    def cube_items(self, cube: str, version: int | None = None) -> list[Item]:
        """Items of ``"name"`` or ``"name@branch"``, as it stands or as a version had it."""
        items: list[Item] = self.store.cube_items(cube, version)
        return items

    def cube_versions(self, name: str) -> list[CubeVersion]:
        """All versions of a cube, oldest first."""
        found: list[CubeVersion] = self.store.cube_versions(name)
        return found

    def commit(
        self, cube: str, put: Iterable[str | Item] = (), drop: Iterable[str] = (), message: str = ""
    ) -> Receipt:
        """A new version of ``"name"`` or ``"name@branch"``; see `SqliteStore.commit`."""
        put, drop = list(put), list(drop)
        both = {p.id if isinstance(p, Item) else p for p in put} & set(drop)
        if both:
            raise UsageError(f"{', '.join(sorted(both))} is to be put and to be dropped")
        receipt: Receipt = self.store.commit(cube, put, drop, message)
        return receipt

    def branch(self, name: str, new: str, *, source: str = "main") -> Receipt:
        """Begin a branch where another stands."""
        receipt: Receipt = self.store.branch(name, new, source=source)
        return receipt

    def merge(
        self,
        name: str,
        source: str,
        into: str = "main",
        *,
        resolve: str | Callable[[Conflict], str | None] | None = None,
        message: str = "",
    ) -> Receipt:
        """Three-way merge of one branch into another; see `SqliteStore.merge`.

        Raises:
            MergeConflict: Both changed the same item and `resolve` was not given; nothing changed.
        """
        if source == into:
            raise UsageError(f"{name}@{source} cannot be merged into itself")
        receipt: Receipt = self.store.merge(name, source, into, resolve=resolve, message=message)
        return receipt

    def compose(self, name: str, parts: Sequence[str], *, resolve: str | None = None) -> Receipt:
        """A new cube out of others; see `SqliteStore.compose`."""
        receipt: Receipt = self.store.compose(name, parts, resolve=resolve)
        return receipt

    def share_cube(
        self, name: str, access: Mapping[str, Iterable[str]], *, owner: str | None = None
    ) -> Receipt:
        """Set who else may read, write or share a cube, and its owner where one is named."""
        receipt: Receipt = self.store.share_cube(name, access, owner=owner)
        return receipt

    def transition_cube(self, name: str, to: str, reason: str = "") -> Receipt:
        """Take a cube to another state of its life."""
        receipt: Receipt = self.store.transition_cube(name, to, reason)
        return receipt

    def freeze_cube(self, name: str, reason: str = "") -> Receipt:
        """Make a cube and its items unchangeable; a new one is activated first."""
        receipt: Receipt = self.store.freeze_cube(name, reason)
        return receipt

    def unfreeze_cube(self, name: str, reason: str = "") -> Receipt:
        """Let a frozen cube be changed again."""
        receipt: Receipt = self.store.unfreeze_cube(name, reason)
        return receipt

    def move_cube(self, name: str, to: Memory) -> Receipt:
        """Move a cube into another memory: copied, compared, then archived here.

        Raises:
            AccessDenied: It is not the caller's.
            StoreError: It is archived or frozen.
            OutputError: It did not arrive whole; it stays here as it was.
        """
        cube = self.cube(name)
        state = cube.state
        if cube.owner != self.store.actor:
            raise AccessDenied(f"only its owner, {cube.owner!r}, may move the cube {name!r}")
        if state in ("Archived", "Frozen", "Expired"):
            todo = "unfreeze it first" if state == "Frozen" else "activate it first"
            raise StoreError(f"the cube {name!r} is {state}, so it cannot be moved; {todo}")
        lines = list(export_lines(self.store, cube=name))
        receipt = import_lines(to.store, lines, f"cube {name} of {self.store.scope}")
        mine = {i.id: i.digest for i in self.cube_items(name)}
        theirs = {i.id: i.digest for i in to.cube_items(name)}
        if mine != theirs:
            raise OutputError(f"the cube {name!r} did not arrive whole; it stays here as it was")
        where = f"{to.store.place} ({to.scope})"
        self.store.note("export", body={"to": where, "cube": name})
        self.transition_cube(name, "Archived", f"moved to {to.scope}")
        return receipt

    # ---------------------------------------------------------------- states

    def transition(self, id: str, to: str, reason: str = "") -> Receipt:
        """Take an item to another state of its life."""
        receipt: Receipt = self.store.transition(id, to, reason)
        return receipt

    def freeze(self, id: str, reason: str = "") -> Receipt:
        """Make an item unchangeable until it is unfrozen; a new one is activated first."""
        if self.store.show(id)["state"] == "Generated":
            self.transition(id, "Activated", "to be frozen")
        return self.transition(id, "Frozen", reason)

    def unfreeze(self, id: str, reason: str = "") -> Receipt:
        """Let a frozen item be changed again."""
        if (state := self.store.show(id)["state"]) != "Frozen":
            raise StoreError(f"item {id} is not frozen, it is {state}")
        return self.transition(id, "Activated", reason)

    def archive(self, id: str, reason: str = "") -> Receipt:
        """Put an item away: `recall` finds it only with ``archived=True``."""
        return self.transition(id, "Archived", reason)

    # ---------------------------------------------------------------- links

    def link(self, a: str, b: str, label: str = "", weight: float = 1.0) -> Receipt:
        """Link an item to another; a link that is there gets the new weight."""
        if a == b:
            raise UsageError(f"{a} is not linked to itself")
        if not math.isfinite(weight):
            raise UsageError(f"a link's weight is a finite number, got {weight}")
        receipt: Receipt = self.store.link(a, b, label, weight)
        return receipt

    def unlink(self, a: str, b: str, label: str = "") -> Receipt:
        """Take a link away; it stays in the log."""
        receipt: Receipt = self.store.unlink(a, b, label)
        return receipt

    def links(self, id: str) -> list[tuple[str, str, str, float]]:
        """Links from and to an item: from, to, label, weight."""
        found: list[tuple[str, str, str, float]] = self.store.links(id)
        return found
