"""Fresh twins of questions: the same words with freshly drawn numbers; and invented questions.

A twin has as many characters as its original, so both are cut at the same place. Numbers keep their
digits, zeros at the end, commas, and about their size (half to double); equal numbers stay equal. Kept are 0, 1, 2 and numbers
that the world fixes (7 days, 60 minutes, 100 %), which a model that knows neither text would guess.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable

__all__ = ["invented", "new_digits", "redraw"]

_NUMBER = re.compile(r"(?<![A-Za-z_.\d])\d+(?:,\d{3})*(?:\.\d+)?(?!\d|st\b|nd\b|rd\b|th\b)")
_KEPT = frozenset(
    ["0", "1", "2", "7", "12", "24", "30", "31", "52", "60", "90", "100", "180", "360", "365", "1000", "1,000"]
)  # fmt: skip


def redraw(text: str, seed: int | str = 0) -> str | None:
    """The text with its numbers drawn anew; None if it has none that may change.

    >>> redraw("She lays 16 eggs in 7 days and sells 16 of 80,500.", seed=3)
    'She lays 27 eggs in 7 days and sells 27 of 68,600.'
    """
    rng = random.Random(f"byheart twin {seed} {text}")
    old = {m.group() for m in _NUMBER.finditer(text)}
    other: dict[str, str] = {}

    def swap(match: re.Match[str]) -> str:
        number = match.group()
        if number not in _KEPT and number not in other:
            for attempt in range(400):
                drawn = _like(number, rng)
                if drawn in old or drawn in other.values() or drawn in _KEPT:
                    continue
                if attempt >= 200 or 0.5 <= _size(drawn) / max(_size(number), 1e-9) <= 2:
                    other[number] = drawn
                    break
        return other.get(number, number)

    changed = _NUMBER.sub(swap, text)
    return changed if other else None


def _size(number: str) -> float:
    return float(number.replace(",", ""))


def _like(number: str, rng: random.Random) -> str:
    """Another number of as many digits, with as many zeros at its end."""
    whole, point, part = number.partition(".")
    zeros = 0 if point else len(whole) - len(whole.rstrip("0,"))
    if len(whole) == 4 and whole[:2] in ("19", "20") and not point:  # a year stays in its century
        return whole[:2] + f"{rng.randrange(100):02d}"
    out = []
    for i, c in enumerate(whole):
        if c == "," or i >= len(whole) - zeros:
            out.append(c)
        else:
            low = 3 if len(whole) == 1 and not point else 1 if i == 0 else 0
            last = i == len(whole) - zeros - 1 or (
                whole[i + 1] == "," and i + 2 > len(whole) - zeros
            )
            out.append(str(rng.randint(max(low, 1) if last else low, 9)))
    return "".join(out) + point + "".join(str(rng.randint(0, 9)) for _ in part)


def new_digits(text: str, shown: str, twin: str) -> int:
    """Digits of the tail's numbers that are drawn anew in the twin and not told in the part shown.

    How much a model would have to guess that knows neither text; zeros at an end do not count.
    """
    at = len(shown)
    told = set(_NUMBER.findall(shown))
    count = 0
    for match in _NUMBER.finditer(text):
        number = match.group()
        if match.start() >= at and number not in told:
            if twin[match.start() : match.end()] != number:
                count += len(re.sub(r"[,.]", "", number).rstrip("0"))
            told.add(number)
    return count


_HEADS = [
    "Bar",
    "Cal",
    "Dor",
    "El",
    "Fen",
    "Gal",
    "Hol",
    "Il",
    "Jor",
    "Kel",
    "Lor",
    "Mar",
    "Nor",
    "Or",
    "Pel",
    "Quin",
    "Ros",
    "Sel",
    "Tor",
    "Ul",
    "Ven",
    "Wil",
    "Yar",
    "Zel",
]
_MIDDLES = ["a", "an", "ar", "e", "el", "en", "i", "im", "in", "o", "ol", "om", "on", "u", "un"]
_ENDS = [
    "bert",
    "dric",
    "fric",
    "gar",
    "lin",
    "mond",
    "nora",
    "rick",
    "sa",
    "stan",
    "tha",
    "tine",
    "va",
    "wen",
    "win",
]
_THINGS = [
    "ber",
    "bel",
    "bram",
    "cor",
    "dap",
    "fim",
    "gor",
    "hal",
    "jun",
    "kip",
    "lam",
    "mab",
    "nil",
    "pom",
    "quil",
    "rab",
    "sor",
    "tam",
    "vel",
    "wim",
]
_MAKES = [
    "bins",
    "dles",
    "flets",
    "kins",
    "lets",
    "lings",
    "lops",
    "mits",
    "nels",
    "pods",
    "ples",
    "ricks",
    "ters",
    "tons",
    "wings",
]

Sentences = tuple[str, Callable[..., int]]
_FORMS: tuple[Sentences, ...] = (
    (
        "In the town of {town}, {name} fills {a} crates with {b} {thing} each. A storm at {town} spoils "
        "{c} of the {thing}, and {name} buys {d} more {thing} from {friend}. Then {friend} pays {e} coins "
        "for every one of the {thing}. How many coins does {name} get from {friend} if {f} {thing} stay "
        "in {town}?",
        lambda a, b, c, d, e, f: (a * b - c + d - f) * e,
    ),
    (
        "{name} walks {a} miles a week to {town} for {b} weeks, and {friend} walks {c} miles a week for {d} "
        "weeks. Each mile to {town} wears out {e} {thing}. How many {thing} do {name} and {friend} wear "
        "out if {name} finds {f} {thing} again near {town}?",
        lambda a, b, c, d, e, f: (a * b + c * d) * e - f,
    ),
    (
        "A ship to {town} carries {a} boxes of {thing} and {b} barrels of {thing}. {name} counts {c} {thing} in "
        "each box, while {friend} counts {d} {thing} in each barrel. After {friend} gives {e} {thing} to the "
        "harbour of {town}, {name} packs the other {thing} into bags of {f}. How many {thing} had "
        "{name} and {friend} before {town}?",
        lambda a, b, c, d, e, f: a * c + b * d,
    ),
    (
        "{friend} owes {name} {a} {thing} for every day at {town}, and stays {b} days. {name} also lends "
        "{friend} {c} {thing} on each of {d} evenings. At the gate of {town}, {friend} hands back {e} {thing}, "
        "and {name} forgives {f} {thing}. How many {thing} does {friend} still owe {name}?",
        lambda a, b, c, d, e, f: a * b + c * d - e - f,
    ),
)  # fmt: skip


def invented(index: int, seed: int = 0, version: int = 0) -> tuple[str, str]:
    """An invented question and its answer.

    Names and words depend on `seed` and `index` only, numbers also on `version`: versions are
    siblings, none likelier than the other.

    >>> invented(0)[0] == invented(0)[0], len(invented(0)[0]) == len(invented(0, version=1)[0])
    (True, True)
    """
    words = random.Random(f"byheart question {seed} {index}")
    form, solve = _FORMS[words.randrange(len(_FORMS))]
    names = {
        k: words.choice(_HEADS) + words.choice(_MIDDLES) + words.choice(_ENDS)
        for k in ("name", "friend", "town")
    }
    thing = words.choice(_THINGS) + words.choice(_MIDDLES) + words.choice(_MAKES)
    digits = random.Random(f"byheart numbers {seed} {index} {version}")
    numbers: dict[str, int] = {}
    for k in "abcdef":
        while numbers.setdefault(k, digits.randint(101, 999)) in [
            v for j, v in numbers.items() if j != k
        ]:
            del numbers[k]
    return form.format(**names, thing=thing, **numbers), str(solve(**numbers))
