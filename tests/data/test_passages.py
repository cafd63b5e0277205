"""The shipped passages: paired, of like length, clean, of one author."""

from __future__ import annotations

import re
from collections import defaultdict

import pytest

from byheart.data.passages import Passage, shipped
from byheart.data.texts import units


@pytest.fixture(scope="module")
def pairs() -> dict[str, dict[bool, Passage]]:
    out: dict[str, dict[bool, Passage]] = defaultdict(dict)
    for p in shipped():
        assert p.famous not in out[p.pair], f"{p.pair} has two of a kind"
        out[p.pair][p.famous] = p
    return out


def test_every_famous_passage_has_a_twin_of_its_author_and_length(pairs):
    assert len(pairs) >= 16
    for name, pair in pairs.items():
        assert set(pair) == {True, False}, name
        famous, twin = pair[True], pair[False]
        assert famous.author == twin.author, name
        assert 0.7 < units(famous.text) / units(twin.text) < 1.45, name
        assert min(units(famous.text), units(twin.text)) >= 90, name


def test_arms_are_of_the_same_length_on_the_whole(pairs):
    one, two = (sum(units(p[flag].text) for p in pairs.values()) for flag in (True, False))
    assert abs(one / two - 1) < 0.05


def test_texts_are_old_clean_and_say_where_they_are_from():
    for p in shipped():
        assert 1500 < p.year < 1925, f"{p.id} may not be in the public domain"
        assert p.source.startswith("public domain")
        assert p.text.isascii(), p.id
        assert p.text == " ".join(p.text.split()), p.id
        assert not re.search(r"Gutenberg|CHAPTER|\[|\ufffd", p.text), p.id
    ids = [p.id for p in shipped()]
    assert len(set(ids)) == len(ids)


def test_no_passage_contains_a_stretch_of_another():
    seen: dict[tuple[str, ...], str] = {}
    for p in shipped():
        words = p.text.split()
        for i in range(len(words) - 9):
            key = tuple(words[i : i + 10])
            assert seen.setdefault(key, p.id) == p.id, f"{p.id} and {seen[key]}: {key}"


@pytest.mark.parametrize(
    ("pair", "words"),
    [
        ("pride", "that a single man in possession of a good fortune, must be in want of a wife."),
        ("moby-dick", "Call me Ishmael. Some years ago--never mind how long precisely--having"),
        ("sonnet-18", "So long as men can breathe, or eyes can see,"),
        ("psalm-23", "Yea, though I walk through the valley of the shadow of death,"),
        ("constitution", "in Order to form a more perfect Union, establish Justice,"),
        ("genesis-1", "And God said, Let there be light: and there was light."),
    ],
)
def test_famous_words_stand_in_the_famous_passage(pairs, pair, words):
    assert words in pairs[pair][True].text
    assert words not in pairs[pair][False].text
