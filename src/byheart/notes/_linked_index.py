"""Where linked notes look for what is near: the store's own vectors, or vectors kept here.

Both give what re-embedding the current texts would give, always: a vector belongs to one version
of a note, or to a text, and neither changes. So nothing has to be consolidated.
"""

from __future__ import annotations

import heapq
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Protocol

import numpy as np

from byheart.core.errors import ByheartError, ModelError
from byheart.core.item import Item
from byheart.core.memory import Candidate, Hit
from byheart.notes._linked_note import embedded_text

__all__ = ["Index", "Memo", "PlainIndex", "StoreIndex"]

REACH = 3
"""Neighbours in a thread that are fetched along for ranking."""


class Index(Protocol):
    """What `LinkedNotes` needs of a place that notes lie in; `memo` is None without an encoder."""

    memo: Memo | None

    def nearest(self, text: str, n: int) -> list[tuple[Item, float]]:
        """The n current notes whose embedded text is nearest, with the cosine, best first."""
        ...

    def candidates(
        self, query: str, k: int, as_of: datetime | str | None, known_at: datetime | str | None
    ) -> list[Candidate]:
        """What is ranked for a query, in the order of recording."""
        ...

    def embed(self, texts: Sequence[str]) -> None:
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


class StoreIndex:
    """Over a `byheart.Memory` whose embedder embeds the notes' texts; vectors lie in its file.

    Args:
        memory: Opened with an embedder whose `passages` is `embedded_text`, or without any.
        memo: What that embedder embeds with, if any.
    """

    def __init__(self, memory: Any, memo: Memo | None) -> None:
        self.memory, self.memo = memory, memo
        self.embeds = memory.store.embedder is not None

    def _grab(self, query: str, k: int, reach: int, **when: Any) -> list[Candidate]:
        got: list[Candidate] = []

        def ranker(query: str, candidates: Sequence[Candidate], k: int) -> list[Hit]:
            got.extend(candidates)
            return []

        ranker.reach = reach  # type: ignore[attr-defined]
        self.memory.store.recall(query, k, kinds=("note",), ranker=ranker, **when)
        return got

    def nearest(self, text: str, n: int) -> list[tuple[Item, float]]:
        """See `Index`; by words where nothing embeds."""
        if not text.strip():
            return []
        found = [
            (c.item, (c.meaning if self.embeds else c.words) or 0.0, c.order)
            for c in self._grab(text, n, 0)
            if (c.meaning is not None if self.embeds else c.words > 0)
        ]
        return [(i, s) for i, s, _ in heapq.nsmallest(n, found, key=lambda f: (-f[1], f[2]))]

    def candidates(
        self, query: str, k: int, as_of: datetime | str | None, known_at: datetime | str | None
    ) -> list[Candidate]:
        """See `Index`."""
        return self._grab(query, k, REACH, as_of=as_of, known_at=known_at)

    def embed(self, texts: Sequence[str]) -> None:
        """See `Index`."""
        if self.embeds:
            self.memory.embed()

    def forget(self) -> None:
        """See `Index`; the store forgets by itself."""
        if self.memo is not None:
            self.memo.forget()


class PlainIndex:
    """Over anything that passes `check_memory`: vectors are kept in this process's memory.

    Args:
        store: The store.
        memo: Texts to vectors; None searches by the store's words alone.
    """

    def __init__(self, store: Any, memo: Memo | None) -> None:
        self.store, self.memo = store, memo
        self._vectors: dict[str, np.ndarray] = {}

    def _cosines(self, items: list[Item], text: str) -> list[float]:
        assert self.memo is not None
        texts = [embedded_text(i)[0] for i in items]
        self.embed(texts)
        query = _unit(self.memo([text]))[0]
        return [float(self._vectors[t] @ query) for t in texts]

    def _items(self, **when: Any) -> list[Item]:
        return [i for i in self.store.items(**when) if i.kind == "note"]

    def nearest(self, text: str, n: int) -> list[tuple[Item, float]]:
        """See `Index`."""
        if self.memo is None:
            found = self.store.recall(text, n) if text.strip() else []
            return [(h.item, h.words) for h in found if h.item.kind == "note"][:n]
        items = self._items()
        scores = self._cosines(items, text) if items else []
        order = sorted(range(len(items)), key=lambda i: -scores[i])[:n]
        return [(items[i], scores[i]) for i in order]

    def candidates(
        self, query: str, k: int, as_of: datetime | str | None, known_at: datetime | str | None
    ) -> list[Candidate]:
        """See `Index`."""
        when = {"as_of": as_of, "known_at": known_at}
        depth = max(64, 4 * k)
        hits = {h.item.id: h for h in self.store.recall(query, depth, **when)}
        items = self._items(**when)
        meaning = self._cosines(items, query) if items and self.memo is not None else []
        near = set(sorted(range(len(items)), key=lambda i: -meaning[i])[:depth]) if meaning else ()
        out = []
        for order, item in enumerate(items):
            hit = hits.get(item.id)
            if hit is None and order not in near:
                continue
            words = hit.words if hit else 0.0
            state = hit.state if hit else "Generated"
            out.append(
                Candidate(item, 0.0, state, words, meaning[order] if meaning else None, order)
            )
        return out

    def embed(self, texts: Sequence[str]) -> None:
        """See `Index`."""
        fresh = [t for t in dict.fromkeys(texts) if t not in self._vectors]
        if self.memo is not None and fresh:
            self._vectors.update(zip(fresh, _unit(self.memo(fresh)), strict=True))

    def forget(self) -> None:
        """See `Index`."""
        self._vectors.clear()
        if self.memo is not None:
            self.memo.forget()


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
