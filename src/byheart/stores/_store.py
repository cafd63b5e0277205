"""What the stores share: who calls for which scope, writing, and keeping the place sound."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Self

from byheart.core.errors import FrozenError, StoreError, UnknownName, UsageError
from byheart.core.item import Item, Scope, canonical, new_id
from byheart.core.memory import Problem, Receipt, Selector
from byheart.stores import _check, _erase
from byheart.stores._candidates import Days, Kept
from byheart.stores._catch_up import embed
from byheart.stores._cubes import CubeMethods
from byheart.stores._embedder import Embedder, register
from byheart.stores._life import LifeMethods
from byheart.stores._log import Draft, append, body_of, data_of, undone
from byheart.stores._read import ReadMethods
from byheart.stores._schema import FOREVER, from_micros

if TYPE_CHECKING:
    from byheart.stores._writer import Conn, Connections

__all__ = ["Store"]


class Store(ReadMethods, LifeMethods, CubeMethods, ABC):
    """A memory over SQL tables whose append-only log is the truth.

    `SqliteStore` and `PostgresStore` say how to connect, how words and vectors are indexed, and
    what erasing has to do besides; everything else is here and in the three parts, once.

    Args:
        place: Its name for people; holds no password.
        scope: Whose memory; see `byheart.core.item.Scope`.
        connect: Makes the connections, once the other arguments are found sound.
        embedder: For search by meaning beside words.
        actor: Who calls: named in the log, and asked for by a cube's access rules.
        clock: Seconds since 1970; tests give their own.
        timeout: Seconds to wait for other processes.
        background: Embed many outstanding items in a thread rather than before the next query.
    """

    _words: Any
    _vectors: Any
    _beyond: tuple[str, ...] = ()

    def __init__(
        self,
        place: str,
        scope: Scope | str | Mapping[str, str] | None,
        connect: Callable[[], Connections],
        *,
        embedder: Embedder | None,
        actor: str,
        clock: Callable[[], float] | None,
        timeout: float,
        background: bool,
    ) -> None:
        self.scope = Scope.parse(scope)
        if not isinstance(actor, str) or not actor or not actor.isprintable() or actor == "*":
            raise UsageError(f"actor must be a name, got {actor!r}")
        if timeout < 0:
            raise UsageError(f"timeout must not be negative, got {timeout}")
        self.place, self.actor, self.embedder = place, actor, embedder
        self._clock, self.background = clock, background
        self._c: Any = connect()
        self._read_lock = threading.RLock()
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._background_error: Exception | None = None
        self._erasures = -1
        self._embedded = (0, 0)
        self._kept, self._days = Kept(), Days()
        self._one: int | None = None

    @abstractmethod
    def again(self, scope: Any = None, **options: Any) -> Store:
        """Another handle on the same place."""

    def _finish_erasure(self) -> None:
        """Go on where a process was stopped in the middle of an erasure."""
        with self._c.reading() as conn:
            unfinished = conn.execute("SELECT 1 FROM meta WHERE key = 'scrub'").fetchone()
        if unfinished:
            self._scrub({}, True, wait=False)

    @abstractmethod
    def _scrub(self, reached: dict[str, int], vacuum: bool, *, wait: bool = True) -> list[str]:
        """Take what was erased out of the place itself; returns what is left where."""

    @abstractmethod
    def _place_problems(self, conn: Conn) -> Iterator[Problem]:
        """What is wrong with the place, the keyword index and the vectors."""

    # ---------------------------------------------------------------- who and when

    def _now(self) -> int:
        return time.time_ns() // 1000 if self._clock is None else round(self._clock() * 1e6)

    def _scope_ids(self, conn: Conn) -> tuple[int, ...]:
        """Numbers of the handle's scopes; empty before the first write."""
        if self._one is not None:
            return (self._one,)
        where, values = [], []
        for name, value in zip(
            ("tenant", "user", "agent", "session"), self.scope.parts, strict=True
        ):
            if value != "*":
                where.append(f'"{name}" = ?')
                values.append(value)
        ids = conn.execute(
            f"SELECT id FROM scopes WHERE {' AND '.join(where)} ORDER BY id", values
        ).fetchall()
        # inside a write the number may be undone yet, and then become another scope's
        if ids and not self.scope.open and not self._c.is_writer(conn):
            self._one = ids[0][0]
        return tuple(i for (i,) in ids)

    def _in_scope(self, conn: Conn, column: str) -> str:
        ids = self._scope_ids(conn)
        return f"{column} IN ({','.join(map(str, ids))})" if ids else "FALSE"

    def _scope_for(self, conn: Conn, scope: Scope | None) -> int:
        """The number of an item's scope, entered in the log if it is new."""
        wanted = self.scope if scope is None else scope
        if not self.scope.covers(wanted):
            raise UsageError(
                f"the item is of scope {wanted} and this memory was opened for {self.scope}; "
                "open it with that scope"
            )
        if wanted.open:
            raise UsageError(f"scope {wanted} names several scopes; say in which one to write")
        found = conn.execute(
            'SELECT id FROM scopes WHERE tenant = ? AND "user" = ? AND agent = ? AND session = ?',
            wanted.parts,
        ).fetchone()
        if found:
            return int(found[0])
        (id,) = conn.execute("SELECT coalesce(max(id), 0) + 1 FROM scopes").fetchone()
        self._append(conn, [Draft("scope", str(id), id, {"id": id}, {"scope": str(wanted)})])
        return int(id)

    def _append(self, conn: Conn, drafts: list[Draft]) -> list[tuple[int, int]]:
        return append(conn, drafts, now=self._now(), actor=self.actor)

    def _log(self, action: str, ids: Iterable[str], make: Callable[..., list[Draft]]) -> Receipt:
        """Write what `make(conn)` drafts, in one transaction."""

        def job(conn: Conn) -> list[tuple[int, int]]:
            return self._append(conn, make(conn))

        return self._receipt(action, ids, self._c.write(job))

    @staticmethod
    def _receipt(action: str, ids: Iterable[str], done: list[tuple[int, int]]) -> Receipt:
        if not done:
            return Receipt(action, tuple(ids), None, None)
        return Receipt(action, tuple(ids), (done[0][0], done[-1][0]), from_micros(done[-1][1]))

    def _embedder_id(self) -> int:
        embedder = self.embedder
        if embedder is None:
            raise UsageError("this memory has no embedder; open it with one")
        if not embedder.id:
            embedder.probe()
            embedder.id = self._c.write(lambda c: register(c, embedder), durable=False)
        return embedder.id

    @staticmethod
    def _erasure_count(conn: Conn) -> int:
        row = conn.execute("SELECT value FROM meta WHERE key = 'erasures'").fetchone()
        return int(row[0]) if row else 0

    def _notice_erasures(self, conn: Conn) -> bool:
        """What is kept in this process's memory is forgotten when someone erased or rebuilt."""
        now = self._erasure_count(conn)
        changed = now != self._erasures
        if changed:
            self._words.forget()
            self._vectors.forget()
            self._kept.forget()
            self._days.forget()
            self._erasures = now
        return changed

    # ---------------------------------------------------------------- writing

    def transaction(self) -> AbstractContextManager[None]:
        """Several calls as one: all that is written within is kept, or none of it.

        Other threads and processes see it when the block ends, and wait with their own writes until
        then, so it should be short. What reads back within sees what was written. An exception that
        leaves the block takes everything back; one that is caught within takes back its call alone.

        >>> import tempfile
        >>> from pathlib import Path
        >>> from byheart.stores import SqliteStore
        >>> store = SqliteStore(Path(tempfile.mkdtemp()) / "m.db", "acme/ana")
        >>> with store.transaction():
        ...     old = store.write([Item("Ana lives in Porto")]).ids[0]
        ...     new = store.supersede(old, "Ana lives in Lisbon")
        >>> [item.content for item in store.items()]
        ['Ana lives in Lisbon']
        >>> store.close()

        Raises:
            UsageError: Within: `recall`, `embed`, `erase`, `rebuild` and `check`, which keep or need
                more than the log.
        """
        return self._c.transaction()  # type: ignore[no-any-return]

    def write(self, items: Iterable[Item], *, draft: bool = False) -> Receipt:
        """Keep items, all or none; on disk when it returns.

        An id that is there with the same content is left as it is, so a call can be repeated.

        Args:
            items: Of the handle's scope.
            draft: Keep them for a cube's branch only: `recall` does not find them before the
                branch is merged into "main".

        Raises:
            UsageError: An id is there with other content, an item supersedes (that is
                `supersede`'s), or it is of another scope.
        """
        items = list(items)
        for item in items:
            if not isinstance(item, Item):
                raise UsageError(f"write takes items, got a {type(item).__name__}")
            if item.supersedes is not None and not draft:
                raise UsageError(f"item {item.id} supersedes {item.supersedes}; call supersede")

        def job(conn: Conn) -> list[tuple[int, int]]:
            scopes = {s: self._scope_for(conn, s) for s in dict.fromkeys(i.scope for i in items)}
            there: dict[tuple[int, str], str | None] = {}
            for wanted, scope in scopes.items():
                there |= _digests(conn, scope, [i.id for i in items if i.scope == wanted])
            drafts = []
            for item in items:
                drafts += _drafts(there, scopes[item.scope], item, draft=draft)
            return self._append(conn, drafts) if drafts else []

        return self._receipt("write", (i.id for i in items), self._c.write(job))

    def _new(self, conn: Conn, scope: int, item: Item, *, draft: bool = False) -> list[Draft]:
        return _drafts(_digests(conn, scope, [item.id]), scope, item, draft=draft)

    def supersede(self, id: str, item: Item | str) -> Receipt:
        """Put an item in the place of another from its `valid_from` on (now, if left out).

        The old one stays in the history: valid until then, and known as it was before. To correct
        what was never true, give the new item the old one's `valid_from`.

        Raises:
            UnknownName: No such id in this scope.
            StoreError: It is superseded already.
            FrozenError: It is frozen.
        """
        new = Item(item) if isinstance(item, str) else item

        def make(conn: Conn) -> list[Draft]:
            row, scope, state = self._find(conn, id)
            if state in ("Frozen", "Expired"):
                raise FrozenError(f"item {id} is {state}; it cannot be superseded")
            self._may_change(conn, id, scope)
            if not conn.execute(
                "SELECT 1 FROM spans WHERE row = ? AND known_to = ?", (row, FOREVER)
            ).fetchone():
                raise StoreError(
                    f"item {id} is no longer current; see `show {id}` for what took its place"
                )
            if conn.execute(
                "SELECT 1 FROM items i JOIN spans s ON s.row = i.row AND s.known_to = ?"
                " WHERE i.scope = ? AND i.supersedes = ?",
                (FOREVER, scope, id),
            ).fetchone():
                raise StoreError(
                    f"item {id} is superseded already; supersede the item that took its place"
                )
            if self._scope_for(conn, new.scope or self._scope_of(conn, scope)) != scope:
                raise UsageError(f"item {id} is of another scope than the one to replace it")
            drafts = self._new(conn, scope, new.but(supersedes=id))
            return [Draft("supersede", d.subject, scope, d.data, d.body, d.blob) for d in drafts]

        return self._log("supersede", [new.id], make)

    def undo(self, what: Receipt | int) -> Receipt:
        """Take back a write, a supersession or an undo; both stay in the log.

        Args:
            what: Its receipt, or its number in the log.

        Raises:
            UnknownName: No such entry in this scope.
            StoreError: It is of another kind, was undone, or something later builds on it.
        """
        if isinstance(what, Receipt):
            if what.seq is None:
                raise UsageError("this call changed nothing, so there is nothing to undo")
            numbers = range(what.seq[1], what.seq[0] - 1, -1)
        else:
            numbers = range(int(what), int(what) - 1, -1)
        ids: list[str] = []

        def make(conn: Conn) -> list[Draft]:
            ids.clear()
            return [d for n in numbers for d in self._undo(conn, n, single=len(numbers) == 1)]

        receipt = self._log("undo", [], make)
        with self._c.reading() as conn:
            ids = [
                s
                for (s,) in conn.execute(
                    "SELECT subject FROM events WHERE seq BETWEEN ? AND ? ORDER BY seq",
                    receipt.seq or (0, -1),
                )
            ]
        return Receipt("undo", tuple(ids), receipt.seq, receipt.at)

    def _undo(self, conn: Conn, seq: int, *, single: bool) -> list[Draft]:
        entry = conn.execute(
            f"SELECT at, scope, kind, subject FROM events WHERE seq = ? AND"
            f" {self._in_scope(conn, 'scope')}",
            (seq,),
        ).fetchone()
        if entry is None or (entry[2] == "scope" and single):
            if single:
                raise UnknownName("entry of the log", str(seq), [])
            return []
        at, scope, kind, subject = entry
        if kind == "scope":
            return []
        if kind not in ("write", "supersede", "undo"):
            raise StoreError(
                f"entry {seq} is a {kind}; only write, supersede and undo can be undone"
            )
        _, _, state = self._find(conn, subject)
        if state in ("Frozen", "Expired"):
            raise FrozenError(f"item {subject} is {state}; entry {seq} cannot be undone")
        self._may_change(conn, subject, scope)
        column = "known_from" if kind == "undo" else "origin"
        first, now = conn.execute(
            "SELECT count(*) FILTER (WHERE known_from = ?1), count(*) FILTER (WHERE known_to = ?2)"
            f" FROM spans WHERE {column} = ?1 AND row IN (SELECT row FROM items WHERE scope = ?3 AND root ="
            " (SELECT root FROM items WHERE scope = ?3 AND id = ?4))",
            (at, FOREVER, scope, subject),
        ).fetchone()
        if first != now or seq in undone(conn, scope, subject):
            raise StoreError(
                f"entry {seq} was undone, or a later entry builds on it; undo the later one first "
                f"(see the log of {subject})"
            )
        return [Draft("undo", subject, scope, {"at": at, "seq": seq})]

    # ---------------------------------------------------------------- keeping it sound

    def erase(
        self, selector: Selector | str | Iterable[str], *, versions: bool = True,
        derived: bool = False, vacuum: bool = True,
    ) -> Receipt:  # fmt: skip
        """Remove content for good, from the log, indexes, history and free pages.

        Args:
            selector: Which items.
            versions: Also what they superseded and what superseded them.
            derived: Also items that name them as parents, and so on.
            vacuum: Rewrite the file. False leaves it to overwriting alone, which is faster.

        Returns:
            What was reached, and in `beyond` what cannot be.
        """
        self._c.apart("erase")
        return _erase.erase(
            self, Selector.of(selector), versions=versions, derived=derived, vacuum=vacuum
        )

    def check(self, head: str | None = None) -> list[Problem]:
        """Verify file, chain, digests and everything derived; empty if all is well.

        It goes over the whole file, all scopes; problems name numbers and ids, never content.

        Args:
            head: The hash that the newest entry had (`head()`), kept elsewhere: then a cut-off end
                of the log is found too.
        """
        self._c.apart("check")
        return _check.check(self, head)

    def head(self) -> tuple[int, str]:
        """Number and hash of the log's newest entry."""
        with self._c.reading() as conn:
            row = conn.execute("SELECT seq, hash FROM events ORDER BY seq DESC LIMIT 1").fetchone()
        return (0, "") if row is None else (row[0], row[1].hex())

    def rebuild(self) -> dict[str, int]:
        """Make everything derived anew from the log; vectors are embedded again.

        Raises:
            CorruptStore: The log itself is damaged.
        """
        self._c.apart("rebuild")
        return _check.rebuild(self)

    def stats(self) -> dict[str, Any]:
        """Counts of this scope, and of the file its size and settings."""
        return _check.stats(self)

    def embed(self) -> int:
        """Embed now what has no vector yet; returns how many items.

        Raises:
            ModelError: The embedder failed; what was embedded before is kept.
        """
        self._c.apart("embed")
        self._embedder_id()
        error, self._background_error = self._background_error, None
        if error is not None:
            raise error
        return embed(self) or 0

    def note(
        self, kind: str, subject: str = "", data: Mapping[str, Any] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> Receipt:  # fmt: skip
        """Enter something in the log that changes nothing: an export, a rejected proposal.

        Args:
            kind: ``"export"``, ``"reject"`` or ``"recall"``.
            subject: What it is about.
            data: Structure that stays.
            body: Content that `erase` can take away.
        """
        if kind not in ("export", "reject", "recall"):
            raise UsageError(f"kind must be export, reject or recall, got {kind!r}")

        def make(conn: Conn) -> list[Draft]:
            scope = self._scope_for(conn, None)
            return [
                Draft(
                    kind, subject or new_id(), scope, dict(data or {}), dict(body) if body else None
                )
            ]

        canonical([dict(data or {}), dict(body or {})])
        return self._log(kind, [subject] if subject else [], make)

    def close(self) -> None:
        """Stop embedding and close the connections."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=60)
        self._vectors.close()
        self._c.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _digests(conn: Conn, scope: int, ids: list[str]) -> dict[tuple[int, str], str | None]:
    """Of these ids those that are there, with their digests."""
    out: dict[tuple[int, str], str | None] = {}
    for begin in range(0, len(ids), 500):
        some = ids[begin : begin + 500]
        marks = ",".join("?" * len(some))
        for id, digest in conn.execute(
            f"SELECT id, digest FROM items WHERE scope = ? AND id IN ({marks})", (scope, *some)
        ).fetchall():
            out[scope, id] = digest
    return out


def _drafts(
    there: dict[tuple[int, str], str | None], scope: int, item: Item, *, draft: bool
) -> list[Draft]:
    """The entry that writes an item, none if it is there already; it is noted as there."""
    if (scope, item.id) in there:
        if there[scope, item.id] == item.digest:
            return []
        raise UsageError(
            f"the id {item.id!r} is there with other content; items are superseded, never "
            "overwritten"
        )
    there[scope, item.id] = item.digest
    data = data_of(item, **({"draft": True} if draft else {}))
    return [Draft("write", item.id, scope, data, body_of(item), item.blob)]
