"""`Cube`: a named, versioned bundle of items with its governance (MemOS's MemCube)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from byheart.core.item import Scope

__all__ = ["Cube", "CubeVersion"]


@dataclass(frozen=True)
class CubeVersion:
    """One version of a cube.

    Args:
        number: Counts up from 1 over all branches.
        branch: The branch it was made on.
        parent: The version before; None for the first.
        merged: The version that was merged into it, if any.
        at: When.
        actor: By whom.
        message: What for.
    """

    number: int
    branch: str
    parent: int | None
    merged: int | None
    at: datetime
    actor: str
    message: str = ""


@dataclass(frozen=True)
class Cube:
    """A cube as it stands.

    Args:
        id: A name that sorts by time and stays when the cube moves.
        name: Unique in its scope.
        scope: Whose.
        owner: Who may do everything with it.
        state: Its place in the lifecycle.
        access: ``{"read": [...], "write": [...], "share": [...]}``: callers beside the owner; ``"*"``
            is anybody. Nobody, if left out.
        expires_at: Time to live.
        provenance: Where it comes from: cubes it was composed of, the store it moved from.
        branches: Branch to its newest version.
        items: Ids of the items on "main".
    """

    id: str
    name: str
    scope: Scope
    owner: str
    state: str
    access: Mapping[str, Any]
    expires_at: datetime | None
    provenance: Mapping[str, Any] = field(default_factory=dict)
    branches: Mapping[str, int] = field(default_factory=dict)
    items: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "id": self.id,
            "name": self.name,
            "scope": str(self.scope),
            "owner": self.owner,
            "state": self.state,
            "access": dict(self.access),
            "expires_at": None if self.expires_at is None else self.expires_at.isoformat(),
            "provenance": dict(self.provenance),
            "branches": dict(self.branches),
            "items": list(self.items),
        }
