"""`byheart memory export, import`: from one memory into another, and to people."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from byheart.cli._memory_options import (
    Actor,
    Cube,
    Db,
    Json,
    ScopeName,
    open_memory,
    print_json,
    print_receipt,
    read_text,
)  # fmt: skip

if TYPE_CHECKING:
    from byheart.core.memory import Receipt

__all__ = ["export", "import_"]


def export(
    to: Annotated[str, typer.Argument(help="A file, a folder/, or - for stdout.")],
    current: Annotated[bool, typer.Option("--current", help="Without history and cubes.")] = False,
    format: Annotated[
        str | None, typer.Option("--format", help="jsonl, or okf: a folder of Markdown files.")
    ] = None,
    cube: Cube = None,
    actor: Actor = None,
    db: Db = None,
    scope: ScopeName = None,
) -> None:
    """Write items as JSON lines or Markdown files; in Python: memory.export(path).

    byheart memory export backup.jsonl

    byheart memory export notes/
    """
    from byheart.core.errors import UsageError

    if to == "-" and format == "okf":
        raise UsageError("Markdown files need a folder; - is a pipe for JSON lines")
    folder = format == "okf" or (format is None and (to.endswith("/") or Path(to).is_dir()))
    if current and cube is not None and not folder:
        raise UsageError(
            "--current and --cube contradict each other: all versions of a cube travel"
        )
    with open_memory(db, scope, create=False, actor=actor) as memory:
        if to == "-":
            for line in memory.export_lines(history=not current, cube=cube):
                typer.echo(line)
            return
        n = memory.export(to, history=not current, cube=cube, format=format)
    made = "files" if Path(to).is_dir() else "lines"
    typer.echo(f"wrote {n} {made} to {to}", err=True)


def import_(
    file: Annotated[
        str, typer.Argument(help="A file, a folder of Markdown files, or - for stdin.")
    ],
    format: Annotated[
        str | None,
        typer.Option("--format", help="byheart, okf, chat, mem0 or mcp; told from the path."),
    ] = None,
    take: Annotated[
        str | None,
        typer.Option("--take", help="files or memory: who wins where both were changed."),
    ] = None,
    actor: Actor = None,
    db: Db = None,
    scope: ScopeName = None,
    json: Json = False,
) -> None:
    """Take in an export, all of it or nothing; in Python: memory.import_(path).

    byheart memory import notes/

    byheart memory import dump.json --format mem0
    """
    from byheart.core.errors import UnknownName, UsageError
    from byheart.stores.chat import chat_items
    from byheart.stores.exchange import parse_json
    from byheart.stores.importers import mcp_items, mem0_items

    formats = ("byheart", "okf", "chat", "mem0", "mcp")
    folder = file != "-" and Path(file).is_dir()
    if format is not None and format not in formats:
        raise UnknownName("format", format, formats)
    if folder and format not in (None, "okf"):
        raise UsageError(f"{file} is a folder, and --format {format} is read from a file")
    if format == "okf" and not folder:
        raise UsageError(f"--format okf is read from a folder, got {file}")
    if take is not None and not folder:
        raise UsageError("--take goes with a folder of Markdown files")
    if folder:
        with open_memory(db, scope, create=True, actor=actor) as memory:
            _told(memory.import_(file, take=take), json)
        return
    name = "stdin" if file == "-" else file
    text = read_text(file)
    made = None
    if format == "mcp":
        made = mcp_items(text, where=name)
    elif format == "chat":
        made = chat_items(parse_json(text, name), where=name, source=name)
    elif format == "mem0":
        made = mem0_items(parse_json(text, name), where=name)
    with open_memory(db, scope, create=True, actor=actor) as memory:
        if made is None:
            receipt = memory.import_(_lines(text), where=name)
        else:
            receipt = memory.write(made)
    new = 0 if receipt.seq is None else len(receipt.ids)
    print_receipt(receipt, json, f"imported {new} items" if new else "nothing new in it")


def _told(receipt: Receipt, json: bool) -> None:
    """What a folder brought, and what a person has to see to."""
    if json:
        print_json(receipt.to_dict())
        return
    typer.echo(", ".join(f"{n} {name}" for name, n in receipt.reached.items()))
    for what in receipt.beyond:
        typer.echo(what)


def _lines(text: str) -> Iterator[str]:
    yield from text.split("\n")
