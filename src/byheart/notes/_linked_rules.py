"""Links between notes without a language model: those that name the same things."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from byheart.core.errors import UsageError
from byheart.notes._linked_decision import Change, Decision
from byheart.notes._linked_note import LinkedNote
from byheart.notes.search_text import stemmer, words

__all__ = ["SharedWords"]


class SharedWords:
    """Links a new note to those neighbours that share an entity or several keywords with it.

    Deterministic. It proposes no evolution unless `tags` is set, because other tags for old notes
    made retrieval no better when it was measured (`byheart reproduce a-mem`).

    Args:
        least: Stems that two notes must have in common among their keywords, where they share no
            entity.
        tags: Also give linked neighbours the new note's tags, up to `most`.
        most: Tags of a note that has been given some.

    >>> from byheart.notes.annotate import Annotation
    >>> new = LinkedNote("n", "n", "...", annotation=Annotation(("charity race", "Lisbon")))
    >>> old = [LinkedNote("a", "a", "...", annotation=Annotation(("race for charity",))),
    ...        LinkedNote("b", "b", "...", annotation=Annotation(("kitchen",)))]
    >>> SharedWords()(new, old).connect
    (0,)
    """

    name = "shared words"

    def __init__(self, least: int = 2, *, tags: bool = False, most: int = 8) -> None:
        if least < 1 or most < 1:
            raise UsageError(f"least and most must be at least 1, got {least} and {most}")
        self.least, self.tags, self.most = least, tags, most
        self._stem = stemmer()

    def _stems(self, note: LinkedNote) -> frozenset[str]:
        return frozenset(w for k in note.keywords for w in words(k, self._stem))

    def __call__(
        self, note: LinkedNote, neighbours: Sequence[LinkedNote], *, store: Any = None
    ) -> Decision:
        """See `Linker`."""
        mine, names = self._stems(note), {e.lower() for e in note.entities}
        connect = [
            i
            for i, other in enumerate(neighbours)
            if names & {e.lower() for e in other.entities}
            or len(mine & self._stems(other)) >= self.least
        ]
        changes: dict[int, Change] = {}
        for i in connect if self.tags else ():
            both = tuple(dict.fromkeys((*neighbours[i].tags, *note.tags)))[: self.most]
            changes[i] = Change(tags=both)
        return Decision(tuple(connect), None, changes)
