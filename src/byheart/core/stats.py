"""Statistics of a contrast: intervals and tests for small, paired, clustered or binary samples.

All are deterministic for a given seed. Sources: Wilson (1927); Newcombe (1998) for differences of
proportions; DeLong et al. (1988) for AUCs, on the logit scale; Venkatraman and Begg (1996) for two
AUCs of the same items; Streitberg and Roehmel (1986) for exact rank tests with ties; Holm (1979).
Resampling (BCa intervals, permutation tests) is in `byheart.core._bootstrap` and is imported from
here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from byheart.core._bootstrap import (
    Bounds,
    _level,
    _p,
    _pair,
    _sample,
    _two,
    _z,
    bootstrap,
    paired_bootstrap,
    permutation_paired,
    permutation_two_sample,
    two_sample_bootstrap,
)
from byheart.core.errors import UsageError
from byheart.core.finding import Estimate

__all__ = [
    "Contrast",
    "auc",
    "auc_difference",
    "auc_interval",
    "auc_test",
    "bootstrap",
    "contrast",
    "holm",
    "newcombe",
    "paired_bootstrap",
    "permutation_paired",
    "permutation_two_sample",
    "tpr_at_fpr",
    "two_sample_bootstrap",
    "wilson",
]


def wilson(successes: float, n: int, level: float = 0.95) -> Estimate:
    """Wilson's score interval for a proportion.

    Args:
        successes: Number of successes.
        n: Number of trials, at least 1.
        level: Coverage.

    >>> print(wilson(0, 30))
    0.000 [0.000, 0.114]
    """
    _level(level)
    if n < 1 or not 0 <= successes <= n:
        raise UsageError(f"successes must lie in 0..n and n be at least 1, got {successes} of {n}")
    z, p = _z(0.5 + level / 2), successes / n
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    low = 0.0 if successes == 0 else max(0.0, middle - half)
    high = 1.0 if successes == n else min(1.0, middle + half)
    return Estimate(p, low, high, level)


def newcombe(k1: float, n1: int, k2: float, n2: int, level: float = 0.95) -> Estimate:
    """Newcombe's interval for the difference p1 - p2 of two independent proportions."""
    a, b = wilson(k1, n1, level), wilson(k2, n2, level)
    d = a.value - b.value
    low = d - math.hypot(a.value - a.low, b.high - b.value)
    high = d + math.hypot(a.high - a.value, b.value - b.low)
    return Estimate(d, max(-1.0, low), min(1.0, high), level)


def _paired_binary(seen: np.ndarray, fresh: np.ndarray, level: float) -> Estimate:
    """Newcombe's square-and-add interval for paired proportions (his method 10)."""
    n = len(seen)
    a, b = wilson(float(seen.sum()), n, level), wilson(float(fresh.sum()), n, level)
    n11 = float((seen * fresh).sum())
    n10, n01 = float(seen.sum()) - n11, float(fresh.sum()) - n11
    n00 = n - n11 - n10 - n01
    margin = (n11 + n10) * (n01 + n00) * (n11 + n01) * (n10 + n00)
    num = n11 * n00 - n10 * n01
    if num > 0:
        num = max(num - n / 2, 0.0)
    phi = num / math.sqrt(margin) if margin else 0.0
    d = a.value - b.value
    dl1, du1, dl2, du2 = a.value - a.low, a.high - a.value, b.value - b.low, b.high - b.value
    low = d - math.sqrt(max(0.0, dl1**2 - 2 * phi * dl1 * du2 + du2**2))
    high = d + math.sqrt(max(0.0, du1**2 - 2 * phi * du1 * dl2 + dl2**2))
    return Estimate(d, max(-1.0, low), min(1.0, high), level)


def auc(seen: Any, fresh: Any) -> float:
    """P(score of a seen item > score of a fresh one), ties half.

    >>> auc([2, 3], [1, 2])
    0.875
    """
    a, b = _sample(seen, "seen"), _sample(fresh, "fresh")
    return float(_placements(a, b).mean())


