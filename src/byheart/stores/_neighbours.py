"""Who stands beside whom in a thread, where versions take the place of what they superseded."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from byheart.stores._candidates import Span

if TYPE_CHECKING:
    from byheart.stores._writer import Conn

__all__ = ["neighbours"]


def neighbours(
    conn: Conn,
    rows: Sequence[int],
    reach: int,
    seen: Callable[[Sequence[int]], dict[int, Span]],
    whole: bool,
    around: Sequence[int],
) -> tuple[dict[int, Span], dict[int, int], dict[int, int]]:
    """Neighbours of some rows in their threads, and which of all stand side by side.

    What was superseded stands in its thread where its first version stood.

    Args:
        conn: To read by.
        rows: The candidates.
        reach: Neighbours on either side.
        seen: Which rows may be seen.
        whole: Whether `rows` is all that may be seen: then nothing is missing between two of them.
        around: Those of `rows` whose neighbours are fetched.

    Returns:
        The neighbours that are not among `rows`; for every row with a thread the number of its
        run, as `Candidate.run`; and the place of each row in the order of recording.
    """
    threads, places = _placed(conn, rows)
    if whole:
        labels: dict[tuple[int, str], int] = {}
        return {}, {r: labels.setdefault(t, len(labels)) for r, t in threads.items()}, places
    have, chains = set(rows), []
    for row in around if reach > 0 else ():
        if row in threads:
            sides = [
                conn.execute(
                    "SELECT row, root FROM items WHERE scope = ? AND thread = ? AND supersedes IS NULL"
                    f" AND row {sign} ? ORDER BY row {order} LIMIT ?",
                    (*threads[row], places[row], reach),
                ).fetchall()
                for sign, order in (("<", "DESC"), (">", "ASC"))
            ]
            chains.append((threads[row], [*reversed(sides[0]), (row, None), *sides[1]]))
    firsts = {r: root for _, chain in chains for r, root in chain if root is not None}
    near = seen(sorted(firsts.keys() - have))
    gone = {r: root for r, root in firsts.items() if r not in near and r not in have}
    now = _current(conn, gone, {t for t, _ in chains}, seen)
    places |= {r: r for r in near} | {
        now[root][0]: first for first, root in gone.items() if root in now
    }
    near |= {r: span for r, span in now.values() if r not in have}
    follows: dict[int, int] = {}
    for thread, chain in chains:
        stand = [now[root][0] if root in now and r in gone else r for r, root in chain]
        there = [r for r in stand if r in have or r in near]
        threads |= dict.fromkeys(there, thread)
        follows |= dict(pairwise(there))
    runs: dict[int, int] = {}
    before: int | None = None
    for row in sorted(threads, key=lambda r: (threads[r], places[r])):
        new = before is None or follows.get(before) != row
        runs[row] = len(runs) + 1 if new else runs[before]  # type: ignore[index]
        before = row
    return near, runs, places


def _current(
    conn: Conn,
    gone: Mapping[int, str],
    threads: Iterable[tuple[int, str]],
    seen: Callable[[Sequence[int]], dict[int, Span]],
) -> dict[str, tuple[int, Span]]:
    """By root, the version that may be seen of what was superseded."""
    if not gone:
        return {}
    roots = sorted(set(gone.values()))
    marks = ",".join("?" * len(roots))
    found = conn.execute(
        f"SELECT row, root FROM items WHERE root IN ({marks}) AND supersedes IS NOT NULL"
        f" AND scope IN ({','.join(str(s) for s in sorted({s for s, _ in threads}))}) ORDER BY row",
        roots,
    ).fetchall()
    may = seen([r for r, _ in found])
    return {root: (r, may[r]) for r, root in found if r in may}


def _placed(conn: Conn, rows: Sequence[int]) -> tuple[dict[int, tuple[int, str]], dict[int, int]]:
    """Scope and thread of rows that have one; and the place of each, its first version's."""
    threads: dict[int, tuple[int, str]] = {}
    places = {r: r for r in rows}
    for begin in range(0, len(rows), 1000):
        marks = ",".join(map(str, map(int, rows[begin : begin + 1000])))
        for row, scope, thread, first in conn.execute(
            "SELECT i.row, i.scope, i.thread, CASE WHEN i.supersedes IS NULL THEN i.row ELSE"
            " (SELECT r.row FROM items r WHERE r.scope = i.scope AND r.id = i.root) END"
            f" FROM items i WHERE i.row IN ({marks})"
            " AND (i.thread IS NOT NULL OR i.supersedes IS NOT NULL)"
        ).fetchall():
            places[row] = row if first is None else first  # the first may have been erased
            if thread is not None:
                threads[row] = (scope, thread)
    return threads, places
