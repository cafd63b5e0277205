"""The figure of random-calculation: restored ends by readings, and reward along GRPO."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from byheart.audits._calc.probes import RATIOS
from byheart.papers._common import save_figure

if TYPE_CHECKING:
    from byheart.papers._calc_probe import Probed
    from byheart.papers._calc_rl import Curve

__all__ = ["draw"]

_COLOURS = {
    "correct": "#24445c",
    "random": "#b5541c",
    "majority-incorrect": "#c9a227",
    "inverted": "#999999",
    "random, problems read before": "#d98a5f",
}


def draw(
    probed: Sequence[Probed], curves: Sequence[Mapping[str, Curve]], best: float, folder: Path
) -> Path:
    """Means over seeds with the range of the seeds; returns the file's path.

    Args:
        probed: Of every seed.
        curves: Of every seed, by what a reward is called in the figure.
        best: Max@16 before GRPO: a line of reference.
        folder: Where it is written.

    Raises:
        OutputError: If it cannot be written.
    """
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.8, 3.6), layout="constrained")
    FigureCanvasSVG(figure)
    left, right = figure.subplots(1, 2)
    repeats = list(probed[0].rows)
    at = np.arange(len(repeats))
    for ratio, colour in zip(RATIOS, ("#24445c", "#6b8fa8", "#b5541c"), strict=True):
        for what, style in (("exact_match", "-"), ("rouge_l", ":")):
            values = np.asarray([[p.mean(n, ratio, what) for n in repeats] for p in probed])
            label = f"{'EM' if style == '-' else 'ROUGE-L'}, {ratio:.0%} shown"
            left.plot(
                at, values.mean(0), style, color=colour, lw=1.6, marker="o", ms=3, label=label
            )
    left.set_xticks(at, [str(n) for n in repeats])
    left.set_xlabel("times read")
    left.set_ylim(0, 1.03)
    left.set_title("restored ends of questions", loc="left", fontsize=10)
    left.legend(frameon=False, fontsize=7, loc="lower right")
    for kind in curves[0]:
        values = np.asarray([c[kind].reward for c in curves])
        steps, colour = curves[0][kind].steps, _COLOURS.get(kind, "#6b8fa8")
        style = "--" if "read" in kind else "-"
        right.plot(steps, values.mean(0), style, color=colour, lw=1.6, marker="o", ms=3, label=kind)
        if len(values) > 1:
            right.fill_between(steps, values.min(0), values.max(0), color=colour, alpha=0.15, lw=0)
    right.axhline(best, color="#bbbbbb", lw=1, ls=":", label="best of 16 before")
    right.set_xlabel("GRPO step")
    right.set_ylim(0, 1.03)
    right.set_title("reward (eq. 2) by kind of reward in training", loc="left", fontsize=10)
    right.legend(frameon=False, fontsize=7, loc="center right", bbox_to_anchor=(1.0, 0.22))
    for axes in (left, right):
        axes.tick_params(labelsize=8)
    return save_figure(figure, folder / "random-calculation.svg")
