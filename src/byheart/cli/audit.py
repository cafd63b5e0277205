"""`byheart audit MODEL [AUDIT ...]`: what does this model know by heart?"""

from __future__ import annotations

import json as json_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from byheart.core.errors import ModelError, OutputError, UnknownName, UsageError

if TYPE_CHECKING:
    from byheart.core._report_match import Condition
    from byheart.core.report import Report
    from byheart.core.run import Progress

__all__ = ["audit", "register"]


def audit(
    model: Annotated[
        str,
        typer.Argument(
            help="smollm2, hf:NAME-or-folder, gguf:FILE or inspect:PROVIDER/NAME.", metavar="MODEL"
        ),
    ],
    audits: Annotated[
        list[str] | None,
        typer.Argument(
            help="Which audits; all for every one. Left out: those that take minutes on a CPU. See: byheart list audits.",
            metavar="[AUDIT ...]",
        ),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Most pairs, or items an arm.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Redraws everything random.")] = 0,
    samples: Annotated[
        int | None, typer.Option(min=1, help="Continuations an item, where an audit samples.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for report, rows and logs.")] = Path(
        "byheart-report"
    ),
    json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    fail_on: Annotated[
        str | None,
        typer.Option(help="Exit with 1 if a finding matches: 'gap>0.1', 'verdict=memorised'."),
    ] = None,
    texts: Annotated[
        list[Path] | None, typer.Option(help="Your own text files or folders: the seen arm.")
    ] = None,
    fresh: Annotated[
        list[Path] | None, typer.Option(help="Twins of --texts the model cannot have seen.")
    ] = None,
    csv: Annotated[
        Path | None, typer.Option(help="Your own series (date,value), for economic-recall.")
    ] = None,
    cutoff: Annotated[
        str | None, typer.Option(help="Knowledge cutoff YYYY-MM, for economic-recall.")
    ] = None,
    benchmark: Annotated[
        Path | None, typer.Option(help="JSON lines question/answer, for output-distribution.")
    ] = None,
    checkpoints: Annotated[
        list[Path] | None,
        typer.Option(help="Checkpoints of a run, or the folder that holds them, for pathways."),
    ] = None,
    scores: Annotated[
        Path | None, typer.Option(help="CSV step,accuracy of these checkpoints, for pathways.")
    ] = None,
    reference: Annotated[
        str | None, typer.Option(help="A second model, for reference-calibrated membership.")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", "-S", help="Any other knob: AUDIT.FIELD=VALUE (JSON or text)."),
    ] = None,
    self_test: Annotated[
        bool,
        typer.Option("--self-test", help="Plant fresh items in an adapter; show they are found."),
    ] = False,
    self_test_seconds: Annotated[
        float, typer.Option(help="Time box of the self-test's training; more on a busy machine.")
    ] = 70.0,
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda, mps; the best if left out.")
    ] = None,
    dtype: Annotated[str | None, typer.Option(help="float32, bfloat16, float16.")] = None,
    no_logs: Annotated[bool, typer.Option("--no-logs", help="Write no inspect_ai logs.")] = False,
) -> None:
    """What does this model know by heart? In Python: byheart.audit(model, audits=[...]).

    Of data instead of a model: byheart audit memorization DATA, byheart audit longtail --counts FILE.
    """
    knobs = _knobs(set_ or [])
    if fail_on is not None:
        from byheart.core._report_match import parse

        # a wrong expression is said before minutes of work
        _check_scopes(parse(fail_on), audits)
    try:
        report = _measure(
            model, audits or None, limit=limit, seed=seed, samples=samples, texts=texts or None,
            fresh=fresh or None, csv=csv, cutoff=cutoff, benchmark=benchmark,
            checkpoints=checkpoints or None, scores=scores, reference=reference,
            knobs=knobs, out=out, logs=not no_logs, self_test=self_test,
            self_test_seconds=self_test_seconds, device=device, dtype=dtype,
        )  # fmt: skip
    except OutputError as error:
        if error.report is not None:  # what was measured is shown, though it cannot be saved
            _print(error.report, json=json)
        raise
    _print(report, json=json)
    if not json:
        typer.echo(f"report: {out / 'report.html'}  ({out / 'report.json'})")
    if not report.meta["complete"]:
        missing = report.meta["missing"]
        typer.secho(
            f"byheart: stopped before the end: {missing}. Finished rows are kept in {out}; "
            "the same command goes on from there",
            fg=typer.colors.RED,
            err=True,
        )
        raise typer.Exit(_STOPPED.get(report.meta["stopped_by"], 3))
    if fail_on is not None and (matches := report.exceeds(fail_on)):
        for finding in matches:
            typer.secho(f"byheart: {finding.name}: {fail_on}", fg=typer.colors.RED, err=True)
        raise typer.Exit(1)
    if report.self_test is not None and not report.self_test.passed:
        meta = report.self_test.meta
        cut_off = (
            f"; its training was cut off with {meta['known']} of {meta['texts']} texts learned: run it "
            "again with a larger --self-test-seconds"
            if meta.get("training_stopped") == "seconds"
            else ""
        )
        raise ModelError(
            f"the self-test did not find what was planted{cut_off}; do not trust this report "
            f"(details in {out / 'report.html'})"
        )


