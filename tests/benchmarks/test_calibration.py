"""The calibration counts rightly, keeps its records and takes them up; on models known completely."""

from __future__ import annotations

import json
import math
import re
import sys
from pathlib import Path

import pytest

from byheart.core.errors import DataError, UsageError
from byheart.core.finding import Estimate, Finding
from byheart.core.toy import SuffixModel

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import _calibration_records as records
import calibration

SETTINGS = {"items": 8, "samples": 4}


def entry(seed: int, arm: str, *verdicts: str, multiplicity: int = 4, gap: float = 0.0):
    found = {f"f{i}": {"verdict": v, "gap": gap, "p": 0.5} for i, v in enumerate(verdicts)}
    return records.Record("toy", seed, multiplicity, "verbatim", arm, SETTINGS, found)


def finding(name: str, p: float | None, *, gap: float = 0.5, **more) -> Finding:
    e = Estimate(gap, gap, gap)
    return Finding(f"verbatim/{name}", "", e, e, e, p, 8, "share", 0, **more)


def toy_trainer(calls: list[int]):
    """A model that has read the planted texts, if they were trained on at all."""

    def train(model, texts, *, repeats, mix, seed):
        calls.append(repeats)
        return SuffixModel([*texts * bool(repeats), *mix], seed=seed)

    return train


def run(ledger, calls, seeds=(0, 1), multiplicities=(0, 4), audits=("verbatim",)):
    calibration.calibrate(
        SuffixModel(), ledger, SETTINGS, name="toy", audits=audits, seeds=seeds,
        multiplicities=multiplicities, train=toy_trainer(calls),
    )  # fmt: skip


def test_shares_are_counted_over_seeds_with_wilsons_interval():
    some = [entry(s, "planted", "memorised" if s < 9 else "not shown") for s in range(10)]
    any_, own = (
        next(r for r in records.rates(some) if r.finding == f) for f in (records.ANY, "f0")
    )
    assert (any_.hits, any_.n, own.hits) == (9, 10, 9)
    # Wilson by hand: z = 1.959964, p = 0.9, n = 10
    z2 = 1.959964**2
    middle, half = (0.9 + z2 / 20) / (1 + z2 / 10), math.sqrt(z2 * (0.09 / 10 + z2 / 400))
    assert any_.share.low == pytest.approx(middle - half / (1 + z2 / 10), abs=1e-6)
    assert any_.share.high == pytest.approx(middle + half / (1 + z2 / 10), abs=1e-6)


def test_an_audit_has_found_what_any_of_its_findings_found():
    some = [
        entry(0, "planted", "not shown", "memorised"),
        entry(1, "planted", "no verdict", "not shown"),
        entry(2, "planted", "no verdict", "no verdict"),
    ]
    got = {r.finding: (r.hits, r.unjudged, r.n) for r in records.rates(some)}
    assert got == {records.ANY: (1, 1, 3), "f0": (0, 2, 3), "f1": (1, 1, 3)}
    shares = {r.finding: r.share.value for r in records.rates(some)}
    assert shares == {records.ANY: 1 / 3, "f0": 0, "f1": 1 / 3}, "a seed without verdict counts"


def test_arms_and_multiplicities_are_counted_apart():
    some = [
        entry(0, "planted", "memorised"), entry(0, "held", "not shown"),
        entry(0, "planted", "not shown", multiplicity=0),
        entry(0, "held", "memorised", multiplicity=0),
    ]  # fmt: skip
    got = {
        (r.multiplicity, r.arm): (r.hits, r.false_positive)
        for r in records.rates(some)
        if r.finding == records.ANY
    }
    assert got == {
        (4, "planted"): (1, False), (4, "held"): (0, True),
        (0, "planted"): (0, True), (0, "held"): (1, True),
    }  # fmt: skip
    assert records.pooled(some) == {"verbatim": (1, 3)}


def test_p_values_are_corrected_within_the_audit_and_exploratory_findings_left_out():
    found = [finding("a", 0.03), finding("b", 0.04), finding("c", 1e-9, exploratory=True)]
    new = records.record("toy", 0, 1, "verbatim", "held", SETTINGS, found)
    assert {k: v["p"] for k, v in new.findings.items()} == {"a": 0.06, "b": 0.06}
    assert new.verdict() == "not shown"
    alone = records.record("toy", 0, 1, "verbatim", "held", SETTINGS, [finding("a", 0.03)])
    assert alone.verdict() == "memorised"


def test_mean_gap_has_students_interval():
    dose = records.doses([entry(s, "held", "not shown", gap=g) for s, g in enumerate((1, 2, 3))])[0]
    half = 4.302653 * 1 / math.sqrt(3)  # t(0.975, 2 degrees of freedom)
    assert (dose.n, dose.gap.value) == (3, 2.0)
    assert (dose.gap.low, dose.gap.high) == pytest.approx((2 - half, 2 + half), abs=1e-5)
    assert records.mean_interval([0.3]).high == math.inf


