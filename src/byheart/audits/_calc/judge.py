"""Findings: what was restored and answered of a benchmark, against its fresh twins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from byheart.core.audit import Row
from byheart.core.finding import Finding

if TYPE_CHECKING:
    from byheart.audits.random_calculation import RandomCalculationAudit

__all__ = ["LEAST_DIGITS", "findings", "mark"]

LEAST = 6
LEAST_DIGITS = 2
"""A tail counts for the verdict if so many digits of it must be guessed by who has seen neither."""

_KIND = (
    "the benchmark's questions and freshly drawn arithmetic differ in kind and difficulty; give a "
    "control set with fresh="
)
_NO_TWIN = (
    "no twin could be made of at least two questions: their ends hold no number of two digits or more "
    "that was not shown before; give a control set with fresh="
)
_FLOOR = "ROUGE-L of text that nobody has seen is some .3; only the difference between arms tells"
_ALL = "here every tail counts, also one without a number, which twin and question share"

Pair = tuple[Row, Row]


def mark(ratio: float) -> str:
    """A ratio as it is written in names: 0.6 is ``60``."""
    return f"{round(100 * ratio)}"


def findings(audit: RandomCalculationAudit, rows: Sequence[Row], *, seed: int) -> list[Finding]:
    """Completion, answers and ROUGE-L, with the verdicts that the arms allow."""
    seen = [r for r in rows if r.arm == "seen"]
    by_pair = {r.pair: r for r in seen if r.pair}
    twins = [r for r in rows if r.meta.get("variant") == "twin"]
    pairs = [(by_pair[r.pair], r) for r in twins if r.pair in by_pair]
    control = [r for r in rows if r.meta.get("variant") == "control"]
    fresh = [r for r in rows if r.meta.get("variant") == "arithmetic"]
    other = "lenient" if audit.scorer == "strict" else "strict"
    out: list[Finding | None] = []
    if control:
        out += [
            _apart(audit, seen, control, f"completion-{audit.scorer}", "completion", seed, True),
            _apart(audit, seen, control, f"unseen-answer-{audit.scorer}", "answer", seed, True),
            _apart(audit, seen, control, f"completion-{other}", f"completion-{other}", seed, False),
            _apart(audit, seen, control, f"unseen-answer-{other}", f"answer-{other}", seed, False),
        ]
    else:
        told = [p for p in pairs if p[0].values.get(f"told-{audit.scorer}") is not None]
        sums = [p for p in pairs if p[0].meta["kind"] == p[1].meta["kind"] == "arithmetic"]
        for name, some, metric, judged in (
            ("completion", told, f"told-{audit.scorer}", True),
            (f"completion-{other}", told, f"told-{other}", False),
            ("answer", sums, f"answer-{audit.scorer}@100", True),
            (f"answer-{other}", sums, f"answer-{other}@100", False),
        ):
            out.append(_paired(audit, some, name, metric, seed, judged))
        if len(told) < 2:  # nothing to judge: say so instead of staying silent
            found = _apart(
                audit, seen, fresh, f"completion-{audit.scorer}", "completion", seed, False
            )
            out.append(found if found is None else _shown(found, _NO_TWIN))
    for ratio in audit.ratios:
        for stem, why in (("em", _ALL), ("rouge-l", _FLOOR)):
            metric = f"{stem}@{mark(ratio)}"
            if control:
                found = _apart(audit, seen, control, metric, metric, seed, False)
            else:
                found = _paired(audit, pairs, metric, metric, seed, False)
            out.append(found if found is None else _shown(found, why))
    for ratio in (1.0, *audit.ratios):
        for scorer in (audit.scorer, other):
            metric = f"answer-{scorer}@{mark(ratio)}"
            found = _apart(audit, seen, fresh, metric, f"arithmetic-{metric}", seed, False)
            out.append(found if found is None else _shown(found, _KIND))
    return [f for f in out if f is not None]


def _shown(found: Finding, why: str) -> Finding:
    return replace(found, no_verdict=why, exploratory=True)


_SAYS = {
    "told": "ends of questions restored exactly, of those that hold a freshly drawn number in the twin; "
    "mean over the ratios",
    "completion": "ends of questions restored exactly, mean over the ratios",
    "em": "ends of questions restored exactly (ROUGE-L rounds to 1)",
    "rouge-l": "ROUGE-L of the restored end",
    "answer": "right answers",
    "unseen-answer": "right answers to questions whose end was not shown, mean over the ratios",
}


def _says(metric: str) -> str:
    stem = metric.partition("@")[0]
    scorer = next((s for s in ("strict", "lenient") if stem.endswith(s)), "")
    stem = stem.removesuffix(f"-{scorer}") if scorer else stem
    what = _SAYS[stem]
    if "@" in metric and stem != "unseen-answer":
        shown = metric.partition("@")[2]
        what += " to the whole question" if shown == "100" else f", {shown} % shown"
    return what + (f"; {scorer} scorer" if scorer else "")


def _paired(
    audit: RandomCalculationAudit,
    pairs: Sequence[Pair],
    name: str,
    metric: str,
    seed: int,
    judged: bool,
) -> Finding | None:
    from byheart.core.stats import contrast

    some = [p for p in pairs if all(r.values.get(metric) is not None for r in p)]
    if len(some) < 2:
        return None
    both = [[float(r.values[metric] or 0.0) for r in p] for p in some]
    a, b = ([x[i] for x in both] for i in (0, 1))
    c = contrast(a, b, paired=True, bounded=(0.0, 1.0), seed=seed)
    why = f"only {c.n} pairs; at least {LEAST} are needed" if c.n < LEAST else ""
    order = sorted(some, key=lambda p: (p[1].values[metric] or 0.0) - (p[0].values[metric] or 0.0))
    shown = [r.evidence for p in order[:3] for r in p if r.evidence is not None]
    return _finding(audit, name, metric, c, seed, shown, why, judged, audit.control, {
        "twins": sorted({p[0].meta["kind"] for p in some}), **_table(audit, [p[0] for p in some], "benchmark"),
        **_table(audit, [p[1] for p in some], "twins"),
    })  # fmt: skip


def _apart(
    audit: RandomCalculationAudit,
    seen: Sequence[Row],
    fresh: Sequence[Row],
    metric: str,
    name: str,
    seed: int,
    judged: bool,
) -> Finding | None:
    from byheart.core.stats import contrast

    one, two = ([r for r in arm if r.values.get(metric) is not None] for arm in (seen, fresh))
    if len(one) < 2 or len(two) < 2:
        return None
    a, b = ([float(r.values[metric] or 0.0) for r in arm] for arm in (one, two))
    c = contrast(a, b, paired=False, bounded=(0.0, 1.0), seed=seed)
    why = f"only {c.n} items in an arm; at least {LEAST} are needed" if c.n < LEAST else ""
    order = sorted(one, key=lambda r: -(r.values[metric] or 0.0))
    shown = [r.evidence for r in (*order[:3], *two[:2]) if r.evidence is not None]
    words = "your control set" if fresh[0].meta["variant"] == "control" else "fresh arithmetic"
    details = {**_table(audit, one, "benchmark"), **_table(audit, two, words)}
    return _finding(audit, name, metric, c, seed, shown, why, judged, words, details)


def _finding(
    audit: RandomCalculationAudit,
    name: str,
    metric: str,
    c: Any,
    seed: int,
    shown: Sequence[Any],
    why: str,
    judged: bool,
    control: str,
    details: dict[str, Any],
) -> Finding:
    return Finding(
        f"{audit.name}/{name}", f"{audit.claim} Measured: {_says(metric)}.",
        c.seen, c.fresh, c.gap, c.p_value, c.n, "share", seed, tuple(shown),
        control=control, no_verdict=why, exploratory=not judged, details=details,
    )  # fmt: skip


def _table(audit: RandomCalculationAudit, rows: Sequence[Row], arm: str) -> dict[str, Any]:
    """Mean EM, ROUGE-L, answers and eq. 2 of an arm, where they were measured."""
    out: dict[str, Any] = {}
    names = [f"{m}@{mark(r)}" for r in audit.ratios for m in ("em", "rouge-l")]
    names += [f"answer-{audit.scorer}@{mark(r)}" for r in (1.0, *audit.ratios)]
    for name in (*names, "reward"):
        told = [float(r.values[name] or 0.0) for r in rows if r.values.get(name) is not None]
        if told:
            out[f"{arm}: {name}"] = round(sum(told) / len(told), 4)
    return out
