"""`byheart show report.json`: print a report, or write its page anew."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["register", "show"]


def show(
    report: Annotated[Path, typer.Argument(help="A report.json, or the folder it lies in.")],
    json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    html: Annotated[Path | None, typer.Option(help="Write the page to this file.")] = None,
) -> None:
    """Print a report; in Python: byheart.Report.load(path)."""
    from byheart.core._files import write_atomically
    from byheart.core.report import Report

    loaded = Report.load(report / "report.json" if report.is_dir() else report)
    if html is not None:
        write_atomically(html, loaded.to_html())
        typer.echo(f"wrote {html}", err=True)
    if json:
        typer.echo(loaded.to_json())
        return
    if html is None:
        from byheart.cli._console import console
        from byheart.core._report_text import render

        console().print(render(loaded))


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("show")(show)
