"""The audit: who is accused and who is not, the user's own puzzles, and the inspect_ai task."""

from __future__ import annotations

import json

import numpy as np
import pytest

import byheart
from byheart.audits.knights_and_knaves import (
    Draws,
    KnightsAndKnaves,
    Sampler,
    exchangeable,
    lenient,
    perturb,
    published,
    published_puzzles,
    read_quiz,
    render,
    solve,
)
from byheart.core.drive import drive
from byheart.core.errors import DataError, UsageError
from byheart.core.journal import Journal
from byheart.core.model import CallableModel
from byheart.core.report import Report
from byheart.core.run import measure


def quiz_of(prompt):
    text = prompt if isinstance(prompt, str) else prompt[-1][1]
    return text[text.index("### Question: ") + 14 : text.index("\n### Answer")]


def answer(names, roles, solution):
    lines = [f"({i}) {n} is {roles[not s]}" for i, (n, s) in enumerate(zip(names, solution, strict=True), 1)]  # fmt: skip
    return "CONCLUSION:\n" + "\n".join(lines)


def reasoner(prompt):
    puzzle, layout = read_quiz(quiz_of(prompt))
    return answer(layout.names, layout.roles, puzzle.solution)


def reciter(people):
    """Knows the published test puzzles by their names and gives their key, whatever is said."""
    known = {tuple(r["names"]): r["solution"] for r in published(people, split="test")}

    def model(prompt):
        _, layout = read_quiz(quiz_of(prompt))
        solution = known.get(layout.names, [True] * people)
        return answer(layout.names, layout.roles, solution)

    return model


def findings(audit, function, seed=0, limit=None):
    rows = drive(audit, CallableModel(function), seed=seed, limit=limit)
    return {
        f.name.split("/")[1]: f for f in Report.of("m", audit.findings(rows, seed=seed)).findings
    }


def test_a_reasoner_is_not_accused_and_a_reciter_is():
    audit = KnightsAndKnaves(
        people=3, perturbations=("statement", "leaf", "redrawn", "reorder_statement")
    )
    found = findings(audit, reasoner)
    assert {f.verdict() for f in found.values()} <= {"not shown", "no verdict"}
    assert found["leaf"].seen.value == found["leaf"].fresh.value == 1
    assert found["leaf-limem"].seen.value == 0
    found = findings(audit, reciter(3))
    for kind in ("statement", "leaf"):
        f = found[kind]
        assert (f.verdict(), f.seen.value, f.fresh.value, f.n) == ("memorised", 1, 0, 12)
        assert f.details["limem"] == 1
        assert f.details["cr"] == 0
        assert f.details["recited"] == {"solved": 12, "answered_as_before": 12}
        assert found[f"{kind}-strict"].seen.value == 1
        assert found[f"{kind}-limem"].seen.value == 1
    assert found["reorder_statement"].gap.value == 0
    assert found["reorder_statement"].verdict() == "no verdict"


def accuser(puzzle):
    """A rule of thumb: whom more statements call a knave than a knight is a knave."""
    votes = [0] * puzzle.people

    def count(s):
        if s[0] in ("telling-truth", "lying"):
            votes[s[1]] += 1 if s[0] == "telling-truth" else -1
        else:
            for part in s[1:]:
                count(part)

    for s in puzzle.statements:
        count(s)
    return tuple(v >= 0 for v in votes)


@pytest.mark.parametrize("kind", ["constant", "noisy", "random", "accuser"])
def test_models_without_memory_are_accused_at_most_as_often_as_the_level_says(kind):
    """A fixed answer, a reasoner with slips, a guesser, a rule of thumb."""
    hits = 0
    runs = 25
    for seed in range(runs):
        rng = np.random.default_rng(seed)

        def model(prompt, rng=rng):
            puzzle, layout = read_quiz(quiz_of(prompt))
            solution = puzzle.solution
            if kind == "constant":
                solution = (True,) * puzzle.people
            elif kind == "accuser":
                solution = accuser(puzzle)
            elif kind == "random" or rng.random() < 0.4:
                solution = tuple(bool(b) for b in rng.integers(0, 2, puzzle.people))
            return answer(layout.names, layout.roles, solution)

        audit = KnightsAndKnaves(people=3, split="fresh", per_people=20)
        hits += any(f.verdict() == "memorised" for f in findings(audit, model, seed).values())
    assert hits <= 5  # 99.9 percentile of Binomial(25, 0.05)


