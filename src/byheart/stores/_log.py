"""The log: entries, their chain of hashes, and what each of them does to the derived tables."""

from __future__ import annotations

import hashlib
import json
import os
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from byheart.core.errors import CorruptStore
from byheart.core.item import Item, Scope, canonical
from byheart.core.memory import Event
from byheart.stores._apply import apply
from byheart.stores._schema import FOREVER, NEVER, from_micros, to_micros
from byheart.stores._writer import Conn

__all__ = [
    "Draft",
    "append",
    "entry_hash",
    "events",
    "item_of",
    "pack",
    "payload_hash",
    "undone",
    "unpack",
]

START = b"byheart memory log".ljust(32, b"\0")
"""What stands where the hash of an entry before the first would be."""


@dataclass(frozen=True, slots=True)
class Draft:
    """An entry to be.

    Args:
        kind: What is done.
        subject: To what.
        scope: Number of the scope.
        data: Structure that stays: ids, times, states, counts.
        body: What `erase` can take away.
        blob: Bytes that belong to the body.
    """

    kind: str
    subject: str
    scope: int
    data: dict[str, Any]
    body: dict[str, Any] | None = None
    blob: bytes | None = None


def pack(body: dict[str, Any], blob: bytes | None) -> bytes:
    """Length of the JSON, the JSON, the blob."""
    text = canonical(body).encode()
    return struct.pack("<I", len(text)) + text + (b"" if blob is None else b"\1" + blob)


def unpack(packed: bytes) -> tuple[dict[str, Any], bytes | None]:
    """Back from `pack`."""
    (n,) = struct.unpack_from("<I", packed)
    rest = packed[4 + n :]
    return json.loads(packed[4 : 4 + n]), (rest[1:] if rest else None)


def payload_hash(salt: bytes, packed: bytes) -> bytes:
    """SHA-256 over salt and body. Once the salt is gone it tells nothing of the body."""
    return hashlib.sha256(salt + packed).digest()


def entry_hash(
    before: bytes,
    seq: int,
    at: int,
    scope: int,
    kind: str,
    subject: str,
    actor: str,
    data: str,
    payload: bytes | None,
) -> bytes:
    """SHA-256 over the hash before and everything that an entry holds."""
    text = json.dumps([seq, at, scope, kind, subject, actor, data, (payload or b"").hex()])
    return hashlib.sha256(before + text.encode()).digest()


def append(conn: Conn, drafts: Sequence[Draft], *, now: int, actor: str) -> list[tuple[int, int]]:
    """Write entries and apply them; within the caller's transaction.

    Args:
        conn: In a transaction.
        drafts: In their order.
        now: What the clock says, in microseconds. An entry is never earlier than the one before:
            where the clock went back, recorded time goes on by one microsecond.
        actor: Who calls.

    Returns:
        Place and recorded time of each.
    """
    last = conn.execute("SELECT seq, at, hash FROM events ORDER BY seq DESC LIMIT 1").fetchone()
    seq, at, before = last or (0, NEVER, START)
    out = []
    for draft in drafts:
        seq, at = seq + 1, max(now, at + 1)
        data = canonical(draft.data)
        packed = salt = digest = None
        if draft.body is not None:
            packed, salt = pack(draft.body, draft.blob), os.urandom(16)
            digest = payload_hash(salt, packed)
        before = entry_hash(
            before, seq, at, draft.scope, draft.kind, draft.subject, actor, data, digest
        )
        conn.execute(
            "INSERT INTO events VALUES(?,?,?,?,?,?,?,?,?)",
            (seq, at, draft.scope, draft.kind, draft.subject, actor, data, digest, before),
        )
        if packed is not None:
            conn.execute("INSERT INTO payloads VALUES(?,?,?)", (seq, salt, packed))
        apply(conn, seq, at, draft.scope, draft.kind, draft.subject, draft.data, draft.body)
        out.append((seq, at))
    return out


def body_of(item: Item) -> dict[str, Any]:
    """What of an item `erase` can take away: all but ids, kind and times."""
    body: dict[str, Any] = {"content": item.content, "digest": item.digest}
    for name in ("source", "trust", "origin"):
        body[name] = getattr(item, name)
    if item.parents:
        body["parents"] = list(item.parents)
    if item.labels:
        body["labels"] = dict(item.labels)
    return body


