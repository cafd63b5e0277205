"""The case of memo-training, small; that its verdict can be the other one; and the large case's parts."""

from __future__ import annotations

import json
import random

import pytest
import torch

from byheart.core.errors import CapabilityError, UsageError
from byheart.papers import PAPERS, _memo_full, _memo_gradients, memo_training, reproduce
from byheart.papers._memo_trace import joined, large_trace, small_trace
from byheart.states import planner
from byheart.states.planner import max_live, online_fit

SMALL = {"seeds": 1, "pipelines": 60}


def failed(result):
    return {c.name for c in result.checks if not c.passed}


def test_it_reproduces_and_writes_its_figure(tmp_path):
    assert "memo-training" in PAPERS
    told = []
    result = memo_training.run(**SMALL, out=tmp_path, progress=lambda w, s: told.append((w, s)))
    assert failed(result) == set()
    assert result.verdict == "reproduced"
    assert "a planned step" in (tmp_path / "memo-training.svg").read_text()
    assert json.loads((tmp_path / "result.json").read_text())["verdict"] == "reproduced"
    shares = [s for _, s in told]
    assert shares == sorted(shares)
    assert 0 <= shares[0] <= shares[-1] <= 1


def test_plans_that_are_not_planned_are_not_reproduced(monkeypatch):
    def careless(trace, **_):
        return online_fit(trace)

    monkeypatch.setattr(planner, "plan_memory", careless)
    names = failed(memo_training.run(**SMALL))
    assert "a plan needs what is live and no more" in names
    assert "deciding request by request needs more" in names


def test_a_wrong_alpha_is_not_reproduced(monkeypatch):
    monkeypatch.setattr(planner, "solve_alpha", lambda **_: 0.0)
    drawn = [memo_training.draw_pipeline(random.Random(i)) for i in range(60)]
    checks = {c.name: c.passed for c in memo_training._alpha_checks(drawn)}
    assert checks == {
        "simulated streams and closed form agree": True,
        "alpha is at least as good as all or nothing": False,
        "alpha reaches 1 where the link can take everything": False,
    }


def test_gradients_that_differ_are_not_reproduced(monkeypatch):
    monkeypatch.setattr(_memo_gradients, "compare", lambda alpha, seed: (1e-3, 0.9))
    found = memo_training._Found()
    memo_training._gradients(found, 0)
    assert [c.passed for c in memo_training._gradient_checks(found)] == [False, False]


@pytest.mark.parametrize("alpha", memo_training.ALPHAS)
def test_swapped_gradients_are_the_plain_ones(alpha):
    worst, stored = _memo_gradients.compare(alpha, seed=3)
    assert worst < 1e-6
    assert stored == pytest.approx((2 + 14 * alpha) / 16, abs=0.02)


def test_steps_after_each_other_leave_nothing():
    steps = [small_trace(2, width=32, length=n) for n in (16, 24)]
    whole = joined(steps, "both")
    assert max_live(whole) == max(max_live(t) for t in steps)
    assert len(whole.requests) >= sum(map(len, steps))
    assert sum(r.size if r.kind == "malloc" else -r.size for r in whole) == 0


def test_the_large_step_is_the_small_one_without_values():
    same = {"width": 32, "length": 16}
    small = small_trace(2, **same)
    large = large_trace(2, **same, heads=4, vocab=512)
    assert [(r.kind, r.size) for r in small] == [(r.kind, r.size) for r in large]
    assert [t for _, t in small.marks] == [t for _, t in large.marks]
    # 64 times the width: it would need 40 GB here.
    assert max_live(large_trace(2, width=4096, heads=32, length=16_384)) > 20 * 2**30


@pytest.mark.parametrize("way", _memo_full.WAYS)
def test_every_way_of_the_large_case_steps_on_a_small_llama(way):
    model = _memo_full.llama(
        "cpu", torch.float32, hidden_size=32, num_hidden_layers=3, num_attention_heads=2,
        num_key_value_heads=2, intermediate_size=64, vocab_size=64,
    )  # fmt: skip
    row = _memo_full.measure(model, way, 48, repeats=1)
    assert row.seconds > 0
    assert row.rate == pytest.approx(48 / row.seconds)


def test_the_loss_in_chunks_is_the_loss():
    model = _memo_full.llama(
        "cpu", torch.float64, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=2, intermediate_size=24, vocab_size=40,
    )  # fmt: skip
    ids = torch.randint(40, (1, 50))
    whole = model(ids, labels=ids).loss
    torch.testing.assert_close(_memo_full._loss(model, ids, chunk=7).double(), whole.double(), rtol=1e-5, atol=0)  # fmt: skip


def row(way, length, rate, peak, states=10):
    return _memo_full.Row(way, length, rate and length / rate, peak, states)


def test_the_large_case_is_judged_by_its_rows():
    def rows(swap_rate=97.0, swap_peak=50):
        return [
            row("plain", 16, 100.0, 100), row("checkpoint", 16, 78.0, 30),
            row("save_on_cpu", 16, 40.0, 30), row("swap", 16, swap_rate, swap_peak),
            row("plain", 32, None, None), row("checkpoint", 32, 70.0, 60),
            row("save_on_cpu", 32, 40.0, 60), row("swap", 32, 90.0, 80),
        ]  # fmt: skip

    assert all(c.passed for c in _memo_full.judge(rows()))
    assert [c.passed for c in _memo_full.judge(rows(80.0, 60))] == [True, False, False, True]
    none = [row(w, 16, None, None) for w in _memo_full.WAYS]
    assert [c.passed for c in _memo_full.judge(none)] == [False]


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what happens without CUDA")
def test_the_large_case_needs_a_gpu():
    with pytest.raises(CapabilityError, match="leave --full out"):
        reproduce("memo-training", full=True)


def test_bad_input():
    with pytest.raises(UsageError, match="seeds and pipelines must be at least 1, got 0"):
        memo_training.run(seeds=0)
    with pytest.raises(UsageError, match="got 1, 0"):
        memo_training.run(seeds=1, pipelines=0)
