"""Speed of memories side by side: byheart, chromadb, LanceDB, mem0, a-mem, and a naive one.

Run: python benchmarks/memory_peers.py [--items 10000 100000] [--slow] [--runs 2] [--force] [--json]

Everyone gets the same texts (sentences out of Debian's documentation, see `_memory_texts`), the same
384 numbers for each (see `_memory_vectors`) and the same queries, which are sentences that are not
among the items. Each system runs in processes of its own, one for writing, one for reading; peers
live in an environment of their own under --work, by `requirements-peers.txt`. Measured:

- bulk/s: items a second, texts and vectors, until they are kept; and until all is searchable
- writes/s: one by one, each acknowledged before the next; "fsync" says what strace saw in them
- start: a new process opens the memory and answers its first query
- recall: milliseconds a query whose vector is there already, ten results with their texts
- recall@10: of the ten nearest by vector, how many are found
- by vector: milliseconds a query by vector alone, of those that find at least 0.975 of the ten
  nearest; chromadb is told to search more thoroughly (`ef_search`) until it does
- bytes: on disk, an item

Every result is kept in benchmarks/records/memory-peers.jsonl as soon as it is there; a second call
measures what is missing. --slow adds a million items. Needs apt (for the texts) and pip (for peers)
the first time, no network afterwards.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from _memory_texts import gather
from _memory_vectors import MODEL, exact, model_vectors, table_vectors

HERE = Path(__file__).parent
RECORDS = HERE / "records" / "memory-peers.jsonl"
PAGE = HERE.parent / "docs" / "memory" / "speed.md"
BEGIN, END = "<!-- tables: begin -->", "<!-- tables: end -->"
PEERS = ("byheart", "naive", "chromadb", "lancedb", "mem0", "a-mem")
OURS = ("byheart", "naive")
SINGLE, QUERIES, K = 500, 200, 10
MOST = 1_010_000


def material(work: Path, n: int, given: Path | None, model: int) -> dict[str, Any]:
    """Texts, vectors, queries and true neighbours for n items."""
    source = given or gather(work)
    mark = f"{zlib.crc32(str(source.resolve()).encode()):08x}"  # other texts, other vectors
    with open(source, encoding="utf-8") as file:
        texts = [line.rstrip("\n") for line, _ in zip(file, range(MOST), strict=False)]
    held = texts[-5000:]
    if n + SINGLE > len(texts) - len(held):
        raise SystemExit(f"{source} has {len(texts)} texts, too few for {n} items")
    chosen = [i for i, t in enumerate(held) if 5 <= len(t.split()) <= 14][:QUERIES]
    queries = work / "queries.txt"
    queries.write_text("\n".join(held[i] for i in chosen) + "\n", encoding="utf-8")
    asked = [held[i] for i in chosen]
    if n <= model:
        kind, path = "all-MiniLM-L6-v2", work / f"model-{n}-{mark}.npy"
        vectors = model_vectors(texts[: n + SINGLE] + asked, path)
    else:
        kind, path = "means of its input token embeddings", work / f"table-{n}-{mark}.npy"
        vectors = table_vectors(texts[: n + SINGLE] + asked, path)
    truth = work / f"truth-{path.name}"
    if not truth.exists():
        np.save(truth, exact(vectors[: n + SINGLE], np.array(vectors[n + SINGLE :]), K))
    return {
        "n": n, "single": SINGLE, "queries": len(asked), "first_query": n + SINGLE,
        "texts": str(source), "vectors": str(path), "truth": str(truth),
        "queries_file": str(queries), "encoder": kind,
    }  # fmt: skip


def environment(work: Path, peers: list[str]) -> tuple[Path, dict[str, str]]:
    """The peers' Python, and why which of them is not there."""
    folder = work / "venv"
    python, missing = folder / "bin" / "python", {}
    names = {"mem0ai": "mem0"}
    if set(peers) - set(OURS) and not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    for line in (HERE / "requirements-peers.txt").read_text().splitlines():
        package = line.partition("==")[0]
        peer = names.get(package, package)
        if line.startswith("#") or peer not in peers:
            continue
        show = [str(python), "-c", f"from importlib.metadata import version; print(version({package!r}))"]  # fmt: skip
        if subprocess.run(show, capture_output=True, text=True).stdout.strip() == line.partition("==")[2]:  # fmt: skip
            continue
        done = subprocess.run(
            [str(python), "-m", "pip", "install", "-q", line], capture_output=True, text=True
        )
        if done.returncode:
            missing[peer] = "not installed: " + done.stderr.strip().splitlines()[-1][:200]
    return python, missing


