"""`byheart memory ...`: every verb mirrors a method of `byheart.Memory`.

Environment: ``BYHEART_DB``, ``BYHEART_SCOPE`` and ``BYHEART_ENCODER`` stand in for ``--db``,
``--scope`` and ``--encoder``.
"""

from __future__ import annotations

import json as json_module
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from byheart.core.memory import Receipt
    from byheart.memory import Memory

__all__ = ["register"]

Db = Annotated[
    Path | None,
    typer.Option("--db", envvar="BYHEART_DB", help="The file (~/.byheart/memory.db)."),
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
    typer.Option("--encoder", envvar="BYHEART_ENCODER", help="minilm or st:NAME: search by meaning too."),
]  # fmt: skip
K = Annotated[int, typer.Option("-k", "--k", help="At most so many.")]
AsOf = Annotated[str | None, typer.Option("--as-of", help="As it held in the world then.")]
KnownAt = Annotated[str | None, typer.Option("--known-at", help="As it was known then.")]
Prompt = Annotated[bool, typer.Option("--prompt", help="Print fenced text for a prompt.")]
Cube = Annotated[str | None, typer.Option("--cube", help="Only this cube: name or name@branch.")]
Source = Annotated[str, typer.Option("--source", help="Where it comes from.")]
ValidFrom = Annotated[str | None, typer.Option("--valid-from", help="Since when it holds.")]
ValidTo = Annotated[str | None, typer.Option("--valid-to", help="Until when, exclusive.")]
Labels = Annotated[list[str] | None, typer.Option("--label", help="name=value; may be repeated.")]


def _open(
    db: Path | None, scope: str | None, *, create: bool, encoder: str | None = None
) -> Memory:
    from byheart.core.errors import OutputError
    from byheart.memory import Memory

    path = db or Path.home() / ".byheart" / "memory.db"
    if create and db is None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(
                f"cannot make {path.parent}: {error.strerror}; name a file: --db"
            ) from error
    fresh = create and not path.exists()
    memory = Memory(path, scope, create=create, encoder=encoder, actor="cli")
    if fresh:
        typer.echo(f"made {path}", err=True)
    return memory


def _print(value: Any) -> None:
    typer.echo(json_module.dumps(value, indent=2, ensure_ascii=False))


def _receipt(receipt: Receipt, json: bool, said: str) -> None:
    if json:
        _print(receipt.to_dict())
        return
    typer.echo(said)
    if receipt.reached:
        for name, n in receipt.reached.items():
            typer.echo(f"  reached {name}: {n}")
    for what in receipt.beyond:
        typer.echo(f"  cannot reach: {what}")


def _read(path: str) -> str:
    """A file's text, or stdin's where the name is "-"."""
    from byheart.core.errors import DataError

    name = "stdin" if path == "-" else path
    try:
        raw = sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise DataError(f"{name}, line {line}: not UTF-8 text (byte {error.start})") from error
    except OSError as error:
        raise DataError(f"{name}: {error.strerror or error}") from error


def _labels(pairs: list[str] | None) -> dict[str, Any]:
    from byheart.core.errors import UsageError

    out: dict[str, Any] = {}
    for pair in pairs or []:
        name, equals, value = pair.partition("=")
        if not name or not equals:
            raise UsageError(f"--label is name=value, got {pair!r}")
        out[name] = value
    return out


