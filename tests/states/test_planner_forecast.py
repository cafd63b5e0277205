"""Forecasts against the paper's figures, ZeRO's published bytes, the recorder, and the simulation."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from byheart.core.errors import UnknownName, UsageError
from byheart.states._planner.devices import LINK_SHARE, device_of
from byheart.states._planner.forecast import RESERVED, WAYS, Layout, forecast
from byheart.states._planner.recorder import layer_requests, record_requests
from byheart.states._planner.shape import SHAPES, shape_of

MILLION = 2**20


@pytest.fixture(scope="module")
def paper():
    return forecast("7b", sequence=MILLION, device="a800", count=8)


def test_the_papers_headline(paper):
    """7B on 8 A800 80 GB, a million tokens: only swapping fits; 52.30 % MFU (section 5)."""
    assert [w.fits for w in paper.ways.values()] == [False, False, True]
    assert paper.layout == Layout(tensor=8, context=1, data=1, zero=1)
    swap = paper.ways["swap"]
    assert swap.mfu == pytest.approx(0.523, abs=0.04)
    assert swap.longest >= MILLION
    # Its table stops there; Megatron-LM with recomputation ended at 640K, so less than swapping.
    assert paper.ways["plain"].longest < 256 * 1024 < 640 * 1024
    assert 640 * 1024 < paper.ways["recompute"].longest < MILLION


def test_the_papers_bytes_and_alpha(paper):
    layer = paper.layer
    assert layer.input_bytes == 2**30  # 1 GiB of 8 for each device
    lse = 4 * 32 * MILLION // 8
    assert layer.attention_bytes == 2**30 + lse
    statistics = 4 * 4 * MILLION // 8
    assert layer.other_bytes == 14 * 2**30 + statistics
    swap = paper.ways["swap"]
    assert swap.split.limit == "host"
    assert swap.split.alpha == pytest.approx(0.4667, abs=0.002)  # .4667 without log-sum-exp
    assert swap.memory["activations"] == 2 * layer.skeletal_bytes
    assert swap.host_bytes == pytest.approx(2**41 / 8, abs=64)


def test_copies_hide_from_192_thousand_tokens(paper):
    """The paper says 192K (7B, 8-way); with two devices on one PCIe 4 uplink it comes out so."""
    assert paper.overlap_from == pytest.approx(192 * 1024, rel=0.1)
    alone = forecast("7b", sequence=1024, device="a800", count=8, bandwidth=32e9, longest=False)
    assert alone.overlap_from < 64 * 1024


def test_65b_on_64_devices():
    found = forecast("65b", sequence=1408 * 1024, device="a800", count=64)
    assert found.best.name == "swap"
    assert found.best.mfu == pytest.approx(0.5145, abs=0.04)
    assert not found.ways["plain"].fits


def test_bytes_of_states_are_zeros():
    """ZeRO (arXiv 1910.02054), figure 1: 7.5B parameters on 64 devices, in units of 10^9 bytes."""
    shape = dataclasses.replace(SHAPES["7b"], parameters=7_500_000_000, layer_parameters=1)
    for stage, published in ((0, 120), (1, 31.4), (2, 16.6), (3, 1.88)):
        found = forecast(
            shape, sequence=1024, count=64, tensor=1, context=1, zero=stage, longest=False
        )
        assert found.layout.data == 64
        memory = found.ways["plain"].memory
        total = sum(memory[k] for k in ("weights", "gradients", "optimiser"))
        assert total / 1e9 == pytest.approx(published, abs=0.06)


def test_flops_do_not_depend_on_the_layout():
    one = forecast("7b", sequence=4096, count=8, tensor=8, longest=False)
    other = forecast("7b", sequence=4096, count=8, tensor=2, context=4, longest=False)
    groups = forecast("7b", sequence=4096, count=8, tensor=4, context=1, batch=3, longest=False)
    assert one.flops == other.flops == SHAPES["7b"].flops(4096)
    assert groups.flops == 6 * one.flops


@pytest.mark.parametrize("way", WAYS)
def test_the_closed_form_and_the_simulated_streams_agree(way):
    for device, sequence in (("a800", 2**17), ("a800", 2**20), ("rtx3090", 2**12)):
        count = 1 if device == "rtx3090" else 8
        found = forecast("7b", sequence=sequence, device=device, count=count, longest=False)
        if found.ways[way].split is None and way == "swap":
            continue
        timeline = found.timeline(way)
        assert timeline.seconds == pytest.approx(found.ways[way].seconds, rel=1e-9)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("device", "count"), [("h200", 8), ("rtx4090", 1)])
def test_one_token_more_than_the_longest_does_not_fit(way, device, count):
    model = "7b" if count == 8 else "smollm2"
    longest = forecast(model, sequence=1, device=device, count=count).ways[way].longest
    assert longest > 1
    for sequence, fits in ((longest, True), (longest + 1, False)):
        found = forecast(model, sequence=sequence, device=device, count=count, longest=False)
        assert found.ways[way].fits is fits
        assert bool(found.ways[way].reason) is not fits


def test_where_nothing_fits():
    found = forecast("65b", sequence=1024, device="rtx3090", count=1)
    assert found.best is None
    assert not found.fits
    assert {w.longest for w in found.ways.values()} == {0}
    assert "the device lacks" in found.ways["swap"].reason
    assert found.to_dict()["longest_sequence"] == 0


def test_a_host_that_is_too_small_is_named():
    found = forecast("7b", sequence=MILLION, device="a800", count=8, host_memory=2**30)
    swap = found.ways["swap"]
    assert not swap.fits
    assert "the host lacks" in swap.reason
    need = swap.host_bytes
    enough = forecast("7b", sequence=MILLION, device="a800", count=8, host_memory=8 * need)
    assert enough.ways["swap"].fits
    assert enough.ways["swap"].split.alpha == pytest.approx(0, abs=1e-6)


def test_copies_hide_from_there_on_and_not_before():
    found = forecast("7b", sequence=1024, device="h100", count=8, longest=False)
    for sequence, hides in ((found.overlap_from, True), (found.overlap_from - 1, False)):
        one = forecast(
            "7b", sequence=sequence, device="h100", count=8, host_memory=2**50, longest=False
        )
        assert (one.ways["swap"].split.alpha == 1) is hides
    rate = device_of("h100").copying(8)
    assert rate == device_of("h100").link / 2 * LINK_SHARE
    assert device_of("h100").copying(1) == device_of("h100").link * LINK_SHARE


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["7b", "smollm2", "smollm2-1.7b"]), st.integers(1, 2**22),
    st.sampled_from(["a800", "h100", "rtx4090", "gh200"]), st.sampled_from([1, 2, 8, 16]),
    st.integers(1, 4),
)  # fmt: skip
def test_what_holds_of_every_forecast(model, sequence, device, count, batch):
    found = forecast(
        model, sequence=sequence, device=device, count=count, batch=batch, longest=False
    )
    assert found.layout.count == count
    plain, recompute, swap = (found.ways[w] for w in WAYS)
    assert plain.seconds <= swap.seconds * (1 + 1e-9)
    assert plain.seconds < recompute.seconds
    for way in found.ways.values():
        assert 0 < way.mfu < 1
        assert way.memory["reserved"] == RESERVED
    assert recompute.memory["activations"] <= plain.memory["activations"]
    assert swap.memory["activations"] <= plain.memory["activations"]
    if found.best is not None:
        assert found.best.fits
    json.dumps(found.to_dict(), allow_nan=False)


def test_keys_that_cannot_be_split_further_are_held_twice():
    raw = {"model_type": "llama", "hidden_size": 512, "num_hidden_layers": 4, "vocab_size": 100,
           "num_attention_heads": 8, "num_key_value_heads": 2, "intermediate_size": 1024}  # fmt: skip
    one = forecast(raw, sequence=1024, count=1, longest=False).layer
    eight = forecast(raw, sequence=1024, count=8, longest=False).layer
    kv = 2 * 2 * (2 * 64) * 1024  # bytes of keys and values on one device
    assert eight.other_bytes == one.other_bytes / 8 + kv * (1 / 2 - 1 / 8)


def test_the_working_set_covers_what_the_recorder_sees():
    """One layer's backward pass on TinyGPT (the paper's block) and on a Llama, in float32."""
    from transformers import AutoConfig, AutoModelForCausalLM

    from byheart.papers._tinygpt import TinyGPT

    def peak(trace):
        now = most = 0
        for r in trace:
            now += r.size if r.kind == "malloc" else -r.size
            most = max(most, now)
        return most

    tokens = 512
    ids = torch.zeros(1, tokens, dtype=torch.long)
    tiny = TinyGPT(11, layers=3, width=48, heads=2, context=tokens)
    size = {"hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 2,
            "num_key_value_heads": 2, "intermediate_size": 128, "vocab_size": 97,
            "max_position_embeddings": tokens, "pad_token_id": 0, "bos_token_id": 1,
            "eos_token_id": 2}  # fmt: skip
    llama = AutoModelForCausalLM.from_config(AutoConfig.for_model("llama", **size))
    gpt = {"model_type": "gpt2", "n_embd": 48, "n_layer": 3, "n_head": 2, "vocab_size": 11}
    for raw, layers, step in (
        (gpt, tiny.blocks, lambda: tiny(ids).sum().backward()),
        ({"model_type": "llama", **size}, llama.model.layers,
         lambda: llama(ids, use_cache=False).logits.sum().backward()),
    ):  # fmt: skip
        trace = record_requests(step, layers=layers).transient()
        seen = peak(layer_requests(trace, 1, "backward")) / 4
        counted = forecast(shape_of(raw), sequence=tokens, longest=False).layer.working_bytes / 2
        assert 0.6 * counted <= seen <= counted


def test_logits_at_once_or_in_chunks():
    chunks = forecast("7b", sequence=MILLION, device="a800", count=8, longest=False)
    whole = forecast("7b", sequence=MILLION, device="a800", count=8, loss_chunk=0, longest=False)
    assert whole.ways["swap"].memory["working"] > 6 * MILLION * 50257 // 8
    assert chunks.ways["swap"].memory["working"] < whole.ways["swap"].memory["working"]
    assert any("all logits at once" in text for text in whole.assumptions)


def test_what_was_assumed_is_said(paper):
    text = "\n".join(paper.assumptions)
    for part in ("6 P s + 6 n h s^2", "16 h elements", "75% of the peak", "66.0%", "2 devices share",
                 "12", "16,384 tokens", "1.5 GiB", "256 GiB of host", "not counted"):  # fmt: skip
        assert part in text, part
    long = forecast("smollm2", sequence=10_000, longest=False)
    assert "ends at 8,192 positions" in long.assumptions[-1]
    gated = "\n".join(long.assumptions)
    assert "4 of the feed-forward part" in gated


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"sequence": 0}, UsageError, "sequence is 0"),
        ({"sequence": 1.5}, UsageError, "sequence is 1.5"),
        ({"sequence": True}, UsageError, "sequence is True"),
        ({"count": 0}, UsageError, "count is 0"),
        ({"batch": -1}, UsageError, "batch is -1"),
        ({"zero": 4}, UsageError, "zero is 4"),
        ({"device": "h9000"}, UnknownName, "unknown device"),
        ({"model": "nothing"}, UnknownName, "unknown model shape"),
        ({"optimizer": "adam"}, UnknownName, "did you mean 'adamw'"),
        ({"count": 8, "tensor": 3}, UsageError, "these do: 1, 2, 4, 8"),
        ({"count": 6, "tensor": 4}, UsageError, "does not divide count 6"),
        ({"count": 8, "tensor": 4, "context": 4}, UsageError, "tensor 4 times context 4"),
        ({"count": 8, "context": 3}, UsageError, "context 3"),
        ({"host_memory": -1}, UsageError, "host_memory is -1"),
        ({"memory": 0}, UsageError, "memory is 0"),
        ({"flops": float("nan")}, UsageError, "flops is nan"),
        ({"matmul": 0}, UsageError, "matmul is 0"),
        ({"loss_chunk": -1}, UsageError, "loss_chunk is -1"),
    ],
)
def test_bad_input(options, error, message):
    given = {"model": "7b", "sequence": 1024, **options}
    with pytest.raises(error, match=message):
        forecast(given.pop("model"), **given)


def test_there_is_no_fourth_way(paper):
    with pytest.raises(UnknownName, match="unknown way 'swop'"):
        paper.timeline("swop")
