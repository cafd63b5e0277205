"""The rule language means what Python means, at one point and over columns, and is bounded."""

from __future__ import annotations

import contextlib
import itertools
import math
import time

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from byheart.audits._wilt.columns import _Leave
from byheart.audits._wilt.language import LIMITS, parse
from byheart.audits._wilt.vector import _Columns, evaluate_plain
from byheart.core.errors import BudgetExceeded, DataError

WHOLE = [0, 1, -1, 2, -2, 3, 5, -7, 12, 20, -20]
FLOATS = [0.0, -0.0, 0.5, -0.5, 1.0, 1.5, -2.0, 0.1, 0.3, 2.5, -3.5, 199.75, 1e-9, -17.0]
POINTS_I = list(itertools.product(WHOLE[:5], WHOLE, WHOLE[:4]))
POINTS_F = list(itertools.product(FLOATS[:5], FLOATS[::2], FLOATS[5:9]))


def plain_sum(items, start=0):
    for item in items:
        start = start + item
    return start


SAFE = {
    "math": math,
    "__builtins__": {
        **{f.__name__: f for f in (abs, all, any, bool, divmod, enumerate, filter, float, int,
           isinstance, len, list, map, max, min, pow, range, reversed, round, set, sorted, tuple,
           zip)},
        "sum": plain_sum,
    },
}  # fmt: skip


def python(text, points):
    """What Python's own eval gives: values, and where it raises. Only for texts made here."""
    function = eval(f"lambda x, y, z: {text}", SAFE)
    out = []
    for point in points:
        try:
            out.append((function(*point), False))
        except Exception:
            out.append((None, True))
    return out


def same(a, b):
    if isinstance(a, float) and isinstance(b, float):
        return (a == b and math.copysign(1, a) == math.copysign(1, b)) or (a != a and b != b)
    return a == b and isinstance(a, float) == isinstance(b, float)


number = st.deferred(lambda: st.one_of(atom, arithmetic, called, choice))
atom = st.sampled_from(["x", "y", "z"]) | st.sampled_from(
    ["0", "1", "2", "3", "-1", "7", "0.5", "0.1", "-2.5", "100", "True"]
)
binary = st.sampled_from(["+", "-", "*", "/", "//", "%", "&", "|", "^"])
arithmetic = st.one_of(
    st.tuples(number, binary, number).map(lambda t: f"({t[0]} {t[1]} {t[2]})"),
    number.map(lambda n: f"(-{n})"),
    number.map(lambda n: f"(~{n})"),
    st.tuples(number, st.sampled_from(["2", "3", "0", "0.5", "-1"])).map(
        lambda t: f"({t[0]} ** {t[1]})"
    ),
    st.tuples(atom, st.integers(0, 5)).map(lambda t: f"({t[0]} << {t[1]})"),
)
called = st.one_of(
    st.tuples(
        st.sampled_from(
            ["abs", "int", "float", "round", "bool", "math.floor", "math.ceil", "math.trunc",
             "math.sqrt", "math.fabs", "math.log", "math.exp", "math.sin"]
        ),
        number,
    ).map(lambda t: f"{t[0]}({t[1]})"),
    st.tuples(
        st.sampled_from(["max", "min", "math.gcd", "math.fmod", "math.hypot", "math.atan2"]),
        number, number,
    ).map(lambda t: f"{t[0]}({t[1]}, {t[2]})"),
    st.tuples(st.sampled_from(["sum", "max", "min", "len"]), number, number, number).map(
        lambda t: f"{t[0]}([{t[1]}, {t[2]}, {t[3]}])"
    ),
    st.tuples(number, number, st.integers(-3, 2)).map(
        lambda t: f"sorted(({t[0]}, y, {t[1]}))[{t[2]}]"
    ),
    st.tuples(number, number).map(lambda t: f"len({{x, {t[0]}, {t[1]}}})"),
    st.deferred(lambda: truth).map(lambda t: f"sum(1 for n in (x, y, z) if {t})"),
    st.deferred(lambda: truth).map(lambda t: f"len([n for n in (x, y, z) if {t}])"),
)  # fmt: skip
compare = st.sampled_from(["<", "<=", ">", ">=", "==", "!="])
truth = st.deferred(
    lambda: st.one_of(
        st.tuples(number, compare, number).map(lambda t: " ".join(t)).map(lambda s: f"({s})"),
        st.tuples(number, compare, number, compare, number).map(lambda t: f"({' '.join(t)})"),
        st.tuples(truth, st.sampled_from(["and", "or"]), truth).map(lambda t: f"({' '.join(t)})"),
        truth.map(lambda t: f"(not {t})"),
        st.tuples(number, number, number).map(lambda t: f"({t[0]} in ({t[1]}, {t[2]}))"),
        st.tuples(st.sampled_from(["all", "any"]), compare, number).map(
            lambda t: f"{t[0]}(n {t[1]} {t[2]} for n in (x, y, z))"
        ),
        st.tuples(st.sampled_from(["all", "any"]), number).map(
            lambda t: f"{t[0]}([1 / n > {t[1]} for n in (x, y) if n])"
        ),
        st.tuples(st.sampled_from(["all", "any"]), number).map(
            lambda t: f"{t[0]}(a % b == {t[1]} for a, b in [(x, y), (y, z), (z, x)])"
        ),
        number.map(lambda n: f"all(map(lambda k: k > {n}, [x, y, z]))"),
        st.tuples(number, number).map(lambda t: f"([x, y] == [{t[0]}, {t[1]}])"),
        number.map(lambda n: f"isinstance({n}, int)"),
        number.map(lambda n: f"([x, y, z] == sorted([x, y, z, {n}])[:3])"),
    )
)
choice = st.one_of(
    st.tuples(number, truth, number).map(lambda t: f"({t[0]} if {t[1]} else {t[2]})"),
    st.tuples(number, st.sampled_from(["and", "or"]), number).map(lambda t: f"({' '.join(t)})"),
)


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
)
@given(st.one_of(truth, number))
def test_a_rule_means_what_python_means(text):
    assume(len(text) < 200 and text.count(" for ") <= 3)  # loops in loops take Python minutes
    rule = parse(text)
    for points, kind in ((POINTS_I, np.int64), (POINTS_F, np.float64)):
        expected = python(text, points)
        columns = [np.array([p[i] for p in points], dtype=kind) for i in range(3)]
        slow, failed = evaluate_plain(rule, points)
        values, raised = rule.over(*columns)
        for i, (value, error) in enumerate(expected):
            assert failed[i] == error == raised[i], (text, points[i])
            if not error:
                assert same(slow[i], value), (text, points[i], slow[i], value)
                fast = values[i].item() if isinstance(values[i], np.generic) else values[i]
                assert same(fast, value), (text, points[i], fast, value)


