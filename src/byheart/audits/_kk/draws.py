"""The draws of numpy's `Generator`, taken from the raw stream of PCG64.

numpy promises that `PCG64(seed)` gives the same 64-bit stream for ever, and promises nothing of the
kind for the methods of `Generator`. The published puzzles were drawn with those methods (numpy 1.17
to 2.x agree), so they are written down here: whoever has `PCG64` gets the same puzzles. Scalars cost
a tenth of numpy's, which are made for arrays.
"""

from __future__ import annotations

from collections.abc import MutableSequence, Sequence
from typing import TypeVar

import numpy as np

from byheart.core.errors import UsageError

__all__ = ["Draws"]

T = TypeVar("T")

_BLOCK = 512


class Draws:
    """`integers`, `choice` and `shuffle` as ``numpy.random.default_rng(seed)`` has them.

    Args:
        seed: As for `default_rng`; not negative.

    >>> draws, rng = Draws(7), np.random.default_rng(7)
    >>> [draws.integers(0, 6) for _ in range(5)] == [int(rng.integers(0, 6)) for _ in range(5)]
    True
    """

    def __init__(self, seed: int) -> None:
        if seed < 0:
            raise UsageError(f"seed must not be negative, got {seed}")
        self._bits = np.random.PCG64(seed)
        self._words: list[int] = []
        self._at = 0

    def _next(self) -> int:
        """The next 32 bits: PCG64 hands out the lower half of a word, then the upper."""
        if self._at == len(self._words):
            words = self._bits.random_raw(_BLOCK)
            self._words = np.column_stack([words & 0xFFFFFFFF, words >> 32]).ravel().tolist()
            self._at = 0
        self._at += 1
        return self._words[self._at - 1]

    def integers(self, low: int, high: int) -> int:
        """A whole number from `low` (included) to `high` (not); nothing is drawn if only one fits.

        Lemire's bounded rejection, for ranges below 2^32.
        """
        width = high - low
        if width == 1:
            return low
        if not 1 < width < 1 << 32:
            raise UsageError(f"low must be below high, less than 2^32 apart, got {low}, {high}")
        product = self._next() * width
        if product & 0xFFFFFFFF < width:
            least = ((1 << 32) - width) % width
            while product & 0xFFFFFFFF < least:
                product = self._next() * width
        return low + (product >> 32)

    def choice(self, pool: Sequence[T]) -> T:
        """One of `pool`."""
        return pool[self.integers(0, len(pool))]

    def sample(self, pool: Sequence[T], size: int) -> list[T]:
        """`size` different ones of `pool`, as ``choice(pool, size, replace=False)``.

        Floyd's algorithm, then a shuffle; numpy does so for pools of up to 10,000.

        Raises:
            UsageError: If `pool` is too small or too large.
        """
        n = len(pool)
        if not 0 <= size <= n or n > 10_000:
            raise UsageError(f"cannot draw {size} of {n} without replacement (pools to 10,000)")
        picked: list[int] = []
        taken: set[int] = set()
        for top in range(n - size, n):
            at = self.integers(0, top + 1)
            if at in taken:
                at = top
            taken.add(at)
            picked.append(at)
        for i in range(size - 1, 0, -1):
            j = self.integers(0, i + 1)
            picked[i], picked[j] = picked[j], picked[i]
        return [pool[i] for i in picked]

    def shuffle(self, items: MutableSequence[T]) -> None:
        """Put a list in random order, in place; masked rejection, as numpy's for lists."""
        for i in range(len(items) - 1, 0, -1):
            mask = (1 << i.bit_length()) - 1
            j = self._next() & mask
            while j > i:
                j = self._next() & mask
            items[i], items[j] = items[j], items[i]
