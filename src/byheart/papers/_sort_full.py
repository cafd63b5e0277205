"""SORT's fine-tuning: a model trained on books, and one trained on other texts, asked again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from byheart.audits.book_sort import (
    Book,
    Pair,
    TuningPoint,
    chronicle,
    make_pairs,
    study_texts,
    tuning_study,
)
from byheart.core.errors import DataError
from byheart.core.local import LocalModel
from byheart.papers._common import Check, save_figure

__all__ = ["draw", "tuned"]

_BOOKS = 8
"""Most books that are learnt (paper: eight)."""
_EXCERPT, _SEGMENT = 250, 20
Arms = dict[str, list[TuningPoint]]


def tuned(
    spec: Any,
    books: Sequence[Book],
    *,
    device: str | None = None,
    most: int = 200,
    tell: Callable[[str, float], None],
    **tuning: Any,
) -> tuple[Arms, list[Check]]:
    """Both arms from the same model, and what is to be seen in them.

    Args:
        spec: What `byheart.load` takes; a fresh model is loaded for each arm.
        books: Learnt, and asked about.
        device: As for `byheart.load`.
        most: Pairs.
        tell: Called with what is being done and the share that is finished.
        **tuning: As for `tuning_study`.

    Raises:
        DataError: If no book is long enough, or the model has no weights here.
    """
    from byheart.core.model import load

    usable = [b for b in books if len(b) > 4 * _EXCERPT][:_BOOKS]
    if not usable:
        raise DataError(f"no book has more than {4 * _EXCERPT} words; give longer ones")
    pairs: list[Pair] = []
    each = max(1, most // (4 * len(usable)))
    for k, book in enumerate(usable):
        pairs += make_pairs(
            book, excerpt=_EXCERPT, segment=_SEGMENT, n=each, extra=each + 10, seed=k
        )
    size = sum(len(b) for b in usable)
    other = [chronicle(max(2000, size), seed=9, title="The Chronicle of Another Place")]
    arms: Arms = {}
    for k, name in enumerate(("the books", "other texts")):
        local = load(spec() if callable(spec) else spec, device=device)
        if not isinstance(local, LocalModel):
            raise DataError(f"{spec} has no weights here; the fine-tuning needs a local model")
        words = tuning.get("words", 5000)
        learnt = None if k == 0 else study_texts(other, local.tokenizer, words=words)
        arms[name] = tuning_study(
            local, usable, pairs, learnt=learnt,
            progress=lambda what, share, k=k, name=name: tell(f"trained on {name}: {what}", (k + share) / 2),  # type: ignore[misc]
            **tuning,
        )  # fmt: skip
    return arms, _checks(arms)


def _checks(arms: Arms) -> list[Check]:
    mine, other = arms["the books"], arms["other texts"]
    first, last = mine[0], mine[-1]
    memory, context = last.shares["memory"], last.shares["context"]
    return [
        Check(
            "trained on the books, they are learnt",
            "the loss on them falls, and further than where other texts were learnt",
            f"{first.loss:.3f} to {last.loss:.3f} nats a token; with other texts {other[-1].loss:.3f}",
            last.loss < first.loss and last.loss < other[-1].loss,
        ),
        Check(
            "trained on the books, their order is still not told from memory",
            "the interval from memory holds a half, and lies below that with the text",
            f"from memory {memory}, with the text {context}, n = {last.pairs}",
            memory.low <= 0.5 <= memory.high and memory.high < context.low,
        ),
        Check(
            "no better than where other texts were learnt",
            "the intervals from memory overlap",
            f"the books {memory}, other texts {other[-1].shares['memory']}",
            memory.low <= other[-1].shares["memory"].high,
        ),
    ]


def draw(arms: Arms, out: Path) -> Path:
    """Share right and loss by epoch."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.8, 3.4), layout="constrained")
    FigureCanvasSVG(figure)
    left, right = figure.subplots(1, 2)
    colours = {"the books": "#b5541c", "other texts": "#6b8fa8"}
    for shift, (name, points) in zip((-0.05, 0.05), arms.items(), strict=True):
        at = [p.epoch + shift for p in points]
        for condition, style in (("memory", "o-"), ("context", "^--")):
            shares = [p.shares[condition] for p in points if condition in p.shares]
            if not shares:
                continue
            left.errorbar(
                at, [e.value for e in shares],
                [[e.value - e.low for e in shares], [e.high - e.value for e in shares]], fmt=style,
                color=colours[name], ms=4, lw=1.2, elinewidth=0.8,
                label=f"learnt {name}, {'from memory' if condition == 'memory' else 'with the text'}",
            )  # fmt: skip
        right.plot([p.epoch for p in points], [p.loss for p in points], "o-", ms=4, color=colours[name],
                   label=f"learnt {name}")  # fmt: skip
    left.axhline(0.5, color="#bbbbbb", lw=0.8, zorder=0)
    left.set_title("Which came first, debiased", loc="left", fontsize=10)
    left.set_ylabel("share right")
    right.set_title("Loss on the books", loc="left", fontsize=10)
    right.set_ylabel("nats a token")
    for axes in (left, right):
        axes.set_xlabel("epoch")
        axes.tick_params(labelsize=8)
        axes.legend(frameon=False, fontsize=7)
    return save_figure(figure, out / "book-sort.svg")
