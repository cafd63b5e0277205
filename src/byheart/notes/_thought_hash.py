"""The cross-polytope hash, and rows of vectors that are searched whole or group by group."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from byheart.core.errors import UsageError

__all__ = ["Found", "Groups", "cross_polytope_hash", "draw", "probe_order"]


def cross_polytope_hash(x: np.ndarray, R: np.ndarray) -> np.ndarray:
    """The group of each vector (Andoni et al. 2015; Think-in-Memory, arXiv 2311.08719, §3.2).

        F(x) = argmax([xR ; -xR])  in {0, ..., b - 1},  b / 2 columns of R

    that is, the column with the largest \\|<x, R_i>\\|, with b/2 added where that product is
    negative. Of equal products the first column is taken, and the positive half before the
    negative. F(cx) = F(x) for c > 0.

    Args:
        x: ``[N, D]`` or ``[D]`` numbers, no row of zeros.
        R: ``[D, b/2]`` numbers.

    Returns:
        ``[N]`` int16 (or one int16) in 0..b-1.

    Raises:
        UsageError: NaN, infinity, a row of zeros, or shapes that do not fit.

    >>> R = np.array([[1.0, 0.0], [0.0, 1.0]])
    >>> cross_polytope_hash(np.array([[3.0, 1.0], [1.0, 3.0], [-3.0, 1.0], [1.0, -3.0]]), R)
    array([0, 1, 2, 3], dtype=int16)
    """
    rows, R = np.atleast_2d(np.asarray(x)), np.asarray(R)
    if R.ndim != 2 or rows.ndim != 2 or rows.shape[1] != R.shape[0] or R.shape[1] < 1:
        raise UsageError(f"vectors of shape {np.shape(x)} do not fit projections of {R.shape}")
    if R.shape[1] > 16_000:
        raise UsageError(f"at most 32,000 groups fit the int16 columns, got {2 * R.shape[1]}")
    _check(rows)
    return _groups(rows @ R).reshape(np.shape(x)[:-1])


def _check(rows: np.ndarray) -> None:
    if not np.isfinite(rows).all():
        bad = int(np.flatnonzero(~np.isfinite(rows).all(1))[0])
        raise UsageError(f"vector {bad} has NaN or infinity; the encoder failed on its text")
    empty = np.flatnonzero(~rows.any(1))
    if len(empty):
        raise UsageError(f"vector {int(empty[0])} is all zeros, which has no direction to hash")


def _groups(p: np.ndarray) -> np.ndarray:
    """Groups of `[N, b/2]` projections."""
    best = np.abs(p).argmax(1)
    # of +a and -a in different columns the positive one comes first in [xR ; -xR]
    top = np.take_along_axis(np.abs(p), best[:, None], 1)
    positive = (p == top).any(1)
    column = np.where(positive, (p == top).argmax(1), (-p == top).argmax(1))
    return (column + np.where(positive, 0, p.shape[1])).astype(np.int16)


def probe_order(x: np.ndarray, R: np.ndarray) -> np.ndarray:
    """All b groups, that of `x` first, then by falling projection: the order of multi-probe."""
    p = np.asarray(x) @ np.asarray(R)
    return np.argsort(-np.concatenate([p, -p]), kind="stable").astype(np.int16)


def draw(seed: int, b: int, d: int, tables: int = 1) -> np.ndarray:
    """`[tables, d, b/2]` float32 projections, independent N(0, 1).

    By numpy's RandomState, whose numbers are frozen: the same seed draws the same R for ever.
    """
    if isinstance(b, bool) or not isinstance(b, int) or b < 2 or b % 2 or b > 32_000:
        raise UsageError(f"groups must be an even number from 2 to 32,000, got {b!r}")
    if isinstance(tables, bool) or not isinstance(tables, int) or tables < 1:
        raise UsageError(f"tables must be a whole number of at least 1, got {tables!r}")
    if not 0 <= seed < 2**32:
        raise UsageError(f"seed must lie in 0 .. 2**32 - 1, got {seed}")
    numbers = np.random.RandomState(seed).standard_normal((tables, d, b // 2))
    return numbers.astype(np.float32)


def digest(R: np.ndarray) -> str:
    """The first 16 digits of SHA-256 over the numbers, by which another R is noticed."""
    return hashlib.sha256(np.ascontiguousarray(R, "<f4").tobytes()).hexdigest()[:16]


@dataclass(frozen=True)
class Found:
    """Rows that a query was compared with, best first.

    Args:
        rows: ``[n]`` places, by falling cosine, of equal ones the earlier.
        scores: ``[n]`` cosines.
        scanned: Share of all rows that was compared.
    """

    rows: np.ndarray
    scores: np.ndarray
    scanned: float


class Groups:
    """Unit vectors in one matrix, with an int16 column of groups a table; rows are only added.

    Args:
        d: Numbers in a vector.
        groups: b, even; None keeps no groups.
        tables: Independent hashes.
        seed: Of the projections.
    """

    def __init__(self, d: int, groups: int | None = None, tables: int = 1, seed: int = 0) -> None:
        self.d, self.b, self.tables = d, groups, tables
        self.R = None if groups is None else draw(seed, groups, d, tables)
        self._room = np.empty((0, d), np.float32)
        self._columns = np.empty((0, tables), np.int16)
        self.n = 0

    def __len__(self) -> int:
        return self.n

    @property
    def vectors(self) -> np.ndarray:
        """`[N, D]` float32, a view."""
        return self._room[: self.n]

    @property
    def columns(self) -> np.ndarray:
        """`[N, tables]` int16 groups, a view."""
        return self._columns[: self.n]

    def hash(self, vectors: np.ndarray) -> np.ndarray:
        """`[N, tables]` groups of vectors."""
        if self.R is None:
            return np.zeros((len(vectors), self.tables), np.int16)
        return np.stack([cross_polytope_hash(vectors, R) for R in self.R], 1)

    def add(self, vectors: np.ndarray) -> None:
        """Append `[N, D]` rows of length 1; what is there is not copied unless the room is full.

        Raises:
            UsageError: NaN, infinity, zeros or another width. Nothing was added then.
        """
        vectors = unit(vectors, self.d)
        groups = self.hash(vectors)
        n = self.n + len(vectors)
        if n > len(self._room):
            room = np.empty((max(2 * n, 256), self.d), np.float32)
            columns = np.empty((len(room), self.tables), np.int16)
            room[: self.n], columns[: self.n] = self.vectors, self.columns
            self._room, self._columns = room, columns
        self._room[self.n : n], self._columns[self.n : n] = vectors, groups
        self.n = n

    def keep(self, rows: np.ndarray) -> None:
        """Keep these rows only, in their order."""
        self._room, self._columns = self.vectors[rows].copy(), self.columns[rows].copy()
        self.n = len(self._room)

    def exact(self, query: np.ndarray, most: int | None = None) -> Found:
        """The best `most` of all rows; every one if left out."""
        return self._ranked(query, None, most)

    def among(self, query: np.ndarray, probes: int, most: int | None = None) -> Found:
        """The best of the rows in the query's `probes` best groups of any table."""
        return self._ranked(query, self.candidates(query, probes), most)

    def candidates(self, query: np.ndarray, probes: int) -> np.ndarray | None:
        """`[n]` rows in the query's best groups; None where that is all of them."""
        if self.R is None or self.b is None or probes >= self.b:
            return None
        chosen = np.zeros(self.n, bool)
        for table, R in enumerate(self.R):
            near = np.zeros(self.b, bool)
            near[probe_order(query, R)[:probes]] = True
            chosen |= near[self.columns[:, table]]
        return np.flatnonzero(chosen)

    def _ranked(self, query: np.ndarray, rows: np.ndarray | None, most: int | None) -> Found:
        if rows is None:
            rows, scores = np.arange(self.n), self.vectors @ query
        else:
            scores = self.vectors[rows] @ query
        share = len(rows) / max(self.n, 1)
        if most is not None and most < len(rows):
            # all that reach the last one's value, so that ties are still cut by place
            able = scores >= np.partition(scores, len(rows) - most)[len(rows) - most]
            rows, scores = rows[able], scores[able]
        order = np.lexsort((rows, -scores))[:most]
        return Found(rows[order], scores[order], share)


def unit(vectors: Iterable[np.ndarray] | np.ndarray, d: int | None = None) -> np.ndarray:
    """`[N, D]` float32 rows of length 1.

    Raises:
        UsageError: NaN, infinity, a row of zeros, or not D numbers.
    """
    rows = np.asarray(vectors, np.float32)
    if rows.ndim != 2 or (d is not None and rows.shape[1] != d):
        raise UsageError(
            f"vectors of shape {rows.shape} where [N, {d or 'D'}] is held: they come from different "
            "encoders, and vectors of different models are never compared"
        )
    _check(rows)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)
