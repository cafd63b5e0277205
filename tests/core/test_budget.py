"""Budgets: what is spent is spent once, never more than there was, whoever spends."""

from __future__ import annotations

import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from byheart.core.budget import Amount, Budget
from byheart.core.errors import BudgetExceeded, ByheartError, UsageError

COSTS = st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), max_size=30)


@given(COSTS, st.integers(0, 300), st.integers(0, 300))
def test_spending_is_all_or_nothing_and_never_over(costs, bytes_limit, tokens_limit):
    budget = Budget(bytes=bytes_limit, tokens=tokens_limit)
    spent = [0, 0]
    for b, t in costs:
        expected = spent[0] + b <= bytes_limit and spent[1] + t <= tokens_limit
        assert budget.fits(bytes=b, tokens=t) == expected
        if expected:
            budget.spend(bytes=b, tokens=t)
            spent = [spent[0] + b, spent[1] + t]
        else:
            with pytest.raises(BudgetExceeded, match="left"):
                budget.spend(bytes=b, tokens=t)
        assert (budget.spent.bytes, budget.spent.tokens) == tuple(spent)
        assert budget.remaining == Amount(bytes_limit - spent[0], tokens_limit - spent[1], None)


@given(COSTS)
def test_no_limit_takes_anything(costs):
    budget = Budget()
    for b, t in costs:
        budget.spend(bytes=b, tokens=t, seconds=b)
    assert budget.remaining == Amount()
    assert budget.spent.bytes == sum(b for b, _ in costs)
    assert not budget.exceeded


def test_threads_share_one_budget():
    budget = Budget(bytes=1000)
    taken = []

    def spend() -> None:
        for _ in range(200):
            try:
                budget.spend(bytes=3)
            except BudgetExceeded:
                continue
            taken.append(3)

    threads = [threading.Thread(target=spend) for _ in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert sum(taken) == budget.spent.bytes == 999


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2GB", Amount(bytes=2_000_000_000)),
        ("512MiB", Amount(bytes=512 * 1024 * 1024)),
        ("512 mib", Amount(bytes=512 * 1024 * 1024)),
        ("1.5 kB", Amount(bytes=1500)),
        ("8m", Amount(seconds=480.0)),
        ("8min", Amount(seconds=480.0)),
        ("250ms", Amount(seconds=0.25)),
        ("1.5h", Amount(seconds=5400.0)),
        ("1e6 tokens", Amount(tokens=1_000_000)),
        ("8k tokens", Amount(tokens=8000)),
        ("2M tok", Amount(tokens=2_000_000)),
        ("1_000 tokens", Amount(tokens=1000)),
        ("1GB, 30s, 5 tokens", Amount(bytes=10**9, tokens=5, seconds=30.0)),
    ],
)
def test_parse(text, expected):
    assert Budget.parse(text).limit == expected


@pytest.mark.parametrize(
    "text", ["", "GB", "2", "-2GB", "2 apples", "8M", "2GB, 3GB", "2GB,", "nan s", "1..2GB"]
)
def test_parse_refuses_with_an_example(text):
    with pytest.raises(UsageError, match="2GB"):
        Budget.parse(text)


@given(st.integers(0, 10**15))
def test_bytes_read_back_exactly(n):
    assert Budget.parse(f"{n}B").limit.bytes == n


@pytest.mark.parametrize("bad", [-1, float("nan"), float("inf"), True])
@pytest.mark.parametrize("kind", ["bytes", "tokens", "seconds"])
def test_refuses_impossible_numbers(kind, bad):
    with pytest.raises(UsageError, match=kind):
        Budget(**{kind: bad})
    with pytest.raises(UsageError, match=kind):
        Budget().spend(**{kind: bad})


def test_fractions_are_rounded_up():
    budget = Budget(bytes=10)
    budget.spend(bytes=2.1)
    assert budget.spent.bytes == 3


def test_context_manager_counts_seconds():
    budget = Budget(seconds=0.02)
    with budget:
        budget.check()
        time.sleep(0.03)
        assert budget.remaining.seconds == 0.0
        assert budget.exceeded
        with pytest.raises(BudgetExceeded, match="time is used up"):
            budget.check()
    spent = budget.spent.seconds
    assert 0.03 <= spent < 1
    time.sleep(0.01)
    assert budget.spent.seconds == spent


def test_nested_blocks_of_one_thread_count_once():
    budget = Budget(seconds=10)
    begun = time.monotonic()
    with budget, budget:
        time.sleep(0.03)
    assert 0.03 <= budget.spent.seconds <= time.monotonic() - begun


def test_error_is_in_the_tree():
    with pytest.raises(ByheartError) as caught:
        Budget(tokens=5).spend(tokens=6)
    assert isinstance(caught.value, RuntimeError)
    assert "6 tokens asked for, 5 left" in str(caught.value)


def test_repr_names_what_is_limited():
    assert repr(Budget(bytes=5)) == "<Budget bytes 0 of 5>"
    assert repr(Budget()) == "<Budget without limit>"
