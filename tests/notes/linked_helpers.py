"""A scripted model and a toy encoder for tests of linked notes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence

import numpy as np

from byheart.core.model import CallableModel

WORDS = 64


def toy(texts: list[str]) -> np.ndarray:
    """A bag of hashed words: texts that share words are near; deterministic on every machine."""
    rows = np.zeros((len(texts), WORDS), dtype=np.float32)
    for row, text in zip(rows, texts, strict=True):
        for word in text.lower().split():
            row[int(hashlib.sha256(word.encode()).hexdigest(), 16) % WORDS] += 1
    return rows


class Counting:
    """The toy encoder, that notes how many texts each call had."""

    name, version = "toy", "1"

    def __init__(self) -> None:
        self.batches: list[int] = []

    def __call__(self, texts: list[str]) -> np.ndarray:
        self.batches.append(len(texts))
        return toy(texts)


class Scripted(CallableModel):
    """Answers from a list; a callable in it is given the prompt."""

    def __init__(self, replies: Sequence[str | dict | Callable[[str], object]]) -> None:
        self.replies, self.prompts = list(replies), []
        super().__init__(self._say, "scripted")

    def _say(self, prompt) -> str:
        text = prompt if isinstance(prompt, str) else "\n".join(m for _, m in prompt)
        self.prompts.append(text)
        if not self.replies:
            raise AssertionError("the model was asked more often than the script says")
        reply = self.replies.pop(0)
        reply = reply(text) if callable(reply) else reply
        return reply if isinstance(reply, str) else json.dumps(reply)


def annotation(*keywords: str, tags: Sequence[str] = ("t",), context: str = "") -> dict:
    """What P_s1 asks for."""
    return {
        "keywords": list(keywords),
        "context": context or f"About {keywords[0]}.",
        "tags": list(tags),
    }


def decision(
    connect: Sequence[int] = (),
    tags: Sequence[str] = (),
    contexts: Sequence[str] = (),
    neighbour_tags: Sequence[Sequence[str]] = (),
    actions: Sequence[str] | None = None,
    evolve: bool = True,
) -> dict:
    """The released code's JSON."""
    if actions is None:
        actions = ["strengthen"] * bool(connect or tags) + ["update_neighbor"] * bool(contexts)
    return {
        "should_evolve": evolve,
        "actions": list(actions),
        "suggested_connections": list(connect),
        "tags_to_update": list(tags),
        "new_context_neighborhood": list(contexts),
        "new_tags_neighborhood": [list(t) for t in neighbour_tags],
    }


NOTHING = decision(evolve=False)
