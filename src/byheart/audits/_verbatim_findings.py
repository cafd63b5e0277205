"""From rows to findings: exact continuation, longest run, similarity, guesses, log-probability."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from byheart.audits._verbatim_match import longest_run
from byheart.core.audit import Row
from byheart.core.finding import Evidence, Finding
from byheart.core.stats import Contrast, contrast

if TYPE_CHECKING:
    from byheart.audits.verbatim import Verbatim

__all__ = ["findings"]

_LEAST = 5
"""Fewer items an arm than this cannot show anything at the 5 % level, whatever they are."""
_BLOCKS = 6
"""With so many documents an arm, windows of one document are resampled together."""
_OTHERS = 8
"""Each continuation is also held against the suffixes of so many other texts of its arm."""

STAND_IN = (
    "no fresh twins were given (--fresh); the shipped obscure passages stand in for them, and they "
    "differ from these texts in more than memory"
)


@dataclass(frozen=True)
class _Arms:
    """Rows of both arms that can be contrasted; twins at the same place where paired."""

    seen: list[Row]
    fresh: list[Row]
    paired: bool

    @classmethod
    def of(cls, rows: Sequence[Row]) -> _Arms:
        seen, fresh = ([r for r in rows if r.arm == arm] for arm in ("seen", "fresh"))
        one, two = ({r.pair: r for r in part if r.pair} for part in (seen, fresh))
        if one and two:
            both = [p for p in one if p in two]
            return cls([one[p] for p in both], [two[p] for p in both], True)
        return cls(seen, fresh, False)

    def having(self, metric: str) -> _Arms:
        """Only rows (or pairs) in which the metric was measured."""
        if self.paired:
            keep = [
                i for i, (a, b) in enumerate(zip(self.seen, self.fresh, strict=True))
                if a.values.get(metric) is not None and b.values.get(metric) is not None
            ]  # fmt: skip
            return _Arms([self.seen[i] for i in keep], [self.fresh[i] for i in keep], True)
        seen, fresh = (
            [r for r in p if r.values.get(metric) is not None] for p in (self.seen, self.fresh)
        )
        return _Arms(seen, fresh, False)

    def __bool__(self) -> bool:
        return bool(self.seen and self.fresh)

    @property
    def blocks(self) -> Any:
        """Documents as blocks, where windows share documents and there are documents enough."""
        docs = [[str(r.meta.get("doc", r.id)) for r in part] for part in (self.seen, self.fresh)]
        few = min(len(set(d)) for d in docs) < _BLOCKS
        if few or all(max(Counter(d).values()) == 1 for d in docs):
            return None
        return docs[0] if self.paired else (docs[0], docs[1])

    def contrast(self, value: Callable[[Row], float], seed: int, flip: bool = False) -> Contrast:
        """Seen against fresh of a value; `flip` where less is more memorised."""
        a, b = ([value(r) for r in part] for part in (self.seen, self.fresh))
        blocks = self.blocks
        if not flip:
            return contrast(a, b, paired=self.paired, blocks=blocks, seed=seed)
        if blocks is not None and not self.paired:
            blocks = (blocks[1], blocks[0])
        c = contrast(b, a, paired=self.paired, blocks=blocks, seed=seed)
        return dataclasses.replace(c, seen=c.fresh, fresh=c.seen)


def _number(row: Row, metric: str) -> float:
    """A metric of a row in which it was measured."""
    value = row.values[metric]
    assert value is not None, f"{metric} was not measured in {row.id}"
    return value


def _of(metric: str) -> Callable[[Row], float]:
    return lambda row: _number(row, metric)


def findings(audit: Verbatim, rows: Sequence[Row], *, seed: int) -> list[Finding]:
    """All findings that the rows allow; none if an arm is missing."""
    arms = _Arms.of(rows)
    if not arms:
        return []
    reason = STAND_IN if any(r.meta.get("stand_in") for r in rows) else ""
    out = [
        _exact(audit, arms.having("exact"), seed),
        _run(audit, arms.having("share"), seed),
        _similarity(arms.having("similarity"), seed),
    ]
    if guesses := arms.having("top"):
        out.append(_guesses(audit, guesses, seed))
    if scored := arms.having("logprob"):
        out.append(_logprob(audit, scored, seed))
    return [_judged(f, reason) for f in out]


def _judged(finding: Finding, reason: str) -> Finding:
    if not reason and finding.n < _LEAST:
        reason = f"only {finding.n} items an arm; at least {_LEAST} are needed"
    return dataclasses.replace(finding, no_verdict=reason) if reason else finding


def _exact(audit: Verbatim, arms: _Arms, seed: int) -> Finding:
    c = arms.contrast(_of("exact"), seed)
    return Finding(
        "verbatim/exact",
        f"After about {audit.prefix} tokens of a text the model's greedy continuation is the text "
        "itself, more often than for its twins.",
        c.seen, c.fresh, c.gap, c.p_value, c.n, "share", seed,
        evidence=_evidence(arms, "share"),
        control="twins: the same question about texts that the model cannot know so well",
        details={**_about(audit, arms), **_means(arms, ("share", "logprob"))},
    )  # fmt: skip


def _run(audit: Verbatim, arms: _Arms, seed: int) -> Finding:
    chance = {r.id: x for part in (arms.seen, arms.fresh) for r, x in _chance(part)}
    c = arms.contrast(_of("share"), seed)
    control = arms.contrast(lambda r: chance[r.id], seed)
    excess = arms.contrast(lambda r: _number(r, "share") - chance[r.id], seed)
    return Finding(
        "verbatim/longest-run",
        "The longest run of tokens that the continuation shares with the text is longer than for "
        "its twins.",
        c.seen, c.fresh, c.gap, max(c.p_value, excess.p_value), c.n, "share", seed,
        evidence=_evidence(arms, "share"),
        control="runs that the same continuations share with the other texts of their arm",
        control_gap=control.gap,
        details={
            **_about(audit, arms), **_means(arms, ("run",)), "p_raw": c.p_value,
            "p_beyond_control": excess.p_value,
        },
    )  # fmt: skip


def _similarity(arms: _Arms, seed: int) -> Finding:
    c = arms.contrast(_of("similarity"), seed)
    return Finding(
        "verbatim/similarity",
        "The continuation is nearer to the text, by edit distance over tokens, than for its twins.",
        c.seen, c.fresh, c.gap, c.p_value, c.n, "share", seed,
        evidence=_evidence(arms, "similarity"),
        control="twins; says less than the longest run, for common words alone make texts alike",
        exploratory=True,
        details=_means(arms, ("rouge_l",)),
    )  # fmt: skip


def _guesses(audit: Verbatim, arms: _Arms, seed: int) -> Finding:
    c = arms.contrast(_of("top"), seed)
    ranked = all(r.values.get("logprob") is not None for r in (*arms.seen, *arms.fresh))
    details: dict[str, Any] = {
        "samples": audit.samples,
        "temperature": audit.temperature,
        "ranked_by": "the model's log-probability" if ranked else "how often a guess came",
        **_means(arms, ("any", "reciprocal", "hits")),
    }
    if ranked:
        # Hayes et al.: discoverable with probability p in n draws, 1 - (1 - P(suffix))^n >= p.
        for n in (1, 10, 100, 1000):
            for arm, part in (("seen", arms.seen), ("fresh", arms.fresh)):
                found = [_found(_number(r, "draw"), n) >= 0.5 for r in part]
                details[f"discoverable_n{n}_p0.5_{arm}"] = float(np.mean(found))
    return Finding(
        "verbatim/guesses",
        f"Of {audit.samples} guesses the one that the model itself ranks highest is the text, more "
        "often than for its twins.",
        c.seen, c.fresh, c.gap, c.p_value, c.n, "share", seed,
        evidence=_evidence(arms, "reciprocal"),
        control="twins: the same guesses for texts that the model cannot know so well",
        details=details,
    )  # fmt: skip


def _found(draw: float, n: int) -> float:
    """Chance that n independent draws bring it at least once."""
    return -math.expm1(n * math.log1p(-min(math.exp(draw), 1 - 1e-12)))


def _logprob(audit: Verbatim, arms: _Arms, seed: int) -> Finding:
    c = arms.contrast(lambda r: -_number(r, "logprob"), seed, flip=True)
    p, reason, details = c.p_value, "", dict(_about(audit, arms))
    calibrated = arms.having("calibrated")
    if audit.reference and calibrated:
        other = calibrated.contrast(
            lambda r: _number(r, "calibrated") - _number(r, "logprob"),
            seed,
            flip=True,
        )
        beyond = calibrated.contrast(lambda r: -_number(r, "calibrated"), seed, flip=True)
        control = "a reference model's loss on the same texts"
        p = max(p, beyond.p_value)
        details |= {"p_raw": c.p_value, "p_beyond_control": beyond.p_value}
        details["gap_beyond_control"] = beyond.gap.value
    else:
        other = arms.contrast(lambda r: r.meta["zlib"], seed, flip=True)
        control = "nats a token that zlib, which has read nothing, needs for the same texts"
        if not audit.exchangeable:
            reason = (
                "the arms may differ in how foreseeable they are; give a reference model "
                "(--reference), or twins drawn from the same source and exchangeable=true"
            )
    finding = Finding(
        "verbatim/logprob",
        "The model is less surprised by the true continuation than by that of its twins.",
        c.seen, c.fresh, c.gap, p, c.n, "nats/token", seed,
        evidence=_evidence(arms, "logprob"),
        higher_is_memory=False,
        control=control,
        control_gap=other.gap,
        exploratory=bool(reason),
        details=details,
    )  # fmt: skip
    return dataclasses.replace(finding, no_verdict=reason)


def _chance(rows: Sequence[Row]) -> list[tuple[Row, float]]:
    """Mean share of the run that each continuation has with suffixes of other documents."""
    out = []
    for i, row in enumerate(rows):
        others = [
            r for r in (rows[(i + k) % len(rows)] for k in range(1, len(rows)))
            if r.meta.get("doc") != row.meta.get("doc")
        ][:_OTHERS]  # fmt: skip
        runs = [
            longest_run(row.meta["produced"], r.meta["target"]) / max(1, len(r.meta["target"]))
            for r in others
        ]
        out.append((row, float(np.mean(runs)) if runs else 0.0))
    return out


def _about(audit: Verbatim, arms: _Arms) -> dict[str, Any]:
    rows = [*arms.seen, *arms.fresh]
    docs = {
        f"documents_{arm}": len({r.meta.get("doc") for r in part})
        for arm, part in (("seen", arms.seen), ("fresh", arms.fresh))
    }
    out: dict[str, Any] = {
        "prefix_tokens": audit.prefix,
        "suffix_tokens": round(float(np.mean([len(r.meta["target"]) for r in rows])), 1),
        "tokens": "the model's own" if all(r.meta.get("own_tokens") for r in rows) else "words",
        "paired": arms.paired,
        "windows_seen": len(arms.seen),
        "windows_fresh": len(arms.fresh),
        **docs,
    }
    if short := max(int(r.meta.get("too_short", 0)) for r in rows):
        out["texts_too_short"] = short
    if len(rows) > sum(docs.values()) and arms.blocks is None:
        out["note"] = (
            "windows of one document are taken as independent, for there are few documents; "
            "the finding is about these documents"
        )
    return out


def _means(arms: _Arms, metrics: Sequence[str]) -> dict[str, float]:
    out = {}
    for metric in metrics:
        for arm, part in (("seen", arms.seen), ("fresh", arms.fresh)):
            known = [x for r in part if (x := r.values.get(metric)) is not None]
            if known:
                out[f"{metric}_{arm}"] = float(np.mean(known))
    return out


def _evidence(arms: _Arms, metric: str) -> tuple[Evidence, ...]:
    """The four clearest rows of the seen arm and the two clearest of the fresh one."""
    out = []
    for part, most in ((arms.seen, 4), (arms.fresh, 2)):
        known = [r for r in part if r.evidence is not None]
        for row in sorted(known, key=lambda r: -(r.values[metric] or 0.0))[:most]:
            assert row.evidence is not None
            out.append(dataclasses.replace(row.evidence, score=row.values[metric]))
    return tuple(out)
