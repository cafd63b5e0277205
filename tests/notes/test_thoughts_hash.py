"""The cross-polytope hash against a loop, its invariants, and recall by groups against exact."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from byheart.core.errors import UsageError
from byheart.notes._thought_hash import Groups, cross_polytope_hash, digest, draw, probe_order, unit
from byheart.notes.thoughts import Thought, ThoughtMemory


def brute(x, R):
    """F as it is written: the first maximum of [xR ; -xR]."""
    out = []
    for row in x:
        products = [float(row @ column) for column in R.T]
        both = products + [-p for p in products]
        best = 0
        for i, value in enumerate(both):
            if value > both[best]:
                best = i
        out.append(best)
    return np.array(out)


@pytest.mark.parametrize(("d", "half"), [(1, 1), (2, 1), (3, 5), (64, 8), (384, 32)])
def test_against_a_loop(d, half):
    rng = np.random.default_rng(d)
    x, R = rng.standard_normal((400, d)), rng.standard_normal((d, half))
    np.testing.assert_array_equal(cross_polytope_hash(x, R), brute(x, R))


@settings(max_examples=200, deadline=None)
@given(
    x=st.lists(st.integers(-3, 3), min_size=3, max_size=3).filter(any),
    R=st.lists(st.lists(st.integers(-2, 2), min_size=4, max_size=4), min_size=3, max_size=3),
)
def test_ties_take_the_first_maximum(x, R):
    x, R = np.array([x], float), np.array(R, float)
    assert cross_polytope_hash(x, R)[0] == brute(x, R)[0]


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 999), scale=st.floats(1e-6, 1e6), half=st.integers(1, 12))
def test_scale_and_antipode(seed, scale, half):
    rng = np.random.default_rng(seed)
    x, R = rng.standard_normal((20, 9)), rng.standard_normal((9, half))
    f = cross_polytope_hash(x, R)
    np.testing.assert_array_equal(cross_polytope_hash(scale * x, R), f)
    np.testing.assert_array_equal(cross_polytope_hash(-x, R), (f + half) % (2 * half))
    assert f.dtype == np.int16


def pairs(c, n, d, rng):
    a = unit(rng.standard_normal((n, d)))
    z = rng.standard_normal((n, d))
    z = unit(z - (z * a).sum(1, keepdims=True) * a)
    return a, c * a + math.sqrt(1 - c * c) * z


@pytest.mark.parametrize("c", [0.0, 0.3, 0.5, 0.7, 0.9])
def test_collisions_at_two_groups_have_a_closed_form(c):
    """b = 2: 1 - arccos(c) / pi, within four standard errors of 40,000 draws."""
    rng = np.random.default_rng(1)
    n, hits = 200, []
    for _ in range(200):
        a, b = pairs(c, n, 16, rng)
        R = rng.standard_normal((16, 1))
        hits.append((cross_polytope_hash(a, R) == cross_polytope_hash(b, R)).mean())
    wanted = 1 - math.acos(c) / math.pi
    # pairs under one R are alike: the error is taken over the draws of R
    assert abs(np.mean(hits) - wanted) < 4 * max(np.std(hits) / math.sqrt(200), 1e-3)


@pytest.mark.parametrize(
    ("c", "wanted"), [(0.0, 0.06), (0.3, 0.14), (0.5, 0.23), (0.7, 0.36), (0.8, 0.46), (0.9, 0.60)]
)
def test_collisions_at_sixteen_groups_follow_the_sheet(c, wanted):
    rng = np.random.default_rng(2)
    hits = []
    for _ in range(300):
        a, b = pairs(c, 100, 64, rng)
        R = rng.standard_normal((64, 8))
        hits.append((cross_polytope_hash(a, R) == cross_polytope_hash(b, R)).mean())
    assert abs(np.mean(hits) - wanted) < 0.015


def test_two_groups_of_centred_data_halve_the_scan():
    rng = np.random.default_rng(3)
    shares = []
    for seed in range(40):
        rows = Groups(32, 2, seed=seed)
        x = rng.standard_normal((2000, 32))
        rows.add(x - x.mean(0))
        shares.append(rows.among(unit(rng.standard_normal((1, 32)))[0], 1).scanned)
    assert abs(np.mean(shares) - 0.5) < 0.02


def filled(b, tables=1, n=500, d=24, seed=0):
    rows = Groups(d, b, tables, seed)
    rows.add(np.random.default_rng(4).standard_normal((n, d)))
    return rows


@pytest.mark.parametrize("tables", [1, 3])
def test_the_union_of_all_groups_is_everything(tables):
    rows = filled(8, tables)
    q = unit(np.random.default_rng(5).standard_normal((1, 24)))[0]
    every = np.concatenate([np.flatnonzero(rows.columns[:, 0] == g) for g in range(8)])
    assert sorted(every) == list(range(500))
    exact = rows.exact(q)
    most = rows.among(q, 7)
    assert set(most.rows) <= set(exact.rows)
    whole = rows.among(q, 8)
    np.testing.assert_array_equal(whole.rows, exact.rows)
    np.testing.assert_array_equal(whole.scores, exact.scores)
    assert whole.scanned == 1.0


def test_probes_and_tables_only_add():
    q = unit(np.random.default_rng(6).standard_normal((1, 24)))[0]
    rows = filled(16)
    found = [set(rows.among(q, p).rows) for p in range(1, 17)]
    assert all(a <= b for a, b in itertools.pairwise(found))
    one, three = filled(16, 1, seed=9), filled(16, 3, seed=9)
    np.testing.assert_array_equal(one.R[0], three.R[0])
    assert set(one.among(q, 1).rows) <= set(three.among(q, 1).rows)


def test_the_first_probe_is_the_hash():
    rng = np.random.default_rng(7)
    R = rng.standard_normal((24, 8))
    for x in rng.standard_normal((200, 24)):
        order = probe_order(x, R)
        assert order[0] == cross_polytope_hash(x, R)
        assert sorted(order) == list(range(16))


def test_the_best_are_the_first_of_all_with_ties_by_place():
    rows = Groups(2, None)
    rows.add(np.array([[1, 0], [0, 1], [1, 0], [1, 1], [1, 0], [0, 1]], float))
    q = np.array([1, 0], np.float32)
    whole = rows.exact(q)
    assert whole.rows.tolist() == [0, 2, 4, 3, 1, 5]
    for most in range(1, 7):
        assert rows.exact(q, most).rows.tolist() == whole.rows[:most].tolist()


def test_rows_added_one_by_one_are_those_added_at_once():
    x = np.random.default_rng(8).standard_normal((700, 24))
    a, b = Groups(24, 8, 2), Groups(24, 8, 2)
    a.add(x)
    for row in x:
        b.add(row[None])
    np.testing.assert_array_equal(a.vectors, b.vectors)
    np.testing.assert_array_equal(a.columns, b.columns)
    a.keep(np.arange(0, 700, 2))
    np.testing.assert_array_equal(a.vectors, b.vectors[::2])
    a.add(x[:3])
    assert len(a) == 353


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 0.0])
def test_what_has_no_direction_is_refused(bad):
    R = np.ones((4, 2))
    x = np.ones((3, 4))
    x[1] = bad
    with pytest.raises(UsageError, match="vector 1"):
        cross_polytope_hash(x, R)
    rows = Groups(4, 4)
    with pytest.raises(UsageError, match="vector 1"):
        rows.add(x)
    assert len(rows) == 0
    with pytest.raises(UsageError, match="different encoders"):
        rows.add(np.ones((2, 5)))
    with pytest.raises(UsageError, match="do not fit"):
        cross_polytope_hash(np.ones((2, 3)), R)


def test_the_same_seed_draws_the_same_hash_for_ever():
    """The figures are RandomState's, which numpy has frozen."""
    assert draw(0, 2, 3).ravel().tolist() == pytest.approx([1.764052, 0.400157, 0.978738], abs=1e-6)
    assert digest(draw(7, 16, 384, 2)) == digest(draw(7, 16, 384, 2))
    assert digest(draw(7, 16, 384, 2)) != digest(draw(8, 16, 384, 2))
    for bad in (0, 3, -2, True, 2.0, 40_000):
        with pytest.raises(UsageError, match="even number"):
            draw(0, bad, 3)


