"""The dumbbell plots of a report as inline SVG.

All positions are percentages of the drawing's width, so that one drawing fits a phone and a desk:
lines and dots keep their size, only distances stretch.
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from byheart.core._report_words import gap_sentence, number
from byheart.core.finding import Estimate, Finding

__all__ = ["Group", "Scale", "arms_svg", "axis_svg", "gap_svg", "group_by_unit", "lanes_svg"]

_MARGIN = 3.0  # per cent of the width that stays free at either end


@dataclass(frozen=True, slots=True)
class Scale:
    """A linear scale from values to percentages of the width."""

    low: float
    high: float
    ticks: tuple[float, ...]

    @classmethod
    def over(cls, values: Iterable[float], *, must: Sequence[float] = ()) -> Scale:
        """A scale with round ends and ticks over all values (and those it `must` hold)."""
        values = [*values, *must]
        low, high = min(values), max(values)
        if high - low < 1e-12:
            pad = abs(high) * 0.5 or 0.5
            low, high = low - pad, high + pad
        step = _nice((high - low) / 3.5)
        low, high = math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step
        steps = round((high - low) / step)
        return cls(low, high, tuple(low + step * i for i in range(steps + 1)))

    def at(self, value: float) -> float:
        """Position of a value, in per cent; never outside the drawing."""
        share = (value - self.low) / (self.high - self.low)
        return round(_MARGIN + (100 - 2 * _MARGIN) * min(1.0, max(0.0, share)), 3)


@dataclass(frozen=True, slots=True)
class Group:
    """Findings that share a unit and an orientation, with the scales they share."""

    unit: str
    higher_is_memory: bool
    findings: tuple[Finding, ...]
    arms: Scale
    gap: Scale
    reference: float | None


def group_by_unit(findings: Sequence[Finding]) -> list[Group]:
    """One group a unit, in order of appearance.

    Shares and AUCs are drawn on their whole range, so that a tiny gap looks tiny; other units on
    round ends around what was measured.
    """
    kinds = dict.fromkeys((f.unit, f.higher_is_memory) for f in findings)
    groups = []
    for unit, higher in kinds:
        mine = tuple(f for f in findings if (f.unit, f.higher_is_memory) == (unit, higher))
        edges = [x for f in mine for e in (f.seen, f.fresh) for x in (e.low, e.value, e.high)]
        whole = unit.lower() in ("share", "auc") and min(edges) >= 0 and max(edges) <= 1
        arms = Scale(0.0, 1.0, (0.0, 0.25, 0.5, 0.75, 1.0)) if whole else Scale.over(edges)
        gaps = [
            x for f in mine for e in (f.gap, f.control_gap) if e for x in (e.low, e.value, e.high)
        ]
        gap = Scale.over(gaps, must=(0.0, 0.1, -0.05) if whole else (0.0,))
        groups.append(Group(unit, higher, mine, arms, gap, 0.5 if unit.lower() == "auc" else None))
    return groups


def arms_svg(finding: Finding, group: Group) -> str:
    """Seen and fresh with their intervals, joined by a bar."""
    scale = group.arms
    seen, fresh = scale.at(finding.seen.value), scale.at(finding.fresh.value)
    parts = [_grid(scale, group.reference, 44)]
    parts.append(_line(seen, fresh, 22, "bar"))
    parts.append(_whisker(finding.fresh, scale, 30, "fresh"))
    parts.append(_whisker(finding.seen, scale, 14, "seen"))
    # the ring is drawn again on top, so that both are seen where they fall together
    for kind, at in (("fresh", fresh), ("seen", seen), ("fresh ring", fresh)):
        parts.append(f'<circle class="{kind}" cx="{at}%" cy="22" r="6"/>')
    return _svg("".join(parts), 44, gap_sentence(finding))


def gap_svg(finding: Finding, group: Group) -> str:
    """The gap with its interval, the zero line, and the control's gap where there is one."""
    kind = finding.verdict().replace(" ", "-")
    parts = [_grid(group.gap, 0.0, 44)]
    if finding.control_gap is not None:
        parts.append(_whisker(finding.control_gap, group.gap, 33, "control"))
        at = group.gap.at(finding.control_gap.value)
        parts.append(
            f'<svg x="{at}%" y="33" overflow="visible"><path class="control" d="M-4.5 0 0-4.5 4.5 0 0 4.5z"/></svg>'
        )
    y = 22 if finding.control_gap is None else 16
    parts.append(_whisker(finding.gap, group.gap, y, f"gap {kind}"))
    at = group.gap.at(finding.gap.value)
    parts.append(
        f'<svg x="{at}%" y="{y}" overflow="visible"><rect class="gap {kind}" x="-4.5" y="-4.5" width="9" height="9"/></svg>'
    )
    label = f"gap {number(finding.gap.value)}, interval {number(finding.gap.low)} to {number(finding.gap.high)}"
    if finding.control_gap is not None:
        label += f"; control {number(finding.control_gap.value)}"
    return _svg("".join(parts), 44, label)


