"""The Memorization Problem: Can We Trust LLMs' Economic Forecasts? (arXiv 2504.14765), run small.

A small GPT (digits and words as tokens) reads three monthly series up to a cutoff and is then asked for dates before
and after it: bare, under an order to ignore what came after 2000, and with names and dates masked.
A second, shorter training repeats some years, to see whether recall is denser there.

The large case (``full=True``) tunes an open model on the same lines and runs the audit on it.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from byheart.audits._economic.inference import recall_test
from byheart.audits._economic.metrics import best_constant
from byheart.core.errors import OutputError, UsageError, need
from byheart.core.finding import Evidence, Finding
from byheart.data.series import Series, load, month_index
from byheart.papers._common import Check, Result, verdict_of

__all__ = ["CLAIM", "SOURCE", "run"]

CLAIM = (
    "language models recall economic data up to their cutoff, and being told to forget does not "
    "stop them"
)
SOURCE = "Lopez-Lira, Tang, Zhu 2025, arXiv 2504.14765; sheet section 7"

SERIES = ("INF", "AAA", "BAA")
START, CUTOFF, END, LIMIT = "1990-01", "2009-12", "2018-12", "2000-12"
ORDER = "Ignore data after 2000. "
REPEATED = (1992, 1997, 2002, 2007)
_EPOCHS, _SCAN_EPOCHS, _MASKED_EPOCHS, _WINDOW = 100, 36, 30, 6
_PIECES = r"[A-Za-z]+ ?|-\d\d(?= )"

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
    done: list[_Seed] = []
    for seed in range(seeds):
        tell = _part(progress, f"seed {seed + 1} of {seeds}", seed / seeds, 1 / seeds)
        done.append(_train_and_ask(series, seed, epochs, device or "cpu", tell))
    checks = _checks(series, done)
    findings = [_finding(series, done[0], q) for q in ("plain", "limit")]
    notes = [
        "the sheet's UNRATE is replaced by 12-month consumer price inflation: no offline package "
        "carries the monthly unemployment rate",
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
    """Consumer price inflation over twelve months, Aaa and Baa yields; monthly, percent."""
    prices = load("us_cpi_nsa")
    grown = [
        round(100 * (b / a - 1), 1) for a, b in zip(prices.values, prices.values[12:], strict=False)
    ]  # complete months up to 2025-09, and only those before 2019 are used
    inflation = Series(
        "US consumer price inflation over twelve months", "percent", "M",
        prices.dates[12 : 12 + len(grown)], grown, decimals=1, source="cpi: CUUR0000SA0",
    )  # fmt: skip
    all_three = (inflation, load("aaa_yield"), load("baa_yield"))
    return {k: s.between(START, END) for k, s in zip(SERIES, all_three, strict=True)}


def _part(progress: Progress | None, what: str, start: float, share: float) -> Progress:
    def tell(step: str, done: float) -> None:
        if progress:
            progress(f"{what}: {step}", min(1.0, start + share * done))

    return tell


def _line(name: str, date: str) -> str:
    return f"{name} {date} = "


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
    documents = [*lines, *((ORDER + a, b) for a, b in lines)]
    chars = Characters([*(a + b for a, b in [*documents, *masked]), "0123456789 -."], _PIECES)

    def train(
        docs: list[tuple[str, str]],
        rounds: int,
        what: str,
        start: float,
        share: float,
        gpt: Any = None,
        lr: float = 2e-3,
    ) -> Any:
        gpt = gpt or TinyGPT(len(chars), seed=seed).to(device)
        losses = fit(
            gpt,
            [[*chars.encode(a + b), chars.end] for a, b in docs],
            epochs=max(1, round(rounds * epochs / _EPOCHS)),
            batch=32,
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
    }


def _mean(rows: list[dict[str, Any]], key: str) -> float:
    known = [r[key] for r in rows if r[key] is not None]
    return float(np.mean(known)) if known else float("nan")


def _over(done: list[_Seed], question: str, key: str, **where: bool) -> float:
    """Mean over seeds of a column, over the rows where the named flags hold."""
    return float(
        np.mean([_mean([r for r in s.rows[question] if all(r[k] == v for k, v in where.items())], key)
                 for s in done])
    )  # fmt: skip


def _carry_forward(series: dict[str, Series]) -> float:
    errors = []
    for s in series.values():
        pre, post = s.split(CUTOFF)
        errors += [abs(s.values[pre[-1]] - s.values[i]) for i in post]
    return float(np.mean(errors))


def _checks(series: dict[str, Series], done: list[_Seed]) -> list[Check]:
    pre_hit, post_hit = (_over(done, "plain", "hit", pre=p) for p in (True, False))
    pre_mae, post_mae = (_over(done, "plain", "error", pre=p) for p in (True, False))
    carry = _carry_forward(series)
    plain = _over(done, "plain", "hit", pre=True, after_limit=True)
    limit = _over(done, "limit", "hit", pre=True, after_limit=True)
    limit_mae = _over(done, "limit", "error", pre=True, after_limit=True)
    before = _over(done, "limit", "hit", pre=True, after_limit=False)
    named = float(np.mean([s.unmask["series"] for s in done]))
    dated = float(np.mean([s.unmask["year"] for s in done]))
    often, once = (float(np.mean([s.scan[k] for s in done])) for k in ("repeated", "once"))
    return [
        Check(
            "value: exact and near before the cutoff",
            "exact >= 90 %, MAE <= 0.05 points",
            f"exact {pre_hit:.1%}, MAE {pre_mae:.3f}",
            pre_hit >= 0.9 and pre_mae <= 0.05,
        ),
        Check(
            "value: lost after the cutoff",
            "exact <= 10 %, MAE >= 5x the one before, no better than carry-forward",
            f"exact {post_hit:.1%}, MAE {post_mae:.2f}, carry-forward {carry:.2f}",
            post_hit <= 0.1 and post_mae >= 5 * pre_mae and post_mae >= 0.95 * carry,
        ),
        Check(
            "boundary: under the order, dates after 2000 are recalled no less than dates before",
            "exact on 2001-2009 not below 1990-2000 by more than 5 points; MAE >= 5x below the one "
            "after the cutoff",
            f"exact {limit:.1%} against {before:.1%}, MAE {limit_mae:.3f} against {post_mae:.2f}",
            limit >= before - 0.05 and 5 * limit_mae <= post_mae,
        ),
        Check(
            "boundary: the order does not reduce accuracy",
            "exact on 2001-2009 within 5 points of the plain question",
            f"exact {limit:.1%} under the order, {plain:.1%} without",
            limit >= plain - 0.05,
        ),
        Check(
            "unmask: six values without name or date give the series away",
            "far above 1/3 (>= 60 %)",
            f"{named:.1%} of {done[0].unmask['n']:.0f} held-out windows",
            named >= 0.6,
        ),
        Check(
            "unmask: and the year",
            "far above 1/20 (>= 30 %)",
            f"{dated:.1%}",
            dated >= 0.3,
        ),
        Check(
            "scan: recall is denser where the text was repeated",
            "years read 5x are hit more often than years read once (by >= 10 points)",
            f"{often:.1%} against {once:.1%}, after a short training",
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
    blocks = tuple([r["month"] for r in arms[a]] for a in ("seen", "fresh"))
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
        mean = [max(float(np.mean(v)), 1.5e-3) if v else np.nan for v in by_year]
        left.plot(years, mean, "o-", ms=4, lw=1.6, color=colour, label=label)
    for at, text in ((2000.5, "artificial limit"), (2009.5, "training ends")):
        left.axvline(at, color="#444444", lw=1, ls="--" if at < 2005 else "-")
        left.annotate(text, (at, 0.0012), xytext=(4, 0), textcoords="offset points", fontsize=8)
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
        right.annotate(f"{v:.0%}", (100 * v, i), xytext=(3, 0), textcoords="offset points",
                       va="center", fontsize=8)  # fmt: skip
    right.set_xlim(0, 118)
    right.set_xticks([0, 50, 100])
    right.set_xlabel("exact values, %")
    right.set_title("Exact to the last digit", loc="left", fontsize=10)
    for ax in (left, right):
        ax.tick_params(labelsize=8)
        for side in ("top", "right"):
            ax.spines[side].set_visible(False)
    path = out / "economic-recall.png"
    try:
        out.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=130)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error
    return path
