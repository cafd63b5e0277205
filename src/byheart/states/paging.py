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

__all__ = [
    "FIFO", "LRU", "POLICIES", "Access", "BlindOracle", "CacheStats", "Combine", "FlushWhenAll0s",
    "LMarker", "LNonMarker", "Mark0", "MarkAndPredict", "Marker", "PagedCache", "Policy",
    "PredictiveMarker", "Random", "Result", "Trace", "TrustAndDoubt", "bit_errors", "discard_bits",
    "flip", "learned_bits", "next_use", "noisy_next", "opt", "phase_bits", "phases", "pleco", "popu",
    "read_trace", "simulate",
]  # fmt: skip
