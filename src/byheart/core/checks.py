"""Contract suites: what every audit must pass, whoever wrote it.

`check_audit` is public so that an audit outside byheart can be held to the same contract::

    from byheart.core.checks import check_audit
    check_audit(MyAudit())

and `check_memory` for a store::

    from byheart.core.checks import check_memory
    check_memory(lambda: functools.partial(MyStore, empty_place()))
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from byheart.core.audit import Audit, Row
from byheart.core.drive import drive
from byheart.core.finding import Finding
from byheart.core.report import Report
from byheart.core.toy import SuffixModel

__all__ = ["AuditCheck", "check_audit", "check_memory"]


@dataclass(frozen=True)
class AuditCheck:
    """What `check_audit` measured; it raised if any of it was out of bounds.

    Attributes:
        level: The nominal level.
        seeds: How many seeds were drawn for the level.
        null_rate: Share of seeds in which a model that had seen nothing was called "memorised".
        held_rate: The same for held-back items on a model that was planted with their twins.
        power: Share of seeds in which planted items were called "memorised".
        power_seeds: How many seeds were drawn for power and `held_rate`.
    """

    level: float
    seeds: int
    null_rate: float
    held_rate: float
    power: float
    power_seeds: int


def check_audit(
    audit: Audit,
    *,
    seeds: int = 200,
    power_seeds: int = 40,
    n: int = 24,
    level: float = 0.05,
    power: float = 0.9,
    default_material: bool = True,
) -> AuditCheck:
    """Hold an audit to the contract of all audits.

    1. A model that has seen nothing (`SuffixModel` over unrelated text, a new one a seed) is called
       "memorised" in at most `level` of the seeds, up to chance: the count must not exceed the 99.9
       percentile of Binomial(seeds, level). So are held-back items on a planted model.
    2. Planted items are called "memorised" in at least `power` of the seeds.
    3. The same seed gives the same probes, rows and report.
    4. Probes, rows and report survive a JSON round trip.
    5. No rows, one row, or one arm only give "no verdict", not an exception.

    Args:
        audit: The audit, with the knobs to be checked.
        seeds: For the level.
        power_seeds: For power and held-back items.
        n: Planted items a seed.
        level: Nominal level of a report's verdicts.
        power: Least share of planted models that must be found.
        default_material: Also check determinism and level on `audit`'s own probes (a few seeds),
            not only on drawn ones.

    Returns:
        The rates that were measured.

    Raises:
        AssertionError: With the rule that was broken and the numbers.
    """
    null_hits = 0
    for seed in range(seeds):
        planting = audit.planted(seed=seed, n=n)
        strangers = audit.planted(seed=seed + 1_000_003, n=n).texts
        model = SuffixModel(strangers, seed=seed)
        null_hits += _memorised(_findings(planting.audit, model, seed), level)
    _assert_level(audit, "a model that has seen nothing", null_hits, seeds, level)

    found = held_hits = 0
    for seed in range(power_seeds):
        planting = audit.planted(seed=seed, n=n)
        model = SuffixModel(planting.texts, seed=seed)
        found += _memorised(_findings(planting.audit, model, seed), level)
        held_hits += _memorised(_findings(planting.held, model, seed), level)
    _assert_level(audit, "held-back items", held_hits, power_seeds, level)
    if found < power * power_seeds:
        raise AssertionError(
            f"{audit.name}: planted items were found in {found} of {power_seeds} seeds, "
            f"at least {power:.0%} are asked for"
        )

    planting = audit.planted(seed=0, n=n)
    _check_repeats(planting.audit, SuffixModel(planting.texts, seed=0))
    _check_poor_rows(planting.audit, SuffixModel(planting.texts, seed=0))
    if default_material:
        _check_repeats(audit, SuffixModel(planting.texts, seed=0))
        hits = sum(
            _memorised(_findings(audit, SuffixModel(planting.texts, seed=s), s), level)
            for s in range(10)
        )
        _assert_level(audit, "its own material on a model that has seen nothing", hits, 10, level)
    return AuditCheck(
        level, seeds, null_hits / seeds, held_hits / power_seeds, found / power_seeds, power_seeds
    )


def check_memory(make_store: Callable[[], Callable[[str], Any]], only: str = "") -> list[str]:
    """Hold a store to the contract of all memories.

    Args:
        make_store: Makes an empty place and returns a function that opens it for a scope (given as
            text); two calls of that function must share what is written. One place a rule.
        only: Run the rules whose name contains this.

    Returns:
        The names of the rules that were checked.

    Raises:
        AssertionError: With the rule that was broken and what was seen.
    """
    from byheart.core._check_memory import RULES

    names = [name for name in RULES if only in name]
    if not names:
        raise AssertionError(f"no rule is called {only!r}; there are {', '.join(RULES)}")
    for name in names:
        try:
            RULES[name](make_store())
        except AssertionError as error:
            raise AssertionError(f"{name}: {error}") from error
    return names


def _findings(audit: Audit, model: SuffixModel, seed: int) -> Sequence[Finding]:
    rows = drive(audit, model, seed=seed)
    return Report.of(model.name, audit.findings(rows, seed=seed)).findings


def _memorised(findings: Sequence[Finding], level: float) -> bool:
    return any(f.verdict(level) == "memorised" for f in findings)


def _assert_level(audit: Audit, what: str, hits: int, trials: int, level: float) -> None:
    if hits > _binomial_quantile(0.999, trials, level):
        raise AssertionError(
            f"{audit.name}: {what} was called memorised in {hits} of {trials} seeds; "
            f"at level {level} chance explains at most {_binomial_quantile(0.999, trials, level)}"
        )


def _binomial_quantile(q: float, n: int, p: float) -> int:
    """Smallest k with P(Binomial(n, p) <= k) >= q."""
    total = 0.0
    for k in range(n + 1):
        total += math.comb(n, k) * p**k * (1 - p) ** (n - k)
        if total >= q:
            return k
    return n


def _check_repeats(audit: Audit, model: SuffixModel) -> None:
    probes = audit.probes(seed=7)
    if probes != audit.probes(seed=7):
        raise AssertionError(f"{audit.name}: the same seed drew other probes")
    if len({p.id for p in probes}) != len(probes):
        raise AssertionError(f"{audit.name}: probe ids are not unique")
    for arm in ("seen", "fresh"):
        if not any(p.arm == arm for p in probes):
            raise AssertionError(f"{audit.name}: no probe in the {arm} arm")
    json.dumps([dataclasses.asdict(p) for p in probes], allow_nan=False)
    rows = drive(audit, model, probes)
    again = [Row.from_dict(json.loads(json.dumps(r.to_dict(), allow_nan=False))) for r in rows]
    if again != rows:
        raise AssertionError(f"{audit.name}: rows do not survive a JSON round trip")
    if drive(audit, model, probes) != rows:
        raise AssertionError(f"{audit.name}: the same seed gave other rows")
    report = Report.of(model.name, audit.findings(rows, seed=7))
    if Report.from_json(report.to_json()) != report:
        raise AssertionError(f"{audit.name}: the report does not survive a JSON round trip")
    if Report.of(model.name, audit.findings(again, seed=7)) != report:
        raise AssertionError(f"{audit.name}: the same seed gave another report")
    names = [f.name for f in report.findings]
    if len(set(names)) != len(names) or any(not x.startswith(audit.name + "/") for x in names):
        raise AssertionError(f"{audit.name}: findings must be named {audit.name}/..., got {names}")


def _check_poor_rows(audit: Audit, model: SuffixModel) -> None:
    rows = drive(audit, model, seed=0)
    seen = [r for r in rows if r.arm == "seen"]
    fresh = [r for r in rows if r.arm == "fresh"]
    for label, some in (("no rows", []), ("one row", rows[:1]), ("no fresh arm", seen),
                        ("no seen arm", fresh)):  # fmt: skip
        if _memorised(audit.findings(some, seed=0), 0.05):
            raise AssertionError(f"{audit.name}: {label} led to a verdict")
