"""One item as one Markdown file of the Open Knowledge Format, version 0.2.

The format (github.com/GoogleCloudPlatform/knowledge-catalog, okf/SPEC.md) asks for front matter with
a `type`, and allows keys of one's own. Its keys are used where they mean what a field of an item
means; `seal`, a digest over all fields, tells whether somebody edited the file since.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from byheart.core.errors import DataError, UsageError
from byheart.core.item import Item, canonical, moment
from byheart.core.lifecycle import STATES
from byheart.stores import _front_matter

__all__ = ["Link", "Note", "file_stem", "from_text", "seal", "to_text"]

KINDS = {"Note": "note", "State": "state", "Weights": "weights"}
_NAMES = {kind: name for name, kind in KINDS.items()}
FOOTER = "<!-- byheart: links -->"
"""Begins what is made from `links` for readers; what stands behind it is no content."""

_DERIVED = ("generated", "status", "stale_after")
_OURS = (
    "type", "title", "description", "resource", "tags", "id", "trust", "origin", "sources",
    "valid_from", "valid_to", "expires_at", "supersedes", "scope", "state", "labels", "line_ends",
    "content", "blob", "links", *_DERIVED, "seal",
)  # fmt: skip
_LABELS = ("title", "description", "resource")
_ODD = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")
_LINK = re.compile(
    r"(?<!!)\[(?:[^\]\\\n]|\\.){0,300}\]\(\s{0,3}<?([^)\s>#]{1,300}\.md)(?:#[^)\s>]{0,300})?>?[^)\n]{0,300}\)"
)
_WIKI = re.compile(r"(?<!!)\[\[([^\]|#\n]{1,300})(?:#[^\]|\n]{0,300})?(?:\|[^\]\n]{0,300})?\]\]")


@dataclass(frozen=True)
class Link:
    """A link from an item to another."""

    to: str
    label: str = ""
    weight: float = 1.0


@dataclass(frozen=True)
class Note:
    """What a file holds.

    Args:
        item: The item; without an id of its own in a file that a person began.
        path: Of the file, relative to the folder, with "/"; "" before it is written.
        state: Its place in the lifecycle.
        status: ``"stable"``, ``"deprecated"`` (superseded) or ``"draft"``.
        links: To other items, by id.
        targets: Files that its text links to, relative to the folder; may be missing there.
        own_id: Whether the file names an id.
        intact: True if the file is as it was written, False if it was edited, None without a seal.
    """

    item: Item
    path: str = ""
    state: str = "Generated"
    status: str = "stable"
    links: tuple[Link, ...] = ()
    targets: tuple[str, ...] = ()
    own_id: bool = True
    intact: bool | None = None
    blob: str = field(default="", compare=False)


def seal(item: Item) -> str:
    """SHA-256 over every field but the recorded time, which a store sets."""
    told = item.to_dict()
    told.pop("recorded_at", None)
    return hashlib.sha256(canonical(told).encode()).hexdigest()


def file_stem(item: Item) -> str:
    """A name that tells the content, unique by the id, the same where case does not count."""
    title = item.labels.get("title")
    text = title if isinstance(title, str) else item.content.strip()[:200].split("\n")[0]
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    words = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:40].strip("-")
    return f"{words or item.kind}-{hashlib.sha256(item.id.encode()).hexdigest()[:10]}"


# -------------------------------------------------------------------- writing


def to_text(note: Note, *, paths: Mapping[str, str], titles: Mapping[str, str], maker: str) -> str:
    """The file's text.

    Args:
        note: With its path.
        paths: Id to path, of the files that are written along.
        titles: Id to what a link to it shows.
        maker: Who wrote the file, as the format names agents: ``"byheart/0.1.0"``.
    """
    item, content = note.item, note.item.content
    head: dict[str, Any] = {}
    labels = dict(item.labels)
    kind = labels.get("type")
    if item.kind == "note" and isinstance(kind, str) and kind.strip() and kind not in KINDS:
        head["type"] = labels.pop("type")
    else:
        head["type"] = _NAMES[item.kind]
    for name in _LABELS:
        if isinstance(labels.get(name), str) and labels[name]:
            head[name] = labels.pop(name)
    tags = labels.get("tags")
    if isinstance(tags, list) and tags and all(isinstance(t, str) for t in tags):
        head["tags"] = labels.pop("tags")
    foreign = labels.get("okf")
    if isinstance(foreign, dict) and (free := set(foreign) - set(_OURS)):
        rest = {k: v for k, v in foreign.items() if k not in free}
        labels.pop("okf")
        labels.update({"okf": rest} if rest else {})
        head.update({k: v for k, v in foreign.items() if k in free})
    head["id"] = item.id
    head["trust"] = item.trust
    head["origin"] = item.origin
    sources: list[dict[str, Any]] = [{"resource": item.source}] if item.source else []
    for parent in item.parents:
        resource = _relative(paths[parent], note.path) if parent in paths else f"item {parent}"
        sources.append({"resource": resource, "item": parent})
    if sources:
        head["sources"] = sources
    for name in ("valid_from", "valid_to", "expires_at"):
        value = getattr(item, name)
        if value is not None:
            head[name] = value.isoformat()
    if item.supersedes is not None:
        head["supersedes"] = item.supersedes
    if item.scope is not None:
        head["scope"] = str(item.scope)
    if note.state != "Generated":
        head["state"] = note.state
    if labels:
        head["labels"] = labels
    bare = (
        content.replace("\r\n", "\n") if content.count("\r\n") == content.count("\n") else content
    )
    if bare != content and "\r" not in bare and not _odd(bare):
        head["line_ends"] = "crlf"
    elif _odd(content):
        head["content"], bare = content, ""
    else:
        bare = content
    if item.blob is not None:
        stem = PurePosixPath(note.path).name.removesuffix(".md")
        head["blob"] = {
            "file": f"{stem}.blob", "sha256": hashlib.sha256(item.blob).hexdigest(),
        }  # fmt: skip
    if note.links:
        head["links"] = [{"to": x.to, "label": x.label, "weight": x.weight} for x in note.links]
    head["generated"] = {"by": maker}
    if item.recorded_at is not None:
        head["generated"]["at"] = item.recorded_at.isoformat()
    if note.status != "stable":
        head["status"] = note.status
    over = min((t for t in (item.valid_to, item.expires_at) if t is not None), default=None)
    if over is not None:
        head["stale_after"] = over.date().isoformat()
    head["seal"] = seal(item)
    body = f"\n{bare}\n"
    if note.links:
        body += f"\n{FOOTER}\n\n" + "".join(_told(x, note.path, paths, titles) for x in note.links)
    return f"---\n{_front_matter.write(head)}---\n{body}"


def _odd(content: str) -> bool:
    """Whether text does not survive editors and tools as a Markdown body."""
    return bool(_ODD.search(content)) or FOOTER in content


def _told(link: Link, here: str, paths: Mapping[str, str], titles: Mapping[str, str]) -> str:
    words = f" - {shown(link.label)}" if link.label else ""
    if link.to not in paths:
        return f"* item {shown(link.to)}, not in this folder{words}\n"
    return f"* [{shown(titles.get(link.to, link.to))}]({_relative(paths[link.to], here)}){words}\n"


def shown(text: str) -> str:
    """One line for a link or a list, without what Markdown would take as its own."""
    line = " ".join(text.split())
    line = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in line)
    line = line if len(line) <= 80 else line[:79] + "…"
    return re.sub(r"([\\\[\]<>*_`#])", r"\\\1", line)


def _relative(path: str, here: str) -> str:
    up = len(PurePosixPath(here).parts) - 1
    there, mine = PurePosixPath(path), PurePosixPath(here)
    return f"./{there.name}" if there.parent == mine.parent else "../" * up + path


# -------------------------------------------------------------------- reading


def from_text(text: str, path: str, where: str, blob: Any) -> Note:
    """Back from `to_text`, or out of a file that a person or another tool wrote.

    Args:
        text: Of the file; line ends are ``\\n``.
        path: Relative to the folder, with "/".
        where: Its name, for messages.
        blob: Function from a file's name to its bytes.

    Raises:
        DataError: With file, line and column.
    """
    head, body = _split(text, where)
    kind = head.pop("type", None)
    if not isinstance(kind, str) or not kind.strip():
        raise DataError(f"{where}, line 1, column 1: its front matter has no type, such as Note")
    sealed = head.get("seal")
    body, _, footer = body.partition(f"\n{FOOTER}")
    content = body.removeprefix("\n").removesuffix("\n")
    if "content" in head:
        if content.strip():
            raise DataError(f"{where}: it has content in the front matter and below; keep one")
        content = _field(head, "content", str, where)
    if (ends := head.pop("line_ends", "lf")) == "crlf":
        content = content.replace("\n", "\r\n")
    elif ends != "lf":
        raise DataError(f"{where}: line_ends must be lf or crlf, got {ends!r}")
    record: dict[str, Any] = {"content": content, "kind": KINDS.get(kind, "note")}
    labels = dict(_field(head, "labels", dict, where) or {})
    if kind not in KINDS:
        labels["type"] = kind
    for name in _LABELS:
        if isinstance(head.get(name), str) and head[name]:
            labels[name] = head.pop(name)
    tags = head.get("tags")
    if isinstance(tags, list) and tags and all(isinstance(t, str) for t in tags):
        labels["tags"] = head.pop("tags")
    for name in ("id", "trust", "origin", "valid_from", "valid_to", "expires_at", "supersedes",
                 "scope"):  # fmt: skip
        value = _field(head, name, str, where)
        if value is not None:
            record[name] = value
    state = _field(head, "state", str, where) or "Generated"
    if state not in STATES:
        raise DataError(f"{where}: state must be one of {', '.join(STATES)}, got {state!r}")
    links = _links(_field(head, "links", list, where) or [], where)
    told = _field(head, "blob", dict, where)
    name = ""
    if told is not None:
        name = _sibling(told.get("file"), where)
        record["blob"] = blob(name)
        wanted = told.get("sha256")
        if wanted is not None and hashlib.sha256(record["blob"]).hexdigest() != wanted:
            raise DataError(
                f"{where}: {name} does not fit its sha256; it is damaged or was replaced. To take "
                "the new one, remove the line sha256"
            )
    head.pop("seal", None)
    if sealed is not None or "id" in record:
        made = head.pop("generated", None)
        if isinstance(made, dict) and isinstance(made.get("at"), str):
            record["recorded_at"] = made["at"]
        status = head.pop("status", "stable")
        head.pop("stale_after", None)
        _sources(head, record, where)
    else:
        record.setdefault("trust", "document")
        status = _foreign(head, record, path)
    if head:
        old = labels.get("okf", {})
        if not isinstance(old, dict) or set(old) & set(head):
            raise DataError(f"{where}: labels.okf and the keys of the file contradict each other")
        labels["okf"] = {**old, **head}
    record["labels"] = labels
    try:
        item = Item.from_dict({k: v for k, v in record.items() if v is not None}, where)
    except UsageError as error:
        raise DataError(f"{where}: {error}") from error
    intact = None if sealed is None else sealed == seal(item)
    return Note(
        item, path, state, str(status), links, _targets(content + footer, path), "id" in record,
        intact, name,
    )  # fmt: skip


def _split(text: str, where: str) -> tuple[dict[str, Any], str]:
    first, _, rest = text.partition("\n")
    if first.rstrip() != "---":
        raise DataError(
            f"{where}, line 1, column 1: no front matter; a file of the Open Knowledge Format begins "
            'with the lines "---", "type: Note", "---"'
        )
    end = re.search(r"^---[ \t]*$", rest, re.M)
    if end is None:
        raise DataError(
            f"{where}, line 1, column 1: the front matter is not closed; a line --- is missing"
        )
    return _front_matter.read(rest[: end.start()], where, line=2), rest[end.end() + 1 :]


_WORDS = {"str": "text; put it in quotes", "dict": "name: value pairs", "list": "a list"}


def _field(head: dict[str, Any], name: str, kind: type, where: str) -> Any:
    value = head.pop(name, None)
    if value is not None and not isinstance(value, kind):
        words = _WORDS[kind.__name__]
        raise DataError(f"{where}: {name} must be {words}, got {value!r:.60}")
    return value


def _links(told: list[Any], where: str) -> tuple[Link, ...]:
    out = []
    for one in told:
        ok = isinstance(one, dict) and isinstance(one.get("to"), str)
        ok = ok and isinstance(one.get("label", ""), str)
        weight = one.get("weight", 1.0) if ok else None
        if isinstance(weight, bool) or not isinstance(weight, int | float) or abs(weight) > 1e300:
            raise DataError(
                f"{where}: a link has to: ID, and may have label and weight; got {one!r:.80}"
            )
        out.append(Link(one["to"], one.get("label", ""), float(weight)))
    return tuple(out)


def _sibling(name: Any, where: str) -> str:
    """The name of a file in the same folder, and nothing else."""
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,200}", name):
        raise DataError(
            f"{where}: blob names a file beside it (letters, digits, - _ .), got {name!r:.80}"
        )
    return name


def _sources(head: dict[str, Any], record: dict[str, Any], where: str) -> None:
    parents, plain = [], []
    for one in _field(head, "sources", list, where) or []:
        if not isinstance(one, dict) or not isinstance(one.get("resource", ""), str):
            raise DataError(f"{where}: a source has a resource, got {one!r:.80}")
        if isinstance(one.get("item"), str):
            parents.append(one["item"])
        else:
            plain.append(one)
    if plain:
        record["source"] = plain[0].get("resource", "")
        if len(plain) > 1 or set(plain[0]) - {"resource"}:
            head["sources_seen"] = plain
    record["parents"] = parents


def _foreign(head: dict[str, Any], record: dict[str, Any], path: str) -> str:
    """Of a file that is not of ours: its keys are kept whole, and used where they mean the same."""
    sources = head.get("sources")
    first = sources[0] if isinstance(sources, list) and sources else None
    if isinstance(first, dict) and isinstance(first.get("resource"), str):
        record["source"] = first["resource"]
    else:
        record["source"] = path
    made = head.get("generated")
    at = made.get("at") if isinstance(made, dict) else head.get("timestamp")
    if record.get("valid_from") is None and isinstance(at, str):
        # a time that cannot be read is kept as it is, and dates nothing
        with contextlib.suppress(UsageError):
            record["valid_from"] = moment(at, "generated.at")
    return str(head.get("status", "stable"))


def _targets(text: str, path: str) -> tuple[str, ...]:
    """Files that Markdown or wiki links lead to, within the folder."""
    found = [m.group(1) for m in _LINK.finditer(text)]
    found += [m.group(1).strip().removesuffix(".md") + ".md" for m in _WIKI.finditer(text)]
    out = []
    for target in found:
        if "://" in target:
            continue
        parts: list[str] = []
        if not target.startswith("/"):
            parts += PurePosixPath(path).parent.parts
        for part in target.split("/"):
            if part == ".." and parts:
                parts.pop()
            elif part == "..":
                break  # leads out of the folder
            elif part not in ("", "."):
                parts.append(part)
        else:
            out.append("/".join(parts))
    return tuple(dict.fromkeys(out))
