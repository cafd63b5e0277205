"""A report as a table for the terminal, readable at 80 columns."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from byheart.core import _report_words as words
from byheart.core._report_marks import clean

if TYPE_CHECKING:
    from byheart.core._report_diff import Diff
    from byheart.core.report import Report

__all__ = ["render", "render_diff"]

_STYLES = {"memorised": "bold red", "not shown": "green", "no verdict": "dim"}
_DIRECTIONS = {
    "more memorised": "bold red",
    "less memorised": "bold green",
    "no change shown": "",
    "cannot tell": "dim",
}


def render(report: Report) -> RenderableType:
    """The report as a rich renderable: bottom line, one line a finding, what was skipped."""
    headline, caveats = words.bottom_line(report)
    parts: list[RenderableType] = [Text(clean(report.model), style="dim"), Text(headline, "bold")]
    if caveats:
        parts.append(Text(caveats))
    if report.findings:
        parts += [Text(""), _table(report)]
    parts += [
        Text.assemble(("no verdict ", "dim"), (f.name, "bold"), ": ", clean(f.no_verdict))
        for f in report.findings
        if f.no_verdict
    ]
    parts += [
        Text.assemble(("skipped ", "yellow"), (s.audit, "bold"), ": ", clean(s.reason))
        for s in report.skipped
    ]
    if report.failures:
        first = report.failures[0]
        parts.append(
            Text.assemble(
                (f"{words.count(len(report.failures), 'question')} failed", "yellow"),
                f", the first {first.audit} {clean(first.id)}: {clean(first.message)}",
            )
        )
    if report.self_test is not None:
        parts += [Text(""), _self_test(report)]
    if report.meta.get("complete") is False:
        parts.append(
            Text(f"incomplete: {clean(str(report.meta.get('missing', '')))}", "bold yellow")
        )
    return Group(*parts)


def render_diff(diff: Diff) -> RenderableType:
    """The difference of two reports as a rich renderable."""
    parts: list[RenderableType] = [
        Text.assemble((clean(diff.before), "bold"), " -> ", (clean(diff.after), "bold"))
    ]
    if diff.changes:
        table = _columns("finding", "before", "after", "change", "")
        for c in diff.changes:
            change = "\u2013"
            if c.change is not None:
                change = f"{words.number(c.change.value)} {words.interval(c.change)}"
            table.add_row(
                Text(c.name), words.number(c.before.value), words.number(c.after.value), change,
                Text(c.direction, _DIRECTIONS[c.direction]),
            )  # fmt: skip
        parts.append(table)
    else:
        parts.append(Text("no finding is in both reports"))
    for label, findings in (("new ", diff.new), ("gone", diff.gone)):
        parts += [
            Text.assemble(
                (f"{label} ", "yellow"),
                f"{f.name}: gap {words.number(f.gap.value)} {words.interval(f.gap)}, {f.verdict()}",
            )
            for f in findings
        ]
    parts += [Text.assemble(("warning ", "yellow"), clean(w)) for w in diff.warnings]
    if diff.changes:
        parts.append(Text(diff.method, "dim"))
    return Group(*parts)


def _columns(*names: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    for i, name in enumerate(names):
        last = i == len(names) - 1
        table.add_column(
            name,
            justify="left" if i == 0 or last else "right",
            no_wrap=i != 0,
            overflow="fold",
            header_style="dim",
        )
    return table


def _table(report: Report) -> Table:
    table = _columns("finding", "seen", "fresh", "gap", "p corr.", "verdict")
    for audit, group in groupby(report.findings, key=lambda f: f.audit):
        table.add_row(Text(audit, "bold"))
        for f in group:
            verdict = f.verdict()
            table.add_row(
                Text.assemble("  ", f.name.split("/", 1)[-1], (f" {f.unit}", "dim")),
                words.number(f.seen.value),
                words.number(f.fresh.value),
                f"{words.number(f.gap.value)} {words.interval(f.gap)}",
                words.p_text(f.p_adjusted),
                Text(verdict, _STYLES[verdict]),
            )
    return table


def _self_test(report: Report) -> RenderableType:
    test = report.self_test
    assert test is not None
    state = ("passed", "bold green") if test.passed else ("failed", "bold red")
    lines: list[RenderableType] = [Text.assemble("self-test ", state)]
    for audit, (ok, reason) in test.audits.items():
        mark = ("ok  ", "green") if ok else ("bad ", "red")
        lines.append(Padding(Text.assemble(mark, (audit, "bold"), f": {reason}"), (0, 0, 0, 2)))
    if not test.audits:
        lines.append(Text(f"  {test.reason}"))
    return Group(*lines)
