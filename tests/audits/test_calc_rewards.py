"""Rewards in TRL's form and GRPO's arithmetic. Oracles: eq. 2 in closed form, the gradient by hand,
Monte Carlo."""

import inspect
import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from byheart.audits.random_calculation import (
    REWARDS,
    clip_bias,
    generate,
    group_advantages,
    grpo_loss,
    mislabelled,
    reference_reward,
    rewards,
    token_kl,
    votes,
)
from byheart.core.errors import UsageError

FINITE = st.floats(-1e6, 1e6, allow_nan=False)


@pytest.mark.parametrize(
    ("a", "b", "reward"),
    [
        (6490.42, 6490.42220471333, 0.99890), (3, 4, 0.375), (0.5, 0, 0.25), (-19.87, -19.8747195, 0.99752),
        (5, 1000, 0.0025), ("cannot say", 4, 0.0),
    ],
)  # fmt: skip
def test_the_worked_values_of_eq_2(a, b, reward):
    assert reference_reward(a, b) == pytest.approx(reward, abs=5e-6)
    assert reference_reward(str(a), str(b)) == reference_reward(a, b)


@given(FINITE, FINITE)
def test_closed_form_of_eq_2(a, b):
    r = reference_reward(a, b)
    off = abs(a - b)
    assert 0 <= r <= 1
    assert (r == 1) == (off == 0) or off < 1e-9
    assert (r == 0) == (off >= 1 and off >= abs(b) + 1e-6)
    assert reference_reward(2 * b - a, b) == pytest.approx(r, abs=1e-6)  # |a - b| alone counts


@given(FINITE, st.floats(0, 1e3), st.floats(0, 1e3))
def test_farther_off_never_pays(b, near, far):
    near, far = sorted((near, far))
    assert reference_reward(b + far, b) <= reference_reward(b + near, b) + 1e-9


def test_near_zero_as_the_sheet_says():
    for a in (1e-5, 0.3, -1.0):
        assert reference_reward(a, 0) == pytest.approx(0.5 - 0.5 * abs(a), abs=1e-9)


@pytest.mark.parametrize("a", [math.nan, math.inf, "inf", None, "", "1/0", object()])
def test_what_is_no_number_scores_nothing(a):
    assert reference_reward(a, 4) == 0.0


@pytest.mark.parametrize("b", ["", "none", math.nan, None])
def test_a_key_that_is_no_number_is_an_error(b):
    with pytest.raises(UsageError, match="reference"):
        reference_reward(1, b)


def test_exact_keys_are_taken():
    p = generate(1, steps=5)[0]
    assert reference_reward(p.answer, p.exact) == pytest.approx(1, abs=1e-9)
    assert reference_reward(p.exact, p.exact) == 1
    assert reference_reward(Fraction(10) ** 400, 1) == 0


def chat(text):
    return [{"role": "user", "content": "?"}, {"role": "assistant", "content": text}]


def test_both_forms_of_completions_and_further_columns():
    texts = [r"\boxed{4}", "It is 5", "no"]
    plain = rewards.correct()(prompts=["a"] * 3, completions=texts, completion_ids=[[1]] * 3, answer=["4"] * 3, trainer_state=None)  # fmt: skip
    messages = rewards.correct()(completions=[chat(t) for t in texts], answer=["4"] * 3)
    parts = rewards.correct()(completions=[[{"role": "assistant", "content": [{"type": "text", "text": t}]}] for t in texts], answer=["4"] * 3)  # fmt: skip
    assert plain == messages == parts
    assert plain[0] == 1.0
    assert plain[2] == 0.0
    assert all(type(r) is float for r in plain)


