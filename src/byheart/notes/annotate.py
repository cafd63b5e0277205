"""What a note is about, without a language model: keywords, tags, entities and one sentence.

Keyphrases come from YAKE (Campos et al., 2020: statistics of the text itself, nothing is fetched).
The rest are rules that say what they are: no speaker's name and no time among the keywords; an
entity is a run of capitalised words, a quoted title or a web address; a tag is a broad field of
life or the form of the note. Equal texts get equal annotations, and `Annotation.by` tells that no
model read them.

>>> from datetime import datetime
>>> found = RuleAnnotator()("I ran a charity race for mental health in Lisbon last Saturday.",
...                         at=datetime(2023, 5, 25), speaker="Melanie")
>>> found.keywords
('Lisbon', 'charity race', 'mental health', 'ran', 'charity', 'race')
>>> found.tags
('health', 'sport', 'event')
>>> found.context
'Melanie, on 25 May 2023, tells about Lisbon, charity race and mental health.'
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date, datetime
from functools import lru_cache
from typing import Any, Protocol

from byheart.core.errors import UsageError, need
from byheart.notes._annotate_words import CALENDAR, FIELDS, SMALL
from byheart.notes.search_text import STOP_WORDS, stemmer
from byheart.notes.time_expressions import find_times
from byheart.notes.time_rules import month_name

__all__ = ["Annotation", "Annotator", "RuleAnnotator", "speaker_of"]


@dataclass(frozen=True)
class Annotation:
    """What is said about a note beside its content (A-MEM, Eq. 2).

    Args:
        keywords: Most salient first.
        tags: Broad categories.
        context: One sentence: topic, key points, who and when.
        entities: Names in it; found by rules only.
        by: Who annotated: a model's name, or ``"rules"``.
    """

    keywords: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    context: str = ""
    entities: tuple[str, ...] = ()
    by: str = ""

    def __post_init__(self) -> None:
        for name in ("keywords", "tags", "entities"):
            value = getattr(self, name)
            if isinstance(value, str) or not all(isinstance(v, str) for v in value):
                raise UsageError(f"{name} must be a sequence of texts, got {value!r}")
            object.__setattr__(self, name, tuple(value))
        if not isinstance(self.context, str):
            raise UsageError(f"context must be text, got {self.context!r}")


class Annotator(Protocol):
    """Any callable that annotates a content; it may be a model's or yours."""

    def __call__(
        self, content: str, *, at: datetime | None = None, speaker: str = ""
    ) -> Annotation:
        """The annotation of a content that was said at a time by somebody."""
        ...


_SPEAKER = re.compile(r"([A-Z][\w.'’-]*(?: [A-Z][\w.'’-]*){0,2}): ")
_WORD = re.compile(r"[^\W_]+(?:['’+&.-][^\W_]+)*\+?")
_SENTENCE_START = re.compile(r"(?:^|[.!?…:;\n]\s*|[\"“‘(\[]\s*)$")
_QUOTED = re.compile(r"[\"“]([^\"”\n]{2,60})[\"”]")
_ADDRESS = re.compile(r"\bhttps?://[^\s<>\"]+|\b[\w.+-]+@[\w-]+\.[\w.]+")
_ADDRESSED = re.compile(
    r"\b(?i:hey|hi|hello|thanks|thank you|wow|bye|yeah|yep|yes|no|sorry|dear|cool|well),? "
    r"([A-Z]\w+)\b(?! [A-Z])|, ([A-Z]\w+)(?=\s*(?:[.!?,]|$|-))|(?:^|[.!?] )([A-Z]\w+)(?=, )"
)
"""Whom a note speaks to: "Hey Jon!", "Thanks, Jon.", "Jon, come here": no topic of it."""
_LIMIT = 6


class RuleAnnotator:
    """Annotates by YAKE and rules; deterministic.

    Args:
        language: Two letters, of the text; fields and time rules are English.
        most: Keywords and entities at most, each.

    Raises:
        MissingExtra: yake or PyStemmer is not installed.
    """

    name = "rules"

    def __init__(self, language: str = "en", *, most: int = _LIMIT) -> None:
        if most < 3:
            raise UsageError(f"most must be at least 3, got {most}")
        self.language, self.most = language, most
        self._extract = _yake(language)
        self._stem = stemmer()

    def __call__(
        self, content: str, *, at: datetime | None = None, speaker: str = ""
    ) -> Annotation:
        """See `Annotator`."""
        speaker = speaker or speaker_of(content)
        body = _without_speaker(content, speaker)
        left = _without_times(body, at)
        barred = {w.lower() for w in _WORD.findall(speaker)}
        barred |= {n.lower() for m in _ADDRESSED.finditer(left) for n in m.groups() if n}
        entities = self._entities(left, barred)
        keywords = self._keywords(left, barred, entities)
        return Annotation(
            keywords,
            self._tags(body, keywords),
            _sentence(body, keywords, entities, at, speaker),
            entities,
            self.name,
        )

    def _keywords(self, text: str, barred: set[str], entities: tuple[str, ...]) -> tuple[str, ...]:
        names = {w for e in entities for w in _WORD.findall(e)}
        phrases = [p for p, _ in self._extract(text)] if text.strip() else []
        # where the statistics find little, the longer words of the text stand in
        words = sorted({w for w in _WORD.findall(text) if len(w) > 2}, key=lambda w: (-len(w), w))
        found: list[str] = []
        seen: set[tuple[str, ...]] = set()
        for phrase in [*_in_order(phrases, entities), *words]:
            kept = _trim(phrase, barred)
            stems = tuple(self._stem(w.lower()) for w in kept)
            if not kept or stems in seen:
                continue
            seen.add(stems)
            found.append(" ".join(w if w in names or _loud(w) else w.lower() for w in kept))
            if len(found) == self.most:
                break
        return tuple(found)

    def _entities(self, text: str, barred: set[str]) -> tuple[str, ...]:
        found = [m[1].strip(" .,!?") for m in _QUOTED.finditer(text)] + _ADDRESS.findall(text)
        rest = _ADDRESS.sub(" . ", _QUOTED.sub(" . ", text))
        for run, opens in _capitalised(rest):
            words = [w for w in run if w.lower() not in barred]
            while words and (_dull(words[0]) or (opens and words[0].lower() in STOP_WORDS)):
                words, opens = words[1:], False
            while words and _dull(words[-1]):
                words = words[:-1]
            # the first word of a sentence is capitalised anyway
            if words and not (opens and len(words) == 1 and not _loud(words[0])):
                found.append(" ".join(words))
        return tuple(dict.fromkeys(f for f in found if f))[: self.most]

    def _tags(self, body: str, keywords: tuple[str, ...]) -> tuple[str, ...]:
        stems = {self._stem(w.lower()) for w in _WORD.findall(body)}
        fields = [name for name, of in _fields() if not stems.isdisjoint(of)]
        tags = fields[:5]
        if body.rstrip(" \"'”’)]").endswith(("?", "？")):
            tags.append("question")
        if "[image:" in body.lower():
            tags.append("picture")
        # a text of no known field is filed under its own words
        for word in keywords:
            if len(tags) >= 3:
                break
            if word.lower() not in tags:
                tags.append(word.lower())
        return tuple(tags)


