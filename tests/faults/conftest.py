"""An endpoint on this machine that can be made to fail; broken copies of a tiny model."""

from __future__ import annotations

import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest


class Server(ThreadingHTTPServer):
    """Speaks /v1/chat/completions.

    Attributes:
        text: What it answers.
        dies_after: After so many answers it refuses; a negative number is never.
        delay: Seconds before an answer.
        body: Raw bytes instead of an answer.
        calls: Requests so far.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.text, self.delay, self.dies_after = "so it goes", 0.0, -1
        self.body: bytes | None = None
        self.calls, self.lock = 0, threading.Lock()

    def handle_error(self, *_: Any) -> None:
        """A client that gave up is no news."""


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            self.server.calls += 1
            calls = self.server.calls
        time.sleep(self.server.delay)
        dead = 0 <= self.server.dies_after < calls
        message = {"role": "assistant", "content": self.server.text}
        answer = {
            "id": "x", "object": "chat.completion", "created": 0, "model": asked["model"],
            "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
            "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
        }  # fmt: skip
        data = self.server.body or json.dumps(answer).encode()
        self.send_response(401 if dead else 200)  # no client tries that one again
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        """Quiet."""


@pytest.fixture
def server(monkeypatch):
    """A server, named ``inspect:openai-api/local/m`` by the environment."""
    server = Server()
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    monkeypatch.setenv("LOCAL_BASE_URL", f"http://127.0.0.1:{server.server_address[1]}/v1")
    monkeypatch.setenv("LOCAL_API_KEY", "none")
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """Copies of a tiny transformers model on disk, to be broken: a function of a name."""
    import shutil
    from pathlib import Path

    sys.path.insert(0, str(Path(__file__).parents[1] / "core"))
    from tiny import make_tiny_llama

    whole = tmp_path_factory.mktemp("models") / "whole"
    module, tokenizer = make_tiny_llama(context=512)
    module.save_pretrained(whole)
    tokenizer.save_pretrained(whole)

    def copy(name: str) -> Path:
        place = whole.parent / name
        if not place.exists():
            shutil.copytree(whole, place)
        return place

    return copy
