"""Statistics against scipy, statsmodels and scikit-learn, then coverage and level by simulation."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as sps
from sklearn.metrics import roc_auc_score
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import confint_proportions_2indep, proportion_confint

from byheart.core.errors import UsageError
from byheart.core.stats import (
    auc,
    auc_difference,
    auc_interval,
    auc_test,
    bootstrap,
    contrast,
    holm,
    newcombe,
    paired_bootstrap,
    permutation_paired,
    permutation_two_sample,
    tpr_at_fpr,
    two_sample_bootstrap,
    wilson,
)

RUNS = 300


def _at_most(rate: float, runs: int) -> float:
    """The count that a rate exceeds with probability 0.1 %, as a share of the runs."""
    return sps.binom.ppf(0.999, runs, rate) / runs


# against other libraries --------------------------------------------------------------------------


@pytest.mark.parametrize(("k", "n"), [(0, 30), (1, 30), (17, 30), (30, 30), (3, 1000)])
@pytest.mark.parametrize("level", [0.8, 0.95, 0.99])
def test_wilson_is_that_of_statsmodels(k: int, n: int, level: float) -> None:
    expected = proportion_confint(k, n, alpha=1 - level, method="wilson")
    found = wilson(k, n, level)
    assert (found.low, found.high) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    "counts", [(12, 30, 3, 25), (0, 30, 5, 30), (30, 30, 0, 30), (7, 9, 6, 80)]
)
def test_newcombe_is_that_of_statsmodels(counts: tuple[int, int, int, int]) -> None:
    expected = confint_proportions_2indep(*counts, method="newcomb", compare="diff")
    found = newcombe(*counts)
    assert (found.low, found.high) == pytest.approx(expected, abs=1e-9)


def test_newcombe_published_example() -> None:
    """Newcombe (1998), table II, example (a), method 10: 56/70 - 48/80, 0.0524 to 0.3339."""
    found = newcombe(56, 70, 48, 80)
    assert (found.low, found.high) == pytest.approx((0.0524, 0.3339), abs=1e-4)


def test_paired_proportions_by_the_formula() -> None:
    """With uncorrelated answers the paired interval is that of independent arms."""
    seen = np.array([1, 1, 0, 0] * 5)
    fresh = np.array([1, 0, 1, 0] * 5)
    paired = contrast(seen, fresh, paired=True).gap
    independent = newcombe(10, 20, 10, 20)
    assert (paired.low, paired.high) == pytest.approx((independent.low, independent.high))


@pytest.mark.parametrize("draw", ["normal", "lognormal", "exponential"])
def test_bootstrap_is_bca_of_scipy(draw: str) -> None:
    x = getattr(np.random.default_rng(3), draw)(size=40)
    expected = sps.bootstrap(
        (x,), np.mean, method="BCa", n_resamples=9999, rng=np.random.default_rng(0)
    ).confidence_interval
    found = bootstrap(x, n_boot=9999)
    width = expected.high - expected.low
    assert found.value == pytest.approx(x.mean())
    assert abs(found.low - expected.low) < 0.05 * width
    assert abs(found.high - expected.high) < 0.05 * width


def test_two_sample_bootstrap_is_bca_of_scipy() -> None:
    rng = np.random.default_rng(4)
    x, y = rng.lognormal(size=35), rng.lognormal(0.3, size=50)
    expected = sps.bootstrap(
        (x, y),
        lambda a, b, axis=-1: a.mean(axis) - b.mean(axis),
        method="BCa",
        n_resamples=9999,
        rng=np.random.default_rng(0),
    ).confidence_interval
    found = two_sample_bootstrap(x, y, n_boot=9999)
    width = expected.high - expected.low
    assert abs(found.low - expected.low) < 0.05 * width
    assert abs(found.high - expected.high) < 0.05 * width


def test_blocks_of_one_value_are_no_blocks() -> None:
    x = np.random.default_rng(5).normal(size=25)
    plain, blocked = bootstrap(x), bootstrap(x, blocks=range(25))
    assert (plain.low, plain.high) == pytest.approx((blocked.low, blocked.high))


def test_blocks_widen_the_interval_of_copied_values() -> None:
    """Eight copies of each value carry no more than one: the interval must not shrink."""
    x = np.random.default_rng(6).normal(size=20)
    single = bootstrap(x)
    copied = bootstrap(np.repeat(x, 8), blocks=np.repeat(np.arange(20), 8))
    naive = bootstrap(np.repeat(x, 8))
    assert (copied.low, copied.high) == pytest.approx((single.low, single.high))
    assert naive.high - naive.low < 0.5 * (copied.high - copied.low)


def test_holm_is_that_of_statsmodels() -> None:
    p = np.random.default_rng(0).random(20) ** 3
    np.testing.assert_allclose(holm(list(p)), multipletests(p, method="holm")[1])


def test_holm_passes_none_over() -> None:
    assert holm([None, 0.02, None, 0.5]) == [None, 0.04, None, 0.5]
    assert holm([]) == []


@pytest.mark.parametrize("digits", [12, 1, 0])
def test_auc_is_that_of_sklearn(digits: int) -> None:
    rng = np.random.default_rng(1)
    a, b = rng.normal(0.5, 1, 37).round(digits), rng.normal(0, 1, 53).round(digits)
    expected = roc_auc_score(np.r_[np.ones(37), np.zeros(53)], np.r_[a, b])
    assert auc(a, b) == pytest.approx(expected)


@pytest.mark.parametrize("n", [5, 40])
def test_auc_test_is_mann_whitney(n: int) -> None:
    rng = np.random.default_rng(2)
    a, b = rng.normal(0.5, 1, n), rng.normal(0, 1, n)
    assert auc_test(a, b) == sps.mannwhitneyu(a, b, alternative="greater").pvalue
    assert auc_test([1, 1], [1, 1, 1]) == 1.0


@pytest.mark.parametrize("alternative", ["greater", "less", "two-sided"])
def test_paired_permutation_is_exact_for_few_pairs(alternative: str) -> None:
    rng = np.random.default_rng(7)
    a, b = rng.normal(0.4, 1, 9), rng.normal(0, 1, 9)
    d = a - b
    sums = np.array([np.dot(s, d) for s in itertools.product((1, -1), repeat=9)])
    share = {
        "greater": np.mean(sums >= d.sum() - 1e-12),
        "less": np.mean(sums <= d.sum() + 1e-12),
        "two-sided": np.mean(np.abs(sums) >= abs(d.sum()) - 1e-12),
    }[alternative]
    assert permutation_paired(a, b, alternative=alternative) == pytest.approx(share)


@pytest.mark.parametrize("paired", [True, False])
def test_permutation_is_that_of_scipy(paired: bool) -> None:
    rng = np.random.default_rng(8)
    a, b = rng.normal(0.5, 1, 30), rng.normal(0, 1, 30)
    expected = sps.permutation_test(
        (a, b),
        lambda x, y, axis=-1: x.mean(axis) - y.mean(axis),
        permutation_type="samples" if paired else "independent",
        alternative="greater",
        n_resamples=9999,
        vectorized=True,
        rng=np.random.default_rng(0),
    ).pvalue
    test = permutation_paired if paired else permutation_two_sample
    assert test(a, b, n_perm=9999) == pytest.approx(expected, abs=4 * np.sqrt(0.05 / 9999) + 0.002)


def test_small_two_sample_permutation_is_exact() -> None:
    """Of the C(6,3) = 20 splits only the observed one is as extreme."""
    assert permutation_two_sample([4, 5, 6], [1, 2, 3]) == pytest.approx(1 / 20)
    assert permutation_two_sample([4, 5, 6], [1, 2, 3], alternative="less") == 1.0


def test_blocks_flip_together() -> None:
    """Three blocks: the smallest p is 1/8, however many pairs each holds."""
    assert permutation_paired(
        np.ones(30), np.zeros(30), blocks=np.repeat([0, 1, 2], 10)
    ) == pytest.approx(1 / 8)
    blocks = (np.repeat([0, 1, 2], 10), np.repeat([3, 4, 5], 10))
    assert permutation_two_sample(np.ones(30), np.zeros(30), blocks=blocks) == pytest.approx(1 / 20)


def test_auc_interval_is_delong() -> None:
    """DeLong's variance by the double loop over pairs."""
    rng = np.random.default_rng(9)
    a, b = rng.normal(0.7, 1, 40), rng.normal(0, 1, 30)
    kernel = (a[:, None] > b) + 0.5 * (a[:, None] == b)
    var = kernel.mean(1).var(ddof=1) / 40 + kernel.mean(0).var(ddof=1) / 30
    value = kernel.mean()
    half = 1.959964 * np.sqrt(var) / (value * (1 - value))
    centre = np.log(value / (1 - value))
    found = auc_interval(a, b)
    assert found.value == pytest.approx(value)
    assert found.low == pytest.approx(1 / (1 + np.exp(half - centre)), abs=1e-6)
    assert found.high == pytest.approx(1 / (1 + np.exp(-half - centre)), abs=1e-6)


