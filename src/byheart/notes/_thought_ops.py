"""What post-thinking does, step by step: each step a function that can be replaced.

The defaults here decide by triples alone and need no model; `byheart.notes._thought_model` has
those that ask one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from byheart.core.memory import Candidate, Hit, Receipt
from byheart.notes._thought import (
    Thought,
    Triple,
    contradicts,
    covers,
    key_of,
    merged_text,
    norm_tail,
    same,
)
from byheart.notes._thought_rules import extract_thoughts

__all__ = [
    "Forgetting",
    "Hooks",
    "Merging",
    "Placing",
    "ThoughtReceipt",
    "Turn",
    "extract_by_rules",
    "forget_by_triples",
    "insert_by_triples",
    "merge_by_triples",
    "merge_fault",
    "nearest",
]

MERGE_MOST = 8
"""Tails in one merged thought: more, and its one vector would be near to none of them."""


@dataclass(frozen=True)
class Turn:
    """What was said in a turn, by whom, when.

    Args:
        question: The user's words.
        response: The assistant's; may be empty.
        speaker: The user's name; what "I" in the question is.
        responder: The assistant's name; what "I" in the response is. Without one its sentences about
            itself are not kept.
        at: When; now, if left out.
        source: Where it is from.
        trust: Whose word the question is; the response is the assistant's.
        parents: Ids of the items the turn is kept as.
    """

    question: str
    response: str = ""
    speaker: str = ""
    responder: str = ""
    at: datetime | None = None
    source: str = ""
    trust: str = "user"
    parents: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The turn as it is kept."""
        lines = [f"{self.speaker or 'user'}: {self.question}"] if self.question.strip() else []
        if self.response.strip():
            lines.append(f"{self.responder or 'assistant'}: {self.response}")
        return "\n".join(lines)


@dataclass(frozen=True)
class Placing:
    """Where a new thought goes.

    Args:
        known: Id of a thought that says it already; then it is not inserted.
        ends: Ids of those that no longer hold from its beginning on.
        refused: Why it is not inserted; empty if it is.
    """

    known: str | None = None
    ends: tuple[str, ...] = ()
    refused: str = ""


@dataclass(frozen=True)
class Forgetting:
    """One thought of a group that is to be forgotten: its place, that of what it contradicts, why."""

    number: int
    against: int
    reason: str = "contradicted"


@dataclass(frozen=True)
class Merging:
    """Thoughts of a group that become one: their places, and the text that says them all."""

    numbers: tuple[int, ...]
    text: str


Extract = Callable[[Turn], Sequence[Thought]]
Insert = Callable[[Thought, Sequence[Thought]], Placing]
Forget = Callable[[Sequence[Sequence[Thought]]], Sequence[Sequence[Forgetting]]]
Merge = Callable[[Sequence[Sequence[Thought]]], Sequence[Sequence[Merging]]]
Rank = Callable[[str, Sequence[Candidate], int], Sequence[Hit]]


def extract_by_rules(turn: Turn) -> list[Thought]:
    """Thoughts of the question by its speaker, and of the response where they are about others."""
    shared: dict[str, Any] = {"said": turn.at, "source": turn.source, "parents": turn.parents}
    out = extract_thoughts(
        turn.question, speaker=turn.speaker, listener=turn.responder, trust=turn.trust, **shared
    )
    if turn.response.strip():
        answer = extract_thoughts(
            turn.response, speaker=turn.responder or _NOBODY, listener=turn.speaker or "The user",
            trust="assistant", rest=bool(turn.responder), **shared,
        )  # fmt: skip
        out += [t for t in answer if _NOBODY not in t.text]
    return out


_NOBODY = "\ufdd0assistant"


def insert_by_triples(new: Thought, held: Sequence[Thought]) -> Placing:
    """Skip what is known, end what cannot hold beside it, refuse what has no say.

    The later word wins, but words from outside (document, web, unverified) do not end what the
    conversation told, nor does the assistant's what the user said.

    Args:
        new: The new thought.
        held: Those of the same head and relation that hold where it begins, oldest first.
    """
    for old in held:
        if same(new, old) or covers(old, new):
            return Placing(known=old.id)
    ended = [old for old in held if contradicts(new, old)]
    for old in ended:
        if not may_end(new.trust, old.trust):
            return Placing(
                refused=f"{new.text!r} ({new.trust}) contradicts {old.text!r} ({old.trust}), whose "
                "word counts more"
            )
    return Placing(ends=tuple(old.id for old in ended))


_OUTSIDE = ("document", "web", "unverified")


def may_end(new: str, old: str) -> bool:
    """Whether the word of one level of trust may end that of another."""
    if new in _OUTSIDE:
        return old in _OUTSIDE
    return not (new == "assistant" and old == "user")


