"""A transformer's shape, from its configuration: what it holds, saves and computes."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from byheart.core.errors import DataError, UnknownName, UsageError, need

__all__ = ["SHAPES", "Shape", "shape_of"]


@dataclass(frozen=True)
class Shape:
    """A dense decoder's shape.

    Attributes:
        name: Of the model.
        layers: Blocks.
        hidden: Width of the residual stream.
        heads: Query heads.
        kv_heads: Key and value heads.
        head_dim: Width of one head.
        ffn: Width of the feed-forward part.
        gated: Whether it has a gate (SwiGLU and its kin): three matrices and not two.
        vocab: Tokens.
        tied: Whether the head is the embedding.
        layer_parameters: Of one block, with norms and biases.
        parameters: Of the whole model.
        saved: Elements a token that one layer saves beside its input and attention's output.
        norm_floats: Float32 numbers a token that its norms save.
        positions: The longest sequence of its configuration, 0 where there is none.
        window: Tokens that attention looks back, 0 for all.
        windowed: How many layers look back `window` tokens only.
    """

    name: str
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn: int
    gated: bool
    vocab: int
    tied: bool
    layer_parameters: int
    parameters: int
    saved: int
    norm_floats: int = 4
    positions: int = 0
    window: int = 0
    windowed: int = 0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name in ("name", "gated", "tied"):
                continue
            least = 0 if field.name in ("norm_floats", "positions", "window", "windowed") else 1
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise UsageError(
                    f"{self.name}: {field.name} is {value!r}; a whole number of {least} or more is needed"
                )

    @property
    def query(self) -> int:
        """Width of all query heads, and so of attention's output."""
        return self.heads * self.head_dim

    @property
    def key_value(self) -> int:
        """Width of all keys, and of all values."""
        return self.kv_heads * self.head_dim

    @property
    def layer_matrix(self) -> int:
        """Parameters of one block that multiply every token."""
        attention = self.hidden * (2 * self.query + 2 * self.key_value)
        return attention + (3 if self.gated else 2) * self.hidden * self.ffn

    @property
    def skeletal(self) -> int:
        """Elements a token that one layer saves in all: 16 hidden for the paper's."""
        return self.hidden + self.query + self.saved

    def attention_flops(self, sequence: int, layer_windowed: bool = False) -> float:
        """Forward FLOPs of one layer's attention on one causal sequence.

        4 query pairs, with sequence^2 / 2 pairs: the 2 h s^2 whose sixfold is the sheet's
        6 n h s^2, forward and backward over three. With a window w, pairs = s w - w^2 / 2.
        """
        w = self.window if layer_windowed and 0 < self.window < sequence else sequence
        return 4.0 * self.query * (sequence * w - w * w / 2)

    def flops(self, sequence: int) -> float:
        """Model FLOPs of a step on one sequence: 6 P s + 6 n h s^2 for a causal model.

        P counts the matrices that multiply every token: the blocks' and the head's; looking an
        embedding up costs nothing.
        """
        matrix = self.layers * self.layer_matrix + self.vocab * self.hidden
        full = self.layers - self.windowed
        attention = full * self.attention_flops(sequence) + self.windowed * self.attention_flops(
            sequence, True
        )
        return 6.0 * matrix * sequence + 3.0 * attention


def _shape(
    name: str,
    *,
    layers: int,
    hidden: int,
    heads: int,
    ffn: int,
    vocab: int,
    kv_heads: int | None = None,
    head_dim: int | None = None,
    gated: bool = True,
    tied: bool = False,
    qkv_bias: bool = False,
    out_bias: bool = False,
    mlp_bias: bool = False,
    head_bias: bool = False,
    layer_norm: bool = False,
    norms: int = 2,
    final_norm: bool = True,
    qk_norm: int = 0,
    qk_saved: bool = False,
    learned_positions: int = 0,
    parallel: bool = False,
    activation_saves_input: bool = True,
    positions: int = 0,
    window: int = 0,
    windowed: int = 0,
) -> Shape:
    """Count parameters and saved elements of one family's block."""
    kv_heads = heads if kv_heads is None else kv_heads
    head_dim = hidden // heads if head_dim is None else head_dim
    query, kv = heads * head_dim, kv_heads * head_dim
    norm = hidden * (2 if layer_norm else 1)
    block = hidden * (2 * query + 2 * kv) + (3 if gated else 2) * hidden * ffn
    block += (query + 2 * kv) * qkv_bias + hidden * out_bias
    block += (ffn * (2 if gated else 1) + hidden) * mlp_bias + norms * norm + qk_norm
    rest = vocab * hidden * (1 if tied else 2) + vocab * head_bias
    rest += learned_positions * hidden + norm * final_norm
    # Norm's result, q, k, v, attention's residual, norm's result, and the feed-forward part:
    # what its activation, its gate's product and its second matrix need.
    saved = hidden + query + 2 * kv + (0 if parallel else hidden) + hidden
    saved += 4 * ffn if gated else (2 if activation_saves_input else 1) * ffn
    saved += (norms - 2) * hidden  # a norm after attention or feed-forward saves its input
    saved += query + kv if qk_saved else 0
    return Shape(
        name, layers, hidden, heads, kv_heads, head_dim, ffn, gated, vocab, tied,
        block, layers * block + rest, saved, (2 if layer_norm else 1) * norms,
        positions, window, windowed,
    )  # fmt: skip


