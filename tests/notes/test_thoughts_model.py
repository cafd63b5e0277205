"""What hooks and models propose is verified; what fails changes nothing."""

from __future__ import annotations

import json

import numpy as np
import pytest
from thought_samples import letters, likes, lives, scripted, texts

from byheart.core.errors import (
    EndpointError,
    ModelError,
    UsageError,
)
from byheart.notes._thought_ops import (
    Forgetting,
    Hooks,
    Merging,
    Placing,
)
from byheart.notes.thoughts import ThoughtMemory


def test_each_step_can_be_replaced(tmp_path):
    seen = []

    def extract(turn):
        seen.append("extract")
        return [likes("chess", parents=turn.parents), likes("tea"), lives("Rome")]

    def insert(new, held):
        seen.append("insert")
        return Placing()

    def forget(groups):
        seen.append("forget")
        return [[Forgetting(0, 1, "a whim")] for _ in groups]

    def merge(groups):
        seen.append("merge")
        return [[] for _ in groups]

    def recall(query, candidates, k):
        seen.append("recall")
        return candidates[::-1][:k]

    hooks = Hooks(extract, insert, forget, merge, recall)
    with ThoughtMemory(tmp_path / "m.db", encoder=letters, hooks=hooks) as memory:
        memory.post_think("whatever")
        assert texts(memory) == ["Ana likes tea", "Ana lives in Rome"]
        worst = memory.recall("Ana likes tea", k=1)
        assert worst[0].item.content == "Ana lives in Rome"
    assert list(dict.fromkeys(seen)) == ["extract", "insert", "forget", "merge", "recall"]


def test_hooks_cannot_invent(tmp_path):
    bad = Hooks(insert=lambda new, held: Placing(ends=("nobody",)))
    with ThoughtMemory(tmp_path / "m.db", encoder=letters, hooks=bad) as memory:
        with pytest.raises(UsageError, match="nobody"):
            memory.insert([lives("Rome")])
        assert texts(memory) == []
    loses = Hooks(merge=lambda groups: [[Merging((0, 1), "Ana likes chess")] for _ in groups])
    with ThoughtMemory(tmp_path / "n.db", encoder=letters, hooks=loses) as memory:
        receipt = memory.insert([likes("chess"), likes("tea")])
        assert receipt.merged == ()
        assert "'tea'" in receipt.rejected[0]
        assert texts(memory) == ["Ana likes chess", "Ana likes tea"]
        (entry,) = memory.memory.log(kind="reject")
        assert "'tea'" in entry.body["reason"]


def proposal(*rows):
    return json.dumps({"thoughts": list(rows)})


ROME = {"text": "Ana lives in Rome", "head": "Ana", "relation": "lives in", "tail": "Rome"}
CHESS = {"text": "Ana likes chess", "head": "Ana", "relation": "likes", "tail": "chess"}
TEA = {"text": "Ana likes tea", "head": "Ana", "relation": "likes", "tail": "tea"}
NONE = {"forget": '{"forget": []}', "merge": '{"merge": []}'}


def test_a_model_extracts_and_merges(tmp_path):
    model = scripted(
        extract=proposal(ROME, CHESS, TEA),
        forget='{"forget": []}',
        merge='{"merge": [{"numbers": [2, 3], "text": "Ana likes both chess and tea"}]}',
    )
    with ThoughtMemory(tmp_path / "m.db", encoder=letters, model=model) as memory:
        receipt = memory.post_think("I live in Rome, like chess and tea", "ok", at="2023-05-08")
        assert texts(memory) == ["Ana likes both chess and tea", "Ana lives in Rome"]
        assert len(model.asked) == 3
        assert {t.trust for t in memory.thoughts()} == {"derived"}
        assert receipt.rejected == ()
        for system, _ in model.asked:
            assert "Rome, like" not in system, "what was said is never a system message"


def test_what_needs_no_model_call_makes_none(tmp_path):
    model = scripted(extract=proposal(ROME))
    with ThoughtMemory(tmp_path / "m.db", encoder=letters, model=model) as memory:
        memory.post_think("I live in Rome")
        assert len(model.asked) == 1, "a group of one is neither forgotten nor merged"


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        ("I am sorry, as a language model ...", "not JSON"),
        ('{"thoughts": "none"}', "must be list"),
        ('{"thoughts": [{"head": "Ana"}]}', "lacks 'text'"),
        ('{"thoughts": [{"text": "x", "head": "Ana"}]}', "head, relation and tail"),
        ('{"thoughts": [{"text": "x", "valid_from": "soon"}]}', "not a date"),
        ('{"thoughts": [{"text": "x", "erase": "everything"}]}', "unknown key 'erase'"),
    ],
)
def test_a_malformed_extraction_changes_nothing_and_is_in_the_log(tmp_path, reply, says):
    with ThoughtMemory(
        tmp_path / "m.db", encoder=letters, model=scripted(extract=[reply, reply])
    ) as memory:
        receipt = memory.post_think("I live in Rome swordfish")
        assert (receipt.inserted, texts(memory)) == ((), [])
        assert says in receipt.rejected[0]
        (entry,) = memory.memory.log(kind="reject")
        assert entry.data["purpose"] == "extract"
        assert entry.body["replies"] == [reply, reply]
        memory.memory.erase(receipt.turn)
        assert "swordfish" not in json.dumps([e.to_dict() for e in memory.memory.log()])


