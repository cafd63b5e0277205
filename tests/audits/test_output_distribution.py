"""CDD and TED against worked examples, closed forms and hand counts; the audit on known memories."""

import itertools
import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from byheart.audits.output_distribution import (
    CDD,
    OutputDistribution,
    TedTask,
    clean,
    comieval,
    detection,
    edit_distance_plain,
    mitigation,
    pass_at_k,
    peakedness,
    read_detcon,
    ted,
)
from byheart.core.ask import Facts
from byheart.core.checks import check_audit
from byheart.core.drive import drive
from byheart.core.errors import DataError, UsageError
from byheart.core.model import CallableModel
from byheart.core.toy import SuffixModel

# the tiny models live beside the tests of core
sys.path.insert(0, str(Path(__file__).parents[1] / "core"))

tokens = st.lists(st.integers(0, 4), min_size=1, max_size=12)


def edited(n, edits):
    """The first `n` integers with `edits` of them replaced."""
    return [-(i + 1) if i < edits else i for i in range(n)]


def test_the_worked_example_of_the_paper_sheet():
    greedy = list(range(40))
    samples = [edited(40, 2)] * 7 + [[*range(41), 41, 42, 43][:44]] + [edited(38, 20)] * 42
    peak = peakedness(greedy, samples)
    assert peak.length == 44  # threshold 2.2: distances 0, 1, 2 count
    assert peak.value == pytest.approx(7 / 50)
    assert peak.flagged()
    exact = peakedness(greedy, [greedy] * 4 + [edited(40, 1)] * 46, alpha=0.0)
    assert exact.value == pytest.approx(0.08)
    assert not exact.flagged(xi=0.2)


def test_the_threshold_is_not_rounded():
    greedy = list(range(100))
    assert peakedness(greedy, [edited(100, 5)]).value == 1.0
    assert peakedness(greedy, [edited(100, 6)]).value == 0.0
    assert peakedness(list(range(19)), [edited(19, 1)]).value == 0.0  # below 20 only copies count


def test_outputs_are_cut_before_they_are_compared():
    greedy = list(range(150))
    assert peakedness(greedy, [[*range(100), *[-1] * 50]]).value == 1.0


@given(tokens, st.lists(tokens, min_size=1, max_size=8), st.randoms())
def test_properties_of_the_peak(greedy, samples, random):
    values = [peakedness(greedy, samples, alpha).value for alpha in (0.0, 0.05, 0.3, 1.0)]
    assert values == sorted(values)
    assert 0 <= values[0] <= values[-1] <= 1
    assert values[0] == pytest.approx(np.mean([s == greedy for s in samples]))
    shuffled = samples[:]
    random.shuffle(shuffled)
    assert peakedness(greedy, shuffled).value == peakedness(greedy, samples).value
    assert peakedness(greedy, [greedy] * 3).value == 1.0


def test_closed_form_at_alpha_zero():
    """With alpha = 0 the expected peak is the probability of the greedy answer itself."""
    rng = np.random.default_rng(0)
    steps, temperature = 3, 0.8
    logits = rng.normal(size=(steps, 4)) * 2
    p = np.exp(logits / temperature)
    p /= p.sum(1, keepdims=True)
    greedy = logits.argmax(1).tolist()
    expected = math.prod(p[t, greedy[t]] for t in range(steps))
    samples = np.stack([rng.choice(4, size=20_000, p=p[t]) for t in range(steps)], 1).tolist()
    value = peakedness(greedy, samples, alpha=0.0).value
    assert value == pytest.approx(expected, abs=4 * math.sqrt(expected * (1 - expected) / 20_000))


