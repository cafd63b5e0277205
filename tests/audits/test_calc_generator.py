"""Arithmetic: reading, exact values, the generator's distribution, files. Oracles: published problems,
Python's own parser (on text that the test made itself), and an evaluator over whole trees."""

import ast
import contextlib
import json
import math
import operator
import random
import re
import sys
from fractions import Fraction

import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st

from byheart.audits._calc import expression as reading
from byheart.audits.random_calculation import (
    INSTRUCTION,
    Problem,
    RandomCalculation,
    atoms,
    decimal,
    evaluate,
    evaluate_plain,
    generate,
    operations,
    problem_of,
    read_problems,
    to_datasets,
    to_json,
    to_jsonl,
    verify,
)
from byheart.core.errors import DataError, MissingExtra, OutputError, UsageError

PUBLISHED = (
    (0, r"8", "8.00000000000000"),
    (0, r"21", "21.0000000000000"),
    (0, r"15", "15.0000000000000"),
    (1, r"13+64", "77.0000000000000"),
    (1, r"62^2-86", "3758.00000000000"),
    (1, r"6^3+12^2", "360.000000000000"),
    (2, r"26-37^3/33^2", "-20.5133149678604"),
    (2, r"\frac{86}{4}/16+2", "3.34375000000000"),
    (2, r"\frac{25}{4}/31+9^2", "81.2016129032258"),
    (5, r"(7^3+\frac{66}{9}-76^3)*(50^2/6^2+55)", "-54584527.4074074"),
    (5, r"95*\frac{88}{6}-\frac{9}{3}-\frac{12}{7}-2+27", "1413.61904761905"),
    (5, r"(56^2*90^3-14/35^3)*(\frac{24}{2}*\frac{74}{7})", "290013695999.959"),
    (10, r"17^3/(\frac{50}{6}*31^3-\frac{81}{7}/(\frac{45}{3}-88)+73^3+\frac{20}{3}*30^2-72^2/17^2)", "0.00763768721946280"),
    (10, r"\frac{43}{6}+(\frac{87}{4}*\frac{96}{9})/34^3-(69*\frac{85}{8})*\frac{22}{6}+80^3+50^2/6^2+37", "509425.492013818"),
    (10, r"\frac{93}{5}*(50^3-\frac{1}{6})+\frac{7}{8}/17^3-\frac{14}{3}-80+(\frac{84}{9}/20+41)/\frac{43}{9}", "2324920.91258120"),
    (15, r"((\frac{73}{2}*\frac{43}{7})/(72^3+\frac{55}{8})+82^2)*67-95*\frac{88}{6}-\frac{9}{3}-\frac{12}{7}-2+27-(58^3*\frac{47}{2})*(49*\frac{5}{3})", "-374003311.674039"),
    (15, r"94^3/5^3-\frac{77}{7}/39-\frac{49}{4}+\frac{66}{2}-65^2+(93*\frac{34}{6})*((\frac{18}{4}+97^2*\frac{99}{8}+40^3)/(\frac{48}{2}*(74^2-\frac{21}{4})))", "3164.38815604022"),
    (15, r"\frac{92}{7}*(68-(\frac{58}{4}/98^2)/(22/85^3))-33-(\frac{97}{4}-11^3/\frac{13}{5})/(\frac{98}{5}*(\frac{9}{4}+\frac{80}{2})-\frac{63}{2}*\frac{2}{4})-93", "214.403935166728"),
    (20, r"(87^3*67^2+92^3/(\frac{49}{4}/17^3))/(5^3+\frac{11}{3}+\frac{48}{3}+\frac{42}{7}+\frac{42}{5})+((\frac{92}{2}/53-\frac{97}{7})*((\frac{88}{2}-50)/\frac{37}{8}))*(37^3-43^2)+\frac{90}{8}+14/35^3", "21369267.7731098"),
    (20, r"(59*((22^3*17^2)/61^3+\frac{53}{6}))*((\frac{24}{4}/\frac{36}{4}+95^2*(15^3*\frac{34}{4}))/((\frac{73}{2}*\frac{43}{7})*(\frac{86}{3}/\frac{62}{3}))-68^3/30+86^2+\frac{87}{4}+\frac{58}{8}-\frac{85}{8}-32)", "1095646875.23170"),
    (20, r"((\frac{45}{5}/53^3)/(\frac{90}{9}+\frac{99}{6}/(\frac{67}{5}-57^2)-66^3*\frac{12}{6}))/((31^3*45^2+\frac{11}{4}*38^3)/((\frac{15}{9}-43^3)*(43^3*\frac{70}{9})))+\frac{4}{2}*\frac{22}{6}+9^2/20^2+\frac{88}{5}", "25.1358334188051"),
)  # fmt: skip
"""Level, expression and answer, from the published files."""

