"""Postings in bytes: which items of a segment have a word, and how often.

Items of a segment are numbered from 0, so a number fits two bytes. A term's postings are

    width | numbers, ascending, 2 bytes each | counts, `width` bytes each (none if all are 1)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

__all__ = ["LARGEST", "decode", "encode", "invert", "merge"]

LARGEST = 65_536
"""Items of a segment at most."""

_COUNTS: dict[int, Any] = {0: np.dtype("u1"), 1: np.dtype("u1"), 4: np.dtype("<u4")}


def _width(most: int) -> int:
    return 0 if most == 1 else 1 if most < 256 else 4


def encode(docs: np.ndarray, counts: np.ndarray | None) -> bytes:
    """Bytes of a term's postings.

    >>> encode(np.array([3, 7]), np.array([1, 2])).hex()
    '01030007000102'
    """
    width = 0 if counts is None else _width(int(counts.max()))
    body = docs.astype("<u2").tobytes()
    return bytes([width]) + body + (counts.astype(_COUNTS[width]).tobytes() if width else b"")  # type: ignore[union-attr]


def decode(data: bytes) -> tuple[np.ndarray, np.ndarray | None]:
    """Back from `encode`; counts are None where all are 1.

    Raises:
        ValueError: No such bytes come from `encode`.
    """
    width = data[0] if data else -1
    n, rest = divmod(len(data) - 1, 2 + width)
    if width not in _COUNTS or rest or not n:
        raise ValueError(f"{len(data)} bytes that are no postings")
    docs = np.frombuffer(data, "<u2", n, 1)
    return docs, np.frombuffer(data, _COUNTS[width], n, 1 + 2 * n) if width else None


def invert(words: Sequence[Sequence[str]]) -> Iterator[tuple[str, bytes]]:
    """Terms in ascending order with their postings, of items given as lists of words.

    >>> [(term, data.hex()) for term, data in invert([["a", "b", "a"], ["b"]])]
    [('a', '01000002'), ('b', '0000000100')]
    """
    numbers: dict[str, int] = {}
    flat = [numbers.setdefault(w, len(numbers)) for some in words for w in some]
    doc = np.repeat(np.arange(len(words)), [len(some) for some in words])
    return _emit(list(numbers), np.array(flat, np.int64), doc, np.ones(len(flat), np.int64))


def merge(
    parts: Iterable[tuple[np.ndarray, Iterable[tuple[str, bytes]]]],
) -> Iterator[tuple[str, bytes]]:
    """Postings of several segments as of one.

    Args:
        parts: Of each segment the new numbers of its items (`[n]`, -1 for those left out) and its
            postings.
    """
    numbers: dict[str, int] = {}
    terms, docs, counts = [], [], []
    for new, postings in parts:
        told, pieces, often = [], [], []
        for term, data in postings:
            some, n = decode(data)
            told.append((numbers.setdefault(term, len(numbers)), len(some)))
            pieces.append(some)
            often.append(np.ones(len(some), np.int64) if n is None else n)
        if not told:
            continue
        numbered = new[np.concatenate(pieces)]
        keep = numbered >= 0
        of, sizes = np.array(told, np.int64).T
        terms.append(np.repeat(of, sizes)[keep])
        docs.append(numbered[keep])
        counts.append(np.concatenate(often).astype(np.int64)[keep])
    if not terms:
        return iter(())
    return _emit(list(numbers), np.concatenate(terms), np.concatenate(docs), np.concatenate(counts))


def _emit(
    names: list[str], term: np.ndarray, doc: np.ndarray, count: np.ndarray
) -> Iterator[tuple[str, bytes]]:
    """Postings out of triples in any order; counts of the same term and item are added up."""
    if not len(term):
        return
    order = sorted(range(len(names)), key=names.__getitem__)
    rank = np.empty(len(names), np.int64)
    rank[order] = np.arange(len(names))
    key, where = np.unique(rank[term] * LARGEST + doc, return_inverse=True)
    count = np.bincount(where, weights=count).astype(np.int64)
    which, doc = key // LARGEST, (key % LARGEST).astype("<u2")
    starts = np.flatnonzero(np.diff(which, prepend=-1))
    ends = np.append(starts[1:], len(key)).tolist()
    most = np.maximum.reduceat(count, starts).tolist()
    in_2, in_1 = doc.tobytes(), np.minimum(count, 255).astype("u1").tobytes()
    for number, a, b, top in zip(which[starts].tolist(), starts.tolist(), ends, most, strict=True):
        width, body = _width(top), in_2[2 * a : 2 * b]
        if width == 1:
            body += in_1[a:b]
        elif width:
            body += count[a:b].astype("<u4").tobytes()
        yield names[order[number]], bytes((width,)) + body
