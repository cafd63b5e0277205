"""Thirteen wordings: all ask the same, and the one that a model follows is chosen on other pairs."""

from __future__ import annotations

import re

import pytest

import byheart
from byheart.audits._sort.variants import choose, validation_pairs
from byheart.audits.book_sort import (
    PLAIN,
    WORDINGS,
    BookSort,
    Pair,
    choose_wording,
    chronicle,
    messages,
    read_books,
)
from byheart.core.errors import DataError, UsageError
from byheart.core.model import CallableModel
from byheart.core.toy import flatten

PAIR = Pair(
    "b", "Tales", 0, 0, 9, 2, 5, "It rained.", "We left.", 0, 4, True, "It rained. We left."
)


@pytest.fixture(scope="module")
def books(tmp_path_factory):
    folder = tmp_path_factory.mktemp("books")
    paths = {}
    for i, name in enumerate(("seen", "fresh")):
        paths[name] = folder / f"{name}.txt"
        paths[name].write_text(chronicle(30_000, seed=80 + i).text(0, 30_000))
    return paths


def reader(*followed, seen=None):
    """Reads the segments' order off the prompt, but only in the wordings it follows."""
    marks = [re.split(r"\{\w+\}", WORDINGS[v].question)[0] for v in followed]
    fronts = [re.split(r"\{\w+\}", WORDINGS[v].before)[0] for v in followed]

    def answer(prompt):
        text = flatten(prompt)
        if seen is not None:
            seen.append(text)
        a, b = re.search(r"Segment A: (.*?)\nSegment B: (.*?)(?:\n|$)", text, re.S).groups()
        for mark, front in zip(marks, fronts, strict=True):
            if front in text and (mark in text if mark else True):
                where = text.find(a), text.find(b)
                return "A" if where[0] < where[1] else "B"
        return "I would rather not say."

    return CallableModel(answer, name="-".join(("reader", *followed)))


def test_there_are_thirteen_and_they_differ():
    assert list(WORDINGS) == [f"v{i}" for i in range(13)]
    assert len({(w.before, w.question, w.system) for w in WORDINGS.values()}) == 13
    assert len({w.question for n, w in WORDINGS.items() if n != "v0"}) == 6
    assert len({w.before for n, w in WORDINGS.items() if n != "v0"}) == 2
    assert WORDINGS["v2"] == PLAIN
    assert [n for n, w in WORDINGS.items() if w.system != PLAIN.system] == ["v12"]


@pytest.mark.parametrize("name", list(WORDINGS))
@pytest.mark.parametrize("condition", ["memory", "context"])
@pytest.mark.parametrize("task", ["first", "last"])
def test_every_wording_asks_the_whole_question(name, condition, task):
    asked = messages(PAIR, condition, wording=WORDINGS[name], task=task)
    text = flatten(asked)
    assert "Segment A: It rained.\nSegment B: We left.\n" in text
    assert task in text
    assert ({"first", "last"} - {task}).pop() not in text
    assert "Tales" in text
    assert (text.count("It rained.") == 2) == (condition == "context")
    assert "{" not in text
    assert asked[-1] == ("assistant", "Answer: Segment")
    swapped = flatten(messages(PAIR, condition, wording=WORDINGS[name], task=task, swap=True))
    assert "Segment A: We left.\nSegment B: It rained.\n" in swapped


@pytest.mark.parametrize("name", ["v0", "v3", "v7", "v10"])
def test_the_wording_a_model_follows_is_chosen(books, name):
    model = reader(name)
    best = choose_wording(model, books["seen"], excerpts=2)
    assert best.name == name
    shares = dict(best.shares)
    assert shares.pop(name) == 1.0
    assert len(shares) == 12
    assert best.pairs == 8
    assert f"wording {name} was chosen out of 13 on 8 pairs" in best.told


def test_ties_go_to_the_first(books):
    model = CallableModel(lambda p: "A")
    best = choose_wording(model, books["seen"], excerpts=2, wordings={"v5": None, "v2": None})
    assert best.shares == (("v5", 0.5), ("v2", 0.5))
    silent = choose_wording(CallableModel(lambda p: "?"), books["seen"], excerpts=2)
    assert silent.name == "v0"
    assert {share for _, share in silent.shares} == {0.0}


