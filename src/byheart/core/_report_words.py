"""Numbers and sentences of a report, in plain words; shared by page and terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from byheart.core.finding import Estimate, Finding
from byheart.core.report import Report

__all__ = [
    "arm_names", "bottom_line", "count", "duration", "gap_sentence", "interval", "number", "p_text",
    "unit_name", "verdict_reason", "when",
]  # fmt: skip

LOWER_BOUND = (
    "What was not found is not proven absent: each test is a lower bound, and other questions may "
    "bring out more."
)


def number(value: float | None) -> str:
    """Three significant digits or three decimals, with a true minus sign.

    >>> number(0.25), number(-0.0004), number(1234.5), number(None)
    ('0.250', '\u22120.0004', '1,234', '\u2013')
    """
    if value is None:
        return "\u2013"
    size = abs(value)
    if size == 0:
        text = "0"
    elif size < 0.00005 or size >= 1e7:
        text = f"{size:.2g}"
    elif size < 0.001:
        text = f"{size:.4f}"
    elif size < 10:
        text = f"{size:.3f}"
    elif size < 100:
        text = f"{size:.2f}"
    elif size < 1000:
        text = f"{size:.1f}"
    else:
        text = f"{size:,.0f}"
    return ("\u2212" if value < 0 else "") + text


def interval(estimate: Estimate) -> str:
    """``[low, high]``.

    >>> interval(Estimate(0.25, 0.1, 0.4))
    '[0.100, 0.400]'
    """
    return f"[{number(estimate.low)}, {number(estimate.high)}]"


def p_text(p: float | None) -> str:
    """A p-value as one prints it.

    >>> p_text(0.00002), p_text(0.0312), p_text(1.0), p_text(None)
    ('< 0.001', '0.031', '1.00', '\u2013')
    """
    if p is None:
        return "\u2013"
    if p < 0.001:
        return "< 0.001"
    return f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def duration(seconds: Any) -> str:
    """Seconds as minutes and seconds.

    >>> duration(431.2), duration(12), duration(7300)
    ('7 min 11 s', '12 s', '2 h 1 min')
    """
    if not isinstance(seconds, int | float):
        return ""
    s = round(seconds)
    if s < 60:
        return f"{s} s"
    if s < 3600:
        return f"{s // 60} min {s % 60} s"
    return f"{s // 3600} h {s % 3600 // 60} min"


def when(created: Any) -> str:
    """An ISO time as a person writes it; anything else as it stands.

    >>> when("2026-11-24T13:30:00+00:00")
    '24 November 2026, 13:30 UTC'
    """
    try:
        time = datetime.fromisoformat(str(created))
    except ValueError:
        return str(created or "")
    zone = time.strftime("%Z") or ""
    return f"{time.day} {time:%B %Y, %H:%M} {zone}".strip()


def count(n: int, one: str, many: str = "") -> str:
    """A number with its noun: ``1 finding``, ``3 findings``."""
    return f"{n:,} {one if n == 1 else many or one + 's'}"


def arm_names(finding: Finding) -> tuple[str, str]:
    """What the two arms are called: seen and fresh, unless `details` say ``seen_is``, ``fresh_is``.

    Some audits contrast other things than items: a membership attack with its blind baseline.
    """
    names = finding.details.get("seen_is"), finding.details.get("fresh_is")
    return (str(names[0] or "seen"), str(names[1] or "fresh"))


def unit_name(unit: str) -> tuple[str, str]:
    """A unit, and what it means, for the heading of a plot."""
    known = {
        "share": ("Share", "of items, 0 to 1"),
        "auc": ("AUC", "how well seen is told from fresh; 0.5 is chance"),
        "nats/token": ("Nats per token", "how surprised the model is"),
        "nats": ("Nats", "how surprised the model is"),
    }
    return known.get(unit.lower(), (unit[:1].upper() + unit[1:], ""))


def verdict_reason(finding: Finding) -> str:
    """Why the verdict is what it is, in one sentence."""
    if finding.no_verdict:
        text = finding.no_verdict.strip()
        return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")
    if finding.exploratory:
        return "Exploratory: shown for the record, not counted among the tests and not judged."
    p = finding.p_adjusted if finding.p_adjusted is not None else finding.p_value
    if p is None:
        return "No test was made, so no verdict is given."
    kind = "corrected p" if finding.p_adjusted is not None else "p"
    sign = "" if p < 0.001 else "= "
    if finding.verdict() == "memorised":
        return f"The gap is more than chance explains ({kind} {sign}{p_text(p)}, below 0.05)."
    if finding.gap.value <= 0:
        seen, fresh = arm_names(finding)
        who = (
            "Seen items do no better than their fresh twins"
            if (seen, fresh) == ("seen", "fresh")
            else f"The {seen} does no better than the {fresh}"
        )
        return f"{who}. Absence of proof, not proof of absence."
    return (
        f"The gap may be chance ({kind} {sign}{p_text(p)}, not below 0.05). "
        "Absence of proof, not proof of absence."
    )


def gap_sentence(finding: Finding) -> str:
    """Both arms and the gap, for a reader without sight of the plot."""
    seen, fresh = arm_names(finding)
    return (
        f"{finding.name}: {seen} {number(finding.seen.value)}, {fresh} {number(finding.fresh.value)}, "
        f"gap {number(finding.gap.value)} {interval(finding.gap)} {finding.unit}; {finding.verdict()}"
    )


def bottom_line(report: Report) -> tuple[str, str]:
    """The result in one sentence, and what must be said beside it.

    Returns:
        Headline and caveats, both plain text.
    """
    groups: dict[str, list[Finding]] = {"memorised": [], "not shown": [], "no verdict": []}
    for finding in report.findings:
        groups[finding.verdict()].append(finding)
    hits, quiet = groups["memorised"], groups["not shown"]
    judged = len(hits) + len(quiet)
    notes = []
    if not report.findings:
        headline = "Nothing was measured, so nothing can be said about this model."
    elif not judged:
        headline = "No verdict could be given on any of the tests."
    elif not hits:
        which = "The one test that could be judged" if judged == 1 else f"None of {judged} tests"
        verb = "did not show" if judged == 1 else "showed"
        headline = f"{which} {verb} that the model knows the audited items by heart."
        notes.append(LOWER_BOUND)
    else:
        best = _clearest(hits)
        found = (
            f"{best.name} found memorisation"
            if judged == 1
            else f"{len(hits)} of {judged} tests found memorisation, most clearly {best.name}"
        )
        headline = f"The model knows some of this by heart: {found} ({_arms(best)})."
        if quiet:
            notes.append(f"{count(len(quiet), 'test')} showed none. {LOWER_BOUND}")
    if groups["no verdict"] and judged:
        notes.append(f"{count(len(groups['no verdict']), 'finding')} without a verdict.")
    if report.skipped:
        notes.append(f"{count(len(report.skipped), 'audit')} skipped.")
    if report.self_test is not None:
        notes.append(_self_test_note(report))
    return headline, " ".join(notes)


def _self_test_note(report: Report) -> str:
    test = report.self_test
    assert test is not None
    if test.passed:
        return "The self-test passed: items planted in a copy of the model were found, and held-back ones were not."
    failed = ", ".join(name for name, (ok, _) in test.audits.items() if not ok)
    return f"The self-test failed ({failed or test.reason}): do not rely on this report."


def _clearest(findings: Sequence[Finding]) -> Finding:
    """The finding with the smallest p, then the largest gap in units of its own interval."""

    def key(f: Finding) -> tuple[float, float]:
        width = max(f.gap.high - f.gap.low, 1e-12)
        p = f.p_adjusted if f.p_adjusted is not None else f.p_value
        return (1.0 if p is None else round(p, 6), -f.gap.value / width)

    return min(findings, key=key)


def _arms(finding: Finding) -> str:
    names = arm_names(finding)
    if names != ("seen", "fresh"):
        seen, fresh = number(finding.seen.value), number(finding.fresh.value)
        return f"{names[0]} {seen} against {names[1]} {fresh}, in {finding.unit}"
    if finding.unit.lower() == "share":
        seen, fresh = (_percent(e.value) for e in (finding.seen, finding.fresh))
        return f"{seen} of seen items against {fresh} of fresh ones"
    return (
        f"{number(finding.seen.value)} on seen items against {number(finding.fresh.value)} on fresh "
        f"ones, in {finding.unit}"
    )


def _percent(value: float) -> str:
    percent = 100 * value
    digits = 0 if math.isclose(percent, round(percent), abs_tol=0.05) or percent >= 10 else 1
    return f"{percent:.{digits}f}\u202f%"