def forget_by_triples(groups: Sequence[Sequence[Thought]]) -> list[list[Forgetting]]:
    """In each group (oldest first) every thought that a later one contradicts."""
    out = []
    for group in groups:
        found = []
        for i, old in enumerate(group):
            for j in range(i + 1, len(group)):
                if contradicts(group[j], old):
                    found.append(Forgetting(i, j))
                    break
        out.append(found)
    return out


def merge_by_triples(groups: Sequence[Sequence[Thought]]) -> list[list[Merging]]:
    """In each group the thoughts that share head and relation, where that has many values.

    What carries a date of its own stays alone: one sentence could not say it of all.
    """
    out = []
    for group in groups:
        by_key: dict[Any, list[int]] = {}
        for i, thought in enumerate(group):
            keys = {key_of(t) for t in thought.triples}
            if len(keys) == 1 and mergeable(thought):
                by_key.setdefault((keys.pop(), thought.negated), []).append(i)
        found = []
        for (_, negated), numbers in by_key.items():
            tails: list[Triple] = []
            taken: list[int] = []
            for i in numbers:
                if len(tails) + len(group[i].triples) <= MERGE_MOST:
                    tails += group[i].triples
                    taken.append(i)
            if len(taken) > 1:
                found.append(Merging(tuple(taken), merged_text(tails, negated)))
        out.append(found)
    return out


_DATE = re.compile(r"\(([^()]*\d[^()]*)\)")


def mergeable(thought: Thought) -> bool:
    """Whether a thought may be merged: it states relations, none of them functional, none dated."""
    return thought.complete and not thought.single and not _DATE.search(thought.text)


def merge_fault(inputs: Sequence[Thought], text: str) -> str:
    """Why a merged text may not take the place of its inputs; empty if it may.

    Every head and tail of the inputs, and every date in their texts, must occur in it.
    """
    if len(inputs) < 2:
        return "a merge needs at least two thoughts"
    for t in inputs:
        if not t.complete:
            return f"{t.text!r} states no relation, so nothing could be verified"
        if t.single:
            return f"{t.text!r} is of a relation with one value, which changes by itself"
    if len({t.negated for t in inputs}) > 1:
        return "it mixes what holds with what does not"
    heads = {norm_tail(h) for t in inputs for h, _, _ in t.triples}
    if len(heads) > 1:
        return f"the thoughts are about different heads: {', '.join(sorted(heads))}"
    said = f" {norm_tail(text)} "
    for t in inputs:
        for head, _, tail in t.triples:
            for name, part in (("tail", tail), ("head", head)):
                if f" {norm_tail(part)} " not in said:
                    return f"the {name} {part!r} of {t.text!r} is missing in {text!r}"
        for date in _DATE.findall(t.text):
            if date not in text:
                return f"the date {date!r} of {t.text!r} is missing in {text!r}"
    return ""


def nearest(query: str, candidates: Sequence[Candidate], k: int) -> Sequence[Hit]:
    """The k of the highest cosine, as they come."""
    return candidates[:k]


@dataclass(frozen=True)
class Hooks:
    """The five steps, each replaceable.

    Args:
        extract: A turn to its thoughts.
        insert: A new thought and those held of the same head and relation to its place.
        forget: Groups of thoughts to what of them is contradicted.
        merge: Groups of thoughts to what of them becomes one; each is verified, whoever proposes.
        recall: Query, candidates by falling cosine and k to at most k of them.
    """

    extract: Extract = extract_by_rules
    insert: Insert = insert_by_triples
    forget: Forget = forget_by_triples
    merge: Merge = merge_by_triples
    recall: Rank = nearest


@dataclass(frozen=True)
class ThoughtReceipt:
    """What post-thinking did; `ThoughtMemory.undo` takes all of it back.

    Args:
        inserted: New thoughts that were kept.
        superseded: Thoughts that no longer hold, with the new ones that ended them or why.
        merged: Thoughts that were made of several.
        known: New thoughts that were held already.
        rejected: What was proposed and not done, each with its reason; also in the log.
        turn: Id of the item the turn was kept as; empty if it was kept before.
        receipts: Of the store, in order.
    """

    inserted: tuple[Thought, ...] = ()
    superseded: tuple[tuple[Thought, str], ...] = ()
    merged: tuple[Thought, ...] = ()
    known: tuple[Thought, ...] = ()
    rejected: tuple[str, ...] = ()
    turn: str = ""
    receipts: tuple[Receipt, ...] = field(default=(), repr=False)


_TRUST = ("user", "assistant", "tool", "derived", "document", "web", "unverified")
"""Best first. What was derived from a turn stands above what came from outside of it: a merged
thought must not hide that a part of it is from the web."""


def lowest_trust(levels: Iterable[str]) -> str:
    """The least trusted of several: what is made of many words is worth no more than the worst."""
    return max(levels, key=_TRUST.index)
