"""Games in files: written for people and for test swaps, and read back."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from byheart.core._json_lines import read_json_lines
from byheart.core.audit import Row
from byheart.core.errors import DataError, OutputError

__all__ = ["read_tests", "save_transcripts"]


def read_tests(path: str | Path) -> dict[str, list[Any]]:
    """Tests that another model made, by the text of the rule; for ``given=``.

    Args:
        path: Transcripts, as `save_transcripts` writes them.

    Raises:
        DataError: The file cannot be used; names the line.
    """
    out: dict[str, list[Any]] = {}
    for _, where, record in read_json_lines(path):
        try:
            text = str(record["rule"]["rule"])
            tests = [([float(n) for n in t], bool(a)) for t, a in record["tests"]]
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{where}: no transcript of a game ({error})") from error
        out[re.sub(r"^lambda [a-z, ]*: ", "", text)] = [[t, a] for t, a in tests]
    return out


def save_transcripts(rows: Sequence[Row], path: str | Path) -> Path:
    """Write the games among some rows as JSON lines: rule, messages, tests, counts and result.

    Raises:
        OutputError: The file cannot be written.
    """
    path = Path(path)
    games = [r.meta["transcript"] for r in rows if r.meta.get("kind") == "game"]
    try:
        path.write_text(
            "".join(json.dumps(g, ensure_ascii=False) + "\n" for g in games), encoding="utf-8"
        )
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error
    return path
