"""Think-in-Memory's case: its worlds are what they say, its arms differ, its verdict can fail."""

from __future__ import annotations

import itertools
import math
import re
import zlib

import numpy as np
import pytest

from byheart.core.errors import UsageError
from byheart.core.model import CallableModel
from byheart.papers import PAPERS, think_in_memory
from byheart.papers._tim_hash import COSINES, collision, measure, planted
from byheart.papers._tim_life import ARMS, PEOPLE, QUESTIONS, live, lives, truth
from byheart.papers._tim_stories import NAMES, Answers, _number, ask_stories, stories

NAMED = {n.lower() for n in (*PEOPLE, *NAMES)}


def letters(texts):
    """A stand-in encoder: counts of words, so that sentences of one person and verb are near."""
    out = np.zeros((len(texts), 512))
    for row, text in enumerate(texts):
        for word in re.findall(r"[a-z]+|[0-9]+", text.lower()):
            known = word.rstrip("s") if len(word) > 3 else word
            # names are rare words, as they are to any ranking
            out[row, zlib.crc32(known.encode()) % 512] += 3 if word in NAMED else 1
    return out


letters.name = "letters"


def test_planted_neighbours_have_their_cosines():
    q, x = planted(200, 5, np.random.default_rng(0))
    for i, (j, c) in itertools.product(range(5), enumerate(COSINES)):
        assert x[3 * i + j] @ q[i] == pytest.approx(c, abs=1e-5)
    np.testing.assert_allclose(np.linalg.norm(x, axis=1), 1, atol=1e-5)


def test_the_collision_curve_against_its_closed_form_and_the_sheet():
    rng = np.random.default_rng(0)
    assert collision(2, 0.5, rng) == 1 - math.acos(0.5) / math.pi
    for c, wanted in ((0.3, 0.14), (0.5, 0.23), (0.7, 0.36), (0.9, 0.60)):
        assert collision(16, c, rng) == pytest.approx(wanted, abs=0.015)


def test_table_a_small():
    hashes, costs = measure(0, 600, (140, 600), lambda what, share: None)
    by = {(h.b, h.probes, h.tables): h for h in hashes}
    assert by[16, 16, 1].found == (1, 1, 1)
    assert by[16, 16, 1].scanned == 1
    assert by[2, 1, 1].scanned > by[16, 1, 1].scanned > by[64, 1, 1].scanned
    assert [c.n for c in costs] == [140, 600]
    assert all(c.exact > 0 and c.hashed > 0 for c in costs)


def test_the_lives_are_told_once_a_day_and_their_truth_is_the_last_told():
    told = lives(3, people=4)
    assert len(told) == 4 * 30
    assert lives(3, people=4) == told
    assert lives(4, people=4) != told
    for day in (10, 30):
        for (person, relation), (value, changed) in truth(told, day).items():
            said = [
                t.value
                for t in told
                if (t.person, t.relation) == (person, relation) and t.day <= day
            ]
            assert (value, changed) == (said[-1], len(set(said)) > 1)
    assert {r for _, r in truth(told, 30)} == set(QUESTIONS)


def test_the_arms_differ_as_they_should(tmp_path):
    arms = live(0, letters, tmp_path, lambda what, share: None, people=3)
    assert tuple(arms) == ARMS
    odd = {n: float(np.mean(a.contradictions)) for n, a in arms.items()}
    assert odd["insert only"] > 0.3
    assert odd["+ forget"] == odd["+ forget + merge"] == 0
    assert np.mean(arms["+ forget + merge"].changed) > np.mean(arms["insert only"].changed)
    sizes = [arms[n].size[0] for n in ARMS[1:]]
    assert sizes[0] == 90
    assert sizes[0] > sizes[1] > sizes[2]
    assert [arms[n].lost for n in ARMS[1:]] == [[0], [0], [0]]


