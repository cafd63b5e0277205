"""Who said an item, and what came with it: what search and ranking read besides the content."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

__all__ = ["Spoken", "spoken"]

# one to three names with capitals, then a colon: "Ann Lee: I moved."
_NAMED = re.compile(r"(?P<who>[^\W\d_a-z][\w'’.-]*(?: [^\W\d_a-z][\w'’.-]*){0,2}): (?P<text>\S.*)")


class Spoken(NamedTuple):
    """What an item says.

    Args:
        speaker: Who said it; may be empty.
        text: What was said, without the speaker's name in front.
        attached: Descriptions of what came with it, such as a picture's caption.
    """

    speaker: str
    text: str
    attached: tuple[str, ...]

    @property
    def all(self) -> str:
        """Everything that its words are taken from."""
        return " ".join((self.speaker, self.text, *self.attached)).strip()


def spoken(content: str, labels: Mapping[str, Any]) -> Spoken:
    """Speaker, text and captions of an item.

    The speaker is ``labels["speaker"]``; else, of a single line such as "Ann: I moved.", the name in
    front; else ``labels["role"]``. Captions are ``labels["captions"]``.

    >>> spoken("Ann: I moved.", {})
    Spoken(speaker='Ann', text='I moved.', attached=())
    >>> spoken("I moved.", {"speaker": "Ann", "captions": ["a red boat"]}).all
    'Ann I moved. a red boat'
    """
    captions = labels.get("captions")
    if isinstance(captions, str):
        captions = [captions]
    attached = tuple(c for c in captions if isinstance(c, str)) if captions else ()
    speaker = labels.get("speaker")
    if isinstance(speaker, str) and speaker:
        return Spoken(speaker, content, attached)
    named = _NAMED.fullmatch(content) if ": " in content[:80] and "\n" not in content else None
    if named:
        return Spoken(named["who"], named["text"], attached)
    role = labels.get("role")
    return Spoken(role if isinstance(role, str) else "", content, attached)
