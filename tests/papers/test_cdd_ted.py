"""The case of cdd-ted, made tiny: it runs whole, judges, draws, and can say no."""

import json

import numpy as np
import pytest

from byheart.core.errors import UsageError
from byheart.papers import cdd_ted


def test_a_tiny_run_ends_in_a_verdict_with_figure_and_result(tmp_path, monkeypatch):
    monkeypatch.setattr(cdd_ted, "_EPOCHS", (1, 2))
    monkeypatch.setattr(cdd_ted, "_REPEATS", (1,))
    told = []
    result = cdd_ted.run(
        seeds=1, corpus=64, leaked=4, samples=3, out=tmp_path, progress=lambda w, s: told.append(s)
    )
    # so little training leaves nothing verbatim: the claim must not come out as reproduced
    assert result.verdict == "not reproduced"
    assert [c.passed for c in result.checks][1] is False
    assert (tmp_path / "cdd-ted.svg").read_text().startswith("<?xml")
    saved = json.loads((tmp_path / "result.json").read_text())
    assert saved["verdict"] == result.verdict
    assert told == sorted(told)
    assert {f.name for f in result.findings} == {"cdd-ted/peak x1", "cdd-ted/peak +2"}


def test_the_grammar_has_the_entropy_it_says():
    rng = np.random.default_rng(0)
    table = rng.integers(0, 12, (12, 2))
    tokens = np.concatenate(cdd_ted._documents(400, rng, table)) - 2
    within = tokens % cdd_ted._WORDS
    share = np.bincount(within, minlength=cdd_ted._WORDS) / len(within)
    assert -(share * np.log(share)).sum() == pytest.approx(np.log(cdd_ted._WORDS), abs=0.02)


def test_nonsense_is_refused():
    with pytest.raises(UsageError):
        cdd_ted.run(seeds=0)
    with pytest.raises(UsageError):
        cdd_ted.run(corpus=2)