def write(
    text: Annotated[list[str] | None, typer.Argument(help="Texts; - reads one from stdin.")] = None,
    file: Annotated[list[str] | None, typer.Option("--file", help="A text file, one note.")] = None,
    lines: Annotated[str | None, typer.Option("--lines", help="A file, one note a line.")] = None,
    chat: Annotated[str | None, typer.Option("--chat", help="A conversation in chat JSON.")] = None,
    source: Source = "",
    trust: Annotated[str, typer.Option("--trust", help="Whose word it is.")] = "user",
    valid_from: ValidFrom = None,
    valid_to: ValidTo = None,
    expires: Annotated[str | None, typer.Option("--expires", help="Time to live: until.")] = None,
    label: Labels = None,
    db: Db = None,
    scope: ScopeName = None,
    json: Json = False,
) -> None:
    """Keep texts, files or a conversation; in Python: memory.write(...)."""
    from byheart.core.errors import UsageError
    from byheart.core.item import Item, moment
    from byheart.stores.chat import chat_items
    from byheart.stores.exchange import parse_json

    common: dict[str, Any] = {
        "trust": trust,
        "valid_from": moment(valid_from, "--valid-from"),
        "valid_to": moment(valid_to, "--valid-to"),
        "expires_at": moment(expires, "--expires"),
        "labels": _labels(label),
    }
    items = []
    for one in text or []:
        content = _read("-") if one == "-" else one
        items.append(Item(content, source=source or ("stdin" if one == "-" else "cli"), **common))
    for name in file or []:
        items.append(Item(_read(name), source=source or name, **common))
    if lines is not None:
        for number, line in enumerate(_read(lines).split("\n"), 1):
            if line.strip():
                items.append(
                    Item(line.rstrip("\r"), source=f"{source or lines}:{number}", **common)
                )
    if chat is not None:
        name = "stdin" if chat == "-" else chat
        told = parse_json(_read(chat), name)
        items += chat_items(told, source=source or name, where=name)
    if not items:
        raise UsageError("nothing to write; give a text, - for stdin, --file, --lines or --chat")
    if any(not i.content.strip() for i in items):
        raise UsageError("a text is empty; there is nothing to remember in it")
    with _open(db, scope, create=True) as memory:
        receipt = memory.write(items)
    _receipt(receipt, json, "\n".join(receipt.ids))


def recall(
    query: Annotated[str, typer.Argument(help="A question or some words.")],
    k: K = 10,
    as_of: AsOf = None,
    known_at: KnownAt = None,
    cube: Cube = None,
    prompt: Prompt = False,
    encoder: Encoder = None,
    db: Db = None,
    scope: ScopeName = None,
    json: Json = False,
) -> None:
    """Find items again; in Python: memory.recall(query, k)."""
    from byheart.core.errors import UsageError

    if prompt and json:
        raise UsageError("--prompt and --json contradict each other; give one")
    with _open(db, scope, create=False, encoder=encoder) as memory:
        hits = memory.recall(query, k, as_of=as_of, known_at=known_at, cube=cube)
    if json:
        _print([h.to_dict() for h in hits])
    elif prompt:
        typer.echo(hits.to_prompt())
    elif not hits:
        typer.echo("nothing found", err=True)
    else:
        for hit in hits:
            item = hit.item
            since = item.valid_from or item.recorded_at
            typer.echo(f"{hit.score:.3f}  {item.id}  {since:%Y-%m-%d}  {item.trust}  {item.source}")
            typer.echo("       " + _shown(item.content))


def _shown(text: str) -> str:
    """One line, without characters that steer a terminal."""
    line = " ".join(text.split())
    line = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in line)
    return line if len(line) <= 200 else line[:199] + "…"


def as_of(
    when: Annotated[str, typer.Argument(help="2026-03-01, or with a time.")],
    query: Annotated[str, typer.Argument(help="A question or some words.")],
    k: K = 10,
    known_at: KnownAt = None,
    prompt: Prompt = False,
    encoder: Encoder = None,
    db: Db = None,
    scope: ScopeName = None,
    json: Json = False,
) -> None:
    """What held at a time; in Python: memory.recall(query, as_of=when)."""
    recall(
        query, k=k, as_of=when, known_at=known_at, prompt=prompt, encoder=encoder, db=db,
        scope=scope, json=json,
    )  # fmt: skip


def show(
    id: Annotated[str, typer.Argument(help="Of an item.")],
    db: Db = None,
    scope: ScopeName = None,
    json: Json = False,
) -> None:
    """An item with its history; in Python: memory.show(id)."""
    with _open(db, scope, create=False) as memory:
        told = memory.show(id)
    if json:
        _print(told)
        return
    for name, value in told["item"].items():
        typer.echo(f"{name}: {_shown(str(value)) if name != 'content' else _shown(value)}")
    typer.echo(f"state: {told['state']}" + ("" if told["current"] else " (not current)"))
    for span in told["held"]:
        known = f"known {span['known_from']} to {span['known_to'] or 'now'}"
        typer.echo(f"valid {span['valid_from']} to {span['valid_to'] or 'open'}, {known}")
    typer.echo("versions: " + ", ".join(told["versions"]))
    for entry in told["log"]:
        typer.echo(f"log {entry['seq']}  {entry['at']}  {entry['kind']}  by {entry['actor']}")


