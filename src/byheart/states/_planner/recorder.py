"""One step's memory requests: what is allocated and freed, in which order, by which layer."""

from __future__ import annotations

import threading
import time
import weakref
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, Literal

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode, is_traceable_wrapper_subclass
from torch.utils._pytree import tree_leaves

from byheart.core.errors import CapabilityError, DataError, UsageError
from byheart.states._planner.types import Request, Trace

__all__ = ["bilevel_parts", "layer_requests", "record_requests", "trace_of_history"]

Phase = Literal["forward", "backward"]


def record_requests(
    step: Callable[[], Any],
    *,
    layers: Iterable[nn.Module] = (),
    name: str = "step",
    source: Literal["dispatch", "cuda"] | None = None,
) -> Trace:
    """Run `step` once and write down every tensor's malloc and free.

    A mode under autograd sees each operator's results; a finaliser on each new storage sees it go.
    So views and in-place results are no new requests, and what existed before the step is left
    out. Tensors that autograd saves are marked skeletal. The step runs as it would anyway, gradients
    and all. Under FakeTensorMode it needs no memory, so that a model that does not fit can be recorded
    as well (on the ``meta`` device too, where attention is not the fused one and makes its matrix).

    What an operator allocates and frees inside itself is not seen. On CUDA the allocator's own
    history is read instead, which knows it.

    Args:
        step: Forward and backward pass, and the update if it is to be planned.
        layers: Modules whose requests shall be cut out afterwards (`layer_requests`): the blocks.
        name: Of the trace.
        source: "dispatch", or "cuda" for the allocator's history of the current device; by default
            the latter once this process has used CUDA.

    Returns:
        The requests, ids in order of allocation; `Request.note` says which operator, in which layer.

    Raises:
        CapabilityError: If the history of CUDA is asked for and there is none.
        UsageError: If `step` cannot be called, or a layer is no module or stands in another.

    >>> import torch
    >>> w = torch.ones(4, 4, requires_grad=True)
    >>> trace = record_requests(lambda: (w @ w).exp().sum().backward())
    >>> [(r.kind, r.size, r.note) for r in trace][:3]
    [('malloc', 64, 'mm'), ('malloc', 64, 'exp'), ('free', 64, 'mm')]
    """
    if not callable(step):
        raise UsageError(f"step is {type(step).__name__}; give a function of no arguments")
    if source not in (None, "dispatch", "cuda"):
        raise UsageError(f"source is {source!r}; give 'dispatch' or 'cuda'")
    blocks = _blocks(layers)
    if source is None:
        source = "cuda" if torch.cuda.is_available() and torch.cuda.is_initialized() else "dispatch"
    recorder = _Recorder()
    if source == "dispatch":
        recorder.run(step, blocks)
        return recorder.trace(name)
    return _cuda(step, blocks, recorder, name)


def _blocks(layers: Iterable[nn.Module]) -> list[nn.Module]:
    blocks = list(layers)
    for i, block in enumerate(blocks):
        if not isinstance(block, nn.Module):
            raise UsageError(f"layer {i} is {type(block).__name__}; give modules")
    inside = {id(m): i for i, b in enumerate(blocks) for m in b.modules() if m is not b}
    for i, block in enumerate(blocks):
        if id(block) in inside:
            raise UsageError(
                f"layer {i} stands in layer {inside[id(block)]}; give the blocks alone"
            )
    return blocks


