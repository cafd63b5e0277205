"""`byheart memory cube create, commit, branch, merge, compose`: what changes a cube."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

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

if TYPE_CHECKING:
    from byheart.core.errors import MergeConflict
    from byheart.core.item import Item
    from byheart.memory import Memory

__all__ = ["branch", "commit", "compose", "create", "merge"]

Name = Annotated[str, typer.Argument(help="Of the cube.")]
Texts = Annotated[
    list[str] | None, typer.Option("--text", help="A new note for it; may be repeated.")
]
Message = Annotated[str, typer.Option("-m", "--message", help="What for.")]
Readers = Annotated[list[str] | None, typer.Option("--read", help="Who may read; * is anybody.")]
Writers = Annotated[list[str] | None, typer.Option("--write", help="Who may write.")]
Sharers = Annotated[list[str] | None, typer.Option("--share", help="Who may share and move.")]


def access_of(
    read: list[str] | None, write: list[str] | None, share: list[str] | None
) -> dict[str, list[str]]:
    """Access rules out of the options that were given."""
    given = {"read": read, "write": write, "share": share}
    return {name: list(who) for name, who in given.items() if who}


def _ids(words: list[str] | None) -> list[str]:
    """Ids; "-" reads more of them from stdin, one a line."""
    out: list[str] = []
    for word in words or []:
        out += sys.stdin.read().split() if word == "-" else [word]
    return out


def _notes(texts: list[str] | None, old: str | None = None) -> list[Item]:
    from byheart.core.errors import UsageError
    from byheart.core.item import Item

    if any(not t.strip() for t in texts or []):
        raise UsageError("a text is empty; there is nothing to remember in it")
    return [Item(t, source="cli", trust="user", supersedes=old) for t in texts or []]


def create(
    name: Name,
    id: Annotated[
        list[str] | None, typer.Argument(help="Ids of items; - reads them from stdin.")
    ] = None,
    text: Texts = None,
    read: Readers = None,
    write: Writers = None,
    share: Sharers = None,
    expires: Annotated[str | None, typer.Option("--expires", help="Time to live: until.")] = None,
    actor: Actor = None,
    db: Db = None,
    scope: ScopeName = None,
    json: Json = False,
) -> None:
    """Make a cube of items; in Python: memory.create_cube(name, items).

    byheart memory cube create trip 01JD... --text "We fly to Lisbon." --read ben
    """
    put: list[str | Item] = [*_ids(id), *_notes(text)]
    with open_memory(db, scope, create=True, actor=actor) as memory:
        receipt = memory.create_cube(
            name, put, access=access_of(read, write, share), expires_at=expires
        )
        n = len(memory.cube(name).items)
    print_receipt(receipt, json, f"made the cube {name!r} of {n} items")


def commit(
    cube: Annotated[str, typer.Argument(help="name or name@branch.")],
    put: Annotated[list[str] | None, typer.Option("--put", help="Id of an item.")] = None,
    text: Texts = None,
    instead_of: Annotated[
        str | None, typer.Option("--instead-of", help="Id whose place the text takes.")
    ] = None,
    drop: Annotated[list[str] | None, typer.Option("--drop", help="Id that leaves it.")] = None,
    message: Message = "",
    actor: Actor = None,
    db: Db = None,
    scope: ScopeName = None,
    json: Json = False,
) -> None:
    """A new version of a cube; in Python: memory.commit(cube, put, drop).

    byheart memory cube commit trip@idea --text "We take the train." --instead-of 01JD...
    """
    from byheart.core.errors import UsageError

    if instead_of is not None and len(text or []) != 1:
        raise UsageError(f"--instead-of goes with one --text, got {len(text or [])}")
    with open_memory(db, scope, create=False, actor=actor) as memory:
        items: list[str | Item] = [*(put or []), *_notes(text, instead_of)]
        receipt = memory.commit(cube, items, drop or [], message)
        name, _, on = cube.partition("@")
        version = memory.cube(name).branches[on or "main"]
    print_receipt(receipt, json, f"{cube} is at version {version}")


def branch(
    name: Name,
    new: Annotated[str, typer.Argument(help="Of the branch.")],
    source: Annotated[str, typer.Option("--from", help="Where it begins.")] = "main",
    actor: Actor = None,
    db: Db = None,
    scope: ScopeName = None,
    json: Json = False,
) -> None:
    """Begin a branch; in Python: memory.branch(name, new).

    byheart memory cube branch trip idea
    """
    with open_memory(db, scope, create=False, actor=actor) as memory:
        receipt = memory.branch(name, new, source=source)
    print_receipt(receipt, json, f"{name}@{new} begins where {name}@{source} stands")


def merge(
    name: Name,
    source: Annotated[str, typer.Argument(help="Branch whose changes are taken.")],
    into: Annotated[str, typer.Option("--into", help="Branch that gets them.")] = "main",
    take: Annotated[
        list[str] | None,
        typer.Option(
            "--take", help="For conflicts: an id to keep, or ours or theirs for the rest."
        ),
    ] = None,
    message: Message = "",
    actor: Actor = None,
    db: Db = None,
    scope: ScopeName = None,
    json: Json = False,
) -> None:
    """Three-way merge of a branch; in Python: memory.merge(name, source). Exit 1 on conflicts.

    byheart memory cube merge trip idea --take theirs
    """
    from byheart.core.errors import MergeConflict

    with open_memory(db, scope, create=False, actor=actor) as memory:
        try:
            receipt = memory.merge(name, source, into, resolve=_resolver(take), message=message)
        except MergeConflict as conflict:
            _tell(memory, conflict, json, "--take ours, --take theirs, or --take ID for each")
            raise typer.Exit(1) from conflict
    print_receipt(receipt, json, f"merged {name}@{source} into {name}@{into}")


def _resolver(take: list[str] | None) -> Any:
    """What `resolve` of a merge means: ids first, then one side for the rest."""
    from byheart.core.errors import MergeConflict, UsageError

    sides = [t for t in take or [] if t in ("ours", "theirs")]
    ids = [t for t in take or [] if t not in ("ours", "theirs")]
    if len(sides) > 1:
        raise UsageError("--take ours and --take theirs contradict each other; give one")
    if not ids:
        return sides[0] if sides else None

    def resolve(conflict: Any) -> str | None:
        asked = [i for i in ids if i in (conflict.base, conflict.ours, conflict.theirs)]
        if len(asked) > 1:
            raise UsageError(f"--take names two versions of {conflict.key}: {', '.join(asked)}")
        if asked:
            return asked[0]
        if sides:
            kept: str | None = getattr(conflict, sides[0])
            return kept
        raise MergeConflict(
            f"--take says nothing about {conflict.key} (ours {conflict.ours}, theirs "
            f"{conflict.theirs})",
            [conflict],
        )

    return resolve


def _tell(memory: Memory, error: MergeConflict, json: bool, todo: str) -> None:
    """List conflicts, with what each side says."""
    sides = ("base", "ours", "theirs")
    rows: list[dict[str, Any]] = [
        {"key": c.key, **{s: getattr(c, s) for s in sides}}  # type: ignore[attr-defined]
        for c in error.conflicts
    ]
    texts = {i: memory.get(i).content for row in rows for s in sides if (i := row[s])}
    if json:
        print_json({"conflicts": rows, "contents": texts})
    else:
        for row in rows:
            typer.echo(f"conflict over {row['key']}")
            for side in sides:
                said = "(not there)" if row[side] is None else one_line(texts[row[side]])
                typer.echo(f"  {side:6}  {row[side] or '-'}  {said}")
    typer.secho(f"byheart: {len(rows)} conflicts, nothing was changed; give {todo}", err=True)


def compose(
    name: Annotated[str, typer.Argument(help="Of the new cube.")],
    part: Annotated[list[str], typer.Argument(help="Cubes, name or name@branch each.")],
    take: Annotated[
        str | None, typer.Option("--take", help="For conflicts: first or last of the parts.")
    ] = None,
    actor: Actor = None,
    db: Db = None,
    scope: ScopeName = None,
    json: Json = False,
) -> None:
    """A new cube out of others; in Python: memory.compose(name, parts). Exit 1 on conflicts.

    byheart memory cube compose all-trips trip-2025 trip-2026
    """
    from byheart.core.errors import MergeConflict

    with open_memory(db, scope, create=False, actor=actor) as memory:
        try:
            receipt = memory.compose(name, part, resolve=take)
        except MergeConflict as conflict:
            _tell(memory, conflict, json, "--take first or --take last")
            raise typer.Exit(1) from conflict
        n = len(memory.cube(name).items)
    print_receipt(receipt, json, f"made the cube {name!r} of {n} items")
