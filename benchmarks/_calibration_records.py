"""The calibration's bookkeeping: records on disk, and the rates and doses counted from them."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from byheart.core.errors import DataError, OutputError, UsageError
from byheart.core.finding import Estimate, Finding
from byheart.core.report import Report
from byheart.core.stats import wilson

__all__ = [
    "ARMS",
    "Dose",
    "Ledger",
    "Rate",
    "Record",
    "doses",
    "mean_interval",
    "pooled",
    "rates",
    "record",
]

ARMS = ("planted", "held")
ANY = "any finding"
"""An audit calls an arm memorised if any of its findings does, corrected among themselves."""


@dataclass(frozen=True)
class Record:
    """What one audit said of one arm of one fine-tuned model.

    Attributes:
        model: Name of the model.
        seed: Of the planting, the training and the audit.
        multiplicity: How often each planted item was trained on.
        audit: Name of the audit.
        arm: ``"planted"`` or ``"held"``.
        settings: What else the numbers depend on.
        findings: By name behind the slash: ``verdict``, ``gap``, ``p`` (corrected within this
            audit; None where no test was made). Exploratory findings are left out.
    """

    model: str
    seed: int
    multiplicity: int
    audit: str
    arm: str
    settings: dict[str, Any]
    findings: dict[str, dict[str, Any]]

    @property
    def key(self) -> tuple[int, int, str, str]:
        """What is measured once."""
        return self.seed, self.multiplicity, self.audit, self.arm

    def verdict(self, finding: str = ANY) -> str:
        """Of one finding, or of the audit: the strongest of its findings' verdicts."""
        if finding != ANY:
            return str(self.findings.get(finding, {}).get("verdict", "no verdict"))
        verdicts = {f["verdict"] for f in self.findings.values()}
        ranked = ("memorised", "not shown", "no verdict")
        return next((v for v in ranked if v in verdicts), "no verdict")


def record(
    model: str,
    seed: int,
    multiplicity: int,
    audit: str,
    arm: str,
    settings: dict[str, Any],
    findings: Sequence[Finding],
    level: float = 0.05,
) -> Record:
    """A record of one audit's findings, p-values corrected among them as in a report."""
    kept = {
        f.name.split("/", 1)[1]: {
            "verdict": f.verdict(level),
            "gap": round(f.gap.value, 5),
            "p": None if f.p_adjusted is None else float(f"{f.p_adjusted:.3g}"),
        }
        for f in Report.of(model, findings).findings
        if not f.exploratory
    }
    return Record(model, seed, multiplicity, audit, arm, settings, kept)


class Ledger:
    """Records as JSON lines, one a (seed, multiplicity, audit, arm); each is on disk when added.

    Args:
        path: The file; None keeps them in memory. A half-written last line is cut off.
        model: Whose records they must be, and
        settings: with which settings; None takes whatever the file holds.

    Raises:
        DataError: The file is no ledger, or holds another model or other settings.
        OutputError: It cannot be read or written.
    """

    def __init__(
        self, path: Path | None, model: str | None = None, settings: dict[str, Any] | None = None
    ) -> None:
        self.records: dict[tuple[int, int, str, str], Record] = {}
        self._path = path
        if path is None or not path.exists():
            return
        try:
            data = path.read_bytes()
            whole = data[: data.rfind(b"\n") + 1]
            if len(whole) < len(data):
                os.truncate(path, len(whole))
        except OSError as error:
            raise OutputError(f"cannot read {path}: {error.strerror or error}") from error
        for number, line in enumerate(whole.splitlines(), 1):
            try:
                found = Record(**json.loads(line))
            except (ValueError, TypeError) as error:
                raise DataError(
                    f"{path}, line {number}: not a calibration record ({error})"
                ) from error
            if settings is not None and (found.model, found.settings) != (model, settings):
                raise DataError(
                    f"{path}, line {number} was measured on {found.model} with {found.settings}, "
                    f"not on {model} with {settings}; name another --out"
                )
            self.records[found.key] = found

    def add(self, new: Record) -> None:
        """Keep a record.

        Raises:
            UsageError: It is there already.
            OutputError: The file cannot be written.
        """
        if new.key in self.records:
            raise UsageError(f"{new.key} was measured before")
        if self._path is not None:
            try:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                with open(self._path, "a", encoding="utf-8") as file:
                    file.write(json.dumps(asdict(new), separators=(",", ":")) + "\n")
                    file.flush()
                    os.fsync(file.fileno())
            except OSError as error:
                raise OutputError(
                    f"cannot write {self._path}: {error.strerror or error}"
                ) from error
        self.records[new.key] = new

    def missing(self, seed: int, multiplicity: int, audits: Iterable[str]) -> list[str]:
        """Audits of which an arm is not there yet."""
        return [
            a for a in audits if any((seed, multiplicity, a, s) not in self.records for s in ARMS)
        ]


