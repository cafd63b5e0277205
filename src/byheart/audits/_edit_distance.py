"""Edit distances of token sequences: the plain dynamic programme, and a bit-parallel one."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np

from byheart.core.errors import UsageError, need

__all__ = ["edit_distance", "edit_distance_plain", "edit_distances"]


def edit_distance(a: Sequence[Hashable], b: Sequence[Hashable], cutoff: float | None = None) -> int:
    """Levenshtein distance (unit costs) of two token sequences.

    Args:
        a: Token ids: a list, an array or a tensor (or a text, for its characters).
        b: Token ids.
        cutoff: Distances above it need not be exact: any number above the cutoff may come back.

    >>> edit_distance([1, 2, 3, 4], [1, 3, 4, 5])
    2
    """
    distance = need("rapidfuzz.distance", "audit").Levenshtein.distance
    limit = None if cutoff is None else int(cutoff)
    if limit is not None and limit < 0:
        raise UsageError(f"cutoff must not be negative, got {cutoff}")
    # numbered afresh: rapidfuzz compares hashes, and 0 and 2**61 - 1 have the same one
    number: dict[Hashable, int] = {}
    x, y = ([number.setdefault(t, len(number)) for t in _plain(side)] for side in (a, b))
    return int(distance(x, y, score_cutoff=limit))


def _plain(tokens: Any) -> Sequence[Hashable]:
    """Tokens as Python objects: the entries of a tensor are hashed by identity, not by value."""
    return tokens.tolist() if hasattr(tokens, "tolist") else tokens


def edit_distances(
    reference: Sequence[Hashable],
    samples: Sequence[Sequence[Hashable]],
    cutoff: float | None = None,
) -> np.ndarray:
    """`[n]` distances of every sample to the reference."""
    return np.array([edit_distance(reference, s, cutoff) for s in samples], dtype=int)


def edit_distance_plain(a: Sequence[Hashable], b: Sequence[Hashable]) -> int:
    """The same by the textbook recurrence, d(i, j) = min(d(i-1, j) + 1, d(i, j-1) + 1,
    d(i-1, j-1) + [a_i != b_j]): the documentation of the fast one."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        diagonal, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (x != y))
    return row[-1]
