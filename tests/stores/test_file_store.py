"""Markdown files in the Open Knowledge Format: exact, edited by people, never trusted."""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from byheart.core.errors import (
    DataError,
    FrozenError,
    MergeConflict,
    OutputError,
    StoreError,
    UnknownName,
    UsageError,
)
from byheart.core.item import KINDS, ORIGINS, TRUST, Item, Scope, canonical
from byheart.core.memory import Selector
from byheart.memory import Memory
from byheart.stores import FileStore
from byheart.stores._okf import Link, Note, file_stem


@pytest.fixture
def memory(tmp_path):
    with Memory(tmp_path / "m.db", "acme/ana") as memory:
        yield memory


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "out"


def notes(folder):
    return {n.item.content: n for n in FileStore(folder).read()}


def file_of(folder, content) -> Path:
    return folder / notes(folder)[content].path


def edit(path, before, after):
    text = path.read_text(encoding="utf-8")
    assert before in text
    path.write_text(text.replace(before, after), encoding="utf-8")


# ---------------------------------------------------------------- exactness

ANY = st.text(st.characters(exclude_categories=["Cs"])) | st.sampled_from(
    ["---\ntype: Note\n---\nx", "\n---\n", "a\r\nb", "a\r\nb\n", "a\rb", "\r\r\n", "\0", "x\n\n", "\n\nx",
     "<!-- byheart: links -->", "\n<!-- byheart: links -->\n", " ", "\ufeffx", "\u2028", "# T\n\n[a](b.md)"]
)  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False) | ANY,
    lambda c: st.lists(c, max_size=3) | st.dictionaries(ANY, c, max_size=3),
    max_leaves=5,
)  # fmt: skip
TIMES = st.none() | st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC))
LABELS = st.dictionaries(
    ANY
    | st.sampled_from(
        ["title", "description", "resource", "tags", "type", "okf", "_unknown", "id"]
    ),
    JSON | st.dictionaries(st.sampled_from(["status", "verified", "type", "x", "<<"]), JSON),
    max_size=4,
).filter(lambda x: "_unknown" not in x or isinstance(x["_unknown"], dict))
IDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=200).filter(
    str.isprintable
)
ITEMS = st.builds(
    Item,
    content=ANY,
    kind=st.sampled_from(KINDS),
    blob=st.none() | st.binary(max_size=50),
    id=IDS,
    scope=st.none() | st.just(Scope("acme", "ana", "é", "s 1")),
    source=ANY,
    trust=st.sampled_from(TRUST),
    origin=st.sampled_from(ORIGINS),
    valid_from=TIMES,
    expires_at=TIMES,
    recorded_at=TIMES,
    supersedes=st.none() | IDS,
    parents=st.lists(ANY, max_size=2),
    labels=LABELS,
)
FIELDS = tuple(Item.__dataclass_fields__)
SLOW = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]


@settings(max_examples=100, deadline=None, suppress_health_check=SLOW)
@given(st.lists(ITEMS, max_size=3, unique_by=lambda i: i.id), st.booleans())
def test_every_field_comes_back_exactly(tmp_path_factory, items, windows):
    folder = tmp_path_factory.mktemp("f") / "out"
    links = tuple(Link(i.id, i.source, 0.5) for i in items)
    FileStore(folder).write([Note(i, links=links) for i in items])
    if windows:  # a tool turned every line end
        for path in folder.rglob("*.md"):
            path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    back = {n.item.id: n for n in FileStore(folder).read()}
    assert set(back) == {i.id for i in items}
    for item in items:
        note = back[item.id]
        for name in FIELDS:
            assert getattr(note.item, name) == getattr(item, name), name
        assert canonical(note.item.to_dict()) == canonical(item.to_dict())
        assert note.intact is True
        assert note.links == links
    assert FileStore(folder).check() == []


