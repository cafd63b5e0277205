"""Ranks a memory's items as `NoteSearch` ranks notes; what `byheart.Memory.recall` uses by default.

A small scope is ranked whole. Of a large one the store hands over candidates (the best by words and
by meaning, what was said at a time that the query names, and neighbours) with the statistics of
the whole, so that a candidate scores about what it would score among all:

- words weigh by the number of items that have them in the whole, neighbours' words included;
- the least score by words is 0, since some item has none of them;
- the least cosine is taken from a sample of the whole, carried on to its size as if normal.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from datetime import date, datetime
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from byheart.core.item import Item
from byheart.core.memory import Candidate, Candidates, Corpus, Hit, Sample
from byheart.core.spoken import spoken
from byheart.core.words import stemmer, words
from byheart.notes import search_note
from byheart.notes.search import NoteSearch, Weights
from byheart.notes.search_note import Note, Parsed, parse
from byheart.notes.time_expressions import find_times
from byheart.notes.time_rules import month_name

__all__ = ["NoteRanker", "note_of", "sentences"]

_EPOCH = date(1970, 1, 1).toordinal()
LONGEST = 50_000
"""Characters of an item that are ranked; what stands behind them is found by the store's index."""


def note_of(item: Item, order: int = 0, run: int | None = None) -> Note:
    """An item as a note: speaker, day (of `valid_from`), thread (or run of candidates), captions."""
    speaker, text, attached = spoken(item.content, item.labels)
    session = run if run is not None else item.labels.get("thread")
    said = item.valid_from or item.recorded_at
    return Note(order, text[:LONGEST], speaker, said, _hashable(session), order, attached)


def _hashable(label: Any) -> Any:
    return label if label is None or isinstance(label, int | str) else str(label)


def sentences(item: Item) -> list[str]:
    """What is embedded of an item: each sentence and caption, its speaker in front."""
    return note_of(item).passages()


class NoteRanker:
    """Ranks candidates of a memory by words, meaning, neighbours, speakers and times.

    Args:
        weights: How much each part counts.
        stem: Word to stem; as the store's index stems, if left out.
        whole: Scopes up to so many items are ranked whole.
        around: Of larger ones so many of the best candidates are ranked, with their neighbours.

    >>> from datetime import datetime
    >>> said = [Candidate(Item(t, id=t[:5], valid_from=datetime(2023, 5, day)), 0.0, order=day)
    ...         for day, t in [(1, "I moved."), (9, "Who moved?"), (8, "My cat sleeps.")]]
    >>> [hit.item.content for hit in NoteRanker()("Who moved on 1 May 2023?", said, 2)]
    ['I moved.', 'Who moved?']
    """

    vectors = True
    passages = staticmethod(sentences)

    def __init__(
        self,
        weights: Weights | None = None,
        *,
        stem: Callable[[str], str] | None = None,
        whole: int = 1000,
        around: int = 32,
    ) -> None:
        self.weights = weights or Weights()
        self.reach = self.weights.reach
        self.whole, self.around = whole, around
        self._stem = stem or stemmer()
        self._built: _Built | None = None
        self._sampled: tuple[Sample, NoteSearch] | None = None
        self._parsed = lru_cache(maxsize=8192)(self._parse)
        self._name = lru_cache(maxsize=1024)(self._words_of_name)

    def forget(self) -> None:
        """Keep nothing of what was seen: something was erased."""
        self._built = self._sampled = None
        self._parsed.cache_clear()
        self._name.cache_clear()
        search_note._head.cache_clear()

    def times(self, query: str, asked: datetime | None = None) -> list[tuple[date, date]]:
        """First and last day of every time that a query names."""
        return [(t.first, t.last) for t in find_times(query, asked)]

    def __call__(self, query: str, candidates: Sequence[Candidate], k: int) -> list[Hit]:
        """The best k of the candidates, best first."""
        if not candidates:
            return []
        told = candidates if isinstance(candidates, Candidates) else Candidates(candidates)
        placed, search = self._search(query, told)
        corpus = None if told.corpus is None else self._corpus(query, told, search)
        scores = search.scores(query, asked=told.asked, corpus=corpus, vector=told.vector)
        own = np.array([c.words for c in placed])
        able = (scores.words > 0) | (scores.meaning > 0) | (scores.time > 0) | (own > 0)
        at = np.flatnonzero(able)
        best = at[np.argsort(-scores.total[at], kind="stable")][:k]
        return [
            Hit(c.item, float(scores.total[i]), c.state, c.words, c.meaning)
            for i, c in ((i, placed[i]) for i in best)
        ]

    def _parse(
        self, text: str, speaker: str, attached: tuple[str, ...], day: date | None
    ) -> Parsed:
        return parse(Note(0, text, speaker, day, attached=attached), self._stem)

    def _search(self, query: str, told: Candidates) -> tuple[list[Candidate], NoteSearch]:
        """Candidates side by side, and they as notes; kept while a scope that is ranked whole stays."""
        embeds, whole = told.vector is not None, told.corpus is None
        of: list[list[Any]] = [[c.item for c in told], [c.vectors for c in told]]
        runs = [embeds, *(c.run for c in told)]
        kept = self._built if whole else None
        if kept is not None and kept.runs == runs and _identical(kept.of, of):
            return [told[i] for i in kept.order], kept.search
        order = _side_by_side(told)
        placed = [told[i] for i in order]
        notes = [note_of(c.item, i, c.run) for i, c in enumerate(placed)]
        search = NoteSearch(
            encode=_unasked if embeds else None, weights=self.weights, stem=self._stem
        )
        nothing = np.zeros((0, 0), np.float32)
        search._load(
            notes,
            [nothing if c.vectors is None or not embeds else c.vectors for c in placed],
            [self._known(n) for n in notes],
            None if whole else words(query, self._stem),
        )
        if whole:
            self._built = _Built(of, runs, order, search)
        return placed, search

    def _known(self, note: Note) -> Parsed:
        # long texts are not kept, so that the bound on their number bounds the memory too
        work = self._parsed if len(note.text) < 4000 else self._parse
        day = note.time.date() if isinstance(note.time, datetime) else note.time
        return work(note.text, note.speaker, note.attached, day)

    def _corpus(self, query: str, told: Candidates, search: NoteSearch) -> Corpus:
        """Statistics of the whole as `NoteSearch` would count them, from what the store counts."""
        corpus, sample = told.corpus, told.sample
        assert corpus is not None
        n, having = max(corpus.notes, 1), dict(corpus.frequency)
        sought = set(words(query, self._stem))
        if sample is not None and sample.speakers:
            wide = _width(sample.runs, self.reach)
            said = [self._name(s) for s in sample.speakers]
            for term in sought & set().union(*said):
                # speakers' names are not borrowed from neighbours, what is said of them is
                named = sum(term in s for s in said) / len(said)
                told_of = max(told.own.get(term, 0) / n - named, 0.0)
                having[term] = round(n * (1 - (1 - named) * (1 - told_of) ** wide))
        if told.days is not None and (dated := sought & _date_words(self._stem)):
            days = told.days()
            for term in dated:
                share = _day_count(days, term, self._stem) / n
                text = having.get(term, 0)
                having[term] = round(text + share * (n - text))
        meaning = None
        if sample is not None and sample.vectors and told.vector is not None:
            meaning = _least(self._near(sample, told.vector), n)
        # the index holds speakers, but no days
        length = corpus.length + _day_words(np.array(search._state.days))
        return Corpus(corpus.notes, length, having, meaning)

    def _words_of_name(self, speaker: str) -> frozenset[str]:
        return frozenset(words(speaker, self._stem))

    def _near(self, sample: Sample, vector: np.ndarray) -> np.ndarray:
        """`[S]` cosine of the items of a sample with the query, as `NoteSearch` takes it."""
        if self._sampled is None or self._sampled[0] is not sample:
            search = NoteSearch(encode=_unasked, weights=self.weights, stem=self._stem)
            notes = [Note(i, "", session=run, order=i) for i, run in enumerate(sample.runs)]
            search._load(notes, sample.vectors)
            self._sampled = sample, search
        return self._sampled[1].scores("", vector=vector).meaning


