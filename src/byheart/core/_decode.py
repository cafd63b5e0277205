"""Batched decoding: one prefill a prompt, rows leave as they finish, seeded row by row.

A row's random numbers depend on its ask and its place in it, never on what it is batched with.
Shape suffixes: R rows, U prompts, L prompt length, T attended length, V vocabulary.
"""

from __future__ import annotations

import copy
import inspect
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from byheart.core.ask import Completion, Sample
from byheart.core.errors import DataError, ModelError
from byheart.core.model import Progress

if TYPE_CHECKING:
    from byheart.core.local import LocalModel

__all__ = ["behind", "decode", "keeps_keys", "past_of"]

_BYTES = 2**31
"""Most bytes of keys and values held at once: on a CPU; elsewhere a third of what is free."""


@dataclass
class _Row:
    """One continuation under way."""

    ask: int
    index: int
    sample: Sample
    prompt: list[int]
    uniforms: np.ndarray
    out: list[int] = field(default_factory=list)
    stop: str = ""


def decode(
    model: LocalModel, asks: Sequence[Sample], progress: Progress | None = None
) -> list[list[Completion]]:
    """Continue all prompts; see `LocalModel.sample`. The same ask is decoded once."""
    import torch

    where: dict[Sample, list[int]] = {}
    for i, ask in enumerate(asks):
        where.setdefault(ask, []).append(i)
    places = list(where.values())
    asks = list(where)
    results: list[list[Completion | None]] = [[None] * a.n for a in asks]
    left = [a.n for a in asks]
    ends = _end_ids(model)
    with torch.inference_mode():
        for group in _groups(model, asks):
            for row in _run(model, group, ends):
                results[row.ask][row.index] = _completion(model, row)
                left[row.ask] -= 1
                if progress and left[row.ask] == 0:
                    progress(len(places[row.ask]))
    out: list[list[Completion | None]] = [[] for _ in range(sum(map(len, places)))]
    for result, some in zip(results, places, strict=True):
        for i in some:
            out[i] = list(result)
    return out  # type: ignore[return-value]


def _groups(model: LocalModel, asks: Sequence[Sample]) -> Iterator[list[_Row]]:
    """Rows in batches: prompts of like length together, one prompt's rows side by side."""
    prompts = [model.prompt_ids(a.prompt) for a in asks]
    limit = model.context_length
    for ask, ids in zip(asks, prompts, strict=True):
        if len(ids) + ask.max_tokens > limit:
            raise DataError(
                f"a prompt of {len(ids)} tokens and {ask.max_tokens} new ones exceed the context "
                f"of {model.name} ({limit} tokens); shorten it or lower max_tokens"
            )
    group: list[_Row] = []
    rows, most = (model.batch_rows, _slots(model)) if model.caches else (1, 1)
    slots = 0
    for i in sorted(range(len(asks)), key=lambda i: (len(prompts[i]), asks[i].max_tokens)):
        ask = asks[i]
        for j in range(ask.n):
            need = len(prompts[i]) + ask.max_tokens
            if group and (len(group) >= rows or max(slots, need) * (len(group) + 1) > most):
                yield group
                group, slots = [], 0
            key = zlib.crc32(repr((ask.seed, ask.prompt, j)).encode())
            uniforms = (
                np.random.default_rng(key).random(ask.max_tokens)
                if ask.temperature > 0
                else np.zeros(0)
            )
            group.append(_Row(i, j, ask, prompts[i], uniforms))
            slots = max(slots, need)
    if group:
        yield group


