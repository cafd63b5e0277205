"""Edit distances of 50 samples of 100 tokens: the textbook recurrence, byheart, rapidfuzz itself.

Run: python benchmarks/edit_distance.py
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from rapidfuzz.distance import Levenshtein

from byheart.audits._edit_distance import edit_distance_plain, edit_distances

SAMPLES, TOKENS, VOCABULARY = 50, 100, 49152


def texts(rng: np.random.Generator) -> tuple[list[int], list[list[int]]]:
    """A reference, and samples that keep 0 to 100 % of it."""
    reference = rng.integers(0, VOCABULARY, TOKENS)
    samples = []
    for keep in np.linspace(0, 1, SAMPLES):
        fresh = rng.integers(0, VOCABULARY, TOKENS)
        samples.append(np.where(rng.random(TOKENS) < keep, reference, fresh).tolist())
    return reference.tolist(), samples


def best(call: Callable[[], object], rounds: int) -> float:
    """Shortest of `rounds` runs, in seconds."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> None:
    """Measure and print."""
    reference, samples = texts(np.random.default_rng(0))
    plain = [edit_distance_plain(reference, s) for s in samples]
    assert edit_distances(reference, samples).tolist() == plain
    slow = best(lambda: [edit_distance_plain(reference, s) for s in samples], 3)
    ours = best(lambda: edit_distances(reference, samples), 100)
    peer = best(lambda: [Levenshtein.distance(reference, s) for s in samples], 100)
    print(f"{SAMPLES} samples x {TOKENS} tokens, best time")
    print(f"  textbook recurrence   {1e3 * slow:9.2f} ms")
    print(f"  byheart               {1e3 * ours:9.2f} ms   {slow / ours:6.0f}x the recurrence")
    print(
        f"  rapidfuzz, directly   {1e3 * peer:9.2f} ms   byheart takes {ours / peer:.2f}x as long"
    )


if __name__ == "__main__":
    main()
