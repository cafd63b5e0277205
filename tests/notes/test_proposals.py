"""A model's proposals are checked, repaired once, and logged where they are rejected."""

from __future__ import annotations

import json

import pytest

from byheart.core.errors import CapabilityError, EndpointError, ModelError, UsageError
from byheart.core.item import Item
from byheart.core.model import CallableModel, Model
from byheart.memory import Memory
from byheart.notes._proposals import (
    Invalid,
    a_list,
    a_text,
    an_object,
    note_rejection,
    open_memory,
    parse_json,
    propose,
    whole_number,
)


def scripted(*replies):
    """A model that gives these replies in turn and keeps what it was asked."""
    left, asked = list(replies), []

    def answer(prompt):
        asked.append(prompt)
        reply = left.pop(0)
        if isinstance(reply, Exception):
            raise reply
        return reply

    model = CallableModel(answer, "scripted")
    model.asked = asked
    return model


def a_number(value):
    given = an_object(value, "the reply", {"number": int})
    return whole_number(given["number"], "'number'", 5)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a": 1}', {"a": 1}),
        ("  [1, 2]\n", [1, 2]),
        ('```json\n{"a": "é"}\n```', {"a": "é"}),
        ("Here it is:\n```\n[]\n```\nDone.", []),
    ],
)
def test_json_is_read(text, value):
    assert parse_json(text) == value


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "empty"),
        ("```json\n```", "empty"),
        ('Sure! {"a": 1}', "not JSON"),
        ('{"a": 1} {"b": 2}', "not JSON"),
        ("{'a': 1}", "not JSON"),
        ('{"a": NaN}', "NaN"),
        ('{"a": -Infinity}', "Infinity"),
        ('{"a": 1, "a": 2}', "twice"),
        ("```\n1\n```\n```\n2\n```", "2 fenced blocks"),
        ("[" * 200_000, "nested too deeply|not JSON"),
    ],
)
def test_what_is_no_json_is_refused(text, says):
    with pytest.raises(Invalid, match=says):
        parse_json(text)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: an_object([], "it", {}), "an object, it is a list"),
        (lambda: an_object({}, "it", {"a": str}), "lacks 'a'"),
        (lambda: an_object({"a": None}, "it", {"a": str}), "must be str"),
        (lambda: an_object({"a": True}, "it", {"a": int}), "must be int"),
        (lambda: an_object({"b": 1}, "it", {}, {"a": int}), "unknown key 'b'"),
        (lambda: a_list({}, "it", most=1), "a list, it is an object"),
        (lambda: a_list([1, 2], "it", most=1), "2 entries"),
        (lambda: a_text(" ", "it", most=9), "is empty"),
        (lambda: a_text("x" * 10, "it", most=9), "10 characters"),
        (lambda: a_text("\ud800", "it", most=9), "half a character"),
        (lambda: whole_number(True, "it", 5), "got True"),
        (lambda: whole_number(6, "it", 5), "from 1 to 5"),
        (lambda: whole_number(2.0, "it", 5), "got 2.0"),
    ],
)
def test_checks_say_what_is_wrong(call, says):
    with pytest.raises(Invalid, match=says):
        call()


def test_absent_optionals_are_left_out():
    assert an_object({"a": 1, "b": None}, "it", {"a": int}, {"b": str, "c": str}) == {"a": 1}


def test_a_good_reply_is_taken_at_once():
    model = scripted('{"number": 3}')
    found = propose(model, "How many?", a_number, purpose="count", task="Count.")
    assert (found.accepted, found.value, found.entry, len(found.replies)) == (True, 3, None, 1)
    assert model.asked == [(("system", "Count."), ("user", "How many?"))]


def test_one_repair_tells_what_was_wrong():
    model = scripted('{"number": 9}', '{"number": 4}')
    found = propose(model, "How many?", a_number, purpose="count")
    assert found.value == 4
    told = model.asked[1][0][1]
    assert told.startswith("How many?")
    assert "from 1 to 5, got 9" in told
    assert '{"number": 9}' in told


