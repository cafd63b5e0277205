"""Eviction policies, one request at a time; the plain form that `kernels` is held to.

A policy is told each request with a hint, and says whether it was a hit and what it evicted. What
the hint is depends on the policy (`Policy.hint`): nothing, a predicted bit, or a predicted time of
the next request. Pages are any hashable things.
"""

from __future__ import annotations

import heapq
import math
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple

from byheart.core.errors import UsageError
from byheart.states._paging.bits import cache_size

__all__ = [
    "FIFO", "LRU", "POLICIES", "Access", "BlindOracle", "Coin", "FlushWhenAll0s", "LMarker",
    "LNonMarker", "Mark0", "MarkAndPredict", "Marker", "Policy", "PredictiveMarker", "Random",
]  # fmt: skip

Page = Hashable


class Access(NamedTuple):
    """What a request did.

    Args:
        hit: Whether the page was there.
        evicted: What left the cache for it, or with it.
    """

    hit: bool
    evicted: Sequence[Page] = ()


class Coin:
    """Whole numbers below n; xorshift of 32 bits (Marsaglia 2003), as in the compiled loops.

    >>> coin = Coin(0)
    >>> all(0 <= coin.below(3) < 3 for _ in range(100))
    True
    """

    def __init__(self, seed: int) -> None:
        # any seed to a state that is not 0, close seeds far apart (Knuth's multiplicative hash)
        self.state = (int(seed) * 2654435761 + 2463534242) % (2**32 - 1) + 1

    def below(self, n: int) -> int:
        """A number from 0 to n - 1."""
        x = self.state
        x ^= (x << 13) & 0xFFFFFFFF
        x ^= x >> 17
        x ^= (x << 5) & 0xFFFFFFFF
        self.state = x
        return (x * n) >> 32


class Policy(ABC):
    """A cache of k pages of one size.

    Args:
        k: Pages.
        seed: Of its coins, where it throws any.
    """

    hint: str = ""
    """What it is told with a request: "", "discard", "phase" or "next"."""
    title = ""

    def __init__(self, k: int, seed: int = 0) -> None:
        self.k, self.coin = cache_size(k), Coin(seed)

    @abstractmethod
    def access(self, page: Page, hint: Any = None) -> Access:
        """Serve a request."""

    def evict(self) -> Sequence[Page]:
        """Take out what it would evict now; at least one page, unless it is empty.

        Raises:
            UsageError: The policy cannot do so outside of a request.
        """
        raise UsageError(f"{type(self).__name__} evicts for a request only")

    def drop(self, page: Page) -> bool:
        """Take a page out that its owner gave up; whether it was there.

        Raises:
            UsageError: The policy cannot forget a page.
        """
        raise UsageError(f"{type(self).__name__} cannot drop a page")

    @abstractmethod
    def __contains__(self, page: object) -> bool: ...

    @abstractmethod
    def __len__(self) -> int: ...


class FIFO(Policy):
    """Evicts what came first."""

    title = "FIFO"

    def __init__(self, k: int, seed: int = 0) -> None:
        super().__init__(k, seed)
        self._queue: OrderedDict[Page, None] = OrderedDict()

    def access(self, page: Page, hint: Any = None) -> Access:
        """Serve a request."""
        if page in self._queue:
            return Access(True)
        out = self.evict() if len(self._queue) == self.k else []
        self._queue[page] = None
        return Access(False, out)

    def evict(self) -> Sequence[Page]:
        """Take out the first."""
        return [self._queue.popitem(last=False)[0]] if self._queue else []

    def drop(self, page: Page) -> bool:
        """Take a page out."""
        return self._queue.pop(page, self) is not self

    def __contains__(self, page: object) -> bool:
        return page in self._queue

    def __len__(self) -> int:
        return len(self._queue)


class LRU(FIFO):
    """Evicts what was used longest ago."""

    title = "LRU"

    def access(self, page: Page, hint: Any = None) -> Access:
        """Serve a request."""
        if page in self._queue:
            self._queue.move_to_end(page)
            return Access(True)
        return super().access(page)


class _Slots:
    """Pages in a list, the marked ones first, so that one of the others is chosen at once."""

    def __init__(self) -> None:
        self.slots: list[Page] = []
        self.where: dict[Page, int] = {}
        self.marked = 0

    def swap(self, i: int, j: int) -> None:
        self.slots[i], self.slots[j] = self.slots[j], self.slots[i]
        self.where[self.slots[i]], self.where[self.slots[j]] = i, j

    def add(self, page: Page) -> None:
        self.where[page] = len(self.slots)
        self.slots.append(page)

    def mark(self, page: Page) -> None:
        if self.where[page] >= self.marked:
            self.swap(self.where[page], self.marked)
            self.marked += 1

    def replace(self, at: int, page: Page) -> Page:
        out = self.slots[at]
        del self.where[out]
        self.slots[at], self.where[page] = page, at
        return out

    def remove(self, page: Page) -> None:
        if self.where[page] < self.marked:
            self.marked -= 1
            self.swap(self.where[page], self.marked)
        self.swap(self.where[page], len(self.slots) - 1)
        self.slots.pop()
        del self.where[page]


