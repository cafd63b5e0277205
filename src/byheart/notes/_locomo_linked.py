"""Rows of the LoCoMo table for linked notes: A-MEM's own retrieval, and what byheart makes of it.

Both without a language model: rules annotate and link. The notes are the turns as the baselines
have them, without the date.
"""

from __future__ import annotations

import shutil
import tempfile
import weakref
from pathlib import Path

import numpy as np

from byheart.core.item import Item
from byheart.notes._linked_note import LinkedNote
from byheart.notes._linked_rules import SharedWords
from byheart.notes._locomo_data import Conversation
from byheart.notes._locomo_methods import Ranker, method
from byheart.notes.annotate import RuleAnnotator
from byheart.notes.linked import LinkedNotes
from byheart.notes.search import Encoder
from byheart.notes.time_expressions import parse_moment

__all__ = ["annotated", "linked", "with_links"]


def annotated(conversation: Conversation) -> list[LinkedNote]:
    """The turns as notes annotated by rules; a note's id is its position."""
    annotate = RuleAnnotator()
    return [
        LinkedNote(
            str(i), str(i), line, time := parse_moment(t.stamp),
            annotate(line, at=time, speaker=t.speaker), speaker=t.speaker,
        )
        for i, t in enumerate(conversation.turns)
        for line in (t.line(date=False),)
    ]  # fmt: skip


def linked(notes: list[LinkedNote], rows: np.ndarray, k: int = 5) -> list[list[int]]:
    """For each note, in their order, the places of those of its k nearest before it that it links.

    Args:
        notes: Annotated notes.
        rows: `[N, D]` unit vectors of their texts (Eq. 3).
        k: Neighbours (released code: 5).
    """
    link, out = SharedWords(), []
    for i, note in enumerate(notes):
        near = np.argsort(-(rows[:i] @ rows[i]), kind="stable")[:k]
        decision = link(note, [notes[j] for j in near])
        out.append([int(near[j]) for j in decision.connect])
    return out


def with_links(order: np.ndarray, links: list[list[int]], n: int) -> list[int]:
    """The first n of: each hit, then what it links to, each once (the released context string)."""
    found: dict[int, None] = {}
    for i in order.tolist():
        for j in (i, *links[i]):
            found.setdefault(j)
        if len(found) >= n:
            break
    return list(found)[:n]


@method(
    "a-mem",
    "A-MEM's retrieval, annotated and linked by rules (below the plain hybrid)",
    embeds=True,
)
def _paper(conversation: Conversation, encode: Encoder | None) -> Ranker:
    assert encode is not None
    notes = annotated(conversation)
    rows = encode([n.text for n in notes])
    links = linked(notes, rows)

    def rank(question: str) -> list[int]:
        order = np.argsort(-(rows @ encode([question])[0]), kind="stable")
        return with_links(order, links, 20)

    return rank


@method(
    "byheart-linked",
    "LinkedNotes as it is: byheart's ranking, one place in ten a link",
    embeds=True,
)
def _ours(conversation: Conversation, encode: Encoder | None) -> Ranker:
    folder = tempfile.mkdtemp(prefix="byheart-locomo-")
    notes = LinkedNotes(Path(folder) / "notes.db", encode)
    notes.write_many(
        Item(
            t.line(date=False),
            id=f"turn-{i:05d}",
            valid_from=parse_moment(t.stamp),
            labels={"thread": str(t.session), "speaker": t.speaker},
        )
        for i, t in enumerate(conversation.turns)
    )

    def rank(question: str) -> list[int]:
        found = notes.recall(question, 20)
        return [int(str(h.item.labels["note"]).removeprefix("turn-")) for h in found]

    weakref.finalize(rank, _put_away, notes, folder)
    return rank


def _put_away(notes: LinkedNotes, folder: str) -> None:
    notes.close()
    shutil.rmtree(folder, ignore_errors=True)
