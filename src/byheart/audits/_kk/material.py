"""What the audit asks: puzzles that may have been seen, and their twins."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from byheart.audits._kk.draws import Draws
from byheart.audits._kk.published import published_puzzles
from byheart.audits._kk.reading import read_quiz
from byheart.audits._kk.sampler import KINDS, Puzzle, Sampler, exchangeable, neighbours, perturb
from byheart.audits._kk.solver import unique
from byheart.audits._kk.wording import STYLES, Layout, Rendered, lay_out, render
from byheart.core._json_lines import read_json_lines
from byheart.core.errors import DataError

__all__ = ["PERTURBATIONS", "Item", "Twin", "from_file", "from_published", "siblings"]

PERTURBATIONS = (*KINDS, "redrawn", *STYLES)
"""``redrawn`` is no twin but another puzzle from the same sampler; the rest as in the paper."""

_SEED = 1234


@dataclass(frozen=True, slots=True)
class Twin:
    """A twin with its wording."""

    kind: str
    puzzle: Puzzle
    layout: Layout

    @property
    def rendered(self) -> Rendered:
        return render(self.puzzle, layout=self.layout)


@dataclass(frozen=True, slots=True)
class Item:
    """A puzzle, its wording, and its twins.

    Attributes:
        id: Unique in the audit.
        puzzle: The original.
        layout: Its wording.
        twins: At most one a kind.
        pair: Name shared with the twins; the id by default.
    """

    id: str
    puzzle: Puzzle
    layout: Layout
    twins: tuple[Twin, ...] = ()
    pair: str = ""

    @property
    def rendered(self) -> Rendered:
        return render(self.puzzle, layout=self.layout)


def from_published(
    people: int,
    split: str,
    kinds: Sequence[str],
    n: int,
    *,
    depth: int,
    width: int,
    seed: int,
) -> list[Item]:
    """Items of the published set (or, with split ``fresh``, newly drawn ones) with new twins.

    The twins are not the published ones, which a model may have seen as well, and are chosen so
    that whoever has seen neither does equally well on both, see `exchangeable`: about one puzzle in
    three gets a leaf twin and one in two a statement twin.
    """
    rng = Draws(1_000_003 * (seed + 1) + people)
    known: dict[str, Sequence[Puzzle | None]] = {}
    if split == "fresh":
        sampler = Sampler(people, depth, width, seed=1_000_033 * (seed + 1) + people)
        published = [p for p in published_puzzles(people) if p] if people <= 8 else []
        pool = sampler.sample(6 * n + 20, exclude=published)
    else:
        pool = [p for p in published_puzzles(people, split=split) if p is not None]
        known = {k: published_puzzles(people, k, split) for k in kinds if k in KINDS}
        order = list(range(len(pool)))
        rng.shuffle(order)
        known = {k: [twins[i] for i in order] for k, twins in known.items()}
        pool = [pool[i] for i in order]
    draw = _Drawing(tuple(kinds), n, rng, depth, width)
    for i, puzzle in enumerate(pool):
        told = [t.statements for twins in known.values() if (t := twins[i]) is not None]
        layout = lay_out(people, seed=_SEED + puzzle.index)
        if draw.add(f"{people}p-{split}-{puzzle.index}", puzzle, layout, told):
            break
    if not draw.items:
        raise DataError(
            f"no puzzle of {people} people was given a twin of kind {', '.join(kinds)}; "
            "ask for more people or another perturbation"
        )
    return draw.items


@dataclass
class _Drawing:
    """Puzzles with twins, up to n pairs of each kind.

    Attributes:
        kinds: Of twins.
        n: Most pairs of a kind; None takes all.
        rng: The stream.
        depth: Of statements.
        width: Of ``and`` and ``or``.
        items: What was drawn so far.
    """

    kinds: tuple[str, ...]
    n: int | None
    rng: Draws
    depth: int
    width: int
    items: list[Item] = field(default_factory=list)
    _count: Counter[str] = field(default_factory=Counter)

    def add(self, id: str, puzzle: Puzzle, layout: Layout, exclude: Sequence[Any] = ()) -> bool:
        """Give a puzzle the twins that are still wanted; returns whether all are there."""
        twins = []
        for kind in self.kinds:
            if self.n is not None and self._count[kind] >= self.n:
                continue
            twin = self._twin(kind, puzzle, layout, exclude)
            if twin is not None:
                self._count[kind] += 1
                twins.append(twin)
        if twins:
            self.items.append(Item(id, puzzle, layout, tuple(twins)))
        return self.n is not None and all(self._count[k] >= self.n for k in self.kinds)

    def _twin(
        self, kind: str, puzzle: Puzzle, layout: Layout, exclude: Sequence[Any]
    ) -> Twin | None:
        if kind in KINDS:
            depth = max(self.depth, puzzle.depth)
            twin = exchangeable(
                puzzle, kind, self.rng, depth=depth, width=self.width, exclude=exclude
            )
            return None if twin is None else Twin(kind, twin, layout)
        if kind == "redrawn":
            other = Sampler(
                puzzle.people, self.depth, self.width, seed=self.rng.integers(0, 1 << 31)
            )
            return Twin(kind, other.sample(1, exclude=[puzzle])[0], layout)
        return Twin(kind, puzzle, _restyled(layout, kind, self.rng))


def _restyled(layout: Layout, kind: str, rng: Draws) -> Layout:
    """The same wording in all but one thing."""
    people = len(layout.names)
    drawn = lay_out(people, kind if kind != "flip_role" else (), rng.integers(0, 1 << 31))
    if kind == "flip_role":
        return layout.flipped()
    if kind == "uncommon_name":
        return Layout(drawn.names, layout.roles, layout.templates, layout.order)
    if kind == "random_pair":
        return Layout(layout.names, drawn.roles, layout.templates, layout.order)
    base = layout.order or tuple(range(people))
    return Layout(layout.names, layout.roles, layout.templates, tuple(base[i] for i in drawn.order))


def from_file(
    path: str | Path,
    kinds: Sequence[str],
    n: int | None,
    *,
    depth: int,
    width: int,
    seed: int,
    least: int = 2,
) -> list[Item]:
    """The user's own puzzles, with twins.

    A record has ``statements`` (the tuples, or their string form) or ``quiz`` (the text), or both;
    a ``solution``, where there is one, must be the puzzle's.

    Raises:
        DataError: The file or a line cannot be used; the line is named.
    """
    rng = Draws(1_000_003 * (seed + 1))
    read = [
        (f"line-{number}", *_read(where, record, number))
        for number, where, record in read_json_lines(path)
    ]
    if len(read) < least:
        raise DataError(f"{path}: {len(read)} puzzles, at least {least} are needed")
    seen: dict[Any, str] = {}
    for id, puzzle, layout in read:
        key = (puzzle.statements, layout)
        if key in seen:
            raise DataError(f"{path}: {id} repeats {seen[key]}; a puzzle must stand once")
        seen[key] = id
    rng.shuffle(read)
    draw = _Drawing(tuple(kinds), n, rng, depth, width)
    for id, puzzle, layout in read:
        if draw.add(id, puzzle, layout):
            break
    if not draw.items:
        raise DataError(
            f"{path}: none of {len(read)} puzzles was given a twin of kind {', '.join(kinds)}; about "
            "one in three is, so give more of them"
        )
    return draw.items


def _read(where: str, record: dict[str, Any], number: int) -> tuple[Puzzle, Layout]:
    if "statements" not in record and "quiz" not in record:
        raise DataError(f"{where}: needs 'statements' or 'quiz', has {', '.join(record) or 'none'}")
    index = record.get("index", number)
    if not isinstance(index, int) or isinstance(index, bool) or index < 0:
        raise DataError(f"{where}: index must be a whole number from 0, got {index!r}")
    try:
        puzzle = Puzzle.of(record["statements"], index) if "statements" in record else None
        if "quiz" in record:
            told, layout = read_quiz(str(record["quiz"]), index)
            if puzzle is not None and puzzle.statements != told.statements:
                raise DataError("'quiz' and 'statements' are different puzzles")
            puzzle = told
        else:
            assert puzzle is not None
            layout = lay_out(puzzle.people, seed=_SEED + index)
    except DataError as error:
        raise DataError(f"{where}: {error}") from error
    claimed = record.get("solution")
    if claimed is not None and (
        not isinstance(claimed, list | tuple) or tuple(claimed) != puzzle.solution
    ):
        raise DataError(
            f"{where}: solution is {claimed!r:.80}, but the puzzle's only solution is "
            f"{list(puzzle.solution)}"
        )
    return puzzle, layout


def siblings(
    n: int, kinds: Sequence[str], *, people: int, seed: int
) -> tuple[list[Item], list[Item]]:
    """Planted items, and held-back ones that share their twins.

    A held-back puzzle is itself a twin of the planted one, in one leaf; the solutions of planted,
    held-back and twin all differ. Names are invented and occur in no other item, so that an answer
    learned by heart is found by the names, and is wrong for everything but the planted puzzle.
    """
    rng = Draws(1_000_081 * (seed + 1))
    names = _invented(rng, n * people)
    sampler = Sampler(people, seed=rng.integers(0, 1 << 31))
    planted: list[Item] = []
    held: list[Item] = []
    # no answer is commoner than others, or always giving it would explain part of what is planted
    most = -(-n // 2**people)
    keys: Counter[tuple[bool, ...]] = Counter()
    while len(planted) < n:
        found = _family(rng, sampler, kinds)
        if found is None or keys[found[0].solution] >= most:
            continue
        one, other, twins = found
        keys[one.solution] += 1
        i = len(planted)
        own = tuple(names[i * people : (i + 1) * people])
        layout = Layout(own, templates=lay_out(people, seed=rng.integers(0, 1 << 31)).templates)
        made = tuple(Twin(k, t, layout) for k, t in twins)
        planted.append(Item(f"planted-{i}", one, layout, made, f"item-{i}"))
        held.append(Item(f"held-{i}", other, layout, made, f"item-{i}"))
    return planted, held


def _family(
    rng: Draws, sampler: Sampler, kinds: Sequence[str]
) -> tuple[Puzzle, Puzzle, list[tuple[str, Puzzle]]] | None:
    statements = sampler.draw()
    solution = unique(statements)
    if solution is None:
        return None
    one = Puzzle(statements, solution)
    near = [t for _, t in neighbours(one, "leaf")]
    rng.shuffle(near)
    if not near:
        return None
    other = near[0]
    twins = []
    for kind in kinds:
        tries: Iterator[Puzzle | None] = (
            iter(near)
            if kind == "leaf"
            else (perturb(one, kind, rng=sampler.rng) for _ in range(20))
        )
        twin = next((t for t in tries if t is not None and t.solution != other.solution), None)
        if twin is None:
            return None
        twins.append((kind, twin))
    return one, other, twins


def _invented(rng: Draws, n: int) -> list[str]:
    """Different names of three syllables."""
    out: dict[str, None] = {}
    while len(out) < n:
        name = "".join(
            rng.choice("bdfgklmnprstvz") + rng.choice("aeiou") for _ in range(2)
        ) + rng.choice("lnrsx")
        out.setdefault(name.capitalize())
    return list(out)
