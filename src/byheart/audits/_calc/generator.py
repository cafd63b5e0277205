"""Arithmetic problems that no model can have seen: the paper's generator, with exact values.

Level 0 has 1,088 numbers, fractions, squares and cubes. A problem of i operations joins one of level
j with one of level i - 1 - j, for every j below i / 2, by one of ``+ - * /``, in either order.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Context, Decimal
from fractions import Fraction
from typing import Any

from byheart.audits._calc.expression import evaluate, operations
from byheart.core.errors import DataError, UsageError

__all__ = [
    "INSTRUCTION", "MAX_STEPS", "PER_SPLIT", "Problem", "RandomCalculation", "atoms", "decimal",
    "generate", "verify",
]  # fmt: skip

INSTRUCTION = "Evaluate this LaTeX numerical expression step-by-step and give the final value within \\boxed{}: "
"""What the published prompts begin with; the expression follows."""

MAX_STEPS = 20
PER_SPLIT = 1200
"""Expressions that are made for every split of a level (published code)."""

_CONTEXT = Context(prec=15)


def decimal(value: Fraction) -> str:
    """15 significant digits, as the published answers are written.

    >>> decimal(Fraction(84)), decimal(Fraction(1, 137393))
    ('84.0000000000000', '7.27839118441260e-6')
    """
    if value == 0:
        return "0"
    rounded = _CONTEXT.divide(Decimal(value.numerator), Decimal(value.denominator))
    sign, digits, _ = rounded.as_tuple()
    exponent = rounded.adjusted()
    text = "".join(map(str, digits)).ljust(15, "0")
    if -5 < exponent < 15:
        if exponent < 0:
            shown = "0." + "0" * (-exponent - 1) + text
        else:
            shown = f"{text[: exponent + 1]}.{text[exponent + 1 :]}"
    else:
        shown = f"{text[0]}.{text[1:]}e{exponent:+d}"
    return "-" * sign + shown


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem.

    Attributes:
        id: Its place.
        steps: How many operations it has.
        expression: LaTeX without blanks, such as ``\\frac{17}{3}*(84-73^2)``.
        exact: Its value.
    """

    id: int
    steps: int
    expression: str
    exact: Fraction

    @property
    def prompt(self) -> str:
        """Instruction and expression, as published."""
        return INSTRUCTION + self.expression

    @property
    def answer(self) -> str:
        """The value to 15 significant digits, as published."""
        return decimal(self.exact)

    def to_dict(self) -> dict[str, Any]:
        """The published fields, and ``steps``, ``expression`` and ``exact`` ("p/q").

        >>> Problem(0, 1, "1/3", Fraction(1, 3)).to_dict()["exact"]
        '1/3'
        """
        return {
            "id": self.id,
            "steps": self.steps,
            "prompt": self.prompt,
            "expression": self.expression,
            "answer": self.answer,
            "exact": f"{self.exact.numerator}/{self.exact.denominator}",
        }


@dataclass(frozen=True, slots=True)
class _Part:
    """A printed expression: a sum of terms.

    `first` is the value of its first term: printed behind a minus, only that one is negated.
    """

    text: str
    value: Fraction
    first: Fraction
    terms: int
    steps: int


def atoms() -> list[tuple[str, Fraction]]:
    """The 1,088 building blocks of level 0, in the published order.

    >>> len(atoms()), atoms()[100], atoms()[-1]
    (1088, ('\\\\frac{1}{2}', Fraction(1, 2)), ('99^3', Fraction(970299, 1)))
    """
    out = [(str(n), Fraction(n)) for n in range(100)]
    out += [(f"\\frac{{{p}}}{{{q}}}", Fraction(p, q)) for q in range(2, 10) for p in range(1, 100)]
    for power in (2, 3):
        out += [(f"{n}^{power}", Fraction(n**power)) for n in range(2, 100)]
    return out


