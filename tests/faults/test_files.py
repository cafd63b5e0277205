"""Broken models, full disks, unreadable reports and wrong words, all on the command line."""

from __future__ import annotations

import json
import resource
import subprocess
import sys

import pytest


def _edit(path, **changes):
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def _adapter(place, base, tensors=None):
    import torch
    from safetensors.torch import save_file

    place.mkdir(exist_ok=True)
    config = {
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 4, "target_modules": ["q_proj"],
        "base_model_name_or_path": str(base),
    }  # fmt: skip
    (place / "adapter_config.json").write_text(json.dumps(config))
    save_file(tensors or {"x": torch.zeros(1)}, place / "adapter_model.safetensors")
    return place


def _break(tiny, how):
    """A folder of the tiny model with one thing wrong."""
    from safetensors.torch import load_file, save_file

    place = tiny(how)
    weights = place / "model.safetensors"
    if how == "no weights":
        weights.unlink()
        (place / "pytorch_model.bin").write_bytes(b"a pickle")
    elif how == "truncated":
        data = weights.read_bytes()
        weights.write_bytes(data[: len(data) // 2])
    elif how == "no tokenizer":
        for file in place.glob("*token*"):
            file.unlink()
    elif how == "broken config":
        (place / "config.json").write_text("{")
    elif how == "other shapes":
        _edit(place / "config.json", hidden_size=64)
    elif how == "tensors missing":
        tensors = load_file(weights)
        tensors.pop("model.layers.0.mlp.down_proj.weight")
        save_file(tensors, weights, metadata={"format": "pt"})
    elif how == "not a number":
        tensors = {k: v * float("nan") for k, v in load_file(weights).items()}
        save_file(tensors, weights, metadata={"format": "pt"})
    elif how == "adapter without base":
        return _adapter(place.parent / "lonely", "/nowhere/base")
    elif how == "adapter of another model":
        return _adapter(place.parent / "stranger", place)
    return place


@pytest.mark.parametrize(
    ("how", "code", "said"),
    [
        ("no weights", 2, "pickled weights are not loaded"),
        ("truncated", 2, "broken safetensors file"),
        ("no tokenizer", 2, "holds no tokenizer"),
        ("broken config", 2, "config.json"),
        ("other shapes", 2, "other shapes than its config.json says"),
        ("tensors missing", 2, "(the first: model.layers.0.mlp.down_proj.weight)"),
        ("not a number", 3, "NaN"),
        ("adapter without base", 2, "the base model of the adapter"),
        ("adapter of another model", 2, "does not fit its base model"),
    ],
)
def test_a_broken_model_is_told_by_what_is_broken(cli, tiny, tmp_path, how, code, said):
    folder = _break(tiny, how)
    got, out, err = cli("audit", f"hf:{folder}", "verbatim", "--limit", 2, "--out", tmp_path)
    assert (got, out) == (code, ""), err
    assert said in err


@pytest.mark.parametrize("data", [b"", b"hello", b"GGUF\x03\x00\x00\x00" + bytes(40)])
def test_a_broken_gguf_file(cli, tmp_path, data):
    file = tmp_path / "model.gguf"
    file.write_bytes(data)
    code, _, err = cli("audit", f"gguf:{file}", "verbatim", "--out", tmp_path / "out")
    assert code == 2
    assert "no GGUF file that can be read" in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--seed", "-1"), "0"),
        (("--samples", "0"), "--samples"),
        (("--device", "nonsense"), "on this machine: cpu"),
        (("--fail-on", "verbatm:gap>0.1"), "did you mean 'verbatim'"),
        (("--fail-on", "membership:gap>0.1"), "known: verbatim"),
        (("-S", "verbatim.prefix=abc"), "is a whole number (default"),
        (("-S", "verbatim.prefix=[1,2]"), "is a whole number (default"),
        (("verbatim",), "named more than once"),
    ],
)
def test_wrong_words_are_said_before_any_work(cli, tiny, tmp_path, words, said):
    code, _, err = cli("audit", f"hf:{tiny('whole')}", "verbatim", *words, "--out", tmp_path)
    assert code == 2
    assert said in err
    assert not (tmp_path / "rows.jsonl").exists()


def test_a_paper_finds_out_before_its_work_that_it_cannot_write(cli, tmp_path):
    (tmp_path / "file").write_text("")
    code, _, err = cli("reproduce", "cdd-ted", "--out", tmp_path / "file")
    assert code == 4
    assert "it is a file; choose another folder" in err
    assert cli("reproduce", "cdd-ted", "--device", "nonsense", "--out", tmp_path)[0] == 2


