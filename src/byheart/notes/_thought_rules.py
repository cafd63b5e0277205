"""Thoughts out of a turn by rules, without a model: who, what holds, of what, since when.

English chat sentences with a subject that can be named ("I", "my sister", a name in front of a
verb): the subject is resolved to the speaker, the verb with its preposition is the relation, what
follows up to the end of the clause is the tail. Time expressions are taken out of the tail and
become the validity. Moves, homes, jobs, ages, names and favourites get one relation each, so that a
later value meets the earlier one.

Can: first person and names, negation ("do not", "no longer", "stopped"), past ("used to"), plans
and wishes (kept apart from facts), lists of verbs on one subject. Cannot: pronouns of other people
("she" is left unresolved, the sentence is kept without a relation), irony, what is only implied,
other languages. Questions, greetings and conditions yield nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time

from byheart.core.item import moment
from byheart.core.words import words
from byheart.notes._thought import FUNCTIONAL, Thought, deny
from byheart.notes._thought_predicate import AUXILIARIES, PAST, UNREAL, Told, predicate, tail_of
from byheart.notes.search_text import passages
from byheart.notes.time_expressions import TimeSpan, find_times

__all__ = ["extract_thoughts"]

_EXPAND = [
    (re.compile(p, re.I), to)
    for p, to in (
        (r"[’‘`]", "'"),
        (r"\bI'm\b|\bIm\b", "I am"),
        (r"\bwon't\b", "will not"),
        (r"\b(can)'t\b|\bcannot\b", "can not"),
        (r"\bshan't\b", "shall not"),
        (r"(\w)n't\b", r"\1 not"),
        (r"\b(I|you|we|they)'ve\b", r"\1 have"),
        (r"\b(I|you|we|they|he|she)'ll\b", r"\1 will"),
        (r"\b(I|you|we|they|he|she)'d\b", r"\1 would"),
        (r"\b(you|we|they)'re\b", r"\1 are"),
        (r"\b(he|she|it|that|there|what|who)'s\b", r"\1 is"),
        (r"\bgonna\b", "going to"),
        (r"\bwanna\b", "want to"),
        (r"\bgotta\b", "have to"),
        (r"\b(\w+)in'(?=\s|$)", r"\1ing"),
    )
]
_LEAD = re.compile(
    r"^(?:(?:oh|wow|yeah|yes|yep|yup|no|nope|well|so|and|but|also|hey|hi|hello|thanks|thank you|thx|"
    r"actually|anyway|btw|by the way|lately|recently|fortunately|unfortunately|luckily|sadly|"
    r"honestly|totally|absolutely|definitely|sure|right|okay|ok|plus|then|now|still|haha|lol|aww?|"
    r"guess what|you know|i mean|of course|sorry|nice|cool|great|awesome|amazing)\b[\s,!.:;-]*"
    r"(?:[A-Z]\w+[,!.]\s*)?)+",
    re.I,
)
_CLAUSE = re.compile(
    r"\s*(?:;|\s[-–—]+\s|—|,?\s+(?:but|because|since(?=\s+(?:I|we|my|it|he|she|they)\b)|so that|which|although|though|"
    r"whereas|so(?=\s+(?:I|we|my)\b))\s|(?:,\s*|\s+)and\s+(?=(?:I|we|my|our)\b)|,\s+(?=(?:I|we|my)\b)|"
    r"\s+(?:when|while|if|unless|until|after|before)\s+(?=(?:I|we|you|he|she|they|it|my)\b))\s*"
)
_LEARNT = re.compile(
    r"^(?:I|we)\s+(?:just |also |recently )*(?:found out|discovered|learned|learnt|realized|realised|"
    r"heard|decided|mentioned|said)(?: recently| today| yesterday)?(?: that)?\s+(?=(?:I|we|my)\b)",
    re.I,
)
_CONDITION = re.compile(
    r"^(?:if|unless|when|whenever|maybe|perhaps|suppose|imagine|wish|let|i wish|i guess if)\b", re.I
)
_NOT_NAMES_TEXT = """the this that these those there here it its he she they them you your i we our my his her their
what when where why how who which thanks thank hey hi hello wow yeah yes yep no not oh well so
and but or if also just maybe perhaps sure glad happy sorry good great nice cool awesome amazing
congrats congratulations sounds looks seems take keep let have has had do does did can could
would should will may might must is are was were be been being go get got make being today
yesterday tomorrow tonight everyone everything someone something nothing people kids things life
music books food dogs cats one two all some any most many much every each another monday tuesday
wednesday thursday friday saturday sunday january february march april june july august
september october november december"""
_NOT_NAMES = frozenset(_NOT_NAMES_TEXT.split())


@dataclass(frozen=True)
class _Subject:
    name: str
    rest: str


def extract_thoughts(
    text: str,
    *,
    speaker: str = "",
    listener: str = "",
    said: datetime | date | str | None = None,
    source: str = "",
    trust: str = "user",
    parents: tuple[str, ...] = (),
    rest: bool = True,
) -> list[Thought]:
    """Thoughts of one turn by rules.

    Args:
        text: What was said.
        speaker: Who said it: what "I" and "my" become; without it the user.
        listener: Who was spoken to; what "you" becomes. Without it "you" is not resolved.
        said: When; time expressions are resolved against that day, and it is what holds "since"
            where none is given.
        source: Where it is from; kept with each thought.
        trust: Whose word it is.
        parents: Ids of the items it is from.
        rest: Also keep sentences that tell something but fit no rule, without a relation.

    >>> for t in extract_thoughts("I moved to Rome last month. Do you like it?", speaker="Ana",
    ...                           said="2023-05-08"):
    ...     print((t.head, t.relation, t.tail), t.valid_from.date(), t.text)
    ('Ana', 'lives in', 'Rome') 2023-04-01 Ana lives in Rome (since April 2023)
    """
    when = moment(said, "said")
    names = _Names(speaker or "The user", listener)
    out: list[Thought] = []
    for sentence in passages(text):
        if sentence.rstrip(" \"'”’)]*").endswith(("?", "？")):
            continue
        made = [
            t
            for clause in _clauses(sentence, when)
            for t in _of_clause(clause, names, when, source, trust, parents)
        ]
        if not made and rest and _tells(sentence):
            made = [
                Thought(
                    f"{names.speaker}: {sentence}", source=source, valid_from=when, trust=trust,
                    parents=parents,
                )
            ]  # fmt: skip
        out += made
    unique: dict[tuple[object, ...], Thought] = {}
    for t in out:
        unique.setdefault((t.text, t.head, t.relation, t.tail, t.negated), t)
    return list(unique.values())


@dataclass(frozen=True)
class _Names:
    speaker: str
    listener: str


def _expand(text: str) -> str:
    for pattern, to in _EXPAND:
        text = pattern.sub(to, text)
    return " ".join(text.split())


_SHARED = re.compile(
    r"\s+and\s+(?=(?:also |now |just |still )?(?:work|live|love|like|enjoy|play|have|am|moved|started|went|"
    r"got|bought|adopted|joined|visited|met|made|took|lived|worked|became|stopped|quit)\b)"
)
"""Where a second verb shares the subject "I"."""

_BEFORE_COMMA = re.compile(r"(?P<time>(?:\w+ ){0,5}\w+), (?=(?:I|we|my|our)\b)", re.I)


def _clauses(sentence: str, when: datetime | None) -> Iterator[str]:
    text = _expand(sentence).strip(' .!…"“”*')
    text = text[m.end() :] if (m := _LEAD.match(text)) else text
    text = _LEARNT.sub("", text)
    if (m := _BEFORE_COMMA.match(text)) and find_times(m["time"], when):
        text = f"{m['time']} {text[m.end() :]}"  # "In 2019, I lived" is one clause
    if _CONDITION.match(text):
        return
    if re.match(r"(?:I|we)\s", text, re.I):
        text = _SHARED.sub(" and I ", text)
    for part in _CLAUSE.split(text):
        part = part.strip(" ,.!")
        if part and not _CONDITION.match(part):
            yield part


def _tells(sentence: str) -> bool:
    """Whether a sentence says something: three words that are worth looking for."""
    text = _LEAD.sub("", _expand(sentence))
    return len(set(words(text))) >= 4 and not _CONDITION.match(text)


_FIRST = re.compile(r"^(?:I|we)\s+(?P<rest>.+)$", re.I)
_MY = re.compile(
    r"^(?:my|our)\s+(?P<what>(?:[\w'-]+\s+){1,4}?)(?P<rest>(?:is|are|was|were|has|have|had|will|"
    r"\w+s|\w+ed|" + "|".join(sorted(PAST)) + r")\s+.+)$",
    re.I,
)
_NAMED = re.compile(r"^(?P<name>[A-Z][\w'-]+(?:\s+[A-Z][\w'-]+){0,2})\s+(?P<rest>[a-z].+)$")
_ATTRIBUTE = re.compile(
    r"^my (?P<of>[\w -]+'s )?(?P<what>name|birthday|bday|age|address|phone number|email address|"
    r"favou?rite (?:[\w-]+ ){0,2}[\w-]+) (?:is|was|are|will be)(?: now| on)?(?P<not> not)? (?P<value>.+)$",
    re.I,
)
_YOU = re.compile(r"^you\s+(?P<rest>.+)$", re.I)
_DROPPED = re.compile(
    r"^(?:(?:just|recently|finally|also|already)\s+)?(?P<rest>(?:going to|moved|started|finished|went|got|"
    r"bought|made|took|signed|been|had|saw|met|won|visited|joined|adopted|love|loved|enjoyed|"
    r"planning|thinking|working|looking|trying)\b.+)$",
    re.I,
)


def _subject(clause: str, names: _Names) -> _Subject | None:
    if m := _FIRST.match(clause):
        return _Subject(names.speaker, m["rest"])
    if m := _MY.match(clause):
        what = m["what"].strip()
        if not re.search(r"\b(?:is|are|was|has|have|and|who|that)\b", what):
            return _Subject(f"{_own(names.speaker)} {what}", m["rest"])
    if names.listener and (m := _YOU.match(clause)) and m["rest"].split()[0].lower() not in UNREAL:
        return _Subject(names.listener, m["rest"])
    if (m := _NAMED.match(clause)) and _is_name(m["name"]):
        first = re.split(r"\s+", m["rest"].strip())[0].lower()
        if first in AUXILIARIES or first in PAST or re.fullmatch(r"[a-z]{2,}(?:s|ed)", first):
            return _Subject(m["name"], m["rest"])
    if m := _DROPPED.match(clause):
        return _Subject(names.speaker, m["rest"])
    return None


def _is_name(text: str) -> bool:
    first = text.split()[0].lower()
    return first not in _NOT_NAMES and not first.endswith("ing")


def _own(name: str) -> str:
    return f"{name}'" if name.endswith("s") else f"{name}'s"


def _of_clause(
    clause: str, names: _Names, when: datetime | None, source: str, trust: str,
    parents: tuple[str, ...],
) -> list[Thought]:  # fmt: skip
    clause, span = _leading_time(clause, when)
    subject = _subject(clause, names)
    if subject is None:
        return []
    told: list[Told]
    if m := _ATTRIBUTE.match(clause):
        of = (m["of"] or "").strip().removesuffix("'s")
        subject = _Subject(f"{_own(names.speaker)} {of}" if of else names.speaker, "")
        what = m["what"].lower().replace("favorite", "favourite").replace("bday", "birthday")
        relation = "is named" if what == "name" else f"has the {what}"
        told = [(relation, tail_of(m["value"]), bool(m["not"]), True)]
    else:
        rest, inner = _without_time(subject.rest, when)
        span = inner or span
        told = predicate(rest)
    out = []
    for relation, tail, negated, functional in told:
        tail = _resolved(tail, names)
        if not tail:
            continue
        said = deny(relation) if negated else relation
        text = f"{subject.name} {said} {tail}{_dated(span, relation, functional)}"
        out.append(
            Thought(
                text, subject.name, relation, tail, source,
                _validity(span, when, relation, functional), negated=negated,
                functional=functional, trust=trust, parents=parents,
            )
        )  # fmt: skip
    return out


def _resolved(tail: str, names: _Names) -> str:
    """ "my", "me" and "you" as names, so that the thought can be read by itself."""
    own = _own(names.speaker)
    tail = re.sub(r"\b(?:my|our)\b", own, tail, flags=re.I)
    tail = re.sub(r"\b(?:myself|me)\b", names.speaker, tail, flags=re.I)
    if names.listener:
        tail = re.sub(r"\byour\b", _own(names.listener), tail, flags=re.I)
        tail = re.sub(r"\byou\b", names.listener, tail, flags=re.I)
    return tail


def _leading_time(clause: str, when: datetime | None) -> tuple[str, TimeSpan | None]:
    """ "Last Friday I ran" as "I ran" and the time."""
    m = re.match(r"(?P<time>(?:\w+ ){1,5}?\w+),? (?=(?:I|we|my|our) )", clause, re.I)
    spans = find_times(m["time"], when) if m is not None else []
    if (
        m is None
        or not spans
        or not re.fullmatch(
            r"(?:on|in|at|this|back|earlier|early|late|just|the)*",
            m["time"][: spans[0].start].strip(),
            re.I,
        )
    ):
        return clause, None
    return clause[m.end() :], spans[0]


def _without_time(text: str, when: datetime | None) -> tuple[str, TimeSpan | None]:
    """A clause without its time expressions, and the first of them."""
    spans = find_times(text, when)
    # "a week" of "twice a week" or a birthday's date are no times of the fact
    spans = [s for s in spans if s.start > 0]
    for s in reversed(spans):
        before = re.sub(
            r"\s*\b(?:in|on|at|since|from|during|for|this|back|early|late|around)\s*$",
            "",
            text[: s.start],
        )
        text = f"{before} {text[s.start + len(s.text) :]}"
    return " ".join(text.split()), (spans[0] if spans else None)


def _midnight(day: date) -> datetime | None:
    return moment(datetime.combine(day, time()))


def _validity(
    span: TimeSpan | None, when: datetime | None, relation: str, functional: bool
) -> datetime | None:
    """Since when a sentence is true. One in the past tense stays true; a plan is one at once."""
    if span is None:
        return when
    begin = _midnight(span.first)
    if (
        when is not None
        and begin is not None
        and begin > when
        and not _lasting(relation, functional)
    ):
        return when
    return begin


def _lasting(relation: str, functional: bool) -> bool:
    return functional or relation in FUNCTIONAL or relation in ("works as", "is", "has")


def _dated(span: TimeSpan | None, relation: str, functional: bool) -> str:
    if span is None:
        return ""
    days = span.days
    if days == 1:
        said = f"{span.first.day} {span.first:%B %Y}"
    elif span.first.day == 1 and 28 <= days <= 31:
        said = f"{span.first:%B %Y}"
    elif span.first.month == 1 and span.first.day == 1 and days in (365, 366):
        said = f"{span.first.year}"
    else:
        said = f"{span.first.day} {span.first:%B} to {span.last.day} {span.last:%B %Y}"
    return f" (since {said})" if _lasting(relation, functional) else f" ({said})"
