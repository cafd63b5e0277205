"""WILT's claim on scripted players; the language model's part with a stand-in."""

import json

import pytest

from byheart.audits.wilt import RULES_FULL
from byheart.core.errors import UsageError
from byheart.core.model import CallableModel
from byheart.papers import PAPERS
from byheart.papers import wilt as paper


def test_the_claim_holds_on_all_rules_with_one_seed(tmp_path):
    result = paper.run(seeds=1, out=tmp_path, model="none")
    assert result.key in PAPERS
    failed = [(c.name, c.measured) for c in result.checks if not c.passed]
    assert failed == []
    assert result.verdict == "reproduced"
    assert [p.name for p in result.figures] == ["wilt.png"]
    kept = json.loads((tmp_path / "result.json").read_text())
    assert len(kept["checks"]) == 8
    tests, inference = result.findings
    assert tests.gap.low > 0.1
    assert inference.gap.low > 0.1
    assert {f.verdict() for f in result.findings} == {"no verdict"}


def test_the_verdict_can_fail(monkeypatch):
    """A player that picks its tests at random instead of by information is noticed."""
    real = paper.Player

    def lazy(chooser, *args, **kw):
        return real("random" if chooser == "gain" else chooser, *args, **kw)

    monkeypatch.setattr(paper, "Player", lazy)
    result = paper.run(seeds=1, model="none", rules=20)
    assert result.verdict != "reproduced"
    assert not result.checks[0].passed


@pytest.mark.parametrize(
    ("speech", "passed", "said"),
    [
        ("I would rather not.", True, "0 of 10 (0 leniently), 0.0 tests; format 10"),
        ("Final Guess: ```lambda x, y, z: x < y < z```", False, "1 of 10 (1 leniently)"),
        ("Test Case: ```(1, 2, 3)```", False, "0 of 10 (0 leniently), 30.0 tests; turns 10"),
    ],
)
def test_the_language_models_part(monkeypatch, speech, passed, said):
    monkeypatch.setattr("byheart.core.model.load", lambda *a, **k: CallableModel(lambda p: speech))
    check, note = paper._talk("stand-in", None, None)
    assert check.passed is passed
    assert check.measured.startswith(said)
    assert "stand-in" in note


def test_the_large_case_counts_the_published_rules(monkeypatch, tmp_path):
    monkeypatch.setattr(
        "byheart.core.model.load",
        lambda *a, **k: CallableModel(lambda p: "Final Guess: ```lambda x, y, z: x < y < z```"),
    )
    result = paper.run(full=True, model="stand-in", out=tmp_path)
    assert [p.name for p in result.figures] == ["wilt-full.png"]
    assert (tmp_path / "wilt-full.png").read_bytes().startswith(b"\x89PNG")
    assert result.checks[1].passed
    small = paper.run(full=True, model="stand-in", rules=3)
    assert small.checks[0].measured == "1 of 3, 0.0 attempts"
    assert result.checks[0].measured == "1 of 50, 0.0 attempts"
    assert result.verdict == "reproduced"
    assert any(f.name == "wilt/recited" for f in result.findings)


def test_a_model_that_knows_the_list_fails_the_large_case(monkeypatch):
    def knows(prompt):
        text = prompt[-1][1]
        number = text.rsplit("'", 2)[1] if "under the key" in text else ""
        return RULES_FULL[number].source if number in RULES_FULL else "I do not know."

    monkeypatch.setattr("byheart.core.model.load", lambda *a, **k: CallableModel(knows))
    result = paper.run(full=True, model="stand-in", rules=14)
    assert [c.passed for c in result.checks] == [True, False]
    assert result.verdict == "not reproduced"


def test_knobs_that_cannot_be():
    with pytest.raises(UsageError, match="seeds"):
        paper.run(seeds=0)
    with pytest.raises(UsageError, match="rules"):
        paper.run(rules=51)