OPERATIONS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul}


def by_tree(text):
    """The value by Python's grammar: LaTeX is rewritten to it, and the tree is walked, never run."""
    text = re.sub(r"\\frac\{(\d+)\}\{(\d+)\}", r"(\1/\2)", text).replace("^", "**")

    def walk(node):
        if isinstance(node, ast.Expression):
            return walk(node.body)
        if isinstance(node, ast.Constant):
            return Fraction(node.value)
        if isinstance(node, ast.UnaryOp):
            return -walk(node.operand)
        a, b = walk(node.left), walk(node.right)
        if isinstance(node.op, ast.Pow):
            return a ** int(b)
        if isinstance(node.op, ast.Div):
            return a / b
        return OPERATIONS[type(node.op)](a, b)

    return walk(ast.parse(text, mode="eval"))


@pytest.mark.parametrize(("steps", "text", "answer"), PUBLISHED)
def test_published_problems_have_their_published_values(steps, text, answer):
    assert operations(text) == steps
    assert decimal(evaluate(text)) == answer
    assert evaluate(text) == evaluate_plain(text) == by_tree(text)


def test_worked_values_of_the_paper():
    assert evaluate(r"\frac{15}{3}-15^2") == -220
    assert evaluate("9-3+2") == 8  # printed from 9-(3+2): what is printed counts
    assert evaluate("9-(3+2)") == 4


@given(st.integers(1, 9), st.integers(0, 400), st.sampled_from(["authors", "faithful"]))
@settings(max_examples=20, deadline=None)
def test_three_evaluators_agree_on_drawn_problems(steps, seed, style):
    for p in RandomCalculation(steps, seed % 7, style).sample(20 + seed)[-3:]:
        assert p.exact == evaluate(p.expression) == evaluate_plain(p.expression)
        assert p.exact == by_tree(p.expression)
        assert operations(p.expression) == p.steps == steps


LEAF = st.one_of(
    st.integers(0, 99).map(str),
    st.tuples(st.integers(0, 99), st.integers(1, 9)).map(lambda t: f"\\frac{{{t[0]}}}{{{t[1]}}}"),
    st.tuples(st.integers(0, 20), st.integers(0, 4)).map(lambda t: f"{t[0]}^{t[1]}"),
)
TREE = st.recursive(
    LEAF,
    lambda t: st.one_of(
        st.tuples(t, st.sampled_from("+-*/"), t).map("".join),
        t.map(lambda x: f"({x})"),
    ),
    max_leaves=25,
)


@given(TREE)
@settings(max_examples=400, deadline=None)
def test_any_expression_is_read_as_python_reads_it(text):
    try:
        expected = by_tree(text)
    except ZeroDivisionError:
        with pytest.raises(DataError, match="zero"):
            evaluate(text)
        return
    assert evaluate(text) == expected


@given(st.text(alphabet="0123456789+-*/^(){}.\\frac ", max_size=60))
@settings(max_examples=400, deadline=None)
def test_any_text_gives_a_value_or_a_clear_error(text):
    try:
        value = evaluate(text)
    except DataError as error:
        value = str(error)
    assert isinstance(value, Fraction) or "cannot be evaluated" in value


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "ends where a number"), ("1+", "ends where"), ("(1", "missing"), ("1)", "where none"),
        ("1 2", "missing between"), ("2(3)", "missing before"), ("1/0", "zero"), (r"\frac{1}{0}", "zero"),
        ("1/(2-2)", "zero"), ("2^(3)", "not understood"), ("x+1", "not understood"), ("1**2", "number is needed"),
        ("9^99999", "too large"), ("((2^900)^900)^900", "too large"), ("(" * 99 + "1" + ")" * 99, "nested"),
        ("1+" * 20_000 + "1", "characters"), ("9" * 5_000, "limit"), ("__import__('os')", "not understood"),
    ],
)  # fmt: skip
def test_what_cannot_be_evaluated_says_why(text, why):
    with pytest.raises(DataError, match=why):
        evaluate(text)


def test_endless_products_stop_at_the_bound():
    with pytest.raises(DataError, match="digits"):
        evaluate("*".join(["9999^500"] * 30))


