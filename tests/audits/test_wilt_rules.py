"""The published rules against plain Python, drawn rules, judgements, and the hypothesis space."""

from __future__ import annotations

import itertools
import math
import random

import numpy as np
import pytest

from byheart.audits._wilt.drawing import FAMILIES, distinct, draw, signature, twins
from byheart.audits._wilt.judging import (
    count_operators,
    guess_complexity,
    judge,
    lenient_guess,
    points,
    strict_guess,
)
from byheart.audits._wilt.rules import (
    RULES_BAYESIAN,
    RULES_BAYESIAN_SINGLE,
    RULES_FULL,
    RULES_LITE,
    TESTS,
    Rule,
    read_rules,
    to_datasets,
    to_jsonl,
)
from byheart.audits._wilt.space import HypothesisSpace
from byheart.core.errors import DataError, MissingExtra, OutputError, UsageError

GRID = list(itertools.product(range(-20, 21), repeat=3))
_RANDOM = random.Random(5)
DECIMALS = [
    tuple(_RANDOM.uniform(-h, h) for _ in range(3)) for h in (200, 3, 1) for _ in range(300)
]


def within(low, high):
    return lambda *t: all(low <= n <= high for n in t)


def square(n):
    return int(abs(n) ** 0.5) ** 2 == n


PLAIN = {
    "1": lambda x, y, z: x > y > z, "2": lambda x, y, z: x < y < z,
    "3": lambda x, y, z: x >= y >= z, "4": lambda x, y, z: x <= y <= z,
    "5": lambda x, y, z: x < z < y, "6": lambda x, y, z: x <= z <= y,
    "7": lambda x, y, z: z < x < y, "8": lambda x, y, z: z <= x <= y,
    "9": lambda *t: len(set(t)) == 1, "10": lambda *t: len(set(t)) == 3,
    "11": lambda *t: max(t) < 0, "12": lambda *t: min(t) > 0,
    "13": lambda *t: all(n % 2 == 0 for n in t), "14": lambda *t: all(n % 2 != 0 for n in t),
    "15": lambda x, y, z: x + y == z, "16": lambda x, y, z: x * y == z,
    "17": lambda x, y, z: x + z == y, "18": lambda x, y, z: x * z == y,
    "19": lambda x, y, z: y + z == x, "20": lambda x, y, z: y * z == x,
    "21": lambda x, y, z: x >= y and x >= z, "22": lambda x, y, z: y >= x and y >= z,
    "23": lambda x, y, z: z >= x and z >= y, "24": lambda x, y, z: x <= y and x <= z,
    "25": lambda x, y, z: y <= x and y <= z, "26": lambda x, y, z: z <= x and z <= y,
    "27": lambda x, y, z: x + y + z == 0, "28": lambda x, y, z: x * y * z == 0,
    "29": lambda x, y, z: (x + y + z) % 2 == 0, "30": lambda x, y, z: (x + y + z) % 2 == 1,
    "31": lambda x, y, z: (x * y * z) % 2 == 0, "32": lambda x, y, z: (x * y * z) % 2 == 1,
    "33": lambda x, y, z: (x + y) / 2 == z,
    "34": within(-5, 5), "35": within(-10, 10), "36": within(-5, 0), "37": within(0, 5),
    "38": within(-2, 2), "39": within(-20, 20),
    "40": lambda x, y, z: x**2 + y**2 == z**2, "41": lambda x, y, z: x**2 + z**2 == y**2,
    "42": lambda x, y, z: y**2 + z**2 == x**2,
    "43": lambda x, y, z: int(x) & int(y) == int(z), "44": lambda x, y, z: int(x) | int(y) == int(z),
    "45": lambda x, y, z: int(x) ^ int(y) == int(z),
    "46": lambda x, y, z: all(n % 1 == 0 for n in (x, y, z))
    and all(math.gcd(int(a), int(b)) == 1 for a, b in ((x, y), (y, z), (x, z))),
    "47": lambda *t: all(square(n) for n in t), "48": lambda *t: all(n % 1 > 0 for n in t),
    "49": lambda x, y, z: 0 < x % 1 < y % 1 < z % 1,
    "50": lambda x, y, z: x < y < z and z - x <= 1,
}  # fmt: skip


