"""The audit: known models in, known verdicts out."""

import dataclasses
import json
import re

import numpy as np
import pytest

import byheart
from byheart.audits import economic_recall as econ
from byheart.audits.economic_recall import EconomicRecall, recall
from byheart.core.checks import check_audit
from byheart.core.errors import DataError, OutputError, UsageError
from byheart.core.toy import SuffixModel
from byheart.data.series import Series, load, month_index, month_label

MONTHS = ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"]  # fmt: skip


def asked(prompt):
    """The month asked about, and the last message."""
    text = prompt if isinstance(prompt, str) else prompt[-1][1]
    month, year = re.findall(rf"({'|'.join(MONTHS)}) (\d{{4}})", text)[-1]
    return f"{year}-{MONTHS.index(month) + 1:02d}", text


def memory(series, until, otherwise="100"):
    """A perfect memory up to a month, a constant after it."""

    def model(prompt):
        date, _ = asked(prompt)
        if month_index(date) <= month_index(until):
            return series.format(series.value(date))
        return otherwise

    return model


CPI = load("us_cpi_nsa")


def findings(report):
    return {f.name.split("/")[1]: f for f in report.findings}


def test_perfect_memory_and_a_constant_after_it():
    report = recall("us_cpi_nsa", model=memory(CPI, "2024-06"), cutoff="2024-06")
    assert report.verdict == "recall shown"
    pre, post = report.table()
    assert (pre["exact"], pre["mape"], pre["answer_rate"]) == (1.0, 0.0, 1.0)
    truth = [CPI.value(r["date"]) for r in report.per_date() if r["period"] == "post"]
    assert post["exact"] == 0.0
    assert post["mape"] == pytest.approx(np.mean([abs(100 - y) / y for y in truth]), abs=1e-5)
    assert report.gap("exact").gap.value == 1.0
    assert report.gap("mape").verdict == "recall shown"
    assert findings(report)["exact"].details["p_above_naive"] < 0.001


def test_a_forecaster_without_recall_is_not_accused():
    """Carry-forward, mean, a trend line, and a well chosen constant: all hit, none remembers."""
    last = str(CPI.value("2024-06"))
    pre = CPI.between("1990-01", "2024-06")
    slope, base = np.polyfit(pre.months, np.log(pre.values), 1)
    models = {
        "carry": lambda p: last,
        "mean": lambda p: str(np.mean(pre.values)),
        "trend": lambda p: str(np.exp(slope * month_index(asked(p)[0]) + base)),
        "silent": lambda p: "I do not know.",
    }
    for name, model in models.items():
        report = recall("us_cpi_nsa", model=model)
        assert report.verdict != "recall shown", name
    assert report.verdict.startswith("no verdict: the model answered 0%")


def test_falling_accuracy_alone_is_not_recall():
    """Noise around the truth everywhere, wider than the naive error, in a flat and a steep arm."""
    rng = np.random.default_rng(0)

    def model(prompt):
        return f"{CPI.value(asked(prompt)[0]) * (1 + rng.normal(0, 0.02)):.3f}"

    hits = sum(
        recall("us_cpi_nsa", model=model, seed=s).verdict == "recall shown" for s in range(20)
    )
    assert hits <= 4  # 99.7 percentile of Binomial(20, 0.05)


def test_too_few_months_after_the_cutoff_give_no_verdict():
    report = recall("us_cpi_nsa", model=memory(CPI, "2024-06"), cutoff="2025-12", embargo=0)
    assert report.verdict.startswith("no verdict: 8 months")


def test_both_arms_are_needed():
    with pytest.raises(DataError, match=r"sp500: 1999-01-04 to 2018-12-31"):
        EconomicRecall(series=("sp500",)).probes()
    assert EconomicRecall(series=("sp500",), cutoff="2015-12").probes(limit=4)


def test_the_contract_of_all_audits():
    checked = check_audit(EconomicRecall(), seeds=30, power_seeds=10)
    assert checked.power == 1.0
    assert checked.held_rate == 0.0


@pytest.mark.slow
def test_the_contract_of_all_audits_at_length():
    checked = check_audit(EconomicRecall())
    assert checked.null_rate <= 0.05


def test_planted_held_and_fresh_are_apart():
    planting = EconomicRecall().planted(seed=1, n=24)
    ids = {k: {p.id for p in a.probes() if p.arm == arm} for k, a, arm in (
        ("planted", planting.audit, "seen"), ("held", planting.held, "seen"),
        ("fresh", planting.audit, "fresh"))}  # fmt: skip
    assert [len(v) for v in ids.values()] == [24, 24, 24]
    assert not ids["planted"] & ids["held"]
    assert not (ids["planted"] | ids["held"]) & ids["fresh"]
    assert len(planting.texts) == 24


