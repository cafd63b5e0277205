"""What allocators that decide request by request need for a trace: PyTorch's, first fit, best fit."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from byheart.core.errors import UsageError
from byheart.states._planner.types import Buffer, MemoryPlan, Request, Trace

__all__ = ["AllocatorRun", "max_live", "online_fit", "simulate_caching"]

MIB = 2**20

# c10/cuda/CUDACachingAllocator.h
MIN_BLOCK = 512
SMALL = MIB
SMALL_SEGMENT = 2 * MIB
LARGE_SEGMENT = 20 * MIB
MIN_LARGE = 10 * MIB
ROUND_LARGE = 2 * MIB


@dataclass(frozen=True)
class AllocatorRun:
    """What an allocator held over a trace.

    Attributes:
        peak_reserved: The most it had from the device, bytes.
        peak_allocated: The most that was handed out, rounding and unsplit rests included.
        peak_live: The most that was asked for at one time.
        segments: How many stretches it took from the device in all.
        reorganisations: How often it gave its cache back because the device was full.
        failed_at: Position of the request that it could not serve, or None.
        reserved, allocated: After every request.
    """

    peak_reserved: int
    peak_allocated: int
    peak_live: int
    segments: int
    reorganisations: int
    failed_at: int | None
    reserved: tuple[int, ...]
    allocated: tuple[int, ...]

    @property
    def fragmentation(self) -> float:
        """Share of the peak's reserved bytes that nobody had asked for."""
        return 1 - self.peak_live / self.peak_reserved if self.peak_reserved else 0.0


class _Block:
    __slots__ = ("address", "free", "next", "previous", "segment", "size")

    def __init__(self, segment: int, address: int, size: int) -> None:
        self.segment, self.address, self.size, self.free = segment, address, size, True
        self.previous: _Block | None = None
        self.next: _Block | None = None

    @property
    def key(self) -> tuple[int, int]:
        return self.size, self.address


class _Pool:
    """Free blocks by size and then address; `get` is best fit."""

    def __init__(self) -> None:
        self.keys: list[tuple[int, int]] = []
        self.blocks: dict[int, _Block] = {}

    def put(self, block: _Block) -> None:
        insort(self.keys, block.key)
        self.blocks[block.address] = block

    def drop(self, block: _Block) -> None:
        del self.keys[bisect_left(self.keys, block.key)]
        del self.blocks[block.address]

    def get(self, size: int) -> _Block | None:
        at = bisect_left(self.keys, (size, -1))
        if at == len(self.keys):
            return None
        block = self.blocks[self.keys[at][1]]
        self.drop(block)
        return block


