"""Several policies at several sizes on one trace, and the picture of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from byheart.core.errors import OutputError, UnknownName, UsageError, need
from byheart.states._paging.bits import Trace, discard_bits, flip, pages_of, phase_bits
from byheart.states._paging.combine import Combine, TrustAndDoubt
from byheart.states._paging.learn import learned_bits
from byheart.states._paging.policies import POLICIES, BlindOracle, Mark0, Marker
from byheart.states._paging.predict import noisy_next, pleco, popu
from byheart.states._paging.simulate import Result, simulate

__all__ = ["Study", "draw", "study"]

NAMES = ("belady", *POLICIES, "mark0-eager", "trust-and-doubt", "combine")
COLOURS = ("#0b6e99", "#c2571a", "#5b8c5a", "#8a5a9e", "#b8860b", "#8a8f98", "#1f3b57", "#d08770")


@dataclass(frozen=True)
class Study:
    """What was played.

    Args:
        trace: The part of the trace that was played.
        begin: Where it begins.
        results: By size, then by policy.
    """

    trace: Trace
    begin: int
    results: list[Result]


def study(
    trace: Trace,
    policies: Sequence[str],
    sizes: Sequence[str | int],
    *,
    predict: str = "true",
    times: str = "true",
    seed: int = 0,
    progress: Callable[[str, float], None] | None = None,
) -> Study:
    """Play a trace under policies by name.

    Args:
        trace: Requests.
        policies: Names.
        sizes: Pages, or ``"5%"`` of the distinct pages.
        predict: ``"true"``, ``"flip:P"`` or ``"learned:S"``.
        times: ``"true"``, ``"noise:SIGMA"``, ``"popu"`` or ``"pleco"``.
        seed: Of all coins.
        progress: Called with what is going on and the share done.

    Raises:
        UsageError: A size or a predictor that cannot be read.
        UnknownName: No such policy.
    """
    names = [n.strip() for n in policies if n.strip()]
    for name in names:
        if name not in NAMES:
            raise UnknownName("policy", name, NAMES)
    kind, _, value = predict.partition(":")
    if kind not in ("true", "flip", "learned"):
        raise UsageError(f"predict is true, flip:P or learned:S, got {predict!r}")
    amount = _number(value, predict) if kind != "true" else 0.0
    chosen = sorted({_size(s, trace.distinct) for s in sizes})
    begin = int(len(trace) * amount) if kind == "learned" else 0
    part = Trace(pages_of(trace.pages[begin:])) if begin else trace
    results = []
    predicted = _times(times, part, seed)
    for i, k in enumerate(chosen):
        learned = learned_bits(trace, k, train=amount, seed=seed)[0] if kind == "learned" else None
        for j, name in enumerate(names):
            if progress:
                share = (i + j / len(names)) / len(chosen)
                progress(f"{name}, {k:,} pages", share)
            bits: Any = None
            of = "mark0" if name == "mark0-eager" else name
            hint = POLICIES[of].hint if of in POLICIES else "phase" if name == "combine" else ""
            if hint in ("discard", "phase"):
                true = discard_bits if hint == "discard" else phase_bits
                if kind == "flip":
                    bits = flip(true(part, k), amount, seed)
                elif learned is not None and hint == "discard":
                    bits = learned
            played = _played(name, part, k, bits, predicted, seed)
            results.append(replace(played, policy=name))
    return Study(part, begin, results)


def _played(
    name: str, trace: Trace, k: int, bits: Any, predicted: np.ndarray | None, seed: int
) -> Result:
    if name == "trust-and-doubt":
        return simulate(TrustAndDoubt(k, seed), trace, predicted=predicted)
    if name == "combine":
        both = Combine([BlindOracle(k), Marker(k, seed)], seed=seed)
        return simulate(both, trace, predicted=predicted)
    if name == "mark0-eager" or POLICIES.get(name, Mark0).hint != "next":
        return simulate(name, trace, k, bits=bits, seed=seed)
    return simulate(name, trace, k, predicted=predicted, seed=seed)


def _number(text: str, whole: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise UsageError(f"{whole!r} needs a number behind the colon") from None


def _size(size: str | int, distinct: int) -> int:
    text = str(size).strip()
    try:
        if text.endswith("%"):
            share = float(text[:-1])
            if share <= 0:
                raise ValueError
            return max(round(share / 100 * distinct), 1)
        k = int(text)
    except ValueError:
        raise UsageError(
            f"a size is a number of pages or a share such as 5%, got {text!r}"
        ) from None
    if k < 1:
        raise UsageError(f"a cache holds at least 1 page, got {k}")
    return k


def _times(times: str, trace: Trace, seed: int) -> np.ndarray | None:
    kind, _, value = times.partition(":")
    if kind == "true":
        return None
    if kind == "noise":
        return noisy_next(trace, _number(value, times), seed)
    if kind in ("popu", "pleco"):
        return popu(trace) if kind == "popu" else pleco(trace)
    raise UsageError(f"times is true, noise:SIGMA, popu or pleco, got {times!r}")


def draw(results: Sequence[Result], path: Path) -> Path:
    """Miss-ratio curves, a line a policy.

    Raises:
        MissingExtra: matplotlib is not installed.
        OutputError: The file cannot be written.
    """
    need("matplotlib", "plot")
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 4.2), layout="constrained")
    FigureCanvasSVG(figure)
    axes: Any = figure.subplots()
    names = list(dict.fromkeys(r.policy for r in results))
    ends = []
    for i, name in enumerate(names):
        some = sorted((r for r in results if r.policy == name), key=lambda r: r.k)
        colour = "black" if name == "belady" else COLOURS[i % len(COLOURS)]
        x, y = [r.k for r in some], [r.miss_ratio for r in some]
        axes.plot(x, y, "o-", ms=3.5, lw=2.2 if name == "belady" else 1.5, color=colour)
        ends.append((y[-1], name, x[-1], colour))
    low, high = axes.get_ylim()
    at = -1.0
    for end, name, k, colour in sorted(ends):  # names at the ends of the lines, none over another
        at = max(end, at + (high - low) / 22)
        axes.annotate(name, (k, end), xytext=(1.015, (at - low) / (high - low)), fontsize=8, va="center",
                      textcoords="axes fraction", color=colour)  # fmt: skip
    axes.set_xscale("log")
    axes.set_xlabel("pages that the cache holds")
    axes.set_ylabel("miss ratio")
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, bbox_inches="tight")
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error
    return path
