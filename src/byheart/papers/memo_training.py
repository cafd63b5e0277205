"""Memo: token-wise swapping and planned memory for long sequences (arXiv 2407.12117), without a GPU.

Three claims. (a) Addresses planned beforehand need what is live and no more, where an allocator that
decides request by request fragments. (b) Swapping the share alpha of the tokens and recomputing the
rest costs less than swapping all or recomputing all. (c) The gradients are the same, and what is
stored falls to (2 + 14 alpha) / 16. Beside them, what the forecast says of the paper's own machine.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from byheart.core.errors import UsageError, need
from byheart.papers._common import Check, Result, verdict_of

if TYPE_CHECKING:
    from byheart.states.planner import MemoryPlan, Trace

__all__ = ["CLAIM", "SOURCE", "Pipeline", "Traced", "draw_pipeline", "run"]

CLAIM = (
    "activations that are swapped by tokens and addresses that are planned beforehand let a 7B model "
    "train on a million tokens with 8 GPUs, at little cost"
)
SOURCE = "Zhao et al. 2025, Proc. ACM Manag. Data 3(1) 53, arXiv 2407.12117; sheet section 7"

ALPHAS = (0.0, 0.3, 1.0)
Progress = Callable[[str, float], None]


@dataclass(frozen=True)
class Traced:
    """One trace's bytes by layout, as multiples of its lower bound."""

    name: str
    bound: int
    planned: float
    proven: bool
    greedy: float
    first_fit: float
    best_fit: float
    caching: float
    expandable: float


@dataclass(frozen=True)
class Pipeline:
    """A drawn machine and layer: seconds and bytes.

    Attributes:
        layers: How many.
        layer: Seconds of one layer's forward pass; the backward pass takes twice that.
        linear: Share of it that is not attention.
        size: Skeletal bytes of a layer; an eighth of them are its input and attention's output.
        bandwidth: Bytes a second.
    """

    layers: int
    layer: float
    linear: float
    size: float
    bandwidth: float

    @property
    def cover(self) -> float:
        """What a forward pass can hide, by what there is: 1 where all can be swapped."""
        return self.bandwidth * self.layer / self.size

    def seconds(self, alpha: float | None) -> tuple[float, float]:
        """A step's time by simulated events and in closed form; None recomputes all and swaps none."""
        from byheart.states.planner import LayerTimes, simulate_pipeline, step_seconds

        n, t = self.layers, self.layer
        if alpha is None:
            again = [LayerTimes(t, 2 * t, t)] * n
            return simulate_pipeline(again, buffers=n).seconds, n * 4 * t
        copy = self.size * (2 + 14 * alpha) / 16 / self.bandwidth
        more = (1 - alpha) * self.linear * t
        swapped, kept = LayerTimes(t, 2 * t, more, copy), LayerTimes(t, 2 * t)
        events = simulate_pipeline([swapped] * (n - 2) + [kept] * 2).seconds
        return events, step_seconds(n, t, 2 * t, more, copy)

    def alpha(self) -> float:
        """The paper's, with a host that holds everything."""
        from byheart.states.planner import solve_alpha

        return solve_alpha(
            s_input=self.size / 16, s_attn=self.size / 16, s_others=self.size * 14 / 16,
            bandwidth=self.bandwidth, t_layer=self.layer, layers=self.layers, cpu_bytes=1e18,
        )  # fmt: skip


@dataclass
class _Found:
    traced: list[Traced] = field(default_factory=list)
    mixed: list[Traced] = field(default_factory=list)
    two_levels: list[tuple[float, float]] = field(default_factory=list)
    shown: MemoryPlan | None = None
    pipelines: list[Pipeline] = field(default_factory=list)
    gradients: dict[float, float] = field(default_factory=dict)
    stored: dict[float, list[float]] = field(default_factory=dict)


def draw_pipeline(rng: random.Random) -> Pipeline:
    """A pipeline whose mandatory part hides: the paper's program has a solution there."""
    layer = 10 ** rng.uniform(-2, 1)
    cover = 2 ** rng.uniform(-3, 2)  # from 2/16, the mandatory part, to four times all
    size = 10 ** rng.uniform(8, 11)
    return Pipeline(rng.randint(3, 48), layer, rng.uniform(0.05, 1), size, cover * size / layer)


