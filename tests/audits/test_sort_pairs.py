"""Pairs against the authors' own draws, brute force and properties; exports."""

import importlib.util
import itertools
import json
import random
import sys
import types
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from byheart.audits._sort.pairs import _spots
from byheart.audits.book_sort import (
    FIELDS,
    Book,
    bins_of,
    book_seed,
    chronicle,
    ends_sentence,
    make_pairs,
    messages,
    read_pairs,
    record,
    strays,
    to_datasets,
    to_jsonl,
    training_texts,
)
from byheart.core.errors import DataError, MissingExtra, UsageError

REFERENCE = json.loads((Path(__file__).parent / "sort_reference.json").read_text())
"""What the authors' `create_sort_samples` (bridge-ai-neuro/SORT @ ba13631) gave for `words` below."""


def words(seed, n):
    rng = random.Random(seed)
    out = []
    while len(out) < n:
        some = [
            rng.choice(
                [
                    "the",
                    "a",
                    "rain",
                    "mr.",
                    "sun",
                    "walk",
                    "over",
                    "under",
                    "house",
                    "tree",
                    "he",
                    "she",
                    "it",
                    "we",
                    "sat",
                    "ran",
                ]
            )
            for _ in range(rng.randint(3, 14))
        ]
        some[0] = some[0].capitalize()
        some[-1] += rng.choice(".?!;")
        out += some
    return tuple(out[:n])


@pytest.mark.parametrize("name", sorted(n for n in REFERENCE if "words_seed" in REFERENCE[n]))
def test_with_the_authors_seed_the_pairs_are_theirs(name):
    told = REFERENCE[name]
    sizes = {k: told[k] for k in ("excerpt", "segment", "n", "extra", "seed")}
    pairs = make_pairs(Book("r", words(told["words_seed"], 6000)), **sizes, compat=True)
    assert [p.start for p in pairs[:: len(told["shown"])]] == told["starts"]
    for edge, expected in told["shown"].items():
        shown = [
            [p.first_at, p.second_at] if p.earlier_first else [p.second_at, p.first_at]
            for p in pairs if p.bin == int(edge)
        ]  # fmt: skip
        assert expected == shown
    other = make_pairs(
        Book("r", words(told["words_seed"], 6000)), **{**sizes, "seed": 5}, compat=True
    )
    assert [p.start for p in other] != [p.start for p in pairs]


@pytest.mark.parametrize("name", sorted(n for n in REFERENCE if n.startswith("array")))
def test_with_the_authors_seed_arrays_give_their_pairs(name):
    """Their sampler for arrays of any shape: no sentences, another rule at the upper edge."""
    told = REFERENCE[name]
    sizes = {k: told[k] for k in ("excerpt", "segment", "bins", "n", "extra", "seed")}
    book = Book("r", tuple(map(str, range(told["length"]))), sentences=False)
    pairs = make_pairs(book, **sizes, compat=True)
    assert [p.start for p in pairs[:: len(told["shown"])]] == told["starts"]
    for edge, expected in told["shown"].items():
        some = [p for p in pairs if p.bin == int(edge)]
        shown = [
            [p.first_at, p.second_at] if p.earlier_first else [p.second_at, p.first_at]
            for p in some
        ]  # fmt: skip
        assert expected == shown
        assert told["keys"][edge] == "".join(p.answer() for p in some)


