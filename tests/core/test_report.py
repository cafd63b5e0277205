"""Reports: exact round trips, corrected p-values, honest diffs, conditions, whole files."""

from __future__ import annotations

import dataclasses
import errno
import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
import report_samples as samples
from hypothesis import given, settings
from hypothesis import strategies as st

import byheart.core
from byheart.core.errors import OutputError, ReportError, UnknownName, UsageError
from byheart.core.finding import Estimate, Evidence
from byheart.core.report import Report, SelfTest

SCHEMA = json.loads(
    (Path(byheart.core.__file__).parent / "report.schema.json").read_text(encoding="utf-8")
)
ALL = [samples.sample, samples.empty, samples.single, samples.many, samples.broken]


@pytest.mark.parametrize("make", ALL)
def test_json_round_trip_is_exact_and_fits_the_schema(make):
    import jsonschema

    report = make()
    text = report.to_json()
    again = Report.from_json(text)
    assert again == report
    assert again.to_json() == text
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.validate(json.loads(text), SCHEMA)


def test_the_schema_refuses_what_is_no_report():
    import jsonschema

    record = json.loads(samples.sample().to_json())
    for spoil in (
        lambda r: r.pop("model"),
        lambda r: r.update(schema="byheart.report/2"),
        lambda r: r["findings"][0].update(p_value=1.5),
        lambda r: r["findings"][0].update(surprise=1),
        lambda r: r["findings"][0]["gap"].pop("low"),
        lambda r: r["self_test"].pop("held"),
    ):
        broken = json.loads(json.dumps(record))
        spoil(broken)
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(broken, SCHEMA)


FLOATS = st.floats(allow_nan=False, allow_infinity=False)


@settings(deadline=None)
@given(st.lists(FLOATS, min_size=3, max_size=3), st.text(), st.dictionaries(st.text(), FLOATS))
def test_any_finite_numbers_and_any_text_come_back(numbers, text, details):
    low, value, high = sorted(numbers)
    finding = samples.finding(
        "a/b", gap=Estimate(value, low, high), details=details,
        evidence=(Evidence("1", "seen", text, text, text, value),),
    )  # fmt: skip
    report = Report.of(text, [finding])
    assert Report.from_json(report.to_json()) == report
    assert Report.from_json(report.to_json()).findings[0].gap == finding.gap


def test_half_a_character_survives_disk(tmp_path):
    report = Report.of(
        "m", [samples.finding("a/b", evidence=(Evidence("1", "seen", "\ud83d", "", ""),))]
    )
    report.save(tmp_path)
    assert Report.load(tmp_path) == report


def test_numpy_values_and_tuples_become_plain():
    finding = samples.finding(
        "a/b", n=np.int64(3), gap=Estimate(np.float32(0.5), 0.0, np.float64(1.0)),
        details={"curve": (np.float64(0.1), 2), "array": np.arange(3)},
    )  # fmt: skip
    report = Report.of("m", [finding])
    assert report.findings[0].details == {"curve": [0.1, 2], "array": [0, 1, 2]}
    assert Report.from_json(report.to_json()) == report


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_none_are_refused_by_name(bad):
    with pytest.raises(ReportError, match=r"verbatim/exact\.details\.curve\[1\]"):
        Report.of("m", [samples.finding("verbatim/exact", details={"curve": [1.0, bad]})])
    with pytest.raises(ReportError, match=r"meta\.x"):
        Report.of("m", [], meta={"x": bad})
    with pytest.raises(ReportError, match=r"verbatim/exact\.gap\.high"):
        Report.of("m", [samples.finding("verbatim/exact", gap=Estimate(0.0, 0.0, math.inf))])
    text = (
        samples.single()
        .to_json()
        .replace("0.52", repr(bad).replace("nan", "NaN").replace("inf", "Infinity"))
    )
    with pytest.raises(ReportError, match="no number"):
        Report.from_json(text)


