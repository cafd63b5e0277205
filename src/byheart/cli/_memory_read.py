"""`byheart memory recall, as-of, show, log, diff`: what reads a memory."""

from __future__ import annotations

import json as json_module
from typing import Annotated

import typer

from byheart.cli._memory_kinds import Kind, check_kind, recalled
from byheart.cli._memory_options import (
    AsOf,
    Cube,
    Db,
    Encoder,
    Json,
    K,
    KnownAt,
    Prompt,
    Ranker,
    ScopeName,
    one_line,
    open_memory,
    print_json,
)  # fmt: skip

__all__ = ["as_of", "diff", "log", "recall", "show"]


def recall(
    query: Annotated[str, typer.Argument(help="A question or some words.")],
    k: K = 10,
    as_of: AsOf = None,
    known_at: KnownAt = None,
    cube: Cube = None,
    prompt: Prompt = False,
    encoder: Encoder = None,
    ranker: Ranker = None,
    kind: Kind = "note",
    db: Db = None,
    scope: ScopeName = None,
    json: Json = False,
) -> None:
    """Find items again; in Python: memory.recall(query, k).

    byheart memory recall "Where does Ana live?" --as-of 2024-06-01

    byheart memory recall "Where does Ana live?" --prompt
    """
    from byheart.core.errors import UsageError

    if prompt and json:
        raise UsageError("--prompt and --json contradict each other; give one")
    check_kind(kind, None, cube=cube is not None, ranker=ranker is not None)
    with open_memory(db, scope, create=False, encoder=encoder, ranker=ranker) as memory:
        if kind == "note":
            hits = memory.recall(query, k, as_of=as_of, known_at=known_at, cube=cube)
        else:
            hits = recalled(memory, kind, query, k, as_of, known_at)
    if json:
        print_json([h.to_dict() for h in hits])
    elif prompt:
        typer.echo(hits.to_prompt())
    elif not hits:
        typer.echo("nothing found", err=True)
    else:
        for hit in hits:
            item = hit.item
            since = item.valid_from or item.recorded_at
            typer.echo(f"{hit.score:.3f}  {item.id}  {since:%Y-%m-%d}  {item.trust}  {item.source}")
            typer.echo("       " + one_line(item.content))


def as_of(
    when: Annotated[str, typer.Argument(help="2026-03-01, or with a time.")],
    query: Annotated[str, typer.Argument(help="A question or some words.")],
    k: K = 10,
    known_at: KnownAt = None,
    prompt: Prompt = False,
    encoder: Encoder = None,
    ranker: Ranker = None,
    db: Db = None,
    scope: ScopeName = None,
    json: Json = False,
) -> None:
    """What held at a time; in Python: memory.recall(query, as_of=when)."""
    recall(
        query, k=k, as_of=when, known_at=known_at, prompt=prompt, encoder=encoder, ranker=ranker,
        db=db, scope=scope, json=json,
    )  # fmt: skip


def show(
    id: Annotated[str, typer.Argument(help="Of an item.")],
    db: Db = None,
    scope: ScopeName = None,
    json: Json = False,
) -> None:
    """An item with its history; in Python: memory.show(id)."""
    with open_memory(db, scope, create=False) as memory:
        told = memory.show(id)
    if json:
        print_json(told)
        return
    for name, value in told["item"].items():
        typer.echo(f"{name}: {one_line(str(value)) if name != 'content' else one_line(value)}")
    typer.echo(f"state: {told['state']}" + ("" if told["current"] else " (not current)"))
    for span in told["held"]:
        known = f"known {span['known_from']} to {span['known_to'] or 'now'}"
        typer.echo(f"valid {span['valid_from']} to {span['valid_to'] or 'open'}, {known}")
    typer.echo("versions: " + ", ".join(told["versions"]))
    for entry in told["log"]:
        typer.echo(f"log {entry['seq']}  {entry['at']}  {entry['kind']}  by {entry['actor']}")


def log(
    kind: Annotated[str | None, typer.Option("--kind", help="write, supersede, erase ...")] = None,
    id: Annotated[str | None, typer.Option("--id", help="Only of this item.")] = None,
    actor: Annotated[str | None, typer.Option("--actor", help="Only by this caller.")] = None,
    since: Annotated[str | None, typer.Option("--since", help="Recorded at or after.")] = None,
    until: Annotated[str | None, typer.Option("--until", help="Recorded before.")] = None,
    db: Db = None,
    scope: ScopeName = None,
    json: Json = False,
) -> None:
    """The log, oldest first; in Python: memory.log(...). With --json one line an entry."""
    with open_memory(db, scope, create=False) as memory:
        for event in memory.log(kind=kind, subject=id, actor=actor, since=since, until=until):
            if json:
                typer.echo(json_module.dumps(event.to_dict(), ensure_ascii=False))
                continue
            content = "" if event.body is None else one_line(str(event.body.get("content", "")))
            at = event.at.isoformat(timespec="seconds")
            typer.echo(f"{event.seq}  {at}  {event.kind}  {event.subject}  {content}".rstrip())


def diff(
    before: Annotated[str, typer.Argument(help="The earlier time.")],
    after: Annotated[str | None, typer.Argument(help="The later; now if left out.")] = None,
    clock: Annotated[str, typer.Option("--clock", help="recorded or valid.")] = "recorded",
    db: Db = None,
    scope: ScopeName = None,
    json: Json = False,
) -> None:
    """What changed between two times; in Python: memory.diff(before, after)."""
    with open_memory(db, scope, create=False) as memory:
        found = memory.diff(before, after, clock=clock)
    if json:
        out = {k: [i.to_dict() for i in found[k]] for k in ("added", "removed")}
        print_json({**out, "changed": [[a.to_dict(), b.to_dict()] for a, b in found["changed"]]})
        return
    for sign, items in (("+", found["added"]), ("-", found["removed"])):
        for item in items:
            typer.echo(f"{sign} {item.id}  {one_line(item.content)}")
    for old, new in found["changed"]:
        typer.echo(f"~ {new.id}  {one_line(old.content)}  ->  {one_line(new.content)}")
