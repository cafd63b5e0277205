"""`byheart memory write, supersede, undo, erase`: what changes a memory."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from byheart.cli._memory_kinds import Kind, ModelName, check_kind, written
from byheart.cli._memory_options import (
    Db,
    Encoder,
    Json,
    Labels,
    ScopeName,
    Source,
    ValidFrom,
    ValidTo,
    labels_of,
    open_memory,
    print_receipt,
    read_text,
)  # fmt: skip

__all__ = ["erase", "supersede", "undo", "write"]


def write(
    text: Annotated[list[str] | None, typer.Argument(help="Texts; - reads one from stdin.")] = None,
    file: Annotated[list[str] | None, typer.Option("--file", help="A text file, one note.")] = None,
    lines: Annotated[str | None, typer.Option("--lines", help="A file, one note a line.")] = None,
    chat: Annotated[str | None, typer.Option("--chat", help="A conversation in chat JSON.")] = None,
    source: Source = "",
    trust: Annotated[str | None, typer.Option("--trust", help="Whose word it is (user).")] = None,
    valid_from: ValidFrom = None,
    valid_to: ValidTo = None,
    expires: Annotated[str | None, typer.Option("--expires", help="Time to live: until.")] = None,
    label: Labels = None,
    kind: Kind = "note",
    model: ModelName = None,
    encoder: Encoder = None,
    db: Db = None,
    scope: ScopeName = None,
    json: Json = False,
) -> None:
    """Keep texts, files or a conversation; in Python: memory.write(...).

    byheart memory write "Ana lives in Oslo." --source chat:90 --valid-from 2024-05-01

    byheart memory write --chat conversation.json
    """
    from byheart.core.errors import UsageError
    from byheart.core.item import Item, moment
    from byheart.stores.chat import chat_items
    from byheart.stores.exchange import parse_json

    common: dict[str, Any] = {
        "trust": trust or "user",
        "valid_from": moment(valid_from, "--valid-from"),
        "valid_to": moment(valid_to, "--valid-to"),
        "expires_at": moment(expires, "--expires"),
        "labels": labels_of(label),
    }
    check_kind(kind, model)
    if kind == "thoughts" and (valid_to or expires or label):
        raise UsageError("--valid-to, --expires and --label do not go with --kind thoughts")
    if chat is not None and (trust or valid_from or valid_to):
        raise UsageError("--trust, --valid-from and --valid-to do not go with --chat: it says them")
    items: list[Item] = []
    said: list[Item] = []
    for one in text or []:
        content = read_text("-") if one == "-" else one
        items.append(Item(content, source=source or ("stdin" if one == "-" else "cli"), **common))
    for name in file or []:
        items.append(Item(read_text(name), source=source or name, **common))
    if lines is not None:
        for number, line in enumerate(read_text(lines).split("\n"), 1):
            if line.strip():
                items.append(
                    Item(line.rstrip("\r"), source=f"{source or lines}:{number}", **common)
                )
    if chat is not None:
        name = "stdin" if chat == "-" else chat
        told = parse_json(read_text(chat), name)
        for item in chat_items(told, source=source or name, where=name):
            more = {"labels": {**common["labels"], **item.labels}}
            said.append(item.but(expires_at=common["expires_at"], **more))
    if not items and not said:
        raise UsageError("nothing to write; give a text, - for stdin, --file, --lines or --chat")
    if any(not i.content.strip() for i in items):
        raise UsageError("a text is empty; there is nothing to remember in it")
    items += said
    # plain notes are embedded by the recall that first needs it
    with open_memory(db, scope, create=True, encoder=None if kind == "note" else encoder) as memory:
        if kind != "note":
            written(memory, kind, model, items, json)
            return
        receipt = memory.write(items)
    if common["expires_at"] is not None and common["expires_at"] <= datetime.now(UTC):
        typer.echo("its time to live is over already, so recall does not find it", err=True)
    print_receipt(receipt, json, "\n".join(receipt.ids))


def supersede(
    id: Annotated[str, typer.Argument(help="Of the item that is no longer so.")],
    text: Annotated[str, typer.Argument(help="What holds instead; - reads stdin.")],
    source: Source = "",
    valid_from: ValidFrom = None,
    valid_to: ValidTo = None,
    db: Db = None,
    scope: ScopeName = None,
    json: Json = False,
) -> None:
    """Put an item in the place of another; in Python: memory.supersede(id, item)."""
    from byheart.core.item import Item, moment

    item = Item(
        read_text("-") if text == "-" else text,
        source=source or ("stdin" if text == "-" else "cli"),
        trust="user",
        valid_from=moment(valid_from, "--valid-from"),
        valid_to=moment(valid_to, "--valid-to"),
    )
    with open_memory(db, scope, create=False) as memory:
        receipt = memory.supersede(id, item)
    print_receipt(receipt, json, f"{receipt.id} takes the place of {id}")


def erase(
    id: Annotated[list[str] | None, typer.Argument(help="Of items.")] = None,
    source: Annotated[
        str | None, typer.Option("--source", help="All of a source; * at its end.")
    ] = None,
    label: Labels = None,
    everything: Annotated[bool, typer.Option("--everything", help="All of the scope.")] = False,
    derived: Annotated[bool, typer.Option("--derived", help="Also what was derived.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    db: Db = None,
    scope: ScopeName = None,
    json: Json = False,
) -> None:
    """Remove content for good; in Python: memory.erase(selector)."""
    from byheart.core.memory import Selector

    what = Selector(
        ids=tuple(id or ()), source=source, labels=labels_of(label), everything=everything
    )
    with open_memory(db, scope, create=False) as memory:
        n = sum(1 for _ in memory.items(what, history=True))
        if n and not yes and sys.stdin.isatty():
            typer.confirm(f"erase {n} items for good, with all their versions?", abort=True)
        receipt = memory.erase(what, derived=derived)
    print_receipt(receipt, json, f"erased {len(receipt.ids)} items")


def undo(
    entry: Annotated[int, typer.Argument(help="Number of the entry in the log.")],
    db: Db = None,
    scope: ScopeName = None,
    json: Json = False,
) -> None:
    """Take back a write, a supersession or an undo; in Python: memory.undo(receipt)."""
    with open_memory(db, scope, create=False) as memory:
        receipt = memory.undo(entry)
    number = "" if receipt.seq is None else f" (entry {receipt.seq[1]})"
    print_receipt(receipt, json, f"undid entry {entry}{number}")
