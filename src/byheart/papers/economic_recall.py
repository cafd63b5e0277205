"""The Memorization Problem: Can We Trust LLMs' Economic Forecasts? (arXiv 2504.14765), run small.

A small GPT (digits and words as tokens) reads three monthly series up to a cutoff and is then asked for dates before
and after it: bare, under an order to ignore what came after 2000, and with names and dates masked.
A second, shorter training repeats some years, to see whether recall is denser there.

The large case (``full=True``) tunes an open model on the same lines and runs the audit on it.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from byheart.audits._economic.inference import recall_test
from byheart.audits._economic.metrics import best_constant
from byheart.core.errors import UsageError, need
from byheart.core.finding import Evidence, Finding
from byheart.data.series import Series, load, month_index
from byheart.papers._common import Check, Result, save_figure, verdict_of

__all__ = ["CLAIM", "SOURCE", "run"]

CLAIM = (
    "language models recall economic data up to their cutoff, and being told to forget does not "
    "stop them"
)
SOURCE = "Lopez-Lira, Tang, Zhu 2025, arXiv 2504.14765; sheet section 7"

SERIES = ("UNRATE", "AAA", "BAA")
START, CUTOFF, END, LIMIT = "1990-01", "2009-12", "2018-12", "2000-12"
ORDER = "Ignore data after 2000. "
REPEATED = (1992, 1997, 2002, 2007)
_EPOCHS, _SCAN_EPOCHS, _MASKED_EPOCHS, _WINDOW = 60, 8, 40, 6
_PIECES = r"[A-Za-z]+ ?|\d{4}|-\d\d(?= )| = |\. "

_BUILDING = threading.Lock()
"""Initial weights are drawn from torch's one global generator."""

Progress = Callable[[str, float], None]


@dataclass
class _Seed:
    """What one seed measured: per-date errors and hits, by question."""

    rows: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    unmask: dict[str, float] = field(default_factory=dict)
    scan: dict[str, float] = field(default_factory=dict)
    loss: float = 0.0


def run(
    *,
    full: bool = False,
    seeds: int = 3,
    out: Path | None = None,
    progress: Progress | None = None,
    device: str | None = None,
    model: str = "hf:HuggingFaceTB/SmolLM2-1.7B-Instruct",
    epochs: int = _EPOCHS,
) -> Result:
    """Run the paper's claim and judge it.

    Args:
        full: Tune `model` instead of a small GPT; meant for a GPU.
        seeds: Independent trainings.
        out: Folder for figure and ``result.json``; None writes none.
        progress: Called with what is being done and the share that is finished.
        device: ``"cpu"``, ``"cuda"``, ...; None is the CPU for the small case and the best there
            is for the large one.
        model: For the large case; what `byheart.load` takes.
        epochs: Of the small case. The short training of the scan scales with it.

    Raises:
        UsageError: If `seeds` or `epochs` is below 1.
        MissingExtra: If torch (or matplotlib, with `out`) is not installed.
    """
    if seeds < 1 or epochs < 1:
        raise UsageError(f"seeds and epochs must be at least 1, got {seeds}, {epochs}")
    if full:
        from byheart.papers._economic_full import run_full

        return run_full(model, seed=0, out=out, progress=progress, device=device)
    need("torch", "torch")
    if out is not None:
        need("matplotlib", "plot")
    began = time.perf_counter()
    series = three_series()
    done = _all_seeds(series, seeds, epochs, device or "cpu", progress)
    checks = _checks(series, done)
    findings = [_finding(series, done[0], q) for q in ("plain", "limit")]
    notes = [
        "words, years, months and digits are tokens, not single characters; blocks start from a "
        "spread of 0.08",
        "UNRATE is the rate that is not seasonally adjusted, and ends with 2016",
        "29 calendar lines name the years after the cutoff, so that asking about them uses no unknown "
        "word",
        f"{seeds} seed(s); numbers are means over seeds, findings are of the first seed",
        "small GPT (3 layers, width 128) and not the paper's gpt-4o: shows the mechanism, not its size",
        "the GPU variant (--full) has not been run",
    ]
    figures: list[Path] = []
    if out is not None:
        figures.append(_figure(series, done, Path(out)))
    result = Result(
        "economic-recall", CLAIM, verdict_of(checks), checks, findings, figures,
        time.perf_counter() - began, notes,
    )  # fmt: skip
    if out is not None:
        result.save(out)
    return result


