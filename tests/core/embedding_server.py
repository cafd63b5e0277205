"""A small OpenAI-compatible server for embeddings on loopback."""

from __future__ import annotations

import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def vector(text: str, d: int = 4) -> list[float]:
    return [float(len(text)), *(float(ord(c) % 7) for c in text[: d - 1].ljust(d - 1))]


class Server:
    """Answers as an OpenAI-compatible server does; `plan` holds (status, headers, body) to come."""

    def __init__(self) -> None:
        self.asked: list[dict] = []
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.plan: list = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.asked.append(body)
                outer.headers.append(dict(self.headers))
                outer.paths.append(self.path)
                step = outer.plan.pop(0) if outer.plan else None
                if callable(step):
                    step = step(body)
                if step == "hang up":
                    self.close_connection = True
                    self.connection.shutdown(socket.SHUT_RDWR)
                    return
                status, headers, answer = step or (200, {}, outer.answer(body))
                sent = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(sent))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(sent)

            def log_message(self, *_: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    @staticmethod
    def answer(body: dict) -> dict:
        # in another order than asked: the index says which is which
        rows = [{"index": i, "embedding": vector(t)} for i, t in enumerate(body["input"])]
        return {"data": rows[::-1], "model": body["model"]}