@pytest.mark.parametrize("kind", ["statement", "leaf"])
def test_puzzle_and_twin_can_change_places(kind):
    """The audit's twins; the paper's leaf twins fail this, so that a fixed answer looks like memory."""
    rng = Draws(1)
    puzzles = Sampler(2, seed=8).sample(300)
    for seed in range(12):  # puzzles of two people run out, so several samplers
        puzzles += Sampler(2, seed=100 + seed).sample(300)

    def skew(make):
        """Share of pairs answered right by "all knights", puzzle minus twin, in standard errors."""
        twins = [(p, t) for p in puzzles if (t := make(p, kind, rng)) is not None]
        d = np.asarray([all(p.solution) - all(t.solution) for p, t in twins], dtype=float)
        assert all(sum(a != b for a, b in zip(p.statements, t.statements, strict=True)) == 1 for p, t in twins)  # fmt: skip
        assert all(p.solution != t.solution and solve(t.statements) == [t.solution] for p, t in twins)  # fmt: skip
        return d.mean() / (d.std() / np.sqrt(len(d)))

    assert abs(skew(exchangeable)) < 3.5
    if kind == "leaf":
        assert abs(skew(lambda p, k, r: perturb(p, k, rng=r))) > 5


def test_leaf_twins_of_the_audit_have_no_equal_parts():
    rng = Draws(2)
    twins = [t for p in Sampler(3, seed=3).sample(300) if (t := exchangeable(p, "leaf", rng))]
    assert 60 < len(twins) < 150
    assert all(len(set(s[1:])) == len(s) - 1 for t in twins for s in t.statements)
    deep = [exchangeable(p, "statement", rng, depth=3) for p in Sampler(3, depth=3).sample(40)]
    assert 0 < sum(t is not None for t in deep) < 40


def test_probes_are_published_puzzles_and_new_twins():
    audit = KnightsAndKnaves(people=(2, 3), per_people=10)
    probes = audit.probes(seed=4)
    for people in (2, 3):
        quizzes = {r["quiz"]: r for r in published(people, split="test")}
        old = {r["quiz"] for k in ("statement", "leaf") for r in published(people, k)}
        mine = [p for p in probes if p.id.startswith(f"{people}p")]
        assert sum(p.meta["variant"] == "statement" for p in mine) == 10
        assert 5 < sum(p.meta["variant"] == "leaf" for p in mine) <= 10
        assert {p.pair for p in mine if p.arm == "fresh"} == {p.pair for p in mine if p.arm == "seen"}  # fmt: skip
        for p in mine:
            quiz = quiz_of(p.prompt)
            assert (quiz in quizzes) == (p.arm == "seen")
            if p.arm == "seen":
                assert quizzes[quiz]["solution_text_format"] == p.target
            else:
                assert quiz not in old
                assert [tuple(p.meta["key"])] == solve(read_quiz(quiz)[0].statements)
    assert probes != audit.probes(seed=5)
    assert sum(p.meta["variant"] == "leaf" for p in audit.probes(limit=4)) == 4


def test_fresh_puzzles_are_not_published():
    audit = KnightsAndKnaves(people=3, split="fresh", per_people=20)
    known = {r["quiz"] for r in published(3)}
    assert not known & {quiz_of(p.prompt) for p in audit.probes()}
    assert (
        sum(
            p.arm == "fresh"
            for p in KnightsAndKnaves(people=10, split="fresh", per_people=2).probes()
        )
        == 4
    )


