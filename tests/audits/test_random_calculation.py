"""The audit: what it finds and does not, fair arms, bad material, resuming, inspect_ai."""

import json
import random
import re
import zlib

import pytest

from byheart.audits._calc.material import cut, siblings, with_twins
from byheart.audits.random_calculation import (
    INSTRUCTION,
    RandomCalculationAudit,
    generate,
    invented,
    to_jsonl,
)
from byheart.core.ask import Completion
from byheart.core.drive import drive
from byheart.core.errors import DataError, UsageError
from byheart.core.model import CallableModel
from byheart.core.report import Report
from byheart.core.toy import SuffixModel


def findings(audit, model, seed=0, **kw):
    rows = drive(audit, model, seed=seed, **kw)
    return {
        f.name.split("/", 1)[1]: f for f in Report.of("m", audit.findings(rows, seed=seed)).findings
    }


def benchmark(path, n=20, seed=5, answers=True):
    rows = []
    for i in range(n):
        question, answer = invented(i, seed)
        rows.append({"question": question, **({"answer": answer} if answers else {})})
    path.write_text("\n".join(json.dumps(r) for r in rows))
    return rows


def test_a_benchmark_that_was_read_is_found(tmp_path):
    rows = benchmark(tmp_path / "b.jsonl")
    model = SuffixModel([f"{r['question']}\nThe answer is {r['answer']}." for r in rows], order=30)
    found = findings(RandomCalculationAudit(benchmark=tmp_path / "b.jsonl"), model)
    assert found["completion"].verdict() == "memorised"
    assert found["completion"].seen.value > 0.9 > 0.1 > found["completion"].fresh.value
    assert found["completion-lenient"].verdict() == "no verdict"
    assert found["arithmetic-answer-strict@100"].seen.value > 0.9
    assert found["arithmetic-answer-strict@100"].fresh.value == 0  # fresh arithmetic
    assert (
        found["arithmetic-answer-strict@40"].seen.value > 0.9
    )  # answered without having seen the end
    assert found["arithmetic-answer-strict@100"].verdict() == "no verdict"
    assert "differ in kind" in found["arithmetic-answer-strict@100"].no_verdict
    assert found["rouge-l@40"].fresh.value > 0.2  # the floor
    assert found["completion"].details["benchmark: em@60"] > 0.9
    assert "restored" in found["completion"].evidence[0].note


def test_a_model_that_read_something_else_is_not_accused(tmp_path):
    benchmark(tmp_path / "b.jsonl")
    other = [invented(i, 77)[0] for i in range(20)]
    found = findings(RandomCalculationAudit(benchmark=tmp_path / "b.jsonl"), SuffixModel(other))
    assert {f.verdict() for f in found.values()} <= {"not shown", "no verdict"}
    assert found["completion"].verdict() == "not shown"


def words_only(texts):
    """Knows every word of every question and none of its numbers: those it draws."""
    forms = {re.sub(r"\d", "#", t): t for t in texts}

    def answer(prompt):
        shape = re.sub(r"\d", "#", prompt)
        full = next((t for s, t in forms.items() if s.startswith(shape)), None)
        if full is None:
            return "no idea"
        rng = random.Random(zlib.crc32(prompt.encode()))
        return re.sub(r"\d", lambda m: str(rng.randint(1, 9)), full[len(prompt) :])

    return CallableModel(answer)


def test_who_knows_the_words_and_not_the_numbers_is_not_accused():
    audit = RandomCalculationAudit(arithmetic=0, answers=False)
    found = findings(audit, words_only([q.text for q in audit.questions()]))
    assert found["completion"].verdict() == "not shown"
    assert max(found["completion"].seen.value, found["completion"].fresh.value) < 0.05
    assert found["rouge-l@60"].seen.value > 0.7
    assert found["rouge-l@60"].fresh.value > 0.7
    # ends without a number are restored in both arms: they are shown, and not judged
    assert found["em@80"].verdict() == "no verdict"
    assert abs(found["em@80"].gap.value) < 0.15


