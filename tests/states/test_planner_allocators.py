"""Simulated allocators against sequences worked out by hand from PyTorch's constants, and properties."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from byheart.core.errors import DataError, UsageError
from byheart.states._planner.allocators import max_live, online_fit, simulate_caching
from byheart.states._planner.types import Request, Trace

MIB = 2**20


def sequence(*steps):
    """(+size names a malloc, -index frees the index-th, counted from 1)."""
    made, out = [], []
    for step in steps:
        if step > 0:
            made.append(step)
            out.append(Request("malloc", str(len(made)), step))
        else:
            out.append(Request("free", str(-step), made[-step - 1]))
    return Trace(tuple(out))


@pytest.mark.parametrize(
    ("size", "allocated", "reserved"),
    [
        (1, 512, 2 * MIB),
        (513, 1024, 2 * MIB),
        (MIB, MIB, 2 * MIB),
        (MIB + 1, MIB + 512, 20 * MIB),
        (10 * MIB - 512, 10 * MIB - 512, 20 * MIB),
        (10 * MIB, 10 * MIB, 10 * MIB),
        (10 * MIB + 1, 10 * MIB + 512, 12 * MIB),  # a rest of 2 MiB less 512 is split off
        (11 * MIB, 12 * MIB, 12 * MIB),  # a rest of 1 MiB is not
    ],
)
def test_one_request(size, allocated, reserved):
    run = simulate_caching(sequence(size))
    assert (run.peak_allocated, run.peak_reserved) == (allocated, reserved)
    assert run.peak_live == size
    assert run.fragmentation == 1 - size / reserved


def test_the_smallest_block_that_fits_is_taken_and_split():
    # One small segment of 2 MiB: 800K and 400K stay apart by live neighbours, then 300K.
    k = 1024
    trace = sequence(800 * k, 4 * k, 400 * k, 4 * k, -1, -3, 300 * k, 100 * k)
    run = simulate_caching(trace)
    assert (
        run.peak_reserved == 2 * MIB
    )  # 300K goes into the 400K hole, 100K into what is left of it
    assert run.allocated[-1] == 408 * k
    full = simulate_caching(sequence(800 * k, 4 * k, 400 * k, 4 * k, -1, -3, 300 * k, 100 * k, 800 * k, 800 * k))  # fmt: skip
    assert full.peak_reserved == 2 * MIB  # the 800K hole and the segment's end are both still whole
    assert full.segments == 1


def test_neighbours_grow_together_within_a_segment():
    # Three of 6 MiB in a segment of 20: freed, they are one block again.
    run = simulate_caching(sequence(6 * MIB, 6 * MIB, 6 * MIB, -1, -3, -2, 9 * MIB, 9 * MIB))
    assert run.segments == 1
    apart = simulate_caching(sequence(6 * MIB, 6 * MIB, 6 * MIB, -1, -3, 9 * MIB))
    assert apart.segments == 2  # the middle one is live, so that 6 and 8 MiB stay apart


def test_segments_never_grow_together():
    run = simulate_caching(sequence(12 * MIB, 12 * MIB, -1, -2, 24 * MIB))
    assert run.peak_reserved == 48 * MIB
    assert run.fragmentation == pytest.approx(0.5)
    grown = simulate_caching(sequence(12 * MIB, 12 * MIB, -1, -2, 24 * MIB), expandable=True)
    assert grown.peak_reserved == 40 * MIB  # two pages of 20 MiB, in one stretch
    assert grown.segments == 1


def test_small_and_large_do_not_share():
    run = simulate_caching(sequence(15 * MIB, -1, MIB, 2 * MIB))
    assert run.segments == 2
    assert run.reserved == (16 * MIB, 16 * MIB, 18 * MIB, 18 * MIB)


def test_a_full_device_gives_its_cache_back_and_then_fails():
    trace = sequence(12 * MIB, 12 * MIB, -1, -2, 24 * MIB, 12 * MIB)
    run = simulate_caching(trace, capacity=40 * MIB)
    assert run.reorganisations == 1
    assert run.failed_at is None
    assert run.peak_reserved == 36 * MIB
    tight = simulate_caching(trace, capacity=35 * MIB)
    assert tight.failed_at == 5
    assert tight.reorganisations == 2
    assert len(tight.reserved) == 5


def test_the_papers_illustration():
    """A request fails although the free bytes would do: they lie between live ones (figure 3)."""
    steps = [9 * MIB, 9 * MIB] * 16 + [-i for i in range(1, 33, 2)] + [100 * MIB]
    run = simulate_caching(sequence(*steps), capacity=330 * MIB)
    assert run.failed_at == len(steps) - 1
    assert run.peak_reserved - run.allocated[-1] > 100 * MIB
    assert max_live(sequence(*steps)) < 330 * MIB  # a plan would have had room


def test_repeats_reuse_what_is_cached():
    trace = sequence(3 * MIB, 5 * MIB, -1, 700, 4 * MIB)
    once, thrice = simulate_caching(trace), simulate_caching(trace, repeats=3)
    assert thrice.peak_reserved == once.peak_reserved
    assert thrice.segments == once.segments
    assert len(thrice.reserved) == 3 * len(trace)


def brute_first_fit(trace):
    """Try every address from 0 up, byte by byte."""
    live, out, top = {}, {}, 0
    for r in trace:
        if r.kind == "free":
            del live[r.id]
            continue
        at = 0
        while any(at < b and a < at + r.size for a, b in live.values()):
            at += 1
        live[r.id] = out[r.id] = (at, at + r.size)
        top = max(top, at + r.size)
    return {k: v[0] for k, v in out.items()}, top


@st.composite
def traces(draw, largest=40):
    steps, live, count = [], [], 0
    for _ in range(draw(st.integers(1, 60))):
        if live and draw(st.booleans()):
            steps.append(-live.pop(draw(st.integers(0, len(live) - 1))))
        else:
            count += 1
            steps.append(draw(st.integers(1, largest)))
            live.append(count)
    return sequence(*steps)


@settings(max_examples=200, deadline=None)
@given(traces())
def test_first_fit_is_what_trying_every_address_finds(trace):
    plan = online_fit(trace)
    addresses, top = brute_first_fit(trace)
    assert plan.address == addresses
    assert plan.height == top


@settings(max_examples=200, deadline=None)
@given(traces(), st.sampled_from(["first", "best"]), st.sampled_from([1, 4, 7]))
def test_online_fits_are_plans(trace, policy, alignment):
    plan = online_fit(trace, policy, alignment=alignment)
    plan.validate()
    assert plan.replay(trace) == plan.height
    assert plan.lower_bound == max_live(trace) <= plan.height


@settings(max_examples=150, deadline=None)
@given(traces(largest=30 * MIB), st.booleans())
def test_what_is_live_is_allocated_and_what_is_allocated_reserved(trace, expandable):
    run = simulate_caching(trace, expandable=expandable)
    live = 0
    for r, allocated, reserved in zip(trace, run.allocated, run.reserved, strict=True):
        live += r.size if r.kind == "malloc" else -r.size
        assert live <= allocated <= reserved
        assert allocated % 512 == 0
        assert reserved % (2 * MIB) == 0
    assert run.peak_live == max_live(trace)
    if not expandable:
        assert list(run.reserved) == sorted(run.reserved)  # nothing is given back without need


@settings(max_examples=80, deadline=None)
@given(traces(largest=30 * MIB), st.booleans())
def test_handed_out_blocks_never_overlap(trace, expandable):
    from byheart.states._planner.allocators import _Caching

    state = _Caching(None, expandable)
    for r in trace:
        if r.kind == "malloc":
            assert state.malloc(r.id, r.size)
        else:
            state.free(r.id)
        taken = sorted((b.address, b.address + b.size) for b, _, _ in state.held.values())
        free = sorted((b.address, b.address + b.size) for p in state.pools.values() for b in p.blocks.values())  # fmt: skip
        every = sorted(taken + free)
        assert all(a[1] <= b[0] for a, b in itertools.pairwise(every))
        assert sum(e - b for b, e in every) == state.reserved


def test_requests_for_nothing_take_nothing():
    trace = [("malloc", "a", 0), ("malloc", "b", 8), ("free", "a", 0)]
    assert simulate_caching(trace).peak_allocated == 512
    assert online_fit(trace).address == {"b": 0}


def test_bad_input():
    with pytest.raises(DataError, match="freed a second time"):
        simulate_caching([("malloc", "a", 1), ("free", "a", 1), ("free", "a", 1)])
    with pytest.raises(DataError, match="was never allocated"):
        online_fit([("free", "a", 1)])
    with pytest.raises(UsageError, match="policy is 'worst'"):
        online_fit([], "worst")
    with pytest.raises(UsageError, match="alignment is 0"):
        online_fit([], alignment=0)
    with pytest.raises(UsageError, match="repeats is 0"):
        simulate_caching([], repeats=0)
    with pytest.raises(UsageError, match="capacity is 0"):
        simulate_caching([], capacity=0)
    with pytest.raises(UsageError, match="leave one out"):
        simulate_caching([], capacity=1, expandable=True)
    assert simulate_caching([]).peak_reserved == 0
    assert simulate_caching([]).fragmentation == 0
    assert online_fit([]).height == 0
