"""From scores to findings: every attack's AUC beside that of the blind classifier."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from byheart.audits._blind import NAME as BLIND
from byheart.audits._blind import blind_scores
from byheart.core.audit import Row
from byheart.core.finding import Estimate, Evidence, Finding
from byheart.core.stats import auc, auc_difference, auc_interval, auc_test, tpr_at_fpr

if TYPE_CHECKING:
    from byheart.audits.membership import Membership

__all__ = ["ATTACKS", "findings"]

ATTACKS = ("min-k++", "min-k", "zlib", "loss", "reference")
"""All attacks, the sharpest known first."""

_LEAST = 5
_BLOCKS = 6
"""With so many documents an arm, windows of one document are averaged into one item."""

_CLAIMS = {
    "min-k++": "The least likely tokens of these texts, measured against the model's own "
    "distribution, betray them as trained on.",
    "min-k": "The least likely tokens of these texts are likelier than those of unseen texts.",
    "zlib": "The model needs fewer nats for these texts, for each bit that zlib needs.",
    "loss": "The model's loss is lower on these texts than on unseen ones.",
    "reference": "The model's loss on these texts is lower than a reference model would predict.",
}

STAND_IN = (
    "no texts were given that are certainly not members (--fresh); the shipped obscure passages "
    "stand in, and they differ from these texts in more than membership"
)


def findings(audit: Membership, rows: Sequence[Row], *, seed: int) -> list[Finding]:
    """One finding an attack that could be run; none if an arm has fewer than two texts."""
    arms = [[r for r in rows if r.arm == arm] for arm in ("seen", "fresh")]
    if min(map(len, arms)) < 2:
        return []
    ordered = [*arms[0], *arms[1]]
    member = np.array([r.arm == "seen" for r in ordered])
    texts = [r.evidence.prompt if r.evidence else "" for r in ordered]
    docs = [str(r.meta.get("doc", r.id)) for r in ordered]
    paired = all(r.pair for r in ordered)
    groups = [r.pair.rsplit("#", 1)[0] for r in ordered] if paired else docs
    blind = blind_scores(texts, member, groups, seed=seed)
    items, merged = _items(docs, member)
    not_run = _not_run(audit, ordered)
    out = []
    for attack in ATTACKS:
        raw = [r.values.get(attack) for r in ordered]
        known = np.array([x is not None for x in raw])
        if min((known & member).sum(), (known & ~member).sum()) < 2:
            continue
        values = np.array([np.nan if x is None else x for x in raw])
        score, base, is_member = _merge(values, blind, member, items, known)
        finding = _finding(attack, score, base, is_member, seed)
        about: dict[str, Any] = {
            "k": audit.k,
            "items_seen": int(is_member.sum()),
            "items_fresh": int((~is_member).sum()),
            "tokens_a_text": round(float(np.mean([r.meta.get("tokens", 0) for r in ordered])), 1),
            "windows_of_one_document_averaged": merged,
        }
        if short := max(int(r.meta.get("too_short", 0)) for r in ordered):
            about["texts_too_short"] = short
        if not_run:
            about["attacks_not_run"] = not_run
        if not merged and len(set(docs)) < len(docs):
            about["note"] = (
                "windows of one document are taken as independent, for there are few documents; "
                "the finding is about these documents"
            )
        if any(r.meta.get("stand_in") for r in rows):
            finding = dataclasses.replace(finding, no_verdict=STAND_IN)
        out.append(
            dataclasses.replace(
                finding,
                evidence=_evidence(ordered, attack),
                details={**finding.details, **about},
            )
        )
    return out


def _finding(
    attack: str, score: np.ndarray, blind: np.ndarray, member: np.ndarray, seed: int
) -> Finding:
    """AUC of the attack, of the blind classifier, and their difference.

    A member is only shown where both nulls fall: the attack is at chance, and the attack is no better
    than the blind classifier. The larger of both p-values tests that (intersection-union). A blind
    classifier that does worse than chance is taken as chance.
    """
    a_seen, a_fresh, b_seen, b_fresh = (
        score[member], score[~member], blind[member], blind[~member]
    )  # fmt: skip
    measured = auc(b_seen, b_fresh)
    if measured < 0.5:  # cross-validation on arms without a difference leans below chance
        b_seen, b_fresh = np.zeros_like(b_seen), np.zeros_like(b_fresh)
    attack_auc, blind_auc = auc_interval(a_seen, a_fresh), auc_interval(b_seen, b_fresh)
    gap, p_blind = auc_difference(a_seen, a_fresh, b_seen, b_fresh, seed=seed)
    gap = _at_least_as_wide(gap, attack_auc)
    p_chance = auc_test(a_seen, a_fresh)
    n = int(min(member.sum(), (~member).sum()))
    reason = ""
    if n < _LEAST:
        reason = f"only {n} texts an arm; at least {_LEAST} are needed"
    elif p_chance < 0.05 <= p_blind:
        reason = (
            f"the attack (AUC {attack_auc.value:.2f}) does not beat the blind classifier "
            f"(AUC {blind_auc.value:.2f}, p = {p_blind:.2g}): the texts of both arms differ in "
            "themselves, or there are too few of them to tell"
        )
    tpr = tpr_at_fpr(a_seen, a_fresh)
    return Finding(
        f"membership/{attack}",
        _CLAIMS[attack],
        attack_auc, blind_auc, gap, max(p_chance, p_blind), n, "AUC", seed,
        control=BLIND,
        no_verdict=reason,
        details={
            "blind_auc_measured": measured,
            "p_above_chance": p_chance,
            "p_above_blind": p_blind,
            "tpr_at_1pct_fpr": tpr.value,
            "tpr_at_1pct_fpr_low": tpr.low,
            "tpr_at_1pct_fpr_high": tpr.high,
            "score_seen": float(a_seen.mean()),
            "score_fresh": float(a_fresh.mean()),
        },
    )  # fmt: skip


def _at_least_as_wide(gap: Estimate, attack: Estimate) -> Estimate:
    """Resampling a perfect ranking gives a perfect ranking: then the attack's own interval counts."""
    if 0 < attack.value < 1:
        return gap
    return Estimate(
        gap.value,
        min(gap.low, gap.value - (attack.value - attack.low)),
        max(gap.high, gap.value + (attack.high - attack.value)),
        gap.level,
    )


