"""A-MEM (arXiv 2502.12110), run small: do links, annotations and evolution find more evidence?

A: links at an equal number of turns shown. B: the ablation (content; annotations embedded; links;
evolution) with rules in the model's place. D: what searching N vectors costs. All on LoCoMo's turns
where its data is, else on made-up conversations with planted two-turn evidence. C, the whole method
with a language model, is `with_model` and a part of `--full`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from byheart.core.errors import UsageError
from byheart.core.finding import Estimate, Finding
from byheart.core.stats import permutation_paired
from byheart.notes._locomo_data import Conversation, read
from byheart.papers import PAPERS
from byheart.papers._amem_model import with_model
from byheart.papers._amem_scaling import PAPER_US, Scale, scale
from byheart.papers._amem_tables import (
    BESIDE,
    CONTENT,
    EVOLVED,
    NOTED,
    NOTED_LINKS,
    RARE,
    ROWS,
    SIMILAR,
    Table,
    measure,
)
from byheart.papers._amem_talk import talk
from byheart.papers._common import Check, Result, find_locomo, save_figure, verdict_of

__all__ = ["CLAIM", "SOURCE", "run", "with_model"]

CLAIM = PAPERS["a-mem"].claim
SOURCE = "Xu et al., NeurIPS 2025, arXiv 2502.12110, Tables 1, 3 and 4"
SIZES, LARGE = (1_000, 10_000, 100_000), 1_000_000
GRAPH_UP_TO = 10_000
"""Larger graphs take minutes to build on a core; benchmarks/linked_notes.py builds them."""

Progress = Callable[[str, float], None]


def run(
    *,
    full: bool = False,
    seeds: int = 3,
    out: Path | None = None,
    progress: Progress | None = None,
    device: str | None = None,
    data: Path | str | None = None,
    encode: Any = None,
    sizes: tuple[int, ...] = SIZES,
) -> Result:
    """Run the paper's claim and judge it.

    Args:
        full: Also a million vectors, and the whole method with a language model on a conversation.
        seeds: Made-up conversations, where LoCoMo is not there.
        out: Folder for the figure and result.json.
        progress: As for `byheart.reproduce`.
        device: Of the encoder and the model.
        data: LoCoMo's folder; ``data/locomo``, if left out and there.
        encode: Texts to unit vectors; all-MiniLM-L6-v2, as the paper, if left out.
        sizes: Numbers of vectors of table D.
    """
    started = time.perf_counter()
    if seeds < 1 or not sizes:
        raise UsageError(f"seeds and sizes must not be empty, got {seeds} and {sizes}")
    tell = progress or (lambda what, share: None)
    if encode is None:
        from byheart.core.minilm import MiniLM

        encode = MiniLM(device or "cpu")
    notes: list[str] = []
    talks = _talks(data, seeds, notes)
    table = measure(talks, encode, lambda what, share: tell(what, 0.8 * share))
    scales = []
    for i, n in enumerate((*sizes, LARGE) if full else sizes):
        tell(f"table D: {n} vectors", 0.8 + 0.2 * i / len(sizes))
        scales.append(scale(n, graph=n <= GRAPH_UP_TO or full))
    checks = [*_checks(table), *_scaling_checks(scales)]
    findings = _findings(table)
    notes += [*_told(table, talks), *(_scale_told(s) for s in scales)]
    if full:
        tell("C: a model annotates and links a conversation", 0.95)
        notes += with_model(talks[min(1, len(talks) - 1)], encode, device=device)
    else:
        notes.append("C (a language model annotates and links a conversation) runs with --full")
    figures = []
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        figures.append(_figure(table, scales, out / "a-mem.svg"))
    result = Result(
        "a-mem", CLAIM, verdict_of(checks), checks, findings, figures,
        time.perf_counter() - started, notes,
    )  # fmt: skip
    if out is not None:
        result.save(out)
    return result


def _talks(data: Path | str | None, seeds: int, notes: list[str]) -> list[Conversation]:
    place = find_locomo(data)
    if place is None:
        notes.append(
            f"LoCoMo is not in data/locomo and not named: A and B are of {seeds} made-up conversations "
            "whose two-turn evidence shares a rare name, which favours links by rare words"
        )
        return [talk(s) for s in range(seeds)]
    talks = read(place)
    notes.append(f"A and B are of LoCoMo: {', '.join(t.name for t in talks)} (CC BY-NC 4.0)")
    return talks


def _shown(e: Estimate) -> str:
    return f"{e.value:+.1f} [{e.low:+.1f}, {e.high:+.1f}]"


def _checks(table: Table) -> list[Check]:
    similar = table.gap(SIMILAR, CONTENT, (1,))
    cost = table.gap(SIMILAR, CONTENT)
    rare, rare_cost = table.gap(RARE, CONTENT, (1,)), table.gap(RARE, CONTENT)
    noted = table.gap(NOTED, CONTENT)
    linked, evolved = table.gap(NOTED_LINKS, NOTED), table.gap(EVOLVED, NOTED_LINKS)
    bare, whole = (table.estimate(r, (4,)).value for r in (CONTENT, EVOLVED))
    ratio = whole / bare if bare else float("inf")
    return [
        Check(
            "A: links to similar turns help multi-hop questions",
            "recall@10 of category 1 rises, interval above 0",
            _shown(similar), similar.low > 0,
        ),
        Check(
            "A: and cost the other questions nothing",
            "recall@10 of 1-4 does not fall, interval not below 0",
            _shown(cost), cost.high >= 0,
        ),
        Check(
            "A: links by rare shared words help multi-hop questions",
            "recall@10 of category 1 rises, interval above 0",
            f"{_shown(rare)}; all of 1-4 {_shown(rare_cost)}", rare.low > 0,
        ),
        Check(
            "B: annotations in the embedding help",
            "recall@10 of 1-4 rises, interval above 0", _shown(noted), noted.low > 0,
        ),
        Check(
            "B: links on top of annotations help",
            "recall@10 of 1-4 rises, interval above 0", _shown(linked), linked.low > 0,
        ),
        Check(
            "B: evolution on top of links helps",
            "recall@10 of 1-4 rises, interval above 0", _shown(evolved), evolved.low > 0,
        ),
        Check(
            "B: without links and evolution most is lost",
            "paper: single-hop F1 13.28 -> 44.65, 3.4 times; here recall at least doubles",
            f"{bare:.1f} -> {whole:.1f}, {ratio:.2f} times", ratio >= 2,
        ),
    ]  # fmt: skip


def _scaling_checks(scales: list[Scale]) -> list[Check]:
    exactly = all(s.bytes == s.n * 384 * 4 for s in scales)
    last = scales[-1]
    fastest = min(x for x in (last.exact_us, last.graph_us) if x is not None)
    printed = PAPER_US.get(last.n)
    checks = [
        Check("D: memory is N * 384 * 4 bytes", "to the byte",
              ", ".join(f"{s.n}: {s.bytes}" for s in scales), exactly),
    ]  # fmt: skip
    if printed is not None:
        checks.append(
            Check("D: a query takes the paper's time", f"{printed} us at {last.n} vectors",
                  f"{fastest:.0f} us; reading the vectors alone takes longer", fastest <= printed)
        )  # fmt: skip
    return checks


def _findings(table: Table) -> list[Finding]:
    out = []
    for row, base, categories, claim in (
        (SIMILAR, CONTENT, (1,), "links to similar turns find more multi-hop evidence"),
        (RARE, CONTENT, (1,), "links by rare words find more multi-hop evidence"),
        (NOTED, CONTENT, (1, 2, 3, 4), "annotations in the embedding find more evidence"),
        (EVOLVED, NOTED_LINKS, (1, 2, 3, 4), "evolution finds more evidence"),
    ):
        a, b = table.of(row, categories), table.of(base, categories)
        name = f"a-mem/{row} - {base}, category {'-'.join(map(str, sorted({categories[0], categories[-1]})))}"
        out.append(
            Finding(
                name, claim, table.estimate(row, categories), table.estimate(base, categories),
                table.gap(row, base, categories), permutation_paired(a, b), len(a),
                "evidence recall@10, %", 0,
            )
        )  # fmt: skip
    return out


def _told(table: Table, talks: list[Conversation]) -> list[str]:
    n = len(table.of(CONTENT))
    lines = [
        f"recall@10 / @20 of {n} questions in {len(talks)} conversations; category 1, then 1-4:"
    ]
    for row in (*BESIDE, *ROWS):
        cells = [
            " / ".join(f"{table.estimate(row, c, k).value:.1f}" for k in (10, 20))
            for c in ((1,), (1, 2, 3, 4))
        ]
        lines.append(f"{row}: {cells[0]} | {cells[1]}")
    return lines


def _scale_told(s: Scale) -> str:
    graph = (
        ""
        if s.graph_us is None
        else f"; HNSW {s.graph_us:.0f} us, recall@10 {s.recall:.3f}, built in {s.build_s:.0f} s"
    )
    return f"{s.n} vectors: {s.bytes / 2**20:.2f} MiB, exact {s.exact_us:.0f} us a query{graph}"


def _figure(table: Table, scales: list[Scale], path: Path) -> Path:
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3.9), layout="constrained")
    FigureCanvasSVG(figure)
    left, right = figure.subplots(1, 2, width_ratios=(1.6, 1))
    rows = (*BESIDE, *ROWS)
    for shift, categories, colour, label in (
        (-0.2, (1,), "#b5541c", "category 1, multi-hop"),
        (0.2, (1, 2, 3, 4), "#24445c", "categories 1-4"),
    ):
        es = [table.estimate(r, categories) for r in rows]
        errors = [[e.value - e.low for e in es], [e.high - e.value for e in es]]
        left.barh([i + shift for i in range(len(rows))], [e.value for e in es], 0.38,
                  xerr=errors, color=colour, label=label, error_kw={"lw": 0.8})  # fmt: skip
    left.set_yticks(range(len(rows)), rows, fontsize=8)
    left.invert_yaxis()
    left.set(xlabel="evidence recall@10, % (95 %)", title="the same number of turns shown")
    left.set_xlim(0, 100)
    left.legend(frameon=False, fontsize=8, loc="lower right")
    right.loglog([s.n for s in scales], [s.exact_us for s in scales], "o-", color="#24445c",
                 label="exact scan")  # fmt: skip
    some = [s for s in scales if s.graph_us is not None]
    right.loglog([s.n for s in some], [s.graph_us for s in some], "s-", color="#6b8fa8",
                 label="HNSW")  # fmt: skip
    right.loglog(
        list(PAPER_US), list(PAPER_US.values()), "x:", color="#b5541c", label="paper, Table 4"
    )
    right.set(xlabel="vectors of 384 numbers", ylabel="microseconds a query", title="scaling")
    right.legend(frameon=False, fontsize=8)
    return save_figure(figure, path)
