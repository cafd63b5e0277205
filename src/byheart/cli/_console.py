"""The console that tables are printed on, and the bar of one long job."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["bar", "console"]

_PIPED = 120
"""Columns where stdout is a file or a pipe, which have none of their own."""


def console() -> Console:
    """Stdout as wide as the terminal is; 120 columns elsewhere, unless ``COLUMNS`` is set."""
    from rich.console import Console

    piped = not sys.stdout.isatty() and not os.environ.get("COLUMNS", "").isdigit()
    return Console(width=_PIPED if piped else None)


@contextlib.contextmanager
def bar(description: str) -> Iterator[Callable[[str, float], None]]:
    """A progress bar on stderr; yields a function of what is being done and the share done."""
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import (
        BarColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        TextColumn("left:"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    ) as bars:
        job = bars.add_task(escape(description), total=1.0)
        yield lambda what, share: bars.update(job, description=escape(what), completed=share)
