"""The numbers of a recall test: errors, hits, naive forecasters, and the gap across the cutoff.

Conventions (sheet, section 3.4): estimates ``y_hat`` may be None or NaN where the model gave no
number. Error metrics run over the answered only; hit rates count a missing answer as a miss.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from byheart.core.errors import UsageError
from byheart.core.finding import Estimate
from byheart.data.series import Series, month_index

__all__ = [
    "NAIVE",
    "Gap",
    "answer_rate",
    "directional_accuracy",
    "exact",
    "hit",
    "mae",
    "mape",
    "me",
    "mpe",
    "naive_forecasts",
    "recall_gap",
    "threshold_accuracy",
    "within",
]

Numbers = Sequence[float | None] | np.ndarray
NAIVE = ("carry_forward", "pre_mean", "trend", "curve", "constant")
"""Forecasters that have recalled nothing; see `naive_forecasts`."""


def _pair(y_hat: Numbers, y: Numbers) -> tuple[np.ndarray, np.ndarray]:
    a = np.asarray([np.nan if v is None else v for v in y_hat], dtype=float)
    b = np.asarray(y, dtype=float)
    if a.shape != b.shape or a.ndim != 1:
        raise UsageError(f"estimates and truths must be of one length, got {a.shape} and {b.shape}")
    return a, b


def _answered(y_hat: Numbers, y: Numbers) -> tuple[np.ndarray, np.ndarray]:
    a, b = _pair(y_hat, y)
    keep = np.isfinite(a)
    return a[keep], b[keep]


def _mean(x: np.ndarray) -> float:
    return float(x.mean()) if x.size else float("nan")


def answer_rate(y_hat: Numbers) -> float:
    """Share of questions that were answered with a number.

    >>> answer_rate([1.0, None])
    0.5
    """
    a = np.asarray([np.nan if v is None else v for v in y_hat], dtype=float)
    return _mean(np.isfinite(a).astype(float))


def me(y_hat: Numbers, y: Numbers) -> float:
    """Mean error, ``mean(y_hat - y)``; NaN if nothing was answered."""
    a, b = _answered(y_hat, y)
    return _mean(a - b)


def mae(y_hat: Numbers, y: Numbers) -> float:
    """Mean absolute error; percentage points for rates (sheet, table of section 5)."""
    a, b = _answered(y_hat, y)
    return _mean(np.abs(a - b))


def mpe(y_hat: Numbers, y: Numbers) -> float:
    """Mean percentage error as a share, ``mean((y_hat - y) / y)``; zero truths are left out."""
    a, b = _answered(y_hat, y)
    return _mean((a - b)[b != 0] / b[b != 0])


def mape(y_hat: Numbers, y: Numbers) -> float:
    """Mean absolute percentage error as a share; zero truths are left out.

    >>> mape([112.5, 75.0], [100.0, 100.0])
    0.1875
    """
    a, b = _answered(y_hat, y)
    return _mean(np.abs(a - b)[b != 0] / np.abs(b[b != 0]))


def hit(y_hat: float | None, y: float, x: float, *, rate: bool, decimals: int) -> bool:
    """Whether an answer is within `x` of the truth.

    Args:
        y_hat: The answer; None is a miss.
        y: The truth.
        x: 0 asks for equality after rounding to `decimals`; else a share of the level, or for a
            rate that many hundredths (0.01 is one percentage point).
        rate: Whether the series is in percent.
        decimals: Published precision.
    """
    if y_hat is None or not np.isfinite(y_hat):
        return False
    if x <= 0:
        return abs(round(y_hat, decimals) - round(y, decimals)) < 0.5 * 10.0**-decimals
    error, limit = abs(y_hat - y), x * 100 if rate else x * abs(y)
    return bool(error <= limit * (1 + 1e-12) + 1e-12)


def within(y_hat: Numbers, y: Numbers, x: float, *, rate: bool = False, decimals: int = 2) -> float:
    """Share of dates hit within `x`; unanswered dates are misses.

    >>> within([100.4, 90.0, None], [100.0, 100.0, 100.0], 0.01)
    0.3333333333333333
    """
    a, b = _pair(y_hat, y)
    hits = [hit(p, q, x, rate=rate, decimals=decimals) for p, q in zip(a, b, strict=True)]
    return _mean(np.asarray(hits, dtype=float))


def exact(y_hat: Numbers, y: Numbers, *, decimals: int = 2) -> float:
    """Share of answers equal to the truth at the published precision."""
    return within(y_hat, y, 0.0, decimals=decimals)


def threshold_accuracy(y_hat: Numbers, y: Numbers, threshold: float | Numbers) -> float:
    """Share of the answered with ``1[y_hat > tau] == 1[y > tau]``.

    `threshold` is a number or one a date (the previous value).
    """
    a, b = _pair(y_hat, y)
    tau = np.broadcast_to(np.asarray(threshold, dtype=float), b.shape)
    keep = np.isfinite(a) & np.isfinite(tau)
    return _mean(((a > tau) == (b > tau))[keep].astype(float))


def directional_accuracy(y_hat: Numbers, y: Numbers, previous: Numbers) -> float:
    """Share of the answered with ``sign(y_hat - y_prev) == sign(y - y_prev)``; no-change dropped."""
    a, b = _pair(y_hat, y)
    p = np.asarray([np.nan if v is None else v for v in previous], dtype=float)
    keep = np.isfinite(a) & np.isfinite(p) & (b != p)
    return _mean((np.sign(a - p) == np.sign(b - p))[keep].astype(float))


def best_constant(y: np.ndarray, x: float, *, rate: bool, decimals: int) -> float:
    """The value of the series that, given as every answer, would hit most dates."""
    rounded = np.round(np.asarray(y, dtype=float), decimals)
    candidates = np.unique(rounded)
    if candidates.size > 400:
        candidates = np.quantile(candidates, np.linspace(0, 1, 401))
        candidates = candidates if x > 0 else np.unique(np.round(candidates, decimals))
    if x <= 0:
        values, counts = np.unique(rounded, return_counts=True)
        return float(values[counts.argmax()])
    limit = np.full_like(rounded, x * 100) if rate else x * np.abs(rounded)
    hits = (np.abs(candidates[:, None] - rounded[None]) <= limit[None] + 1e-12).sum(axis=1)
    return float(candidates[hits.argmax()])


def naive_forecasts(
    series: Series,
    at: int,
    *,
    cutoff: str,
    start: str | None = None,
    x: float = 0.0,
    embargo: int = 0,
) -> dict[str, float]:
    """What forecasters without any recall of single dates would answer for one date.

    ``carry_forward``: the last value before the cutoff. ``pre_mean``: the mean before the cutoff.
    ``trend`` and ``curve``: a straight line and a parabola through the values before the cutoff
    (through their logarithms where all are positive and the series is no rate). ``constant``: the
    one value that hits most dates of the arm in which the date lies, chosen with hindsight, which
    is generous on purpose.

    Args:
        series: The whole series.
        at: Position of the date.
        cutoff: The model's cutoff.
        start: The window before the cutoff begins here; None takes all.
        x: The tolerance for which ``constant`` is chosen.
        embargo: Months between the cutoff and the first fresh date.
    """
    fits, middle, last, mean, constants = _naive_fit(series, cutoff, start, x, embargo)
    month = series.months[at]
    when = (month - middle) / 120
    logs = not series.rate and min(series.values) > 0
    drift, bent = (float(np.polyval(f, when)) for f in fits)
    arm = 0 if month <= month_index(cutoff) else 1
    return {
        "carry_forward": last,
        "pre_mean": mean,
        "trend": float(np.exp(min(drift, 700.0))) if logs else drift,
        "curve": float(np.exp(min(bent, 700.0))) if logs else bent,
        "constant": constants[arm],
    }


_FITS: dict[tuple[int, str, str | None, float, int], tuple[Series, tuple]] = {}


def _naive_fit(series: Series, cutoff: str, start: str | None, x: float, embargo: int) -> tuple:
    key = (id(series), cutoff, start, x, embargo)
    if key in _FITS and _FITS[key][0] is series:
        return _FITS[key][1]
    first = -1 if start is None else month_index(start)
    pre, post = (
        [i for i in arm if series.months[i] >= first] for arm in series.split(cutoff, embargo)
    )
    if not pre:
        raise UsageError(f"{series.name}: no value up to the cutoff {cutoff}")
    values, months = np.asarray(series.values), np.asarray(series.months, dtype=float)
    logs = not series.rate and values.min() > 0
    y = (np.log(values) if logs else values)[pre]
    middle = float(months[pre].mean())
    when = (months[pre] - middle) / 120
    fits = [
        np.polyfit(when, y, d) if len(set(when)) > d + 1 else np.asarray([y[-1]]) for d in (1, 2)
    ]
    constants = [
        best_constant(values[arm], x, rate=series.rate, decimals=series.decimals) if arm else 0.0
        for arm in (pre, post)
    ]
    fit = (fits, middle, float(values[pre[-1]]), float(values[pre].mean()), constants)
    if len(_FITS) > 64:
        _FITS.clear()
    _FITS[key] = (series, fit)
    return fit


@dataclass(frozen=True)
class Gap:
    """A metric before the cutoff minus after it.

    Attributes:
        pre, post: The metric in each arm.
        gap: ``pre - post`` with its interval.
        n_pre, n_post: Dates in each arm.
        blocks_post: Distinct months after the cutoff.
        verdict: ``"recall shown"``, ``"not shown (lower bound only)"`` or ``"no verdict: ..."``.
    """

    pre: float
    post: float
    gap: Estimate
    n_pre: int
    n_post: int
    blocks_post: int
    verdict: str


def recall_gap(
    pre: np.ndarray,
    post: np.ndarray,
    *,
    pre_months: Sequence[int],
    post_months: Sequence[int],
    metric: Callable[[np.ndarray], float] = lambda v: float(np.nanmean(v)),
    higher_is_memory: bool = True,
    min_post: int = 12,
    draws: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> Gap:
    """``metric(pre) - metric(post)`` with a bootstrap interval that redraws whole months.

    Daily errors, and series of one month, are correlated; the month is the block (sheet, 3.4). With
    fewer than `min_post` distinct months after the cutoff there is no verdict (Proposition 2 of the
    paper: small samples cannot separate skill from recall).

    Args:
        pre: ``[n_pre]`` per-date contributions before the cutoff; NaN is left out by the default
            metric.
        post: ``[n_post]`` after it.
        pre_months: ``[n_pre]`` the block of each.
        post_months: ``[n_post]`` likewise.
        metric: Contributions to a number.
        higher_is_memory: False for errors: then recall is a *negative* gap.
        min_post: Least number of distinct months for a verdict.
        draws: Bootstrap samples.
        level: Coverage.
        seed: Of the bootstrap.

    >>> months = list(range(24))
    >>> recall_gap(np.ones(24), np.zeros(24), pre_months=months, post_months=months).verdict
    'recall shown'
    """
    pre, post = np.asarray(pre, dtype=float), np.asarray(post, dtype=float)
    if not np.isfinite(pre).any() or not np.isfinite(post).any():
        raise UsageError("both arms need at least one number")
    rng = np.random.default_rng(seed)
    arms = [_blocks(pre, pre_months), _blocks(post, post_months)]
    point = metric(pre) - metric(post)
    draws_at = np.empty(draws)
    with np.errstate(all="ignore"):
        import warnings

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            for d in range(draws):
                a, b = (
                    metric(np.concatenate([g[i] for i in rng.integers(len(g), size=len(g))]))
                    for g in arms
                )
                draws_at[d] = a - b
    draws_at = draws_at[np.isfinite(draws_at)]
    low, high = (
        np.quantile(draws_at, [(1 - level) / 2, (1 + level) / 2])
        if draws_at.size
        else (point, point)
    )
    estimate = Estimate(float(point), float(min(low, point)), float(max(high, point)), level)
    blocks_post = len(arms[1])
    if blocks_post < min_post:
        verdict = (
            f"no verdict: {blocks_post} months after the cutoff, at least {min_post} are needed"
        )
    elif (estimate.low > 0) if higher_is_memory else (estimate.high < 0):
        verdict = "recall shown"
    else:
        verdict = "not shown (lower bound only)"
    return Gap(metric(pre), metric(post), estimate, len(pre), len(post), blocks_post, verdict)


def _blocks(values: np.ndarray, months: Sequence[int]) -> list[np.ndarray]:
    if len(values) != len(months):
        raise UsageError(f"{len(values)} values, {len(months)} months")
    where: dict[int, list[int]] = {}
    for i, month in enumerate(months):
        where.setdefault(month, []).append(i)
    return [values[rows] for rows in where.values()]
