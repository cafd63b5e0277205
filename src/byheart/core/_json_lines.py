"""Reading JSON lines, with the line that cannot be used named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from byheart.core.errors import DataError

__all__ = ["read_json_lines"]


def read_json_lines(path: str | Path) -> list[tuple[int, str, dict[str, Any]]]:
    """The objects of a JSON-lines file in UTF-8 (a byte-order mark is skipped, blank lines too).

    Lines end at newlines only: the other line breaks of Unicode may stand in a JSON text.

    Returns:
        Line number, ``"FILE, line N"`` for messages, and the object.

    Raises:
        DataError: The file cannot be read, or a line holds no object.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").split("\n")
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 ({error}); save it as UTF-8") from error
    out = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{where}: not JSON ({error})") from error
        if not isinstance(record, dict):
            raise DataError(f"{where}: expected an object, got {line.strip()[:40]!r}")
        out.append((number, where, record))
    return out
