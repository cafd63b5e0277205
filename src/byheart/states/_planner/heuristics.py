"""Plans at once: buffers placed one after another in the lowest gap that is free."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from byheart.states._planner.problem import Problem

__all__ = ["ORDERS", "greedy", "improve", "place"]

COMPILED = importlib.util.find_spec("numba") is not None
ORDERS = ("size", "area", "width", "load", "begin")
"""What comes first: the largest, the largest area, the longest life, the fullest moment, the
earliest (which is what an allocator without a plan does)."""
_MOST_ORDERS = 20_000  # from here on the loop over pairs takes seconds, and one order has to do


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    if not COMPILED:
        return function
    import numba

    compiled: Callable[..., Any] = numba.njit(cache=True)(function)
    return compiled


@_compiled
def place(order: np.ndarray, lower: np.ndarray, upper: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Offsets when each buffer in `order` takes the lowest gap among those placed before it."""
    n = len(order)
    offset = np.full(n, -1, np.int64)
    low = np.empty(n, np.int64)
    high = np.empty(n, np.int64)
    for at in range(n):
        i = order[at]
        m = 0
        for before in range(at):
            j = order[before]
            if lower[j] < upper[i] and lower[i] < upper[j]:
                low[m] = offset[j]
                high[m] = offset[j] + size[j]
                m += 1
        by = np.argsort(low[:m])
        free = np.int64(0)
        for k in range(m):
            if low[by[k]] - free >= size[i]:
                break
            free = max(free, high[by[k]])
        offset[i] = free
    return offset


def _order(problem: Problem, name: str) -> np.ndarray:
    p = problem
    width = p.upper - p.lower
    if name == "begin":
        return np.argsort(p.lower, kind="stable")
    if name == "size":
        return np.lexsort((-width, -p.size))
    if name == "area":
        return np.lexsort((-p.size, -(width.astype(float) * p.size)))
    if name == "width":
        return np.lexsort((-p.size, -width))
    peak = np.array([p.load[a:b].max() for a, b in zip(p.first, p.last, strict=True)])
    return np.lexsort((-p.size, -peak))


def greedy(problem: Problem) -> tuple[np.ndarray, np.ndarray]:
    """The best of the orders: (offsets in units, the order that gave them)."""
    best: tuple[int, np.ndarray, np.ndarray] | None = None
    for name in ORDERS if len(problem) <= _MOST_ORDERS else ORDERS[:1]:
        order = _order(problem, name)
        offsets = place(order, problem.lower, problem.upper, problem.size)
        height = problem.heights(offsets)
        if best is None or height < best[0]:
            best = height, offsets, order
        if height == problem.bound:
            break
    assert best is not None
    return best[1], best[2]


def improve(
    problem: Problem, offsets: np.ndarray, order: np.ndarray, *, deadline: float, seed: int = 0
) -> np.ndarray:
    """Place again with those that stand out brought forward, until nothing is won or time is up."""
    random = np.random.default_rng(seed)
    best, height = offsets, problem.heights(offsets)
    current, level = order.copy(), height
    idle = 0
    while height > problem.bound and idle < 400 and time.monotonic() < deadline:
        ends = best if idle == 0 else place(current, problem.lower, problem.upper, problem.size)
        over = np.flatnonzero(ends + problem.size >= level)
        chosen = int(random.choice(over)) if len(over) else int(random.integers(len(current)))
        trial = current[current != chosen]
        at = int(np.flatnonzero(current == chosen)[0])
        trial = np.insert(trial, int(random.integers(at + 1)), chosen)
        if random.random() < 0.3:
            a, b = random.integers(len(trial), size=2)
            trial[[a, b]] = trial[[b, a]]
        found = place(trial, problem.lower, problem.upper, problem.size)
        top = problem.heights(found)
        if top <= level:
            current, level = trial, top
        if top < height:
            best, height, idle = found, top, 0
        else:
            idle += 1
    return best
