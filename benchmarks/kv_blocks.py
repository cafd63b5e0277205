"""Prompts that begin alike: what a pool of key/value blocks saves, by eviction policy.

Run: python benchmarks/kv_blocks.py [--talks 24] [--turns 5] [--blocks 96] [--order random] [--model smollm2] [--json]

Talks share a system prompt and grow by turns; their turns arrive interleaved, and the next eight
requests wait in sight. Every prompt is read (no token is drawn), with no pool, and with a pool of so
many blocks under LRU, FIFO, Marker and Mark0 with the waiting queue's bit. Told: prompt tokens that are
computed, seconds, and the ratio to no pool; and, from the pool's own trace, faults of each policy against
Belady's. Last hidden states are compared with those without a pool.
"""

from __future__ import annotations

import argparse
import collections
import json
import random
import sys
import time
from typing import Any

import torch

SIGHT = 8


def requests(talks: int, turns: int, vocab: int, order: str, seed: int = 0) -> list[list[int]]:
    """Prompts in the order in which they arrive."""
    r = random.Random(seed)
    draw = lambda n: [r.randrange(3, vocab) for _ in range(n)]  # noqa: E731
    system = draw(96)
    alive = [list(system) for _ in range(talks)]
    left = [turns] * talks
    out = []
    while any(left):
        # who spoke lately is likelier to speak again
        at = min(int(r.expovariate(0.25)), talks - 1) if order == "recent" else r.randrange(talks)
        live = [i for i in range(talks) if left[i]]
        i = live[at % len(live)]
        alive[i] += draw(r.randint(20, 70))
        left[i] -= 1
        out.append(list(alive[i]))
        alive.insert(0, alive.pop(i))
        left.insert(0, left.pop(i))
    return out


def read(model: Any, ids: list[int], cache: Any, known: int) -> torch.Tensor:
    with torch.no_grad():
        tokens = torch.tensor([ids[known:]])
        return model(tokens, past_key_values=cache).last_hidden_state[0, -1]


def run(model: Any, prompts: list[list[int]], policy: str | None, blocks: int) -> tuple[dict[str, Any], Any, list[torch.Tensor]]:  # fmt: skip
    from transformers import DynamicCache

    from byheart.states.paging import POLICIES, KVBlockPool, WaitingQueueBit

    queue = collections.deque(prompts[:SIGHT])
    bit = WaitingQueueBit(queue) if policy and POLICIES[policy].hint else None
    pool = KVBlockPool(blocks, policy, predictor=bit) if policy else None
    computed, seconds, ends = 0, 0.0, []
    for i, ids in enumerate(prompts):
        queue.popleft()
        if i + SIGHT < len(prompts):
            queue.append(prompts[i + SIGHT])
        begin = time.perf_counter()
        cache, known = (DynamicCache(), 0) if pool is None else pool.load(ids)
        ends.append(read(model, ids, cache, known))
        if pool is not None:
            pool.store(ids, cache)
        seconds += time.perf_counter() - begin
        computed += len(ids) - known
    row = {"policy": policy or "no pool", "computed": computed, "seconds": seconds}
    if pool is not None:
        row |= {"evictions": pool.stats.evictions, "orphans": pool.stats.orphans, "loads": pool.stats.evictions + pool.stats.orphans + len(pool)}  # fmt: skip
    return row, pool, ends


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--talks", type=int, default=24)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--blocks", type=int, default=96)
    parser.add_argument("--model", default="smollm2")
    parser.add_argument(
        "--order", default="recent", choices=("recent", "random"), help="who speaks next"
    )
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    import byheart
    from byheart.states.paging import simulate

    module = byheart.load(args.model).weights
    inner = getattr(module, "model", module)
    prompts = requests(args.talks, args.turns, module.config.vocab_size, args.order)
    rows, first, kept = [], None, None
    for policy in (None, "lru", "fifo", "marker", "mark0"):
        row, pool, ends = run(inner, prompts, policy, args.blocks)
        if first is None:
            first, kept = row, ends
        else:
            scale = max(float(e.abs().max()) for e in kept)
            row["off"] = max(float((a - b).abs().max()) for a, b in zip(ends, kept, strict=True)) / scale  # fmt: skip
            trace = pool.trace()
            row["belady"] = simulate("belady", trace, k=args.blocks).faults
        rows.append(row)
        if not args.json:
            show(row, first)
    if args.json:
        json.dump({"prompts": len(prompts), "tokens": sum(map(len, prompts)), "rows": rows}, sys.stdout, indent=2)  # fmt: skip


def show(row: dict[str, Any], first: dict[str, Any]) -> None:
    if row is first:
        print(
            f"{'policy':10}{'computed':>10}{'':>8}{'s':>8}{'':>8}{'block loads':>13}{'Belady':>8}{'off':>10}"
        )
    loads = f"{row['loads']:13,}{row['belady']:8,}{row['off']:10.1e}" if "loads" in row else ""
    print(f"{row['policy']:10}{row['computed']:10,}{row['computed'] / first['computed']:7.2f}x"
          f"{row['seconds']:8.1f}{first['seconds'] / row['seconds']:7.2f}x{loads}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