def data_of(item: Item, **more: Any) -> dict[str, Any]:
    """What of an item stays in the log."""
    data: dict[str, Any] = {"kind": item.kind}
    for name, key in (("valid_from", "from"), ("valid_to", "to"), ("expires_at", "expires")):
        value = getattr(item, name)
        if value is not None:
            data[key] = to_micros(value)
    if item.supersedes is not None:
        data["old"] = item.supersedes
    return {**data, **more}


_ITEM = """
SELECT e.seq, e.at, e.subject, e.data, e.payload, p.salt, p.body,
       s.tenant, s."user", s.agent, s.session
FROM events e JOIN scopes s ON s.id = e.scope LEFT JOIN payloads p ON p.seq = e.seq
"""


def item_of(record: Sequence[Any]) -> Item:
    """An item out of its entry; its content is checked against the log's digest.

    Raises:
        CorruptStore: The content is not what was written.
    """
    seq, at, subject, data, digest, salt, packed, *scope = record
    if packed is None or payload_hash(salt, packed) != digest:
        raise CorruptStore(
            f"item {subject} (entry {seq}): its content does not fit the digest in the log; the "
            "file was changed or is damaged. Run `byheart memory check`"
        )
    body, blob = unpack(packed)
    told = json.loads(data)
    body.pop("digest")
    return Item(
        id=subject,
        kind=told["kind"],
        blob=blob,
        scope=Scope(*scope),
        valid_from=from_micros(told.get("from", at)),
        valid_to=from_micros(told.get("to")),
        expires_at=from_micros(told.get("expires")),
        recorded_at=from_micros(at),
        supersedes=told.get("old"),
        **body,
    )


def load_items(conn: Conn, rows: Sequence[int]) -> dict[int, Item]:
    """Items by their rows."""
    out: dict[int, Item] = {}
    for begin in range(0, len(rows), 500):
        some = rows[begin : begin + 500]
        marks = ",".join(map(str, map(int, some)))
        for record in conn.execute(f"{_ITEM} WHERE e.seq IN ({marks})"):
            out[record[0]] = item_of(record)
    return out


def events(
    conn: Conn,
    scopes: str,
    *,
    after: int = 0,
    before: int = FOREVER,
    kind: str | None = None,
    subject: str | None = None,
    actor: str | None = None,
    since: int = NEVER,
    until: int = FOREVER,
    limit: int = 1000,
) -> Iterator[Event]:
    """Entries of some scopes, oldest first; `scopes` is an SQL condition on `e.scope`."""
    where = [f"{scopes}", "e.seq > ?", "e.seq < ?", "e.at >= ?", "e.at < ?"]
    values: list[Any] = [after, before, since, until]
    for column, value in (("kind", kind), ("subject", subject), ("actor", actor)):
        if value is not None:
            where.append(f"e.{column} = ?")
            values.append(value)
    rows = conn.execute(
        "SELECT e.seq, e.at, e.kind, e.subject, e.actor, e.data, e.hash, p.body, s.tenant,"
        ' s."user", s.agent, s.session FROM events e JOIN scopes s ON s.id = e.scope'
        f" LEFT JOIN payloads p ON p.seq = e.seq WHERE {' AND '.join(where)}"
        " ORDER BY e.seq LIMIT ?",
        (*values, limit),
    )
    for seq, at, kind_, subject_, actor_, data, digest, packed, *scope in rows:
        when = from_micros(at)
        assert when is not None
        body = None if packed is None else unpack(packed)[0]
        yield Event(
            seq, when, kind_, subject_, actor_, Scope(*scope), json.loads(data), body, digest.hex()
        )


def undone(conn: Conn, scope: int, subject: str) -> set[int]:
    """Entries about an item that were undone, where the undoing was not."""
    out: set[int] = set()
    for seq, data in conn.execute(
        "SELECT seq, data FROM events WHERE subject = ? AND scope = ? AND kind = 'undo'"
        " ORDER BY seq DESC",
        (subject, scope),
    ).fetchall():
        if seq not in out:
            out.add(json.loads(data)["seq"])
    return out
