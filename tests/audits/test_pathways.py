"""Both pathway metrics against closed forms, brute force and what must not change them."""

from __future__ import annotations

import dataclasses
import itertools
import tracemalloc
from functools import lru_cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from byheart.audits._pathways.distance import _draw, _unrank
from byheart.audits.pathways import (
    Snapshot,
    consistency,
    path_lengths,
    pathway_distance,
    pathways,
    permuted_experts,
)
from byheart.core.errors import CapabilityError, DataError, OutputError, UsageError


def snapshot(n=6, layers=3, k=5, d=7, *, seed=0, sharp=2.0, **fields):
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, layers, k)) * sharp
    g = np.exp(z) / np.exp(z).sum(-1, keepdims=True)
    W = tuple(rng.normal(size=(k, d)) for _ in range(layers))
    return Snapshot(g, W, rng.random(n), **fields)


def recursion(a, b):
    """Levenshtein's definition, word for word."""

    @lru_cache(None)
    def d(i, j):
        if not i or not j:
            return i + j
        return min(d(i - 1, j) + 1, d(i, j - 1) + 1, d(i - 1, j - 1) + (a[i - 1] != b[j - 1]))

    return d(len(a), len(b))


def paths_by_hand(snap, threshold=0.7):
    """``[N][L]`` lists of experts, by a plain loop."""
    out = []
    for sample in snap.g:
        path = []
        for layer in sample:
            order = sorted(range(len(layer)), key=lambda k: (-layer[k], k))
            total, part = 0.0, []
            for k in order:
                part.append(k)
                total += float(layer[k])
                if total > threshold + 1e-6:
                    break
            path.append(part)
        out.append(path)
    return out


# paths


@pytest.mark.parametrize("k", [2, 3, 7, 8, 10, 16, 60, 64, 100, 128])
@pytest.mark.parametrize("tenths", [5, 6, 7, 8])
def test_uniform_routing_needs_the_floor_and_one(k, tenths):
    g = np.full((1, 1, k), 1 / k, np.float32)
    assert path_lengths(g, tenths / 10).tolist() == [[tenths * k // 10 + 1]]


def test_one_hot_routing_needs_one():
    assert path_lengths(np.eye(5)[None], 0.7).tolist() == [[1] * 5]


def test_paths_are_written_as_the_paper_writes_them():
    g = np.array([[[0.1, 0.25, 0.05, 0.6], [0.0, 0.1, 0.9, 0.0]]])
    snap = Snapshot(g, (np.eye(4), np.eye(4)), np.zeros(1))
    assert pathways(snap) == ["3,1-2"]
    assert pathways(snap, threshold=0.5) == ["3-2"]
    assert pathways(snap, threshold=0.9) == ["3,1,0-2,1"]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.3, 0.5, 0.7, 0.8, 0.95]))
def test_paths_against_a_plain_loop(seed, threshold):
    snap = snapshot(4, 3, 6, seed=seed, sharp=seed % 5)
    by_hand = paths_by_hand(snap, threshold)
    written = ["-".join(",".join(map(str, part)) for part in path) for path in by_hand]
    assert pathways(snap, threshold=threshold) == written
    assert path_lengths(snap.g, threshold).tolist() == [[len(p) for p in path] for path in by_hand]


# distance


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(["expert", "char"]), st.booleans())
def test_distance_against_the_recursion(seed, unit, by_length):
    snap = snapshot(4, 2, 12, seed=seed, sharp=1.0 + seed % 3)
    if unit == "char":
        whole = pathways(snap)
        layers = [[p.split("-")[i] for p in whole] for i in range(2)]
    else:  # experts of different layers are different things
        by_hand = paths_by_hand(snap)
        whole = [[(i, k) for i, part in enumerate(path) for k in part] for path in by_hand]
        layers = [[path[i] for path in by_hand] for i in range(2)]

    def mean(paths):
        out = []
        for a, b in itertools.combinations(paths, 2):
            a, b = tuple(a), tuple(b)
            out.append(recursion(a, b) / (max(len(a), len(b)) if by_length else 1))
        return np.mean(out)

    found = pathway_distance(
        snap, unit=unit, normalize="length" if by_length else None, per_layer=True
    )
    assert found.mean == pytest.approx(mean(whole))
    assert found.per_layer == pytest.approx([mean(layer) for layer in layers])
    assert found.length == pytest.approx(np.mean([len(p) for p in whole]))
    assert (found.pairs, found.samples) == (6, 4)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000))
