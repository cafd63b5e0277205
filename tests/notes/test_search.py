"""Finding notes: each part by hand, then properties."""

from __future__ import annotations

import itertools
import random
from datetime import date, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from byheart.core.errors import UsageError
from byheart.notes.search import Note, NoteSearch, Weights
from byheart.notes.search_text import words

TOPICS = ["cat", "dog", "paint", "music", "boat", "tea"]


def bag(texts: list[str]) -> np.ndarray:
    """A toy encoder: one axis a topic, and one for all the rest."""
    rows = np.array(
        [[float(t in text.lower()) for t in TOPICS] + [0.1] for text in texts], dtype=np.float32
    ).reshape(len(texts), len(TOPICS) + 1)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def ids(found) -> list:
    return [m.note.id for m in found]


TALK = [
    Note("q", "Which instrument have you learned?", "Ann", date(2023, 5, 8), 1, 0),
    Note("a", "The violin, since last summer.", "Bob", date(2023, 5, 8), 1, 1),
    Note("b", "It rains.", "Ann", date(2023, 5, 8), 1, 2),
    Note("c", "My violin broke.", "Ann", date(2023, 6, 9), 2, 3),
    Note("d", "I made soup.", "Bob", date(2023, 6, 9), 2, 4),
]


def test_the_answer_is_found_by_the_words_of_the_question_before_it():
    alone = NoteSearch(TALK, weights=Weights(reach=0, asking=0, speaker=0))
    assert ids(alone.search("instrument", 5)) == ["q"]
    near = NoteSearch(TALK, weights=Weights(asking=0, speaker=0))
    assert ids(near.search("instrument", 5)) == ["q", "a", "b"]


def test_neighbours_end_with_the_session():
    found = NoteSearch(TALK).search("soup", 5)
    assert set(ids(found)) == {"d", "c"}


def test_notes_without_a_session_stand_alone():
    lone = [Note(i, t) for i, t in enumerate(["blue", "green", "red"])]
    assert ids(NoteSearch(lone).search("blue", 3)) == [0]


def test_a_note_that_only_asks_stands_behind_one_that_tells():
    notes = [Note(1, "Do you like tea?"), Note(2, "You like tea.")]
    assert ids(NoteSearch(notes).search("tea")) == [2, 1]
    assert ids(NoteSearch(notes, weights=Weights(asking=0)).search("tea")) == [1, 2]
    assert Note(1, 'He said "why?"').asking == 1
    assert Note(1, "Why? Because. It is.").asking == pytest.approx(1 / 3)
    assert Note(1, "").asking == 0


def test_the_speaker_named_in_the_query_comes_first_without_an_encoder():
    notes = [Note(1, "I like tea.", "Bob"), Note(2, "I like tea.", "Ann Lee")]
    assert ids(NoteSearch(notes).search("Does Ann Lee like tea?")) == [2, 1]
    # half a name is not the name
    parts = NoteSearch(notes, weights=Weights(speaker=9.0)).scores("Does Lee like tea?")
    assert parts.total.max() <= 1


def test_a_time_in_the_query_meets_the_day_and_the_expressions_of_notes():
    search = NoteSearch(TALK)
    assert search.scores("in June 2023").time.tolist() == [0, 0, 0, 1, 1]
    assert search.scores("in summer 2022").time.tolist() == [0, 1, 0, 0, 0]
    assert search.scores("last week").time.tolist() == [0] * 5
    asked = datetime(2023, 5, 17, 12)
    assert search.scores("last week", asked=asked).time.tolist() == [1, 1, 1, 0, 0]


def test_the_month_of_a_note_can_be_asked_for_in_words():
    assert ids(NoteSearch(TALK).search("violin in June 2023", 1)) == ["c"]


def test_the_parts_add_up_as_documented():
    texts = [
        "Have you a cat? I had.",
        "My dog hates a cat. Tea!",
        "Music.",
        "A boat.",
        "Cat music.",
    ]
    notes = [
        Note(i, text, "Bob", date(2023, 5 + (i > 2), 8), int(i > 2), i)
        for i, text in enumerate(texts)
    ]
    query = "Where is the cat of Bob in May 2023"
    search = NoteSearch(notes, encode=bag)
    s = search.scores(query)
    passages = [n.passages() for n in notes]
    q = bag([query])[0]
    nearest = np.array([max(bag(p) @ q) for p in passages])
    middle = np.array([bag(p).mean(0) / np.linalg.norm(bag(p).mean(0)) for p in passages])
    around = []
    for i, j in itertools.product(range(5), range(5)):
        weight = 0.5 ** abs(i - j) * (notes[i].session == notes[j].session)
        if j == 0:
            around.append(np.zeros(len(q)))
        around[i] = around[i] + weight * middle[j]
    cosine = np.array([v @ q / np.linalg.norm(v) for v in around])
    np.testing.assert_allclose(s.meaning, (nearest + cosine) / 2, atol=1e-6)

    def scaled(x):
        return (x - x.min()) / (x.max() - x.min())

    asking = np.array([0.5, 0, 0, 0, 0])
    total = ((scaled(s.words) + scaled(s.meaning)) / 2 + 0.25 * s.time) * (1 - 0.2 * asking)
    np.testing.assert_allclose(s.total, total)


