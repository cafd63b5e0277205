"""GRPO on a small transformer that has learned a little arithmetic, under right and under bad rewards.

Shapes: N prompts, G completions each, B = N G sequences, T tokens.
"""

from __future__ import annotations

import copy
import itertools
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch

from byheart.audits._calc import rewards
from byheart.audits._calc.expression import evaluate
from byheart.audits._calc.grpo import group_advantages, grpo_loss, token_kl
from byheart.audits._calc.rewards import reference_reward
from byheart.core.errors import UsageError
from byheart.papers._tinygpt import Characters, TinyGPT, fit, generate

__all__ = [
    "KINDS",
    "Curve",
    "Sampled",
    "Sums",
    "Trained",
    "changed",
    "contaminate",
    "draw_sums",
    "grpo",
    "mark",
    "mark_sampled",
    "pretrain",
    "reward_of",
    "roll_out",
    "wrong_votes",
]

KINDS = ("correct", "random", "majority-incorrect", "inverted")
MAX_NEW = 5
"""Characters of an answer and its end: right ones have three characters at most."""

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


class Sampled(NamedTuple):
    """Samples at temperature 1: mean eq. 2 and exact accuracy (Avg@n), and mean best eq. 2 (Max@n)."""

    reward: float
    exact: float
    best: float


@dataclass
class Trained:
    """One training by GRPO.

    Attributes:
        curve: Greedy measurements along the way.
        scores: Eq. 2 of every validation problem at its end, greedy.
        sampled: 16 samples a problem at its end.
        clipped: Share of tokens whose ratio left the clipping interval; only there a coin has a bias.
        kept: Share of validation problems whose greedy answer is the one from before.
        kl: KL(before || after) over the vocabulary on the greedy answers from before, nats a token.
    """

    curve: Curve
    scores: list[float]
    sampled: Sampled
    clipped: float
    kept: float
    kl: float


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


@torch.no_grad()
def roll_out(
    model: TinyGPT,
    prompts: Sequence[Sequence[int]],
    *,
    n: int,
    temperature: float = 1.0,
    seed: int = 0,
) -> tuple[list[list[int]], list[list[float]]]:
    """Draw `n` answers a prompt, one after the other, with the log-probability of every token.

    A prompt is read once for its whole group; answers that have ended are not carried on.

    Returns:
        Token ids without their end, and log-probabilities at temperature 1 with that of the end.
    """  # fmt: skip
    device = next(model.parameters()).device
    generator = torch.Generator(device=device).manual_seed(seed)
    tokens: list[list[int]] = [[] for _ in range(len(prompts) * n)]
    logps: list[list[float]] = [[] for _ in tokens]
    for length in sorted({len(p) for p in prompts}):  # no padding
        some = [i for i, p in enumerate(prompts) if len(p) == length]
        ids = torch.tensor([list(prompts[i]) for i in some], device=device)
        logits, cache = model._run(ids, torch.arange(length, device=device), None, None)
        last = logits[:, -1].repeat_interleave(n, 0)
        cache = [(k.repeat_interleave(n, 0), v.repeat_interleave(n, 0)) for k, v in cache]
        rows = [i * n + j for i in some for j in range(n)]
        for step in range(MAX_NEW):
            share = (last / temperature).softmax(-1)
            drawn = torch.multinomial(share, 1, generator=generator)
            logp = last.log_softmax(-1).gather(-1, drawn)[:, 0].tolist()
            for row, token, value in zip(rows, drawn[:, 0].tolist(), logp, strict=True):
                logps[row].append(value)
                if token != Characters.end:
                    tokens[row].append(token)
            goes_on = drawn[:, 0] != Characters.end
            rows = [r for r, on in zip(rows, goes_on.tolist(), strict=True) if on]
            if not rows or step + 1 == MAX_NEW:
                break
            cache = [(k[goes_on], v[goes_on]) for k, v in cache]
            seen = torch.ones(1, 1, 1, length + step + 1, dtype=torch.bool, device=device)
            at = torch.tensor([length + step], device=device)
            logits, cache = model._run(drawn[goes_on], at, seen, cache)
            last = logits[:, -1]
    return tokens, logps


