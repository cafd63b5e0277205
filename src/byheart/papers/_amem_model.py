"""Table C of A-MEM: the whole method with a language model on a part of one conversation."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from byheart.core.ask import Sample
from byheart.core.item import Item
from byheart.core.model import Model, load
from byheart.notes._linked_model import ModelAnnotator, OneCall
from byheart.notes._locomo_data import CATEGORIES, Conversation, Question, token_f1
from byheart.notes.linked import LinkedNotes
from byheart.notes.time_expressions import parse_moment

__all__ = ["with_model"]

_TASK = (
    "Below are lines of a conversation between two people. Answer the question from them in a few "
    "words, with exact words from the lines where possible."
)


def with_model(
    talk: Conversation,
    encode: Any,
    *,
    model: Model | str = "smollm2",
    device: str | None = None,
    turns: int = 40,
    most: int = 12,
    k: int = 10,
    max_tokens: int = 160,
) -> list[str]:
    """Annotate and link the first turns by a model, and answer what they hold the evidence of.

    Direction only: with so few questions no difference is told from noise.

    Args:
        talk: The conversation.
        encode: Texts to unit vectors.
        model: Annotates, links and answers.
        device: Of the model.
        turns: How many of the first turns are kept.
        most: Questions at most.
        k: Notes that an answer is made from.
        max_tokens: Of a reply.

    Returns:
        Lines that say what came out.
    """
    reader = load(model, device=device) if isinstance(model, str) else model
    some = talk.turns[:turns]
    asked = [q for q in talk.questions if q.category != 5 and max(q.evidence) < len(some)][:most]
    with (
        tempfile.TemporaryDirectory() as folder,
        LinkedNotes(
            Path(folder) / "notes.db",
            encode,
            annotator=ModelAnnotator(reader, max_tokens=max_tokens),
            linker=OneCall(reader, max_tokens=2 * max_tokens),
        ) as notes,
    ):
        receipts = [
            notes.write(
                Item(
                    t.line(date=False),
                    valid_from=parse_moment(t.stamp),
                    labels={"thread": str(t.session), "speaker": t.speaker},
                )
            )
            for t in some
        ]
        found = [[h.item.content for h in notes.recall(q.text, k)] for q in asked]
        by_model = sum(n.annotation.by == reader.name for n in notes.notes())
    lines = [t.line(date=False) for t in some]
    ours = [_f1(reader, q, f) for q, f in zip(asked, found, strict=True)]
    last = [_f1(reader, q, lines[-k:]) for q in asked]
    told = [
        f"C, {talk.name}, first {len(some)} turns, {reader.name}: {sum(r.calls for r in receipts)} "
        f"calls; {by_model} notes annotated by the model, {sum(bool(r.rejected) for r in receipts)} "
        f"with a rejected proposal; {sum(len(r.links) for r in receipts)} links, "
        f"{sum(len(r.evolved) for r in receipts)} evolutions"
    ]
    for category in sorted({q.category for q in asked}):
        here = [i for i, q in enumerate(asked) if q.category == category]
        told.append(
            f"C, category {category} ({CATEGORIES[category]}, {len(here)} questions), answer F1: "
            f"{100 * np.mean([ours[i] for i in here]):.1f} from {k} recalled notes, "
            f"{100 * np.mean([last[i] for i in here]):.1f} from the last {k} turns"
        )
    return told


def _f1(model: Model, question: Question, lines: list[str]) -> float:
    asked = "\n".join(lines) + f"\n\nQuestion: {question.text}\nShort answer:"
    prompt: Any = (("system", _TASK), ("user", asked)) if model.chat else f"{_TASK}\n\n{asked}"
    answer = model.sample([Sample(prompt, max_tokens=24, stop=("\n",))])[0][0].text
    return token_f1(answer, question.answer)