def test_spread_limit_and_seed():
    audit = EconomicRecall()
    probes = audit.probes(seed=1)
    for arm in ("seen", "fresh"):
        mine = [p for p in probes if p.arm == arm]
        assert len(mine) == 30
        assert len({p.meta["series"] for p in mine}) == 2
    assert probes == audit.probes(seed=1) != audit.probes(seed=2)
    assert all(
        month_index(p.meta["date"]) > month_index("2024-12") for p in probes if p.arm == "fresh"
    )
    decades = {int(p.meta["date"][:3]) for p in probes if p.arm == "seen"}
    assert decades == {199, 200, 201, 202}
    everything = EconomicRecall(series=("us_cpi_nsa",), probe="scan", embargo=0).probes()
    assert len(everything) == len(CPI.between("1990-01"))


def test_artificial_boundary_fails_on_a_model_that_remembers():
    """Claim b: the order is read (it stands in the system message) and does not help."""
    seen_orders = []

    def model(prompt):
        seen_orders.append(prompt[0])
        return memory(CPI, "2024-06")(prompt)

    report = recall("us_cpi_nsa", model=model, probe="boundary", boundary="2010-01")
    assert {role for role, _ in seen_orders} == {"system"}
    assert "January 2010" in seen_orders[0][1]
    limit = findings(report)["limit"]
    assert limit.details["limit_fails"]
    assert limit.details["hits"] == {"before": 1.0, "between": 1.0, "post": 0.0}
    groups = {r["group"]: r["exact"] for r in report.table(by=("group",))}
    assert groups == {"before": 1.0, "between": 1.0, "post": 0.0}
    obedient = recall("us_cpi_nsa", model=memory(CPI, "2010-01"), probe="boundary")
    assert not findings(obedient)["limit"].details["limit_fails"]
    assert obedient.verdict == "not shown (lower bound only)"


def test_context_is_told_and_carrying_it_forward_is_the_control():
    def parrot(prompt):
        return re.findall(r": ([\d.]+)", asked(prompt)[1].split("Earlier values")[1])[-1]

    report = recall("us_cpi_nsa", model=parrot, probe="value_context")
    assert findings(report)["within1"].seen.value > 0.9
    assert report.verdict == "not shown (lower bound only)"


def test_direction():
    rng = np.random.default_rng(0)

    def truth(date):
        i = CPI.index(date)
        return "up" if CPI.values[i] > CPI.values[i - 1] else "down"

    def coin(prompt):
        return f'{{"direction": "{rng.choice(["up", "down"])}"}}'

    def oracle(prompt):
        date = asked(prompt)[0]
        return truth(date) if month_index(date) <= month_index("2024-06") else coin(prompt)

    kw = {"probe": "direction", "per_arm": 200}
    report = recall("us_cpi_nsa", model=oracle, **kw)
    assert findings(report)["direction"].seen.value == 1.0
    assert report.table()[0]["direction"] == 1.0
    share = recall("us_cpi_nsa", model=coin, **kw).table()[0]["direction"]
    assert abs(share - 0.5) < 3.3 * 0.5 / 200**0.5


def test_shuffling_dates_removes_recall():
    rng = np.random.default_rng(0)
    shuffled = dict(zip(CPI.dates, rng.permutation(CPI.values), strict=True))
    report = recall("us_cpi_nsa", model=lambda p: str(shuffled[asked(p)[0]]))
    assert report.verdict == "not shown (lower bound only)"


def test_revised_data_match_any_vintage():
    dates = tuple(month_label(month_index("2000-01") + i) for i in range(60))
    first = Series("output of Velmora", "index", "M", dates, [100.0 + i for i in range(60)])
    revised = dataclasses.replace(first, values=[v + 7.5 for v in first.values])
    kw = {"cutoff": "2002-12", "embargo": 0, "start": "2000-01"}
    model = memory(revised, "2002-12", "1")
    strict = recall(first, model=model, **kw)
    assert strict.table()[0]["exact"] == 0.0
    either = recall(first.with_vintage(revised), model=model, match="any_vintage", **kw)
    assert either.table()[0]["exact"] == 1.0
    assert either.verdict == "recall shown"