def test_the_authors_bins_and_seeds():
    assert bins_of(250, 20) == (20, 62, 83, 125, 200)
    assert bins_of(1000, 50) == (50, 250, 333, 500, 800)
    assert bins_of(20_000, 20) == (20, 1000, 5000, 10_000, 16_000)
    assert book_seed(73042, 2500, 50) == 75592


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000), n=st.integers(1, 9), segment=st.integers(1, 25),
    excerpt=st.integers(150, 400),
)  # fmt: skip
def test_what_every_pair_keeps(seed, n, segment, excerpt):
    book = Book("b", words(seed, 3000))
    sizes = {"excerpt": excerpt, "segment": segment, "n": n, "extra": 30, "seed": seed}
    pairs = make_pairs(book, **sizes)
    _hold(book, pairs, excerpt, segment, n)
    for edge in bins_of(excerpt, segment)[1:]:
        first = sum(p.earlier_first for p in pairs if p.bin == edge)
        assert first in (n // 2, n - n // 2)
    assert pairs == make_pairs(book, **sizes)


def test_the_authors_draws_keep_it_too_but_for_the_balance():
    book = Book("b", words(3, 6000))
    pairs = make_pairs(book, n=30, extra=20, seed=69357, compat=True)
    _hold(book, pairs, 250, 20, 30)
    assert {sum(p.earlier_first for p in pairs if p.bin == b) for b in bins_of(250, 20)[1:]} == {
        13, 15, 16
    }  # fmt: skip


def _hold(book, pairs, excerpt, segment, n):
    edges = bins_of(excerpt, segment)
    assert len(pairs) == n * (len(edges) - 1)
    for pair in pairs:
        inside = pair.excerpt.split()
        low = edges[edges.index(pair.bin) - 1]
        assert book.words[pair.start : pair.start + excerpt] == tuple(inside)
        assert inside[pair.first_at : pair.first_at + segment] == pair.first.split()
        assert inside[pair.second_at : pair.second_at + segment] == pair.second.split()
        assert len(pair.first.split()) == len(pair.second.split()) == segment
        assert pair.first_at + segment < pair.second_at + 1
        assert low < pair.distance <= pair.bin
        for at in (pair.first_at, pair.second_at):
            before = pair.start + at - 1
            assert at == 0 or ends_sentence(book.words[before])
        assert pair.start == 0 or ends_sentence(book.words[pair.start - 1])
        shown, swapped = pair.shown(), pair.shown(swap=True)
        assert shown == swapped[::-1]
        assert shown["AB".index(pair.answer())] == pair.first
        assert swapped["AB".index(pair.answer(True))] == pair.first
        assert pair.answer(task="last") != pair.answer()
    for k in range(n):  # the same excerpt in all bins
        assert len({(p.start, p.excerpt) for p in pairs if p.excerpt_index == k}) == 1


def test_starts_are_drawn_as_rejection_would_draw_them():
    """The list of those that have a partner, against trying starts until one has."""
    book = Book("b", words(11, 160))
    excerpt, segment, edges = 120, 4, (4, 12, 25)
    rng = np.random.default_rng(0)
    counts = Counter()
    for _ in range(4000):
        for edge, (a, b) in zip(
            edges[1:], _spots(book, 0, excerpt, segment, edges, rng), strict=True
        ):
            counts[edge, min(a, b), max(a, b)] += 1
    starts = [i for i in range(excerpt - segment) if i == 0 or ends_sentence(book.words[i - 1])]
    expected = Counter()
    for low, high in itertools.pairwise(edges):
        partners = {s: [t for t in starts if low < abs(t - s) <= high] for s in starts}
        able = [s for s in starts if partners[s]]
        for s in able:
            for t in partners[s]:
                expected[high, min(s, t), max(s, t)] += 1 / len(able) / len(partners[s])
    assert set(counts) == set(expected)
    for edge in edges[1:]:
        cells = [c for c in expected if c[0] == edge]
        assert len(cells) > 5
        total = sum(counts[c] for c in cells)
        assert (
            chisquare([counts[c] for c in cells], [expected[c] * total for c in cells]).pvalue
            > 1e-3
        )


def test_excerpts_spread_over_the_book():
    pairs = make_pairs(chronicle(20_000, seed=3), n=100, extra=20, seed=4)
    starts = np.array([p.start for p in pairs[::4]])
    assert np.histogram(starts, 4, (0, 20_000))[0].min() >= 12


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"excerpt": 250, "segment": 62}, "edges of bins must rise"),
        ({"excerpt": 250, "segment": 0}, "at least 1 word"),
        ({"bins": (10, 100)}, "overlap at distances above 10"),
        ({"bins": (20, 240, 300)}, "more than 240 words apart"),
        ({"excerpt": 30, "bins": (20, 25)}, "no two segments of 20 words"),
        ({"bins": (100, 50)}, "must rise"),
        ({"n": 0}, "n must be at least 1"),
        ({"seed": -1}, "negative"),
        ({"n": 3, "extra": 2, "compat": True}, "even n"),
        ({"seed": 1 << 32, "compat": True}, "below"),
    ],
)
def test_sizes_that_cannot_be_are_named(sizes, message):
    with pytest.raises(UsageError, match=message):
        make_pairs(Book("b", words(1, 3000)), **sizes)


def test_books_that_are_too_short_or_have_no_sentences_are_named():
    short = Book("tale.txt", words(1, 250))
    for compat in (False, True):
        with pytest.raises(DataError, match=r"tale.txt has 250 words; excerpts of 250 need more"):
            make_pairs(short, compat=compat)
    endless = Book("stream", ("word",) * 3000)  # one sentence: every excerpt starts at word 0
    with pytest.raises(DataError, match="did not spread evenly"):
        make_pairs(endless, n=20, extra=0)
    few = Book("few", tuple(w for i in range(60) for w in ["w"] * 49 + [f"{i}."]))
    with pytest.raises(DataError, match="have a pair of segments in every bin"):
        make_pairs(few, bins=(20, 30, 40), n=20, extra=10)


