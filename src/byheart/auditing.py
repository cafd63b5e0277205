"""`byheart.audit`: audits by name, on a model by name, with the self-test that proves the tool."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from byheart.audits import audit_class, make, named
from byheart.core._files import make_folder
from byheart.core.audit import Audit
from byheart.core.errors import ByheartError, OutputError, UsageError
from byheart.core.model import load
from byheart.core.report import Report
from byheart.core.run import Progress, run

__all__ = ["audit", "build_audits"]

_SHARED_KNOBS = ("samples", "texts", "fresh", "csv", "cutoff", "benchmark")


def audit(
    model: Any,
    audits: Sequence[str | Audit] | str | None = None,
    *,
    limit: int | None = None,
    seed: int = 0,
    samples: int | None = None,
    texts: str | Path | Sequence[str | Path] | None = None,
    fresh: str | Path | Sequence[str | Path] | None = None,
    csv: str | Path | None = None,
    cutoff: str | None = None,
    benchmark: str | Path | None = None,
    checkpoints: str | Path | Sequence[str | Path] | None = None,
    scores: str | Path | None = None,
    reference: Any = None,
    knobs: Mapping[str, Mapping[str, Any]] | None = None,
    out: str | Path | None = None,
    logs: bool = True,
    self_test: bool = False,
    self_test_seconds: float = 70.0,
    device: str | None = None,
    dtype: str | None = None,
    progress: Progress | None = None,
) -> Report:
    """Audit a model: what does it know by heart?

    Args:
        model: What `byheart.load` takes: ``"smollm2"``, ``"hf:NAME-or-folder"``, ``"gguf:FILE"``,
            ``"inspect:PROVIDER/NAME"``, a module, a function, a `Model`.
        audits: Names or instances; None runs `byheart.audits.DEFAULT`, ``"all"`` all that exist.
        limit: Most pairs, or items an arm, of every audit; None is each audit's own default.
        seed: Redraws everything random; written into the report.
        samples: Continuations an item, for audits that sample more than once.
        texts: The user's own text files or folders as the seen arm (verbatim, membership).
        fresh: Twins of `texts` that the model cannot have seen.
        csv: A series of one's own, columns ``date,value`` (economic-recall).
        cutoff: Knowledge cutoff of the model, ``YYYY-MM`` (economic-recall).
        benchmark: JSON lines with ``question`` and ``answer`` (output-distribution).
        checkpoints: Folders of a run's checkpoints, or a folder that holds them (pathways).
        scores: CSV of scores by step, to be held against the checkpoints (pathways).
        reference: A second model for reference-calibrated membership scores.
        knobs: Further fields of an audit by its name, ``{"verbatim": {"prefix": 64}}``.
        out: Folder for report, rows and logs. A second call with the same arguments takes up
            finished rows. None keeps everything in memory.
        logs: Also write inspect_ai logs there.
        self_test: Plant fresh items in an adapter and show that they are found (needs weights).
        self_test_seconds: Time box of the adapter's training. Where it runs out before all items are
            known, the self-test says so; a busy machine needs more.
        device: As for `byheart.load`.
        dtype: As for `byheart.load`.
        progress: Called with a `byheart.core.run.Tick` as rows finish.

    Returns:
        The report; saved to `out` if that is given.

    Raises:
        UnknownName: No such model or audit.
        UsageError: A knob that none of the chosen audits has, or a value that cannot be.
        DataError: The user's material cannot be used.
        EndpointError: The endpoint does not answer.
        CapabilityError: The self-test is asked for and the model shows no weights.
        OutputError: `out` cannot be written. Where that shows only at the end, the error holds the
            report (``error.report``).

    >>> report = audit(lambda prompt: "no idea", ["verbatim"], limit=4)
    >>> report.findings[0].seen.value
    0.0
    """
    if seed < 0:
        raise UsageError(f"seed must not be negative, got {seed}")
    if limit is not None and limit < 1:
        raise UsageError(f"limit must be at least 1, got {limit}")
    folder = None if out is None else make_folder(Path(out))
    shared = {
        "samples": samples, "texts": texts, "fresh": fresh, "csv": csv, "cutoff": cutoff,
        "benchmark": benchmark, "checkpoints": checkpoints, "scores": scores,
    }  # fmt: skip
    chosen = build_audits(
        audits,
        {k: v for k, v in shared.items() if v is not None},
        knobs or {},
        reference is not None,
    )
    loaded = load(model, device=device, dtype=dtype)
    if hasattr(loaded, "ping"):
        loaded.ping()
    if self_test:
        from byheart.selftest import judged

        loaded.require("weights", purpose="the self-test")
        judged(loaded, chosen)
    roles = {} if reference is None else {"reference": load(reference, device=device, dtype=dtype)}
    settings = {k: str(v) for k, v in shared.items() if v is not None}
    report = run(
        loaded,
        chosen,
        seed=seed,
        limit=limit,
        roles=roles,
        out=folder,
        logs=logs,
        progress=progress,
        settings=settings,
    )
    if self_test and report.meta["complete"]:
        from byheart.selftest import self_test as test

        try:
            result = test(
                loaded, chosen, seed=seed, seconds=self_test_seconds, out=folder, progress=progress
            )
            report = dataclasses.replace(report, self_test=result)
        except (KeyboardInterrupt, ByheartError) as error:  # what was audited is reported
            reason = "interrupted" if isinstance(error, KeyboardInterrupt) else str(error)
            stopped = {"complete": False, "missing": f"the self-test: {reason}"}
            stopped["stopped_by"] = type(error).__name__
            report = dataclasses.replace(report, meta={**report.meta, **stopped})
    if folder is not None:
        try:
            report.save(folder)
        except OutputError as error:
            error.report = report  # measured, though not written
            raise
    return report


def build_audits(
    audits: Sequence[str | Audit] | str | None,
    shared: Mapping[str, Any],
    knobs: Mapping[str, Mapping[str, Any]],
    reference: bool = False,
) -> list[Audit]:
    """Audits from names, giving each the shared knobs that it has.

    Raises:
        UsageError: If a knob fits none of the chosen audits.
    """
    names: Sequence[str | Audit] = [audits] if isinstance(audits, str | Audit) else audits or ()
    if audits is None or list(names) == ["all"]:
        names = named([n for n in names if isinstance(n, str)])
    listed = [a if isinstance(a, str) else a.name for a in names]
    twice = sorted({name for name in listed if listed.count(name) > 1})
    if twice:
        raise UsageError(f"{', '.join(twice)}: named more than once; name each audit once")
    for name in knobs:
        audit_class(name)
        if name not in listed:
            raise UsageError(f"knobs are given for {name}, which is not among the audits to run")
    built, used = [], set()
    for entry in names:
        if isinstance(entry, Audit):
            built.append(entry)
            continue
        cls = audit_class(entry)
        fields = {f.name for f in dataclasses.fields(cls) if f.init}  # type: ignore[arg-type]
        mine = {k: v for k, v in shared.items() if k in fields}
        used |= set(mine)
        if reference and "reference" in fields:
            mine["reference"] = True
        built.append(make(entry, **{**mine, **knobs.get(entry, {})}))
    unused = sorted(set(shared) - used)
    if unused:
        raise UsageError(
            f"{', '.join(unused)}: none of the audits to run ({', '.join(listed)}) takes this"
        )
    return built
