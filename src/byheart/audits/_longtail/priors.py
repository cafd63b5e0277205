"""Laws of how often a subpopulation occurs, with the moments that the theory needs.

A prior is the marginal law of the frequency alpha = D(x) of one of N subpopulations. All quantities of
the theory are integrals over N times that law, so each prior gives

    log_moment(k, m) = log( N * E[alpha^k (1 - alpha)^m] ),      log_moment(1, 0) = 0.

The last holds because frequencies sum to one.
"""

from __future__ import annotations

import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from byheart.core.errors import UsageError

__all__ = [
    "Atoms",
    "Beta",
    "Dirichlet",
    "Drawn",
    "Frequencies",
    "LogUniform",
    "Pareto",
    "Prior",
    "Uniform",
    "Zipf",
    "as_prior",
]

_NEAR_ONE = 1e-9
"""How far from one a list of frequencies or weights may sum, which is what rounding leaves."""


class Prior(ABC):
    """Base of all priors. `types` is N, the number of subpopulations (a mean, so any real number)."""

    @property
    @abstractmethod
    def types(self) -> float:
        """N; infinite where the law has no least frequency."""

    @abstractmethod
    def log_moment(self, k: float, m: float) -> float:
        """log of N * E[alpha^k (1 - alpha)^m]; ``inf`` where the integral diverges."""

    @abstractmethod
    def weight(self, low: float, high: float) -> float:
        """Share of the data in subpopulations whose frequency lies in [low, high]."""

    def sample(self, rng: np.random.Generator, size: int) -> np.ndarray:
        """Independent draws of alpha: ``[size]``.

        Raises:
            UsageError: If the law cannot be normalised.
        """
        raise UsageError(f"{self!r} cannot be drawn from")

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        """One whole distribution D over all subpopulations: ``[N]``, sums to one.

        Raises:
            UsageError: If the prior says only how one frequency is distributed.
        """
        raise UsageError(
            f"{self!r} is the law of one frequency and does not say how all are drawn together; "
            "simulate with Zipf, Uniform, Frequencies, Dirichlet or Drawn"
        )


def _count(value: Any, name: str, least: int = 1) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise UsageError(f"{name} must be a whole number of at least {least}, got {value!r}")
    return int(value)


