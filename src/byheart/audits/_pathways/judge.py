"""From rows to findings: both arms of one checkpoint, and the course over several. No verdicts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np

from byheart.audits._pathways.checkpoints import Scores
from byheart.audits._pathways.course import Correlation, correlations, sustained_rise
from byheart.audits._pathways.distance import compared, spelled
from byheart.core.audit import Row
from byheart.core.errors import DataError
from byheart.core.finding import Estimate, Evidence, Finding
from byheart.core.stats import contrast

__all__ = ["arms_of", "course_of"]

_LEAST = 3
"""Texts an arm without which a mean distance has no standard error."""
_Z = NormalDist().inv_cdf(0.975)

ONE = (
    "one checkpoint: texts may share a pathway because they are of one kind, so a gap between the "
    "arms is no sign of memorisation, and the paper claims none; its claim is about a run's course "
    "(--checkpoints, --scores)"
)
STAND_IN = "; and no fresh twins were given: the shipped passages that stand in differ in kind"
RUN = (
    "a course over one run's checkpoints says how routing and accuracy moved together, not whether a "
    "text was memorised; any two trends correlate, so look at what is left with the step taken out"
)


def arms_of(rows: Sequence[Row], *, seed: int) -> list[Finding]:
    """Distance and cosine of seen and fresh texts; none if an arm has fewer than three."""
    arms = {arm: [r for r in rows if r.arm == arm] for arm in ("seen", "fresh")}
    if min(map(len, arms.values())) < _LEAST:
        return []
    why = ONE + (STAND_IN if rows[0].meta.get("stand_in") else "")
    evidence = tuple(
        e for arm in ("seen", "fresh") for r in arms[arm][:3] if (e := r.evidence) is not None
    )
    mean = {
        f"{what} {arm}": round(float(np.mean([r.values[what] for r in some])), 4)  # type: ignore[arg-type]
        for what in ("length", "entropy", "loss")
        for arm, some in arms.items()
    }
    return [
        _distance(arms, why, mean, evidence, seed),
        *_cosine(arms, why, mean, evidence, seed),
    ]


def _distance(
    arms: dict[str, list[Row]], why: str, mean: dict[str, float], evidence: tuple[Evidence, ...],
    seed: int,
) -> Finding:  # fmt: skip
    rng = np.random.default_rng([seed, 6])
    found, null, raw = {}, {}, {}
    for arm, rows in arms.items():
        experts = rows[0].meta["experts"]
        paths = [r.meta["path"] for r in rows]
        drawn = [[list(rng.permutation(experts)[: len(part)]) for part in p] for p in paths]
        found[arm] = compared(spelled(paths, experts))
        null[arm] = compared(spelled(drawn, experts))
        raw[arm] = compared(spelled(paths, experts), by_length=False)[0]
    seen, fresh = (_estimate(*found[arm], 0.0, 1.0) for arm in ("seen", "fresh"))
    details = {
        **mean,
        "experts apart, seen": round(raw["seen"], 3),
        "experts apart, fresh": round(raw["fresh"], 3),
        "by chance, seen": round(null["seen"][0], 4),
        "by chance, fresh": round(null["fresh"][0], 4),
        "documents": {k: rows[0].meta.get(f"docs_{k}") for k, rows in arms.items()},
    }
    return Finding(
        name="pathways/distance",
        claim="These texts pass through experts more alike than unseen texts do.",
        seen=seen,
        fresh=fresh,
        gap=_difference(found["fresh"], found["seen"]),
        p_value=None,
        n=min(map(len, arms.values())),
        unit="of the longer path",
        seed=seed,
        evidence=evidence,
        higher_is_memory=False,
        control="paths of the same lengths, experts drawn anew",
        control_gap=_difference(null["fresh"], null["seen"]),
        no_verdict=why,
        exploratory=True,
        details=details,
    )


def _cosine(
    arms: dict[str, list[Row]], why: str, mean: dict[str, float], evidence: tuple[Evidence, ...],
    seed: int,
) -> list[Finding]:  # fmt: skip
    values = {
        arm: [v for r in rows if (v := r.values["mean_cosine"]) is not None]
        for arm, rows in arms.items()
    }
    if min(map(len, values.values())) < _LEAST:
        return []  # one MoE layer: no neighbour to be aligned with
    c = contrast(values["seen"], values["fresh"], paired=False, bounded=(-1, 1), seed=seed)
    valid = {
        arm: [v for r in rows if (v := r.values["consistency"]) is not None]
        for arm, rows in arms.items()
    }
    rows_apart = {
        f"without what a router's rows share, {arm}": round(
            float(np.mean([r.values["centred_cosine"] for r in some])),  # type: ignore[arg-type]
            4,
        )
        for arm, some in arms.items()
    }
    more = rows_apart | {f"1 - C, {a}": round(float(np.mean(v)), 4) for a, v in valid.items() if v}
    return [
        Finding(
            name="pathways/cosine",
            claim="Neighbouring layers route these texts more alike than unseen texts.",
            seen=c.seen,
            fresh=c.fresh,
            gap=c.gap,
            p_value=None,
            n=c.n,
            unit="mean of layers",
            seed=seed,
            evidence=evidence,
            control="the fresh texts",
            no_verdict=why,
            exploratory=True,
            details={**mean, **more},
        )
    ]


def _estimate(value: float, se: float, low: float = -math.inf, high: float = math.inf) -> Estimate:
    half = _Z * se if math.isfinite(se) else 0.0
    return Estimate(value, max(low, value - half), min(high, value + half))


def _difference(a: tuple[float, float], b: tuple[float, float]) -> Estimate:
    return _estimate(a[0] - b[0], math.hypot(a[1], b[1]))


def course_of(rows: Sequence[Row], scores: Scores | None, *, seed: int) -> list[Finding]:
    """First against last checkpoint for both metrics, with their correlations to the scores."""
    if len(rows) < 2:
        return []
    shapes = {(r.meta["layers"], r.meta["experts"]) for r in rows}
    why, told = RUN, [dict(r.values) for r in rows]
    found: list[Correlation] = []
    start = 0
    if len(shapes) > 1:
        listed = ", ".join(
            f"{r.meta['step']}: {r.meta['layers']} layers of {r.meta['experts']}" for r in rows
        )
        why = f"the checkpoints are of different models ({listed}); no course goes through them"
    elif scores is not None:
        start, found, note = _against(rows, scores, seed)
        why = f"{why}{note}"
    out = []
    for name, metric, se, up in (
        ("distance", "distance", "distance_se", False),
        ("cosine", "mean_cosine", "cosine_se", True),
    ):
        ends = [(rows[i].values[metric], rows[i].values[se]) for i in (start, -1)]
        if any(v is None for pair in ends for v in pair):
            continue
        first, last = ((float(v), float(s)) for v, s in ends)  # type: ignore[arg-type]
        mine = [c for c in found if c.metric == metric]
        rest = [str(c) for c in found if c.metric != metric]
        out.append(
            Finding(
                name=f"pathways/course-{name}",
                claim="At the last checkpoint "
                + ("layers are more aligned" if up else "pathways are more alike")
                + " than where accuracy began to rise.",
                seen=_estimate(*last),
                fresh=_estimate(*first),
                gap=_difference(last, first) if up else _difference(first, last),
                p_value=None,
                n=len(rows) - start,
                unit="mean of layers" if up else "of the longer path",
                seed=seed,
                higher_is_memory=up,
                control="; ".join(_told(c) for c in mine) or "no scores were given (--scores)",
                no_verdict="; ".join([*(f"with accuracy, {_told(c)}" for c in mine), why]),
                exploratory=True,
                details={
                    "seen_is": f"step {rows[-1].meta['step']}",
                    "fresh_is": f"step {rows[start].meta['step']}",
                    "correlations": [c.to_dict() for c in mine],
                    "beside": rest,
                    "course": told,
                },
            )
        )
    return out


def _against(rows: Sequence[Row], scores: Scores, seed: int) -> tuple[int, list[Correlation], str]:
    """Where accuracy begins to rise, correlations from there, and what is to be said of them."""
    steps = [int(r.meta["step"]) for r in rows]
    accuracy = [scores.accuracy[s] for s in steps]
    start = sustained_rise(accuracy)
    told = [{k: math.nan if v is None else v for k, v in r.values.items()} for r in rows]
    for name, by_step in scores.others.items():
        for record, step in zip(told, steps, strict=True):
            record[name] = by_step.get(step, math.nan)
    left = len(rows) - start
    if left < 3:
        return start, [], (
            f"; and accuracy rises over {left} checkpoint(s) only (from step {steps[start]}), too few "
            "to correlate"
        )  # fmt: skip
    try:
        found = correlations(told[start:], accuracy[start:], seed=seed)
    except DataError as error:
        return start, [], f"; and nothing can be correlated: {error}"
    few = f"; with n = {left} no p-value can be below {2 / math.factorial(left):.2g}"
    return start, found, few if left <= 5 else ""


def _told(c: Correlation) -> str:
    left = ", ".join(
        f"{k} {'undefined' if v is None else format(v, '+.2f')}" for k, v in c.partial.items()
    )
    return f"{c}; r with controls taken out: {left}"
