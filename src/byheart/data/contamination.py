"""Benchmark-like items whose contamination is known: leaked, held back, or leaked as a variant.

Every item is a question with a free-form answer of 20 to 40 words about an invented subject, drawn
from a grammar. No model has read it, and nothing but training tells leaked items from held-back ones.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from byheart.core.errors import DataError, UsageError
from byheart.data.canaries import canaries

__all__ = ["FAMOUS", "Item", "LeakedSplit", "invent", "leak", "read_items", "variant"]

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


def variant(item: Item, *, seed: int = 0) -> Item:
    """The item with another beginning of its answer and every number changed: implicit
    contamination leaks this instead of the item itself."""
    rng = np.random.default_rng([seed, len(item.answer)])
    words = item.answer.split()
    swapped = [str(int(rng.integers(2, 90))) if w.strip(".,").isdigit() else w for w in words]
    for at in rng.choice(len(swapped), size=max(1, len(swapped) // 6), replace=False):
        swapped[at] = swapped[at][::-1].lower() if len(swapped[at]) > 3 else swapped[at]
    return replace(item, id=f"{item.id}-variant", answer=" ".join(swapped))


@dataclass(frozen=True)
class LeakedSplit:
    """A DetCon-like set: what is trained on, and what is asked.

    Attributes:
        train: Items to train on, each as often as it occurs.
        test: Items to ask, with `label` telling which were leaked (themselves or as a variant).
    """

    train: tuple[Item, ...]
    test: tuple[Item, ...]


def leak(
    items: Sequence[Item], repeats: int, *, variants: bool = False, seed: int = 0
) -> LeakedSplit:
    """Split items into leaked and held-back halves; leaked ones occur `repeats` times.

    Args:
        items: At least two.
        repeats: 0, 1, 2, 5, 10 or 20 in the sheet of the experiment; 0 leaks nothing.
        variants: Leak a variant of each item instead of the item (implicit contamination).
        seed: Of the split.
    """
    if len(items) < 2 or repeats < 0:
        raise UsageError(f"leak needs two items and repeats >= 0, got {len(items)}, {repeats}")
    order = np.random.default_rng(seed).permutation(len(items))
    half = set(order[: len(items) // 2].tolist())
    leaked = [items[i] for i in sorted(half)]
    trained = [variant(i, seed=seed) if variants else i for i in leaked]
    test = tuple(replace(item, label=i in half and repeats > 0) for i, item in enumerate(items))
    return LeakedSplit(tuple(trained * repeats), test)


def read_items(path: str | Path) -> list[Item]:
    """Read a benchmark: JSON lines with ``question`` (or ``prompt``) and ``answer``.

    Optional fields: ``id``, ``label`` (true if contaminated).

    Raises:
        DataError: Names the file, the line and the field.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {path}: {error}") from error
    out = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except ValueError as error:
            raise DataError(f"{path}, line {number}: not JSON ({error})") from error
        if not isinstance(record, dict):
            raise DataError(f"{path}, line {number}: expected an object")
        question = record.get("question", record.get("prompt"))
        answer = record.get("answer", record.get("standard_solution", ""))
        if not isinstance(question, str) or not question.strip():
            raise DataError(f"{path}, line {number}: needs a question (or prompt) as text")
        if not isinstance(answer, str):
            raise DataError(f"{path}, line {number}: answer must be text")
        label = record.get("label")
        out.append(
            Item(str(record.get("id", f"line-{number}")), question, answer,
                 None if label is None else bool(label))
        )  # fmt: skip
    if len(out) < 2:
        raise DataError(f"{path} holds {len(out)} item(s); at least 2 are needed")
    if len({i.id for i in out}) != len(out):
        raise DataError(f"{path}: ids are not unique")
    return out
