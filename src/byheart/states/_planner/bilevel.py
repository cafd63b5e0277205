"""Planning in two levels: inside one layer, then across layers (paper, §4.3)."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from byheart.core.errors import BudgetExceeded, DataError, UsageError
from byheart.states._planner.problem import problem_of
from byheart.states._planner.solve import Tell, plan_memory
from byheart.states._planner.types import Buffer, MemoryPlan, Request, Trace, checked

__all__ = ["bilevel_plan"]

Requests = Trace | Iterable[Request | tuple[Any, ...]]


def bilevel_plan(
    layer_fwd: Requests,
    layer_bwd: Requests,
    head: Requests = (),
    tail: Requests = (),
    layers: int = 1,
    *,
    after: Requests = (),
    capacity: int | None = None,
    solver: str = "auto",
    time_limit: float = 60.0,
    alignment: int = 1,
    progress: Tell | None = None,
) -> MemoryPlan:
    """Plan a whole step from one layer's requests; cost does not grow with the number of layers.

    Level 1 plans one layer's forward requests and, separately, its backward requests. Level 2
    replaces every layer's pass by one block of that height, keeps `head`, `tail` and `after` as
    they are, and plans again; a buffer's address is its block's plus its place in it. A block is
    reserved for its layer's whole pass, so the result can be higher than a plan of all buffers at
    once: `gap` compares with the bytes that are live at once in the expanded step.

    Args:
        layer_fwd, layer_bwd: Requests of one layer's passes without its skeletal tensors
            (`bilevel_parts` cuts them); everything must be freed in them.
        head: Before the first layer (the embedding).
        tail: Between the passes (the classifier and the loss); may free what `head` allocated.
        layers: How many there are.
        after: After the last layer's backward pass (the embedding's); may free what is left.
        capacity, solver, alignment, progress: As in `plan_memory`.
        time_limit: Seconds for all three plans.

    Returns:
        A plan of all buffers; ids of a layer's are ``"layer 3 forward/x"``.

    Raises:
        DataError: If something outlives its layer, or requests contradict themselves.
        BudgetExceeded: If the step does not fit below `capacity`.
        UsageError: If `layers` is not a whole number of 1 or more.

    >>> layer = [("malloc", "a", 4), ("malloc", "b", 2), ("free", "a", 4), ("free", "b", 2)]
    >>> plan = bilevel_plan(layer, layer, head=[("malloc", "e", 1)], layers=3)
    >>> plan.height, len(plan.buffers), plan.proven
    (7, 13, True)
    """
    if isinstance(layers, bool) or not isinstance(layers, int) or layers < 1:
        raise UsageError(f"layers is {layers!r}; a whole number of 1 or more is needed")
    began = time.monotonic()
    parts = {
        "forward": _closed(_trace(layer_fwd, "layer forward")),
        "backward": _closed(_trace(layer_bwd, "layer backward")),
    }
    inner: dict[str, MemoryPlan] = {}
    for share, (phase, trace) in zip((0.25, 0.35), parts.items(), strict=True):
        left = max(0.05, began + time_limit - time.monotonic())
        inner[phase] = plan_memory(
            trace, None, solver, share * left, alignment=alignment,  # type: ignore[arg-type]
            progress=None if progress is None else _named(progress, f"layer {phase}"),
        )  # fmt: skip
    outer: list[Request] = []
    blocks: list[tuple[str, str, int]] = []  # name, phase, time of its malloc in the whole step

    def layer_pass(index: int, phase: str) -> None:
        name, height = f"layer {index} {phase}", inner[phase].height
        blocks.append((name, phase, _length(outer, parts, blocks)))
        if height:
            outer.append(Request("malloc", name, height))
            outer.append(Request("free", name, height))

    outer += _trace(head, "head")
    for i in range(layers):
        layer_pass(i, "forward")
    outer += _trace(tail, "tail")
    for i in reversed(range(layers)):
        layer_pass(i, "backward")
    outer += _trace(after, "after")
    left = max(0.05, began + time_limit - time.monotonic())
    across = plan_memory(
        outer, None, solver, left, alignment=alignment,  # type: ignore[arg-type]
        progress=None if progress is None else _named(progress, "step"),
    )  # fmt: skip
    buffers, offsets = _expanded(outer, blocks, parts, inner, across)
    bound = problem_of(buffers, alignment)
    plan = MemoryPlan(
        buffers,
        offsets,
        across.height,
        min(across.height, bound.bound * bound.unit),
        capacity,
        "bilevel",
        time.monotonic() - began,
        alignment,
        (
            f"one layer's forward pass takes {inner['forward'].height} bytes and its backward "
            f"pass {inner['backward'].height}",
        ),
    )
    if capacity is not None and plan.height > capacity:
        raise BudgetExceeded(
            f"the step does not fit into {capacity} bytes in two levels; {plan.height} will do, "
            f"and {plan.lower_bound} are needed at least"
        )
    plan.validate()
    return plan


def _trace(requests: Requests, name: str) -> Trace:
    found = requests if isinstance(requests, Trace) else Trace.of(requests, name)
    return replace(found, requests=tuple(r for r in found.requests if r.size))


def _closed(trace: Trace) -> Trace:
    """Everything that is allocated is freed: else it would lie in bytes that the next layer uses."""
    held: dict[str, int] = {}
    for r in trace.requests:
        if r.kind == "malloc":
            held[r.id] = r.size
        else:
            held.pop(r.id, None)
    if held:
        name, size = next(iter(held.items()))
        raise DataError(
            f"{trace.name}: {name!r} ({size} bytes) is not freed; what outlives its layer lies in "
            "the rounding buffers or in head, so leave it out here (bilevel_parts does)"
        )
    return trace


def _named(progress: Tell, what: str) -> Tell:
    return lambda step, share: progress(f"{what}: {step}", share)


def _length(
    outer: list[Request], parts: dict[str, Trace], blocks: list[tuple[str, str, int]]
) -> int:
    """Requests so far with every block's own in its place."""
    names = {name for name, _, _ in blocks}
    own = sum(1 for r in outer if r.id not in names)
    return own + sum(len(parts[phase]) for _, phase, _ in blocks)


