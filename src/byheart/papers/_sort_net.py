"""A small transformer that learns the order question in context, and eight books by heart."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

__all__ = ["Measured", "questions", "train"]

TOKENS, LENGTH, BOOKS = 32, 12, 8
"""An excerpt is 12 different tokens of 32; a segment is one of them; eight books are kept."""

_NO_BOOK = TOKENS + BOOKS
_PAD, _SEP, _ASK = _NO_BOOK + 1, _NO_BOOK + 2, _NO_BOOK + 3
_VOCABULARY = _ASK + 1
_WIDTH, _LAYERS, _HEADS = 64, 2, 4

_BUILDING = threading.Lock()
"""Initial weights are drawn from torch's one global generator."""


@dataclass
class Measured:
    """What came out for one seed; shares are of right answers, half is chance.

    Attributes:
        steps: At which the curves were measured.
        context: In context, new excerpts.
        books_in_context: In context, the books.
        memory: The books without their text.
        loss: Next-token loss on the books, nats.
        ended: Steps taken before the control.
        other_pairs: After the control: pairs never asked without text, of books that were asked.
        other_books: After the control: pairs of books that were never asked without text.
    """

    steps: list[int] = field(default_factory=list)
    context: list[float] = field(default_factory=list)
    books_in_context: list[float] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)
    loss: list[float] = field(default_factory=list)
    ended: int = 0
    other_pairs: float = 0.0
    other_books: float = 0.0
    right: dict[str, np.ndarray] = field(default_factory=dict)


def questions(
    excerpts_NT: np.ndarray,
    at_N2: np.ndarray,
    books_N: np.ndarray | None = None,
    *,
    text: bool = True,
) -> tuple[np.ndarray, np.ndarray]:
    """``[book] excerpt [SEP] a [SEP] b [ASK]``, and whether b came first.

    Args:
        excerpts_NT: ``[N, 12]`` tokens.
        at_N2: ``[N, 2]`` places of the segments shown as A and as B.
        books_N: ``[N]`` numbers of books; None marks excerpts of no book.
        text: False puts padding where the excerpt is.

    >>> tokens, key = questions(np.arange(12)[None], np.array([[5, 2]]))
    >>> tokens.shape, tokens[0, -5:].tolist(), key.tolist()
    ((1, 18), [42, 5, 42, 2, 43], [1])
    """  # fmt: skip
    n = len(excerpts_NT)
    out = np.full((n, LENGTH + 6), _SEP, dtype=np.int64)
    out[:, 0] = _NO_BOOK if books_N is None else TOKENS + books_N
    out[:, 1 : LENGTH + 1] = excerpts_NT if text else _PAD
    rows = np.arange(n)
    out[:, LENGTH + 2] = excerpts_NT[rows, at_N2[:, 0]]
    out[:, LENGTH + 4] = excerpts_NT[rows, at_N2[:, 1]]
    out[:, LENGTH + 5] = _ASK
    return out, (at_N2[:, 0] > at_N2[:, 1]).astype(np.int64)


def _excerpts(rng: np.random.Generator, n: int) -> np.ndarray:
    return rng.random((n, TOKENS)).argsort(axis=1)[:, :LENGTH]


def _places(rng: np.random.Generator, n: int) -> np.ndarray:
    """Two different places each, in random order."""
    return rng.random((n, LENGTH)).argsort(axis=1)[:, :2]


def _make(seed: int) -> Any:
    import torch
    from torch import nn

    class Net(nn.Module):
        """Pre-norm, causal; one head for the next token, one for the label."""

        def __init__(self) -> None:
            super().__init__()
            self.tokens = nn.Embedding(_VOCABULARY, _WIDTH)
            self.places = nn.Embedding(LENGTH + 6, _WIDTH)
            layer = nn.TransformerEncoderLayer(
                _WIDTH, _HEADS, 4 * _WIDTH, dropout=0.0, activation="gelu", batch_first=True,
                norm_first=True,
            )  # fmt: skip
            self.body = nn.TransformerEncoder(layer, _LAYERS, enable_nested_tensor=False)
            self.norm = nn.LayerNorm(_WIDTH)
            self.next_token = nn.Linear(_WIDTH, _VOCABULARY)
            self.label = nn.Linear(_WIDTH, 2)

        def forward(self, tokens_BT: Any) -> Any:
            size = tokens_BT.shape[1]
            mask = torch.triu(torch.full((size, size), float("-inf")), 1)
            mask = mask.to(tokens_BT.device)
            place = torch.arange(size, device=tokens_BT.device)
            x_BTD = self.tokens(tokens_BT) + self.places(place)
            return self.norm(self.body(x_BTD, mask=mask, is_causal=True))

    with _BUILDING, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Net()