def _paper(name: str, layers: int, hidden: int, heads: int) -> Shape:
    return _shape(
        name, layers=layers, hidden=hidden, heads=heads, ffn=4 * hidden, vocab=50257, gated=False,
        qkv_bias=True, out_bias=True, mlp_bias=True, layer_norm=True,
    )  # fmt: skip


def _smollm2(size: str, layers: int, hidden: int, heads: int, kv_heads: int, ffn: int) -> Shape:
    return _shape(
        f"SmolLM2-{size}", layers=layers, hidden=hidden, heads=heads, kv_heads=kv_heads, ffn=ffn,
        vocab=49152, tied=True, positions=8192,
    )  # fmt: skip


SHAPES: dict[str, Shape] = {
    # The paper's table of models, its section 5.1; GPT with untied head and rotary positions.
    "7b": _paper("MEMO 7B", 32, 4096, 32),
    "13b": _paper("MEMO 13B", 40, 5120, 40),
    "30b": _paper("MEMO 30B", 48, 7168, 56),
    "65b": _paper("MEMO 65B", 80, 8192, 64),
    # config.json of HuggingFaceTB/SmolLM2-135M, -360M and -1.7B.
    "smollm2": _smollm2("135M", 30, 576, 9, 3, 1536),
    "smollm2-360m": _smollm2("360M", 32, 960, 15, 5, 2560),
    "smollm2-1.7b": _smollm2("1.7B", 24, 2048, 32, 32, 8192),
}
"""Shapes that need no file: the paper's and SmolLM2's."""


def _windows(c: Any) -> dict[str, int]:
    window = getattr(c, "sliding_window", None) or 0
    if not window:
        return {}
    types = getattr(c, "layer_types", None)
    if types:
        count = sum(t == "sliding_attention" for t in types)
    else:
        count = c.num_hidden_layers if getattr(c, "use_sliding_window", True) else 0
    return {"window": int(window), "windowed": count} if count else {}


def _llama(c: Any, **more: Any) -> dict[str, Any]:
    bias = bool(getattr(c, "attention_bias", False))
    return {
        "layers": c.num_hidden_layers,
        "hidden": c.hidden_size,
        "heads": c.num_attention_heads,
        "kv_heads": getattr(c, "num_key_value_heads", None) or c.num_attention_heads,
        "head_dim": getattr(c, "head_dim", None) or c.hidden_size // c.num_attention_heads,
        "ffn": c.intermediate_size,
        "vocab": c.vocab_size,
        "tied": bool(c.tie_word_embeddings),
        "qkv_bias": bias,
        "out_bias": bias,
        "mlp_bias": bool(getattr(c, "mlp_bias", False)),
        "positions": getattr(c, "max_position_embeddings", 0) or 0,
        **_windows(c),
        **more,
    }


def _qk(c: Any) -> int:
    return getattr(c, "head_dim", None) or c.hidden_size // c.num_attention_heads


def _olmo2(c: Any) -> dict[str, Any]:
    found = _llama(c)
    widths = found["head_dim"] * (found["heads"] + found["kv_heads"])
    return {**found, "qk_norm": widths, "qk_saved": True}


def _gpt2(c: Any) -> dict[str, Any]:
    return {
        "layers": c.n_layer, "hidden": c.n_embd, "heads": c.n_head,
        "ffn": c.n_inner or 4 * c.n_embd, "vocab": c.vocab_size, "gated": False,
        "tied": bool(c.tie_word_embeddings), "qkv_bias": True, "out_bias": True, "mlp_bias": True,
        "layer_norm": True, "learned_positions": c.n_positions, "positions": c.n_positions,
    }  # fmt: skip


def _neox(c: Any) -> dict[str, Any]:
    bias = bool(getattr(c, "attention_bias", True))
    return {
        "layers": c.num_hidden_layers, "hidden": c.hidden_size, "heads": c.num_attention_heads,
        "ffn": c.intermediate_size, "vocab": c.vocab_size, "gated": False,
        "tied": bool(c.tie_word_embeddings), "qkv_bias": bias, "out_bias": bias, "mlp_bias": True,
        "layer_norm": True, "parallel": bool(c.use_parallel_residual),
        "positions": c.max_position_embeddings,
    }  # fmt: skip


def _opt(c: Any) -> dict[str, Any]:
    if c.word_embed_proj_dim != c.hidden_size or not c.do_layer_norm_before:
        raise DataError(
            "this OPT projects its embeddings or norms after the block (350M); it is not counted"
        )
    bias = bool(getattr(c, "enable_bias", True))
    return {
        "layers": c.num_hidden_layers, "hidden": c.hidden_size, "heads": c.num_attention_heads,
        "ffn": c.ffn_dim, "vocab": c.vocab_size, "gated": False,
        "tied": bool(c.tie_word_embeddings), "qkv_bias": bias, "out_bias": bias, "mlp_bias": bias,
        "layer_norm": True, "learned_positions": c.max_position_embeddings + 2,
        "activation_saves_input": c.activation_function != "relu",
        "positions": c.max_position_embeddings,
    }  # fmt: skip


