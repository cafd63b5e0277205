"""Think-in-Memory: keep what was concluded, not what was said (arXiv 2311.08719).

Before an answer `recall` finds thoughts; after it `post_think` extracts new ones from the turn and
puts the memory in order: known ones are skipped, contradicted ones end, and those that say the same
of one head become one. Nothing is deleted: what no longer holds keeps the time it held, and `undo`
takes a whole turn back.

A model only proposes, and what it proposes is verified by triples; without a model, rules extract
(`byheart.notes._thought_rules` says what they can and cannot).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

import numpy as np

from byheart.core.errors import FrozenError, ModelError, StoreError, UnknownName, UsageError
from byheart.core.item import Item, Scope, moment
from byheart.core.memory import Receipt, Selector
from byheart.core.model import Model, load
from byheart.notes._as_one import as_one
from byheart.notes._proposals import Proposal, note_rejection, open_memory
from byheart.notes._thought import (
    RETIRED,
    THOUGHT,
    TURN,
    Thought,
    norm_tail,
    of_item,
    to_item,
)
from byheart.notes._thought_hash import cross_polytope_hash, draw, unit
from byheart.notes._thought_index import Memo, ThoughtIndex
from byheart.notes._thought_model import model_hooks
from byheart.notes._thought_ops import Hooks, ThoughtReceipt, Turn
from byheart.notes._thought_plan import Plan
from byheart.notes._thought_recall import answer, by_vector, by_words

__all__ = ["Hooks", "Thought", "ThoughtMemory", "ThoughtReceipt", "Turn", "cross_polytope_hash"]


class ThoughtMemory:
    """Thoughts over a memory: recalled before an answer, kept and put in order after it.

    Args:
        store: A path, a `byheart.Memory`, or any store that passes `check_memory`. Thoughts are notes
            in it (``labels["type"] == "thought"``), beside whatever else it holds.
        scope: Whose, where a path is opened.
        encoder: As in `byheart.Memory`; None takes the memory's own. Without any, recall goes by
            words.
        groups: b, the number of groups of the cross-polytope hash, even; None compares with every
            thought, which is faster up to about 100,000 of them.
        probes: Groups that are looked at for a query, best first (the paper: 1).
        tables: Independent hashes; a thought is found through any of them (the paper: 1).
        k: Thoughts that are recalled (the paper: 5 to 10).
        model: What `byheart.load` takes; proposes thoughts and their order. None: rules.
        speaker: Name of the user, who is "I" in the questions.
        responder: Name of the assistant, who is "I" in the responses.
        seed: Of the hash's projections; kept with the memory.
        hooks: Steps to replace; see `Hooks`.

    Raises:
        UsageError: The thoughts there were made with another encoder or seed, or groups, probes or
            tables cannot be.

    >>> import tempfile, pathlib
    >>> memory = ThoughtMemory(pathlib.Path(tempfile.mkdtemp()) / "agent.db", speaker="Ana")
    >>> _ = memory.post_think("I live in Rome.", "Noted.", at="2022-03-01")
    >>> receipt = memory.post_think("I moved to Bern last month.", "Good luck!", at="2023-05-08")
    >>> [t.text for t, _ in receipt.superseded]
    ['Ana lives in Rome']
    >>> [hit.item.content for hit in memory.recall("Where does Ana live?")]
    ['Ana lives in Bern (since April 2023)']
    >>> [hit.item.content for hit in memory.recall("Where does Ana live?", as_of="2022-12-24")]
    ['Ana lives in Rome']
    >>> memory.undo(receipt).action
    'undo'
    >>> [hit.item.content for hit in memory.recall("Where does Ana live?")]
    ['Ana lives in Rome']
    """

    def __init__(
        self,
        store: Any,
        scope: Scope | str | Mapping[str, str] | None = None,
        *,
        encoder: str | Callable[[list[str]], Any] | None = None,
        groups: int | None = None,
        probes: int = 1,
        tables: int = 1,
        k: int = 5,
        model: Any = None,
        speaker: str = "",
        responder: str = "",
        seed: int | None = None,
        hooks: Hooks | None = None,
    ) -> None:
        for name, value in (("probes", probes), ("tables", tables), ("k", k)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise UsageError(f"{name} must be a whole number of at least 1, got {value!r}")
        if groups is not None:
            draw(0, groups, 1, 1)
            if probes > groups:
                raise UsageError(f"probes must be at most groups, got {probes} of {groups}")
        elif probes != 1 or tables != 1:
            raise UsageError(
                f"probes={probes} and tables={tables} need groups; without them all is compared"
            )
        embed = None if encoder is None else Memo(encoder)
        self.memory, self._mine = open_memory(store, scope, embed)
        self._store = getattr(self.memory, "store", self.memory)
        own = getattr(self._store, "embedder", None)
        self._embed = embed if embed is not None or own is None else Memo(own)
        try:
            if getattr(self._store, "scope", Scope()).open:
                raise UsageError(
                    f"thoughts belong to one scope, and {self._store.scope} is several"
                )
            if groups is not None and self._embed is None:
                raise UsageError("groups need an encoder, and neither it nor the memory has one")
            self.k, self.probes, self.groups, self.tables = k, probes, groups, tables
            self.speaker, self.responder = speaker, responder
            self.model: Model | None = None if model is None else load(model)
            self._rejections: list[tuple[Proposal, str, tuple[str, ...]]] = []
            self.hooks = hooks or Hooks()
            if self.model is not None and hooks is None:
                self.hooks = model_hooks(self.model, lambda *told: self._rejections.append(told))
            self._lock = threading.RLock()
            self.index = ThoughtIndex(self.memory, self._embed, groups, tables, seed)
        except BaseException:
            self.close()
            raise

    # ---------------------------------------------------------------- stage 1

    def recall(
        self,
        query: str,
        k: int | None = None,
        *,
        as_of: datetime | date | str | None = None,
        known_at: datetime | str | None = None,
        probes: int | None = None,
    ) -> Any:
        """Thoughts for a query, best first, as a `byheart.memory.Recall`.

        The query's group is looked at; where it has fewer than k that hold, the next best groups by
        projection, then all. The answer tells by `path` which it was (``"exact"``, ``"group"``,
        ``"multi-probe"``, ``"exact fall-back"``, ``"words"``) and by `scanned` which share of the
        thoughts, those of the past among them, was compared.

        Args:
            query: A question or some words; it alone is embedded.
            k: At most so many; the memory's, if left out.
            as_of: As it held in the world then.
            known_at: As it was known then.
            probes: Groups to look at; the memory's, if left out. All of them is the exact answer.

        Raises:
            UsageError: An empty query, k below 1, probes out of range.
            ModelError: The encoder failed.
        """
        k = self.k if k is None else k
        if not isinstance(query, str) or not query.strip():
            raise UsageError(f"the query is empty: {query!r}; ask in some words")
        if isinstance(k, bool) or not isinstance(k, int) or k < 1:
            raise UsageError(f"k must be a whole number of at least 1, got {k!r}")
        probes = self.probes if probes is None else probes
        if probes < 1 or (self.groups is not None and probes > self.groups):
            raise UsageError(f"probes must lie in 1 .. {self.groups or 1}, got {probes}")
        times = {n: t for n, t in (("as_of", as_of), ("known_at", known_at)) if t is not None}
        with self._lock:
            self.index.sync()
            rank = self.hooks.recall
            if self._embed is None:
                return by_words(self.index, rank, query, k, times)
            if self.index.rows is None:
                return answer([], "exact", 0.0)
            q = unit(self._embed([query]), self.index.rows.d)[0]
            return by_vector(self.index, rank, query, q, k, probes, times)

    before = recall
    """`before(query)`: what to put into the prompt; its `.to_message()` is a user's message."""

    def thoughts(self, *, as_of: Any = None, known_at: Any = None) -> list[Thought]:
        """All thoughts that hold, in the order they were kept."""
        times = {n: t for n, t in (("as_of", as_of), ("known_at", known_at)) if t is not None}
        with self._lock:
            self.index.sync()
            items = list(self.memory.items(Selector(labels={"type": THOUGHT}), **times))
            return [of_item(i) for i in items if not self.index.outdone(i, times)]

    # ---------------------------------------------------------------- stage 2

    def post_think(
        self,
        question: str,
        response: str = "",
        *,
        at: datetime | date | str | None = None,
        speaker: str | None = None,
        source: str = "",
        parents: Iterable[str] = (),
        trust: str = "user",
    ) -> ThoughtReceipt:
        """Extract thoughts from a turn, insert them, forget what they contradict, merge.

        All that a model is asked is asked before anything is written: where it fails, nothing
        changes. What is written is one transaction: a process that is killed leaves all or nothing.

        Args:
            question: The user's words.
            response: The assistant's.
            at: When it was said; now, if left out.
            speaker: Who asked; the memory's speaker, if left out.
            source: Where it is from, such as ``"chat:12"``.
            parents: Ids of items that keep the turn already; else the turn itself is kept, as a
                note of type "turn", so that each thought has where it came from.
            trust: Whose word the question is.

        Raises:
            ModelError: The model or the encoder failed. Nothing was written.
        """
        given = tuple(parents)
        turn = Turn(
            question, response, self.speaker if speaker is None else speaker, self.responder,
            moment(at, "at") or datetime.now(UTC), source, trust, given,
        )  # fmt: skip
        if not turn.text.strip():
            raise UsageError("the turn is empty; give a question or a response")
        kept: list[Item] = []
        if not given:
            item = Item(
                turn.text, source=source, trust=trust, valid_from=turn.at, labels={"type": TURN}
            )
            turn = replace(turn, parents=(item.id,), source=source or f"turn:{item.id}")
            kept = [item]
        with self._lock:
            self.index.sync()
            self._rejections.clear()
            thoughts = list(self.hooks.extract(turn))
            return self._think(thoughts, kept, turn.parents)

    after = post_think
    """`after(query, response)`: the other end of a chat loop."""

    def insert(self, thoughts: Iterable[Thought | str]) -> ThoughtReceipt:
        """Keep thoughts made by hand; they are put in order like extracted ones."""
        made = [Thought(t) if isinstance(t, str) else t for t in thoughts]
        with self._lock:
            self.index.sync()
            self._rejections.clear()
            return self._think(made, [], ())

    def _think(
        self, thoughts: Sequence[Thought], first: list[Item], about: tuple[str, ...]
    ) -> ThoughtReceipt:
        for t in thoughts:
            if not isinstance(t, Thought):
                raise UsageError(f"the extract hook gave a {type(t).__name__}, not a Thought")
        # an id that was there and was undone would be taken for the old one
        thoughts = [t.but() if t.id in self.index.at else t for t in thoughts]
        vectors: dict[str, np.ndarray] = {}
        if self._embed is not None and thoughts:
            made = unit(self._embed([t.text for t in thoughts]))
            self.index.begin(made.shape[1])
            vectors = {t.id: v for t, v in zip(thoughts, made, strict=True)}
        plan = Plan(self.index.held, self.hooks, datetime.now(UTC))
        for thought in thoughts:
            plan.insert(thought, self.index.rivals(thought))
        plan.order(self.index.touched(plan.inserted, vectors))
        merged = [t.text for t in plan.merged]
        if self._embed is not None and merged:
            unit(self._embed(merged))  # an encoder that fails must fail before anything is written
        if thoughts:
            self.index.keep_settings()
        with as_one(self.memory):
            receipts = plan.apply(self.memory, first)
            rejected = self._log_rejections(plan, about)
        if self._embed is not None and getattr(self._store, "embedder", None) is not None:
            # so that a restart need not: derived, and made at the next opening if it fails here
            with suppress(ModelError):
                self.memory.embed()
        return ThoughtReceipt(
            tuple(plan.inserted), tuple(plan.superseded), tuple(plan.merged), tuple(plan.known),
            rejected, first[0].id if first else "", tuple(receipts),
        )  # fmt: skip

    def _log_rejections(self, plan: Plan, about: tuple[str, ...]) -> tuple[str, ...]:
        """Once the turn is written: what a rejection quotes, `erase` of that item then takes."""
        for found, prompt, ids in self._rejections:
            note_rejection(
                self.memory, found.purpose, found.reason, about=(*about, *ids),
                model=self.model.name if self.model else "", prompt=prompt, replies=found.replies,
            )  # fmt: skip
        for purpose, reason, ids in plan.rejected:
            note_rejection(self.memory, purpose, reason, about=(*about, *ids))
        told = [(p.purpose, p.reason) for p, _, _ in self._rejections]
        told += [(purpose, reason) for purpose, reason, _ in plan.rejected]
        return tuple(f"{purpose}: {reason}" for purpose, reason in told)

    def forget(
        self, what: Iterable[str], *, reason: str = "forgotten", at: datetime | str | None = None
    ) -> ThoughtReceipt:
        """Let thoughts hold no longer; they are superseded, not deleted, and `undo` restores them.

        Args:
            what: Texts or ids of thoughts that hold.
            reason: For the log.
            at: Since when they do not hold; now, if left out. What began later than that never held.

        Raises:
            UnknownName: No thought that holds has this text or id; near ones are named.
        """
        if isinstance(what, str):
            what = [what]
        if not isinstance(reason, str) or not reason.strip():
            raise UsageError(f"say why in reason, got {reason!r}")
        when = moment(at, "at") or datetime.now(UTC)
        with self._lock:
            self.index.sync()
            plan = Plan(self.index.held, self.hooks, when)
            for id in [id for w in what for id in self._named(w)]:
                plan.end(id, when, reason)
            receipts = plan.apply(self.memory, [])
            return ThoughtReceipt(superseded=tuple(plan.superseded), receipts=tuple(receipts))

    def _named(self, what: str) -> list[str]:
        if what in self.index.at:
            return [what]
        holding = {t.id: t.text for t in self.thoughts()}
        ids = [id for id in self.index.by_text.get(norm_tail(what), ()) if id in holding]
        if not ids:
            raise UnknownName("thought", what, list(holding.values())[:200])
        return ids

    def edit(self, what: str, thought: Thought | str) -> ThoughtReceipt:
        """Put a corrected thought in the place of one; as if it had been so from its beginning."""
        with self._lock:
            self.index.sync()
            ids = self._named(what)
            if len(ids) > 1:
                raise UsageError(f"{len(ids)} thoughts say {what!r}; give the id of one")
            old = self.index.held(ids)
            if not old or not old[-1][3]:
                raise StoreError(f"the thought {what!r} holds no longer; edit what took its place")
            before, since = old[-1][0], old[-1][1]
            new = Thought(thought) if isinstance(thought, str) else thought
            new = new.but(
                valid_from=new.valid_from or since, source=new.source or before.source,
                parents=new.parents or before.parents,
            )  # fmt: skip
            receipt = self.memory.supersede(before.id, to_item(new))
            return ThoughtReceipt((new,), ((before, "edited"),), receipts=(receipt,))

    def undo(self, receipt: ThoughtReceipt) -> Receipt:
        """Take back a whole `post_think`, `insert`, `forget` or `edit`; all of it or nothing.

        Raises:
            StoreError: Something later builds on it; undo the later one first.
        """
        done: list[Receipt] = []
        with self._lock:
            whole = False
            try:
                with as_one(self.memory) as whole:
                    for one in reversed(receipt.receipts):
                        if one.seq is not None:
                            done.append(self._undo(one))
            except StoreError:
                for back in () if whole else reversed(done):
                    self.memory.undo(back)
                raise
        if not done:
            raise UsageError("this receipt changed nothing, so there is nothing to undo")
        ids = tuple(id for r in done for id in r.ids)
        numbers = [n for r in done if r.seq is not None for n in r.seq]
        return Receipt("undo", ids, (min(numbers), max(numbers)), done[-1].at)

    def _undo(self, one: Receipt) -> Receipt:
        try:
            undone: Receipt = self.memory.undo(one)
            return undone
        except FrozenError:
            # the store's timers have ended what stood for a forgotten thought; it is written anew
            stone = self.memory.get(one.ids[0]) if one.action == "supersede" else None
            if stone is None or stone.labels.get("type") != RETIRED:
                raise
            old = of_item(self.memory.get(str(stone.labels["of"])))
            again: Receipt = self.memory.write([to_item(old.but(valid_from=stone.valid_from))])
            return again

    def close(self) -> None:
        """Close the memory, if it was opened here."""
        if self._mine:
            with suppress(AttributeError):
                self.memory.close()

    def __enter__(self) -> ThoughtMemory:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
