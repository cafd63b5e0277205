"""Loops over requests, compiled by numba where it is installed and plain Python otherwise.

Pages are numbers from 0 on. What an online policy keeps lies in arrays that are handed in and
changed in place, so that a trace can be played in pieces. Coins are those of the plain policies: with
one seed both evict the same pages.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = [
    "COMPILED", "fifo", "flush", "later", "lfd", "lru", "mark_and_predict", "mark_zero", "marker",
    "past", "phase_starts", "phase_truth",
]  # fmt: skip

COMPILED = importlib.util.find_spec("numba") is not None
"""Whether numba is there."""


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    if not COMPILED:
        return function
    import numba

    compiled: Callable[..., Any] = numba.njit(cache=True)(function)
    return compiled


@_compiled
def _sift_down(heap: np.ndarray, at: int, size: int) -> None:
    while True:
        child = 2 * at + 1
        if child >= size:
            return
        if child + 1 < size and heap[child + 1] > heap[child]:
            child += 1
        if heap[child] <= heap[at]:
            return
        heap[at], heap[child] = heap[child], heap[at]
        at = child


@_compiled
def lfd(pages: np.ndarray, later: np.ndarray, k: int) -> tuple[int, np.ndarray]:
    """Faults of LFD and the discard bits it makes true.

    The heap holds the next use of every cached page; of one that is never used again, n and more,
    most for the least page. A hit pushes the new next use and leaves the old one, which is the
    present moment and so below all others; it is swept out when the heap has twice the pages.
    """
    n, m = len(pages), pages.max() + 1
    bits = np.zeros(n, np.uint8)
    latest = np.full(m, -1, np.int64)
    cached = np.zeros(m, np.bool_)
    k = min(k, m)
    room = 2 * k + 64
    heap = np.empty(room + 1, np.int64)
    size = used = faults = 0
    for t in range(n):
        page = pages[t]
        if not cached[page]:
            faults += 1
            if used == k:
                top = heap[0]
                size -= 1
                heap[0] = heap[size]
                _sift_down(heap, 0, size)
                out = pages[top] if top < n else m - 1 - (top - n)
                cached[out] = False
                bits[latest[out]] = 1
            else:
                used += 1
            cached[page] = True
        latest[page] = t
        if size == room:
            kept = 0
            for i in range(size):
                if heap[i] > t:
                    heap[kept] = heap[i]
                    kept += 1
            size = kept
            for i in range(size // 2 - 1, -1, -1):
                _sift_down(heap, i, size)
        key = later[t] if later[t] < n else n + (m - 1 - page)
        at = size
        size += 1
        while at > 0 and heap[(at - 1) // 2] < key:
            heap[at] = heap[(at - 1) // 2]
            at = (at - 1) // 2
        heap[at] = key
    return faults, bits


@_compiled
def later(pages: np.ndarray) -> np.ndarray:
    """The position of each page's next request; n where there is none."""
    n = len(pages)
    next_at = np.full(pages.max() + 1 if n else 0, n, np.int64)
    out = np.empty(n, np.int64)
    for t in range(n - 1, -1, -1):
        out[t] = next_at[pages[t]]
        next_at[pages[t]] = t
    return out


@_compiled
def phase_starts(pages: np.ndarray, k: int) -> np.ndarray:
    """Where k-phases begin."""
    last = np.full(pages.max() + 1, -1, np.int64)
    starts = np.empty(len(pages), np.int64)
    count = distinct = 0
    for t in range(len(pages)):
        if count == 0 or last[pages[t]] < starts[count - 1]:
            if count == 0 or distinct == k:
                starts[count] = t
                count += 1
                distinct = 0
            distinct += 1
        last[pages[t]] = t
    return starts[:count].copy()