def test_nested_terms_beyond_the_remembered_depth():
    text = "1"
    for i in range(2, 30):
        text = f"({text}+{i})"
    assert evaluate(text) == sum(range(1, 30))
    assert evaluate(f"{text}^2*2") == 2 * sum(range(1, 30)) ** 2


def test_other_spellings():
    assert evaluate(r"\left(3\times 4\right)\div 6\cdot 2") == 4
    assert evaluate(r"\dfrac{1}{2}^{2} + .25") == Fraction(1, 2)
    assert evaluate("-5--3") == -2


def test_no_eval_nor_exec_in_the_sources():
    from pathlib import Path

    for path in Path(reading.__file__).parent.glob("*.py"):
        names = {n.func.id for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)}  # fmt: skip
        assert not names & {"eval", "exec", "compile", "__import__"}, path.name


@given(st.fractions().filter(bool))
@settings(max_examples=300, deadline=None)
def test_fifteen_digits_as_sympy_writes_them(value):
    shown = decimal(value)
    assert abs(Fraction(shown) - value) <= abs(value) * Fraction(1, 2 * 10**14)
    # sympy rounds a binary number, so the last digit may differ; length and form may not
    other = str(sympy.N(sympy.Rational(value.numerator, value.denominator), 15))
    assert (len(shown), "e" in shown) == (len(other), "e" in other) or shown.lstrip("-")[0] != other.lstrip("-")[0]  # fmt: skip


def test_level_zero_is_the_published_list():
    texts = [t for t, _ in atoms()]
    assert len(texts) == len(set(texts)) == 1088
    assert sum(t.startswith("\\frac") for t in texts) == 792
    assert all(v == by_tree(t) for t, v in atoms())
    assert {p.expression for p in generate(1088, steps=0)} == set(texts)


def test_shares_are_those_of_the_published_files():
    """Sheet, section 3.2: whole and negative answers."""
    for steps, whole, negative in ((5, 0.02, 0.35), (10, 0.003, 0.44), (20, 0.0, 0.47)):
        values = [p.exact for p in generate(3000, steps=steps, seed=5)]
        assert abs(sum(v.denominator == 1 for v in values) / 3000 - whole) < 0.015
        assert abs(sum(v < 0 for v in values) / 3000 - negative) < 0.05
    zero = [v for _, v in atoms()]
    assert abs(sum(v.denominator == 1 for v in zero) / 1088 - 0.43) < 0.01


