"""Run audits on a model: probes, conversations, rows kept on disk, findings, a report."""

from __future__ import annotations

import dataclasses
import datetime
import platform
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from byheart.core.ask import Ask, Facts, Sample
from byheart.core.audit import Audit, Probe, Row
from byheart.core.drive import drive
from byheart.core.errors import ByheartError, DataError, MissingExtra, OutputError, UsageError, need
from byheart.core.finding import Finding
from byheart.core.journal import Journal, row_key
from byheart.core.model import Model
from byheart.core.report import Failure, Report, Skipped

__all__ = ["Tick", "cost", "measure", "run"]


@dataclass(frozen=True)
class Tick:
    """What a progress callback is told.

    Attributes:
        stage: What is being done ("verbatim").
        done: Work finished in this stage, in the units of `cost`.
        total: Work of this stage.
        rows: Rows finished.
        of: Rows of this stage.
    """

    stage: str
    done: float
    total: float
    rows: int
    of: int


Progress = Callable[[Tick], None]

_MEANT = {"routing": "routing (a mixture of experts whose weights are here)"}
"""Capabilities whose name does not say what kind of model has them."""


def cost(asks: Iterable[Ask], facts: Facts) -> float:
    """Rough work of some asks, in scored tokens; a generated token costs about four.

    >>> cost([Sample("once upon", n=2, max_tokens=10)], Facts())
    82.0
    """
    total = 0.0
    for ask in asks:
        if isinstance(ask, Sample):
            text = ask.prompt if isinstance(ask.prompt, str) else " ".join(t for _, t in ask.prompt)
            total += 4.0 * ask.n * ask.max_tokens + len(text.split())
        else:
            total += 1.3 * len(ask.text.split()) + (
                len(ask.context.split()) if isinstance(ask.context, str) else 40
            )
    return total


@dataclass
class Measured:
    """Rows and failures of one audit on one model."""

    audit: Audit
    probes: list[Probe]
    rows: list[Row] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    stopped: BaseException | None = None


def measure(
    model: Model,
    audit: Audit,
    *,
    seed: int = 0,
    limit: int | None = None,
    probes: Sequence[Probe] | None = None,
    roles: Mapping[str, Model] | None = None,
    journal: Journal | None = None,
    progress: Progress | None = None,
    log_dir: Path | None = None,
    stage: str = "",
) -> Measured:
    """Hold the conversations of one audit that are not in the journal yet.

    Args:
        model: The model under audit.
        audit: The audit.
        seed: For drawing probes.
        limit: Most pairs, or items an arm.
        probes: Which probes; None draws them.
        roles: Helper models by role.
        journal: Where finished rows are kept and taken up from.
        progress: Called as rows finish.
        log_dir: Write an inspect_ai log there; None runs without the harness.
        stage: How progress calls this; the audit's name by default.

    Returns:
        What was measured. If it was stopped (Ctrl-C, a dead endpoint, a full disk), `stopped` holds
        why, and the rows finished before are there.
    """
    drawn = list(audit.probes(seed=seed, limit=limit) if probes is None else probes)
    journal = journal or Journal(None)
    facts = model.facts()
    helpers = "".join(sorted(f"{role}={m.fingerprint}" for role, m in (roles or {}).items()))
    fingerprint = model.fingerprint + helpers  # reads every weight: once
    keys = {p.id: row_key(audit, p, fingerprint, seed) for p in drawn}
    if len(keys) != len(drawn):
        raise UsageError(f"{audit.name}: probe ids are not unique")
    kept = {p.id: row for p in drawn if (row := journal.get(keys[p.id])) is not None}
    todo = [p for p in drawn if p.id not in kept]
    weights = {p.id: _first_cost(audit, p, facts) for p in drawn}
    total, state = sum(weights.values()), {"done": sum(weights[i] for i in kept), "rows": len(kept)}
    result = Measured(audit, drawn)
    fresh: dict[str, Row] = {}

    def tick() -> None:
        if progress:
            progress(
                Tick(stage or audit.name, state["done"], total, int(state["rows"]), len(drawn))
            )

    def on_row(row: Row) -> None:
        fresh[row.id] = row
        state["done"] += weights[row.id]
        state["rows"] += 1
        tick()
        journal.add(keys[row.id], row)

    tick()
    try:
        if log_dir is not None:
            need("inspect_ai", "audit")
            from byheart.core.evaluation import evaluate

            evaluate(
                audit,
                drawn,
                model,
                kept=kept,
                roles=roles,
                on_row=on_row,
                failures=result.failures,
                log_dir=log_dir,
                seed=seed,
            )
        elif todo:
            drive(audit, model, todo, roles=roles, on_row=on_row)
    except (KeyboardInterrupt, ByheartError) as error:
        result.stopped = error
    rows = {**kept, **fresh}
    result.rows = [rows[p.id] for p in drawn if p.id in rows]
    return result


def _first_cost(audit: Audit, probe: Probe, facts: Facts) -> float:
    talk = audit.ask(probe, facts)
    try:
        return cost(next(talk), facts) or 1.0
    except StopIteration:
        return 1.0
    finally:
        talk.close()


