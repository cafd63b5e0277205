"""After an erasure: free pages, the write-ahead log and kept graphs of the file."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from byheart.stores.sqlite import SqliteStore

__all__ = ["BEYOND", "drop_graphs", "scrub"]

BEYOND = (
    "backups and copies of the file that were made elsewhere",
    "file-system journals and the spare blocks of solid-state disks",
    "the log keeps ids, times, kinds and callers, so that it still verifies",
)


def drop_graphs(store: SqliteStore) -> dict[str, int]:
    """Vector graphs beside the file are made anew without the erased."""
    n = 0
    for path in store.path.parent.glob(f"{store.path.name}.hnsw-*"):
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
            n += 1
    return {"vector graph files": n}


def scrub(store: SqliteStore, reached: dict[str, int], vacuum: bool = True) -> list[str]:
    """Free pages and the write-ahead log; what another process keeps from it is said.

    Until it is done the file says so, and the next to open it goes on.
    """
    left = _pages(store, reached, vacuum)
    if not left:
        store._c.write(lambda c: c.execute("DELETE FROM meta WHERE key = 'scrub'") and None)
    return left


def _pages(store: SqliteStore, reached: dict[str, int], vacuum: bool) -> list[str]:
    with store._c.alone() as conn:
        begin = conn.execute("PRAGMA freelist_count").fetchone()[0]
        if vacuum:
            store._c.retry(lambda: conn.execute("VACUUM"))
        reached["free pages"] = begin
        until = time.monotonic() + min(store._c.timeout, 10.0)
        while True:
            busy, _, _ = conn.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            if not busy:
                reached["write-ahead log"] = 1
                return []
            if time.monotonic() > until:
                return [
                    f"{store.path.name}-wal, which another process is reading; erase again, or "
                    "close that process"
                ]
            time.sleep(0.02)
