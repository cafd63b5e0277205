"""A puzzle in words: names, role words, phrases, order of the sentences.

The words, and the order in which they are drawn, are those of the published data set.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from byheart.audits._kk.draws import Draws
from byheart.audits._kk.grammar import LEAVES, Statement, twin_kind
from byheart.audits._kk.sampler import Puzzle
from byheart.core.errors import UsageError

__all__ = [
    "COMMON_NAMES",
    "PAIRS",
    "STYLES",
    "TEMPLATES",
    "UNCOMMON_NAMES",
    "Layout",
    "Rendered",
    "lay_out",
    "render",
    "say",
]

STYLES = ("uncommon_name", "random_pair", "reorder_statement", "flip_role")
"""Twins at the level of language: puzzle and solution stay."""

_COMMON_NAMES = """
    Emma Liam Olivia Noah Ava Ethan Sophia Mason Isabella William Mia James Charlotte Benjamin
    Amelia Lucas Harper Henry Evelyn Alexander Abigail Michael Emily Daniel Elizabeth Jacob
    Sofia Logan Avery Jackson Ella Sebastian Scarlett Jack Grace Aiden Chloe Owen Victoria
    Samuel Riley Matthew Aria Joseph Lily Luke Aurora David Zoey Oliver Penelope
"""
COMMON_NAMES = tuple(_COMMON_NAMES.split())
_UNCOMMON_NAMES = """
    Zephyr Elowen Caspian Isolde Osiris Vesper Thaddeus Ondine Lysander Xanthe Oberon Calliope
    Leander Eulalia Florian Forsythe Nephele Peregrine Ianthe Lazarus Elodie Cillian Ottoline
    Evander Saffron Caius Zora Cyprian Amaryllis Theron Perdita Ignatius Zephyrine Balthazar
    Melisande Zinnia Sylvester Cosima Leocadio Percival Oceane Evanthe Zenobia Eurydice Quillan
    Aeronwen Thorsten Xiomara Zephyrus Ysolde
