"""Edit distances against brute-force recursion and the axioms of a metric."""

from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from byheart.audits._edit_distance import edit_distance, edit_distance_plain, edit_distances
from byheart.core.errors import UsageError

short = st.lists(st.integers(0, 3), max_size=7)


def brute(a, b):
    """The definition, by recursion over prefixes."""

    @cache
    def d(i, j):
        if i == 0 or j == 0:
            return i + j
        return min(d(i - 1, j) + 1, d(i, j - 1) + 1, d(i - 1, j - 1) + (a[i - 1] != b[j - 1]))

    return d(len(a), len(b))


@given(short, short)
def test_both_versions_equal_the_recursion(a, b):
    assert edit_distance(a, b) == edit_distance_plain(a, b) == brute(tuple(a), tuple(b))


@given(short, short, short)
@settings(max_examples=60)
def test_it_is_a_metric(a, b, c):
    assert edit_distance(a, a) == 0
    assert (edit_distance(a, b) == 0) == (a == b)
    assert edit_distance(a, b) == edit_distance(b, a)
    assert edit_distance(a, c) <= edit_distance(a, b) + edit_distance(b, c)


def test_a_cutoff_only_blurs_what_lies_above_it():
    a, b = list(range(40)), list(range(20, 60))
    true = edit_distance(a, b)
    assert edit_distance(a, b, cutoff=true) == true
    assert edit_distance(a, b, cutoff=5.7) > 5
    with pytest.raises(UsageError, match="negative"):
        edit_distance(a, b, cutoff=-1)


def test_token_ids_beyond_a_byte_are_told_apart():
    assert edit_distances([70_000, 2], [[70_000, 2], [70_001, 2], []]).tolist() == [0, 1, 2]


def test_tokens_are_compared_by_value_never_by_hash():
    import numpy as np
    import torch

    assert edit_distance([0], [2**61 - 1]) == 1  # both have the hash 0
    assert edit_distance([-1, -2], [-2, -1]) == 2
    ids = [3, 1, 4, 1, 5]
    assert edit_distance(torch.tensor(ids), torch.tensor(ids)) == 0
    assert edit_distance(np.array(ids), ids[1:]) == 1
    assert edit_distance("kitten", "sitting") == 3  # the textbook's example
