"""What a clause says of its subject: relation and tail, out of its verb phrase, by rules."""

from __future__ import annotations

import re

from byheart.core.words import words
from byheart.notes._thought import base

__all__ = ["AUXILIARIES", "PAST", "UNREAL", "Told", "canonical", "predicate", "tail_of"]

Told = tuple[str, str, bool, bool]
"""Relation, tail, whether it is denied, whether it has one value at a time."""

_ADVERB_BEFORE = r"(?:(?:just|really|also|still|actually|have|has|had|do|does)\s+)*"
_ADVERB = (
    r"(?:(?:just|really|also|always|already|still|now|recently|finally|actually|usually|often|"
    r"sometimes|even|both|currently|lately|totally|absolutely|definitely|never|only|first|"
    r"kinda|kind of|sort of|honestly|truly|simply|probably|certainly|generally)\s+)*"
)
_PREPOSITION = (
    r"(?:in|at|to|for|with|on|about|as|from|of|into|onto|over|through|by|up|out|off|down|back|away|"
    r"around|after|under|against|towards?|between|during)"
)
_PAST_TEXT = """went saw got had was were made took bought found met ran won gave told said came became began
thought felt knew left lost kept held brought taught caught wrote spoke drove rode flew ate
drank sang swam slept spent built sent heard grew drew threw chose broke forgot fell wore sold
stood understood led paid laid fed bit hid hit cut put set quit let read hurt cost did dreamt
learnt burnt woke tore stuck struck sat shot lent meant"""
PAST = frozenset(_PAST_TEXT.split())
_PAST_WORDS = "|".join(sorted(PAST))
_PRESENT = {"am": "is", "are": "is", "have": "has", "do": "does", "go": "goes", "was": "was"}

AUXILIARIES = {
    "am", "is", "are", "was", "were", "be", "been", "being", "have", "has", "had", "do", "does", "did",
    "will", "would", "can", "could", "should", "may", "might", "must", "shall",
}  # fmt: skip
UNREAL = {"would", "could", "should", "might", "may", "must", "shall", "can", "will"}

_BE = ("am", "is", "are", "was", "were")
_AUXILIARY = re.compile(
    r"(?P<aux>(?:am|is|are|was|were|have|has|had|do|does|did|will|would|can|could|should|may|might|"
    r"must|shall)\s+)?(?P<not>not\s+)?(?P<rest>.+)$",
    re.I,
)
_PAST_OF = {"lives in": "lived in", "works at": "worked at", "works as": "worked as"}
_JOB = r"(?:an?|the|my)?\s*(?:new\s+)?(?:job|role|position|career|work)"
_CANON: list[tuple[re.Pattern[str], str, str]] = [
    (re.compile(p, re.I), relation, flags)
    for p, relation, flags in (
        (r"(?:moved|relocated|moving here)(?: back| over| out| here)?(?: from .+?)? to (?P<t>.+)", "lives in", ""),
        (r"(?:live|lives|living|reside|resides|am based|is based|based) (?:in|at) (?P<t>.+)", "lives in", ""),
        (r"(?:work|works|working)(?: [\w-]+)? as (?P<t>.+?)(?: (?:at|for) .+)?", "works as", ""),
        (r"(?:work|works|working)(?: part[- ]time| full[- ]time)? (?:at|for) (?P<t>.+)", "works at", ""),
        (rf"(?:started|began|got|found|accepted|took|landed|have|has)(?: working)?(?: {_JOB})? as (?P<t>an? .+?)(?: (?:at|for) .+)?", "works as", "f"),
        (rf"(?:started|began|got|found|accepted|took|landed|have|has)(?: (?:working|work)| {_JOB}) (?:at|for|with) (?P<t>.+)", "works at", ""),
        (r"(?:became|have become|has become) (?P<t>an? .+)", "works as", "fj"),
        (r"(?:am|is|turned|just turned) (?P<t>\d{1,3})(?: years old| yrs old| today)?", "is aged", ""),
        (r"(?:am|is) (?P<t>\d{1,3}) years old", "is aged", ""),
        (r"(?:am called|is called|go by|goes by) (?P<t>.+)", "is named", ""),
        (r"(?:am|is|got|just got) (?P<r>married|engaged) to (?P<t>.+)", "", ""),
        (r"(?:am|is|started|have been|has been) dating (?P<t>.+)", "is dating", ""),
        (r"(?:am|is|come|comes) from (?P<t>.+)", "is from", ""),
        (r"(?:was|were) born (?P<p>in|on) (?P<t>.+)", "", "k"),
    )
]  # fmt: skip
_A_JOB = re.compile(
    r"\b(?:nurse|teacher|doctor|engineer|lawyer|chef|cook|writer|author|actor|actress|director|"
    r"manager|counsell?or|therapist|designer|developer|programmer|artist|musician|driver|pilot|"
    r"firefighter|police|officer|scientist|researcher|professor|journalist|editor|accountant|"
    r"architect|baker|barista|carpenter|electrician|plumber|farmer|dentist|vet|veterinarian|"
    r"photographer|consultant|analyst|salesperson|librarian|coach|trainer|mechanic|pharmacist)\b",
    re.I,
)
_STOPPED = re.compile(
    r"^(?:no longer|(?:have |has )?(?:stopped|quit|gave up|given up|left))\s+(?P<rest>.+)$", re.I
)


