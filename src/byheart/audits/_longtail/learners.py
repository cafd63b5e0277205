"""Whatever can be trained, behind one call: scikit-learn estimators, torch functions, batched nets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from byheart.core.errors import ModelError, UsageError

__all__ = ["Learner", "NearestNeighbour", "as_learner"]


@runtime_checkable
class Learner(Protocol):
    """What the estimator trains. A class with this method is used as it is."""

    def train_many(
        self, x: Any, y: Any, masks: Any, seeds: Sequence[int], x_all: Any, order: int = 0
    ) -> np.ndarray:
        """Train one model for each row of masks ``[R, n]``; return labels ``[R, len(x_all)]``."""
        ...


@dataclass(frozen=True)
class _Sklearn:
    """A fresh clone an estimator and run; ``random_state`` is set where the estimator has one."""

    estimator: Any

    def train_many(
        self, x: Any, y: Any, masks: Any, seeds: Sequence[int], x_all: Any, order: int = 0
    ) -> np.ndarray:
        from sklearn.base import clone

        flat, flat_all = _two_sides(x), _two_sides(x_all)
        out = []
        for mask, seed in zip(masks, seeds, strict=True):
            model = clone(self.estimator)
            states = {k: int(seed) for k in model.get_params() if k.endswith("random_state")}
            model.set_params(**states).fit(flat[mask], y[mask])
            out.append(np.asarray(model.predict(flat_all)))
        return np.stack(out)


@dataclass(frozen=True)
class _Function:
    """A function of (x, y, seed) that returns a torch module, a fitted model, or a predictor."""

    train: Callable[..., Any]

    def train_many(
        self, x: Any, y: Any, masks: Any, seeds: Sequence[int], x_all: Any, order: int = 0
    ) -> np.ndarray:
        labels = np.unique(y)
        return np.stack(
            [
                _labels(self.train(x[mask], y[mask], seed=int(seed)), x_all, labels)
                for mask, seed in zip(masks, seeds, strict=True)
            ]
        )


def _two_sides(x: Any) -> Any:
    """Numbers of more than two dimensions as rows; anything else as it is."""
    return x.reshape(len(x), -1) if getattr(x, "ndim", 0) > 2 else x


def _labels(model: Any, x: Any, labels: np.ndarray) -> np.ndarray:
    """Predicted labels of a trained thing: in eval mode, without augmentation.

    Scores ``[n, K]`` are taken in the order of the sorted labels of the data.
    """
    import sys

    torch = sys.modules.get("torch")  # whoever returns a module has imported it
    if torch is not None and isinstance(model, torch.nn.Module):
        was = model.training
        model.eval()
        weight = next(model.parameters(), None)
        device = "cpu" if weight is None else weight.device
        kind = torch.float32 if weight is None else weight.dtype
        with torch.no_grad():
            parts = [
                model(torch.as_tensor(x[i : i + 1024], dtype=kind, device=device)).float().cpu()
                for i in range(0, len(x), 1024)
            ]
        model.train(was)
        found = torch.cat(parts).numpy()
    elif hasattr(model, "predict"):
        found = np.asarray(model.predict(x))
    elif callable(model):
        found = model(x)
        found = np.asarray(found.detach().cpu() if hasattr(found, "detach") else found)
    else:
        raise UsageError(
            "a training function returns a torch module, a model with predict, or a function from "
            f"examples to labels; got {type(model).__name__}"
        )
    if found.dtype.kind == "f" and not np.isfinite(found).all():
        raise ModelError("the trained model answers with numbers that are not finite")
    if found.ndim == 2 and found.shape == (len(x), len(labels)):
        return labels[found.argmax(1)]
    return found


@dataclass(frozen=True)
class NearestNeighbour:
    """1-nearest neighbour (Euclidean), which takes the label of the nearest example of its subset.

    All distances are ordered once; a run only looks for the first neighbour that it was given. Among
    equally near examples the one that comes first in the data counts. `exact_nearest` computes
    what its runs estimate.

    Args:
        together: Runs that share one ordering of the distances.
    """

    together: int = 512

    def train_many(
        self, x: Any, y: Any, masks: Any, seeds: Sequence[int], x_all: Any, order: int = 0
    ) -> np.ndarray:
        near = self._order(np.asarray(x), np.asarray(x_all))
        masks = np.asarray(masks, bool)
        out = np.empty((len(masks), len(x_all)), dtype=np.asarray(y).dtype)
        for r, mask in enumerate(masks):
            first = mask[near].argmax(1)
            out[r] = np.asarray(y)[near[np.arange(len(near)), first]]
            missing = ~mask[near[np.arange(len(near)), first]]
            for z in np.flatnonzero(missing):  # none of the nearest 64 is there: look at all
                gap = distances(np.asarray(x), np.asarray(x_all)[z : z + 1])[0]
                out[r, z] = np.asarray(y)[np.where(mask, gap, np.inf).argmin()]
        return out

    @staticmethod
    def _order(x: np.ndarray, x_all: np.ndarray, most: int = 64) -> np.ndarray:
        """The nearest `most` examples of each point, nearest first: ``[len(x_all), most]``."""
        out = []
        for begin in range(0, len(x_all), 256):
            gap = distances(x, x_all[begin : begin + 256])
            out.append(np.argsort(gap, axis=1, kind="stable")[:, :most])
        return np.concatenate(out)


def distances(x: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Squared Euclidean distances ``[len(points), len(x)]``, in float64."""
    a = np.asarray(points, np.float64).reshape(len(points), -1)
    b = np.asarray(x, np.float64).reshape(len(x), -1)
    # centred, so that small distances far from the origin keep their digits
    middle = b.mean(0)
    a, b = a - middle, b - middle
    gap = (a**2).sum(1)[:, None] - 2 * a @ b.T + (b**2).sum(1)
    return np.maximum(gap, 0)


def as_learner(train: Any) -> Learner:
    """A learner out of an estimator, a function, or a learner.

    Raises:
        UsageError: If it is none of them.
    """
    if isinstance(train, Learner) and not isinstance(train, type):
        return train
    if hasattr(train, "fit") and hasattr(train, "get_params") and not isinstance(train, type):
        return _Sklearn(train)
    if callable(train) and not isinstance(train, type):
        return _Function(train)
    hint = "; make an instance of it" if isinstance(train, type) else ""
    raise UsageError(
        "what is trained is a scikit-learn estimator, a function train(x, y, seed), or a learner with "
        f"train_many; got {train!r:.80}{hint}"
    )
