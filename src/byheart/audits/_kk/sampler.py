"""Puzzles with one solution, and twins of them that differ in one place and have another solution.

With seed 1234 the sampler gives the published puzzles, in their order (Xie et al., arXiv 2410.23123;
`byheart.audits._kk.published` makes the whole records).
"""

from __future__ import annotations

import operator
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from byheart.audits._kk.draws import Draws
from byheart.audits._kk.grammar import (
    LEAVES,
    MAX_PEOPLE,
    Statement,
    Statements,
    as_statements,
    depth,
    leaves,
    twin_kind,
)
from byheart.audits._kk.solver import solve, unique
from byheart.core.errors import DataError, UsageError

__all__ = ["KINDS", "Puzzle", "Sampler", "check_width", "exchangeable", "neighbours", "perturb"]

KINDS = ("statement", "leaf")
"""Twins at the level of the problem: one statement, or one leaf of one statement, drawn anew."""

_TRIES = 1000


@dataclass(frozen=True, slots=True)
class Puzzle:
    """A puzzle with its one solution.

    Attributes:
        statements: One a person, see `byheart.audits._kk.grammar`.
        solution: One Boolean a person, True for a knight.
        index: Its place in its set; the published wording is drawn with seed 1234 + index.
    """

    statements: Statements
    solution: tuple[bool, ...]
    index: int = 0

    @classmethod
    def of(cls, statements: Any, index: int = 0) -> Puzzle:
        """A puzzle from statements, solved.

        Raises:
            DataError: If these are no statements, or there is no solution, or more than one.

        >>> Puzzle.of((("lying", 1), ("and", ("telling-truth", 0), ("telling-truth", 1)))).solution
        (True, False)
        """
        statements = as_statements(statements)
        found = solve(statements)
        if len(found) != 1:
            some = "no solution" if not found else f"{len(found)} solutions"
            raise DataError(f"a puzzle must have exactly one solution, this one has {some}")
        return cls(statements, found[0], index)

    @property
    def people(self) -> int:
        """How many people."""
        return len(self.statements)

    @property
    def depth(self) -> int:
        """Of the deepest statement; 1 is a leaf."""
        return max(depth(s) for s in self.statements)


class Sampler:
    """Draws puzzles, and twins of them, from one stream of random numbers.

    A statement is a leaf with probability 1/6, else ``not``, ``and``, ``or``, ``->`` or ``<=>`` over
    statements one level less deep; "I am lying" is never drawn as a leaf, and the parts of one
    ``and``, ``or``, ``->``, ``<=>`` differ. A puzzle is kept if it has exactly one solution.

    Args:
        n_people: 2 to 20 (paper: 2 to 8).
        depth: Most levels of a statement, 1 being a leaf (2).
        width: Most parts of an ``and`` or ``or`` (2).
        seed: Of the stream (1234, as for the published sets).

    Attributes:
        rng: The stream; `perturb` takes it, to go on where the puzzles ended.

    >>> sampler = Sampler(2)
    >>> first = sampler.sample(300)[0]
    >>> first.statements
    (('not', ('telling-truth', 1)), ('<=>', ('telling-truth', 1), ('lying', 0)))
    >>> first.solution
    (False, True)
    """

    def __init__(self, n_people: int, depth: int = 2, width: int = 2, seed: int = 1234) -> None:
        n_people, depth = _whole("people", n_people), _whole("depth", depth)
        width, seed = _whole("width", width), _whole("seed", seed)
        if not 2 <= n_people <= MAX_PEOPLE:
            raise UsageError(f"people must be 2 to {MAX_PEOPLE}, got {n_people}")
        if not 1 <= depth <= 8:
            raise UsageError(f"depth must be 1 (leaves only) to 8, got {depth}")
        if not 2 <= width <= 8:
            raise UsageError(f"width must be 2 to 8, got {width}")
        check_width(n_people, depth, width)
        self.n_people, self.depth, self.width, self.seed = n_people, depth, width, seed
        self.rng = Draws(seed)

    def sample(self, n: int, *, exclude: Sequence[Puzzle] = ()) -> list[Puzzle]:
        """`n` different puzzles with one solution each.

        Args:
            n: How many.
            exclude: Puzzles that must not come again (a training set, for instance).

        Raises:
            DataError: If one puzzle was not found in 1,000 tries: there are only so many puzzles of
                a kind. (The authors' code returns fewer without a word.)
        """
        n = _whole("n", n)
        if n < 0:
            raise UsageError(f"n must not be negative, got {n}")
        if self.depth == 1 and n:
            raise UsageError(
                "statements that are leaves alone have no single solution, since exchanging all roles "
                "gives another; give depth 2 or more"
            )
        known = {p.statements for p in exclude}
        out: list[Puzzle] = []
        for index in range(n):
            for _ in range(_TRIES):
                statements = self.draw()
                if statements in known:
                    continue
                solution = unique(statements)
                if solution is not None:
                    known.add(statements)
                    out.append(Puzzle(statements, solution, index))
                    break
            else:
                raise DataError(
                    f"no further puzzle in {_TRIES} tries after {index} of {n} "
                    f"({self.n_people} people, depth {self.depth}, width {self.width}); "
                    "ask for fewer, or for more people or depth"
                )
        return out

    def perturb(self, puzzles: Sequence[Puzzle], kind: str = "leaf") -> list[Puzzle | None]:
        """One twin of each puzzle, drawn from the same stream; None where none was found."""
        return [perturb(p, kind, rng=self.rng, depth=self.depth, width=self.width) for p in puzzles]

    def draw(self) -> Statements:
        """Statements of all people, solvable or not."""
        return tuple(
            _statement(self.rng, i, self.n_people, self.depth, self.width)
            for i in range(self.n_people)
        )


