"""The hooks on a model's blocks, and what they are told to do."""

from __future__ import annotations

import contextlib
import os
import time
import weakref
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from byheart.core.errors import UsageError
from byheart.states._planner.alpha import LayerSplit, Split, solve_alpha
from byheart.states._swapping.buffers import RoundingBuffers
from byheart.states._swapping.host import HostPool, Room
from byheart.states._swapping.passes import Pass, Saved, verified
from byheart.states._swapping.streams import Streams, streams_for

__all__ = ["ActivationSwapper", "SwapStats", "find_blocks"]

_KEPT = 2
"""Last layers whose backward pass begins at once; they keep everything (paper, section 4.2)."""
_PROBE = 1 << 26
_SPARE = 0.95
"""Share of the host's budget that is planned with: sizes differ a little from step to step."""


@dataclass
class SwapStats:
    """What has been done since the swapper was entered.

    Attributes:
        passes: Passes of blocks that were swapped.
        saved_bytes: What autograd saved in them, parameters not counted, each stretch of memory once.
        swapped_bytes: Of it, what went to the host.
        kept_bytes: What stayed on the device.
        dropped_bytes: What is computed anew.
        disk_bytes: How large the files are that the host's budget had no room for.
        peak_host_bytes: Most bytes in use on host and disk at one time.
        whole_blocks: Blocks that can only be run again as a whole, by index.
        overflows: How often a rounding buffer was still in use, and memory of its own was taken.
    """

    passes: int = 0
    saved_bytes: int = 0
    swapped_bytes: int = 0
    kept_bytes: int = 0
    dropped_bytes: int = 0
    disk_bytes: int = 0
    peak_host_bytes: int = 0
    whole_blocks: tuple[int, ...] = ()
    overflows: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def find_blocks(model: nn.Module) -> list[nn.Module]:
    """The decoder blocks of a model: its longest list of modules of one class.

    Wrappers (DDP, FSDP, peft) are looked through.

    Raises:
        UsageError: If there is no such list.
    """
    best: list[nn.Module] = []
    for module in model.modules():
        if isinstance(module, nn.ModuleList | nn.Sequential):
            some = [getattr(m, "_fsdp_wrapped_module", m) for m in module]
            if len(some) > len(best) and len({type(m) for m in some}) == 1:
                best = some
    if not best:
        raise UsageError(
            f"{type(model).__name__} has no list of equal blocks; give the blocks themselves: "
            "ActivationSwapper([block, block, ...])"
        )
    return best


