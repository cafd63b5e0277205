"""Traces from files, the cache that programs use, learned bits, and `byheart page`."""

from __future__ import annotations

import gzip
import json
import struct
import threading

import numpy as np
import pytest

from byheart.core.errors import DataError, UnknownName, UsageError
from byheart.states._paging import traces
from byheart.states._paging.learn import features
from byheart.states.paging import (
    POLICIES,
    Combine,
    Marker,
    PagedCache,
    Random,
    TrustAndDoubt,
    learned_bits,
    read_trace,
    simulate,
)

IDS = [2**63 + 5, 7, 7, 2**63 + 5, 9, 7]


def records(ids):
    return b"".join(struct.pack("<IQIq", t, i, 1, -1) for t, i in enumerate(ids))


@pytest.mark.parametrize("memory", [10**9, 2])
def test_all_formats_say_the_same(tmp_path, monkeypatch, memory):
    monkeypatch.setattr(traces, "MEMORY", memory)
    monkeypatch.setattr(traces, "PIECE", 2)
    (tmp_path / "t.oracleGeneral.bin").write_bytes(records(IDS))
    (tmp_path / "t.oracleGeneral.bin.gz").write_bytes(gzip.compress(records(IDS)))
    text = "".join(f"{i}\n" for i in IDS)
    (tmp_path / "t.txt").write_text(text)
    (tmp_path / "t.txt.gz").write_bytes(gzip.compress(text.encode()))
    (tmp_path / "one.csv").write_text(text)
    (tmp_path / "t.csv").write_text("time,obj_id,size\n" + "".join(f"1,{i},2\n" for i in IDS))
    (tmp_path / "bom.csv").write_text("\ufeffwhat,when\r\n" + "".join(f"{i},3\r\n" for i in IDS))
    (tmp_path / "t.tsv").write_text("".join(f"1\t{i}\n" for i in IDS))
    wanted = [2, 0, 0, 2, 1, 0]
    for name, column in (
        ("t.oracleGeneral.bin", None), ("t.oracleGeneral.bin.gz", None), ("t.csv", None),
        ("one.csv", None), ("bom.csv", "what"), ("t.tsv", "1"), ("t.txt", None), ("t.txt.gz", None),
    ):  # fmt: skip
        trace = read_trace(tmp_path / name, column=column)
        assert sorted(set(trace.names[trace.pages].tolist())) == list(trace.names), name
        assert [int(n) for n in trace.names[trace.pages]] == IDS, name
        if "bin" in name:
            assert trace.pages.tolist() == wanted
        assert simulate("lru", trace, 2).faults == simulate("lru", IDS, 2).faults


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.txt", b"", "is empty"),
        ("a.txt", b"\n\n", "is empty"),
        ("a.txt", b"ok\n\xff\xfe\n", "line 1: not UTF-8|line 2: not UTF-8"),
        ("a.bin", records([1, 2])[:-3], "record 2: cut off after 21 of 24"),
        ("a.csv", b"a,b\n1,2\n", "say which one holds the page"),
        ("a.csv", b"id,b\n1,2\n\n,3\n", "line 4: no column 0"),
        ("a.csv", b"b,id\n1,2\n3\n", "line 3: no column 1"),
        ("a.txt.gz", b"no gzip", "cannot be read"),
    ],
)
def test_broken_files_are_named_with_the_line(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=said):
        read_trace(tmp_path / name)


def test_other_wishes_that_cannot_be_met(tmp_path):
    (tmp_path / "a.csv").write_text("x,y\n1,2\n")
    with pytest.raises(DataError, match="does not exist"):
        read_trace(tmp_path / "no.txt")
    with pytest.raises(UnknownName, match="did you mean 'csv'"):
        read_trace(tmp_path / "a.csv", "csvv")
    with pytest.raises(UnknownName, match="column"):
        read_trace(tmp_path / "a.csv", column="z")
    with pytest.raises(DataError, match="no column 5"):
        read_trace(tmp_path / "a.csv", column=5)


@pytest.mark.parametrize("name", sorted(POLICIES))
def test_a_cache_keeps_to_its_bytes_whatever_the_policy(name):
    rng = np.random.default_rng(4)
    gone = []
    hint = {"": None, "next": lambda key: float(key)}.get(POLICIES[name].hint, lambda key: key % 2)
    cache = PagedCache(
        1000, name, hint=hint, seed=1, size=len, evicted=lambda k, v: gone.append((k, len(v)))
    )
    held = {}
    for key in rng.integers(0, 40, 3000).tolist():
        before = len(gone)
        value = cache.get(key)
        assert (value is not None) == (key in held)
        if value is None:
            value = b"x" * (20 + 7 * key)
            assert cache.put(key, value)
            held[key] = len(value)
        for k, n in gone[before:]:
            assert held.pop(k) == n
        assert set(cache) == set(held)
        assert cache.stats.bytes == sum(held.values()) <= 1000
    assert cache.stats.evictions == len(gone) > 100
    assert cache.stats.hits + cache.stats.misses == 3000
    some = next(iter(cache))
    assert cache.drop(some)
    assert some not in cache
    assert not cache.drop(some)
    assert not cache.put("large", b"x" * 1001)
    assert cache.put(some, b"y")
    assert cache.put(some, b"yy")
    assert cache.get(some) == b"yy"


