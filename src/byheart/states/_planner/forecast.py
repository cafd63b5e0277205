"""Does it fit, how long may a sequence be, how fast will it be: from a configuration, without weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from byheart.core.errors import BudgetExceeded, UnknownName, UsageError
from byheart.states._planner.alpha import Split, split_activations
from byheart.states._planner.devices import LINK_SHARE, Device, device_of
from byheart.states._planner.pipeline import LayerTimes, Timeline, simulate_pipeline, step_seconds
from byheart.states._planner.shape import Shape, shape_of
from byheart.states._planner.words import size_text

__all__ = ["OPTIMIZERS", "WAYS", "Forecast", "Layer", "Layout", "Way", "forecast"]

WayName = Literal["plain", "recompute", "swap"]
WAYS: tuple[WayName, ...] = ("plain", "recompute", "swap")
OPTIMIZERS = {"adamw": 12, "adamw-8bit": 6, "sgd": 8}
"""Bytes a parameter beside weights and gradients: float32 weights, and moments or momentum."""

RESERVED = 3 * 2**29
"""Bytes a device loses to its driver, its libraries and communication buffers; an assumption."""

_HOST = 8
"""Devices in one host."""

_LONGEST = 2**40


@dataclass(frozen=True)
class Layout:
    """How one step is spread over the devices.

    Attributes:
        tensor: Devices that share every matrix and, in between, the tokens (tensor and sequence
            parallelism).
        context: Devices that share one sequence beyond that.
        data: Devices, or groups of them, that have sequences of their own.
        zero: What the optimiser's sharding spreads over context and data: 0 nothing, 1 its state,
            2 the gradients too, 3 the weights too.
    """

    tensor: int
    context: int
    data: int
    zero: int

    @property
    def count(self) -> int:
        """Devices."""
        return self.tensor * self.context * self.data


@dataclass(frozen=True)
class Layer:
    """One block on one device: seconds and bytes.

    Attributes:
        forward, backward: Of its passes.
        linear: Of what a recomputation runs again: all but attention.
        input_bytes, attention_bytes, other_bytes: The skeletal tensors; log-sum-exp included with
            attention's output.
        working_bytes: What its backward pass holds beside them.
    """

    forward: float
    backward: float
    linear: float
    input_bytes: int
    attention_bytes: int
    other_bytes: int
    working_bytes: int

    @property
    def skeletal_bytes(self) -> int:
        """All that the block saves."""
        return self.input_bytes + self.attention_bytes + self.other_bytes


@dataclass(frozen=True)
class Way:
    """One way to treat activations.

    Attributes:
        name: "plain" keeps them, "recompute" keeps each layer's input, "swap" is the paper's.
        memory: Bytes on one device by use.
        capacity: Bytes that it has.
        host_bytes: On the host, for one device.
        fits: Whether it does.
        reason: What does not fit, else "".
        seconds: Of a step's passes.
        mfu: Model FLOPs a second by the peak.
        longest: The longest sequence that fits so, or None where it was not asked for.
        split: Of "swap": what is swapped and recomputed, and what waits.
    """

    name: WayName
    memory: Mapping[str, int]
    capacity: int
    host_bytes: int
    fits: bool
    reason: str
    seconds: float
    mfu: float
    longest: int | None = None
    split: Split | None = None

    @property
    def bytes(self) -> int:
        """On one device, in all."""
        return sum(self.memory.values())

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        out: dict[str, Any] = {
            "fits": self.fits,
            "reason": self.reason,
            "device_bytes": self.bytes,
            "capacity_bytes": self.capacity,
            "memory": dict(self.memory),
            "host_bytes": self.host_bytes,
            "seconds": self.seconds,
            "mfu": self.mfu,
            "longest_sequence": self.longest,
        }
        if self.split is not None:
            out |= {
                "alpha": self.split.alpha,
                "limit": self.split.limit,
                "stall_seconds_a_layer": self.split.stall,
                "backward_stall_seconds_a_layer": self.split.backward_stall,
                "recompute_seconds_a_layer": self.split.recompute_seconds,
            }
        return out


@dataclass(frozen=True)
class Forecast:
    """What a step would need and take.

    Attributes:
        model: The shape.
        device: The accelerator, with its figures.
        layout: How the devices share the work.
        sequence: Tokens of a sequence.
        batch: Sequences for each data-parallel group.
        flops: Model FLOPs of a step, all devices.
        layer: One block on one device.
        head_seconds: Classifier and loss, forward and backward.
        ways: By name.
        overlap_from: The shortest sequence from which copying all activations hides behind a layer's
            forward pass; None where none does.
        assumptions: What is not known and was assumed; what is not counted.
    """

    model: Shape
    device: Device
    layout: Layout
    sequence: int
    batch: int
    flops: float
    layer: Layer
    head_seconds: float
    ways: Mapping[str, Way]
    overlap_from: int | None
    assumptions: tuple[str, ...]
    _setting: _Setting = field(repr=False, compare=False)

    def at(self, sequence: int) -> dict[str, Way]:
        """All ways at another length.

        Raises:
            UsageError: If it is no length.
        """
        _whole("sequence", sequence, 1, _LONGEST)
        return {name: self._setting.way(name, sequence) for name in WAYS}

    @property
    def best(self) -> Way | None:
        """The fastest way that fits."""
        fitting = [w for w in self.ways.values() if w.fits]
        return min(fitting, key=lambda w: w.seconds) if fitting else None

    @property
    def fits(self) -> bool:
        """Whether some way does."""
        return self.best is not None

    def timeline(self, way: str = "swap") -> Timeline:
        """The step on its three streams.

        Raises:
            UnknownName: If there is no such way.
        """
        if way not in self.ways:
            raise UnknownName("way", way, self.ways)
        n, one, split = self.model.layers, self.layer, self.ways[way].split
        kept = LayerTimes(one.forward, one.backward)
        if way == "plain":
            return simulate_pipeline([kept] * n, head=self.head_seconds, buffers=n)
        if way == "recompute":
            again = replace(kept, recompute=one.forward)
            return simulate_pipeline([again] * n, head=self.head_seconds, buffers=n)
        if split is None:
            return simulate_pipeline([kept] * n, head=self.head_seconds, buffers=n)
        moved = one.input_bytes + one.attention_bytes + split.alpha * one.other_bytes
        swapped = replace(
            kept,
            recompute=split.recompute_seconds,
            copy=moved / self.device.copying(self.layout.count),
        )
        layers = [swapped if s.offloads else kept for s in split.layers]
        return simulate_pipeline(layers, head=self.head_seconds)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        best = self.best
        return {
            "model": self.model.name,
            "parameters": self.model.parameters,
            "device": self.device.name,
            "count": self.layout.count,
            "layout": {
                "tensor": self.layout.tensor,
                "context": self.layout.context,
                "data": self.layout.data,
                "zero": self.layout.zero,
            },
            "sequence": self.sequence,
            "batch": self.batch,
            "flops": self.flops,
            "fits": self.fits,
            "best": None if best is None else best.name,
            "mfu": None if best is None else best.mfu,
            "longest_sequence": _most(w.longest for w in self.ways.values()),
            "layer": {
                "forward_seconds": self.layer.forward,
                "backward_seconds": self.layer.backward,
                "input_bytes": self.layer.input_bytes,
                "attention_bytes": self.layer.attention_bytes,
                "other_bytes": self.layer.other_bytes,
            },
            "overlap_from": self.overlap_from,
            "ways": {name: way.to_dict() for name, way in self.ways.items()},
            "device_source": self.device.source,
            "assumptions": list(self.assumptions),
        }


def _most(values: Any) -> int | None:
    known = [v for v in values if v is not None]
    return max(known) if known else None


@dataclass(frozen=True)
class _Setting:
    """All but the sequence."""

    shape: Shape
    device: Device
    layout: Layout
    batch: int
    optimizer: str
    loss_chunk: int
    host_bytes: int

    def states(self) -> dict[str, int]:
        """Bytes of weights, gradients and optimiser on one device."""
        share = self.layout.context * self.layout.data
        own = self.shape.parameters / self.layout.tensor
        zero = self.layout.zero
        weights = 2 * own / (share if zero == 3 else 1)
        if zero == 3 and share > 1:  # two blocks are gathered at a time: one computes, one comes
            weights += 2 * 2 * self.shape.layer_parameters / self.layout.tensor
        return {
            "weights": math.ceil(weights),
            "gradients": math.ceil(2 * own / (share if zero >= 2 else 1)),
            "optimiser": math.ceil(
                OPTIMIZERS[self.optimizer] * own / (share if zero >= 1 else 1)
            ),
        }  # fmt: skip

    def tokens(self, sequence: int) -> int:
        """Tokens of one device's group of matrices."""
        return math.ceil(sequence / self.layout.context) * self.batch

    def layer(self, sequence: int) -> Layer:
        m, d, t = self.shape, self.device, self.layout.tensor
        tokens = self.tokens(sequence)
        # Keys and values are spread as far as there are heads of them.
        kv_more = 2 * m.key_value * (t / min(t, m.kv_heads) - 1)
        share = tokens / t
        seen = m.attention_flops(sequence) * (m.layers - m.windowed)
        seen += m.attention_flops(sequence, True) * m.windowed
        attention = seen / m.layers * self.batch / (t * self.layout.context)
        linear = 2.0 * m.layer_matrix * share / (d.flops * d.matmul)
        # Sequence parallelism gathers and scatters the stream twice a pass, thrice on the way back.
        ring = (t - 1) / t * tokens * m.hidden * 2 / (d.peer or d.copying(self.layout.count))
        forward = linear + 4 * ring + attention / (d.flops * d.attention)
        # Scores are computed once more: 5 products against 2.
        back = 2 * linear + 6 * ring + 2.5 * attention / (d.flops * d.attention_back)
        # Gradients of the feed-forward part's wide tensors, or of attention's output, of q, k and
        # v, and of q and k before rotary positions; beside them the stream's two.
        wide = (3 if m.gated else 2) * m.ffn
        working = max(wide, 3 * m.query + 3 * m.key_value) + 2 * m.hidden
        gathered = 2 * 2 * m.hidden * tokens if t > 1 else 0
        return Layer(
            forward=forward,
            backward=back,
            linear=linear + 4 * ring,
            input_bytes=math.ceil(2 * m.hidden * share),
            attention_bytes=math.ceil((2 * m.query + 4 * m.heads) * share),
            other_bytes=math.ceil((2 * (m.saved + kv_more) + 4 * m.norm_floats) * share),
            working_bytes=math.ceil(2 * working * share) + gathered,
        )

    def head(self, sequence: int) -> tuple[float, int]:
        """Seconds of classifier and loss, and bytes: logits in two types, and the last states."""
        m, d, t = self.shape, self.device, self.layout.tensor
        tokens = self.tokens(sequence)
        chunk = min(tokens, self.loss_chunk) if self.loss_chunk else tokens
        seconds = 6.0 * m.vocab * m.hidden * tokens / t / (d.flops * d.matmul)
        logits = math.ceil(chunk * m.vocab / t) * (2 + 4)
        return seconds, logits + math.ceil(2 * 2 * m.hidden * tokens / t)

    def way(self, name: WayName, sequence: int) -> Way:
        one = self.layer(sequence)
        head, head_bytes = self.head(sequence)
        n = self.shape.layers
        split: Split | None = None
        host = 0
        reason = ""
        if name == "plain":
            kept, seconds = n * one.skeletal_bytes, n * (one.forward + one.backward) + head
        elif name == "recompute":
            # The layer that is recomputed is there whole, and its input is among those kept.
            kept = n * one.input_bytes + one.skeletal_bytes - one.input_bytes
            seconds = n * (2 * one.forward + one.backward) + head
        else:
            copying = self.device.copying(self.layout.count)
            kept = min(2, n) * one.skeletal_bytes
            moved = float(one.input_bytes + one.attention_bytes)
            again = one.linear
            try:
                split = split_activations(
                    s_input=one.input_bytes, s_attn=one.attention_bytes, s_others=one.other_bytes,
                    bandwidth=copying, t_layer=one.forward, layers=n, cpu_bytes=self.host_bytes,
                    t_backward=one.backward, t_linear=one.linear,
                )  # fmt: skip
                moved += split.alpha * one.other_bytes
                again, host = split.recompute_seconds, split.host_bytes
            except BudgetExceeded:
                host = math.ceil((n - 2) * moved)
                reason = f"the host lacks {size_text(host - self.host_bytes)} for each device"
            seconds = step_seconds(n, one.forward, one.backward, again, moved / copying, head)
        memory = {
            **self.states(),
            "activations": kept,
            "working": max(one.working_bytes, head_bytes),
            "reserved": RESERVED,
        }
        over = sum(memory.values()) - self.device.memory
        if over > 0:
            reason = f"the device lacks {size_text(over)}" + (f"; {reason}" if reason else "")
        flops = self.shape.flops(sequence) * self.batch * self.layout.data
        mfu = flops / (seconds * self.layout.count * self.device.flops)
        return Way(
            name, memory, self.device.memory, host, not reason, reason, seconds, mfu, None, split
        )

    def longest(self, name: WayName) -> int:
        """The longest sequence that fits."""
        return _last(lambda s: self.way(name, s).fits)


