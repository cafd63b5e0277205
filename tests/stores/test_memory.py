"""The facade: texts, encoders, rankers, prompts, export and import, chat and other dumps."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
import time
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import byheart
from byheart.core.errors import (
    DataError,
    MissingExtra,
    ModelError,
    OutputError,
    UnknownName,
    UsageError,
)
from byheart.core.item import Item, Scope, new_id
from byheart.core.memory import Hit, Selector
from byheart.core.prompt import prompt_text
from byheart.memory import Memory
from byheart.stores import _sqlite_vectors
from byheart.stores._words import tokens
from byheart.stores.chat import chat_items
from byheart.stores.importers import mcp_items, mem0_items


class Letters:
    """Counts of letters: a deterministic embedder."""

    def __init__(self, name="letters", version="1", fail_after=None, shift=0):
        self.name, self.version, self.calls = name, version, 0
        self.fail_after, self.shift = fail_after, shift

    def __call__(self, texts):
        self.calls += len(texts)
        if self.fail_after is not None and self.calls > self.fail_after:
            raise RuntimeError("the model fell over")
        alphabet = "abcdefghijklmnopqrstuvwxyz "
        return [np.roll([t.lower().count(c) + 0.01 for c in alphabet], self.shift) for t in texts]


@pytest.fixture
def memory(tmp_path):
    with Memory(tmp_path / "m.db", "a/ana") as memory:
        yield memory


# ------------------------------------------------------------------ items and scopes


def test_ids_sort_by_time_and_never_repeat():
    made = [new_id() for _ in range(20_000)]
    assert made == sorted(made)
    assert len(set(made)) == len(made)
    others: list[str] = []
    threads = [
        threading.Thread(target=lambda: others.extend(new_id() for _ in range(2000)))
        for _ in range(4)
    ]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len({*made, *others}) == 28_000


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8)
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda x: st.lists(x, max_size=3) | st.dictionaries(st.text(max_size=5), x, max_size=3),
    max_leaves=8,
)  # fmt: skip


@given(
    content=st.text(max_size=50),
    labels=st.dictionaries(st.text(max_size=6).filter(lambda k: k != "_unknown"), json_values, max_size=3),
    at=st.datetimes().filter(lambda d: d.year > 1),
    blob=st.none() | st.binary(max_size=20),
    extra=st.dictionaries(st.just("later_field"), json_values, max_size=1),
)  # fmt: skip
@settings(max_examples=150, deadline=None)
def test_items_survive_a_json_round_trip_byte_for_byte(content, labels, at, blob, extra):
    item = Item(content, labels=labels, valid_from=at, blob=blob)
    told = {**item.to_dict(), **extra}
    back = Item.from_dict(json.loads(json.dumps(told)))
    assert json.dumps(back.to_dict(), sort_keys=True) == json.dumps(told, sort_keys=True)
    if not extra:
        assert back == item


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": "thing"}, {"trust": "god"}, {"origin": "x"}, {"id": ""}, {"id": "a\nb"},
        {"labels": {"a": float("nan")}}, {"labels": {"a": object()}}, {"labels": {1: "a"}},
        {"valid_from": "yesterday"}, {"parents": "abc"}, {"content": 3}, {"blob": "text"},
        {"valid_from": "2020-01-02", "valid_to": "2020-01-01"},
    ],
)  # fmt: skip
def test_items_that_cannot_be_are_refused(fields):
    with pytest.raises(UsageError):
        Item(**{"content": "x", **fields})


def test_a_changed_export_line_is_found_by_its_digest():
    told = Item("Ana owes Ben 5").to_dict()
    told["content"] = "Ana owes Ben 500"
    with pytest.raises(DataError, match="digest"):
        Item.from_dict(told)


@pytest.mark.parametrize(
    ("text", "scope"),
    [
        ("acme", Scope("acme")),
        ("acme/ana//s1", Scope("acme", "ana", "", "s1")),
        ("user=ana,tenant=acme", Scope("acme", "ana")),
        (None, Scope()),
        ({"user": "ana"}, Scope("local", "ana")),
    ],
)
def test_scopes_are_read(text, scope):
    assert Scope.parse(text) == scope
    assert Scope.parse(str(scope)) == scope


@pytest.mark.parametrize(
    "text", ["", "a/b/c/d/e", "usr=ana", "*", "user=ana,user=ben", "user", " a", "a/b\n", "/ana"]
)
def test_scopes_that_cannot_be_are_refused(text):
    if text == "user":
        assert Scope.parse(text).tenant == "user"
        return
    with pytest.raises(UsageError):
        Scope.parse(text)


# ------------------------------------------------------------------ words


def reference_bm25(notes, query, k1=1.2, b=0.75):
    """BM25 written out."""
    docs = [Counter(tokens(n)) for n in notes]
    lengths = [sum(d.values()) for d in docs]
    mean = sum(lengths) / len(docs)
    scores = []
    for doc, length in zip(docs, lengths, strict=True):
        total = 0.0
        for term in dict.fromkeys(tokens(query)):
            n = sum(term in d for d in docs)
            if n:
                idf = np.log(1 + (len(docs) - n + 0.5) / (n + 0.5))
                total += idf * doc[term] / (doc[term] + k1 * (1 - b + b * length / mean))
        scores.append(total)
    return scores


@given(
    st.lists(
        st.lists(st.sampled_from(["cat", "dog", "hat", "story", "house", "x1"]), min_size=1, max_size=9),
        min_size=1, max_size=12,
    ),
    st.lists(st.sampled_from(["cat", "dog", "hat", "zebra"]), min_size=1, max_size=3),
)  # fmt: skip
@settings(max_examples=40, deadline=None)
def test_scores_are_bm25(tmp_path_factory, notes, query):
    notes = [" ".join(n) for n in notes]
    with Memory(tmp_path_factory.mktemp("bm25") / "m.db") as memory:
        ids = memory.write(notes).ids
        found = {h.item.id: h.words for h in memory.recall(" ".join(query), 50)}
    for id, score in zip(ids, reference_bm25(notes, " ".join(query)), strict=True):
        assert found.get(id, 0.0) == pytest.approx(score, abs=1e-9)


def test_words_of_many_scripts():
    assert tokens("Straße STRASSE") == ["strass", "strass"]
    assert tokens("हिन्दी भाषा") == ["हिन्दी", "भाषा"]
    assert tokens("don't re-do it_all") == ["don", "t", "re", "do", "it_al"]
    assert tokens("\0\u200b\ud7ff") == tokens("")


def test_a_query_reads_no_posting_of_another_scope(tmp_path):
    path = tmp_path / "m.db"
    for scope in ("a/ana", "a/ben"):
        with Memory(path, scope) as memory:
            memory.write(["the cat", "a cat and a dog"])
            memory.recall("cat")
    with Memory(path, "a/ana") as memory, memory.store._c.reading() as conn:
        scopes = dict(conn.execute("SELECT id, scope FROM segments").fetchall())
        assert set(scopes.values()) == {1, 2}
        memory.store._words.forget()
        asked = []
        conn.set_trace_callback(asked.append)
        memory.recall("cat dog")
        conn.set_trace_callback(None)
        postings = [sql for sql in asked if "FROM postings" in sql]
        assert len(postings) == 2
        for sql in postings:
            named = re.search(r"segment IN \(([\d,]+)\)", sql)[1].split(",")
            assert {scopes[int(id)] for id in named} == {1}


# ------------------------------------------------------------------ vectors


def test_hybrid_is_the_mean_of_min_max_scaled_scores(tmp_path):
    notes = ["the cat sat", "zzz zz z", "cats and dogs", "a house", "sat nav"]
    encoder = Letters()
    with Memory(tmp_path / "m.db", encoder=encoder, ranker="plain") as memory:
        ids = memory.write(notes).ids
        hits = memory.recall("cat", 5)
    rows = np.array(encoder(notes))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    query = np.array(encoder(["cat"])[0])
    cosine = rows @ (query / np.linalg.norm(query))
    words = np.array(reference_bm25(notes, "cat"))
    score = (words / words.max() + (cosine - cosine.min()) / np.ptp(cosine)) / 2
    wanted = sorted(zip(-score, ids, strict=True))
    assert [h.item.id for h in hits] == [i for _, i in wanted]
    assert [h.score for h in hits] == pytest.approx([-s for s, _ in wanted], abs=1e-5)


def test_vectors_of_different_models_are_never_compared(tmp_path):
    path = tmp_path / "m.db"
    notes = [f"note {i} of the cat" for i in range(20)]
    with Memory(path, encoder=Letters()) as memory:
        memory.write(notes)
        memory.recall("cat", 3)
    other = Letters(name="other", shift=5)
    with Memory(path, encoder=other) as memory:
        hits = memory.recall("cat", 3)
        assert other.calls >= 22  # probe, notes, query: all made by the other
        both = {"letters 1/sentences": 20, "other 1/sentences": 20}
        assert memory.stats()["vectors"] == both
        assert max(h.meaning for h in hits) <= 1.0001
    changed = Letters(shift=9)  # the same name and version, another model
    with Memory(path, encoder=changed) as memory:
        memory.recall("cat", 3)
        assert memory.stats()["vectors"] == {**both, "letters 1/sentences~2": 20}
    back = Letters()
    with Memory(path, encoder=back) as memory:
        memory.recall("cat", 3)
        assert back.calls == 2  # probe and query: nothing is embedded again


def test_an_embedder_that_fails_half_way_keeps_what_it_made_and_says_so(tmp_path):
    path = tmp_path / "m.db"
    with Memory(path) as memory:
        memory.write([f"note {i}" for i in range(200)])
    with Memory(path, encoder=Letters(fail_after=150)) as memory:
        with pytest.raises(ModelError, match="fell over"):
            memory.recall("note")
        assert memory.check() == []
        assert memory.stats()["without a vector"] == 200 - 128
    with Memory(path, encoder=Letters()) as memory:
        assert memory.embed() == 200 - 128
        assert memory.stats()["without a vector"] == 0


def test_many_outstanding_are_embedded_in_the_background_and_resumed(tmp_path, monkeypatch):
    path = tmp_path / "m.db"
    with Memory(path) as memory:
        memory.write([f"note {i} cat" for i in range(1500)])
    slow = Letters()
    call = Letters.__call__
    monkeypatch.setattr(Letters, "__call__", lambda s, t: (time.sleep(0.002), call(s, t))[1])
    with Memory(path, encoder=slow) as memory:
        assert memory.recall("cat", 3)  # does not wait for 1500
        assert memory.stats()["without a vector"] > 0
    with Memory(path, encoder=Letters()) as memory:
        before = memory.stats()["without a vector"]
        assert before < 1500  # what the first made was kept
        memory.recall("cat", 3)
        until = time.monotonic() + 60
        while memory.stats()["without a vector"] and time.monotonic() < until:
            time.sleep(0.05)
        assert memory.stats()["without a vector"] == 0


@pytest.mark.parametrize(
    "bad",
    [
        lambda texts: [[1.0]] * (len(texts) + 1),
        lambda texts: [1.0] * len(texts),
        lambda texts: [[float("nan")]] * len(texts),
        lambda texts: ["x"] * len(texts),
    ],
)
def test_what_is_no_vector_is_refused(tmp_path, bad):
    with Memory(tmp_path / "m.db", encoder=bad) as memory:
        memory.write("x")
        with pytest.raises(ModelError, match="embedder"):
            memory.recall("x")


def test_a_graph_finds_what_exact_search_finds(tmp_path, monkeypatch):
    monkeypatch.setattr(_sqlite_vectors, "EXACT", 200)
    rng = np.random.default_rng(0)
    kept = {}

    def encode(texts):
        for t in texts:
            kept.setdefault(t, rng.normal(size=32))
        return [kept[t] for t in texts]

    path = tmp_path / "m.db"
    texts = [f"n{i}" for i in range(1200)]
    with Memory(path, encoder=encode) as memory:
        ids = dict(zip(memory.write(texts).ids, texts, strict=True))
        memory.embed()
        until = time.monotonic() + 60
        while memory.store._vectors.graph is None or memory.store._vectors.n > 200:
            memory.recall("?", 1)
            time.sleep(0.02)
            assert time.monotonic() < until
        rows = np.array([kept[t] / np.linalg.norm(kept[t]) for t in texts])
        found = 0
        for q in range(20):
            hits = memory.recall(f"query{q}", 10)
            vector = kept[f"query{q}"] / np.linalg.norm(kept[f"query{q}"])
            best = {texts[i] for i in np.argsort(-(rows @ vector))[:10]}
            found += len(best & {ids[h.item.id] for h in hits})
        assert found >= 0.95 * 200
        n = len(memory.store._vectors.graph.rows)
    files = list(tmp_path.glob("m.db.hnsw-*"))
    assert len(files) == 1
    with Memory(path, encoder=encode) as memory:
        memory.recall("query1", 3)
        assert len(memory.store._vectors.graph.rows) == n  # taken up, not made anew
        assert memory.check() == []
        gone = memory.recall("query2", 1)[0].item.id
        memory.erase(gone)
        assert not list(tmp_path.glob("m.db.hnsw-*"))
        assert gone not in {h.item.id for h in memory.recall("query2", 10)}
    broken = next(tmp_path.glob("m.db.hnsw-*"), None)
    if broken is not None:
        data = bytearray(broken.read_bytes())
        data[-3] ^= 1
        broken.write_bytes(data)
        with Memory(path, encoder=encode) as memory:
            assert [p.part for p in memory.check()] == ["vectors"]


def test_without_usearch_every_vector_is_compared(tmp_path, monkeypatch):
    monkeypatch.setattr(_sqlite_vectors, "EXACT", 50)
    monkeypatch.setattr(_sqlite_vectors, "available", lambda: False)
    with Memory(tmp_path / "m.db", encoder=Letters()) as memory:
        memory.write([f"note {i}" for i in range(300)])
        memory.embed()
        assert len(memory.recall("note", 300)) == 300
        assert memory.store._vectors.graph is None


def test_encoders_by_name(tmp_path, monkeypatch):
    with pytest.raises(UnknownName, match="minilm"):
        Memory(tmp_path / "m.db", encoder="minilmm")
    with pytest.raises(UsageError, match="function"):
        Memory(tmp_path / "m.db", encoder=3)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for name, package in (("st:some-model", "sentence-transformers"), ("minilm", "byheart")):
        with pytest.raises(MissingExtra, match=f"pip install '?{package}"):
            Memory(tmp_path / "m.db", encoder=name)


@pytest.mark.slow
def test_minilm_finds_by_meaning(tmp_path):
    with Memory(tmp_path / "m.db", encoder="minilm") as memory:
        memory.write(["The kitten slept on the sofa.", "Interest rates rose in March."])
        hits = memory.recall("a young cat taking a nap", 2)
        assert hits[0].item.content.startswith("The kitten")
        assert hits[0].words == 0
        assert hits[0].meaning > hits[1].meaning


# ------------------------------------------------------------------ rankers


def test_a_ranker_gets_candidates_and_neighbours_and_may_only_choose(tmp_path):
    seen = []

    def ranker(query, candidates, k):
        seen.append([(c.item.content, c.found, c.order) for c in candidates])
        return [Hit(c.item, 1.0, c.state) for c in candidates][:k]

    ranker.reach = 1
    with Memory(tmp_path / "m.db", ranker=ranker) as memory:
        for thread in "xy":
            for i in range(5):
                memory.write(
                    f"{thread}{i}" + (" needle" if i == 2 else ""), labels={"thread": thread}
                )
        hits = memory.recall("needle", 4)
    contents = [c for c, _, _ in seen[0]]
    assert contents == ["x1", "x2 needle", "x3", "y1", "y2 needle", "y3"]
    assert [f for _, f, _ in seen[0]] == [False, True, False, False, True, False]
    assert len(hits) == 4
    for bad in (
        lambda q, c, k: [Hit(Item("made up"), 1.0)],
        lambda q, c, k: [Hit(c[0].item, 1.0)] * 2,
    ):
        with (
            Memory(tmp_path / "m.db", ranker=bad) as memory,
            pytest.raises(UsageError, match="ranker"),
        ):
            memory.recall("needle", 4)


def test_what_was_superseded_stands_where_its_first_version_stood(tmp_path):
    seen = []

    def ranker(query, candidates, k):
        seen.append([(c.item.content, c.found, c.run) for c in candidates])
        return []

    ranker.reach = 1
    with Memory(tmp_path / "m.db", ranker=ranker) as memory:
        ids = {}
        for thread in "xy":
            for i in range(5):
                label = {"thread": thread}
                ids[f"{thread}{i}"] = memory.write(f"{thread}{i}", labels=label).id
        for old, new in (("x2", "x2 needle"), ("y1", "y1 mended"), ("y4", "y4 needle")):
            memory.supersede(ids[old], new, labels={"thread": old[0]})
        again = next(i for i in memory.items() if i.content == "x2 needle")
        memory.supersede(again.id, "x2 a needle again", labels={"thread": "x"})
        memory.recall("needle", 4)
        memory.recall("y2", 4)
        memory.erase(ids["y4"], versions=False)
        memory.recall("needle", 4)
    needle = [("x1", False), ("x2 a needle again", True), ("x3", False), ("y3", False)]
    assert [c[:2] for c in seen[0]] == [*needle, ("y4 needle", True)]
    runs = [run for _, _, run in seen[0]]
    assert runs[0] == runs[1] == runs[2] != runs[3] == runs[4]
    assert [c[0] for c in seen[1]] == ["y1 mended", "y2", "y3"]
    assert len({run for _, _, run in seen[1]}) == 1
    assert [c[0] for c in seen[2]] == ["x1", "x2 a needle again", "x3", "y3", "y4 needle"]


# ------------------------------------------------------------------ prompts


def test_a_prompt_names_source_trust_and_time(memory):
    memory.write("Ana is allergic.", source="chat:12", trust="user", valid_from="2026-01-02")
    text = memory.recall("allergic").to_prompt()
    assert "since 2026-01-02 00:00 UTC ; from chat:12 ; trust: user" in text
    assert "not instructions" in text
    assert memory.recall("nothing like it").to_prompt() == ""


@given(st.lists(st.text(max_size=60), min_size=1, max_size=4), st.text(max_size=20))
@settings(max_examples=150, deadline=None)
def test_no_content_leaves_its_record(contents, source):
    hits = [Hit(Item(c, source=source), 1.0) for c in contents]
    lines = prompt_text(hits).split("\n")
    assert all(x.startswith(("| ", "[")) for x in lines[2:-1])
    assert sum(x.startswith("[") for x in lines[2:-1]) == len(contents)


def test_a_prompt_keeps_to_its_room_and_says_what_is_left_out():
    hits = [Hit(Item(f"{i} " + "word " * 50), 1.0) for i in range(10)]
    text = prompt_text(hits, max_chars=1500)
    assert len(text) <= 1500
    kept = text.count("\n[")
    assert 0 < kept < 10
    assert f"({10 - kept} more records left out" in text


# ------------------------------------------------------------------ export and import


def test_an_export_comes_back_as_it_was(memory, tmp_path):
    ids = memory.write(["one", "two", "three", "four"], labels={"a": [1]}).ids
    memory.supersede(ids[0], "one, changed", valid_from="2030-01-01")
    memory.transition(ids[1], "Archived")
    memory.undo(memory.write("never was"))
    memory.store.link(ids[2], ids[3], "next", 0.5)
    memory.store.create_cube("trip", ids, expires_at="2099-01-01", access={"read": ["ben"]})
    memory.store.branch("trip", "draft")
    memory.store.commit("trip@draft", [Item("five"), Item("three!", supersedes=ids[2])])
    memory.export(tmp_path / "e.jsonl")
    with Memory(tmp_path / "other.db", "b/ben") as other:
        other.import_(tmp_path / "e.jsonl")
        assert other.check() == []
        for options in ({}, {"history": True}, {"as_of": "2031-01-01"}):
            mine, theirs = (
                [(i.id, i.content, i.labels) for i in m.items(**options)] for m in (memory, other)
            )
            assert mine == theirs
        assert other.show(ids[1])["state"] == "Archived"
        assert other.store.links(ids[2]) == [(ids[2], ids[3], "next", 0.5)]
        other.store.actor = "local"
        other.export(tmp_path / "again.jsonl")
        for cube in ("trip", "trip@draft"):
            mine, theirs = ([i.id for i in m.store.cube_items(cube)] for m in (memory, other))
            assert mine == theirs
    strip = ("recorded_at", "scope")

    def lines(name):
        out = []
        for line in (tmp_path / name).read_text().splitlines():
            record = json.loads(line)
            for key in strip:
                record.get("item", record).pop(key, None)
            record.get("cube", {}).pop("provenance", None)
            out.append(record)
        return out

    assert lines("again.jsonl") == lines("e.jsonl")


def test_an_import_is_repeatable_for_items(memory, tmp_path):
    memory.write(["one", "two"])
    lines = list(memory.export_lines())
    with Memory(tmp_path / "o.db") as other:
        assert len(other.import_(lines).ids) == 2
        n = len(list(other.log()))
        assert other.import_(lines).seq is None
        assert len(list(other.log())) == n


def test_an_import_that_breaks_half_way_leaves_nothing(memory, tmp_path):
    memory.write([f"note {i}" for i in range(50)])
    lines = list(memory.export_lines())
    lines[40] = lines[40].replace('"content"', '"content" x')
    with Memory(tmp_path / "o.db") as other:
        with pytest.raises(DataError, match="line 41, column"):
            other.import_(lines, where="f")
        assert list(other.items()) == []
        assert list(other.log()) == []


def test_a_current_export_leaves_history_out(memory):
    id = memory.write("old").id
    memory.supersede(id, "new")
    told = [json.loads(x) for x in memory.export_lines(history=False)]
    assert [t["item"]["content"] for t in told[1:]] == ["new"]
    assert "supersedes" not in told[1]["item"]


def test_an_export_that_cannot_be_written_leaves_the_old_one(memory, tmp_path):
    memory.write("x")
    with pytest.raises(OutputError):
        memory.export(tmp_path / "no" / "e.jsonl")
    target = tmp_path / "e.jsonl"
    target.write_text("before")
    with pytest.raises(UnknownName):
        memory.export(target, Selector(ids=("nope",)))
    assert target.read_text() == "before"
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_an_erasure_names_the_exports_made_before(memory, tmp_path):
    id = memory.write("secret").id
    memory.export(tmp_path / "e.jsonl")
    assert any("e.jsonl" in b for b in memory.erase(id).beyond)


# ------------------------------------------------------------------ other formats


def test_chat_json_of_many_shapes():
    items = chat_items(
        {
            "messages": [
                {"role": "system", "content": "be kind"},
                {
                    "role": "user",
                    "content": [{"type": "text", "text": "look"}, {"type": "image_url"}],
                },
                {"role": "assistant", "content": None, "tool_calls": [{}]},
                {
                    "role": "tool",
                    "content": "42",
                    "name": "calc",
                    "timestamp": "2026-01-02T03:04:05Z",
                },
            ]
        },
        source="c",
    )
    assert [(i.source, i.trust) for i in items] == [
        ("c:1", "unverified"), ("c:2", "user"), ("c:4", "tool"),
    ]  # fmt: skip
    assert items[1].labels["attached"] == ["image_url"]
    assert items[2].valid_from.isoformat() == "2026-01-02T03:04:05+00:00"


@pytest.mark.parametrize(
    "bad",
    [
        {}, [1], [{"content": "x"}], [{"role": "user"}], [{"role": "user", "content": 3}], "text", 3,
        [{"role": "user", "content": "x", "time": "soon"}], [{"role": "user", "content": [3]}],
        [{"role": "user", "content": "\ud800"}],
    ],
)  # fmt: skip
def test_chat_that_cannot_be_is_refused(bad):
    with pytest.raises(DataError, match="conversation"):
        chat_items(bad)


def test_mem0_and_mcp_dumps(memory):
    dump = {
        "results": [
            {
                "id": "m1",
                "memory": "Likes tea",
                "user_id": "ana",
                "created_at": "2024-05-01T10:00:00Z",
            },
            {"id": "m2", "memory": "Has a cat", "metadata": {"category": "pets"}, "score": None},
        ]
    }
    memory.write(mem0_items(dump))
    assert memory.get("m1").valid_from.year == 2024
    assert memory.recall("tea")[0].item.trust == "derived"
    lines = (
        '{"type":"entity","name":"Ana","entityType":"person","observations":["speaks Catalan","is 30"]}\n'
        '{"type":"relation","from":"Ana","to":"Ben","relationType":"knows"}\n'
    )
    items = mcp_items(lines)
    assert [i.content for i in items] == ["Ana: speaks Catalan", "Ana: is 30", "Ana knows Ben"]
    whole = {
        "entities": [{"name": "Ana", "entityType": "person", "observations": ["x"]}],
        "relations": [{"from": "Ana", "to": "Ben", "relationType": "knows"}],
    }
    assert len(mcp_items(json.dumps(whole, indent=1))) == 2
    for bad in ('{"type":"x"}', "[1]", '{"type":"entity"}', '{"type":"relation","from":"a"}', "{"):
        with pytest.raises(DataError, match="MCP dump"):
            mcp_items(bad)
    for bad in ([{}], {"a": 1}, 3, [{"memory": 3}]):
        with pytest.raises(DataError, match="mem0 dump"):
            mem0_items(bad)


def test_byheart_stays_light():
    code = (
        "import sys, byheart; byheart.Memory; heavy = {'torch', 'transformers', 'usearch', 'rich',"
        " 'typer', 'scipy', 'sklearn', 'pandas'} & set(sys.modules); sys.exit(str(heavy) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert byheart.Item is Item
