"""Every verb, its exit codes, and what a newcomer gets wrong."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "core"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny transformers model on disk."""
    from tiny import make_tiny_llama

    place = tmp_path_factory.mktemp("model")
    module, tokenizer = make_tiny_llama(context=512)
    module.save_pretrained(place)
    tokenizer.save_pretrained(place)
    return place


def test_audit_writes_report_rows_and_logs_and_resumes(cli, folder, tmp_path):
    out = tmp_path / "out"
    words = ("audit", f"hf:{folder}", "verbatim", "--limit", "5", "--out", str(out), "--json")
    code, text, _ = cli(*words)
    report = json.loads(text)
    assert code == 0
    assert report["meta"]["complete"] is True
    assert {f["name"] for f in report["findings"]} >= {"verbatim/exact"}
    assert (out / "report.html").stat().st_size > 10_000
    assert list((out / "logs").glob("*.eval"))
    rows = (out / "rows.jsonl").read_text()
    assert len(rows.splitlines()) == 10
    code, again, _ = cli(*words)
    assert code == 0
    assert (out / "rows.jsonl").read_text() == rows
    assert json.loads(again)["findings"] == report["findings"]

    code, text, _ = cli("show", str(out))
    assert code == 0
    assert "exact" in text
    assert "None of" in text
    code, text, _ = cli("diff", str(out), str(out / "report.json"), "--json")
    assert code == 0
    json.loads(text)
    code, _, err = cli(*words[:-1], "--fail-on", "seen<0.5")
    assert code == 1
    assert "verbatim/exact" in err


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("audit", "smolm2"), 2, "did you mean 'smollm2'"),
        (("audit", "smollm2", "verbatm"), 2, "did you mean 'verbatim'"),
        (("audit", "hf:/nowhere/at/all"), 2, "no model folder"),
        (("audit", "gguf:/nowhere.gguf"), 2, "no file"),
        (("audit", "smollm2", "verbatim", "--fail-on", "gap>>1"), 2, "gap>"),
        (("audit", "smollm2", "verbatim", "--texts", "/nowhere"), 2, "/nowhere"),
        (("audit", "smollm2", "verbatim", "-S", "prefix=3"), 2, "AUDIT.FIELD=VALUE"),
        (("audit", "smollm2", "verbatim", "-S", "verbatim.prefxi=3"), 2, "prefix"),
        (("audit", "smollm2", "verbatim", "--out", "/dev/null/x"), 4, "--out"),
        (("audit", "smollm2", "verbatim", "--csv", "x.csv"), 2, "csv"),
        (("show", "/nowhere.json"), 2, "/nowhere.json"),
        (("reproduce", "cdd"), 2, "did you mean 'cdd-ted'"),
        (("list", "audit-s"), 2, "audits"),
    ],
)
def test_what_goes_wrong_is_one_clear_line(cli, tmp_path, monkeypatch, words, code, said):
    monkeypatch.chdir(tmp_path)
    got, _, err = cli(*words)
    assert got == code, err
    assert said in err
    assert "Traceback" not in err


def test_an_unreachable_endpoint_is_said_in_bounded_time(cli, tmp_path, monkeypatch):
    monkeypatch.setenv("LOCAL_BASE_URL", "http://127.0.0.1:9/v1")
    monkeypatch.setenv("LOCAL_API_KEY", "none")
    code, _, err = cli("audit", "inspect:openai-api/local/m", "verbatim", "--out", str(tmp_path))
    assert code == 3
    assert "127.0.0.1:9" in err or "cannot be reached" in err


def test_list_tells_what_there_is(cli):
    code, text, _ = cli("list", "--json")
    assert code == 0
    entries = json.loads(text)
    assert {"audit", "control", "paper"} <= {e["kind"] for e in entries}
    assert all(e["about"] and e["status"] for e in entries)
    code, text, _ = cli("list", "audits")
    assert code == 0
    assert "membership" in text
    assert "cdd-ted" not in text


def test_version_and_help(cli):
    assert cli("--version")[0] == 0
    for verb in ("audit", "list", "show", "diff", "reproduce"):
        code, text, _ = cli(verb, "--help")
        assert code == 0
        assert "Usage" in text
