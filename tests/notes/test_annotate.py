"""Annotation by rules: deterministic, no speaker, no time, three of each where there are."""

from __future__ import annotations

from datetime import datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from byheart.core.errors import MissingExtra, UsageError
from byheart.notes import annotate as module
from byheart.notes.annotate import Annotation, RuleAnnotator, speaker_of

AT = datetime(2023, 5, 25)
RULES = RuleAnnotator()


@pytest.mark.parametrize(
    ("text", "keywords"),
    [
        (
            "I ran a charity race for mental health last Saturday.",
            {"charity race", "mental health"},
        ),
        ("We adopted a rescue dog from the shelter in Porto", {"Porto", "rescue dog"}),
        ("My new job at the animal hospital starts in June 2023.", {"animal hospital"}),
    ],
)
def test_keyphrases_are_found(text, keywords):
    found = RULES(text, at=AT, speaker="Melanie")
    assert keywords <= set(found.keywords)
    assert len(found.keywords) >= 3
    assert len(found.tags) >= 3
    assert found.by == "rules"


def test_neither_speakers_nor_addressed_names_nor_times_are_keywords():
    text = "Hey Jon! Melanie here. Yesterday, on 3 May 2023, Melanie saw a kite. Thanks, Jon!"
    found = RULES(text, at=AT, speaker="Melanie")
    words = " ".join(found.keywords).lower().split()
    assert "kite" in words
    assert not {"melanie", "jon", "yesterday", "may", "2023", "3"} & set(words)
    assert "Jon" not in found.entities
    assert "Melanie" in found.context
    assert "25 May 2023" in found.context


def test_the_speaker_is_read_from_the_front():
    assert speaker_of("Caroline: I went there") == "Caroline"
    assert speaker_of("Mary Ann: hi") == "Mary Ann"
    assert speaker_of("I went: there") == ""
    assert RULES("Caroline: Caroline likes kites", at=AT).keywords[:1] != ("caroline",)
    assert RULES("Caroline: I fly kites").context.startswith("Caroline tells about")


@pytest.mark.parametrize(
    ("text", "entities"),
    [
        ("I flew to Rio de Janeiro with Maria Lopez", {"Rio", "Janeiro", "Maria Lopez"}),
        ("Lately I read a lot", set()),
        ('I finished "The Old Kite" and wrote to ana@example.org', {"The Old Kite", "ana@example.org"}),
        ("They joined the LGBTQ+ parade", {"LGBTQ+"}),
        ("See https://example.org/a?b=1 for it", {"https://example.org/a?b=1"}),
    ],
)  # fmt: skip
def test_entities(text, entities):
    assert set(RULES(text).entities) == entities


def test_forms_are_tags():
    assert "question" in RULES("Did you paint this?").tags
    assert "picture" in RULES("Look! [image: a painting of a boat]").tags
    assert "picture" not in RULES("I painted a picture of a boat").tags
    assert RULES("Did you paint this?").context.startswith("A note asks about")


@pytest.mark.parametrize("text", ["", "   ", "?", "!!!", "12 34", "\0", "😀", "a"])
def test_there_may_be_nothing_to_say(text):
    found = RULES(text)
    assert found.keywords == ()
    assert found.context


@settings(deadline=None, max_examples=60)
@given(st.text(max_size=200), st.sampled_from(["", "Ana", "Mary Ann"]))
def test_any_text_is_annotated_and_equally_each_time(text, speaker):
    first, second = (RuleAnnotator()(text, at=AT, speaker=speaker) for _ in range(2))
    assert first == second
    for name in ("keywords", "tags", "entities"):
        values = getattr(first, name)
        assert len(set(values)) == len(values)
        assert all(v and v == v.strip() for v in values)
    assert "\n" not in first.context


def test_wrong_arguments_are_named(monkeypatch):
    with pytest.raises(UsageError, match="most must be"):
        RuleAnnotator(most=2)
    with pytest.raises(UsageError, match="keywords must be"):
        Annotation("kite")
    with pytest.raises(UsageError, match="context must be"):
        Annotation((), (), 3)
    module._yake.cache_clear()

    def gone(name, extra):
        raise MissingExtra(f"{name} is not installed; type: pip install 'byheart[{extra}]'")

    monkeypatch.setattr(module, "need", gone)
    with pytest.raises(MissingExtra, match=r"byheart\[memory\]"):
        RuleAnnotator("de")
