"""The A-MEM case: made-up talks, equal budgets, a verdict that can come out either way."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "notes"))
from linked_helpers import Scripted, annotation, decision, toy

from byheart.core.errors import UsageError
from byheart.notes._linked_note import LinkedNote
from byheart.notes.annotate import Annotation
from byheart.papers import PAPERS, a_mem, reproduce
from byheart.papers._amem_model import with_model
from byheart.papers._amem_scaling import scale, synthetic
from byheart.papers._amem_tables import (
    BESIDE,
    CONTENT,
    CUTS,
    EVOLVED,
    ROWS,
    Table,
    _both_ways,
    _evolved,
    _rare,
    _shown,
    measure,
)
from byheart.papers._amem_talk import talk


def encode(texts: list[str]) -> np.ndarray:
    rows = toy(texts)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)


def test_made_up_talks_hold_their_evidence():
    one = talk(3)
    assert one == talk(3)
    assert one != talk(4)
    assert len([q for q in one.questions if q.category == 1]) == 24
    for q in one.questions:
        turns = [one.turns[i] for i in q.evidence]
        if q.category == 1:
            name = turns[0].text.split("named it ")[1].rstrip(".")
            assert name in turns[1].text
            assert q.answer in turns[1].text
            assert turns[0].session < turns[1].session
            thing = q.text.split("'s ")[1].split(" ")[1]
            assert thing in turns[0].text
            assert thing not in turns[1].text, "two turns are needed"
        else:
            assert q.answer in turns[0].text


def test_every_row_shows_the_same_number_of_turns():
    order = np.array([4, 2, 0, 1, 3, 5])
    links = [[3], [], [5, 0], [], [1, 2], []]
    assert _shown(order, None, 4) == [4, 2, 0, 1]
    assert _shown(order, links, 4) == [4, 2, 1, 5], "seeds 4 and 2, then their links"
    assert _shown(order, [[] for _ in range(6)], 4) == [4, 2, 0, 1], "without links: plain"
    for k in range(1, 7):
        shown = _shown(order, links, k)
        assert len(shown) == len(set(shown)) == k


def notes_of(*keywords: tuple[str, ...]) -> list[LinkedNote]:
    return [
        LinkedNote(str(i), str(i), "", annotation=Annotation(k, (k[0],)))
        for i, k in enumerate(keywords)
    ]


def test_rare_words_link_and_common_ones_do_not():
    notes = notes_of(
        ("quillon", "dog"), ("dog",), ("dog", "quillon"), ("dog",), ("dog",), ("cat", "quillon")
    )
    assert _rare(notes) == [[], [], [0], [], [], [2, 0]]
    assert _both_ways(_rare(notes)) == [[2, 5], [], [0, 5], [], [], [2, 0]]


def test_evolution_unions_tags_in_order_of_arrival():
    notes = _evolved(notes_of(("a",), ("b",), ("c",)), [[], [0], [0, 1]])
    assert [n.tags for n in notes] == [("a", "b", "c"), ("b", "c"), ("c",)]


def test_the_tables_have_every_row_for_the_same_questions():
    table = measure([talk(0, chains=6, sessions=6, filler=6)], encode)
    assert set(table.recall) == {*BESIDE, *ROWS}
    for row in table.recall:
        for cut in CUTS:
            assert len(table.of(row, cut=cut)) == 12
            assert (table.of(row, cut=20) >= table.of(row, cut=10)).all() or row not in BESIDE
    assert table.gap(CONTENT, CONTENT).value == 0


def made(effect: dict[str, float]) -> Table:
    """A table in which rows differ by so many points from 40."""
    rng = np.random.default_rng(0)
    base = rng.uniform(0, 50, 200)
    category = np.repeat([1, 4], 100)
    row = lambda r: np.clip(base + effect.get(r, 0.0) + rng.normal(0, 1, 200), 0, 100)  # noqa: E731
    return Table(category, np.zeros(200), {r: {k: row(r) for k in CUTS} for r in (*BESIDE, *ROWS)})


def test_the_verdict_follows_the_numbers():
    nothing = [c.passed for c in a_mem._checks(made({}))]
    assert sum(nothing) <= 2, "no effect, no claim (one check is that nothing falls)"
    steps = {r: 8.0 * i for i, r in enumerate(ROWS)} | {EVOLVED: 50.0}
    assert all(c.passed for c in a_mem._checks(made(steps)))
    worse = {r: -10.0 for r in ROWS if r != CONTENT}
    assert not any(c.passed for c in a_mem._checks(made(worse)))


def test_the_case_runs_and_is_kept(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # no LoCoMo beside
    result = a_mem.run(encode=encode, sizes=(1000,), seeds=1, out=tmp_path / "out")
    assert result.key == "a-mem"
    assert result.claim == PAPERS["a-mem"].claim
    assert "LoCoMo is not in data/locomo" in result.notes[0]
    told = json.loads((tmp_path / "out" / "result.json").read_text())
    assert told["verdict"] == result.verdict
    assert (tmp_path / "out" / "a-mem.svg").stat().st_size > 1000
    assert len(result.findings) == 4
    assert any("1000 vectors: 1.46 MiB" in n for n in result.notes)
    with pytest.raises(UsageError, match="seeds and sizes"):
        a_mem.run(encode=encode, seeds=0)


def test_a_case_that_reads_no_data_says_so(tmp_path):
    with pytest.raises(UsageError, match="reads no data"):
        reproduce("cdd-ted", data=tmp_path)


def test_vectors_take_exactly_four_bytes_a_number_and_the_graph_finds_them():
    found = scale(2000, queries=20)
    assert found.bytes == 2000 * 384 * 4
    assert found.recall is not None
    assert found.recall >= 0.95
    assert scale(500, graph=False).graph_us is None
    rows = synthetic(100, 16, seed=1)
    assert np.allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    assert np.array_equal(rows, synthetic(100, 16, seed=1))


def test_the_whole_method_with_a_model():
    small = talk(0, chains=4, sessions=4, filler=2)
    script = [annotation("a", tags=["t"])]
    for _ in range(3):
        script += [annotation("b", tags=["t"]), decision(connect=[0])]
    model = Scripted([*script, *["Quillon\nmore"] * 50])
    told = with_model(small, toy, model=model, turns=4, most=3)
    assert "7 calls; 4 notes annotated by the model, 0 with a rejected proposal; 3 links" in told[0]