"""
UNCOMMON_NAMES = tuple(_UNCOMMON_NAMES.split())
PAIRS = (
    ("a pioneer", "a laggard"),
    ("a saint", "a sinner"),
    ("a hero", "a villain"),
    ("an angel", "a devil"),
    ("an altruist", "an egoist"),
    ("a sage", "a fool"),
)
TEMPLATES = (
    "{name} said that {content}.",
    "{name} told you that {content}.",
    '{name} said, "{content}."',
    '{name} stated, "{content}".',
    'According to {name}, "{content}".',
    'In {name}\'s words: "{content}".',
    '{name} remarked, "{content}".',
    '"{content}," {name} declared.',
    '{name} was heard saying, "{content}".',
    "{name} expressed that {content}.",
    '"{content}" - {name}.',
    'As {name} put it, "{content}".',
    '{name} asserted: "{content}".',
    '"{content}," {name} mentioned.',
    '{name} commented, "{content}".',
    'In a statement by {name}: "{content}".',
    '{name} noted, "{content}".',
    '"{content}," {name} claimed.',
)

_SEED = 1234


@dataclass(frozen=True, slots=True)
class Layout:
    """How a puzzle is worded; a twin with the same layout differs in what is said only.

    Attributes:
        names: One a person.
        roles: Role words with article, the truth-teller's first.
        templates: Which of `TEMPLATES`, one a person.
        order: People in the order in which they are quoted; empty for the order of `names`.
    """

    names: tuple[str, ...]
    roles: tuple[str, str] = ("a knight", "a knave")
    templates: tuple[int, ...] = ()
    order: tuple[int, ...] = ()

    def flipped(self) -> Layout:
        """The role words exchanged: now a knave tells the truth. Twice is the layout itself."""
        return replace(self, roles=self.roles[::-1])


@dataclass(frozen=True, slots=True)
class Rendered:
    """A worded puzzle and its answer.

    Attributes:
        quiz: The text.
        names: One a person.
        roles: Role words with article, the truth-teller's first.
        solution: True for the truth-teller's role.
        layout: How it was worded.
    """

    quiz: str
    names: tuple[str, ...]
    roles: tuple[str, str]
    solution: tuple[bool, ...]
    layout: Layout

    @property
    def gold(self) -> tuple[str, ...]:
        """``NAME is a ROLE``, one a person: what the strict scorer looks for."""
        return tuple(
            f"{name} is {self.roles[0] if knight else self.roles[1]}"
            for name, knight in zip(self.names, self.solution, strict=True)
        )

    @property
    def solution_text(self) -> str:
        """The answer in one sentence, as published."""
        return ", ".join(self.gold[:-1]) + f", and {self.gold[-1]}."

    @property
    def solution_text_format(self) -> str:
        """The answer as a numbered list, as published."""
        return "\n".join(f"({i}) {line}" for i, line in enumerate(self.gold, 1))

    @property
    def knight_knave(self) -> dict[str, str]:
        """The role words under the names of the published records."""
        knight, knave = (_noun(r) for r in self.roles)
        return {
            "knight": knight,
            "knave": knave,
            "a_knight": self.roles[0],
            "a_knave": self.roles[1],
            "Knight": knight.capitalize(),
            "Knave": knave.capitalize(),
        }


def _noun(role: str) -> str:
    return role.split()[1]


def lay_out(
    people: int,
    style: str | Sequence[str] = (),
    seed: int = _SEED,
    *,
    draw: bool = True,
) -> Layout:
    """Draw names, role words, phrases and order.

    Args:
        people: How many.
        style: None, one or several of `STYLES`. ``flip_role`` twice is no flip.
        seed: The published wording of item i has 1234 + i.
        draw: False takes the first names and the first template instead.

    Raises:
        UsageError: If there is no such style, or too few names.

    >>> lay_out(3, "random_pair", seed=5).roles
    ('an angel', 'a devil')
    """
    styles = _styles(style)
    pool = UNCOMMON_NAMES if "uncommon_name" in styles else COMMON_NAMES
    if not 2 <= people <= len(pool):
        raise UsageError(f"people must be 2 to {len(pool)} (names there are), got {people}")
    rng = Draws(seed)
    names = rng.sample(pool, people) if draw else pool[:people]
    roles = rng.choice(PAIRS) if "random_pair" in styles else ("a knight", "a knave")
    templates = [rng.integers(0, len(TEMPLATES)) if draw else 0 for _ in range(people)]
    order: list[int] = []
    if "reorder_statement" in styles:
        other = Draws(seed + 1)
        order = list(range(people))
        while order == sorted(order):
            other.shuffle(order)
    layout = Layout(tuple(names), roles, tuple(templates), tuple(order))
    return layout.flipped() if styles.count("flip_role") % 2 else layout


def _styles(style: str | Sequence[str]) -> list[str]:
    styles = [style] if isinstance(style, str) else list(style)
    styles = [twin_kind(s) for s in styles if s not in ("", "plain")]
    for s in styles:
        if s not in STYLES:
            raise UsageError(f"a style is one of plain, {', '.join(STYLES)}, got {s!r}")
    return styles


def render(
    puzzle: Puzzle | Any,
    style: str | Sequence[str] = "plain",
    seed: int | None = None,
    *,
    layout: Layout | None = None,
) -> Rendered:
    """A puzzle in words.

    Args:
        puzzle: A `Puzzle`, or statements with one solution.
        style: ``"plain"``, one or several of `STYLES`: ``uncommon_name`` (rare names),
            ``random_pair`` (other role words), ``reorder_statement`` (sentences permuted),
            ``flip_role`` (a knave tells the truth).
        seed: Of names and phrases; None is 1234 + the puzzle's index, as published.
        layout: A wording to be used instead of drawing one.

    Raises:
        DataError: If the statements have no solution, or several.
        UsageError: If there is no such style.

    >>> puzzle = Puzzle.of((("lying", 1), ("and", ("telling-truth", 0), ("lying", 0))))
    >>> print(render(puzzle).quiz[159:])
    Zoey remarked, "Oliver is a knave". Oliver stated, "Zoey is a knight and Zoey is a knave". So who is a knight and who is a knave?
    >>> render(puzzle, ["random_pair", "flip_role"]).solution_text
    'Zoey is a villain, and Oliver is a hero.'
    """
    if not isinstance(puzzle, Puzzle):
        puzzle = Puzzle.of(puzzle)
    if layout is None:
        layout = lay_out(puzzle.people, style, _SEED + puzzle.index if seed is None else seed)
    elif _styles(style):
        raise UsageError("give a style or a layout, not both")
    if len(layout.names) != puzzle.people:
        raise UsageError(f"a layout of {len(layout.names)} names, a puzzle of {puzzle.people}")
    knight, knave = layout.roles
    sentences = [
        TEMPLATES[t].format(name=name, content=say(s, layout.names, layout.roles))
        for t, name, s in zip(
            layout.templates or (0,) * puzzle.people, layout.names, puzzle.statements, strict=True
        )
    ]
    order = layout.order or range(puzzle.people)
    quiz = " ".join(
        (
            opening(layout.roles),
            f"You meet {puzzle.people} inhabitants: "
            f"{', '.join(layout.names[:-1])}, and {layout.names[-1]}.",
            *(sentences[i] for i in order),
            f"So who is {knight} and who is {knave}?",
        )
    )
    return Rendered(quiz, layout.names, layout.roles, puzzle.solution, layout)


def opening(roles: tuple[str, str]) -> str:
    """The first two sentences."""
    knight, knave = (_noun(r) for r in roles)
    return (
        f"A very special island is inhabited only by {knight}s and {knave}s. "
        f"{knight.capitalize()}s always tell the truth, and {knave}s always lie."
    )


def say(statement: Statement, names: Sequence[str], roles: tuple[str, str]) -> str:
    """A statement in words.

    Up to depth 2 the published words; deeper, where there are none, operands that are compound
    stand in brackets.

    >>> say(("->", ("lying", 0), ("not", ("lying", 1))), ("Ava", "Noah"), ("a knight", "a knave"))
    'If Ava is a knave then Noah is not a knave'
    """
    kind = statement[0]
    if kind in LEAVES:
        return f"{names[statement[1]]} is {roles[kind == 'lying']}"
    if kind == "not":
        inner = statement[1]
        if inner[0] in LEAVES:
            return f"{names[inner[1]]} is not {roles[inner[0] == 'lying']}"
        return f"it is not the case that ({say(inner, names, roles)})"
    parts = [
        say(s, names, roles) if _simple(s) else f"({say(s, names, roles)})" for s in statement[1:]
    ]
    if kind == "->":
        return f"If {parts[0]} then {parts[1]}"
    return f" {'if and only if' if kind == '<=>' else kind} ".join(parts)


def _simple(statement: Statement) -> bool:
    return statement[0] in LEAVES or (statement[0] == "not" and statement[1][0] in LEAVES)
