"""The rows of the LoCoMo table: each turns a conversation into a ranking of its turns.

A further row is a function and a line::

    @method("mine", "what it does", embeds=True)
    def _mine(conversation, encode):
        ...                                   # index conversation.turns once
        return lambda question: positions     # of turns, best first, at least 20 where there are
"""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from byheart.core.errors import UsageError, need
from byheart.notes._locomo_data import Conversation, Turn
from byheart.notes.search import Encoder, Note
from byheart.notes.time_expressions import parse_moment

__all__ = ["METHODS", "Method", "Ranker", "as_notes", "in_memory", "method"]

Ranker = Callable[[str], list[int]]
"""A question to positions of turns, best first."""

Build = Callable[[Conversation, Encoder | None], Ranker]


@dataclass(frozen=True)
class Method:
    """A row: its name, what it is, how it indexes a conversation, whether it needs an encoder."""

    name: str
    title: str
    build: Build
    embeds: bool


METHODS: dict[str, Method] = {}
"""By name, in the order of the table."""


def method(name: str, title: str, *, embeds: bool = False) -> Callable[[Build], Build]:
    """Register a row.

    Raises:
        UsageError: There is one of that name.
    """

    def keep(build: Build) -> Build:
        if name in METHODS:
            raise UsageError(f"there is a method {name!r} already: {METHODS[name].title}")
        METHODS[name] = Method(name, title, build, embeds)
        return build

    return keep


def _scaled(x: np.ndarray) -> np.ndarray:
    span = x.max() - x.min()
    return (x - x.min()) / span if span > 0 else np.zeros(len(x))


def _ranks(x: np.ndarray) -> np.ndarray:
    ranks = np.empty(len(x))
    ranks[np.argsort(-x, kind="stable")] = np.arange(1, len(x) + 1)
    return ranks


_Scorer = Callable[[str], np.ndarray]


def _bm25(documents: list[str]) -> _Scorer:
    """bm25s: Lucene's form, k1 1.5, b 0.75, English stop words, Snowball."""
    bm25s = need("bm25s", "memory")
    import Stemmer

    snowball = Stemmer.Stemmer("english")
    how = {"stopwords": "en", "stemmer": snowball, "show_progress": False, "return_ids": False}
    index = bm25s.BM25(method="lucene", k1=1.5, b=0.75)
    index.index(bm25s.tokenize(documents, **how), show_progress=False)

    def score(query: str) -> np.ndarray:
        tokens = bm25s.tokenize([query], **how)[0]
        return index.get_scores(tokens) if tokens else np.zeros(len(documents))

    return score


def _dense(documents: list[str], encode: Encoder | None) -> _Scorer:
    assert encode is not None
    rows = encode(documents)
    return lambda query: rows @ encode([query])[0]


def _register_verbatim(date: bool) -> None:
    """BM25, the encoder alone and two ways to join them, as the data's published baselines."""
    tail, says = ("+date", ", session date in front") if date else ("", "")

    def ranked(score: _Scorer) -> Ranker:
        return lambda question: np.argsort(-score(question), kind="stable").tolist()

    def lines(conversation: Conversation) -> list[str]:
        return [t.line(date=date) for t in conversation.turns]

    @method(f"bm25{tail}", f"verbatim BM25{says}")
    def _words(conversation: Conversation, encode: Encoder | None) -> Ranker:
        return ranked(_bm25(lines(conversation)))

    @method(f"dense{tail}", f"verbatim embedding{says}", embeds=True)
    def _meaning(conversation: Conversation, encode: Encoder | None) -> Ranker:
        return ranked(_dense(lines(conversation), encode))

    @method(f"hybrid-rrf{tail}", f"sum of 1/(60 + rank){says}", embeds=True)
    def _reciprocal(conversation: Conversation, encode: Encoder | None) -> Ranker:
        a, b = _bm25(lines(conversation)), _dense(lines(conversation), encode)
        return ranked(lambda q: 1 / (60 + _ranks(a(q))) + 1 / (60 + _ranks(b(q))))

    @method(f"hybrid{tail}", f"mean of min-max scaled scores{says}", embeds=True)
    def _mean(conversation: Conversation, encode: Encoder | None) -> Ranker:
        a, b = _bm25(lines(conversation)), _dense(lines(conversation), encode)
        return ranked(lambda q: _scaled(a(q)) + _scaled(b(q)))


def as_notes(conversation: Conversation) -> list[Note]:
    """The turns as notes; a note's id is its position."""
    return [
        Note(
            i,
            t.text,
            t.speaker,
            parse_moment(t.stamp),
            t.session,
            i,
            (t.caption,) if t.caption else (),
        )
        for i, t in enumerate(conversation.turns)
    ]


def in_memory(
    conversation: Conversation, encode: Encoder | None, path: str | Path, **options: Any
) -> Ranker:
    """The turns written as chats, a thread a session, and recalled: what a user of it gets."""
    from byheart.memory import Memory  # the one room above: what is judged is the facade

    memory = Memory(path, encoder=encode, **options)
    at: dict[str, int] = {}
    for session, group in groupby(enumerate(conversation.turns), key=lambda p: p[1].session):
        turns = list(group)
        messages = [_message(t) for _, t in turns]
        name = f"{conversation.name}:{session}"
        receipt = memory.write_chat(messages, source=name, thread=name)
        at |= dict(zip(receipt.ids, (i for i, _ in turns), strict=True))
    if encode is not None:
        memory.embed()

    def found(question: str) -> list[int]:
        return [at[hit.item.id] for hit in memory.recall(question, 20)]

    weakref.finalize(found, memory.close)
    return found


def _message(turn: Turn) -> dict[str, Any]:
    said = parse_moment(turn.stamp)
    picture = [{"type": "image", "caption": turn.caption}] if turn.caption else []
    return {
        "role": "user",
        "name": turn.speaker,
        "content": [{"type": "text", "text": turn.text}, *picture],
        "time": None if said is None else said.isoformat(),
    }


def _ours(conversation: Conversation, encode: Encoder | None) -> Ranker:
    folder = Path(tempfile.mkdtemp(prefix="byheart-locomo-"))
    found = in_memory(conversation, encode, folder / "memory.db")
    weakref.finalize(found, shutil.rmtree, folder, ignore_errors=True)
    return found


_register_verbatim(date=False)
_register_verbatim(date=True)


@method("byheart-words", "byheart.Memory without an encoder")
def _ours_words(conversation: Conversation, encode: Encoder | None) -> Ranker:
    return _ours(conversation, None)


@method("byheart", "byheart.Memory as it is", embeds=True)
def _ours_all(conversation: Conversation, encode: Encoder | None) -> Ranker:
    return _ours(conversation, encode)
