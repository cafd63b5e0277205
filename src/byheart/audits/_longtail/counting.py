"""What counts alone tell of the tail: Good and Turing's estimates, and a forecast of costs from them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from byheart.audits._longtail.theory import _classes, _limit
from byheart.core.errors import DataError, UsageError

__all__ = ["Forecast", "GoodTuring", "forecast", "forecast_groups", "good_turing"]


@dataclass(frozen=True)
class GoodTuring:
    """What a sample's counts tell about the tail it was drawn from. All are estimates.

    Attributes:
        n: Samples.
        types: Types that were seen.
        spectrum: Count l to n_l, the number of types seen l times.
        unseen: Share of the data in types that were not seen: n_1 / n.
        unseen_se: Its standard error, sqrt(n_1 + 2 n_2) / n.
        singleton_mass: Share of the data in types seen once: 2 n_2 / n.
        singleton_mass_se: Its standard error (Poisson counts).
        tau: Mean frequency of a type seen once, 2 n_2 / (n n_1); NaN without singletons.
        tau_se: Its standard error (delta method, Poisson counts).
    """

    n: int
    types: int
    spectrum: dict[int, int]
    unseen: float
    unseen_se: float
    singleton_mass: float
    singleton_mass_se: float
    tau: float
    tau_se: float

    def tau_of(self, ell: int) -> float:
        """tau_l for other counts: (l+1) n_(l+1) / (n n_l); NaN where no type has that count."""
        if ell < 1:
            raise UsageError(f"ell must be at least 1, got {ell}")
        have = self.spectrum.get(ell, 0)
        return (ell + 1) * self.spectrum.get(ell + 1, 0) / (self.n * have) if have else math.nan


def _counts(counts: Any) -> np.ndarray:
    """``[types]`` positive whole numbers out of a list, or out of a map from name to number."""
    values = list(counts.values()) if isinstance(counts, Mapping) else list(counts)
    for at, value in enumerate(values):
        whole = isinstance(value, int | float | np.integer | np.floating) and not isinstance(
            value, bool
        )
        if not whole or not math.isfinite(value) or value != int(value) or value < 0:
            name = list(counts)[at] if isinstance(counts, Mapping) else f"position {at}"
            raise DataError(f"counts are whole numbers from 0, got {value!r} at {name}")
    array = np.array(values, dtype=np.int64)
    array = array[array > 0]
    if not array.size:
        raise DataError("no type was seen: every count is 0, or there are none")
    return array


def good_turing(counts: Mapping[Any, int] | Sequence[int]) -> GoodTuring:
    """tau, unseen mass and singleton mass from the counts of a sample, without a prior.

    The identity tau_l = (l+1) E_(n+1)[n_(l+1)] / ((n+1) E_n[n_l]) is exact in expectation.

    Args:
        counts: How often each type was seen: a list, or a map from type to number. The types are the
            subpopulations; where they come from clustering, the estimate is of the clusters' tail.

    Raises:
        DataError: Counts that are no whole numbers, or none above 0.

    >>> found = good_turing([1, 1, 1, 1, 2, 2, 6])
    >>> round(found.unseen, 3), round(found.singleton_mass, 3), round(found.tau * found.n, 2)
    (0.286, 0.286, 1.0)
    """
    array = _counts(counts)
    n = int(array.sum())
    ells, many = np.unique(array, return_counts=True)
    spectrum = {int(a): int(b) for a, b in zip(ells, many, strict=True)}
    n1, n2 = spectrum.get(1, 0), spectrum.get(2, 0)
    tau = 2 * n2 / (n * n1) if n1 else math.nan
    # without a doubleton the count could as well have been one
    tau_se = math.nan if not n1 else 2 * max(n2, 1) / (n * n1) * math.sqrt(1 / max(n2, 1) + 1 / n1)
    return GoodTuring(
        n, len(array), spectrum, n1 / n, math.sqrt(n1 + 2 * n2) / n,
        2 * n2 / n, 2 * math.sqrt(max(n2, 1)) / n, tau, tau_se,
    )  # fmt: skip


@dataclass(frozen=True)
class Forecast:
    """What a limit on memorisation will cost on data with these counts: an estimate.

    Attributes:
        counts: Good and Turing's estimates behind it.
        classes: K.
        limit: Highest chance to predict the label of a singleton that the learner may reach.
        opt: Least possible error on new data, (1 - 1/K) unseen.
        opt_se: Its standard error.
        cost: Error above that, (1 - limit)+ singleton mass.
        cost_se: Its standard error.
        ratio: Cost by that of the group that pays least, where there are groups.
    """

    counts: GoodTuring
    classes: int
    limit: float
    opt: float
    opt_se: float
    cost: float
    cost_se: float
    ratio: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form; numbers that could not be estimated are None."""
        told = asdict(self)
        told["counts"]["spectrum"] = {str(k): v for k, v in self.counts.spectrum.items()}
        return {k: _plain(v) for k, v in told.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def forecast(
    counts: Mapping[Any, int] | Sequence[int],
    classes: int,
    *,
    gamma: float | None = None,
    epsilon: float | None = None,
    delta: float = 0.0,
) -> Forecast:
    """Good and Turing's estimates, and the price of limited memorisation that follows.

    Args:
        counts: As in `good_turing`.
        classes: K, labels taken as uniform.
        gamma: Bound on memorisation; neither this nor epsilon means that no singleton is fitted.
        epsilon: Label privacy.
        delta: Likewise.

    >>> round(forecast([1] * 40 + [2] * 10 + [5] * 8, classes=10, epsilon=1.0).cost, 4)
    0.1456
    """
    classes = _classes(classes)
    told = good_turing(counts)
    limit = _limit(classes, gamma, epsilon, delta)
    factor, chance = max(0.0, 1 - limit), 1 - 1 / classes
    return Forecast(
        told, classes, limit, chance * told.unseen, chance * told.unseen_se,
        factor * told.singleton_mass, factor * told.singleton_mass_se,
    )  # fmt: skip


def forecast_groups(
    groups: Mapping[str, Mapping[Any, int] | Sequence[int]], classes: int, **limits: Any
) -> dict[str, Forecast]:
    """A `forecast` for each group, with its cost by that of the group that pays least."""
    from dataclasses import replace

    if not groups:
        raise DataError("no groups are given")
    found = {name: forecast(counts, classes, **limits) for name, counts in groups.items()}
    least = min(f.cost for f in found.values())
    return {k: replace(f, ratio=f.cost / least if least else None) for k, f in found.items()}