class _Recorder(TorchDispatchMode):
    """Requests, marks and saved tensors of one step."""

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[Request] = []
        self.marks: list[tuple[int, str, int]] = []  # position, text, nanoseconds
        self.skeletal: set[str] = set()
        self.saved_at: list[tuple[int, int]] = []  # address and nanoseconds, for the history
        self._held: dict[int, tuple[str, int, str] | None] = {}  # None: older than the step
        self._count = 0
        # Finalisers run wherever the last reference goes, also inside this very lock.
        self._lock = threading.RLock()
        self._finalizers: list[weakref.finalize] = []
        self._ranges: list[tuple[int, int, int]] = []
        self._open: int | None = None
        self._phase = ""

    def run(self, step: Callable[[], Any], blocks: Sequence[nn.Module]) -> None:
        with ExitStack() as stack:
            stack.callback(self._close)
            for i, block in enumerate(blocks):
                handles = self._hook(i, block)
                for handle in handles:
                    stack.callback(handle.remove)
            stack.enter_context(torch.autograd.graph.saved_tensors_hooks(self._pack, _unpack))
            stack.enter_context(self)
            step()

    def trace(self, name: str) -> Trace:
        marks = tuple((at, text) for at, text, _ in self.marks)
        return Trace(tuple(self.requests), name, frozenset(self.skeletal), marks)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        given = [t for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)]
        if any(is_traceable_wrapper_subclass(t) for t in given):
            return NotImplemented  # its own operators on plain tensors come by here
        self._look()
        fresh = func is torch.ops.aten.lift_fresh.default  # torch.tensor(...) inside the step
        for tensor in given:
            for storage in _storages(tensor):
                self._meet(storage, None if not fresh else "tensor")
        out = func(*args, **kwargs)
        note = str(func).split(".")[1] if "." in str(func) else str(func)
        for tensor in tree_leaves(out):
            if isinstance(tensor, torch.Tensor):
                for storage in _storages(tensor):
                    self._meet(storage, note)
        return out

    def _meet(self, storage: Any, note: str | None) -> None:
        """A storage is seen; `note` names its maker, and is None for an argument."""
        key, size = storage._cdata, storage.nbytes()
        with self._lock:
            if key in self._held:
                held = self._held[key]
                if held is not None and held[1] != size:  # resized under our eyes
                    self.requests.append(Request("free", held[0], held[1], held[2]))
                    self._held[key] = self._malloc(size, held[2])
                return
            self._held[key] = None if note is None else self._malloc(size, note)
            finalizer = weakref.finalize(storage, self._gone, key)
            finalizer.atexit = False
            self._finalizers.append(finalizer)

    def _malloc(self, size: int, note: str) -> tuple[str, int, str]:
        where = "" if self._open is None else f"layer {self._open}: "
        made = str(self._count), size, where + note
        self._count += 1
        self.requests.append(Request("malloc", *made))
        return made

    def _gone(self, key: int) -> None:
        with self._lock:
            held = self._held.pop(key, None)
            if held is not None:
                self.requests.append(Request("free", *held))

    def _close(self) -> None:
        with self._lock:
            for finalizer in self._finalizers:
                finalizer.detach()
            self._held.clear()
            self._leave()

    # Where in the step we are.

    def _mark(self, text: str) -> None:
        self.marks.append((len(self.requests), text, time.time_ns()))

    def _leave(self) -> None:
        if self._open is not None and self._phase == "backward":
            self._mark(f"end of layer {self._open} backward")
            self._open = None

    def _look(self) -> None:
        """Note the phase, and in the backward pass the layer: nodes are numbered as they are made."""
        if torch._C._current_graph_task_id() == -1:
            if self._phase == "backward":
                self._leave()
                self._phase = "update"
                self._mark("update")
            elif not self._phase:
                self._phase = "forward"
                self._mark("forward")
            return
        if self._phase != "backward":
            self._open = None
            self._phase = "backward"
            self._mark("backward")
        node = torch._C._current_autograd_node()
        number = None if node is None else node._sequence_nr()
        if number is None or number >= 2**63:
            return  # a hook, or an accumulation of gradients: these belong to what runs
        layer = self._layer_of(number)
        if layer != self._open:
            self._leave()
            self._open = layer
            if layer is not None:
                self._mark(f"layer {layer} backward")

    def _layer_of(self, number: int) -> int | None:
        at = bisect_right(self._ranges, (number, 2**64, 0)) - 1
        if at < 0:
            return None
        _, end, layer = self._ranges[at]
        return layer if number < end else None

    def _hook(self, index: int, block: nn.Module) -> list[Any]:
        began: list[tuple[int, bool]] = []

        def before(*_: Any) -> None:
            again = torch._C._current_graph_task_id() != -1  # checkpointing runs it once more
            began.append((torch.autograd._get_sequence_nr(), again))
            if not again:
                if self._phase != "forward":
                    self._phase = "forward"
                    self._mark("forward")
                self._open = index
                self._mark(f"layer {index} forward")

        def after(*_: Any) -> None:
            start, again = began.pop()
            self._ranges.append((start, torch.autograd._get_sequence_nr(), index))
            self._ranges.sort()
            if not again:
                self._open = None
                self._mark(f"end of layer {index} forward")

        return [
            block.register_forward_pre_hook(before),
            block.register_forward_hook(after, always_call=True),
        ]

    # What autograd saves. The same tensor must not be handed back: it would hold its own graph.

    def _pack(self, tensor: torch.Tensor) -> tuple[torch.Tensor, int | None]:
        for storage in _storages(tensor):
            held = self._held.get(storage._cdata)
            if held is not None:
                self.skeletal.add(held[0])
                if storage.device.type == "cuda":
                    self.saved_at.append((storage.data_ptr(), time.time_ns()))
        version = None if tensor.is_inference() else tensor._version
        return tensor.detach(), version


