"""An empty memory on a server."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def store(postgres):
    """A `PostgresStore` that is closed at the end."""
    from byheart.stores import PostgresStore

    with PostgresStore(postgres.place(), "a/ana") as store:
        yield store
