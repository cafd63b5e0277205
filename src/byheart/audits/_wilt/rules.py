"""The hidden rules: the four published splits, and rules of one's own.

Source: Banatt et al., "WILT: A Multi-Turn, Memorization-Robust Inductive Logic Benchmark for LLMs",
arXiv 2410.10998, and RiotGames/WILT (6344f04): what each rule is true of. Their traps are kept: ``%``
on floats (an odd number leaves a remainder, so 1.5 is odd), the product's parity asks for 1, bitwise
rules truncate, a square is ``int(|n| ** 0.5) ** 2``, a fractional part of a negative number wraps.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from byheart.audits._wilt.language import Function, parse
from byheart.core._json_lines import read_json_lines
from byheart.core.errors import DataError, OutputError, need

__all__ = [
    "RULES_BAYESIAN",
    "RULES_BAYESIAN_SINGLE",
    "RULES_FULL",
    "RULES_LITE",
    "TESTS",
    "Rule",
    "read_rules",
    "to_datasets",
    "to_jsonl",
]


@dataclass(frozen=True)
class Rule:
    """A hidden rule.

    Attributes:
        id: Unique in its set.
        text: An expression in x, y and z (in x alone if `arity` is 1), or a lambda.
        category: What kind of rule it is.
        level: ``easy``, ``medium``, ``very hard``, or empty.
        arity: How many numbers it takes.
        whole: Whether it is played with whole numbers from 1 to 100 (the bayesian splits).

    >>> RULES_FULL["2"](2, 4, 6), RULES_FULL["2"].source
    (True, 'lambda x, y, z: x < y < z')
    """

    id: str
    text: str
    category: str = ""
    level: str = ""
    arity: int = 3
    whole: bool = False

    @functools.cached_property
    def function(self) -> Function:
        """The rule, read.

        Raises:
            DataError: The text is no rule.
        """
        return parse(self.text, self.arity)

    def __call__(self, *numbers: float) -> Any:
        """The rule's answer."""
        return self.function(*numbers)

    @property
    def source(self) -> str:
        """As a Python lambda."""
        if self.text.lstrip().startswith("lambda"):
            return self.text
        return f"lambda {', '.join(self.function.params)}: {self.text}"

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return {"id": self.id, "rule": self.source, "category": self.category, "level": self.level,
                "arity": self.arity, "whole": self.whole}  # fmt: skip


def _all(condition: str, names: str = "x, y, z") -> str:
    return f"all({condition} for n in ({names}))"


_LITE = (
    ("order", "x > y > z"), ("order", "x < y < z"), ("order", "x >= y >= z"),
    ("order", "x <= y <= z"), ("equality", "x == y == z"),
    ("equality", "x != y and y != z and x != z"), ("sign", "x < 0 and y < 0 and z < 0"),
    ("arithmetic", "x + y == z"), ("arithmetic", "x * y == z"), ("peak", "x < y and y > z"),
)  # fmt: skip

_FULL = (
    *_LITE[:4],
    ("order", "x < z < y"), ("order", "x <= z <= y"), ("order", "z < x < y"),
    ("order", "z <= x <= y"), ("equality", "x == y == z"),
    ("equality", "x != y and y != z and x != z"), ("sign", "x < 0 and y < 0 and z < 0"),
    ("sign", "x > 0 and y > 0 and z > 0"),
    ("parity", "x % 2 == 0 and y % 2 == 0 and z % 2 == 0"),
    ("parity", "x % 2 != 0 and y % 2 != 0 and z % 2 != 0"),
    ("arithmetic", "x + y == z"), ("arithmetic", "x * y == z"), ("arithmetic", "x + z == y"),
    ("arithmetic", "x * z == y"), ("arithmetic", "y + z == x"), ("arithmetic", "y * z == x"),
    ("extreme", "max(x, y, z) == x"), ("extreme", "max(x, y, z) == y"),
    ("extreme", "max(x, y, z) == z"), ("extreme", "min(x, y, z) == x"),
    ("extreme", "min(x, y, z) == y"), ("extreme", "min(x, y, z) == z"),
    ("sum or product", "x + y + z == 0"), ("sum or product", "x * y * z == 0"),
    ("sum or product", "(x + y + z) % 2 == 0"), ("sum or product", "(x + y + z) % 2 == 1"),
    ("sum or product", "(x * y * z) % 2 == 0"), ("sum or product", "(x * y * z) % 2 == 1"),
    ("mean", "(x + y) / 2 == z"),
    *(
        ("range", f"{a} <= x <= {b} and {a} <= y <= {b} and {a} <= z <= {b}")
        for a, b in ((-5, 5), (-10, 10), (-5, 0), (0, 5), (-2, 2), (-20, 20))
    ),
    ("pythagoras", "x ** 2 + y ** 2 == z ** 2"), ("pythagoras", "x ** 2 + z ** 2 == y ** 2"),
    ("pythagoras", "y ** 2 + z ** 2 == x ** 2"),
    ("bitwise", "int(x) & int(y) == int(z)"), ("bitwise", "int(x) | int(y) == int(z)"),
    ("bitwise", "int(x) ^ int(y) == int(z)"),
    (
        "coprime",
        _all("n % 1 == 0")
        + " and all(math.gcd(int(a), int(b)) == 1 for a, b in ((x, y), (y, z), (z, x)))",
    ),
    ("squares", _all("int(abs(n) ** 0.5) ** 2 == n")),
    ("fraction", "x % 1 > 0 and y % 1 > 0 and z % 1 > 0"),
    ("fraction", "0 < x % 1 < y % 1 < z % 1 < 1"),
    ("span", "x < y < z and 0 < z - x <= 1"),
)  # fmt: skip

