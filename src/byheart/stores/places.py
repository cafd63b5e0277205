"""A memory's place, and which store it means."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from byheart.stores._postgres_address import is_address
from byheart.stores._store import Store
from byheart.stores.postgres import PostgresStore
from byheart.stores.sqlite import SqliteStore

__all__ = ["is_address", "open_store"]


def open_store(place: str | Path | Store, scope: Any = None, **options: Any) -> Store:
    """A `PostgresStore` where the place is ``postgresql://...``, else a `SqliteStore` of that file.

    Args:
        place: An address or a path; or a store, of whose place another handle is opened.
        scope: Whose memory.
        options: As both stores have them: `embedder`, `actor`, `clock`, `timeout`, `create`,
            `background`.
    """
    if isinstance(place, Store):
        return place.again(scope, **options)
    if is_address(place):
        return PostgresStore(str(place), scope, **options)
    return SqliteStore(place, scope, **options)
