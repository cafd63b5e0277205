"""Plays a trace: faults, against the optimum and against the bound of the theory."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from byheart.core.errors import UnknownName, UsageError
from byheart.states._paging import kernels
from byheart.states._paging.bits import (
    Trace,
    bit_errors,
    bits_of,
    cache_size,
    discard_bits,
    next_use,
    opt,
    pages_of,
    phase_bits,
)
from byheart.states._paging.policies import POLICIES, Coin, Mark0, Policy

__all__ = ["Result", "simulate"]


@dataclass(frozen=True)
class Result:
    """A policy on a trace.

    Args:
        policy: Its name.
        k: Pages that the cache holds.
        requests: How many there were.
        faults: How many found their page missing, cold misses included.
        opt: Faults of the optimal schedule.
        eta0: Bits predicted 0 that are 1; None for a policy without bits.
        eta1: Bits predicted 1 that are 0.
        bound: What the theory allows at most, in expectation (up to a constant); None if it says
            nothing of this policy.
    """

    policy: str
    k: int
    requests: int
    faults: int
    opt: int
    eta0: int | None = None
    eta1: int | None = None
    bound: float | None = None

    @property
    def ratio_to_opt(self) -> float:
        """Faults by the optimum's."""
        return self.faults / self.opt

    @property
    def miss_ratio(self) -> float:
        """Faults by requests."""
        return self.faults / self.requests

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self) | {"ratio_to_opt": self.ratio_to_opt, "miss_ratio": self.miss_ratio}


def simulate(
    policy: str | Policy,
    trace: Iterable[Any],
    k: int | None = None,
    *,
    bits: Sequence[int] | np.ndarray | None = None,
    predicted: Sequence[float] | np.ndarray | None = None,
    seed: int = 0,
    progress: Callable[[float], None] | None = None,
) -> Result:
    """Play a trace.

    Args:
        policy: A name of `POLICIES`, or "belady", "mark0-eager"; or a policy as it stands, which is
            then played as it is (the plain way).
        trace: Requested pages, ``[n]``.
        k: Pages that the cache holds; a policy that is given knows its own.
        bits: Predicted bits, ``[n]``; the true ones if left out.
        predicted: Predicted positions of the next request of each request's page, ``[n]``, inf for
            never; the true ones if left out.
        seed: Of the coins of a policy by name.
        progress: Called with the share done.

    Raises:
        UsageError: k is below 1, or bits or predictions are not one for each request.
        DataError: The trace is empty or no sequence of pages.
        UnknownName: No such policy.
    """
    pages = pages_of(trace)
    trace = Trace(pages)
    if isinstance(policy, Policy):
        if k is not None and k != policy.k:
            raise UsageError(f"the policy was made for k={policy.k}, got k={k}")
        kind, size, name = policy.hint, policy.k, policy.title or type(policy).__name__
    else:
        if k is None:
            raise UsageError("say how many pages the cache holds: k")
        size, name = cache_size(k), policy
        made = Mark0 if policy == "mark0-eager" else POLICIES.get(policy)
        if made is None and policy != "belady":
            raise UnknownName("policy", policy, ["belady", "mark0-eager", *POLICIES])
        kind = "" if made is None else made.hint
    best = opt(trace, size)
    if policy == "belady":
        return Result("belady", size, len(pages), best, best, bound=float(best))
    hints, eta0, eta1 = _hints(kind, pages, size, bits, predicted)
    if isinstance(policy, str) and policy in _LOOPS:
        faults = _LOOPS[policy](pages, hints, size, seed)
    else:
        faults = _plain(_made(policy, size, seed), pages, hints, progress)
    bound = _bound(
        policy if isinstance(policy, str) else type(policy).__name__, size, best, eta0, eta1
    )
    return Result(name, size, len(pages), int(faults), best, eta0, eta1, bound)


def _made(policy: str | Policy, k: int, seed: int) -> Policy:
    if isinstance(policy, Policy):
        return policy
    return Mark0(k, seed, lazy=False) if policy == "mark0-eager" else POLICIES[policy](k, seed)


