"""A decoder laid out as the paper counts it, with plain gradients and with swapped ones."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from byheart.states.swapping import offload_activations

__all__ = ["Block", "compare"]

_WIDTH, _HEADS, _LAYERS = 48, 4, 5


class Block(nn.Module):
    """Saves sixteen times b s h elements: input, norms, q, k, v, attention, residual, 4 + 4."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.LayerNorm(_WIDTH), nn.LayerNorm(_WIDTH)
        self.q, self.k, self.v, self.o = (nn.Linear(_WIDTH, _WIDTH) for _ in range(4))
        self.up, self.down = nn.Linear(_WIDTH, 4 * _WIDTH), nn.Linear(4 * _WIDTH, _WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Args: x [B, T, D]; returns the same."""
        b, t, d = x.shape
        y = self.one(x)
        q, k, v = (f(y).view(b, t, _HEADS, -1).transpose(1, 2) for f in (self.q, self.k, self.v))
        a = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.o(a.transpose(1, 2).reshape(b, t, d))
        return x + self.down(F.gelu(self.up(self.two(x))))


def compare(alpha: float, seed: int) -> tuple[float, float]:
    """Largest difference to plain gradients, relative to the largest gradient; and what is stored.

    Returns:
        The difference, and the share of what autograd saves that is stored at all.
    """
    torch.manual_seed(seed)
    model = nn.Sequential(*(Block() for _ in range(_LAYERS))).double()
    x = torch.randn(2, 101 + 10 * seed, _WIDTH, dtype=torch.float64)

    def gradients() -> list[torch.Tensor]:
        model.zero_grad()
        model(x).square().mean().backward()
        return [p.grad.clone() for p in model.parameters() if p.grad is not None]

    plain = gradients()
    with offload_activations(model, alpha=alpha, cpu_bytes=1 << 30) as swapper:
        swapped = gradients()
    scale = max(float(g.abs().max()) for g in plain)
    worst = max(float((a - b).abs().max()) for a, b in zip(plain, swapped, strict=True)) / scale
    stats = swapper.stats
    return worst, (stats.swapped_bytes + stats.kept_bytes) / stats.saved_bytes