# -------------------------------------------------------------------- through the memory

TABLE = np.random.default_rng(10).standard_normal((400, 32))


def numbered(texts):
    """A stand-in encoder: "n" in "Thing n is here" is a row of random numbers."""
    return np.stack([TABLE[int("".join(c for c in t if c.isdigit()) or 0)] for t in texts])


numbered.name = "numbered"


@pytest.fixture
def many(tmp_path):
    with ThoughtMemory(tmp_path / "m.db", encoder=numbered, groups=16, k=5) as memory:
        memory.insert([Thought(f"Thing {n} is here") for n in range(300)])
        yield memory


def test_probing_all_groups_is_the_exact_answer(many, tmp_path):
    with ThoughtMemory(tmp_path / "m.db", encoder=numbered, k=5) as exact:
        for n in range(300, 330):
            a, b = many.recall(f"Thing {n}", probes=16), exact.recall(f"Thing {n}")
            assert [(h.item.id, h.score) for h in a] == [(h.item.id, h.score) for h in b]
            assert (a.path, a.scanned, b.path, b.scanned) == ("exact", 1.0, "exact", 1.0)


def test_recall_tells_its_path_and_the_share_scanned(many):
    seen = set()
    for n in range(300, 400):
        one = many.recall(f"Thing {n}", k=3)
        assert len(one) == 3
        assert 0 < one.scanned <= 1
        seen.add(one.path)
        four = many.recall(f"Thing {n}", k=3, probes=4)
        assert four.path == "multi-probe"
        assert four.scanned >= one.scanned
    assert "group" in seen
    every = many.recall("Thing 300", k=299)
    assert (every.path, every.scanned, len(every)) == ("exact fall-back", 1.0, 299)
    wide = many.recall("Thing 300", k=60)
    assert (wide.path, len(wide)) == ("multi-probe", 60)
    with pytest.raises(UsageError, match="probes"):
        many.recall("x", probes=17)


def test_the_group_answer_is_a_part_of_the_exact_order(many):
    exact = [h.item.id for h in many.recall("Thing 320", k=300, probes=16)]
    group = [h.item.id for h in many.recall("Thing 320", k=4)]
    places = [exact.index(i) for i in group]
    assert places == sorted(places)
