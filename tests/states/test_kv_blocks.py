"""Blocks of keys and values: the same continuations with and without, names, bounds, policies."""

from __future__ import annotations

import collections
import sys
import threading
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
sys.path.insert(0, str(Path(__file__).parent.parent / "core"))

from tiny import make_tiny_llama  # noqa: E402

from byheart.core.errors import OutputError, UsageError  # noqa: E402
from byheart.states.paging import (  # noqa: E402
    POLICIES,
    KVBlockPool,
    PagedCache,
    WaitingQueueBit,
    read_trace,
    simulate,
)


@pytest.fixture(scope="module")
def model():
    return make_tiny_llama(seed=3, context=128)[0]


def prompt(n, seed=0, start=()):
    draw = torch.Generator().manual_seed(seed)
    rest = torch.randint(3, 25, (1, n - len(start)), generator=draw)
    return torch.cat([torch.tensor([list(start)], dtype=torch.long), rest], 1)


def plain(model, ids, new=8):
    return model.generate(
        ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=new, pad_token_id=0,
        eos_token_id=None,
    )  # fmt: skip


SETTINGS = {"do_sample": False, "max_new_tokens": 8, "pad_token_id": 0, "eos_token_id": None}


@pytest.mark.parametrize("block", [1, 4, 7, 16])
def test_continuations_are_those_without_the_pool(model, block):
    """A shared beginning, a growing talk, and the very same prompt again."""
    pool = KVBlockPool(400, "lru", block=block)
    first = prompt(37, 1)
    shared = first[0, :20].tolist()
    talk = pool.generate(model, first, **SETTINGS)
    assert torch.equal(talk, plain(model, first))
    for ids in (
        prompt(41, 2, shared), first, torch.cat([talk, prompt(9, 3)], 1), prompt(20, 0, shared),
        prompt(3, 4), prompt(1, 5),
    ):  # fmt: skip
        assert torch.equal(pool.generate(model, ids, **SETTINGS), plain(model, ids))
    stats = pool.stats
    assert stats.reused >= (20 // block + 36 // block + 44 // block + 19 // block) * block
    assert stats.reused + 6 <= stats.tokens


def test_what_is_loaded_is_what_a_prefill_computes(model):
    pool = KVBlockPool(100, "lru", block=5)
    ids = prompt(23, 1)
    cache = transformers.DynamicCache()
    model(ids, past_key_values=cache)
    assert pool.store(ids, cache) == 4
    assert pool.store(ids, cache) == 0
    loaded, known = pool.load(ids, model)
    assert known == 20
    for mine, other in zip(loaded.layers, cache.layers, strict=True):
        assert torch.equal(mine.keys, other.keys[:, :, :20])
        assert torch.equal(mine.values, other.values[:, :, :20])
    loaded.layers[0].keys.zero_()  # a copy: the pool keeps its own
    again, _ = pool.load(ids, model)
    assert torch.equal(again.layers[0].keys, cache.layers[0].keys[:, :, :20])
    assert pool.load(ids[:, :20])[1] == 15  # one token at least is left to be computed
    assert pool.load(ids[:, :4])[1] == 0


def test_names_tell_every_token_before():
    pool = KVBlockPool(9, block=3)
    one, two = pool.keys([1, 2, 3, 4, 5, 6, 7]), pool.keys([9, 2, 3, 4, 5, 6])
    assert len(one) == 2
    assert not set(one) & set(two)
    assert pool.keys([1, 2, 3, 4, 5, 7])[0] == one[0]
    assert pool.keys([1, 2, 3, 4, 5, 7])[1] != one[1]
    assert KVBlockPool(9, block=3, salt="other").keys([1, 2, 3]) != one[:1]
    assert KVBlockPool(9, block=1).keys([1])[0] != one[0]
    assert pool.keys(torch.tensor([[1, 2, 3]])) == one[:1]


def filled(pool, model, prompts):
    for ids in prompts:
        cache, _ = pool.load(ids, model)
        model(ids[:, cache.get_seq_length() :], past_key_values=cache)
        pool.store(ids, cache)


def workload(n=60, seed=0):
    """Talks that share an opening and come back."""
    import random

    r = random.Random(seed)
    opening = prompt(12, 99)[0].tolist()
    talks = [prompt(12 + 4 * r.randint(1, 6), 100 + i, opening) for i in range(9)]
    return [r.choice(talks) for _ in range(n)]


@pytest.mark.parametrize("policy", sorted(set(POLICIES) - {"blind-oracle", "predictive-marker", "lmarker", "lnonmarker", "trust-and-doubt"}))  # fmt: skip
def test_bounds_hold_and_no_block_is_without_its_beginning(model, policy):
    bit = (lambda key: 0) if POLICIES[policy].hint else None
    pool = KVBlockPool(11, policy, block=4, predictor=bit, seed=2)
    for ids in workload(40):
        filled(pool, model, [ids])
        assert len(pool) <= 11
        assert pool.stats.blocks == len(pool)
        for name in pool._cache:
            parent = pool._parent[name]
            assert parent is None or parent in pool._cache
        assert set(pool._bytes) == set(pool._cache) == set(pool._parent)


def test_bytes_are_counted(model):
    unit = 2 * 2 * 2 * 4 * 8 * 4  # layers, keys and values, heads, block, width, float32
    pool = KVBlockPool(capacity_bytes=5 * unit + 17, block=4)
    filled(pool, model, workload(20))
    assert len(pool) == 5
    assert pool.stats.bytes == 5 * unit
    small = KVBlockPool(capacity_bytes=unit - 1, block=4)
    filled(small, model, workload(3))
    assert len(small) == 0
    assert small.stats.bytes == 0


def test_misses_are_those_of_the_simulator(model):
    """The pool's touches, played again: LRU lets ends go first, so that none goes astray."""
    for k in (9, 11, 20):  # the longest prompt has nine blocks
        pool = KVBlockPool(k, "lru", block=4)
        filled(pool, model, workload(60, seed=k))
        trace = pool.trace()
        assert pool.stats.orphans == 0
        assert simulate("lru", trace, k=k).faults == pool.stats.evictions + len(pool)
        best = simulate("belady", trace, k=k).faults
        assert best <= pool.stats.evictions + len(pool)


def test_who_sees_the_queue_computes_less(model):
    """With the waiting requests in sight more is reused than by recency, at the same bound."""
    reused = {}
    for policy in ("lru", "mark0"):
        queue = collections.deque(ids[0].tolist() for ids in workload(80, seed=5))
        bit = WaitingQueueBit(queue) if policy == "mark0" else None
        pool = KVBlockPool(12, policy, block=4, predictor=bit)
        for ids in workload(80, seed=5):
            queue.popleft()
            if bit is not None:
                # a server sees some that wait, not all
                bit._queue = list(queue)[:6]
            filled(pool, model, [ids])
        reused[policy] = pool.stats.reused
    assert reused["mark0"] > reused["lru"]


def test_the_waiting_queue_keeps_what_it_needs(model):
    queue = collections.deque()
    wanted = prompt(24, 1)
    others = [prompt(24, 10 + i) for i in range(5)]
    queue.append(wanted[0].tolist())
    for policy, waits in (("mark0", True), ("lru", False)):
        bit = WaitingQueueBit(queue) if waits else None
        pool = KVBlockPool(12, policy, block=4, predictor=bit)
        filled(pool, model, [wanted, *others])
        kept = pool.load(wanted)[1]
        assert (kept == 20) == waits, policy
    queue.clear()
    bit = WaitingQueueBit(queue)
    pool = KVBlockPool(12, "mark0", block=4, predictor=bit)
    filled(pool, model, [wanted, *others])
    assert pool.load(wanted)[1] < 20  # nobody waits for it any more


def test_the_trace_goes_to_a_file_that_byheart_page_reads(model, cli, tmp_path):
    pool = KVBlockPool(8, "lru", block=4)
    filled(pool, model, workload(30))
    path = tmp_path / "blocks.txt"
    pool.write_trace(path)
    assert (
        simulate("lru", read_trace(path), k=8).faults == simulate("lru", pool.trace(), k=8).faults
    )
    code, out, _ = cli("page", path, "--sizes", "8", "--policies", "lru,belady", "--json")
    assert code == 0
    assert '"lru"' in out or "LRU" in out
    with pytest.raises(OutputError):
        pool.write_trace(tmp_path / "none" / "x.txt")


def test_threads(model):
    pool = KVBlockPool(9, "lru", block=4)
    wrong = []

    def work(seed):
        for ids in workload(12, seed=seed):
            if not torch.equal(
                pool.generate(model, ids, **SETTINGS), expected[tuple(ids[0].tolist())]
            ):
                wrong.append(ids)

    expected = {
        tuple(ids[0].tolist()): plain(model, ids) for s in range(3) for ids in workload(12, seed=s)
    }
    threads = [threading.Thread(target=work, args=(s,)) for s in range(3)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert wrong == []
    assert len(pool) <= 9


def test_windows_batches_and_other_caches_are_refused(model):
    pool = KVBlockPool(9, block=4)
    with pytest.raises(UsageError, match="empty"):
        pool.load([])
    with pytest.raises(UsageError, match="one prompt at a time"):
        pool.load(torch.ones(2, 5, dtype=torch.long))
    with pytest.raises(UsageError, match="holds no keys"):
        pool.store([1, 2, 3, 4], transformers.DynamicCache())
    cache = transformers.DynamicCache()
    model(torch.ones(2, 6, dtype=torch.long), past_key_values=cache)
    with pytest.raises(UsageError, match="2 sequences"):
        pool.store([1] * 6, cache)
    window = transformers.MistralConfig(
        vocab_size=25, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, sliding_window=8,
    )  # fmt: skip
    mistral = transformers.AutoModelForCausalLM.from_config(window)
    with pytest.raises(UsageError, match="full attention in every layer"):
        pool.load([1, 2, 3], mistral)
    held = transformers.DynamicCache(config=window)
    mistral(torch.ones(1, 6, dtype=torch.long), past_key_values=held)
    with pytest.raises(UsageError, match="keeps a window only"):
        pool.store([1] * 6, held)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "one of them"),
        ({"capacity": 4, "capacity_bytes": 9}, "one of them"),
        ({"capacity": 0}, "capacity must be"),
        ({"capacity": 4, "block": 0}, "block must be"),
        ({"capacity": 4, "policy": "mark0"}, "give hint="),
        ({"capacity": 4, "policy": "lruu"}, "lru"),
    ],
)
def test_bad_arguments(settings, said):
    with pytest.raises(Exception, match=said):
        KVBlockPool(**settings)


@pytest.mark.slow
def test_a_real_model_goes_on_as_without(smollm2):
    module, tokenizer = smollm2.weights, smollm2.tokenizer
    system = "You are a careful assistant. Answer in one short sentence, and only if you know. " * 4
    pool = KVBlockPool(200, "lru", block=16)
    for question in ("Who wrote Persuasion?", "What is the capital of France?", "Who wrote Emma?"):
        ids = tokenizer(system + question, return_tensors="pt")["input_ids"]
        settings = {"do_sample": False, "max_new_tokens": 12, "pad_token_id": 0}
        got = pool.generate(module, ids, **settings)
        assert torch.equal(
            got, module.generate(ids, attention_mask=torch.ones_like(ids), **settings)
        )
    assert pool.stats.reused > 0.5 * pool.stats.tokens - 40
    assert isinstance(pool._cache, PagedCache)
