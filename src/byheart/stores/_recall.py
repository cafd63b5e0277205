"""Finding items again: words, vectors, both clocks, and who may see what."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from byheart.core.errors import UsageError
from byheart.core.item import KINDS, moment
from byheart.core.memory import Candidate, Candidates, Hit, Ranker
from byheart.stores._bm25 import Asked
from byheart.stores._candidates import (
    ANCHORS,
    Span,
    candidates,
    everything,
    hit,
    nearest_passage,
    neighbours,
    said_then,
)
from byheart.stores._embedder import embed_batch, missing, register
from byheart.stores._schema import FOREVER, NEVER, from_micros, to_micros

if TYPE_CHECKING:
    from byheart.stores._store import Store
    from byheart.stores._writer import Conn

__all__ = ["EMBED_NOW", "catch_up", "embed", "fuse", "recall", "visible"]

EMBED_NOW = 256
"""So many items without a vector are embedded before a query is answered; more, in the background."""

DEPTH = 64
"""Fewest candidates of each kind of search that are ranked together."""


@dataclass(frozen=True, slots=True)
class Moment:
    """Both clocks of a question, in microseconds.

    Args:
        valid: When it should hold in the world.
        known: What the store knew by then.
        past: Whether `known` was given.
    """

    valid: int
    known: int
    past: bool


def times(
    store: Store,
    conn: Conn,
    as_of: datetime | str | None,
    known_at: datetime | str | None,
) -> Moment:
    """The clocks of a question. Left out they are now; `known_at` alone also sets `as_of`."""
    last = conn.execute("SELECT at FROM events ORDER BY seq DESC LIMIT 1").fetchone()
    now = max(store._now(), last[0] if last else NEVER)
    known_time, valid_time = moment(known_at, "known_at"), moment(as_of, "as_of")
    known_us = now if known_time is None else to_micros(known_time)
    valid_us = known_us if valid_time is None else to_micros(valid_time)
    return Moment(valid_us, known_us, known_at is not None)


def state_then(store: Store, known: int) -> str:
    """SQL: the state that an item ``i`` was in as the store knew it at a time."""
    told = store._c.json_text("s.data", "to")
    return (
        f"coalesce((SELECT {told} FROM events s WHERE s.subject = i.id AND s.scope = i.scope"
        f" AND s.kind = 'state' AND s.at <= {known} ORDER BY s.seq DESC LIMIT 1), 'Generated')"
    )


def visible(
    store: Store,
    conn: Conn,
    when: Moment,
    *,
    rows: Sequence[int] | None = None,
    kinds: Iterable[str] = (),
    archived: bool = False,
    more: str = "",
    values: Sequence[Any] = (),
) -> list[tuple[int, int, int, str]]:
    """Row, validity and state of what the handle may see at a moment, in the order of recording.

    Every reading path goes through here: the scope is part of the statement.
    """
    state = "i.state" if not when.past else state_then(store, when.known)
    where = [store._in_scope(conn, "i.scope"), store._allowed(conn, "i")]
    where.append(
        f"s.known_from <= {when.known} AND s.known_to > {when.known}"
        f" AND s.valid_from <= {when.valid} AND s.valid_to > {when.valid}"
        f" AND (i.expires IS NULL OR i.expires > {when.valid} OR {state} = 'Frozen')"
    )
    out = "'Expired'" if archived else "'Expired', 'Archived'"
    where.append(f"{state} NOT IN ({out})")
    wanted = [kinds] if isinstance(kinds, str) else list(kinds)
    for kind in wanted:
        if kind not in KINDS:
            raise UsageError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}")
    if wanted:
        where.append("i.kind IN (" + ",".join(f"'{k}'" for k in wanted) + ")")
    if more:
        where.append(more)
    found: list[tuple[int, int, int, str]] = []
    pieces = [None] if rows is None else [rows[b : b + 1000] for b in range(0, len(rows), 1000)]
    for piece in pieces:
        limit = "" if piece is None else f" AND i.row IN ({','.join(map(str, map(int, piece)))})"
        found += conn.execute(
            f"SELECT i.row, s.valid_from, s.valid_to, {state} FROM items i JOIN spans s"
            f" ON s.row = i.row WHERE {' AND '.join(where)}{limit} ORDER BY i.row",
            tuple(values),
        ).fetchall()
    return found


def catch_up(store: Store) -> None:
    """Index what was written since the last query: words always, vectors if they are few."""
    while True:
        with store._c.reading() as conn:
            scopes = store._scope_ids(conn)
            behind = store._words.outstanding(conn, scopes)
        if not behind:
            break
        store._c.write(lambda c: store._words.index(c, store._scope_ids(c)), durable=False)
    if store.embedder is not None and scopes:
        store._embedder_id()
        if embed(store, limit=EMBED_NOW, all_or_nothing=True) is None:
            start_background(store)


def embed(
    store: Store,
    limit: int = FOREVER,
    *,
    all_or_nothing: bool = False,
    stopped: Callable[[], bool] = bool,
) -> int | None:
    """Embed items that have no vector of this embedder; every batch is kept as it is finished.

    Args:
        store: Whose.
        limit: So many, rounded up to whole batches.
        all_or_nothing: Nothing if there are more than `limit`.
        stopped: Asked before each batch whether to leave off.

    Returns:
        How many; None if there are more than `limit` and `all_or_nothing` is set.
    """
    done, before = 0, FOREVER
    while done < limit and not stopped():
        with store._c.reading() as conn:
            scopes = store._scope_ids(conn)
            id, most = store._embedder_id(), limit + 1 if all_or_nothing else 64
            done_to = store._embedded
            now = store._erasure_count(conn)
            after = done_to[1] if done_to[0] == now else 0
            rows = missing(conn, id, scopes, most, after, before)
            if not rows and before < FOREVER:  # once more for what was written meanwhile
                before = FOREVER
                continue
            if not rows:  # so far all have one: the next query looks only behind this
                marks = ",".join(map(str, scopes)) or "NULL"
                newest = conn.execute(f"SELECT max(row) FROM items WHERE scope IN ({marks})")
                store._embedded = (now, newest.fetchone()[0] or 0)
            if all_or_nothing and not done and len(rows) > limit:
                return None
            if not rows:
                break
            batch = rows[:64]
            before = batch[-1]
        with store._c.reading() as conn:
            assert store.embedder is not None
            made = embed_batch(conn, store.embedder, batch)
        id = store._embedder_id()
        store._c.write(lambda c, made=made, id=id: store._vectors.keep(c, id, made), durable=False)  # type: ignore[misc]
        done += len(batch)
    return done


def start_background(store: Store) -> None:
    """Embed in a thread, if none does; stopping half-way loses nothing but the running batch."""
    if not store.background or (store._thread is not None and store._thread.is_alive()):
        return

    def work() -> None:
        try:
            embed(store, stopped=store._stop.is_set)
        except Exception as error:  # shown by stats() and raised by embed()
            store._background_error = error

    store._thread = threading.Thread(target=work, name="byheart-embed", daemon=True)
    store._thread.start()


def fuse(query: str, candidates: Sequence[Candidate], k: int) -> list[Hit]:
    """Mean of the min-max scaled scores, the plain default; ties by order of recording.

    Words are scaled from 0 (items that have none); a candidate that was not embedded yet has
    its words alone.
    """
    able = [c for c in candidates if c.found]
    scores = _fused(
        np.array([c.words for c in able]),
        np.array([np.nan if c.meaning is None else c.meaning for c in able]),
    )
    order = sorted(range(len(able)), key=lambda i: (-scores[i], able[i].order))[:k]
    return [
        Hit(able[i].item, float(scores[i]), able[i].state, able[i].words, able[i].meaning)
        for i in order
    ]


def _fused(words: np.ndarray, meaning: np.ndarray) -> np.ndarray:
    by_words = words / words.max() if len(words) and words.max() > 0 else np.zeros(len(words))
    has = ~np.isnan(meaning)
    if not has.any():
        return by_words
    low, high = meaning[has].min(), meaning[has].max()
    scaled = np.where(has, meaning - low, 0) / (high - low) if high > low else has.astype(float)
    return np.where(has, (by_words + scaled) / 2, by_words / 2)


def recall(
    store: Store,
    query: str,
    k: int,
    *,
    as_of: datetime | str | None,
    known_at: datetime | str | None,
    kinds: Iterable[str],
    archived: bool,
    ranker: Ranker | None,
    members: Sequence[int] | None = None,
) -> list[Hit]:
    """`Store.recall`."""
    if not isinstance(query, str) or not query.strip():
        raise UsageError(f"the query is empty: {query!r}; ask in some words")
    if isinstance(k, bool) or not isinstance(k, int) or k < 1:
        raise UsageError(f"k must be a whole number of at least 1, got {k!r}")
    moment(as_of, "as_of"), moment(known_at, "known_at")
    catch_up(store)
    vector = None if store.embedder is None else store.embedder([query])[0]
    with store._c.reading() as conn:
        scopes = store._scope_ids(conn)
        if not scopes:
            return []
        if store._notice_erasures(conn):
            getattr(ranker, "forget", int)()
        when = times(store, conn, as_of, known_at)

        mine = None if members is None else frozenset(members)

        def seen(rows: Sequence[int]) -> dict[int, Span]:
            if mine is not None:  # neighbours may lie outside of the cube
                rows = [r for r in rows if r in mine]
            return _visible_rows(store, conn, when, rows, kinds, archived, members)

        depth = max(DEPTH, 4 * k)
        asked = store._words.ask(conn, scopes, query)
        embedder = None if vector is None else store._embedder_id()
        all_rows = everything(conn, scopes, getattr(ranker, "whole", 0), members)
        then: dict[int, Span] = {}
        if all_rows is not None:
            pool = seen(all_rows)
        else:
            pool = _seen_by_words(asked, depth, seen, members)
            if embedder is not None and vector is not None:
                store._vectors.prepare(conn, embedder, scopes)
                pool.update(_nearest(store, conn, vector, depth, seen, members))
            named = getattr(ranker, "times", None)
            spans = [] if named is None else named(query, from_micros(when.valid))
            if spans:
                met = said_then(store, conn, scopes, spans, asked)
                then = _seen_among(met, depth, seen, members)
                pool.update(then)
        if not pool:
            return []
        rows = sorted(pool)
        scored = asked.at(np.array(rows, np.int64))
        words = {r: s for r, s in zip(rows, scored.tolist(), strict=True) if s}
        vectors: dict[int, np.ndarray] = {}
        if embedder is None or vector is None:
            meaning: dict[int, float] = {}
        elif getattr(ranker, "vectors", False):
            vectors = store._kept.vectors(conn, store._vectors.passages, embedder, rows)
            meaning = nearest_passage(vectors, vector)
        else:
            meaning = store._vectors.cosines(conn, embedder, rows, vector)
        scores = _fused(
            np.array([words.get(r, 0.0) for r in rows]),
            np.array([meaning.get(r, np.nan) for r in rows]),
        )
        top = np.argsort(-scores, kind="stable")
        if ranker is None:  # only what is handed out is read
            best = [rows[i] for i in top[:k]]
            items = store._kept.items(conn, best)
            return [
                hit(items[r], pool[r], float(scores[i]), words.get(r, 0.0), meaning.get(r))
                for r, i in zip(best, top[:k], strict=True)
                if r in items
            ]
        most = max(getattr(ranker, "around", len(rows)), 2 * k)
        around = [rows[i] for i in top[:most]]
        whole = all_rows is not None
        if not whole:  # reading and ranking the rest would take longer than finding it did
            kept = {*around, *list(then)[: most // 2]}
            rows = [r for r in rows if r in kept]
            pool = {r: pool[r] for r in rows}
        near, runs = neighbours(conn, rows, getattr(ranker, "reach", 0), seen, whole, around)
        if vectors and near:
            more = store._kept.vectors(conn, store._vectors.passages, embedder or 0, list(near))
            vectors |= more
        told = Candidates(
            candidates(store, conn, pool, near, words, meaning, runs, vectors),
            vector=vector,
            asked=from_micros(when.valid),
        )
        if not whole:
            reach = getattr(ranker, "reach", 0)
            share = len(runs) / max(len(pool) + len(near), 1)
            told.corpus = store._words.corpus(reach, share)
            told.own = store._words.corpus(0, 0.0).frequency
            told.days = lambda: store._days.all(conn, scopes)[1]
            read = store._vectors.passages if vectors else None
            anchors = store._words.some(ANCHORS)
            told.sample = store._kept.sample(conn, anchors, seen, read, embedder or 0)
        return _chosen(ranker, query, told, k)


def _chosen(ranker: Ranker, query: str, candidates: Candidates, k: int) -> list[Hit]:
    """What a ranker chose; it cannot bring in what it was not given."""
    hits = list(ranker(query, candidates, k))
    ids = {c.item.id for c in candidates}
    wrong = [h.item.id for h in hits if h.item.id not in ids]
    twice = len({h.item.id for h in hits}) < len(hits)
    if wrong or twice or len(hits) > k:
        raise UsageError(
            f"the ranker returned {len(hits)} hits for k={k}"
            + (f", among them {wrong[0]!r}, which was no candidate" if wrong else "")
            + (", some of them twice" if twice else "")
        )
    return hits


def _seen_by_words(
    asked: Asked,
    n: int,
    seen: Callable[[Sequence[int]], dict[int, Span]],
    members: Sequence[int] | None,
) -> dict[int, Span]:
    """The n best by words that may be seen; all are scored only if too many of those may not."""
    for wide in (n + n // 4, 32 * n) if members is None else ():
        rows = asked.best(wide)[0].tolist()
        may = seen(rows)
        out = {r: may[r] for r in [r for r in rows if r in may][:n]}
        if len(out) >= n or len(rows) < wide:
            return out
    return _seen_among(asked.all(), n, seen, members)


def _seen_among(
    found: tuple[np.ndarray, np.ndarray],
    n: int,
    seen: Callable[[Sequence[int]], dict[int, Span]],
    members: Sequence[int] | None,
) -> dict[int, Span]:
    """The n best of the rows found that may be seen; goes on down the list until it has them."""
    rows, scores = found
    if members is not None:
        mine = np.isin(rows, np.array(members, np.int64))
        rows, scores = rows[mine], scores[mine]
    out: dict[int, Span] = {}
    step, begin, order = 2 * n, 0, _best_first(rows, scores, 2 * n)
    while begin < len(rows):
        if begin >= len(order):  # too many of the best may not be seen: now all are needed in order
            order = _best_first(rows, scores, len(rows))
        piece = order[begin : begin + step].tolist()
        begin += step
        may = seen(piece)
        for row in piece:
            if row in may and len(out) < n:
                out[row] = may[row]
        if len(out) >= n:
            break
    return out


def _best_first(rows: np.ndarray, scores: np.ndarray, n: int) -> np.ndarray:
    """The n rows of the highest scores; of equal ones those recorded first."""
    if n < len(rows):
        least = np.partition(scores, len(scores) - n)[len(scores) - n]
        able = scores >= least
        rows, scores = rows[able], scores[able]
    return rows[np.lexsort((rows, -scores))][:n]


def _visible_rows(
    store: Store, conn: Conn, when: Moment, rows: Sequence[int],
    kinds: Iterable[str], archived: bool, members: Sequence[int] | None,
) -> dict[int, Span]:  # fmt: skip
    if members is not None:  # a cube's version holds whatever was superseded since
        return store._members_visible(conn, when, rows, kinds)
    return {r: (a, b, s) for r, a, b, s in visible(store, conn, when, rows=rows, kinds=kinds, archived=archived)}  # fmt: skip


def _nearest(
    store: Store,
    conn: Conn,
    vector: np.ndarray,
    n: int,
    seen: Callable[[Sequence[int]], dict[int, Span]],
    members: Sequence[int] | None,
) -> dict[int, Span]:
    """The n nearest that may be seen; asks for more while too many of them may not."""
    wide = n if members is None else 16 * n
    while True:
        found = store._vectors.nearest(conn, vector, wide)
        out = _seen_among(found, n, seen, members)
        if len(out) >= n or len(found[0]) < wide or wide >= len(store._vectors):
            return out
        wide *= 4


def registered(conn: Conn, store: Store) -> int:
    """The embedder's number, made if it is new."""
    assert store.embedder is not None
    return register(conn, store.embedder)