def test_metric_axioms_and_bounds(seed):
    snap = snapshot(3, 3, 8, seed=seed, sharp=seed % 4)
    length = path_lengths(snap.g).sum(1)

    def d(i, j, **options):
        return pathway_distance(snap.take([i]), other=snap.take([j]), **options).mean

    for i, j in itertools.permutations(range(3), 2):
        assert d(i, j) == d(j, i)
        assert abs(length[i] - length[j]) <= d(i, j) <= max(length[i], length[j])
        assert 0 <= d(i, j, normalize="length") <= 1
    assert d(0, 2) <= d(0, 1) + d(1, 2)
    assert d(0, 0) == 0
    whole = pathway_distance(snap, per_layer=True)
    assert max(whole.per_layer) <= whole.mean + 1e-9 <= sum(whole.per_layer) + 2e-9


def test_identical_samples_are_nowhere_apart():
    snap = snapshot(1, 4, 6)
    many = dataclasses.replace(snap, g=np.repeat(snap.g, 5, 0), nll=np.zeros(5))
    for unit in ("expert", "char"):
        assert pathway_distance(many, unit=unit, normalize="length").mean == 0


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_renumbering_experts_changes_no_distance_in_experts_and_no_cosine(seed):
    snap = snapshot(5, 3, 12, seed=seed)
    other = permuted_experts(snap, seed=seed, together=True)
    for normalize in (None, "length"):
        a, b = (pathway_distance(s, normalize=normalize, per_layer=True) for s in (snap, other))
        assert (a.mean, a.per_layer) == (b.mean, b.per_layer)
    np.testing.assert_allclose(consistency(snap).cosines, consistency(other).cosines, atol=1e-6)


def test_distance_in_characters_depends_on_how_experts_are_numbered():
    snap = snapshot(8, 2, 16, seed=3)
    moved = permuted_experts(snap, seed=1, together=True)
    assert pathway_distance(snap, unit="char").mean != pathway_distance(moved, unit="char").mean


@pytest.mark.parametrize(("m", "each"), [(2, 3), (4, 5), (8, 2)])
def test_hard_routing_to_equally_used_experts(m, each):
    """Sheet §8: normalised distance (1 - 1/m) n / (n - 1)."""
    n = m * each
    g = np.eye(m)[np.repeat(np.arange(m), each)][:, None]
    snap = Snapshot(g, (np.eye(m),), np.zeros(n))
    found = pathway_distance(snap, normalize="length")
    assert found.mean == pytest.approx((1 - 1 / m) * n / (n - 1))
    assert found.entropy == 0


def test_two_groups_are_compared_across():
    a, b = snapshot(4, seed=1), snapshot(3, seed=2)
    pa, pb = paths_by_hand(a), paths_by_hand(b)
    flat = [[(i, k) for i, part in enumerate(p) for k in part] for p in (*pa, *pb)]
    want = np.mean([recursion(tuple(x), tuple(y)) for x in flat[:4] for y in flat[4:]])
    found = pathway_distance(a, other=b)
    assert found.mean == pytest.approx(want)
    assert (found.pairs, found.samples) == (12, 7)


