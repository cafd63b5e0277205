"""What a memory is made of: items in scopes, bundled into cubes.

>>> item = Item("Ana is allergic to penicillin.", source="chat:12", trust="user")
>>> item.digest[:12]
'79bc8cde2e29'
>>> Item.from_dict(item.to_dict()) == item
True
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import math
import os
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, date, datetime
from typing import Any, Literal, get_args

from byheart.core.errors import DataError, UsageError

__all__ = ["KINDS", "ORIGINS", "TRUST", "Item", "Kind", "Scope", "moment", "new_id"]

Kind = Literal["note", "state", "weights"]
KINDS: tuple[str, ...] = get_args(Kind)
"""MemOS's three kinds: plaintext, activation, parametric."""

TRUST = ("user", "assistant", "tool", "document", "web", "derived", "unverified")
"""Whose word it is, which is what a reader should know before believing it."""

ORIGINS = ("user input", "inference extraction", "external retrieval", "parameter fine-tuning")
"""MemOS's origin signatures (2507.03724, §4)."""

_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_FIELDS = ("tenant", "user", "agent", "session")


@dataclass(frozen=True, slots=True)
class Scope:
    """Whose memory it is: tenant, user, agent, session.

    A handle that was opened with a scope meets items of exactly this scope. A `"*"` for user, agent
    or session opens all of them to reading (never tenants: those are walls).

    Args:
        tenant: The outermost wall.
        user: A person within it.
        agent: An agent within it.
        session: A conversation.

    >>> str(Scope.parse("acme/ana"))
    'acme/ana'
    >>> Scope.parse("user=ana, session=s1")
    Scope(tenant='local', user='ana', agent='', session='s1')
    >>> Scope("acme", "*").covers(Scope("acme", "ana"))
    True
    """

    tenant: str = "local"
    user: str = ""
    agent: str = ""
    session: str = ""

    def __post_init__(self) -> None:
        for name in _FIELDS:
            value = getattr(self, name)
            if not isinstance(value, str):
                raise UsageError(f"scope: {name} must be text, got {value!r}")
            if any(c in "/,=\0" or not c.isprintable() for c in value) or value != value.strip():
                raise UsageError(
                    f"scope: {name} is {value!r}; it must be printable, without / , = and spaces "
                    "at its ends"
                )
        if self.tenant in ("", "*"):
            raise UsageError(f"scope: tenant must be one name, got {self.tenant!r}")

    @classmethod
    def parse(cls, text: str | Scope | Mapping[str, str] | None) -> Scope:
        """From ``"tenant/user/agent/session"``, ``"user=ana,session=s1"``, a mapping or a Scope.

        Raises:
            UsageError: Too many parts, or a name that is none of the four.
        """
        if text is None:
            return cls()
        if isinstance(text, Scope):
            return text
        if isinstance(text, Mapping):
            given = dict(text)
        elif "=" in text:
            pairs = [p.split("=", 1) for p in text.split(",")]
            if any(len(p) != 2 for p in pairs):
                raise UsageError(f"scope {text!r}: write name=value pairs, with commas between")
            given = {k.strip(): v.strip() for k, v in pairs}
            if len(given) < len(pairs):
                raise UsageError(f"scope {text!r}: a name is given twice")
        else:
            parts = text.split("/")
            if len(parts) > 4:
                raise UsageError(
                    f"scope {text!r} has {len(parts)} parts; tenant/user/agent/session"
                )
            given = dict(zip(_FIELDS, parts, strict=False))
            if not given["tenant"]:
                raise UsageError(f"scope {text!r}: the first part, the tenant, is empty")
        wrong = sorted(set(given) - set(_FIELDS))
        if wrong:
            raise UsageError(
                f"scope: no part is called {wrong[0]!r}; there are {', '.join(_FIELDS)}"
            )
        return cls(**given)

    @property
    def open(self) -> bool:
        """Whether it has a `"*"`, and so names more than one scope."""
        return "*" in (self.user, self.agent, self.session)

    def covers(self, other: Scope) -> bool:
        """Whether a handle of this scope meets items of the other."""
        return all(
            mine in (theirs, "*") for mine, theirs in zip(self.parts, other.parts, strict=True)
        )

    @property
    def parts(self) -> tuple[str, str, str, str]:
        """The four names in their order."""
        return self.tenant, self.user, self.agent, self.session

    def __str__(self) -> str:
        return "/".join(self.parts).rstrip("/")


class _Ids(threading.local):
    last = 0
    tail = 0


_ids = _Ids()


