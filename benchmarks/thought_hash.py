"""Finding the ten nearest of n thoughts: exact, by the cross-polytope hash, and by FAISS.

The exact scan is one matrix-vector product. The hash compares less and pays for choosing what: a
product with R, the lookup of groups, and rows gathered from all over the matrix. FAISS's IndexLSH
compares bits of rotated projections. One query at a time, on one thread, as an agent asks.

Vectors are random directions around a hundred centres, so that each has neighbours at the cosines
that sentences have. Recall is against the exact ten.

Run: python benchmarks/thought_hash.py [--n 1000 10000 100000] [--queries 50]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np

from byheart.notes._thought_hash import Groups, unit

D, K = 384, 10
HASHES = [(b, 1, 1) for b in (2, 4, 8, 16, 32, 64)] + [(16, 4, 1), (16, 1, 8), (64, 8, 1)]


def vectors(n: int, queries: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """`[n, D]` thoughts and `[queries, D]` queries, unit length."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((100, D)).astype(np.float32)
    near = rng.integers(0, 100, n + queries)
    x = unit(centres[near] + 1.2 * rng.standard_normal((n + queries, D)).astype(np.float32))
    return x[:n], x[n:]


def timed(call: Callable[[np.ndarray], np.ndarray], queries: np.ndarray) -> tuple[float, list[set]]:  # type: ignore[type-arg]
    """Median milliseconds a query, and what was found."""
    call(queries[0])
    times, found = [], []
    for q in queries:
        start = time.perf_counter()
        rows = call(q)
        times.append(time.perf_counter() - start)
        found.append(set(np.asarray(rows).tolist()))
    return 1e3 * float(np.median(times)), found


def faiss_lsh(x: np.ndarray) -> Callable[[np.ndarray], np.ndarray] | str:
    """FAISS's IndexLSH of as many bits as numbers, or why there is none."""
    try:
        import faiss
    except ImportError as error:
        return f"left out: {error}; type: pip install faiss-cpu"
    faiss.omp_set_num_threads(1)
    index = faiss.IndexLSH(D, D)
    index.train(x)
    index.add(x)
    return lambda q: index.search(q[None], K)[1][0]


def row(
    exact: float, truth: list[set], name: str, ms: float, found: list[set], scanned: str
) -> None:  # type: ignore[type-arg]
    """Print one line."""
    recall = np.mean([len(a & b) / len(b) for a, b in zip(found, truth, strict=True)])
    print(
        f"  {name:26} {ms:9.3f} ms   recall {recall:.2f}   scanned {scanned:>5}"
        f"   {exact / ms:6.2f}x exact"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, nargs="+", default=[140, 1_000, 10_000, 100_000])
    parser.add_argument("--queries", type=int, default=50)
    args = parser.parse_args()
    for n in args.n:
        x, queries = vectors(n, args.queries, 0)
        whole = Groups(D)
        whole.add(x)
        exact, truth = timed(lambda q, g=whole: g.exact(q, K).rows, queries)
        print(f"{n:,} thoughts of {D} numbers, one thread, {len(queries)} queries, recall@{K}")
        print(f"  {'exact':26} {exact:9.3f} ms   recall 1.00   scanned 100 %")

        for b, probes, tables in HASHES:
            groups = Groups(D, b, tables)
            groups.add(x)
            ms, found = timed(lambda q, g=groups, p=probes: g.among(q, p, K).rows, queries)
            share = np.mean([groups.among(q, probes, K).scanned for q in queries])
            row(
                exact,
                truth,
                f"b={b} probes={probes} tables={tables}",
                ms,
                found,
                f"{100 * share:.0f} %",
            )
        peer = faiss_lsh(x)
        if isinstance(peer, str):
            print(f"  faiss IndexLSH             {peer}")
        else:
            ms, found = timed(peer, queries)
            row(exact, truth, f"faiss IndexLSH, {D} bits", ms, found, "codes")


if __name__ == "__main__":
    main()
