"""`byheart memory cube list, show, versions, share, freeze, ..., move, export, import`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import typer

from byheart.cli._memory_cubes import Name, Readers, Sharers, Writers, access_of
from byheart.cli._memory_options import (
    Actor,
    Db,
    Json,
    ScopeName,
    one_line,
    open_memory,
    print_json,
    print_receipt,
)  # fmt: skip

__all__ = [
    "activate", "archive", "expire", "export", "freeze", "list_", "move", "share", "show",
    "unfreeze", "versions",
]  # fmt: skip

Reason = Annotated[str, typer.Option("--reason", help="For the log.")]


def list_(actor: Actor = None, db: Db = None, scope: ScopeName = None, json: Json = False) -> None:
    """Cubes that you may read, by name; in Python: memory.cubes()."""
    with open_memory(db, scope, create=False, actor=actor) as memory:
        cubes = memory.cubes()
    if json:
        print_json([c.to_dict() for c in cubes])
        return
    for cube in cubes:
        branches = ", ".join(f"{b} {n}" for b, n in cube.branches.items())
        typer.echo(
            f"{cube.name}  {cube.state}  of {cube.owner}  {len(cube.items)} items  {branches}"
        )
    if not cubes:
        typer.echo("no cubes", err=True)


def show(
    cube: Annotated[str, typer.Argument(help="name or name@branch.")],
    version: Annotated[int | None, typer.Option("--version", help="As it was then.")] = None,
    actor: Actor = None,
    db: Db = None,
    scope: ScopeName = None,
    json: Json = False,
) -> None:
    """A cube and its items; in Python: memory.cube(name), memory.cube_items(cube, version).

    byheart memory cube show trip@idea --version 2
    """
    with open_memory(db, scope, create=False, actor=actor) as memory:
        items = memory.cube_items(cube, version)
        told = memory.cube(cube.partition("@")[0]).to_dict()
    if json:
        print_json({**told, "items": [i.to_dict() for i in items]})
        return
    for name in ("name", "id", "scope", "owner", "state", "access", "expires_at", "provenance"):
        if told[name]:
            typer.echo(f"{name}: {_said(told[name])}")
    typer.echo(f"branches: {_said(told['branches'])}")
    for item in items:
        typer.echo(f"{item.id}  {one_line(item.content)}")


def _said(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k} {_said(v)}" for k, v in value.items())
    if isinstance(value, list):
        return "+".join(map(_said, value))
    return one_line(str(value))


def versions(
    name: Name, actor: Actor = None, db: Db = None, scope: ScopeName = None, json: Json = False
) -> None:
    """All versions of a cube, oldest first; in Python: memory.cube_versions(name)."""
    with open_memory(db, scope, create=False, actor=actor) as memory:
        found = memory.cube_versions(name)
    if json:
        print_json([{**asdict(v), "at": v.at.isoformat()} for v in found])
        return
    for v in found:
        parents = " and ".join(str(p) for p in (v.parent, v.merged) if p is not None)
        after = f"  after {parents}" if parents else ""
        at = v.at.isoformat(timespec="seconds")
        typer.echo(
            f"{v.number}  {v.branch}{after}  {at}  {v.actor}  {one_line(v.message)}".rstrip()
        )


def share(
    name: Name,
    read: Readers = None,
    write: Writers = None,
    share: Sharers = None,
    owner: Annotated[str | None, typer.Option("--owner", help="Give it away.")] = None,
    nobody: Annotated[
        bool, typer.Option("--nobody", help="Close it to all but its owner.")
    ] = False,
    actor: Actor = None,
    db: Db = None,
    scope: ScopeName = None,
    json: Json = False,
) -> None:
    """Say who else may use a cube; replaces the rules before. In Python: memory.share_cube(...).

    byheart memory cube share trip --read ben --read eva --write eva
    """
    from byheart.core.errors import UsageError

    rules = access_of(read, write, share)
    if not rules and owner is None and not nobody:
        raise UsageError("nothing to change; give --read, --write, --share, --owner or --nobody")
    if rules and nobody:
        raise UsageError("--nobody and a list of callers contradict each other; give one")
    with open_memory(db, scope, create=False, actor=actor) as memory:
        if not rules and not nobody:  # only the owner changes
            rules = {k: list(v) for k, v in memory.cube(name).access.items()}
        receipt = memory.share_cube(name, rules, owner=owner)
        told = _said(rules) or "nobody but its owner"
    print_receipt(receipt, json, f"access to {name!r}: {told}")


def _step(
    name: str, to: str, reason: str, actor: str | None, db: str | None, scope: str | None,
    json: bool,
) -> None:  # fmt: skip
    with open_memory(db, scope, create=False, actor=actor) as memory:
        if to == "Frozen":
            receipt = memory.freeze_cube(name, reason)
        elif to == "unfrozen":
            receipt, to = memory.unfreeze_cube(name, reason), "Activated"
        else:
            receipt = memory.transition_cube(name, to, reason)
    print_receipt(receipt, json, f"the cube {name!r} is {to}")


def freeze(
    name: Name, reason: Reason = "", actor: Actor = None, db: Db = None, scope: ScopeName = None,
    json: Json = False,
) -> None:  # fmt: skip
    """Make a cube and its items unchangeable; in Python: memory.freeze_cube(name)."""
    _step(name, "Frozen", reason, actor, db, scope, json)


def unfreeze(
    name: Name, reason: Reason = "", actor: Actor = None, db: Db = None, scope: ScopeName = None,
    json: Json = False,
) -> None:  # fmt: skip
    """Let a frozen cube be changed again; in Python: memory.unfreeze_cube(name)."""
    _step(name, "unfrozen", reason, actor, db, scope, json)


def activate(
    name: Name, reason: Reason = "", actor: Actor = None, db: Db = None, scope: ScopeName = None,
    json: Json = False,
) -> None:  # fmt: skip
    """Take a cube into use again; in Python: memory.transition_cube(name, "Activated")."""
    _step(name, "Activated", reason, actor, db, scope, json)


def archive(
    name: Name, reason: Reason = "", actor: Actor = None, db: Db = None, scope: ScopeName = None,
    json: Json = False,
) -> None:  # fmt: skip
    """Put a cube away; in Python: memory.transition_cube(name, "Archived")."""
    _step(name, "Archived", reason, actor, db, scope, json)


def expire(
    name: Name, reason: Reason = "", actor: Actor = None, db: Db = None, scope: ScopeName = None,
    json: Json = False,
) -> None:  # fmt: skip
    """End a cube for good; its items stay. In Python: memory.transition_cube(name, "Expired")."""
    _step(name, "Expired", reason, actor, db, scope, json)


def move(
    name: Name,
    to: Annotated[str | None, typer.Option("--to", help="The other memory (this one).")] = None,
    to_scope: Annotated[str | None, typer.Option("--to-scope", help="Its scope.")] = None,
    actor: Actor = None,
    db: Db = None,
    scope: ScopeName = None,
    json: Json = False,
) -> None:
    """Move a cube into another memory or scope; in Python: memory.move_cube(name, other).

    byheart memory cube move trip --to shared.db --to-scope acme/team
    """
    from byheart.core.errors import UsageError

    if to is None and to_scope is None:
        raise UsageError("where to? give --to FILE, --to-scope SCOPE or both")
    with (
        open_memory(db, scope, create=False, actor=actor) as memory,
        open_memory(db if to is None else to, to_scope or scope, create=True, actor=actor) as other,
    ):
        receipt = memory.move_cube(name, other)
        where = f"{other.store.place} ({other.scope})"
    print_receipt(receipt, json, f"moved {name!r} to {where}; here it is archived")


def export(
    name: Name,
    to: Annotated[str, typer.Argument(help="A file; - writes to stdout.")],
    actor: Actor = None,
    db: Db = None,
    scope: ScopeName = None,
) -> None:
    """Write a cube with all its versions; in Python: memory.export(path, cube=name).

    byheart memory cube export trip trip.jsonl && byheart memory import trip.jsonl --db other.db
    """
    with open_memory(db, scope, create=False, actor=actor) as memory:
        if to == "-":
            for line in memory.export_lines(cube=name):
                typer.echo(line)
            return
        n = memory.export(to, cube=name)
    typer.echo(f"wrote {n} lines to {to}", err=True)
