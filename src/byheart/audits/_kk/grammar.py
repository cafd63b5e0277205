"""The statements of a puzzle: their form, their string form, and what they mention.

Statement i is spoken by person i, counted from 0::

    ('telling-truth', j)  ('lying', j)                      j is a knight, a knave
    ('not', s)  ('and', s, t, ...)  ('or', s, t, ...)       n-ary
    ('->', s, t)  ('<=>', s, t)                             material implication, equivalence
"""

from __future__ import annotations

import ast
import json
import reprlib
from collections.abc import Iterator
from typing import Any

from byheart.core.errors import DataError

__all__ = [
    "LEAVES",
    "MAX_PEOPLE",
    "OPERATORS",
    "Statement",
    "Statements",
    "as_statements",
    "canonical",
    "depth",
    "leaves",
    "mentioned",
    "twin_kind",
]

Statement = tuple[Any, ...]
Statements = tuple[Statement, ...]

LEAVES = ("telling-truth", "lying")
OPERATORS = ("not", "and", "or", "->", "<=>")

MAX_PEOPLE = 20
"""A truth table of so many people has a million bits; the published puzzles have 2 to 8."""

_LONGEST = 200_000
_DEEPEST = 60
_MOST = 20_000
_OTHER_NAMES = {
    "perturbed_statement": "statement",
    "perturbed_leaf": "leaf",
    "reorder": "reorder_statement",
}


def twin_kind(name: str) -> str:
    """A kind of twin by the name used here; the published set and the paper have other names too.

    >>> twin_kind("perturbed_leaf"), twin_kind("reorder"), twin_kind("leaf")
    ('leaf', 'reorder_statement', 'leaf')
    """
    return _OTHER_NAMES.get(name, name)


_ARITY = {"not": (1, 1), "and": (2, None), "or": (2, None), "->": (2, 2), "<=>": (2, 2)}


def as_statements(source: Any) -> Statements:
    """Statements in canonical form: nested tuples of plain strings and ints, checked.

    Args:
        source: Tuples or lists, or their string form (Python's, as in the published files, or
            JSON's).

    Raises:
        DataError: If this is no puzzle: an unknown operator, a person who is not there, fewer than
            2 people or more than `MAX_PEOPLE`, or text that cannot be read.

    >>> as_statements("[['lying', 1], ['and', ['telling-truth', 0], ['lying', 1]]]")
    (('lying', 1), ('and', ('telling-truth', 0), ('lying', 1)))
    """
    if isinstance(source, str):
        source = _read(source)
    if not isinstance(source, list | tuple):
        raise DataError(
            f"statements are a tuple, one statement a person, got {type(source).__name__}"
        )
    if not 2 <= len(source) <= MAX_PEOPLE:
        raise DataError(f"a puzzle has 2 to {MAX_PEOPLE} people, got {len(source)} statements")
    return tuple(
        _canonical(s, len(source), f"statement {i}", 1, [_MOST]) for i, s in enumerate(source)
    )


def _read(text: str) -> Any:
    if len(text) > _LONGEST:
        raise DataError(f"the statements are {len(text)} characters long, at most {_LONGEST}")
    level = deepest = 0
    for c in text:
        level += (c in "([") - (c in ")]")
        deepest = max(deepest, level)
    if deepest > _DEEPEST + 2:
        raise DataError(f"the statements are nested {deepest} deep, at most {_DEEPEST}")
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            shown = text if len(text) <= 80 else text[:77] + "..."
            raise DataError(f"these statements cannot be read: {shown!r}") from None


def canonical(statement: Any, people: int) -> Statement:
    """One statement as nested tuples of plain strings and ints; see `as_statements`.

    Raises:
        DataError: If it is none.
    """
    return _canonical(statement, people, "statement", 1, [_MOST])


class _Short(reprlib.Repr):
    """A number of a million digits, or tuples within tuples, in a few characters."""

    def repr_int(self, x: int, level: int) -> str:
        return str(x) if x.bit_length() < 100 else f"<a number of {x.bit_length()} bits>"


_shown = _Short().repr


def _canonical(s: Any, people: int, where: str, level: int, left: list[int]) -> Statement:
    left[0] -= 1
    if left[0] < 0:  # parts may be shared: few in memory, and without number when unfolded
        raise DataError(f"{where}: more than {_MOST} parts")
    if not isinstance(s, list | tuple) or not s or not isinstance(s[0], str):
        raise DataError(
            f"{where}: a statement is ('lying', 1), ('and', s, t), ..., got {_shown(s)}"
        )
    kind = str(s[0])
    if kind in LEAVES:
        if len(s) != 2 or isinstance(s[1], bool) or not hasattr(s[1], "__index__"):
            raise DataError(f"{where}: {kind!r} takes the number of a person, got {_shown(s[1:])}")
        person = int(s[1].__index__())
        if not 0 <= person < people:
            raise DataError(
                f"{where}: there is no person {_shown(person)}, people are 0 to {people - 1}"
            )
        return (kind, person)
    if kind not in _ARITY:
        known = ", ".join(LEAVES + OPERATORS)
        raise DataError(f"{where}: unknown operator {_shown(kind)}; known: {known}")
    if level > _DEEPEST:
        raise DataError(f"{where}: nested more than {_DEEPEST} deep")
    least, most = _ARITY[kind]
    if len(s) - 1 < least or (most is not None and len(s) - 1 > most):
        raise DataError(
            f"{where}: {kind!r} takes {least}{'' if most == least else ' or more'} statement(s), "
            f"got {len(s) - 1}"
        )
    return (kind, *(_canonical(part, people, where, level + 1, left) for part in s[1:]))


def depth(statement: Statement) -> int:
    """1 for a leaf, one more for each operator above it.

    >>> depth(("not", ("lying", 0)))
    2
    """
    if statement[0] in LEAVES:
        return 1
    return 1 + max(depth(s) for s in statement[1:])


def leaves(
    statement: Statement, path: tuple[int, ...] = ()
) -> Iterator[tuple[tuple[int, ...], Statement]]:
    """Every leaf with its path: the indices that lead to it from the root."""
    if statement[0] in LEAVES:
        yield path, statement
        return
    for i, part in enumerate(statement[1:], 1):
        yield from leaves(part, (*path, i))


def mentioned(statement: Statement) -> tuple[int, ...]:
    """People in the order of their first mention.

    >>> mentioned(("and", ("lying", 2), ("or", ("lying", 0), ("telling-truth", 2))))
    (2, 0)
    """
    return tuple(dict.fromkeys(leaf[1] for _, leaf in leaves(statement)))
