"""Solver, sampler and twins: brute force, the published puzzles, and the sheet's invariants."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from byheart.audits.knights_and_knaves import (
    KINDS,
    VARIANTS,
    Draws,
    Puzzle,
    Sampler,
    as_statements,
    neighbours,
    perturb,
    prompt,
    published,
    published_puzzles,
    solve,
    solve_plain,
    wrong_answers,
    wrong_thoughts,
)
from byheart.core.errors import DataError, UsageError

PUBLISHED = json.loads((Path(__file__).parent / "kk_published.json").read_text())


def statements_of(people: int, depth: int = 3) -> st.SearchStrategy:
    leaf = st.tuples(st.sampled_from(["telling-truth", "lying"]), st.integers(0, people - 1))

    def above(inner):
        return (
            st.tuples(st.just("not"), inner)
            | st.tuples(st.sampled_from(["->", "<=>"]), inner, inner)
            | st.lists(inner, min_size=2, max_size=3).flatmap(
                lambda parts: st.sampled_from(["and", "or"]).map(lambda op: (op, *parts))
            )
        )

    return st.tuples(*[st.recursive(leaf, above, max_leaves=6)] * people)


def truth(s, roles):
    """Semantics written down once more, from the sheet."""
    match s:
        case ("telling-truth", j):
            return roles[j]
        case ("lying", j):
            return not roles[j]
        case ("not", a):
            return not truth(a, roles)
        case ("and", *parts):
            return min(truth(p, roles) for p in parts)
        case ("or", *parts):
            return max(truth(p, roles) for p in parts)
        case ("->", a, b):
            return truth(a, roles) <= truth(b, roles)
        case ("<=>", a, b):
            return truth(a, roles) == truth(b, roles)
    raise AssertionError(s)


def brute(statements):
    return [
        roles
        for roles in itertools.product([True, False], repeat=len(statements))
        if all(roles[i] == truth(s, roles) for i, s in enumerate(statements))
    ]


@settings(max_examples=120, deadline=None)
@given(st.integers(2, 6).flatmap(statements_of))
def test_every_solution_is_found_in_the_order_of_enumeration(statements):
    assert solve(statements) == brute(statements) == solve_plain(statements)
    assert solve(str(statements)) == solve(json.dumps(statements)) == brute(statements)
    assert solve([list(s) for s in statements]) == brute(statements)


def test_many_people_and_kept_tables():
    """Beyond the kept assignments, and with numpy's integers."""
    rng = np.random.default_rng(0)
    for people in (13, 17):
        statements = [(str(rng.choice(["telling-truth", "lying"])), rng.integers(people)) for _ in range(people)]  # fmt: skip
        plain = as_statements(statements)
        found = solve(statements)
        assert found == solve(plain)
        assert all(s[i] == truth(plain[i], s) for s in found for i in range(people))
    assert solve(tuple(("telling-truth", (i + 1) % 13) for i in range(13))) == [
        (True,) * 13,
        (False,) * 13,
    ]


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ((), "2 to 20"),
        ((("lying", 0),), "2 to 20"),
        ((("lying", 1),) * 21, "2 to 20"),
        ((("lying", 2), ("lying", 0)), "no person 2"),
        ((("lying", -1), ("lying", 0)), "no person -1"),
        ((("lying", 1.5), ("lying", 0)), "number of a person"),
        ((("xor", ("lying", 0), ("lying", 1)), ("lying", 0)), "unknown operator 'xor'"),
        ((("->", ("lying", 0)), ("lying", 0)), "takes 2"),
        ((("not", ("lying", 0), ("lying", 1)), ("lying", 0)), "takes 1"),
        ((("and", ("lying", 0)), ("lying", 0)), "2 or more"),
        ("nonsense(", "cannot be read"),
        ("__import__('os').getcwd()", "cannot be read"),
        ("(" * 5000, "nested"),
        (("lying", 1), "got"),
        (3, "tuple"),
        (None, "tuple"),
        ((None, None), "a statement is"),
    ],
)
def test_what_is_no_puzzle_is_refused(bad, says):
    with pytest.raises(DataError, match=says):
        solve(bad)


def test_a_puzzle_has_exactly_one_solution():
    with pytest.raises(DataError, match="no solution"):
        Puzzle.of((("lying", 0), ("telling-truth", 0)))
    with pytest.raises(DataError, match="2 solutions"):
        Puzzle.of((("lying", 1), ("lying", 0)))


