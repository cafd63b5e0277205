"""Addresses: against all orders on small cases, a published example, and the hard public instances."""

from __future__ import annotations

import itertools
import random
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from byheart.core.errors import BudgetExceeded, DataError, UnknownName, UsageError
from byheart.states._planner import cpsat, mip, search
from byheart.states._planner.heuristics import place
from byheart.states._planner.problem import problem_of
from byheart.states.planner import (
    Buffer,
    MemoryPlan,
    Trace,
    bilevel_plan,
    plan_memory,
    read_buffers,
)

HARD = sorted((Path(__file__).parent.parent / "data" / "minimalloc").glob("*.csv"))
GAPS = [
    [(0, 1, 3), (0, 3, 3), (2, 4, 1), (5, 6, 3), (4, 6, 3), (3, 5, 2), (2, 5, 1)],
    [(1, 2, 2), (2, 5, 1), (1, 4, 1), (0, 3, 1), (4, 5, 3), (0, 1, 3), (2, 3, 1), (3, 4, 2)],
    [(5, 6, 3), (4, 6, 2), (5, 6, 1), (2, 5, 2), (0, 2, 3), (1, 3, 3), (3, 5, 2), (2, 4, 1)],
    [(0, 1, 2), (4, 5, 2), (3, 5, 2), (1, 4, 1), (0, 2, 2), (2, 4, 1), (1, 3, 1), (2, 3, 1)],
]
PASSED = [
    [(5, 6, 5), (4, 6, 2), (3, 6, 1), (3, 4, 5), (2, 4, 1), (0, 5, 1), (2, 3, 3)],
    [(2, 4, 2), (1, 4, 1), (0, 3, 1), (2, 3, 2), (3, 4, 3), (0, 2, 3), (1, 2, 1), (0, 1, 2)],
    [
        (4, 8, 3),
        (7, 8, 5),
        (7, 8, 1),
        (5, 8, 1),
        (6, 7, 2),
        (0, 7, 4),
        (0, 5, 1),
        (5, 6, 1),
        (1, 6, 1),
        (0, 2, 4),
    ],
]
PUBLISHED = [("b1", 0, 3, 4), ("b2", 3, 9, 4), ("b3", 0, 9, 4), ("b4", 9, 21, 4), ("b5", 0, 21, 4)]


def all_orders(buffers: list[Buffer]) -> int:
    """The lowest height there is: every order, each buffer at its lowest place above those before.

    Plain on purpose, and independent of the package: no gaps are looked for, since some order puts
    the lower of two first.
    """
    best = 10**18
    for order in itertools.permutations(buffers):
        tops: list[tuple[Buffer, int]] = []
        for b in order:
            low = max((t for o, t in tops if o.overlaps(b)), default=0)
            tops.append((b, low + b.size))
        best = min(best, max((t for _, t in tops), default=0))
    return best


def most_live(buffers: list[Buffer]) -> int:
    times = range(max((b.upper for b in buffers), default=0))
    return max((sum(b.size for b in buffers if b.lower <= t < b.upper) for t in times), default=0)