class RandomCalculation:
    """The generator of one level.

    Published code draws from Python's unseeded generator, so the published problems cannot be drawn
    again; these come from the same distribution. An expression that divides by zero at any place is
    not made, and none is made twice.

    Args:
        steps: Operations, 0 to 20 (published: all of them; the paper trains on 5 and 10).
        seed: Another seed, other problems.
        parenthesise: ``"authors"`` prints "a minus (b+c)" as ``a-b+c``, as the published problems
            are (the value is that of what is printed); ``"faithful"`` keeps the brackets.

    Raises:
        UsageError: If a value makes no sense.

    >>> [p.expression for p in RandomCalculation(steps=2, seed=1).sample(2)]
    ['\\\\frac{34}{9}-\\\\frac{4}{5}-\\\\frac{44}{8}', '37^3-\\\\frac{97}{5}/39']
    """

    def __init__(self, steps: int = 5, seed: int = 0, parenthesise: str = "authors") -> None:
        if not isinstance(steps, int) or isinstance(steps, bool) or not 0 <= steps <= MAX_STEPS:
            raise UsageError(f"steps must be 0 to {MAX_STEPS}, got {steps!r}")
        if parenthesise not in ("authors", "faithful"):
            raise UsageError(f"parenthesise is 'authors' or 'faithful', got {parenthesise!r}")
        self.steps, self.seed, self.parenthesise = steps, seed, parenthesise
        self._levels: list[list[_Part]] | None = None

    def sample(self, n: int = 1000) -> list[Problem]:
        """The first `n` problems of a level that is made as long as that takes.

        Another `n` may give other problems. Asked again it gives the same.

        Raises:
            UsageError: If `n` is negative, or more than level 0 has (1,088).
        """
        if n < 0:
            raise UsageError(f"n must not be negative, got {n}")
        if self.steps == 0 and n > 1088:
            raise UsageError(
                f"level 0 has 1088 problems, {n} are asked for; take steps of 1 or more"
            )
        rng = random.Random(f"byheart random-calculation {self.seed}")
        lower = self._below()
        if self.steps == 0:
            parts = list(lower[0])
        else:
            splits = (self.steps + 1) // 2
            want = max(PER_SPLIT, -(-n * 11 // (10 * splits)))
            while True:
                parts = self._level(self.steps, lower, want, rng)
                parts = list({p.text: p for p in parts}.values())
                if len(parts) >= n:
                    break
                want *= 2
        rng.shuffle(parts)
        return [Problem(i, self.steps, p.text, p.value) for i, p in enumerate(parts[:n])]

    def _below(self) -> list[list[_Part]]:
        """All levels below this one, made once."""
        if self._levels is None:
            levels = [[_Part(t, v, v, 1, 0) for t, v in atoms()]]
            rng = random.Random(f"byheart random-calculation levels {self.seed}")
            for i in range(1, self.steps):
                levels.append(self._level(i, levels, PER_SPLIT, rng))
            self._levels = levels
        return self._levels

    def _level(
        self, i: int, levels: Sequence[list[_Part]], per_split: int, rng: random.Random
    ) -> list[_Part]:
        out: list[_Part] = []
        faithful = self.parenthesise == "faithful"
        draw = rng.random
        for j in range((i + 1) // 2):
            left, right = levels[j], levels[i - 1 - j]
            m, k, goal = len(left), len(right), len(out) + per_split
            while len(out) < goal:
                a, b = left[int(draw() * m)], right[int(draw() * k)]
                choice = int(draw() * 8)
                if choice & 1:
                    a, b = b, a
                op = "+-*/"[choice >> 1]
                if op == "/" and not b.value:
                    continue
                out.append(_join(a, b, op, faithful))
        return out


def _join(a: _Part, b: _Part, op: str, faithful: bool) -> _Part:
    """Print ``a op b``, and the value of what is printed."""
    steps = a.steps + b.steps + 1
    if op == "+":
        return _Part(f"{a.text}+{b.text}", a.value + b.value, a.first, a.terms + b.terms, steps)
    if op == "-":
        if faithful and b.terms > 1:
            return _Part(f"{a.text}-({b.text})", a.value - b.value, a.first, a.terms + 1, steps)
        value = a.value + b.value - 2 * b.first if b.terms > 1 else a.value - b.value
        return _Part(f"{a.text}-{b.text}", value, a.first, a.terms + b.terms, steps)
    left = f"({a.text})" if a.steps else a.text
    right = f"({b.text})" if b.steps else b.text
    value = a.value * b.value if op == "*" else a.value / b.value
    return _Part(f"{left}{op}{right}", value, value, 1, steps)


def generate(
    n: int = 1000, steps: int = 5, seed: int = 0, parenthesise: str = "authors"
) -> list[Problem]:
    """Draw `n` fresh problems of `steps` operations; see `RandomCalculation`.

    Raises:
        UsageError: If a value makes no sense.

    >>> len(generate(5000, steps=3)), generate(1, steps=1)[0].steps
    (5000, 1)
    """
    return RandomCalculation(steps, seed, parenthesise).sample(n)


def verify(problems: Iterable[Problem]) -> int:
    """Read every problem's text anew and hold its value, answer and number of operations against it.

    Returns:
        How many there are, all of them right.

    Raises:
        DataError: Names the first that is wrong, that divides by zero, or that there is twice.

    >>> verify(generate(100, steps=4, seed=3))
    100
    """
    seen: set[str] = set()
    for p in problems:
        where = f"problem {p.id}"
        if p.expression in seen:
            raise DataError(f"{where}: {p.expression} is there twice")
        seen.add(p.expression)
        if operations(p.expression) != p.steps:
            raise DataError(f"{where}: {operations(p.expression)} operations, told are {p.steps}")
        try:
            value = evaluate(p.expression)
        except DataError as error:
            raise DataError(f"{where}: {error}") from error
        if value != p.exact:
            raise DataError(f"{where}: {p.expression} is {decimal(value)}, told is {p.answer}")
    return len(seen)
