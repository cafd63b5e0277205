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

from byheart.core.errors import CapabilityError, DataError, ModelError, UsageError

__all__ = [
    "Routed",
    "Router",
    "check_lengths",
    "find_routers",
    "has_routers",
    "route",
    "token_means",
]

_CONTAINERS = ("experts",)
"""How the child of a block is called that holds its experts."""
_NAMES = ("gate", "router", "gating", "wg", "classifier")
"""How its neighbour is called that chooses among them."""
_NEIGHBOURS = ("expert", "shared", "mlp", "lora_", "attn", "norm")
"""Parts of a parameter's name that no router's matrix has below its block."""
_ALIKE = 0.05
"""Spread in nats within which the chosen experts' weights follow a scoring, up to a factor."""
_SUM = 2e-3
"""How far rows of probabilities may sum from 1 in half precision."""


@dataclass(frozen=True)
class Router:
    """One layer's router.

    Attributes:
        name: Of its module, as in ``model.named_modules()``.
        module: The module whose output holds the logits.
        matrix: Name and parameter ``[K, d]``: one row an expert.
        index: Which of the module's outputs is the logits, where transformers tells; else None.
    """

    name: str
    module: Any
    matrix: Any
    index: int | None = None

    @property
    def experts(self) -> int:
        """K, the experts that it chooses among."""
        return int(self.matrix.shape[0])


@dataclass(frozen=True)
class Routed:
    """Routing weights of some texts, averaged over their tokens.

    Attributes:
        g: ``[N, L, K]`` float32, each row a distribution over the layer's experts. Layers with fewer
            experts than the largest end in zeros.
        nll: ``[N]`` float64, mean negative log-probability a token in nats.
        scoring: How logits were turned into weights: ``"softmax"``, ``"sigmoid"`` or
            ``"probabilities"`` (the model gives them itself).
        W: L router matrices ``[K, d]`` float32.
        layers: L names of the routers.
    """

    g: np.ndarray
    nll: np.ndarray
    scoring: str
    W: tuple[np.ndarray, ...]
    layers: tuple[str, ...]


def has_routers(module: Any) -> bool:
    """Whether a model routes tokens to experts.

    >>> import torch
    >>> has_routers(torch.nn.Linear(2, 2))
    False
    """
    return any(True for _ in _routers(module))


def find_routers(module: Any, name: str = "") -> tuple[Router, ...]:
    """The routers of a model, in the order of its layers.

    They are those that transformers records ``router_logits`` of; in models that register none, the
    neighbours of ``experts`` that are called gate or router. Gates of shared experts (one row) and
    layers with a single expert route nothing and are left out, and so are experts of attention.

    Args:
        module: A ``torch.nn.Module``; adapters of peft may be around it.
        name: How errors call it.

    Raises:
        CapabilityError: If there is none.
    """
    found = tuple(_routers(module))
    if not found:
        name = name or type(module).__name__
        experts = _expert_count(getattr(module, "config", None))
        if experts:
            raise CapabilityError(
                f"{name} has no router, though its config speaks of {experts} expert(s): its expert "
                "layers are switched off (mlp_only_layers, decoder_sparse_step, "
                "first_k_dense_replace), or there is one expert only; nothing is routed"
            )
        raise CapabilityError(
            f"{name} has no router: it is no mixture of experts, and pathways are those of routed "
            "experts; byheart list audits shows what a dense model can be asked"
        )
    return found


def _expert_count(config: Any) -> int:
    for field in ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts"):
        value = getattr(config, field, None)
        if isinstance(value, int) and value > 0:
            return value
    return 0


def _routers(module: Any) -> Iterator[Router]:
    recorded = list(_recorded(module))
    seen: set[int] = set()
    for name, part in module.named_modules():
        if "attention" in name.lower() or "attn" in name.lower():
            continue  # experts of attention (JetMoe) are no stage of the pathway
        index = next((i for fits, i in recorded if fits(name, part)), None)
        if index is not None and id(part) not in seen and (matrix := _matrix(part)) is not None:
            seen.add(id(part))
            yield Router(name, part, matrix, index)
    if seen:
        return
    for name, block in module.named_modules():
        children = dict(block.named_children())
        if not any(c in children for c in _CONTAINERS):
            continue
        for child in _NAMES:
            part = children.get(child)
            if part is not None and (matrix := _matrix(part)) is not None:
                yield Router(f"{name}.{child}" if name else child, part, matrix)
                break


def _recorded(module: Any) -> Iterator[tuple[Callable[[str, Any], bool], int]]:
    """What transformers registers as ``router_logits``: a test of (name, module), and which output."""
    for part in module.modules():
        table = getattr(type(part), "_can_record_outputs", None)
        if not isinstance(table, dict) or "router_logits" not in table:
            continue
        specs = table["router_logits"]
        for spec in specs if isinstance(specs, list | tuple) else [specs]:
            target = getattr(spec, "target_class", spec if isinstance(spec, type) else None)
            ending = getattr(spec, "class_name", spec if isinstance(spec, str) else None)
            layer = getattr(spec, "layer_name", None)

            def fits(name: str, m: Any, t: Any = target, e: Any = ending, on: Any = layer) -> bool:
                if on and f".{on.strip('.')}." not in f".{name}.":
                    return False
                return (t is not None and isinstance(m, t)) or bool(e and name.endswith(e))

            yield fits, int(getattr(spec, "index", 1))


