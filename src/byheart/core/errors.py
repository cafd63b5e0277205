"""Every error byheart raises, in one tree.

::

    ByheartError
    ├── UsageError (ValueError)          an argument cannot mean what it says
    │   └── UnknownName (LookupError)    no such model, audit, paper; the nearest names are given
    ├── DataError (ValueError)           a file or record cannot be used; says which and where
    ├── CapabilityError (TypeError)      the model cannot do what the audit needs
    ├── ModelError (RuntimeError)        the model answered nonsense (NaN logits) or not at all
    │   └── EndpointError (ConnectionError)   the endpoint is unreachable, refuses or hangs
    ├── ReportError (ValueError)         a report file is of another schema, or broken
    ├── OutputError (OSError)            results cannot be written; what was measured is kept
    ├── BudgetExceeded (RuntimeError)    something costs more bytes, tokens or seconds than are left
    ├── StoreError (RuntimeError)        a memory cannot do what is asked of it
    │   ├── CorruptStore (OSError)       the file is damaged or no memory; says what is wrong where
    │   ├── StoreBusy (TimeoutError)     other processes held the file for too long
    │   ├── FrozenError (PermissionError)   the item or cube is frozen; unfreeze it first
    │   ├── IllegalTransition (ValueError)  the lifecycle has no such step
    │   └── MergeConflict (ValueError)   both branches changed the same item; the conflicts are listed
    ├── AccessDenied (PermissionError)   the caller may not read, write or share this cube
    └── MissingExtra (ImportError)       a part is not installed; says what to type
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable, Sequence
from types import ModuleType
from typing import Any

__all__ = [
    "AccessDenied",
    "BudgetExceeded",
    "ByheartError",
    "CapabilityError",
    "CorruptStore",
    "DataError",
    "EndpointError",
    "FrozenError",
    "IllegalTransition",
    "MergeConflict",
    "MissingExtra",
    "ModelError",
    "OutputError",
    "ReportError",
    "StoreBusy",
    "StoreError",
    "UnknownName",
    "UsageError",
    "need",
]


class ByheartError(Exception):
    """Base of all errors that byheart raises on purpose."""


class UsageError(ByheartError, ValueError):
    """An argument is out of range or contradicts another."""


class UnknownName(UsageError, LookupError):
    """No such model, audit, paper or metric.

    Args:
        kind: What was looked up, in the user's words ("audit").
        name: The name that was not found.
        known: The names that exist; the nearest are suggested.
    """

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        known = sorted(known)
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(map(repr, near))}?" if near else ""
        listing = f"known: {', '.join(known)}" if known else f"there is no such {kind}"
        super().__init__(f"unknown {kind} {name!r}: " + "; ".join(p for p in (hint, listing) if p))
        self.kind, self.name, self.known = kind, name, known


class DataError(ByheartError, ValueError):
    """A file, row or record cannot be used; the message names file and line."""


class CapabilityError(ByheartError, TypeError):
    """The model lacks a capability (``sample``, ``score``, ``weights`` or ``routing``)."""


class ModelError(ByheartError, RuntimeError):
    """The model failed or returned something that is no answer (NaN logits, no tokens)."""


class EndpointError(ModelError, ConnectionError):
    """An endpoint cannot be reached, refuses, or does not answer in time."""


class ReportError(ByheartError, ValueError):
    """A report file cannot be read: broken JSON, or a schema this version does not know."""


class OutputError(ByheartError, OSError):
    """Results cannot be written (no permission, full disk).

    Attributes:
        report: The `Report` that could not be saved, where there is one.
    """

    report: Any = None


class BudgetExceeded(ByheartError, RuntimeError):
    """More bytes, tokens or seconds are asked for than the budget has left."""


class StoreError(ByheartError, RuntimeError):
    """A memory cannot do what is asked; nothing of it was done."""


class CorruptStore(StoreError, OSError):
    """A memory's file is damaged, or is no memory; the message names what is wrong and where."""


class StoreBusy(StoreError, TimeoutError):
    """Other processes held the file longer than the timeout; nothing was written."""


class FrozenError(StoreError, PermissionError):
    """A frozen item or cube was to be changed; unfreeze it first."""


class IllegalTransition(StoreError, ValueError):
    """The lifecycle has no step between these two states."""


class MergeConflict(StoreError, ValueError):
    """Two branches changed the same item in different ways.

    Args:
        message: What was merged into what.
        conflicts: One `byheart.core.memory.Conflict` for each item.
    """

    def __init__(self, message: str, conflicts: Sequence[object] = ()) -> None:
        super().__init__(message)
        self.conflicts = tuple(conflicts)


class AccessDenied(ByheartError, PermissionError):
    """The caller may not read, write or share this cube."""


class MissingExtra(ByheartError, ImportError):
    """A package that this part needs is not installed."""


def need(module: str, extra: str) -> ModuleType:
    """Import an optional module, or say in one line what to install.

    Args:
        module: Dotted module name, such as ``"torch"``.
        extra: The byheart extra that brings it, such as ``"torch"``.

    Raises:
        MissingExtra: If the module cannot be found.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name and error.name.split(".")[0] != module.split(".")[0]:
            raise
        raise MissingExtra(
            f"{module} is not installed; type: pip install 'byheart[{extra}]'"
        ) from error
