"""Our policies inside libCacheSim: the misses are those of our simulator."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from byheart.core.errors import MissingExtra, UnknownName, UsageError
from byheart.states.paging import discard_bits, libcachesim_plugin, simulate

THERE = importlib.util.find_spec("libcachesim") is not None
needed = pytest.mark.skipif(not THERE, reason="libcachesim is a peer that is installed by hand")


def pages():
    share = 1 / np.arange(1, 201)
    return np.random.default_rng(0).choice(200, 4000, p=share / share.sum())


def misses(cache, trace):
    import libcachesim

    count = 0
    for page in trace.tolist():
        request = libcachesim.Request()
        request.obj_id, request.obj_size = page, 1
        count += not cache.get(request)
    return count


@needed
@pytest.mark.parametrize("name", ["lru", "fifo", "marker", "random"])
@pytest.mark.parametrize("k", [1, 5, 20, 60])
def test_misses_are_ours(name, k):
    trace = pages()
    cache = libcachesim_plugin(name, k, seed=3)
    assert misses(cache, trace) == simulate(name, trace, k=k, seed=3).faults


@needed
@pytest.mark.parametrize("name", ["mark0", "flush"])
def test_hints_reach_the_policy(name):
    trace = pages()
    bits = iter(discard_bits(trace, k=20).tolist())
    found = misses(libcachesim_plugin(name, 20, hint=lambda page: next(bits)), trace)
    assert found <= simulate(name, trace, k=20, bits=discard_bits(trace, k=20)).faults
    assert found < simulate("lru", trace, k=20).faults


@needed
def test_bad_arguments():
    with pytest.raises(UnknownName, match="lru"):
        libcachesim_plugin("lruu", 4)
    with pytest.raises(UsageError, match="k must be"):
        libcachesim_plugin("lru", 0)
    with pytest.raises(UsageError, match="hint="):
        libcachesim_plugin("mark0", 4)


@pytest.mark.skipif(THERE, reason="libcachesim is installed")
def test_without_the_peer_one_line_says_what_to_type():
    with pytest.raises(MissingExtra, match="pip install libcachesim"):
        libcachesim_plugin("lru", 4)
