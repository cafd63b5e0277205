"""The authors' sampling with numpy's legacy generator, draw for draw, for pairs that match theirs.

Their procedure rejects where `make_pairs` draws from a list, and permutes the whole book for every
excerpt; both are kept, since every call moves the stream of random numbers on. They have it twice, for
texts and for arrays (here sequences without sentences). The one for arrays takes a distance equal to
the upper edge, keeps the excerpts of a draw that was not even and judges them with the next, and
holds the places of segments against the uniform distribution.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from byheart.core.errors import DataError, UsageError

if TYPE_CHECKING:
    from byheart.audits._sort.books import Book

__all__ = ["book_seed", "reference_draw"]

_TRIES = 10_000
_REDRAWS = 100
_KS = 0.05


def book_seed(number: int, excerpt: int, segment: int) -> int:
    """The authors' seed for a book: its number at Project Gutenberg plus both lengths.

    >>> book_seed(69087, 250, 20)
    69357
    """
    return number + excerpt + segment


def reference_draw(
    book: Book, excerpt: int, segment: int, n: int, extra: int, edges: Sequence[int], seed: int
) -> list[tuple[int, list[tuple[int, int]]]]:
    """Starts of excerpts, and of the segments in the order shown, as `make_pairs` wants them.

    Raises:
        UsageError: If ``n + extra`` is odd, or the seed too large for the legacy generator.
        DataError: If more than `extra` excerpts fail, or positions are not spread evenly.
    """
    total = n + extra
    if total % 2:
        raise UsageError(f"compat=True needs an even n + extra, got {n} + {extra}")
    if seed >= 1 << 32:
        raise UsageError(f"compat=True takes seeds below 2**32, got {seed}")
    rng = np.random.RandomState(seed)
    starts = _excerpts(book, excerpt, total, rng)
    sides = np.tile([0, 1], total // 2)
    failed: set[int] = set()
    spots: list[np.ndarray] = []
    pools: list[np.ndarray] = []
    for low, high in itertools.pairwise(edges):
        order = rng.permutation(sides)
        table = np.zeros((total, 2), dtype=int)
        for i, start in enumerate(starts):
            free = _free(book, start, excerpt, segment)
            found = _pair(free, low, high, rng, book.sentences)
            if found is None:
                failed.add(i)
                continue
            pools.append(free)
            a, b = found
            table[i] = (a, b) if (a < b) == (order[i] == 0) else (b, a)
        spots.append(table)
    drop = _dropped(failed, total, extra, rng, book.id)
    kept = [i for i in range(total) if i not in drop]
    shown = np.concatenate([table[kept, 0] for table in spots])
    if not _even_over(shown, np.concatenate(pools) if book.sentences else excerpt - segment):
        raise DataError(
            f"{book.id}: the positions of segments differ from those that were possible (seed "
            f"{seed}); the authors' procedure gives up here, so take another seed"
        )
    return [(starts[i], [(int(table[i, 0]), int(table[i, 1])) for table in spots]) for i in kept]


def _excerpts(book: Book, length: int, total: int, rng: np.random.RandomState) -> list[int]:
    from scipy.stats import kstest
    from scipy.stats import uniform as flat

    size = len(book)
    starts: list[int] = []
    for _ in range(_REDRAWS + 1):
        if book.sentences:
            starts = []
        for _ in range(total):
            start = int(rng.choice(range(size - length), replace=False))
            while start > 0 and not book.starts[start]:
                start -= 1
            starts.append(start)
        spread = flat(loc=0.0, scale=(size - length) / size).cdf
        if kstest([s / size for s in starts], spread).pvalue > _KS:
            return starts[:total]
    raise DataError(f"{book.id}: excerpts could not be spread evenly over the book")


def _free(book: Book, start: int, excerpt: int, segment: int) -> np.ndarray:
    free = book.starts[start : start + excerpt - segment].copy()
    free[0] = True
    return np.flatnonzero(free)


def _pair(
    free: np.ndarray, low: int, high: int, rng: np.random.RandomState, sentences: bool
) -> tuple[int, int] | None:
    for _ in range(_TRIES + 1):
        one = rng.choice(free, replace=False)
        offsets = free - one
        offsets = offsets[offsets != 0]
        fitting = offsets[(np.abs(offsets) > low) & (np.abs(offsets) <= high)]
        if len(fitting):
            two = one + rng.choice(fitting)
            apart = abs(int(two) - int(one))
            return (int(one), int(two)) if apart < high or not sentences else None
    return None


def _dropped(
    failed: set[int], total: int, extra: int, rng: np.random.RandomState, name: str
) -> set[int]:
    if not failed:
        return set(rng.choice(list(range(total)), extra, replace=False).tolist())
    if len(failed) > extra:
        raise DataError(
            f"{name}: {len(failed)} of {total} excerpts have no pair in some bin, and {extra} may be "
            "dropped; raise extra or take another seed"
        )
    rest = list(failed ^ set(range(total)))
    return failed | set(rng.choice(rest, extra - len(failed), replace=False).tolist())


def _even_over(shown: np.ndarray, among: np.ndarray | int) -> bool:
    """Against the places that were possible, or against all from 0 on."""
    from scipy.stats import kstest
    from scipy.stats import uniform as flat

    told = flat(loc=0.0, scale=among).cdf if isinstance(among, int) else among
    return bool(kstest(shown, told).pvalue > _KS)
