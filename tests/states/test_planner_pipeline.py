"""The simulated streams against their closed form, and what must never overlap."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from byheart.core.errors import UsageError
from byheart.states._planner.alpha import split_activations
from byheart.states._planner.pipeline import LayerTimes, simulate_pipeline, step_seconds

times = st.floats(0, 10)


def equal(n, forward, backward, recompute, copy):
    swapped = LayerTimes(forward, backward, recompute, copy)
    kept = LayerTimes(forward, backward)
    return [swapped if i < n - 2 else kept for i in range(n)]


@settings(max_examples=300, deadline=None)
@given(st.integers(1, 40), times, times, times, times, times)
def test_equal_layers_take_what_the_closed_form_says(n, f, b, r, c, head):
    found = simulate_pipeline(equal(n, f, b, r, c), head=head)
    assert math.isclose(
        found.seconds, step_seconds(n, f, b, r, c, head), rel_tol=1e-9, abs_tol=1e-9
    )


def test_by_hand():
    """Four layers, copies slower than the forward pass: worked out on paper."""
    found = simulate_pipeline(equal(4, 1.0, 2.0, 0.5, 1.5))
    #  forward 0-1, 1-2, wait to 2.5, 2.5-3.5, wait to 4, 4-5; copies 1-2.5, 2.5-4
    assert [(e.start, e.end) for e in found.on("to host")] == [(1.0, 2.5), (2.5, 4.0)]
    assert found.forward_stall == 1.0
    #  backward 5-7, 7-9; copy back of layer 1 from 7 to 8.5, of layer 0 from 9 to 10.5
    assert [(e.layer, e.start, e.end) for e in found.on("from host")] == [(1, 7, 8.5), (0, 9, 10.5)]
    assert found.backward_stall == 0
    assert found.seconds == 14.0


layer = st.builds(LayerTimes, times, times, times, times)


@settings(max_examples=200, deadline=None)
@given(st.lists(layer, min_size=1, max_size=20), st.integers(1, 4), times)
def test_no_stream_does_two_things_and_no_buffer_holds_two_layers(layers, buffers, head):
    found = simulate_pipeline(layers, head=head, buffers=buffers)
    for stream in ("compute", "to host", "from host"):
        events = found.on(stream)
        for a, b in itertools.pairwise(events):
            assert a.end <= b.start + 1e-9
    at = {(e.kind, e.layer): e for e in found.events}
    for i in range(len(layers)):
        assert at["offload", i].start >= at["forward", i].end - 1e-9
        assert at["prefetch", i].start >= at["offload", i].end - 1e-9
        assert at["backward", i].start >= at["prefetch", i].end - 1e-9
        if layers[i].recompute:
            assert at["recompute", i].start >= at["prefetch", i].end - 1e-9
            assert at["backward", i].start >= at["recompute", i].end - 1e-9
        if i >= buffers:  # the buffer was given back
            assert at["forward", i].start >= at["offload", i - buffers].end - 1e-9
            assert at["prefetch", i - buffers].start >= at["backward", i].end - 1e-9
    busy = sum(t.forward + t.backward + t.recompute for t in layers) + head
    assert found.seconds == pytest.approx(busy + found.forward_stall + found.backward_stall)


@settings(max_examples=100, deadline=None)
@given(st.lists(layer, min_size=1, max_size=12), st.integers(1, 3))
def test_another_buffer_never_makes_it_slower(layers, buffers):
    fewer = simulate_pipeline(layers, buffers=buffers).seconds
    assert simulate_pipeline(layers, buffers=buffers + 1).seconds <= fewer + 1e-9


@settings(max_examples=100, deadline=None)
@given(
    st.floats(0.1, 5), st.floats(1e9, 1e11), st.floats(1e8, 1e11), st.integers(3, 40),
    st.floats(0.05, 1),
)  # fmt: skip
def test_alpha_of_the_closed_form_stalls_only_where_it_says(t, bandwidth, size, n, linear):
    split = split_activations(
        s_input=size / 16, s_attn=size / 16, s_others=size * 14 / 16, bandwidth=bandwidth,
        t_layer=t, layers=n, cpu_bytes=1e16, t_linear=linear * t,
    )  # fmt: skip
    copy = (size / 8 + split.alpha * size * 14 / 16) / bandwidth
    found = simulate_pipeline(equal(n, t, 2 * t, split.recompute_seconds, copy))
    assert found.forward_stall == pytest.approx((n - 2) * split.stall, abs=1e-6 * n * t)
    if split.stall == 0:
        assert found.backward_stall <= 1e-6 * n * t


def test_one_buffer_with_nothing_but_the_mandatory_part():
    """What one buffer costs: every copy stands between two layers."""
    layers = [LayerTimes(1.0, 2.0, 1.0, 0.25)] * 3 + [LayerTimes(1.0, 2.0)]
    found = simulate_pipeline(layers, buffers=1)
    assert found.seconds == 4 + 3 * 0.25 + 4 * 2 + 3 * (1 + 0.25)
    assert simulate_pipeline(layers[:3] + layers[3:], buffers=2).seconds == 4 + 8 + 3


@pytest.mark.parametrize(
    ("layers", "options", "message"),
    [
        ([], {}, "no layers"),
        ([LayerTimes(-1, 1)], {}, "layer 0: a time is -1"),
        ([LayerTimes(1, math.nan)], {}, "a time is nan"),
        ([LayerTimes(1, 1)], {"head": -1}, "a time is -1"),
        ([LayerTimes(1, 1)], {"buffers": 0}, "buffers is 0"),
        ([LayerTimes(1, 1)] * 3, {}, "layer 0 has no copy"),
    ],
)
def test_bad_input(layers, options, message):
    with pytest.raises(UsageError, match=message):
        simulate_pipeline(layers, **options)


def test_the_closed_form_wants_a_layer():
    with pytest.raises(UsageError, match="layers is 0"):
        step_seconds(0, 1, 1, 1, 1)
