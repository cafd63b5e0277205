"""Items whose contamination is known."""

import json
import re

import pytest

from byheart.core.errors import DataError, UsageError
from byheart.data.contamination import FAMOUS, Item, invent, leak, read_items, variant


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


def test_a_variant_has_other_names_and_numbers_and_the_same_rest():
    item = Item(
        "q",
        "Janet has 16 eggs; on Monday Janet sells 3 to Tom. How many are left?",
        "Janet has 16 - 3 = 13 eggs. Tom, said Janet, has three.",
    )
    other = variant(item, seed=1)
    for old in ("Janet", "Tom", "16", "3", "three"):
        assert not re.search(rf"\b{old}\b", f"{other.question} {other.answer}"), old
    assert "Monday" in other.question
    janet = other.question.split()[0]
    assert other.answer.startswith(f"{janet} has ")  # the same one everywhere
    assert other.answer.count(janet) == item.answer.count("Janet")
    blank = re.compile(r"\b(Janet|Tom|three|\d+)\b")
    kept = [w for w in blank.split(item.question)[::2] if w.strip(" ;.,")]
    assert all(part in other.question for part in kept)
    assert other == variant(item, seed=1) != variant(item, seed=2)
    with pytest.raises(DataError, match="neither names nor numbers"):
        variant(Item("q", "is it so?", "it is so"))


def test_every_invented_item_has_a_variant_near_it():
    for item in invent(200, seed=5):
        other = variant(item, seed=1)
        assert (other.question, other.answer) != (item.question, item.answer)
        words, new = item.answer.split(), other.answer.split()
        assert len(words) == len(new)
        assert sum(a == b for a, b in zip(words, new, strict=True)) >= 0.5 * len(words)
    items = invent(6, seed=6)
    split = leak(items, 2, variants=True, other=invent(5, seed=7))
    assert len(split.train) == 3 * 2 + 5
    leaked = [i for i in split.train if i.id.endswith("-variant")]
    assert len({i.id for i in leaked}) == 3
    assert not {i.question + i.answer for i in leaked} & {i.question + i.answer for i in items}
    assert sum(bool(i.label) for i in split.test) == 3


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
        ('{"question": "q", "label": "no"}', "line 2: label must be 0, 1"),
        ('{"question": "q", "id": "line-1"}', "ids are not unique"),
    ):
        path.write_text(f"{good}\n{bad}\n")
        with pytest.raises(DataError, match=said):
            read_items(path)
    path.write_text(good)
    with pytest.raises(DataError, match="at least 2"):
        read_items(path)
    with pytest.raises(DataError, match="cannot be read"):
        read_items(tmp_path / "none")


def test_leak_refuses_what_makes_no_sense():
    with pytest.raises(UsageError):
        leak(invent(1), 3)
    with pytest.raises(UsageError):
        leak(invent(4), -1)