@lru_cache(maxsize=8)
def _yake(language: str) -> Callable[[str], list[tuple[str, Any]]]:
    yake = need("yake", "memory")
    extract: Callable[[str], list[tuple[str, Any]]] = yake.KeywordExtractor(
        lan=language, n=2, top=16, dedup_lim=0.8
    ).extract_keywords
    return extract


@lru_cache(maxsize=1)
def _fields() -> tuple[tuple[str, frozenset[str]], ...]:
    stem = stemmer()
    return tuple((n, frozenset(stem(w) for w in of.split())) for n, of in FIELDS.items())


def speaker_of(content: str) -> str:
    """Who speaks, where the content says so in front.

    >>> speaker_of("Caroline: I went to the support group")
    'Caroline'
    """
    named = _SPEAKER.match(content)
    return named[1] if named else ""


def _without_speaker(content: str, speaker: str) -> str:
    """The content without "Name:" in front."""
    begins = f"{speaker}:"
    return content[len(begins) :].lstrip() if speaker and content.startswith(begins) else content


def _without_times(text: str, at: datetime | None) -> str:
    """Time expressions blanked out by full stops, so that no phrase reaches over them."""
    out = list(text)
    for span in find_times(text, at.date() if at else date(2000, 1, 1)):
        out[span.start : span.start + len(span.text)] = " . " + " " * (len(span.text) - 3)
    return "".join(out).replace("[image:", ". ")


def _in_order(phrases: list[str], entities: Iterable[str]) -> list[str]:
    """Phrases of two words and names before single common words, else as YAKE ranks them."""
    names = {e.lower() for e in entities}
    return sorted(phrases, key=lambda p: " " not in p and p.lower() not in names)


def _dull(word: str) -> bool:
    low = word.lower()
    return low in SMALL or low in STOP_WORDS or low in CALENDAR or len(low) < 2


def _trim(phrase: str, barred: set[str]) -> list[str]:
    """The words of a phrase, without dull ones at its ends; nothing where a name is barred."""
    words = _WORD.findall(phrase)
    if any(w.lower() in barred or w.lower() in CALENDAR for w in words):
        return []
    while words and (_dull(words[0]) or "'" in words[0] or "’" in words[0]):
        words = words[1:]
    while words and (_dull(words[-1]) or "'" in words[-1] or "’" in words[-1]):
        words = words[:-1]
    return words if any(not w.isdigit() for w in words) else []


def _loud(word: str) -> bool:
    """Whether a word is a name wherever it stands: LGBTQ, iPhone, COVID-19."""
    return sum(c.isupper() for c in word) > 1 or any(c.isdigit() for c in word)


def _capitalised(text: str) -> list[tuple[list[str], bool]]:
    """Runs of capitalised words, and whether a run opens a sentence."""
    runs: list[tuple[list[str], bool]] = []
    end = -1
    for m in _WORD.finditer(text):
        word = m[0].rstrip("'’")
        if not any(c.isupper() for c in word) or word in ("I",) or word.startswith(("I'", "I’")):
            end = -1
            continue
        if end >= 0 and text[end : m.start()] in (" ", " & ", "-"):
            runs[-1][0].append(word)
        else:
            runs.append(([word], bool(_SENTENCE_START.search(text[: m.start()]))))
        end = m.end()
    return runs


def _sentence(
    body: str, keywords: tuple[str, ...], entities: tuple[str, ...], at: datetime | None, speaker: str
) -> str:  # fmt: skip
    """Who, when, and about what."""
    who = speaker or "A note"
    when = f", on {at.day} {month_name(at.month).capitalize()} {at.year}," if at else ""
    asks = body.rstrip(" \"'”’)]").endswith(("?", "？"))
    topics = list(keywords[:3])
    topics += [e for e in entities[:2] if not any(e.lower() in t.lower() for t in topics)]
    verb = "asks" if asks else "tells"
    if not topics:
        return f"{who}{when} {verb} little about any topic."
    head, last = ", ".join(topics[:-1]), topics[-1]
    return f"{who}{when} {verb} about {f'{head} and {last}' if head else last}."
