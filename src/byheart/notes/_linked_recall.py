"""Ranking of candidates for linked notes, and links that count at an equal budget.

The score is that of `byheart.notes.search` as far as candidates allow: words and meaning half and
half, each lent to the neighbours of a thread by halves; a quarter for a time that is met; a fifth
off for what only asks. Here `words` is the store's BM25 of the content and `meaning` the cosine
with the embedded text (Eq. 3).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any

import numpy as np

from byheart.core.item import Item
from byheart.core.memory import Candidate, Hit
from byheart.notes._linked_note import as_note
from byheart.notes.search_text import passages
from byheart.notes.time_expressions import find_times

__all__ = ["EVERY", "LinkedHit", "expanded", "scores"]

EVERY = 10
"""One place in so many belongs to a linked note."""
REACH, DECAY, TIME, ASKING = 3, 0.5, 0.25, 0.2


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


def _scaled(x: np.ndarray) -> np.ndarray:
    low, high = x.min(), x.max()
    return (x - low) / (high - low) if high > low else np.full(len(x), float(high > 0))


def scores(
    query: str, candidates: Sequence[Candidate], asked: datetime | date | None = None
) -> np.ndarray:
    """`[N]` score of every candidate; they stand in the order of recording."""
    n = len(candidates)
    own = np.array([c.words for c in candidates])
    found = np.array([c.found for c in candidates])
    known = np.array([c.meaning is not None for c in candidates])
    cosine = np.array([c.meaning or 0.0 for c in candidates])
    threads: dict[Any, list[int]] = {}
    for i, c in enumerate(candidates):
        thread = c.item.labels.get("thread")
        if thread is not None:
            threads.setdefault(str(thread), []).append(i)
    words, around, weight = own.copy(), cosine * known, known.astype(float)
    for places in threads.values():
        at = np.array(places)
        for step in range(1, min(REACH, len(at) - 1) + 1):
            share = DECAY**step
            for lender, taker in ((at[:-step], at[step:]), (at[step:], at[:-step])):
                # only beside what was found are these the true neighbours
                words[taker] += share * own[lender] * found[lender]
                lends = share * (found & known)[lender]
                around[taker] += lends * cosine[lender]
                weight[taker] += lends
    total = _scaled(words)
    if known.any():
        floor = cosine[known].min()
        near = np.where(known, cosine, floor)
        blend = np.divide(around, weight, out=np.full(n, floor), where=weight > 0)
        total = (total + _scaled((near + blend) / 2)) / 2
    total = total + TIME * _met(query, candidates, asked)
    asks = np.array([_asking(c.item.content) for c in candidates])
    return total * (1 - ASKING * asks)


def _asking(text: str) -> float:
    sentences = passages(text)
    return sum(s.rstrip(" \"'”’)]").endswith(("?", "？")) for s in sentences) / max(
        len(sentences), 1
    )


def _met(query: str, candidates: Sequence[Candidate], asked: datetime | date | None) -> np.ndarray:
    spans = find_times(query, asked)
    out = np.zeros(len(candidates))
    for i, c in enumerate(candidates) if spans else ():
        day = c.item.valid_from.date() if c.item.valid_from else None
        told = [(t.first, t.last) for t in find_times(c.item.content, day)]
        told += [(day, day)] if day else []
        out[i] = any(a <= s.last and s.first <= b for s in spans for a, b in told)
    return out


def expanded(
    query: str,
    candidates: Sequence[Candidate],
    k: int,
    budget: int,
    links: bool,
    fetch: Callable[[Sequence[str]], Mapping[str, Item]],
    asked: datetime | date | None = None,
) -> list[LinkedHit]:
    """The best candidates, and what they are linked to, within one budget.

    Every tenth place (the last one, where there are fewer) belongs to a note that a hit links to,
    or that links to it, and that would not be shown otherwise; places that hits do not fill do
    too. So links survive however many hits there are, and cost one place in ten.

    Args:
        query: The question.
        candidates: In the order of recording.
        k: How many hits there are at most.
        budget: How many notes are shown at most.
        links: Whether links count.
        fetch: Ids of notes to their current items, as may be seen; what is not there is left out.
        asked: Day of the question, for "last week" in it.
    """
    if not candidates:
        return []
    total = scores(query, candidates, asked)
    hits = [
        LinkedHit(c.item, float(total[i]), c.state, c.words, c.meaning)
        for i in np.argsort(-total, kind="stable")
        for c in (candidates[i],)
    ]
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
