"""The rules of `check_memory`, one function each; every one raises AssertionError when broken."""

# Calls with values of the wrong type are what this file is for.
# mypy: disable-error-code="misc,arg-type,assignment"

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from byheart.core.errors import ByheartError, IllegalTransition, UnknownName, UsageError
from byheart.core.item import Item
from byheart.core.lifecycle import STATES, STEPS
from byheart.core.memory import Selector

__all__ = ["RULES"]

Make = Callable[[str], Any]
RULES: dict[str, Callable[[Make], None]] = {}

PLANES = "a\0é漢😀\U00020000\U000e0041\U000f0000\U0010fffd"
"""A character of every plane of Unicode that has any, and NUL."""

DAY = timedelta(days=1)


def rule(check: Callable[[Make], None]) -> Callable[[Make], None]:
    """Add a rule under its function's name."""
    RULES[check.__name__.strip("_").replace("_", " ")] = check
    return check


def _same(what: str, got: Any, wanted: Any) -> None:
    if got != wanted:
        raise AssertionError(f"{what}: got {got!r:.400}, wanted {wanted!r:.400}")


def _true(what: str, holds: bool) -> None:
    if not holds:
        raise AssertionError(what)


def _raises(what: str, kind: type[BaseException], call: Callable[[], Any]) -> None:
    try:
        call()
    except kind:
        return
    raise AssertionError(f"{what}: no {kind.__name__} was raised")


def _ids(hits: Any) -> list[str]:
    return [h.item.id for h in hits]


@rule
def what_is_written_is_read_back_exactly(make: Make) -> None:
    store = make("a/ana")
    when = datetime(2020, 2, 29, 12, 0, 0, 123456, tzinfo=UTC)
    items = [
        Item("plain"),
        Item(""),
        Item(PLANES * 3),
        Item("line\r\nline\u2028\u0085 end"),
        Item("x" * 300_000),
        Item(
            "with everything",
            source="chat:1",
            trust="user",
            valid_from=when,
            valid_to=when + DAY,
            expires_at=when + 9000 * DAY,
            labels={"b": [1, 2.5, None, True], "a": {"é": "漢"}},
            parents=("p1",),
        ),
        Item("cache", kind="state", blob=bytes(range(256))),
    ]
    receipt = store.write(items)
    _same("ids of the receipt", receipt.ids, tuple(i.id for i in items))
    for item in items:
        back = store.get(item.id)
        for name in ("content", "kind", "blob", "source", "trust", "labels", "parents", "digest"):
            _same(f"{name} read back", getattr(back, name), getattr(item, name))
        _true("recorded_at is set", back.recorded_at is not None)
        for name in ("valid_from", "valid_to", "expires_at"):
            if getattr(item, name) is not None:
                _same(f"{name} read back", getattr(back, name), getattr(item, name))
    _same("another handle reads the same", make("a/ana").get(items[2].id), store.get(items[2].id))


@rule
def a_write_is_all_or_nothing(make: Make) -> None:
    store = make("a/ana")
    first = Item("there")
    store.write([first])
    _raises(
        "an id twice", UsageError, lambda: store.write([Item("new one"), first.but(content="x")])
    )
    _same("nothing of the failed call", len(list(store.items())), 1)
    entries = len(list(store.log()))
    _same("a repeated write changes nothing", store.write([first]).seq, None)
    _same("and logs nothing", len(list(store.log())), entries)


@rule
def a_transaction_is_all_or_nothing(make: Make) -> None:
    """Several calls are kept as a whole; one that fails and is caught takes back itself alone."""
    store = make("acme/ana")
    first = store.write([Item("the first")]).ids[0]
    with store.transaction():
        second = store.supersede(first, "the second").ids[0]
        _same("what was written is read within", store.get(second).content, "the second")
        _raises("recall within", UsageError, lambda: store.recall("second"))
        _raises("a second supersession", ByheartError, lambda: store.supersede(first, "no"))
        with store.transaction():
            store.write([Item("and more")])
    _same("all of it", sorted(i.content for i in store.items()), ["and more", "the second"])
    entries, head = len(list(store.log())), list(store.log())[-1].hash

    def fail() -> None:
        with store.transaction():
            store.supersede(second, "the third")
            store.write([Item("lost")])
            raise UsageError("stop")

    _raises("what stops it", UsageError, fail)
    _same("entries after a failure", len(list(store.log())), entries)
    _same("the log after a failure", list(store.log())[-1].hash, head)
    _same(
        "items after a failure",
        sorted(i.content for i in store.items()),
        ["and more", "the second"],
    )
    store.write([Item("goes on")])
    _true("found afterwards", bool(store.recall("goes on", 1)))
    _same("nothing is wrong", store.check(), [])