def test_values_that_json_cannot_hold_are_refused():
    with pytest.raises(ReportError, match=r"meta\.path is a .*Path"):
        Report.of("m", [], meta={"path": Path()})
    with pytest.raises(ReportError, match="two findings are named a/b"):
        Report.of("m", [samples.finding("a/b"), samples.finding("a/b")])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: "{", "not JSON"),
        (lambda r: "[]", "schema"),
        (lambda r: json.dumps(r | {"schema": "byheart.report/7"}), "byheart.report/7"),
        (lambda r: json.dumps({k: v for k, v in r.items() if k not in ("meta", "skipped")}), "lacks skipped, meta"),
        (lambda r: json.dumps(r | {"findings": [{"name": "x"}]}), r"findings\[0\] lacks claim"),
        (lambda r: json.dumps(r | {"findings": [3]}), r"findings\[0\] is no object"),
        (lambda r: json.dumps(r | {"findings": [r["findings"][0] | {"p_value": 2}]}), "p_value"),
        (lambda r: json.dumps(r | {"findings": [r["findings"][0] | {"odd": 2}]}), "odd"),
        (lambda r: json.dumps(r | {"findings": [r["findings"][0] | {"seen": 1}]}), "verbatim/exact"),
        (lambda r: json.dumps(r | {"skipped": [{"audit": "x"}]}), "reason"),
        (lambda r: json.dumps(r | {"self_test": {"planted": []}}), "self_test lacks base_planted"),
        (lambda r: json.dumps(r | {"findings": None}), "cannot be read"),
    ],
)  # fmt: skip
def test_broken_files_are_refused_with_what_is_wrong(tmp_path, change, message):
    path = tmp_path / "report.json"
    path.write_text(change(json.loads(samples.single().to_json())))
    with pytest.raises(ReportError, match=message) as caught:
        Report.load(path)
    assert str(path) in str(caught.value)


def test_files_that_are_not_there_or_not_text(tmp_path):
    with pytest.raises(ReportError, match="No such file"):
        Report.load(tmp_path / "none.json")
    (tmp_path / "report.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ReportError, match="not UTF-8"):
        Report.load(tmp_path)


def test_holm_is_over_the_tests_only():
    p = [0.01, 0.04, 0.03, 0.005]
    findings = [samples.finding(f"a/{i}", p_value=x) for i, x in enumerate(p)]
    findings.append(samples.finding("a/exploratory", p_value=0.0001, exploratory=True))
    findings.append(samples.finding("a/none", p_value=None, p_adjusted=0.5))
    adjusted = [f.p_adjusted for f in Report.of("m", findings).findings]
    # Holm 1979 by hand: sorted 0.005*4, 0.01*3, 0.03*2, then max(0.06, 0.04*1)
    assert adjusted[:4] == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert adjusted[4:] == [None, None]
    assert Report.of("m", []).findings == ()


def test_correcting_twice_changes_nothing():
    report = samples.sample()
    again = Report.of(report.model, report.findings)
    assert [f.p_adjusted for f in again.findings] == [f.p_adjusted for f in report.findings]


def test_items_by_name():
    report = samples.sample()
    assert report["verbatim/exact"].n == 48
    assert report.audits == ("verbatim", "membership", "economic-recall", "output-distribution")
    with pytest.raises(UnknownName, match="verbatim/exact"):
        report["verbatim/exakt"]


def test_save_writes_both_files_and_leaves_nothing_else(tmp_path):
    report = samples.sample()
    data, html = report.save(tmp_path / "new" / "folder")
    assert sorted(p.name for p in data.parent.iterdir()) == ["report.html", "report.json"]
    assert Report.load(data) == Report.load(data.parent) == report
    assert html.read_text(encoding="utf-8") == report.to_html()


def test_a_full_disk_leaves_the_old_report(tmp_path, monkeypatch):
    old = samples.single()
    old.save(tmp_path)

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="No space left on device; free some space"):
        samples.sample().save(tmp_path)
    assert Report.load(tmp_path) == old
    assert sorted(p.name for p in tmp_path.iterdir()) == ["report.html", "report.json"]


def test_an_unwritable_place_says_what_to_do(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="choose another folder"):
        samples.single().save(tmp_path / "file" / "sub")


# --- diff ---------------------------------------------------------------------------------------


