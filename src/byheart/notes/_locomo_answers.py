"""A model's answers to LoCoMo's questions from the turns that were found; kept as they come."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from byheart.core.ask import Sample
from byheart.core.errors import OutputError
from byheart.core.model import Model
from byheart.notes._locomo_data import Conversation, Question

__all__ = ["Answers"]

BATCH = 8
"""Questions that are asked at once."""

_TASK = (
    "Below are lines of conversations between two people, each with its date. Answer the question "
    "from them in a few words, with exact words from the lines where possible. Work out dates from "
    "the date of the line. If the lines do not tell, answer: not mentioned."
)


class Answers:
    """Asks a model, each prompt once; an interrupted run goes on where it stopped.

    Args:
        model: That can be sampled.
        path: A file of JSON lines, a prompt's digest and its answer; None keeps them in memory.

    Raises:
        OutputError: The file cannot be written.
    """

    def __init__(self, model: Model, path: str | Path | None = None) -> None:
        self._model, self._path = model, None if path is None else Path(path)
        self._known: dict[str, str] = {}
        self._whose = [model.name, "" if path is None else model.fingerprint]
        if self._path is None:
            return
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            whole = 0
            with open(self._path, "a+b") as file:
                file.seek(0)
                for line in file:
                    try:
                        told = json.loads(line)
                        self._known[told["prompt"]] = str(told["answer"])
                    except (ValueError, KeyError, TypeError):
                        break  # cut off half-way: it is asked again
                    whole += len(line)
                file.truncate(whole)
        except OSError as error:
            raise OutputError(f"cannot write {self._path}: {error.strerror or error}") from error

    def __call__(
        self,
        talk: Conversation,
        asked: Sequence[tuple[Question, Sequence[int]]],
        done: Callable[[int], None] = lambda n: None,
    ) -> list[str]:
        """Answers to questions of a conversation, in their order.

        Args:
            talk: The conversation.
            asked: Questions, and the places of the turns shown for each.
            done: Called with how many are answered after each batch.
        """
        prompts = [self._prompt(talk, question, found) for question, found in asked]
        keys = [hashlib.sha256(json.dumps([self._whose, p]).encode()).hexdigest() for p in prompts]
        fresh = {k: p for k, p in zip(keys, prompts, strict=True) if k not in self._known}
        for begin in range(0, len(fresh), BATCH):
            batch = list(fresh)[begin : begin + BATCH]
            told = self._model.sample(
                [Sample(fresh[key], max_tokens=48, stop=("\n",)) for key in batch]
            )
            self._keep({key: one[0].text.strip() for key, one in zip(batch, told, strict=True)})
            done(len(keys) - sum(key not in self._known for key in keys))
        return [self._known[key] for key in keys]

    def _keep(self, answers: dict[str, str]) -> None:
        self._known |= answers
        if self._path is None:
            return
        lines = (json.dumps({"prompt": k, "answer": a}) + "\n" for k, a in answers.items())
        try:
            with open(self._path, "ab") as file:
                file.write("".join(lines).encode())
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise OutputError(f"cannot write {self._path}: {error.strerror or error}") from error

    def _prompt(self, talk: Conversation, question: Question, found: Sequence[int]) -> Any:
        lines = "\n".join(talk.turns[i].line(date=True) for i in sorted(found))
        asked = f"{lines}\n\nQuestion: {question.text}\nShort answer:"
        return (("system", _TASK), ("user", asked)) if self._model.chat else f"{_TASK}\n\n{asked}"
