"""Which label a model chose: from the probabilities of the labels, or from what it wrote."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

__all__ = ["VARIANTS", "Choice", "debiased", "from_logprobs", "lenient_answer", "strict_answer"]

VARIANTS = ("{}", " {}")
"""How a label may be written, the authors' first choice first."""


@dataclass(frozen=True)
class Choice:
    """What a model chose in one order of presentation.

    Attributes:
        strict: ``"A"``, ``"B"``, or empty: as the authors read it.
        lenient: The same, as byheart reads it; empty where nothing was chosen.
        margin: log P(A) - log P(B); None where only an answer is known.
    """

    strict: str
    lenient: str
    margin: float | None = None


def from_logprobs(a: list[float], b: list[float]) -> Choice:
    """The choice from log-probabilities of the labels, one a variant of `VARIANTS`.

    Strict: the first variant alone counts, and a tie is an A. Lenient: all ways to write a label
    count together, margin = log(sum exp a) - log(sum exp b), and a tie is no choice.

    >>> choice = from_logprobs([-5.0, -0.2], [-4.0, -3.0])  # "A" and " A", "B" and " B"
    >>> choice.strict, choice.lenient, round(choice.margin, 2)
    ('B', 'A', 2.49)
    """
    margin = _log_sum(a) - _log_sum(b)
    return Choice("A" if a[0] >= b[0] else "B", "A" if margin > 0 else "B" if margin < 0 else "",
                  margin)  # fmt: skip


def _log_sum(values: list[float]) -> float:
    top = max(values)
    return top + math.log(sum(math.exp(v - top) for v in values)) if top > -math.inf else -1e9


def strict_answer(text: str) -> str:
    """The authors' reading of a text: the label that occurs, if the other does not occur at all.

    (The A of "Answer" is one: "Answer: B" has no answer.)

    >>> [strict_answer(t) for t in ("B", "Segment A", "A or B?", "Answer: B", "b")]
    ['B', 'A', '', '', '']
    """
    a, b = "A" in text, "B" in text
    return ("A" if a else "B") if a != b else ""


_THOUGHT = re.compile(r"^.*</think>", re.S)
_BARE = re.compile(r"\W*(?:(?:segment|option|answer)\W+)?([ab])\W*", re.I)
_SAID = re.compile(
    r"(?:answer|choice|choose|pick|option)\b(?:\s+(?:is|was|be|would|should))*[\s:*\"'(=]*"
    r"(?:segment\s*)?[*\"'(]*([AB])\b(?![a-z'])",
    re.I,
)
_VERB = (
    r"(?:likely|probably|appears?|appeared|comes?|came|occurs?|occurred|happens?|happened|stands?|"
    r"stood|is|was|must|should|would|have|be)"
)
_ORDER = re.compile(
    rf"\b([AB])\b[*\"')]*\s+(?:{_VERB}\s+){{1,4}}(?:the\s+)?(first|earlier|before|last|later|after)\b"
)
_NAMED = re.compile(r"\bsegment\s+[*\"'(]*([AB])\b", re.I)
_EARLY = frozenset(("first", "earlier", "before"))


def lenient_answer(text: str, task: str = "first") -> str:
    """The label that a text settles on, or empty where it settles on none.

    Thoughts in front of ``</think>`` do not count. In this order: the text is the label; the last
    "answer is ..." tells it; a sentence says which came first, last, before or after; or one segment
    alone is named, or the text begins with a label that is no article ("A segment ...").

    >>> [lenient_answer(t) for t in ("b.", "The answer is B", "**A**", "A segment", "B appeared before A")]
    ['B', 'B', 'A', '', 'B']
    >>> lenient_answer("Segment A came first.", task="last"), lenient_answer("A and B")
    ('B', '')
    """
    text = _THOUGHT.sub("", text).strip()
    bare = _BARE.fullmatch(text)
    if bare:
        return bare.group(1).upper()
    said = [m.group(1).upper() for m in _SAID.finditer(text) if m.group(1) in "AB"]
    if said:
        return said[-1]
    wants_first = task == "first"
    orders = {
        m.group(1) if (m.group(2) in _EARLY) == wants_first else "BA"["AB".index(m.group(1))]
        for m in _ORDER.finditer(text)
    }
    if len(orders) == 1:
        return orders.pop()
    named = {m.group(1).upper() for m in _NAMED.finditer(text) if m.group(1) in "AB"}
    if len(named) == 1 and not orders:
        return named.pop()
    begins = re.match(r"[\W_]*([AB])(?:[.:,)\"'*]|\s+(?![a-z]))", text)
    return begins.group(1) if begins and not orders and not named else ""


def debiased(straight: Choice, swapped: Choice, answer: str) -> float:
    """Whether the order is right once the liking for a label is taken out: 1, 0, or 0.5 for neither.

    Both orders of presentation are asked; `answer` is the right label of the straight one. With
    margins, half their difference, (m - m') / 2, is what of them goes with the segments and not with
    the labels: right if its sign is that of the answer. Without margins, each order counts half; a
    model that says the same label both times has said nothing, 0.5.

    >>> debiased(Choice("A", "A", 2.0), Choice("A", "A", 1.5), "A")  # says A, a little less swapped
    1.0
    >>> debiased(Choice("A", "A"), Choice("A", "A"), "A")
    0.5
    """
    if straight.margin is not None and swapped.margin is not None:
        slant = straight.margin - swapped.margin
        return 0.5 if slant == 0 else float((slant > 0) == (answer == "A"))
    other = "BA"["AB".index(answer)]
    return (float(straight.lenient == answer) + float(swapped.lenient == other)) / 2