def train(
    seed: int,
    *,
    steps: int = 2600,
    control_steps: int = 400,
    batch: int = 256,
    every: int = 100,
    tell: Callable[[float], None] | None = None,
    device: str = "cpu",
) -> Measured:
    """Learn the question in context and the books by heart; then the control.

    Every step asks about `batch` new excerpts in context, and adds 0.3 times the next-token loss on
    the eight books (AdamW, 2e-3). It ends `every` steps after new excerpts are at 0.99 and the books'
    loss is below 0.005. The control goes on with questions without text, about half of the pairs of
    six of the books.

    Args:
        seed: Of weights, books and excerpts.
        steps: At most.
        control_steps: Of the control; 0 leaves it out.
        batch: Excerpts a step.
        every: Steps between measurements.
        tell: Called with the share that is finished.
        device: Where.
    """  # fmt: skip
    import torch
    from torch.nn.functional import cross_entropy

    rng = np.random.default_rng([seed, 1])
    net = _make(seed).to(device)
    books_KT = _excerpts(rng, BOOKS)
    book_rows = torch.tensor(
        np.concatenate([TOKENS + np.arange(BOOKS)[:, None], books_KT], axis=1), device=device
    )
    optimizer = torch.optim.AdamW(net.parameters(), lr=2e-3)
    out = Measured()

    def tensors(pair: tuple[np.ndarray, np.ndarray]) -> tuple[Any, Any]:
        return tuple(torch.tensor(x, device=device) for x in pair)  # type: ignore[return-value]

    def book_loss() -> Any:
        logits = net.next_token(net(book_rows[:, :-1]))
        return cross_entropy(logits.flatten(0, 1), book_rows[:, 1:].flatten())

    def in_context() -> Any:
        tokens, key = tensors(questions(_excerpts(rng, batch), _places(rng, batch)))
        return cross_entropy(net.label(net(tokens)[:, -1]), key)

    def right(pair: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
        with torch.no_grad():
            tokens, key = tensors(pair)
            return (net.label(net(tokens)[:, -1]).argmax(-1) == key).float().cpu().numpy()

    def of_books(
        check: np.random.Generator, n: int, *, text: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        which = check.integers(0, BOOKS, n)
        return questions(books_KT[which], _places(check, n), which, text=text)

    ready = False
    for step in range(1, steps + 1):
        loss = in_context() + 0.3 * book_loss()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % every == 0 or step == steps:
            check = np.random.default_rng([seed, 2])  # the same questions every time
            out.right = {
                "context": right(questions(_excerpts(check, 1000), _places(check, 1000))),
                "books": right(of_books(check, 1000, text=True)),
                "memory": right(of_books(check, 1000, text=False)),
            }
            out.steps.append(step)
            out.context.append(float(out.right["context"].mean()))
            out.books_in_context.append(float(out.right["books"].mean()))
            out.memory.append(float(out.right["memory"].mean()))
            with torch.no_grad():
                out.loss.append(float(book_loss()))
            if tell:
                tell(step / (steps + control_steps))
            if ready:
                break
            ready = out.context[-1] >= 0.99 and out.loss[-1] < 0.005
    out.ended = out.steps[-1] if out.steps else 0
    if control_steps:
        asked, other = _split(np.random.default_rng([seed, 3]))
        for _ in range(control_steps):
            some = asked[rng.integers(0, len(asked), batch)]
            pairs = _turned(some, rng)
            tokens, key = tensors(questions(books_KT[some[:, 0]], pairs, some[:, 0], text=False))
            loss = cross_entropy(net.label(net(tokens)[:, -1]), key) + 0.3 * book_loss()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        for name, part in (("other_pairs", other[other[:, 0] < BOOKS - 2]),
                           ("other_books", other[other[:, 0] >= BOOKS - 2])):  # fmt: skip
            both = [part[:, 1:], part[:, :0:-1]]  # each pair in both orders
            marks = [
                right(questions(books_KT[part[:, 0]], p, part[:, 0], text=False)) for p in both
            ]
            out.right[name] = np.mean(marks, axis=0)
            setattr(out, name, float(np.mean(marks)))
    if tell:
        tell(1.0)
    return out


def _split(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Rows of book, place, later place: those asked in the control, and the others.

    Of six books half of the pairs is asked; of the last two books none is.
    """
    asked, other = [], []
    for book in range(BOOKS):
        pairs = [(book, i, j) for i in range(LENGTH) for j in range(i + 1, LENGTH)]
        order = rng.permutation(len(pairs))
        half = len(pairs) // 2 if book < BOOKS - 2 else 0
        asked += [pairs[k] for k in order[:half]]
        other += [pairs[k] for k in order[half:]]
    return np.asarray(asked), np.asarray(other)


def _turned(rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    flip = rng.random(len(rows)) < 0.5
    return np.where(flip[:, None], rows[:, :0:-1], rows[:, 1:])
