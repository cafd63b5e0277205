"""Requests a second of paging: plain Python, libCacheSim (C), and byheart's compiled loops.

Run: python benchmarks/paging.py [--requests 5000000] [--peer PYTHON] [--json]

One Zipf trace with scans, as a file of libCacheSim's format; unit sizes; caches of 100 to a fifth of
the pages. libCacheSim (PyPI libcachesim) plays the file in its C loop; it is looked for in the
Python that --peer names (this one, if left out). Miss counts must be equal to the last request, or
the run fails. Compiling (once an installation) is not counted, reading the file is, for both.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

PEER = """
import json, sys, time
import libcachesim as l
path, sizes, names = json.loads(sys.argv[1])
for name in names:
    for k in sizes:
        reader = l.TraceReader(path, trace_type=l.TraceType.ORACLE_GENERAL_TRACE)
        cache = {"lru": l.LRU, "fifo": l.FIFO, "belady": l.Belady}[name](k)
        begin = time.perf_counter()
        ratio, _ = cache.process_trace(reader)
        print(json.dumps([name, k, ratio, time.perf_counter() - begin]), flush=True)
"""
POLICIES = ("lru", "fifo", "belady")
OURS = (*POLICIES, "marker", "flush", "mark0", "mark-and-predict")
PLAIN = 200_000


def made(n: int) -> np.ndarray:
    """Pages: Zipf with a scan of new ones every now and then."""
    rng = np.random.default_rng(0)
    share = 1 / np.arange(1, n // 20 + 1)
    pages = rng.choice(n // 20, n, p=share / share.sum())
    for begin in range(0, n, 50_000):
        pages[begin : begin + 5_000] = n // 20 + (begin // 10 + np.arange(5_000)) % (n // 10)
    return pages.astype(np.uint64)


def written(pages: np.ndarray, path: Path) -> None:
    """An oracleGeneral file."""
    from byheart.states.paging import Trace, next_use

    n = len(pages)
    numbers = np.unique(pages, return_inverse=True)[1].astype(np.int64)
    later = next_use(Trace(numbers).pages)
    record = np.zeros(n, [("time", "<u4"), ("id", "<u8"), ("size", "<u4"), ("next", "<i8")])
    record["time"], record["id"], record["size"] = np.arange(n), pages, 1
    record["next"] = np.where(later == n, -1, later + 1)  # counted from 1 there
    record.tofile(path)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("--requests", type=int, default=5_000_000)
    parser.add_argument("--peer", default=sys.executable, help="a Python that has libcachesim")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    from byheart.states._paging.kernels import COMPILED
    from byheart.states.paging import POLICIES as KNOWN
    from byheart.states.paging import read_trace, simulate

    out = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.oracleGeneral.bin"
        pages = made(args.requests)
        written(pages, path)
        n = len(pages)
        distinct = len(np.unique(pages))
        sizes = [100, distinct // 100, distinct // 20, distinct // 5]
        for name in OURS:  # compiled before it is timed
            simulate(name, pages[:1000], 10)
        begin = time.perf_counter()
        trace = read_trace(path)
        reading = time.perf_counter() - begin
        job = json.dumps([str(path), sizes, POLICIES])
        done = subprocess.run([args.peer, "-c", PEER, job], capture_output=True, text=True)
        lines = done.stdout.splitlines() if done.returncode == 0 else []
        peer = {(a, b): (c, d) for a, b, c, d in map(json.loads, lines)}
        for name in OURS:
            for k in sizes:
                one = {"policy": name, "k": k, "requests": n, "compiled": COMPILED}
                begin = time.perf_counter()
                bare = _faults(name, trace, k)
                spent = time.perf_counter() - begin + reading
                one |= {"byheart_per_s": n / spent, "faults": bare}
                if (name, k) in peer:
                    ratio, took = peer[name, k]
                    one |= {"peer_per_s": n / took, "peer_faults": round(ratio * n)}
                    if one["peer_faults"] != bare:
                        sys.exit(f"{name} at {k}: {bare} faults, libCacheSim {one['peer_faults']}")
                if name in KNOWN:
                    short = pages[:PLAIN].tolist()
                    policy = KNOWN[name](k)
                    hint = 0 if policy.hint else None
                    begin = time.perf_counter()
                    for page in short:
                        policy.access(page, hint)
                    one["plain_per_s"] = PLAIN / (time.perf_counter() - begin)
                out.append(one)
    if args.json:
        print("\n".join(map(json.dumps, out)))
        return
    if not peer:
        why = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        print(f"libCacheSim was not measured: {why}\n")
    print(
        f"{n:,} requests of {distinct:,} pages; millions of requests a second (reading included)\n"
    )
    print("| policy | k | plain Python | libCacheSim | byheart | of plain | of libCacheSim |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for one in out:
        ours, plain, c = (one.get(f"{x}_per_s") for x in ("byheart", "plain", "peer"))
        cells = ["" if x is None else f"{x / 1e6:.2f}" for x in (plain, c, ours)]
        cells += ["" if x is None else f"{ours / x:.2g}x" for x in (plain, c)]
        print(f"| {one['policy']} | {one['k']:,} | {' | '.join(cells)} |")


def _faults(name: str, trace: object, k: int) -> int:
    """Faults alone: no optimum beside it, and bits of 0 where a policy wants some."""
    from byheart.states._paging import simulate as played
    from byheart.states._paging.bits import opt, pages_of

    pages = pages_of(trace)
    if name == "belady":
        return opt(trace, k)
    return played._LOOPS[name](pages, np.zeros(len(pages), np.uint8), k, 0)


if __name__ == "__main__":
    main()
