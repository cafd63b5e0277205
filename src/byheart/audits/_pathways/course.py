"""The course of both metrics over checkpoints, and what it has to do with accuracy."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from byheart.audits._pathways.consistency import consistency
from byheart.audits._pathways.distance import pathway_distance
from byheart.audits._pathways.snapshot import Snapshot, permuted_experts
from byheart.core.errors import DataError, UsageError

__all__ = [
    "Correlation",
    "correlate",
    "correlations",
    "course",
    "measures",
    "phase",
    "sustained_rise",
]

METRICS = (
    "distance",
    "raw_distance",
    "char_distance",
    "mean_cosine",
    "centred_cosine",
    "consistency",
)
"""What is followed: distance is in experts and divided by the longer path."""
CONTROLS = ("entropy", "length", "step")
"""What could move a metric without any reorganisation."""
_EXACT = 7
"""Up to so many checkpoints all orders are enumerated."""
_FLAT = 1e-9
"""Below this share of its variance a series is explained by its controls altogether."""


def measures(
    snap: Snapshot,
    *,
    pairs: int | None = 10_000,
    seed: int = 0,
    null: bool = True,
    per_layer: bool = False,
) -> dict[str, float]:
    """Both metrics of one snapshot in all readings, with what they are controlled by.

    Args:
        snap: A snapshot.
        pairs: At most so many pairs of samples.
        seed: Of pairs and null.
        null: Also under the null control (`permuted_experts`).
        per_layer: Also ``distance/0``, ``distance/1``, ... for each layer, and ``cosine/0``, ... for
            each layer and the one behind it.

    Returns:
        ``distance`` (experts, by the longer path), ``raw_distance`` (experts), ``char_distance``,
        ``mean_cosine``, ``centred_cosine`` (without what a router's rows have in common),
        ``consistency`` (1 - C_i over samples where it has a meaning, else NaN),
        ``distance_se``, ``cosine_se``, ``length`` (experts a path), ``entropy`` (nats), ``loss`` (mean nll), ``step``, and
        ``null_distance``, ``null_cosine``. Cosines are NaN for a model with one MoE layer.
    """
    options: dict[str, Any] = {"pairs": pairs, "seed": seed}
    whole = pathway_distance(snap, normalize="length", per_layer=per_layer, **options)
    out = {
        "step": float(snap.step),
        "loss": float(snap.nll.mean()),
        "distance": whole.mean,
        "distance_se": whole.se,
        "raw_distance": pathway_distance(snap, **options).mean,
        "char_distance": pathway_distance(snap, unit="char", **options).mean,
        "length": whole.length,
        "entropy": whole.entropy,
        **_cosines(snap),
    }
    if per_layer:
        out |= {f"distance/{i}": d for i, d in enumerate(whole.per_layer)}
        if snap.g.shape[1] > 1:
            mean = consistency(snap).cosines.mean(0)
            out |= {f"cosine/{i}": float(c) for i, c in enumerate(mean)}
    if null:
        chance = permuted_experts(snap, seed=seed)
        out["null_distance"] = pathway_distance(chance, normalize="length", **options).mean
        out["null_cosine"] = _cosines(chance)["mean_cosine"]
    return out


def _cosines(snap: Snapshot) -> dict[str, float]:
    if snap.g.shape[1] < 2:
        names = ("mean_cosine", "cosine_se", "centred_cosine", "consistency")
        return dict.fromkeys(names, math.nan)
    found = consistency(snap)
    told = found.to_dict()
    value = told["consistency"]
    spread = float(found.mean_cosine.std(ddof=1)) if snap.n > 1 else math.nan
    return {
        "mean_cosine": told["mean_cosine"],
        "cosine_se": spread / math.sqrt(snap.n),
        "centred_cosine": float(consistency(snap, centred=True).mean_cosine.mean()),
        "consistency": math.nan if value is None else value,
    }


def course(
    snapshots: Iterable[Snapshot],
    *,
    pairs: int | None = 10_000,
    seed: int = 0,
    null: bool = True,
    per_layer: bool = False,
) -> list[dict[str, float]]:
    """`measures` of every snapshot of a run, one at a time: an iterator is never held whole.

    Raises:
        DataError: Snapshots of other layers, experts or samples than the first.
    """
    out: list[dict[str, float]] = []
    first: tuple[Any, ...] | None = None
    for i, snap in enumerate(snapshots):
        shape = (snap.g.shape[1:], [len(w) for w in snap.W], snap.digest, snap.n)
        first = first or shape
        if shape[:2] != first[:2]:
            raise DataError(
                f"snapshot {i} is of a model with {shape[0][0]} MoE layers and {shape[0][1]} experts, "
                f"the first of one with {first[0][0]} and {first[0][1]}; a course needs one model's "
                "checkpoints"
            )
        if shape[2:] != first[2:]:
            raise DataError(
                f"snapshot {i} is of other samples than the first; use the same probe for all"
            )
        out.append(measures(snap, pairs=pairs, seed=seed, null=null, per_layer=per_layer))
    return out


def phase(rows: Sequence[Mapping[str, float]], *, window: int = 3, delta: float = 0.05) -> str:
    """What a run is doing, by its last measurements: for alarms, not for verdicts.

    Args:
        rows: As `course` and `PathwayCallback.history` have them.
        window: Measurements that are looked back over.
        delta: How far the loss may move in them and count as settled (paper, §3.1: .05).

    Returns:
        ``"early"`` (fewer measurements than the window), ``"learning"`` (the loss moves),
        ``"reorganising"`` (it has settled, and pathways become more alike by more than twice the
        standard error), ``"drifting"`` (they become less alike) or ``"still"``.

    >>> row = {"loss": 0.1, "distance": 0.8, "distance_se": 0.01}
    >>> phase([row, row, {**row, "distance": 0.7}])
    'reorganising'
    """
    if window < 2:
        raise UsageError(f"window must be at least 2 measurements, got {window}")
    if len(rows) < window:
        return "early"
    last = rows[-window:]
    losses = [r["loss"] for r in last]
    if max(losses) - min(losses) > delta:
        return "learning"
    moved = last[-1]["distance"] - last[0]["distance"]
    error = 2 * math.hypot(last[0]["distance_se"], last[-1]["distance_se"])
    if not abs(moved) > error:
        return "still"
    return "reorganising" if moved < 0 else "drifting"


def sustained_rise(accuracy: Any, *, tolerance: float = 0.05) -> int:
    """Position from which accuracy is on its way up for good (paper, §4.3).

    It is the last checkpoint that is still within `tolerance` of the range above the lowest; later
    ones never come back to it.

    >>> sustained_rise([0.1, 0.12, 0.1, 0.3, 0.2, 0.6, 0.9])
    2
    """
    x = np.asarray(accuracy, dtype=float).ravel()
    if not x.size or not np.isfinite(x).all():
        raise DataError("accuracy must be finite numbers, one a checkpoint")
    low, high = float(x.min()), float(x.max())
    return int(np.flatnonzero(x <= low + tolerance * (high - low))[-1])


@dataclass(frozen=True)
class Correlation:
    """How a metric goes with accuracy over checkpoints.

    Attributes:
        metric: Its name.
        n: Checkpoints.
        pearson: r; None where a series does not move.
        spearman: rho, ties at their mean rank.
        p_pearson: Two-sided, over all orders of the checkpoints up to 7, else over random ones. It
            takes checkpoints as exchangeable, which a drifting run's are not: any two trends
            correlate. See `partial`.
        p_spearman: Likewise.
        partial: Pearson's r with a control taken out of both series by least squares, by the
            control's name; ``"entropy+length"`` takes both out. None where the controls leave no
            variance, or there are too few checkpoints.
    """

    metric: str
    n: int
    pearson: float | None
    spearman: float | None
    p_pearson: float | None
    p_spearman: float | None
    partial: dict[str, float | None]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return asdict(self)

    def __str__(self) -> str:
        if self.pearson is None or self.spearman is None:
            return f"{self.metric}: does not move over {self.n} checkpoints"
        return (
            f"{self.metric}: r = {self.pearson:+.3f} (p = {self.p_pearson:.3g}), "
            f"rho = {self.spearman:+.3f} (p = {self.p_spearman:.3g}), n = {self.n}"
        )


def correlate(
    values: Any,
    accuracy: Any,
    *,
    metric: str = "metric",
    controls: Mapping[str, Any] | None = None,
    permutations: int = 10_000,
    seed: int = 0,
) -> Correlation:
    """Pearson's and Spearman's correlation of a metric with accuracy over checkpoints.

    Args:
        values: ``[T]`` the metric.
        accuracy: ``[T]``.
        metric: Its name.
        controls: ``[T]`` series by name, such as entropy, path length and step.
        permutations: Where there are more than 7 checkpoints.
        seed: Of the permutations.

    Raises:
        DataError: Fewer than three checkpoints, NaN, or series of different lengths.

    >>> c = correlate([4.0, 3.0, 2.0, 1.0], [0.1, 0.2, 0.3, 0.4], metric="distance")
    >>> round(c.pearson, 6), round(c.p_spearman, 4)
    (-1.0, 0.0833)
    """
    x, y = _series(values, metric), _series(accuracy, "accuracy")
    if len(x) != len(y):
        raise DataError(f"{metric} has {len(x)} checkpoints and accuracy {len(y)}")
    if len(x) < 3:
        raise DataError(f"a correlation needs at least three checkpoints, got {len(x)}")
    if permutations < 1:
        raise UsageError(f"permutations must be at least 1, got {permutations}")
    others = {k: _series(v, k) for k, v in (controls or {}).items()}
    for name, series in others.items():
        if len(series) != len(x):
            raise DataError(f"control {name} has {len(series)} checkpoints, {metric} {len(x)}")
    partial: dict[str, float | None] = {k: _partial(x, y, [v]) for k, v in others.items()}
    if "entropy" in others and "length" in others:
        partial["entropy+length"] = _partial(x, y, [others["entropy"], others["length"]])
    rx, ry = _ranks(x), _ranks(y)
    r, rho = _pearson(x, y), _pearson(rx, ry)
    return Correlation(
        metric,
        len(x),
        r,
        rho,
        None if r is None else _permuted(x, y, r, permutations, seed),
        None if rho is None else _permuted(rx, ry, rho, permutations, seed),
        partial,
    )


def correlations(
    rows: Sequence[Mapping[str, float]], accuracy: Sequence[float], *, seed: int = 0
) -> list[Correlation]:
    """Every metric, control and baseline that was measured in all rows, against accuracy.

    Args:
        rows: What `course` gives; further numbers in them (``train_loss``, ``val_loss``, ...) are
            baselines. Of ``train_loss`` the moving average over the last three is one too, as
            ``train_loss_average``.
        accuracy: One a row.
        seed: Of the permutations.
    """
    averaged = [r.get("train_loss", math.nan) for r in rows]
    averaged = [float(np.mean(averaged[max(0, i - 2) : i + 1])) for i in range(len(averaged))]
    rows = [
        {**r, "train_loss_average": a} if "train_loss" in r else r
        for r, a in zip(rows, averaged, strict=True)
    ]
    controls = {k: [r[k] for r in rows] for k in CONTROLS}
    names = dict.fromkeys([*METRICS, *CONTROLS, *(k for r in rows for k in r)])
    out = []
    for name in names:
        if name.endswith("_se") or "/" in name:
            continue
        values = [r.get(name, math.nan) for r in rows]
        if name == "accuracy" or not all(math.isfinite(v) for v in values):
            continue
        others = controls if name in METRICS else {}
        out.append(correlate(values, accuracy, metric=name, controls=others, seed=seed))
    return out


def _series(values: Any, name: str) -> np.ndarray:
    try:
        x = np.asarray(values, dtype=float).ravel()
    except (ValueError, TypeError) as error:
        raise DataError(f"{name} must be numbers, one a checkpoint: {error}") from error
    if not np.isfinite(x).all():
        raise DataError(
            f"{name} holds NaN or infinity at checkpoint {int(np.argmin(np.isfinite(x)))}; leave "
            "that checkpoint out"
        )
    return x


def _ranks(x: np.ndarray) -> np.ndarray:
    """Ranks from 1, ties at their mean."""
    values, at, count = np.unique(x, return_inverse=True, return_counts=True)
    del values
    ends = np.cumsum(count)
    return (ends - (count - 1) / 2)[at]


def _pearson(x: np.ndarray, y: np.ndarray) -> float | None:
    a, b = x - x.mean(), y - y.mean()
    # what is left of a constant series after its mean is rounding
    if np.ptp(x) <= 1e-12 * np.abs(x).max() or np.ptp(y) <= 1e-12 * np.abs(y).max():
        return None
    return float(np.clip(a @ b / math.sqrt((a @ a) * (b @ b)), -1, 1))


def _permuted(x: np.ndarray, y: np.ndarray, r: float, permutations: int, seed: int) -> float:
    """Two-sided p of |r| over orders of y."""
    n = len(x)
    a, b = x - x.mean(), y - y.mean()
    size = math.sqrt((a @ a) * (b @ b))
    if n <= _EXACT:
        orders = np.array(list(itertools.permutations(range(n))))
        hits = np.abs(b[orders] @ a) / size >= abs(r) - 1e-9
        return float(hits.mean())
    rng = np.random.default_rng([seed, 17])
    orders = rng.random((permutations, n)).argsort(1)
    hits = int((np.abs(b[orders] @ a) / size >= abs(r) - 1e-9).sum())
    return (hits + 1) / (permutations + 1)


def _partial(x: np.ndarray, y: np.ndarray, controls: Sequence[np.ndarray]) -> float | None:
    if len(x) < len(controls) + 3:
        return None
    design = np.stack([np.ones(len(x)), *[_scaled(c) for c in controls]], axis=1)
    left = []
    for series in (x, y):
        rest = series - design @ np.linalg.lstsq(design, series, rcond=None)[0]
        spread = float(((series - series.mean()) ** 2).sum())
        if spread == 0 or float(rest @ rest) <= _FLAT * spread:
            return None
        left.append(rest)
    return _pearson(left[0], left[1])


def _scaled(c: np.ndarray) -> np.ndarray:
    spread = float(c.std())
    return (c - c.mean()) / spread if spread > 0 else np.zeros_like(c)
