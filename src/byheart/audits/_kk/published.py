"""The published data set, made anew, and exports of it and of one's own puzzles.

`K-and-K/knights-and-knaves` and `K-and-K/perturbed-knights-and-knaves`: for every number of people
100 test puzzles and then 1,000 for training (200 for 2 people), all drawn with seed 1234.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from byheart.audits._kk.grammar import twin_kind
from byheart.audits._kk.sampler import KINDS, Puzzle, Sampler
from byheart.audits._kk.thoughts import chain_of_thought
from byheart.audits._kk.wording import STYLES, Rendered, render
from byheart.core.errors import OutputError, UsageError, need

__all__ = ["VARIANTS", "published", "published_puzzles", "record", "to_datasets", "to_jsonl"]

VARIANTS = ("clean", *KINDS, *STYLES)
"""``clean`` and the twins: ``perturbed_statement`` and ``perturbed_leaf`` are here by short name too."""

_TEST = 100


@functools.lru_cache(maxsize=16)
def _drawn(people: int, twins: bool) -> dict[str, tuple[Puzzle | None, ...]]:
    sampler = Sampler(people)
    clean = sampler.sample(300 if people == 2 else 1100)
    out: dict[str, tuple[Puzzle | None, ...]] = {"clean": tuple(clean)}
    for kind in KINDS if twins else ():  # one stream: all statement twins, then all leaf twins
        out[kind] = tuple(sampler.perturb(clean, kind))
    return out


def published_puzzles(
    people: int, variant: str = "clean", split: str = "all"
) -> tuple[Puzzle | None, ...]:
    """The published puzzles, or their published twins; None where no twin was found.

    Args:
        people: 2 to 8.
        variant: One of `VARIANTS`; in a language variant the puzzles are those of ``clean``.
        split: ``"test"`` (the first 100), ``"train"`` or ``"all"``.

    Raises:
        UsageError: If there is no such part.

    >>> len(published_puzzles(3, split="train"))
    1000
    """
    if not 2 <= people <= 8:
        raise UsageError(f"published are puzzles of 2 to 8 people, got {people}")
    variant = twin_kind(variant)
    if variant not in VARIANTS:
        raise UsageError(f"a variant is one of {', '.join(VARIANTS)}, got {variant!r}")
    if split not in ("test", "train", "all"):
        raise UsageError(f"split is 'test', 'train' or 'all', got {split!r}")
    drawn = _drawn(people, variant in KINDS)[variant if variant in KINDS else "clean"]
    return {"test": drawn[:_TEST], "train": drawn[_TEST:], "all": drawn}[split]


def published(people: int, variant: str = "clean", split: str = "all") -> list[dict[str, Any]]:
    """The published records, word for word.

    Args:
        people: As for `published_puzzles`; so are `variant` and `split`.
        variant: ``clean`` or a kind of twin.
        split: ``"test"``, ``"train"`` or ``"all"``.

    Returns:
        Records with the published fields; puzzles without a twin are missing, as they are there.

    >>> published(2, split="test")[0]["solution_text"]
    'Zoey is a knave, and Oliver is a knight.'
    """
    variant = twin_kind(variant)
    style = variant if variant in STYLES else "plain"
    return [
        record(p, render(p, style))
        for p in published_puzzles(people, variant, split)
        if p is not None
    ]


def record(puzzle: Puzzle, rendered: Rendered | None = None) -> dict[str, Any]:
    """One puzzle with the fields of the published records.

    >>> puzzle = Puzzle.of((("lying", 1), ("and", ("telling-truth", 0), ("telling-truth", 1))))
    >>> record(puzzle)["statements"]
    "(('lying', 1), ('and', ('telling-truth', 0), ('telling-truth', 1)))"
    """
    worded = rendered or render(puzzle)
    thoughts = chain_of_thought(puzzle, worded)
    return {
        "quiz": worded.quiz,
        "names": list(worded.names),
        "knight_knave": worded.knight_knave,
        "solution": list(puzzle.solution),
        "solution_text": worded.solution_text,
        "solution_text_format": worded.solution_text_format,
        "cot_head": thoughts.head,
        "cot_repeat_steps": list(thoughts.steps),
        "cot_foot": thoughts.foot,
        "statements": str(puzzle.statements),
        "index": puzzle.index,
    }


Exported = dict[str, Any] | Puzzle | None


def _records(items: Iterable[Exported]) -> list[dict[str, Any]]:
    return [record(i) if isinstance(i, Puzzle) else i for i in items if i is not None]


def to_jsonl(records: Iterable[Exported], path: str | Path) -> Path:
    """Write records to a JSON-lines file, one a line, and return its path.

    Args:
        records: Records, or puzzles, which become records in their published wording; None (a twin
            that was not found) is left out.
        path: The file.

    Raises:
        OutputError: If it cannot be written.
    """
    path = Path(path).expanduser()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", encoding="utf-8") as file:
            for entry in _records(records):
                file.write(json.dumps(entry, ensure_ascii=False) + "\n")
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error
    return path


def to_datasets(records: Iterable[Exported]) -> Any:
    """The records as a `datasets.Dataset`, with the columns of the published one.

    Args:
        records: As for `to_jsonl`.

    Raises:
        MissingExtra: If the package `datasets` is not installed.
    """
    datasets = need("datasets", "audit")
    return datasets.Dataset.from_list(_records(records))
