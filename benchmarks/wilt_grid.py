"""WILT's rules over their whole probe set: plain Python lambdas, and byheart's columns.

Run: python benchmarks/wilt_grid.py
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from byheart.audits.wilt import RULES_FULL, RULES_LITE, judge, points


def best(call: Callable[[], object], rounds: int) -> float:
    """Shortest of `rounds` runs, in seconds."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


def plain(source: str) -> Callable[..., Any]:
    """The rule as the authors have it: a Python lambda. Only our own rules are read so."""
    return eval(source, {"math": math})  # type: ignore[no-any-return]


def main() -> None:
    """Measure and print."""
    where = points(0)
    columns = (where.wide, where.near, where.grid)
    triples = [
        list(itertools.chain(zip(*(c.tolist() for c in block), strict=True))) for block in columns
    ]
    rules = [*RULES_LITE.values(), *RULES_FULL.values()]
    lambdas = [plain(r.source) for r in rules]
    count = sum(map(len, triples))
    for rule, function in zip(rules, lambdas, strict=True):  # the same answers, all of them
        for block, some in zip(columns, triples, strict=True):
            values, raised = rule.function.over(*block)
            assert not raised.any()
            assert values.tolist() == [function(*t) for t in some], rule.id

    def grid_plain() -> None:
        for function in lambdas:
            for t in triples[2]:
                function(*t)

    def grid_ours() -> None:
        for rule in rules:
            rule.function.over(*where.grid)

    slow, fast = best(grid_plain, 3), best(grid_ours, 5)
    print(f"{len(rules)} reference rules, grid of {len(triples[2]):,} whole triples, best time")
    print(f"  plain Python loop   {1e3 * slow:9.1f} ms")
    print(f"  byheart             {1e3 * fast:9.1f} ms   {slow / fast:6.1f}x")

    def all_plain() -> None:
        for function in lambdas:
            for some in triples:
                for t in some:
                    function(*t)

    def all_ours() -> None:
        for rule in rules:
            for block in columns:
                rule.function.over(*block)

    slow, fast = best(all_plain, 3), best(all_ours, 5)
    print(f"the same with the decimals, {count:,} triples")
    print(f"  plain Python loop   {1e3 * slow:9.1f} ms")
    print(f"  byheart             {1e3 * fast:9.1f} ms   {slow / fast:6.1f}x")

    guesses = [(r, r.source) for r in RULES_FULL.values()]

    def judged_plain() -> None:
        for rule, source in guesses:
            a, b = plain(rule.source), plain(source)
            assert all(a(*t) == b(*t) for some in triples for t in some)

    def judged_ours() -> None:
        assert all(judge(rule, source).correct for rule, source in guesses)

    judged_ours()  # the rules' own tables are kept
    slow, fast = best(judged_plain, 3), best(judged_ours, 5)
    print("50 right guesses judged (ours with complexity, inclusion and the lenient verdict)")
    print(f"  plain Python loop   {1e3 * slow:9.1f} ms")
    print(f"  byheart             {1e3 * fast:9.1f} ms   {slow / fast:6.1f}x")
    worst = max(float(np.ptp(c)) for block in columns for c in block)
    print(f"(decimals up to {worst / 2:.0f}; powers and logarithms of decimals are Python's own)")


if __name__ == "__main__":
    main()