@settings(max_examples=30, deadline=None, suppress_health_check=SLOW)
@given(st.lists(ITEMS, max_size=3, unique_by=lambda i: i.id))
def test_the_files_are_what_the_format_asks_for(tmp_path_factory, items):
    folder = tmp_path_factory.mktemp("f") / "out"
    FileStore(folder).write(items)
    for path in folder.rglob("*.md"):
        text = path.read_bytes().decode()
        if path.name == "index.md":
            assert text.startswith('---\nokf_version: "0.2"\n---\n')
            continue
        assert text.startswith("---\n")
        head = yaml.safe_load(text[4 : text.index("\n---\n", 3) + 1])
        assert isinstance(head["type"], str)
        assert head["type"].strip()
        assert head["generated"]["by"].startswith("byheart/")
        for source in head.get("sources", []):
            assert isinstance(source["resource"], str)
        assert path.name == path.name.lower()


def test_a_note_is_readable(folder):
    made = datetime(2026, 3, 1, 12, tzinfo=UTC)
    item = Item(
        "Ana lives in Oslo.", id="N1", source="chat:90", trust="user", valid_from=made,
        recorded_at=made, labels={"tags": ["home"], "thread": "chat"}, parents=("N0",),
        expires_at=made + timedelta(days=9),
    )  # fmt: skip
    FileStore(folder).write(
        [Note(item, links=(Link("N0", "was", 0.5),)), Item("Ana lives in Rome.", id="N0")]
    )
    text = file_of(folder, "Ana lives in Oslo.").read_text()
    old = notes(folder)["Ana lives in Rome."].path.split("/")[1]
    seal = text.split("seal: ")[1].split("\n")[0]
    assert (
        text
        == f"""---
type: Note
tags: [home]
id: N1
trust: user
origin: user input
sources:
  - {{"resource": chat:90}}
  - {{"resource": "./{old}", "item": N0}}
valid_from: "2026-03-01T12:00:00+00:00"
expires_at: "2026-03-10T12:00:00+00:00"
labels:
  thread: chat
links:
  - {{"to": N0, "label": was, "weight": 0.5}}
generated:
  by: byheart/0.1.0
  at: "2026-03-01T12:00:00+00:00"
stale_after: "2026-03-10"
seal: {seal}
---

Ana lives in Oslo.

<!-- byheart: links -->

* [Ana lives in Rome.](./{old}) - was
"""
    )
    index = (folder / "index.md").read_text()
    assert f"* [Ana lives in Rome.](notes/{old})" in index


# ---------------------------------------------------------------- names and folders


def test_names_differ_where_case_does_not_count(folder):
    items = [Item("CON", id="a"), Item("con", id="A"), Item("../../etc/passwd", id="../x"),
             Item("", id="z"), Item("漢字", id="k"), Item("index", id="i")]  # fmt: skip
    paths = FileStore(folder).write(items)
    assert len({p.casefold() for p in paths}) == len(items)
    assert all(p.startswith("notes/") and ".." not in p for p in paths)
    assert file_stem(items[4]).startswith("note-")
    assert {p.name for p in folder.rglob("*") if p.is_file()} >= {"index.md"}
    assert not any(p.name in ("index.md", "log.md") for p in (folder / "notes").iterdir())


def test_a_folder_of_something_else_is_left_alone(memory, folder):
    folder.mkdir()
    (folder / "thesis.md").write_text("mine")
    memory.write("x")
    with pytest.raises(OutputError, match="not empty and no export"):
        memory.export(folder, format="okf")
    assert sorted(p.name for p in folder.iterdir()) == ["thesis.md"]
    assert list(memory.log(kind="export")) == []


def test_a_new_folder_appears_whole_or_not_at_all(memory, folder, monkeypatch):
    memory.write(["one", "two"])
    calls = []

    def full(path, what):
        calls.append(path)
        if len(calls) == 3:
            raise OSError(28, "No space left on device")
        real(path, what)

    from byheart.stores import files

    real = files._write
    monkeypatch.setattr(files, "_write", full)
    with pytest.raises(OutputError, match="No space left"):
        memory.export(folder, format="okf")
    assert not folder.exists()
    assert sorted(p.name for p in folder.parent.iterdir() if "out" in p.name) == []
    monkeypatch.setattr(files, "_write", real)
    memory.export(folder, format="okf")
    memory.write("three")
    calls.clear()
    monkeypatch.setattr(files, "_write", full)
    with pytest.raises(OutputError):
        memory.export(folder, format="okf")
    monkeypatch.setattr(files, "_write", real)
    with pytest.raises(DataError, match="was interrupted"):
        memory.import_(folder)
    assert memory.export(folder, format="okf") == 3
    assert memory.import_(folder).seq is None


