"""A folder of Markdown files and a memory, compared: what is new, edited, as it was, or missing."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from byheart.core.errors import DataError, FrozenError, MergeConflict, UsageError
from byheart.core.item import Item, canonical
from byheart.core.memory import Conflict, Receipt, Selector
from byheart.stores._okf import Link, Note
from byheart.stores._schema import FOREVER
from byheart.stores.exchange import VERSION, import_lines
from byheart.stores.files import FileStore

if TYPE_CHECKING:
    from byheart.stores._store import Store

__all__ = ["export_folder", "import_folder"]


def export_folder(
    store: Store, folder: Path, selector: Selector | None, *, history: bool, cube: str | None
) -> int:
    """Write a memory's items as Markdown files; returns how many. See `FileStore.write`."""
    if cube is not None and selector is not None:
        raise UsageError("a cube and a selector contradict each other; give one")
    some = store.cube_items(cube) if cube is not None else store.items(selector, history=history)
    items = {i.id: i for i in some}
    states, ends, links = _facts(store)
    if cube is None:  # what was undone or is of a branch only never came to hold
        held = {i for i in items if i in ends}
        todo = list(held)
        while todo:
            old = items[todo.pop()].supersedes
            if old in items and old not in held:
                held.add(old)
                todo.append(old)
        items = {i: item for i, item in items.items() if i in held}
    notes = []
    for id, item in items.items():
        state = states.get(id, "Generated")
        lasts = cube is not None or ends.get(id, 0) > store._now()
        stable = lasts and state not in ("Archived", "Expired")
        mine = tuple(x for x in links.get(id, ()) if x.to in states)
        notes.append(Note(item, "", state, "stable" if stable else "deprecated", mine))

    def note() -> object:
        return store.note("export", body={"to": str(folder), "cube": cube or ""})

    name = _name(folder)
    FileStore(folder).write(notes, saved=lambda n: _kept(store, n, name), before=note)
    return len(notes)


def _facts(store: Store) -> tuple[dict[str, str], dict[str, int], dict[str, list[Link]]]:
    """Of items that the caller may see: states, until when each is thought to hold, links from it."""
    links: dict[str, list[Link]] = {}
    with store._c.reading() as conn:
        seen = f"{store._in_scope(conn, 'i.scope')} AND {store._allowed(conn, 'i')}"
        states = dict(conn.execute(f"SELECT i.id, i.state FROM items i WHERE {seen}").fetchall())
        rows = conn.execute(
            f"SELECT i.id, max(s.valid_to) FROM items i JOIN spans s ON s.row = i.row WHERE {seen}"
            " AND s.known_to = ? GROUP BY i.id",
            (FOREVER,),
        ).fetchall()
        for a, b, label, weight in conn.execute(
            f"SELECT a, b, label, weight FROM links WHERE {store._in_scope(conn, 'scope')}"
            " ORDER BY seq"
        ).fetchall():
            links.setdefault(a, []).append(Link(b, label, weight))
    return states, dict(rows), links


def _name(folder: Path) -> str:
    """What stands before the ids of files that have none: the folder's own name."""
    return "".join(c for c in folder.resolve().name if c.isprintable())[:60] or "folder"


def _own_id(note: Note, name: str) -> str:
    """The id under which a file is known: its own, or where it lies (the format's concept id)."""
    if note.own_id:
        return note.item.id
    id = f"{name}/{note.path.removesuffix('.md')}"
    if len(id) > 180 or not id.isprintable():
        id = f"{name}/{hashlib.sha256(note.path.encode()).hexdigest()[:32]}"
    return id


def _edition(base: str, item: Item) -> str:
    """The id of an edited file: the same edit has the same, so it can be imported again."""
    told = {k: v for k, v in item.to_dict().items() if k not in ("id", "recorded_at", "scope")}
    digest = hashlib.sha256((base + canonical(told)).encode()).hexdigest()[:12]
    return f"{base[:180]}~{digest}"


def _kept(store: Store, note: Note, name: str) -> str | None:
    """Under which id a file that was edited or added by hand is in the memory; None if it is not."""
    base = _own_id(note, name)
    for id in (_edition(base, note.item), base):
        known = _there(store, [id]).get(id)
        if known is not None and (id != base or (not note.own_id and _same(store, id, note.item))):
            return id
    return None


