"""Text as search sees it: words without the small change of a question, and passages.

The stop words are closed classes of English (articles, pronouns, auxiliaries, question words):
"what did she do about it" carries nothing to look for. Stems come from Snowball (PyStemmer).
Scripts that write no spaces are cut into pairs of characters.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from itertools import pairwise

from byheart.core.errors import UsageError, need

__all__ = ["STOP_WORDS", "passages", "stemmer", "words"]

_LUCENE = """a an and are as at be but by for if in into is it no not of on or such that the their then
there these they this to was will with"""
_QUESTION = "what when where which who whom whose why how"
# with what an apostrophe leaves of them
_AUXILIARY = """do does did done doing has have had having been being am were can could would should
may might must shall don ll ve re"""
_PRONOUN = "i me my we us our you your he him his she her hers its them those some any"
_PARTICLE = "from about than too very"

STOP_WORDS = frozenset(" ".join((_LUCENE, _QUESTION, _AUXILIARY, _PRONOUN, _PARTICLE)).split())
"""Words that are looked for in no note and counted in none."""

_WORD = re.compile(r"\w\w+|\d")
# Han, Hiragana, Katakana, Thai, Lao, Khmer, Myanmar: written without spaces
_RANGE = (
    r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
    r"\uf900-\ufaff\U00020000-\U0003ffff"
)
_UNSPACED = re.compile(f"[{_RANGE}]+")
_RUNS = re.compile(f"[{_RANGE}]+|[^{_RANGE}]+")
_SENTENCE = re.compile(r"(?<=[.!?…])[\"'”’)\]]*\s+|(?<=[。！？])|\n+")


def stemmer(language: str = "english") -> Callable[[str], str]:
    """Snowball's stemmer of a language, with a memory of the words it has seen.

    Raises:
        MissingExtra: PyStemmer is not installed.
        UsageError: Snowball has no such language.

    >>> stemmer()("paintings")
    'paint'
    """
    snowball = need("Stemmer", "memory")
    if language not in snowball.algorithms():
        raise UsageError(
            f"Snowball has no stemmer for {language!r}; it has {', '.join(snowball.algorithms())}"
        )
    return lru_cache(maxsize=65536)(snowball.Stemmer(language).stemWord)


def words(text: str, stem: Callable[[str], str] | None = None) -> list[str]:
    """The words of a text that are worth looking for, in order, lower case, stemmed.

    >>> words("Where did Ann put the 2 blue paintings?", stemmer())
    ['ann', 'put', '2', 'blue', 'paint']
    """
    found = []
    for word in _WORD.findall(text.lower()):
        if _UNSPACED.search(word):
            for part in _RUNS.findall(word):
                if _UNSPACED.match(part):
                    found += [part[i : i + 2] for i in range(max(1, len(part) - 1))]
                elif len(part) > 1 and part not in STOP_WORDS:
                    found.append(stem(part) if stem else part)
        elif word not in STOP_WORDS:
            found.append(stem(word) if stem else word)
    return found


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
