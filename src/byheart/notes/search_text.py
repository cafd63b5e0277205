"""Text as search by meaning sees it: passages; its words are `byheart.core.words`'."""

from __future__ import annotations

import re
from itertools import pairwise

from byheart.core.errors import UsageError
from byheart.core.words import STOP_WORDS, stemmer, words

__all__ = ["STOP_WORDS", "passages", "stemmer", "words"]

_SENTENCE = re.compile(r"(?<=[.!?…])[\"'”’)\]]*\s+|(?<=[。！？])|\n+")


def passages(text: str, *, speaker: str = "", most: int = 32) -> list[str]:
    """The sentences of a note, each with its speaker in front: what is embedded one by one.

    A note of several sentences speaks of several things, and one vector for all of them is near to
    none. A long note is cut into at most `most` passages of about equal numbers of sentences.

    >>> passages("I moved. Now I paint!", speaker="Ann")
    ['Ann: I moved.', 'Ann: Now I paint!']
    """
    if most < 1:
        raise UsageError(f"most must be at least 1, got {most}")
    sentences = [s.strip() for s in _SENTENCE.split(text) if s.strip()]
    if len(sentences) > most:
        ends = [len(sentences) * i // most for i in range(most + 1)]
        sentences = [" ".join(sentences[a:b]) for a, b in pairwise(ends)]
    return [f"{speaker}: {s}" if speaker else s for s in sentences]
