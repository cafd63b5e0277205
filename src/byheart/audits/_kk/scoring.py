"""Is an answer right? The authors' scorer, and one that also reads other formats.

The strict scorer is the published one, its faults included: it looks for the exact words "NAME is a
ROLE", the letters "if" anywhere in the conclusion make an answer wrong ("different", "verify"), and
one that gives a person both roles passes. The lenient one asks which role the answer finally gives
each person, however it is written down.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from byheart.audits._kk.wording import Rendered
from byheart.core.errors import UsageError

__all__ = ["Marked", "lenient", "strict"]

_MARKERS = ("CONCLUSION:", "Conclusion:", "conclusion:")
_ENDS = ("### Reason", "Let's think step by step again", "let's go back and check", "###")
_READ = 20_000
"""Of an endless answer the lenient scorer reads so many characters from the end."""


@dataclass(frozen=True, slots=True)
class Marked:
    """What a scorer made of an answer.

    Attributes:
        right: Whether every role is right.
        ratio: Share of the roles found right.
        reason: Why it is wrong, in a few words; empty if it is right.
        parsed: What was judged.
        said: Lenient only: the role word given to each person, empty where none or both.
    """

    right: bool
    ratio: float
    reason: str
    parsed: str
    said: tuple[str, ...] = ()


def _gold(gold: Rendered | Sequence[str]) -> tuple[str, ...]:
    lines = gold.gold if isinstance(gold, Rendered) else tuple(gold)
    if isinstance(gold, str) or len(lines) < 2:
        raise UsageError("gold is a Rendered puzzle, or its lines 'NAME is a ROLE', 2 or more")
    return lines


def strict(answer: str, gold: Rendered | Sequence[str], *, boxed: bool = False) -> Marked:
    """The authors' scorer.

    Args:
        answer: What the model said.
        gold: The rendered puzzle, or its lines ``NAME is a ROLE``.
        boxed: Look for ``boxed{`` before ``CONCLUSION:`` (two mathematical models).

    Returns:
        With reason ``no_conclusion_matched``, ``beyond_list``, ``contain_if`` or
        ``wrong_identity``, as in the authors' code.

    >>> gold = ("Ava is a knight", "Noah is a knave")
    >>> strict("CONCLUSION: (1) Ava is a knight (2) Noah is a knave", gold).right
    True
    >>> strict("CONCLUSION: Ava: Knight. Noah: Knave.", gold).reason
    'wrong_identity'
    """
    lines = _gold(gold)
    text = answer.split("### Question")[0]
    for marker in ("boxed{", *_MARKERS) if boxed else _MARKERS:
        parts = text.split(marker)
        if len(parts) > 1 and parts[1]:
            return _judge(parts[1], lines, parts[1])
    if all(f"({i})" in text for i in range(1, len(lines) + 1)):
        return _judge(text, lines, text)
    return Marked(False, 0.0, "no_conclusion_matched", text)


def _judge(block: str, lines: tuple[str, ...], shown: str) -> Marked:
    for end in _ENDS:
        block = block.split(end)[0]
    if f"({len(lines) + 1})" in block:
        return Marked(False, 0.0, "beyond_list", shown)
    if "if" in block:
        return Marked(False, 0.0, "contain_if", shown)
    found = sum(line in block for line in lines)
    right = found == len(lines)
    return Marked(right, found / len(lines), "" if right else "wrong_identity", shown)


def lenient(answer: str, gold: Rendered | Sequence[str]) -> Marked:
    """Which role does the answer finally give each person?

    It reads from the last mark of a conclusion (or ``boxed{``) until everybody has a role, or else
    the last lines that name everybody, or the first ones, if nothing after them says otherwise:
    "Zoey is a knave", "Zoey: Knave", "Zoey - the knave", "knaves: Zoey, Noah", "Zoey isn't a knight",
    after a mark also "(1) knave (2) knight", in any case, with markdown, TeX, JSON or a table around
    it. Sentences with "if" give nobody a role. A person who is given both roles is not answered.

    Args:
        answer: What the model said; of an endless one the last 20,000 characters are read.
        gold: The rendered puzzle, or its lines ``NAME is a ROLE``.

    Returns:
        With reason ``no_answer``, ``incomplete``, ``contradictory`` or ``wrong_identity``.

    >>> gold = ("Ava is a knight", "Noah is a knave")
    >>> lenient("**Conclusion**: Ava -> Knight; Noah: *Knave*. I verified it.", gold).right
    True
    >>> lenient("If Ava is a knight then Noah is a knave, so I do not know.", gold).reason
    'no_answer'
    """
    lines = _gold(gold)
    want = dict(line.rsplit(" is ", 1) for line in lines)
    roles = _role_words(list(want.values()))
    text = _plain(answer.split("### Question")[0][-_READ:])
    block, told = _final(text, list(want), roles)
    said = tuple(next(iter(told[n])) if len(told.get(n, ())) == 1 else "" for n in want)
    if not told:
        return Marked(False, 0.0, "no_answer", block, said)
    right = sum(a == b.casefold().split()[-1] for a, b in zip(said, want.values(), strict=True))
    reason = ""
    if right < len(want):
        both = any(len(told.get(name, ())) > 1 for name in want)
        missing = any(name not in told for name in want)
        reason = "contradictory" if both else "incomplete" if missing else "wrong_identity"
    return Marked(not reason, right / len(want), reason, block, said)


_NOUNS = (
    ("knight", "knave"), ("pioneer", "laggard"), ("saint", "sinner"), ("hero", "villain"),
    ("angel", "devil"), ("altruist", "egoist"), ("sage", "fool"),
)  # fmt: skip


def _role_words(golds: Sequence[str]) -> tuple[str, ...]:
    """Both role words of the puzzle, from the roles that occur in its answer."""
    used = {g.casefold().split()[-1] for g in golds}
    for pair in _NOUNS:
        if used <= set(pair):
            return pair
    return tuple(sorted(used))


_MARKUP = re.compile(r"\\(?:text|mathrm|mathbf|textbf)\b|\\[,;! ]|[*_`$#>{}\\|\"“”]")
_NEGATED = re.compile(r"(?<=\w)n['’]t\b")
_SPACES = re.compile(r"[^\S\n]+")
_CONCLUSION = re.compile(r"conclusion\s*:|final answer\s*:|boxed\b", re.I)


def _plain(text: str) -> str:
    return _SPACES.sub(" ", _MARKUP.sub(" ", _NEGATED.sub(" not", text)))


def _final(
    text: str, names: Sequence[str], roles: Sequence[str]
) -> tuple[str, dict[str, set[str]]]:
    """The block that concludes, and the roles it gives, by name."""
    best: tuple[str, dict[str, set[str]]] = (text[-500:], {})
    for mark in list(_CONCLUSION.finditer(text))[: -_MARKS - 1 : -1]:
        block, told = _until_complete(text[mark.end() :], names, roles)
        told = told or _numbered(text[mark.end() :], names, roles)
        if len(told) == len(names):
            return block, told
        if len(told) > len(best[1]):
            best = block, told
    if best[1]:
        return best
    # without a mark: the last lines of the answer, as few as name everybody
    rows = [row for row in text.split("\n") if row.strip()]
    for start in range(len(rows) - 1, max(-1, len(rows) - 3 * len(names) - 8), -1):
        block = "\n".join(rows[start:])
        if all(name.casefold() in block.casefold() for name in names):
            told = _told(block, names, roles)
            if len(told) == len(names) and not _REASONING.search(block):
                return block, told
            break
    return _opening(text, names, roles) or best


def _numbered(block: str, names: Sequence[str], roles: Sequence[str]) -> dict[str, set[str]]:
    """Roles by number, "(1) knight (2) a knave": the prompt numbers the people, and no names."""
    role = "|".join(map(re.escape, roles))
    entry = rf"[ ]?[:.]?[ ]?(?:an?[ ]|the[ ])?({role})\b(?![ ]?(?:or\b|/))"
    listed = r"[\s,;.]*".join(rf"\({i}\){entry}" for i in range(1, len(names) + 1))
    found = re.match(rf"\s*{listed}(?![\s,;.]*\({len(names) + 1}\))", block, re.I)
    if not found:
        return {}
    return {n: {g.casefold()} for n, g in zip(names, found.groups(), strict=True)}


def _opening(
    text: str, names: Sequence[str], roles: Sequence[str]
) -> tuple[str, dict[str, set[str]]] | None:
    """An answer that comes first and is explained afterwards: its first sentences, as few as name
    everybody, unless they only suppose or report, or a later one gives somebody another role."""
    block = ""
    pieces = re.split(r"(?<=[.;\n])", text)
    for i, piece in enumerate(pieces):
        block += piece
        if i > 2 * len(names) + 4 or _REASONING.search(piece) or _REPORT.search(piece):
            return None
        told = _told(block, names, roles)
        if len(told) == len(names):
            later = _told("".join(pieces[i + 1 :]), names, roles)
            again = any(given - told[name] for name, given in later.items())
            return None if again else (block, told)
    return None


def _until_complete(
    block: str, names: Sequence[str], roles: Sequence[str]
) -> tuple[str, dict[str, set[str]]]:
    """Read line by line until everybody has a role: what explains it after that is not judged."""
    told: dict[str, set[str]] = {}
    rows = block.split("\n")
    for i, row in enumerate(rows):
        for name, given in _told(row, names, roles).items():
            told.setdefault(name, set()).update(given)
        if len(told) == len(names):
            return "\n".join(rows[: i + 1]), told
    return block, told


_REASONING = re.compile(r"\b(?:if|suppose|assum\w+|would|could|cannot)\b", re.I)
_REPORT = re.compile(
    r"\b(?:sa(?:id|ys?|ying)|t(?:old|ells?)|stat(?:e|es|ed|ement)|according|words|remark\w*|declar\w*|"
    r"express\w*|put|assert\w*|mention\w*|comment\w*|not(?:es|ed)|claim\w*)\b",
    re.I,
)
"""A sentence that repeats what somebody said is no answer."""

_CONDITIONAL = re.compile(r"\b(?:if|suppose|assum(?:e|ing))\b", re.I)
"""A sentence that says what would follow gives nobody a role."""

_MARKS = 8
"""So many marks of a conclusion are looked at, from the last: an endless answer has thousands."""


def _told(block: str, names: Sequence[str], roles: Sequence[str]) -> dict[str, set[str]]:
    out: dict[str, set[str]] = {}
    name = "|".join(sorted(map(re.escape, names), key=len, reverse=True))
    role = "|".join(map(re.escape, roles))
    by_case = {n.casefold(): n for n in names}
    sentences = re.split(r"([.;\n])", block)
    block = "".join("" if _CONDITIONAL.search(s) else s for s in sentences)
    single = re.compile(
        rf"\b(?P<name>{name})\b[ ]?(?:is|was|are|must be|has to be|=+>?|-+>?|[:→–—,(])?"
        rf"(?:[ ](?:also|therefore|indeed|thus|definitely|clearly|certainly|actually|really))?[ ]?(?P<not>not[ ])?(?:an?[ ]|the[ ])?"
        rf"(?P<role>{role})(?:s(?=[ ]?[)]))?\b(?P<both>[ ]?(?:or|/)[ ]?(?:an?[ ])?(?:{role})\b)?",
        re.I,
    )
    for found in single.finditer(block):
        given = found["role"].casefold()
        if found["not"]:
            given = next((r for r in roles if r != given), given)
        given_all = set(roles) if found["both"] else {given}
        out.setdefault(by_case[found["name"].casefold()], set()).update(given_all)
    several = rf"(?P<names>(?:{name})\b(?:(?:[ ]?,[ ]?and|[ ]?,|[ ]and|[ ]?&)[ ]?(?:{name})\b){{0,{len(names)}}})"
    after = re.compile(rf"\b(?P<role>{role})(?:s|\(s\))?[ ]?(?:are|is|=|:)[ ]?{several}", re.I)
    before = re.compile(
        rf"\b{several}[ ]?(?:are|were)[ ](?:all[ ]|both[ ])?(?P<role>{role})s\b", re.I
    )
    for found in before.finditer(block):
        for n in re.findall(rf"\b(?:{name})\b", found["names"], re.I):
            out.setdefault(by_case[n.casefold()], set()).add(found["role"].casefold())
    for found in after.finditer(block):
        for n in re.findall(rf"\b(?:{name})\b", found["names"], re.I):
            # "Ava is a knight: Noah is a knave" names a role of Ava, not of Noah
            if not re.match(r"[ ]?(?:is|:|=|-)", block[found.end() :]):
                out.setdefault(by_case[n.casefold()], set()).add(found["role"].casefold())
    return out