def _items(docs: Sequence[str], member: np.ndarray) -> tuple[np.ndarray, bool]:
    """Which item each text belongs to: its document where there are documents enough."""
    names = [f"{m}:{d}" for m, d in zip(member, docs, strict=True)]
    counts = [
        len({d for d, m in zip(docs, member, strict=True) if m == arm}) for arm in (True, False)
    ]
    if len(set(names)) == len(names) or min(counts) < _BLOCKS:
        return np.arange(len(docs)), False
    return np.unique(names, return_inverse=True)[1], True


def _merge(
    score: np.ndarray, blind: np.ndarray, member: np.ndarray, items: np.ndarray, known: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean scores of every item over its measured texts."""
    index = np.unique(items[known], return_inverse=True)[1]
    size = np.bincount(index)
    return (
        np.bincount(index, score[known]) / size,
        np.bincount(index, blind[known]) / size,
        np.bincount(index, member[known].astype(float)) / size > 0.5,
    )


def _not_run(audit: Membership, rows: Sequence[Row]) -> dict[str, str]:
    """Attacks that no row has, and why."""
    reasons = {
        "min-k++": "the model tells no mean and standard deviation of its log-probabilities",
        "reference": "the reference model scored nothing"
        if audit.reference
        else "no reference model was given (--reference)",
    }
    return {
        attack: reasons.get(attack, "no text could be scored")
        for attack in ATTACKS
        if all(r.values.get(attack) is None for r in rows)
    }


def _evidence(rows: Sequence[Row], attack: str) -> tuple[Evidence, ...]:
    """The texts of either arm that look most like members."""
    out = []
    for arm, most in (("seen", 4), ("fresh", 2)):
        part = [r for r in rows if r.arm == arm and r.values.get(attack) is not None and r.evidence]
        for row in sorted(part, key=lambda r: -(r.values[attack] or 0.0))[:most]:
            assert row.evidence is not None
            out.append(dataclasses.replace(row.evidence, score=row.values[attack]))
    return tuple(out)
