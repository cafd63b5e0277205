"""Why learning memorises, what forgetting costs, and which labels a learner knows by heart.

Three instruments that stand alone:

- exact: `tau`, `opt`, `unfit_cost`, `disparate_cost` under a prior of how often things occur
  (`Zipf`, `Pareto`, `Beta`, `Dirichlet`, `LogUniform`, `Atoms`, `Frequencies`, `Drawn`), and `simulate`,
  which counts errors of data that are drawn;
- from counts: `good_turing`, `forecast`;
- from training: `MemorizationEstimator` for any learner, `high_influence_pairs`, `marginal_utility`,
  `exact_nearest`; `audit_data` makes a report of a data set.

Feldman, "Does Learning Require Memorization?", STOC 2020, arXiv 1906.05271; Feldman and Zhang, "What
Neural Networks Memorize and Why", NeurIPS 2020, arXiv 2008.03703.

>>> round(tau(Zipf(50_000), n=50_000, ell=1) * 50_000, 2)
0.47
"""

from __future__ import annotations

from byheart.audits._longtail.counting import (
    Forecast,
    GoodTuring,
    forecast,
    forecast_groups,
    good_turing,
)
from byheart.audits._longtail.data import Labelled, read_data
from byheart.audits._longtail.estimator import MemorizationEstimator
from byheart.audits._longtail.learners import Learner, NearestNeighbour
from byheart.audits._longtail.mlp import BatchedMLP, MLPs
from byheart.audits._longtail.nearest import exact_nearest
from byheart.audits._longtail.pairs import (
    Pairs,
    high_influence_pairs,
    pairs_of_runs,
    read_pairs,
)
from byheart.audits._longtail.priors import (
    Atoms,
    Beta,
    Dirichlet,
    Drawn,
    Frequencies,
    LogUniform,
    Pareto,
    Prior,
    Uniform,
    Zipf,
    as_prior,
)
from byheart.audits._longtail.report import audit_data
from byheart.audits._longtail.runs import Runs, error_bound
from byheart.audits._longtail.simulate import Simulation, simulate, simulate_tau
from byheart.audits._longtail.store import load_runs, save_aux, save_runs
from byheart.audits._longtail.theory import (
    GroupCost,
    disparate_cost,
    excess_error,
    expected_types,
    label_confidence,
    no_tail_bound,
    noise_cost,
    opt,
    seen_mass,
    tau,
    tau_lower_bound,
    unfit_cost,
    unseen_mass,
    weight,
)
from byheart.audits._longtail.utility import Utility, marginal_utility

__all__ = [
    "Atoms",
    "BatchedMLP",
    "Beta",
    "Dirichlet",
    "Drawn",
    "Forecast",
    "Frequencies",
    "GoodTuring",
    "GroupCost",
    "Labelled",
    "Learner",
    "LogUniform",
    "MLPs",
    "MemorizationEstimator",
    "NearestNeighbour",
    "Pairs",
    "Pareto",
    "Prior",
    "Runs",
    "Simulation",
    "Uniform",
    "Utility",
    "Zipf",
    "as_prior",
    "audit_data",
    "disparate_cost",
    "error_bound",
    "exact_nearest",
    "excess_error",
    "expected_types",
    "forecast",
    "forecast_groups",
    "good_turing",
    "high_influence_pairs",
    "label_confidence",
    "load_runs",
    "marginal_utility",
    "no_tail_bound",
    "noise_cost",
    "opt",
    "pairs_of_runs",
    "read_data",
    "read_pairs",
    "save_aux",
    "save_runs",
    "seen_mass",
    "simulate",
    "simulate_tau",
    "tau",
    "tau_lower_bound",
    "unfit_cost",
    "unseen_mass",
    "weight",
]
