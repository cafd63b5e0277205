"""Who is a knight and who is a knave: every assignment at once, and the plain way beside it.

Assignments are counted as ``itertools.product([True, False], repeat=N)`` gives them, knights first.
A truth table is one integer of 2^N bits, bit k being the value under assignment k, and the operators
are those of whole integers. The table of every statement met is kept, so that a puzzle costs N
look-ups and 2 N operations.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from byheart.audits._kk.grammar import MAX_PEOPLE, Statement, Statements, as_statements, canonical
from byheart.core.errors import DataError

__all__ = ["consistent", "holds", "solve", "solve_plain", "table", "unique"]

Solution = tuple[bool, ...]

_LISTED = 12
"""Up to so many people all assignments are kept as tuples."""

_MANY = 256
"""More solutions than these are listed by numpy."""


def solve(statements: Any) -> list[Solution]:
    """Every solution of a puzzle, in the order of enumeration.

    A solution gives every person a role such that each knight's statement is true and each knave's
    is false.

    Args:
        statements: Tuples of the grammar, one a person, or their string form, or a `Puzzle`.

    Returns:
        Tuples of one Boolean a person, True for a knight; empty if there is no solution.

    Raises:
        DataError: If these are no statements of the grammar.

    >>> solve((("lying", 1), ("and", ("telling-truth", 0), ("telling-truth", 1))))
    [(True, False)]
    >>> solve("(('telling-truth', 1), ('telling-truth', 0))")
    [(True, True), (False, False)]
    """
    if not isinstance(statements, tuple):
        statements = as_statements(getattr(statements, "statements", statements))
    try:
        left = consistent(statements)
    except (TypeError, KeyError, IndexError, ValueError, AttributeError):
        # not canonical: lists or numpy's integers inside, or no puzzle at all
        statements = as_statements(statements)
        left = consistent(statements)
    return _listed(left, len(statements)) if left else []


def solve_plain(statements: Any) -> list[Solution]:
    """As `solve`, one assignment after the other: the documentation of `solve`, and its oracle.

    >>> solve_plain((("lying", 1), ("lying", 0)))
    [(True, False), (False, True)]
    """
    statements = as_statements(statements)
    return [
        roles
        for roles in itertools.product([True, False], repeat=len(statements))
        if all(role == holds(s, roles) for role, s in zip(roles, statements, strict=True))
    ]


def holds(statement: Statement, roles: Sequence[bool]) -> bool:
    """Whether a statement is true under an assignment."""
    kind = statement[0]
    if kind == "telling-truth":
        return bool(roles[statement[1]])
    if kind == "lying":
        return not roles[statement[1]]
    if kind == "not":
        return not holds(statement[1], roles)
    if kind == "and":
        return all(holds(s, roles) for s in statement[1:])
    if kind == "or":
        return any(holds(s, roles) for s in statement[1:])
    if kind == "->":
        return not holds(statement[1], roles) or holds(statement[2], roles)
    if kind == "<=>":
        return holds(statement[1], roles) == holds(statement[2], roles)
    raise DataError(f"unknown operator {kind!r}")


def table(statement: Statement, people: int) -> int:
    """A statement's truth table: bit k is its value under assignment k.

    >>> bin(table(("telling-truth", 0), 2)), bin(table(("<=>", ("lying", 0), ("lying", 1)), 2))
    ('0b11', '0b1001')
    """
    kind = statement[0]
    if kind == "telling-truth":
        return _knight(statement[1], people)
    full = _full(people)
    if kind == "lying":
        return full ^ _knight(statement[1], people)
    first = table(statement[1], people)
    if kind == "not":
        return full ^ first
    for part in statement[2:]:
        other = table(part, people)
        if kind == "and":
            first &= other
        elif kind == "or":
            first |= other
        elif kind == "->":
            first = full ^ first | other
        elif kind == "<=>":
            first ^= full ^ other
        else:
            raise DataError(f"unknown operator {kind!r}")
    return first


def consistent(statements: Statements) -> int:
    """The solutions as a truth table. For statements in canonical form only; nothing is checked."""
    known, knaves = _tables(len(statements))
    left = -1
    for knave, statement in zip(knaves, statements, strict=True):
        # a bit is set where the speaker's role agrees with the statement
        left &= knave ^ known[statement]
        if not left:
            return 0
    return left


def unique(statements: Statements) -> Solution | None:
    """The one solution, or None if there is none or more than one. Canonical form only."""
    left = consistent(statements)
    if not left or left & (left - 1):
        return None
    return _listed(left, len(statements))[0]


class _Shared(dict[Statement, int]):
    """Truth tables of statements, made when first asked for."""

    def __init__(self, people: int) -> None:
        super().__init__()
        self._people, self._most = people, _kept(people)

    def __missing__(self, statement: Statement) -> int:
        # checked once here, so that a look-up that finds something needs no check
        value = table(canonical(statement, self._people), self._people)
        if len(self) >= self._most:
            self.clear()
        self[statement] = value
        return value


def _kept(people: int) -> int:
    """Tables kept: all 1,056 statements of depth 2 at 8 people, and some 64 MiB at 20."""
    return max(16, min(50_000, (1 << 29) >> people))


@functools.lru_cache(maxsize=32)
def _tables(people: int) -> tuple[_Shared, tuple[int, ...]]:
    """Tables of statements, and of "person i is a knave"."""
    if not 2 <= people <= MAX_PEOPLE:
        raise DataError(f"a puzzle has 2 to {MAX_PEOPLE} people, got {people} statement(s)")
    full = _full(people)
    return _Shared(people), tuple(full ^ _knight(i, people) for i in range(people))


@functools.cache
def _full(people: int) -> int:
    return (1 << (1 << people)) - 1


@functools.cache
def _knight(person: int, people: int) -> int:
    """Assignments in which a person is a knight: bits 0 of that person's digit, first = highest."""
    run = 1 << (people - 1 - person)
    block, width = (1 << run) - 1, 2 * run
    while width < 1 << people:
        block |= block << width
        width *= 2
    return block


@functools.lru_cache(maxsize=_LISTED)
def _assignments(people: int) -> list[Solution]:
    return list(itertools.product([True, False], repeat=people))


def _listed(left: int, people: int) -> list[Solution]:
    if left.bit_count() > _MANY:  # taking bit after bit from so long a number is quadratic
        bits = np.frombuffer(left.to_bytes((1 << people) // 8, "little"), dtype=np.uint8)
        at = np.flatnonzero(np.unpackbits(bits, bitorder="little"))
        digits = at[:, None] >> np.arange(people - 1, -1, -1) & 1
        return [tuple(row) for row in (digits == 0).tolist()]
    out = []
    short = people <= _LISTED
    while left:
        lowest = left & -left
        k = lowest.bit_length() - 1
        out.append(
            _assignments(people)[k]
            if short
            else tuple(not k >> (people - 1 - i) & 1 for i in range(people))
        )
        left ^= lowest
    return out
