"""On Memorization of Large Language Models in Logical Reasoning (arXiv 2410.23123), run small.

A small transformer reads puzzles of three people, encoded as twelve symbols, and names the three
roles. It is trained on 1,000 puzzles until it has them by heart, on 8,000, and on wrong answers;
training and test puzzles are held against twins that differ in one statement, one leaf, or in the
names.

The large case (``full=True``) tunes a language model on the rendered text.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from byheart.audits._kk.draws import Draws
from byheart.audits._kk.metrics import limem, memorisation
from byheart.audits._kk.sampler import KINDS, Puzzle, Sampler
from byheart.audits._kk.wrong import wrong_answers
from byheart.core.errors import UsageError, need
from byheart.core.finding import Finding
from byheart.papers._common import Check, Result, verdict_of
from byheart.papers._kk_net import encode, make_net, predict, reordered

__all__ = ["CLAIM", "SOURCE", "run"]

CLAIM = (
    "models come to recite logic puzzles and fail on slightly changed twins, and still reason "
    "better about new ones"
)
SOURCE = "Xie et al. 2024, arXiv 2410.23123; sheet section 7"

_PEOPLE = 3
_TRAIN, _MORE, _TEST = 1000, 8000, 1000
_EPOCHS, _FEW, _MORE_EPOCHS, _WRONG_EPOCHS = 40, 5, 20, 80
_WRONG = (0.5, 1.0)
TWINS = (*KINDS, "reorder")

Progress = Callable[[str, float], None]
Solved = np.ndarray


@dataclass
class _Part:
    """A set of puzzles with their twins, encoded, and who solves what."""

    puzzles: list[Puzzle]
    twins: dict[str, list[Puzzle | None]]


@dataclass
class _Run:
    """One training: accuracy and LiMem at its measurements.

    Attributes:
        name: Which training.
        epochs: When it was measured.
        train: Accuracy on the first 1,000 training puzzles, against the true roles.
        given: The same against the answers that were trained on.
        test: Accuracy on new puzzles.
        limem: Of train and test, by kind of twin.
        solved: At the end: puzzles and twins, by part and kind.
    """

    name: str
    epochs: list[int] = field(default_factory=list)
    train: list[float] = field(default_factory=list)
    given: list[float] = field(default_factory=list)
    test: list[float] = field(default_factory=list)
    limem: dict[str, dict[str, list[float]]] = field(
        default_factory=lambda: {p: {k: [] for k in TWINS} for p in ("train", "test")}
    )
    solved: dict[str, dict[str, list[Any]]] = field(default_factory=dict)


def run(
    *,
    full: bool = False,
    seeds: int = 3,
    out: Path | None = None,
    progress: Progress | None = None,
    device: str | None = None,
    train: int = _TRAIN,
    more: int = _MORE,
    test: int = _TEST,
    epochs: float = 1.0,
) -> Result:
    """Run the paper's claim and judge it.

    Args:
        full: Tune SmolLM2 on the rendered text instead; meant for a GPU.
        seeds: Independent draws of puzzles, and trainings.
        out: Folder for figure and ``result.json``; None writes none.
        progress: Called with what is being done and the share that is finished.
        device: ``"cpu"``, ``"cuda"``, ...; None is the CPU for the small case and the best there is
            for the large one.
        train: Training puzzles (1,000).
        more: Training puzzles of the large set (8,000).
        test: Test puzzles (1,000).
        epochs: Scales all numbers of epochs.

    Raises:
        UsageError: If `seeds` is below 1, or a number of puzzles makes no sense.
        MissingExtra: If torch (or matplotlib, with `out`) is not installed.
    """
    if seeds < 1:
        raise UsageError(f"seeds must be at least 1, got {seeds}")
    if min(train, test) < 10 or more <= train or epochs <= 0:
        raise UsageError(
            f"train and test must be at least 10, more above train, epochs above 0; got {train}, "
            f"{test}, {more}, {epochs}"
        )
    need("torch", "torch")
    if out is not None:
        need("matplotlib", "plot")
    if full:
        from byheart.papers._kk_full import run_full

        return run_full(out=out, progress=progress, device=device)
    began = time.perf_counter()
    done = _all_seeds(seeds, (train, more, test), epochs, device or "cpu", progress)
    checks = _checks(done)
    findings = [
        _finding(done[0][name], name, part)
        for name in ("1000", "8000")
        for part in ("train", "test")
    ]
    notes = [
        *_table(done),
        f"{seeds} seed(s); numbers are means over seeds, findings are of the first seed",
        "2-layer transformer encoder of width 64 on 12 symbols a puzzle, not a language model: shows "
        "the mechanism, not its size",
        "reorder: the statements in another order; problem and solution stay",
        "LiMem of the wrong-answer trainings is against the true roles",
        "the paper's gain from training on wrong answers alone needs a pretrained model and is not "
        "looked for here",
        "the GPU variant (--full) has not been run",
    ]
    figures: list[Path] = []
    if out is not None:
        from byheart.papers._kk_figure import draw

        figures.append(draw(done, Path(out)))
    result = Result(
        "knights-and-knaves", CLAIM, verdict_of(checks), checks, findings, figures,
        time.perf_counter() - began, notes,
    )  # fmt: skip
    if out is not None:
        result.save(out)
    return result


def _material(seed: int, train: int, more: int, test: int) -> tuple[_Part, _Part]:
    """Training and test puzzles, the training part being `more` long; twins of what is measured."""
    sampler = Sampler(_PEOPLE, seed=1234 + seed)
    puzzles = sampler.sample(more + test)
    order = list(range(len(puzzles)))
    Draws(seed).shuffle(order)
    puzzles = [puzzles[i] for i in order]
    known, new = puzzles[:more], puzzles[more:]
    parts = []
    for some in (known[:train], new):
        parts.append({k: sampler.perturb(some, k) for k in KINDS})
    return _Part(known, parts[0]), _Part(new, parts[1])


def _all_seeds(
    seeds: int, sizes: tuple[int, int, int], epochs: float, device: str, progress: Progress | None
) -> list[dict[str, _Run]]:
    """Train the seeds side by side, one thread each: tensors are too small to be shared out.

    A seed's numbers do not depend on how many run beside it.
    """
    import torch

    shares, lock, threads = [0.0] * seeds, threading.Lock(), torch.get_num_threads()

    def part(seed: int) -> dict[str, _Run]:
        def tell(what: str, share: float) -> None:
            with lock:
                shares[seed] = max(shares[seed], min(share, 1.0))
                if progress:
                    progress(f"seed {seed + 1} of {seeds}: {what}", sum(shares) / seeds)

        torch.set_num_threads(1)
        return _one_seed(seed, *sizes, epochs, device, tell)

    workers = min(seeds, os.cpu_count() or 1) if device == "cpu" else 1
    try:
        with ThreadPoolExecutor(workers) as pool:
            return list(pool.map(part, range(seeds)))
    finally:
        torch.set_num_threads(threads)


def _one_seed(
    seed: int, train: int, more: int, test: int, epochs: float, device: str, tell: Progress
) -> dict[str, _Run]:
    tell("drawing puzzles", 0.0)
    known, new = _material(seed, train, more, test)
    first = known.puzzles[:train]

    def scaled(n: int) -> int:
        return max(1, round(n * epochs))

    plan: list[tuple[str, list[Puzzle], list[tuple[bool, ...]], int, list[int]]] = [
        ("1000", first, [p.solution for p in first], scaled(_EPOCHS),
         sorted({scaled(e) for e in (1, 2, _FEW, 10, 15, 20, 30, _EPOCHS)})),
        ("8000", known.puzzles, [p.solution for p in known.puzzles], scaled(_MORE_EPOCHS),
         sorted({scaled(e) for e in (1, 2, 5, 10, 15, _MORE_EPOCHS)})),
        *((f"{share:.0%} wrong", first, wrong_answers(first, share=share, seed=1234 + seed),
           scaled(_WRONG_EPOCHS), [scaled(_WRONG_EPOCHS)]) for share in _WRONG),
    ]  # fmt: skip
    steps = [len(p) * e for _, p, _, e, _ in plan]
    before = 0
    out = {}
    for (name, puzzles, answers, rounds, marks), cost in zip(plan, steps, strict=True):

        def part(share: float, name: str = name, before: int = before, cost: int = cost) -> None:
            tell(f"training on {name}", (before + share * cost) / sum(steps))

        out[name] = _train(
            name, puzzles, answers, rounds, marks, known, new, train, seed, device, part
        )
        before += cost
    return out


def _train(
    name: str,
    puzzles: Sequence[Puzzle],
    answers: Sequence[tuple[bool, ...]],
    epochs: int,
    marks: Sequence[int],
    known: _Part,
    new: _Part,
    measured: int,
    seed: int,
    device: str,
    tell: Callable[[float], None],
) -> _Run:
    import torch

    net = make_net(_PEOPLE, seed=seed).to(device)
    tokens = torch.as_tensor(encode(puzzles)).to(device)
    wanted = torch.as_tensor(np.asarray(answers, dtype=np.float32)).to(device)
    optimiser = torch.optim.AdamW(net.parameters(), lr=1e-3)
    rng = np.random.default_rng(seed)
    result = _Run(name)
    some = _Part(known.puzzles[:measured], known.twins)
    for epoch in range(1, epochs + 1):
        net.train()
        order = torch.as_tensor(rng.permutation(len(puzzles))).to(device)
        for start in range(0, len(puzzles), 100):
            rows = order[start : start + 100]
            optimiser.zero_grad()
            loss = torch.nn.functional.binary_cross_entropy_with_logits(
                net(tokens[rows]), wanted[rows]
            )
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        tell(epoch / epochs)
        if epoch in marks:
            _measure(result, net, epoch, some, new, answers)
    return result


def _measure(
    result: _Run,
    net: Any,
    epoch: int,
    known: _Part,
    new: _Part,
    answers: Sequence[tuple[bool, ...]],
) -> None:
    result.epochs.append(epoch)
    for part, some, accuracies in (("train", known, result.train), ("test", new, result.test)):
        tokens = encode(some.puzzles)
        said = predict(net, tokens)
        right = _right(said, [p.solution for p in some.puzzles])
        accuracies.append(float(right.mean()))
        result.solved[part] = {"clean": right.tolist()}
        if part == "train":
            result.given.append(float(_right(said, answers[: len(said)]).mean()))
        for kind, twins in some.twins.items():
            there = [i for i, t in enumerate(twins) if t is not None]
            own = [t for t in twins if t is not None]
            solved: list[Any] = [None] * len(twins)
            said_twins = predict(net, encode(own))
            for i, ok in zip(there, _right(said_twins, [t.solution for t in own]), strict=True):
                solved[i] = bool(ok)
            result.solved[part][kind] = solved
            result.limem[part][kind].append(limem(right, solved))
        moved = predict(net, reordered(tokens, 77))
        result.solved[part]["reorder"] = _right(moved, [p.solution for p in some.puzzles]).tolist()
        result.limem[part]["reorder"].append(limem(right, result.solved[part]["reorder"]))


def _right(said: np.ndarray, keys: Sequence[tuple[bool, ...]]) -> Solved:
    return np.asarray((said == np.asarray(keys)).all(1))


def _mean(done: Sequence[dict[str, _Run]], name: str, what: str, at: int = -1) -> list[float]:
    """A number of one training for each seed: ``"train"``, ``"test"``, ``"given"`` or
    ``"train leaf"`` for a LiMem."""
    part, _, kind = what.partition(" ")
    return [getattr(s[name], part)[at] if not kind else s[name].limem[part][kind][at] for s in done]


def _said(values: Sequence[float]) -> str:
    low, middle, high = min(values), float(np.mean(values)), max(values)
    return f"{middle:.2f}" if low == high else f"{middle:.2f} ({low:.2f} to {high:.2f})"


def _checks(done: Sequence[dict[str, _Run]]) -> list[Check]:
    def mean(name: str, what: str, at: int = -1) -> float:
        return float(np.mean(_mean(done, name, what, at)))

    def said(name: str, what: str, at: int = -1) -> str:
        return _said(_mean(done, name, what, at))

    gaps = {
        k: [a - b for a, b in zip(_mean(done, "1000", f"train {k}"), _mean(done, "1000", f"test {k}"), strict=True)]
        for k in KINDS
    }  # fmt: skip
    early = 0  # after the first epoch
    return [
        Check("training puzzles are learned by heart", "train accuracy >= .98 at 40 epochs",
              said("1000", "train"), mean("1000", "train") >= 0.98),
        Check("reasoning is learned too", "test accuracy above twice chance (1/8) at 40 epochs, and above the first epoch",
              f"{said('1000', 'test')}, first epoch {said('1000', 'test', early)}",
              mean("1000", "test") >= 0.25 and mean("1000", "test") > mean("1000", "test", early)),
        Check("memorisation grows with training", "train LiMem (statement, leaf) rises from the first epoch to the last",
              ", ".join(f"{k} {said('1000', f'train {k}', early)} to {said('1000', f'train {k}')}" for k in KINDS),
              all(mean("1000", f"train {k}") > mean("1000", f"train {k}", early) for k in KINDS)),
        Check("training puzzles are recited, new ones are not", "train LiMem - test LiMem >= .3 (statement, leaf)",
              ", ".join(f"{k} {_said(gaps[k])}" for k in KINDS), all(float(np.mean(gaps[k])) >= 0.3 for k in KINDS)),
        Check("more data: less by heart", "train LiMem lower with 8,000 puzzles (statement, leaf)",
              ", ".join(f"{k} {said('8000', f'train {k}')} against {said('1000', f'train {k}')}" for k in KINDS),
              all(mean("8000", f"train {k}") < mean("1000", f"train {k}") for k in KINDS)),
        Check("more data: better reasoning", "test accuracy higher with 8,000 puzzles",
              f"{said('8000', 'test')} against {said('1000', 'test')}", mean("8000", "test") > mean("1000", "test")),
        Check("wrong answers are learned by heart too", "accuracy on the given answers >= .98 with half and with all wrong",
              f"{said('50% wrong', 'given')}, {said('100% wrong', 'given')}",
              min(mean("50% wrong", "given"), mean("100% wrong", "given")) >= 0.98),
        Check("wrong answers harm reasoning by their share", "test accuracy: right > half wrong > all wrong",
              f"{said('1000', 'test')}, {said('50% wrong', 'test')}, {said('100% wrong', 'test')}",
              mean("1000", "test") > mean("50% wrong", "test") > mean("100% wrong", "test")),
    ]  # fmt: skip


def _table(done: Sequence[dict[str, _Run]]) -> list[str]:
    out = []
    for name in done[0]:
        entry = done[0][name]
        for at in sorted(
            {entry.epochs.index(e) for e in entry.epochs if e in (_FEW, entry.epochs[-1])}
        ):
            values = {w: float(np.mean(_mean(done, name, w, at))) for w in (
                "train", "given", "test", *(f"{p} {k}" for p in ("train", "test") for k in TWINS))}  # fmt: skip
            limems = {
                p: " / ".join(f"{values[f'{p} {k}']:.2f}" for k in TWINS) for p in ("train", "test")
            }
            out.append(
                f"{name}, epoch {entry.epochs[at]}: train {values['train']:.2f} (given answers "
                f"{values['given']:.2f}), test {values['test']:.2f}; LiMem statement / leaf / "
                f"reorder: train {limems['train']}, test {limems['test']}"
            )
    return out


def _finding(trained: _Run, name: str, part: str) -> Finding:
    """Puzzles against their leaf twins, at the end of a training."""
    from byheart.core.stats import contrast

    pairs = [
        (a, b) for a, b in zip(trained.solved[part]["clean"], trained.solved[part]["leaf"], strict=True) if b is not None
    ]  # fmt: skip
    a, b = ([float(p[i]) for p in pairs] for i in (0, 1))
    c = contrast(a, b, paired=True, binary=True)
    m = memorisation(a, b)
    return Finding(
        f"knights-and-knaves/leaf {part} {name}",
        f"{part} puzzles are solved and their leaf twins are not, after training on {name} puzzles; "
        f"LiMem {m.limem.value:.2f}",
        c.seen, c.fresh, c.gap, c.p_value, c.n, "share", 0,
        control="the twin that differs in one leaf", details=m.to_dict(),
    )  # fmt: skip
