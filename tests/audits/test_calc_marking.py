"""Numbers, answers, ROUGE-L, cutting, and twins. Oracles: rouge-score, worked values, closed forms."""

import itertools
import json
import re
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nltk.stem.porter import PorterStemmer
from rouge_score.rouge_scorer import RougeScorer

from byheart.audits._calc import porter, twins
from byheart.audits._calc.material import shipped
from byheart.audits.random_calculation import (
    RATIOS,
    PartialPrompt,
    answer_accuracy,
    boxed,
    completed,
    completion_rate,
    exact_match,
    exact_number,
    extract,
    gold_of,
    grade,
    invented,
    lenient,
    number,
    partial_prompt,
    redraw,
    rouge_l,
    strict,
    tail_of,
    truncate,
)
from byheart.core.errors import CapabilityError, UsageError
from byheart.core.toy import SuffixModel


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("42", 42), ("-19.87", Fraction(-1987, 100)), ("1,234,567", 1234567), ("1{,}000", 1000),
        (r"\frac{17}{3}", Fraction(17, 3)), (r"-\frac{1}{2}", Fraction(-1, 2)), (r"\frac12", Fraction(1, 2)),
        ("3/4", Fraction(3, 4)), (r"2\frac{1}{3}", Fraction(7, 3)), (r"-2\frac{1}{3}", Fraction(-7, 3)),
        ("1.5e-6", Fraction(15, 10**7)), ("-2E3", -2000), (r"1.5 \times 10^{-6}", Fraction(15, 10**7)),
        (r"3 \cdot 10^4", 30000), (r"\$12.50", Fraction(25, 2)), ("50%", 50), (r"50\%", 50), ("{7}", 7),
        (".5", Fraction(1, 2)), ("12.", 12), (r"\boxed{12}", 12), ("2^10", 1024), ("\u22125", -5),
        ("nan", None), ("inf", None), ("", None), (None, None), ("ten", None), ("1/0", None), ("1 2", None),
        (r"\frac{1}{0}", None), ("1e99999", None), ("9" * 3000, None), ("x", None), ("1,23", None), ("--", None),
    ],
)  # fmt: skip
def test_numbers_as_models_write_them(text, value):
    assert exact_number(text) == value


def test_a_float_that_cannot_hold_it_is_none():
    assert number("1e400") is None
    assert number("1e300") == 1e300


@given(st.fractions(), st.sampled_from(["{}", "${}$", " {} .", "\\boxed{{{}}}"]))
def test_fractions_come_back(value, form):
    assert exact_number(form.format(f"{value.numerator}/{value.denominator}")) == value


@given(st.text(max_size=200))
@settings(max_examples=300, deadline=None)
def test_any_text_can_be_marked(text):
    for key in ("18", r"\frac{1}{2}", "Monday"):
        assert strict(text, key).right <= lenient(text, key).right
    assert exact_number(text) is None or isinstance(exact_number(text), Fraction)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("Final Answer: The final answer is $12$. I hope it is correct.", "12"),
        (r"so \boxed{\frac{1}{2}}. And 3", r"\frac{1}{2}"),
        (r"\boxed{1} then \boxed{2}", "2"),
        (r"cut off \boxed{17", "17"),
        (r"\boxed 12$ x", "12"),
        ("The answer is: 7.", "7"),
        ("The answer is 7.\n\nQuestion: 9 eggs", "7.Question: 9 eggs"),
        ("1,234 and 5,678", "5678"),
        ("no number", None),
        ("", None),
        (r"\boxed{}", None),
        ("a range 3-4", "-4"),
    ],
)
def test_the_authors_order_of_places(text, answer):
    assert extract(text) == answer


def test_boxes_may_nest():
    assert boxed(r"\boxed{\frac{\sqrt{2}}{3}} end") == r"\frac{\sqrt{2}}{3}"
    assert boxed("none") is None


@pytest.mark.parametrize(
    ("given_", "gold", "right"),
    [
        ("18", "18", True), ("18.0", "18", True), ("$18$", "18", True), ("1/2", r"\frac{1}{2}", True),
        ("0.5", r"\dfrac12", True), (r"\frac{1}{23}", r"\frac{12}{3}", False), ("12 cm", "12", True),
        ("90^\\circ", "90", True), (r"\text{Monday}", "monday", True), ("1,000", "1000", True),
        ("18 eggs", "18", False), ("17", "18", False), ("", "18", False), (None, "18", False),
        ("5.33333333333", "5.33333333333333", True), ("5.3333", "5.33333333333333", False),
        ("(1,2)", "(1, 2)", True), (r"2\sqrt{3}", r"2\sqrt{3}", True), ("3", "0", False), ("0", "0", True),
    ],
)  # fmt: skip
def test_grading(given_, gold, right):
    assert grade(given_, gold) is right