def test_lru_in_bytes_by_hand():
    cache = PagedCache(10)
    for key, size in (("a", 4), ("b", 4), ("c", 2)):
        cache.put(key, b"x" * size)
    cache.get("a")
    cache.put("d", b"x" * 3)
    assert list(cache) == ["a", "c", "d"]
    cache.put("e", np.zeros(1, np.int64))
    assert list(cache) == ["e"]


def test_many_threads_at_one_cache():
    cache, wrong = PagedCache(5000, "marker", size=len), []

    def work(seed):
        for key in np.random.default_rng(seed).integers(0, 99, 3000).tolist():
            value = cache.get(key)
            if value is None:
                cache.put(key, bytes([key]) * 100)
            elif value != bytes([key]) * 100:
                wrong.append(key)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(6)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert not wrong
    assert len(cache) == 50
    assert cache.stats.bytes == 5000
    assert cache.stats.hits + cache.stats.misses == 18000


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: PagedCache(0), "above 0"),
        (lambda: PagedCache(10, "lri"), "did you mean 'lru'"),
        (lambda: PagedCache(10, "mark0"), "give hint="),
        (lambda: PagedCache(10, TrustAndDoubt(4), hint=float), "for a request only"),
        (lambda: PagedCache(10, Combine([Marker(2), Random(2)])), "for a request only"),
        (lambda: PagedCache(10, size=lambda v: -1).put(1, 1), "whole number of bytes"),
    ],
)
def test_a_cache_that_cannot_be_is_refused(make, said):
    with pytest.raises(UsageError, match=said):
        make()


def test_features_by_hand():
    found = features(list("abaa"))
    never = np.log1p(2.0 * 4)
    assert found.shape == (4, 20)
    assert found[0, :10] == pytest.approx([never] * 10)
    assert found[2, :2] == pytest.approx([np.log1p(2), never])
    assert found[3, :3] == pytest.approx([np.log1p(1), np.log1p(2), never])
    assert found[2, 10] == pytest.approx(1 + 0.5 ** (2 / 2))
    assert found[3, 11] == pytest.approx(1 + (1 + 0.5 ** (2 / 4)) * 0.5 ** (1 / 4))


def mixture(n=40_000, seed=0):
    """Pages by Zipf's law, and a scan between them."""
    share = 1 / np.arange(1, 2001)
    drawn = np.random.default_rng(seed).choice(2000, n, p=share / share.sum())
    out, at = [], 2000
    for begin in range(0, n, 400):
        out += [drawn[begin : begin + 400], at + np.arange(100)]
        at = at + 100 if at < 6000 else 2000
    return np.concatenate(out)


def test_learned_bits_recover_a_third_of_the_gap_to_the_optimum():
    trace = mixture()
    bits, begin = learned_bits(trace, 200)
    rest = trace[begin:]
    lru, best = (simulate(p, rest, 200).faults for p in ("lru", "belady"))
    learned = simulate("mark0", rest, 200, bits=bits).faults
    assert best < learned < lru - (lru - best) / 3
    mixed = np.random.default_rng(0).permutation(bits)  # the control: as many, anywhere
    assert simulate("mark0", rest, 200, bits=mixed).faults > lru
    with pytest.raises(UsageError, match="every discard bit is 0"):
        learned_bits([1, 2] * 50, 5)
    with pytest.raises(UsageError, match="train is a share"):
        learned_bits([1, 2] * 50, 1, train=1.0)


def test_the_verb(cli, tmp_path):
    (tmp_path / "t.txt").write_text("\n".join(map(str, mixture(4000))))
    out = tmp_path / "out"
    code, text, err = cli(
        "page", tmp_path / "t.txt", "--sizes", "20,5%", "--policies",
        "belady,mark0,mark0-eager,mark-and-predict,lru,lmarker,combine,trust-and-doubt",
        "--predict", "flip:0.1", "--times", "noise:5", "--json", "--out", out,
    )  # fmt: skip
    assert code == 0, err
    told = json.loads(text)
    assert told == json.loads((out / "results.json").read_text())
    assert "miss ratio" in (out / "curves.svg").read_text()
    faults = {(r["policy"], r["k"]): r["faults"] for r in told["results"]}
    small, large = sorted({k for _, k in faults})
    assert small == 20
    assert all(faults["belady", k] <= min(f for (_, j), f in faults.items() if j == k) for k in (small, large))  # fmt: skip
    code, text, err = cli("page", tmp_path / "t.txt", "--sizes", "100", "--policies", "lru,mark0", "--predict", "learned:0.5")  # fmt: skip
    assert code == 0, err
    assert "mark0" in text
    for options, said in (
        (("--sizes", "0"), "at least 1 page"),
        (("--sizes", "x%"), "a share such as 5%"),
        (("--policies", "lri"), "did you mean 'lru'"),
        (("--predict", "flip:x"), "needs a number"),
        (("--predict", "guess"), "predict is true"),
        (("--times", "soon"), "times is true"),
    ):
        code, _, err = cli("page", tmp_path / "t.txt", *options)
        assert code == 2
        assert said in err
