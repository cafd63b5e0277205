"""PostgresStore beyond the contract: addresses, servers that lack something, text, the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import traceback
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from postgres_helpers import PASSWORD, hashed

from byheart import Item, Memory, Selector, StoreError, UsageError
from byheart.core.errors import CorruptStore, OutputError
from byheart.stores import PostgresStore, SqliteStore, _postgres_vectors
from byheart.stores._postgres_address import Address
from byheart.stores._postgres_conn import _escape, _translated, _unescape
from byheart.stores._postgres_schema import ddl

# ---------------------------------------------------------------- addresses and passwords


def test_the_password_is_never_shown(postgres, capsys):
    place = postgres.place()
    assert PASSWORD in place
    with Memory(place, "a/ana") as memory, Memory(postgres.place(), "a/ben") as other:
        memory.write("Ana likes figs")
        memory.store.create_cube("c", [i.id for i in memory.items()])
        memory.move_cube("c", other)
        seen = [
            repr(memory.store),
            memory.store.place,
            str(vars(memory.store)),
            str(memory.stats()),
        ]
        seen += [json.dumps(e.to_dict()) for e in memory.log()]
        seen += [repr(memory.store._c.address), str(vars(memory.store._c))]
        assert any(other.store.place in s for s in seen)  # where the cube went is noted
    assert not any(PASSWORD in s for s in seen)


def test_another_handle_on_the_same_place(postgres, tmp_path):
    for place in (postgres.place(), tmp_path / "m.db"):
        with Memory(place, "a/ana") as memory, Memory(memory.store, encoder=hashed) as again:
            id = memory.write("Ana likes figs").id
            assert again.recall("figs", 1)[0].item.id == id
            assert again.recall("figs", 1)[0].meaning is not None
            assert str(again.scope) == "a/ana"
            assert memory.store.embedder is None


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://ana:hunter2-s3cret@127.0.0.1:1/none",  # nobody listens
        "postgresql://ana:hunter2-s3cret@localhost.invalid/none",
        "postgresql://ana:x@hunter2-s3cret@db/none",  # an @ that is not escaped
        "postgresql://ana:hunter2-s3cret/none",  # the host forgotten: it would be a port
        "postgresql://ana:hunter2-s3cret@db:port/none",
        "postgresql://ana@db/none?pass=hunter2-s3cret",
        "postgresql:ana:hunter2-s3cret",
        "postgresql://ana:hunter2-s3cret@[db/none",
        "postgresql://ana:hunter2-s3cret@db/none?schema=pg_temp",
    ],
)
def test_wrong_addresses_are_told_without_the_password(url):
    with pytest.raises((UsageError, StoreError)) as caught:
        PostgresStore(url, timeout=2)
    told = "".join(traceback.format_exception(caught.value))
    assert PASSWORD not in told.replace(repr(url), "").replace(url, "")
    assert PASSWORD not in str(caught.value)
    assert "postgresql://" in str(caught.value) or "schema" in str(caught.value)


def test_the_schema_is_named_once(postgres):
    with pytest.raises(UsageError, match="schema"):
        PostgresStore(postgres.url("one"), schema="two")
    assert Address.parse("postgresql://u:p@h:5/d").name == "postgresql://u@h:5/d"
    many = Address.parse("postgresql://u@h1:5,h2:6/d?target_session_attrs=read-write")
    assert many.name == "postgresql://u@h1,h2:5,6/d"
    assert Address.parse("postgresql://u@[::1]:5/d").name == "postgresql://u@::1:5/d"
    assert Address.parse("postgresql://u@h/d?schema=x").name == "postgresql://u@h/d?schema=x"


def test_a_schema_may_have_any_name(postgres):
    place = postgres.url('Odd%20"name%22%3B--')
    with PostgresStore(place, "a/ana") as store:
        store.write([Item("a fig")])
        assert len(store.recall("fig")) == 1
        assert store.check() == []
    assert postgres.psql("SELECT 1 FROM pg_namespace WHERE nspname = 'Odd \"name\";--'") == [(1,)]


# ---------------------------------------------------------------- servers that lack something


def test_a_server_that_is_down_and_a_database_that_is_not_there(postgres):
    with pytest.raises(StoreError, match=r"127\.0\.0\.1:1/none: no connection .*refused"):
        PostgresStore("postgresql://ana@127.0.0.1:1/none", timeout=2)
    with pytest.raises(StoreError, match='database "none" does not exist'):
        PostgresStore(postgres.url(database="none"))
    with pytest.raises(OutputError, match="has no memory yet"):
        PostgresStore(postgres.place(), create=False)


def test_no_pgvector_and_no_right_to_make_it(postgres):
    postgres.psql("DROP DATABASE IF EXISTS bare")
    postgres.psql("CREATE DATABASE bare")
    postgres.psql("DROP ROLE IF EXISTS plain")
    postgres.psql("CREATE ROLE plain LOGIN")
    with pytest.raises(StoreError, match=r"administrator type .*: CREATE EXTENSION vector;"):
        PostgresStore(postgres.url(database="bare", user="plain"))
    postgres.psql("ALTER DATABASE bare SET extension_control_path = '/nowhere'")
    with pytest.raises(StoreError, match=r"has no pgvector\. Install it there .*postgresql-\d+-pg"):
        PostgresStore(postgres.url(database="bare"))
    with pytest.raises(OutputError, match="no memory yet"):
        PostgresStore(postgres.url(database="bare"), create=False)
    postgres.psql("ALTER DATABASE bare RESET extension_control_path")
    with PostgresStore(postgres.url(database="bare")) as store:
        store.write([Item("a fig")])
    with pytest.raises(StoreError, match=r"lacks a right .*GRANT USAGE ON SCHEMA"):
        PostgresStore(postgres.url(database="bare", user="plain"))
    postgres.psql("DROP DATABASE bare WITH (FORCE)")


def test_another_encoding_is_refused(postgres):
    postgres.psql("DROP DATABASE IF EXISTS latin")
    postgres.psql("CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    with pytest.raises(StoreError, match="encoding is LATIN1"):
        PostgresStore(postgres.url(database="latin"))


def test_tables_of_others_and_of_later_versions_are_left_alone(postgres):
    place = postgres.place()
    schema = place.rpartition("=")[2]
    postgres.psql(f"CREATE SCHEMA {schema}")
    postgres.psql(f"CREATE TABLE {schema}.items(a int)")
    with pytest.raises(CorruptStore, match="tables of another program"):
        PostgresStore(place)
    place = postgres.place()
    PostgresStore(place).close()
    postgres.psql("UPDATE meta SET value = '99' WHERE key = 'schema'", place)
    with pytest.raises(CorruptStore, match=r"later byheart .*99"):
        PostgresStore(place)


def test_many_open_a_new_memory_at_once(postgres):
    place, made, wrong = postgres.place(), [], []
    start = threading.Barrier(6)

    def work(n):
        try:
            start.wait()
            with PostgresStore(place, "a/ana") as store:
                made.append(store.write([Item(f"note {n}")]).id)
        except Exception as error:
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert wrong == []
    with PostgresStore(place, "a/ana") as store:
        assert {i.id for i in store.items()} == set(made)
        assert store.check() == []


# ---------------------------------------------------------------- text


def test_nul_and_its_neighbour_come_back_and_keep_their_order():
    texts = ["", "\0", "\1", "\2", "a\0", "a\1\0b", "\0\1", "\1\2", "\1\1", "\0\0", "a", "a\2"]
    for text in texts:
        assert _unescape(_escape(text)) == text
        assert "\0" not in _escape(text)
    assert sorted(texts) == [_unescape(t) for t in sorted(map(_escape, texts))]
    for a in texts:
        assert [b.startswith(a) for b in texts] == [
            _escape(b).startswith(_escape(a)) for b in texts
        ]
    assert _translated("'?' || ? || \"?\"") == "'?' || $1 || \"?\""


def test_nul_in_sources_threads_and_links(store):
    items = [
        Item("one", source="chat:\0one", labels={"thread": "t\0\1"}),
        Item("two", source="chat:\1two", labels={"thread": "t\1"}),
        Item("three", source="chat"),
    ]
    store.write(items)
    store.link(items[0].id, items[1].id, "next\0to")
    assert [store.get(i.id).source for i in items] == [i.source for i in items]
    assert [i.id for i in store.items(Selector(source="chat:\0*"))] == [items[0].id]
    assert [i.id for i in store.items(Selector(source="chat:*"))] == [i.id for i in items[:2]]
    assert [i.id for i in store.items(Selector(source="chat:\1two"))] == [items[1].id]
    assert store.links(items[0].id)[0][2] == "next\0to"
    assert store.check() == []
    store.erase(Selector(source="chat:\0*"))
    assert [i.content for i in store.items()] == ["two", "three"]


def test_scores_are_those_of_sqlite(postgres, tmp_path):
    rng = np.random.default_rng(5)
    common = [f"w{i}" for i in range(400)]
    notes = [" ".join(rng.choice(common, size=rng.integers(1, 60), p=None)) for _ in range(300)]
    notes += [
        "cat " * 1000 + "dog",
        "dog " * 255,
        "dog " * 256,
        "cat " * 20_000,
        "",
        "naïve 東京 🚀",
    ]
    notes += ["l'été's \"quote\" back\\slash a:1 & | ! <-> 'x'"]
    with (
        PostgresStore(postgres.place(), "a/ana") as mine,
        SqliteStore(tmp_path / "m.db", "a/ana") as other,
    ):
        items = [Item(n) for n in notes]
        for some in (mine, other):
            some.write(items)
        queries = ["cat dog", "w1 w2 w3", "東京 rocket 🚀", "l'été quote", "back\\slash 'x'", "dog"]
        for query in queries:
            a, b = (s.recall(query, 400) for s in (mine, other))
            assert len(a) > 0, query
            assert [h.item.id for h in a] == [h.item.id for h in b], query
            assert [h.words for h in a] == pytest.approx([h.words for h in b], rel=1e-12)
        assert mine.check() == []


# ---------------------------------------------------------------- the command line and the page


def test_the_page_shows_the_tables_as_they_are_made():
    page = (Path(__file__).parents[2] / "docs/memory/postgres.md").read_text(encoding="utf-8")
    assert ddl().strip() in page
    made = []
    conn = SimpleNamespace(
        alive=True, script=made.append,
        execute=lambda sql, values=(): made.append(sql) or Rows([(True,)] if "try" in sql else [(1,)]),
    )  # fmt: skip
    _postgres_vectors.build(conn, 1, 7, 384, 6000)
    (create,) = [sql for sql in made if sql.startswith("CREATE INDEX")]
    assert " ".join(create.split()) in " ".join(page.split())


class Rows(list):
    """What a statement gave."""

    def fetchone(self):
        return self[0]

    def fetchall(self):
        return []


def test_the_command_line_takes_an_address(postgres, cli, tmp_path):
    place = postgres.place()
    code, out, err = cli("memory", "write", "Ana is allergic to penicillin.", "--db", place)
    assert code == 0, err
    code, out, err = cli("memory", "recall", "allergic?", "--db", place, "--json")
    assert code == 0, err
    assert json.loads(out)[0]["item"]["content"] == "Ana is allergic to penicillin."
    code, out, err = cli("memory", "check", "--db", place)
    assert code == 0, err
    out_file = tmp_path / "out.jsonl"
    code, out, err = cli("memory", "export", out_file, "--db", place)
    assert code == 0, err
    assert PASSWORD not in out + err + out_file.read_text()
    code, out, err = cli(
        "memory", "recall", "x", "--db", "postgresql://a:hunter2-s3cret@127.0.0.1:1/b"
    )
    assert code != 0
    assert "no connection" in err
    assert PASSWORD not in out + err


OWN = (
    "no_posting_of_another_scope or a_graph_finds or without_usearch"
    # how the file keeps its words and vectors, which the server does in another way
)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_tests_of_the_file_pass_on_a_server(postgres):
    here = Path(__file__).parent
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "on_postgres",
         here / "test_memory.py", here / "test_cubes.py", "-k", f"not ({OWN})"],
        env={**os.environ, "BYHEART_TEST_SERVER": postgres.url(), "PYTHONPATH": str(here)},
        capture_output=True, text=True, timeout=880, cwd=here.parents[1],
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    (made,) = postgres.psql("SELECT count(*) FROM pg_namespace WHERE nspname ~ '^f[0-9a-f]{16}$'")
    assert made[0] > 40
