"""What is asked about: pairs of the user's books, of the shipped passages, of invented stories."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from byheart.audits._sort.books import Book, read_books
from byheart.audits._sort.pairs import Pair, check_sizes, make_pairs
from byheart.core.errors import DataError
from byheart.data.passages import shipped

__all__ = ["Material", "both_arms", "chronicle", "from_books", "planted_pairs"]

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


@dataclass(frozen=True)
class Material:
    """Pairs of both arms, why no verdict may rest on them (or an empty text), and books left out."""

    seen: list[Pair]
    fresh: list[Pair]
    why: str = ""
    left_out: tuple[str, ...] = ()


def both_arms(
    texts: Paths,
    fresh: Paths,
    *,
    excerpt: int,
    segment: int,
    bins: Sequence[int] | None,
    per_arm: int,
    seed: int,
) -> Material:
    """Pairs of both arms.

    Raises:
        DataError: If a book cannot be used; or one stands in both arms.
        UsageError: If lengths and bins do not fit each other.
    """  # fmt: skip
    edges = check_sizes(excerpt, segment, bins)
    if texts is None:
        known = shipped()
        arms = [
            _of_passages([p for p in known if p.famous is famous][:per_arm], segment, seed)
            for famous in (True, False)
        ]
        return Material(arms[0], arms[1], SHIPPED)

    def draw(books: Sequence[Book]) -> tuple[list[Pair], list[str]]:
        return from_books(books, per_arm, excerpt=excerpt, segment=segment, bins=edges, seed=seed)

    books = read_books(texts)
    if fresh is None:
        twins, why = [chronicle(max(40 * excerpt, 8000), seed=seed)], INVENTED
    else:
        twins, why = read_books(fresh), ""
    shared = {b.words for b in books} & {t.words for t in twins}
    if shared:
        name = next(t.id for t in twins if t.words in shared)
        raise DataError(f"{name} stands in both arms; a twin must be another book")
    (seen, out_seen), (other, out_fresh) = draw(books), draw(twins)
    return Material(seen, other, why, (*out_seen, *out_fresh))


def from_books(
    books: Sequence[Book],
    count: int,
    *,
    excerpt: int,
    segment: int,
    bins: Sequence[int],
    seed: int,
    every_bin: bool = False,
) -> tuple[list[Pair], list[str]]:
    """`count` pairs over all books in turn, each of an excerpt of its own, bins in turn.

    `every_bin` draws a pair in every bin of each excerpt instead, as the paper does: fewer excerpts,
    which a model that keeps keys and values reads once.

    Returns:
        The pairs, and for every book that was left out (as in the paper, those of no more than
        `excerpt` words; and those that have no such pairs) why.

    Raises:
        DataError: If no book is long enough.
    """
    left_out = [
        f"{b.id} has {len(b)} words, and excerpts of {excerpt} need more than {excerpt}"
        for b in books if len(b) <= excerpt
    ]  # fmt: skip
    usable = [b for b in books if len(b) > excerpt]
    if not usable:
        longest = max(books, key=len)
        raise DataError(
            f"no book is long enough: {longest.id}, the longest, has {len(longest)} words, and "
            f"excerpts of {excerpt} need more than {excerpt}. Ask for shorter excerpts (the distance "
            f"asked about is up to {bins[-1]}), or give longer books"
        )
    each = len(bins) - 1
    while True:
        share = -(-count // (len(usable) * (each if every_bin else 1)))
        drawn, failed = [], {}
        for k, book in enumerate(usable):
            try:
                pairs = make_pairs(
                    book, excerpt=excerpt, segment=segment, bins=bins, n=share,
                    extra=max(10, share), seed=seed + 1009 * k,
                )  # fmt: skip
            except DataError as error:
                failed[book.id] = error
                continue
            whole = [pairs[i * each : (i + 1) * each] for i in range(share)]
            drawn.append(whole if every_bin else [[p[(i + k) % each]] for i, p in enumerate(whole)])
        if not failed:
            rows = [p for turn in zip(*drawn, strict=True) for some in turn for p in some]
            return rows[:count], left_out
        if len(failed) == len(usable):
            raise next(iter(failed.values()))
        left_out += [str(e) for e in failed.values()]
        usable = [b for b in usable if b.id not in failed]


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


_CONSONANTS = "bdfgklmnprstvz"
_MANNERS = ("old", "young", "tall", "lame", "proud", "silent")
_PLACES = ("bridge", "ford", "mill", "gate", "market", "inn", "well", "church")
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
    'Numul met the lame baker at the bridge of'
    """
    rng = np.random.default_rng([seed, 81])
    out: list[str] = []
    while len(out) < words:
        out += _sentence(rng).split()
    return Book(
        title or f"The {_sentence(rng).split()[0]} Chronicle",
        tuple(out[:words]),
        f"chronicle-{seed}",
    )


def _sentence(rng: np.random.Generator) -> str:
    draws = iter(rng.integers(0, 1 << 40, 24).tolist())

    def one(words: Sequence[str]) -> str:
        return words[next(draws) % len(words)]

    def name() -> str:
        """Invented, of five letters."""
        start = "".join(one(_CONSONANTS) + one("aeiou") for _ in range(2))
        return start.capitalize() + one("lnrsx")

    return f"{name()} {one(_VERBS)} the {one(_MANNERS)} {one(_THINGS)} at the {one(_PLACES)} of {name()}."


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
