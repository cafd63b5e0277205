"""The keyword index: the same scores however postings are cut, merged, skipped or erased."""

from __future__ import annotations

import random
import sqlite3

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from byheart.core.item import Item
from byheart.stores import _postings, _sqlite_words, _word_index
from byheart.stores._bm25 import K1, B
from byheart.stores._words import counted, query_terms
from byheart.stores.sqlite import SqliteStore

WORDS = ["cat", "dog", "hat", "stone", "river", "house", "letter", "bread"]
COMMON = [1 / (i + 1) for i in range(len(WORDS))]


def texts(rng, n):
    return [" ".join(rng.choices(WORDS, COMMON, k=rng.randint(0, 12))) for _ in range(n)]


def plain(notes, query):
    """Row to score, BM25 written out over {row: text}."""
    docs = {row: counted(text) for row, text in notes.items()}
    mean = max(sum(n for _, n in docs.values()) / len(docs), 1e-9)
    out = {}
    for row, (words, length) in docs.items():
        for term in query_terms(query):
            have = sum(term in w for w, _ in docs.values())
            f = words.count(term)
            idf = np.log1p((len(docs) - have + 0.5) / (have + 0.5))
            if f:
                out[row] = out.get(row, 0.0) + idf * f / (f + K1 * (1 - B + B * length / mean))
    return out


def rows_of(store):
    with store._c.reading() as conn:
        return dict(conn.execute("SELECT row, id FROM items").fetchall())


def asked(store, query):
    with store._c.reading() as conn:
        store._notice_erasures(conn)
        return store._words.ask(conn, store._scope_ids(conn), query)


def agrees(store, notes, query):
    """Every way of asking gives the plain scores, and the same order of the best."""
    found = asked(store, query)
    wanted = plain(notes, query)
    rows, scores = found.all()
    assert rows.tolist() == sorted(wanted)
    assert scores == pytest.approx([wanted[r] for r in sorted(wanted)], abs=1e-12)
    every = np.array([*sorted(notes, reverse=True), 10**9])
    assert found.at(every).tolist() == pytest.approx(
        [*(wanted.get(r, 0.0) for r in every[:-1]), 0.0]
    )
    order = np.lexsort((rows, -scores))
    for n in (1, 2, 5, len(rows), len(rows) + 3):
        if n:
            best, by = found.best(n)
            assert best.tolist() == rows[order][:n].tolist()
            assert by.tolist() == scores[order][:n].tolist()  # to the last bit


def make_small(patch):
    """Segments of a few items, and none of them scored whole."""
    patch.setattr(_word_index, "STABLE", 16)
    patch.setattr(_sqlite_words, "STABLE", 16)
    patch.setattr(_sqlite_words, "MERGE", 3)
    patch.setattr(_word_index, "PLAIN", 0)
    patch.setattr(_word_index, "WORTH", 0)
    patch.setattr(_word_index, "KEEP", 2_000)


@pytest.fixture
def small(monkeypatch):
    make_small(monkeypatch)


@given(
    seed=st.integers(0, 10**6),
    query=st.lists(st.sampled_from([*WORDS, "zebra"]), min_size=1, max_size=5),
)
@settings(max_examples=25, deadline=None)
def test_scores_are_the_plain_ones_while_items_come_and_go(tmp_path_factory, seed, query):
    rng = random.Random(seed)
    folder = tmp_path_factory.mktemp("words")
    with (
        pytest.MonkeyPatch.context() as patch,
        SqliteStore(folder / "m.db", "a/ana") as store,
        SqliteStore(folder / "m.db", "a/ben") as other,
    ):
        make_small(patch)
        said: dict[str, str] = {}
        for _ in range(6):
            some = [Item(t) for t in texts(rng, rng.choice([1, 2, 9, 40]))]
            store.write(some)
            said |= {i.id: i.content for i in some}
            other.write([Item(t + " cat cat") for t in texts(rng, 3)])
            for handle in rng.sample([store, other], k=rng.randint(0, 2)):
                handle.recall("stone", 2)
            if rng.random() < 0.5:
                gone = rng.sample(sorted(said), k=min(len(said), rng.choice([1, 3, 30])))
                store.erase(gone, vacuum=False)
                said = {i: t for i, t in said.items() if i not in gone}
        store.recall("stone", 2)
        if said:
            notes = {row: said[id] for row, id in rows_of(store).items() if id in said}
            agrees(store, notes, " ".join(query))
        assert store.check() == []


