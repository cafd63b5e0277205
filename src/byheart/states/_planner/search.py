"""Exact search for a plan below a height, lowest offset first.

Any plan can be pushed down until every buffer lies at 0 or on another that is live with it, and its
buffers can be placed in order of their offsets. So the search places, at every step, one buffer at
the lowest offset that those below it leave, never lower than the last one. It turns back when

- in some section, the lowest offset that is left and the sizes that are left pass the height;
- a buffer would leave a gap that another, still unplaced one fits into (that one goes first);
- a buffer whose lowest offset has been passed has nothing left to lie on.

When what is left falls apart in time, each part is solved by itself. (Moffitt, "MiniMalloc",
ASPLOS 2023, doi 10.1145/3623278.3624752, has the idea of such canonical plans; the bound for
buffers that were passed is ours.)
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from byheart.states._planner.problem import Problem

__all__ = ["COMPILED", "MOST", "ORDERS", "Searcher"]

COMPILED = importlib.util.find_spec("numba") is not None
"""Whether numba is there; without it the same loops run in plain Python, some 100 times slower."""
MOST = 4000
"""Buffers up to which the search is tried; its memory grows with their square."""
ORDERS = ("TWA", "WAT", "TAW", "TLW", "ATW", "TZW", "WTA", "ZTW")
"""Which buffer goes first among those at one offset: T by the most units ever live beside it, W by
length of life, A by area, Z by size, largest first; L by begin, earliest first."""

_KEYS = "WATZL"
_FAILED, _FOUND = 0, 1


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    if not COMPILED:
        return function
    import numba

    compiled: Callable[..., Any] = numba.njit(cache=True)(function)
    return compiled


@_compiled
def _ordered(
    part: np.ndarray,
    keys: np.ndarray,
    static: np.ndarray,
    rem: np.ndarray,
    first: np.ndarray,
    last: np.ndarray,
) -> np.ndarray:
    """The buffers of a part in the order in which ties are tried."""
    n = len(part)
    for c in range(len(keys) - 1, -1, -1):
        value = np.empty(n, np.float64)
        for k in range(n):
            i = part[k]
            if keys[c] == 2:
                most = np.int64(0)
                for s in range(first[i], last[i]):
                    most = max(most, rem[s])
                value[k] = -most
            else:
                value[k] = static[keys[c], i]
        part = part[np.argsort(value, kind="mergesort")]
    return part


@_compiled
def _search(
    height: int,
    limit: int,
    size: np.ndarray,
    first: np.ndarray,
    last: np.ndarray,
    keys: np.ndarray,
    static: np.ndarray,
    start: np.ndarray,
    others: np.ndarray,
    rem: np.ndarray,
    offset: np.ndarray,
) -> tuple[int, int]:
    """Depth first, with a stack of its own; returns (outcome, nodes) and fills `offset`.

    A frame is one part: its buffers in order of rank, the candidates for the next place, and the
    parts that are left once the candidate lies. It has succeeded when all of them have.
    """
    n = len(size)
    none = np.int64(1) << 62
    lowest = np.zeros(n, np.int64)
    floor = np.empty(len(rem), np.int64)
    trail = np.empty((len(others) + 1, 2), np.int64)
    placed = np.empty(n + 1, np.int64)
    trails, places = 0, 0
    pool = np.empty(n * n + 4 * n + 16, np.int32)
    # One row a frame: part, its length, candidates, how many, next one, rest, its length,
    # next part of it, whether it fell apart, trail, placed, last position.
    frame = np.zeros((n + 3, 12), np.int64)
    least = np.zeros(n + 3, np.int64)  # offsets do not go below this
    hat = np.zeros(n + 3, np.bool_)  # whether the candidate has unplaced neighbours
    nodes = 0
    by_first = np.argsort(first, kind="mergesort")
    for k in range(n):
        pool[k] = by_first[k]
    d = 0
    frame[0, 5], frame[0, 6], frame[0, 8] = 0, n, 1
    top = n  # of the pool
    state = 1  # 0: enter frame d; 1: its last child succeeded; 2: it failed; 3: next candidate
    while True:
        if state == 1:
            a, total = frame[d, 7], frame[d, 6]
            if a >= total:
                if d == 0:
                    return 1, nodes
                d -= 1
                continue
            base = frame[d, 5]
            z = total
            if frame[d, 8]:
                z = a + 1
                end = last[pool[base + a]]
                while z < total and first[pool[base + z]] < end:
                    end = max(end, last[pool[base + z]])
                    z += 1
            frame[d, 7] = z
            top = base + total
            d += 1
            if frame[d - 1, 8]:
                some = np.empty(z - a, np.int64)
                for k in range(z - a):
                    some[k] = pool[base + a + k]
                some = _ordered(some, keys, static, rem, first, last)
                for k in range(z - a):
                    pool[top + k] = some[k]
                frame[d, 0], frame[d, 11] = top, 0
                top += z - a
            else:
                frame[d, 0] = base
                frame[d, 11] = frame[d - 1, 11]
            frame[d, 1] = z - a
            state = 0
        elif state == 0:
            nodes += 1
            if nodes > limit:
                return -1, nodes
            part, count, low, after = frame[d, 0], frame[d, 1], least[d - 1], frame[d, 11]
            fits = none
            lo, hi = first[pool[part]], last[pool[part]]
            for k in range(count):
                i = pool[part + k]
                fits = min(fits, lowest[i] + size[i])
                lo = min(lo, first[i])
                hi = max(hi, last[i])
            alive = fits > low
            for s in range(lo, hi):
                floor[s] = none
            frame[d, 2] = top
            m = 0
            if alive:
                for k in range(count):
                    i = pool[part + k]
                    o = lowest[i]
                    if o < low or (o == low and k < after):
                        o = none
                        for e in range(start[i], start[i + 1]):
                            j = others[e]
                            if offset[j] < 0:
                                o = min(o, max(lowest[j], low) + size[j])
                    elif o < fits:
                        at = m
                        while at > 0 and lowest[pool[part + pool[top + at - 1]]] > o:
                            pool[top + at] = pool[top + at - 1]
                            at -= 1
                        pool[top + at] = k
                        m += 1
                    if o > height - size[i]:
                        alive = False
                        break
                    for s in range(first[i], last[i]):
                        floor[s] = min(floor[s], o)
            if alive:
                for s in range(lo, hi):
                    if floor[s] < none and floor[s] + rem[s] > height:
                        alive = False
                        break
            if not alive or m == 0:
                d -= 1
                state = 2
            else:
                frame[d, 3], frame[d, 4] = m, 0
                frame[d, 5] = top + m
                frame[d, 9], frame[d, 10] = trails, places
                state = 3
        elif state == 2:
            if d == 0:
                return 0, nodes
            while places > frame[d, 10]:
                places -= 1
                j = placed[places]
                offset[j] = -1
                for s in range(first[j], last[j]):
                    rem[s] += size[j]
            while trails > frame[d, 9]:
                trails -= 1
                lowest[trail[trails, 0]] = trail[trails, 1]
            if hat[d]:
                state = 3
            else:
                d -= 1  # nothing lies on it: elsewhere it would be no better
        else:
            c = frame[d, 4]
            if c >= frame[d, 3]:
                d -= 1
                state = 2
                continue
            frame[d, 4] = c + 1
            part, count = frame[d, 0], frame[d, 1]
            position = pool[frame[d, 2] + c]
            i = pool[part + position]
            o = lowest[i]
            offset[i] = o
            placed[places] = i
            places += 1
            for s in range(first[i], last[i]):
                rem[s] -= size[i]
            hat[d] = False
            for e in range(start[i], start[i + 1]):
                j = others[e]
                if offset[j] < 0:
                    hat[d] = True
                    if lowest[j] < o + size[i]:
                        trail[trails, 0] = j
                        trail[trails, 1] = lowest[j]
                        trails += 1
                        lowest[j] = o + size[i]
            least[d] = o
            base = frame[d, 5]
            left = 0
            for k in range(count):
                if k != position:
                    pool[base + left] = pool[part + k]
                    left += 1
            frame[d, 6], frame[d, 7], frame[d, 8] = left, 0, 0
            frame[d, 11] = position
            if left > 1:
                begin = np.empty(left, np.int64)
                for k in range(left):
                    begin[k] = first[pool[base + k]]
                order = np.argsort(begin, kind="mergesort")
                end = last[pool[base + order[0]]]
                for k in range(1, left):
                    if begin[order[k]] >= end:
                        frame[d, 8] = 1
                        break
                    end = max(end, last[pool[base + order[k]]])
                if frame[d, 8]:
                    some = np.empty(left, np.int64)
                    for k in range(left):
                        some[k] = pool[base + order[k]]
                    for k in range(left):
                        pool[base + k] = some[k]
            state = 1


class Searcher:
    """The search over one problem; every call goes on with the next order and a larger budget.

    Args:
        problem: At most `MOST` buffers.
        seed: Orders after the eighth are drawn.
    """

    def __init__(self, problem: Problem, seed: int = 0) -> None:
        self.problem = problem
        self._start, self._others = problem.neighbours()
        width = (problem.upper - problem.lower).astype(np.float64)
        size = problem.size.astype(np.float64)
        self._static = np.stack(
            [-width, -width * size, np.zeros(len(size)), -size, problem.lower.astype(np.float64)]
        )
        self._random = np.random.default_rng(seed)
        self.rate = 20_000.0 if COMPILED else 200.0
        self.nodes = 0
        self._turns: dict[int, list[int]] = {}

    def run(
        self, height: int, order: str, limit: int, noise: float = 0.0
    ) -> tuple[int, np.ndarray]:
        """One search: (1 found, 0 there is none, -1 stopped) and the offsets in units."""
        p = self.problem
        static = self._static
        if noise:
            static = static * np.exp(self._random.normal(0.0, noise, static.shape))
        keys = np.array([_KEYS.index(k) for k in order], np.int64)
        offsets = np.full(len(p), -1, np.int64)
        outcome, nodes = _search(
            height, limit, p.size, p.first, p.last, keys, static, self._start, self._others,
            p.load.copy(), offsets,
        )  # fmt: skip
        self.nodes += nodes
        return int(outcome), offsets

    def below(
        self, height: int, deadline: float, tell: Callable[[float], None] | None = None
    ) -> tuple[Literal["found", "none", "time"], np.ndarray | None]:
        """Look for a plan of at most `height` units until `time.monotonic()` is `deadline`.

        Orders take turns, each with twice the nodes of the last round; from the second round on
        some more are drawn at random, so that no order's bad luck decides. A second call with the
        same height goes on where the first stopped.
        """
        if height < self.problem.bound:
            return "none", None
        began = time.monotonic()
        turns = self._turns.setdefault(height, [0, 0])
        while True:
            orders = [(o, 0.0) for o in ORDERS]
            if turns[0]:
                orders += [(o, 0.1 * min(turns[0], 5)) for o in ("TWA", "TAW", "TLW")]
            budget = (4 * len(self.problem) + 1000) * 2 ** turns[0]
            while turns[1] < len(orders):
                now = time.monotonic()
                if now >= deadline:
                    return "time", None
                if tell is not None:
                    tell(min(1.0, (now - began) / max(deadline - began, 1e-9)))
                order, noise = orders[turns[1]]
                room = max(1, int(self.rate * (deadline - now)))
                nodes = self.nodes
                outcome, offsets = self.run(height, order, min(budget, room), noise)
                if self.nodes - nodes > 2000:
                    spent = max(time.monotonic() - now, 1e-4)
                    self.rate = max(10.0, (self.nodes - nodes) / spent)
                if outcome == _FOUND:
                    return "found", offsets
                if outcome == _FAILED:
                    return "none", None
                if room < budget:
                    return "time", None
                turns[1] += 1
            turns[0], turns[1] = turns[0] + 1, 0
