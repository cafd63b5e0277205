"""Error against time, with the cutoff."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from byheart.core.errors import OutputError, UsageError, need
from byheart.data.series import month_index

if TYPE_CHECKING:
    from byheart.audits._economic.report import RecallReport

__all__ = ["plot_errors"]

SEEN, FRESH, QUIET = "#0b6e99", "#c2571a", "#8a8f98"


def plot_errors(report: RecallReport, path: Path) -> Path:
    """See `RecallReport.plot`."""
    rows = [r for r in report.rows if "truth" in r.values]
    if not rows:
        raise UsageError(f"probe={report.audit.probe!r} has no errors to plot")
    need("matplotlib", "plot")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    keys = list(dict.fromkeys(r.meta["series"] for r in rows))
    figure = Figure(figsize=(8, 0.9 + 2.3 * len(keys)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(keys), 1, squeeze=False)[:, 0]
    cutoff = (month_index(report.audit.cutoff) + 1) / 12
    for ax, key in zip(axes, keys, strict=True):
        _panel(ax, [r for r in rows if r.meta["series"] == key], cutoff)
    axes[0].legend(loc="upper left", fontsize=8, frameon=False, ncols=4)
    figure.suptitle(f"{report.model}: {report.verdict}", fontsize=10, x=0.01, ha="left")
    try:
        figure.savefig(path, dpi=130)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error
    return path


def _panel(ax: Any, rows: list[Any], cutoff: float) -> None:
    floor = 1e-4
    for arm, colour, label in (("seen", SEEN, "before the cutoff"), ("fresh", FRESH, "after it")):
        said = [r for r in rows if r.arm == arm and r.values["value"] is not None]
        if said:
            when = [(r.meta["month"] + 0.5) / 12 for r in said]
            errors = [max(_error(r), floor) for r in said]
            ax.scatter(when, errors, s=14, color=colour, label=label, linewidths=0, alpha=0.8)
    silent = [(r.meta["month"] + 0.5) / 12 for r in rows if r.values["value"] is None]
    if silent:
        ax.scatter(
            silent, [floor * 0.5] * len(silent), marker="|", s=20, color=QUIET, label="no answer"
        )
    ax.axvline(cutoff, color="#333333", lw=1, ls="--")
    ax.set_yscale("log")
    ax.set_ylim(floor * 0.35, 20)
    ax.axhline(0.01, color=QUIET, lw=0.6)
    ax.set_yticks(
        [1e-4, 1e-3, 1e-2, 1e-1, 1, 10], ["≤0.01 %", "0.1 %", "1 %", "10 %", "100 %", "1000 %"]
    )
    ax.minorticks_off()
    ax.tick_params(labelsize=8)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    name = rows[0].meta.get("name", rows[0].meta["series"])
    ax.set_title(name if len(name) < 95 else name[:92] + "...", fontsize=8.5, loc="left")
    ax.annotate(
        "cutoff", (cutoff, 14), fontsize=7.5, xytext=(3, 0), textcoords="offset points", va="top"
    )
    ax.set_ylabel("error" if not rows[0].meta["rate"] else "error, pp", fontsize=8)


def _error(row: Any) -> float:
    error = abs(row.values["value"] - row.values["truth"])
    scale = 100.0 if row.meta["rate"] else abs(row.values["truth"])
    return float(np.clip(error / scale if scale else error, 0, 15))
