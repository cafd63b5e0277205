"""What changed between two reports, and whether the change is more than noise."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

from byheart.core.finding import Estimate, Finding

if TYPE_CHECKING:
    from byheart.core.report import Report

__all__ = ["Change", "Diff"]

METHOD = (
    "Each gap's standard error is the width of its interval over 2 z; a change is the difference of "
    "the two gaps with the root of the summed squares, as if the runs were independent (with the "
    "same items in both this errs on the careful side). Two-sided normal test, Holm-corrected over "
    "the findings that both reports have; 'beyond noise' means corrected p < 0.05."
)

_BOUNDED = ("share", "auc")


@dataclass(frozen=True, slots=True)
class Change:
    """One finding in both reports.

    Attributes:
        name: ``audit/metric``.
        unit: Of gaps and change.
        before: The gap before.
        after: The gap after.
        change: After minus before, with its interval; None if no noise could be estimated.
        p_value: Two-sided, of "no change", Holm-corrected; None likewise.
        verdict_before: Verdict before.
        verdict_after: Verdict after.
    """

    name: str
    unit: str
    before: Estimate
    after: Estimate
    change: Estimate | None
    p_value: float | None
    verdict_before: str
    verdict_after: str

    @property
    def beyond_noise(self) -> bool | None:
        """Whether the change is more than noise; None if that cannot be told."""
        return None if self.p_value is None else self.p_value < 0.05

    @property
    def direction(self) -> str:
        """``"more memorised"``, ``"less memorised"``, ``"no change shown"`` or ``"cannot tell"``."""
        if self.beyond_noise is None:
            return "cannot tell"
        if not self.beyond_noise:
            return "no change shown"
        return "more memorised" if self.after.value > self.before.value else "less memorised"


@dataclass(frozen=True, slots=True)
class Diff:
    """The difference of two reports; made by `Report.diff`.

    Attributes:
        before: Name of the model before.
        after: Name of the model after.
        changes: Findings that both have.
        new: Findings that only the later report has.
        gone: Findings that only the earlier report has.
        warnings: Settings that differ, so that a change may come from them.
        method: How noise was judged.
    """

    before: str
    after: str
    changes: tuple[Change, ...]
    new: tuple[Finding, ...]
    gone: tuple[Finding, ...]
    warnings: tuple[str, ...]
    method: str = METHOD

    @classmethod
    def of(cls, before: Report, after: Report) -> Diff:
        """Compare two reports, finding by finding."""
        old = {f.name: f for f in before.findings}
        new = {f.name: f for f in after.findings}
        both = [name for name in old if name in new]
        raw = [_contrast(old[name], new[name]) for name in both]
        p_values: list[float | None] = [p for _, p in raw]
        tested = [i for i, p in enumerate(p_values) if p is not None]
        if tested:
            from byheart.core.stats import holm

            for i, p in zip(tested, holm([p_values[i] for i in tested]), strict=True):
                p_values[i] = p
        changes = tuple(
            Change(
                name, new[name].unit, old[name].gap, new[name].gap, estimate, p,
                old[name].verdict(), new[name].verdict(),
            )
            for name, (estimate, _), p in zip(both, raw, p_values, strict=True)
        )  # fmt: skip
        return cls(
            before.model,
            after.model,
            changes,
            tuple(f for f in after.findings if f.name not in old),
            tuple(f for f in before.findings if f.name not in new),
            tuple(_warnings(before, after, [(old[name], new[name]) for name in both])),
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return {
            "before": self.before,
            "after": self.after,
            "changes": [
                asdict(c) | {"beyond_noise": c.beyond_noise, "direction": c.direction}
                for c in self.changes
            ],
            "new": [f.name for f in self.new],
            "gone": [f.name for f in self.gone],
            "warnings": list(self.warnings),
            "method": self.method,
        }

    def __str__(self) -> str:
        lines = [f"{self.before} -> {self.after}"]
        for c in self.changes:
            change = "" if c.change is None else f", change {c.change}"
            lines.append(f"{c.name}: gap {c.before} -> {c.after} {c.unit}{change}: {c.direction}")
        lines += [f"{f.name}: new, gap {f.gap} {f.unit}" for f in self.new]
        lines += [f"{f.name}: gone, gap was {f.gap} {f.unit}" for f in self.gone]
        lines += [f"warning: {w}" for w in self.warnings]
        return "\n".join(lines)


def _contrast(old: Finding, new: Finding) -> tuple[Estimate | None, float | None]:
    """Change of the gap with its interval, and the two-sided p-value of no change."""
    if old.unit != new.unit or old.higher_is_memory != new.higher_is_memory:
        return None, None
    before, after = _standard_error(old), _standard_error(new)
    if before is None or after is None:
        return None, None
    se = math.hypot(before, after)
    change = new.gap.value - old.gap.value
    z = NormalDist().inv_cdf(0.975)
    p = math.erfc(abs(change) / se / math.sqrt(2))
    return Estimate(change, change - z * se, change + z * se), p


def _standard_error(finding: Finding) -> float | None:
    """From the gap's interval; an interval without width (all items alike) tells no noise.

    For a share the Agresti-Coull formula at 0 of n stands in then, once for each arm.
    """
    gap = finding.gap
    z = NormalDist().inv_cdf(0.5 + gap.level / 2)
    if gap.high > gap.low:
        return (gap.high - gap.low) / (2 * z)
    if finding.unit.lower().startswith(_BOUNDED) and finding.n > 0:
        share = 2 / (finding.n + 4)
        return math.sqrt(2 * share * (1 - share) / (finding.n + 4))
    return None


def _warnings(before: Report, after: Report, both: list[tuple[Finding, Finding]]) -> list[str]:
    out = []
    for key, label in (("seed", "seed"), ("limit", "limit"), ("byheart", "byheart version")):
        old, new = before.meta.get(key), after.meta.get(key)
        if old != new:
            out.append(f"{label} differs: {old} before, {new} after")
    old_info, new_info = before.meta.get("audits", {}), after.meta.get("audits", {})
    for name in (n for n in old_info if n in new_info):
        one, two = old_info[name].get("config", {}), new_info[name].get("config", {})
        for knob in sorted({*one, *two}):
            if one.get(knob) != two.get(knob):
                out.append(
                    f"{name}.{knob} differs: {one.get(knob)!r} before, {two.get(knob)!r} after"
                )
    for label, report in (("before", before), ("after", after)):
        if report.meta.get("complete") is False:
            out.append(f"the report {label} is not complete: {report.meta.get('missing', '')}")
    out += [
        f"{old.name}: unit differs ({old.unit} before, {new.unit} after); not compared"
        for old, new in both
        if old.unit != new.unit
    ]
    return out
