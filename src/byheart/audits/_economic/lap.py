"""Lookahead propensity: does accuracy rise with how well the date itself is remembered?

Source: Gao, Jiang, Yan, arXiv 2512.23847 (abstract): a date-only recall query gives each firm-date a
propensity; the outcome is regressed on the forecast, the propensity and their product. A positive
coefficient of the product is the mark of contamination: forecasts are better just where the model
remembers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from byheart.audits._economic.metrics import hit
from byheart.audits._economic.parse import parse_value, unit_scale
from byheart.audits._economic.prompts import PREFIX, frame, value_question
from byheart.core.ask import Sample
from byheart.core.errors import UsageError, need
from byheart.core.finding import Estimate
from byheart.core.model import load as load_model
from byheart.data.series import Series

__all__ = ["Lookahead", "lookahead_propensity", "recall_propensity"]


@dataclass(frozen=True)
class Lookahead:
    """The regression ``outcome ~ forecast + lap + forecast x lap`` (and controls).

    Attributes:
        interaction: Coefficient of the product, with interval.
        p_value: One-sided, of "not positive".
        coefficients: All coefficients by name.
        standard_errors: Likewise.
        n: Rows used.
        kind: ``"ols"`` or ``"logit"``.
        verdict: ``"contaminated"`` or ``"not shown (lower bound only)"``.
    """

    interaction: Estimate
    p_value: float
    coefficients: dict[str, float]
    standard_errors: dict[str, float]
    n: int
    kind: str
    verdict: str = field(default="")

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        i = self.interaction
        return {**self.__dict__, "interaction": {"value": i.value, "low": i.low, "high": i.high}}


def lookahead_propensity(
    outcome: Sequence[float],
    forecast: Sequence[float],
    lap: Sequence[float],
    *,
    controls: Sequence[Sequence[float]] | None = None,
    clusters: Sequence[Any] | None = None,
    kind: str = "ols",
    level: float = 0.95,
) -> Lookahead:
    """Regress the outcome on forecast, propensity and their product.

    Args:
        outcome: ``[N]`` realised values (``ols``), or 0/1 whether the forecast came true
            (``logit``).
        forecast: ``[N]`` the model's forecasts.
        lap: ``[N]`` propensities in [0, 1]; see `recall_propensity`.
        controls: ``[N, K]`` further regressors.
        clusters: ``[N]`` labels (months) for clustered standard errors; else robust ones (HC1).
        kind: ``"ols"`` or ``"logit"``.
        level: Coverage of the interval; the verdict tests at ``(1 - level) / 2`` one-sided.

    Raises:
        UsageError: If lengths differ, values are not finite, the propensity does not vary, a
            logit's outcome is not 0/1 or is told apart perfectly.
        MissingExtra: If statsmodels is not installed.
    """
    sm = need("statsmodels.api", "audit")
    if kind not in ("ols", "logit"):
        raise UsageError(f"kind is 'ols' or 'logit', got {kind!r}")
    y, f, p = (np.asarray(v, dtype=float) for v in (outcome, forecast, lap))
    if not len(y) == len(f) == len(p):
        raise UsageError(
            f"outcome, forecast and lap differ in length: {len(y)}, {len(f)}, {len(p)}"
        )
    names, columns = ["const", "forecast", "lap", "forecast:lap"], [np.ones_like(f), f, p, f * p]
    if controls is not None:
        extra = np.asarray(controls, dtype=float).reshape(len(y), -1)
        names += [f"control{i + 1}" for i in range(extra.shape[1])]
        columns += list(extra.T)
    x = np.column_stack(columns)
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise UsageError("outcome, forecast, lap and controls must be finite; drop missing rows")
    if p.min() < 0 or p.max() > 1:
        raise UsageError(f"lap must lie in [0, 1], got {p.min():g} to {p.max():g}")
    if len(y) <= x.shape[1] + 2 or np.linalg.matrix_rank(x) < x.shape[1]:
        raise UsageError(
            f"{len(y)} rows cannot tell {x.shape[1]} coefficients apart; "
            "forecast and lap must vary independently"
        )
    cov: dict[str, Any] = {"cov_type": "HC1"}
    if clusters is not None:
        labels = np.unique(np.asarray(clusters), return_inverse=True)[1]
        cov = {"cov_type": "cluster", "cov_kwds": {"groups": labels}}
    if kind == "ols":
        fitted = sm.OLS(y, x).fit(**cov)
    else:
        if not np.isin(y, (0.0, 1.0)).all():
            raise UsageError("a logit's outcome is 0 or 1")
        fitted = _logit(sm, y, x, cov)
    interval = fitted.conf_int(1 - level)[3]
    value, error = float(fitted.params[3]), float(fitted.bse[3])
    from statistics import NormalDist

    one_sided = 1 - NormalDist().cdf(value / error) if error > 0 else float(value <= 0)
    shown = one_sided < (1 - level) / 2
    return Lookahead(
        Estimate(value, float(interval[0]), float(interval[1]), level),
        float(one_sided),
        dict(zip(names, map(float, fitted.params), strict=True)),
        dict(zip(names, map(float, fitted.bse), strict=True)),
        len(y),
        kind,
        "contaminated" if shown else "not shown (lower bound only)",
    )


def _logit(sm: Any, y: np.ndarray, x: np.ndarray, cov: dict[str, Any]) -> Any:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            return sm.Logit(y, x).fit(disp=0, maxiter=200, **cov)
        except (Warning, np.linalg.LinAlgError) as error:
            raise UsageError(
                f"the logit has no finite solution ({error}); the outcome is told apart perfectly, "
                "or varies too little; use kind='ols'"
            ) from error


def recall_propensity(
    series: Series,
    dates: Sequence[str],
    *,
    model: Any,
    n: int = 8,
    temperature: float = 1.0,
    x: float = 0.01,
    seed: int = 0,
    max_tokens: int = 28,
) -> list[float]:
    """Share of sampled answers to the date-only question that come within `x` of the truth.

    Args:
        series: The series.
        dates: Which dates.
        model: What `byheart.load` takes.
        n: Answers sampled for each date.
        temperature: Of the sampling.
        x: Tolerance, as in `EconomicRecall.within`.
        seed: Of the sampling.
        max_tokens: Length of a reply.

    Returns:
        ``[len(dates)]`` numbers in [0, 1].
    """
    loaded = load_model(model)
    loaded.require("sample", purpose="recall_propensity")
    asks = [
        Sample(
            frame(value_question(series, d), chat=loaded.chat, prefix=PREFIX["value"]),
            n=n,
            temperature=temperature,
            max_tokens=max_tokens,
            seed=seed,
        )
        for d in dates
    ]
    out = []
    for date, replies in zip(dates, loaded.sample(asks), strict=True):
        hits = 0
        for reply in replies:
            text = reply.text if loaded.chat else PREFIX["value"] + reply.text
            said = parse_value(text, dates=(date,), echo=series.name, scale=unit_scale(series.unit))
            hits += any(
                hit(said.value, t, x, rate=series.rate, decimals=series.decimals)
                for t in series.truths(date)
            )
        out.append(hits / n)
    return out
