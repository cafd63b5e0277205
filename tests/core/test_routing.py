"""Routers of real transformers families, against the models' own router logits and plain loops."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
from tiny import make_tiny_llama, make_tokenizer
from tiny_moe import FAMILIES, make_tiny_moe

from byheart.core.errors import CapabilityError, DataError, ModelError, UsageError
from byheart.core.local import LocalModel
from byheart.core.routing import find_routers, has_routers, route, token_means

IDS = [[3, 4, 5, 6, 7], [8, 9, 10], [11, 12, 13, 14, 15, 16, 17, 18], [9, 9]]


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_a_familys_routers_are_found_and_read_as_the_model_gives_them(family):
    layers, experts, scoring, _ = FAMILIES[family]
    model = make_tiny_moe(family)
    routers = find_routers(model)
    assert [r.experts for r in routers] == [experts] * layers
    assert [tuple(r.matrix.shape) for r in routers] == [(experts, 32)] * layers
    found = route(model, IDS)
    assert found.scoring == scoring
    assert found.g.shape == (len(IDS), layers, experts)
    np.testing.assert_allclose(found.g.sum(-1), 1, atol=1e-5)
    for i, ids in enumerate(IDS):  # one text at a time, no padding, the model's own outputs
        with torch.no_grad():
            x = torch.tensor([ids])
            plain = model(x)
            own = model.model(x, output_router_logits=True).router_logits
        if family == "JetMoe":  # its attention routes too, and runs first in each layer
            own = own[1::2]
        assert len(own) == layers
        for layer in range(layers):
            z = own[layer].reshape(len(ids), experts).double()
            w = z.softmax(-1) if scoring == "softmax" else z.sigmoid() / z.sigmoid().sum(-1, True)
            np.testing.assert_allclose(found.g[i, layer], w.mean(0), atol=2e-5)
        logp = plain.logits[0].log_softmax(-1)
        nll = [-float(logp[t, ids[t + 1]]) for t in range(len(ids) - 1)]
        assert found.nll[i] == pytest.approx(np.mean(nll), abs=1e-4)


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_padding_side_and_batching_change_nothing(family):
    model = make_tiny_moe(family)
    alone = route(model, IDS, batch_tokens=1)
    for options in ({}, {"pad_side": "left"}):
        together = route(model, IDS, **options)
        np.testing.assert_allclose(together.g, alone.g, atol=1e-4)
        np.testing.assert_allclose(together.nll, alone.nll, atol=1e-4)


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_how_routers_weigh_is_seen_in_half_precision_and_in_fresh_models(family):
    scoring = FAMILIES[family][2]
    assert route(make_tiny_moe(family).bfloat16(), IDS).scoring == scoring
    fresh = make_tiny_moe(family, initializer_range=0.02)
    with torch.no_grad():
        for router in find_routers(fresh):
            router.matrix.mul_(0.04)
    assert route(fresh, IDS).scoring == scoring


def test_two_families_weigh_by_a_sigmoid_and_it_matters():
    model = make_tiny_moe("DeepseekV3")
    right, wrong = route(model, IDS), route(model, IDS, scoring="softmax")
    assert np.abs(right.g - wrong.g).max() > 0.05


def test_the_model_is_left_as_it_was():
    model = make_tiny_moe().train()
    model.model.layers[1].eval()
    modes = {n: m.training for n, m in model.named_modules()}
    before = {n: p.clone() for n, p in model.named_parameters()}
    state = torch.get_rng_state()
    gates = [r.module for r in find_routers(model)]
    hooks = [len(g._forward_hooks) for g in gates]
    route(model, IDS)
    assert [len(g._forward_hooks) for g in gates] == hooks
    assert {n: m.training for n, m in model.named_modules()} == modes
    assert all(torch.equal(p, before[n]) for n, p in model.named_parameters())
    assert torch.equal(torch.get_rng_state(), state)
    loss = model(torch.tensor(IDS[:1]), labels=torch.tensor(IDS[:1])).loss
    loss.backward()  # nothing of the run was made in inference mode
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def test_hooks_are_removed_even_when_a_text_is_refused():
    model = make_tiny_moe()
    gate = find_routers(model)[0].module
    hooks = len(gate._forward_hooks)
    with torch.no_grad():
        gate.weight[0, 0] = float("nan")
    with pytest.raises(ModelError, match=r"model\.layers\.0\.mlp\.gate gave NaN .* text"):
        route(model, IDS)
    assert len(gate._forward_hooks) == hooks


def test_padding_that_is_nan_does_not_enter():
    logits = torch.randn(2, 4, 3)
    mask = torch.tensor([[1, 1, 1, 1], [0, 0, 1, 1]])
    clean = token_means([logits], mask)
    logits[1, :2] = float("nan")
    np.testing.assert_array_equal(token_means([logits.reshape(8, 3)], mask), clean)
    np.testing.assert_allclose(clean[1, 0], logits[1, 2:].softmax(-1).mean(0), atol=1e-6)


def test_probabilities_are_not_taken_for_logits():
    """transformers 5.0.0 records softmax probabilities under the name router_logits."""
    z = torch.randn(6, 5, generator=torch.Generator().manual_seed(1))
    mask = torch.ones(2, 3)
    raw, already = token_means([z], mask), token_means([z.softmax(-1)], mask)
    np.testing.assert_allclose(raw, already, atol=1e-6)
    half = token_means([z.softmax(-1).bfloat16()], mask)
    np.testing.assert_allclose(raw, half, atol=5e-3)


def test_layers_of_different_width_end_in_zeros():
    g = token_means([torch.zeros(1, 2, 4), torch.zeros(1, 2, 2)])
    assert g.tolist() == [[[0.25] * 4, [0.5, 0.5, 0, 0]]]


@pytest.mark.parametrize(
    ("logits", "mask", "message"),
    [
        (None, None, "output_router_logits=True"),
        ((), None, "routers are off"),
        ([torch.zeros(6, 3)], None, "need the attention_mask"),
        ([torch.zeros(6, 3)], torch.ones(2, 2), "do not fit a mask"),
    ],
)
def test_logits_that_are_not_there_or_do_not_fit(logits, mask, message):
    with pytest.raises(UsageError, match=message):
        token_means(logits, mask)


def test_unknown_scoring_and_padding_side():
    with pytest.raises(UsageError, match="softmax, sigmoid or probabilities"):
        token_means([torch.zeros(1, 2, 3)], scoring="hard")
    with pytest.raises(UsageError, match="left or right"):
        route(make_tiny_moe(), IDS, pad_side="top")


def test_a_dense_model_has_no_router():
    model, tokenizer = make_tiny_llama()
    assert not has_routers(model)
    with pytest.raises(CapabilityError, match="no mixture of experts"):
        route(model, IDS)
    assert "routing" not in LocalModel(model, tokenizer).capabilities


@pytest.mark.parametrize(
    ("family", "changes"),
    [
        ("Qwen2Moe", {"mlp_only_layers": [0, 1, 2]}),
        ("Qwen2Moe", {"decoder_sparse_step": 7}),
        ("DeepseekV3", {"first_k_dense_replace": 3}),
        ("Mixtral", {"num_local_experts": 1, "num_experts_per_tok": 1}),
    ],
)
def test_expert_layers_that_are_switched_off(family, changes):
    model = make_tiny_moe(family, **changes)
    with pytest.raises(CapabilityError, match=r"config speaks of \d+ expert.*switched off"):
        find_routers(model)


def test_a_router_that_is_not_asked():
    model = make_tiny_moe()
    layer = model.model.layers[1]
    layer.mlp.forward = torch.zeros_like
    with pytest.raises(ModelError, match=r"layers\.1\.mlp\.gate was not asked"):
        route(model, IDS)


def test_a_loss_that_is_nan():
    model = make_tiny_moe()
    with torch.no_grad():
        model.lm_head.weight[4] = float("inf")
    with pytest.raises(ModelError, match="NaN or infinite loss on text"):
        route(model, IDS)


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([], "no text"),
        ([[3, 4], [5]], r"text 1 has 1 token"),
        ([[]], r"text 0 has 0 token"),
        ([[3] * 65], r"text 0 has 65 tokens and the context of .* is 64.*max_tokens=64"),
    ],
)
def test_texts_that_cannot_be_routed(ids, message):
    with pytest.raises(DataError, match=message):
        route(make_tiny_moe(), ids)


def test_an_encoder_decoder_is_refused():
    from transformers import SwitchTransformersConfig, SwitchTransformersForConditionalGeneration

    config = SwitchTransformersConfig(
        vocab_size=40, d_model=16, d_kv=4, d_ff=16, num_layers=2, num_heads=4, num_experts=2,
        num_sparse_encoder_layers=2, num_sparse_decoder_layers=2, decoder_start_token_id=0,
    )  # fmt: skip
    with pytest.raises(CapabilityError, match="encoder-decoder"):
        route(SwitchTransformersForConditionalGeneration(config), IDS)


class _Block(torch.nn.Module):
    """A mixture of one's own (nanoMoE, transformers 4): a linear gate beside its experts."""

    def __init__(self, d, k):
        super().__init__()
        self.gate = torch.nn.Linear(d, k, bias=False)
        self.experts = torch.nn.ModuleList(torch.nn.Linear(d, d) for _ in range(k))
        self.shared_expert_gate = torch.nn.Linear(d, 1)

    def forward(self, x):
        w = self.gate(x).softmax(-1)
        return x + sum(w[..., k, None] * e(x) for k, e in enumerate(self.experts))


