"""Vectors: embedded once each, compared or searched by a graph, which grows and is kept."""

from __future__ import annotations

import zlib

import numpy as np
import pytest

from byheart.core.item import Item
from byheart.stores import _recall, _sqlite_vectors
from byheart.stores._embedder import Embedder
from byheart.stores._sqlite_graph import Graph
from byheart.stores.sqlite import SqliteStore


class Given:
    """A random vector for each text, the same whenever it is asked for."""

    name, version = "given", "1"

    def __init__(self, d=16):
        self.d, self.asked = d, []

    def __call__(self, texts):
        self.asked += texts
        return [np.random.default_rng(zlib.crc32(t.encode())).normal(size=self.d) for t in texts]  # fmt: skip


def opened(path, encode, **options):
    return SqliteStore(path, embedder=Embedder(encode, "given", "1"), **options)


def held(store):
    """Rows in the graph, and rows outside of it."""
    index = store._vectors
    inside = [] if index.graph is None else index.graph.rows.tolist()
    return inside, index._rows[index._live()].tolist()


@pytest.mark.parametrize("part", [7, 1000])
def test_nearest_is_exact_wherever_the_vectors_lie(tmp_path, monkeypatch, part):
    monkeypatch.setattr(_sqlite_vectors, "EXACT", 10)
    monkeypatch.setattr(_sqlite_vectors, "PART", part)
    monkeypatch.setattr(_sqlite_vectors, "grow", lambda *a: None)  # by hand here
    rng = np.random.default_rng(1)
    encode = Given()
    with opened(tmp_path / "m.db", encode) as store:
        said = []
        for step in range(12):
            some = [Item(f"note {step} {i}") for i in range(int(rng.integers(1, 60)))]
            store.write(some)
            said += [i.content for i in some]
            store.recall("note", 1)
            store._vectors.to_graph(int(rng.integers(0, 70)))
            inside, outside = held(store)
            with store._c.reading() as conn:
                rows = [r for (r,) in conn.execute("SELECT row FROM items ORDER BY row")]
                assert sorted(inside + outside) == rows
                table = np.array(encode(said))
                table /= np.linalg.norm(table, axis=1, keepdims=True)
                for q in range(3):
                    query = table[rng.integers(len(said))] + rng.normal(size=16) / 9
                    query = (query / np.linalg.norm(query)).astype(np.float32)
                    found, near = store._vectors.nearest(conn, query, 5)
                    cosine = table @ query
                    assert found[0] == rows[int(cosine.argmax())], q
                    # a graph's cosines are of one byte a number; the store compares again
                    assert near == pytest.approx(np.sort(cosine)[::-1][:5], abs=0.03)


def test_embedding_ends_with_the_graph_in_place_and_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(_sqlite_vectors, "EXACT", 100)
    monkeypatch.setattr(_sqlite_vectors, "PART", 64)
    path, encode = tmp_path / "m.db", Given()
    with opened(path, encode) as store:
        store.write([Item(f"note {i}") for i in range(700)])
        assert store.embed() == 700
        inside, outside = held(store)
        assert len(inside) + len(outside) == 700
        assert not outside
    (file,) = tmp_path.glob("m.db.hnsw-*")
    size = file.stat().st_size
    with opened(path, encode) as store:
        store.recall("note 5", 3)
        assert store._vectors.graph.fixed  # looked into, not read
        assert sorted(np.concatenate(held(store)).tolist()) == list(range(2, 702))
        store.write([Item(f"later {i}") for i in range(300)])
        assert store.embed() == 300
        assert not store._vectors.graph.fixed
        inside, outside = held(store)
        assert sorted(inside + outside) == list(range(2, 1002))
        assert len(set(inside)) == len(inside) > 700
        assert store.recall("later 299", 1)[0].item.content == "later 299"
        assert store.check() == []
    assert file.stat().st_size > size
    assert len(encode.asked) - len(set(encode.asked)) <= 6  # probe and queries alone again


def test_what_another_process_erased_is_in_no_graph_that_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(_sqlite_vectors, "EXACT", 100)
    path, encode = tmp_path / "m.db", Given()
    with opened(path, encode) as store, opened(path, encode) as other:
        ids = store.write([Item(f"note {i}") for i in range(400)]).ids
        store.embed()
        assert store.recall("note 7", 1)[0].item.id == ids[7]
        other.erase(ids[7], vacuum=False)
        assert not list(tmp_path.glob("m.db.hnsw-*"))
        store.write([Item("one more")])
        store.embed()  # before any query has noticed
        assert 9 not in {*held(store)[0], *held(store)[1]}  # its row
        assert ids[7] not in {h.item.id for h in store.recall("note 7", 20)}
    with opened(path, encode) as store:
        assert ids[7] not in {h.item.id for h in store.recall("note 7", 20)}
        assert store._vectors.graph is not None
        assert 9 not in {*held(store)[0], *held(store)[1]}


