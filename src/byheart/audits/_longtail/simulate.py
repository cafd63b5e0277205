"""Monte Carlo beside the formulas: data sets are drawn, lookup learners answer, errors are counted."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from byheart.audits._longtail.priors import as_prior
from byheart.audits._longtail.theory import (
    PriorLike,
    _classes,
    _limit,
    _samples,
    _seen,
    opt,
    tau,
)
from byheart.core.errors import UsageError
from byheart.core.finding import Estimate

__all__ = ["Simulation", "simulate", "simulate_tau"]


@dataclass(frozen=True)
class Simulation:
    """Means over simulated data sets, with 95 % intervals.

    Attributes:
        error: Of the learner on new data, labels as drawn.
        excess: Error minus what the best learner has on the same data set.
        formula: Sum of tau_l errn(l) on the same data sets (times confidence under label noise).
        difference: excess - formula; its interval should hold 0.
        opt: Error of the best learner on the same data sets.
        opt_exact: The same from the prior's formula; None under label noise, which it leaves out.
        spectrum: Count l to the mean number of types seen l times, for l up to 5.
        trials: Data sets.
    """

    error: Estimate
    excess: Estimate
    formula: Estimate
    difference: Estimate
    opt: Estimate
    opt_exact: float | None
    spectrum: dict[int, float]
    trials: int


def _mean(values: np.ndarray) -> Estimate:
    value = float(values.mean())
    if len(values) < 2:
        return Estimate(value, -math.inf, math.inf)
    half = 1.96 * float(values.std(ddof=1)) / math.sqrt(len(values))
    return Estimate(value, value - half, value + half)


def simulate(
    prior: PriorLike,
    n: int,
    classes: int,
    *,
    fit: Mapping[int, float] | None = None,
    gamma: float | None = None,
    epsilon: float | None = None,
    delta: float = 0.0,
    kept: float = 1.0,
    trials: int = 200,
    seed: int = 0,
) -> Simulation:
    """Draw data sets and let a lookup learner answer: what does not fitting cost, and what is forecast?

    Each trial draws frequencies, a uniform label for every type, and n samples. The learner looks up
    the label; at types seen l times it predicts it with chance `fit[l]` and any other label, equally
    likely, otherwise. Types it has not seen get a uniform guess, which is the best there is.

    Args:
        prior: One that says how all frequencies are drawn: `Zipf`, `Uniform`, `Frequencies`,
            `Dirichlet`, `Drawn`.
        n: Samples of a data set.
        classes: K.
        fit: Count l to the chance that a type seen l times is fitted; 1 where it is not named.
            ``{1: 1/K}`` does not fit singletons.
        gamma: Instead of `fit`: singletons are fitted with chance 1/K + gamma.
        epsilon: Instead of `fit`: likewise with e^epsilon / K + delta.
        delta: See `epsilon`.
        kept: Label noise: each sample's label is kept with this chance and drawn anew otherwise. The
            best learner then predicts, at a singleton, the label that was given.
        trials: Data sets.
        seed: Of everything.

    Raises:
        UsageError: A prior that cannot be drawn whole, chances outside [0, 1].

    >>> from byheart.audits.long_tail import Zipf
    >>> run = simulate(Zipf(200), n=300, classes=10, gamma=0.0, trials=300)
    >>> run.difference.low < 0 < run.difference.high
    True
    """
    prior, n, classes = as_prior(prior), _samples(n), _classes(classes)
    if trials < 2:
        raise UsageError(f"trials must be at least 2, got {trials}")
    if gamma is not None or epsilon is not None:
        if fit is not None:
            raise UsageError("fit and gamma or epsilon each say what is fitted; give one of them")
        fit = {1: min(1.0, _limit(classes, gamma, epsilon, delta))}
    fit = dict(fit or {})
    for ell, chance in fit.items():
        _seen(n, ell, 1)
        if not 0 <= chance <= 1:
            raise UsageError(f"fit[{ell}] is a chance, got {chance}")
    if not 0 <= kept <= 1:
        raise UsageError(f"kept is a chance, got {kept}")
    if kept < 1 and set(fit) - {1}:
        raise UsageError("under label noise only singletons may be left unfitted: fit={1: ...}")
    taus = {ell: tau(prior, n, ell) for ell in fit}
    rng = np.random.default_rng(seed)
    out = np.empty((trials, 4))
    spectrum = np.zeros(5)
    for t in range(trials):
        alpha = prior.draw(rng)
        counts = rng.multinomial(n, alpha)
        out[t] = _trial(rng, alpha, counts, classes, fit, taus, kept)
        for ell in range(1, 6):
            spectrum[ell - 1] += (counts == ell).sum()
    error, excess, formula, least = out.T
    return Simulation(
        _mean(error), _mean(excess), _mean(formula), _mean(excess - formula), _mean(least),
        opt(prior, n, classes) if kept == 1 else None, {i + 1: float(x / trials) for i, x in enumerate(spectrum)}, trials,
    )  # fmt: skip


def _trial(
    rng: np.random.Generator,
    alpha: np.ndarray,
    counts: np.ndarray,
    classes: int,
    fit: Mapping[int, float],
    taus: Mapping[int, float],
    kept: float,
) -> tuple[float, float, float, float]:
    """Error, excess, formula and least error of one data set, over the types that matter."""
    label = rng.integers(classes, size=len(alpha))
    given = label
    if kept < 1:
        given = _majority(rng, label, counts, classes, kept)
    guess = rng.integers(classes, size=len(alpha))
    best = np.where(counts > 0, given, guess)
    predicted = best.copy()
    formula = 0.0
    for ell, chance in fit.items():
        there = np.flatnonzero(counts == ell)
        missed = there[rng.uniform(size=len(there)) >= chance]
        # another label than the given one, each equally likely
        predicted[missed] = (given[missed] + rng.integers(1, classes, len(missed))) % classes
        formula += taus[ell] * len(missed) * kept
    error = float(alpha[predicted != label].sum())
    return (
        error,
        error - float(alpha[best != label].sum()),
        formula,
        float(alpha[best != label].sum()),
    )


def _majority(
    rng: np.random.Generator, label: np.ndarray, counts: np.ndarray, classes: int, kept: float
) -> np.ndarray:
    """The commonest label among each type's noisy samples, ties by chance: ``[N]``."""
    owner = np.repeat(np.arange(len(label)), counts)
    noisy = np.where(rng.uniform(size=len(owner)) < kept, label[owner], rng.integers(classes, size=len(owner)))  # fmt: skip
    votes = np.zeros((len(label), classes))
    np.add.at(votes, (owner, noisy), 1)
    return (votes + 1e-3 * rng.uniform(size=votes.shape)).argmax(1)


def simulate_tau(
    prior: PriorLike, n: int, ell: int = 1, *, draws: int = 200_000, seed: int = 0
) -> Estimate:
    """tau_l by drawing frequencies and weighting each by the chance of its count.

    For any prior that can be normalised; the interval is the delta method's.
    """
    prior, n = as_prior(prior), _samples(n)
    ell = _seen(n, ell)
    if draws < 100:
        raise UsageError(f"draws must be at least 100, got {draws}")
    alpha = prior.sample(np.random.default_rng(seed), draws)
    with np.errstate(divide="ignore"):
        log_chance = ell * np.log(alpha) + (n - ell) * np.log1p(-alpha)
    chance = np.exp(log_chance - log_chance.max())
    value = float((alpha * chance).sum() / chance.sum())
    spread = math.sqrt(float((chance**2 * (alpha - value) ** 2).sum())) / float(chance.sum())
    return Estimate(value, value - 1.96 * spread, value + 1.96 * spread)
