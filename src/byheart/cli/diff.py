"""`byheart diff before.json after.json`: what changed between two reports."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["diff", "register"]


def diff(
    before: Annotated[Path, typer.Argument(help="A report.json, or the folder it lies in.")],
    after: Annotated[Path, typer.Argument(help="Another.")],
    json: Annotated[bool, typer.Option("--json", help="Print the difference as JSON.")] = False,
) -> None:
    """What changed between two reports; in Python: before.diff(after)."""
    from byheart.core.report import Report

    reports = [Report.load(p / "report.json" if p.is_dir() else p) for p in (before, after)]
    difference = reports[0].diff(reports[1])
    if json:
        import json as json_module

        typer.echo(json_module.dumps(difference.to_dict(), indent=2, ensure_ascii=False))
        return
    from byheart.cli._console import console
    from byheart.core._report_text import render_diff

    console().print(render_diff(difference))


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("diff")(diff)
