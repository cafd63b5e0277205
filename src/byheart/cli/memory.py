"""`byheart memory ...`: every verb mirrors a method of `byheart.Memory`."""

from __future__ import annotations

import typer

from byheart.cli._memory_exchange import export, import_
from byheart.cli._memory_read import as_of, diff, log, recall, show
from byheart.cli._memory_upkeep import check, rebuild, stats
from byheart.cli._memory_write import erase, supersede, undo, write

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the verb and its verbs."""
    group = typer.Typer(
        help="A memory in one file: nothing is lost silently.", no_args_is_help=True
    )
    for name, verb in (
        ("write", write), ("recall", recall), ("show", show), ("log", log),
        ("supersede", supersede), ("erase", erase), ("undo", undo), ("diff", diff),
        ("as-of", as_of), ("export", export), ("import", import_), ("rebuild", rebuild),
        ("check", check), ("stats", stats),
    ):  # fmt: skip
        group.command(name)(verb)
    app.add_typer(group, name="memory")
