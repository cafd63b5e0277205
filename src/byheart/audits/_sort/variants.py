"""Thirteen ways to ask, and the choice among them on pairs that are not scored.

The paper asks in two wordings of the extract by six of the task, and in one that repeats what people
were told, and takes for each model the one that does best, with the text in the prompt, on the last
10 of 110 excerpts. The words here are byheart's own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from byheart.audits._sort.books import Book, read_books
from byheart.audits._sort.material import Paths, from_books
from byheart.audits._sort.pairs import Pair, check_sizes
from byheart.audits._sort.prompts import PLAIN, SHORT, Wording
from byheart.core.audit import Audit, Probe, Row
from byheart.core.errors import DataError, UsageError
from byheart.core.model import Model

if TYPE_CHECKING:
    from byheart.audits.book_sort import BookSort

__all__ = [
    "KNOWN",
    "VALIDATION",
    "WORDINGS",
    "Chosen",
    "choose",
    "choose_wording",
    "validation_pairs",
]

VALIDATION = 10
"""Excerpts on which a wording is chosen, a pair in every bin of each (paper: the last 10 of 110)."""

_SYSTEM = PLAIN.system
_EXTRACTS = (
    PLAIN.before,
    "What follows is a passage of {title}. Take your time over it; a question about its order comes "
    "afterwards.\n\n{excerpt}\n\n",
)
_SEGMENTS = "Segment A: {a}\nSegment B: {b}\n"
_QUESTIONS = (
    "Which of these two segments came {task} in {title}: A or B?\n\n" + _SEGMENTS
    + "\nWhich one came {task}?",
    PLAIN.question,
    "You know {title}. Put two of its segments in order.\n\n" + _SEGMENTS
    + "\nWhich one, A or B, does a reader of {title} meet {task}?",
    "Task: recall the order of events in {title}.\n" + _SEGMENTS
    + "Question: is it A or B that stands {task} in {title}?",
    _SEGMENTS + "\nBoth segments are from {title}. Name the one that appears {task}: A or B.",
    "Think of {title} from its beginning to its end. Of the two segments below one appears {task}."
    "\n\n" + _SEGMENTS + "\nWhich segment appears {task}, A or B?",
)  # fmt: skip
_PEOPLE = Wording(
    system=_SYSTEM,
    before="{excerpt}\n\n",
    question=(
        "This is a study about memory for books. You will be shown segments of {title}, two at a "
        "time. For each two, decide which of them appeared {task} in the book. If you are not sure, "
        "give your best guess.\n\n" + _SEGMENTS + "\nWhich segment appeared {task}?"
    ),
    prefix=PLAIN.prefix,
    closing=PLAIN.closing,
)


def _made() -> dict[str, Wording]:
    out = {"v0": _PEOPLE}
    for i, before in enumerate(_EXTRACTS):
        for j, question in enumerate(_QUESTIONS):
            number = len(_QUESTIONS) * i + j + 1
            system = (
                _SYSTEM if number < 12 else f"{_SYSTEM} You answer with A or B and nothing else."
            )
            out[f"v{number}"] = Wording(system, before, question, PLAIN.prefix, PLAIN.closing)
    return out


WORDINGS: dict[str, Wording] = _made()
"""``v0`` is what people were told; ``v1`` to ``v6`` and ``v7`` to ``v12`` are six questions behind
each of two extracts. ``v2`` is `PLAIN`; ``v12`` says in the system message that only A or B counts."""

KNOWN: dict[str, Wording] = {"plain": PLAIN, "short": SHORT, **WORDINGS}


@dataclass(frozen=True)
class Chosen:
    """A wording, and how all of them did.

    Attributes:
        name: The best one's.
        shares: Share right by name, best first; with the text in the prompt.
        pairs: On how many pairs, each asked in both orders.
    """

    name: str
    shares: tuple[tuple[str, float], ...]
    pairs: int

    @property
    def told(self) -> str:
        """One line for a report."""
        best = ", ".join(f"{name} {share:.2f}" for name, share in self.shares[:3])
        return (
            f"wording {self.name} was chosen out of {len(self.shares)} on {self.pairs} pairs of other "
            f"excerpts, with the text in the prompt ({best})"
        )


Hold = Callable[[Audit, Sequence[Probe], str], Sequence[Row]]
"""Holds an audit's conversations: the audit, its probes, and what progress calls it."""