def check_width(people: int, depth: int, width: int) -> None:
    """Refuse an ``and`` of more different leaves than there are: it would be drawn for ever.

    Raises:
        UsageError: If `width` is above ``2 * people - 1`` ("I am lying" is no leaf).
    """
    if depth > 1 and width > 2 * people - 1:
        raise UsageError(
            f"width is at most {2 * people - 1} with {people} people, who can say no more different "
            f"leaves, got {width}"
        )


def _whole(label: str, value: Any) -> int:
    try:
        if isinstance(value, bool):
            raise TypeError
        return operator.index(value)
    except TypeError:
        raise UsageError(f"{label} is a whole number, got {value!r}") from None


def perturb(
    puzzle: Puzzle | Any,
    kind: str = "leaf",
    n: int | None = None,
    *,
    rng: Draws | int | None = None,
    depth: int = 2,
    width: int = 2,
    method: str = "draw",
    exclude: Sequence[Statements] = (),
) -> Any:
    """A twin that differs in one statement, has one solution, and not the puzzle's own.

    Args:
        puzzle: The original, or its statements.
        kind: ``"statement"`` draws the whole statement of one person anew, ``"leaf"`` one leaf.
        n: None for one twin (or None where there is none); else a list of up to `n` different ones.
        rng: A stream (`Sampler.rng`) to draw from, or a seed; None takes the puzzle's index.
        depth: Of a new statement (2).
        width: Of a new statement (2).
        method: ``"draw"`` proposes up to 1,000 times and takes what is accepted, as the published
            twins were made. ``"enumerate"`` lists all twins with their probabilities of being
            proposed and draws among them: the same distribution, and None means that there is none.
            For statements of depth 2 and width 2 at most.
        exclude: Statements that must not come out.

    Returns:
        A `Puzzle` with the original's index, None, or a list.

    Raises:
        UsageError: If there is no such kind or method.

    >>> puzzle = Puzzle.of((("lying", 1), ("and", ("telling-truth", 0), ("telling-truth", 1))))
    >>> twin = perturb(puzzle, "statement", rng=3)
    >>> sum(a != b for a, b in zip(puzzle.statements, twin.statements)), twin.solution
    (1, (False, False))
    """
    if not isinstance(puzzle, Puzzle):
        puzzle = Puzzle.of(puzzle)
    kind = twin_kind(kind)
    if kind not in KINDS:
        raise UsageError(f"a twin is of kind {' or '.join(map(repr, KINDS))}, got {kind!r}")
    if method not in ("draw", "enumerate"):
        raise UsageError(f"method is 'draw' or 'enumerate', got {method!r}")
    if n is not None and n < 1:
        raise UsageError(f"n must be at least 1, got {n}")
    check_width(puzzle.people, depth, width)
    if not isinstance(rng, Draws):
        if rng is not None and not hasattr(rng, "__index__"):
            raise UsageError(f"rng is a seed or a Draws (Sampler.rng), got {type(rng).__name__}")
        rng = Draws(puzzle.index if rng is None else operator.index(rng))
    make = _drawn if method == "draw" else _enumerated
    twins = make(puzzle, kind, n or 1, rng, depth, width, {puzzle.statements, *exclude})
    if n is not None:
        return twins
    return twins[0] if twins else None


