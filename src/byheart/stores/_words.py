"""Text to the tokens of the keyword index, the same for what is written and what is asked."""

from __future__ import annotations

import re
import unicodedata

from byheart.core.words import STOP_WORDS, fold, stemmer

__all__ = ["counted", "query_terms", "tokens"]

_WORD = re.compile(r"\w+")
_LONGEST = 64
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
    """Stems of the lower-case words without Latin accents (Snowball, English).

    Chinese and Japanese characters, and symbols such as emoji, are words of their own.

    >>> tokens("Crème brûlées for 2 cities")
    ['creme', 'brule', 'for', '2', 'citi']
    >>> tokens("東京🗼")
    ['東', '京', '🗼']
    """
    stem = stemmer()
    return [stem(w) for w in _split(text)]


def counted(text: str) -> tuple[list[str], int]:
    """The tokens, and how many are no small change: the length that BM25 divides by."""
    found, stem = _split(text), stemmer()
    return [stem(w) for w in found], sum(map(_tells, found))


def _tells(word: str) -> bool:
    """Whether a word is worth looking for: no small change, no lone letter ("Ann's" leaves an s)."""
    return word not in STOP_WORDS and (len(word) > 1 or not (word.isascii() and word.isalpha()))


def _split(text: str) -> list[str]:
    folded = fold(text)
    found = _WORD.findall(folded) if text.isascii() else folded.translate(_separate).split()
    return [w[:_LONGEST] for w in found]


def query_terms(query: str) -> list[str]:
    """The words to look for, once each; small change only where there is nothing else."""
    found, stem = _split(query), stemmer()
    return list(
        dict.fromkeys(map(stem, filter(_tells, found) if any(map(_tells, found)) else found))
    )
