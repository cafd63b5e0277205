"""The contract of every memory: what it does, and what it hands back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from byheart.core.errors import UsageError
from byheart.core.item import Item, Scope

if TYPE_CHECKING:
    import numpy as np

__all__ = [
    "Candidate",
    "Candidates",
    "Conflict",
    "Corpus",
    "Event",
    "Hit",
    "Memory",
    "Problem",
    "Ranker",
    "Receipt",
    "Sample",
    "Selector",
]


@dataclass(frozen=True)
class Event:
    """One entry of the log, which is the truth.

    Args:
        seq: Its place; counts up by one over the whole store, so a scope's own log has gaps.
        at: Recorded time; strictly later than that of the entry before, whatever the clock did.
        kind: ``"write"``, ``"supersede"``, ``"undo"``, ``"erase"``, ``"state"``, ``"cube"`` ...
        subject: The item or cube it is about.
        actor: Who called.
        scope: Whose.
        data: Structure that stays: ids, times, states.
        body: What `erase` can take away: content, source, labels. None where it was erased.
        hash: SHA-256 over this entry and the hash before it, in hexadecimal.
    """

    seq: int
    at: datetime
    kind: str
    subject: str
    actor: str
    scope: Scope
    data: Mapping[str, Any]
    body: Mapping[str, Any] | None
    hash: str

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "seq": self.seq,
            "at": self.at.isoformat(),
            "kind": self.kind,
            "subject": self.subject,
            "actor": self.actor,
            "scope": str(self.scope),
            "data": dict(self.data),
            "body": None if self.body is None else dict(self.body),
            "hash": self.hash,
        }


@dataclass(frozen=True)
class Receipt:
    """What was done; it is handed out after the log has it on disk.

    Args:
        action: The verb.
        ids: Items it made, changed or erased, in the order they were given.
        seq: First and last entry of the log, or None if nothing had to be done.
        at: Recorded time of the last.
        reached: What an erasure reached, each with a count.
        beyond: What it cannot reach, in words; a person has to see to it.
    """

    action: str
    ids: tuple[str, ...]
    seq: tuple[int, int] | None
    at: datetime | None
    reached: Mapping[str, int] = field(default_factory=dict)
    beyond: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """The id, where there is one.

        Raises:
            UsageError: There are none or several; use `ids`.
        """
        if len(self.ids) != 1:
            raise UsageError(f"this receipt has {len(self.ids)} ids; use .ids")
        return self.ids[0]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        out: dict[str, Any] = {"action": self.action, "ids": list(self.ids)}
        out["seq"] = None if self.seq is None else list(self.seq)
        out["at"] = None if self.at is None else self.at.isoformat()
        if self.reached or self.beyond:
            out["reached"] = dict(self.reached)
            out["beyond"] = list(self.beyond)
        return out


@dataclass(frozen=True)
class Hit:
    """An item that was recalled.

    Args:
        item: The item as it was written, with the validity it has at the time asked for.
        score: What it was ranked by; comparable within one answer only.
        state: Its place in the lifecycle.
        words: BM25 score, 0 if no word meets.
        meaning: Cosine with the query; None without an embedder, or before it was embedded.
    """

    item: Item
    score: float
    state: str = "Generated"
    words: float = 0.0
    meaning: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "item": self.item.to_dict(),
            "score": self.score,
            "state": self.state,
            "words": self.words,
            "meaning": self.meaning,
        }


@dataclass(frozen=True)
class Candidate(Hit):
    """What a ranker is given.

    Args:
        order: Place in the scope's order of recording.
        found: False for a neighbour that was only fetched along.
        run: Candidates of equal number that follow each other in `order` stand side by side in
            their thread; None where that is not known.
        vectors: `[P, D]` unit vectors of its passages, where the ranker asks for them and it was
            embedded.
    """

    order: int = 0
    found: bool = True
    run: int | None = None
    vectors: np.ndarray | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True)
class Corpus:
    """Statistics of a larger corpus, for ranking a few candidates out of it.

    Args:
        notes: Number of notes N.
        length: Mean number of words of a note (as `byheart.core.words.words` counts them).
        frequency: Term to number of notes that have it; a term that is not in it counts as 0.
        meaning: About the least cosine that any of them has with the query; None if not known.
    """

    notes: int
    length: float
    frequency: Mapping[str, int]
    meaning: float | None = None


@dataclass(frozen=True)
class Sample:
    """A few items of a whole, whatever they are about: by whom and how near to a query items are.

    Args:
        speakers: Who said each; empty where nobody is named.
        runs: As `Candidate.run`, of each.
        vectors: `[P, D]` unit vectors of each one's passages, `[0, D]` where it has none; empty
            without an embedder.
    """

    speakers: tuple[str, ...]
    runs: tuple[int | None, ...]
    vectors: tuple[np.ndarray, ...] = field(default=(), repr=False, compare=False)


class Candidates(list[Candidate]):
    """Candidates in the order of recording, and the whole that they were taken from.

    Args:
        candidates: The candidates.
        vector: `[D]` unit vector of the query, where there is an embedder.
        asked: When the question is asked: what "last week" in it leans on.
        corpus: Word statistics of the whole, neighbours' words included; None if the candidates are
            all that may be seen.
        own: Term to number of items that have it themselves.
        days: Gives the day (ordinal) of every item of the whole.
        sample: Some items of the whole.
    """

    def __init__(
        self,
        candidates: Iterable[Candidate] = (),
        *,
        vector: np.ndarray | None = None,
        asked: datetime | None = None,
        corpus: Corpus | None = None,
        own: Mapping[str, int] | None = None,
        days: Callable[[], np.ndarray] | None = None,
        sample: Sample | None = None,
    ) -> None:
        super().__init__(candidates)
        self.vector, self.asked, self.corpus, self.own = vector, asked, corpus, own or {}
        self.days, self.sample = days, sample


Ranker = Callable[[str, Sequence[Candidate], int], Sequence[Hit]]
"""`ranker(query, candidates, k) -> at most k hits, best first`; it may only choose among them.

