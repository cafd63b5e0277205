"""Text to words, the same for what is written, what is asked and what is ranked.

The store's keyword index and the ranking of notes count the same words: folded, stemmed by Snowball
(PyStemmer), without the small change of a question. The stop words are closed classes of English
(articles, pronouns, auxiliaries, question words): "what did she do about it" carries nothing to
look for.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from functools import lru_cache

from byheart.core.errors import UsageError

__all__ = ["STOP_WORDS", "WORDS_VERSION", "fold", "stemmer", "words", "words_version"]

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

WORDS_VERSION = 2
"""Goes up whenever the same text gives other words: indexes are then made anew."""

_WORD = re.compile(r"\w\w+|\d")
# Han, Hiragana, Katakana, Thai, Lao, Khmer, Myanmar: written without spaces
_RANGE = (
    r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
    r"\uf900-\ufaff\U00020000-\U0003ffff"
)
_UNSPACED = re.compile(f"[{_RANGE}]+")
_RUNS = re.compile(f"[{_RANGE}]+|[^{_RANGE}]+")
_LATIN_MARKS = dict.fromkeys(range(0x300, 0x370))


def words_version() -> str:
    """What made the words: the rules here and the stemmer's release, whose stems may differ."""
    import Stemmer

    return f"{WORDS_VERSION} snowball {Stemmer.version()}"


@lru_cache(maxsize=8)
def stemmer(language: str = "english") -> Callable[[str], str]:
    """Snowball's stemmer of a language, with a memory of the words it has seen.

    Raises:
        UsageError: Snowball has no such language.

    >>> stemmer()("paintings")
    'paint'
    """
    import Stemmer

    if language not in Stemmer.algorithms():
        raise UsageError(
            f"Snowball has no stemmer for {language!r}; it has {', '.join(Stemmer.algorithms())}"
        )
    return lru_cache(maxsize=65536)(Stemmer.Stemmer(language).stemWord)


def fold(text: str) -> str:
    """Lower case without Latin accents, compatibility forms made plain.

    >>> fold("Crème Brûlée, Straße, ﬁne")
    'creme brulee, strasse, fine'
    """
    if text.isascii():
        return text.lower()
    folded = unicodedata.normalize("NFKD", text).casefold().translate(_LATIN_MARKS)
    return unicodedata.normalize("NFC", folded)


def words(text: str, stem: Callable[[str], str] | None = None) -> list[str]:
    """The words of a text that are worth looking for, in order, folded, stemmed.

    Scripts that write no spaces are cut into pairs of characters.

    >>> words("Where did Ann put the 2 blue paintings?", stemmer())
    ['ann', 'put', '2', 'blue', 'paint']
    """
    found = []
    for word in _WORD.findall(fold(text)):
        if word.isascii():
            if word not in STOP_WORDS:
                found.append(stem(word) if stem else word)
        elif _UNSPACED.search(word):
            for part in _RUNS.findall(word):
                if _UNSPACED.match(part):
                    found += [part[i : i + 2] for i in range(max(1, len(part) - 1))]
                elif len(part) > 1 and part not in STOP_WORDS:
                    found.append(stem(part) if stem else part)
        else:
            found.append(stem(word) if stem else word)
    return found
