"""Porter's stemmer in the version that rouge-score uses (NLTK's default): ROUGE-L depends on it.

Porter, "An algorithm for suffix stripping", 1980, with NLTK's changes: a few whole words, "ies" and "ied"
after one letter, y only after a consonant, and three more endings.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from itertools import pairwise

__all__ = ["stem"]

_WHOLE = {
    "skies": "sky", "sky": "sky", "dying": "die", "lying": "lie", "tying": "tie", "news": "news",
    "innings": "inning", "inning": "inning", "outings": "outing", "outing": "outing",
    "cannings": "canning", "canning": "canning", "howe": "howe", "proceed": "proceed",
    "exceed": "exceed", "succeed": "succeed",
}  # fmt: skip
_TWO = (
    ("ational", "ate"), ("tional", "tion"), ("enci", "ence"), ("anci", "ance"), ("izer", "ize"),
    ("bli", "ble"), ("alli", "al"), ("entli", "ent"), ("eli", "e"), ("ousli", "ous"), ("ization", "ize"),
    ("ation", "ate"), ("ator", "ate"), ("alism", "al"), ("iveness", "ive"), ("fulness", "ful"),
    ("ousness", "ous"), ("aliti", "al"), ("iviti", "ive"), ("biliti", "ble"), ("fulli", "ful"),
)  # fmt: skip
_THREE = (
    ("icate", "ic"), ("ative", ""), ("alize", "al"), ("iciti", "ic"), ("ical", "ic"), ("ful", ""),
    ("ness", ""),
)  # fmt: skip
_FOUR = (
    "al", "ance", "ence", "er", "ic", "able", "ible", "ant", "ement", "ment", "ent", "ion", "ou", "ism",
    "ate", "iti", "ous", "ive", "ize",
)  # fmt: skip


def _consonants(word: str) -> list[bool]:
    out: list[bool] = []
    for c in word:
        out.append(c not in "aeiou" and (c != "y" or not out or not out[-1]))
    return out


def _measure(word: str) -> int:
    """How often a vowel is followed by a consonant."""
    c = _consonants(word)
    return sum(b and not a for a, b in pairwise(c))


def _doubled(word: str) -> bool:
    return len(word) >= 2 and word[-1] == word[-2] and _consonants(word)[-1]


def _short(word: str) -> bool:
    """It ends with consonant, vowel, consonant other than w, x, y (or is a vowel and a consonant)."""
    c = _consonants(word)
    if len(word) == 2:
        return c == [False, True]
    return c[-3:] == [True, False, True] and word[-1] not in "wxy"


@lru_cache(maxsize=50_000)
def stem(word: str) -> str:
    """The stem of a word in lower case.

    >>> [stem(w) for w in ("running", "days", "happily", "used", "dying")]
    ['run', 'day', 'happili', 'use', 'die']
    """
    if word in _WHOLE:
        return _WHOLE[word]
    if len(word) <= 2:
        return word
    steps: tuple[Callable[[str], str], ...] = (_1a, _1b, _1c, _2, _3, _4, _5)
    for step in steps:
        word = step(word)
    return word


def _1a(word: str) -> str:
    if word.endswith("ies"):
        return word[:-1] if len(word) == 4 else word[:-2]
    if word.endswith("sses"):
        return word[:-2]
    return word[:-1] if word.endswith("s") and not word.endswith("ss") else word


def _1b(word: str) -> str:
    if word.endswith("ied"):
        return word[:-1] if len(word) == 4 else word[:-2]
    if word.endswith("eed"):
        return word[:-1] if _measure(word[:-3]) > 0 else word
    ending = "ed" if word.endswith("ed") else "ing" if word.endswith("ing") else ""
    rest = word[: -len(ending)] if ending else word
    if not ending or all(_consonants(rest)):
        return word
    if rest.endswith(("at", "bl", "iz")):
        return rest + "e"
    if _doubled(rest):
        return rest if rest[-1] in "lsz" else rest[:-1]
    return rest + "e" if _measure(rest) == 1 and _short(rest) else rest


def _1c(word: str) -> str:
    rest = word[:-1]
    return rest + "i" if word.endswith("y") and len(rest) > 1 and _consonants(rest)[-1] else word


def _2(word: str) -> str:
    if word.endswith("alli") and _measure(word[:-4]) > 0:
        return _2(word[:-2])
    for ending, other in _TWO:
        if word.endswith(ending):
            rest = word[: -len(ending)]
            return rest + other if _measure(rest) > 0 else word
    return word[:-1] if word.endswith("logi") and _measure(word[:-3]) > 0 else word


def _3(word: str) -> str:
    for ending, other in _THREE:
        if word.endswith(ending):
            rest = word[: -len(ending)]
            return rest + other if _measure(rest) > 0 else word
    return word


def _4(word: str) -> str:
    for ending in _FOUR:
        if word.endswith(ending):
            rest = word[: -len(ending)]
            fits = _measure(rest) > 1 and (ending != "ion" or rest[-1:] in ("s", "t"))
            return rest if fits else word
    return word


def _5(word: str) -> str:
    if word.endswith("e"):
        rest = word[:-1]
        m = _measure(rest)
        if m > 1 or (m == 1 and not _short(rest)):
            word = rest
    return word[:-1] if word.endswith("ll") and _measure(word[:-1]) > 1 else word
