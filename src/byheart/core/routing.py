"""Where a mixture-of-experts model sends its tokens: routers found, read and averaged over tokens.

Works on any transformers model that routes tokens to experts by a matrix with one row an expert
(OLMoE, Mixtral, Qwen-MoE, GPT-OSS, DeepSeek, Granite, Jamba, ...). Hooks on the routers read their
logits as the model runs; each is turned into weights, averaged over a text's tokens and let go, so
that no more than one layer's logits of one batch is held beside what the model itself needs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from byheart.core._routers import (
    Router,
    find_neurons,
    find_routers,
    has_routers,
    logits_of,
    scoring_of,
    weights_of,
)
from byheart.core.errors import CapabilityError, DataError, ModelError, UsageError

__all__ = [
    "Routed",
    "Router",
    "check_lengths",
    "find_neurons",
    "find_routers",
    "has_routers",
    "route",
    "token_means",
]


@dataclass(frozen=True)
class Routed:
    """Routing weights of some texts, averaged over their tokens.

    Attributes:
        g: ``[N, L, K]`` float32, each row a distribution over the layer's experts. Layers with fewer
            experts than the largest end in zeros.
        nll: ``[N]`` float64, mean negative log-probability a token in nats.
        scoring: How logits were turned into weights: ``"softmax"``, ``"sigmoid"`` or
            ``"probabilities"`` (the model gives them itself), or ``"activity"`` of neurons.
        W: L router matrices ``[K, d]`` float32.
        layers: L names of the routers.
    """

    g: np.ndarray
    nll: np.ndarray
    scoring: str
    W: tuple[np.ndarray, ...]
    layers: tuple[str, ...]


def token_means(
    router_logits: Any, attention_mask: Any = None, *, scoring: str = "softmax"
) -> np.ndarray:
    """Routing weights averaged over tokens, from a model's own ``router_logits``.

    ``g(i, k) = mean over tokens t of text i of softmax(logits[i, t])[k]``; tokens that the mask
    leaves out do not count, so padding on either side changes nothing.

    Args:
        router_logits: One tensor a layer, ``[B * T, K]`` (row by row, as transformers gives them)
            or ``[B, T, K]``.
        attention_mask: ``[B, T]``, 1 for tokens and 0 for padding; None counts every token, and
            then the tensors must be ``[B, T, K]``.
        scoring: ``"softmax"`` or ``"sigmoid"`` (normalised to sum 1). Rows that are probabilities
            already, as transformers 5.0.0 gives them, are taken as they are.

    Returns:
        ``[B, L, K]`` float32.

    Raises:
        UsageError: If router logits are None or empty: routers are off unless the model is called
            with ``output_router_logits=True``.
        ModelError: If a router gave NaN.

    >>> import torch
    >>> token_means([torch.zeros(1, 3, 4)]).tolist()
    [[[0.25, 0.25, 0.25, 0.25]]]
    """
    import torch

    if router_logits is None or not len(router_logits):
        raise UsageError(
            "router_logits is empty: the routers are off; call the model with "
            "output_router_logits=True"
        )
    out = []
    for layer, logits in enumerate(router_logits):
        if attention_mask is not None:
            mask = torch.as_tensor(attention_mask, device=logits.device)
        elif logits.ndim == 3:
            mask = torch.ones(logits.shape[:2], device=logits.device)
        else:
            raise UsageError(
                f"router logits of shape {tuple(logits.shape)} need the attention_mask [B, T] to "
                "tell texts apart"
            )
        if logits.numel() != mask.numel() * logits.shape[-1]:
            raise UsageError(
                f"router logits of shape {tuple(logits.shape)} do not fit a mask of "
                f"{tuple(mask.shape)}: one row a token is needed, padding included"
            )
        weights_BTK = weights_of(logits.reshape(*mask.shape, -1), scoring)
        means = _masked_mean(weights_BTK, mask.bool())
        if not bool(torch.isfinite(means).all()):
            raise ModelError(f"the router of MoE layer {layer} gave NaN or infinite logits")
        out.append(means.float().cpu().numpy())
    return _stacked(out)


def _stacked(layers: Sequence[np.ndarray]) -> np.ndarray:
    """`[N, L, K]` from L times `[N, K_l]`, with zeros behind the last expert of smaller layers."""
    width = max(g.shape[1] for g in layers)
    out = np.zeros((len(layers[0]), len(layers), width), np.float32)
    for layer, g in enumerate(layers):
        out[:, layer, : g.shape[1]] = g
    return out


def _masked_mean(weights_BTK: Any, mask_BT: Any) -> Any:
    """Mean over unmasked tokens; what stands at padding, NaN included, does not enter."""
    kept = weights_BTK.masked_fill(~mask_BT[..., None], 0.0)
    return kept.sum(1) / mask_BT.sum(1)[:, None]


@contextmanager
def _reading(module: Any, routers: Sequence[Router], state: dict[str, Any]) -> Iterator[None]:
    """Hooks that put the token mean of every router's weights into ``state["g"]``."""
    handles = []

    def hook_of(layer: int, router: Router) -> Callable[..., None]:
        def hook(_module: Any, _inputs: Any, output: Any) -> None:
            logits = logits_of(output, router)
            mask = state["mask"]
            if logits.numel() != mask.numel() * logits.shape[-1]:
                raise ModelError(
                    f"router {router.name} gave logits of shape {tuple(logits.shape)} for "
                    f"{mask.shape[0]} texts of {mask.shape[1]} tokens; one row a token is needed"
                )
            if layer not in state["scoring"]:
                state["scoring"][layer] = scoring_of(output, logits, module.config)
            shaped = logits.detach().reshape(*mask.shape, -1)
            state["g"][layer] = _masked_mean(weights_of(shaped, state["scoring"][layer]), mask)

        return hook

    def activity_of(layer: int) -> Callable[..., None]:
        def hook(_module: Any, inputs: Any) -> None:
            active = inputs[0].detach().reshape(*state["mask"].shape, -1).float().abs()
            shares = active / active.sum(-1, keepdim=True).clamp_min(1e-30)
            state["scoring"][layer] = "activity"
            state["g"][layer] = _masked_mean(shares, state["mask"])

        return hook

    try:
        for layer, router in enumerate(routers):
            handles.append(
                router.module.register_forward_pre_hook(activity_of(layer))
                if router.before
                else router.module.register_forward_hook(hook_of(layer, router))
            )
        yield
    finally:
        for handle in handles:
            handle.remove()