def test_ends_that_hold_no_new_number_do_not_count():
    audit = RandomCalculationAudit(arithmetic=0)
    for p in audit.probes():
        for ratio, tell in zip(audit.ratios, p.meta["tell"], strict=True):
            tail = cut(p.prompt, ratio)[1]
            assert not tell or sum(c.isdigit() for c in tail) >= 2


def test_twins_are_cut_where_the_questions_are():
    audit = RandomCalculationAudit(arithmetic=0)
    by_pair = {}
    for p in audit.probes(seed=4):
        by_pair.setdefault(p.pair, []).append(p.prompt)
    assert len(by_pair) == 24
    for one, two in by_pair.values():
        for ratio in audit.ratios:
            assert [len(x) for x in cut(one, ratio)] == [len(x) for x in cut(two, ratio)]


def test_published_problems_have_new_problems_as_twins(tmp_path):
    published = generate(20, steps=5, seed=42)
    to_jsonl(published, tmp_path / "p.jsonl")
    known = {p.prompt: p.answer for p in published}
    audit = RandomCalculationAudit(benchmark=tmp_path / "p.jsonl", arithmetic=0)
    probes = audit.probes(seed=1)
    assert all(p.prompt.startswith(INSTRUCTION) for p in probes)
    twins = [p for p in probes if p.arm == "fresh"]
    assert not {p.prompt for p in twins} & set(known)
    assert all(p.meta["key"] for p in twins)
    for p in probes:
        assert cut(p.prompt, 0.4)[0].startswith(INSTRUCTION)

    def model(prompt):
        return f"\\boxed{{{known[prompt]}}}" if prompt in known else "no idea"

    found = findings(audit, CallableModel(model))
    assert found["answer"].verdict() == "memorised"
    assert (found["answer"].seen.value, found["answer"].fresh.value) == (1.0, 0.0)
    assert found["answer"].details["benchmark: reward"] == 1.0
    assert found["completion"].verdict() == "not shown"


def test_who_calculates_is_not_accused(tmp_path):
    from byheart.audits.random_calculation import evaluate

    to_jsonl(generate(20, steps=3, seed=1), tmp_path / "p.jsonl")

    def model(prompt):
        try:
            return f"\\boxed{{{float(evaluate(prompt.removeprefix(INSTRUCTION)))!r}}}"
        except DataError:
            return "?"

    found = findings(RandomCalculationAudit(benchmark=tmp_path / "p.jsonl"), CallableModel(model))
    assert found["answer"].seen.value == found["answer"].fresh.value == 1.0
    assert found["answer"].verdict() == "not shown"
    assert (
        found["arithmetic-answer-strict@100"].fresh.value == 1.0
    )  # fresh arithmetic, 5 and 10 steps


def test_a_control_set_takes_the_place_of_twins(tmp_path):
    rows = benchmark(tmp_path / "b.jsonl", seed=1)
    benchmark(tmp_path / "c.jsonl", seed=2)
    model = SuffixModel([f"{r['question']} The answer is {r['answer']}." for r in rows], order=30)
    audit = RandomCalculationAudit(benchmark=tmp_path / "b.jsonl", fresh=tmp_path / "c.jsonl")
    found = findings(audit, model)
    assert found["completion"].verdict() == "memorised"
    assert found["answer"].verdict() == "memorised"
    assert found["completion"].control == "your control set"
    assert found["em@60"].fresh.value == 0


def test_the_lenient_scorer_may_be_judged(tmp_path):
    rows = benchmark(tmp_path / "b.jsonl")
    texts = {r["question"] for r in rows}

    def talker(prompt):
        full = next((t for t in texts if t.startswith(prompt)), None)
        return f"Sure! Here it is: {full[len(prompt) :]}" if full else "Sure! I cannot."

    for scorer, verdict in (("strict", "not shown"), ("lenient", "memorised")):
        audit = RandomCalculationAudit(benchmark=tmp_path / "b.jsonl", scorer=scorer)
        found = findings(audit, CallableModel(talker))
        assert found["completion"].verdict() == verdict
        other = "lenient" if scorer == "strict" else "strict"
        assert found[f"completion-{other}"].exploratory


