"""The tables that every SQL store has: the log (the truth) and what is derived from it.

==========  =====================================================================================
events      the log; append-only by trigger, each entry hashed with the hash before it
payloads    what entries say, apart from them: `erase` deletes here and the chain still verifies,
            because an entry holds only SHA-256(salt, body) and the salt goes with the body
----------  --------------------------------------------------------------- derived from here on
scopes      tenant, user, agent, session -> a number
items       one row an item; `row` is the entry that wrote it
spans       when an item was valid, and between which recorded times the store thought so
==========  =====================================================================================

Times are microseconds since 1970 in UTC. The statements are SQLite's; `_postgres_schema` derives
PostgreSQL's from them. Statements elsewhere are written in what both speak.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

__all__ = [
    "CATALOGUE",
    "DERIVED",
    "DERIVED_TABLES",
    "FOREVER",
    "KEEP",
    "LOG",
    "NEVER",
    "SCHEMA",
    "from_micros",
    "to_micros",
]

SCHEMA = 1
FOREVER = 2**62
NEVER = -(2**62)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

LOG = """
CREATE TABLE IF NOT EXISTS meta(key TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS events(
  seq INTEGER PRIMARY KEY, at INTEGER NOT NULL, scope INTEGER NOT NULL, kind TEXT NOT NULL,
  subject TEXT NOT NULL, actor TEXT NOT NULL, data TEXT NOT NULL, payload BLOB,
  hash BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS events_scope ON events(scope, seq);
CREATE INDEX IF NOT EXISTS events_subject ON events(subject, seq);
CREATE TABLE IF NOT EXISTS payloads(
  seq INTEGER PRIMARY KEY REFERENCES events(seq), salt BLOB NOT NULL, body BLOB NOT NULL);
"""

KEEP = """
CREATE TRIGGER IF NOT EXISTS events_keep BEFORE DELETE ON events
  BEGIN SELECT RAISE(ABORT, 'the log is append-only'); END;
CREATE TRIGGER IF NOT EXISTS events_stay BEFORE UPDATE ON events
  BEGIN SELECT RAISE(ABORT, 'the log is append-only'); END;
CREATE TRIGGER IF NOT EXISTS payloads_stay BEFORE UPDATE ON payloads
  BEGIN SELECT RAISE(ABORT, 'the log is append-only'); END;
"""
"""Triggers of SQLite that let nothing be taken out of the log."""

DERIVED = """
CREATE TABLE IF NOT EXISTS scopes(
  id INTEGER PRIMARY KEY, tenant TEXT NOT NULL, "user" TEXT NOT NULL, agent TEXT NOT NULL,
  session TEXT NOT NULL, UNIQUE(tenant, "user", agent, session));
CREATE TABLE IF NOT EXISTS items(
  row INTEGER PRIMARY KEY, id TEXT NOT NULL, scope INTEGER NOT NULL REFERENCES scopes(id),
  kind TEXT NOT NULL, state TEXT NOT NULL, root TEXT NOT NULL, supersedes TEXT, digest TEXT,
  source TEXT, thread TEXT, expires INTEGER, touched INTEGER NOT NULL, uses INTEGER NOT NULL,
  UNIQUE(scope, id));
CREATE INDEX IF NOT EXISTS items_scope ON items(scope, row);
CREATE INDEX IF NOT EXISTS items_root ON items(root);
CREATE INDEX IF NOT EXISTS items_thread ON items(scope, thread, row) WHERE thread IS NOT NULL;
CREATE INDEX IF NOT EXISTS items_expires ON items(scope, expires) WHERE expires IS NOT NULL;
CREATE TABLE IF NOT EXISTS spans(
  row INTEGER NOT NULL REFERENCES items(row), known_from INTEGER NOT NULL,
  valid_from INTEGER NOT NULL, valid_to INTEGER NOT NULL, known_to INTEGER NOT NULL,
  origin INTEGER NOT NULL,
  PRIMARY KEY(row, known_from, valid_from)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS parents(
  parent TEXT NOT NULL, row INTEGER NOT NULL REFERENCES items(row), PRIMARY KEY(parent, row))
  WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS links(
  scope INTEGER NOT NULL, a TEXT NOT NULL, b TEXT NOT NULL, label TEXT NOT NULL,
  weight REAL NOT NULL, seq INTEGER NOT NULL, PRIMARY KEY(scope, a, b, label)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS cubes(
  id TEXT PRIMARY KEY, scope INTEGER NOT NULL REFERENCES scopes(id), name TEXT NOT NULL,
  owner TEXT NOT NULL, state TEXT NOT NULL, expires INTEGER, access TEXT NOT NULL,
  UNIQUE(scope, name)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS versions(
  cube TEXT NOT NULL, number INTEGER NOT NULL, branch TEXT NOT NULL, parent INTEGER,
  merged INTEGER, seq INTEGER NOT NULL, PRIMARY KEY(cube, number)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS members(
  cube TEXT NOT NULL, branch TEXT NOT NULL, root TEXT NOT NULL, item TEXT NOT NULL,
  PRIMARY KEY(cube, branch, root)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS members_item ON members(item);
"""

CATALOGUE = """
CREATE TABLE IF NOT EXISTS embedders(
  id INTEGER PRIMARY KEY, name TEXT NOT NULL, version TEXT NOT NULL, dimensions INTEGER NOT NULL,
  probe BLOB NOT NULL, UNIQUE(name, version));
"""
"""Whose vectors there are; the indexes themselves differ."""

DERIVED_TABLES = (
    "members", "versions", "cubes", "links", "parents", "spans", "items", "scopes",
)  # fmt: skip


def to_micros(at: datetime) -> int:
    """Microseconds since 1970; exact, where a float of seconds would not be."""
    return (at - _EPOCH) // timedelta(microseconds=1)


def from_micros(at: int | None) -> datetime | None:
    """Back from `to_micros`; the ends of time are None."""
    if at is None or at <= NEVER or at >= FOREVER:
        return None
    return _EPOCH + timedelta(microseconds=at)
