"""Items whose contamination is known."""

import json

import pytest

from byheart.core.errors import DataError, UsageError
from byheart.data.contamination import FAMOUS, invent, leak, read_items, variant


def test_invented_items_are_drawn_anew_with_every_seed_and_are_long_enough():
    a, b = invent(20, seed=1), invent(20, seed=2)
    assert a == invent(20, seed=1)
    assert not {i.answer for i in a} & {i.answer for i in b}
    assert all(20 <= len(i.answer.split()) <= 60 for i in a)
    assert len({i.id for i in a}) == 20


def test_a_split_leaks_half_as_often_as_asked_and_labels_it():
    items = invent(10, seed=0)
    split = leak(items, 5, seed=3)
    leaked = [i.id for i in split.test if i.label]
    assert len(leaked) == 5
    assert sorted(i.id for i in split.train) == sorted(leaked * 5)
    assert not any(i.label for i in leak(items, 0).test)
    assert leak(items, 0).train == ()


def test_a_variant_is_near_but_not_the_item():
    item = invent(1, seed=5)[0]
    other = variant(item, seed=1)
    assert other.answer != item.answer
    assert len(other.answer.split()) == len(item.answer.split())
    same = sum(a == b for a, b in zip(item.answer.split(), other.answer.split(), strict=True))
    assert same >= 0.5 * len(item.answer.split())
    split = leak([item, invent(2, seed=6)[1]], 1, variants=True)
    assert all(i.id.endswith("-variant") for i in split.train)


def test_famous_openings_are_free_form():
    assert len(FAMOUS) >= 12
    assert all(len(answer.split()) >= 15 for _, answer in FAMOUS)


def test_reading_a_benchmark_names_the_line(tmp_path):
    path = tmp_path / "b.jsonl"
    good = json.dumps({"question": "q", "answer": "a", "label": True})
    for bad, said in (
        ("nonsense", "line 2: not JSON"),
        ("[1]", "line 2: expected an object"),
        ('{"answer": "a"}', "line 2: needs a question"),
        ('{"question": "q", "answer": 3}', "line 2: answer must be text"),
        ('{"question": "q", "id": "line-1"}', "ids are not unique"),
    ):
        path.write_text(f"{good}\n{bad}\n")
        with pytest.raises(DataError, match=said):
            read_items(path)
    path.write_text(good)
    with pytest.raises(DataError, match="at least 2"):
        read_items(path)
    with pytest.raises(DataError, match="cannot read"):
        read_items(tmp_path / "none")


def test_leak_refuses_what_makes_no_sense():
    with pytest.raises(UsageError):
        leak(invent(1), 3)
    with pytest.raises(UsageError):
        leak(invent(4), -1)