@pytest.mark.parametrize("key", list(PLAIN))
def test_a_published_rule_is_true_where_plain_python_says_so(key):
    rule = RULES_FULL[key].function
    for some in (GRID, DECIMALS):
        values, raised = rule.over(*np.array(some).T.copy())
        assert not raised.any()
        assert values.tolist() == [bool(PLAIN[key](*t)) for t in some]


def test_the_splits_are_the_published_ones():
    assert [len(TESTS[s]) for s in TESTS] == [10, 50, 24, 51]
    assert [r.text for r in RULES_LITE.values()][:4] == [r.text for r in RULES_FULL.values()][:4]
    assert {r.level for r in RULES_FULL.values()} == {"easy", "medium", "very hard"}
    assert RULES_LITE["10"](1, 5, 2) is True
    assert RULES_LITE["10"](1, 5, 7) is False
    # the traps: decimals are odd, negative fractions wrap, constantly False on whole numbers
    assert RULES_FULL["14"](1.5, 2.5, 3.5) is True
    assert RULES_FULL["48"](-0.5, -1.5, 0.1) is True
    for key in ("48", "49", "50"):
        assert not RULES_FULL[key].function.over(*np.array(GRID).T.copy())[0].any()
    assert (
        RULES_FULL["14"].function.over(*np.array(GRID).T.copy())[0].tolist()
        == RULES_FULL["32"].function.over(*np.array(GRID).T.copy())[0].tolist()
    )


def test_the_number_game_is_the_published_one():
    def prime(n):
        return n > 1 and all(n % k for k in range(2, int(n**0.5) + 1))

    single = RULES_BAYESIAN_SINGLE
    hundred = range(1, 101)
    assert [single["5"](n) for n in hundred] == [prime(n) for n in hundred]
    assert [n for n in hundred if single["16"](n)] == [1, 2, 4, 8, 16, 32, 64]
    # in floats, log(243) / log(3) and log(1000) / log(10) miss; the authors' rule has it so
    assert [n for n in hundred if single["17"](n)] == [
        n for n in hundred if (math.log(n) / math.log(3)).is_integer()
    ]
    assert [n for n in hundred if single["33"](n)] == list(range(9, 100, 10))
    assert [n for n in hundred if single["51"](n)] == list(range(59, 92))
    assert RULES_BAYESIAN["3"](3, 6, 9) is True  # "squares" were lost to a second key 3
    assert RULES_BAYESIAN["24"](59, 91, 75) is True


def test_every_rule_is_found_equal_to_itself_and_to_no_other():
    for rule in RULES_FULL.values():
        own = judge(rule, rule.source)
        assert (own.correct, own.correct_lenient, own.approximate, own.reason) == (
            True,
            True,
            False,
            "",
        )
        assert own.disagreement == 0
        expected = None if rule.id == "50" else 1.0  # rule 50 is never true on those points
        assert own.complexity.inclusion == expected
    assert len({signature(r.text) for r in RULES_FULL.values()}) == 50
    for rule in RULES_FULL.values():
        assert not judge(rule, "lambda x, y, z: False").correct  # 0 of 50 for who says no


def test_judgements_hold_what_the_authors_and_what_we_hold():
    full = RULES_FULL
    truthy = judge(full["13"], "lambda x, y, z: 1 if x%2 == 0 and y%2 == 0 and z%2 == 0 else 0")
    assert truthy.correct  # 1 == True
    number = judge(full["2"], "lambda x, y, z: (y - x) if x < y < z else 0")
    assert (number.correct, number.correct_lenient, number.reason) == (False, True, "differs")
    double = judge(full["15"], "lambda x, y, z: 2 * (x + y == z)")
    assert (double.correct, double.correct_lenient, double.reason) == (False, True, "differs")
    near = judge(full["15"], "lambda x, y, z: abs(x + y - z) < 1e-9")
    assert (near.correct, near.approximate) == (False, True)  # for (0.1, 0.2, 0.3)
    strict = judge(full["4"], "lambda x, y, z: x < y < z")
    assert (strict.correct, strict.approximate) == (False, True)
    assert 0 < strict.complexity.inclusion < 1  # too narrow
    assert judge(full["2"], "lambda x, y, z: x <= y <= z").complexity.inclusion > 1  # too broad
    raising = judge(full["2"], "lambda x, y, z: x < y < z and 1 / (z - x) > 0")
    assert (raising.correct, raising.reason) == (True, "")  # never divides by zero
    assert judge(full["2"], "lambda x, y, z: x < y < z if x else 1 / x").reason == "raises"
    assert judge(full["40"], "lambda x, y, z: False").approximate is False
    assert judge(full["2"], "x < y < z").correct is False
    assert judge(full["2"], "x < y < z").correct_lenient is True
    assert judge(full["2"], "lambda a, b, c: a < b < c").correct
    assert judge(full["9"], "lambda x, y, z: x in (y,) and z in (x,)").correct
    assert judge(full["2"], "lambda x: x").reason.startswith("no rule")
    assert judge(full["2"], "lambda x, y, z: __import__('os')").reason.startswith("no rule")
    assert judge(full["2"], "lambda x, y, z: 9**9**9**9 > x").reason.startswith("too much work")
    assert judge(full["2"], "lambda x, y, z: (x, y)").reason == "differs"


