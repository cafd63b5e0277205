"""What of a layer's activations is kept, swapped and recomputed."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Literal

from byheart.core.errors import BudgetExceeded, UsageError

__all__ = ["LayerSplit", "Split", "solve_alpha", "split_activations"]

Limit = Literal["bandwidth", "backward", "host", "given", "none"]


@dataclass(frozen=True, slots=True)
class LayerSplit:
    """One layer's tokens: shares of them that are kept, swapped and recomputed; they sum to 1.

    The layer input and the attention's output are not in it: they are swapped whole where
    `offloads`, and kept otherwise.
    """

    layer: int
    keep: float
    swap: float
    recompute: float
    offloads: bool

    def tokens(self, sequence: int) -> tuple[int, int, int]:
        """How many tokens are (swapped, kept, recomputed); the swapped come first.

        >>> LayerSplit(0, keep=0.0, swap=0.3, recompute=0.7, offloads=True).tokens(10)
        (3, 0, 7)
        """
        swapped = math.floor(self.swap * sequence + 1e-9)
        kept = sequence - swapped
        if self.recompute:
            kept = min(kept, math.floor(self.keep * sequence + 1e-9))
        return swapped, kept, sequence - swapped - kept


@dataclass(frozen=True)
class Split:
    """A step's plan for activations, and what it costs.

    Attributes:
        alpha: Share of the tokens whose other tensors are swapped, in the layers that offload.
        keep: Share that stays on the device because there is room; 0 in the paper.
        limit: What holds alpha down: "bandwidth" (the forward pass is too short for more), "backward"
            (the backward pass is), "host" (memory), "given" (the caller), or "none" where it is 1.
        layers: One `LayerSplit` each, first layer first.
        stall: Seconds that a layer's forward pass waits for the copy; 0 when it hides.
        backward_stall: Seconds that a layer's backward pass waits for its prefetch.
        recompute_seconds: Seconds of recomputation in a layer's backward pass.
        host_bytes: Host memory that one device's share takes.
        buffer_bytes: The two rounding buffers on the device (one layer's skeletal bytes each).
        saved_share: Bytes of one offloading layer that are stored at all; (2 + 14 alpha) / 16 for
            the paper's layer.
    """

    alpha: float
    keep: float
    limit: Limit
    layers: tuple[LayerSplit, ...]
    stall: float
    backward_stall: float
    recompute_seconds: float
    host_bytes: int
    buffer_bytes: int
    saved_share: float


def solve_alpha(
    *,
    s_input: float,
    s_attn: float,
    s_others: float,
    bandwidth: float,
    t_layer: float,
    layers: int,
    cpu_bytes: float,
    t_backward: float | None = None,
    t_linear: float = 0.0,
) -> float:
    """The largest share of tokens whose tensors can be swapped for nothing.

    alpha = clip(min((bandwidth t_layer - s_input - s_attn) / s_others,
                     (cpu_bytes / (layers - 2) - s_input - s_attn) / s_others), 0, 1)

    the closed form of the paper's linear program (section 4.2), which has one variable. The paper
    looks at the forward pass alone. With `t_backward` the way back has to hide as well:
    (s_input + s_attn + alpha s_others) / bandwidth <= t_backward + (1 - alpha) t_linear.

    All bytes are one device's: with eight devices on a host, `cpu_bytes` is an eighth of the host's
    memory, and `bandwidth` the device's share of the bus.

    Args:
        s_input: Bytes of one layer's input; swapped whole.
        s_attn: Bytes of its attention's output; swapped whole.
        s_others: Bytes of its other skeletal tensors.
        bandwidth: Bytes a second between device and host.
        t_layer: Seconds of one layer's forward pass.
        layers: How many; the last two begin their backward pass at once and swap nothing.
        cpu_bytes: Host memory.
        t_backward: Seconds of one layer's backward pass; left out, the backward pass is not asked.
        t_linear: Seconds to compute a whole layer's token-wise part anew (all but attention).

    Returns:
        alpha; 0 also where the mandatory part alone does not hide or fit: `split_activations` says
        what that costs.

    Raises:
        UsageError: If a value is negative or not finite.

    >>> gib = 2**30
    >>> round(solve_alpha(s_input=gib, s_attn=gib, s_others=14 * gib, bandwidth=32e9, t_layer=9.0,
    ...                   layers=32, cpu_bytes=2**41 / 8), 4)
    0.4667
    """
    given = _Given(
        s_input, s_attn, s_others, bandwidth, t_layer, layers, cpu_bytes, t_backward, t_linear
    )
    return given.solve()[0]


@dataclass(frozen=True)
class _Given:
    """The problem's numbers, checked."""

    s_input: float
    s_attn: float
    s_others: float
    bandwidth: float
    t_layer: float
    layers: int
    cpu_bytes: float
    t_backward: float | None
    t_linear: float

    def __post_init__(self) -> None:
        for field in fields(self):
            name, value = field.name, getattr(self, field.name)
            if name == "layers" or value is None:
                continue
            if not (math.isfinite(value) and value >= 0):
                raise UsageError(f"{name} is {value}; it must be finite and not negative")
        if self.bandwidth == 0:
            raise UsageError("bandwidth is 0: nothing can be swapped; give bytes a second")
        if isinstance(self.layers, bool) or not isinstance(self.layers, int) or self.layers < 1:
            raise UsageError(f"layers is {self.layers!r}; it must be a whole number of 1 or more")

    @property
    def mandatory(self) -> float:
        """Bytes that an offloading layer sends whatever alpha is."""
        return self.s_input + self.s_attn

    @property
    def swapping(self) -> int:
        """Layers that offload."""
        return max(0, self.layers - 2)

    def host_limit(self) -> float:
        """The largest alpha that the host has room for; negative where there is none."""
        return (self.cpu_bytes / self.swapping - self.mandatory) / self.s_others

    def solve(self) -> tuple[float, Limit]:
        if not self.swapping or not self.s_others:
            return 1.0, "none"
        bounds: list[tuple[float, Limit]] = [
            ((self.bandwidth * self.t_layer - self.mandatory) / self.s_others, "bandwidth"),
            (self.host_limit(), "host"),
        ]
        if self.t_backward is not None:
            again = self.bandwidth * self.t_linear
            room = self.bandwidth * self.t_backward + again - self.mandatory
            bounds.append((room / (self.s_others + again), "backward"))
        least, limit = min(bounds)
        return (1.0, "none") if least >= 1 else (max(0.0, least), limit)


def split_activations(
    *,
    s_input: float,
    s_attn: float,
    s_others: float,
    bandwidth: float,
    t_layer: float,
    layers: int,
    cpu_bytes: float,
    t_backward: float | None = None,
    t_linear: float | None = None,
    device_bytes: float = 0.0,
    alpha: float | None = None,
) -> Split:
    """Keep, swap or recompute: the paper's split, layer by layer, with what it costs.

    Per layer i < layers - 2: the input and the attention's output go to the host whole; of the
    rest, the first alpha of the tokens are swapped, `keep` of them stay on the device where
    `device_bytes` is spare (the paper has none to spare), and 1 - alpha - keep are recomputed. The
    last two layers keep everything. The backward pass has to bring back as many bytes:
    backward_stall = max(0, bytes / bandwidth - t_backward - recompute_seconds).

    Args:
        s_input, s_attn, s_others, bandwidth, t_layer, layers, cpu_bytes: As in `solve_alpha`.
        t_backward: Seconds of one layer's backward pass; 2 t_layer if left out.
        t_linear: Seconds to compute the layer's token-wise part anew (all but attention); t_layer
            if left out, which is the most it can be.
        device_bytes: Spare device memory beside the rounding buffers.
        alpha: Overrides the solution, to see what another share would cost.

    Raises:
        BudgetExceeded: If the input and the attention's output alone do not fit on the host, or
            the `alpha` asked for does not.
        UsageError: If a value is negative or not finite.

    >>> split = split_activations(s_input=1e9, s_attn=1e9, s_others=14e9, bandwidth=25e9,
    ...                           t_layer=0.36, layers=32, cpu_bytes=1e12)
    >>> split.alpha, split.limit, split.layers[0].tokens(1000)
    (0.5, 'bandwidth', (500, 0, 500))
    """
    t_backward = 2 * t_layer if t_backward is None else t_backward
    t_linear = t_layer if t_linear is None else t_linear
    given = _Given(
        s_input, s_attn, s_others, bandwidth, t_layer, layers, cpu_bytes, t_backward, t_linear
    )
    mandatory, swapping = given.mandatory, given.swapping
    if not (math.isfinite(device_bytes) and device_bytes >= 0):
        raise UsageError(f"device_bytes is {device_bytes}; it must be finite and not negative")
    if swapping * mandatory > cpu_bytes:
        raise BudgetExceeded(
            f"{swapping} layers send {mandatory:.4g} bytes each to the host whatever is recomputed, "
            f"and it has {cpu_bytes:.4g} bytes for this device; give it {swapping * mandatory:.4g}, "
            "use more devices, or a shorter sequence"
        )
    best, limit = given.solve()
    if alpha is not None:
        if not 0 <= alpha <= 1:
            raise UsageError(f"alpha is {alpha}; it must lie between 0 and 1")
        needed = swapping * (mandatory + alpha * s_others)
        if needed > cpu_bytes * (1 + 1e-12):
            raise BudgetExceeded(
                f"alpha {alpha} takes {needed:.4g} bytes of the host's {cpu_bytes:.4g}; the "
                f"largest that fits is {given.host_limit():.4f}"
            )
        best, limit = alpha, "given"
    room = device_bytes / (swapping * s_others) if swapping and s_others else 0.0
    keep = min(1.0 - best, room)
    recompute = max(0.0, 1.0 - best - keep)
    moved = mandatory + best * s_others if swapping else 0.0
    again = recompute * t_linear if swapping else 0.0
    total = mandatory + s_others
    return Split(
        alpha=best,
        keep=keep,
        limit=limit,
        layers=tuple(
            LayerSplit(i, keep, best, recompute, True)
            if i < swapping
            else LayerSplit(i, 1.0, 0.0, 0.0, False)
            for i in range(layers)
        ),
        stall=_late(moved / bandwidth, t_layer),
        backward_stall=_late(moved / bandwidth, t_backward + again),
        recompute_seconds=again,
        host_bytes=math.ceil(swapping * moved - 1e-6),
        buffer_bytes=math.ceil(min(2, layers) * total),
        saved_share=(mandatory + (best + keep) * s_others) / total if total else 0.0,
    )


def _late(copy: float, compute: float) -> float:
    """Seconds that a copy outlasts its cover; a difference of rounding is none."""
    return copy - compute if copy > compute * (1 + 1e-12) else 0.0
