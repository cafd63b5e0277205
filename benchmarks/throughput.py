"""Tokens a second, one prompt at a time with plain transformers against byheart's batches.

Three loads: texts of their own ("scored"), answers behind a common context ("scored, shared"), and
greedy continuations. A text of its own costs a forward pass whoever does it, and on a CPU one text
already fills the cores: batches save little there. What is shared is read once.

Run: python benchmarks/throughput.py [--texts 24] [--prompts 16] [--new 24] [--membership 1000]
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np
import torch

import byheart
from byheart.core.ask import Sample, Score

_TEXT = (
    "river stone morning letter garden window quiet market teacher winter bread harbour music "
    "story paper silver mountain engine doctor candle north village summer bridge kitchen"
)
WORDS = _TEXT.split()


def make_texts(n: int, low: int, high: int, seed: int) -> list[str]:
    """`n` texts of `low` to `high` words."""
    rng = np.random.default_rng(seed)
    return [
        "The " + " ".join(rng.choice(WORDS, rng.integers(low, high + 1))) + "." for _ in range(n)
    ]


def naive_scores(model: Any, texts: list[str]) -> list[np.ndarray]:
    """The loop that everybody writes: one forward pass a text."""
    out = []
    with torch.no_grad():
        for text in texts:
            ids = model.tokenizer(text, return_tensors="pt")["input_ids"].to(model.device)
            logp = torch.log_softmax(model.module(input_ids=ids).logits[0, :-1].float(), -1)
            out.append(logp.gather(1, ids[0, 1:, None])[:, 0].cpu().numpy())
    return out


def naive_answers(model: Any, context: str, answers: list[str]) -> list[np.ndarray]:
    """The same for answers behind one context: it is read once an answer."""
    out = []
    with torch.no_grad():
        before = len(model.tokenizer(context)["input_ids"])
        for answer in answers:
            ids = model.tokenizer(context + answer, return_tensors="pt")["input_ids"]
            logits = model.module(input_ids=ids.to(model.device)).logits[0, before - 1 : -1]
            chosen = torch.log_softmax(logits.float(), -1).cpu()
            out.append(chosen.gather(1, ids[0, before:, None])[:, 0].numpy())
    return out


def naive_tokens(model: Any, prompts: list[str], new: int) -> list[list[int]]:
    """The loop that everybody writes: one `generate` a prompt."""
    out = []
    with torch.no_grad():
        for prompt in prompts:
            ids = model.tokenizer(prompt, return_tensors="pt")["input_ids"].to(model.device)
            found = model.module.generate(
                ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=new,
                pad_token_id=0,
            )  # fmt: skip
            out.append(found[0, ids.shape[1] :].tolist())
    return out


def line(what: str, tokens: int, naive_s: float, ours: int, ours_s: float) -> None:
    """One line of the table."""
    a, b = tokens / naive_s, ours / ours_s
    print(f"  {what:<18}{a:9.0f} tok/s one at a time {b:9.0f} tok/s byheart   {b / a:5.1f}x")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--texts", type=int, default=24, help="texts to score")
    parser.add_argument("--context", type=int, default=160, help="words before the answers")
    parser.add_argument("--answers", type=int, default=16, help="answers behind each context")
    parser.add_argument("--prompts", type=int, default=16, help="prompts to continue")
    parser.add_argument("--new", type=int, default=24, help="new tokens a prompt")
    parser.add_argument("--membership", type=int, default=0, help="texts scored with moments")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    model: Any = byheart.load(args.model)
    print(f"{args.model} on {model.device}, {args.threads} threads")
    model.score([Score("A first pass warms up.")])
    model.sample([Sample("A first pass", max_tokens=2)])

    texts = make_texts(args.texts, 20, 90, seed=0)
    start = time.perf_counter()
    naive = naive_scores(model, texts)
    middle = time.perf_counter()
    ours = model.score([Score(t) for t in texts])
    end = time.perf_counter()
    for a, b in zip(naive, ours, strict=True):
        assert np.abs(a[-len(b.logprobs) :] - b.logprobs).max() < 0.02, "the scores differ"
    tokens = sum(len(s.logprobs) for s in ours)
    line("scored", tokens, middle - start, tokens, end - middle)

    contexts = make_texts(2, args.context, args.context, seed=3)
    answers = [f" {t}" for t in make_texts(args.answers, 4, 8, seed=4)]
    start = time.perf_counter()
    naive = [s for c in contexts for s in naive_answers(model, c, answers)]
    middle = time.perf_counter()
    ours = model.score([Score(a, context=c) for c in contexts for a in answers])
    end = time.perf_counter()
    for a, b in zip(naive, ours, strict=True):
        assert np.abs(a - b.logprobs).max() < 0.02, "the scores differ"
    tokens = sum(len(s.logprobs) for s in ours)
    line("scored, shared", tokens, middle - start, tokens, end - middle)

    prompts = make_texts(args.prompts, 10, 30, seed=1)
    start = time.perf_counter()
    one = naive_tokens(model, prompts, args.new)
    middle = time.perf_counter()
    many = model.sample([Sample(p, max_tokens=args.new) for p in prompts])
    end = time.perf_counter()
    same = np.mean(
        [a[: len(b[0].tokens)] == list(b[0].tokens) for a, b in zip(one, many, strict=True)]
    )
    # an end-of-text token costs a step on either side and is counted on both
    count_one = sum(map(len, one))
    count_many = sum(len(c.tokens) + (c.stop == "stop") for (c,) in many)
    line("generated", count_one, middle - start, count_many, end - middle)
    print(f"  {same:.0%} of the greedy continuations are the same token for token")

    if args.membership:
        texts = make_texts(args.membership, 60, 96, seed=2)
        start = time.perf_counter()
        scored = model.score([Score(t, moments=True) for t in texts])
        took = time.perf_counter() - start
        tokens = sum(len(s.logprobs) for s in scored)
        print(f"  membership: {len(texts)} texts, {tokens} tokens in {took:.1f} s", end="")
        print(f" ({tokens / took:.0f} tok/s, with moments)")


if __name__ == "__main__":
    main()
