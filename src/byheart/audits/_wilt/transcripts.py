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

__all__ = ["read_tests", "rule_key", "save_transcripts"]


def read_tests(path: str | Path) -> dict[str, list[Any]]:
    """Tests that another model made, by the text of the rule; for ``given=``.

    Args:
        path: Transcripts, as `save_transcripts` writes them, or the ``rows.jsonl`` of a run.

    Raises:
        DataError: The file cannot be used; names the line.
    """
    out: dict[str, list[Any]] = {}
    for _, where, record in read_json_lines(path):
        if "row" in record:  # a run's journal holds other rows too
            meta = record["row"].get("meta", {}) if isinstance(record["row"], dict) else {}
            if meta.get("kind") != "game":
                continue
            record = meta.get("transcript", {})
        try:
            text = str(record["rule"]["rule"])
            tests = [([float(n) for n in t], bool(a)) for t, a in record["tests"]]
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{where}: no transcript of a game ({error})") from error
        out[rule_key(text)] = [[t, a] for t, a in tests]
    if not out:
        raise DataError(f"{path} holds no game of WILT")
    return out


def rule_key(text: str) -> str:
    """What a rule is found by: its expression, where it is one in x, y and z."""
    return _HEAD.sub("", text)


_HEAD = re.compile(r"^lambda x(?:, y, z)?: ")


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
