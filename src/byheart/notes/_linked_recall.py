"""Ranking of candidates for linked notes, and links that count at an equal budget.

The score is that of `byheart.notes.search` as far as candidates allow: words and meaning half and
half, each lent to the neighbours of a thread by halves; a quarter for a time that is met; a fifth
off for what only asks. Here `words` is the store's BM25 of the content and `meaning` the cosine
with the embedded text (Eq. 3).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import numpy as np

from byheart.core.item import Item
from byheart.core.memory import Candidate, Hit
from byheart.notes._linked_note import LinkedNote, as_note
from byheart.notes.search_text import passages
from byheart.notes.time_expressions import find_times

__all__ = ["LINK", "LinkedHit", "expanded", "scores"]

LINK = 0.5
"""What share of a hit's score its links are worth: halves, as everywhere."""
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

    Each of the k best lends half of its score to what it is linked to, in either direction; a
    linked note is shown where the larger of its two scores earns a place among `budget`.

    Args:
        query: The question.
        candidates: In the order of recording.
        k: How many hits may bring links.
        budget: How many notes are shown at most.
        links: Whether links count.
        fetch: Ids of notes to their current items, as may be seen; what is not there is left out.
        asked: Day of the question, for "last week" in it.
    """
    if not candidates:
        return []
    total = scores(query, candidates, asked)
    order = np.argsort(-total, kind="stable")
    hits = [
        LinkedHit(c.item, float(total[i]), c.state, c.words, c.meaning)
        for i in order
        for c in (candidates[i],)
    ]
    if not links:
        return hits[: min(k, budget)]
    return _linked(hits, k, fetch)[:budget]


def _linked(
    hits: list[LinkedHit], k: int, fetch: Callable[[Sequence[str]], Mapping[str, Item]]
) -> list[LinkedHit]:
    notes = [as_note(h.item) for h in hits]
    place = {n.id: i for i, n in enumerate(notes)}
    back: dict[str, list[str]] = {}
    for n in notes:
        for target in n.links:
            back.setdefault(target, []).append(n.id)
    best: dict[str, tuple[float, str]] = {}
    for hit, note in zip(hits[:k], notes[:k], strict=True):
        for other in (*note.links, *back.get(note.id, ())):
            lent = LINK * hit.score
            if lent > best.get(other, (0.0, ""))[0]:
                best[other] = (lent, note.id)
    away = [i for i in best if i not in place]
    there = fetch(away) if away else {}
    merged = list(hits)
    for id, (lent, via) in best.items():
        if id in place:
            own = hits[place[id]]
            if lent > own.score:
                merged[place[id]] = LinkedHit(
                    own.item, lent, own.state, own.words, own.meaning, via
                )
        elif id in there:
            merged.append(LinkedHit(there[id], lent, via=via))
    shown = {as_note(h.item).id for h in hits[:k]}
    able = [h for h in merged if h.via or as_note(h.item).id in shown]
    return sorted(able, key=lambda h: -h.score)


def note_of(hit: Hit) -> LinkedNote:
    """The hit as a note."""
    return as_note(hit.item)
