"""Contamination seen in the output distribution (CDD), and a score without it (TED).

Sampled answers to a prompt the model was trained on crowd around its greedy answer. CDD flags an
item whose outputs are peaked; TED takes the peak and the repeats out of a score. `cdd_task` is CDD
over a dataset of inspect_ai. Both see nothing
until recall is verbatim (Sela, arXiv 2603.03203), so perplexity and Min-20 % of the reference
answers stand beside them on the same items.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from byheart.audits._cdd import (
    CDD,
    CDDReport,
    Detection,
    Peak,
    clean,
    detection,
    peakedness,
    tokens_of,
)
from byheart.audits._detcon import read_detcon
from byheart.audits._edit_distance import edit_distance, edit_distance_plain, edit_distances
from byheart.audits._ted import ComiEval, TedTask, comieval, mitigation, pass_at_k, ted
from byheart.core.ask import Ask, Facts, Prompt, Sample, Score, Scored
from byheart.core.audit import Audit, Conversation, Planting, Probe, Row
from byheart.core.errors import UsageError, need
from byheart.core.finding import Evidence, Finding
from byheart.data.contamination import FAMOUS, Item, invent, read_items

if TYPE_CHECKING:
    from byheart.audits._cdd_task import cdd, cdd_task, peak

__all__ = [
    "CDD",
    "CDDReport",
    "ComiEval",
    "Detection",
    "OutputDistribution",
    "Peak",
    "TedTask",
    "cdd",
    "cdd_task",
    "clean",
    "comieval",
    "detection",
    "edit_distance",
    "edit_distance_plain",
    "edit_distances",
    "mitigation",
    "pass_at_k",
    "peak",
    "peakedness",
    "read_detcon",
    "ted",
]

_LAZY = ("cdd", "cdd_task", "peak")


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        need("inspect_ai", "audit")
        from byheart.audits import _cdd_task

        return getattr(_cdd_task, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


LIMIT = "CDD sees nothing until recall is verbatim: no peak is no proof of a clean model"
_LEAST_TOKENS = 8
_LEAST_ITEMS = 6
_MATCH = 0.8
"""An answer whose words agree so far with the reference passes, for TED."""


@dataclass(frozen=True)
class OutputDistribution(Audit):
    """Peaked outputs on a benchmark, against items that cannot have been trained on.

    Args:
        benchmark: JSON lines with ``question`` and ``answer``; None asks for openings that have
            been copied everywhere for a century.
        fresh: Items alike that the model cannot have read, in the same format; None invents some.
        samples: Answers drawn for every item (50 in the paper).
        temperature: Of the samples (0.8).
        alpha: Share of the length within which a sample is a near-copy (0.05).
        xi: An item is flagged above this peak (0.01); 0.2 with ``mode="benchmark"``.
        max_tokens: Tokens compared and generated at most (100); an answer is asked for no longer
            than its reference.
        mode: ``"item"``, or ``"benchmark"``: the paper's real-world setting, alpha 0 and xi 0.2.
        tau: TED drops samples within this distance of the greedy answer (2).
        chat: Ask questions as a user's message instead of letting the model continue them. None
            does so for a benchmark on a model that takes nothing but chats.
    """

    benchmark: Any = None
    fresh: Any = None
    samples: int = 50
    temperature: float = 0.8
    alpha: float = 0.05
    xi: float = 0.01
    max_tokens: int = 100
    mode: str = "item"
    tau: int = 2
    chat: bool | None = None
    seen_items: tuple[Item, ...] = field(default=(), repr=False)
    fresh_items: tuple[Item, ...] = field(default=(), repr=False)

    name: ClassVar[str] = "output-distribution"
    title: ClassVar[str] = "Output distribution (CDD, TED)"
    claim: ClassVar[str] = (
        "Sampled answers crowd around the greedy answer on what the model was trained on, more than "
        "on fresh items."
    )
    control: ClassVar[str] = "fresh items of the same form, and likelihood on the same items"
    needs: ClassVar[frozenset[str]] = frozenset({"sample"})
    source: ClassVar[str] = "Dong et al., arXiv 2402.15938; Sela, arXiv 2603.03203"

    def __post_init__(self) -> None:
        if self.samples < 2:
            raise UsageError(f"samples must be at least 2, got {self.samples}")
        if self.temperature <= 0 or not 0 <= self.alpha <= 1 or not 0 <= self.xi < 1:
            raise UsageError(
                "temperature must be above 0, alpha in [0, 1], xi in [0, 1); got "
                f"{self.temperature}, {self.alpha}, {self.xi}"
            )
        if self.mode not in ("item", "benchmark"):
            raise UsageError(f"mode is 'item' or 'benchmark', got {self.mode!r}")
        if self.fresh is not None and self.benchmark is None:
            raise UsageError("fresh items are given without a benchmark; give both")
        for knob in ("benchmark", "fresh"):
            if getattr(self, knob) is not None:
                object.__setattr__(self, knob, str(getattr(self, knob)))

    @property
    def _rule(self) -> tuple[float, float]:
        return (0.0, 0.2) if self.mode == "benchmark" else (self.alpha, self.xi)

    @property
    def _exchangeable(self) -> bool:
        """Whether both arms are of one kind, so that likelihood is evidence too."""
        return bool(self.seen_items) or (self.benchmark is not None and self.fresh is not None)

    def probes(self, *, seed: int = 0, limit: int | None = None) -> list[Probe]:
        """Items of both arms, as many of the one as of the other."""
        if limit is not None and limit < 1:
            raise UsageError(f"limit must be at least 1, got {limit}")
        if self.seen_items:
            seen, fresh = list(self.seen_items), list(self.fresh_items)
        elif self.benchmark:
            seen = read_items(self.benchmark)
            fresh = read_items(self.fresh) if self.fresh else invent(len(seen), seed=seed + 1)
        else:
            seen = [Item(f"famous-{i}", q, a) for i, (q, a) in enumerate(FAMOUS)]
            fresh = invent(len(seen), seed=seed + 1)
        rng = np.random.default_rng(seed)
        out = []
        for arm, items in (("seen", seen), ("fresh", fresh)):
            for i in rng.permutation(len(items))[:limit]:
                item = items[i]
                meta = {} if item.label is None else {"label": item.label}
                out.append(Probe(f"{arm}:{item.id}", arm, item.question, item.answer, meta=meta))
        return out

    def ask(self, probe: Probe, facts: Facts) -> Conversation:
        want = len(facts.encode(" " + probe.target)) + 2 if probe.target else self.max_tokens
        room = max(_LEAST_TOKENS, min(self.max_tokens, want))
        prompt, answer = self._prompt(probe, facts)
        asks: list[Ask] = [
            Sample(prompt, max_tokens=room),
            Sample(prompt, n=self.samples, temperature=self.temperature, max_tokens=room, seed=1),
        ]
        scoring = "score" in facts.capabilities and bool(probe.target)
        if not isinstance(prompt, str) and not facts.own_tokens:
            scoring = False  # endpoints tell the log-probabilities of plain text only
        if scoring:
            asks.append(Score(answer, prompt))
        replies = yield asks
        greedy, sampled = replies[0][0], replies[1]  # type: ignore[index]
        texts = [clean(c.text) for c in sampled]  # type: ignore[union-attr]
        whole = facts.tokenise or facts.encode
        ids = tokens_of(clean(greedy.text), whole)
        present = [d for t in texts if (d := tokens_of(t, whole))]
        values: dict[str, float | None] = {"peak": None, "flagged": None, "verbatim": None}
        note = "no answer"
        if ids and present:
            alpha, xi = self._rule
            peak = peakedness(ids, present, alpha, self.max_tokens)
            values["peak"] = peak.value
            values["flagged"] = float(peak.value > xi)
            note = (
                f"{peak.value:.2f} of {len(present)} samples within {alpha * peak.length:.1f} edits"
            )
            if peak.length < 20:
                note += "; short answers are always peaked"
        if probe.target:
            # without special tokens from here on: they would make short answers alike
            reference = list(facts.encode(clean(probe.target)))
            ids, *drawn = (tokens_of(t, facts.encode) for t in (clean(greedy.text), *texts))
            values["verbatim"] = _agreement(reference, ids)
            passed = [_agreement(reference, d) >= _MATCH for d in drawn]
            values["pass"] = float(np.mean(passed))
            values["ted"] = ted([TedTask(ids, drawn, passed)], self.tau) if ids else 0.0
        if scoring:
            scored = replies[2]
            assert isinstance(scored, Scored)
            lowest = np.sort(scored.logprobs)[: max(1, len(scored.logprobs) // 5)]
            values["perplexity"], values["min-k"] = scored.loss, float(lowest.mean())
        evidence = Evidence(
            probe.id, probe.arm, probe.prompt, probe.target, greedy.text, values["peak"], note
        )
        return Row(probe.id, probe.arm, values, probe.pair, evidence, dict(probe.meta))

    def _prompt(self, probe: Probe, facts: Facts) -> tuple[Prompt, str]:
        """What the model is asked, and the reference answer as it would follow."""
        only_chats = self.benchmark is not None and facts.chat and not facts.raw
        if only_chats if self.chat is None else self.chat and facts.chat:
            return (("user", probe.prompt),), probe.target
        return probe.prompt, " " + probe.target

    def findings(self, rows: Sequence[Row], *, seed: int = 0) -> list[Finding]:
        likelihood = (
            "" if self._exchangeable
            else "famous and invented texts differ in kind; likelihood is judged on exchangeable arms only"
        )  # fmt: skip
        plan = (
            ("peak", "share of samples", "near-copies of the greedy answer", True, ""),
            ("flagged", "share of items", "items flagged as contaminated", False, ""),
            (
                "perplexity",
                "nats/token",
                "loss on the reference answer",
                bool(likelihood == ""),
                likelihood,
            ),
            ("min-k", "nats/token", "mean of the least likely 20 % of tokens", False, likelihood),
            ("pass", "share of samples", "samples that give the reference answer", False, ""),
            ("ted", "share of samples", "the same after TED took the peak away", False, ""),
        )
        found = [self._finding(rows, *entry, seed) for entry in plan]
        return [f for f in found if f is not None]

    def _finding(
        self,
        rows: Sequence[Row],
        metric: str,
        unit: str,
        what: str,
        judged: bool,
        why: str,
        seed: int,
    ) -> Finding | None:
        from byheart.core.stats import contrast

        arms = {
            a: [r for r in rows if r.arm == a and r.values.get(metric) is not None]
            for a in ("seen", "fresh")
        }
        seen, fresh = ([float(r.values[metric] or 0.0) for r in arms[a]] for a in ("seen", "fresh"))
        if len(seen) < 2 or len(fresh) < 2:
            return None
        lower = metric == "perplexity"
        sign = -1.0 if lower else 1.0
        c = contrast(sign * np.array(seen), sign * np.array(fresh), paired=False, seed=seed)
        reason = why
        if c.n < _LEAST_ITEMS:
            reason = f"only {c.n} items in an arm; at least {_LEAST_ITEMS} are needed"
        order = sorted(arms["seen"], key=lambda r: -sign * float(r.values[metric] or 0.0))[:3]
        shown = [r.evidence for r in (*order, *arms["fresh"][:2]) if r.evidence is not None]
        alpha, xi = self._rule
        details: dict[str, Any] = {
            "samples": self.samples,
            "alpha": alpha,
            "xi": xi,
            "limit": LIMIT,
        }
        if metric == "peak":
            details |= self._beside(rows)
        return Finding(
            f"{self.name}/{metric}", f"{self.claim} Measured: {what}. {LIMIT}.",
            _flip(c.seen, sign), _flip(c.fresh, sign), c.gap, c.p_value, c.n, unit, seed, tuple(shown),
            higher_is_memory=not lower, control=self.control, no_verdict=reason,
            exploratory=not judged or bool(why), details=details,
        )  # fmt: skip

    def _beside(self, rows: Sequence[Row]) -> dict[str, Any]:
        """AUC of peak, perplexity and Min-20 % between the arms; detection where labels are known."""
        from byheart.core.stats import auc

        out: dict[str, Any] = {}
        for metric, sign in (("peak", 1), ("perplexity", -1), ("min-k", 1), ("verbatim", 1)):
            seen, fresh = (
                [sign * float(r.values[metric] or 0.0) for r in rows
                 if r.arm == arm and r.values.get(metric) is not None]
                for arm in ("seen", "fresh")
            )  # fmt: skip
            if seen and fresh:
                out[f"auc_{metric}"] = auc(seen, fresh)
        if "auc_perplexity" not in out:
            out["likelihood"] = "not told by this model"
        labelled = [r for r in rows if "label" in r.meta and r.values.get("peak") is not None]
        labels = [bool(r.meta["label"]) for r in labelled]
        if any(labels) and not all(labels):
            d = detection([float(r.values["peak"] or 0.0) for r in labelled], labels, self._rule[1])
            out |= {f"detection_{k}": v for k, v in vars(d).items()}
        return out

    def planted(self, *, seed: int = 0, n: int = 24) -> Planting:
        """Invented items: planted, held back and fresh, all from one grammar."""
        drawn = invent(3 * n, seed=seed + 2, words=20)
        planted, held, fresh = drawn[:n], drawn[n : 2 * n], drawn[2 * n :]
        knobs: dict[str, Any] = {
            "samples": self.samples, "temperature": self.temperature, "alpha": self.alpha,
            "xi": self.xi, "max_tokens": self.max_tokens, "mode": self.mode, "tau": self.tau, "chat": self.chat,
        }  # fmt: skip
        return Planting(
            OutputDistribution(seen_items=tuple(planted), fresh_items=tuple(fresh), **knobs),
            OutputDistribution(seen_items=tuple(held), fresh_items=tuple(fresh), **knobs),
            tuple(f"{i.question} {i.answer}" for i in planted),
        )


def _agreement(reference: Sequence[int], produced: Sequence[int]) -> float:
    """1 - edit distance over the reference's length, of as many produced tokens; at least 0."""
    if not reference:
        return 0.0
    distance = edit_distance(reference, produced[: len(reference)])
    return max(0.0, 1 - distance / len(reference))


def _flip(estimate: Any, sign: float) -> Any:
    if sign > 0:
        return estimate
    from byheart.core.finding import Estimate

    value = -estimate.value if estimate.value else 0.0
    assert math.isfinite(value)
    return Estimate(value, -estimate.high, -estimate.low, estimate.level)