def test_what_is_planted_is_found_and_what_is_not_only_by_chance():
    ledger, calls = records.Ledger(None), []
    run(ledger, calls, seeds=range(12))
    assert calls == [0, 4] * 12
    got = {
        (r.multiplicity, r.arm): r.hits
        for r in records.rates(ledger.records.values())
        if r.finding == records.ANY
    }
    assert got.pop((4, "planted")) == 12
    assert max(got.values()) <= 4, got  # the 99.9 percentile of Binomial(12, 0.05) is 4


@pytest.mark.parametrize(
    "audit", ["economic-recall", "membership", "output-distribution", "verbatim"]
)
def test_sharing_the_fresh_arm_gives_what_two_full_runs_give(audit):
    from byheart.core.drive import drive

    planting = calibration.plantings([audit], 3, 6, 4)[audit]
    model = SuffixModel(planting.texts, seed=3)
    got = calibration.findings(planting, model, 3)
    for arm, plain in (("planted", planting.audit), ("held", planting.held)):
        assert got[arm] == plain.findings(drive(plain, model, seed=3), seed=3)


def test_a_run_that_was_cut_off_is_taken_up_and_ends_the_same(tmp_path):
    whole, cut = tmp_path / "whole.jsonl", tmp_path / "cut.jsonl"
    run(records.Ledger(whole, "toy", SETTINGS), [])
    lines = whole.read_bytes().splitlines(keepends=True)
    assert len(lines) == 2 * 2 * 2
    cut.write_bytes(b"".join(lines[:5]) + lines[5][:40])  # the power went in the third training
    calls: list[int] = []
    run(records.Ledger(cut, "toy", SETTINGS), calls)
    assert calls == [0, 4]
    assert sorted(cut.read_bytes().splitlines()) == sorted(whole.read_bytes().splitlines())
    run(records.Ledger(cut, "toy", SETTINGS), calls)
    assert calls == [0, 4], "a finished run trains nothing"


def test_records_of_another_setting_or_of_no_kind_are_refused(tmp_path):
    path = tmp_path / "some.jsonl"
    run(records.Ledger(path, "toy", SETTINGS), [], seeds=(0,), multiplicities=(0,))
    with pytest.raises(DataError, match="line 1 was measured on toy"):
        records.Ledger(path, "toy", {**SETTINGS, "items": 9})
    with pytest.raises(DataError, match="not on smollm2"):
        records.Ledger(path, "smollm2", SETTINGS)
    assert len(records.Ledger(path).records) == 2
    again = records.Ledger(path)
    with pytest.raises(UsageError, match="before"):
        again.add(next(iter(again.records.values())))
    path.write_text('{"seed": 1}\n')
    with pytest.raises(DataError, match="line 1: not a calibration record"):
        records.Ledger(path)


def test_the_mixture_holds_no_planted_text():
    for seed in (0, 7):
        drawn = calibration.plantings(["economic-recall", "verbatim"], seed, 8, 4)
        mix = calibration.mixture(8, seed)
        assert len(mix) == 4 * 8
        assert not {t for p in drawn.values() for t in p.texts} & set(mix)


def test_table_and_summary_say_the_same(tmp_path):
    ledger = records.Ledger(None)
    for seed in range(4):
        ledger.add(entry(seed, "planted", "memorised" if seed else "not shown"))
        ledger.add(entry(seed, "held", "not shown", gap=1.0))
        ledger.add(entry(seed, "planted", "not shown", multiplicity=0, gap=-0.001 * (seed % 2)))
    told = json.loads(json.dumps(calibration.summary(ledger), allow_nan=False))
    assert told["seeds"] == 4
    at_four = [r for r in told["rates"] if r["multiplicity"] == 4]
    assert {(r["arm"], r["finding"]): r["hits"] for r in at_four} == {
        ("planted", "f0"): 3, ("planted", "any finding"): 3,
        ("held", "f0"): 0, ("held", "any finding"): 0,
    }  # fmt: skip
    assert told["false_alarms"] == {"verbatim": {"hits": 0, "n": 8}}
    text = calibration.tables(ledger)
    assert "| **verbatim** | 0/4 [0.00, 0.49] | 3/4 [0.30, 0.95] |" in text
    assert "| **verbatim** |  | 0/4 [0.00, 0.49] |" in text, "what was not measured is empty"
    assert "| verbatim | 0 of 8 |" in text
    blind = records.Ledger(None)
    blind.add(entry(0, "planted", "no verdict", "not shown"))
    assert "| verbatim/f0 | no verdict |" in calibration.tables(blind)
    assert "| verbatim/f1 | 0/1 [0.00, 0.79] |" in calibration.tables(blind)
    assert "| verbatim/f0 | 0.00 [0.00, 0.00] | 0.00 [0.00, 0.00] |" in text


def test_the_figure_is_drawn(tmp_path):
    from _calibration_figure import draw

    ledger = records.Ledger(None)
    run(ledger, [])
    draw([ledger, ledger], tmp_path / "figure.svg")
    text = (tmp_path / "figure.svg").read_text()
    assert {"verbatim", "toy, planted", "toy, held back", "nominal level 0.05"} <= set(
        re.findall(r">([^<>]+)</text>", text)
    )
    first = (tmp_path / "figure.svg").read_bytes()
    draw([ledger, ledger], tmp_path / "figure.svg")
    assert (tmp_path / "figure.svg").read_bytes() == first, "the same records, another file"
