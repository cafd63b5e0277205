"""What is derived from the log of thoughts: vectors, groups, and who speaks of what.

The log is the truth. Everything here is made from it as it grows, is followed after every call of
any process, and is lost without loss.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np

from byheart.core.errors import DataError, UsageError
from byheart.core.item import Item, moment
from byheart.core.memory import Event, Selector
from byheart.notes._thought import (
    SETTINGS,
    THOUGHT,
    Thought,
    contradicts,
    forget_texts,
    head_key,
    key_of,
    norm_tail,
    of_item,
)
from byheart.notes._thought_hash import Groups, digest, draw

__all__ = ["Memo", "ThoughtIndex"]

GROUP_MOST = 40
"""Thoughts of one group that are put in order together; the nearest to the new ones."""


FEW = 16
"""Up to so many thoughts are embedded anew rather than looked for in the store."""

Held = tuple[Thought, datetime, datetime | None, bool]
"""A thought, since when and until when it holds, and whether it can be superseded."""

_CHANGES_NOTHING = ("write", "export", "reject", "recall", "use", "link", "unlink", "scope")


class ThoughtIndex:
    """Thoughts of a memory by vector, group, head and relation.

    Args:
        memory: Where the thoughts are.
        embed: Texts to vectors; None keeps none.
        groups: b of the hash; None has no hash.
        tables: Of the hash.
        seed: Of the hash; None takes the one kept with the memory, or 0.

    Raises:
        UsageError: The memory was made with another encoder or seed.
    """

    def __init__(
        self, memory: Any, embed: Memo | None, groups: int | None, tables: int, seed: int | None
    ) -> None:
        self.memory, self._embed = memory, embed
        self.groups, self.tables = groups, tables
        self._seed = self._settled(seed)
        self._forget_all()

    def _settled(self, seed: int | None) -> int:
        """The seed to use; raises where the memory was made with another encoder or R."""
        if self._embed is None:
            return seed or 0
        kept = self._kept("thoughts-encoder")
        mine = {"encoder": self._embed.name, "version": self._embed.version}
        if kept is not None and any(kept.labels.get(n) != v for n, v in mine.items()):
            had = " ".join(str(kept.labels.get(n)) for n in mine).strip()
            raise UsageError(
                f"these thoughts were kept with the encoder {had}, and the one given is "
                f"{' '.join(mine.values()).strip()}; vectors of different encoders are never compared. "
                f"Open it with {had}, or without an encoder to go by words"
            )
        if self.groups is None:
            return seed or 0
        kept = self._kept(self._hash_id)
        if kept is None:
            return seed or 0
        had_seed = int(kept.labels["seed"])
        if seed is not None and seed != had_seed:
            raise UsageError(
                f"the hash of these thoughts was drawn from seed {had_seed}, not {seed}; leave seed out"
            )
        R = draw(had_seed, self.groups, int(kept.labels["d"]), self.tables)
        if digest(R) != kept.labels["digest"]:
            raise DataError(
                f"the hash drawn from seed {had_seed} is not the one kept with the memory; it was "
                "kept by a numpy whose RandomState differs"
            )
        return had_seed

    @property
    def _hash_id(self) -> str:
        return f"thoughts-hash-{self.groups}-{self.tables}"

    def _kept(self, id: str) -> Item | None:
        try:
            found: Item = self.memory.get(id)
        except LookupError:
            return None
        return found

    def keep_settings(self) -> None:
        """Encoder and hash, once; an item of a fixed id, so that two processes cannot disagree."""
        if self._embed is None or self.rows is None:
            return
        d = self.rows.d
        told: list[tuple[str, str, dict[str, Any]]] = []
        mine = {"encoder": self._embed.name, "version": self._embed.version, "d": d}
        told.append(
            ("thoughts-encoder", f"Thoughts here are embedded by {self._embed.name}.", mine)
        )
        if self.groups is not None:
            assert self.rows.R is not None
            R = {"b": self.groups, "tables": self.tables, "d": d, "seed": self._seed}
            told.append(
                (
                    self._hash_id,
                    f"Thoughts here are hashed into {self.groups} groups in {self.tables} tables.",
                    {**R, "digest": digest(self.rows.R)},
                )
            )
        items = [
            # over as it begins, so that no recall shows it
            Item(text, id=id, valid_from="1970-01-02", expires_at="1970-01-02",  # type: ignore[arg-type]
                 trust="derived", labels={"type": SETTINGS, **labels})
            for id, text, labels in told
            if id not in self._settings and self._kept(id) is None
        ]  # fmt: skip
        if items:
            self.memory.write(items)
        self._settings.update(id for id, _, _ in told)

    def _forget_all(self) -> None:
        self.ids: list[str] = []
        self.at: dict[str, int] = {}
        self._by_key: dict[tuple[str, str], list[str]] = {}
        self._by_head: dict[str, list[str]] = {}
        self.by_text: dict[str, list[str]] = {}
        self._strong: set[str] = set()
        self._spans: dict[str, list[Held]] = {}
        self._states: dict[str, str] = {}
        self.rows: Groups | None = None
        self._pending: list[tuple[str, str]] = []
        self._seq, self._since = 0, None
        self._settings: set[str] = set()

    def sync(self) -> None:
        """Take in what anybody wrote since: the log is the truth, all here is derived from it."""
        erased = False
        since: dict[str, Any] = {} if self._since is None else {"since": self._since}
        for event in self.memory.log(**since):
            if event.seq <= self._seq:
                continue
            self._seq, self._since = event.seq, event.at  # type: ignore[assignment]
            erased = erased or event.kind == "erase"
            self._unread(event)
            labels = (event.body or {}).get("labels", {})
            if event.kind in ("write", "supersede") and labels.get("type") == THOUGHT:
                self._index(event.subject, str(event.body["content"]), labels)  # type: ignore[index]
        if erased:
            self._drop_erased()
        if self._embed is not None and self._pending:
            self._embed_pending()

    def _unread(self, event: Event) -> None:
        """Forget what was read of thoughts that an entry may have changed."""
        if event.kind in _CHANGES_NOTHING:
            return
        old = event.data.get("old")
        if event.kind == "state" or (event.kind == "supersede" and old):
            self._spans.pop(event.subject, None)
            self._spans.pop(str(old), None)
        else:
            self._spans.clear()

    def _index(self, id: str, text: str, labels: Mapping[str, Any]) -> None:
        if id in self.at:
            return
        self.at[id] = len(self.ids)
        self.ids.append(id)
        self._pending.append((id, text))
        if labels.get("negated") or labels.get("functional"):
            self._strong.add(id)
        triples = labels.get("triples") or (
            [(labels["head"], labels["relation"], labels["tail"])] if labels.get("head") else []
        )
        for triple in triples:
            for held in (
                self._by_key.setdefault(key_of(tuple(triple)), []),
                self._by_head.setdefault(head_key(triple[0]), []),
            ):
                if id not in held:
                    held.append(id)
        self.by_text.setdefault(norm_tail(text), []).append(id)

    def _drop_erased(self) -> None:
        forget_texts()
        if self._embed is not None:
            self._embed.forget()
        there = {i.id for i in self.memory.items(Selector(labels={"type": THOUGHT}), history=True)}
        gone = [id for id in self.ids if id not in there]
        if not gone:
            return
        rows = np.array([n for n, id in enumerate(self.ids) if id in there], np.int64)
        if self.rows is not None:
            self.rows.keep(rows[rows < len(self.rows)])
        self.ids = [id for id in self.ids if id in there]
        self.at = {id: n for n, id in enumerate(self.ids)}
        self._pending = [p for p in self._pending if p[0] in there]
        for index in (self._by_key, self._by_head, self.by_text):
            for key in list(index):
                index[key] = [id for id in index[key] if id in there]  # type: ignore[index]

    def _embed_pending(self) -> None:
        assert self._embed is not None
        kept = self._kept_vectors()
        while self._pending:
            batch = self._pending[:256]
            fresh = [text for id, text in batch if id not in kept]
            made = iter(self._embed(fresh) if fresh else ())
            vectors = np.stack([kept[id] if id in kept else next(made) for id, _ in batch])
            self.begin(vectors.shape[1]).add(vectors)
            del self._pending[:256]

    def _kept_vectors(self) -> dict[str, np.ndarray]:
        """After a restart: what the store's embedder made of these texts, where it is this one."""
        read = getattr(getattr(self.memory, "store", self.memory), "vectors", None)
        if read is None or self._embed is None or len(self._pending) < FEW:
            return {}
        kept = {id: v[0] for id, v in read([id for id, _ in self._pending]).items() if len(v) == 1}
        # a store may embed something else of an item than its text, or by another model: it shows
        texts = [(id, text) for id, text in self._pending if id in kept][:3]
        mine = self._embed([text for _, text in texts]) if texts else np.zeros((0, 0))
        alike = [
            len(a) == len(kept[id]) and float(a @ kept[id]) > 0.9999
            for a, (id, _) in zip(mine, texts, strict=True)
        ]
        return kept if all(alike) else {}

    def begin(self, d: int) -> Groups:
        """The rows; made for vectors of d numbers if there are none."""
        if self.rows is None:
            self.rows = Groups(d, self.groups, self.tables, self._seed)
        return self.rows

    def rivals(self, thought: Thought) -> list[str]:
        """Ids of the same head and relation, or of the same text where there is no relation."""
        if not thought.complete:
            return list(self.by_text.get(norm_tail(thought.text), ()))
        keys = dict.fromkeys(key_of(t) for t in thought.triples)
        return list(dict.fromkeys(id for key in keys for id in self._by_key.get(key, ())))

    def touched(self, new: Sequence[Thought], vectors: Mapping[str, np.ndarray]) -> list[list[str]]:
        """Groups that the new thoughts are in: of the same hash, and of the same head.

        A thought is in one of them only, and what is alone in its group is left out.
        """
        groups: dict[Any, dict[str, None]] = {}
        for thought in new:
            head = head_key(thought.head) if thought.complete else ""
            members = list(self._by_head.get(head, [])[-GROUP_MOST:])
            number = -1
            if self.groups is not None and self.rows is not None:
                number = int(self.rows.hash(vectors[thought.id][None])[0, 0])
                rows = np.flatnonzero(self.rows.columns[:, 0] == number)
                near = np.argsort(-(self.rows.vectors[rows] @ vectors[thought.id]), kind="stable")
                members += [self.ids[r] for r in rows[np.sort(near[:GROUP_MOST])]]
            group = groups.setdefault((number, head), {})
            group.update(dict.fromkeys(members))
            group[thought.id] = None
        return _disjoint([list(g) for g in groups.values()])

    def held(self, ids: Sequence[str]) -> list[Held]:
        """Thoughts that hold at some time, as is known now; what was read is kept."""
        for id in ids:
            if id not in self._spans:
                self._spans[id] = self._read(id)
        return [h for id in ids for h in self._spans[id]]

    def _read(self, id: str) -> list[Held]:
        shown = self.memory.show(id)
        self._states[id] = shown["state"]
        if shown["state"] in ("Archived", "Expired"):
            return []
        thought = of_item(Item.from_dict(shown["item"]))
        later = shown["versions"][shown["versions"].index(id) + 1 :]
        free = shown["state"] != "Frozen" and not any(self.memory.show(v)["current"] for v in later)
        out = []
        for span in shown["held"]:
            first, last = moment(span["valid_from"]), moment(span["valid_to"])
            if span["known_to"] is None and first is not None:
                out.append((thought, first, last, free and last is None))
        return out

    def outdone(self, item: Item, times: Mapping[str, Any]) -> bool:
        """Whether another thought that holds then, and began later, contradicts it.

        The store ends what is superseded; this is for what was told out of its order.
        """
        thought = of_item(item)
        for triple in thought.triples:
            ids = [i for i in self._by_key.get(key_of(triple), ()) if i != item.id]
            if not (thought.single or thought.negated):  # of many values only a denial takes one
                ids = [i for i in ids if i in self._strong]
            if not ids:
                continue
            for other in self.memory.items(Selector(ids=tuple(ids)), **times):
                later = (other.valid_from, other.recorded_at) > (item.valid_from, item.recorded_at)
                if later and contradicts(of_item(other), thought):
                    return True
        return False

    def held_then(self, item: Item, times: Mapping[str, Any]) -> tuple[Item, str]:
        """The item with the validity it has at the time asked for, and its state."""
        known = moment(times.get("known_at"), "known_at")
        when = moment(times.get("as_of"), "as_of") or known or datetime.now(UTC)
        if known is None:
            for _, first, last, _ in self.held([item.id]):
                if _within(first, when, last):
                    return item.but(valid_from=first, valid_to=last), self._states[item.id]
        shown = self.memory.show(item.id)
        for span in shown["held"]:
            first_, last, since, until = (moment(span[n]) for n in _CLOCKS)
            told = until is None if known is None else _within(since, known, until)
            if told and _within(first_, when, last):
                return item.but(valid_from=first_, valid_to=last), shown["state"]
        return item, shown["state"]


