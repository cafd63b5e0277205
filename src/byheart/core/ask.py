"""What an audit asks a model, and what comes back.

An audit never calls a model. It yields `Sample`s and `Score`s and is handed `Completion`s and
`Scored`s, so that the same audit runs batched on local weights, over any provider of inspect_ai,
and on a toy in a test.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from byheart.core.errors import UsageError

__all__ = ["Ask", "Completion", "Facts", "Message", "Prompt", "Reply", "Sample", "Score", "Scored"]

Message = tuple[str, str]
"""Role (``system``, ``user`` or ``assistant``) and text."""

Prompt = str | tuple[Message, ...]
"""A string is text to be continued as it stands; a tuple of messages is a chat."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Ask for continuations of a prompt.

    Args:
        prompt: Text to continue, or chat messages.
        n: How many independent continuations.
        temperature: 0 is greedy decoding.
        max_tokens: At most this many new tokens each.
        top_p: Nucleus; 1 keeps the whole distribution.
        top_k: Keep the likeliest so many, before the nucleus is cut; 0 keeps all. Endpoints whose
            interface has no such setting leave it out.
        stop: The text is cut before the first of these strings.
        seed: Same seed, same prompt, same model: same continuations.
        role: ``""`` asks the audited model, another name asks a helper model of that role.
    """

    prompt: Prompt
    n: int = 1
    temperature: float = 0.0
    max_tokens: int = 64
    top_p: float = 1.0
    top_k: int = 0
    stop: tuple[str, ...] = ()
    seed: int = 0
    role: str = ""

    def __post_init__(self) -> None:
        if self.n < 1 or self.max_tokens < 1:
            raise UsageError(
                f"n and max_tokens must be at least 1, got {self.n}, {self.max_tokens}"
            )
        if self.temperature < 0 or not 0 < self.top_p <= 1:
            raise UsageError(
                f"temperature must be >= 0 and top_p in (0, 1], got {self.temperature}, {self.top_p}"
            )
        if self.top_k < 0:
            raise UsageError(f"top_k must be 0 (all) or more, got {self.top_k}")


@dataclass(frozen=True, slots=True)
class Score:
    """Ask for the log-probability of every token of `text`, given `context`.

    With an empty context the first token has no condition and is not scored, unless the model's
    tokenizer opens every text with a token of its own.

    Args:
        text: The text to be scored; not empty.
        context: What stands before it (scored as condition only).
        moments: Also return mean and standard deviation of log p(v) under the model's own
            distribution at each position (Min-K%++ needs them).
        role: As for `Sample`.
    """

    text: str
    context: Prompt = ""
    moments: bool = False
    role: str = ""

    def __post_init__(self) -> None:
        if not self.text:
            raise UsageError("Score.text is empty: there is nothing to score")


_HALVES = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Completion:
    """One continuation.

    `tokens` are the model's own token ids of `text` where the model tells them, else empty.
    `stop` is ``"stop"`` (ended by itself or by a stop string) or ``"length"``.
    """

    text: str
    tokens: tuple[int, ...] = ()
    stop: str = "stop"

    def __post_init__(self) -> None:
        # half a character (a lone surrogate) can neither be written down nor sent anywhere
        object.__setattr__(self, "text", _HALVES.sub("\ufffd", self.text))


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """Token log-probabilities (natural logarithm) of one text.

    Attributes:
        logprobs: ``[T]`` float64, one number a scored token.
        tokens: ``[T]`` token ids, or empty where the provider tells none.
        greedy: ``[T]`` bool, whether the token was the model's most likely one; empty if unknown.
        mean: ``[T]`` E_v[log p(v)], if `Score.moments` was asked and the model can; else None.
        std: ``[T]`` the standard deviation of log p(v), likewise.
    """

    logprobs: np.ndarray
    tokens: tuple[int, ...] = ()
    greedy: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=bool))
    mean: np.ndarray | None = None
    std: np.ndarray | None = None

    @property
    def total(self) -> float:
        """Log-probability of the whole text, in nats."""
        return float(self.logprobs.sum())

    @property
    def loss(self) -> float:
        """Mean negative log-probability a token, in nats."""
        return float(-self.logprobs.mean())


Ask = Sample | Score
Reply = list[Completion] | Scored


def _words(text: str) -> list[int]:
    """Stand-in tokens for a model that shows no tokenizer: one stable number a word."""
    import zlib

    return [zlib.crc32(w.encode()) for w in re.findall(r"\w+|[^\w\s]", text)]


@dataclass(frozen=True)
class Facts:
    """What an audit may know of the model it talks to.

    Attributes:
        name: As the user named it.
        capabilities: Subset of ``{"sample", "score", "weights", "routing"}``.
        chat: Whether the model takes messages (has a chat template).
        raw: Whether a plain string is continued as it stands. Chat endpoints cannot; there a
            string arrives as a user's message that asks for the continuation.
        encode: Text to token ids, with the model's own tokenizer where there is one, else one
            number a word (then `own_tokens` is False).
        own_tokens: Whether `encode` is the model's own tokenizer.
        tokenise: The same with the special tokens that the tokenizer adds by default; None is
            `encode`.
        context: Most tokens that a prompt and its answer may have together; 0 where it is not told.
        route: Texts to a `byheart.core.routing.Routed`, where the model has routers; else None.
    """

    name: str = "model"
    capabilities: frozenset[str] = frozenset({"sample", "score"})
    chat: bool = False
    raw: bool = True
    encode: Callable[[str], Sequence[int]] = _words
    own_tokens: bool = False
    tokenise: Callable[[str], Sequence[int]] | None = None
    context: int = 0
    route: Callable[[Sequence[str]], Any] | None = None