def _matrix(part: Any) -> Any:
    """The parameter ``[K, d]`` with K >= 2 of a router; None if it has none, or several that fit."""
    count = getattr(part, "num_experts", None)
    fitting = []
    for name, parameter in part.named_parameters():
        below = name.rsplit(".", 1)[0] if "." in name else ""
        if parameter.ndim != 2 or any(word in below for word in _NEIGHBOURS):
            continue
        if parameter.shape[0] < 2 or (isinstance(count, int) and parameter.shape[0] < count):
            continue
        fitting.append((name, parameter))
    if len(fitting) > 1:  # a block that holds its gate beside other things
        fitting = [f for f in fitting if any(word in f[0].split(".") for word in _NAMES)]
    return fitting[0][1] if len(fitting) == 1 else None


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
        weights_BTK = _weights(logits.reshape(*mask.shape, -1), scoring)
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


def _are_probabilities(rows: Any) -> bool:
    return bool((rows >= 0).all()) and bool(((rows.sum(-1) - 1).abs() < _SUM).all())


def _weights(logits: Any, scoring: str) -> Any:
    """Weights that sum to 1 over the last axis, in float32 or better."""
    import torch

    logits = logits if logits.dtype == torch.float64 else logits.float()
    if scoring == "probabilities" or _are_probabilities(logits):
        return logits / logits.sum(-1, keepdim=True)
    if scoring == "sigmoid":
        scores = logits.sigmoid()
        return scores / scores.sum(-1, keepdim=True)
    if scoring != "softmax":
        raise UsageError(f"scoring is softmax, sigmoid or probabilities, got {scoring!r}")
    return logits.softmax(-1)


def _masked_mean(weights_BTK: Any, mask_BT: Any) -> Any:
    """Mean over unmasked tokens; what stands at padding, NaN included, does not enter."""
    kept = weights_BTK.masked_fill(~mask_BT[..., None], 0.0)
    return kept.sum(1) / mask_BT.sum(1)[:, None]


def _logits_of(output: Any, router: Router) -> Any:
    """The logits among a router's outputs."""
    if not isinstance(output, tuple | list):
        return output
    if router.index is not None and router.index < len(output):
        chosen = output[router.index]
        if getattr(chosen, "shape", (0,))[-1] >= router.experts and chosen.is_floating_point():
            return chosen
    for tensor in output:
        wide = getattr(tensor, "ndim", 0) >= 2 and tensor.shape[-1] == router.experts
        if wide and tensor.is_floating_point():
            return tensor
    shapes = [tuple(getattr(t, "shape", ())) for t in output]
    raise ModelError(
        f"router {router.name} has {router.experts} experts and no output of that width: {shapes}"
    )


def _scoring_of(output: Any, logits: Any, config: Any) -> str:
    """How a router turns logits into weights, seen from the weights that it gave the chosen experts.

    Chosen weights are proportional to exp(z) under a softmax, over all experts or over the chosen,
    and to sigmoid(z) under a sigmoid; the spread of log weight minus log score within a token tells
    which. Where a token has one expert of weight 1 the config decides, else it is a softmax.
    """
    import torch

    z = logits.reshape(-1, logits.shape[-1]).float()
    if _are_probabilities(z):
        return "probabilities"
    chosen = None
    tensors = [t for t in output if hasattr(t, "dtype")] if isinstance(output, tuple) else []
    index = next((t for t in tensors if t.ndim == 2 and not t.is_floating_point()), None)
    if index is not None:
        chosen = next(
            (t for t in tensors if t.shape == index.shape and t.is_floating_point()), None
        )
    if index is not None and chosen is not None and index.shape[1] > 1 and len(index) == len(z):
        w = chosen.float().clamp_min(1e-12).log()
        zk = z.gather(1, index.long())
        ok = torch.isfinite(zk).all(1) & torch.isfinite(w).all(1)
        if bool(ok.any()):
            soft, sig = w - zk, w - torch.nn.functional.logsigmoid(zk)
            spread = [float((x.amax(1) - x.amin(1))[ok].mean()) for x in (soft, sig)]
            if min(spread) < min(_ALIKE, max(spread) / 4):  # else neither follows (a sparse mixer)
                return "softmax" if spread[0] < spread[1] else "sigmoid"
    scores = next((t for t in tensors if t is not logits and t.shape == logits.shape), None)
    if scores is not None and scores.is_floating_point():  # all experts, zero where not chosen
        s = scores.reshape(-1, scores.shape[-1]).float()
        on = s > 0
        if bool(on.any()) and float((s - z.sigmoid()).abs()[on].max()) < 0.01:
            return "sigmoid"
    for field in ("scoring_func", "score_function", "score_func", "moe_router_activation_func"):
        if "sigmoid" in str(getattr(config, field, "")):
            return "sigmoid"
    return "softmax"


@contextmanager
def _reading(module: Any, routers: Sequence[Router], state: dict[str, Any]) -> Iterator[None]:
    """Hooks that put the token mean of every router's weights into ``state["g"]``."""
    handles = []

    def hook_of(layer: int, router: Router) -> Callable[..., None]:
        def hook(_module: Any, _inputs: Any, output: Any) -> None:
            logits = _logits_of(output, router)
            mask = state["mask"]
            if logits.numel() != mask.numel() * logits.shape[-1]:
                raise ModelError(
                    f"router {router.name} gave logits of shape {tuple(logits.shape)} for "
                    f"{mask.shape[0]} texts of {mask.shape[1]} tokens; one row a token is needed"
                )
            if layer not in state["scoring"]:
                state["scoring"][layer] = _scoring_of(output, logits, module.config)
            shaped = logits.detach().reshape(*mask.shape, -1)
            state["g"][layer] = _masked_mean(_weights(shaped, state["scoring"][layer]), mask)

        return hook

    try:
        for layer, router in enumerate(routers):
            handles.append(router.module.register_forward_hook(hook_of(layer, router)))
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
        routers: What `find_routers` found; None looks for them.
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