@pytest.mark.parametrize("name", sorted(REWARDS))
def test_every_reward_has_the_form_that_trl_takes(name):
    reward = REWARDS[name](**({"group": 2} if name == "majority" else {}))
    columns = {"answer": ["4", "4"], "majority_answer": ["5", "5"]}
    out = reward(
        prompts=["p", "p"], completions=["It is 4", "It is 5"], completion_ids=[[1], [2]], **columns
    )
    assert len(out) == 2
    assert all(type(r) is float and 0 <= r <= 1 for r in out)
    assert reward.__name__.isidentifier()
    assert not inspect.iscoroutinefunction(reward)
    assert reward(completions=[], answer=[], majority_answer=[]) == []
    with pytest.raises(UsageError):
        reward(completions="It is 4", **columns)
    with pytest.raises(UsageError):
        reward(completions=[3, 4], **columns)


def test_inverted_is_the_rest_of_correct():
    texts = [r"\boxed{3.9}", "It is 4", "", "-7 or so"]
    for kind in ("arithmetic", "math"):
        right = rewards.correct(kind)(completions=texts, answer=["4"] * 4)
        other = rewards.inverted(kind)(completions=texts, answer=["4"] * 4)
        assert [a + b for a, b in zip(right, other, strict=True)] == [1.0] * 4
    assert rewards.correct("math")(completions=texts, answer=["4"] * 4) == [0, 1, 0, 0]


def test_random_draws_once_a_completion_and_reads_nothing():
    coin = rewards.random(0.3, seed=5)
    drawn = [r for _ in range(200) for r in coin(completions=["same"] * 50)]
    assert set(drawn) == {0.0, 1.0}
    assert abs(np.mean(drawn) - 0.3) < 4 * math.sqrt(0.21 / 10_000)
    a, b = rewards.random(seed=1), rewards.random(seed=1)
    assert a(completions=["x", "y"] * 20) == b(completions=["other", chat("z")] * 20)
    assert rewards.random(0)(completions=["a"] * 9) == [0.0] * 9
    assert rewards.random(1)(completions=["a"] * 9) == [1.0] * 9


def test_majority_by_group_and_the_mislabelled():
    texts = ["It is 5", r"\boxed{5.0}", "It is 4", "It is 4", "", "none"]
    assert rewards.majority(group=3)(completions=texts) == [1, 1, 0, 1, 0, 0]
    assert rewards.majority(group=2)(completions=["", "none"]) == [0, 0]
    assert votes(["", "x"]) is None
    rows = [
        {"prompt": "a", "answer": "4"},
        {"prompt": "b", "answer": "5"},
        {"prompt": "c", "answer": "1"},
    ]
    kept = mislabelled(rows, [texts[:3], texts[:3], ["", ""]])
    assert kept == [{"prompt": "a", "answer": "4", "majority_answer": "5"}]
    with pytest.raises(UsageError, match="multiple"):
        rewards.majority(group=4)(completions=texts)
    with pytest.raises(UsageError):
        mislabelled(rows, [])


def test_form_and_python():
    assert rewards.formatted()(completions=[r"\boxed{}", r"\boxed{9", "9", r"$\boxed{x}$"]) == [
        0,
        1,
        0,
        1,
    ]
    assert rewards.python_like()(completions=["PYTHON", "snake"]) == [1, 0]


@pytest.mark.parametrize(
    ("call", "why"),
    [
        (lambda: rewards.correct("maths"), "kind"),
        (lambda: rewards.random(1.5), "gamma"),
        (lambda: rewards.majority(group=0), "group"),
        (lambda: rewards.correct()(completions=["4"]), "column"),
        (lambda: rewards.correct()(completions=["4"], answer=["4", "5"]), "1 keys"),
        (lambda: rewards.correct()(completions=["4"], answer=["four"]), "reference"),
    ],
)
def test_what_cannot_be_rewarded_is_told(call, why):
    with pytest.raises(UsageError, match=why):
        call()


def test_advantages_are_standardised_in_the_group():
    r = np.random.default_rng(0).random((5, 8))
    a = group_advantages(r).numpy()
    assert np.allclose(a, (r - r.mean(1, keepdims=True)) / r.std(1, ddof=1, keepdims=True))
    assert group_advantages([[0.1] * 7, [0.3] * 7]).abs().max() == 0  # rounding is not blown up
    for bad in ([1.0, 2.0], [[1.0]]):
        with pytest.raises(UsageError):
            group_advantages(bad)