@rule
def every_write_has_one_entry_and_the_log_is_in_order(make: Make) -> None:
    store = make("a/ana")
    made = [store.write([Item(f"note {i}")]).id for i in range(20)]
    log = list(store.log(kind="write"))
    _same("one entry a write", [e.subject for e in log], made)
    _true("recorded times increase", all(a.at < b.at for a, b in itertools.pairwise(log)))
    _true("numbers increase", all(a.seq < b.seq for a, b in itertools.pairwise(log)))
    _same("filtered by subject", [e.subject for e in store.log(subject=made[3])], [made[3]])
    middle = log[10].at
    _same("filtered by time", len(list(store.log(kind="write", since=middle))), 10)
    _same("filtered up to a time", len(list(store.log(kind="write", until=middle))), 10)


@rule
def recall_finds_by_words(make: Make) -> None:
    store = make("a/ana")
    store.write([Item("The bridge at Quillon is 314 metres long"), Item("Ana likes crème brûlée")])
    store.write([Item("東京タワー"), Item("A rocket 🚀 flew")])
    for query, content in (
        ("how long is the bridge?", "bridge"),
        ("CREME", "crème"),
        ("東京", "東京"),
        ("🚀", "🚀"),
    ):
        hits = store.recall(query, 3)
        _true(f"{query!r} finds it", bool(hits) and content in hits[0].item.content)
    _same("nothing that has no word of it", store.recall("zebra", 3), [])
    _same("at most k", len(store.recall("bridge Ana rocket 東", 2)), 2)
    for bad in (0, -1, True, 1.5):
        _raises(f"k={bad!r}", UsageError, lambda bad=bad: store.recall("bridge", bad))
    for bad in ("", "  \n"):
        _raises("an empty query", UsageError, lambda bad=bad: store.recall(bad, 3))
    for odd in ('"', "a OR", "NEAR(", "a* -b", "';--", "\0", "(((", "x" * 20_000):
        store.recall(odd, 3)


@rule
def both_clocks(make: Make) -> None:
    store = make("a/ana")
    old = Item("Ana lives in Rome", valid_from="2020-01-01")
    first = store.write([old])
    new = Item("Ana lives in Paris", valid_from="2024-01-01")
    second = store.supersede(old.id, new)
    _same("now", _ids(store.recall("where does Ana live, lives?")), [new.id])
    _same("as of 2022", _ids(store.recall("lives", as_of="2022-06-01")), [old.id])
    _same("as of 2019", store.recall("lives", as_of="2019-06-01"), [])
    _same("as of 2025", _ids(store.recall("lives", as_of="2025-01-01")), [new.id])
    _same("as known before", _ids(store.recall("lives", known_at=first.at)), [old.id])
    _same(
        "as known before, of 2025",
        _ids(store.recall("lives", known_at=first.at, as_of="2025-01-01")),
        [old.id],
    )
    _same("before anything was known", store.recall("lives", known_at="2001-01-01"), [])
    hit = store.recall("lives", as_of="2022-06-01")[0]
    _same("the old one's validity ends", hit.item.valid_to, new.valid_from)
    found = store.diff(first.at, second.at)
    _same("diff, recorded", [(a.id, b.id) for a, b in found["changed"]], [(old.id, new.id)])
    found = store.diff("2022-01-01", "2025-01-01", clock="valid")
    _same("diff, valid", [(a.id, b.id) for a, b in found["changed"]], [(old.id, new.id)])
    found = store.diff("2019-01-01", "2022-01-01", clock="valid")
    _same("diff, valid, before it began", [i.id for i in found["added"]], [old.id])
    _raises("times the wrong way round", UsageError, lambda: store.diff("2025-01-01", "2024-01-01"))


