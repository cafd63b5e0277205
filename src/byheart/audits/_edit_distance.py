"""Edit distances of token sequences: the plain dynamic programme, and a bit-parallel one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from byheart.core.errors import UsageError, need

__all__ = ["edit_distance", "edit_distance_plain", "edit_distances"]


def edit_distance(a: Sequence[int], b: Sequence[int], cutoff: float | None = None) -> int:
    """Levenshtein distance (unit costs) of two token sequences.

    Args:
        a: Token ids.
        b: Token ids.
        cutoff: Distances above it need not be exact: any number above the cutoff may come back.

    >>> edit_distance([1, 2, 3, 4], [1, 3, 4, 5])
    2
    """
    distance = need("rapidfuzz.distance", "audit").Levenshtein.distance
    limit = None if cutoff is None else int(cutoff)
    if limit is not None and limit < 0:
        raise UsageError(f"cutoff must not be negative, got {cutoff}")
    return int(distance(list(a), list(b), score_cutoff=limit))


def edit_distances(
    reference: Sequence[int], samples: Sequence[Sequence[int]], cutoff: float | None = None
) -> np.ndarray:
    """`[n]` distances of every sample to the reference."""
    return np.array([edit_distance(reference, s, cutoff) for s in samples], dtype=int)


def edit_distance_plain(a: Sequence[int], b: Sequence[int]) -> int:
    """The same by the textbook recurrence, d(i, j) = min(d(i-1, j) + 1, d(i, j-1) + 1,
    d(i-1, j-1) + [a_i != b_j]): the documentation of the fast one."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        diagonal, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (x != y))
    return row[-1]