def route(
    module: Any,
    ids: Sequence[Sequence[int]],
    *,
    routers: Sequence[Router] | None = None,
    scoring: str = "auto",
    batch_tokens: int = 2048,
    pad_side: str = "right",
    name: str = "",
) -> Routed:
    """Run texts through a model and average its routing over their tokens.

    The model is set to evaluation for that time; its weights, mode and the state of torch's random
    numbers are what they were before.

    Args:
        module: A causal language model of transformers.
        ids: Token ids, one sequence a text, each of at least two tokens.
        routers: What `find_routers` or `find_neurons` found; None looks for routers.
        scoring: ``"auto"`` sees from the routers' outputs whether their weights are a softmax or a
            normalised sigmoid of the logits; or name one.
        batch_tokens: Tokens of a batch, padding included.
        pad_side: ``"right"`` or ``"left"``; no matter for the result.
        name: How errors call the model.

    Raises:
        CapabilityError: No routers, or no causal language model.
        DataError: A text of fewer than two tokens, or longer than the model's context.
        ModelError: NaN logits of a router or of the model, or a router that was never asked.
    """
    import torch

    name = name or type(module).__name__
    routers = tuple(routers) if routers is not None else find_routers(module, name)
    if getattr(module.config, "is_encoder_decoder", False):
        raise CapabilityError(f"{name} is an encoder-decoder; pathways follow causal models")
    check_lengths(ids, module, name)
    device = next(module.parameters()).device
    order = sorted(range(len(ids)), key=lambda i: -len(ids[i]))
    g = [np.zeros((len(ids), r.experts), np.float32) for r in routers]
    nll = np.zeros(len(ids))
    state: dict[str, Any] = {"scoring": {}, "g": {}, "mask": None}
    if scoring != "auto":
        state["scoring"] = dict.fromkeys(range(len(routers)), scoring)
    training = {m: m.training for m in module.modules()}
    module.eval()
    try:
        with torch.no_grad(), _reading(module, routers, state):
            for batch in _batches(order, ids, batch_tokens):
                ids_BT, mask_BT = _padded([ids[i] for i in batch], pad_side)
                ids_BT, mask_BT = ids_BT.to(device), mask_BT.to(device)
                state["mask"], state["g"] = mask_BT, {}
                out = module(input_ids=ids_BT, attention_mask=mask_BT.long(), use_cache=False)
                for layer, router in enumerate(routers):
                    if layer not in state["g"]:
                        raise ModelError(
                            f"router {router.name} was not asked: the layer is there, and the model "
                            "does not run it"
                        )
                    means = state["g"][layer].float().cpu().numpy()
                    _finite(means, batch, f"router {router.name} gave NaN or infinite logits")
                    g[layer][batch] = means[:, : router.experts]
                nll[batch] = _mean_nll(out.logits, ids_BT, mask_BT).cpu().numpy()
                _finite(nll[batch, None], batch, f"{name} gave NaN or infinite loss")
    finally:
        for part, mode in training.items():
            part.training = mode
    used = set(state["scoring"].values())
    return Routed(
        _stacked(g),
        nll,
        ",".join(sorted(used)),
        # copied: on a CPU they would be the weights themselves, and move on with training
        tuple(r.matrix.detach().float().cpu().numpy().copy() for r in routers),
        tuple(r.name for r in routers),
    )