def run(
    *,
    full: bool = False,
    seeds: int = 3,
    out: Path | None = None,
    progress: Progress | None = None,
    device: str | None = None,
    pipelines: int = 300,
    layers: Sequence[int] = (2, 3, 4, 5, 6),
    large: int = 8,
    time_limit: float = 10.0,
) -> Result:
    """Run the paper's claim and judge it.

    Args:
        full: Tokens a second and peak memory of a Llama on a GPU instead, plain, checkpointed, with
            `save_on_cpu` and swapped.
        seeds: Draws of models, lengths and pipelines.
        out: Folder for figure and ``result.json``; None writes none.
        progress: Called with what is being done and the share that is finished.
        device: As for `byheart.load`; of the large case.
        pipelines: Draws a seed.
        layers: Blocks of the recorded GPTs.
        large: Blocks of the GPT of width 4096 whose steps of several lengths follow each other.
        time_limit: Seconds for one plan.

    Raises:
        UsageError: seeds or pipelines below 1.
        CapabilityError: The large case without a GPU.
    """
    if seeds < 1 or pipelines < 1:
        raise UsageError(f"seeds and pipelines must be at least 1, got {seeds}, {pipelines}")
    need("torch", "torch")
    if full:
        from byheart.papers._memo_full import run_full

        return run_full(out=out, progress=progress, device=device)
    if out is not None:
        need("matplotlib", "plot")
    began = time.perf_counter()
    found = _Found()

    def tell(what: str, share: float) -> None:
        if progress:
            progress(what, share)

    for seed in range(seeds):
        done = seed / seeds
        rng = random.Random(seed)
        for i, count in enumerate(layers):
            tell(f"seed {seed + 1}: planning {count} blocks", done + 0.5 * i / len(layers) / seeds)
            _layout(found, rng, seed, count, time_limit)
        tell(f"seed {seed + 1}: steps of changing length", done + 0.5 / seeds)
        _changing(found, rng, large, time_limit)
        tell(f"seed {seed + 1}: pipelines", done + 0.8 / seeds)
        found.pipelines += [draw_pipeline(rng) for _ in range(pipelines)]
        tell(f"seed {seed + 1}: gradients", done + 0.9 / seeds)
        _gradients(found, seed)
    checks = [
        *_layout_checks(found), *_alpha_checks(found.pipelines), *_gradient_checks(found),
        *_machine_checks(),
    ]  # fmt: skip
    figures = []
    if out is not None and found.shown is not None:
        from byheart.papers._memo_figure import draw

        figures = [draw(found.shown, found.traced, found.mixed, Path(out))]
    notes = [
        f"{seeds} seed(s): GPTs of {min(layers)} to {max(layers)} blocks recorded on the CPU; steps of "
        f"a GPT of {large} blocks of width 4096 recorded without memory (FakeTensorMode), five "
        "lengths one after the other",
        "the paper's traces come from Megatron-LM with TransformerEngine on A800s, its plans from Gurobi",
        "times are of simulated streams, not of a GPU; `--full` runs on one",
    ]
    result = Result(
        "memo-training", CLAIM, verdict_of(checks), checks, [], figures,
        time.perf_counter() - began, notes,
    )  # fmt: skip
    if out is not None:
        result.save(out)
    return result


def _layout(found: _Found, rng: random.Random, seed: int, count: int, limit: float) -> None:
    """Plans of a recorded step, beside allocators that do not look ahead."""
    from byheart.papers._memo_trace import small_trace
    from byheart.states.planner import bilevel_parts, bilevel_plan, plan_memory

    width, length = 32 * rng.randint(3, 6), 32 * rng.randint(5, 9)
    trace = small_trace(count, width=width, length=length, seed=seed)
    plan = plan_memory(trace, time_limit=limit)
    plan.validate()
    if plan.replay(trace) > plan.height:
        raise AssertionError("a plan was outgrown by its own trace")
    found.traced.append(_traced(trace, plan.height, plan.proven))
    if found.shown is None or (seed == 0 and count == 3):
        found.shown = plan
    levels = bilevel_plan(**bilevel_parts(trace, layers=32), time_limit=limit)
    found.two_levels.append((levels.height / levels.lower_bound, levels.seconds))


