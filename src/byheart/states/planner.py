"""What fits: an address for every tensor, what to keep, swap and recompute, and how long a sequence.

>>> plan = plan_memory([("malloc", "a", 8), ("malloc", "b", 4), ("free", "a", 8), ("malloc", "c", 8)])
>>> plan.height, plan.address
(12, {'a': 0, 'b': 8, 'c': 0})

The planner of MEMO, "Efficiently Training 7B LLM with 1 Million Sequence Length on 8 GPUs" (SIGMOD
2025, doi 10.1145/3709703): one step's requests are recorded (`record_requests`), addresses are planned
offline in two levels (`bilevel_plan`) or at once (`plan_memory`), the split of activations is solved
(`split_activations`), and `forecast` puts it together for a model that need not be there.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from byheart.states._planner.allocators import AllocatorRun, max_live, online_fit, simulate_caching
from byheart.states._planner.alpha import LayerSplit, Split, solve_alpha, split_activations
from byheart.states._planner.bilevel import bilevel_plan
from byheart.states._planner.csv_format import (
    read_buffers,
    read_offsets,
    write_buffers,
    write_plan,
)
from byheart.states._planner.forecast import Forecast, forecast
from byheart.states._planner.page import forecast_page, plan_page
from byheart.states._planner.pipeline import LayerTimes, Timeline, simulate_pipeline, step_seconds
from byheart.states._planner.solve import SOLVERS, plan_memory
from byheart.states._planner.types import Buffer, MemoryPlan, Request, Trace

if TYPE_CHECKING:
    from byheart.states._planner.recorder import bilevel_parts, layer_requests, record_requests

__all__ = [
    "SOLVERS",
    "AllocatorRun",
    "Buffer",
    "Forecast",
    "LayerSplit",
    "LayerTimes",
    "MemoryPlan",
    "Request",
    "Split",
    "Timeline",
    "Trace",
    "bilevel_parts",
    "bilevel_plan",
    "forecast",
    "forecast_page",
    "layer_requests",
    "max_live",
    "online_fit",
    "plan_memory",
    "plan_page",
    "read_buffers",
    "read_offsets",
    "record_requests",
    "simulate_caching",
    "simulate_pipeline",
    "solve_alpha",
    "split_activations",
    "step_seconds",
    "write_buffers",
    "write_plan",
]

_WITH_TORCH = {"bilevel_parts", "layer_requests", "record_requests"}


def __getattr__(name: str) -> Any:
    """The recorder needs torch; it is imported when it is asked for."""
    if name in _WITH_TORCH:
        from byheart.core.errors import need

        need("torch", "torch")
        return getattr(importlib.import_module("byheart.states._planner.recorder"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
