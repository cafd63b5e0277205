"""What is searched: a note, and what ranking needs of it, worked out once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from functools import lru_cache

from byheart.core.words import words
from byheart.notes.search_text import passages
from byheart.notes.time_expressions import find_times
from byheart.notes.time_rules import month_name

__all__ = ["Note", "Parsed", "parse"]


@dataclass(frozen=True)
class Note:
    """What is searched: a turn of a conversation, or one thing written down.

    Args:
        id: Any name; unique within one search.
        text: What was said.
        speaker: Who said it; may be empty.
        time: When; its day is what expressions such as "last week" are resolved against.
        session: Notes of one session are neighbours in their order; None has no neighbours.
        order: Place in time; notes of equal order stay as they were given.
        attached: Descriptions of what came with it (a picture's caption).
    """

    id: Hashable
    text: str
    speaker: str = ""
    time: datetime | date | None = None
    session: Hashable = None
    order: float = 0.0
    attached: tuple[str, ...] = ()

    def passages(self) -> list[str]:
        """What is embedded: every sentence and attachment, its speaker in front."""
        own = passages(self.text, speaker=self.speaker)
        return own + [p for a in self.attached for p in passages(a, speaker=self.speaker)]

    @property
    def asking(self) -> float:
        """The share of its sentences that are questions, 0 to 1."""
        if "?" not in self.text and "？" not in self.text:
            return 0.0
        sentences = passages(self.text)
        asked = sum(s.rstrip(" \"'”’)]").endswith(("?", "？")) for s in sentences)
        return asked / max(len(sentences), 1)


@dataclass(frozen=True, slots=True)
class Parsed:
    """What ranking needs of a note besides its vectors.

    Args:
        body: Its words, each with how often.
        head: The same for speaker and date, which neighbours do not borrow.
        sizes: How many words body and head are.
        asking: Share of its sentences that are questions.
        day: Ordinal of its day; 0 without.
        times: First and last day, as ordinals, of every time expression in it.
    """

    body: Mapping[str, int]
    head: Mapping[str, int]
    sizes: tuple[int, int]
    asking: float
    day: int
    times: tuple[tuple[int, int], ...]


def parse(note: Note, stem: Callable[[str], str]) -> Parsed:
    """Work a note out."""
    day = note.time.date() if isinstance(note.time, datetime) else note.time
    spans = find_times(note.text, day)
    body, front = words(" ".join((note.text, *note.attached)), stem), _head(note.speaker, day, stem)
    return Parsed(
        Counter(body),
        Counter(front),
        (len(body), len(front)),
        note.asking,
        day.toordinal() if day else 0,
        tuple((s.first.toordinal(), s.last.toordinal()) for s in spans),
    )


@lru_cache(maxsize=1024)
def _head(speaker: str, day: date | None, stem: Callable[[str], str]) -> tuple[str, ...]:
    """Words of speaker and date, which many notes share."""
    told = f"{speaker} {day.day} {month_name(day.month)} {day.year}" if day else speaker
    return tuple(words(told, stem))