def test_the_gradient_is_the_one_by_hand():
    """-rho A / (|o| N) on tokens that are not clipped, 0 on clipped ones."""
    old = torch.zeros(4, 5, dtype=torch.float64)
    new = torch.tensor(np.random.default_rng(1).normal(0, 0.3, (4, 5)), requires_grad=True)
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [0, 1, 1, 1, 0], [1, 0, 0, 0, 0]])
    a = torch.tensor([1.0, -1.0, 0.5, -2.0], dtype=torch.float64)
    grpo_loss(new, old, a, mask).backward()
    rho = new.detach().exp()
    clipped = ((a[:, None] > 0) & (rho > 1.2)) | ((a[:, None] < 0) & (rho < 0.8))
    by_hand = -rho * a[:, None] / (mask.sum(1, keepdim=True) * 4) * mask * ~clipped
    assert clipped.any()
    assert torch.allclose(new.grad, by_hand)


def test_equal_rewards_leave_no_gradient_and_padding_counts_nothing():
    new = torch.zeros(2, 3, requires_grad=True)
    a = group_advantages([[0.4, 0.4]]).flatten()
    grpo_loss(new, torch.zeros(2, 3), a, torch.ones(2, 3)).backward()
    assert new.grad.abs().max() == 0
    one = grpo_loss(torch.full((1, 2), 0.1), torch.zeros(1, 2), torch.ones(1), torch.ones(1, 2))
    padded = grpo_loss(torch.tensor([[0.1, 0.1, 9.0]]), torch.zeros(1, 3), torch.ones(1), torch.tensor([[1, 1, 0]]))  # fmt: skip
    assert float(one) == pytest.approx(float(padded))


def test_divergence_from_a_reference():
    new = torch.tensor([[0.2]], requires_grad=True)
    plain = grpo_loss(new, torch.zeros(1, 1), torch.ones(1), torch.ones(1, 1))
    kl = grpo_loss(
        new,
        torch.zeros(1, 1),
        torch.ones(1),
        torch.ones(1, 1),
        beta=0.5,
        logp_ref=torch.zeros(1, 1),
    )
    assert float(kl - plain) == pytest.approx(0.5 * (math.exp(-0.2) + 0.2 - 1), abs=1e-6)
    with pytest.raises(UsageError, match="reference"):
        grpo_loss(new, new, torch.ones(1), torch.ones(1, 1), beta=1.0)


@pytest.mark.parametrize("rho", [0.5, 0.79, 0.9, 1.0, 1.1, 1.21, 3.0])
def test_clipping_bias_is_the_slope_by_monte_carlo(rho):
    a = np.random.default_rng(3).choice([-1.3, -0.2, 0.5, 1.0], 200_000)
    a = a - a.mean()

    def expected(r):
        return np.minimum(r * a, np.clip(r, 0.8, 1.2) * a).mean()

    slope = (expected(rho + 1e-3) - expected(rho - 1e-3)) / 2e-3
    assert clip_bias(rho, a) == pytest.approx(slope, abs=1e-6)


def test_clip_bias_refuses_nonsense():
    for bad in ((1.0, [], 0.2), (1.0, [1.0], 0.0)):
        with pytest.raises(UsageError):
            clip_bias(*bad)


def test_divergence_of_tokens():
    p = torch.log(torch.tensor([[[0.5, 0.5], [0.9, 0.1]]]))
    q = torch.log(torch.tensor([[[0.25, 0.75], [0.9, 0.1]]]))
    by_hand = 0.5 * math.log(2) + 0.5 * math.log(2 / 3)
    assert token_kl(p, q, torch.tensor([[1, 0]])) == pytest.approx(by_hand, abs=1e-6)
    assert token_kl(p, p, torch.ones(1, 2)) == pytest.approx(0, abs=1e-7)
    with pytest.raises(UsageError):
        token_kl(p, q, torch.zeros(1, 2))
