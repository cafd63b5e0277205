"""A data set audited: which labels are memorised, and which test examples depend on them."""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from byheart.audits._longtail.data import Labelled, picture, read_data
from byheart.audits._longtail.estimator import MemorizationEstimator, describe
from byheart.audits._longtail.learners import NearestNeighbour
from byheart.audits._longtail.mlp import BatchedMLP
from byheart.audits._longtail.pairs import pairs_of_runs
from byheart.audits._longtail.runs import Runs
from byheart.audits._longtail.store import load_runs
from byheart.core._files import make_folder
from byheart.core.errors import UnknownName, UsageError, need
from byheart.core.finding import Estimate, Evidence, Finding
from byheart.core.report import Report

__all__ = ["LEARNERS", "audit_data", "findings"]

LEARNERS = ("1-nn", "forest", "logistic", "mlp", "tree")
_SHOWN = 24
_EXCHANGES = 200


def learner_of(name: Any) -> Any:
    """A learner by name; anything else is what `MemorizationEstimator` takes."""
    if not isinstance(name, str):
        return name
    if name == "mlp":
        return BatchedMLP()
    if name == "1-nn":
        return NearestNeighbour()
    if name == "logistic":
        return need("sklearn.linear_model", "audit").LogisticRegression(max_iter=1000)
    if name == "forest":
        return need("sklearn.ensemble", "audit").RandomForestClassifier()
    if name == "tree":
        return need("sklearn.tree", "audit").DecisionTreeClassifier()
    raise UnknownName("learner", name, LEARNERS)


def audit_data(
    data: Any = None,
    *,
    learner: Any = "mlp",
    runs: int = 300,
    subset: float = 0.7,
    mem: float = 0.25,
    infl: float = 0.15,
    seed: int = 0,
    label: str | None = None,
    missing_classes: bool = False,
    held: Any = None,
    out: str | Path | None = None,
    jobs: int | None = None,
    progress: Callable[[str, float], None] | None = None,
) -> Report:
    """Which labels of a data set does a learner memorise, and which test examples depend on them?

    Args:
        data: What `read_data` takes: ``"digits"``, an .npz or .csv file, a folder of datasets, (x, y).
            May be left out with `held`; then no example can be shown.
        learner: ``"mlp"``, ``"1-nn"``, ``"logistic"``, ``"forest"``, ``"tree"``, or what
            `MemorizationEstimator` takes.
        runs: Trainings on random subsets.
        subset: Share of the examples in each.
        mem: Examples with at least this memorisation count as memorised (paper: .25).
        infl: Least influence of a pair (paper: .15).
        seed: Of everything.
        label: Column of the labels, of a CSV file or a data set.
        missing_classes: As for `MemorizationEstimator`.
        held: Runs made elsewhere: a `Runs`, or a file or folder that `load_runs` reads. Nothing is trained.
        out: Folder for report, ``runs.npz`` (a second call goes on from it) and ``pairs.npz``.
        jobs: Processes, as for `MemorizationEstimator.run`.
        progress: Called with what is being done and the share that is finished.

    Returns:
        A report with three findings: all labels; those chosen as memorised; pairs. What is chosen is
        chosen on one half of the runs and measured on the other, so that it is not chosen for its luck.
    """
    began = time.perf_counter()
    folder = None if out is None else make_folder(Path(out))
    known = None if data is None else read_data(data, label=label, seed=seed)
    if held is not None:
        found = held if isinstance(held, Runs) else load_runs(held)
        if known is not None and found.mask.shape[1] != len(known.y):
            raise UsageError(f"the runs are of {found.mask.shape[1]} examples, the data has {len(known.y)}")  # fmt: skip
    elif known is None:
        raise UsageError("name a data set, or runs that were made elsewhere (held=, --import)")
    else:
        found = MemorizationEstimator(
            learner_of(learner), known.x, known.y, known.x_test, known.y_test, subset=subset,
            runs=runs, seed=seed, missing_classes=missing_classes,
        ).run(None if folder is None else folder / "runs.npz", jobs=jobs, progress=progress)  # fmt: skip
    told = findings(found, known, mem=mem, infl=infl, seed=seed)
    what = describe(learner_of(learner)) if held is None else "runs made elsewhere"
    from byheart import __version__

    meta = {
        "byheart": __version__, "seed": seed, "complete": True, "learner": what, "runs": len(found),
        "examples": found.mask.shape[1], "test_examples": found.correct_test.shape[1],
        "subset": round(found.subset, 4), "error_bound": round(found.bound, 4),
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "duration_s": round(time.perf_counter() - began, 1),
        "audits": {"memorization": {
            "title": "Which labels are memorised",
            "claim": "Some labels are predicted only by models that were trained on them.",
            "control": "the same runs, with their subsets exchanged among each other",
            "source": "Feldman and Zhang 2020, arXiv 2008.03703, section 2",
            "config": {"mem": mem, "infl": infl, "runs": len(found), "subset": round(found.subset, 4)},
        }},
    }  # fmt: skip
    name = (known.name if known else "runs") + (f", {type(learner_of(learner)).__name__}" if held is None else "")  # fmt: skip
    report = Report.of(name, told, meta=meta)
    if folder is not None:
        pairs_of_runs(found, mem=mem, infl=infl).save(folder / "pairs.npz")
        report.save(folder)
    return report


