"""Run an audit's conversations against a model, in lock-step batches, without any harness.

`byheart.core.evaluation` is the other driver: the same conversations as an inspect_ai task.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from byheart.core.ask import Ask, Reply, Sample
from byheart.core.audit import Audit, Probe, Row
from byheart.core.errors import UsageError
from byheart.core.model import Model

__all__ = ["answer", "drive"]


def answer(
    asks: Sequence[Ask], model: Model, roles: Mapping[str, Model] | None = None
) -> list[Reply]:
    """Answer a mixed list of asks in as few batches as possible, in order.

    Args:
        asks: Samples and scores, for any role.
        model: Answers asks of role ``""``.
        roles: Further models by role name.

    Raises:
        UsageError: If an ask names a role that is not given.
    """
    out: list[Reply | None] = [None] * len(asks)
    groups: dict[tuple[str, bool], list[int]] = {}
    for i, ask in enumerate(asks):
        groups.setdefault((ask.role, isinstance(ask, Sample)), []).append(i)
    for (role, sampling), where in groups.items():
        target = model if not role else (roles or {}).get(role)
        if target is None:
            raise UsageError(f"this audit asks a model in the role {role!r}, and none was given")
        batch = [asks[i] for i in where]
        replies: Sequence[Reply] = (
            target.sample(batch) if sampling else target.score(batch)  # type: ignore[arg-type]
        )
        for i, reply in zip(where, replies, strict=True):
            out[i] = reply
    return out  # type: ignore[return-value]


def drive(
    audit: Audit,
    model: Model,
    probes: Sequence[Probe] | None = None,
    *,
    roles: Mapping[str, Model] | None = None,
    seed: int = 0,
    limit: int | None = None,
    on_row: Callable[[Row], None] | None = None,
) -> list[Row]:
    """Hold every probe's conversation and return the rows, in the order of the probes.

    Args:
        audit: The audit.
        model: The model under audit.
        probes: Which probes; None draws `audit.probes(seed=seed, limit=limit)`.
        roles: Helper models by role ("reference").
        seed: For drawing the probes.
        limit: For drawing the probes.
        on_row: Called with each finished row.

    Raises:
        CapabilityError: If the model lacks what the audit needs.
    """
    model.require(*audit.needs, purpose=audit.name)
    if probes is None:
        probes = audit.probes(seed=seed, limit=limit)
    facts = model.facts()
    talks = [audit.ask(probe, facts) for probe in probes]
    rows: list[Row | None] = [None] * len(talks)
    pending: dict[int, list[Ask]] = {}

    def advance(i: int, replies: list[Reply] | None) -> None:
        try:
            pending[i] = talks[i].send(replies)  # type: ignore[arg-type]
        except StopIteration as stop:
            rows[i] = stop.value
            if on_row:
                on_row(stop.value)

    for i in range(len(talks)):
        advance(i, None)
    while pending:
        turn, asks = dict(pending), [a for batch in pending.values() for a in batch]
        pending.clear()
        replies = answer(asks, model, roles)
        at = 0
        for i, batch in turn.items():
            advance(i, replies[at : at + len(batch)])
            at += len(batch)
    return [row for row in rows if row is not None]
