"""`--kind note | thoughts | linked` on write, recall and history; folders of Markdown files."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest


def ok(answer):
    code, out, err = answer
    assert code == 0, err
    return out


def test_thoughts_are_extracted_put_in_order_and_recalled(run):
    assert ok(run("write", "I live in Rome.", "--kind", "thoughts", "--valid-from", "2022-03-01")) == (
        "+ The user lives in Rome\n"
    )  # fmt: skip
    told = json.loads(ok(run(
        "write", "I moved to Bern last month.", "--kind", "thoughts", "--valid-from", "2023-05-08",
        "--json",
    )))[0]  # fmt: skip
    assert [t["text"] for t in told["superseded"]] == ["The user lives in Rome"]
    found = json.loads(
        ok(run("recall", "Where does the user live?", "--kind", "thoughts", "--json"))
    )
    assert "Bern" in found[0]["item"]["content"]
    words = ("recall", "Where does the user live?", "--kind", "thoughts", "--as-of", "2022-12-24")
    assert "Rome" in ok(run(*words))
    assert "memory" in ok(run(*words, "--prompt"))
    rows = json.loads(ok(run("history", found[0]["item"]["id"], "--json")))
    assert rows[0]["content"] == "The user lives in Rome"
    assert [r["current"] for r in rows][-1] is True


def test_a_chat_becomes_turns(run):
    chat = [
        {"role": "user", "name": "Ana", "content": "I live in Rome."},
        {"role": "assistant", "content": "Noted."},
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]},
        {"role": "user", "name": "Ana", "content": "I like tea."},
    ]
    told = json.loads(
        ok(run("write", "--chat", "-", "--kind", "thoughts", "--json", stdin=json.dumps(chat)))
    )
    assert [[t["text"] for t in r["inserted"]] for r in told] == [["Ana lives in Rome"], ["Ana likes tea"]]  # fmt: skip
    assert len(json.loads(ok(run("write", "--chat", "-", "--json", stdin=json.dumps(chat))))["ids"]) == 4  # fmt: skip


def test_linked_notes_link_and_tell_their_history(run):
    first = ok(
        run("add", "Ana: I adopted a puppy from the shelter in Porto", "--kind", "linked")
    ).strip()
    out = ok(run("add", "Ana: The puppy from the shelter chewed my shoes", "--kind", "linked"))
    assert f"linked to {first}" in out
    assert first in ok(run("recall", "where is the puppy from?", "--kind", "linked", "-k", "1"))
    rows = json.loads(ok(run("history", first, "--kind", "linked", "--json")))
    assert rows[0]["keywords"]
    assert "keywords" in ok(run("history", first, "--kind", "linked"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("write", "x", "--kind", "thougths"), "did you mean 'thoughts'"),
        (("write", "x", "--model", "smollm2"), "--model goes with"),
        (("write", "x", "--kind", "thoughts", "--label", "a=b"), "do not go with --kind thoughts"),
        (("write", "--chat", "-", "--trust", "web"), "do not go with --chat"),
        (("recall", "x", "--kind", "linked", "--cube", "c"), "--cube does not go with"),
        (("recall", "x", "--kind", "thoughts", "--ranker", "plain"), "--ranker does not go with"),
        (("write", "x", "--kind", "linked", "--model", "nope"), "nope"),
        (("history", "nope"), "unknown item"),
        (("history", "nope", "--kind", "linked"), "nope"),
        (("history", "x", "--kind", "old"), "unknown kind"),
    ],
)
def test_wrong_use_is_told_in_one_line(run, words, said):
    ok(run("write", "something"))
    before = ok(run("stats", "--json"))
    code, out, err = run(*words)
    assert code == 2, (out, err)
    assert said in err
    assert err.count("\n") == 1
    assert ok(run("stats", "--json")) == before


def test_labels_and_time_to_live_reach_a_conversation(run):
    chat = '[{"role":"user","content":"hello there"}]'
    until = f"{datetime.now(UTC).year + 1}-01-01"
    ok(run("write", "--chat", "-", "--label", "team=red", "--expires", until, stdin=chat))
    item = json.loads(ok(run("recall", "hello", "--json")))[0]["item"]
    assert item["labels"]["team"] == "red"
    assert item["expires_at"].startswith(until)


def test_a_folder_of_markdown_goes_out_and_comes_back_edited(run, tmp_path):
    folder = tmp_path / "notes"
    ok(run("write", "Ana lives in Rome.", "Ana likes tea."))
    assert "wrote 2 files" in run("export", f"{folder}/")[2]
    (rome,) = (p for p in folder.rglob("*.md") if "rome" in p.name)
    rome.write_text(rome.read_text().replace("in Rome.", "in Oslo."))
    next(p for p in folder.rglob("*.md") if "tea" in p.name).unlink()
    out = ok(run("import", str(folder)))
    assert out.startswith("0 new, 1 edited, 0 unchanged, 0 links, 1 missing\n")
    assert "is missing; its item" in out
    assert "Oslo" in ok(run("recall", "where does Ana live? lives"))
    told = json.loads(ok(run("import", str(folder), "--json")))
    assert told["reached"]["unchanged"] == 1
    assert "wrote 3 files" in run("export", str(folder), "--format", "okf")[2]
    (folder / "bad.md").write_text("---\ntype: [\n---\n")
    code, _, err = run("import", str(folder))
    assert (code, "bad.md, line 2, column 7" in err) == (2, True), err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("export", "-", "--format", "okf"), "need a folder"),
        (("export", "x", "--format", "yaml"), "jsonl, okf"),
        (("export", "-", "--current", "--cube", "c"), "contradict"),
        (("import", "FOLDER", "--format", "mem0"), "is a folder"),
        (("import", "-", "--format", "okf"), "read from a folder"),
        (("import", "-", "--take", "files"), "goes with a folder"),
        (("import", "FOLDER", "--take", "mine"), "take must be"),
    ],
)
def test_formats_that_do_not_fit_are_told(run, tmp_path, words, said):
    (tmp_path / "f").mkdir()
    ok(run("write", "something"))
    words = [str(tmp_path / "f") if w == "FOLDER" else w for w in words]
    code, out, err = run(*words)
    assert (code, said in err) == (2, True), (out, err)


def test_there_may_be_no_stdin_and_no_home(run, monkeypatch, tmp_path):
    import sys

    from byheart.cli._memory_options import open_memory, read_text
    from byheart.core.errors import DataError, OutputError

    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(DataError, match="stdin is closed"):
        read_text("-")
    monkeypatch.setenv("HOME", "")
    with pytest.raises(OutputError, match="no home folder"):
        open_memory(None, None, create=False)
    ok(run("write", "x"))
    for number in ("99999999999999999999999", "0"):
        code, _, err = run("undo", number)
        assert (code, "unknown entry of the log" in err) == (2, True)


def test_what_is_over_already_is_said(run):
    code, _, err = run("write", "x", "--expires", "1999-01-01")
    assert (code, "time to live is over already" in err) == (0, True)