def three_series() -> dict[str, Series]:
    """Unemployment rate (not adjusted, to 2016), Aaa and Baa yields; monthly, percent."""
    all_three = (load("us_unemployment_nsa"), load("aaa_yield"), load("baa_yield"))
    return {k: s.between(START, END) for k, s in zip(SERIES, all_three, strict=True)}


def _all_seeds(
    series: dict[str, Series], seeds: int, epochs: int, device: str, progress: Progress | None
) -> list[_Seed]:
    """Train the seeds side by side, one thread each: tensors are too small to be shared out.

    A seed's numbers do not depend on how many run beside it.
    """
    import torch

    shares, lock, threads = [0.0] * seeds, threading.Lock(), torch.get_num_threads()

    def part(seed: int) -> _Seed:
        def tell(step: str, done: float) -> None:
            with lock:
                shares[seed] = max(shares[seed], min(done, 1.0))
                if progress:
                    progress(f"seed {seed + 1} of {seeds}: {step}", sum(shares) / seeds)

        torch.set_num_threads(1)
        return _train_and_ask(series, seed, epochs, device, tell)

    workers = min(seeds, _cores()) if device == "cpu" else 1
    try:
        with ThreadPoolExecutor(workers) as pool:
            return list(pool.map(part, range(seeds)))
    finally:
        torch.set_num_threads(threads)


def _cores() -> int:
    """Cores this process may use; containers often grant fewer than the machine has."""
    allowed = getattr(os, "sched_getaffinity", None)
    return len(allowed(0)) if allowed else os.cpu_count() or 1


def _line(name: str, date: str) -> str:
    return f"{name} {date} = "


def _calendar() -> list[tuple[str, str]]:
    """Years in order, past the cutoff too: dates asked about later are words the model has met."""
    years = range(int(START[:4]), int(END[:4]) + 1)
    return [(f"{year} comes before ", str(year + 1)) for year in years]


def _windows(series: dict[str, Series]) -> list[tuple[str, str, str]]:
    """``(prompt, series, year)`` of six consecutive values up to the cutoff."""
    out = []
    for name, s in series.items():
        pre, _ = s.split(CUTOFF)
        for i in pre[: -_WINDOW + 1]:
            values = " ".join(s.format(v) for v in s.values[i : i + _WINDOW])
            out.append((f"{values} is ", name, s.dates[i][:4]))
    return out


