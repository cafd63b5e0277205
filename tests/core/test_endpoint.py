"""Endpoints: a server on this machine that answers, falls silent, refuses or hangs."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

import byheart
from byheart.core import endpoint
from byheart.core.ask import Sample, Score
from byheart.core.endpoint import CONTINUE, InspectModel
from byheart.core.errors import CapabilityError, DataError, EndpointError, MissingExtra, ModelError


class Server(ThreadingHTTPServer):
    """Speaks /v1/chat/completions; `mode` says how well, `asked` holds the request bodies."""

    daemon_threads = True
    mode = "normal"

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[dict[str, Any]] = []
        self.release = threading.Event()

    def handle_error(self, *_: Any) -> None:
        """A client that gave up is no news."""


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append(body)
        mode = self.server.mode
        if mode == "hanging":
            self.server.release.wait(30)
            return
        if mode.isdigit():
            self._reply(int(mode), {"error": {"message": f"status {mode}", "type": "server"}})
            return
        if mode == "garbage":
            self._reply(200, None)
            return
        text = "" if mode == "empty" else "echo " + body["messages"][-1]["content"][-20:]
        choices = [
            {
                "index": i,
                "finish_reason": "length" if mode == "cut" else "stop",
                "message": {"role": "assistant", "content": text},
            }
            for i in range(body.get("n") or 1 if mode == "choices" else 1)
        ]
        usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
        self._reply(
            200,
            {
                "id": "x",
                "object": "chat.completion",
                "created": 0,
                "model": body["model"],
                "choices": [] if mode == "none" else choices,
                "usage": usage,
            },
        )

    def _reply(self, status: int, body: Any) -> None:
        data = b"<html>" if body is None else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        """Quiet."""


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield server
    server.release.set()
    server.shutdown()
    server.server_close()


def _load(port: int, monkeypatch: pytest.MonkeyPatch) -> InspectModel:
    monkeypatch.setenv("LOCAL_BASE_URL", f"http://127.0.0.1:{port}/v1")
    monkeypatch.setenv("LOCAL_API_KEY", "none")
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    model = byheart.load("inspect:openai-api/local/m")
    assert isinstance(model, InspectModel)
    return model


@pytest.fixture
def model(server: Server, monkeypatch: pytest.MonkeyPatch) -> InspectModel:
    return _load(server.server_address[1], monkeypatch)


def test_answers_in_order(server: Server, model: InspectModel) -> None:
    model.ping(timeout=10)
    seen: list[int] = []
    asks = [Sample((("user", f"question {i}"),), max_tokens=9, seed=i) for i in range(12)]
    found = model.sample(asks, seen.append)
    assert [row[0].text for row in found] == [f"echo question {i}" for i in range(12)]
    assert sum(seen) == 12
    assert found[0][0].stop == "stop"
    bodies = {b["messages"][-1]["content"]: b for b in server.asked}
    body = bodies["question 7"]
    assert (body["seed"], body["temperature"], body["model"]) == (7, 0.0, "m")
    assert 9 in (body.get("max_tokens"), body.get("max_completion_tokens"))


def test_plain_text_asks_for_its_continuation(server: Server, model: InspectModel) -> None:
    model.sample([Sample("the quick brown fox")])
    assert server.asked[-1]["messages"][-1]["content"] == CONTINUE + "the quick brown fox"
    assert not model.raw
    assert model.chat


def test_stop_strings_cut_what_the_server_did_not(server: Server, model: InspectModel) -> None:
    ask = Sample((("user", "one two three"),), stop=("two",))
    assert model.sample([ask])[0][0].text == "echo one "
    assert server.asked[-1]["stop"] == ["two"]
    server.mode = "cut"
    assert model.sample([Sample("a")])[0][0].stop == "length"


@pytest.mark.parametrize("mode", ["normal", "choices"])
def test_several_continuations(mode: str, server: Server, model: InspectModel) -> None:
    """A server that ignores `n` is asked again, with another seed each time."""
    server.mode = mode
    found = model.sample([Sample((("user", "hello"),), n=4, temperature=1.0, seed=5)])[0]
    assert [c.text for c in found] == ["echo hello"] * 4
    seeds = [b["seed"] for b in server.asked]
    assert len(seeds) == len(set(seeds)) == (1 if mode == "choices" else 4)


@pytest.mark.parametrize("mode", ["empty", "none"])
def test_an_empty_answer_is_an_empty_text(mode: str, server: Server, model: InspectModel) -> None:
    server.mode = mode
    try:
        found = model.sample([Sample((("user", "hello"),), n=2)])[0]
    except ModelError:
        assert mode == "none"  # no choices at all may also be said to be a failure
    else:
        assert [c.text for c in found] == ["", ""]


@pytest.mark.parametrize("status", ["500", "401", "404", "429"])
def test_refusals(status: str, server: Server, model: InspectModel) -> None:
    server.mode = status
    start = time.monotonic()
    with pytest.raises(EndpointError, match=r"openai-api/local/m at http://127\.0\.0\.1"):
        model.ping(timeout=4)
    assert time.monotonic() - start < 10


def test_nonsense_is_a_model_error(server: Server, model: InspectModel) -> None:
    server.mode = "garbage"
    with pytest.raises(ModelError, match="openai-api/local/m"):
        model.ping(timeout=4)


def test_a_hanging_server_costs_bounded_time(server: Server, model: InspectModel) -> None:
    server.mode = "hanging"
    start = time.monotonic()
    with pytest.raises(EndpointError, match="did not answer within 2 s"):
        model.ping(timeout=2)
    assert time.monotonic() - start < 5


def test_a_closed_port(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    model = _load(port, monkeypatch)
    start = time.monotonic()
    with pytest.raises(EndpointError, match=f"127.0.0.1:{port}/v1 cannot be reached"):
        model.ping(timeout=4)
    assert time.monotonic() - start < 11


def test_sampling_a_dying_server_is_bounded_too(
    server: Server, model: InspectModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The path of audits, with its retries: one error comes out, not a group of them."""
    monkeypatch.setattr(endpoint._generate, "__defaults__", (3,))
    server.mode = "500"
    start = time.monotonic()
    with pytest.raises(EndpointError):
        model.sample([Sample("a"), Sample("b"), Sample("c")])
    assert time.monotonic() - start < 12


def test_scores_are_refused_before_any_call(server: Server, model: InspectModel) -> None:
    assert model.capabilities == {"sample"}
    with pytest.raises(CapabilityError, match="scoring needs score"):
        model.score([Score("the quick brown fox")])
    assert server.asked == []
    with pytest.raises(CapabilityError, match="weights"):
        _ = model.weights


def test_inside_a_running_loop(server: Server, model: InspectModel) -> None:
    import asyncio

    async def notebook() -> Any:
        return model.sample([Sample((("user", "hello"),))])

    assert asyncio.run(notebook())[0][0].text == "echo hello"


def test_names_that_open_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match="names no provider"):
        byheart.load("inspect:m")
    with pytest.raises((DataError, MissingExtra), match="cannot open nowhere/m"):
        byheart.load("inspect:nowhere/m")
    monkeypatch.delenv("LOCAL_BASE_URL", raising=False)
    monkeypatch.delenv("LOCAL_API_KEY", raising=False)
    with pytest.raises((DataError, MissingExtra), match="LOCAL"):
        byheart.load("inspect:openai-api/local/other")