def findings(
    runs: Runs,
    data: Labelled | None = None,
    *,
    mem: float = 0.25,
    infl: float = 0.15,
    seed: int = 0,
) -> list[Finding]:
    """The three contrasts of one set of runs; see `audit_data`."""
    choose, measure = runs.halves()
    chosen = np.flatnonzero(choose.mem >= mem)
    everyone = np.flatnonzero(np.isfinite(runs.mem))
    odd = _Exchanged(runs, seed)
    rows = [int(i) for i in np.argsort(-np.nan_to_num(runs.mem, nan=-2), kind="stable")[:_SHOWN]]
    details = {
        "memorised labels": int((runs.mem >= mem).sum()),
        "labels": len(everyone),
        "half-split correlation": _number(runs.half_split()),
        "accuracy gap": _number(runs.gap),
        "test accuracy": _number(runs.accuracy),
        "mean standard error": _number(float(np.nanmean(runs.mem_se))),
        "not measurable": int(np.isnan(runs.mem).sum()),
    }
    out = [
        _finding(
            "memorization/labels", "Models give labels that they were trained on, and not otherwise.",
            runs, odd, everyone, None, seed,
            tuple(_evidence(runs, data, i) for i in rows) + _fresh_rows(runs, data), details,
        ),
        _finding(
            "memorization/chosen", f"Labels with memorisation of {mem:g} or more in one half of the runs are memorised in the other.",
            measure, _Exchanged(measure, seed), chosen, None, seed, (), {"chosen": len(chosen)},
        ),
    ]  # fmt: skip
    if runs.correct_test.shape[1]:
        drawn = pairs_of_runs(choose, mem=mem, infl=infl)
        shown = pairs_of_runs(runs, mem=mem, infl=infl)
        out.append(
            _finding(
                "memorization/influence",
                "Test examples are got right because of one training example.",
                measure, _Exchanged(measure, seed), drawn.train, drawn.test, seed,
                tuple(_pair(runs, data, *p) for p in list(shown)[:_SHOWN]),
                {"pairs": len(shown), "test examples": shown.tests, "with one influencer": shown.single,
                 "pairs of the choosing half": len(drawn), "same class": runs.y is not None and runs.y_test is not None},
            )
        )  # fmt: skip
    return out


class _Exchanged:
    """What would come out if the subsets belonged to other runs: the level of chance."""

    def __init__(self, runs: Runs, seed: int) -> None:
        self.runs, self.rng = runs, np.random.default_rng([seed, 11])

    def null(self, train: np.ndarray, test: np.ndarray | None) -> np.ndarray:
        """Gaps of `_EXCHANGES` exchanges."""
        return np.array(
            [
                np.diff(_rates(self.runs.mask[self.rng.permutation(len(self.runs))], self.runs, train, test))[0]
                for _ in range(_EXCHANGES)
            ]
        )  # fmt: skip


def _rates(mask: np.ndarray, runs: Runs, train: np.ndarray, test: np.ndarray | None) -> tuple[float, float]:  # fmt: skip
    """Mean share of right answers without and with the example, over entries."""
    inside = mask[:, train]
    right = runs.correct_train[:, train] if test is None else runs.correct_test[:, test]
    n_in, n_out = inside.sum(0), (~inside).sum(0)
    ok = (n_in > 0) & (n_out > 0)
    if not ok.any():
        return 0.0, 0.0
    with_it = (right & inside).sum(0)[ok] / n_in[ok]
    without = (right & ~inside).sum(0)[ok] / n_out[ok]
    return float(without.mean()), float(with_it.mean())


