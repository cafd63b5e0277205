"""The calibration in print: tables in Markdown, and the same as JSON."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

from _calibration_records import ANY, ARMS, Ledger, doses, pooled, rates

__all__ = ["summary", "tables"]

_TITLES = {"planted": "planted items called memorised", "held": "held-back items called memorised"}


def summary(ledger: Ledger) -> dict[str, Any]:
    """Rates and doses as JSON values; bounds that do not exist are None."""

    def plain(x: Any) -> Any:
        if isinstance(x, dict):
            return {k: plain(v) for k, v in x.items()}
        return None if isinstance(x, float) and not math.isfinite(x) else x

    some = list(ledger.records.values())
    return {
        "model": some[0].model if some else None,
        "settings": some[0].settings if some else None,
        "seeds": len({r.seed for r in some}),
        "rates": [
            plain(dataclasses.asdict(r)) | {"false_positive": r.false_positive} for r in rates(some)
        ],
        "false_alarms": {a: {"hits": k, "n": n} for a, (k, n) in pooled(some).items()},
        "doses": [plain(dataclasses.asdict(d)) for d in doses(some)],
    }


def tables(ledger: Ledger) -> str:
    """Markdown: verdicts on planted and held-back items, false alarms, mean gaps."""
    some = list(ledger.records.values())
    columns = sorted({r.multiplicity for r in some})
    verdicts = {(r.audit, r.finding, r.multiplicity, r.arm): r for r in rates(some)}
    gaps = {(d.audit, d.finding, d.multiplicity, d.arm): d for d in doses(some)}
    out = [_table(_TITLES[arm], verdicts, arm, columns, _rate) for arm in ARMS]
    alarms = ["| nothing was planted | called memorised |", "| --- | --- |"]
    alarms += [f"| {audit} | {hits} of {n} |" for audit, (hits, n) in pooled(some).items()]
    out.append("\n".join(alarms))
    out.append(_table("mean gap, planted items", gaps, "planted", columns, _gap))
    return "\n\n".join(out) + "\n"


def _table(
    title: str,
    cells: dict[tuple[str, str, int, str], Any],
    arm: str,
    columns: Sequence[int],
    show: Callable[[Any], str],
) -> str:
    """A row an audit or finding, a column a multiplicity; a cell that was not measured is empty."""
    lines = [
        f"| {title} | " + " | ".join(f"{m} times" for m in columns) + " |",
        "| --- |" + " --- |" * len(columns),
    ]
    for audit, finding in dict.fromkeys((a, f) for a, f, _, _ in cells):
        label = f"**{audit}**" if finding == ANY else f"{audit}/{finding}"
        shown = [cells.get((audit, finding, m, arm)) for m in columns]
        if any(shown):
            lines.append(
                f"| {label} | " + " | ".join("" if c is None else show(c) for c in shown) + " |"
            )
    return "\n".join(lines)


def _rate(rate: Any) -> str:
    if rate.unjudged == rate.n:
        return "no verdict"
    return f"{rate.hits}/{rate.n} [{rate.share.low:.2f}, {rate.share.high:.2f}]"


def _gap(dose: Any) -> str:
    value, low, high = (
        f"{x:.2f}".replace("-0.00", "0.00") for x in (dose.gap.value, dose.gap.low, dose.gap.high)
    )
    return f"{value} [{low}, {high}]" if dose.n > 1 else value
