"""Statistics of a contrast: intervals and tests for small, paired, clustered or binary samples.

All are deterministic for a given seed. Sources: BCa intervals, Efron (1987); Wilson (1927);
Newcombe (1998) for differences of proportions; DeLong et al. (1988) for AUCs, on the logit scale;
Phipson and Smyth (2010) for the count of permutations; Holm (1979).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

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

_EXACT_PAIRS = 12
"""Up to so many pairs all 2^n sign flips are enumerated."""


def _sample(values: Any, name: str = "values") -> np.ndarray:
    x = np.asarray(values, dtype=float).ravel()
    if x.size == 0:
        raise UsageError(f"{name} is empty: there is nothing to estimate")
    if not np.isfinite(x).all():
        raise UsageError(
            f"{name} holds NaN or infinity at position {int(np.argmin(np.isfinite(x)))}"
        )
    return x


def _level(level: float) -> float:
    if not 0 < level < 1:
        raise UsageError(f"level must lie between 0 and 1, got {level}")
    return level


def _z(q: float) -> float:
    from statistics import NormalDist

    return NormalDist().inv_cdf(q)


def _phi(z: np.ndarray | float) -> Any:
    from scipy.special import ndtr

    return ndtr(z)


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


def _groups(blocks: Any, n: int) -> tuple[np.ndarray, int]:
    """Block labels as indices 0..m-1."""
    labels = list(blocks)
    if len(labels) != n:
        raise UsageError(f"blocks must name one block a value: {len(labels)} labels, {n} values")
    order: dict[Any, int] = {}
    index = np.array([order.setdefault(b, len(order)) for b in labels])
    return index, len(order)


def _ends(boot: np.ndarray, theta: float, jack: np.ndarray, level: float) -> tuple[float, float]:
    """BCa interval from bootstrap replicates and jackknife values."""
    n_boot = len(boot)
    below = (np.sum(boot < theta) + 0.5 * np.sum(boot == theta)) / n_boot
    below = min(max(below, 1 / (n_boot + 1)), n_boot / (n_boot + 1))
    z0 = _z(below)
    u = jack.mean() - jack
    denominator = 6 * (u @ u) ** 1.5
    a = (u**3).sum() / denominator if denominator > 0 else 0.0
    ends = []
    for tail in ((1 - level) / 2, (1 + level) / 2):
        z = z0 + _z(tail)
        ends.append(float(_phi(z0 + z / (1 - a * z))) if abs(1 - a * z) > 1e-9 else tail)
    low, high = np.quantile(boot, ends)
    return float(min(low, theta)), float(max(high, theta))


def _flat(x: np.ndarray, scale: float, n: int, level: float) -> float:
    """Half-width for a sample without spread: the rule of three on `scale`.

    With all n values equal nothing is known of the spread; the largest share that could differ
    unseen is 1 - (1-level)^(1/n), each by at most `scale`.
    """
    return scale * (1 - (1 - level) ** (1 / n))


def bootstrap(
    values: Any,
    *,
    blocks: Any = None,
    level: float = 0.95,
    n_boot: int = 2000,
    seed: int = 0,
) -> Estimate:
    """BCa interval of a mean; with `blocks`, whole blocks are resampled.

    Args:
        values: Finite numbers.
        blocks: One label a value (month, author): values of a block stay together.
        level: Coverage.
        n_boot: Replicates.
        seed: Of the resampling.

    A sample without spread gets an interval of the width that the rule of three allows on the
    scale of its value (or 1 if that is 0), never of width zero.
    """
    x = _sample(values)
    _level(level)
    theta = float(x.mean())
    if blocks is None:
        sums, sizes = x, np.ones(len(x))
    else:
        index, m = _groups(blocks, len(x))
        sums, sizes = np.bincount(index, x, m), np.bincount(index, minlength=m).astype(float)
    m = len(sums)
    if m < 2 or np.ptp(sums / sizes) == 0:
        half = _flat(x, max(abs(theta), 1.0), m, level)
        return Estimate(theta, theta - half, theta + half, level)
    rng = np.random.default_rng(seed)
    pick = rng.integers(0, m, (n_boot, m))
    boot = sums[pick].sum(1) / sizes[pick].sum(1)
    jack = (sums.sum() - sums) / np.maximum(sizes.sum() - sizes, 1e-12)
    low, high = _ends(boot, theta, jack, level)
    return Estimate(theta, low, high, level)


def paired_bootstrap(
    seen: Any,
    fresh: Any,
    *,
    blocks: Any = None,
    level: float = 0.95,
    n_boot: int = 2000,
    seed: int = 0,
) -> Estimate:
    """BCa interval of the mean of pairwise differences seen - fresh."""
    a, b = _sample(seen, "seen"), _sample(fresh, "fresh")
    if len(a) != len(b):
        raise UsageError(f"paired arms must be of one length, got {len(a)} and {len(b)}")
    return bootstrap(a - b, blocks=blocks, level=level, n_boot=n_boot, seed=seed)


def two_sample_bootstrap(
    seen: Any,
    fresh: Any,
    *,
    blocks: tuple[Any, Any] | None = None,
    level: float = 0.95,
    n_boot: int = 2000,
    seed: int = 0,
) -> Estimate:
    """BCa interval of mean(seen) - mean(fresh) for independent arms.

    Args:
        seen: One arm.
        fresh: The other.
        blocks: Labels of either arm, for resampling whole blocks.
        level: Coverage.
        n_boot: Replicates.
        seed: Of the resampling.
    """
    arms = [_sample(seen, "seen"), _sample(fresh, "fresh")]
    _level(level)
    theta = float(arms[0].mean() - arms[1].mean())
    rng = np.random.default_rng(seed)
    boots, jacks, spread = [], [], 0.0
    for i, x in enumerate(arms):
        if blocks is None:
            sums, sizes = x, np.ones(len(x))
        else:
            index, m = _groups(blocks[i], len(x))
            sums, sizes = np.bincount(index, x, m), np.bincount(index, minlength=m).astype(float)
        m = len(sums)
        spread += float(np.ptp(sums / sizes)) if m > 1 else 0.0
        pick = rng.integers(0, m, (n_boot, m))
        boots.append(sums[pick].sum(1) / sizes[pick].sum(1))
        jack = (sums.sum() - sums) / np.maximum(sizes.sum() - sizes, 1e-12) if m > 1 else sums[:0]
        sign = 1 if i == 0 else -1
        # influence scaled as in Efron and Tibshirani's several-sample acceleration
        jacks.append(sign * (jack - jack.mean()) * (m - 1) / m if m > 1 else jack)
    if spread == 0:
        n = min(len(a) for a in arms)
        half = _flat(arms[0], max(abs(theta), 1.0), n, level)
        return Estimate(theta, theta - half, theta + half, level)
    low, high = _ends(boots[0] - boots[1], theta, np.concatenate(jacks), level)
    return Estimate(theta, low, high, level)


def _tail(hits: float, n: int, exact: bool) -> float:
    return float(hits / n) if exact else float((hits + 1) / (n + 1))


_EPS = 1e-12


def _p(observed: float, null: np.ndarray, alternative: str, exact: bool) -> float:
    scale = _EPS * max(1.0, float(np.abs(null).max(initial=0.0)))
    if alternative == "greater":
        return _tail(np.sum(null >= observed - scale), len(null), exact)
    if alternative == "less":
        return _tail(np.sum(null <= observed + scale), len(null), exact)
    if alternative == "two-sided":
        return _tail(np.sum(np.abs(null) >= abs(observed) - scale), len(null), exact)
    raise UsageError(f"alternative is 'greater', 'less' or 'two-sided', got {alternative!r}")


def permutation_paired(
    seen: Any,
    fresh: Any,
    *,
    alternative: str = "greater",
    blocks: Any = None,
    n_perm: int = 2000,
    seed: int = 0,
) -> float:
    """Sign-flip test of mean(seen - fresh); exact where up to 12 pairs (or blocks) differ.

    Args:
        seen: One arm.
        fresh: Its twins, in the same order.
        alternative: ``"greater"`` (seen above fresh), ``"less"`` or ``"two-sided"``.
        blocks: Labels; the signs of a block are flipped together.
        n_perm: Random flips where not exact; p is then (hits + 1) / (n_perm + 1).
        seed: Of the flips.
    """
    a, b = _sample(seen, "seen"), _sample(fresh, "fresh")
    if len(a) != len(b):
        raise UsageError(f"paired arms must be of one length, got {len(a)} and {len(b)}")
    d = a - b
    if blocks is not None:
        index, m = _groups(blocks, len(d))
        d = np.bincount(index, d, m)
    d = d[d != 0]
    if d.size == 0:
        _p(0.0, np.zeros(1), alternative, True)
        return 1.0
    if d.size <= _EXACT_PAIRS:
        signs = 1 - 2 * ((np.arange(2**d.size)[:, None] >> np.arange(d.size)) & 1)
        return _p(float(d.sum()), signs @ d, alternative, True)
    rng = np.random.default_rng(seed)
    signs = rng.integers(0, 2, (n_perm, d.size), dtype=np.int8) * 2 - 1
    return _p(float(d.sum()), signs @ d, alternative, False)


def permutation_two_sample(
    seen: Any,
    fresh: Any,
    *,
    alternative: str = "greater",
    blocks: tuple[Any, Any] | None = None,
    n_perm: int = 2000,
    seed: int = 0,
) -> float:
    """Permutation test of mean(seen) - mean(fresh) for independent arms.

    With `blocks` the labels of whole blocks are exchanged, and the statistic is the difference of
    the arms' means over values.
    """
    a, b = _sample(seen, "seen"), _sample(fresh, "fresh")
    observed = float(a.mean() - b.mean())
    if blocks is None:
        sums, sizes, k = np.concatenate([a, b]), np.ones(len(a) + len(b)), len(a)
    else:
        ia, ma = _groups(blocks[0], len(a))
        ib, mb = _groups(blocks[1], len(b))
        sums = np.concatenate([np.bincount(ia, a, ma), np.bincount(ib, b, mb)])
        sizes = np.concatenate([np.bincount(ia, minlength=ma), np.bincount(ib, minlength=mb)])
        k = ma
    n = len(sums)
    rng = np.random.default_rng(seed)
    if math.comb(n, k) <= 4096:
        from itertools import combinations

        chosen = np.zeros((math.comb(n, k), n), dtype=bool)
        for row, which in enumerate(combinations(range(n), k)):
            chosen[row, which] = True
        exact = True
    else:
        order = rng.random((n_perm, n)).argpartition(k - 1, axis=1)[:, :k]
        chosen = np.zeros((n_perm, n), dtype=bool)
        np.put_along_axis(chosen, order, True, axis=1)
        exact = False
    top, count = chosen @ sums, chosen @ sizes
    null = top / count - (sums.sum() - top) / (sizes.sum() - count)
    return _p(observed, null, alternative, exact)


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


def auc_test(seen: Any, fresh: Any) -> float:
    """One-sided p-value of AUC > 1/2 (Mann-Whitney; exact for small samples without ties)."""
    from scipy.stats import mannwhitneyu

    a, b = _sample(seen, "seen"), _sample(fresh, "fresh")
    if np.ptp(np.concatenate([a, b])) == 0:
        return 1.0
    return float(mannwhitneyu(a, b, alternative="greater").pvalue)


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
    The p-value exchanges the two scores' ranks within randomly chosen items (Venkatraman and Begg,
    1996).
    """
    arms = [_sample(x, n) for x, n in ((a_seen, "a_seen"), (a_fresh, "a_fresh"),
                                       (b_seen, "b_seen"), (b_fresh, "b_fresh"))]  # fmt: skip
    if len(arms[0]) != len(arms[2]) or len(arms[1]) != len(arms[3]):
        raise UsageError("both scores must be of the same items, in the same order")
    _level(level)
    from scipy.stats import rankdata

    n, m = len(arms[0]), len(arms[1])
    ranks = np.stack([rankdata(np.concatenate(arms[:2])), rankdata(np.concatenate(arms[2:]))]) / (
        n + m
    )
    member = np.r_[np.ones(n, bool), np.zeros(m, bool)]

    def aucs(scores: np.ndarray, s: np.ndarray, f: np.ndarray) -> np.ndarray:
        """AUC of `[B, N]` scores with members at `[B, n]` s and others at `[B, m]` f."""
        x = np.take_along_axis(scores, s, 1)[:, :, None]
        y = np.take_along_axis(scores, f, 1)[:, None, :]
        return ((x > y) + 0.5 * (x == y)).mean((1, 2))

    value = auc(arms[0], arms[1]) - auc(arms[2], arms[3])
    rng = np.random.default_rng(seed)
    chunk = max(1, 2_000_000 // (n * m))
    boots, nulls = [], []
    for begin in range(0, n_boot, chunk):
        size = min(chunk, n_boot - begin)
        s = rng.integers(0, n, (size, n))
        f = rng.integers(n, n + m, (size, m))
        boots.append(
            aucs(np.broadcast_to(ranks[0], (size, n + m)), s, f)
            - aucs(np.broadcast_to(ranks[1], (size, n + m)), s, f)
        )
    every_s, every_f = np.flatnonzero(member), np.flatnonzero(~member)
    for begin in range(0, n_perm, chunk):
        size = min(chunk, n_perm - begin)
        swap = rng.random((size, n + m)) < 0.5
        x, y = np.where(swap, ranks[1], ranks[0]), np.where(swap, ranks[0], ranks[1])
        s, f = np.broadcast_to(every_s, (size, n)), np.broadcast_to(every_f, (size, m))
        nulls.append(aucs(x, s, f) - aucs(y, s, f))
    boot, null = np.concatenate(boots), np.concatenate(nulls)
    low, high = np.quantile(boot, [(1 - level) / 2, (1 + level) / 2])
    observed = float(
        (
            aucs(ranks[:1], every_s[None], every_f[None])
            - aucs(ranks[1:], every_s[None], every_f[None])
        )[0]
    )
    estimate = Estimate(value, min(float(low), value), max(float(high), value), level)
    return estimate, _p(observed, null, "greater", False)


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
        alternative: Of the test; ``"greater"`` asks whether seen is above fresh.
        seed: Of all resampling.
        level: Coverage of the intervals.
        n_boot: Bootstrap replicates.
        n_perm: Permutations.

    Raises:
        UsageError: Empty arms, NaN, unequal lengths of paired arms, labels that do not fit.

    >>> c = contrast([1, 1, 1, 1, 0, 1, 1, 1], [0, 0, 0, 1, 0, 0, 0, 0], paired=True)
    >>> print(c.gap, round(c.p_value, 4))
    0.750 [0.261, 0.895] 0.0156
    """
    a, b = _sample(seen, "seen"), _sample(fresh, "fresh")
    _level(level)
    if paired and len(a) != len(b):
        raise UsageError(f"paired arms must be of one length, got {len(a)} and {len(b)}")
    if binary is None:
        binary = bool(np.isin(np.concatenate([a, b]), (0.0, 1.0)).all())
    block_a, block_b = (blocks, blocks) if paired else (blocks or (None, None))
    kw: dict[str, Any] = {"level": level, "n_boot": n_boot, "seed": seed}
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
