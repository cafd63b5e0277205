"""`byheart memory export, import`: from one memory into another."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import typer

from byheart.cli._memory_options import (
    Cube,
    Db,
    Json,
    ScopeName,
    open_memory,
    print_receipt,
    read_text,
)  # fmt: skip

__all__ = ["export", "import_"]


def export(
    to: Annotated[str, typer.Argument(help="A file; - writes to stdout.")],
    current: Annotated[bool, typer.Option("--current", help="Without history and cubes.")] = False,
    cube: Cube = None,
    db: Db = None,
    scope: ScopeName = None,
) -> None:
    """Write items as JSON lines; in Python: memory.export(path)."""
    with open_memory(db, scope, create=False) as memory:
        if to == "-":
            for line in memory.export_lines(history=not current, cube=cube):
                typer.echo(line)
            return
        n = memory.export(to, history=not current, cube=cube)
    typer.echo(f"wrote {n} lines to {to}", err=True)


def import_(
    file: Annotated[str, typer.Argument(help="A file; - reads stdin.")],
    format: Annotated[
        str, typer.Option("--format", help="byheart, chat, mem0 or mcp.")
    ] = "byheart",
    db: Db = None,
    scope: ScopeName = None,
    json: Json = False,
) -> None:
    """Take in an export, all of it or nothing; in Python: memory.import_(path)."""
    from byheart.core.errors import UnknownName
    from byheart.stores.chat import chat_items
    from byheart.stores.exchange import parse_json
    from byheart.stores.importers import mcp_items, mem0_items

    formats = {"byheart": None, "chat": chat_items, "mem0": mem0_items, "mcp": mcp_items}
    if format not in formats:
        raise UnknownName("format", format, formats)
    name = "stdin" if file == "-" else file
    text = read_text(file)
    made = None
    if format == "mcp":
        made = mcp_items(text, where=name)
    elif format != "byheart":
        make = formats[format]
        assert make is not None
        made = make(parse_json(text, name), where=name)
    with open_memory(db, scope, create=True) as memory:
        if made is None:
            receipt = memory.import_(_lines(text), where=name)
        else:
            receipt = memory.write(made)
    new = 0 if receipt.seq is None else len(receipt.ids)
    print_receipt(receipt, json, f"imported {new} items" if new else "nothing new in it")


def _lines(text: str) -> Iterator[str]:
    yield from text.split("\n")
