"""A pytest plugin that opens every memory of a test in PostgreSQL instead of in its file.

    BYHEART_TEST_SERVER=postgresql://... pytest -p on_postgres tests/stores/test_cubes.py

A file's name becomes the schema's. Fixtures close nothing, so connections are closed after each test.
"""

from __future__ import annotations

import hashlib
import os

import pytest

import byheart.memory
import byheart.stores
from byheart.stores import places, sqlite
from byheart.stores.postgres import PostgresStore

opened: list[PostgresStore] = []


class Instead(PostgresStore):
    """A `PostgresStore` under a file's name."""

    def __init__(self, path, *args, **options):
        schema = "f" + hashlib.sha256(str(path).encode()).hexdigest()[:16]
        super().__init__(os.environ["BYHEART_TEST_SERVER"], *args, schema=schema, **options)
        opened.append(self)

    def again(self, scope=None, **options):
        """Another handle on the same place."""
        return PostgresStore(self._c.address, self.scope if scope is None else scope, **options)


def open_store(place, scope=None, **options):
    """As `byheart.stores.open_store`."""
    if isinstance(place, PostgresStore):
        return place.again(scope, **options)
    return Instead(place, scope, **options)


def pytest_configure(config):
    """Only where it is a plugin: to import it changes nothing."""
    sqlite.SqliteStore = byheart.stores.SqliteStore = places.SqliteStore = Instead
    places.open_store = byheart.stores.open_store = byheart.memory.open_store = open_store


@pytest.fixture(autouse=True)
def _closed():
    yield
    while opened:
        opened.pop().close()
