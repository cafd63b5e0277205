"""Paging: against brute force, against the theorems, and plain policies against compiled loops."""

from __future__ import annotations

import itertools
import json
import math
from collections import defaultdict
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import reference_trace
from hypothesis import given, settings
from hypothesis import strategies as st

from byheart.core.errors import DataError, UnknownName, UsageError
from byheart.states._paging.bits import pages_of
from byheart.states.paging import (
    POLICIES,
    BlindOracle,
    Combine,
    FlushWhenAll0s,
    LMarker,
    LNonMarker,
    Mark0,
    MarkAndPredict,
    Marker,
    PredictiveMarker,
    TrustAndDoubt,
    bit_errors,
    discard_bits,
    flip,
    next_use,
    noisy_next,
    opt,
    phase_bits,
    phases,
    pleco,
    popu,
    simulate,
)

TRACES = st.lists(st.integers(0, 6), min_size=1, max_size=40)
SMALL = st.lists(st.integers(0, 4), min_size=1, max_size=10)


def fewest_faults(trace, k):
    """By trying every eviction."""

    @cache
    def left(t, cache):
        if t == len(trace):
            return 0
        if trace[t] in cache:
            return left(t + 1, cache)
        if len(cache) < k:
            return 1 + left(t + 1, cache | {trace[t]})
        return 1 + min(left(t + 1, (cache - {out}) | {trace[t]}) for out in cache)

    return left(0, frozenset())


@settings(deadline=None)
@given(SMALL, st.integers(1, 4))
def test_belady_is_the_best_of_all_schedules(trace, k):
    assert opt(trace, k) == fewest_faults(tuple(trace), k)


@settings(deadline=None)
@given(TRACES, st.integers(1, 8))
def test_belady_by_its_definition(trace, k):
    cache, faults, bits, latest = set(), 0, [0] * len(trace), {}
    for t, page in enumerate(trace):
        if page not in cache:
            faults += 1
            if len(cache) == k:
                rest = trace[t:]
                out = max(cache, key=lambda p: (rest.index(p) if p in rest else math.inf, -p))
                cache.remove(out)
                bits[latest[out]] = 1
            cache.add(page)
        latest[page] = t
    assert opt(trace, k) == faults
    assert discard_bits(trace, k).tolist() == bits


@settings(deadline=None)
@given(TRACES, st.integers(1, 8))
def test_phases_by_their_definition(trace, k):
    runs, now = [], []
    for page in trace:
        if len({*now, page}) > k:
            runs.append(now)
            now = []
        now = [*now, page]
    runs.append(now)
    assert phases(trace, k).tolist() == [0, *itertools.accumulate(map(len, runs))][:-1]
    bits = [int(i + 1 == len(runs) or p not in runs[i + 1]) for i, r in enumerate(runs) for p in r]
    assert phase_bits(trace, k).tolist() == bits


@settings(deadline=None)
@given(TRACES)
def test_next_use(trace):
    n = len(trace)
    wanted = [next((j for j in range(i + 1, n) if trace[j] == p), n) for i, p in enumerate(trace)]
    assert next_use(pages_of(trace)).tolist() == wanted


@given(TRACES, st.integers(1, 8), st.integers(0, 10**9), st.data())
@settings(max_examples=200, deadline=None)
def test_compiled_loops_are_the_plain_policies(trace, k, seed, data):
    bits = data.draw(st.lists(st.integers(0, 1), min_size=len(trace), max_size=len(trace)))
    pages = pages_of(trace)
    for name in ("fifo", "lru", "marker", "flush", "mark0", "mark0-eager", "mark-and-predict"):
        eager = name == "mark0-eager"
        policy = Mark0(k, seed, lazy=False) if eager else POLICIES[name](k, seed)
        faults = 0
        for page, bit in zip(pages.tolist(), bits, strict=True):
            before = len(policy)
            done = policy.access(page, bit)
            assert len(policy) <= k
            assert len(policy) == before + (not done.hit) - len(done.evicted)
            assert all(p not in policy for p in done.evicted)
            assert page in policy or eager
            faults += not done.hit
        assert simulate(name, trace, k, bits=bits, seed=seed).faults == faults


