"""Embedding recall: does the vector of "NAME, DATE" already hold the value?

A ridge regression from embedding to realised value, fitted on an early stretch and tested on a later
one, beside a five-year moving average of the series, and with the pairing of dates and values
shuffled as a placebo (sheet, probe 7).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from byheart.audits._economic.prompts import date_words
from byheart.core.errors import UsageError
from byheart.data.series import Series, month_index

__all__ = ["EmbeddingRecall", "embedding_recall", "ridge"]

Encoder = Callable[[list[str]], "np.ndarray"]
_YEARS = 5
_PER_YEAR = {"A": 1, "Q": 4, "M": 12, "W": 52, "D": 252}


@dataclass(frozen=True)
class EmbeddingRecall:
    """One series.

    Attributes:
        series: Its name.
        correlation: Of prediction and truth on the later stretch.
        moving_average: The same for the mean of the five years before each date.
        placebo: Correlations after shuffling dates and values, one a shuffle.
        placebo_p: Share of shuffles that do at least as well (one added to both counts).
        alpha: Ridge penalty that was chosen.
        n_fit: Dates in the early stretch.
        n_test: Dates in the later one.
        verdict: ``"recall shown"`` if the correlation beats both moving average and placebo
            (at 5 %), else ``"not shown (lower bound only)"``.
    """

    series: str
    correlation: float
    moving_average: float
    placebo: tuple[float, ...]
    placebo_p: float
    alpha: float
    n_fit: int
    n_test: int
    verdict: str


def ridge(x: np.ndarray, y: np.ndarray, alphas: Sequence[float]) -> tuple[np.ndarray, float, float]:
    """Ridge with an intercept; the penalty with the least leave-one-out error.

    Args:
        x: ``[N, D]``.
        y: ``[N]``.
        alphas: Penalties to try.

    Returns:
        Weights ``[D]``, intercept, penalty.
    """
    mean_x, mean_y = x.mean(0), float(y.mean())
    u, s, vt = np.linalg.svd(x - mean_x, full_matrices=False)
    uty = u.T @ (y - mean_y)
    best: tuple[float, float, np.ndarray] | None = None
    for alpha in alphas:
        shrink = s**2 / (s**2 + alpha)
        left_out = (y - mean_y - u @ (shrink * uty)) / np.maximum(
            1 - 1 / len(y) - (u**2) @ shrink, 1e-9
        )
        error = float((left_out**2).mean())
        if best is None or error < best[0]:
            best = (error, alpha, vt.T @ (s / (s**2 + alpha) * uty))
    assert best is not None
    return best[2], mean_y - float(mean_x @ best[2]), best[1]


def embedding_recall(
    series: Sequence[Series] | Series,
    encoder: Encoder,
    *,
    split: str | None = None,
    fit_share: float = 0.7,
    placebo: bool = True,
    shuffles: int = 50,
    alphas: Sequence[float] = (1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0, 1e3),
    seed: int = 0,
) -> list[EmbeddingRecall]:
    """Probe 7 on every series.

    Args:
        series: Series to test.
        encoder: Texts to an array ``[N, D]``.
        split: The later stretch begins after this date; None splits by `fit_share`.
        fit_share: Share of dates in the early stretch.
        placebo: Also shuffle.
        shuffles: How often.
        alphas: Ridge penalties, chosen by leave-one-out error on the early stretch.
        seed: Of the shuffles.

    Raises:
        UsageError: If a stretch has fewer than eight dates, or the encoder returns another shape.
    """
    out = []
    for s in [series] if isinstance(series, Series) else series:
        n = len(s)
        cut = (
            int(n * fit_share) if split is None else sum(m <= month_index(split) for m in s.months)
        )
        if min(cut, n - cut) < 8:
            raise UsageError(
                f"{s.name}: {cut} dates to fit and {n - cut} to test; at least eight each"
            )
        x = np.asarray(encoder([f"{s.name}, {date_words(d)}" for d in s.dates]), dtype=float)
        if x.ndim != 2 or len(x) != n or not np.isfinite(x).all():
            raise UsageError(f"the encoder returned shape {x.shape} for {n} texts, or not finite")
        y = np.asarray(s.values)
        window = _YEARS * _PER_YEAR[s.freq]
        average = np.asarray([y[max(0, i - window) : i].mean() if i else y[0] for i in range(n)])
        real, alpha = _score(x, y, cut, alphas)
        rng = np.random.default_rng(seed)
        shuffled = tuple(
            _score(x, y[rng.permutation(n)], cut, alphas)[0] for _ in range(shuffles * placebo)
        )
        p = (1 + sum(r >= real for r in shuffled)) / (1 + len(shuffled)) if placebo else 1.0
        base = _corr(average[cut:], y[cut:])
        shown = placebo and p < 0.05 and real > base
        out.append(
            EmbeddingRecall(
                s.name, real, base, shuffled, p, alpha, cut, n - cut,
                "recall shown" if shown else "not shown (lower bound only)",
            )
        )  # fmt: skip
    return out


def _score(x: np.ndarray, y: np.ndarray, cut: int, alphas: Sequence[float]) -> tuple[float, float]:
    w, b, alpha = ridge(x[:cut], y[:cut], alphas)
    return _corr(x[cut:] @ w + b, y[cut:]), alpha


def _corr(a: np.ndarray, b: np.ndarray) -> float:
    if a.std() < 1e-12 or b.std() < 1e-12:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])
