"""CDD and TED against worked examples, closed forms and hand counts; the audit on known memories."""

import itertools
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from byheart.audits.output_distribution import (
    CDD,
    OutputDistribution,
    TedTask,
    clean,
    detection,
    mitigation,
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
    assert clean("an answer\n```\nmore") == "an answer"
    assert clean("```python\nprint(1)\n```\nmore") == "print(1)"  # not emptied: no false alarm
    assert clean("\n\n\n") == ""


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
