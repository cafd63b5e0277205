"""Folders of Markdown files, cubes as they were known, and moved cubes: the same over PostgreSQL."""

from __future__ import annotations

import pytest

from byheart.core.errors import DataError
from byheart.core.item import Item
from byheart.memory import Memory
from byheart.stores import FileStore


@pytest.fixture
def memory(postgres):
    with Memory(postgres.place(), "acme/ana") as memory:
        yield memory


def test_a_folder_goes_out_is_edited_and_comes_back(memory, tmp_path):
    folder = tmp_path / "out"
    first = memory.write("Ana lives in Rome.", valid_from="2020-01-01").id
    memory.supersede(first, "Ana lives in Oslo.", valid_from="2024-01-01")
    tea = memory.write(Item("tea", kind="state", blob=b"\0\1")).id
    memory.link(tea, first, "see", 0.5)
    assert memory.export(folder, format="okf") == 3
    assert memory.import_(folder).seq is None
    path = next(n.path for n in FileStore(folder).read() if "Oslo" in n.item.content)
    text = (folder / path).read_text()
    (folder / path).write_text(text.replace("in Oslo.", "in Bern."))
    assert memory.import_(folder).reached["edited"] == 1
    assert memory.recall("lives")[0].item.content == "Ana lives in Bern."
    assert memory.import_(folder).seq is None
    with Memory(tmp_path / "b.db", "guest") as there:
        there.import_(folder)
        assert there.links(tea) == [(tea, first, "see", 0.5)]
        assert there.recall("lives", as_of="2022-01-01")[0].item.content == "Ana lives in Rome."
    memory.freeze(first)
    assert memory.check() == []


def test_cubes_known_then_and_moved(memory, tmp_path):
    ids = memory.write(["tea with milk", "tea with lemon"]).ids
    memory.create_cube("x", [ids[0]])
    then = memory.commit("x", [ids[1]]).at
    memory.commit("x", drop=[ids[0]])
    memory.transition(ids[1], "Expired")
    assert memory.recall("tea", cube="x") == []
    found = memory.recall("tea", cube="x", known_at=then)
    assert sorted(h.item.content for h in found) == ["tea with lemon", "tea with milk"]
    with Memory(tmp_path / "b.db", "guest") as there:
        memory.move_cube("x", there)
        assert [i.content for i in there.cube_items("x")] == ["tea with lemon"]
    assert memory.cube("x").state == "Archived"


def test_an_import_respects_what_is_frozen(memory, tmp_path):
    id = memory.write("Ana lives in Rome.").id
    with Memory(tmp_path / "b.db") as there:
        there.import_(list(memory.export_lines()))
        there.supersede(id, "Ana lives in Oslo.")
        memory.freeze(id)
        with pytest.raises(DataError, match="Frozen here"):
            memory.import_(list(there.export_lines()))
