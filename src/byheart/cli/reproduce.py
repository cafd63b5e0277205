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
    data: Annotated[
        Path | None, typer.Option(help="Folder of data that the case reads, such as LoCoMo's.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Run a paper's claim here; in Python: byheart.papers.reproduce(key)."""
    import json as json_module

    from rich.markup import escape
    from rich.table import Table

    import byheart.papers as papers
    from byheart.cli._console import bar, console

    folder = out or Path("byheart-report") / "papers" / key
    with bar(key) as tell:
        result = papers.reproduce(
            key,
            full=full,
            seeds=seeds,
            out=folder,
            device=device,
            data=data,
            progress=tell,
        )
    if json:
        typer.echo(json_module.dumps(result.to_dict(), indent=2, ensure_ascii=False))
    else:
        screen = console()
        screen.print(f"[bold]{escape(key)}[/bold]: {escape(result.claim)}\n")
        table = Table("check", "expected", "measured", "")
        for check in result.checks:
            mark = "[green]holds[/green]" if check.passed else "[red]does not hold[/red]"
            table.add_row(escape(check.name), escape(check.expected), escape(check.measured), mark)
        screen.print(table)
        for note in result.notes:
            screen.print(f"[dim]{escape(str(note))}[/dim]")
        for figure in result.figures:
            screen.print(f"figure: {escape(str(figure))}")
        screen.print(f"\n[bold]{escape(result.verdict)}[/bold] in {result.seconds:.0f} s")
    if result.verdict == "not reproduced":
        raise typer.Exit(1)


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("reproduce")(reproduce)
