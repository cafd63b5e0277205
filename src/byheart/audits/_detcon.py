"""Reading sampled answers in the format of the authors' DetCon files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from byheart.audits._cdd import clean, tokens_of
from byheart.core._json_lines import read_json_lines
from byheart.core.errors import DataError

__all__ = ["read_detcon"]


def read_detcon(
    path: str | Path, encode: Callable[[str], Sequence[int]]
) -> list[Mapping[str, Any]]:
    """Read a JSON-lines file in the authors' format.

    Fields: ``prompt``, ``greedy_sample`` (a text), ``samples`` (texts), or their token ids,
    ``greedy_ids`` and ``sample_ids``; optional ``id`` (or ``DETCON_id``, ``humaneval_task_id``),
    ``label`` (1 or true if contaminated) and ``model_name``. Texts are cleaned and encoded.

    Args:
        path: The file.
        encode: Text to token ids, with the tokenizer of the model that gave the answers.

    Returns:
        Records with ``id``, ``prompt``, ``greedy`` (ids), ``samples`` (ids), ``label`` (a bool, or
        None) and ``model_name`` (or None).

    Raises:
        DataError: Names the file, the line and the field.
    """
    out = [_record(record, where, n, encode) for n, where, record in read_json_lines(path)]
    if not out:
        raise DataError(f"{path} holds no records")
    return out


def _record(
    record: Mapping[str, Any], where: str, number: int, encode: Callable[[str], Sequence[int]]
) -> Mapping[str, Any]:
    label = record.get("label")
    if label not in (None, 0, 1):
        raise DataError(f"{where}: label must be 0, 1, false or true, got {label!r}")
    names = (record.get(k) for k in ("id", "DETCON_id", "humaneval_task_id"))
    greedy, samples = _ids(record, where) or _texts(record, where, encode)
    return {
        "id": str(next((n for n in names if n is not None), number)),
        "prompt": str(record.get("prompt", "")),
        "greedy": greedy,
        "samples": samples,
        "label": None if label is None else bool(label),
        "model_name": record.get("model_name"),
    }


def _ids(record: Mapping[str, Any], where: str) -> tuple[list[int], list[list[int]]] | None:
    """The token ids of a record; None if it has none."""
    greedy, samples = record.get("greedy_ids"), record.get("sample_ids")
    if greedy is None and samples is None:
        return None
    ids = [greedy, *samples] if isinstance(samples, list) and samples else [None]
    for row in ids:
        if not isinstance(row, list) or not all(type(t) is int for t in row):
            raise DataError(
                f"{where}: greedy_ids must be a list of whole numbers, sample_ids a list of such "
                "lists; give both or neither"
            )
    return greedy, samples  # type: ignore[return-value]


def _texts(
    record: Mapping[str, Any], where: str, encode: Callable[[str], Sequence[int]]
) -> tuple[list[int], list[list[int]]]:
    """The texts of a record, cleaned and encoded."""
    greedy, samples = record.get("greedy_sample"), record.get("samples")
    if isinstance(greedy, list) and len(greedy) == 1:
        greedy = greedy[0]
    if not isinstance(greedy, str) or not isinstance(samples, list) or not samples:
        raise DataError(f"{where}: needs greedy_sample (text) and samples (a list of texts)")
    if not all(isinstance(s, str) for s in samples):
        raise DataError(f"{where}: samples must be texts")
    return tokens_of(clean(greedy), encode), [tokens_of(clean(s), encode) for s in samples]
