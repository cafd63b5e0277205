"""How much of a space of candidate rules a game has ruled out, test by test."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence

import numpy as np

from byheart.audits._wilt.drawing import draw, signature
from byheart.audits._wilt.rules import RULES_FULL, Rule
from byheart.core.errors import BudgetExceeded, UsageError

__all__ = ["UNANSWERED", "HypothesisSpace"]

UNANSWERED = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, BudgetExceeded)
"""What a rule raises where it has no answer."""


@functools.lru_cache(maxsize=8)
def _candidates(extra: int, seed: int) -> tuple[Rule, ...]:
    """Read once: every game has the same ones."""
    return (*RULES_FULL.values(), *draw(extra, seed=seed))


class HypothesisSpace:
    """Candidate rules that agree with what was observed.

    The authors fill it with the 50 rules of the full split and 150 random ones, which are drawn
    anew each time and counted with their repeats. Here they have a seed. A candidate that cannot
    answer a test is kept, as there.

    Args:
        rules: The candidates; None is the 50 and `extra` drawn ones.
        extra: How many are drawn.
        seed: Of the draw.
        distinct: Keep one of each meaning only (not the authors').

    >>> space = HypothesisSpace()
    >>> space.observe((2, 4, 6), True)
    0.665
    >>> space.observe((2, 4, 6), True), space.explored
    (0.0, 0.665)
    """

    def __init__(
        self,
        rules: Sequence[Rule] | Mapping[str, Rule] | None = None,
        *,
        extra: int = 150,
        seed: int = 0,
        distinct: bool = False,
    ) -> None:
        if rules is None:
            rules = _candidates(extra, seed)
        some = list(rules.values()) if isinstance(rules, Mapping) else list(rules)
        if distinct:
            first: dict[bytes, Rule] = {}
            for rule in some:
                first.setdefault(signature(rule.text), rule)
            some = list(first.values())
        if not some:
            raise UsageError("a hypothesis space needs a rule")
        self.rules = tuple(some)
        self.alive = np.ones(len(some), dtype=bool)

    def __len__(self) -> int:
        return len(self.rules)

    @property
    def remaining(self) -> list[Rule]:
        """Candidates that agree with everything so far."""
        return [r for r, alive in zip(self.rules, self.alive, strict=True) if alive]

    @property
    def explored(self) -> float:
        """Share of the candidates that are ruled out."""
        return float(1 - self.alive.mean())

    @property
    def threshold(self) -> float:
        """A test that rules out no more than this share confirms what was believed:
        ``clamp(1 / ln(total), 0.01, 0.1) * (1 - 0.5 * explored)``."""
        total = len(self.rules)
        base = max(0.01, min(0.1, 1 / math.log(total))) if total > 1 else 0.1
        return base * (1 - 0.5 * self.explored)

    def observe(self, numbers: Sequence[float], answer: bool) -> float:
        """Rule out what disagrees.

        Returns:
            The share of all candidates that this test ruled out.
        """
        before = int(self.alive.sum())
        for i in np.flatnonzero(self.alive):
            try:
                self.alive[i] = self.rules[i](*numbers) == answer
            except UNANSWERED:
                continue
        return (before - int(self.alive.sum())) / len(self.rules)

    def table(self, triples: Sequence[Sequence[float]]) -> tuple[np.ndarray, np.ndarray]:
        """Answers of every candidate to every test.

        Args:
            triples: ``[T]`` tests; they are taken as floats, as in the game.

        Returns:
            Truth ``[C, T]``, and where a candidate raised ``[C, T]``.
        """
        columns = list(np.array(triples, dtype=float).reshape(len(triples), -1).T.copy())
        truth = np.zeros((len(self.rules), len(triples)), dtype=bool)
        raised = np.zeros_like(truth)
        known: dict[str, int] = {}
        for i, rule in enumerate(self.rules):
            if rule.text in known:
                truth[i], raised[i] = truth[known[rule.text]], raised[known[rule.text]]
                continue
            known[rule.text] = i
            values, raised[i] = rule.function.over(*columns)
            truth[i] = (
                np.array([bool(v) for v in values]) if values.dtype == object else values != 0
            )
        return truth, raised
