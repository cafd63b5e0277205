"""Which page to evict: paging with one predicted bit a request, and the policies beside it.

>>> trace = list("abcabdabca") * 20
>>> simulate("lru", trace, k=2).ratio_to_opt > simulate("mark0", trace, k=2).ratio_to_opt == 1.0
True
>>> bits = flip(discard_bits(trace, k=2), 0.1, seed=1)
>>> result = simulate("mark0", trace, k=2, bits=bits)
>>> result.faults <= result.bound
True

Antoniadis, Boyar, Eliáš, Favrholdt, Hoeksma, Larsen, Polak, Simon, "Paging with Succinct
Predictions" (ICML 2023, arXiv 2210.02775). The paper's pseudo-code could not be opened; algorithms
are reconstructed from its definitions and bounds, which tests hold them to.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from byheart.core.errors import need
from byheart.states._paging.bits import (
    Trace,
    bit_errors,
    discard_bits,
    flip,
    next_use,
    opt,
    phase_bits,
    phases,
)
from byheart.states._paging.cache import CacheStats, PagedCache
from byheart.states._paging.combine import Combine, TrustAndDoubt
from byheart.states._paging.learn import learned_bits
from byheart.states._paging.policies import (
    FIFO,
    LRU,
    POLICIES,
    Access,
    BlindOracle,
    FlushWhenAll0s,
    LMarker,
    LNonMarker,
    Mark0,
    MarkAndPredict,
    Marker,
    Policy,
    PredictiveMarker,
    Random,
)
from byheart.states._paging.predict import noisy_next, pleco, popu
from byheart.states._paging.simulate import Result, simulate
from byheart.states._paging.traces import read_trace

if TYPE_CHECKING:
    from byheart.states._paging.kv import KVBlockPool, WaitingQueueBit
    from byheart.states._paging.plugin import libcachesim_plugin

__all__ = [
    "FIFO",
    "LRU",
    "POLICIES",
    "Access",
    "BlindOracle",
    "CacheStats",
    "Combine",
    "FlushWhenAll0s",
    "KVBlockPool",
    "LMarker",
    "LNonMarker",
    "Mark0",
    "MarkAndPredict",
    "Marker",
    "PagedCache",
    "Policy",
    "PredictiveMarker",
    "Random",
    "Result",
    "Trace",
    "TrustAndDoubt",
    "WaitingQueueBit",
    "bit_errors",
    "discard_bits",
    "flip",
    "learned_bits",
    "libcachesim_plugin",
    "next_use",
    "noisy_next",
    "opt",
    "phase_bits",
    "phases",
    "pleco",
    "popu",
    "read_trace",
    "simulate",
]  # fmt: skip


_ELSEWHERE = {
    "KVBlockPool": ("byheart.states._paging.kv", "torch", "torch"),
    "WaitingQueueBit": ("byheart.states._paging.kv", "torch", "torch"),
    "libcachesim_plugin": ("byheart.states._paging.plugin", "", ""),
}


def __getattr__(name: str) -> Any:
    """What needs torch is imported when it is asked for."""
    if name not in _ELSEWHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, package, extra = _ELSEWHERE[name]
    if package:
        need(package, extra)
    return getattr(importlib.import_module(module), name)
