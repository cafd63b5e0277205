"""Endpoints that die, fall silent or send nonsense in the middle of an audit."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest

MODEL = "inspect:openai-api/local/m"


def _rows(folder) -> list[str]:
    try:
        return (folder / "rows.jsonl").read_text().splitlines()
    except FileNotFoundError:
        return []


def test_one_that_dies_midway_leaves_a_partial_report_and_is_taken_up_again(cli, server, tmp_path):
    words = ("audit", MODEL, "verbatim", "--limit", 12, "--out", tmp_path, "--json")
    server.dies_after, server.delay = 1 + 5, 0.01  # one ping, then one call a probe
    code, text, err = cli(*words)
    assert code == 3
    report = json.loads(text)
    assert report["meta"]["complete"] is False
    assert report["meta"]["stopped_by"] == "EndpointError"
    assert "401" in report["meta"]["missing"]
    assert report["findings"] or "questions answered, too few" in report["skipped"][0]["reason"]
    assert "the same command goes on" in err
    kept = _rows(tmp_path)
    assert 0 < len(kept) < 24
    assert (tmp_path / "report.html").exists()

    server.dies_after, before = -1, server.calls
    code, text, _ = cli(*words)
    assert code == 0
    assert json.loads(text)["meta"]["complete"] is True
    assert _rows(tmp_path)[: len(kept)] == kept
    assert server.calls - before == 1 + 24 - len(kept)


def test_conversations_finish_one_after_the_other(cli, server, tmp_path, monkeypatch):
    """All at once they would end together, and an interruption would cost every one of them."""
    server.delay = 0.05
    done: list[int] = []
    from byheart.core.journal import Journal

    add = Journal.add

    def noting(self, key, row):
        done.append(server.calls)
        add(self, key, row)

    monkeypatch.setattr(Journal, "add", noting)
    words = ("audit", MODEL, "output-distribution", "--limit", 30, "--samples", 8)
    code, _, err = cli(*words, "--out", tmp_path)
    assert code == 0, err
    assert len(done) >= 20
    assert done[0] < 0.6 * server.calls


@pytest.mark.parametrize("text", ["", "  \n"])
def test_one_that_says_nothing_gets_no_verdict(cli, server, tmp_path, text):
    server.text = text
    code, out, _ = cli(
        "audit", MODEL, "verbatim", "output-distribution", "economic-recall",
        "--limit", 8, "--samples", 2, "--out", tmp_path, "--json",
    )  # fmt: skip
    assert code == 0
    findings = json.loads(out)["findings"]
    assert {f["verdict"] for f in findings} == {"no verdict"}
    exact = next(f for f in findings if f["name"] == "verbatim/exact")
    assert "empty text" in exact["no_verdict"]


def test_half_characters_and_control_codes_go_through(cli, server, tmp_path):
    server.text = "\ud83d half \udc00 \x00 \x1b[31m [red]x[/red] \u202e"
    words = ("audit", MODEL, "verbatim", "economic-recall", "output-distribution", "--samples", 2)
    code, out, err = cli(*words, "--limit", 5, "--out", tmp_path)
    assert code == 0, err
    assert "\x1b" not in out
    assert "\ufffd half" in (tmp_path / "report.json").read_text(encoding="utf-8")
    assert cli("show", tmp_path)[0] == 0


@pytest.mark.parametrize("body", [b'{"id": "x", "choices": [', b"<html>hi</html>", b'{"a": 1}'])
def test_nonsense_is_called_nonsense(cli, server, tmp_path, body):
    server.body = body
    code, out, err = cli("audit", MODEL, "verbatim", "--out", tmp_path, "--json")
    assert (code, out) == (3, "")
    assert "not as an OpenAI-compatible server does" in err
    assert "/v1" in err


def test_what_it_cannot_do_is_skipped_by_name(cli, server, tmp_path):
    words = ("audit", MODEL, "membership", "verbatim", "--limit", 5, "--out", tmp_path)
    code, out, _ = cli(*words)
    assert code == 0
    assert "skipped membership: needs score" in out
    skipped = json.loads((tmp_path / "report.json").read_text())["skipped"]
    assert [s["audit"] for s in skipped] == ["membership"]


def test_the_self_test_without_weights_is_refused_before_anything_is_asked(cli, server, tmp_path):
    code, _, err = cli("audit", MODEL, "verbatim", "--self-test", "--out", tmp_path)
    assert code == 2
    assert "weights" in err
    assert server.calls <= 1  # the ping


@pytest.mark.parametrize("name", ["SIGINT", "SIGKILL"])
def test_killed_and_taken_up_again(cli, server, tmp_path, name):
    """The command in a process of its own: what was finished is asked no second time."""
    words = ("audit", MODEL, "verbatim", "--limit", "12", "--out", str(tmp_path))
    server.delay = 0.2
    with open(tmp_path / "stderr", "w") as err:
        process = subprocess.Popen(
            [sys.executable, "-c", "from byheart.cli import main; main()", *words],
            stdout=subprocess.DEVNULL, stderr=err, env=dict(os.environ),
        )  # fmt: skip
        until = time.monotonic() + 60
        while len(_rows(tmp_path)) < 3 and time.monotonic() < until:
            assert process.poll() is None, (tmp_path / "stderr").read_text()
            time.sleep(0.02)
        process.send_signal(getattr(signal, name))
        code = process.wait(30)
    kept = _rows(tmp_path)
    assert 3 <= len(kept) < 24
    if name == "SIGINT":
        assert code == 130
        report = json.loads((tmp_path / "report.json").read_text())
        assert (report["meta"]["complete"], report["meta"]["missing"]) == (False, "interrupted")
        assert "the same command goes on" in (tmp_path / "stderr").read_text()
    server.delay, before = 0.0, server.calls
    assert cli(*words)[0] == 0
    assert _rows(tmp_path)[: len(kept)] == kept
    assert server.calls - before == 1 + 24 - len(kept)