def test_skipping_common_words_changes_nothing(tmp_path, monkeypatch):
    rng = random.Random(3)
    many = [f"w{i}" for i in range(300)]
    weight = [1 / (i + 1) for i in range(300)]
    notes = [" ".join(rng.choices(many, weight, k=rng.randint(1, 25))) for _ in range(4000)]
    monkeypatch.setattr(_word_index, "PLAIN", 0)
    monkeypatch.setattr(_word_index, "WORTH", 0)
    read = []
    looked = _word_index.Asked._part
    monkeypatch.setattr(
        _word_index.Asked, "_part",
        lambda self, name, at: read.append((name, at)) or looked(self, name, at),
    )  # fmt: skip
    with SqliteStore(tmp_path / "m.db") as store:
        store.write([Item(t) for t in notes])
        store.recall("w1", 1)
        skipped = 0
        for _ in range(60):
            query = " ".join(rng.sample(many[:2] + many[:200:7], k=4))
            found = asked(store, query)
            rows, scores = found.all()
            order = np.lexsort((rows, -scores))[:10]
            read.clear()
            best, by = found.best(10)
            skipped += {n for n, at in read if isinstance(at, slice)} != set(found.terms)
            assert best.tolist() == rows[order].tolist()
            assert by.tolist() == scores[order].tolist()
        assert skipped > 20  # else this tests nothing


def test_segments_are_merged_and_stay_few(tmp_path, small):
    with SqliteStore(tmp_path / "m.db") as store:
        notes = {}
        for i in range(120):
            store.write([Item(f"note {i} about {'cat ' * (i % 3)}")])
            store.recall("cat", 1)
        with store._c.reading() as conn:
            sizes = [n for (n,) in conn.execute("SELECT n FROM segments")]
            notes = dict(conn.execute("SELECT row, id FROM items").fetchall())
        assert sum(sizes) == 120
        assert len([n for n in sizes if n < 16]) <= 2 * 3
        assert max(sizes) <= 2 * 16
        content = {r: store.get(i).content for r, i in notes.items()}
        agrees(store, content, "cat about")


def test_two_processes_views_follow_each_other(tmp_path, small):
    with SqliteStore(tmp_path / "m.db") as one, SqliteStore(tmp_path / "m.db") as two:
        for i in range(40):
            (one if i % 2 else two).write([Item(f"note {i} {'cat' if i % 5 else 'dog'}")])
            a, b = one.recall("cat", 50), two.recall("cat", 50)
            assert [h.item.id for h in a] == [h.item.id for h in b]
            assert len(a) == sum(1 for j in range(i + 1) if j % 5)


def test_an_erased_word_leaves_the_file_and_the_others_stay(tmp_path):
    path = tmp_path / "m.db"
    with SqliteStore(path) as store:
        ids = store.write([Item("the zanzibarian letter"), Item("a letter from home")]).ids
        store.recall("letter", 1)
        stem = counted("zanzibarian")[0][0]
        assert stem.encode() in path.read_bytes() + (tmp_path / "m.db-wal").read_bytes()
        assert store.erase(ids[0]).reached["keyword index"] == 1
        assert [h.item.id for h in store.recall("letter", 5)] == [ids[1]]
        assert store.check() == []
    for file in tmp_path.iterdir():
        assert stem.encode() not in file.read_bytes()


