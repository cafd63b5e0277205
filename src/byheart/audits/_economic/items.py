"""From series and texts to probes, and from a reply to a row of numbers."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from byheart.audits._economic import prompts
from byheart.audits._economic.metrics import best_constant, hit, naive_forecasts
from byheart.audits._economic.parse import (
    parse_direction,
    parse_object,
    parse_value,
    said_date,
    unit_scale,
)
from byheart.audits._economic.texts import Texts, score_dating, score_unmask
from byheart.core.audit import Probe, Row
from byheart.core.errors import DataError
from byheart.core.finding import Evidence
from byheart.data.series import Series, month_index

if TYPE_CHECKING:
    from byheart.audits.economic_recall import EconomicRecall

__all__ = ["main_label", "score_reply", "series_probes", "spread", "text_probes", "tolerance_label"]


def tolerance_label(x: float) -> str:
    """0 to ``"exact"``, 0.01 to ``"within1"``.

    >>> tolerance_label(0.001)
    'within0.1'
    """
    return "exact" if x <= 0 else f"within{100 * x:g}"


def main_label(audit: EconomicRecall) -> str:
    """The hit that stands for the others: within the first tolerance, or exact if none is given."""
    return tolerance_label(audit.within[0] if audit.within else 0.0)


def spread(count: int, k: int, rng: np.random.Generator) -> list[int]:
    """`k` of `count` positions: one drawn from each of `k` stretches of like length.

    >>> spread(10, 20, np.random.default_rng(0)) == list(range(10))
    True
    """
    if k >= count:
        return list(range(count))
    edges = np.linspace(0, count, k + 1).astype(int)
    return [int(rng.integers(a, b)) for a, b in itertools.pairwise(edges)]


def series_probes(audit: EconomicRecall, *, seed: int, limit: int | None) -> list[Probe]:
    """See `EconomicRecall.probes`."""
    everything = limit is None and (audit.probe == "scan" or bool(audit.dates))
    quota = 10**9 if everything else audit.per_arm if limit is None else limit
    chosen = [_Material(audit, key, s) for key, s in audit.resolved()]
    useful = [m for m in chosen if m.asked["seen"] and m.asked["fresh"]]
    if not useful:
        spans = "; ".join(f"{m.key}: {m.series.dates[0]} to {m.series.dates[-1]}" for m in chosen)
        raise DataError(
            f"no series has dates both from {audit.start} to the cutoff {audit.cutoff} and more "
            f"than {audit.embargo} months after it ({spans}); give a series that goes on, or an "
            "earlier cutoff= if the model's is earlier"
        )
    out: list[Probe] = []
    for group in ("before", "seen", "fresh"):
        sizes = _share(quota, [len(m.asked[group]) for m in useful])
        for number, (material, size) in enumerate(zip(useful, sizes, strict=True)):
            rng = np.random.default_rng([seed, number, len(group)])
            where = material.asked[group]
            out += [
                material.probe(where[p], group)
                for p in (spread(len(where), size, rng) if size else ())
            ]
    return out


def _share(quota: int, sizes: list[int]) -> list[int]:
    """`quota` over the series as evenly as their sizes allow; earlier ones get the remainder."""
    out = [0] * len(sizes)
    while quota > 0 and any(o < s for o, s in zip(out, sizes, strict=True)):
        room = [i for i, (o, s) in enumerate(zip(out, sizes, strict=True)) if o < s]
        each = max(1, min(quota // len(room), min(sizes[i] - out[i] for i in room)))
        for i in room:
            if quota <= 0:
                break
            out[i] += each
            quota -= each
    return out


class _Material:
    """One series with what its controls need, worked out once.

    `arms` are all dates of each group (for the controls), `asked` those the user wants asked.
    """

    def __init__(self, audit: EconomicRecall, key: str, series: Series) -> None:
        self.audit, self.key, self.series = audit, key, series
        pre, post = series.split(audit.cutoff, audit.embargo)
        start, limit = month_index(audit.start), month_index(audit.boundary)
        need = {"value_context": audit.context, "direction": 2}.get(audit.probe, 0)
        pre, post = (
            [i for i in arm if i >= need and series.months[i] >= start] for arm in (pre, post)
        )
        split = audit.probe == "boundary"
        self.arms = {
            "before": [i for i in pre if series.months[i] <= limit] if split else [],
            "seen": [i for i in pre if series.months[i] > limit] if split else pre,
            "fresh": post,
        }
        wanted = set(audit.dates)
        self.asked = {
            group: [i for i in arm if not wanted or self._names(i) & wanted]
            for group, arm in self.arms.items()
        }
        if self.asked["seen"] and self.asked["fresh"]:
            self._controls()

    def _names(self, i: int) -> set[str]:
        date = self.series.dates[i]
        return {date, f"{self.series.name}|{date}", f"{self.key}|{date}"}

    def _controls(self) -> None:
        series, threshold = self.series, self.audit.threshold
        values = np.asarray(series.values)
        pre = values[self.arms["before"] + self.arms["seen"]]
        self.tau = None
        if threshold != "previous":
            self.tau = float(np.median(pre)) if threshold == "median" else float(threshold)
        self.constants, self.up, self.above = {}, {}, {}
        for group, arm in self.arms.items():
            if not arm:
                continue
            y = values[arm]
            self.constants[group] = {
                tolerance_label(x): best_constant(y, x, rate=series.rate, decimals=series.decimals)
                for x in (0.0, *self.audit.within)
            }
            moves = np.asarray([np.sign(values[i] - values[i - 1]) for i in arm if i])
            self.up[group] = bool(moves.sum() >= 0)
            tau = values[[max(i - 1, 0) for i in arm]] if self.tau is None else self.tau
            self.above[group] = bool(np.mean(y > tau) >= 0.5)

    def probe(self, at: int, group: str) -> Probe:
        """The question about one date."""
        audit, series = self.audit, self.series
        date, y = series.dates[at], series.values[at]
        previous = series.values[at - 1] if at else None
        if audit.probe == "direction":
            question = prompts.direction_question(series, date)
        else:
            context = audit.context if audit.probe == "value_context" else 0
            question = prompts.value_question(
                series, date, context=context, confidence=audit.confidence
            )
        fit = naive_forecasts(
            series, at, cutoff=audit.cutoff, start=audit.start, embargo=audit.embargo
        )
        naive = {k: v for k, v in fit.items() if k != "constant"}
        if audit.probe in ("value_context", "direction") and previous is not None:
            naive["previous"] = previous
        between = "between" if audit.probe == "boundary" else "pre"
        meta: dict[str, Any] = {
            "series": self.key,
            "name": series.name,
            "unit": series.unit,
            "rate": series.rate,
            "decimals": series.decimals,
            "vintage": series.vintage,
            "date": date,
            "month": series.months[at],
            "period": "post" if group == "fresh" else "pre",
            "group": {"seen": between, "fresh": "post"}.get(group, group),
            "truths": list(series.truths(date) if audit.match == "any_vintage" else (y,)),
            "previous": previous,
            "before_previous": series.values[at - 2] if at > 1 else None,
            "threshold": previous if audit.threshold == "previous" else self.tau,
            "naive": naive,
            "constants": self.constants[group],
            "mostly_above": self.above[group],
            "mostly_up": self.up[group],
        }
        target = series.format(y)
        if audit.probe == "direction":
            change = float(np.sign(y - series.values[at - 1]))
            meta["change"] = change
            target = "up" if change > 0 else "down" if change < 0 else "unchanged"
        return Probe(
            id=f"{self.key}:{date}", arm="fresh" if group == "fresh" else "seen",
            prompt=question, target=target, meta=meta,
        )  # fmt: skip


def text_probes(
    audit: EconomicRecall, texts: Texts, *, seed: int, limit: int | None
) -> list[Probe]:
    """Texts before and after the cutoff, as many as asked for from each arm."""
    quota = audit.per_arm if limit is None else limit
    at = month_index(audit.cutoff)
    months = [month_index(t["date"]) for t in texts.items]
    arms = {
        "seen": [i for i, m in enumerate(months) if m <= at],
        "fresh": [i for i, m in enumerate(months) if m > at + audit.embargo],
    }
    if not arms["seen"] or not arms["fresh"]:
        raise DataError(
            f"{texts.source}: {len(arms['seen'])} texts up to the cutoff {audit.cutoff} and "
            f"{len(arms['fresh'])} more than {audit.embargo} months after it; both arms need some"
        )
    question = prompts.dating_question if audit.probe == "dating" else prompts.unmask_question
    out = []
    for arm, rows in arms.items():
        rows = sorted(rows, key=lambda i: (months[i], i))
        common = {
            field: Counter(str(texts.items[i].get(field, "")) for i in rows).most_common(1)[0][0]
            for field in ("company", "year", "quarter", "date")
        }
        rng = np.random.default_rng([seed, len(arm)])
        for p in spread(len(rows), quota, rng):
            item = texts.items[rows[p]]
            target = {
                "dating": item["date"][:7],
                "unmask": f"{item.get('company', '')}, {item.get('year')} Q{item.get('quarter')}",
            }[audit.probe]
            out.append(
                Probe(
                    id=str(item["id"]),
                    arm=arm,
                    prompt=question(item["text"]),
                    target=target,
                    meta={**{k: v for k, v in item.items() if k != "text"}, "series": "texts",
                          "month": months[rows[p]], "common": common,
                          "period": "pre" if arm == "seen" else "post"},
                )
            )  # fmt: skip
    return out


def score_reply(audit: EconomicRecall, probe: Probe, reply: str) -> Row:
    """The row of one reply."""
    if audit.probe == "dating":
        values, note = score_dating(said_date(reply), probe.meta)
    elif audit.probe == "unmask":
        values, note = score_unmask(parse_object(reply), reply, probe.meta)
    elif audit.probe == "direction":
        values, note = _score_direction(reply, probe.meta)
    else:
        values, note = _score_value(audit, reply, probe.meta)
    main = {"dating": "year_month", "unmask": "company", "direction": "direction"}.get(
        audit.probe, main_label(audit)
    )
    keep = ("series", "name", "date", "month", "period", "group", "unit", "rate")
    return Row(
        id=probe.id,
        arm=probe.arm,
        values=values,
        evidence=Evidence(
            probe.id, probe.arm, probe.prompt, probe.target, reply.strip(), values.get(main), note
        ),
        meta={k: probe.meta[k] for k in keep if k in probe.meta},
    )


def _score_value(
    audit: EconomicRecall, reply: str, meta: dict[str, Any]
) -> tuple[dict[str, float | None], str]:
    answer = parse_value(
        reply, dates=(meta["date"],), echo=meta["name"], scale=unit_scale(meta["unit"])
    )
    y_hat, truths = answer.value, meta["truths"]
    y = truths[0] if y_hat is None else min(truths, key=lambda t: abs(t - y_hat))
    rate, decimals, previous, tau = (
        meta["rate"],
        meta["decimals"],
        meta["previous"],
        meta["threshold"],
    )
    values: dict[str, float | None] = {
        "answered": float(y_hat is not None),
        "value": y_hat,
        "truth": y,
        "previous": previous,
        "tau": tau,
        "confidence": answer.confidence,
        "is_range": float(answer.is_range),
    }
    naive = dict(meta["naive"])
    for x in (0.0, *audit.within):
        label = tolerance_label(x)
        guesses = {"": y_hat, **naive, "constant": meta["constants"][label]}
        for name, guess in guesses.items():
            ok = any(hit(guess, t, x, rate=rate, decimals=decimals) for t in truths)
            values[f"{label}/{name}" if name else label] = float(ok)
    values |= {f"value/{name}": guess for name, guess in naive.items()}
    scale = abs(y) if not rate else 100.0
    error = "ae" if rate else "ape"
    for name, guess in {"": y_hat, **naive}.items():
        size = None if guess is None or not scale else min(abs(guess - y) / scale, 1.0)
        values[f"{error}/{name}" if name else error] = size
    if y_hat is not None and tau is not None:
        values["threshold"] = float((y_hat > tau) == (y > tau))
        values["threshold/majority"] = float((y > tau) == meta["mostly_above"])
    if y_hat is not None and previous is not None and y != previous:
        values["direction"] = float(np.sign(y_hat - previous) == np.sign(y - previous))
        if meta["mostly_up"] is not None:
            values["direction/majority"] = float((y > previous) == meta["mostly_up"])
    if y_hat is None:
        return values, "no number in the reply"
    off = f"{y_hat - y:+.{decimals}f}" + (
        "" if rate or not y else f" ({(y_hat - y) / abs(y):+.1%})"
    )
    return values, f"read as {y_hat:g}, off by {off}" + (", a range" if answer.is_range else "")


def _score_direction(reply: str, meta: dict[str, Any]) -> tuple[dict[str, float | None], str]:
    said, change = parse_direction(reply), meta["change"]
    values: dict[str, float | None] = {"answered": float(said is not None), "direction": None}
    if change:
        values["direction"] = float(said == change)
        values["direction/majority"] = float((change > 0) == bool(meta["mostly_up"]))
        if meta["before_previous"] is not None:
            last = np.sign(meta["previous"] - meta["before_previous"])
            values["direction/persistence"] = float(last == change)
    return values, "no direction in the reply" if said is None else ""
