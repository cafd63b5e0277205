"""A run on disk: checkpoint folders in the order of their steps, scores beside them, and a probe."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from byheart.core._json_lines import read_json_lines
from byheart.core.errors import DataError
from byheart.data.passages import Passage, shipped

__all__ = ["Scores", "checkpoint_folders", "read_probe", "read_scores", "step_of"]


def step_of(path: Path | str, otherwise: int = -1) -> int:
    """The last number in a folder's name.

    >>> step_of("run/checkpoint-1500"), step_of("run/step20000-tokens83B"), step_of("run/last")
    (1500, 20000, -1)
    """
    name = Path(path).name
    named = re.search(r"(?:step|checkpoint)[-_]?(\d+)", name)
    if named:
        return int(named[1])
    numbers = re.findall(r"\d+", name)
    return int(numbers[-1]) if numbers else otherwise


def checkpoint_folders(paths: str | Path | Sequence[str | Path]) -> list[tuple[int, Path]]:
    """Checkpoints with their steps, in the order of the steps.

    Args:
        paths: Folders of checkpoints, or folders that hold such folders (a Trainer's output).

    Raises:
        DataError: A path that is missing or holds none, or two checkpoints of one step.
    """
    named = [paths] if isinstance(paths, str | Path) else list(paths)
    found: list[Path] = []
    for entry in map(Path, named):
        if (entry / "config.json").is_file():
            inner = [p for p in entry.iterdir() if (p / "config.json").is_file()]
            # a Trainer's output folder may hold the last model beside its checkpoints
            found += inner or [entry]
        elif entry.is_dir():
            inner = [p for p in entry.iterdir() if (p / "config.json").is_file()]
            if not inner:
                raise DataError(f"{entry} holds no checkpoint: no folder in it has a config.json")
            found += inner
        else:
            raise DataError(f"there is no folder {entry}")
    if not found:
        raise DataError("no checkpoint was named")
    steps = [(step_of(p, i), p) for i, p in enumerate(found)]
    if any(step < 0 for step, _ in steps):
        raise DataError(f"{steps[0][1]} has no step in its name")
    seen: dict[int, Path] = {}
    for step, path in steps:
        if step in seen:
            raise DataError(
                f"{seen[step]} and {path} are both of step {step}; a checkpoint's folder ends in its "
                "step, such as checkpoint-500"
            )
        seen[step] = path
    return sorted(steps)


@dataclass(frozen=True)
class Scores:
    """Scores of a run's checkpoints.

    Attributes:
        accuracy: By step.
        others: Further columns (losses, other scores), by name and step.
    """

    accuracy: dict[int, float]
    others: dict[str, dict[int, float]]


def read_scores(path: str | Path, score: str = "") -> Scores:
    """Read a CSV with a column ``step`` or ``checkpoint`` and a score a line.

    Args:
        path: The file. Further columns of numbers are baselines (``train_loss``, ``val_loss``).
        score: The score's column; empty takes ``accuracy``, ``score`` or ``acc``, or the only one.

    Raises:
        DataError: With file and line: no such column, no number, NaN, a step twice.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read the scores {path}: {error}") from error
    rows = list(csv.reader(text.splitlines()))
    rows = [r for r in rows if any(c.strip() for c in r)]
    if len(rows) < 2:
        raise DataError(f"{path} needs a heading and lines, such as: step,accuracy")
    head = [c.strip().lower() for c in rows[0]]
    key = next((head.index(c) for c in ("step", "checkpoint") if c in head), None)
    if key is None:
        raise DataError(f"{path} has no column step or checkpoint; its heading is {','.join(head)}")
    columns = [i for i in range(len(head)) if i != key]
    wanted = [score.lower()] if score else ["accuracy", "score", "acc"]
    main = next((i for i in columns if head[i] in wanted), None)
    if main is None and not score and len(columns) == 1:
        main = columns[0]
    if main is None:
        raise DataError(
            f"{path} has no column {score or 'accuracy'}; there are {', '.join(head)}. Name it with "
            "--set pathways.score=COLUMN"
        )
    out: dict[int, dict[int, float]] = {i: {} for i in columns}
    for line, row in enumerate(rows[1:], 2):
        if len(row) != len(head):
            raise DataError(f"{path}, line {line}: {len(row)} fields, the heading has {len(head)}")
        step = step_of(row[key].strip().rstrip("/"))
        if step < 0:
            raise DataError(f"{path}, line {line}: no step in {row[key]!r}")
        if step in out[main]:
            raise DataError(f"{path}, line {line}: step {step} is there twice")
        for i in columns:
            try:
                value = float(row[i])
            except ValueError:
                value = math.nan
            if not math.isfinite(value):
                raise DataError(f"{path}, line {line}: {head[i]} is no finite number: {row[i]!r}")
            out[i][step] = value
    return Scores(out[main], {head[i]: out[i] for i in columns if i != main})


def read_probe(path: str | Path) -> tuple[tuple[Passage, ...], bool]:
    """Samples to be followed, out of JSON lines with ``text`` and, where one is known, ``arm``.

    Returns:
        Passages, of which `Passage.famous` marks the seen arm, and whether the fresh arm is the
        shipped passages, for want of lines with ``"arm": "fresh"``.

    Raises:
        DataError: With file and line: no text, another arm, or no seen line at all.
    """
    out = []
    for number, where, record in read_json_lines(path):
        text, arm = record.get("text"), record.get("arm", "seen")
        if not isinstance(text, str) or not text.strip():
            raise DataError(f'{where}: no text; a line is {{"text": "..."}}')
        if arm not in ("seen", "fresh"):
            raise DataError(f"{where}: arm is seen or fresh, got {arm!r}")
        name = f"{Path(path).name}:{number}"
        out.append(Passage(name, text, famous=arm == "seen", work=name))
    if not any(p.famous for p in out):
        raise DataError(f"{path} has no line of the seen arm")
    if all(p.famous for p in out):
        return (*out, *(p for p in shipped() if not p.famous)), True
    return tuple(out), False
