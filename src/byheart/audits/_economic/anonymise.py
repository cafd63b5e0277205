"""Names, dates and numbers out of a text, typed placeholders in."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from byheart.core.errors import UsageError

__all__ = ["Anonymiser", "Masked"]

_M = (
    r"(?:Jan(?:uary)?|Feb(?:ruary)?|Mar(?:ch)?|Apr(?:il)?|May|June?|July?|Aug(?:ust)?|"
    r"Sep(?:t(?:ember)?)?|Oct(?:ober)?|Nov(?:ember)?|Dec(?:ember)?)\.?"
)
_YEAR = r"(?:1[89]|20)\d{2}"
_DATES = (
    rf"\b{_YEAR}-\d{{2}}(?:-\d{{2}})?\b",
    rf"\b\d{{1,2}}[/.]\d{{1,2}}[/.](?:{_YEAR}|\d{{2}})\b",
    rf"\b{_M}\s+\d{{1,2}}(?:st|nd|rd|th)?(?:,?\s+{_YEAR})?\b",
    rf"\b\d{{1,2}}(?:st|nd|rd|th)?\s+(?:of\s+)?{_M}(?:,?\s+{_YEAR})?\b",
    rf"\b{_M},?\s+{_YEAR}\b",
    rf"\b(?:the\s+)?(?:first|second|third|fourth)\s+(?:fiscal\s+)?quarter(?:\s+(?:of\s+)?(?:fiscal\s+)?{_YEAR})?\b",
    rf"\b(?:fiscal\s+)?[Qq][1-4](?:[\s,'’-]*(?:of\s+)?(?:FY)?\s?(?:{_YEAR}|\d{{2}}))?\b",
    rf"\b[1-4]Q\s?'?(?:{_YEAR}|\d{{2}})\b",
    rf"\b(?:fiscal(?:\s+year)?|FY)\s?'?(?:{_YEAR}|\d{{2}})\b",
    rf"\b{_YEAR}s?\b",
    r"\b(?:January|February|April|June|July|August|September|October|November|December)\b",
    r"\b(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day\b",
)
_NUMBERS = (
    r"(?<![\w\[])[-+−]?\s?(?:US)?[$€£¥]\s?\d[\d,]*(?:\.\d+)?(?:\s*(?:thousand|million|billion|trillion|bn|mn|[KMB]\b))?",
    r"(?<![\w\[])[-+−]?\d[\d,]*(?:\.\d+)?\s*(?:%|percent\b|percentage points?\b|basis points?\b|bps\b)",
    r"(?<![\w\[])[-+−]?\d[\d,]*(?:\.\d+)?(?:\s*(?:thousand|million|billion|trillion))?(?![\w\]])",
    r"\b(?:twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety)(?:-(?:one|two|three|four|five|six|seven|eight|nine))?\b",
)
_LEGAL = r"(?:Inc(?:orporated)?|Corp(?:oration)?|Ltd|Limited|PLC|plc|LLC|L\.P\.|N\.V\.|S\.A\.|AG|SE|GmbH|Co|Company|Holdings?|Group)"
_CAP = r"[A-Z][\w&'’-]*"
_COMPANIES = (
    rf"\b{_CAP}(?:\s+(?:&\s+)?{_CAP}){{0,3}},?\s+{_LEGAL}\b\.?",
    r"\(?\b(?:NYSE|NASDAQ|Nasdaq|LSE|AMEX)\s*:\s*[A-Z.]{1,6}\)?",
    r"\$[A-Z]{1,5}\b",
    r"\b[\w.-]+\.(?:com|net|org|io|co\.uk)\b",
)
_ROLE = (
    r"(?:Chief\s+\w+\s+Officer|CEO|CFO|COO|CTO|President|Chair(?:man|woman|person)?|Director|"
    r"Vice\s+President|Treasurer|Founder|Analyst)"
)
_PEOPLE = (
    rf"\b(?:Mr|Mrs|Ms|Dr|Prof|Sir)\.?\s+{_CAP}(?:\s+{_CAP})?",
    rf"\b{_CAP}\s+(?:[A-Z]\.\s+)?{_CAP}(?=,?\s+(?:the\s+|our\s+|its\s+)?{_ROLE}\b)",
    rf"(?<=CEO )\b{_CAP}\s+{_CAP}|(?<=CFO )\b{_CAP}\s+{_CAP}",
)


@dataclass(frozen=True)
class Masked:
    """An anonymised text.

    Attributes:
        text: With placeholders such as ``[COMPANY_1]``.
        mapping: Placeholder to what it stands for.
        residual: Capitalised words in mid-sentence that are still there: look at them, and give
            what names somebody to `Anonymiser`.
    """

    text: str
    mapping: dict[str, str]
    residual: tuple[str, ...] = ()


@dataclass(frozen=True)
class Anonymiser:
    """Replace companies, people, products, dates and numbers by typed placeholders.

    Deterministic: the lists given here, then patterns (legal forms, tickers, titles, roles, dates,
    quarters, money, percentages, numbers). The same thing gets the same placeholder throughout a
    text. Patterns miss bare names ("Apple"); the lists are for these. The authors' rules could not
    be read; these are ours.

    Args:
        companies: Names, or name to aliases (``{"Apple Inc.": ["Apple", "AAPL"]}``).
        people: Likewise.
        products: Likewise.
        dates: Mask dates.
        numbers: Mask numbers.

    >>> Anonymiser(products=["iPhone"]).mask("iPhone sales of Apple Inc. rose 5 % in Q3 2021.").text
    '[PRODUCT_1] sales of [COMPANY_1] rose [NUMBER_1] in [DATE_1].'
    """

    companies: Mapping[str, Iterable[str]] | Iterable[str] = ()
    people: Mapping[str, Iterable[str]] | Iterable[str] = ()
    products: Mapping[str, Iterable[str]] | Iterable[str] = ()
    dates: bool = True
    numbers: bool = True
    _lists: tuple[tuple[str, dict[str, str]], ...] = field(init=False, repr=False, default=())

    def __post_init__(self) -> None:
        lists = []
        for kind, given in (
            ("COMPANY", self.companies),
            ("PERSON", self.people),
            ("PRODUCT", self.products),
        ):
            if isinstance(given, str):
                raise UsageError(f"{kind.lower()} names are a list, got the string {given!r}")
            pairs = given.items() if isinstance(given, Mapping) else ((g, ()) for g in given)
            known: dict[str, str] = {}
            for name, aliases in pairs:
                for alias in (name, *aliases):
                    if not alias.strip():
                        raise UsageError(f"an empty {kind.lower()} name would match everywhere")
                    known[alias.lower()] = name
            lists.append((kind, known))
        object.__setattr__(self, "_lists", tuple(lists))

    def mask(self, text: str) -> Masked:
        """The text with placeholders, and what they stand for."""
        tags: dict[tuple[str, str], str] = {}

        def tag(kind: str, canonical: str) -> str:
            key = (kind, canonical.lower())
            if key not in tags:
                count = sum(k == kind for k, _ in tags) + 1
                tags[key] = f"[{kind}_{count}]"
                mapping[tags[key]] = canonical
            return tags[key]

        mapping: dict[str, str] = {}
        for kind, known in self._lists:
            if known:
                longest = sorted(known, key=len, reverse=True)
                pattern = r"(?<!\w)(?:" + "|".join(map(re.escape, longest)) + r")(?!\w)(?:'s|’s)?"
                text = re.sub(pattern, _tagger(tag, kind, known), text, flags=re.IGNORECASE)
        for kind, patterns, wanted in (
            ("COMPANY", _COMPANIES, True),
            ("PERSON", _PEOPLE, True),
            ("DATE", _DATES, self.dates),
            ("NUMBER", _NUMBERS, self.numbers),
        ):
            if wanted:
                for pattern in patterns:
                    text = _outside(text, pattern, kind, tag)
        return Masked(text, mapping, _residual(text))


def _tagger(
    tag: Callable[[str, str], str], kind: str, known: Mapping[str, str]
) -> Callable[[re.Match[str]], str]:
    def replace(match: re.Match[str]) -> str:
        found = re.sub(r"(?:'s|’s)$", "", match[0])
        tail = match[0][len(found) :]
        return tag(kind, known[found.lower()]) + tail

    return replace


_TAG = re.compile(r"(\[(?:COMPANY|PERSON|PRODUCT|DATE|NUMBER)_\d+\])")


def _outside(text: str, pattern: str, kind: str, tag: Callable[[str, str], str]) -> str:
    """Substitute everywhere but inside placeholders."""
    parts = _TAG.split(text)
    for i in range(0, len(parts), 2):
        parts[i] = re.sub(pattern, lambda m: _placed(m[0], kind, tag), parts[i])
    return "".join(parts)


def _placed(found: str, kind: str, tag: Callable[[str, str], str]) -> str:
    core = found.strip()
    lead = found[: len(found) - len(found.lstrip())]
    trail = found[len(found.rstrip()) :]
    return lead + tag(kind, core) + trail


_COMMON = {
    "I",
    "We",
    "The",
    "Our",
    "It",
    "This",
    "That",
    "In",
    "A",
    "And",
    "But",
    "For",
    "US",
    "U.S",
}


def _residual(text: str) -> tuple[str, ...]:
    plain = _TAG.sub(" ", text)
    found = re.findall(rf"(?<=[a-z,;] )({_CAP}(?:\s+{_CAP})*)", plain)
    return tuple(sorted({f for f in found if f not in _COMMON}))
