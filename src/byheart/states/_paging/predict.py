"""Predictions of when a page is requested again, from its past alone, or from the truth with noise.

All are positions in the trace, ``[n]``, as `simulate(predicted=...)` takes them: the first request
has position 0.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from byheart.core.errors import UsageError
from byheart.states._paging.bits import next_use, pages_of

__all__ = ["noisy_next", "pleco", "popu"]


def noisy_next(trace: Iterable[Any], sigma: float, seed: int = 0) -> np.ndarray:
    """The true next request with log-normal noise added; never is 10,000 lengths away.

    The synthetic predictor of Lykouris and Vassilvitskii (arXiv 1802.05399). Noise is never
    negative: only the order of the predictions means something.
    """
    if not sigma >= 0 or math.isinf(sigma):
        raise UsageError(f"sigma is at least 0, got {sigma!r}")
    pages = pages_of(trace)
    later = next_use(pages).astype(float)
    later[later == len(pages)] *= 10_000
    return later + np.random.default_rng(seed).lognormal(0, sigma, len(pages))


def popu(trace: Iterable[Any]) -> np.ndarray:
    """A page comes at its rate so far: t + t / count, t from 1 on (Antoniadis et al., 2003.02144)."""
    pages = pages_of(trace)
    order = np.argsort(pages, kind="stable")
    rank = np.arange(len(pages))
    first = np.flatnonzero(np.diff(pages[order], prepend=-1))
    counts = np.empty(len(pages), np.int64)
    counts[order] = rank - np.repeat(first, np.diff(first, append=len(pages))) + 1
    t = np.arange(1, len(pages) + 1)
    return t + t / counts


def pleco(
    trace: Iterable[Any], *, power: float = -1.8, offset: float = 10.0, decay: float = 670.0
) -> np.ndarray:
    """PLECO: a page's probability is the weight of its past requests among all past requests'.

    A request d steps back (1 for the present one) weighs ``(d + offset) ** power * exp(-d / decay)``;
    the page is expected after the reciprocal of its share. Time grows with each page's requests
    squared. The constants are those fitted to BrightKite by Anderson et al. (2014).
    """
    pages = pages_of(trace)
    n = len(pages)
    lag = np.arange(1, n + 1)
    weight = (lag + offset) ** power * np.exp(-lag / decay)
    total = np.cumsum(weight)
    order = np.argsort(pages, kind="stable")
    out = np.empty(n)
    for at in np.split(order, np.flatnonzero(np.diff(pages[order])) + 1):
        for i, t in enumerate(at.tolist()):
            out[t] = t + total[t] / weight[t - at[: i + 1]].sum()
    return out
