"""LiMem: how much of what a model solves it fails to solve once a detail has changed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from byheart.core.errors import UsageError
from byheart.core.finding import Estimate

__all__ = ["Memorisation", "consistency_ratio", "labels", "limem", "memorisation"]


Flags = Sequence[Any] | np.ndarray


def _pairs(solved: Flags, solved_twin: Flags) -> tuple[np.ndarray, np.ndarray]:
    if len(solved) != len(solved_twin):
        raise UsageError(
            f"one twin a puzzle: got {len(solved)} puzzles and {len(solved_twin)} twins "
            "(None where there is no twin)"
        )
    kept = [
        (float(a), float(b))
        for a, b in zip(solved, solved_twin, strict=True)
        if not (_missing(a) or _missing(b))
    ]
    values = np.asarray(kept, dtype=float).reshape(-1, 2)
    if not np.isin(values, (0.0, 1.0)).all():
        raise UsageError("solved is 0 or 1 (or None where there is no twin)")
    return values[:, 0] > 0, values[:, 1] > 0


def _missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def limem(solved: Flags, solved_twin: Flags) -> float:
    """Share of puzzles that are solved although the twin is not.

    ``LiMem = Acc * (1 - CR)``, Acc being the share solved and CR the consistency ratio; computed as
    the mean of ``solved and not solved_twin``, which is the same and needs no case for Acc = 0.

    Args:
        solved: Whether each puzzle was solved.
        solved_twin: Whether its twin was; None where there is no twin: such pairs are left out.

    Returns:
        0 to 1; 0 if nothing was solved.

    Raises:
        UsageError: Unequal lengths, other values than 0 and 1, or no pair at all.

    >>> limem([1, 1, 1, 0, 1], [1, 0, 0, 1, None])
    0.5
    """
    a, b = _pairs(solved, solved_twin)
    if not len(a):
        raise UsageError("no puzzle has a twin")
    return float((a & ~b).mean())


def consistency_ratio(solved: Flags, solved_twin: Flags) -> float:
    """Share of the solved puzzles whose twin is solved too; 1 if nothing was solved.

    >>> consistency_ratio([1, 1, 1, 0], [1, 0, 0, 1]) == 1 / 3
    True
    """
    a, b = _pairs(solved, solved_twin)
    return float((a & b).sum() / a.sum()) if a.any() else 1.0


def labels(solved: Flags, solved_twin: Flags) -> list[int | None]:
    """What the classifiers learn: 1 consistently solved, 0 solved but not its twin, None unsolved.

    >>> labels([1, 1, 0, 1], [1, 0, 1, None])
    [1, 0, None, None]
    """
    if len(solved) != len(solved_twin):
        raise UsageError(f"got {len(solved)} puzzles and {len(solved_twin)} twins")
    return [
        None if _missing(a) or _missing(b) or not a else int(bool(b))
        for a, b in zip(solved, solved_twin, strict=True)
    ]


@dataclass(frozen=True, slots=True)
class Memorisation:
    """LiMem and what it is made of, with intervals.

    Attributes:
        accuracy: Share of the puzzles solved (those that have a twin).
        twin_accuracy: Share of the twins solved.
        consistency: CR; 1 if nothing was solved.
        limem: Accuracy * (1 - CR), with Wilson's interval.
        reverse: Share of puzzles that are not solved although the twin is: what chance alone makes.
        n: Pairs.
    """

    accuracy: Estimate
    twin_accuracy: Estimate
    consistency: float
    limem: Estimate
    reverse: Estimate
    n: int

    def to_dict(self) -> dict[str, float]:
        """Plain numbers by name."""
        return {
            "acc": self.accuracy.value,
            "acc_twin": self.twin_accuracy.value,
            "cr": self.consistency,
            "limem": self.limem.value,
            "limem_low": self.limem.low,
            "limem_high": self.limem.high,
            "reverse": self.reverse.value,
            "n": float(self.n),
        }


def memorisation(solved: Flags, solved_twin: Flags) -> Memorisation:
    """`limem` with its parts and intervals.

    >>> m = memorisation([1, 1, 1, 0], [1, 0, 0, 1])
    >>> print(m.limem, m.consistency == 1 / 3, m.reverse.value)
    0.500 [0.150, 0.850] True 0.25
    """
    from byheart.core.stats import wilson

    a, b = _pairs(solved, solved_twin)
    n = len(a)
    if not n:
        raise UsageError("no puzzle has a twin")
    return Memorisation(
        wilson(float(a.sum()), n),
        wilson(float(b.sum()), n),
        float((a & b).sum() / a.sum()) if a.any() else 1.0,
        wilson(float((a & ~b).sum()), n),
        wilson(float((b & ~a).sum()), n),
        n,
    )
