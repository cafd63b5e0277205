"""The part of `LinkedNotes` that reads: recall, single notes, versions, the network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from byheart.core.errors import UnknownName, UsageError
from byheart.core.item import Item
from byheart.core.memory import Event, Problem, Selector
from byheart.notes._linked_graph import graph_text
from byheart.notes._linked_index import Index
from byheart.notes._linked_note import LinkedNote, as_note, root_of
from byheart.notes._linked_recall import expanded

if TYPE_CHECKING:
    from byheart.memory import Recall

__all__ = ["ReadMethods"]


class ReadMethods:
    """Everything here sees only the memory's scope."""

    if TYPE_CHECKING:
        memory: Any
        index: Index
        annotator: Any
        linker: Any

    def recall(
        self,
        query: str,
        k: int = 10,
        *,
        links: bool = True,
        budget: int | None = None,
        as_of: datetime | str | None = None,
        known_at: datetime | str | None = None,
    ) -> Recall:
        """The best notes for a query and what they are linked to, in one budget.

        Args:
            query: A question or some words.
            k: How many hits there are at most.
            links: Whether every tenth place (the last one, where there are fewer) belongs to a note
                that a hit links to, or that links to it. Hits are `LinkedHit`s: `via` names the
                note that brought it.
            budget: How many notes are shown at most, linked ones included; k if left out. What is
                above k is filled by links.
            as_of: As it held in the world then; "last week" in the question leans on it.
            known_at: As it was known then, annotations and links included.

        Raises:
            UsageError: An empty query, or k or budget below 1.
        """
        from byheart.memory import Recall  # the facade's, so that all memories answer alike

        shown = k if budget is None else budget
        for name, number in (("k", k), ("budget", shown)):
            if isinstance(number, bool) or not isinstance(number, int) or number < 1:
                raise UsageError(f"{name} must be a whole number of at least 1, got {number!r}")
        when = {"as_of": as_of, "known_at": known_at}
        found = self.index.ranked(query, max(k, shown), as_of, known_at)
        return Recall(expanded(found, k, shown, links, lambda ids: self._seen(ids, **when)))

    def get(self, id: str) -> LinkedNote:
        """A note as it stands now.

        Args:
            id: Of any of its versions.

        Raises:
            UnknownName: No such note in this scope.
        """
        versions = self.memory.show(id)["versions"]
        root = versions[0]
        for version in reversed(versions):
            if self.memory.show(version)["current"]:
                item = self.memory.get(version)
                return self._sound(replace(self._rooted(as_note(item)), id=root))
        raise UnknownName("note", id, [])

    def notes(self, **when: Any) -> list[LinkedNote]:
        """All notes in the order they were recorded; links to what is not there are left out.

        Args:
            when: `as_of` and `known_at`, as in `recall`.
        """
        found = [self._rooted(as_note(i)) for i in self.memory.items(**when) if i.kind == "note"]
        there = {n.id for n in found}
        return [replace(n, links=tuple(x for x in n.links if x in there)) for n in found]

    def history(self, id: str, *, undone: bool = False) -> list[LinkedNote]:
        """Every version of a note, oldest first; `evolved_by` says whose arrival made it.

        Args:
            id: Of any of its versions.
            undone: Also versions that were taken back.
        """
        versions = self.memory.show(id)["versions"]
        out = []
        for version in versions:
            entries = self.memory.show(version)["log"]
            taken = sum(e["kind"] == "undo" for e in entries) % 2
            if undone or not taken:
                out.append(replace(as_note(self.memory.get(version)), id=versions[0]))
        return [self._sound(n) for n in out]

    def links(self, id: str) -> tuple[list[str], list[str]]:
        """Ids of the notes that a note links to, and of those that link to it."""
        note = self.get(id)
        return list(note.links), [n.id for n in self.notes() if note.id in n.links]

    def graph(self, format: str = "graphml") -> str:
        """The network of notes: ``"graphml"``, ``"dot"`` or ``"json"`` (node-link).

        Raises:
            UnknownName: No such format.
        """
        return graph_text(self.notes(), format)

    def log(self, **filters: Any) -> Iterator[Event]:
        """Entries of the store's log, rejected proposals among them (``kind="reject"``)."""
        found: Iterator[Event] = self.memory.log(**filters)
        return found

    def check(self) -> list[Problem]:
        """What the store finds wrong, and links that point at nothing (they are not shown)."""
        problems = list(self.memory.check())
        there = {self.root(i) for i in self.memory.items(history=True)}
        for item in self.memory.items():
            for target in as_note(item).links:
                if target not in there:
                    told = f"links to {target}, which was erased apart from these notes"
                    problems.append(Problem("links", self.root(item), told))
        return problems

    def stats(self) -> dict[str, Any]:
        """The store's counts; also notes, links, evolved versions, and who annotates and links."""
        notes = self.notes()
        return {
            **self.memory.stats(),
            "notes": len(notes),
            "links": sum(len(n.links) for n in notes),
            "evolved": sum(1 for i in self.memory.items(history=True) if as_note(i).evolved_by),
            "annotator": _name(self.annotator),
            "linker": _name(self.linker),
        }

    def root(self, item: Item) -> str:
        """Id of the first version of an item, also of one that was superseded by other hands."""
        if item.supersedes is None or "note" in item.labels:
            return root_of(item)
        return str(self.memory.show(item.id)["versions"][0])

    def _rooted(self, note: LinkedNote) -> LinkedNote:
        return note if note.item is None else replace(note, id=self.root(note.item))

    def _sound(self, note: LinkedNote) -> LinkedNote:
        """Without links to what was erased behind our back."""
        return replace(note, links=tuple(x for x in note.links if self._exists(x)))

    def _exists(self, id: str) -> bool:
        try:
            self.memory.get(id)
        except UnknownName:
            return False
        return True

    def _there(self, item: Item) -> LinkedNote | None:
        """The note that has this id and content already, so that a call can be repeated."""
        # asking for an unknown id by `get` would look for the nearest names first
        if next(iter(self.memory.log(subject=item.id)), None) is None:
            return None
        try:
            old = self.memory.get(item.id)
        except UnknownName:
            return None
        if old.digest != item.digest:
            raise UsageError(f"the id {item.id!r} is there with other content; supersede it")
        return self.get(item.id)

    def _seen(self, ids: Sequence[str], **when: Any) -> dict[str, Item]:
        """Notes by id as they may be seen at a time."""
        out = {}
        for id in ids:
            try:
                versions = self.memory.show(id)["versions"]
                for item in self.memory.items(Selector(ids=tuple(versions)), **when):
                    out[id] = item
            except UnknownName:
                continue
        return out


def _name(what: Any) -> str:
    named = getattr(what, "name", None) or getattr(getattr(what, "model", None), "name", None)
    return str(named or getattr(what, "__name__", type(what).__name__))