def new_id() -> str:
    """A name that sorts by time: 48 bits of milliseconds, 80 random ones, as ULIDs are written.

    Within a thread each is greater than the one before.
    """
    now = time.time_ns() // 1_000_000
    if now <= _ids.last:
        _ids.tail += 1
    else:
        # the top bit stays clear, so that counting up never overflows
        _ids.last, _ids.tail = now, int.from_bytes(os.urandom(10), "big") >> 1
    number = (_ids.last << 80) | _ids.tail
    return "".join(_CROCKFORD[(number >> shift) & 31] for shift in range(125, -1, -5))


def moment(value: datetime | date | str | float | None, name: str = "time") -> datetime | None:
    """A point in time in UTC, from what people write.

    Args:
        value: A datetime, a date (its midnight), ISO 8601 text, or seconds since 1970. Times without
            a zone are taken as UTC.
        name: What it is, for the message.

    Raises:
        UsageError: It cannot be read.
    """
    if value is None:
        return None
    try:
        if isinstance(value, str):
            value = datetime.fromisoformat(value.strip())
        elif isinstance(value, int | float) and not isinstance(value, bool):
            value = datetime.fromtimestamp(value, UTC)
        elif not isinstance(value, datetime) and isinstance(value, date):
            value = datetime(value.year, value.month, value.day, tzinfo=UTC)
        if not isinstance(value, datetime):
            raise TypeError(f"it is a {type(value).__name__}")
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    except (ValueError, TypeError, OverflowError, OSError) as error:
        raise UsageError(
            f"{name} {value!r} cannot be read ({error}); write it as 2026-03-01 or "
            "2026-03-01T12:00:00+00:00"
        ) from error


