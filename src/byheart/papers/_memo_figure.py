"""The figure of memo-training: a planned step, what each layout needs, and what alpha costs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from byheart.papers._common import save_figure
from byheart.states.planner import MemoryPlan

if TYPE_CHECKING:
    from byheart.papers.memo_training import Traced

__all__ = ["draw"]

_COLOURS = ("#2f6f9f", "#e09a5f", "#2e8263", "#7b5ea7", "#c9a227", "#6fa3c7", "#b8551b", "#7cbf9f")
_INK = "#8a8f98"


def draw(
    shown: MemoryPlan, small: Sequence[Traced], mixed: Sequence[Traced], out: Path
) -> Path:  # fmt: skip
    """Write ``memo-training.svg``.

    Args:
        shown: The plan whose buffers are drawn.
        small: Recorded steps of small GPTs.
        mixed: Steps of changing length.
        out: Folder.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11.4, 3.5), layout="constrained")
    FigureCanvasAgg(figure)
    plan_axes, layout_axes, alpha_axes = figure.subplots(1, 3, width_ratios=(1.25, 1.15, 1))
    _plan(plan_axes, shown)
    _layouts(layout_axes, small, mixed)
    _alpha(alpha_axes)
    for axes in (plan_axes, layout_axes, alpha_axes):
        axes.tick_params(labelsize=8)
    return save_figure(figure, out / "memo-training.svg")


def _plan(axes: Any, plan: MemoryPlan) -> None:
    from matplotlib.collections import PatchCollection
    from matplotlib.patches import Rectangle

    mib = 2**20
    sizes = {size: i for i, size in enumerate(sorted({b.size for b in plan.buffers}))}
    boxes = [
        Rectangle((b.lower, o / mib), b.upper - b.lower, b.size / mib)
        for b, o in zip(plan.buffers, plan.offsets, strict=True)
    ]
    colours = [_COLOURS[sizes[b.size] % len(_COLOURS)] for b in plan.buffers]
    axes.add_collection(PatchCollection(boxes, facecolors=colours, edgecolors="white", lw=0.25))
    axes.axhline(plan.lower_bound / mib, color="#1c6b45", lw=1.2)
    axes.text(
        0, plan.lower_bound / mib * 1.015, "most bytes ever live", color="#1c6b45", fontsize=8
    )
    axes.set_xlim(0, max(b.upper for b in plan.buffers))
    axes.set_ylim(0, plan.height / mib * 1.1)
    axes.set_xlabel("request", fontsize=8)
    axes.set_ylabel("address, MiB", fontsize=8)
    axes.set_title("a planned step, buffer by buffer", loc="left", fontsize=10)


def _layouts(axes: Any, small: Sequence[Traced], mixed: Sequence[Traced]) -> None:
    kinds = (
        ("planned", "planned"), ("first fit", "first_fit"), ("best fit", "best_fit"),
        ("expandable\nsegments", "expandable"), ("caching\nallocator", "caching"),
    )  # fmt: skip
    rng = np.random.default_rng(0)
    for group, colour, name in (
        (small, "#0b6e99", "one step of a small GPT"),
        (mixed, "#c2571a", "five lengths, width 4096"),
    ):
        for i, (_, kind) in enumerate(kinds):
            values = [getattr(t, kind) for t in group]
            shift = (-0.14 if group is small else 0.14) + rng.uniform(-0.05, 0.05, len(values))
            axes.scatter(i + shift, values, s=14, color=colour, alpha=0.75, lw=0, label=name if not i else None)  # fmt: skip
    axes.axhline(1, color="#1c6b45", lw=1.2)
    axes.set_xticks(range(len(kinds)), [k for k, _ in kinds])
    axes.tick_params(axis="x", labelrotation=28)
    axes.set_ylabel("memory by the most bytes live", fontsize=8)
    axes.set_title("who needs how much", loc="left", fontsize=10)
    axes.set_ylim(0.98, 1.12 * max(t.caching for t in [*small, *mixed]))
    axes.legend(frameon=False, fontsize=8, loc="upper left")


def _alpha(axes: Any) -> None:
    from byheart.papers.memo_training import Pipeline

    covers = np.geomspace(1 / 8, 2, 60)
    machines = [Pipeline(32, 1.0, 0.3, 16.0, 16.0 * c) for c in covers]
    plain = 32 * 3.0
    for name, colour, style, alphas in (
        ("all swapped", "#c9a227", "--", [1.0] * len(machines)),
        ("all recomputed", _INK, ":", [None] * len(machines)),
        ("alpha of the paper", "#0b6e99", "-", [m.alpha() for m in machines]),
    ):
        times = [m.seconds(a)[0] / plain for m, a in zip(machines, alphas, strict=True)]
        axes.plot(covers, times, style, color=colour, lw=1.8, label=name)
    axes.axvline(1, color=_INK, lw=0.8)
    axes.text(1.05, 1.04, "all bytes hide", fontsize=8, color=_INK)
    axes.set_xscale("log", base=2)
    axes.set_xticks([1 / 8, 1 / 4, 1 / 2, 1, 2], ["1/8", "1/4", "1/2", "1", "2"])
    axes.set_ylim(0.98, 1.6)
    axes.set_xlabel("link times a layer's forward time, by its bytes", fontsize=8)
    axes.set_ylabel("step time by that of keeping all", fontsize=8)
    axes.set_title("what alpha costs", loc="left", fontsize=10)
    axes.legend(frameon=False, fontsize=8, loc="upper left")