@pytest.mark.parametrize(
    "text",
    [
        "x < y < z", "x + y == z", "max(x, y, z) == x", "x % 2 == 0 and y % 2 == 0",
        "y != 0 and x / y > 1", "all(n > 0 for n in (x, y, z))", "sorted([x, y, z])[1] == y",
        "len({x, y, z}) == 3", "x ** 2 + y ** 2 == z ** 2", "(x * y * z) % 2 == 1",
        "sum(1 for n in (x, y, z) if n > 0) == 2", "[x, y, z] == sorted([x, y, z])",
        "x in (y, z)", "abs(x - y) <= 1", "math.gcd(int(x), int(y)) == 1",
        "all(map(lambda n: n % 3 == 0, (x, y, z)))", "x if x > y else z", "-5 <= x <= 5",
        "int(abs(x) ** 0.5) ** 2 == x", "0 < x % 1 < y % 1", "round(x) == y", "True",
    ],
)  # fmt: skip
@pytest.mark.parametrize("kind", [np.int64, np.float64])
def test_usual_guesses_need_no_way_out(text, kind):
    points = POINTS_I if kind is np.int64 else POINTS_F
    columns = [np.array([p[i] for p in points], dtype=kind) for i in range(3)]
    values, raised = _Columns(parse(text), columns).run()
    expected = python(text, points)
    assert values.tolist() == [v for v, _ in expected]
    assert not raised.any()
    assert not any(e for _, e in expected)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("(-7) // 2", -4), ("(-7) % 3", 2), ("7 % -3", -2), ("-7.5 % 2", 0.5), ("2 ** -1", 0.5),
        ("3 and 5", 5), ("0 or 2.5", 2.5), ("1 < 3 > 2", True), ("not 0", True),
        ("round(2.5)", 2), ("round(3.5)", 4), ("(2 ** 70) % 1000", 2**70 % 1000),
        ("0.1 + 0.2 == 0.3", False), ("2 ** 64 == 2.0 ** 64", True), ("True + True", 2),
        ("(-8) ** (1 / 3) == 0", False), ("10 ** 20 + 1 > 10 ** 20", True), ("~5", -6),
        ("len({1, 1.0, True})", 1), ("max(1, 1.0)", 1), ("[1, 2] < [1, 3]", True),
        ("set([1, 2]) == {2, 1}", True), ("(1, 2)[-1]", 2), ("math.isclose(1, 1 + 1e-12)", True),
        ("sorted([3, 1, 2], reverse=True)[0]", 3), ("min([3, -4], key=abs)", 3),
        ("list(zip([1, 2], [3, 4]))[1][0]", 2), ("divmod(-7, 2)[0]", -4), ("5 in range(10)", True),
        ("(2.5).is_integer()", False), ("sum([0.1] * 10) == 1", False),
        ("list(filter(None, [0, 3]))[0]", 3), ("max(*[1, 4], 2)", 4), ("pow(3, 4, 5)", 1),
    ],
)  # fmt: skip
def test_values_that_are_easily_got_wrong(text, value):
    got = parse(text)(1, 2, 3)
    assert got == value
    assert type(got) is type(value)


