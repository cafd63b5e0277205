"""Freshly drawn rules: random ones for a hypothesis space, and twins of given rules."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from byheart.audits._wilt.rules import RULES_FULL, RULES_LITE, Rule
from byheart.core.errors import UsageError

__all__ = ["FAMILIES", "distinct", "draw", "signature", "twins"]

_VARS = ("x", "y", "z")
_MOVES = tuple(itertools.permutations(_VARS))
Rng = np.random.Generator


def _one(rng: Rng, items: Sequence[str]) -> str:
    return items[int(rng.integers(len(items)))]


def _order(rng: Rng) -> str:
    op = _one(rng, (">", "<", ">=", "<="))
    return f"x {op} y {op} z"


def _equality(rng: Rng) -> str:
    a, b = rng.permutation(_VARS)[:2]
    return f"{a} == {b}"


def _sign(rng: Rng) -> str:
    op = _one(rng, "<>")
    return " and ".join(f"{v} {op} 0" for v in _VARS)


def _parity(rng: Rng) -> str:
    r = int(rng.integers(2))
    return " and ".join(f"int({v}) % 2 == {r}" for v in _VARS)


def _arithmetic(rng: Rng) -> str:
    a, b, c = rng.permutation(_VARS)
    return f"{a} {_one(rng, '+-*')} {b} == {c}"


def _modulo(rng: Rng) -> str:
    m = int(rng.integers(2, 6))
    r = int(rng.integers(m))
    return " and ".join(f"int({v}) % {m} == {r}" for v in _VARS)


def _rounding(rng: Rng) -> str:
    f = _one(rng, ("math.floor", "math.ceil", "round"))
    return f"{f}(x) == {f}(y) == {f}(z)"


def _function(rng: Rng) -> str:
    f, op = _one(rng, ("abs", "math.sin", "math.cos", "math.exp")), _one(rng, ("<", ">", "=="))
    return f"{f}(x) {op} {f}(y) {op} {f}(z)"


FAMILIES: dict[str, Callable[[Rng], str]] = {
    "order": _order,
    "equality": _equality,
    "inequality": lambda rng: "x != y and y != z and x != z",
    "sign": _sign,
    "parity": _parity,
    "arithmetic": _arithmetic,
    "extreme": lambda rng: f"{_one(rng, ('max', 'min'))}(x, y, z) == {_one(rng, _VARS)}",
    "modulo": _modulo,
    "rounding": _rounding,
    "function": _function,
}
"""The ten families of random rules of the authors' hypothesis space; see `draw`."""


def draw(n: int, *, seed: int = 0, families: Sequence[str] = ()) -> list[Rule]:
    """Random rules of the authors' ten families, repeats and all.

    They fill the hypothesis space (150 beside the 50 rules); many are alike, as there.

    Args:
        n: How many.
        seed: Another seed, other rules.
        families: Some of `FAMILIES`; all by default.

    >>> [r.text for r in draw(2, seed=1)]
    ['x != y and y != z and x != z', 'x + y == z']
    """
    unknown = sorted(set(families) - set(FAMILIES))
    if n < 0 or unknown:
        raise UsageError(
            f"n must not be negative and families be among {', '.join(FAMILIES)}; got {n}, {unknown}"
        )
    rng = np.random.default_rng([seed, 24_101_099])
    names = list(families or FAMILIES)
    out = []
    for i in range(n):
        family = _one(rng, names)
        out.append(Rule(f"drawn-{seed}-{i}", FAMILIES[family](rng), family))
    return out


# Twins: the same kind of statement, other variables, constants or operators.


def _twin_order(rng: Rng) -> str:
    a, b, c = _MOVES[int(rng.integers(6))]
    return f"{a} {_one(rng, ('<', '<='))} {b} {_one(rng, ('<', '<='))} {c}"


def _twin_equality(rng: Rng) -> str:
    a, b, c = _MOVES[int(rng.integers(6))]
    return _one(rng, (f"{a} == {b}", f"{a} != {b}", f"{a} == {b} and {b} != {c}",
                      f"{a} == {b} or {b} == {c}", f"{a} == -{b}", f"{a} == {b} + {c} - {a}"))  # fmt: skip


