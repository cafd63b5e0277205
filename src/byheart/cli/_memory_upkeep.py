"""`byheart memory rebuild, check, stats`: keeping a memory sound."""

from __future__ import annotations

from typing import Annotated

import typer

from byheart.cli._memory_options import (
    Db,
    Encoder,
    Json,
    ScopeName,
    open_memory,
    print_json,
)  # fmt: skip

__all__ = ["check", "rebuild", "stats"]


def rebuild(
    db: Db = None, scope: ScopeName = None, encoder: Encoder = None, json: Json = False
) -> None:
    """Make everything derived anew from the log; in Python: memory.rebuild()."""
    with open_memory(db, scope, create=False, encoder=encoder) as memory:
        done = memory.rebuild()
    if json:
        print_json(done)
    else:
        typer.echo("rebuilt: " + ", ".join(f"{n} {name}" for name, n in done.items()))


def check(
    head: Annotated[str | None, typer.Option("--head", help="Hash the newest entry had.")] = None,
    db: Db = None,
    scope: ScopeName = None,
    json: Json = False,
) -> None:
    """Verify file, chain, digests and derived data; in Python: memory.check(). Exit 1 if broken."""
    with open_memory(db, scope, create=False) as memory:
        problems = memory.check(head)
        seq, hash = memory.store.head() if not problems else (0, "")
    if json:
        print_json({"problems": [vars(p) for p in problems], "entries": seq, "head": hash})
    else:
        for problem in problems:
            typer.echo(str(problem))
        if not problems:
            typer.echo(f"all is well: {seq} entries, head {hash}")
    if problems:
        raise typer.Exit(1)


def stats(
    db: Db = None, scope: ScopeName = None, encoder: Encoder = None, json: Json = False
) -> None:
    """Counts of the scope; in Python: memory.stats()."""
    with open_memory(db, scope, create=False, encoder=encoder) as memory:
        told = memory.stats()
    if json:
        print_json(told)
        return
    for name, value in told.items():
        if isinstance(value, dict):
            value = ", ".join(f"{k} {n}" for k, n in value.items()) or "none"
        typer.echo(f"{name}: {value}")
