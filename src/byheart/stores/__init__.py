"""Where items lie: SQLite, embedded, one file."""

from byheart.stores.sqlite import SqliteStore

__all__ = ["SqliteStore"]
