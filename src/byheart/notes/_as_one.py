"""Several changes of a memory as one, where it can do that."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

__all__ = ["as_one"]


@contextlib.contextmanager
def as_one(memory: Any) -> Iterator[bool]:
    """A transaction of the memory; gives False where it has none, and then each change is kept."""
    begin = getattr(memory, "transaction", None)
    if begin is None:
        yield False
        return
    with begin():
        yield True
