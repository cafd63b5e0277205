"""Findings: a known book against its twin from memory, and the text in the prompt against memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from byheart.core.audit import Row
from byheart.core.finding import Estimate, Finding

if TYPE_CHECKING:
    from byheart.audits.book_sort import BookSort

__all__ = ["SCORES", "findings", "stretches", "table"]

SCORES = ("debiased", "lenient", "strict")

_LEAST = 6
"""With fewer stretches of text an arm no test at 5 % over two findings can reject."""
_DOCS = 6
"""With so many books an arm, books are resampled and not stretches of them."""

_ALIKE = (
    "the order of one book can be guessed better than that of another without having read either; "
    "set exchangeable where only reading tells the books apart (drawn by lot, or one author's)"
)


def findings(audit: BookSort, rows: Sequence[Row], *, seed: int) -> list[Finding]:
    """From memory: seen against fresh, by every score. With the text: against memory, seen arm."""
    seen, fresh = ([r for r in rows if r.arm == arm] for arm in ("seen", "fresh"))
    out: list[Finding] = []
    if "memory" in audit.conditions:
        for score in (audit.scorer, *(s for s in SCORES if s != audit.scorer)):
            found = _memory(audit, seen, fresh, score, rows, seed)
            out += [found] if found else []
    if "context" in audit.conditions:
        found = _context(audit, seen, fresh, rows, seed)
        out += [found] if found else []
    return out


def _values(rows: Sequence[Row], key: str) -> tuple[list[Row], np.ndarray]:
    kept = [r for r in rows if r.values.get(key) is not None]
    return kept, np.asarray([float(r.values[key] or 0.0) for r in kept])


def _memory(
    audit: BookSort, seen: Sequence[Row], fresh: Sequence[Row], score: str, rows: Sequence[Row],
    seed: int,
) -> Finding | None:  # fmt: skip
    (seen, a), (fresh, b) = _values(seen, f"memory/{score}"), _values(fresh, f"memory/{score}")
    if min(len(a), len(b)) < 2:
        return None
    c, units = _contrast(seen, a, fresh, b, seed)
    main = score == audit.scorer
    why = next((str(r.meta["why"]) for r in rows if r.meta.get("why")), "")
    if not why and not audit.exchangeable:
        why = _ALIKE
    if min(units) < _LEAST:
        why = f"only {min(units)} stretches of text that do not overlap; {_LEAST} are needed"
    control, control_gap = (
        "a label that is always given scores a half in both arms, for every pair is asked in both "
        "orders",
        None,
    )
    if main and "context" in audit.conditions:
        (s, x), (f, y) = (_values(arm, f"context/{score}") for arm in (seen, fresh))
        if min(len(x), len(y)) >= 2:
            control = "the same questions of both arms with the text in the prompt"
            control_gap = _contrast(s, x, f, y, seed)[0].gap
    details: dict[str, Any] = {"score": score}
    if main:
        details = _details(seen, fresh, "memory", score)
    if main and any(r.meta.get("left_out") for r in rows):
        details["books_left_out"] = next(r.meta["left_out"] for r in rows if r.meta.get("left_out"))
    details["units"] = {"seen": units[0], "fresh": units[1]}
    if main and audit.chosen:
        details["wording"] = audit.chosen[0]
    return Finding(
        "book-sort/memory" if main else f"book-sort/memory-{score}",
        f"{audit.claim} Measured: order of two segments told without the text, {score}; a half is "
        "chance.",
        c.seen, c.fresh, c.gap, c.p_value, c.n, "share", seed,
        _evidence(seen, fresh, f"memory/{score}"), control=control, control_gap=control_gap,
        no_verdict=why, exploratory=not main, details=details,
    )  # fmt: skip


def _context(
    audit: BookSort, seen: Sequence[Row], fresh: Sequence[Row], rows: Sequence[Row], seed: int
) -> Finding | None:
    """The paper's contrast: what a model can do with the text, and what it has left without."""
    from byheart.core.stats import contrast

    key = audit.scorer
    both = [r for r in seen if r.values.get(f"context/{key}") is not None]
    if len(both) < 2:
        return None
    x = np.asarray([float(r.values[f"context/{key}"] or 0.0) for r in both])
    told, y = _values(both, f"memory/{key}")
    if "memory" in audit.conditions and len(told) == len(both):
        against = "from memory"
    else:  # a coin knows neither book
        y, against = np.full(len(x), 0.5), "chance"
    c = contrast(
        x, y, paired=True, binary=False, bounded=(0.0, 1.0), blocks=_blocks(both), seed=seed
    )
    details = _details(seen, fresh, "context", key)
    left = [r for r in rows if r.meta.get("too_long")]
    if left:
        details["too_long"] = {
            "not_asked": len(left),
            "why": str(left[0].meta["too_long"]),
        }
    return Finding(
        "book-sort/context",
        f"The model can tell the order with the text in its prompt, and not {against}. This shows "
        "what it could do if it remembered, and is no sign of memory.",
        c.seen, c.fresh, c.gap, c.p_value, c.n, "share", seed,
        _evidence(both, (), f"context/{key}"),
        control=f"the same pairs {against}", exploratory=True, details=details,
    )  # fmt: skip