def forecast(
    model: Shape | Mapping[str, Any] | str | Path,
    *,
    sequence: int,
    device: Device | str = "h100",
    count: int = 1,
    batch: int = 1,
    tensor: int | None = None,
    context: int | None = None,
    zero: int = 1,
    optimizer: str = "adamw",
    loss_chunk: int = 16384,
    memory: int | None = None,
    flops: float | None = None,
    bandwidth: float | None = None,
    host_memory: int | None = None,
    matmul: float | None = None,
    attention: float | None = None,
    attention_back: float | None = None,
    longest: bool = True,
) -> Forecast:
    """Plan a training step in bfloat16 without running it.

    Per layer and device, with b s tokens shared by tensor * context devices: the skeletal bytes are
    counted from the configuration (16 b s h elements for the paper's GPT, see `Shape.saved`); the
    passes take 2 P b s FLOPs at `matmul` of the peak and attention's at `attention`; alpha is
    `solve_alpha` of these, and the step is `step_seconds`. MFU counts 6 P s + 6 n h s^2 a sequence.

    Args:
        model: As for `shape_of`: "7b", "smollm2", a configuration's file or folder, ``hf:NAME``.
        sequence: Tokens of one sequence.
        device: A name of `DEVICES`, or a `Device`.
        count: How many.
        batch: Sequences for each data-parallel group.
        tensor: Tensor-parallel devices; by default the most of a host's 8 that divide count, heads
            and feed-forward width.
        context: Context-parallel devices; by default all the others, so that nothing is data-parallel.
        zero: Stage of optimiser sharding, 0 to 3.
        optimizer: "adamw" (12 bytes a parameter beside weight and gradient), "adamw-8bit", "sgd".
        loss_chunk: Tokens whose logits are there at a time; 0 for all at once.
        memory, flops, bandwidth, matmul, attention, attention_back: Overrides for the device; see
            `Device`. `bandwidth` is each device's own rate to the host as specified, of which four
            fifths are counted on.
        host_memory: Bytes of one whole host, which min(count, 8) devices share; by default the
            table's share for each device.
        longest: Whether to search for the longest sequences.

    Raises:
        UnknownName: If model, device or optimiser is not known.
        UsageError: If a number is impossible, or the devices cannot be laid out so.
        DataError: If the configuration cannot be used.

    >>> plan = forecast("7b", sequence=2**20, device="a800", count=8)
    >>> plan.best.name, round(plan.best.mfu, 2), plan.ways["plain"].fits
    ('swap', 0.5, False)
    """
    _whole("sequence", sequence, 1, _LONGEST)
    _whole("count", count, 1, 2**20)
    _whole("batch", batch, 1, 2**20)
    _whole("loss_chunk", loss_chunk, 0, _LONGEST)
    _whole("zero", zero, 0, 3)
    if optimizer not in OPTIMIZERS:
        raise UnknownName("optimizer", optimizer, OPTIMIZERS)
    shape = shape_of(model)
    chosen = device_of(
        device, memory=memory, flops=flops, link=bandwidth, matmul=matmul, attention=attention,
        attention_back=attention_back,
    )  # fmt: skip
    layout = _layout(shape, count, tensor, context, zero)
    share = chosen.host_memory
    if host_memory is not None:
        _whole("host_memory", host_memory, 0, 2**60)
        share = host_memory // min(count, _HOST)
    setting = _Setting(shape, chosen, layout, batch, optimizer, loss_chunk, share)
    ways: dict[str, Way] = {}
    for name in WAYS:
        ways[name] = setting.way(name, sequence)
        if longest:
            ways[name] = replace(ways[name], longest=setting.longest(name))
    overlap = _first(lambda s: _hides(setting, s))
    return Forecast(
        shape, chosen, layout, sequence, batch, shape.flops(sequence) * batch * layout.data,
        setting.layer(sequence), setting.head(sequence)[0], ways, overlap,
        _assumptions(setting, sequence, host_memory), setting,
    )  # fmt: skip