def log(
    kind: Annotated[str | None, typer.Option("--kind", help="write, supersede, erase ...")] = None,
    id: Annotated[str | None, typer.Option("--id", help="Only of this item.")] = None,
    actor: Annotated[str | None, typer.Option("--actor", help="Only by this caller.")] = None,
    since: Annotated[str | None, typer.Option("--since", help="Recorded at or after.")] = None,
    until: Annotated[str | None, typer.Option("--until", help="Recorded before.")] = None,
    db: Db = None,
    scope: ScopeName = None,
    json: Json = False,
) -> None:
    """The log, oldest first; in Python: memory.log(...). With --json one line an entry."""
    with _open(db, scope, create=False) as memory:
        for event in memory.log(kind=kind, subject=id, actor=actor, since=since, until=until):
            if json:
                typer.echo(json_module.dumps(event.to_dict(), ensure_ascii=False))
                continue
            content = "" if event.body is None else _shown(str(event.body.get("content", "")))
            at = event.at.isoformat(timespec="seconds")
            typer.echo(f"{event.seq}  {at}  {event.kind}  {event.subject}  {content}".rstrip())


def supersede(
    id: Annotated[str, typer.Argument(help="Of the item that is no longer so.")],
    text: Annotated[str, typer.Argument(help="What holds instead; - reads stdin.")],
    source: Source = "",
    valid_from: ValidFrom = None,
    valid_to: ValidTo = None,
    db: Db = None,
    scope: ScopeName = None,
    json: Json = False,
) -> None:
    """Put an item in the place of another; in Python: memory.supersede(id, item)."""
    from byheart.core.item import Item, moment

    item = Item(
        _read("-") if text == "-" else text,
        source=source or ("stdin" if text == "-" else "cli"),
        trust="user",
        valid_from=moment(valid_from, "--valid-from"),
        valid_to=moment(valid_to, "--valid-to"),
    )
    with _open(db, scope, create=False) as memory:
        receipt = memory.supersede(id, item)
    _receipt(receipt, json, f"{receipt.id} takes the place of {id}")