def test_a_key_with_gaps(tmp_path):
    path = tmp_path / "b.jsonl"
    rows = benchmark(path)
    rows[0].pop("answer")
    rows[1]["answer"] = None
    rows[2]["answer"] = ""
    rows[3]["answer"] = 7
    path.write_text("\n".join(json.dumps(r) for r in rows))
    audit = RandomCalculationAudit(benchmark=path, arithmetic=0)
    done = drive(audit, SuffixModel([]))
    told = {r.id: r.values.get("answer-strict@100") for r in done if r.arm == "seen"}
    assert [told[f"line-{i}"] for i in (1, 2, 3)] == [None] * 3
    assert told["line-4"] == told["line-5"] == 0.0
    found = {f.name: f for f in audit.findings(done)}
    assert found["random-calculation/completion"].n == 20


def test_no_key_at_all_asks_for_no_answer(tmp_path):
    benchmark(tmp_path / "b.jsonl", answers=False)
    found = findings(RandomCalculationAudit(benchmark=tmp_path / "b.jsonl"), SuffixModel([]))
    assert "completion" in found
    assert not any("answer" in name for name in found)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "0 question"), ('{"question": "a 12"}', "1 question"), ('{"answer": "1"}\n{}', "line 1"),
        ('{"question": "a"}\n{"question": " "}', "line 2"), ('{"question": 3}', "line 1"), ("{", "line 1"),
        ('{"question": "a", "answer": [1]}', "answer must"), ('{"question": "a", "answer": true}', "answer must"),
        ('{"id": 1, "question": "a"}\n{"id": 1, "question": "b"}', "taken"),
    ],
)  # fmt: skip
def test_files_that_cannot_be_used_say_where(tmp_path, text, why):
    path = tmp_path / "b.jsonl"
    path.write_text(text)
    with pytest.raises(DataError, match=why):
        RandomCalculationAudit(benchmark=path).probes()


def test_questions_without_numbers_get_no_verdict(tmp_path):
    path = tmp_path / "b.jsonl"
    path.write_text(
        "\n".join(
            json.dumps({"question": f"What is the {c} of it all?", "answer": "x"})
            for c in "abcdefgh"
        )
    )
    found = findings(RandomCalculationAudit(benchmark=path), SuffixModel([]))
    assert found["completion"].verdict() == "no verdict"
    assert "no twin" in found["completion"].no_verdict
    with pytest.raises(DataError, match="fresh="):
        RandomCalculationAudit(benchmark=path, arithmetic=0).probes()


@pytest.mark.parametrize(
    "answer", ["", " ", "\\boxed{", "9" * 200_000, "(" * 50_000, "\ud800", "1e999", "nan", "\\frac{" * 20_000]
)  # fmt: skip
def test_unparsable_and_endless_answers_are_scored(answer):
    audit = RandomCalculationAudit()
    probes = audit.probes(limit=2)
    rows = drive(audit, CallableModel(lambda prompt: answer), probes)
    assert len(rows) == len(probes)
    assert all(v in (None, 0.0) or 0 <= v <= 1 for r in rows for v in r.values.values())
    json.dumps([r.to_dict() for r in rows], allow_nan=False)


@pytest.mark.parametrize(
    "knobs",
    [
        {"ratios": (0,)}, {"ratios": (1.0,)}, {"ratios": ()}, {"ratios": "a"}, {"ratios": (0.4, 0.4)},
        {"ratios": (0.4, 0.401)}, {"steps": 0}, {"steps": (21,)}, {"steps": 2.5}, {"steps": "5,x"}, {"fresh": "x"},
        {"scorer": "mild"}, {"arithmetic": -1}, {"max_tokens": 0}, {"ratios": (True,)},
    ],
)  # fmt: skip
def test_knobs_that_make_no_sense_are_refused(knobs):
    with pytest.raises(UsageError):
        RandomCalculationAudit(**knobs)


