"""Metrics of short answers, against closed forms and brute force."""

from __future__ import annotations

import math
import re
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from byheart.core.errors import MissingExtra, UsageError
from byheart.notes import answer_metrics as m

SOME = st.lists(
    st.sampled_from(["the", "cat", "cats", "sat", "running", "ran", "May", "7,", "2023."]), max_size=8
).map(" ".join)  # fmt: skip


def brute_bleu(found: list[str], wanted: list[str], n: int) -> float:
    """Clipped counts, 0.1 in place of zero matches, brevity penalty."""
    logs = []
    for size in range(1, n + 1):
        grams = [tuple(found[i : i + size]) for i in range(len(found) - size + 1)]
        key = Counter(tuple(wanted[i : i + size]) for i in range(len(wanted) - size + 1))
        hits = sum(min(c, key[g]) for g, c in Counter(grams).items())
        if size == 1 and hits == 0:
            return 0.0
        logs.append(math.log((hits or 0.1) / max(len(grams), 1)))
    short = 1.0 if len(found) > len(wanted) else math.exp(1 - len(wanted) / len(found))
    return short * math.exp(sum(logs) / n)


def longest_common(a: list[str], b: list[str]) -> int:
    table = np.zeros((len(a) + 1, len(b) + 1), dtype=int)
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            table[i + 1, j + 1] = (
                table[i, j] + 1 if x == y else max(table[i, j + 1], table[i + 1, j])
            )
    return int(table[-1, -1])


@settings(deadline=None, max_examples=60)
@given(SOME, SOME, st.integers(1, 4))
def test_bleu_is_clipped_precision_smoothed_with_a_brevity_penalty(found, wanted, n):
    a, b = (m._tokens(t) for t in (found, wanted))
    expected = brute_bleu(a, b, n) if a and b else 0.0
    assert m.bleu(found, wanted, n) == pytest.approx(expected)


@settings(deadline=None, max_examples=60)
@given(SOME, SOME)
def test_rouge_l_is_the_longest_common_subsequence_of_stems(found, wanted):
    stems = {"cats": "cat", "running": "run"}
    a, b = ([stems.get(w, w) for w in re.findall(r"[a-z0-9]+", t.lower())] for t in (found, wanted))
    both = longest_common(a, b)
    expected = 2 * both / (len(a) + len(b)) if both else 0.0
    assert m.rouge(found, wanted) == pytest.approx(expected)


@settings(deadline=None, max_examples=60)
@given(SOME, SOME)
def test_f1_is_over_sets(found, wanted):
    a, b = ({w for w in re.split(r"[\s.,!?]+", t.lower()) if w} for t in (found, wanted))
    precision = len(a & b) / len(a) if a else 0.0
    recall = len(a & b) / len(b) if b else 0.0
    expected = 2 * precision * recall / (precision + recall) if precision else 0.0
    assert m.token_f1(found, wanted) == pytest.approx(expected)


def test_meteor_in_closed_form():
    # 3 of 3 words in one chunk: F = 1, penalty 0.5 * (1/3)^3
    assert m.meteor("the cat sat", "the cat sat") == pytest.approx(1 - 0.5 / 27)
    assert m.meteor("dogs", "cats") == 0.0
    assert m.meteor("running", "run") == pytest.approx(0.5), "stems match; no synonyms do"


def test_perfect_empty_and_unlike_answers():
    perfect = m.scores("on 7 may 2023", "on 7 may 2023")
    assert {k for k, v in perfect.items() if v == pytest.approx(1.0)} == set(perfect) - {"METEOR"}
    for pair in (("", "key"), ("answer", ""), ("", ""), (" ", " ")):
        assert set(m.scores(*pair).values()) == {0.0}
        assert m.similarity(*pair, lambda t: np.ones((len(t), 2))) == 0.0
    assert set(m.scores("dog", "cat").values()) == {0.0}


def test_similarity_is_a_cosine():
    vectors = {"a": [3.0, 0.0], "b": [1.0, 1.0], "0": [0.0, 0.0]}
    encode = lambda texts: np.array([vectors[t] for t in texts])  # noqa: E731
    assert m.similarity("a", "b", encode) == pytest.approx(math.sqrt(0.5))
    assert m.similarity("a", "0", encode) == 0.0


def test_what_cannot_be_is_said(monkeypatch):
    with pytest.raises(UsageError, match="n must be"):
        m.bleu("a", "b", 5)
    with pytest.raises(UsageError, match="kind must be"):
        m.rouge("a", "b", "rouge7")

    def gone(name):
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(m.importlib, "import_module", gone)
    with pytest.raises(MissingExtra, match="pip install nltk"):
        m.bleu("a", "b")