def drawn(seed: int, count: int, times: int = 12, sizes: int = 9) -> list[Buffer]:
    r = random.Random(seed)
    out = []
    for i in range(count):
        lower = r.randrange(times)
        out.append(
            Buffer(str(i), lower, lower + 1 + r.randrange(times // 2), 1 + r.randrange(sizes))
        )
    return out


buffers_up_to = lambda most: st.lists(  # noqa: E731
    st.tuples(st.integers(0, 12), st.integers(1, 8), st.integers(1, 12)), max_size=most
).map(lambda rows: [Buffer(str(i), a, a + w, s) for i, (a, w, s) in enumerate(rows)])


def test_published_example() -> None:
    plan = plan_memory([Buffer(*r) for r in PUBLISHED], 12)
    assert plan.height == 12
    plan.validate()


@pytest.mark.parametrize("solver", ["auto", "cp-sat", "search", "mip"])
@pytest.mark.parametrize("seed", range(6))
def test_exact_solvers_find_the_lowest(solver: str, seed: int) -> None:
    buffers = drawn(seed, 6)
    plan = plan_memory(buffers, solver=solver, time_limit=30)  # type: ignore[arg-type]
    assert plan.height == all_orders(buffers)
    assert plan.proven


@settings(max_examples=60, deadline=None)
@given(buffers_up_to(6))
def test_lowest_of_all_orders(buffers: list[Buffer]) -> None:
    plan = plan_memory(buffers, solver="search", time_limit=20)
    assert plan.height == all_orders(buffers)
    assert plan.proven


@settings(max_examples=60, deadline=None)
@given(buffers_up_to(40), st.sampled_from([1, 4, 512]))
def test_any_plan_is_valid_and_above_its_bound(buffers: list[Buffer], alignment: int) -> None:
    plan = plan_memory(buffers, solver="greedy", alignment=alignment)
    plan.validate()
    assert plan.height >= plan.lower_bound >= most_live(buffers)
    assert all(o % alignment == 0 for o in plan.offsets)


def test_search_says_no_only_where_there_is_none() -> None:
    """Every height below the lowest is refused, and the lowest is found: 120 cases."""
    for seed in range(120):
        buffers = drawn(seed, 7, times=8, sizes=6)
        problem = problem_of(tuple(buffers), 1)
        lowest = all_orders(buffers)
        searcher = search.Searcher(problem, seed)
        for height in range(max(0, problem.bound * problem.unit - 1), lowest + 2):
            units = height // problem.unit
            what, offsets = searcher.below(units, time.monotonic() + 20)
            assert what == ("found" if height >= lowest else "none"), (seed, height, lowest)
            if offsets is not None:
                MemoryPlan(
                    tuple(buffers), tuple((offsets * problem.unit).tolist()), height, 0
                ).validate()


@pytest.mark.parametrize("order", search.ORDERS)
def test_every_order_of_the_search_is_sound(order: str) -> None:
    for seed in range(40):
        buffers = drawn(1000 + seed, 7, times=8, sizes=6)
        problem = problem_of(tuple(buffers), 1)
        lowest = all_orders(buffers) // problem.unit
        found = search.Searcher(problem)
        assert found.run(lowest, order, 10**6)[0] == 1
        assert found.run(lowest - 1, order, 10**6)[0] == 0
        assert found.run(lowest - 1, order, 10**6, noise=0.3)[0] == 0


def cut(seed: int, count: int, times: int, height: int) -> list[Buffer]:
    """A full rectangle cut into pieces, so that a plan without any gap is known to be there."""
    r = random.Random(seed)
    pieces = [(0, times, 0, height)]
    while len(pieces) < count:
        big = [p for p in pieces if p[1] - p[0] > 1 or p[3] - p[2] > 1]
        if not big:
            break
        a, b, lo, hi = p = r.choice(big)
        pieces.remove(p)
        if b - a > 1 and (hi - lo == 1 or r.random() < 0.5):
            at = r.randrange(a + 1, b)
            pieces += [(a, at, lo, hi), (at, b, lo, hi)]
        else:
            at = r.randrange(lo + 1, hi)
            pieces += [(a, b, lo, at), (a, b, at, hi)]
    r.shuffle(pieces)
    return [Buffer(str(i), a, b, hi - lo) for i, (a, b, lo, hi) in enumerate(pieces)]


@pytest.mark.parametrize("order", search.ORDERS)
def test_search_never_refuses_a_full_rectangle(order: str) -> None:
    decided = 0
    for seed in range(300):
        buffers = cut(seed, 8 + seed % 40, 12, 17)
        problem = problem_of(tuple(buffers), 1)
        outcome, _ = search.Searcher(problem).run(17 // problem.unit, order, 20_000)
        assert outcome != 0, seed
        decided += outcome
    assert decided > 250


@pytest.mark.parametrize("rows", PASSED)
@pytest.mark.parametrize("order", search.ORDERS)
def test_a_buffer_may_wait_above_its_lowest_place(
    rows: list[tuple[int, int, int]], order: str
) -> None:
    """Drawn until a search that gives up on passed buffers refused what is there."""
    problem = problem_of(tuple(Buffer(str(i), *row) for i, row in enumerate(rows)), 1)
    outcome, offsets = search.Searcher(problem).run(problem.bound, order, 10**6)
    assert outcome == 1
    assert problem.heights(offsets) == problem.bound


def test_compiled_search_equals_plain() -> None:
    if not search.COMPILED:
        pytest.skip("numba is not installed: there is only the plain form")
    plain = search._search.py_func
    for seed in range(10):
        p = problem_of(tuple(drawn(seed, 12)), 1)
        s = search.Searcher(p)
        keys = np.array([1, 0, 3])
        for height in (p.bound, p.bound + 1):
            outs = []
            for run in (search._search, plain):
                offsets = np.full(len(p), -1, np.int64)
                outs.append(
                    (
                        run(height, 5000, p.size, p.first, p.last, keys, s._static, s._start,
                            s._others, p.load.copy(), offsets),
                        offsets.tolist(),
                    )
                )  # fmt: skip
            assert outs[0] == outs[1]


def test_place_takes_the_lowest_gap() -> None:
    lower, upper = np.array([0, 0, 0, 2]), np.array([4, 2, 4, 4])
    size = np.array([2, 3, 2, 3])
    assert place(np.arange(4), lower, upper, size).tolist() == [0, 2, 5, 2]


@pytest.mark.parametrize("seed", range(8))
def test_cp_sat_and_search_agree(seed: int) -> None:
    buffers = drawn(50 + seed, 24, times=20, sizes=30)
    one = plan_memory(buffers, solver="cp-sat", time_limit=30)
    two = plan_memory(buffers, solver="search", time_limit=30)
    assert one.height == two.height
    assert one.proven
    assert two.proven


def test_mip_bound_is_no_guess() -> None:
    buffers = drawn(3, 6)
    problem = problem_of(tuple(buffers), 1)
    lowest = all_orders(buffers) // problem.unit
    assert mip.solve(problem, height=lowest + 9, seconds=20).bound <= lowest
    if lowest > problem.bound:
        assert mip.solve(problem, height=lowest - 1, seconds=20).infeasible
    out = cpsat.solve(problem, height=lowest, minimise=False, seconds=20)
    assert out.offsets is not None


@pytest.mark.parametrize("file", [f for f in HARD if f.name[0] in "CJK"], ids=lambda f: f.name[0])
def test_public_instances(file: Path) -> None:
    plan = plan_memory(read_buffers(file), 1_048_576, time_limit=60)
    assert plan.height <= 1_048_576
    plan.validate()


@pytest.mark.slow
@pytest.mark.parametrize("file", HARD, ids=lambda f: f.name[0])
def test_all_hard_instances_at_their_capacity(file: Path) -> None:
    plan = plan_memory(read_buffers(file), 1_048_576, time_limit=120)
    assert plan.height <= 1_048_576
    plan.validate()


def test_eleven_hard_instances_are_here() -> None:
    assert [f.name[0] for f in HARD] == list("ABCDEFGHIJK")
    assert sum(len(read_buffers(f)) for f in HARD) == 3112


def test_too_small_says_what_will_do() -> None:
    with pytest.raises(BudgetExceeded, match=r"5 buffers do not fit into 11 bytes; .* is 12$"):
        plan_memory([Buffer(*r) for r in PUBLISHED], 11)


@pytest.mark.parametrize("rows", GAPS)
def test_no_plan_reaches_the_live_bytes(rows: list[tuple[int, int, int]]) -> None:
    """Drawn until CP-SAT and the search ruled the bound out; all orders are the third witness."""
    buffers = [Buffer(str(i), *row) for i, row in enumerate(rows)]
    lowest = all_orders(buffers)
    assert lowest == most_live(buffers) + 1
    for solver in ("auto", "search", "cp-sat", "mip"):
        plan = plan_memory(buffers, solver=solver, time_limit=60)  # type: ignore[arg-type]
        assert (plan.height, plan.lower_bound, solver) == (lowest, lowest, solver)
        with pytest.raises(BudgetExceeded, match=f"capacity that will do is {lowest}$"):
            plan_memory(buffers, lowest - 1, solver=solver, time_limit=60)  # type: ignore[arg-type]
    for order in search.ORDERS:
        searcher = search.Searcher(problem_of(tuple(buffers), 1))
        assert searcher.run(lowest - 1, order, 10**6)[0] == 0
        assert searcher.run(lowest, order, 10**6, noise=0.3)[0] == 1


def test_time_limit_is_kept_and_said() -> None:
    buffers = drawn(1, 300, times=400, sizes=5000)
    began = time.monotonic()
    plan = plan_memory(buffers, time_limit=1.0)
    assert time.monotonic() - began < 20  # a crowded machine; without the limit it runs for hours
    plan.validate()
    assert plan.proven or any("time limit" in n for n in plan.notes)


def test_many_buffers_are_placed_greedily() -> None:
    buffers = drawn(2, 5000, times=4000, sizes=4096)
    plan = plan_memory(buffers, time_limit=2.0)
    plan.validate()
    assert plan.solver == "greedy"
    assert plan.proven or any("search was left out" in n for n in plan.notes)
    with pytest.raises(UsageError, match="too many for the search"):
        plan_memory(buffers, solver="search", time_limit=2.0)


def test_nothing_and_one() -> None:
    assert plan_memory([]).height == 0
    assert plan_memory([Buffer("a", 0, 1, 5)], 5).offsets == (0,)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"solver": "gurobi"}, UnknownName),
        ({"time_limit": 0}, UsageError),
        ({"time_limit": float("nan")}, UsageError),
        ({"capacity": 0}, UsageError),
        ({"capacity": 1.5}, UsageError),
        ({"alignment": 0}, UsageError),
    ],
)
def test_bad_arguments(change: dict, error: type[Exception]) -> None:
    with pytest.raises(error):
        plan_memory([Buffer("a", 0, 1, 5)], **change)