def test_a_place_that_cannot_be_written_is_said(memory, tmp_path):
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    if os.access(locked, os.W_OK):  # root writes anywhere but here
        locked = Path("/proc")
    with pytest.raises(OutputError, match="cannot write"):
        memory.export(locked / "out", format="okf")


# ---------------------------------------------------------------- through a memory


def same(a, b, *, but=("recorded_at", "scope", "valid_from")):
    for name in FIELDS:
        if name not in but:
            assert getattr(a, name) == getattr(b, name), name


def test_a_memory_goes_through_files_and_comes_back(memory, folder, tmp_path):
    first = memory.write(
        "Ana lives in Rome.", valid_from="2020-01-01", source="chat:3", trust="user"
    )
    memory.supersede(first.id, "Ana lives in Oslo.", valid_from="2024-01-01")
    state = memory.write(Item("cache", kind="state", blob=b"\0\1", labels={"type": "kv"})).id
    tea = memory.write(Item("Ana likes tea", parents=(first.id,))).id
    memory.link(tea, state, "see", 0.25)
    memory.freeze(tea)
    gone = memory.write("typo")
    memory.undo(gone)
    memory.create_cube("trip", [tea])
    memory.branch("trip", "side")
    memory.commit("trip@side", [Item("a draft")])
    assert memory.export(folder, format="okf") == 4
    assert notes(folder)["Ana lives in Rome."].path.startswith("history/")
    assert "status: deprecated" in file_of(folder, "Ana lives in Rome.").read_text()
    with Memory(tmp_path / "b.db", "guest") as there:
        receipt = there.import_(folder)
        assert receipt.reached == {
            "new": 4, "edited": 0, "unchanged": 0, "links": 1, "missing": 0,
        }  # fmt: skip
        assert receipt.beyond == ()
        for item in memory.items(history=True):
            if item.content not in ("typo", "a draft"):
                same(there.get(item.id), item)
                assert there.get(item.id).valid_from == item.valid_from
        assert there.recall("lives", as_of="2022-01-01")[0].item.content == "Ana lives in Rome."
        assert there.recall("lives")[0].item.content == "Ana lives in Oslo."
        assert there.links(tea) == [(tea, state, "see", 0.25)]
        assert there.show(tea)["state"] == "Frozen"
        assert there.import_(folder).seq is None
        assert there.check() == []
        other = tmp_path / "again"
        there.export(other, format="okf")
        assert sorted(n.path for n in FileStore(other).read()) == sorted(
            n.path for n in FileStore(folder).read()
        )


def test_only_what_is_asked_for_is_exported(memory, folder, tmp_path):
    ids = memory.write(["one", "two", "three"], source="a").ids
    memory.supersede(ids[0], "one, better")
    memory.archive(ids[2])
    memory.create_cube("c", [ids[1]])
    assert memory.export(folder, history=False, format="okf") == 2
    assert set(notes(folder)) == {"one, better", "two"}
    assert memory.export(tmp_path / "c", cube="c", format="okf") == 1
    assert memory.export(f"{tmp_path}/s/", Selector(source="a")) == 3
    assert {n.status for n in FileStore(tmp_path / "s").read()} == {"stable", "deprecated"}
    with pytest.raises(UnknownName, match="jsonl"):
        memory.export(tmp_path / "x", format="json")
    with pytest.raises(UnknownName, match="unknown cube"):
        memory.export(tmp_path / "x", format="okf", cube="nope")
    with pytest.raises(UsageError, match="contradict"):
        memory.export(tmp_path / "x", Selector(source="a"), format="okf", cube="c")
    assert not (tmp_path / "x").exists()


