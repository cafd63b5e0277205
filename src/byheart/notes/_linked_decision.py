"""What is decided when a note arrives: links, and other annotations for its neighbours.

`Decision` is what a linker returns; `read_decision` makes one of A-MEM's JSON (its schema, with
our checks), `checked` holds any linker's decision to the same rules. A linker never writes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from byheart.notes._linked_note import LinkedNote
from byheart.notes._proposals import Invalid, a_list, a_text, an_object, whole_number

__all__ = ["MOST", "SCHEMA", "Change", "Decision", "Linker", "checked", "read_decision", "texts_of"]

MOST = 32
"""Most keywords or tags of a note."""
LONGEST = 200
SENTENCE = 2_000

ACTIONS = ("strengthen", "update_neighbor")
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "should_evolve": {"type": "boolean"},
        "actions": {"type": "array", "items": {"enum": list(ACTIONS)}},
        "suggested_connections": {"type": "array", "items": {"type": "integer"}},
        "tags_to_update": {"type": "array", "items": {"type": "string"}},
        "new_context_neighborhood": {"type": "array", "items": {"type": "string"}},
        "new_tags_neighborhood": {
            "type": "array",
            "items": {"type": "array", "items": {"type": "string"}},
        },
    },
    "required": [
        "should_evolve",
        "actions",
        "suggested_connections",
        "tags_to_update",
        "new_context_neighborhood",
        "new_tags_neighborhood",
    ],
    "additionalProperties": False,
}
"""The schema that the released code asks for."""


@dataclass(frozen=True)
class Change:
    """New annotations of a neighbour; None leaves one as it is.

    Args:
        context: One sentence.
        tags: Broad categories.
        keywords: The paper's Eq. 7 changes them too; the released code never does.
    """

    context: str | None = None
    tags: tuple[str, ...] | None = None
    keywords: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Decision:
    """What a linker proposes.

    Args:
        connect: Places of neighbours, from 0, that the new note is linked to.
        tags: New tags of the new note; None leaves them.
        changes: Place of a neighbour to its new annotations.
        rejected: Why a model's proposal was not taken; then nothing else is set.
        calls: How often a model was asked.
    """

    connect: tuple[int, ...] = ()
    tags: tuple[str, ...] | None = None
    changes: Mapping[int, Change] = field(default_factory=dict)
    rejected: tuple[str, ...] = ()
    calls: int = 0


class Linker(Protocol):
    """Any callable that decides; it may be a model's or yours.

    It may also return A-MEM's JSON object as a mapping. What breaks the rules changes nothing.
    """

    def __call__(
        self, note: LinkedNote, neighbours: Sequence[LinkedNote], *, store: Any = None
    ) -> Decision | Mapping[str, Any]:
        """The decision for a new note and its neighbours, nearest first.

        Args:
            note: The new note, not yet written.
            neighbours: What it may be linked to, as it stands.
            store: Where a model's rejected proposal is logged.
        """


def texts_of(value: Any, where: str) -> tuple[str, ...]:
    """A list of short texts, once each.

    Raises:
        Invalid: It is none.
    """
    found = a_list(value, where, most=MOST)
    return tuple(
        dict.fromkeys(a_text(v, f"{where}[{i}]", most=LONGEST) for i, v in enumerate(found))
    )


def read_decision(value: Any, n: int) -> Decision:
    """A-MEM's JSON object as a decision.

    "strengthen" links the new note and sets its tags, "update_neighbor" sets context and tags of
    every neighbour in their order. Where a list of tags or a context is empty, what was there
    stays: an answer may change annotations, not wipe them out.

    Args:
        value: The parsed object.
        n: How many neighbours there are.

    Raises:
        Invalid: A key or type is wrong, a place is out of range, or a list is not of length n.
    """
    given = an_object(
        value,
        "the decision",
        {
            "should_evolve": bool,
            "actions": list,
            "suggested_connections": list,
            "tags_to_update": list,
            "new_context_neighborhood": list,
            "new_tags_neighborhood": list,
        },
    )
    actions = given["actions"]
    for action in a_list(actions, "actions", most=8):
        if action not in ACTIONS:
            raise Invalid(f"an action is {' or '.join(ACTIONS)}, got {action!r}")
    places = [
        whole_number(p, f"suggested_connections[{i}]", n - 1, least=0)
        for i, p in enumerate(a_list(given["suggested_connections"], "connections", most=4 * n + 4))
    ]
    tags = texts_of(given["tags_to_update"], "tags_to_update")
    contexts, lists = given["new_context_neighborhood"], given["new_tags_neighborhood"]
    updates = given["should_evolve"] and "update_neighbor" in actions
    for name, found in (("new_context_neighborhood", contexts), ("new_tags_neighborhood", lists)):
        if updates and len(found) != n:
            raise Invalid(f"{name} has {len(found)} entries for {n} neighbours")
    if not given["should_evolve"]:
        return Decision()
    strengthens = "strengthen" in actions
    changes: dict[int, Change] = {}
    if updates:
        for i, (context, its) in enumerate(zip(contexts, lists, strict=True)):
            where = f"new_context_neighborhood[{i}]"
            sentence = a_text(context, where, most=SENTENCE, empty=True)
            changes[i] = Change(sentence or None, texts_of(its, f"new_tags[{i}]") or None)
    return Decision(
        tuple(dict.fromkeys(places)) if strengthens else (),
        (tags or None) if strengthens else None,
        changes,
    )


def checked(found: Decision | Mapping[str, Any], n: int) -> Decision:
    """A linker's decision, held to the rules.

    Raises:
        Invalid: A place is out of range, or a text is none.
    """
    if isinstance(found, Mapping):
        return read_decision(dict(found), n)
    if not isinstance(found, Decision):
        raise Invalid(f"a linker returns a Decision, it returned a {type(found).__name__}")
    for place in (*found.connect, *found.changes):
        whole_number(place, "a place", n - 1, least=0)
    if found.tags is not None:
        texts_of(list(found.tags), "tags")
    for place, change in found.changes.items():
        if change.context is not None:
            a_text(change.context, f"the context of {place}", most=SENTENCE)
        for name in ("tags", "keywords"):
            its = getattr(change, name)
            if its is not None:
                texts_of(list(its), f"the {name} of {place}")
    return found