@dataclass(frozen=True)
class Item:
    """One thing remembered; frozen. A change is another item that supersedes it.

    Args:
        content: Text; of states and weights a description.
        kind: ``"note"``, ``"state"`` (a key/value cache) or ``"weights"`` (an adapter).
        blob: Bytes of a state or of weights.
        id: A name that sorts by time.
        scope: Whose; None takes the handle's.
        source: Where it came from, such as ``"chat:12"`` or ``"notes.md"``.
        trust: Whose word it is, one of `TRUST`.
        origin: MemOS's origin signature, one of `ORIGINS`.
        valid_from: Since when it holds in the world; the time of recording if left out.
        valid_to: Until when, exclusive; None is open.
        expires_at: Time to live: from then on it is not recalled and `expire` ends it.
        recorded_at: When the store took it; set by the store.
        supersedes: Id of the item it takes the place of.
        parents: Ids of the items it was derived from.
        labels: Anything else that JSON holds: tags, speaker, thread, sensitivity, priority.
    """

    content: str = ""
    kind: Kind = "note"
    blob: bytes | None = field(default=None, repr=False)
    id: str = field(default_factory=new_id)
    scope: Scope | None = None
    source: str = ""
    trust: str = "unverified"
    origin: str = "user input"
    valid_from: datetime | None = None
    valid_to: datetime | None = None
    expires_at: datetime | None = None
    recorded_at: datetime | None = None
    supersedes: str | None = None
    parents: tuple[str, ...] = ()
    labels: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UsageError(f"kind must be one of {', '.join(KINDS)}, got {self.kind!r}")
        if self.trust not in TRUST:
            raise UsageError(f"trust must be one of {', '.join(TRUST)}, got {self.trust!r}")
        if self.origin not in ORIGINS:
            raise UsageError(f"origin must be one of {', '.join(ORIGINS)}, got {self.origin!r}")
        for name in ("content", "source"):
            _writable(getattr(self, name), name)
        if not (isinstance(self.id, str) and 0 < len(self.id) <= 200 and self.id.isprintable()):
            raise UsageError(f"an id must be 1 to 200 printable characters, got {self.id!r}")
        if self.blob is not None and not isinstance(self.blob, bytes):
            raise UsageError(f"blob must be bytes, got {type(self.blob).__name__}")
        for name in ("valid_from", "valid_to", "expires_at", "recorded_at"):
            object.__setattr__(self, name, moment(getattr(self, name), name))
        if self.valid_from and self.valid_to and self.valid_to <= self.valid_from:
            raise UsageError(
                f"valid_to {self.valid_to.isoformat()} is not after "
                f"valid_from {self.valid_from.isoformat()}"
            )
        if isinstance(self.parents, str):
            raise UsageError(f"parents must be a sequence of ids, got the text {self.parents!r}")
        object.__setattr__(self, "parents", tuple(self.parents))
        object.__setattr__(self, "labels", _plain(dict(self.labels), "labels"))

    def __hash__(self) -> int:
        return hash(self.id)

    @property
    def digest(self) -> str:
        """SHA-256 over kind, content and blob, in hexadecimal: equal content has equal digests."""
        h = hashlib.sha256(self.kind.encode() + b"\0" + self.content.encode())
        if self.blob is not None:
            h.update(b"\0blob\0" + self.blob)
        return h.hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; defaults are left out, times are ISO 8601, the blob is base64."""
        out: dict[str, Any] = {"id": self.id, "content": self.content, "digest": self.digest}
        for f in fields(self):
            value = getattr(self, f.name)
            if f.name in ("id", "content") or value in (None, "", (), {}):
                continue
            if f.name in _DEFAULTS and value == _DEFAULTS[f.name]:
                continue
            if isinstance(value, datetime):
                value = value.isoformat()
            elif isinstance(value, Scope):
                value = str(value)
            elif isinstance(value, bytes):
                value = base64.b64encode(value).decode()
            elif isinstance(value, tuple):
                value = list(value)
            out[f.name] = value
        unknown = out.get("labels", {}).get(_UNKNOWN)
        if unknown:
            labels = {k: v for k, v in out.pop("labels").items() if k != _UNKNOWN}
            out.update({**unknown, **({"labels": labels} if labels else {})})
        return out

    @classmethod
    def from_dict(cls, record: Mapping[str, Any], where: str = "item") -> Item:
        """Back from `to_dict`; fields of a later version are kept and written out again.

        Raises:
            DataError: A field has the wrong type, or the digest does not fit the content.
        """
        if not isinstance(record, Mapping):
            raise DataError(f"{where}: an item is a JSON object, got {type(record).__name__}")
        given = dict(record)
        digest = given.pop("digest", None)
        known = {f.name for f in fields(cls)}
        unknown = {k: given.pop(k) for k in list(given) if k not in known}
        try:
            for name in ("content", "kind", "id", "source", "trust", "origin"):
                if name in given and not isinstance(given[name], str):
                    raise UsageError(f"{name} must be text, got {given[name]!r}")
            if isinstance(given.get("blob"), str):
                given["blob"] = base64.b64decode(given["blob"], validate=True)
            if given.get("scope") is not None:
                given["scope"] = Scope.parse(given["scope"])
            if not isinstance(given.get("parents", []), list | tuple):
                raise UsageError(f"parents must be a list of ids, got {given['parents']!r}")
            if not isinstance(given.get("labels", {}), Mapping):
                raise UsageError(f"labels must be an object, got {given['labels']!r}")
            if not isinstance(given.get("supersedes"), str | None):
                raise UsageError(f"supersedes must be an id, got {given['supersedes']!r}")
            if unknown:
                given["labels"] = {**given.get("labels", {}), _UNKNOWN: unknown}
            item = cls(**given)
        except (UsageError, binascii.Error, TypeError, AttributeError) as error:
            raise DataError(f"{where}: {error}") from error
        if any(not isinstance(p, str) for p in item.parents):
            raise DataError(f"{where}: parents must be ids, got {list(item.parents)!r}")
        if digest is not None and digest != item.digest:
            raise DataError(
                f"{where}: the digest {str(digest)[:12]}... does not fit the content "
                f"({item.digest[:12]}...); it was changed after it was exported"
            )
        return item

    def but(self, **changes: Any) -> Item:
        """A copy with some fields changed."""
        return replace(self, **changes)


_UNKNOWN = "_unknown"
_DEFAULTS = {"trust": "unverified", "origin": "user input", "kind": "note"}


def _writable(text: Any, name: str) -> None:
    if not isinstance(text, str):
        raise UsageError(f"{name} must be text, got {type(text).__name__}")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise UsageError(
            f"{name} has half a character (a lone surrogate, {text[error.start]!r}) at position "
            f"{error.start}; it cannot be stored as UTF-8. Decode the source with its right encoding"
        ) from error


def _plain(value: Any, path: str) -> Any:
    """Only what JSON holds, so that what is read back equals what was written."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        _writable(value, path)
        return str(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise UsageError(f"{path} is {value}; labels hold finite numbers only")
        return float(value)
    if isinstance(value, Mapping):
        for key in value:
            _writable(key, f"a key of {path}")
        return {str(k): _plain(v, f"{path}.{k}") for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v, f"{path}[{i}]") for i, v in enumerate(value)]
    raise UsageError(f"{path} is a {type(value).__name__}; labels hold JSON values only")


def canonical(value: Any) -> str:
    """JSON with sorted keys and no spaces: the same value gives the same bytes."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
