"""`byheart list`: audits, memories, controls and papers, with status."""

from __future__ import annotations

from typing import Annotated

import typer

__all__ = ["list_", "register"]

_HEADINGS = {
    "audit": "Audits: byheart audit MODEL NAME ...",
    "memory": "Memories: byheart memory VERB, --kind NAME",
    "control": "Controls: what changes a model",
    "paper": "Papers: byheart reproduce NAME",
}


def list_(
    kind: Annotated[
        str, typer.Argument(help="audits, memories, controls or papers; all if left out.")
    ] = "",
    json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """What there is, with status; in Python: byheart.catalogue.catalogue()."""
    from byheart.catalogue import catalogue
    from byheart.core.errors import UnknownName

    singular = {"audits": "audit", "memories": "memory", "controls": "control", "papers": "paper"}
    wanted = singular.get(kind, kind)
    if wanted and wanted not in _HEADINGS:
        raise UnknownName("kind", kind, singular)
    entries = [e for e in catalogue() if wanted in ("", e.kind)]
    if json:
        import json as json_module

        typer.echo(json_module.dumps([e.to_dict() for e in entries], indent=2, ensure_ascii=False))
        return
    from rich.markup import escape
    from rich.table import Table

    from byheart.cli._console import console as make_console

    console = make_console()
    for key, heading in _HEADINGS.items():
        if wanted not in ("", key):
            continue
        rows = [e for e in entries if e.kind == key]
        console.print(f"\n[bold]{escape(heading)}[/bold]")
        if not rows:
            console.print("  none in this version")
            continue
        table = Table(box=None, pad_edge=True, show_header=False)
        table.add_column(style="cyan", no_wrap=True)
        table.add_column(ratio=1)
        table.add_column(no_wrap=True)
        for e in rows:
            needs = f" [dim](needs {escape(', '.join(e.needs))})[/dim]" if e.needs else ""
            table.add_row(e.name, escape(e.about) + needs, escape(e.status))
        console.print(table)


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("list")(list_)