def _hints(
    kind: str, pages: np.ndarray, k: int, bits: Any, predicted: Any
) -> tuple[np.ndarray | None, int | None, int | None]:
    if kind in ("discard", "phase"):
        numbered = Trace(pages)
        true = discard_bits(numbered, k) if kind == "discard" else phase_bits(numbered, k)
        told = true if bits is None else bits_of(bits, len(pages))
        return told, *bit_errors(told, true)
    if kind == "next":
        if predicted is None:
            later = next_use(pages).astype(float)
            later[later == len(pages)] = math.inf
            return later, None, None
        told = np.asarray(predicted, float)
        if told.shape != pages.shape or np.isnan(told).any():
            raise UsageError(
                f"{len(pages)} requests need {len(pages)} predicted times, none of them NaN; got "
                f"shape {told.shape} with {int(np.isnan(told).sum())} NaN"
            )
        return told, None, None
    return None, None, None


def _plain(policy: Policy, pages: np.ndarray, hints: np.ndarray | None, progress: Any) -> int:
    faults, step = 0, max(len(pages) // 100, 1)
    told = [None] * len(pages) if hints is None else hints.tolist()
    for t, (page, hint) in enumerate(zip(pages.tolist(), told, strict=True)):
        faults += not policy.access(page, hint).hit
        if progress is not None and t % step == 0:
            progress(t / len(pages))
    return faults


def _bound(policy: str, k: int, best: int, eta0: int | None, eta1: int | None) -> float | None:
    """alpha OPT + beta eta0 + gamma eta1 of Antoniadis et al., and the classical ones."""
    harmonic = sum(1 / i for i in range(1, k + 1))
    alpha, beta = {
        "flush": (1.0, k - 1.0), "FlushWhenAll0s": (1.0, k - 1.0),
        "mark0": (1.0, 2 * harmonic), "mark0-eager": (1.0, 2 * harmonic), "Mark0": (1.0, 2 * harmonic),
        "mark-and-predict": (2.0, harmonic), "MarkAndPredict": (2.0, harmonic),
    }.get(policy, (0.0, 0.0))  # fmt: skip
    if alpha and eta0 is not None and eta1 is not None:
        return alpha * best + beta * eta0 + eta1
    classical = {"marker": 2 * harmonic, "lru": float(k), "fifo": float(k)}
    factor = classical.get(policy.lower())
    return None if factor is None else factor * best


def _zeros(pages: np.ndarray, more: int = 1) -> np.ndarray:
    return np.zeros(int(pages.max()) + 1 + more, np.int64)


def _coins(seed: int) -> np.ndarray:
    return np.array([Coin(seed).state, 0, 0, 0], np.int64)


def _room(pages: np.ndarray, k: int) -> tuple[int, np.ndarray]:
    """A cache of more pages than there are needs no more room than they do."""
    k = min(k, int(pages.max()) + 1)
    return k, np.zeros(k + 1, np.int64)


def _fifo(pages: np.ndarray, hints: Any, k: int, seed: int) -> int:
    k, slots = _room(pages, k)
    return int(kernels.fifo(pages, k, _zeros(pages), slots, np.zeros(2, np.int64)))


def _lru(pages: np.ndarray, hints: Any, k: int, seed: int) -> int:
    return int(
        kernels.lru(pages, k, _zeros(pages), _zeros(pages), _zeros(pages), np.zeros(1, np.int64))
    )


def _marker(pages: np.ndarray, hints: Any, k: int, seed: int) -> int:
    k, slots = _room(pages, k)
    return int(kernels.marker(pages, k, _zeros(pages) - 1, slots, _coins(seed)))


def _mark_and_predict(pages: np.ndarray, hints: Any, k: int, seed: int) -> int:
    k, slots = _room(pages, k)
    return int(
        kernels.mark_and_predict(
            pages, hints, k, _zeros(pages) - 1, slots, _zeros(pages), _coins(seed)
        )
    )


def _flush(pages: np.ndarray, hints: Any, k: int, seed: int) -> int:
    return int(
        kernels.flush(
            pages, hints, k, _zeros(pages), _zeros(pages), _zeros(pages), np.array([1, 0], np.int64)
        )
    )


def _mark_zero(lazy: bool) -> Callable[[np.ndarray, Any, int, int], int]:
    def run(pages: np.ndarray, hints: Any, k: int, seed: int) -> int:
        k, slots = _room(pages, k)
        return int(
            kernels.mark_zero(
                pages, hints, k, lazy, _zeros(pages) - 1, slots, _zeros(pages), _zeros(pages),
                _coins(seed),
            )
        )  # fmt: skip

    return run


_LOOPS: dict[str, Callable[[np.ndarray, Any, int, int], int]] = {
    "fifo": _fifo, "lru": _lru, "marker": _marker, "mark-and-predict": _mark_and_predict,
    "flush": _flush, "mark0": _mark_zero(True), "mark0-eager": _mark_zero(False),
}  # fmt: skip