def test_lenient_looks_anywhere_and_only_for_whole_numbers():
    assert lenient("18 it is, on each of 7 days", "18").right
    assert not strict("18 it is, on each of 7 days", "18").right
    for text in ("180", "3.18", "18.5", "x18", "118"):
        assert not lenient(f"{text} and 7", "18").right
    assert lenient("the day is Monday, 3 pm", "Monday").right
    assert not lenient("xy and 7", "x").right
    assert lenient("choose b. 7 of 9", "b").right


def test_endless_answers_take_no_time():
    import time

    start = time.process_time()
    for text in (
        "1 " * 500_000,
        "boxed{" * 200_000,
        "9" * 1_000_000,
        "(" * 500_000,
        r"\frac{" * 100_000,
    ):
        assert not strict(text, "18").right
        assert not lenient(text, "18").right
    assert time.process_time() - start < 5


def test_keys_of_benchmarks():
    assert gold_of("a\n#### 1,234") == "1,234"
    assert gold_of(r"Thus $\boxed{x^2}$.") == "x^2"
    assert gold_of("42\n") == "42"


WORDS = st.lists(
    st.sampled_from(
        [
            "the",
            "cat",
            "cats",
            "running",
            "runs",
            "16",
            "$",
            "ducks",
            "duck's",
            "eggs.",
            "relational",
            "happily",
            "of",
            "\\frac{1}{2}",
            "Sell",
        ]
    ),
    max_size=12,
).map(" ".join)


@given(WORDS, WORDS)
@settings(max_examples=60, deadline=None)
def test_rouge_is_that_of_rouge_score(a, b):
    scorer = RougeScorer(["rougeL"], use_stemmer=True)
    assert rouge_l(a, b) == pytest.approx(scorer.score(b, a)["rougeL"].fmeasure, abs=1e-12)


def test_rouge_is_that_of_rouge_score_on_the_questions_shipped():
    scorer = RougeScorer(["rougeL"], use_stemmer=True)
    texts = [q.text for q in shipped()]
    for a, b in itertools.pairwise(texts):
        assert rouge_l(a, b) == pytest.approx(scorer.score(b, a)["rougeL"].fmeasure, abs=1e-12)


def test_stems_are_those_of_nltk():
    stemmer = PorterStemmer()
    endings = (
        "", "s", "es", "ies", "ied", "ed", "ing", "y", "ly", "eed", "ational", "tional", "enci", "izer", "bli", "alli",
        "ally", "ably", "fully", "logy", "ization", "ation", "ator", "alism", "iveness", "fulness", "ousness", "ality",
        "ivity", "bility", "icate", "ative", "alize", "icity", "ical", "ful", "ness", "ance", "able", "ement", "ent",
        "sion", "tion", "ion", "ou", "ism", "ate", "ity", "ous", "ive", "ize", "e", "ll", "le", "sses", "ss", "t", "z",
    )  # fmt: skip
    heads = "a b st tr cat hop fall fizz fil agr prob ration hopeless condition rely day toy relat oscill s gyroscop".split()  # noqa: SIM905
    words = [h + e for h in heads for e in endings] + [
        w for q in shipped() for w in re.findall("[a-z]+", q.text)
    ]
    words += ["news", "skies", "dying", "innings", "proceed", "yes", "by", "i", ""]
    assert [porter.stem(w) for w in words] == [stemmer.stem(w) for w in words]


def test_em_is_blind_to_what_rouge_drops():
    assert exact_match(rouge_l(r"\FRAC{1}{2} eggs", "1 2 egg!")) is False  # "frac" is a word
    assert exact_match(rouge_l("$16 Eggs", "16 egg."))
    assert rouge_l("", "a") == rouge_l("a", "") == rouge_l("...", "a") == 0


@pytest.mark.parametrize(
    ("text", "ratio", "shown"),
    [
        ("How many eggs does she sell?", 0.4, "How many eggs"),
        ("How many eggs does she sell?", 0.3, "How many"),  # cut on the blank itself
        ("abcdefgh", 0.4, "abcdefgh"),  # nowhere to cut
        (r"\frac{17}{3}-84", 0.5, r"\frac{17"),
        ("a b", 1.0, "a b"), ("a b", 2.0, "a b"), ("", 0.5, ""), ("one,two", 0.2, "one"), ("a \n b c", 0.4, "a"),
    ],
)  # fmt: skip
def test_cutting_as_the_authors_do(text, ratio, shown):
    assert truncate(text, ratio) == shown
    assert text.startswith(shown)


@given(st.text(alphabet="ab ,.\n}", max_size=60), st.floats(0.01, 1.5))
def test_cuts_fall_on_ends_of_words(text, ratio):
    shown = truncate(text, ratio)
    assert text.startswith(shown)
    if ratio < 1 and len(shown) < len(text):
        assert text[len(shown)] in " \n,.!?)]}" or text[len(shown) :].isspace()
        assert len(shown) >= len(text[: int(len(text) * ratio)].rstrip())
    assert tail_of(text, shown) == text[len(shown) :].strip()


def test_a_ratio_of_nothing_is_refused():
    with pytest.raises(UsageError):
        truncate("a", 0)


