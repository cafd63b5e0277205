"""What t runs on random subsets tell: memorisation, influence, and how sure that is."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from byheart.core.errors import DataError, UsageError

__all__ = ["Runs", "error_bound"]


def error_bound(runs: int, subset: float) -> float:
    """Root of the paper's bound on the mean squared error of one estimate.

    MSE <= 1/(p t) + 1/((1-p) t) + e^(-p t/16)/2 with p = min(subset, 1 - subset).

    >>> round(error_bound(2000, .7), 3)
    0.049
    """
    if runs < 1 or not 0 < subset < 1:
        raise UsageError(f"runs must be at least 1 and subset in (0, 1), got {runs}, {subset}")
    p = min(subset, 1 - subset)
    return math.sqrt(1 / (p * runs) + 1 / ((1 - p) * runs) + math.exp(-p * runs / 16) / 2)


@dataclass(frozen=True)
class Runs:
    """Which examples each run was trained on, and which it got right; estimates follow from that.

    Args:
        mask: ``[t, n]``, True where run k was trained on example i.
        correct_train: ``[t, n]``, whether run k gives example i its (given) label.
        correct_test: ``[t, n_test]``, likewise on test examples; zero columns if there are none.
        y: ``[n]`` labels, or None where only correctness is known.
        y_test: ``[n_test]`` labels, or None.
        votes: ``[n, K]``, how many runs without example i gave it each label; or None.
        classes: ``[K]`` labels of the columns of `votes`.
        about: Settings, for the record.

    Raises:
        DataError: Arrays that do not fit, or hold other values than 0 and 1.
    """

    mask: np.ndarray
    correct_train: np.ndarray
    correct_test: np.ndarray
    y: np.ndarray | None = None
    y_test: np.ndarray | None = None
    votes: np.ndarray | None = None
    classes: np.ndarray | None = None
    about: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("mask", "correct_train", "correct_test"):
            array = np.asarray(getattr(self, name))
            if array.ndim != 2:
                raise DataError(f"{name} is [runs, examples], got shape {array.shape}")
            if array.dtype != bool:
                if not np.isin(array, (0, 1)).all():
                    raise DataError(f"{name} holds 0 and 1 only, got {np.unique(array)[:4]}")
                array = array.astype(bool)
            object.__setattr__(self, name, array)
        t, n = self.mask.shape
        if t < 1 or n < 1:
            raise DataError(f"mask is [runs, examples] with at least one of each, got {t} by {n}")
        if self.correct_train.shape != (t, n) or len(self.correct_test) != t:
            raise DataError(
                f"mask {self.mask.shape}, correct_train {self.correct_train.shape} and correct_test "
                f"{self.correct_test.shape} are not of the same runs and examples"
            )
        for name, size in (("y", n), ("y_test", self.correct_test.shape[1])):
            labels = getattr(self, name)
            if labels is not None:
                labels = np.asarray(labels)
                if labels.shape != (size,):
                    raise DataError(f"{name} has shape {labels.shape}, there are {size} examples")
                object.__setattr__(self, name, labels)

    def __len__(self) -> int:
        return len(self.mask)

    @property
    def subset(self) -> float:
        """Share of the examples that a run is trained on, on average."""
        return float(self.mask.mean())

    @cached_property
    def n_in(self) -> np.ndarray:
        """``[n]``: runs that were trained on each example."""
        return self.mask.sum(0)

    @cached_property
    def n_out(self) -> np.ndarray:
        """``[n]``: runs that were not."""
        return len(self.mask) - self.n_in

    @cached_property
    def rate_in(self) -> np.ndarray:
        """``[n]``: share of the runs with an example that get it right; NaN where there are none."""
        return _ratio((self.correct_train & self.mask).sum(0), self.n_in)

    @cached_property
    def rate_out(self) -> np.ndarray:
        """``[n]``: share of the runs without an example that get it right."""
        return _ratio((self.correct_train & ~self.mask).sum(0), self.n_out)

    @cached_property
    def mem(self) -> np.ndarray:
        """``[n]``: memorisation of each example, in [-1, 1]; NaN where a group of runs is empty.

        mem(i) = mean over runs with i of [h(x_i) = y_i] - mean over runs without i of the same. It can
        be negative; clipping it would bias sums.
        """
        return self.rate_in - self.rate_out

    @cached_property
    def mem_se(self) -> np.ndarray:
        """``[n]``: standard error of `mem`, over the draw of subsets and of training.

        Rates near 0 and 1 are counted as if half a run more had gone each way, since no spread seen in
        few runs is not no spread.
        """
        inside = _variance((self.correct_train & self.mask).sum(0), self.n_in)
        outside = _variance((self.correct_train & ~self.mask).sum(0), self.n_out)
        return np.sqrt(inside + outside)

    def influence(self, test: slice | np.ndarray | None = None) -> np.ndarray:
        """``[n, tests]``: influence of each training example on each (chosen) test example.

        infl(i, j) = mean over runs with i of [h(x_j) = y_j] - mean over runs without i. Two matrix
        products; NaN where a group of runs is empty.
        """
        correct = self.correct_test if test is None else self.correct_test[:, test]
        inside, outside = self._with(correct)
        return _ratio(inside, self.n_in[:, None]) - _ratio(outside, self.n_out[:, None])

    def _with(self, correct: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Right answers among the runs with and without each example: two ``[n, tests]``."""
        right = correct.astype(np.float32)
        inside = self.mask.T.astype(np.float32) @ right
        return inside, right.sum(0) - inside

    @cached_property
    def infl(self) -> np.ndarray:
        """``[n, n_test]``: all influences. `influence` takes a part where this is too large."""
        return self.influence()

    def influence_se(self, test: slice | np.ndarray | None = None) -> np.ndarray:
        """``[n, tests]``: standard errors of `influence`, as in `mem_se`."""
        correct = self.correct_test if test is None else self.correct_test[:, test]
        inside, outside = self._with(correct)
        return np.sqrt(
            _variance(inside, self.n_in[:, None]) + _variance(outside, self.n_out[:, None])
        )

    @property
    def infl_se(self) -> np.ndarray:
        """``[n, n_test]``: standard errors of `infl`."""
        return self.influence_se()

    @property
    def bound(self) -> float:
        """The paper's bound on the root mean squared error of any one estimate."""
        return error_bound(len(self), self.subset)

    @cached_property
    def gap(self) -> float:
        """Accuracy on examples trained on minus accuracy on those left out, over all runs."""
        inside, outside = self.mask.sum(), (~self.mask).sum()
        if not inside or not outside:
            return math.nan
        right_in = (self.correct_train & self.mask).sum() / inside
        return float(right_in - (self.correct_train & ~self.mask).sum() / outside)

    @property
    def accuracy(self) -> float:
        """Mean accuracy on the test examples; NaN without any."""
        return float(self.correct_test.mean()) if self.correct_test.size else math.nan

    def part(self, runs: slice | np.ndarray) -> Runs:
        """The same estimates from some of the runs."""
        return Runs(
            self.mask[runs], self.correct_train[runs], self.correct_test[runs],
            self.y, self.y_test, None, None, self.about,
        )  # fmt: skip

    def halves(self) -> tuple[Runs, Runs]:
        """Runs 0, 2, 4, ... and runs 1, 3, 5, ...: two independent estimates.

        Raises:
            UsageError: With fewer than four runs.
        """
        if len(self) < 4:
            raise UsageError(f"halves need at least 4 runs, there are {len(self)}")
        return self.part(slice(0, None, 2)), self.part(slice(1, None, 2))

    def half_split(self) -> float:
        """Correlation of the memorisation that the two `halves` estimate; NaN if one is constant."""
        one, two = (half.mem for half in self.halves())
        both = np.isfinite(one) & np.isfinite(two)
        if both.sum() < 2 or one[both].std() == 0 or two[both].std() == 0:
            return math.nan
        return float(np.corrcoef(one[both], two[both])[0, 1])

    def likely(self) -> np.ndarray | None:
        """``[n]``: the label that runs without an example give it most often; None if not kept."""
        if self.votes is None or self.classes is None:
            return None
        return np.asarray(self.classes)[self.votes.argmax(1)]


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """part / whole; NaN where whole is 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(whole > 0, part / np.maximum(whole, 1), np.nan)


def _variance(right: np.ndarray, runs: np.ndarray) -> np.ndarray:
    """Of a rate of `right` among `runs`; NaN where there are none."""
    p = (right + 0.5) / (runs + 1)
    return np.where(runs > 0, p * (1 - p) / np.maximum(runs, 1), np.nan)
