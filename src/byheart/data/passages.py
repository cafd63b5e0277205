"""Passages that everybody quotes, each with a twin of the same author and length that few quote.

The famous arm is what a language model is most likely to know by heart; the twin is alike in author,
period and length. The twins are public too: a model may have read them, only far less often, so the
contrast shows what fame adds and is a lower bound on what is known by heart.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

__all__ = ["Passage", "shipped"]


@dataclass(frozen=True, slots=True)
class Passage:
    """A text with what is known of it.

    Attributes:
        id: Unique in its collection.
        text: The words, single spaces between them where byheart ships it.
        pair: Shared by a passage and its twin; empty where there is no twin.
        famous: Whether it is the widely quoted one of its pair.
        author: Who wrote it.
        work: Title and place in it.
        year: Of publication; 0 if unknown.
        source: Where the wording is from, and why it may be shipped.
    """

    id: str
    text: str
    pair: str = ""
    famous: bool = False
    author: str = ""
    work: str = ""
    year: int = 0
    source: str = ""


@cache
def shipped() -> tuple[Passage, ...]:
    """The passages that byheart carries: famous one and twin of every pair, in order.

    >>> passages = shipped()
    >>> len(passages), sum(p.famous for p in passages)
    (46, 23)
    >>> passages[0].text[:41]
    'It is a truth universally acknowledged, t'
    """
    text = files("byheart.data").joinpath("passages.json").read_text(encoding="utf-8")
    return tuple(Passage(**record) for record in json.loads(text))