def _twin_sign(rng: Rng) -> str:
    signs = [_one(rng, ("<", ">", "<=", ">=")) for _ in _VARS]
    return " and ".join(f"{v} {s} 0" for v, s in zip(_VARS, signs, strict=True))


def _twin_parity(rng: Rng) -> str:
    m = int(rng.integers(2, 6))
    return " and ".join(f"{v} % {m} {_one(rng, ('==', '!='))} 0" for v in _VARS)


def _twin_arithmetic(rng: Rng) -> str:
    a, b, c = _MOVES[int(rng.integers(6))]
    k = int(rng.integers(2, 10))
    return _one(rng, (f"{a} + {b} == {c} + {k}", f"{a} - {b} == {c} + {k}", f"{a} * {b} == {c} + {k}",
                      f"{a} + {b} == {k} * {c}", f"{a} * {b} == {k} * {c}"))  # fmt: skip


def _twin_extreme(rng: Rng) -> str:
    a, b, c = _MOVES[int(rng.integers(6))]
    f = _one(rng, ("max", "min"))
    return _one(rng, (f"{f}({a}, {b}) == {c}", f"sorted((x, y, z))[1] == {c}",
                      f"{f}({a}, {b}) < {c}", f"{f}({a}, {b}) > {c}"))  # fmt: skip


def _twin_sum(rng: Rng) -> str:
    total = _one(rng, ("x + y + z", "x * y * z"))
    k = int(rng.integers(1, 10))
    m = int(rng.integers(3, 8))
    return _one(rng, (f"{total} == {k}", f"({total}) % {m} == {rng.integers(m)}"))


def _twin_mean(rng: Rng) -> str:
    a, b, c = _MOVES[int(rng.integers(6))]
    return f"({a} + {b}) / {rng.integers(2, 6)} == {c}"


def _twin_range(rng: Rng) -> str:
    a, b = sorted(int(v) for v in rng.choice(np.arange(-19, 20), 2, replace=False))
    return " and ".join(f"{a} <= {v} <= {b}" for v in _VARS)


def _twin_pythagoras(rng: Rng) -> str:
    a, b, c = _MOVES[int(rng.integers(6))]
    k = int(rng.integers(1, 10))
    return _one(rng, (f"{a} ** 2 + {b} ** 2 == {c} ** 2 + {k}", f"{a} ** 2 + {b} ** 2 == {c}",
                      f"{a} ** 2 - {b} == {c} ** 2", f"{a} ** 2 + {b} == {c} ** 2 + {k}"))  # fmt: skip


def _twin_bitwise(rng: Rng) -> str:
    a, b, c = _MOVES[int(rng.integers(6))]
    k = int(rng.integers(0, 4))
    return f"int({a}) {_one(rng, '&|^')} int({b}) == int({c})" + (f" + {k}" if k else "")


def _twin_coprime(rng: Rng) -> str:
    return (
        "all(n % 1 == 0 for n in (x, y, z)) and all(math.gcd(int(a), int(b)) == "
        f"{rng.integers(2, 7)} for a, b in ((x, y), (y, z), (z, x)))"
    )


def _twin_squares(rng: Rng) -> str:
    k = int(rng.integers(1, 10))
    return f"all(int(abs(n) ** 0.5) ** 2 == n {_one(rng, '+-')} {k} for n in (x, y, z))"


def _twin_fraction(rng: Rng) -> str:
    a, b, c = _MOVES[int(rng.integers(6))]
    k = int(rng.integers(1, 10))
    return _one(rng, (f"0 < {a} % 1 < {b} % 1 < {c} % 1 < 1", " and ".join(f"{v} % 1 > 0.{k}" for v in _VARS),
                      " and ".join(f"{v} % 1 < 0.{k}" for v in _VARS)))  # fmt: skip