def _drawn(
    puzzle: Puzzle,
    kind: str,
    n: int,
    rng: Draws,
    depth: int,
    width: int,
    known: set[Statements],
    tries: int = _TRIES,
) -> list[Puzzle]:
    people = puzzle.people
    out: list[Puzzle] = []
    for _ in range(tries):
        person = rng.integers(0, people)
        old = puzzle.statements[person]
        if kind == "statement":
            new = _statement(rng, person, people, depth, width)
        else:
            new = _other_leaf(rng, old, person, people)
        statements = (*puzzle.statements[:person], new, *puzzle.statements[person + 1 :])
        if statements in known:
            continue
        solution = unique(statements)
        if solution is None or solution == puzzle.solution:
            continue
        known.add(statements)
        out.append(Puzzle(statements, solution, puzzle.index))
        if len(out) >= n:
            break
    return out


def _enumerated(
    puzzle: Puzzle, kind: str, n: int, rng: Draws, depth: int, width: int, known: set[Statements]
) -> list[Puzzle]:
    found = [
        (p, twin)
        for p, twin in neighbours(puzzle, kind, depth=depth, width=width)
        if twin.statements not in known
    ]
    out: list[Puzzle] = []
    while found and len(out) < n:
        at = rng.integers(0, 1 << 31) / (1 << 31) * sum(p for p, _ in found)
        for i, (p, _) in enumerate(found):
            at -= p
            if at < 0 or i == len(found) - 1:
                out.append(found.pop(i)[1])
                break
    return out


def neighbours(
    puzzle: Puzzle, kind: str = "leaf", *, depth: int = 2, width: int = 2
) -> list[tuple[float, Puzzle]]:
    """Every twin of a kind, with the probability that one proposal is this twin.

    The proposals of `perturb` are not uniform over twins: a person is drawn first, then a way down
    to a leaf.

    Raises:
        UsageError: For ``"statement"`` beyond depth 2 or width 2, which are too many to list.

    >>> puzzle = Puzzle.of((("lying", 1), ("lying", 2), ("and", ("lying", 0), ("lying", 1))))
    >>> [(round(p, 3), t.statements[1], t.solution) for p, t in neighbours(puzzle)][:1]
    [(0.067, ('telling-truth', 2), (True, False, False))]
    """
    if kind not in KINDS:
        raise UsageError(f"a twin is of kind {' or '.join(map(repr, KINDS))}, got {kind!r}")
    people = puzzle.people
    out: dict[Statements, tuple[float, Puzzle]] = {}
    for person, old in enumerate(puzzle.statements):
        if kind == "statement":
            if depth > 2 or width > 2:
                raise UsageError(
                    f"statements of depth {depth} and width {width} are too many to list; "
                    "method='draw' draws them"
                )
            proposals = _all_statements(person, people, depth)
        else:
            proposals = _all_other_leaves(old, person, people)
        for p, new in proposals:
            statements = (*puzzle.statements[:person], new, *puzzle.statements[person + 1 :])
            if statements in out:
                known, twin = out[statements]
                out[statements] = (known + p / people, twin)
            elif new != old:
                solution = unique(statements)
                if solution is not None and solution != puzzle.solution:
                    out[statements] = (p / people, Puzzle(statements, solution, puzzle.index))
    return list(out.values())


