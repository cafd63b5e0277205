"""Keyword search: BM25 over the scope's own statistics, whatever database keeps the postings.

    score(q, d) = sum over t in q of idf(t) * f / (f + k1 * (1 - b + b * length(d) / mean))
    idf(t) = ln(1 + (N - n + 1/2) / (n + 1/2))

N, n and the mean length are the scope's, and so are the tokens, which carry its number in front:
neither scores nor the time a query takes depend on another scope's items.
"""

from __future__ import annotations

import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from byheart.core.memory import Corpus, Problem
from byheart.core.spoken import spoken
from byheart.core.words import words_version
from byheart.stores._log import payload_hash, unpack
from byheart.stores._words import counted, query_terms
from byheart.stores._writer import Conn

if TYPE_CHECKING:
    from byheart.stores._store import Store

__all__ = ["Asked", "Scored", "WordScores", "note_version", "up_to_date", "words_of"]

K1, B = 1.2, 0.75
BATCH = 5_000
MOST = 50
"""Problems of one kind that are listed one by one."""


def words_of(scope: int, body: Mapping[str, Any]) -> tuple[str, int]:
    """What FTS5 is given for the body of an item, and how many words it is, small change left out.

    Speaker and captions are words of an item too.
    """
    found, n = counted(spoken(body["content"], body.get("labels", {})).all)
    return " ".join(f"{scope}_{t}" for t in found), n


def up_to_date(conn: Conn) -> bool:
    """Whether the index was made by the same rules and the same release of the stemmer."""
    made = conn.execute("SELECT value FROM meta WHERE key = 'words'").fetchone()
    return made is not None and made[0] == words_version()


def note_version(conn: Conn) -> None:
    """The index is made by the rules of this version from now on."""
    conn.execute(
        "INSERT INTO meta VALUES('words', ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        (words_version(),),
    )


class Asked(Protocol):
    """A query's words over the scopes; scores are the same however they are asked for."""

    def all(self) -> tuple[np.ndarray, np.ndarray]:
        """Rows that have a word of the query, in ascending order, and their scores."""

    def best(self, n: int) -> tuple[np.ndarray, np.ndarray]:
        """The first n of `all` by score, best first; of equal ones those recorded first."""

    def at(self, rows: np.ndarray) -> np.ndarray:
        """Scores of some rows, in any order; 0 for those that have no word of the query."""


@dataclass(frozen=True, slots=True)
class Scored:
    """`Asked` where every item is scored.

    Args:
        rows: In ascending order.
        scores: Of each.
    """

    rows: np.ndarray
    scores: np.ndarray

    def all(self) -> tuple[np.ndarray, np.ndarray]:
        """As `Asked.all`."""
        return self.rows, self.scores

    def best(self, n: int) -> tuple[np.ndarray, np.ndarray]:
        """As `Asked.best`."""
        order = np.lexsort((self.rows, -self.scores))[:n]
        return self.rows[order], self.scores[order]

    def at(self, rows: np.ndarray) -> np.ndarray:
        """As `Asked.at`."""
        if not len(self.rows):
            return np.zeros(len(rows))
        place = np.minimum(np.searchsorted(self.rows, rows), len(self.rows) - 1)
        return np.where(self.rows[place] == rows, self.scores[place], 0.0)


