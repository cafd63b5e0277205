"""What blocks hold for the backward pass, and what a step takes: plain, recomputed, swapped.

Run: python benchmarks/swapping.py [--length 2048] [--layers 8] [--width 512] [--steps 3] [--device cpu]
     python benchmarks/swapping.py --longest --memory 256MiB      (the longest sequence that fits)

One Llama, random weights, one sequence, forward and backward pass. Ways: plain autograd; PyTorch's
checkpointing of every block (`use_reentrant=False`); PyTorch's `save_on_cpu`; byheart at alpha 0, .5,
1 and "auto". Seconds are medians; "held" is what autograd's saved tensors take on the device at the
end of the forward pass, parameters not counted, each stretch of memory once. On CUDA the peak of
allocated memory is told too. On a CPU a copy to the host is a copy in the same memory by the same two
cores, so that swapping cannot be faster there: bytes are what to look at, seconds show the overhead.
Gradients are compared with plain ones in the same run.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch

warnings.filterwarnings("ignore", category=FutureWarning)  # transformers renames checkpointing
WAYS = ("plain", "checkpoint", "save_on_cpu", "alpha 0", "alpha 0.5", "alpha 1", "auto")


def built(layers: int, width: int, device: str) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=512, hidden_size=width, intermediate_size=4 * width, num_hidden_layers=layers,
        num_attention_heads=8, num_key_value_heads=8, max_position_embeddings=1 << 20,
    )  # fmt: skip
    dtype = torch.bfloat16 if device.startswith("cuda") else torch.float32
    return LlamaForCausalLM(config).to(device, dtype).train()


class Held:
    """Counts what saved tensors hold; each stretch of memory once."""

    def __init__(self, model: Any) -> None:
        self.own = {p.untyped_storage().data_ptr() for p in model.parameters()}
        self.seen: dict[int, int] = {}

    @contextlib.contextmanager
    def __call__(self) -> Iterator[None]:
        def pack(t: torch.Tensor) -> torch.Tensor:
            place = t.untyped_storage().data_ptr()
            if place not in self.own:
                self.seen[place] = t.untyped_storage().nbytes()
            return t.detach()

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
            yield

    @property
    def bytes(self) -> int:
        return sum(self.seen.values())


@contextlib.contextmanager
def way(name: str, model: Any, memory: int) -> Iterator[Callable[[], dict[str, Any]]]:
    """Whatever a way needs around a step; what is yielded tells what it did."""
    from byheart.states.swapping import offload_activations

    model.gradient_checkpointing_disable()
    if name == "checkpoint":
        model.gradient_checkpointing_enable({"use_reentrant": False})
        yield dict
        model.gradient_checkpointing_disable()
    elif name == "save_on_cpu":
        pinned = next(model.parameters()).is_cuda
        with torch.autograd.graph.save_on_cpu(pin_memory=pinned):
            yield dict
    elif name == "plain":
        yield dict
    else:
        alpha: Any = "auto" if name == "auto" else float(name.split()[1])
        with offload_activations(model, alpha=alpha, cpu_bytes=memory) as swapper:
            yield lambda: {
                **swapper.stats.to_dict(),
                "alpha": swapper.solved if alpha == "auto" else alpha,
            }


def step(model: Any, ids: torch.Tensor) -> None:
    model.zero_grad(set_to_none=True)
    # The last hidden state's mean: the logits of a long text would hide what blocks hold.
    model.model(ids, use_cache=False).last_hidden_state.float().square().mean().backward()


def measured(name: str, model: Any, ids: torch.Tensor, steps: int, plain: Any) -> dict[str, Any]:
    cuda = ids.is_cuda
    seconds, told = [], {}
    with way(name, model, 64 << 30) as tell:
        step(model, ids)  # warms up; "auto" solves
        if cuda:
            torch.cuda.reset_peak_memory_stats()
        for _ in range(steps):
            begin = time.perf_counter()
            step(model, ids)
            if cuda:
                torch.cuda.synchronize()
            seconds.append(time.perf_counter() - begin)
        told = tell()
    row: dict[str, Any] = {
        "way": name,
        "seconds": statistics.median(seconds),
        "alpha": told.get("alpha"),
    }
    if cuda:
        row["peak"] = torch.cuda.max_memory_allocated()
    if told:  # of the passes counted, what stays; the last two blocks are plain
        row["saved_share"] = (told["saved_bytes"] - told["dropped_bytes"]) / told["saved_bytes"]
        row["host_share"] = told["swapped_bytes"] / told["saved_bytes"]
    grads = [p.grad.clone() for p in model.model.parameters()]
    if plain is not None:
        scale = max(float(g.abs().max()) for g in plain)
        row["off"] = (
            max(float((a - b).abs().max()) for a, b in zip(plain, grads, strict=True)) / scale
        )
    row["grads"] = grads
    return row


def held(model: Any, ids: torch.Tensor, layers: int) -> tuple[int, int]:
    """Bytes that blocks hold in a plain pass, and what checkpointing holds: the blocks' inputs."""
    count = Held(model)
    with count():
        model.model(ids, use_cache=False).last_hidden_state.sum()
    size = next(model.parameters()).element_size()
    return count.bytes, ids.numel() * model.config.hidden_size * size * layers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--length", type=int, default=2048)
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--ways", nargs="*", default=list(WAYS), choices=WAYS)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--longest", action="store_true", help="longest sequence at fixed memory")
    parser.add_argument("--memory", default="256MiB", help="of the device, for what blocks hold")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    model = built(args.layers, args.width, args.device)
    if args.longest:
        longest(model, args)
        return
    ids = torch.randint(512, (1, args.length), device=args.device)
    total, inputs = held(model, ids, args.layers)
    rows: list[dict[str, Any]] = []
    plain = None
    for name in args.ways:
        row = measured(name, model, ids, args.steps, plain)
        if name == "plain":
            plain = row["grads"]
        del row["grads"]
        row["held"] = on_device(name, row, total, inputs, args.layers)
        rows.append(row)
        if not args.json:
            show(row, rows[0])
    if args.json:
        json.dump({"length": args.length, "total": total, "rows": rows}, sys.stdout, indent=2)