@pytest.mark.parametrize("size", [0, 6_000, 40_000])
def test_a_full_disk_costs_no_finished_row(cli, tiny, tmp_path, size):
    """Files cannot grow past `size` bytes, as on a disk that fills up."""
    words = ("audit", f"hf:{tiny('whole')}", "verbatim", "--limit", 12, "--out", tmp_path)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        code, out, err = cli(*words, "--no-logs")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert code == 4, err
    assert "cannot write" in err
    if size:
        assert "verbatim" in out  # what was measured is shown, though it cannot be saved
    rows = tmp_path / "rows.jsonl"
    kept = rows.read_bytes() if rows.exists() else b""
    assert kept == b"" or kept.endswith(b"\n")
    assert size == 0 or kept
    assert cli(*words)[0] == 0
    assert rows.read_bytes().startswith(kept)


def test_a_log_that_cannot_be_written_is_an_output_error(cli, tiny, tmp_path):
    (tmp_path / "logs").write_text("in the way")
    words = ("audit", f"hf:{tiny('whole')}", "verbatim", "--limit", 2, "--out", tmp_path)
    code, _, err = cli(*words)
    assert code == 4, err
    assert cli(*words, "--no-logs")[0] == 0


@pytest.fixture(scope="module")
def report(tiny, tmp_path_factory):
    """A report.json that is whole."""
    import byheart

    out = tmp_path_factory.mktemp("report")
    byheart.audit(lambda prompt: "no idea", ["verbatim"], limit=2, out=out, logs=False)
    return out / "report.json"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"schema": "byheart.report/2"}, "read it with the version of byheart that wrote it"),
        ({"findings": None}, "its field 'findings' is null, expected a list"),
        ({"meta": [1]}, "its field 'meta' is [1], expected an object"),
        ({"model": {"a": 1}}, "its field 'model'"),
        ({"meta": {"audits": 3}}, "its meta.audits is 3"),
    ],
)
@pytest.mark.parametrize("verb", ["show", "diff"])
def test_an_edited_report_is_told_by_its_field(cli, report, tmp_path, verb, changes, said):
    path = tmp_path / "report.json"
    path.write_text(report.read_text())
    _edit(path, **changes)
    code, _, err = cli(verb, path, *([report] if verb == "diff" else []))
    assert code == 2
    assert said in err
    assert str(path) in err


@pytest.mark.parametrize("text", ["[" * 100_000, '{"schema": ' + "9" * 6000 + "}", "", "{", "[]"])
def test_what_is_no_report_is_said_to_be_none(cli, tmp_path, text):
    (tmp_path / "report.json").write_text(text)
    code, _, err = cli("show", tmp_path)
    assert code == 2
    assert "not JSON" in err or "no byheart report" in err


def test_a_name_that_is_no_text(cli, report, tmp_path):
    path = tmp_path / "report.json"
    record = json.loads(report.read_text())
    record["findings"][0]["name"] = 5
    path.write_text(json.dumps(record))
    code, _, err = cli("show", path)
    assert code == 2
    assert "findings[0]: its name is 5" in err


def test_a_report_saved_by_windows_is_read(cli, report, tmp_path):
    path = tmp_path / "report.json"
    path.write_bytes(b"\xef\xbb\xbf" + report.read_bytes().replace(b"\n", b"\r\n"))
    assert cli("show", path)[0] == 0


@pytest.mark.parametrize("where", [".", "report.json/x.html"])
def test_a_page_that_cannot_be_written(cli, report, where):
    code, _, err = cli("show", report, "--html", report.parent / where)
    assert code == 4
    assert "cannot write" in err


def test_a_pipe_is_wide_and_a_narrow_terminal_is_obeyed(cli, report, tmp_path, monkeypatch):
    path = tmp_path / "report.json"
    path.write_text(report.read_text())
    _edit(path, model="m" * 200)
    report = path
    monkeypatch.delenv("COLUMNS", raising=False)
    wide = cli("show", report)[1]
    assert max(map(len, wide.splitlines())) == 120
    monkeypatch.setenv("COLUMNS", "40")
    narrow = cli("show", report)[1]
    assert max(map(len, narrow.splitlines())) <= 40
    assert "\x1b" not in wide + narrow


def test_json_is_all_that_stdout_holds(cli, tiny, tmp_path):
    words = ("audit", f"hf:{tiny('whole')}", "--limit", 1, "--samples", 2, "--out", tmp_path)
    code, out, _ = cli(*words, "--json")
    assert code == 0
    assert json.loads(out)["meta"]["complete"] is True


def test_a_table_that_cannot_be_printed(report):
    """Stdout on a full disk: one line and an exit code, also from Python's own last flush."""
    words = [sys.executable, "-c", "from byheart.cli import main; main()", "show", str(report)]
    with open("/dev/full", "w") as full:
        done = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    assert done.returncode == 4
    assert "cannot print the result" in done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


def test_a_task_of_inspect_ai_refuses_a_knob_of_the_wrong_kind():
    from byheart import _registry
    from byheart.core.errors import UsageError

    with pytest.raises(UsageError, match=r"verbatim\.prefix is a whole number"):
        _registry.verbatim(prefix="abc")
