"""A-MEM: notes that are annotated, linked to related notes, and described anew as others arrive.

Xu et al., *A-MEM: Agentic Memory for LLM Agents*, NeurIPS 2025, arXiv 2502.12110. Every note gets
keywords, tags and a sentence of context (Eq. 2); it is embedded together with them (Eq. 3), linked
to some of its nearest notes (Eq. 4-6), and may change how those are described (Eq. 7). A model, if
there is one, only proposes; without one, rules annotate and link, and say so.

What evolves is a new version in the store with the same content and time: `history` shows all of
them, `undo` restores the one before bit for bit. Links are ids of first versions.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from typing import Any

import numpy as np

from byheart.core.errors import (
    AccessDenied,
    ByheartError,
    CorruptStore,
    ModelError,
    StoreBusy,
    StoreError,
    UsageError,
)
from byheart.core.item import Item, Scope, new_id
from byheart.core.memory import Receipt, Selector
from byheart.core.model import Model
from byheart.notes._as_one import as_one
from byheart.notes._linked_decision import Change, Decision, Linker, checked
from byheart.notes._linked_erase import erase as erase_notes
from byheart.notes._linked_index import DIGITS, StoreIndex
from byheart.notes._linked_model import CallEach, ModelAnnotator, OneCall
from byheart.notes._linked_note import (
    LinkedNote,
    LinkReceipt,
    as_item,
    as_note,
    passages,
    root_of,
)
from byheart.notes._linked_open import as_new_item, opened, takes
from byheart.notes._linked_reading import ReadMethods
from byheart.notes._linked_recall import LinkedHit
from byheart.notes._linked_rules import SharedWords
from byheart.notes._proposals import Invalid, note_rejection
from byheart.notes.annotate import Annotation, Annotator, RuleAnnotator

__all__ = [
    "CallEach",
    "Change",
    "Decision",
    "LinkReceipt",
    "LinkedHit",
    "LinkedNote",
    "LinkedNotes",
    "Linker",
    "ModelAnnotator",
    "OneCall",
    "SharedWords",
]


class LinkedNotes(ReadMethods):
    """A memory of annotated and linked notes over any store (A-MEM).

    A note's entry is one write; each neighbour that evolves is one more, a superseding version
    with the same content and time. Model calls come first: if one fails, nothing was written.

    Args:
        store: A path, a `byheart.Memory` (its file is opened once more, with the encoder below),
            or anything that passes `byheart.core.checks.check_memory`.
        encoder: As in `byheart.Memory` (paper: all-MiniLM-L6-v2, ``"minilm"``). None takes that of
            the memory given; where it has none, neighbours are found by words.
        model: Annotates and links: 2 calls a note (1 for the first), and one more for each reply
            that has to be repaired. None leaves both to rules.
        neighbours: k of Eq. 5, how many near notes a new one is compared with (released code: 5).
        evolve: Whether a new note may change its neighbours' annotations (Eq. 7).
        scope: Whose, where a path is opened.
        annotator: In place of the model's or the rules'; see `byheart.notes.annotate.Annotator`.
        linker: In place of the model's (`OneCall`; `CallEach` is the paper's form) or the rules'
            (`SharedWords`); see `Linker`.

    Raises:
        UsageError: The store is none, or `neighbours` is below 1.
        CapabilityError: The model cannot be sampled.
        MissingExtra: yake, PyStemmer or the encoder's package is not installed.

    >>> import tempfile
    >>> from pathlib import Path
    >>> notes = LinkedNotes(Path(tempfile.mkdtemp()) / "agent.db", scope="acme/ana")
    >>> first = notes.write("Ana: I adopted a puppy from the shelter in Porto", at="2023-05-08")
    >>> second = notes.write("Ana: The puppy from the shelter chewed my shoes", at="2023-06-01")
    >>> first.note.keywords[:2], second.links == (first.id,)
    (('Porto', 'adopted'), True)
    >>> [hit.item.content for hit in notes.recall("Where is the puppy from?", k=1)]
    ['Ana: I adopted a puppy from the shelter in Porto']
    >>> notes.close()
    """

    def __init__(
        self,
        store: Any,
        encoder: str | Callable[[list[str]], Any] | None = None,
        model: Model | None = None,
        neighbours: int = 5,
        evolve: bool = True,
        *,
        scope: Scope | str | Mapping[str, str] | None = None,
        annotator: Annotator | None = None,
        linker: Linker | Callable[..., Any] | None = None,
    ) -> None:
        if isinstance(neighbours, bool) or not isinstance(neighbours, int) or neighbours < 1:
            raise UsageError(f"neighbours must be a whole number of at least 1, got {neighbours!r}")
        if model is not None:
            model.require("sample", purpose="annotating and linking notes")
        self.model, self.neighbours, self.evolve = model, neighbours, evolve
        self.annotator: Annotator = annotator or (
            RuleAnnotator() if model is None else ModelAnnotator(model)
        )
        self.linker: Any = linker or (SharedWords() if model is None else OneCall(model))
        self._tells_store = takes(self.linker, "store")
        self.memory, self.index, self._mine = opened(store, scope, encoder)

    # ---------------------------------------------------------------- writing

    def write(
        self,
        what: str | Item | Mapping[str, Any],
        *,
        at: datetime | date | str | float | None = None,
        **fields: Any,
    ) -> LinkReceipt:
        """Keep a note: annotated, linked, its neighbours perhaps described anew.

        Args:
            what: Text, an `Item`, or its fields as a mapping. "Name: ..." in front, or
                ``labels={"speaker": ...}``, names the speaker.
            at: When it was said: its `valid_from`. Also as people write it: "1:56 pm on 8 May 2023".
            fields: Of the item: `source`, `trust`, `labels` ...

        Returns:
            The note, its links, what evolved, and what was rejected.

        Raises:
            UsageError: An empty text, or an id that is there with other content.
            ModelError: The model or the encoder failed; nothing was written.
        """
        return self._flush([self._planned(as_new_item(what, at, fields), [])])[0]

    def write_many(
        self, what: Iterable[str | Item | Mapping[str, Any]], **fields: Any
    ) -> list[LinkReceipt]:
        """Keep notes one after the other, each compared with those before it as well.

        Rules annotate all of them first, and they are embedded in one batch; notes that no
        evolution interrupts share one commit. If a model fails half-way, the notes before are kept
        whole and the error says how many.

        Args:
            what: As in `write`; a note's own time is the `valid_from` of its item.
            fields: Of every item, `at` included.

        Raises:
            ModelError: As in `write`.
        """
        at = fields.pop("at", None)
        items = [as_new_item(w, at, fields) for w in what]
        ready: dict[str, tuple[Annotation, int, tuple[str, ...]]] = {}
        if isinstance(self.annotator, RuleAnnotator) and items:
            ready = {i.id: self._annotated(i) for i in items}
            if self.index.memo is not None:
                self.index.memo(
                    [p for i in items for p in passages(as_item(i, i.id, ready[i.id][0], ()))]
                )
        batches = isinstance(self.index, StoreIndex) and self.index.memo is not None
        waiting: list[_Plan] = []
        done: list[LinkReceipt] = []
        for item in items:
            if item.id in {p.item.id for p in waiting}:
                done += self._flush(waiting)
                waiting = []
            try:
                plan = self._planned(item, waiting, ready.get(item.id))
            except ModelError as error:
                done += self._flush(waiting)
                raise type(error)(
                    f"{error}. {len(done)} of {len(items)} notes were kept; go on from there"
                ) from error
            waiting.append(plan)
            if plan.changes or not batches or len(waiting) >= 256:
                done += self._flush(waiting)
                waiting = []
        return [*done, *self._flush(waiting)]

    def _annotated(self, item: Item) -> tuple[Annotation, int, tuple[str, ...]]:
        note = as_note(item)
        if isinstance(self.annotator, ModelAnnotator):
            return self.annotator.ask(
                item.content, at=item.valid_from, speaker=note.speaker, store=self.memory,
                about=[item.id],
            )  # fmt: skip
        found = self.annotator(item.content, at=item.valid_from, speaker=note.speaker)
        if not isinstance(found, Annotation):
            raise UsageError(f"an annotator returns an Annotation, got {type(found).__name__}")
        return found, 0, ()

    def _planned(
        self, item: Item, waiting: Sequence[_Plan],
        ready: tuple[Annotation, int, tuple[str, ...]] | None = None,
    ) -> _Plan:  # fmt: skip
        """Everything that is asked and computed for a note; nothing is written."""
        there = self._there(item)
        if there is not None:
            return _Plan(there, there.item or item, again=True)
        annotation, calls, rejected = ready or self._annotated(item)
        item = as_item(item, item.id, annotation, ())
        note = as_note(item)
        near = self._near(note, waiting)
        decision = Decision()
        if near:
            decision, why = self._decided(note, near)
            calls, rejected = calls + decision.calls, (*rejected, *why)
        if decision.tags is not None:
            annotation = replace(annotation, tags=decision.tags)
        links = tuple(near[i].id for i in decision.connect)
        final = as_item(item, item.id, annotation, links)
        changes = []
        for i, change in sorted(decision.changes.items()) if self.evolve else ():
            new = _changed(near[i].annotation, change, self._author())
            if new is not None:
                changes.append((near[i], new))
        return _Plan(as_note(final), final, changes, rejected, calls)

    def _near(self, note: LinkedNote, waiting: Sequence[_Plan]) -> list[LinkedNote]:
        """M_near of Eq. 5: the k nearest, among them notes that wait to be written."""
        found = [(as_note(i), s) for i, s in self.index.nearest(note.text, self.neighbours)]
        if waiting and self.index.memo is not None:
            rows = self.index.memo([note.text, *(p.note.text for p in waiting)])
            rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
            found += list(
                zip((p.note for p in waiting), map(float, rows[1:] @ rows[0]), strict=True)
            )
            found.sort(key=lambda f: -round(f[1], DIGITS))
        return [self._rooted(n) for n, _ in found if n.id != note.id][: self.neighbours]

    def _decided(
        self, note: LinkedNote, near: list[LinkedNote]
    ) -> tuple[Decision, tuple[str, ...]]:
        """The linker's decision, or none and why."""
        told = {"store": self.memory} if self._tells_store else {}
        found = self.linker(note, near, **told)
        try:
            decision = checked(found, len(near))
        except Invalid as error:
            about = [note.version, *(n.version for n in near)]
            if hasattr(getattr(self.memory, "store", self.memory), "note"):
                note_rejection(self.memory, "link and evolve", str(error), about=about)
            return Decision(), (f"link and evolve: {error}",)
        return decision, tuple(decision.rejected)

    def _author(self) -> str:
        return "rules" if self.model is None else self.model.name

    def _flush(self, plans: Sequence[_Plan]) -> list[LinkReceipt]:
        """Write what was planned, as a whole where the memory has transactions."""
        with as_one(self.memory):
            out, items = self._written(plans)
        if items:
            self.index.embed(items)
        return out

    def _written(self, plans: Sequence[_Plan]) -> tuple[list[LinkReceipt], list[Item]]:
        """Receipts, and the items to be embedded; the last plan may change neighbours."""
        fresh = [p for p in plans if not p.again]
        steps: list[Receipt] = []
        if fresh:
            written = self.memory.write([p.item for p in fresh])
            steps = _each(written, len(fresh))
        out = []
        items = [p.item for p in fresh]
        own = iter(steps)
        for plan in plans:
            if plan.again:
                out.append(LinkReceipt(plan.note, plan.note.links))
                continue
            mine = [next(own)]
            evolved, refused = self._evolved(plan, mine)
            items += [n.item for n in evolved if n.item is not None]
            ids = tuple(n.id for n in evolved)
            why = (*plan.rejected, *refused)
            out.append(LinkReceipt(plan.note, plan.note.links, ids, why, plan.calls, tuple(mine)))
        return out, items

    def _evolved(
        self, plan: _Plan, steps: list[Receipt]
    ) -> tuple[list[LinkedNote], tuple[str, ...]]:
        """Supersede the neighbours; one that somebody changed or froze meanwhile stays."""
        done, refused = [], []
        for old, annotation in plan.changes:
            assert old.item is not None
            before = old.item if old.item.valid_from else self.memory.get(old.version)
            new = as_item(before, old.id, annotation, old.links, plan.note.id)
            new = new.but(
                id=new_id(), valid_from=before.valid_from or before.recorded_at, recorded_at=None,
                supersedes=None,
            )  # fmt: skip
            try:
                steps.append(self.memory.supersede(old.version, new))
            except (StoreError, AccessDenied) as error:
                if isinstance(error, CorruptStore | StoreBusy):
                    self._take_back(steps)
                    raise
                refused.append(f"{old.id} was not evolved: {error}")
                continue
            done.append(as_note(new))
        return done, tuple(refused)

    def _take_back(self, steps: Sequence[Receipt]) -> None:
        """After a failure half-way: nothing of the call stays."""
        for step in reversed(steps):
            with contextlib.suppress(ByheartError):  # the failure itself is what is raised
                self.memory.undo(step)

    def supersede(self, id: str, what: str | Item, **fields: Any) -> Receipt:
        """Put another content in the place of a note's; annotated anew, its links stay.

        Args:
            id: Of the note, any version.
            what: The new text or item; its `valid_from` is since when it holds, now if left out.
            fields: Of the item.
        """
        old = self.get(id)
        item = as_new_item(what, fields.pop("at", None), fields)
        annotation, _, _ = self._annotated(item)
        assert old.item is not None
        labels = {**old.item.labels, **item.labels}
        new = as_item(item.but(labels=labels), old.id, annotation, old.links)
        receipt: Receipt = self.memory.supersede(old.version, new)
        self.index.embed([new])
        return receipt

    def undo(self, what: LinkReceipt | Receipt | int) -> Receipt:
        """Take a note back with all that its arrival changed; every note is then as it was before.

        Args:
            what: What `write` returned; or a receipt or number in the log, as the store takes it.

        Raises:
            StoreError: Something later builds on it: a note links to it, or a neighbour evolved
                again. Undo that first; nothing was undone.
        """
        if not isinstance(what, LinkReceipt):
            done: Receipt = self.memory.undo(what)
            return done
        if not what.steps:
            raise UsageError("this call changed nothing, so there is nothing to undo")
        made = {s.ids[-1] for s in what.steps}
        now = {self.get(i).version for i in (what.id, *what.evolved)}
        if now - made:
            raise StoreError(
                f"{sorted(now - made)[0]} came after note {what.id}; undo that version first"
            )
        for item in self.memory.items():
            if what.id in as_note(item).links:
                raise StoreError(
                    f"note {root_of(item)} links to {what.id}; undo that note first, or erase"
                )
        steps: list[Receipt] = []
        whole = False
        try:
            with as_one(self.memory) as whole:
                for step in reversed(what.steps):
                    steps.append(self.memory.undo(step))
        except ByheartError:
            if not whole:
                self._take_back(steps)
            raise
        last = steps[-1]
        seq = None if steps[0].seq is None or last.seq is None else (steps[0].seq[0], last.seq[1])
        return Receipt("undo", (what.id, *what.evolved), seq, last.at)

    def erase(self, selector: Selector | str | Iterable[str], **options: bool) -> Receipt:
        """Remove notes for good: content, every version, the links to them, what they taught.

        A neighbour that a model described anew on reading an erased note goes back to what was
        said about it before; the versions since are erased too.

        Args:
            selector: Ids (of any version) or a `Selector`.
            options: As in `byheart.Memory.erase`.
        """
        return erase_notes(self, selector, dict(options))

    def close(self) -> None:
        """Close what was opened here."""
        if self._mine:
            self.memory.close()

    def __enter__(self) -> LinkedNotes:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@dataclass
class _Plan:
    """A note that is ready to be written, and what is to change with it."""

    note: LinkedNote
    item: Item
    changes: list[tuple[LinkedNote, Annotation]] = field(default_factory=list)
    rejected: tuple[str, ...] = ()
    calls: int = 0
    again: bool = False


def _changed(old: Annotation, change: Change, by: str) -> Annotation | None:
    """The annotation after a change, or None if nothing is different."""
    new = replace(
        old,
        context=old.context if change.context is None else change.context,
        tags=old.tags if change.tags is None else change.tags,
        keywords=old.keywords if change.keywords is None else change.keywords,
    )
    return None if new == old else replace(new, by=by)


def _each(written: Receipt, n: int) -> list[Receipt]:
    """One receipt an item of a write of several: their entries are the last n of the call."""
    if n == 1 or written.seq is None:
        return [written] * n
    last = written.seq[1]
    return [
        Receipt(written.action, (id,), (last - n + 1 + i,) * 2, written.at)
        for i, id in enumerate(written.ids)
    ]