def expected_faults(trace, bits, k, kind):
    """Of a marking policy, exactly: a distribution over (marked, unmarked, bits) is carried on."""
    states = {(frozenset(), frozenset()): 1.0}
    faults, latest = 0.0, {}
    for page, bit in zip(trace, bits, strict=True):
        after = defaultdict(float)
        for (marked, unmarked), p in states.items():
            if page in marked or page in unmarked:
                held = [((marked, unmarked), p)]
            else:
                faults += p
                full = len(marked) + len(unmarked) == k
                if full and not unmarked:
                    marked, unmarked = frozenset(), marked
                among = unmarked
                if kind == "mark-and-predict":
                    among = frozenset(q for q in unmarked if latest[q]) or unmarked
                held = (
                    [((marked, unmarked - {out}), p / len(among)) for out in among]
                    if full else [((marked, unmarked), p)]
                )  # fmt: skip
            for (m, u), q in held:
                gone = kind == "mark0" and bit
                after[m - {page} if gone else m | {page}, u - {page}] += q
        states = after
        latest[page] = bit
    return faults


@given(
    st.lists(st.integers(0, 4), min_size=1, max_size=14), st.integers(1, 4), st.data(),
    st.sampled_from([("mark0", discard_bits), ("mark-and-predict", phase_bits)]),
)  # fmt: skip
@settings(max_examples=300, deadline=None)
def test_the_bounds_hold_in_exact_expectation(trace, k, data, kind):
    bits = data.draw(st.lists(st.integers(0, 1), min_size=len(trace), max_size=len(trace)))
    name, true = kind
    eta0, eta1 = bit_errors(np.array(bits), true(trace, k))
    harmonic = sum(1 / i for i in range(1, k + 1))
    alpha, beta = (1, 2 * harmonic) if name == "mark0" else (2, harmonic)
    bound = alpha * opt(trace, k) + beta * eta0 + eta1
    assert expected_faults(trace, bits, k, name) <= bound + 1e-9
    assert simulate(name, trace, k, bits=bits).bound == pytest.approx(bound)


@given(
    st.lists(st.integers(0, 4), min_size=1, max_size=14), st.integers(1, 4), st.data(),
    st.sampled_from(["mark0-eager", "mark-and-predict"]),
)  # fmt: skip
@settings(max_examples=15, deadline=None)
def test_the_coins_are_fair(trace, k, data, name):
    bits = data.draw(st.lists(st.integers(0, 1), min_size=len(trace), max_size=len(trace)))
    some = [simulate(name, trace, k, bits=bits, seed=s).faults for s in range(3000)]
    wanted = expected_faults(trace, bits, k, name.removesuffix("-eager"))
    assert np.mean(some) == pytest.approx(wanted, abs=5 * np.std(some) / 3000**0.5 + 1e-9)


@settings(deadline=None)
@given(TRACES, st.integers(1, 8), st.data())
def test_the_flush_bound_holds_and_lazy_is_never_worse(trace, k, data):
    bits = data.draw(st.lists(st.integers(0, 1), min_size=len(trace), max_size=len(trace)))
    result = simulate("flush", trace, k, bits=bits)
    assert result.faults <= result.bound
    for seed in range(5):
        lazy = simulate("mark0", trace, k, bits=bits, seed=seed).faults
        assert lazy <= simulate("mark0-eager", trace, k, bits=bits, seed=seed).faults


@settings(deadline=None)
@given(TRACES, st.integers(1, 8))
def test_true_bits_give_the_optimum(trace, k):
    best = opt(trace, k)
    for name in ("flush", "mark0", "mark0-eager", "blind-oracle", "belady"):
        assert simulate(name, trace, k).faults == best
    assert simulate("mark-and-predict", trace, k).faults <= 2 * best


