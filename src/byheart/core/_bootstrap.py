"""Resampling: BCa intervals and permutation tests, plain or by whole blocks.

`byheart.core.stats` is the place to import these from. Sources: BCa intervals, Efron (1987), with
the several-sample acceleration of Efron and Tibshirani (1993); Phipson and Smyth (2010) for the
count of permutations.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from byheart.core.errors import UsageError
from byheart.core.finding import Estimate

_EXACT_PAIRS = 12
"""Up to so many pairs all 2^n sign flips are enumerated."""
_EXACT_SPLITS = 4096
"""Up to so many splits into two arms all are enumerated."""
_CELLS = 2_000_000
"""Resampled numbers held at a time."""

Bounds = tuple[float, float]


def _sample(values: Any, name: str = "values") -> np.ndarray:
    x = np.asarray(values, dtype=float).ravel()
    if x.size == 0:
        raise UsageError(f"{name} is empty: there is nothing to estimate")
    if not np.isfinite(x).all():
        raise UsageError(
            f"{name} holds NaN or infinity at position {int(np.argmin(np.isfinite(x)))}"
        )
    return x


def _pair(seen: Any, fresh: Any) -> tuple[np.ndarray, np.ndarray]:
    a, b = _sample(seen, "seen"), _sample(fresh, "fresh")
    if len(a) != len(b):
        raise UsageError(f"paired arms must be of one length, got {len(a)} and {len(b)}")
    return a, b


def _level(level: float) -> float:
    if not 0 < level < 1:
        raise UsageError(f"level must lie between 0 and 1, got {level}")
    return level


def _z(q: float) -> float:
    from statistics import NormalDist

    return NormalDist().inv_cdf(q)


def _draws(n: int, width: int, name: str) -> Iterator[int]:
    """Numbers of rows that add up to n, each few enough to hold."""
    if n < 1:
        raise UsageError(f"{name} must be at least 1, got {n}")
    step = max(1, _CELLS // width)
    for begin in range(0, n, step):
        yield min(step, n - begin)


def _groups(blocks: Any, n: int) -> tuple[np.ndarray, int]:
    """Block labels as indices 0..m-1."""
    labels = list(blocks)
    if len(labels) != n:
        raise UsageError(f"blocks must name one block a value: {len(labels)} labels, {n} values")
    order: dict[Any, int] = {}
    index = np.array([order.setdefault(b, len(order)) for b in labels])
    return index, len(order)


def _two(blocks: Any) -> tuple[Any, Any]:
    if blocks is None:
        return None, None
    if not isinstance(blocks, (tuple, list)) or len(blocks) != 2:
        raise UsageError("blocks of independent arms must be a pair: labels of seen, of fresh")
    return blocks[0], blocks[1]


def _sums(x: np.ndarray, blocks: Any) -> tuple[np.ndarray, np.ndarray | None]:
    """Sum and size of each block; every value is its own block (sizes None) without labels."""
    if blocks is None:
        return x, None
    index, m = _groups(blocks, len(x))
    return np.bincount(index, x, m), np.bincount(index, minlength=m).astype(float)


def _resampled(
    sums: np.ndarray, sizes: np.ndarray | None, n_boot: int, rng: np.random.Generator
) -> np.ndarray:
    """`[n_boot]` means of resampled blocks."""
    m, rows = len(sums), []
    for size in _draws(n_boot, m, "n_boot"):
        pick = rng.integers(0, m, (size, m))
        weight = m if sizes is None else sizes[pick].sum(1)
        rows.append(sums[pick].sum(1) / weight)
    return np.concatenate(rows)


def _left_out(sums: np.ndarray, sizes: np.ndarray | None) -> np.ndarray:
    """`[m]` means with one block left out."""
    rest = len(sums) - 1 if sizes is None else sizes.sum() - sizes
    return (sums.sum() - sums) / rest


def _ends(boot: np.ndarray, theta: float, jack: np.ndarray, level: float) -> tuple[float, float]:
    """BCa interval from bootstrap replicates and jackknife values."""
    from scipy.special import ndtr

    n_boot = len(boot)
    below = (np.sum(boot < theta) + 0.5 * np.sum(boot == theta)) / n_boot
    z0 = _z(min(max(below, 1 / (n_boot + 1)), n_boot / (n_boot + 1)))
    u = jack.mean() - jack
    denominator = 6 * (u @ u) ** 1.5
    a = (u**3).sum() / denominator if denominator > 0 else 0.0
    ends = []
    for tail in ((1 - level) / 2, (1 + level) / 2):
        z = z0 + _z(tail)
        # past the pole of the acceleration the quantile is the last one on that side
        ends.append(float(ndtr(z0 + z / (1 - a * z))) if a * z < 1 else float(z > 0))
    low, high = np.quantile(boot, ends)
    return float(min(low, theta)), float(max(high, theta))


def _bounds(bounded: Bounds | None, *arms: np.ndarray) -> None:
    if bounded is None:
        return
    low, high = bounded
    if not low < high:
        raise UsageError(f"bounded must be (lowest, highest), got {bounded}")
    for x in arms:
        if x.min() < low or x.max() > high:
            raise UsageError(f"values run from {x.min()} to {x.max()}, outside bounded={bounded}")


def _flat(
    value: float, m: int, level: float, scale: float, bounded: Bounds | None
) -> tuple[float, float]:
    """How far below and above `value` the mean may lie when m blocks show no spread.

    The largest share of the population that can differ and still go unseen m times with
    probability 1 - level is 1 - (1 - level)^(1/m) (the rule of three); each that differs does so
    by at most `scale`, or up to the bounds.
    """
    share = 1 - (1 - level) ** (1 / m)
    if bounded is None:
        return share * scale, share * scale
    return share * (value - bounded[0]), share * (bounded[1] - value)


def _no_spread(sums: np.ndarray, sizes: np.ndarray | None) -> bool:
    return len(sums) < 2 or np.ptp(sums if sizes is None else sums / sizes) == 0


def bootstrap(
    values: Any,
    statistic: str | Callable[[np.ndarray], float] = "mean",
    *,
    blocks: Any = None,
    bounded: Bounds | None = None,
    level: float = 0.95,
    n_boot: int = 2000,
    seed: int = 0,
) -> Estimate:
    """BCa interval of a mean or another statistic; with `blocks`, whole blocks are resampled.

    Args:
        values: Finite numbers.
        statistic: ``"mean"``, ``"median"``, or a function of a 1-d array.
        blocks: One label a value (month, author): values of a block stay together.
        bounded: Lowest and highest value possible, such as ``(0, 1)`` for a share.
        level: Coverage.
        n_boot: Replicates.
        seed: Of the resampling.

    A sample (or its blocks' means) without spread, or of one block, gets an interval of the width
    that the rule of three allows: 1 - (1 - level)^(1/m) of the way to the bounds, or, unbounded,
    of the largest absolute value and at least of 1. It is never of width zero.

    Raises:
        UsageError: No values, NaN, values outside `bounded`, labels that do not fit.

    >>> print(bootstrap([0.0] * 30, bounded=(0, 1)))
    0.000 [0.000, 0.095]
    """
    x = _sample(values)
    _level(level)
    _bounds(bounded, x)
    if statistic != "mean":
        return _bootstrap_of(x, statistic, blocks, bounded, level, n_boot, seed)
    theta = float(x.mean())
    sums, sizes = _sums(x, blocks)
    if _no_spread(sums, sizes):
        below, above = _flat(theta, len(sums), level, max(float(np.abs(x).max()), 1.0), bounded)
        return Estimate(theta, theta - below, theta + above, level)
    boot = _resampled(sums, sizes, n_boot, np.random.default_rng(seed))
    low, high = _ends(boot, theta, _left_out(sums, sizes), level)
    return Estimate(theta, low, high, level)


def _bootstrap_of(
    x: np.ndarray,
    statistic: str | Callable[[np.ndarray], float],
    blocks: Any,
    bounded: Bounds | None,
    level: float,
    n_boot: int,
    seed: int,
) -> Estimate:
    """`bootstrap` of a statistic that is no mean, by drawing the values themselves."""
    if isinstance(statistic, str) and statistic != "median":
        raise UsageError(f"statistic is 'mean', 'median' or a function, got {statistic!r}")
    of: Callable[[np.ndarray], Any] = np.median if isinstance(statistic, str) else statistic
    theta = float(of(x))
    index, m = (np.arange(len(x)), len(x)) if blocks is None else _groups(blocks, len(x))
    parts = [x[index == i] for i in range(m)]
    if m < 2 or np.ptp(x) == 0:
        below, above = _flat(theta, m, level, max(float(np.abs(x).max()), 1.0), bounded)
        return Estimate(theta, theta - below, theta + above, level)
    rng = np.random.default_rng(seed)
    boot: list[Any] = []
    for size in _draws(n_boot, m, "n_boot"):
        pick = rng.integers(0, m, (size, m))
        if blocks is None and of is np.median:
            boot.extend(np.median(x[pick], axis=1))
        else:
            boot.extend(of(np.concatenate([parts[i] for i in row])) for row in pick)
    jack = np.array([float(of(x[index != i])) for i in range(m)])
    low, high = _ends(np.array(boot, dtype=float), theta, jack, level)
    return Estimate(theta, low, high, level)


def paired_bootstrap(
    seen: Any,
    fresh: Any,
    *,
    blocks: Any = None,
    bounded: Bounds | None = None,
    level: float = 0.95,
    n_boot: int = 2000,
    seed: int = 0,
) -> Estimate:
    """BCa interval of the mean of pairwise differences seen - fresh.

    `bounded` holds for the arms, not for the differences; otherwise as `bootstrap`.
    """
    a, b = _pair(seen, fresh)
    _bounds(bounded, a, b)
    span = None if bounded is None else (bounded[0] - bounded[1], bounded[1] - bounded[0])
    return bootstrap(a - b, blocks=blocks, bounded=span, level=level, n_boot=n_boot, seed=seed)


def two_sample_bootstrap(
    seen: Any,
    fresh: Any,
    *,
    blocks: tuple[Any, Any] | None = None,
    bounded: Bounds | None = None,
    level: float = 0.95,
    n_boot: int = 2000,
    seed: int = 0,
) -> Estimate:
    """BCa interval of mean(seen) - mean(fresh) for independent arms.

    Args:
        seen: One arm.
        fresh: The other.
        blocks: Labels of either arm, for resampling whole blocks.
        bounded: Lowest and highest value possible in an arm.
        level: Coverage.
        n_boot: Replicates.
        seed: Of the resampling.

    An arm without spread, or of one block, is not taken for certain: the interval is widened, by
    the root of the sum of squares, by what the rule of three allows on the range of both arms
    together (at least 1), or on the bounds.
    """
    arms = [_sample(seen, "seen"), _sample(fresh, "fresh")]
    _level(level)
    _bounds(bounded, *arms)
    theta = float(arms[0].mean() - arms[1].mean())
    scale = max(float(np.ptp(np.concatenate(arms))), 1.0)
    rng = np.random.default_rng(seed)
    boots, jacks, unseen_low, unseen_high = [], [], 0.0, 0.0
    for sign, x, labels in zip((1, -1), arms, _two(blocks), strict=True):
        sums, sizes = _sums(x, labels)
        m = len(sums)
        boots.append(_resampled(sums, sizes, n_boot, rng))
        if _no_spread(sums, sizes):
            below, above = _flat(float(x.mean()), m, level, scale, bounded)[::sign]
            unseen_low, unseen_high = math.hypot(unseen_low, below), math.hypot(unseen_high, above)
        else:
            jack = _left_out(sums, sizes)
            # influence scaled as in Efron and Tibshirani's several-sample acceleration
            jacks.append(sign * (jack - jack.mean()) * (m - 1) / m)
    low = high = theta
    if jacks:
        low, high = _ends(boots[0] - boots[1], theta, np.concatenate(jacks), level)
    low, high = theta - math.hypot(theta - low, unseen_low), math.hypot(high - theta, unseen_high)
    high += theta
    if bounded is not None:
        span = bounded[1] - bounded[0]
        low, high = max(low, -span), min(high, span)
    return Estimate(theta, low, high, level)


def _p(observed: float, null: np.ndarray, alternative: str, exact: bool) -> float:
    """Share of `null` as extreme as `observed`, within rounding; never 0."""
    slack = 1e-12 * max(abs(observed), float(np.abs(null).max(initial=0.0)))
    if alternative == "greater":
        hits = np.sum(null >= observed - slack)
    elif alternative == "less":
        hits = np.sum(null <= observed + slack)
    elif alternative == "two-sided":
        hits = np.sum(np.abs(null) >= abs(observed) - slack)
    else:
        raise UsageError(f"alternative is 'greater', 'less' or 'two-sided', got {alternative!r}")
    return float(hits / len(null)) if exact else float((hits + 1) / (len(null) + 1))


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
    a, b = _pair(seen, fresh)
    d = _sums(a - b, blocks)[0]
    d = d[d != 0]
    if d.size == 0:
        return _p(0.0, np.zeros(1), alternative, True)
    if d.size <= _EXACT_PAIRS:
        signs = 1 - 2 * ((np.arange(2**d.size)[:, None] >> np.arange(d.size)) & 1)
        return _p(float(d.sum()), signs @ d, alternative, True)
    rng = np.random.default_rng(seed)
    rows = []
    for size in _draws(n_perm, d.size, "n_perm"):
        rows.append((rng.integers(0, 2, (size, d.size), dtype=np.int8) * 2.0 - 1) @ d)
    return _p(float(d.sum()), np.concatenate(rows), alternative, False)


def permutation_two_sample(
    seen: Any,
    fresh: Any,
    *,
    alternative: str = "greater",
    blocks: tuple[Any, Any] | None = None,
    n_perm: int = 2000,
    seed: int = 0,
) -> float:
    """Permutation test of mean(seen) - mean(fresh) for independent arms; exact up to 4096 splits.

    With `blocks` the labels of whole blocks are exchanged, and the statistic is the difference of
    the arms' means over values. Other arguments as in `permutation_paired`.
    """
    a, b = _sample(seen, "seen"), _sample(fresh, "fresh")
    both = np.concatenate([a, b])
    if np.ptp(both) == 0:
        _two(blocks)
        return _p(0.0, np.zeros(1), alternative, True)
    middle = float(both.mean())  # centred, rounding is small beside the spread
    parts = [_sums(x - middle, y) for x, y in zip((a, b), _two(blocks), strict=True)]
    sums = np.concatenate([s for s, _ in parts])
    sizes = np.concatenate([np.ones(len(s)) if c is None else c for s, c in parts])
    k, n = len(parts[0][0]), len(sums)

    def gaps(chosen: np.ndarray) -> np.ndarray:
        """Difference of the means where the blocks `[B, k]` chosen are the seen arm."""
        top = sums[chosen].sum(1)
        count = k if blocks is None else sizes[chosen].sum(1)
        return top / count - (sums.sum() - top) / (sizes.sum() - count)

    observed = float(gaps(np.arange(k)[None])[0])
    if math.comb(n, k) <= _EXACT_SPLITS:
        from itertools import combinations

        return _p(observed, gaps(np.array(list(combinations(range(n), k)))), alternative, True)
    rng = np.random.default_rng(seed)
    null = [
        gaps(rng.random((size, n)).argpartition(k - 1, axis=1)[:, :k])
        for size in _draws(n_perm, n, "n_perm")
    ]
    return _p(observed, np.concatenate(null), alternative, False)