@pytest.mark.parametrize("at", [3, 70, -200, -1])
def test_a_damaged_graph_is_named_and_not_looked_into(tmp_path, monkeypatch, at):
    monkeypatch.setattr(_sqlite_vectors, "EXACT", 100)
    path, encode = tmp_path / "m.db", Given()
    with opened(path, encode) as store:
        store.write([Item(f"note {i}") for i in range(400)])
        store.embed()
    (file,) = tmp_path.glob("m.db.hnsw-*")
    data = bytearray(file.read_bytes())
    data[at] ^= 1
    file.write_bytes(data if at != -200 else data[:-200])
    with opened(path, encode) as store:
        assert [p.part for p in store.check()] == ["vectors"]
        assert store.recall("note 17", 1)[0].item.content == "note 17"
        assert store._vectors.graph is None or not store._vectors.graph.fixed


def test_what_is_written_while_embedding_is_embedded_too(tmp_path):
    path = tmp_path / "m.db"
    with opened(path, None) as other:
        texts = []

        def encode(some):
            if len(texts) < 200:
                other.write([Item(f"meanwhile {len(texts)}")])
            texts.extend(some)
            return [[1.0, float(len(t))] for t in some]

        other.write([Item(f"note {i}") for i in range(300)])
        with opened(path, encode, background=False) as store:
            done = store.embed()
            assert store.stats()["without a vector"] == 0
            assert done == store.stats()["items"] > 300
    assert len(texts) == len(set(texts))


def test_embedding_many_looks_at_each_item_a_few_times(tmp_path):
    def work(n):
        steps = []
        with opened(tmp_path / f"{n}.db", lambda some: [[1.0, 2.0]] * len(some)) as store:
            store.write([Item(f"note {i}") for i in range(n)])
            store._embedder_id()
            with store._c.reading() as conn:
                conn.set_progress_handler(lambda: steps.append(1), 100)
            store.embed()
            conn.set_progress_handler(None, 0)
        return len(steps)

    assert work(6000) < 5 * work(1500)  # looking at all for each batch would be 16 times as much


def test_passages_of_an_item_stay_together_in_the_graph():
    graph = Graph(4)
    table = np.eye(4, dtype=np.float32)
    graph.add(np.array([1, 2]), table[:2], 2)
    assert not graph.several
    graph.add(np.array([2, 3]), table[2:], 4)
    assert graph.several
    rows, near = graph.search(table[2], 1)
    assert rows[0] == 2
    assert near[0] == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("several", [False, True])
def test_the_graph_tells_cosines_of_items_to_about_a_hundredth(several):
    rng = np.random.default_rng(5)
    counts = rng.integers(1, 4, 300) if several else np.ones(300, int)
    rows = np.repeat(rng.permutation(1000)[:300], counts)
    table = rng.normal(size=(len(rows), 64)).astype(np.float32)
    table /= np.linalg.norm(table, axis=1, keepdims=True)
    graph = Graph(64)
    half = int(counts[:150].sum())
    graph.add(rows[:half], table[:half], half)
    asked = np.arange(1000)
    for end in (half, len(rows)):
        graph.add(rows[half:end], table[half:end], end)
        query = table[7]
        near = graph.about(asked, query)
        exact = np.full(1000, -np.inf)
        np.maximum.at(exact, rows[:end], table[:end] @ query)
        assert np.array_equal(np.isnan(near), np.isinf(exact))
        has = ~np.isnan(near)
        assert near[has] == pytest.approx(exact[has], abs=0.02)
        assert near[rows[7]] == near[has].max()


def test_a_graph_changes_neither_the_best_nor_their_scores(tmp_path, monkeypatch):
    """Candidates are sifted by a byte a number; what is handed out is compared with all digits."""
    words = [f"word{i}" for i in range(60)]
    rng = np.random.default_rng(3)
    said = [" ".join(rng.choice(words, 6, replace=False)) for _ in range(900)]
    asked = [" ".join(rng.choice(words, 4, replace=False)) for _ in range(25)]
    told = {}
    for exact in (10_000, 100):
        monkeypatch.setattr(_sqlite_vectors, "EXACT", exact)
        monkeypatch.setattr(_recall, "DEPTH", 400)  # both see the same candidates
        with opened(tmp_path / f"{exact}.db", Given(32)) as store:
            store.write([Item(t) for t in said])
            store.embed()
            assert (store._vectors.graph is None) == (exact == 10_000)
            told[exact] = [
                [(h.item.content, h.score, h.words, h.meaning) for h in store.recall(q, 10)]
                for q in asked
            ]
    same = 0
    for plain, sifted in zip(told[10_000], told[100], strict=True):
        scores = {p[0]: p[1:] for p in plain}
        for text, *numbers in sifted:
            if text in scores:
                same += 1
                assert numbers == pytest.approx(scores[text], abs=5e-3)
                assert numbers[1:] == pytest.approx(scores[text][1:], abs=1e-5)
    assert same >= 245
