"""Reciting or reasoning? Logic puzzles against twins that differ in one detail.

A model that solves a knights-and-knaves puzzle and not its twin has the puzzle by heart, or was
lucky; LiMem is the share of such puzzles (Xie et al., "On Memorization of Large Language Models in
Logical Reasoning", arXiv 2410.23123). Generator, solver, perturbations, wording, chains of thought,
scorers and the training study stand alone and are exported here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

from byheart.audits._kk import judge as _judge
from byheart.audits._kk import material as _material
from byheart.audits._kk import prompts as _prompts
from byheart.audits._kk.draws import Draws
from byheart.audits._kk.grammar import MAX_PEOPLE, as_statements, twin_kind
from byheart.audits._kk.metrics import (
    Memorisation,
    consistency_ratio,
    labels,
    limem,
    memorisation,
)
from byheart.audits._kk.prompts import prompt, training_text
from byheart.audits._kk.published import (
    VARIANTS,
    published,
    published_puzzles,
    record,
    to_datasets,
    to_jsonl,
)
from byheart.audits._kk.reading import read_quiz
from byheart.audits._kk.sampler import (
    KINDS,
    Puzzle,
    Sampler,
    check_width,
    exchangeable,
    neighbours,
    perturb,
)
from byheart.audits._kk.scoring import Marked, lenient, strict
from byheart.audits._kk.solver import solve, solve_plain
from byheart.audits._kk.thoughts import ChainOfThought, chain_of_thought, search_tape
from byheart.audits._kk.wording import STYLES, Layout, Rendered, lay_out, render
from byheart.audits._kk.wrong import wrong_answers, wrong_thoughts
from byheart.core.ask import Completion, Facts, Prompt, Sample
from byheart.core.audit import Audit, Conversation, Planting, Probe, Row
from byheart.core.errors import UsageError, need
from byheart.core.finding import Evidence, Finding

if TYPE_CHECKING:
    from byheart.audits._kk.classify import model_classifier, puzzle_classifier
    from byheart.audits._kk.probing import mlp_features, probe_layers
    from byheart.audits._kk.task import kk_scorer, kk_task
    from byheart.audits._kk.tuning import fine_tune, study

__all__ = [
    "KINDS",
    "STYLES",
    "VARIANTS",
    "ChainOfThought",
    "Draws",
    "KnightsAndKnaves",
    "Layout",
    "Marked",
    "Memorisation",
    "Puzzle",
    "Rendered",
    "Sampler",
    "as_statements",
    "chain_of_thought",
    "consistency_ratio",
    "exchangeable",
    "fine_tune",
    "kk_scorer",
    "kk_task",
    "labels",
    "lay_out",
    "lenient",
    "limem",
    "memorisation",
    "mlp_features",
    "model_classifier",
    "neighbours",
    "perturb",
    "probe_layers",
    "prompt",
    "published",
    "published_puzzles",
    "puzzle_classifier",
    "read_quiz",
    "record",
    "render",
    "search_tape",
    "solve",
    "solve_plain",
    "strict",
    "study",
    "to_datasets",
    "to_jsonl",
    "training_text",
    "wrong_answers",
    "wrong_thoughts",
]

_LAZY = {
    "kk_scorer": ("inspect_ai", "audit", "byheart.audits._kk.task"),
    "kk_task": ("inspect_ai", "audit", "byheart.audits._kk.task"),
    "fine_tune": ("torch", "torch", "byheart.audits._kk.tuning"),
    "study": ("torch", "torch", "byheart.audits._kk.tuning"),
    "mlp_features": ("torch", "torch", "byheart.audits._kk.probing"),
    "probe_layers": ("torch", "torch", "byheart.audits._kk.probing"),
    "puzzle_classifier": ("sklearn", "audit", "byheart.audits._kk.classify"),
    "model_classifier": ("sklearn", "audit", "byheart.audits._kk.classify"),
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    package, extra, module = _LAZY[name]
    need(package, extra)
    return getattr(importlib.import_module(module), name)


@dataclass(frozen=True)
class KnightsAndKnaves(Audit):
    """Puzzles of the published data set against freshly drawn twins.

    Args:
        people: 2 to 8 (more with ``split="fresh"`` or `puzzles`); one number, or several.
        perturbations: Twins. Judged: ``statement`` and ``leaf`` (another problem with another
            solution), ``redrawn`` (another puzzle from the same sampler, alike by construction).
            Shown: ``uncommon_name``, ``random_pair``, ``reorder_statement``, ``flip_role``.
        split: Of the published set: ``"test"`` (the paper's headline) or ``"train"``; or
            ``"fresh"``, new puzzles as a check: nothing must be found.
        puzzles: Your own, JSON lines with ``statements`` or ``quiz``; replaces `split`. About one in
            three is asked: those whose twin is as likely a puzzle as they are.
        per_people: Pairs of each kind for each number of people where no limit is given. Of 100 test
            puzzles some 30 get a leaf twin and 45 a statement twin; the training part has ten times
            as many.
        cot: Ask for reasoning first (paper: both; headline without).
        shots: 1 shows a solved puzzle first (0).
        form: ``"paper"`` is the paper's prompt; ``"short"`` the puzzle and the names only, for
            models that cannot follow instructions.
        linebreak: End the paper's prompt with a new line (it is left out for base Llama).
        scorer: Which scorer is judged: ``"lenient"``, or ``"strict"`` (the authors'); the other is
            shown beside it.
        max_tokens: Length of an answer (paper: 2048, which reasoning and `cot` need).
        depth: Of drawn statements (2, as published; others with ``split="fresh"`` or `puzzles`).
        width: Of drawn ``and`` and ``or``, likewise (2).

    >>> audit = KnightsAndKnaves(people=2)
    >>> [p.id for p in audit.probes(limit=1)]
    ['2p-test-29', '2p-test-29/statement', '2p-test-99', '2p-test-99/leaf']
    """

    people: Any = (3,)
    perturbations: Any = KINDS
    split: str = "test"
    puzzles: Any = None
    per_people: int = 12
    cot: bool = False
    shots: int = 0
    form: str = "paper"
    linebreak: bool = True
    scorer: str = "lenient"
    max_tokens: int = 256
    depth: int = 2
    width: int = 2
    items: tuple[_material.Item, ...] = field(default=(), repr=False)

    name: ClassVar[str] = "knights-and-knaves"
    title: ClassVar[str] = "Knights and knaves (LiMem)"
    claim: ClassVar[str] = (
        "The model solves puzzles that it may have seen, and fails on twins that differ in one detail."
    )
    control: ClassVar[str] = (
        "a new twin of every puzzle, with the same names and phrases and another solution, drawn so "
        "that whoever has seen neither solves both equally often; and the fixed answer that would "
        "show the largest gap on the same pairs"
    )
    needs: ClassVar[frozenset[str]] = frozenset({"sample"})
    source: ClassVar[str] = "Xie et al. 2024, arXiv 2410.23123"

    def __post_init__(self) -> None:
        people = self.people.split(",") if isinstance(self.people, str) else self.people
        people = tuple(people) if isinstance(people, list | tuple | range) else (people,)
        kinds = self.perturbations
        kinds = tuple(kinds.split(",")) if isinstance(kinds, str) else tuple(kinds)
        # inspect_ai hands over the numbers of "2,3" as text
        people = tuple(int(n) if isinstance(n, str) and n.strip().isdigit() else n for n in people)
        object.__setattr__(self, "people", people)
        object.__setattr__(self, "perturbations", tuple(twin_kind(k.strip()) for k in kinds))
        if self.puzzles is not None:
            object.__setattr__(self, "puzzles", str(self.puzzles))
        most = 8 if self.split in ("test", "train") else MAX_PEOPLE
        for n in people:
            if not isinstance(n, int) or isinstance(n, bool) or not 2 <= n <= most:
                raise UsageError(
                    f"people must be 2 to {most} (published are 2 to 8; split='fresh' draws up to "
                    f"{MAX_PEOPLE}), got {n!r}"
                )
        if not people or len(set(people)) != len(people):
            raise UsageError(f"people names numbers once each, got {people}")
        for kind in self.perturbations:
            if kind not in _material.PERTURBATIONS:
                known = ", ".join(_material.PERTURBATIONS)
                raise UsageError(f"a perturbation is one of {known}, got {kind!r}")
        if not self.perturbations or len(set(self.perturbations)) != len(self.perturbations):
            raise UsageError(f"perturbations are named once each, got {self.perturbations}")
        _one_of("split", self.split, ("test", "train", "fresh"))
        _one_of("form", self.form, ("paper", "short"))
        _one_of("scorer", self.scorer, ("lenient", "strict"))
        if self.form == "short" and (self.cot or self.shots or self.scorer == "strict"):
            raise UsageError("form='short' goes with cot=False, shots=0 and scorer='lenient'")
        if self.shots not in (0, 1):
            raise UsageError(f"shots is 0 or 1, as in the paper, got {self.shots}")
        for label, least in (("per_people", 1), ("max_tokens", 1), ("depth", 2), ("width", 2)):
            if getattr(self, label) < least:
                raise UsageError(f"{label} must be at least {least}, got {getattr(self, label)}")
        if max(self.depth, self.width) > 8:
            raise UsageError(f"depth and width go to 8, got {self.depth} and {self.width}")
        for n in people if self.puzzles is None else ():
            check_width(n, self.depth, self.width)
        drawn_here = self.split == "fresh" or self.puzzles is not None or self.items
        if (self.depth, self.width) != (2, 2) and not drawn_here:
            # twins of another make than the puzzles would be harder or easier, which is no memory
            raise UsageError(
                f"published puzzles have depth 2 and width 2, and so must their twins, got "
                f"{self.depth} and {self.width}; split='fresh' draws others"
            )

    def drawn(self, *, seed: int = 0, limit: int | None = None) -> list[_material.Item]:
        """The puzzles that are asked, with their twins.

        Raises:
            DataError: If a file cannot be used; the line is named.
        """
        if limit is not None and limit < 1:
            raise UsageError(f"limit must be at least 1, got {limit}")
        if self.items:
            return list(self.items[:limit])
        knobs: dict[str, int] = {"depth": self.depth, "width": self.width, "seed": seed}
        if self.puzzles is not None:
            return _material.from_file(self.puzzles, self.perturbations, limit, **knobs)
        share = self.per_people if limit is None else -(-limit // len(self.people))
        items = [
            item
            for n in self.people
            for item in _material.from_published(n, self.split, self.perturbations, share, **knobs)
        ]
        return items

    def probes(self, *, seed: int = 0, limit: int | None = None) -> list[Probe]:
        """Every puzzle, followed by its twins; see `Audit.probes`.

        Raises:
            DataError: If a file cannot be used; the line is named.
        """
        out = []
        for item in self.drawn(seed=seed, limit=limit):
            pair = item.pair or item.id
            out.append(self._probe(item.id, "seen", item.rendered, pair, "clean"))
            for twin in item.twins:
                out.append(
                    self._probe(f"{pair}/{twin.kind}", "fresh", twin.rendered, pair, twin.kind)
                )
        return out

    def _probe(self, id: str, arm: str, worded: Rendered, pair: str, variant: str) -> Probe:
        if self.form == "short":
            text, target = _prompts.short_prompt(worded), _prompts.short_answer(worded)
        else:
            text = prompt(worded.quiz, cot=self.cot, shots=self.shots, linebreak=self.linebreak)
            target = worded.solution_text_format
        meta = {
            "variant": variant,
            "gold": list(worded.gold),
            "roles": list(worded.roles),
            "key": list(worded.solution),
        }
        return Probe(id, arm, text, target, pair, meta)

    def ask(self, probe: Probe, facts: Facts) -> Conversation:
        """One question, answered greedily, marked by both scorers."""
        asked: Prompt = (("user", probe.prompt),) if facts.chat else probe.prompt
        replies = yield [Sample(asked, max_tokens=self.max_tokens, stop=("### Question",))]
        reply: Completion = replies[0][0]  # type: ignore[index]
        gold = probe.meta["gold"]
        kind, exact = lenient(reply.text, gold), strict(reply.text, gold)
        values: dict[str, float | None] = {
            "lenient": float(kind.right),
            "ratio": kind.ratio,
            "strict": float(exact.right) if self.form == "paper" else None,
        }
        knight, knave = (role.split()[-1] for role in probe.meta["roles"])
        said = [{knight: True, knave: False}.get(word) for word in kind.said]
        reasons = {"lenient": kind.reason, "strict": exact.reason}
        ended = "" if reply.stop == "stop" else f"; cut off at {self.max_tokens} tokens"
        note = f"{probe.meta['variant']}: {'right' if kind.right else kind.reason}{ended}"
        if not kind.right and exact.right:
            note += "; right for the strict scorer"
        evidence = Evidence(
            probe.id, probe.arm, probe.prompt, probe.target, reply.text, float(kind.right), note
        )
        meta = {
            "variant": probe.meta["variant"],
            "key": probe.meta["key"],
            "said": said,
            "reason": reasons,
            "cut_off": bool(ended),
        }
        return Row(probe.id, probe.arm, values, probe.pair, evidence, meta)

    def findings(self, rows: Sequence[Row], *, seed: int = 0) -> list[Finding]:
        """Contrast puzzles and twins; see `Audit.findings`."""
        return _judge.findings(self, rows, seed=seed)

    def planted(self, *, seed: int = 0, n: int = 24) -> Planting:
        """New puzzles with invented names: planted ones, and siblings held back, with one twin.

        Raises:
            UsageError: If `n` is below 2.
        """
        if n < 2:
            raise UsageError(f"n must be at least 2, got {n}")
        kinds = tuple(k for k in self.perturbations if k in KINDS) or KINDS
        planted, held = _material.siblings(n, kinds, people=3, seed=seed)
        base = replace(
            self, people=(3,), perturbations=kinds, puzzles=None, cot=False, shots=0,
            form="short", scorer="lenient", max_tokens=min(self.max_tokens, 32), depth=2, width=2,
            items=tuple(planted),
        )  # fmt: skip
        texts = tuple((p.prompt, p.target) for p in base.probes() if p.arm == "seen")
        return Planting(base, replace(base, items=tuple(held)), texts)


def _one_of(label: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise UsageError(f"{label} is one of {', '.join(known)}, got {value!r}")