@rule
def superseding_keeps_the_history(make: Make) -> None:
    store = make("a/ana")
    made = [Item("version 0")]
    store.write(made)
    for i in range(1, 6):
        made.append(Item(f"version {i}"))
        store.supersede(made[-2].id, made[-1])
    _same("one is current", [i.id for i in store.items()], [made[-1].id])
    _same("all are kept", [i.content for i in store.items(history=True)], [i.content for i in made])
    _same("n changes, n + 1 versions", store.show(made[0].id)["versions"], [i.id for i in made])
    _raises("the same twice", ByheartError, lambda: store.supersede(made[0].id, Item("x")))
    _raises("an unknown id", UnknownName, lambda: store.supersede("nope", Item("x")))


@rule
def undo_restores(make: Make) -> None:
    store = make("a/ana")
    first = store.write([Item("Rome", valid_from="2020-01-01")])
    second = store.supersede(first.id, Item("Paris", valid_from="2024-01-01"))
    _raises("what a later one builds on", ByheartError, lambda: store.undo(first))
    undone = store.undo(second)
    _same("as before", [i.content for i in store.items()], ["Rome"])
    _same("its validity too", [h.item.valid_to for h in store.recall("Rome")], [None])
    _raises("twice", ByheartError, lambda: store.undo(second))
    again = store.undo(undone)
    _same("undo is undone", [i.content for i in store.items()], ["Paris"])
    _raises("an undo twice", ByheartError, lambda: store.undo(undone))
    store.undo(again)
    store.undo(first)
    _same("nothing is left", list(store.items()), [])
    _same(
        "all of it is known then", [i.content for i in store.items(known_at=second.at)], ["Paris"]
    )
    both = store.write([Item("one"), Item("two")])
    store.undo(both)
    _same("a call of two is undone whole", list(store.items()), [])


@rule
def erased_is_gone(make: Make) -> None:
    store = make("a/ana")
    keep = Item("Ana keeps a parrot")
    first = Item("Zanzibarquux secret one", source="chat:7")
    store.write([keep, first])
    second = Item("Zanzibarquux secret two", source="chat:8")
    store.supersede(first.id, second)
    derived = Item("about Zanzibarquux", parents=(second.id,))
    store.write([derived])
    before = store.recall("Zanzibarquux", 5)
    _true("it is found first", len(before) == 2)
    receipt = store.erase(second.id)
    _same("all versions", set(receipt.ids), {first.id, second.id})
    _true("what it cannot reach is said", bool(receipt.beyond))
    _true("derived items are named", any(derived.id in b for b in receipt.beyond))
    _same("not found", _ids(store.recall("secret Zanzibarquux", 5)), [derived.id])
    _same("not then either", store.recall("secret", known_at=before[0].item.recorded_at), [])
    for id in (first.id, second.id):
        _raises("not by its id", UnknownName, lambda id=id: store.get(id))
    told = json.dumps([e.to_dict() for e in store.log()])
    _true("not in the log", "secret" not in told and "chat:7" not in told)
    _same("the rest is there", store.get(keep.id).content, keep.content)
    _same("all is sound", store.check(), [])
    _raises("a selector of nothing", UsageError, lambda: Selector())
    store.erase(Selector(everything=True))
    _same("everything", list(store.items(history=True)), [])
    _same("still sound", store.check(), [])


@rule
def scopes_are_walls(make: Make) -> None:
    ana, ben = make("a/ana"), make("a/ben")
    other = make("b/ana")
    empty = (ben.recall("secret word", 5), ben.stats(), list(ben.log()))
    item = Item("the secret word is swordfish")
    ana.write([item, Item("the word secret again")])
    for name, store in (("another user", ben), ("another tenant", other)):
        _same(f"{name} recalls", store.recall("secret word swordfish", 5), [])
        _same(f"{name} lists", list(store.items(history=True)), [])
        _same(f"{name} logs", list(store.log()), [])
        _raises(f"{name} reads", UnknownName, lambda s=store: s.get(item.id))
        _raises(f"{name} shows", UnknownName, lambda s=store: s.show(item.id))
        _raises(f"{name} supersedes", UnknownName, lambda s=store: s.supersede(item.id, Item("x")))
        _raises(f"{name} erases", UnknownName, lambda s=store: s.erase(item.id))
        _raises(f"{name} moves", UnknownName, lambda s=store: s.transition(item.id, "Archived"))
        _raises(f"{name} undoes", UnknownName, lambda s=store: s.undo(list(ana.log())[-1].seq))
        _same(f"{name} erases everything", store.erase(Selector(everything=True)).ids, ())
    _same(
        "counts do not change", (ben.recall("secret word", 5), ben.stats(), list(ben.log())), empty
    )
    _raises("an item of another", UsageError, lambda: ben.write([Item("x", scope=ana.scope)]))
    ben.write([item.but(content="ben's own")])
    _same("the same id, another's content", ben.get(item.id).content, "ben's own")
    _same("untouched", ana.get(item.id).content, item.content)
    _same("an open reader sees both", len(list(make("a/*").items())), 3)
    _raises("but writes to none", UsageError, lambda: make("a/*").write([Item("x")]))