def test_tpr_at_fpr_by_hand() -> None:
    fresh = np.arange(100.0)
    seen = np.array([98.5, 99.5, 10.0, 200.0])
    assert tpr_at_fpr(seen, fresh, 0.01).value == 0.75  # one fresh item above 98: threshold 98
    assert tpr_at_fpr(seen, fresh, 0.0).value == 0.5  # none: threshold 99
    assert tpr_at_fpr([1, 2], [1, 1], 0.5).value == 0.5  # ties are no true positives


# coverage and level by simulation -----------------------------------------------------------------


@pytest.mark.parametrize(("draw", "floor"), [("normal", 0.90), ("lognormal", 0.86)])
def test_bootstrap_covers(draw: str, floor: float) -> None:
    """Of 30 values; over 5,000 runs the shares are 0.933 and 0.882 (scipy's BCa: 0.87)."""
    runs = 1500  # at 300 the second share strays below its floor one time in eight
    truth = {"normal": 0.0, "lognormal": np.exp(0.5)}[draw]
    rng = np.random.default_rng(10)
    hits = 0
    for _ in range(runs):
        found = bootstrap(getattr(rng, draw)(size=30), n_boot=500)
        hits += found.low <= truth <= found.high
    assert floor <= hits / runs <= 0.99


def test_two_sample_bootstrap_covers() -> None:
    rng = np.random.default_rng(11)
    found = [
        two_sample_bootstrap(rng.normal(1, 1, 30), rng.normal(0, 2, 30), n_boot=500)
        for _ in range(RUNS)
    ]
    assert 0.90 <= np.mean([f.low <= 1 <= f.high for f in found]) <= 0.99


