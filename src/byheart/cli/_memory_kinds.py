"""`--kind`: the same verbs over plain notes, thoughts (Think-in-Memory) and linked notes (A-MEM)."""

from __future__ import annotations

import json as json_module
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from byheart.cli._memory_options import (
    Db,
    Encoder,
    Json,
    ScopeName,
    one_line,
    open_memory,
    print_json,
)  # fmt: skip

if TYPE_CHECKING:
    from byheart.core.item import Item
    from byheart.memory import Memory

__all__ = ["KINDS", "Kind", "ModelName", "check_kind", "history", "recalled", "written"]

KINDS = ("note", "thoughts", "linked")
Kind = Annotated[
    str,
    typer.Option("--kind", help="note; thoughts: what was concluded; linked: annotated, linked."),
]
ModelName = Annotated[
    str | None,
    typer.Option("--model", help="Proposes thoughts or links, as in byheart audit; rules if left out."),
]  # fmt: skip


def check_kind(kind: str, model: str | None, **given: bool) -> None:
    """Raise where the kind is unknown, or an option does not go with it."""
    from byheart.core.errors import UnknownName, UsageError

    if kind not in KINDS:
        raise UnknownName("kind", kind, KINDS)
    if kind == "note" and model is not None:
        raise UsageError("--model goes with --kind thoughts or linked; notes are kept as they are")
    for name, there in given.items():
        if there and kind != "note":
            raise UsageError(f"--{name.replace('_', '-')} does not go with --kind {kind}")


def _over(memory: Memory, kind: str, model: str | None) -> Any:
    """Thoughts or linked notes over the memory that was opened."""
    from byheart.core.model import load

    asked = None if model is None else load(model)
    if kind == "thoughts":
        from byheart.notes import ThoughtMemory

        return ThoughtMemory(memory, model=asked)
    from byheart.notes import LinkedNotes

    return LinkedNotes(memory, model=asked)


def written(
    memory: Memory, kind: str, model: str | None, items: Sequence[Item], json: bool
) -> None:
    """Write items as thoughts or linked notes, and say what came of it."""
    items = [i for i in items if i.content.strip()]  # a message may be a picture only
    with _over(memory, kind, model) as over:
        if kind == "linked":
            made = over.write_many(items)
            if json:
                print_json([r.to_dict() for r in made])
                return
            for receipt in made:
                linked = f"  linked to {', '.join(receipt.links)}" if receipt.links else ""
                typer.echo(f"{receipt.id}{linked}")
                _rejected(receipt.rejected)
            return
        rows = []
        for question, response, first in _turns(items):
            receipt = over.post_think(
                question, response, at=first.valid_from, source=first.source, trust=first.trust,
                speaker=str(first.labels.get("speaker", "")) or None,
            )  # fmt: skip
            rows.append(receipt)
    if json:
        print_json([_thoughts(r) for r in rows])
        return
    for receipt in rows:
        for sign, thoughts in (
            ("+", receipt.inserted),
            ("+", receipt.merged),
            ("=", receipt.known),
        ):
            for thought in thoughts:
                typer.echo(f"{sign} {one_line(thought.text)}")
        for thought, why in receipt.superseded:
            typer.echo(f"- {one_line(thought.text)}  ({one_line(str(why))})")
        _rejected(receipt.rejected)
        if not (receipt.inserted or receipt.merged or receipt.known or receipt.superseded):
            typer.echo("no thought in it; the turn itself is kept", err=True)


def _rejected(reasons: Sequence[str]) -> None:
    for reason in reasons:
        typer.echo(f"rejected: {one_line(reason)}", err=True)


def _thoughts(receipt: Any) -> dict[str, Any]:
    def told(thought: Any) -> dict[str, Any]:
        return {"id": thought.id, "text": thought.text}

    return {
        "turn": receipt.turn,
        "inserted": [told(t) for t in receipt.inserted],
        "superseded": [{**told(t), "by": why} for t, why in receipt.superseded],
        "merged": [told(t) for t in receipt.merged],
        "known": [told(t) for t in receipt.known],
        "rejected": list(receipt.rejected),
    }


def _turns(items: Sequence[Item]) -> Iterator[tuple[str, str, Item]]:
    """Question, response and the item that began each turn: an assistant's words answer the ones before."""
    waiting: Item | None = None
    for item in items:
        if item.trust == "assistant" and waiting is not None:
            yield waiting.content, item.content, waiting
            waiting = None
            continue
        if waiting is not None:
            yield waiting.content, "", waiting
        waiting = item
        if item.trust == "assistant":
            yield "", item.content, item
            waiting = None
    if waiting is not None:
        yield waiting.content, "", waiting


def recalled(
    memory: Memory, kind: str, query: str, k: int, as_of: str | None, known_at: str | None
) -> Any:
    """What thoughts or linked notes answer."""
    with _over(memory, kind, None) as over:
        return over.recall(query, k, as_of=as_of, known_at=known_at)


def history(
    id: Annotated[str, typer.Argument(help="Of any version of an item.")],
    kind: Kind = "note",
    encoder: Encoder = None,
    db: Db = None,
    scope: ScopeName = None,
    json: Json = False,
) -> None:
    """Every version of an item, oldest first; in Python: memory.show(id)["versions"].

    byheart memory history 01JD... --kind linked
    """
    check_kind(kind, None)
    with open_memory(db, scope, create=False, encoder=encoder) as memory:
        if kind == "linked":
            with _over(memory, kind, None) as over:
                rows = [n.to_dict() for n in over.history(id)]
        else:
            rows = [_version(memory, v) for v in memory.show(id)["versions"]]
    if json:
        print_json(rows)
        return
    for row in rows:
        if kind == "linked":
            by = f"  evolved by {row['evolved_by']}" if row["evolved_by"] else ""
            typer.echo(f"{row['version']}{by}  {one_line(row['content'])}")
            told = {n: row[n] for n in ("keywords", "tags", "context") if row[n]}
            typer.echo("    " + one_line(json_module.dumps(told, ensure_ascii=False)))
        else:
            now = "" if row["current"] else "  (not current)"
            typer.echo(f"{row['id']}  {row['recorded_at']}{now}  {one_line(row['content'])}")


def _version(memory: Memory, id: str) -> dict[str, Any]:
    told = memory.show(id)
    return {
        **told["item"],
        "state": told["state"],
        "current": told["current"],
        "held": told["held"],
    }