@pytest.mark.parametrize(
    "row", [("a", 0, 0, 5), ("a", 3, 1, 5), ("a", 0, 1, 0), ("a", 0, 1, -2), ("a", -1, 1, 2),
            ("a", 0, 1, 2.5), ("a", 0, 1, True), ("a", 0, 2**63, 1)],
)  # fmt: skip
def test_bad_buffers(row: tuple) -> None:
    with pytest.raises(DataError, match="'a'"):
        plan_memory([Buffer(*row)])


def test_ids_must_differ() -> None:
    with pytest.raises(DataError, match="'a' occurs twice"):
        plan_memory([Buffer("a", 0, 1, 5), Buffer("a", 4, 5, 5)])


@pytest.mark.parametrize(
    ("requests", "text"),
    [
        ([("free", "a", 1)], "never allocated"),
        ([("malloc", "a", 1), ("malloc", "a", 1)], "second time"),
        ([("malloc", "a", 1), ("free", "a", 2)], "freed with 2"),
        ([("malloc", "a", 1), ("free", "a", 1), ("free", "a", 1)], "freed a second time"),
        ([("alloc", "a", 1)], "'malloc' or 'free'"),
        ([("malloc", "a", -1)], "size is -1"),
        ([("malloc", "a")], "not .kind, id, size."),
    ],
)
def test_bad_requests(requests: list, text: str) -> None:
    with pytest.raises(DataError, match=text):
        plan_memory(requests)