class Random(Policy):
    """Evicts any page, each with the same probability."""

    title = "random"

    def __init__(self, k: int, seed: int = 0) -> None:
        super().__init__(k, seed)
        self._s = _Slots()

    def access(self, page: Page, hint: Any = None) -> Access:
        """Serve a request."""
        if page in self._s.where:
            return Access(True)
        if len(self._s.slots) < self.k:
            self._s.add(page)
            return Access(False)
        return Access(False, [self._s.replace(self._place(page), page)])

    def evict(self) -> Sequence[Page]:
        """Take out one."""
        if not self._s.slots:
            return []
        out = self._s.slots[self._place(None)]
        self.drop(out)
        return [out]

    def _place(self, page: Page) -> int:
        """Where the page is that goes for another."""
        return self.coin.below(len(self._s.slots))

    def drop(self, page: Page) -> bool:
        """Take a page out."""
        if page not in self._s.where:
            return False
        self._s.remove(page)
        return True

    def __contains__(self, page: object) -> bool:
        return page in self._s.where

    def __len__(self) -> int:
        return len(self._s.slots)


class Marker(Random):
    """Marks what is requested and evicts a random unmarked page; 2 H_k-competitive.

    Fiat, Karp, Luby, McGeoch, Sleator, Young (1991).
    """

    title = "Marker"

    def access(self, page: Page, hint: Any = None) -> Access:
        """Serve a request."""
        s, out = self._s, []
        hit = page in s.where
        if not hit and len(s.slots) == self.k:
            out = [s.replace(self._place(page), page)]
        elif not hit:
            s.add(page)
        self._told(page, hint)
        s.mark(page)
        return Access(hit, out)

    def _place(self, page: Page) -> int:
        if self._s.marked == len(self._s.slots):
            self._new_phase()
        return self._victim(page)

    def _new_phase(self) -> None:
        self._s.marked = 0

    def _victim(self, page: Page) -> int:
        return self._s.marked + self.coin.below(len(self._s.slots) - self._s.marked)

    def _told(self, page: Page, hint: Any) -> None:
        """Note the hint of a page that is in the cache and not marked anew yet."""


class MarkAndPredict(Marker):
    """Marker that evicts a page predicted not to be in the next phase first: (2, H_k, 1).

    Antoniadis et al. (arXiv 2210.02775); the algorithm is reconstructed from its bounds. Alone it is
    not robust: see `Combine`.
    """

    hint = "phase"
    title = "Mark&Predict"

    def __init__(self, k: int, seed: int = 0) -> None:
        super().__init__(k, seed)
        self._bits: dict[Page, int] = {}
        self._zeros = 0  # where the unmarked pages of bit 0 begin

    def access(self, page: Page, hint: Any = None) -> Access:
        """Serve a request; the hint is its phase bit."""
        done = super().access(page, hint)
        for gone in done.evicted:
            self._bits.pop(gone, None)
        return done

    def _new_phase(self) -> None:
        s = self._s
        s.marked = self._zeros = 0
        for i in range(len(s.slots)):
            if self._bits[s.slots[i]]:
                s.swap(i, self._zeros)
                self._zeros += 1

    def _victim(self, page: Page) -> int:
        s = self._s
        end = self._zeros if self._zeros > s.marked else len(s.slots)
        return s.marked + self.coin.below(end - s.marked)

    def _told(self, page: Page, hint: Any) -> None:
        self._bits[page] = _bit(hint)
        s = self._s
        if s.where[page] >= max(self._zeros, s.marked):
            s.swap(s.where[page], self._zeros)
            self._zeros += 1

    def drop(self, page: Page) -> bool:
        """Take a page out."""
        s = self._s
        if page not in s.where:
            return False
        del self._bits[page]
        if s.where[page] < self._zeros and s.where[page] >= s.marked:
            self._zeros -= 1
            s.swap(s.where[page], self._zeros)
        elif s.where[page] < s.marked:
            s.marked -= 1
            s.swap(s.where[page], s.marked)
            self._zeros -= 1
            s.swap(s.where[page], self._zeros)
        s.remove(page)
        return True


def _bit(hint: Any) -> int:
    if hint not in (0, 1):
        raise UsageError(f"a request needs a bit, 0 or 1, got {hint!r}")
    return int(hint)