def test_an_edited_file_supersedes_from_now_on_and_only_once(memory, folder):
    id = memory.write("Ana lives in Rome.").id
    before = datetime.now(UTC)
    memory.export(folder, format="okf")
    edit(file_of(folder, "Ana lives in Rome."), "in Rome.", "in Oslo.\n\nSince May.")
    assert [p.what for p in FileStore(folder).check()] == [
        "it was edited; import it to keep the change"
    ]
    receipt = memory.import_(folder)
    assert receipt.reached["edited"] == 1
    new = memory.get(receipt.id)
    assert (new.content, new.supersedes) == ("Ana lives in Oslo.\n\nSince May.", id)
    assert memory.recall("lives", as_of=before)[0].item.id == id
    assert memory.import_(folder).seq is None
    assert memory.show(id)["versions"] == [id, new.id]
    edit(folder / notes(folder)[new.content].path, "Since May", "Since June")
    memory.import_(folder)
    assert [i.content for i in memory.items()] == ["Ana lives in Oslo.\n\nSince June."]
    assert len(memory.show(id)["versions"]) == 3
    path = notes(folder)["Ana lives in Oslo.\n\nSince June."].path
    memory.export(
        folder, format="okf"
    )  # the newest version keeps the file, the older go to the history
    assert notes(folder)["Ana lives in Oslo.\n\nSince June."].path == path
    assert len(notes(folder)) == 3
    assert FileStore(folder).check() == []
    assert memory.import_(folder).seq is None
    assert memory.check() == []


def test_files_as_they_were_cost_no_question_each(memory, folder, monkeypatch):
    memory.write([f"note {i}" for i in range(30)])
    memory.export(folder, format="okf")
    for name in ("show", "links", "get"):
        monkeypatch.setattr(memory.store, name, lambda *_: pytest.fail("asked about one item"))
    assert memory.import_(folder).reached["unchanged"] == 30
    assert memory.export(folder, format="okf") == 30


def test_an_edit_of_front_matter_is_an_edit(memory, folder):
    id = memory.write("Ana lives in Rome.", valid_from="2020-01-01", labels={"tags": ["a"]}).id
    memory.export(folder, format="okf")
    path = file_of(folder, "Ana lives in Rome.")
    edit(path, "tags: [a]", "tags: [a, b]\nmood: good")
    edit(path, "trust: unverified", "trust: user  # she said so")
    memory.import_(folder)
    (new,) = memory.items()
    assert new.labels == {"tags": ["a", "b"], "okf": {"mood": "good"}}
    assert (new.trust, new.supersedes, new.valid_from) == ("user", id, memory.get(id).valid_from)
    memory.export(folder, format="okf")
    assert "\nmood: good\n" in (folder / path).read_text()


def test_a_new_file_is_written_once_and_its_edit_supersedes(memory, folder):
    memory.write("first")
    memory.export(folder, format="okf")
    path = folder / "ideas" / "Tea.md"
    path.parent.mkdir()
    first = notes(folder)["first"].path.split("/")[1]
    path.write_text(f"---\ntype: Idea\n---\nTea, not coffee. See [it](../notes/{first}).\n")
    (id,) = memory.import_(folder).ids
    item = memory.get(id)
    assert item.content == f"Tea, not coffee. See [it](../notes/{first})."
    assert (item.trust, item.source, item.labels) == ("document", "ideas/Tea.md", {"type": "Idea"})
    assert [x[1] for x in memory.links(id)] == [notes(folder)["first"].item.id]
    assert memory.import_(folder).seq is None
    edit(path, "not coffee", "or water")
    (new,) = memory.import_(folder).ids
    assert memory.get(new).supersedes == id
    assert memory.import_(folder).seq is None
    memory.export(folder, format="okf")
    assert memory.import_(folder).seq is None
    assert path.exists()  # it keeps its place
    assert FileStore(folder).check() == []