def _width(runs: Sequence[int | None], reach: int) -> float:
    """Of how many notes the words count for one, itself included, on average."""
    total = 0
    for i, run in enumerate(runs):
        near = runs[max(0, i - reach) : i + reach + 1]
        total += 1 if run is None else sum(r == run for r in near)
    return total / max(len(runs), 1)


def _least(values: np.ndarray, n: int) -> float:
    """About the least of n values, of which some are known: theirs, carried on as if normal."""
    gap = _normal_least(n) - _normal_least(len(values))
    return float(values.min() - values.std() * max(gap, 0.0))


def _normal_least(n: int) -> float:
    """How many deviations below the mean the least of n normal values is expected (Fisher 1928)."""
    if n < 3:
        return 0.0
    root = math.sqrt(2 * math.log(n))
    return root - (math.log(math.log(n)) + math.log(4 * math.pi)) / (2 * root)


class _Built(NamedTuple):
    """Candidates as notes, and of which objects they were made."""

    of: list[list[Any]]
    runs: list[int | None]
    order: list[int]
    search: NoteSearch


def _identical(a: list[list[Any]], b: list[list[Any]]) -> bool:
    """Whether lists hold the very same objects."""
    return all(len(x) == len(y) and all(map(operator.is_, x, y)) for x, y in zip(a, b, strict=True))


def _unasked(texts: list[str]) -> np.ndarray:
    raise AssertionError("the store has embedded the query")


def _side_by_side(candidates: Sequence[Candidate]) -> list[int]:
    """Places of candidates, those of one run together, runs in the order of their first."""
    first: dict[object, int] = {}
    keys = []
    for c in candidates:
        run: object = c.run if c.run is not None else (c.item.labels.get("thread"),)
        group = c.order if run == (None,) else first.setdefault(str(run), c.order)
        keys.append((group, c.order))
    return sorted(range(len(keys)), key=keys.__getitem__)


@lru_cache(maxsize=8)
def _date_words(stem: Callable[[str], str]) -> frozenset[str]:
    """Words of which the day of an item may be made."""
    months = [words(month_name(m), stem) for m in range(1, 13)]
    return frozenset([w for m in months for w in m] + [str(n) for n in range(1, 10_000)])


def _months(days: np.ndarray) -> np.ndarray:
    """Months since 1970 of days since the year 1."""
    return (days - _EPOCH).astype("datetime64[D]").astype("datetime64[M]")


def _day_words(days: np.ndarray) -> float:
    """Mean number of words of the days of notes; 0 stands for no day."""
    may = _months(days).astype(int) % 12 == 4  # the name of the month is a stop word
    return float(np.mean((days > 0) * (3 - may))) if len(days) else 0.0


def _day_count(days: np.ndarray, term: str, stem: Callable[[str], str]) -> int:
    """How many of the days have a term in "8 may 2023"."""
    dates, months = (days - _EPOCH).astype("datetime64[D]"), _months(days)
    if term.isdigit():
        year = dates.astype("datetime64[Y]").astype(int) + 1970
        of_month = (dates - months).astype(int) + 1
        return int(np.count_nonzero((year == int(term)) | (of_month == int(term))))
    number = months.astype(int) % 12 + 1
    named = [m for m in range(1, 13) if term in words(month_name(m), stem)]
    return int(np.count_nonzero(np.isin(number, named)))
