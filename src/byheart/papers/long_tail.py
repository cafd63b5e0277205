"""Does Learning Require Memorization? and What Neural Networks Memorize and Why, on a CPU.

The claims: where frequencies have a long tail, not fitting what was seen once costs accuracy, by an
amount that the prior tells; limits on memorisation hit rare types; and training on random subsets finds
which labels are memorised. arXiv 1906.05271, arXiv 2008.03703.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from byheart.audits import long_tail as lt
from byheart.core.errors import UsageError, need
from byheart.papers._common import Check, Result, save_figure, verdict_of

__all__ = ["CLAIM", "SOURCE", "clusters", "run"]

CLAIM = (
    "where frequencies have a long tail, not fitting what was seen once costs accuracy by an amount that "
    "the prior tells, limits on memorisation hit rare types, and training on random subsets finds "
    "which labels are memorised"
)
SOURCE = "Feldman 2020, arXiv 1906.05271; Feldman and Zhang 2020, arXiv 2008.03703; sheet section 7"

TYPES, SAMPLES, DIMENSIONS, NOISE, CLASSES = 400, 2000, 48, 0.35, 10
BUCKETS = ("0", "1", "2-5", "6+")
PRUNED = (0.3, 0.5, 0.7)
Progress = Callable[[str, float], None]


def clusters(seed: int, n: int = SAMPLES, types: int = TYPES) -> dict[str, np.ndarray]:
    """Gaussian clusters with Zipf frequencies, each with a label of its own by chance.

    Returns:
        ``x`` [n, 48], ``y`` [n], ``type`` [n], ``counts`` [types], and ``x_test``, ``y_test``,
        ``type_test`` with five points of each cluster, weighted by ``alpha`` [types].
    """
    rng = np.random.default_rng([seed, 3])
    centre = rng.normal(size=(types, DIMENSIONS))
    label = rng.integers(CLASSES, size=types)
    alpha = lt.Zipf(types).draw(rng)
    kind = rng.choice(types, n, p=alpha)
    test = np.repeat(np.arange(types), 5)

    def around(t: np.ndarray) -> np.ndarray:
        return (centre[t] + NOISE * rng.normal(size=(len(t), DIMENSIONS))).astype(np.float32)

    return {
        "x": around(kind), "y": label[kind], "type": kind, "x_test": around(test),
        "y_test": label[test], "type_test": test, "counts": np.bincount(kind, minlength=types),
        "alpha": alpha,
    }  # fmt: skip


def run(
    *,
    full: bool = False,
    seeds: int = 3,
    out: Path | None = None,
    progress: Progress | None = None,
    device: str | None = None,
    steps: int = 400,
    runs: int = 300,
) -> Result:
    """Run the papers' claims and judge them.

    Args:
        full: 1000 networks and 2000 nearest neighbours a seed.
        seeds: Draws of data, of wrong labels, and of training.
        out: Folder for figure and ``result.json``; None writes none.
        progress: Called with what is being done and the share that is finished.
        device: For the networks; the CPU if left out.
        steps: Full-batch steps of a network on clusters.
        runs: Networks trained on subsets of the digits, a seed.

    Raises:
        UsageError: seeds below 1, or runs below 8.
    """
    if seeds < 1 or runs < 8:
        raise UsageError(f"seeds must be at least 1 and runs 8, got {seeds}, {runs}")
    need("torch", "torch")
    if out is not None:
        need("matplotlib", "plot")
    began = time.perf_counter()
    tell = progress or (lambda what, share: None)
    runs = 1000 if full else runs
    tell("drawing data sets", 0.0)
    simulated = [_simulated(seed) for seed in range(seeds)]
    nets, digits = [], []
    for seed in range(seeds):
        tell(f"seed {seed + 1}: networks on clusters", 0.05 + 0.9 * seed / seeds)
        nets.append(_networks(seed, steps, device or "cpu"))
        tell(f"seed {seed + 1}: {runs} networks on digits", 0.05 + 0.9 * (seed + 0.5) / seeds)
        digits.append(_digits(seed, runs, 2000 if full else 1000, device or "cpu"))
    checks = [*_theory_checks(simulated), *_network_checks(nets), *_digit_checks(digits)]
    notes = [
        f"{seeds} seed(s); clusters: {TYPES} types, {SAMPLES} samples; digits: {runs} networks a seed",
        "the networks on digits take 60 passes in steps of 256 rows (the sheet: 200 full batches)",
        "not run: CIFAR-100, ImageNet, and the case of convolutional nets for a GPU",
    ]
    figures = [] if out is None else [_figure(nets, digits, Path(out))]
    result = Result("long-tail", CLAIM, verdict_of(checks), checks, [], figures, time.perf_counter() - began, notes)  # fmt: skip
    if out is not None:
        result.save(out)
    return result


def _simulated(seed: int) -> dict[str, Any]:
    """Lookup learners with and without singletons, beside the formula."""
    prior = lt.Zipf(5000)
    bare = lt.simulate(prior, 10_000, CLASSES, gamma=0.0, trials=100, seed=seed)
    half = lt.simulate(prior, 10_000, CLASSES, gamma=0.5, trials=100, seed=seed)
    return {"bare": bare, "half": half}


def _networks(seed: int, steps: int, device: str) -> dict[str, Any]:
    """Errors by how often a type was seen: full, without singletons, decayed, stopped early, pruned."""
    d = clusters(seed)
    single = d["counts"][d["type"]] == 1
    masks = np.stack([np.ones(len(d["y"]), bool), ~single])
    classes = list(range(CLASSES))

    def net(length: int, decay: float, rows: np.ndarray) -> lt.MLPs:
        made = lt.BatchedMLP((512,), lr=2e-3, epochs=length, batch=None, weight_decay=decay, device=device)  # fmt: skip
        return made.fit(d["x"], d["y"], rows, [seed] * len(rows), classes=classes)

    plain = net(steps, 0.01, masks)
    full, without = (_errors(d, plain.predict(d["x_test"])[i]) for i in (0, 1))
    decayed = _errors(d, net(steps, 8.0, masks[:1]).predict(d["x_test"])[0])
    early = _errors(d, net(max(1, steps // 16), 0.01, masks[:1]).predict(d["x_test"])[0])
    pruned = {share: _errors(d, _pruned(plain, share, d["x_test"])) for share in PRUNED}
    rate = without["1"] - full["1"]
    return {
        "full": full, "without": without, "decayed": decayed, "early": early, "pruned": pruned,
        "singles": int(single.sum()), "cost": without["all"] - full["all"],
        "theory": lt.unfit_cost(lt.Zipf(TYPES), SAMPLES, CLASSES),
        "coupling": rate / (1 - 1 / CLASSES),
        "mass": float(d["alpha"][d["counts"] == 1].sum()),
    }  # fmt: skip


def _errors(d: dict[str, np.ndarray], labels: np.ndarray) -> dict[str, float]:
    """Error over all new points, and by how often their type was seen in training."""
    wrong = (labels != d["y_test"]).reshape(TYPES, -1).mean(1)
    seen = d["counts"]
    groups = (seen == 0, seen == 1, (seen > 1) & (seen < 6), seen > 5)
    out = {"all": float(wrong @ d["alpha"])}
    for name, group in zip(BUCKETS, groups, strict=True):
        out[name] = float(wrong[group].mean()) if group.any() else float("nan")
    return out


def _pruned(nets: lt.MLPs, share: float, x: np.ndarray) -> np.ndarray:
    """Labels by the first network with its smallest weights, in each layer, set to nothing."""
    import torch

    weights = [w.clone() for w in nets.weights]
    for w in weights[::2]:
        flat = w.abs().flatten()
        w[w.abs() <= flat.kthvalue(max(1, int(share * flat.numel()))).values] = 0
    with torch.no_grad():
        return lt.MLPs(weights, nets.classes).predict(x)[0]


def _digits(seed: int, runs: int, near: int, device: str) -> dict[str, Any]:
    """Memorisation of digits, one in twenty of which has a wrong label; and 1-NN beside its exact value."""
    from byheart.core.stats import auc

    d = lt.read_data("digits")
    exact, _ = lt.exact_nearest(d.x, d.y, m=int(0.7 * len(d.y)))
    found = lt.MemorizationEstimator(lt.NearestNeighbour(), d.x, d.y, runs=near, seed=seed).run()
    rng = np.random.default_rng([seed, 4])
    wrong = np.zeros(len(d.y), bool)
    wrong[rng.choice(len(d.y), round(len(d.y) / 20), replace=False)] = True
    y = d.y.copy()
    y[wrong] = (y[wrong] + rng.integers(1, 10, wrong.sum())) % 10
    est = lt.MemorizationEstimator(
        lt.BatchedMLP(device=device), d.x.astype(np.float32), y, d.x_test.astype(np.float32), d.y_test,
        runs=runs, seed=seed,
    ).run()  # fmt: skip
    pairs = lt.pairs_of_runs(est)
    bad, good = (est.mem[group & np.isfinite(est.mem)] for group in (wrong, ~wrong))
    return {
        "rmse": float(np.sqrt(np.nanmean((found.mem - exact) ** 2))), "bound": found.bound,
        "wrong": float(bad.mean()), "clean": float(good.mean()), "auc": auc(bad, good),
        "halves": est.half_split(), "mean": float(np.nanmean(est.mem)), "gap": est.gap, "pairs": len(pairs),
        "high": int((good >= 0.25).sum()), "mem": (bad, good),
    }  # fmt: skip


def _theory_checks(simulated: list[dict[str, Any]]) -> list[Check]:
    checks = []
    for name, gamma, paper in (("bare", 0.0, None), ("half", 0.5, 0.035)):
        runs = [s[name] for s in simulated]
        excess, formula = (float(np.mean([getattr(r, k).value for r in runs])) for k in ("excess", "formula"))  # fmt: skip
        priced = lt.unfit_cost(lt.Zipf(5000), 10_000, CLASSES, gamma=gamma)
        off = float(np.mean([r.difference.value for r in runs]))
        width = float(np.mean([r.difference.high - r.difference.low for r in runs])) / 2 / len(runs) ** 0.5  # fmt: skip
        checks.append(
            Check(
                f"cost of memorising at most {gamma:g}: Zipf, 5000 types, 10 000 samples, 10 classes",
                f"{priced:.4f} by the formula" + (f", {paper:g} in the paper" if paper else ""),
                f"{excess:.4f} simulated, sum over the same samples {formula:.4f} (difference {off:+.5f} ± {width:.5f})",
                abs(off) <= 1.6 * width and abs(excess - priced) < 0.03 * priced,
            )  # two and a half standard errors
        )
    return checks


def _network_checks(nets: list[dict[str, Any]]) -> list[Check]:
    def mean(kind: str, key: str) -> float:
        return float(np.nanmean([n[kind][key] for n in nets]))

    cost, theory, coupling = (float(np.mean([n[k] for n in nets])) for k in ("cost", "theory", "coupling"))  # fmt: skip
    priced = float(np.mean([n["mass"] * n["coupling"] * (1 - 1 / CLASSES) for n in nets]))
    rise = {
        kind: [mean(kind, b) - mean("full", b) for b in BUCKETS[1:]]
        for kind in ("decayed", "early")
    }
    rise |= {f"pruned {s:.0%}": [float(np.nanmean([n["pruned"][s][b] for n in nets])) - mean("full", b) for b in BUCKETS[1:]] for s in PRUNED}  # fmt: skip

    def said(kind: str) -> str:
        return " / ".join(f"{v:+.3f}" for v in rise[kind])

    drops = [rise["decayed"], rise["pruned 50%"]]
    return [
        Check(
            "a network trained without the singletons pays what the theory says",
            f"{theory:.4f} times the coupling (sheet: .0563 measured, .0568 priced)",
            f"{cost:.4f}; coupling {coupling:.3f}, priced {theory * coupling:.4f}, on these very samples {priced:.4f}",
            abs(cost - theory * coupling) < 0.25 * theory,
        ),
        Check(
            "unseen types are guessed, common ones learned",
            "errors about .90, .11, .004, .000 by training count 0, 1, 2-5, 6+",
            ", ".join(f"{mean('full', b):.3f}" for b in BUCKETS),
            mean("full", "0") > 0.8 and mean("full", "1") < 0.3 and mean("full", "6+") < 0.02,
        ),
        Check(
            "limits on memorisation hit rare types first",
            "error rises most for types seen once, least for common ones (decay, pruning)",
            f"rise at 1 / 2-5 / 6+: weight decay {said('decayed')}; "
            + "; ".join(f"{k} {said(k)}" for k in rise if k != "decayed"),
            all(one > two >= many - 0.01 and one > 0.02 for one, two, many in drops),
        ),
    ]


def _digit_checks(found: list[dict[str, Any]]) -> list[Check]:
    def mean(key: str) -> float:
        return float(np.mean([f[key] for f in found]))

    return [
        Check(
            "runs of nearest neighbour estimate the exact memorisation", "far within the bound",
            f"root mean squared error {mean('rmse'):.4f}, bound {mean('bound'):.3f}",
            mean("rmse") < mean("bound") / 5,
        ),
        Check(
            "wrong labels are memorised", "difference at least .4, AUROC at least .88 (sheet: .60 against .061, .93)",
            f"{mean('wrong'):.3f} against {mean('clean'):.3f}, AUROC {mean('auc'):.3f}; {mean('high'):.0f} clean examples at .25 or more, {mean('pairs'):.0f} pairs",
            mean("wrong") - mean("clean") >= 0.4 and mean("auc") >= 0.88,
        ),
        Check(
            "mean memorisation is the generalisation gap", "equal (sheet: .0875 and .0886)",
            f"{mean('mean'):.4f} and {mean('gap'):.4f}", abs(mean("mean") - mean("gap")) < 0.01,
        ),
        Check(
            "half of the runs agree with the other half", "correlation above .9 (sheet: .986 with 300 runs)",
            f"{mean('halves'):.3f}", mean("halves") > 0.9,
        ),
    ]  # fmt: skip


def _figure(nets: list[dict[str, Any]], digits: list[dict[str, Any]], out: Path) -> Path:
    """Errors by how often a type was seen, and memorisation of wrong and right labels."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.2, 3.4), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    lines = {
        "full": ("all samples", "#0b6e99"), "without": ("without singletons", "#c2571a"),
        "decayed": ("weight decay 8", "#5b8c5a"), "early": ("stopped early", "#8a8f98"),
    }  # fmt: skip
    place = np.arange(len(BUCKETS))
    for kind, (name, colour) in lines.items():
        values = np.array([[n[kind][b] for b in BUCKETS] for n in nets])
        left.plot(place, np.nanmean(values, 0), "o-", ms=3, lw=1.6, color=colour, label=name)
    pruned = np.array([[n["pruned"][0.5][b] for b in BUCKETS] for n in nets])
    left.plot(
        place, np.nanmean(pruned, 0), "o--", ms=3, lw=1.2, color="#7b5ea7", label="half pruned"
    )
    left.set_xticks(place, BUCKETS)
    left.set_xlabel("times a type was seen in training", fontsize=8)
    left.set_ylabel("error on new points of the type", fontsize=8)
    left.legend(frameon=False, fontsize=8)
    bins = np.linspace(-0.3, 1, 27)
    for at, name, colour in ((1, "right labels", "#0b6e99"), (0, "wrong labels", "#c2571a")):
        values = np.concatenate([d["mem"][at] for d in digits])
        share = np.histogram(values, bins)[0] / len(values)
        right.stairs(share, bins, color=colour, fill=True, alpha=0.45, label=name)
    right.set_yscale("log")
    right.set_xlabel("memorisation of a digit's label", fontsize=8)
    right.set_ylabel("share of the labels", fontsize=8)
    right.legend(frameon=False, fontsize=8)
    for axes in (left, right):
        axes.tick_params(labelsize=8)
    return save_figure(figure, out / "long-tail.svg")