@pytest.mark.parametrize(("p", "q"), [(0.5, 0.2), (0.9, 0.1), (0.3, 0.3), (0.97, 0.02)])
def test_paired_binary_covers(p: float, q: float) -> None:
    rng = np.random.default_rng(12)
    hits = 0
    for _ in range(RUNS):
        difficulty = rng.random(30)  # twins share it: correlated answers
        mixed = 0.5 * difficulty + 0.5 * rng.random((2, 30))
        cut = np.quantile(0.5 * rng.random(4000) + 0.5 * rng.random(4000), [p, q])
        seen, fresh = (mixed[0] < cut[0]).astype(float), (mixed[1] < cut[1]).astype(float)
        gap = contrast(seen, fresh, paired=True, n_perm=10).gap
        hits += gap.low <= p - q <= gap.high
    assert hits / RUNS >= 0.92


def test_auc_interval_covers() -> None:
    rng = np.random.default_rng(13)
    truth = sps.norm.cdf(1 / np.sqrt(2))
    found = [auc_interval(rng.normal(1, 1, 30), rng.normal(0, 1, 30)) for _ in range(RUNS)]
    assert np.mean([f.low <= truth <= f.high for f in found]) >= 0.92


@pytest.mark.parametrize("paired", [True, False])
@pytest.mark.parametrize("draw", ["normal", "lognormal"])
def test_permutation_keeps_its_level(paired: bool, draw: str) -> None:
    rng = np.random.default_rng(14)
    test = permutation_paired if paired else permutation_two_sample
    p = np.array(
        [
            test(getattr(rng, draw)(size=20), getattr(rng, draw)(size=20), n_perm=300)
            for _ in range(RUNS)
        ]
    )
    for alpha in (0.05, 0.2):
        assert np.mean(p <= alpha) <= _at_most(alpha, RUNS)
    assert np.mean(p <= 0.5) >= 1 - _at_most(0.5, RUNS)  # and it is not merely cautious


