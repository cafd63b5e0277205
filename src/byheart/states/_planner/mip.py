"""The paper's mixed-integer program (§4.3), for HiGHS by way of SciPy.

min M  s.t.  A_i + S_i <= M;  A_i + S_i <= A_j + z_ij M_cap and A_j + S_j <= A_i + (1 - z_ij) M_cap
for every pair that is live at once; z_ij in {0, 1}, z = 0 where i lies below j. The large constant
makes the relaxation weak: past some tens of buffers CP-SAT or the search is the better choice.
"""

from __future__ import annotations

import numpy as np

from byheart.core.errors import need
from byheart.states._planner.cpsat import Outcome
from byheart.states._planner.heuristics import place
from byheart.states._planner.problem import Problem

__all__ = ["solve"]


def solve(problem: Problem, *, height: int, seconds: float) -> Outcome:
    """The lowest plan of at most `height` units.

    Raises:
        MissingExtra: If SciPy is not installed.
    """
    need("scipy", "states")
    from scipy.optimize import Bounds, LinearConstraint, milp
    from scipy.sparse import coo_matrix

    if height < problem.bound:
        return Outcome(None, problem.bound, infeasible=True)
    n = len(problem)
    start, others = problem.neighbours()
    pairs = [(i, int(j)) for i in range(n) for j in others[start[i] : start[i + 1]] if i < j]
    size = problem.size.astype(float)
    columns = n + 1 + len(pairs)  # addresses, M, z
    rows: list[int] = []
    at: list[int] = []
    value: list[float] = []
    least: list[float] = []

    def row(entries: list[tuple[int, float]], minimum: float) -> None:
        for column, entry in entries:
            rows.append(len(least))
            at.append(column)
            value.append(entry)
        least.append(minimum)

    for i in range(n):
        row([(n, 1.0), (i, -1.0)], size[i])
    for k, (i, j) in enumerate(pairs):
        z = n + 1 + k
        row([(j, 1.0), (z, float(height)), (i, -1.0)], size[i])
        row([(i, 1.0), (z, -float(height)), (j, -1.0)], size[j] - height)
    matrix = coo_matrix((value, (rows, at)), shape=(len(least), columns)).tocsr()
    upper = np.concatenate([height - size, [height], np.ones(len(pairs))])
    lower = np.zeros(columns)
    lower[n] = problem.bound
    integral = np.concatenate([np.zeros(n + 1), np.ones(len(pairs))])
    aim = np.zeros(columns)
    aim[n] = 1.0
    result = milp(
        aim,
        integrality=integral,
        bounds=Bounds(lower, upper),
        constraints=LinearConstraint(matrix, np.array(least), np.inf),
        options={"time_limit": max(0.05, seconds)},
    )
    if result.status == 2:
        return Outcome(None, height + 1, infeasible=True)
    bound = problem.bound
    if result.mip_dual_bound is not None and np.isfinite(result.mip_dual_bound):
        bound = max(bound, int(np.ceil(result.mip_dual_bound - 1e-6)))
    if result.x is None:
        return Outcome(None, bound)
    # Floating addresses need not be whole; in their order, each in its lowest gap, none gets higher.
    order = np.argsort(result.x[:n], kind="stable")
    return Outcome(place(order, problem.lower, problem.upper, problem.size), bound)
