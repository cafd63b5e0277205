"""Cubes: versions, branches, three-way merge, composition, access, freezing, moving."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from byheart.core.errors import (
    AccessDenied,
    FrozenError,
    IllegalTransition,
    MergeConflict,
    UnknownName,
    UsageError,
)
from byheart.core.item import Item
from byheart.core.lifecycle import STATES, STEPS
from byheart.core.memory import Selector
from byheart.memory import Memory
from byheart.stores._cube_merge import merged
from byheart.stores.exchange import export_lines
from byheart.stores.sqlite import SqliteStore


@pytest.fixture
def store(tmp_path):
    with SqliteStore(tmp_path / "m.db", "a/ana") as store:
        yield store


def contents(store, cube, version=None):
    return sorted(i.content for i in store.cube_items(cube, version))


def test_a_cube_is_named_versioned_and_owned(store):
    ids = store.write([Item("one"), Item("two")]).ids
    store.create_cube("trip", ids, provenance={"from": "test"})
    store.commit("trip", [Item("three")], message="a third")
    store.commit("trip", drop=[ids[0]])
    cube = store.cube("trip")
    assert (cube.owner, cube.state, cube.branches) == ("local", "Generated", {"main": 3})
    assert cube.provenance == {"from": "test"}
    assert contents(store, "trip") == ["three", "two"]
    assert contents(store, "trip", 1) == ["one", "two"]
    assert contents(store, "trip", 2) == ["one", "three", "two"]
    assert [(v.number, v.message) for v in store.cube_versions("trip")] == [
        (1, "made"), (2, "a third"), (3, ""),
    ]  # fmt: skip
    assert [i.content for i in store.items()] == ["one", "two", "three"]  # dropped, not deleted
    assert store.check() == []


def test_names_that_are_not_there_are_told_with_near_ones(store):
    store.create_cube("travel")
    with pytest.raises(UnknownName, match="travel"):
        store.cube("travle")
    with pytest.raises(UnknownName, match="main"):
        store.cube_items("travel@man")
    with pytest.raises(UnknownName, match="version"):
        store.cube_items("travel", 9)
    with pytest.raises(UsageError, match="already"):
        store.create_cube("travel")
    for bad in ("", "a@b", "a\nb"):
        with pytest.raises(UsageError):
            store.create_cube(bad)
    with pytest.raises(UsageError):
        store.commit("travel")
    with pytest.raises(UnknownName):
        store.commit("travel", ["nope"])
    with pytest.raises(UnknownName):
        store.commit("travel", drop=["nope"])


def test_a_branch_changes_nothing_outside_until_it_is_merged(store):
    old = store.write([Item("Ana lives in Rome")]).id
    store.create_cube("facts", [old])
    store.branch("facts", "idea")
    new = Item("Ana lives in Oslo", supersedes=old)
    store.commit("facts@idea", [new, Item("Oslo is cold")])
    assert [h.item.content for h in store.recall("lives Oslo")] == ["Ana lives in Rome"]
    assert contents(store, "facts@idea") == ["Ana lives in Oslo", "Oslo is cold"]
    found = store.recall("lives Oslo", cube="facts@idea")
    assert sorted(h.item.content for h in found) == ["Ana lives in Oslo", "Oslo is cold"]
    assert [h.item.content for h in store.recall("lives", cube="facts")] == ["Ana lives in Rome"]
    store.merge("facts", "idea")
    assert contents(store, "facts") == ["Ana lives in Oslo", "Oslo is cold"]
    assert [h.item.content for h in store.recall("lives")] == ["Ana lives in Oslo"]
    assert store.show(new.id)["versions"] == [old, new.id]
    assert [v.merged for v in store.cube_versions("facts")][-1] == 3
    assert store.check() == []
    store.rebuild()
    assert store.check() == []


def test_conflicts_are_listed_and_resolved_as_told(store):
    ids = store.write([Item("a"), Item("b"), Item("c")]).ids
    store.create_cube("x", ids)
    store.branch("x", "side")
    ours, theirs = Item("a ours", supersedes=ids[0]), Item("a theirs", supersedes=ids[0])
    store.commit("x", [ours])
    store.commit("x@side", [theirs], drop=[ids[1]])
    entries = store.head()
    with pytest.raises(MergeConflict) as caught:
        store.merge("x", "side")
    assert store.head() == entries
    (conflict,) = caught.value.conflicts
    assert (conflict.key, conflict.base) == (ids[0], ids[0])
    assert (conflict.ours, conflict.theirs) == (ours.id, theirs.id)
    with pytest.raises(UsageError):
        store.merge("x", "side", resolve="mine")
    with pytest.raises(UsageError, match="none of the three"):
        store.merge("x", "side", resolve=lambda c: "made up")
    store.branch("x", "copy")
    store.merge("x", "side", into="copy", resolve=lambda c: None)
    assert contents(store, "x@copy") == ["c"]
    store.merge("x", "side", resolve="theirs")
    assert contents(store, "x") == ["a theirs", "c"]
    assert [i.content for i in store.items()] == ["b", "c", "a theirs"]
    assert store.check() == []


def brute_merge(base, ours, theirs):
    """Key by key, by the definition."""
    out, bad = {}, set()
    for key in {*base, *ours, *theirs}:
        b, o, t = base.get(key), ours.get(key), theirs.get(key)
        changed = [v for v in (o, t) if v != b]
        if len(set(changed)) > 1 or (len(changed) == 2 and o != t):
            bad.add(key)
        else:
            value = changed[0] if changed else b
            if value is not None:
                out[key] = value
    return out, bad


def test_the_merge_is_the_definition_for_every_small_case():
    choices = [None, "x", "y", "z"]
    n = 0
    for b in choices:
        for o in choices:
            for t in choices:
                sides = [{"k": v} if v else {} for v in (b, o, t)]
                out, conflicts = merged(*sides)
                wanted, bad = brute_merge(*sides)
                assert out == wanted
                assert {c.key for c in conflicts} == bad
                n += 1
    assert n == 64


def test_a_second_merge_takes_only_what_is_new(store):
    ids = store.write([Item("a")]).ids
    store.create_cube("x", ids)
    store.branch("x", "side")
    store.commit("x@side", [Item("b")])
    store.merge("x", "side")
    store.commit("x", drop=[next(i.id for i in store.cube_items("x") if i.content == "b")])
    store.commit("x@side", [Item("c")])
    store.merge("x", "side")
    assert contents(store, "x") == ["a", "c"]  # b does not come back


def test_composition(store):
    a, b = store.write([Item("a")]).id, store.write([Item("b")]).id
    store.create_cube("one", [a])
    store.create_cube("two", [a, b])
    store.compose("both", ["one", "two"])
    assert contents(store, "both") == ["a", "b"]
    assert store.cube("both").provenance == {"composed of": {"one": 1, "two": 1}}
    store.commit("two", [Item("a, newer", supersedes=a)])
    with pytest.raises(MergeConflict):
        store.compose("again", ["one", "two"])
    store.compose("again", ["one", "two"], resolve="last")
    assert contents(store, "again") == ["a, newer", "b"]


def test_nobody_reads_a_cube_he_may_not_by_any_path(tmp_path):
    path = tmp_path / "m.db"
    owner = SqliteStore(path, "a/ana", actor="owner")
    ids = owner.write([Item("swordfish secret"), Item("swordfish open")]).ids
    second = Item("swordfish secret, newer")
    owner.create_cube("vault", [ids[0]])
    owner.commit("vault", [second.but(supersedes=ids[0])])
    hidden = {ids[0], second.id}
    other = SqliteStore(path, "a/ana", actor="other")
    for what in ("read", "write", "share"):
        assert {h.item.id for h in other.recall("swordfish")} == {ids[1]}
        assert not hidden & {i.id for i in other.items(history=True)}
        assert not hidden & {e.subject for e in other.log()}
        assert "vault" not in [c.name for c in other.cubes()]
        for call in (
            lambda: other.get(second.id),
            lambda: other.get(ids[0]),
            lambda: other.show(second.id),
            lambda: other.erase(second.id),
            lambda: other.supersede(second.id, Item("x")),
            lambda: other.cube("vault"),
            lambda: other.cube_items("vault"),
            lambda: other.recall("swordfish", cube="vault"),
        ):
            with pytest.raises(UnknownName):
                call()
        assert not any("secret" in line for line in export_lines(other))
        found = other.diff("2020-01-01")["added"]
        assert not hidden & {i.id for i in found}
        assert [i.id for i in other.items(Selector(everything=True))] == [ids[1]]
        owner.share_cube("vault", {} if what == "read" else {"write": ["stranger"]})
    owner.share_cube("vault", {"read": ["other"]})
    assert other.get(second.id).content == second.content
    with pytest.raises(AccessDenied):
        other.commit("vault", [Item("x")])
    with pytest.raises(AccessDenied):
        other.supersede(second.id, Item("x"))
    with pytest.raises(AccessDenied):
        other.erase(second.id)
    with pytest.raises(AccessDenied):
        other.compose("stolen", ["vault", "vault"])
    with pytest.raises(AccessDenied):
        other.share_cube("vault", {"read": ["*"]})
    with pytest.raises(AccessDenied):
        other.transition_cube("vault", "Activated")
    owner.share_cube("vault", {"read": ["other"], "write": ["other"]})
    other.commit("vault", [Item("by the other")])
    with pytest.raises(UsageError):
        owner.share_cube("vault", {"look": ["x"]})
    with pytest.raises(UsageError):
        owner.share_cube("vault", {"read": "other"})


def test_a_frozen_cube_refuses_every_change(store):
    id = store.write([Item("stone")]).id
    store.create_cube("x", [id])
    store.freeze_cube("x", "reviewed")
    for call in (
        lambda: store.commit("x", [Item("y")]),
        lambda: store.branch("x", "b"),
        lambda: store.supersede(id, Item("y")),
        lambda: store.transition(id, "Archived"),
        lambda: store.erase(id),
    ):
        with pytest.raises(FrozenError):
            call()
    assert store.recall("stone")
    store.unfreeze_cube("x")
    store.commit("x", [Item("y")])


def test_a_cube_expires(store):
    id = store.write([Item("milk")]).id
    store.create_cube("x", [id], expires_at=datetime.now(UTC) + timedelta(seconds=0.1))
    assert store.recall("milk", cube="x")
    time.sleep(0.15)
    with pytest.raises(FrozenError, match="expired"):
        store.recall("milk", cube="x")
    assert store.recall("milk")  # the item is not the cube


def test_a_cube_is_recalled_as_it_was_known(store):
    old = store.write([Item("tea with milk"), Item("tea with lemon")]).ids
    before = store.write([Item("something else")]).at
    store.create_cube("x", [old[0]])
    made = store.commit("x", [old[1]]).at
    store.branch("x", "side")
    store.commit("x@side", [Item("tea with rum", supersedes=old[0])])
    store.commit("x", drop=[old[0]])

    def found(cube, **clock):
        return sorted(h.item.content for h in store.recall("tea", cube=cube, **clock))

    assert found("x") == ["tea with lemon"]
    assert found("x", known_at=made) == ["tea with lemon", "tea with milk"]
    assert found("x", known_at=before) == []
    assert found("x@side") == ["tea with lemon", "tea with rum"]
    assert found("x@side", known_at=made) == []  # there was no such branch
    store.transition(old[1], "Expired")
    assert found("x") == []
    assert found("x", known_at=made) == ["tea with lemon", "tea with milk"]
    store.erase(old[0])
    assert found("x", known_at=made) == ["tea with lemon"]


def test_a_cube_moves_to_another_store(tmp_path):
    with Memory(tmp_path / "a.db", "a/ana") as here, Memory(tmp_path / "b.db", "b/ben") as there:
        ids = here.write(["one", "two", "other"]).ids
        here.store.create_cube("x", ids[:2])
        here.store.branch("x", "side")
        here.store.commit("x@side", [Item("three")])
        here.move_cube("x", there)
        assert contents(there.store, "x") == ["one", "two"]
        assert contents(there.store, "x@side") == ["one", "three", "two"]
        assert contents(there.store, "x", 1) == ["one", "two"]
        assert here.store.cube("x").state == "Archived"
        assert [i.content for i in there.items()] == ["one", "two"]
        assert there.check() == here.check() == []


def test_erased_items_leave_every_version(store):
    ids = store.write([Item("keep"), Item("gone")]).ids
    store.create_cube("x", ids)
    store.branch("x", "side")
    store.erase(ids[1])
    assert contents(store, "x", 1) == contents(store, "x") == contents(store, "x@side") == ["keep"]
    store.merge("x", "side")
    assert contents(store, "x") == ["keep"]
    assert store.check() == []


class Life(RuleBasedStateMachine):
    """Random steps of one item against the table of steps; the clock is ours."""

    @initialize()
    def make(self):
        import tempfile
        from pathlib import Path

        self.now = 1_800_000_000.0
        self.folder = tempfile.TemporaryDirectory()
        self.store = SqliteStore(Path(self.folder.name) / "m.db", "a/ana", clock=lambda: self.now)
        until = datetime.fromtimestamp(self.now + 1000, UTC)
        self.id = self.store.write([Item("alive", expires_at=until)]).id
        self.state, self.steps, self.touched = "Generated", 0, self.now

    @rule(to=st.sampled_from(STATES))
    def step(self, to):
        self.now += 1
        if to in STEPS[self.state]:
            self.store.transition(self.id, to)
            self.state, self.steps, self.touched = to, self.steps + 1, self.now
        else:
            with pytest.raises(IllegalTransition):
                self.store.transition(self.id, to)

    @rule()
    def use(self):
        self.now += 1
        self.store.use([self.id])
        self.touched = self.now
        if self.state == "Generated":
            self.state, self.steps = "Activated", self.steps + 1

    @rule(seconds=st.sampled_from([1, 50.5, 400.5]))
    def wait_and_run_the_timers(self, seconds):
        self.now += seconds
        self.store.expire(timedelta(seconds=100))
        over = self.now >= 1_800_001_000
        if over and self.state not in ("Frozen", "Expired"):
            self.steps += 2 if self.state == "Merged" else 1
            self.state = "Expired"
        elif self.state in ("Generated", "Activated", "Merged") and self.now - self.touched >= 100:
            self.state, self.steps, self.touched = "Archived", self.steps + 1, self.now

    @invariant()
    def agrees(self):
        assert self.store.show(self.id)["state"] == self.state
        assert sum(1 for _ in self.store.log(kind="state")) == self.steps
        over = self.now >= 1_800_001_000
        hidden = self.state in ("Expired", "Archived") or (over and self.state != "Frozen")
        assert bool(self.store.recall("alive")) != hidden

    def teardown(self):
        if hasattr(self, "store"):
            assert self.store.check() == []
            self.store.close()
            self.folder.cleanup()


Life.TestCase.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)
TestLife = Life.TestCase
