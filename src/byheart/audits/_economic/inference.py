"""Is the seen arm recalled? Three tests that must all agree, each over whole months.

A trending series misleads a plain comparison: a forecaster that knows nothing hits more dates in
the arm where the series is flat. So a verdict needs all of

1. more hits before the cutoff than the best forecaster without recall has there,
2. more hits before the cutoff than after it,
3. a larger lead over that forecaster before the cutoff than after it.

The p-value is the largest of the three (an intersection-union test: its level is at most the level
of each part, whatever the dependence between them).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from byheart.core.finding import Estimate
from byheart.core.stats import Contrast, contrast, permutation_paired, permutation_two_sample

__all__ = ["Lead", "block_contrast", "recall_test"]

Blocks = Sequence[Hashable]


@dataclass(frozen=True)
class Lead:
    """The three tests and what they are about.

    Attributes:
        raw: The model's own contrast, without the control.
        p_value: The largest of `p_naive`, `p_gap`, `p_lead`.
        p_naive: Seen hits against the best forecaster without recall.
        p_gap: Seen hits against fresh hits.
        p_lead: The lead in the seen arm against the lead in the fresh arm.
        naive: The control's contrast.
    """

    raw: Contrast
    p_value: float
    p_naive: float
    p_gap: float
    p_lead: float
    naive: Estimate


def _plain(blocks: tuple[Blocks, Blocks]) -> tuple[Blocks, Blocks] | None:
    """None where every date is a month of its own: then Wilson and Newcombe apply."""
    return None if all(len(set(b)) == len(b) for b in blocks) else blocks


def block_contrast(
    seen: Any,
    fresh: Any,
    blocks: tuple[Blocks, Blocks],
    *,
    seed: int = 0,
    alternative: str = "greater",
) -> Contrast:
    """Unpaired contrast of two arms that resamples whole months where dates share them."""
    return contrast(
        seen, fresh, paired=False, blocks=_plain(blocks), alternative=alternative, seed=seed
    )


def recall_test(
    seen: np.ndarray,
    fresh: np.ndarray,
    seen_naive: np.ndarray,
    fresh_naive: np.ndarray,
    blocks: tuple[Blocks, Blocks],
    *,
    seed: int = 0,
) -> Lead:
    """All three tests on hits (more is more memory) of model and forecaster.

    Args:
        seen: ``[n_seen]`` the model's hits before the cutoff.
        fresh: ``[n_fresh]`` after it.
        seen_naive: ``[n_seen]`` what a forecaster without recall hits on the same dates.
        fresh_naive: ``[n_fresh]`` likewise.
        blocks: The month of each date, one list an arm.
        seed: Of permutations and bootstrap.
    """
    raw = block_contrast(seen, fresh, blocks, seed=seed)
    naive = block_contrast(seen_naive, fresh_naive, blocks, seed=seed)
    p_naive = permutation_paired(seen, seen_naive, blocks=blocks[0], seed=seed)
    p_lead = permutation_two_sample(
        seen - seen_naive, fresh - fresh_naive, blocks=blocks, seed=seed + 1
    )
    return Lead(raw, max(p_naive, raw.p_value, p_lead), p_naive, raw.p_value, p_lead, naive.gap)
