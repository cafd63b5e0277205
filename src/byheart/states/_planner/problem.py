"""Buffers as arrays: sections of time, who overlaps whom, and what no plan can go below."""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd
from typing import Any

import numpy as np

from byheart.states._planner.types import Buffer

__all__ = ["Problem", "problem_of"]


@dataclass(frozen=True)
class Problem:
    """What the solvers work on; sizes and offsets count in `unit` bytes.

    Attributes:
        lower, upper: Lifetimes, half-open; int64 [n].
        size: In units, rounded up to the alignment; int64 [n].
        unit: Bytes. Every optimal plan has one whose offsets are sums of sizes, so nothing is lost
            by dividing by what all sizes have in common.
        first, last: Sections that a buffer is live in, half-open; int64 [n]. A section is a moment
            at which the set of live buffers is not part of another moment's.
        load: Live units in each section; int64 [sections].
    """

    lower: np.ndarray
    upper: np.ndarray
    size: np.ndarray
    unit: int
    first: np.ndarray
    last: np.ndarray
    load: np.ndarray

    def __len__(self) -> int:
        return len(self.size)

    @property
    def bound(self) -> int:
        """Most units that are live at once: no plan is lower."""
        return int(self.load.max()) if len(self.load) else 0

    def neighbours(self) -> tuple[np.ndarray, np.ndarray]:
        """Whose lifetimes overlap: `(start [n + 1], others [pairs * 2])`, as in a sparse matrix."""
        n = len(self)
        order = np.argsort(self.first, kind="stable")
        begins = self.first[order]
        found: list[np.ndarray] = []
        for i in range(n):
            before = order[: np.searchsorted(begins, self.last[i], side="left")]
            live = before[self.last[before] > self.first[i]]
            found.append(live[live != i])
        start = np.zeros(n + 1, np.int64)
        np.cumsum([len(f) for f in found], out=start[1:])
        others = np.concatenate(found) if found else np.zeros(0, np.int64)
        return start, others.astype(np.int64)

    def heights(self, offsets: np.ndarray) -> int:
        """Where the highest buffer ends, in units."""
        return int((offsets + self.size).max()) if len(self) else 0


def problem_of(buffers: tuple[Buffer, ...], alignment: int) -> Problem:
    """Arrays of `buffers`, whose sizes count rounded up to `alignment`."""
    columns: Any = [(b.lower, b.upper, -(-b.size // alignment) * alignment) for b in buffers]
    table = np.array(columns, np.int64).reshape(-1, 3)
    lower, upper, size = table[:, 0].copy(), table[:, 1].copy(), table[:, 2].copy()
    unit = 0
    for value in np.unique(size).tolist():
        unit = gcd(unit, value)
    unit = unit or 1
    size //= unit
    # The live set is largest where something has just begun and something is about to end.
    begins, ends = np.unique(lower), np.unique(upper)
    moments = np.unique(np.concatenate([begins, ends]))
    from_here, to_there = moments[:-1], moments[1:]
    kept = from_here[np.isin(from_here, begins) & np.isin(to_there, ends)]
    first = np.searchsorted(kept, lower, side="left").astype(np.int64)
    last = np.searchsorted(kept, upper, side="left").astype(np.int64)
    change = np.zeros(len(kept) + 1, np.int64)
    np.add.at(change, first, size)
    np.add.at(change, last, -size)
    return Problem(lower, upper, size, unit, first, last, np.cumsum(change)[:-1])
