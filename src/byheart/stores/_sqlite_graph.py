"""HNSW over the older vectors of a scope, by usearch; kept beside the file, made anew at need."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import os
import tempfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from byheart.core.memory import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from byheart.stores.sqlite import SqliteStore

__all__ = ["Graph", "check_graphs", "graph_path", "grow", "load_graph", "save_graph"]

STEP = 64
"""So many vectors are added while a query may wait."""


class Graph:
    """Vectors by number of arrival, and the rows they belong to.

    Args:
        dimensions: Of a vector.
    """

    def __init__(self, dimensions: int) -> None:
        from usearch.index import Index

        self.index: Any = Index(
            ndim=dimensions, metric="ip", dtype="f16", connectivity=16, expansion_add=128,
            expansion_search=96,
        )  # fmt: skip
        self.rows = np.zeros(0, np.int64)
        self.last = 0
        self.saved = 0

    def add(self, rows: np.ndarray, vectors: np.ndarray, last: int) -> None:
        """Take in vectors; `last` is the newest id in the table that is in now."""
        keys = np.arange(len(self.rows), len(self.rows) + len(rows), dtype=np.uint64)
        self.index.add(keys, vectors, threads=1)
        self.rows = np.concatenate([self.rows, rows])
        self.last = last

    def search(self, query: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows and cosines of about the n nearest."""
        found = self.index.search(query, min(n, len(self.rows)), threads=1)
        keys = np.asarray(found.keys).astype(np.int64)
        return self.rows[keys], 1 - np.asarray(found.distances, np.float32)


def available() -> bool:
    """Whether usearch is installed; without it every vector is compared, which is exact."""
    return importlib.util.find_spec("usearch") is not None


def graph_path(store: SqliteStore, of: tuple[int, tuple[int, ...]]) -> Path:
    """The file beside the store's; its name tells embedder and scopes by number."""
    scopes = zlib.crc32(repr(of[1]).encode())
    return store.path.with_name(f"{store.path.name}.hnsw-{of[0]}-{scopes:08x}")


def grow(store: SqliteStore, exact: int) -> None:
    """Move vectors into the graph until no more than half of `exact` are left outside."""
    while not store._stop.is_set():
        with store._vectors.lock:
            index = store._vectors
            moved = index.to_graph(STEP) if index.n > exact // 2 else 0
        if not moved:
            return


def save_graph(store: SqliteStore) -> None:
    """Keep the graph for the next start, if it grew by a tenth."""
    with store._vectors.lock:
        graph, of = store._vectors.graph, store._vectors.of
        if graph is None or len(graph.rows) < 1.1 * graph.saved or store._erasures < 0:
            return
        body = graph.rows.tobytes() + bytes(graph.index.save())
        head = {
            "of": [of[0], list(of[1])],
            "last": graph.last,
            "erasures": store._erasures,
            "rows": len(graph.rows),
            "dimensions": int(graph.index.ndim),
            "sha256": hashlib.sha256(body).hexdigest(),
        }
        path, temporary = graph_path(store, of), ""
        with contextlib.suppress(OSError):  # derived: without it the next start makes it anew
            handle, temporary = tempfile.mkstemp(prefix=f"{path.name}.new-", dir=path.parent)
            with os.fdopen(handle, "wb") as file:
                file.write(json.dumps(head).encode() + b"\n" + body)
            os.replace(temporary, path)
            graph.saved, temporary = len(graph.rows), ""
        if temporary:
            with contextlib.suppress(OSError):
                os.unlink(temporary)


def read_graph(path: Path) -> tuple[dict[str, Any], bytes] | None:
    """Head and body of a kept graph; None if it is damaged."""
    try:
        line, _, body = path.read_bytes().partition(b"\n")
        head = json.loads(line)
        if hashlib.sha256(body).hexdigest() != head["sha256"] or len(body) < 8 * head["rows"]:
            return None
        return head, body
    except (OSError, ValueError, KeyError, TypeError):
        return None


def load_graph(store: SqliteStore, of: tuple[int, tuple[int, ...]], erasures: int) -> None:
    """Take up a kept graph, if it is sound and nothing was erased since."""
    path = graph_path(store, of)
    if not path.exists() or not available():
        return
    told = read_graph(path)
    if told is None:
        return
    head, body = told
    if head["of"] != [of[0], list(of[1])] or head["erasures"] != erasures:
        return
    graph, n = Graph(head["dimensions"]), head["rows"]
    graph.rows = np.frombuffer(body[: 8 * n], np.int64).copy()
    graph.index.load(body[8 * n :])
    graph.last, graph.saved = head["last"], n
    index = store._vectors
    index.graph, index.last, index.of = graph, graph.last, of


def check_graphs(store: SqliteStore) -> Iterator[Problem]:
    """Kept graphs whose bytes changed."""
    for path in sorted(store.path.parent.glob(f"{store.path.name}.hnsw-*")):
        if ".new-" not in path.name and read_graph(path) is None:
            yield Problem("vectors", path.name, "is damaged; delete it, it is made anew")