def _unpack(packed: tuple[torch.Tensor, int | None]) -> torch.Tensor:
    tensor, version = packed
    if version is not None and tensor._version != version:
        # Autograd does not look once there are hooks; the step alone would have raised this.
        raise RuntimeError(
            "one of the variables needed for gradient computation has been modified by an inplace "
            f"operation: a saved tensor of shape {list(tensor.shape)} is at version "
            f"{tensor._version}; expected version {version} instead"
        )
    return tensor


def _storages(tensor: torch.Tensor) -> Iterator[Any]:
    """The untyped storages behind a tensor; a sparse tensor and a wrapper have several."""
    if is_traceable_wrapper_subclass(tensor):
        for name in tensor.__tensor_flatten__()[0]:
            yield from _storages(getattr(tensor, name))
    elif tensor.layout == torch.sparse_coo:
        yield from (tensor._indices().untyped_storage(), tensor._values().untyped_storage())
    elif tensor.layout in (torch.sparse_csr, torch.sparse_bsr):
        for part in (tensor.crow_indices(), tensor.col_indices(), tensor.values()):
            yield part.untyped_storage()
    elif tensor.layout == torch.strided:
        yield tensor.untyped_storage()
    else:
        raise CapabilityError(f"a tensor of layout {tensor.layout} cannot be recorded")


# The allocator's own history.


def trace_of_history(entries: Iterable[Mapping[str, Any]], name: str = "step") -> Trace:
    """The requests in CUDA's allocator history: one device's list of ``device_traces``.

    Frees of blocks that are older than the history are left out.

    Args:
        entries: Of ``torch.cuda.memory._snapshot()["device_traces"][device]``.
        name: Of the trace.

    Raises:
        DataError: If an address is allocated that is still in use.
    """
    return Trace(tuple(r for r, _, _ in _history(entries)), name)


def _history(entries: Iterable[Mapping[str, Any]]) -> list[tuple[Request, int, int]]:
    """Requests with address and microseconds."""
    held: dict[int, tuple[str, int]] = {}
    found: list[tuple[Request, int, int]] = []
    count = 0
    for i, entry in enumerate(entries):
        action, at = entry["action"], entry["addr"]
        when = entry.get("time_us", 0)
        if action == "alloc":
            if at in held:
                raise DataError(f"entry {i}: address {at:#x} is allocated while it is in use")
            held[at] = str(count), entry["size"]
            count += 1
            found.append((Request("malloc", *held[at]), at, when))
        elif action == "free_completed" and at in held:
            found.append((Request("free", *held.pop(at)), at, when))
    return found


def _cuda(
    step: Callable[[], Any], blocks: Sequence[nn.Module], recorder: _Recorder, name: str
) -> Trace:
    if not torch.cuda.is_available():
        raise CapabilityError(
            "source is 'cuda' and torch sees no CUDA device; use source='dispatch', which records "
            "on any device"
        )
    device = torch.cuda.current_device()
    torch.cuda.synchronize(device)
    torch.cuda.memory._record_memory_history(enabled="all", context=None, max_entries=2_000_000)
    try:
        before = len(torch.cuda.memory._snapshot()["device_traces"][device])
        recorder.run(step, blocks)
        torch.cuda.synchronize(device)
        entries = torch.cuda.memory._snapshot()["device_traces"][device][before:]
    finally:
        torch.cuda.memory._record_memory_history(enabled=None)
    return _joined(entries, recorder, name)