def test_a_wrong_plan_is_found_out() -> None:
    buffers = (Buffer("a", 0, 4, 4), Buffer("b", 3, 5, 4))
    with pytest.raises(DataError, match=r"'[ab]' and '[ab]'"):
        MemoryPlan(buffers, (0, 3), 7, 7).validate()
    with pytest.raises(DataError, match="says 7"):
        MemoryPlan(buffers, (0, 4), 7, 7).validate()
    trace = Trace.of([("malloc", "a", 4), ("malloc", "b", 4), ("free", "a", 4)])
    with pytest.raises(DataError, match="'b' lands on bytes 3 to 7"):
        MemoryPlan(trace.buffers(), (0, 3), 7, 7).replay(trace)
    assert MemoryPlan(trace.buffers(), (0, 4), 8, 8).replay(trace) == 8


# Two levels


def layer(*sizes: int) -> list[tuple[str, str, int]]:
    """Nested: each is allocated before the last is freed, then all go in order."""
    out = [("malloc", f"t{i}", s) for i, s in enumerate(sizes)]
    return out + [("free", f"t{i}", s) for i, s in enumerate(sizes)]


def test_two_levels_by_hand() -> None:
    head = [("malloc", "e", 7)]
    tail = [("malloc", "logits", 50), ("free", "logits", 50)]
    plan = bilevel_plan(layer(3, 4), layer(5, 6), head, tail, 4, after=[("free", "e", 7)])
    # The embedding lives throughout; logits are the largest thing beside it.
    assert plan.height == 57
    assert plan.proven
    assert len(plan.buffers) == 2 + 4 * 2 * 2
    plan.validate()