def test_the_number_game_is_judged_leniently_on_its_own_numbers():
    rule = RULES_BAYESIAN_SINGLE["5"]
    theirs = judge(rule, rule.source)
    # a right guess scores 0 with the authors: their fixed triples go to a function of one number
    assert (theirs.correct, theirs.correct_lenient, theirs.reason) == (False, True, "raises")
    assert judge(
        RULES_BAYESIAN["1"], "lambda x, y, z: not (x % 2 or y % 2 or z % 2)"
    ).correct_lenient
    assert not judge(rule, "lambda x: x % 2 == 1").correct_lenient


def test_complexity_is_counted_as_told():
    text = "lambda x, y, z: sorted([x, y, z]) == [x, y, z] and x > -5"
    found = guess_complexity(RULES_FULL["4"], text)
    assert (found.operators, found.operators_authors) == (3, 5)  # "sorted" holds an or, -5 a minus
    assert found.length == len(text) - 2
    assert count_operators("x**2 >= y//2 << 1") == 4
    assert guess_complexity(RULES_FULL["4"], "no rule at all") is None


def test_probes_are_the_authors_in_number():
    where = points(0)
    assert len(where) == 5000 + 5000 + 68_921 + 10
    assert np.abs(where.wide[0]).max() < 200
    assert np.abs(where.near[0]).max() < 3
    assert not np.array_equal(points(1).wide[0], where.wide[0])
    assert points(0) is where


@pytest.mark.parametrize(
    ("reply", "strict", "lenient"),
    [
        ("Final Guess: ```lambda x,y,z: x<y<z```",) + ("lambda x,y,z: x<y<z",) * 2,
        ("final guess: ```python\nlambda x,y,z: x<y\n```",) + ("lambda x,y,z: x<y",) * 2,
        ("Final Guess: `lambda x,y,z: x<y`",) + ("lambda x,y,z: x<y",) * 2,
        ("### Final Guess\n```f = lambda x,y,z: x<y```", "f = lambda x,y,z: x<y", "lambda x,y,z: x<y"),
        ("Final guess: lambda x,y,z: x<y.", "", "lambda x,y,z: x<y"),
        ("Final guess: x < y < z", "", "x < y < z"),
        ("Final guess: ```lambda x,y,z:\n  x<y```", "lambda x,y,z:\n  x<y", "lambda x,y,z: x<y"),
        ("Final guess: I do not know", "", ""),
        ("```lambda x,y,z: 1<x``` Final guess: ```lambda x,y,z: x<1```",) + ("lambda x,y,z: x<1",) * 2,
    ],
)  # fmt: skip
def test_guesses_are_found_in_replies(reply, strict, lenient):
    assert strict_guess(reply) == strict
    assert lenient_guess(reply) == lenient