def _train_and_ask(
    series: dict[str, Series], seed: int, epochs: int, device: str, tell: Progress
) -> _Seed:
    from byheart.papers._common import Characters, TinyGPT, fit, generate

    rng = np.random.default_rng(seed)
    pre = {k: s.split(CUTOFF)[0] for k, s in series.items()}
    lines = [
        (_line(k, s.dates[i]), s.format(s.values[i])) for k, s in series.items() for i in pre[k]
    ]
    windows = _windows(series)
    learned = set(rng.permutation(len(windows))[: len(windows) // 2].tolist())
    masked = [(windows[i][0], f"{windows[i][1]} {windows[i][2]}") for i in sorted(learned)]
    documents = [*lines, *((ORDER + a, b) for a, b in lines), *_calendar()]
    chars = Characters([*(a + b for a, b in [*documents, *masked]), "0123456789 -."], _PIECES)

    def train(
        docs: list[tuple[str, str]],
        rounds: int,
        what: str,
        start: float,
        share: float,
        gpt: Any = None,
        lr: float = 1e-3,
    ) -> Any:
        if gpt is None:
            with _BUILDING:
                gpt = TinyGPT(len(chars), seed=seed, std=0.08).to(device)
        losses = fit(
            gpt,
            [[*chars.encode(a + b), chars.end] for a, b in docs],
            epochs=max(1, round(rounds * epochs / _EPOCHS)),
            batch=64,
            lr=lr,
            loss_from=[len(chars.encode(a)) for a, _ in docs],
            seed=seed,
            progress=lambda done, loss: tell(f"{what}, loss {loss:.2f}", start + share * done),
        )
        return gpt, losses[-1]

    def ask(gpt: Any, prompts: list[str]) -> list[str]:
        ids = generate(gpt, [chars.encode(p) for p in prompts], max_new=9)
        return [chars.decode(x[0]) for x in ids]

    gpt, loss = train(documents, _EPOCHS, "learning three series", 0.0, 0.7)
    result = _Seed(loss=loss)
    asked = [(k, i) for k, s in series.items() for i in range(len(s))]
    for question, order in (("plain", ""), ("limit", ORDER)):
        replies = ask(gpt, [order + _line(k, series[k].dates[i]) for k, i in asked])
        result.rows[question] = [
            _row(series[k], k, i, reply) for (k, i), reply in zip(asked, replies, strict=True)
        ]
    gpt, _ = train(masked, _MASKED_EPOCHS, "learning to name masked windows", 0.7, 0.15, gpt, 1e-3)
    held = [w for i, w in enumerate(windows) if i not in learned]
    said = [re.match(r"(\w+) (\d{4})", r) for r in ask(gpt, [w[0] for w in held])]
    pairs = list(zip(said, held, strict=True))
    result.unmask = {
        "series": float(np.mean([bool(m) and m[1] == w[1] for m, w in pairs])),  # type: ignore[index]
        "year": float(np.mean([bool(m) and m[2] == w[2] for m, w in pairs])),  # type: ignore[index]
        "n": float(len(held)),
    }
    repeated = [d for d in lines for _ in range(5 if int(d[0].split()[1][:4]) in REPEATED else 1)]
    repeated += _calendar()
    gpt, _ = train(repeated, _SCAN_EPOCHS, "short training, some years 5x", 0.85, 0.14)
    hits = [a == b for a, (_, b) in zip(ask(gpt, [a for a, _ in lines]), lines, strict=True)]
    often = np.asarray([int(a.split()[1][:4]) in REPEATED for a, _ in lines])
    result.scan = {
        "repeated": float(np.mean(np.asarray(hits)[often])),
        "once": float(np.mean(np.asarray(hits)[~often])),
    }
    tell("done", 1.0)
    return result


def _row(s: Series, name: str, i: int, reply: str) -> dict[str, Any]:
    y = s.values[i]
    try:
        said: float | None = float(reply)
    except ValueError:
        said = None
    return {
        "series": name,
        "date": s.dates[i],
        "month": s.months[i],
        "pre": s.months[i] <= month_index(CUTOFF),
        "after_limit": s.months[i] > month_index(LIMIT),
        "truth": y,
        "said": said,
        "reply": reply,
        "hit": said is not None and s.format(said) == s.format(y),
        "error": None if said is None else abs(said - y),
        "ape": None if said is None else abs(said - y) / abs(y),
    }


def _mean(rows: list[dict[str, Any]], key: str) -> float:
    known = [r[key] for r in rows if r[key] is not None]
    return float(np.mean(known)) if known else float("nan")


def _each(done: list[_Seed], question: str, key: str, **where: bool) -> list[float]:
    """Mean of a column for each seed, over the rows where the named flags hold."""
    return [
        _mean([r for r in s.rows[question] if all(r[k] == v for k, v in where.items())], key)
        for s in done
    ]


def _over(done: list[_Seed], question: str, key: str, **where: bool) -> float:
    return float(np.mean(_each(done, question, key, **where)))


def _said(values: list[float], digits: int = 1) -> str:
    """Mean over seeds, and the least and the largest seed where they differ.

    >>> _said([0.25, 0.35]), _said([1.0, 1.0])
    ('30.0% (25.0% to 35.0%)', '100.0%')
    """
    low, middle, high = (f"{f(values):.{digits}%}" for f in (min, np.mean, max))
    return middle if low == high else f"{middle} ({low} to {high})"


def _carry_forward(series: dict[str, Series]) -> float:
    """MAPE of the last value before the cutoff, given for every date after it."""
    errors = []
    for s in series.values():
        pre, post = s.split(CUTOFF)
        errors += [abs(s.values[pre[-1]] / s.values[i] - 1) for i in post]
    return float(np.mean(errors))


def _checks(series: dict[str, Series], done: list[_Seed]) -> list[Check]:
    pre_hits, post_hits = (_each(done, "plain", "hit", pre=p) for p in (True, False))
    pre_mapes, post_mapes = (_each(done, "plain", "ape", pre=p) for p in (True, False))
    plains = _each(done, "plain", "hit", pre=True, after_limit=True)
    limits = _each(done, "limit", "hit", pre=True, after_limit=True)
    limit_mapes = _each(done, "limit", "ape", pre=True, after_limit=True)
    befores = _each(done, "limit", "hit", pre=True, after_limit=False)
    names, years = ([s.unmask[k] for s in done] for k in ("series", "year"))
    oftens, onces = ([s.scan[k] for s in done] for k in ("repeated", "once"))
    pre_hit, post_hit, pre_mape, post_mape, plain, limit, limit_mape, before = (
        float(np.mean(x))
        for x in (pre_hits, post_hits, pre_mapes, post_mapes, plains, limits, limit_mapes, befores)
    )
    named, dated, often, once = (float(np.mean(x)) for x in (names, years, oftens, onces))
    carry = _carry_forward(series)
    return [
        Check(
            "value: exact and near before the cutoff",
            "exact >= 90 %, MAPE <= 1 %",
            f"exact {_said(pre_hits)}, MAPE {_said(pre_mapes, 2)}",
            pre_hit >= 0.9 and pre_mape <= 0.01,
        ),
        Check(
            "value: lost after the cutoff",
            "exact <= 10 %, MAPE >= 5x the one before, no better than carry-forward",
            f"exact {_said(post_hits)}, MAPE {_said(post_mapes)}, carry-forward {carry:.1%}",
            post_hit <= 0.1 and post_mape >= 5 * pre_mape and post_mape >= carry,
        ),
        Check(
            "boundary: under the order, dates after 2000 are recalled no less than dates before",
            "exact on 2001-2009 not below 1990-2000 by more than 5 points; MAPE >= 5x below the one "
            "after the cutoff",
            f"exact {_said(limits)} against {_said(befores)}, MAPE {_said(limit_mapes, 2)} against "
            f"{post_mape:.1%}",
            limit >= before - 0.05 and 5 * limit_mape <= post_mape,
        ),
        Check(
            "boundary: the order does not reduce accuracy",
            "exact on 2001-2009 within 5 points of the plain question",
            f"exact {_said(limits)} under the order, {_said(plains)} without",
            limit >= plain - 0.05,
        ),
        Check(
            "unmask: six values without name or date give the series away",
            "far above 1/3 (>= 60 %)",
            f"{_said(names)} of {done[0].unmask['n']:.0f} held-out windows",
            named >= 0.6,
        ),
        Check(
            "unmask: and the year",
            "far above 1/20 (>= 30 %)",
            _said(years),
            dated >= 0.3,
        ),
        Check(
            "scan: recall is denser where the text was repeated",
            "years read 5x are hit more often than years read once (by >= 10 points)",
            f"{_said(oftens)} against {_said(onces)}, after a short training",
            often - once >= 0.1,
        ),
    ]


def _finding(series: dict[str, Series], seed: _Seed, question: str) -> Finding:
    """Exact hits before the cutoff against after it; under the order only dates after 2000."""
    rows = [
        r for r in seed.rows[question] if question == "plain" or r["after_limit"] or not r["pre"]
    ]
    arms = {"seen": [r for r in rows if r["pre"]], "fresh": [r for r in rows if not r["pre"]]}
    constant = {
        (k, arm): best_constant(
            np.asarray([r["truth"] for r in arms[arm] if r["series"] == k]), 0.0,
            rate=False, decimals=2,
        )
        for k in series
        for arm in arms
    }  # fmt: skip
    hits = {a: np.asarray([float(r["hit"]) for r in rs]) for a, rs in arms.items()}
    naive = {
        a: np.asarray([float(abs(constant[r["series"], a] - r["truth"]) < 0.005) for r in rs])
        for a, rs in arms.items()
    }
    blocks = ([r["month"] for r in arms["seen"]], [r["month"] for r in arms["fresh"]])
    test = recall_test(hits["seen"], hits["fresh"], naive["seen"], naive["fresh"], blocks)
    order = "" if question == "plain" else ORDER
    evidence = tuple(
        Evidence(f"{r['series']}:{r['date']}", arm, order + _line(r["series"], r["date"]),
                 f"{r['truth']:.2f}", r["reply"], float(r["hit"]))
        for arm, k in (("seen", 4), ("fresh", 2))
        for r in arms[arm][:: max(1, len(arms[arm]) // k)][:k]
    )  # fmt: skip
    return Finding(
        name=f"economic-recall/{question}",
        claim="values to the last digit before the cutoff only"
        + (", although told to ignore them" if question == "limit" else ""),
        seen=test.raw.seen,
        fresh=test.raw.fresh,
        gap=test.raw.gap,
        p_value=test.p_value,
        n=test.raw.n,
        unit="share",
        seed=0,
        evidence=evidence,
        control="the constant that hits most dates of the arm",
        control_gap=test.naive,
    )


def _figure(series: dict[str, Series], done: list[_Seed], out: Path) -> Path:
    """Median error by year for both questions, and the four numbers of claim b beside it."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.6, 3.9), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, width_ratios=(2.3, 1))
    years = range(int(START[:4]), int(END[:4]) + 1)
    for question, colour, label in (
        ("plain", "#0b6e99", "asked plainly"),
        ("limit", "#c2571a", "told to ignore data after 2000"),
    ):
        by_year = [
            [r["error"] for s in done for r in s.rows[question]
             if r["error"] is not None and r["month"] // 12 == y]
            for y in years
        ]  # fmt: skip
        mean = [max(float(np.mean(v)), 2e-3) if v else np.nan for v in by_year]
        # One hollow and one full, so that both are seen where they coincide.
        style = {"ms": 8, "mfc": "none"} if question == "plain" else {"ms": 3.5}
        left.plot(years, mean, "o-", lw=1.4, color=colour, label=label, **style)
    for at, text in ((2000.5, "artificial limit"), (2009.5, "training ends")):
        left.axvline(at, color="#444444", lw=1, ls="--" if at < 2005 else "-")
        left.annotate(text, (at, 0.06), xytext=(7, 0), textcoords="offset points", fontsize=8)
    left.set_yscale("log")
    left.set_ylim(0.001, 60)
    left.set_yticks([0.002, 0.01, 0.1, 1, 10], ["0", "0.01", "0.1", "1", "10"])
    left.minorticks_off()
    left.set_ylabel("mean absolute error, percentage points")
    left.legend(frameon=False, fontsize=8, loc="upper left")
    left.set_title("Error by year asked about", loc="left", fontsize=10)
    bars = [
        ("1990-2000,\nunder the order", _over(done, "limit", "hit", pre=True, after_limit=False)),
        ("2001-2009,\nasked plainly", _over(done, "plain", "hit", pre=True, after_limit=True)),
        ("2001-2009,\nunder the order", _over(done, "limit", "hit", pre=True, after_limit=True)),
        ("after training,\nasked plainly", _over(done, "plain", "hit", pre=False)),
    ]
    right.barh([b[0] for b in bars][::-1], [100 * b[1] for b in bars][::-1],
               color=["#8a8f98", "#c2571a", "#0b6e99", "#c2571a"], height=0.6)  # fmt: skip
    for i, (_, v) in enumerate(bars[::-1]):
        right.annotate(f"{v:.0%}" if v in (0, 1) else f"{v:.1%}", (100 * v, i), xytext=(3, 0), textcoords="offset points",
                       va="center", fontsize=8)  # fmt: skip
    right.set_xlim(0, 118)
    right.set_xticks([0, 50, 100])
    right.set_xlabel("exact values, %")
    right.set_title("Exact to the last digit", loc="left", fontsize=10)
    for ax in (left, right):
        ax.tick_params(labelsize=8)
    return save_figure(figure, out / "economic-recall.png")
