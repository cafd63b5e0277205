"""Dumps of other memories as items: mem0, and the MCP memory server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from byheart.core.errors import DataError, UsageError
from byheart.core.item import Item, moment
from byheart.stores.exchange import parse_json

__all__ = ["mcp_items", "mem0_items"]


def mem0_items(dump: Any, *, where: str = "mem0 dump") -> list[Item]:
    """Items out of what mem0's `get_all()` returns.

    A list of memories, or ``{"results": [...]}``; each has ``memory`` (the text), and may have ``id``,
    ``created_at``, ``updated_at``, ``metadata``, ``user_id``, ``agent_id``, ``run_id``,
    ``categories``. mem0's text was written by a model, so its trust is "derived".

    Raises:
        DataError: With the memory that cannot be used.
    """
    if isinstance(dump, Mapping):
        if "results" not in dump:
            raise DataError(
                f"{where}: results are wanted, got {', '.join(map(str, list(dump)[:5]))}"
            )
        dump = dump["results"]
    if not isinstance(dump, Sequence) or isinstance(dump, str):
        raise DataError(f"{where}: a list of memories is wanted, got {type(dump).__name__}")
    out = []
    for number, memory in enumerate(dump, 1):
        place = f"{where}, memory {number}"
        if not isinstance(memory, Mapping) or not isinstance(memory.get("memory"), str):
            raise DataError(f"{place}: it has no text under 'memory'")
        labels: dict[str, Any] = {
            key: memory[key]
            for key in ("user_id", "agent_id", "run_id", "categories", "metadata", "updated_at")
            if memory.get(key) not in (None, "", [], {})
        }
        more: dict[str, Any] = {}
        if memory.get("id") is not None:
            more["id"] = str(memory["id"])
        try:
            out.append(
                Item(
                    memory["memory"],
                    source=f"mem0:{memory.get('id', number)}",
                    trust="derived",
                    origin="inference extraction",
                    valid_from=moment(memory.get("created_at"), "created_at"),
                    labels=labels,
                    **more,
                )
            )
        except UsageError as error:
            raise DataError(f"{place}: {error}") from error
    return out


def mcp_items(text: str, *, where: str = "MCP dump") -> list[Item]:
    """Items out of the MCP memory server's file: entities with observations, and relations.

    Its JSON lines (``{"type": "entity", ...}``, ``{"type": "relation", ...}``), or one object with
    ``entities`` and ``relations``. Each observation and each relation becomes a note.

    Raises:
        DataError: With the line that cannot be used.
    """
    out: list[Item] = []
    for place, record in _mcp_records(text, where):
        if not isinstance(record, Mapping):
            raise DataError(f"{place}: an entity or relation is a JSON object")
        try:
            if record.get("type") == "relation":
                parts = [record.get(k) for k in ("from", "relationType", "to")]
                if not all(isinstance(p, str) and p for p in parts):
                    raise DataError(f"{place}: a relation has from, relationType and to")
                labels = dict(zip(("from", "relation", "to"), parts, strict=True))
                out.append(
                    Item(
                        " ".join(map(str, parts)),
                        source="mcp-memory",
                        trust="derived",
                        labels=labels,
                    )
                )
            elif record.get("type") == "entity":
                out += _entity(record, place)
            else:
                raise DataError(
                    f"{place}: type must be entity or relation, got {record.get('type')!r}"
                )
        except UsageError as error:
            raise DataError(f"{place}: {error}") from error
    return out


def _mcp_records(text: str, where: str) -> list[tuple[str, Any]]:
    lines = [(n, line) for n, line in enumerate(text.split("\n"), 1) if line.strip()]
    if lines and (len(lines) == 1 or lines[0][1].strip() == "{"):
        whole = parse_json(text, where)
        if isinstance(whole, Mapping) and ("entities" in whole or "relations" in whole):
            out: list[tuple[str, Any]] = []
            for key, kind in (("entities", "entity"), ("relations", "relation")):
                rows = whole.get(key, [])
                if not isinstance(rows, list):
                    raise DataError(f"{where}: {key} must be a list, got {type(rows).__name__}")
                for n, row in enumerate(rows, 1):
                    told = {"type": kind, **row} if isinstance(row, Mapping) else row
                    out.append((f"{where}, {kind} {n}", told))
            return out
    return [(f"{where}, line {n}", parse_json(line, f"{where}, line {n}")) for n, line in lines]


def _entity(record: Mapping[str, Any], place: str) -> list[Item]:
    name, kind = record.get("name"), record.get("entityType", "")
    observations = record.get("observations", [])
    if not isinstance(name, str) or not name:
        raise DataError(f"{place}: an entity has a name")
    if not isinstance(observations, list) or not all(isinstance(o, str) for o in observations):
        raise DataError(f"{place}: observations must be a list of texts")
    return [
        Item(
            f"{name}: {observation}",
            source=f"mcp-memory:{' '.join(name.split())}",
            trust="derived",
            labels={"entity": name, "type": str(kind), "thread": f"mcp:{name}"},
        )
        for observation in observations or [f"a {kind}" if kind else "known by name"]
    ]
