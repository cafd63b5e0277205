"""SORT as parts of inspect_ai: a scorer that reads label probabilities, and the task over pairs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from inspect_ai import Task
from inspect_ai.dataset import MemoryDataset
from inspect_ai.dataset import Sample as Item
from inspect_ai.model import (
    ChatMessage,
    ChatMessageAssistant,
    ChatMessageSystem,
    ChatMessageUser,
    GenerateConfig,
)
from inspect_ai.scorer import Metric, SampleScore, Score, Scorer, Target, Value, metric, scorer
from inspect_ai.solver import TaskState, generate

from byheart.audits._sort.pairs import Pair
from byheart.audits._sort.prompts import CONDITIONS, LABELS, PLAIN, Wording, messages
from byheart.audits._sort.scoring import (
    Choice,
    debiased,
    from_logprobs,
    lenient_answer,
    strict_answer,
)
from byheart.core.errors import UsageError

__all__ = ["order_metric", "sort_scorer", "sort_task"]

_MESSAGE: dict[str, Any] = {
    "system": ChatMessageSystem, "user": ChatMessageUser, "assistant": ChatMessageAssistant,
}  # fmt: skip
_UNLISTED = -100.0
"""Log-probability of a label that is not among the most likely tokens."""


@metric(name="byheart/sort")
def order_metric() -> Metric:
    """Accuracy, debiased accuracy and share of A by condition and by bin of distance."""

    def compute(scores: list[SampleScore]) -> Value:
        cells: dict[str, list[SampleScore]] = {}
        for s in scores:
            about = s.sample_metadata or {}
            for key in (about["condition"], f"{about['condition']}/{about['distance_bin']}"):
                cells.setdefault(key, []).append(s)
        out: dict[str, float] = {}
        for key, some in sorted(cells.items()):
            out[key] = sum(float(s.score.as_dict()["lenient"] or 0) for s in some) / len(some)
            said = [s.score.answer for s in some if s.score.answer]
            if said:
                out[f"{key}/said_a"] = said.count("A") / len(said)
            both: dict[str, dict[bool, SampleScore]] = {}
            for s in some:
                about = s.sample_metadata or {}
                both.setdefault(about["pair_id"], {})[bool(about["swap"])] = s
            whole = [p for p in both.values() if len(p) == 2]
            if whole:
                right = [
                    debiased(_choice(p[False]), _choice(p[True]), _target(p[False])) for p in whole
                ]
                out[f"{key}/debiased"] = sum(right) / len(right)
        return out  # type: ignore[return-value]

    return compute


def _choice(score: SampleScore) -> Choice:
    about = score.score.metadata or {}
    return Choice(about.get("strict", ""), score.score.answer or "", about.get("margin"))


def _target(score: SampleScore) -> str:
    return str((score.sample_metadata or {})["key"])


def sort_scorer(task: str = "first") -> Scorer:
    """Marks one question: ``lenient`` and ``strict``, 0 or 1.

    Where the provider tells log-probabilities of the first token, they are read (all ways to write a
    label together; tokens as `Ġ` or `▁` show them); otherwise the text is.

    Args:
        task: What was asked, ``"first"`` or ``"last"``; matters for answers in sentences.
    """

    @scorer(metrics=[order_metric()], name="byheart/sort_scorer")
    def marked() -> Scorer:
        async def score(state: TaskState, target: Target) -> Score:
            choice = _from_output(state) or Choice(
                strict_answer(state.output.completion),
                lenient_answer(state.output.completion, task),
            )
            key = target.text
            return Score(
                value={
                    "lenient": float(choice.lenient == key),
                    "strict": float(choice.strict == key),
                },
                answer=choice.lenient,
                explanation=state.output.completion,
                metadata={"margin": choice.margin, "strict": choice.strict},
            )

        return score

    return marked()


def _from_output(state: TaskState) -> Choice | None:
    """From the first token's most likely alternatives; None where there are none, or no label."""
    choices = state.output.choices
    logprobs = choices[0].logprobs if choices else None
    if logprobs is None or not logprobs.content or not logprobs.content[0].top_logprobs:
        return None
    found: dict[str, list[float]] = {x: [_UNLISTED, _UNLISTED] for x in LABELS}
    listed = False
    for token in logprobs.content[0].top_logprobs:
        text = token.token.replace("Ġ", " ").replace("▁", " ")
        if text.strip() in LABELS:
            listed = True
            spaced = int(text != text.strip())
            found[text.strip()][spaced] = max(found[text.strip()][spaced], token.logprob)
    return from_logprobs(found["A"], found["B"]) if listed else None


def sort_task(
    pairs: Sequence[Pair],
    *,
    conditions: Sequence[str] = CONDITIONS,
    task: str = "first",
    both_orders: bool = True,
    wording: Wording = PLAIN,
    max_tokens: int = 1,
) -> Task:
    """Given pairs as a task: one sample a pair, condition and order of presentation.

    Metrics: accuracy, ``/said_a`` and ``/debiased`` by condition and by condition and distance.

    Args:
        pairs: What is asked about, such as published ones (`read_pairs`).
        conditions: Any of ``memory`` and ``context``.
        task: Which came ``"first"`` or ``"last"``.
        both_orders: Ask every pair swapped as well (else as it was drawn only, as in the paper).
        wording: Of the question. The letter alone is asked for, since inspect_ai has no way to go on
            with an opened answer.
        max_tokens: Length of an answer; 1 where log-probabilities are told (paper).

    Raises:
        UsageError: If there is no pair, or a condition that does not exist.
    """
    if not pairs:
        raise UsageError("no pair is given")
    items = []
    for pair in pairs:
        for condition in conditions:
            for swap in (False, True) if both_orders else (False,):
                asked = messages(
                    pair, condition, wording=wording, task=task, swap=swap, opened=False
                )
                turns: list[ChatMessage] = [_MESSAGE[role](content=text) for role, text in asked]
                key = pair.answer(swap, task)
                items.append(
                    Item(
                        id=f"{pair.id}/{condition}{'/swapped' if swap else ''}",
                        input=turns,
                        target=key,
                        metadata={
                            "pair_id": pair.id, "key": key, "swap": swap, "condition": condition,
                            "book_idx": pair.book, "excerpt_idx": pair.excerpt_index,
                            "distance_bin": pair.bin, "segment_length": pair.segment_length,
                            "excerpt_length": pair.excerpt_length,
                        },
                    )
                )  # fmt: skip
    return Task(
        dataset=MemoryDataset(items, name="book-sort"),
        solver=generate(),
        scorer=sort_scorer(task),
        config=GenerateConfig(
            temperature=0.0, max_tokens=max_tokens, logprobs=True, top_logprobs=20
        ),
        name="sort",
    )