def adder(prompt):
    """Adds where it is shown a sum; from a story it answers with what it read last."""
    text = prompt[-1][1]
    first = text.split("Answer with")[0]
    numbers = [int(w) for w in "".join(c if c.isdigit() else " " for c in first).split()]
    if first.startswith("What is") and len(numbers) == 2:
        return str(numbers[0] + numbers[1] if "+" in first else numbers[0] - numbers[1])
    if "had" in first and "counts" in first:
        return f"It is {numbers[0]}."
    return f"{numbers[-1]}" if numbers else "none"


def test_stories_are_asked_of_both_memories(tmp_path):
    told = stories(0, 4)
    assert all(s.total > 0 for s in stories(1, 30))
    answers = ask_stories(
        CallableModel(adder, "adder"), letters, tmp_path, 0, 4, lambda what, share: None
    )
    assert answers.totals == [s.total for s in told]
    assert answers.consistent("thought").tolist() == [1, 1, 1, 1]
    assert answers.right("thought").tolist() == [1, 1, 1, 1]
    assert answers.consistent("raw").tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize(
    ("text", "number"),
    [("21", "21"), ("14 + 7 = 21", "21"), ("There are 5 apples, not 6", "5"), ("None", "")],
)
def test_the_number_of_an_answer(text, number):
    assert _number(text) == number


def test_answers_without_a_number_do_not_agree():
    answers = Answers(raw=[["", ""]], thought=[["3", "3"]], totals=[3])
    assert answers.consistent("raw").tolist() == [0]
    assert answers.right("thought").tolist() == [1]


@pytest.fixture
def small(monkeypatch, tmp_path):
    class Encoder:
        name = "letters"

        def __init__(self, device):
            pass

        def __call__(self, texts):
            return letters(texts)

    monkeypatch.setattr("byheart.core.minilm.MiniLM", Encoder)
    monkeypatch.setattr(think_in_memory, "N", 600)
    monkeypatch.setattr(think_in_memory, "SIZES", (140, 600))
    monkeypatch.chdir(tmp_path)


def test_the_case_runs_small(small, tmp_path):
    seen = []
    result = think_in_memory.run(
        seeds=1, out=tmp_path, model=CallableModel(adder, "adder"), people=2, n_stories=3,
        progress=lambda what, share: seen.append(share),
    )  # fmt: skip
    assert result.claim == think_in_memory.CLAIM == PAPERS["think-in-memory"].claim
    assert {c.name.split(":")[0] for c in result.checks} == {"hash", "lives", "stories"}
    assert [f.name.split("/")[0] for f in result.findings] == ["think-in-memory"] * 2
    assert (tmp_path / "think-in-memory.png").stat().st_size > 10_000
    assert (tmp_path / "result.json").exists()
    assert any("LoCoMo is not in data/locomo" in n for n in result.notes)
    assert seen == sorted(seen)
    assert 0 <= seen[0] <= seen[-1] <= 1


def test_a_memory_that_never_forgets_is_not_reproduced(small, monkeypatch):
    """The verdict can fail: the same case with the order of thoughts switched off."""
    from byheart.notes._thought_ops import Hooks, Placing
    from byheart.papers import _tim_life

    broken = Hooks(
        insert=lambda new, held: Placing(),
        forget=lambda groups: [[] for _ in groups],
        merge=lambda groups: [[] for _ in groups],
    )
    monkeypatch.setattr(_tim_life, "Hooks", lambda **k: broken)
    monkeypatch.setattr("byheart.notes._thought_index.contradicts", lambda a, b: False)
    result = think_in_memory.run(seeds=1, people=2, n_stories=0)
    by = {c.name: c.passed for c in result.checks if c.name.startswith("lives")}
    assert by == {name: name.startswith("lives: inserting alone") for name in by}
    assert result.verdict != "reproduced"
    assert any("C was left out" in n for n in result.notes)


@pytest.mark.parametrize("bad", [{"seeds": 0}, {"people": 0}, {"people": 21}, {"n_stories": 31}])
def test_bad_settings(bad):
    with pytest.raises(UsageError):
        think_in_memory.run(**bad)