def test_auc_difference_keeps_its_level_and_covers() -> None:
    """Two scores of one informative trait with independent noise: their AUCs are equal."""
    rng = np.random.default_rng(15)
    runs, p, covered = 150, [], 0
    for _ in range(runs):
        trait = np.r_[rng.normal(0.7, 1, 25), rng.normal(0, 1, 25)]
        a, b = trait + rng.normal(0, 0.7, 50), trait + rng.normal(0, 0.7, 50)
        estimate, value = auc_difference(a[:25], a[25:], b[:25], b[25:], n_boot=200, n_perm=200)
        p.append(value)
        covered += estimate.low <= 0 <= estimate.high
    assert np.mean(np.array(p) <= 0.05) <= _at_most(0.05, runs)
    assert covered / runs >= 0.88


def test_auc_difference_finds_a_better_score() -> None:
    rng = np.random.default_rng(16)
    seen, fresh = rng.normal(2, 1, 60), rng.normal(0, 1, 60)
    noise_a, noise_b = rng.normal(size=60), rng.normal(size=60)
    estimate, p = auc_difference(seen, fresh, noise_a, noise_b)
    assert estimate.value == pytest.approx(auc(seen, fresh) - auc(noise_a, noise_b))
    assert estimate.low > 0.2
    assert p < 0.01
    same, p_same = auc_difference(seen, fresh, seen, fresh)
    assert (same.value, same.low, same.high, p_same) == (0.0, 0.0, 0.0, 1.0)


# ties, arms without spread, units ---------------------------------------------------------------


def _rank_share(a: np.ndarray, b: np.ndarray) -> float:
    """P(rank sum >= observed) over all splits, one by one."""
    ranks = sps.rankdata(np.r_[a, b])
    sums = [ranks[list(c)].sum() for c in itertools.combinations(range(len(ranks)), len(a))]
    return float(np.mean(np.array(sums) >= ranks[: len(a)].sum() - 1e-9))


@pytest.mark.parametrize(("n", "m"), [(3, 3), (5, 5), (2, 9), (9, 3), (1, 7), (7, 1)])
def test_auc_test_with_ties_is_exact(n: int, m: int) -> None:
    rng = np.random.default_rng(17)
    for top in (2, 3, 6):
        for _ in range(5):
            a, b = rng.integers(0, top, n), rng.integers(0, top, m)
            assert auc_test(a, b) == pytest.approx(_rank_share(a, b))


@pytest.mark.parametrize(("n", "m"), [(50, 50), (10, 100), (100, 10)])
def test_auc_test_of_binary_scores_is_fishers(n: int, m: int) -> None:
    for hit, false in ((4, 0), (3, 2), (8, 5)):
        a, b = np.r_[np.ones(hit), np.zeros(n - hit)], np.r_[np.ones(false), np.zeros(m - false)]
        table = [[hit, n - hit], [false, m - false]]
        assert auc_test(a, b) == pytest.approx(sps.fisher_exact(table, "greater").pvalue)


