"""Wording, reading back, and the chain of thought."""

from __future__ import annotations

import json

import pytest

from byheart.audits.knights_and_knaves import (
    STYLES,
    Puzzle,
    Sampler,
    chain_of_thought,
    lay_out,
    published,
    published_puzzles,
    read_quiz,
    record,
    render,
    search_tape,
    solve_plain,
    to_datasets,
    to_jsonl,
    training_text,
)
from byheart.core.errors import DataError, MissingExtra, OutputError, UsageError

FIVE = (
    ("and", ("telling-truth", 2), ("lying", 3)),
    ("telling-truth", 2),
    ("<=>", ("lying", 4), ("telling-truth", 4)),
    ("and", ("lying", 2), ("lying", 4)),
    ("lying", 2),
)


@pytest.mark.parametrize("style", ["plain", *STYLES])
@pytest.mark.parametrize("people", [2, 5, 8])
def test_words_read_back_give_the_puzzle(style, people):
    for puzzle in Sampler(people, seed=9).sample(40):
        worded = render(puzzle, style)
        assert read_quiz(worded.quiz, puzzle.index) == (puzzle, worded.layout)


def test_deep_statements_read_back_too():
    """The published words end at depth 2; brackets go on from there."""
    for puzzle in Sampler(3, depth=4, width=3, seed=1).sample(60):
        assert read_quiz(render(puzzle).quiz, puzzle.index)[0] == puzzle


def test_language_twins_share_the_solution_and_flipping_twice_is_nothing():
    for puzzle in Sampler(4, seed=2).sample(20):
        plain = render(puzzle)
        for style in STYLES:
            twin = render(puzzle, style)
            assert twin.solution == plain.solution
            assert twin.quiz != plain.quiz
        assert render(puzzle, ["flip_role", "flip_role"]) == plain
        assert render(puzzle, layout=plain.layout.flipped().flipped()) == plain
        flipped = render(puzzle, "flip_role")
        assert flipped.solution_text == swapped(plain.solution_text)
        moved = render(puzzle, "reorder_statement")
        assert sorted(moved.quiz.split()) == sorted(plain.quiz.split())
        assert moved.names == plain.names


def swapped(text):
    return text.replace("knight", "#").replace("knave", "knight").replace("#", "knave")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("What is 2 + 2?", "no knights-and-knaves text"),
        ("", "no knights-and-knaves text"),
    ],
)
def test_other_texts_are_refused(text, says):
    with pytest.raises(DataError, match=says):
        read_quiz(text)


def test_a_broken_puzzle_says_where():
    (puzzle,) = Sampler(3).sample(1)
    layout = lay_out(3, draw=False)
    quiz = render(puzzle, layout=layout).quiz
    sentences = [s for s in quiz.split(". ") if " said that " in s]
    assert len(sentences) == 3
    for change, says in (
        ("Somebody laughed. ", "cannot be read"),
        ("", "Emma said nothing"),
        (f"{sentences[0]}. {sentences[0]}. ", "Emma speaks twice"),
    ):
        with pytest.raises(DataError, match=says):
            read_quiz(quiz.replace(sentences[0] + ". ", change))
    with pytest.raises(DataError, match="name occurs twice"):
        read_quiz(quiz.replace("Liam", "Emma"))


def test_styles_and_layouts_that_do_not_fit():
    (puzzle,) = Sampler(3).sample(1)
    with pytest.raises(UsageError, match="style is one of"):
        render(puzzle, "loud")
    with pytest.raises(UsageError, match="not both"):
        render(puzzle, "flip_role", layout=lay_out(3))
    with pytest.raises(UsageError, match="layout of 2 names"):
        render(puzzle, layout=lay_out(2))
    with pytest.raises(DataError, match="2 solutions"):
        render((("lying", 1), ("lying", 0)))


def test_the_authors_regression_tape():
    """From the unit test in their repository."""

    def ok(person, role):
        return ("proposal", {"person": person, "assignment": role, "outcome": "ok"})

    def no(person, role, who, believed):
        step = {"person": person, "assignment": role, "outcome": "conflict"}
        return ("proposal", {**step, "conflict_statement": (who, believed)})

    assert search_tape(FIVE) == [
        ok(0, True),
        no(2, True, 2, True),
        no(2, False, 0, True),
        ("reconsider", {"person": 0, "exhausted": [2]}),
        ok(0, False),
        no(2, True, 2, True),
        ok(2, False),
        ok(4, True),
        no(3, True, 3, True),
        ok(3, False),
        no(1, True, 1, True),
        ok(1, False),
        ("success", {"assignments": (False, False, False, False, True)}),
    ]


@pytest.mark.parametrize("follow", [True, False])
def test_the_search_ends_in_the_first_solution_or_in_failure(follow):
    sampler = Sampler(5, seed=4)
    ends = set()
    for _ in range(200):
        statements = sampler.draw()
        found = solve_plain(statements)
        end = search_tape(statements, follow=follow)[-1]
        ends.add(end[0])
        if found:
            assert end[0] == "success"
            assert end[1]["assignments"] in found
            if not follow:
                assert end[1]["assignments"] == found[0]
        else:
            assert end == ("fail",)
    assert ends == {"success", "fail"}


def test_the_text_of_a_chain_of_thought():
    puzzle = Puzzle.of(FIVE)
    short = chain_of_thought(puzzle, repeat_assumption=False, repeat_contradiction=False)
    names = render(puzzle).names
    assert short.steps[:4] == (
        f"Assume {names[0]} is a knight.",
        f"{names[2]} cannot be a knight, because this would contradict the claim of their own.",
        f"{names[2]} cannot be a knave, because this would contradict the claim of {names[0]}.",
        f"We have exhausted all possibilities for {names[2]}, so let us go back and reconsider "
        f"{names[0]}.",
    )
    assert short.text.endswith("This leads to a feasible solution.")


def test_training_texts_are_prompt_and_answer():
    (puzzle,) = Sampler(3).sample(1)
    worded = render(puzzle)
    head, answer = training_text(worded)
    assert head.endswith(f"### Question: {worded.quiz}\n### Answer:")
    assert answer == "\nCONCLUSION:\n" + worded.solution_text_format
    thoughts = chain_of_thought(puzzle, worded)
    head, answer = training_text(worded, thoughts)
    assert "First, explain your reasoning." in head
    assert answer == f" {thoughts.text}\nCONCLUSION:\n{worded.solution_text_format}"


def test_exports(tmp_path):
    records = published(2, split="test")[:3]
    path = to_jsonl(records, tmp_path / "deep" / "kk.jsonl")
    assert [json.loads(line) for line in path.read_text().splitlines()] == records
    assert records[0] == record(published_puzzles(2)[0])
    with pytest.raises(OutputError, match="cannot write"):
        to_jsonl(records, tmp_path)


def test_export_to_datasets(monkeypatch):
    """The package is optional: with it the columns, without it what to type."""
    import sys
    import types

    records = published(2, split="test")[:2]
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises((MissingExtra, ModuleNotFoundError), match="datasets"):
        to_datasets(records)
    given = {}
    stand_in = types.ModuleType("datasets")
    stand_in.Dataset = types.SimpleNamespace(from_list=lambda rows: given.setdefault("rows", rows))
    monkeypatch.setitem(sys.modules, "datasets", stand_in)
    assert to_datasets(records) == records