def test_no_change_from_itself():
    report = samples.sample()
    diff = report.diff(report)
    assert {c.direction for c in diff.changes} == {"no change shown"}
    assert diff.new == diff.gone == diff.warnings == ()
    assert all(c.change.value == 0 and c.p_value == 1 for c in diff.changes)


def test_change_against_the_closed_form():
    before = Report.of("a", [samples.finding("v/x", unit="nats", gap=Estimate(0.5, 0.3, 0.7))])
    after = Report.of("b", [samples.finding("v/x", unit="nats", gap=Estimate(0.1, 0.0, 0.2))])
    (change,) = before.diff(after).changes
    half = math.hypot(0.2, 0.1)  # both intervals are 95 %: half widths add in squares
    assert change.change.value == pytest.approx(-0.4)
    assert change.change.high - change.change.value == pytest.approx(half, rel=1e-6)
    z = 0.4 / (half / 1.959963984540054)
    assert change.p_value == pytest.approx(math.erfc(z / math.sqrt(2)), rel=1e-6)
    assert change.direction == "less memorised"
    assert after.diff(before).changes[0].direction == "more memorised"


def test_noise_is_not_called_a_change():
    """Two runs of the same truth: at most 5 % of pairs may be called changed."""
    rng = np.random.default_rng(0)
    calls = 0
    for _ in range(400):
        reports = []
        for _ in range(2):
            gap = 0.3 + 0.1 * rng.standard_normal()
            reports.append(
                Report.of(
                    "m", [samples.finding("v/x", gap=Estimate(gap, gap - 0.196, gap + 0.196))]
                )
            )
        calls += reports[0].diff(reports[1]).changes[0].beyond_noise is True
    assert calls <= 34  # 99.9 percentile of Binomial(400, 0.05)


def test_intervals_without_width():
    flat = samples.finding("v/x", n=20, gap=Estimate(0.0, 0.0, 0.0))
    full = dataclasses.replace(flat, gap=Estimate(1.0, 1.0, 1.0))
    assert Report.of("m", [flat]).diff(Report.of("m", [full])).changes[0].beyond_noise is True
    other = [Report.of("m", [dataclasses.replace(f, unit="nats")]) for f in (flat, full)]
    assert other[0].diff(other[1]).changes[0].direction == "cannot tell"


def test_diff_names_new_gone_and_other_settings():
    before = samples.sample()
    after = Report.of(
        "tuned", [*before.findings[1:], samples.finding("new/one")],
        meta=samples.meta(seed=3, limit=8, byheart="0.2.0", complete=False, missing="interrupted"),
    )  # fmt: skip
    after.meta["audits"]["verbatim"]["config"] = {"prefix": 64}
    diff = before.diff(after)
    assert [f.name for f in diff.new] == ["new/one"]
    assert [f.name for f in diff.gone] == ["verbatim/exact"]
    text = str(diff)
    for part in ("seed differs: 0 before, 3 after", "limit", "byheart version", "verbatim.prefix",
                 "report after is not complete: interrupted", "new/one: new", "verbatim/exact: gone"):  # fmt: skip
        assert part in text
    json.dumps(diff.to_dict(), allow_nan=False)
    assert diff.to_dict()["gone"] == ["verbatim/exact"]


def test_diff_does_not_compare_other_units():
    one = Report.of("m", [samples.finding("v/x")])
    two = Report.of("m", [samples.finding("v/x", unit="characters")])
    assert one.diff(two).changes[0].direction == "cannot tell"
    assert "unit differs" in str(one.diff(two))


