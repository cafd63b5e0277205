"""The questions that are asked: a benchmark, each with a fresh twin, and freshly drawn arithmetic."""

from __future__ import annotations

import functools
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from byheart.audits._calc.answers import gold_of
from byheart.audits._calc.export import problem_of
from byheart.audits._calc.generator import INSTRUCTION, MAX_STEPS, RandomCalculation
from byheart.audits._calc.probes import tail_of, truncate
from byheart.audits._calc.twins import invented, new_digits, redraw
from byheart.core._json_lines import read_json_lines
from byheart.core.errors import DataError

__all__ = [
    "Question",
    "cut",
    "drawn_from",
    "fresh_arithmetic",
    "guessing",
    "read_questions",
    "shipped",
    "siblings",
    "with_twins",
]


@dataclass(frozen=True, slots=True)
class Question:
    """One question of the benchmark.

    Attributes:
        id: Unique.
        text: The question.
        key: Its answer; empty where the benchmark tells none.
        twin: The fresh twin's text; empty where none can be made.
        twin_key: Its answer, if it is arithmetic.
        kind: ``"arithmetic"`` (the twin is another problem of as many operations) or ``"words"`` (the
            twin has other numbers).
    """

    id: str
    text: str
    key: str = ""
    twin: str = ""
    twin_key: str = ""
    kind: str = "words"


def cut(text: str, ratio: float) -> tuple[str, str]:
    """What is shown and what was cut off. The published instruction is never cut, only what follows.

    >>> cut(INSTRUCTION + "1/3-(2+4)*5", 0.5)[0] == INSTRUCTION + "1/3-(2+4"
    True
    """
    lead = INSTRUCTION if text.startswith(INSTRUCTION) else ""
    shown = lead + truncate(text[len(lead) :], ratio)
    return shown, tail_of(text, shown)


@functools.cache
def shipped() -> tuple[Question, ...]:
    """24 questions of GSM8K's test part (MIT): public since 2021, without twins yet."""
    data = json.loads(Path(__file__).with_name("gsm8k.json").read_text(encoding="utf-8"))
    return tuple(Question(i["id"], i["question"], i["answer"]) for i in data["items"])


def read_questions(path: str | Path) -> list[Question]:
    """A benchmark: JSON lines with ``question`` (or ``prompt``, ``problem``) and ``answer``.

    A missing, null or empty answer is a gap of the key: such a question is completed, not answered.

    Raises:
        DataError: Names the file, the line and the field.
    """
    out: list[Question] = []
    places: dict[str, str] = {}
    for number, where, record in read_json_lines(path):
        text = next(
            (record[k] for k in ("question", "prompt", "problem") if record.get(k) is not None),
            None,
        )
        if not isinstance(text, str) or not text.strip():
            raise DataError(f"{where}: needs a question (or prompt, or problem) as text")
        answer = record.get("answer")
        if isinstance(answer, bool) or not isinstance(answer, str | int | float | None):
            raise DataError(
                f"{where}: answer must be text or a number, got {str(answer)[:40]!r}; leave it out where "
                "there is none"
            )
        id = str(record.get("id", f"line-{number}"))
        if id in places:
            raise DataError(f"{where}: the id {id!r} is taken by {places[id]}; ids must be unique")
        places[id] = where
        out.append(Question(id, text.strip(), "" if answer is None else gold_of(str(answer))))
    if len(out) < 2:
        raise DataError(f"{path} holds {len(out)} question(s); at least 2 are needed")
    return out


def with_twins(questions: Sequence[Question], *, seed: int) -> list[Question]:
    """Every question with its fresh twin, where one can be made."""
    known = {q.text for q in questions}
    pools: dict[int, list[Any]] = {}
    out = []
    for i, q in enumerate(questions):
        problem = problem_of(q.text)
        if problem is None or not 1 <= problem.steps <= MAX_STEPS:
            out.append(replace(q, twin=redraw(q.text, seed=f"{seed} {i}") or ""))
            continue
        if problem.steps not in pools:
            drawn = RandomCalculation(problem.steps, seed=seed + 1).sample(len(questions) + 100)
            lead = INSTRUCTION if q.text.startswith(INSTRUCTION) else ""
            pools[problem.steps] = [p for p in drawn if lead + p.expression not in known]
        fresh = pools[problem.steps].pop()
        lead = INSTRUCTION if q.text.startswith(INSTRUCTION) else ""
        # the value is the truth: a published key of 15 digits may be off in the last one
        key = problem.answer if q.key else ""
        out.append(
            replace(q, key=key, twin=lead + fresh.expression, twin_key=fresh.answer if key else "",
                    kind="arithmetic")
        )  # fmt: skip
    return out


def guessing(question: Question, ratio: float) -> int:
    """Digits that someone who knows neither the question nor its twin would have to guess.

    Of a twin with other numbers: those of the tail that were not shown; of arithmetic: all of the
    shorter tail.
    """
    shown, tail = cut(question.text, ratio)
    if not question.twin:
        return 0
    if question.kind == "words":
        return new_digits(question.text, shown, question.twin)
    other = cut(question.twin, ratio)[1]
    return min(sum(c.isdigit() for c in t) for t in (tail, other))


def drawn_from(questions: Sequence[Question], limit: int | None, seed: int) -> list[Question]:
    """At most `limit` of the questions, drawn by `seed`."""
    if limit is None or limit >= len(questions):
        return list(questions)
    return random.Random(f"byheart draw {seed}").sample(list(questions), limit)


def fresh_arithmetic(n: int, steps: Sequence[int], seed: int) -> list[Question]:
    """`n` freshly drawn problems, taking the numbers of operations in turn."""
    pools = {s: RandomCalculation(s, seed=seed + 2).sample(n) for s in set(steps)} if n else {}
    return [
        Question(f"fresh-{steps[i % len(steps)]}-{i}", p.prompt, p.answer, kind="arithmetic")
        for i in range(n)
        for p in (pools[steps[i % len(steps)]][i],)
    ]


def siblings(n: int, *, seed: int) -> tuple[list[Question], list[Question]]:
    """Invented questions: planted ones, and siblings held back; both have the same twin.

    The three differ in their numbers only, none likelier than the other.
    """
    planted, held = [], []
    for i in range(n):
        one, two, three = (invented(i, seed, version) for version in range(3))
        planted.append(Question(f"invented-{i}", one[0], one[1], three[0]))
        held.append(Question(f"invented-{i}", two[0], two[1], three[0]))
    return planted, held