def _expanded(
    outer: list[Request],
    blocks: list[tuple[str, str, int]],
    parts: dict[str, Trace],
    inner: dict[str, MemoryPlan],
    across: MemoryPlan,
) -> tuple[tuple[Buffer, ...], tuple[int, ...]]:
    """All buffers with times in the whole step, and their addresses."""
    at = across.address
    names = {name for name, _, _ in blocks}
    own = [r for r in outer if r.id not in names]
    # Times of the requests outside of layers: what stands before them, blocks counted in full.
    places = {name: place for name, _, place in blocks}
    spans = sorted((place, len(parts[phase])) for _, phase, place in blocks)
    time_of: list[int] = []
    clock, block = 0, 0
    for _ in own:
        while block < len(spans) and spans[block][0] == clock:
            clock += spans[block][1]
            block += 1
        time_of.append(clock)
        clock += 1
    end = clock + sum(length for _, length in spans[block:])
    starts: dict[str, int] = {}
    ends: dict[str, int] = {}
    sizes: dict[str, int] = {}
    for moment, r in zip(time_of, own, strict=True):
        if r.kind == "malloc":
            starts[r.id], sizes[r.id] = moment, r.size
        else:
            ends[r.id] = moment
    found = [(Buffer(i, t, ends.get(i, end), sizes[i]), at[i]) for i, t in starts.items()]
    for name, phase, _ in blocks:
        for b, offset in zip(inner[phase].buffers, inner[phase].offsets, strict=True):
            moved = Buffer(f"{name}/{b.id}", places[name] + b.lower, places[name] + b.upper, b.size)
            found.append((moved, at[name] + offset))
    found.sort(key=lambda pair: pair[0].lower)
    return checked(b for b, _ in found), tuple(o for _, o in found)
