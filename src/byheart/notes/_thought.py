"""A thought: one sentence that states relations of an entity, and the item it is kept as."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import lru_cache
from typing import Any

from byheart.core.errors import UsageError
from byheart.core.item import Item, moment, new_id
from byheart.core.words import fold, stemmer

__all__ = [
    "FUNCTIONAL",
    "RETIRED",
    "SETTINGS",
    "THOUGHT",
    "TURN",
    "Thought",
    "Triple",
    "base",
    "contradicts",
    "forget_texts",
    "head_key",
    "key_of",
    "merged_text",
    "norm_tail",
    "of_item",
    "retired",
    "to_item",
]

THOUGHT, RETIRED, SETTINGS, TURN = "thought", "retired", "thought-settings", "turn"
"""Values of ``labels["type"]``."""

Triple = tuple[str, str, str]
"""Head, relation, tail."""

FUNCTIONAL = frozenset(
    {
        "lives in",
        "works at",
        "is named",
        "is aged",
        "is married to",
        "is engaged to",
        "is dating",
        "was born in",
        "was born on",
        "has the birthday",
        "has the phone number",
        "has the address",
        "has the email address",
    }
)
"""Relations that have one value at a time; so has every "has the favourite ..."."""


@dataclass(frozen=True)
class Thought:
    """A sentence with the relation it states.

    Args:
        text: The sentence, readable by itself.
        head: The entity it is about; empty for a thought without a relation.
        relation: What holds, in the positive: ``"lives in"`` also where `negated`.
        tail: Of what.
        source: The turn it came from.
        valid_from: Since when it holds; the time it was said, if left out.
        valid_to: Until when, exclusive; None is open.
        negated: Whether the text says that it does not hold.
        functional: Whether the relation has one value at a time here, whatever `FUNCTIONAL` says.
        trust: Whose word it is; see `byheart.core.item.TRUST`.
        parents: Ids of the items it was made from.
        triples: All relations of a merged thought; the one above, if left out.
        id: Of its item.

    >>> Thought("Ana lives in Rome", "Ana", "lives in", "Rome").triples
    (('Ana', 'lives in', 'Rome'),)
    """

    text: str
    head: str = ""
    relation: str = ""
    tail: str = ""
    source: str = ""
    valid_from: datetime | None = None
    valid_to: datetime | None = None
    negated: bool = False
    functional: bool = False
    trust: str = "derived"
    parents: tuple[str, ...] = ()
    triples: tuple[Triple, ...] = ()
    id: str = field(default_factory=new_id, compare=False)

    def __post_init__(self) -> None:
        if not isinstance(self.text, str) or not self.text.strip():
            raise UsageError(f"a thought needs text, got {self.text!r}")
        given = [bool(x.strip()) for x in (self.head, self.relation, self.tail)]
        if any(given) and not all(given):
            raise UsageError(
                "a thought has head, relation and tail or none of them, got "
                f"{(self.head, self.relation, self.tail)!r}"
            )
        for name in ("valid_from", "valid_to"):
            object.__setattr__(self, name, moment(getattr(self, name), name))
        if self.valid_from and self.valid_to and self.valid_to <= self.valid_from:
            raise UsageError(
                f"valid_to {self.valid_to.isoformat()} is not after valid_from "
                f"{self.valid_from.isoformat()}"
            )
        own = tuple((str(h), str(r), str(t)) for h, r, t in self.triples)
        if not own and all(given):
            own = ((self.head, self.relation, self.tail),)
        object.__setattr__(self, "triples", own)
        object.__setattr__(self, "parents", tuple(self.parents))

    @property
    def complete(self) -> bool:
        """Whether it states a relation; what does not is kept and found, but never merged."""
        return bool(self.triples)

    @property
    def single(self) -> bool:
        """Whether it states one functional relation, which changes as a whole."""
        return self.functional or any(is_functional(r) for _, r, _ in self.triples)

    def but(self, **changes: Any) -> Thought:
        """A copy with some fields changed, under an id of its own."""
        return replace(self, **{"id": new_id(), **changes})


def is_functional(relation: str) -> bool:
    """Whether a relation has one value at a time by its name."""
    name = norm_relation(relation)
    return name in FUNCTIONAL or name.startswith("has the favourite ")


_SAME = [
    (re.compile(p), to)
    for p, to in (
        (r"(now )?(lives?|living|resides?|residing|is living|is based|(has )?(moved|relocated|settled)) (in|to|at)", "lives in"),
        (r"(now )?(works?|working|is working|is employed) (at|for|with)", "works at"),
        (r"(now )?(works?|working|is working|is employed) as", "works as"),
        (r"(is called|has the name)", "is named"),
        (r"(is )?favorite (.+)", r"has the favourite \2"),
        (r"(has (the |a )?)?favou?rite (.+)", r"has the favourite \3"),
        (r"(has (the |a )?)?birthday( is)?( on)?", "has the birthday"),
        (r"(is )?married to", "is married to"),
        (r"(likes?|enjoys?|loves?)", "likes"),
    )
]  # fmt: skip


@lru_cache(maxsize=65536)
def norm_relation(relation: str) -> str:
    """The name under which relations are compared: "resides in" is "lives in".

    >>> norm_relation("is living  in"), norm_relation("Plays")
    ('lives in', 'play')
    """
    name = " ".join(fold(relation).replace("_", " ").split())
    for pattern, to in _SAME:
        if m := pattern.fullmatch(name):
            return m.expand(to)
    stem = stemmer()
    return " ".join(stem(w) for w in name.split())


_ARTICLES = {"a", "an", "the"}


@lru_cache(maxsize=65536)
def norm_tail(text: str) -> str:
    """The form in which heads and tails are compared: folded, without articles, stemmed."""
    stem = stemmer()
    found = re.findall(r"\w+(?:'\w+)?", fold(text))
    return " ".join(stem(w) for w in found if w not in _ARTICLES) or fold(text).strip()


@lru_cache(maxsize=65536)
def head_key(text: str) -> str:
    """The form in which heads are compared: folded, without articles, not stemmed."""
    found = re.findall(r"[\w']+", fold(text))
    return " ".join(w for w in found if w not in _ARTICLES) or fold(text).strip()


def key_of(triple: Triple) -> tuple[str, str]:
    """Head and relation, normalised: what the index of contradictions is kept by."""
    return head_key(triple[0]), norm_relation(triple[1])


def _facts(thought: Thought) -> frozenset[tuple[str, str, str]]:
    return _facts_of(thought.triples)


@lru_cache(maxsize=65536)  # a group is compared pair by pair, turn after turn
def _facts_of(triples: tuple[Triple, ...]) -> frozenset[tuple[str, str, str]]:
    return frozenset((*key_of(t), norm_tail(t[2])) for t in triples)


def forget_texts() -> None:
    """After an erasure: keep no form of any text in this process."""
    for kept in (norm_relation, norm_tail, head_key, _facts_of):
        kept.cache_clear()


def same(a: Thought, b: Thought) -> bool:
    """Whether they say the same: equal triples and polarity; by their text if they have none."""
    if a.complete and b.complete:
        return a.negated == b.negated and _facts(a) == _facts(b)
    return not a.complete and not b.complete and norm_tail(a.text) == norm_tail(b.text)


def covers(a: Thought, b: Thought) -> bool:
    """Whether what b states is among what a states."""
    return b.complete and a.negated == b.negated and _facts(b) <= _facts(a)


def contradicts(new: Thought, old: Thought) -> bool:
    """Whether both cannot hold at one time, told by triples alone.

    Either one denies a triple of the other, or a functional relation has two values. Two values
    that came from one turn ("an actor and a director") are one.

    >>> rome, bern = (Thought(f"Ana lives in {c}", "Ana", "lives in", c) for c in ("Rome", "Bern"))
    >>> contradicts(bern, rome), contradicts(rome, rome)
    (True, False)
    """
    return bool(struck(new, old))


def struck(new: Thought, old: Thought) -> tuple[Triple, ...]:
    """Those triples of `old` that cannot hold beside `new`."""
    facts = _facts(new)
    if {f[:2] for f in facts}.isdisjoint(f[:2] for f in _facts(old)):
        return ()
    if new.negated != old.negated:
        return tuple(t for t in old.triples if (*key_of(t), norm_tail(t[2])) in facts)
    if new.negated:
        return ()
    if new.parents and new.parents == old.parents and new.valid_from == old.valid_from:
        return ()
    out = []
    for triple in old.triples:
        key, tail = key_of(triple), norm_tail(triple[2])
        for h, r, t in facts:
            one = new.functional or is_functional(triple[1])
            if (h, r) == key and t != tail and one:
                out.append(triple)
                break
    return tuple(out)


def merged_text(triples: Sequence[Triple], negated: bool = False) -> str:
    """A sentence that states all of them: tails of one relation joined by commas and "and".

    >>> merged_text([("John", "works as", "an actor"), ("John", "works as", "a director")])
    'John works as an actor and a director'
    """
    by_relation: dict[tuple[str, str], list[str]] = {}
    names: dict[tuple[str, str], tuple[str, str]] = {}
    for head, relation, tail in triples:
        key = key_of((head, relation, tail))
        names.setdefault(key, (head, relation))
        tails = by_relation.setdefault(key, [])
        if norm_tail(tail) not in map(norm_tail, tails):
            tails.append(tail)
    parts, last = [], ""
    for key, tails in by_relation.items():
        head, relation = names[key]
        said = deny(relation) if negated else relation
        joined = tails[0] if len(tails) == 1 else f"{', '.join(tails[:-1])} and {tails[-1]}"
        parts.append(f"{'' if key[0] == last else head + ' '}{said} {joined}")
        last = key[0]
    return "; ".join(parts)


def deny(relation: str) -> str:
    """The negation of a relation in words.

    >>> deny("lives in"), deny("is allergic to"), deny("painted")
    ('does not live in', 'is not allergic to', 'did not paint')
    """
    first, _, rest = relation.partition(" ")
    tail = f" {rest}" if rest else ""
    if first in ("is", "was", "are", "were", "will", "can", "could", "would", "should", "must"):
        return f"{first} not{tail}"
    if first.endswith("ed"):
        return f"did not {base(first)}{tail}"
    return f"does not {base(first)}{tail}"


_IRREGULAR = {"has": "have", "does": "do", "goes": "go"}


def base(verb: str) -> str:
    """The infinitive of a third person or a regular past, well enough for a sentence."""
    if verb in _IRREGULAR:
        return _IRREGULAR[verb]
    if verb.endswith("ied") or verb.endswith("ies"):
        return verb[:-3] + "y"
    if verb.endswith("ed"):
        stem = verb[:-2]
        if len(stem) > 2 and stem[-1] == stem[-2] and stem[-1] not in "lsz":
            return stem[:-1]
        return stem
    if re.search(r"(ch|sh|ss|x|zz)es$", verb):
        return verb[:-2]
    return verb[:-1] if verb.endswith("s") and not verb.endswith("ss") else verb


def to_item(thought: Thought, *, more: dict[str, Any] | None = None) -> Item:
    """The item a thought is kept as: a note whose labels carry the triple."""
    labels: dict[str, Any] = {"type": THOUGHT, **(more or {})}
    if thought.complete:
        labels.update(head=thought.head, relation=thought.relation, tail=thought.tail)
        if len(thought.triples) > 1:
            labels["triples"] = [list(t) for t in thought.triples]
    else:
        labels["complete"] = False
    for name in ("negated", "functional"):
        if getattr(thought, name):
            labels[name] = True
    return Item(
        thought.text,
        id=thought.id,
        source=thought.source,
        trust=thought.trust,
        origin="inference extraction",
        valid_from=thought.valid_from,
        valid_to=thought.valid_to,
        parents=thought.parents,
        labels=labels,
    )


def of_item(item: Item) -> Thought:
    """Back from `to_item`."""
    labels = item.labels
    return Thought(
        item.content,
        str(labels.get("head", "")),
        str(labels.get("relation", "")),
        str(labels.get("tail", "")),
        item.source,
        item.valid_from,
        item.valid_to,
        negated=bool(labels.get("negated", False)),
        functional=bool(labels.get("functional", False)),
        trust=item.trust,
        parents=item.parents,
        triples=tuple(tuple(t) for t in labels.get("triples", ())),
        id=item.id,
    )


def retired(item: Item, at: datetime, reason: str, into: Iterable[str] = ()) -> Item:
    """What takes the place of a thought that no longer holds: an item that is over as it begins.

    The store ends the old one where this begins, and shows this one at no time; so one entry of
    the log forgets, and undoing that entry restores.
    """
    labels: dict[str, Any] = {"type": RETIRED, "of": item.id}
    if ids := list(into):
        labels["into"] = ids
    return Item(
        f"No longer held ({reason}): {item.content}",
        source=item.source,
        trust=item.trust,
        origin="inference extraction",
        valid_from=at,
        expires_at=at,
        parents=item.parents,
        labels=labels,
    )