def test_twice_wrong_is_rejected_and_in_the_log(tmp_path):
    with Memory(tmp_path / "m.db") as memory:
        turn = memory.write("the turn says swordfish").id
        model = scripted("no", "still no", "never asked")
        found = propose(model, "swordfish?", a_number, purpose="count", store=memory, about=[turn])
        assert not found.accepted
        assert found.value is None
        assert "not JSON" in found.reason
        assert len(model.asked) == 2
        (entry,) = memory.log(kind="reject")
        assert (entry.seq, entry.subject) == (found.entry, turn)
        assert entry.data == {"purpose": "count", "about": [turn]}
        assert entry.body["replies"] == ["no", "still no"]
        assert entry.body["prompt"] == "swordfish?"
        assert entry.body["reason"] == found.reason
        assert memory.check() == []
        assert [i.id for i in memory.items()] == [turn]


def test_erasing_the_item_it_is_about_takes_the_rejection_along(tmp_path):
    with Memory(tmp_path / "m.db") as memory:
        first, second = (memory.write(t).id for t in ("one", "two"))
        note_rejection(memory, "extract", "dropped swordfish", about=[first])
        note_rejection(memory, "extract", "keep this", about=[second])
        memory.erase(first)
        told = json.dumps([e.to_dict() for e in memory.log()])
        assert "swordfish" not in told
        assert "keep this" in told
        assert b"swordfish" not in (tmp_path / "m.db").read_bytes()
        assert memory.check() == []


def test_erasing_any_item_it_is_about_takes_the_rejection_along(tmp_path):
    with Memory(tmp_path / "m.db") as memory:
        first, second, third = (memory.write(t).id for t in ("one", "two", "three"))
        note_rejection(memory, "merge", "dropped swordfish", about=[first, second])
        note_rejection(memory, "merge", "keep this", about=[third])
        memory.erase(second)
        told = json.dumps([e.to_dict() for e in memory.log()])
        assert "swordfish" not in told
        assert "keep this" in told
        assert b"swordfish" not in (tmp_path / "m.db").read_bytes()
        assert memory.check() == []


@pytest.mark.parametrize(
    ("failure", "kind"),
    [(OSError("connection refused"), ModelError), (EndpointError("gone"), EndpointError)],
)
def test_a_dead_model_raises_and_writes_nothing(tmp_path, failure, kind):
    with Memory(tmp_path / "m.db") as memory:
        with pytest.raises(kind):
            propose(scripted(failure), "?", a_number, purpose="count", store=memory)
        with pytest.raises(kind):
            propose(scripted("no", failure), "?", a_number, purpose="count", store=memory)
        assert list(memory.log()) == []


def test_a_model_that_cannot_be_sampled_is_refused():
    class Deaf(Model):
        name = "deaf"

        def sample(self, asks, progress=None):
            raise AssertionError

        def score(self, asks, progress=None):
            raise AssertionError

    with pytest.raises(CapabilityError, match="proposing"):
        propose(Deaf(), "?", a_number, purpose="count")


def test_a_store_without_a_log_for_rejections_is_refused():
    with pytest.raises(UsageError, match="no note"):
        note_rejection(object(), "merge", "why")


def test_open_memory(tmp_path):
    memory, mine = open_memory(tmp_path / "m.db", "acme/ana")
    assert mine
    assert str(memory.scope) == "acme/ana"
    again, mine = open_memory(memory, "acme/ana")
    assert again is memory
    assert not mine
    assert open_memory(memory.store)[0] is memory.store
    with pytest.raises(UsageError, match="open for acme/ana"):
        open_memory(memory, "acme/ben")
    with pytest.raises(UsageError, match="got dict"):
        open_memory({})
    assert isinstance(memory.write(Item("x")).id, str)
    memory.close()