def test_ted_by_hand():
    g = [1, 2, 3, 4, 5, 6]
    far, far2, near = [9, 9, 9, 9, 9, 9], [8, 8, 8, 8, 8, 8], [1, 2, 3, 4, 0, 0]
    task = TedTask(g, [g, near, far, far, far2], [True, True, True, True, False])
    assert ted([task]) == pytest.approx(1 / 2)  # g and near are the peak, far is kept once
    assert ted([task], dedup=False) == pytest.approx(2 / 3)
    assert ted([task], tau=-1, dedup=False) == pytest.approx(4 / 5)  # plain pass@1
    assert ted([TedTask(g, [g, g], [True, True])]) == 0.0
    # an emptied task counts 0: mean over survivors times their share
    assert ted([task, TedTask(g, [g], [True])]) == pytest.approx(0.25)


def test_ted_cuts_samples_to_the_length_of_the_reference():
    g = [1, 2, 3]
    assert ted([TedTask(g, [[1, 2, 3, 7, 7, 7, 7]], [True])]) == 0.0
    assert ted([TedTask(g, [[7, 7, 7, 7]], [True])]) == 1.0


def test_ted_equals_pass_at_one_by_enumeration():
    for verdicts in itertools.product([False, True], repeat=3):
        task = TedTask([1], [[5], [6], [7]], verdicts)
        assert ted([task], tau=-1, dedup=False) == pytest.approx(np.mean(verdicts))


def test_cleaning():
    assert clean("  an answer\n\n\nQ: next") == "an answer"
    assert clean("an answer\n```\nmore") == "an answer\n"  # the newline is the authors' too
    assert clean("a\n```\nb\n\n\nc") == "a\n```\nb"  # the newlines go first, else the fence
    assert clean("```python\nprint(1)\n```\nmore") == "print(1)\n"  # not emptied: no false alarm
    assert clean("\n\n\n") == ""


def test_an_answer_that_repeats_the_prompt_loses_it():
    prompt = 'import os\n\n\ndef add(a, b):\n    """Add.\n\n\n    >>> add(1, 2)\n    """\n'
    assert clean(prompt + "    return a + b\n", entry="add") == "    return a + b"
    assert clean("def add(a, b):\n    return a + b", entry="add") == "    return a + b"
    assert clean("    return a + b", entry="add") == "return a + b"  # nothing to remove
    assert clean(prompt + "    return a + b") == "import os"


def test_an_empty_answer_is_missing_not_agreement():
    report = CDD().of([([], [[], []]), ([1, 2], [[1, 2], []])])
    assert report.missing == (0,)
    assert report.flags.tolist() == [False, True]
    assert report.contamination_ratio == 1.0
    with pytest.raises(UsageError, match="missing"):
        peakedness([], [[1]])
    with pytest.raises(UsageError, match="no samples"):
        peakedness([1], [])


def test_detection_against_sklearn():
    from sklearn.metrics import (
        accuracy_score,
        f1_score,
        precision_score,
        recall_score,
        roc_auc_score,
    )

    rng = np.random.default_rng(1)
    peaks, labels = rng.random(60).round(1), rng.random(60) < 0.4
    d, flags = detection(peaks, labels, xi=0.45), peaks > 0.45
    assert d.accuracy == pytest.approx(accuracy_score(labels, flags))
    assert d.precision == pytest.approx(precision_score(labels, flags))
    assert d.recall == pytest.approx(recall_score(labels, flags))
    assert d.f1 == pytest.approx(f1_score(labels, flags))
    assert d.auc == pytest.approx(roc_auc_score(labels, peaks))


@pytest.mark.parametrize(("n", "c", "k"), [(5, 2, 1), (5, 2, 2), (6, 3, 4), (4, 0, 2), (4, 4, 4)])
def test_pass_at_k_by_enumeration(n, c, k):
    draws = list(itertools.combinations([True] * c + [False] * (n - c), k))
    assert pass_at_k(n, c, k) == pytest.approx(np.mean([any(d) for d in draws]))


