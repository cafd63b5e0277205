"""Training on many random subsets, kept as it goes and taken up again."""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from byheart.audits._longtail.learners import Learner, as_learner
from byheart.audits._longtail.runs import Runs
from byheart.audits._longtail.store import read_state, write_state
from byheart.core.errors import ByheartError, DataError, ModelError, UsageError, need

__all__ = ["MemorizationEstimator"]

Progress = Callable[[str, float], None]
_SAVE_EVERY = 20.0
"""Seconds between saves of what has finished."""


@dataclass(frozen=True)
class MemorizationEstimator:
    """Memorisation and influence of every training example, by training on random subsets.

    Run k draws `subset` of the examples without replacement, trains, and notes which training and test
    examples it gets right. mem(i) is how much oftener runs with example i get it right than runs
    without it; infl(i, j) the same for test example j (Feldman and Zhang 2020, section 2).

    Args:
        train: What is trained: a scikit-learn estimator (cloned for each run), a function
            ``train(x, y, seed)`` that returns a torch module, a fitted model or a function from
            examples to labels (or scores in the order of the sorted labels), or a learner such as
            `BatchedMLP`, which trains many models at once.
        x: ``[n, ...]`` examples.
        y: ``[n]`` labels as given, right or wrong.
        x_test: ``[n_test, ...]``; left out, only memorisation is measured.
        y_test: ``[n_test]``.
        subset: Share of the examples that a run gets (paper: .7).
        runs: How many runs, t. `error_bound` says what that gives; the paper took 2000 to 4000.
        seed: Of subsets and training; run k depends on it and on k only, so more runs can be added.
        draw: ``"byheart"``, or ``"authors"`` for the subsets of the authors' example, whose run k draws
            with numpy's RandomState(k).
        missing_classes: Allow subsets in which a class has no example. Right for long tails, where
            such classes are the point, with a learner that bears it.

    Raises:
        UsageError: `subset` outside (0, 1), or one that leaves a class without an example in a run.
        DataError: One class only, lengths that differ, numbers that are not finite.

    >>> from sklearn.neighbors import KNeighborsClassifier
    >>> from sklearn.datasets import load_iris
    >>> x, y = load_iris(return_X_y=True)
    >>> est = MemorizationEstimator(KNeighborsClassifier(1), x, y, runs=40, seed=0).run()
    >>> int(est.mem.argmax()), round(float(est.mem.max()), 2)  # one flower among those of another kind
    (70, 1.0)
    """

    train: Any
    x: Any
    y: Any
    x_test: Any = None
    y_test: Any = None
    subset: float = 0.7
    runs: int = 500
    seed: int = 0
    draw: str = "byheart"
    missing_classes: bool = False
    _learner: Learner = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_learner", as_learner(self.train))
        x, y = _examples(self.x, self.y, "training")
        object.__setattr__(self, "x", x)
        object.__setattr__(self, "y", y)
        if (self.x_test is None) != (self.y_test is None):
            raise UsageError("give x_test and y_test together, or neither")
        if self.x_test is None:
            x_test, y_test = x[:0], y[:0]
        else:
            x_test, y_test = _examples(self.x_test, self.y_test, "test")
            if x_test.shape[1:] != x.shape[1:]:
                raise DataError(f"examples are {x.shape[1:]}, test examples {x_test.shape[1:]}")
        object.__setattr__(self, "x_test", x_test)
        object.__setattr__(self, "y_test", y_test)
        if len(np.unique(y)) < 2:
            raise DataError(
                f"all {len(y)} examples have the label {y[0]}; with one class every learner is right "
                "and nothing can be memorised"
            )
        if not 0 < self.subset < 1:
            raise UsageError(f"subset is a share of the examples in (0, 1), got {self.subset}")
        if not 1 <= self.size < len(y):
            raise UsageError(f"subset {self.subset:g} of {len(y)} examples is {self.size}; runs need some in and some out")  # fmt: skip
        if isinstance(self.runs, bool) or int(self.runs) != self.runs or self.runs < 2:
            raise UsageError(f"runs must be a whole number of at least 2, got {self.runs!r}")
        if self.draw not in ("byheart", "authors"):
            raise UsageError(f"draw is 'byheart' or 'authors', got {self.draw!r}")
        if self.seed < 0:
            raise UsageError(f"seed must not be negative, got {self.seed}")

    @property
    def size(self) -> int:
        """Examples in a subset, m; rounded down as the authors do."""
        return int(len(self.y) * self.subset + 1e-9)

    def mask(self, run: int) -> np.ndarray:
        """``[n]``, True for the examples of this run."""
        n = len(self.y)
        chosen: Any
        if self.draw == "authors":
            chosen = np.random.RandomState(run).choice(n, size=self.size, replace=False)
        else:
            chosen = np.random.default_rng([self.seed, run]).permutation(n)[: self.size]
        out = np.zeros(n, bool)
        out[chosen] = True
        return out

    def training_seed(self, run: int) -> int:
        """Seed that the run's learner gets."""
        if self.draw == "authors":
            return run
        return int(np.random.SeedSequence([self.seed, run, 1]).generate_state(1)[0] >> 1)

    def fingerprint(self) -> str:
        """What a file of runs must agree with to be taken up: data, labels, subset, seeds, learner.

        Of a training function only the name goes in: that its body changed is not seen.
        """
        digest = hashlib.sha256()
        for array in (self.x, self.y, self.x_test, self.y_test):
            digest.update(f"{array.shape}{array.dtype}".encode())
            raw = repr(array.tolist()).encode() if array.dtype.hasobject else np.ascontiguousarray(array).tobytes()  # fmt: skip
            digest.update(raw)
        settings = [self.subset, self.seed, self.draw, describe(self.train)]
        digest.update(json.dumps(settings).encode())
        return digest.hexdigest()

    def run(
        self,
        resume: str | Path | None = None,
        *,
        jobs: int | None = None,
        progress: Progress | None = None,
    ) -> Runs:
        """Train what has not been trained yet.

        Args:
            resume: An npz file: runs that it holds are taken up, finished ones are added every twenty
                seconds, at the end, and when the run is interrupted or a training fails.
            jobs: Processes of joblib (``-1``: all cores). Under ``joblib.parallel_config("ray")`` or
                ``"dask"`` the same call runs on that cluster. Left out: this process.
            progress: Called with what is being done and the share that is finished.

        Raises:
            UsageError: Subsets that leave a class without an example (`missing_classes`).
            DataError: `resume` holds runs of other data or settings, or cannot be read.
            ModelError: A training failed or gave no labels; names the run. Finished ones are kept.
            OutputError: `resume` cannot be written.
        """
        classes, codes = np.unique(self.y, return_inverse=True)
        masks = np.stack([self.mask(k) for k in range(self.runs)])
        if not self.missing_classes:
            self._all_classes(masks, classes, codes)
        path = None if resume is None else Path(resume)
        book = _Book(self, masks, classes)
        if path is not None and path.exists():
            book.take(path)
        todo = self._groups(book.done)
        try:
            if todo:
                self._work(book, todo, jobs, path, progress)
        finally:
            if path is not None and book.fresh:
                book.save(path)
        return book.runs()

    def _all_classes(self, masks: np.ndarray, classes: np.ndarray, codes: np.ndarray) -> None:
        for c, label in enumerate(classes):
            empty = ~masks[:, codes == c].any(1)
            if empty.any():
                raise UsageError(
                    f"subsets of {self.subset:g} leave class {label} ({(codes == c).sum()} of "
                    f"{len(codes)} examples) without an example in {empty.sum()} of {len(masks)} runs; "
                    "take a larger subset, leave the class out, or pass missing_classes=True if the "
                    "learner bears it"
                )

    def _groups(self, done: np.ndarray) -> list[list[int]]:
        """Runs that are left, in groups that are trained together; the same whatever was done."""
        size = max(1, int(getattr(self._learner, "together", 1)))
        groups: dict[int, list[int]] = {}
        for k in np.flatnonzero(~done):
            groups.setdefault(int(k) // size, []).append(int(k))
        return list(groups.values())

    def _work(
        self,
        book: _Book,
        todo: list[list[int]],
        jobs: int | None,
        path: Path | None,
        progress: Progress | None,
    ) -> None:
        joblib = need("joblib", "audit")
        x_all = np.concatenate([self.x, self.x_test]) if len(self.x_test) else self.x
        wide, saved = max(1, joblib.effective_n_jobs(jobs)), time.monotonic()
        wave, at = wide, 0
        while at < len(todo):
            groups = todo[at : at + wave]
            began = time.monotonic()
            answers = joblib.Parallel(n_jobs=jobs)(
                joblib.delayed(_train_group)(
                    self._learner, self.x, self.y, book.masks[g],
                    [self.training_seed(k) for k in g], x_all, self._order(g[0]),
                )
                for g in groups
            )  # fmt: skip
            failed = None
            for group, (found, error) in zip(groups, answers, strict=True):
                failed = failed or (None if error is None else (group, error))
                if found is not None:
                    failed = failed or book.add(group, found)
            if failed is not None:
                group, error = failed
                if isinstance(error, ByheartError):
                    raise error
                which = f"run {group[0]}" if len(group) == 1 else f"runs {group[0]} to {group[-1]}"
                raise ModelError(f"{which}: the training failed: {type(error).__name__}: {error}") from error  # fmt: skip
            at += len(groups)
            now = time.monotonic()
            if now - began < 1:
                wave = min(2 * wave, 64 * wide)
            if path is not None and now - saved > _SAVE_EVERY:
                book.save(path)
                saved = time.monotonic()
            if progress is not None:
                progress(f"{int(book.done.sum())} of {self.runs} runs", float(book.done.mean()))

    def _order(self, run: int) -> int:
        """Seed of what a group shares (the order of rows)."""
        size = max(1, int(getattr(self._learner, "together", 1)))
        return int(np.random.SeedSequence([self.seed, run // size, 2]).generate_state(1)[0] >> 1)


class _Book:
    """What has finished: bits of correctness, and votes of the runs that an example was left out of."""

    def __init__(self, of: MemorizationEstimator, masks: np.ndarray, classes: np.ndarray) -> None:
        t, n = masks.shape
        self.of, self.masks, self.classes = of, masks, classes
        self.truth = np.concatenate([of.y, of.y_test])
        self.correct = np.zeros((t, len(self.truth)), bool)
        self.votes = np.zeros((n, len(classes)), np.int32)
        self.done = np.zeros(t, bool)
        self.fresh = False

    @cached_property
    def fingerprint(self) -> str:
        return self.of.fingerprint()

    def add(self, runs: list[int], labels: np.ndarray) -> tuple[list[int], Exception] | None:
        """Note the labels ``[R, n + n_test]`` that these runs gave; or say what is wrong with them."""
        labels = np.asarray(labels)
        if labels.shape != (len(runs), len(self.truth)):
            return runs, ModelError(
                f"run {runs[0]}: the learner answers with shape {labels.shape}, expected a label for each "
                f"of {len(self.truth)} examples"
            )
        if labels.dtype.kind == "f" and not np.isfinite(labels).all():
            bad = runs[int(np.flatnonzero(~np.isfinite(labels).all(1))[0])]
            return runs, ModelError(f"run {bad}: the learner predicts NaN; its training diverged")
        n = len(self.of.y)
        for k, given in zip(runs, labels, strict=True):
            self.correct[k] = given == self.truth
            out = np.flatnonzero(~self.masks[k])
            at = np.minimum(np.searchsorted(self.classes, given[:n][out]), len(self.classes) - 1)
            known = self.classes[at] == given[:n][out]
            self.votes[out[known], at[known]] += 1
            self.done[k] = True
        self.fresh = True
        return None

    def save(self, path: Path) -> None:
        done = np.flatnonzero(self.done)
        write_state(path, self.fingerprint, done, self.runs())
        self.fresh = False

    def take(self, path: Path) -> None:
        """Take up the runs in a file."""
        state = read_state(path)
        if state.fingerprint != self.fingerprint:
            raise DataError(
                f"{path} holds runs of other data, labels, subset, seed or learner; name another file, "
                "or delete it"
            )
        n = len(self.of.y)
        last = int(state.numbers.max(initial=-1))
        if last >= len(self.masks):  # using a part would lose the others at the next save
            raise UsageError(
                f"{path} holds {len(state.numbers)} runs, more than the {len(self.masks)} asked for; ask "
                f"for at least {last + 1}"
            )
        self.votes[:] = state.votes
        if not np.array_equal(state.runs.mask, self.masks[state.numbers]):
            raise DataError(f"{path}: its subsets are not the ones drawn here; delete it")
        self.correct[state.numbers, :n] = state.runs.correct_train
        self.correct[state.numbers, n:] = state.runs.correct_test
        self.done[state.numbers] = True

    def runs(self) -> Runs:
        n, done = len(self.of.y), self.done
        about = {
            "learner": describe(self.of.train), "subset": self.of.subset, "seed": self.of.seed,
            "draw": self.of.draw,
        }  # fmt: skip
        return Runs(
            self.masks[done], self.correct[done, :n], self.correct[done, n:], self.of.y,
            self.of.y_test, self.votes.copy(), self.classes, about,
        )  # fmt: skip


def _train_group(
    learner: Learner, x: Any, y: Any, masks: Any, seeds: list[int], x_all: Any, order: int
) -> tuple[np.ndarray | None, Exception | None]:
    """Labels, or what went wrong: one failure must not lose what others of its wave have done."""
    try:
        return np.asarray(learner.train_many(x, y, masks, seeds, x_all, order=order)), None
    except Exception as error:
        return None, error


def _examples(x: Any, y: Any, which: str) -> tuple[np.ndarray, np.ndarray]:
    """Checked arrays of examples and labels."""
    x, y = (np.asarray(a.numpy() if hasattr(a, "numpy") else a) for a in (x, y))
    if y.ndim != 1:
        raise DataError(f"{which} labels are one for each example, got shape {y.shape}")
    if x.ndim < 1 or len(x) != len(y):
        raise DataError(
            f"{len(x) if x.ndim else 0} {which} examples, {len(y)} labels; they must be as many"
        )
    if not len(y):
        raise DataError(f"there are no {which} examples")
    for name, array in (("examples", x), ("labels", y)):
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            bad = np.argwhere(~np.isfinite(array))[0]
            raise DataError(
                f"{which} {name} hold {array[tuple(bad)]} in row {bad[0]}"
                f"{f' (place {[int(b) for b in bad[1:]]})' if len(bad) > 1 else ''}; drop the row or fill it in"
            )
        if name == "labels" and array.dtype == object:
            kinds = {type(v).__name__ for v in array}
            if len(kinds) > 1:
                raise DataError(
                    f"{which} labels mix {', '.join(sorted(kinds))}; give them as one kind"
                )
            y = np.asarray(list(array))
    return x, y


def describe(train: Any) -> str:
    """A learner in words, without memory addresses."""
    if hasattr(train, "get_params"):
        knobs = ", ".join(f"{k}={v!r}" for k, v in sorted(train.get_params().items()))
        text = f"{type(train).__name__}({knobs})"
    elif hasattr(train, "train_many"):
        text = repr(train)
    else:
        text = getattr(train, "__qualname__", None) or type(train).__name__
    return re.sub(r" at 0x[0-9a-fA-F]+", "", text)