def _positive(value: Any, name: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not (math.isfinite(number) and number > 0):
        raise UsageError(f"{name} must be a positive number, got {value!r}")
    return number


def _simplex(values: Any, name: str) -> np.ndarray:
    """Checked weights: finite, none negative, summing to one.

    Raises:
        UsageError: With what is wrong and the sum that was seen.
    """
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise UsageError(f"{name} must be numbers: {error}") from error
    if array.ndim != 1 or not array.size:
        raise UsageError(f"{name} must be a list of numbers, got shape {array.shape}")
    if not np.isfinite(array).all():
        at = int(np.flatnonzero(~np.isfinite(array))[0])
        raise UsageError(f"{name} must be finite, got {array[at]} at position {at}")
    if (array < 0).any():
        at = int(np.flatnonzero(array < 0)[0])
        raise UsageError(f"{name} must not be negative, got {array[at]:g} at position {at}")
    total = math.fsum(array)
    if abs(total - 1) > _NEAR_ONE:
        raise UsageError(
            f"{name} must sum to one, got {total:.12g}; divide them by their sum if they are "
            "counts or unnormalised weights"
        )
    return array


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


def _log_sum(log_terms: np.ndarray) -> float:
    top = float(log_terms.max())
    return top if math.isinf(top) else top + math.log(math.fsum(np.exp(log_terms - top)))


class _Listed(Prior):
    """Frequencies with multiplicities; `_alpha` and `_many` are ``[V]``."""

    _alpha: np.ndarray
    _many: np.ndarray

    @property
    def types(self) -> float:
        return float(self._many.sum())

    def log_moment(self, k: float, m: float) -> float:
        some = (self._alpha > 0) & (self._many > 0)
        alpha, many = self._alpha[some], self._many[some]
        with np.errstate(divide="ignore", invalid="ignore"):
            rest = np.log1p(-alpha)
            terms = np.log(many) + k * np.log(alpha) + (m * rest if m else 0.0)
        if k == 0 and not some.all():  # types that never occur count where alpha^0 does
            never = float(self._many[~some].sum())
            terms = np.append(terms, math.log(never) if never else -math.inf)
        return _log_sum(terms)

    def weight(self, low: float, high: float) -> float:
        inside = (self._alpha >= low) & (self._alpha <= high)
        return math.fsum(self._alpha[inside] * self._many[inside])

    def sample(self, rng: np.random.Generator, size: int) -> np.ndarray:
        return rng.choice(self._alpha, size, p=self._many / self._many.sum())


class _Explicit(_Listed):
    """A list in which every frequency occurs once, so that D is the list itself."""

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        return self._alpha


@dataclass(frozen=True, repr=False)
class Frequencies(_Explicit):
    """An explicit list of frequencies, one a subpopulation.

    Args:
        alpha: ``[N]`` numbers that sum to one.

    Raises:
        UsageError: If they do not sum to one, or one is negative or no number.

    >>> Frequencies([.5, .25, .25]).types
    3.0
    """

    alpha: Sequence[float]

    def __post_init__(self) -> None:
        object.__setattr__(self, "_alpha", _simplex(self.alpha, "frequencies"))
        object.__setattr__(self, "_many", np.ones(len(self._alpha)))
        object.__setattr__(self, "alpha", tuple(self._alpha.tolist()))

    def __repr__(self) -> str:
        shown = ", ".join(f"{a:g}" for a in self.alpha[:3])
        return f"Frequencies([{shown}{', ...' if len(self.alpha) > 3 else ''}])"


@dataclass(frozen=True)
class Zipf(_Explicit):
    """The list alpha_i proportional to i^-exponent, i = 1..n_types.

    Args:
        n_types: Number of subpopulations N.
        exponent: 1 is Zipf's law (paper, section 2).
    """

    n_types: int
    exponent: float = 1.0

    def __post_init__(self) -> None:
        _count(self.n_types, "n_types")
        if not math.isfinite(self.exponent) or self.exponent < 0:
            raise UsageError(f"exponent must be 0 or more, got {self.exponent}")
        rank = np.arange(1, self.n_types + 1, dtype=np.float64)
        share = rank**-self.exponent
        object.__setattr__(self, "_alpha", share / math.fsum(share))
        object.__setattr__(self, "_many", np.ones(self.n_types))


@dataclass(frozen=True)
class Uniform(_Explicit):
    """All subpopulations equally frequent: no tail. tau is 1/N whatever the count."""

    n_types: int

    def __post_init__(self) -> None:
        n = _count(self.n_types, "n_types")
        object.__setattr__(self, "_alpha", np.full(n, 1 / n))
        object.__setattr__(self, "_many", np.ones(n))


@dataclass(frozen=True)
class Atoms(_Listed):
    """A law of alpha on finitely many values.

    Args:
        values: Frequencies in (0, 1].
        weights: Their probabilities; they sum to one.

    tau_l of two atoms u, v with weights q, 1 - q is
    [q u^(l+1) (1-u)^(n-l) + (1-q) v^(l+1) (1-v)^(n-l)] / [the same with l for l+1].

    Raises:
        UsageError: Weights that do not sum to one, or values outside (0, 1].
    """

    values: Sequence[float]
    weights: Sequence[float]

    def __post_init__(self) -> None:
        weights = _simplex(self.weights, "weights of the atoms")
        values = np.asarray(self.values, dtype=np.float64)
        if values.shape != weights.shape:
            raise UsageError(f"{len(values)} atoms need as many weights, got {len(weights)}")
        if not ((values > 0) & (values <= 1)).all():
            raise UsageError(f"atoms are frequencies in (0, 1], got {list(self.values)}")
        object.__setattr__(self, "_alpha", values)
        # N law's mean must be one, or frequencies would not sum to one on average
        object.__setattr__(self, "_many", weights / math.fsum(values * weights))


@dataclass(frozen=True)
class Beta(Prior):
    """alpha drawn from Beta(a, b). tau_l = (a + l) / (a + b + n)."""

    a: float
    b: float

    def __post_init__(self) -> None:
        _positive(self.a, "a")
        _positive(self.b, "b")

    @property
    def types(self) -> float:
        return (self.a + self.b) / self.a

    def log_moment(self, k: float, m: float) -> float:
        if self.a + k <= 0 or self.b + m <= 0:
            return math.inf
        moment = _log_beta(self.a + k, self.b + m) - _log_beta(self.a, self.b)
        return math.log(self.types) + moment

    def weight(self, low: float, high: float) -> float:
        from scipy.special import betainc

        low, high = max(low, 0.0), min(high, 1.0)
        if low >= high:
            return 0.0
        return float(betainc(self.a + 1, self.b, high) - betainc(self.a + 1, self.b, low))

    def sample(self, rng: np.random.Generator, size: int) -> np.ndarray:
        return rng.beta(self.a, self.b, size)


@dataclass(frozen=True)
class Dirichlet(Prior):
    """All frequencies together from a symmetric Dirichlet(a) over N subpopulations.

    The same as N independent Gamma(a) numbers, normalised. tau_l = (a + l) / (N a + n), for every
    sample and not only on average.

    Args:
        a: Concentration; small means a long tail.
        n_types: N, at least 2.
    """

    a: float
    n_types: int

    def __post_init__(self) -> None:
        _positive(self.a, "a")
        _count(self.n_types, "n_types", 2)

    @cached_property
    def _marginal(self) -> Beta:
        return Beta(self.a, (self.n_types - 1) * self.a)

    @property
    def types(self) -> float:
        return float(self.n_types)

    def log_moment(self, k: float, m: float) -> float:
        return self._marginal.log_moment(k, m)

    def weight(self, low: float, high: float) -> float:
        return self._marginal.weight(low, high)

    def sample(self, rng: np.random.Generator, size: int) -> np.ndarray:
        return self._marginal.sample(rng, size)

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        # log-gammas, since a small concentration underflows: G(a) = G(a + 1) * U^(1/a)
        logs = (
            np.log(rng.gamma(self.a + 1, size=self.n_types))
            + np.log(rng.uniform(size=self.n_types)) / self.a
        )
        share = np.exp(logs - logs.max())
        return share / share.sum()


@dataclass(frozen=True)
class Pareto(Prior):
    """alpha with density proportional to alpha^-s on [low, 1].

    Zipf's list of exponent b behaves like s = 1 + 1/b with low = 1/(N H_N) for b = 1.

    Args:
        s: Exponent of the density.
        low: Least frequency, in (0, 1).
    """

    s: float
    low: float

    def __post_init__(self) -> None:
        if not math.isfinite(self.s):
            raise UsageError(f"s must be a number, got {self.s}")
        if not 0 < self.low < 1:
            raise UsageError(f"low is the least frequency, in (0, 1), got {self.low}")

    def _integral(self, k: float, m: float, low: float, high: float) -> float:
        """log of the integral of alpha^(k-s) (1-alpha)^m over [low, high]."""
        return _log_integral(k - self.s, m, low, high)

    @cached_property
    def _mean(self) -> float:
        return self._integral(1, 0, self.low, 1)

    @property
    def types(self) -> float:
        return math.exp(self._integral(0, 0, self.low, 1) - self._mean)

    def log_moment(self, k: float, m: float) -> float:
        return self._integral(k, m, self.low, 1) - self._mean

    def weight(self, low: float, high: float) -> float:
        low, high = max(low, self.low), min(high, 1.0)
        return math.exp(self._integral(1, 0, low, high) - self._mean) if low < high else 0.0

    def sample(self, rng: np.random.Generator, size: int) -> np.ndarray:
        u = rng.uniform(size=size)
        if self.s == 1:
            return self.low ** (1 - u)
        p = 1 - self.s
        return (self.low**p + u * (1 - self.low**p)) ** (1 / p)


@dataclass(frozen=True)
class LogUniform(Prior):
    """alpha with density proportional to 1/alpha on (low, 1]. With low = 0, tau_l = l / (n + 1).

    Args:
        low: Least frequency; 0 (default) has infinitely many subpopulations, of which all
            quantities but their number are finite.
    """

    low: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.low < 1:
            raise UsageError(f"low is the least frequency, in [0, 1), got {self.low}")

    @property
    def types(self) -> float:
        return math.inf if self.low == 0 else -math.log(self.low) / (1 - self.low)

    def log_moment(self, k: float, m: float) -> float:
        if self.low == 0:
            return _log_beta(k, m + 1) if k > 0 else math.inf
        return _log_integral(k - 1, m, self.low, 1) - math.log1p(-self.low)

    def weight(self, low: float, high: float) -> float:
        low, high = max(low, self.low), min(high, 1.0)
        return max(0.0, high - low) / (1 - self.low)

    def sample(self, rng: np.random.Generator, size: int) -> np.ndarray:
        if self.low == 0:
            raise UsageError("a log-uniform law down to 0 cannot be normalised; give it low > 0")
        return self.low ** rng.uniform(size=size)


@dataclass(frozen=True)
class Drawn(Prior):
    """Each subpopulation draws a weight from a law of its own; frequencies are weights by their sum.

    This is the model of the paper's section 2: p_x independent from pi, D(x) = p_x / sum p. The
    marginal law of D(x) is exact where the weights can be enumerated, and else averaged over draws.

    Args:
        values: Possible weights p, positive.
        n_types: N.
        weights: Probabilities of `values`; equal if left out. They sum to one.
        draws: Distributions that are drawn where enumerating takes more than 20,000 of them.
        seed: Of the draws.
    """

    values: Sequence[float]
    n_types: int
    weights: Sequence[float] | None = None
    draws: int = 200
    seed: int = 0
    _values: np.ndarray = field(init=False, repr=False, compare=False)
    _probability: np.ndarray = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        values = np.asarray(self.values, dtype=np.float64)
        if values.ndim != 1 or not len(values) or not (np.isfinite(values) & (values > 0)).all():
            raise UsageError(f"values must be a list of positive numbers, got {self.values!r:.80}")
        _count(self.n_types, "n_types")
        _count(self.draws, "draws")
        weights = np.full(len(values), 1 / len(values)) if self.weights is None else self.weights
        object.__setattr__(self, "_probability", _simplex(weights, "weights of the values"))
        if len(self._probability) != len(values):
            raise UsageError(f"{len(values)} values need as many weights, got {len(weights)}")
        object.__setattr__(self, "_values", values)

    @cached_property
    def _law(self) -> _Listed:
        law = _Listed.__new__(_Listed)  # type: ignore[abstract]
        alpha, many = self._enumerated() if self.exact else self._averaged()
        law._alpha, law._many = alpha, many
        return law

    @property
    def exact(self) -> bool:
        """Whether the marginal law is enumerated."""
        v = int((self._probability > 0).sum())
        return math.comb(self.n_types + v - 1, v - 1) <= 20_000

    def _enumerated(self) -> tuple[np.ndarray, np.ndarray]:
        some = self._probability > 0
        values, logp = self._values[some], np.log(self._probability[some])
        alpha, many = [], []
        for counts in _compositions(self.n_types, len(values)):
            log_chance = math.lgamma(self.n_types + 1) + sum(
                c * lp - math.lgamma(c + 1) for c, lp in zip(counts, logp, strict=True)
            )
            total = float(np.dot(counts, values))
            for c, v in zip(counts, values, strict=True):
                if c:
                    alpha.append(v / total)
                    many.append(c * math.exp(log_chance))
        return np.array(alpha), np.array(many)

    def _averaged(self) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng(self.seed)
        alpha = np.concatenate([self.draw(rng) for _ in range(self.draws)])
        return alpha, np.full(len(alpha), 1 / self.draws)

    @property
    def types(self) -> float:
        return float(self.n_types)

    def log_moment(self, k: float, m: float) -> float:
        return self._law.log_moment(k, m)

    def weight(self, low: float, high: float) -> float:
        return self._law.weight(low, high)

    def sample(self, rng: np.random.Generator, size: int) -> np.ndarray:
        return self._law.sample(rng, size)

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        p = rng.choice(self._values, self.n_types, p=self._probability)
        return p / p.sum()


def _compositions(total: int, parts: int) -> list[tuple[int, ...]]:
    """All ways to write `total` as an ordered sum of `parts` numbers from 0."""
    if parts == 1:
        return [(total,)]
    return [(i, *rest) for i in range(total + 1) for rest in _compositions(total - i, parts - 1)]


def _log_integral(power: float, m: float, low: float, high: float) -> float:
    """log of the integral of a^power (1-a)^m da over [low, high], 0 < low < high <= 1.

    Gauss-Legendre over panels in log a below 1/2 and in log(1-a) above it, where the integrand is
    smooth; panels are centred on the integrand's peak, so that m of a million is no trouble.
    """
    nodes, weights = np.polynomial.legendre.leggauss(64)
    edges: list[float] = []
    middle = min(max(0.5, low), high)
    spread = 1 / max(m, 1.0)
    if low < middle:
        scale = np.log(np.array([low, middle]))
        rise = max(power + 1, 1e-300)
        peak = math.log(max(rise / (rise + m), 1e-300))
        width = 1 / math.sqrt(max(rise, 1.0))  # of a gamma density in log a
        steps = np.array([-16, -8, -4, -2, -1, 0, 1, 2, 4, 8, 16])
        grid = np.concatenate([np.linspace(scale[0], scale[1], 33), peak + width * steps])
        edges = sorted(set(np.clip(grid, scale[0], scale[1]).tolist()))
    logs = []
    for a, b in itertools.pairwise(edges):
        t = (a + b) / 2 + (b - a) / 2 * nodes
        value = (power + 1) * t + m * np.log1p(-np.exp(t)) if m else (power + 1) * t
        logs.append(_log_sum(value + np.log(weights * (b - a) / 2)))
    if middle < high:
        # s = 1 - a from 1 - high to 1 - middle
        least = 1 - high
        cuts = np.geomspace(min(spread, 0.5) * 1e-3, 1 - middle, 33)
        marks = sorted({least, *[float(c) for c in cuts if least < c <= 1 - middle], 1 - middle})
        for a, b in itertools.pairwise(marks):
            s = (a + b) / 2 + (b - a) / 2 * nodes
            value = power * np.log1p(-s) + m * np.log(s)
            logs.append(_log_sum(value + np.log(weights * (b - a) / 2)))
    return _log_sum(np.array(logs))


_FORMS = "zipf:N[:EXPONENT], uniform:N, dirichlet:A:N, beta:A:B, pareto:S:LOW, loguniform[:LOW]"


def as_prior(spec: Prior | Sequence[float] | Mapping[Any, float] | str) -> Prior:
    """A prior from itself, a list of frequencies, or a text such as ``"zipf:50000"``.

    Raises:
        UsageError: If it is none of them; with the forms that are known.

    >>> as_prior("zipf:100:0.5")
    Zipf(n_types=100, exponent=0.5)
    """
    if isinstance(spec, Prior):
        return spec
    if isinstance(spec, Mapping):
        return Frequencies(list(spec.values()))
    if not isinstance(spec, str):
        return Frequencies(spec)
    name, *rest = spec.strip().lower().split(":")
    makers: dict[str, tuple[type[Prior], list[type]]] = {
        "zipf": (Zipf, [int, float]),
        "uniform": (Uniform, [int]),
        "dirichlet": (Dirichlet, [float, int]),
        "beta": (Beta, [float, float]),
        "pareto": (Pareto, [float, float]),
        "loguniform": (LogUniform, [float]),
    }
    if name not in makers or len(rest) > len(makers[name][1]):
        raise UsageError(f"no such prior: {spec!r}; known: {_FORMS}")
    cls, kinds = makers[name]
    try:
        return cls(*[kind(text) for kind, text in zip(kinds, rest, strict=False)])
    except (TypeError, ValueError) as error:
        if isinstance(error, UsageError):
            raise
        raise UsageError(f"cannot read the prior {spec!r}: {error}; known: {_FORMS}") from error
