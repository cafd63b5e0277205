"""What is asked: the excerpt or not, both segments, and which of them came first."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from byheart.audits._sort.books import Book
from byheart.audits._sort.pairs import Pair
from byheart.core.ask import Message
from byheart.core.errors import DataError, UsageError

__all__ = [
    "CONDITIONS", "LABELS", "PLAIN", "SHORT", "TASKS", "Wording", "as_text", "messages",
    "read_wording", "training_texts",
]  # fmt: skip

LABELS = ("A", "B")
TASKS = ("first", "last")
CONDITIONS = ("memory", "context")
"""``memory``: the question alone; ``context``: the excerpt stands in front of it."""


@dataclass(frozen=True)
class Wording:
    """The parts of a question. In them ``{title}``, ``{excerpt}``, ``{a}``, ``{b}`` and ``{task}``
    are replaced; nothing else is.

    Args:
        system: The system message; empty leaves it out.
        before: In front of the question where the text is given.
        question: The question with both segments.
        prefix: Put into the model's mouth, so that its next token is the label; empty leaves it out.
            Endpoints cannot go on with a message: there `closing` is added to the question instead.
        closing: See `prefix`.
    """

    system: str = ""
    before: str = "{excerpt}\n\n"
    question: str = "{a}\n{b}"
    prefix: str = ""
    closing: str = ""


PLAIN = Wording(
    system="You are a helpful, honest assistant.",
    before="Please read this extract from the book {title} with care.\n\n{excerpt}\n\n",
    question=(
        "Here are two segments from the book {title}. Which of them, A or B, appeared {task} in "
        "{title}?\n\nSegment A: {a}\nSegment B: {b}\n\nWhich segment, A or B, appeared {task} in "
        "{title}?"
    ),
    prefix="Answer: Segment",
    closing="\nReply with the letter A or B only.",
)
"""The paper's parts (system, extract, question with segments and again the question, opened answer),
in byheart's words."""

SHORT = Wording(
    before="{excerpt}\n\n", question="Which came {task}?\nA: {a}\nB: {b}",
)  # fmt: skip
"""For models that follow no instructions, and for what is planted."""


def messages(
    pair: Pair,
    condition: str,
    *,
    wording: Wording = PLAIN,
    task: str = "first",
    swap: bool = False,
    opened: bool = True,
) -> tuple[Message, ...]:
    """One question as messages.

    Args:
        pair: What is asked about.
        condition: One of `CONDITIONS`.
        wording: Its words.
        task: Which came ``"first"`` or ``"last"``.
        swap: Show the segments the other way round.
        opened: End with the wording's prefix, to be gone on with; else ask for the letter only.

    >>> pair = Pair("b", "Tales", 0, 0, 9, 2, 5, "It rained.", "We left.", 0, 4, True)
    >>> messages(pair, "memory", wording=SHORT, swap=True)
    (('user', 'Which came first?\\nA: We left.\\nB: It rained.'),)
    """
    if condition not in CONDITIONS or task not in TASKS:
        raise UsageError(
            f"condition is one of {', '.join(CONDITIONS)} and task of {', '.join(TASKS)}, got "
            f"{condition!r} and {task!r}"
        )
    a, b = pair.shown(swap)
    values = {"title": pair.title, "excerpt": pair.excerpt, "a": a, "b": b, "task": task}
    text = _fill(wording.before, values) if condition == "context" else ""
    text += _fill(wording.question, values)
    opened = opened and bool(wording.prefix)
    if not opened:
        text += _fill(wording.closing, values)
    out: list[Message] = [("user", text)]
    if wording.system:
        out.insert(0, ("system", _fill(wording.system, values)))
    if opened:
        out.append(("assistant", _fill(wording.prefix, values)))
    return tuple(out)


def _fill(template: str, values: dict[str, str]) -> str:
    """Replace the names in one pass: what was put in is not looked through again."""
    out, rest = [], template
    while rest:
        spots = [(rest.find("{" + k + "}"), k) for k in values if "{" + k + "}" in rest]
        if not spots:
            break
        at, name = min(spots)
        out += [rest[:at], values[name]]
        rest = rest[at + len(name) + 2 :]
    return "".join(out) + rest


def read_wording(path: str | Path) -> Wording:
    """A wording of your own, from a JSON file with the fields of `Wording`.

    Raises:
        DataError: If it cannot be read, has other fields, or asks without both segments.
    """
    try:
        told = json.loads(Path(path).read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not JSON ({error})") from error
    known = [f.name for f in fields(Wording)]
    if not isinstance(told, dict) or not all(
        k in known and isinstance(v, str) for k, v in told.items()
    ):
        raise DataError(f"{path} must be an object of texts with the names {', '.join(known)}")
    made = Wording(**told)
    for name, part, at in (("a", made.question, "question"), ("b", made.question, "question"),
                           ("excerpt", made.before, "before")):  # fmt: skip
        if "{" + name + "}" not in part:
            raise DataError(f"{path}: {at} lacks {{{name}}}")
    return made


def training_texts(book: Book, *, words: int = 5000, wording: Wording = PLAIN) -> list[str]:
    """A book as the paper's fine-tuning material: chunks that end with a sentence, framed as read.

    Args:
        book: The book to be learnt.
        words: Least words of a chunk; it goes on to the end of a sentence (paper: about 5,000).
        wording: Its `before` is put around every chunk.

    >>> [len(t.split()) for t in training_texts(Book("b", ("w",) * 7 + ("end.",) + ("w",) * 4), words=5, wording=SHORT)]
    [8, 4]
    """
    if words < 1:
        raise UsageError(f"words must be at least 1, got {words}")
    out, at, size = [], 0, len(book)
    while at < size:
        end = min(at + words, size)
        while end < size and not book.starts[end]:
            end += 1
        values = {"title": book.title, "excerpt": book.text(at, end - at)}
        out.append(_fill(wording.before, values).strip())
        at = end
    return out


def as_text(asked: Sequence[Message]) -> str:
    """Messages as plain text, for models without a chat template.

    >>> as_text((("user", "Which?"),))
    'User: Which?\\nAssistant:'
    """
    lines = "\n".join(f"{role.capitalize()}: {text}" for role, text in asked)
    return lines if asked[-1][0] == "assistant" else f"{lines}\nAssistant:"
