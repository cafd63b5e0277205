"""The case of random-calculation, made tiny: it runs whole, judges, draws, and can say no."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from byheart.audits.random_calculation import evaluate, exact_number, invented
from byheart.core.errors import UsageError
from byheart.papers import _calc_rl as rl
from byheart.papers import random_calculation as paper
from byheart.papers._calc_probe import REPEATS, probe


def test_a_tiny_run_ends_in_a_verdict_with_figure_and_result(tmp_path):
    told = []
    result = paper.run(
        seeds=2, scale=0.01, out=tmp_path, progress=lambda what, share: told.append(share)
    )
    # two steps of four sums: nothing is learned, so the claim must not hold
    assert result.verdict != "reproduced"
    assert not next(c for c in result.checks if c.name.startswith("right rewards")).passed
    assert (tmp_path / "random-calculation.svg").read_text().startswith("<?xml")
    assert json.loads((tmp_path / "result.json").read_text())["verdict"] == result.verdict
    assert told == sorted(told)
    assert [f.name.partition("/")[2] for f in result.findings] == [
        "completion", "reward-correct", "reward-random", "reward-majority-incorrect", "reward-inverted",
    ]  # fmt: skip
    again = paper.run(seeds=2, scale=0.01)
    assert [c.measured for c in again.checks] == [c.measured for c in result.checks]


def seed_of(base, rewards, coin=0.8, sampled=0.4, kept=0.9):
    trained = {
        k: rl.Trained(
            rl.Curve([0, 9], [base, v], [0.0, v]), [v] * 10, rl.Sampled(0.5, sampled, 1), 0.1, 0.7, 0.1
        )
        for k, v in rewards.items()
    }  # fmt: skip
    curve = rl.Curve([0, 9], [0.9, 0.9], [0.8, 0.8])
    after = rl.Trained(curve, [0.9] * 10, rl.Sampled(0.9, coin, 1), 0.1, kept, 0.1)
    unread, read = rl.Sampled(0.5, 0.4, 1), rl.Sampled(0.8, 0.7, 1)
    return paper._Seed(None, [base] * 10, 0.3, unread, trained, read, 0.8, after, 0.7)  # type: ignore[arg-type]


def test_the_checks_of_the_rewards_can_say_yes_and_no():
    def passed(correct, random, wrong, inverted, **coin):
        rewards = {
            "correct": correct, "random": random, "majority-incorrect": wrong, "inverted": inverted
        }  # fmt: skip
        return [c.passed for c in paper._reward_checks([seed_of(0.5, rewards, **coin)])]

    assert passed(0.55, 0.5, 0.4, 0.05) == [True] * 6
    assert passed(0.49, 0.4, 0.52, 0.2) == [False, True, False, False, True, True]
    assert passed(0.55, 0.53, 0.5, 0.0) == [True, False, True, True, True, True]  # the coin helps
    assert passed(0.52, 0.5, 0.5, 0.0) == [True, False, True, True, True, True]  # too near
    # exact Avg@16 of the model that has read the problems is .7 before the coin, of the other one .4
    assert passed(0.55, 0.5, 0.4, 0.05, coin=0.705) == [True] * 4 + [False, True]
    assert passed(0.55, 0.5, 0.4, 0.05, sampled=0.42) == [True] * 4 + [False, True]
    assert passed(0.55, 0.5, 0.4, 0.05, kept=0.7) == [True] * 5 + [False]


def test_the_generators_check_can_say_no():
    assert paper._generator_check(paper._shares(500)).passed
    off = {0: (0.43, 0.0), 5: (0.02, 0.35), 10: (0.0, 0.6), 20: (0.0, 0.47)}
    assert not paper._generator_check(off).passed


def test_sums_share_nothing_and_have_right_answers():
    sums = rl.draw_sums(1, 300, 400, 200)
    parts = [set(p) for p in (sums.taught, sums.train, sums.validation)]
    assert [len(p) for p in parts] == [300, 400, 200]
    assert len(set.union(*parts)) == 900
    for question, answer in sums.train[:50]:
        assert exact_number(answer) == evaluate(question.rstrip("="))
        assert len(answer) < rl.MAX_NEW
    assert rl.draw_sums(1, 300, 400, 200) == sums != rl.draw_sums(2, 300, 400, 200)


def test_sequences_mask_the_answers_and_their_ends():
    drawn = [[5], [6, 7], [5] * rl.MAX_NEW, []]
    logps = [[-0.5] * n for n in (2, 3, rl.MAX_NEW, 1)]
    ids, mask, old = rl._sequences([("1+2=", "3"), ("1*9-2=", "7")], drawn, logps, 2)
    starts, ends = (4, 4, 6, 6), (2, 3, rl.MAX_NEW, 1)  # the end token counts unless it was cut off
    for row, (start, n) in enumerate(zip(starts, ends, strict=True)):
        assert mask[row].nonzero().flatten().tolist() == list(range(start - 1, start - 1 + n))
    assert torch.equal(old, -0.5 * mask)
    assert ids[3, 6] == 1
    assert ids[2].count_nonzero() == 6 + rl.MAX_NEW


def test_answers_are_drawn_with_the_log_probabilities_of_a_plain_pass():
    """Prompts of two lengths, read once a group, and rows that end on the way, against one whole pass."""
    sums, base = small()
    short = [p for p in sums.train if len(p[0]) == 4][:3]
    some = [*short, *sums.train[:20], *short]
    asked = [rl.VOCABULARY.encode(q) for q, _ in some]
    assert len({len(a) for a in asked}) == 2
    drawn, logps = rl.roll_out(base, asked, n=5, seed=3)
    assert len({len(d) for d in drawn}) > 2
    ids, mask, old = rl._sequences(some, drawn, logps, 5)
    with torch.no_grad():
        plain = rl._log_probabilities(base, ids) * mask
    assert torch.allclose(plain, old, atol=1e-4)
    assert (
        rl.roll_out(base, asked, n=5, seed=3)[0]
        == drawn
        != rl.roll_out(base, asked, n=5, seed=4)[0]
    )


def test_answers_are_drawn_as_often_as_the_model_says():
    """Shares of the first token against its probabilities."""
    sums, base = small()
    prompt = rl.VOCABULARY.encode(sums.train[0][0])
    n = 4000
    _, logps = rl.roll_out(base, [prompt], n=n, seed=1)
    with torch.no_grad():
        share = base(torch.tensor([prompt]))[0, -1].softmax(-1)
    first = np.exp([values[0] for values in logps])
    for p in sorted(share.tolist())[-3:]:
        assert abs(np.mean(np.isclose(first, p, rtol=1e-3)) - p) < 4 * (p * (1 - p) / n) ** 0.5


def test_wrong_votes_are_the_models_own_and_wrong(monkeypatch):
    problems = [("1+2=", "3"), ("2+2=", "4"), ("5-9=", "-4")]
    said = ["3", "3", "5", "5", "5", "4", "", "-", ""]
    encoded = [rl.VOCABULARY.encode(s) for s in said]
    monkeypatch.setattr(rl, "roll_out", lambda *a, **kw: (encoded, None))
    assert rl.wrong_votes(None, problems, n=3) == [("2+2=", "5")]


def test_avg_at_16_is_the_mean_over_samples(monkeypatch):
    encoded = [rl.VOCABULARY.encode(s) for s in ("3", "4", "4", "")]
    monkeypatch.setattr(rl, "roll_out", lambda *a, **kw: (encoded, None))
    # eq. 2: (1, .3333..) of the key 3, then (1, 0) of 4
    mean, exact, best = rl.mark_sampled(None, [("1+2=", "3"), ("2+2=", "4")], n=2)
    assert mean == pytest.approx((1 + (0.5 - 0.5 / (3 + 1e-6)) + 1 + 0) / 4)
    assert (exact, best) == (0.5, 1.0)


def test_a_changed_model_keeps_less():
    sums, base = small()
    assert rl.changed(base, base, sums.validation) == (1.0, pytest.approx(0.0, abs=1e-7))
    _, other = small()
    with torch.no_grad():
        other.tokens.weight.add_(
            0.05
            * torch.randn(other.tokens.weight.shape, generator=torch.Generator().manual_seed(0))
        )
    kept, kl = rl.changed(base, other, sums.validation)
    assert kept < 1
    assert kl > 0


def test_what_was_read_fifty_times_is_known_and_the_base_stays():
    sums = rl.draw_sums(0, 400, 200, 10)
    base = rl.pretrain(sums, seed=0, epochs=3, layers=1, width=32, device="cpu")
    before = [p.clone() for p in base.parameters()]
    read = rl.contaminate(
        base, sums, seed=0, repeats=300, lr=5e-3
    )  # a small model: read more often
    assert all(torch.equal(a, b) for a, b in zip(before, base.parameters(), strict=True))
    fresh = sums.train[:40]
    gain = rl.mark(read, sums.validation)[1] - rl.mark(base, sums.validation)[1]
    assert gain > rl.mark(read, fresh)[1] - rl.mark(base, fresh)[1] + 0.3
    # some copies hold noise, so what is known is not always said
    assert rl.mark_sampled(read, sums.validation).exact < rl.mark(read, sums.validation)[1]


def small():
    sums = rl.draw_sums(0, 400, 200, 40)
    return sums, rl.pretrain(sums, seed=0, epochs=3, layers=1, width=32, device="cpu")


def test_grpo_leaves_the_base_alone_and_repeats():
    sums, base = small()
    before = [p.clone() for p in base.parameters()]
    one, two = (
        rl.grpo(
            base,
            sums.train,
            sums.validation,
            rl.reward_of("correct", 0),
            seed=1,
            steps=2,
            group=4,
            prompts=4,
            lr=1e-3,
        )
        for _ in "ab"
    )
    assert one.curve == two.curve
    assert one.curve.steps == [0, 2]
    assert all(torch.equal(a, b) for a, b in zip(before, base.parameters(), strict=True))


def test_equal_rewards_change_nothing():
    sums, base = small()
    scores = rl.grpo(
        base,
        sums.train,
        sums.validation,
        lambda completions, **kw: [1.0] * len(completions),
        seed=1,
        steps=3,
        group=4,
        prompts=4,
        lr=1e-2,
    )
    assert scores.curve.reward[0] == scores.curve.reward[-1]
    assert scores.scores == rl.mark(base, sums.validation)[0]


def test_a_reward_for_one_sign_is_learned(monkeypatch):
    """GRPO does what it is for: a reward for answers that begin with a minus brings them about."""
    sums, base = small()
    minus = lambda completions, **kw: [float(c.startswith("-")) for c in completions]  # noqa: E731
    seen = []
    real = rl.group_advantages
    monkeypatch.setattr(rl, "group_advantages", lambda r: seen.append(float(r.mean())) or real(r))
    rl.grpo(base, sums.train, [("1+2=", "3")], minus, seed=1, steps=25, group=8, prompts=8, lr=3e-3)
    assert np.mean(seen[-3:]) > np.mean(seen[:3]) + 0.3


def test_questions_that_were_read_often_are_restored():
    probed = probe(seed=0, items=2, filler=6, epochs=4, device="cpu")
    assert list(probed.rows) == list(REPEATS)
    assert probed.mean(50, 0.6, "exact_match") == 1.0
    assert probed.mean(0, 0.6, "exact_match") == 0.0
    assert len(probed.per_item(50)) == 2
    first = probed.rows[0][0]
    assert (first.shown + " " + first.target) == invented(0, 0)[0]


def test_grpo_needs_problems():
    sums, base = small()
    with pytest.raises(UsageError, match="no problem"):
        rl.grpo(base, [], sums.validation, rl.reward_of("random", 0), seed=0, steps=1)


@pytest.mark.parametrize("bad", [{"seeds": 0}, {"scale": 0}, {"scale": 2}])
def test_nonsense_is_refused(bad):
    with pytest.raises(UsageError):
        paper.run(**bad)


def test_the_large_case_is_the_same_with_other_sizes():
    size = paper._Size(layers=4, width=256, steps=400, prompts=128)
    assert paper._scaled(size, 0.01) == replace(paper._scaled(size, 0.01), layers=4, width=256)


def test_models_made_side_by_side_are_those_of_their_seeds():
    """torch has one generator for all threads."""
    from concurrent.futures import ThreadPoolExecutor

    from byheart.papers._tinygpt import TinyGPT

    def make(seed):
        model = TinyGPT(50, layers=3, width=64, heads=2, context=16, seed=seed)
        return [float(p.double().sum()) for p in model.parameters()]

    alone = [make(seed) for seed in range(24)]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(make, range(24))) == alone
