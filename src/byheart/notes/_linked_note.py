"""A linked note as an item: where its annotations lie, and what is embedded for it.

Content and time are the item's own and never change. Keywords, tags, context and links are its
labels: an evolved note is a new version of the item with other labels, so that the store's
history, its two clocks and its undo hold for annotations too. `note` names the first version of
all, whatever version it stands in; links name first versions, so they outlive evolution.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from byheart.core.item import Item
from byheart.core.memory import Receipt
from byheart.notes.annotate import Annotation
from byheart.notes.ranker import sentences

__all__ = ["LABELS", "LinkReceipt", "LinkedNote", "as_item", "as_note", "passages", "root_of"]

LABELS = (
    "annotated_by",
    "context",
    "entities",
    "evolved_by",
    "keywords",
    "links",
    "note",
    "tags",
)
"""The labels that a linked note keeps its annotations under."""


@dataclass(frozen=True)
class LinkedNote:
    """A-MEM's note m = {c, t, K, G, X, e, L} (Eq. 1); its embedding is made of `text`.

    Args:
        id: Of the first version; stays when the note evolves.
        version: Id of this version in the store.
        content: What was written; never changed by evolution.
        time: Since when it holds; never changed by evolution.
        annotation: Keywords K, tags G, context X, and who made them.
        links: Ids of the notes it was linked to, L; older ones.
        speaker: Who said it, if known.
        evolved_by: Id of the note whose arrival made this version; empty for the first.
        item: The item it was read from.
    """

    id: str
    version: str
    content: str
    time: datetime | None = None
    annotation: Annotation = field(default_factory=Annotation)
    links: tuple[str, ...] = ()
    speaker: str = ""
    evolved_by: str = ""
    item: Item | None = field(default=None, repr=False, compare=False)

    @property
    def keywords(self) -> tuple[str, ...]:
        """K, most salient first."""
        return self.annotation.keywords

    @property
    def tags(self) -> tuple[str, ...]:
        """G."""
        return self.annotation.tags

    @property
    def context(self) -> str:
        """X, one sentence."""
        return self.annotation.context

    @property
    def entities(self) -> tuple[str, ...]:
        """Names in it, where rules found them."""
        return self.annotation.entities

    @property
    def text(self) -> str:
        """What is embedded: content, keywords, tags and context (Eq. 3)."""
        return embedded(self.content, self.annotation)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "id": self.id,
            "version": self.version,
            "content": self.content,
            "time": None if self.time is None else self.time.isoformat(),
            "keywords": list(self.keywords),
            "tags": list(self.tags),
            "context": self.context,
            "entities": list(self.entities),
            "annotated_by": self.annotation.by,
            "links": list(self.links),
            "speaker": self.speaker,
            "evolved_by": self.evolved_by,
        }


@dataclass(frozen=True)
class LinkReceipt:
    """What writing a note did.

    Args:
        note: The note as it was kept.
        links: Ids of the notes it was linked to.
        evolved: Ids of the notes whose annotations its arrival changed.
        rejected: What was proposed and not done, and why; each also stands in the log.
        calls: How often the model was asked, repairs included.
        steps: The store's receipts in the order of writing.
    """

    note: LinkedNote
    links: tuple[str, ...] = ()
    evolved: tuple[str, ...] = ()
    rejected: tuple[str, ...] = ()
    calls: int = 0
    steps: tuple[Receipt, ...] = ()

    @property
    def id(self) -> str:
        """The note's id."""
        return self.note.id

    @property
    def ids(self) -> tuple[str, ...]:
        """The note's id, as other receipts name theirs."""
        return (self.note.id,)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "note": self.note.to_dict(),
            "links": list(self.links),
            "evolved": list(self.evolved),
            "rejected": list(self.rejected),
            "calls": self.calls,
            "steps": [s.to_dict() for s in self.steps],
        }


def embedded(content: str, a: Annotation) -> str:
    """Content, then what there is of keywords, tags and context, a line each."""
    lines = [content]
    lines += [f"keywords: {', '.join(a.keywords)}"] if a.keywords else []
    lines += [f"tags: {', '.join(a.tags)}"] if a.tags else []
    lines += [f"context: {a.context}"] if a.context else []
    return "\n".join(lines)


def _texts(labels: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """A label that should be a list of texts; one that somebody else wrote may be anything."""
    value = labels.get(name)
    return tuple(v for v in value if isinstance(v, str)) if isinstance(value, list) else ()


def _text(labels: Mapping[str, Any], name: str) -> str:
    value = labels.get(name)
    return value if isinstance(value, str) else ""


def root_of(item: Item) -> str:
    """Id of the first version, as far as the item itself tells."""
    return _text(item.labels, "note") or item.id


def as_note(item: Item, known: Iterable[str] | None = None) -> LinkedNote:
    """An item as a note.

    Args:
        item: Any item; without our labels it is a note without annotations.
        known: Ids that links may point at; all, if left out.
    """
    labels, root = item.labels, root_of(item)
    allowed = None if known is None else set(known)
    links = [x for x in _texts(labels, "links") if x != root and (allowed is None or x in allowed)]
    annotation = Annotation(
        _texts(labels, "keywords"),
        _texts(labels, "tags"),
        _text(labels, "context"),
        _texts(labels, "entities"),
        _text(labels, "annotated_by"),
    )
    return LinkedNote(
        root,
        item.id,
        item.content,
        item.valid_from or item.recorded_at,
        annotation,
        tuple(dict.fromkeys(links)),
        _text(labels, "speaker"),
        _text(labels, "evolved_by"),
        item,
    )


def as_item(
    item: Item, root: str, annotation: Annotation, links: Iterable[str], evolved_by: str = ""
) -> Item:
    """The item with these annotations; content, times, source, trust and other labels stay."""
    kept = {k: v for k, v in item.labels.items() if k not in LABELS}
    kept["note"] = root
    for name, value in (
        ("keywords", list(annotation.keywords)),
        ("tags", list(annotation.tags)),
        ("context", annotation.context),
        ("entities", list(annotation.entities)),
        ("annotated_by", annotation.by),
        ("links", list(links)),
        ("evolved_by", evolved_by),
    ):
        if value:
            kept[name] = value
    return item.but(labels=kept)


def passages(item: Item) -> list[str]:
    """What is embedded for an item: the text of Eq. 3, then its sentences, by which it is ranked."""
    return [as_note(item).text, *sentences(item)]
