"""The plain driver: many turns in lock-step give what one by one gives, in few batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import pytest

from byheart.core.ask import Sample, Score
from byheart.core.audit import Audit, Probe, Row
from byheart.core.drive import answer, drive
from byheart.core.errors import CapabilityError, UsageError
from byheart.core.model import CallableModel
from byheart.core.toy import SuffixModel

TEXT = "a b c d e f g h i j k l m n o p q r s t u v w x y z"


class Walk(Audit):
    """Asks as many turns as the probe says, feeding each answer into the next question."""

    name: ClassVar[str] = "walk"
    title: ClassVar[str] = "walk"
    claim: ClassVar[str] = "walks"
    control: ClassVar[str] = "none"
    needs: ClassVar[frozenset[str]] = frozenset({"sample", "score"})

    def __init__(self, role: str = "") -> None:
        self.role = role

    def probes(self, *, seed: int = 0, limit: int | None = None) -> list[Probe]:
        starts = TEXT.split()[seed::3][:limit]
        return [
            Probe(w, "seen" if i % 2 else "fresh", w, meta={"turns": i % 5})
            for i, w in enumerate(starts)
        ]

    def ask(self, probe, facts):
        text, score = probe.prompt, 0.0
        for _ in range(probe.meta["turns"]):
            replies = yield [Sample(text, max_tokens=2, role=self.role), Score(text + " !")]
            text += replies[0][0].text
            score += replies[1].total
        return Row(probe.id, probe.arm, {"score": score}, meta={"text": text})

    def findings(self, rows, *, seed=0):
        return []

    def planted(self, *, seed=0, n=24):
        raise AssertionError("not asked for here")


class Counted(SuffixModel):
    """Counts batches."""

    def __init__(self, documents: Sequence[str]) -> None:
        super().__init__(documents)
        self.batches: list[tuple[str, int]] = []

    def sample(self, asks, progress=None):
        self.batches.append(("sample", len(asks)))
        return super().sample(asks, progress)

    def score(self, asks, progress=None):
        self.batches.append(("score", len(asks)))
        return super().score(asks, progress)


def test_lock_step_equals_one_by_one_and_needs_one_batch_a_turn():
    model = Counted([TEXT])
    probes = Walk().probes()
    together = drive(Walk(), model, probes)
    assert model.batches[0] == ("sample", sum(p.meta["turns"] > 0 for p in probes))
    assert len(model.batches) == 2 * 4
    assert together == [drive(Walk(), model, [p])[0] for p in probes]
    assert together[2].meta["text"] == "g h i"  # two turns of two tokens: a blank and a letter
    assert [r.id for r in together] == [p.id for p in probes]


def test_rows_are_told_as_they_finish_and_returned_in_order():
    told: list[str] = []
    rows = drive(Walk(), SuffixModel([TEXT]), seed=1, limit=7, on_row=lambda r: told.append(r.id))
    assert sorted(told) == sorted(r.id for r in rows)
    assert told[0] == rows[0].id  # no turn to wait for
    assert told != [r.id for r in rows]  # row 5 has no turns and finishes before row 1


def test_no_probes_give_no_rows():
    assert drive(Walk(), SuffixModel([TEXT]), []) == []


def test_mixed_asks_come_back_in_order():
    model = SuffixModel([TEXT])
    asks = [Score("a b"), Sample("a", max_tokens=2), Score("c d"), Sample("c", max_tokens=2)]
    replies = answer(asks, model)
    assert [r[0].text for r in (replies[1], replies[3])] == [" b", " d"]
    assert replies[0].total == model.score([Score("a b")])[0].total
    assert replies[2].total == model.score([Score("c d")])[0].total


def test_roles_go_to_their_models():
    helper = Counted(["a z a z a z"])
    rows = drive(Walk("helper"), SuffixModel([TEXT]), limit=2, roles={"helper": helper})
    assert rows[1].meta["text"].startswith("d")
    assert [kind for kind, _ in helper.batches] == ["sample"]
    with pytest.raises(UsageError, match="role 'helper'"):
        drive(Walk("helper"), SuffixModel([TEXT]), limit=2)


def test_a_model_without_what_is_needed_is_refused_before_it_is_asked():
    with pytest.raises(CapabilityError, match="walk needs score"):
        drive(Walk(), CallableModel(lambda prompt: "x"))
