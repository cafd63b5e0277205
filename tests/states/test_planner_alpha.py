"""alpha in closed form against a linear program, and what a split costs."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from byheart.core.errors import BudgetExceeded, UsageError
from byheart.states._planner.alpha import LayerSplit, solve_alpha, split_activations

GIB = 2**30
PAPER = {"s_input": GIB, "s_attn": GIB, "s_others": 14 * GIB, "bandwidth": 32e9, "layers": 32}

problems = st.fixed_dictionaries(
    {
        "s_input": st.floats(0, 1e10),
        "s_attn": st.floats(0, 1e10),
        "s_others": st.floats(1, 1e11),
        "bandwidth": st.floats(1e6, 1e12),
        "t_layer": st.floats(0, 100),
        "layers": st.integers(1, 100),
        "cpu_bytes": st.floats(0, 1e13),
    }
)


def program(p, t_backward=None, t_linear=0.0):
    """The paper's linear program, by HiGHS; None where it has no solution."""
    from scipy.optimize import linprog

    n, mandatory, others = p["layers"] - 2, p["s_input"] + p["s_attn"], p["s_others"]
    if n <= 0:
        return 1.0
    # In units of s_others, so that the solver's absolute tolerances mean something.
    rows, room = [[1.0]], [(p["bandwidth"] * p["t_layer"] - mandatory) / others]
    rows.append([1.0])
    room.append((p["cpu_bytes"] / n - mandatory) / others)
    if t_backward is not None:
        again = p["bandwidth"] * t_linear / others
        rows.append([1.0 + again])
        room.append((p["bandwidth"] * t_backward - mandatory) / others + again)
    done = linprog([-1.0], A_ub=rows, b_ub=room, bounds=[(0, 1)], method="highs")
    return float(done.x[0]) if done.status == 0 else None


@settings(max_examples=150, deadline=None)
@given(problems)
def test_the_closed_form_is_the_linear_programs_solution(p):
    best = program(p)
    found = solve_alpha(**p)
    assert 0 <= found <= 1
    if best is None:
        assert found == 0
    else:
        assert math.isclose(found, best, rel_tol=1e-6, abs_tol=1e-6)


@settings(max_examples=150, deadline=None)
@given(problems, st.floats(0, 100), st.floats(0, 100))
def test_so_it_is_with_the_way_back(p, t_backward, t_linear):
    best = program(p, t_backward, t_linear)
    found = solve_alpha(**p, t_backward=t_backward, t_linear=t_linear)
    if best is None:
        assert found == 0
    else:
        assert math.isclose(found, best, rel_tol=1e-6, abs_tol=1e-6)


def test_the_papers_example_and_the_units_trap():
    share = solve_alpha(**PAPER, t_layer=9.0, cpu_bytes=2**41 / 8)
    assert share == pytest.approx(0.4667, abs=5e-5)
    whole_host = solve_alpha(**PAPER, t_layer=9.0, cpu_bytes=2**41)
    assert whole_host == 1.0  # what comes out if the node's memory is taken for one device's


@settings(max_examples=100, deadline=None)
@given(problems)
def test_a_split_keeps_its_promises(p):
    n = max(0, p["layers"] - 2)
    mandatory = p["s_input"] + p["s_attn"]
    if n * mandatory > p["cpu_bytes"]:
        with pytest.raises(BudgetExceeded, match="whatever is recomputed"):
            split_activations(**p)
        return
    split = split_activations(**p)
    assert len(split.layers) == p["layers"]
    for one in split.layers:
        assert one.keep + one.swap + one.recompute == pytest.approx(1)
        assert sum(one.tokens(1003)) == 1003
    assert all(not s.offloads for s in split.layers[-2:])
    assert split.host_bytes <= p["cpu_bytes"] * (1 + 1e-9) + 1
    moved = mandatory + split.alpha * p["s_others"] if n else 0
    copy = moved / p["bandwidth"]
    assert split.stall == pytest.approx(max(0, copy - p["t_layer"]), rel=1e-6, abs=1e-9)
    if split.alpha > 0:
        assert split.stall == 0  # more is swapped only where it hides
    slack = 2 * p["t_layer"] + split.recompute_seconds
    assert split.backward_stall == pytest.approx(max(0, copy - slack), rel=1e-6, abs=1e-9)