@settings(deadline=None)
@given(TRACES, st.integers(1, 7))
def test_what_is_known_of_the_classics(trace, k):
    zeros = np.zeros(len(trace), int)
    assert opt(trace, k + 1) <= opt(trace, k)
    assert simulate("lru", trace, k + 1).faults <= simulate("lru", trace, k).faults
    for name in ("lru", "fifo"):
        result = simulate(name, trace, k)
        assert result.opt <= result.faults <= result.bound
    ones = simulate("mark0-eager", trace, k, bits=zeros + 1)
    assert ones.faults == len(trace)  # its cache stays empty


@given(TRACES, st.integers(1, 6), st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_policies_that_follow_predictions_keep_to_their_room(trace, k, seed):
    rng = np.random.default_rng(seed)
    predicted = rng.integers(0, 60, len(trace)).astype(float)
    for policy in (
        BlindOracle(k), PredictiveMarker(k, seed), LMarker(k, seed), LNonMarker(k, seed),
        TrustAndDoubt(k, seed), Combine([Marker(k, seed), BlindOracle(k)], seed=seed),
        Combine([LNonMarker(k, seed), Marker(k, seed)], "deterministic"),
        Combine([Mark0(k), MarkAndPredict(k), BlindOracle(k)], "deterministic"),
    ):  # fmt: skip
        held = set()
        for page, when in zip(trace, predicted.tolist(), strict=True):
            several = {"next": when, "discard": page % 2, "phase": page % 2}
            done = policy.access(page, several if policy.hint == "several" else when)
            assert done.hit == (page in held)
            held = (held | {page}) - set(done.evicted)
            assert page in held
            assert len(held) == len(policy) <= k


def test_without_a_single_1_mark0_is_marker():
    trace = np.random.default_rng(6).integers(0, 9, 60)
    zeros = np.zeros(60, int)
    some = [simulate("mark0", trace, 4, bits=zeros, seed=s).faults for s in range(4000)]
    others = [simulate("marker", trace, 4, seed=s).faults for s in range(4000, 8000)]
    assert np.mean(some) == pytest.approx(np.mean(others), abs=5 * np.std(some) * (2 / 4000) ** 0.5)
    assert np.std(some) == pytest.approx(np.std(others), rel=0.1)


def test_a_marking_policy_faults_once_a_page_and_phase():
    rng = np.random.default_rng(2)
    trace = rng.integers(0, 30, 3000)
    predicted = rng.random(3000) * 3000
    starts = [*phases(trace, 8).tolist(), len(trace)]
    for policy in (Marker(8), MarkAndPredict(8), LMarker(8), PredictiveMarker(8)):
        hints = (rng.random(3000) < 0.5) if policy.hint == "phase" else predicted
        missed = [not policy.access(int(p), h).hit for p, h in zip(trace, hints, strict=True)]
        for a, b in itertools.pairwise(starts):
            wrong = [p for p, m in zip(trace[a:b].tolist(), missed[a:b], strict=True) if m]
            assert len(wrong) == len(set(wrong))


def test_a_combination_is_near_the_better_of_two():
    rng = np.random.default_rng(3)
    trace = pages_of(rng.zipf(1.3, 6000) % 200)
    good, bad = noisy_next(trace, 0), rng.random(6000) * 6000
    for predicted in (good, bad):
        parts = [simulate(p(16), trace, predicted=predicted).faults for p in (BlindOracle, Marker)]
        for how in ("randomized", "deterministic"):
            both = Combine([Marker(16), BlindOracle(16)], how)
            assert simulate(both, trace, predicted=predicted).faults <= 1.1 * min(parts)
        robust = simulate(TrustAndDoubt(16), trace, predicted=predicted)
        assert robust.faults <= 1.15 * simulate("marker", trace, 16).faults


def test_predictors_by_their_formulas():
    trace = list("abacabadaab")
    seen = [trace[: i + 1].count(p) for i, p in enumerate(trace)]
    assert popu(trace) == pytest.approx([t + t / c for t, c in enumerate(seen, 1)])
    weight = [(d + 10) ** -1.8 * math.exp(-d / 670) for d in range(1, 12)]
    for t, page in enumerate(trace):
        own = sum(weight[t - i] for i in range(t + 1) if trace[i] == page)
        assert pleco(trace)[t] == pytest.approx(t + sum(weight[: t + 1]) / own)
    exact = noisy_next(trace, 0)
    assert exact.tolist() == [n + 1 if n < 11 else 110_001 for n in next_use(pages_of(trace))]


def test_flip_turns_the_share_that_is_asked_for():
    bits = np.zeros(100_000, np.uint8)
    assert flip(bits, 0.05, 1).mean() == pytest.approx(0.05, abs=0.005)
    assert (flip(bits, 0.05, 1) == flip(bits, 0.05, 1)).all()
    assert flip(bits, 1.0).all()


@pytest.mark.parametrize(
    ("call", "error", "said"),
    [
        (lambda: opt([], 2), DataError, "empty"),
        (lambda: opt([1], 0), UsageError, "at least 1 page, got k=0"),
        (lambda: opt([1], 2.5), UsageError, "k=2.5"),
        (lambda: opt([1.0, math.nan], 1), DataError, "request 1 is NaN"),
        (lambda: opt([[1, 2]], 1), DataError, "one dimension"),
        (lambda: opt([1, [2, 3]], 1), DataError, "not a sequence of pages"),
        (lambda: simulate("lru", [1, 2]), UsageError, "say how many pages"),
        (lambda: simulate("lri", [1, 2], 1), UnknownName, "lru"),
        (lambda: simulate("mark0", [1, 2], 1, bits=[0]), UsageError, "2 requests need 2 bits"),
        (lambda: simulate("mark0", [1, 2], 1, bits=[0, 2]), UsageError, "bit 1 is"),
        (lambda: simulate("lmarker", [1, 2], 1, predicted=[0]), UsageError, "2 predicted times"),
        (lambda: simulate("lmarker", [1, 2], 1, predicted=[0, math.nan]), UsageError, "1 NaN"),
        (lambda: simulate(Marker(3), [1], 2), UsageError, "made for k=3"),
        (lambda: flip(np.zeros(2), 1.5), UsageError, "probability"),
        (lambda: noisy_next([1], -1), UsageError, "sigma"),
        (lambda: Combine([Marker(2)]), UsageError, "at least two"),
        (lambda: Combine([Marker(2), Marker(3)]), UsageError, "same k"),
        (lambda: Combine([Marker(2)] * 3), UsageError, "combines two"),
        (lambda: FlushWhenAll0s(2).access(1, None), ValueError, "needs a bit"),
        (lambda: BlindOracle(2).access(1, None), ValueError, "predicted time"),
    ],
)
def test_bad_input_is_named(call, error, said):
    with pytest.raises(error, match=said):
        call()


def test_a_cache_larger_than_the_trace_and_one_page():
    for name in ("belady", *POLICIES):
        assert simulate(name, [7] * 9, 100).faults == 1
        assert simulate(name, [1, 2, 3, 1], 100).faults == 3
        assert simulate(name, ["x", "y", "x"], 1).faults == 3


MISSES = json.loads((Path(__file__).parent / "libcachesim_misses.json").read_text())["misses"]


@pytest.mark.parametrize("case", sorted(MISSES))
def test_misses_are_libcachesims_to_the_last_request(case):
    kind, policy, k = case.split()
    trace = reference_trace.pages(kind)
    assert simulate(policy, trace, int(k)).faults == MISSES[case]
    if policy == "belady":
        later = next_use(pages_of(trace)).astype(float)
        assert simulate(BlindOracle(int(k)), trace, predicted=later).faults == MISSES[case]
