"""Table A of Think-in-Memory's case: what the hash finds, scans and costs, against an exact scan."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from byheart.notes._thought_hash import Groups, cross_polytope_hash, unit

__all__ = ["COSINES", "Cost", "Hash", "collision", "measure", "on_locomo", "planted"]

COSINES = (0.5, 0.7, 0.9)
B = (2, 4, 8, 16, 32, 64)
FURTHER = ((16, 4, 1), (16, 16, 1), (16, 1, 8))
"""b, probes, tables beyond the paper's one and one."""

D = 384


@dataclass(frozen=True)
class Hash:
    """One setting of the hash on one seed.

    Args:
        b: Groups.
        probes: Groups looked at.
        tables: Hashes.
        found: Share of planted neighbours among the candidates, for each of `COSINES`.
        scanned: Share of the memory compared.
        ms: Milliseconds a query.
    """

    b: int
    probes: int
    tables: int
    found: tuple[float, ...]
    scanned: float
    ms: float


@dataclass(frozen=True)
class Cost:
    """Milliseconds a query over n thoughts: exact, and b = 16 with one probe."""

    n: int
    exact: float
    hashed: float


def collision(b: int, c: float, rng: np.random.Generator, n: int = 20_000) -> float:
    """P(F(x) = F(y)) at cosine c; closed form at b = 2, else n draws of the projections alone.

    Of two unit vectors only their products with R matter: pairs of normal numbers correlated by c.
    """
    if b == 2:
        return 1 - math.acos(c) / math.pi
    a = rng.standard_normal((n, b // 2))
    other = c * a + math.sqrt(1 - c * c) * rng.standard_normal((n, b // 2))
    same = np.eye(b // 2)
    return float((cross_polytope_hash(a, same) == cross_polytope_hash(other, same)).mean())


def planted(n: int, queries: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors: queries, and n thoughts of which the first 3 * queries are their neighbours.

    Query i has thoughts 3i, 3i + 1, 3i + 2 at the cosines of `COSINES`; all others are random.
    """
    q = unit(rng.standard_normal((queries, D)).astype(np.float32))
    x = unit(rng.standard_normal((n, D)).astype(np.float32))
    for i in range(queries):
        for j, c in enumerate(COSINES):
            z = x[3 * i + j] - (x[3 * i + j] @ q[i]) * q[i]
            x[3 * i + j] = c * q[i] + math.sqrt(1 - c * c) * z / np.linalg.norm(z)
    return q, x


def one_thread() -> AbstractContextManager[Any]:
    """One thread for matrix products: several wait for each other where other work runs beside.

    By threadpoolctl, which scikit-learn brings; without it times are taken as they come.
    """
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:
        return nullcontext()
    limits: AbstractContextManager[Any] = threadpool_limits(1)
    return limits


def _milliseconds(call: Callable[[np.ndarray], Any], queries: np.ndarray, rounds: int = 3) -> float:
    """Median over queries of the best of some rounds: other processes only ever slow it down."""
    best = np.full(len(queries), np.inf)
    with one_thread():
        for _ in range(rounds):
            for i, q in enumerate(queries):
                start = time.perf_counter()
                call(q)
                best[i] = min(best[i], time.perf_counter() - start)
    return 1e3 * float(np.median(best))


def measure(
    seed: int, n: int, sizes: tuple[int, ...], tell: Callable[[str, float], None]
) -> tuple[list[Hash], list[Cost]]:
    """All settings over n thoughts, and exact against b = 16 over growing memories."""
    rng = np.random.default_rng(seed)
    queries, x = planted(n, 100, rng)
    settings = [(b, 1, 1) for b in B] + list(FURTHER)
    hashes = []
    for i, (b, probes, tables) in enumerate(settings):
        tell(f"hash, b = {b}", 0.7 * i / len(settings))
        groups = Groups(D, b, tables, seed)
        groups.add(x)
        hits, shares = np.zeros((len(queries), len(COSINES))), []
        for k, q in enumerate(queries):
            rows = groups.candidates(q, probes)
            among = np.arange(n) if rows is None else rows
            hits[k] = np.isin(3 * k + np.arange(len(COSINES)), among)
            shares.append(len(among) / n)
        ms = _milliseconds(lambda q, g=groups, p=probes: g.among(q, p, 10), queries[:30])  # type: ignore[misc]
        hashes.append(
            Hash(b, probes, tables, tuple(hits.mean(0).tolist()), float(np.mean(shares)), ms)
        )
    costs = []
    for i, size in enumerate(sizes):
        tell(f"cost, {size:,} thoughts", 0.7 + 0.3 * i / len(sizes))
        some = x[:size] if size <= n else unit(rng.standard_normal((size, D)).astype(np.float32))
        groups = Groups(D, 16, 1, seed)
        groups.add(some)
        timed = [
            _milliseconds(call, queries[:30], 5)
            for call in (
                lambda q, g=groups: g.exact(q, 10),  # type: ignore[misc]
                lambda q, g=groups: g.among(q, 1, 10),  # type: ignore[misc]
            )
        ]
        costs.append(Cost(size, *timed))
    return hashes, costs


def on_locomo(data: Path, encode: Any, seeds: int) -> dict[str, tuple[float, float]]:
    """Evidence recall@10 and share scanned on LoCoMo's turns, all categories; mean over draws of R."""
    from byheart.notes._locomo_data import read

    settings = [("exact", None, 1, 1), ("b=16", 16, 1, 1), ("b=16, 4 probes", 16, 4, 1),
                ("b=16, 8 tables", 16, 1, 8)]  # fmt: skip
    found: dict[str, list[tuple[float, float]]] = {name: [] for name, *_ in settings}
    for talk in read(data):
        rows = encode([t.line(date=False) for t in talk.turns])
        asked = encode([q.text for q in talk.questions])
        for name, b, probes, tables in settings:
            for seed in range(1 if b is None else seeds):
                groups = Groups(rows.shape[1], b, tables, seed)
                groups.add(rows)
                for question, q in zip(talk.questions, asked, strict=True):
                    got = groups.among(q, probes, 10)
                    gold = set(question.evidence)
                    recall = len(gold & set(got.rows.tolist())) / len(gold)
                    found[name].append((recall, got.scanned))
    return {
        name: (float(np.mean([r for r, _ in x])), float(np.mean([s for _, s in x])))
        for name, x in found.items()
    }
