"""Steps of GPTs whose memory requests are recorded: small ones for real, large ones without memory."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional as F

from byheart.papers._tinygpt import TinyGPT
from byheart.states.planner import Request, Trace, record_requests

__all__ = ["joined", "large_trace", "small_trace"]


def _record(model: TinyGPT, ids: torch.Tensor, name: str) -> Trace:
    def step() -> None:
        # TinyGPT.forward looks at its largest position, which a tensor without values has not.
        x = model.tokens(ids) + model.positions.weight[: ids.shape[1]]
        for block in model.blocks:
            x, _ = block(x, None, None)
        logits = F.linear(model.norm(x), model.tokens.weight)
        F.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten()).backward()

    return record_requests(step, layers=model.blocks, name=name, source="dispatch")


def small_trace(layers: int, *, width: int = 128, length: int = 256, seed: int = 0) -> Trace:
    """One step of a GPT that runs here."""
    model = TinyGPT(512, layers=layers, width=width, heads=4, context=length, seed=seed)
    ids = torch.randint(512, (1, length), generator=torch.Generator().manual_seed(seed))
    return _record(model, ids, f"{layers} blocks of width {width}, {length} tokens")


def large_trace(layers: int, *, width: int, heads: int, length: int, vocab: int = 50257) -> Trace:
    """One step of a GPT that would not fit here: its tensors have shapes and no bytes."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        model = TinyGPT(vocab, layers=layers, width=width, heads=heads, context=length)
        ids = torch.zeros(1, length, dtype=torch.long)
        return _record(model, ids, f"{layers} blocks of width {width}, {length:,} tokens")


def joined(steps: Sequence[Trace], name: str) -> Trace:
    """Steps after each other; what one leaves allocated, its gradients, is freed before the next."""
    out: list[Request] = []
    for i, trace in enumerate(steps):
        live: dict[str, Request] = {}
        for r in trace:
            own = Request(r.kind, f"{i}.{r.id}", r.size)
            out.append(own)
            if r.kind == "malloc":
                live[own.id] = own
            else:
                del live[own.id]
        out += [Request("free", r.id, r.size) for r in live.values()]
    return Trace(tuple(out), name)
