"""Counts from a configuration against the model that transformers makes of it, and published ones."""

from __future__ import annotations

import json
import math

import pytest
import torch

from byheart.core.errors import DataError, UnknownName, UsageError
from byheart.papers._tinygpt import TinyGPT
from byheart.states._planner.devices import DEVICES, device_of
from byheart.states._planner.recorder import layer_requests, record_requests
from byheart.states._planner.shape import _FAMILIES, SHAPES, Shape, shape_of

SMALL = {
    "hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 112,
    "vocab_size": 97, "max_position_embeddings": 64, "pad_token_id": 0, "bos_token_id": 1,
    "eos_token_id": 2,
}  # fmt: skip
GROUPED = {**SMALL, "num_key_value_heads": 2}
CONFIGS = {
    "llama": GROUPED,
    "llama, biases": {**GROUPED, "attention_bias": True, "mlp_bias": True},
    "llama, tied": {**GROUPED, "tie_word_embeddings": True, "head_dim": 16},
    "mistral": GROUPED,
    "qwen2": GROUPED,
    "qwen3": {**GROUPED, "head_dim": 16},
    "smollm3": GROUPED,
    "granite": GROUPED,
    "phi3": GROUPED,
    "gemma": {**GROUPED, "head_dim": 32},
    "gemma2": {**GROUPED, "head_dim": 32},
    "gemma3_text": {**GROUPED, "head_dim": 32},
    "olmo2": GROUPED,
    "starcoder2": GROUPED,
    "gpt2": {"n_embd": 48, "n_layer": 3, "n_head": 4, "vocab_size": 97, "n_positions": 64},
    "gpt2, narrow": {"n_embd": 48, "n_layer": 2, "n_head": 4, "n_inner": 100, "vocab_size": 97},
    "gpt_neox": SMALL,
    "opt": {
        "hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4, "ffn_dim": 112,
        "vocab_size": 97, "max_position_embeddings": 64, "word_embed_proj_dim": 48,
    },
}  # fmt: skip


def config_of(key):
    return {"model_type": key.split(",")[0], **CONFIGS[key]}


def test_every_family_has_a_case():
    assert {key.split(",")[0] for key in CONFIGS} == set(_FAMILIES)


@pytest.mark.parametrize("key", CONFIGS)
def test_parameters_are_those_of_the_model(key):
    from transformers import AutoConfig, AutoModelForCausalLM

    raw = config_of(key)
    found = shape_of(raw)
    rest = {k: v for k, v in raw.items() if k != "model_type"}
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(raw["model_type"], **rest))
    assert found.parameters == sum(p.numel() for p in model.parameters())
    blocks = max(
        (m for m in model.modules() if isinstance(m, torch.nn.ModuleList)), key=lambda m: len(m)
    )
    assert found.layer_parameters == sum(p.numel() for p in blocks[0].parameters())
    matrix = sum(
        p.numel() for m in blocks[0].modules() for n, p in m.named_parameters(recurse=False)
        if n == "weight" and p.dim() == 2
    )  # fmt: skip
    assert found.layer_matrix == matrix


@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("smollm2", 134_515_008),  # HuggingFaceTB's safetensors say 134.5M, 361.8M and 1.71B
        ("smollm2-360m", 361_821_120),
        ("smollm2-1.7b", 1_711_376_384),
    ],
)
def test_smollm2_has_its_published_size(name, published):
    assert SHAPES[name].parameters == published


def test_the_papers_models_have_the_papers_sizes():
    for name, billions in (("7b", 7), ("13b", 13), ("30b", 30), ("65b", 65)):
        assert SHAPES[name].parameters == pytest.approx(billions * 1e9, rel=0.06)
        assert SHAPES[name].skeletal == 16 * SHAPES[name].hidden
    # Sheet, 3.1: 16 s h 2 32 bytes at a million tokens are 4096 GiB.
    seven = SHAPES["7b"]
    assert seven.skeletal * 2 * seven.layers * 2**20 == 2**42


def test_flops_of_a_step():
    s, seven = 4096, SHAPES["7b"]
    h, n = 4096, 32
    assert seven.flops(s) == 6 * (12 * n * h * h + 50257 * h) * s + 6 * n * h * s * s
    windowed = shape_of({"model_type": "mistral", **GROUPED, "sliding_window": 8})
    assert windowed.windowed == 3
    pairs = sum(min(i + 1, 8) for i in range(64))  # counted one by one, the diagonal whole
    assert windowed.attention_flops(64, True) == pytest.approx(4 * 48 * pairs, rel=0.08)
    assert windowed.attention_flops(4, True) == windowed.attention_flops(4)
    gemma = shape_of(config_of("gemma2"))
    assert 0 < gemma.windowed < gemma.layers


def test_counted_flops_are_torchs_for_the_matrices():
    """FlopCounterMode counts a forward pass of TinyGPT: 2 P tokens, and attention not halved."""
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    model = TinyGPT(11, layers=3, width=16, heads=2, context=32)
    shape = shape_of({"model_type": "gpt2", "n_embd": 16, "n_layer": 3, "n_head": 2,
                      "vocab_size": 11, "n_positions": 32})  # fmt: skip
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        model(torch.zeros(1, 32, dtype=torch.long))
    attention = shape.layers * shape.attention_flops(32)
    assert shape.flops(32) / 3 + attention == counter.get_total_flops()


