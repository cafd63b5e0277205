"""Vectors for `memory_peers.py`: all-MiniLM-L6-v2 up to 10,000 texts, its word table above.

Running the model over a million texts takes hours on two cores. Above `MODEL` texts a vector is the
mean of the model's *input* token embeddings (384 numbers each), each weighted by a / (a + p(token))
with a = 1e-3 and less the mean of all (Arora et al. 2017, without the last step): cheap, and still
near for texts that share words and topics. Everyone is given the same vectors.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

MODEL = 10_000
"""Up to so many texts are embedded by the whole model."""

D = 384
SMOOTH = 1e-3


def tables(texts: list[str]) -> tuple[object, np.ndarray]:
    """Tokenizer and `[V, 384]` weighted table, word frequencies taken from these texts."""
    import torch

    from byheart.core.minilm import MiniLM

    tokenizer, model = MiniLM()._load()
    with torch.no_grad():
        table = model.embeddings.word_embeddings.weight.detach().float().numpy().copy()
    fast = tokenizer.backend_tokenizer
    fast.no_padding()
    fast.enable_truncation(256)
    ids = np.concatenate([e.ids for e in fast.encode_batch(texts, add_special_tokens=False)])
    share = np.bincount(ids, minlength=len(table)) / len(ids)
    table -= (share[:, None] * table).sum(0)
    return fast, table * (SMOOTH / (SMOOTH + share))[:, None]


def table_vectors(texts: list[str], path: Path, part: int = 20_000) -> np.ndarray:
    """`[N, 384]` float32 unit vectors of N texts, kept in a file."""
    if path.exists():
        return np.load(path, mmap_mode="r")
    fast, table = tables(texts[:100_000])
    raw = path.with_suffix(".part")
    out = np.lib.format.open_memmap(raw, mode="w+", dtype=np.float32, shape=(len(texts), D))
    for begin in range(0, len(texts), part):
        found = fast.encode_batch(texts[begin : begin + part], add_special_tokens=False)
        sizes = np.array([max(len(e.ids), 1) for e in found])
        ids = np.concatenate([e.ids or [0] for e in found]).astype(np.int64)
        starts = np.cumsum(sizes) - sizes
        vectors = np.add.reduceat(table[ids], starts, axis=0)
        norm = np.linalg.norm(vectors, axis=1, keepdims=True)
        out[begin : begin + part] = vectors / np.where(norm > 0, norm, 1)
    out.flush()
    del out
    raw.replace(path)
    return np.load(path, mmap_mode="r")


def model_vectors(texts: list[str], path: Path, part: int = 512) -> np.ndarray:
    """`[N, 384]` float32 unit vectors of N texts by the whole model, kept in a file."""
    if path.exists():
        return np.load(path, mmap_mode="r")
    from byheart.core.minilm import MiniLM

    encode = MiniLM()
    vectors = [encode(texts[b : b + part]) for b in range(0, len(texts), part)]
    np.save(path.with_suffix(".part.npy"), np.concatenate(vectors))
    path.with_suffix(".part.npy").replace(path)
    return np.load(path, mmap_mode="r")


def exact(vectors: np.ndarray, queries: np.ndarray, k: int, part: int = 50_000) -> np.ndarray:
    """`[Q, k]` numbers of the nearest vectors of each query, by comparing all."""
    best = np.full((len(queries), k), -np.inf, np.float32)
    ids = np.zeros((len(queries), k), np.int64)
    for begin in range(0, len(vectors), part):
        near = queries @ np.asarray(vectors[begin : begin + part]).T
        both = np.concatenate([best, near], axis=1)
        told = np.concatenate([ids, np.broadcast_to(np.arange(near.shape[1]) + begin, near.shape)], axis=1)  # fmt: skip
        top = np.argpartition(-both, k - 1, axis=1)[:, :k]
        best, ids = np.take_along_axis(both, top, 1), np.take_along_axis(told, top, 1)
    order = np.argsort(-best, axis=1, kind="stable")
    return np.take_along_axis(ids, order, 1)
