"""Where linked notes look for what is near: the store's own vectors, or vectors kept here.

Of every note its text with annotations is embedded (Eq. 3), which says what is near to a new note,
and beside it its sentences, by which `byheart.notes.ranker` ranks. Both places give what embedding
the current texts anew would give, always: a vector belongs to one version of a note, or to a text,
and neither changes. So nothing has to be consolidated.
"""

from __future__ import annotations

import heapq
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Protocol

import numpy as np

from byheart.core.errors import ByheartError, ModelError
from byheart.core.item import Item, moment
from byheart.core.memory import Candidate, Candidates, Hit, Sample
from byheart.notes._linked_note import passages, root_of
from byheart.notes.ranker import NoteRanker

__all__ = ["DIGITS", "Index", "Memo", "PlainIndex", "StoreIndex"]

When = datetime | str | None
DIGITS = 6
"""Cosines that agree to so many digits are equal: then the older note is the nearer."""
_LAST = datetime.max.replace(tzinfo=UTC)


class Index(Protocol):
    """What `LinkedNotes` needs of a place that notes lie in; `memo` is None without an encoder."""

    memo: Memo | None

    def nearest(self, text: str, n: int) -> list[tuple[Item, float]]:
        """The n current notes whose embedded text is nearest, with the cosine, best first."""
        ...

    def ranked(self, query: str, k: int, as_of: When, known_at: When) -> list[Hit]:
        """What is found for a query, best first, more than k of it where there is more."""
        ...

    def embed(self, items: Sequence[Item]) -> None:
        """Embed what was just written, in one batch."""
        ...

    def forget(self) -> None:
        """After an erasure: keep nothing of any text in memory."""
        ...


class Memo:
    """An encoder that embeds a text once while it is in use.

    A new note is embedded to find its neighbours and again when it is stored; both are the same
    text.

    Args:
        encode: Texts to `[N, D]` numbers.
        room: How many texts are remembered.
    """

    def __init__(self, encode: Callable[[list[str]], Any], room: int = 4096) -> None:
        self._encode, self._room = encode, room
        self._known: OrderedDict[str, np.ndarray] = OrderedDict()
        self._lock = threading.Lock()
        self.batches: int = 0

    def __call__(self, texts: list[str]) -> np.ndarray:
        """`[N, D]` float32 rows as the encoder gives them.

        Raises:
            ModelError: The encoder failed, or what it returned is not N rows of finite numbers.
        """
        with self._lock:
            found = {t: self._known[t] for t in texts if t in self._known}
        fresh = [t for t in dict.fromkeys(texts) if t not in found]
        if fresh:
            self.batches += 1
            found |= dict(zip(fresh, self._made(fresh), strict=True))
            with self._lock:
                for text in fresh:
                    self._known[text] = found[text]
                while len(self._known) > self._room:
                    self._known.popitem(last=False)
        return np.stack([found[t] for t in texts])

    def forget(self) -> None:
        """Keep no text."""
        with self._lock:
            self._known.clear()

    def _made(self, texts: list[str]) -> np.ndarray:
        try:
            rows = np.asarray(self._encode(texts), dtype=np.float32)
        except ByheartError:
            raise
        except Exception as error:
            raise ModelError(
                f"the encoder failed on {len(texts)} texts: {type(error).__name__}: {error}"
            ) from error
        if rows.ndim != 2 or len(rows) != len(texts) or not np.isfinite(rows).all():
            raise ModelError(
                f"the encoder returned an array of shape {rows.shape} for {len(texts)} texts; it "
                f"must be [{len(texts)}, D] finite numbers"
            )
        return rows


class _Linked:
    """`NoteRanker` for linked notes: their first vector is that of Eq. 3, and sentences follow."""

    vectors = True

    def __init__(self, inner: NoteRanker) -> None:
        self.inner = inner
        self.reach, self.whole, self.around = inner.reach, inner.whole, inner.around
        self.times, self.forget = inner.times, inner.forget
        self.hits: list[Hit] = []

    def __call__(self, query: str, told: Sequence[Candidate], k: int) -> list[Hit]:
        assert isinstance(told, Candidates)
        some = [replace(c, vectors=_tail(c.vectors)) for c in told]
        if told.corpus is None:
            some = _in_place(some)
        sample = told.sample
        if sample is not None:
            rest = tuple(v[1:] for v in sample.vectors)
            sample = Sample(sample.speakers, sample.runs, rest)
        given = Candidates(
            some, vector=told.vector, asked=told.asked, corpus=told.corpus, own=told.own,
            days=told.days, sample=sample,
        )  # fmt: skip
        self.hits = self.inner(query, given, max(len(some), 1))
        return []


def _tail(vectors: np.ndarray | None) -> np.ndarray | None:
    return None if vectors is None else vectors[1:]