@pytest.mark.parametrize("layers", [2, 5])
def test_saved_elements_are_those_that_autograd_saves(layers):
    """TinyGPT is the paper's block in plain torch: the recorder and the count meet exactly."""
    model = TinyGPT(11, layers=layers, width=24, heads=2, context=40)
    ids = torch.zeros(3, 40, dtype=torch.long)
    trace = record_requests(lambda: model(ids).sum().backward(), layers=model.blocks)
    shape = shape_of({"model_type": "gpt2", "n_embd": 24, "n_layer": layers, "n_head": 2,
                      "vocab_size": 11, "n_positions": 40})  # fmt: skip
    made = layer_requests(trace, 1, escaping=True)
    bytes_ = sum(r.size for r in made if r.kind == "malloc" and r.id in made.skeletal)
    tokens = 3 * 40
    assert bytes_ == 4 * tokens * (shape.skeletal + shape.norm_floats + shape.heads)


@pytest.mark.parametrize("key", ["llama", "qwen3", "olmo2", "opt", "gpt_neox", "starcoder2"])
def test_plain_transformers_save_at_least_what_is_counted(key):
    """The count is that of fused kernels; operator by operator nothing less is saved."""
    from transformers import AutoConfig, AutoModelForCausalLM

    raw = config_of(key)
    shape = shape_of(raw)
    rest = {k: v for k, v in raw.items() if k != "model_type"}
    config = AutoConfig.for_model(raw["model_type"], **rest)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="sdpa")
    blocks = max(
        (m for m in model.modules() if isinstance(m, torch.nn.ModuleList)), key=lambda m: len(m)
    )
    ids = torch.zeros(1, 48, dtype=torch.long)
    trace = record_requests(
        lambda: model(ids, use_cache=False).logits.sum().backward(), layers=blocks
    )
    made = layer_requests(trace, 1, escaping=True)
    saved = sum(r.size for r in made if r.kind == "malloc" and r.id in made.skeletal) / 4 / 48
    assert shape.skeletal <= saved <= 2.2 * shape.skeletal


def test_files_and_folders(tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config_of("llama")))
    assert shape_of(folder) == shape_of(str(folder / "config.json"))
    assert shape_of(folder).name == "mine"
    assert shape_of(folder).parameters == shape_of(config_of("llama")).parameters
    pictures = {"model_type": "gemma3", "text_config": config_of("gemma3_text")}
    assert shape_of(pictures).layers == 3


def test_what_a_file_leaves_out_has_the_familys_default(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"model_type": "gpt2"}))
    assert shape_of(path).parameters == 124_439_808  # GPT-2 small, published


def test_bad_files(tmp_path):
    path = tmp_path / "config.json"
    for text, message in (
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[1]", "holds list"),
        ("{}", "has no model_type"),
        (json.dumps({"model_type": "llama", "hidden_size": "wide"}), "cannot be used"),
        (json.dumps({**config_of("llama"), "num_hidden_layers": 0}), "layers is 0"),
        (json.dumps({**config_of("llama"), "vocab_size": -5}), "vocab is -5"),
        (json.dumps({**config_of("llama"), "num_attention_heads": 0}), "cannot be used|heads is 0"),
        (json.dumps({**config_of("opt"), "word_embed_proj_dim": 12}), "not counted"),
    ):
        path.write_text(text)
        with pytest.raises(DataError, match=message):
            shape_of(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"config.json: cannot be read"):
        shape_of(path)
    with pytest.raises(DataError, match="no such file"):
        shape_of(tmp_path / "nowhere.json")
    with pytest.raises(UnknownName, match="unknown model shape '8b': did you mean"):
        shape_of("8b")
    path.write_text(json.dumps({"model_type": "mixtral"}))
    with pytest.raises(UnknownName, match="unknown model type 'mixtral'"):
        shape_of(path)
    with pytest.raises(UsageError, match="layers is 0"):
        Shape("x", 0, 1, 1, 1, 1, 1, False, 1, True, 1, 1, 1)


def test_devices():
    assert set(DEVICES) >= {"a100", "a800", "h100", "h200"}
    for name, device in DEVICES.items():
        assert device.name == name
        assert device.source
        assert device.memory % 2**20 == 0
    assert device_of("A800").peer < device_of("a100").peer
    changed = device_of("h100", memory=2**30, flops=None)
    assert changed.memory == 2**30
    assert changed.flops == DEVICES["h100"].flops
    assert "given by the caller: memory" in changed.source
    assert device_of(changed) is changed
    with pytest.raises(UnknownName, match="unknown device 'h20': did you mean"):
        device_of("h20")
    for change in ({"memory": 0}, {"matmul": 1.1}, {"link": math.inf}, {"peer": -1}):
        with pytest.raises(UsageError, match="is"):
            device_of("h100", **change)
