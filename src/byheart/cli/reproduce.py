"""`byheart reproduce KEY`: a paper's claim, run here, with figure and verdict."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["register", "reproduce"]


def reproduce(
    key: Annotated[str, typer.Argument(help="A paper; `byheart list papers` shows them.")],
    full: Annotated[bool, typer.Option("--full", help="The large case, for a GPU.")] = False,
    seeds: Annotated[int, typer.Option(min=1, help="Seeds that baseline and system share.")] = 3,
    out: Annotated[Path | None, typer.Option(help="Folder for figure and result.json.")] = None,
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda, mps; the best if left out.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Run a paper's claim here; in Python: byheart.papers.reproduce(key)."""
    import json as json_module

    from rich.console import Console
    from rich.markup import escape
    from rich.progress import (
        BarColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.table import Table

    import byheart.papers as papers

    folder = out or Path("byheart-report") / "papers" / key
    errors = Console(stderr=True)
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        TextColumn("left:"),
        TimeRemainingColumn(),
        console=errors,
        transient=True,
    ) as bars:
        bar = bars.add_task(key, total=1.0)
        result = papers.reproduce(
            key,
            full=full,
            seeds=seeds,
            out=folder,
            device=device,
            progress=lambda what, share: bars.update(
                bar, description=escape(what), completed=share
            ),
        )
    if json:
        typer.echo(json_module.dumps(result.to_dict(), indent=2, ensure_ascii=False))
    else:
        from byheart.cli._console import console as make_console

        console = make_console()
        console.print(f"[bold]{escape(key)}[/bold]: {escape(result.claim)}\n")
        table = Table("check", "expected", "measured", "")
        for check in result.checks:
            mark = "[green]holds[/green]" if check.passed else "[red]does not hold[/red]"
            table.add_row(escape(check.name), escape(check.expected), escape(check.measured), mark)
        console.print(table)
        for note in result.notes:
            console.print(f"[dim]{escape(str(note))}[/dim]")
        for figure in result.figures:
            console.print(f"figure: {escape(str(figure))}")
        console.print(f"\n[bold]{escape(result.verdict)}[/bold] in {result.seconds:.0f} s")
    if result.verdict == "not reproduced":
        raise typer.Exit(1)


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("reproduce")(reproduce)
