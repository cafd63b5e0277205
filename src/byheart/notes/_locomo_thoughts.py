"""Rows of the LoCoMo table for thoughts: beside their turns, beside the plain hybrid, and alone.

Without a language model: rules extract. A thought that is found stands for the turns it came from.
"""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from byheart.core.item import Item
from byheart.notes._locomo_data import Conversation
from byheart.notes._locomo_methods import Ranker, _bm25, _dense, _scaled, as_notes, method
from byheart.notes._thought import Thought
from byheart.notes._thought_rules import extract_thoughts
from byheart.notes.search import Encoder, Note, NoteSearch
from byheart.notes.thoughts import ThoughtMemory
from byheart.notes.time_expressions import parse_moment

__all__ = ["thoughts_of"]


def thoughts_of(conversation: Conversation, *, rest: bool = False) -> list[tuple[int, Thought]]:
    """Positions of turns with the thoughts extracted from them."""
    return [
        (i, thought)
        for i, t in enumerate(conversation.turns)
        for thought in extract_thoughts(
            t.text, speaker=t.speaker, said=parse_moment(t.stamp), rest=rest
        )
    ]


@method("tim", "byheart's search, the thoughts of a turn as further passages of it", embeds=True)
def _beside_turns(conversation: Conversation, encode: Encoder | None) -> Ranker:
    by_turn = {
        i: tuple(t.text for _, t in group)
        for i, group in groupby(thoughts_of(conversation), key=lambda p: p[0])
    }
    notes = [
        Note(n.id, n.text, n.speaker, n.time, n.session, n.order, n.attached + by_turn.get(i, ()))
        for i, n in enumerate(as_notes(conversation))
    ]
    search = NoteSearch(notes, encode=encode)
    return lambda question: [int(m.note.id) for m in search.search(question, 20)]  # type: ignore[call-overload]


@method("tim-hybrid", "hybrid+date, the nearest thought of a turn beside its line", embeds=True)
def _beside_hybrid(conversation: Conversation, encode: Encoder | None) -> Ranker:
    assert encode is not None
    lines = [t.line(date=True) for t in conversation.turns]
    words, meaning = _bm25(lines), _dense(lines, encode)
    made = thoughts_of(conversation)
    at = np.array([i for i, _ in made], np.int64)
    rows = encode([t.text for _, t in made]) if made else np.zeros((0, 1), np.float32)

    def ranked(question: str) -> list[int]:
        line = meaning(question)
        nearest = line.copy()
        if made:
            np.maximum.at(nearest, at, rows @ encode([question])[0])
        total = _scaled(words(question)) + _scaled((line + nearest) / 2)
        return np.argsort(-total, kind="stable").tolist()

    return ranked


@method(
    "tim-thoughts",
    "Think-in-Memory alone: ThoughtMemory, each thought for its turns; stands below the plain hybrid",
    embeds=True,
)
def _alone(conversation: Conversation, encode: Encoder | None) -> Ranker:
    from byheart.memory import Memory  # the one room above: what is judged is the facade

    assert encode is not None
    made = thoughts_of(conversation, rest=True)
    encode([t.text for _, t in made])  # in batches; the memory below asks for one at a time
    folder = Path(tempfile.mkdtemp(prefix="byheart-locomo-"))
    # without an encoder of its own: the turns are not asked for, and need no vectors
    memory = ThoughtMemory(Memory(folder / "memory.db"), encoder=encode)
    turns = [
        Item(t.text, id=f"turn-{i}", source=t.id, trust="user", valid_from=parse_moment(t.stamp))
        for i, t in enumerate(conversation.turns)
    ]
    memory.memory.write(turns)
    for item, turn in zip(turns, conversation.turns, strict=True):
        if turn.text.strip():
            memory.post_think(
                turn.text,
                at=item.valid_from,
                speaker=turn.speaker,
                source=turn.id,
                parents=[item.id],
            )

    def found(question: str) -> list[int]:
        hits = memory.recall(question, 80)
        return list(dict.fromkeys(i for h in hits for i in _turns(memory.memory, h.item)))

    weakref.finalize(found, _put_away, memory, folder)
    return found


def _turns(memory: Any, item: Item) -> Iterable[int]:
    """Positions of the turns behind a thought; a merged one leads to those of its parts."""
    for parent in item.parents:
        if parent.startswith("turn-"):
            yield int(parent.removeprefix("turn-"))
        else:
            yield from _turns(memory, memory.get(parent))


def _put_away(memory: ThoughtMemory, folder: Path) -> None:
    memory.memory.close()
    shutil.rmtree(folder, ignore_errors=True)
