"""Expressions over findings: ``gap>0.1``, ``verbatim:p<0.01 and gap>0.05``, ``verdict=memorised``."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from byheart.core.errors import UnknownName, UsageError
from byheart.core.finding import Finding

if TYPE_CHECKING:
    from byheart.core.report import Report

__all__ = ["Condition", "matches", "parse"]

_NUMBERS: dict[str, Callable[[Finding], float | None]] = {
    "gap": lambda f: f.gap.value,
    "gap_low": lambda f: f.gap.low,
    "gap_high": lambda f: f.gap.high,
    "seen": lambda f: f.seen.value,
    "fresh": lambda f: f.fresh.value,
    "p": lambda f: f.p_value,
    "p_adjusted": lambda f: f.p_adjusted,
}
_COMPARE: dict[str, Callable[[float, float], bool]] = {
    ">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le,
    "=": operator.eq, "==": operator.eq, "!=": operator.ne,
}  # fmt: skip
_VERDICTS = ("memorised", "not shown", "no verdict")
_CONDITION = re.compile(
    r"(?:(?P<scope>[\w.+%-]+(?:/[^\s:]+)?)\s*:)?\s*(?P<field>\w+)\s*(?P<op>[<>]=?|==?|!=)\s*(?P<value>.+)"
)
_EXAMPLE = (
    "for example: 'gap>0.1', 'verdict=memorised', 'verbatim/exact:gap_low>0', "
    "'gap>0.1 and p_adjusted<0.01 or membership:gap>0.2'"
)


@dataclass(frozen=True, slots=True)
class Condition:
    """One comparison: ``[audit[/metric]:]field op value``."""

    scope: str
    field: str
    op: str
    value: float | str

    def holds(self, finding: Finding) -> bool:
        """Whether it is true of this finding.

        Numbers of findings that are not judged (exploratory, or without a verdict) count only if
        the finding is named in full.
        """
        if self.scope and self.scope not in (finding.name, finding.audit):
            return False
        if self.field == "verdict":
            return (finding.verdict() == self.value) == (self.op != "!=")
        if (finding.no_verdict or finding.exploratory) and self.scope != finding.name:
            return False
        number = _NUMBERS[self.field](finding)
        assert isinstance(self.value, float)
        return number is not None and _COMPARE[self.op](number, self.value)


def parse(expression: str) -> list[list[Condition]]:
    """Read an expression into alternatives, each a list of conditions on one finding.

    ``and`` binds tighter than ``or``; a comma is an ``or``. Fields: gap, gap_low, gap_high, seen,
    fresh, p, p_adjusted with a number, and verdict (memorised, not shown, no verdict). Operators:
    ``> >= < <= = !=``. Before a colon stands the audit or finding that alone is looked at.

    Raises:
        UsageError: What could not be read, and an example.

    >>> parse("verbatim:gap>0.1")
    [[Condition(scope='verbatim', field='gap', op='>', value=0.1)]]
    """
    alternatives = []
    for alternative in re.split(r"\s+or\s+|,", expression):
        conditions = [_condition(c, expression) for c in re.split(r"\s+and\s+", alternative)]
        scopes = {c.scope for c in conditions if c.scope}
        if len(scopes) > 1 and not _nested(scopes):
            raise UsageError(
                f"{alternative.strip()!r} can match nothing: 'and' joins conditions on one finding, "
                f"but {' and '.join(sorted(scopes))} are two; {_EXAMPLE}"
            )
        alternatives.append(conditions)
    return alternatives


def matches(report: Report, alternatives: list[list[Condition]]) -> list[Finding]:
    """The findings of which at least one alternative is true.

    Raises:
        UnknownName: If a scope is neither a finding nor an audit of a report that has any.
    """
    known = {f.name for f in report.findings} | {f.audit for f in report.findings}
    skipped = {s.audit for s in report.skipped}
    if known or skipped:
        for condition in (c for group in alternatives for c in group):
            scope = condition.scope
            if scope and scope not in known and scope.split("/", 1)[0] not in skipped:
                raise UnknownName("finding or audit", scope, known | skipped)
    return [
        f for f in report.findings if any(all(c.holds(f) for c in group) for group in alternatives)
    ]


def _condition(text: str, expression: str) -> Condition:
    found = _CONDITION.fullmatch(text.strip())
    if found is None:
        where = f" in {expression!r}" if text.strip() != expression.strip() else ""
        raise UsageError(f"cannot read the condition {text.strip()!r}{where}; {_EXAMPLE}")
    name, op, raw = found["field"], found["op"], found["value"].strip().strip("\"'")
    scope = found["scope"] or ""
    if name == "verdict":
        if op not in ("=", "==", "!=") or raw not in _VERDICTS:
            raise UsageError(
                f"verdict takes = or != and one of {', '.join(_VERDICTS)}, got {text.strip()!r}; {_EXAMPLE}"
            )
        return Condition(scope, name, op, raw)
    if name not in _NUMBERS:
        raise UsageError(
            f"unknown field {name!r} in {text.strip()!r}: known: {', '.join(_NUMBERS)}, verdict; {_EXAMPLE}"
        )
    try:
        value = float(raw)
    except ValueError as error:
        raise UsageError(f"{raw!r} in {text.strip()!r} is no number; {_EXAMPLE}") from error
    if not math.isfinite(value):
        raise UsageError(f"{raw!r} in {text.strip()!r} is no finite number; {_EXAMPLE}")
    return Condition(scope, name, op, value)


def _nested(scopes: set[str]) -> bool:
    """Whether the scopes are an audit and one finding of it."""
    longest = max(scopes, key=len)
    return all(s in (longest, longest.split("/", 1)[0]) for s in scopes)
