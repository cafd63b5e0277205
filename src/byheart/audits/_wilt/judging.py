"""Is a guess the rule? Agreement over 78,931 points, as the authors have it, and how far off it is."""

from __future__ import annotations

import ast
import copy
import functools
import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from byheart.audits._wilt import scalar
from byheart.audits._wilt.language import LIMITS, Function, parse
from byheart.audits._wilt.rules import Rule
from byheart.audits._wilt.vector import evaluate, evaluate_plain
from byheart.core.errors import BudgetExceeded, DataError

__all__ = ["FIXED", "Complexity", "Judgement", "Points", "guess_complexity", "judge", "points"]

FIXED = (
    (0.1, 0.2, 0.3), (1.1, 1.2, 1.3), (2.5, 2.6, 2.7), (0.1, 0.2, 0.3), (0.3, 0.6, 0.9),
    (0.1234, 0.5678, 0.9123), (0, 0.5, 1), (1, 1.5, 2), (2.5, 3, 3.5), (3.9, 4.2, 4.8),
)  # fmt: skip
"""The authors' ten decimal triples; one stands there twice."""


@dataclass(frozen=True, eq=False)
class Points:
    """Where rule and guess are compared, in the authors' order.

    Attributes:
        wide: 5000 uniform in (-200, 200) cubed, ``3 x [5000]``.
        near: 5000 uniform in (-3, 3) cubed.
        grid: Whole numbers from -20 to 20 cubed, ``3 x [68921]``.
        fixed: `FIXED`; whole numbers and decimals mixed.
        more: 5000 further wide points, for set inclusion (10,000 in all).
    """

    wide: tuple[np.ndarray, ...]
    near: tuple[np.ndarray, ...]
    grid: tuple[np.ndarray, ...]
    fixed: tuple[tuple[float, ...], ...]
    more: tuple[np.ndarray, ...]

    def __len__(self) -> int:
        return len(self.wide[0]) + len(self.near[0]) + len(self.grid[0]) + len(self.fixed)


@functools.lru_cache(maxsize=4)
def points(seed: int = 0, arity: int = 3) -> Points:
    """The authors' probes, with a seed (theirs are drawn anew each time).

    >>> len(points())
    78931
    """
    rng = np.random.default_rng([seed, 24_101_0998])
    wide, near = (tuple(rng.uniform(-h, h, (arity, 5000))) for h in (200, 3))
    more = tuple(rng.uniform(-200, 200, (arity, 5000)))
    return Points(wide, near, _grid(arity), FIXED if arity == 3 else (), more)


@functools.lru_cache(maxsize=2)
def _grid(arity: int) -> tuple[np.ndarray, ...]:
    return tuple(np.array(list(itertools.product(range(-20, 21), repeat=arity))).T.copy())


@functools.lru_cache(maxsize=2)
def _hundred(arity: int) -> tuple[np.ndarray, ...]:
    """Whole numbers from 1 to 100: all that the bayesian splits are played with."""
    axes = np.meshgrid(*[np.arange(1, 101)] * arity, indexing="ij")
    return tuple(a.ravel() for a in axes)


@dataclass(frozen=True)
class Complexity:
    """How a guess is written.

    Attributes:
        operators: Operators in its syntax tree.
        operators_authors: As the authors count them, by substring: "sorted" holds an "or".
        length: Characters, less two, as the authors count them.
        inclusion: Where one of the sets of true points holds the other: size of the guess's over
            the rule's, above 1 too broad, below 1 too narrow. None if neither holds the other, if
            the rule is never true there, or the guess raises.
    """

    operators: int
    operators_authors: int
    length: int
    inclusion: float | None


@dataclass(frozen=True)
class Judgement:
    """A guess, held against the rule.

    Attributes:
        correct: The authors' verdict: a lambda whose values equal the rule's at every point (a
            number that is merely truthy does not).
        correct_lenient: Ours: an expression will do, truth counts and not the value, and where the
            guess raises it says False. The bayesian splits are compared on 1 to 100 only.
        approximate: Ours (the paper defines none): not correct, and either equal once every strict
            comparison is swapped for its non-strict form and back, or true at half or more of the
            points where the rule is and wrong at no more than 1 % of the grid and the near points.
        reason: Why it is not correct: ``""``, ``"differs"``, ``"raises"``, ``"no rule: ..."``,
            ``"too much work"``.
        disagreement: Share of the grid and the near points at which it is wrong; None if it could
            not be evaluated.
        complexity: How it is written; None where it could not be read.
    """

    correct: bool
    correct_lenient: bool
    approximate: bool
    reason: str = ""
    disagreement: float | None = None
    complexity: Complexity | None = None


