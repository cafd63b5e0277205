"""Running audits: resuming, stopping, skipping, and what the report says of each."""

from __future__ import annotations

import signal
import time
from dataclasses import dataclass, field
from typing import ClassVar

import pytest

import byheart
from byheart.core.ask import Completion, Sample, Score
from byheart.core.audit import Audit, Planting, Probe, Row
from byheart.core.errors import DataError, EndpointError, ModelError, OutputError
from byheart.core.finding import Evidence, Finding
from byheart.core.journal import Journal
from byheart.core.model import Model
from byheart.core.run import measure, run
from byheart.core.stats import contrast


@dataclass(frozen=True)
class Echo(Audit):
    """Asks twice (two turns) and says whether the second answer is "yes"."""

    name: ClassVar[str] = "echo"
    title: ClassVar[str] = "Echo"
    claim: ClassVar[str] = "It says yes."
    control: ClassVar[str] = "none"
    needs: ClassVar[frozenset[str]] = frozenset({"sample"})
    size: int = 6

    def probes(self, *, seed=0, limit=None):
        n = min(self.size, limit or self.size)
        return [
            Probe(f"{a}{i}", a, f"{a} {i}?", "yes") for a in ("seen", "fresh") for i in range(n)
        ]

    def ask(self, probe, facts):
        first = yield [Sample(probe.prompt, max_tokens=2)]
        second = yield [Sample(first[0][0].text, max_tokens=2), Sample("unused", max_tokens=2)]
        text = second[0][0].text
        hit = float(text == "yes")
        return Row(
            probe.id, probe.arm, {"hit": hit},
            evidence=Evidence(probe.id, probe.arm, probe.prompt, "yes", text, hit),
        )  # fmt: skip

    def findings(self, rows, *, seed=0):
        arms = [[r.values["hit"] for r in rows if r.arm == a] for a in ("seen", "fresh")]
        if min(map(len, arms)) < 2:
            return []
        c = contrast(*arms, paired=False, seed=seed)
        return [
            Finding("echo/hit", self.claim, c.seen, c.fresh, c.gap, c.p_value, c.n, "share", seed)
        ]

    def planted(self, *, seed=0, n=24):
        return Planting(self, self, ())


class Speaker(Model):
    """Says "again" to a question and "yes" to "again"; can be told to fail."""

    capabilities = frozenset({"sample"})
    chat = True

    def __init__(self, fail_on=(), error=None):
        self.name, self.asked = "speaker", []
        self.fail_on, self.error = fail_on, error or ModelError("boom")

    def sample(self, asks, progress=None):
        out = []
        for ask in asks:
            self.asked.append(ask.prompt)
            if any(word in ask.prompt for word in self.fail_on):
                if self.error is KeyboardInterrupt:  # as Ctrl-C does it, whichever thread works
                    signal.raise_signal(signal.SIGINT)
                    time.sleep(0.5)
                else:
                    raise self.error
            said = "yes" if ask.prompt == "again" else "again" if "seen" in ask.prompt else "no"
            out.append([Completion(said)])
        return out

    def score(self, asks: list[Score], progress=None):
        raise AssertionError("not asked for")


@pytest.fixture(params=[False, True], ids=["direct", "inspect"])
def log_dir(request, tmp_path):
    return tmp_path / "logs" if request.param else None


def test_both_drivers_give_the_same_rows(tmp_path):
    direct = measure(Speaker(), Echo())
    logged = measure(Speaker(), Echo(), log_dir=tmp_path)
    assert direct.rows == logged.rows
    assert [r.values["hit"] for r in direct.rows] == [1.0] * 6 + [0.0] * 6
    assert list(tmp_path.glob("*.eval"))


def test_a_second_run_asks_nothing(tmp_path, log_dir):
    with Journal(tmp_path / "rows.jsonl") as journal:
        first = measure(Speaker(), Echo(), journal=journal, log_dir=log_dir)
    again = Speaker()
    with Journal(tmp_path / "rows.jsonl") as journal:
        second = measure(again, Echo(), journal=journal, log_dir=log_dir)
    assert second.rows == first.rows
    assert again.asked == []