class ActivationSwapper:
    """Swap part of what blocks save for the backward pass, and compute the rest anew.

    Within the ``with`` statement every block's input and attention result go to the host whole. Of
    all else the first alpha of the tokens go too, and the others are computed anew right before the
    block's backward pass, without running attention again. The last two blocks keep everything.
    Copies run beside the computation; on the way back the block before is fetched meanwhile.

    The first pass of each block checks that running it again on some of its tokens gives what it
    gave; a block where it does not (attention that is not `scaled_dot_product_attention`, anything
    else that mixes tokens) is run again as a whole: of such blocks a share alpha is swapped whole.

    Args:
        model: A model, whose blocks are found (`find_blocks`), or the blocks in their order.
        plan: A `Split` (`split_activations`); then `alpha` is not looked at.
        alpha: Share of the tokens, or "auto": measured on the first two blocks of the first step,
            and solved (`solve_alpha`).
        cpu_bytes: Host memory that may be used; half of what is free if left out.
        disk: Folder for what goes beyond it; None allows none.
        bandwidth: Bytes a second between device and host; measured if left out.
        check: Whether to check each block's first pass. Without, a block that mixes tokens outside
            of attention gets wrong gradients.

    Raises:
        UsageError: If there are no blocks, alpha is no share, or the model recomputes by itself.

    >>> blocks = nn.Sequential(*(nn.Sequential(nn.Linear(4, 64), nn.GELU(), nn.Linear(64, 4))
    ...                          for _ in range(4)))
    >>> x = torch.ones(2, 50, 4, requires_grad=True)
    >>> with ActivationSwapper(blocks, alpha=1.0) as swapper:
    ...     blocks(x).sum().backward()
    >>> swapper.stats.passes, swapper.stats.swapped_bytes == swapper.stats.saved_bytes
    (2, True)
    """

    def __init__(
        self,
        model: nn.Module | Sequence[nn.Module],
        plan: Split | None = None,
        *,
        alpha: float | Literal["auto"] = "auto",
        cpu_bytes: int | None = None,
        disk: Path | str | None = None,
        bandwidth: float | None = None,
        check: bool = True,
    ) -> None:
        if isinstance(model, nn.ModuleList):
            self.blocks = list(model)
        else:
            self.blocks = find_blocks(model) if isinstance(model, nn.Module) else list(model)
        if not self.blocks or not all(isinstance(b, nn.Module) for b in self.blocks):
            raise UsageError("no blocks are given; give a model or its blocks")
        if len({id(b) for b in self.blocks}) != len(self.blocks):
            raise UsageError("a block is given twice; blocks that share weights are not swapped")
        if plan is not None and len(plan.layers) != len(self.blocks):
            raise UsageError(
                f"the plan is for {len(plan.layers)} layers and the model has {len(self.blocks)}"
            )
        if alpha != "auto" and not (isinstance(alpha, int | float) and 0 <= alpha <= 1):
            raise UsageError(f"alpha is {alpha!r}; give a share from 0 to 1, or 'auto'")
        if cpu_bytes is not None and cpu_bytes < 0:
            raise UsageError(f"cpu_bytes is {cpu_bytes}; it must not be negative")
        for block in self.blocks:
            if getattr(block, "gradient_checkpointing", False) and block.training:
                raise UsageError(
                    "the model recomputes its blocks by itself; call "
                    "model.gradient_checkpointing_disable() first"
                )
        self.plan, self.alpha, self._check = plan, alpha, check
        self._cpu_bytes = _free() // 2 if cpu_bytes is None else int(cpu_bytes)
        self._disk, self._bandwidth = disk, bandwidth
        self.stats = SwapStats()
        self._whole: dict[int, bool] = {}
        self._measured: list[Any] = []
        self._handles: list[Any] = []
        self._running: dict[int, tuple[Pass, Any, Any]] = {}
        self._last: weakref.ref[Pass] | None = None
        self._open: list[Pass] = []
        self._pool: HostPool | None = None
        self._streams: Streams | None = None
        self._buffers: RoundingBuffers | None = None

    # What passes use

    @property
    def streams(self) -> Streams:
        """Queues of copies."""
        assert self._streams is not None
        return self._streams

    @property
    def buffers(self) -> RoundingBuffers:
        """Where layers come back to."""
        assert self._buffers is not None
        return self._buffers

    def pool_room(self, sizes: list[int]) -> Room:
        """Host memory for one pass."""
        assert self._pool is not None
        return Room(self._pool, sizes)

    def count(self, done: Pass) -> None:
        """Add a pass to the statistics."""
        s = self.stats
        s.passes += 1
        for c in done.contents:
            host = 0 if c.host is None else c.host.numel() * c.host.element_size()
            stays = 0 if c.stays is None else c.stays.numel() * c.stays.element_size()
            s.saved_bytes += c.bytes
            s.swapped_bytes += host
            s.kept_bytes += stays
            s.dropped_bytes += c.bytes - host - stays
        if self._pool is not None:
            s.disk_bytes = max(s.disk_bytes, self._pool.disk_bytes)
            s.peak_host_bytes = max(s.peak_host_bytes, self._pool.peak)

    # With

    def __enter__(self) -> ActivationSwapper:
        if self._handles:
            raise UsageError("this swapper is entered already")
        device = next((p.device for b in self.blocks for p in b.parameters()), torch.device("cpu"))
        self.stats = SwapStats()
        self._streams = streams_for(device)
        self._buffers = RoundingBuffers(device)
        self._pool = HostPool(self._cpu_bytes, self._disk, pinned=device.type == "cuda")
        for i, block in enumerate(self.blocks):
            self._handles.append(
                block.register_forward_pre_hook(
                    lambda module, args, kwargs, i=i: self._before(i, args, kwargs),
                    with_kwargs=True,
                )
            )
            self._handles.append(
                block.register_forward_hook(
                    lambda module, args, output, i=i: self._after(i, output), always_call=True
                )
            )
        return self

    def __exit__(self, *error: object) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        for _, hooks, mode in reversed(list(self._running.values())):
            mode.__exit__(None, None, None)
            hooks.__exit__(None, None, None)
        self._running.clear()
        self._open.clear()
        self._last = None
        streams, self._streams = self._streams, None
        if streams is not None:
            streams.close()
        if self._buffers is not None:
            self.stats.overflows = self._buffers.overflows
            self._buffers.close()
        if self._pool is not None:
            self._pool.close()

    # Hooks

    def _before(self, layer: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        x = next((a for a in (*args, *kwargs.values()) if isinstance(a, torch.Tensor)), None)
        if not torch.is_grad_enabled() or x is None or layer in self._running:
            return
        for earlier in [p for p in self._open if p.layer <= layer - 2 or p.layer >= layer]:
            earlier.release()
            self._open.remove(earlier)
        before = None if self._last is None or layer == 0 else self._last()
        made = Pass(self, layer, self.blocks[layer], x, args, kwargs, before)
        hooks = torch.autograd.graph.saved_tensors_hooks(made.pack, _unpack)
        hooks.__enter__()
        made.mode.__enter__()
        self._running[layer] = (made, hooks, made.mode)

    def _after(self, layer: int, output: Any) -> None:
        running = self._running.pop(layer, None)
        if running is None:
            return
        made, hooks, mode = running
        mode.__exit__(None, None, None)
        hooks.__exit__(None, None, None)
        if output is None:  # the block raised
            return
        made.end()
        split = self._split(layer, made)
        if split.offloads and split.tokens(made.length)[2]:
            made.whole_again = self._runs_whole(layer, made, split)
            if made.whole_again:
                split = _whole(split)
        made.settle(split)
        self._last = weakref.ref(made)
        if split.offloads:
            self._open.append(made)

    def _runs_whole(self, layer: int, made: Pass, split: LayerSplit) -> bool:
        """Whether a block cannot be run again for some of its tokens; found out once."""
        if layer not in self._whole:
            swap, keep, _ = split.tokens(made.length)
            if not made.length or not made.mode.results:
                self._whole[layer] = True
            else:
                # Some tokens are left out of the check, so that mixing them would show.
                begin = (swap + keep) or max(1, made.length // 2)
                self._whole[layer] = self._check and not verified(made, min(begin, made.length - 1))
            self.stats.whole_blocks = tuple(i for i, whole in self._whole.items() if whole)
        return self._whole[layer]

    def _split(self, layer: int, made: Pass) -> LayerSplit:
        n = len(self.blocks)
        if self.plan is not None:
            return self.plan.layers[layer]
        if layer >= n - _KEPT:
            return LayerSplit(layer, 1.0, 0.0, 0.0, False)
        alpha = self._solved(layer, made) if self.alpha == "auto" else float(self.alpha)
        return LayerSplit(layer, 0.0, alpha, 1.0 - alpha, True)

    def _solved(self, layer: int, made: Pass) -> float:
        """Measure the first two passes, then keep to what was solved."""
        if len(self._measured) < 2:
            if made.input.tensor is not None and made.input.tensor.is_cuda:
                torch.cuda.synchronize(made.input.tensor.device)
            self._measured.append(made.sizes())
            best = min(self._measured, key=lambda m: m.seconds)
            rate = self._bandwidth or _bandwidth(made.input.tensor)
            self._bandwidth = rate
            self._auto = solve_alpha(
                s_input=best.input + best.fixed, s_attn=best.attention, s_others=best.others,
                bandwidth=rate, t_layer=best.seconds, layers=len(self.blocks),
                cpu_bytes=_SPARE * self._cpu_bytes,
            )  # fmt: skip
        return self._auto

    @property
    def solved(self) -> float | None:
        """The alpha that "auto" came to, once it has."""
        return getattr(self, "_auto", None) if self.alpha == "auto" else None


def _unpack(packed: Any) -> torch.Tensor:
    return packed.keeper.unpack(packed) if isinstance(packed, Saved) else packed


def _whole(split: LayerSplit) -> LayerSplit:
    """A block that runs again only as a whole: of such blocks, a share alpha is swapped whole."""
    share = split.swap + split.keep
    swapped = int((split.layer + 1) * share + 1e-9) > int(split.layer * share + 1e-9)
    return LayerSplit(split.layer, 0.0, float(swapped), 1.0 - swapped, True)


def _free() -> int:
    """Free host memory, bytes."""
    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    with contextlib.suppress(OSError, ValueError, AttributeError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return 1 << 34


def _bandwidth(like: torch.Tensor | None) -> float:
    """Bytes a second from device to host, measured."""
    device = torch.device("cpu") if like is None else like.device
    there = torch.empty(_PROBE, dtype=torch.uint8, device=device).fill_(1)
    here = torch.empty(_PROBE, dtype=torch.uint8, pin_memory=device.type == "cuda")
    seconds = []
    for _ in range(3):
        begin = time.perf_counter()
        here.copy_(there, non_blocking=True)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - begin)
    return _PROBE / max(min(seconds), 1e-9)
