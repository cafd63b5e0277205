"""The tail's theory: published and closed values, Monte Carlo, properties, bad input."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import exp1

from byheart.audits import long_tail as lt
from byheart.core.errors import DataError, UsageError

ROWS = [  # N, n, n tau_1, opt, cost at gamma = 1/2, of the sheet
    (50_000, 50_000, 0.47168, 0.1534, None),
    (5000, 50_000, 1.78909, 0.0185, 0.0146),
    (5000, 10_000, 0.70047, 0.1134, 0.0353),
    (25_000, 50_000, 0.64874, 0.1076, 0.0310),
    (1000, 1000, 0.55881, None, None),
    (100, 100, 0.65483, None, None),
]


@pytest.mark.parametrize(("types", "n", "scaled", "best", "cost"), ROWS)
def test_zipf_gives_the_published_numbers(types, n, scaled, best, cost):
    prior = lt.Zipf(types)
    assert lt.tau(prior, n) * n == pytest.approx(scaled, abs=6e-6)
    if best is not None:
        assert lt.opt(prior, n, 10) == pytest.approx(best, abs=1.5e-4)
    if cost is not None:
        assert lt.unfit_cost(prior, n, 10, gamma=0.5) == pytest.approx(cost, abs=6e-5)
        private = lt.unfit_cost(prior, n, 10, epsilon=math.log(6))
        assert private == pytest.approx(lt.unfit_cost(prior, n, 10, gamma=0.5))


def test_zipf_beside_its_limit_and_its_exponents():
    n = types = 50_000
    prior = lt.Zipf(types)
    rare = n / (types * math.fsum(1 / i for i in range(1, types + 1)))
    assert lt.tau(prior, n) * n == pytest.approx(math.exp(-rare) / exp1(rare), rel=1e-4)
    assert lt.tau(prior, n, 2) * n == pytest.approx(1 + rare, rel=1e-4)
    assert lt.tau(prior, n, 3) * n == pytest.approx(2.007, abs=5e-4)
    assert lt.tau(prior, n, 5) * n == pytest.approx(4.0, abs=5e-4)
    assert lt.unfit_cost(prior, n, 10) == pytest.approx(0.0724, abs=1e-4)
    for exponent, value in ((0.5, 0.8617), (0.75, 0.6781), (1, 0.5006), (1.5, 0.4040), (2, 0.5044)):
        assert lt.tau(lt.Zipf(10_000, exponent), 10_000) * 10_000 == pytest.approx(value, abs=5e-5)


@given(st.floats(0.05, 5), st.floats(0.05, 50), st.integers(1, 400), st.data())
def test_beta_dirichlet_uniform_and_log_uniform_in_closed_form(a, b, n, data):
    ell = data.draw(st.integers(0, n))
    assert lt.tau(lt.Beta(a, b), n, ell) == pytest.approx((a + ell) / (a + b + n), rel=1e-8)
    dirichlet = lt.Dirichlet(a, 17)
    assert lt.tau(dirichlet, n, ell) == pytest.approx((a + ell) / (17 * a + n), rel=1e-8)
    assert lt.tau(lt.Uniform(40), n, ell) == pytest.approx(1 / 40, rel=1e-8)
    assert lt.tau(lt.LogUniform(), n, ell) == pytest.approx(ell / (n + 1), rel=1e-8)


@given(st.floats(1e-4, 0.4), st.floats(0.01, 0.9), st.floats(0.05, 0.95), st.integers(2, 60))
def test_two_atoms_in_closed_form_and_counts_tilt_upwards(u, v, q, n):
    prior = lt.Atoms([u, v], [q, 1 - q])
    assert prior.log_moment(1, 0) == pytest.approx(0, abs=1e-9)
    found = [lt.tau(prior, n, ell) for ell in range(1, n)]
    for ell, value in enumerate(found, 1):
        top, low = (
            q * u ** (ell + d) * (1 - u) ** (n - ell)
            + (1 - q) * v ** (ell + d) * (1 - v) ** (n - ell)
            for d in (1, 0)
        )
        assert value == pytest.approx(top / low, rel=1e-6)
    assert all(b >= a * (1 - 1e-9) for a, b in itertools.pairwise(found))


@pytest.mark.parametrize("s", [1.5, 2.0, 2.5])
def test_pareto_beside_incomplete_gammas(s):
    n, rare = 50_000, 0.08774
    from scipy.integrate import quad

    def upper(k):
        return quad(lambda x: x ** (k - 1) * math.exp(-x), rare, np.inf, epsabs=0)[0]

    for ell in (1, 2, 5):
        expected = upper(ell + 2 - s) / upper(ell + 1 - s)
        assert n * lt.tau(lt.Pareto(s, rare / n), n, ell) == pytest.approx(expected, rel=2e-4)


def test_drawn_weights_are_enumerated_and_averaged():
    exact = lt.Drawn([1, 10], 3)
    assert exact.exact
    assert lt.tau(exact, 3) == pytest.approx(0.335365, abs=1e-6)
    # given the counts (1, 1, 1) it is 1/3: the theorem holds on average over samples, not for each
    assert lt.tau(exact, 3) != pytest.approx(1 / 3, abs=1e-3)
    by_rank = (1 / np.arange(1, 1001)).tolist()
    averaged = lt.Drawn(by_rank, 1000, draws=100)
    assert not averaged.exact
    assert lt.tau(averaged, 1000) * 1000 == pytest.approx(0.5588, rel=0.03)


@pytest.mark.parametrize(
    "prior", [lt.Zipf(300), lt.Dirichlet(0.2, 50), lt.Beta(0.4, 30), lt.Pareto(2, 1e-3), lt.LogUniform(1e-3)]
)  # fmt: skip
def test_good_turing_is_exact_and_masses_sum_to_one(prior):
    n = 120
    for ell in (1, 2, 5):
        turned = (ell + 1) * lt.expected_types(prior, n + 1, ell + 1)
        assert lt.tau(prior, n, ell) == pytest.approx(
            turned / ((n + 1) * lt.expected_types(prior, n, ell)), rel=1e-8
        )
    assert math.fsum(lt.seen_mass(prior, n, ell) for ell in range(n + 1)) == pytest.approx(1)
    counted = math.fsum(ell * lt.expected_types(prior, n, ell) for ell in range(n + 1))
    assert counted == pytest.approx(n)
    assert lt.weight(prior, 0, 1) == pytest.approx(1)
    sampled = lt.simulate_tau(prior, n, 1, seed=3)
    assert sampled.low * 0.99 <= lt.tau(prior, n) <= sampled.high * 1.01


def test_good_turing_from_counts_finds_the_tail():
    rng = np.random.default_rng(0)
    prior, n = lt.Zipf(20_000), 20_000
    counts = rng.multinomial(n, prior.draw(rng))
    found = lt.good_turing(counts)
    assert abs(found.unseen - lt.unseen_mass(prior, n)) < 4 * found.unseen_se
    assert abs(found.tau - lt.tau(prior, n)) < 4 * found.tau_se
    assert abs(found.tau_of(3) - lt.tau(prior, n, 3)) < 0.2 * lt.tau(prior, n, 3)
    told = lt.forecast(counts, 10, gamma=0.5)
    assert told.cost == pytest.approx(lt.unfit_cost(prior, n, 10, gamma=0.5), rel=0.1)
    assert math.isnan(lt.good_turing([3, 4]).tau)


@pytest.mark.parametrize(
    "how", [{"gamma": 0.0}, {"gamma": 0.4}, {"epsilon": 1.0}, {"fit": {1: 0.1, 2: 0.3}}, {"fit": {1: 0.1}, "kept": 0.6}]
)  # fmt: skip
def test_simulated_learners_pay_what_is_forecast(how):
    run = lt.simulate(lt.Zipf(800), 800, 10, trials=300, seed=1, **how)
    assert run.difference.low - 3e-4 < 0 < run.difference.high + 3e-4
    assert run.excess.value > 0.02
    if "kept" not in how:
        assert run.opt_exact == pytest.approx(run.opt.value, abs=0.003)
    if "fit" not in how:
        assert lt.unfit_cost(lt.Zipf(800), 800, 10, **how) == pytest.approx(run.excess.value, abs=0.003)  # fmt: skip
    if "kept" in how:
        conf = lt.label_confidence(0.6, 10)
        # the mass of singletons, of which nine in ten are not fitted
        priced = lt.noise_cost(lt.Zipf(800), 800, conf, misfit=0.9)
        assert priced == pytest.approx(run.formula.value, abs=0.003)


def test_a_learner_that_fits_all_pays_nothing():
    assert lt.simulate(lt.Zipf(300), 300, 5, trials=20).excess.value == 0


def test_coupling_scales_the_sum_and_bounds_hold():
    prior, n = lt.Zipf(400), 2000
    singles = lt.expected_types(prior, n)
    whole = lt.excess_error(prior, n, {1: singles * 0.9})
    assert whole == pytest.approx(lt.unfit_cost(prior, n, 10))
    assert lt.excess_error(prior, n, {1: singles * 0.9}, coupling={1: 0.887}) == pytest.approx(0.887 * whole)  # fmt: skip
    assert lt.excess_error(prior, n, {2: 5.0}, coupling={1: 1.0}) == 0
    for some in (prior, lt.Zipf(50_000), lt.Beta(0.3, 90)):
        assert lt.tau(some, n) >= lt.tau_lower_bound(some, n) > 0
    # half of the data in types far below 1/n, half in one type: no tail between
    steep = lt.Frequencies([0.5, *[0.5 / 1_000_000] * 1_000_000])
    assert lt.tau(steep, 1000) <= lt.no_tail_bound(steep, 1000, 5e-7)
    assert lt.no_tail_bound(lt.Zipf(1000), 1000, 1e-4) is None


def test_scarce_and_diverse_groups_pay_more():
    scarce = lt.disparate_cost({"a": (lt.Zipf(5000), 5 / 6), "b": (lt.Zipf(5000), 1 / 6)}, 60_000, 10, gamma=0.5)  # fmt: skip
    assert (scarce["a"].n, scarce["b"].n) == (50_000, 10_000)
    assert scarce["b"].ratio == pytest.approx(2.41, abs=0.01)
    assert scarce["a"].ratio == 1
    diverse = lt.disparate_cost({"a": ("zipf:5000", 0.5), "b": ("zipf:25000", 0.5)}, 100_000, 10, gamma=0.5)  # fmt: skip
    assert diverse["b"].ratio == pytest.approx(2.12, abs=0.01)


def test_privacy_of_copies_costs_more_than_of_singletons():
    one = lt.unfit_cost(lt.Zipf(500), 1000, 10, epsilon=0.5)
    two = lt.unfit_cost(lt.Zipf(500), 1000, 10, epsilon=0.5, copies=2)
    factor = 1 - math.exp(1.0) / 10
    assert two - one == pytest.approx(factor * lt.seen_mass(lt.Zipf(500), 1000, 2))
    assert lt.unfit_cost(lt.Zipf(500), 1000, 10, epsilon=5.0) == 0


BAD = [
    (lambda: lt.Frequencies([0.5, 0.4]), "sum to one, got 0.9"),
    (lambda: lt.Atoms([0.1, 0.2], [0.5, 0.6]), "sum to one, got 1.1"),
    (lambda: lt.Drawn([1, 2], 3, weights=[0.5, 0.2]), "sum to one, got 0.7"),
    (lambda: lt.Frequencies([1.5, -0.5]), "negative"),
    (lambda: lt.Frequencies([math.nan, 1]), "finite"),
    (lambda: lt.Zipf(0), "n_types"),
    (lambda: lt.Beta(0, 1), "positive"),
    (lambda: lt.Pareto(2, 0), "least frequency"),
    (lambda: lt.tau(lt.Zipf(5), 10, 11), "ell"),
    (lambda: lt.tau("zip:5", 10), "no such prior"),
    (lambda: lt.tau("zipf:many", 10), "cannot read"),
    (lambda: lt.tau(lt.Frequencies([1.0]), 5, 2), "no chance"),
    (lambda: lt.unfit_cost(lt.Zipf(5), 10, 1), "classes"),
    (lambda: lt.unfit_cost(lt.Zipf(5), 10, 5, gamma=0.1, epsilon=1), "give one"),
    (lambda: lt.unfit_cost(lt.Zipf(5), 10, 5, delta=0.1), "delta belongs"),
    (lambda: lt.unfit_cost(lt.Zipf(5), 10, 5, gamma=2), "gamma"),
    (lambda: lt.disparate_cost({"a": (lt.Zipf(5), 0.5)}, 10, 5), "sum to one, got 0.5"),
    (lambda: lt.excess_error(lt.Zipf(5), 10, {1: 1.0}, coupling=1.5), "coupling"),
    (lambda: lt.simulate(lt.Beta(1, 2), 10, 5), "law of one frequency"),
    (lambda: lt.good_turing([1.5]), "whole numbers"),
    (lambda: lt.good_turing({"a": 0}), "no type"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "said"), BAD, ids=[s for _, s in BAD])
def test_bad_input_is_refused(call, said):
    with pytest.raises((UsageError, DataError), match=said):
        call()
