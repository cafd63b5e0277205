"""The theory of §4.4: the routing kernel, its effective dimension, and the bound on excess risk."""

from __future__ import annotations

from typing import Any

import numpy as np

from byheart.core.errors import DataError, UsageError

__all__ = [
    "controlled_routing",
    "effective_dimension",
    "excess_risk_bound",
    "relu_ntk",
    "routing_kernel",
]


def relu_ntk(x: Any, z: Any = None) -> np.ndarray:
    """Neural tangent kernel of a wide network with one hidden layer of ReLUs, in closed form.

    ``K(x, z) = |x||z| (u k0(u) + k1(u))`` with u their cosine,
    ``k0 = (pi - arccos u) / pi`` and ``k1 = (u (pi - arccos u) + sqrt(1 - u^2)) / pi`` (Jacot et
    al., 2018, with the arc-cosine kernels of Cho and Saul, 2009).

    Args:
        x: ``[n, d]``.
        z: ``[m, d]``; None is `x`.

    Returns:
        ``[n, m]``.

    >>> relu_ntk([[2.0, 0.0]]).round(9).tolist()  # u = 1: |x|^2 (1 + 1)
    [[8.0]]
    """
    a = np.atleast_2d(np.asarray(x, float))
    b = a if z is None else np.atleast_2d(np.asarray(z, float))
    na, nb = np.linalg.norm(a, axis=1), np.linalg.norm(b, axis=1)
    if (na == 0).any() or (nb == 0).any():
        raise DataError("the kernel is not defined at the zero vector")
    u = np.clip((a @ b.T) / np.outer(na, nb), -1, 1)
    if z is None:
        np.fill_diagonal(u, 1.0)
    angle = np.arccos(u)
    k0 = (np.pi - angle) / np.pi
    k1 = (u * (np.pi - angle) + np.sqrt(1 - u * u)) / np.pi
    return np.outer(na, nb) * (u * k0 + k1)


def routing_kernel(g: Any, kernel: Any) -> np.ndarray:
    """``Theta(i, j) = sum_k g(i, k) g(j, k) K_k(i, j)`` (paper, eq. of §4.4).

    Args:
        g: ``[n, K]`` routing weights.
        kernel: ``[n, n]``, the experts' kernel where they are alike, or ``[K, n, n]``.

    Returns:
        ``[n, n]``, positive semi-definite.
    """
    weights = np.asarray(g, float)
    K = np.asarray(kernel, float)
    if weights.ndim != 2 or K.shape[-2:] != (len(weights),) * 2 or K.ndim not in (2, 3):
        raise DataError(
            f"g must be [n, K] and kernel [n, n] or [K, n, n], got {weights.shape} and {K.shape}"
        )
    if K.ndim == 2:
        return (weights @ weights.T) * K
    if len(K) != weights.shape[1]:
        raise DataError(f"{len(K)} kernels are given for {weights.shape[1]} experts")
    return np.einsum("ik,jk,kij->ij", weights, weights, K)


def _spectrum(H: Any) -> tuple[np.ndarray, np.ndarray]:
    H = np.asarray(H, float)
    if H.ndim != 2 or H.shape[0] != H.shape[1] or not np.isfinite(H).all():
        raise DataError(f"H must be a square matrix of finite numbers, got shape {H.shape}")
    if not np.allclose(H, H.T, atol=1e-8 * max(1.0, float(np.abs(H).max()))):
        raise DataError("H must be symmetric")
    values, vectors = np.linalg.eigh((H + H.T) / 2)
    if values.min() < -1e-8 * max(1.0, float(values.max())):
        raise DataError(f"H is no kernel: its least eigenvalue is {values.min():.3g}")
    return np.clip(values, 0, None), vectors


def effective_dimension(H: Any, lam: float) -> float:
    """``d_eff = Tr(H (H + lam I)^-1)``: how many directions the ridge of weight `lam` leaves free.

    Args:
        H: ``[n, n]`` kernel matrix of the data.
        lam: Above 0.

    >>> effective_dimension(np.eye(4), 1.0)
    2.0
    """
    if not lam > 0:
        raise UsageError(f"lam must be above 0, got {lam}")
    values, _ = _spectrum(H)
    return float((values / (values + lam)).sum())


def excess_risk_bound(
    H: Any,
    y: Any,
    *,
    lam: float,
    noise: float,
    delta: float = 0.05,
    c1: float = 1.0,
    c2: float = 1.0,
) -> float:
    """The bound on excess risk that holds with probability 1 - delta (paper, §4.4 and C).

    ``c1 lam^2 / n y'(H + lam I)^-2 y + c2 (noise^2 d_eff / n + noise^2 ln(1 / delta) / n)``; the paper
    leaves both constants open.

    Args:
        H: ``[n, n]`` routing kernel of the data.
        y: ``[n]`` labels.
        lam: Ridge, above 0.
        noise: Standard deviation of the labels' noise.
        delta: In (0, 1).
        c1: First constant.
        c2: Second constant.
    """
    if not lam > 0 or noise < 0 or not 0 < delta < 1:
        raise UsageError(
            f"lam must be above 0, noise not negative and delta in (0, 1): {lam}, {noise}, {delta}"
        )
    values, vectors = _spectrum(H)
    labels = np.asarray(y, float).ravel()
    n = len(values)
    if labels.shape != (n,):
        raise DataError(f"y must have {n} labels, got {labels.shape}")
    along = vectors.T @ labels
    bias = lam**2 / n * float((along**2 / (values + lam) ** 2).sum())
    spread = noise**2 * (float((values / (values + lam)).sum()) + float(np.log(1 / delta))) / n
    return float(c1 * bias + c2 * spread)


def controlled_routing(clusters: Any, q: float, *, experts: int = 16, seed: int = 0) -> np.ndarray:
    """Hard routing ``[n, K]``: each sample to its cluster's expert, or with probability q to any.

    The paper's toy re-draws a random router and reports a strong correlation of distance and
    effective dimension; with routing that is controlled by `q` it holds.

    Args:
        clusters: ``[n]`` numbers from 0.
        q: In [0, 1].
        experts: K.
        seed: Of the drawing.
    """
    c = np.asarray(clusters, int).ravel()
    if not 0 <= q <= 1 or experts < 2:
        raise UsageError(f"q must lie in [0, 1] and experts be at least 2, got {q} and {experts}")
    if not c.size or c.min() < 0:
        raise DataError("clusters must be whole numbers from 0, one a sample")
    rng = np.random.default_rng([seed, 44])
    chosen = np.where(rng.random(len(c)) < q, rng.integers(0, experts, len(c)), c % experts)
    return np.eye(experts)[chosen]
