"""How new each reply is beside those before it: the doom loop, in numbers."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Sequence

import numpy as np

from byheart.core.errors import UsageError

__all__ = ["Embedder", "novelty", "word_vectors"]

Embedder = Callable[[list[str]], np.ndarray]
"""Texts to vectors ``[N, D]``."""

_WORD = re.compile(r"\w+|[^\w\s]")


def word_vectors(texts: list[str]) -> np.ndarray:
    """Unit vectors ``[N, 1024]`` of word counts, each word hashed to one place: needs no model."""
    out = np.zeros((len(texts), 1024))
    for row, text in zip(out, texts, strict=True):
        for word in _WORD.findall(text.lower()):
            row[zlib.crc32(word.encode("utf-8", "surrogatepass")) % 1024] += 1
    norms = np.linalg.norm(out, axis=1, keepdims=True)
    return out / np.where(norms > 0, norms, 1)


def novelty(replies: Sequence[str], embed: Embedder = word_vectors) -> list[float]:
    """1 - the largest cosine similarity with any earlier reply; 1 for the first.

    The paper embeds with text-embedding-3-large; `byheart.notes.MiniLM` is the local stand-in, and
    the default counts words. Empty replies are left out, as they are of the authors' conversation.

    Args:
        replies: The model's replies, in order.
        embed: Texts to vectors.

    Raises:
        UsageError: The embedder returns another shape.

    >>> [round(v, 2) for v in novelty(["try (1, 2, 3)", "try (1, 2, 3)", "a guess"])]
    [1.0, 0.0, 1.0]
    """
    texts = [r for r in replies if r]
    if not texts:
        return []
    vectors = np.asarray(embed(texts), dtype=float)
    if vectors.ndim != 2 or len(vectors) != len(texts):
        raise UsageError(f"the embedder returned shape {vectors.shape} for {len(texts)} texts")
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = vectors / np.where(norms > 0, norms, 1)
    alike = unit @ unit.T
    return [1.0] + [float(min(1.0, max(0.0, 1 - alike[i, :i].max()))) for i in range(1, len(texts))]
