"""Problems on disk: the published JSON lists, JSON lines, and `datasets`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from byheart.audits._calc.expression import evaluate, operations
from byheart.audits._calc.generator import INSTRUCTION, Problem
from byheart.core._files import write_atomically
from byheart.core._json_lines import read_json_lines
from byheart.core.errors import DataError, need

__all__ = ["ProblemFile", "problem_of", "read_problems", "to_datasets", "to_json", "to_jsonl"]


def to_json(problems: Iterable[Problem], path: str | Path) -> Path:
    """Write a JSON list, as the published files are, whole or not at all; return its path.

    Raises:
        OutputError: If it cannot be written.
    """
    path = Path(path).expanduser()
    rows = [p.to_dict() for p in problems]
    write_atomically(path, json.dumps(rows, indent=4, ensure_ascii=False) + "\n")
    return path


def to_jsonl(problems: Iterable[Problem], path: str | Path) -> Path:
    """Write JSON lines, whole or not at all; return the path. An audit reads them as a benchmark.

    Raises:
        OutputError: If it cannot be written.
    """
    path = Path(path).expanduser()
    write_atomically(path, "".join(json.dumps(p.to_dict()) + "\n" for p in problems))
    return path


def to_datasets(problems: Sequence[Problem]) -> Any:
    """The problems as a `datasets.Dataset`: columns id, steps, prompt, expression, answer, exact.

    Raises:
        MissingExtra: If the package `datasets` is not installed.
    """
    return need("datasets", "audit").Dataset.from_list([p.to_dict() for p in problems])


@dataclass(frozen=True, slots=True)
class ProblemFile:
    """What a file held.

    Attributes:
        problems: Those that have a value, which was computed anew from the text.
        excluded: Id and reason of the others: they divide by zero, or cannot be read.
        wrong: Id, answer as told, and the value, where these differ by more than 1e-12 of it.
    """

    problems: tuple[Problem, ...]
    excluded: tuple[tuple[int, str], ...]
    wrong: tuple[tuple[int, str, str], ...]


def problem_of(question: str, id: int = 0) -> Problem | None:
    """The problem that a prompt or a bare expression poses; None if it poses none.

    >>> problem_of(INSTRUCTION + "1/3+2").steps, problem_of("What is 1/3+2?")
    (2, None)
    """
    expression = question.removeprefix(INSTRUCTION).strip()
    if not any(c.isdigit() for c in expression):
        return None
    try:
        return Problem(id, operations(expression), expression, evaluate(expression))
    except DataError:
        return None


def read_problems(path: str | Path) -> ProblemFile:
    """Read a published file (JSON list) or JSON lines with ``prompt`` (or ``expression``).

    Values are computed anew. Of the published 21,000 problems nine divide by zero; they are excluded.

    Raises:
        DataError: If the file cannot be read, or a record has neither field.
    """
    path = Path(path).expanduser()
    try:
        start = path.read_text(encoding="utf-8-sig").lstrip()[:1]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    if start == "[":
        try:
            listed = json.loads(path.read_text(encoding="utf-8-sig"))
        except (ValueError, RecursionError) as error:
            raise DataError(f"{path}: not JSON ({error})") from error
        records = [(f"{path}, record {i}", r) for i, r in enumerate(listed, 1)]
    else:
        records = [(where, record) for _, where, record in read_json_lines(path)]
    problems, excluded, wrong = [], [], []
    for place, (where, record) in enumerate(records):
        if not isinstance(record, dict):
            raise DataError(f"{where}: expected an object, got {str(record)[:40]!r}")
        text = record.get("prompt", record.get("expression", record.get("question")))
        if not isinstance(text, str):
            raise DataError(f"{where}: needs a prompt or an expression as text")
        number = record.get("id", place)
        id = number if isinstance(number, int) else place
        expression = text.removeprefix(INSTRUCTION).strip()
        try:
            problem = Problem(id, operations(expression), expression, evaluate(expression))
        except DataError as error:
            excluded.append((id, str(error)))
            continue
        problems.append(problem)
        told = record.get("answer")
        if told is not None and not _agrees(str(told), problem.exact):
            wrong.append((id, str(told), problem.answer))
    return ProblemFile(tuple(problems), tuple(excluded), tuple(wrong))


def _agrees(told: str, exact: Fraction) -> bool:
    try:
        return abs(Fraction(told) - exact) <= abs(exact) * Fraction(1, 10**12)
    except (ValueError, ZeroDivisionError):
        return False
