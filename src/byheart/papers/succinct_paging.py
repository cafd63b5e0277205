"""Paging with Succinct Predictions (arXiv 2210.02775), on a CPU.

The claim is that one predicted bit a request is enough: algorithms that are optimal (or within a
factor of 2) with right bits, lose little for each wrong one, and much more for a wrong 0 than for a
wrong 1. The paper has no experiments; these traces and figures are ours. With the traces of
"Online metric algorithms with untrusted predictions" (arXiv 2003.02144) in a folder, its published
ratios are met beside (``data=``; not shipped, they carry no licence).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from byheart.core.errors import DataError, UsageError, need
from byheart.papers._common import Check, Result, save_figure, verdict_of
from byheart.states.paging import (
    BlindOracle,
    Combine,
    Marker,
    TrustAndDoubt,
    discard_bits,
    flip,
    learned_bits,
    noisy_next,
    opt,
    phase_bits,
    read_trace,
    simulate,
)

__all__ = ["CLAIM", "SOURCE", "run", "sessions", "traces"]

CLAIM = (
    "one predicted bit a request makes eviction optimal when the bits are right, and each wrong bit "
    "costs little: a wrong 1 about one fault, a wrong 0 more"
)
SOURCE = "Antoniadis, Boyar, Elias, Favrholdt, Hoeksma, Larsen, Polak, Simon 2023, arXiv 2210.02775; sheet section 7"  # fmt: skip

FLIPS = (0.0, 0.01, 0.05, 0.1, 0.3, 0.5)
BITS = {
    "flush": discard_bits,
    "mark0": discard_bits,
    "mark0-eager": discard_bits,
    "mark-and-predict": phase_bits,
}
PUBLISHED: dict[str, dict[str, Any]] = {
    "bk": {
        "k": 10, "opt": 33990, "lru": 1.291, "marker": 1.333,
        "predictive-marker": {0: 1.225, 10: 1.255, 200: 1.311},
        "blind-oracle": {0: 1.0, 10: 1.129, 200: 1.4},
        "combine": {0: 1.010, 10: 1.140, 200: 1.324},
        "trust-and-doubt": {0: 1.190, 10: 1.233, 200: 1.276},
    },
    "citi": {"k": 100, "opt": 105192, "lru": 1.848, "marker": 1.861},
}  # fmt: skip
"""Ratios to the optimum of arXiv 2003.02144's repository (results/*.json), by sigma of the noise."""

Progress = Callable[[str, float], None]


def sessions(n: int, rng: np.random.Generator) -> np.ndarray:
    """Blocks of prefixes that a served language model asks for: ``[about n]`` int64.

    Sixty sessions of four system prompts (8 blocks each) take turns; each turn asks for all blocks
    of its session so far and adds one to three. A session ends after ten to thirty turns.
    """
    out: list[int] = []
    fresh = 4 * 8
    live: list[tuple[list[int], int]] = []
    while len(out) < n:
        while len(live) < 60:
            system = int(rng.integers(4)) * 8
            live.append((list(range(system, system + 8)), int(rng.integers(10, 31))))
        weight = 1 / np.arange(1, len(live) + 1)
        at = int(rng.choice(len(live), p=weight / weight.sum()))
        blocks, left = live.pop(at)
        more = int(rng.integers(1, 4))
        blocks = [*blocks, *range(fresh, fresh + more)]
        fresh += more
        out += blocks
        if left > 1:
            live.insert(0, (blocks, left - 1))  # who spoke last is likeliest to go on
    return np.array(out, np.int64)


