"""What a turn does to the thoughts held, worked out before any of it is written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from byheart.core.errors import StoreError, UnknownName, UsageError
from byheart.core.item import Item
from byheart.core.memory import Receipt
from byheart.notes._as_one import as_one
from byheart.notes._thought import (
    Thought,
    covers,
    key_of,
    merged_text,
    norm_tail,
    retired,
    struck,
    to_item,
)
from byheart.notes._thought_ops import Hooks, lowest_trust, merge_fault

__all__ = ["Plan"]

Held = Callable[[Sequence[str]], list[tuple[Thought, datetime, datetime | None, bool]]]


@dataclass
class _Span:
    """A thought and a time it holds; `free` if it can be superseded, `new` if not written yet."""

    thought: Thought
    begin: datetime
    end: datetime | None
    free: bool
    new: bool = False

    def holds(self, at: datetime) -> bool:
        return self.begin <= at and (self.end is None or self.end > at)


class Plan:
    """Steps of one turn on the state they find, each seeing those before; `apply` writes them.

    Args:
        held: Ids to the thoughts that hold at some time.
        hooks: The decisions.
        now: When it is; what has no time of its own holds since then.
    """

    def __init__(self, held: Held, hooks: Hooks, now: datetime) -> None:
        self._read, self._hooks, self._now = held, hooks, now
        self._spans: dict[str, list[_Span]] = {}
        self._writes: list[Item] = []
        self._changes: list[tuple[str, Item]] = []
        self.inserted: list[Thought] = []
        self.superseded: list[tuple[Thought, str]] = []
        self.merged: list[Thought] = []
        self.known: list[Thought] = []
        self.rejected: list[tuple[str, str, tuple[str, ...]]] = []

    def _load(self, ids: Sequence[str]) -> None:
        missing = [i for i in ids if i not in self._spans]
        for id in missing:
            self._spans[id] = []
        for thought, begin, end, free in self._read(missing):
            self._spans[thought.id].append(_Span(thought, begin, end, free))

    def _of(self, ids: Sequence[str]) -> list[_Span]:
        self._load(ids)
        spans = [s for i in dict.fromkeys(ids) for s in self._spans[i]]
        return sorted(spans, key=lambda s: s.begin)

    def insert(self, thought: Thought, rivals: Sequence[str]) -> None:
        """Place one new thought among those of the same head and relation."""
        begin = thought.valid_from or self._now
        new = [t.id for t in self.inserted if _related(t, thought)]
        spans = self._of([*rivals, *new])
        now = [s for s in spans if s.holds(begin)]
        placing = self._hooks.insert(thought, [s.thought for s in now])
        if placing.known is not None:
            self._check([placing.known], now)
            self.known.append(thought)
            return
        if placing.refused:
            about = (*thought.parents, *(s.thought.id for s in now if not s.new))
            self.rejected.append(("insert", placing.refused, about))
            return
        self._check(placing.ends, now)
        later = [
            s.begin for s in spans if s.begin > begin and s.thought.valid_from is not None
            and (struck(thought, s.thought) or covers(s.thought, thought))
        ]  # fmt: skip
        end = min([t for t in (thought.valid_to, *later) if t is not None], default=None)
        if end != thought.valid_to:
            thought = thought.but(valid_to=end, id=thought.id)
        ended = [s for s in now if s.thought.id in placing.ends]
        mine = _Span(thought, begin, end, end is None, new=True)
        self._spans[thought.id] = [mine]
        self.inserted.append(thought)
        # the first that ends is superseded by the new one itself, so that one leads to the other
        heir: _Span | None = next(
            (s for s in ended if s.free and not s.new and len(s.thought.triples) == 1), None
        )
        if heir is not None:
            self._changes.append((heir.thought.id, to_item(thought)))
            self._close(heir, begin)
            self.superseded.append((heir.thought, thought.text))
        else:
            self._writes.append(to_item(thought))
        for span in ended:
            if span is not heir and span.free:
                self._strike(span, thought, begin)

    def _strike(self, span: _Span, by: Thought, at: datetime) -> None:
        """End a thought, or of a merged one what is contradicted."""
        gone = struck(by, span.thought)
        left = [t for t in span.thought.triples if t not in gone]
        if left and gone:
            at = self._after(span, at)
            rest = span.thought.but(
                text=merged_text(left, span.thought.negated), head=left[0][0], relation=left[0][1],
                tail=left[0][2], triples=tuple(left), valid_from=at, valid_to=None,
            )  # fmt: skip
            self._replace(span, rest, at)
            self.superseded.append((span.thought, by.text))
        else:
            self._end(span, at, f"contradicted by: {by.text}", by.text)

    def _replace(self, span: _Span, by: Thought, at: datetime) -> None:
        self._changes.append((span.thought.id, to_item(by)))
        self._close(span, at)
        self._spans[by.id] = [_Span(by, at, None, True, new=True)]

    @staticmethod
    def _after(span: _Span, at: datetime) -> datetime:
        return max(at, span.begin)

    def _close(self, span: _Span, at: datetime) -> None:
        span.free = False
        span.end = at
        if at <= span.begin:
            self._spans[span.thought.id].remove(span)

    def _end(self, span: _Span, at: datetime, reason: str, why: str) -> None:
        at = self._after(span, at)
        self._changes.append((span.thought.id, retired(to_item(span.thought), at, reason)))
        self._close(span, at)
        self.superseded.append((span.thought, why))

    def end(self, id: str, at: datetime, reason: str) -> None:
        """Forget one thought that holds."""
        spans = [s for s in self._of([id]) if s.free]
        if not spans:
            raise UnknownName("thought that holds", id, [])
        self._end(spans[-1], at, reason, reason)

    def order(self, groups: Sequence[Sequence[str]]) -> None:
        """Forget and merge within the groups that the new thoughts are in."""
        alive = [g for ids in groups if len(g := self._alive(ids)) > 1]
        if not alive:
            return
        for group, found in zip(alive, self._hooks.forget(_thoughts(alive)), strict=True):
            for one in found:
                old, new = group[one.number], group[one.against]
                if old.free and old is not new:
                    self._strike(old, new.thought, max(new.begin, old.begin))
        alive = [g for ids in groups if len(g := self._alive(ids)) > 1]
        if not alive:
            return
        for group, merges in zip(alive, self._hooks.merge(_thoughts(alive)), strict=True):
            for merge in merges:
                self._merge([group[i] for i in merge.numbers], merge.text)

    def _alive(self, ids: Sequence[str]) -> list[_Span]:
        spans = [s for s in self._of(ids) if s.free and s.end is None and s.begin <= self._now]
        return sorted(spans, key=lambda s: (s.begin, s.thought.id))

    def _merge(self, spans: list[_Span], text: str) -> None:
        inputs = [s.thought for s in spans]
        if any(not s.free for s in spans):
            self.rejected.append(
                ("merge", "a thought is merged twice", tuple(t.id for t in inputs))
            )
            return
        if fault := merge_fault(inputs, text):
            about = tuple(s.thought.id for s in spans if not s.new)
            self.rejected.append(("merge", fault, about))
            return
        at = max(s.begin for s in spans)
        triples = tuple(t for i in inputs for t in i.triples)
        first = triples[0]
        merged = Thought(
            text, *first, source=inputs[-1].source, valid_from=at, negated=inputs[0].negated,
            trust=lowest_trust(t.trust for t in inputs),
            parents=tuple(t.id for t in inputs), triples=triples,
        )  # fmt: skip
        self._replace(spans[0], merged, at)
        for span in spans[1:]:
            end = retired(to_item(span.thought), at, "merged", [merged.id])
            self._changes.append((span.thought.id, end))
            self._close(span, at)
        self.superseded += [(t, text) for t in inputs]
        self.merged.append(merged)

    @staticmethod
    def _check(ids: Sequence[str], spans: Sequence[_Span]) -> None:
        there = {s.thought.id for s in spans}
        for id in ids:
            if id not in there:
                raise UsageError(f"the insert hook named {id!r}, which it was not given")

    def apply(self, memory: Any, first: Sequence[Item]) -> list[Receipt]:
        """Write: new items in one entry of the caller's, then each change by itself.

        A memory with transactions keeps all of it or nothing. In others nothing is missing at any
        moment: what is new is there before what it makes superfluous ends.

        Raises:
            StoreError: Somebody else changed one of the thoughts meanwhile; nothing is left of this.
        """
        out: list[Receipt] = []
        whole = False
        try:
            with as_one(memory) as whole:
                if first or self._writes:
                    out.append(memory.write([*first, *self._writes]))
                for id, item in self._changes:
                    out.append(memory.supersede(id, item))
        except StoreError as error:
            for done in () if whole else reversed(out):
                memory.undo(done)
            raise StoreError(
                f"a thought was changed by somebody else meanwhile ({error}); nothing of this turn was "
                "kept, call again"
            ) from error
        return out


def _thoughts(groups: Sequence[Sequence[_Span]]) -> list[list[Thought]]:
    return [[s.thought for s in g] for g in groups]


def _related(a: Thought, b: Thought) -> bool:
    if a.complete and b.complete:
        return bool({key_of(t) for t in a.triples} & {key_of(t) for t in b.triples})
    return a.complete == b.complete and norm_tail(a.text) == norm_tail(b.text)
