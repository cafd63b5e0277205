"""The case of succinct-paging, small; and that its verdict can be the other one."""

from __future__ import annotations

import json

import numpy as np
import pytest

from byheart.core.errors import DataError, UsageError
from byheart.papers import PAPERS, reproduce, succinct_paging


def test_it_reproduces_and_writes_its_figure(tmp_path):
    result = reproduce("succinct-paging", seeds=1, out=tmp_path)
    assert "succinct-paging" in PAPERS
    assert [c.name for c in result.checks if not c.passed] == []
    assert result.verdict == "reproduced"
    assert "share of wrong bits" in (tmp_path / "succinct-paging.svg").read_text()
    assert json.loads((tmp_path / "result.json").read_text())["verdict"] == "reproduced"


def test_bits_that_tell_nothing_are_not_reproduced(monkeypatch):
    def nothing(trace, k):
        return np.zeros(len(trace), np.uint8)

    for name in ("flush", "mark0", "mark0-eager"):
        monkeypatch.setitem(succinct_paging.BITS, name, nothing)
    monkeypatch.setattr(succinct_paging, "discard_bits", nothing)
    result = succinct_paging.run(seeds=1, requests=8000)
    failed = {c.name for c in result.checks if not c.passed}
    assert "right discard bits are optimal" in failed
    assert "a tenth of wrong bits still beats LRU" in failed


def test_sessions_ask_for_their_own_beginning_again():
    blocks = succinct_paging.sessions(5000, np.random.default_rng(0))
    assert len(blocks) >= 5000
    assert len(set(blocks.tolist())) < len(blocks) / 4
    assert set(blocks[:8].tolist()) <= set(range(32))


def test_bad_input(tmp_path):
    with pytest.raises(UsageError, match="seeds"):
        succinct_paging.run(seeds=0)
    with pytest.raises(DataError, match="has no bk"):
        succinct_paging.run(seeds=1, requests=5000, data=tmp_path)