def _starcoder2(c: Any) -> dict[str, Any]:
    bias = bool(c.use_bias)
    return _llama(
        c, gated=False, qkv_bias=bias, out_bias=bias, mlp_bias=bias, layer_norm=True
    )  # fmt: skip


_FAMILIES: dict[str, Callable[[Any], dict[str, Any]]] = {
    "llama": _llama,
    "mistral": lambda c: _llama(c, qkv_bias=False, out_bias=False),
    "qwen2": lambda c: _llama(c, qkv_bias=True, out_bias=False),
    "qwen3": lambda c: _llama(c, qk_norm=2 * _qk(c), qk_saved=True),
    "smollm3": _llama,
    "granite": _llama,
    "phi3": lambda c: _llama(c, qkv_bias=False, out_bias=False),
    "gemma": _llama,
    "gemma2": lambda c: _llama(c, norms=4),
    "gemma3_text": lambda c: _llama(c, norms=4, qk_norm=2 * _qk(c), qk_saved=True),
    "olmo2": _olmo2,
    "starcoder2": _starcoder2,
    "gpt2": _gpt2,
    "gpt_neox": _neox,
    "opt": _opt,
}
"""Families of dense decoders, by ``model_type``; each count is tested against the model itself."""


def shape_of(model: Shape | Mapping[str, Any] | str | Path) -> Shape:
    """The shape of a model: by name, from a configuration file, or as it is given.

    Args:
        model: A `Shape`; a name of `SHAPES`; a folder or ``config.json``; what one holds, as a
            mapping; or ``hf:NAME``, the only one that goes to the hub.

    Raises:
        UnknownName: If there is no such name or file, or its ``model_type`` is not one that is counted
            (mixtures of experts, encoders).
        DataError: If the file is no configuration, or says something impossible.
        MissingExtra: If a configuration is read and transformers is not installed.

    >>> shape_of("7b").skeletal / shape_of("7b").hidden
    16.0
    """
    if isinstance(model, Shape):
        return model
    if isinstance(model, Mapping):
        return _from_config(dict(model), str(model.get("_name_or_path") or "model"))
    text = str(model)
    if text in SHAPES:
        return SHAPES[text]
    if text.startswith("hf:"):
        return _from_hub(text[3:])
    path = Path(model)
    if path.is_dir():
        path = path / "config.json"
    if not path.is_file():
        if path.suffix == ".json" or len(path.parts) > 1:
            raise DataError(f"{path}: there is no such file; name a config.json or its folder")
        raise UnknownName("model shape", text, SHAPES)
    try:
        raw = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read: {error}") from error
    except (json.JSONDecodeError, RecursionError) as error:
        raise DataError(f"{path}: is not JSON: {error}") from error
    if not isinstance(raw, dict):
        raise DataError(f"{path}: holds {type(raw).__name__}; a configuration is an object")
    name = raw.get("_name_or_path") or path.resolve().parent.name
    try:
        return _from_config(raw, str(name))
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def _from_hub(name: str) -> Shape:
    transformers = need("transformers", "torch")
    try:
        config = transformers.AutoConfig.from_pretrained(name)
    except (OSError, ValueError) as error:
        first = str(error).strip().split("\n")[0]
        raise DataError(f"hf:{name}: its configuration cannot be had: {first}") from error
    return _from_config(config.to_dict(), name)


def _from_config(raw: dict[str, Any], name: str) -> Shape:
    transformers = need("transformers", "torch")
    kind = raw.get("model_type")
    if isinstance(raw.get("text_config"), dict):  # a model of pictures and text: its decoder counts
        raw = raw["text_config"]
        kind = raw.get("model_type", kind)
    if not isinstance(kind, str):
        raise DataError("the configuration has no model_type")
    if kind not in _FAMILIES:
        raise UnknownName("model type", kind, _FAMILIES)
    rest = {k: v for k, v in raw.items() if k != "model_type"}
    try:
        # What the file leaves out has the class's default.
        config = transformers.AutoConfig.for_model(kind, **rest)
        found = _FAMILIES[kind](config)
    except DataError:
        raise
    except Exception as error:  # whatever transformers makes of a broken file
        first = str(error).strip().split("\n")[0]
        raise DataError(
            f"the configuration cannot be used: {type(error).__name__}: {first}"
        ) from error
    for key in ("layers", "hidden", "heads", "ffn", "vocab"):
        value = found[key]
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise DataError(f"{key} is {value!r}; a whole number of 1 or more is needed")
    if "head_dim" not in found and found["hidden"] % found["heads"]:
        raise DataError(f"{found['heads']} heads do not divide the width {found['hidden']}")
    return _shape(name, **found)
