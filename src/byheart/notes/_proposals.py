"""What a model proposes to a memory: asked for as JSON, checked, repaired once, or kept as rejected.

A model never changes a memory. It is asked for a JSON value, `parse_json` reads it strictly, a
validator turns it into what the caller may do, and what does not hold is told to the model once.
If the second reply does not hold either, both are entered in the log as rejected, with the reason,
and the caller goes on without.

>>> from byheart.core.model import CallableModel
>>> replies = iter(["about 3", '{"number": 3}'])
>>> model = CallableModel(lambda prompt: next(replies), "scripted")
>>> def number(value):
...     return whole_number(an_object(value, "the reply", {"number": int})["number"], "number", 5)
>>> propose(model, "How many?", number, purpose="count").value
3
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from byheart.core.ask import Sample
from byheart.core.errors import ByheartError, ModelError, UsageError
from byheart.core.item import Scope
from byheart.core.model import Model

__all__ = [
    "Invalid",
    "Proposal",
    "a_list",
    "a_text",
    "an_object",
    "note_rejection",
    "open_memory",
    "parse_json",
    "propose",
    "whole_number",
]


class Invalid(ValueError):
    """What a model proposed does not hold; the message is what the model is told."""


@dataclass(frozen=True)
class Proposal:
    """What came of asking a model.

    Args:
        purpose: What it was asked for, in a word or two.
        value: What the validator made of the reply; None if it was rejected.
        reason: Why it was rejected; empty if it was not.
        replies: What the model said, one text an attempt.
        entry: Number of the rejection in the log; None if there is none.
    """

    purpose: str
    value: Any = None
    reason: str = ""
    replies: tuple[str, ...] = ()
    entry: int | None = None

    @property
    def accepted(self) -> bool:
        """Whether it holds."""
        return not self.reason


def propose(
    model: Model,
    prompt: str,
    validate: Callable[[Any], Any],
    *,
    purpose: str,
    task: str = "",
    store: Any = None,
    about: Iterable[str] = (),
    max_tokens: int = 512,
    seed: int = 0,
) -> Proposal:
    """Ask a model for JSON and check it; one attempt to repair.

    Args:
        model: Anything that can be sampled.
        prompt: The data and the question; data goes here, never into `task`.
        validate: Takes the parsed JSON, returns what is proposed, and raises `Invalid` with what is
            wrong. Nothing else may be done in it.
        purpose: What it is asked for, such as ``"extract"``; for the log and messages.
        task: Instructions of ours; the system message where the model takes messages.
        store: Where a rejection is logged (see `note_rejection`); None logs nothing.
        about: Ids of the items the prompt was made of: `erase` of one of them takes the rejection's
            content along.
        max_tokens: Of a reply.
        seed: Of the sampling; decoding is greedy.

    Raises:
        ModelError: The model failed (EndpointError: it cannot be reached). Nothing was written.
        CapabilityError: It cannot be sampled.
    """
    model.require("sample", purpose=f"proposing ({purpose})")
    replies: list[str] = []
    reason = ""
    for attempt in range(2):
        asked = prompt if attempt == 0 else _repair(prompt, replies[0], reason)
        replies.append(_reply(model, task, asked, purpose, max_tokens, seed))
        try:
            return Proposal(purpose, validate(parse_json(replies[-1])), "", tuple(replies))
        except Invalid as error:
            reason = str(error) or "it does not hold"
    entry = None
    if store is not None:
        entry = note_rejection(
            store, purpose, reason, about=about, model=model.name, prompt=prompt, replies=replies
        )
    return Proposal(purpose, None, reason, tuple(replies), entry)


def _repair(prompt: str, reply: str, reason: str) -> str:
    return (
        f"{prompt}\n\nYour last reply was:\n{reply[:4000]}\n\nIt cannot be used: {reason}\n"
        "Reply again with the corrected JSON only."
    )


def _reply(model: Model, task: str, prompt: str, purpose: str, max_tokens: int, seed: int) -> str:
    asked: Any = prompt if not task else f"{task}\n\n{prompt}"
    if model.chat:
        asked = ((("system", task),) if task else ()) + (("user", prompt),)
    try:
        return model.sample([Sample(asked, max_tokens=max_tokens, seed=seed)])[0][0].text
    except ByheartError:
        raise
    except Exception as error:
        raise ModelError(
            f"{model.name} failed when asked to {purpose}: {type(error).__name__}: {error}; "
            "nothing was written"
        ) from error


_FENCE = re.compile(r"```[a-zA-Z]*\s*\n(.*?)```", re.S)


def parse_json(text: str) -> Any:
    """The one JSON value of a reply: all of it, or all of its one fenced block.

    Raises:
        Invalid: No or several values, text around it, a key given twice, NaN or infinity.
    """
    blocks = _FENCE.findall(text)
    if len(blocks) > 1:
        raise Invalid(f"it has {len(blocks)} fenced blocks; give one JSON value")
    body = (blocks[0] if blocks else text).strip()
    if not body:
        raise Invalid("it is empty; give one JSON value")
    try:
        return json.loads(body, object_pairs_hook=_once, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise Invalid(
            f"it is not JSON ({error.msg} at line {error.lineno}, column {error.colno}); give one "
            "JSON value and no other text"
        ) from error
    except RecursionError as error:
        raise Invalid("it is nested too deeply") from error


def _once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    out = dict(pairs)
    if len(out) < len(pairs):
        names = [k for k, _ in pairs]
        twice = next(k for k in names if names.count(k) > 1)
        raise Invalid(f"the key {twice!r} is given twice")
    return out


def _no_constant(name: str) -> Any:
    raise Invalid(f"{name} is not JSON")


def an_object(
    value: Any,
    where: str,
    required: Mapping[str, type | tuple[type, ...]],
    optional: Mapping[str, type | tuple[type, ...]] | None = None,
) -> dict[str, Any]:
    """An object with these keys of these types and no others; null stands for an absent optional.

    Raises:
        Invalid: Says where and what.
    """
    if not isinstance(value, dict):
        raise Invalid(f"{where} must be an object, it is {_kind(value)}")
    known = {**required, **(optional or {})}
    for name in required:
        if name not in value:
            raise Invalid(f"{where} lacks {name!r}")
    for name, given in value.items():
        if name not in known:
            raise Invalid(f"{where} has the unknown key {name!r}; known: {', '.join(known)}")
        if given is None and name not in required:
            continue
        wanted = known[name]
        allowed = wanted if isinstance(wanted, tuple) else (wanted,)
        if not isinstance(given, allowed) or (isinstance(given, bool) and bool not in allowed):
            names = " or ".join(t.__name__ for t in allowed)
            raise Invalid(f"{name!r} of {where} must be {names}, it is {_kind(given)}")
    return {k: v for k, v in value.items() if v is not None}


def a_list(value: Any, where: str, *, most: int) -> list[Any]:
    """A list of at most so many entries.

    Raises:
        Invalid: Says where and what.
    """
    if not isinstance(value, list):
        raise Invalid(f"{where} must be a list, it is {_kind(value)}")
    if len(value) > most:
        raise Invalid(f"{where} has {len(value)} entries, at most {most} are allowed")
    return value


def a_text(value: Any, where: str, *, most: int, empty: bool = False) -> str:
    """Text without surrounding spaces, of at most so many characters.

    Raises:
        Invalid: Says where and what.
    """
    if not isinstance(value, str):
        raise Invalid(f"{where} must be text, it is {_kind(value)}")
    out = value.strip()
    if not out and not empty:
        raise Invalid(f"{where} is empty")
    if len(out) > most:
        raise Invalid(f"{where} has {len(out)} characters, at most {most} are allowed")
    try:
        out.encode()
    except UnicodeEncodeError as error:
        raise Invalid(f"{where} has half a character at position {error.start}") from error
    return out


def whole_number(value: Any, where: str, most: int, *, least: int = 1) -> int:
    """A whole number from `least` to `most`.

    Raises:
        Invalid: Says where and what.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise Invalid(f"{where} must be a whole number from {least} to {most}, got {value!r}")
    return value


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "text", bool: "true or false", int: "a number"}
    return names.get(type(value), "null" if value is None else type(value).__name__)


