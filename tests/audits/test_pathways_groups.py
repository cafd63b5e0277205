"""Memorised and generalised, groups that belong together, correlations, and the theory."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from byheart.audits.pathways import (
    Snapshot,
    consistency,
    controlled_routing,
    correlate,
    correlations,
    course,
    effective_dimension,
    excess_risk_bound,
    generalised_at,
    match_groups,
    measures,
    memorised_at,
    pathway_distance,
    phase,
    relu_ntk,
    routing_kernel,
    sustained_rise,
    uncontaminated,
)
from byheart.core.errors import DataError, UsageError

# the memorisation rule, on rows made by hand


@pytest.mark.parametrize(
    ("losses", "eps", "at"),
    [
        ([0.1, 0.1, 0.1, 0.1], 0.5, 0),
        ([3.0, 0.1, 0.1, 0.1], 0.5, 1),
        ([0.1, 3.0, 0.1, 0.1], 0.5, 2),  # a loss that comes back does not count from the start
        ([0.3, 0.2, 0.1, 0.1], 0.5, 2),  # low enough, and still moving
        ([0.16, 0.14, 0.12, 0.1], 0.5, 1),  # within .05 of the last
        ([3.0, 3.0, 3.0, 3.0], 0.5, -1),  # settled, and not low
        ([0.5, 0.5, 0.5, 0.5], 0.5, 0),  # at most eps
        ([3.0, 3.0, 3.0, 0.4], 0.5, 3),  # the last checkpoint agrees with itself
        ([0.1, 0.1, 0.1, 3.0], 0.5, -1),
    ],
)
def test_the_rule_on_hand_made_rows(losses, eps, at):
    assert memorised_at([losses], eps=eps, delta=0.05).at.tolist() == [at]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.2, 2.0), st.floats(0.0, 0.5))
def test_the_rule_against_its_definition(seed, eps, delta):
    x = np.round(np.random.default_rng(seed).random((6, 5)) * 2, 2)
    want = []
    for row in x:
        ok = [
            all(v <= eps + 1e-9 and abs(v - row[-1]) <= delta + 1e-9 for v in row[t:])
            for t in range(5)
        ]
        want.append(ok.index(True) if any(ok) else -1)
    assert memorised_at(x, eps=eps, delta=delta).at.tolist() == want


def test_eps_is_the_least_that_memorises_a_quarter_before_the_end():
    """Sample i settles at 0.25 * i: with eps between 0.5 and 0.75 three of 12 are memorised."""
    x = np.repeat(0.25 * np.arange(12)[:, None], 4, axis=1)
    found = memorised_at(x)
    assert (found.eps, found.share) == (0.5, 0.25)
    assert found.at.tolist() == [0, 0, 0] + [-1] * 9
    assert {t: g.tolist() for t, g in found.groups().items()} == {0: [0, 1, 2]}
    assert memorised_at(x, eps="auto:0.3-0.35").eps == 0.8  # four of 12


def test_the_last_checkpoint_does_not_count_as_before_it():
    x = np.full((4, 3), 3.0)
    x[:, -1] = 0.1
    with pytest.raises(DataError, match=r"0\.1 gives 0\.0%"):
        memorised_at(x)
    assert memorised_at(x, eps=1.0).share == 0
    assert memorised_at(x, eps=1.0).at.tolist() == [2] * 4


def test_domains_get_an_eps_of_their_own():
    x = np.repeat(0.25 * np.arange(12)[:, None], 4, axis=1)
    both = np.concatenate([x, x + 1])
    found = memorised_at(both, domains=["math"] * 12 + ["code"] * 12)
    assert found.eps == {"math": 0.5, "code": 1.5}
    assert found.share == {"math": 0.25, "code": 0.25}
    assert found.at.tolist() == ([0] * 3 + [-1] * 9) * 2


@pytest.mark.parametrize(
    ("losses", "options", "message"),
    [
        ([[0.1, math.nan]], {"eps": 1.0}, r"NaN or infinity for sample 0 at checkpoint 1"),
        ([[0.1]], {"eps": 1.0}, "2 or more checkpoints"),
        ([], {"eps": 1.0}, "2 or more checkpoints"),
        ([[1, 2], [3]], {"eps": 1.0}, "must be"),
        ([[0.1, 0.1]], {"eps": "high"}, "a number or 'auto"),
        ([[0.1, 0.1]], {"eps": "auto:0.9-0.1"}, "LOW <= HIGH"),
        ([[0.1, 0.1]], {"eps": 1.0, "delta": -1}, "delta must not be negative"),
        ([[0.1, 0.1]], {"eps": 1.0, "domains": []}, "one domain a sample"),
        ([[0.1, 0.1]], {}, "no eps in steps of 0.1 has 20% to 25%"),
    ],
)
def test_losses_that_cannot_be(losses, options, message):
    with pytest.raises((DataError, UsageError), match=message):
        memorised_at(losses, **options)


# generalisation


@pytest.mark.parametrize(
    ("correct", "at"),
    [
        ([0, 1, 1, 1, 1, 1, 1, 1, 1, 1], 1),
        ([1, 0, 1, 1, 1, 1, 1, 1, 1, 1], 0),  # one error in ten
        ([1, 0, 0, 1, 1, 1, 1, 1, 1, 1], 3),  # two
        ([0, 0, 0, 0, 0, 1, 0, 1, 1, 1], 7),  # 4 of 5 right is .8, not above it
        ([0, 0, 0, 0, 1, 0, 1, 1, 1, 1], 4),  # 5 of 6 is
        ([0, 0, 0, 0, 0, 0, 0, 0, 0, 1], 9),
        ([1, 1, 1, 1, 1, 1, 1, 1, 1, 0], 0),
        ([0, 0, 0, 0, 0, 0, 0, 0, 0, 0], -1),
        ([1, 1, 1, 1, 1, 1, 1, 1, 0, 0], -1),
    ],
)
def test_generalised_on_hand_made_rows(correct, at):
    assert generalised_at([correct]).at.tolist() == [at]


def test_at_most_one_error_however_many_checkpoints():
    """Ten of twelve right is above .8, and two errors are too many."""
    row = [1, 0, 1, 1, 0, 1, 1, 1, 1, 1, 1, 1]
    assert generalised_at([row]).at.tolist() == [2]
    assert generalised_at([row], errors=2).at.tolist() == [0]


def test_answers_other_than_right_and_wrong_are_refused():
    with pytest.raises(DataError, match="0 and 1 only"):
        generalised_at([[0.5, 1.0]])
    with pytest.raises(UsageError, match="least must lie"):
        generalised_at([[0, 1]], least=1.0)


# matching


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 4), st.integers(1, 4))
def test_groups_are_matched_as_trying_all_would(seed, a, b):
    rng = np.random.default_rng(seed)
    train, test = rng.normal(size=(4 * a, 5)), rng.normal(size=(3 * b, 5))
    t, s = np.arange(4 * a) % a, np.arange(3 * b) % b + 2
    found = match_groups(train, t, test, s)

    def mean_cosine(i, j):
        pairs = itertools.product(train[t == i], test[s == j])
        return np.mean([u @ v / np.linalg.norm(u) / np.linalg.norm(v) for u, v in pairs])

    matrix = np.array([[mean_cosine(i, j) for j in range(2, b + 2)] for i in range(a)])
    np.testing.assert_allclose(found.matrix, matrix, atol=1e-12)
    tall = matrix if a <= b else matrix.T
    best = max(
        sum(tall[i, j] for i, j in enumerate(order))
        for order in itertools.permutations(range(tall.shape[1]), tall.shape[0])
    )
    assert sum(found.similarity) == pytest.approx(best)
    assert found.delay == tuple(after - before for before, after in found.pairs)
    assert len({p for p, _ in found.pairs}) == len(found.pairs) == min(a, b)


def test_what_never_happens_belongs_to_no_group():
    e = np.eye(4)
    found = match_groups(
        e, memorised_at([[0, 0], [9, 9], [9, 0], [9, 9]], eps=1.0), e, [-1, -1, 1, 0]
    )
    assert found.train == (0, 1)
    assert found.pairs == ((0, 0), (1, 1)) or found.pairs == ((0, 1), (1, 0))
    assert dict(zip(found.pairs, found.similarity, strict=True))[(1, 1)] == 1
    with pytest.raises(DataError, match="no test group"):
        match_groups(e, [0] * 4, e, [-1] * 4)
    with pytest.raises(DataError, match="zero vector"):
        match_groups(e * 0, [0] * 4, e, [0] * 4)
    with pytest.raises(DataError, match=r"\[N, D\] with N checkpoints"):
        match_groups(e, [0], e, [0] * 4)


def test_the_likeliest_members_are_dropped():
    scores = np.arange(25.0)[::-1]
    assert uncontaminated(scores).tolist() == list(range(2, 25))  # 10 % of 25 are two
    assert uncontaminated(scores, 0).tolist() == list(range(25))
    with pytest.raises(DataError, match="finite"):
        uncontaminated([1.0, math.nan])


# correlations


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(3, 30))
def test_correlations_are_scipys(seed, n):
    from scipy.stats import pearsonr, spearmanr

    rng = np.random.default_rng(seed)
    x, y = rng.integers(0, 9, n), rng.normal(size=n)
    if len(set(x)) == 1:
        return
    found = correlate(x, y, permutations=10)
    assert found.pearson == pytest.approx(pearsonr(x, y).statistic)
    assert found.spearman == pytest.approx(spearmanr(x, y).statistic)


def test_p_values_of_few_checkpoints_count_all_orders():
    """n = 4: two of 24 orders are as extreme as a monotone one."""
    found = correlate([4, 3, 2, 1.0], [1, 2, 3, 4.0])
    assert (found.n, found.p_pearson, found.p_spearman) == (4, 2 / 24, 2 / 24)
    from scipy.stats import permutation_test

    x, y = np.array([1, 5, 2, 4, 3.0]), np.array([0.1, 0.7, 0.3, 0.2, 0.4])
    exact = permutation_test(
        (x,), lambda v: np.corrcoef(v, y)[0, 1], permutation_type="pairings",
        n_resamples=np.inf, alternative="two-sided",
    ).pvalue  # fmt: skip
    assert correlate(x, y).p_pearson == pytest.approx(exact, abs=1 / 120 + 1e-9)


def test_p_values_of_many_checkpoints_hold_their_level():
    rng = np.random.default_rng(0)
    p = [
        correlate(rng.normal(size=12), rng.normal(size=12), permutations=199, seed=s).p_pearson
        for s in range(300)
    ]
    assert np.mean(np.array(p) <= 0.05) < 0.1
    assert np.mean(p) == pytest.approx(0.5, abs=0.06)


def test_a_control_that_explains_everything_leaves_nothing():
    """A metric that is its length and noise correlates, until length is taken out."""
    rng = np.random.default_rng(1)
    length = np.linspace(8, 6, 20)
    accuracy = np.linspace(0, 1, 20) + 0.05 * rng.normal(size=20)
    metric = length + 0.05 * rng.normal(size=20)
    other = -accuracy + 0.05 * rng.normal(size=20)
    controls = {"length": length, "entropy": rng.normal(size=20)}
    by_length = correlate(metric, accuracy, controls=controls)
    assert by_length.pearson < -0.95
    assert abs(by_length.partial["length"]) < 0.5
    assert abs(by_length.partial["entropy"] + 1) < 0.1
    own = correlate(other, accuracy, controls=controls)
    assert own.partial["length"] < -0.5
    assert set(own.partial) == {"length", "entropy", "entropy+length"}
    assert correlate(length, accuracy, controls={"length": length}).partial["length"] is None
    few = correlate([1, 2, 3.0], [1, 3, 2.0], controls={"length": [1, 1, 2.0]})
    assert few.partial["length"] is None


def test_partial_correlation_is_the_textbooks():
    rng = np.random.default_rng(2)
    x, y, z = rng.normal(size=(3, 15))
    r = np.corrcoef([x, y, z])
    want = (r[0, 1] - r[0, 2] * r[1, 2]) / math.sqrt((1 - r[0, 2] ** 2) * (1 - r[1, 2] ** 2))
    assert correlate(x, y, controls={"z": z}).partial["z"] == pytest.approx(want)


def test_a_series_that_does_not_move_has_no_correlation():
    found = correlate([0.1] * 5, [1, 2, 3, 4, 5.0])
    assert (found.pearson, found.p_spearman) == (None, None)
    assert "does not move over 5" in str(found)


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        ([1, 2.0], [1, 2.0], "at least three"),
        (["a", "b", "c"], [1, 2.0, 3], "must be numbers"),
        ([1, 2, 3.0], [1, 2.0], "3 checkpoints and accuracy 2"),
        ([1, math.nan, 3.0], [1, 2, 3.0], "NaN or infinity at checkpoint 1"),
    ],
)
def test_series_that_cannot_be(x, y, message):
    with pytest.raises(DataError, match=message):
        correlate(x, y)


@pytest.mark.parametrize(
    ("accuracy", "start"),
    [
        ([0.1, 0.2, 0.3], 0),
        ([0.1, 0.3, 0.1, 0.4, 0.5], 2),
        ([0.25, 0.24, 0.26, 0.25, 0.6, 0.9], 3),
        ([0.9, 0.5, 0.1], 2),
        ([0.5, 0.5], 1),
    ],
)
def test_where_accuracy_rises_for_good(accuracy, start):
    assert sustained_rise(accuracy) == start


# the course


def snapshot(n=8, layers=3, k=6, *, seed=0, sharp=2.0, digest="a", step=0, same=0.0):
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, layers, k)) * sharp
    z = (1 - same) * z + same * z[:1]
    g = np.exp(z) / np.exp(z).sum(-1, keepdims=True)
    W = tuple(np.random.default_rng(9).normal(size=(k, 5)) for _ in range(layers))
    return Snapshot(g, W, np.full(n, 1.0), digest=digest, step=step)


def test_a_run_that_converges_is_seen_to():
    run = (snapshot(same=s / 10, step=s) for s in range(10))  # an iterator, held one at a time
    rows = course(run)
    assert [r["step"] for r in rows] == list(range(10))
    found = {c.metric: c for c in correlations(rows, [s / 10 for s in range(10)])}
    assert found["distance"].spearman < -0.9
    assert found["null_distance"].n == 10
    assert "distance_se" not in found
    assert set(found["distance"].partial) >= {"entropy", "length", "step", "entropy+length"}


def test_the_moving_average_of_the_training_loss_is_a_baseline():
    """Over the last three: a zigzag around a falling line is nearly the line."""
    losses = [1.0, 0.4, 0.9, 0.3, 0.8, 0.2, 0.7, 0.1]
    rows = [{**measures(snapshot(), pairs=None, null=False), "train_loss": x} for x in losses]
    accuracy = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8]
    found = {c.metric: c for c in correlations(rows, accuracy)}
    average = [1.0, 0.7, 2.3 / 3, 1.6 / 3, 2.0 / 3, 1.3 / 3, 1.7 / 3, 1.0 / 3]
    assert found["train_loss"].pearson == pytest.approx(np.corrcoef(losses, accuracy)[0, 1])
    assert found["train_loss_average"].pearson == pytest.approx(
        np.corrcoef(average, accuracy)[0, 1]
    )
    assert found["train_loss_average"].pearson < found["train_loss"].pearson


def test_measures_say_what_they_are():
    snap = snapshot()
    found = measures(snap, pairs=None)
    assert found["distance"] == pathway_distance(snap, normalize="length").mean
    assert found["raw_distance"] == pathway_distance(snap).mean
    assert found["char_distance"] == pathway_distance(snap, unit="char").mean
    one = measures(snapshot(layers=1))
    assert math.isnan(one["mean_cosine"])
    assert math.isnan(one["null_cosine"])
    assert not {"null_cosine", "mean_cosine"} & {
        c.metric for c in correlations([one] * 3, [0.1, 0.2, 0.3])
    }


def test_layers_are_followed_apart():
    snap = snapshot()
    found = measures(snap, pairs=None, per_layer=True)
    apart = pathway_distance(snap, normalize="length", per_layer=True).per_layer
    assert [found[f"distance/{i}"] for i in range(3)] == list(apart)
    assert [found[f"cosine/{i}"] for i in range(2)] == consistency(snap).cosines.mean(0).tolist()
    rows = course([snapshot(seed=s) for s in range(4)], per_layer=True)
    assert not any("/" in c.metric for c in correlations(rows, [0.1, 0.2, 0.4, 0.3]))


@pytest.mark.parametrize(
    ("losses", "distances", "doing"),
    [
        ([0.1, 0.1], [0.8, 0.8], "early"),
        ([0.5, 0.3, 0.1], [0.8, 0.7, 0.6], "learning"),
        ([0.1, 0.12, 0.1], [0.8, 0.75, 0.7], "reorganising"),
        ([0.1, 0.12, 0.1], [0.7, 0.75, 0.8], "drifting"),
        ([0.1, 0.12, 0.1], [0.8, 0.7, 0.79], "still"),
        ([9.0, 0.1, 0.1, 0.1], [0.2, 0.8, 0.8, 0.7], "reorganising"),
    ],
)
def test_what_a_run_is_doing(losses, distances, doing):
    rows = [
        {"loss": a, "distance": d, "distance_se": 0.01}
        for a, d in zip(losses, distances, strict=True)
    ]
    assert phase(rows) == doing
    with pytest.raises(UsageError, match="at least 2"):
        phase(rows, window=1)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (
            snapshot(layers=2),
            "snapshot 1 is of a model with 2 MoE layers and 6 experts, the first of",
        ),
        (snapshot(k=5), "with 3 MoE layers and 5 experts"),
        (snapshot(digest="b"), "other samples"),
        (snapshot(n=7), "other samples"),
    ],
)
def test_snapshots_that_are_no_course(other, message):
    with pytest.raises(DataError, match=message):
        course([snapshot(), other])


# the theory


@pytest.mark.parametrize(("m", "each", "lam"), [(2, 4, 0.5), (4, 3, 1.0), (8, 2, 3.0)])
def test_hard_routing_has_the_closed_form_of_the_sheet(m, each, lam):
    """m equally used experts and identical inputs: nm / (n + m lam)."""
    n = m * each
    g = np.eye(m)[np.repeat(np.arange(m), each)]
    H = routing_kernel(g, np.ones((n, n)))
    assert effective_dimension(H, lam) == pytest.approx(n * m / (n + m * lam))
    assert effective_dimension(H, 1e-9) == pytest.approx(m, rel=1e-6)  # the rank
    assert effective_dimension(H, 1e9) == pytest.approx(np.trace(H) / 1e9, rel=1e-6)


def test_the_routing_kernel_is_its_sum():
    rng = np.random.default_rng(0)
    g = rng.dirichlet(np.ones(3), 5)
    A = rng.normal(size=(3, 5, 5))
    K = A @ A.transpose(0, 2, 1)
    want = sum(np.outer(g[:, k], g[:, k]) * K[k] for k in range(3))
    np.testing.assert_allclose(routing_kernel(g, K), want)
    np.testing.assert_allclose(routing_kernel(g, K[0]), sum(np.outer(g[:, k], g[:, k]) * K[0] for k in range(3)))  # fmt: skip
    with pytest.raises(DataError, match="2 kernels are given for 3 experts"):
        routing_kernel(g, K[:2])
    with pytest.raises(DataError, match="kernel"):
        routing_kernel(g, np.eye(4))


def test_d_eff_is_the_trace():
    rng = np.random.default_rng(1)
    A = rng.normal(size=(6, 6))
    H = A @ A.T
    want = np.trace(H @ np.linalg.inv(H + 0.3 * np.eye(6)))
    assert effective_dimension(H, 0.3) == pytest.approx(want)
    with pytest.raises(DataError, match="symmetric"):
        effective_dimension(A, 1.0)
    with pytest.raises(DataError, match="no kernel"):
        effective_dimension(-H, 1.0)
    with pytest.raises(UsageError, match="above 0"):
        effective_dimension(H, 0.0)


def test_the_bound_is_its_formula():
    rng = np.random.default_rng(2)
    A = rng.normal(size=(6, 6))
    H, y = A @ A.T, rng.normal(size=6)
    inverse = np.linalg.inv(H + 0.5 * np.eye(6))
    want = 2 * 0.25 / 6 * y @ inverse @ inverse @ y
    want += 3 * (0.04 * np.trace(H @ inverse) / 6 + 0.04 * np.log(1 / 0.1) / 6)
    found = excess_risk_bound(H, y, lam=0.5, noise=0.2, delta=0.1, c1=2, c2=3)
    assert found == pytest.approx(want)
    with pytest.raises(DataError, match="6 labels"):
        excess_risk_bound(H, y[:5], lam=0.5, noise=0.2)


def test_the_kernel_of_a_wide_network_by_monte_carlo():
    """K(x, z) = x'z E[1(w'x > 0) 1(w'z > 0)] 2 + 2 E[relu(w'x) relu(w'z)], w standard normal."""
    rng = np.random.default_rng(3)
    x, z = rng.normal(size=(2, 4)), rng.normal(size=(3, 4))
    w = rng.normal(size=(400_000, 4))
    hx, hz = w @ x.T, w @ z.T
    on = 2 * ((hx > 0).T.astype(float) @ (hz > 0)) / len(w)
    relu = 2 * (np.maximum(hx, 0).T @ np.maximum(hz, 0)) / len(w)
    np.testing.assert_allclose(relu_ntk(x, z), (x @ z.T) * on + relu, rtol=0.03, atol=0.03)
    with pytest.raises(DataError, match="zero vector"):
        relu_ntk([[0.0, 0.0]])


def test_controlled_routing_goes_from_clusters_to_chance():
    clusters = np.repeat(np.arange(16), 50)
    assert (controlled_routing(clusters, 0.0).argmax(1) == clusters).all()
    chance = controlled_routing(clusters, 1.0)
    assert (chance.argmax(1) == clusters).mean() < 0.12
    assert (chance.sum(1) == 1).all()
    with pytest.raises(UsageError, match="q must lie"):
        controlled_routing(clusters, 1.5)
    with pytest.raises(DataError, match="whole numbers"):
        controlled_routing([-1], 0.5)
