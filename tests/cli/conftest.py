"""Verbs of `byheart memory`, run in this process."""

from __future__ import annotations

import io
import sys

import pytest

from byheart.cli import main


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """Run a verb in this process on a file of its own; returns (exit code, stdout, stderr)."""
    monkeypatch.setenv("BYHEART_DB", str(tmp_path / "m.db"))
    for name in ("BYHEART_SCOPE", "BYHEART_ENCODER", "BYHEART_ACTOR"):
        monkeypatch.delenv(name, raising=False)

    def call(*words, stdin=None):
        monkeypatch.setattr(sys, "argv", ["byheart", "memory", *words])
        raw = stdin if isinstance(stdin, bytes) else (stdin or "").encode()
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(raw), encoding="utf-8"))
        try:
            main()
            code = 0
        except SystemExit as stop:
            code = int(stop.code or 0)
        out = capsys.readouterr()
        return code, out.out, out.err

    return call
