"""Drawing pairs of segments, and asking a model about them: byheart beside the plain ways.

Run: python benchmarks/book_sort.py
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from byheart.audits.book_sort import LENGTHS, Pair, bins_of, chronicle, make_pairs, messages
from byheart.core.ask import Score
from byheart.core.errors import DataError

WORDS = 84_000
"""Of the drawn book; Persuasion has 83,283."""
LABELS = ("A", " A", "B", " B")


def took(call: Callable[[], Any]) -> tuple[float, Any]:
    """Processor time of one run, in seconds, and what it gave."""
    start = time.process_time()
    out = call()
    return time.process_time() - start, out


def drawing() -> None:
    """The authors' procedure (rejection, the same draws as theirs) against drawing from a list."""
    book = chronicle(WORDS, seed=1)
    print(f"drawing 110 excerpts of a book of {WORDS:,} words, a pair in each of 4 bins")
    for excerpt in LENGTHS:
        sizes = {"excerpt": excerpt, "segment": 20, "bins": bins_of(excerpt, 20)}
        for seed in range(20):
            try:
                theirs, _ = took(lambda s=sizes, n=seed: make_pairs(book, **s, seed=n, compat=True))  # type: ignore[misc]
            except DataError:
                continue  # a draw that the authors' procedure gives up
            break
        ours, pairs = took(lambda s=sizes: make_pairs(book, **s, seed=1))  # type: ignore[misc]
        print(
            f"  {excerpt:6,} words   the authors' {theirs:6.2f} s   byheart {ours:6.3f} s   "
            f"{theirs / ours:5.0f}x   {len(pairs)} pairs"
        )


def one_by_one(model: Any, asked: Sequence[Any]) -> list[list[float]]:
    """Every question in a forward pass of its own, one row of logits, as the authors' code does."""
    import torch

    out = []
    labels = [model.encode(x)[0] for x in LABELS]
    for prompt in asked:
        ids = torch.tensor([model.prompt_ids(prompt)])
        with torch.inference_mode():
            logits = model.module(input_ids=ids, logits_to_keep=1).logits[0, -1].float()
        out.append(torch.log_softmax(logits, -1)[labels].tolist())
    return out


def shared(model: Any, asked: Sequence[Any]) -> list[list[float]]:
    """All questions at once."""
    told = model.score([Score(x, prompt) for prompt in asked for x in LABELS])
    totals = [t.total for t in told]
    return [totals[i : i + 4] for i in range(0, len(totals), 4)]


def asking() -> None:
    """SmolLM2 on one excerpt: four bins, both orders, with the text and without."""
    from byheart.core.model import load

    model = load("smollm2", device="cpu")
    book = chronicle(WORDS, seed=1)
    assert all(len(model.encode(x)) == 1 for x in LABELS)
    shared(model, ["A b c"])  # the first pass prepares
    print("asking SmolLM2-135M-Instruct about an excerpt: 4 bins, both orders")
    for excerpt in (250, 1000):
        pairs: list[Pair] = make_pairs(book, excerpt=excerpt, n=1, extra=20, seed=1)
        for condition in ("memory", "context"):
            if condition == "memory" and excerpt > 250:
                continue
            asked = [messages(p, condition, swap=s) for p in pairs for s in (False, True)]
            plain, one = took(lambda a=asked: one_by_one(model, a))  # type: ignore[misc]
            ours, two = took(lambda a=asked: shared(model, a))  # type: ignore[misc]
            apart = max(
                abs(x - y) for a, b in zip(one, two, strict=True) for x, y in zip(a, b, strict=True)
            )
            assert apart < 1e-3, apart
            print(
                f"  {excerpt:6,} words, {condition:7}   one by one {plain:6.1f} s   byheart "
                f"{ours:6.1f} s   {plain / ours:4.1f}x   log-probabilities within {apart:.0e}"
            )


def main() -> None:
    """Measure and print."""
    drawing()
    asking()


if __name__ == "__main__":
    main()