def _finding(
    name: str, claim: str, runs: Runs, odd: _Exchanged, train: np.ndarray, test: np.ndarray | None,
    seed: int, evidence: tuple[Evidence, ...], details: dict[str, Any],
) -> Finding:  # fmt: skip
    nothing = Estimate(0.0, 0.0, 0.0)
    details = {"seen_is": "trained on", "fresh_is": "left out", **details}
    if not len(train):
        return Finding(
            name, claim, nothing, nothing, nothing, None, 0, "share", seed, evidence,
            no_verdict="nothing reached the thresholds in the half of the runs that chooses",
            details=details,
        )  # fmt: skip
    fresh, seen = _rates(runs.mask, runs, train, test)
    boot = np.array([_rates(*_redrawn(runs, odd.rng), train, test) for _ in range(_EXCHANGES)])
    null = odd.null(train, test)
    gap = seen - fresh
    p = (1 + int((null >= gap).sum())) / (1 + len(null))
    return Finding(
        name, claim, _interval(seen, boot[:, 1]), _interval(fresh, boot[:, 0]),
        _interval(gap, boot[:, 1] - boot[:, 0]), p, len(train), "share", seed, evidence,
        control="the same runs with their subsets exchanged",
        control_gap=_interval(float(null.mean()), null), details=details,
    )  # fmt: skip


def _redrawn(runs: Runs, rng: np.random.Generator) -> tuple[np.ndarray, Runs]:
    some = runs.part(rng.integers(0, len(runs), len(runs)))
    return some.mask, some


def _interval(value: float, draws: np.ndarray) -> Estimate:
    low, high = (float(q) for q in np.quantile(draws, [0.025, 0.975]))
    return Estimate(value, min(low, value), max(high, value))


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _evidence(runs: Runs, data: Labelled | None, i: int) -> Evidence:
    """A training example: its label, and what models say that were not trained on it."""
    likely = runs.likely()
    label = "" if runs.y is None else str(runs.y[i])
    other = "" if likely is None else str(likely[i])
    rates = f"right in {runs.rate_in[i]:.0%} of {runs.n_in[i]} runs with it, {runs.rate_out[i]:.0%} of {runs.n_out[i]} without"  # fmt: skip
    return Evidence(
        f"train {i}", "seen", f"training example {i}" + ("" if data is None or data.pictures else f": {_numbers(data.x[i])}"),
        label and f"label {label}", other and f"label {other}, by models without it",
        _number(float(runs.mem[i])), f"{rates}; standard error {runs.mem_se[i]:.2f}",
        image=picture(data.x[i]) if data is not None and data.pictures else "",
    )  # fmt: skip


def _fresh_rows(runs: Runs, data: Labelled | None) -> tuple[Evidence, ...]:
    """Examples that need no memory: the other end, to compare with."""
    from dataclasses import replace

    order = np.argsort(np.abs(np.nan_to_num(runs.mem, nan=2)), kind="stable")
    return tuple(replace(_evidence(runs, data, int(i)), arm="fresh") for i in order[:6])


def _pair(runs: Runs, data: Labelled | None, i: int, j: int, infl: float, mem: float) -> Evidence:
    label = "" if runs.y is None else f"label {runs.y[i]}"
    text = f"training example {i} (left) and test example {j} (right)"
    if data is not None and not data.pictures:
        text += f": {_numbers(data.x[i])} | {_numbers(data.x_test[j])}"
    inside = runs.correct_test[runs.mask[:, i], j].mean()
    outside = runs.correct_test[~runs.mask[:, i], j].mean()
    return Evidence(
        f"train {i}, test {j}", "seen", text, label,
        f"{label}: {inside:.0%} of runs with the training example, {outside:.0%} without".strip(": "),
        infl, f"influence {infl:.2f}, memorisation {mem:.2f}",
        image=picture(data.x[i], data.x_test[j]) if data is not None and data.pictures else "",
    )  # fmt: skip


def _numbers(x: np.ndarray) -> str:
    flat = np.asarray(x).ravel()
    shown = ", ".join(
        f"{v:.3g}" if isinstance(v, float | np.floating) else str(v) for v in flat[:12]
    )
    return shown + (f", ... ({len(flat)} numbers)" if len(flat) > 12 else "")