def test_meaning_finds_what_words_do_not():
    def same(texts):
        return bag([t.replace("kitten", "cat") for t in texts])

    notes = [Note(1, "A boat."), Note(2, "A cat."), Note(3, "Some tea.")]
    assert ids(NoteSearch(notes, encode=same).search("kitten", 1)) == [2]
    assert NoteSearch(notes).search("kitten", 1) == []


def test_one_sentence_of_a_long_note_is_enough():
    notes = [Note(1, "My dog. The boat. Some tea. The cat."), Note(2, "cat music paint boat tea")]
    s = NoteSearch(notes, encode=bag, weights=Weights(context=0)).scores("cat")
    assert s.meaning[0] > s.meaning[1]
    assert s.meaning[0] == pytest.approx(1, abs=1e-6)


def test_ties_are_broken_by_order():
    notes = [Note(i, "the same tea", order=-i) for i in range(30)]
    found = NoteSearch(notes, encode=bag).search("tea", 7)
    assert ids(found) == [29, 28, 27, 26, 25, 24, 23]
    assert len({m.score for m in found}) == 1


SENTENCES = st.lists(
    st.sampled_from([*TOPICS, "yesterday", "in May 2023", "Ann", "what?", "é", "猫", "\x00", ""]),
    max_size=5,
).map(" ".join)
NOTES = st.lists(
    st.tuples(
        SENTENCES,
        st.sampled_from(["", "Ann", "Bob"]),
        st.sampled_from([None, 1, 2]),
        st.one_of(st.none(), st.dates(date(2023, 4, 1), date(2023, 6, 30))),
    ),
    max_size=10,
).map(lambda rows: [Note(i, t, s, day, run, i) for i, (t, s, run, day) in enumerate(rows)])


def same_scores(a: NoteSearch, b: NoteSearch, query: str) -> None:
    assert [n.id for n in a.notes] == [n.id for n in b.notes]
    x, y = a.scores(query), b.scores(query)
    for part in ("words", "meaning", "time", "total"):
        np.testing.assert_allclose(getattr(x, part), getattr(y, part), atol=1e-6)


@settings(max_examples=60)
@given(NOTES, SENTENCES, st.randoms(use_true_random=False), st.sampled_from([None, bag]))
def test_the_order_of_giving_does_not_matter(notes, query, draw, encode):
    mixed = draw.sample(notes, len(notes))
    same_scores(NoteSearch(notes, encode=encode), NoteSearch(mixed, encode=encode), query)


@settings(max_examples=60)
@given(NOTES, SENTENCES, st.integers(0, 10), st.sampled_from([None, bag]))
def test_adding_later_and_removing_again_leaves_what_would_have_been(notes, query, cut, encode):
    grown = NoteSearch(notes[:cut], encode=encode)
    grown.scores(query)  # derived state made early must not be kept too long
    for note in notes[cut:]:
        grown.add([note])
    same_scores(grown, NoteSearch(notes, encode=encode), query)
    grown.remove([n.id for n in notes[cut:]])
    same_scores(grown, NoteSearch(notes[:cut], encode=encode), query)


@settings(max_examples=60)
@given(NOTES, SENTENCES, st.integers(1, 12), st.sampled_from([None, bag]))
def test_what_is_found_is_ranked_bounded_and_repeatable(notes, query, k, encode):
    search = NoteSearch(notes, encode=encode)
    found = search.search(query, k)
    assert len(found) <= min(k, len(notes))
    assert [m.score for m in found] == sorted((m.score for m in found), reverse=True)
    assert len(set(ids(found))) == len(found)
    assert found == search.search(query, k)
    assert ids(found) == ids(search.search(query, len(notes) + 1))[:k]
    assert all(np.isfinite(m.score) for m in found)


@given(NOTES, st.sampled_from(TOPICS))
def test_another_mention_never_lowers_a_note_beneath_its_twin(notes, topic):
    twins = [Note("less", f"zinc {topic} zinc"), Note("more", f"zinc {topic} {topic}")]
    found = ids(NoteSearch([*notes, *twins]).search(topic, 20))
    assert found.index("more") < found.index("less")