def _in_place(candidates: list[Candidate]) -> list[Candidate]:
    """Where everything is there: an evolved note stands where its first version stood."""
    if not any("evolved_by" in c.item.labels for c in candidates):
        return candidates
    key = lambda c: (c.item.valid_from or c.item.recorded_at or _LAST, root_of(c.item))  # noqa: E731
    return [
        replace(c, order=i, run=None) for i, c in enumerate(sorted(candidates, key=key), start=1)
    ]


class StoreIndex:
    """Over a `byheart.Memory` whose embedder embeds the notes' passages; vectors lie in its place.

    Args:
        memory: Opened with an embedder whose `passages` are ours, or without any.
        memo: What that embedder embeds with, if any.
    """

    def __init__(self, memory: Any, memo: Memo | None) -> None:
        self.memory, self.memo = memory, memo
        self._ranker = NoteRanker()

    def nearest(self, text: str, n: int) -> list[tuple[Item, float]]:
        """See `Index`; by words where nothing embeds."""
        found: list[tuple[Item, float, int]] = []

        def ranker(query: str, told: Candidates, k: int) -> list[Hit]:
            for c in told:
                score: float | None = c.words or None
                if told.vector is not None:
                    score = None if c.vectors is None else float(c.vectors[0] @ told.vector)
                if score is not None:
                    found.append((c.item, score, c.order))
            return []

        ranker.vectors = True  # type: ignore[attr-defined]
        if text.strip():
            self.memory.store.recall(text, n, kinds=("note",), ranker=ranker)
        best = heapq.nsmallest(n, found, key=lambda f: (-round(f[1], DIGITS), f[2]))
        return [(item, score) for item, score, _ in best]

    def ranked(self, query: str, k: int, as_of: When, known_at: When) -> list[Hit]:
        """See `Index`."""
        ranker = _Linked(self._ranker)
        self.memory.store.recall(
            query, k, as_of=as_of, known_at=known_at, kinds=("note",), ranker=ranker
        )
        return ranker.hits

    def embed(self, items: Sequence[Item]) -> None:
        """See `Index`."""
        if self.memo is not None:
            self.memory.embed()

    def forget(self) -> None:
        """See `Index`; the store forgets by itself."""
        self._ranker.forget()
        if self.memo is not None:
            self.memo.forget()


class PlainIndex:
    """Over anything that passes `check_memory`: vectors are kept in this process's memory.

    Args:
        store: The store.
        memo: Texts to vectors; None searches by words alone.
    """

    def __init__(self, store: Any, memo: Memo | None) -> None:
        self.store, self.memo = store, memo
        self._vectors: dict[str, np.ndarray] = {}
        self._ranker = NoteRanker()

    def _items(self, **when: Any) -> list[Item]:
        return [i for i in self.store.items(**when) if i.kind == "note"]

    def _rows(self, item: Item) -> np.ndarray:
        return np.stack([self._vectors[p] for p in passages(item)])

    def nearest(self, text: str, n: int) -> list[tuple[Item, float]]:
        """See `Index`; by the store's words where nothing embeds."""
        if self.memo is None:
            found = self.store.recall(text, n) if text.strip() else []
            return [(h.item, h.words) for h in found if h.item.kind == "note"][:n]
        items = self._items()
        self.embed(items)
        query = _unit(self.memo([text]))[0]
        scores = [float(self._rows(i)[0] @ query) for i in items]
        order = sorted(range(len(items)), key=lambda i: -round(scores[i], DIGITS))[:n]
        return [(items[i], scores[i]) for i in order]

    def ranked(self, query: str, k: int, as_of: When, known_at: When) -> list[Hit]:
        """See `Index`."""
        when = {"as_of": as_of, "known_at": known_at}
        hits = {h.item.id: h for h in self.store.recall(query, max(k, 64), **when)}
        items = self._items(**when)
        self.embed(items)
        vector = None if self.memo is None else _unit(self.memo([query]))[0]
        some = []
        for order, item in enumerate(items, 1):
            hit = hits.get(item.id)
            rows = None if self.memo is None else self._rows(item)[1:]
            some.append(
                Candidate(
                    item, 0.0, hit.state if hit else "Generated", hit.words if hit else 0.0,
                    order=order, vectors=rows,
                )
            )  # fmt: skip
        told = Candidates(_in_place(some), vector=vector, asked=moment(as_of, "as_of"))
        return self._ranker(query, told, max(len(some), 1))

    def embed(self, items: Sequence[Item]) -> None:
        """See `Index`."""
        texts = [p for i in items for p in passages(i)]
        fresh = [t for t in dict.fromkeys(texts) if t not in self._vectors]
        if self.memo is not None and fresh:
            self._vectors.update(zip(fresh, _unit(self.memo(fresh)), strict=True))

    def forget(self) -> None:
        """See `Index`."""
        self._vectors.clear()
        self._ranker.forget()
        if self.memo is not None:
            self.memo.forget()


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