def _joined(entries: Iterable[Mapping[str, Any]], recorder: _Recorder, name: str) -> Trace:
    """The allocator's requests with the recorder's marks and saved tensors, matched by the clock."""
    found = _history(entries)
    times = [when for _, _, when in found]
    marks = tuple((bisect_right(times, ns // 1000), text) for _, text, ns in recorder.marks)
    lives: dict[int, list[tuple[int, str]]] = {}
    for request, at, when in found:
        if request.kind == "malloc":
            lives.setdefault(at, []).append((when, request.id))
    skeletal = set()
    for at, ns in recorder.saved_at:
        own = lives.get(at, [])
        i = bisect_right(own, (ns // 1000, chr(0x10FFFF))) - 1
        if i >= 0:
            skeletal.add(own[i][1])
    return Trace(tuple(r for r, _, _ in found), name, frozenset(skeletal), marks)


# Cutting a layer out.


def _window(trace: Trace, layer: int, phase: str, call: int) -> tuple[int, int]:
    begin, end = f"layer {layer} {phase}", f"end of layer {layer} {phase}"
    begins = [at for at, text in trace.marks if text == begin]
    ends = [at for at, text in trace.marks if text == end]
    if not begins:
        known = sorted({text for _, text in trace.marks if text.startswith("layer ")})
        raise DataError(
            f"the trace has no {begin}; "
            + (f"it has {', '.join(known)}" if known else "record it with layers=model.layers")
        )
    if not 0 <= call < len(begins):
        raise UsageError(f"call is {call}; layer {layer} has {len(begins)} {phase} pass(es)")
    return begins[call], ends[call] if call < len(ends) else len(trace)


def layer_requests(
    trace: Trace, layer: int, phase: Phase = "forward", *, call: int = 0, escaping: bool = False
) -> Trace:
    """Requests of one layer's forward or backward pass: what the first level of planning solves.

    Args:
        trace: Recorded with ``layers=``.
        layer: Its index.
        phase: "forward" or "backward".
        call: Which of its passes, where a step has several (gradient accumulation).
        escaping: Also what is allocated in the pass and outlives it (its result, saved tensors,
            gradients); these then have no free. Left out by default: such a tensor cannot lie in
            the layer's block, whose bytes the next layer uses again.

    Raises:
        DataError: If the trace has no such layer.
        UsageError: If it has no such pass.
    """
    begin, end = _window(trace, layer, phase, call)
    inside = trace.requests[begin:end]
    made = {r.id for r in inside if r.kind == "malloc"}
    done = {r.id for r in inside if r.kind == "free"}
    wanted = made if escaping else made & done
    kept = tuple(r for r in inside if r.id in wanted)
    return Trace(kept, f"{trace.name}, layer {layer} {phase}", trace.skeletal & wanted)


def bilevel_parts(trace: Trace, *, layers: int | None = None) -> dict[str, Any]:
    """What `bilevel_plan` takes, cut from one recorded step of a model of equal layers.

    `layer_fwd` and `layer_bwd` are the passes whose live bytes peak highest; `head` is what is
    requested before the first layer, `tail` between the last layer's passes (the classifier and the
    loss), `after` behind the first layer's backward pass. What of these is freed inside a layer is
    taken as freed behind the layers. What one layer hands to the next and is not saved, such as the
    stream's gradient, has two places that take turns. Skeletal tensors are left out, as
    they lie in the rounding buffers, and so are gradients of weights, which outlive the step.

    Args:
        trace: Recorded with ``layers=``.
        layers: How many to plan for; those of the trace if left out.

    Raises:
        DataError: If the trace has no layers, or no backward pass.
    """
    bare = trace.transient()
    found = sorted({int(t.split()[1]) for _, t in bare.marks if t.startswith("layer ")})
    if not found:
        raise DataError("the trace has no layers; record it with layers=model.layers")
    fwd = max((layer_requests(bare, i, "forward") for i in found), key=_peak)
    bwd = max((layer_requests(bare, i, "backward") for i in found), key=_peak)
    first, last = _window(bare, found[0], "forward", 0)[0], _window(bare, found[-1], "forward", 0)
    back, end = _window(bare, found[-1], "backward", 0)[0], _window(bare, found[0], "backward", 0)
    parts: list[list[Request]] = [[], [], []]
    begins = ((0, first), (last[1], back), (end[1], len(bare)))
    made: dict[str, int] = {}
    for part, (begin, until) in enumerate(begins):
        for at in range(begins[part - 1][1] if part else 0, until):
            r = bare.requests[at]
            if at >= begin and r.kind == "malloc":
                made[r.id] = part
                parts[part].append(r)
            elif r.kind == "free" and r.id in made:  # inside a layer: behind the layers
                parts[part].append(r)
    there, back_again = (_handed(bare, found, phase) for phase in ("forward", "backward"))
    if there or back_again:
        size = max(there, back_again)
        turns = [Request("malloc", f"handed on {i}", size, "between layers") for i in (0, 1)]
        parts[0 if there else 1][:0] = turns
        parts[2][:0] = [Request("free", r.id, r.size, r.note) for r in turns]
    head, tail, after = (
        Trace(tuple(part), f"{trace.name}, {name}")
        for part, name in zip(parts, ("head", "tail", "after"), strict=True)
    )
    return {
        "layer_fwd": fwd, "layer_bwd": bwd, "head": head, "tail": tail, "after": after,
        "layers": len(found) if layers is None else layers,
    }  # fmt: skip


def _handed(trace: Trace, layers: Sequence[int], phase: str) -> int:
    """The most bytes that are allocated in one layer's pass and freed in another's."""
    windows = [_window(trace, i, phase, 0) for i in layers]
    freed = {r.id: at for at, r in enumerate(trace.requests) if r.kind == "free"}
    most = 0
    for begin, end in windows:
        crossing = 0
        for r in trace.requests[begin:end]:
            at = freed.get(r.id, -1)
            if r.kind == "malloc" and at >= end and any(b <= at < e for b, e in windows):
                crossing += r.size
        most = max(most, crossing)
    return most


def _peak(trace: Trace) -> int:
    now = most = 0
    for r in trace.requests:
        now += r.size if r.kind == "malloc" else -r.size
        most = max(most, now)
    return most