def run(python: str, peer: str, phase: str, job: Path, limit: float) -> dict[str, Any]:
    """One process of a peer; what it printed last, or why there is nothing."""
    command = [python, str(HERE / "_memory_adapters.py"), peer, phase, str(job)]
    environ = {**os.environ, "PYTHONWARNINGS": "ignore"}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=limit, env=environ, cwd=job.parent
        )
    except subprocess.TimeoutExpired:
        return {"stopped": f"after {limit:.0f} s"}
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        why = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        return {"failed": why[:300]}
    return dict(json.loads(lines[-1]))


def flushes(python: str, peer: str, job: Path) -> str:
    """What strace sees of fsync in twenty single writes."""
    if shutil.which("strace") is None:
        return "?"
    trace = job.parent / "trace"
    subprocess.run(
        ["strace", "-f", "-qq", "-e", "trace=fsync,fdatasync,msync,sync_file_range,access,faccessat,faccessat2", "-o", str(trace),
         python, str(HERE / "_memory_adapters.py"), peer, "sync", str(job)],
        capture_output=True, timeout=300, cwd=job.parent,
    )  # fmt: skip
    text = trace.read_text(errors="replace")
    inside = text.partition("byheart-bench-begin")[2].partition("byheart-bench-end")
    if not inside[1]:
        return "?"
    n = len(re.findall(r"\b(?:fsync|fdatasync|msync|sync_file_range)\(", inside[0])) / 20
    return "none" if n == 0 else f"{n:.1f} a write"


def measure(
    work: Path, peer: str, job: dict[str, Any], python: str, limit: float
) -> dict[str, Any]:
    """One peer at one size."""
    folder = work / "stores" / f"{peer}-{job['n']}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    told = work / f"job-{peer}-{job['n']}.json"
    told.write_text(json.dumps({**job, "folder": str(folder), "limit_s": limit}))
    load = os.getloadavg()
    out: dict[str, Any] = {"load_before": load}
    out.update(run(python, peer, "fill", told, 3 * limit + 600))
    if "failed" not in out and "stopped" not in out:
        out.update(run(python, peer, "ask", told, limit + 600))
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    if "failed" not in out:
        out["fsync"] = flushes(python, peer, told)
    shutil.rmtree(folder, ignore_errors=True)
    out["load_after"] = os.getloadavg()
    return out


def machine() -> dict[str, Any]:
    """What it ran on."""
    cpu = next(
        (line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
         if line.startswith("model name")), platform.processor(),
    ) if Path("/proc/cpuinfo").exists() else platform.processor()  # fmt: skip
    return {"cpu": cpu, "cores": os.cpu_count(), "python": platform.python_version()}


def kept() -> list[dict[str, Any]]:
    """Records so far."""
    if not RECORDS.exists():
        return []
    return [json.loads(line) for line in RECORDS.read_text().splitlines()]


def keep(record: dict[str, Any]) -> None:
    """Put a record in the place of the one of the same peer, size and run."""
    key = ("peer", "n", "run")
    others = [r for r in kept() if any(r[k] != record[k] for k in key)]
    lines = [json.dumps(r) for r in [*others, record]]
    RECORDS.parent.mkdir(exist_ok=True)
    part = RECORDS.with_suffix(".part")
    part.write_text("\n".join(lines) + "\n")
    part.replace(RECORDS)


