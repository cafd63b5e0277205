"""The report: findings of one run, corrected together, kept as JSON and shown as a page."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from byheart.core._files import write_atomically
from byheart.core._plain import normal, plain
from byheart.core._self_test import ARMS, SelfTest, SelfTestRow
from byheart.core.errors import ReportError, UsageError
from byheart.core.finding import Finding

if TYPE_CHECKING:
    from byheart.core._report_diff import Diff

__all__ = ["SCHEMA", "Failure", "Report", "SelfTest", "SelfTestRow", "Skipped"]

SCHEMA = "byheart.report/1"
"""Schema id that is written into every report; `report.schema.json` describes it."""

_FIELDS = ("model", "findings", "skipped", "failures", "meta", "self_test")


_KINDS = {"model": str, "findings": list, "skipped": list, "failures": list, "meta": dict}


@dataclass(frozen=True, slots=True)
class Skipped:
    """An audit that was not run, and why."""

    audit: str
    reason: str


@dataclass(frozen=True, slots=True)
class Failure:
    """A probe that got no answer.

    Attributes:
        audit: Name of the audit.
        id: Id of the probe.
        message: What went wrong.
    """

    audit: str
    id: str
    message: str


@dataclass(frozen=True)
class Report:
    """What one run found, on one model. Build it with `Report.of`, which corrects the p-values.

    Args:
        model: Name of what was audited.
        findings: With `p_adjusted` filled by `of`.
        skipped: Audits that were not run.
        failures: Probes that got no answer.
        meta: Settings and circumstances (JSON values): seed, limit, versions, created, duration_s,
            fingerprint, complete, missing, and ``audits`` with title, claim, control, source,
            n_probes and n_done of each.
        self_test: What was planted and found, where that was run.

    Raises:
        ReportError: If a value is no JSON value, or not finite, or two findings share a name.
    """

    model: str
    findings: tuple[Finding, ...]
    skipped: tuple[Skipped, ...] = ()
    failures: tuple[Failure, ...] = ()
    meta: dict[str, Any] = field(default_factory=dict)
    self_test: SelfTest | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "findings", normal(self.findings, "findings"))
        object.__setattr__(self, "skipped", tuple(self.skipped))
        object.__setattr__(self, "failures", tuple(self.failures))
        object.__setattr__(self, "meta", plain(dict(self.meta), "meta"))

    @classmethod
    def of(
        cls,
        model: str,
        findings: Iterable[Finding],
        *,
        skipped: Iterable[Skipped] = (),
        failures: Iterable[Failure] = (),
        meta: Mapping[str, Any] | None = None,
        self_test: SelfTest | None = None,
    ) -> Report:
        """A report whose p-values are corrected (Holm) over all findings that are tests.

        Exploratory findings and those without a p-value are not counted and get none. Findings
        that carry a corrected value already are corrected anew from their raw `p_value`.
        """
        findings = list(findings)
        tests = [i for i, f in enumerate(findings) if not f.exploratory and f.p_value is not None]
        adjusted: dict[int, float | None] = {}
        if tests:
            from byheart.core.stats import holm

            corrected = holm([findings[i].p_value for i in tests])
            adjusted = dict(zip(tests, corrected, strict=True))
        return cls(
            model,
            tuple(f.with_adjusted(adjusted.get(i)) for i, f in enumerate(findings)),
            tuple(skipped),
            tuple(failures),
            dict(meta or {}),
            self_test,
        )

    @cached_property
    def audits(self) -> tuple[str, ...]:
        """Names of the audits that have findings, in order."""
        return tuple(dict.fromkeys(f.audit for f in self.findings))

    def __getitem__(self, name: str) -> Finding:
        """The finding of this name.

        Raises:
            UnknownName: If there is none; the nearest names are given.
        """
        from byheart.core.errors import UnknownName

        for finding in self.findings:
            if finding.name == name:
                return finding
        raise UnknownName("finding", name, [f.name for f in self.findings])

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form, as `report.schema.json` describes it."""
        return {
            "schema": SCHEMA,
            "model": self.model,
            "findings": [f.to_dict() | {"verdict": f.verdict()} for f in self.findings],
            "skipped": [asdict(s) for s in self.skipped],
            "failures": [asdict(f) for f in self.failures],
            "meta": self.meta,
            "self_test": None if self.self_test is None else self.self_test.to_dict(),
        }

    def to_json(self) -> str:
        """The report as JSON; `from_json` is its exact inverse."""
        text = json.dumps(self.to_dict(), indent=2, ensure_ascii=False, allow_nan=False)
        # models that emit half a character leave lone surrogates, which UTF-8 cannot hold
        return re.sub("[\ud800-\udfff]", lambda m: f"\\u{ord(m[0]):04x}", text)

    @classmethod
    def from_json(cls, text: str) -> Report:
        """Rebuild a report.

        Raises:
            ReportError: Broken JSON, another schema, missing, unknown or wrong fields (named).
        """
        try:
            record = json.loads(text.removeprefix("\ufeff"), parse_constant=_refuse_constant)
        except json.JSONDecodeError as error:
            raise ReportError(
                f"not JSON: {error.msg} at line {error.lineno}, column {error.colno}; "
                "the file is cut off or was edited"
            ) from error
        except (ValueError, RecursionError) as error:
            if isinstance(error, ReportError):
                raise
            raise ReportError(f"no byheart report: {error}") from error
        if not isinstance(record, dict) or "schema" not in record:
            raise ReportError(f"no byheart report: the field 'schema' ({SCHEMA!r}) is missing")
        if record["schema"] != SCHEMA:
            raise ReportError(
                f"the report has schema {record['schema']!r}, this byheart reads {SCHEMA!r}; "
                "read it with the version of byheart that wrote it (see its field meta.byheart)"
            )
        missing = [name for name in _FIELDS if name not in record]
        if missing:
            raise ReportError(f"the report lacks {', '.join(missing)}; it was edited or cut off")
        for name, kind in _KINDS.items():
            if not isinstance(record[name], kind):
                raise ReportError(
                    f"the report cannot be read: its field {name!r} is {_shown(record[name])}, expected "
                    f"{'text' if kind is str else 'a list' if kind is list else 'an object'}; "
                    "it was edited"
                )
        audits = record["meta"].get("audits", {})
        if not isinstance(audits, dict) or not all(isinstance(a, dict) for a in audits.values()):
            raise ReportError(
                f"the report cannot be read: its meta.audits is {_shown(audits)}, expected objects"
            )
        try:
            return cls(
                str(record["model"]),
                tuple(_finding(f, f"findings[{i}]") for i, f in enumerate(record["findings"])),
                tuple(Skipped(**s) for s in record["skipped"]),
                tuple(Failure(**f) for f in record["failures"]),
                record["meta"],
                _self_test(record["self_test"]),
            )
        except (TypeError, KeyError, AttributeError, UsageError) as error:
            raise ReportError(f"the report cannot be read: {error}") from error

    def to_html(self) -> str:
        """One page that stands alone: no network, no further files.

        Raises:
            MissingExtra: If jinja2 is not installed.
        """
        from byheart.core._report_html import page

        return page(self)

    def save(self, folder: str | Path) -> tuple[Path, Path]:
        """Write ``report.json`` and ``report.html`` into a folder, each whole or not at all.

        Returns:
            The two paths.

        Raises:
            OutputError: If the folder cannot be written (the old files are then untouched).
        """
        folder = Path(folder)
        data, html = folder / "report.json", folder / "report.html"
        write_atomically(data, self.to_json() + "\n")
        write_atomically(html, self.to_html())
        return data, html

    @classmethod
    def load(cls, path: str | Path) -> Report:
        """Read a ``report.json``, or the one in a folder.

        Raises:
            ReportError: If there is no such file, or it cannot be read as a report.
        """
        path = Path(path)
        if path.is_dir():
            path = path / "report.json"
        try:
            text = path.read_text(encoding="utf-8")
        except OSError as error:
            raise ReportError(f"{path}: {error.strerror or error}") from error
        except UnicodeDecodeError as error:
            raise ReportError(f"{path}: not UTF-8 text at byte {error.start}") from error
        try:
            return cls.from_json(text)
        except ReportError as error:
            raise ReportError(f"{path}: {error}") from error

    def diff(self, other: Report) -> Diff:
        """What changed from this report to `other`."""
        from byheart.core._report_diff import Diff

        return Diff.of(self, other)

    def exceeds(self, expression: str) -> list[Finding]:
        """The findings that match an expression such as ``"gap>0.1"``.

        See `byheart.core._report_match.parse` for the grammar.

        Raises:
            UsageError: If the expression cannot be read; with an example.
            UnknownName: If it names an audit or finding that this report does not have.
        """
        from byheart.core._report_match import matches, parse

        return matches(self, parse(expression))


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else text[:40] + "..."