def note_rejection(
    store: Any,
    purpose: str,
    reason: str,
    *,
    about: Iterable[str] = (),
    **body: Any,
) -> int | None:
    """Enter a rejected proposal in the log; what it says is content that `erase` can take.

    Args:
        store: A store or `byheart.Memory`.
        purpose: What was proposed.
        reason: Why it was rejected.
        about: Ids of the items it is about; the first is the entry's subject.
        body: What else should be kept: prompt, replies, the proposal.

    Returns:
        Its number in the log.

    Raises:
        UsageError: The store has no `note`.
    """
    note = getattr(getattr(store, "store", store), "note", None)
    if note is None:
        raise UsageError(f"{type(store).__name__} has no note(); a rejection must stand in the log")
    ids = list(dict.fromkeys(about))
    kept = {k: list(v) if isinstance(v, tuple) else v for k, v in body.items()}
    receipt = note(
        "reject",
        ids[0] if ids else "",
        {"purpose": purpose, "about": ids},
        {"reason": reason, **kept},
    )
    return None if receipt.seq is None else int(receipt.seq[0])


def open_memory(
    store: Any, scope: Scope | str | Mapping[str, str] | None = None, encoder: Any = None
) -> tuple[Any, bool]:
    """The memory behind a method: a path is opened, a store or `byheart.Memory` is taken as it is.

    Args:
        store: A path, a `byheart.Memory`, or anything that passes `check_memory`.
        scope: Whose, where a path is opened.
        encoder: As in `byheart.Memory`, where a path is opened.

    Returns:
        The memory, and whether it was opened here (and so is to be closed here).

    Raises:
        UsageError: It is neither, or a scope is given for a memory that has one already.
    """
    if isinstance(store, str | Path):
        from byheart.memory import Memory  # the one room above: opened only where a path is given

        return Memory(store, scope, encoder=encoder), True
    missing = [n for n in ("write", "recall", "supersede", "log") if not hasattr(store, n)]
    if missing:
        raise UsageError(
            f"a memory is a path, a byheart.Memory or a store, got {type(store).__name__}, which "
            f"has no {', '.join(missing)}"
        )
    own = getattr(store, "scope", None)
    if scope is not None and own is not None and Scope.parse(scope) != own:
        raise UsageError(
            f"the memory is open for {own}, and the scope given is {Scope.parse(scope)}; open it "
            "with that scope"
        )
    return store, False