def test_a_damaged_item_that_is_erased_leaves_its_words_nowhere(tmp_path):
    path = tmp_path / "m.db"
    with SqliteStore(path) as store:
        ids = store.write([Item("the zanzibarian letter"), Item("a letter from home")]).ids
        store.recall("letter", 1)
    conn = sqlite3.connect(path)
    conn.executescript(
        "DROP TRIGGER payloads_stay; UPDATE payloads SET body = zeroblob(9) WHERE seq = 2"
    )
    conn.close()
    with SqliteStore(path) as store:
        assert store.erase(ids[0]).reached["keyword index"] == 1
        assert store.check() == []
    assert b"zanzibar" not in path.read_bytes()


def test_an_erasure_that_is_undone_leaves_the_index_whole(tmp_path):
    with SqliteStore(tmp_path / "m.db") as store:
        ids = store.write([Item("one cat"), Item("two cats")]).ids
        store.recall("cat", 1)
        store.transition(ids[1], "Activated")
        store.transition(ids[1], "Frozen")
        with pytest.raises(Exception, match="frozen"):
            store.erase(ids)
        assert len(store.recall("cat", 5)) == 2
        store.erase(ids[0])
        assert [h.item.id for h in store.recall("cat", 5)] == [ids[1]]
        assert store.check() == []


def test_a_file_of_the_index_before_this_one_is_indexed_anew(tmp_path):
    path = tmp_path / "m.db"
    with SqliteStore(path) as store:
        store.write([Item("one cat"), Item("two dogs")])
        store.recall("cat", 1)
    conn = sqlite3.connect(path)
    conn.executescript(
        "DROP TABLE segments; DROP TABLE postings; CREATE TABLE lengths(row, scope, tokens);"
        "CREATE VIRTUAL TABLE words USING fts5(text, content='');"
        "CREATE VIRTUAL TABLE places USING fts5vocab(words, 'instance');"
        "UPDATE meta SET value = '2 snowball 3' WHERE key = 'words'"
    )
    conn.close()
    with SqliteStore(path) as store:
        assert [h.item.content for h in store.recall("cat", 5)] == ["one cat"]
        assert store.check() == []


# ------------------------------------------------------------------ bytes


@given(
    st.lists(
        st.lists(st.sampled_from(WORDS), max_size=6) | st.just(["cat"] * 300),
        min_size=1,
        max_size=30,
    ),
    st.data(),
)
@settings(max_examples=60, deadline=None)
def test_postings_say_what_was_counted_and_merge_to_the_same(docs, data):
    told = {}
    for term, packed in _postings.invert(docs):
        where, counts = _postings.decode(packed)
        told[term] = dict(
            zip(
                where.tolist(), [1] * len(where) if counts is None else counts.tolist(), strict=True
            )
        )
        assert _postings.encode(where, counts) == packed
    wanted: dict[str, dict[int, int]] = {}
    for i, words in enumerate(docs):
        for w in words:
            wanted.setdefault(w, {})[i] = words.count(w)
    assert told == wanted
    assert list(told) == sorted(told)
    cut = data.draw(st.integers(0, len(docs)))
    out = data.draw(st.sets(st.integers(0, len(docs) - 1)))
    left = [i for i in range(len(docs)) if i not in out]
    new = np.full(len(docs), -1)
    new[left] = np.arange(len(left))
    parts = [(new[:cut], _postings.invert(docs[:cut])), (new[cut:], _postings.invert(docs[cut:]))]
    merged = _postings.merge([(n, list(p)) for n, p in parts])
    assert list(merged) == list(_postings.invert([docs[i] for i in left]))


@pytest.mark.parametrize("data", [b"", b"\0", b"\1\0\0", b"\7\0\0", b"\0\1"])
def test_bytes_that_are_no_postings_are_refused(data):
    with pytest.raises(ValueError, match="no postings"):
        _postings.decode(data)


def test_how_many_lie_within_reach(tmp_path):
    rng = np.random.default_rng(0)
    for _ in range(50):
        n = int(rng.integers(1, 40))
        docs = np.flatnonzero(rng.random(n) < 0.3).astype(np.uint32)
        reach = int(rng.integers(1, 6))
        near = {i for d in docs.tolist() for i in range(d - reach, d + reach + 1) if 0 <= i < n}
        assert _word_index._reached(docs, reach, n) == len(near)
