"""CDD: what a model's output distribution says of contamination, as plain functions.

Source: Dong et al., "Generalization or Memorization: Data Contamination and Trustworthy Evaluation
for Large Language Models", arXiv 2402.15938; constants as in the authors' scripts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np

from byheart.audits._edit_distance import edit_distances
from byheart.core.errors import UsageError

__all__ = [
    "CDD",
    "CDDReport",
    "Detection",
    "Peak",
    "clean",
    "detection",
    "peakedness",
    "tokens_of",
]


@dataclass(frozen=True)
class Peak:
    """How peaked the outputs of one prompt are.

    Attributes:
        value: Share of samples within alpha * length of the greedy answer.
        distances: ``[n]`` token edit distances.
        length: Longest output in tokens, after truncation, the greedy one included.
    """

    value: float
    distances: np.ndarray
    length: int

    def flagged(self, xi: float = 0.01) -> bool:
        """Contaminated by the paper's rule, Peak > xi."""
        return self.value > xi


def clean(text: str, entry: str | None = None) -> str:
    """An answer without what often follows it: three newlines and on, or else a code fence and on.

    A text that *begins* with a fence keeps what the fence holds (the authors' script empties it,
    which makes all samples agree: a false alarm).

    Args:
        text: The answer.
        entry: Name of the function that was asked for: an answer that repeats the prompt loses all
            up to the end of that function's docstring.
    """
    text = text.strip()
    if entry and (start := text.find(f"def {entry}(")) >= 0:
        text = _behind_docstring(text[start:])
    if "\n\n\n" in text:
        return text.split("\n\n\n", 1)[0]
    if text.startswith("```"):
        text = text.partition("\n")[2]
    return text.split("```", 1)[0]


def _behind_docstring(code: str) -> str:
    """A function's code behind its docstring; behind its first line if it has none."""
    body = code.partition("\n")[2]
    for quote in ('"""', "'''"):
        head, found, rest = body.partition(quote)
        if found and not head.strip(" \tru"):
            return rest.partition(quote)[2].lstrip("\n")
    return body


def tokens_of(text: str, tokenise: Callable[[str], Sequence[int]]) -> list[int]:
    """Token ids of a text, special tokens included where `tokenise` adds them; none of an empty
    text: a missing answer must not agree with another by its opening token."""
    return list(tokenise(text)) if text.strip() else []


def peakedness(
    greedy: Sequence[int],
    samples: Sequence[Sequence[int]],
    alpha: float = 0.05,
    max_tokens: int = 100,
) -> Peak:
    """Peak(x) = |{i : ED(s_i, s_0) <= alpha L}| / n, with L the longest output.

    Args:
        greedy: Token ids of the answer at temperature 0.
        samples: Token ids of the sampled answers.
        alpha: 0.05 in the paper; 0 in its real-world mode.
        max_tokens: Outputs are cut to so many tokens first (100 in the authors' script).

    Raises:
        UsageError: No samples, an empty greedy answer, or only empty samples (they are missing
            answers, not agreement). One empty sample among others counts as a distant one.

    >>> peakedness([1, 2, 3], [[1, 2, 3], [1, 2, 4]], alpha=0.0).value
    0.5
    """
    if not 0 <= alpha <= 1:
        raise UsageError(f"alpha must lie in [0, 1], got {alpha}")
    if len(samples) == 0:
        raise UsageError("there are no samples: a peak cannot be told")
    if len(greedy) == 0 or not any(len(s) for s in samples):
        raise UsageError("the greedy answer or all samples are empty: count the item as missing")
    if max_tokens < 1:
        raise UsageError(f"max_tokens must be at least 1, got {max_tokens}")
    reference, cut = greedy[:max_tokens], [s[:max_tokens] for s in samples]
    length = max(map(len, [reference, *cut]))
    distances = edit_distances(reference, cut)
    return Peak(float(np.mean(distances <= alpha * length)), distances, length)


@dataclass(frozen=True)
class Detection:
    """How well flags or scores tell labelled items apart."""

    accuracy: float
    precision: float
    recall: float
    f1: float
    auc: float


def detection(peaks: Sequence[float], labels: Sequence[bool], xi: float = 0.01) -> Detection:
    """Accuracy, precision, recall and F1 of Peak > xi, and the AUC of Peak.

    Raises:
        UsageError: Lengths differ, or one label is absent.
    """
    from byheart.core.stats import auc

    p, y = np.asarray(peaks, dtype=float), np.asarray(labels, dtype=bool)
    if p.shape != y.shape or not y.any() or y.all():
        raise UsageError("detection needs one label a peak, and both labels")
    flag = p > xi
    hits = float((flag & y).sum())
    precision = hits / max(1.0, float(flag.sum()))
    recall = hits / float(y.sum())
    f1 = 2 * precision * recall / (precision + recall) if hits else 0.0
    return Detection(float((flag == y).mean()), precision, recall, f1, auc(p[y], p[~y]))


@dataclass(frozen=True)
class CDDReport:
    """CDD over a set of prompts.

    Attributes:
        peaks: ``[N]``; NaN where the model gave no answer.
        flags: ``[N]`` Peak > xi; False where missing.
        contamination_ratio: Share of flagged items among the answered.
        mean_peak: Mean over the answered.
        missing: Positions without an answer.
    """

    peaks: np.ndarray
    flags: np.ndarray
    contamination_ratio: float
    mean_peak: float
    missing: tuple[int, ...]


