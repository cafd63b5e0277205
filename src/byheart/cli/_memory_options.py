"""What the verbs of `byheart memory` share: options, opening the memory, printing.

Environment: ``BYHEART_DB``, ``BYHEART_SCOPE``, ``BYHEART_ENCODER`` and ``BYHEART_ACTOR`` stand in for
``--db``, ``--scope``, ``--encoder`` and ``--as``.
"""

from __future__ import annotations

import json as json_module
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from byheart.core.memory import Receipt
    from byheart.memory import Memory

__all__ = [
    "Actor", "AsOf", "Cube", "Db", "Encoder", "Json", "K", "KnownAt", "Labels", "Prompt", "Ranker", "ScopeName",
    "Source", "ValidFrom", "ValidTo", "labels_of", "one_line", "open_memory", "print_json",
    "print_receipt", "read_text",
]  # fmt: skip

Db = Annotated[
    str | None,
    typer.Option(
        "--db",
        envvar="BYHEART_DB",
        help="The file (~/.byheart/memory.db), or postgresql://user@host/database.",
    ),
]
ScopeName = Annotated[
    str | None,
    typer.Option(
        "--scope", envvar="BYHEART_SCOPE", help="tenant/user/agent/session, or user=ana,session=s1."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Encoder = Annotated[
    str | None,
    typer.Option(
        "--encoder",
        envvar="BYHEART_ENCODER",
        help="minilm, st:NAME or endpoint:URL#MODEL (its key in BYHEART_ENCODER_KEY): search by meaning too.",
    ),
]
Ranker = Annotated[
    str | None,
    typer.Option(
        "--ranker",
        help="notes (neighbours, speakers and times count too; the default) or plain (BM25 and cosine alone).",
    ),
]
K = Annotated[int, typer.Option("-k", "--k", help="At most so many.")]
AsOf = Annotated[str | None, typer.Option("--as-of", help="As it held in the world then.")]
KnownAt = Annotated[str | None, typer.Option("--known-at", help="As it was known then.")]
Prompt = Annotated[bool, typer.Option("--prompt", help="Print fenced text for a prompt.")]
Actor = Annotated[
    str | None,
    typer.Option(
        "--as", envvar="BYHEART_ACTOR", help="Who calls (local): a name for the log and cubes."
    ),
]
Cube = Annotated[str | None, typer.Option("--cube", help="Only this cube: name or name@branch.")]
Source = Annotated[str, typer.Option("--source", help="Where it comes from.")]
ValidFrom = Annotated[str | None, typer.Option("--valid-from", help="Since when it holds.")]
ValidTo = Annotated[str | None, typer.Option("--valid-to", help="Until when, exclusive.")]
Labels = Annotated[list[str] | None, typer.Option("--label", help="name=value; may be repeated.")]


def open_memory(
    db: str | None,
    scope: str | None,
    *,
    create: bool,
    encoder: str | None = None,
    ranker: str | None = None,
    actor: str | None = None,
) -> Memory:
    """The memory of `--db`; the caller is `actor`, ``BYHEART_ACTOR`` or "local" as in Python."""
    from byheart.core.errors import OutputError
    from byheart.memory import Memory
    from byheart.stores.places import is_address

    caller = (os.environ.get("BYHEART_ACTOR") or "local") if actor is None else actor
    if db is not None and is_address(db):
        return Memory(db, scope, create=create, encoder=encoder, ranker=ranker, actor=caller)
    path = Path(db) if db else _home() / ".byheart" / "memory.db"
    if create and db is None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(
                f"cannot make {path.parent}: {error.strerror}; name a file: --db"
            ) from error
    fresh = create and not path.exists()
    memory = Memory(path, scope, create=create, encoder=encoder, ranker=ranker, actor=caller)
    if fresh:
        typer.echo(f"made {path}", err=True)
    return memory


def _home() -> Path:
    from byheart.core.errors import OutputError

    try:
        home = Path.home() if os.environ.get("HOME") != "" else None
    except RuntimeError:  # no HOME, and the system does not know the user
        home = None
    if home is None:
        raise OutputError("there is no home folder for a memory; name a file: --db")
    return home


def print_json(value: Any) -> None:
    typer.echo(json_module.dumps(value, indent=2, ensure_ascii=False))


def print_receipt(receipt: Receipt, json: bool, said: str) -> None:
    if json:
        print_json(receipt.to_dict())
        return
    typer.echo(said)
    if receipt.reached:
        for name, n in receipt.reached.items():
            typer.echo(f"  reached {name}: {n}")
    for what in receipt.beyond:
        typer.echo(f"  cannot reach: {what}")


def read_text(path: str) -> str:
    """A file's text, or stdin's where the name is "-"."""
    from byheart.core.errors import DataError

    name = "stdin" if path == "-" else path
    if path == "-" and sys.stdin is None:
        raise DataError("stdin is closed; there is nothing to read")
    try:
        raw = sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise DataError(f"{name}, line {line}: not UTF-8 text (byte {error.start})") from error
    except OSError as error:
        raise DataError(f"{name}: {error.strerror or error}") from error


def labels_of(pairs: list[str] | None) -> dict[str, Any]:
    from byheart.core.errors import UsageError

    out: dict[str, Any] = {}
    for pair in pairs or []:
        name, equals, value = pair.partition("=")
        if not name or not equals:
            raise UsageError(f"--label is name=value, got {pair!r}")
        out[name] = value
    return out


def one_line(text: str) -> str:
    """One line, without characters that steer a terminal."""
    line = " ".join(text.split())
    line = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in line)
    return line if len(line) <= 200 else line[:199] + "…"