def lanes_svg(
    lanes: Sequence[tuple[str, Finding | None, Finding | None]], scale: Scale, label: str
) -> str:
    """Gap of base (hollow) and tuned (filled) model, one lane above the other.

    Args:
        lanes: CSS class, base and tuned finding of each lane.
        scale: Of the gaps.
        label: What the drawing says, for readers who do not see it.
    """
    height = 26 * len(lanes) + 4
    parts = [_grid(scale, 0.0, height)]
    for i, (kind, base, tuned) in enumerate(lanes):
        y = 15 + 26 * i
        if base is not None and tuned is not None:
            parts.append(_line(scale.at(base.gap.value), scale.at(tuned.gap.value), y, "bar"))
        for finding, state, dy in ((base, "base", 4), (tuned, "tuned", -4)):
            if finding is not None:
                parts.append(_whisker(finding.gap, scale, y + dy, f"{kind} {state}"))
        for finding, state in ((base, "base"), (tuned, "tuned")):
            if finding is not None:
                at = scale.at(finding.gap.value)
                parts.append(f'<circle class="{kind} {state}" cx="{at}%" cy="{y}" r="5.5"/>')
    return _svg("".join(parts), height, label)


def axis_svg(scale: Scale) -> str:
    """The tick labels below a column of drawings; on a phone only those of `_major` are shown."""
    parts = []
    for i, tick in enumerate(scale.ticks):
        anchor = "start" if i == 0 else "end" if i == len(scale.ticks) - 1 else "middle"
        shift = -6 if i == 0 else 6 if i == len(scale.ticks) - 1 else 0
        text = f"{tick:.4g}".replace("-", "\u2212") if abs(tick) > 1e-12 else "0"
        kind = "" if i in _major(scale) else ' class="minor"'
        parts.append(
            f'<text{kind} x="{scale.at(tick)}%" dx="{shift}" y="12" text-anchor="{anchor}">{text}</text>'
        )
    return f'<svg class="axis" height="16" aria-hidden="true">{"".join(parts)}</svg>'


def _major(scale: Scale) -> set[int]:
    """Both ends and zero (else the middle); an end that would touch zero is left out."""
    last = len(scale.ticks) - 1
    zero = next((i for i, t in enumerate(scale.ticks) if abs(t) < 1e-12), last // 2)
    if zero in (0, last):
        zero = last // 2
    return {zero} | {i for i in (0, last) if abs(i - zero) / max(last, 1) >= 0.3}


def _svg(body: str, height: int, label: str) -> str:
    return f'<svg class="plot" height="{height}" role="img" aria-label="{html.escape(label)}">{body}</svg>'


def _grid(scale: Scale, reference: float | None, height: int) -> str:
    lines = [
        f'<line class="tick" x1="{scale.at(t)}%" x2="{scale.at(t)}%" y1="0" y2="{height}"/>'
        for t in scale.ticks
    ]
    if reference is not None and scale.low <= reference <= scale.high:
        at = scale.at(reference)
        lines.append(f'<line class="zero" x1="{at}%" x2="{at}%" y1="0" y2="{height}"/>')
    return "".join(lines)


def _line(one: float, two: float, y: float, kind: str) -> str:
    return f'<line class="{kind}" x1="{min(one, two)}%" x2="{max(one, two)}%" y1="{y}" y2="{y}"/>'


def _whisker(estimate: Estimate, scale: Scale, y: float, kind: str) -> str:
    low, high = scale.at(estimate.low), scale.at(estimate.high)
    return _line(low, high, y, f"whisker {kind}") if high > low else ""


def _nice(step: float) -> float:
    """The next of 1, 2, 2.5, 5 times a power of ten at or above `step`."""
    power = 10.0 ** math.floor(math.log10(step))
    for factor in (1, 2, 2.5, 5, 10):
        if factor * power >= step * (1 - 1e-9):
            return factor * power
    return 10 * power