@pytest.mark.parametrize("people", [1, 21, 0, -3])
def test_people_out_of_range(people):
    with pytest.raises(UsageError, match="people must be 2 to 20"):
        Sampler(people)


def test_puzzles_run_out_loudly():
    """The authors' sampler returns fewer without a word."""
    with pytest.raises(DataError, match="no further puzzle"):
        Sampler(2).sample(5000)


def test_draws_are_numpys():
    for seed in range(40):
        mine, numpys, what = (
            Draws(seed),
            np.random.default_rng(seed),
            np.random.default_rng(seed + 99),
        )
        for _ in range(40):
            match int(what.integers(4)):
                case 0:
                    high = int(what.choice([1, 2, 3, 6, 51, 3_000_000_000]))
                    assert mine.integers(0, high) == numpys.integers(0, high)
                case 1:
                    n = int(what.integers(1, 60))
                    k = int(what.integers(0, n + 1))
                    drawn = numpys.choice(list(range(n)), size=k, replace=False)
                    assert mine.sample(range(n), k) == drawn.tolist()
                case 2:
                    a = list(range(int(what.integers(1, 20))))
                    b = a.copy()
                    mine.shuffle(a)
                    numpys.shuffle(b)
                    assert a == b
                case _:
                    pool = ["telling-truth", "lying"]
                    assert mine.choice(pool) == numpys.choice(pool)


def digest(records):
    lines = "\n".join(json.dumps(r, sort_keys=True) for r in records)
    return [len(records), hashlib.sha256(lines.encode()).hexdigest()[:24]]


@pytest.mark.parametrize("people", [2, 3, 8])
@pytest.mark.parametrize("variant", VARIANTS)
def test_the_authors_records_come_out_bit_for_bit(people, variant):
    assert digest(published(people, variant)) == PUBLISHED["generated"][f"{people} {variant}"]


@pytest.mark.slow
@pytest.mark.parametrize("people", [4, 5, 6, 7])
@pytest.mark.parametrize("variant", VARIANTS)
def test_the_other_records_too(people, variant):
    assert digest(published(people, variant)) == PUBLISHED["generated"][f"{people} {variant}"]


@pytest.mark.parametrize("entry", PUBLISHED["page"], ids=lambda e: f"{e['people']}-{e['index']}")
def test_the_puzzles_of_the_project_page(entry):
    r = published(entry["people"], split="test")[entry["index"]]
    assert r["statements"] == entry["statements"]
    assert r["solution_text_format"] == entry["truth"]
    text = "|".join((r["quiz"], prompt(r["quiz"]), " ".join(r["cot_repeat_steps"])))
    assert hashlib.sha256(text.encode()).hexdigest()[:24] == entry["digest"]


def test_twins_that_could_not_be_found_are_as_many_as_published():
    for people, kind, missing in ((2, "leaf", 71), (3, "leaf", 73), (2, "statement", 1), (8, "leaf", 2)):  # fmt: skip
        assert sum(t is None for t in published_puzzles(people, kind)) == missing


@pytest.mark.parametrize("people", [2, 3, 5])
def test_wrong_answers_and_steps_are_the_authors(people):
    puzzles = published_puzzles(people)
    for name, made in (
        ("wrong", [list(a) for a in wrong_answers(puzzles)]),
        ("shuffle", [list(s) for s in wrong_thoughts(puzzles, "shuffle")]),
        ("replace_one_step", [list(s) for s in wrong_thoughts(puzzles, "replace_one_step")]),
    ):
        told = hashlib.sha256(json.dumps(made).encode()).hexdigest()[:24]
        assert [len(made), told] == PUBLISHED["generated"][f"{people} {name}"], name