def _twin_span(rng: Rng) -> str:
    a, b, c = _MOVES[int(rng.integers(6))]
    return f"{a} < {b} < {c} and 0 < {c} - {a} <= {rng.integers(2, 12)}"


def _twin_peak(rng: Rng) -> str:
    a, b, c = _MOVES[int(rng.integers(6))]
    op = _one(rng, ("<", ">", "<=", ">="))
    return f"{a} {op} {b} and {b} {'>' if op[0] == '<' else '<'}{op[1:]} {c}"


_TWINS: dict[str, Callable[[Rng], str]] = {
    "order": _twin_order, "equality": _twin_equality, "inequality": _twin_equality,
    "sign": _twin_sign, "parity": _twin_parity, "modulo": _twin_parity,
    "arithmetic": _twin_arithmetic, "extreme": _twin_extreme, "sum or product": _twin_sum,
    "mean": _twin_mean, "range": _twin_range, "pythagoras": _twin_pythagoras,
    "bitwise": _twin_bitwise, "coprime": _twin_coprime, "squares": _twin_squares,
    "fraction": _twin_fraction, "span": _twin_span, "peak": _twin_peak,
}  # fmt: skip


@functools.lru_cache(maxsize=1)
def _probe() -> tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...]]:
    grid = np.array(list(itertools.product(range(-10, 11), repeat=3)))
    rng = np.random.default_rng(24_101_098)
    floats = np.concatenate(
        [rng.uniform(-3, 3, (1500, 3)), rng.uniform(-1, 1, (500, 3)), rng.uniform(-200, 200, (500, 3))]
    )  # fmt: skip
    near = rng.uniform(-20, 20, (500, 1)) + np.sort(rng.uniform(0, 1, (500, 3)), axis=1)
    floats = np.concatenate([floats, near])
    return tuple(grid.T.copy()), tuple(floats.T.copy())


@functools.lru_cache(maxsize=4096)
def signature(text: str) -> bytes:
    """A rule's truth values on 9261 whole and 3000 decimal triples, packed: rules that mean the
    same have the same."""
    function = Rule("", text).function
    parts = []
    for columns in _probe():
        values, raised = function.over(*columns)
        parts.append(np.array([bool(v) for v in values]) & ~raised)
    return np.packbits(np.concatenate(parts)).tobytes()


def distinct(rules: Iterable[Rule]) -> list[Rule]:
    """The first of each meaning, in order."""
    first: dict[bytes, Rule] = {}
    for rule in rules:
        first.setdefault(signature(rule.text), rule)
    return list(first.values())


def twins(rules: Sequence[Rule], *, seed: int = 0, avoid: Sequence[Rule] = ()) -> list[Rule]:
    """A freshly drawn rule for each given one: of its category, of another meaning.

    Twins mean something else than every published rule, every given rule and every other twin, and
    are neither always nor never true. A category that is not known is drawn from all.

    Args:
        rules: What the twins are for.
        seed: Another seed, other twins.
        avoid: Further rules whose meaning must not come up.

    Raises:
        UsageError: A category has not enough rules of different meaning.

    >>> twins([RULES_FULL["15"]], seed=3)[0].text
    'z + y == 8 * x'
    """
    rng = np.random.default_rng([seed, 24_101_097])
    published = (*RULES_FULL.values(), *RULES_LITE.values())
    taken = {signature(r.text) for r in (*published, *rules, *avoid) if r.arity == 3}
    taken |= {signature("True"), signature("False")}
    out: list[Rule] = []
    for rule in rules:
        if rule.arity != 3:
            raise UsageError("twins are drawn for rules of three numbers")
        make = _TWINS.get(rule.category)
        for _ in range(500):
            text = (make or _TWINS[_one(rng, list(_TWINS))])(rng)
            mark = signature(text)
            if mark not in taken:
                break
        else:
            raise UsageError(
                f"no further rule of category {rule.category!r} after {len(out)} twins; give the "
                "twins yourself"
            )
        taken.add(mark)
        out.append(Rule(f"{rule.id}-twin-{seed}", text, rule.category, rule.level))
    return out
