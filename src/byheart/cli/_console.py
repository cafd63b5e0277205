"""The console that tables are printed on."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["console"]

_PIPED = 120
"""Columns where stdout is a file or a pipe, which have none of their own."""


def console() -> Console:
    """Stdout as wide as the terminal is; 120 columns elsewhere, unless ``COLUMNS`` is set."""
    from rich.console import Console

    piped = not sys.stdout.isatty() and not os.environ.get("COLUMNS", "").isdigit()
    return Console(width=_PIPED if piped else None)
