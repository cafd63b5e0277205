"""GRPO on a small transformer that has learned a little arithmetic: right, coin-flip, inverted rewards.

Shapes: N prompts, G completions each, B = N G sequences, T tokens.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch

from byheart.audits._calc import rewards
from byheart.audits._calc.expression import evaluate
from byheart.audits._calc.grpo import group_advantages, grpo_loss
from byheart.audits._calc.rewards import reference_reward
from byheart.papers._tinygpt import Characters, TinyGPT, fit, generate

__all__ = [
    "KINDS",
    "Curve",
    "Sums",
    "Trained",
    "draw_sums",
    "grpo",
    "mark",
    "pretrain",
    "reward_of",
]

KINDS = ("correct", "random", "inverted")
MAX_NEW = 6
"""Characters of an answer: the longest right one has four ("-729" has, too)."""

Problem = tuple[str, str]
"""``"3+4*2="`` and ``"11"``."""


@dataclass(frozen=True)
class Sums:
    """Problems of one and two operations on digits, in three parts that share none.

    Attributes:
        taught: For supervised steps.
        train: For GRPO.
        validation: For measuring; no model has seen them.
    """

    taught: list[Problem]
    train: list[Problem]
    validation: list[Problem]


@dataclass
class Curve:
    """Greedy measurements along a training: mean eq. 2 and exact accuracy, by step."""

    steps: list[int] = field(default_factory=list)
    reward: list[float] = field(default_factory=list)
    exact: list[float] = field(default_factory=list)


@dataclass
class Trained:
    """One training by GRPO: its curve, and eq. 2 of every validation problem at its end."""

    curve: Curve
    scores: list[float]


def draw_sums(seed: int, taught: int, train: int, validation: int) -> Sums:
    """Draw the three parts; 9,300 problems there are."""
    everything = [
        "".join(parts)
        for operators in (1, 2)
        for parts in itertools.product(
            *["0123456789" if i % 2 == 0 else "+-*" for i in range(2 * operators + 1)]
        )
    ]
    random.Random(f"byheart sums {seed}").shuffle(everything)
    some = [(f"{e}=", str(evaluate(e))) for e in everything[: taught + train + validation]]
    return Sums(some[:taught], some[taught : taught + train], some[taught + train :])


VOCABULARY = Characters(["0123456789+-*="])


def pretrain(
    sums: Sums, *, seed: int, epochs: int, layers: int, width: int, device: str,
    progress: Callable[[float, float], None] | None = None,
) -> TinyGPT:  # fmt: skip
    """A small transformer, taught on the first part."""
    model = TinyGPT(
        len(VOCABULARY), layers=layers, width=width, heads=4, context=16, seed=seed, std=width**-0.5
    ).to(device)
    documents = [
        [*VOCABULARY.encode(question + answer), Characters.end] for question, answer in sums.taught
    ]
    starts = [len(question) for question, _ in sums.taught]
    fit(model, documents, epochs=epochs, batch=64, lr=1e-3, loss_from=starts, seed=seed, progress=progress)  # fmt: skip
    return model


def answers(
    model: TinyGPT,
    problems: Sequence[Problem],
    *,
    n: int = 1,
    temperature: float = 0.0,
    seed: int = 0,
) -> tuple[list[str], list[list[int]]]:
    """Texts and token ids of `n` answers a problem, one after the other."""
    prompts = [VOCABULARY.encode(q) for q, _ in problems]
    drawn = generate(
        model, prompts, max_new=MAX_NEW, temperature=temperature, n=n, seed=seed, batch=1024
    )
    flat = [tokens for group in drawn for tokens in group]
    return [VOCABULARY.decode(t) for t in flat], flat


def mark(model: TinyGPT, problems: Sequence[Problem]) -> tuple[list[float], float]:
    """Eq. 2 of every greedy answer, and the share of exact ones."""
    texts, _ = answers(model, problems)
    scores = [reference_reward(t, key) for t, (_, key) in zip(texts, problems, strict=True)]
    exact = sum(t == key for t, (_, key) in zip(texts, problems, strict=True)) / len(problems)
    return scores, exact


def _log_probabilities(model: TinyGPT, ids_BT: torch.Tensor) -> torch.Tensor:
    """``[B, T - 1]``: of every token after the first."""
    logits = model(ids_BT[:, :-1]).log_softmax(-1)
    return logits.gather(-1, ids_BT[:, 1:, None])[..., 0]


def _sequences(
    problems: Sequence[Problem], completions: Sequence[Sequence[int]], group: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """``[B, T]`` ids, padded on the right, and ``[B, T - 1]`` mask of completion tokens."""
    rows, starts = [], []
    for i, completion in enumerate(completions):
        prompt = VOCABULARY.encode(problems[i // group][0])
        ended = [Characters.end] if len(completion) < MAX_NEW else []
        rows.append([*prompt, *completion, *ended])
        starts.append(len(prompt))
    longest = max(map(len, rows))
    ids = torch.zeros(len(rows), longest, dtype=torch.long)
    mask = torch.zeros(len(rows), longest - 1)
    for r, (row, start) in enumerate(zip(rows, starts, strict=True)):
        ids[r, : len(row)] = torch.as_tensor(row)
        mask[r, start - 1 : len(row) - 1] = 1.0
    return ids, mask


def reward_of(kind: str, seed: int) -> rewards.Reward:
    """The reward function of one of `KINDS`."""
    if kind == "random":
        return rewards.random(0.5, seed=seed)
    return rewards.correct() if kind == "correct" else rewards.inverted()


def grpo(
    base: TinyGPT,
    sums: Sums,
    reward: rewards.Reward,
    *,
    seed: int,
    steps: int,
    group: int = 16,
    prompts: int = 32,
    minibatches: int = 4,
    lr: float = 6e-5,
    clip: float = 0.2,
    every: int = 15,
    progress: Callable[[float], None] | None = None,
) -> Trained:
    """Train a copy of `base` with a reward in TRL's form; the base is not changed."""
    import copy

    model = copy.deepcopy(base)
    device = next(model.parameters()).device
    optimiser = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.0)
    draws = random.Random(f"byheart grpo {seed}")
    curve, scores = Curve(), []

    def measure(step: int) -> list[float]:
        values, exact = mark(model, sums.validation)
        curve.steps.append(step)
        curve.reward.append(sum(values) / len(values))
        curve.exact.append(exact)
        return values

    scores = measure(0)
    for step in range(1, steps + 1):
        model.eval()
        some = draws.sample(sums.train, prompts)
        texts, drawn = answers(model, some, n=group, temperature=1.0, seed=draws.randrange(2**31))
        keys = [key for _, key in some for _ in range(group)]
        given = torch.tensor(reward(completions=texts, answer=keys)).view(prompts, group)
        advantages = group_advantages(given).flatten().to(device)
        ids, mask = (t.to(device) for t in _sequences(some, drawn, group))
        with torch.no_grad():
            old = _log_probabilities(model, ids)
        model.train()
        order = list(range(len(ids)))
        draws.shuffle(order)
        size = -(-len(order) // minibatches)
        for at in range(0, len(order), size):
            rows = torch.as_tensor(order[at : at + size], device=device)
            new = _log_probabilities(model, ids[rows])
            loss = grpo_loss(new, old[rows], advantages[rows], mask[rows], clip=clip)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
        if step % every == 0 or step == steps:
            model.eval()
            scores = measure(step)
        if progress:
            progress(step / steps)
    return Trained(curve, scores)
