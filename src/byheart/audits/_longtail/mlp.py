"""Many small multilayer perceptrons trained at once, each on its own subset of shared examples.

Shapes: R models, B rows of a step, D inputs, H units, K classes. The first layer of all models is one
matrix product, since they share their inputs: [B, D] @ [D, R*H]. Later layers are batched products.
Gradients are written out, which a test holds against autograd; the optimiser is torch's own.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from byheart.core.errors import ModelError, UsageError, need

if TYPE_CHECKING:
    import torch

__all__ = ["BatchedMLP", "MLPs"]


@dataclass(frozen=True)
class BatchedMLP:
    """A learner that trains `together` perceptrons in the time that a few take one after another.

    Every model minimises its own mean cross-entropy over its own examples: rows outside a model's
    subset have no weight. Models that are trained together share the order of the rows and differ in
    subset and initial weights (torch's `nn.Linear` initialisation, from the model's own seed).

    Args:
        hidden: Units of each hidden layer, ReLU between.
        lr: Learning rate.
        epochs: Passes over the data.
        batch: Rows of a step out of all examples, so that a model whose subset is the share p of them
            sees about p * batch of its own. None takes all rows at once, a step a pass.
        optimizer: ``"adamw"`` or ``"sgd"``.
        weight_decay: As in torch.
        momentum: Of SGD.
        together: Models in one group.
        device: Of torch; the CPU by default, where small nets are quickest.

    >>> from sklearn.datasets import load_iris
    >>> x, y = load_iris(return_X_y=True)
    >>> nets = BatchedMLP(hidden=(8,), epochs=40).fit(x, y, np.ones((3, len(y)), bool), seeds=[0, 1, 2])
    >>> nets.predict(x).shape
    (3, 150)
    """

    hidden: tuple[int, ...] = (128,)
    lr: float = 1e-2
    epochs: int = 60
    batch: int | None = 256
    optimizer: str = "adamw"
    weight_decay: float = 0.01
    momentum: float = 0.9
    together: int = 32
    device: str = "cpu"

    def __post_init__(self) -> None:
        object.__setattr__(self, "hidden", tuple(self.hidden))
        if not self.hidden or min(self.hidden) < 1:
            raise UsageError(f"hidden must name at least one layer of units, got {self.hidden}")
        if self.lr <= 0 or self.epochs < 1 or self.together < 1 or self.weight_decay < 0:
            raise UsageError(
                f"lr must be positive, epochs and together at least 1, weight_decay not negative; got "
                f"{self.lr}, {self.epochs}, {self.together}, {self.weight_decay}"
            )
        if self.batch is not None and self.batch < 1:
            raise UsageError(f"batch must be at least 1, or None for all rows, got {self.batch}")
        if self.optimizer not in ("adamw", "sgd"):
            raise UsageError(f"optimizer is 'adamw' or 'sgd', got {self.optimizer!r}")

    def fit(
        self,
        x: Any,
        y: Any,
        masks: Any,
        seeds: Sequence[int],
        *,
        order: int = 0,
        classes: Sequence[Any] | None = None,
    ) -> MLPs:
        """Train one model for each row of `masks`.

        Args:
            x: ``[n, ...]`` numbers; flattened.
            y: ``[n]`` labels.
            masks: ``[R, n]``, True where a model trains on an example.
            seeds: ``[R]``, of the initial weights.
            order: Seed of the order of rows, which all models share.
            classes: All labels there are; those of `y` if left out.

        Raises:
            UsageError: Shapes that do not fit, an empty subset, or seeds too few.
            ModelError: Weights that are no numbers any more; the learning rate is too high.
        """
        torch = need("torch", "torch")
        data = torch.as_tensor(np.asarray(x, np.float32).reshape(len(x), -1), device=self.device)
        known, codes = np.unique(np.asarray(y), return_inverse=True)
        if classes is not None:
            known = np.asarray(classes)
            codes = np.searchsorted(known, np.asarray(y))
        mask = np.asarray(masks, dtype=bool)
        if mask.ndim != 2 or mask.shape[1] != len(data) or len(seeds) != len(mask):
            raise UsageError(
                f"masks are [models, {len(data)}] with a seed each, got {mask.shape} and {len(seeds)}"
            )
        if not mask.any(1).all():
            raise UsageError(f"model {int(np.flatnonzero(~mask.any(1))[0])} has no example")
        target = torch.nn.functional.one_hot(
            torch.as_tensor(codes.astype(np.int64), device=self.device), len(known)
        ).float()
        share = torch.as_tensor(mask, dtype=torch.float32, device=self.device).t().contiguous()
        weights = self._initial(data.shape[1], len(known), seeds)
        self._train(data, target, share, weights, order)
        bad = ~torch.stack([w.isfinite().flatten(1).all(1) for w in _by_model(weights)]).all(0)
        if bad.any():
            at = int(bad.nonzero()[0])
            raise ModelError(
                f"training of model {at} (seed {seeds[at]}) ended in weights that are no numbers; "
                f"lower lr ({self.lr}) or scale the inputs"
            )
        return MLPs([w.detach() for w in weights], known)

    def train_many(
        self, x: Any, y: Any, masks: Any, seeds: Sequence[int], x_all: Any, order: int = 0
    ) -> np.ndarray:
        """What `MemorizationEstimator` calls: predicted labels ``[R, len(x_all)]``."""
        return self.fit(x, y, masks, seeds, order=order).predict(x_all)

    def _initial(self, inputs: int, classes: int, seeds: Sequence[int]) -> list[torch.Tensor]:
        """First layer [D, R, H] and [R, H]; others [R, out, in] and [R, out]."""
        import torch

        sizes = (inputs, *self.hidden, classes)
        layers: list[list[torch.Tensor]] = [[] for _ in range(2 * (len(sizes) - 1))]
        for seed in seeds:
            generator = torch.Generator().manual_seed(int(seed))
            for i, (a, b) in enumerate(itertools.pairwise(sizes)):
                bound = 1 / math.sqrt(a)
                for j, shape in ((2 * i, (b, a)), (2 * i + 1, (b,))):
                    layers[j].append((2 * torch.rand(shape, generator=generator) - 1) * bound)
        out = [torch.stack(each) for each in layers]
        out[0] = out[0].permute(2, 0, 1).contiguous()
        return [w.to(self.device) for w in out]

    def _train(
        self,
        data: torch.Tensor,
        target: torch.Tensor,
        share: torch.Tensor,
        weights: list[torch.Tensor],
        order: int,
    ) -> None:
        import torch

        for w in weights:
            w.grad = torch.zeros_like(w)
        kind: Any = torch.optim.AdamW
        more: dict[str, Any] = {}
        if self.optimizer == "sgd":
            kind, more = torch.optim.SGD, {"momentum": self.momentum}
        step = kind(weights, lr=self.lr, weight_decay=self.weight_decay, fused=True, **more)
        n = len(data)
        size = n if self.batch is None else min(self.batch, n)
        shuffle = torch.Generator().manual_seed(int(order))
        for _ in range(self.epochs):
            rows = torch.arange(n) if size == n else torch.randperm(n, generator=shuffle)
            for begin in range(0, n, size):
                at = rows[begin : begin + size].to(self.device)
                gradients(weights, data[at], target[at], share[at])
                step.step()


class MLPs:
    """R trained perceptrons.

    Args:
        weights: As `BatchedMLP` lays them out: first [D, R, H], [R, H], then [R, out, in], [R, out].
        classes: Label of each output.
    """

    def __init__(self, weights: list[torch.Tensor], classes: np.ndarray) -> None:
        self.weights, self.classes = weights, classes

    def __len__(self) -> int:
        return self.weights[0].shape[1]

    def logits(self, x: Any, rows: int = 2048) -> torch.Tensor:
        """``[R, n, K]``, computed `rows` examples at a time."""
        import torch

        data = torch.as_tensor(np.asarray(x, np.float32).reshape(len(x), -1))
        parts = [
            forward(self.weights, data[i : i + rows].to(self.weights[0].device))[-1].transpose(1, 2)
            for i in range(0, len(data), rows)
        ]
        return torch.cat(parts, 1)

    def predict(self, x: Any) -> np.ndarray:
        """Labels ``[R, n]``."""
        return self.classes[self.logits(x).argmax(-1).cpu().numpy()]

    def module(self, model: int) -> torch.nn.Sequential:
        """One of the models as an ordinary torch module."""
        import torch

        layers: list[torch.nn.Module] = []
        for w, b in zip(self.weights[::2], self.weights[1::2], strict=True):
            mine = w[:, model].t() if not layers else w[model]
            linear = torch.nn.Linear(mine.shape[1], mine.shape[0])
            linear.weight.data.copy_(mine)
            linear.bias.data.copy_(b[model])
            layers += [*([torch.nn.ReLU()] if layers else []), linear]
        return torch.nn.Sequential(*layers)


def _by_model(weights: list[torch.Tensor]) -> list[torch.Tensor]:
    """The same tensors with the model first."""
    return [weights[0].transpose(0, 1), *weights[1:]]


def forward(weights: list[torch.Tensor], x: torch.Tensor) -> list[torch.Tensor]:
    """Activations: first hidden layer ``[B, R, H]``, further ones ``[R, B, H]``, logits ``[R, K, B]``.

    Logits lie with the rows last: a product whose last side is K = 10 is a third as fast.
    """
    import torch

    w, b = weights[0], weights[1]
    inputs, models, units = w.shape
    first = torch.addmm(b.reshape(-1), x, w.view(inputs, models * units)).relu_()
    out = [first.view(len(x), models, units)]
    below = out[0].transpose(0, 1)
    last = len(weights) // 2 - 1
    for i in range(1, last):
        w, b = weights[2 * i], weights[2 * i + 1]
        below = torch.baddbmm(b[:, None], below, w.transpose(1, 2)).relu_()
        out.append(below)
    w, b = weights[2 * last], weights[2 * last + 1]
    out.append(torch.baddbmm(b[:, :, None], w, below.transpose(1, 2)))
    return out


def gradients(
    weights: list[torch.Tensor], x: torch.Tensor, target: torch.Tensor, share: torch.Tensor
) -> None:
    """Fill ``.grad`` with the gradient of each model's mean cross-entropy over its own rows.

    Args:
        weights: As in `MLPs`.
        x: ``[B, D]``.
        target: ``[B, K]`` one-hot.
        share: ``[B, R]``, 1 where the row is in the model's subset.
    """
    import torch

    grads: list[torch.Tensor] = [w.grad for w in weights]  # type: ignore[misc]
    acts = forward(weights, x)
    own = share / share.sum(0).clamp_(min=1)  # a model with no row in this step gets no gradient
    error = torch.softmax(acts[-1], 1)  # [R, K, B]
    error.sub_(target.t()).mul_(own.t()[:, None])
    last = len(weights) // 2 - 1
    for i in range(last, 0, -1):
        below = acts[i - 1].transpose(0, 1) if i == 1 else acts[i - 1]  # [R, B, H]
        torch.bmm(error, below, out=grads[2 * i])
        torch.sum(error, 2, out=grads[2 * i + 1])
        back = torch.empty_strided(below.shape, below.stride(), device=below.device)
        torch.bmm(error.transpose(1, 2), weights[2 * i], out=back)  # [R, B, H], laid out as `below`
        torch.ops.aten.threshold_backward.grad_input(back, below, 0, grad_input=back)
        error = back.transpose(1, 2)  # [R, H, B]
    rows = back.transpose(0, 1).view(len(x), -1)  # [B, R*H]
    torch.mm(x.t(), rows, out=grads[0].view(x.shape[1], -1))
    torch.sum(rows, 0, out=grads[1].view(-1))
