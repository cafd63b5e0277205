"""The self-test: plant fresh items in an adapter and see that the audits find them, and only them.

A report on a model that recites little cannot show that the instrument works. Here the truth is
known: items drawn on the spot are planted in a copy of the model, twins of them are held back, and
the same audits run on both models. What was planted must be found on the tuned model and not on the
base; what was held back must be found on neither.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from byheart.core.audit import Audit, Planting, Probe, Row
from byheart.core.errors import UsageError
from byheart.core.finding import Finding
from byheart.core.journal import Journal
from byheart.core.model import Model
from byheart.core.report import Report, SelfTest
from byheart.core.run import Progress, Tick, measure

__all__ = ["judged", "self_test"]


def self_test(
    model: Model,
    audits: Sequence[Audit],
    *,
    n: int | None = None,
    seed: int = 0,
    seconds: float = 70.0,
    out: Path | None = None,
    progress: Progress | None = None,
) -> SelfTest:
    """Plant, audit, and set base and tuned model side by side.

    Args:
        model: The base model; it is not changed. It must show its weights.
        audits: Which audits to test, with the knobs to test them with.
        n: Items planted, held back and left fresh, of each audit's kind; None is what each needs
            for a verdict (`Audit.self_test_items`).
        seed: Draws the items and the adapter's start.
        seconds: Time box of the training.
        out: Folder for finished rows; a second call takes them up.
        progress: Called as training and audits go on.

    Returns:
        Four contrasts a finding: base and tuned model, planted and held-back items.

    Raises:
        CapabilityError: If the model shows no weights.
        UsageError: If none of the audits judges anything on this model.
        ModelError: If training fails.
    """
    from byheart.weights.planting import plant

    model.require("weights", purpose="the self-test")
    started = time.perf_counter()
    plantings = [
        (a, _light(a).planted(seed=seed + 17, n=n or a.self_test_items))
        for a in judged(model, audits)
    ]
    texts = [t for _, planting in plantings for t in planting.texts]
    result: dict[str, list[Finding]] = {
        k: [] for k in ("base_planted", "base_held", "planted", "held")
    }
    with Journal(out / "rows.jsonl" if out is not None else None) as journal:
        for _, planting in plantings:
            found = _contrasts(model, planting, seed, journal, progress, "self-test: base")
            result["base_planted"] += found[0]
            result["base_held"] += found[1]
        base_s = time.perf_counter() - started

        def trained(share: float, what: str = "") -> None:
            if progress:
                progress(Tick("self-test: planting", share * 100, 100.0, round(share * 100), 100))

        trained(0.0)
        tuned = plant(model, texts, seed=seed, seconds=seconds, progress=trained)
        trained(1.0)
        train_s = time.perf_counter() - started - base_s
        try:
            for _, planting in plantings:
                found = _contrasts(tuned, planting, seed, journal, progress, "self-test: tuned")
                result["planted"] += found[0]
                result["held"] += found[1]
        finally:
            release = getattr(tuned, "unplant", None)
            if release is not None:
                release()
    sizes = [a.self_test_items for a, _ in plantings]
    corrected = {k: Report.of("", v).findings for k, v in result.items()}
    meta: dict[str, Any] = {
        "n": n or " to ".join(map(str, sorted({min(sizes), max(sizes)}))),
        "texts": len(texts),
        "known": tuned.training.known,
        "training_stopped": tuned.training.stopped,
        "training_s": round(train_s, 1),
        "duration_s": round(time.perf_counter() - started, 1),
    }
    return SelfTest(**corrected, meta=meta)


def judged(model: Model, audits: Sequence[Audit]) -> list[Audit]:
    """The audits that give verdicts on this model.

    Raises:
        UsageError: If there is none: nothing could be found.
    """
    found = [a for a in audits if a.needs <= model.capabilities and a.self_test_items]
    if not found:
        raise UsageError(
            "the self-test has nothing to plant: the audits to run "
            f"({', '.join(a.name for a in audits)}) give no verdict on {model.name}; leave it out"
        )
    return found


_SAMPLES = 4


def _light(audit: Audit) -> Audit:
    """The audit with few samples an item: what is recited word for word needs no more."""
    if not dataclasses.is_dataclass(audit):
        return audit
    for field in dataclasses.fields(audit):
        if field.name == "samples":
            few = min(_SAMPLES, field.default)
            return dataclasses.replace(audit, samples=few)  # type: ignore[type-var]
    return audit


def _contrasts(
    model: Model,
    planting: Planting,
    seed: int,
    journal: Journal,
    progress: Progress | None,
    stage: str,
) -> tuple[list[Finding], list[Finding]]:
    """Findings on planted and on held-back items; twins that both are held against are asked once."""
    known: list[Row] = []
    shared: list[Probe] = []
    out = []
    for what, audit in (("planted", planting.audit), ("held", planting.held)):
        probes = audit.probes(seed=seed)
        name = f"{stage}, {what} {audit.name}"
        todo = [p for p in probes if p not in shared]
        done = measure(
            model, audit, seed=seed, probes=todo, journal=journal, progress=progress, stage=name
        )
        if done.stopped is not None:
            raise done.stopped
        rows = {r.id: r for r in (*known, *done.rows)}
        ordered = [rows[p.id] for p in probes if p.id in rows]
        out.append(
            [
                dataclasses.replace(f, evidence=f.evidence[:2])
                for f in audit.findings(ordered, seed=seed)
            ]
        )
        shared = [p for p in probes if p.arm == "fresh"]
        known = [r for r in done.rows if r.arm == "fresh"]
    return out[0], out[1]
