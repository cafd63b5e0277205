"""PostgresStore beyond the contract: addresses, servers that lack something, indexes, erasure."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
import traceback
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psycopg
import pytest

from byheart import Item, Memory, Selector, StoreError, UsageError
from byheart.core.errors import CorruptStore, ModelError, OutputError, StoreBusy
from byheart.stores import PostgresStore, SqliteStore, _postgres_vectors
from byheart.stores._postgres_conn import Address, _escape, _translated, _unescape
from byheart.stores._postgres_schema import LOCK, ddl
from byheart.stores._sqlite_vectors import Embedder

PASSWORD = "hunter2-s3cret"
SECRET = "Zanzibarquux-" + "s3cr3t" * 20


def hashed(texts, d=32, seed=0):
    """Vectors drawn by the words of a text; near where words are shared."""
    out = np.zeros((len(texts), d), np.float32)
    for i, text in enumerate(texts):
        for word in text.split():
            draw = np.random.default_rng([seed, *word.encode()])
            out[i] += draw.standard_normal(d).astype(np.float32)
    return out


@pytest.fixture
def store(postgres):
    with PostgresStore(postgres.place(), "a/ana") as store:
        yield store


# ---------------------------------------------------------------- addresses and passwords


def test_the_password_is_never_shown(postgres, capsys):
    place = postgres.place()
    assert PASSWORD in place
    with Memory(place, "a/ana") as memory, Memory(postgres.place(), "a/ben") as other:
        memory.write("Ana likes figs")
        memory.store.create_cube("c", [i.id for i in memory.items()])
        memory.move_cube("c", other)
        seen = [
            repr(memory.store),
            memory.store.place,
            str(vars(memory.store)),
            str(memory.stats()),
        ]
        seen += [json.dumps(e.to_dict()) for e in memory.log()]
        seen += [repr(memory.store._c.address), str(vars(memory.store._c))]
        assert any(other.store.place in s for s in seen)  # where the cube went is noted
    assert not any(PASSWORD in s for s in seen)


def test_another_handle_on_the_same_place(postgres, tmp_path):
    for place in (postgres.place(), tmp_path / "m.db"):
        with Memory(place, "a/ana") as memory, Memory(memory.store, encoder=hashed) as again:
            id = memory.write("Ana likes figs").id
            assert again.recall("figs", 1)[0].item.id == id
            assert again.recall("figs", 1)[0].meaning is not None
            assert str(again.scope) == "a/ana"
            assert memory.store.embedder is None


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://ana:hunter2-s3cret@127.0.0.1:1/none",  # nobody listens
        "postgresql://ana:hunter2-s3cret@localhost.invalid/none",
        "postgresql://ana:x@hunter2-s3cret@db/none",  # an @ that is not escaped
        "postgresql://ana:hunter2-s3cret/none",  # the host forgotten: it would be a port
        "postgresql://ana:hunter2-s3cret@db:port/none",
        "postgresql://ana@db/none?pass=hunter2-s3cret",
        "postgresql:ana:hunter2-s3cret",
        "postgresql://ana:hunter2-s3cret@[db/none",
        "postgresql://ana:hunter2-s3cret@db/none?schema=pg_temp",
    ],
)
def test_wrong_addresses_are_told_without_the_password(url):
    with pytest.raises((UsageError, StoreError)) as caught:
        PostgresStore(url, timeout=2)
    told = "".join(traceback.format_exception(caught.value))
    assert PASSWORD not in told.replace(repr(url), "").replace(url, "")
    assert PASSWORD not in str(caught.value)
    assert "postgresql://" in str(caught.value) or "schema" in str(caught.value)


def test_the_schema_is_named_once(postgres):
    with pytest.raises(UsageError, match="schema"):
        PostgresStore(postgres.url("one"), schema="two")
    assert Address.parse("postgresql://u:p@h:5/d").name == "postgresql://u@h:5/d"
    many = Address.parse("postgresql://u@h1:5,h2:6/d?target_session_attrs=read-write")
    assert many.name == "postgresql://u@h1,h2:5,6/d"
    assert Address.parse("postgresql://u@[::1]:5/d").name == "postgresql://u@::1:5/d"
    assert Address.parse("postgresql://u@h/d?schema=x").name == "postgresql://u@h/d?schema=x"


def test_a_schema_may_have_any_name(postgres):
    place = postgres.url('Odd%20"name%22%3B--')
    with PostgresStore(place, "a/ana") as store:
        store.write([Item("a fig")])
        assert len(store.recall("fig")) == 1
        assert store.check() == []
    assert postgres.psql("SELECT 1 FROM pg_namespace WHERE nspname = 'Odd \"name\";--'") == [(1,)]


# ---------------------------------------------------------------- servers that lack something


def test_a_server_that_is_down_and_a_database_that_is_not_there(postgres):
    with pytest.raises(StoreError, match=r"127\.0\.0\.1:1/none: no connection .*refused"):
        PostgresStore("postgresql://ana@127.0.0.1:1/none", timeout=2)
    with pytest.raises(StoreError, match='database "none" does not exist'):
        PostgresStore(postgres.url(database="none"))
    with pytest.raises(OutputError, match="has no memory yet"):
        PostgresStore(postgres.place(), create=False)


def test_no_pgvector_and_no_right_to_make_it(postgres):
    postgres.psql("DROP DATABASE IF EXISTS bare")
    postgres.psql("CREATE DATABASE bare")
    postgres.psql("DROP ROLE IF EXISTS plain")
    postgres.psql("CREATE ROLE plain LOGIN")
    with pytest.raises(StoreError, match=r"administrator type .*: CREATE EXTENSION vector;"):
        PostgresStore(postgres.url(database="bare", user="plain"))
    postgres.psql("ALTER DATABASE bare SET extension_control_path = '/nowhere'")
    with pytest.raises(StoreError, match=r"has no pgvector\. Install it there .*postgresql-\d+-pg"):
        PostgresStore(postgres.url(database="bare"))
    with pytest.raises(OutputError, match="no memory yet"):
        PostgresStore(postgres.url(database="bare"), create=False)
    postgres.psql("ALTER DATABASE bare RESET extension_control_path")
    with PostgresStore(postgres.url(database="bare")) as store:
        store.write([Item("a fig")])
    with pytest.raises(StoreError, match=r"lacks a right .*GRANT USAGE ON SCHEMA"):
        PostgresStore(postgres.url(database="bare", user="plain"))
    postgres.psql("DROP DATABASE bare WITH (FORCE)")


def test_another_encoding_is_refused(postgres):
    postgres.psql("DROP DATABASE IF EXISTS latin")
    postgres.psql("CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    with pytest.raises(StoreError, match="encoding is LATIN1"):
        PostgresStore(postgres.url(database="latin"))


def test_tables_of_others_and_of_later_versions_are_left_alone(postgres):
    place = postgres.place()
    schema = place.rpartition("=")[2]
    postgres.psql(f"CREATE SCHEMA {schema}")
    postgres.psql(f"CREATE TABLE {schema}.items(a int)")
    with pytest.raises(CorruptStore, match="tables of another program"):
        PostgresStore(place)
    place = postgres.place()
    PostgresStore(place).close()
    postgres.psql("UPDATE meta SET value = '99' WHERE key = 'schema'", place)
    with pytest.raises(CorruptStore, match=r"later byheart .*99"):
        PostgresStore(place)


def test_many_open_a_new_memory_at_once(postgres):
    place, made, wrong = postgres.place(), [], []
    start = threading.Barrier(6)

    def work(n):
        try:
            start.wait()
            with PostgresStore(place, "a/ana") as store:
                made.append(store.write([Item(f"note {n}")]).id)
        except Exception as error:
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert wrong == []
    with PostgresStore(place, "a/ana") as store:
        assert {i.id for i in store.items()} == set(made)
        assert store.check() == []


# ---------------------------------------------------------------- text


def test_nul_and_its_neighbour_come_back_and_keep_their_order():
    texts = ["", "\0", "\1", "\2", "a\0", "a\1\0b", "\0\1", "\1\2", "\1\1", "\0\0", "a", "a\2"]
    for text in texts:
        assert _unescape(_escape(text)) == text
        assert "\0" not in _escape(text)
    assert sorted(texts) == [_unescape(t) for t in sorted(map(_escape, texts))]
    for a in texts:
        assert [b.startswith(a) for b in texts] == [
            _escape(b).startswith(_escape(a)) for b in texts
        ]
    assert _translated("'?' || ? || \"?\"") == "'?' || $1 || \"?\""


def test_nul_in_sources_threads_and_links(store):
    items = [
        Item("one", source="chat:\0one", labels={"thread": "t\0\1"}),
        Item("two", source="chat:\1two", labels={"thread": "t\1"}),
        Item("three", source="chat"),
    ]
    store.write(items)
    store.link(items[0].id, items[1].id, "next\0to")
    assert [store.get(i.id).source for i in items] == [i.source for i in items]
    assert [i.id for i in store.items(Selector(source="chat:\0*"))] == [items[0].id]
    assert [i.id for i in store.items(Selector(source="chat:*"))] == [i.id for i in items[:2]]
    assert [i.id for i in store.items(Selector(source="chat:\1two"))] == [items[1].id]
    assert store.links(items[0].id)[0][2] == "next\0to"
    assert store.check() == []
    store.erase(Selector(source="chat:\0*"))
    assert [i.content for i in store.items()] == ["two", "three"]


def test_scores_are_those_of_sqlite(postgres, tmp_path):
    rng = np.random.default_rng(5)
    common = [f"w{i}" for i in range(400)]
    notes = [" ".join(rng.choice(common, size=rng.integers(1, 60), p=None)) for _ in range(300)]
    notes += [
        "cat " * 1000 + "dog",
        "dog " * 255,
        "dog " * 256,
        "cat " * 20_000,
        "",
        "naïve 東京 🚀",
    ]
    notes += ["l'été's \"quote\" back\\slash a:1 & | ! <-> 'x'"]
    with (
        PostgresStore(postgres.place(), "a/ana") as mine,
        SqliteStore(tmp_path / "m.db", "a/ana") as other,
    ):
        items = [Item(n) for n in notes]
        for some in (mine, other):
            some.write(items)
        queries = ["cat dog", "w1 w2 w3", "東京 rocket 🚀", "l'été quote", "back\\slash 'x'", "dog"]
        for query in queries:
            a, b = (s.recall(query, 400) for s in (mine, other))
            assert len(a) > 0, query
            assert [h.item.id for h in a] == [h.item.id for h in b], query
            assert [h.words for h in a] == pytest.approx([h.words for h in b], rel=1e-12)
        assert mine.check() == []


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
    assert len(store._vectors.passages.__doc__ or "") > 0
    with PostgresStore(place, "a/ana") as store:
        assert store.stats()["vectors"] == {"same name": 2 - 1, "same name ~2": 2}
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


# ---------------------------------------------------------------- waiting and being cut off


def test_a_lock_that_is_held_is_told_after_the_timeout(postgres):
    place = postgres.place()
    with PostgresStore(place, "a/ana", timeout=0.5) as store, postgres.connect(place) as other:
        store.write([Item("before")])
        with other.transaction():
            other.execute(f"SELECT pg_advisory_xact_lock({LOCK}, 'events'::regclass::oid::int)")
            began = time.monotonic()
            with pytest.raises(StoreBusy, match="other processes"):
                store.write([Item("waits")])
            assert 0.3 < time.monotonic() - began < 10
            assert [i.content for i in store.items()] == ["before"]  # reading goes on
        store.write([Item("after")])
        with other.transaction():
            other.execute("LOCK TABLE items IN ACCESS EXCLUSIVE MODE")
            with pytest.raises(StoreBusy, match="longer timeout"):
                store.recall("before")
        assert len(store.recall("before")) == 1
        assert [i.content for i in store.items()] == ["before", "after"]


def cut(postgres, place):
    """End all connections of a store, as a network or an administrator would."""
    postgres.psql(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
        " WHERE application_name = 'byheart' AND pid <> pg_backend_pid()"
    )


def test_connections_that_were_lost_while_idle_are_made_anew(postgres, store):
    store.write([Item("before")])
    store.recall("before")
    cut(postgres, store)
    store.write([Item("after")])
    cut(postgres, store)
    assert len(store.recall("before after")) == 2
    assert store.check() == []


def test_a_connection_lost_in_the_middle_writes_nothing(postgres, store):
    store.write([Item("before")])

    def job(conn):
        store._append(conn, store._new(conn, 1, Item("half")))
        cut(postgres, store)
        store._append(conn, store._new(conn, 1, Item("other half")))

    with pytest.raises(StoreError, match="no connection"):
        store._c.write(job)
    store.write([Item("after")])
    assert [i.content for i in store.items()] == ["before", "after"]
    assert store.check() == []


@pytest.mark.parametrize("arrived", [True, False])
def test_a_connection_lost_while_confirming_is_found_out(postgres, store, arrived):
    store.write([Item("before")])
    writer, run = store._c._writer, store._c._writer.execute

    def execute(sql, values=()):
        if sql != "COMMIT":
            return run(sql, values)
        if arrived:
            run(sql)
        cut(postgres, store)
        return run("SELECT 1")  # the answer that never came

    writer.execute = execute
    if arrived:
        store.write([Item("in doubt")])
    else:
        with pytest.raises(StoreError, match="no connection"):
            store.write([Item("in doubt")])
    assert store._c._writer is not writer or not arrived
    assert [i.content for i in store.items()] == ["before"] + ["in doubt"] * arrived
    store.write([Item("after")])
    assert store.check() == []


def test_threads_share_commits_and_connections_are_given_back(store):
    store.write([Item("there", id="taken")])
    good, bad = [], []

    def work(n):
        for i in range(10):
            if i % 5 == 3:
                try:
                    store.write([Item(f"lost {n} {i}"), Item("other", id="taken")])
                except UsageError as error:
                    bad.append(error)
            else:
                good.append(store.write([Item(f"{n} {i}")]).id)
            store.recall("there", 1)

    for _ in range(3):
        threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
    assert len(bad) == 36
    assert {i.id for i in store.items()} == {*good, "taken"}
    assert store.check() == []
    assert len(store._c._readers) <= 7


def test_what_is_sent_late_fails_in_its_own_call(store):
    store.write([Item("before")])
    wrong, made = [], []

    def bad(conn):
        store._append(conn, store._new(conn, 1, Item("lost")))
        conn.execute("INSERT INTO meta VALUES('schema', '1')")  # there already: sent at the end

    def work(call, out):
        try:
            out.append(call())
        except Exception as error:
            out.append(error)

    calls = [(lambda: store._c.write(bad), wrong), (lambda: store.write([Item("kept")]), made)]
    threads = [threading.Thread(target=work, args=c) for c in [calls[1], calls[0], calls[1]]]
    with store._c._lock:  # all three wait and are committed together
        for t in threads:
            t.start()
            time.sleep(0.05)
    for t in threads:
        t.join()
    assert len(wrong) == 1
    assert isinstance(wrong[0], StoreError)
    assert "duplicate key" in str(wrong[0])
    assert [i.content for i in store.items()] == ["before", "kept", "kept"]
    assert store.check() == []


# ---------------------------------------------------------------- erasing and tampering


def test_what_was_erased_is_on_no_page_of_the_server(postgres):
    place, began = postgres.place(), time.time() - 1
    with PostgresStore(place, "a/ana") as store:
        store.write(
            [Item(f"{SECRET} {i}", source=SECRET, labels={"thread": SECRET}) for i in range(300)]
        )
        store.write([Item("kept")])
        ids = [i.id for i in store.items()][:-1]
        store.link(ids[0], ids[1], SECRET)
        store.recall(SECRET, 5)
        postgres.psql("ANALYZE")
        postgres.psql("CHECKPOINT")
        assert found_in(postgres.folder, SECRET[:40], began) != []
        receipt = store.erase(ids)
        assert receipt.reached["tables vacuumed"] >= 7
        assert any("write-ahead log" in b for b in receipt.beyond)
        assert any("backups" in b for b in receipt.beyond)
        assert not any("dead rows" in b for b in receipt.beyond)
        postgres.psql("CHECKPOINT")
        assert found_in(postgres.folder, SECRET[:40], began) == []
        assert found_in(postgres.folder, SECRET[:12].lower(), began) == []
        assert store.check() == []
        assert [i.content for i in store.items()] == ["kept"]


def found_in(folder, text, since):
    """Files written since then that hold a text; the write-ahead log is not asked."""
    return [
        f
        for f in folder.rglob("*")
        if f.is_file()
        and "pg_wal" not in f.parts
        and f.stat().st_mtime > since
        and text.encode() in f.read_bytes()
    ]


def test_an_older_transaction_that_still_sees_the_erased_is_named(postgres):
    place = postgres.place()
    with PostgresStore(place, "a/ana") as store, postgres.connect(place) as other:
        id = store.write([Item(SECRET)]).id
        with other.transaction():
            other.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            other.execute("SELECT 1 FROM pg_class LIMIT 1")
            receipt = store.erase(id)
            assert any("older transaction can still see" in b for b in receipt.beyond)
            assert [p.where for p in store.check()] == ["free pages"]
    with PostgresStore(place, "a/ana") as store:  # whoever opens it goes on
        assert store.check() == []


def test_erasing_without_vacuum_says_what_is_left(store):
    receipt = store.erase(store.write([Item(SECRET)]).id, vacuum=False)
    assert any("VACUUM FULL" in b for b in receipt.beyond)
    assert store.check() == []


def test_the_log_is_append_only(postgres):
    place = postgres.place()
    with PostgresStore(place, "a/ana") as store:
        store.write([Item("a fig")])
        for sql in (
            "UPDATE events SET actor = 'x'", "DELETE FROM events", "TRUNCATE events CASCADE",
            "UPDATE payloads SET body = salt",
        ):  # fmt: skip
            with pytest.raises(psycopg.errors.RaiseException, match="append-only"):
                postgres.psql(sql, place)
        assert store.check() == []


@pytest.mark.parametrize(
    ("sql", "part"),
    [
        ("UPDATE events SET actor = 'mallory' WHERE seq = 3", "chain"),
        ("DELETE FROM payloads WHERE seq = 3", "payload"),
        ("UPDATE payloads SET body = set_byte(body, 20, 7) WHERE seq = 3", "payload"),
        ("UPDATE items SET state = 'Archived' WHERE row = 3", "items"),
        ("UPDATE spans SET valid_to = 5 WHERE row = 3", "spans"),
        ("DELETE FROM spans WHERE row = 3", "spans"),
        ("UPDATE words SET terms = '''1_fig'':1' WHERE row = 3", "words"),
        ("INSERT INTO words VALUES(999, 0, 1, '''1_x'':1')", "words"),
        ("UPDATE vectors SET v = v * v WHERE row = 3", "vectors"),
        ("DELETE FROM scopes", "scopes"),
    ],
)
def test_tampering_is_named(postgres, sql, part):
    place = postgres.place()
    with PostgresStore(place, "a/ana", embedder=Embedder(hashed, "hash")) as store:
        store.write([Item(f"note {i} of figs") for i in range(5)])
        store.recall("note", 3)
        assert store.check() == []
        with postgres.connect(place) as other:
            other.execute("SET session_replication_role = replica")  # triggers and keys sleep
            other.execute(sql)
        assert part in {p.part for p in store.check()}
        if part in ("chain", "payload"):
            with pytest.raises(CorruptStore, match="log itself is damaged"):
                store.rebuild()
        else:
            store.rebuild()
            assert store.check() == []
            assert len(store.recall("note", 9)) == 5


def test_only_the_scopes_own_postings_are_read(postgres, store):
    store.write([Item(f"fig number {i}") for i in range(50)])
    store.recall("fig")
    with store._c.reading() as conn:
        plan = "\n".join(
            line
            for (line,) in conn.execute(
                "EXPLAIN SELECT row FROM words WHERE terms @@ CAST(CAST(? AS text) AS tsquery)",
                ("'1_fig'",),
            )
        )
        assert conn.execute("SHOW enable_seqscan").fetchone() == ("off",)
    assert "words_terms" in plan
    assert "Seq Scan" not in plan
    told = postgres.psql("SELECT reloptions FROM pg_class WHERE oid = 'words_terms'::regclass",
                         "@/postgres?schema=" + store._c.address.schema)  # fmt: skip
    assert told == [(["fastupdate=off"],)]


# ---------------------------------------------------------------- the command line and the page


def test_the_page_shows_the_tables_as_they_are_made():
    page = (Path(__file__).parents[2] / "docs/memory/postgres.md").read_text(encoding="utf-8")
    assert ddl().strip() in page
    made = []
    conn = SimpleNamespace(
        alive=True, script=made.append,
        execute=lambda sql, values=(): made.append(sql) or Rows([(True,)] if "try" in sql else [(1,)]),
    )  # fmt: skip
    _postgres_vectors.build(conn, 1, 7, 384, 6000)
    (create,) = [sql for sql in made if sql.startswith("CREATE INDEX")]
    assert " ".join(create.split()) in " ".join(page.split())


class Rows(list):
    """What a statement gave."""

    def fetchone(self):
        return self[0]

    def fetchall(self):
        return []


def test_the_command_line_takes_an_address(postgres, cli, tmp_path):
    place = postgres.place()
    code, out, err = cli("memory", "write", "Ana is allergic to penicillin.", "--db", place)
    assert code == 0, err
    code, out, err = cli("memory", "recall", "allergic?", "--db", place, "--json")
    assert code == 0, err
    assert json.loads(out)[0]["item"]["content"] == "Ana is allergic to penicillin."
    code, out, err = cli("memory", "check", "--db", place)
    assert code == 0, err
    out_file = tmp_path / "out.jsonl"
    code, out, err = cli("memory", "export", out_file, "--db", place)
    assert code == 0, err
    assert PASSWORD not in out + err + out_file.read_text()
    code, out, err = cli(
        "memory", "recall", "x", "--db", "postgresql://a:hunter2-s3cret@127.0.0.1:1/b"
    )
    assert code != 0
    assert "no connection" in err
    assert PASSWORD not in out + err


OWN = (
    "no_posting_of_another_scope or a_graph_finds or without_usearch"
    # how the file keeps its words and vectors, which the server does in another way
)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_tests_of_the_file_pass_on_a_server(postgres):
    here = Path(__file__).parent
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "on_postgres",
         here / "test_memory.py", here / "test_cubes.py", "-k", f"not ({OWN})"],
        env={**os.environ, "BYHEART_TEST_SERVER": postgres.url(), "PYTHONPATH": str(here)},
        capture_output=True, text=True, timeout=880, cwd=here.parents[1],
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    (made,) = postgres.psql("SELECT count(*) FROM pg_namespace WHERE nspname ~ '^f[0-9a-f]{16}$'")
    assert made[0] > 40