def _contrast(
    seen: Sequence[Row], a: np.ndarray, fresh: Sequence[Row], b: np.ndarray, seed: int
) -> tuple[Any, tuple[int, int]]:
    """Stretches or books are what is resampled; how many there are an arm."""
    from byheart.core.stats import contrast

    docs = [sorted({str(r.meta["book"]) for r in arm}) for arm in (seen, fresh)]
    if min(map(len, docs)) >= _DOCS:
        blocks = [[docs[i].index(str(r.meta["book"])) for r in arm]
                  for i, arm in enumerate((seen, fresh))]  # fmt: skip
    else:
        blocks = [stretches(seen), stretches(fresh)]
    units = len(set(blocks[0])), len(set(blocks[1]))
    c = contrast(
        a, b, paired=False, binary=False, bounded=(0.0, 1.0), seed=seed,
        blocks=None if units == (len(a), len(b)) else blocks,
    )  # fmt: skip
    return c, units


def stretches(rows: Sequence[Row]) -> list[int]:
    """A number for each row: the stretch of its book that overlapping excerpts make together."""
    order = sorted(range(len(rows)), key=lambda i: _place(rows[i]))
    out, number, book, end = [0] * len(rows), -1, "", 0
    for i in order:
        name, start, length = _place(rows[i])
        if name != book or start >= end:
            number, end = number + 1, 0
        book, end = name, max(end, start + length)
        out[i] = number
    return out


def _blocks(rows: Sequence[Row]) -> list[int] | None:
    marks = stretches(rows)
    return None if len(set(marks)) == len(rows) else marks


def _place(row: Row) -> tuple[str, int, int]:
    return str(row.meta["book"]), int(row.meta["start"]), int(row.meta["length"])


def _details(
    seen: Sequence[Row], fresh: Sequence[Row], condition: str, score: str
) -> dict[str, Any]:
    """Accuracy by distance and place, and the liking for a label."""
    out: dict[str, Any] = {"score": score}
    for arm, rows in (("seen", seen), ("fresh", fresh)):
        kept = [r for r in rows if r.values.get(f"{condition}/{score}") is not None]
        if not kept:
            continue
        out[arm] = {
            "by_distance": {str(k): v for k, v in _by(kept, condition, score, "bin").items()},
            "by_place": {str(k): v for k, v in _by(kept, condition, score, "third").items()},
            "said_a": _mean(kept, f"{condition}/said_a"),
            "unread": _mean(kept, f"{condition}/unread"),
            "slant": _mean(kept, f"{condition}/slant"),
        }
    return out


def _mean(rows: Sequence[Row], key: str) -> float | None:
    values = [float(v) for r in rows if (v := r.values.get(key)) is not None]
    return round(float(np.mean(values)), 4) if values else None


def _by(rows: Sequence[Row], condition: str, score: str, key: str) -> dict[Any, dict[str, Any]]:
    out = {}
    for value in sorted({r.meta[key] for r in rows}):
        some = [r for r in rows if r.meta[key] == value]
        e = _share(some, f"{condition}/{score}")
        out[value] = {"n": len(some), "value": e.value, "low": e.low, "high": e.high}
    return out


def _share(rows: Sequence[Row], key: str) -> Estimate:
    """Mean with an interval over stretches of text: Wilson's where all values are 0 or 1."""
    from byheart.core.stats import bootstrap, wilson

    values = np.asarray([float(r.values[key] or 0.0) for r in rows])
    blocks = _blocks(rows)
    if blocks is None and np.isin(values, (0.0, 1.0)).all():
        return wilson(float(values.sum()), len(values))
    return bootstrap(values, blocks=blocks, bounded=(0.0, 1.0))


def table(
    rows: Sequence[Row], by: Sequence[str] = ("arm", "condition", "bin")
) -> list[dict[str, Any]]:
    """What came out, in one record a cell: n, every score with its interval, the share of A.

    Args:
        rows: Of the audit.
        by: Any of ``arm``, ``condition``, ``bin``, ``book``, ``third`` (of the book).

    Returns:
        Records with the names in `by`, ``n``, ``debiased``, ``lenient``, ``strict`` (each an
        `Estimate`), ``said_a`` and ``unread``.
    """
    from byheart.core.errors import UsageError

    unknown = [k for k in by if k not in ("arm", "condition", "bin", "book", "third")]
    if unknown:
        raise UsageError(f"a table is by arm, condition, bin, book or third, got {unknown[0]!r}")
    cells: dict[tuple[Any, ...], list[tuple[str, Row]]] = {}
    for row in rows:
        for condition in ("memory", "context"):
            if row.values.get(f"{condition}/debiased") is None:
                continue
            about = {"arm": row.arm, "condition": condition, **row.meta}
            cells.setdefault(tuple(about[k] for k in by), []).append((condition, row))
    out = []
    for key, cell in sorted(cells.items(), key=lambda c: tuple(map(str, c[0]))):
        # several conditions in a cell: each row counts once a condition
        flat = [_only(row, condition) for condition, row in cell]
        record: dict[str, Any] = {**dict(zip(by, key, strict=True)), "n": len(flat)}
        for score in SCORES:
            record[score] = _share(flat, score)
        record["said_a"], record["unread"] = _mean(flat, "said_a"), _mean(flat, "unread")
        out.append(record)
    return out


def _only(row: Row, condition: str) -> Row:
    start = condition + "/"
    values = {k.removeprefix(start): v for k, v in row.values.items() if k.startswith(start)}
    return Row(row.id, row.arm, values, row.pair, row.evidence, row.meta)


def _evidence(seen: Sequence[Row], fresh: Sequence[Row], key: str) -> tuple[Any, ...]:
    """What was told best of the seen arm, and what worst of the other."""
    best = sorted(seen, key=lambda r: -(r.values[key] or 0.0))[:3]
    worst = sorted(fresh, key=lambda r: r.values[key] or 0.0)[:2]
    return tuple(r.evidence for r in (*best, *worst) if r.evidence is not None)
