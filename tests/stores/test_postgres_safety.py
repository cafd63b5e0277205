"""PostgresStore: locks that are held, connections that are lost, erasure, tampering."""

from __future__ import annotations

import threading
import time

import psycopg
import pytest
from postgres_helpers import SECRET, hashed

from byheart import Item, StoreError, UsageError
from byheart.core.errors import CorruptStore, StoreBusy
from byheart.stores import PostgresStore, _postgres_erase
from byheart.stores._embedder import Embedder
from byheart.stores._postgres_schema import LOCK

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


def test_an_erasure_that_was_cut_short_is_finished_by_one_process(postgres, monkeypatch):
    place, began = postgres.place(), time.time() - 1
    with PostgresStore(place, "a/ana") as store:
        ids = store.write([Item(f"{SECRET} {i}") for i in range(20)]).ids
        with monkeypatch.context() as patch:
            patch.setattr(_postgres_erase, "scrub", lambda *_, **__: [])
            store.erase(ids)
        assert [p.where for p in store.check()] == ["free pages"]
    with postgres.connect(place) as other:  # another is at it: nobody waits for it
        other.execute(f"SELECT pg_advisory_lock({LOCK}, -('events'::regclass::oid::int))")
        with PostgresStore(place, "a/ana") as store:
            assert [p.where for p in store.check()] == ["free pages"]
    with PostgresStore(place, "a/ana") as store:
        assert store.check() == []
    postgres.psql("CHECKPOINT")
    assert found_in(postgres.folder, SECRET[:40], began) == []


def test_an_erasure_that_cannot_be_swept_up_is_an_erasure_all_the_same(postgres):
    place = postgres.place()
    with PostgresStore(place, "a/ana", timeout=0.3) as store, postgres.connect(place) as other:
        id = store.write([Item(SECRET)]).id
        other.execute(f"SELECT pg_advisory_lock({LOCK}, -('events'::regclass::oid::int))")
        receipt = store.erase(id)
        assert receipt.ids == (id,)
        assert any("dead rows of the tables" in b for b in receipt.beyond)
        assert list(store.items(history=True)) == []
        assert [p.where for p in store.check()] == ["free pages"]


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