def traces(seed: int, n: int) -> dict[str, np.ndarray]:
    """The traces of a seed: Zipf, loop, mixture of Zipf and scans, and sessions of a language model."""
    rng = np.random.default_rng(seed)

    def zipf(pages: int, power: float, count: int) -> np.ndarray:
        share = np.arange(1, pages + 1) ** -power
        return rng.choice(pages, count, p=share / share.sum())

    mixed, at = [], 4000
    for begin in range(0, n, 500):
        mixed += [zipf(4000, 1.0, 400), at + np.arange(100)]
        at = at + 100 if begin % 25_000 else 4000
    return {
        "Zipf": zipf(3000, 0.9, n),
        "loop": np.arange(n) % 1300,
        "Zipf and scans": np.concatenate(mixed)[:n],
        "sessions": sessions(n, rng),
    }


def run(
    *,
    full: bool = False,
    seeds: int = 3,
    out: Path | None = None,
    progress: Progress | None = None,
    device: str | None = None,
    data: str | Path | None = None,
    requests: int = 40_000,
) -> Result:
    """Run the paper's claim and judge it.

    Args:
        full: Ten times the requests; no GPU is needed.
        seeds: Draws of traces, flips and coins.
        out: Folder for figure and ``result.json``; None writes none.
        progress: Called with what is being done and the share that is finished.
        device: Not used: paging runs on the CPU.
        data: Folder with the ``bk*.txt`` and ``citi*.txt`` traces of arXiv 2003.02144.
        requests: Of each trace.

    Raises:
        UsageError: seeds below 1, or fewer than 5,000 requests.
        DataError: No traces in the folder.
    """
    if seeds < 1 or requests < 5_000:
        raise UsageError(f"seeds must be at least 1, requests 5,000, got {seeds}, {requests}")
    if out is not None:
        need("matplotlib", "plot")
    began = time.perf_counter()
    n = 10 * requests if full else requests
    found: dict[str, dict[str, list[float]]] = {}
    slopes: list[tuple[float, float]] = []
    steps, total = 0, 4 * seeds
    over: list[float] = []
    for seed in range(seeds):
        for name, trace in traces(seed, n).items():
            if progress:
                progress(f"seed {seed + 1}: {name}", 0.7 * steps / total)
            steps += 1
            k = max(len(np.unique(trace)) // 10, 2)
            _play(trace, k, seed, found.setdefault(name, {}), over)
            if name == "Zipf and scans":
                slopes.append(_slopes(trace, k, seed))
    learned = _learned(seeds, n, progress)
    checks = _checks(found, slopes, over, learned)
    notes = [
        f"{seeds} seed(s) of {n:,} requests; the cache holds a tenth of the distinct pages",
        "the paper has no experiments; its algorithms are reconstructed from definitions and bounds, "
        "which tests hold in exact expectation on small instances",
    ]
    if data is not None:
        checks += _published(Path(data), progress)
    figures = [] if out is None else [_figure(found, Path(out))]
    result = Result(
        "succinct-paging", CLAIM, verdict_of(checks), checks, [], figures,
        time.perf_counter() - began, notes,
    )  # fmt: skip
    if out is not None:
        result.save(out)
    return result


def _play(
    trace: np.ndarray, k: int, seed: int, into: dict[str, list[float]], over: list[float]
) -> None:
    """Ratios to the optimum of every policy at every share of wrong bits."""
    best = opt(trace, k)
    true = {bits: bits(trace, k) for bits in (discard_bits, phase_bits)}
    for name in ("lru", "marker"):
        into.setdefault(name, []).append(simulate(name, trace, k, seed=seed).faults / best)
    for name, bits in BITS.items():
        for p in FLIPS:
            told = flip(true[bits], p, seed)
            done = simulate(name, trace, k, bits=told, seed=seed)
            into.setdefault(f"{name} {p}", []).append(done.faults / best)
            over.append(done.faults / (done.bound or 1))


def _slopes(trace: np.ndarray, k: int, seed: int) -> tuple[float, float]:
    """Faults of Flush beyond the optimum for each wrong 0 and for each wrong 1."""
    true, rng = discard_bits(trace, k), np.random.default_rng(seed)
    best, out = opt(trace, k), []
    for value in (1, 0):
        chosen = (true == value) & (rng.random(len(true)) < 0.02)
        told = np.where(chosen, 1 - value, true)
        more = simulate("flush", trace, k, bits=told).faults - best
        out.append(more / max(int(chosen.sum()), 1))
    return out[0], out[1]


def _learned(seeds: int, n: int, progress: Progress | None) -> list[float] | None:
    """Which part of the gap between LRU and the optimum learned bits recover; None without sklearn."""
    from importlib.util import find_spec

    if find_spec("sklearn") is None:
        return None
    out = []
    for seed in range(seeds):
        if progress:
            progress(f"seed {seed + 1}: learning bits", 0.7 + 0.2 * seed / seeds)
        trace = traces(seed, n)["Zipf and scans"]
        k = max(len(np.unique(trace)) // 10, 2)
        bits, begin = learned_bits(trace, k, seed=seed)
        rest = trace[begin:]
        lru, best = (simulate(p, rest, k).faults for p in ("lru", "belady"))
        out.append((lru - simulate("mark0", rest, k, bits=bits, seed=seed).faults) / (lru - best))
    return out


def _checks(
    found: Mapping[str, Mapping[str, list[float]]], slopes: list[tuple[float, float]],
    over: list[float], learned: list[float] | None,
) -> list[Check]:  # fmt: skip
    mean = {t: {p: float(np.mean(v)) for p, v in of.items()} for t, of in found.items()}

    def across(policy: str) -> str:
        return ", ".join(f"{t} {of[policy]:.3f}" for t, of in mean.items())

    exact = max(
        max(of[f"{p} 0.0"]) for of in found.values() for p in ("flush", "mark0", "mark0-eager")
    )
    twice = max(max(of["mark-and-predict 0.0"]) for of in found.values())
    lazy = min(of[f"mark0-eager {p}"] - of[f"mark0 {p}"] for of in mean.values() for p in FLIPS)
    tenth = {t: of["mark0 0.1"] for t, of in mean.items()}
    flat = max(of["mark-and-predict 0.5"] / of["marker"] for of in mean.values())
    zero, one = np.mean(slopes, axis=0)
    checks = [
        Check("right discard bits are optimal", "1.000 times the optimum on every trace",
              f"at most {exact:.3f}", exact == 1.0),
        Check("right phase bits are within a factor of 2", "at most 2 times the optimum",
              f"at most {twice:.3f} ({across('mark-and-predict 0.0')})", twice <= 2),
        Check("no run is above the paper's bound", "faults at most OPT + beta eta0 + eta1",
              f"at most {max(over):.2f} of the bound", max(over) <= 1),
        Check("a wrong 0 costs more than a wrong 1 (Flush)", "slope in eta0 far above that in eta1, which is at most 1",
              f"{zero:.2f} faults a wrong 0, {one:.2f} a wrong 1", bool(zero > 2 * one and one <= 1)),
        Check("lazy Mark0 is never worse than eager", "at most the eager faults everywhere",
              f"least difference {lazy:+.3f}", lazy >= 0),
        Check("a tenth of wrong bits still beats LRU", "Mark0 below LRU on every trace",
              "; ".join(f"{t} {r:.3f} against {mean[t]['lru']:.3f}" for t, r in tenth.items()),
              all(r < mean[t]["lru"] for t, r in tenth.items())),
        Check("Mark&Predict is flat", "with useless bits within 5 % of Marker",
              f"at most {flat:.3f} times Marker", flat <= 1.05),
    ]  # fmt: skip
    if learned is not None:
        told = ", ".join(f"{x:.0%}" for x in learned)
        checks.append(Check("learned bits help", "recover 30 % of the gap between LRU and the optimum, on average over seeds (sheet)", told, bool(np.mean(learned) >= 0.3)))  # fmt: skip
    return checks


def _published(folder: Path, progress: Progress | None) -> list[Check]:
    checks = []
    for i, (name, known) in enumerate(PUBLISHED.items()):
        files = sorted(folder.glob(f"{name}*.txt"))
        if not files:
            raise DataError(f"{folder} has no {name}*.txt; unpack data.zip of adampolak/mts-with-predictions")  # fmt: skip
        if progress:
            progress(f"{name}: {len(files)} traces", 0.9 + 0.05 * i)
        some, k = [read_trace(f) for f in files], known["k"]
        best = sum(opt(t, k) for t in some)
        checks.append(Check(f"{name}: the optimum of {len(files)} traces", f"{known['opt']:,}", f"{best:,}", best == known["opt"]))  # fmt: skip
        wanted = {p: known[p] for p in ("lru", "marker")}
        got = {p: sum(simulate(p, t, k, seed=j).faults for j, t in enumerate(some)) / best for p in wanted}  # fmt: skip
        if name == "bk":
            makers: dict[str, Callable[[int], Any]] = {
                "blind-oracle": lambda j: "blind-oracle",
                "predictive-marker": lambda j: "predictive-marker",
                "combine": lambda j, k=k: Combine([Marker(k, j), BlindOracle(k)], seed=j),  # type: ignore[misc]
                "trust-and-doubt": lambda j, k=k: TrustAndDoubt(k, j),  # type: ignore[misc]
            }  # fmt: skip
            for policy, make in makers.items():
                for sigma, ratio in known[policy].items():
                    faults = 0
                    for j, t in enumerate(some):
                        made = make(j)
                        size = k if isinstance(made, str) else None
                        told = noisy_next(t, sigma, j)
                        faults += simulate(made, t, size, predicted=told, seed=j).faults
                    wanted[f"{policy}, sigma {sigma}"], got[f"{policy}, sigma {sigma}"] = ratio, faults / best  # fmt: skip
        off = max(abs(got[p] - wanted[p]) for p in wanted)
        said = "; ".join(f"{p} {got[p]:.3f} (published {wanted[p]:.3f})" for p in wanted)
        checks.append(Check(f"{name}: published ratios", "within .015 of the published", said, off <= 0.015))  # fmt: skip
    return checks


def _figure(found: Mapping[str, Mapping[str, list[float]]], out: Path) -> Path:
    """Ratio to the optimum over the share of wrong bits, a panel a trace."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.2, 3.2), layout="constrained")
    FigureCanvasAgg(figure)
    panels: Any = figure.subplots(1, len(found))
    colours = {"flush": "#c2571a", "mark0": "#0b6e99", "mark0-eager": "#8fb8c9", "mark-and-predict": "#5b8c5a"}  # fmt: skip
    names = {"flush": "FlushWhenAll0s", "mark0": "Mark0, lazy", "mark0-eager": "Mark0, eager", "mark-and-predict": "Mark&Predict"}  # fmt: skip
    for axes, (trace, of) in zip(panels, found.items(), strict=True):
        for policy, colour in colours.items():
            values: Any = np.array([of[f"{policy} {p}"] for p in FLIPS])
            axes.plot(FLIPS, values.mean(1), "o-", ms=3, lw=1.6, color=colour, label=names[policy])
            axes.fill_between(FLIPS, values.min(1), values.max(1), color=colour, alpha=0.15, lw=0)
        for policy, style in (("lru", "--"), ("marker", ":")):
            label = {"lru": "LRU", "marker": "Marker"}[policy]
            axes.axhline(float(np.mean(of[policy])), color="#8a8f98", ls=style, lw=1.2, label=label)
        axes.set_title(trace, loc="left", fontsize=10)
        axes.set_xlabel("share of wrong bits", fontsize=8)
        top = max(
            float(np.mean(of["mark0 0.5"])),
            float(np.mean(of["lru"])),
            float(np.mean(of["flush 0.3"])),
        )
        axes.set_ylim(0.95, 1 + 1.35 * (top - 1))
        axes.tick_params(labelsize=8)
    panels[0].set_ylabel("faults by the optimum's", fontsize=8)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=6, frameon=False, fontsize=8)
    return save_figure(figure, out / "succinct-paging.svg")