class FlushWhenAll0s(Policy):
    """Evicts pages of bit 1; where there is none, everything: (1, k - 1, 1).

    Antoniadis et al. (arXiv 2210.02775), for discard bits. Of several pages of bit 1 the one that
    was used longest ago goes.
    """

    hint = "discard"
    title = "FlushWhenAll0s"

    def __init__(self, k: int, seed: int = 0) -> None:
        super().__init__(k, seed)
        self._zeros: OrderedDict[Page, None] = OrderedDict()
        self._ones: OrderedDict[Page, None] = OrderedDict()

    def access(self, page: Page, hint: Any = None) -> Access:
        """Serve a request; the hint is its discard bit."""
        bit = _bit(hint)
        hit, out = page in self, []
        if hit:
            self.drop(page)
        elif len(self) == self.k:
            out = self.evict()
        (self._ones if bit else self._zeros)[page] = None
        return Access(hit, out)

    def evict(self) -> list[Page]:
        """Take out a page of bit 1, or all."""
        if self._ones:
            return [self._ones.popitem(last=False)[0]]
        out = list(self._zeros)
        self._zeros.clear()
        return out

    def drop(self, page: Page) -> bool:
        """Take a page out."""
        there = page in self
        self._zeros.pop(page, None)
        self._ones.pop(page, None)
        return there

    def __contains__(self, page: object) -> bool:
        return page in self._zeros or page in self._ones

    def __len__(self) -> int:
        return len(self._zeros) + len(self._ones)


class Mark0(Policy):
    """Marker over the pages of bit 0; those of bit 1 go first: (1, 2 H_k, 1).

    Antoniadis et al. (arXiv 2210.02775), for discard bits.

    Args:
        k: Pages.
        seed: Of its coins.
        lazy: Pages of bit 1 stay until room is needed, the least recently used first. With the same
            coins its cache contains the eager one's, so it never faults more.
    """

    hint = "discard"

    def __init__(self, k: int, seed: int = 0, *, lazy: bool = True) -> None:
        super().__init__(k, seed)
        self.lazy = lazy
        self._s = _Slots()
        self._ones: OrderedDict[Page, None] = OrderedDict()

    @property
    def title(self) -> str:  # type: ignore[override]
        """How tables call it."""
        return "Mark0" if self.lazy else "Mark0, eager"

    def access(self, page: Page, hint: Any = None) -> Access:
        """Serve a request; the hint is its discard bit."""
        bit, s, out = _bit(hint), self._s, []
        hit = page in self
        if hit:
            self._ones.pop(page, None)
        elif len(self) == self.k:
            out = self.evict()
        if not bit:
            if page not in s.where:
                s.add(page)
            s.mark(page)
            return Access(hit, out)
        if page in s.where:
            s.remove(page)
        if self.lazy:
            self._ones[page] = None
            return Access(hit, out)
        return Access(hit, [*out, page])

    def evict(self) -> list[Page]:
        """Take out a page of bit 1, or a random unmarked one."""
        s = self._s
        if self._ones:
            return [self._ones.popitem(last=False)[0]]
        if not s.slots:
            return []
        if s.marked == len(s.slots):
            s.marked = 0
        out = s.slots[s.marked + self.coin.below(len(s.slots) - s.marked)]
        s.remove(out)
        return [out]

    def drop(self, page: Page) -> bool:
        """Take a page out."""
        there = page in self
        self._ones.pop(page, None)
        if page in self._s.where:
            self._s.remove(page)
        return there

    def __contains__(self, page: object) -> bool:
        return page in self._s.where or page in self._ones

    def __len__(self) -> int:
        return len(self._s.slots) + len(self._ones)


class BlindOracle(Policy):
    """Evicts the page whose next request is predicted to be furthest away (FollowPred).

    With true times it is Belady's LFD.
    """

    hint = "next"
    title = "BlindOracle"

    def __init__(self, k: int, seed: int = 0) -> None:
        super().__init__(k, seed)
        self._next: dict[Page, float] = {}
        self._heap: list[tuple[float, int, Page]] = []
        self._count = 0

    def access(self, page: Page, hint: Any = None) -> Access:
        """Serve a request; the hint is when the page is expected again, inf for never."""
        if hint is None or math.isnan(hint):
            raise UsageError(f"a request needs a predicted time, got {hint!r}")
        hit, out = page in self._next, []
        if not hit and len(self._next) == self.k:
            out = self.evict()
        self._next[page] = hint
        self._count += 1
        heapq.heappush(self._heap, (-hint, self._count, page))
        if len(self._heap) > 2 * len(self._next) + 64:
            live = [e for e in self._heap if self._next.get(e[2]) == -e[0]]
            self._heap = list({e[2]: e for e in live}.values())
            heapq.heapify(self._heap)
        return Access(hit, out)

    def evict(self) -> list[Page]:
        """Take out the one that is expected last."""
        while self._heap:
            entry = heapq.heappop(self._heap)
            if self._next.get(entry[2]) == -entry[0]:
                del self._next[entry[2]]
                return [entry[2]]
        return []

    def drop(self, page: Page) -> bool:
        """Take a page out."""
        return self._next.pop(page, None) is not None

    def __contains__(self, page: object) -> bool:
        return page in self._next

    def __len__(self) -> int:
        return len(self._next)


