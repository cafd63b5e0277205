"""`SqliteStore`: a memory in one SQLite file, whose append-only log is the truth."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from byheart.core.item import Scope
from byheart.core.memory import Problem
from byheart.stores import _sqlite_erase
from byheart.stores._embedder import Embedder
from byheart.stores._sqlite_check import place_problems
from byheart.stores._sqlite_vectors import VectorIndex
from byheart.stores._sqlite_words import WordIndex
from byheart.stores._sqlite_writer import SqliteConnections
from byheart.stores._store import Store

__all__ = ["SqliteStore"]


class SqliteStore(Store):
    """A memory in one file: log, items, keyword index and vectors.

    A write is on disk when it returns, or it raised. The scope is the handle's: no argument of any
    method reaches another. Use it from several threads and processes at once.

    Args:
        path: The file; made if it is not there.
        scope: Whose memory; see `byheart.core.item.Scope`.
        embedder: For search by meaning beside words.
        actor: Who calls: named in the log, and asked for by a cube's access rules.
        clock: Seconds since 1970; tests give their own.
        timeout: Seconds to wait for other processes.
        create: False raises where there is no file.
        background: Embed many outstanding items in a thread rather than before the next query.

    Raises:
        CorruptStore: The file is damaged, no memory, or of a later version.
        OutputError: It cannot be made or written.

    >>> import tempfile
    >>> from byheart.core.item import Item
    >>> with SqliteStore(Path(tempfile.mkdtemp()) / "home.db", "acme/ana") as store:
    ...     receipt = store.write([Item("Ana is allergic to penicillin.", source="chat:12")])
    ...     [hit.item.source for hit in store.recall("allergies to penicillin?", k=1)]
    ['chat:12']
    """

    def __init__(
        self,
        path: str | Path,
        scope: Scope | str | Mapping[str, str] | None = None,
        *,
        embedder: Embedder | None = None,
        actor: str = "local",
        clock: Callable[[], float] | None = None,
        timeout: float = 60.0,
        create: bool = True,
        background: bool = True,
    ) -> None:
        self.path = Path(path)
        super().__init__(
            str(path), scope, lambda: SqliteConnections(self.path, timeout=timeout, create=create),
            embedder=embedder, actor=actor, clock=clock, timeout=timeout, background=background,
        )  # fmt: skip
        self._words, self._vectors = WordIndex(), VectorIndex(self)
        self._finish_erasure()

    def again(self, scope: Any = None, **options: Any) -> SqliteStore:
        """Another handle on the same file; scope and options as for the first."""
        return SqliteStore(self.path, self.scope if scope is None else scope, **options)

    _beyond = _sqlite_erase.BEYOND

    def _scrub(self, reached: dict[str, int], vacuum: bool, *, wait: bool = True) -> list[str]:
        reached.update(_sqlite_erase.drop_graphs(self))
        return _sqlite_erase.scrub(self, reached, vacuum)

    def _place_problems(self, conn: Any) -> Iterator[Problem]:
        return place_problems(self, conn)

    def embed(self) -> int:
        """Embed now what has no vector yet, and take many into the graph; returns how many items.

        Raises:
            ModelError: The embedder failed; what was embedded before is kept.
        """
        done = super().embed()
        self._vectors.settle()
        return done