@pytest.mark.parametrize(("n", "m"), [(5, 5), (12, 12), (10, 100), (50, 50)])
def test_auc_test_of_binary_scores_keeps_its_level(n: int, m: int) -> None:
    """The true size, over every number of ones (normal approximation: 0.10 to 0.17)."""
    for ones in range(1, n + m, 3):
        k = np.arange(max(0, ones - m), min(n, ones) + 1)
        p = np.array(
            [auc_test(np.arange(n) < hit, np.arange(m) < ones - hit) for hit in k.tolist()]
        )
        assert sps.hypergeom(n + m, ones, n).pmf(k)[p <= 0.05].sum() <= 0.05 + 1e-9


def test_auc_test_of_many_rare_hits_permutes() -> None:
    a, b = np.arange(600) < 14, np.arange(600) < 4
    expected = sps.fisher_exact([[14, 586], [4, 596]], "greater").pvalue
    assert auc_test(a, b) == pytest.approx(expected, abs=4 * np.sqrt(expected / 10_000))
    assert auc_test(a, b) == auc_test(a, b)


def test_auc_difference_is_the_plain_loop() -> None:
    """The same draws, each replicate's AUCs counted anew."""
    rng = np.random.default_rng(18)
    a, b = rng.normal(0.6, 1, 17).round(1), rng.normal(0, 1, 12).round(1)
    c, d = rng.normal(0.3, 1, 17).round(1), rng.normal(0, 1, 12).round(1)
    found, p = auc_difference(a, b, c, d, n_boot=60, n_perm=60, seed=3)
    draw = np.random.default_rng(3)
    s, f = draw.integers(0, 17, (60, 17)), draw.integers(0, 12, (60, 12))
    boot = [auc(a[i], b[j]) - auc(c[i], d[j]) for i, j in zip(s, f, strict=True)]
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(boot, [0.025, 0.975])))
    one, two = sps.rankdata(np.r_[a, b]), sps.rankdata(np.r_[c, d])
    null = []
    for swap in draw.integers(0, 2, (60, 29), dtype=np.int8).astype(bool):
        x, y = np.where(swap, two, one), np.where(swap, one, two)
        null.append(auc(x[:17], x[17:]) - auc(y[:17], y[17:]))
    hits = np.sum(np.array(null) >= found.value - 1e-9)
    assert p == pytest.approx((hits + 1) / 61)


def test_two_perfect_scores_are_not_certainly_equal() -> None:
    found, p = auc_difference([3, 4, 5, 6], [0, 1, 2, 1], [6, 5, 4, 3], [0, 2, 1, 1])
    alone = auc_interval([3, 4, 5, 6], [0, 1, 2, 1])
    assert found.high == pytest.approx(1 - alone.low)
    assert (found.value, found.low, p) == (0, -found.high, 1)


def test_an_arm_without_spread_is_not_certain() -> None:
    rng = np.random.default_rng(19)
    fresh = rng.random(30)
    alone = bootstrap(fresh)
    for seen in ([0.9], [0.9] * 5):
        gap = two_sample_bootstrap(seen, fresh)
        assert gap.high - gap.low > 1.5 * (alone.high - alone.low)
    bounded = two_sample_bootstrap([1.0] * 5, fresh, bounded=(0, 1))
    assert bounded.high <= 1
    # of the flat arm: up to 1 - 0.05^(1/5) may lie below 1, none above
    assert bounded.low < bounded.value - (1 - 0.05**0.2)
    assert bounded.high - bounded.value < 1.2 * (alone.value - alone.low)


@pytest.mark.parametrize("share", [0.02, 0.1])
def test_flat_shares_cover(share: float) -> None:
    """Arms of rare hits, resampled; where none is hit, the rule of three speaks."""
    rng = np.random.default_rng(20)
    found = []
    for _ in range(RUNS):
        x = (rng.random(30) < share).astype(float)
        if x.sum() == 0:
            found.append(bootstrap(x, bounded=(0, 1)))
    assert all(f.low == 0 and f.high == pytest.approx(1 - 0.05 ** (1 / 30)) for f in found)
    missed = len(found) if share > found[0].high else 0
    assert missed / RUNS <= _at_most(0.05, RUNS)