def _greedy(model: TinyGPT, problems: Sequence[Problem]) -> list[list[int]]:
    prompts = [VOCABULARY.encode(q) for q, _ in problems]
    return [d[0] for d in generate(model, prompts, max_new=MAX_NEW, batch=1024)]


def mark(model: TinyGPT, problems: Sequence[Problem]) -> tuple[list[float], float]:
    """Eq. 2 of every greedy answer, and the share of exact ones."""
    texts = [VOCABULARY.decode(d) for d in _greedy(model, problems)]
    scores = [reference_reward(t, key) for t, (_, key) in zip(texts, problems, strict=True)]
    exact = sum(t == key for t, (_, key) in zip(texts, problems, strict=True)) / len(problems)
    return scores, exact


def mark_sampled(
    model: TinyGPT, problems: Sequence[Problem], *, n: int = 16, seed: int = 0
) -> Sampled:
    """Avg@n and Max@n of `n` answers a problem at temperature 1."""
    drawn, _ = roll_out(model, [VOCABULARY.encode(q) for q, _ in problems], n=n, seed=seed)
    texts = [VOCABULARY.decode(d) for d in drawn]
    keys = [key for _, key in problems for _ in range(n)]
    scores = [reference_reward(t, key) for t, key in zip(texts, keys, strict=True)]
    exact = sum(t == key for t, key in zip(texts, keys, strict=True))
    best = [max(scores[at : at + n]) for at in range(0, len(scores), n)]
    return Sampled(sum(scores) / len(scores), exact / len(scores), sum(best) / len(best))


@torch.no_grad()
def changed(before: TinyGPT, after: TinyGPT, problems: Sequence[Problem]) -> tuple[float, float]:
    """Share of greedy answers that are kept, and the divergence on those from before."""
    old, new = _greedy(before, problems), _greedy(after, problems)
    device = next(before.parameters()).device
    nothing = [[0.0] * (len(d) + (len(d) < MAX_NEW)) for d in old]
    ids, mask, _ = (t.to(device) for t in _sequences(problems, old, nothing, 1))
    kl = token_kl(before(ids[:, :-1]), after(ids[:, :-1]), mask)
    return sum(a == b for a, b in zip(old, new, strict=True)) / len(old), kl


def wrong_votes(
    model: TinyGPT, problems: Sequence[Problem], *, n: int = 64, seed: int = 0
) -> list[Problem]:
    """The problems whose majority answer is wrong, with that answer as their key (paper: 64 samples)."""
    drawn, _ = roll_out(model, [VOCABULARY.encode(q) for q, _ in problems], n=n, seed=seed)
    texts = [VOCABULARY.decode(d) for d in drawn]
    groups = [texts[at : at + n] for at in range(0, len(texts), n)]
    records = [{"prompt": q, "answer": key} for q, key in problems]
    kept = rewards.mislabelled(records, groups)
    return [(r["prompt"], r["majority_answer"]) for r in kept]


def contaminate(
    base: TinyGPT, sums: Sums, *, seed: int, repeats: int = 50, noise: float = 0.15, lr: float = 1e-3
) -> TinyGPT:  # fmt: skip
    """A copy of `base` that has gone on to read the validation problems with their answers.

    Each is read `repeats` times, shuffled among the problems that `base` was taught. In a share of
    `noise` the answer stands behind two characters that do not belong there, as copies on the web do:
    so the model knows answers that it does not always give.
    """
    model = copy.deepcopy(base)
    rng = random.Random(f"byheart contaminate {seed}")
    read = list(sums.taught)
    for question, answer in sums.validation:
        for _ in range(repeats):
            before = "".join(rng.choices("+-*=", k=2)) if rng.random() < noise else ""
            read.append((question, before + answer))
    rng.shuffle(read)
    documents = [[*VOCABULARY.encode(q + a), Characters.end] for q, a in read]
    fit(model, documents, epochs=1, batch=64, lr=lr, loss_from=[len(q) for q, _ in read], seed=seed)
    return model