@dataclass(frozen=True, eq=False)
class _Table:
    """Values of a function at all points, in order, and where it raised."""

    blocks: tuple[tuple[np.ndarray, np.ndarray], ...]  # wide, near, grid, fixed, more

    @classmethod
    def of(cls, function: Function, where: Points) -> _Table:
        work = scalar.Work(LIMITS.total)
        return cls(
            (
                evaluate(function, where.wide, work),
                evaluate(function, where.near, work),
                evaluate(function, where.grid, work),
                evaluate_plain(function, where.fixed, work),
                evaluate(function, where.more, work),
            )
        )

    def truth(self, i: int) -> np.ndarray:
        values, raised = self.blocks[i]
        return _truth(values) & ~raised


def _truth(values: np.ndarray) -> np.ndarray:
    if values.dtype == object:
        return np.array([bool(v) for v in values], dtype=bool)
    return values != 0


def _same(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Python's ``==``, element by element."""
    if a.dtype != object and b.dtype != object:
        return a == b
    pairs = zip(a.tolist(), b.tolist(), strict=True)
    return np.array([bool(x == y) for x, y in pairs], dtype=bool)


@functools.lru_cache(maxsize=256)
def _table(text: str, arity: int, seed: int) -> _Table:
    return _Table.of(parse(text, arity), points(seed, arity))


def judge(rule: Rule, guess: str | Function, *, seed: int = 0) -> Judgement:
    """Hold a guess against the rule.

    Args:
        rule: The hidden rule.
        guess: A lambda, or an expression in x, y and z, which only the lenient verdict takes.
        seed: Of the random probes.

    >>> from byheart.audits._wilt.rules import RULES_FULL
    >>> judge(RULES_FULL["2"], "lambda x, y, z: x < y < z").correct
    True
    >>> judge(RULES_FULL["4"], "lambda a, b, c: a < b < c").approximate
    True
    """
    try:
        function = parse(guess, rule.arity) if isinstance(guess, str) else guess
    except DataError as error:
        return Judgement(False, False, False, f"no rule: {error}")
    bare = not function.text.lstrip("( \t").startswith("lambda")
    try:
        mine = _Table.of(function, points(seed, rule.arity))
        lenient = _lenient(rule, function, mine, seed)
        theirs = _table(rule.text, rule.arity, seed)
    except BudgetExceeded as error:
        return Judgement(False, False, False, f"too much work: {error}")
    correct, reason = _strict(rule, theirs, mine)
    if bare:  # Python knows no x there, and the authors' eval fails
        correct, reason = False, "no rule: not a lambda"
    wrong = [theirs.truth(i) != mine.truth(i) for i in (1, 2)]
    off = float(np.concatenate(wrong).mean())
    near = not correct and _approximate(rule, function, theirs, mine, off, seed)
    return Judgement(
        correct, lenient, near, reason, off,
        Complexity(
            _operators(function.body), count_operators(function.text), len(function.text) - 2,
            _inclusion(theirs, mine),
        ),
    )  # fmt: skip


def _strict(rule: Rule, theirs: _Table, mine: _Table) -> tuple[bool, str]:
    """The authors' loop stops at the first difference or exception, whichever comes first."""
    for (a, failed), (b, raised) in zip(theirs.blocks[:4], mine.blocks[:4], strict=True):
        stop = np.flatnonzero(~_same(a, b) | raised | failed)
        if len(stop):
            return False, "raises" if raised[stop[0]] or failed[stop[0]] else "differs"
    if rule.arity == 1:  # there their fixed triples go to a function of one number
        return False, "raises"
    return True, ""


def _lenient(rule: Rule, function: Function, mine: _Table, seed: int) -> bool:
    if rule.whole:
        columns = _hundred(rule.arity)
        told, raised = evaluate(function, columns)
        real, _ = evaluate(rule.function, columns)
        return bool((( _truth(told) & ~raised) == _truth(real)).all())  # fmt: skip
    theirs = _table(rule.text, rule.arity, seed)
    return all(bool((theirs.truth(i) == mine.truth(i)).all()) for i in range(4))


_SWAP: dict[type[ast.cmpop], ast.cmpop] = {
    ast.Lt: ast.LtE(), ast.LtE: ast.Lt(), ast.Gt: ast.GtE(), ast.GtE: ast.Gt(),
}  # fmt: skip


def _approximate(
    rule: Rule, function: Function, theirs: _Table, mine: _Table, off: float, seed: int
) -> bool:
    real = np.concatenate([theirs.truth(i) for i in (1, 2)])
    told = np.concatenate([mine.truth(i) for i in (1, 2)])
    if off <= 0.01 and real.any() and (told & real).sum() * 2 >= real.sum():
        return True
    swapped = copy.deepcopy(function.body)
    found = False
    for node in ast.walk(swapped):
        if isinstance(node, ast.Compare):
            found |= any(type(op) in _SWAP for op in node.ops)
            node.ops = [_SWAP.get(type(op), op) for op in node.ops]
    if not found:
        return False
    other = Function(ast.unparse(swapped), function.params, swapped, function.star,
                     function.defaults, function.nodes)  # fmt: skip
    try:
        table = _Table.of(other, points(seed, rule.arity))
    except BudgetExceeded:
        return False
    return all(bool((theirs.truth(i) == table.truth(i)).all()) for i in range(4))


def _inclusion(theirs: _Table, mine: _Table) -> float | None:
    where = (0, 4, 2)
    if any(mine.blocks[i][1].any() or theirs.blocks[i][1].any() for i in where):
        return None
    real = np.concatenate([theirs.truth(i) for i in where])
    told = np.concatenate([mine.truth(i) for i in where])
    if not real.any() or ((real & ~told).any() and (told & ~real).any()):
        return None
    return float(told.sum() / real.sum())


def guess_complexity(rule: Rule, guess: str | Function, *, seed: int = 0) -> Complexity | None:
    """Operators, length and set inclusion of a guess; None where it cannot be read.

    >>> from byheart.audits._wilt.rules import RULES_FULL
    >>> guess_complexity(RULES_FULL["4"], "lambda x, y, z: x < y < z").operators
    2
    """
    return judge(rule, guess, seed=seed).complexity


_SIGNS = (
    "and", "not", "or", "**", "==", "!=", "<=", ">=", ">>", "<<", "//", "+", "-", "/", "*", "=", "%",
    "&", "|", "~", "^", "<", ">",
)  # fmt: skip


def count_operators(text: str) -> int:
    """Operators of a text as the authors count them: by substring, the longest first.

    >>> count_operators("lambda x, y, z: sorted([x, y, z]) == [x, y, z]")
    2
    """
    count = 0
    for sign in _SIGNS:
        count += text.count(sign)
        text = text.replace(sign, "")
    return count


def _operators(body: ast.expr) -> int:
    count = 0
    for node in ast.walk(body):
        if isinstance(node, ast.BoolOp):
            count += len(node.values) - 1
        elif isinstance(node, ast.Compare):
            count += len(node.ops)
        elif isinstance(node, ast.BinOp | ast.UnaryOp):
            negative = isinstance(node, ast.UnaryOp) and isinstance(node.operand, ast.Constant)
            count += not negative
    return count


_FENCE = re.compile(r"```(?:python)?\s*(.+?)\s*```", re.DOTALL)
_TICKS = re.compile(r"`+(.+?)`+", re.DOTALL)


def strict_guess(reply: str) -> str:
    """The guess in a reply, where the authors look for it: the first block after the last "final
    guess", or a span in backticks. Empty if there is none."""
    tail = reply[reply.lower().rfind("final guess") :]
    for pattern in (_FENCE, _TICKS):
        found = pattern.search(tail)
        if found and found.group(1).strip():
            return found.group(1).strip()
    return ""


def lenient_guess(reply: str, arity: int = 3) -> str:
    """What can be read as a rule: the strict guess, else the last lambda or expression in it.

    Line breaks, a name in front (``rule = lambda ...``), words around it and missing backticks are
    forgiven.
    """
    at = reply.lower().rfind("final guess")
    tail = reply[at + len("final guess") :] if at >= 0 else reply
    tried: list[str] = []
    for pattern in (_FENCE, _TICKS):
        tried += [m.strip() for m in pattern.findall(tail)]
    tried += [line.strip(" \t`:*#.") for line in tail.splitlines()]
    readable = ""
    for text in tried:
        flat = " ".join(text.split())
        start = flat.find("lambda")
        for each in dict.fromkeys((flat, flat[start:] if start >= 0 else "")):
            if each and _reads(each, arity):
                readable = each
        if readable:
            return readable
    return ""


def _reads(text: str, arity: int) -> bool:
    try:
        function = parse(text, arity)
    except DataError:
        return False
    # "True", "x" and "3" are words of a sentence as often as they are rules
    return text.startswith("lambda") or any(
        isinstance(n, ast.Compare | ast.BoolOp | ast.Call) for n in ast.walk(function.body)
    )


def means_the_same(a: Rule, b: str, *, seed: int = 0) -> bool:
    """Whether a text is the rule, by truth; False if it cannot be read."""
    return judge(a, b, seed=seed).correct_lenient


def share_true(rules: Sequence[Rule], seed: int = 0) -> list[float]:
    """Share of the grid at which each rule is true."""
    return [float(_table(r.text, r.arity, seed).truth(2).mean()) for r in rules]