def predicate(rest: str) -> list[Told]:
    """What a clause says of its subject, from the verb on; empty if no rule fits.

    >>> predicate("do not live in Rome anymore")
    [('lives in', 'Rome', True, False)]
    >>> predicate("used to work at Acme")
    [('worked at', 'Acme', False, False), ('works at', 'Acme', True, False)]
    """
    negated = bool(re.match(rf"{_ADVERB_BEFORE}never\b", rest, re.I))
    rest = re.sub(rf"^{_ADVERB}", "", rest, flags=re.I)
    if m := re.match(r"used to (?P<rest>\w+\s+.+)$", rest, re.I):
        return _used_to(m["rest"])
    if (m := _STOPPED.match(rest)) and (told := _stopped(m["rest"])):
        return told
    m = _AUXILIARY.match(rest)
    assert m is not None
    aux = (m["aux"] or "").strip().lower()
    negated = negated or bool(m["not"])
    body = re.sub(rf"^{_ADVERB}", "", m["rest"], flags=re.I)
    body = re.sub(r"\s+(?:anymore|any more|any longer)$", "", body, flags=re.I)
    if aux in _BE and re.match(r"(?:going|planning|about|hoping|thinking)\b", body):
        return _plan(body, negated)
    if aux in UNREAL:
        return _generic(f"{aux} {body}", negated)
    if aux in ("do", "does", "did"):
        aux = ""
    if aux in ("was", "were", "had") or (not aux and re.match(r"(?:lived|worked)\b", body)):
        present = re.sub(r"^(live|work)(?:d|ed)\b", r"\1", body)
        now = canonical(f"{aux} {body}", negated) or canonical(present, negated)
        if now and now[0][0] in _PAST_OF:
            return [(_PAST_OF[now[0][0]], tail, negated, False) for _, tail, _, _ in now]
        return (now if aux else []) or _generic(f"{aux} {body}", negated)
    return canonical(_as_said(aux, body), negated) or _generic(f"{aux} {body}", negated)


def _as_said(aux: str, body: str) -> str:
    """A clause in the form the canonical relations are written in."""
    if aux in ("have", "has"):
        inner = re.sub(rf"^(?:been\s+)?{_ADVERB}(?:been\s+)?", "", body, flags=re.I)
        if not re.match(r"\w+(?:ing|ed|en)\b|become\b", inner):
            return f"{aux} {body}"
        return re.sub(r"^(live|work)(?:d|ed)\b", r"\1", inner)  # "have lived in" goes on
    if aux in _BE and not re.match(r"(?:living|working|dating)\b", body, re.I):
        return f"{aux} {body}"
    return body


def canonical(said: str, negated: bool) -> list[Told]:
    """Homes, jobs, ages and names under one relation each."""
    said = re.sub(r"^(?:just|recently|finally|now|currently)\s+", "", said.strip(), flags=re.I)
    for pattern, relation, flags in _CANON:
        m = pattern.fullmatch(said)
        if m is None or ("j" in flags and not _A_JOB.search(m["t"])):
            continue
        named = m.groupdict()
        if named.get("r"):
            relation = f"is {named['r'].lower()} to"
        if named.get("p"):
            relation = f"was born {named['p'].lower()}"
        tail = tail_of(m["t"])
        tails = (_several(tail) if relation == "works as" else []) or [tail]
        return [(relation, t, negated, "f" in flags) for t in tails if t]
    return []


