"""Addresses for the public hard instances: allocators without a plan, greedy, minimalloc, byheart.

Run: python benchmarks/planner.py [--minimalloc BINARY] [--limit 60] [--json]

The eleven "challenging" instances of google/minimalloc (tests/data/minimalloc) have to fit into
1,048,576 bytes. Each row gives heights as multiples of that capacity and seconds (one run, processor
time of this process for byheart, wall-clock time for minimalloc's process):

- caching: what PyTorch's caching allocator would reserve for the sizes times 512, so that its
  rounding does not count; segments do
- online: best fit, request by request, without looking ahead
- by size: the largest first, each in its lowest gap; the usual greedy planner
- byheart: plan_memory(buffers, capacity=1048576)
- lowest: plan_memory(buffers) without a capacity: what it found, and the proven bound

minimalloc is built from its source (cmake) and named by --minimalloc; it runs with its own default
orders WAT,TAW,TWA. Compiling byheart's loops (once an installation) is not counted.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
CAPACITY = 1_048_576


def requests(buffers: Any) -> list[tuple[str, str, int]]:
    """What an allocator would see: frees before mallocs of one moment."""
    events = [(b.upper, 0, ("free", b.id, b.size)) for b in buffers]
    events += [(b.lower, 1, ("malloc", b.id, b.size)) for b in buffers]
    return [e for _, _, e in sorted(events, key=lambda e: e[:2])]


def peer(binary: str, file: Path, limit: float) -> float | None:
    """Seconds of minimalloc, or None where it did not finish."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.csv"
        begin = time.perf_counter()
        try:
            subprocess.run(
                [binary, f"--capacity={CAPACITY}", f"--input={file}", f"--output={out}",
                 f"--timeout={limit:.0f}s", "--preordering_heuristics=WAT,TAW,TWA"],
                capture_output=True, timeout=limit + 5, check=True,
            )  # fmt: skip
        except (subprocess.TimeoutExpired, subprocess.CalledProcessError):
            return None
        seconds = time.perf_counter() - begin
        if not out.exists():
            return None
        from byheart.states.planner import MemoryPlan, read_buffers, read_offsets

        buffers, at = read_buffers(file), read_offsets(out)
        MemoryPlan(buffers, tuple(at[b.id] for b in buffers), CAPACITY, 0, CAPACITY).validate()
        return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--instances", type=Path, default=HERE.parent / "tests/data/minimalloc")
    parser.add_argument("--only", default="ABCDEFGHIJK", help="letters of the instances")
    parser.add_argument("--minimalloc", help="its binary")
    parser.add_argument("--limit", type=float, default=60.0, help="seconds an instance")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()

    from byheart.core.errors import BudgetExceeded
    from byheart.states.planner import (
        Buffer,
        online_fit,
        plan_memory,
        read_buffers,
        simulate_caching,
    )

    plan_memory(
        [Buffer(str(i), i, i + 2, 3 + i % 2) for i in range(9)], solver="search"
    )  # compiles
    rows = []
    for file in sorted(args.instances.glob("*.csv")):
        if file.name[0] not in args.only:
            continue
        buffers = read_buffers(file)
        seen = requests(buffers)
        large = [(kind, i, 512 * size) for kind, i, size in seen]
        row: dict[str, Any] = {
            "instance": file.name[0],
            "buffers": len(buffers),
            "caching": simulate_caching(large).peak_reserved / 512 / CAPACITY,
            "online": online_fit(seen, "best").height / CAPACITY,
            "by_size": by_size(buffers) / CAPACITY,
        }
        begin, used = time.perf_counter(), time.process_time()
        try:
            plan = plan_memory(buffers, CAPACITY, time_limit=args.limit)
            plan.validate()
            row |= {"height": plan.height / CAPACITY, "solver": plan.solver}
        except BudgetExceeded as error:
            row |= {"height": None, "solver": str(error)}
        row["seconds"] = time.perf_counter() - begin
        row["processor"] = time.process_time() - used
        lowest = plan_memory(buffers, time_limit=args.limit)
        row |= {"lowest": lowest.height / CAPACITY, "bound": lowest.lower_bound / CAPACITY}
        row["minimalloc"] = peer(args.minimalloc, file, args.limit) if args.minimalloc else None
        rows.append(row)
        if not args.json:
            show(row)
    if args.json:
        json.dump(rows, sys.stdout, indent=2)
        return
    placed = [r for r in rows if r["height"] is not None]
    print(f"{len(placed)} of {len(rows)} placed at their capacity within {args.limit:.0f} s")
    both = [r for r in placed if r["minimalloc"]]
    if both:
        ours, theirs = sum(r["processor"] for r in both), sum(r["minimalloc"] for r in both)
        print(f"{len(both)} placed by both: byheart {ours:.1f} s, minimalloc {theirs:.1f} s, "
              f"{theirs / ours:.2f}x")  # fmt: skip


def by_size(buffers: Any) -> int:
    """Height of the usual greedy planner."""
    import numpy as np

    from byheart.states._planner.heuristics import place
    from byheart.states._planner.problem import problem_of

    p = problem_of(buffers, 1)
    order = np.lexsort((p.lower - p.upper, -p.size))
    return p.heights(place(order, p.lower, p.upper, p.size)) * p.unit


def show(row: dict[str, Any]) -> None:
    if not show.__dict__.get("head"):
        show.__dict__["head"] = True
        print(f"{'':2}{'buffers':>8}{'caching':>9}{'online':>8}{'by size':>9}{'byheart':>9}"
              f"{'s':>7}{'cpu s':>7}{'minimalloc s':>14}{'lowest':>9}{'bound':>8}")  # fmt: skip
    height = "none" if row["height"] is None else f"{row['height']:.3f}x"
    other = "" if row["minimalloc"] is None else f"{row['minimalloc']:.2f}"
    print(f"{row['instance']:2}{row['buffers']:8}{row['caching']:8.3f}x{row['online']:7.3f}x"
          f"{row['by_size']:8.3f}x{height:>9}{row['seconds']:7.2f}{row['processor']:7.2f}"
          f"{other:>14}{row['lowest']:8.3f}x{row['bound']:7.3f}x  {row['solver']}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
