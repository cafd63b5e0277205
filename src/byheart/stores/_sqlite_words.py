"""Keyword search in SQLite: postings from FTS5, scores from `WordScores`.

FTS5's own bm25() counts over the whole table, so the scores of one scope would tell of the others.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from byheart.stores._bm25 import WordScores, note_version
from byheart.stores._sqlite_schema import INDEXES, statements
from byheart.stores._writer import Conn

__all__ = ["WordIndex"]


class WordIndex(WordScores):
    """Scores of a handle's scopes by FTS5."""

    PLACES = "SELECT term, doc, offset FROM places"

    def clear(self, conn: Conn) -> None:
        """Empty the index, to be filled anew by the rules of this version."""
        conn.execute("DROP TABLE IF EXISTS places")
        conn.execute("DROP TABLE IF EXISTS words")
        conn.execute("DELETE FROM lengths")
        for statement in statements(INDEXES):
            conn.execute(statement)
        note_version(conn)

    def settle(self, conn: Conn) -> None:
        """After an erasure: the merge leaves no trace of a term that only an erased item had."""
        conn.execute("INSERT INTO words(words) VALUES('optimize')")

    def _put(self, conn: Conn, scope: int, made: Sequence[tuple[int, str]]) -> None:
        """Rows and their words as `words_of` gives them, into the index."""
        conn.executemany("INSERT INTO words(rowid, text) VALUES(?,?)", made)

    def _take(self, conn: Conn, row: int, text: str) -> None:
        """A row out of the index."""
        conn.execute("INSERT INTO words(words, rowid, text) VALUES('delete', ?, ?)", (row, text))

    def _lengths(
        self, conn: Conn, scopes: tuple[int, ...], after: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Rows behind `after` in ascending order, and their lengths."""
        marks = ",".join(map(str, scopes))
        rows, tokens = conn.execute(
            f"SELECT group_concat(row), group_concat(tokens) FROM (SELECT row, tokens FROM lengths"
            f" WHERE scope IN ({marks}) AND row > ? ORDER BY row)",
            (after,),
        ).fetchone()
        return numbers(rows or ""), numbers(tokens or "")

    def _postings(
        self, conn: Conn, scopes: tuple[int, ...], term: str
    ) -> tuple[np.ndarray, np.ndarray]:
        """Rows that have a word, in ascending order, and how often."""
        found = [
            conn.execute(
                "SELECT group_concat(doc) FROM places WHERE term = ?", (f"{scope}_{term}",)
            ).fetchone()[0]
            for scope in scopes
        ]
        docs = [numbers(text) for text in found if text is not None]
        if not docs:
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        return _counted(docs[0] if len(docs) == 1 else np.sort(np.concatenate(docs)))


def _counted(docs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each of an ascending list once, and how often; FTS5 gives postings in ascending order."""
    first = np.flatnonzero(np.concatenate([[True], docs[1:] != docs[:-1]]))
    return docs[first], np.diff(first, append=len(docs))


def numbers(text: str) -> np.ndarray:
    """Integers out of "1,2,3"."""
    return np.fromstring(text, dtype=np.int64, sep=",")
