"""Bits learned from a trace's own past: what Belady did there is what a classifier is shown."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from byheart.core.errors import UsageError, need
from byheart.states._paging import kernels
from byheart.states._paging.bits import Trace, cache_size, discard_bits, pages_of

__all__ = ["features", "learned_bits"]

GAPS, COUNTERS = 10, 10


def features(trace: Iterable[Any]) -> np.ndarray:
    """What is known of a request when it comes: ``[n, 20]`` float32.

    Logarithms of the last 10 gaps between requests of its page (of the whole past where there were
    fewer), and 10 counters of its requests that decay by half in 2, 4, ... 1,024 requests.
    """
    return kernels.past(pages_of(trace), GAPS, COUNTERS)


def learned_bits(
    trace: Iterable[Any],
    k: int,
    *,
    train: float = 0.5,
    threshold: float | None = None,
    seed: int = 0,
) -> tuple[np.ndarray, int]:
    """Discard bits predicted for the rest of a trace from its beginning.

    A gradient-boosted classifier (scikit-learn) learns Belady's decisions within the beginning. A
    wrong 0 costs up to 2 H_k faults and a wrong 1 one, so the threshold is chosen by faults on the
    second half of the beginning, unless it is given.

    Args:
        trace: Requests.
        k: Pages of the cache.
        train: Share of the trace that is learned from, above 0 and below 1.
        threshold: Probability of "discard" from which the bit is 1.
        seed: Of the classifier.

    Returns:
        Bits of the requests behind the beginning, and where they begin.

    Raises:
        UsageError: A share out of range, or a beginning in which Belady never evicts.
    """
    from byheart.states._paging.simulate import simulate

    need("sklearn", "audit")
    from sklearn.ensemble import HistGradientBoostingClassifier

    pages, k = pages_of(trace), cache_size(k)
    begin = int(len(pages) * train)
    if not 0 < begin < len(pages):
        raise UsageError(f"train is a share of the trace, above 0 and below 1, got {train!r}")
    known = features(Trace(pages))
    true = discard_bits(pages[:begin], k)
    if true.min() == true.max():
        raise UsageError(
            f"in the first {begin} requests every discard bit is {true[0]}; learn from more of the "
            "trace, or for a smaller cache"
        )
    part = begin // 2  # long against k, or what is discarded would hardly be missed
    model = HistGradientBoostingClassifier(max_iter=150, random_state=seed, early_stopping=False)
    if threshold is None:
        if true[:part].min() == true[:part].max():
            threshold = 0.5
        else:
            model.fit(known[:part], true[:part])
            told = model.predict_proba(known[part:begin])[:, 1]
            tried = (0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9)
            warm = Trace(
                pages_of(pages[:begin])
            )  # the cache is full when it comes to what is tried
            faults = [
                simulate("mark0", warm, k, bits=np.append(true[:part], told >= x), seed=seed).faults
                for x in tried
            ]
            threshold = tried[int(np.argmin(faults))]
    model.fit(known[:begin], true)
    probability = model.predict_proba(known[begin:])[:, 1]
    return (probability >= threshold).astype(np.uint8), begin
