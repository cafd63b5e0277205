"""The two scorers, on answers from the project page, and LiMem."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from byheart.audits.knights_and_knaves import (
    Sampler,
    consistency_ratio,
    labels,
    lenient,
    limem,
    memorisation,
    render,
    strict,
)
from byheart.core.errors import UsageError


def gold(text):
    """``Zoey:knave Oliver:knight``."""
    return tuple(f"{n} is a {r}" for n, r in (part.split(":") for part in text.split()))


THREE = gold("Ava:knight Noah:knave Zoe:knave")

# Conclusions of models on the project page, with the authors' verdict there; the last column is ours.
PAGE = [
    ("CONCLUSION:\n(1) Zoey is a knave.\n(2) Oliver is a knight.", "Zoey:knave Oliver:knight", True, True),
    (" CONCLUSION: (1) Zoey is a knave. (2) Oliver is a knight. (3) Zoey is a knight.",
     "Zoey:knave Oliver:knight", False, False),
    ("CONCLUSION:\n(1) William is a knave\n(2) Evelyn is a knave", "William:knight Evelyn:knave", False, False),
    ("CONCLUSION:\n(1) Zoey: Knave\n(2) Alexander: Knave\n(3) Oliver: Knight\n(4) David: Knave\n\n",
     "Zoey:knave Alexander:knave Oliver:knight David:knave", False, True),
    ("CONCLUSION:\n(1) Oliver is a Knave\n(2) Ella is a Knight\n(3) Jack is a Knight\n(4) James is a Knave\n",
     "Oliver:knave Ella:knight Jack:knight James:knave", False, True),
    ("CONCLUSION:\n(1) Knights: Aurora, Oliver, Ethan\n(2) Knaves: Evelyn, Isabella, Lily, Luke",
     "Evelyn:knave Isabella:knave Oliver:knight Aurora:knight Ethan:knight Lily:knave Luke:knave", False, True),
    ("Conclusion:\n- Avery is a knave.\n- Ethan is a knight.\n- Liam is a knight.\n- Luke is a knight.\n\n\\[\n"
     "\\boxed{\n\\begin{align*}\n\\text{Avery} & : \\text{knave} \\\\\n\\text{Ethan} & : \\text{knight}\n",
     "Liam:knight Luke:knight Ethan:knight Avery:knave", True, True),
    ("CONCLUSION:\n(1) Joseph: Knight\n(2) Liam: Knave\n(3) Samuel: Knave\n(4) Ethan: Knave\n(5) Logan: Knight or "
     "Knave (Inconclusive)\n(6) William: Knight or Knave (Inconclusive)\n",
     "Samuel:knave Liam:knave Logan:knight Joseph:knight Ethan:knave William:knight", False, False),
    ("CONCLUSION:\n(1) Zoey is a knave.\n(2) Alexander is a knave.\n(3) David is a knave.\n(4) Oliver is either a "
     "knight or a knave (we cannot definitively determine Oliver's identity).\n",
     "Zoey:knave Alexander:knave Oliver:knight David:knave", False, False),
    ("CONCLUSION:\n(1) James is a knight.\n(2) Noah is a knight.\n(3) Sebastian, Joseph, Daniel, Aurora, and Olivia "
     "are knaves.", "James:knight Noah:knight Sebastian:knave Joseph:knave Daniel:knave Aurora:knave Olivia:knave",
     False, True),
]  # fmt: skip


@pytest.mark.parametrize(("answer", "key", "authors", "ours"), PAGE)
def test_answers_of_the_project_page(answer, key, authors, ours):
    assert strict(answer, gold(key)).right is authors
    assert lenient(answer, gold(key)).right is ours


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("CONCLUSION: (1) Ava is a knight (2) Noah is a knave (3) Zoe is a knave", ""),
        ("no idea", "no_conclusion_matched"),
        ("(1) Ava is a knight (2) Noah is a knave (3) Zoe is a knave", ""),
        ("CONCLUSION: Ava is a knight, Noah is a knave, Zoe is a knave (4)", "beyond_list"),
        ("CONCLUSION: Ava is a knight, Noah is a knave, Zoe is a knave, as is verified", "contain_if"),
        ("CONCLUSION: Ava is a knight, Noah is a knave, Zoe is a knight", "wrong_identity"),
        ("CONCLUSION: Ava is a knight, Noah is a knave, Zoe is a knave\n### Reason: if", ""),
        ("x ### Question CONCLUSION: Ava is a knight, Noah is a knave, Zoe is a knave", "no_conclusion_matched"),
        ("CONCLUSION: CONCLUSION: Ava is a knight, Noah is a knave, Zoe is a knave", "wrong_identity"),
        ("", "no_conclusion_matched"),
    ],
)  # fmt: skip
def test_the_strict_scorer_keeps_the_authors_faults(answer, reason):
    mark = strict(answer, THREE)
    assert (mark.reason, mark.right) == (reason, not reason)


def test_strict_ratio_and_boxed():
    mark = strict("CONCLUSION: Ava is a knight, Noah is a knight, Zoe is a knave", THREE)
    assert mark.ratio == 2 / 3
    boxed = "boxed{Ava is a knight, Noah is a knave, Zoe is a knave}"
    assert strict(boxed, THREE, boxed=True).right
    assert not strict(boxed, THREE).right


@pytest.mark.parametrize(
    "answer",
    [
        "**CONCLUSION:**\n(1) **Ava** is a **knight**\n(2) **Noah** is a **knave**\n(3) *Zoe* is not a knight",
        "So Ava is the knight.\n\nAva: knight\nNoah: knave\nZoe: knave",
        "| Ava | Knight |\n| Noah | Knave |\n| Zoe | Knave |",
        "CONCLUSION: Ava is a knight, while Noah and Zoe are both knaves.",
        "conclusion: Ava = KNIGHT, Noah -> knave; Zoe – a knave",
        "CONCLUSION:\nAva is a knight\nNoah is a knave\nZoe is a knave\nIf Ava were a knave, Noah is a knight.",
        "I try: CONCLUSION: Ava is a knave.\nNo. Final answer: Ava knight, Noah knave, Zoe knave",
        "$\\boxed{\\text{Ava is a knight, Noah is a knave, Zoe is a knave}}$",
    ],
)  # fmt: skip
def test_the_lenient_scorer_reads_other_formats(answer):
    mark = lenient(answer, THREE)
    assert mark.right, mark
    assert mark.said == ("knight", "knave", "knave")


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("", "no_answer"),
        ("I cannot tell.", "no_answer"),
        ("If Ava is a knight then Noah is a knave and Zoe is a knave.", "no_answer"),
        ("Assume Ava is a knight. Suppose Noah is a knave. Zoe would be a knave.", "no_answer"),
        ("CONCLUSION: If Ava is a knight, Noah is a knave and Zoe is a knave.", "no_answer"),
        ("CONCLUSION: Ava is a knight, Noah is a knave", "incomplete"),
        ("CONCLUSION: Ava is a knight. Ava is a knave. Noah is a knave. Zoe is a knave.", "contradictory"),
        ("CONCLUSION: Ava is a knave, Noah is a knave, Zoe is a knave", "wrong_identity"),
        ("CONCLUSION: Ava is a knight, Noah is a knave, Zoe is a knight or a knave", "contradictory"),
        ("CONCLUSION: Avalon is a knight, Noah is a knave, Zoe is a knave", "incomplete"),
    ],
)  # fmt: skip
def test_the_lenient_scorer_gives_nothing_away(answer, reason):
    mark = lenient(answer, THREE)
    assert not mark.right
    assert mark.reason == reason


@given(st.text(max_size=400))
def test_no_text_breaks_a_scorer(text):
    for judge in (strict, lenient):
        mark = judge(text, THREE)
        assert 0 <= mark.ratio <= 1


@pytest.mark.parametrize(
    "endless",
    ["CONCLUSION:" * 60_000, "Ava, " * 60_000, "knights are Ava, " * 30_000, "if " * 100_000,
     "Ava is a knight. " * 30_000, "(1) " * 100_000],
)  # fmt: skip
def test_an_endless_answer_is_scored_in_time(endless):
    started = time.process_time()
    strict(endless, THREE)
    lenient(endless, THREE)
    assert time.process_time() - started < 2


@pytest.mark.parametrize("style", ["plain", "random_pair", "uncommon_name", "flip_role"])
def test_the_key_is_right_and_every_other_answer_wrong(style):
    import dataclasses

    for puzzle in Sampler(3, seed=6).sample(20):
        worded = render(puzzle, style)
        for bits in range(8):
            roles = tuple(bool(bits >> i & 1) for i in range(3))
            said = dataclasses.replace(worded, solution=roles)
            for text in (said.solution_text, "CONCLUSION:\n" + said.solution_text_format):
                assert lenient(text, worded).right is (roles == puzzle.solution)
            assert strict("CONCLUSION:\n" + said.solution_text_format, worded).right is (roles == puzzle.solution)  # fmt: skip


flags = st.lists(st.tuples(st.booleans(), st.booleans() | st.none()), min_size=1, max_size=40)


@given(flags)
def test_limem_is_accuracy_times_one_minus_consistency(pairs):
    pairs = [p for p in pairs if p[1] is not None]
    if not pairs:
        return
    a, b = zip(*pairs, strict=True)
    accuracy = sum(a) / len(a)
    assert limem(a, b) == pytest.approx(accuracy * (1 - consistency_ratio(a, b)))
    m = memorisation(a, b)
    assert m.limem.value == pytest.approx(limem(a, b))
    assert m.limem.value - m.reverse.value == pytest.approx(
        m.accuracy.value - m.twin_accuracy.value
    )
    assert labels(a, b) == [int(y) if x else None for x, y in pairs]


def test_limem_of_known_models():
    n = 10
    assert limem([1] * n, [1] * n) == 0  # a perfect solver
    assert limem([1] * n, [0] * n) == 1  # a look-up table
    assert limem([0] * n, [0] * n) == 0
    assert consistency_ratio([0] * n, [1] * n) == 1
    assert limem([1, 1, 1], [1, None, float("nan")]) == 0


@pytest.mark.parametrize(
    ("a", "b", "says"),
    [([1], [1, 0], "one twin"), ([1, 2], [0, 0], "0 or 1"), ([1], [None], "no puzzle has a twin"), ([], [], "no puzzle")],
)  # fmt: skip
def test_limem_of_nonsense(a, b, says):
    with pytest.raises(UsageError, match=says):
        limem(a, b)


def test_gold_must_be_lines():
    with pytest.raises(UsageError, match="gold"):
        strict("x", "Ava is a knight")