@rule
def scores_tell_nothing_of_other_scopes(make: Make) -> None:
    ana, ben = make("a/ana"), make("a/ben")
    notes = ["the cat sat", "a dog ran far", "cat and dog", "one long story of a cat and its hat"]
    ana.write([Item(n) for n in notes])
    before = [(h.item.id, h.score, h.words) for h in ana.recall("cat dog story", 4)]
    ben.write([Item(f"cat number {i} cat dog story") for i in range(300)])
    ben.recall("cat", 1)
    after = [(h.item.id, h.score, h.words) for h in make("a/ana").recall("cat dog story", 4)]
    _same("ranks and scores", after, before)


@rule
def the_lifecycle_has_legal_steps_only(make: Make) -> None:
    store = make("a/ana")
    ways: dict[str, tuple[str, ...]] = {
        "Generated": (), "Activated": ("Activated",), "Merged": ("Activated", "Merged"),
        "Archived": ("Archived",), "Frozen": ("Activated", "Frozen"), "Expired": ("Expired",),
    }  # fmt: skip
    for before, way in ways.items():
        for after in STATES:
            id = store.write([Item(f"{before} to {after}")]).id
            for step in way:
                store.transition(id, step)
            _same("state", store.show(id)["state"], before)
            if after in STEPS[before]:
                store.transition(id, after, "because")
                entry = list(store.log(subject=id))[-1]
                _same("each step is logged", (entry.kind, entry.data["to"]), ("state", after))
            else:
                _raises(
                    f"{before} to {after}", IllegalTransition,
                    lambda id=id, after=after: store.transition(id, after),
                )  # fmt: skip
    id = store.write([Item("frozen solid")]).id
    store.transition(id, "Activated")
    store.transition(id, "Frozen")
    _raises("a frozen item is not superseded", ByheartError, lambda: store.supersede(id, Item("x")))
    _raises("nor erased", ByheartError, lambda: store.erase(id))
    store.transition(id, "Activated")
    store.erase(id)


@rule
def derived_data_can_be_rebuilt(make: Make) -> None:
    store = make("a/ana")
    ids = [store.write([Item(f"note {i} of the cat")]).id for i in range(30)]
    store.supersede(ids[3], Item("another cat"))
    store.transition(ids[4], "Archived")
    store.erase(ids[5])
    store.link(ids[6], ids[7], "next")
    before = (
        [h.to_dict() for h in store.recall("cat note 7", 10)],
        store.stats(),
        store.links(ids[6]),
    )
    store.rebuild()
    after = (
        [h.to_dict() for h in store.recall("cat note 7", 10)],
        store.stats(),
        store.links(ids[6]),
    )
    _same("after rebuild", after, before)
    _same("and sound", store.check(), [])


@rule
def time_to_live(make: Make) -> None:
    store = make("a/ana")
    soon = datetime.now(UTC) + timedelta(seconds=0.15)
    item = Item("a short-lived cat", expires_at=soon)
    store.write([item, Item("a cat")])
    _same("both", len(store.recall("cat")), 2)
    time.sleep(0.2)
    _same("hidden once its time is over", len(store.recall("cat")), 1)
    _same("and ended by the timer", store.expire().ids, (item.id,))
    _same("in its state", store.show(item.id)["state"], "Expired")
    _same("once", store.expire().ids, ())