@dataclass(frozen=True)
class CDD:
    """Contamination detection via output distribution.

    Args:
        alpha: Share of the length within which a sample counts as a copy (0.05).
        xi: An item is flagged above this peak (0.01).
        n: Samples a prompt (50).
        temperature: Of the samples (0.8).
        max_tokens: Tokens compared (100).

    Raises:
        UsageError: A setting out of its range.

    `CDD.real_world()` asks about a whole benchmark instead: alpha 0, xi 0.2.
    """

    alpha: float = 0.05
    xi: float = 0.01
    n: int = 50
    temperature: float = 0.8
    max_tokens: int = 100

    def __post_init__(self) -> None:
        if not 0 <= self.alpha <= 1 or not 0 <= self.xi < 1:
            raise UsageError(
                f"alpha must lie in [0, 1] and xi in [0, 1), got {self.alpha}, {self.xi}"
            )
        if self.n < 1 or self.max_tokens < 1 or not self.temperature > 0:
            raise UsageError(
                "n and max_tokens must be at least 1 and temperature above 0, got "
                f"{self.n}, {self.max_tokens}, {self.temperature}"
            )

    @classmethod
    def real_world(cls, n: int = 50) -> CDD:
        """The paper's setting for "is this benchmark contaminated?"."""
        return cls(alpha=0.0, xi=0.2, n=n)

    @overload
    def audit(self, model: Any, prompts: Sequence[Any], /, *, seed: int = 0) -> CDDReport: ...
    @overload
    def audit(
        self, model: Any, tokenizer: Any, prompts: Sequence[Any], /, *, seed: int = 0
    ) -> CDDReport: ...
    def audit(self, model: Any, *given: Any, seed: int = 0) -> CDDReport:
        """Sample the model and report: ``audit(model, prompts)``, or with a tokenizer between them.

        Answers are cleaned, tokenised (the tokenizer's default special tokens included), cut to
        `max_tokens`, and compared, in this order. So many tokens are generated, too.

        Args:
            model: What `byheart.load` takes.
            *given: A tokenizer of transformers, or a function from text to ids; left out or None,
                the model's own, or one number a word where it shows none. Last the prompts: texts
                or chats.
            seed: Of the samples.

        Raises:
            UsageError: No prompts, or one text where a list of them belongs.
        """
        from byheart.core.ask import Sample
        from byheart.core.model import load

        if not 1 <= len(given) <= 2:
            raise UsageError("write audit(model, prompts) or audit(model, tokenizer, prompts)")
        tokenizer, prompts = given if len(given) == 2 else (None, given[0])
        if isinstance(prompts, str) or len(prompts) == 0:
            raise UsageError(f"prompts must be a list of at least one prompt, got {prompts!r}")
        module = hasattr(model, "named_parameters")
        loaded = load(model, tokenizer=tokenizer) if module else load(model)
        tokenise = _tokeniser(tokenizer) if tokenizer is not None else loaded.tokenise
        asks = [Sample(p, max_tokens=self.max_tokens) for p in prompts] + [
            Sample(p, n=self.n, temperature=self.temperature, max_tokens=self.max_tokens, seed=seed)
            for p in prompts
        ]
        replies = [
            [tokens_of(clean(c.text), tokenise) for c in completions]
            for completions in loaded.sample(asks)
        ]
        greedy, sampled = replies[: len(prompts)], replies[len(prompts) :]
        return self.of([(g[0], s) for g, s in zip(greedy, sampled, strict=True)])

    def fit_predict(self, model: Any, prompts: Sequence[Any], *, seed: int = 0) -> np.ndarray:
        """`[N]` flags, as an outlier detector of scikit-learn gives them (True = contaminated)."""
        return self.audit(model, prompts, seed=seed).flags

    def of(self, outputs: Iterable[tuple[Sequence[int], Sequence[Sequence[int]]]]) -> CDDReport:
        """Report on outputs that are there already: (greedy ids, sample ids) an item."""
        peaks = []
        for greedy, samples in outputs:
            present = [s for s in samples if len(s)]
            ok = len(greedy) > 0 and present
            peaks.append(
                peakedness(greedy, present, self.alpha, self.max_tokens).value if ok else np.nan
            )
        values = np.array(peaks, dtype=float)
        answered = ~np.isnan(values)
        flags = np.zeros(len(values), dtype=bool)
        flags[answered] = values[answered] > self.xi
        some = bool(answered.any())
        return CDDReport(
            values,
            flags,
            float(flags[answered].mean()) if some else 0.0,
            float(values[answered].mean()) if some else 0.0,
            tuple(int(i) for i in np.flatnonzero(~answered)),
        )


def _tokeniser(tokenizer: Any, special: bool = True) -> Callable[[str], Sequence[int]]:
    """Text to ids: a tokenizer's ``encode`` (special tokens by its default), or a function."""
    encode = getattr(tokenizer, "encode", tokenizer)
    if not callable(encode):
        raise UsageError(
            f"tokenizer must have encode or be a function from text to ids, got {tokenizer!r}"
        )
    bare = not special and hasattr(tokenizer, "num_special_tokens_to_add")

    def ids(text: str) -> Sequence[int]:
        found = encode(text, add_special_tokens=False) if bare else encode(text)
        return getattr(found, "ids", found)  # a tokenizer of tokenizers returns an Encoding

    return ids
