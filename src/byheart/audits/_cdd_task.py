"""CDD and TED over your own dataset, as parts of inspect_ai: a solver, a scorer, and the task."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from inspect_ai import Task
from inspect_ai.dataset import Dataset, MemoryDataset
from inspect_ai.dataset import Sample as Item
from inspect_ai.model import get_model
from inspect_ai.scorer import Metric, SampleScore, Score, Scorer, Target, Value, metric, scorer
from inspect_ai.solver import Generate, Solver, TaskState, solver

from byheart.audits._cdd import _tokeniser, clean, detection, peakedness, tokens_of
from byheart.audits._ted import TedTask, pass_at_k, ted
from byheart.core.ask import Prompt, Sample
from byheart.core.endpoint import facts_of, reply_to

__all__ = ["cdd", "cdd_task", "peak"]

_GREEDY, _SAMPLES = "byheart_greedy", "byheart_samples"


@solver(name="byheart/cdd")
def cdd(n: int = 50, temperature: float = 0.8, max_tokens: int = 100, raw: bool = False) -> Solver:
    """One greedy answer and `n` samples, kept in the state's store.

    Providers that give one answer a call are asked n times, with another seed each time.

    Args:
        n: Samples a prompt (50 in the paper).
        temperature: Of the samples (0.8).
        max_tokens: Most new tokens an answer.
        raw: Continue the input as plain text, instead of answering it as a chat.
    """

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        prompt: Prompt = (
            state.input_text if raw else tuple((m.role, m.text) for m in state.messages)
        )
        ask = functools.partial(Sample, prompt, max_tokens=max_tokens)
        greedy = await reply_to(ask(), get_model())
        drawn = await reply_to(ask(n=n, temperature=temperature, seed=1), get_model())
        state.store.set(_GREEDY, greedy[0].text)  # type: ignore[index]
        state.store.set(_SAMPLES, [c.text for c in drawn])  # type: ignore[union-attr]
        state.output.completion = greedy[0].text  # type: ignore[index]
        return state

    return solve


@metric(name="byheart/contamination")
def _contamination(xi: float = 0.01) -> Metric:
    """Contamination ratio and mean peak; detection where samples carry `label`; pass@1 and TED."""

    def compute(scores: list[SampleScore]) -> Value:
        if not scores:
            return {"n": 0.0}
        values = [s.score.as_dict() for s in scores]
        peaks = [float(v["peak"] or 0.0) for v in values]
        out = {
            "contamination_ratio": float(np.mean([float(v["flag"] or 0.0) for v in values])),
            "mean_peak": float(np.mean(peaks)),
        }
        for key in ("pass", "ted"):
            told = [float(v[key] or 0.0) for v in values if key in v]
            if told:
                out[key] = float(np.mean(told))
        labels = [(s.sample_metadata or {}).get("label") for s in scores]
        known = [(p, bool(x)) for p, x in zip(peaks, labels, strict=True) if x is not None]
        if 0 < sum(x for _, x in known) < len(known):
            out |= vars(detection([p for p, _ in known], [x for _, x in known], xi))
        return out  # type: ignore[return-value]

    return compute


def peak(
    alpha: float = 0.05,
    xi: float = 0.01,
    max_tokens: int = 100,
    passes: Callable[[str, str], bool] | None = None,
    tau: float = 2,
    tokenizer: Any = None,
) -> Scorer:
    """Peak and flag of what `cdd` collected; with `passes` also pass@1, plain and after TED.

    An item without an answer is left unscored. TED of a benchmark is the mean of its items' TED, an
    emptied item counting 0, so it needs no epochs.

    Args:
        alpha: Share of the length within which a sample is a near-copy.
        xi: An item is flagged above this peak.
        max_tokens: Tokens compared.
        passes: Told an answer and the target: whether it is right.
        tau: TED drops samples within this distance of the greedy answer.
        tokenizer: As for `CDD.audit`; None is the model's own where byheart holds it, else words.
    """

    @scorer(metrics=[_contamination(xi)], name="byheart/peak")
    def measured() -> Scorer:
        async def score(state: TaskState, target: Target) -> Score:
            facts = facts_of(get_model())
            whole = _tokeniser(tokenizer) if tokenizer is not None else facts.tokenise
            texts = [clean(t) for t in (state.store.get(_GREEDY), *state.store.get(_SAMPLES))]
            greedy, *drawn = (tokens_of(t, whole or facts.encode) for t in texts)
            present = [d for d in drawn if d]
            if not greedy or not present:
                return Score.unscored(explanation="no answer")
            found = peakedness(greedy, present, alpha, max_tokens)
            value: dict[str, float] = {
                "peak": found.value,
                "flag": float(found.flagged(xi)),
            }
            if passes is not None:
                own = facts.encode if tokenizer is None else _tokeniser(tokenizer, special=False)
                verdicts = [bool(passes(t, target.text)) for t in texts[1:]]
                plain, *bare = (tokens_of(t, own) for t in texts)
                value["pass"] = pass_at_k(len(verdicts), sum(verdicts))
                value["ted"] = ted([TedTask(plain, bare, verdicts)], tau)
            note = f"{found.value:.2f} of {len(present)} within {alpha * found.length:.1f} edits"
            return Score(value=value, answer=texts[0], explanation=note)  # type: ignore[arg-type]

        return score

    return measured()


def cdd_task(
    dataset: Dataset | Sequence[Item],
    *,
    n: int = 50,
    temperature: float = 0.8,
    alpha: float = 0.05,
    xi: float = 0.01,
    max_tokens: int = 100,
    raw: bool = False,
    passes: Callable[[str, str], bool] | None = None,
    tau: float = 2,
    tokenizer: Any = None,
) -> Task:
    """CDD over a dataset of inspect_ai, and TED if it is told which answers pass.

    Metrics: contamination ratio and mean peak; accuracy, precision, recall, F1 and AUC where the
    samples' metadata hold ``label``; ``pass`` and ``ted`` with `passes`. Run it on a clean control
    as well: easy items are peaked in any model.

    Args:
        dataset: A dataset, or samples.
        n: As for `cdd`; so are `temperature`, `max_tokens` and `raw`.
        temperature: Of the samples.
        alpha: As for `peak`; so are `xi`, `passes`, `tau` and `tokenizer`.
        xi: An item is flagged above this peak.
        max_tokens: Tokens generated and compared.
        raw: Continue the input as plain text.
        passes: Told an answer and the target: whether it is right.
        tau: For TED.
        tokenizer: None is the model's own.
    """
    items = dataset if isinstance(dataset, Dataset) else MemoryDataset(list(dataset))
    return Task(
        dataset=items,
        solver=cdd(n, temperature, max_tokens, raw),
        scorer=peak(alpha, xi, max_tokens, passes, tau, tokenizer),
        name="cdd",
    )