@pytest.mark.parametrize(
    ("kind", "reply", "says"),
    [
        ("forget", '{"forget": [{"number": 9, "contradicts": 1}]}', "from 1 to 3, got 9"),
        ("forget", '{"forget": [{"number": 1, "contradicts": 1}]}', "not two of one group"),
        ("forget", '{"forget": [{"number": 1, "contradicts": 2}]}', "both can hold"),
        ("forget", '{"forget": [{"number": 3, "contradicts": 2}]}', "later of the two"),
        ("forget", '{"forget": [1]}', "must be an object"),
        ("merge", '{"merge": [{"numbers": [2, 3], "text": "Ana likes chess"}]}', "'tea'"),
        ("merge", '{"merge": [{"numbers": [1, 2], "text": "Ana lives in Rome, likes chess"}]}', "one value"),
        ("merge", '{"merge": [{"numbers": [2, 2], "text": "Ana likes chess"}]}', "different thoughts"),
        ("merge", '{"merge": [{"numbers": [2], "text": "Ana likes chess"}]}', "at least two"),
        ("merge", '{"merge": [{"numbers": [2, 4], "text": "x"}]}', "got 4"),
    ],
)  # fmt: skip
def test_a_wrong_proposal_is_rejected(tmp_path, kind, reply, says):
    replies = {**NONE, "extract": proposal(ROME, CHESS, TEA), kind: [reply, reply]}
    with ThoughtMemory(tmp_path / "m.db", encoder=letters, model=scripted(**replies)) as memory:
        receipt = memory.post_think("all of it")
        assert says in receipt.rejected[0]
        assert texts(memory) == sorted(r["text"] for r in (ROME, CHESS, TEA))
        (entry,) = memory.memory.log(kind="reject")
        assert entry.data["purpose"] == kind


def test_a_proposal_is_repaired_once(tmp_path):
    model = scripted(extract=["nonsense", proposal(ROME)], **NONE)
    with ThoughtMemory(tmp_path / "m.db", encoder=letters, model=model) as memory:
        receipt = memory.post_think("I live in Rome")
        assert [t.text for t in receipt.inserted] == ["Ana lives in Rome"]
        assert list(memory.memory.log(kind="reject")) == []


@pytest.mark.parametrize("kind", ["extract", "forget", "merge"])
@pytest.mark.parametrize("error", [ConnectionRefusedError("port 1"), EndpointError("gone")])
def test_a_dead_endpoint_raises_and_nothing_is_written(tmp_path, kind, error):
    replies = {"extract": proposal(ROME, CHESS, TEA), **NONE, kind: error}
    if kind == "merge":
        replies["forget"] = ["nonsense", "nonsense"]
    with ThoughtMemory(tmp_path / "m.db", encoder=letters, model=scripted(**replies)) as memory:
        memory.insert([lives("Oslo")])
        before = len(list(memory.memory.log())), texts(memory)
        with pytest.raises(ModelError):
            memory.post_think("I live in Rome")
        assert (len(list(memory.memory.log())), texts(memory)) == before


def test_an_encoder_that_fails_half_way_leaves_nothing(tmp_path):
    def moody(rows):
        if any("chess" in r for r in rows):
            raise RuntimeError("out of memory")
        return letters(rows)

    with ThoughtMemory(tmp_path / "m.db", encoder=moody) as memory:
        memory.insert([lives("Rome")])
        before = len(list(memory.memory.log()))
        with pytest.raises(ModelError, match="out of memory"):
            memory.insert([likes("tea"), likes("chess")])
        assert len(list(memory.memory.log())) == before


@pytest.mark.parametrize("bad", [np.nan, np.inf, 0.0])
def test_vectors_without_a_direction_are_refused(tmp_path, bad):
    def broken(rows):
        return np.full((len(rows), 8), bad)

    with ThoughtMemory(tmp_path / "m.db", encoder=broken, groups=4) as memory:
        with pytest.raises((UsageError, ModelError), match=r"NaN|finite|zeros"):
            memory.insert([lives("Rome")])
        assert list(memory.memory.log()) == []