def test_events_of_any_kind_can_be_ordered(tmp_path):
    class Note:
        def __init__(self, content):
            self.content = content

    log = Book.from_events([Note(f"event {i}\nof many") for i in range(200)], title="log")
    pairs = make_pairs(log, excerpt=50, segment=2, n=6, extra=2, seed=1)
    assert all(p.excerpt.split("\n")[p.first_at] == p.first.split("\n")[0] for p in pairs)
    assert pairs[0].first.count("\n") == 1
    path = to_jsonl(pairs, tmp_path / "log.jsonl")
    assert read_pairs(path) == pairs


def test_pairs_go_out_and_come_back(tmp_path):
    book = Book("Tales", words(2, 3000), id="69087")
    pairs = make_pairs(book, n=6, extra=2, seed=1)
    path = to_jsonl(pairs, tmp_path / "new" / "p.jsonl")
    assert read_pairs(path) == pairs
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert tuple(rows[0]) == FIELDS
    assert rows[0]["book_idx"] == 69087
    assert rows[0] == record(pairs[0])
    other = make_pairs(Book("X", words(5, 3000), id="x.txt"), n=2, extra=2)
    assert strays(pairs, book) == []
    assert strays(other, book) == other


def test_export_to_datasets(monkeypatch, tmp_path):
    """Without the package it says what to type; with it the published columns come out."""
    pairs = make_pairs(Book("T", words(2, 3000), id="69087"), n=2, extra=2, seed=1)
    other = make_pairs(Book("X", words(5, 3000), id="x.txt"), n=2, extra=2)
    with pytest.raises(UsageError, match="no pair"):
        to_datasets([])
    real = importlib.util.find_spec("datasets") is not None
    if real:
        table = to_datasets(pairs)
        assert table.column_names == list(FIELDS)
        assert set(to_datasets([*pairs, *other])["book_idx"]) == {"69087", "x.txt"}
        table.to_parquet(str(tmp_path / "p.parquet"))
    stand_in = types.ModuleType("datasets")
    stand_in.Dataset = types.SimpleNamespace(from_list=list)
    monkeypatch.setitem(sys.modules, "datasets", stand_in)
    assert to_datasets(pairs) == [record(p) for p in pairs]
    assert {r["book_idx"] for r in to_datasets([*pairs, *other])} == {"69087", "x.txt"}
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises((MissingExtra, ModuleNotFoundError), match="datasets"):
        to_datasets(pairs)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"segment_1": None}, "segment_1 must be text"),
        ({"segment_1": "other words"}, "segment_1 does not stand at word"),
        ({"seg2_pos": -1}, "segment_2 does not stand at word -1"),
        ({"seg1_pos": "3"}, "must be a whole number"),
        ({"present_seg1_first": 2}, "is 0 or 1"),
        ({"excerpt_pos": "x"}, "must be a number"),
        ({"distance_bin": ...}, "lacks distance_bin"),
    ],
)
def test_a_key_with_gaps_is_named_with_its_line(tmp_path, change, message):
    row = record(make_pairs(Book("b", words(2, 3000)), n=2, extra=2)[0])
    row = {k: v for k, v in {**row, **change}.items() if v is not ...}
    path = tmp_path / "p.jsonl"
    path.write_text("\n" + json.dumps(row) + "\n")
    with pytest.raises(DataError, match=f"line 2: .*{message}"):
        read_pairs(path)


def test_the_later_segment_is_not_before_the_earlier_nor_a_pair_twice(tmp_path):
    row = record(make_pairs(Book("b", words(2, 3000)), n=2, extra=2)[0])
    path = tmp_path / "p.jsonl"
    turned = {**row, "segment_1": row["segment_2"], "segment_2": row["segment_1"],
              "seg1_pos": row["seg2_pos"], "seg2_pos": row["seg1_pos"]}  # fmt: skip
    path.write_text(json.dumps(turned))
    with pytest.raises(DataError, match="is not before"):
        read_pairs(path)
    path.write_text(json.dumps(row) + "\n" + json.dumps(row))
    with pytest.raises(DataError, match="line 2: a second pair"):
        read_pairs(path)
    path.write_text("\n")
    with pytest.raises(DataError, match="no pairs"):
        read_pairs(path)


def test_training_texts_hold_the_whole_book_in_order():
    book = Book("b", words(4, 3000))
    chunks = training_texts(book, words=500)
    frame = messages(make_pairs(book, n=1, extra=9)[0], "context")[1][1].split("\n\n")[0]
    assert all(c.startswith("Please read this extract from the book b") for c in chunks)
    assert all(c.startswith(frame) for c in chunks)
    told = [w for c in chunks for w in c.split("\n\n", 1)[1].split()]
    assert tuple(told) == book.words
    assert all(ends_sentence(c.split()[-1]) for c in chunks[:-1])
    assert all(500 <= len(c.split("\n\n", 1)[1].split()) < 516 for c in chunks[:-1])