@dataclass(frozen=True)
class Rate:
    """How often an arm was called memorised, over seeds.

    Attributes:
        audit: Name.
        finding: Its finding, or ``"any finding"``.
        multiplicity: How often planted items were trained on.
        arm: ``"planted"`` or ``"held"``.
        hits: Seeds called memorised.
        unjudged: Seeds without a verdict; they count as not called.
        n: Seeds.
        share: ``hits / n`` with Wilson's 95 % interval.
    """

    audit: str
    finding: str
    multiplicity: int
    arm: str
    hits: int
    unjudged: int
    n: int
    share: Estimate

    @property
    def false_positive(self) -> bool:
        """Nothing was planted: held-back items, or multiplicity 0."""
        return self.arm == "held" or self.multiplicity == 0


def rates(records: Iterable[Record]) -> list[Rate]:
    """Shares per audit, finding, multiplicity and arm; each seed counts once."""
    out = []
    for (audit, multiplicity, arm), some in sorted(_grouped(records).items()):
        for finding in (ANY, *_findings(some)):
            verdicts = [r.verdict(finding) for r in some]
            hits = verdicts.count("memorised")
            share = wilson(hits, len(some))
            blank = verdicts.count("no verdict")
            out.append(Rate(audit, finding, multiplicity, arm, hits, blank, len(some), share))
    return out


def pooled(records: Iterable[Record]) -> dict[str, tuple[int, int]]:
    """Per audit: verdicts "memorised" where nothing was planted, and how many verdicts there were.

    Held-back items at every multiplicity, and items at multiplicity 0. No interval: those of one
    seed are verdicts on the same texts, and share their fresh arm.
    """
    out: dict[str, tuple[int, int]] = {}
    for rate in rates(records):
        if rate.finding == ANY and rate.false_positive:
            hits, n = out.get(rate.audit, (0, 0))
            out[rate.audit] = hits + rate.hits, n + rate.n
    return out


@dataclass(frozen=True)
class Dose:
    """Mean gap of a finding over seeds, with Student's 95 % interval."""

    audit: str
    finding: str
    multiplicity: int
    arm: str
    n: int
    gap: Estimate


def doses(records: Iterable[Record]) -> list[Dose]:
    """How large the gap is, per finding, multiplicity and arm."""
    out = []
    for (audit, multiplicity, arm), some in sorted(_grouped(records).items()):
        for finding in _findings(some):
            gaps = [r.findings[finding]["gap"] for r in some if finding in r.findings]
            out.append(Dose(audit, finding, multiplicity, arm, len(gaps), mean_interval(gaps)))
    return out


def mean_interval(values: Sequence[float], level: float = 0.95) -> Estimate:
    """Mean with Student's interval; one value has no spread and gets no bounds.

    >>> print(mean_interval([1.0, 2.0, 3.0]))
    2.000 [-0.484, 4.484]
    """
    from scipy.stats import t

    x = np.asarray(values, dtype=float)
    mean = float(x.mean())
    if len(x) < 2:
        return Estimate(mean, -math.inf, math.inf, level)
    half = float(t.ppf(0.5 + level / 2, len(x) - 1) * x.std(ddof=1) / math.sqrt(len(x)))
    return Estimate(mean, mean - half, mean + half, level)


def _grouped(records: Iterable[Record]) -> dict[tuple[str, int, str], list[Record]]:
    groups: dict[tuple[str, int, str], list[Record]] = {}
    for r in records:
        groups.setdefault((r.audit, r.multiplicity, r.arm), []).append(r)
    return groups


def _findings(records: Sequence[Record]) -> list[str]:
    return list(dict.fromkeys(name for r in records for name in r.findings))
