"""What memorised examples are worth: accuracy without them against accuracy without random ones."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from byheart.audits._longtail.learners import as_learner
from byheart.core.errors import DataError, UsageError
from byheart.core.finding import Estimate

__all__ = ["Utility", "marginal_utility"]


@dataclass(frozen=True, slots=True)
class Utility:
    """Accuracies after retraining, with 95 % intervals over repetitions.

    Attributes:
        threshold: Examples with memorisation at least this were removed.
        removed: How many those are.
        full: Accuracy of training on everything.
        without: Accuracy without the memorised examples.
        random: Accuracy without as many random ones.
        worth: random - without: what memorising them is worth.
    """

    threshold: float
    removed: int
    full: Estimate
    without: Estimate
    random: Estimate
    worth: Estimate


def marginal_utility(
    train: Any,
    x: Any,
    y: Any,
    x_test: Any,
    y_test: Any,
    memorisation: Any,
    *,
    thresholds: Sequence[float] = (0.25,),
    tests: Any = None,
    repeats: int = 5,
    seed: int = 0,
    progress: Callable[[str, float], None] | None = None,
) -> list[Utility]:
    """Retrain without the examples that are memorised, and without as many random ones.

    Args:
        train: As for `MemorizationEstimator`.
        x: ``[n, ...]``.
        y: ``[n]``.
        x_test: ``[n_test, ...]``.
        y_test: ``[n_test]``.
        memorisation: ``[n]``, such as `Runs.mem`; NaN is never removed.
        thresholds: Examples with at least so much memorisation are removed.
        tests: Indices of the test examples that count (those of high-influence pairs, say); all if left
            out.
        repeats: Trainings of each kind; repetition r has the same seed in all kinds.
        seed: Of training and of the random removals.
        progress: Called with what is being done and the share that is finished.

    Raises:
        UsageError: Shapes that do not fit, fewer than two repeats, no test example.
        DataError: A threshold that leaves nothing, or no example of some class.
    """
    learner = as_learner(train)
    x, y, x_test, y_test = (np.asarray(a) for a in (x, y, x_test, y_test))
    mem = np.asarray(memorisation, float)
    if mem.shape != y.shape or len(x) != len(y) or len(x_test) != len(y_test):
        raise UsageError(
            f"{len(x)} examples, {len(y)} labels, memorisation {mem.shape}: they must fit"
        )
    chosen = np.arange(len(y_test)) if tests is None else np.unique(np.asarray(tests, dtype=int))
    if not len(chosen) or repeats < 2:
        raise UsageError(f"at least one test example and two repeats are needed, got {len(chosen)}, {repeats}")  # fmt: skip
    n = len(y)
    seeds = [
        int(np.random.SeedSequence([seed, r]).generate_state(1)[0] >> 1) for r in range(repeats)
    ]
    masks, trained_with = [np.ones(n, bool)] * repeats, list(seeds)
    counts = []
    for at, threshold in enumerate(thresholds):
        out = mem >= threshold
        left = np.unique(y[~out])
        if len(left) < len(np.unique(y)):
            lost = sorted(set(np.unique(y).tolist()) - set(left.tolist()))
            raise DataError(f"without the examples of memorisation {threshold:g} or more, class {lost[0]!r} is empty; take a higher threshold")  # fmt: skip
        counts.append(int(out.sum()))
        masks += [~out] * repeats
        for r in range(repeats):
            rest = np.ones(n, bool)
            rest[np.random.default_rng([seed, at, r]).permutation(n)[: out.sum()]] = False
            masks.append(rest)
        trained_with += [*seeds, *seeds]
    size = max(1, int(getattr(learner, "together", 1)))
    right: list[float] = []
    for begin in range(0, len(masks), size):
        some = slice(begin, begin + size)
        labels = learner.train_many(
            x, y, np.stack(masks[some]), trained_with[some], x_test, order=seed
        )
        right += (labels[:, chosen] == y_test[chosen]).mean(1).tolist()
        if progress is not None:
            progress("marginal utility", min(1.0, (begin + size) / len(masks)))
    accuracy = np.array(right).reshape(-1, repeats)
    return [
        Utility(
            float(threshold), counts[i], _mean(accuracy[0]), _mean(accuracy[1 + 2 * i]),
            _mean(accuracy[2 + 2 * i]), _mean(accuracy[2 + 2 * i] - accuracy[1 + 2 * i]),
        )
        for i, threshold in enumerate(thresholds)
    ]  # fmt: skip


def _mean(values: np.ndarray) -> Estimate:
    """Mean over repetitions with Student's interval."""
    from scipy.stats import t

    value = float(values.mean())
    half = float(t.ppf(0.975, len(values) - 1)) * float(values.std(ddof=1)) / math.sqrt(len(values))
    return Estimate(value, value - half, value + half)
