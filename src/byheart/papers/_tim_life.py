"""Table B of Think-in-Memory's case: twenty made-up lives, told over thirty days, asked about."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from byheart.memory import Memory
from byheart.notes._thought import Thought, norm_tail
from byheart.notes._thought_ops import Hooks, Placing
from byheart.notes.thoughts import ThoughtMemory

__all__ = ["ARMS", "Arm", "Told", "live", "lives"]

PEOPLE = [
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
]
CITIES = ["Rome", "Bern", "Oslo", "Graz", "Porto", "Lyon", "Ghent", "Turku", "Split", "Riga"]
JOBS = ["the bakery", "the museum", "the harbour", "the school", "the clinic", "the theatre"]
HOBBIES = [
    "chess",
    "rowing",
    "pottery",
    "hiking",
    "jazz",
    "baking",
    "tennis",
    "origami",
    "astronomy",
    "gardening",
]
SAYS = {
    "lives in": ("{p} lives in {v}", "The home of {p} is in {v} these days"),
    "works at": ("{p} works at {v}", "The place where {p} earns a living is {v}"),
    "likes": ("{p} likes {v}", "What {p} enjoys in the evening is {v}"),
}
QUESTIONS = {"lives in": "Where does {p} live?", "works at": "Where does {p} work?"}
START = datetime(2024, 1, 1, tzinfo=UTC)
ASKED, K, PARAPHRASED = (10, 20, 30), 5, 0.1

ARMS = ("raw turns", "insert only", "+ forget", "+ forget + merge")


@dataclass(frozen=True)
class Told:
    """One turn: who, what holds, of what, on which day, in which words."""

    day: int
    person: str
    relation: str
    value: str
    text: str


@dataclass
class Arm:
    """What one arm measured; each list has one number a question, seeds after one another."""

    right: list[float] = field(default_factory=list)
    changed: list[float] = field(default_factory=list)
    contradictions: list[float] = field(default_factory=list)
    size: list[int] = field(default_factory=list)
    lost: list[int] = field(default_factory=list)


def lives(seed: int, people: int = 20, days: int = 30) -> list[Told]:
    """A turn a person and day: a fact that changes, one that is repeated, or a hobby more."""
    rng = np.random.default_rng(seed)
    out = []
    pools = {"lives in": CITIES, "works at": JOBS, "likes": HOBBIES}
    now: dict[tuple[str, str], str] = {}
    for day in range(1, days + 1):
        for person in PEOPLE[:people]:
            draw = rng.random()
            relation = "likes" if draw > 0.4 else "lives in" if draw < 0.2 else "works at"
            if day <= 2:  # everybody begins with a home and a job
                relation = ("lives in", "works at")[day - 1]
            value = now.get((person, relation), "")
            if relation == "likes" or not value or rng.random() < 0.5:
                value = str(rng.choice([v for v in pools[relation] if v != value]))
                now[person, relation] = value
            form = int(rng.random() < PARAPHRASED)
            out.append(
                Told(day, person, relation, value, SAYS[relation][form].format(p=person, v=value))
            )
    return out


def truth(told: list[Told], day: int) -> dict[tuple[str, str], tuple[str, bool]]:
    """The value of each functional fact at a day, and whether it had another one before."""
    out: dict[tuple[str, str], tuple[str, bool]] = {}
    for t in told:
        if t.day <= day and t.relation in QUESTIONS:
            key = t.person, t.relation
            before = out.get(key)
            changed = before is not None and (before[1] or before[0] != t.value)
            out[key] = t.value, changed
    return out


def live(
    seed: int, encode: Any, folder: Path, tell: Callable[[str, float], None], people: int = 20
) -> dict[str, Arm]:
    """Tell the lives to every arm, and ask each about every person on three days."""
    told = lives(seed, people)
    out = {}
    for n, name in enumerate(ARMS):
        tell(f"lives, {name}", n / len(ARMS))
        out[name] = _arm(name, told, encode, folder / f"{seed}-{n}.db")
    return out


def _when(day: int) -> datetime:
    return START + timedelta(days=day)


def _thought(t: Told) -> Thought:
    return Thought(t.text, t.person, t.relation, t.value, f"day:{t.day}", _when(t.day))


def _arm(name: str, told: list[Told], encode: Any, path: Path) -> Arm:
    arm = Arm()
    if name == "raw turns":
        with Memory(path, encoder=encode, ranker="plain") as memory:
            memory.write(
                {"content": t.text, "valid_from": _when(t.day), "labels": vars(t)} for t in told
            )
            memory.embed()  # else in the background, and the first answers would go by words alone
            _ask(arm, told, lambda q, at: memory.recall(q, K, as_of=at), _label)
            arm.size.append(len(told))
        return arm
    nothing = Hooks(
        insert=lambda new, held: Placing(),
        forget=lambda groups: [[] for _ in groups],
        merge=lambda groups: [[] for _ in groups],
    )
    hooks = {
        "insert only": nothing,
        "+ forget": replace(Hooks(), merge=nothing.merge),
        "+ forget + merge": Hooks(),
    }[name]
    with ThoughtMemory(path, encoder=encode, hooks=hooks, k=K) as thoughts:
        if name == "insert only":
            # to forget is also to leave out, when recalling, what a later thought contradicts
            thoughts.index.outdone = lambda item, times: False  # type: ignore[method-assign]
        for day in sorted({t.day for t in told}):
            thoughts.insert([_thought(t) for t in told if t.day == day])
        _ask(arm, told, lambda q, at: thoughts.recall(q, K, as_of=at), _triples)
        held = thoughts.thoughts()
        arm.size.append(len(held))
        there = {(h, r, norm_tail(v)) for t in held for h, r, v in t.triples}
        wanted = {(t.person, t.relation, norm_tail(t.value)) for t in told if t.relation == "likes"}
        wanted |= {
            (p, r, norm_tail(v)) for (p, r), (v, _) in truth(told, max(t.day for t in told)).items()
        }
        arm.lost.append(len(wanted - there))
    return arm


def _label(item: Any) -> list[tuple[str, str, str]]:
    return [(item.labels["person"], item.labels["relation"], item.labels["value"])]


def _triples(item: Any) -> list[tuple[str, str, str]]:
    labels = item.labels
    return labels.get("triples") or [(labels["head"], labels["relation"], labels["tail"])]


def _ask(
    arm: Arm, told: list[Told], recall: Callable[[str, datetime], Any],
    read: Callable[[Any], list[tuple[str, str, str]]],
) -> None:  # fmt: skip
    """The answer is the value in the first record of the person and the relation asked about."""
    for day in ASKED:
        at = _when(day) + timedelta(hours=12)
        for (person, relation), (value, changed) in truth(told, day).items():
            hits = recall(QUESTIONS[relation].format(p=person), at)
            said = [v for h in hits for p, r, v in read(h.item) if (p, r) == (person, relation)]
            right = float(bool(said) and said[0] == value)
            arm.right.append(right)
            if changed:
                arm.changed.append(right)
            arm.contradictions.append(sum(v != value for v in said))
