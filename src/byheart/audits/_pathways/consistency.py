"""Pathway consistency: how alike a sample's routing is from one layer to the next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from byheart.audits._pathways.snapshot import Snapshot
from byheart.core.errors import CapabilityError

__all__ = ["PathwayConsistency", "consistency"]

_FLOOR = 1e-8
"""Added to the largest cosine (paper, §4.2)."""
_ROWS = 1 << 22
"""Numbers of routing embeddings held at a time."""


@dataclass(frozen=True, eq=False)
class PathwayConsistency:
    """Consistency of every sample.

    Attributes:
        inconsistency: ``[N]`` the paper's C_i as printed: larger is more erratic.
        consistency: ``[N]`` 1 - C_i: what rises in the paper's tables and figures.
        mean_cosine: ``[N]`` mean cosine of neighbouring layers, not normalised: the one to monitor
            small models by.
        cosines: ``[N, L - 1]``.
        valid: ``[N]`` whether the sample's largest cosine is above 0. Elsewhere the normalisation
            has no meaning, and C_i, though finite, says nothing.
    """

    inconsistency: np.ndarray
    consistency: np.ndarray
    mean_cosine: np.ndarray
    cosines: np.ndarray
    valid: np.ndarray

    def to_dict(self) -> dict[str, Any]:
        """Group means, JSON-ready; those of C_i over valid samples, None where there is none."""
        some = bool(self.valid.any())
        return {
            "consistency": float(self.consistency[self.valid].mean()) if some else None,
            "inconsistency": float(self.inconsistency[self.valid].mean()) if some else None,
            "mean_cosine": float(self.mean_cosine.mean()),
            "per_layer": [float(c) for c in self.cosines.mean(0)],
            "valid": int(self.valid.sum()),
            "samples": len(self.valid),
        }


def consistency(snap: Snapshot, *, centred: bool = False) -> PathwayConsistency:
    """Consistency of each sample's pathway over the layers (paper, §4.2).

    With routing embeddings ``e(i, l) = sum_k g(i, l, k) W[l][k]`` and
    ``c(i, l) = cos(e(i, l), e(i, l + 1))``::

        C_i = 1 - mean_l c(i, l) / (max_l c(i, l) + 1e-8)

    As printed C_i is larger for more erratic paths, and the tables correlate its opposite; both are
    given, and the mean cosine without the maximum, which random routers can turn negative.

    A softmax router does the same with one vector added to all rows of W, so what its rows have in
    common is no part of the routing; it moves all the cosines nevertheless. `centred` takes it out.

    Args:
        snap: A snapshot of a model with at least two MoE layers.
        centred: Subtract each W's mean row first. False is the paper's.

    Raises:
        CapabilityError: One MoE layer has no neighbour.

    >>> W = (np.eye(2), np.eye(2), np.eye(2))
    >>> snap = Snapshot(np.full((1, 3, 2), 0.5), W, np.zeros(1))
    >>> float(consistency(snap).mean_cosine[0].round(6)), abs(float(consistency(snap).inconsistency[0])) < 1e-7
    (1.0, True)
    """
    n, layers, _ = snap.g.shape
    if layers < 2:
        raise CapabilityError(
            "consistency compares neighbouring MoE layers, and this model has one; "
            "pathway_distance works with one"
        )
    cosines = np.zeros((n, layers - 1))
    step = max(1, _ROWS // snap.W[0].shape[1])
    for begin in range(0, n, step):
        rows = slice(begin, begin + step)
        last = _unit(snap, 0, rows, centred)
        for layer in range(1, layers):
            here = _unit(snap, layer, rows, centred)
            cosines[rows, layer - 1] = np.einsum("nd,nd->n", last, here)
            last = here
    largest = cosines.max(1)
    below = largest + _FLOOR
    below = np.where(below == 0, _FLOOR, below)
    value = 1 - cosines.mean(1) / below
    return PathwayConsistency(value, 1 - value, cosines.mean(1), cosines, largest > 0)


def _unit(snap: Snapshot, layer: int, rows: slice, centred: bool) -> np.ndarray:
    """Routing embeddings ``[n, d]`` of length 1; zero where there is none."""
    W = snap.W[layer].astype(float)
    W = W - W.mean(0) if centred else W
    e = snap.g[rows, layer, : len(W)].astype(float) @ W
    size = np.linalg.norm(e, axis=1, keepdims=True)
    return np.divide(e, size, out=np.zeros_like(e), where=size > 0)
