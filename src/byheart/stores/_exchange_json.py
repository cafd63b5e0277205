"""Version of the exchange format, and reading its JSON with line and column."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from byheart.core.errors import DataError

if TYPE_CHECKING:
    pass

__all__ = ["PATHS", "VERSION", "parse_json"]

VERSION = 1
PATHS = {
    "Generated": (),
    "Activated": ("Activated",),
    "Merged": ("Activated", "Merged"),
    "Archived": ("Archived",),
    "Frozen": ("Activated", "Frozen"),
    "Expired": ("Expired",),
}
"""Steps of the lifecycle that lead to a state from "Generated"."""


def parse_json(text: str, where: str) -> Any:
    """JSON, or line and column of what is wrong.

    Raises:
        DataError: It cannot be read, or is nested too deeply.
    """
    try:
        return json.loads(text, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        line = f", line {error.lineno}" if "line" not in where.rsplit(",", 1)[-1] else ""
        raise DataError(
            f"{where}{line}, column {error.colno}: {error.msg}, at {text[error.pos : error.pos + 20]!r}"
        ) from error
    except (RecursionError, ValueError) as error:
        raise DataError(f"{where}: {error}") from error


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")
