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
    made: list[Item] = []
    told: list[str] = []
    for root, chain in chains.items():
        if root in gone:
            continue
        taught = _taught(chain, gone)
        linked = any(set(as_note(i).links) & gone for i in chain)
        if linked and as_note(chain[0]).annotation.by not in ("", "rules"):
            told.append(root)
        now = current.get(root)
        if now is not None and (now.id in taught or linked):
            fresh = _without(now, root, _untaught(now, chain, taught), gone)
            if fresh.labels != now.labels:
                try:
                    memory.supersede(now.id, fresh)
                    back.append(root)
                    made.append(fresh)
                except (StoreError, AccessDenied) as error:
                    beyond.append(f"annotations of {root}, which cannot be changed: {error}")
                    continue
        tainted += [i.id for i in chain if i.id in taught]
    if tainted:
        memory.erase(tainted, **{**options, "versions": False, "vacuum": False, "derived": False})
    ids = sorted({m.id for root in gone for m in chains.get(root, ())})
    receipt = memory.erase(Selector(ids=tuple(ids)), **options)
    notes.index.forget()
    notes.index.embed(made)
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


def _taught(chain: list[Item], gone: set[str]) -> set[str]:
    """Versions whose annotations were made on reading what is erased, or build on such a version.

    Where the content changed the note was annotated anew, so nothing is handed on.
    """
    by_id = {i.id: i for i in chain}
    out: set[str] = set()
    for item in chain:
        old = by_id.get(item.supersedes or "")
        heir = old is not None and old.id in out and old.digest == item.digest
        if heir or as_note(item).evolved_by in gone:
            out.add(item.id)
    return out


def _untaught(now: Item, chain: list[Item], taught: set[str]) -> LinkedNote:
    """The newest version before those that learnt from what is erased."""
    by_id = {i.id: i for i in chain}
    while now.id in taught and now.supersedes in by_id:
        now = by_id[now.supersedes]
    return as_note(now)


def _without(now: Item, root: str, before: LinkedNote, gone: set[str]) -> Item:
    links = [x for x in as_note(now).links if x not in gone]
    kept = "" if before.evolved_by in gone else before.evolved_by
    fresh = as_item(now, root, before.annotation, links, kept)
    return fresh.but(id=new_id(), recorded_at=None, supersedes=None)