def test_many_notes_are_cut_as_few_are():
    draw = random.Random(3)
    notes = [Note(i, " ".join(draw.choices(TOPICS, k=3)), order=i) for i in range(500)]
    search = NoteSearch(notes, encode=bag)
    total = search.scores("cat music").total
    expected = sorted(range(500), key=lambda i: (-total[i], i))[:9]
    assert ids(search.search("cat music", 9)) == expected


def test_no_note_one_note_and_empty_texts():
    assert NoteSearch().search("tea") == []
    assert NoteSearch(encode=bag).search("tea") == []
    assert ids(NoteSearch([Note(1, "tea")]).search("tea")) == [1]
    assert ids(NoteSearch([Note(1, "tea")], encode=bag).search("tea")) == [1]
    empty = NoteSearch([Note(1, ""), Note(2, "tea"), Note(3, "", attached=("tea",))], encode=bag)
    assert set(ids(empty.search("tea"))) == {2, 3}
    assert NoteSearch([Note(1, "tea")]).search("") == []


def test_vectors_that_were_kept_are_not_made_again():
    first = NoteSearch(TALK, encode=bag)
    asked = []

    def spy(texts):
        asked.append(texts)
        return bag(texts)

    again = NoteSearch(TALK, encode=spy, vectors=first.vectors())
    same_scores(first, again, "violin")
    assert asked == [["violin"]]


def test_nothing_of_a_removed_note_remains():
    search = NoteSearch(TALK, encode=bag)
    search.remove(["c"])
    assert ids(search.search("broke", 9)) == ids(
        NoteSearch([n for n in TALK if n.id != "c"], encode=bag).search("broke", 9)
    )
    assert all("broke" not in n.text for n in search.notes)
    search.add([next(n for n in TALK if n.id == "c")])
    same_scores(search, NoteSearch(TALK, encode=bag), "broke")


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda s: s.add([Note("a", "x")]), "'a' is there already"),
        (lambda s: s.add([Note("z", "x"), Note("z", "y")]), "'z' is there already"),
        (lambda s: s.remove(["nobody"]), "no note with id 'nobody'"),
        (lambda s: s.search("x", 0), "k must be at least 1, got 0"),
        (lambda s: s.add([Note("z", "x")], vectors=[]), "0 arrays of vectors for 1 notes"),
        (lambda s: s.add([Note("z", "x")], vectors=[np.ones((2, 7))]), "has 1 passages"),
        (lambda s: s.add([Note("z", "x")], vectors=[np.ones((1, 3))]), "different encoders"),
    ],
)
def test_what_cannot_be_meant_is_said_and_changes_nothing(act, message):
    search = NoteSearch(TALK, encode=bag)
    before = search.notes
    with pytest.raises(UsageError, match=message):
        act(search)
    assert search.notes == before
    same_scores(search, NoteSearch(TALK, encode=bag), "violin")


def test_a_broken_encoder_is_named_and_adds_nothing():
    for broken, message in [
        (lambda t: np.full((len(t), 2), np.nan), "NaN"),
        (lambda t: np.ones((1, 2)), "not \\[N, D\\]"),
    ]:
        search = NoteSearch(encode=broken)
        with pytest.raises(UsageError, match=message):
            search.add(TALK)
        assert len(search) == 0
    other = NoteSearch(TALK, encode=bag)
    other.encode = lambda t: np.ones((len(t), 3), np.float32)
    with pytest.raises(UsageError, match="different encoders"):
        other.search("tea")


@pytest.mark.parametrize(
    "wrong", [{"meaning": -1}, {"decay": 1.5}, {"asking": -0.1}, {"reach": -1}]
)
def test_weights_out_of_range_are_refused(wrong):
    with pytest.raises(UsageError, match=next(iter(wrong))):
        Weights(**wrong)


def test_the_doc_says_which_words_are_sought():
    assert words("Where is it?") == []


@pytest.mark.slow
def test_minilm_gives_unit_vectors_that_do_not_depend_on_the_batch():
    from byheart.notes import MiniLM

    texts = [
        "A cat.",
        "A kitten sleeps on the warm stove all day long.",
        "Interest rates rose.",
        "",
    ]
    rows = MiniLM()(texts)
    assert rows.shape == (4, 384)
    assert rows.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(rows, np.concatenate([MiniLM()([t]) for t in texts]), atol=1e-5)
    assert rows[0] @ rows[1] > rows[0] @ rows[2] + 0.2
    assert MiniLM()([]).shape == (0, 384)