def test_knobs_as_text_from_the_command_line():
    audit = RandomCalculationAudit(ratios="0.8,0.4", steps="5,10")
    assert (audit.ratios, audit.steps) == ((0.8, 0.4), (5, 10))
    assert RandomCalculationAudit(ratios=0.5, steps=3).steps == (3,)
    with pytest.raises(UsageError):
        audit.probes(limit=0)


def test_chats_are_asked_as_chats_only_where_wished():
    audit = RandomCalculationAudit()
    probe = audit.probes(limit=1)[0]
    facts = SuffixModel([]).facts()
    assert all(isinstance(a.prompt, str) for a in next(audit.ask(probe, facts)))
    from dataclasses import replace

    asked = next(replace(audit, chat=True).ask(probe, facts))
    assert all(a.prompt[0][0] == "user" for a in asked)
    only_chat = next(audit.ask(probe, replace(facts, raw=False)))
    assert [isinstance(a.prompt, str) for a in only_chat] == [False, True, True, True]


def test_planted_and_held_back_are_siblings_with_one_twin():
    planted, held = siblings(6, seed=3)
    for a, b in zip(planted, held, strict=True):
        assert a.twin == b.twin
        assert len({a.text, b.text, a.twin}) == 3
        assert len({re.sub(r"\d", "#", t) for t in (a.text, b.text, a.twin)}) == 1
    planting = RandomCalculationAudit().planted(n=6)
    fresh = [[p for p in a.probes() if p.arm == "fresh"] for a in (planting.audit, planting.held)]
    assert fresh[0] == fresh[1]
    with pytest.raises(UsageError):
        RandomCalculationAudit().planted(n=1)


def test_twins_do_not_depend_on_the_other_questions_only_on_seed():
    from byheart.audits._calc.material import shipped

    one = with_twins(shipped(), seed=3)
    assert one == with_twins(shipped(), seed=3)
    assert one != with_twins(shipped(), seed=4)


def test_a_run_takes_up_where_it_was_interrupted(tmp_path):
    from byheart.core.journal import Journal
    from byheart.core.run import measure

    audit = RandomCalculationAudit(arithmetic=2)
    asked = []

    class Breaks(SuffixModel):
        def sample(self, asks, progress=None):
            asked.append(len(asks))
            if len(asked) == 2:
                raise KeyboardInterrupt
            return super().sample(asks, progress)

    with Journal(tmp_path / "rows.jsonl") as journal:
        first = measure(Breaks([]), audit, seed=0, limit=8, journal=journal)
    kept = {r.id for r in first.rows}
    with Journal(tmp_path / "rows.jsonl") as journal:
        second = measure(SuffixModel([]), audit, seed=0, limit=8, journal=journal)
    assert len(second.rows) == len(audit.probes(limit=8)) >= len(kept)
    assert second.rows == drive(audit, SuffixModel([]), limit=8)


def mock(answers):
    """A model of inspect_ai that looks answers up by what it was asked."""
    from inspect_ai.model import ModelOutput, ModelUsage, get_model

    def reply(messages, tools, choice, config):
        text = next(a for q, a in answers.items() if messages[-1].text.endswith(q))
        output = ModelOutput.from_content("mockllm/model", text)
        # without usage the mock counts tokens with a vocabulary off the network
        output.usage = ModelUsage(input_tokens=1, output_tokens=1, total_tokens=2)
        return output

    return get_model("mockllm/model", custom_outputs=reply)


def evaluated(task, answers, folder):
    import inspect_ai

    (log,) = inspect_ai.eval(
        task, model=mock(answers), display="none", log_dir=str(folder), score_display=False
    )
    assert log.status == "success", log.error
    return {m.name: m.value for s in log.results.scores for m in s.metrics.values()}


