"""Findings: puzzles against their twins, and what a fixed answer would show on the same pairs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from byheart.audits._kk.metrics import memorisation
from byheart.audits._kk.sampler import KINDS
from byheart.core.audit import Row
from byheart.core.finding import Finding

if TYPE_CHECKING:
    from byheart.audits.knights_and_knaves import KnightsAndKnaves

__all__ = ["findings"]

_LEAST = 6
"""With fewer pairs no test at 5 % over two findings can reject."""

_WHY = {
    "flip_role": "the twin redefines the words, and models overlook that: it measures reading",
    "uncommon_name": "rare names may be harder to read, which is no memory",
    "random_pair": "other role words may be harder to read, which is no memory",
    "reorder_statement": "sentences out of the order of the names may be harder, which is no memory",
}

Pair = tuple[Row, Row]


def findings(audit: KnightsAndKnaves, rows: Sequence[Row], *, seed: int) -> list[Finding]:
    """For every perturbation: accuracy of puzzles and twins, LiMem, and the other scorer."""
    seen = {r.pair: r for r in rows if r.arm == "seen"}
    out: list[Finding] = []
    for kind in audit.perturbations:
        pairs = [
            (seen[r.pair], r)
            for r in rows
            if r.arm == "fresh" and r.meta["variant"] == kind and r.pair in seen
        ]
        if len(pairs) < 2:
            continue
        other = "strict" if audit.scorer == "lenient" else "lenient"
        out.append(_accuracy(audit, kind, pairs, audit.scorer, seed))
        out.append(_limem(audit, kind, pairs, seed))
        if all(r.values.get(other) is not None for p in pairs for r in p):
            out.append(_accuracy(audit, kind, pairs, other, seed))
    return out


def _solved(pairs: Sequence[Pair], scorer: str) -> tuple[np.ndarray, np.ndarray]:
    both = np.asarray([[float(r.values[scorer] or 0.0) for r in p] for p in pairs])
    return both[:, 0], both[:, 1]


def _accuracy(
    audit: KnightsAndKnaves, kind: str, pairs: Sequence[Pair], scorer: str, seed: int
) -> Finding:
    from byheart.core.stats import contrast

    a, b = _solved(pairs, scorer)
    c = contrast(a, b, paired=True, binary=True, seed=seed)
    fixed, fa, fb = _fixed_answer(pairs)
    control = contrast(fa, fb, paired=True, binary=True, seed=seed)
    main = scorer == audit.scorer
    judged = main and kind not in _WHY
    why = _WHY.get(kind, "")
    if c.n < _LEAST:
        why = f"only {c.n} pairs; at least {_LEAST} are needed"
    m = memorisation(a, b)
    details: dict[str, Any] = {**m.to_dict(), "scorer": scorer}
    details["control"] = f"always answering {fixed}"
    if kind in (*KINDS, "redrawn"):
        details["recited"] = _recited(pairs)
    reasons = {arm: _reasons(pairs, i, scorer) for i, arm in enumerate(("puzzles", "twins"))}
    details["wrong"] = reasons
    by_people = _by_people(pairs, scorer)
    if len(by_people) > 1:
        details["by_people"] = by_people
    return Finding(
        f"{audit.name}/{kind}" + ("" if main else f"-{scorer}"),
        f"{audit.claim} Measured: answers with every role right, {scorer} scorer; twin: {kind}. "
        f"LiMem {m.limem.value:.2f}, CR {m.consistency:.2f}.",
        c.seen, c.fresh, c.gap, c.p_value, c.n, "share", seed,
        _evidence(pairs, scorer), control=audit.control, control_gap=control.gap,
        no_verdict=why, exploratory=not judged, details=details,
    )  # fmt: skip


def _limem(audit: KnightsAndKnaves, kind: str, pairs: Sequence[Pair], seed: int) -> Finding:
    from byheart.core.stats import contrast

    a, b = _solved(pairs, audit.scorer)
    m = memorisation(a, b)
    c = contrast(a, b, paired=True, binary=True, seed=seed)
    return Finding(
        f"{audit.name}/{kind}-limem",
        "LiMem, the share of puzzles solved although the twin is not; beside it the share of twins "
        "solved although the puzzle is not, which is what luck alone would make of both. CR is "
        f"{m.consistency:.2f}.",
        m.limem, m.reverse, c.gap, None, m.n, "share", seed,
        control="the reversed event on the same pairs", exploratory=True,
        no_verdict=_WHY.get(kind, ""), details=m.to_dict(),
    )  # fmt: skip


def _fixed_answer(pairs: Sequence[Pair]) -> tuple[str, np.ndarray, np.ndarray]:
    """The answer that, given to everything, would show the largest gap on these pairs.

    It is drawn by hindsight, so it shows how much of a gap chance alone can make of so few pairs.
    """
    keys = [tuple(tuple(r.meta["key"]) for r in p) for p in pairs]
    seen, fresh = np.zeros(len(pairs)), np.zeros(len(pairs))
    told = []
    for people in sorted({len(k) for k, _ in keys}):
        mine = [i for i, (k, _) in enumerate(keys) if len(k) == people]
        best = max(
            sorted({k for i in mine for k in keys[i]}),
            key=lambda s: sum((keys[i][0] == s) - (keys[i][1] == s) for i in mine),
        )
        for i in mine:
            seen[i], fresh[i] = float(keys[i][0] == best), float(keys[i][1] == best)
        told.append("".join("TL"[not k] for k in best))
    return " / ".join(told), seen, fresh


def _recited(pairs: Sequence[Pair]) -> dict[str, float]:
    """Twins that were answered with the original's key, among those of which it was solved."""
    solved = [p for p in pairs if p[0].values["lenient"]]
    same = sum(tuple(f.meta["said"]) == tuple(s.meta["key"]) for s, f in solved)
    return {"solved": float(len(solved)), "answered_as_before": float(same)}


def _reasons(pairs: Sequence[Pair], arm: int, scorer: str) -> dict[str, int]:
    out: dict[str, int] = {}
    for pair in pairs:
        reason = pair[arm].meta["reason"].get(scorer, "")
        if reason:
            out[reason] = out.get(reason, 0) + 1
    return dict(sorted(out.items()))


def _by_people(pairs: Sequence[Pair], scorer: str) -> dict[str, dict[str, float]]:
    out = {}
    for people in sorted({len(s.meta["key"]) for s, _ in pairs}):
        some = [p for p in pairs if len(p[0].meta["key"]) == people]
        out[str(people)] = memorisation(*_solved(some, scorer)).to_dict()
    return out


def _evidence(pairs: Sequence[Pair], scorer: str) -> tuple[Any, ...]:
    """Pairs that tell most: solved but not the twin, then others."""
    order = sorted(pairs, key=lambda p: (p[1].values[scorer] or 0.0) - (p[0].values[scorer] or 0.0))
    shown = [r.evidence for p in order[:3] for r in p]
    return tuple(e for e in shown if e is not None)
