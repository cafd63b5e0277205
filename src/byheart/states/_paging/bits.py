"""The true bits of a trace, what is wrong with predicted ones, and the optimum.

- discard bit of a request: 1 if LFD (Belady) evicts the page before its next request; else 0
- phase bit of a request: 0 if the page is requested in the following k-phase; else 1

Antoniadis et al., "Paging with Succinct Predictions" (arXiv 2210.02775), section 1. LFD's ties
(pages that are never requested again) are broken by page: the least first, so that the bits are the
same on every machine; the cost is the same however they are broken.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from byheart.core.errors import DataError, UsageError
from byheart.states._paging import kernels

__all__ = [
    "Trace", "bit_errors", "bits_of", "cache_size", "discard_bits", "flip", "next_use", "opt", "pages_of", "phase_bits",
    "phases",
]  # fmt: skip


@dataclass(frozen=True)
class Trace:
    """Requests whose pages are numbered already.

    Args:
        pages: ``[n]`` int64 from 0 on, in the order of the pages' names.
        names: ``[m]`` of each page, where they are known.
    """

    pages: np.ndarray
    names: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.pages)

    def __iter__(self) -> Iterator[int]:
        return iter(self.pages.tolist())

    @property
    def distinct(self) -> int:
        """How many pages there are."""
        return int(self.pages.max()) + 1 if len(self.pages) else 0


def cache_size(k: Any) -> int:
    """k if it is a whole number of at least 1.

    Raises:
        UsageError: It is not.
    """
    if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
        raise UsageError(f"a cache holds at least 1 page, got k={k!r}")
    return int(k)


def pages_of(trace: Iterable[Any]) -> np.ndarray:
    """Requests as numbers from 0 on, in the order of the pages' names: ``[n]`` int64.

    Args:
        trace: Pages, any that can be compared: numbers or texts.

    Raises:
        DataError: No request, more than one dimension, NaN, or pages that cannot be compared.
    """
    if isinstance(trace, Trace):
        return trace.pages
    try:
        given = np.asarray(trace if isinstance(trace, np.ndarray) else list(trace))
    except ValueError as error:
        raise DataError(f"the trace is not a sequence of pages: {error}") from error
    if given.ndim != 1:
        raise DataError(f"a trace has one dimension, got shape {given.shape}")
    if not len(given):
        raise DataError("the trace is empty: there is no request in it")
    if given.dtype.kind == "f" and np.isnan(given).any():
        raise DataError(f"request {int(np.isnan(given).argmax())} is NaN, which is no page")
    try:
        return np.unique(given, return_inverse=True)[1].astype(np.int64).reshape(-1)
    except TypeError as error:
        raise DataError(f"the pages cannot be compared with each other: {error}") from error


def next_use(pages: np.ndarray) -> np.ndarray:
    """When each request's page is requested again: ``[n]``, n where it never is.

    >>> next_use(np.array([0, 1, 0, 0])).tolist()
    [2, 4, 3, 4]
    """
    out: np.ndarray = kernels.later(pages)
    return out


def opt(trace: Iterable[Any], k: int) -> int:
    """Faults of the optimal schedule (LFD), cold misses included.

    >>> opt("abcab", 2)
    4
    """
    pages = pages_of(trace)
    return int(kernels.lfd(pages, next_use(pages), cache_size(k))[0])


def discard_bits(trace: Iterable[Any], k: int) -> np.ndarray:
    """The true discard bits: ``[n]`` uint8.

    >>> discard_bits("abcab", 2).tolist()
    [0, 1, 0, 1, 0]
    """
    pages = pages_of(trace)
    bits: np.ndarray = kernels.lfd(pages, next_use(pages), cache_size(k))[1]
    return bits


def phases(trace: Iterable[Any], k: int) -> np.ndarray:
    """Where the k-phases begin: the greedy partition into runs of at most k pages.

    >>> phases("aabcab", 2).tolist()
    [0, 3, 5]
    """
    return kernels.phase_starts(pages_of(trace), cache_size(k))


def phase_bits(trace: Iterable[Any], k: int) -> np.ndarray:
    """The true phase bits, 1 throughout the last phase: ``[n]`` uint8.

    >>> phase_bits("aabcab", 2).tolist()
    [0, 0, 1, 1, 1, 1]
    """
    pages = pages_of(trace)
    starts = kernels.phase_starts(pages, cache_size(k))
    return kernels.phase_truth(pages, starts)


def flip(bits: np.ndarray, p: float, seed: int = 0) -> np.ndarray:
    """Bits of which each is turned around with probability p.

    Raises:
        UsageError: p is no probability, or something is no bit.
    """
    if not 0 <= p <= 1:
        raise UsageError(f"p is a probability, got {p!r}")
    bits = bits_of(bits, len(bits))
    return bits ^ (np.random.default_rng(seed).random(len(bits)) < p).astype(np.uint8)


def bits_of(bits: Any, n: int) -> np.ndarray:
    """Bits of n requests as ``[n]`` uint8.

    Raises:
        UsageError: Another number of them, or one that is neither 0 nor 1.
    """
    out = np.asarray(bits)
    if out.shape != (n,):
        raise UsageError(f"{n} requests need {n} bits, got shape {out.shape}")
    wrong = ~((out == 0) | (out == 1))
    if wrong.any():
        at = int(wrong.argmax())
        raise UsageError(f"bit {at} is {out[at]!r}; a bit is 0 or 1")
    return out.astype(np.uint8)


def bit_errors(predicted: np.ndarray, true: np.ndarray) -> tuple[int, int]:
    """eta0, how many were predicted 0 and are 1; and eta1, predicted 1 and are 0.

    >>> bit_errors(np.array([0, 0, 1]), np.array([1, 0, 0]))
    (1, 1)
    """
    true = bits_of(true, len(true))
    predicted = bits_of(predicted, len(true))
    return int(np.sum(predicted < true)), int(np.sum(predicted > true))
