"""The black box and the conversation with it, turn by turn, as the authors' harness has them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from byheart.audits._wilt.judging import Judgement, judge, lenient_guess, strict_guess
from byheart.audits._wilt.rules import RULES_BAYESIAN, RULES_BAYESIAN_SINGLE, Rule
from byheart.audits._wilt.space import UNANSWERED, HypothesisSpace
from byheart.core.errors import BudgetExceeded, UsageError

__all__ = ["Oracle", "Reply", "Result", "WiltEpisode", "instruction", "swap_instruction"]

_ASK = {
    3: ("three numbers x, y and z", "(1, 2, 3)", "x=1, y=2, z=3", "lambda x, y, z: x < y < z"),
    1: ("one number x", "(1)", "x=1", "lambda x: x < 0"),
}


def instruction(max_tests: int = 30, *, arity: int = 3, whole: bool = False) -> str:
    """The first message of a game: our words for what the authors' prompt says.

    Args:
        max_tests: Tests allowed.
        arity: How many numbers the rule takes.
        whole: Whole numbers from 1 to 100, as in the bayesian splits.
    """
    takes, example, meaning, guess = _ASK[arity]
    range_ = (
        "whole numbers from 1 to 100"
        if whole
        else "whole or decimal numbers that can be typed with three digits or fewer, sign and "
        "decimal point not counted (-11.3 is allowed)"
    )
    return (
        f"A hidden rule takes {takes} and returns True or False. Your task is to find out what it "
        f"is. The inputs are {range_}. In every reply, first reason step by step about what you "
        "know and what you plan, and then end with exactly one of two actions:\n\n"
        f"1. A test: you are told what the rule returns for it. Write it as\n"
        f"Test Case: ```{example}```\nwhich stands for {meaning}. One test a reply.\n"
        f"2. Your guess, as a Python lambda. Write it as\nFinal Guess: ```{guess}```\n"
        "You can guess only once.\n\n"
        f"You have up to {max_tests} tests and one guess. The rule never changes and answers the "
        "same input the same way, so make every test different from those before. A wrong guess "
        "scores nothing: guess only when you are confident, or when your tests are nearly used up. "
        "The action stands at the very end of the reply, with its triple backticks, and with no "
        "comment on its line. Say in your reasoning what a test is meant to show and why you chose "
        "it."
    )


def swap_instruction(
    tests: Sequence[tuple[Sequence[float], bool]], *, arity: int = 3, whole: bool = False
) -> str:
    """The one message of a test swap: tests that somebody else made, and their results.

    Args:
        tests: Numbers and answers.
        arity: How many numbers the rule takes.
        whole: Show whole numbers, as in the bayesian splits.
    """
    takes, _, _, guess = _ASK[arity]
    shown = "\n".join(
        f"({', '.join(str(int(n) if whole else n) for n in t)}): {r}" for t, r in tests
    )
    return (
        f"A hidden rule takes {takes} and returns True or False. Look at the tests "
        "below and give your best guess of the rule, as a Python lambda.\n\nTests of the hidden "
        f"rule, and what it returned:\n\n{shown}\n\nReason step by step, say why you chose the "
        f"rule, and end your reply with\nFinal Guess: ```{guess}```\nwith your "
        "own lambda in it, and with no comment on its line."
    )


class Oracle:
    """The black box: answers tests, counts them, and judges the one guess.

    Args:
        rule: The hidden rule, or its text.
        max_tests: Tests allowed (30; 5 in the bayesian splits).
        space: Candidates to be ruled out on the way; None is the authors': 200 with `seed`, or the
            rules of the bayesian split; False keeps none.
        seed: Of the space and of the probes that a guess is judged on.

    Attributes:
        tests: Triples tested so far.
        results: What the rule answered.
        newly: Share of the candidates that each test ruled out.
        explored: Share ruled out after each test.
        confirms: Whether each test but the first ruled out no more than the threshold.
        repeats: Tests that had been made before.

    >>> oracle = Oracle("x < y < z")
    >>> oracle.test(2, 4, 6), oracle.test(2, 4, 6), oracle.repeats
    (True, True, 1)
    >>> oracle.guess("lambda x, y, z: x < y < z").correct
    True
    """

    def __init__(
        self,
        rule: Rule | str,
        *,
        max_tests: int = 30,
        space: HypothesisSpace | bool | None = None,
        seed: int = 0,
    ) -> None:
        if max_tests < 1:
            raise UsageError(f"max_tests must be at least 1, got {max_tests}")
        self.rule = Rule("own", rule) if isinstance(rule, str) else rule
        _ = self.rule.function  # a text that is no rule is refused now
        self.max_tests, self.seed = max_tests, seed
        if space is None:
            space = _space_of(self.rule, seed)
        self.space = space if isinstance(space, HypothesisSpace) else None
        self.tests: list[tuple[float, ...]] = []
        self.results: list[bool] = []
        self.newly: list[float] = []
        self.explored: list[float] = []
        self.confirms: list[bool] = []
        self.repeats = 0

    def test(self, *numbers: float) -> bool:
        """What the rule answers.

        Raises:
            BudgetExceeded: All tests are used, or the rule needs more work there than it may.
            UsageError: Another number of numbers.
            ArithmeticError, AttributeError, LookupError, TypeError, ValueError: The rule has no
                answer there.
        """
        if len(self.tests) >= self.max_tests:
            raise BudgetExceeded(f"all {self.max_tests} tests are used; guess")
        if len(numbers) != self.rule.arity:
            raise UsageError(f"the rule takes {self.rule.arity} numbers, got {len(numbers)}")
        answer = bool(self.rule(*numbers))
        self.repeats += numbers in self.tests
        if self.space is not None:
            new = self.space.observe(numbers, answer)
            if self.tests:
                self.confirms.append(new <= self.space.threshold)
            self.newly.append(new)
            self.explored.append(self.space.explored)
        self.tests.append(numbers)
        self.results.append(answer)
        return answer

    def guess(self, text: str) -> Judgement:
        """Hold a guess against the rule."""
        return judge(self.rule, text, seed=self.seed)


@dataclass(frozen=True)
class Reply:
    """What the game says to a reply of the model.

    Attributes:
        text: The message; empty after an empty reply, which is asked for again.
        done: Whether the game is over.
    """

    text: str
    done: bool


@dataclass(frozen=True)
class Result:
    """How a game ended.

    Attributes:
        ended: ``"guessed"``, ``"format"`` (two format errors in a row, a guess without backticks
            after a format error), ``"silent"`` (two empty replies), ``"attempts"`` (none left), or
            ``"turns"`` (the cap on replies).
        guess: The guess that was judged, or empty.
        guess_lenient: The guess that the lenient scorer found, or empty.
        judgement: Of the strict guess; None if there was none.
        correct: The authors' verdict.
        correct_lenient: Ours; see `Judgement`, and `lenient_guess` for what is forgiven.
        approximate: Ours; see `Judgement`.
        points: 1000 and the bonus ``100 * (1 - attempts / max_tests)`` if correct, else 0.
    """

    ended: str
    guess: str = ""
    guess_lenient: str = ""
    judgement: Judgement | None = None
    correct: bool = False
    correct_lenient: bool = False
    approximate: bool = False
    points: float = 0.0


def _space_of(rule: Rule, seed: int) -> HypothesisSpace:
    if not rule.whole:
        return HypothesisSpace(seed=seed)
    return HypothesisSpace(RULES_BAYESIAN if rule.arity == 3 else RULES_BAYESIAN_SINGLE)


_TUPLE = re.compile(r"\((.*?)\)")
_COMPLAINT = (
    "Please use the format that was specified: 'Test Case:' or 'Final Guess:', followed by your "
    "test or function in triple backticks, e.g. 'Test Case: ```{example}```' or 'Final Guess: "
    "```{guess}```'."
)


@dataclass
class WiltEpisode:
    """One game, as a machine that is fed the model's replies; nothing in it calls a model.

    The rules are those of the authors' harness (6344f04): a guess goes before a test in the same
    reply; the *last* test in a reply counts; numbers become floats; "Attempts Remaining" is told
    before the count goes up; a test that cannot be read costs nothing; one format error is forgiven
    and costs an attempt, a second in a row ends the game; any reply with "test case:" makes good for
    it. Two things are ours: the game ends after ``2 * max_tests + 10`` replies (theirs would go on
    for ever with a model that never guesses), and numbers that are not finite, or at which the rule
    has no answer, count as unreadable (there the harness stops with an exception).

    Args:
        rule: The hidden rule, or its text.
        max_tests: Attempts allowed.
        first: The first message; None is `instruction`.
        space: As for `Oracle`.
        seed: As for `Oracle`.
        max_turns: Replies after which the game ends; None is ``2 * max_tests + 10``.

    >>> game = WiltEpisode("x < y < z")
    >>> game.reply("I try a rising triple. Test Case: ```(2, 4, 6)```").text
    'Result for input (2.0, 4.0, 6.0): True. Attempts Remaining: 30'
    >>> game.reply("Final Guess: ```lambda x, y, z: x < y < z```").done
    True
    >>> game.result.correct, round(game.result.points, 1)
    (True, 1096.7)
    """

    rule: Rule | str
    max_tests: int = 30
    first: str | None = None
    space: HypothesisSpace | bool | None = None
    seed: int = 0
    max_turns: int | None = None
    attempts: int = field(default=0, init=False)
    turns: int = field(default=0, init=False)
    unreadable: int = field(default=0, init=False)
    result: Result | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.oracle = Oracle(self.rule, max_tests=self.max_tests, space=self.space, seed=self.seed)
        self.rule = self.oracle.rule
        self.instruction = self.first or instruction(
            self.max_tests, arity=self.rule.arity, whole=self.rule.whole
        )
        self.messages: list[tuple[str, str]] = [("user", self.instruction)]
        self.replies: list[str] = []
        self._mulligan = False
        self._cap = self.max_turns or 2 * self.max_tests + 10

    @property
    def done(self) -> bool:
        """Whether the game is over."""
        return self.result is not None

    @property
    def tests(self) -> int:
        """Tests that were answered."""
        return len(self.oracle.tests)

    def reply(self, text: str) -> Reply:
        """Take the model's next reply.

        Raises:
            UsageError: The game is over.
        """
        if self.done:
            raise UsageError("the game is over; start another episode")
        self.turns += 1
        self.replies.append(text)
        low = text.lower()
        if not text:
            said = self._silent()
        elif "final guess:" in low or "### final guess" in low:
            said = self._guessed(text)
        elif "test case:" in low:
            self._mulligan = False
            said = self._tested(text)
        elif self._mulligan:
            said = self._end("format", "Aborting...")
        else:
            self._mulligan = True
            self.attempts += 1
            said = _COMPLAINT.format(
                example=_ASK[self._arity][1].replace("1, 2, 3", "0, 0, 0").replace("(1)", "(0)"),
                guess=f"{_ASK[self._arity][3].split(':')[0]}: True",
            )
        if text:
            self.messages += [("assistant", text.strip()), ("user", said)]
        if not self.done and self.attempts > self.max_tests:
            self._end("attempts", said)
        if not self.done and self.turns >= self._cap:
            self._end("turns", said)
        return Reply(said, self.done)

    @property
    def _arity(self) -> int:
        assert isinstance(self.rule, Rule)
        return self.rule.arity

    def _silent(self) -> str:
        if self._mulligan:
            return self._end("silent", "")
        self._mulligan = True
        self.attempts += 1
        return ""

    def _tested(self, text: str) -> str:
        assert isinstance(self.rule, Rule)
        found = _TUPLE.search(text[text.lower().rfind("test case:") :])
        if not found:
            return self._unread("Looks like you didn't provide a test case.")
        number = int if self.rule.whole else float
        try:
            numbers = tuple(number(part) for part in found.group(1).split(","))
        except (ValueError, OverflowError):
            return self._unread("Unable to parse test case.")
        if any(not abs(n) < float("inf") for n in numbers):
            return self._unread("Unable to parse test case.")
        if len(numbers) != self._arity:
            return self._unread(f"Please provide exactly {self._arity} numbers for the test case.")
        if self.attempts >= self.max_tests:
            return "Maximum attempts reached. Please make a guess."
        try:
            answer = self.oracle.test(*numbers)
        except UNANSWERED:
            return self._unread("Unable to parse test case.")
        left = self.max_tests - self.attempts
        self.attempts += 1
        return f"Result for input ({', '.join(map(str, numbers))}): {answer}. Attempts Remaining: {left}"

    def _unread(self, said: str) -> str:
        self.unreadable += 1
        return said

    def _guessed(self, text: str) -> str:
        guess = strict_guess(text)
        if not guess:
            if self._mulligan:
                return self._end("format", "Aborting.")
            self._mulligan = True
            example = f"{_ASK[self._arity][3].split(':')[0]}: True"
            return f"Please wrap your function in backticks, e.g. 'Final Guess: ```{example}```'."
        judged = self.oracle.guess(guess)
        if judged.correct:
            said = "Congratulations! Your guess is correct. SCORE: 1000."
        elif judged.reason == "differs":
            assert isinstance(self.rule, Rule)
            said = f"Sorry, that's not the correct rule. The rule was {self.rule.source}. SCORE: 0"
        else:
            said = "Invalid lambda function."
        return self._end("guessed", said, guess, judged)

    def _end(self, ended: str, said: str, guess: str = "", judged: Judgement | None = None) -> str:
        assert isinstance(self.rule, Rule)
        correct = judged is not None and judged.correct
        last = next((r for r in reversed(self.replies) if r), "")
        found = lenient_guess(last, self._arity)
        if ended != "guessed" and "lambda" not in found:
            found = ""  # a game that ended otherwise made a guess only if it wrote a function
        lenient = (
            judged if judged is not None and (found == guess or not found)
            else self.oracle.guess(found) if found else None
        )  # fmt: skip
        both = [j for j in (judged, lenient) if j is not None]
        self.result = Result(
            ended,
            guess,
            found or guess,
            judged,
            correct,
            any(j.correct_lenient for j in both),
            not correct and any(j.approximate for j in both),
            1000 + 100 * (1 - self.attempts / self.max_tests) if correct else 0.0,
        )
        return said

    def transcript(self) -> dict[str, Any]:
        """The game as JSON values: rule, messages, tests, counts and result."""
        assert isinstance(self.rule, Rule)
        r = self.result
        return {
            "rule": self.rule.to_dict(),
            "messages": [{"role": a, "content": b} for a, b in self.messages],
            "tests": [[list(t), a] for t, a in zip(self.oracle.tests, self.oracle.results, strict=True)],
            "explored": list(self.oracle.explored),
            "attempts": self.attempts,
            "repeats": self.oracle.repeats,
            "unreadable": self.unreadable,
            "ended": r.ended if r else "",
            "guess": r.guess if r else "",
            "guess_lenient": r.guess_lenient if r else "",
            "reason": r.judgement.reason if r and r.judgement else "",
            "correct": bool(r and r.correct),
            "points": r.points if r else 0.0,
        }  # fmt: skip