def _whole(name: str, value: Any, least: int, most: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise UsageError(f"{name} is {value!r}; give a whole number from {least:,} to {most:,}")


def _layout(shape: Shape, count: int, tensor: int | None, context: int | None, zero: int) -> Layout:
    fits = [
        t for t in range(1, min(count, _HOST) + 1)
        if count % t == 0 and shape.heads % t == 0 and shape.ffn % t == 0
    ]  # fmt: skip
    if tensor is None:
        possible = [t for t in fits if context is None or (count // t) % context == 0]
        tensor = max(possible, default=1)
    else:
        _whole("tensor", tensor, 1, 2**20)
        if shape.heads % tensor or shape.ffn % tensor:
            raise UsageError(
                f"tensor is {tensor}, which does not divide the model's {shape.heads} heads and "
                f"feed-forward width {shape.ffn}; of {count} device(s), these do: "
                f"{', '.join(map(str, fits))}"
            )
        if count % tensor:
            raise UsageError(f"tensor is {tensor}, which does not divide count {count}")
    rest = count // tensor
    if context is None:
        context = rest
    _whole("context", context, 1, 2**20)
    if rest % context:
        raise UsageError(
            f"tensor {tensor} times context {context} does not divide count {count}; the rest must "
            "be whole groups for data parallelism"
        )
    return Layout(tensor, context, rest // context, zero)


def _hides(setting: _Setting, sequence: int) -> bool:
    one = setting.layer(sequence)
    return one.forward * setting.device.copying(setting.layout.count) >= one.skeletal_bytes


def _last(fits: Callable[[int], bool]) -> int:
    """The largest length that fits, where a longer one never needs less; 0 where none does."""
    if not fits(1):
        return 0
    low = 1
    while low < _LONGEST and fits(low * 2):
        low *= 2
    high = min(low * 2, _LONGEST)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def _first(holds: Callable[[int], bool]) -> int | None:
    """The smallest length for which it holds, and then for all longer ones."""
    if not holds(_LONGEST):
        return None
    low, high = 0, _LONGEST
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high


def _assumptions(setting: _Setting, sequence: int, host: int | None) -> tuple[str, ...]:
    m, d, layout = setting.shape, setting.device, setting.layout
    out = [
        f"FLOPs: 6 P s + 6 n h s^2 a sequence, forward and backward, causal; P = "
        f"{m.layers * m.layer_matrix + m.vocab * m.hidden:,} parameters that multiply every token"
        + (f"; {m.windowed} layers look back {m.window:,} tokens" if m.windowed else ""),
        f"one layer saves {m.skeletal / m.hidden:.4g} h elements a token in bfloat16 (input, norms' "
        f"results, q, k, v, attention's output, residual, {4 if m.gated else 2} of the "
        "feed-forward part), and log-sum-exp and norms' statistics in float32; as fused kernels do: "
        "plain operators save more",
        f"attained: {d.matmul:.0%} of the peak in matrix products (large ones; narrow models get "
        f"less), {d.attention:.1%} in attention forward and {d.attention_back:.1%} backward, which "
        f"computes scores once more (5 products against 2); {LINK_SHARE:.0%} of the link's "
        f"{d.link / 1e9:.4g} GB/s"
        + (f", which {d.uplink} devices share" if min(d.uplink, layout.count) > 1 else ""),
        f"weights and gradients take 2 bytes a parameter each, {setting.optimizer} "
        f"{OPTIMIZERS[setting.optimizer]}; {layout.tensor}-way tensor and sequence parallel, "
        f"{layout.context}-way context, {layout.data}-way data, optimiser sharding {layout.zero}",
        (
            f"logits of {setting.loss_chunk:,} tokens at a time (loss in chunks)"
            if setting.loss_chunk
            else "all logits at once, in bfloat16 and float32"
        ),
        f"{RESERVED / 2**30:.1f} GiB of the device go to driver and libraries; addresses are "
        "planned, so that nothing is lost to fragments",
        f"{setting.host_bytes / 2**30:.0f} GiB of host memory for each device"
        + ("" if host is None else f", of {host / 2**30:.0f} GiB in a host"),
        "not counted: the optimiser's time, traffic between hosts and of optimiser sharding, and "
        "what context parallelism does not hide",
    ]
    if m.positions and sequence > m.positions:
        out.append(f"the configuration ends at {m.positions:,} positions; it must be extended")
    return tuple(out)
