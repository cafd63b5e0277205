"""Which notes answer a question: words, meaning and time, without a language model.

A note is one turn of a conversation or one thing written down. Its score is

    score = ((scaled(words) + scaled(meaning)) / 2 + time) * (1 - asking / 5)

- *words*: BM25 on stemmed words; a note owns half of its neighbour's words, a quarter of the
  next one's, an eighth of the third's (`byheart.notes.search_keywords`), because the answer seldom
  repeats the words of the question before it; speaker and date are words of their note alone;
- *meaning*: the mean of two cosines with the query, of the nearest single sentence of the note
  (with its speaker in front), and of the note's mean sentence blended with its neighbours' by the
  same halving weights;
- *time*: a quarter where a day, month or year named in the query meets the day the note was
  said or a time expression in it, resolved against that day (`byheart.notes.time_expressions`);
- *asking*: the share of the note's sentences that are questions: what is asked is not yet told;
- scaled(x) = (x - min) / (max - min) over the notes.

The weights are the plainest there are (equal shares, halving, Lucene's k1 and b) and lie on flat
optima; docs/memory/retrieval.md has what each part is worth, with intervals, and the limits.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

import numpy as np

from byheart.core.errors import UsageError
from byheart.core.memory import Corpus
from byheart.core.words import stemmer, words
from byheart.notes.search_keywords import KeywordIndex, spread
from byheart.notes.search_note import Note, Parsed, parse
from byheart.notes.time_expressions import find_times

__all__ = ["Encoder", "Match", "Note", "NoteSearch", "Scores", "Weights"]

Encoder = Callable[[list[str]], np.ndarray]
"""Texts to `[N, D]` float32 rows of length 1."""


@dataclass(frozen=True)
class Weights:
    """How much each part counts; the defaults are meant to be left alone.

    Args:
        meaning: Of the encoder's score beside the words' (1 is half and half).
        context: Of the blended neighbourhood beside the nearest sentence (1 is half and half).
        time: Added where times meet.
        asking: Share taken off a note that only asks; less where it tells something too.
        speaker: Share added to notes whose speaker the query names. None: 0.3 without an encoder,
            else 0, because the sentences that are embedded carry their speaker already.
        reach: Neighbours on either side that lend.
        decay: Share that the next neighbour lends.
        k1: BM25's saturation.
        b: BM25's length normalisation.
    """

    meaning: float = 1.0
    context: float = 1.0
    time: float = 0.25
    asking: float = 0.2
    speaker: float | None = None
    reach: int = 3
    decay: float = 0.5
    k1: float = 1.2
    b: float = 0.75

    def __post_init__(self) -> None:
        for name in ("meaning", "context", "time", "reach", "k1"):
            if getattr(self, name) < 0:
                raise UsageError(f"{name} must not be negative, got {getattr(self, name)}")
        for name in ("asking", "decay", "b"):
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"{name} must lie in 0..1, got {getattr(self, name)}")


@dataclass(frozen=True)
class Scores:
    """What every note scored, `[N]` each, in the order of `NoteSearch.notes`.

    Args:
        total: What is ranked by.
        words: BM25, unscaled.
        meaning: Mean cosine, unscaled; zeros without an encoder.
        time: 1 where the query's time is met, else 0.
    """

    total: np.ndarray
    words: np.ndarray
    meaning: np.ndarray
    time: np.ndarray


@dataclass(frozen=True)
class Match:
    """A note that was found.

    Args:
        note: The note.
        score: Its total; comparable within one search only.
        words: Its BM25 score.
        meaning: Its mean cosine with the query.
        time: Whether it meets a time that the query names.
    """

    note: Note
    score: float
    words: float
    meaning: float
    time: bool


class _Rows:
    """Float32 rows that can be appended to without copying all of them each time."""

    def __init__(self) -> None:
        self._room = np.zeros((64, 0), dtype=np.float32)
        self.n = 0

    @property
    def width(self) -> int:
        """Numbers in a row; 0 while there were only blank ones."""
        return int(self._room.shape[1])

    def append(self, rows: np.ndarray) -> None:
        """Add rows; one of no numbers is blank, that is, zeros of whatever width there is."""
        width = self.width or rows.shape[1]
        if self.n + len(rows) > len(self._room) or width != self.width:
            wider = np.zeros((max(2 * (self.n + len(rows)), 64), width), dtype=np.float32)
            wider[: self.n, : self.width] = self._room[: self.n]
            self._room = wider
        if rows.shape[1]:
            self._room[self.n : self.n + len(rows)] = rows
        self.n += len(rows)

    def all(self) -> np.ndarray:
        return self._room[: self.n]


@dataclass
class _State:
    """What is derived from the notes in their order."""

    notes: list[Note] = field(default_factory=list)
    session: list[int] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    sentences: _Rows = field(default_factory=_Rows)
    middles: _Rows = field(default_factory=_Rows)
    asking: list[float] = field(default_factory=list)
    days: list[int] = field(default_factory=list)
    times: list[tuple[int, int, int]] = field(default_factory=list)
    vectors: list[np.ndarray] = field(default_factory=list)


class NoteSearch:
    """Ranks notes for a question; notes can be added and removed.

    Args:
        notes: Notes to begin with.
        encode: Texts to unit vectors, such as `byheart.core.minilm.MiniLM()`; without it
            words, neighbours, speakers and times remain.
        weights: How much each part counts.
        stem: Word to stem; Snowball's English stemmer if left out.
        vectors: For each note the `[P, D]` vectors of `note.passages()`, where they are kept;
            then nothing is embedded but the query.

    >>> from datetime import date
    >>> said = [Note(1, "What did you do last week?", "Ann", date(2023, 5, 8), "s1"),
    ...         Note(2, "I learned to paint.", "Bob", date(2023, 5, 8), "s1"),
    ...         Note(3, "My cat sleeps.", "Ann", date(2023, 6, 2), "s2")]
    >>> [m.note.id for m in NoteSearch(said).search("What did Bob do in May 2023?", k=2)]
    [2, 1]
    """

    def __init__(
        self,
        notes: Iterable[Note] = (),
        *,
        encode: Encoder | None = None,
        weights: Weights | None = None,
        stem: Callable[[str], str] | None = None,
        vectors: Sequence[np.ndarray] | None = None,
    ) -> None:
        self.encode = encode
        self.weights = weights or Weights()
        self.stem = stem or stemmer()
        self._sessions: dict[Hashable, int] = {}
        self._ids: set[Hashable] = set()
        self._reset()
        self.add(notes, vectors=vectors)

    def _reset(self) -> None:
        w = self.weights
        self._state = _State()
        self._index = KeywordIndex(k1=w.k1, b=w.b, reach=w.reach, decay=w.decay)
        self._blend: np.ndarray = np.zeros(0)

    @property
    def notes(self) -> list[Note]:
        """The notes in their order."""
        return list(self._state.notes)

    def __len__(self) -> int:
        return len(self._state.notes)

    def vectors(self) -> list[np.ndarray]:
        """The `[P, D]` vectors of each note's passages, in the order of `notes`, to be kept."""
        return list(self._state.vectors)

    def add(self, notes: Iterable[Note], *, vectors: Sequence[np.ndarray] | None = None) -> None:
        """Add notes; those that belong at the end cost only themselves.

        Raises:
            UsageError: An id is there already, or the vectors do not fit. Nothing was added then.
        """
        fresh = list(notes)
        if not fresh:
            return
        seen = set(self._ids)
        for note in fresh:
            if note.id in seen:
                raise UsageError(f"a note with id {note.id!r} is there already")
            seen.add(note.id)
        rows = self._embedded(fresh, vectors)
        pairs = sorted(zip(fresh, rows, strict=True), key=lambda p: p[0].order)
        old = self._state
        if old.notes and pairs[0][0].order < old.notes[-1].order:
            pairs = sorted(
                [*zip(old.notes, old.vectors, strict=True), *pairs], key=lambda p: p[0].order
            )
            self._reset()
        self._ids = seen
        self._load([n for n, _ in pairs], [v for _, v in pairs])

    def remove(self, ids: Iterable[Hashable]) -> None:
        """Take notes out; nothing of them remains in any score.

        Raises:
            UsageError: There is no such note. Nothing was removed then.
        """
        gone = set(ids)
        if unknown := gone - self._ids:
            raise UsageError(f"there is no note with id {next(iter(unknown))!r}")
        kept = [
            (n, v)
            for n, v in zip(self._state.notes, self._state.vectors, strict=True)
            if n.id not in gone
        ]
        self._reset()
        self._ids -= gone
        self._load([n for n, _ in kept], [v for _, v in kept])

    def _embedded(
        self, notes: list[Note], vectors: Sequence[np.ndarray] | None
    ) -> list[np.ndarray]:
        if self.encode is None:
            if vectors is not None:
                raise UsageError("vectors were given, but no encoder for the query")
            return [np.zeros((0, 0), np.float32)] * len(notes)
        texts = [n.passages() for n in notes]
        if vectors is None:
            flat = self._encoded([p for t in texts for p in t])
            ends = np.cumsum([len(t) for t in texts])[:-1]
            vectors = np.split(flat, ends)
        if len(vectors) != len(notes):
            raise UsageError(f"{len(vectors)} arrays of vectors for {len(notes)} notes")
        width = self._state.sentences.width
        out = []
        for note, text, rows in zip(notes, texts, vectors, strict=True):
            rows = np.asarray(rows, dtype=np.float32)
            if len(rows) != len(text) or rows.ndim != 2:
                raise UsageError(
                    f"note {note.id!r} has {len(text)} passages, its vectors are {rows.shape}"
                )
            width = width or rows.shape[1]
            if len(rows) and rows.shape[1] != width:
                raise UsageError(
                    f"vectors of {rows.shape[1]} and {width} numbers cannot be compared: "
                    "they come from different encoders; embed all notes with one"
                )
            out.append(rows)
        return out

    def _encoded(self, texts: list[str]) -> np.ndarray:
        assert self.encode is not None
        rows = np.asarray(self.encode(texts), dtype=np.float32) if texts else None
        if rows is None:
            return np.zeros((0, 0), np.float32)
        if rows.ndim != 2 or len(rows) != len(texts):
            raise UsageError(f"the encoder made {rows.shape} of {len(texts)} texts, not [N, D]")
        if not np.isfinite(rows).all():
            raise UsageError("the encoder returned NaN or infinity")
        return rows

    def _load(
        self,
        notes: Sequence[Note],
        vectors: Sequence[np.ndarray],
        parsed: Sequence[Parsed] | None = None,
        terms: Iterable[str] | None = None,
    ) -> None:
        """Take in notes in their order; of `terms` alone the words, where these are given."""
        s, begin = self._state, len(self._state.notes)
        if parsed is None:
            parsed = [parse(note, self.stem) for note in notes]
        s.notes += notes
        s.vectors += vectors
        sought = None if terms is None else list(dict.fromkeys(terms))
        for i, (note, p) in enumerate(zip(notes, parsed, strict=True), begin):
            known = note.session is not None
            s.session.append(
                self._sessions.setdefault(note.session, len(self._sessions)) if known else -1
            )
            self._index.add(p.body, p.head, p.sizes, sought)
            s.asking.append(p.asking)
            s.days.append(p.day)
            s.times += [(i, first, last) for first, last in p.times]
        if self.encode is not None and vectors:
            width = max(v.shape[1] for v in vectors)
            blank = np.zeros((1, width), np.float32)
            rows = np.concatenate([v if len(v) else blank for v in vectors])
            counts = np.array([max(len(v), 1) for v in vectors])
            starts = np.cumsum(counts) - counts
            s.starts += (starts + s.sentences.n).tolist()
            s.sentences.append(rows)
            middle = np.add.reduceat(rows, starts) / counts[:, None]
            norm = np.linalg.norm(middle, axis=1, keepdims=True)
            s.middles.append(middle / np.where(norm > 0, norm, 1))

    def _lengths(self, session: np.ndarray) -> np.ndarray:
        """`[N]` length of each note's blend of mean vectors; only of what is new."""
        n, reach = len(self), self.weights.reach
        known = max(0, len(self._blend) - reach)
        if len(self._blend) < n:
            begin = max(0, known - reach)
            rows = self._state.middles.all()[begin:]
            label = session[begin:]
            sums = rows.astype(np.float64)
            for step in range(1, min(reach, len(rows) - 1) + 1):
                together = ((label[step:] == label[:-step]) & (label[step:] >= 0))[:, None]
                sums[step:] += self.weights.decay**step * rows[:-step] * together
                sums[:-step] += self.weights.decay**step * rows[step:] * together
            fresh = np.linalg.norm(sums, axis=1)[known - begin :]
            self._blend = np.concatenate([self._blend[:known], fresh])
        return self._blend

    def _meaning(
        self, query: str, session: np.ndarray, vector: np.ndarray | None = None
    ) -> np.ndarray:
        if self.encode is None:
            return np.zeros(len(self))
        s, w = self._state, self.weights
        q = self._encoded([query])[0] if vector is None else vector
        rows = s.sentences.all()
        if not rows.shape[1]:
            return np.zeros(len(self))
        if rows.shape[1] != len(q):
            raise UsageError(
                f"the query's vector has {len(q)} numbers, the notes' {rows.shape[1]}: "
                "they come from different encoders; embed all notes with one"
            )
        nearest = np.maximum.reduceat(rows @ q, s.starts).astype(np.float64)
        blend = spread(s.middles.all() @ q, session, w.reach, w.decay)
        length = self._lengths(session)
        around = np.divide(blend, length, out=np.zeros_like(blend), where=length > 0)
        return (nearest + w.context * around) / (1 + w.context)

    def _time(self, query: str, asked: datetime | date | None) -> np.ndarray:
        met = np.zeros(len(self))
        spans = find_times(query, asked)
        if not spans:
            return met
        days = np.array(self._state.days)
        times = np.array(self._state.times or np.zeros((0, 3)), dtype=np.int64)
        for span in spans:
            first, last = span.first.toordinal(), span.last.toordinal()
            met[(days >= first) & (days <= last)] = 1
            met[times[(times[:, 1] <= last) & (times[:, 2] >= first), 0]] = 1
        return met

    def _named(self, query: Sequence[str]) -> np.ndarray:
        asked, known = set(query), {}
        for note in self._state.notes:
            if note.speaker not in known:
                name = words(note.speaker, self.stem)
                known[note.speaker] = float(bool(name) and asked.issuperset(name))
        return np.array([known[n.speaker] for n in self._state.notes])

    def scores(
        self,
        query: str,
        *,
        asked: datetime | date | None = None,
        corpus: Corpus | None = None,
        vector: np.ndarray | None = None,
    ) -> Scores:
        """What every note scores for a query, part by part.

        Args:
            query: A question or some words.
            asked: The day it is asked, for "last week" in it; without it only times that name
                their year count.
            corpus: Statistics of the whole, where the notes held here are candidates out of it
                (their neighbours among them).
            vector: The query's `[D]`, where it is known already.
        """
        n, w = len(self), self.weights
        if n == 0:
            nothing = np.zeros(0)
            return Scores(nothing, nothing, nothing, nothing)
        session = np.array(self._state.session)
        sought = words(query, self.stem)
        by_words = self._index.scores(sought, session, corpus)
        meaning = self._meaning(query, session, vector)
        time = self._time(query, asked)
        # of a larger whole some note has none of the words
        more = corpus is not None and corpus.notes > n
        total = _scaled(by_words, 0.0 if more else None)
        bonus = w.speaker
        if self.encode is not None and w.meaning > 0:
            low = corpus.meaning if more and corpus is not None else None
            total = (total + w.meaning * _scaled(meaning, low)) / (1 + w.meaning)
        elif bonus is None:
            bonus = 0.3
        if bonus:
            total = total * (1 + bonus * self._named(sought))
        total = total + w.time * time
        if w.asking:
            total = total * (1 - w.asking * np.array(self._state.asking))
        return Scores(total, by_words, meaning, time)

    def search(self, query: str, k: int = 10, **options: Any) -> list[Match]:
        """The best k notes for a query, best first, the earlier first where they tie.

        A note that has neither a word nor the time of the query, and a cosine of 0 or below, is
        not returned at all.

        Args:
            query: A question or some words.
            k: At most so many.
            options: `asked`, `corpus` and `vector`, as in `scores`.

        Raises:
            UsageError: k below 1.
        """
        if k < 1:
            raise UsageError(f"k must be at least 1, got {k}")
        s = self.scores(query, **options)
        found: list[Match] = []
        for i in _best(s.total, (s.words > 0) | (s.meaning > 0) | (s.time > 0), k):
            parts = float(s.total[i]), float(s.words[i]), float(s.meaning[i]), bool(s.time[i])
            found.append(Match(self._state.notes[i], *parts))
        return found


def _scaled(x: np.ndarray, low: float | None = None) -> np.ndarray:
    """To 0..1 over the notes; where all are equal, 1 if they are above zero.

    `low` is the least of the whole, where the notes are but a part of it.
    """
    low, high = min(float(x.min()), np.inf if low is None else low), float(x.max())
    if high > low:
        return (x - low) / (high - low)
    return np.full(len(x), float(high > 0))


def _best(total: np.ndarray, able: np.ndarray, k: int) -> np.ndarray:
    """Indices of the k highest of those able, ties by place."""
    at = np.flatnonzero(able)
    if len(at) > 4 * k:
        # all that reach the k-th highest value, so that ties are still cut by place
        at = at[total[at] >= np.partition(total[at], len(at) - k)[len(at) - k]]
    return at[np.argsort(-total[at], kind="stable")][:k]
