"""BM25 over neighbourhoods: the formula in plain loops, a peer, and words."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from byheart.core.errors import UsageError
from byheart.core.memory import Corpus
from byheart.notes.search_keywords import KeywordIndex, spread
from byheart.notes.search_text import STOP_WORDS, passages, stemmer, words

LETTERS = "abcdefgh"
TALKS = st.lists(
    st.tuples(
        st.lists(st.sampled_from(LETTERS), max_size=6),
        st.lists(st.sampled_from(LETTERS), max_size=2),
        st.integers(-1, 2),
    ),
    min_size=1,
    max_size=12,
)


def plain_bm25(bodies, heads, session, query, *, k1, b, reach, decay):
    """The module's formula, term by term and note by note."""
    n = len(bodies)

    def near(i):
        for j in range(n):
            alone = i == j
            # runs: between i and j all have the session of i
            low, high = min(i, j), max(i, j)
            same = session[i] >= 0 and session[j] == session[i]
            if alone or (same and high - low <= reach):
                yield j, decay ** (high - low)

    def f(t, i):
        return sum(w * bodies[j].count(t) for j, w in near(i)) + heads[i].count(t)

    length = [sum(w * len(bodies[j]) for j, w in near(i)) + len(heads[i]) for i in range(n)]
    mean = sum(length) / n
    scores = []
    for i in range(n):
        total = 0.0
        for t in query:
            having = sum(f(t, j) > 0 for j in range(n))
            if f(t, i) > 0:
                idf = math.log(1 + (n - having + 0.5) / (having + 0.5))
                total += idf * f(t, i) / (f(t, i) + k1 * (1 - b + b * length[i] / mean))
        scores.append(total)
    return scores


@given(TALKS, st.lists(st.sampled_from(LETTERS + "z"), max_size=4), st.integers(0, 4))
def test_scores_are_the_formula(talk, query, reach):
    bodies, heads, session = (list(x) for x in zip(*talk, strict=True))
    index = KeywordIndex(k1=1.3, b=0.6, reach=reach, decay=0.4)
    for body, head in zip(bodies, heads, strict=True):
        index.append(body, head)
    expected = plain_bm25(bodies, heads, session, query, k1=1.3, b=0.6, reach=reach, decay=0.4)
    np.testing.assert_allclose(index.scores(query, np.array(session)), expected, atol=1e-12)


def test_without_neighbours_it_is_the_bm25_of_bm25s():
    import bm25s

    draw = random.Random(1)
    notes = [draw.choices(LETTERS, k=draw.randint(1, 9)) for _ in range(40)]
    peer = bm25s.BM25(method="lucene", k1=1.5, b=0.75)
    peer.index(notes, show_progress=False)
    index = KeywordIndex(k1=1.5, b=0.75, reach=0)
    for note in notes:
        index.append(note)
    for query in (["a"], ["b", "h"], ["a", "c", "a"]):
        ours = index.scores(query, np.zeros(40, dtype=int))
        np.testing.assert_allclose(ours, peer.get_scores(query), rtol=1e-5)


@given(
    st.lists(st.tuples(st.floats(-5, 5), st.integers(-1, 2)), max_size=10),
    st.integers(0, 12),
    st.floats(0, 1),
)
def test_spreading_is_the_sum_over_neighbours_of_the_session(pairs, reach, decay):
    values = np.array([p[0] for p in pairs])
    session = np.array([p[1] for p in pairs], dtype=int)
    expected = [
        sum(
            decay ** abs(i - j) * values[j]
            for j in range(len(pairs))
            if i == j or (abs(i - j) <= reach and session[i] == session[j] >= 0)
        )
        for i in range(len(pairs))
    ]
    np.testing.assert_allclose(spread(values, session, reach, decay), expected, atol=1e-9)


def test_the_statistics_of_a_larger_corpus_set_the_weight_of_a_word():
    index = KeywordIndex(reach=0)
    for note in (["rare", "common"], ["common", "x"]):
        index.append(note)
    session = np.full(2, -1)
    large = Corpus(notes=1000, length=2.0, frequency={"common": 900, "rare": 1, "x": 5})
    rare, common = (index.scores([t], session, large)[0] for t in ("rare", "common"))
    idf = [math.log1p((1000 - n + 0.5) / (n + 0.5)) for n in (1, 900)]
    assert [rare, common] == pytest.approx([idf[0] / 2.2, idf[1] / 2.2])
    same = Corpus(notes=2, length=2.0, frequency={"common": 2, "rare": 1, "x": 1})
    for query in (["rare"], ["common", "x"]):
        np.testing.assert_allclose(index.scores(query, session, same), index.scores(query, session))


def test_a_word_that_more_notes_have_weighs_less():
    index = KeywordIndex(reach=0)
    for note in (["a", "b"], ["b", "c"], ["b", "d"]):
        index.append(note)
    session = np.full(3, -1)
    assert index.scores(["a"], session)[0] > index.scores(["b"], session)[0] > 0


def test_nothing_indexed_or_asked_scores_nothing():
    empty = KeywordIndex()
    assert empty.scores(["a"], np.zeros(0, dtype=int)).shape == (0,)
    empty.append([])
    assert empty.scores(["a"], np.full(1, -1)).tolist() == [0.0]
    assert empty.scores([], np.full(1, -1)).tolist() == [0.0]


def test_words_are_lower_case_stemmed_and_free_of_small_change():
    assert words("What did SHE paint? Paintings!", stemmer()) == ["paint", "paint"]
    assert words("7 May 2023") == ["7", "2023"]
    assert all(words(w) == [] for w in STOP_WORDS)


def test_scripts_without_spaces_become_pairs():
    assert words("私は猫が好き") == ["私は", "は猫", "猫が", "が好", "好き"]
    assert words("iPhoneを買う 猫") == ["iphone", "を買", "買う"]
    assert set(words("猫が好き")) <= set(words("私は猫が好き"))


def test_a_language_that_snowball_lacks_is_named():
    assert stemmer("german")("häuser") == stemmer("german")("haus")
    with pytest.raises(UsageError, match=r"klingon.*english"):
        stemmer("klingon")


def test_passages_are_the_sentences():
    assert passages('He said "no." Then left!\nWell…  ok') == [
        'He said "no.',
        "Then left!",
        "Well…",
        "ok",
    ]
    assert passages("猫です。犬です。") == ["猫です。", "犬です。"]
    assert passages("  \n ") == []
    assert passages("3.5 km", speaker="A") == ["A: 3.5 km"]


@given(st.text(max_size=200), st.integers(1, 4))
def test_passages_keep_every_visible_character_and_their_bound(text, most):
    found = passages(text, most=most)
    assert len(found) <= most
    letters = [c for c in text if c.isalnum()]
    assert letters == [c for p in found for c in p if c.isalnum()]
