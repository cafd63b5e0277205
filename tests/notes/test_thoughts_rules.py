"""Thoughts out of sentences by rules: a small gold set, and what must yield nothing."""

from __future__ import annotations

from datetime import date

import pytest

from byheart.notes._thought import deny, norm_relation, norm_tail
from byheart.notes._thought_rules import extract_thoughts

SAID = "2023-05-08"

GOLD = [
    ("I moved to Rome last month", ("Ana", "lives in", "Rome"), "2023-04-01"),
    ("I just moved from Bern to Rome!", ("Ana", "lives in", "Rome"), SAID),
    ("I've been living in Oslo since 2016.", ("Ana", "lives in", "Oslo"), "2016-01-01"),
    ("I lived in Berlin in 2019", ("Ana", "lived in", "Berlin"), "2019-01-01"),
    ("Hey! I work at Acme now.", ("Ana", "works at", "Acme"), SAID),
    ("I have been working for Acme for three years", ("Ana", "works at", "Acme"), SAID),
    ("I got a new job at Siemens", ("Ana", "works at", "Siemens"), SAID),
    ("I started a new job as a teacher in May 2022", ("Ana", "works as", "a teacher"), "2022-05-01"),
    ("I became a nurse in 2020", ("Ana", "works as", "a nurse"), "2020-01-01"),
    ("I'm 34 years old", ("Ana", "is aged", "34"), SAID),
    ("My name is Ana Silva", ("Ana", "is named", "Ana Silva"), SAID),
    ("My dog's name is Rex", ("Ana's dog", "is named", "Rex"), SAID),
    ("my favorite food is pizza", ("Ana", "has the favourite food", "pizza"), SAID),
    ("I got married to Tom yesterday", ("Ana", "is married to", "Tom"), "2023-05-07"),
    ("I'm allergic to penicillin", ("Ana", "is allergic to", "penicillin"), SAID),
    ("My sister lives in Paris.", ("Ana's sister", "lives in", "Paris"), SAID),
    ("Ben lives in Paris.", ("Ben", "lives in", "Paris"), SAID),
    ("I have two cats", ("Ana", "has", "two cats"), SAID),
    ("I went to a support group yesterday and it was powerful", ("Ana", "went to", "a support group"), "2023-05-07"),
    ("I painted that lake sunrise last year!", ("Ana", "painted", "that lake sunrise"), "2022-01-01"),
    ("I found out recently that I'm allergic to cockroaches", ("Ana", "is allergic to", "cockroaches"), SAID),
    ("Last Friday I ran a charity race", ("Ana", "ran", "a charity race"), "2023-05-05"),
    ("In 2019, I lived in Berlin", ("Ana", "lived in", "Berlin"), "2019-01-01"),
    ("Now I have a red boat", ("Ana", "has", "a red boat"), SAID),
    ("I went to Paris with Tom", ("Ana", "went to", "Paris with Tom"), SAID),
    ("I love to hike the Alps", ("Ana", "loves to hike", "the Alps"), SAID),
]  # fmt: skip


@pytest.mark.parametrize(("text", "triple", "since"), GOLD)
def test_gold(text, triple, since):
    (thought,) = extract_thoughts(text, speaker="Ana", said=SAID)
    assert (thought.head, thought.relation, thought.tail) == triple
    assert f"{thought.valid_from:%Y-%m-%d}" == since
    assert not thought.negated
    assert thought.text.startswith(f"{triple[0]} {triple[1]} {triple[2]}")


@pytest.mark.parametrize(
    "text",
    [
        "Do you live in Rome?",
        "Where did I put my keys?",
        "If I moved to Rome, I'd be happy.",
        "When I lived there it rained.",
        "Maybe I will move to Rome.",
        "Thanks so much!",
        "Hey Ana! Good to see you!",
        "Wow, congrats!",
        "Yes.",
        "",
        "...",
        "I think so.",
    ],
)
def test_questions_greetings_and_conditions_yield_nothing(text):
    assert extract_thoughts(text, speaker="Ana", said=SAID) == []