def test_ted_at_k_counts_what_is_left():
    task = TedTask([1] * 5, [[1] * 5, [5] * 5, [6] * 5, [7] * 5], [True, True, False, False])
    assert ted([task], k=2) == pytest.approx(pass_at_k(3, 1, 2))
    assert ted([task, TedTask([1], [[1]], [True])], k=2) == pytest.approx(pass_at_k(3, 1, 2) / 2)
    with pytest.raises(UsageError, match="3 samples are left"):
        ted([task], k=4)
    with pytest.raises(UsageError, match="task 0: 1 samples, but 2"):
        ted([TedTask([1], [[1]], [True, False])])


@given(
    st.lists(
        st.tuples(tokens, st.lists(st.tuples(tokens, st.booleans()), max_size=7)),
        min_size=1,
        max_size=4,
    ),
    st.integers(-1, 4),
    st.booleans(),
)
def test_ted_equals_the_steps_of_the_authors_script(tasks, tau, dedup):
    """Their loop over lines: skip what was handled, skip what is near, score what is left."""
    handled = []
    for i, (greedy, samples) in enumerate(tasks):
        for sample, ok in samples:
            if dedup and (i, sample) in [h[:2] for h in handled]:
                continue
            if edit_distance_plain(greedy[:100], sample[: len(greedy[:100])]) <= tau:
                continue
            handled.append((i, sample, ok))
    alive = {i for i, _, _ in handled}
    rates = [np.mean([ok for j, _, ok in handled if j == i]) for i in alive]
    expected = float(np.mean(rates)) * len(alive) / len(tasks) if alive else 0.0
    given_ = [TedTask(g, [s for s, _ in rows], [ok for _, ok in rows]) for g, rows in tasks]
    assert ted(given_, tau, dedup) == pytest.approx(expected)


def test_the_comieval_report():
    g, far = [1, 2, 3, 4, 5], [9, 8, 7, 6, 9]
    clean_tasks = [TedTask(g, [far, [7] * 5], [True, False])] * 2
    leaked = [TedTask(g, [g, [7] * 5], [True, False]), TedTask(g, [g, g], [True, True])]
    row, mild = comieval(clean_tasks, {("full", 20): leaked, ("lora", 1): clean_tasks})
    assert (row.method, row.repeats) == ("full", 20)
    assert (row.contaminated, row.clean, row.clean_corrected) == (0.75, 0.5, 0.5)
    assert (row.corrected, row.mitigation) == (0.0, 0.0)  # overshoots: further off than before
    assert math.isnan(mild.mitigation)
    with pytest.raises(UsageError, match="1 tasks, but the clean model has 2"):
        comieval(clean_tasks, {("full", 1): leaked[:1]})


def test_mitigation():
    assert mitigation(0.9, 0.3, 0.3) == 1.0
    assert mitigation(0.9, 0.6, 0.3) == pytest.approx(0.5)
    assert mitigation(0.9, 0.0, 0.8) == 0.0
    assert math.isnan(mitigation(0.3, 0.3, 0.3))


def test_the_authors_file_format(tmp_path):
    path = tmp_path / "detcon.jsonl"
    record = {"prompt": "p", "greedy_sample": "a b", "samples": ["a b", "c"], "label": 1}
    path.write_text(json.dumps(record) + "\n\n")
    (read,) = read_detcon(path, lambda t: [ord(c) for c in t.replace(" ", "")])
    assert read["greedy"] == [97, 98]
    assert read["samples"] == [[97, 98], [99]]
    for bad, said in (
        ("{", "line 2: not JSON"),
        ('{"samples": []}', "line 2: needs greedy_sample"),
    ):
        path.write_text(json.dumps(record) + "\n" + bad)
        with pytest.raises(DataError, match=said):
            read_detcon(path, list)


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ({"label": "0"}, "label must be 0, 1"),
        ({"greedy_ids": [1]}, "both or neither"),
        ({"greedy_ids": [1.5], "sample_ids": [[1]]}, "whole numbers"),
        ({"samples": [1]}, "samples must be texts"),
    ],
)
def test_the_authors_file_format_refuses(tmp_path, bad, said):
    path = tmp_path / "detcon.jsonl"
    path.write_text(json.dumps({"greedy_sample": "a", "samples": ["a"]} | bad))
    with pytest.raises(DataError, match=f"line 1: .*{said}"):
        read_detcon(path, list)