def on_device(name: str, row: dict[str, Any], total: int, inputs: int, layers: int) -> int:
    """What stays on the device between the passes: the last two blocks', and two buffers."""
    if name == "plain":
        return total
    block = total // layers
    if name == "checkpoint":
        return inputs + block  # and one block's, while it is run again
    if name == "save_on_cpu":
        return block
    return 2 * block + 2 * int(row["host_share"] * block)


def show(row: dict[str, Any], first: dict[str, Any]) -> None:
    if row is first:
        print(
            f"{'way':12}{'held':>12}{'':>8}{'s a step':>10}{'':>8}{'on the host':>13}{'off by':>10}"
        )
    host = f"{row['host_share']:.0%}" if "host_share" in row else ""
    extra = f"  alpha {row['alpha']:.2f}" if row["way"] == "auto" else ""
    extra += f"  peak {row['peak'] >> 20} MiB" if "peak" in row else ""
    print(f"{row['way']:12}{row['held'] / 2**20:8.1f} MiB{row['held'] / first['held']:7.2f}x"
          f"{row['seconds']:10.3f}{row['seconds'] / first['seconds']:7.2f}x{host:>13}"
          f"{row.get('off', 0.0):10.1e}{extra}", flush=True)  # fmt: skip


def longest(model: Any, args: Any) -> None:
    """Doubling, then halving the step: how long a sequence what is held fits a device."""
    from byheart.states._planner.words import read_bytes, size_text

    limit = read_bytes(args.memory)
    share = {
        "plain": None,
        "checkpoint": None,
        "alpha 0": 0.125,
        "alpha 0.5": 0.5625,
        "alpha 1": 1.0,
    }
    print(f"longest sequence whose saved tensors fit {size_text(limit)}, {args.layers} blocks")
    for name, part in share.items():

        def fits(n: int, name: str = name, part: float | None = part) -> bool:
            ids = torch.zeros(1, n, dtype=torch.long, device=args.device)
            total, inputs = held(model, ids, args.layers)
            row = {"host_share": part}
            return on_device(name, row, total, inputs, args.layers) <= limit

        low, high = 0, 256
        while fits(high) and high < 1 << 16:
            low, high = high, high * 2
        while high - low > 64:
            middle = (low + high) // 2
            low, high = (middle, high) if fits(middle) else (low, middle)
        print(f"{name:12}{low:8,} tokens", flush=True)


if __name__ == "__main__":
    main()
