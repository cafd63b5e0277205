"""What subsampled runs of 1-nearest neighbour estimate, exactly: an oracle for the estimator."""

from __future__ import annotations

from typing import Any

import numpy as np

from byheart.audits._longtail.learners import distances
from byheart.core.errors import UsageError

__all__ = ["exact_nearest"]


def _first_present(others: int, m: int) -> np.ndarray:
    """P(the nearest of `m` drawn is the one of rank r) for r = 0..others-1: C(others-1-r, m-1)/C(others, m)."""
    chance = np.zeros(others)
    left = 1.0  # none of the nearer ones was drawn
    for r in range(others - m + 1 if m else 0):
        here = m / (others - r)  # it is drawn, given that no nearer one was
        chance[r] = left * here
        left *= 1 - here
    return chance


def exact_nearest(
    x: Any, y: Any, x_test: Any = None, y_test: Any = None, *, m: int
) -> tuple[np.ndarray, np.ndarray]:
    """mem_m and infl_m of 1-nearest neighbour in closed form.

    With the other examples ordered by distance, the nearest that a subset holds is that of rank r with
    probability C(n'-1-r, m-1) / C(n', m), n' = n - 1 (m - 1 of them where example i is itself in).
    Equally near examples are ordered by index, as `NearestNeighbour` does.

    Args:
        x: ``[n, ...]``.
        y: ``[n]``.
        x_test: ``[n_test, ...]``; none if left out.
        y_test: ``[n_test]``.
        m: Size of a subset, 1 to n - 1.

    Returns:
        Memorisation ``[n]`` and influence ``[n, n_test]``.

    >>> mem, infl = exact_nearest([[0.], [1.], [5.]], [0, 1, 1], [[.4]], [0], m=2)
    >>> mem.tolist(), infl[:, 0].tolist()
    ([1.0, 1.0, 0.0], [1.0, -0.5, -0.5])
    """
    x, y = np.asarray(x, float), np.asarray(y)
    n = len(x)
    if not 1 <= m <= n - 1:
        raise UsageError(f"m is the size of a subset, 1..{n - 1}, got {m}")
    out, inside = _first_present(n - 1, m), _first_present(n - 1, m - 1)
    # chance that none of the p nearest others is among the m - 1 drawn beside i
    alone = np.clip(np.append(1.0, 1 - np.cumsum(inside)), 0, 1)
    mem = np.empty(n)
    for begin in range(0, n, 256):
        at = np.arange(begin, min(n, begin + 256))
        matrix = _influence(distances(x, x[at]), y, y[at], out, inside, alone)
        mem[at] = matrix[at, np.arange(len(at))]
    if x_test is None:
        return mem, np.zeros((n, 0))
    x_test, y_test = np.asarray(x_test, float), np.asarray(y_test)
    infl = np.concatenate(
        [
            _influence(
                distances(x, x_test[i : i + 256]), y, y_test[i : i + 256], out, inside, alone
            )
            for i in range(0, len(x_test), 256)
        ],
        axis=1,
    )
    return mem, infl


def _influence(
    gap: np.ndarray,
    y: np.ndarray,
    y_points: np.ndarray,
    out: np.ndarray,
    inside: np.ndarray,
    alone: np.ndarray,
) -> np.ndarray:
    """``[n, points]`` from distances ``[points, n]``."""
    points, n = gap.shape
    order = np.argsort(gap, axis=1, kind="stable")
    right = (y[order] == y_points[:, None]).astype(float)  # by rank p among all n
    # without the example at rank p: ranks below p keep their place, those above move up by one
    nearer = np.zeros((points, n + 1))
    nearer[:, 1:] = np.cumsum(right * np.append(out, 0.0), axis=1)
    farther = np.zeros((points, n + 1))
    farther[:, 1:] = np.cumsum(right * np.append(0.0, out), axis=1)
    without = nearer[:, :n] + (farther[:, n:] - farther[:, 1:])
    # with it: a nearer one of the m - 1 others is there, or else the example itself answers
    beside = np.zeros((points, n + 1))
    beside[:, 1:] = np.cumsum(right * np.append(inside, 0.0), axis=1)
    with_it = beside[:, :n] + alone * right
    result = np.empty((n, points))
    np.put_along_axis(result.T, order, with_it - without, axis=1)
    return result
