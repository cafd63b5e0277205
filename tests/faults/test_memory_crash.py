"""A process that is killed, many processes at once, a clock that goes back, a full disk."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime

import pytest
from crash_workers import acknowledged, kill_at_random, start

from byheart.core.errors import OutputError, StoreBusy
from byheart.core.item import Item
from byheart.core.memory import Selector
from byheart.stores import _sqlite_erase
from byheart.stores.sqlite import SqliteStore


def test_kill_9_loses_nothing_that_was_acknowledged(tmp_path):
    assert len(kill_at_random(SqliteStore, tmp_path / "m.db", 20, seed=1)) > 40


@pytest.mark.slow
def test_kill_9_at_two_hundred_points(tmp_path):
    known = 0
    for seed in range(10):  # new files, so that checking stays short
        known += len(kill_at_random(SqliteStore, tmp_path / f"{seed}.db", 20, seed))
    assert known > 400


def test_kill_9_during_an_erasure_is_finished_by_the_next(tmp_path):
    path = tmp_path / "m.db"
    secret = "Zanzibarquux-" + "s3cr3t" * 20
    for delay in (0, 0.002, 0.01, 0.03, 0.06):
        with SqliteStore(path, "a/ana") as store:
            store.write([Item(f"{secret} {i}", source="bad") for i in range(300)])
        code = (
            "import sys\nfrom byheart.stores.sqlite import SqliteStore\n"
            "from byheart.core.memory import Selector\n"
            f"s = SqliteStore({str(path)!r}, 'a/ana')\nprint('go', flush=True)\n"
            "s.erase(Selector(source='bad'))\nprint('gone', flush=True)\n"
        )
        eraser = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        eraser.stdout.readline()
        time.sleep(delay)
        eraser.kill()
        said = eraser.communicate()[0]
        with SqliteStore(path, "a/ana") as store:
            assert store.check() == []
            left = len(list(store.items()))
            assert left in (0, 300)
            assert left == 0 or "gone" not in said
            if left == 0:  # whoever opened it has scrubbed the file
                for file in tmp_path.iterdir():
                    assert secret.encode() not in file.read_bytes(), file
                continue
            store.erase([i.id for i in store.items()])


def test_an_erasure_that_was_cut_short_is_finished_on_opening(tmp_path, monkeypatch):
    secret = "Zanzibarquux-" + "s3cr3t" * 20
    store = SqliteStore(tmp_path / "m.db", "a/ana")
    store.write([Item(f"{secret} {i}") for i in range(50)])
    with monkeypatch.context() as patch:
        patch.setattr(_sqlite_erase, "scrub", lambda *_: [])
        store.erase(Selector(everything=True))
    assert [p.where for p in store.check()] == ["free pages"]
    after = tmp_path / "after"  # as the files were when the process died
    after.mkdir()
    for file in tmp_path.glob("m.db*"):
        shutil.copy(file, after / file.name)
    assert any(secret.encode() in f.read_bytes() for f in after.iterdir())
    with SqliteStore(after / "m.db", "a/ana") as again:
        assert not any(secret.encode() in f.read_bytes() for f in after.iterdir())
        assert again.check() == []


def test_eight_processes_write_a_thousand_each(tmp_path):
    path = tmp_path / "m.db"
    SqliteStore(path, "a/ana").close()
    workers = [start(path, "a/ana", 1000, f"w{n}") for n in range(8)]
    said = [w.communicate(timeout=280) for w in workers]
    assert [w.returncode for w in workers] == [0] * 8, [e for _, e in said]
    ids = [i for out, _ in said for i in acknowledged(out)]
    assert len(ids) == 8000
    with SqliteStore(path, "a/ana") as store:
        there = [i.id for i in store.items()]
        assert sorted(there) == sorted(ids)
        assert sum(1 for _ in store.log(kind="write")) == 8000
        assert store.check() == []


def test_threads_share_commits_and_one_that_fails_takes_no_other_with_it(tmp_path):
    store = SqliteStore(tmp_path / "m.db", "a/ana")
    store.write([Item("there", id="taken")])
    good, bad = [], []

    def work(n):
        for i in range(50):
            if i % 10 == 3:
                try:
                    store.write([Item(f"lost {n} {i}"), Item("other", id="taken")])
                except ValueError as error:
                    bad.append(error)
            else:
                good.append(store.write([Item(f"{n} {i}")]).id)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(bad) == 40
    assert {i.id for i in store.items()} == {*good, "taken"}
    assert not any("lost" in i.content for i in store.items())
    assert store.check() == []


def test_a_fork_does_not_share_connections(tmp_path):
    store = SqliteStore(tmp_path / "m.db", "a/ana")
    store.write([Item("before")])
    writer = store._c._writer
    child = os.fork()
    if child == 0:
        try:
            store.write([Item(f"child {i}") for i in range(50)])
            own = store._c._writer is not writer
            os._exit(0 if own and len(list(store.items())) >= 51 else 3)
        except BaseException:
            os._exit(4)
    for i in range(50):
        store.write([Item(f"parent {i}")])
    assert os.waitpid(child, 0)[1] == 0
    assert len(list(store.items())) == 101
    assert store.check() == []


def test_a_clock_that_goes_back_keeps_the_order(tmp_path):
    now = [1_800_000_000.0]
    store = SqliteStore(tmp_path / "m.db", "a/ana", clock=lambda: now[0])
    made = []
    for i in range(20):
        now[0] -= 3600
        made.append(store.write([Item(f"note {i}")]))
        assert store.recall(f"note {i}", 30)[0].item.id in made[-1].ids
    times = [r.at for r in made]
    assert times == sorted(set(times))
    assert [i.content for i in store.items(known_at=made[4].at)] == [f"note {i}" for i in range(5)]
    assert store.check() == []
    now[0] = datetime(2100, 1, 1, tzinfo=UTC).timestamp()
    assert store.write([Item("later")]).at == datetime(2100, 1, 1, tzinfo=UTC)


def test_a_full_disk_is_told_and_nothing_is_half_written(tmp_path):
    store = SqliteStore(tmp_path / "m.db", "a/ana")
    kept = store.write([Item("before")]).id
    (pages,) = store._c._writer.execute("PRAGMA page_count").fetchone()
    store._c._writer.execute(f"PRAGMA max_page_count={pages + 20}")
    done = []

    def fill():
        for i in range(1000):
            done.extend(store.write([Item(f"{i} " + "x" * 20_000), Item("small")]).ids)

    with pytest.raises(OutputError, match="full"):
        fill()
    there = [i.id for i in store.items()]
    assert there == [kept, *done]
    assert store.recall("before", 1)
    store._c._writer.execute("PRAGMA max_page_count=1000000")
    done += store.write([Item("room again")]).ids
    assert [i.id for i in store.items()] == [kept, *done]
    assert store.check() == []


LIMIT = """
import resource, signal, sys
from byheart.core.errors import OutputError
from byheart.core.item import Item
from byheart.stores.sqlite import SqliteStore
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
store = SqliteStore(sys.argv[1], "a/ana")
resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, 600_000))
try:
    for i in range(1000):
        print("new " + store.write([Item(f"{i} " + "x" * 20_000)]).id, flush=True)
except OutputError as error:
    print("told", error, flush=True)
"""


def test_a_file_that_may_not_grow_loses_nothing_acknowledged(tmp_path):
    path = tmp_path / "m.db"
    done = subprocess.run(
        [sys.executable, "-c", LIMIT, str(path)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert "\ntold " in done.stdout
    with SqliteStore(path, "a/ana") as store:
        assert set(acknowledged(done.stdout)) <= {i.id for i in store.items()}
        assert store.check() == []


def test_a_lock_that_is_held_is_told_after_the_timeout(tmp_path):
    path = tmp_path / "m.db"
    store = SqliteStore(path, "a/ana", timeout=0.3)
    store.write([Item("before")])
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    began = time.monotonic()
    with pytest.raises(StoreBusy, match="other processes"):
        store.write([Item("waits")])
    assert 0.2 < time.monotonic() - began < 5
    assert len(list(store.items())) == 1  # reading goes on
    other.execute("ROLLBACK")
    store.write([Item("after")])
    assert [i.content for i in store.items()] == ["before", "after"]