def number(value: Any, digits: int = 1) -> str:
    """A figure for the table; a dash where there is none."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:,.{digits}f}"


def table(records: list[dict[str, Any]], n: int) -> list[str]:
    """Markdown of one size; of several runs the better figure of each."""
    rows = [r for r in records if r["n"] == n]
    if not rows:
        return []
    best: dict[str, dict[str, Any]] = {}
    for peer in PEERS:
        for r in (r for r in rows if r["peer"] == peer):
            b = best.setdefault(peer, {"note": r.get("note", "")})
            for key in ("writes_per_s", "writes_settled_per_s", "bulk_per_s", "bulk_settled_per_s", "recall_at_10"):  # fmt: skip
                if r.get(key) is not None:
                    b[key] = max(b.get(key, 0.0), r[key])
            for key in ("start_ms", "bytes_per_item"):
                if r.get(key) is not None:
                    b[key] = min(b.get(key, np.inf), r[key])
            for key in ("recall_ms", "by_vector_ms"):
                if r.get(key):
                    b[key] = min(b.get(key, [np.inf] * 2), r[key])
            for key in ("fsync", "stopped", "failed", "missing", "versions"):
                if r.get(key):
                    b[key] = r[key]
    ours = best.get("byheart", {})
    encoder = rows[0].get("encoder", "")
    out = [
        f"### {n:,} items (vectors: {encoder})",
        "",
        "| memory | writes/s, one by one | fsync | bulk/s (searchable) | start, ms | recall p50 / p95, ms | recall@10 | by vector, ms | bytes an item |",
        "| --- | ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]

    def against(mine: Any, theirs: Any) -> str:
        return "" if mine is None or not theirs or b is ours else f" ({theirs / mine:.2g}x)"

    for peer, b in best.items():
        name = f"{peer} {next(iter(b.get('versions', {}).values()), '')}".strip()
        why = b.get("failed") or b.get("missing") or b.get("stopped")
        if why and not b.get("recall_ms"):
            rate = number(b.get("bulk_per_s"))
            out.append(f"| {name} | - | {b.get('fsync', '-')} | {rate} | {why} | | | | |")
            continue
        ms = b.get("recall_ms", [None, None])
        quality = b.get("recall_at_10")
        out.append(
            f"| {name} | {number(b.get('writes_per_s'))}{against(ours.get('writes_per_s'), b.get('writes_per_s'))}"
            f" | {b.get('fsync', '?')} | {number(b.get('bulk_per_s'))} ({number(b.get('bulk_settled_per_s'))})"
            f" | {number(b.get('start_ms'))} | {number(ms[0])} / {number(ms[1])}"
            f"{against(ours.get('recall_ms', [None])[0], ms[0])} | {'-' if quality is None else f'{quality:.3f}'}"
            f" | {number(b.get('by_vector_ms', [None])[0])}{against(ours.get('by_vector_ms', [None])[0], b.get('by_vector_ms', [None])[0])}"
            f" | {number(b.get('bytes_per_item'))} |"
        )
    loads = [x for r in rows for x in (r["load_before"][0], r["load_after"][0])]
    where = rows[-1].get("machine", {})
    out += ["", f"{where.get('cores')} cores ({where.get('cpu')}), load average {min(loads):.1f} to {max(loads):.1f} while measuring; in brackets the multiple of byheart's figure.", ""]  # fmt: skip
    return out


def main() -> None:
    """Measure what is missing, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("--items", type=int, nargs="+", default=[10_000])
    parser.add_argument("--slow", action="store_true", help="1,000,000 items too")
    parser.add_argument("--peers", nargs="+", default=list(PEERS), choices=PEERS)
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--limit", type=float, default=600.0, help="seconds of bulk import at most")
    parser.add_argument("--work", type=Path, default=Path.home() / ".cache" / "byheart" / "bench")
    parser.add_argument(
        "--texts", type=Path, help="a file with one text a line, in place of Debian's"
    )
    parser.add_argument(
        "--model-up-to", type=int, default=MODEL, help="items embedded by the whole model at most"
    )
    parser.add_argument("--force", action="store_true", help="measure anew what has a record")
    parser.add_argument("--json", action="store_true", help="records in place of tables")
    parser.add_argument(
        "--docs", action="store_true", help="put the tables into docs/memory/speed.md"
    )
    parser.add_argument("--no-run", action="store_true", help="print the records there are")
    args = parser.parse_args()
    sizes = sorted(set(args.items) | ({1_000_000} if args.slow else set()))
    todo = [
        (n, turn, peer) for n in sizes for turn in range(args.runs) for peer in args.peers
        if args.force or not any((r["n"], r["run"], r["peer"]) == (n, turn, peer) for r in kept())
    ]  # fmt: skip
    if todo and not args.no_run:
        args.work.mkdir(parents=True, exist_ok=True)
        try:
            jobs = {
                n: material(args.work, n, args.texts, args.model_up_to)
                for n in {n for n, _, _ in todo}
            }
        except SystemExit as error:
            print(f"not run: {error}")
            return
        python, missing = environment(args.work, args.peers)
        for n, turn, peer in todo:
            print(f"{peer}, {n:,} items, run {turn + 1} ...", file=sys.stderr, flush=True)
            record = {"peer": peer, "n": n, "run": turn, "at": time.strftime("%Y-%m-%d %H:%M"),
                      "machine": machine(), "encoder": jobs[n]["encoder"]}  # fmt: skip
            if peer in missing:
                record.update({"missing": missing[peer], "load_before": os.getloadavg(), "load_after": os.getloadavg()})  # fmt: skip
            else:
                which = sys.executable if peer in OURS else str(python)
                record.update(measure(args.work, peer, jobs[n], which, args.limit))
            keep(record)
    found = [r for r in kept() if r["n"] in sizes and r["peer"] in args.peers]
    if args.docs:
        text = PAGE.read_text(encoding="utf-8")
        before, _, rest = text.partition(BEGIN)
        every = kept()
        lines = [line for n in sorted({r["n"] for r in every}) for line in table(every, n)]
        PAGE.write_text(
            f"{before}{BEGIN}\n\n" + "\n".join(lines) + f"\n{END}{rest.partition(END)[2]}",
            encoding="utf-8",
        )
    if args.json:
        print("\n".join(json.dumps(r) for r in found))
    else:
        print("\n".join(line for n in sizes for line in table(found, n)))


if __name__ == "__main__":
    main()
