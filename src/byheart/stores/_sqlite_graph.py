"""HNSW over the older vectors of a scope, by usearch; kept beside the file, made anew at need."""

from __future__ import annotations

import contextlib
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

EXPAND = ((20_000, 128), (200_000, 256))
"""Candidates that a search keeps in mind, by vectors in the graph; above, `MOST_EXPAND`."""

MOST_EXPAND = 320

_ALIGN = 64


def _index(dimensions: int) -> Any:
    from usearch.index import Index

    # one byte a number: what the graph finds is compared again by the vectors in the table
    return Index(
        ndim=dimensions, metric="cos", dtype="i8", connectivity=16, expansion_add=128,
        expansion_search=EXPAND[0][1],
    )  # fmt: skip


class Graph:
    """Vectors by number of arrival, and the rows they belong to.

    Args:
        dimensions: Of a vector.
        rows: Of those that are in `kept`.
        kept: A graph's bytes in a file, which are looked into and not read; it cannot grow.
    """

    def __init__(
        self, dimensions: int, rows: np.ndarray | None = None, kept: np.ndarray | None = None
    ) -> None:
        self.index, self._kept = _index(dimensions), kept
        self.rows = np.zeros(0, np.int64) if rows is None else rows
        if kept is not None:
            self.index.view(kept)
        self.several = bool((self.rows[1:] == self.rows[:-1]).any())
        self._order = self._sorted = np.zeros(0, np.int64)
        self.last = 0
        self.saved = 0

    @property
    def fixed(self) -> bool:
        """Whether it looks into a file and so cannot grow."""
        return self._kept is not None

    def free(self) -> Graph:
        """The same in memory, able to grow."""
        if self._kept is None:
            return self
        out = Graph(int(self.index.ndim), self.rows)
        out.index.load(self._kept)
        out.last, out.saved = self.last, self.saved
        return out

    def add(self, rows: np.ndarray, vectors: np.ndarray, last: int, threads: int = 1) -> None:
        """Take in vectors; `last` is the newest id in the table that is in now."""
        keys = np.arange(len(self.rows), len(self.rows) + len(rows), dtype=np.uint64)
        self.index.add(keys, vectors, threads=threads)
        near = np.concatenate([self.rows[-1:], rows])
        self.several = self.several or bool((near[1:] == near[:-1]).any())
        self.rows = np.concatenate([self.rows, rows])
        self.last = last

    def search(self, query: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows and cosines, to about a hundredth, of about the n nearest items."""
        n = min(4 * n if self.several else n, len(self.rows))
        self.index.expansion_search = next(
            (e for m, e in EXPAND if len(self.rows) <= m), MOST_EXPAND
        )
        found = self.index.search(query, n, threads=1)
        keys = np.asarray(found.keys).astype(np.int64)
        return self.rows[keys], 1 - np.asarray(found.distances, np.float32)

    def about(self, rows: np.ndarray, query: np.ndarray) -> np.ndarray:
        """Cosines to about a hundredth of items' nearest passages, without reading the table.

        Args:
            rows: ``[N]``.
            query: ``[D]``, of length 1.

        Returns:
            ``[N]``; NaN for items that are not in the graph, or came to it lately.
        """
        if len(self.rows) > len(self._order) + len(self._order) // 50:
            self._order = np.argsort(self.rows, kind="stable")
            self._sorted = self.rows[self._order]
        out = np.full(len(rows), np.nan, np.float32)
        first = np.searchsorted(self._sorted, rows, "left")
        counts = np.searchsorted(self._sorted, rows, "right") - first
        has = np.flatnonzero(counts)
        if not len(has):
            return out
        counts, starts = counts[has], np.cumsum(counts[has]) - counts[has]
        places = np.repeat(first[has] - starts, counts) + np.arange(counts.sum())
        held = np.array(self.index.get(self._order[places].astype(np.uint64)), np.float32)
        near = held @ query / np.maximum(np.linalg.norm(held, axis=1), 1e-9)
        out[has] = np.maximum.reduceat(near, starts)
        return out


def available() -> bool:
    """Whether usearch is installed; without it every vector is compared, which is exact."""
    return importlib.util.find_spec("usearch") is not None


def graph_path(store: SqliteStore, of: tuple[int, tuple[int, ...]]) -> Path:
    """The file beside the store's; its name tells embedder and scopes by number."""
    scopes = zlib.crc32(repr(of[1]).encode())
    return store.path.with_name(f"{store.path.name}.hnsw-{of[0]}-{scopes:08x}")


def grow(store: SqliteStore, exact: int, step: int = STEP, threads: int = 1) -> None:
    """Move vectors into the graph until no more than half of `exact` are left outside."""
    while not store._stop.is_set():
        index = store._vectors
        graph = index.graph
        if graph is not None and graph.fixed and index.n > exact // 2:
            free = graph.free()  # takes a while; queries go on meanwhile
            with index.lock:
                if index.graph is graph:
                    index.graph = free
        with index.lock:
            if index.graph is not None and index.graph.fixed and index.n > exact // 2:
                continue  # another was taken up meanwhile
            moved = index.to_graph(step, threads) if index.n > exact // 2 else 0
        if not moved:
            return


def save_graph(store: SqliteStore) -> None:
    """Keep the graph for the next start, if it grew by a fiftieth."""
    with store._vectors.lock:
        graph, of = store._vectors.graph, store._vectors.of
        if graph is None or graph.fixed or store._vectors.erasures < 0:
            return
        if len(graph.rows) <= graph.saved + graph.saved // 50:
            return
        body = graph.rows.tobytes() + bytes(graph.index.save())
        head = {
            "of": [of[0], list(of[1])],
            "last": graph.last,
            "erasures": store._vectors.erasures,
            "rows": len(graph.rows),
            "dimensions": int(graph.index.ndim),
        }
        path, temporary = graph_path(store, of), ""
        line = json.dumps(head).encode()
        line += b" " * (-(len(line) + 10) % _ALIGN) + b"\n"
        line = b"%08x " % zlib.crc32(body, zlib.crc32(line)) + line
        with contextlib.suppress(OSError):  # derived: without it the next start makes it anew
            handle, temporary = tempfile.mkstemp(prefix=f"{path.name}.new-", dir=path.parent)
            with os.fdopen(handle, "wb") as file:
                file.write(line + body)
            os.replace(temporary, path)
            graph.saved, temporary = len(graph.rows), ""
        if temporary:
            with contextlib.suppress(OSError):
                os.unlink(temporary)


def read_graph(path: Path) -> tuple[dict[str, Any], np.ndarray] | None:
    """Head and body of a kept graph, which is looked into; None if it is damaged."""
    try:
        with open(path, "rb") as file:
            line = file.readline(1 << 20)
        whole: Any = np.memmap(path, np.uint8, "r")
        if zlib.crc32(whole[9:]) != int(line[:8], 16):
            return None
        return json.loads(line[9:]), whole[len(line) :]
    except (OSError, ValueError):
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
    n = head["rows"]
    graph = Graph(head["dimensions"], np.frombuffer(body[: 8 * n], np.int64).copy(), body[8 * n :])
    graph.last, graph.saved = head["last"], n
    index = store._vectors
    index.graph, index.last, index.of = graph, graph.last, of


def check_graphs(store: SqliteStore) -> Iterator[Problem]:
    """Kept graphs whose bytes changed."""
    for path in sorted(store.path.parent.glob(f"{store.path.name}.hnsw-*")):
        if ".new-" not in path.name and read_graph(path) is None:
            yield Problem("vectors", path.name, "is damaged; delete it, it is made anew")