def test_wiki_links_between_new_files_become_links(memory, folder):
    folder.mkdir()
    for name, text in (("a", "see [[b]] and [[sub/c|the other]]"), ("b", "back to [[a]]"),
                       ("sub/c", "![[a]] `x` [none](gone.md) [out](../../../etc/passwd.md)")):  # fmt: skip
        (folder / f"{name}.md").parent.mkdir(exist_ok=True)
        (folder / f"{name}.md").write_text(f"---\ntype: Note\n---\n{text}\n")
    receipt = memory.import_(folder)
    by = {i.source: i.id for i in memory.items()}
    assert receipt.reached["links"] == 3
    assert {x[:2] for id in by.values() for x in memory.links(id)} == {
        (by["a.md"], by["b.md"]), (by["a.md"], by["sub/c.md"]), (by["b.md"], by["a.md"]),
    }  # fmt: skip


def test_a_missing_file_is_reported_and_nothing_is_erased(memory, folder):
    ids = memory.write(["stays", "goes"]).ids
    memory.export(folder, format="okf")
    path = file_of(folder, "goes")
    path.unlink()
    receipt = memory.import_(folder)
    assert receipt.reached["missing"] == 1
    assert receipt.beyond == (
        f"{path.relative_to(folder)} is missing; its item {ids[1]} stays. To remove it: byheart "
        f"memory erase {ids[1]}",
    )
    assert [i.id for i in memory.items()] == list(ids)


def test_both_changed_is_a_conflict_until_told(memory, folder):
    id = memory.write("Ana lives in Rome.").id
    memory.export(folder, format="okf")
    edit(file_of(folder, "Ana lives in Rome."), "Rome", "Oslo")
    other = memory.supersede(id, "Ana lives in Bern.").id
    entries = len(list(memory.log()))
    with pytest.raises(MergeConflict, match="nothing was imported") as error:
        memory.import_(folder)
    (conflict,) = error.value.conflicts
    assert (conflict.key, conflict.ours) == (id, other)
    assert len(list(memory.log())) == entries
    kept = memory.import_(folder, take="memory")
    assert kept.seq is None
    assert "the memory's version was kept" in kept.beyond[0]
    memory.import_(folder, take="files")
    assert [i.content for i in memory.items()] == ["Ana lives in Oslo."]
    assert memory.import_(folder).seq is None
    with pytest.raises(UsageError, match="take must be"):
        memory.import_(folder, take="mine")
    with pytest.raises(UsageError, match="goes with a folder"):
        memory.import_([], take="files")


def test_changes_that_were_not_imported_are_not_overwritten(memory, folder):
    memory.write(["one", "two"])
    memory.export(folder, format="okf")
    edit(file_of(folder, "one"), "\none\n", "\nONE\n")
    (folder / "new.md").write_text("---\ntype: Note\n---\nnew\n")
    with pytest.raises(StoreError, match=r"never imported: new\.md \(new\), notes/one"):
        memory.export(folder, format="okf")
    assert notes(folder)["ONE"]
    memory.import_(folder)
    memory.export(folder, format="okf")
    assert set(notes(folder)) == {"ONE", "one", "two", "new"}


def test_erased_items_leave_the_folder_at_the_next_export(memory, folder):
    memory.write(Item("secret", blob=b"hush", kind="state"))
    keep = memory.write("kept").id
    memory.export(folder, format="okf")
    assert len(list(folder.rglob("*.blob"))) == 1
    memory.erase(next(i.id for i in memory.items() if i.id != keep))
    memory.export(folder, format="okf")
    assert set(notes(folder)) == {"kept"}
    assert not any("secret" in p.read_text() for p in folder.rglob("*") if p.is_file())
    assert list(folder.rglob("*.blob")) == []


def test_a_frozen_item_is_not_superseded_by_a_file(memory, folder):
    id = memory.write("Ana lives in Rome.").id
    memory.freeze(id)
    memory.export(folder, format="okf")
    edit(file_of(folder, "Ana lives in Rome."), "Rome.", "Oslo.")
    with pytest.raises(FrozenError, match="is Frozen"):
        memory.import_(folder)
    assert [i.content for i in memory.items()] == ["Ana lives in Rome."]


def test_an_edited_file_of_an_item_that_is_not_here_becomes_an_item(memory, folder, tmp_path):
    id = memory.write("Ana lives in Rome.").id
    memory.export(folder, format="okf")
    edit(file_of(folder, "Ana lives in Rome."), "Rome", "Oslo")
    with Memory(tmp_path / "b.db") as there:
        (new,) = there.import_(folder).ids
        assert new != id
        assert there.get(new).content == "Ana lives in Oslo."
        assert there.import_(folder).seq is None