def _finite(rows: np.ndarray, batch: Sequence[int], what: str) -> None:
    bad = np.flatnonzero(~np.isfinite(rows).all(1))
    if bad.size:
        raise ModelError(
            f"{what} on text {batch[int(bad[0])]} ({bad.size} of {len(batch)} of its batch); "
            "the weights have diverged, or half precision overflows: try float32"
        )


def check_lengths(ids: Sequence[Sequence[int]], module: Any, name: str = "model") -> None:
    """See that texts can be routed: at least one, each of two tokens or more, none too long.

    Raises:
        DataError: With the first that is not so.
    """
    config = module.config.get_text_config()
    context = int(getattr(config, "max_position_embeddings", 0) or 0)
    if not len(ids):
        raise DataError("no text was given; at least one is needed")
    for i, tokens in enumerate(ids):
        if len(tokens) < 2:
            raise DataError(
                f"text {i} has {len(tokens)} token(s); its loss needs at least two: leave it out"
            )
        if context and len(tokens) > context:
            raise DataError(
                f"text {i} has {len(tokens)} tokens and the context of {name} is {context}; cut it, "
                f"or have it cut with max_tokens={context}"
            )


def _batches(
    order: Sequence[int], ids: Sequence[Sequence[int]], tokens: int
) -> Iterator[list[int]]:
    batch: list[int] = []
    for i in order:
        if batch and (len(batch) + 1) * len(ids[batch[0]]) > tokens:
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch


def _padded(texts: Sequence[Sequence[int]], side: str) -> tuple[Any, Any]:
    """Token ids and mask ``[B, T]``; padding is token 0, which the mask hides."""
    import torch

    if side not in ("left", "right"):
        raise UsageError(f"pad_side is left or right, got {side!r}")
    longest = max(map(len, texts))
    ids_BT = torch.zeros(len(texts), longest, dtype=torch.long)
    mask_BT = torch.zeros(len(texts), longest, dtype=torch.bool)
    for row, tokens in enumerate(texts):
        where = slice(0, len(tokens)) if side == "right" else slice(longest - len(tokens), None)
        ids_BT[row, where] = torch.tensor(list(tokens))
        mask_BT[row, where] = True
    return ids_BT, mask_BT


def _mean_nll(logits_BTV: Any, ids_BT: Any, mask_BT: Any) -> Any:
    """Mean negative log-probability of each row's tokens but the first, row by row: bounds memory."""
    import torch

    out = []
    for logits, tokens, mask in zip(logits_BTV, ids_BT, mask_BT, strict=True):
        rows, targets = logits[mask][:-1], tokens[mask][1:]
        rows = rows if rows.dtype == torch.float64 else rows.float()
        out.append(torch.nn.functional.cross_entropy(rows, targets).double())
    return torch.stack(out)