# --- conditions ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("gap>0.1", ["verbatim/exact", "verbatim/logprob"]),
        ("gap > 0.4", ["verbatim/logprob"]),
        ("verbatim:gap>0.4", ["verbatim/logprob"]),
        ("verbatim/exact : gap>=0.39", ["verbatim/exact"]),
        ("membership:gap>0", []),
        ("membership/auc:gap>0.1", ["membership/auc"]),
        ("gap>0.1 and p_adjusted<0.01", ["verbatim/exact"]),
        ("gap>0.4 or p<0.001", ["verbatim/exact", "verbatim/logprob"]),
        ("gap>0.4, p<0.001", ["verbatim/exact", "verbatim/logprob"]),
        ("gap>0.1 and p<0.001 or seen>3", ["verbatim/exact"]),
        ("verdict=memorised", ["verbatim/exact", "verbatim/logprob"]),
        ("verdict==not shown", ["economic-recall/within-tolerance", "output-distribution/cdd-peaked"]),
        ("verbatim:verdict!=memorised", []),
        ("gap_low>=0.27", ["verbatim/logprob"]),
        ("gap_high<0.1", ["output-distribution/cdd-peaked"]),
        ("fresh<=0.02", ["output-distribution/cdd-peaked"]),
        ("gap>-1e-3 and gap<1e-3", ["output-distribution/cdd-peaked"]),
        ("knights-and-knaves:gap>0", []),
    ],
)  # fmt: skip
def test_conditions(expression, expected):
    assert [f.name for f in samples.sample().exceeds(expression)] == expected


@pytest.mark.parametrize(
    "expression",
    ["", "gap", "gap>", ">0.1", "gap>>0.1", "gap>a", "gap>nan", "size>1", "verdict=guilty",
     "verdict>memorised", "gap>0.1 and", "and gap>0.1", "gap>0.1,,p<1", "gap=>1",
     "__import__('os')", "verbatim:gap>0.1 and membership:gap>0.1"],
)  # fmt: skip
def test_conditions_that_cannot_be_read(expression):
    with pytest.raises(UsageError, match=r"for example: 'gap>0\.1'"):
        Report.of("", ()).exceeds(expression)


def test_conditions_on_audits_that_are_not_there():
    with pytest.raises(UnknownName, match="did you mean 'verbatim'"):
        samples.sample().exceeds("verbatm:gap>0.1")
    assert Report.of("", ()).exceeds("verbatim:gap>0.1") == []


# --- self-test ----------------------------------------------------------------------------------


def test_self_test_passes_where_planted_is_found_and_nothing_else():
    test = samples.self_test()
    assert test.passed
    assert all(row.ok for row in test.rows())
    assert test.reason == "all 4 audits found what was planted, and nothing else"


def test_self_test_fails_where_planted_is_missed():
    test = samples.self_test(broken=True)
    assert not test.passed
    assert not any(row.ok for row in test.rows())
    assert "none of its 2 findings found what was planted" in test.reason


@pytest.mark.parametrize("arm", ["base_planted", "base_held", "held"])
def test_self_test_fails_where_something_is_found_that_was_not_planted(arm):
    good = samples.self_test()
    test = dataclasses.replace(good, **{arm: good.planted})
    assert not test.passed
    assert "memorised" in test.rows()[0].reason


def test_the_three_quiet_conditions_share_the_level():
    good = samples.self_test()
    for p, ok in ((0.02, True), (0.016, False)):
        held = tuple(dataclasses.replace(f, p_adjusted=p) for f in good.held)
        test = dataclasses.replace(good, held=held)
        assert test.passed is ok
        assert {row.ok for row in test.rows()} == {ok}


def test_one_finding_that_finds_is_enough_for_an_audit():
    good = samples.self_test()
    missed = dataclasses.replace(good.planted[1], p_adjusted=0.4)
    test = dataclasses.replace(good, planted=(good.planted[0], missed, *good.planted[2:]))
    assert test.passed
    assert "1 of 2 findings missed it" in test.audits["verbatim"][1]
    assert [r.ok for r in test.rows()][:2] == [True, False]


def test_exploratory_findings_are_not_judged_and_an_empty_test_does_not_pass():
    quiet = (samples.finding("a/b", exploratory=True),)
    test = SelfTest(quiet, quiet, quiet, quiet)
    assert test.rows()[0].ok is None
    assert not test.passed
    assert not SelfTest((), (), (), ()).passed


def test_a_finding_that_is_missing_where_planted_is_a_failure():
    good = samples.self_test()
    test = dataclasses.replace(good, planted=good.planted[:1])
    assert not test.passed
    assert "no finding on the planted items" in test.rows()[2].reason
