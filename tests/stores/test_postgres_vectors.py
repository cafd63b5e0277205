"""PostgresStore: vectors of other models, HNSW indexes, embedding in the background."""

from __future__ import annotations

import numpy as np
import pytest
from postgres_helpers import hashed

from byheart import Item, StoreError
from byheart.core.errors import ModelError
from byheart.stores import PostgresStore, _postgres_vectors
from byheart.stores._embedder import Embedder

# ---------------------------------------------------------------- vectors


def test_an_embedder_that_changes_its_dimensions(store):
    sizes = iter([8, 8, 16, 16])
    store.embedder = Embedder(lambda texts: np.ones((len(texts), next(sizes))), "odd")
    store.write([Item("one")])
    assert store.embed() == 1
    store.write([Item("two")])
    with pytest.raises(ModelError, match=r"16 numbers, and before of 8"):
        store.embed()
    assert store.stats()["vectors"] == {"odd": 1}


def test_vectors_of_other_dimensions_are_kept_apart(postgres):
    place = postgres.place()
    for d in (8, 16):
        embedder = Embedder(lambda texts, d=d: hashed(texts, d), "same name")
        with PostgresStore(place, "a/ana", embedder=embedder) as store:
            store.write([Item(f"fig of {d}")])
            hits = store.recall("fig", 5)
            assert all(h.meaning is not None for h in hits)
    assert len(hits) == 2
    with PostgresStore(place, "a/ana") as store:
        assert store.stats()["vectors"] == {"same name": 1, "same name ~2": 2}
        assert store.check() == []


@pytest.fixture
def small(monkeypatch):
    """HNSW from 200 vectors on."""
    monkeypatch.setattr(_postgres_vectors, "EXACT", 200)


def indexed(store):
    """Wait until the index stands."""
    store.recall("w1", 3)
    if store._vectors._thread is not None:
        store._vectors._thread.join()
    assert store._vectors.error is None
    store.recall("w1", 3)
    return store._vectors.indexed


def test_a_large_scope_gets_an_index_of_its_own(postgres, small):
    place = postgres.place()
    rng = np.random.default_rng(0)
    notes = [" ".join(f"w{i}" for i in rng.integers(0, 200, 8)) for _ in range(700)]
    embedder = Embedder(lambda texts: hashed(texts), "hash")
    with (
        PostgresStore(place, "a/ana", embedder=embedder) as ana,
        PostgresStore(place, "a/ben", embedder=Embedder(hashed, "hash")) as ben,
    ):
        ben.write([Item(n) for n in notes[:100]])
        ben.embed()
        ana.write([Item(n) for n in notes])
        ana.embed()
        query = "w3 w14 w15 w92 w65"
        found = {h.item.id: h.meaning for h in ana.recall(query, 10)}
        assert len(indexed(ana)) == 1
        assert indexed(ben) == set()
        made = postgres.psql("SELECT indexdef FROM pg_indexes WHERE indexname LIKE '%hnsw%'", place)
        assert len([d for (d,) in made if "scope = " in d and "halfvec_ip_ops" in d]) >= 1
        with ana._c.reading() as conn:
            vector = embedder([query])[0]
            plan = _plan(conn, ana, vector)
            rows, _ = ana._vectors.nearest(conn, vector, 10)
            exact = conn.execute(
                "SELECT row FROM vectors WHERE scope = ? ORDER BY v <#> ? LIMIT 10",
                (ana._scope_ids(conn)[0], _postgres_vectors._text(vector)),
            ).fetchall()
        assert "vectors_hnsw" in plan
        assert "Sort" not in plan
        assert len({r for (r,) in exact} & set(rows.tolist())) >= 9
        again = {h.item.id: h.meaning for h in ana.recall(query, 10)}
        assert len(set(found) & set(again)) >= 9
        late = ana.write([Item(query)]).id  # what comes later is in the index at once
        assert ana.recall(query, 1)[0].item.id == late
        receipt = ana.erase(late)
        assert any("HNSW" in b for b in receipt.beyond)
        assert late not in [h.item.id for h in ana.recall(query, 10)]
        assert ana.check() == []
        assert ben.recall(query, 5)


def _plan(conn, store, vector):
    seen = []
    run = conn.execute

    def spy(sql, values=()):
        if "halfvec" in sql and not seen:
            told = run("EXPLAIN " + sql, values).fetchall()
            seen.append("\n".join(line for (line,) in told))
        return run(sql, values)

    conn.execute = spy
    try:
        store._vectors.nearest(conn, vector, 600)  # so many that sorting all looks cheaper
    finally:
        del conn.execute
    return seen[0]


def test_an_index_that_was_cut_short_is_named_and_made_anew(postgres, small):
    place = postgres.place()
    with PostgresStore(place, "a/ana", embedder=Embedder(hashed, "hash")) as store:
        store.write([Item(f"w{i} w{i % 7}") for i in range(300)])
        store.embed()
        (scope,) = indexed(store)
        name = _postgres_vectors.index_name(store._embedder_id(), scope)
        postgres.psql(
            f"UPDATE pg_index SET indisvalid = false WHERE indexrelid = '{name}'::regclass", place
        )
        assert [p.where for p in store.check()] == [name]
        assert store.recall("w5", 3)  # compared one by one meanwhile
        assert indexed(store) == {scope}
        assert store.check() == []


def test_what_cannot_be_indexed_is_said_and_found_all_the_same(store, small, monkeypatch):
    store.embedder = Embedder(hashed, "hash")

    def broken(*_):
        raise StoreError("no room")

    monkeypatch.setattr(_postgres_vectors, "build", broken)
    store.write([Item(f"w{i}") for i in range(300)])
    store.embed()
    store.recall("w5", 3)
    store._vectors._thread.join()
    assert store.recall("w5", 1)[0].item.content == "w5"
    assert store.stats()["indexing stopped"] == "no room"


def test_many_items_are_embedded_in_the_background(store):
    store.embedder = Embedder(hashed, "hash")
    store.write([Item(f"w{i}") for i in range(400)])
    store.recall("w5", 3)
    store._thread.join(timeout=60)
    assert store.stats()["without a vector"] == 0
