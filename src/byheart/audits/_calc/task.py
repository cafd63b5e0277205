"""Both parts as tasks of inspect_ai: partial prompts over your questions, and fresh arithmetic.

``inspect eval byheart/partial-prompt`` and ``inspect eval byheart/fresh-arithmetic`` find them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from inspect_ai import Task, task
from inspect_ai.dataset import MemoryDataset
from inspect_ai.dataset import Sample as Item
from inspect_ai.model import GenerateConfig, get_model
from inspect_ai.scorer import Metric, SampleScore, Score, Scorer, Target, Value, metric, scorer
from inspect_ai.solver import Generate, Solver, TaskState, generate, solver

from byheart.audits._calc import answers
from byheart.audits._calc.generator import RandomCalculation
from byheart.audits._calc.knobs import several
from byheart.audits._calc.material import read_questions, shipped
from byheart.audits._calc.numbers import exact_number
from byheart.audits._calc.probes import RATIOS, PartialPrompt, tail_of, truncate
from byheart.audits._calc.rewards import reference_reward
from byheart.core.ask import Prompt, Sample
from byheart.core.endpoint import reply_to
from byheart.core.errors import UsageError

__all__ = ["calculation_scorer", "calculation_task", "partial_prompt_scorer", "partial_prompt_task"]


@solver(name="byheart/continue")
def go_on(
    max_tokens: int = 256,
    chat: bool = False,
    temperature: float = 0.0,
    top_p: float = 1.0,
    top_k: int = 0,
) -> Solver:
    """Continue the input as plain text, or answer it as a chat; each epoch has a seed of its own."""

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        text = state.input_text
        prompt: Prompt = (("user", text),) if chat else text
        ask = Sample(
            prompt, max_tokens=max_tokens, temperature=temperature, top_p=top_p, top_k=top_k,
            seed=state.epoch,
        )  # fmt: skip
        reply = await reply_to(ask, get_model())
        state.output.completion = reply[0].text  # type: ignore[index]
        return state

    return solve


@metric(name="byheart/by_ratio")
def by_ratio() -> Metric:
    """Means of all values by ratio: ``exact_match@60``, ``rouge_l@60``, ``correct@100``, ..."""

    def compute(scores: list[SampleScore]) -> Value:
        sums: dict[str, list[float]] = {}
        for s in scores:
            ratio = float((s.sample_metadata or {}).get("ratio", 1.0))
            for name, value in s.score.as_dict().items():
                if value is not None:
                    sums.setdefault(f"{name}@{round(100 * ratio)}", []).append(float(value))
        return {k: sum(v) / len(v) for k, v in sorted(sums.items())}  # type: ignore[return-value]

    return compute


@scorer(metrics=[by_ratio()], name="byheart/partial_prompt")
def partial_prompt_scorer() -> Scorer:
    """ROUGE-L, EM and the lenient sign of the restored end; answers, where there is a key."""

    async def score(state: TaskState, target: Target) -> Score:
        about = state.metadata
        row = PartialPrompt.of(
            str(state.sample_id), about["ratio"], state.input_text, about["tail"],
            state.output.completion, about["key"],
        )  # fmt: skip
        value: dict[str, float] = {}
        if row.ratio < 1:
            value |= {"rouge_l": row.rouge_l, "exact_match": row.exact_match}
            value["completed"] = row.completed
        if row.correct is not None and row.contains is not None:
            value |= {"correct": row.correct, "contains": row.contains}
        return Score(value=value, answer=row.answer, explanation=row.continuation[:2000])  # type: ignore[arg-type]

    return score


@task(name="partial-prompt")
def partial_prompt_task(
    questions: str | Path | Sequence[str | tuple[str, str]] | None = None,
    ratios: float | str | Sequence[float] = RATIOS,
    *,
    max_tokens: int = 256,
    chat: bool = False,
    samples: int = 1,
    temperature: float = 0.7,
    top_p: float = 0.8,
    top_k: int = 20,
) -> Task:
    """Both probes as a task: one sample for each question and ratio, means by ratio.

    It needs a provider that continues plain text (``byheart/``, ``vllm-completions``, ``llama-cpp``);
    a chat endpoint is asked to go on with the text.

    Args:
        questions: A file of JSON lines (``question``, ``answer``, which may be missing); or texts, or
            pairs of a text and its key. With a key the whole question is asked too. None: the 24
            questions of GSM8K that the audit asks.
        ratios: Shares of characters that are shown.
        max_tokens: Length of a continuation (paper: 4096).
        chat: Send what is shown as a user's message.
        samples: 1 is greedy; more are drawn (paper: 16), and their means are taken.
        temperature: Of several samples (0.7).
        top_p: Of several samples (0.8).
        top_k: Of several samples (20); 0 keeps all. Providers without it leave it out.

    Raises:
        UsageError: If no question is given, or a value makes no sense.
        DataError: If the file cannot be used; the line is named.
    """
    if questions is None or isinstance(questions, str | Path):
        read = shipped() if questions is None else read_questions(questions)
        questions = [(q.text, q.key) for q in read]
    if not questions:
        raise UsageError("no question is given")
    if samples < 1:
        raise UsageError(f"samples must be at least 1, got {samples}")
    ratios = several("ratios", ratios, float)
    items = []
    for i, entry in enumerate(questions):
        text, key = (entry, "") if isinstance(entry, str) else entry
        for ratio in (*((1.0,) if key else ()), *(r for r in ratios if r < 1)):
            shown = truncate(text, ratio)
            meta = {"ratio": ratio, "tail": tail_of(text, shown), "key": answers.gold_of(key)}
            items.append(
                Item(
                    id=f"{i}@{round(100 * ratio)}", input=shown, target=meta["tail"], metadata=meta
                )
            )
    return Task(
        dataset=MemoryDataset(items, name="partial-prompt"),
        solver=go_on(max_tokens, chat)
        if samples == 1
        else go_on(max_tokens, chat, temperature, top_p, top_k),
        scorer=partial_prompt_scorer(),
        epochs=samples,
        name="partial_prompt",
    )


@metric(name="byheart/means")
def means() -> Metric:
    """Mean of every value, and of each by the number of operations."""

    def compute(scores: list[SampleScore]) -> Value:
        sums: dict[str, list[float]] = {}
        for s in scores:
            steps = (s.sample_metadata or {}).get("steps")
            for name, value in s.score.as_dict().items():
                for key in (name, f"{name}@{steps}"):
                    sums.setdefault(key, []).append(float(value or 0.0))
        return {k: sum(v) / len(v) for k, v in sorted(sums.items())}  # type: ignore[return-value]

    return compute


@scorer(metrics=[means()], name="byheart/random_calculation")
def calculation_scorer(tolerance: float = 1e-4) -> Scorer:
    """``reward`` (eq. 2), ``correct`` (to `tolerance` of the value) and ``exact`` (as a key is graded).

    Args:
        tolerance: Relative; 1e-4 is right to four digits.
    """

    async def score(state: TaskState, target: Target) -> Score:
        text, key = state.output.completion, target.text
        found = answers.extract(text)
        given, wanted = exact_number(found), exact_number(key)
        near = (
            given is not None
            and wanted is not None
            and abs(given - wanted) <= abs(wanted) * exact_number(str(tolerance))  # type: ignore[operator]
        )
        value = {
            "reward": reference_reward(found, key),
            "correct": float(near),
            "exact": float(answers.grade(found, key)),
        }
        return Score(
            value=value, answer=found or "", explanation="" if found else "no number found"
        )  # type: ignore[arg-type]

    return score


@task(name="fresh-arithmetic")
def calculation_task(
    steps: int | str | Sequence[int] = (5, 10),
    n: int = 100,
    seed: int = 0,
    *,
    max_tokens: int = 4096,
    parenthesise: str = "authors",
) -> Task:
    """Freshly drawn arithmetic as a task: eq. 2 and accuracy, also by number of operations.

    Args:
        steps: Operations; several give `n` problems each.
        n: Problems of each.
        seed: Another seed, other problems.
        max_tokens: Length of an answer (paper: 4096).
        parenthesise: As for `RandomCalculation`.

    Raises:
        UsageError: If a value makes no sense.
    """
    if n < 1:
        raise UsageError(f"n must be at least 1, got {n}")
    levels = several("steps", steps, int)
    items = [
        Item(
            id=f"{level}-{p.id}", input=p.prompt, target=p.answer,
            metadata={"steps": level, "expression": p.expression},
        )
        for level in levels
        for p in RandomCalculation(level, seed, parenthesise).sample(n)
    ]  # fmt: skip
    return Task(
        dataset=MemoryDataset(items, name="random-calculation"),
        solver=generate(),
        scorer=calculation_scorer(),
        config=GenerateConfig(temperature=0.0, max_tokens=max_tokens),
        name="random_calculation",
    )
