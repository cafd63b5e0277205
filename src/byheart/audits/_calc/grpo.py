"""The arithmetic of GRPO, and why random rewards push likely tokens up.

Shapes: N prompts, G completions each, T tokens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from byheart.core.errors import UsageError, need

if TYPE_CHECKING:
    import torch

__all__ = ["clip_bias", "group_advantages", "grpo_loss", "token_kl"]


def group_advantages(rewards: Any, eps: float = 1e-9) -> torch.Tensor:
    """A = (r - mean) / (std + eps) over the completions of a prompt, std with n - 1.

    A group whose rewards are all equal has the advantages 0, hence no gradient.

    Args:
        rewards: ``[N, G]``, G at least 2.
        eps: 1e-9 in the code the paper builds on.

    Raises:
        UsageError: If the shape does not fit.

    >>> group_advantages([[0.0, 1.0], [1.0, 1.0]]).round(decimals=3).tolist()
    [[-0.707, 0.707], [0.0, 0.0]]
    """
    torch = need("torch", "torch")
    r = torch.as_tensor(rewards, dtype=torch.float64) if not hasattr(rewards, "dim") else rewards
    if r.dim() != 2 or r.shape[1] < 2:
        raise UsageError(f"rewards must be [prompts, 2 or more completions], got {tuple(r.shape)}")
    centred = r - r.mean(1, keepdim=True)
    # equal rewards may differ from their mean by rounding, which eps would blow up
    flat = r.max(1, keepdim=True).values == r.min(1, keepdim=True).values
    out = centred / (r.std(1, keepdim=True, unbiased=True) + eps)
    return torch.where(flat, torch.zeros_like(out), out)


def grpo_loss(
    logp: torch.Tensor,
    logp_old: torch.Tensor,
    advantages: torch.Tensor,
    mask: torch.Tensor,
    *,
    clip: float = 0.2,
    beta: float = 0.0,
    logp_ref: torch.Tensor | None = None,
) -> torch.Tensor:
    """-mean over completions of (1/length) sum over tokens of min(rho A, clip(rho, 1-c, 1+c) A).

    Args:
        logp: ``[B, T]`` log-probabilities of the tokens under the policy that is trained.
        logp_old: ``[B, T]`` under the policy that drew them; no gradient.
        advantages: ``[B]``, the same for all tokens of a completion.
        mask: ``[B, T]`` 1 on tokens of the completion.
        clip: c (0.2).
        beta: Weight of the divergence from the reference (0 in the scripts), estimated as
            exp(d) - d - 1 with d = logp_ref - logp.
        logp_ref: ``[B, T]`` under the reference, where `beta` is not 0.

    Raises:
        UsageError: If `beta` is set without a reference.
    """
    torch = need("torch", "torch")
    if beta and logp_ref is None:
        raise UsageError("beta above 0 needs logp_ref, the reference's log-probabilities")
    m = mask.to(logp.dtype)
    ratio = (logp - logp_old.detach()).exp()
    a = advantages.to(logp.dtype)[:, None]
    gain = torch.minimum(ratio * a, ratio.clamp(1 - clip, 1 + clip) * a)
    if beta and logp_ref is not None:
        d = logp_ref - logp
        gain = gain - beta * (d.exp() - d - 1)
    a_completion = (gain * m).sum(1) / m.sum(1).clamp(min=1)
    return -a_completion.mean()  # type: ignore[no-any-return]


def clip_bias(ratio: Any, advantages: Any, clip: float = 0.2) -> np.ndarray:
    """The slope of E[min(rho A, clip(rho) A)] in rho, for a random advantage of mean zero.

    With mu = E|A| / 2 it is mu below 1 - c, 0 between, -mu above 1 + c: a coin-flip reward pulls the
    ratio back into the interval. A token with probability above 1 / (1 + c) cannot leave it upwards,
    so its bias is never negative: what is likely gets likelier.

    Args:
        ratio: rho, any shape.
        advantages: Draws of A; their mean is taken out.
        clip: c.

    >>> clip_bias([0.5, 1.0, 1.5], [-1.0, 1.0]).tolist()
    [0.5, 0.0, -0.5]
    """
    if not 0 < clip < 1:
        raise UsageError(f"clip must lie between 0 and 1, got {clip}")
    a = np.asarray(advantages, dtype=float)
    if a.size == 0:
        raise UsageError("no advantages are given")
    mu = np.abs(a - a.mean()).mean() / 2
    rho = np.asarray(ratio, dtype=float)
    return np.where(rho < 1 - clip, mu, np.where(rho > 1 + clip, -mu, 0.0))


def token_kl(base_logits: torch.Tensor, tuned_logits: torch.Tensor, mask: torch.Tensor) -> float:
    """Mean KL(base || tuned) over the vocabulary at the marked positions, nats.

    Args:
        base_logits: ``[B, T, V]``.
        tuned_logits: ``[B, T, V]``, on the same tokens.
        mask: ``[B, T]``.

    Raises:
        UsageError: If no position is marked.
    """
    if not bool(mask.any()):
        raise UsageError("the mask marks no position")
    p, q = base_logits.log_softmax(-1), tuned_logits.log_softmax(-1)
    kl = (p.exp() * (p - q)).sum(-1)
    return float((kl * mask).sum() / mask.sum())