def test_wrong_answers_flip_some_roles_and_never_all():
    puzzles = published_puzzles(5, split="train")
    flips = Counter(
        sum(a != b for a, b in zip(p.solution, w, strict=True))
        for p, w in zip(puzzles, wrong_answers(puzzles), strict=True)
    )
    assert set(flips) == {1, 2, 3, 4}
    half = wrong_answers(puzzles, share=0.5)
    assert sum(p.solution != w for p, w in zip(puzzles, half, strict=True)) == 500
    with pytest.raises(UsageError, match="share"):
        wrong_answers(puzzles, share=1.5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("people", [2, 3, 6])
@pytest.mark.parametrize("method", ["draw", "enumerate"])
def test_a_twin_differs_in_one_statement_and_in_its_only_solution(kind, people, method):
    for i, puzzle in enumerate(Sampler(people, seed=5).sample(25)):
        for twin in perturb(puzzle, kind, 3, rng=i, method=method):
            pairs = list(zip(puzzle.statements, twin.statements, strict=True))
            assert sum(a != b for a, b in pairs) == 1
            assert brute(twin.statements) == [twin.solution] != [puzzle.solution]
            if kind == "leaf":
                (changed,) = (p for p in pairs if p[0] != p[1])
                assert leaf_changes(*changed) == 1


def leaf_changes(a, b):
    if a[0] in ("telling-truth", "lying"):
        return int(a != b)
    assert a[0] == b[0]
    assert len(a) == len(b)
    return sum(leaf_changes(x, y) for x, y in zip(a[1:], b[1:], strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_listed_twins_are_those_that_are_drawn_as_often_as_they_are(kind):
    (puzzle,) = Sampler(3, seed=11).sample(1)
    listed = {t.statements: p for p, t in neighbours(puzzle, kind)}
    rng = Draws(3)
    n = 1500 if kind == "statement" else 4000
    drawn = Counter(perturb(puzzle, kind, rng=rng).statements for _ in range(n))
    assert set(drawn) <= set(listed)
    total = sum(listed.values())
    expected = {s: n * p / total for s, p in listed.items()}
    assert sum((drawn[s] - e) ** 2 / e for s, e in expected.items()) < len(listed) + 5 * np.sqrt(2 * len(listed))  # fmt: skip
    picked = Counter(
        perturb(puzzle, kind, rng=rng, method="enumerate").statements for _ in range(n)
    )
    assert sum((picked[s] - e) ** 2 / e for s, e in expected.items()) < len(listed) + 5 * np.sqrt(2 * len(listed))  # fmt: skip


def test_listing_says_for_certain_that_there_is_no_twin():
    clean, twins = published_puzzles(2), published_puzzles(2, "leaf")
    missing = [p for p, t in zip(clean, twins, strict=True) if t is None]
    assert sum(not neighbours(p, "leaf") for p in missing) == len(missing)
    assert perturb(missing[0], "leaf", method="enumerate") is None
    assert perturb(missing[0], "leaf", 3) == []


def test_excluded_twins_do_not_come():
    (puzzle,) = Sampler(3, seed=2).sample(1)
    first = perturb(puzzle, "leaf", rng=4)
    again = perturb(puzzle, "leaf", rng=4, exclude=[first.statements])
    assert again is None or again.statements != first.statements


def test_nobody_says_that_they_lie_and_parts_differ():
    sampler = Sampler(3, depth=3, width=3, seed=0)

    def check(s, speaker, whole=True):
        if s[0] in ("telling-truth", "lying"):
            assert s != ("lying", speaker)
            return
        if s[0] != "not":
            assert len(set(s[1:])) == len(s) - 1
        for part in s[1:]:
            check(part, speaker)

    for _ in range(300):
        for i, s in enumerate(sampler.draw()):
            check(s, i)


@pytest.mark.parametrize(
    ("people", "one"),
    [(2, 0.41), (4, 0.37), (8, 0.32)],
)
def test_share_of_draws_with_one_solution(people, one):
    """Measured on 5,000 draws, sheet section 3.3."""
    sampler = Sampler(people, seed=3)
    share = np.mean([len(solve(sampler.draw())) == 1 for _ in range(5000)])
    assert abs(share - one) < 0.025


def test_knobs_that_make_no_sense():
    (puzzle,) = Sampler(2).sample(1)
    for call, says in (
        (lambda: perturb(puzzle, "noun"), "statement"),
        (lambda: perturb(puzzle, method="guess"), "method"),
        (lambda: perturb(puzzle, n=0), "at least 1"),
        (lambda: neighbours(puzzle, "statement", depth=3), "too many"),
        (lambda: Sampler(3, depth=0), "depth"),
        (lambda: Sampler(3, width=1), "width"),
        (lambda: Sampler(3, seed=-1), "negative"),
        (lambda: published(9), "2 to 8"),
        (lambda: published(3, "other"), "variant"),
        (lambda: published(3, split="val"), "split"),
        (lambda: wrong_thoughts([puzzle], "replace_one_step"), "at least 2"),
        (lambda: wrong_thoughts([puzzle], "other"), "kind"),
    ):
        with pytest.raises(UsageError, match=says):
            call()