def test_one_bad_probe_harms_no_other(tmp_path):
    done = measure(Speaker(fail_on=["seen 2?"]), Echo(), log_dir=tmp_path)
    assert len(done.rows) == 11
    assert [f.id for f in done.failures] == ["seen2"]
    assert "boom" in done.failures[0].message
    assert done.stopped is None


def test_a_dead_model_stops_early_and_says_why(tmp_path):
    model = Speaker(fail_on=["seen", "fresh"], error=EndpointError("nobody at http://127.0.0.1:9"))
    with pytest.raises(EndpointError, match=r"127\.0\.0\.1:9"):
        run(model, [Echo(size=40)], out=tmp_path)


def test_ctrl_c_keeps_what_was_finished_and_the_next_run_goes_on(tmp_path, log_dir):
    model = Speaker(fail_on=["fresh 3?"], error=KeyboardInterrupt)
    out = tmp_path / "out"
    report = run(model, [Echo(), Late()], out=out, logs=log_dir is not None)
    assert report.meta["complete"] is False
    assert report.meta["missing"] == "interrupted"
    assert [s.audit for s in report.skipped][-1] == "late"
    again = run(Speaker(), [Echo(), Late()], out=out, logs=log_dir is not None)
    assert again.meta["complete"] is True
    assert {f.name for f in again.findings} == {"echo/hit"}


@dataclass(frozen=True)
class Late(Echo):
    """Another name for the same."""

    name: ClassVar[str] = "late"
    size: int = field(default=1)


def test_a_missing_capability_is_a_named_skip():
    @dataclass(frozen=True)
    class Needy(Echo):
        name: ClassVar[str] = "needy"
        needs: ClassVar[frozenset[str]] = frozenset({"score"})

    report = run(Speaker(), [Needy(), Echo()])
    assert [(s.audit, "score" in s.reason) for s in report.skipped] == [("needy", True)]
    assert [f.name for f in report.findings] == ["echo/hit"]


def test_too_few_questions_are_not_called_failures():
    report = byheart.audit(lambda p: "hello", ["wilt"], limit=1, knobs={"wilt": {"recite": False}})
    (skipped,) = report.skipped
    assert skipped.reason == "2 questions are too few for a contrast; raise the limit"


def test_bad_material_is_said_before_anything_runs():
    @dataclass(frozen=True)
    class Broken(Echo):
        name: ClassVar[str] = "broken"

        def probes(self, *, seed=0, limit=None):
            raise DataError("line 3 is not a number")

    model = Speaker()
    with pytest.raises(DataError, match="broken: line 3"):
        run(model, [Echo(), Broken()])
    assert model.asked == []


def test_progress_reaches_the_whole(tmp_path, log_dir):
    ticks = []
    measure(Speaker(), Echo(), progress=ticks.append, log_dir=log_dir)
    assert ticks[0].rows == 0
    assert (ticks[-1].rows, ticks[-1].of) == (12, 12)
    assert ticks[-1].done == pytest.approx(ticks[-1].total)


def test_an_unwritable_folder_is_said_before_the_model_is_loaded(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="--out"):
        byheart.audit(lambda p: "", ["verbatim"], out=tmp_path / "file")


def test_refusals_among_answers_do_not_end_a_run_and_refusals_in_a_row_do(tmp_path):
    error = EndpointError("refused")
    now_and_then = Speaker(fail_on=("seen 1?", "seen 40?", "fresh 10?", "fresh 45?"), error=error)
    done = measure(now_and_then, Echo(size=60), log_dir=tmp_path / "some")
    dead = measure(Speaker(fail_on=("fresh",), error=error), Echo(), log_dir=tmp_path / "dead")
    assert isinstance(dead.stopped, EndpointError)
    assert done.stopped is None
    assert len(done.failures) == 4
    assert len(done.rows) == 116


def test_half_a_character_is_replaced_wherever_it_comes_from():
    assert Completion("so \ud83d it goes").text == "so \ufffd it goes"
    report = byheart.audit(lambda prompt: "half \ud83d", ["verbatim"], limit=2)
    assert byheart.Report.from_json(report.to_json()) == report
