"""The case of cdd-ted, made tiny: it runs whole, judges, draws, and can say no."""

import json

import numpy as np
import pytest

from byheart.core.errors import UsageError
from byheart.papers import cdd_ted


def test_a_tiny_run_ends_in_a_verdict_with_figure_and_result(tmp_path, monkeypatch):
    monkeypatch.setattr(cdd_ted, "_EPOCHS", (1, 2))
    monkeypatch.setattr(cdd_ted, "_REPEATS", (0, 1))
    monkeypatch.setattr(
        cdd_ted, "_MIXED", {("full", "original"): (0, 2), ("lora", "variant"): (1,)}
    )
    monkeypatch.setattr(cdd_ted, "_MIXED_EPOCHS", 1)
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
    assert {f.name for f in result.findings} == {"cdd-ted/peak x0", "cdd-ted/peak +2"}
    for row in ("full original r=0", "full original r=2", "lora variant r=1"):
        assert any(
            n.startswith(f"{row}: ") and "F1" in n and "after TED" in n for n in result.notes
        )


def test_a_variant_keeps_the_classes_and_changes_one_word_in_six():
    rng = np.random.default_rng(0)
    (document,) = cdd_ted._documents(1, rng, rng.integers(0, 12, (12, 2)))
    other = cdd_ted._variant(document, rng)
    assert sum(a != b for a, b in zip(document, other, strict=True)) == 8
    assert [(t - 2) // 56 for t in document] == [(t - 2) // 56 for t in other]
    assert cdd_ted._passes(document, other)
    assert not cdd_ted._passes(document, [2] * 48)


def test_the_report_on_mixed_training_is_the_mean_over_seeds():
    from byheart.audits.output_distribution import TedTask

    g, far = [9] * 8, [5] * 8

    def point(condition, samples, passed):
        nothing = dict.fromkeys(
            ("verbatim", "auc_perplexity", "auc_min_k", "auc_cdd", "accuracy", "f1", "peak_leaked",
             "peak_unseen", "score_leaked", "score_ted"), 0.0,
        )  # fmt: skip
        return cdd_ted._Point(
            condition, **nothing, peaks=((), ()), tasks=(TedTask(g, samples, passed),)
        )

    clean = point("x0", [far, [6] * 8], [False, False])
    full = point("full original r=5", [g, far], [True, False])
    half = point("full original r=5", [[7] * 8, far], [True, False])
    row = cdd_ted._mixed([[clean, full], [clean, half]])["full original", 5]
    assert row.tolist() == pytest.approx([0.5, 0.25, 0.0, 0.0, 0.5])


def test_the_grammar_has_the_entropy_it_says():
    rng = np.random.default_rng(0)
    table = rng.integers(0, 12, (12, 2))
    tokens = np.concatenate(cdd_ted._documents(400, rng, table)) - 2
    within = tokens % cdd_ted._WORDS
    share = np.bincount(within, minlength=cdd_ted._WORDS) / len(within)
    assert -(share * np.log(share)).sum() == pytest.approx(np.log(cdd_ted._WORDS), abs=0.02)


def test_the_figure_of_the_large_case_draws_every_detector(tmp_path):
    from byheart.papers import _cdd_full

    cells = [(m, e) for m in ("full", "lora") for e in _cdd_full._GRID]
    areas = {(m, e, k): 0.7 for m, e in cells for k in ("perplexity", "min-k", "peak")}
    path = _cdd_full._figure(areas, dict.fromkeys(cells, 0.1), tmp_path / "figure.svg")
    drawn = path.read_text()
    assert all(c in drawn for c in ("#24445c", "#6b8fa8", "#b5541c", "#8a8a8a"))


def test_nonsense_is_refused():
    with pytest.raises(UsageError):
        cdd_ted.run(seeds=0)
    with pytest.raises(UsageError):
        cdd_ted.run(corpus=2)