def _traced(
    trace: Trace, height: int, proven: bool, steps: Sequence[Trace] | None = None
) -> Traced:
    """Ratios to the bound; `steps` are the parts of a trace that are planned one by one."""
    from byheart.states.planner import max_live, online_fit, plan_memory, simulate_caching

    bound = max_live(trace)
    parts = [trace] if steps is None else steps
    return Traced(
        trace.name, bound, height / bound, proven,
        max(plan_memory(t, solver="greedy").height for t in parts) / bound,
        max(online_fit(t).height for t in parts) / bound,
        max(online_fit(t, "best").height for t in parts) / bound,
        simulate_caching(trace).peak_reserved / bound,
        simulate_caching(trace, expandable=True).peak_reserved / bound,
    )  # fmt: skip


def _changing(found: _Found, rng: random.Random, large: int, limit: float) -> None:
    """Steps whose lengths differ, as packed batches do, in one allocator after each other."""
    from byheart.papers._memo_trace import joined, large_trace
    from byheart.states.planner import plan_memory

    lengths = [128 * rng.randint(64, 128) for _ in range(5)]
    steps = [large_trace(large, width=4096, heads=32, length=n) for n in lengths]
    plans = [plan_memory(t, time_limit=limit) for t in steps]
    whole = joined(steps, f"lengths {', '.join(f'{n:,}' for n in lengths)}")
    best = max(plans, key=lambda p: p.height)
    found.mixed.append(_traced(whole, best.height, best.proven, steps))


def _layout_checks(found: _Found) -> list[Check]:
    small, mixed = found.traced, found.mixed
    worst = max(t.planned for t in small)
    proven = sum(t.proven for t in small)
    online = [t.first_fit for t in small]
    cached = [t.caching for t in mixed]
    levels = max(r for r, _ in found.two_levels)
    return [
        Check(
            "a plan needs what is live and no more",
            "its height is the lower bound on every recorded step (sheet: 7,102,984 bytes both)",
            f"at most {worst:.4f} times the bound, {proven} of {len(small)} proven smallest",
            worst <= 1.001,
        ),
        Check(
            "deciding request by request needs more",
            "online first fit above the plan on most steps (sheet: 1.055 times on one)",
            f"{min(online):.3f} to {max(online):.3f} times the bound, best fit "
            f"{min(t.best_fit for t in small):.3f} to {max(t.best_fit for t in small):.3f}, caching "
            f"allocator {min(t.caching for t in small):.3f} to {max(t.caching for t in small):.3f}",
            sum(t.first_fit > t.planned for t in small) * 2 > len(small),
        ),
        Check(
            "the caching allocator fragments when lengths change",
            "reserves at least a tenth more than is ever live (paper, figure 3: 73.5 of 65.7 GB)",
            f"{min(cached):.3f} to {max(cached):.3f} times what is live; planned "
            f"{max(t.planned for t in mixed):.3f}; expandable segments "
            f"{max(t.expandable for t in mixed):.4f}",
            min(cached) >= 1.1 and max(t.planned for t in mixed) < min(cached),
        ),
        Check(
            "two levels plan 32 layers quickly",
            "under five minutes (paper), within a tenth of the bound",
            f"{levels:.4f} times the bound, at most {max(s for _, s in found.two_levels):.1f} s",
            levels <= 1.1 and max(s for _, s in found.two_levels) < 300,
        ),
    ]