def test_rates_use_points():
    dates = tuple(month_label(month_index("2000-01") + i) for i in range(60))
    rate = Series(
        "unemployment of Velmora", "percent", "M", dates, [5.0 + (i % 7) / 10 for i in range(60)]
    )
    report = recall(
        rate, model=lambda p: "4.5", cutoff="2002-12", embargo=0, start="2000-01", per_arm=36
    )
    found = findings(report)
    assert found["within1"].seen.value == pytest.approx(
        np.mean([v <= 5.5 for v in rate.values[:36]])
    )
    assert "ae" in found
    assert "ape" not in found


def test_report_json_plot_and_safe_start(tmp_path):
    report = recall(
        "us_cpi_nsa", model=memory(CPI, "2025-12"), cutoff="2024-06", embargo=0, probe="scan"
    )
    (safe,) = report.safe_start()
    assert (safe.last_recalled, safe.date) == ("2025-12", "2026-01")
    assert "cutoff is wrong" in safe.why
    record = json.loads(report.to_json(tmp_path / "r.json"))
    assert record == json.loads((tmp_path / "r.json").read_text())
    assert record["verdict"] == report.verdict
    assert len(record["dates"]) == len(report.rows)
    for ending in ("png", "svg"):
        assert report.plot(tmp_path / f"r.{ending}").stat().st_size > 5000
    assert next(iter(report.frame()["date"])) == "1990-01"
    with pytest.raises(OutputError):
        report.to_json(tmp_path / "no" / "r.json")
    with pytest.raises(UsageError, match="cannot group"):
        report.table(by=("colour",))
    never = recall("us_cpi_nsa", model=lambda p: "1")
    assert [s.date for s in never.safe_start()] == ["2024-07"]


def test_bring_your_own_csv(tmp_path):
    series = load("aaa_yield").between("1990-01", "2018-12")
    series.to_csv(tmp_path / "yield.csv")
    audit = EconomicRecall(csv=tmp_path / "yield.csv", cutoff="2012-12")
    assert {p.meta["series"] for p in audit.probes()} == {"yield"}
    report = byheart.audit(lambda p: "no", [audit], limit=2)
    assert report.findings[0].no_verdict


def test_chat_and_plain_text_models_get_their_own_form():
    audit = EconomicRecall(series=("us_cpi_nsa",))
    probe = audit.probes(limit=1)[0]
    for chat in (True, False):
        facts = dataclasses.replace(SuffixModel().facts(), chat=chat)
        (ask,) = next(audit.ask(probe, facts))
        if chat:
            assert ask.prompt == (("user", probe.prompt),)
        else:
            assert ask.prompt == f"{probe.prompt}\nAnswer:"
    wordy = EconomicRecall(series=("us_cpi_nsa",), confidence=True).probes(limit=1)[0]
    assert '"confidence": 0-100' in wordy.prompt


@pytest.mark.parametrize(
    "knobs",
    [
        {"probe": "values"}, {"probe": "embedding"}, {"probe": "dating"}, {"cutoff": "June 2024"},
        {"match": "last"}, {"threshold": "mean"}, {"within": (-0.01,)}, {"embargo": -1},
        {"probe": "boundary", "boundary": "2030-01"}, {"per_arm": 0},
    ],
)  # fmt: skip
def test_wrong_knobs_are_refused(knobs):
    with pytest.raises(UsageError):
        EconomicRecall(**knobs)


def test_public_names_exist():
    for name in econ.__all__:
        assert hasattr(econ, name)
    assert econ.RecallProbe is EconomicRecall
    assert econ.lap is econ.lookahead_propensity


def test_exact_may_be_named_among_the_tolerances():
    """As the paper's users write it: ``within=(0, 0.01, 0.05)``."""
    report = recall("us_cpi_nsa", model=memory(CPI, "2024-06"), within=(0, 0.01, 0.05))
    assert report.audit.within == (0.01, 0.05)
    alone = recall("us_cpi_nsa", model=memory(CPI, "2024-06"), within=0)
    assert [f.name.split("/")[1] for f in alone.findings if not f.exploratory] == ["exact"]
    assert alone.verdict == "recall shown"
    assert recall("us_cpi_nsa", model=lambda p: "7", within=0, probe="boundary").findings


def test_a_gap_that_a_trend_explains_is_no_recall():
    """A constant near the mean errs far less before the cutoff than after it, and knows nothing."""
    report = recall("us_cpi_nsa", model=lambda p: "200")
    gap = report.gap("mape")
    assert gap.gap.high < 0  # off zero all the same
    assert gap.verdict == "not shown (lower bound only)"
    shown = recall("us_cpi_nsa", model=memory(CPI, "2024-06"))
    for metric in ("mae", "mape", "exact", "within1"):
        assert shown.gap(metric).verdict == "recall shown", metric
    assert shown.gap("me").verdict.startswith("no verdict: signed errors")

    def shy(prompt):
        return "7" if month_index(asked(prompt)[0]) <= month_index("2024-06") else "no idea"

    assert recall("us_cpi_nsa", model=shy).gap("answered").verdict.startswith("no verdict: nothing")