@pytest.mark.parametrize("paired", [True, False])
def test_shares_in_blocks_stay_shares(paired: bool) -> None:
    seen, fresh, block = np.zeros(20), np.zeros(20), np.repeat(np.arange(5), 4)
    c = contrast(seen, fresh, paired=paired, blocks=block if paired else (block, block))
    assert (c.seen.low, c.seen.high) == pytest.approx((0, 1 - 0.05 ** (1 / 5)))
    assert -1 <= c.gap.low < 0 < c.gap.high <= 1
    assert c.p_value == 1


@pytest.mark.parametrize("unit", [1e-14, 1.0, 1e9])
def test_tests_do_not_depend_on_the_unit(unit: float) -> None:
    rng = np.random.default_rng(21)
    a, b = rng.normal(0.3, 1, 30), rng.normal(0, 1, 30)
    for test in (permutation_paired, permutation_two_sample):
        assert test(a * unit, b * unit) == test(a, b)
        assert test(a + 1e4, b + 1e4) == pytest.approx(test(a, b), abs=1e-9)


def test_intervals_shift_and_scale() -> None:
    x = np.random.default_rng(22).lognormal(size=30)
    plain, moved = bootstrap(x), bootstrap(3 * x + 7)
    assert (moved.low, moved.high) == pytest.approx((3 * plain.low + 7, 3 * plain.high + 7))


def test_order_within_an_arm_does_not_matter() -> None:
    """The exact tests and the AUC are the same for any order of the items."""
    rng = np.random.default_rng(23)
    a, b = rng.integers(0, 4, 9).astype(float), rng.integers(0, 4, 9).astype(float)
    i, j = rng.permutation(9), rng.permutation(9)
    assert permutation_paired(a[i], b[i]) == permutation_paired(a, b)
    assert auc(a[i], b[j]) == auc(a, b)
    assert auc_test(a[i], b[j]) == pytest.approx(auc_test(a, b))


def test_median_is_near_scipys() -> None:
    x = np.random.default_rng(24).lognormal(size=41)
    expected = sps.bootstrap(
        (x,), np.median, method="BCa", n_resamples=4999, rng=np.random.default_rng(0)
    ).confidence_interval
    found = bootstrap(x, "median", n_boot=4999)
    assert found.value == np.median(x)
    assert abs(found.low - expected.low) + abs(found.high - expected.high) < 0.15 * np.ptp(expected)
    by_function = bootstrap(x, lambda v: float(v.mean()), n_boot=300)
    assert by_function.low == pytest.approx(bootstrap(x, n_boot=300).low)


def test_drawing_in_parts_changes_no_number(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(25)
    a, b = rng.normal(size=(2, 40))
    whole = [contrast(a, b, paired=paired) for paired in (True, False)]
    monkeypatch.setattr("byheart.core._bootstrap._CELLS", 1000)
    assert [contrast(a, b, paired=paired) for paired in (True, False)] == whole


# properties ---------------------------------------------------------------------------------------

NUMBERS = st.lists(st.floats(-1e3, 1e3).map(lambda x: round(x, 3)), min_size=2, max_size=25)


@given(NUMBERS, NUMBERS)
@settings(max_examples=40, deadline=None)
def test_gap_changes_sign_with_the_arms(a: list[float], b: list[float]) -> None:
    one = contrast(a, b, paired=False, n_boot=50, n_perm=50)
    other = contrast(b, a, paired=False, n_boot=50, n_perm=50)
    assert one.gap.value == pytest.approx(-other.gap.value)
    assert one.gap.low <= one.gap.value <= one.gap.high
    assert 0 < one.p_value <= 1


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=40))
@settings(max_examples=60, deadline=None)
def test_paired_binary_gap_is_antisymmetric(pairs: list[tuple[bool, bool]]) -> None:
    a, b = np.array(pairs, dtype=float).T
    one = contrast(a, b, paired=True, n_perm=20).gap
    other = contrast(b, a, paired=True, n_perm=20).gap
    assert (one.low, one.high) == pytest.approx((-other.high, -other.low))
    assert -1 <= one.low <= one.value <= one.high <= 1
    assert one.high - one.low > 0


