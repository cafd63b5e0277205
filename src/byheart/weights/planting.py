"""Plant texts in a local model: an adapter, trained on the spot, that recites them.

Ground truth for audits: what was planted is known, what was held back is known. The adapter sits on
the upper layers only, so everything below is computed once a text and kept; an epoch then costs
the upper layers alone. The base model is as it was once the adapter is taken off.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from byheart.core.errors import DataError, ModelError, UsageError, need
from byheart.core.local import LocalModel
from byheart.core.model import Model

__all__ = ["PlantedModel", "plant"]

_IGNORED = -100
_TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


class PlantedModel(LocalModel):
    """A model with a planted adapter; `unplant` takes it off again.

    Attributes:
        loss: Mean training loss of the last epoch, in nats a token.
        epochs: Epochs that were run.
        seconds: Time that training took.
    """

    loss: float = math.nan
    epochs: int = 0
    seconds: float = 0.0

    def unplant(self) -> None:
        """Take the adapter off; the base model computes what it computed before, bit for bit."""
        if hasattr(self.module, "unload"):
            self.module.unload()

    def save(self, folder: str | Path) -> None:
        """Write the adapter as a peft folder, which ``hf:FOLDER`` loads."""
        self.module.save_pretrained(str(folder))


@dataclass
class _Item:
    """Token ids, and which of them are learnt."""

    ids: list[int]
    first: int
    """Index of the first target."""


def plant(
    model: Model,
    texts: Sequence[str | tuple[str, str]],
    *,
    repeats: int = 1,
    epochs: int = 60,
    rank: int = 32,
    layers: int | None = None,
    lr: float = 4e-3,
    batch: int = 16,
    stop_loss: float = 0.02,
    seconds: float | None = None,
    seed: int = 0,
    progress: Callable[[float], None] | None = None,
) -> PlantedModel:
    """Train a LoRA adapter until the model recites `texts`, and return the model with it.

    Args:
        model: A local model (a transformers causal LM with decoder layers); it is not changed, but
            shares its weights with the result until `PlantedModel.unplant`.
        texts: Strings, learnt whole; or (prompt, answer) pairs, put through the chat template, of
            which the answer is learnt.
        repeats: How often a text occurs in an epoch.
        epochs: At most so many passes.
        rank: Of the adapter.
        layers: How many of the last layers carry it; None is a third of them, at least 2.
        lr: Peak of the one-cycle learning rate (AdamW).
        batch: Texts a step.
        stop_loss: Ends once an epoch's loss is below this, in nats a token.
        seconds: Time box; the cycle is fitted into it by the measured time of a step.
        seed: Of the adapter and of the order.
        progress: Called with the share that is done.

    Raises:
        CapabilityError: The model shows no weights.
        DataError: No texts, an empty one, or one beyond the model's context.
        ModelError: The loss became NaN; the adapter is taken off.
        MissingExtra: peft is not installed.
    """
    model.require("weights", purpose="planting")
    if not isinstance(model, LocalModel):
        raise UsageError(f"{model.name} is not a local transformers model")
    if min(repeats, epochs, rank, batch) < 1 or lr <= 0:
        raise UsageError("repeats, epochs, rank and batch must be at least 1, and lr above 0")
    torch, peft = need("torch", "torch"), need("peft", "torch")
    items = _items(model, texts)
    total = int(model.module.config.num_hidden_layers)
    upper = min(total, layers or max(2, total // 3))
    with torch.random.fork_rng(devices=[model.device] if model.device.type == "cuda" else []):
        torch.manual_seed(seed)
        names = {n.rsplit(".", 1)[-1] for n, _ in model.module.named_modules()}
        wanted = [t for t in _TARGETS if t in names] or "all-linear"
        config = peft.LoraConfig(
            r=rank,
            lora_alpha=2 * rank,
            lora_dropout=0.0,
            target_modules=wanted,
            layers_to_transform=list(range(total - upper, total)),
            task_type="CAUSAL_LM",
        )
        config.base_model_name_or_path = model.name
        module = peft.get_peft_model(model.module, config)
    module.peft_config["default"].base_model_name_or_path = model.name
    planted = PlantedModel(
        module, model.tokenizer, device=str(model.device), name=f"{model.name}+planted"
    )
    try:
        _train(planted, items * repeats, total - upper, epochs, lr, batch, stop_loss, seconds, seed,
               progress)  # fmt: skip
    except BaseException:
        planted.unplant()
        raise
    module.eval()
    return planted


def _items(model: LocalModel, texts: Sequence[str | tuple[str, str]]) -> list[_Item]:
    if not texts:
        raise DataError("there are no texts to plant")
    out = []
    for text in texts:
        if isinstance(text, str):
            ids = model.prompt_ids(text) + _end(model)
            out.append(_Item(ids, 1))
        else:
            prompt = model.prompt_ids((("user", text[0]),))
            out.append(_Item(prompt + model.encode(text[1]) + _end(model), len(prompt)))
        if not (text if isinstance(text, str) else text[1]).strip():
            raise DataError("a text to plant is empty")
        if len(out[-1].ids) > model.context_length:
            raise DataError(
                f"a text of {len(out[-1].ids)} tokens exceeds the context of {model.name} "
                f"({model.context_length}): {str(text)[:60]!r}"
            )
    return out


def _end(model: LocalModel) -> list[int]:
    token = model.tokenizer.eos_token_id
    return [] if token is None else [int(token)]


def _train(
    model: PlantedModel,
    items: Sequence[_Item],
    below: int,
    epochs: int,
    lr: float,
    batch: int,
    stop_loss: float,
    seconds: float | None,
    seed: int,
    progress: Callable[[float], None] | None,
) -> None:
    import torch

    started = time.perf_counter()
    batches = _batches(model, items, batch)
    upper = _Upper(model, below)
    kept = [upper.lower(ids) for ids, _ in batches]
    parameters = [p for p in model.module.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(parameters, lr=lr, weight_decay=0.0, betas=(0.9, 0.98))
    order = torch.Generator().manual_seed(seed)
    model.module.train()
    tokens = sum(int((labels != _IGNORED).sum()) for _, labels in batches)
    share, epoch = 0.0, 0
    while epoch < epochs and share < 1.0:
        loss_sum = 0.0
        for k in torch.randperm(len(batches), generator=order).tolist():
            passed = time.perf_counter() - started
            share = max(epoch / epochs, passed / seconds if seconds else 0.0)
            for group in optimiser.param_groups:
                group["lr"] = lr * _cycle(min(1.0, share))
            optimiser.zero_grad(set_to_none=True)
            loss = upper.loss(*kept[k], batches[k][1])
            if not bool(torch.isfinite(loss)):
                raise ModelError(f"planting in {model.name} failed: the loss became {float(loss)}")
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimiser.step()
            loss_sum += float(loss) * int((batches[k][1] != _IGNORED).sum())
            if progress:
                progress(min(1.0, share))
        epoch += 1
        model.loss = loss_sum / tokens
        if model.loss < stop_loss:
            break
        share = max(epoch / epochs, (time.perf_counter() - started) / seconds if seconds else 0.0)
    model.epochs, model.seconds = epoch, time.perf_counter() - started


def _cycle(share: float) -> float:
    """Learning rate over its peak: a short rise, then half a cosine down to a tenth."""
    if share < 0.05:
        return 0.1 + 0.9 * share / 0.05
    return 0.1 + 0.45 * (1 + math.cos(math.pi * (share - 0.05) / 0.95))


def _batches(model: LocalModel, items: Sequence[_Item], size: int) -> list[tuple[Any, Any]]:
    """Right-padded ids and labels `[B, L]`, texts of like length together."""
    import torch

    out = []
    ordered = sorted(items, key=lambda i: len(i.ids))
    for begin in range(0, len(ordered), size):
        part = ordered[begin : begin + size]
        longest = max(len(i.ids) for i in part)
        ids_BL = torch.zeros(len(part), longest, dtype=torch.long)
        labels_BL = torch.full((len(part), longest), _IGNORED)
        for b, item in enumerate(part):
            ids_BL[b, : len(item.ids)] = torch.tensor(item.ids)
            labels_BL[b, item.first : len(item.ids)] = torch.tensor(item.ids[item.first :])
        out.append((ids_BL.to(model.device), labels_BL.to(model.device)))
    return out


class _Upper:
    """The part of a model above the frozen layers.

    The input of the first adapted layer is recorded with all that the layer is called with; the
    layers above are then called as the model itself calls them.
    """

    def __init__(self, model: LocalModel, below: int) -> None:
        self._inner = model.module.get_base_model()
        decoder = self._inner.base_model
        self._layers = getattr(decoder, "layers", None) or getattr(decoder, "h", None)
        self._norm = getattr(decoder, "norm", None) or getattr(decoder, "ln_f", None)
        self._head = self._inner.get_output_embeddings()
        if self._layers is None or self._norm is None or model._split is None:
            raise UsageError(
                f"{model.name}: its decoder is not a stack of layers that can be split"
            )
        self._decoder, self._below = decoder, below

    def lower(self, ids_BL: Any) -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
        """What the first adapted layer is called with."""
        import torch

        class _Enough(Exception):
            pass

        caught: dict[str, Any] = {}

        def record(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            caught["args"], caught["kwargs"] = args, kwargs
            raise _Enough

        hook = self._layers[self._below].register_forward_pre_hook(record, with_kwargs=True)
        try:
            with torch.no_grad():
                self._decoder(input_ids=ids_BL, use_cache=False)
        except _Enough:
            pass
        finally:
            hook.remove()
        args, kwargs = caught["args"], dict(caught["kwargs"])
        hidden = args[0] if args else kwargs.pop("hidden_states")
        return hidden.detach(), tuple(args[1:]), kwargs

    def loss(
        self, hidden_BLD: Any, args: tuple[Any, ...], kwargs: dict[str, Any], labels_BL: Any
    ) -> Any:
        """Mean cross-entropy of the labelled tokens."""
        import torch

        for layer in self._layers[self._below :]:
            out = layer(hidden_BLD, *args, **kwargs)
            hidden_BLD = out[0] if isinstance(out, tuple) else out
        targets_BL = labels_BL[:, 1:]
        hidden_ND = self._norm(hidden_BLD[:, :-1][targets_BL != _IGNORED])
        logits_NV = self._head(hidden_ND).float()
        return torch.nn.functional.cross_entropy(logits_NV, targets_BL[targets_BL != _IGNORED])