The candidates are `Candidates`. What a ranker needs beside the best by words and by meaning, it
says by attributes, each of which may be missing:

- `reach` (int): that many neighbours on either side, of the same ``labels["thread"]``;
- `around` (int): of a large scope only so many of the best by words and by meaning, with their
  neighbours, and half as many of what was said at a time that is asked for;
- `whole` (int): everything that may be seen, where the scope has no more items than this;
- `vectors` (bool): `Candidate.vectors`, `Candidates.vector` and `Candidates.sample`;
- `times(query, asked)`: pairs of days; what was said on them is among the candidates;
- `passages(item)`: the texts that are embedded for an item, in place of its content;
- `forget()`: called when content was erased."""


@dataclass(frozen=True)
class Selector:
    """Which items; every condition that is given must hold.

    Args:
        ids: These.
        source: Of this source, or with a trailing ``*`` of sources that begin so.
        kind: Of this kind.
        labels: With these labels; where a label is a list, one of it.
        before: Recorded before.
        after: Recorded at or after.
        state: In this state of the lifecycle.
        everything: All of the scope. Without any condition nothing is selected.
    """

    ids: tuple[str, ...] = ()
    source: str | None = None
    kind: str | None = None
    labels: Mapping[str, Any] = field(default_factory=dict)
    before: datetime | None = None
    after: datetime | None = None
    state: str | None = None
    everything: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.ids, str):
            object.__setattr__(self, "ids", (self.ids,))
        object.__setattr__(self, "ids", tuple(self.ids))
        some = (
            self.ids or self.labels or self.before or self.after or self.source is not None
        ) or (self.kind is not None or self.state is not None)
        if not some and not self.everything:
            raise UsageError("the selector names nothing; give ids, a source, labels or everything")
        if self.everything and some:
            raise UsageError("the selector names everything and a condition; give one of the two")

    @classmethod
    def of(cls, what: Selector | str | Iterable[str]) -> Selector:
        """From an id, several ids, or a selector."""
        if isinstance(what, Selector):
            return what
        ids = (what,) if isinstance(what, str) else tuple(what)
        if not ids:
            raise UsageError("no id was given")
        return cls(ids=ids)


@dataclass(frozen=True)
class Conflict:
    """One item that two branches changed in different ways; None where it was removed or absent.

    Args:
        key: Id of the first version of the item.
        base: Its version at the common ancestor.
        ours: In the branch that is merged into.
        theirs: In the branch that is merged.
    """

    key: str
    base: str | None
    ours: str | None
    theirs: str | None


@dataclass(frozen=True)
class Problem:
    """Something that `check` found wrong.

    Args:
        part: ``"file"``, ``"chain"``, ``"payload"``, ``"items"``, ``"words"``, ``"vectors"`` ...
        where: Which row, entry or id.
        what: What is wrong, and what to do.
    """

    part: str
    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.part} {self.where}: {self.what}"


@runtime_checkable
class Memory(Protocol):
    """What every memory does. `byheart.core.checks.check_memory` holds it to it."""

    def write(self, items: Iterable[Item]) -> Receipt:
        """Keep items; all of them are in the log when it returns, or none and it raised."""
        ...

    def recall(
        self,
        query: str,
        k: int = 10,
        *,
        as_of: datetime | None = None,
        known_at: datetime | None = None,
    ) -> Sequence[Hit]:
        """The best k items for a query, as valid at `as_of` and known at `known_at`."""
        ...

    def supersede(self, id: str, item: Item) -> Receipt:
        """Put an item in the place of another, which stays in the history."""
        ...

    def erase(self, selector: Selector) -> Receipt:
        """Remove content for good; the receipt says what was reached and what could not be."""
        ...

    def log(self) -> Iterator[Event]:
        """Every entry of the scope's log, oldest first."""
        ...