# ---------------------------------------------------------------- from elsewhere


SPEC = """---
type: Attested Computation
title: Revenue for fiscal year
description: Recognized revenue for a fiscal year, per Finance's definition.
status: stable
runtime: bigquery
parameters:
  - { name: year, type: integer, required: true }
executor:
  resource: references/skills/run-on-bq.md
  receipt: [job_id, executed_sql, result]
generated: { by: reference_agent/gemini-2.5-pro, at: 2026-06-20T22:53:05Z }
verified: { by: human:ahormati, at: 2026-06-25T09:00:00Z }
stale_after: 2026-09-23
sources:
  - id: rev-policy
    resource: https://wiki.acme/finance/revenue-recognition
    title: Revenue recognition policy
---

# Computation

    SELECT SUM(amount) AS revenue
"""


def test_a_bundle_of_another_tool_is_kept_whole(memory, folder, tmp_path):
    folder.mkdir()
    (folder / "revenue.md").write_text(SPEC)
    (folder / "index.md").write_text('---\nokf_version: "0.2"\n---\n# All\n')
    (folder / "log.md").write_text("# Log\n\n## 2026-05-22\n* **Update**: x.\n")
    (folder / ".obsidian").mkdir()
    (folder / ".obsidian" / "x.md").write_text("no concept")
    (id,) = memory.import_(folder).ids
    item = memory.get(id)
    assert id == "out/revenue"
    assert item.content == "# Computation\n\n    SELECT SUM(amount) AS revenue"
    assert item.source == "https://wiki.acme/finance/revenue-recognition"
    assert item.trust == "document"
    assert item.valid_from == datetime(2026, 6, 20, 22, 53, 5, tzinfo=UTC)
    assert item.labels["type"] == "Attested Computation"
    assert item.labels["title"] == "Revenue for fiscal year"
    assert item.labels["okf"]["verified"] == {"by": "human:ahormati", "at": "2026-06-25T09:00:00Z"}
    assert item.labels["okf"]["stale_after"] == "2026-09-23"
    memory.export(tmp_path / "o2", format="okf")
    head = yaml.safe_load((tmp_path / "o2" / FileStore(tmp_path / "o2").read()[0].path).read_text().split("---\n")[1])  # fmt: skip
    assert head["type"] == "Attested Computation"
    assert head["runtime"] == "bigquery"
    assert head["verified"]["by"] == "human:ahormati"
    same(FileStore(tmp_path / "o2").read()[0].item, item)


GOOD = "---\ntype: Note\n---\nx\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"just text", "line 1, column 1: no front matter"),
        (b"", "line 1, column 1: no front matter"),
        (b"---\ntype: Note\n", "is not closed"),
        (b"---\ntitle: x\n---\n", "no type"),
        (b"---\ntype: ''\n---\n", "no type"),
        (b"---\ntype: Note\n  bad\n---\n", "line 3, column 3"),
        (b"---\ntype: !!python/name:os.system x\n---\n", "line 2, column 7: tags"),
        (b"---\ntype: Note\nid: [1]\n---\n", "id must be text"),
        (b"---\ntype: Note\nid: 12\n---\n", "id must be text; put it in quotes"),
        (b"---\ntype: Note\ntrust: god\n---\n", "trust must be one of"),
        (b"---\ntype: Note\nvalid_from: soon\n---\n", "valid_from"),
        (b"---\ntype: Note\nlabels: x\n---\n", "labels must be name: value pairs"),
        (b"---\ntype: Note\nlinks:\n  - x\n---\n", "a link has to: ID"),
        (b"---\ntype: Note\nline_ends: cr\n---\n", "lf or crlf"),
        (b"---\ntype: Note\ncontent: a\n---\nb\n", "front matter and below"),
        (b"---\ntype: Note\nid: A\nstate: Asleep\n---\n", "state must be one of"),
        (b"---\ntype: Note\nx: 1\n---\n\xff", "line 5, column 1: not UTF-8"),
        (b"---\ntype: Note\nblob: {file: ../../../etc/passwd}\n---\n", "names a file beside it"),
        (b"---\ntype: Note\nblob: {file: /etc/passwd}\n---\n", "names a file beside it"),
        (b"---\ntype: Note\nblob: {file: .hidden}\n---\n", "names a file beside it"),
        (b"---\ntype: Note\nblob: {file: gone.blob}\n---\n", "gone.blob"),
        (
            b"---\ntype: Note\nblob: {file: there.blob, sha256: '00'}\n---\n",
            "does not fit its sha256",
        ),
        (b"---\ntype: Note\nblob: {file: link.blob}\n---\n", "link"),
    ],
)
def test_what_is_broken_is_named_and_nothing_is_imported(memory, folder, text, said):
    folder.mkdir()
    (folder / "a.md").write_text(GOOD)
    (folder / "b.md").write_bytes(text)
    (folder / "there.blob").write_bytes(b"x")
    if "link" in said:
        (folder / "link.blob").symlink_to("there.blob")
    with pytest.raises(DataError, match=said) as error:
        memory.import_(folder)
    assert "b.md" in str(error.value) or "blob" in str(error.value) or "line 2" in str(error.value)
    assert list(memory.items()) == []


