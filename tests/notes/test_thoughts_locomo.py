"""Rows of the LoCoMo table for thoughts: a thought stands for the turns it came from."""

from __future__ import annotations

import pytest
from thought_samples import letters

from byheart.notes._locomo_data import Conversation, Turn
from byheart.notes._locomo_thoughts import thoughts_of
from byheart.notes._thought_hash import unit
from byheart.notes.locomo import METHODS

SAID = [
    ("Ann", "Hey Bob! How are you?"),
    ("Bob", "I love chess."),
    ("Ann", "I moved to Bern last month."),
    ("Bob", "I love tea."),
    ("Ann", "Now I have a red boat."),
    ("Bob", "   "),
    ("Ann", "I moved to Oslo."),
]


@pytest.fixture
def talk():
    turns = tuple(
        Turn(f"D1:{i}", who, text, "", 1, "1:56 pm on 8 May, 2023")
        for i, (who, text) in enumerate(SAID, 1)
    )
    return Conversation("made-up", turns, (), 0)


def encode(texts):
    return unit(letters(texts))


def test_thoughts_know_their_turns(talk):
    made = [(i, t.text) for i, t in thoughts_of(talk)]
    assert made == [
        (1, "Bob loves chess"),
        (2, "Ann lives in Bern (since April 2023)"),
        (3, "Bob loves tea"),
        (4, "Ann has a red boat"),
        (6, "Ann lives in Oslo"),
    ]


@pytest.mark.parametrize("name", ["tim", "tim-hybrid"])
def test_thoughts_beside_turns_rank_every_turn_once(talk, name):
    found = METHODS[name].build(talk, encode)("Where does Ann live?")
    assert len(found) == len(set(found))
    assert set(found) >= {1, 2, 3, 4, 6}
    assert found[0] in (2, 6)


def test_thoughts_alone_lead_back_to_their_turns(talk):
    found = METHODS["tim-thoughts"].build(talk, encode)
    assert found("Where does Ann live?")[0] == 6, "where she lived before is the past"
    assert 2 not in found("Where does Ann live?")
    loves = found("What Bob loves")
    assert set(loves[:2]) == {1, 3}, "one merged thought, two turns"
    assert set(loves) == {1, 3, 4, 6}
    assert 0 not in loves


def test_the_row_that_stands_below_says_so():
    assert "below the plain hybrid" in METHODS["tim-thoughts"].title