_MULTIPLES = (3, 4, 5, 15)
_RADII = (0, 1, 2, 4, 8, 16)
_CENTRES = (25, 50, 75)

_BAYESIAN = (
    ("parity", _all("n % 2 == 0")), ("parity", _all("n % 2 == 1")),
    *(("multiples", _all(f"n % {k} == 0")) for k in _MULTIPLES),
    *(("interval", _all(f"abs(n - {c}) <= {r}")) for r in _RADII for c in _CENTRES),
)  # fmt: skip
"""24 rules: the authors wrote 26, and two keys twice, so that squares and powers of 2 are lost."""

_SINGLE = (
    ("parity", "x % 2 == 0"), ("parity", "x % 2 == 1"),
    ("squares", "int(abs(x) ** 0.5) ** 2 == x"), ("cubes", "round(x ** (1 / 3)) ** 3 == x"),
    ("primes", "x > 1 and all(x % k != 0 for k in range(2, int(x ** 0.5) + 1))"),
    *(("multiples", f"x % {k} == 0") for k in range(3, 13)),
    ("powers", "math.log2(x).is_integer()"),
    *(("powers", f"(math.log(x) / math.log({k})).is_integer()") for k in range(3, 11)),
    *(("last digit", f"(x - {k}) % 10 == 0") for k in range(1, 10)),
    *(("interval", f"abs(x - {c}) <= {r}") for r in _RADII for c in _CENTRES),
)  # fmt: skip


def _level(number: int) -> str:
    return "easy" if number <= 14 else "medium" if number <= 39 else "very hard"


RULES_LITE: Mapping[str, Rule] = {
    str(i): Rule(str(i), text, kind, "easy") for i, (kind, text) in enumerate(_LITE, 1)
}
"""The light split, 10 rules."""

RULES_FULL: Mapping[str, Rule] = {
    str(i): Rule(str(i), text, kind, _level(i)) for i, (kind, text) in enumerate(_FULL, 1)
}
"""The full split, 50 rules."""

RULES_BAYESIAN: Mapping[str, Rule] = {
    str(i): Rule(str(i), text, kind, whole=True) for i, (kind, text) in enumerate(_BAYESIAN, 1)
}
"""Three numbers out of 1 to 100, 5 tests; not in the paper's headline."""

RULES_BAYESIAN_SINGLE: Mapping[str, Rule] = {
    str(i): Rule(str(i), text, kind, arity=1, whole=True)
    for i, (kind, text) in enumerate(_SINGLE, 1)
}
"""One number out of 1 to 100, 5 tests: the number game."""

TESTS: Mapping[str, Mapping[str, Rule]] = {
    "lite": RULES_LITE,
    "full": RULES_FULL,
    "bayesian": RULES_BAYESIAN,
    "bayesian_single": RULES_BAYESIAN_SINGLE,
}
"""The published splits by name; each maps the authors' key to the rule."""


def read_rules(path: str | Path) -> list[Rule]:
    """Rules of one's own: JSON lines, or one expression a line.

    JSON lines hold ``rule`` (a lambda or an expression in x, y, z) and may hold ``id``,
    ``category`` and ``level``. In any other file each line is a rule; blank lines and lines that
    begin with ``#`` are skipped.

    Raises:
        DataError: Names the file and the line.
    """
    path = Path(path)
    rows: list[tuple[str, dict[str, Any]]] = []
    if path.suffix in (".jsonl", ".json", ".ndjson"):
        rows = [(where, record) for _, where, record in read_json_lines(path)]
    else:
        try:
            lines = path.read_text(encoding="utf-8-sig").split("\n")
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
        except UnicodeDecodeError as error:
            raise DataError(f"{path} is not UTF-8 ({error}); save it as UTF-8") from error
        for number, line in enumerate(lines, 1):
            if line.strip() and not line.lstrip().startswith("#"):
                rows.append((f"{path}, line {number}", {"rule": line.strip()}))
    out = []
    for i, (where, record) in enumerate(rows, 1):
        text = record.get("rule")
        if not isinstance(text, str):
            raise DataError(f"{where}: needs a rule as text, got {text!r}")
        rule = Rule(str(record.get("id", i)), text, str(record.get("category", "own")),
                    str(record.get("level", "")))  # fmt: skip
        try:
            rule(1.0, 2.0, 3.0)
        except DataError as error:
            raise DataError(f"{where}: {error}") from error
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            raise DataError(
                f"{where}: the rule fails at (1, 2, 3) with {type(error).__name__}: {error}; a rule "
                "must answer for every triple of numbers"
            ) from error
        out.append(rule)
    if not out:
        raise DataError(f"{path} holds no rule")
    if len({r.id for r in out}) != len(out):
        raise DataError(f"{path}: ids are not unique")
    return out


def _listed(rules: Mapping[str, Rule] | Iterable[Rule]) -> Sequence[Rule]:
    return list(rules.values()) if isinstance(rules, Mapping) else list(rules)


def to_jsonl(rules: Mapping[str, Rule] | Iterable[Rule], path: str | Path) -> Path:
    """Write rules as JSON lines, as `read_rules` takes them.

    Raises:
        OutputError: The file cannot be written.
    """
    path = Path(path)
    lines = [json.dumps(r.to_dict(), ensure_ascii=False) + "\n" for r in _listed(rules)]
    try:
        path.write_text("".join(lines), encoding="utf-8")
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error
    return path


def to_datasets(rules: Mapping[str, Rule] | Iterable[Rule]) -> Any:
    """Rules as a `datasets.Dataset`, one row a rule.

    Raises:
        MissingExtra: `datasets` is not installed.
    """
    return need("datasets", "audit").Dataset.from_list([r.to_dict() for r in _listed(rules)])