def test_a_detcon_file_is_detected(tmp_path):
    """From the authors' fields to accuracy and AUC, token ids taken as they are."""
    long = list(range(30))
    records = [
        {"DETCON_id": i, "model_name": "m", "label": int(i < 2), "greedy_ids": long,
         "sample_ids": [long if i < 2 else edited(30, 9), edited(30, 12)]}
        for i in range(5)
    ]  # fmt: skip
    path = tmp_path / "detcon.jsonl"
    path.write_text("\n".join(map(json.dumps, records)))
    read = read_detcon(path, list)
    assert [r["id"] for r in read] == list("01234")
    assert {r["model_name"] for r in read} == {"m"}
    report = CDD().of((r["greedy"], r["samples"]) for r in read)
    found = detection(report.peaks, [r["label"] for r in read])
    assert (found.accuracy, found.auc) == (1.0, 1.0)
    assert report.contamination_ratio == pytest.approx(0.4)


def test_special_tokens_count_and_an_empty_answer_stays_missing():
    """19 words and an opening token are 20: one edit in twenty is within 5 %."""
    from tiny import WORDS, make_tokenizer

    greedy = " ".join(WORDS[:19])
    near = " ".join([WORDS[20], *WORDS[1:19]])
    answers = itertools.cycle([greedy, near])

    def flags(tokenizer):
        cdd = CDD(n=1)
        return cdd.audit(lambda prompt: next(answers), tokenizer, ["p"]).peaks.tolist()

    assert flags(make_tokenizer(bos=True)) == [1.0]
    assert flags(make_tokenizer()) == [0.0]
    assert flags(str.split) == [0.0]
    silent = CDD(n=2).audit(lambda prompt: "", make_tokenizer(bos=True), ["p"])
    assert silent.missing == (0,)


class Opening(CallableModel):
    """A model whose tokenizer opens every text with a token: 0."""

    def tokenise(self, text):
        return [0, *self.encode(text)]


def test_the_models_own_special_tokens_count_in_the_audit_too():
    words = [f"w{i}" for i in range(19)]
    greedy, near = " ".join(words), " ".join(["other", *words[1:]])
    for kind, peak in ((Opening, 1.0), (CallableModel, 0.0)):
        answers = itertools.cycle([greedy, near])
        report = CDD(n=1).audit(kind(lambda prompt, a=answers: next(a)), ["p"])
        assert report.peaks.tolist() == [peak]
        answers = itertools.cycle([greedy, near, near])
        row = drive(OutputDistribution(samples=2), kind(lambda p, a=answers: next(a)), limit=1)[0]
        assert row.values["peak"] == peak


def test_local_models_add_their_own_special_tokens():
    from tiny import make_tiny_llama

    from byheart.core.local import LocalModel

    model = LocalModel(*make_tiny_llama(bos=True), device="cpu")
    assert model.tokenise("the fox") == [1, *model.encode("the fox")]
    assert model.facts().tokenise("the fox") == model.tokenise("the fox")
    assert SuffixModel().tokenise("a b") == SuffixModel().encode("a b")


def test_a_module_is_audited_with_its_tokenizer():
    from tiny import make_tiny_llama

    module, tokenizer = make_tiny_llama()
    cdd = CDD(n=3, max_tokens=8, temperature=1e-4)  # so cold that samples are greedy
    report = cdd.audit(module, tokenizer, ["the quick brown", "a lazy dog"], seed=1)
    assert report.peaks.tolist() == [1.0, 1.0]
    for wrong in ("one text", []):
        with pytest.raises(UsageError, match="prompts must be a list"):
            cdd.audit(module, tokenizer, wrong)
    with pytest.raises(UsageError, match="tokenizer must have encode"):
        cdd.audit(str.upper, 3, ["p"])
    with pytest.raises(UsageError, match="write audit"):
        cdd.audit(module)


