"""Embedders: whose vectors are kept, under which name and version, and which items lack them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from byheart.core.errors import ByheartError, ModelError
from byheart.core.item import Item
from byheart.stores._log import load_items
from byheart.stores._schema import FOREVER
from byheart.stores._writer import Conn

__all__ = ["Embedder", "best", "embed_batch", "known", "missing", "register"]

PROBE = "The quick brown fox jumps over the lazy dog."


def _whole(item: Item) -> list[str]:
    return [item.content]


@dataclass
class Embedder:
    """A function from texts to vectors, with the name and version its vectors are kept under.

    Args:
        encode: Texts to `[N, D]` numbers; rows are scaled to length 1 here.
        name: Of the model; vectors of different names or versions are never compared.
        version: Of the model.
        passages: An item to the texts that are embedded for it; its content, if left out.
    """

    encode: Callable[[list[str]], Any]
    name: str
    version: str = ""
    passages: Callable[[Item], list[str]] = _whole
    id: int = 0
    _probe: np.ndarray | None = field(default=None, repr=False)

    def __call__(self, texts: list[str]) -> np.ndarray:
        """`[N, D]` float32 rows of length 1.

        Raises:
            ModelError: It raised, or what it returned is not N rows of finite numbers.
        """
        try:
            out = np.asarray(self.encode(list(texts)), dtype=np.float32)
        except ByheartError:
            raise
        except Exception as error:
            raise ModelError(
                f"the embedder {self.name!r} failed on {len(texts)} texts: "
                f"{type(error).__name__}: {error}"
            ) from error
        if out.ndim != 2 or len(out) != len(texts) or out.shape[1] == 0:
            raise ModelError(
                f"the embedder {self.name!r} returned an array of shape {out.shape} for "
                f"{len(texts)} texts; it must be [{len(texts)}, D]"
            )
        if self._probe is not None and out.shape[1] != len(self._probe):
            raise ModelError(
                f"the embedder {self.name!r} returned vectors of {out.shape[1]} numbers, and before "
                f"of {len(self._probe)}; give each model a name or version of its own"
            )
        if not np.isfinite(out).all():
            raise ModelError(f"the embedder {self.name!r} returned numbers that are not finite")
        norm = np.linalg.norm(out, axis=1, keepdims=True)
        return out / np.where(norm > 0, norm, 1)

    def probe(self) -> np.ndarray:
        """The vector of one fixed sentence, by which a changed model is noticed."""
        if self._probe is None:
            self._probe = self([PROBE])[0]
        return self._probe


def known(conn: Conn, embedder: Embedder) -> int | None:
    """The number of an embedder that the file has: same name and version, and same answers."""
    like = f"{embedder.version}~%"
    for id, probe in conn.execute(
        "SELECT id, probe FROM embedders WHERE name = ? AND (version = ? OR version LIKE ?)"
        " ORDER BY id DESC",
        (embedder.name, embedder.version, like),
    ):
        kept = np.frombuffer(probe, np.float32)
        mine = embedder.probe()
        if kept.shape == mine.shape and float(kept @ mine) > 0.999:
            return int(id)
    return None


def register(conn: Conn, embedder: Embedder) -> int:
    """Its number; a model that answers otherwise under the same name becomes a version of its own."""
    id = known(conn, embedder)
    if id is None:
        (n,) = conn.execute(
            "SELECT count(*) FROM embedders WHERE name = ? AND (version = ? OR version LIKE ?)",
            (embedder.name, embedder.version, f"{embedder.version}~%"),
        ).fetchone()
        version = embedder.version if n == 0 else f"{embedder.version}~{n + 1}"
        probe = embedder.probe()
        id = conn.execute(
            "INSERT INTO embedders(name, version, dimensions, probe) VALUES(?,?,?,?) RETURNING id",
            (embedder.name, version, len(probe), probe.tobytes()),
        ).fetchone()[0]
    return int(id)


def missing(
    conn: Conn, embedder: int, scopes: Sequence[int], limit: int = FOREVER, after: int = 0,
    before: int = FOREVER,
) -> list[int]:  # fmt: skip
    """Rows between `after` and `before` without a vector of this embedder, newest first."""
    marks = ",".join(map(str, scopes)) or "NULL"
    return [
        row
        for (row,) in conn.execute(
            f"SELECT row FROM items WHERE scope IN ({marks}) AND row > ? AND row < ?"
            " AND NOT EXISTS (SELECT 1 FROM vectors v WHERE v.embedder = ? AND v.row = items.row)"
            " ORDER BY row DESC LIMIT ?",
            (after, before, embedder, limit),
        )
    ]


def embed_batch(read: Conn, embedder: Embedder, rows: Sequence[int]) -> list[tuple[int, bytes]]:
    """Vectors of some items, computed outside of any transaction: row and bytes of `[P, D]`."""
    items = load_items(read, rows)
    texts, owner = [], []
    for row, item in items.items():
        for passage in embedder.passages(item) or [item.content]:
            texts.append(passage[:20_000])
            owner.append(row)
    if not texts:
        return []
    vectors, of = embedder(texts), np.array(owner)
    return [(row, vectors[of == row].tobytes()) for row in items]


def best(rows: np.ndarray, scores: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Each row once with its highest score, the n highest, best first."""
    order = np.lexsort((rows, -scores))
    _, first = np.unique(rows[order], return_index=True)
    keep_ = order[np.sort(first)][:n]
    return rows[keep_], scores[keep_]
