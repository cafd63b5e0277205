"""The self-test's findings under four conditions, and whether they came out as they should."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from byheart.core._plain import normal, plain
from byheart.core.finding import Finding

__all__ = ["ARMS", "SelfTest", "SelfTestRow"]

ARMS = ("base_planted", "base_held", "planted", "held")
"""The four conditions, as they are called in `SelfTest` and in the JSON."""


@dataclass(frozen=True, slots=True)
class SelfTestRow:
    """One finding of the self-test under its four conditions.

    Attributes:
        name: ``audit/metric``.
        base_planted: Base model on the items that will be planted; should show nothing.
        base_held: Base model on the held-back items; should show nothing.
        planted: Tuned model on the planted items; should be found.
        held: Tuned model on the held-back items; should show nothing.
        ok: Whether all four came out as they should; None where the finding is not judged.
        reason: Why, in words.
    """

    name: str
    base_planted: Finding | None
    base_held: Finding | None
    planted: Finding | None
    held: Finding | None
    ok: bool | None
    reason: str


@dataclass(frozen=True)
class SelfTest:
    """Does the instrument find what was planted, and nothing else?

    Each tuple holds the same findings under another condition: freshly drawn items before
    (``base_``) and after an adapter was trained on half of them.

    Args:
        base_planted: Base model, items to be planted.
        base_held: Base model, items held back.
        planted: Tuned model, planted items.
        held: Tuned model, held-back items.
        meta: Settings and durations (JSON values).
    """

    base_planted: tuple[Finding, ...]
    base_held: tuple[Finding, ...]
    planted: tuple[Finding, ...]
    held: tuple[Finding, ...]
    meta: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for arm in ARMS:
            object.__setattr__(self, arm, normal(getattr(self, arm), f"self_test.{arm}"))
        object.__setattr__(self, "meta", plain(self.meta, "self_test.meta"))

    def rows(self, level: float = 0.05) -> tuple[SelfTestRow, ...]:
        """One row a finding, in the order of the audits.

        A planted finding is found at `level`. The three conditions that should show nothing share
        the level (`level` / 3 each), so that a sound instrument fails the test by chance in at most
        `level` of the runs.
        """
        arms = {arm: {f.name: f for f in getattr(self, arm)} for arm in ARMS}
        names = dict.fromkeys(
            f.name for arm in ("planted", "held", *ARMS) for f in getattr(self, arm)
        )
        return tuple(_self_test_row(name, arms, level) for name in names)

    @property
    def audits(self) -> dict[str, tuple[bool, str]]:
        """Per audit: whether it passed, and why.

        An audit passes if at least one of its findings finds what was planted and none of them
        finds anything where nothing was planted. Audits that judge nothing are left out.
        """
        out: dict[str, tuple[bool, str]] = {}
        grouped: dict[str, list[SelfTestRow]] = {}
        for row in self.rows():
            if row.ok is not None:
                grouped.setdefault(row.name.split("/", 1)[0], []).append(row)
        for audit, rows in grouped.items():
            alarms = [r for r in rows if any(_found(f, 0.05 / 3) for f in _quiet(r))]
            hits = [r for r in rows if _found(r.planted, 0.05)]
            if alarms:
                out[audit] = (False, "; ".join(f"{r.name}: {r.reason}" for r in alarms))
            elif not hits:
                why = dict.fromkeys(r.planted.no_verdict for r in rows if r.planted is not None)
                told = "; ".join(w for w in why if w)
                number = (
                    "its one finding did not find"
                    if len(rows) == 1
                    else f"none of its {len(rows)} findings found"
                )
                out[audit] = (False, f"{number} what was planted" + (f" ({told})" if told else ""))
            else:
                missed = len(rows) - len(hits)
                also = f"; {missed} of {len(rows)} findings missed it" if missed else ""
                out[audit] = (True, f"found what was planted, and nothing else{also}")
        return out

    @property
    def passed(self) -> bool:
        """Whether every judged audit passed, and there was one."""
        verdicts = self.audits
        return bool(verdicts) and all(ok for ok, _ in verdicts.values())

    @property
    def reason(self) -> str:
        """Why `passed` is what it is, in words."""
        verdicts = self.audits
        if not verdicts:
            return "no finding of the self-test could be judged"
        bad = [f"{audit}: {why}" for audit, (ok, why) in verdicts.items() if not ok]
        if bad:
            return "; ".join(bad)
        return f"all {len(verdicts)} audits found what was planted, and nothing else"

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return {
            **{arm: [f.to_dict() for f in getattr(self, arm)] for arm in ARMS},
            "meta": self.meta,
        }


def _found(finding: Finding | None, level: float) -> bool:
    return finding is not None and finding.verdict(level) == "memorised"


def _quiet(row: SelfTestRow) -> tuple[Finding | None, ...]:
    return row.base_planted, row.base_held, row.held


def _self_test_row(
    name: str, arms: Mapping[str, Mapping[str, Finding]], level: float
) -> SelfTestRow:
    base_planted, base_held, planted, held = (arms[arm].get(name) for arm in ARMS)
    some = planted or held or base_planted or base_held
    assert some is not None
    if some.exploratory:
        return SelfTestRow(name, base_planted, base_held, planted, held, None, "shown, not judged")
    wrong = []
    if planted is None:
        wrong.append("no finding on the planted items")
    elif not _found(planted, level):
        wrong.append(
            f"planted items were not found ({planted.no_verdict})"
            if planted.no_verdict
            else "planted items were not found"
        )
    if _found(held, level / 3):
        wrong.append("held-back items were called memorised")
    if _found(base_planted, level / 3) or _found(base_held, level / 3):
        wrong.append("the base model, which never saw the items, was called memorised")
    reason = "; ".join(wrong) or "planted items were found, held-back items and base model were not"
    return SelfTestRow(name, base_planted, base_held, planted, held, not wrong, reason)
