"""When samples are memorised, when test items are generalised to, and which belong together."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from byheart.core.errors import DataError, UsageError, need

__all__ = [
    "Generalised",
    "GroupMatch",
    "Memorised",
    "generalised_at",
    "match_groups",
    "memorised_at",
    "uncontaminated",
]

NEVER = -1
"""In place of a checkpoint: it does not happen in this run."""


@dataclass(frozen=True, eq=False)
class Memorised:
    """When each training sample is memorised.

    Attributes:
        at: ``[N]`` position of the checkpoint, or -1.
        eps: The loss threshold, or one a domain.
        share: Share memorised before the last checkpoint, of all or by domain.
        delta: How far the loss may move afterwards.
    """

    at: np.ndarray
    eps: float | dict[Any, float]
    share: float | dict[Any, float]
    delta: float

    def groups(self) -> dict[int, np.ndarray]:
        """Checkpoint to the positions of the samples memorised there (the paper's Pretrain@t)."""
        return _groups(self.at)


@dataclass(frozen=True, eq=False)
class Generalised:
    """When each test item is generalised to.

    Attributes:
        at: ``[N]`` position of the checkpoint, or -1.
    """

    at: np.ndarray

    def groups(self) -> dict[int, np.ndarray]:
        """Checkpoint to the positions of the items generalised to there (the paper's Test@t)."""
        return _groups(self.at)


def _groups(at: np.ndarray) -> dict[int, np.ndarray]:
    return {int(t): np.flatnonzero(at == t) for t in np.unique(at) if t != NEVER}


def memorised_at(
    losses: Any,
    eps: float | str = "auto:0.2-0.25",
    delta: float = 0.05,
    *,
    domains: Sequence[Any] | None = None,
    step: float = 0.1,
) -> Memorised:
    """The checkpoint from which on each sample's loss is low and stays where it is (paper, §3.1).

    ``t* = min { t : loss[t'] <= eps and |loss[t'] - loss[T]| <= delta for all t' >= t }`` with T the
    last checkpoint.

    Args:
        losses: ``[N, T]`` mean loss a token of each sample at each checkpoint, in nats.
        eps: The threshold; or ``"auto:LOW-HIGH"``, the least multiple of `step` with which a share
            of samples from LOW to HIGH is memorised before the last checkpoint (paper: 20 to 25 %).
        delta: Paper: .05.
        domains: ``[N]`` labels: eps is then chosen, and shares are counted, in each domain apart.
        step: Of the search (paper: .1).

    Raises:
        DataError: NaN, fewer than two checkpoints, or no eps that gives such a share; the nearest
            are named.
        UsageError: A value out of range.

    >>> memorised_at([[3.0, 0.2, 0.1, 0.1], [3.0, 2.9, 2.8, 2.7]], eps=1.0, delta=0.05).at
    array([ 2, -1])
    """
    x = _matrix(losses, "losses")
    if delta < 0 or step <= 0:
        raise UsageError(f"delta must not be negative and step above 0, got {delta} and {step}")
    labels = list(domains) if domains is not None else [None] * len(x)
    if len(labels) != len(x):
        raise UsageError(f"one domain a sample is needed: {len(labels)} for {len(x)}")
    at = np.full(len(x), NEVER)
    chosen: dict[Any, float] = {}
    share: dict[Any, float] = {}
    for domain in dict.fromkeys(labels):
        rows = np.array([i for i, label in enumerate(labels) if label == domain])
        mine = x[rows]
        limit = _search(mine, eps, delta, step, domain) if isinstance(eps, str) else float(eps)
        at[rows] = _settled(mine, limit, delta)
        chosen[domain] = limit
        share[domain] = float(np.mean(_early(at[rows], x.shape[1])))
    if domains is None:
        return Memorised(at, chosen[None], share[None], delta)
    return Memorised(at, chosen, share, delta)


def _settled(x: np.ndarray, eps: float, delta: float) -> np.ndarray:
    """First checkpoint of the longest tail that satisfies both conditions; -1 where there is none."""
    tolerance = 1e-9
    ok = (x <= eps + tolerance) & (np.abs(x - x[:, -1:]) <= delta + tolerance)
    tail = np.logical_and.accumulate(ok[:, ::-1], axis=1)[:, ::-1]
    return np.where(tail.any(1), tail.argmax(1), NEVER)


def _early(at: np.ndarray, checkpoints: int) -> np.ndarray:
    return (at != NEVER) & (at < checkpoints - 1)


def _search(x: np.ndarray, eps: str, delta: float, step: float, domain: Any) -> float:
    found = re.fullmatch(r"auto(?::([0-9.]+)-([0-9.]+))?", eps.strip())
    if not found:
        raise UsageError(f"eps is a number or 'auto:LOW-HIGH', got {eps!r}")
    low, high = (float(found[1]), float(found[2])) if found[1] else (0.2, 0.25)
    if not 0 <= low <= high <= 1:
        raise UsageError(f"shares of auto must be 0 <= LOW <= HIGH <= 1, got {low} and {high}")
    grid = step * np.arange(1, int(np.ceil(x.max() / step)) + 2)
    shares = [float(_early(_settled(x, e, delta), x.shape[1]).mean()) for e in grid]
    for e, share in zip(grid, shares, strict=True):
        if low <= share <= high:
            return float(round(e, 9))
    near = sorted(range(len(grid)), key=lambda i: abs(shares[i] - (low + high) / 2))[:2]
    told = " and ".join(f"{grid[i]:g} gives {shares[i]:.1%}" for i in sorted(near))
    where = "" if domain is None else f" in the domain {domain!r}"
    raise DataError(
        f"no eps in steps of {step:g} has {low:.0%} to {high:.0%} of the samples memorised before "
        f"the last checkpoint{where}: {told}; give eps as a number, a wider range or a finer step"
    )


def generalised_at(correct: Any, *, least: float = 0.8, errors: int = 1) -> Generalised:
    """The checkpoint from which on each test item is answered right (paper, §3.1).

    ``t# = min { t : correct[t], mean(correct[t:]) > least, at most `errors` wrong in correct[t:] }``.

    Args:
        correct: ``[N, T]`` 0 or 1, whether the item was answered right at each checkpoint.
        least: Paper: .8.
        errors: Paper: 1.

    Raises:
        DataError: Other values than 0 and 1.

    >>> generalised_at([[0, 1, 1, 0, 1, 1, 1], [0, 1, 0, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1, 0]]).at
    array([1, 1, 0])
    """
    x = _matrix(correct, "correct")
    if not np.isin(x, (0, 1)).all():
        raise DataError("correct must hold 0 and 1 only: was the item answered right?")
    if not 0 <= least < 1 or errors < 0:
        raise UsageError(f"least must lie in [0, 1) and errors not be negative: {least}, {errors}")
    left = np.arange(x.shape[1], 0, -1)
    right = np.cumsum(x[:, ::-1], axis=1)[:, ::-1]
    ok = (x == 1) & (right / left > least + 1e-12) & (left - right <= errors)
    return Generalised(np.where(ok.any(1), ok.argmax(1), NEVER))


def _matrix(values: Any, name: str) -> np.ndarray:
    try:
        x = np.asarray(values, dtype=float)
    except (ValueError, TypeError) as error:
        raise DataError(f"{name} must be [samples, checkpoints] numbers: {error}") from error
    if x.ndim != 2 or x.shape[0] < 1 or x.shape[1] < 2:
        raise DataError(f"{name} must be [samples, 2 or more checkpoints], got shape {x.shape}")
    if not np.isfinite(x).all():
        i, t = np.argwhere(~np.isfinite(x))[0]
        raise DataError(
            f"{name} holds NaN or infinity for sample {i} at checkpoint {t}; leave out the "
            "checkpoints from there on"
        )
    return x


@dataclass(frozen=True, eq=False)
class GroupMatch:
    """Training groups and the test groups that they are nearest to.

    Attributes:
        pairs: Checkpoints (memorised, generalised) of groups that belong together.
        similarity: Mean cosine of each pair.
        delay: Generalised minus memorised, in checkpoints.
        matrix: ``[train groups, test groups]`` mean cosines, in the order of `train` and `test`.
        train: Checkpoints of the training groups.
        test: Checkpoints of the test groups.
    """

    pairs: tuple[tuple[int, int], ...]
    similarity: tuple[float, ...]
    delay: tuple[int, ...]
    matrix: np.ndarray
    train: tuple[int, ...]
    test: tuple[int, ...]


def match_groups(train: Any, memorised: Any, test: Any, generalised: Any) -> GroupMatch:
    """Pair training groups with test groups by meaning, each with at most one other (paper, E.3).

    The matrix of mean cosines between all samples of a training group and all items of a test group
    is assigned by the Hungarian method, so that the sum of the chosen cosines is largest.

    Args:
        train: ``[N, D]`` embeddings of the training samples (paper: all-MiniLM-L6-v2, which
            `byheart.encoders` has).
        memorised: `Memorised`, or ``[N]`` checkpoints with -1 for never.
        test: ``[M, D]`` embeddings of the test items.
        generalised: `Generalised`, or ``[M]`` checkpoints.

    Raises:
        DataError: No group on one side, NaN or zero embeddings, or lengths that differ.
        MissingExtra: scipy is not installed.
    """
    assign = need("scipy.optimize", "audit").linear_sum_assignment
    a, at = _embedded(train, memorised, "train")
    b, bt = _embedded(test, generalised, "test")
    if a.shape[1] != b.shape[1]:
        raise DataError(f"embeddings are of {a.shape[1]} and {b.shape[1]} dimensions")
    groups, items = _groups(at), _groups(bt)
    for name, found in (("training", groups), ("test", items)):
        if not found:
            raise DataError(f"no {name} group: none of its samples got there in this run")
    # the mean cosine of two groups is the product of their mean unit vectors
    left = np.stack([a[rows].mean(0) for rows in groups.values()])
    right = np.stack([b[rows].mean(0) for rows in items.values()])
    matrix = left @ right.T
    rows, columns = assign(matrix, maximize=True)
    t, s = tuple(groups), tuple(items)
    pairs = tuple((t[i], s[j]) for i, j in zip(rows, columns, strict=True))
    return GroupMatch(
        pairs,
        tuple(float(matrix[i, j]) for i, j in zip(rows, columns, strict=True)),
        tuple(after - before for before, after in pairs),
        matrix,
        t,
        s,
    )


def _embedded(vectors: Any, at: Any, name: str) -> tuple[np.ndarray, np.ndarray]:
    x = np.asarray(vectors, dtype=float)
    times = np.asarray(getattr(at, "at", at))
    if x.ndim != 2 or times.shape != (len(x),):
        raise DataError(
            f"{name} embeddings must be [N, D] with N checkpoints, got {x.shape} and {times.shape}"
        )
    size = np.linalg.norm(x, axis=1)
    if not np.isfinite(x).all() or (size == 0).any():
        raise DataError(f"{name} embeddings hold NaN, infinity or a zero vector")
    return x / size[:, None], times.astype(int)


def uncontaminated(scores: Any, share: float = 0.1) -> np.ndarray:
    """Positions of test items that are kept when the likeliest members are dropped (paper, B.1).

    Args:
        scores: ``[M]`` membership scores, higher for members (paper: Min-K%++,
            `byheart.audits.membership.min_k_pp`).
        share: Dropped from the top (paper: .1).

    >>> uncontaminated([0.1, 5.0, 0.3, 0.2, 0.0, 0.4, 0.6, 0.5, 0.7, 0.8]).tolist()
    [0, 2, 3, 4, 5, 6, 7, 8, 9]
    """
    x = np.asarray(scores, dtype=float).ravel()
    if not x.size or not np.isfinite(x).all():
        raise DataError("scores must be finite numbers, one a test item")
    if not 0 <= share < 1:
        raise UsageError(f"share must lie in [0, 1), got {share}")
    drop = int(np.floor(share * len(x) + 1e-9))
    order = np.argsort(-x, kind="stable")
    return np.sort(order[drop:])
