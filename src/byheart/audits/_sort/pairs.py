"""Pairs of segments of one book whose order is asked: drawn from excerpts, by distance."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from byheart.audits._sort.books import Book
from byheart.core.errors import DataError, UsageError

__all__ = ["LENGTHS", "SEGMENTS", "Pair", "bins_of", "make_pairs"]

LENGTHS = (250, 1000, 2500, 10_000, 20_000)
"""Lengths of excerpts in Book-SORT, in words."""
SEGMENTS = (20, 50)
"""Lengths of segments in Book-SORT, in words."""

_REDRAWS = 100
_KS = 0.05


@dataclass(frozen=True)
class Pair:
    """Two segments of one excerpt.

    Attributes:
        book: Id of the book.
        title: Its title, as named in questions.
        excerpt_index: Number of the excerpt in its book; pairs of one excerpt share it.
        start: Word of the book at which the excerpt starts.
        excerpt_length: Words of the excerpt.
        segment_length: Words of a segment.
        bin: Right edge of the bin that the distance lies in.
        first: The segment that stands earlier in the book.
        second: The one that stands later.
        first_at: Word of the excerpt at which `first` starts.
        second_at: Likewise `second`.
        earlier_first: Whether `first` is shown as A.
        excerpt: The text of the excerpt.
        words: Of the whole book.
    """

    book: str
    title: str
    excerpt_index: int
    start: int
    excerpt_length: int
    segment_length: int
    bin: int
    first: str
    second: str
    first_at: int
    second_at: int
    earlier_first: bool
    excerpt: str = ""
    words: int = 0

    @property
    def distance(self) -> int:
        """Words from start to start."""
        return self.second_at - self.first_at

    @property
    def id(self) -> str:
        """Unique among the pairs of one draw."""
        return f"{self.book}#{self.excerpt_index}/{self.bin}"

    def shown(self, swap: bool = False) -> tuple[str, str]:
        """Segments A and B; swapped, the other way round."""
        return (
            (self.first, self.second) if self.earlier_first != swap else (self.second, self.first)
        )

    def answer(self, swap: bool = False, task: str = "first") -> str:
        """The right label: ``"A"`` or ``"B"``."""
        return "A" if (self.earlier_first != swap) == (task == "first") else "B"


def bins_of(excerpt: int, segment: int) -> tuple[int, ...]:
    """Edges of the authors' bins of distance, in words from start to start.

    >>> bins_of(250, 20), bins_of(10_000, 50)
    ((20, 62, 83, 125, 200), (50, 1000, 2500, 5000, 8000))
    """
    first = (excerpt // 4, excerpt // 3) if excerpt < 5000 else (1000, excerpt // 4)
    return (segment, *first, excerpt // 2, int(excerpt / 1.25))


def check_sizes(excerpt: int, segment: int, bins: Sequence[int] | None) -> tuple[int, ...]:
    """The bins, after all three fit each other.

    Raises:
        UsageError: If segments would overlap or a distance does not fit the excerpt.
    """
    if segment < 1:
        raise UsageError(f"a segment has at least 1 word, got {segment}")
    edges = bins_of(excerpt, segment) if bins is None else tuple(bins)
    if len(edges) < 2 or any(b <= a for a, b in itertools.pairwise(edges)):
        said = "; give bins of your own, or longer excerpts" if bins is None else ""
        raise UsageError(
            f"edges of bins must rise, got {edges} for excerpts of {excerpt} words and segments of "
            f"{segment}{said}"
        )
    if edges[0] < segment:
        raise UsageError(
            f"segments of {segment} words overlap at distances above {edges[0]}; the lowest edge "
            f"must be at least {segment}"
        )
    if excerpt < edges[0] + 1 + segment:
        raise UsageError(
            f"an excerpt of {excerpt} words holds no two segments of {segment} words that are more "
            f"than {edges[0]} apart; ask for longer excerpts"
        )
    if excerpt <= edges[-2] + segment:
        raise UsageError(
            f"no pair in an excerpt of {excerpt} words is more than {edges[-2]} words apart (and "
            f"{segment} words long); ask for longer excerpts or smaller distances"
        )
    return edges


def make_pairs(
    book: Book,
    *,
    excerpt: int = 250,
    segment: int = 20,
    n: int = 110,
    extra: int = 50,
    bins: Sequence[int] | None = None,
    seed: int = 0,
    compat: bool = False,
) -> list[Pair]:
    """Draw excerpts of a book, and of each a pair of segments in every bin of distance.

    Excerpts start uniformly over the book, moved back to the start of their sentence (redrawn until a
    Kolmogorov-Smirnov test against uniform has p above 0.05). Of the possible starts of segments one
    that has a partner in the bin is drawn, then the partner. Excerpts without a pair in some bin are
    dropped. In each bin the earlier segment is shown first in exactly half of the pairs (one more or
    less where `n` is odd).

    Args:
        book: The sequence.
        excerpt: Words of an excerpt, L_E (paper: 250 to 20,000).
        segment: Words of a segment, L_S (paper: 20 and 50).
        n: Excerpts; as many pairs in every bin (paper: 100 for testing and 10 for validation).
        extra: Further excerpts that may be dropped (paper: 50).
        bins: Edges of distance, lower excluded, upper included; None takes the authors'.
        seed: Of all draws.
        compat: The authors' own procedure with numpy's legacy generator, to the last draw: same
            seed, same pairs. Slower; distances equal to an upper edge fail, and after dropping, the
            share of pairs whose earlier segment comes first is only near a half.

    Returns:
        Pairs, excerpt by excerpt, bins rising.

    Raises:
        UsageError: If lengths and bins do not fit each other.
        DataError: If the book is too short, or too few of its excerpts have a pair in every bin.

    >>> book = Book("count", tuple(f"w{i}." for i in range(1000)))
    >>> pairs = make_pairs(book, excerpt=100, segment=5, n=10, extra=2, seed=1)
    >>> len(pairs), all(p.first in p.excerpt and p.second in p.excerpt for p in pairs)
    (40, True)
    >>> pairs[0].shown(), pairs[0].distance <= pairs[0].bin
    (('w133. w134. w135. w136. w137.', 'w113. w114. w115. w116. w117.'), True)
    """
    edges = check_sizes(excerpt, segment, bins)
    if n < 1 or extra < 0:
        raise UsageError(f"n must be at least 1 and extra 0 or more, got {n} and {extra}")
    if seed < 0:
        raise UsageError(f"seed must not be negative, got {seed}")
    if len(book) <= excerpt:
        raise DataError(
            f"{book.id} has {len(book)} words; excerpts of {excerpt} need more than {excerpt}. Ask "
            "for shorter excerpts, or give a longer book"
        )
    if compat:
        from byheart.audits._sort.reference import reference_draw

        drawn = reference_draw(book, excerpt, segment, n, extra, edges, seed)
    else:
        drawn = _draw(book, excerpt, segment, n, extra, edges, seed)
    out = []
    for k, (start, spots) in enumerate(drawn):
        text = book.text(start, excerpt)
        for edge, (a, b) in zip(edges[1:], spots, strict=True):
            one, two = min(a, b), max(a, b)
            out.append(
                Pair(
                    book.id, book.title, k, start, excerpt, segment, edge,
                    book.text(start + one, segment), book.text(start + two, segment),
                    one, two, a < b, text, len(book),
                )
            )  # fmt: skip
    return out


Drawn = list[tuple[int, list[tuple[int, int]]]]
"""Start of each excerpt, and in each bin the starts of the segments in the order shown."""


def _draw(
    book: Book, excerpt: int, segment: int, n: int, extra: int, edges: Sequence[int], seed: int
) -> Drawn:
    rng = np.random.default_rng([seed, 155])
    last = len(book) - excerpt
    index = np.arange(len(book))
    sentence = np.maximum.accumulate(np.where(book.starts, index, 0))
    for _ in range(_REDRAWS):
        starts = sentence[rng.integers(0, last, n + extra)]
        if uniform(starts, last):
            break
    else:
        raise DataError(
            f"{book.id}: {_REDRAWS} draws of {n + extra} excerpts did not spread evenly over the "
            "book; it is short, or has sentences of great length. Ask for fewer or shorter excerpts"
        )
    kept: Drawn = []
    for start in starts.tolist():
        spots = _spots(book, start, excerpt, segment, edges, rng)
        if spots is not None:
            kept.append((start, spots))
    if len(kept) < n:
        raise DataError(
            f"{book.id}: only {len(kept)} of {n + extra} excerpts of {excerpt} words have a pair of "
            f"segments in every bin {tuple(edges)}, {n} are needed; ask for longer excerpts, fewer "
            "or wider bins, or raise extra"
        )
    kept = [kept[i] for i in np.sort(rng.permutation(len(kept))[:n])]
    halves = [rng.permutation(np.arange(n) % 2 == 0) for _ in edges[1:]]
    out: Drawn = []
    for k, (start, spots) in enumerate(kept):
        turned = [(a, b) if halves[j][k] else (b, a) for j, (a, b) in enumerate(map(sorted, spots))]
        out.append((start, turned))
    return out


def _spots(
    book: Book, start: int, excerpt: int, segment: int, edges: Sequence[int],
    rng: np.random.Generator,
) -> list[tuple[int, int]] | None:  # fmt: skip
    """Starts of a pair in every bin, or None where a bin has none."""
    free = book.starts[start : start + excerpt - segment].copy()
    free[0] = True
    at = np.flatnonzero(free)
    out = []
    for low, high in itertools.pairwise(edges):
        # partners of each start lie in two runs of `at`: before it and behind it
        early, late = np.searchsorted(at, at - high), np.searchsorted(at, at + low, "right")
        before = np.searchsorted(at, at - low) - early
        count = before + np.searchsorted(at, at + high, "right") - late
        able = np.flatnonzero(count)
        if not len(able):
            return None
        one = able[rng.integers(len(able))]
        k = rng.integers(count[one])
        two = early[one] + k if k < before[one] else late[one] + k - before[one]
        out.append((int(at[one]), int(at[two])))
    return out


def uniform(starts: np.ndarray, last: int) -> bool:
    """Whether starts spread evenly over 0 to `last`: p of a Kolmogorov-Smirnov test above 0.05."""
    from scipy.stats import kstest
    from scipy.stats import uniform as flat

    return bool(kstest(starts, flat(loc=0.0, scale=last).cdf).pvalue > _KS)
