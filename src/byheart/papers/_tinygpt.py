"""A GPT small enough to train on two cores in minutes, for claims about what training leaves behind.

Shape suffixes: B batch, T time, V vocabulary, H heads, D head width.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import nn
from torch.nn import functional as F

from byheart.core.errors import UsageError

__all__ = ["Characters", "TinyGPT", "fit", "generate"]

Cache = list[tuple[torch.Tensor, torch.Tensor]]

_SEEDING = threading.Lock()
"""torch has one generator for all threads: two models made at once would draw from each other's seed."""


class Characters:
    """Characters (or pieces that a pattern cuts) as tokens; 0 pads, 1 ends a line.

    Args:
        texts: Every token that may occur must occur here.
        pattern: Regular expression of the pieces; what it does not match is cut into characters.

    >>> chars = Characters(["abc"])
    >>> chars.decode(chars.encode("cab"))
    'cab'
    """

    pad, end = 0, 1

    def __init__(self, texts: Iterable[str], pattern: str | None = None) -> None:
        self._cut = re.compile(f"{pattern}|(?s:.)") if pattern else None
        self._chars = sorted({c for text in texts for c in self._split(text)})
        self._index = {c: i + 2 for i, c in enumerate(self._chars)}

    def __len__(self) -> int:
        return len(self._chars) + 2

    def _split(self, text: str) -> list[str]:
        return list(text) if self._cut is None else self._cut.findall(text)

    def encode(self, text: str) -> list[int]:
        """Token ids of `text`.

        Raises:
            UsageError: If a character was not in the vocabulary's texts.
        """
        try:
            return [self._index[c] for c in self._split(text)]
        except KeyError as error:
            raise UsageError(f"the token {error.args[0]!r} is not in the vocabulary") from error

    def decode(self, ids: Iterable[int]) -> str:
        """The text of `ids`; padding and end leave nothing."""
        return "".join(self._chars[i - 2] for i in ids if i > 1)


class _Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(
        self,
        x_BTC: torch.Tensor,
        mask: torch.Tensor | None,
        past: tuple[torch.Tensor, torch.Tensor] | None,
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor]]:
        B, T, C = x_BTC.shape
        q, k, v = (
            t.view(B, T, self.heads, -1).transpose(1, 2)
            for t in self.qkv(self.norm1(x_BTC)).split(C, dim=-1)
        )
        if past is not None:
            k, v = torch.cat([past[0], k], dim=2), torch.cat([past[1], v], dim=2)
        a = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None)
        x_BTC = x_BTC + self.out(a.transpose(1, 2).reshape(B, T, C))
        return x_BTC + self.down(F.gelu(self.up(self.norm2(x_BTC)))), (k, v)


class TinyGPT(nn.Module):
    """A decoder-only transformer with learned positions and tied embeddings.

    Args:
        vocab: Number of tokens.
        layers: Blocks (sheet of the economic-recall paper: 3).
        width: Model width (128).
        heads: Attention heads (4); must divide `width`.
        context: Longest sequence (96).
        seed: Of the initial weights.
        std: Spread of the blocks' initial matrices. 0.02 is GPT-2's, for width 768; a width of 128
            learns single facts by heart several times faster from ``width ** -0.5`` = 0.09.

    >>> model = TinyGPT(10, layers=1, width=16, heads=2, context=8)
    >>> model(torch.zeros(2, 5, dtype=torch.long)).shape
    torch.Size([2, 5, 10])
    """

    def __init__(
        self,
        vocab: int,
        *,
        layers: int = 3,
        width: int = 128,
        heads: int = 4,
        context: int = 96,
        seed: int = 0,
        std: float = 0.02,
    ) -> None:
        if width % heads:
            raise UsageError(f"heads must divide width, got heads={heads}, width={width}")
        super().__init__()
        self.context = context
        with _SEEDING, torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.tokens, self.positions = nn.Embedding(vocab, width), nn.Embedding(context, width)
            self.blocks = nn.ModuleList(_Block(width, heads) for _ in range(layers))
            self.norm = nn.LayerNorm(width)
            for name, p in self.named_parameters():
                if p.dim() == 2:
                    deep = name.endswith(("out.weight", "down.weight"))
                    inside = std if name.startswith("blocks") else 0.02
                    nn.init.normal_(p, std=inside / ((2 * layers) ** 0.5 if deep else 1.0))

    def forward(self, ids_BT: torch.Tensor) -> torch.Tensor:
        """Logits ``[B, T, V]`` of right-padded sequences."""
        return self._run(ids_BT, torch.arange(ids_BT.shape[1], device=ids_BT.device), None, None)[0]

    def _run(
        self,
        ids_BT: torch.Tensor,
        positions: torch.Tensor,
        mask: torch.Tensor | None,
        past: Cache | None,
    ) -> tuple[torch.Tensor, Cache]:
        if int(positions.max()) >= self.context:
            raise UsageError(
                f"the sequence needs {int(positions.max()) + 1} positions, context is {self.context}"
            )
        x = self.tokens(ids_BT) + self.positions(positions)
        cache: Cache = []
        for i, block in enumerate(self.blocks):
            x, kv = block(x, mask, past[i] if past else None)
            cache.append(kv)
        return self.norm(x) @ self.tokens.weight.T, cache