def _there(store: Store, ids: list[str]) -> dict[str, str]:
    """Id to digest, of those that are in the handle's scope and the caller may see."""
    out: dict[str, str] = {}
    with store._c.reading() as conn:
        seen = f"{store._in_scope(conn, 'i.scope')} AND {store._allowed(conn, 'i')}"
        for begin in range(0, len(ids), 500):
            some = ids[begin : begin + 500]
            marks = ",".join("?" * len(some))
            out |= dict(
                conn.execute(
                    f"SELECT i.id, i.digest FROM items i WHERE i.id IN ({marks}) AND {seen}", some
                ).fetchall()
            )
    return out


def _same(store: Store, id: str, item: Item) -> bool:
    """Whether an item is what a file without a seal says; what the file leaves open does not count."""
    old = store.get(id)
    return all(
        getattr(old, n) == getattr(item, n)
        for n in ("content", "kind", "blob", "trust", "source", "parents", "labels", "valid_to",
                  "expires_at")
    ) and item.valid_from in (None, old.valid_from)  # fmt: skip


@dataclass
class _Plan:
    """What an import will do; `states` are those of the memory's items."""

    states: dict[str, str]
    lines: dict[str, dict[str, Any]] = field(default_factory=dict)
    new: int = 0
    edited: int = 0
    unchanged: int = 0
    kept: list[str] = field(default_factory=list)
    ids: dict[str, str] = field(default_factory=dict)  # path to id
    fresh: set[str] = field(default_factory=set)  # paths whose text may hold new links
    conflicts: list[Conflict] = field(default_factory=list)


def import_folder(store: Store, folder: Path, *, take: str | None = None) -> Receipt:
    """Take in a folder, all of it or nothing.

    A file that was edited supersedes its item, a new file is written, a missing one is reported and
    its item stays. The same folder can be imported again: nothing is written twice.

    Args:
        store: Opened for the scope that gets them.
        folder: In the Open Knowledge Format.
        take: Where a file was edited and its item superseded here: ``"files"`` or ``"memory"`` wins.

    Raises:
        DataError: A file cannot be used; with line and column.
        MergeConflict: See `take`.
        FrozenError: An edited file's item is frozen.
    """
    if take not in (None, "files", "memory"):
        raise UsageError(f'take must be "files" or "memory", got {take!r}')
    files = FileStore(folder)
    notes, name = files.read(), _name(folder)
    known = _there(store, sorted({_own_id(n, name) for n in notes}))
    known |= _there(
        store, sorted({_edition(_own_id(n, name), n.item) for n in notes if not n.intact})
    )
    states, _, linked = _facts(store)
    plan = _Plan(states=states)
    for note in notes:
        _decide(store, note, _own_id(note, name), known, plan, take, folder)
    if plan.conflicts:
        raise MergeConflict(
            f"{len(plan.conflicts)} items were edited in {folder} and superseded in the memory: "
            + "; ".join(f"{c.key} ({c.theirs}, memory has {c.ours})" for c in plan.conflicts[:5])
            + '; nothing was imported. Say take="files" or take="memory"',
            plan.conflicts,
        )
    links = list(_links(store, notes, plan, known, linked))
    olds = {r["item"]["supersedes"] for r in plan.lines.values() if "supersedes" in r["item"]}
    there = {*_there(store, sorted(olds)), *plan.lines}
    for row in plan.lines.values():
        if row["item"].get("supersedes") not in there:  # it is not part of this folder
            row["item"].pop("supersedes", None)
    rows = [{"item": r["item"], **r["more"]} for r in _in_order(plan.lines)]
    lines = [canonical(r) for r in ({"byheart": "memory", "version": VERSION}, *rows, *links)]
    made = import_lines(store, lines, str(folder))
    missing = _missing(files, notes)
    reached = {
        "new": plan.new, "edited": plan.edited, "unchanged": plan.unchanged, "links": len(links),
        "missing": len(missing),
    }  # fmt: skip
    return Receipt(
        "import", tuple(plan.lines), made.seq, made.at, reached, (*missing, *plan.kept)
    )  # fmt: skip