@settings(max_examples=25, deadline=None)
@given(buffers_up_to(6), buffers_up_to(6), st.integers(1, 5))
def test_two_levels_are_valid_and_no_lower_than_one(
    forward: list[Buffer], backward: list[Buffer], layers: int
) -> None:
    def requests(buffers: list[Buffer]) -> list[tuple[str, str, int]]:
        events = [(b.lower, 1, ("malloc", b.id, b.size)) for b in buffers]
        events += [(b.upper, 0, ("free", b.id, b.size)) for b in buffers]
        return [e for _, _, e in sorted(events, key=lambda e: e[:2])]

    plan = bilevel_plan(
        requests(forward), requests(backward), [("malloc", "e", 3)], layers=layers,
        solver="search", time_limit=20,
    )  # fmt: skip
    plan.validate()
    inner = max(all_orders(forward), all_orders(backward))
    assert plan.height == 3 + inner  # blocks follow one another; only the embedding stays
    assert len(plan.buffers) == 1 + layers * (len(forward) + len(backward))


def test_blocks_keep_their_time() -> None:
    """Lifetimes in the expanded step are those of the requests written out."""
    plan = bilevel_plan(
        layer(2, 3), layer(4), [("malloc", "e", 1)], [("malloc", "l", 9), ("free", "l", 9)], 2
    )
    names = {b.id: (b.lower, b.upper) for b in plan.buffers}
    assert names["e"] == (0, 15)
    assert names["layer 0 forward/t0"] == (1, 3)
    assert names["layer 1 forward/t1"] == (6, 8)
    assert names["l"] == (9, 10)
    assert names["layer 1 backward/t0"] == (11, 12)
    assert names["layer 0 backward/t0"] == (13, 14)


def test_what_outlives_its_layer_is_refused() -> None:
    with pytest.raises(DataError, match=r"'x' \(5 bytes\) is not freed"):
        bilevel_plan([("malloc", "x", 5)], layer(1), layers=2)
    with pytest.raises(UsageError, match="layers is 0"):
        bilevel_plan(layer(1), layer(1), layers=0)
    with pytest.raises(BudgetExceeded, match="will do"):
        bilevel_plan(layer(5), layer(5), layers=2, capacity=4)
