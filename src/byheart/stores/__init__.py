"""Where items lie: SQLite, one file; PostgreSQL, for more machines; Markdown files, for exchange."""

from byheart.stores.files import FileStore
from byheart.stores.places import open_store
from byheart.stores.postgres import PostgresStore
from byheart.stores.sqlite import SqliteStore

__all__ = ["FileStore", "PostgresStore", "SqliteStore", "open_store"]
