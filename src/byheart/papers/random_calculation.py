"""Reasoning or Memorization? Unreliable Results of RL Due to Data Contamination (2507.10532), run small.

Three parts. Partial prompts: a small transformer reads questions never, ten and fifty times, and is
asked to restore their ends. The generator: drawn problems are read anew, and their answers held
against the published ones' shares. Rewards: a small transformer that has learned a little arithmetic
goes on with GRPO under right, coin-flip, majority-incorrect and inverted rewards, measured on problems
it has never seen; and under a coin after it has read these very problems with their answers.

The large case (``full=True``) has a wider transformer and more steps, for a GPU.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from byheart.audits._calc.generator import atoms, generate, verify
from byheart.audits._calc.probes import RATIOS
from byheart.core.errors import UsageError, need
from byheart.core.finding import Evidence, Finding
from byheart.papers._common import Check, Result, verdict_of

if TYPE_CHECKING:
    from byheart.papers._calc_probe import Probed
    from byheart.papers._calc_rl import Curve, Sampled, Trained

__all__ = ["CLAIM", "SOURCE", "run"]

CLAIM = (
    "benchmarks that were read can be restored from their beginnings; on problems that nobody can have "
    "read only right rewards help"
)
SOURCE = "Wu et al. 2025, arXiv 2507.10532; sheet section 7"

Progress = Callable[[str, float], None]


@dataclass(frozen=True)
class _Size:
    """How much is trained."""

    items: int = 20
    filler: int = 200
    probe_epochs: int = 1
    taught: int = 3000
    train: int = 6000
    validation: int = 300
    epochs: int = 22
    steps: int = 75
    prompts: int = 64
    group: int = 16
    votes: int = 1000
    lr: float = 6e-5
    layers: int = 2
    width: int = 96


_COLLAPSE = 30
"""Steps of inverted rewards: by then nothing is left."""


@dataclass
class _Seed:
    """What one seed gave.

    Attributes:
        probed: The partial prompts.
        base: Eq. 2 of every validation problem before GRPO, greedy.
        exact: Exact accuracy before GRPO, greedy.
        sampled: 16 samples a problem before GRPO.
        trained: By reward, of the model that has not seen the validation problems.
        read: 16 samples a problem of the model that has read them.
        read_greedy: Exact accuracy of that model, greedy.
        coin: That model after GRPO with a coin.
        wrong: Share of the training problems whose majority answer is wrong.
    """

    probed: Probed
    base: list[float]
    exact: float
    sampled: Sampled
    trained: dict[str, Trained]
    read: Sampled
    read_greedy: float
    coin: Trained
    wrong: float


def run(
    *,
    full: bool = False,
    seeds: int = 3,
    out: Path | None = None,
    progress: Progress | None = None,
    device: str | None = None,
    scale: float = 1.0,
) -> Result:
    """Run the paper's claim and judge it.

    Args:
        full: A wider transformer and more steps; meant for a GPU.
        seeds: Independent corpora, problems and trainings.
        out: Folder for figure and ``result.json``; None writes none.
        progress: Called with what is being done and the share that is finished.
        device: ``"cpu"``, ``"cuda"``, ...; None is the CPU for the small case and the best there is
            for the large one.
        scale: Of epochs, steps and numbers of questions and problems; for trying it out.

    Raises:
        UsageError: If `seeds` is below 1 or `scale` not above 0.
        MissingExtra: If torch (or matplotlib, with `out`) is not installed.
    """
    if seeds < 1:
        raise UsageError(f"seeds must be at least 1, got {seeds}")
    if not 0 < scale <= 1:
        raise UsageError(f"scale must be above 0 and at most 1, got {scale}")
    torch = need("torch", "torch")
    if out is not None:
        need("matplotlib", "plot")
    if device is None:
        device = "cuda" if full and torch.cuda.is_available() else "cpu"
    size = _Size(layers=4, width=256, steps=400, prompts=128) if full else _Size()
    if scale < 1:
        size = _scaled(size, scale)
    began = time.perf_counter()
    done = _all_seeds(seeds, size, device, progress)
    shares = _shares(max(100, round(3000 * scale)))
    checks = [*_probe_checks(done), _generator_check(shares), *_reward_checks(done)]
    notes = [
        *_notes(done),
        f"{seeds} seed(s); numbers are means over seeds, findings are of the first seed",
        f"{size.layers}-layer transformers of width 128 (questions) and {size.width} (arithmetic), not "
        "language models: shows the mechanism, not its size",
        f"GRPO: {size.steps} steps of {size.prompts} prompts x {size.group}, 4 updates each, clip 0.2, "
        f"lr {size.lr:g}; problems of 1 and 2 operations on digits",
        f"inverted rewards: {min(size.steps, _COLLAPSE)} steps, as nothing is left by then; majority answers are of 64 samples of "
        f"{size.votes} training problems, before GRPO",
        "not run: language models, MATH-500",
        *([] if full else ["the GPU variant (--full) has not been run"]),
    ]
    figures: list[Path] = []
    if out is not None:
        from byheart.papers._calc_figure import draw

        curves = [
            {k: t.curve for k, t in s.trained.items()}
            | {"random, problems read before": s.coin.curve}
            for s in done
        ]
        best = float(np.mean([s.sampled.best for s in done]))
        figures.append(draw([s.probed for s in done], curves, best, Path(out)))
    result = Result(
        "random-calculation", CLAIM, verdict_of(checks), checks, _findings(done[0]), figures,
        time.perf_counter() - began, notes,
    )  # fmt: skip
    if out is not None:
        result.save(out)
    return result


def _scaled(size: _Size, scale: float) -> _Size:
    def some(n: int, least: int) -> int:
        return max(least, round(n * scale))

    return _Size(
        items=some(size.items, 3), filler=some(size.filler, 5), probe_epochs=size.probe_epochs,
        taught=some(size.taught, 60), train=some(size.train, 60), validation=some(size.validation, 20),
        epochs=some(size.epochs, 1), steps=some(size.steps, 2), prompts=some(size.prompts, 4),
        group=some(size.group, 4), votes=some(size.votes, 40), lr=size.lr, layers=size.layers, width=size.width,
    )  # fmt: skip


def _all_seeds(seeds: int, size: _Size, device: str, progress: Progress | None) -> list[_Seed]:
    """The seeds side by side, one thread each: tensors are too small to be shared out.

    A seed's numbers do not depend on how many run beside it.
    """
    import torch

    shares, lock, threads = [0.0] * seeds, threading.Lock(), torch.get_num_threads()

    def part(seed: int) -> _Seed:
        def tell(what: str, share: float) -> None:
            with lock:
                shares[seed] = max(shares[seed], min(share, 1.0))
                if progress:
                    progress(f"seed {seed + 1} of {seeds}: {what}", sum(shares) / seeds)

        torch.set_num_threads(1)
        return _one_seed(seed, size, device, tell)

    workers = min(seeds, os.cpu_count() or 1) if device == "cpu" else 1
    try:
        with ThreadPoolExecutor(workers) as pool:
            return list(pool.map(part, range(seeds)))
    finally:
        torch.set_num_threads(threads)


def _one_seed(seed: int, size: _Size, device: str, tell: Progress) -> _Seed:
    from byheart.papers import _calc_rl as rl
    from byheart.papers._calc_probe import probe

    probed = probe(
        seed=seed, items=size.items, filler=size.filler, epochs=size.probe_epochs, device=device,
        progress=lambda share: tell("reading questions", 0.2 * share),
    )  # fmt: skip
    sums = rl.draw_sums(seed, size.taught, size.train, size.validation)
    base = rl.pretrain(
        sums, seed=seed, epochs=size.epochs, layers=size.layers, width=size.width, device=device,
        progress=lambda share, loss: tell("learning arithmetic", 0.2 + 0.1 * share),
    )  # fmt: skip
    scores, exact = rl.mark(base, sums.validation)
    sampled = rl.mark_sampled(base, sums.validation, seed=seed)
    asked = sums.train[: size.votes]
    wrong = rl.wrong_votes(base, asked, seed=seed)
    read = rl.contaminate(base, sums, seed=seed)
    tell("learning arithmetic", 0.35)
    runs = dict.fromkeys(rl.KINDS, (base, sums.train, size.steps))
    runs["majority-incorrect"] = base, wrong, size.steps
    runs["inverted"] = base, sums.train, min(size.steps, _COLLAPSE)
    runs["coin, contaminated"] = read, sums.train, size.steps
    whole, before = sum(steps for *_, steps in runs.values()), 0
    trained = {}
    for kind, (model, problems, steps) in runs.items():

        def part(share: float, at: int = before, n: int = steps, kind: str = kind) -> None:
            tell(f"GRPO, {kind}", 0.35 + 0.65 * (at + share * n) / whole)

        trained[kind] = rl.grpo(
            model, problems, sums.validation, rl.reward_of("random" if model is read else kind, seed),
            seed=seed, steps=steps, group=size.group, prompts=size.prompts, lr=size.lr, progress=part,
        )  # fmt: skip
        before += steps
    coin = trained.pop("coin, contaminated")
    return _Seed(
        probed, scores, exact, sampled, trained, rl.mark_sampled(read, sums.validation, seed=seed),
        rl.mark(read, sums.validation)[1], coin, len(wrong) / len(asked),
    )  # fmt: skip


def _shares(n: int) -> dict[int, tuple[float, float]]:
    """By number of operations: shares of whole and of negative answers; every problem verified."""
    out = {0: (float(np.mean([v.denominator == 1 for _, v in atoms()])), 0.0)}
    for steps in (5, 10, 20):
        problems = generate(n, steps=steps)
        verify(problems)
        whole = float(np.mean([p.exact.denominator == 1 for p in problems]))
        out[steps] = whole, float(np.mean([p.exact < 0 for p in problems]))
    return out


def _said(values: Sequence[float]) -> str:
    low, middle, high = min(values), float(np.mean(values)), max(values)
    return f"{middle:.3f}" if high - low < 5e-4 else f"{middle:.3f} ({low:.3f} to {high:.3f})"


def _probe_checks(done: Sequence[_Seed]) -> list[Check]:
    def values(repeats: int, ratio: float, what: str = "exact_match") -> list[float]:
        return [s.probed.mean(repeats, ratio, what) for s in done]

    def row(repeats: int, what: str = "exact_match") -> str:
        return " / ".join(f"{np.mean(values(repeats, r, what)):.2f}" for r in RATIOS)

    rises = all(
        np.mean(values(0, r, w)) <= np.mean(values(10, r, w)) <= np.mean(values(50, r, w))
        and np.mean(values(0, r, w)) < np.mean(values(50, r, w))
        for r in RATIOS
        for w in ("exact_match", "rouge_l")
    )
    nothing = [np.mean(values(0, r)) for r in RATIOS]
    everything = [np.mean(values(50, r)) for r in RATIOS]
    floor = [float(np.mean(values(0, r, "rouge_l"))) for r in RATIOS]
    return [
        Check("what was read often is restored", "EM and ROUGE-L rise with 0, 10, 50 readings at 80, 60 and 40 %",
              "EM " + ", ".join(f"{n}x {row(n)}" for n in (0, 10, 50))
              + "; ROUGE-L " + ", ".join(f"{n}x {row(n, 'rouge_l')}" for n in (0, 10, 50)), bool(rises)),
        Check("EM marks the ends of the scale", "EM <= .02 unread, >= .9 after 50 readings, at every ratio",
              f"unread {max(nothing):.2f} at most, 50 readings {min(everything):.2f} at least",
              bool(max(nothing) <= 0.02 and min(everything) >= 0.9)),
        Check("ROUGE-L has a floor", "ROUGE-L of unread questions above .1 at every ratio, with EM 0",
              f"{min(floor):.2f} at least", bool(min(floor) > 0.1)),
    ]  # fmt: skip


_PUBLISHED = {0: (0.43, 0.0), 5: (0.02, 0.35), 10: (None, 0.44), 20: (0.0, 0.47)}
"""Shares of whole and of negative answers in the published files."""


def _generator_check(shares: dict[int, tuple[float, float]]) -> Check:
    near = all(
        (w is None or abs(shares[s][0] - w) <= 0.03) and abs(shares[s][1] - m) <= 0.06
        for s, (w, m) in _PUBLISHED.items()
    )
    return Check(
        "problems are like the published ones, with exact values",
        "shares of whole (43, 2, -, 0 %) and negative answers (0, 35, 44, 47 %) at 0, 5, 10, 20 operations, to "
        "3 and 6 points; all verified",
        "; ".join(f"{s}: {w:.1%} whole, {m:.1%} negative" for s, (w, m) in shares.items()),
        near,
    )


def _reward_checks(done: Sequence[_Seed]) -> list[Check]:
    base = [float(np.mean(s.base)) for s in done]
    ends = {k: [s.trained[k].curve.reward[-1] for s in done] for k in done[0].trained}
    mean = {k: float(np.mean(v)) for k, v in ends.items()}
    b = float(np.mean(base))
    said = {k: _said(v) for k, v in ends.items()}
    return [
        Check("right rewards help on problems nobody has read", "correct above base, in every seed",
              f"{said['correct']}, base {_said(base)}",
              all(a > c for a, c in zip(ends["correct"], base, strict=True))),
        Check("a coin does not help", "random at most base + .01, and correct - random >= .03",
              f"{said['random']}, base {_said(base)}; difference {mean['correct'] - mean['random']:.3f}",
              mean["random"] <= b + 0.01 and mean["correct"] - mean["random"] >= 0.03),
        Check("rewarding one's own wrong answers does not help", "majority-incorrect at most base + .01",
              f"{said['majority-incorrect']}, base {_said(base)}", mean["majority-incorrect"] <= b + 0.01),
        Check("inverted rewards destroy", "inverted <= .1", said["inverted"], mean["inverted"] <= 0.1),
        *_leak_checks(done),
    ]  # fmt: skip


def _leak_checks(done: Sequence[_Seed]) -> list[Check]:
    """A coin and the same problems, read and not read: what is sampled, and how much stays as it was."""
    unread = [s.trained["random"] for s in done]
    read = [s.coin for s in done]
    gain = np.mean([r.sampled.exact - s.read.exact for r, s in zip(read, done, strict=True)])
    other = np.mean([u.sampled.exact - s.sampled.exact for u, s in zip(unread, done, strict=True)])
    return [
        Check("a coin helps a model that has read the problems", "exact Avg@16 rises after a coin where they "
              "were read (by .01 or more), and not where they were not (at most .01)",
              f"read {_said([s.read.exact for s in done])}, then {_said([r.sampled.exact for r in read])}; not read "
              f"{_said([s.sampled.exact for s in done])}, then {_said([u.sampled.exact for u in unread])}",
              bool(gain >= 0.01 and other <= 0.01)),
        Check("what was read changes least", "greedy answers that a coin keeps: more where the problems were read, in "
              "every seed", f"read {_said([r.kept for r in read])}, not read {_said([u.kept for u in unread])}; "
              f"divergence {np.mean([r.kl for r in read]):.3f} and {np.mean([u.kl for u in unread]):.3f} nats a token",
              all(r.kept > u.kept for r, u in zip(read, unread, strict=True))),
    ]  # fmt: skip


def _notes(done: Sequence[_Seed]) -> list[str]:
    out = [
        f"base: exact accuracy {_said([s.exact for s in done])}; best of 16 samples (Max@16) "
        f"{_said([s.sampled.best for s in done])} by eq. 2"
    ]
    for kind in done[0].trained:
        curves: list[Curve] = [s.trained[kind].curve for s in done]
        best = _said([max(c.reward) for c in curves])
        lowest = _said([min(c.reward) for c in curves])
        out.append(
            f"{kind}: exact accuracy {_said([c.exact[-1] for c in curves])} at the end; reward along the "
            f"way {lowest} at the lowest, {best} at the best"
        )
    out.append(
        f"{np.mean([s.wrong for s in done]):.0%} of the training problems have a wrong majority answer; read problems are "
        f"answered exactly {_said([s.read_greedy for s in done])} greedily, {_said([s.coin.curve.exact[-1] for s in done])} "
        f"after a coin; {np.mean([s.coin.clipped for s in done]):.1%} of its tokens (not read: "
        f"{np.mean([s.trained['random'].clipped for s in done]):.1%}) left the clipping interval, where alone a coin has "
        "a bias"
    )
    return out


def _findings(first: _Seed) -> list[Finding]:
    from byheart.core.stats import contrast

    out = []
    read, unread = first.probed.per_item(50), first.probed.per_item(0)
    c = contrast(read, unread, paired=False, bounded=(0.0, 1.0))
    shown = tuple(
        Evidence(
            r.id,
            "seen" if n else "fresh",
            r.shown,
            r.target,
            r.continuation,
            r.exact_match,
            f"read {n} times, {r.ratio:.0%} shown",
        )
        for n in (50, 0)
        for r in first.probed.rows[n][:2]
    )
    out.append(
        Finding(
            "random-calculation/completion", f"{CLAIM}. Measured: ends restored exactly, mean over the "
            "ratios; questions read fifty times against questions never read.",
            c.seen, c.fresh, c.gap, c.p_value, c.n, "share", 0, shown,
        )
    )  # fmt: skip
    for kind, trained in first.trained.items():
        other: Any = contrast(trained.scores, first.base, paired=True, bounded=(0.0, 1.0))
        out.append(
            Finding(
                f"random-calculation/reward-{kind}", f"{CLAIM}. Measured: eq. 2 on problems that no "
                f"model has seen, after GRPO with {kind} rewards against before.",
                other.seen, other.fresh, other.gap, other.p_value, other.n, "reward", 0,
                control="the same model before GRPO", exploratory=True,
                no_verdict="a gain here is learning, not memory",
            )
        )  # fmt: skip
    return out
