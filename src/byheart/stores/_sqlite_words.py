"""Keyword search: postings from FTS5, BM25 over the scope's own statistics.

    score(q, d) = sum over t in q of idf(t) * f / (f + k1 * (1 - b + b * length(d) / mean))
    idf(t) = ln(1 + (N - n + 1/2) / (n + 1/2))

FTS5's own bm25() counts over the whole table, so the scores of one scope would tell of the others;
therefore tokens carry the scope's number and N, n and the mean length are the scope's.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from byheart.stores._log import payload_hash, unpack
from byheart.stores._sqlite_schema import INDEXES, statements
from byheart.stores._words import query_terms, tokens
from byheart.stores._writer import Conn

__all__ = ["WordIndex", "drop_words", "index_words", "words_of"]

K1, B = 1.2, 0.75
BATCH = 5_000


def words_of(scope: int, content: str) -> tuple[str, int]:
    """What FTS5 is given for a content, and how many tokens it is."""
    found = tokens(content)
    return " ".join(f"{scope}_{t}" for t in found), len(found)


def outstanding(conn: Conn, scopes: Sequence[int]) -> bool:
    """Whether items of these scopes are not in the index yet."""
    return any(
        conn.execute(
            "SELECT 1 FROM items WHERE scope = ?1 AND row > coalesce("
            "(SELECT max(row) FROM lengths WHERE scope = ?1), 0) LIMIT 1",
            (scope,),
        ).fetchone()
        for scope in scopes
    )


def index_words(conn: Conn, scopes: Sequence[int]) -> int:
    """Index what is outstanding, at most `BATCH` items a scope; returns how many."""
    done = 0
    for scope in scopes:
        rows = conn.execute(
            "SELECT i.row, p.salt, p.body, e.payload FROM items i JOIN payloads p ON p.seq = i.row"
            " JOIN events e ON e.seq = i.row WHERE i.scope = ?1 AND i.row > coalesce("
            "(SELECT max(row) FROM lengths WHERE scope = ?1), 0) ORDER BY i.row LIMIT ?2",
            (scope, BATCH),
        ).fetchall()
        made = []
        for row, salt, packed, digest in rows:
            # a damaged item is skipped here and named by `check` and by reading it
            sound = payload_hash(salt, packed) == digest
            text, n = words_of(scope, unpack(packed)[0]["content"]) if sound else ("", 0)
            made.append((row, text, n))
        conn.executemany("INSERT INTO words(rowid, text) VALUES(?,?)", [m[:2] for m in made])
        conn.executemany(
            "INSERT INTO lengths VALUES(?,?,?)", [(row, scope, n) for row, _, n in made]
        )
        done += len(rows)
    return done


def drop_words(conn: Conn, row: int, scope: int, content: str) -> int:
    """Take an item out of the index; 1 if it was in it."""
    known = conn.execute("DELETE FROM lengths WHERE row = ? RETURNING row", (row,)).fetchall()
    if known:
        conn.execute(
            "INSERT INTO words(words, rowid, text) VALUES('delete', ?, ?)",
            (row, words_of(scope, content)[0]),
        )
    return len(known)


class WordIndex:
    """Scores of a handle's scopes; keeps the lengths of items in memory."""

    def __init__(self) -> None:
        self._rows = np.zeros(0, np.int64)
        self._tokens = np.zeros(0, np.int64)
        self._norm: np.ndarray = np.zeros(0)
        self._of: tuple[int, ...] = ()

    index = staticmethod(index_words)
    outstanding = staticmethod(outstanding)
    drop = staticmethod(drop_words)

    @staticmethod
    def settle(conn: Conn) -> None:
        """After an erasure: the merge leaves no trace of a term that only an erased item had."""
        conn.execute("INSERT INTO words(words) VALUES('optimize')")

    @staticmethod
    def clear(conn: Conn) -> None:
        """Empty the index, to be filled anew."""
        conn.execute("DROP TABLE IF EXISTS places")
        conn.execute("DROP TABLE IF EXISTS words")
        conn.execute("DELETE FROM lengths")
        for statement in statements(INDEXES):
            conn.execute(statement)

    def forget(self) -> None:
        """After an erasure: read lengths anew."""
        self.__init__()  # type: ignore[misc]

    def _refresh(self, conn: Conn, scopes: tuple[int, ...]) -> None:
        if scopes != self._of:
            self.forget()
            self._of = scopes
        last = int(self._rows[-1]) if len(self._rows) else 0
        marks = ",".join(map(str, scopes))
        fresh = conn.execute(
            f"SELECT group_concat(row), group_concat(tokens) FROM (SELECT row, tokens FROM lengths"
            f" WHERE scope IN ({marks}) AND row > ? ORDER BY row)",
            (last,),
        ).fetchone()
        if fresh[0] is not None:
            self._rows = np.concatenate([self._rows, numbers(fresh[0])])
            self._tokens = np.concatenate([self._tokens, numbers(fresh[1])])
            mean = max(float(self._tokens.mean()), 1e-9)
            self._norm = K1 * (1 - B + B * self._tokens / mean)

    def scores(
        self, conn: Conn, scopes: tuple[int, ...], query: str
    ) -> tuple[np.ndarray, np.ndarray]:
        """Rows that have a word of the query, `[N]` in ascending order, and their BM25 scores."""
        self._refresh(conn, scopes)
        n = len(self._rows)
        total = np.zeros(n)
        if not n:
            return self._rows, total
        for term in query_terms(query):
            found = [
                conn.execute(
                    "SELECT group_concat(doc) FROM places WHERE term = ?", (f"{scope}_{term}",)
                ).fetchone()[0]
                for scope in scopes
            ]
            docs = [numbers(text) for text in found if text is not None]
            if not docs:
                continue
            at, f = _counted(docs[0] if len(docs) == 1 else np.sort(np.concatenate(docs)))
            place = np.searchsorted(self._rows, at)
            known = (place < n) & (self._rows[np.minimum(place, n - 1)] == at)
            place, f = place[known], f[known]
            idf = np.log1p((n - len(f) + 0.5) / (len(f) + 0.5))
            total[place] += idf * f / (f + self._norm[place])
        hit = np.flatnonzero(total)
        return self._rows[hit], total[hit]


def _counted(docs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each of an ascending list once, and how often; FTS5 gives postings in ascending order."""
    first = np.flatnonzero(np.concatenate([[True], docs[1:] != docs[:-1]]))
    return docs[first], np.diff(first, append=len(docs))


def numbers(text: str) -> np.ndarray:
    """Integers out of "1,2,3"."""
    return np.fromstring(text, dtype=np.int64, sep=",")
