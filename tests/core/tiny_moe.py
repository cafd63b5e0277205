"""Tiny mixture-of-experts models of many families, made from a config: no network, milliseconds."""

from __future__ import annotations

from typing import Any

from tiny import SPECIAL, WORDS, make_tokenizer

_BASE: dict[str, Any] = {
    "vocab_size": len(SPECIAL) + len(WORDS),
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "initializer_range": 0.5,
    "pad_token_id": None,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_DEEPSEEK = {
    "n_routed_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 16, "n_group": 2,
    "topk_group": 1, "first_k_dense_replace": 1, "kv_lora_rank": 8, "q_lora_rank": 8,
    "qk_rope_head_dim": 4, "qk_nope_head_dim": 4, "v_head_dim": 8, "num_key_value_heads": 4,
    "n_shared_experts": 1,
}  # fmt: skip
FAMILIES: dict[str, tuple[int, int, str, dict[str, Any]]] = {
    "Olmoe": (3, 8, "softmax", {"num_experts": 8, "num_experts_per_tok": 2}),
    "Mixtral": (3, 4, "softmax", {"num_local_experts": 4, "num_experts_per_tok": 2}),
    "Qwen2Moe": (3, 6, "softmax", {
        "num_experts": 6, "num_experts_per_tok": 2, "moe_intermediate_size": 16,
        "shared_expert_intermediate_size": 16, "decoder_sparse_step": 1,
    }),
    "Qwen3Moe": (3, 6, "softmax", {
        "num_experts": 6, "num_experts_per_tok": 2, "moe_intermediate_size": 16, "head_dim": 8,
    }),
    "GptOss": (3, 4, "softmax", {
        "num_local_experts": 4, "num_experts_per_tok": 2, "head_dim": 8,
        "layer_types": ["full_attention"] * 3, "rope_parameters": {"rope_type": "default", "rope_theta": 1e4},
    }),
    "DeepseekV3": (2, 8, "sigmoid", _DEEPSEEK),
    "GraniteMoe": (3, 4, "softmax", {"num_local_experts": 4, "num_experts_per_tok": 2}),
    "Phimoe": (3, 4, "softmax", {"num_local_experts": 4, "num_experts_per_tok": 2}),
    "MiniMaxM2": (3, 4, "sigmoid", {
        "num_local_experts": 4, "num_experts_per_tok": 2, "head_dim": 8, "rotary_dim": 8,
    }),
    "JetMoe": (3, 4, "softmax", {
        "num_local_experts": 4, "num_experts_per_tok": 2, "kv_channels": 8, "num_key_value_heads": 2,
    }),
    "Llama4": (3, 4, "sigmoid", {
        "num_local_experts": 4, "num_experts_per_tok": 1, "head_dim": 8,
        "interleave_moe_layer_step": 1, "intermediate_size_mlp": 32, "attention_chunk_size": 64,
    }),
    "Lfm2Moe": (2, 4, "sigmoid", {
        "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16,
        "num_dense_layers": 1, "layer_types": ["full_attention"] * 3,
    }),
}  # fmt: skip
"""Family to (MoE layers, experts, how its routers weigh, config)."""


def make_tiny_moe(family: str = "Olmoe", *, seed: int = 0, **changes: Any) -> Any:
    """A model with random weights; `changes` go into its config."""
    import torch
    import transformers

    torch.manual_seed(seed)
    config_class = getattr(
        transformers, "Llama4TextConfig" if family == "Llama4" else f"{family}Config"
    )
    config = config_class(**{**_BASE, **FAMILIES[family][3], **changes})
    model = getattr(transformers, f"{family}ForCausalLM")(config).eval()
    with torch.no_grad():  # some families leave routers at zero or whatever lay in memory
        for name, p in model.named_parameters():
            router = "gate.weight" in name or "router" in name
            if p.ndim >= 2 and (router or not torch.isfinite(p).all() or not bool(p.any())):
                p.normal_(std=0.5)
    return model


def make_tiny_moe_with_tokenizer(family: str = "Olmoe", **options: Any) -> tuple[Any, Any]:
    """Model and word tokenizer."""
    return make_tiny_moe(family, **options), make_tokenizer()