def test_own_puzzles_by_text_or_statements(tmp_path):
    rows = [{"quiz": render(p, "random_pair").quiz} for p in Sampler(3, seed=8).sample(40)]
    rows += [{"statements": str(p.statements), "solution": list(p.solution)} for p in Sampler(4, seed=8).sample(40)]  # fmt: skip
    path = tmp_path / "mine.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    audit = KnightsAndKnaves(puzzles=path)
    probes = audit.probes()
    assert 20 < sum(p.arm == "seen" for p in probes) < 80
    texts = {quiz_of(p.prompt) for p in probes if p.arm == "seen"}
    assert len({r["quiz"] for r in rows[:40]} & texts) > 8
    for p in probes:
        puzzle, layout = read_quiz(quiz_of(p.prompt))
        assert list(puzzle.solution) == p.meta["key"]
        assert layout.roles == tuple(p.meta["roles"])
    assert findings(audit, reasoner)["leaf"].seen.value == 1
    assert set(findings(audit, reasoner)["leaf"].details["by_people"]) == {"3", "4"}


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([{"quiz": "hello"}] * 2, "line 1: this is no knights-and-knaves text"),
        ([{"statements": "(('lying', 1), ('lying', 0))"}] * 2, "line 1: .* 2 solutions"),
        ([{"statements": "(('lying', 0), ('lying', 0))"}] * 2, "line 1: .* no solution"),
        ([{"statements": "(("}] * 2, "line 1: these statements cannot be read"),
        ([{"question": "?"}] * 2, "line 1: needs 'statements' or 'quiz', has question"),
        ([{"statements": [["lying", 1], ["telling-truth", 5]]}] * 2, "there is no person 5"),
        ([{"statements": "(('lying', 1), ('and', ('telling-truth', 0), ('telling-truth', 1)))", "solution": [True, True]}] * 2,
         "line 1: solution is .* only solution is"),
        ([{"statements": "(('lying', 1), ('and', ('telling-truth', 0), ('telling-truth', 1)))", "solution": [True]}] * 2,
         "line 1: solution is"),
        ([{"statements": "(('lying', 1), ('and', ('telling-truth', 0), ('telling-truth', 1)))", "index": -4}] * 2, "index"),
        ([], "at least 2"),
    ],
)  # fmt: skip
def test_own_puzzles_that_cannot_be_used(tmp_path, rows, says):
    path = tmp_path / "mine.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(DataError, match=says):
        KnightsAndKnaves(puzzles=path).probes()


def test_a_puzzle_that_stands_twice(tmp_path):
    row = json.dumps({"quiz": published(2, split="test")[0]["quiz"]})
    path = tmp_path / "twice.jsonl"
    path.write_text(row + "\n" + row)
    with pytest.raises(DataError, match="line-2 repeats line-1"):
        KnightsAndKnaves(puzzles=path).probes()


@pytest.mark.parametrize(
    "knobs",
    [
        {"people": 1}, {"people": 9}, {"people": (2, 2)}, {"people": ()}, {"people": "three"}, {"people": 2.5},
        {"people": True}, {"split": "val"}, {"perturbations": "leaf,noun"}, {"perturbations": ()},
        {"perturbations": ("leaf", "leaf")}, {"scorer": "kind"}, {"shots": 2}, {"form": "long"},
        {"form": "short", "cot": True}, {"per_people": 0}, {"max_tokens": 0}, {"width": 1},
        {"split": "fresh", "people": 21},
    ],
)  # fmt: skip
def test_knobs_that_make_no_sense(knobs):
    with pytest.raises(UsageError):
        KnightsAndKnaves(**knobs)


@pytest.mark.parametrize("reply", ["", "I do not know.", "if " * 5000, "CONCLUSION:" * 500])
def test_unparsable_and_endless_answers_are_scored_wrong(reply):
    audit = KnightsAndKnaves(people=2, per_people=8)
    found = findings(audit, lambda prompt: reply)
    assert found["leaf"].seen.value == found["leaf"].fresh.value == 0
    assert found["leaf"].verdict() in ("not shown", "no verdict")
    assert sum(found["leaf"].details["wrong"]["puzzles"].values()) == found["leaf"].n


