"""Table D of A-MEM: what searching N vectors costs, exactly and by a graph (HNSW, usearch)."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from byheart.core.errors import need

__all__ = ["Scale", "scale", "synthetic"]

PAPER_US = {1_000: 0.31, 10_000: 0.38, 100_000: 1.40, 1_000_000: 3.70}
"""Microseconds a query that the paper prints (Table 4)."""


@dataclass(frozen=True)
class Scale:
    """One size.

    Args:
        n: Vectors.
        bytes: What they take.
        exact_us: Microseconds a query, all compared (median).
        graph_us: Microseconds a query by HNSW (median); None if none was built.
        recall: Share of the ten nearest that HNSW finds.
        build_s: Seconds to build the graph.
    """

    n: int
    bytes: int
    exact_us: float
    graph_us: float | None = None
    recall: float | None = None
    build_s: float | None = None


def synthetic(n: int, d: int = 384, *, seed: int = 0, centres: int = 256) -> np.ndarray:
    """`[N, D]` float32 unit vectors around so many centres: embeddings crowd, white noise does not."""
    rng = np.random.default_rng(seed)
    middle = rng.standard_normal((centres, d)).astype(np.float32)
    rows = middle[rng.integers(centres, size=n)]
    rows += 0.7 * rng.standard_normal((n, d), dtype=np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows


def _exact(rows: np.ndarray, query: np.ndarray, k: int) -> np.ndarray:
    near = rows @ query
    top = np.argpartition(-near, k)[:k]
    return top[np.argsort(-near[top])]


def _median_us(call: Callable[[np.ndarray], object], queries: np.ndarray) -> float:
    call(queries[0])
    took = []
    for query in queries:
        begin = time.perf_counter()
        call(query)
        took.append(time.perf_counter() - begin)
    return float(np.median(took)) * 1e6


def scale(
    n: int, *, d: int = 384, k: int = 10, queries: int = 50, seed: int = 0, graph: bool = True
) -> Scale:
    """Measure one size.

    Args:
        n: Vectors, more than k.
        d: Numbers in each (all-MiniLM-L6-v2: 384).
        k: Nearest that are asked for.
        queries: How many are timed.
        seed: Draws vectors and queries; the queries are around the same centres.
        graph: Whether to build one; at 100,000 vectors that takes minutes on a core.

    Raises:
        MissingExtra: usearch is not installed.
    """
    everything = synthetic(n + queries, d, seed=seed)
    rows, asked = everything[:n], everything[n:]
    exact_us = _median_us(lambda q: _exact(rows, q, k), asked)
    if not graph:
        return Scale(n, rows.nbytes, exact_us)
    index = need("usearch.index", "memory").Index(ndim=d, metric="ip", dtype="f32")
    begin = time.perf_counter()
    index.add(np.arange(n), rows)
    built = time.perf_counter() - begin
    wanted = [set(_exact(rows, q, k).tolist()) for q in asked]
    found = [set(index.search(q, k).keys.tolist()) for q in asked]
    share = float(np.mean([len(a & b) / k for a, b in zip(found, wanted, strict=True)]))
    graph_us = _median_us(lambda q: index.search(q, k), asked)
    return Scale(n, rows.nbytes, exact_us, graph_us, share, built)
