"""Canaries: drawn anew, alike in every arm, hard to guess."""

from __future__ import annotations

import math
import re
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from byheart.core.errors import UsageError
from byheart.data import canaries as module
from byheart.data.canaries import canaries, canary_material
from byheart.data.texts import units


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10**9), n=st.integers(1, 8), words=st.integers(1, 80))
def test_canaries_are_sentences_of_the_asked_length(seed, n, words):
    drawn = canaries(seed=seed, n=n, words=words)
    assert drawn == canaries(seed=seed, n=n, words=words)
    assert len(set(drawn)) == len(drawn) == n
    for text in drawn:
        assert units(text) >= words
        assert text[0].isupper()
        assert text.endswith(".")
        assert "  " not in text
        assert text.isascii()


def test_other_seeds_share_no_stretch_of_fourteen_words():
    grams: dict[tuple[str, ...], int] = {}
    for seed in range(30):
        for text in canaries(seed=seed, n=24):
            w = text.split()
            for i in range(len(w) - 13):
                assert grams.setdefault(tuple(w[i : i + 14]), seed) == seed


def test_a_canary_is_hard_to_guess():
    """A lower bound: the even draws of the slots alone, the templates known."""
    nats = {n: math.log(len(set(words))) for n, words in module._LISTS.items()}
    assert all(len(set(words)) == len(words) for words in module._LISTS.values())
    nats |= {"town": nats["head"] + nats["tail"], "things": nats["thing"]}
    slots = re.findall(r"\{(\w+)\}", " ".join(module._TEMPLATES))
    words = sum(len(t.split()) for t in module._TEMPLATES)
    assert sum(nats[s.lower()] for s in slots) / words > 1.2


def test_slots_are_filled_evenly():
    drawn = Counter(w for t in canaries(seed=4, n=600) for w in re.findall(r"\w+", t))
    people = [drawn[w] for w in module._LISTS["person"]]
    mean = sum(people) / len(people)
    assert mean > 20
    # a fair draw: the chi-square statistic stays near its degrees of freedom
    chi = sum((x - mean) ** 2 / mean for x in people)
    assert chi < len(people) + 5 * math.sqrt(2 * len(people))


def test_verbs_and_plurals_are_bent_as_english_asks():
    text = " ".join(canaries(seed=2, n=600))
    assert "{" not in text
    assert "}" not in text
    assert "_" not in text
    assert not re.search(
        r"had (not )?ate|who (broken|stolen|shaken|thrown)|gooses|tooths|brushs", text
    )
    assert "had eaten" in text or "had not eaten" in text
    assert "geese" in text
    assert "torches" not in text
    assert "boxes" not in text


def test_material_is_planted_or_held_against_the_same_fresh_twins():
    planted, held, texts = canary_material(seed=1, n=6, words=30)
    assert texts == tuple(p.text for p in planted if p.famous)
    assert [p for p in planted if not p.famous] == [p for p in held if not p.famous]
    assert len({p.text for p in (*planted, *held)}) == 18
    assert sorted(p.pair for p in planted if p.famous) == sorted(
        p.pair for p in held if not p.famous
    )


def test_nothing_to_draw_is_refused():
    with pytest.raises(UsageError, match="at least 1, got 0 and 5"):
        canaries(n=0, words=5)
