"""Table C of Think-in-Memory's case: derive once and ask often, or derive with every question."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from byheart.core.ask import Sample
from byheart.core.model import Model
from byheart.memory import Memory
from byheart.notes._thought import Thought
from byheart.notes._thought_ops import Hooks, Turn
from byheart.notes.thoughts import ThoughtMemory

__all__ = ["QUESTIONS", "Answers", "Story", "ask_stories", "stories"]

NAMES = [
    "Ana",
    "Ben",
    "Cleo",
    "Dan",
    "Eva",
    "Finn",
    "Gil",
    "Hana",
    "Ida",
    "Jon",
    "Kai",
    "Lea",
    "Max",
    "Nora",
    "Otto",
    "Pia",
    "Quin",
    "Rosa",
    "Sam",
    "Tess",
    "Uma",
    "Vito",
    "Wanda",
    "Xenia",
    "Yuri",
    "Zoe",
    "Abel",
    "Bea",
    "Carl",
    "Dora",
]
THINGS = ["apples", "coins", "stamps", "books", "shells", "cards"]
QUESTIONS = (
    "How many {t} does {p} have now?",
    "What is the number of {t} that {p} has?",
    "{p} counts all the {t}. How many are there?",
    "After all this, {p} owns how many {t}?",
    "{p} wants to give away every one of the {t}. How many is that?",
)


@dataclass(frozen=True)
class Story:
    """Who has how many of what at first, and how many come or go."""

    person: str
    thing: str
    first: int
    change: int

    @property
    def total(self) -> int:
        """The quantity that is asked about."""
        return self.first + self.change

    @property
    def text(self) -> str:
        """As it is told."""
        what = "got {} more" if self.change > 0 else "gave {} away"
        return (
            f"{self.person} had {self.first} {self.thing}. Then {self.person} "
            f"{what.format(abs(self.change))}."
        )


@dataclass
class Answers:
    """One row a story, one column a question: what was answered, "" where no number was."""

    raw: list[list[str]] = field(default_factory=list)
    thought: list[list[str]] = field(default_factory=list)
    totals: list[int] = field(default_factory=list)

    def consistent(self, arm: str) -> np.ndarray:
        """`[stories]` whether all answers are the same number."""
        rows = self.raw if arm == "raw" else self.thought
        return np.array([len(set(r)) == 1 and r[0] != "" for r in rows], float)

    def right(self, arm: str) -> np.ndarray:
        """`[stories]` share of answers that are right."""
        rows = self.raw if arm == "raw" else self.thought
        return np.array(
            [np.mean([a == str(t) for a in r]) for r, t in zip(rows, self.totals, strict=True)]
        )


def stories(seed: int, n: int = 30) -> list[Story]:
    """Stories of one addition or subtraction of numbers to 30, each of another person."""
    rng = np.random.default_rng(seed)
    out = []
    for person in NAMES[:n]:
        first = int(rng.integers(8, 31))
        change = int(rng.integers(2, 20)) if rng.random() < 0.5 else -int(rng.integers(2, 7))
        out.append(Story(person, str(rng.choice(THINGS)), first, change))
    return out


def ask_stories(
    model: Model, encode: Any, folder: Path, seed: int, n: int, tell: Callable[[str, float], None]
) -> Answers:
    """Tell stories to both memories, ask each five ways, and let the model answer.

    The thought is the model's own one-step sum, made when the story is told.
    """
    told = stories(seed, n)
    answers = Answers(totals=[s.total for s in told])
    tell("stories, post-thinking", 0.0)
    asks = [
        _prompt(model, f"What is {s.first} {'+' if s.change > 0 else '-'} {abs(s.change)}?")
        for s in told
    ]
    sums = {s.text: _number(c[0].text) for s, c in zip(told, model.sample(asks), strict=True)}

    def derive(turn: Turn) -> list[Thought]:
        story = next(s for s in told if s.text == turn.question)
        if not sums[story.text]:
            return []
        text = f"{story.person} has {sums[story.text]} {story.thing} now"
        return [
            Thought(text, story.person, "has", f"{sums[story.text]} {story.thing}",
                    turn.source, functional=True, parents=turn.parents)
        ]  # fmt: skip

    asked: list[Sample] = []
    with (
        Memory(folder / f"raw-{seed}.db", encoder=encode, ranker="plain") as raw,
        ThoughtMemory(
            folder / f"thoughts-{seed}.db", encoder=encode, hooks=Hooks(extract=derive), k=1
        ) as thoughts,
    ):
        for s in told:
            raw.write(s.text)
            thoughts.after(s.text)
        for s in told:
            for question in QUESTIONS:
                q = question.format(p=s.person, t=s.thing)
                for hits in (raw.recall(q, 1), thoughts.before(q)):
                    known = "\n".join(h.item.content for h in hits)
                    asked.append(_prompt(model, f"{known}\n{q}"))
    tell("stories, 300 answers" if n == 30 else f"stories, {len(asked)} answers", 0.1)
    done = 0

    def progress(more: int) -> None:
        nonlocal done
        done += more
        tell("stories, answering", 0.1 + 0.9 * done / len(asked))

    replies = [_number(c[0].text) for c in model.sample(asked, progress)]
    per = len(QUESTIONS)
    for i in range(len(told)):
        both = replies[2 * per * i : 2 * per * (i + 1)]
        answers.raw.append(both[::2])
        answers.thought.append(both[1::2])
    return answers


def _prompt(model: Model, text: str) -> Sample:
    asked = f"{text} Answer with a number only."
    return Sample((("user", asked),) if model.chat else f"{asked}\n", max_tokens=12)


def _number(text: str) -> str:
    """The first whole number; of "14 + 7 = 21" the one behind the equals sign."""
    found = re.findall(r"\d+", text.split("=")[-1])
    return found[0] if found else ""
