"""What inspect_ai finds by the entry point: the provider `byheart/`, every audit as a task, and the two
parts of random-calculation."""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any

from inspect_ai import Task, task

from byheart.audits import AUDITS, audit_class, make
from byheart.audits._calc.task import calculation_task, partial_prompt_task
from byheart.core.evaluation import as_task
from byheart.core.provider import byheart_provider

# the tasks of the audits are added below
__all__ = ["byheart_provider", "calculation_task", "partial_prompt_task"]


def _task(name: str, alias: str = "") -> Any:
    """A task function whose parameters are the audit's knobs, typed as they are there.

    Args:
        name: Of the audit.
        alias: Another name of the task.
    """
    cls = audit_class(name)

    def build(seed: int = 0, limit: int | None = None, **knobs: Any) -> Task:
        return as_task(make(name, **knobs), seed=seed, limit=limit)

    keyword = inspect.Parameter.KEYWORD_ONLY
    hints = inspect.get_annotations(cls, eval_str=False)
    parameters = [
        inspect.Parameter("seed", keyword, default=0, annotation=int),
        inspect.Parameter("limit", keyword, default=None, annotation=int | None),
    ]
    for field in dataclasses.fields(cls):  # type: ignore[arg-type]
        if field.init:
            default = (
                field.default
                if field.default is not dataclasses.MISSING
                else field.default_factory()  # type: ignore[misc, operator]
            )
            parameters.append(
                inspect.Parameter(
                    field.name, keyword, default=default, annotation=hints.get(field.name, Any)
                )
            )
    build.__name__ = build.__qualname__ = name.replace("-", "_")
    build.__doc__ = (cls.__doc__ or "").split(">>>")[0].rstrip()  # its example runs where it stands
    build.__signature__ = inspect.Signature(parameters, return_annotation=Task)  # type: ignore[attr-defined]
    return task(name=alias or name)(build)


for _name in AUDITS:
    if "-" in _name:  # written with underscores it is found as well
        _task(_name, _name.replace("-", "_"))
    globals()[_name.replace("-", "_")] = _task(_name)
    __all__.append(_name.replace("-", "_"))
