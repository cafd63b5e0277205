"""What is kept of one checkpoint: where each sample was routed, and how well it was predicted."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from byheart.core.errors import DataError, OutputError, UsageError

__all__ = ["Snapshot", "permuted_experts"]

_FORMAT = 1


@dataclass(frozen=True, eq=False)
class Snapshot:
    """Routing of some samples at one checkpoint: what both metrics are computed from.

    Attributes:
        g: ``[N, L, K]`` float32, routing weights averaged over each sample's tokens.
        W: L router matrices ``[K, d]`` float32, one row an expert.
        nll: ``[N]`` mean negative log-probability a token, in nats; zeros where not measured.
        layers: ``[L]`` names of the routers.
        threshold: Share of a layer's weight that its part of a pathway covers (paper, §4.1: .7).
        top: Instead of that, so many of a layer's experts; 0 goes by the threshold. For neurons of a
            dense model, of which hundreds make up a share.
        step: Of the training, or -1.
        scoring: How the model turns router logits into weights.
        digest: Of the samples' tokens: snapshots with the same one are of the same samples.

    Raises:
        DataError: Shapes that do not fit, NaN, or rows that are no distributions.
    """

    g: np.ndarray
    W: tuple[np.ndarray, ...] = field(repr=False)
    nll: np.ndarray = field(repr=False)
    layers: tuple[str, ...] = ()
    threshold: float = 0.7
    step: int = -1
    scoring: str = "softmax"
    digest: str = ""
    top: int = 0

    def __post_init__(self) -> None:
        g, nll = np.asarray(self.g, np.float32), np.asarray(self.nll, float)
        if g.ndim != 3 or not g.size:
            raise DataError(f"g must be [samples, layers, experts], got shape {g.shape}")
        if len(self.W) != g.shape[1] or any(
            w.ndim != 2 or not 2 <= w.shape[0] <= g.shape[2] for w in self.W
        ):
            raise DataError(
                f"one router matrix [experts, width] a layer is needed: g has shape {g.shape}, the "
                f"matrices {[w.shape for w in self.W]}"
            )
        if len({w.shape[1] for w in self.W}) > 1:
            raise DataError(f"router matrices differ in width: {[w.shape for w in self.W]}")
        if nll.shape != (len(g),):
            raise DataError(f"nll must be one number a sample, got {nll.shape} for {len(g)}")
        for what, x in (("g", g), ("nll", nll), *((f"W[{i}]", w) for i, w in enumerate(self.W))):
            if not np.isfinite(x).all():
                where = tuple(int(i) for i in np.argwhere(~np.isfinite(x))[0])
                raise DataError(f"{what} holds NaN or infinity at {where}; the run has diverged")
        total = g.sum(-1, dtype=float)
        if (g < 0).any() or np.abs(total - 1).max() > 0.01:
            raise DataError(
                "routing weights must be distributions over the experts of each layer; they sum to "
                f"{total.min():.3f} to {total.max():.3f} and the least is {g.min():.3g}. Raw logits "
                "go through byheart.audits.pathways.token_means first"
            )
        _threshold(self.threshold)
        if not 0 <= self.top <= g.shape[2]:
            raise UsageError(f"top must lie in 0..{g.shape[2]}, got {self.top}")
        object.__setattr__(self, "g", g)
        object.__setattr__(self, "nll", nll)
        object.__setattr__(self, "W", tuple(np.asarray(w, np.float32) for w in self.W))
        if not self.layers:
            object.__setattr__(self, "layers", tuple(f"layer {i}" for i in range(g.shape[1])))

    @property
    def n(self) -> int:
        """N, the samples."""
        return len(self.g)

    @property
    def entropy(self) -> np.ndarray:
        """``[N, L]`` entropy of the routing weights, in nats: log K where all experts share alike."""
        g = self.g.astype(float)
        return -np.sum(g * np.log(np.where(g > 0, g, 1.0)), axis=-1)

    def take(self, samples: Sequence[int] | np.ndarray) -> Snapshot:
        """The snapshot of some of its samples (a group), by position or by mask.

        Raises:
            UsageError: If none is left, or there is no such position.
        """
        chosen = np.asarray(samples)
        try:
            picked = np.arange(self.n)[chosen] if chosen.size else np.zeros(0, int)
        except IndexError as error:
            raise UsageError(f"a group is positions below {self.n} or a mask: {error}") from error
        if not len(picked):
            raise UsageError("no sample is left in the group")
        digest = hashlib.sha256(f"{self.digest}{picked.tolist()}".encode()).hexdigest()[:16]
        return replace(self, g=self.g[picked], nll=self.nll[picked], digest=digest)

    def save(self, path: str | Path) -> Path:
        """Write numbers and names into one ``.npz`` file, which holds no pickle.

        Raises:
            OutputError: If it cannot be written.
        """
        path = Path(path)
        head = {
            "format": _FORMAT, "layers": list(self.layers), "threshold": self.threshold,
            "step": self.step, "scoring": self.scoring, "digest": self.digest, "top": self.top,
        }  # fmt: skip
        arrays: Any = {f"W{i}": w for i, w in enumerate(self.W)}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(path, "wb") as file:
                np.savez(file, head=np.array(json.dumps(head)), g=self.g, nll=self.nll, **arrays)
        except OSError as error:
            raise OutputError(f"cannot write {path}: {error.strerror or error}") from error
        return path

    @classmethod
    def load(cls, path: str | Path) -> Snapshot:
        """Read what `save` wrote.

        Raises:
            DataError: If it is no such file.
        """
        try:
            with np.load(path, allow_pickle=False) as found:
                head: dict[str, Any] = json.loads(str(found["head"]))
                if head.pop("format") != _FORMAT:
                    raise DataError(f"{path} is of another format; measure it anew")
                W = tuple(found[f"W{i}"] for i in range(len(head["layers"])))
                head["layers"] = tuple(head["layers"])
                return cls(found["g"], W, found["nll"], **head)
        except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
            if isinstance(error, DataError):
                raise
            raise DataError(f"{path} is no snapshot of pathways: {error}") from error


def _threshold(value: float) -> None:
    if not 0 < value < 1:
        raise UsageError(f"threshold is a share in (0, 1), got {value} (paper: 0.7)")


def permuted_experts(snap: Snapshot, *, seed: int = 0, together: bool = False) -> Snapshot:
    """The null control: every sample's routing with the experts of each layer drawn anew.

    Lengths of paths and routing entropies stay exactly what they were, and what samples or layers
    have in common is gone. A metric that moves as much under this null as it does in truth moves
    with length and entropy alone.

    Args:
        snap: A snapshot.
        seed: Of the drawing.
        together: Renumber the experts of a layer alike for all samples, in `g` and in `W`: then
            nothing but names has changed, and no metric but ``unit="char"`` may move.
    """
    rng = np.random.default_rng([seed, 2506])
    g = np.zeros_like(snap.g)
    W = []
    for layer, matrix in enumerate(snap.W):
        k = len(matrix)
        if together:
            order = rng.permutation(k)
            g[:, layer, :k] = snap.g[:, layer, :k][:, order]
            W.append(matrix[order])
        else:
            picks = rng.random((snap.n, k)).argsort(1)
            g[:, layer, :k] = np.take_along_axis(snap.g[:, layer, :k], picks, 1)
            W.append(matrix)
    return replace(snap, g=g, W=tuple(W))