def as_published(steps, seed):
    """The published procedure, on text alone: its values are read from what it prints."""
    rng = random.Random(seed)
    levels = [[(t, 0) for t, _ in atoms()]]
    for i in range(1, steps + 1):
        made = []
        for j in range(i // 2 + i % 2):
            for _ in range(1200):
                a, b = rng.choice(levels[j]), rng.choice(levels[i - 1 - j])
                op = rng.choice("+-*/")
                if rng.random() < 0.5:
                    a, b = b, a
                texts = [f"({t})" if op in "*/" and n else t for t, n in (a, b)]
                made.append((op.join(texts), a[1] + b[1] + 1))
        levels.append(made)
    rng.shuffle(levels[-1])
    out = []
    for text, _ in levels[-1][:1000]:
        with contextlib.suppress(DataError):
            out.append(evaluate(text))
    return out


def test_sizes_are_those_of_the_published_procedure():
    """Medians of |value| vary by .1 to .2 in log10 between seeds: means over seeds are compared."""

    def middle(values):
        return math.log10(float(sorted(abs(v) for v in values)[len(values) // 2]))

    ours = [middle([p.exact for p in generate(1000, steps=5, seed=s)]) for s in range(8)]
    theirs = [middle(as_published(5, s)) for s in range(8)]
    assert abs(sum(ours) - sum(theirs)) / 8 < 0.25
    assert all(2.2 < m < 3.3 for m in (*ours, *theirs))


def test_splits_cover_every_pair_of_levels_and_both_orders():
    problems = generate(3000, steps=2, seed=1)
    heads = {"bracket first": 0, "bracket last": 0}
    for p in problems:
        heads["bracket first"] += p.expression.startswith("(")
        heads["bracket last"] += p.expression.endswith(")")
    assert all(500 < n < 1000 for n in heads.values())  # a quarter each: * or /, one order


def test_authors_print_and_faithful_print():
    joined = {
        style: generate(2000, steps=3, seed=2, parenthesise=style)
        for style in ("authors", "faithful")
    }
    kept = re.compile(r"-\([^()]*[+-][^()]*\)(?![*/])")  # a bracket that only a minus asks for
    assert not any(kept.search(p.expression) for p in joined["authors"])
    assert sum(bool(kept.search(p.expression)) for p in joined["faithful"]) > 50
    assert all(operations(p.expression) == 3 for ps in joined.values() for p in ps)


def test_no_problem_twice_none_divides_by_zero_and_seeds_tell():
    problems = generate(20_000, steps=1, seed=9)
    assert verify(problems) == len({p.expression for p in problems}) == 20_000
    assert generate(50, seed=3) == generate(50, seed=3)
    assert not {p.expression for p in generate(50, seed=3)} & {
        p.expression for p in generate(50, seed=4)
    }
    assert [p.id for p in generate(5, steps=20)] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    "bad",
    [
        Problem(7, 1, "1+2", Fraction(4)), Problem(7, 2, "1+2", Fraction(3)), Problem(7, 1, "1/0", Fraction(0)),
    ],
)  # fmt: skip
def test_verify_finds_what_is_wrong(bad):
    good = Problem(0, 1, "2+2", Fraction(4))
    with pytest.raises(DataError, match="problem 7"):
        verify([good, bad])
    with pytest.raises(DataError, match="twice"):
        verify([good, good])


@pytest.mark.parametrize(
    "call",
    [
        lambda: generate(-1), lambda: generate(2000, steps=0), lambda: generate(1, steps=21),
        lambda: generate(1, steps=True), lambda: generate(1, parenthesise="both"),
    ],
)  # fmt: skip
def test_values_that_make_no_sense_are_refused(call):
    with pytest.raises(UsageError):
        call()


def test_files_come_back_and_published_ones_are_read(tmp_path):
    problems = generate(30, steps=7, seed=1)
    for path in (to_json(problems, tmp_path / "a.json"), to_jsonl(problems, tmp_path / "a.jsonl")):
        back = read_problems(path)
        assert list(back.problems) == problems
        assert (back.excluded, back.wrong) == ((), ())
    published = [{"id": 3, "prompt": INSTRUCTION + t, "answer": a} for _, t, a in PUBLISHED]
    published.append({"id": 9, "prompt": INSTRUCTION + r"2/(\frac{76}{2}/0)", "answer": "0"})
    published.append({"id": 11, "prompt": INSTRUCTION + "2+2", "answer": "5.00000000000000"})
    published.append({"id": 12, "prompt": INSTRUCTION + "2+3"})
    path = tmp_path / "published.json"
    path.write_text(json.dumps(published))
    back = read_problems(path)
    assert len(back.problems) == len(PUBLISHED) + 2
    assert [i for i, _ in back.excluded] == [9]
    assert "zero" in back.excluded[0][1]
    assert back.wrong == ((11, "5.00000000000000", "4.00000000000000"),)


def test_files_that_cannot_be_read_are_named(tmp_path):
    path = tmp_path / "x.json"
    for text, why in (
        ("[1]", "record 1"),
        ("[", "not JSON"),
        ('{"answer": "1"}', "line 1"),
        ("{", "line 1"),
    ):
        path.write_text(text)
        with pytest.raises(DataError, match=why):
            read_problems(path)
    with pytest.raises(DataError, match=r"none\.json"):
        read_problems(tmp_path / "none.json")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputError):
        to_jsonl(generate(1), tmp_path / "folder")


def test_a_prompt_or_a_bare_expression_is_a_problem_and_words_are_none():
    assert problem_of(INSTRUCTION + "1/3+2").exact == Fraction(7, 3)
    assert problem_of("1/3+2").answer == "2.33333333333333"
    assert problem_of("Add 1 and 2.") is None
    assert problem_of("1/0") is None
    assert problem_of("") is None


def test_export_to_datasets(monkeypatch):
    class Dataset:
        @staticmethod
        def from_list(rows):
            return rows

    monkeypatch.setitem(sys.modules, "datasets", type(sys)("datasets"))
    sys.modules["datasets"].Dataset = Dataset
    rows = to_datasets(generate(3, steps=2))
    assert list(rows[0]) == ["id", "steps", "prompt", "expression", "answer", "exact"]
    p, _, q = rows[0]["exact"].partition("/")
    assert decimal(Fraction(int(p), int(q))) == rows[0]["answer"]
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingExtra, match="byheart"):
        to_datasets(generate(1))
