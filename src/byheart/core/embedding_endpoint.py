"""Embeddings from an OpenAI-compatible endpoint, by the standard library alone."""

from __future__ import annotations

import http.client
import json
import os
import time
import urllib.error
import urllib.request
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import numpy as np

from byheart.core.errors import EndpointError, ModelError, UsageError

__all__ = ["KEY", "EmbeddingEndpoint"]

KEY = "BYHEART_ENCODER_KEY"
"""The environment variable that holds the endpoint's key; OPENAI_API_KEY goes to OpenAI alone."""

_TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})
_LONGEST_WAIT = 30.0


class EmbeddingEndpoint:
    """Texts to vectors by ``POST URL/embeddings``.

    Args:
        url: Of the API, usually ending in /v1.
        model: As the server calls it.
        key: Sent as a bearer token; by default the environment's BYHEART_ENCODER_KEY, or for
            api.openai.com OPENAI_API_KEY. It is written nowhere.
        batch: Texts a request.
        timeout: Seconds to wait for an answer.
        retries: How often a request is repeated that was refused for a while (429, 5xx) or broken
            off.

    Raises:
        UsageError: The address is none, or holds a password.
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        key: str | None = None,
        batch: int = 64,
        timeout: float = 120.0,
        retries: int = 2,
    ) -> None:
        form = "write endpoint:URL#MODEL, such as endpoint:http://localhost:8000/v1#bge-m3"
        try:
            parts = urlsplit(url)
            host = parts.hostname
            _ = parts.port
        except ValueError as error:
            raise UsageError(f"{url!r} is no address ({error}); {form}") from error
        if parts.scheme not in ("http", "https") or not host:
            raise UsageError(f"{url!r} is no http address; {form}")
        if parts.username or parts.password:
            raise UsageError(f"the address holds a password; leave it out and set {KEY}")
        if not model.strip():
            raise UsageError(f"the endpoint {url!r} is named without a model; {form}")
        if batch < 1 or retries < 0 or timeout <= 0:
            raise UsageError(
                f"batch and timeout must be above 0 and retries not below, got {batch}, {timeout} "
                f"and {retries}"
            )
        path = parts.path.rstrip("/").removesuffix("/embeddings") + "/embeddings"
        self.url = urlunsplit((parts.scheme, parts.netloc, path, parts.query, ""))
        self.model, self.batch, self.timeout, self.retries = model, batch, timeout, retries
        self.name = f"endpoint:{model}"
        self.dimensions = 0
        self._where = urlunsplit((parts.scheme, parts.netloc, path, "", ""))
        self._key = key or os.environ.get(KEY) or ""
        if not self._key and host == "api.openai.com":
            self._key = os.environ.get("OPENAI_API_KEY", "")
        # what listens on this machine is not to be sought through a proxy
        local = host == "localhost" or host.startswith("127.") or host == "::1"
        proxies = [urllib.request.ProxyHandler({})] if local else []
        self._open = urllib.request.build_opener(_Stay, *proxies).open

    @classmethod
    def parse(cls, text: str) -> EmbeddingEndpoint:
        """From ``URL#MODEL``."""
        url, _, model = text.partition("#")
        return cls(url, model)

    def __call__(self, texts: list[str]) -> np.ndarray:
        """`[N, D]` vectors of N texts.

        Raises:
            EndpointError: It cannot be reached, refuses, or answers something else.
            ModelError: Its vectors are not all of one length.
        """
        rows: list[list[float]] = []
        for begin in range(0, len(texts), self.batch):
            some = texts[begin : begin + self.batch]
            # an empty text is refused by some servers
            rows += self._vectors([t or " " for t in some])
        if not rows:
            return np.zeros((0, self.dimensions), np.float32)
        widths = sorted({len(r) for r in rows} | ({self.dimensions} if self.dimensions else set()))
        if len(widths) > 1:
            raise ModelError(
                f"{self.model} at {self._where} answers with vectors of {widths[0]} and of "
                f"{widths[1]} numbers; they cannot be compared. Is it one model?"
            )
        self.dimensions = widths[0]
        return np.array(rows, np.float32)

    def _vectors(self, texts: list[str]) -> list[list[float]]:
        body = {"model": self.model, "input": texts, "encoding_format": "float"}
        answer = self._post(json.dumps(body).encode())
        try:
            data = json.loads(answer)["data"]
            found = {d.get("index", i): d["embedding"] for i, d in enumerate(data)}
            rows = [[float(x) for x in found[i]] for i in range(len(texts))]
        except (ValueError, KeyError, TypeError, AttributeError, UnicodeDecodeError) as error:
            said = " ".join(answer[:200].decode(errors="replace").split())
            raise EndpointError(
                f"{self._where} answered, but not with {len(texts)} embeddings as an "
                f"OpenAI-compatible server does ({said!r}); is the address right? It usually ends "
                "in /v1"
            ) from error
        if len(data) != len(texts) or not all(rows):
            raise EndpointError(
                f"{self._where} answered with {len(data)} embeddings for {len(texts)} texts"
            )
        return rows

    def _post(self, body: bytes) -> bytes:
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        for attempt in range(self.retries + 1):
            last = attempt == self.retries
            request = urllib.request.Request(self.url, body, headers, method="POST")
            try:
                with self._open(request, timeout=self.timeout) as response:
                    return bytes(response.read())
            except urllib.error.HTTPError as error:
                if last or error.code not in _TRANSIENT:
                    raise self._refused(error) from error
                wait = _seconds(error.headers.get("Retry-After"))
            except TimeoutError as error:
                raise self._late() from error
            except (OSError, http.client.HTTPException) as error:
                reason = getattr(error, "reason", error)
                if isinstance(reason, TimeoutError):
                    raise self._late() from error
                if last or isinstance(reason, ConnectionRefusedError):
                    raise EndpointError(
                        f"{self._where} cannot be reached ({reason or type(error).__name__}); is "
                        "the server running there?"
                    ) from error
                wait = None
            time.sleep(min(0.5 * 2**attempt if wait is None else wait, _LONGEST_WAIT))
        raise AssertionError("the last attempt returned or raised")

    def _late(self) -> EndpointError:
        return EndpointError(
            f"{self._where} did not answer within {self.timeout:g} s; is the server overloaded or "
            "hanging?"
        )

    def _refused(self, error: urllib.error.HTTPError) -> EndpointError:
        try:
            said = " ".join(error.read(2000).decode(errors="replace").split())[:300]
        except (OSError, http.client.HTTPException):
            said = ""
        advice = {
            401: f"; set {KEY} to its key",
            403: f"; set {KEY} to a key that may",
            404: f"; does the server have the model {self.model!r}, and does the address end in /v1?",
        }.get(error.code, "")
        if 300 <= error.code < 400:
            there = error.headers.get("Location", "elsewhere")
            advice = f"; it points to {there}: name that address, if you trust it"
        return EndpointError(f"{self._where} refused: {error.code} {said or error.reason}{advice}")


class _Stay(urllib.request.HTTPRedirectHandler):
    """Follows no redirection: the key would be sent along."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _seconds(text: str | None) -> float | None:
    try:
        return max(0.0, float(text)) if text else None
    except ValueError:  # a date; the usual waits do
        return None
