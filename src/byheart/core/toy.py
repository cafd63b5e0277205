"""A language model small enough to know completely: it recites what it read, and nothing else.

`SuffixModel` predicts the next token from the longest suffix of the context that occurs in what it
read (an unbounded n-gram model), mixed with a flat, seeded noise. It can be sampled and scored, it
trains in microseconds, and what it has seen is exactly what it was given: ground truth for the
checks of `byheart.core.checks`.
"""

from __future__ import annotations

import hashlib
import re
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

import numpy as np

from byheart.core.ask import Completion, Prompt, Sample, Score, Scored
from byheart.core.model import Model, Progress, _cut

__all__ = ["SuffixModel", "flatten"]

_TOKEN = re.compile(r"\s+|\w+|[^\w\s]")
_END = "\x03"


def flatten(prompt: Prompt) -> str:
    """A prompt as the plain text that this model reads: messages one below the other."""
    return prompt if isinstance(prompt, str) else "\n".join(text for _, text in prompt) + "\n"


class SuffixModel(Model):
    """Unbounded n-gram model with noise.

    Args:
        documents: What it reads: strings, or ``(prompt, answer)`` pairs.
        seed: Of the noise, which stands for everything the model is besides its memory.
        order: Longest context looked up, in tokens.
        certainty: Probability mass on what memory proposes once the match is `order` long; a
            shorter match of length m gets ``certainty * m / (m + 2)``.

    >>> model = SuffixModel(["the quick brown fox jumps over the lazy dog"])
    >>> model.sample([Sample("the quick brown", max_tokens=6)])[0][0].text
    ' fox jumps over'
    """

    capabilities = frozenset({"sample", "score"})
    chat = True
    raw = True

    def __init__(
        self,
        documents: Iterable[str | tuple[str, str]] = (),
        *,
        seed: int = 0,
        order: int = 8,
        certainty: float = 0.98,
        name: str = "suffix-model",
    ) -> None:
        self.name = name
        self._seed, self._order, self._certainty = seed, order, certainty
        self._tables: list[dict[tuple[str, ...], Counter[str]]] = [
            defaultdict(Counter) for _ in range(order + 1)
        ]
        self._documents = tuple(documents)
        self._known: set[str] = set()
        for document in self._documents:
            tokens = self._split(_text(document))
            self._known.update(tokens)
            tokens = [*tokens, _END]
            for m in range(1, order + 1):
                table = self._tables[m]
                for i in range(m, len(tokens)):
                    table[tuple(tokens[i - m : i])][tokens[i]] += 1
        rng = np.random.default_rng(seed)
        self._noise_words = ["".join(rng.choice(list("abcdefghij"), 4)) for _ in range(64)]

    @staticmethod
    def _split(text: str) -> list[str]:
        return _TOKEN.findall(text)

    def encode(self, text: str) -> list[int]:
        return [zlib.crc32(t.strip().encode()) for t in self._split(text)]

    @property
    def own_tokens(self) -> bool:
        return True

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(repr((self._documents, self._seed)).encode()).hexdigest()[:16]

    def _memory(self, context: Sequence[str]) -> tuple[Counter[str] | None, float]:
        """Counts of what followed the longest known suffix, and the mass they get."""
        for m in range(min(self._order, len(context)), 0, -1):
            counts = self._tables[m].get(tuple(context[-m:]))
            if counts:
                return counts, self._certainty * m / (m + 2) if m < self._order else self._certainty
        return None, 0.0

    def _flat(self, token: str) -> float:
        """Probability of a token under the noise: hashed, the same for seen and unseen text."""
        h = zlib.crc32(f"{self._seed}:{token.strip()}".encode()) / 2**32
        return float(np.exp(-3.0 - 6.0 * h))

    def sample(
        self, asks: Sequence[Sample], progress: Progress | None = None
    ) -> list[list[Completion]]:
        out = []
        for ask in asks:
            prompt = flatten(ask.prompt)
            rows = []
            for j in range(ask.n):
                key = zlib.crc32(f"{self._seed}:{ask.seed}:{ask.temperature}:{j}:{prompt}".encode())
                rows.append(self._continue(prompt, ask, np.random.default_rng(key)))
            out.append(rows)
            if progress:
                progress(1)
        return out

    def _continue(self, prompt: str, ask: Sample, rng: np.random.Generator) -> Completion:
        context = self._split(prompt)
        start, stop = len(context), "length"
        for _ in range(ask.max_tokens):
            counts, mass = self._memory(context)
            if counts and (ask.temperature == 0 or rng.random() < mass):
                token = (
                    max(sorted(counts), key=counts.__getitem__)
                    if ask.temperature == 0
                    else str(rng.choice(sorted(counts), p=_share(counts)))
                )
            elif context and not context[-1].isspace():
                token = " "
            else:
                token = self._noise_words[int(rng.integers(len(self._noise_words)))]
            if token == _END:
                stop = "stop"
                break
            context.append(token)
        text = _cut("".join(context[start:]), ask.stop)
        if len(text) < len("".join(context[start:])):
            stop = "stop"
        return Completion(text, tuple(self.encode(text)), stop)

    def score(self, asks: Sequence[Score], progress: Progress | None = None) -> list[Scored]:
        out = []
        for ask in asks:
            context = self._split(flatten(ask.context)) if ask.context else []
            tokens = self._split(ask.text)
            first = 0 if context else 1
            logprobs, greedy, mean, std = [], [], [], []
            for t in range(first, len(tokens)):
                counts, mass = self._memory([*context, *tokens[:t]][-self._order :])
                hit = counts[tokens[t]] / counts.total() if counts else 0.0
                flat = self._flat(tokens[t])
                p = mass * hit + (1 - mass) * flat
                logprobs.append(np.log(p))
                greedy.append(counts is not None and counts[tokens[t]] == max(counts.values()))
                # Two-point stand-in for the vocabulary: the remembered token, and the noise.
                low, high = np.log((1 - mass) * np.exp(-6.0)), np.log(max(mass, np.exp(-6.0)))
                weight = max(mass, 1e-3)
                mean.append(weight * high + (1 - weight) * low)
                std.append(np.sqrt(weight * (1 - weight)) * (high - low) + 1e-3)
            out.append(
                Scored(
                    np.asarray(logprobs),
                    tuple(self.encode(ask.text))[first:],
                    np.asarray(greedy, dtype=bool),
                    np.asarray(mean) if ask.moments else None,
                    np.asarray(std) if ask.moments else None,
                )
            )
            if progress:
                progress(1)
        return out


def _text(document: str | tuple[str, str]) -> str:
    if isinstance(document, str):
        return document
    prompt, reply = document
    return flatten((("user", prompt),)) + reply


def _share(counts: Counter[str]) -> list[float]:
    total = counts.total()
    return [counts[k] / total for k in sorted(counts)]