class WordScores(ABC):
    """Scores of a handle's scopes; keeps the lengths of items in memory.

    A database derives from it and says how the index is kept and read.
    """

    PLACES: str
    """SQL: every token of the index as `words_of` has it, of which row, the how manieth from 0."""

    def __init__(self) -> None:
        self._rows = np.zeros(0, np.int64)
        self._tokens = np.zeros(0, np.int64)
        self._norm: np.ndarray = np.zeros(0)
        self._of: tuple[int, ...] = ()
        self._asked: dict[str, np.ndarray] = {}

    # ---------------------------------------------------------------- what a database does its way

    @abstractmethod
    def clear(self, conn: Conn) -> None:
        """Empty the index, to be filled anew by the rules of this version."""

    @abstractmethod
    def settle(self, conn: Conn) -> None:
        """After an erasure: leave no trace of a word that only an erased item had."""

    @abstractmethod
    def _put(self, conn: Conn, scope: int, made: Sequence[tuple[int, str]]) -> None:
        """Rows and their words as `words_of` gives them, into the index."""

    @abstractmethod
    def _take(self, conn: Conn, row: int, text: str) -> None:
        """A row out of the index."""

    @abstractmethod
    def _lengths(
        self, conn: Conn, scopes: tuple[int, ...], after: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Rows behind `after` in ascending order, and their lengths."""

    @abstractmethod
    def _postings(
        self, conn: Conn, scopes: tuple[int, ...], terms: Sequence[str]
    ) -> Sequence[tuple[np.ndarray, np.ndarray]]:
        """Of each word the rows that have it, in ascending order, and how often."""

    # ---------------------------------------------------------------- the same for all

    def outstanding(self, conn: Conn, scopes: Sequence[int]) -> bool:
        """Whether items of these scopes are not in the index yet, or all have to be indexed anew."""
        return (bool(scopes) and not up_to_date(conn)) or any(
            conn.execute(
                "SELECT 1 FROM items WHERE scope = ?1 AND row > coalesce("
                "(SELECT max(row) FROM lengths WHERE scope = ?1), 0) LIMIT 1",
                (scope,),
            ).fetchone()
            for scope in scopes
        )

    def index(self, conn: Conn, scopes: Sequence[int]) -> int:
        """Index what is outstanding, at most `BATCH` items a scope; returns how many."""
        if not up_to_date(conn):
            self.clear(conn)
            # what other processes hold in memory is of the old words
            conn.execute(
                "INSERT INTO meta VALUES('erasures', 1) ON CONFLICT (key) DO UPDATE"
                " SET value = CAST(meta.value AS INTEGER) + 1"
            )
        done = 0
        for scope in scopes:
            rows = conn.execute(
                "SELECT i.row, p.salt, p.body, e.payload FROM items i JOIN payloads p"
                " ON p.seq = i.row JOIN events e ON e.seq = i.row WHERE i.scope = ?1 AND i.row >"
                " coalesce((SELECT max(row) FROM lengths WHERE scope = ?1), 0)"
                " ORDER BY i.row LIMIT ?2",
                (scope, BATCH),
            ).fetchall()
            made = []
            for row, salt, packed, digest in rows:
                # a damaged item is skipped here and named by `check` and by reading it
                sound = payload_hash(salt, packed) == digest
                text, n = words_of(scope, unpack(packed)[0]) if sound else ("", 0)
                made.append((row, text, n))
            self._put(conn, scope, [m[:2] for m in made])
            conn.executemany(
                "INSERT INTO lengths VALUES(?,?,?)", [(row, scope, n) for row, _, n in made]
            )
            done += len(rows)
        return done

    def drop(self, conn: Conn, row: int, scope: int, body: Mapping[str, Any] | None) -> int:
        """Take an item out of the index, by its body if that is sound; 1 if it was in it."""
        known = conn.execute("DELETE FROM lengths WHERE row = ? RETURNING row", (row,)).fetchall()
        if known and up_to_date(conn):  # an index of other words is dropped as a whole
            self._take(conn, row, "" if body is None else words_of(scope, body)[0])
        return len(known)

    def forget(self) -> None:
        """After an erasure: read lengths anew."""
        self.__init__()  # type: ignore[misc]

    def _refresh(self, conn: Conn, scopes: tuple[int, ...]) -> None:
        if scopes != self._of:
            self.forget()
            self._of = scopes
        last = int(self._rows[-1]) if len(self._rows) else 0
        rows, tokens = self._lengths(conn, scopes, last)
        if len(rows):
            self._rows = np.concatenate([self._rows, rows])
            self._tokens = np.concatenate([self._tokens, tokens])
            mean = max(float(self._tokens.mean()), 1e-9)
            self._norm = K1 * (1 - B + B * self._tokens / mean)

    def scores(
        self, conn: Conn, scopes: tuple[int, ...], query: str
    ) -> tuple[np.ndarray, np.ndarray]:
        """Rows that have a word of the query, `[N]` in ascending order, and their BM25 scores."""
        self._refresh(conn, scopes)
        n = len(self._rows)
        total = np.zeros(n)
        self._asked = {}
        if not n:
            return self._rows, total
        terms = query_terms(query)
        for term, (at, f) in zip(terms, self._postings(conn, scopes, terms), strict=True):
            if not len(at):
                continue
            place = np.searchsorted(self._rows, at)
            known = (place < n) & (self._rows[np.minimum(place, n - 1)] == at)
            place, f = place[known], f[known]
            self._asked[term] = place
            idf = np.log1p((n - len(f) + 0.5) / (len(f) + 0.5))
            total[place] += idf * f / (f + self._norm[place])
        hit = np.flatnonzero(total)
        return self._rows[hit], total[hit]

    def ask(self, conn: Conn, scopes: tuple[int, ...], query: str) -> Asked:
        """The words of a query, scored."""
        return Scored(*self.scores(conn, scopes, query))

    def some(self, n: int) -> list[int]:
        """About n rows, evenly out of all; the same ones while the scope does not double."""
        size = 1 << max(len(self._rows).bit_length() - 1, 0)
        return self._rows[: size : max(size // n, 1)].tolist()

    def corpus(self, reach: int, share: float) -> Corpus:
        """Statistics of the scopes for the words of the query that was scored last.

        Args:
            reach: Neighbours on either side that lend their words.
            share: Of the items that have neighbours, 0 to 1; those before and after in the order
                of recording stand for them.
        """
        n = len(self._rows)
        having = {}
        for term, place in self._asked.items():
            wide = len(place)
            if share > 0 and reach > 0:
                mark = np.zeros(n + 2 * reach, bool)
                for step in range(2 * reach + 1):
                    mark[place + step] = True
                wide = int(np.count_nonzero(mark[reach : n + reach]))
            having[term] = round((1 - share) * len(place) + share * wide)
        return Corpus(n, float(self._tokens.mean()) if n else 0.0, having)

    def problems(self, store: Store, conn: Conn) -> Iterator[Problem]:
        """Every token of every indexed item is in the index at its place, and nothing else is."""
        if not up_to_date(conn):
            return  # made by other rules: the next query makes it anew
        wanted: dict[int, int] = {}
        lengths: dict[int, int] = {}
        for row, scope, n, salt, packed, digest in store._c.stream(
            conn,
            "SELECT l.row, l.scope, l.tokens, p.salt, p.body, e.payload FROM lengths l"
            " LEFT JOIN payloads p ON p.seq = l.row LEFT JOIN events e ON e.seq = l.row",
        ):
            lengths[row] = n
            if packed is None or payload_hash(salt, packed) != digest:
                continue
            text, count = words_of(scope, unpack(packed)[0])
            wanted[row] = _sum(enumerate(text.split(" "))) if text else 0
            if count != n:
                yield Problem("words", f"row {row}", "has another number of words; rebuild")
        found: dict[int, int] = dict.fromkeys(wanted, 0)
        for term, row, place in store._c.stream(conn, self.PLACES):
            if row not in lengths:
                yield Problem("words", f"row {row}", "is indexed and is no item; rebuild")
                return
            if row in found:
                found[row] = (found[row] + zlib.crc32(term.encode()) * (place + 1)) % 2**64
        wrong = [r for r, value in wanted.items() if found[r] != value]
        for row in wrong[:MOST]:
            yield Problem("words", f"row {row}", "is indexed under other words; rebuild")


def _sum(places: Any) -> int:
    return sum(zlib.crc32(term.encode()) * (i + 1) for i, term in places) % 2**64