def erase(
    id: Annotated[list[str] | None, typer.Argument(help="Of items.")] = None,
    source: Annotated[
        str | None, typer.Option("--source", help="All of a source; * at its end.")
    ] = None,
    label: Labels = None,
    everything: Annotated[bool, typer.Option("--everything", help="All of the scope.")] = False,
    derived: Annotated[bool, typer.Option("--derived", help="Also what was derived.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    db: Db = None,
    scope: ScopeName = None,
    json: Json = False,
) -> None:
    """Remove content for good; in Python: memory.erase(selector)."""
    from byheart.core.memory import Selector

    what = Selector(
        ids=tuple(id or ()), source=source, labels=_labels(label), everything=everything
    )
    with _open(db, scope, create=False) as memory:
        n = sum(1 for _ in memory.items(what, history=True))
        if n and not yes and sys.stdin.isatty():
            typer.confirm(f"erase {n} items for good, with all their versions?", abort=True)
        receipt = memory.erase(what, derived=derived)
    _receipt(receipt, json, f"erased {len(receipt.ids)} items")


def undo(
    entry: Annotated[int, typer.Argument(help="Number of the entry in the log.")],
    db: Db = None,
    scope: ScopeName = None,
    json: Json = False,
) -> None:
    """Take back a write, a supersession or an undo; in Python: memory.undo(receipt)."""
    with _open(db, scope, create=False) as memory:
        receipt = memory.undo(entry)
    number = "" if receipt.seq is None else f" (entry {receipt.seq[1]})"
    _receipt(receipt, json, f"undid entry {entry}{number}")


def diff(
    before: Annotated[str, typer.Argument(help="The earlier time.")],
    after: Annotated[str | None, typer.Argument(help="The later; now if left out.")] = None,
    clock: Annotated[str, typer.Option("--clock", help="recorded or valid.")] = "recorded",
    db: Db = None,
    scope: ScopeName = None,
    json: Json = False,
) -> None:
    """What changed between two times; in Python: memory.diff(before, after)."""
    with _open(db, scope, create=False) as memory:
        found = memory.diff(before, after, clock=clock)
    if json:
        out = {k: [i.to_dict() for i in found[k]] for k in ("added", "removed")}
        _print({**out, "changed": [[a.to_dict(), b.to_dict()] for a, b in found["changed"]]})
        return
    for sign, items in (("+", found["added"]), ("-", found["removed"])):
        for item in items:
            typer.echo(f"{sign} {item.id}  {_shown(item.content)}")
    for old, new in found["changed"]:
        typer.echo(f"~ {new.id}  {_shown(old.content)}  ->  {_shown(new.content)}")


def export(
    to: Annotated[str, typer.Argument(help="A file; - writes to stdout.")],
    current: Annotated[bool, typer.Option("--current", help="Without history and cubes.")] = False,
    cube: Cube = None,
    db: Db = None,
    scope: ScopeName = None,
) -> None:
    """Write items as JSON lines; in Python: memory.export(path)."""
    with _open(db, scope, create=False) as memory:
        if to == "-":
            for line in memory.export_lines(history=not current, cube=cube):
                typer.echo(line)
            return
        n = memory.export(to, history=not current, cube=cube)
    typer.echo(f"wrote {n} lines to {to}", err=True)


def import_(
    file: Annotated[str, typer.Argument(help="A file; - reads stdin.")],
    format: Annotated[
        str, typer.Option("--format", help="byheart, chat, mem0 or mcp.")
    ] = "byheart",
    db: Db = None,
    scope: ScopeName = None,
    json: Json = False,
) -> None:
    """Take in an export, all of it or nothing; in Python: memory.import_(path)."""
    from byheart.core.errors import UnknownName
    from byheart.stores.chat import chat_items
    from byheart.stores.exchange import parse_json
    from byheart.stores.importers import mcp_items, mem0_items

    formats = {"byheart": None, "chat": chat_items, "mem0": mem0_items, "mcp": mcp_items}
    if format not in formats:
        raise UnknownName("format", format, formats)
    name = "stdin" if file == "-" else file
    text = _read(file)
    made = None
    if format == "mcp":
        made = mcp_items(text, where=name)
    elif format != "byheart":
        make = formats[format]
        assert make is not None
        made = make(parse_json(text, name), where=name)
    with _open(db, scope, create=True) as memory:
        if made is None:
            receipt = memory.import_(_lines(text), where=name)
        else:
            receipt = memory.write(made)
    new = 0 if receipt.seq is None else len(receipt.ids)
    _receipt(receipt, json, f"imported {new} items" if new else "nothing new in it")


def _lines(text: str) -> Iterator[str]:
    yield from text.split("\n")


def rebuild(
    db: Db = None, scope: ScopeName = None, encoder: Encoder = None, json: Json = False
) -> None:
    """Make everything derived anew from the log; in Python: memory.rebuild()."""
    with _open(db, scope, create=False, encoder=encoder) as memory:
        done = memory.rebuild()
    if json:
        _print(done)
    else:
        typer.echo("rebuilt: " + ", ".join(f"{n} {name}" for name, n in done.items()))


def check(
    head: Annotated[str | None, typer.Option("--head", help="Hash the newest entry had.")] = None,
    db: Db = None,
    scope: ScopeName = None,
    json: Json = False,
) -> None:
    """Verify file, chain, digests and derived data; in Python: memory.check(). Exit 1 if broken."""
    with _open(db, scope, create=False) as memory:
        problems = memory.check(head)
        seq, hash = memory.store.head() if not problems else (0, "")
    if json:
        _print({"problems": [vars(p) for p in problems], "entries": seq, "head": hash})
    else:
        for problem in problems:
            typer.echo(str(problem))
        if not problems:
            typer.echo(f"all is well: {seq} entries, head {hash}")
    if problems:
        raise typer.Exit(1)


def stats(
    db: Db = None, scope: ScopeName = None, encoder: Encoder = None, json: Json = False
) -> None:
    """Counts of the scope; in Python: memory.stats()."""
    with _open(db, scope, create=False, encoder=encoder) as memory:
        told = memory.stats()
    if json:
        _print(told)
        return
    for name, value in told.items():
        if isinstance(value, dict):
            value = ", ".join(f"{k} {n}" for k, n in value.items()) or "none"
        typer.echo(f"{name}: {value}")


def register(app: typer.Typer) -> None:
    """Add the verb and its verbs."""
    group = typer.Typer(
        help="A memory in one file: nothing is lost silently.", no_args_is_help=True
    )
    for name, verb in (
        ("write", write), ("recall", recall), ("show", show), ("log", log),
        ("supersede", supersede), ("erase", erase), ("undo", undo), ("diff", diff),
        ("as-of", as_of), ("export", export), ("import", import_), ("rebuild", rebuild),
        ("check", check), ("stats", stats),
    ):  # fmt: skip
        group.command(name)(verb)
    app.add_typer(group, name="memory")