def test_layers_and_experts_beyond_the_surrogates_have_characters():
    """58 layers of 1024 experts: more than the 55,296 characters before the surrogates."""
    rng = np.random.default_rng(0)
    g = np.eye(1024, dtype=np.float32)[rng.integers(0, 1024, (4, 58))]
    snap = Snapshot(g, tuple(np.eye(1024, 2, dtype=np.float32) for _ in range(58)), np.zeros(4))
    top = g.argmax(-1)
    want = np.mean([(top[i] != top[j]).sum() for i, j in itertools.combinations(range(4), 2)])
    assert pathway_distance(snap).mean == pytest.approx(want)


# sampled pairs


@pytest.mark.parametrize("n", [2, 3, 7, 50])
def test_pairs_are_numbered_row_by_row(n):
    i, j = _unrank(np.arange(n * (n - 1) // 2), n)
    assert list(zip(i.tolist(), j.tolist(), strict=True)) == list(
        itertools.combinations(range(n), 2)
    )


@pytest.mark.parametrize(("total", "pairs"), [(10, 9), (10, 1), (1_000_000, 500), (1200, 300)])
def test_drawn_pairs_are_different_and_in_range(total, pairs):
    drawn = _draw(total, pairs, 3)
    assert len(np.unique(drawn)) == pairs
    assert 0 <= drawn.min() <= drawn.max() < total


def test_drawn_pairs_estimate_the_mean_within_their_error():
    snap = snapshot(80, 3, 8)
    whole = pathway_distance(snap, normalize="length").mean
    drawn = [pathway_distance(snap, normalize="length", pairs=200, seed=s).mean for s in range(60)]
    assert np.mean(drawn) == pytest.approx(whole, abs=4 * np.std(drawn) / 60**0.5)
    assert pathway_distance(snap, pairs=3160).mean == pathway_distance(snap).mean
    again = [pathway_distance(snap, pairs=50, seed=1).mean for _ in range(2)]
    assert again[0] == again[1]


@pytest.mark.parametrize("pairs", [None, 120])
def test_the_standard_error_is_that_of_repeated_draws(pairs):
    """Samples of four kinds, drawn anew 300 times: the spread of the means is what se says."""
    kinds = snapshot(4, 3, 8, seed=5).g
    rng = np.random.default_rng(0)
    means, errors = [], []
    W = tuple(np.eye(8) for _ in range(3))
    for s in range(300):
        g = kinds[rng.choice(4, 40, p=[0.6, 0.2, 0.1, 0.1])]
        found = pathway_distance(
            Snapshot(g, W, np.zeros(40)), normalize="length", pairs=pairs, seed=s
        )
        means.append(found.mean)
        errors.append(found.se)
    assert np.mean(errors) == pytest.approx(np.std(means), rel=0.2)


def test_memory_does_not_grow_with_pairs_or_layers():
    """Four times the samples are sixteen times the pairs; what is held may grow by the samples."""

    def peak(n, layers):
        snap = snapshot(n, layers, 16, d=4)
        tracemalloc.start()
        pathway_distance(snap, normalize="length", per_layer=True)
        consistency(snap)
        high = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return high

    small, large = peak(700, 4), peak(2800, 4)
    assert large < 4 * 2800**2 / 2 * 8 / 10  # a tenth of what a table of pairs a layer would take
    assert large < 6 * small
    assert peak(700, 16) < 5 * small


# the null control


def test_the_null_keeps_lengths_and_entropies_and_drops_what_is_shared():
    snap = snapshot(1, 4, 16, seed=2)
    alike = dataclasses.replace(snap, g=np.repeat(snap.g, 30, 0), nll=np.zeros(30))
    null = permuted_experts(alike, seed=0)
    np.testing.assert_array_equal(path_lengths(null.g), path_lengths(alike.g))
    np.testing.assert_allclose(null.entropy, alike.entropy, atol=1e-5)
    assert pathway_distance(alike).mean == 0
    assert pathway_distance(null, normalize="length").mean > 0.6
    assert {tuple(np.sort(row)) for row in null.g[:, 0]} == {tuple(np.sort(snap.g[0, 0]))}


def test_the_null_of_short_layers_stays_within_them():
    g = np.array([[[0.6, 0.4, 0.0], [0.5, 0.3, 0.2]]] * 4)
    snap = Snapshot(g, (np.eye(2, 3), np.eye(3)), np.zeros(4))
    assert (permuted_experts(snap, seed=1).g[:, 0, 2] == 0).all()


# consistency


def test_layers_that_route_alike_are_wholly_consistent():
    W = np.random.default_rng(0).normal(size=(4, 6))
    g = np.repeat(snapshot(3, 1, 4).g, 5, 1)
    found = consistency(Snapshot(g, (W,) * 5, np.zeros(3)))
    np.testing.assert_allclose(found.cosines, 1, atol=1e-6)
    np.testing.assert_allclose(found.inconsistency, 0, atol=1e-6)
    np.testing.assert_allclose(found.consistency, 1, atol=1e-6)
    assert found.valid.all()


def test_orthogonal_routers_have_cosine_zero():
    W = (np.eye(3, 6), np.eye(3, 6, k=3))
    found = consistency(Snapshot(snapshot(2, 2, 3).g, W, np.zeros(2)))
    np.testing.assert_allclose(found.mean_cosine, 0, atol=1e-12)
    assert not found.valid.any()
    assert np.isfinite(found.inconsistency).all()
    assert found.to_dict()["consistency"] is None


def test_two_layers_are_consistent_wherever_the_cosine_is_positive():
    found = consistency(snapshot(40, 2, 5, seed=4))
    assert 0 < found.valid.sum() < 40
    np.testing.assert_allclose(found.inconsistency[found.valid], 0, atol=1e-5)


def test_the_scale_of_a_router_changes_nothing():
    snap = snapshot(6, 4)
    scaled = dataclasses.replace(snap, W=tuple(w * 10.0**i for i, w in enumerate(snap.W, -2)))
    np.testing.assert_allclose(consistency(snap).cosines, consistency(scaled).cosines, atol=1e-6)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_consistency_against_the_printed_formula(seed):
    snap = snapshot(3, 4, 5, seed=seed)
    found = consistency(snap)
    for i in range(3):
        e = [
            sum(float(snap.g[i, at, k]) * snap.W[at][k].astype(float) for k in range(5))
            for at in range(4)
        ]
        c = [a @ b / (np.linalg.norm(a) * np.linalg.norm(b)) for a, b in itertools.pairwise(e)]
        assert found.cosines[i] == pytest.approx(c, abs=1e-6)
        assert found.mean_cosine[i] == pytest.approx(np.mean(c), abs=1e-6)
        if max(c) > 1e-3:
            assert found.inconsistency[i] == pytest.approx(
                1 - np.mean(c) / (max(c) + 1e-8), rel=1e-3
            )
        assert found.valid[i] == (max(c) > 0) or abs(max(c)) < 1e-6


def test_a_router_of_zeros_is_no_nan():
    snap = snapshot(2, 3)
    found = consistency(dataclasses.replace(snap, W=(snap.W[0], snap.W[1] * 0, snap.W[2])))
    assert np.isfinite(found.inconsistency).all()
    np.testing.assert_array_equal(found.cosines, 0)


def test_a_vector_added_to_all_rows_moves_the_cosine_and_not_the_centred_one():
    """The softmax of (v_k + c)'x is that of v_k'x: such a vector is no part of the routing."""
    snap = snapshot(6, 3)
    c = np.random.default_rng(7).normal(size=7) * 5
    moved = dataclasses.replace(snap, W=tuple(w + c for w in snap.W))
    assert consistency(moved).mean_cosine.min() > consistency(snap).mean_cosine.max()
    np.testing.assert_allclose(
        consistency(moved, centred=True).cosines, consistency(snap, centred=True).cosines, atol=1e-4
    )
    by_hand = dataclasses.replace(snap, W=tuple(w - w.mean(0) for w in snap.W))
    np.testing.assert_allclose(
        consistency(snap, centred=True).cosines, consistency(by_hand).cosines, atol=1e-5
    )


def test_one_layer_has_no_neighbour():
    with pytest.raises(CapabilityError, match="this model has one"):
        consistency(snapshot(3, 1))


# snapshots


def test_entropy_is_log_k_where_all_share_alike():
    snap = Snapshot(np.full((2, 3, 8), 1 / 8), (np.eye(8),) * 3, np.zeros(2))
    np.testing.assert_allclose(snap.entropy, np.log(8), rtol=1e-6)


def test_snapshots_survive_the_disk_without_pickle(tmp_path):
    snap = snapshot(3, 2, 4, threshold=0.6, step=50, scoring="sigmoid", digest="abc")
    back = Snapshot.load(snap.save(tmp_path / "in" / "step.npz"))
    for name in ("g", "nll"):
        np.testing.assert_array_equal(getattr(back, name), getattr(snap, name))
    for a, b in zip(back.W, snap.W, strict=True):
        np.testing.assert_array_equal(a, b)
    for name in ("layers", "threshold", "step", "scoring", "digest"):
        assert getattr(back, name) == getattr(snap, name)
    (tmp_path / "broken.npz").write_bytes(b"PK nothing")
    with pytest.raises(DataError, match="no snapshot"):
        Snapshot.load(tmp_path / "broken.npz")
    np.savez(tmp_path / "pickled.npz", head=np.array([{"a": 1}], dtype=object))
    with pytest.raises(DataError, match="no snapshot"):
        Snapshot.load(tmp_path / "pickled.npz")
    with pytest.raises(OutputError, match="cannot write"):
        snap.save(tmp_path)


def test_a_group_is_a_snapshot_of_its_samples():
    snap = snapshot(5, digest="abc")
    some = snap.take(np.array([True, False, True, False, False]))
    np.testing.assert_array_equal(some.g, snap.g[[0, 2]])
    assert some.digest != snap.take([0, 3]).digest
    with pytest.raises(UsageError, match="no sample"):
        snap.take([])
    with pytest.raises(UsageError, match="positions below 5"):
        snap.take([5])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"g": np.full((6, 3, 5), np.nan)}, "g holds NaN"),
        ({"g": np.random.default_rng(0).normal(size=(6, 3, 5))}, "must be distributions"),
        ({"g": np.zeros((0, 3, 5))}, "must be .samples, layers, experts."),
        ({"nll": np.array([1, 2, np.inf, 1, 1, 1])}, "nll holds NaN or infinity at .2,."),
        ({"nll": np.zeros(2)}, "one number a sample"),
        ({"W": (np.eye(5),) * 2}, "one router matrix"),
        ({"W": (np.eye(5), np.eye(5), np.eye(5, 7))}, "differ in width"),
        ({"threshold": 1.0}, "share in .0, 1."),
    ],
)
def test_snapshots_that_cannot_be(change, message):
    with pytest.raises((DataError, UsageError), match=message):
        dataclasses.replace(snapshot(), **change)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"unit": "token"}, "expert or char"),
        ({"normalize": "max"}, "'length' or None"),
        ({"pairs": 0}, "at least 1"),
        ({"threshold": 0.0}, "share in"),
        ({"other": snapshot(2, 4)}, "cannot be compared"),
    ],
)
def test_distances_that_cannot_be(options, message):
    with pytest.raises((DataError, UsageError), match=message):
        pathway_distance(snapshot(), **options)


def test_one_sample_has_no_distance():
    with pytest.raises(DataError, match="needs two samples"):
        pathway_distance(snapshot(1))
    two = pathway_distance(snapshot(2))
    assert np.isnan(two.se)
    assert two.to_dict()["se"] is None
