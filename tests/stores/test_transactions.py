"""Several calls as one: what others see meanwhile, and what cannot be part of it."""

from __future__ import annotations

import threading

import pytest

from byheart.core.errors import StoreError, UsageError
from byheart.core.item import Item
from byheart.memory import Memory
from byheart.stores.sqlite import SqliteStore


def texts(memory):
    return sorted(i.content for i in memory.items())


def test_others_see_nothing_before_the_end_and_wait_with_their_writes(tmp_path):
    order, inside = [], threading.Event()
    with Memory(tmp_path / "m.db") as memory:

        def other():
            inside.wait(30)
            order.append(texts(memory))
            memory.write("by another thread")
            order.append("written")

        thread = threading.Thread(target=other)
        thread.start()
        with memory.transaction():
            memory.write("one")
            inside.set()
            while not order:
                pass
            memory.write("two")
            order.append("ends")
        thread.join(30)
        assert order == [[], "ends", "written"]
        assert texts(memory) == ["by another thread", "one", "two"]


def test_another_process_sees_all_or_nothing(tmp_path):
    with SqliteStore(tmp_path / "m.db") as one, SqliteStore(tmp_path / "m.db") as two:
        with one.transaction():
            old = one.write([Item("old")]).ids[0]
            one.supersede(old, "new")
            assert texts(two) == []
        assert texts(two) == ["new"]


@pytest.mark.parametrize("call", ["check", "rebuild", "embed", "erase", "recall"])
def test_what_needs_more_than_the_log_is_refused_and_the_rest_is_kept(tmp_path, call):
    with Memory(tmp_path / "m.db", encoder=lambda texts: [[1.0, 0.0]] * len(texts)) as memory:
        with memory.transaction():
            id = memory.write("kept").id
            given = {"erase": (id,), "recall": ("kept",)}.get(call, ())
            with pytest.raises(UsageError, match="not possible within a transaction"):
                getattr(memory, call)(*given)
        assert texts(memory) == ["kept"]
        assert memory.recall("kept")[0].item.id == id


def test_what_the_database_ended_is_said_so(tmp_path):
    with SqliteStore(tmp_path / "m.db") as store:

        def cut_off():
            with store.transaction():
                store.write([Item("lost")])
                store._c._writer.execute("ROLLBACK")  # as a full disk does
                with pytest.raises(StoreError, match="nothing of it was kept"):
                    store.write([Item("lost too")])

        with pytest.raises(StoreError, match="nothing of it was kept"):
            cut_off()
        store.write([Item("goes on")])
        assert texts(store) == ["goes on"]
