"""What all tests share: no network, one thread a worker, the embedded model loaded once."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


@pytest.fixture(scope="session")
def smollm2():
    """The embedded model."""
    import byheart

    return byheart.load("smollm2")


@pytest.fixture(scope="session")
def postgres():
    """A PostgreSQL server of this test process (`tests/postgres_server.py`)."""
    sys.path.insert(0, str(Path(__file__).parent))
    from postgres_server import Server

    server = Server()
    yield server
    server.end()


@pytest.fixture
def cli(monkeypatch, capsys):
    """Run the command line in this process; returns (exit code, stdout, stderr)."""
    from byheart.cli import main

    def call(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["byheart", *map(str, words)])
        try:
            main()
            code = 0
        except SystemExit as stop:
            code = int(stop.code or 0)
        out = capsys.readouterr()
        return code, out.out, out.err

    return call