def validation_pairs(
    texts: Paths,
    fresh: Paths,
    scored: Sequence[Pair],
    *,
    excerpt: int,
    segment: int,
    bins: Sequence[int] | None,
    excerpts: int = VALIDATION,
    seed: int = 0,
) -> list[Pair]:
    """Pairs of both arms' books whose excerpts share no word with those that are scored.

    Args:
        texts, fresh: As in `BookSort`.
        scored: The pairs of the audit.
        excerpt, segment, bins: As in `BookSort`.
        excerpts: How many; fewer, where the scored ones leave no more room.
        seed: The audit's.

    Raises:
        DataError: If the scored excerpts leave no room at all.
    """  # fmt: skip
    edges = check_sizes(excerpt, segment, bins)
    books: list[Book] = [*read_books(texts)] if texts is not None else []  # type: ignore[arg-type]
    books += [] if fresh is None else read_books(fresh)  # type: ignore[arg-type]
    if not books:
        raise UsageError(
            "a wording is chosen on excerpts of your books; give texts, or name a wording"
        )
    taken: dict[str, list[tuple[int, int]]] = {}
    for p in scored:
        taken.setdefault(p.book, []).append((p.start, p.start + p.excerpt_length))
    kept: dict[tuple[str, int], list[Pair]] = {}
    for attempt in range(8):
        drawn, _ = from_books(
            books, 4 * excerpts * (len(edges) - 1), excerpt=excerpt, segment=segment, bins=edges,
            seed=seed + 15_485_863 + attempt, every_bin=True,
        )  # fmt: skip
        for p in drawn:
            spans = taken.get(p.book, [])
            if any(p.start < end and begin < p.start + excerpt for begin, end in spans):
                continue
            key = (p.book, p.start)
            if key not in kept and len(kept) == excerpts:
                continue
            if all(q.bin != p.bin for q in kept.setdefault(key, [])):
                kept[key].append(dataclasses.replace(p, excerpt_index=10_000 + len(kept)))
        if len(kept) == excerpts:
            break
    if not kept:
        raise DataError(
            f"the {len(scored)} scored excerpts leave no room for others of {excerpt} words, on which "
            "a wording could be chosen; ask for fewer pairs, give longer books, or name a wording"
        )
    return [p for some in kept.values() for p in some]


def choose(
    audit: BookSort,
    pairs: Sequence[Pair],
    hold: Hold,
    wordings: Mapping[str, Wording] | None = None,
) -> Chosen:
    """The wording by which most of `pairs` are told with the text in the prompt.

    Ties go to the one that stands first in `wordings`. An answer that cannot be read is wrong.

    Args:
        audit: Its sizes, task, scorer and way of answering are used.
        pairs: Pairs that are not scored afterwards; of whole excerpts.
        hold: Asks; rows that fail are missing in what it returns.
        wordings: Names that `BookSort(wording=...)` takes; None is the thirteen.

    Raises:
        DataError: If no wording was answered at all.
    """
    names = list(WORDINGS if wordings is None else wordings)
    if not names or not pairs:
        raise UsageError(
            f"{len(names)} wordings and {len(pairs)} pairs: there must be some of both"
        )
    shares: list[tuple[str, float]] = []
    for name in names:
        asked = dataclasses.replace(
            audit, wording=name, conditions=("context",), pairs=(tuple(pairs), ()), chosen=()
        )
        key = f"context/{audit.scorer}"
        told = {r.id: r.values.get(key) for r in hold(asked, asked.probes(), f"wording {name}")}
        values = [told.get(f"seen:{p.id}") for p in pairs]
        if any(v is not None for v in values):
            shares.append((name, sum(v or 0.0 for v in values) / len(values)))
    if not shares:
        raise DataError(
            "no wording could be asked with the text in the prompt (the excerpts may be longer than "
            "the model's context); ask for shorter excerpts, or name a wording"
        )
    ranked = sorted(shares, key=lambda s: -s[1])  # stable: ties keep the order of the names
    return Chosen(ranked[0][0], tuple(ranked), len(pairs))


def choose_wording(
    model: Model,
    texts: Paths,
    fresh: Paths = None,
    *,
    excerpt: int = 250,
    segment: int = 20,
    excerpts: int = VALIDATION,
    wordings: Mapping[str, Wording] | None = None,
    seed: int = 0,
) -> Chosen:
    """The wording that suits a model, on excerpts of books; for use without an audit.

    Args:
        model: What `byheart.load` gives.
        texts, fresh: Books, as in `BookSort`.
        excerpt, segment: Words.
        excerpts: A pair in every bin of each is asked in both orders and every wording.
        wordings: Names that `BookSort(wording=...)` takes; None is the thirteen.
        seed: Of the draws.

    Raises:
        DataError: If a book cannot be used.
    """  # fmt: skip
    from byheart.audits.book_sort import BookSort
    from byheart.core.run import measure

    audit = BookSort(texts=texts, fresh=fresh, excerpt=excerpt, segment=segment)
    pairs = validation_pairs(
        texts, fresh, (), excerpt=excerpt, segment=segment, bins=None, excerpts=excerpts, seed=seed
    )

    def hold(asked: Audit, probes: Sequence[Probe], stage: str) -> Sequence[Row]:
        done = measure(model, asked, seed=seed, probes=probes, stage=stage)
        if done.stopped is not None:
            raise done.stopped
        return done.rows

    return choose(audit, pairs, hold, wordings)
