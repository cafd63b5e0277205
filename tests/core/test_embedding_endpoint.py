"""Embeddings from an endpoint: a small real HTTP server on loopback stands for it."""

from __future__ import annotations

import socket
import time

import numpy as np
import pytest
from embedding_server import Server, vector

from byheart.core.embedding_endpoint import KEY, EmbeddingEndpoint
from byheart.core.errors import EndpointError, ModelError, UsageError


@pytest.fixture
def server(monkeypatch):
    monkeypatch.delenv(KEY, raising=False)
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")  # loopback goes through no proxy
    made = Server()
    yield made
    made.http.shutdown()
    made.http.server_close()


def test_texts_come_back_in_their_order_in_batches(server):
    texts = [f"text number {i}" * (i % 3) for i in range(10)]
    endpoint = EmbeddingEndpoint(server.url, "m", batch=4)
    found = endpoint(texts)
    np.testing.assert_array_equal(found, np.array([vector(t or " ") for t in texts], np.float32))
    assert [len(a["input"]) for a in server.asked] == [4, 4, 2]
    assert {a["model"] for a in server.asked} == {"m"}
    assert set(server.paths) == {"/v1/embeddings"}
    assert endpoint([]).shape == (0, 4)


def test_the_key_is_of_the_environment_and_of_openai_only_at_openai(server, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    EmbeddingEndpoint(server.url, "m")(["a"])
    assert "Authorization" not in server.headers[-1]
    monkeypatch.setenv(KEY, "mine")
    endpoint = EmbeddingEndpoint.parse(f"{server.url}#m")
    endpoint(["a"])
    assert server.headers[-1]["Authorization"] == "Bearer mine"
    assert "mine" not in endpoint.name + endpoint.url


def test_a_refusal_for_a_while_is_waited_out(server, monkeypatch):
    waits: list[float] = []
    monkeypatch.setattr(time, "sleep", waits.append)
    server.plan = [(429, {"Retry-After": "3"}, {}), (503, {}, {})]
    assert EmbeddingEndpoint(server.url, "m")(["a"]).shape == (1, 4)
    assert waits == [3.0, 1.0]
    server.plan = ["hang up"]
    assert EmbeddingEndpoint(server.url, "m")(["a"]).shape == (1, 4)
    server.plan = [(500, {}, {"error": "overloaded"})] * 3
    with pytest.raises(EndpointError, match=r"refused: 500 .*overloaded"):
        EmbeddingEndpoint(server.url, "m")(["a"])
    assert not server.plan


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ((401, {}, {"error": "who are you"}), rf"401 .*who are you.*{KEY}"),
        ((404, {}, {}), r"404 .*'m'.*/v1"),
        ((400, {}, {"error": "too long"}), r"400 .*too long"),
        ((302, {"Location": "http://elsewhere.test/"}, {}), r"points to http://elsewhere\.test/"),
        ((200, {}, b"<html>hello</html>"), r"not with 2 embeddings.*<html>"),
        ((200, {}, {"data": [{"embedding": [1.0]}]}), "not with 2 embeddings"),
        ((200, {}, {"data": [{"index": 0, "embedding": "AAAA"}] * 2}), "not with 2 embeddings"),
        ((200, {}, {"data": []}), "not with 2 embeddings"),
    ],
)
def test_what_is_no_embedding_is_told_at_once(server, step, message):
    server.plan = [step]
    with pytest.raises(EndpointError, match=message):
        EmbeddingEndpoint(server.url, "m")(["a", "b"])
    assert len(server.asked) == 1


def test_vectors_of_two_lengths_are_refused(server):
    def other(body: dict) -> tuple:
        return 200, {}, {"data": [{"index": i, "embedding": [1.0] * (3 + i)} for i in range(2)]}

    server.plan = [other]
    with pytest.raises(ModelError, match="vectors of 3 and of 4 numbers"):
        EmbeddingEndpoint(server.url, "m")(["a", "b"])
    endpoint = EmbeddingEndpoint(server.url, "m")
    endpoint(["a"])
    server.plan = [lambda body: (200, {}, {"data": [{"embedding": [1.0] * 8}]})]
    with pytest.raises(ModelError, match="vectors of 4 and of 8 numbers"):
        endpoint(["a"])


def test_a_dead_or_hanging_endpoint_is_told(server):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(EndpointError, match=r"cannot be reached.*running there"):
        EmbeddingEndpoint(f"http://127.0.0.1:{port}/v1", "m")(["a"])

    def hang(body: dict) -> tuple:
        time.sleep(1.5)
        return 200, {}, {}

    server.plan = [hang]
    with pytest.raises(EndpointError, match=r"within 0\.3 s"):
        EmbeddingEndpoint(server.url, "m", timeout=0.3)(["a"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("http://localhost:1/v1", "without a model"),
        ("localhost:1/v1#m", "no http address"),
        ("file:///etc/passwd#m", "no http address"),
        ("http://me:secret@host/v1#m", KEY),
        ("http://[::1/v1#m", "no address"),
    ],
)
def test_addresses_that_cannot_be(text, message):
    with pytest.raises(UsageError, match=message) as told:
        EmbeddingEndpoint.parse(text)
    assert "secret" not in str(told.value)
