"""Think-in-Memory: post-thinking keeps the memory consistent, and what it did can be undone."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime

import pytest
from thought_samples import letters, likes, lives, texts

from byheart.core.errors import (
    StoreError,
    UnknownName,
    UsageError,
)
from byheart.memory import Recall
from byheart.notes._thought import Thought
from byheart.notes.thoughts import ThoughtMemory


@pytest.fixture
def memory(tmp_path):
    with ThoughtMemory(tmp_path / "m.db", encoder=letters, speaker="Ana") as memory:
        yield memory


def test_the_loop_of_the_sheet(tmp_path):
    with ThoughtMemory(tmp_path / "agent.db", encoder=letters, groups=16, probes=4) as memory:
        memory.after("I live in Rome.", "Nice city.", at="2022-05-01", speaker="Ana")
        hits = memory.before("Where does Ana live now?")
        assert isinstance(hits, Recall)
        assert hits[0].item.content == "Ana lives in Rome"
        assert hits[0].item.source.startswith("turn:")
        receipt = memory.after("I moved to Bern last month.", "Oh!", at="2023-05-08", speaker="Ana")
        assert [t.text for t in receipt.inserted] == ["Ana lives in Bern (since April 2023)"]
        assert [t.text for t, _ in receipt.superseded] == ["Ana lives in Rome"]
        assert receipt.merged == receipt.rejected == receipt.known == ()
        assert texts(memory) == ["Ana lives in Bern (since April 2023)"]
        memory.forget(["Ana lives in Bern (since April 2023)"], reason="contradicted")
        assert texts(memory) == []
        assert memory.memory.check() == []


def test_a_thought_leads_back_to_its_turn(memory):
    receipt = memory.post_think("I live in Rome.", "Noted.", source="chat:12")
    (hit,) = memory.recall("Rome")
    assert hit.item.source == "chat:12"
    assert hit.item.parents == (receipt.turn,)
    turn = memory.memory.get(receipt.turn)
    assert turn.content == "Ana: I live in Rome.\nassistant: Noted."
    assert turn.labels["type"] == "turn"


def test_a_turn_that_is_kept_already_is_not_kept_twice(memory):
    said = memory.memory.write("Ana: I live in Rome.", source="chat:1")
    receipt = memory.post_think("I live in Rome.", parents=said.ids, source="chat:1")
    assert receipt.turn == ""
    assert receipt.inserted[0].parents == said.ids
    assert len(list(memory.memory.items())) == 2
    assert [h.item.content for h in memory.recall("Rome", k=10)] == ["Ana lives in Rome"]


def test_trust_goes_with_the_words(memory):
    memory.post_think("I live in Rome.", "The user has two cats in Rome. Ana lives in Ostia.")
    by = {t.text: t.trust for t in memory.thoughts()}
    assert by["Ana lives in Ostia"] == "assistant"
    memory.post_think("I love chess.", trust="web")
    assert {t.text: t.trust for t in memory.thoughts()}["Ana loves chess"] == "web"


def test_both_clocks(memory):
    first = memory.insert([lives("Rome", "2020-01-01")])
    memory.insert([lives("Bern", "2024-01-01")])
    assert texts(memory, as_of="2022-06-01") == ["Ana lives in Rome"]
    assert texts(memory, as_of="2025-06-01") == ["Ana lives in Bern"]
    assert texts(memory, as_of="2019-06-01") == []
    known = first.receipts[0].at
    assert texts(memory, known_at=known, as_of="2025-06-01") == ["Ana lives in Rome"]
    (hit,) = memory.recall("where does Ana live", as_of="2022-06-01")
    assert (hit.item.valid_from, hit.item.valid_to) == (
        datetime(2020, 1, 1, tzinfo=UTC),
        datetime(2024, 1, 1, tzinfo=UTC),
    )
    (now,) = memory.recall("where does Ana live")
    assert now.item.valid_to is None


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
def test_the_time_line_does_not_depend_on_the_order_told(tmp_path, order):
    years = ["2010", "2014", "2018", "2022"]
    places = ["Rome", "Bern", "Oslo", "Graz"]
    with ThoughtMemory(tmp_path / "m.db", encoder=letters) as memory:
        for i in order:
            memory.insert([lives(places[i], f"{years[i]}-01-01")])
        for i, year in enumerate(years):
            for recalled in (
                texts(memory, as_of=f"{year}-06-01"),
                [h.item.content for h in memory.recall("Ana", as_of=f"{year}-06-01")],
            ):
                assert recalled == [f"Ana lives in {places[i]}"], (year, order)


def test_told_again_with_an_earlier_beginning_closes_the_gap(memory):
    memory.insert([lives("Rome", "2020-01-01")])
    memory.insert([lives("Rome", "2016-01-01")])
    assert texts(memory) == ["Ana lives in Rome"]
    assert texts(memory, as_of="2017-01-01") == ["Ana lives in Rome"]


def test_a_correction_with_the_same_beginning_replaces(memory):
    memory.insert([lives("Rome", "2020-01-01")])
    memory.insert([lives("Ostia", "2020-01-01")])
    for when in (None, "2021-01-01"):
        assert texts(memory, **({"as_of": when} if when else {})) == ["Ana lives in Ostia"]


def test_contradictions_are_found_across_groups(tmp_path):
    """Keyed by head and relation, whatever group the hash puts the wording in."""
    with ThoughtMemory(tmp_path / "m.db", encoder=letters, groups=64) as memory:
        memory.insert([lives("Rome")])
        receipt = memory.insert(
            [Thought("Her home these days is the old town of Bern", "Ana", "resides in", "Bern")]
        )
        R = memory.index.rows
        memory.recall("x")
        assert R.columns[0, 0] != R.columns[1, 0], "the two are in different groups"
        assert [t.text for t, _ in receipt.superseded] == ["Ana lives in Rome"]
        assert texts(memory) == ["Her home these days is the old town of Bern"]


def test_sets_accumulate_and_merge(memory):
    memory.insert([likes("hiking")])
    receipt = memory.insert([likes("chess")])
    assert [t.text for t in receipt.merged] == ["Ana likes hiking and chess"]
    receipt = memory.insert([likes("tea")])
    assert texts(memory) == ["Ana likes hiking, chess and tea"]
    assert memory.insert([likes("chess")]).known
    (thought,) = memory.thoughts()
    assert [t[2] for t in thought.triples] == ["hiking", "chess", "tea"]


def test_the_example_of_the_paper(memory):
    memory.insert([Thought("John works as an actor", "John", "works as", "an actor")])
    receipt = memory.insert([Thought("John works as a director", "John", "works as", "a director")])
    assert [t.text for t in receipt.merged] == ["John works as an actor and a director"]


def test_a_new_job_replaces_where_it_is_said(memory):
    memory.post_think("I work as a nurse.", at="2020-01-01")
    receipt = memory.post_think("I started a new job as a teacher.", at="2023-01-01")
    assert [t.text for t, _ in receipt.superseded] == ["Ana works as a nurse"]
    assert texts(memory) == ["Ana works as a teacher"]


def test_a_denial_takes_one_of_a_merged_thought(memory):
    memory.insert([likes("hiking"), likes("chess"), likes("tea")])
    receipt = memory.insert([likes("chess", negated=True).but(text="Ana does not like chess")])
    assert [t.text for t, _ in receipt.superseded] == ["Ana likes hiking, chess and tea"]
    assert texts(memory) == ["Ana does not like chess", "Ana likes hiking and tea"]
    memory.insert([likes("chess")])
    assert texts(memory) == ["Ana likes hiking, tea and chess"]
    memory.insert([likes("hiking"), likes("tea")])
    assert len(texts(memory)) == 1


def test_dated_and_functional_thoughts_are_not_merged(memory):
    dated = [
        Thought(f"Ana visited {p} ({d})", "Ana", "visited", p)
        for p, d in (("Oslo", "May 2022"), ("Graz", "June 2023"))
    ]
    receipt = memory.insert([*dated, lives("Rome"), lives("Rome", head="Ben")])
    assert receipt.merged == ()
    assert len(texts(memory)) == 4


def test_what_has_no_relation_is_kept_and_left_alone(memory):
    receipt = memory.insert(["A strange day, all in all", "Another strange day, all in all"])
    assert receipt.merged == ()
    assert [t.complete for t in memory.thoughts()] == [False, False]
    assert memory.insert(["a strange day all in all!"]).known
    assert memory.memory.items is not None
    labels = [i.labels for i in memory.memory.items() if i.labels["type"] == "thought"]
    assert [x["complete"] for x in labels] == [False, False]


def state(memory):
    """All that holds, with its validity, as the store tells it."""
    return sorted(
        (i.content, str(h.item.valid_to))
        for i in memory.memory.items()
        if i.labels.get("type") == "thought"
        for h in [next(h for h in memory.recall(i.content, k=50) if h.item.id == i.id)]
    )


def test_undo_takes_a_whole_turn_back(memory):
    memory.insert([lives("Rome", "2020-01-01"), likes("hiking")])
    before = state(memory)
    receipt = memory.post_think("I moved to Bern. I love chess, tea and cats.", at="2023-01-01")
    assert receipt.superseded
    assert receipt.merged
    assert state(memory) != before
    undone = memory.undo(receipt)
    assert undone.action == "undo"
    assert state(memory) == before
    assert receipt.turn not in {i.id for i in memory.memory.items()}
    with pytest.raises(StoreError):
        memory.undo(receipt)
    assert state(memory) == before
    memory.post_think("I moved to Bern.", at="2023-01-01")
    assert "Ana lives in Bern" in texts(memory)
    assert "Ana lives in Rome" not in texts(memory)
    assert memory.memory.check() == []


def test_undo_of_what_something_builds_on_changes_nothing(memory):
    first = memory.insert([likes("hiking"), likes("chess")])
    memory.insert([likes("tea")])
    before = state(memory)
    with pytest.raises(StoreError):
        memory.undo(first)
    assert state(memory) == before


def test_forget_is_reversible_and_audited(memory):
    memory.insert([lives("Rome", "2020-01-01"), likes("tea")])
    receipt = memory.forget(["Ana lives in Rome"], reason="she said so", at="2022-01-01")
    assert [t.text for t, _ in receipt.superseded] == ["Ana lives in Rome"]
    assert texts(memory) == ["Ana likes tea"]
    assert texts(memory, as_of="2021-01-01") == ["Ana lives in Rome"]
    plain = [h.item.content for h in memory.memory.recall("Rome lives", 5)]
    assert plain == ["Ana likes tea"], "nor does the store's own search show it"
    (entry,) = memory.memory.log(kind="supersede")
    assert "she said so" in entry.body["content"]
    memory.undo(receipt)
    assert texts(memory) == ["Ana likes tea", "Ana lives in Rome"]


def test_forget_can_be_undone_after_the_timers_ran(memory):
    memory.insert([lives("Rome", "2020-01-01")])
    receipt = memory.forget(["Ana lives in Rome"])
    memory.memory.expire()
    memory.undo(receipt)
    assert texts(memory) == ["Ana lives in Rome"]
    assert texts(memory, as_of="2021-01-01") == ["Ana lives in Rome"]


def test_forgetting_what_is_not_there_names_the_nearest(memory):
    memory.insert([lives("Rome")])
    with pytest.raises(UnknownName, match="Ana lives in Rome"):
        memory.forget(["Ana lives in Roma"])
    with pytest.raises(UsageError, match="why"):
        memory.forget(["Ana lives in Rome"], reason=" ")
    memory.forget("Ana lives in Rome")
    with pytest.raises(UnknownName):
        memory.forget(["Ana lives in Rome"])


def test_thoughts_can_be_edited(memory):
    memory.post_think("I live in Rome.", source="chat:1", at="2020-01-01")
    receipt = memory.edit("Ana lives in Rome", lives("Ostia near Rome"))
    (thought,) = memory.thoughts()
    assert (thought.text, thought.source) == ("Ana lives in Ostia near Rome", "chat:1")
    assert texts(memory, as_of="2021-01-01") == ["Ana lives in Ostia near Rome"]
    memory.undo(receipt)
    assert texts(memory) == ["Ana lives in Rome"]
