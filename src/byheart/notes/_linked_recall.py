"""Links that count at an equal budget, whatever ranked the hits."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from byheart.core.item import Item
from byheart.core.memory import Hit
from byheart.notes._linked_note import as_note

__all__ = ["EVERY", "LinkedHit", "expanded"]

EVERY = 10
"""One place in so many belongs to a linked note."""


@dataclass(frozen=True)
class LinkedHit(Hit):
    """A hit that may have come by a link.

    Args:
        via: Id of the note whose link brought it; empty if its own score did.
    """

    via: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**Hit.to_dict(self), "via": self.via}


def expanded(
    ranked: Sequence[Hit],
    k: int,
    budget: int,
    links: bool,
    fetch: Callable[[Sequence[str]], Mapping[str, Item]],
) -> list[LinkedHit]:
    """The best hits, and what they are linked to, within one budget.

    Every tenth place (the last one, where there are fewer) belongs to a note that a hit links to,
    or that links to it, and that would not be shown otherwise; places that hits do not fill do
    too. So links survive however many hits there are, and cost one place in ten.

    Args:
        ranked: All that was found, best first.
        k: How many hits are shown at most.
        budget: How many notes are shown at most.
        links: Whether links count.
        fetch: Ids of notes to their current items, as may be seen; what is not there is left out.
    """
    hits = [LinkedHit(h.item, h.score, h.state, h.words, h.meaning) for h in ranked]
    if not links:
        return hits[: min(k, budget)]
    return _mixed(hits, min(k, budget), budget, fetch)


def _mixed(
    hits: list[LinkedHit], k: int, budget: int, fetch: Callable[[Sequence[str]], Mapping[str, Item]]
) -> list[LinkedHit]:
    """Hits by their score, every tenth place a linked note."""
    seats = {i for i in range(1, budget) if i % EVERY == EVERY - 1}
    if budget > 1 and not seats:
        seats = {budget - 1}
    first = hits[:k]
    shown = {as_note(h.item).id for h in first[: max(1, k - len(seats))]}
    linked = [h for h in _linked(hits, first, fetch) if as_note(h.item).id not in shown]
    out: list[LinkedHit] = []
    used: set[str] = set()
    queue = iter(linked)
    own = iter(first)
    for place in range(budget):
        sources = (queue, own) if place in seats else (own, queue)
        found = next(
            (h for source in sources for h in source if as_note(h.item).id not in used), None
        )
        if found is None:
            break
        used.add(as_note(found.item).id)
        # a linked note stands below what it follows
        below = min(found.score, out[-1].score) if out else found.score
        out.append(replace(found, score=below))
    return out


def _linked(
    hits: list[LinkedHit],
    first: list[LinkedHit],
    fetch: Callable[[Sequence[str]], Mapping[str, Item]],
) -> list[LinkedHit]:
    """What the first hits are linked to, in either direction: the best hit's links first."""
    at = {as_note(h.item).id: h for h in hits}
    back: dict[str, list[str]] = {}
    for id, hit in at.items():
        for target in as_note(hit.item).links:
            back.setdefault(target, []).append(id)
    via: dict[str, LinkedHit] = {}
    for hit in first:
        note = as_note(hit.item)
        for other in (*note.links, *back.get(note.id, ())):
            via.setdefault(other, hit)
    away = [i for i in via if i not in at]
    there = fetch(away) if away else {}
    out = []
    for id, seed in via.items():
        name, own = as_note(seed.item).id, at.get(id)
        if own is not None:
            out.append((seed.score, own.score, replace(own, via=name)))
        elif id in there:
            out.append((seed.score, 0.0, LinkedHit(there[id], seed.score, via=name)))
    return [h for _, _, h in sorted(out, key=lambda o: (-o[0], -o[1]))]
