"""From rows to findings: hits before the cutoff against after it, beside forecasters that know nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from byheart.audits._economic import metrics
from byheart.audits._economic.inference import block_contrast, recall_test
from byheart.audits._economic.items import main_label, tolerance_label
from byheart.core.audit import Row
from byheart.core.finding import Estimate, Evidence, Finding

if TYPE_CHECKING:
    from byheart.audits.economic_recall import EconomicRecall

__all__ = ["MIN_POST", "findings", "strongest_naive", "summary"]

MIN_POST = 12
"""Distinct months after the cutoff below which no verdict is given (sheet, 3.4)."""

_CLAIMS = {
    "exact": "the model gives published values to the last digit, for dates before its cutoff only",
    "threshold": "answers fall on the right side of the threshold more often before the cutoff",
    "direction": "the sign of the change is right more often before the cutoff",
    "ape": "the error is smaller before the cutoff than after it",
    "ae": "the error is smaller before the cutoff than after it",
    "year": "texts are dated to the right year, before the cutoff only",
    "year_month": "texts are dated to the right month, before the cutoff only",
    "company": "the company is named although the text was anonymised, before the cutoff only",
    "quarter": "the quarter is named although dates were masked, before the cutoff only",
    "quarter_year": "quarter and year are named although dates were masked, before the cutoff only",
}


def _tested(audit: EconomicRecall) -> tuple[list[str], list[str]]:
    """Metrics that are tested, and metrics that are shown."""
    if audit.probe == "dating":
        return ["year_month"], ["year"]
    if audit.probe == "unmask":
        return ["company", "quarter_year"], ["year", "quarter"]
    if audit.probe == "direction":
        return ["direction"], []
    labels = [tolerance_label(x) for x in audit.within]
    return ["exact", *labels[:1]], [*labels[1:], "threshold", "direction", "ape", "ae"]


def findings(audit: EconomicRecall, rows: Sequence[Row], *, seed: int) -> list[Finding]:
    """See `EconomicRecall.findings`."""
    tested, shown = _tested(audit)
    judged = [r for r in rows if r.meta.get("group") != "before"]
    out = []
    for number, metric in enumerate([*tested, *shown]):
        finding = _finding(audit, judged, metric, metric in tested, seed + 101 * number)
        if finding is not None:
            out.append(finding)
    if audit.probe == "boundary":
        out.append(_limit(audit, rows, seed))
    return out


def strongest_naive(rows: Sequence[Row], metric: str) -> tuple[np.ndarray, dict[str, str]]:
    """``[len(rows)]`` hits of the best forecaster without recall, chosen with hindsight for each
    series and arm; and which one it was."""
    lower = metric in ("ape", "ae")
    out = np.zeros(len(rows))
    chosen: dict[str, str] = {}
    groups: dict[tuple[str, str], list[int]] = {}
    for i, row in enumerate(rows):
        groups.setdefault((str(row.meta.get("series")), row.arm), []).append(i)
    for (series, arm), where in groups.items():
        prefix = f"{metric}/"
        names = sorted({k for i in where for k in rows[i].values if k.startswith(prefix)})
        scores = {
            n: np.asarray([rows[i].values.get(n) or 0.0 for i in where], dtype=float) for n in names
        }
        if not scores:
            continue
        best = (min if lower else max)(scores, key=lambda n: float(scores[n].mean()))
        out[where] = scores[best]
        chosen[f"{series}, {arm}"] = best.removeprefix(prefix)
    return out, chosen


def _finding(
    audit: EconomicRecall, rows: Sequence[Row], metric: str, tested: bool, seed: int
) -> Finding | None:
    kept = [r for r in rows if r.values.get(metric) is not None]
    if not kept and not tested:
        return None
    lower = metric in ("ape", "ae")
    arms = {arm: [r for r in kept if r.arm == arm] for arm in ("seen", "fresh")}
    name, claim = f"{audit.name}/{metric}", _claim(metric)
    unit = {"ape": "share of the level, capped at 1", "ae": "pp / 100, capped at 1"}.get(
        metric, "share"
    )
    n = min(len(arms["seen"]), len(arms["fresh"]))
    if not n:
        if not tested:
            return None
        which = " and ".join(a for a, r in arms.items() if not r)
        none = Estimate(0.0, 0.0, 0.0)
        return Finding(
            name, claim, none, none, none, None, 0, unit, seed,
            no_verdict=f"no answers in the {which} arm",
        )  # fmt: skip
    values = {a: np.asarray([r.values[metric] for r in rs], dtype=float) for a, rs in arms.items()}
    months = {a: [r.meta.get("month", r.id) for r in rs] for a, rs in arms.items()}
    blocks = (months["seen"], months["fresh"])
    naive: dict[str, np.ndarray] = {}
    chosen: dict[str, str] = {}
    for arm, arm_rows in arms.items():
        naive[arm], names = strongest_naive(arm_rows, metric)
        chosen |= names
    details: dict[str, Any] = {"naive": chosen, "months_post": len(set(blocks[1])),
                               "n_pre": len(arms["seen"]), "n_post": len(arms["fresh"])}  # fmt: skip
    if lower:
        raw = block_contrast(values["fresh"], values["seen"], (blocks[1], blocks[0]), seed=seed)
        control = block_contrast(
            naive["fresh"], naive["seen"], (blocks[1], blocks[0]), seed=seed
        ).gap
        # No test: a constant answer errs less where the series is lower, and remembers nothing.
        seen, fresh, gap, p = raw.fresh, raw.seen, raw.gap, None
        details |= {"median_pre": float(np.median(values["seen"])),
                    "median_post": float(np.median(values["fresh"]))}  # fmt: skip
    else:
        test = recall_test(
            values["seen"], values["fresh"], naive["seen"], naive["fresh"], blocks, seed=seed
        )
        seen, fresh, gap = test.raw.seen, test.raw.fresh, test.raw.gap
        p, control = test.p_value, test.naive
        details |= {"p_above_naive": test.p_naive, "p_above_fresh": test.p_gap,
                    "p_lead_above_fresh_lead": test.p_lead,
                    "naive_pre": float(naive["seen"].mean()),
                    "naive_post": float(naive["fresh"].mean())}  # fmt: skip
    if tested:
        for arm, period in (("seen", "pre"), ("fresh", "post")):
            details[period] = summary([r for r in rows if r.arm == arm])
    return Finding(
        name=name,
        claim=claim,
        seen=seen,
        fresh=fresh,
        gap=gap,
        p_value=p,
        n=n,
        unit=unit,
        seed=seed,
        evidence=_evidence(arms, metric, lower),
        higher_is_memory=not lower,
        control="the best forecaster without recall on the same dates",
        control_gap=control,
        no_verdict=_refusal(rows, len(set(blocks[1]))) if tested else "",
        exploratory=not tested,
        details=details,
    )


def _claim(metric: str) -> str:
    if metric.startswith("within"):
        share = metric.removeprefix("within")
        return f"answers lie within {share} % (rates: {share} points) of the truth before the cutoff, not after"
    return _CLAIMS[metric]


def _refusal(rows: Sequence[Row], months_post: int) -> str:
    if months_post < MIN_POST:
        return (
            f"{months_post} months after the cutoff; fewer than {MIN_POST} cannot separate recall "
            "from skill"
        )
    answered = [r.values.get("answered") or 0.0 for r in rows]
    if np.mean(answered) < 0.05:
        return f"the model answered {np.mean(answered):.0%} of the questions; silence is no test"
    return ""


def summary(rows: Sequence[Row]) -> dict[str, float]:
    """Every metric of the sheet on some rows; what cannot be computed is left out."""
    hits = [k for k in (rows[0].values if rows else ()) if "/" not in k]
    out = {"n": float(len(rows))}
    if rows and "truth" in rows[0].values:
        y_hat = [r.values["value"] for r in rows]
        y = [float(r.values["truth"] or 0.0) for r in rows]
        previous = [r.values.get("previous") for r in rows]
        tau = [np.nan if r.values.get("tau") is None else r.values["tau"] for r in rows]
        out |= {
            "answer_rate": metrics.answer_rate(y_hat),
            "me": metrics.me(y_hat, y),
            "mae": metrics.mae(y_hat, y),
            "mpe": metrics.mpe(y_hat, y),
            "mape": metrics.mape(y_hat, y),
            "threshold_accuracy": metrics.threshold_accuracy(y_hat, y, tau),
            "directional_accuracy": metrics.directional_accuracy(y_hat, y, previous),
        }
        for name in ("carry_forward", "pre_mean"):
            guess = [r.values.get(f"value/{name}") for r in rows]
            out |= {f"{name}_mae": metrics.mae(guess, y), f"{name}_mape": metrics.mape(guess, y)}
        apes = [abs(a - b) / abs(b) for a, b in zip(y_hat, y, strict=True) if a is not None and b]
        if apes:
            out["median_ape"] = float(np.median(apes))
        hits = [k for k in hits if k == "exact" or k.startswith("within")]
    else:
        hits = [k for k in hits if k in ("answered", "direction", *_CLAIMS)]
    for k in hits:
        known = [r.values[k] for r in rows if r.values.get(k) is not None]
        if known:
            out[k] = float(np.mean(known))  # type: ignore[arg-type]
    return {k: round(v, 6) for k, v in out.items() if np.isfinite(v)}


def _evidence(arms: dict[str, list[Row]], metric: str, lower: bool) -> tuple[Evidence, ...]:
    """Four rows of the seen arm, best first, and two of the fresh arm."""
    out: list[Evidence] = []
    for arm, k in (("seen", 4), ("fresh", 2)):
        sign = 1 if lower else -1
        ranked = sorted(
            (r for r in arms[arm] if r.evidence is not None),
            key=lambda r: (sign * float(r.values[metric] or 0.0), _distance(r)),
        )
        for row in ranked[:k]:
            e = row.evidence
            assert e is not None
            out.append(
                Evidence(e.id, e.arm, e.prompt, e.expected, e.produced, row.values[metric], e.note)
            )
    return tuple(out)


def _distance(row: Row) -> float:
    for key in ("ape", "ae"):
        value = row.values.get(key)
        if value is not None:
            return value
    return 1.0


def _limit(audit: EconomicRecall, rows: Sequence[Row], seed: int) -> Finding:
    """Claim b: told to ignore what came after the limit, the model is no worse after it."""
    metric = main_label(audit)
    groups = {
        g: [r for r in rows if r.meta.get("group") == g] for g in ("before", "between", "post")
    }
    name = f"{audit.name}/limit"
    claim = (
        f"told to use nothing after {audit.boundary}, the model answers no worse on dates after it "
        "(but before its cutoff) than on dates before it: the limit does not hold"
    )
    if not groups["before"] or not groups["between"]:
        none = Estimate(0.0, 0.0, 0.0)
        return Finding(
            name, claim, none, none, none, None, 0, "share", seed, exploratory=True,
            no_verdict="needs dates on both sides of the limit; move start= or boundary=",
        )  # fmt: skip
    hits = {g: np.asarray([r.values[metric] for r in rs], dtype=float) for g, rs in groups.items()}
    when = {g: [r.meta["month"] for r in rs] for g, rs in groups.items()}
    blocks = (when["between"], when["before"])
    raw = block_contrast(hits["between"], hits["before"], blocks, seed=seed)
    shares = {g: float(h.mean()) for g, h in hits.items() if h.size}
    months = {g: len(set(ms)) for g, ms in when.items()}
    low = block_contrast(hits["between"], hits["before"], blocks, seed=seed, alternative="less")
    return Finding(
        name=name,
        claim=claim,
        seen=raw.seen,
        fresh=raw.fresh,
        gap=raw.gap,
        p_value=None,
        n=raw.n,
        unit="share",
        seed=seed,
        control="the same order, dates before the limit",
        exploratory=True,
        details={
            "metric": metric,
            "hits": shares,
            "p_lower_after_limit": low.p_value,
            "months": months,
            # Nothing is said of a few months: the paper's own 40 % after the cutoff rests on five.
            "limit_fails": bool(low.p_value >= 0.05 and shares["between"] > shares.get("post", 0))
            if min(months.values()) >= MIN_POST
            else None,
        },
    )
