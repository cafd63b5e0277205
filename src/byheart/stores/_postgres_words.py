"""Keyword search in PostgreSQL: postings out of full-text search, the same BM25 as in SQLite.

`ts_rank` is no BM25, and it cannot be made one: it knows neither how rare a word is nor how long
the others are. But for one word that stands n times in a tsvector, with all weights 1, it is

    ts_rank = (1/1^2 + 1/2^2 + ... + 1/n^2) / 1.64493406685

which increases with n; so n is read back out of it, and the rest is `WordScores`'s. A tsvector counts
a word at most 255 times, so an item is indexed in pieces of 250 words.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from byheart.core.errors import StoreError
from byheart.stores._bm25 import WordScores, note_version
from byheart.stores._writer import Conn

__all__ = ["PIECE", "PgWordIndex"]

PIECE = 250
_LIMIT = 1.64493406685
_RANKS = np.cumsum(1.0 / np.arange(1, 256, dtype=np.float64) ** 2) / _LIMIT
_BETWEEN = np.array([0.0, *((a + b) / 2 for a, b in pairwise(_RANKS.tolist()))])
_FOUND = np.dtype([("row", ">i8"), ("rank", ">f4")])
_LENGTH = np.dtype([("row", ">i8"), ("tokens", ">i8")])


class PgWordIndex(WordScores):
    """Scores of a handle's scopes by tsvectors with a GIN index."""

    PLACES = (
        f"SELECT u.lexeme, w.row, w.part * {PIECE} + p.place - 1 FROM words w,"
        " unnest(w.terms) u, unnest(u.positions) p(place)"
    )
    _sure = False

    def clear(self, conn: Conn) -> None:
        """Empty the index, to be filled anew by the rules of this version."""
        conn.execute("DELETE FROM words")
        conn.execute("DELETE FROM lengths")
        note_version(conn)

    def settle(self, conn: Conn) -> None:
        """After an erasure: VACUUM takes the lexemes out of the index."""

    def _put(self, conn: Conn, scope: int, made: Sequence[tuple[int, str]]) -> None:
        conn.executemany(
            "INSERT INTO words VALUES(?,?,?,CAST(CAST(? AS text) AS tsvector))",
            [
                (row, part, scope, vector)
                for row, text in made
                for part, vector in enumerate(_vectors(text))
            ],
        )

    def _take(self, conn: Conn, row: int, text: str) -> None:
        conn.execute("DELETE FROM words WHERE row = ?", (row,))

    def _lengths(
        self, conn: Conn, scopes: tuple[int, ...], after: int
    ) -> tuple[np.ndarray, np.ndarray]:
        marks = ",".join(map(str, scopes))
        (packed,) = conn.execute(
            "SELECT string_agg(int8send(row) || int8send(tokens), ''::bytea ORDER BY row)"
            f" FROM lengths WHERE scope IN ({marks}) AND row > ?",
            (after,),
        ).fetchone()
        found = np.frombuffer(packed or b"", _LENGTH)
        return found["row"].astype(np.int64), found["tokens"].astype(np.int64)

    def _postings(
        self, conn: Conn, scopes: tuple[int, ...], terms: Sequence[str]
    ) -> Sequence[tuple[np.ndarray, np.ndarray]]:
        self._check_formula(conn)
        lexemes = [_quoted(f"{scope}_{term}") for term in terms for scope in scopes]
        of = [scope for _ in terms for scope in scopes]
        pieces: list[list[np.ndarray]] = [[] for _ in terms]
        for number, packed in conn.execute(
            "SELECT q.i, (SELECT string_agg(int8send(w.row) || float4send("
            "ts_rank('{1,1,1,1}', w.terms, q.q)), ''::bytea) FROM words w WHERE w.terms @@ q.q"
            " AND w.scope = q.scope)"
            # without OFFSET the query would be read anew for every row
            " FROM (SELECT i, scope, CAST(t AS tsquery) AS q FROM unnest(CAST(? AS text[]),"
            " CAST(? AS bigint[])) WITH ORDINALITY u(t, scope, i) OFFSET 0) q",
            (lexemes, of),
        ):
            if packed is not None:
                pieces[(number - 1) // len(scopes)].append(np.frombuffer(packed, _FOUND))
        return [_counted(some) for some in pieces]

    def _check_formula(self, conn: Conn) -> None:
        """That this server's ts_rank is what the counts are read out of."""
        if self._sure:
            return
        many = ",".join(map(str, range(1, 256)))
        told = conn.execute(
            "SELECT ts_rank('{1,1,1,1}', CAST(t AS tsvector), 'a') FROM"
            " unnest(CAST(? AS text[])) t",
            (["a:1 b:2", "a:1,3,9 b:2", f"a:{many}"],),
        ).fetchall()
        counts = np.searchsorted(_BETWEEN, [rank for (rank,) in told]).tolist()
        if counts != [1, 3, 255]:
            raise StoreError(
                f"this server's ts_rank counts words in another way (1, 3, 255 came out as "
                f"{counts}), so keyword scores would be wrong; use a released PostgreSQL, or tell us"
            )
        self._sure = True


def _vectors(text: str) -> list[str]:
    """Text of the tsvectors of an item, a piece each."""
    words = text.split(" ") if text else []
    out = []
    for begin in range(0, len(words), PIECE):
        places: dict[str, list[str]] = {}
        for i, word in enumerate(words[begin : begin + PIECE], 1):
            places.setdefault(word, []).append(str(i))
        out.append(" ".join(f"{_quoted(w)}:{','.join(p)}" for w, p in places.items()))
    return out


def _counted(pieces: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Rows in ascending order, and how often they have the word, in all pieces of an item."""
    if not pieces:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    found = np.concatenate(pieces)
    counts = np.searchsorted(_BETWEEN, found["rank"].astype(np.float64))
    rows, of = np.unique(found["row"].astype(np.int64), return_inverse=True)
    return rows, np.bincount(of, weights=counts).astype(np.int64)


def _quoted(word: str) -> str:
    """A word as a lexeme in the text of a tsvector or tsquery."""
    return "'" + word.replace("\\", "\\\\").replace("'", "''") + "'"
