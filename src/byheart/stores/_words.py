"""Text to words, the same for what is written and what is asked; standard library only."""

from __future__ import annotations

import re
import unicodedata

__all__ = ["STOP", "query_terms", "tokens"]

_STOP = """
a about am an and are as at be been but by can could did do does for from had has have he her him
his how i if in into is it its me my of on or our she so than that the their them then there they
this to us was we were what when where which who whom whose why will with would you your
"""
STOP = frozenset(_STOP.split())
"""English words that say little; left out of a query that has others."""

_WORD = re.compile(r"\w+")
_LONGEST = 64
_LATIN_MARKS = dict.fromkeys(range(0x300, 0x370))
_SINGLE = re.compile("[\u2e80-\u9fff\ua000-\ua4cf\uac00-\ud7a3\uf900-\ufaff\U00020000-\U0003ffff]")


class _Separate(dict[int, str]):
    """For `str.translate`: letters, marks and digits stay, symbols and CJK stand alone."""

    def __missing__(self, code: int) -> str:
        char = chr(code)
        kind = unicodedata.category(char)
        if _SINGLE.match(char) or kind in ("So", "Sk", "Co"):
            out = f" {char} "
        elif kind[0] in "LMN" or char == "_":
            out = char
        else:
            out = " "
        self[code] = out
        return out


_separate = _Separate()


def tokens(text: str) -> list[str]:
    """Lower-case words without Latin accents and English plural endings.

    Chinese and Japanese characters, and symbols such as emoji, are words of their own.

    >>> tokens("Crème brûlées for 2 cities")
    ['creme', 'brulee', 'for', '2', 'city']
    >>> tokens("東京🗼")
    ['東', '京', '🗼']
    """
    if text.isascii():
        found = _WORD.findall(text.lower())
    else:
        folded = unicodedata.normalize("NFKD", text).casefold().translate(_LATIN_MARKS)
        found = unicodedata.normalize("NFC", folded).translate(_separate).split()
    return [_singular(w[:_LONGEST]) for w in found]


def _singular(word: str) -> str:
    """Harman's S-stemmer (1991): the plural endings of English and nothing else."""
    if len(word) < 4 or word[-1] != "s" or not word.isascii():
        return word
    if word.endswith("ies") and word[-4] not in "ea":
        return word[:-3] + "y"
    if word.endswith("es") and word[-3] not in "aeo":
        return word[:-1]
    return word[:-1] if word[-2] not in "us" else word


def query_terms(query: str) -> list[str]:
    """The words to look for, once each; stop words only where there is nothing else."""
    found = list(dict.fromkeys(tokens(query)))
    return [w for w in found if w not in STOP] or found
