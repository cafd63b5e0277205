"""PostgreSQL: clients that are killed, a server that is cut off, many processes at once."""

from __future__ import annotations

import os
import random
import threading
import time

import pytest
from crash_workers import acknowledged, kill_at_random, start

from byheart.core.errors import StoreError
from byheart.core.item import Item
from byheart.stores import PostgresStore


def test_kill_9_of_a_client_loses_nothing_that_was_acknowledged(postgres):
    assert len(kill_at_random(PostgresStore, postgres.place(), 5, seed=1)) >= 10


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_kill_9_of_a_client_at_a_hundred_points(postgres):
    known = 0
    for seed in range(5):
        known += len(kill_at_random(PostgresStore, postgres.place(), 20, seed))
    assert known > 200


def cut_off_at_random(server, rounds, seed):
    """The server stops without a checkpoint while a client writes, and starts again."""
    rng, place, known = random.Random(seed), server.place(), set()
    PostgresStore(place, "a/ana").close()
    for _ in range(rounds):
        worker = start(place, "a/ana", 100_000, "plain", 2)  # so long it asks what became of it
        first = worker.stdout.readline()
        time.sleep(rng.uniform(0, 0.3))
        server.stop_at_once()
        rest, err = worker.communicate(timeout=150)
        assert worker.returncode != 0
        assert "StoreError" in err, err  # told, not left hanging
        assert "hunter2-s3cret" not in err
        server.start()
        known |= set(acknowledged(first + rest))
        with PostgresStore(place, "a/ana", create=False) as store:
            there = [i.id for i in store.items(history=True)]
            assert known <= set(there)
            assert len(there) == len(set(there))
            assert store.check() == []
    return known


@pytest.fixture
def mortal():
    """A server of its own, to be stopped and started."""
    from postgres_server import Server

    server = Server()
    yield server
    server.end()


def test_a_server_that_is_cut_off_has_everything_that_was_acknowledged(postgres, mortal):
    assert len(cut_off_at_random(mortal, 2, seed=3)) >= 4


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_a_server_that_is_cut_off_at_twenty_points(postgres, mortal):
    assert len(cut_off_at_random(mortal, 20, seed=4)) > 100


def test_an_open_store_goes_on_when_the_server_is_back(postgres, mortal):
    store = PostgresStore(mortal.place(), "a/ana", timeout=3)
    store.write([Item("before")])
    store.recall("before")
    mortal.stop_at_once()
    with pytest.raises(StoreError, match="no connection"):
        store.write([Item("lost")])
    with pytest.raises(StoreError, match="no connection"):
        store.recall("before")
    with pytest.raises(StoreError, match="no connection"):
        store.check()
    mortal.start()
    store.write([Item("after")])
    assert [i.content for i in store.items()] == ["before", "after"]
    assert store.check() == []
    store.close()


def test_four_processes_write_two_hundred_each(postgres):
    place = postgres.place()
    workers = [start(place, "a/ana", 200, f"w{n}") for n in range(4)]
    said = [w.communicate(timeout=280) for w in workers]
    assert [w.returncode for w in workers] == [0] * 4, [e for _, e in said]
    ids = [i for out, _ in said for i in acknowledged(out)]
    assert len(ids) == 800
    with PostgresStore(place, "a/ana") as store:
        there = [i.id for i in store.items()]
        assert sorted(there) == sorted(ids)
        assert sum(1 for _ in store.log(kind="write")) == 800
        assert store.check() == []


def test_a_fork_does_not_share_connections(postgres):
    store = PostgresStore(postgres.place(), "a/ana")
    store.write([Item("before")])
    writer = store._c._writer
    child = os.fork()
    if child == 0:
        try:
            store.write([Item(f"child {i}") for i in range(20)])
            own = store._c._writer is not writer
            os._exit(0 if own and len(list(store.items())) >= 21 else 3)
        except BaseException:
            os._exit(4)
    for i in range(20):
        store.write([Item(f"parent {i}")])
    assert os.waitpid(child, 0)[1] == 0
    assert len(list(store.items())) == 41
    assert store.check() == []
    store.close()


def test_erasing_while_others_write_and_read(postgres):
    place, wrong, stop = postgres.place(), [], threading.Event()
    with PostgresStore(place, "a/ana") as store:
        gone = store.write([Item(f"secret {i}") for i in range(50)]).ids

        def work(n):
            try:
                with PostgresStore(place, "a/ana") as mine:
                    while not stop.is_set():
                        mine.write([Item(f"note by {n}")])
                        mine.recall("note secret", 5)
            except Exception as error:
                wrong.append(error)

        threads = [threading.Thread(target=work, args=(n,)) for n in range(2)]
        for t in threads:
            t.start()
        try:
            for id in gone[:3]:
                store.erase(id)
        finally:
            stop.set()
            for t in threads:
                t.join()
        assert wrong == []
        store.erase(list(gone[3:]))
        assert store.recall("secret", 5) == []
        assert store.check() == []
