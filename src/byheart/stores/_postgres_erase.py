"""After an erasure: dead rows are taken off the server's disk, and what is left is said."""

from __future__ import annotations

from typing import TYPE_CHECKING

from byheart.core.errors import StoreBusy, StoreError
from byheart.stores._postgres_schema import LOCK
from byheart.stores._postgres_vectors import any_index

if TYPE_CHECKING:
    from byheart.stores.postgres import PostgresStore

__all__ = ["BEYOND", "scrub"]

BEYOND = (
    "the server's write-ahead log until its files are written over, archives of it, and replicas "
    "until they have replayed it",
    "base backups, dumps and copies of the database that were made elsewhere",
    "the server's own messages, where it is set to log statements or their values",
    "file-system journals and the spare blocks of solid-state disks",
    "the log keeps ids, times, kinds and callers, so that it still verifies",
)

_TEXT = ("payloads", "items", "links", "parents", "members", "cubes", "words")


def scrub(
    store: PostgresStore, reached: dict[str, int], vacuum: bool = True, *, wait: bool = True
) -> list[str]:
    """VACUUM the tables that held content; until it is done the memory says so.

    Plain VACUUM takes rows out of tables and indexes, but their bytes stay in the free room of a
    page until something is written there; VACUUM FULL writes the tables anew, and everybody waits
    for it. Vectors with an HNSW index are never written anew, because that would build it again.

    One process does it at a time. Without `wait` nothing is done where another is at it.
    """
    try:
        return _vacuum(store, reached, vacuum, wait)
    except StoreError as error:  # what is erased is erased; the memory says what is left to do
        return [f"dead rows of the tables ({error}); the next to open the memory goes on"]


def _vacuum(store: PostgresStore, reached: dict[str, int], vacuum: bool, wait: bool) -> list[str]:
    left: list[str] = []
    with store._c.reading() as reader:
        begun = store._erasure_count(reader)
    conn = store._c.separate()
    try:
        with store._c.told():
            how = "pg_advisory_lock" if wait else "pg_try_advisory_lock"
            (mine,) = conn.execute(
                f"SELECT {how}({LOCK}, -CAST(CAST('events' AS regclass) AS oid)::int)"
            ).fetchone()
            if mine is False:
                return []
            graphs = any_index(conn)
            tables = dict.fromkeys(_TEXT, vacuum) | {"vectors": vacuum and not graphs}
            for table, full in tables.items():
                conn.notices.clear()
                try:
                    with store._c.told():
                        if full:
                            conn.script(f"VACUUM (FULL) {table}")
                        conn.script(f"VACUUM {table}")
                except (StoreBusy, StoreError) as error:
                    left.append(f"dead rows of the table {table} ({error}); erase again")
                    continue
                left += [
                    f"dead rows of the table {table} ({n}); ask its owner to VACUUM it"
                    for n in conn.notices[:1]
                ]
                dead = conn.execute(
                    "SELECT n_dead_tup FROM pg_stat_all_tables WHERE relid ="
                    " CAST(? AS text)::regclass", (table,)
                ).fetchone()  # fmt: skip
                if dead and dead[0]:
                    left.append(
                        f"{dead[0]} dead rows of the table {table}, which an older transaction can "
                        "still see; end it and erase again"
                    )
                reached["tables vacuumed"] = reached.get("tables vacuumed", 0) + 1
    finally:
        conn.close()
    if not left:
        # unless somebody erased more meanwhile, whose rows were not dead yet
        store._c.write(
            lambda c: (
                c.execute(
                    "DELETE FROM meta WHERE key = 'scrub' AND EXISTS (SELECT 1 FROM meta e"
                    " WHERE e.key = 'erasures' AND e.value = ?)",
                    (str(begun),),
                )
                and None
            )
        )
    if not vacuum:
        left.append("free room in the pages of the tables, until it is written over; VACUUM FULL")
    elif graphs:
        left.append(
            "numbers of vectors in the free room of the table `vectors`, until it is written over "
            "(VACUUM FULL vectors does it, and builds the HNSW indexes again)"
        )
    return left