def test_what_the_mandatory_part_costs_where_it_does_not_hide():
    split = split_activations(**PAPER, t_layer=0.05, cpu_bytes=2**41)
    assert split.alpha == 0
    assert split.limit == "bandwidth"
    assert split.stall == pytest.approx(2 * GIB / 32e9 - 0.05)
    assert split.saved_share == pytest.approx(2 / 16)


def test_the_way_back_counts_what_is_recomputed():
    tight = dict(PAPER, t_layer=0.4, cpu_bytes=2**41, t_backward=0.1)
    alone = split_activations(**tight, t_linear=0.0)
    helped = split_activations(**tight, t_linear=0.2)
    assert alone.limit == helped.limit == "backward"
    assert alone.alpha < helped.alpha
    assert alone.backward_stall == pytest.approx(0, abs=1e-12)
    assert helped.backward_stall == pytest.approx(0, abs=1e-12)
    more = split_activations(**tight, t_linear=0.2, alpha=helped.alpha + 0.1)
    assert more.backward_stall > 0
    assert more.limit == "given"


def test_spare_device_memory_is_kept_and_not_recomputed():
    split = split_activations(
        **PAPER, t_layer=9.0, cpu_bytes=2**41 / 8, device_bytes=30 * 1.4 * GIB
    )
    assert split.limit == "host"
    assert split.keep == pytest.approx(0.1)
    assert split.layers[0].recompute == pytest.approx(1 - 0.1 - split.alpha)
    assert split.saved_share == pytest.approx((2 + 14 * (split.alpha + 0.1)) / 16)


def test_small_models():
    assert solve_alpha(**dict(PAPER, layers=2), t_layer=0.0, cpu_bytes=0) == 1
    split = split_activations(**dict(PAPER, layers=1), t_layer=1.0, cpu_bytes=0)
    assert split.layers == (LayerSplit(0, 1.0, 0.0, 0.0, False),)
    assert split.host_bytes == 0
    assert split.buffer_bytes == 16 * GIB
    assert split.stall == split.recompute_seconds == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"s_input": -1}, "s_input is -1"),
        ({"t_layer": math.nan}, "t_layer is nan"),
        ({"bandwidth": math.inf}, "bandwidth is inf"),
        ({"bandwidth": 0}, "bandwidth is 0"),
        ({"layers": 0}, "layers is 0"),
        ({"layers": 3.0}, "layers is 3.0"),
        ({"layers": True}, "layers is True"),
        ({"alpha": 1.5}, "alpha is 1.5"),
        ({"alpha": math.nan}, "alpha is nan"),
        ({"device_bytes": -1}, "device_bytes is -1"),
        ({"t_backward": -1}, "t_backward is -1"),
    ],
)
def test_bad_input(change, message):
    good = dict(PAPER, t_layer=1.0, cpu_bytes=2**41)
    with pytest.raises(UsageError, match=message):
        split_activations(**{**good, **change})


def test_an_alpha_that_the_host_cannot_hold_names_the_one_it_can():
    with pytest.raises(BudgetExceeded, match=r"largest that fits is 0\.4667"):
        split_activations(**PAPER, t_layer=9.0, cpu_bytes=2**41 / 8, alpha=0.9)
    assert split_activations(**PAPER, t_layer=9.0, cpu_bytes=2**41 / 8, alpha=0.4).alpha == 0.4


def test_tokens_add_up_for_every_length():
    for sequence in range(1, 60):
        for swap in np.linspace(0, 1, 7):
            one = LayerSplit(0, 0.25 * (1 - swap), float(swap), 0.75 * (1 - swap), True)
            swapped, kept, again = one.tokens(sequence)
            assert swapped + kept + again == sequence
            assert min(swapped, kept, again) >= 0
    assert LayerSplit(0, 0.7, 0.3, 0.0, True).tokens(3) == (0, 3, 0)