def exchangeable(
    puzzle: Puzzle,
    kind: str,
    rng: Draws,
    *,
    depth: int = 2,
    width: int = 2,
    exclude: Sequence[Statements] = (),
) -> Puzzle | None:
    """A twin such that puzzle and twin could change places, or None (for most puzzles).

    `perturb` proposes until a twin is accepted, so its twins are not distributed as puzzles are:
    those that few others lead to are rarer, the commonest solution is rarer too, and parts of a leaf
    twin may be equal. A model that has seen neither may then do better on the puzzle. Here a puzzle
    is kept with a probability proportional to that of one proposal being accepted, and proposals
    that the sampler would not draw are dropped. Proposals being symmetric, ``P(x, x') = P(x', x)``:
    whoever has seen neither solves both equally often.

    Args:
        puzzle: Drawn by `Sampler`.
        kind: ``"statement"`` or ``"leaf"``.
        rng: A stream.
        depth: As for `Sampler`; so is `width`.
        width: As for `Sampler`.
        exclude: Statements that must not come out.
    """
    check_width(puzzle.people, depth, width)
    listed = depth <= 2 and width <= 2 and puzzle.people <= _LISTED
    if kind == "statement" and not listed:  # too many: one proposal, with the same distribution
        twins = _drawn(puzzle, kind, 1, rng, depth, width, {puzzle.statements, *exclude}, tries=1)
        return twins[0] if twins else None
    found = [
        (p, t)
        for p, t in neighbours(puzzle, kind, depth=depth, width=width)
        if t.statements not in exclude and all(_distinct(s) for s in t.statements)
    ]
    at = rng.integers(0, 1 << 31) / (1 << 31) * _CEILING
    for p, twin in found:
        at -= p
        if at < 0:
            return twin
    return None


_LISTED = 10
"""So many people have 14,000 statements between them."""

_CEILING = 0.5
"""No puzzle's proposals are accepted more often; in 60 each of 2, 3, 5 and 8 people: 0.42."""


def _distinct(statement: Statement) -> bool:
    """Whether the parts of every operator differ, as in all statements that are drawn."""
    if statement[0] in LEAVES:
        return True
    parts = statement[1:]
    return len(set(parts)) == len(parts) and all(_distinct(s) for s in parts)


def _statement(rng: Draws, speaker: int, people: int, depth: int, width: int) -> Statement:
    """Draw one statement; which draws are made, and in which order, is part of the data set."""
    die = rng.integers(0, 6)  # drawn for a leaf too
    if depth == 1 or die == 0:
        while True:
            kind = LEAVES[rng.integers(0, 2)]
            person = rng.integers(0, people)
            if kind != "lying" or person != speaker:
                return (kind, person)
    if die == 1:
        return ("not", _statement(rng, speaker, people, depth - 1, width))
    count = rng.integers(2, width + 1) if die < 4 else 2
    parts: list[Statement] = []
    while len(parts) < count:
        part = _statement(rng, speaker, people, depth - 1, width)
        if part not in parts:
            parts.append(part)
    return (("and", "or", "->", "<=>")[die - 2], *parts)


def _other_leaf(rng: Draws, statement: Statement, speaker: int, people: int) -> Statement:
    """Walk down to a leaf and draw it anew. Parts of one operator may become equal."""
    if statement[0] in LEAVES:
        return _statement(rng, speaker, people, 1, 2)
    i = rng.integers(1, len(statement))
    part = _other_leaf(rng, statement[i], speaker, people)
    return (*statement[:i], part, *statement[i + 1 :])


def _all_leaves(speaker: int, people: int) -> list[Statement]:
    return [(k, j) for k in LEAVES for j in range(people) if k != "lying" or j != speaker]


def _all_statements(speaker: int, people: int, depth: int) -> Iterator[tuple[float, Statement]]:
    """What `_statement` draws at width 2, with its probabilities."""
    all_leaves = _all_leaves(speaker, people)
    m = len(all_leaves)
    if depth == 1:
        yield from ((1 / m, leaf) for leaf in all_leaves)
        return
    for leaf in all_leaves:
        yield 1 / (6 * m), leaf
        yield 1 / (6 * m), ("not", leaf)
    for kind in ("and", "or", "->", "<=>"):
        for a in all_leaves:
            for b in all_leaves:
                if a != b:
                    yield 1 / (6 * m * (m - 1)), (kind, a, b)


def _all_other_leaves(
    statement: Statement, speaker: int, people: int
) -> Iterator[tuple[float, Statement]]:
    """What `_other_leaf` draws, with its probabilities."""
    all_leaves = _all_leaves(speaker, people)
    for path, _ in leaves(statement):
        p, node = 1.0, statement
        for i in path:
            p /= len(node) - 1
            node = node[i]
        for leaf in all_leaves:
            yield p / len(all_leaves), _replaced(statement, path, leaf)


def _replaced(statement: Statement, path: tuple[int, ...], leaf: Statement) -> Statement:
    if not path:
        return leaf
    i = path[0]
    return (*statement[:i], _replaced(statement[i], path[1:], leaf), *statement[i + 1 :])