class _Caching:
    """PyTorch's CUDA caching allocator on one stream."""

    def __init__(self, capacity: int | None, expandable: bool) -> None:
        self.capacity, self.expandable = capacity, expandable
        self.pools = {"small": _Pool(), "large": _Pool()}
        self.tails: dict[str, _Block] = {}
        self.sizes: dict[int, int] = {}
        self.held: dict[str, tuple[_Block, str, int]] = {}
        self.reserved = self.allocated = self.live = self.segments = self.reorganisations = 0
        self._next = 0

    def malloc(self, name: str, size: int) -> bool:
        """Whether there was room."""
        rounded = max(MIN_BLOCK, -(-size // MIN_BLOCK) * MIN_BLOCK)
        kind = "small" if rounded <= SMALL else "large"
        pool = self.pools[kind]
        block = pool.get(rounded)
        if block is None:
            block = self._grow(kind, rounded) if self.expandable else self._segment(rounded)
        if block is None:
            return False
        rest = block.size - rounded
        if rest >= MIN_BLOCK if kind == "small" or self.expandable else rest > SMALL:
            after = _Block(block.segment, block.address + rounded, rest)
            after.previous, after.next = block, block.next
            if block.next:
                block.next.previous = after
            elif self.expandable:
                self.tails[kind] = after
            block.next, block.size = after, rounded
            pool.put(after)
        block.free = False
        self.held[name] = block, kind, size
        self.allocated += block.size
        self.live += size
        return True

    def free(self, name: str) -> None:
        block, kind, size = self.held.pop(name)
        pool = self.pools[kind]
        self.allocated -= block.size
        self.live -= size
        block.free = True
        after, before = block.next, block.previous
        if after is not None and after.free:
            pool.drop(after)
            block.size += after.size
            block.next = after.next
            if after.next:
                after.next.previous = block
            elif self.expandable:
                self.tails[kind] = block
        if before is not None and before.free:
            pool.drop(before)
            before.size += block.size
            before.next = block.next
            if block.next:
                block.next.previous = before
            elif self.expandable:
                self.tails[kind] = before
            block = before
        pool.put(block)

    def _segment(self, rounded: int) -> _Block | None:
        if rounded <= SMALL:
            size = SMALL_SEGMENT
        elif rounded < MIN_LARGE:
            size = LARGE_SEGMENT
        else:
            size = -(-rounded // ROUND_LARGE) * ROUND_LARGE
        if self.capacity is not None and self.reserved + size > self.capacity:
            self._give_back()
            if self.reserved + size > self.capacity:
                return None
        block = _Block(self.segments, self._next, size)
        self.sizes[self.segments] = size
        self.segments += 1
        self._next += size
        self.reserved += size
        return block

    def _give_back(self) -> None:
        self.reorganisations += 1
        for pool in self.pools.values():
            for block in list(pool.blocks.values()):
                if block.size == self.sizes[block.segment]:
                    pool.drop(block)
                    self.reserved -= block.size

    def _grow(self, kind: str, rounded: int) -> _Block:
        """``expandable_segments:True``: one segment a pool, more of it mapped as it is needed."""
        page = SMALL_SEGMENT if kind == "small" else LARGE_SEGMENT
        tail = self.tails.get(kind)
        if tail is None:
            self.segments += 1
            # Far apart, so that the pools' addresses never meet.
            tail = _Block(self.segments, 0 if kind == "small" else 2**60, 0)
            self.tails[kind] = tail
        elif tail.free:
            self.pools[kind].drop(tail)
        else:
            new = _Block(tail.segment, tail.address + tail.size, 0)
            tail.next, new.previous = new, tail
            tail = self.tails[kind] = new
        more = -(-(rounded - tail.size) // page) * page
        tail.size += more
        self.reserved += more
        return tail


def simulate_caching(
    trace: Trace | Iterable[Request | Sequence[Any]],
    *,
    capacity: int | None = None,
    expandable: bool = False,
    repeats: int = 1,
) -> AllocatorRun:
    """Replay a trace in PyTorch's CUDA caching allocator.

    Sizes are rounded to 512 bytes; up to 1 MiB they come from segments of 2 MiB, else from 20 MiB,
    and from 10 MiB on from a segment of their own, rounded to 2 MiB. The smallest free block that is
    large enough is taken, and split where the rest is worth it (512 bytes in the small pool, more
    than 1 MiB in the large one). Freed neighbours grow together within a segment, never across.

    Args:
        trace: Requests; those of one stream.
        capacity: Bytes of the device: when they run out, wholly free segments are given back once,
            and then a request fails.
        expandable: As ``PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True``: one segment a pool that
            grows in place. Not together with `capacity`.
        repeats: How often the trace runs; what it leaves allocated is freed in between.

    Raises:
        UsageError: If `repeats` or `capacity` is not positive, or both ways are asked for.
        DataError: If the trace frees or allocates an id that it cannot.

    >>> run = simulate_caching([("malloc", "a", 12 << 20), ("malloc", "b", 12 << 20),
    ...                         ("free", "a", 12 << 20), ("free", "b", 12 << 20),
    ...                         ("malloc", "c", 24 << 20)])
    >>> run.peak_reserved >> 20, run.peak_live >> 20
    (48, 24)
    """
    if isinstance(repeats, bool) or not isinstance(repeats, int) or repeats < 1:
        raise UsageError(f"repeats is {repeats!r}; it must be a whole number of 1 or more")
    if capacity is not None and capacity <= 0:
        raise UsageError(f"capacity is {capacity}; it must be positive")
    if capacity is not None and expandable:
        raise UsageError("capacity is not simulated with expandable segments; leave one out")
    if not isinstance(trace, Trace):
        trace = Trace.of(trace)
    _checked(trace)
    state = _Caching(capacity, expandable)
    reserved: list[int] = []
    allocated: list[int] = []
    most = [0, 0, 0]
    failed = None
    for turn in range(repeats):
        if turn:
            for name in list(state.held):
                state.free(name)
        for time, r in enumerate(trace.requests):
            if r.size:
                if r.kind == "free":
                    state.free(r.id)
                elif not state.malloc(r.id, r.size):
                    failed = turn * len(trace) + time
                    break
            reserved.append(state.reserved)
            allocated.append(state.allocated)
            most = [max(most[0], state.reserved), max(most[1], state.allocated), max(most[2], state.live)]  # fmt: skip
        if failed is not None:
            break
    return AllocatorRun(
        most[0],
        most[1],
        most[2],
        state.segments,
        state.reorganisations,
        failed,
        tuple(reserved),
        tuple(allocated),
    )


def _checked(trace: Trace) -> tuple[Buffer, ...]:
    """Lifetimes of the requests that need memory."""
    return Trace(tuple(r for r in trace.requests if r.size), trace.name).buffers()


def max_live(trace: Trace | Iterable[Request | Sequence[Any]]) -> int:
    """The most bytes that are asked for at one time: no layout of addresses needs less."""
    if not isinstance(trace, Trace):
        trace = Trace.of(trace)
    _checked(trace)
    now = most = 0
    for r in trace.requests:
        now += r.size if r.kind == "malloc" else -r.size
        most = max(most, now)
    return most


def online_fit(
    trace: Trace | Iterable[Request | Sequence[Any]],
    policy: Literal["first", "best"] = "first",
    *,
    alignment: int = 1,
) -> MemoryPlan:
    """Addresses in one stretch of memory, given out request by request without looking ahead.

    Args:
        trace: Requests.
        policy: "first" takes the lowest gap that is large enough, "best" the smallest.
        alignment: Addresses are multiples of it.

    Returns:
        A plan; its lower bound is `max_live`.

    Raises:
        UsageError: If there is no such policy, or `alignment` is not positive.
        DataError: If the trace frees or allocates an id that it cannot.

    >>> plan = online_fit([("malloc", "a", 4), ("malloc", "b", 4), ("free", "a", 4),
    ...                    ("malloc", "c", 2), ("malloc", "d", 4)])
    >>> plan.address, plan.height, plan.lower_bound
    ({'a': 0, 'b': 4, 'c': 0, 'd': 8}, 12, 10)
    """
    if policy not in ("first", "best"):
        raise UsageError(f"policy is {policy!r}; give 'first' or 'best'")
    if isinstance(alignment, bool) or not isinstance(alignment, int) or alignment < 1:
        raise UsageError(f"alignment is {alignment!r}; it must be a whole number of 1 or more")
    if not isinstance(trace, Trace):
        trace = Trace.of(trace)
    buffers = _checked(trace)
    gaps: list[tuple[int, int]] = []  # begin and end, by address; above `top` all is free
    top = 0
    at: dict[str, tuple[int, int]] = {}
    highest = 0
    for r in trace.requests:
        if not r.size:
            continue
        size = -(-r.size // alignment) * alignment
        if r.kind == "malloc":
            fits = [(e - b, b, i) for i, (b, e) in enumerate(gaps) if e - b >= size]
            if fits:
                _, begin, i = min(fits) if policy == "best" else min(fits, key=lambda f: f[1])
                left = (begin + size, gaps[i][1])
                gaps[i : i + 1] = [left] if left[0] < left[1] else []
            else:
                # The last gap, where it touches the top, grows; else a new stretch begins.
                begin = gaps.pop()[0] if gaps and gaps[-1][1] == top else top
                top = begin + size
            at[r.id] = begin, begin + size
            highest = max(highest, begin + r.size)
        else:
            begin, end = at[r.id]
            i = bisect_left(gaps, (begin, end))
            if i < len(gaps) and gaps[i][0] == end:
                end = gaps.pop(i)[1]
            if i and gaps[i - 1][1] == begin:
                i -= 1
                begin = gaps.pop(i)[0]
            gaps.insert(i, (begin, end))
    return MemoryPlan(
        buffers, tuple(at[b.id][0] for b in buffers), highest, max_live(trace),
        solver=f"online {policy} fit", alignment=alignment,
    )  # fmt: skip
