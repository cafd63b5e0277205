"""Reads LoCoMo: conversations of many sessions, with questions whose evidence is known.

Data: Maharana et al., "Evaluating Very Long-Term Conversational Memory of LLM Agents", ACL 2024,
CC BY-NC 4.0: for evaluation only, never a part of byheart.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from byheart.core.errors import DataError

__all__ = ["CATEGORIES", "Conversation", "Question", "Turn", "read", "token_f1"]

CATEGORIES = {
    1: "multi-hop",
    2: "temporal",
    3: "open-domain",
    4: "single-hop",
    5: "adversarial",
}
"""Numbers as in the files (published tables often swap 1 and 4)."""

_ID = re.compile(r"D:?(\d+):(\d+)")


@dataclass(frozen=True)
class Turn:
    """One turn: `stamp` is the session's date as it is written, `session` its number."""

    id: str
    speaker: str
    text: str
    caption: str
    session: int
    stamp: str

    def line(self, *, date: bool) -> str:
        """The turn as the published baselines index it."""
        picture = f" [image: {self.caption}]" if self.caption else ""
        return f"{f'({self.stamp}) ' if date else ''}{self.speaker}: {self.text}{picture}"


@dataclass(frozen=True)
class Question:
    """A question; `evidence` are positions of turns, `answer` is the trap in category 5."""

    text: str
    answer: str
    category: int
    evidence: tuple[int, ...]


@dataclass(frozen=True)
class Conversation:
    """A conversation and what is asked about it; `dropped` counts questions without evidence."""

    name: str
    turns: tuple[Turn, ...]
    questions: tuple[Question, ...]
    dropped: int


def read(data: str | Path) -> list[Conversation]:
    """All conversations in a folder (one a file) or in one file (one, or a list of them).

    Evidence is read leniently, as the keys are written carelessly ("D8:6; D9:17", "D:11:26"):
    every `D<session>:<turn>` counts once, what names no turn is dropped.

    Raises:
        DataError: No such path, no conversation in it, or a file that is not as LoCoMo's are.
    """
    path = Path(data)
    if path.is_dir():
        files = sorted(f for f in path.glob("*.json") if f.name != "baselines.json")
    elif path.is_file():
        files = [path]
    else:
        raise DataError(f"there is no file or folder {path}; give --data the folder of LoCoMo")
    found: list[Conversation] = []
    for file in files:
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise DataError(f"{file} is not JSON: {error}") from error
        entries = content if isinstance(content, list) else [content]
        for i, entry in enumerate(entries):
            name = file.stem if len(entries) == 1 else str(_field(entry, "sample_id", file, str(i)))
            found.append(_conversation(entry, name, file))
    if not found:
        raise DataError(f"{path} holds no conversation: no *.json of LoCoMo's form")
    return found


def _field(entry: Any, name: str, file: Path, default: Any = None) -> Any:
    if not isinstance(entry, dict) or (name not in entry and default is None):
        raise DataError(f"{file}: not of LoCoMo's form, there is no {name!r}")
    return entry.get(name, default)


def _rows(entry: Any, name: str, file: Path) -> list[Any]:
    rows = _field(entry, name, file)
    if not isinstance(rows, list):
        raise DataError(f"{file}: {name!r} is a {type(rows).__name__}, not a list")
    return rows


def _conversation(entry: Any, name: str, file: Path) -> Conversation:
    talk = _field(entry, "conversation", file)
    if not isinstance(talk, dict):
        raise DataError(f"{file}: 'conversation' is a {type(talk).__name__}, not an object")
    numbers = sorted(int(m[1]) for key in talk if (m := re.fullmatch(r"session_(\d+)", key)))
    turns: list[Turn] = []
    at: dict[tuple[int, int], int] = {}
    for number in numbers:
        stamp = str(_field(talk, f"session_{number}_date_time", file))
        for turn in _rows(talk, f"session_{number}", file):
            turn_id = str(_field(turn, "dia_id", file))
            m = _ID.search(turn_id)
            if m is None:
                raise DataError(f"{file}: turn id {turn_id!r} is not like 'D3:11'")
            at[int(m[1]), int(m[2])] = len(turns)
            turns.append(
                Turn(
                    turn_id,
                    str(_field(turn, "speaker", file)),
                    str(_field(turn, "text", file)),
                    str(turn.get("blip_caption") or ""),
                    number,
                    stamp,
                )
            )
    questions, dropped = [], 0
    for row in _rows(entry, "qa", file):
        keys = _field(row, "evidence", file, ()) or ()
        named = [(int(a), int(b)) for a, b in _ID.findall(str(keys))]
        evidence = tuple(dict.fromkeys(at[n] for n in named if n in at))
        if not evidence:
            dropped += 1
            continue
        category = _field(row, "category", file)
        if not isinstance(category, int) or category not in CATEGORIES:
            raise DataError(f"{file}: category {category} is not one of 1 to 5")
        trap = row.get("adversarial_answer") if category == 5 else None
        answer = row.get("answer", "") if trap is None else trap
        questions.append(
            Question(str(_field(row, "question", file)), str(answer), category, evidence)
        )
    return Conversation(name, tuple(turns), tuple(questions), dropped)


def token_f1(prediction: str, reference: str) -> float:
    """F1 of the sets of tokens, lower case, with ``. , ! ?`` as spaces (A-MEM's evaluation).

    >>> token_f1("On 7 May, 2023.", "7 May 2023")
    0.8571428571428571
    """
    found, wanted = (
        set(re.sub(r"[.,!?]", " ", text.lower()).split()) for text in (prediction, reference)
    )
    both = len(found & wanted)
    return 2 * both / (len(found) + len(wanted)) if both else 0.0
