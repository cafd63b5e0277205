"""Measuring what a model knows by heart: one file an audit, found by name without importing it."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

from byheart.core.audit import Audit
from byheart.core.errors import UnknownName, UsageError

__all__ = ["AUDITS", "DEFAULT", "audit_class", "make", "named"]

AUDITS: dict[str, str] = {
    "book-sort": "byheart.audits.book_sort:BookSort",
    "economic-recall": "byheart.audits.economic_recall:EconomicRecall",
    "knights-and-knaves": "byheart.audits.knights_and_knaves:KnightsAndKnaves",
    "membership": "byheart.audits.membership:Membership",
    "output-distribution": "byheart.audits.output_distribution:OutputDistribution",
    "pathways": "byheart.audits.pathways:Pathways",
    "random-calculation": "byheart.audits.random_calculation:RandomCalculationAudit",
    "verbatim": "byheart.audits.verbatim:Verbatim",
    "wilt": "byheart.audits.wilt:Wilt",
}
"""Name on the command line to the class that implements it."""

DEFAULT = ("economic-recall", "membership", "output-distribution", "verbatim")
"""What runs where no audit is named: what a small model answers in minutes on a CPU. The others
play long games or ask for reasoning; they are asked for by name, or all of them by ``all``."""


def named(names: Sequence[str] | None) -> list[str]:
    """The names of the audits to run: `DEFAULT` where there are none, ``all`` stands for every one.

    >>> named(["verbatim"]), len(named(["all"])) == len(AUDITS)
    (['verbatim'], True)
    """
    if not names:
        return list(DEFAULT)
    return sorted(AUDITS) if list(names) == ["all"] else list(names)


def audit_class(name: str) -> type[Audit]:
    """The class behind a name.

    Raises:
        UnknownName: If there is no such audit; the nearest names are suggested.
    """
    if name not in AUDITS:
        raise UnknownName("audit", name, AUDITS)
    module, _, attribute = AUDITS[name].partition(":")
    return getattr(importlib.import_module(module), attribute)


def make(name: str, **knobs: Any) -> Audit:
    """An audit by name, with its knobs.

    Raises:
        UnknownName: If there is no such audit.
        UsageError: If it has no such knob, or a value of the wrong kind.
    """
    import dataclasses

    cls = audit_class(name)
    for field in dataclasses.fields(cls):  # type: ignore[arg-type]
        _same_kind(name, field.name, field.default, knobs.get(field.name))
    try:
        return cls(**knobs)
    except TypeError as error:
        known = [f.name for f in dataclasses.fields(cls) if f.init]  # type: ignore[arg-type]
        unknown = sorted(set(knobs) - set(known))
        if not unknown:
            raise
        raise UsageError(
            f"{name} has no knob {', '.join(unknown)}; it has {', '.join(known)}"
        ) from error


def _same_kind(audit: str, knob: str, default: Any, value: Any) -> None:
    """Refuse a text or a list for a number, which would fail in the middle of a comparison."""
    if value is None or not isinstance(default, int | float):
        return
    if isinstance(default, bool):
        kind, fits = "true or false", isinstance(value, bool)
    elif isinstance(default, int):
        kind, fits = "a whole number", isinstance(value, int) and not isinstance(value, bool)
    else:
        kind, fits = "a number", isinstance(value, int | float) and not isinstance(value, bool)
    if not fits:
        raise UsageError(f"{audit}.{knob} is {kind} (default {default}), got {value!r}")
