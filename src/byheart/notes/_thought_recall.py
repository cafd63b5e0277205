"""Stage 1: from a query's vector to the thoughts that hold, by groups or by all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from byheart.core.errors import UsageError
from byheart.core.memory import Candidate, Selector
from byheart.notes._thought import THOUGHT
from byheart.notes._thought_index import ThoughtIndex
from byheart.notes._thought_ops import Rank, nearest

__all__ = ["answer", "by_vector", "by_words"]

Times = Mapping[str, Any]


def by_vector(
    index: ThoughtIndex, rank: Rank, query: str, q: np.ndarray, k: int, probes: int, times: Times
) -> Any:
    """The query's groups; where they hold fewer than k, the next best; then all."""
    b = index.groups
    if b is None or probes >= b:
        hits, share = _walk(index, rank, q, None, k, times)
        return answer(_chosen(rank, query, hits, k), "exact", share)
    path = "group" if probes == 1 else "multi-probe"
    while probes < b:
        hits, share = _walk(index, rank, q, probes, k, times)
        if len(hits) >= k:
            return answer(_chosen(rank, query, hits, k), path, share)
        probes, path = 2 * probes, "multi-probe"
    hits, share = _walk(index, rank, q, None, k, times)
    return answer(_chosen(rank, query, hits, k), "exact fall-back", share)


def _walk(
    index: ThoughtIndex, rank: Rank, q: np.ndarray, probes: int | None, k: int, times: Times
) -> tuple[list[Candidate], float]:
    """The best k that hold (with a ranker, some more), down the list of the nearest."""
    assert index.rows is not None
    wanted = k if rank is nearest else 4 * k
    most: int | None = max(64, 4 * wanted)
    while True:
        rows = index.rows
        found = rows.exact(q, most) if probes is None else rows.among(q, probes, most)
        hits = _holding(index, found.rows, found.scores, wanted, times)
        if len(hits) >= wanted or most is None or len(found.rows) < most:
            return hits, found.scanned
        most = None


def _holding(
    index: ThoughtIndex, rows: np.ndarray, scores: np.ndarray, k: int, times: Times
) -> list[Candidate]:
    out: list[Candidate] = []
    step = max(16, 2 * k)
    for begin in range(0, len(rows), step):
        some = rows[begin : begin + step].tolist()
        ids = tuple(index.ids[r] for r in some)
        there = {i.id: i for i in index.memory.items(Selector(ids=ids), **times)}
        for row, score in zip(some, scores[begin : begin + step].tolist(), strict=True):
            item = there.get(index.ids[row])
            if item is None or index.outdone(item, times):
                continue
            held, state = index.held_then(item, times)
            out.append(Candidate(held, score, state, 0.0, score, order=row))
            if len(out) == k:
                return out
    return out


def by_words(index: ThoughtIndex, rank: Rank, query: str, k: int, times: Times) -> Any:
    """Without an encoder: the store's own search, thoughts only."""
    total, wanted = max(len(index.ids), 1), k
    while True:
        found = index.memory.recall(query, wanted, kinds=["note"], **times)
        hits = [h for h in found if h.item.labels.get("type") == THOUGHT]
        hits = [h for h in hits if not index.outdone(h.item, times)]
        if len(hits) >= k or len(found) < wanted:
            some = hits[:k] if rank is nearest else hits
            candidates = [
                Candidate(h.item, h.score, h.state, h.words, h.meaning, order=n)
                for n, h in enumerate(some)
            ]
            return answer(_chosen(rank, query, candidates, k), "words", len(hits) / total)
        wanted *= 4


def _chosen(rank: Rank, query: str, hits: list[Candidate], k: int) -> Sequence[Any]:
    chosen = list(rank(query, hits, k))
    there = {c.item.id for c in hits}
    wrong = [h.item.id for h in chosen if h.item.id not in there]
    if wrong or len(chosen) > k:
        raise UsageError(
            f"the recall hook returned {len(chosen)} hits for k={k}"
            + (f", among them {wrong[0]!r}, which was no candidate" if wrong else "")
        )
    return chosen


@lru_cache(maxsize=1)
def _class() -> Any:
    from byheart.memory import Recall  # the facade's, so that prompts are made in one place

    class ThoughtRecall(Recall):
        """Hits, best first, with the path that found them and the share that was compared."""

        path: str = "exact"
        scanned: float = 0.0

    return ThoughtRecall


def answer(hits: Iterable[Any], path: str, scanned: float) -> Any:
    out = _class()(hits)
    out.path, out.scanned = path, scanned
    return out