@pytest.mark.parametrize(
    ("text", "relation", "tail", "says"),
    [
        ("I don't live in Rome anymore.", "lives in", "Rome", "Ana does not live in Rome"),
        ("I no longer work at Siemens", "works at", "Siemens", "Ana does not work at Siemens"),
        ("I do not like olives", "likes", "olives", "Ana does not like olives"),
        ("I never eat meat", "eats", "meat", "Ana does not eat meat"),
        ("I stopped smoking cigarettes", "smokes", "cigarettes", "Ana does not smoke cigarettes"),
        ("I quit my job at Google", "works at", "Google", "Ana does not work at Google"),
        ("I am not allergic to nuts", "is allergic to", "nuts", "Ana is not allergic to nuts"),
    ],
)
def test_negation_is_kept_beside_the_positive_relation(text, relation, tail, says):
    (thought,) = extract_thoughts(text, speaker="Ana", said=SAID)
    assert (thought.relation, thought.tail, thought.negated) == (relation, tail, True)
    assert thought.text == says


def test_the_past_is_no_present():
    was, is_not = extract_thoughts("I used to live in Bern.", speaker="Ana", said=SAID)
    assert (was.text, was.relation) == ("Ana lived in Bern", "lived in")
    assert (is_not.text, is_not.negated) == ("Ana does not live in Bern", True)


@pytest.mark.parametrize(
    "text",
    [
        "I would love to live in Rome",
        "I'm planning to move to Rome next year",
        "I might move to Rome",
        "I'm going to move to Rome in June",
        "I want to live in Rome",
    ],
)
def test_wishes_and_plans_are_no_facts(text):
    for thought in extract_thoughts(text, speaker="Ana", said=SAID):
        assert thought.relation != "lives in"
        assert not thought.single
        assert thought.valid_from.date() == date(2023, 5, 8), "a plan is one as soon as it is told"


def test_several_on_one_subject():
    made = extract_thoughts("I love hiking, chess and tea.", speaker="Ana", said=SAID)
    assert [t.tail for t in made] == ["hiking", "chess", "tea"]
    made = extract_thoughts("I work as an actor and a director.", speaker="Ana", said=SAID)
    assert [t.tail for t in made] == ["an actor", "a director"]
    made = extract_thoughts("I moved to Rome, but I still work at Acme.", speaker="Ana", said=SAID)
    assert [(t.relation, t.tail) for t in made] == [("lives in", "Rome"), ("works at", "Acme")]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("I live in Rome and work at Acme.", [("lives in", "Rome"), ("works at", "Acme")]),
        ("I got a puppy and adopted a cat", [("got", "a puppy"), ("adopted", "a cat")]),
        ("I like bread and have two cats", [("likes", "bread"), ("has", "two cats")]),
    ],
)
def test_verbs_that_share_a_subject(text, told):
    made = extract_thoughts(text, speaker="Ana", said=SAID)
    assert [(t.relation, t.tail) for t in made] == told


def test_what_fits_no_rule_is_kept_whole_or_not_at_all():
    text = "The transgender stories were so inspiring!"
    (thought,) = extract_thoughts(text, speaker="Ana", said=SAID)
    assert (thought.text, thought.complete) == (f"Ana: {text}", False)
    assert extract_thoughts(text, speaker="Ana", said=SAID, rest=False) == []


def test_names_are_resolved():
    (thought,) = extract_thoughts("I gave my sister your book", speaker="Ana", listener="Ben")
    assert thought.tail == "Ana's sister Ben's book"
    (thought,) = extract_thoughts("You live in Bern", speaker="Ana", listener="Ben")
    assert (thought.head, thought.tail) == ("Ben", "Bern")
    assert (
        extract_thoughts("You should visit Bern", speaker="Ana", listener="Ben", rest=False) == []
    )
    (thought,) = extract_thoughts("I live in Rome")
    assert thought.head == "The user"


@pytest.mark.parametrize(
    "text",
    [
        "I " * 5000,
        "I moved to " + "x" * 50_000,
        "\0",
        "I live in 東京",
        "my " * 999,
        "I'm \u202eevil",
        "(((",
    ],
)
def test_odd_text_does_no_harm(text):
    for thought in extract_thoughts(text, speaker="Ana", said=SAID):
        assert thought.text


def test_normal_forms():
    same = ["lives in", "resides in", "is living in", "Lives  In", "has moved to", "is based in"]
    assert {norm_relation(r) for r in same} == {"lives in"}
    assert norm_relation("likes") != norm_relation("lives in")
    assert norm_tail("The new Cats") == norm_tail("a new cat")
    assert [deny(r) for r in ("has", "is", "watches", "studies", "planned", "will visit")] == [
        "does not have", "is not", "does not watch", "does not study", "did not plan", "will not visit",
    ]  # fmt: skip
