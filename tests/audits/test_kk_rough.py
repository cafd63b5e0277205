"""Knights and knaves handled roughly: hostile statements, other names for things, mixed puzzles."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest

from byheart.audits.knights_and_knaves import (
    KnightsAndKnaves,
    Puzzle,
    Sampler,
    lenient,
    perturb,
    published,
    published_puzzles,
    puzzle_classifier,
    render,
    solve,
    to_datasets,
    to_jsonl,
    wrong_thoughts,
)
from byheart.core.errors import DataError, UsageError

TWO = (("lying", 1), ("and", ("telling-truth", 0), ("telling-truth", 1)))


@pytest.mark.parametrize(
    "bad",
    [
        (("lying", 10**5000), ("lying", 0)),
        (("lying", 1, 10**5000), ("lying", 0)),
        ((10**5000, 1), ("lying", 0)),
        (("not", 10**5000), ("lying", 0)),
        "(('lying', " + "9" * 4000 + "), ('lying', 0))",
        {("lying", 1), ("lying", 0)},
        {("lying", 1): 1, ("lying", 0): 2},
        "-" * 150_000 + "1",
        "9**9**9",
        "[" * 5000,
    ],
    ids=range(10),
)
def test_hostile_statements_are_refused_in_one_line(bad):
    with pytest.raises(DataError) as error:
        solve(bad)
    assert len(str(error.value)) < 300


def test_a_statement_that_holds_itself_over_and_over_is_too_large():
    shared = ("lying", 0)
    for _ in range(18):
        shared = ("and", shared, shared)
    began = time.monotonic()
    with pytest.raises(DataError, match="parts"):
        solve((shared, ("lying", 0)))
    assert time.monotonic() - began < 5  # seconds


def test_a_million_solutions_are_listed_in_seconds():
    people = 20
    began = time.monotonic()
    found = solve(tuple(("telling-truth", i) for i in range(people)))
    assert time.monotonic() - began < 20  # it took 63
    assert len(found) == 2**people
    assert found[0] == (True,) * people
    assert found[-1] == (False,) * people
    assert found[1] == (True,) * (people - 1) + (False,)


def test_statements_will_do_where_a_puzzle_is_asked_for():
    puzzle = Puzzle.of(TWO)
    assert solve(puzzle) == solve(TWO) == [(True, False)]
    assert perturb(TWO, "leaf", rng=1) == perturb(puzzle, "leaf", rng=1)
    assert perturb(str(TWO), "leaf", rng=1) == perturb(puzzle, "leaf", rng=1)
    assert perturb(puzzle, rng=np.int64(1)) == perturb(puzzle, rng=1)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: perturb(TWO, rng=np.random.default_rng(1)), "rng is a seed or a Draws"),
        (lambda: Sampler(2.5), "people is a whole number"),
        (lambda: Sampler("3"), "people is a whole number"),
        (lambda: Sampler(3, depth=None), "depth is a whole number"),
        (lambda: Sampler(3).sample(2.0), "n is a whole number"),
        (lambda: wrong_thoughts([Puzzle.of(TWO), *Sampler(3).sample(2)], "replace_one_step"), "2, 3"),
        (lambda: KnightsAndKnaves(split="fresh", depth=9), "depth"),
        (lambda: KnightsAndKnaves(split="fresh", width=9), "width"),
        (lambda: Sampler(2, width=4), "width is at most 3 with 2 people"),
        (lambda: Sampler(4, depth=3, width=8), "width is at most 7 with 4 people"),
        (lambda: perturb(TWO, "statement", rng=1, width=4), "width is at most 3 with 2 people"),
        (lambda: KnightsAndKnaves(split="fresh", people=2, width=4), "width is at most 3 with 2 people"),
        (lambda: Sampler(3, depth=1).sample(1), "leaves alone"),
        (lambda: KnightsAndKnaves(split="fresh", depth=1), "depth must be at least 2"),
        (lambda: KnightsAndKnaves(depth=3), "split='fresh'"),
        (lambda: KnightsAndKnaves(split="train", width=3), "split='fresh'"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(call, says):
    with pytest.raises(UsageError, match=says):
        call()


def test_the_data_sets_and_the_papers_names_of_twins_are_known():
    """`perturbed_leaf` and the like are configurations of the published set; the paper says reorder."""
    puzzle = published_puzzles(3)[0]
    assert perturb(puzzle, "perturbed_leaf", rng=1) == perturb(puzzle, "leaf", rng=1)
    assert perturb(puzzle, "perturbed_statement", rng=1) == perturb(puzzle, "statement", rng=1)
    assert render(puzzle, "reorder") == render(puzzle, "reorder_statement")
    assert published(3, "perturbed_leaf", "test") == published(3, "leaf", "test")
    assert published(3, "reorder", "test") == published(3, "reorder_statement", "test")
    audit = KnightsAndKnaves(perturbations="perturbed_leaf,reorder")
    assert audit.perturbations == ("leaf", "reorder_statement")
    with pytest.raises(UsageError, match="once each"):
        KnightsAndKnaves(perturbations="leaf,perturbed_leaf")


def test_puzzles_are_exported_as_the_published_records_are(tmp_path):
    puzzles = published_puzzles(3, split="test")
    path = to_jsonl(puzzles, tmp_path / "mine.jsonl")
    assert [json.loads(line) for line in path.read_text().splitlines()] == published(3, split="test")  # fmt: skip
    table = to_datasets([*puzzles[:2], *published(3, split="test")[2:4]])
    assert table.to_list() == published(3, split="test")[:4]


def test_fields_that_are_lists_of_anything_feed_the_classifier():
    records = published(3, split="test")
    marked = [int(r["solution"][0]) for r in records]
    assert puzzle_classifier(records, marked, features="bow", fields="solution").n_test > 5


GOLD = ("Ava is a knight", "Noah is a knave")


@pytest.mark.parametrize(
    "answer",
    [
        '{"Ava": "knight", "Noah": "knave"}',
        "Ava is definitely a knight; Noah is clearly a knave",
        "Ava is a knight, Noah isn't a knight.",
        "Ava isn\u2019t a knave. Noah is a knave.",
        "CONCLUSION:\n(1) knight\n(2) knave",
        "CONCLUSION:\n(1) a Knight\n(2) a Knave.",
        "(1) Ava (Knights)\n(2) Noah (Knaves)",
        "Ava is a knight.\nNoah is a knave.\n\nThis is consistent because Noah's claim would be false.",
        "Ava is a knight and Noah is a knave. If Ava were a knave, her claim would be true.",
    ],
)
def test_the_lenient_scorer_reads_plain_answers_with_their_reasons_after(answer):
    assert lenient(answer, GOLD).right
    swapped = answer.replace("Ava", "?").replace("Noah", "Ava").replace("?", "Noah")
    if "Ava" in answer:
        assert lenient(swapped, GOLD).reason == "wrong_identity"


@pytest.mark.parametrize(
    "answer",
    [
        "Ava is a knight and Noah is a knave. But no: Noah is a knight.",  # takes it back
        "Suppose Ava is a knight. Noah is a knave. That cannot be.",
        "CONCLUSION:\n(1) knight\n(2) knave\n(3) knave",  # one too many
        "CONCLUSION:\n(1) knight or knave\n(2) knave",
        'Ava said that "Noah is a knave". Noah said that "Ava is a knight". I would need more.',
        "Noah: a knave. Ava: Knights always tell the truth. This is hard, and I cannot tell.",
        "Let me think: Ava is a knight, Noah is a knave would be a contradiction.",
    ],
)
def test_and_gives_nothing_for_what_is_taken_back_or_only_supposed(answer):
    assert not lenient(answer, GOLD).right


def test_the_metric_has_a_row_for_each_number_of_people():
    from inspect_ai.scorer import SampleScore, Score

    from byheart.audits._kk.task import limem_metric

    def scored(pair, variant, people, right):
        about = {"pair_id": pair, "variant": variant, "n_people": people}
        return SampleScore(score=Score(value={"right": right}), sample_metadata=about)

    scores = [
        scored("a", "clean", 2, 1.0), scored("a", "leaf", 2, 0.0),
        scored("b", "clean", 3, 1.0), scored("b", "leaf", 3, 1.0),
        scored("c", "clean", 3, 0.0),
    ]  # fmt: skip
    found = limem_metric()(scores)
    assert found["accuracy"] == 2 / 3
    assert found["limem/leaf"] == 0.5
    assert (found["accuracy/2p"], found["accuracy/3p"]) == (1.0, 0.5)
    assert (found["limem/leaf/2p"], found["limem/leaf/3p"]) == (1.0, 0.0)
    assert not any(key.endswith("p") and "/" in key for key in limem_metric()(scores[:2]))


def test_twins_of_many_people_are_drawn_and_not_listed():
    began = time.process_time()
    probes = KnightsAndKnaves(people=16, split="fresh", per_people=2).probes()
    assert time.process_time() - began < 15  # seconds; it was 10 for a single pair
    assert {p.meta["variant"] for p in probes} == {"clean", "statement", "leaf"}