@pytest.mark.parametrize(
    "knobs", [{"alpha": 2}, {"xi": 1}, {"n": 0}, {"temperature": 0}, {"max_tokens": 0}]
)
def test_cdd_refuses_settings_out_of_range(knobs):
    with pytest.raises(UsageError):
        CDD(**knobs)


def test_closed_form_on_a_trained_model():
    """White box: at alpha 0 the expected peak is the product of the temperature-T probabilities of
    the greedy tokens, the end token included."""
    import torch

    from byheart.papers._tinygpt import TinyGPT, fit, generate

    torch.set_num_threads(1)
    documents = [[2, 3, 4, 5, 1], [2, 3, 5, 4, 5, 1], [2, 4, 4, 1], [2, 5, 1]] * 8
    model = TinyGPT(6, layers=1, width=16, heads=2, context=12, seed=0)
    fit(model, documents, epochs=25, lr=1e-2, batch=8)
    temperature, n, prompt = 0.8, 4000, [2, 3]
    (greedy,) = generate(model, [prompt], max_new=8)[0]
    assert len(greedy) < 8  # it ended by itself
    with torch.inference_mode():
        logits = model(torch.tensor([prompt + greedy]))[0, len(prompt) - 1 :]
    p = (logits / temperature).softmax(-1)
    steps = [*greedy, 1]
    expected = math.prod(float(p[t, token]) for t, token in enumerate(steps))
    assert 0.05 < expected < 0.95
    drawn = generate(model, [prompt], max_new=8, temperature=temperature, n=n, seed=3)[0]
    value = peakedness(greedy, drawn, alpha=0.0).value
    assert value == pytest.approx(expected, abs=4 * math.sqrt(expected * (1 - expected) / n))


def test_fit_predict_flags_a_reciting_model():
    model = SuffixModel(["once upon a time there was a very small red fox in the snow"])
    cdd = CDD(n=6, max_tokens=12)
    assert cdd.fit_predict(model, ["once upon a time there"]).tolist() == [True]
    assert cdd.fit_predict(SuffixModel(), ["once upon a time there"]).tolist() == [False]


def test_planted_items_are_found_and_held_back_ones_are_not():
    planting = OutputDistribution(samples=6).planted(seed=3, n=12)
    model = SuffixModel(planting.texts, seed=3)
    verdicts = {}
    for arm, audit in (("planted", planting.audit), ("held", planting.held)):
        findings = {f.name: f for f in audit.findings(drive(audit, model, seed=3), seed=3)}
        verdicts[arm] = findings["output-distribution/peak"].verdict()
        assert findings["output-distribution/peak"].details["limit"].startswith("CDD sees nothing")
    assert verdicts == {"planted": "memorised", "held": "not shown"}


def test_a_model_without_log_probabilities_is_audited_on_samples_alone():
    audit = OutputDistribution(samples=3)
    rows = drive(audit, CallableModel(lambda p: "some free answer of a few words"), limit=8)
    findings = {f.name: f for f in audit.findings(rows)}
    assert "output-distribution/perplexity" not in findings
    peak = findings["output-distribution/peak"]
    assert peak.details["likelihood"] == "not told by this model"
    assert (peak.seen.value, peak.fresh.value) == (1.0, 1.0)  # always the same answer, in both arms


def test_a_silent_model_gives_no_finding_and_no_crash():
    audit = OutputDistribution(samples=3)
    rows = drive(audit, CallableModel(lambda p: ""), limit=4)
    assert all(r.values["peak"] is None for r in rows)
    assert all("peak" not in f.name for f in audit.findings(rows))


