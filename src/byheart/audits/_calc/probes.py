"""Partial prompts: can a model restore the end of a question, and answer it without having seen it?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from byheart.audits._calc import answers
from byheart.audits._calc.rouge import exact_match, head, rouge_l, rouge_tokens
from byheart.core.ask import Sample
from byheart.core.errors import UsageError
from byheart.core.model import Model

__all__ = [
    "RATIOS", "PartialPrompt", "PartialReport", "answer_accuracy", "completed", "completion_rate",
    "partial_prompt", "tail_of", "truncate",
]  # fmt: skip

RATIOS = (0.8, 0.6, 0.4)
"""Shares of the characters that are shown (paper)."""

_ENDS = " \n,.!?)]}"


def truncate(text: str, ratio: float) -> str:
    """The first ``ratio`` of a text's characters, to the end of the word; no white space behind.

    The cut moves right until it stands before a blank, a newline or one of ``, . ! ? ) ] }``.

    Args:
        text: The question.
        ratio: 1 or more returns all of it.

    Raises:
        UsageError: If the ratio is not above 0.

    >>> truncate("How many eggs does she sell?", 0.4)
    'How many eggs'
    """
    if not ratio > 0:
        raise UsageError(f"a ratio must be above 0, got {ratio}")
    cut = int(len(text) * ratio)
    if ratio >= 1 or cut >= len(text):
        return text
    while cut < len(text) and text[cut] not in _ENDS:
        cut += 1
    return text[:cut].rstrip()


def tail_of(text: str, shown: str) -> str:
    """What was cut off, white space at the ends apart.

    >>> tail_of("How many eggs does she sell?", "How many eggs")
    'does she sell?'
    """
    return text[len(shown) :].strip()


def completed(continuation: str, target: str) -> bool:
    """The lenient sign: the tail's words stand in the continuation, one after the other, anywhere.

    Chat models repeat the question, or say that they will gladly complete it; the paper's EM compares
    from the first word on. Case and punctuation do not count, endings do.

    >>> completed("Sure! The text goes on: does she sell?", "does she sell?")
    True
    """
    want, told = rouge_tokens(target, stem=False), rouge_tokens(continuation, stem=False)
    n = len(want)
    return bool(n) and any(told[i : i + n] == want for i in range(len(told) - n + 1))


@dataclass(frozen=True, slots=True)
class PartialPrompt:
    """One question at one ratio.

    Attributes:
        id: Of the question.
        ratio: Share that was shown.
        shown: What the model was given.
        target: What was cut off.
        continuation: What the model wrote.
        rouge_l: Of as many words as the target has; 0 if nothing was cut off.
        exact_match: The paper's EM.
        completed: The lenient sign.
        answer: What was taken for the answer.
        correct: Whether it is right (authors' extraction); None without a key.
        contains: Whether the right answer occurs; None without a key.
    """

    id: str
    ratio: float
    shown: str
    target: str
    continuation: str
    rouge_l: float
    exact_match: float
    completed: float
    answer: str
    correct: float | None
    contains: float | None

    @classmethod
    def of(
        cls, id: str, ratio: float, shown: str, target: str, continuation: str, key: str = ""
    ) -> PartialPrompt:
        """Measure one continuation."""
        share = rouge_l(head(continuation, target), target)
        correct = contains = None
        found = ""
        if key:
            exact = answers.strict(continuation, key)
            found, correct = exact.answer, float(exact.right)
            contains = float(answers.lenient(continuation, key).right)
        return cls(
            id, ratio, shown, target, continuation, share, float(exact_match(share)),
            float(completed(continuation, target)), found, correct, contains,
        )  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return asdict(self)


def _mean(values: Sequence[float | None]) -> float | None:
    told = [v for v in values if v is not None]
    return sum(told) / len(told) if told else None


def completion_rate(rows: Sequence[PartialPrompt]) -> dict[float, dict[str, float]]:
    """Mean ROUGE-L, EM and lenient sign by ratio, over all items (an empty tail counts as 0)."""
    out: dict[float, dict[str, float]] = {}
    for ratio in sorted({r.ratio for r in rows if r.ratio < 1}, reverse=True):
        some = [r for r in rows if r.ratio == ratio]
        out[ratio] = {
            "rouge_l": sum(r.rouge_l for r in some) / len(some),
            "exact_match": sum(r.exact_match for r in some) / len(some),
            "completed": sum(r.completed for r in some) / len(some),
            "n": float(len(some)),
        }
    return out


def answer_accuracy(rows: Sequence[PartialPrompt]) -> dict[float, dict[str, float | None]]:
    """Share of right answers by ratio (1 is the whole question), over the items that have a key."""
    return {
        ratio: {
            "correct": _mean([r.correct for r in rows if r.ratio == ratio]),
            "contains": _mean([r.contains for r in rows if r.ratio == ratio]),
            "n": float(sum(r.ratio == ratio and r.correct is not None for r in rows)),
        }
        for ratio in sorted({r.ratio for r in rows}, reverse=True)
    }


@dataclass(frozen=True, slots=True)
class PartialReport:
    """What `partial_prompt` measured: rows, and their means by ratio."""

    rows: tuple[PartialPrompt, ...]

    @property
    def completion(self) -> dict[float, dict[str, float]]:
        """`completion_rate` of the rows."""
        return completion_rate(self.rows)

    @property
    def accuracy(self) -> dict[float, dict[str, float | None]]:
        """`answer_accuracy` of the rows."""
        return answer_accuracy(self.rows)


def partial_prompt(
    model: Model,
    questions: Sequence[str | tuple[str, str]],
    ratios: Sequence[float] = RATIOS,
    *,
    max_tokens: int = 256,
    chat: bool = False,
    samples: int = 1,
    temperature: float = 0.7,
    top_p: float = 0.8,
    top_k: int = 20,
    seed: int = 0,
) -> PartialReport:
    """Both probes on a model, greedily or as a mean of several samples.

    Without keys only the end of the question is asked for, and the ratio 1 is left out.

    Args:
        model: As `byheart.load` gives it.
        questions: Texts, or pairs of a text and its key.
        ratios: Shares of characters that are shown; 1.0 for ordinary accuracy.
        max_tokens: Length of a continuation (paper: 4096).
        chat: Send the cut question as a user's message. The model then answers instead of going on:
            the paper's headline is without.
        samples: 1 is greedy. The paper's other setting is 16, of which means are taken: each is a
            row here.
        temperature: Of samples (0.7).
        top_p: Of samples (0.8).
        top_k: Of samples (20); 0 keeps all.
        seed: Of samples.

    Raises:
        UsageError: If there is no question.
        CapabilityError: If the model cannot be sampled.

    >>> from byheart.core.toy import SuffixModel
    >>> text = "Ada packs 17 plums into each of 23 boxes and sells 9 boxes for 41 coins."
    >>> partial_prompt(SuffixModel([text]), [text], ratios=(0.5,)).completion[0.5]["exact_match"]
    1.0
    """
    if not questions:
        raise UsageError("no question is given")
    model.require("sample", purpose="partial_prompt")
    plan = []
    for i, entry in enumerate(questions):
        text, key = (entry, "") if isinstance(entry, str) else entry
        for ratio in ratios:
            if ratio < 1 or key:
                shown = truncate(text, ratio)
                plan.append((str(i), ratio, shown, tail_of(text, shown), answers.gold_of(key)))
    asks = [
        Sample(
            (("user", shown),) if chat else shown, n=samples, max_tokens=max_tokens, seed=seed,
            temperature=0.0 if samples == 1 else temperature, top_p=1.0 if samples == 1 else top_p,
            top_k=0 if samples == 1 else top_k,
        )
        for _, _, shown, _, _ in plan
    ]  # fmt: skip
    replies = model.sample(asks)
    return PartialReport(
        tuple(
            PartialPrompt.of(id, ratio, shown, target, c.text, key)
            for (id, ratio, shown, target, key), drawn in zip(plan, replies, strict=True)
            for c in drawn
        )
    )
