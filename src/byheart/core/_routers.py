"""Routers of a mixture of experts: where they are, and how their logits become weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from byheart.core.errors import CapabilityError, ModelError, UsageError

__all__ = [
    "Router",
    "find_neurons",
    "find_routers",
    "has_routers",
    "logits_of",
    "scoring_of",
    "weights_of",
]

_CONTAINERS = ("experts",)
"""How the child of a block is called that holds its experts."""
_NAMES = ("gate", "router", "gating", "wg", "classifier")
"""How its neighbour is called that chooses among them."""
_NEIGHBOURS = ("expert", "shared", "mlp", "lora_", "attn", "norm")
"""Parts of a parameter's name that no router's matrix has below its block."""
_LAST = ("down_proj", "c_proj", "fc2", "dense_4h_to_h", "fc_out", "w2")
"""How the last linear layer of a dense feed-forward block is called."""
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
        matrix: Parameter ``[K, d]``: one row an expert.
        index: Which of the module's outputs is the logits, where transformers tells; else None.
        before: The module's input is read, as a dense block's activity, instead of logits.
    """

    name: str
    module: Any
    matrix: Any
    index: int | None = None
    before: bool = False

    @property
    def experts(self) -> int:
        """K, the experts that it chooses among."""
        return int(self.matrix.shape[0])


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


def find_neurons(module: Any, name: str = "") -> tuple[Router, ...]:
    """The feed-forward blocks of a dense model, each neuron taken for an expert.

    A neuron's weight on a token is its share of the block's absolute activity; its row of the matrix
    is what it adds to the residual stream.

    Raises:
        CapabilityError: The model has routers, or no block that is known.
    """
    name = name or type(module).__name__
    if has_routers(module):
        raise CapabilityError(f"{name} has routers: its pathways are theirs; leave neurons out")
    found = []
    for path, part in module.named_modules():
        weight = getattr(part, "weight", None)
        if path.rsplit(".", 1)[-1] not in _LAST or "attn" in path or "attention" in path:
            continue
        if weight is None or weight.ndim != 2:
            continue
        matrix = weight if type(part).__name__ == "Conv1D" else weight.T
        found.append(Router(path, part, matrix, before=True))
    if not found:
        raise CapabilityError(
            f"{name} has no feed-forward block that is known: none of its layers is called "
            f"{', '.join(_LAST)}"
        )
    return tuple(found)


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


def _are_probabilities(rows: Any) -> bool:
    return bool((rows >= 0).all()) and bool(((rows.sum(-1) - 1).abs() < _SUM).all())


def weights_of(logits: Any, scoring: str) -> Any:
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


def logits_of(output: Any, router: Router) -> Any:
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


def scoring_of(output: Any, logits: Any, config: Any) -> str:
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
