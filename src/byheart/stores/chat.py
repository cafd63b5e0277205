"""Conversations in the common chat JSON, as notes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from byheart.core.errors import DataError, UsageError
from byheart.core.item import Item, moment

__all__ = ["chat_items"]

_TRUST = {"user": "user", "assistant": "assistant", "tool": "tool", "function": "tool"}


def chat_items(
    conversation: Any,
    *,
    source: str = "chat",
    thread: str | None = None,
    where: str = "conversation",
) -> list[Item]:
    """One note a message, in order; ``source`` gets ":1", ":2" ... behind it.

    Args:
        conversation: ``[{"role": ..., "content": ...}, ...]``, or ``{"messages": [...]}``. Content
            is text, or a list of parts of which the text ones are taken (of others the types are
            kept in ``labels["attached"]``, and a ``caption`` or ``alt`` in ``labels["captions"]``,
            by which they are found). ``name`` becomes the speaker; ``time``, ``timestamp`` or
            ``created_at`` becomes `valid_from`.
        source: Where it comes from.
        thread: Notes of one thread are neighbours; `source` if left out.
        where: Its name, for messages.

    Raises:
        DataError: With the message that cannot be used.

    >>> [i.trust for i in chat_items([{"role": "user", "content": "hi"}])]
    ['user']
    """
    if isinstance(conversation, Mapping):
        if "messages" not in conversation:
            raise DataError(
                f"{where}: an object with messages, or a list of them, is wanted; this one has "
                f"{', '.join(map(str, list(conversation)[:5])) or 'nothing'}"
            )
        conversation = conversation["messages"]
    if not isinstance(conversation, Sequence) or isinstance(conversation, str | bytes):
        raise DataError(f"{where}: messages must be a list, got {type(conversation).__name__}")
    return list(_items(conversation, source, thread or source, where))


def _items(messages: Sequence[Any], source: str, thread: str, where: str) -> Iterator[Item]:
    for number, message in enumerate(messages, 1):
        place = f"{where}, message {number}"
        if not isinstance(message, Mapping):
            raise DataError(f"{place}: a message is an object, got {message!r:.60}")
        role = message.get("role")
        if not isinstance(role, str) or not role:
            raise DataError(f"{place}: it has no role (user, assistant, system, tool)")
        text, attached, captions = _text(message.get("content"), place)
        if not text and not attached:
            if message.get("tool_calls") or message.get("function_call"):
                continue  # a call without words says nothing to remember
            raise DataError(f"{place}: its content is empty")
        labels: dict[str, Any] = {"role": role, "thread": thread, "turn": number}
        if attached:
            labels["attached"] = attached
        if captions:
            labels["captions"] = captions
        name = message.get("name")
        if name is not None and not isinstance(name, str):
            raise DataError(f"{place}: name must be text, got {name!r}")
        if name:
            labels["speaker"] = name
        when = next(
            (message[k] for k in ("time", "timestamp", "created_at") if message.get(k)), None
        )
        try:
            yield Item(
                text,
                source=f"{source}:{number}",
                trust=_TRUST.get(role, "unverified"),
                origin="inference extraction" if role == "assistant" else "user input",
                valid_from=moment(when, "time"),
                labels=labels,
            )
        except UsageError as error:
            raise DataError(f"{place}: {error}") from error


def _text(content: Any, place: str) -> tuple[str, list[str], list[str]]:
    if content is None:
        return "", [], []
    if isinstance(content, str):
        return content, [], []
    if not isinstance(content, list):
        raise DataError(f"{place}: content must be text or a list of parts, got {content!r:.60}")
    texts, attached, captions = [], [], []
    for part in content:
        if isinstance(part, str):
            texts.append(part)
        elif isinstance(part, Mapping) and isinstance(part.get("text"), str):
            texts.append(part["text"])
        elif isinstance(part, Mapping):
            attached.append(str(part.get("type", "unknown")))
            told = part.get("caption") or part.get("alt")
            if isinstance(told, str) and told.strip():
                captions.append(told.strip())
        else:
            raise DataError(f"{place}: a part of content is an object or text, got {part!r:.60}")
    return "\n".join(texts), attached, captions
