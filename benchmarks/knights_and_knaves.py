"""Solving and drawing knights-and-knaves puzzles: byheart beside a plain enumerating solver.

Run: python benchmarks/knights_and_knaves.py
"""

from __future__ import annotations

import time
from collections.abc import Callable

from byheart.audits._kk import solver
from byheart.audits._kk.grammar import Statements
from byheart.audits.knights_and_knaves import Sampler, perturb, solve, solve_plain

PUZZLES, PLAIN = 2000, 100


def best(call: Callable[[], object], rounds: int) -> float:
    """Least processor time of `rounds` runs, in seconds."""
    times = []
    for _ in range(rounds):
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return min(times)


def solving(people: int) -> None:
    """Statements as they are drawn, solvable or not."""
    sampler = Sampler(people, seed=0)
    drawn: list[Statements] = [sampler.draw() for _ in range(PUZZLES)]
    solver._tables.cache_clear()
    start = time.process_time()
    ours = [solve(s) for s in drawn]
    cold = (time.process_time() - start) / PUZZLES
    warm = best(lambda: [solve(s) for s in drawn], 20) / PUZZLES
    assert ours[:PLAIN] == [solve_plain(s) for s in drawn[:PLAIN]]
    plain = best(lambda: [solve_plain(s) for s in drawn[:PLAIN]], 10) / PLAIN
    print(
        f"  {people} people   plain {1e6 * plain:8.1f} us   byheart {1e6 * warm:6.2f} us   "
        f"{plain / warm:5.0f}x   (tables empty at the start: {1e6 * cold:.1f} us, {plain / cold:.0f}x)"
    )


def drawing(people: int) -> None:
    """Puzzles with one solution, a statement twin and a leaf twin each."""
    sampler = Sampler(people, seed=0)

    def draw() -> list[object]:
        puzzles = sampler.sample(300)
        return [perturb(p, k, rng=sampler.rng) for k in ("statement", "leaf") for p in puzzles]

    print(f"  {people} people   {300 / best(draw, 3):7.0f} puzzles with both twins a second")


def main() -> None:
    """Measure and print."""
    print(f"solving, {PUZZLES} drawn sets of statements, least processor time a puzzle")
    for people in (2, 3, 5, 8):
        solving(people)
    print("drawing")
    for people in (3, 5, 8):
        drawing(people)


if __name__ == "__main__":
    main()
