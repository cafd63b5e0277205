"""Placement as rectangles that must not overlap, for OR-Tools' CP-SAT."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass

import numpy as np

from byheart.core.errors import need
from byheart.states._planner.problem import Problem

__all__ = ["Outcome", "available", "solve"]


@dataclass(frozen=True)
class Outcome:
    """What a solver came back with: offsets if any, what it proved, whether there is no plan."""

    offsets: np.ndarray | None
    bound: int
    infeasible: bool = False


def available() -> bool:
    """Whether OR-Tools is installed."""
    return importlib.util.find_spec("ortools") is not None


def solve(
    problem: Problem,
    *,
    height: int,
    minimise: bool,
    seconds: float,
    hint: np.ndarray | None = None,
    workers: int | None = None,
    seed: int = 0,
) -> Outcome:
    """Buffers as rectangles (time by address) below `height` units, or the lowest there is.

    Raises:
        MissingExtra: If OR-Tools is not installed.
    """
    need("ortools", "states")
    from ortools.sat.python import cp_model

    if height < problem.bound:
        return Outcome(None, problem.bound, infeasible=True)
    model = cp_model.CpModel()
    times, addresses, variables = [], [], []
    top = model.new_int_var(problem.bound, height, "top") if minimise else None
    for i, size in enumerate(problem.size.tolist()):
        begin, end = int(problem.first[i]), int(problem.last[i])
        at = model.new_int_var(0, height - size, f"o{i}")
        variables.append(at)
        times.append(model.new_fixed_size_interval_var(begin, end - begin, f"t{i}"))
        addresses.append(model.new_fixed_size_interval_var(at, size, f"a{i}"))
        if top is not None:
            model.add(at + size <= top)
        if hint is not None:
            model.add_hint(at, int(hint[i]))
    model.add_no_overlap_2d(times, addresses)
    if top is not None:
        model.minimize(top)
    solver = cp_model.CpSolver()
    solver.parameters.max_time_in_seconds = max(0.05, seconds)
    solver.parameters.random_seed = seed
    if workers is not None:
        solver.parameters.num_workers = workers
    status = solver.solve(model)
    if status == cp_model.INFEASIBLE:
        return Outcome(None, height + 1, infeasible=True)
    if status not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        return Outcome(None, problem.bound)
    offsets = np.array([solver.value(v) for v in variables], np.int64)
    proven = int(np.ceil(solver.best_objective_bound - 1e-6)) if minimise else problem.bound
    return Outcome(offsets, max(problem.bound, proven))
