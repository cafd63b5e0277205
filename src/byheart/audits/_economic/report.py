"""`recall`: one call from series and model to a table, a plot, a verdict and safe start dates."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from byheart.audits._economic import judge
from byheart.audits._economic.inference import recall_test
from byheart.audits._economic.items import main_label, tolerance_label
from byheart.audits._economic.metrics import Gap, recall_gap
from byheart.core.audit import Row
from byheart.core.drive import drive
from byheart.core.errors import OutputError, UsageError, need
from byheart.core.finding import Finding
from byheart.core.model import load as load_model
from byheart.core.stats import bootstrap, holm, permutation_paired
from byheart.data.series import Series, month_index, month_label

if TYPE_CHECKING:
    from byheart.audits.economic_recall import EconomicRecall

__all__ = ["RecallReport", "SafeStart", "recall"]

_WINDOW = 12
_ERRORS = ("mae", "mape", "me", "mpe")


@dataclass(frozen=True)
class SafeStart:
    """From when on a back-test on this series is not known to be contaminated.

    Attributes:
        series: Its key.
        date: ``YYYY-MM``: the month after the later of the cutoff and the last recalled stretch.
        last_recalled: The last recalled month, or None.
        why: In words. "Safe" is never proven: a recall test is a lower bound.
    """

    series: str
    date: str
    last_recalled: str | None
    why: str


@dataclass(frozen=True)
class RecallReport:
    """Answers of one model to one probe.

    Attributes:
        model: As the user named it.
        audit: The audit with its knobs.
        rows: One a date.
        findings: The contrasts.
        seed: The seed that redraws everything.
    """

    model: str
    audit: EconomicRecall
    rows: tuple[Row, ...]
    findings: tuple[Finding, ...] = field(default=())
    seed: int = 0

    @property
    def verdict(self) -> str:
        """``"recall shown"``, ``"not shown (lower bound only)"`` or ``"no verdict: ..."``.

        Holm-corrected over the tested findings, level 5 %.
        """
        tested = [f for f in self.findings if not f.exploratory]
        for f in tested:
            if f.no_verdict:
                return f"no verdict: {f.no_verdict}"
        ps = [1.0 if f.p_value is None else f.p_value for f in tested]
        shown = any(
            f.with_adjusted(p).verdict() == "memorised"
            for f, p in zip(tested, holm(ps), strict=True)
        )
        return "recall shown" if shown else "not shown (lower bound only)"

    def table(self, by: Sequence[str] = ("series", "period")) -> list[dict[str, Any]]:
        """Every metric for each group of rows; hit rates with month-block intervals.

        Args:
            by: Any of ``series``, ``period``, ``group``, ``arm``, ``unit``, ``year``, ``decade``.

        Returns:
            One record a group; ``pandas.DataFrame(report.table())`` makes a frame of it.

        Raises:
            UsageError: If a column cannot be grouped by.
        """
        columns: dict[str, Callable[[Row], Any]] = {
            "series": lambda r: r.meta.get("series"),
            "period": lambda r: r.meta.get("period"),
            "group": lambda r: r.meta.get("group"),
            "unit": lambda r: r.meta.get("unit"),
            "arm": lambda r: r.arm,
            "year": lambda r: r.meta["month"] // 12,
            "decade": lambda r: r.meta["month"] // 120 * 10,
        }
        unknown = sorted(set(by) - set(columns))
        if unknown:
            raise UsageError(f"cannot group by {', '.join(unknown)}; use {', '.join(columns)}")
        groups: dict[tuple[Any, ...], list[Row]] = {}
        for row in self.rows:
            groups.setdefault(tuple(columns[c](row) for c in by), []).append(row)
        out = []
        for key, rows in groups.items():
            record: dict[str, Any] = dict(zip(by, key, strict=True)) | judge.summary(rows)
            months = [r.meta["month"] for r in rows]
            for metric in (
                "exact",
                *map(tolerance_label, self.audit.within),
                "direction",
                "company",
            ):
                known = [(r.values[metric], m) for r, m in zip(rows, months, strict=True)
                         if r.values.get(metric) is not None]  # fmt: skip
                if known:
                    e = bootstrap(
                        [v for v, _ in known], blocks=[m for _, m in known], seed=self.seed
                    )
                    record[f"{metric}_low"] = round(max(0.0, e.low), 4)
                    record[f"{metric}_high"] = round(min(1.0, e.high), 4)
            naive, _ = judge.strongest_naive(rows, "exact")
            if any("exact" in r.values for r in rows):
                record["naive_exact"] = round(float(naive.mean()), 4)
                label = main_label(self.audit)
                record[f"naive_{label}"] = round(
                    float(judge.strongest_naive(rows, label)[0].mean()), 4
                )
            out.append(record)
        return out

    def per_date(self) -> list[dict[str, Any]]:
        """One record a date: truth, answer, errors and hits, in order of time."""
        out = []
        for row in sorted(
            self.rows, key=lambda r: (str(r.meta.get("series")), r.meta["month"], r.id)
        ):
            shown = {k: v for k, v in row.values.items() if "/" not in k}
            out.append(
                {k: row.meta.get(k) for k in ("series", "date", "period", "group")}
                | shown
                | {"reply": row.evidence.produced if row.evidence else ""}
            )
        return out

    def frame(self) -> Any:
        """`per_date` as a `pandas.DataFrame`.

        Raises:
            MissingExtra: If pandas is not installed.
        """
        return need("pandas", "series").DataFrame(self.per_date())

    def gap(self, metric: str = "exact", *, draws: int = 2000) -> Gap:
        """The metric before the cutoff minus after it, with a month-block bootstrap interval.

        Its verdict asks more than an interval off zero, which a trend can give: the model must also
        lead the best forecaster without recall before the cutoff, and by more than after it.

        Args:
            metric: A hit rate (``exact``, ``within1``, ``threshold``, ``direction``, ``year``, ...)
                or an error (``mae``, ``mape``, ``me``, ``mpe``), over answered dates.
            draws: Bootstrap samples.

        Raises:
            UsageError: If the rows do not hold it.
        """
        values, lower = self._contributions(metric)
        arms = {
            arm: [(v, r.meta["month"]) for v, r in zip(values, self.rows, strict=True)
                  if r.arm == arm and v is not None and r.meta.get("group") != "before"]
            for arm in ("seen", "fresh")
        }  # fmt: skip
        if not arms["seen"] or not arms["fresh"]:
            raise UsageError(f"no row of one arm holds {metric!r}")
        found = recall_gap(
            np.asarray([v for v, _ in arms["seen"]]),
            np.asarray([v for v, _ in arms["fresh"]]),
            pre_months=[m for _, m in arms["seen"]],
            post_months=[m for _, m in arms["fresh"]],
            higher_is_memory=not lower,
            draws=draws,
            seed=self.seed,
        )
        if found.verdict != "recall shown" and metric not in ("me", "mpe"):
            return found
        return replace(found, verdict=self._beyond_naive(metric))

    def _beyond_naive(self, metric: str) -> str:
        """The verdict on a gap that is off zero: is it more than a forecaster's without recall?"""
        if metric in ("me", "mpe"):
            return "no verdict: signed errors cancel out; ask for mae or mape"
        keys = ("ape", "ae") if metric in _ERRORS else (metric,)
        scores: dict[str, list[np.ndarray]] = {"seen": [], "fresh": []}
        naive: dict[str, list[np.ndarray]] = {"seen": [], "fresh": []}
        blocks: dict[str, list[int]] = {"seen": [], "fresh": []}
        for arm in scores:
            for key in keys:
                rows = [r for r in self.rows if r.arm == arm and r.values.get(key) is not None
                        and r.meta.get("group") != "before"]  # fmt: skip
                if not any(k.startswith(f"{key}/") for r in rows for k in r.values):
                    continue
                flip = (lambda v: 1 - v) if metric in _ERRORS else (lambda v: v)
                scores[arm].append(flip(np.asarray([r.values[key] for r in rows], dtype=float)))
                naive[arm].append(flip(judge.strongest_naive(rows, key)[0]))
                blocks[arm] += [r.meta["month"] for r in rows]
        if not scores["seen"] or not scores["fresh"]:
            return f"no verdict: nothing without recall to compare {metric!r} with"
        test = recall_test(
            np.concatenate(scores["seen"]),
            np.concatenate(scores["fresh"]),
            np.concatenate(naive["seen"]),
            np.concatenate(naive["fresh"]),
            (blocks["seen"], blocks["fresh"]),
            seed=self.seed,
        )
        return "recall shown" if test.p_value < 0.05 else "not shown (lower bound only)"

    def _contributions(self, metric: str) -> tuple[list[float | None], bool]:
        if metric not in _ERRORS:
            return [r.values.get(metric) for r in self.rows], False
        out: list[float | None] = []
        for r in self.rows:
            said, truth = r.values.get("value"), r.values.get("truth")
            if said is None or truth is None or (metric in ("mape", "mpe") and truth == 0):
                out.append(None)
                continue
            error = said - truth
            error = error / truth if metric in ("mape", "mpe") else error
            out.append(abs(error) if metric in ("mae", "mape") else error)
        return out, True

    def safe_start(self, metric: str | None = None) -> list[SafeStart]:
        """For each series, the first month not known to be recalled.

        The asked dates are cut into stretches of 12, from the last backwards. A stretch counts as recalled if it holds more hits than the best
        forecaster without recall, by a sign-flip test, Bonferroni-corrected over the stretches of
        the series. Where one is recalled, every later hit above the forecaster's counts too. Recall
        found past the stated cutoff moves the date on.
        """
        metric = metric or ("exact" if self.audit.probe != "direction" else "direction")
        cutoff = month_index(self.audit.cutoff)
        out = []
        for key in dict.fromkeys(str(r.meta.get("series")) for r in self.rows):
            rows = sorted(
                (r for r in self.rows if str(r.meta.get("series")) == key and r.values.get(metric) is not None),
                key=lambda r: r.meta["month"],
            )  # fmt: skip
            naive, _ = judge.strongest_naive(rows, metric)
            hits = np.asarray([r.values[metric] for r in rows], dtype=float)
            lead = hits - naive
            starts = range(len(rows) % _WINDOW, len(rows), _WINDOW) if len(rows) >= _WINDOW else ()
            last = None
            for i in starts:
                at = slice(i, i + _WINDOW)
                p = permutation_paired(hits[at], naive[at], seed=self.seed)
                if p * len(starts) < 0.05:
                    last = max(rows[j].meta["month"] for j in range(i, len(rows)) if lead[j] > 0)
            safe = max(cutoff, last if last is not None else 0) + 1
            if not starts:
                why = f"{len(rows)} dates asked; {_WINDOW} are needed to look for recall"
            elif last is None:
                why = "no recall found; this is a lower bound, so the cutoff still counts"
            elif last > cutoff:
                why = "recalled past the stated cutoff: the cutoff is wrong"
            else:
                why = "recalled before the cutoff"
            out.append(
                SafeStart(key, month_label(safe), None if last is None else month_label(last), why)
            )
        return out

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready: verdict, intervals, table, safe start dates, one record a date."""
        return {
            "schema": "byheart/economic-recall/1",
            "model": self.model,
            "knobs": self.audit.config(),
            "seed": self.seed,
            "verdict": self.verdict,
            "note": "every score is a lower bound: finding nothing does not prove absence",
            "findings": [f.to_dict() for f in self.findings],
            "table": self.table(),
            "safe_start": [s.__dict__ for s in self.safe_start()]
            if "date" in self.rows[0].meta and self.audit.probe not in ("dating", "unmask")
            else [],
            "dates": self.per_date(),
        }

    def to_json(self, path: str | Path | None = None) -> str:
        """`to_dict` as JSON text; also written to `path`.

        Raises:
            OutputError: If it cannot be written.
        """
        text = json.dumps(self.to_dict(), indent=2, ensure_ascii=False, allow_nan=False)
        if path is not None:
            try:
                Path(path).write_text(text + "\n", encoding="utf-8")
            except OSError as error:
                raise OutputError(f"cannot write {path}: {error.strerror or error}") from error
        return text

    def plot(self, path: str | Path) -> Path:
        """Error against time, one panel a series, the cutoff marked; PNG or SVG by the ending.

        Raises:
            MissingExtra: If matplotlib is not installed.
            OutputError: If the file cannot be written.
        """
        from byheart.audits._economic.plot import plot_errors

        return plot_errors(self, Path(path))


def recall(
    series: Sequence[str | Path | Series] | str | Path | Series,
    *,
    model: Any,
    cutoff: str | None = None,
    probe: str = "value",
    limit: int | None = None,
    seed: int = 0,
    **knobs: Any,
) -> RecallReport:
    """Is this model contaminated for these series and dates?

    Args:
        series: Keys, paths of ``date,value`` files, or `Series`.
        model: What `byheart.load` takes.
        cutoff: Last month the model may have read.
        probe: One of `PROBES`.
        limit: Most dates an arm.
        seed: Redraws everything.
        **knobs: Further fields of `EconomicRecall`.

    Returns:
        The report: ``.verdict``, ``.table()``, ``.gap()``, ``.safe_start()``, ``.plot()``.

    Raises:
        DataError: If the series do not give both arms.
        CapabilityError: If the model cannot be sampled.
    """
    from byheart.audits.economic_recall import EconomicRecall

    many = (series,) if isinstance(series, str | Path | Series) else tuple(series)
    if cutoff is not None:
        knobs["cutoff"] = cutoff
    audit = EconomicRecall(series=many, probe=probe, **knobs)
    loaded = load_model(model)
    rows = drive(audit, loaded, seed=seed, limit=limit)
    return RecallReport(
        loaded.name, audit, tuple(rows), tuple(audit.findings(rows, seed=seed)), seed
    )