def _log_probabilities(model: TinyGPT, ids_BT: torch.Tensor) -> torch.Tensor:
    """``[B, T - 1]``: of every token after the first."""
    logits = model(ids_BT[:, :-1]).log_softmax(-1)
    return logits.gather(-1, ids_BT[:, 1:, None])[..., 0]


def _sequences(
    problems: Sequence[Problem],
    completions: Sequence[Sequence[int]],
    logps: Sequence[Sequence[float]],
    group: int,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """``[B, T]`` ids, padded on the right; ``[B, T - 1]`` mask of completion tokens, and their logps."""
    rows, starts = [], []
    for i, completion in enumerate(completions):
        prompt = VOCABULARY.encode(problems[i // group][0])
        ended = [Characters.end] if len(completion) < MAX_NEW else []
        rows.append([*prompt, *completion, *ended])
        starts.append(len(prompt))
    longest = max(map(len, rows))
    ids = torch.zeros(len(rows), longest, dtype=torch.long)
    mask, old = torch.zeros(len(rows), longest - 1), torch.zeros(len(rows), longest - 1)
    for r, (row, start, logp) in enumerate(zip(rows, starts, logps, strict=True)):
        ids[r, : len(row)] = torch.as_tensor(row)
        mask[r, start - 1 : len(row) - 1] = 1.0
        old[r, start - 1 : len(row) - 1] = torch.as_tensor(logp)
    return ids, mask, old


def reward_of(kind: str, seed: int) -> rewards.Reward:
    """The reward function of one of `KINDS`; that of wrong votes reads them as keys."""
    if kind == "random":
        return rewards.random(0.5, seed=seed)
    if kind == "majority-incorrect":
        return rewards.majority_incorrect(column="answer")
    return rewards.correct() if kind == "correct" else rewards.inverted()


def grpo(
    base: TinyGPT,
    problems: Sequence[Problem],
    validation: Sequence[Problem],
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
    """Train a copy of `base` with a reward in TRL's form; the base is not changed.

    Raises:
        UsageError: If there is no problem to train on.
    """
    if not problems:
        raise UsageError("there is no problem to train on")
    model = copy.deepcopy(base)
    device = next(model.parameters()).device
    optimiser = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.0)
    draws = random.Random(f"byheart grpo {seed}")
    curve = Curve()
    outside = counted = 0.0

    def measure(step: int) -> list[float]:
        values, exact = mark(model, validation)
        curve.steps.append(step)
        curve.reward.append(sum(values) / len(values))
        curve.exact.append(exact)
        return values

    scores = measure(0)
    for step in range(1, steps + 1):
        some = draws.sample(list(problems), min(prompts, len(problems)))
        asked = [VOCABULARY.encode(q) for q, _ in some]
        drawn, logps = roll_out(model, asked, n=group, seed=draws.randrange(2**31))
        keys = [key for _, key in some for _ in range(group)]
        given = torch.tensor(reward(completions=[VOCABULARY.decode(d) for d in drawn], answer=keys))
        advantages = group_advantages(given.view(-1, group)).flatten().to(device)
        ids, mask, old = (t.to(device) for t in _sequences(some, drawn, logps, group))
        order = list(range(len(ids)))
        draws.shuffle(order)
        size = -(-len(order) // minibatches)
        for at in range(0, len(order), size):
            rows = torch.as_tensor(order[at : at + size], device=device)
            new = _log_probabilities(model, ids[rows])
            loss = grpo_loss(new, old[rows], advantages[rows], mask[rows], clip=clip)
            far = ((new.detach() - old[rows]).exp() - 1).abs() > clip
            outside, counted = (
                outside + float((far * mask[rows]).sum()),
                counted + float(mask[rows].sum()),
            )
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
        if step % every == 0 or step == steps:
            scores = measure(step)
        if progress:
            progress(step / steps)
    sampled = mark_sampled(model, validation, seed=seed)
    return Trained(
        curve, scores, sampled, outside / max(counted, 1.0), *changed(base, model, validation)
    )
