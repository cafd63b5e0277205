"""The part of a store that reads: by id, by query, by time, and the log."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from byheart.core.errors import UnknownName, UsageError
from byheart.core.item import Item, Scope, moment
from byheart.core.memory import Event, Hit, Ranker, Selector
from byheart.stores._log import events, load_items
from byheart.stores._recall import recall
from byheart.stores._schema import FOREVER, NEVER, from_micros, to_micros
from byheart.stores._select import selected
from byheart.stores._visible import Moment, times, visible

if TYPE_CHECKING:
    from byheart.stores._store import Store
    from byheart.stores._writer import Conn, Connections

__all__ = ["ReadMethods"]


class ReadMethods:
    """Everything here sees only the handle's scope, and no cube that is closed to the caller."""

    if TYPE_CHECKING:
        _c: Connections
        _read_lock: threading.RLock
        _in_scope: Callable[[Conn, str], str]
        _allowed: Callable[[Conn, str], str]
        _allowed_event: Callable[[Conn], str]
        _cube_rows: Callable[..., list[int]]

    @property
    def _store(self) -> Store:
        return cast("Store", self)

    def _find(self, conn: Conn, id: str) -> tuple[int, int, str]:
        """Row, scope and state of an item of this scope that the caller may see."""
        if not isinstance(id, str):
            raise UsageError(f"an id is text, got {id!r}")
        found = conn.execute(
            f"SELECT row, scope, state FROM items i WHERE id = ? AND"
            f" {self._in_scope(conn, 'scope')} AND {self._allowed(conn, 'i')} ORDER BY row LIMIT 1",
            (id,),
        ).fetchone()
        if found is None:
            near = conn.execute(
                f"SELECT id FROM items i WHERE {self._in_scope(conn, 'scope')} AND"
                f" {self._allowed(conn, 'i')} AND id LIKE ? ESCAPE '\\' LIMIT 20",
                (str(id)[:4].replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%",),
            ).fetchall()
            raise UnknownName("item", str(id), [i for (i,) in near])
        return found  # type: ignore[no-any-return]

    def _scope_of(self, conn: Conn, scope: int) -> Scope:
        return Scope(
            *conn.execute(
                'SELECT tenant, "user", agent, session FROM scopes WHERE id = ?', (scope,)
            ).fetchone()
        )

    def get(self, id: str) -> Item:
        """An item by its id, superseded ones too.

        Raises:
            UnknownName: No such id in this scope; near ones are named.
            CorruptStore: Its content does not fit the log's digest.
        """
        with self._c.reading() as conn:
            row, _, _ = self._find(conn, id)
            return load_items(conn, [row])[row]

    def vectors(self, ids: Iterable[str]) -> dict[str, np.ndarray]:
        """What this memory's embedder made of items: id to `[P, D]`, a row of length 1 a passage.

        What it has not embedded yet (`embed` does) and what is of no id here is left out.
        """
        wanted = list(dict.fromkeys(ids))
        if self._store.embedder is None or not wanted:
            return {}
        embedder = self._store._embedder_id()
        rows: dict[int, str] = {}
        with self._c.reading() as conn:
            mine = f"{self._in_scope(conn, 'scope')} AND {self._allowed(conn, 'i')}"
            for begin in range(0, len(wanted), 500):
                some = wanted[begin : begin + 500]
                marks = ",".join("?" * len(some))
                rows |= dict(
                    conn.execute(
                        f"SELECT row, id FROM items i WHERE id IN ({marks}) AND {mine}", some
                    ).fetchall()
                )
            made = self._store._vectors.passages(conn, embedder, sorted(rows))
        return {rows[row]: vectors for row, vectors in made.items()}

    def show(self, id: str) -> dict[str, Any]:
        """An item with its state, the times it held, its versions, what it comes from and its log."""
        with self._c.reading() as conn:
            row, scope, state = self._find(conn, id)
            item = load_items(conn, [row])[row]
            spans = conn.execute(
                "SELECT valid_from, valid_to, known_from, known_to FROM spans WHERE row = ?"
                " ORDER BY known_from, valid_from",
                (row,),
            ).fetchall()
            (root,) = conn.execute("SELECT root FROM items WHERE row = ?", (row,)).fetchone()
            seen = f"scope = ? AND {self._allowed(conn, 'i')}"
            chain = conn.execute(
                f"SELECT id FROM items i WHERE root = ? AND {seen} ORDER BY row", (root, scope)
            ).fetchall()
            derived = conn.execute(
                f"SELECT i.id FROM parents p JOIN items i ON i.row = p.row WHERE p.parent = ? AND"
                f" {seen} ORDER BY i.row",
                (id, scope),
            ).fetchall()
            links = conn.execute(
                "SELECT a, b, label, weight FROM links WHERE scope = ? AND (a = ? OR b = ?)",
                (scope, id, id),
            ).fetchall()
            entries = list(events(conn, f"e.scope = {scope}", subject=id))
        names = ("valid_from", "valid_to", "known_from", "known_to")
        iso = [[None if (t := from_micros(x)) is None else t.isoformat() for x in s] for s in spans]
        return {
            "item": item.to_dict(),
            "state": state,
            "current": any(s[3] == FOREVER for s in spans),
            "held": [dict(zip(names, s, strict=True)) for s in iso],
            "versions": [i for (i,) in chain],
            "derived": [i for (i,) in derived],
            "links": [dict(zip(("from", "to", "label", "weight"), x, strict=True)) for x in links],
            "log": [e.to_dict() for e in entries],
        }

    def recall(
        self,
        query: str,
        k: int = 10,
        *,
        as_of: datetime | str | None = None,
        known_at: datetime | str | None = None,
        kinds: Iterable[str] = (),
        archived: bool = False,
        cube: str | None = None,
        ranker: Ranker | None = None,
    ) -> list[Hit]:
        """The best k items for a query, best first.

        Args:
            query: A question or some words.
            k: At most so many.
            as_of: As it held in the world then (valid time); now if left out.
            known_at: As the store knew it then (recorded time); now if left out.
            kinds: Only these; all if left out.
            archived: Archived items too.
            cube: Only items of this cube: ``"name"`` or ``"name@branch"``.
            ranker: Ranks the candidates; the mean of min-max scaled scores if left out.

        Raises:
            UsageError: An empty query, k below 1, times that cannot be read.
            ModelError: The embedder failed.
        """
        self._c.apart("recall")
        with self._read_lock:
            members = None if cube is None else self._cube_rows(cube, known_at)
            return recall(
                self._store, query, k, as_of=as_of, known_at=known_at, kinds=kinds, archived=archived,
                ranker=ranker, members=members,
            )  # fmt: skip

    def items(
        self,
        selector: Selector | None = None,
        *,
        as_of: datetime | str | None = None,
        known_at: datetime | str | None = None,
        history: bool = False,
    ) -> Iterator[Item]:
        """Items in the order they were recorded.

        Args:
            selector: Which; all if left out.
            as_of: As in `recall`.
            known_at: As in `recall`.
            history: Superseded, undone, archived and expired ones too.
        """
        with self._c.reading() as conn:
            rows = self._rows(conn, selector, as_of, known_at, history)
        for begin in range(0, len(rows), 500):
            with self._c.reading() as conn:
                some = load_items(conn, rows[begin : begin + 500])
            yield from (some[r] for r in rows[begin : begin + 500] if r in some)

    def _rows(
        self, conn: Conn, selector: Selector | None, as_of: Any, known_at: Any,
        history: bool,
    ) -> list[int]:  # fmt: skip
        chosen = None if selector is None else selected(self._store, conn, selector)
        if history:
            if chosen is not None:
                return chosen
            return [r for (r,) in conn.execute(
                f"SELECT row FROM items i WHERE {self._in_scope(conn, 'scope')} AND"
                f" {self._allowed(conn, 'i')} ORDER BY row"
            )]  # fmt: skip
        when = times(self._store, conn, as_of, known_at)
        return [v[0] for v in visible(self._store, conn, when, rows=chosen)]

    def log(self, **filters: Any) -> Iterator[Event]:
        """Entries of the scope's log, oldest first.

        Args:
            filters: `kind`, `subject` (an id), `actor`, `since`, `until` (recorded time, until
                exclusive), `after` (a number of the log).
        """
        wrong = sorted(set(filters) - {"kind", "subject", "actor", "since", "until", "after"})
        if wrong:
            raise UsageError(f"log has no filter {wrong[0]!r}")
        since, until = (moment(filters.pop(n, None), n) for n in ("since", "until"))
        after = filters.pop("after", 0)
        while True:
            with self._c.reading() as conn:
                where = f"{self._in_scope(conn, 'e.scope')} AND {self._allowed_event(conn)}"
                some = list(
                    events(
                        conn,
                        where,
                        after=after,
                        since=NEVER if since is None else to_micros(since),
                        until=FOREVER if until is None else to_micros(until),
                        **filters,
                    )
                )
            if not some:
                return
            yield from some
            after = some[-1].seq

    def diff(
        self,
        before: datetime | str,
        after: datetime | str | None = None,
        *,
        clock: str = "recorded",
    ) -> dict[str, list[Any]]:
        """What changed between two times.

        Args:
            before: The earlier.
            after: The later; now if left out.
            clock: ``"recorded"``: what the store learnt; ``"valid"``: what changed in the world.

        Returns:
            ``added``, ``removed`` (items) and ``changed`` (pairs of items, old and new).
        """
        if clock not in ("recorded", "valid"):
            raise UsageError(f"clock must be recorded or valid, got {clock!r}")
        key = "known_at" if clock == "recorded" else "as_of"
        first, last = moment(before, "before"), moment(after, "after")
        if first is None:
            raise UsageError("diff needs the earlier time")
        if last is not None and last < first:
            raise UsageError(f"the later time {after} is before the earlier, {before}")
        with self._c.reading() as conn:
            now = times(self._store, conn, None, None)
            sides = []
            for at in (first, last):
                when = now if at is None else times(self._store, conn, None, None)
                if at is not None:
                    us = to_micros(at)
                    valid = us if key == "as_of" else max(us, now.valid)
                    known = us if key == "known_at" else now.known
                    when = Moment(valid, known, key == "known_at")
                rows = [v[0] for v in visible(self._store, conn, when, archived=True)]
                sides.append(rows)
            only = [sorted(set(a) - set(b)) for a, b in (sides, sides[::-1])]
            items = load_items(conn, only[0] + only[1])
            roots = dict(self._roots(conn, only[0] + only[1]))
        old = {roots[r]: r for r in only[0]}
        changed = [(old[roots[r]], r) for r in only[1] if roots[r] in old]
        gone, come = {a for a, _ in changed}, {b for _, b in changed}
        return {
            "added": [items[r] for r in only[1] if r not in come],
            "removed": [items[r] for r in only[0] if r not in gone],
            "changed": [(items[a], items[b]) for a, b in changed],
        }

    @staticmethod
    def _roots(conn: Conn, rows: list[int]) -> Iterator[tuple[int, str]]:
        for row in rows:
            yield conn.execute("SELECT row, root FROM items WHERE row = ?", (row,)).fetchone()