_STOPPED = {"KeyboardInterrupt": 130, "OutputError": 4}


def _measure(model: str, audits: list[str] | None, **options: Any) -> Report:
    import byheart

    with _Bars() as bars:
        return byheart.audit(model, audits, progress=bars, **options)


def _print(report: Report, *, json: bool) -> None:
    if json:
        typer.echo(report.to_json())
        return
    from byheart.cli._console import console
    from byheart.core._report_text import render

    console().print(render(report))


def _check_scopes(alternatives: list[list[Condition]], audits: list[str] | None) -> None:
    """Every audit that --fail-on names is among those to run.

    Raises:
        UnknownName: With those that are.
    """
    from byheart.audits import named

    known = named(audits)
    for condition in (c for group in alternatives for c in group):
        if condition.scope and condition.scope.split("/", 1)[0] not in known:
            raise UnknownName("audit in --fail-on", condition.scope, known)


def _knobs(settings: list[str]) -> dict[str, dict[str, Any]]:
    """``["verbatim.prefix=64"]`` to ``{"verbatim": {"prefix": 64}}``."""
    out: dict[str, dict[str, Any]] = {}
    for setting in settings:
        where, equals, text = setting.partition("=")
        name, dot, knob = where.strip().partition(".")
        if not (equals and dot and name and knob):
            raise UsageError(f"--set takes AUDIT.FIELD=VALUE, got {setting!r}")
        try:
            value = json_module.loads(text)
        except ValueError:
            value = text
        if isinstance(value, list):
            value = tuple(value)
        out.setdefault(name, {})[knob.replace("-", "_")] = value
    return out


class _Bars:
    """Progress on stderr: a bar an audit, with what is done and how long it will take."""

    def __enter__(self) -> Progress:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            Progress,
            SpinnerColumn,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        self._bars = Progress(
            SpinnerColumn(),
            TextColumn("{task.description:<34}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[rows]:>9}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(elapsed_when_finished=False),
            console=Console(stderr=True),
        )
        self._bars.start()
        self._tasks: dict[str, Any] = {"": self._bars.add_task("loading", total=None, rows="")}
        return self._tick

    def _tick(self, tick: Any) -> None:
        if "" in self._tasks:
            self._bars.remove_task(self._tasks.pop(""))
        if tick.stage not in self._tasks:
            self._tasks[tick.stage] = self._bars.add_task(tick.stage, total=tick.total, rows="")
        self._bars.update(
            self._tasks[tick.stage],
            completed=tick.done,
            total=tick.total,
            rows=f"{tick.rows}/{tick.of}",
        )

    def __exit__(self, *_: object) -> None:
        self._bars.stop()


def register(app: typer.Typer) -> None:
    """Add the verb."""
    from byheart.cli.audit_data import AuditCommand

    app.command("audit", cls=AuditCommand)(audit)
