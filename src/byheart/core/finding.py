"""Estimates and findings: what an audit says, with its uncertainty and its evidence."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from byheart.core.errors import UsageError

__all__ = ["Estimate", "Evidence", "Finding"]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value and its confidence interval.

    Args:
        value: The point estimate.
        low: Lower end of the interval.
        high: Upper end.
        level: Coverage the interval was built for.

    >>> print(Estimate(0.25, 0.1, 0.4))
    0.250 [0.100, 0.400]
    """

    value: float
    low: float
    high: float
    level: float = 0.95

    def __post_init__(self) -> None:
        if any(math.isnan(x) for x in (self.value, self.low, self.high)):
            raise UsageError(f"an Estimate cannot hold NaN: {self.value}, {self.low}, {self.high}")
        if self.low > self.high:
            raise UsageError(f"an interval must have low <= high, got [{self.low}, {self.high}]")

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


@dataclass(frozen=True, slots=True)
class Evidence:
    """One row that a person can read: what was asked, what was there, what came.

    Attributes:
        id: The probe's id.
        arm: ``"seen"`` or ``"fresh"``.
        prompt: What the model was given.
        expected: What reciting would produce.
        produced: What the model produced; empty for audits that only score.
        score: The number this row contributed, in the finding's unit.
        note: Anything else worth saying, in a few words.
        image: What the row is about as a picture, ``data:image/png;base64,...``, or empty.
    """

    id: str
    arm: str
    prompt: str
    expected: str
    produced: str
    score: float | None = None
    note: str = ""
    image: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """One contrast between what was seen and its fresh twin.

    Oriented so that a positive gap means memorisation: `gap` is seen minus fresh where more is
    more memorised (matching characters), fresh minus seen where less is (loss).

    Attributes:
        name: ``audit/metric``, unique in a report.
        claim: What a positive gap would show, in one sentence.
        seen: The seen arm, with interval.
        fresh: The fresh arm, with interval.
        gap: The contrast, oriented; with interval.
        p_value: One-sided, of "no gap"; None where no test was made.
        n: Number of contrasted units (pairs where paired, else the smaller arm).
        unit: What seen, fresh and gap are measured in ("share", "nats/token", "AUC").
        seed: The seed that redraws everything.
        evidence: A few rows that a person can read.
        higher_is_memory: False where a lower number means memorised (loss, error).
        control: What was held against it ("blind bag-of-words classifier"), in words.
        control_gap: The control's own contrast, same unit, if it is a number.
        no_verdict: Why no verdict is given, or empty. Set by the audit (too few items, the
            control explains the gap, no fresh twin).
        p_adjusted: p after Holm's correction over the findings of one report.
        exploratory: Shown, but not counted among the tests that are corrected for and not judged.
        details: Further numbers of the audit, by name (JSON values).
    """

    name: str
    claim: str
    seen: Estimate
    fresh: Estimate
    gap: Estimate
    p_value: float | None
    n: int
    unit: str
    seed: int
    evidence: tuple[Evidence, ...] = ()
    higher_is_memory: bool = True
    control: str = ""
    control_gap: Estimate | None = None
    no_verdict: str = ""
    p_adjusted: float | None = None
    exploratory: bool = False
    details: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for label, p in (("p_value", self.p_value), ("p_adjusted", self.p_adjusted)):
            if p is not None and not 0 <= p <= 1:
                raise UsageError(f"{label} must lie in [0, 1], got {p}")
        if self.n < 0:
            raise UsageError(f"n must not be negative, got {self.n}")

    @property
    def audit(self) -> str:
        """The part of the name before the slash."""
        return self.name.split("/", 1)[0]

    def verdict(self, level: float = 0.05) -> str:
        """``"memorised"``, ``"not shown"`` or ``"no verdict"``.

        A finding is only ever proof of memorisation or absence of proof: a recall test that finds
        nothing is a lower bound.
        """
        if self.no_verdict or self.exploratory:
            return "no verdict"
        p = self.p_adjusted if self.p_adjusted is not None else self.p_value
        if p is None:
            return "no verdict"
        return "memorised" if p < level and self.gap.value > 0 else "not shown"

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form; `from_dict` is its inverse."""
        return asdict(self)

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> Finding:
        """Rebuild from `to_dict`.

        Raises:
            KeyError, TypeError: If a field is missing or unknown (`Report` turns them into
                `ReportError`).
        """
        record = dict(record)
        for key in ("seen", "fresh", "gap", "control_gap"):
            if record.get(key) is not None:
                record[key] = Estimate(**record[key])
        record["evidence"] = tuple(Evidence(**e) for e in record.get("evidence", ()))
        return cls(**record)

    def with_adjusted(self, p: float | None) -> Finding:
        """The same finding with its corrected p-value."""
        return replace(self, p_adjusted=p)
