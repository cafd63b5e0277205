"""Knights and knaves as parts of inspect_ai: a scorer, a metric, and the task over given puzzles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from inspect_ai import Task
from inspect_ai.dataset import MemoryDataset
from inspect_ai.dataset import Sample as Item
from inspect_ai.model import GenerateConfig
from inspect_ai.scorer import Metric, SampleScore, Score, Scorer, Target, Value, metric, scorer
from inspect_ai.solver import TaskState, generate

from byheart.audits._kk import scoring
from byheart.audits._kk.grammar import twin_kind
from byheart.audits._kk.metrics import consistency_ratio, limem
from byheart.audits._kk.prompts import prompt
from byheart.audits._kk.sampler import KINDS, Puzzle, perturb
from byheart.audits._kk.wording import STYLES, Rendered, lay_out, render
from byheart.core.errors import UsageError

__all__ = ["kk_scorer", "kk_task", "limem_metric"]


@metric(name="byheart/limem")
def limem_metric() -> Metric:
    """Accuracy by variant, and CR and LiMem by perturbation, from pairs that share `pair_id`; with
    several numbers of people also of each (``limem/leaf/3p``)."""

    def compute(scores: list[SampleScore]) -> Value:
        out = table(scores)
        people = [(s.sample_metadata or {}).get("n_people") for s in scores]
        for n in sorted({p for p in people if p is not None}) if len(set(people)) > 1 else ():
            part = table([s for s, p in zip(scores, people, strict=True) if p == n])
            out.update({f"{key}/{n}p": value for key, value in part.items()})
        return out  # type: ignore[return-value]

    def table(scores: list[SampleScore]) -> dict[str, float]:
        solved: dict[str, dict[str, float]] = {}
        for s in scores:
            about = s.sample_metadata or {}
            variant, pair = str(about.get("variant", "clean")), str(about.get("pair_id", ""))
            solved.setdefault(variant, {})[pair] = float(s.score.as_dict()["right"] or 0.0)
        clean = solved.pop("clean", {})
        out: dict[str, float] = {}
        if clean:
            out["accuracy"] = sum(clean.values()) / len(clean)
        for variant, twins in solved.items():
            out[f"accuracy/{variant}"] = sum(twins.values()) / len(twins)
            shared = [p for p in twins if p in clean]
            if shared:
                pairs = [clean[p] for p in shared], [twins[p] for p in shared]
                out[f"cr/{variant}"] = consistency_ratio(*pairs)
                out[f"limem/{variant}"] = limem(*pairs)
        return out

    return compute


def kk_scorer(strict: bool = True) -> Scorer:
    """Marks an answer: ``right`` (0 or 1) and ``ratio`` (share of the roles).

    Args:
        strict: The authors' scorer; False reads other formats too.
    """
    judge = scoring.strict if strict else scoring.lenient

    @scorer(metrics=[limem_metric()], name=f"byheart/kk_{'strict' if strict else 'lenient'}")
    def marked() -> Scorer:
        async def score(state: TaskState, target: Target) -> Score:
            mark = judge(state.output.completion, state.metadata["gold"])
            return Score(
                value={"right": float(mark.right), "ratio": mark.ratio},
                answer=mark.parsed,
                explanation=mark.reason or "right",
            )

        return score

    return marked()


def kk_task(
    puzzles: Sequence[Puzzle],
    perturbations: Sequence[str] = KINDS,
    *,
    twins: dict[str, Sequence[Puzzle | None]] | None = None,
    cot: bool = False,
    shots: int = 0,
    max_tokens: int = 2048,
    seed: int = 0,
) -> Task:
    """Puzzles and their twins as a task, marked by the strict and the lenient scorer.

    The first scorer's metrics are the strict ones: ``accuracy``, ``limem/leaf``, ``cr/leaf``, ...

    Args:
        puzzles: The originals; worded with 1234 + their index.
        perturbations: ``statement``, ``leaf`` or styles (``reorder`` for short).
        twins: Twins that there are already, by kind, None where there is none.
        cot: Ask for reasoning first.
        shots: 1 shows a solved puzzle first.
        max_tokens: Length of an answer.
        seed: Of twins that are drawn here.

    Raises:
        UsageError: If there is no such perturbation, or no puzzle.
    """
    if not puzzles:
        raise UsageError("no puzzle is given")
    items: list[Item] = []

    def add(id: str, pair: str, variant: str, worded: Rendered) -> None:
        items.append(
            Item(
                id=id,
                input=prompt(worded.quiz, cot=cot, shots=shots),
                target=worded.solution_text_format,
                metadata={
                    "pair_id": pair,
                    "variant": variant,
                    "n_people": len(worded.names),
                    "gold": list(worded.gold),
                },
            )
        )

    perturbations = [twin_kind(k) for k in perturbations]
    for kind in perturbations:
        if kind not in (*KINDS, *STYLES):
            raise UsageError(
                f"a perturbation is one of {', '.join((*KINDS, *STYLES))}, got {kind!r}"
            )
    for i, puzzle in enumerate(puzzles):
        layout = lay_out(puzzle.people, seed=1234 + puzzle.index)
        add(f"{i}", f"{i}", "clean", render(puzzle, layout=layout))
        for kind in perturbations:
            if kind in STYLES:
                add(f"{i}/{kind}", f"{i}", kind, render(puzzle, kind))
                continue
            given = (twins or {}).get(kind)
            twin: Any = given[i] if given is not None else perturb(puzzle, kind, rng=seed + i)
            if twin is not None:
                add(f"{i}/{kind}", f"{i}", kind, render(twin, layout=layout))
    return Task(
        dataset=MemoryDataset(items, name="knights-and-knaves"),
        solver=generate(),
        scorer=[kk_scorer(True), kk_scorer(False)],
        config=GenerateConfig(temperature=0.0, max_tokens=max_tokens),
        name="kk",
    )
