"""What is asked about: pairs of the user's books, of the shipped passages, of invented stories."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from byheart.audits._sort.books import Book, read_books
from byheart.audits._sort.pairs import Pair, check_sizes, make_pairs
from byheart.core.errors import DataError
from byheart.data.passages import shipped

__all__ = ["both_arms", "chronicle", "from_books", "planted_pairs"]

Paths = str | Path | Sequence[str | Path] | None

SHIPPED = (
    "the shipped passages are short, and many of the quoted ones are openings, whose place shows "
    "without memory; give books of your own (texts) and twins that the model cannot have read (fresh)"
)
INVENTED = (
    "no twin was given (fresh); an invented chronicle stands in, whose order cannot be guessed as "
    "that of a book can"
)
_PASSAGE = 10


def both_arms(
    texts: Paths,
    fresh: Paths,
    *,
    excerpt: int,
    segment: int,
    bins: Sequence[int] | None,
    per_arm: int,
    seed: int,
) -> tuple[list[Pair], list[Pair], str]:
    """Pairs of both arms, and why no verdict may rest on them, or an empty text.

    Raises:
        DataError: If a book cannot be used; or one stands in both arms.
        UsageError: If lengths and bins do not fit each other.
    """  # fmt: skip
    edges = check_sizes(excerpt, segment, bins)
    sizes = {"excerpt": excerpt, "segment": segment, "bins": edges}
    if texts is None:
        known = shipped()
        arms = [
            _of_passages([p for p in known if p.famous is famous][:per_arm], segment, seed)
            for famous in (True, False)
        ]
        return arms[0], arms[1], SHIPPED
    books = read_books(texts)
    seen = from_books(books, per_arm, seed=seed, **sizes)  # type: ignore[arg-type]
    if fresh is None:
        words = max(20 * excerpt, 4000)
        story = chronicle(words, seed=seed)
        return seen, from_books([story], per_arm, seed=seed, **sizes), INVENTED  # type: ignore[arg-type]
    twins = read_books(fresh)
    shared = {b.words for b in books} & {t.words for t in twins}
    if shared:
        name = next(t.id for t in twins if t.words in shared)
        raise DataError(f"{name} stands in both arms; a twin must be another book")
    return seen, from_books(twins, per_arm, seed=seed, **sizes), ""  # type: ignore[arg-type]


def from_books(
    books: Sequence[Book], count: int, *, excerpt: int, segment: int, bins: Sequence[int], seed: int
) -> list[Pair]:
    """`count` pairs over all books in turn, each of an excerpt of its own, bins in turn.

    Books of no more than `excerpt` words are left out, as in the paper.

    Raises:
        DataError: If no book is long enough.
    """
    usable = [b for b in books if len(b) > excerpt]
    if not usable:
        longest = max(books, key=len)
        raise DataError(
            f"no book is long enough: {longest.id}, the longest, has {len(longest)} words, and "
            f"excerpts of {excerpt} need more than {excerpt}. Ask for shorter excerpts (the distance "
            f"asked about is up to {bins[-1]}), or give longer books"
        )
    share = -(-count // len(usable))
    drawn = []
    for k, book in enumerate(usable):
        pairs = make_pairs(
            book, excerpt=excerpt, segment=segment, bins=bins, n=share, extra=max(10, share),
            seed=seed + 1009 * k,
        )  # fmt: skip
        each = len(bins) - 1
        drawn.append([pairs[i * each + (i + k) % each] for i in range(share)])
    rows = [p for turn in zip(*drawn, strict=True) for p in turn]
    return rows[:count]


def _of_passages(passages: Sequence[object], segment: int, seed: int) -> list[Pair]:
    """One pair of each passage that has two sentences far enough apart; the passage is the excerpt."""
    rng = np.random.default_rng([seed, 46])
    size = min(segment, _PASSAGE)
    out = []
    for passage in passages:
        title = ", ".join(x for x in (passage.author, passage.work.split(",")[0]) if x)  # type: ignore[attr-defined]
        book = Book(title, tuple(passage.text.split()), passage.id)  # type: ignore[attr-defined]
        at = np.flatnonzero(book.starts[: max(1, len(book) - size + 1)])
        able = [(int(a), int(b)) for a in at for b in at if b - a >= size]
        if not able:
            continue
        one, two = able[int(rng.integers(len(able)))]
        out.append(
            Pair(
                book.id, title, 0, 0, len(book), size, len(book), book.text(one, size),
                book.text(two, size), one, two, bool(rng.integers(2)), book.text(0, len(book)),
                len(book),
            )
        )  # fmt: skip
    return out


_VERBS = ["met", "left", "saw", "helped", "missed", "found", "called", "paid", "warned", "followed"]
_THINGS = [
    "baker",
    "miller",
    "smith",
    "priest",
    "widow",
    "clerk",
    "sailor",
    "doctor",
    "tailor",
    "judge",
]


def chronicle(words: int, *, seed: int = 0, title: str = "") -> Book:
    """An invented book: sentences about people and places that exist nowhere, in an order that only
    the book tells.

    >>> chronicle(18, seed=1).text(0, 9)
    'Zobas helped the proud smith at the market of'
    """
    rng = np.random.default_rng([seed, 81])
    out: list[str] = []
    while len(out) < words:
        out += _sentence(rng).split()
    return Book(title or f"The {_name(rng)} Chronicle", tuple(out[:words]), f"chronicle-{seed}")


def _sentence(rng: np.random.Generator) -> str:
    place = str(rng.choice(["bridge", "ford", "mill", "gate", "market", "inn", "well", "church"]))
    manner = str(rng.choice(["old", "young", "tall", "lame", "proud", "silent"]))
    return (
        f"{_name(rng)} {rng.choice(_VERBS)} the {manner} {rng.choice(_THINGS)} at the {place} of "
        f"{_name(rng)}."
    )


def _name(rng: np.random.Generator) -> str:
    """An invented name of three syllables."""
    parts = [str(rng.choice(list("bdfgklmnprstvz"))) + str(rng.choice(list("aeiou"))) for _ in "ab"]
    return "".join(parts).capitalize() + str(rng.choice(list("lnrsx")))


def planted_pairs(n: int, *, seed: int) -> tuple[list[Pair], list[Pair], list[Pair]]:
    """Pairs to plant, pairs held back, and twins: each of an invented story of its own.

    No name stands in two sentences, so that an order learnt by heart is found by the names and tells
    nothing of any other pair.
    """
    rng = np.random.default_rng([seed, 35])
    used: set[str] = set()
    out: list[list[Pair]] = []
    for kind in ("planted", "held", "twin"):
        pairs = []
        # half of each kind has the earlier segment as A, so that no fixed label pays
        sides = rng.permutation(np.arange(n) % 2 == 0)
        for i in range(n):
            one, two = _unused(rng, used), _unused(rng, used)
            text = f"{one} {two}"
            length = len(one.split())
            pairs.append(
                Pair(
                    f"{kind}-{i}", f"Story {i}", 0, 0, len(text.split()), length, length + 1,
                    one, two, 0, length, bool(sides[i]), text, len(text.split()),
                )
            )  # fmt: skip
        out.append(pairs)
    return out[0], out[1], out[2]


def _unused(rng: np.random.Generator, used: set[str]) -> str:
    while True:
        sentence = _sentence(rng)
        words = sentence.rstrip(".").split()
        names = {words[0], words[-1]}
        if len(names) == 2 and not names & used:
            used |= names
            return sentence


def as_meta(pair: Pair) -> dict[str, object]:
    """The pair as JSON values, for a probe."""
    return dataclasses.asdict(pair)
