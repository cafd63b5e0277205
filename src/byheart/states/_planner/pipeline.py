"""The three streams of swapping: compute, copies to the host, copies back; event by event."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from byheart.core.errors import UsageError

__all__ = ["Event", "LayerTimes", "Timeline", "simulate_pipeline", "step_seconds"]

Stream = Literal["compute", "to host", "from host"]


@dataclass(frozen=True, slots=True)
class LayerTimes:
    """Seconds of one layer: passes, recomputation before the backward pass, and one copy.

    `copy` is None where the layer keeps all it has.
    """

    forward: float
    backward: float
    recompute: float = 0.0
    copy: float | None = None


@dataclass(frozen=True, slots=True)
class Event:
    """A stretch of work on one stream; `layer` is -1 for the head."""

    stream: Stream
    kind: Literal["forward", "head", "recompute", "backward", "offload", "prefetch"]
    layer: int
    start: float
    end: float
    buffer: int | None = None


@dataclass(frozen=True)
class Timeline:
    """What ran when.

    Attributes:
        events: In order of their start.
        seconds: From the first layer's forward pass to the end of its backward pass.
        forward_stall: Seconds that the forward pass waited for a buffer to be emptied.
        backward_stall: Seconds that the backward pass waited for a layer to come back.
    """

    events: tuple[Event, ...]
    seconds: float
    forward_stall: float
    backward_stall: float

    def on(self, stream: Stream) -> tuple[Event, ...]:
        """One stream's events."""
        return tuple(e for e in self.events if e.stream == stream)


def simulate_pipeline(
    layers: Sequence[LayerTimes], *, head: float = 0.0, buffers: int = 2
) -> Timeline:
    """Run a step on three streams with rounding buffers (paper, section 4.3).

    Layer i writes buffer i mod `buffers`. Forward: its copy to the host begins when it is computed
    and the copies before are done; the layer that uses the buffer next waits for it. Backward: its
    copy back begins when the layer that used the buffer has ended its backward pass; its
    recomputation waits for the copy.

    Args:
        layers: Times, first layer first. Those without a copy hold their buffer until their backward
            pass: only the last `buffers` layers can.
        head: Seconds between forward and backward pass (classifier and loss).
        buffers: How many rounding buffers.

    Raises:
        UsageError: If a time is negative, there are no layers, or a layer before the last `buffers`
            has no copy and so blocks its buffer.
    """
    n = len(layers)
    if not n:
        raise UsageError("there are no layers")
    if isinstance(buffers, bool) or not isinstance(buffers, int) or buffers < 1:
        raise UsageError(f"buffers is {buffers!r}; it must be a whole number of 1 or more")
    for i, t in enumerate(layers):
        for value in (t.forward, t.backward, t.recompute, 0.0 if t.copy is None else t.copy, head):
            if not (math.isfinite(value) and value >= 0):
                raise UsageError(
                    f"layer {i}: a time is {value}; it must be finite and not negative"
                )
        if t.copy is None and i < n - buffers:
            raise UsageError(
                f"layer {i} has no copy and {n - buffers} layers must give their buffer back; "
                f"only the last {buffers} can keep theirs"
            )
    events: list[Event] = []
    now = out = 0.0  # compute, copies to the host
    emptied = [0.0] * n
    waited = 0.0
    for i, t in enumerate(layers):
        free = emptied[i - buffers] if i >= buffers else 0.0
        waited += max(0.0, free - now)
        now = max(now, free)
        events.append(Event("compute", "forward", i, now, now + t.forward, i % buffers))
        now += t.forward
        if t.copy is not None:
            start = max(now, out)
            out = start + t.copy
            emptied[i] = out
            events.append(Event("to host", "offload", i, start, out, i % buffers))
    if head:
        events.append(Event("compute", "head", -1, now, now + head))
        now += head
    back = 0.0
    ended = [now] * (n + buffers)
    late = 0.0
    for i in range(n - 1, -1, -1):
        t = layers[i]
        there = 0.0
        if t.copy is not None:
            # With fewer layers behind it than buffers, its own offload is what must have ended.
            start = max(ended[i + buffers], back, emptied[i])
            there = back = start + t.copy
            events.append(Event("from host", "prefetch", i, start, back, i % buffers))
        late += max(0.0, there - now)
        now = max(now, there)
        if t.recompute:
            events.append(Event("compute", "recompute", i, now, now + t.recompute, i % buffers))
            now += t.recompute
        events.append(Event("compute", "backward", i, now, now + t.backward, i % buffers))
        now += t.backward
        ended[i] = now
    return Timeline(tuple(sorted(events, key=lambda e: (e.start, e.end))), now, waited, late)


def step_seconds(
    layers: int, forward: float, backward: float, recompute: float, copy: float, head: float = 0.0
) -> float:
    """Seconds of a step of equal layers with two buffers, the last two layers kept: closed form.

    With n layers, D = backward + recompute and (x)+ = max(0, x):

    n forward + (n - 2) (copy - forward)+ + head + 2 backward + (n - 2) D
      + (copy - backward)+ + (n - 3) (copy - D)+                                  for n > 2

    and n (forward + backward) + head for n <= 2: nothing is copied or recomputed.

    >>> step_seconds(32, forward=1.0, backward=2.0, recompute=0.25, copy=0.9)
    103.5
    """
    if layers < 1:
        raise UsageError(f"layers is {layers}; at least 1 is needed")
    if layers <= 2:
        return layers * (forward + backward) + head
    span = backward + recompute
    there = layers * forward + (layers - 2) * max(0.0, copy - forward)
    back = 2 * backward + (layers - 2) * span + max(0.0, copy - backward)
    return there + head + back + (layers - 3) * max(0.0, copy - span)