def fit(
    model: TinyGPT,
    documents: Sequence[Sequence[int]],
    *,
    epochs: int,
    batch: int = 64,
    lr: float = 2e-3,
    loss_from: Sequence[int] | None = None,
    weight_decay: float = 0.01,
    seed: int = 0,
    progress: Callable[[float, float], None] | None = None,
) -> list[float]:
    """Train on `documents`: AdamW, one-cycle schedule, batches of like length.

    Args:
        model: Trained in place, on the device where it is.
        documents: Token ids, one sequence a document, its end token included where wanted.
        epochs: Passes over all documents.
        batch: Documents a step.
        lr: Peak learning rate.
        loss_from: First position of each document that is learned (a prompt's length); None
            learns all.
        weight_decay: Of AdamW.
        seed: Of the order.
        progress: Called with the share that is done and the latest loss.

    Returns:
        Mean loss of each epoch, nats a token.

    Raises:
        UsageError: If a document is shorter than two tokens or longer than the context.
    """
    if (
        not documents
        or min(map(len, documents)) < 2
        or max(map(len, documents)) > model.context + 1
    ):
        raise UsageError(
            f"documents must have 2 to {model.context + 1} tokens, and be at least one"
        )
    device = next(model.parameters()).device
    starts = loss_from if loss_from is not None else [0] * len(documents)
    for i, (start, document) in enumerate(zip(starts, documents, strict=True)):
        if start >= len(document):
            raise UsageError(
                f"document {i} has {len(document)} tokens, loss_from={start} leaves none to learn"
            )
    generator = torch.Generator().manual_seed(seed)
    batches = -(-len(documents) // batch)
    optimiser = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, max_lr=lr, total_steps=epochs * batches + 1, pct_start=0.15
    )
    model.train()
    history = []
    for epoch in range(epochs):
        order = torch.randperm(len(documents), generator=generator).tolist()
        order.sort(key=lambda i: len(documents[i]))  # stable: shuffled among like lengths
        total, count = 0.0, 0
        for done, b in enumerate(torch.randperm(batches, generator=generator).tolist()):
            rows = order[b * batch : (b + 1) * batch]
            longest = max(len(documents[i]) for i in rows)
            ids = torch.zeros(len(rows), longest, dtype=torch.long)
            target = torch.full((len(rows), longest - 1), -100)
            for r, i in enumerate(rows):
                tokens = torch.as_tensor(documents[i])
                ids[r, : len(tokens)] = tokens
                first = max(starts[i], 1)
                target[r, first - 1 : len(tokens) - 1] = tokens[first:]
            ids, target = ids.to(device), target.to(device)
            loss = F.cross_entropy(model(ids[:, :-1]).flatten(0, 1), target.flatten())
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            total, count = total + float(loss.detach()), count + 1
            if progress:
                progress((epoch * batches + done + 1) / (epochs * batches), total / count)
        history.append(total / count)
    model.eval()
    return history


@torch.inference_mode()
def generate(
    model: TinyGPT,
    prompts: Sequence[Sequence[int]],
    *,
    max_new: int,
    temperature: float = 0.0,
    n: int = 1,
    end: int = Characters.end,
    seed: int = 0,
    batch: int = 256,
) -> list[list[list[int]]]:
    """Continue every prompt `n` times, in left-padded batches with a key/value cache.

    Args:
        model: On any device.
        prompts: Token ids, at least one each.
        max_new: At most this many tokens.
        temperature: 0 is greedy.
        n: Continuations a prompt.
        end: Token that ends a continuation (not returned).
        seed: Of the sampling; the result depends on it and on the order of the prompts.
        batch: Sequences at a time.

    Returns:
        ``[len(prompts)][n]`` lists of token ids.
    """
    if not prompts or min(map(len, prompts)) < 1:
        raise UsageError("prompts must hold at least one token each")
    device = next(model.parameters()).device
    generator = torch.Generator(device=device).manual_seed(seed)
    flat = [list(p) for p in prompts for _ in range(n)]
    out: list[list[int]] = []
    for at in range(0, len(flat), batch):
        rows = flat[at : at + batch]
        longest = max(map(len, rows))
        ids = torch.zeros(len(rows), longest, dtype=torch.long, device=device)
        real = torch.zeros(len(rows), longest, dtype=torch.bool, device=device)
        for r, row in enumerate(rows):
            ids[r, longest - len(row) :] = torch.as_tensor(row, device=device)
            real[r, longest - len(row) :] = True
        position = (real.cumsum(1) - 1).clamp(min=0)
        causal = torch.ones(longest, longest, dtype=torch.bool, device=device).tril()
        own = torch.eye(longest, dtype=torch.bool, device=device)
        mask = ((causal & real[:, None, :]) | own)[:, None]  # padding sees itself: no NaN rows
        logits, cache = model._run(ids, position, mask, None)
        open_ = torch.ones(len(rows), dtype=torch.bool, device=device)
        new: list[torch.Tensor] = []
        last = position[:, -1]
        for step in range(max_new):
            if temperature == 0:
                token = logits[:, -1].argmax(-1)
            else:
                share = (logits[:, -1] / temperature).softmax(-1)
                token = torch.multinomial(share, 1, generator=generator)[:, 0]
            token = torch.where(open_, token, torch.full_like(token, end))
            new.append(token)
            open_ &= token != end
            if not bool(open_.any()) or step + 1 == max_new:
                break
            last = last + 1
            real = torch.cat([real, torch.ones_like(real[:, :1])], dim=1)
            logits, cache = model._run(token[:, None], last[:, None], real[:, None, None], cache)
        for row in torch.stack(new, dim=1).tolist():
            out.append(row[: row.index(end)] if end in row else row)
    return [out[i * n : (i + 1) * n] for i in range(len(prompts))]