def test_links_pipes_and_twins_are_refused(memory, folder, tmp_path):
    folder.mkdir()
    (folder / "a.md").write_text(GOOD)
    (tmp_path / "secret.md").write_text(GOOD.replace("x\n", "secret\n"))
    for make in (
        lambda p: p.symlink_to(tmp_path / "secret.md"),
        lambda p: os.mkfifo(p),
        lambda p: p.mkdir() or (p / "in").symlink_to(tmp_path),
        lambda p: p.with_name("dir").symlink_to(tmp_path),
    ):
        make(folder / "b.md")
        with pytest.raises(DataError, match=r"is a link|no plain file"):
            memory.import_(folder)
        for path in (folder / "b.md", folder / "dir"):
            if path.is_dir() and not path.is_symlink():
                (path / "in").unlink()
                path.rmdir()
            else:
                path.unlink(missing_ok=True)
    for name in ("a.md", "b.md"):
        (folder / name).write_text(f"---\ntype: Note\nid: same\n---\n{name}\n")
    with pytest.raises(DataError, match=r"b\.md and a\.md have the id 'same' both"):
        memory.import_(folder)
    assert list(memory.items()) == []


def test_an_id_that_is_here_with_other_content_is_refused(memory, folder, tmp_path):
    with Memory(tmp_path / "b.db") as there:
        there.write(Item("theirs", id="X"))
        there.export(folder, format="okf")
    memory.write(Item("mine", id="X"))
    with pytest.raises(DataError, match="with other content"):
        memory.import_(folder)


def test_a_file_store_alone(folder):
    store = FileStore(folder)
    with pytest.raises(DataError, match="does not exist"):
        store.read()
    store.write([Item("one", id="A"), Item("two", id="B")])
    assert store.get("A").content == "one"
    with pytest.raises(UnknownName, match="known: A, B"):
        store.get("C")
    store.write([Item("one", id="A")])
    assert [i.id for i in store.items()] == ["A"]
    with pytest.raises(UsageError, match="two notes have the id"):
        store.write([Item("one", id="A"), Item("x", id="A")])
    (folder / "bad.md").write_text("x")
    file_of_a = folder / store.manifest()["A"]
    file_of_a.unlink()
    assert [str(p).split(":")[0] for p in store.check()] == ["file bad.md", f"file {file_of_a.relative_to(folder)}"]  # fmt: skip


def test_no_file_is_ever_executed(memory, folder, monkeypatch):
    folder.mkdir()
    monkeypatch.setattr(os, "system", lambda *_: pytest.fail("executed"))
    (folder / "a.md").write_text(
        '---\ntype: Note\nx: "!!python/object/apply:os.system [ls]"\n---\n'
    )
    memory.import_(folder)
    assert "yaml" not in {m.split(".")[0] for m in sys.modules if "byheart" in m}
