"""What an import may do to what is in a memory already."""

from __future__ import annotations

import os
import threading

import pytest

from byheart.core.errors import DataError
from byheart.core.item import Item
from byheart.memory import Memory


@pytest.fixture
def two(tmp_path):
    """A memory, and a copy of it that went on by itself."""
    with Memory(tmp_path / "a.db", "a") as here, Memory(tmp_path / "b.db", "b") as there:
        id = here.write("Ana lives in Rome.").id
        there.import_(list(here.export_lines()))
        there.supersede(id, "Ana lives in Oslo.")
        yield here, there, id


def lines(memory):
    return list(memory.export_lines())


def test_a_supersession_travels_and_only_new_items_are_named(two):
    here, there, id = two
    receipt = here.import_(lines(there))
    assert len(receipt.ids) == 1
    assert [i.content for i in here.items()] == ["Ana lives in Oslo."]
    assert here.show(id)["versions"] == [id, receipt.id]


def test_an_import_does_not_supersede_what_is_frozen(two):
    here, there, id = two
    here.freeze(id)
    with pytest.raises(DataError, match="which is Frozen here; nothing was imported"):
        here.import_(lines(there))
    assert [i.content for i in here.items()] == ["Ana lives in Rome."]


def test_an_import_does_not_supersede_within_a_frozen_cube(two):
    here, there, id = two
    here.create_cube("c", [id])
    here.freeze_cube("c")
    with pytest.raises(DataError, match="is in the cube 'c', which is Frozen"):
        here.import_(lines(there))
    assert [i.content for i in here.items()] == ["Ana lives in Rome."]


def test_an_import_never_forks_an_item_silently(two):
    here, there, id = two
    mine = here.supersede(id, "Ana lives in Bern.").id
    with pytest.raises(DataError, match=f"was superseded here by {mine}"):
        here.import_(lines(there))
    assert [i.content for i in here.items()] == ["Ana lives in Bern."]
    here.undo(list(here.log(kind="supersede"))[-1].seq)
    here.import_(lines(there))
    assert [i.content for i in here.items()] == ["Ana lives in Oslo."]
    assert here.check() == []


def test_a_cube_moves_between_scopes_of_one_store(tmp_path):
    path = tmp_path / "m.db"
    with Memory(path, "a/ana") as ana, Memory(path, "a/ben") as ben:
        ana.create_cube("trip", [Item("Lisbon")])
        ana.move_cube("trip", ben)
        assert [i.content for i in ben.cube_items("trip")] == ["Lisbon"]
        assert ana.cube("trip").state == "Archived"
        assert ana.check() == ben.check() == []


def test_an_export_that_failed_is_not_in_the_log(tmp_path):
    with Memory(tmp_path / "m.db") as memory:
        memory.write("x")
        for fails in (
            lambda: memory.export(tmp_path / "none" / "x.jsonl"),
            lambda: memory.export(tmp_path / "x.jsonl", cube="nope"),
            lambda: memory.export_lines(cube="nope"),
        ):
            with pytest.raises((OSError, LookupError)):
                fails()
        assert list(memory.log(kind="export")) == []
        memory.export(tmp_path / "x.jsonl")
        assert len(list(memory.log(kind="export"))) == 1


def test_links_and_pipes_stay_what_they_are(tmp_path):
    real, link, pipe = tmp_path / "real.jsonl", tmp_path / "link.jsonl", tmp_path / "pipe"
    real.write_text("old")
    link.symlink_to(real)
    os.mkfifo(pipe)
    with Memory(tmp_path / "m.db") as memory:
        memory.write("x")
        memory.export(link)
        assert link.is_symlink()
        assert real.read_text().startswith('{"byheart"')
        read = []
        reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
        reader.start()
        assert memory.export(pipe) == 2
        reader.join(30)
        assert pipe.is_fifo()
        assert read == [real.read_text()]