def _decide(
    store: Store, note: Note, base: str, known: dict[str, str], plan: _Plan, take: str | None,
    folder: Path,
) -> None:  # fmt: skip
    """What one file means for the memory."""
    item, place = note.item, folder / note.path
    plan.ids[note.path] = base
    if base not in known:
        if note.intact is False:  # the item it was made of is not here
            item = item.but(id=_edition(base, item))
            if item.id in known:
                plan.ids[note.path], plan.unchanged = item.id, plan.unchanged + 1
                return
        plan.ids[note.path] = item.id if note.own_id else base
        _add(plan, item.but(id=plan.ids[note.path]), note)
        plan.new += 1
        return
    if note.intact:
        if known[base] != item.digest:
            raise DataError(f"{place}: the id {base!r} is in this memory with other content")
        plan.unchanged += 1
        if note.state != (state := plan.states[base]):
            plan.kept.append(f"{note.path} says {note.state}; the item is {state} and stays so")
        return
    edition = _edition(base, item)
    plan.ids[note.path] = edition
    if edition in known or (note.intact is None and _same(store, base, item)):
        plan.ids[note.path] = edition if edition in known else base
        plan.unchanged += 1
        return
    told = store.show(base)
    head = base
    for id in reversed(told["versions"]):
        if store.show(id)["current"]:
            head = id
            break
    mine = head == base or re.fullmatch(re.escape(base[:180]) + "~[0-9a-f]{12}", head)
    now = store.show(head)
    if not (mine and now["current"]):
        if take == "memory":
            plan.kept.append(f"{note.path} was edited; the memory's version was kept")
            plan.ids[note.path] = head
            return
        if take is None or not now["current"]:
            plan.conflicts.append(Conflict(base, base, head if now["current"] else None, note.path))
            return
    if now["state"] in ("Frozen", "Expired"):
        raise FrozenError(f"{place} was edited, and its item {head} is {now['state']}")
    old = store.get(base)
    # where the item began when it was recorded, the edit holds from now on
    begin = (
        None if item.valid_from in (None, old.recorded_at, item.recorded_at) else item.valid_from
    )
    _add(plan, item.but(id=edition, supersedes=head, valid_from=begin), note)
    plan.edited += 1


def _add(plan: _Plan, item: Item, note: Note) -> None:
    if item.id in plan.lines:
        raise DataError(
            f"{note.path} says the same as another file of the id {item.id!r}; remove one"
        )
    told = item.but(recorded_at=None).to_dict()
    more = {} if note.state == "Generated" else {"state": note.state}
    if note.intact is False and item.supersedes is not None:
        more = {}  # an edition begins its own life
    plan.lines[item.id] = {"item": told, "more": more}
    if not note.intact:
        plan.fresh.add(note.path)


def _in_order(lines: dict[str, dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Items behind what they supersede."""
    done: set[str] = set()
    for first in list(lines):
        chain, id = [], first
        while id in lines and id not in done:
            done.add(id)
            chain.append(lines[id])
            id = lines[id]["item"].get("supersedes", "")
        yield from reversed(chain)


def _links(
    store: Store,
    notes: list[Note],
    plan: _Plan,
    known: dict[str, str],
    linked: dict[str, list[Link]],
) -> Iterator[dict[str, Any]]:
    """Links that the memory does not have yet: of front matter, and of texts that are new."""
    there = {*known, *plan.lines}
    wanted = sorted({x.to for n in notes for x in n.links} - there)
    there |= set(_there(store, wanted))
    own = {n.item.id: plan.ids[n.path] for n in notes if n.own_id}
    for note in notes:
        a = plan.ids[note.path]
        links = [Link(x.to if x.to in there else own.get(x.to, x.to), x.label, x.weight)
                 for x in note.links]  # fmt: skip
        if note.path in plan.fresh:
            targets = [plan.ids[t] for t in note.targets if t in plan.ids and t != note.path]
            told = {own.get(x.to, x.to) for x in links} | {x.to for x in links}
            links += [Link(b) for b in targets if b not in told]
        have = {(x.to, x.label) for x in linked.get(a, ())}
        for link in links:
            if link.to in there and a in there and (link.to, link.label) not in have:
                yield {
                    "link": {"from": a, "to": link.to, "label": link.label, "weight": link.weight}
                }


def _missing(files: FileStore, notes: list[Note]) -> list[str]:
    ids = {n.item.id for n in notes if n.own_id}
    return [
        f"{path} is missing; its item {id} stays. To remove it: byheart memory erase {id}"
        for id, path in files.manifest().items()
        if id not in ids
    ]
