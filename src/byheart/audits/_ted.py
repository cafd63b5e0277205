"""TED: a score without the peak and the repeats, and how much of an inflation it takes away.

Source: Dong et al., arXiv 2402.15938; constants and the order of steps as in the authors' script.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from byheart.audits._edit_distance import _plain, edit_distances
from byheart.core.errors import UsageError

__all__ = ["ComiEval", "TedTask", "comieval", "mitigation", "pass_at_k", "ted"]


@dataclass(frozen=True)
class TedTask:
    """One task for `ted`: greedy token ids, sample token ids, and which samples passed.

    The ids are those of the answer alone, without special tokens.
    """

    greedy: Sequence[int]
    samples: Sequence[Sequence[int]]
    passed: Sequence[bool]


def pass_at_k(n: int, passed: int, k: int = 1) -> float:
    """1 - C(n - c, k) / C(n, k): the chance that one of k samples, drawn from n, passes.

    Args:
        n: Samples.
        passed: How many of them passed (c).
        k: How many are drawn.

    >>> pass_at_k(4, 1, k=2)
    0.5
    """
    if not 0 <= passed <= n or not 1 <= k <= n:
        raise UsageError(
            f"pass@k needs 0 <= passed <= n and 1 <= k <= n, got n={n}, passed={passed}, k={k}"
        )
    return 1 - math.comb(n - passed, k) / math.comb(n, k)


def ted(
    tasks: Sequence[TedTask],
    tau: float = 2,
    dedup: bool = True,
    max_tokens: int = 100,
    k: int = 1,
) -> float:
    """pass@k after taking away the peak and the repeats.

    For every sample of a task, in order: skip it if an identical one was kept; skip it if its
    distance to the greedy answer (both cut to the greedy answer's length, at most `max_tokens`) is
    at most `tau`; else keep it. The score is the mean pass@k of tasks with survivors, times their
    share: a task that is emptied counts 0, and so does one whose greedy answer is empty, as all
    samples then lie at distance 0. Nothing is rounded (the authors' script rounds to 4 digits).

    Args:
        tasks: The tasks.
        tau: 2 in the paper; -1 keeps the peak.
        dedup: Whether repeats are removed.
        max_tokens: Greedy tokens compared (100 in the authors' script).
        k: 1 in the paper; more needs that many survivors in every task that has any.

    Raises:
        UsageError: No tasks, samples and verdicts of different number, or fewer survivors than k.
    """
    if not tasks:
        raise UsageError("there are no tasks")
    rates = []
    for i, t in enumerate(tasks):
        if len(t.samples) != len(t.passed):
            raise UsageError(f"task {i}: {len(t.samples)} samples, but {len(t.passed)} verdicts")
        passed = _survivors(t, tau, dedup, max_tokens)
        if passed and len(passed) < k:
            raise UsageError(f"pass@{k} of task {i} cannot be told: {len(passed)} samples are left")
        if passed:
            rates.append(pass_at_k(len(passed), sum(passed), k))
    return float(np.mean(rates)) * len(rates) / len(tasks) if rates else 0.0


def _survivors(task: TedTask, tau: float, dedup: bool, max_tokens: int) -> list[bool]:
    """Verdicts of the samples that are kept."""
    reference = task.greedy[:max_tokens]
    distances = edit_distances(reference, [s[: len(reference)] for s in task.samples])
    kept: set[tuple[Hashable, ...]] = set()
    passed = []
    for sample, ok, distance in zip(task.samples, task.passed, distances, strict=True):
        key = tuple(_plain(sample))
        if (dedup and key in kept) or distance <= tau:
            continue
        kept.add(key)
        passed.append(bool(ok))
    return passed


def mitigation(contaminated: float, corrected: float, clean_score: float) -> float:
    """Share of the inflation that was removed: 1 - |corrected - clean| / |contaminated - clean|,
    at least 0; NaN where there was no inflation."""
    inflation = abs(contaminated - clean_score)
    if inflation == 0:
        return float("nan")
    return max(0.0, 1 - abs(corrected - clean_score) / inflation)


@dataclass(frozen=True)
class ComiEval:
    """One row of a ComiEval-like report: a contaminated model beside the clean one.

    Attributes:
        method: How the model was fine-tuned.
        repeats: How often each item was leaked.
        contaminated: pass@1 of the contaminated model on the leaked items.
        corrected: The same after TED.
        clean: pass@1 of the clean model on the same items.
        clean_corrected: The same after TED: what TED takes from an honest model.
        mitigation: Share of the inflation that TED removed; NaN where there was none.
    """

    method: str
    repeats: int
    contaminated: float
    corrected: float
    clean: float
    clean_corrected: float
    mitigation: float


def comieval(
    clean: Sequence[TedTask],
    contaminated: Mapping[tuple[str, int], Sequence[TedTask]],
    tau: float = 2,
) -> list[ComiEval]:
    """What contamination adds to a score, and what TED takes away, per method and repetition.

    Args:
        clean: The leaked items as the clean model answers them.
        contaminated: The same items by ``(method, repeats)``, as each contaminated model does.
        tau: As for `ted`.

    Raises:
        UsageError: Another number of tasks in an arm than the clean model has.
    """
    honest, honest_corrected = ted(clean, tau=-1, dedup=False), ted(clean, tau)
    out = []
    for (method, repeats), tasks in contaminated.items():
        if len(tasks) != len(clean):
            raise UsageError(
                f"{method}, {repeats} repeats: {len(tasks)} tasks, but the clean model has "
                f"{len(clean)}"
            )
        score, corrected = ted(tasks, tau=-1, dedup=False), ted(tasks, tau)
        removed = mitigation(score, corrected, honest)
        out.append(ComiEval(method, repeats, score, corrected, honest, honest_corrected, removed))
    return out