@_compiled
def phase_truth(pages: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Phase bits: 0 where the page is requested in the following phase."""
    n, count = len(pages), len(starts)
    bits = np.ones(n, np.uint8)
    seen = np.full(pages.max() + 1, count, np.int64)  # the phase in which it was met last
    end = n
    for phase in range(count - 1, -1, -1):
        for t in range(starts[phase], end):
            if phase + 1 < count and seen[pages[t]] == phase + 1:
                bits[t] = 0
        for t in range(starts[phase], end):
            seen[pages[t]] = phase
        end = starts[phase]
    return bits


@_compiled
def past(pages: np.ndarray, gaps: int, counters: int) -> np.ndarray:
    """Logarithms of the last gaps and decayed counters of each request's page, before it came."""
    n, m = len(pages), pages.max() + 1
    out = np.zeros((n, gaps + counters), np.float32)
    last = np.full((m, gaps), -1, np.int64)  # the newest first
    count = np.zeros((m, counters))
    for t in range(n):
        page = pages[t]
        newer = t
        for g in range(gaps):
            at = last[page, g]
            out[t, g] = np.log1p(newer - at) if at >= 0 else np.log1p(2.0 * n)
            if at < 0:
                for rest in range(g + 1, gaps):
                    out[t, rest] = out[t, g]
                break
            newer = at
        gap = t - last[page, 0] if last[page, 0] >= 0 else 0
        for c in range(counters):
            count[page, c] = 1.0 + count[page, c] * 0.5 ** (gap / 2.0 ** (c + 1))
            out[t, gaps + c] = count[page, c]
        for g in range(gaps - 1, 0, -1):
            last[page, g] = last[page, g - 1]
        last[page, 0] = t
    return out


_LOW = (1 << 32) - 1


@_compiled
def draw(state: np.ndarray, n: int) -> int:
    """A whole number below n; xorshift of 32 bits (Marsaglia 2003), its state in ``state[0]``."""
    x = state[0]
    x ^= (x << 13) & _LOW
    x ^= x >> 17
    x ^= (x << 5) & _LOW
    state[0] = x
    return (x * n) >> 32


@_compiled
def _unlink(page: int, before: np.ndarray, after: np.ndarray) -> None:
    before[after[page]] = before[page]
    after[before[page]] = after[page]


@_compiled
def _append(page: int, before: np.ndarray, after: np.ndarray) -> None:
    before[page] = before[0]
    after[page] = 0
    after[before[0]] = page
    before[0] = page


@_compiled
def fifo(pages: np.ndarray, k: int, cached: np.ndarray, queue: np.ndarray, s: np.ndarray) -> int:
    """Faults of FIFO. `s` holds where the oldest is in `queue` (``[k]``) and how many there are."""
    faults = 0
    for page in pages:
        if cached[page]:
            continue
        faults += 1
        if s[1] == k:
            cached[queue[s[0]]] = 0
            queue[s[0]] = page
            s[0] = (s[0] + 1) % k
        else:
            queue[(s[0] + s[1]) % k] = page
            s[1] += 1
        cached[page] = 1
    return faults


@_compiled
def lru(
    pages: np.ndarray,
    k: int,
    cached: np.ndarray,
    before: np.ndarray,
    after: np.ndarray,
    s: np.ndarray,
) -> int:
    """Faults of LRU. Pages are linked in the order of use, page p as p + 1; 0 is both ends."""
    faults = 0
    for page in pages:
        if cached[page]:
            _unlink(page + 1, before, after)
        else:
            faults += 1
            if s[0] == k:
                out = after[0]
                _unlink(out, before, after)
                cached[out - 1] = 0
            else:
                s[0] += 1
            cached[page] = 1
        _append(page + 1, before, after)
    return faults


@_compiled
def _swap(i: int, j: int, slots: np.ndarray, where: np.ndarray) -> None:
    slots[i], slots[j] = slots[j], slots[i]
    where[slots[i]], where[slots[j]] = i, j


@_compiled
def _mark(page: int, slots: np.ndarray, where: np.ndarray, s: np.ndarray) -> None:
    """Move a page to the marked ones, which come first; s[1] is how many they are."""
    if where[page] >= s[1]:
        _swap(where[page], s[1], slots, where)
        s[1] += 1


@_compiled
def marker(pages: np.ndarray, k: int, where: np.ndarray, slots: np.ndarray, s: np.ndarray) -> int:
    """Faults of the randomised Marker. `s`: the coin's state, how many are marked, how many cached.

    `where` tells of each page its place in `slots` (``[k]``), -1 if it is not cached.
    """
    faults = 0
    for page in pages:
        if where[page] < 0:
            faults += 1
            if s[2] == k:
                if s[1] == k:
                    s[1] = 0
                at = s[1] + draw(s, k - s[1])
                where[slots[at]] = -1
            else:
                at = s[2]
                s[2] += 1
            slots[at] = page
            where[page] = at
        _mark(page, slots, where, s)
    return faults


@_compiled
def mark_and_predict(
    pages: np.ndarray, bits: np.ndarray, k: int, where: np.ndarray, slots: np.ndarray,
    latest: np.ndarray, s: np.ndarray,
) -> int:  # fmt: skip
    """Faults of Mark&Predict. As `marker`; s[3] is where the unmarked pages with bit 0 begin.

    `slots` holds the marked pages, then the unmarked ones of bit 1, then those of bit 0.
    """
    faults = 0
    for t in range(len(pages)):
        page = pages[t]
        if where[page] < 0:
            faults += 1
            if s[2] == k:
                if s[1] == k:
                    s[1] = s[3] = 0
                    for i in range(k):
                        if latest[slots[i]] == 1:
                            _swap(i, s[3], slots, where)
                            s[3] += 1
                end = s[3] if s[3] > s[1] else k
                at = s[1] + draw(s, end - s[1])
                where[slots[at]] = -1
            else:
                at = s[2]
                s[2] += 1
            slots[at] = page
            where[page] = at
        latest[page] = bits[t]
        if where[page] >= s[1]:
            if where[page] >= s[3]:
                _swap(where[page], s[3], slots, where)
                s[3] += 1
            _swap(where[page], s[1], slots, where)
            s[1] += 1
    return faults


@_compiled
def flush(
    pages: np.ndarray, bits: np.ndarray, k: int, held: np.ndarray, before: np.ndarray,
    after: np.ndarray, s: np.ndarray,
) -> int:  # fmt: skip
    """Faults of FlushWhenAll0s. `s`: the present epoch, and how many are cached.

    ``held[page]`` is 2 * epoch + bit for a cached page; a flush begins an epoch. Pages of bit 1 are
    linked in the order of use.
    """
    faults = 0
    for t in range(len(pages)):
        page, now = pages[t], 2 * s[0]
        if held[page] >= now:
            if held[page] == now + 1:
                _unlink(page + 1, before, after)
        else:
            faults += 1
            if s[1] == k:
                out = after[0]
                if out:
                    _unlink(out, before, after)
                    held[out - 1] = 0
                    s[1] -= 1
                else:
                    s[0] += 1
                    s[1] = 0
                    now += 2
            s[1] += 1
        held[page] = now + bits[t]
        if bits[t]:
            _append(page + 1, before, after)
    return faults


@_compiled
def mark_zero(
    pages: np.ndarray, bits: np.ndarray, k: int, lazy: bool, where: np.ndarray, slots: np.ndarray,
    before: np.ndarray, after: np.ndarray, s: np.ndarray,
) -> int:  # fmt: skip
    """Faults of Mark0. As `marker` for pages of bit 0; those of bit 1 have -2 for a place.

    Pages of bit 1 are linked in the order of use; s[3] counts them. Eagerly there are none.
    """
    faults = 0
    for t in range(len(pages)):
        page = pages[t]
        if where[page] == -2:
            _unlink(page + 1, before, after)
            where[page] = -1
            s[3] -= 1
        elif where[page] == -1:
            faults += 1
            if s[2] + s[3] == k:
                if s[3]:
                    out = after[0]
                    _unlink(out, before, after)
                    where[out - 1] = -1
                    s[3] -= 1
                else:
                    if s[1] == s[2]:
                        s[1] = 0
                    at = s[1] + draw(s, s[2] - s[1])
                    gone = slots[at]
                    s[2] -= 1
                    _swap(at, s[2], slots, where)
                    where[gone] = -1
        if bits[t] == 0:
            if where[page] < 0:
                slots[s[2]] = page
                where[page] = s[2]
                s[2] += 1
            _mark(page, slots, where, s)
            continue
        if where[page] >= 0:
            if where[page] < s[1]:
                s[1] -= 1
                _swap(where[page], s[1], slots, where)
            s[2] -= 1
            _swap(where[page], s[2], slots, where)
            where[page] = -1
        if lazy:
            where[page] = -2
            _append(page + 1, before, after)
            s[3] += 1
    return faults
