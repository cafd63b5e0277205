"""What a tail is worth: tau, the least error, and what not fitting rare examples costs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from byheart.audits._longtail.priors import Prior, as_prior
from byheart.core.errors import UsageError

__all__ = [
    "GroupCost",
    "disparate_cost",
    "excess_error",
    "expected_types",
    "label_confidence",
    "no_tail_bound",
    "noise_cost",
    "opt",
    "seen_mass",
    "tau",
    "tau_lower_bound",
    "unfit_cost",
    "unseen_mass",
    "weight",
]

PriorLike = Prior | Sequence[float] | Mapping[Any, float] | str


def _samples(n: Any) -> int:
    if isinstance(n, bool) or int(n) != n or n < 1:
        raise UsageError(f"n must be a whole number of at least 1, got {n!r}")
    return int(n)


def _seen(n: int, ell: Any, least: int = 0) -> int:
    if isinstance(ell, bool) or int(ell) != ell or not least <= ell <= n:
        raise UsageError(f"ell must be a whole number in {least}..n ({n}), got {ell!r}")
    return int(ell)


def _classes(classes: Any) -> int:
    if isinstance(classes, bool) or int(classes) != classes or classes < 2:
        raise UsageError(f"classes must be a whole number of at least 2, got {classes!r}")
    return int(classes)


def tau(prior: PriorLike, n: int, ell: int = 1) -> float:
    """Posterior mean frequency of a subpopulation that occurs `ell` times among `n` samples.

    tau_l = E[alpha^(l+1) (1-alpha)^(n-l)] / E[alpha^l (1-alpha)^(n-l)], alpha from the prior's
    marginal law (paper, section 2). tau_1 is what each unfitted singleton costs.

    Args:
        prior: A `Prior`, a list of frequencies, or a text such as ``"zipf:50000"``.
        n: Samples.
        ell: How often it was seen; 0 is a subpopulation that was not.

    Raises:
        UsageError: `ell` outside 0..n, or a prior that gives such a count no chance.

    >>> from byheart.audits.long_tail import Zipf
    >>> round(tau(Zipf(50_000), n=50_000, ell=1) * 50_000, 5)
    0.47168
    """
    prior, n = as_prior(prior), _samples(n)
    ell = _seen(n, ell)
    below = prior.log_moment(ell, n - ell)
    if below == math.inf:  # infinitely many subpopulations are unseen, each of no frequency
        return 0.0
    if below == -math.inf:
        raise UsageError(f"{prior!r} gives no chance to a count of {ell} among {n}")
    return math.exp(prior.log_moment(ell + 1, n - ell) - below)


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def expected_types(prior: PriorLike, n: int, ell: int = 1) -> float:
    """E[n_l]: how many subpopulations occur exactly `ell` times among `n` samples."""
    prior, n = as_prior(prior), _samples(n)
    ell = _seen(n, ell)
    return math.exp(_log_choose(n, ell) + prior.log_moment(ell, n - ell))


def seen_mass(prior: PriorLike, n: int, ell: int = 1) -> float:
    """Expected share of the data in subpopulations that occur `ell` times: tau_l E[n_l]."""
    prior, n = as_prior(prior), _samples(n)
    ell = _seen(n, ell)
    return math.exp(_log_choose(n, ell) + prior.log_moment(ell + 1, n - ell))


def unseen_mass(prior: PriorLike, n: int) -> float:
    """Expected share of the data in subpopulations that no sample came from."""
    return seen_mass(prior, n, 0)


def opt(prior: PriorLike, n: int, classes: int) -> float:
    """Least expected error of any learner, labels uniform: (1 - 1/K) E[unseen mass].

    >>> from byheart.audits.long_tail import Zipf
    >>> round(opt(Zipf(50_000), 50_000, 10), 4)
    0.1534
    """
    return (1 - 1 / _classes(classes)) * unseen_mass(prior, n)


def weight(prior: PriorLike, low: float, high: float) -> float:
    """Share of the data in subpopulations with a frequency in [low, high]."""
    if not low <= high:
        raise UsageError(f"an interval has low <= high, got [{low}, {high}]")
    return as_prior(prior).weight(low, high)


def tau_lower_bound(prior: PriorLike, n: int) -> float:
    """tau_1 is at least weight([1/(3n), 2/n]) / (5n): a tail near 1/n makes singletons matter."""
    n = _samples(n)
    return weight(prior, 1 / (3 * n), 2 / n) / (5 * n)


def no_tail_bound(prior: PriorLike, n: int, theta: float) -> float | None:
    """2 theta bounds tau_1 from above where no weight lies in [theta, t/n]; None where some does.

    t = ln(1/(theta beta)) + 2 with beta = weight([0, theta]); theta at most 1/(2n). Frequencies are
    then either so small that a singleton is luck, or so large that singletons do not occur.
    """
    prior, n = as_prior(prior), _samples(n)
    if not 0 < theta <= 1 / (2 * n):
        raise UsageError(f"theta must lie in (0, 1/(2n)] = (0, {1 / (2 * n):g}], got {theta}")
    beta = prior.weight(0, theta)
    if beta <= 0:
        return None
    t = math.log(1 / (theta * beta)) + 2
    above = math.nextafter(theta, 1)  # theta itself belongs to the small ones
    return None if prior.weight(above, t / n) > 0 else 2 * theta


def _limit(
    classes: int, gamma: float | None, epsilon: float | None, delta: float, copies: int = 1
) -> float:
    """Highest chance to predict a label that was seen `copies` times: 1/K + gamma, or by privacy."""
    if gamma is not None and epsilon is not None:
        raise UsageError("gamma and epsilon each say how little is memorised; give one of them")
    if gamma is not None and not 0 <= gamma <= 1:
        raise UsageError(f"gamma must lie in [0, 1], got {gamma}")
    if epsilon is None:
        if delta:
            raise UsageError("delta belongs to epsilon; give epsilon too")
        return 1 / classes + (gamma or 0.0)
    if not epsilon >= 0 or not 0 <= delta <= 1:
        raise UsageError(f"epsilon must be 0 or more and delta in [0, 1], got {epsilon}, {delta}")
    power = copies * epsilon
    if power > 700:
        return math.inf
    return math.exp(power) / classes + copies * math.exp((copies - 1) * epsilon) * delta


def unfit_cost(
    prior: PriorLike,
    n: int,
    classes: int,
    *,
    gamma: float | None = None,
    epsilon: float | None = None,
    delta: float = 0.0,
    copies: int = 1,
) -> float:
    """Error above the least possible, of a learner that memorises no more than it may.

    cost = (1 - 1/K - gamma)+ * sum over types of n alpha^2 (1-alpha)^(n-1), the mass of singletons.
    With gamma = 0 (the default) no singleton is fitted. With (epsilon, delta) label privacy the
    first factor is (1 - e^epsilon / K - delta)+.

    Args:
        prior: As in `tau`.
        n: Samples.
        classes: K, uniform labels.
        gamma: No example is memorised by more (paper, section 4). K = 10 and gamma = 1/2 is the same as
            epsilon = ln 6.
        epsilon: Privacy of one label.
        delta: Likewise.
        copies: Also count subpopulations seen up to so many times; l copies have l epsilon and
            l e^((l-1) epsilon) delta to hide in. A bound of gamma holds for one example, so it says
            nothing of copies.

    Raises:
        UsageError: gamma and epsilon together, values out of range.

    >>> from byheart.audits.long_tail import Zipf
    >>> round(unfit_cost(Zipf(5000), n=10_000, classes=10, gamma=.5), 4)
    0.0353
    """
    prior, n, classes = as_prior(prior), _samples(n), _classes(classes)
    if isinstance(copies, bool) or int(copies) != copies or copies < 1:
        raise UsageError(f"copies must be a whole number of at least 1, got {copies!r}")
    if copies > 1 and epsilon is None:
        raise UsageError("copies above 1 need epsilon; gamma bounds what one example does")
    total = 0.0
    for ell in range(1, min(int(copies), n) + 1):
        factor = 1 - _limit(classes, gamma, epsilon, delta, ell)
        if factor <= 0:
            break
        total += factor * seen_mass(prior, n, ell)
    return total


def excess_error(
    prior: PriorLike,
    n: int,
    errors: Mapping[int, float],
    *,
    coupling: Mapping[int, float] | float = 1.0,
) -> float:
    """The theorem: error above the least possible is at least sum of lambda_l tau_l errn(l).

    For a discrete domain every lambda is 1 and the bound is the excess itself, if unseen points are
    predicted as well as can be. For a mixture, lambda_l says how strongly predictions on a
    subpopulation follow those on its l samples (total variation at most 1 - lambda_l; section 3).

    Args:
        prior: As in `tau`.
        n: Samples.
        errors: Count l to errn(l), the expected number of subpopulations seen exactly l times whose
            samples the learner gets wrong.
        coupling: lambda_l by count, or one for all, in [0, 1]. Counts that are missing get 0.
    """
    prior, n = as_prior(prior), _samples(n)
    total = 0.0
    for ell, wrong in errors.items():
        if not wrong >= 0:
            raise UsageError(f"errors[{ell}] is a number of subpopulations, got {wrong}")
        strength = coupling.get(ell, 0.0) if isinstance(coupling, Mapping) else coupling
        if not 0 <= strength <= 1:
            raise UsageError(f"a coupling lies in [0, 1], got {strength} for {ell}")
        if wrong:
            total += strength * tau(prior, n, _seen(n, ell, 1)) * wrong
    return total


def label_confidence(kept: float, classes: int) -> float:
    """How much likelier the observed label is than the best other one, under label noise.

    A label is kept with probability `kept`, else drawn anew from all classes. With uniform labels
    the posterior is kept + (1-kept)/K against (1-kept)/K, so the confidence is `kept`.
    """
    if not 0 <= kept <= 1:
        raise UsageError(f"kept is a probability, got {kept}")
    redrawn = (1 - kept) / _classes(classes)
    return (kept + redrawn) - redrawn


def noise_cost(prior: PriorLike, n: int, confidence: float, *, misfit: float = 1.0) -> float:
    """Excess error from not fitting singletons whose labels are noisy: tau_1 E[n_1] conf misfit.

    Args:
        prior: As in `tau`.
        n: Samples.
        confidence: `label_confidence`, averaged over singletons; in [0, 1].
        misfit: Share of singletons whose given label the learner does not predict.
    """
    if not (0 <= confidence <= 1 and 0 <= misfit <= 1):
        raise UsageError(f"confidence and misfit lie in [0, 1], got {confidence}, {misfit}")
    return confidence * misfit * seen_mass(prior, n, 1)


@dataclass(frozen=True, slots=True)
class GroupCost:
    """What one group pays.

    Attributes:
        share: Of the data.
        n: Its samples.
        opt: Its least possible error.
        cost: Error above that.
        ratio: Its cost by that of the group that pays least; infinite where that pays nothing.
    """

    share: float
    n: int
    opt: float
    cost: float
    ratio: float


def disparate_cost(
    groups: Mapping[str, tuple[PriorLike, float]],
    n: int,
    classes: int,
    *,
    gamma: float | None = None,
    epsilon: float | None = None,
    delta: float = 0.0,
) -> dict[str, GroupCost]:
    """What limited memorisation costs each group: small and diverse ones pay more.

    Group g has a share of the data and its own prior, so n_g = share * n samples decide what it
    pays: opt_g = (1 - 1/K) unseen mass, cost_g as in `unfit_cost`.

    Args:
        groups: Name to (prior, share); shares sum to one.
        n: Samples of all groups together.
        classes: K.
        gamma: As in `unfit_cost`.
        epsilon: As in `unfit_cost`.
        delta: As in `unfit_cost`.

    Raises:
        UsageError: Shares that do not sum to one, or leave a group without a sample.

    >>> from byheart.audits.long_tail import Zipf
    >>> paid = disparate_cost({"base": (Zipf(5000), 5/6), "scarce": (Zipf(5000), 1/6)},
    ...                       n=60_000, classes=10, gamma=.5)
    >>> round(paid["scarce"].ratio, 1)
    2.4
    """
    n, classes = _samples(n), _classes(classes)
    if not groups:
        raise UsageError("no groups are given")
    shares = {name: float(share) for name, (_, share) in groups.items()}
    total = math.fsum(shares.values())
    if abs(total - 1) > 1e-9 or min(shares.values()) < 0:
        raise UsageError(f"shares of the groups must sum to one, got {total:.12g}: {shares}")
    paid = {}
    for name, (prior, _) in groups.items():
        mine = round(shares[name] * n)
        if mine < 1:
            raise UsageError(f"group {name!r} has no sample: its share is {shares[name]:g} of {n}")
        cost = unfit_cost(prior, mine, classes, gamma=gamma, epsilon=epsilon, delta=delta)
        paid[name] = (mine, opt(prior, mine, classes), cost)
    least = min(cost for _, _, cost in paid.values())
    return {
        name: GroupCost(
            shares[name], mine, best, cost,
            cost / least if least else (1.0 if cost == 0 else math.inf),
        )
        for name, (mine, best, cost) in paid.items()
    }  # fmt: skip
