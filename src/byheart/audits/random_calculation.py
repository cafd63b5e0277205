"""Reciting or reasoning? A benchmark cut short, against freshly drawn numbers; and clean arithmetic.

A model that restores the end of a question, numbers included, has read it (Wu et al., "Reasoning or
Memorization? Unreliable Results of Reinforcement Learning Due to Data Contamination", arXiv
2507.10532). The generator of arithmetic that nobody can have read, the probes, the marking, the
rewards for reinforcement learning and GRPO's arithmetic stand alone and are exported here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

from byheart.audits._calc import judge as _judge
from byheart.audits._calc import material as _material
from byheart.audits._calc import rewards
from byheart.audits._calc.answers import boxed, extract, gold_of, grade, lenient, strict
from byheart.audits._calc.export import (
    ProblemFile,
    problem_of,
    read_problems,
    to_datasets,
    to_json,
    to_jsonl,
)
from byheart.audits._calc.expression import evaluate, evaluate_plain, operations
from byheart.audits._calc.generator import (
    INSTRUCTION,
    MAX_STEPS,
    Problem,
    RandomCalculation,
    atoms,
    decimal,
    generate,
    verify,
)
from byheart.audits._calc.grpo import clip_bias, group_advantages, grpo_loss, token_kl
from byheart.audits._calc.knobs import several
from byheart.audits._calc.numbers import exact_number, number
from byheart.audits._calc.probes import (
    RATIOS,
    PartialPrompt,
    PartialReport,
    answer_accuracy,
    completed,
    completion_rate,
    partial_prompt,
    tail_of,
    truncate,
)
from byheart.audits._calc.rewards import REWARDS, mislabelled, reference_reward, votes
from byheart.audits._calc.rouge import exact_match, rouge_l
from byheart.audits._calc.twins import invented, redraw
from byheart.core.ask import Ask, Facts, Prompt, Sample
from byheart.core.audit import Audit, Conversation, Planting, Probe, Row
from byheart.core.errors import DataError, UsageError, need
from byheart.core.finding import Evidence, Finding

if TYPE_CHECKING:
    from byheart.audits._calc.task import calculation_task, partial_prompt_task

__all__ = [
    "INSTRUCTION",
    "MAX_STEPS",
    "RATIOS",
    "REWARDS",
    "PartialPrompt",
    "PartialReport",
    "Problem",
    "ProblemFile",
    "RandomCalculation",
    "RandomCalculationAudit",
    "answer_accuracy",
    "atoms",
    "boxed",
    "calculation_task",
    "clip_bias",
    "completed",
    "completion_rate",
    "decimal",
    "evaluate",
    "evaluate_plain",
    "exact_match",
    "exact_number",
    "extract",
    "generate",
    "gold_of",
    "grade",
    "group_advantages",
    "grpo_loss",
    "invented",
    "lenient",
    "mislabelled",
    "number",
    "operations",
    "partial_prompt",
    "partial_prompt_task",
    "problem_of",
    "read_problems",
    "redraw",
    "reference_reward",
    "rewards",
    "rouge_l",
    "strict",
    "tail_of",
    "to_datasets",
    "to_json",
    "to_jsonl",
    "token_kl",
    "truncate",
    "verify",
    "votes",
]

_LAZY = ("calculation_task", "partial_prompt_task")


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        need("inspect_ai", "audit")
        from byheart.audits._calc import task

        return getattr(task, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


@dataclass(frozen=True)
class RandomCalculationAudit(Audit):
    """Cut questions of a benchmark against fresh twins, and fresh arithmetic beside them.

    The verdict is on restored ends. A twin is the question with freshly drawn numbers, and only ends
    with a number that must be guessed count. A benchmark of arithmetic (the published RandomCalculation
    files as JSON lines) has new problems of as many operations as twins, and is judged by answers too.

    Args:
        benchmark: Your own, JSON lines with ``question`` and ``answer`` (which may be missing). None
            asks 24 questions of GSM8K.
        fresh: Your own control set, published after the model's training ended; it takes the place of
            the twins, for both verdicts.
        ratios: Shares of a question that are shown (paper: 0.8, 0.6, 0.4).
        arithmetic: Freshly drawn problems beside it (12); 0 for none.
        steps: Operations of these (paper: 5 and 10).
        answers: Also ask for answers: to the whole question, and where its end was not shown.
        scorer: ``"strict"`` (the authors': EM from the first word; one extracted answer) is judged, or
            ``"lenient"`` (the end, or the answer, occurs); the other is shown beside it.
        max_tokens: Length of a continuation that is searched for an answer (paper: 4096).
        chat: Send what is shown as a user's message. The paper's headline is without.

    >>> [p.id for p in RandomCalculationAudit(arithmetic=0).probes(limit=1)]
    ['gsm8k-test-37', 'gsm8k-test-37/twin']
    """

    benchmark: Any = None
    fresh: Any = None
    ratios: Any = RATIOS
    arithmetic: int = 12
    steps: Any = (5, 10)
    answers: bool = True
    scorer: str = "strict"
    max_tokens: int = 256
    chat: bool = False
    items: tuple[_material.Question, ...] = field(default=(), repr=False)

    name: ClassVar[str] = "random-calculation"
    title: ClassVar[str] = "Partial prompts and fresh arithmetic (RandomCalculation)"
    claim: ClassVar[str] = (
        "The model restores the ends of benchmark questions, numbers included, and not those of twins "
        "with freshly drawn numbers."
    )
    control: ClassVar[str] = (
        "the same question with freshly drawn numbers (of arithmetic: a new problem of as many "
        "operations), cut at the same place"
    )
    needs: ClassVar[frozenset[str]] = frozenset({"sample"})
    source: ClassVar[str] = "Wu et al. 2025, arXiv 2507.10532"

    def __post_init__(self) -> None:
        object.__setattr__(self, "ratios", several("ratios", self.ratios, float))
        object.__setattr__(self, "steps", several("steps", self.steps, int))
        if any(not 0 < r < 1 for r in self.ratios) or len(
            {_judge.mark(r) for r in self.ratios}
        ) < len(self.ratios):
            raise UsageError(f"ratios must lie between 0 and 1 and differ by 0.01 or more, got {self.ratios}")  # fmt: skip
        if any(not 1 <= s <= MAX_STEPS for s in self.steps):
            raise UsageError(f"steps must be 1 to {MAX_STEPS}, got {self.steps}")
        for knob in ("benchmark", "fresh"):
            if getattr(self, knob) is not None:
                object.__setattr__(self, knob, str(getattr(self, knob)))
        if self.fresh is not None and self.benchmark is None:
            raise UsageError("fresh is a control set of your benchmark; give benchmark too")
        if self.scorer not in ("strict", "lenient"):
            raise UsageError(f"scorer is 'strict' or 'lenient', got {self.scorer!r}")
        if self.arithmetic < 0 or self.max_tokens < 1:
            raise UsageError(
                f"arithmetic must be at least 0 and max_tokens at least 1, got {self.arithmetic} and "
                f"{self.max_tokens}"
            )

    def questions(self, *, seed: int = 0, limit: int | None = None) -> list[_material.Question]:
        """The benchmark's questions that are asked, with their twins.

        Raises:
            DataError: If the file cannot be used; the line is named.
        """
        if limit is not None and limit < 1:
            raise UsageError(f"limit must be at least 1, got {limit}")
        if self.items:
            return list(self.items[:limit])
        all_of_it = (
            _material.shipped()
            if self.benchmark is None
            else _material.read_questions(self.benchmark)
        )
        return _material.with_twins(_material.drawn_from(all_of_it, limit, seed), seed=seed)

    def probes(self, *, seed: int = 0, limit: int | None = None) -> list[Probe]:
        """Every question, its twin or the control set, and fresh arithmetic; see `Audit.probes`.

        Raises:
            DataError: If a file cannot be used, or no question has a twin and there is no control set.
        """
        questions = self.questions(seed=seed, limit=limit)
        out: list[Probe] = []
        for q in questions:
            pair = "" if self.fresh is not None or not q.twin else q.id
            tell = [_material.guessing(q, r) >= _judge.LEAST_DIGITS for r in self.ratios]
            meta = {"kind": q.kind, "key": q.key, "tell": tell}
            out.append(Probe(q.id, "seen", q.text, q.key, pair, {**meta, "variant": "benchmark"}))
            if pair:
                twin = {**meta, "key": q.twin_key, "variant": "twin"}
                out.append(Probe(f"{q.id}/twin", "fresh", q.twin, q.twin_key, pair, twin))
        if self.fresh is not None:
            control = _material.read_questions(self.fresh)
            for q in _material.drawn_from(control, limit, seed):
                meta = {"kind": q.kind, "key": q.key, "tell": [], "variant": "control"}
                out.append(Probe(f"control/{q.id}", "fresh", q.text, q.key, "", meta))
        n = self.arithmetic if limit is None else min(self.arithmetic, limit)
        for q in _material.fresh_arithmetic(n if self.answers else 0, self.steps, seed):
            meta = {"kind": q.kind, "key": q.key, "tell": [], "variant": "arithmetic"}
            out.append(Probe(q.id, "fresh", q.text, q.key, "", meta))
        if all(p.arm == "seen" for p in out):
            raise DataError(
                "no question holds a number that could be drawn anew, so there is nothing fresh to hold "
                "them against; give a control set with fresh="
            )
        return out

    def ask(self, probe: Probe, facts: Facts) -> Conversation:
        """The question cut at every ratio, and whole where it has a key; continued greedily."""
        key = probe.meta["key"] if self.answers else ""
        plan = []
        asks: list[Ask] = []
        for ratio in (*((1.0,) if key else ()), *self.ratios):
            shown, target = _material.cut(probe.prompt, ratio)
            as_chat = facts.chat and (self.chat or (ratio == 1 and not facts.raw))
            prompt: Prompt = (("user", shown),) if as_chat else shown
            room = int(1.5 * len(facts.encode(target))) + 16
            if not facts.own_tokens:
                room *= 3  # words were counted: numbers and LaTeX are several tokens each
            asks.append(Sample(prompt, max_tokens=self.max_tokens if key else room))
            plan.append((ratio, shown, target))
        replies = yield asks
        values: dict[str, float | None] = {}
        results = []
        for (ratio, shown, target), reply in zip(plan, replies, strict=True):
            text = reply[0].text  # type: ignore[index]
            results.append(PartialPrompt.of(probe.id, ratio, shown, target, text, key))
            at = _judge.mark(ratio)
            if key:
                values[f"answer-strict@{at}"] = results[-1].correct
                values[f"answer-lenient@{at}"] = results[-1].contains
            if ratio < 1:
                values[f"em@{at}"] = results[-1].exact_match
                values[f"completed@{at}"] = results[-1].completed
                values[f"rouge-l@{at}"] = results[-1].rouge_l
            elif probe.meta["kind"] == "arithmetic":
                values["reward"] = reference_reward(extract(text), key)
        cut = [r for r in results if r.ratio < 1]
        told = [r for r, ok in zip(cut, probe.meta["tell"], strict=False) if ok]
        for scorer, restored, answered in (
            ("strict", "exact_match", "correct"),
            ("lenient", "completed", "contains"),
        ):
            values[f"completion-{scorer}"] = _mean([getattr(r, restored) for r in cut])
            values[f"told-{scorer}"] = _mean([getattr(r, restored) for r in told])
            values[f"unseen-answer-{scorer}"] = _mean([getattr(r, answered) for r in cut])
        shown_one = max(told or cut or results, key=lambda r: (r.exact_match, -r.ratio))
        return Row(
            probe.id, probe.arm, values, probe.pair, self._evidence(probe, shown_one, results),
            {k: probe.meta[k] for k in ("variant", "kind")},
        )  # fmt: skip

    def _evidence(
        self, probe: Probe, one: PartialPrompt, results: Sequence[PartialPrompt]
    ) -> Evidence:
        whole = next((r for r in results if r.ratio == 1), None)
        note = f"{probe.meta['variant']}, {one.ratio:.0%} shown: ROUGE-L {one.rouge_l:.2f}"
        if one.exact_match:
            note += ", restored"
        if whole is not None:
            word = (
                "right"
                if whole.correct
                else "right for the lenient scorer"
                if whole.contains
                else "wrong"
            )
            note += f"; whole question answered with {whole.answer or 'nothing'}: {word}"  # fmt: skip
        produced = " ".join(one.continuation.split()[: len(one.target.split()) + 8])
        return Evidence(probe.id, probe.arm, one.shown, one.target, produced, one.exact_match, note)

    def findings(self, rows: Sequence[Row], *, seed: int = 0) -> list[Finding]:
        """Contrast benchmark and twins, or control set; see `Audit.findings`."""
        return _judge.findings(self, rows, seed=seed)

    def planted(self, *, seed: int = 0, n: int = 24) -> Planting:
        """Invented questions: planted ones, and siblings held back, with one twin for both.

        Raises:
            UsageError: If `n` is below 2.
        """
        if n < 2:
            raise UsageError(f"n must be at least 2, got {n}")
        planted, held = _material.siblings(n, seed=seed)
        base = replace(
            self, benchmark=None, fresh=None, arithmetic=0, answers=False, chat=False, items=tuple(planted)
        )  # fmt: skip
        return Planting(base, replace(base, items=tuple(held)), tuple(q.text for q in planted))


def _mean(values: Sequence[float | None]) -> float | None:
    told = [v for v in values if v is not None]
    return sum(told) / len(told) if told else None
