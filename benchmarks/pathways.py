"""Pathway distances of many samples: the textbook loop over pairs, byheart, rapidfuzz one by one.

Run: python benchmarks/pathways.py [samples]
"""

from __future__ import annotations

import itertools
import sys
import time
import tracemalloc
from collections.abc import Callable, Sequence

import numpy as np
from rapidfuzz.distance import Levenshtein

from byheart.audits._edit_distance import edit_distance_plain
from byheart.audits.pathways import Snapshot, consistency, pathway_distance, pathways

LAYERS, EXPERTS, WIDTH = 16, 64, 128


def samples(n: int, rng: np.random.Generator) -> Snapshot:
    """Routing of OLMoE's shape: 16 layers of 64 experts, some 20 of them a layer up to .7."""
    shared = rng.normal(size=(1, LAYERS, EXPERTS))
    z = 1.4 * (0.6 * shared + 0.8 * rng.normal(size=(n, LAYERS, EXPERTS)))
    g = np.exp(z) / np.exp(z).sum(-1, keepdims=True)
    W = tuple(rng.normal(size=(EXPERTS, WIDTH)) for _ in range(LAYERS))
    return Snapshot(g, W, np.zeros(n))


def timed(call: Callable[[], object], rounds: int = 3) -> float:
    """Shortest of `rounds` runs, in seconds of this process."""
    times = []
    for _ in range(rounds):
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return min(times)


def loop(paths: Sequence[Sequence[object]], pairs: Sequence[tuple[int, int]]) -> float:
    """The naive pairwise loop: the textbook recurrence for every pair."""
    return float(np.mean([edit_distance_plain(paths[i], paths[j]) for i, j in pairs]))


def one_by_one(paths: Sequence[Sequence[object]], pairs: Sequence[tuple[int, int]]) -> float:
    """The peer as one would call it: rapidfuzz on lists, pair by pair."""
    return float(np.mean([Levenshtein.distance(paths[i], paths[j]) for i, j in pairs]))


def main() -> None:
    """Measure and print."""
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    rng = np.random.default_rng(0)
    snap = samples(n, rng)
    total = n * (n - 1) // 2
    written = pathways(snap)
    experts = [[(i, int(k)) for i, part in enumerate(p.split("-")) for k in part.split(",")] for p in written]  # fmt: skip
    whole = pathway_distance(snap)
    print(
        f"{n:,} samples, {LAYERS} layers of {EXPERTS} experts: {total:,} pairs of paths of "
        f"{whole.length:.0f} experts, {np.mean([len(w) for w in written]):.0f} characters"
    )
    for unit, paths in (("expert", experts), ("char", written)):
        some = [tuple(map(int, rng.choice(n, 2, replace=False))) for _ in range(400)]
        few = some[:6]
        # the three agree on the same pairs
        assert loop(paths, few) == one_by_one(paths, few)  # type: ignore[arg-type]
        for i, j in few:
            pair = pathway_distance(snap.take([i, j]), unit=unit).mean
            assert pair == one_by_one(paths, [(i, j)])
        slow = timed(lambda p=paths, f=few: loop(p, f), 1) / len(few) * total  # type: ignore[misc]
        peer = timed(lambda p=paths, s=some: one_by_one(p, s)) / len(some) * total  # type: ignore[misc]
        ours = timed(lambda u=unit: pathway_distance(snap, unit=u))  # type: ignore[misc]
        drawn = timed(lambda u=unit: pathway_distance(snap, unit=u, pairs=10_000))  # type: ignore[misc]
        print(f"unit={unit}, all pairs, processor time on one thread")
        print(f"  textbook loop         {slow:10.1f} s  (from {len(few)} pairs)")
        print(f"  rapidfuzz, pairwise   {peer:10.1f} s  (from {len(some)} pairs)")
        print(
            f"  byheart               {ours:10.2f} s  {slow / ours:8,.0f}x the loop, "
            f"{peer / ours:.1f}x rapidfuzz pairwise"
        )
        print(f"  byheart, 10,000 pairs {drawn:10.2f} s  {slow / drawn:8,.0f}x the loop")
    layered = timed(lambda: pathway_distance(snap, per_layer=True), 1)
    print(f"with a mean a layer   {layered:12.2f} s")
    aligned = timed(lambda: consistency(snap))
    e = timed(lambda: _cosines_plain(snap, 20), 1) / 20 * n
    print(f"consistency: plain loop {e:.2f} s, byheart {aligned:.3f} s, {e / aligned:,.0f}x")
    for size in (n // 4, n):
        part = snap.take(np.arange(size))
        tracemalloc.start()
        pathway_distance(part, per_layer=True)
        high = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        table = LAYERS * size * size * 4
        print(f"memory, {size:,} samples: {high / 2**20:.1f} MB; a table of pairs a layer would take {table / 2**20:,.0f} MB")  # fmt: skip


def _cosines_plain(snap: Snapshot, n: int) -> list[float]:
    out = []
    for sample in snap.g[:n]:
        e = [sum(float(w) * row for w, row in zip(g, W, strict=True)) for g, W in zip(sample, snap.W, strict=True)]  # fmt: skip
        c = [float(a @ b / np.linalg.norm(a) / np.linalg.norm(b)) for a, b in itertools.pairwise(e)]
        out.append(float(np.mean(c)))
    return out


if __name__ == "__main__":
    main()