def test_large_whole_numbers_beside_floats_leave_the_columns():
    columns = [np.array([2**53 + 1, 5]), np.array([1, 1]), np.array([0, 0])]
    rule = parse("x * 1024 + y == x * 1024.0")
    with pytest.raises(_Leave):
        _Columns(rule, columns).run()
    assert rule.over(*columns)[0].tolist() == [
        (2**53 + 1) * 1024 + 1 == (2**53 + 1) * 1024.0,
        False,
    ]
    # whole numbers divide exactly rounded; as floats this quotient's last digit is another
    a, b = 71969031417632275, 49150113254418550
    ratio = parse("x / y").over(*[np.array([n, 1]) for n in (a, b, 0)])[0]
    assert ratio[0] == a / b != float(a) / float(b)
    huge = parse("x ** 30 > y ** 30")
    assert huge.over(*[np.array([20, -3])] * 3)[0].tolist() == [False, False]


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')", "().__class__", "x.real", "(lambda f: f(f))(x)",
        "open(x)", "eval(x)", "'a' * 3", "f'{x}'", "b'x'", "x is y", "[*x] @ y", "lambda x: x",
        "lambda x, y, z, w: x", "lambda x, y, z: (yield x)", "(a := x) > 2", "{1: 2}", "math.foo(x)",
        "math.gcd", "math.__dict__", "max.__self__", "unknown > 2", "x > \x00", "x if", "", "   ",
        "not " * 300 + "x", "-" * 1500 + "x", "(" * 150 + "x" + ")" * 150, "x" * 3000,
        "[" * 59 + "x" + "]" * 59, "x + " * 300 + "x", "9" * 1900, "1" * 4400, "lambda *, k: 1",
        "lambda math, y, z: math.gcd(1, 2)", "lambda max, y, z: max(y, z)", "await x",
        "(n for n in (x, y))", "print(x)", "getattr(x, y)", "type(x)", "int('5')", "float('inf')",
        "all(x for math in (1,))", "[x async for x in y]", "map(eval, [x])", "1j > 2", "...",
        "return x", "import os", "x; y", "x\ny",
    ],
)  # fmt: skip
def test_what_is_no_rule_is_refused(text):
    with pytest.raises(DataError):
        parse(text)


@pytest.mark.parametrize(
    "text",
    [
        "9 ** 9 ** 9 ** 9", "10 ** 10 ** 10 > x", "[0] * 10 ** 9", "1 << 10 ** 12",
        "len(range(10 ** 8)) > 5", "math.factorial(10 ** 6) > x", "math.comb(10 ** 6, 10 ** 5) > 1",
        "sum(a * b for a in range(5000) for b in range(5000)) > x", "round(x, -10 ** 9)",
        "sum(range(99999) for k in range(9)) > 0 or max(range(99999)) + max(range(99999)) > 0",
        "pow(3 ** 200, 3 ** 200, 7 ** 200)", "len(list(range(5000))) > x",
        "((2 ** 4000) * (2 ** 4000)) > x", "max(*range(99999), *range(99999))",
        "math.prod(range(1, 5000)) > 0", "math.lcm(*range(1, 1999)) ** 9 > 0",
    ],
)  # fmt: skip
def test_what_would_not_end_is_stopped(text):
    rule = parse(text)
    began = time.perf_counter()
    with pytest.raises((BudgetExceeded, TypeError)):
        rule(1, 2, 3)
    columns = [np.arange(1, 2000)] * 3
    with contextlib.suppress(BudgetExceeded):
        assert rule.over(*columns)[1].all()
    assert time.perf_counter() - began < 10


def test_the_work_of_a_whole_grid_is_bounded():
    rule = parse("sum(a % 7 for a in range(int(abs(x)) * 150)) > y")  # 3000 rounds a point
    columns = [np.full(70_000, 20)] * 3
    assert rule(20, 1, 1) is True
    with pytest.raises(BudgetExceeded, match="steps"):
        rule.over(*columns)


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="xyz0123456789.+-*/%<>=()[]{},: andornotifelselambdamathsumall\n\t#'\"_\\@~^&|", max_size=200))  # fmt: skip
def test_junk_is_refused_or_answered_but_never_anything_else(text):
    try:
        rule = parse(text)
    except DataError:
        return
    allowed = (ArithmeticError, TypeError, ValueError, LookupError, AttributeError)
    with contextlib.suppress(BudgetExceeded, *allowed):
        rule(1, 2.5, -3)


def test_the_limits_are_those_of_the_documentation():
    assert (LIMITS.characters, LIMITS.nodes, LIMITS.depth, LIMITS.bits) == (2000, 400, 60, 4096)
