"""The figure of knights-and-knaves: accuracy and LiMem along training, small set and large."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from byheart.papers._common import save_figure

if TYPE_CHECKING:
    from byheart.audits._kk.tuning import StudyPoint
    from byheart.papers.knights_and_knaves import _Run

__all__ = ["draw", "draw_full"]


def draw(done: Sequence[dict[str, _Run]], folder: Path) -> Path:
    """Means over seeds with the range of the seeds; returns the file's path.

    Raises:
        OutputError: If it cannot be written.
    """
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.8, 3.6), layout="constrained")
    FigureCanvasSVG(figure)
    left, right = figure.subplots(1, 2, sharey=True)
    for axes, name in ((left, "1000"), (right, "8000")):
        epochs = done[0][name].epochs
        lines = (
            ("train accuracy", [s[name].train for s in done], "#24445c", "-"),
            ("test accuracy", [s[name].test for s in done], "#6b8fa8", "-"),
            ("train LiMem, leaf", [s[name].limem["train"]["leaf"] for s in done], "#b5541c", "--"),
            ("test LiMem, leaf", [s[name].limem["test"]["leaf"] for s in done], "#e0a27f", "--"),
        )
        for label, values, colour, style in lines:
            v = np.asarray(values)
            axes.plot(epochs, v.mean(0), style, color=colour, lw=1.6, marker="o", ms=3, label=label)
            if len(v) > 1:
                axes.fill_between(epochs, v.min(0), v.max(0), color=colour, alpha=0.15, lw=0)
        axes.axhline(1 / 8, color="#bbbbbb", lw=0.8, zorder=0)
        axes.set_title(f"{int(name):,} training puzzles", loc="left", fontsize=10)
        axes.set_xlabel("epoch")
        axes.set_ylim(0, 1.03)
        axes.tick_params(labelsize=8)
    left.annotate("chance", (left.get_xlim()[1], 1 / 8), fontsize=7, color="#888888", ha="right", va="bottom")  # fmt: skip
    right.legend(frameon=False, fontsize=8, loc="upper left")
    return save_figure(figure, folder / "knights-and-knaves.svg")


def draw_full(told: dict[str, list[StudyPoint]], people: int, folder: Path) -> Path:
    """The large case: direct tuning and chain of thought side by side; returns the file's path.

    Raises:
        OutputError: If it cannot be written.
    """
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.8, 3.6), layout="constrained")
    FigureCanvasSVG(figure)
    panels = figure.subplots(1, len(told), sharey=True, squeeze=False)[0]
    colours = {"train": ("#24445c", "#b5541c"), "test": ("#6b8fa8", "#e0a27f")}
    for axes, (name, points) in zip(panels, told.items(), strict=True):
        for part, (dark, warm) in colours.items():
            some = [p for p in points if p.part == part]
            epochs = [p.epoch for p in some]
            axes.plot(epochs, [p.accuracy for p in some], "-o", color=dark, lw=1.6, ms=3,
                      label=f"{part} accuracy")  # fmt: skip
            axes.plot(epochs, [p.limem.get("leaf", np.nan) for p in some], "--o", color=warm, lw=1.6,
                      ms=3, label=f"{part} LiMem, leaf")  # fmt: skip
        axes.axhline(0.5**people, color="#bbbbbb", lw=0.8, zorder=0)
        axes.set_title(name, loc="left", fontsize=10)
        axes.set_xlabel("epoch")
        axes.set_ylim(0, 1.03)
        axes.tick_params(labelsize=8)
    panels[-1].legend(frameon=False, fontsize=8, loc="upper left")
    return save_figure(figure, folder / "knights-and-knaves-full.svg")
