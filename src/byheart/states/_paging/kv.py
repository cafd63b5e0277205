"""Blocks of keys and values that prompts share, kept within a bound by any eviction policy."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from byheart.core.errors import OutputError, UsageError
from byheart.states._paging.bits import Trace
from byheart.states._paging.cache import PagedCache
from byheart.states._paging.policies import POLICIES, Policy

__all__ = ["KVBlockPool", "PoolStats", "WaitingQueueBit"]

Block = tuple[tuple[torch.Tensor, torch.Tensor], ...]


class WaitingQueueBit:
    """The discard bit of a block: 0 while a request that waits begins with it, else 1.

    Args:
        queue: Token ids of the requests that wait; looked at anew with every prompt, so a deque that
            a server fills and empties will do.

    >>> bit = WaitingQueueBit([[1, 2, 3, 4]])
    >>> pool = KVBlockPool(8, "flush", block=2, predictor=bit)
    >>> [bit(key) for key in pool.keys([1, 2, 9, 9])]
    [0, 1]
    """

    def __init__(self, queue: Iterable[Sequence[int]]) -> None:
        self._queue = queue
        self._wanted: set[Hashable] = set()
        self._keys: Callable[[Sequence[int]], list[str]] | None = None

    def bind(self, keys: Callable[[Sequence[int]], list[str]]) -> None:
        """The pool says how blocks are named."""
        self._keys = keys
        self.look()

    def look(self) -> None:
        """Take in the queue as it is now."""
        if self._keys is not None:
            self._wanted = {key for ids in list(self._queue) for key in self._keys(ids)}

    def __call__(self, key: Hashable) -> int:
        """The bit of a block."""
        return 0 if key in self._wanted else 1


@dataclass
class PoolStats:
    """What a pool did so far.

    Attributes:
        prompts: How many were looked up.
        tokens: Their tokens.
        reused: Tokens of them whose keys and values were there.
        hits, misses: Whole blocks of prompts that were there, and that were not.
        evictions: Blocks that had to leave.
        orphans: Blocks that left because one before them did: without it they are of no use.
        blocks: Blocks that are held.
        bytes: Their bytes.
    """

    prompts: int = 0
    tokens: int = 0
    reused: int = 0
    hits: int = 0
    misses: int = 0
    evictions: int = 0
    orphans: int = 0
    blocks: int = 0
    bytes: int = 0


class KVBlockPool:
    """Keys and values of prompts' beginnings, in blocks that later prompts take up.

    A block is named by its tokens and all tokens before it, so that prompts which begin alike share
    blocks. What is loaded is copied: a block that is evicted meanwhile takes nothing from a request
    that runs. Within a prompt the last block is touched first, so that of one chain the end leaves
    first; if a block leaves before those behind it, they leave with it. Safe to use from several
    threads.

    Args:
        capacity: Blocks that are held, or None where `capacity_bytes` bounds them.
        policy: A name of `POLICIES` or a policy that holds nothing yet.
        block: Tokens of a block.
        predictor: Asked with each block for what the policy wants to know (`Policy.hint`):
            `WaitingQueueBit`, or a function of the block's name.
        capacity_bytes: Bound in bytes instead; the policy then does not know its number of blocks.
        salt: Of the names; give the model's name where several models share a process.
        seed: Of the coins of a policy by name.

    Raises:
        UsageError: If there is no bound or two, a number is not positive, or the policy needs a
            predictor and there is none.

    >>> pool = KVBlockPool(64, "lru", block=4)
    >>> cache, known = pool.load([5, 6, 7, 8, 9])
    >>> known, pool.stats.misses
    (0, 1)
    """

    def __init__(
        self,
        capacity: int | None = None,
        policy: str | Policy = "lru",
        *,
        block: int = 16,
        predictor: Callable[[Hashable], Any] | None = None,
        capacity_bytes: int | None = None,
        salt: str = "",
        seed: int = 0,
    ) -> None:
        if (capacity is None) == (capacity_bytes is None):
            raise UsageError("give capacity in blocks or capacity_bytes, one of them")
        bound = capacity if capacity is not None else capacity_bytes
        for name, value in (("capacity", bound), ("block", block)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise UsageError(f"{name} must be a whole number of 1 or more, got {value!r}")
        assert bound is not None
        if isinstance(policy, str) and capacity is not None and policy in POLICIES:
            policy = POLICIES[policy](capacity, seed)
        self.block, self.salt = block, salt
        self._lock = threading.RLock()
        self._parent: dict[Hashable, Hashable | None] = {}
        self._children: dict[Hashable, set[Hashable]] = {}
        self._bytes: dict[Hashable, int] = {}
        self._log: list[int] = []
        self._numbers: dict[Hashable, int] = {}
        self.stats = PoolStats()
        self._predictor = predictor
        if isinstance(predictor, WaitingQueueBit):
            predictor.bind(self.keys)
        self._cache: PagedCache[Block] = PagedCache(
            bound, policy, size=(lambda value: 1) if capacity is not None else _size,
            hint=predictor, seed=seed, evicted=self._left,
        )  # fmt: skip

    def keys(self, ids: Sequence[int] | torch.Tensor) -> list[str]:
        """Names of the whole blocks of a prompt."""
        tokens = _tokens(ids)
        name = hashlib.blake2b(f"{self.salt}\0{self.block}".encode(), digest_size=16).digest()
        out = []
        for at in range(0, len(tokens) - self.block + 1, self.block):
            part = np.asarray(tokens[at : at + self.block], np.int64).tobytes()
            name = hashlib.blake2b(name + part, digest_size=16).digest()
            out.append(name.hex())
        return out

    def load(self, ids: Sequence[int] | torch.Tensor, model: Any = None) -> tuple[Any, int]:
        """Keys and values of as much of a prompt's beginning as is held.

        Args:
            ids: The prompt's tokens, [T] or [1, T].
            model: A transformers model: the cache is put on its device, and refused where its layers
                keep a window only.

        Returns:
            A `transformers.DynamicCache` and how many tokens it holds; at least one token of the
            prompt is left, whose logits are wanted.

        Raises:
            UsageError: If the prompt is empty or a batch, or the model's layers keep a window.
        """
        from transformers import DynamicCache

        tokens = _tokens(ids)
        if not tokens:
            raise UsageError("the prompt is empty; there is nothing to load")
        if model is not None:
            _whole_attention(model)
        with self._lock:
            self._look()
            names = self.keys(tokens)
            self.stats.prompts += 1
            self.stats.tokens += len(tokens)
            held = 0
            while held < len(names) and names[held] in self._cache:
                held += 1
            self.stats.hits += held
            self.stats.misses += len(names) - held
            # The last token is computed anyway; a block that holds nothing else is not used.
            use = min(held, (len(tokens) - 1) // self.block)
            blocks: list[Block] = []
            for name in reversed(names[:held]):
                self._note(name)
                value = self._cache.get(name)
                if value is not None:
                    blocks.append(value)
            blocks = blocks[::-1][:use]
            self.stats.reused += len(blocks) * self.block
        cache = DynamicCache()
        device = None if model is None else next(model.parameters()).device
        for layer in range(len(blocks[0]) if blocks else 0):
            k = torch.cat([b[layer][0] for b in blocks], dim=-2).to(
                device or blocks[0][layer][0].device
            )
            v = torch.cat([b[layer][1] for b in blocks], dim=-2).to(
                device or blocks[0][layer][1].device
            )
            cache.update(k, v, layer)
        return cache, len(blocks) * self.block

    def store(self, ids: Sequence[int] | torch.Tensor, cache: Any) -> int:
        """Keep the whole blocks that a cache holds of these tokens.

        Args:
            ids: The tokens whose keys and values the cache holds, [T] or [1, T]; those behind them in
                the cache are left out.
            cache: A `transformers.DynamicCache` of one sequence, positions from 0 on.

        Returns:
            How many blocks are new.

        Raises:
            UsageError: If the cache holds a batch, a window, or no keys and values one can read.
        """
        tokens = _tokens(ids)
        layers = _layers(cache)
        length = min(len(tokens), layers[0][0].shape[-2])
        with self._lock:
            self._look()
            names = self.keys(tokens[:length])
            new = 0
            for i in reversed(range(len(names))):
                if names[i] in self._cache:
                    self._note(names[i])  # after what lies behind it, so that it leaves later
                    self._cache.get(names[i])
                    continue
                begin, end = i * self.block, (i + 1) * self.block
                value = tuple(
                    (k[..., begin:end, :].detach().clone(), v[..., begin:end, :].detach().clone())
                    for k, v in layers
                )
                parent = names[i - 1] if i else None
                self._parent[names[i]] = parent
                if parent is not None:
                    self._children.setdefault(parent, set()).add(names[i])
                self._bytes[names[i]] = _size(value)
                self._note(names[i])
                if self._cache.put(names[i], value):
                    new += 1
                else:
                    self._forget(names[i])
            self._orphans(names)
            self._count()
        return new

    def generate(self, model: Any, ids: torch.Tensor, **settings: Any) -> torch.Tensor:
        """`model.generate` for one prompt, with what is held of it; and keep what it computed.

        Args:
            model: A transformers causal language model.
            ids: The prompt, [1, T].
            **settings: As for `model.generate`.

        Returns:
            Prompt and continuation, [1, T + new].
        """
        cache, _ = self.load(ids, model)
        out: torch.Tensor = model.generate(
            ids, past_key_values=cache, attention_mask=torch.ones_like(ids), **settings
        )
        # The last token drawn was never read.
        self.store(out[0, :-1], cache)
        return out

    def trace(self) -> Trace:
        """Every touch of a block in order, for `simulate` and `byheart page`."""
        return Trace(np.asarray(self._log, np.int64))

    def write_trace(self, path: Path | str) -> None:
        """The same as a file, one block a line.

        Raises:
            OutputError: If it cannot be written.
        """
        try:
            Path(path).write_text("".join(f"{n}\n" for n in self._log), encoding="ascii")
        except OSError as error:
            raise OutputError(f"{path} cannot be written: {error.strerror}") from error

    def __len__(self) -> int:
        return len(self._cache)

    def _look(self) -> None:
        if isinstance(self._predictor, WaitingQueueBit):
            self._predictor.look()

    def _note(self, name: Hashable) -> None:
        self._log.append(self._numbers.setdefault(name, len(self._numbers)))

    def _left(self, name: Hashable, value: Block) -> None:
        """A block was evicted: what lies behind it is of no use any more."""
        self.stats.evictions += 1
        self._forget(name)

    def _forget(self, name: Hashable) -> None:
        for child in list(self._children.pop(name, ())):
            if self._cache.drop(child):
                self.stats.orphans += 1
            self._forget(child)
        parent = self._parent.pop(name, None)
        if parent in self._children:
            self._children[parent].discard(name)
        self._bytes.pop(name, None)

    def _orphans(self, names: Sequence[str]) -> None:
        """Blocks whose beginning was evicted, or found no room, while the chain was put in."""
        for i, name in enumerate(names):
            if name not in self._cache:
                for later in names[i + 1 :]:
                    if self._cache.drop(later):
                        self.stats.orphans += 1
                    self._forget(later)
                return

    def _count(self) -> None:
        self.stats.blocks = len(self._cache)
        self.stats.bytes = sum(self._bytes.values())


def _tokens(ids: Sequence[int] | torch.Tensor) -> list[int]:
    if isinstance(ids, torch.Tensor):
        if ids.dim() == 2 and ids.shape[0] == 1:
            ids = ids[0]
        if ids.dim() != 1:
            raise UsageError(f"one prompt at a time, [T] or [1, T]; got shape {tuple(ids.shape)}")
        return [int(i) for i in ids.tolist()]
    return [int(i) for i in ids]


def _size(value: Block) -> int:
    return sum(t.numel() * t.element_size() for pair in value for t in pair)


def _whole_attention(model: Any) -> None:
    config = model.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or ())
    odd = sorted(kinds - {"full_attention"})
    window = getattr(config, "sliding_window", None) if not kinds else None
    if odd or (window and getattr(config, "use_sliding_window", True)):
        what = ", ".join(odd) or f"a window of {window} tokens"
        raise UsageError(
            f"{type(model).__name__} has layers with {what}: they do not keep all keys and values, so "
            "blocks of them cannot be shared; use a model with full attention in every layer"
        )


def _layers(cache: Any) -> list[tuple[torch.Tensor, torch.Tensor]]:
    layers = getattr(cache, "layers", None)
    if not layers:
        raise UsageError(
            f"{type(cache).__name__} holds no keys and values; give the DynamicCache of a forward pass"
        )
    out = []
    for i, layer in enumerate(layers):
        keys, values = getattr(layer, "keys", None), getattr(layer, "values", None)
        if getattr(layer, "is_sliding", False):
            raise UsageError(
                f"layer {i} keeps a window only; blocks of it cannot be shared. Use a model with full "
                "attention in every layer"
            )
        if (
            not isinstance(keys, torch.Tensor)
            or not isinstance(values, torch.Tensor)
            or keys.dim() != 4
        ):
            raise UsageError(
                f"layer {i} of {type(cache).__name__} shows no keys and values of shape [1, heads, T, "
                "width]; give a DynamicCache"
            )
        if keys.shape[0] != 1:
            raise UsageError(f"the cache holds {keys.shape[0]} sequences; store them one at a time")
        out.append((keys, values))
    return out
