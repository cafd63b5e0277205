"""Metrics: hand sums, scikit-learn, invariances; naive forecasters; the gap's interval."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from byheart.audits._economic.inference import recall_test
from byheart.audits._economic.metrics import best_constant
from byheart.audits.economic_recall import (
    answer_rate,
    directional_accuracy,
    exact,
    mae,
    mape,
    me,
    mpe,
    naive_forecasts,
    recall_gap,
    threshold_accuracy,
    within,
)
from byheart.core.errors import UsageError
from byheart.data.series import Series

Y = [100.0, 200.0, 50.0, 10.0]
SAID = [110.0, None, 45.0, 10.0]


def test_hand_sums():
    assert answer_rate(SAID) == 0.75
    assert me(SAID, Y) == pytest.approx((10 - 5 + 0) / 3)
    assert mae(SAID, Y) == pytest.approx(15 / 3)
    assert mpe(SAID, Y) == pytest.approx((0.1 - 0.1 + 0) / 3)
    assert mape(SAID, Y) == pytest.approx(0.2 / 3)
    assert exact(SAID, Y) == 0.25  # the unanswered counts as a miss
    assert within(SAID, Y, 0.1) == 0.75
    assert within(SAID, Y, 0.1, rate=True) == 0.75  # ten points
    assert within(SAID, Y, 0.05, rate=True) == 0.5
    assert threshold_accuracy(SAID, Y, 47.0) == pytest.approx(2 / 3)
    assert threshold_accuracy(SAID, Y, [99, 99, 60, 20]) == 1.0
    assert directional_accuracy(SAID, Y, [90, 190, 50, 12]) == 1.0  # the third did not change


def test_rounding_decides_exact():
    assert exact([9.84], [9.8], decimals=1) == 1
    assert exact([9.86], [9.8], decimals=1) == 0
    assert exact([296.311], [296.311], decimals=3) == 1


def test_against_scikit_learn():
    import sklearn.metrics as sk

    rng = np.random.default_rng(0)
    y, said = rng.uniform(1, 9, 50), rng.uniform(1, 9, 50)
    assert mae(said, y) == pytest.approx(sk.mean_absolute_error(y, said))
    assert mape(said, y) == pytest.approx(sk.mean_absolute_percentage_error(y, said))


NUMBERS = st.lists(st.tuples(st.floats(0.1, 1e6), st.floats(0.1, 1e6)), min_size=1, max_size=30)


@given(NUMBERS, st.floats(0.01, 100))
def test_scale_and_order(pairs, k):
    y, said = ([p[i] for p in pairs] for i in (0, 1))
    assert mape([k * v for v in said], [k * v for v in y]) == pytest.approx(mape(said, y), rel=1e-6)
    assert mpe([k * v for v in said], [k * v for v in y]) == pytest.approx(
        mpe(said, y), rel=1e-6, abs=1e-9
    )
    assert abs(me(said, y)) <= mae(said, y) * (1 + 1e-9)
    shares = [within(said, y, x) for x in (0.001, 0.01, 0.05, 0.1, 1.0, 10.0)]
    assert shares == sorted(shares)


def test_nothing_answered_gives_nan_errors_and_zero_hits():
    assert np.isnan(mape([None], [1.0]))
    assert within([None], [1.0], 0.1) == 0
    with pytest.raises(UsageError):
        mae([1.0], [1.0, 2.0])


def test_naive_forecasts_in_closed_form():
    dates = tuple(f"{y}" for y in range(2001, 2011))
    s = Series("x", "index", "A", dates, [np.exp(0.1 * i) for i in range(10)], decimals=2)
    naive = naive_forecasts(s, 9, cutoff="2006-12")
    assert naive["carry_forward"] == s.values[5]
    assert naive["pre_mean"] == pytest.approx(np.mean(s.values[:6]))
    assert naive["trend"] == pytest.approx(s.values[9])  # an exponential is a straight line in logs


@given(st.lists(st.integers(0, 5), min_size=1, max_size=40))
def test_best_constant_by_brute_force(values):
    y = np.asarray(values, dtype=float)
    best = best_constant(y, 0.0, rate=False, decimals=0)
    hits = [(y == c).sum() for c in range(6)]
    assert (y == best).sum() == max(hits)
    near = best_constant(y, 0.01, rate=True, decimals=0)  # within one point
    assert (abs(y - near) <= 1).sum() == max((abs(y - c) <= 1).sum() for c in set(values))


def test_gap_of_a_perfect_memory_and_of_a_constant():
    months = list(range(24))
    perfect = recall_gap(np.ones(24), np.zeros(24), pre_months=months, post_months=months)
    assert (perfect.gap.value, perfect.verdict) == (1.0, "recall shown")
    few = recall_gap(np.ones(24), np.zeros(11), pre_months=months, post_months=months[:11])
    assert few.verdict.startswith("no verdict: 11 months")
    one_month = recall_gap(np.ones(24), np.zeros(24), pre_months=months, post_months=[0] * 24)
    assert one_month.verdict.startswith("no verdict")
    errors = recall_gap(
        np.zeros(24), np.ones(24), pre_months=months, post_months=months, higher_is_memory=False
    )
    assert (errors.gap.value, errors.verdict) == (-1.0, "recall shown")


def test_month_blocks_widen_the_interval():
    rng = np.random.default_rng(3)
    months = np.repeat(np.arange(24), 20).tolist()
    shared = np.repeat(rng.random(24) < 0.5, 20).astype(float)
    blocked = recall_gap(shared, shared[::-1], pre_months=months, post_months=months)
    alone = recall_gap(
        shared, shared[::-1], pre_months=list(range(480)), post_months=list(range(480))
    )
    assert blocked.gap.high - blocked.gap.low > 3 * (alone.gap.high - alone.gap.low)


def test_coverage_of_the_gap():
    rng = np.random.default_rng(0)
    inside = 0
    for s in range(100):
        pre, post = (rng.random((2, 60)) < [[0.6], [0.3]]).astype(float)
        gap = recall_gap(
            pre, post, pre_months=range(60), post_months=range(60), draws=400, seed=s
        ).gap
        inside += gap.low <= 0.3 <= gap.high
    assert inside >= 87  # 95 nominal; 87 is the 0.1 percentile of Binomial(100, 0.95)


def test_a_trend_does_not_pass_for_memory():
    """A forecaster that hits more before the cutoff because the control does too is not recall."""
    rng = np.random.default_rng(1)
    months = list(range(40))
    naive = (rng.random(40) < 0.8).astype(float)
    test = recall_test(naive, np.zeros(40), naive, np.zeros(40), (months, months))
    assert test.p_gap < 0.01
    assert test.p_value == 1.0
    flat = (rng.random(40) < 0.5).astype(float)
    test = recall_test(flat, flat, np.zeros(40), flat, (months, months))
    assert test.p_lead < 0.05
    assert test.p_value > 0.4


def test_a_model_below_the_naive_forecaster_is_not_accused():
    """Better before than after, and less far behind; but behind: only the first test says no."""
    months = list(range(40))
    share = {k: (np.arange(40) < 40 * k).astype(float) for k in (0.0, 0.5, 0.6, 0.9)}
    test = recall_test(share[0.5], share[0.0], share[0.6], share[0.9], (months, months))
    assert max(test.p_gap, test.p_lead) < 0.01
    assert test.p_value == test.p_naive > 0.9
