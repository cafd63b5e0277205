"""Which solver when: bounds and heuristics first, then search and CP-SAT by turns."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from typing import Any, Literal

import numpy as np

from byheart.core.errors import BudgetExceeded, UnknownName, UsageError
from byheart.states._planner import cpsat, heuristics, mip
from byheart.states._planner.problem import Problem, problem_of
from byheart.states._planner.search import MOST, Searcher
from byheart.states._planner.types import Buffer, MemoryPlan, Request, Trace, buffers_of

__all__ = ["SOLVERS", "plan_memory"]

SOLVERS = ("auto", "cp-sat", "search", "mip", "greedy")
_CPSAT_MOST = 3000  # above, building the model alone takes the time there is

Tell = Callable[[str, float], None]


def plan_memory(
    trace_or_buffers: Trace | Iterable[Buffer | Request | tuple[Any, ...]],
    capacity: int | None = None,
    solver: Literal["auto", "cp-sat", "search", "mip", "greedy"] = "auto",
    time_limit: float = 60.0,
    *,
    alignment: int = 1,
    seed: int = 0,
    progress: Tell | None = None,
) -> MemoryPlan:
    """An address for every buffer, so that those that are live at once never overlap.

    Offline dynamic storage allocation, as MEMO's planner does it (§4.3): with `capacity` any plan
    below it, without one the lowest that is found in the time. "auto" places greedily, improves
    that, and then lets an exact search and CP-SAT take turns; it stops as soon as the plan is
    proven lowest or fits.

    Args:
        trace_or_buffers: A recorded `Trace`, requests as tuples ``("malloc", id, size)``, or
            `Buffer`s.
        capacity: Bytes there are.
        solver: "auto"; "cp-sat" (OR-Tools); "search" (exact, lowest offset first); "mip" (the
            paper's program, by HiGHS; small cases); "greedy" (at once, no proof).
        time_limit: Seconds; the plan that is best by then is returned.
        alignment: Offsets are multiples of it (CUDA's caching allocator has 512).
        seed: Of everything drawn at random.
        progress: Called with what is done and a share from 0 to 1.

    Raises:
        BudgetExceeded: If nothing fits below `capacity`, or nothing was found in the time; the
            message says the smallest capacity that would do.
        DataError: If buffers or requests contradict themselves; the first one is named.
        MissingExtra: If the solver that was asked for is not installed.
        UsageError: If an argument is out of its range.

    >>> rows = [("b1", 0, 3, 4), ("b2", 3, 9, 4), ("b3", 0, 9, 4), ("b4", 9, 21, 4), ("b5", 0, 21, 4)]
    >>> plan = plan_memory(Buffer(*row) for row in rows)
    >>> plan.height, plan.proven
    (12, True)
    """
    if solver not in SOLVERS:
        raise UnknownName("solver", solver, SOLVERS)
    if not (math.isfinite(time_limit) and time_limit > 0):
        raise UsageError(f"time_limit is {time_limit}; it must be positive and finite")
    for name, value in (("alignment", alignment), ("capacity", capacity)):
        if value is not None and (
            isinstance(value, bool) or not isinstance(value, int) or value < 1
        ):
            raise UsageError(f"{name} is {value!r}; a whole number of 1 or more is needed")
    buffers = buffers_of(trace_or_buffers)
    began = time.monotonic()
    problem = problem_of(buffers, alignment)
    run = _Run(problem, began + time_limit, capacity, solver, seed, progress)
    if len(problem):
        run.solve()
    offsets = run.offsets if run.offsets is not None else np.zeros(0, np.int64)
    height = problem.heights(offsets) * problem.unit
    plan = MemoryPlan(
        buffers,
        tuple((offsets * problem.unit).tolist()),
        height,
        min(height, run.bound * problem.unit),
        capacity,
        run.who,
        time.monotonic() - began,
        alignment,
        tuple(run.notes),
    )
    if capacity is not None and height > capacity:
        raise BudgetExceeded(_too_small(plan, capacity, run.nothing))
    plan.validate()
    return plan


def _too_small(plan: MemoryPlan, capacity: int, nothing: bool) -> str:
    if nothing and plan.proven:
        rest = f"the smallest capacity that will do is {plan.height}"
    elif nothing:
        rest = (
            f"{plan.height} will do; what is needed at least is {plan.lower_bound}, and between "
            "them nothing was decided in the time"
        )
    else:
        return (
            f"no plan for {len(plan.buffers)} buffers was found within {capacity} bytes in "
            f"{plan.seconds:.1f} s, and none is ruled out; {plan.height} bytes will do, or more time"
        )
    return f"{len(plan.buffers)} buffers do not fit into {capacity} bytes; {rest}"


class _Run:
    """One call: the best plan so far and what is proven."""

    def __init__(
        self,
        problem: Problem,
        deadline: float,
        capacity: int | None,
        solver: str,
        seed: int,
        progress: Tell | None,
    ) -> None:
        self.problem, self.deadline, self.solver, self.seed = problem, deadline, solver, seed
        self.tell = progress or (lambda what, share: None)
        self.began = time.monotonic()
        self.room = None if capacity is None else capacity // problem.unit
        self.bound = problem.bound
        self.offsets: np.ndarray | None = None
        self.height = 2**62
        self.who = "greedy"
        self.notes: list[str] = []
        self.nothing = False  # nothing fits into the room, proven
        self._searcher: Searcher | None = None

    # What counts as done

    @property
    def done(self) -> bool:
        if self.room is not None and not self.nothing and self.height <= self.room:
            return True
        return self.height <= self.bound or time.monotonic() >= self.deadline

    @property
    def target(self) -> int:
        """What to look for: the capacity, or the lowest that is not ruled out."""
        if self.room is not None and not self.nothing:
            return self.room
        return self.bound

    def take(self, offsets: np.ndarray | None, who: str) -> None:
        if offsets is None:
            return
        height = self.problem.heights(offsets)
        if height < self.height:
            self.offsets, self.height, self.who = offsets, height, who

    def ruled_out(self, height: int) -> None:
        """No plan has this height."""
        self.bound = max(self.bound, height + 1)
        if self.room is not None and self.bound > self.room:
            self.nothing = True

    def until(self, share: float) -> float:
        """A moment: so much of what is left of the time."""
        now = time.monotonic()
        return now + share * max(0.0, self.deadline - now)

    def said(self, what: str) -> None:
        now = time.monotonic()
        self.tell(what, min(1.0, (now - self.began) / max(1e-9, self.deadline - self.began)))

    # The solvers

    def solve(self) -> None:
        self.ruled_out(self.problem.bound - 1)
        self.said("placing")
        offsets, order = heuristics.greedy(self.problem)
        self.take(offsets, "greedy")
        if self.done or self.solver == "greedy":
            return
        if self.solver == "mip":
            self._mip()
        elif self.solver == "cp-sat":
            self._cpsat(self.deadline)
        elif self.solver == "search":
            self._only_search()
        else:
            self._auto(order)
        if not self.done:
            return
        if self.height > self.bound and time.monotonic() >= self.deadline:
            self.notes.append("the time limit was reached before the plan was proven lowest")

    def _auto(self, order: np.ndarray) -> None:
        if len(self.problem) <= MOST:
            self.said("improving")
            assert self.offsets is not None
            better = heuristics.improve(
                self.problem, self.offsets, order, deadline=self.until(0.03), seed=self.seed
            )
            self.take(better, "greedy")
        with_cpsat = cpsat.available() and len(self.problem) <= _CPSAT_MOST
        if not with_cpsat:
            self.notes.append(
                "CP-SAT was left out: "
                + (
                    f"more than {_CPSAT_MOST} buffers"
                    if cpsat.available()
                    else "type pip install 'byheart[states]'"
                )
            )
        if len(self.problem) > MOST:
            self.notes.append(f"the search was left out: more than {MOST} buffers")
        share = 0.1
        while not self.done:
            if len(self.problem) <= MOST:
                self._search(self.until(share))
            if with_cpsat and not self.done:
                self._cpsat(self.until(1.7 * share))
            if len(self.problem) > MOST and not with_cpsat:
                return
            share = min(0.5, 1.7 * share)

    def _only_search(self) -> None:
        if len(self.problem) > MOST:
            raise UsageError(
                f"{len(self.problem)} buffers are too many for the search, which takes {MOST}; "
                "use solver='auto' or bilevel_plan"
            )
        while not self.done:
            self._search(self.until(0.5))

    def _search(self, deadline: float) -> None:
        """The lowest target first; where time runs out there, half-way to what is known."""
        if self._searcher is None:
            self._searcher = Searcher(self.problem, self.seed)
        first = time.monotonic() + 0.6 * (deadline - time.monotonic())
        while not self.done and time.monotonic() < first:
            target = self.target
            what, offsets = self._searcher.below(target, first, lambda _: self.said("searching"))
            if what == "none":
                self.ruled_out(target)
            self.take(offsets, "search")
            if what == "time":
                break
        fixed = self.room is not None and not self.nothing
        low = self.target
        while not self.done and time.monotonic() < deadline:
            middle = low if fixed else (low + self.height) // 2
            end = deadline if fixed else time.monotonic() + 0.5 * (deadline - time.monotonic())
            what, offsets = self._searcher.below(middle, end, lambda _: self.said("searching"))
            if what == "none":
                self.ruled_out(middle)
            self.take(offsets, "search")
            if fixed or middle >= self.height - 1:
                return
            low = max(low, middle + 1) if what != "found" else max(self.bound, low)
            if deadline - time.monotonic() < 0.02:
                return

    def _cpsat(self, deadline: float) -> None:
        self.said("CP-SAT")
        fixed = self.room is not None and not self.nothing
        ceiling = self.target if fixed else self.height
        outcome = cpsat.solve(
            self.problem, height=ceiling, minimise=not fixed,
            seconds=deadline - time.monotonic(), hint=None if fixed else self.offsets,
            seed=self.seed,
        )  # fmt: skip
        self._learn(outcome, ceiling, "cp-sat")

    def _mip(self) -> None:
        self.said("MIP")
        ceiling = self.height
        seconds = self.deadline - time.monotonic()
        self._learn(mip.solve(self.problem, height=ceiling, seconds=seconds), ceiling, "mip")

    def _learn(self, outcome: cpsat.Outcome, ceiling: int, who: str) -> None:
        self.take(outcome.offsets, who)
        if outcome.infeasible:
            self.ruled_out(ceiling)
        elif outcome.bound > self.bound:
            self.ruled_out(outcome.bound - 1)
