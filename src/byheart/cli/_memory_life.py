"""`byheart memory freeze, unfreeze, archive, activate, expire, transition, link, unlink`."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

import typer

from byheart.cli._memory_options import Actor, Db, Json, ScopeName, open_memory, print_receipt

__all__ = [
    "activate", "archive", "expire", "freeze", "link", "transition", "unfreeze", "unlink",
]  # fmt: skip

Id = Annotated[str, typer.Argument(help="Of an item.")]
Reason = Annotated[str, typer.Option("--reason", help="For the log.")]


def freeze(
    id: Id, reason: Reason = "", actor: Actor = None, db: Db = None, scope: ScopeName = None,
    json: Json = False,
) -> None:  # fmt: skip
    """Make an item unchangeable; in Python: memory.freeze(id)."""
    with open_memory(db, scope, create=False, actor=actor) as memory:
        receipt = memory.freeze(id, reason)
    print_receipt(receipt, json, f"{id} is Frozen")


def unfreeze(
    id: Id, reason: Reason = "", actor: Actor = None, db: Db = None, scope: ScopeName = None,
    json: Json = False,
) -> None:  # fmt: skip
    """Let a frozen item be changed again; in Python: memory.unfreeze(id)."""
    with open_memory(db, scope, create=False, actor=actor) as memory:
        receipt = memory.unfreeze(id, reason)
    print_receipt(receipt, json, f"{id} is Activated")


def archive(
    id: Id, reason: Reason = "", actor: Actor = None, db: Db = None, scope: ScopeName = None,
    json: Json = False,
) -> None:  # fmt: skip
    """Put an item away, so that recall finds it no more; in Python: memory.archive(id)."""
    transition(id, "Archived", reason, actor, db, scope, json)


def activate(
    id: Id, reason: Reason = "", actor: Actor = None, db: Db = None, scope: ScopeName = None,
    json: Json = False,
) -> None:  # fmt: skip
    """Take an archived item into use again; in Python: memory.transition(id, "Activated")."""
    transition(id, "Activated", reason, actor, db, scope, json)


def transition(
    id: Id,
    to: Annotated[str, typer.Argument(help="Activated, Merged, Archived, Frozen or Expired.")],
    reason: Reason = "",
    actor: Actor = None,
    db: Db = None,
    scope: ScopeName = None,
    json: Json = False,
) -> None:
    """Take an item to another state of its life; in Python: memory.transition(id, to)."""
    with open_memory(db, scope, create=False, actor=actor) as memory:
        receipt = memory.transition(id, to, reason)
    print_receipt(receipt, json, f"{id} is {to}")


def expire(
    id: Annotated[str | None, typer.Argument(help="An item to end; all due ones if left out.")] = None,
    idle: Annotated[
        float | None, typer.Option("--idle", help="Archive what lay unused for so many days.")
    ] = None,
    reason: Reason = "",
    actor: Actor = None,
    db: Db = None,
    scope: ScopeName = None,
    json: Json = False,
) -> None:  # fmt: skip
    """Run the timers, or end one item; in Python: memory.expire(idle), memory.transition(id, ...).

    byheart memory expire --idle 90
    """
    from byheart.core.errors import UsageError

    if id is not None and idle is not None:
        raise UsageError("an id and --idle contradict each other; give one")
    if id is not None:
        transition(id, "Expired", reason, actor, db, scope, json)
        return
    if reason:
        raise UsageError("--reason goes with an id; the timers give their own")
    try:
        span = None if idle is None else timedelta(days=idle)
    except (OverflowError, ValueError) as error:
        raise UsageError(f"--idle is a number of days, got {idle}") from error
    with open_memory(db, scope, create=False, actor=actor) as memory:
        receipt = memory.expire(span)
    print_receipt(receipt, json, f"expired or archived {len(receipt.ids)} items")


def link(
    a: Annotated[str, typer.Argument(help="Item the link goes from.")],
    b: Annotated[str, typer.Argument(help="Item it goes to.")],
    label: Annotated[str, typer.Option("--label", help="What it says.")] = "",
    weight: Annotated[float, typer.Option("--weight", help="How strong.")] = 1.0,
    actor: Actor = None,
    db: Db = None,
    scope: ScopeName = None,
    json: Json = False,
) -> None:
    """Link an item to another; in Python: memory.link(a, b)."""
    with open_memory(db, scope, create=False, actor=actor) as memory:
        receipt = memory.link(a, b, label, weight)
    print_receipt(receipt, json, f"{a} -> {b}")


def unlink(
    a: Annotated[str, typer.Argument(help="Item the link goes from.")],
    b: Annotated[str, typer.Argument(help="Item it goes to.")],
    label: Annotated[str, typer.Option("--label", help="What it says.")] = "",
    actor: Actor = None,
    db: Db = None,
    scope: ScopeName = None,
    json: Json = False,
) -> None:
    """Take a link away; it stays in the log. In Python: memory.unlink(a, b)."""
    with open_memory(db, scope, create=False, actor=actor) as memory:
        receipt = memory.unlink(a, b, label)
    print_receipt(receipt, json, f"{a} is linked to {b} no more")
