"""The paper's case: its parts on a minute scale; the full small case is marked slow."""

import json

import pytest
import torch

from byheart.core.errors import UsageError
from byheart.papers import economic_recall as paper
from byheart.papers._common import Characters, Check, Result, TinyGPT, fit, generate, verdict_of


@pytest.fixture(autouse=True)
def one_thread():
    """Tiny tensors: threads only wait for each other, the more so on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_verdicts_follow_the_checks():
    good, bad = Check("a", "", "", True), Check("b", "", "", False)
    assert verdict_of([good, good]) == "reproduced"
    assert verdict_of([good, good, bad]) == "partly reproduced"
    assert verdict_of([good, bad]) == verdict_of([bad]) == verdict_of([]) == "not reproduced"


def test_a_small_gpt_learns_by_heart_and_batches_do_not_change_it():
    documents = [f"K{i:02d} = {(i * 7919) % 1000:03d}" for i in range(12)]
    chars = Characters(documents)
    model = TinyGPT(len(chars), layers=1, width=32, heads=2, context=16)
    losses = fit(
        model, [[*chars.encode(d), 1] for d in documents], epochs=250, batch=12, lr=1e-2,
        loss_from=[6] * 12,
    )  # fmt: skip
    assert losses[-1] < 0.1 < losses[0]
    prompts = [chars.encode(d[:k]) for d, k in zip(documents, [6, 3, 5, 6, 2, 6] * 2, strict=True)]
    together = generate(model, prompts, max_new=6)
    assert together == [generate(model, [p], max_new=6)[0] for p in prompts]
    assert chars.decode(together[0][0]) == documents[0][6:]
    warm = generate(model, prompts, max_new=6, temperature=1.0, n=3, seed=4)
    assert warm == generate(model, prompts, max_new=6, temperature=1.0, n=3, seed=4)
    assert len(warm[0]) == 3


def test_left_padding_does_not_change_logits():
    model = TinyGPT(9, layers=2, width=16, heads=2, context=12).eval()
    ids = torch.tensor([[2, 3, 4, 5]])
    plain = model(ids)[0, -1]
    padded = torch.tensor([[0, 0, 0, 2, 3, 4, 5], [2, 3, 4, 5, 6, 7, 8]])
    real = torch.tensor([[0, 0, 0, 1, 1, 1, 1], [1] * 7]).bool()
    causal = torch.ones(7, 7).tril().bool()
    mask = ((causal & real[:, None, :]) | torch.eye(7).bool())[:, None]
    logits, _ = model._run(padded, (real.cumsum(1) - 1).clamp(min=0), mask, None)
    assert torch.allclose(logits[0, -1], plain, atol=1e-5)


def test_the_spread_of_the_blocks_leaves_the_rest_as_it_was():
    plain, wide = TinyGPT(9, width=64), TinyGPT(9, width=64, std=0.2)
    assert torch.equal(plain.tokens.weight, wide.tokens.weight)
    assert torch.equal(plain.positions.weight, wide.positions.weight)
    assert float(plain.blocks[0].up.weight.detach().std()) == pytest.approx(0.02, rel=0.05)
    assert torch.allclose(10 * plain.blocks[0].up.weight, wide.blocks[0].up.weight, rtol=1e-4)


def test_a_seed_does_not_depend_on_how_many_run_beside_it():
    series = paper.three_series()
    alone = paper._all_seeds(series, 1, 1, "cpu", None)
    both = paper._all_seeds(series, 2, 1, "cpu", None)
    assert alone[0].rows == both[0].rows
    assert alone[0].loss == both[0].loss != both[1].loss


def test_years_after_the_cutoff_are_words_the_model_has_met_but_their_values_are_not():
    series = paper.three_series()
    lines = paper._calendar()
    asked = {d[:4] for s in series.values() for d in s.dates}
    assert asked <= {a[:4] for a, _ in lines}
    assert all("=" not in a + b for a, b in lines)
    assert series["UNRATE"].name == "US unemployment rate"
    assert series["UNRATE"].value("2009-10") == 9.5


def test_the_case_runs_and_can_come_out_not_reproduced(tmp_path):
    """One epoch cannot learn 720 values: the verdict must say so."""
    seen = []
    result = paper.run(
        seeds=1, epochs=1, out=tmp_path, progress=lambda what, done: seen.append(done)
    )
    assert isinstance(result, Result)
    assert result.verdict == "not reproduced"
    assert seen == sorted(seen)
    assert seen[-1] == 1.0
    assert result.figures[0].stat().st_size > 10_000
    assert json.loads((tmp_path / "result.json").read_text())["verdict"] == "not reproduced"
    assert {f.verdict() for f in result.findings} == {"not shown"}
    with pytest.raises(UsageError):
        paper.run(seeds=0)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_claim_on_one_seed():
    result = paper.run(seeds=1)
    assert result.verdict == "reproduced", [c.measured for c in result.checks if not c.passed]
