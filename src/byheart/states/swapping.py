"""Longer sequences in the same memory: part of what is saved goes to the host, the rest is computed anew.

>>> import torch
>>> from torch import nn
>>> model = nn.Sequential(*(nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 8)) for _ in range(6)))
>>> x = torch.ones(1, 100, 8)
>>> with offload_activations(model, alpha=0.5) as swapper:
...     model(x).sum().backward()
>>> swapper.stats.passes
4

The runtime of MEMO, "Efficiently Training 7B LLM with 1 Million Sequence Length on 8 GPUs" (SIGMOD
2025, doi 10.1145/3709703): token-wise swapping and recomputation of activations, with rounding
buffers. `byheart.states.planner` says beforehand what fits.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from byheart.core.errors import need

need("torch", "torch")

from byheart.states._planner.alpha import Split  # noqa: E402
from byheart.states._swapping.buffers import RoundingBuffers  # noqa: E402
from byheart.states._swapping.swapper import (  # noqa: E402
    ActivationSwapper,
    SwapStats,
    find_blocks,
)

if TYPE_CHECKING:
    from torch import nn

    from byheart.states._swapping.callback import SwapCallback

__all__ = [
    "ActivationSwapper",
    "RoundingBuffers",
    "SwapCallback",
    "SwapStats",
    "find_blocks",
    "offload_activations",
]


@contextlib.contextmanager
def offload_activations(
    model: nn.Module | Sequence[nn.Module],
    plan: Split | None = None,
    *,
    alpha: float | Literal["auto"] = "auto",
    cpu_bytes: int | None = None,
    disk: Path | str | None = None,
    bandwidth: float | None = None,
    check: bool = True,
) -> Iterator[ActivationSwapper]:
    """Swap activations of a model's blocks within a ``with`` statement.

    Forward and backward pass both belong inside it. Gradients are those of the plain run: to the bit
    where tensors are swapped, to rounding where they are computed anew.

    Args:
        model, plan, alpha, cpu_bytes, disk, bandwidth, check: See `ActivationSwapper`.

    Raises:
        BudgetExceeded: If neither `cpu_bytes` nor `disk` has room; in the forward pass.
        ModelError: If a saved tensor was changed in place, or a block does not do the same thing
            twice; in the backward pass.
        UsageError: If an argument is out of its range.
    """  # fmt: skip
    with ActivationSwapper(
        model, plan, alpha=alpha, cpu_bytes=cpu_bytes, disk=disk, bandwidth=bandwidth, check=check
    ) as swapper:
        yield swapper


def __getattr__(name: str) -> Any:
    if name == "SwapCallback":
        need("transformers", "torch")
        from byheart.states._swapping.callback import SwapCallback

        return SwapCallback
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
