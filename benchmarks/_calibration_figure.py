"""The calibration's figure: verdicts and gaps against multiplicity, one column an audit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from _calibration_records import ANY, Ledger, doses, rates

from byheart.core.errors import OutputError, need

__all__ = ["draw"]

_HEADLINE = {
    "economic-recall": ("exact", "share exactly right"),
    "membership": ("min-k++", "AUC beyond blind, Min-K%++"),
    "output-distribution": ("peak", "peak of the samples"),
    "verbatim": ("longest-run", "longest common run, share"),
}
"""The finding whose gap is drawn, and what it is measured in."""
_COLOURS = {"planted": "#b5541c", "held": "#24445c"}
_SHAPES = ("o", "s", "^", "D")


def draw(ledgers: Sequence[Ledger], path: Path, level: float = 0.05) -> None:
    """Upper row: share of seeds called memorised, with Wilson intervals. Lower row: mean gap.

    The thin line is the power of that one finding whose gap is drawn below.

    Args:
        ledgers: One a model; open markers and dashes for the second, and so on.
        path: Where to; the ending chooses the format.
        level: Nominal level, drawn as a line.

    Raises:
        MissingExtra: matplotlib is not installed.
        OutputError: The file cannot be written.
    """
    need("matplotlib", "plot")
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "calibration"  # the same records, the same file
    matplotlib.rcParams["svg.fonttype"] = "none"
    from matplotlib import pyplot

    audits = sorted({r.audit for ledger in ledgers for r in ledger.records.values()})
    columns = sorted({r.multiplicity for ledger in ledgers for r in ledger.records.values()})
    figure, axes = pyplot.subplots(
        2, len(audits), figsize=(3.1 * len(audits), 6.0), sharex=True, squeeze=False
    )
    for column, audit in enumerate(audits):
        top, bottom = axes[0][column], axes[1][column]
        for index, ledger in enumerate(ledgers):
            _model(top, bottom, ledger, audit, columns, index, len(ledgers))
        top.axhline(level, color="#888888", linewidth=1, linestyle=":")
        bottom.axhline(0, color="#888888", linewidth=1, linestyle=":")
        top.set(title=audit, ylim=(-0.04, 1.04))
        bottom.set(xlabel="times trained on")
        bottom.set_xticks(range(len(columns)), [str(m) for m in columns])
        bottom.set_title(f"gap: {_HEADLINE.get(audit, ('', ''))[1]}", fontsize=9)
        for axis in (top, bottom):
            axis.spines[["top", "right"]].set_visible(False)
    axes[0][0].set_ylabel("share of seeds called memorised")
    axes[1][0].set_ylabel("mean gap, seen against fresh")
    handles, labels = axes[0][0].get_legend_handles_labels()
    handles.append(pyplot.Line2D([], [], color="#888888", linestyle=":", linewidth=1))
    figure.legend(
        handles, [*labels, f"nominal level {level:g}"], loc="lower center", ncols=min(4, len(labels) + 1),
        frameon=False, fontsize=9,
    )  # fmt: skip
    figure.tight_layout(rect=(0, 0.06 if len(labels) < 4 else 0.09, 1, 1))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=120, metadata={"Date": None} if path.suffix == ".svg" else None)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        pyplot.close(figure)


def _model(
    top: Any, bottom: Any, ledger: Ledger, audit: str, columns: list[int], index: int, of: int
) -> None:
    """One model's points; models and arms stand side by side so that bars do not overlap."""
    some = [r for r in ledger.records.values() if r.audit == audit]
    if not some:
        return
    finding = _HEADLINE.get(audit, (next(iter(some[0].findings), ""), ""))[0]
    for k, arm in enumerate(("planted", "held")):
        shift = (2 * index + k - of + 0.5) * 0.11
        style = {
            "color": _COLOURS[arm], "marker": _SHAPES[index % len(_SHAPES)], "markersize": 5,
            "linewidth": 1.2, "capsize": 2, "linestyle": "-" if index == 0 else "--",
            "markerfacecolor": _COLOURS[arm] if index == 0 else "white",
        }  # fmt: skip
        name = "planted" if arm == "planted" else "held back"
        shown = [r for r in rates(some) if r.finding == ANY and r.arm == arm]
        _points(top, [(columns.index(r.multiplicity) + shift, r.share) for r in shown],
                style, f"{some[0].model}, {name}")  # fmt: skip
        alone = [r for r in rates(some) if r.finding == finding and r.arm == arm]
        if arm == "planted":
            thin = style | {"color": "#c9a48c", "linewidth": 1, "markersize": 3, "capsize": 0}
            _points(top, [(columns.index(r.multiplicity) + shift, r.share) for r in alone],
                    thin, f"{some[0].model}, planted: the finding below alone", bars=False)  # fmt: skip
        gaps = [d for d in doses(some) if d.finding == finding and d.arm == arm and d.n > 1]
        _points(bottom, [(columns.index(d.multiplicity) + shift, d.gap) for d in gaps], style, "")


def _points(
    axis: Any,
    points: list[tuple[float, Any]],
    style: dict[str, Any],
    label: str,
    bars: bool = True,
) -> None:
    if not points:
        return
    below = [(e.value - e.low) * bars for _, e in points]
    above = [(e.high - e.value) * bars for _, e in points]
    axis.errorbar(
        [x for x, _ in points], [e.value for _, e in points], yerr=[below, above],
        label=label, **style,
    )  # fmt: skip
