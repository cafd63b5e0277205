"""The synthetic chain of thought: a search that a reader can follow.

Each person is assumed a knight first, then a knave. An assumption stands while every person assumed
so far could still be right about their own statement, each for itself; those whom a statement
mentions are taken up next.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from byheart.audits._kk.grammar import as_statements, mentioned
from byheart.audits._kk.sampler import Puzzle
from byheart.audits._kk.solver import _full, _knight, _tables
from byheart.audits._kk.wording import Rendered, render, say

__all__ = ["ChainOfThought", "chain_of_thought", "search_tape"]

Step = tuple[Any, ...]

_HEAD = (
    "Let's think step by step, by considering whether each person is lying and if that leads to "
    "contradiction."
)
_FEASIBLE = "This leads to a feasible solution."
_NONE = "All the configurations lead to contradictions."


@dataclass(frozen=True, slots=True)
class ChainOfThought:
    """A chain of thought in words.

    Attributes:
        head: The opening sentence.
        steps: One a step of the search.
        foot: Whether a solution was found.
        tape: The search itself, see `search_tape`.
    """

    head: str
    steps: tuple[str, ...]
    foot: str
    tape: tuple[Step, ...] = ()

    @property
    def text(self) -> str:
        """The whole, as it is trained on."""
        return " ".join((self.head, *self.steps, self.foot))


def search_tape(statements: Any, *, follow: bool = True) -> list[Step]:
    """The steps of the search, as the authors' code records them.

    Args:
        statements: Of a puzzle, solvable or not.
        follow: Take up next whom the last statement mentions; False keeps the order of people.

    Returns:
        ``('proposal', {'person', 'assignment', 'outcome': 'ok'})``, or with
        ``'outcome': 'conflict', 'conflict_statement': (person, assignment)``;
        ``('reconsider', {'person', 'exhausted'})``; at last ``('success', {'assignments'})`` or
        ``('fail',)``.

    >>> search_tape((("lying", 1), ("and", ("telling-truth", 0), ("telling-truth", 1))))[-1]
    ('success', {'assignments': (True, False)})
    """
    statements = as_statements(statements)
    people = len(statements)
    full, (known, knaves) = _full(people), _tables(people)
    # truth tables of "person's role is this, and agrees with what they say"
    knights = [_knight(i, people) for i in range(people)]
    right = {
        (i, role): (knights[i] if role else full ^ knights[i]) & (knaves[i] ^ known[statements[i]])
        for i in range(people)
        for role in (True, False)
    }
    tape: list[Step] = []
    roles: list[bool | None] = [None] * people
    options: list[list[bool]] = [[False, True] for _ in range(people)]
    order, at = tuple(range(people)), 0
    while at < people:
        if not options[order[at]]:
            exhausted = []
            while at >= 0 and not options[order[at]]:
                options[order[at]], roles[order[at]] = [False, True], None
                exhausted.append(order[at])
                at -= 1
            if at < 0:
                return [*tape, ("fail",)]
            tape.append(("reconsider", {"person": order[at], "exhausted": exhausted}))
        person = order[at]
        role = roles[person] = options[person].pop()
        step: dict[str, Any] = {"person": person, "assignment": role}
        against = _conflict(roles, knights, full, right)
        if against is None:
            at += 1
            if follow:
                order = order[:at] + _to_front(order[at:], mentioned(statements[person]))
            tape.append(("proposal", {**step, "outcome": "ok"}))
        else:
            conflict = (against, roles[against])
            tape.append(
                ("proposal", {**step, "outcome": "conflict", "conflict_statement": conflict})
            )
    return [*tape, ("success", {"assignments": tuple(bool(r) for r in roles)})]


def _conflict(
    roles: Sequence[bool | None], knights: Sequence[int], full: int, right: dict[Any, int]
) -> int | None:
    """The first person assumed so far whose statement no completion can bring into line."""
    left = full
    for i, role in enumerate(roles):
        if role is not None:
            left &= knights[i] if role else full ^ knights[i]
    for i, role in enumerate(roles):
        if role is not None and not left & right[i, role]:
            return i
    return None


def _to_front(rest: tuple[int, ...], first: Sequence[int]) -> tuple[int, ...]:
    front = tuple(p for p in first if p in rest)
    return front + tuple(p for p in rest if p not in front)


def chain_of_thought(
    puzzle: Puzzle | Any,
    rendered: Rendered | None = None,
    *,
    repeat_assumption: bool = True,
    repeat_contradiction: bool = True,
    follow: bool = True,
) -> ChainOfThought:
    """The synthetic chain of thought of a puzzle, in its words.

    Args:
        puzzle: A `Puzzle`, or statements with one solution.
        rendered: The wording; None draws it as `render` does.
        repeat_assumption: Repeat what the person claims when they are assumed (trained on so).
        repeat_contradiction: Repeat the claim that is contradicted.
        follow: As for `search_tape`.

    >>> puzzle = Puzzle.of((("lying", 1), ("and", ("telling-truth", 0), ("telling-truth", 1))))
    >>> for step in chain_of_thought(puzzle, repeat_contradiction=False).steps:
    ...     print(step)
    Assume Zoey is a knight. No contradiction is found in their claim that Oliver is a knave.
    Oliver cannot be a knight, because this would contradict the claim of Zoey.
    Assume Oliver is a knave. No contradiction is found in their false claim that Zoey is a knight and Oliver is a knight.
    """
    if not isinstance(puzzle, Puzzle):
        puzzle = Puzzle.of(puzzle)
    worded = rendered or render(puzzle)
    tape = search_tape(puzzle.statements, follow=follow)
    claims = [say(s, worded.names, worded.roles) for s in puzzle.statements]
    steps = []
    for kind, step in tape[:-1]:
        name = worded.names[step["person"]]
        if kind == "reconsider":
            gone = [worded.names[i] for i in step["exhausted"]]
            listed = (
                " and ".join(gone) if len(gone) < 3 else f"{', '.join(gone[:-1])}, and {gone[-1]}"
            )
            steps.append(
                f"We have exhausted all possibilities for {listed}, so let us go back and "
                f"reconsider {name}."
            )
            continue
        role = worded.roles[not step["assignment"]]
        if step["outcome"] == "ok":
            text = f"Assume {name} is {role}."
            if repeat_assumption:
                false = "" if step["assignment"] else "false "
                text += (
                    f" No contradiction is found in their {false}claim that "
                    f"{claims[step['person']]}."
                )
        else:
            against, believed = step["conflict_statement"]
            whose = "their own" if against == step["person"] else worded.names[against]
            text = (
                f"{name} cannot be {role}, because this would contradict the "
                f"{'' if believed else 'false '}claim of {whose}"
            )
            text += f" that {claims[against]}." if repeat_contradiction else "."
        steps.append(text)
    foot = _FEASIBLE if tape[-1][0] == "success" else _NONE
    return ChainOfThought(_HEAD, tuple(steps), foot, tuple(tape))