class _Predicted(Marker):
    """A marking policy that remembers what was unmarked when the phase began, and the predictions."""

    hint = "next"

    def __init__(self, k: int, seed: int = 0) -> None:
        super().__init__(k, seed)
        self._next: dict[Page, float] = {}
        self._stale: set[Page] = set()

    def access(self, page: Page, hint: Any = None) -> Access:
        """Serve a request; the hint is when the page is expected again."""
        if hint is None or math.isnan(hint):
            raise UsageError(f"a request needs a predicted time, got {hint!r}")
        done = super().access(page, hint)
        for gone in done.evicted:
            self._next.pop(gone, None)
        return done

    def _new_phase(self) -> None:
        super()._new_phase()
        self._stale = set(self._s.slots)

    def _told(self, page: Page, hint: Any) -> None:
        self._next[page] = hint

    def _furthest(self) -> int:
        s = self._s
        return max(range(s.marked, len(s.slots)), key=lambda i: self._next[s.slots[i]])


class LMarker(_Predicted):
    """A clean page evicts the unmarked page predicted furthest, a stale one a random unmarked page.

    Rohatgi (arXiv 1910.12172). Clean: not in the cache when the phase began.
    """

    title = "LMarker"

    def _victim(self, page: Page) -> int:
        return super()._victim(page) if page in self._stale else self._furthest()


def harmonic(n: int) -> float:
    """1 + 1/2 + ... + 1/n; beyond a million terms by Euler's constant, which is off by 1e-14.

    >>> round(harmonic(3), 4), round(harmonic(2**31), 4)
    (1.8333, 22.0648)
    """
    if n <= 1_000_000:
        return math.fsum(1 / i for i in range(1, n + 1))
    return math.log(n) + 0.5772156649015329 + 1 / (2 * n)


class PredictiveMarker(_Predicted):
    """Marker that follows predictions along a chain of evictions until it is too long.

    Lykouris and Vassilvitskii (arXiv 1802.05399): a clean page begins a chain; a stale page that was
    evicted for a chain goes on with it. Up to H_k links the unmarked page predicted furthest is
    evicted, then a random one.
    """

    title = "PredictiveMarker"

    def __init__(self, k: int, seed: int = 0) -> None:
        super().__init__(k, seed)
        self._chain: dict[Page, int] = {}  # which chain a page was evicted for
        self._lengths: list[int] = []
        self._most = harmonic(self.k)

    def _new_phase(self) -> None:
        super()._new_phase()
        self._chain, self._lengths = {}, []

    def _victim(self, page: Page) -> int:
        if page in self._stale and page in self._chain:
            chain = self._chain[page]
            self._lengths[chain] += 1
        else:
            chain = len(self._lengths)
            self._lengths.append(1)
        follow = self._lengths[chain] <= self._most
        at = self._furthest() if follow else super()._victim(page)
        self._chain[self._s.slots[at]] = chain
        return at


class LNonMarker(_Predicted):
    """As `LMarker`, but a stale page whose evictor was clean evicts any page, marked or not.

    Rohatgi (arXiv 1910.12172). Not robust: combine it with `Marker`.
    """

    title = "LNonMarker"

    def __init__(self, k: int, seed: int = 0) -> None:
        super().__init__(k, seed)
        self._by_clean: set[Page] = set()

    def _new_phase(self) -> None:
        super()._new_phase()
        self._by_clean = set()

    def _victim(self, page: Page) -> int:
        if page not in self._stale:
            at = self._furthest()
            self._by_clean.add(self._s.slots[at])
            return at
        if page in self._by_clean:
            at = self.coin.below(len(self._s.slots))
            if at < self._s.marked:  # a marked page leaves, its place is that of an unmarked one
                self._s.marked -= 1
                self._s.swap(at, self._s.marked)
                at = self._s.marked
            return at
        return super()._victim(page)


POLICIES: dict[str, type[Policy]] = {
    "fifo": FIFO, "lru": LRU, "random": Random, "marker": Marker, "flush": FlushWhenAll0s,
    "mark0": Mark0, "mark-and-predict": MarkAndPredict, "blind-oracle": BlindOracle,
    "predictive-marker": PredictiveMarker, "lmarker": LMarker, "lnonmarker": LNonMarker,
}  # fmt: skip
"""Names of policies as the command line has them."""