class _Own(torch.nn.Module):
    def __init__(self, v=20, d=8, k=3, layers=2):
        super().__init__()
        self.config = type("Config", (), {"max_position_embeddings": 32, "vocab_size": v})()
        self.config.get_text_config = lambda: self.config
        self.embed = torch.nn.Embedding(v, d)
        self.blocks = torch.nn.ModuleList(_Block(d, k) for _ in range(layers))
        self.head = torch.nn.Linear(d, v)

    def forward(self, input_ids, attention_mask=None, use_cache=False):
        x = self.embed(input_ids)
        for block in self.blocks:
            x = block(x)
        return type("Out", (), {"logits": self.head(x)})()


def test_a_mixture_that_registers_nothing_is_found_by_its_shape():
    torch.manual_seed(0)
    model = _Own()
    assert [r.name for r in find_routers(model)] == ["blocks.0.gate", "blocks.1.gate"]
    found = route(model, [[3, 4, 5], [6, 7]])
    z = model.blocks[0].gate(model.embed(torch.tensor([3, 4, 5])))
    np.testing.assert_allclose(found.g[0, 0], z.softmax(-1).mean(0).detach(), atol=1e-6)


def test_a_peft_adapter_around_the_model_is_no_hindrance():
    import peft

    model = make_tiny_moe()
    plain = route(model, IDS)
    tuned = peft.get_peft_model(model, peft.LoraConfig(r=2, target_modules=["q_proj"]))
    around = route(tuned, IDS)
    assert len(around.layers) == 3
    np.testing.assert_allclose(around.g, plain.g, atol=1e-6)


def test_a_local_model_routes_texts():
    model = LocalModel(make_tiny_moe(), make_tokenizer())
    assert "routing" in model.capabilities
    found = model.facts().route(["the quick brown fox", "lazy dog sleeps"])
    assert found.g.shape == (2, 3, 8)
    assert found.g.flags["C_CONTIGUOUS"]