def run(
    model: Model,
    audits: Sequence[Audit],
    *,
    seed: int = 0,
    limit: int | None = None,
    roles: Mapping[str, Model] | None = None,
    out: Path | None = None,
    logs: bool = True,
    progress: Progress | None = None,
    skipped: Sequence[Skipped] = (),
    settings: Mapping[str, Any] | None = None,
) -> Report:
    """Run audits and report.

    Args:
        model: The model under audit.
        audits: What to run, in this order.
        seed: Redraws everything random.
        limit: Most pairs, or items an arm, of every audit.
        roles: Helper models by role ("reference").
        out: Folder for rows and logs; None keeps everything in memory.
        logs: Write inspect_ai logs into ``out/logs`` (needs `out`).
        progress: Called as rows finish.
        skipped: Audits already known not to run, with the reason.
        settings: Further settings to be written into the report.

    Returns:
        The report. ``report.meta["complete"]`` is False if it was stopped on the way, and
        ``report.meta["missing"]`` says by what.

    Raises:
        DataError: If an audit's material cannot be used; before anything is run.
        OutputError: If `out` cannot be written; before anything is run.
    """
    started, begun = time.perf_counter(), datetime.datetime.now(datetime.UTC)
    skips, ready = list(skipped), []
    for audit in audits:
        missing = sorted(audit.needs - model.capabilities)
        if missing:
            skips.append(
                Skipped(
                    audit.name,
                    f"needs {' and '.join(_MEANT.get(m, m) for m in missing)}, which {model.name} "
                    "does not offer",
                )
            )
            continue
        try:
            ready.append((audit, audit.probes(seed=seed, limit=limit)))
        except MissingExtra as error:
            skips.append(Skipped(audit.name, str(error)))
        except DataError as error:
            raise DataError(f"{audit.name}: {error}") from error
    findings: list[Finding] = []
    failures: list[Failure] = []
    info: dict[str, Any] = {}
    rows_done = 0
    stopped: BaseException | None = None
    journal: AbstractContextManager[Journal] = nullcontext(Journal(None))
    if out is not None:
        journal = Journal(out / "rows.jsonl")
    with journal as kept:
        for audit, probes in ready:
            if stopped is not None:
                skips.append(Skipped(audit.name, f"not reached: {_reason(stopped)}"))
                continue

            def hold(
                asked: Audit, some: Sequence[Probe], stage: str, name: str = audit.title
            ) -> Sequence[Row]:
                held = measure(
                    model, asked, seed=seed, probes=some, roles=roles, journal=kept,
                    progress=progress, stage=f"{name}: {stage}",
                )  # fmt: skip
                if held.stopped is not None:
                    raise held.stopped
                return held.rows

            try:
                settled = audit.prepared(hold, seed=seed, limit=limit)
            except (KeyboardInterrupt, ByheartError) as error:
                stopped = error
                skips.append(Skipped(audit.name, _reason(error)))
                continue
            if settled is not audit:
                audit, probes = settled, settled.probes(seed=seed, limit=limit)
            done = measure(
                model, audit, seed=seed, probes=probes, roles=roles, journal=kept,
                progress=progress, log_dir=out / "logs" if out is not None and logs else None,
            )  # fmt: skip
            stopped = done.stopped
            failures += done.failures
            found = audit.findings(done.rows, seed=seed) if done.rows else []
            findings += _not_silent(audit, done.rows, found)
            if not found:
                why = _reason(stopped) if stopped else "the others failed"
                if len(done.rows) == len(probes):
                    why = f"{len(probes)} questions are too few for a contrast; raise the limit"
                elif done.rows:
                    why = f"{len(done.rows)} of {len(probes)} questions answered, too few: {why}"
                elif not stopped:
                    why = "every probe failed"
                skips.append(Skipped(audit.name, why))
            rows_done += len(done.rows)
            info[audit.name] = {
                "title": audit.title, "claim": audit.claim, "control": audit.control,
                "source": audit.source, "n_probes": len(probes), "n_done": len(done.rows),
                "config": audit.config(),
            }  # fmt: skip
    if (
        stopped is not None
        and not rows_done
        and not isinstance(stopped, KeyboardInterrupt | OutputError)
    ):
        raise stopped
    from byheart import __version__

    meta = {
        "byheart": __version__,
        "created": begun.isoformat(timespec="seconds"),
        "duration_s": round(time.perf_counter() - started, 1),
        "seed": seed,
        "limit": limit,
        "fingerprint": model.fingerprint,
        "python": platform.python_version(),
        "packages": _versions(),
        "audits": info,
        "complete": stopped is None,
        "missing": "" if stopped is None else _reason(stopped),
        "stopped_by": "" if stopped is None else type(stopped).__name__,
        **dict(settings or {}),
    }
    return Report.of(
        model.name, findings, skipped=tuple(skips), failures=tuple(failures), meta=meta
    )


def _not_silent(audit: Audit, rows: Sequence[Row], found: list[Finding]) -> list[Finding]:
    """No verdict on a model that never said a word: it was not asked what it knows."""
    if "sample" not in audit.needs or not rows:
        return found
    texts = [r.evidence.produced for r in rows if r.evidence is not None]
    if len(texts) < len(rows) or any(t.strip() for t in texts):
        return found
    why = (
        f"the model answered all {len(rows)} questions with empty text; is its chat template, or "
        "the server in front of it, right?"
    )
    return [f if f.no_verdict else dataclasses.replace(f, no_verdict=why) for f in found]


def _reason(error: BaseException) -> str:
    return "interrupted" if isinstance(error, KeyboardInterrupt) else str(error)


def _versions() -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for package in ("inspect_ai", "numpy", "scipy", "torch", "transformers"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