def _alpha_checks(drawn: Sequence[Pipeline]) -> list[Check]:
    off = excess = 0.0
    beaten = dear = 0
    crossing = True
    for p in drawn:
        alpha = p.alpha()
        (split, closed), (swap, also), (again, too) = (p.seconds(a) for a in (alpha, 1.0, None))
        off = max(off, abs(split / closed - 1), abs(swap / also - 1), abs(again / too - 1))
        over = split / min(swap, again) - 1
        excess = max(excess, over)
        beaten += over > 1e-9
        # Recomputing a token takes longer than copying it: the paper's program does not ask.
        dear += over > 1e-9 and p.linear * p.layer > p.size * 14 / 16 / p.bandwidth
        crossing &= (alpha == 1.0) == (p.cover >= 1)
    return [
        Check(
            "simulated streams and closed form agree",
            "to rounding",
            f"largest relative difference {off:.1e} in {len(drawn)} pipelines",
            off < 1e-9,
        ),
        Check(
            "alpha is at least as good as all or nothing",
            "a step takes at most min(all swapped, all recomputed), to a hundredth",
            f"slower in {beaten} of {len(drawn)}, by at most {excess:.2%}; in {dear} of these "
            "recomputing a token takes longer than copying it, which the paper's program does not ask",
            excess <= 0.01,
        ),
        Check(
            "alpha reaches 1 where the link can take everything",
            "exactly from bandwidth times the layer's time = its bytes",
            "at that crossing in every pipeline" if crossing else "not always at that crossing",
            crossing,
        ),
    ]


def _gradients(found: _Found, seed: int) -> None:
    """Swapped and recomputed training against plain autograd, on a small GPT."""
    from byheart.papers._memo_gradients import compare

    for alpha in ALPHAS:
        worst, stored = compare(alpha, seed)
        found.gradients[alpha] = max(found.gradients.get(alpha, 0.0), worst)
        found.stored.setdefault(alpha, []).append(stored)


def _gradient_checks(found: _Found) -> list[Check]:
    expected = {a: (2 + 14 * a) / 16 for a in ALPHAS}
    mean = {a: sum(v) / len(v) for a, v in found.stored.items()}
    return [
        Check(
            "gradients are those of plain autograd",
            "equal, or within 1e-6 of the largest, for alpha 0, .3 and 1",
            ", ".join(f"alpha {a:g}: {g:.1e}" for a, g in found.gradients.items()),
            all(g < 1e-6 for g in found.gradients.values()),
        ),
        Check(
            "what is stored falls to (2 + 14 alpha) / 16",
            ", ".join(f"{v:.3f}" for v in expected.values()),
            ", ".join(f"{mean[a]:.3f}" for a in ALPHAS),
            all(abs(mean[a] - expected[a]) <= 0.02 for a in ALPHAS),
        ),
    ]


def _machine_checks() -> list[Check]:
    """The forecast of the paper's own machine: nothing is run, efficiencies are assumed."""
    from byheart.states.planner import forecast

    found = forecast("7b", sequence=2**20, device="a800", count=8)
    swap, others = found.ways["swap"], [w for w in found.ways.values() if w.name != "swap"]
    large = forecast("65b", sequence=1408 * 1024, device="a800", count=64)
    return [
        Check(
            "7B on a million tokens fits 8 GPUs of 80 GB by swapping alone (forecast)",
            "fits swapped; Megatron-LM, which recomputes, ends at 640K (paper)",
            f"longest: swap {swap.longest:,}, "
            + ", ".join(f"{w.name} {w.longest:,}" for w in others),
            swap.fits and not any(w.fits for w in others),
        ),
        Check(
            "its utilisation (forecast)",
            "52.30 % (7B, 8 GPUs, 1M), 51.45 % (65B, 64 GPUs, 1408K), within 4 points",
            f"{swap.mfu:.1%}, {large.ways['swap'].mfu:.1%}",
            abs(swap.mfu - 0.523) <= 0.04 and abs(large.ways["swap"].mfu - 0.5145) <= 0.04,
        ),
        Check(
            "from which length copies hide (forecast)",
            "192K tokens (7B, 8 GPUs), within a tenth",
            f"{found.overlap_from:,} tokens, with two GPUs on one PCIe 4 uplink",
            found.overlap_from is not None and abs(found.overlap_from / (192 * 1024) - 1) <= 0.1,
        ),
    ]