def test_no_scored_word_is_among_those_it_is_chosen_on(books):
    audit = BookSort(texts=books["seen"], fresh=books["fresh"], per_arm=16)
    scored = [Pair(**p.meta["pair"]) for p in audit.probes(seed=3)]
    pairs = validation_pairs(
        books["seen"], books["fresh"], scored, excerpt=250, segment=20, bins=None, seed=3
    )
    assert len(pairs) == 40
    assert {p.book for p in pairs} == {b.id for name in books for b in read_books(books[name])}
    for p in pairs:
        for q in scored:
            apart = p.start + 250 <= q.start or q.start + 250 <= p.start
            assert p.book != q.book or apart
    ids = [p.id for p in pairs]
    assert len(set(ids)) == 40
    by_excerpt = {(p.book, p.start): [q.bin for q in pairs if q.start == p.start] for p in pairs}
    assert all(sorted(bins) == [62, 83, 125, 200] for bins in by_excerpt.values())


def test_where_there_is_no_room_that_is_said(tmp_path):
    path = tmp_path / "short.txt"
    path.write_text(chronicle(700, seed=1).text(0, 700))
    audit = BookSort(texts=path, per_arm=20)
    scored = [Pair(**p.meta["pair"]) for p in audit.probes()]
    with pytest.raises(DataError, match="no room for others of 250 words"):
        validation_pairs(path, None, scored, excerpt=250, segment=20, bins=None)


def test_the_audit_chooses_and_says_so(books, tmp_path):
    seen = []
    model = reader("v9", seen=seen)
    settings = {"book-sort": {"wording": "best", "validation": 2, "per_arm": 8}}
    report = byheart.audit(
        model, ["book-sort"], texts=books["seen"], fresh=books["fresh"], knobs=settings,
        out=tmp_path, logs=False, seed=5,
    )  # fmt: skip
    assert report.meta["audits"]["book-sort"]["config"]["wording"] == "v9"
    context = next(f for f in report.findings if f.name == "book-sort/context")
    assert context.seen.value == 1.0
    memory = next(f for f in report.findings if f.name == "book-sort/memory")
    assert memory.details["wording"].startswith("wording v9 was chosen out of 13 on 8 pairs")
    asked = len(seen)
    again = byheart.audit(
        model, ["book-sort"], texts=books["seen"], fresh=books["fresh"], knobs=settings,
        out=tmp_path, logs=False, seed=5,
    )  # fmt: skip
    assert len(seen) == asked  # everything is taken up, the choice too
    assert again.meta["audits"]["book-sort"]["config"]["wording"] == "v9"
    # the pairs that are scored are those of any other wording
    plain = [p.meta["pair"] for p in BookSort(texts=books["seen"], per_arm=8).probes(seed=5)]
    best = BookSort(texts=books["seen"], per_arm=8, wording="best")
    assert [p.meta["pair"] for p in best.probes(seed=5)] == plain


def test_a_dead_model_stops_the_choice_and_is_named(books, tmp_path):
    calls = []

    def dies(prompt):
        calls.append(prompt)
        if len(calls) > 30:
            raise KeyboardInterrupt
        return "A"

    report = byheart.audit(
        CallableModel(dies), ["book-sort"], texts=books["seen"],
        knobs={"book-sort": {"wording": "best", "validation": 2}}, out=tmp_path, logs=False,
    )  # fmt: skip
    assert not report.meta["complete"]
    assert "book-sort" in {s.audit for s in report.skipped}


def test_misuse_is_refused(books):
    with pytest.raises(UsageError, match="give texts, or name a wording"):
        byheart.audit(CallableModel(lambda p: "A"), [BookSort(wording="best")])
    with pytest.raises(UsageError, match="validation must be at least 1"):
        BookSort(validation=0)
    with pytest.raises(DataError):
        BookSort(wording="v13")
    audit = BookSort(texts=books["seen"])
    with pytest.raises(UsageError, match="0 wordings"):
        choose(audit, [PAIR], lambda *a: [], {})
    with pytest.raises(DataError, match="no wording could be asked"):
        choose(audit, [PAIR], lambda *a: [], {"v1": WORDINGS["v1"]})


def test_the_knob_from_the_command_line(cli):
    code, _, err = cli(
        "audit", "smollm2", "book-sort", "--set", "book-sort.wording=v99", "--limit", "2"
    )
    assert code == 2
    assert "v99" in err