def test_rules_are_drawn_from_ten_families_with_a_seed():
    some = draw(400, seed=2)
    assert some == draw(400, seed=2) != draw(400, seed=3)
    assert {r.category for r in some} == set(FAMILIES)
    assert len(distinct([*RULES_FULL.values(), *draw(150)])) < 100  # most repeat another
    assert {r.category for r in draw(9, families=["order"])} == {"order"}
    with pytest.raises(UsageError, match="no-such"):
        draw(3, families=["no-such"])


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_twins_are_of_the_category_and_mean_something_else(seed):
    rules = list(RULES_FULL.values())
    fresh = twins(rules, seed=seed)
    assert [r.category for r in fresh] == [r.category for r in rules]
    marks = [signature(r.text) for r in (*rules, *fresh)]
    assert len(set(marks)) == len(marks) == 100
    assert signature("True") not in marks
    assert signature("False") not in marks
    assert fresh == twins(rules, seed=seed) != twins(rules, seed=seed + 10)
    # as complicated as the published ones, within a third
    a, b = (np.mean([count_operators(r.text) for r in some]) for some in (rules, fresh))
    assert 0.75 < b / a < 1.33
    with pytest.raises(UsageError, match="no further rule"):
        twins([Rule(str(i), "x == y", "sign") for i in range(200)], seed=seed)
    with pytest.raises(UsageError, match="three numbers"):
        twins([RULES_BAYESIAN_SINGLE["1"]])


def test_own_rules_are_read_and_written(tmp_path):
    path = to_jsonl(RULES_FULL, tmp_path / "rules.jsonl")
    back = read_rules(path)
    assert [(r.id, r.category) for r in back] == [(r.id, r.category) for r in RULES_FULL.values()]
    assert all(signature(a.text) == signature(b.text) for a, b in zip(back, RULES_FULL.values(), strict=True))  # fmt: skip
    plain = tmp_path / "rules.txt"
    plain.write_text("# mine\n\nx + y > z\nlambda a, b, c: a == c\n")
    assert [r(1, 5, 1) for r in read_rules(plain)] == [True, True]
    for text, message in (
        ("x + y >", "line 1: not a Python expression"), ("1 / (x - 1)", "ZeroDivisionError"),
        ("open('x')", "line 1: rules cannot call"), ("", "holds no rule"),
    ):  # fmt: skip
        plain.write_text(text)
        with pytest.raises(DataError, match=message):
            read_rules(plain)
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"rule": "x > y"}\n{"rule": 5}\n')
    with pytest.raises(DataError, match=r"bad\.jsonl, line 2"):
        read_rules(bad)
    bad.write_text('{"id": "a", "rule": "x > y"}\n{"id": "a", "rule": "x < y"}\n')
    with pytest.raises(DataError, match="not unique"):
        read_rules(bad)
    with pytest.raises(DataError, match="cannot be read"):
        read_rules(tmp_path / "none.txt")
    with pytest.raises(OutputError):
        to_jsonl(RULES_LITE, tmp_path / "no" / "folder.jsonl")


def test_rules_as_a_dataset():
    try:
        import datasets  # noqa: F401
    except ModuleNotFoundError:
        with pytest.raises(MissingExtra, match="pip install"):
            to_datasets(RULES_LITE)
    else:
        table = to_datasets(RULES_LITE)
        assert table.num_rows == 10
        assert table[0]["rule"] == "lambda x, y, z: x > y > z"


def test_the_space_shrinks_as_candidates_disagree():
    space = HypothesisSpace(RULES_FULL)
    share = space.observe((2.0, 4.0, 6.0), True)
    assert share == pytest.approx(1 - len(space.remaining) / 50)
    assert all(r(2.0, 4.0, 6.0) for r in space.remaining)
    rng = np.random.default_rng(0)
    before = len(space.remaining)
    for _ in range(30):
        triple = tuple(float(v) for v in rng.integers(-9, 10, 3))
        space.observe(triple, RULES_FULL["2"](*triple))
        assert len(space.remaining) <= before
        before = len(space.remaining)
    assert RULES_FULL["2"] in space.remaining
    assert space.threshold == pytest.approx(0.1 * (1 - 0.5 * space.explored))
    assert len(HypothesisSpace()) == 200
    assert HypothesisSpace(distinct=True).rules[:50] == tuple(RULES_FULL.values())
    raising = HypothesisSpace([Rule("a", "1 / x > 0"), Rule("b", "x > 0")])
    raising.observe((0.0, 1.0, 1.0), True)
    assert [r.id for r in raising.remaining] == ["a"]  # what cannot answer is kept
    truth, raised = raising.table([(0.0, 1, 1), (2.0, 1, 1)])
    assert truth[1].tolist() == [False, True]
    assert raised[0].tolist() == [True, False]
    with pytest.raises(UsageError):
        HypothesisSpace([])
