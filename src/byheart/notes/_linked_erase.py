"""Erasing a note from a network: its content, the links to it, and what others learnt from it.

A model that described a neighbour anew had read the note that arrived. When that note is erased,
the neighbour goes back to what was said about it before, and the versions since are erased too.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from byheart.core.errors import AccessDenied, StoreError
from byheart.core.item import Item, new_id
from byheart.core.memory import Receipt, Selector
from byheart.notes._linked_note import LinkedNote, as_item, as_note

if TYPE_CHECKING:
    from byheart.notes.linked import LinkedNotes

__all__ = ["erase"]


def erase(
    notes: LinkedNotes, selector: Selector | str | Iterable[str], options: dict[str, Any]
) -> Receipt:
    """`LinkedNotes.erase`."""
    memory, what = notes.memory, Selector.of(selector)
    gone = {notes.root(i) for i in memory.items(what, history=True)}
    if not gone:
        done: Receipt = memory.erase(what, **options)
        return done
    chains: dict[str, list[Item]] = {}
    for item in memory.items(history=True):
        chains.setdefault(notes.root(item), []).append(item)
    current = {notes.root(i): i for i in memory.items()}
    tainted: list[str] = []
    beyond: list[str] = []
    back: list[str] = []
    told: list[str] = []
    for root, chain in chains.items():
        if root in gone:
            continue
        mine = [as_note(i) for i in chain]
        first = next((n for n, m in enumerate(mine) if m.evolved_by in gone), len(mine))
        tainted += [m.version for m in mine[first:]]
        linked = any(set(m.links) & gone for m in mine)
        if linked and any(m.annotation.by not in ("", "rules") for m in mine[:1]):
            told.append(root)
        now = current.get(root)
        if now is None or not (first < len(mine) or linked):
            continue
        before = mine[max(first, 1) - 1] if first < len(mine) else as_note(now)
        changed = _without(now, root, before, gone)
        if changed.labels == now.labels:
            continue
        try:
            memory.supersede(now.id, changed)
            back.append(root)
        except (StoreError, AccessDenied) as error:
            beyond.append(f"annotations of {root}, which cannot be changed: {error}")
            tainted = [v for v in tainted if v not in {m.version for m in mine}]
    if tainted:
        memory.erase(tainted, versions=False, **({**options, "vacuum": False, "derived": False}))
    ids = sorted({m.id for root in gone for m in chains.get(root, ())})
    receipt = memory.erase(Selector(ids=tuple(ids)), **options)
    notes.index.forget()
    if told:
        beyond.append(
            "tags of notes linked to these, which a model proposed when it had read both: "
            + ", ".join(told[:20])
        )
    reached = dict(receipt.reached)
    if back:
        reached["notes described as before"] = len(back)
    return Receipt(
        "erase", receipt.ids, receipt.seq, receipt.at, reached, (*beyond, *receipt.beyond)
    )


def _without(now: Item, root: str, before: LinkedNote, gone: set[str]) -> Item:
    links = [x for x in as_note(now).links if x not in gone]
    kept = "" if before.evolved_by in gone else before.evolved_by
    fresh = as_item(now, root, before.annotation, links, kept)
    return fresh.but(id=new_id(), recorded_at=None, supersedes=None)
