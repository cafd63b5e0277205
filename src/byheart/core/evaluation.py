"""Any audit as an inspect_ai task: dataset from its probes, solver from its conversation.

`as_task` is what ``inspect eval byheart/NAME`` runs; `evaluate` is what `byheart.audit` runs.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import anyio
import inspect_ai
from inspect_ai import Task
from inspect_ai.dataset import MemoryDataset
from inspect_ai.dataset import Sample as Item
from inspect_ai.model import Model as InspectAIModel
from inspect_ai.model import ModelOutput, get_model
from inspect_ai.scorer import Metric, SampleScore, Score, Scorer, Target, Value, metric, scorer
from inspect_ai.solver import Generate, Solver, TaskState, solver

from byheart.core.ask import Ask, Facts, Reply
from byheart.core.audit import Audit, Probe, Row
from byheart.core.endpoint import _single, facts_of, reply_to
from byheart.core.errors import ByheartError, EndpointError, ModelError, OutputError
from byheart.core.model import Model
from byheart.core.provider import as_inspect_model
from byheart.core.report import Failure

__all__ = ["as_task", "evaluate"]

_ROW = "byheart_row"
_PATIENCE = 3
"""So many failures before the first success, or refusals of an endpoint in a row, and the model is
taken to be dead."""


def as_task(
    audit: Audit,
    *,
    seed: int = 0,
    limit: int | None = None,
    probes: Sequence[Probe] | None = None,
    conversation: Solver | None = None,
) -> Task:
    """The audit as a task for inspect_ai.

    Args:
        audit: The audit.
        seed: For drawing probes, and for the findings' resampling.
        limit: Most pairs, or items an arm.
        probes: Which probes; None draws them.
        conversation: Holds the conversations; None is the audit's own, one a probe.
    """
    drawn = audit.probes(seed=seed, limit=limit) if probes is None else list(probes)
    items = [
        Item(
            id=p.id,
            input=p.prompt or " ",
            target=p.target,
            metadata={"arm": p.arm, "pair": p.pair, "probe": dataclasses.asdict(p)},
        )
        for p in drawn
    ]
    return Task(
        dataset=MemoryDataset(items, name=audit.name),
        solver=conversation or _solver(audit),
        scorer=_scorer(audit, seed),
        name=audit.name,
        metadata={"claim": audit.claim, "control": audit.control, "config": audit.config()},
    )


def _solver(
    audit: Audit,
    kept: Mapping[str, Row] | None = None,
    on_row: Callable[[Row], None] | None = None,
    on_error: Callable[[str, ByheartError], None] | None = None,
) -> Solver:
    @solver(name="byheart/conversation")
    def conversation() -> Solver:
        async def solve(state: TaskState, generate: Generate) -> TaskState:
            probe = Probe(**state.metadata["probe"])
            row = (kept or {}).get(probe.id)
            if row is None:
                model = get_model()
                try:
                    row = await _hold(audit, probe, model)
                except ByheartError as error:
                    if on_error is None:
                        raise
                    on_error(probe.id, error)
                    return state
                if on_row:
                    on_row(row)
            state.store.set(_ROW, row.to_dict())
            produced = row.evidence.produced if row.evidence else ""
            state.output = ModelOutput.from_content(str(state.model), produced)
            return state

        return solve

    return conversation()


async def _hold(audit: Audit, probe: Probe, model: InspectAIModel) -> Row:
    """One conversation, its asks of a turn answered concurrently."""
    facts: Facts = facts_of(model)
    talk = audit.ask(probe, facts)
    try:
        asks: list[Ask] = next(talk)
        while True:
            replies: list[Reply | None] = [None] * len(asks)

            async def one(i: int, ask: Ask, into: list[Reply | None]) -> None:
                into[i] = await reply_to(ask, get_model(role=ask.role) if ask.role else model)

            try:
                async with anyio.create_task_group() as group:
                    for i, ask in enumerate(asks):
                        group.start_soon(one, i, ask, replies)
            except BaseExceptionGroup as errors:
                raise _single(errors) from errors
            asks = talk.send(replies)  # type: ignore[arg-type]
    except StopIteration as stop:
        row: Row = stop.value
        return row


def _scorer(audit: Audit, seed: int) -> Scorer:
    @metric(name="byheart/findings")
    def findings() -> Metric:
        def compute(scores: list[SampleScore]) -> Value:
            rows = [
                Row.from_dict(s.score.metadata["row"])
                for s in scores
                if s.score.metadata and "row" in s.score.metadata
            ]
            out: dict[str, float] = {}
            for finding in audit.findings(rows, seed=seed):
                short = finding.name.split("/", 1)[1]
                out[f"{short} seen"] = finding.seen.value
                out[f"{short} fresh"] = finding.fresh.value
                out[f"{short} gap"] = finding.gap.value
                if finding.p_value is not None:
                    out[f"{short} p"] = finding.p_value
            return out or {"n": float(len(rows))}  # type: ignore[return-value]

        return compute

    @scorer(metrics=[findings()], name=f"byheart/{audit.name}")
    def measured() -> Scorer:
        async def score(state: TaskState, target: Target) -> Score:
            record = state.store.get(_ROW)
            if record is None:
                return Score.unscored(explanation="the model failed on this probe")
            evidence = record.get("evidence") or {}
            values = {k: math.nan if v is None else v for k, v in record["values"].items()}
            return Score(
                value=values or {"n": 1.0},
                answer=evidence.get("produced", ""),
                explanation=evidence.get("note", ""),
                metadata={"row": record, "arm": record["arm"]},
            )

        return score

    return measured()


class _Stop(Exception):
    """Carries the reason out of a running evaluation."""


def evaluate(
    audit: Audit,
    probes: Sequence[Probe],
    model: Model,
    *,
    kept: Mapping[str, Row] | None = None,
    roles: Mapping[str, Model] | None = None,
    on_row: Callable[[Row], None] | None = None,
    failures: list[Failure],
    log_dir: Path,
    seed: int = 0,
) -> None:
    """Run an audit through inspect_ai, with a log that its viewer opens.

    Args:
        audit: The audit.
        probes: Its probes.
        model: The model under audit.
        kept: Rows finished earlier, by probe id; they enter the log without asking the model.
        roles: Helper models by role.
        on_row: Called with each newly finished row.
        failures: Probes that failed are added here, with the reason; the others are unharmed.
        log_dir: Where the log is written.
        seed: Of the findings in the log.

    Raises:
        ModelError: If the model failed on everything it was asked, or its endpoint died.
        OutputError: If the log cannot be written.
        KeyboardInterrupt: On Ctrl-C; rows finished before have been handed to `on_row`.
    """
    fatal: list[BaseException] = []
    succeeded = in_a_row = 0

    def took(row: Row) -> None:
        nonlocal succeeded, in_a_row
        succeeded, in_a_row = succeeded + 1, 0
        if on_row:
            try:
                on_row(row)
            except ByheartError as error:  # a full disk ends the run; the row itself is kept
                fatal.append(error)
                raise _Stop from error

    def failed(probe_id: str, error: ByheartError) -> None:
        nonlocal in_a_row
        in_a_row += 1
        failures.append(Failure(audit.name, probe_id, str(error)))
        dead = not succeeded and len(failures) >= min(_PATIENCE, len(probes))
        if dead or (isinstance(error, EndpointError) and in_a_row >= _PATIENCE):
            fatal.append(error)
            raise _Stop from error

    task = as_task(
        audit, seed=seed, probes=probes, conversation=_solver(audit, kept or {}, took, failed)
    )
    try:
        logs = inspect_ai.eval(
            task,
            model=as_inspect_model(model),
            model_roles={r: as_inspect_model(m) for r, m in (roles or {}).items()} or None,
            display="none",
            log_dir=str(log_dir),
            log_level="error",
            max_samples=max(64, len(probes)) if "weights" in model.capabilities else 32,
            fail_on_error=True,
            acp_server=False,
            ctl_server=False,
            score_display=False,
        )
    except ByheartError:
        raise
    except OSError as error:
        raise _unwritten(log_dir, str(error)) from error
    if fatal:
        raise fatal[0]
    if not logs or logs[0].status == "cancelled":
        raise KeyboardInterrupt
    log = logs[0]
    if log.status == "error":
        message = log.error.message if log.error else "unknown error"
        if message.startswith(("OSError", "PermissionError")):
            raise _unwritten(log_dir, message)
        raise ModelError(f"{audit.name} on {model.name} stopped: {message}")


def _unwritten(log_dir: Path, what: str) -> OutputError:
    return OutputError(
        f"cannot write the log into {log_dir}: {what}; free some room, or write no logs with "
        "--no-logs: finished rows are kept"
    )