def test_completed_wants_the_tails_words_in_a_row():
    assert completed("Of course: DOES she sell", "does she sell?")
    assert not completed("does he she sell", "does she sell?")
    assert not completed("anything", "?!")


def test_rates_count_empty_tails_as_nothing():
    rows = [
        PartialPrompt.of("a", 0.6, "x", "sold 9 eggs", "sold 9 eggs today", "9"),
        PartialPrompt.of("b", 0.6, "x", "", "whatever 8", "9"),
        PartialPrompt.of("c", 1.0, "x", "", "It is 9", ""),
    ]
    assert completion_rate(rows) == {
        0.6: {"rouge_l": 0.5, "exact_match": 0.5, "completed": 0.5, "n": 2.0}
    }
    assert answer_accuracy(rows)[0.6] == {"correct": 0.5, "contains": 0.5, "n": 2.0}
    assert answer_accuracy(rows)[1.0] == {"correct": None, "contains": None, "n": 0.0}


def test_probes_on_a_model_that_has_read_one_text():
    known, new = (invented(0, seed=s)[0] for s in (1, 2))
    report = partial_prompt(SuffixModel([known]), [known, (new, "12")], ratios=(0.8, 0.4, 1.0))
    by_id = {(r.id, r.ratio): r for r in report.rows}
    assert by_id["0", 0.8].exact_match == by_id["0", 0.4].exact_match == 1
    assert by_id["1", 0.8].exact_match == by_id["1", 0.4].exact_match == 0
    assert ("0", 1.0) not in by_id  # no key, nothing to answer
    assert report.completion[0.4]["exact_match"] == 0.5
    assert report.accuracy[1.0]["n"] == 1
    several = partial_prompt(SuffixModel([known]), [known], ratios=(0.5,), samples=4)
    assert len(several.rows) == 4
    with pytest.raises(UsageError):
        partial_prompt(SuffixModel([known]), [])


def test_probes_need_sampling():
    class Mute(SuffixModel):
        capabilities = frozenset({"score"})

    with pytest.raises(CapabilityError):
        partial_prompt(Mute([]), ["a b c"])


@pytest.mark.parametrize("question", shipped(), ids=lambda q: q.id)
def test_twins_differ_in_numbers_only_and_are_cut_alike(question):
    twin = redraw(question.text, seed=1)
    assert twin != question.text
    assert len(twin) == len(question.text)
    assert re.sub(r"\d", "#", twin) == re.sub(r"\d", "#", question.text)
    for ratio in RATIOS:
        assert len(truncate(twin, ratio)) == len(truncate(question.text, ratio))


def test_twins_keep_what_the_world_fixes_and_stay_consistent():
    text = "In 7 days of 24 hours, 18 hens and 35 ducks lay 53 eggs; 18 hens lay 1,200 on the 23rd of 1984 days."
    for seed in range(50):
        twin = redraw(text, seed=seed)
        assert twin.startswith("In 7 days of 24 hours,")
        assert "23rd" in twin
        hens = re.findall(r"(\d+) hens", twin)
        assert hens[0] == hens[1] != "18"
        assert len({hens[0], *re.findall(r"(\d+) (?:ducks|eggs)", twin)}) == 3
        assert re.search(r"lay \d,\d00 on", twin)
    assert redraw("No numbers, 2 or 100.") is None
    assert redraw(text, 1) == redraw(text, 1) != redraw(text, 2)


@given(st.text(alphabet="0123456789,. $a%", max_size=40), st.integers(0, 5))
@settings(max_examples=300, deadline=None)
def test_any_text_has_a_twin_of_its_length_or_none(text, seed):
    twin = redraw(text, seed)
    assert twin is None or (len(twin) == len(text) and twin != text)


def test_digits_to_guess_are_new_ones_of_the_tail():
    text = "She has 16 hens and 35 ducks, 16 hens lay, 35 do not; 480 eggs."
    twin = redraw(text, 0)
    assert twins.new_digits(text, "", twin) == 2 + 2 + 2  # 16, 35 and 48 of 480
    assert twins.new_digits(text, "She has 16 hens", twin) == 4
    assert twins.new_digits(text, text, twin) == 0


def test_invented_questions_are_siblings_with_right_answers():
    for i in range(40):
        one, two = invented(i), invented(i, version=1)
        assert one != two
        assert re.sub(r"\d", "#", one[0]) == re.sub(r"\d", "#", two[0])
    question, answer = next(q for q in map(invented, range(40)) if " fills " in q[0])
    a, b, c, d, e, f = map(int, re.findall(r"\d+", question))
    assert int(answer) == (a * b - c + d - f) * e


def test_the_shipped_questions_name_source_and_licence():
    data = json.loads((Path(twins.__file__).parent / "gsm8k.json").read_text(encoding="utf-8"))
    assert "MIT License" in data["licence"]
    assert "grade-school-math" in data["source"]
    assert len(shipped()) == 24
    assert shipped()[0].key == "70000"
