"""Findings over the rows of WILT: games on published rules beside fresh ones, and the list itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from byheart.core.audit import Row
from byheart.core.finding import Estimate, Finding
from byheart.core.stats import contrast

__all__ = ["LEAST", "findings"]

LEAST = 6
"""Pairs below which no verdict is given."""

PLAIN = (
    "published rules are the plainest of their kind (x < y < z), so that a gap may be plainness as "
    "well as recall; give rules and twins of one origin for a verdict"
)

GAMES = (
    ("correct", "share of rules", "games won, as the authors judge them", True),
    ("correct-lenient", "share of rules", "games won, with forgiving reading and truth for value", True),
    ("approximate", "share of rules", "near misses (our definition)", True),
    ("judged", "share of points", "the second model's opinion of the guesses", True),
    ("attempts", "attempts", "attempts used", False),
    ("repeats", "tests", "tests that had been made before", True),
    ("confirms", "share of tests", "tests that only confirm what was believed", True),
    ("explored", "share of candidates", "candidates ruled out by all tests", True),
    ("novelty", "1 - cosine", "novelty of the replies, on average", True),
    ("novelty-least", "1 - cosine", "novelty of the least novel reply", True),
)  # fmt: skip
"""Metric, unit, in words, and whether more of it in the seen arm would point to recall."""


def findings(audit: Any, rows: Sequence[Row], *, seed: int) -> list[Finding]:
    """All findings that the rows are enough for."""
    out = []
    listed = _pairs([r for r in rows if r.meta.get("kind") == "recite"])
    if len(listed[0]) > 1:
        out.append(_recited(audit, listed, seed))
    games = _pairs([r for r in rows if r.meta.get("kind") == "game"])
    if len(games[0]) > 1:
        for metric, unit, what, higher in GAMES:
            found = _game(audit, games, metric, unit, what, higher, seed)
            if found is not None:
                out.append(found)
    return out


def _pairs(rows: Sequence[Row]) -> tuple[list[Row], list[Row]]:
    """Rows of both arms, in pairs; a row whose partner failed is left out."""
    fresh = {r.pair: r for r in rows if r.arm == "fresh"}
    seen = [r for r in rows if r.arm == "seen" and r.pair in fresh]
    return seen, [fresh[r.pair] for r in seen]


def _values(rows: Sequence[Row], metric: str) -> list[float | None]:
    return [r.values.get(metric) for r in rows]


def _recited(audit: Any, pairs: tuple[list[Row], list[Row]], seed: int) -> Finding:
    seen, fresh = pairs
    a, b = ([float(v or 0.0) for v in _values(rows, "recited")] for rows in pairs)
    c = contrast(a, b, paired=True, seed=seed)
    hits = sorted(seen, key=lambda r: -float(r.values.get("recited") or 0.0))[:3]
    shown = tuple(r.evidence for r in (*hits, *fresh[:2]) if r.evidence is not None)
    few = f"only {c.n} rules; at least {LEAST} are needed" if c.n < LEAST else ""
    return Finding(
        f"{audit.name}/recited",
        "Asked for rule number so-and-so of the list, without a single test, the model gives that "
        "rule, and not another of the list: it knows the list by heart.",
        c.seen, c.fresh, c.gap, c.p_value, c.n, "share of rules", seed, shown,
        control=audit.recite_control, no_verdict=few,
    )  # fmt: skip


def _game(
    audit: Any,
    pairs: tuple[list[Row], list[Row]],
    metric: str,
    unit: str,
    what: str,
    higher: bool,
    seed: int,
) -> Finding | None:
    seen, fresh = pairs
    both = [
        (float(a), float(b), s, f)
        for a, b, s, f in zip(
            _values(seen, metric), _values(fresh, metric), seen, fresh, strict=True
        )
        if a is not None and b is not None
    ]
    if len(both) < 2:
        return None
    a, b = np.array([x[0] for x in both]), np.array([x[1] for x in both])
    sign = 1.0 if higher else -1.0
    most = audit.tests_a_game + 1.0 if unit in ("attempts", "tests") else 1.0
    edges = (0.0, most) if higher else (-most, 0.0)
    c = contrast(sign * a, sign * b, paired=True, bounded=edges, seed=seed)
    judged = metric == "correct" and audit.exchangeable
    reason = "" if judged else PLAIN if metric == "correct" else "shown, not judged"
    if judged and c.n < LEAST:
        reason = f"only {c.n} pairs of rules; at least {LEAST} are needed"
    order = sorted(both, key=lambda x: -x[0])[:2]
    shown = tuple(
        r.evidence for x in order for r in (x[2], x[3]) if r.evidence is not None
    )  # fmt: skip
    return Finding(
        f"{audit.name}/{metric}", f"{audit.claim}. Measured: {what}.",
        _flip(c.seen, sign), _flip(c.fresh, sign), c.gap, c.p_value, c.n, unit, seed, shown,
        higher_is_memory=higher, control=audit.control, no_verdict=reason, exploratory=not judged,
        details=_details(seen, fresh, metric),
    )  # fmt: skip


def _details(seen: Sequence[Row], fresh: Sequence[Row], metric: str) -> dict[str, Any]:
    """Per category, and for the accuracy also how games ended and how guesses were written."""
    out: dict[str, Any] = {}
    for arm, rows in (("seen", seen), ("fresh", fresh)):
        kinds: dict[str, list[float]] = {}
        for row in rows:
            value = row.values.get(metric)
            if value is not None:
                kinds.setdefault(row.meta["category"], []).append(value)
        out[f"{arm} by category"] = {
            k: {"mean": float(np.mean(v)), "n": len(v)} for k, v in sorted(kinds.items())
        }
        if metric != "correct":
            continue
        ends: dict[str, int] = {}
        for row in rows:
            ends[row.meta["ended"]] = ends.get(row.meta["ended"], 0) + 1
        out[f"{arm} ended"] = ends
        for key in ("operators", "length", "inclusion", "rule-operators"):
            known = [v for r in rows if (v := r.values.get(key)) is not None]
            if known:
                out[f"{arm} median {key}"] = float(np.median(known))
        points = [v for r in rows if (v := r.values.get("points")) is not None]
        out[f"{arm} points"] = float(sum(points))
    return out


def _flip(estimate: Estimate, sign: float) -> Estimate:
    if sign > 0:
        return estimate
    return Estimate(-estimate.value + 0.0, -estimate.high, -estimate.low, estimate.level)
