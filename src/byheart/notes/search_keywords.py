"""BM25 over notes in their order, where a note also owns a part of its neighbours' words.

An answer seldom repeats the words of the question it answers: the words stand in the turn before.
So the frequency of term t in note i is taken over the notes around it in the same session,

    f(t, i) = own(t, i) + sum over 1 <= |j - i| <= reach of decay^|j - i| * own(t, j)

and BM25 (Lucene's form) is computed on these frequencies:

    score(q, i) = sum over t in q of idf(t) * f / (f + k1 * (1 - b + b * length(i) / mean length))
    idf(t) = ln(1 + (N - n + 1/2) / (n + 1/2)),  n = number of notes with f(t, i) > 0

Words of the *head* (speaker, date) count for their own note only. With reach 0 it is plain BM25.
Only a note's own counts are kept, so adding a note costs its words; spreading happens at the query.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from byheart.core.memory import Corpus

__all__ = ["Corpus", "KeywordIndex", "spread"]


def spread(values: np.ndarray, session: np.ndarray, reach: int, decay: float) -> np.ndarray:
    """Each value plus its neighbours' of the same session, decay^distance each.

    Args:
        values: `[N]` one value a note, in their order.
        session: `[N]` integer label of the session; notes labelled -1 have no neighbours.
        reach: Neighbours on either side.
        decay: Weight of the next one.
    """
    out = values.astype(np.float64, copy=True)
    for step in range(1, min(reach, len(values) - 1) + 1):
        together = (session[step:] == session[:-step]) & (session[step:] >= 0)
        out[step:] += decay**step * values[:-step] * together
        out[:-step] += decay**step * values[step:] * together
    return out


class KeywordIndex:
    """Word counts of notes that can be appended to; scores all notes against a query.

    Args:
        k1: Saturation of a word's frequency (Lucene's default).
        b: Share of the length normalisation (Lucene's default).
        reach: How many neighbours on either side lend their words.
        decay: What share of its words the next neighbour lends.
    """

    def __init__(
        self, *, k1: float = 1.2, b: float = 0.75, reach: int = 3, decay: float = 0.5
    ) -> None:
        self.k1, self.b, self.reach, self.decay = k1, b, reach, decay
        self._posts: dict[str, tuple[array[int], array[float]]] = {}
        self._heads: dict[str, tuple[array[int], array[float]]] = {}
        self._body, self._head = array("d"), array("d")

    def __len__(self) -> int:
        return len(self._body)

    def append(self, body: Sequence[str], head: Sequence[str] = ()) -> None:
        """Add the next note: its words, and those that it does not share with neighbours."""
        self.add(Counter(body), Counter(head), (len(body), len(head)))

    def add(
        self,
        body: Mapping[str, int],
        head: Mapping[str, int],
        sizes: tuple[int, int],
        terms: Sequence[str] | None = None,
    ) -> None:
        """The same from counts and their sums; of `terms` alone, where these are given."""
        i = len(self._body)
        for index, counts in ((self._posts, body), (self._heads, head)):
            for term in counts if terms is None else terms:
                count = counts.get(term)
                if count:
                    at, of = index.setdefault(term, (array("q"), array("d")))
                    at.append(i)
                    of.append(count)
        self._body.append(sizes[0])
        self._head.append(sizes[1])

    def _dense(self, index: dict[str, tuple[array[int], array[float]]], term: str) -> np.ndarray:
        out = np.zeros(len(self))
        if term in index:
            at, of = index[term]
            out[np.array(at)] = of
        return out

    def scores(
        self, query: Sequence[str], session: np.ndarray, corpus: Corpus | None = None
    ) -> np.ndarray:
        """`[N]` BM25 score of every note; a word that stands twice in the query counts twice.

        Args:
            query: Words, as those of the notes were made.
            session: `[N]` integer label of each note's session, -1 for none.
            corpus: Statistics to use in place of those of the notes held here.
        """
        n = len(self)
        out = np.zeros(n)
        if not n:
            return out
        length = spread(np.array(self._body), session, self.reach, self.decay)
        length += np.array(self._head)
        mean = length.mean() if corpus is None else corpus.length * length.mean() / self._own_mean()
        norm = self.k1 * (1 - self.b + self.b * length / mean) if mean > 0 else self.k1
        for term, times in Counter(query).items():
            if term not in self._posts and term not in self._heads:
                continue
            f = spread(self._dense(self._posts, term), session, self.reach, self.decay)
            f += self._dense(self._heads, term)
            notes, having = n, int(np.count_nonzero(f))
            if corpus is not None:
                notes, having = (
                    max(corpus.notes, 1),
                    min(corpus.frequency.get(term, 0), corpus.notes),
                )
            idf = np.log1p((notes - having + 0.5) / (having + 0.5))
            out += times * idf * f / (f + norm)
        return out

    def _own_mean(self) -> float:
        mean = float(np.mean(self._body) + np.mean(self._head))
        return mean or 1.0