def test_fresh_arithmetic_as_a_task(tmp_path):
    from byheart.audits.random_calculation import calculation_task

    task = calculation_task(steps=(1, 2), n=3, seed=1, max_tokens=50)
    answers = {
        s.input: f"\\boxed{{{s.target}}}" if i % 2 == 0 else "none"
        for i, s in enumerate(task.dataset)
    }
    values = evaluated(task, answers, tmp_path)
    assert values["reward"] == pytest.approx(0.5)
    assert values["exact"] == values["correct"] == pytest.approx(0.5)
    assert values["correct@1"] == pytest.approx(2 / 3)
    for bad in ({"n": 0}, {"steps": 99}):
        with pytest.raises(UsageError):
            calculation_task(**bad)


def test_partial_prompts_as_a_task(tmp_path):
    from byheart.audits.random_calculation import partial_prompt_task

    question, answer = invented(0)
    task = partial_prompt_task([(question, answer), invented(1)[0]], ratios=(0.6,))
    assert [s.id for s in task.dataset] == ["0@100", "0@60", "1@60"]
    whole, first, second = task.dataset
    answers = {
        whole.input: f"The answer is {answer}", first.input: first.metadata["tail"], second.input: "nothing",
    }  # fmt: skip
    values = evaluated(task, answers, tmp_path)
    assert values["exact_match@60"] == 0.5
    assert values["correct@100"] == 1.0
    assert values["correct@60"] == 0.0
    with pytest.raises(UsageError):
        partial_prompt_task([])


def test_the_tasks_are_found_by_name_and_take_what_a_command_line_gives(tmp_path):
    import inspect_ai
    from inspect_ai._util.registry import registry_lookup

    import byheart._registry  # noqa: F401
    from byheart.audits.random_calculation import calculation_task, partial_prompt_task

    for name in ("byheart/partial-prompt", "byheart/fresh-arithmetic"):
        assert registry_lookup("task", name) is not None
    task = calculation_task(steps="1,2", n=2)
    assert [s.metadata["steps"] for s in task.dataset] == [1, 1, 2, 2]
    path = tmp_path / "mine.jsonl"
    rows = benchmark(path, n=3)
    rows[1].pop("answer")
    path.write_text("\n".join(json.dumps(r) for r in rows))
    task = partial_prompt_task(str(path), ratios="0.6")
    assert [s.id for s in task.dataset] == ["0@100", "0@60", "1@60", "2@100", "2@60"]
    assert len(partial_prompt_task().dataset) == 24 * 4  # the questions that are shipped
    with pytest.raises(DataError, match="nothing"):
        partial_prompt_task(tmp_path / "nothing.jsonl")
    with pytest.raises(UsageError, match="samples"):
        partial_prompt_task(samples=0)
    # several samples: drawn, each with a seed of its own, and their mean taken
    seeds = []

    def reply(messages, tools, choice, config):
        from inspect_ai.model import ModelOutput, ModelUsage

        seeds.append((config.seed, config.temperature, config.top_p, config.top_k))
        text = task.dataset[0].metadata["tail"] if len(seeds) == 1 else "nothing"
        output = ModelOutput.from_content("mockllm/model", text)
        output.usage = ModelUsage(input_tokens=1, output_tokens=1, total_tokens=2)
        return output

    task = partial_prompt_task([rows[0]["question"]], ratios=0.6, samples=4)
    model = inspect_ai.model.get_model("mockllm/model", custom_outputs=reply)
    (log,) = inspect_ai.eval(
        task, model=model, display="none", log_dir=str(tmp_path / "logs"), score_display=False
    )
    assert log.status == "success", log.error
    assert len({s for s, *_ in seeds}) == 4
    assert {tuple(rest) for _, *rest in seeds} == {(0.7, 0.8, 20)}
    (values,) = [s.metrics for s in log.results.scores]
    assert values["exact_match@60"].value == 0.25


def test_completions_of_half_characters_survive():
    assert Completion("\ud800").text == "\ufffd"