_CLOCKS = ("valid_from", "valid_to", "known_from", "known_to")


def _within(first: datetime | None, when: datetime, last: datetime | None) -> bool:
    return (first is None or first <= when) and (last is None or last > when)


def _disjoint(groups: Sequence[Sequence[str]]) -> list[list[str]]:
    seen: set[str] = set()
    out = []
    for group in groups:
        mine = [i for i in group if i not in seen]
        seen.update(mine)
        if len(mine) > 1:
            out.append(mine)
    return out


class Memo:
    """An embedder that keeps the vectors of the latest texts: a thought is embedded once."""

    def __init__(self, encoder: Any, most: int = 4096) -> None:
        from byheart.memory import make_embedder  # where the names of encoders are known

        made: Any = encoder if hasattr(encoder, "passages") else make_embedder(encoder)
        self._encode, self._most = made, most
        self.name, self.version = made.name, made.version
        self._known: OrderedDict[str, np.ndarray] = OrderedDict()

    def forget(self) -> None:
        """Keep no text."""
        self._known.clear()

    def __call__(self, texts: list[str]) -> np.ndarray:
        fresh = [t for t in dict.fromkeys(texts) if t not in self._known]
        made = dict(zip(fresh, self._encode(fresh), strict=True)) if fresh else {}
        out = np.stack([made[t] if t in made else self._known[t] for t in texts])
        self._known.update(made)
        while len(self._known) > self._most:
            self._known.popitem(last=False)
        return out
