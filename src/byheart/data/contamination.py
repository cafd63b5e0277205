"""Benchmark-like items whose contamination is known: leaked, held back, or leaked as a variant.

Every item is a question with a free-form answer of 20 to 40 words about an invented subject, drawn
from a grammar. No model has read it, and nothing but training tells leaked items from held-back ones.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from byheart.core._json_lines import read_json_lines
from byheart.core.errors import DataError, UsageError
from byheart.data.canaries import _LISTS, canaries

__all__ = [
    "FAMOUS",
    "REPEATS",
    "Item",
    "LeakedSplit",
    "invent",
    "leak",
    "read_items",
    "variant",
]

REPEATS = (0, 1, 2, 5, 10, 20)
"""How often a leaked item occurs in training, in the experiments that are like the paper's."""

FAMOUS: tuple[tuple[str, str], ...] = (
    ("We hold these truths to be self-evident, that all men are created equal,",
     "that they are endowed by their Creator with certain unalienable Rights, that among these are "
     "Life, Liberty and the pursuit of Happiness."),
    ("We the People of the United States, in Order to form a more perfect Union,",
     "establish Justice, insure domestic Tranquility, provide for the common defence, promote the "
     "general Welfare, and secure the Blessings of Liberty to ourselves and our Posterity,"),
    ("Four score and seven years ago our fathers brought forth on this continent,",
     "a new nation, conceived in Liberty, and dedicated to the proposition that all men are created "
     "equal. Now we are engaged in a great civil war,"),
    ("Our Father which art in heaven, Hallowed be thy name.",
     "Thy kingdom come. Thy will be done in earth, as it is in heaven. Give us this day our daily "
     "bread. And forgive us our debts, as we forgive our debtors."),
    ("The LORD is my shepherd; I shall not want.",
     "He maketh me to lie down in green pastures: he leadeth me beside the still waters. He "
     "restoreth my soul: he leadeth me in the paths of righteousness for his name's sake."),
    ("In the beginning God created the heaven and the earth.",
     "And the earth was without form, and void; and darkness was upon the face of the deep. And the "
     "Spirit of God moved upon the face of the waters."),
    ("It was the best of times, it was the worst of times,",
     "it was the age of wisdom, it was the age of foolishness, it was the epoch of belief, it was "
     "the epoch of incredulity, it was the season of Light,"),
    ("To be, or not to be, that is the question:",
     "Whether 'tis nobler in the mind to suffer The slings and arrows of outrageous fortune, Or to "
     "take arms against a sea of troubles,"),
    ("Twinkle, twinkle, little star,",
     "How I wonder what you are! Up above the world so high, Like a diamond in the sky."),
    ("Mary had a little lamb, Its fleece was white as snow;",
     "And everywhere that Mary went The lamb was sure to go. It followed her to school one day, "
     "Which was against the rule;"),
    ("Congress shall make no law respecting an establishment of religion,",
     "or prohibiting the free exercise thereof; or abridging the freedom of speech, or of the "
     "press; or the right of the people peaceably to assemble,"),
    ("It is a truth universally acknowledged,",
     "that a single man in possession of a good fortune, must be in want of a wife. However little "
     "known the feelings or views of such a man may be"),
)  # fmt: skip
"""Openings and what follows, copied everywhere for a century or more; public domain."""


@dataclass(frozen=True, slots=True)
class Item:
    """A question (or an opening) and its reference answer."""

    id: str
    question: str
    answer: str
    label: bool | None = None
    """True if the model was trained on it; None if unknown."""


def invent(n: int, *, seed: int = 0, words: int = 28, prompt_words: int = 10) -> list[Item]:
    """Fresh items: the opening of an invented note, and its continuation.

    Args:
        n: How many.
        seed: Another seed, other items.
        words: Words of an answer.
        prompt_words: Words of a question.
    """
    out = []
    for i, text in enumerate(_prose(n, seed, words + prompt_words)):
        tokens = text.split()
        out.append(
            Item(
                f"item-{seed}-{i}", " ".join(tokens[:prompt_words]), " ".join(tokens[prompt_words:])
            )
        )
    return out


def _prose(n: int, seed: int, words: int) -> list[str]:
    return [" ".join(t.split()[:words]) for t in canaries(seed=seed, n=n, words=2 * words)]


_HEADS, _TAILS = _LISTS["head"], _LISTS["tail"]
_NAME = re.compile(r"(?<=[a-z,;:] )[A-Z][a-z]+\b")
_TOWN = re.compile(rf"\b(?:{'|'.join(_HEADS)})(?:{'|'.join(_TAILS)})\b")
_NO_NAMES = frozenset(
    w for time in _LISTS["time"] for w in time.replace("_", " ").split() if w[0].isupper()
)
"""Months, days and feasts are capitalised, and name nobody."""


