"""What there is: audits, memories, controls and papers, with their status."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from typing import Any

from byheart.audits import AUDITS, audit_class
from byheart.papers import PAPERS

__all__ = ["Entry", "catalogue"]

CONTROLS = {
    "plant": (
        "byheart.weights.planting:plant",
        "an adapter that recites given texts, as ground truth for audits",
        ("torch", "peft"),
    ),
}
"""What changes a model. Name to (where it is, what it does, packages it needs)."""

MEMORIES: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "files": (
        "byheart.stores.files:FileStore",
        "a folder of Markdown files in the Open Knowledge Format, to exchange and to edit",
        (),
    ),
    "linked": (
        "byheart.notes.linked:LinkedNotes",
        "notes that are annotated, linked, and described anew as others arrive (A-MEM)",
        ("yake",),
    ),
    "postgres": (
        "byheart.stores.postgres:PostgresStore",
        "the same memory in PostgreSQL with pgvector, for more than one machine",
        ("psycopg",),
    ),
    "sqlite": (
        "byheart.stores.sqlite:SqliteStore",
        "one file, no server: the log is the truth (byheart.Memory, byheart memory)",
        (),
    ),
    "thoughts": (
        "byheart.notes.thoughts:ThoughtMemory",
        "conclusions instead of dialogue, put in order after every turn (Think-in-Memory)",
        (),
    ),
}
"""What remembers, and where it lies, likewise."""


@dataclass(frozen=True)
class Entry:
    """One thing that can be used.

    Attributes:
        kind: ``audit``, ``memory``, ``control`` or ``paper``.
        name: As typed.
        about: One sentence.
        status: ``ready``, or what is missing and what to type.
        needs: Capabilities a model must have (audits), else empty.
    """

    kind: str
    name: str
    about: str
    status: str
    needs: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return {**self.__dict__, "needs": list(self.needs)}


def _status(packages: tuple[str, ...], extra: str) -> str:
    missing = [p for p in packages if importlib.util.find_spec(p) is None]
    return "ready" if not missing else f"needs {', '.join(missing)}: pip install 'byheart[{extra}]'"


def catalogue() -> list[Entry]:
    """Everything byheart offers on this machine, sorted by kind and name.

    >>> {"economic-recall", "membership"} <= {e.name for e in catalogue() if e.kind == "audit"}
    True
    """
    entries = []
    audit_status = _status(("inspect_ai", "scipy", "sklearn"), "audit")
    for name in sorted(AUDITS):
        cls = audit_class(name)
        entries.append(Entry("audit", name, cls.claim, audit_status, tuple(sorted(cls.needs))))
    for kind, table in (("memory", MEMORIES), ("control", CONTROLS)):
        for name, (_, about, packages) in sorted(table.items()):
            extra = "torch" if kind != "memory" else "postgres" if name == "postgres" else "memory"
            entries.append(Entry(kind, name, about, _status(packages, extra)))
    for name, paper in sorted(PAPERS.items()):
        entries.append(Entry("paper", name, paper.claim, _status(("torch", "matplotlib"), "all")))
    return entries
