"""A small mixture of experts that learns modular addition, with its pathways measured on the way."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from byheart.audits._pathways.course import measures
from byheart.audits.pathways import PathwayProbe
from byheart.core.errors import need

__all__ = ["Run", "Size", "make_model", "train"]


@dataclass(frozen=True)
class Size:
    """How large the case is.

    Attributes:
        p: Modulus; sequences are ``a b =``, and ``(a + b) mod p`` is to be said.
        share: Of the p * p sums that are trained on.
        hidden: Width of the model.
        layers: MoE layers.
        heads: Of attention.
        experts: A layer.
        chosen: Experts a token.
        steps: Full-batch steps.
        every: Steps between measurements.
        lr: Of AdamW.
        decay: Its weight decay.
        probe: Training samples whose pathways are followed.
    """

    p: int = 29
    share: float = 0.7
    hidden: int = 64
    layers: int = 3
    heads: int = 4
    experts: int = 8
    chosen: int = 2
    steps: int = 1000
    every: int = 50
    lr: float = 1e-3
    decay: float = 2.0
    probe: int = 200


@dataclass
class Run:
    """One training run.

    Attributes:
        rows: What was measured: `measures` of the probe, with ``train`` and ``test`` accuracy and
            the losses ``train_loss``, ``test_loss``.
        last: The model at the end.
    """

    rows: list[dict[str, float]] = field(default_factory=list)
    last: Any = None

    def column(self, name: str) -> np.ndarray:
        """One number a measurement."""
        return np.array([r[name] for r in self.rows])


def make_model(size: Size, seed: int, device: str, *, context: int = 8) -> Any:
    """An OLMoE with random weights: the case's model."""
    import torch

    transformers = need("transformers", "torch")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        config = transformers.OlmoeConfig(
            vocab_size=size.p + 1,
            hidden_size=size.hidden,
            intermediate_size=size.hidden,
            num_hidden_layers=size.layers,
            num_attention_heads=size.heads,
            num_key_value_heads=size.heads,
            num_experts=size.experts,
            num_experts_per_tok=size.chosen,
            max_position_embeddings=context,
            router_aux_loss_coef=0.01,
            pad_token_id=None,
            bos_token_id=None,
            eos_token_id=None,
        )
        model = transformers.OlmoeForCausalLM(config)
    if hasattr(model, "set_experts_implementation"):
        model.set_experts_implementation("grouped_mm")  # three times as fast as the loop here
    return model.to(device)


def sums(size: Size, seed: int, shuffled: bool) -> tuple[Any, Any, np.ndarray, np.ndarray]:
    """Sequences ``[p * p, 3]``, answers, and which are trained on and held out.

    `shuffled` permutes the answers of all sums: they can be memorised and not be generalised from.
    """
    import torch

    p = size.p
    a, b = np.divmod(np.arange(p * p), p)
    y = (a + b) % p
    rng = np.random.default_rng([seed, 31])
    order = rng.permutation(p * p)
    cut = round(size.share * p * p)
    if shuffled:
        y = y[rng.permutation(p * p)]
    x = np.stack([a, b, np.full(p * p, p)], axis=1)
    return torch.as_tensor(x), torch.as_tensor(y), order[:cut], order[cut:]


def balance(router_logits: Any, experts: int, chosen: int) -> Any:
    """The load-balancing loss of Switch Transformers, as OLMoE has it, over all layers at once."""
    import torch

    logits = torch.cat(list(router_logits))
    weights = logits.softmax(-1)
    picked = weights.topk(chosen, dim=-1).indices
    used = torch.nn.functional.one_hot(picked, experts).float().mean(0)  # [chosen, K]
    return experts * (used * weights.mean(0)[None]).sum()


def train(
    size: Size,
    *,
    seed: int,
    shuffled: bool = False,
    device: str = "cpu",
    tell: Callable[[float], None] | None = None,
) -> Run:
    """Train one model and measure it on the way.

    Args:
        size: Of the case.
        seed: Of weights, split, and answers where they are shuffled.
        shuffled: The control: answers that follow no rule.
        device: Where to train.
        tell: Called with the share that is done.
    """
    import torch

    x, y, seen, held = sums(size, seed, shuffled)
    x, y = x.to(device), y.to(device)
    model = make_model(size, seed, device)
    texts = x[seen[: size.probe]].tolist()
    probe = PathwayProbe(model, None, texts, batch_tokens=4096)
    optimiser = torch.optim.AdamW(
        model.parameters(), lr=size.lr, weight_decay=size.decay, betas=(0.9, 0.98)
    )
    run = Run()
    x_seen, y_seen = x[seen], y[seen]
    for step in range(1, size.steps + 1):
        model.train()
        out = model(x_seen, output_router_logits=True, logits_to_keep=1, use_cache=False)
        loss = torch.nn.functional.cross_entropy(out.logits[:, -1], y_seen)
        loss = loss + 0.01 * balance(out.router_logits, size.experts, size.chosen)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if step % size.every == 0:
            run.rows.append(_measured(model, probe, x, y, seen, held, step, seed))
            if tell:
                tell(step / size.steps)
            if not math.isfinite(run.rows[-1]["train_loss"]):
                break
    run.last = model
    return run


def _measured(
    model: Any, probe: PathwayProbe, x: Any, y: Any, seen: np.ndarray, held: np.ndarray, step: int,
    seed: int,
) -> dict[str, float]:  # fmt: skip
    import torch

    model.eval()
    with torch.no_grad():
        logits = model(x, logits_to_keep=1, use_cache=False).logits[:, -1].float()
    right = (logits.argmax(-1) == y).float().cpu().numpy()
    loss = torch.nn.functional.cross_entropy(logits, y, reduction="none").cpu().numpy()
    row = measures(probe.run(step=step), pairs=None, seed=seed, per_layer=True)
    row.update(
        train=float(right[seen].mean()), test=float(right[held].mean()),
        train_loss=float(loss[seen].mean()), test_loss=float(loss[held].mean()),
    )  # fmt: skip
    return row
