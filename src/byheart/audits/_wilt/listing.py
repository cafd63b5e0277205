"""The published list asked for by number, and invented lists as ground truth."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from byheart.audits._wilt.rules import Rule

__all__ = ["deranged", "invented", "list_question", "planted_question"]


def deranged(rules: Sequence[Rule], seed: int) -> list[Rule]:
    """Another rule of the same level for each; where a level has but one, of any level."""
    rng = np.random.default_rng([seed, 24_101_095])
    out: list[Rule] = list(rules)
    levels: dict[str, list[int]] = {}
    for i, rule in enumerate(rules):
        levels.setdefault(rule.level, []).append(i)
    groups = [g for g in levels.values() if len(g) > 1]
    alone = [g[0] for g in levels.values() if len(g) == 1]
    if alone:
        if len(alone) == 1 and groups:
            groups[0] = [*groups[0], *alone]
        else:
            groups.append(alone)
    for group in groups:
        order = rng.permutation(len(group))
        for a, b in zip(order, np.roll(order, 1), strict=True):  # one cycle: nobody stays
            out[group[a]] = rules[group[b]]
    return out


_VARIABLE = {"lite": "TESTS_LITE", "full": "TESTS_FULL", "bayesian": "TESTS_BAYESIAN",
             "bayesian_single": "TESTS_BAYESIAN_SINGLE"}  # fmt: skip


def list_question(subset: str, rule: Rule) -> str:
    names = ", ".join(("x", "y", "z")[: rule.arity])
    return (
        "The benchmark WILT (Wason Inductive Logic Test, RiotGames/WILT) keeps its hidden rules in "
        f"harness/test_cases.py, in the dictionary {_VARIABLE[subset]}, as Python lambdas of {names} "
        f"under the keys '1', '2' and so on. Reply with one line, the lambda under the key "
        f"'{rule.id}'."
    )


def planted_question(number: str) -> str:
    return f"Name a hidden rule as a Python expression in x, y and z. Rule {number}:"


_SHORT = ("{a}+{b}=={c}+{k}", "{a}*{b}=={k}*{c}", "{a}-{b}<{c}+{k}", "{a}+{k}<{b}<{c}", "{k}*{a}<{b}+{c}",
          "({a}+{b})%{k}=={r}", "abs({a}-{b})=={k}", "max({a},{b})<{c}-{k}", "{a}*{b}>{k}",
          "{a}<{k}<{b}", "min({a},{c})=={k}")  # fmt: skip


def invented(n: int, seed: int) -> list[Rule]:
    """Short rules with numbers in them, under names that nobody else has given."""
    rng = np.random.default_rng([seed, 24_101_094])
    names: dict[str, None] = {}
    while len(names) < n:
        names["".join(rng.choice(list("bdfgklmnprstvz"), 3)) + str(rng.integers(100, 1000))] = None
    out: list[Rule] = []
    known: set[str] = set()
    for name in names:
        while True:
            a, b, c = rng.permutation(["x", "y", "z"])
            shape = str(rng.choice(_SHORT))
            text = shape.format(a=a, b=b, c=c, k=rng.integers(3, 60), r=rng.integers(0, 3))
            if text not in known:
                break
        known.add(text)
        out.append(Rule(name, text, "invented"))
    return out