def _placements(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """For each a: the share of b below it, ties half."""
    s = np.sort(b)
    return (np.searchsorted(s, a, "left") + np.searchsorted(s, a, "right")) / (2 * len(b))


def auc_interval(seen: Any, fresh: Any, *, level: float = 0.95) -> Estimate:
    """DeLong's interval of the AUC, on the logit scale.

    At an AUC of 0 or 1 the variance estimate is 0; there the interval is that of a proportion of
    successes in as many trials as the smaller arm has items (Wilson).
    """
    a, b = _sample(seen, "seen"), _sample(fresh, "fresh")
    _level(level)
    value = auc(a, b)
    small = min(len(a), len(b))
    if small < 2 or value in (0.0, 1.0):
        w = wilson(value * small, small, level)
        return Estimate(value, min(w.low, value), max(w.high, value), level)
    var = _placements(a, b).var(ddof=1) / len(a) + _placements(b, a).var(ddof=1) / len(b)
    if var == 0:
        w = wilson(value * small, small, level)
        return Estimate(value, w.low, w.high, level)
    half = _z(0.5 + level / 2) * math.sqrt(var) / (value * (1 - value))
    centre = math.log(value / (1 - value))
    low, high = (1 / (1 + math.exp(-max(-700.0, min(700.0, centre + s * half)))) for s in (-1, 1))
    return Estimate(value, low, high, level)


_EXACT_STEPS = 10_000_000
"""Additions that an exact rank test with ties may cost."""


def _rank_tail(ranks: np.ndarray, k: int) -> float | None:
    """P(sum of k ranks drawn without replacement >= that of the first k); None if too long.

    Counts, rank by rank, the ways to reach every sum with every number of ranks.
    """
    scores = np.rint(2 * (ranks - ranks.min())).astype(int)
    scores //= max(1, int(np.gcd.reduce(scores)))
    total = int(scores.sum())
    observed = int(scores[:k].sum())
    if 2 * k > len(scores):  # count the smaller arm: its sum is at most total - observed
        scores, k = scores.max() - scores, len(scores) - k
        observed = int(scores[-k:].sum())
    most = int(np.sort(scores)[-k:].sum())
    if len(scores) * k * (most + 1) > _EXACT_STEPS:
        return None
    ways = np.zeros((k + 1, most + 1))
    ways[0, 0] = 1.0
    for s in scores:
        ways[1:, s:] += ways[:-1, : most + 1 - s].copy()
    return float(ways[k, observed:].sum() / ways[k].sum()) if total else 1.0


def auc_test(seen: Any, fresh: Any, *, n_perm: int = 10_000, seed: int = 0) -> float:
    """One-sided p-value of AUC > 1/2 (Mann-Whitney).

    Without ties it is exact for small arms and normal for large ones, as in scipy. With ties the
    normal approximation finds too much where most items share a score (0/1 scores of rare hits: a
    test at 5 % would err in over 10 %), so p is exact where that takes few steps. Elsewhere it is
    normal if both arms have 30 items or more and no score is shared by over half of all items, and
    otherwise comes from `n_perm` permutations, so it is not below 1 / (n_perm + 1).

    Args:
        seen: Scores of one arm.
        fresh: Scores of the other.
        n_perm: Permutations where neither of the other ways serves.
        seed: Of the permutations.

    >>> round(auc_test([1, 1, 1], [0, 0, 0]), 6)
    0.05
    """
    from scipy.stats import mannwhitneyu, rankdata

    a, b = _sample(seen, "seen"), _sample(fresh, "fresh")
    both = np.concatenate([a, b])
    shared = np.unique(both, return_counts=True)[1].max()
    if shared == len(both):
        return 1.0
    ranks = rankdata(both)
    p = None if shared == 1 else _rank_tail(ranks, len(a))
    if p is not None:
        return p
    crowded = min(len(a), len(b)) < 30 or 2 * shared > len(both)
    if shared > 1 and crowded:
        return permutation_two_sample(ranks[: len(a)], ranks[len(a) :], n_perm=n_perm, seed=seed)
    return float(mannwhitneyu(a, b, alternative="greater").pvalue)


def _kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """`[n, m]`: 1 where x is above y, 1/2 where equal."""
    return ((np.sign(x[:, None] - y) + 1) / 2).astype(np.float32)


def auc_difference(
    a_seen: Any,
    a_fresh: Any,
    b_seen: Any,
    b_fresh: Any,
    *,
    level: float = 0.95,
    n_boot: int = 1000,
    n_perm: int = 1000,
    seed: int = 0,
) -> tuple[Estimate, float]:
    """AUC of score a minus AUC of score b on the same items: interval, and one-sided p of a > b.

    The interval is a percentile bootstrap over items (arms resampled apart, both scores together).
    A score that separates the arms perfectly, or an arm of one item, shows the bootstrap no
    variance; the interval is then widened, by the root of the sum of squares, by that of
    `auc_interval`, unless both scores rank all items alike.
    The p-value exchanges the two scores' ranks within randomly chosen items (Venkatraman and Begg,
    1996).
    """
    names = ("a_seen", "a_fresh", "b_seen", "b_fresh")
    arms = [_sample(x, n) for x, n in zip((a_seen, a_fresh, b_seen, b_fresh), names, strict=True)]
    if len(arms[0]) != len(arms[2]) or len(arms[1]) != len(arms[3]):
        raise UsageError("both scores must be of the same items, in the same order")
    _level(level)
    if n_boot < 1 or n_perm < 1:
        raise UsageError(f"n_boot and n_perm must be at least 1, got {n_boot} and {n_perm}")
    from scipy.stats import rankdata

    n, m = len(arms[0]), len(arms[1])
    one, two = rankdata(np.concatenate(arms[:2])), rankdata(np.concatenate(arms[2:]))
    a, b = auc_interval(arms[0], arms[1], level=level), auc_interval(arms[2], arms[3], level=level)
    value = a.value - b.value
    rng = np.random.default_rng(seed)
    kernel = _kernel(one[:n], one[n:]) - _kernel(two[:n], two[n:])

    boots = []
    chunk = max(1, 2_000_000 // (n + m))
    for begin in range(0, n_boot, chunk):
        size = min(chunk, n_boot - begin)
        s, f = (_counts(rng.integers(0, k, (size, k)), k) for k in (n, m))
        boots.append(((s @ kernel) * f).sum(1, dtype=float) / (n * m))
    low, high = (float(q) for q in np.quantile(np.concatenate(boots), _tails(level)))

    # Exchanging item i's ranks turns the gap into a sum over items: with s, f = 1 where exchanged,
    # sum_ij (1 - s_i - f_j) kernel_ij + (s_i - f_j) mixed_ij.
    mixed = _kernel(two[:n], one[n:]) - _kernel(one[:n], two[n:])
    of_seen = (mixed - kernel).sum(1, dtype=float)
    of_fresh = -(mixed + kernel).sum(0, dtype=float)
    observed = float(kernel.sum(dtype=float))
    change = np.concatenate([of_seen, of_fresh])
    null = []
    for begin in range(0, n_perm, chunk):
        size = min(chunk, n_perm - begin)
        null.append(
            observed + rng.integers(0, 2, (size, n + m), dtype=np.int8).astype(float) @ change
        )

    low, high = min(low, value), max(high, value)
    if not np.array_equal(one, two):
        for below, above, e in (
            (a.value - a.low, a.high - a.value, a),
            (b.high - b.value, b.value - b.low, b),
        ):
            if min(n, m) == 1 or e.value in (0.0, 1.0):
                low = value - math.hypot(value - low, below)
                high = value + math.hypot(high - value, above)
    estimate = Estimate(value, max(-1.0, low), min(1.0, high), level)
    return estimate, _p(observed, np.concatenate(null), "greater", False)


def _tails(level: float) -> tuple[float, float]:
    return (1 - level) / 2, (1 + level) / 2


def _counts(pick: np.ndarray, k: int) -> np.ndarray:
    """`[B, k]`: how often each of k items was picked in each row of `[B, k]`."""
    rows = len(pick)
    flat = (pick + np.arange(rows)[:, None] * k).ravel()
    return np.bincount(flat, minlength=rows * k).reshape(rows, k).astype(np.float32)


def tpr_at_fpr(seen: Any, fresh: Any, fpr: float = 0.01, *, level: float = 0.95) -> Estimate:
    """True-positive rate at the lowest threshold whose false-positive rate is at most `fpr`.

    With fewer than 1/fpr fresh items the threshold is their maximum: no false positive is allowed,
    and the true rate is stated for that stricter point. The interval is Wilson's, for the given
    threshold.
    """
    a, b = _sample(seen, "seen"), _sample(fresh, "fresh")
    if not 0 <= fpr < 1:
        raise UsageError(f"fpr must lie in [0, 1), got {fpr}")
    allowed = math.floor(fpr * len(b) + 1e-9)
    threshold = np.sort(b)[::-1][allowed]
    return wilson(float((a > threshold).sum()), len(a), level)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's step-down correction; None stays None and does not count.

    >>> holm([0.01, None, 0.04])
    [0.02, None, 0.04]
    """
    known = [(p, i) for i, p in enumerate(p_values) if p is not None]
    for p, _ in known:
        if not 0 <= p <= 1:
            raise UsageError(f"a p-value must lie in [0, 1], got {p}")
    out: list[float | None] = [None] * len(p_values)
    running = 0.0
    for rank, (p, i) in enumerate(sorted(known)):
        running = max(running, min(1.0, p * (len(known) - rank)))
        out[i] = running
    return out


@dataclass(frozen=True, slots=True)
class Contrast:
    """Two arms and their gap.

    Attributes:
        seen: Mean of the seen arm.
        fresh: Mean of the fresh arm.
        gap: seen - fresh.
        p_value: Of no gap, by permutation.
        n: Pairs, or items of the smaller arm.
    """

    seen: Estimate
    fresh: Estimate
    gap: Estimate
    p_value: float
    n: int


def contrast(
    seen: Any,
    fresh: Any,
    *,
    paired: bool,
    blocks: Any = None,
    binary: bool | None = None,
    bounded: Bounds | None = None,
    alternative: str = "greater",
    seed: int = 0,
    level: float = 0.95,
    n_boot: int = 2000,
    n_perm: int = 2000,
) -> Contrast:
    """Contrast two arms: the call that audits make.

    Args:
        seen: Numbers of the seen arm.
        fresh: Numbers of the fresh arm; in the order of their twins if `paired`.
        paired: Whether `fresh[i]` is the twin of `seen[i]`.
        blocks: Labels for resampling whole blocks: one list if paired, a pair of lists if not.
        binary: Treat as 0/1 outcomes (Wilson, Newcombe); None looks whether they are.
            With `blocks` they are bounded by 0 and 1 and resampled.
        bounded: Lowest and highest value possible; used where an arm shows no spread.
        alternative: Of the test; ``"greater"`` asks whether seen is above fresh.
        seed: Of all resampling.
        level: Coverage of the intervals.
        n_boot: Bootstrap replicates.
        n_perm: Permutations.

    Raises:
        UsageError: Empty arms, NaN, unequal lengths of paired arms, labels that do not fit,
            `binary` set with other values than 0 and 1.

    >>> c = contrast([1, 1, 1, 1, 0, 1, 1, 1], [0, 0, 0, 1, 0, 0, 0, 0], paired=True)
    >>> print(c.gap, round(c.p_value, 4))
    0.750 [0.261, 0.895] 0.0156
    """
    a, b = _pair(seen, fresh) if paired else (_sample(seen, "seen"), _sample(fresh, "fresh"))
    _level(level)
    zero_one = bool(np.isin(np.concatenate([a, b]), (0.0, 1.0)).all())
    if binary and not zero_one:
        raise UsageError("binary=True needs values of 0 and 1 only; leave it out for other numbers")
    binary = zero_one if binary is None else binary
    block_a, block_b = (blocks, blocks) if paired else _two(blocks)
    if binary and bounded is None:
        bounded = (0.0, 1.0)
    kw: dict[str, Any] = {"level": level, "n_boot": n_boot, "seed": seed, "bounded": bounded}
    if binary and blocks is None:
        arms = wilson(float(a.sum()), len(a), level), wilson(float(b.sum()), len(b), level)
        gap = (
            _paired_binary(a, b, level)
            if paired
            else newcombe(float(a.sum()), len(a), float(b.sum()), len(b), level)
        )
    else:
        arms = bootstrap(a, blocks=block_a, **kw), bootstrap(b, blocks=block_b, **kw)
        gap = (
            paired_bootstrap(a, b, blocks=blocks, **kw)
            if paired
            else two_sample_bootstrap(a, b, blocks=blocks, **kw)
        )
    test = permutation_paired if paired else permutation_two_sample
    p = test(a, b, alternative=alternative, blocks=blocks, n_perm=n_perm, seed=seed)
    return Contrast(arms[0], arms[1], gap, p, min(len(a), len(b)))
