"""A small transformer that reads puzzles as symbols: `knights_and_knaves` trains it on the spot."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from byheart.audits._kk.draws import Draws
from byheart.audits._kk.grammar import LEAVES, OPERATORS, Statement
from byheart.audits._kk.sampler import Puzzle

__all__ = ["encode", "make_net", "predict", "reordered"]

_WIDTH, _LAYERS, _HEADS = 64, 2, 4

_BUILDING = threading.Lock()
"""Initial weights are drawn from torch's one global generator."""


def encode(puzzles: Sequence[Puzzle]) -> np.ndarray:
    """Four symbols a person: speaker, operator, leaf, leaf or nothing.

    Args:
        puzzles: All of as many people.

    Returns:
        ``[n, 4 * people]`` int64. Symbols: speakers, then operators (a bare leaf has its own), then
        leaves, then nothing.

    >>> encode([Puzzle((("lying", 1), ("and", ("telling-truth", 0), ("lying", 1))), (False, True))])
    array([[ 0,  2, 11, 12,  1,  4,  8, 11]])
    """
    rows = []
    for puzzle in puzzles:
        people = puzzle.people
        row: list[int] = []
        for speaker, statement in enumerate(puzzle.statements):
            row += [speaker, *_symbols(statement, people)]
        rows.append(row)
    return np.asarray(rows, dtype=np.int64)


def _symbols(statement: Statement, people: int) -> tuple[int, int, int]:
    leaf_at = people + 1 + len(OPERATORS)
    nothing = leaf_at + 2 * people

    def leaf(s: Statement) -> int:
        return leaf_at + LEAVES.index(s[0]) * people + s[1]

    if statement[0] in LEAVES:
        return people, leaf(statement), nothing
    parts = [leaf(s) for s in statement[1:]]
    return people + 1 + OPERATORS.index(statement[0]), parts[0], (*parts, nothing)[1]


def make_net(people: int, *, seed: int) -> Any:
    """A pre-norm encoder of two layers and a linear head on all positions, to one logit a person."""
    import torch

    with _BUILDING, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return _net(people)


def _net(people: int) -> Any:
    import torch

    length, symbols = 4 * people, people + 1 + len(OPERATORS) + 2 * people + 1

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.symbol = torch.nn.Embedding(symbols, _WIDTH)
            self.place = torch.nn.Parameter(0.02 * torch.randn(length, _WIDTH))
            layer = torch.nn.TransformerEncoderLayer(
                _WIDTH, _HEADS, 4 * _WIDTH, dropout=0.0, batch_first=True, norm_first=True
            )
            self.layers = torch.nn.TransformerEncoder(layer, _LAYERS, enable_nested_tensor=False)
            self.head = torch.nn.Linear(length * _WIDTH, people)

        def forward(self, tokens: Any) -> Any:
            """``[B, 4 * people]`` symbols to ``[B, people]`` logits of being a knight."""
            return self.head(self.layers(self.symbol(tokens) + self.place).flatten(1))

    return Net()


def reordered(tokens: np.ndarray, seed: int) -> np.ndarray:
    """The statements of each row in another order; speakers, people and solution stay.

    >>> reordered(np.arange(8)[None], 0)
    array([[4, 5, 6, 7, 0, 1, 2, 3]])
    """
    rng = Draws(seed)
    blocks = tokens.reshape(len(tokens), -1, 4).copy()
    for row in blocks:
        order = list(range(len(row)))
        while order == sorted(order):
            rng.shuffle(order)
        row[:] = row[order]
    return blocks.reshape(tokens.shape)


def predict(net: Any, tokens: np.ndarray) -> np.ndarray:
    """``[n, people]`` bool, True for a knight, from `encode`."""
    import torch

    net.eval()
    device = next(net.parameters()).device
    with torch.no_grad():
        logits = net(torch.as_tensor(tokens).to(device))
    return np.asarray((logits > 0).cpu().numpy())
