"""What `LinkedNotes` is given, made into what it works with: an item, a memory, an index."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from byheart.core.errors import UnknownName, UsageError
from byheart.core.item import Item, moment
from byheart.notes._linked_index import Index, Memo, PlainIndex, StoreIndex
from byheart.notes._linked_note import passages
from byheart.notes._proposals import open_memory
from byheart.notes.annotate import speaker_of
from byheart.notes.time_expressions import parse_moment

__all__ = ["as_new_item", "opened", "takes"]


def as_new_item(what: str | Item | Mapping[str, Any], at: Any, fields: Mapping[str, Any]) -> Item:
    """Text, an item or its fields as the item of a note, with its time and speaker.

    Raises:
        UsageError: It is empty, or no note.
    """
    if isinstance(what, Mapping):
        item = Item.from_dict({**what, **fields})
    elif isinstance(what, Item):
        item = what.but(**fields) if fields else what
    elif isinstance(what, str):
        wrong = sorted(set(fields) - set(Item.__dataclass_fields__))
        if wrong:
            raise UnknownName("field of an item", wrong[0], Item.__dataclass_fields__)
        item = Item(what, **fields)
    else:
        raise UsageError(f"a note is text, an Item or a mapping, got {type(what).__name__}")
    if item.kind != "note":
        raise UsageError(f"a linked note is of kind note, got {item.kind}")
    if not item.content.strip():
        raise UsageError("the note is empty; there is nothing to remember in it")
    if at is not None:
        said = parse_moment(at) if isinstance(at, str) else None
        item = item.but(valid_from=said or moment(at, "at"))
    speaker = item.labels.get("speaker") or speaker_of(item.content)
    if speaker and "speaker" not in item.labels:
        item = item.but(labels={**item.labels, "speaker": speaker})
    return item


def takes(function: Any, name: str) -> bool:
    """Whether a callable takes a keyword of this name."""
    try:
        found = inspect.signature(function).parameters
    except (TypeError, ValueError):
        return False
    return name in found or any(p.kind is p.VAR_KEYWORD for p in found.values())


def opened(store: Any, scope: Any, encoder: Any) -> tuple[Any, Index, bool]:
    """The memory, where it is searched, and whether it is to be closed here."""
    from byheart.memory import Memory, make_embedder

    inner = getattr(store, "store", store)
    if encoder is None and getattr(inner, "embedder", None) is not None:
        encoder = inner.embedder
    embedder = make_embedder(encoder)
    memo = None
    if embedder is not None:
        memo = Memo(embedder.encode)
        # a copy: the memory that was given goes on with its own
        embedder = replace(
            embedder, encode=memo, version=f"{embedder.version}/linked-1",
            passages=passages, id=0, _probe=None,
        )  # fmt: skip
    if isinstance(store, str | Path):
        memory = Memory(store, scope, encoder=embedder, ranker="plain")
        return memory, StoreIndex(memory, memo), True
    memory, _ = open_memory(store, scope)
    if hasattr(inner, "embedder") and hasattr(inner, "again"):
        again = Memory(
            inner, inner.scope, encoder=embedder, ranker="plain", actor=inner.actor,
            clock=getattr(inner, "_clock", None),
        )  # fmt: skip
        return again, StoreIndex(again, memo), True
    return memory, PlainIndex(memory, memo), False