def test_signed_percentage_errors_keep_the_sign_of_a_negative_truth():
    dates = tuple(month_label(month_index("2000-01") + i) for i in range(60))
    negative = Series("balance of Velmora", "index", "M", dates, [-10.0] * 60)
    report = recall(negative, model=lambda p: "-12" if "2000" in asked(p)[0] else "-10",
                    cutoff="2002-12", embargo=0, start="2000-01", per_arm=36)  # fmt: skip
    assert report.table()[0]["mpe"] == pytest.approx(0.2 / 3, abs=1e-6)
    assert report.gap("mpe").gap.value == pytest.approx(0.2 / 3)


def test_naive_forecasters_stand_beside_the_model():
    report = recall("us_cpi_nsa", model=memory(CPI, "2024-06"))
    pre, post = report.table()
    truth = [CPI.value(r["date"]) for r in report.per_date() if r["period"] == "post"]
    last = CPI.value("2024-06")
    assert post["carry_forward_mape"] == pytest.approx(
        np.mean([abs(last - y) / y for y in truth]), abs=1e-6
    )
    mean = np.mean(CPI.between("1990-01", "2024-06").values)
    assert post["pre_mean_mae"] == pytest.approx(np.mean([abs(mean - y) for y in truth]), abs=1e-4)
    assert pre["carry_forward_mape"] > pre["mape"] == 0


def test_a_few_months_do_not_decide_whether_a_limit_holds():
    report = recall("us_cpi_nsa", model=memory(CPI, "2024-06"), probe="boundary", limit=8)
    limit = findings(report)["limit"]
    assert limit.details["limit_fails"] is None
    assert limit.details["months"] == {"before": 8, "between": 8, "post": 8}


def test_inspect_runs_the_probe_on_a_mock_that_knows_values_up_to_a_date(tmp_path):
    """Usage is set by hand: without it the mock counts tokens with a vocabulary off the network."""
    from inspect_ai import eval as inspect_eval
    from inspect_ai.model import ModelOutput, ModelUsage, get_model

    from byheart._registry import economic_recall

    known = memory(CPI, "2024-06")

    def reply(messages, tools, tool_choice, config):
        assert config.temperature == 0
        output = ModelOutput.from_content("mockllm/model", known([("user", messages[-1].text)]))
        output.usage = ModelUsage(input_tokens=1, output_tokens=1, total_tokens=2)
        return output

    task = economic_recall(series=("us_cpi_nsa",), cutoff="2024-06", limit=4)
    mock = get_model("mockllm/model", custom_outputs=reply)
    (log,) = inspect_eval(task, model=mock, display="none", log_dir=str(tmp_path))
    assert log.status == "success", log.error
    scores = {s.id: next(iter(s.scores.values())) for s in log.samples}
    assert len(scores) == 8
    for name, score in scores.items():
        before = month_index(name.split(":")[1]) <= month_index("2024-06")
        assert score.value["exact"] == float(before)
        assert score.value["answered"] == 1.0
    assert {s.metadata["probe"]["meta"]["period"] for s in log.samples} == {"pre", "post"}


@pytest.mark.slow
def test_the_embedded_model_answers():
    report = recall(["us_cpi_nsa"], model="smollm2", per_arm=12)
    assert report.table()[0]["answer_rate"] > 0.8
    assert report.verdict == "not shown (lower bound only)"


def test_a_csv_with_gaps_is_refused_unless_they_are_to_be_skipped(tmp_path):
    rows = [
        f"{y}-{m:02d},{100 + y - 2000 + m / 10:.1f}"
        for y in range(2000, 2020)
        for m in range(1, 13)
    ]
    rows[100] = rows[100].split(",")[0] + ","
    path = tmp_path / "gap.csv"
    path.write_text("\n".join(["date,value", *rows]))
    with pytest.raises(DataError, match=r"line 102: .*gaps=skip"):
        EconomicRecall(csv=path, cutoff="2010-12").probes()
    probes = EconomicRecall(csv=path, cutoff="2010-12", gaps="skip").probes()
    assert {p.arm for p in probes} == {"seen", "fresh"}
