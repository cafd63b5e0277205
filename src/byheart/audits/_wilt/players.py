"""Scripted players: how well a test is chosen and how well a rule is inferred, taken apart.

They need no language model. A player knows a space of candidate rules, asks tests, and guesses a
candidate that has survived; the chooser and the guesser are set independently of each other.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from byheart.audits._wilt.judging import judge
from byheart.audits._wilt.rules import Rule
from byheart.audits._wilt.space import UNANSWERED, HypothesisSpace
from byheart.core.ask import Prompt
from byheart.core.errors import DataError, UsageError
from byheart.core.model import CallableModel

__all__ = ["CHOOSERS", "GUESSERS", "Played", "Player", "collect", "mixed_triples", "play", "player_model"]  # fmt: skip

CHOOSERS = ("random", "mixed", "confirm", "gain")
"""Whole numbers in -10..10; decimals, sums and sorted triples too; only tests that the favourite says
are true; the test that splits the survivors best."""

GUESSERS = ("shortest", "random", "positive")
"""The shortest surviving candidate; any of them; the shortest that fits the tests answered True,
whatever was answered False (infers as a confirmer tests)."""

Triple = tuple[float, float, float]


def mixed_triples(rng: np.random.Generator, n: int) -> list[Triple]:
    """Triples of all kinds: whole, decimal, sorted, equal, and with a sum, product or square in them."""
    out: list[Triple] = []
    while len(out) < n:
        kind = int(rng.integers(10))
        if kind < 3:
            t = tuple(float(v) for v in rng.integers(-12, 13, 3))
        elif kind < 5:
            t = tuple(round(float(v), 1) for v in rng.uniform(-20, 20, 3))
        else:
            a, b = (float(v) for v in rng.integers(-9, 10, 2))
            if kind == 5:
                t = (a, b, a + b) if rng.random() < 0.5 else (a, b, a * b)
            elif kind == 6:
                t = (a, a, float(rng.choice([a, b])))
            elif kind == 7:
                k = float(rng.integers(1, 7))
                t = (3 * k, 4 * k, 5 * k) if rng.random() < 0.3 else (a * a, b * b, k * k)
            elif kind == 8:
                t = tuple(sorted(round(a + float(v), 1) for v in rng.uniform(0, 2, 3)))
            else:
                t = tuple(float(v) for v in 2 * rng.integers(-9, 10, 3) + rng.integers(2))
        order = rng.permutation(3) if kind in (5, 6, 7) else np.arange(3)
        out.append((t[order[0]], t[order[1]], t[order[2]]))
    return out


@dataclass
class Player:
    """A scripted player.

    Args:
        chooser: One of `CHOOSERS`.
        guesser: One of `GUESSERS`.
        rules: Candidates it believes possible; None is the authors' 200 with `space_seed`.
        seed: Of its tests and its guess.
        space_seed: Of the candidates that are drawn.
        pool: Tests it considers at a time.
    """

    chooser: str = "gain"
    guesser: str = "shortest"
    rules: Sequence[Rule] | None = None
    seed: int = 0
    space_seed: int = 0
    pool: int = 300

    def __post_init__(self) -> None:
        for what, value, known in (
            ("chooser", self.chooser, CHOOSERS),
            ("guesser", self.guesser, GUESSERS),
        ):
            if value not in known:
                raise UsageError(f"{what} is one of {', '.join(known)}, got {value!r}")
        self._rng = np.random.default_rng([self.seed, 24_101_093])
        self._space = HypothesisSpace(self.rules, seed=self.space_seed)
        self._fits = (
            self._space if self.guesser != "positive" else HypothesisSpace(self._space.rules)
        )
        self._length = np.array([len(r.text) for r in self._space.rules])
        key = (self.chooser in ("random", "confirm"), self.seed, self.pool)
        if self.rules is None:
            self._tests, self._truth = _known_table(*key, self.space_seed)
        else:
            self._tests = _pool(*key)
            self._truth = self._space.table(self._tests)[0]
        self._next = 0
        self._seen = 0

    def learn(self, tests: Sequence[tuple[Sequence[float], bool]]) -> None:
        """Take what was observed since the last call, given all of it."""
        for numbers, answer in tests[self._seen :]:
            self._space.observe(numbers, answer)
            if answer and self._fits is not self._space:
                self._fits.observe(numbers, answer)
        self._seen = len(tests)

    @property
    def settled(self) -> bool:
        """Whether all survivors answer every test it can think of alike."""
        alive = self._truth[self._space.alive]
        return len(alive) < 2 or bool((alive == alive[0]).all())

    def choose(self) -> Triple | None:
        """The next test; None where it has nothing to ask."""
        if self.settled:
            return None
        if self.chooser in ("random", "mixed"):
            self._next += 1
            return self._tests[(self._next - 1) % len(self._tests)]
        alive = self._space.alive
        if self.chooser == "gain":
            yes = self._truth[alive].sum(0)
            split = np.minimum(yes, alive.sum() - yes)
            return self._tests[int(np.argmax(split))]
        favourite = self._favourite()
        fits = np.flatnonzero(self._truth[favourite])
        if not len(fits):  # it knows no triple of the kind
            fits = np.arange(len(self._tests))
        return self._tests[int(self._rng.choice(fits))]

    def _favourite(self) -> int:
        alive = np.flatnonzero(self._space.alive)
        return int(alive[np.argmin(self._length[alive])])

    def guess(self) -> str:
        """The rule it guesses, as a lambda."""
        alive = np.flatnonzero(self._fits.alive)
        if not len(alive):
            return "lambda x, y, z: False"
        pick = (
            int(self._rng.choice(alive)) if self.guesser == "random"
            else int(alive[np.argmin(self._length[alive])])
        )  # fmt: skip
        return self._space.rules[pick].source

    @property
    def explored(self) -> float:
        """Share of its candidates that are ruled out."""
        return self._space.explored


def _pool(whole: bool, seed: int, n: int) -> list[Triple]:
    rng = np.random.default_rng([seed, 24_101_096])
    return [_triple(t) for t in rng.integers(-10, 11, (n, 3))] if whole else mixed_triples(rng, n)


@functools.lru_cache(maxsize=128)
def _known_table(
    whole: bool, seed: int, n: int, space_seed: int
) -> tuple[list[Triple], np.ndarray]:
    """A talking player is made anew for each reply; what it could ask stays the same."""
    tests = _pool(whole, seed, n)
    return tests, HypothesisSpace(seed=space_seed).table(tests)[0]


def _triple(values: Sequence[float]) -> Triple:
    a, b, c = (float(v) for v in values)
    return a, b, c


@dataclass(frozen=True)
class Played:
    """One game of a scripted player.

    Attributes:
        rule: The hidden rule.
        tests: Triples and answers.
        explored: Share of the candidates ruled out after each test.
        guess: The lambda it guessed.
        correct: Whether it is the rule.
    """

    rule: Rule
    tests: tuple[tuple[Triple, bool], ...]
    explored: tuple[float, ...]
    guess: str
    correct: bool


def collect(rule: Rule, player: Player, max_tests: int = 30) -> Played:
    """Let a player make its tests, and guess.

    Raises:
        DataError: The rule has no answer to one of its tests.
    """
    tests: list[tuple[Triple, bool]] = []
    explored = []
    while len(tests) < max_tests:
        triple = player.choose()
        if triple is None:
            break
        try:
            answer = bool(rule(*triple))
        except UNANSWERED as error:
            raise DataError(
                f"rule {rule.id} ({rule.text}) fails at {triple} with {type(error).__name__}: {error}; "
                "scripted players need rules that answer for every triple of numbers"
            ) from error
        tests.append((triple, answer))
        player.learn(tests)
        explored.append(player.explored)
    guess = player.guess()
    correct = judge(rule, guess).correct
    return Played(rule, tuple(tests), tuple(explored), guess, correct)


def play(rules: Sequence[Rule], make: Callable[[int], Player], max_tests: int = 30) -> list[Played]:
    """A game of a new player for each rule; `make` is given the number of the game."""
    return [collect(rule, make(i), max_tests) for i, rule in enumerate(rules)]


_RESULT = re.compile(r"^Result for input \((.*?)\): (True|False)\.")
_GIVEN = re.compile(r"^\(([^()]*)\): (True|False)$", re.M)


def player_model(make: Callable[[], Player], name: str = "") -> CallableModel:
    """A scripted player as a model that talks: an oracle for the game and for the audit.

    It reads the results out of the conversation, so that it keeps nothing between calls.

    Args:
        make: A new player for each reply.
        name: How reports call it.

    >>> model = player_model(lambda: Player("gain"))
    >>> from byheart.audits._wilt.game import WiltEpisode
    >>> from byheart.core.ask import Sample
    >>> game = WiltEpisode("x + y == z")
    >>> while not game.done:
    ...     _ = game.reply(model.sample([Sample(tuple(game.messages))])[0][0].text)
    >>> game.result.correct, game.tests < 15
    (True, True)
    """

    def speak(prompt: Prompt) -> str:
        texts = [prompt] if isinstance(prompt, str) else [t for role, t in prompt if role == "user"]
        player = make()
        tests = []
        for text in texts:
            found = [_RESULT.match(text)] if _RESULT.match(text) else _GIVEN.finditer(text)
            for match in found:
                assert match is not None
                numbers = _triple([float(v) for v in match[1].split(",")])
                player.choose()  # as when it made the test: its chance goes on
                tests.append((numbers, match[2] == "True"))
                player.learn(tests)
        triple = player.choose()
        given = isinstance(prompt, tuple) and any(_GIVEN.search(t) for t in texts)
        if triple is None or len(tests) >= 30 or given:
            return f"This is what is left.\n\nFinal Guess: ```{player.guess()}```"
        shown = ", ".join(f"{v:g}" for v in triple)
        return f"This tells candidates apart.\n\nTest Case: ```({shown})```"

    return CallableModel(speak, name or "scripted player")