def _slots(model: LocalModel) -> int:
    """Most row x token slots of keys and values held at once."""
    import torch

    room = _BYTES
    if model.device.type == "cuda":
        room = torch.cuda.mem_get_info(model.device)[0] // 3
    config = model.module.config.get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    size = next(model.module.parameters()).element_size()
    return max(1, room // (2 * config.num_hidden_layers * heads * width * size))


def _run(model: LocalModel, group: list[_Row], ends: frozenset[int]) -> Iterator[_Row]:
    """Decode one batch; rows are yielded as they finish."""
    import torch

    unique: dict[tuple[int, ...], int] = {}
    source_R = [unique.setdefault(tuple(r.prompt), len(unique)) for r in group]
    prompts = list(unique)
    longest = max(map(len, prompts))
    room = longest + max(r.sample.max_tokens for r in group)
    ids_UL = torch.zeros(len(prompts), longest, dtype=torch.long)
    pad_U = torch.tensor([longest - len(p) for p in prompts])
    for u, p in enumerate(prompts):
        ids_UL[u, longest - len(p) :] = torch.tensor(p)
    padded = bool(pad_U.any())
    device = model.device
    if not model.caches:
        yield from _run_without_cache(model, group, ends)
        return
    cache = _cache(model, room)
    logits_UV = _forward(model, ids_UL.to(device), pad_U if padded else None, 0, cache)
    if len(group) > len(prompts) or source_R != list(range(len(prompts))):
        cache.select(torch.tensor(source_R, device=device))
    logits_RV = logits_UV[torch.tensor(source_R, device=device)]
    pad_R, rows, length = pad_U[torch.tensor(source_R)], list(group), longest
    while True:
        tokens = _choose(model, rows, logits_RV)
        keep = []
        for k, (row, token) in enumerate(zip(rows, tokens, strict=True)):
            _take(model, row, token, ends)
            if row.stop:
                yield row
            else:
                keep.append(k)
        if not keep:
            return
        if len(keep) < len(rows):
            order = cache.keep(keep)
            pad_R, rows = pad_R[order], [rows[k] for k in order]
        ids_R1 = torch.tensor([[r.out[-1]] for r in rows], device=device)
        logits_RV = _forward(model, ids_R1, pad_R if padded else None, length, cache)
        length += 1


def _run_without_cache(
    model: LocalModel, group: list[_Row], ends: frozenset[int]
) -> Iterator[_Row]:
    """For recurrent models: each step reads the text anew. Slow, and right."""
    import torch

    for row in group:
        while not row.stop:
            ids_1L = torch.tensor([row.prompt + row.out], device=model.device)
            logits_1V = model.module(input_ids=ids_1L, use_cache=False).logits[:, -1]
            _take(model, row, _choose(model, [row], _wide(logits_1V))[0], ends)
        yield row


def _take(model: LocalModel, row: _Row, token: int, ends: frozenset[int]) -> None:
    """Append a token to a row, and note whether it ends there."""
    if token in ends:
        row.stop = "stop"
        return
    row.out.append(token)
    if row.sample.stop and _stopped(model, row):
        row.stop = "stop"
    elif len(row.out) >= row.sample.max_tokens:
        row.stop = "length"


def _forward(model: LocalModel, ids_RL: Any, pad_R: Any, past: int, cache: Any) -> Any:
    """Logits `[R, V]` of the last position. `pad_R` is how many slots at the left are padding."""
    import torch

    rows, new = ids_RL.shape
    kwargs: dict[str, Any] = {}
    if pad_R is not None:
        pad_R = pad_R.to(ids_RL.device)
        slots_T = torch.arange(past + new, device=ids_RL.device)
        kwargs["attention_mask"] = (slots_T[None, :] >= pad_R[:, None]).long()
        kwargs["position_ids"] = (slots_T[None, past:] - pad_R[:, None]).clamp_min(0)
    elif past:
        kwargs["position_ids"] = torch.full((rows, new), past, device=ids_RL.device)
    kwargs[_cache_word(model)] = cache.cache
    output = model.module(input_ids=ids_RL, use_cache=True, logits_to_keep=1, **kwargs)
    return _wide(output.logits[:, -1])


def _wide(logits: Any) -> Any:
    """Float32 at least."""
    import torch

    return logits if logits.dtype == torch.float64 else logits.float()


def _inner(model: LocalModel) -> Any:
    """The transformers model, out of an adapter's wrapping."""
    module = model.module
    return module.get_base_model() if hasattr(module, "get_base_model") else module


def _cache_word(model: LocalModel) -> str:
    """What this version of transformers calls the cache; empty if the model takes none."""
    known = inspect.signature(_inner(model).forward).parameters
    return next((word for word in ("cache", "past_key_values") if word in known), "")


def keeps_keys(model: LocalModel) -> bool:
    """Whether all layers keep keys and values (which can be padded, repeated and dropped)."""
    from transformers import DynamicCache
    from transformers.cache_utils import DynamicLayer

    if not _cache_word(model):
        return False
    layers = DynamicCache(config=model.module.config).layers
    return all(isinstance(layer, DynamicLayer) for layer in layers)


def past_of(model: LocalModel, ids_1L: Any, past: Any = None, length: int = 0) -> Any:
    """Keys and values of one beginning, or of its rest behind `past` of `length` tokens."""
    from transformers import DynamicCache

    word = _cache_word(model)
    if past is None:
        told = {"use_cache": True, word: DynamicCache(config=model.module.config)}
    else:
        told = behind(model, past, ids_1L, length)
    model.module(input_ids=ids_1L, logits_to_keep=1, **told)
    return told[word]


def behind(model: LocalModel, past: Any, ids_BL: Any, length: int) -> dict[str, Any]:
    """What a forward pass needs to go on from the `past_of` a beginning, in every row."""
    import torch

    cache = copy.deepcopy(past)
    cache.batch_repeat_interleave(len(ids_BL))
    positions_1L = torch.arange(length, length + ids_BL.shape[1], device=ids_BL.device)[None]
    return {
        "use_cache": True,
        "position_ids": positions_1L.expand(len(ids_BL), -1),
        _cache_word(model): cache,
    }


def _choose(model: LocalModel, rows: Sequence[_Row], logits_RV: Any) -> list[int]:
    """Next token of every row: the argmax, or the inverse distribution at its uniform number."""
    import torch

    top_R, greedy_R = logits_RV.max(-1)
    if not bool(torch.isfinite(top_R).all()):
        bad = rows[int((~torch.isfinite(top_R)).nonzero()[0, 0])]
        raise ModelError(
            f"{model.name} gave NaN or infinite logits after the prompt "
            f"beginning {str(bad.sample.prompt)[:60]!r}; try --dtype float32"
        )
    tokens = greedy_R.tolist()
    hot = [k for k, r in enumerate(rows) if r.sample.temperature > 0]
    if not hot:
        return tokens
    index = torch.tensor(hot, device=logits_RV.device)
    scale = torch.tensor([rows[k].sample.temperature for k in hot], device=logits_RV.device)
    probs = torch.softmax((logits_RV[index] - top_R[index, None]) / scale[:, None], -1)
    top_k = [rows[k].sample.top_k for k in hot]
    if max(top_k) > 0:
        probs = _likeliest(probs, torch.tensor(top_k, device=probs.device))
    top_p = [rows[k].sample.top_p for k in hot]
    if min(top_p) < 1:
        probs = _nucleus(probs, torch.tensor(top_p, device=probs.device))
    cumulative = probs.double().cumsum(-1)
    u = torch.tensor([float(rows[k].uniforms[len(rows[k].out)]) for k in hot], dtype=torch.double)
    drawn = torch.searchsorted(
        cumulative, u.to(probs.device)[:, None] * cumulative[:, -1:], right=True
    )
    for k, token in zip(hot, drawn[:, 0].clamp_max(probs.shape[-1] - 1).tolist(), strict=True):
        tokens[k] = token
    return tokens


def _likeliest(probs: Any, top_k: Any) -> Any:
    """Keep the `top_k` largest of each row, and their mass 1; rows with 0 keep all."""
    import torch

    ordered, order = probs.sort(dim=-1, descending=True, stable=True)
    place = torch.arange(probs.shape[-1], device=probs.device)
    left = ordered.masked_fill((place >= top_k[:, None]) & (top_k[:, None] > 0), 0.0)
    return torch.zeros_like(probs).scatter(-1, order, left / left.sum(-1, keepdim=True))


def _nucleus(probs: Any, top_p: Any) -> Any:
    """Zero all but the smallest set of tokens whose mass reaches `top_p`."""
    ordered, order = probs.sort(-1, descending=True)
    before = ordered.cumsum(-1) - ordered
    return probs.scatter(-1, order, ordered.masked_fill(before >= top_p[:, None], 0.0))


def _text(model: LocalModel, row: _Row) -> str:
    """The new text; decoded behind the prompt's end, as some tokenizers drop a leading space."""
    tail = row.prompt[-6:]
    decode_ids = model.tokenizer.decode
    whole = decode_ids(tail + row.out, skip_special_tokens=True)
    base = decode_ids(tail, skip_special_tokens=True)
    if whole.startswith(base):
        return whole[len(base) :]
    return decode_ids(row.out, skip_special_tokens=True)


def _stopped(model: LocalModel, row: _Row) -> bool:
    text = _text(model, row)
    return any(s in text for s in row.sample.stop)


def _completion(model: LocalModel, row: _Row) -> Completion:
    text = _text(model, row)
    ends = [i for s in row.sample.stop if (i := text.find(s)) >= 0]
    if ends:
        text = text[: min(ends)]
        return Completion(text, tuple(model.encode(text)), "stop")
    return Completion(text, tuple(row.out), row.stop)


def _end_ids(model: LocalModel) -> frozenset[int]:
    """Every token that ends a text: of the generation settings, the tokenizer and the chat."""
    ends = getattr(getattr(model.module, "generation_config", None), "eos_token_id", None)
    found = set(ends if isinstance(ends, list | tuple) else [ends])
    found.add(model.tokenizer.eos_token_id)
    for token in ("<|im_end|>", "<|eot_id|>", "<|end|>", "<end_of_turn>", "<|endoftext|>", "</s>"):
        number = model.tokenizer.convert_tokens_to_ids(token)
        if number is not None and number != model.tokenizer.unk_token_id:
            found.add(number)
    return frozenset(int(t) for t in found if t is not None)


class _Cache:
    """Keys and values in buffers laid out once, so that a step copies one position, not all."""

    def __init__(self, cache: Any) -> None:
        self.cache = cache

    def select(self, index: Any) -> None:
        """Keep (or repeat) these rows."""
        self.cache.batch_select_indices(index)

    def keep(self, rows: list[int]) -> list[int]:
        """Keep these rows alone, and say their new order: the last ones fill the gaps."""
        import torch

        kept = set(rows)
        gaps = [i for i in range(len(rows)) if i not in kept]
        movers = [k for k in rows if k >= len(rows)]
        order = list(range(len(rows)))
        for gap, mover in zip(gaps, movers, strict=True):
            order[gap] = mover
        for layer in self.cache.layers:
            if isinstance(layer, _buffered_layer()):
                layer.fill(gaps, movers, len(rows))
            else:
                layer.batch_select_indices(torch.tensor(order, device=layer.keys.device))
        return order


def _cache(model: LocalModel, room: int) -> _Cache:
    from transformers import DynamicCache

    cache = DynamicCache(config=model.module.config)
    layer_type = _buffered_layer()
    from transformers.cache_utils import DynamicLayer

    for i, layer in enumerate(cache.layers):
        if type(layer) is DynamicLayer:
            cache.layers[i] = layer_type(room)
    return _Cache(cache)


def _buffered_layer() -> Any:
    """The layer class, made on first use: transformers is imported late."""
    global _LAYER
    if _LAYER is None:
        import torch
        from transformers.cache_utils import DynamicLayer

        class BufferedLayer(DynamicLayer):
            """A `DynamicLayer` whose tensors are views of a buffer with room to grow."""

            def __init__(self, room: int) -> None:
                super().__init__()
                self._room = room
                self._buffers: Any = None

            def update(self, key_states: Any, value_states: Any, *args: Any, **kwargs: Any) -> Any:
                if not self.is_initialized:
                    self.lazy_initialization(key_states, value_states)
                    self._used = 0
                new = key_states.shape[-2]
                if self._buffers is None or self._used + new > self._buffers[0].shape[-2]:
                    self._grow(key_states, value_states, new)
                span = slice(self._used, self._used + new)
                for buffer, states in zip(self._buffers, (key_states, value_states), strict=True):
                    buffer[:, :, span] = states
                self._used += new
                self.keys, self.values = (b[:, :, : self._used] for b in self._buffers)
                return self.keys, self.values

            def _grow(self, keys: Any, values: Any, new: int) -> None:
                room = max(self._room, self._used + new)
                old, self._buffers = self._buffers, []
                for i, states in enumerate((keys, values)):
                    shape = (*states.shape[:2], room, states.shape[-1])
                    buffer = torch.empty(shape, dtype=states.dtype, device=states.device)
                    if old is not None:
                        buffer[:, :, : self._used] = old[i][:, :, : self._used]
                    self._buffers.append(buffer)

            def batch_select_indices(self, indices: Any) -> None:
                if self._buffers is not None:
                    self._buffers = [b[indices] for b in self._buffers]
                    self.keys, self.values = (b[:, :, : self._used] for b in self._buffers)

            def fill(self, gaps: list[int], movers: list[int], rows: int) -> None:
                """Move rows into gaps and keep the first `rows`: nothing else is copied."""
                for b in self._buffers:
                    if gaps:
                        b[gaps, :, : self._used] = b[movers, :, : self._used]
                self._buffers = [b[:rows] for b in self._buffers]
                self.keys, self.values = (b[:, :, : self._used] for b in self._buffers)

        _LAYER = BufferedLayer
    return _LAYER


_LAYER: Any = None
