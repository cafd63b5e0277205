"""Indexing and embedding what was written since: before a query, at once, or in the background."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from byheart.stores._embedder import embed_batch, missing
from byheart.stores._schema import FOREVER

if TYPE_CHECKING:
    from byheart.stores._store import Store

__all__ = ["EMBED_NOW", "catch_up", "embed"]

EMBED_NOW = 256
"""So many items without a vector are embedded before a query is answered; more, in the background."""


def catch_up(store: Store) -> None:
    """Index what was written since the last query: words always, vectors if they are few."""
    while True:
        with store._c.reading() as conn:
            scopes = store._scope_ids(conn)
            behind = store._words.outstanding(conn, scopes)
        if not behind:
            break
        store._c.write(lambda c: store._words.index(c, store._scope_ids(c)), durable=False)
    if store.embedder is not None and scopes:
        store._embedder_id()
        if embed(store, limit=EMBED_NOW, all_or_nothing=True) is None:
            start_background(store)


def embed(
    store: Store,
    limit: int = FOREVER,
    *,
    all_or_nothing: bool = False,
    stopped: Callable[[], bool] = bool,
) -> int | None:
    """Embed items that have no vector of this embedder; every batch is kept as it is finished.

    Args:
        store: Whose.
        limit: So many, rounded up to whole batches.
        all_or_nothing: Nothing if there are more than `limit`.
        stopped: Asked before each batch whether to leave off.

    Returns:
        How many; None if there are more than `limit` and `all_or_nothing` is set.
    """
    done, before = 0, FOREVER
    while done < limit and not stopped():
        with store._c.reading() as conn:
            scopes = store._scope_ids(conn)
            id, most = store._embedder_id(), limit + 1 if all_or_nothing else 64
            done_to = store._embedded
            now = store._erasure_count(conn)
            after = done_to[1] if done_to[0] == now else 0
            rows = missing(conn, id, scopes, most, after, before)
            if not rows and before < FOREVER:  # once more for what was written meanwhile
                before = FOREVER
                continue
            if not rows:  # so far all have one: the next query looks only behind this
                marks = ",".join(map(str, scopes)) or "NULL"
                newest = conn.execute(f"SELECT max(row) FROM items WHERE scope IN ({marks})")
                store._embedded = (now, newest.fetchone()[0] or 0)
            if all_or_nothing and not done and len(rows) > limit:
                return None
            if not rows:
                break
            batch = rows[:64]
            before = batch[-1]
        with store._c.reading() as conn:
            assert store.embedder is not None
            made = embed_batch(conn, store.embedder, batch)
        id = store._embedder_id()
        store._c.write(lambda c, made=made, id=id: store._vectors.keep(c, id, made), durable=False)  # type: ignore[misc]
        done += len(batch)
    return done


def start_background(store: Store) -> None:
    """Embed in a thread, if none does; stopping half-way loses nothing but the running batch."""
    if not store.background or (store._thread is not None and store._thread.is_alive()):
        return

    def work() -> None:
        try:
            embed(store, stopped=store._stop.is_set)
        except Exception as error:  # shown by stats() and raised by embed()
            store._background_error = error

    store._thread = threading.Thread(target=work, name="byheart-embed", daemon=True)
    store._thread.start()