@given(NUMBERS, NUMBERS)
@settings(max_examples=60, deadline=None)
def test_auc_complements(a: list[float], b: list[float]) -> None:
    assert auc(a, b) + auc(b, a) == pytest.approx(1)
    found = auc_interval(a, b)
    assert 0 <= found.low <= found.value <= found.high <= 1


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
@settings(max_examples=60, deadline=None)
def test_holm_is_monotone(p: list[float]) -> None:
    out = holm(p)
    order = np.argsort(p, kind="stable")
    assert all(x <= y + 1e-15 for x, y in itertools.pairwise(np.array(out)[order]))
    assert all(x <= y <= 1 for x, y in zip(p, out, strict=True))


@given(st.floats(-100, 100), st.integers(1, 50))
@settings(max_examples=40, deadline=None)
def test_a_flat_sample_is_never_certain(value: float, n: int) -> None:
    found = bootstrap([value] * n)
    assert found.low < found.value < found.high


def test_same_seed_same_numbers() -> None:
    x, y = np.random.default_rng(0).normal(size=(2, 30))
    assert contrast(x, y, paired=True, seed=4) == contrast(x, y, paired=True, seed=4)
    assert contrast(x, y, paired=True, seed=4).gap != contrast(x, y, paired=True, seed=5).gap


# bad input ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: bootstrap([]), "values is empty"),
        (lambda: bootstrap([1, np.nan, 2]), "NaN or infinity at position 1"),
        (lambda: bootstrap([1, 2], level=1.0), "level must lie between 0 and 1, got 1.0"),
        (lambda: bootstrap([1, 2, 3], blocks=[1, 2]), "2 labels, 3 values"),
        (lambda: paired_bootstrap([1, 2], [1]), "one length, got 2 and 1"),
        (lambda: permutation_paired([1, 2], [1]), "one length, got 2 and 1"),
        (lambda: permutation_paired([1], [0], alternative="up"), "got 'up'"),
        (lambda: two_sample_bootstrap([1.0], []), "fresh is empty"),
        (lambda: contrast([], [1], paired=False), "seen is empty"),
        (lambda: contrast([1, 2], [1], paired=True), "one length, got 2 and 1"),
        (lambda: contrast([1.0], [np.inf], paired=True), "NaN or infinity"),
        (lambda: auc([], [1]), "seen is empty"),
        (lambda: auc_interval([1], [2], level=0), "level"),
        (lambda: auc_difference([1, 2], [1], [1], [1]), "same items"),
        (lambda: tpr_at_fpr([1], [1], fpr=1.0), "fpr must lie in"),
        (lambda: wilson(5, 3), "got 5 of 3"),
        (lambda: wilson(0, 0), "got 0 of 0"),
        (lambda: bootstrap([1, 2], "mode"), "got 'mode'"),
        (lambda: bootstrap([1, 2], n_boot=0), "n_boot must be at least 1, got 0"),
        (lambda: bootstrap([1, 2], bounded=(0, 1)), "outside bounded"),
        (lambda: bootstrap([1, 2], bounded=(1, 0)), "lowest, highest"),
        (lambda: contrast([0, 2], [0, 1], paired=True, binary=True), "values of 0 and 1 only"),
        (lambda: contrast([0, 2], [0, 1], paired=False, blocks=[1, 2, 3]), "must be a pair"),
        (lambda: holm([0.1, 1.5]), "got 1.5"),
        (lambda: holm([float("nan")]), "got nan"),
    ],
)
def test_bad_input_is_named(call: object, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        call()  # type: ignore[operator]
