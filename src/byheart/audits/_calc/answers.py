"""Finding the answer in what a model wrote, and marking it: the authors' way, and a lenient one.

The authors take one answer (a fixed order of places, the last number if there is none), normalise it
as text, and ask sympy where texts differ. byheart executes nothing that a model wrote: numbers are
compared exactly as fractions, and what is no number as normalised text. So ``x+1`` is not ``1+x`` here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from byheart.audits._calc.numbers import exact_number

__all__ = ["Marked", "boxed", "extract", "gold_of", "grade", "lenient", "normalise", "strict"]

_READ = 40_000
"""Of an endless answer so many characters from the end are read."""
_NUMBER = re.compile(r"-?\d*\.?\d+")
_MINERVA = ("final answer is $", "$. I hope")
_LINES = re.compile(r"\n\s*")


@dataclass(frozen=True, slots=True)
class Marked:
    """What a scorer made of an answer.

    Attributes:
        right: Whether it is right.
        answer: What was taken for the answer; empty if nothing was.
        reason: Why it is wrong, in a word: ``no_answer``, ``wrong``; empty if it is right.
    """

    right: bool
    answer: str
    reason: str


def boxed(text: str) -> str | None:
    """What stands in the last ``boxed{...}``, braces matched; None where there is none.

    Of a box that never closes (the answer was cut off) it is what is there, as in the authors' code.

    >>> boxed(r"so \\boxed{\\frac{1}{2}} it is"), boxed(r"so \\boxed{12")
    ('\\\\frac{1}{2}', '12')
    """
    at = text.rfind("boxed")
    if at < 0:
        return None
    rest = text[at + 5 :]
    if not rest.startswith("{"):
        return rest.split("$")[0].strip() or None
    depth = 0
    for i, c in enumerate(rest):
        depth += (c == "{") - (c == "}")
        if not depth:
            return rest[1:i].strip()
    return rest[1:].strip()


def extract(text: str) -> str | None:
    """One answer, looked for as the authors do; None if there is not even a number.

    Places, in this order: Minerva's phrase ("final answer is $...$. I hope"), the last ``boxed``, what
    follows "he answer is" or "final answer is", the last number.

    >>> extract(r"It is \\boxed{12}, not 13"), extract("So the answer is 7."), extract("5 or 6")
    ('12', '7', '6')
    """
    text = text[-_READ:]
    if all(part in text for part in _MINERVA):
        found: str | None = text.split(_MINERVA[0], 1)[1].split(_MINERVA[1], 1)[0].strip()
    elif "boxed" in text:
        found = boxed(text)
    elif "he answer is" in text:
        found = text.split("he answer is")[-1].strip()
    elif "final answer is" in text:
        found = text.split("final answer is")[-1].strip()
    elif "\u7b54\u6848\u662f" in text:
        found = text.split("\u7b54\u6848\u662f")[1].strip().split("\n\n")[0].strip()
    else:
        numbers = _NUMBER.findall(text.replace(",", ""))
        return numbers[-1] if numbers else None
    if not found:
        return None
    found = _LINES.sub("", found)  # lines are joined: what follows the answer spoils it
    return found.removeprefix(":").removesuffix(".").removesuffix("/").strip() or None


def gold_of(answer: str) -> str:
    """The key of a benchmark's answer: what follows ``####`` (GSM8K), or stands in ``boxed``, or all.

    >>> gold_of("9 * 2 = <<9*2=18>>18 a day.\\n#### 18"), gold_of(r"so $\\boxed{\\pi}$"), gold_of(" 42 ")
    ('18', '\\\\pi', '42')
    """
    if "####" in answer:
        return answer.rsplit("####", 1)[1].strip()
    inside = boxed(answer) if "boxed{" in answer else None
    return inside if inside else answer.strip()


_UNITS = re.compile(
    r"(?<![a-z])(?:degree|centimeter|meter|mile|second|minute|hour|day|week|month|year|foot|feet|inch|yard|cm)"
    r"(?:es)?s? *(?:\^[0-9]+)?"
)
_TEXT = re.compile(r"^\\text\{(.+?)\}$")


_SHORT = re.compile(r"\\frac\s*(\d)\s*(\d)")
_SIMPLE = re.compile(r"\\frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}")


def _fractions(text: str) -> str:
    """``\\frac{a}{b}`` as ``a/b``, from the inside, with brackets where a part is no single one."""
    text = _SHORT.sub(r"\1/\2", text)
    while True:
        new = _SIMPLE.sub(
            lambda m: "/".join(f"({p})" if re.search(r"\W", p.strip()) else p for p in m.groups()),
            text,
        )
        if new == text:
            return new
        text = new


def normalise(answer: str) -> str:
    """An answer as text, without what does not matter: signs of money, blanks, units, LaTeX spacing.

    >>> normalise(r"\\text{ Monday }"), normalise(r"\\dfrac{1}{2}\\ \\text{cm}")
    ('monday', '1/2')
    """
    text = answer.strip()
    found = _TEXT.match(text)
    text = found[1] if found else text
    text = text.replace("\\left", "").replace("\\right", "").replace("\\!", "").replace("\\$", "")
    text = text.replace("\\%", "").replace("\\ ", "").replace("\\,", "").replace("^\\circ", "")
    text = _fractions(text.replace("dfrac", "frac").replace("tfrac", "frac"))
    text = re.sub(r"\\(?:text|mathrm|mathbf)\b", "", text)
    text = _UNITS.sub("", text)
    text = re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", text)
    return re.sub(r"[\s$%{}\\]", "", text).lower().rstrip(".")


def _equal(given: Fraction, wanted: Fraction) -> bool:
    """Equal, or equal as far as the key is told: a key of 15 digits is a rounded number."""
    return given == wanted or abs(given - wanted) <= abs(wanted) * Fraction(1, 10**9)


def grade(given: str | None, gold: str) -> bool:
    """Whether an answer is the key: the same number (to 1e-9 of it), or the same normalised text.

    >>> grade("18.0", "18"), grade("1/2", r"\\frac{1}{2}"), grade("18 eggs", "18"), grade(None, "1")
    (True, True, False, False)
    """
    if given is None or not given.strip():
        return False
    if normalise(given) == normalise(gold):
        return True
    a, b = exact_number(given), exact_number(gold)
    return a is not None and b is not None and _equal(a, b)


def strict(text: str, gold: str) -> Marked:
    """The authors' marking: one extracted answer, graded.

    >>> strict("She makes 9 * 2 = 18", "18").right, strict("18 it is, on each of 7 days", "18").answer
    (True, '7')
    """
    found = extract(text)
    if found is None:
        return Marked(False, "", "no_answer")
    right = grade(found, gold)
    return Marked(right, found[:200], "" if right else "wrong")


_ANY = re.compile(r"(?<![\w.])-?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:[eE][-+]?\d+)?(?![\w])")


def lenient(text: str, gold: str) -> Marked:
    """Does the text contain the right answer anywhere? What the paper's text says it measures.

    A number counts as such only where it stands alone: 18 is not in 180, nor in 3.18. A key that is
    no number is looked for as normalised text (3 characters or more), a shorter one as a word.

    >>> lenient("18 it is, on each of 7 days", "18").right, lenient("in 1800", "18").right
    (True, False)
    """
    marked = strict(text, gold)
    if marked.right:
        return marked
    text = text[-_READ:]
    wanted = exact_number(gold)
    if wanted is not None:
        for found in _ANY.finditer(text):
            value = exact_number(found.group())
            if value is not None and _equal(value, wanted):
                return Marked(True, found.group(), "")
        return marked
    key = normalise(gold)
    if len(key) >= 3 and key in normalise(text):
        return Marked(True, gold, "")
    if key and len(key) < 3 and re.search(rf"(?<!\w){re.escape(key)}(?!\w)", text.lower()):
        return Marked(True, gold, "")
    return marked
