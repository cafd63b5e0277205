"""The rows of the LoCoMo table: each turns a conversation into a ranking of its turns.

A further row is a function and a line::

    @method("mine", "what it does", embeds=True)
    def _mine(conversation, encode):
        ...                                   # index conversation.turns once
        return lambda question: positions     # of turns, best first, at least 20 where there are
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from byheart.core.errors import UsageError, need
from byheart.notes._locomo_data import Conversation
from byheart.notes.search import Encoder, Note, NoteSearch
from byheart.notes.time_expressions import parse_moment

__all__ = ["METHODS", "Method", "Ranker", "as_notes", "method"]

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
    snowball = need("Stemmer", "memory").Stemmer("english")
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


def _ours(conversation: Conversation, encode: Encoder | None) -> Ranker:
    search = NoteSearch(as_notes(conversation), encode=encode)
    return lambda question: [int(m.note.id) for m in search.search(question, 20)]  # type: ignore[call-overload]


_register_verbatim(date=False)
_register_verbatim(date=True)


@method("byheart-words", "byheart without an encoder")
def _ours_words(conversation: Conversation, encode: Encoder | None) -> Ranker:
    return _ours(conversation, None)


@method("byheart", "byheart's default", embeds=True)
def _ours_all(conversation: Conversation, encode: Encoder | None) -> Ranker:
    return _ours(conversation, encode)
