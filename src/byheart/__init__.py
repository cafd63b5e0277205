"""byheart tells what a model, or a memory beside it, knows by heart; changes it; proves the change.

>>> import byheart
>>> byheart.Estimate(0.25, 0.1, 0.4)
Estimate(value=0.25, low=0.1, high=0.4, level=0.95)

The first line of an audit in Python::

    report = byheart.audit("smollm2", audits=["verbatim", "membership"], limit=16)
    report.save("byheart-report")
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_EXPORTS = {
    "Audit": "byheart.core.audit",
    "Budget": "byheart.core.budget",
    "ByheartError": "byheart.core.errors",
    "CapabilityError": "byheart.core.errors",
    "DataError": "byheart.core.errors",
    "EndpointError": "byheart.core.errors",
    "Estimate": "byheart.core.finding",
    "Evidence": "byheart.core.finding",
    "Finding": "byheart.core.finding",
    "Item": "byheart.core.item",
    "Memory": "byheart.memory",
    "MissingExtra": "byheart.core.errors",
    "Model": "byheart.core.model",
    "ModelError": "byheart.core.errors",
    "OutputError": "byheart.core.errors",
    "Receipt": "byheart.core.memory",
    "Report": "byheart.core.report",
    "ReportError": "byheart.core.errors",
    "Scope": "byheart.core.item",
    "Selector": "byheart.core.memory",
    "StoreError": "byheart.core.errors",
    "UnknownName": "byheart.core.errors",
    "UsageError": "byheart.core.errors",
    "audit": "byheart.auditing",
    "load": "byheart.core.model",
    "reproduce": "byheart.papers",
}

__all__ = [
    "Audit",
    "Budget",
    "ByheartError",
    "CapabilityError",
    "DataError",
    "EndpointError",
    "Estimate",
    "Evidence",
    "Finding",
    "Item",
    "Memory",
    "MissingExtra",
    "Model",
    "ModelError",
    "OutputError",
    "Receipt",
    "Report",
    "ReportError",
    "Scope",
    "Selector",
    "StoreError",
    "UnknownName",
    "UsageError",
    "audit",
    "load",
    "reproduce",
]

if TYPE_CHECKING:
    from byheart.auditing import audit
    from byheart.core.audit import Audit
    from byheart.core.budget import Budget
    from byheart.core.errors import (
        ByheartError,
        CapabilityError,
        DataError,
        EndpointError,
        MissingExtra,
        ModelError,
        OutputError,
        ReportError,
        StoreError,
        UnknownName,
        UsageError,
    )
    from byheart.core.finding import Estimate, Evidence, Finding
    from byheart.core.item import Item, Scope
    from byheart.core.memory import Receipt, Selector
    from byheart.core.model import Model, load
    from byheart.core.report import Report
    from byheart.memory import Memory
    from byheart.papers import reproduce


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module 'byheart' has no attribute {name!r}")
    value = getattr(importlib.import_module(_EXPORTS[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_EXPORTS])
