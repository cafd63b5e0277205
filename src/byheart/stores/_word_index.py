"""BM25 over the postings of a handle's scopes, kept in memory as they are asked for.

    score(q, d) = sum over t in q of idf(t) * f / (f + k1 * (1 - b + b * length(d) / mean))
    idf(t) = ln(1 + (N - n + 1/2) / (n + 1/2))

N, n and the mean length are the scope's own: scores of one tell nothing of another. `Asked.all`
scores every item that has a word of the query and stands as the documentation; `Asked.best` gives
the same first n without reading the common words through (MaxScore, Turtle and Flood 1995): words
are taken from the weightiest on, and once those that are left could not lift an item over the n-th
best, they are only looked up for the items that are still in question.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from byheart.core.memory import Corpus
from byheart.stores._bm25 import K1, B
from byheart.stores._postings import decode
from byheart.stores._words import query_terms
from byheart.stores._writer import Conn

__all__ = ["STABLE", "Asked", "SegmentScores"]

STABLE = 32_768
"""Segments of so many items are never merged again."""

KEEP = 128 * 2**20
"""Bytes of postings that are kept in memory."""

PLAIN = 400_000
"""Items and postings up to which all are scored: skipping costs more than it saves."""

WORTH = 5_000
"""Postings left above which it is worth finding out whether they can be skipped."""

MARGIN = 1e-9
"""Sums taken in another order differ by far less than this part of them."""


@dataclass(slots=True)
class _Term:
    """Postings of one term over all segments.

    Args:
        docs: `[n]` places of items, ascending.
        counts: `[n]` how often each has it; None if once each.
        lengths: `[n]` words of each.
        most: The largest count.
        least: The smallest length divided by the count.
        old: Places and counts in stable segments alone.
        upto: So many stable segments are in `old`.
        seen: For which state of the segments `docs` holds.
    """

    docs: np.ndarray
    counts: np.ndarray | None
    lengths: np.ndarray
    most: int
    least: float
    old: tuple[np.ndarray, np.ndarray | None]
    upto: int
    seen: int

    @property
    def bytes(self) -> int:
        arrays = (self.docs, self.lengths, self.counts)
        own = 0 if self.old[0] is self.docs else self.old[0].nbytes
        return 200 + own + sum(a.nbytes for a in arrays if a is not None)


def _joined(
    parts: Sequence[tuple[np.ndarray, np.ndarray | None]],
) -> tuple[np.ndarray, np.ndarray | None]:
    """Postings one after the other."""
    parts = [p for p in parts if len(p[0])]
    if not parts:
        return np.zeros(0, np.uint32), None
    if len(parts) == 1:
        return parts[0]
    docs = np.concatenate([d for d, _ in parts])
    if all(c is None for _, c in parts):
        return docs, None
    return docs, np.concatenate([np.ones(len(d), np.uint8) if c is None else c for d, c in parts])


class SegmentScores:
    """Segments, lengths and postings of a handle's scopes in this process's memory."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """After an erasure, or for other scopes: begin anew."""
        self._of: tuple[int, ...] = ()
        self._stable: list[tuple[int, int]] = []
        self._young: list[tuple[int, int]] = []
        self._known: set[int] = set()
        self._state = 0
        self._n_stable = 0
        self.rows = np.zeros(0, np.int64)
        self.lengths = np.zeros(0, np.int32)
        self._order: np.ndarray | None = None
        self.n, self.mean = 0, 1e-9
        self._terms: OrderedDict[str, _Term] = OrderedDict()
        self._bytes = 0
        self._sums = np.zeros(0)
        self._last: Asked | None = None

    # ---------------------------------------------------------------- what is in memory

    def refresh(self, conn: Conn, scopes: tuple[int, ...]) -> None:
        """Take in segments that came, drop those that were merged."""
        if scopes != self._of:
            self.forget()
            self._of = scopes
        marks = ",".join(map(str, scopes)) or "NULL"
        told = conn.execute(
            f"SELECT id, n FROM segments WHERE scope IN ({marks}) ORDER BY first, id"
        ).fetchall()
        if {i for i, _ in told} == self._known:
            return
        self._state += 1
        self._known = {i for i, _ in told}
        have = {i for i, _ in self._stable}
        if not have <= self._known:  # only an erasure does that, and then all is forgotten
            self._stable, self._n_stable, have = [], 0, set()
            self._terms.clear()
            self._bytes = 0
        fresh = [(i, n) for i, n in told if n >= STABLE and i not in have]
        young = [(i, n) for i, n in told if n < STABLE]
        rows, lengths = [self.rows[: self._n_stable]], [self.lengths[: self._n_stable]]
        for id, n in (*fresh, *young):
            (data,) = conn.execute("SELECT docs FROM segments WHERE id = ?", (id,)).fetchone()
            rows.append(np.frombuffer(data, "<i8", n))
            lengths.append(np.frombuffer(data, "<i4", n, 8 * n))
        self.rows, self.lengths = np.concatenate(rows), np.concatenate(lengths)
        self._stable += fresh
        self._young = young
        self._n_stable += sum(n for _, n in fresh)
        rising = bool((self.rows[1:] > self.rows[:-1]).all())
        self._order = None if rising else np.argsort(self.rows, kind="stable")
        there = self.lengths >= 0
        self.n = int(np.count_nonzero(there))
        self.mean = max(float(self.lengths[there].mean()), 1e-9) if self.n else 1e-9
        self._sums = np.zeros(len(self.rows))

    def places(self, rows: np.ndarray) -> np.ndarray:
        """Places of rows; -1 for what is not indexed."""
        if not len(self.rows):
            return np.full(len(rows), -1)
        at = np.searchsorted(self.rows, rows, sorter=self._order)
        at = np.minimum(at, len(self.rows) - 1)
        at = at if self._order is None else self._order[at]
        return np.where(self.rows[at] == rows, at, -1)

    def term(self, conn: Conn, name: str) -> _Term:
        """The postings of a term, read where they are not kept yet."""
        kept = self._terms.get(name)
        if kept is not None and kept.seen == self._state:
            self._terms.move_to_end(name)
            return kept
        upto = kept.upto if kept is not None else 0
        old = [kept.old] if kept is not None else []
        found = self._read(conn, name, upto)
        stable = _joined([*old, *(found[i] for i, _ in self._stable[upto:] if i in found)])
        docs, counts = _joined([stable, *(found[i] for i, _ in self._young if i in found)])
        if len(docs):
            lengths = self.lengths[docs]
            most = 1 if counts is None else int(counts.max())
            least = float((lengths if counts is None else lengths / counts).min())
        else:
            lengths, most, least = np.zeros(0, np.int32), 1, 0.0
        made = _Term(docs, counts, lengths, most, least, stable, len(self._stable), self._state)
        self._bytes += made.bytes - (kept.bytes if kept is not None else 0)
        self._terms[name] = made
        self._terms.move_to_end(name)
        while self._bytes > KEEP and len(self._terms) > 1:
            self._bytes -= self._terms.popitem(last=False)[1].bytes
        return made

    def _read(
        self, conn: Conn, name: str, upto: int
    ) -> dict[int, tuple[np.ndarray, np.ndarray | None]]:
        """Postings by segment, at the places that their items have here."""
        starts: dict[int, int] = {}
        at = sum(n for _, n in self._stable[:upto])
        for id, n in (*self._stable[upto:], *self._young):
            starts[id] = at
            at += n
        marks = ",".join(map(str, starts)) or "NULL"
        out = {}
        for id, data in conn.execute(
            f"SELECT segment, data FROM postings WHERE segment IN ({marks}) AND term = ?", (name,)
        ):
            docs, counts = decode(data)
            out[id] = docs + np.uint32(starts[id]), counts
        return out

    # ---------------------------------------------------------------- what is asked

    def ask(self, conn: Conn, scopes: tuple[int, ...], query: str) -> Asked:
        """The words of a query, ready to score."""
        self.refresh(conn, scopes)
        terms = {t: self.term(conn, t) for t in query_terms(query)} if self.n else {}
        self._last = Asked(self, {t: found for t, found in terms.items() if len(found.docs)})
        return self._last

    def scores(
        self, conn: Conn, scopes: tuple[int, ...], query: str
    ) -> tuple[np.ndarray, np.ndarray]:
        """Rows that have a word of the query, `[N]` in ascending order, and their BM25 scores."""
        return self.ask(conn, scopes, query).all()

    def some(self, n: int) -> list[int]:
        """About n rows, evenly out of all; the same ones while the scope does not double."""
        size = 1 << max(len(self.rows).bit_length() - 1, 0)
        part = slice(0, size, max(size // n, 1))
        return np.sort(self.rows[part][self.lengths[part] >= 0]).tolist()

    def corpus(self, reach: int, share: float) -> Corpus:
        """Statistics of the scopes for the words of the query that was asked last.

        Args:
            reach: Neighbours on either side that lend their words.
            share: Of the items that have neighbours, 0 to 1; those before and after in the order
                of recording stand for them.
        """
        having = {}
        for name, term in (self._last.terms if self._last is not None else {}).items():
            alone = len(term.docs)
            wide = _reached(term.docs, reach, len(self.rows)) if share > 0 and reach > 0 else alone
            having[name] = round((1 - share) * alone + share * wide)
        return Corpus(self.n, self.mean if self.n else 0.0, having)


def _reached(docs: np.ndarray, reach: int, n: int) -> int:
    """How many places lie within `reach` of one of the docs.

    >>> _reached(np.array([0, 3, 9], np.uint32), 1, 10)
    7
    """
    if not len(docs):
        return 0
    gaps = np.minimum(np.diff(docs), 2 * reach + 1).sum()
    return int(gaps) + min(reach, int(docs[0])) + 1 + min(reach, n - 1 - int(docs[-1]))


class Asked:
    """A query's words over the scopes.

    Args:
        index: Lengths and rows.
        terms: Those that some item has, in the order of the query.
    """

    def __init__(self, index: SegmentScores, terms: dict[str, _Term]) -> None:
        self.index, self.terms = index, terms
        n = index.n
        self._idf = {t: np.log1p((n - len(v.docs) + 0.5) / (len(v.docs) + 0.5)) for t, v in terms.items()}  # fmt: skip

    def _part(self, name: str, at: np.ndarray | slice) -> np.ndarray:
        """What a term adds to the score of some of its items."""
        term, steep = self.terms[name], K1 * B / self.index.mean
        f = 1.0 if term.counts is None else term.counts[at].astype(np.float64)
        out = term.lengths[at] * steep
        out += f + K1 * (1 - B)
        return np.divide(self._idf[name] * f, out, out=out)

    def _bound(self, name: str) -> float:
        """No item gets more from this term: its largest count with its smallest length to count."""
        term, steep = self.terms[name], K1 * B / self.index.mean
        return float(self._idf[name] / (1 + K1 * (1 - B) / term.most + steep * term.least))

    def _at(self, places: np.ndarray, names: Iterable[str] | None = None) -> np.ndarray:
        """Scores of items by place, summed in the order of the query."""
        total = np.zeros(len(places))
        for name in self.terms if names is None else names:
            docs = self.terms[name].docs
            at = np.minimum(np.searchsorted(docs, places), len(docs) - 1)
            has = np.flatnonzero(docs[at] == places)
            total[has] += self._part(name, at[has])
        return total

    def all(self) -> tuple[np.ndarray, np.ndarray]:
        """Rows that have a word of the query, in ascending order, and their scores."""
        total = np.zeros(len(self.index.rows))
        for name, term in self.terms.items():
            total[term.docs] += self._part(name, slice(None))
        hit = np.flatnonzero(total > 0)  # of truth values: three times as fast as of numbers
        rows = self.index.rows[hit]
        order = slice(None) if self.index._order is None else np.argsort(rows)
        return rows[order], total[hit][order]

    def at(self, rows: np.ndarray) -> np.ndarray:
        """Scores of some rows, in any order; 0 for those that have no word of the query."""
        places = self.index.places(rows)
        there = np.flatnonzero(places >= 0)
        order = there[np.argsort(places[there], kind="stable")]
        out = np.zeros(len(rows))
        out[order] = self._at(places[order].astype(np.uint32))
        return out

    def best(self, n: int) -> tuple[np.ndarray, np.ndarray]:
        """The first n of `all` by score, best first; of equal ones those recorded first."""
        if len(self.index.rows) + sum(len(t.docs) for t in self.terms.values()) < PLAIN:
            rows, scores = self.all()
        else:
            places = np.sort(self._able(n))
            rows, scores = self.index.rows[places], self._at(places)
        if n < len(rows):
            least = np.partition(scores, len(scores) - n)[len(scores) - n]
            rows, scores = rows[scores >= least], scores[scores >= least]
        order = np.lexsort((rows, -scores))[:n]
        return rows[order], scores[order]

    def _able(self, n: int) -> np.ndarray:
        """Places of a few items, among which the best n are."""
        bounds = {t: self._bound(t) for t in self.terms}
        names = sorted(self.terms, key=lambda t: -bounds[t])
        sums, met = self.index._sums, np.zeros(0, np.uint32)
        least, left = 0.0, 0.0
        try:
            for i, name in enumerate(names):
                docs = self.terms[name].docs
                met = np.concatenate([met, docs[sums[docs] == 0]])
                sums[docs] += self._part(name, slice(None))
                left = sum(bounds[t] for t in names[i + 1 :])
                rest = sum(len(self.terms[t].docs) for t in names[i + 1 :])
                if len(met) >= n and rest > WORTH:
                    least = np.partition(sums[met], len(met) - n)[len(met) - n]
                    if left * (1 + MARGIN) < least:
                        break
            if len(met) <= n:
                return met
            if left == 0.0:
                least = np.partition(sums[met], len(met) - n)[len(met) - n]
            return met[sums[met] + left >= least * (1 - MARGIN)]
        finally:
            sums[met] = 0.0