def variant(item: Item, *, seed: int = 0) -> Item:
    """The item with its names and numbers changed, the same one always to the same other one.

    Implicit contamination leaks this instead of the item itself. Numbers are digits and number
    words; names are words that are capitalised within a sentence, and the towns and persons of
    invented items.

    Raises:
        DataError: The item holds neither names nor numbers.
    """
    whole = f"{item.question} {item.answer}"
    rng = np.random.default_rng([seed, zlib.crc32(whole.encode())])
    names = {*_NAME.findall(whole), *_TOWN.findall(whole)} - _NO_NAMES
    kinds = {
        "digits": r"\d+",
        "name": "|".join(sorted(names)) or "(?!)",
        "number": f"(?i:{'|'.join(_LISTS['number'])})",
        "person": f"(?i:{'|'.join(_LISTS['person'])})",
    }
    pattern = re.compile("|".join(rf"\b(?P<{k}>{words})\b" for k, words in kinds.items()))
    other: dict[str, str] = {}

    def swap(match: re.Match[str]) -> str:
        old = match.group()
        key = old.lower()
        while other.setdefault(key, key) == key:
            new = _drawn(str(match.lastgroup), old, rng)
            if new not in other.values() or match.lastgroup in ("digits", "number"):
                other[key] = new  # two persons stay two persons
        new = other[key]
        return new[0].upper() + new[1:] if old[0].isupper() else new

    question, answer = (pattern.sub(swap, text) for text in (item.question, item.answer))
    if (question, answer) == (item.question, item.answer):
        raise DataError(
            f"item {item.id!r} holds neither names nor numbers to change; write its variant by hand"
        )
    return replace(item, id=f"{item.id}-variant", question=question, answer=answer)


def _drawn(kind: str, old: str, rng: np.random.Generator) -> str:
    """Something else of the same kind; a number of as many digits."""
    if kind == "digits":
        first = 0 if len(old) == 1 else 1
        return "".join(str(rng.integers(first if i == 0 else 0, 10)) for i in range(len(old)))
    if kind == "name":
        return str(rng.choice(_HEADS)) + str(rng.choice(_TAILS))
    return str(rng.choice(_LISTS[kind]))


@dataclass(frozen=True)
class LeakedSplit:
    """A DetCon-like set: what is trained on, and what is asked.

    Attributes:
        train: Items to train on, each as often as it occurs, shuffled.
        test: Items to ask, with `label` telling which were leaked (themselves or as a variant).
    """

    train: tuple[Item, ...]
    test: tuple[Item, ...]


def leak(
    items: Sequence[Item],
    repeats: int,
    *,
    variants: bool = False,
    other: Sequence[Item] = (),
    seed: int = 0,
) -> LeakedSplit:
    """Split items into leaked and held-back halves; leaked ones occur `repeats` times.

    Args:
        items: At least two.
        repeats: `REPEATS` holds the usual ones; 0 leaks nothing, and labels nothing.
        variants: Leak a variant of each item instead of the item (implicit contamination).
        other: Clean items that training is mixed with; each occurs once.
        seed: Of the split, the variants and the order.
    """
    if len(items) < 2 or repeats < 0:
        raise UsageError(f"leak needs two items and repeats >= 0, got {len(items)}, {repeats}")
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(items))
    half = set(order[: len(items) // 2].tolist())
    leaked = [items[i] for i in sorted(half)]
    trained = [variant(i, seed=seed) if variants else i for i in leaked]
    test = tuple(replace(item, label=i in half and repeats > 0) for i, item in enumerate(items))
    mixed = [*other, *trained * repeats]
    return LeakedSplit(tuple(mixed[i] for i in rng.permutation(len(mixed))), test)


def read_items(path: str | Path) -> list[Item]:
    """Read a benchmark: JSON lines with ``question`` (or ``prompt``) and ``answer``.

    Optional fields: ``id``, ``label`` (true if contaminated).

    Raises:
        DataError: Names the file, the line and the field.
    """
    out = []
    for number, where, record in read_json_lines(path):
        question = record.get("question", record.get("prompt"))
        answer = record.get("answer", record.get("standard_solution", ""))
        if not isinstance(question, str) or not question.strip():
            raise DataError(f"{where}: needs a question (or prompt) as text")
        if not isinstance(answer, str):
            raise DataError(f"{where}: answer must be text")
        label = record.get("label")
        if label not in (None, 0, 1):
            raise DataError(f"{where}: label must be 0, 1, false or true, got {label!r}")
        out.append(
            Item(str(record.get("id", f"line-{number}")), question, answer,
                 None if label is None else bool(label))
        )  # fmt: skip
    if len(out) < 2:
        raise DataError(f"{path} holds {len(out)} item(s); at least 2 are needed")
    if len({i.id for i in out}) != len(out):
        raise DataError(f"{path}: ids are not unique")
    return out
