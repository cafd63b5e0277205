"""Cutting a text into prefix and suffix, and comparing what came with what was to come."""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from byheart.core.ask import Facts, Scored
from byheart.core.errors import need

__all__ = [
    "Piece", "after", "compare", "cut", "encode", "lead", "likelihood", "longest_run", "rank",
    "split", "zlib_nats",
]  # fmt: skip


@dataclass(frozen=True)
class Piece:
    """A text cut in two.

    Attributes:
        prompt: The prefix, ending with a word.
        suffix: What follows it, its leading blank included.
        target: Tokens of the suffix, as `encode` makes them.
    """

    prompt: str
    suffix: str
    target: list[int]


def encode(text: str, facts: Facts) -> list[int]:
    """Tokens of a continuation; line breaks and runs of blanks count as one blank."""
    plain = " ".join(text.split())
    return [int(t) for t in facts.encode(plain)] if plain else []


def lead(text: str) -> str:
    """A continuation with one blank before it, as it follows a prompt that ends with a word."""
    return text if text[:1].isspace() else " " + text


def cut(text: str, tokens: int, facts: Facts | None) -> int:
    """Character position after the first word at which `text` has `tokens` tokens or more.

    Without `facts`, words and punctuation marks are counted. Words are not torn: a prefix that ends
    within a word would make the tokenizer see other tokens than it saw in training.
    """
    ends = [m.end() for m in re.finditer(r"\S+", text)]
    low, high = 0, len(ends) - 1
    while low < high:
        middle = (low + high) // 2
        part = text[: ends[middle]]
        size = len(facts.encode(part)) if facts else len(re.findall(r"\w+|[^\w\s]", part))
        if size >= tokens:
            high = middle
        else:
            low = middle + 1
    return ends[low] if ends else 0


def split(text: str, prefix: int, suffix: int, facts: Facts) -> Piece:
    """Prefix and suffix of a window; the suffix is shorter only where the window ends."""
    measure = facts if facts.own_tokens else None
    first = cut(text, prefix, measure)
    last = first + cut(text[first:], suffix, measure)
    rest = text[first:last]
    return Piece(text[:first], rest, encode(rest, facts))


def after(reply: str, prompt: str) -> str:
    """The continuation in a reply: a chat model may repeat the text it was given first."""
    plain, given = " ".join(reply.split()), " ".join(prompt.split())
    return plain[len(given) :] if given and plain.startswith(given) else reply


def longest_run(produced: Sequence[int], target: Sequence[int]) -> int:
    """Length of the longest run of tokens that both have.

    >>> longest_run([5, 1, 2, 3, 9], [1, 2, 3, 4])
    3
    """
    if not produced or not target:
        return 0
    matcher = SequenceMatcher(None, produced, target, autojunk=False)
    return matcher.find_longest_match(0, len(produced), 0, len(target)).size


def compare(produced: Sequence[int], target: Sequence[int]) -> dict[str, float | None]:
    """Exact match, longest run in tokens and as a share of the suffix, and similarities.

    `similarity` is 1 - edit distance / the longer length, over tokens; `rouge_l` is the F-measure of
    their longest common subsequence. An empty continuation matches nothing.
    """
    distance = need("rapidfuzz.distance", "audit")
    t = len(target)
    head = list(produced[:t])
    run = longest_run(list(produced[: t + 4]), target)
    common = distance.LCSseq.similarity(head, list(target))
    return {
        "exact": float(t > 0 and head == list(target)),
        "run": float(run),
        "share": run / t if t else 0.0,
        "similarity": distance.Levenshtein.normalized_similarity(head, list(target))
        if head
        else 0.0,
        "rouge_l": 2 * common / (len(head) + t) if head and t else 0.0,
    }


def likelihood(own: Scored | None, reference: Scored | None) -> dict[str, float | None]:
    """Nats a token of the true continuation, alone and against the reference model.

    The reference may cut the text into other tokens; its total is spread over the model's tokens.
    """
    n = len(own.logprobs) if own is not None else 0
    mean = own.total / n if own is not None and n else None
    versus = None
    if mean is not None and reference is not None and len(reference.logprobs):
        versus = mean - reference.total / n
    return {"logprob": mean, "calibrated": versus}


def zlib_nats(prompt: str, suffix: str) -> float:
    """Nats that zlib needs for the suffix after the prompt."""
    both, one = (len(zlib.compress(t.encode(), 9)) for t in (prompt + suffix, prompt))
    return (both - one) * 8 * math.log(2)


def rank(
    guesses: Sequence[tuple[int, ...]],
    strength: dict[tuple[int, ...], float],
    target: tuple[int, ...],
    own: Scored | None,
) -> dict[str, float | None]:
    """Where the right continuation stands among the guesses.

    Args:
        guesses: Tokens of every guess, the greedy one first.
        strength: How the different guesses are ranked, higher first; ties keep their order.
        target: The right one.
        own: The model's score of the right one, for the chance that one draw brings it.

    Returns:
        ``top``: 1 if the best-ranked guess is right. ``any``: 1 if any is. ``reciprocal``: 1 / rank,
        0 if it is not there. ``hits``: share of guesses that are right. ``draw``: natural logarithm
        of the chance that one draw at temperature 1 brings exactly it.
    """
    order = sorted(strength, key=lambda g: -strength[g])
    place = order.index(target) + 1 if target in strength else 0
    return {
        "top": float(place == 1),
        "any": float(place > 0),
        "reciprocal": 1 / place if place else 0.0,
        "hits": sum(g == target for g in guesses) / len(guesses),
        "draw": own.total if own is not None and len(own.logprobs) else None,
    }