def _used_to(said: str) -> list[Told]:
    """What was so and is no more: both are told."""
    now = canonical(said, False)
    if now and now[0][0] in _PAST_OF:
        relation, tail, *_ = now[0]
        return [(_PAST_OF[relation], tail, False, False), (relation, tail, True, False)]
    return [
        told
        for relation, tail, *_ in _generic(said, False)
        for told in (
            (f"used to {base(relation.split()[0])}{relation[len(relation.split()[0]):]}", tail, False, False),
            (relation, tail, True, False),
        )
    ]  # fmt: skip


def _stopped(rest: str) -> list[Told]:
    rest = re.sub(r"^(?:my|the) job (?:at|with) ", "working at ", rest, flags=re.I)
    rest = re.sub(r"^(?:my|the) job as ", "working as ", rest, flags=re.I)
    if m := re.match(r"(\w+ing)\b\s*(.*)$", rest, re.I):
        rest = f"{_infinitive(m[1].lower())} {m[2]}".strip()
    elif re.match(rf"{_PREPOSITION}\b|my\b|the\b|an?\b", rest, re.I):
        return []
    return canonical(rest, True) or _generic(rest, True)


_WITH_E = frozenset(
    [
        "smok",
        "driv",
        "writ",
        "danc",
        "bak",
        "liv",
        "mak",
        "tak",
        "rid",
        "hik",
        "bik",
        "us",
        "shar",
        "mov",
        "lov",
        "giv",
        "hav",
        "com",
        "cycl",
        "skat",
        "argu",
        "ador",
    ]
)


def _infinitive(ing: str) -> str:
    stem = ing[:-3]
    if len(stem) > 2 and stem[-1] == stem[-2] and stem[-1] not in "lsz":
        return stem[:-1]
    return stem + "e" if stem in _WITH_E else stem


def _plan(body: str, negated: bool) -> list[Told]:
    m = re.match(
        r"(?:going|planning|about|hoping|thinking)\s+(?:on|to|of|about)?\s*(?P<rest>\w.*)$",
        body,
        re.I,
    )
    if m is None:
        return []
    rest = m["rest"]
    if body.lower().startswith("going to") and not re.match(r"(?:the|an?|my|our)\b|[A-Z]", rest):
        return _generic(f"plans to {rest}", negated)
    if body.lower().startswith("going"):
        return _generic(f"is {body}", negated)
    to = "to " if re.match(r"\w+\s+to\b", body) else ""
    verb = {"about": "is about", "thinking": "thinks", "hoping": "hopes", "planning": "plans"}
    first = body.split()[0].lower()
    preposition = "" if to else (body.split()[1] + " " if len(body.split()) > 2 else "")
    return _generic(
        f"{verb.get(first, 'plans')} {to}{preposition}{rest}".replace("  ", " "), negated
    )


_VERB = re.compile(
    rf"^(?P<verb>(?:(?:will|would|can|could|should|may|might|must|shall|plans|hopes|thinks|is|am|are|"
    rf"was|were|(?:has|have|had)(?=\s+{_ADVERB}(?:been|done|gone|{_PAST_WORDS}|\w+ed|\w+en)\b))\s+(?:to\s+|not\s+)?(?:be(?:en)?\s+|have\s+)?{_ADVERB})?"
    rf"(?P<main>[A-Za-z'-]+)(?:\s+to\s+(?!(?:an?|the|my|our|your|his|her|their|some|this|that)\b)(?-i:[a-z]+)(?:\s+{_PREPOSITION}\b)?|\s+{_PREPOSITION}(?:\s+(?:to|of|with|for)\b)?)?)"
    r"\s+(?P<tail>\S.*)$",
    re.I,
)
_BARE = {
    "think", "guess", "know", "mean", "bet", "agree", "hope", "wish", "say", "said", "see", "get it",
    "hear", "thought", "wonder", "understand", "appreciate", "believe", "promise", "suppose",
}  # fmt: skip
_COPULA = re.compile(r"^(?P<be>am|is|are|was|were)\s+(?P<tail>.+)$", re.I)