def test_a_run_resumes_without_asking_again(tmp_path):
    audit = KnightsAndKnaves(people=3, per_people=8)
    asked = []

    def failing(prompt):
        asked.append(prompt)
        if len(asked) > 9:
            raise KeyboardInterrupt
        return reasoner(prompt)

    def steady(prompt):
        asked.append(prompt)
        return reasoner(prompt)

    with Journal(tmp_path / "rows.jsonl") as journal:
        for i, probe in enumerate(audit.probes()):
            if i == 9:
                break
            measure(CallableModel(failing, name="m"), audit, probes=[probe], journal=journal)
    assert len(asked) == 9
    with Journal(tmp_path / "rows.jsonl") as journal:
        done = measure(CallableModel(steady, name="m"), audit, journal=journal)
    assert len(done.rows) == len(asked) == len(audit.probes())


def test_on_the_command_line_and_in_python():
    report = byheart.audit(reciter(3), ["knights-and-knaves"])
    assert {f.name: f.verdict() for f in report.findings}["knights-and-knaves/leaf"] == "memorised"
    report = byheart.audit(
        reasoner, ["knights-and-knaves"], limit=8, knobs={"knights-and-knaves": {"people": 4}}
    )
    assert "memorised" not in {f.verdict() for f in report.findings}


def test_planted_families():
    planting = KnightsAndKnaves().planted(seed=2, n=12)
    assert len({n for i in planting.audit.items for n in i.layout.names}) == 36
    for one, other in zip(planting.audit.items, planting.held.items, strict=True):
        assert one.twins == other.twins
        keys = {one.puzzle.solution, other.puzzle.solution, *(t.puzzle.solution for t in one.twins)}
        for puzzle in (one.puzzle, other.puzzle, *(t.puzzle for t in one.twins)):
            assert solve(puzzle.statements) == [puzzle.solution]
        assert one.puzzle.solution != other.puzzle.solution
        assert 3 <= len(keys) <= 4
        for _, target in planting.texts:
            assert target.count(":") == 3
    _, target = planting.texts[0]
    assert lenient(target, planting.audit.items[0].rendered).right


def test_the_inspect_task_reports_limem(tmp_path):
    import inspect_ai
    from inspect_ai.model import ModelOutput, ModelUsage, get_model

    from byheart.audits.knights_and_knaves import kk_task

    puzzles = [p for p in published_puzzles(3, split="test")[:12] if p]
    recite = reciter(3)

    def reply(messages, tools, choice, config):
        output = ModelOutput.from_content("mockllm/model", recite([("user", messages[-1].text)]))
        # without usage the mock counts tokens with a vocabulary off the network
        output.usage = ModelUsage(input_tokens=1, output_tokens=1, total_tokens=2)
        return output

    task = kk_task(puzzles, perturbations=("statement", "leaf", "reorder_statement"))
    (log,) = inspect_ai.eval(
        task, model=get_model("mockllm/model", custom_outputs=reply), display="none",
        log_dir=str(tmp_path), score_display=False,
    )  # fmt: skip
    assert log.status == "success", log.error
    strict_metrics, lenient_metrics = (
        {m.name: m.value for m in s.metrics.values()} for s in log.results.scores
    )
    assert strict_metrics["accuracy"] == 1
    assert strict_metrics["limem/leaf"] == strict_metrics["limem/statement"] == 1
    assert strict_metrics["limem/reorder_statement"] == 0
    assert strict_metrics["cr/leaf"] == 0
    assert lenient_metrics == strict_metrics
    assert log.results.metrics["limem/leaf"].value == 1


def test_the_registered_task_has_both_names_and_typed_parameters():
    import inspect

    import byheart._registry as registry

    build = registry.knights_and_knaves
    parameters = inspect.signature(build).parameters
    assert {"people", "depth", "perturbations", "split", "cot", "scorer", "limit", "seed"} <= set(parameters)  # fmt: skip
    task = build(people=["2", "3"], perturbations="leaf", limit=4)
    assert len(task.dataset) == 8
    from inspect_ai._util.registry import registry_lookup

    for name in ("byheart/knights-and-knaves", "byheart/knights_and_knaves"):
        assert registry_lookup("task", name) is not None
