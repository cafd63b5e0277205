"""Grokking in LLM pretraining, seen in the pathways of experts (arXiv 2506.21551), on a CPU.

The claim is that after the loss has settled a mixture of experts goes on reorganising its routing:
pathways of different samples become more alike, layers more aligned, and both go with accuracy on
held-out items, though only training samples are looked at. Here an OLMoE of a third of a million
parameters learns modular addition, of which it has seen part of the sums; its training accuracy is
perfect long before the rule is found. Two controls that the paper does not have stand beside: the
same model on shuffled answers, which can be memorised and not be generalised from, and the same
routing with experts drawn anew, which keeps path lengths and entropies.

The paper's authors released neither code nor logs. The large case (``full=True``) trains a larger
mixture on several domains in one pass and asks for the delays between groups.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from byheart.audits.pathways import (
    Correlation,
    Snapshot,
    controlled_routing,
    correlate,
    correlations,
    effective_dimension,
    pathway_distance,
    relu_ntk,
    routing_kernel,
    sustained_rise,
)
from byheart.core.errors import DataError, UsageError, need
from byheart.core.finding import Finding
from byheart.core.stats import contrast
from byheart.papers._common import Check, Result, save_figure, verdict_of

__all__ = ["CLAIM", "SOURCE", "run", "toy"]

CLAIM = (
    "after training loss has settled, samples' pathways through experts become more alike and layers "
    "more aligned, and this goes with accuracy on held-out items while the loss does not"
)
SOURCE = "Li, Fan, Zhou 2025, arXiv 2506.21551v4; sheet section 7"

_KNOWN = 0.99
"""Checkpoints whose training accuracy is below are in a spike of the loss, and left out."""

Progress = Callable[[str, float], None]


@dataclass
class _Seed:
    """One seed: rows of the run that can generalise, and of the one that cannot."""

    rule: list[dict[str, float]]
    shuffled: list[dict[str, float]]
    _kept: dict[bool, dict[str, Correlation]] = field(default_factory=dict, repr=False)

    def found(self, late: bool = False) -> dict[str, Correlation]:
        """Correlations with test accuracy, by metric; `late` from its sustained rise on."""
        if late not in self._kept:
            self._kept[late] = self._correlated(late)
        return self._kept[late]

    def _correlated(self, late: bool) -> dict[str, Correlation]:
        rows = _settled(self.rule)
        start = sustained_rise([r["test"] for r in rows]) if late else 0
        rows = rows[min(start, max(0, len(rows) - 3)) :]
        drop = ("test", "train", "test_loss")  # what is judged, and what it stands on
        plain = [{k: v for k, v in r.items() if k not in drop} for r in rows]
        return {c.metric: c for c in correlations(plain, [r["test"] for r in rows])}

    def moved(self, name: str, arm: str = "rule") -> float:
        """How far a metric goes from the first to the last fifth of the settled checkpoints."""
        values = [r[name] for r in _settled(getattr(self, arm))]
        few = max(1, len(values) // 5)
        return float(np.mean(values[-few:]) - np.mean(values[:few]))


def _settled(rows: list[dict[str, float]]) -> list[dict[str, float]]:
    return [r for r in rows if r["train"] >= _KNOWN]


def run(
    *,
    full: bool = False,
    seeds: int = 3,
    out: Path | None = None,
    progress: Progress | None = None,
    device: str | None = None,
    steps: int | None = None,
) -> Result:
    """Run the paper's claim and judge it.

    Args:
        full: The large case, for a GPU.
        seeds: Of weights, split and shuffled answers.
        out: Folder for figure and ``result.json``; None writes none.
        progress: Called with what is being done and the share that is finished.
        device: Where to train; None is the CPU in the small case, the best there is in the large.
        steps: Of training; None is the case's own number.

    Raises:
        UsageError: seeds below 1, or too few steps for ten checkpoints.
        MissingExtra: torch, or matplotlib where `out` is given.
    """
    if seeds < 1:
        raise UsageError(f"seeds must be at least 1, got {seeds}")
    if out is not None:
        need("matplotlib", "plot")
    need("transformers", "torch")
    if full:
        from byheart.papers._pathways_full import run_full

        return run_full(seeds=seeds, out=out, progress=progress, device=device, steps=steps)
    from byheart.papers._pathways_net import Size, train

    size = Size() if steps is None else Size(steps=steps)
    if size.steps < 10 * size.every:
        raise UsageError(f"steps must be at least {10 * size.every}, got {steps}")
    began = time.perf_counter()
    done: list[_Seed] = []
    for seed in range(seeds):
        arms = []
        for i, arm in enumerate(("the rule", "shuffled answers")):

            def tell(share: float, before: int = 2 * seed + i, what: str = arm) -> None:
                if progress:
                    n = before // 2 + 1
                    progress(f"seed {n}: {what}", 0.97 * (before + share) / (2 * seeds))

            tell(0.0)
            trained = train(size, seed=seed, shuffled=i == 1, device=device or "cpu", tell=tell)
            arms.append(trained.rows)
        done.append(_Seed(arms[0], arms[1]))
    few = [
        i for i, d in enumerate(done) if min(len(_settled(d.rule)), len(_settled(d.shuffled))) < 5
    ]
    if few:
        raise DataError(
            f"seed {few[0]} has fewer than 5 checkpoints with a training accuracy of {_KNOWN:.0%}; "
            "give more steps"
        )
    toys = [toy(seed) for seed in range(seeds)]
    checks = [*_checks(done), *_toy_checks(toys)]
    figures = [] if out is None else [_figure(done, toys, Path(out))]
    result = Result(
        "grokking-pathways", CLAIM, verdict_of(checks), checks, _findings(done), figures,
        time.perf_counter() - began, _notes(done, size),
    )  # fmt: skip
    if out is not None:
        result.save(out)
    return result


def _each(done: list[_Seed], metric: str, kind: str, late: bool = False) -> list[float]:
    out = []
    for d in done:
        value = getattr(d.found(late)[metric], kind)
        out.append(float("nan") if value is None else float(value))
    return out


def _list(values: Any) -> str:
    return ", ".join(f"{v:+.2f}" for v in values)


def _checks(done: list[_Seed]) -> list[Check]:
    test = [_settled(d.rule)[-1]["test"] for d in done]
    distance = _each(done, "distance", "spearman")
    cosine = _each(done, "mean_cosine", "spearman")
    centred = _each(done, "centred_cosine", "spearman")
    raw = _each(done, "raw_distance", "spearman", late=True)
    char = _each(done, "char_distance", "spearman", late=True)
    literal = _each(done, "consistency", "spearman")
    loss = _each(done, "train_loss", "spearman")
    left = [d.found()["distance"].partial["entropy+length"] or 0.0 for d in done]
    fall, rise = ([d.moved(m) for d in done] for m in ("distance", "mean_cosine"))
    by = {
        "fall, shuffled": [d.moved("distance", "shuffled") for d in done],
        "rise, shuffled": [d.moved("mean_cosine", "shuffled") for d in done],
        "fall, null": [d.moved("null_distance") for d in done],
        "rise, null": [d.moved("null_cosine") for d in done],
    }

    def small(control: str, own: list[float]) -> bool:
        return all(abs(c) < abs(o) / 3 for c, o in zip(by[control], own, strict=True))

    return [
        Check("the rule is found after the sums are known", "test accuracy from below .7 to above .85",
              ", ".join(f"{_settled(d.rule)[0]['test']:.2f} to {t:.2f}" for d, t in zip(done, test, strict=True)),
              all(t > 0.85 and _settled(d.rule)[0]["test"] < 0.7 for d, t in zip(done, test, strict=True))),
        Check("distance by length falls with accuracy", "Spearman at most -.7 in every seed (sheet)",
              _list(distance), max(distance) <= -0.7),
        Check("mean cosine of layers rises with accuracy", "Spearman at least .8 in every seed (sheet)",
              _list(cosine), min(cosine) >= 0.8),
        Check("so does the cosine without what a router's rows share", "Spearman at least .8 in every seed",
              _list(centred), min(centred) >= 0.8),
        Check("the literal distance falls, from the sustained rise on", "Spearman at most -.5 in every seed (sheet)",
              f"experts {_list(raw)}; characters {_list(char)}", max(raw) <= -0.5),
        Check("the literal consistency 1 - C rises", "Spearman at least .5 in every seed",
              _list(literal), min(literal) >= 0.5),
        Check("training loss says less", "|Spearman| below the distance's by .2 in every seed",
              _list(loss), all(abs(a) < abs(b) - 0.2 for a, b in zip(loss, distance, strict=True))),
        Check("it is not length and entropy", "r of the distance at most -.5 with both taken out",
              _list(left), max(left) <= -0.5),
        Check("control: experts drawn anew, distance", "moves less than a third as far",
              f"{_list(by['fall, null'])} against {_list(fall)}", small("fall, null", fall)),
        Check("control: experts drawn anew, cosine", "moves less than a third as far",
              f"{_list(by['rise, null'])} against {_list(rise)}", small("rise, null", rise)),
        Check("control: shuffled answers, distance", "moves less than a third as far",
              f"{_list(by['fall, shuffled'])} against {_list(fall)}", small("fall, shuffled", fall)),
        Check("control: shuffled answers, cosine", "moves less than a third as far",
              f"{_list(by['rise, shuffled'])} against {_list(rise)}", small("rise, shuffled", rise)),
    ]  # fmt: skip


@dataclass(frozen=True)
class Toy:
    """The paper's toy of its theory: mean distance against effective dimension over settings.

    Attributes:
        controlled: ``[40, 2]`` with routing that is controlled (our version).
        drawn: ``[40, 2]`` with a router drawn anew for each setting (the paper's).
    """

    controlled: np.ndarray
    drawn: np.ndarray


def toy(
    seed: int,
    *,
    settings: int = 40,
    experts: int = 16,
    clusters: int = 4,
    n: int = 200,
    lam: float = 1.0,
) -> Toy:
    """Gaussian clusters in 100 dimensions, 200 samples: normalised distance and d_eff (paper, C.4).

    The paper does not say how many clusters. With as many as there are experts the distance is 15/16
    for q = 0 as for q = 1 and has no room to move; with few, both ends differ.

    Args:
        seed: Of all drawing.
        settings: Of q, or of routers.
        experts: Paper: 16.
        clusters: Of samples.
        n: Samples.
        lam: Of the effective dimension.
    """
    rng = np.random.default_rng([seed, 100])
    kind = np.arange(n) % clusters
    x = rng.normal(size=(clusters, 100))[kind] + 0.5 * rng.normal(size=(n, 100))
    kernel = relu_ntk(x / np.sqrt(100))

    def point(g: np.ndarray) -> tuple[float, float]:
        snap = Snapshot(g[:, None], (np.eye(experts),), np.zeros(n))
        d = pathway_distance(snap, normalize="length").mean
        return d, effective_dimension(routing_kernel(g, kernel), lam)

    held = [
        point(controlled_routing(kind, q, experts=experts, seed=100 * seed + i))
        for i, q in enumerate(np.linspace(0, 1, settings))
    ]
    drawn = []
    for _ in range(settings):
        z = x @ rng.normal(size=(100, experts)) / 10
        e = np.exp(z - z.max(1, keepdims=True))
        drawn.append(point(e / e.sum(1, keepdims=True)))
    return Toy(np.array(held), np.array(drawn))


def _toy_checks(toys: list[Toy]) -> list[Check]:
    def both(points: np.ndarray) -> tuple[float, float]:
        c = correlate(points[:, 0], points[:, 1], permutations=99)
        return c.pearson or 0.0, c.spearman or 0.0

    held, drawn = [both(t.controlled) for t in toys], [both(t.drawn) for t in toys]
    return [
        Check("theory: controlled routing", "r at least .95 between distance and effective dimension (sheet: .99)",
              f"r {_list(r for r, _ in held)}; rho {_list(s for _, s in held)}", min(r for r, _ in held) >= 0.95),
        Check("theory: a router drawn anew (the paper's toy)", "a strong positive correlation, at least .7",
              f"r {_list(r for r, _ in drawn)}; rho {_list(s for _, s in drawn)}", min(r for r, _ in drawn) >= 0.7),
    ]  # fmt: skip


def _findings(done: list[_Seed]) -> list[Finding]:
    """Distance and cosine at the end of the two runs, a pair a seed."""
    if len(done) < 2:
        return []
    out = []
    for name, metric, sign in (("distance", "distance", -1), ("cosine", "mean_cosine", 1)):
        moved = {arm: [sign * d.moved(metric, arm) for d in done] for arm in ("rule", "shuffled")}
        c = contrast(moved["rule"], moved["shuffled"], paired=True, bounded=(-1, 1), seed=0)
        out.append(
            Finding(
                name=f"grokking-pathways/{name}", claim="moves further where there is a rule to be found",
                seen=c.seen, fresh=c.fresh, gap=c.gap, p_value=None, n=c.n, unit="change", seed=0,
                control="the same model on shuffled answers", exploratory=True,
                no_verdict="a change of routing, not of what is known by heart",
                details={"seen_is": "rule", "fresh_is": "shuffled answers"},
            )
        )  # fmt: skip
    return out


def _notes(done: list[_Seed], size: Any) -> list[str]:
    told = []
    for metric in ("distance", "mean_cosine"):
        steps = [d.found()[metric].partial["step"] for d in done]
        told.append(f"{metric} {_list(v or 0.0 for v in steps)}")
    trend = _each(done, "step", "spearman")
    layers = [k for k in done[0].rule[0] if k.startswith("distance/")]
    apart = [float(np.mean([d.moved(k) for d in done])) for k in layers]
    lost = [len(d.rule) - len(_settled(d.rule)) for d in done]
    return [
        f"{len(done)} seed(s); OLMoE of {size.layers} layers with {size.experts} experts, "
        f"{size.hidden} wide; a + b mod {size.p}, {size.share:.0%} of the sums, {size.steps} full-batch "
        f"steps at a learning rate of {size.lr:g}",
        f"checkpoints in a spike of the loss (training accuracy below {_KNOWN:.0%}) are left out: "
        f"{', '.join(map(str, lost))} of {len(done[0].rule)}",
        f"the number of the step alone goes with accuracy at rho {_list(trend)}; with it taken out r is "
        f"{'; '.join(told)}: what is more than two trends",
        f"distance by layer, first to last, moves {_list(apart)}: the paper has early layers drop most",
        "the paper follows OLMoE-7B over a million steps and accuracy on benchmarks after LoRA; it has "
        "neither of the two controls",
    ]


def _figure(done: list[_Seed], toys: list[Toy], out: Path) -> Path:
    """Course of both metrics with their controls, and the toy."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 3.5), layout="constrained")
    FigureCanvasAgg(figure)
    panels: Any = figure.subplots(1, 4)
    steps = [r["step"] for r in done[0].rule]

    def mean(arm: str, name: str) -> np.ndarray:
        table = np.full((len(done), len(steps)), np.nan)
        for i, d in enumerate(done):
            for j, r in enumerate(getattr(d, arm)[: len(steps)]):
                if r["train"] >= _KNOWN:
                    table[i, j] = r[name]
        with np.errstate(all="ignore"):
            count = np.sum(np.isfinite(table), axis=0)
            total = np.nansum(table, axis=0)
        return np.where(count > 0, total / np.maximum(count, 1), np.nan)

    rule, other, chance = "#c2571a", "#0b6e99", "#8a8f98"
    first = panels[0]
    for name, colour, label in (
        ("train", chance, "training sums"),
        ("test", rule, "held-out sums"),
    ):
        table = np.array([[r[name] for r in d.rule[: len(steps)]] for d in done])
        first.plot(steps, np.median(table, axis=0), color=colour, lw=1.6, label=label)
    first.plot(
        steps, mean("shuffled", "test"), color=other, lw=1.4, ls="--", label="held out, shuffled"
    )
    first.set_title("Accuracy", loc="left", fontsize=10)
    for axes, own, null, title in (
        (panels[1], "distance", "null_distance", "Distance by length"),
        (panels[2], "mean_cosine", "null_cosine", "Mean cosine of layers"),
    ):
        axes.plot(steps, mean("rule", own), color=rule, lw=1.6, label="rule")
        axes.plot(
            steps,
            mean("rule", null),
            color=chance,
            lw=1.4,
            ls=":",
            label="rule, experts drawn anew",
        )
        axes.plot(
            steps, mean("shuffled", own), color=other, lw=1.4, ls="--", label="shuffled answers"
        )
        axes.set_title(title, loc="left", fontsize=10)
    for axes in panels[:3]:
        axes.set_xlabel("step", fontsize=8)
        axes.legend(frameon=False, fontsize=7)
    last = panels[3]
    for points, colour, label in (
        (toys[0].controlled, rule, "controlled routing"),
        (toys[0].drawn, chance, "router drawn anew"),
    ):
        last.plot(points[:, 0], points[:, 1], "o", ms=3, color=colour, label=label)
    last.set_title("Toy: effective dimension", loc="left", fontsize=10)
    last.set_xlabel("mean distance by length", fontsize=8)
    last.legend(frameon=False, fontsize=7)
    for axes in panels:
        axes.tick_params(labelsize=8)
    return save_figure(figure, out / "grokking-pathways.svg")