def _refuse_constant(name: str) -> float:
    raise ReportError(f"the report holds {name}, which is no number; it was not written by byheart")


def _finding(record: Any, path: str) -> Finding:
    if not isinstance(record, dict):
        raise ReportError(f"{path} is no object")
    fields = {k: v for k, v in record.items() if k != "verdict"}
    needed = ("name", "claim", "seen", "fresh", "gap", "p_value", "n", "unit", "seed")
    missing = [k for k in needed if k not in fields]
    if missing:
        raise ReportError(f"{path} lacks {', '.join(missing)}")
    if not isinstance(fields["name"], str):
        raise ReportError(f"{path}: its name is {_shown(fields['name'])}, expected text")
    try:
        return Finding.from_dict(fields)
    except (TypeError, KeyError, UsageError) as error:
        raise ReportError(f"{path} ({fields['name']}): {error}") from error


def _self_test(record: Any) -> SelfTest | None:
    if record is None:
        return None
    missing = [arm for arm in (*ARMS, "meta") if arm not in record]
    if missing:
        raise ReportError(f"self_test lacks {', '.join(missing)}")
    arms = {
        arm: tuple(_finding(f, f"self_test.{arm}[{i}]") for i, f in enumerate(record[arm]))
        for arm in ARMS
    }
    return SelfTest(**arms, meta=record["meta"])
