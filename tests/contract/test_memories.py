"""Every store passes the contract of all memories."""

from __future__ import annotations

import itertools

import pytest

from byheart.core._check_memory import RULES
from byheart.core.checks import check_memory
from byheart.core.item import Item
from byheart.core.memory import Selector
from byheart.stores import SqliteStore, open_store


@pytest.fixture(params=["sqlite", "postgres"])
def places(request, tmp_path):
    """Makes empty places, each opened for any scope; closes what was opened."""
    number, opened = itertools.count(), []
    server = request.getfixturevalue("postgres") if request.param == "postgres" else None

    def make_store():
        place = tmp_path / f"{next(number)}.db" if server is None else server.place()

        def open_it(scope):
            opened.append(open_store(place, scope))
            return opened[-1]

        return open_it

    yield make_store
    for store in opened:
        store.close()


@pytest.mark.parametrize("rule", RULES)
def test_contract(places, rule):
    assert rule in check_memory(places, only=rule)


class Leaky(SqliteStore):
    """Does not look at the scope."""

    def _scope_ids(self, conn):
        return tuple(i for (i,) in conn.execute("SELECT id FROM scopes"))


class Forgetful(SqliteStore):
    """Loses every third item of a call without a word."""

    def write(self, items, *, draft=False):
        items = list(items)
        receipt = super().write(items[: 2 + len(items) % 3], draft=draft)
        return type(receipt)(receipt.action, tuple(i.id for i in items), receipt.seq, receipt.at)


class Overwriting(SqliteStore):
    """Erases what it supersedes."""

    def supersede(self, id, item):
        receipt = super().supersede(id, item)
        self.erase(id, versions=False)
        return receipt


class Hiding(SqliteStore):
    """Says erased and hides."""

    def erase(self, selector, **options):
        for item in list(self.items(Selector.of(selector))):
            self.transition(item.id, "Archived")
        return super().erase([super().write([Item("x")]).id], **options)


@pytest.mark.parametrize(
    ("broken", "rule"),
    [
        (Leaky, "scopes are walls"),
        (Forgetful, "what is written is read back exactly"),
        (Overwriting, "superseding keeps the history"),
        (Hiding, "erased is gone"),
        (Leaky, "scores tell nothing of other scopes"),
    ],
)
def test_the_check_can_fail(broken, rule, tmp_path):
    place = tmp_path / "broken.db"
    with pytest.raises((AssertionError, LookupError)):
        check_memory(lambda: lambda scope: broken(place, scope), only=rule)