def test_questions_of_a_benchmark_are_asked_as_a_chat_where_there_is_nothing_else(tmp_path):
    path = tmp_path / "items.jsonl"
    path.write_text("\n".join(json.dumps({"question": f"{i}?", "answer": "it"}) for i in range(4)))
    endpoint = Facts(capabilities=frozenset({"sample", "score"}), chat=True, raw=False)

    def first_asks(audit, facts):
        return next(audit.ask(audit.probes(limit=1)[0], facts))

    asks = first_asks(OutputDistribution(benchmark=path), endpoint)
    assert [type(a.prompt) for a in asks] == [tuple, tuple]  # and no score: it tells none of a chat
    assert asks[0].prompt[0][0] == "user"
    assert [type(a).__name__ for a in first_asks(OutputDistribution(), endpoint)][-1] == "Score"
    local = Facts(chat=True, raw=True, own_tokens=True)
    assert first_asks(OutputDistribution(benchmark=path), local)[2].text == " it"
    asks = first_asks(OutputDistribution(benchmark=path, chat=True), local)
    assert (asks[2].context, asks[2].text) == (asks[0].prompt, "it")


def test_the_task_of_inspect_ai(tmp_path):
    """Peak, detection by label, pass@1 and TED of a model whose answers are known."""
    import inspect_ai
    from inspect_ai.dataset import Sample as Item

    from byheart.audits.output_distribution import cdd_task
    from byheart.core.provider import as_inspect_model

    said = itertools.count()
    known = " ".join(f"w{i}" for i in range(30))

    def answer(prompt):
        question = prompt[-1][1]
        if question == "silent":
            return ""
        if question == "known":
            return known
        return " ".join(f"{next(said)}-{i}" for i in range(30))

    items = [
        Item(id=q, input=q, target=known, metadata={"label": q == "known"})
        for q in ("known", "new", "other", "silent")
    ]
    task = cdd_task(items, n=4, passes=lambda a, target: a == target)
    (log,) = inspect_ai.eval(
        task, model=as_inspect_model(CallableModel(answer)), display="none",
        log_dir=str(tmp_path), log_level="error",
    )  # fmt: skip
    assert log.status == "success"
    metrics = {k: m.value for k, m in log.results.scores[0].metrics.items()}
    assert metrics["contamination_ratio"] == pytest.approx(1 / 3)  # the silent one is not counted
    assert metrics["mean_peak"] == pytest.approx(1 / 3)
    assert (metrics["auc"], metrics["f1"]) == (1.0, 1.0)
    assert (metrics["pass"], metrics["ted"]) == (pytest.approx(1 / 3), 0.0)


def test_an_own_benchmark(tmp_path):
    lines = [{"question": f"What is number {i}?", "answer": "it is that"} for i in range(8)]
    path = tmp_path / "items.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    probes = OutputDistribution(benchmark=path).probes(limit=5)
    assert [p.arm for p in probes] == ["seen"] * 5 + ["fresh"] * 5
    path.write_text('{"question": ""}')
    with pytest.raises(DataError, match="line 1: needs a question"):
        OutputDistribution(benchmark=path).probes()


@pytest.mark.parametrize(
    "knobs",
    [{"samples": 1}, {"alpha": 2}, {"xi": 1}, {"temperature": 0}, {"mode": "x"}, {"fresh": "f"}],
)
def test_contradicting_knobs(knobs):
    with pytest.raises(UsageError):
        OutputDistribution(**knobs)


def test_the_benchmark_mode_is_the_papers_real_world_setting():
    rows = drive(OutputDistribution(samples=2, mode="benchmark"), SuffixModel(), limit=2)
    finding = OutputDistribution(samples=2, mode="benchmark").findings(rows)[0]
    assert (finding.details["alpha"], finding.details["xi"]) == (0.0, 0.2)
    assert Facts().own_tokens is False


@pytest.mark.slow
def test_the_contract():
    check_audit(OutputDistribution(samples=6), seeds=200, n=12)
