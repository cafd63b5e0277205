"""Where items lie: SQLite, embedded, one file; or PostgreSQL, for more than one machine."""

from byheart.stores.places import open_store
from byheart.stores.postgres import PostgresStore
from byheart.stores.sqlite import SqliteStore

__all__ = ["PostgresStore", "SqliteStore", "open_store"]
