"""Finding items again: by words, by vectors, and by what a ranker makes of both."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np

from byheart.core.errors import UsageError
from byheart.core.item import moment
from byheart.core.memory import Candidate, Candidates, Hit, Ranker
from byheart.stores._bm25 import Asked
from byheart.stores._candidates import (
    ANCHORS,
    Span,
    candidates,
    everything,
    hit,
    nearest_passage,
    said_then,
)
from byheart.stores._catch_up import catch_up
from byheart.stores._neighbours import neighbours
from byheart.stores._schema import from_micros
from byheart.stores._visible import Moment, Seen, times

if TYPE_CHECKING:
    from byheart.stores._store import Store
    from byheart.stores._writer import Conn

__all__ = ["fuse", "recall"]

DEPTH = 64
"""Fewest candidates of each kind of search that are ranked together."""

ENDS = 8
"""So many candidates beyond those that decide are compared with all digits, too."""


def fuse(query: str, candidates: Sequence[Candidate], k: int) -> list[Hit]:
    """Mean of the min-max scaled scores, the plain default; ties by order of recording.

    Words are scaled from 0 (items that have none); a candidate that was not embedded yet has
    its words alone.
    """
    able = [c for c in candidates if c.found]
    scores = _fused(
        np.array([c.words for c in able]),
        np.array([np.nan if c.meaning is None else c.meaning for c in able]),
    )
    order = sorted(range(len(able)), key=lambda i: (-scores[i], able[i].order))[:k]
    return [
        Hit(able[i].item, float(scores[i]), able[i].state, able[i].words, able[i].meaning)
        for i in order
    ]


def _fused(words: np.ndarray, meaning: np.ndarray) -> np.ndarray:
    by_words = words / words.max() if len(words) and words.max() > 0 else np.zeros(len(words))
    has = ~np.isnan(meaning)
    if not has.any():
        return by_words
    low, high = meaning[has].min(), meaning[has].max()
    scaled = np.where(has, meaning - low, 0) / (high - low) if high > low else has.astype(float)
    return np.where(has, (by_words + scaled) / 2, by_words / 2)


def recall(
    store: Store,
    query: str,
    k: int,
    *,
    as_of: datetime | str | None,
    known_at: datetime | str | None,
    kinds: Iterable[str],
    archived: bool,
    ranker: Ranker | None,
    members: Sequence[int] | None = None,
) -> list[Hit]:
    """`Store.recall`."""
    if not isinstance(query, str) or not query.strip():
        raise UsageError(f"the query is empty: {query!r}; ask in some words")
    if isinstance(k, bool) or not isinstance(k, int) or k < 1:
        raise UsageError(f"k must be a whole number of at least 1, got {k!r}")
    moment(as_of, "as_of"), moment(known_at, "known_at")
    catch_up(store)
    vector = None if store.embedder is None else store.embedder([query])[0]
    with store._c.reading() as conn:
        scopes = store._scope_ids(conn)
        if not scopes:
            return []
        if store._notice_erasures(conn):
            getattr(ranker, "forget", int)()
        when = times(store, conn, as_of, known_at)
        seen = Seen(store, conn, when, kinds, archived, members)
        words = store._words.ask(conn, scopes, query)
        embedder = 0 if vector is None else store._embedder_id()
        asked = _Asked(store, conn, scopes, query, k, when, seen, words, embedder, vector, ranker)
        rows = everything(conn, scopes, getattr(ranker, "whole", 0), members)
        then: dict[int, Span] = {}
        near: dict[int, float] = {}
        if rows is not None:
            pool = seen(rows)
        else:
            pool, near = _found(asked)
            named = getattr(ranker, "times", None)
            days = [] if named is None else named(query, from_micros(when.valid))
            if days:
                said = said_then(store, conn, scopes, days, words)
                then = _seen_among(said, asked.depth, seen)
                pool.update(then)
        if not pool:
            return []
        if ranker is None:
            return _plain(asked, pool, near)
        return _ranked(asked, ranker, pool, then, near, whole=rows is not None)


@dataclass(frozen=True, slots=True)
class _Asked:
    """One question, and what it is answered from."""

    store: Store
    conn: Conn
    scopes: tuple[int, ...]
    query: str
    k: int
    when: Moment
    seen: Seen
    words: Asked
    embedder: int
    vector: np.ndarray | None
    ranker: Ranker | None

    @property
    def depth(self) -> int:
        """So many of each kind of search are ranked together."""
        return max(DEPTH, 4 * self.k)

    def scores(
        self, rows: Sequence[int], near: Mapping[int, float]
    ) -> tuple[np.ndarray, np.ndarray, bool]:
        """Of each row the score by words, the cosine to about a hundredth, and whether it is exact.

        Args:
            rows: ``[N]``.
            near: Cosines that are known already, as `VectorIndex.nearest` gives them.
        """
        words = self.words.at(np.array(rows, np.int64))
        if self.vector is None:
            return words, np.full(len(rows), np.nan), True
        index = self.store._vectors
        told, exact = index.about(
            self.conn, self.embedder, [r for r in rows if r not in near], self.vector
        )
        told |= near
        nan = float("nan")
        return words, np.array([told.get(r, nan) for r in rows]), exact

    def cosines(self, rows: Sequence[int]) -> dict[int, float]:
        """Cosines."""
        if self.vector is None:
            return {}
        return self.store._vectors.cosines(self.conn, self.embedder, rows, self.vector)

    def vectors(self, rows: Sequence[int]) -> dict[int, np.ndarray]:
        """`[P, D]` vectors of passages, where the ranker looks at them."""
        if self.vector is None or not getattr(self.ranker, "vectors", False):
            return {}
        store = self.store
        return store._kept.vectors(self.conn, store._vectors.passages, self.embedder, rows)


def _found(asked: _Asked) -> tuple[dict[int, Span], dict[int, float]]:
    """The best by words and the best by meaning that may be seen, and cosines of the latter."""
    store, conn, n, seen = asked.store, asked.conn, asked.depth, asked.seen
    first = asked.words.best(n + n // 4)[0].tolist() if seen.members is None else []
    if asked.vector is None:
        return _seen_by_words(asked.words, n, seen, first), {}
    store._vectors.prepare(conn, asked.embedder, asked.scopes)
    wide = n if seen.members is None else 16 * n
    near = store._vectors.nearest(conn, asked.vector, wide)
    if seen.members is None:  # in one go
        seen(sorted({*first, *near[0].tolist()}))
    pool = _seen_by_words(asked.words, n, seen, first)
    out = _seen_among(near, n, seen)
    while len(out) < n and len(near[0]) >= wide and wide < len(store._vectors):
        wide *= 4  # too many of them may not be seen
        near = store._vectors.nearest(conn, asked.vector, wide)
        out = _seen_among(near, n, seen)
    pool.update(out)
    return pool, dict(zip(near[0].tolist(), near[1].tolist(), strict=True))


def _plain(asked: _Asked, pool: dict[int, Span], near: Mapping[int, float]) -> list[Hit]:
    """The k best by the mean of both scaled scores; only they are read."""
    rows, k = sorted(pool), asked.k
    words, meaning, exact = asked.scores(rows, near)
    if not exact:  # all digits where they decide: of the best, and of the ends of the scale
        best = np.argsort(-_fused(words, meaning), kind="stable")[: 2 * k + ENDS]
        rising = np.argsort(meaning)[: np.count_nonzero(~np.isnan(meaning))]
        at = np.unique(np.concatenate([best, rising[:ENDS], rising[-ENDS:]])).tolist()
        told = asked.cosines([rows[i] for i in at])
        meaning[at] = [told.get(rows[i], np.nan) for i in at]
    scores = _fused(words, meaning)
    top = np.argsort(-scores, kind="stable")[:k].tolist()
    items = asked.store._kept.items(asked.conn, [rows[i] for i in top])
    return [
        hit(
            items[rows[i]], pool[rows[i]], float(scores[i]), float(words[i]),
            None if np.isnan(meaning[i]) else float(meaning[i]),
        )
        for i in top
        if rows[i] in items
    ]  # fmt: skip


def _ranked(
    asked: _Asked, ranker: Ranker, pool: dict[int, Span], then: dict[int, Span],
    near: Mapping[int, float], *, whole: bool,
) -> list[Hit]:  # fmt: skip
    """What the ranker chooses among the candidates and their neighbours."""
    store, conn, seen, rows = asked.store, asked.conn, asked.seen, sorted(pool)
    reach, most = (
        getattr(ranker, "reach", 0),
        max(getattr(ranker, "around", len(rows)), 2 * asked.k),
    )
    around: list[int] = []
    if not whole:  # reading and ranking the rest would take longer than finding it did
        words, meaning, _ = asked.scores(rows, near)
        around = [rows[i] for i in np.argsort(-_fused(words, meaning), kind="stable")[:most]]
        kept = {*around, *list(then)[: most // 2]}
        rows = [r for r in rows if r in kept]
        pool = {r: pool[r] for r in rows}
    beside, runs, places = neighbours(conn, rows, reach, seen, whole, around)
    vectors = asked.vectors([*rows, *beside])
    if vectors and asked.vector is not None:
        exact = nearest_passage({r: vectors[r] for r in rows if r in vectors}, asked.vector)
    else:
        exact = asked.cosines(rows)
    by_words = dict(zip(rows, asked.words.at(np.array(rows, np.int64)).tolist(), strict=True))
    told = Candidates(
        candidates(store, conn, pool, beside, by_words, exact, runs, vectors, places),
        vector=asked.vector,
        asked=from_micros(asked.when.valid),
    )
    if not whole:
        share = len(runs) / max(len(pool) + len(beside), 1)
        told.corpus = store._words.corpus(reach, share)
        told.own = store._words.corpus(0, 0.0).frequency
        told.days = lambda: store._days.all(conn, asked.scopes)[1]
        read = store._vectors.passages if vectors else None
        told.sample = store._kept.sample(
            conn, store._words.some(ANCHORS), seen, read, asked.embedder
        )
    return _chosen(ranker, asked.query, told, asked.k)


def _chosen(ranker: Ranker, query: str, candidates: Candidates, k: int) -> list[Hit]:
    """What a ranker chose; it cannot bring in what it was not given."""
    hits = list(ranker(query, candidates, k))
    ids = {c.item.id for c in candidates}
    wrong = [h.item.id for h in hits if h.item.id not in ids]
    twice = len({h.item.id for h in hits}) < len(hits)
    if wrong or twice or len(hits) > k:
        raise UsageError(
            f"the ranker returned {len(hits)} hits for k={k}"
            + (f", among them {wrong[0]!r}, which was no candidate" if wrong else "")
            + (", some of them twice" if twice else "")
        )
    return hits


def _seen_by_words(asked: Asked, n: int, seen: Seen, first: list[int]) -> dict[int, Span]:
    """The n best by words that may be seen; all are scored only if too many of those may not.

    Args:
        asked: The words.
        n: So many.
        seen: Which rows may be seen.
        first: The best n and a quarter; empty where a cube's version is asked.
    """
    for wide in (n + n // 4, 32 * n) if seen.members is None else ():
        rows = first if wide < 32 * n else asked.best(wide)[0].tolist()
        may = seen(rows)
        out = {r: may[r] for r in [r for r in rows if r in may][:n]}
        if len(out) >= n or len(rows) < wide:
            return out
    return _seen_among(asked.all(), n, seen)


def _seen_among(found: tuple[np.ndarray, np.ndarray], n: int, seen: Seen) -> dict[int, Span]:
    """The n best of the rows found that may be seen; goes on down the list until it has them."""
    rows, scores = found
    if seen.members is not None:
        mine = np.isin(rows, np.array(seen.members, np.int64))
        rows, scores = rows[mine], scores[mine]
    out: dict[int, Span] = {}
    step, begin, order = 2 * n, 0, _best_first(rows, scores, 2 * n)
    while begin < len(rows):
        if begin >= len(order):  # too many of the best may not be seen: now all are needed in order
            order = _best_first(rows, scores, len(rows))
        piece = order[begin : begin + step].tolist()
        begin += step
        may = seen(piece)
        for row in piece:
            if row in may and len(out) < n:
                out[row] = may[row]
        if len(out) >= n:
            break
    return out


def _best_first(rows: np.ndarray, scores: np.ndarray, n: int) -> np.ndarray:
    """The n rows of the highest scores; of equal ones those recorded first."""
    if n < len(rows):
        least = np.partition(scores, len(scores) - n)[len(scores) - n]
        able = scores >= least
        rows, scores = rows[able], scores[able]
    return rows[np.lexsort((rows, -scores))][:n]