def _generic(said: str, negated: bool) -> list[Told]:
    said = said.strip()
    if m := _COPULA.match(said):
        tail = m["tail"]
        be = "was" if m["be"].lower() in ("was", "were") else "is"
        if p := re.match(rf"(?P<a>[\w'-]+)\s+(?P<p>{_PREPOSITION})\s+(?P<tail>.+)$", tail, re.I):
            relation, tail = f"{be} {p['a']} {p['p']}", p["tail"]
            if p["a"].lower() in ("a", "an", "the", "my", "our"):
                relation, tail = be, m["tail"]
        else:
            relation = be
        tail = tail_of(tail)
        if not tail or len(words(tail)) < 1:
            return []
        if relation == "is" and re.match(
            r"(?:glad|happy|sorry|sure|excited|here|good|great|fine|okay|ok|so|looking|feeling|proud)\b",
            tail, re.I,
        ):  # fmt: skip
            return []
        return [(relation.lower(), tail, negated, False)]
    m = _VERB.match(said)
    if m is None:
        return []
    main = m["main"].lower()
    if main in _BARE or (
        main in AUXILIARIES and main not in ("have", "has", "had", "do", "did", "does")
    ):
        return []
    relation = _third(m["verb"])
    tail = tail_of(m["tail"])
    if not tail or not words(tail):
        return []
    if _LISTED.match(relation) and (several := _several(tail)):
        return [(relation, t, negated, False) for t in several]
    return [(relation, tail, negated, False)]


_LISTED = re.compile(r"^(?:likes|loves|enjoys|hates|plays|speaks|owns|is allergic to)$")


def _several(tail: str) -> list[str]:
    """The members of a short list; empty if it is none."""
    parts = [p.strip() for p in re.split(r",\s*(?:and\s+)?|\s+and\s+", tail) if p.strip()]
    return parts if len(parts) > 1 and all(len(p.split()) <= 3 for p in parts) else []


def _third(verb: str) -> str:
    """A verb phrase after "I" as after a name."""
    first, _, rest = verb.strip().partition(" ")
    low = first.lower()
    if low in _PRESENT:
        low = _PRESENT[low]
    elif low in UNREAL or low in PAST or low in ("is", "has", "plans", "hopes", "thinks", "had"):
        pass
    elif low.endswith(("ed", "ing")) or (low.endswith("s") and not low.endswith("ss")):
        if low.endswith("ing"):
            low = f"is {low}"
    elif low.endswith(("ch", "sh", "ss", "x", "o", "zz")):
        low += "es"
    elif re.search(r"[^aeiou]y$", low):
        low = low[:-1] + "ies"
    else:
        low += "s"
    return f"{low} {rest.lower()}".strip()


_END = re.compile(
    r"\s*(?:,\s|\s(?:because|so that|which|who|whom|when|while|where|if|unless|although|though|but|"
    r"and (?=it\b|I\b|we\b|they\b|he\b|she\b|that\b|then\b|now\b|am\b|is\b|was\b|"
    r"have\b|had\b|\w+ed\b)|so (?=I\b|it\b|we\b)|just|too\b|as well\b|anymore|these days)|[;:()—!?]|\s[-–]\s)"
)


def tail_of(text: str) -> str:
    text = text.strip()
    parts = _END.split(text, maxsplit=1)
    listed = re.match(r"^[\w' -]{2,40}(?:, [\w' -]{2,40})+,? (?:and|or) [\w' -]{2,40}$", text)
    out = text if listed else parts[0]
    out = re.sub(
        rf"\s+(?:and|or|the|an?|my|{_PREPOSITION}|with)$", "", out.strip(" .,!"), flags=re.I
    )
    out = _FILLER.sub("", " ".join(out.split()[:16]).strip(" ,.!\"'"))
    return out.strip(" ,.!\"'")


_FILLER = re.compile(
    r"(?:\s+(?:now|too|again|yet|already|right now|so much|very much|a lot|lately|recently|"
    r"though|anyway|for (?:about |over |almost |nearly )?(?:a|an|\w+|\d+)(?: few)? (?:years?|months?|weeks?|days?)"
    r"(?: now)?))+$",
    re.I,
)
