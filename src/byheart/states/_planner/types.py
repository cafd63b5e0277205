"""What is planned: buffers with a lifetime, the requests they come from, and a plan."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from byheart.core.errors import DataError, UsageError

__all__ = ["Buffer", "MemoryPlan", "Request", "Trace", "buffers_of", "checked"]

LIMIT = 2**62
"""Sums of sizes stay below this, so that the compiled loops never overflow."""


@dataclass(frozen=True, slots=True)
class Buffer:
    """One stretch of memory: live in the half-open interval [lower, upper), `size` bytes long.

    >>> Buffer("b1", lower=0, upper=3, size=4)
    Buffer(id='b1', lower=0, upper=3, size=4)
    """

    id: str
    lower: int
    upper: int
    size: int

    def overlaps(self, other: Buffer) -> bool:
        """Whether both are live at some time."""
        return self.lower < other.upper and other.lower < self.upper


@dataclass(frozen=True, slots=True)
class Request:
    """A call to an allocator: ``("malloc", id, size)`` or ``("free", id, size)``; `note` says whose.

    A trace may be written as plain tuples; they are read as these.
    """

    kind: Literal["malloc", "free"]
    id: str
    size: int
    note: str = ""


@dataclass(frozen=True)
class Trace:
    """The requests of one step in order; the position in the list is the time.

    Args:
        requests: Mallocs and frees, each id once (an address used again is another id).
        name: What was recorded.
        skeletal: Ids of tensors that autograd saved for the backward pass. With swapping they lie
            in the rounding buffers and outside the plan (paper, §4): see `transient`.
        marks: Names of moments, such as ``(412, "backward")``, for the picture.

    >>> Trace.of([("malloc", "a", 8), ("malloc", "b", 4), ("free", "a", 8)]).buffers()
    (Buffer(id='a', lower=0, upper=2, size=8), Buffer(id='b', lower=1, upper=3, size=4))
    """

    requests: tuple[Request, ...]
    name: str = "trace"
    skeletal: frozenset[str] = frozenset()
    marks: tuple[tuple[int, str], ...] = ()

    @classmethod
    def of(cls, requests: Iterable[Request | Sequence[Any]], name: str = "trace") -> Trace:
        """Read plain tuples; see `buffers` for what is checked."""
        return cls(tuple(_request(r, i) for i, r in enumerate(requests)), name)

    def __len__(self) -> int:
        return len(self.requests)

    def __iter__(self) -> Iterator[Request]:
        return iter(self.requests)

    def buffers(self) -> tuple[Buffer, ...]:
        """Lifetimes, in order of their malloc. What is never freed lives to the end.

        Raises:
            DataError: If an id is allocated twice, freed unknown or twice, or with another size.
        """
        starts: dict[str, tuple[int, int]] = {}
        ends: dict[str, int] = {}
        for time, r in enumerate(self.requests):
            if r.kind == "malloc":
                if r.id in starts:
                    raise DataError(f"request {time}: {r.id!r} is allocated a second time")
                starts[r.id] = time, r.size
            else:
                if r.id not in starts:
                    raise DataError(f"request {time}: {r.id!r} is freed and was never allocated")
                if r.id in ends:
                    raise DataError(f"request {time}: {r.id!r} is freed a second time")
                if r.size != starts[r.id][1]:
                    raise DataError(
                        f"request {time}: {r.id!r} is freed with {r.size} bytes and was allocated "
                        f"with {starts[r.id][1]}"
                    )
                ends[r.id] = time
        last = len(self.requests)
        return checked(Buffer(i, t, ends.get(i, last), size) for i, (t, size) in starts.items())

    def transient(self) -> Trace:
        """The trace without its skeletal tensors; times stay as they are counted anew."""
        kept = [(t, r) for t, r in enumerate(self.requests) if r.id not in self.skeletal]
        place = {t: i for i, (t, _) in enumerate(kept)}
        order = sorted(place)
        marks = tuple(
            (sum(1 for t in order if t < at), what) for at, what in self.marks
        )  # few marks, so the plain count does
        return Trace(tuple(r for _, r in kept), f"{self.name}, transient", frozenset(), marks)


def _request(value: Request | Sequence[Any], index: int) -> Request:
    if isinstance(value, Request):
        request = value
    else:
        if len(value) not in (3, 4):
            raise DataError(f"request {index}: {value!r} is not (kind, id, size)")
        kind, name, size, *note = value
        request = Request(kind, str(name), size, *note)
    if request.kind not in ("malloc", "free"):
        raise DataError(f"request {index}: kind is {request.kind!r}; write 'malloc' or 'free'")
    if isinstance(request.size, bool) or not isinstance(request.size, int) or request.size < 0:
        raise DataError(f"request {index}: size is {request.size!r}; a whole number >= 0 is needed")
    return request


def checked(buffers: Iterable[Buffer]) -> tuple[Buffer, ...]:
    """The buffers, once they can be planned.

    Raises:
        DataError: If an id occurs twice, a size is not positive, a lifetime is empty, or a number
            is no whole number. Empty buffers (size 0) and those that live for no time need no
            memory; leave them out.
    """
    found = tuple(buffers)
    seen: set[str] = set()
    total = 0
    for b in found:
        for name in ("lower", "upper", "size"):
            value = getattr(b, name)
            if isinstance(value, bool) or not isinstance(value, int):
                raise DataError(f"buffer {b.id!r}: {name} is {value!r}; a whole number is needed")
        if b.id in seen:
            raise DataError(f"buffer {b.id!r} occurs twice; ids must differ")
        seen.add(b.id)
        if b.size <= 0:
            raise DataError(f"buffer {b.id!r}: size is {b.size}; it must be positive")
        if b.lower < 0:
            raise DataError(f"buffer {b.id!r}: lower is {b.lower}; times start at 0")
        if b.upper <= b.lower:
            raise DataError(
                f"buffer {b.id!r}: upper is {b.upper} and lower is {b.lower}; the interval is "
                "half-open, so upper must be larger"
            )
        total += b.size
        if total >= LIMIT or b.upper >= LIMIT:
            raise DataError(f"buffer {b.id!r}: sizes or times go past 2**62")
    return found


def buffers_of(what: Trace | Iterable[Any]) -> tuple[Buffer, ...]:
    """Buffers of a trace, of requests as tuples, or of buffers themselves."""
    if isinstance(what, Trace):
        return tuple(b for b in _sized(what).buffers())
    found = list(what)
    if all(isinstance(b, Buffer) for b in found):
        return checked(found)
    if any(isinstance(b, Buffer) for b in found):
        raise UsageError("buffers and requests are mixed; give one or the other")
    return _sized(Trace.of(found)).buffers()


def _sized(trace: Trace) -> Trace:
    """Requests for no bytes get no address; torch makes empty tensors now and then."""
    if all(r.size for r in trace.requests):
        return trace
    return Trace(tuple(r for r in trace.requests if r.size), trace.name, trace.skeletal)


@dataclass(frozen=True)
class MemoryPlan:
    """An address for every buffer.

    Attributes:
        buffers: What was planned; sizes as they were given.
        offsets: Bytes from the start of the block, one for each buffer.
        height: Bytes that the plan needs.
        lower_bound: No plan can need less; proven.
        capacity: What was allowed, or None where the smallest height was asked for.
        solver: Which solver found it ("greedy", "search", "cp-sat", "mip", "bilevel").
        seconds: Wall-clock time that was spent.
        alignment: Offsets are multiples of it, and sizes count rounded up to it.
        notes: What a reader should know: a solver that was left out, a time limit that was hit.
    """

    buffers: tuple[Buffer, ...]
    offsets: tuple[int, ...]
    height: int
    lower_bound: int
    capacity: int | None = None
    solver: str = "greedy"
    seconds: float = 0.0
    alignment: int = 1
    notes: tuple[str, ...] = field(default=())

    @property
    def proven(self) -> bool:
        """Whether no plan can be smaller."""
        return self.height <= self.lower_bound

    @property
    def gap(self) -> float:
        """How much larger than the lower bound: 0.02 is two per cent."""
        return self.height / self.lower_bound - 1 if self.lower_bound else 0.0

    @property
    def address(self) -> dict[str, int]:
        """Offset by id."""
        return {b.id: o for b, o in zip(self.buffers, self.offsets, strict=True)}

    def validate(self) -> None:
        """Check the plan against its buffers alone, without the solver.

        Raises:
            DataError: If two buffers that are live at once overlap, an offset is negative or not
                aligned, or a buffer ends above `height` or `capacity`.
        """
        if len(self.offsets) != len(self.buffers):
            raise DataError(f"{len(self.buffers)} buffers have {len(self.offsets)} offsets")
        top = 0
        for b, o in zip(self.buffers, self.offsets, strict=True):
            if o < 0 or o % self.alignment:
                raise DataError(f"buffer {b.id!r} lies at {o}; not a multiple of {self.alignment}")
            top = max(top, o + b.size)
        if top > self.height:
            raise DataError(f"the plan ends at {top} and says {self.height}")
        if self.capacity is not None and self.height > self.capacity:
            raise DataError(f"the plan needs {self.height} and {self.capacity} are there")
        live: list[tuple[int, int]] = []
        for i in sorted(range(len(self.buffers)), key=lambda i: self.buffers[i].lower):
            b, o = self.buffers[i], self.offsets[i]
            while live and live[0][0] <= b.lower:
                heapq.heappop(live)
            for _, j in live:
                c, p = self.buffers[j], self.offsets[j]
                if o < p + c.size and p < o + b.size:
                    raise DataError(
                        f"buffers {b.id!r} and {c.id!r} are live at {b.lower} and share bytes "
                        f"{max(o, p)} to {min(o + b.size, p + c.size)}"
                    )
            heapq.heappush(live, (b.upper, i))

    def replay(self, trace: Trace) -> int:
        """Run a trace's requests against the plan byte range by byte range; returns the peak.

        Raises:
            DataError: If a request has no address, or lands on bytes that are in use.
        """
        at = self.address
        size = {b.id: b.size for b in self.buffers}
        held: dict[str, tuple[int, int]] = {}
        peak = 0
        for time, r in enumerate(trace.requests):
            if r.size == 0:
                continue
            if r.id not in at or size[r.id] != r.size:
                raise DataError(f"request {time}: {r.id!r} of {r.size} bytes is not in the plan")
            if r.kind == "free":
                held.pop(r.id)
                continue
            low, high = at[r.id], at[r.id] + r.size
            for other, (a, b) in held.items():
                if low < b and a < high:
                    raise DataError(
                        f"request {time}: {r.id!r} lands on bytes {low} to {high}, which {other!r} "
                        "still holds"
                    )
            held[r.id] = low, high
            peak = max(peak, high)
        return peak

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "height": self.height,
            "lower_bound": self.lower_bound,
            "gap": self.gap,
            "proven": self.proven,
            "capacity": self.capacity,
            "solver": self.solver,
            "seconds": round(self.seconds, 3),
            "alignment": self.alignment,
            "notes": list(self.notes),
            "buffers": [
                {"id": b.id, "lower": b.lower, "upper": b.upper, "size": b.size, "offset": o}
                for b, o in zip(self.buffers, self.offsets, strict=True)
            ],
        }
