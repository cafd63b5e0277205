"""The user's own files as arms, and windows of them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from byheart.core.errors import DataError, UsageError
from byheart.data.passages import Passage
from byheart.data.texts import Arms, arms, draw_windows, read_texts, units


def words(prefix: str, n: int) -> str:
    return " ".join(f"{prefix}{i}" for i in range(n))


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.txt").write_text(words("a", 40))
    (tmp_path / "sub" / "b.md").write_text(words("b", 50))
    (tmp_path / "picture.png").write_bytes(b"\x89PNG")
    return tmp_path


def test_folders_are_searched_and_other_files_left_out(folder):
    assert [p.pair for p in read_texts(folder)] == ["a.txt", "sub/b.md"]
    assert [p.pair for p in read_texts([folder / "a.txt", str(folder / "sub")])] == [
        "a.txt",
        "b.md",
    ]


def test_a_byte_order_mark_and_windows_line_ends_are_no_text(tmp_path):
    (tmp_path / "x.txt").write_bytes(b"\xef\xbb\xbfone\r\ntwo")
    assert read_texts(tmp_path / "x.txt")[0].text == "one\ntwo"


def test_bad_files_are_named_with_what_to_do(tmp_path):
    bad = tmp_path / "latin.txt"
    bad.write_bytes(b"na" + "ï".encode("latin-1") + b"ve")
    with pytest.raises(DataError, match=r"latin.txt is not UTF-8: byte 0xef at position 2"):
        read_texts(bad)
    (tmp_path / "empty.txt").write_text(" \n")
    with pytest.raises(DataError, match=r"empty.txt is empty"):
        read_texts(tmp_path / "empty.txt")
    with pytest.raises(DataError, match="no file or folder"):
        read_texts(tmp_path / "nowhere")
    (tmp_path / "void").mkdir()
    with pytest.raises(DataError, match=r"holds no \.txt or \.md"):
        read_texts(tmp_path / "void")
    with pytest.raises(DataError, match="no text was named"):
        read_texts([])


def test_fresh_without_texts_is_refused(folder):
    with pytest.raises(UsageError, match="without texts"):
        arms(None, folder)


def test_the_same_text_in_both_arms_is_refused(folder):
    with pytest.raises(DataError, match=r"both arms \(first: a.txt\)"):
        arms(folder, folder / "a.txt")


def test_without_twins_the_shipped_passages_stand_in(folder):
    both = arms(folder, None)
    assert both.stand_in
    assert not both.paired
    assert all(not p.famous for p in both.fresh)


def test_material_of_one_arm_only_is_refused():
    with pytest.raises(DataError, match="1 seen and 0 fresh"):
        arms(None, None, [Passage("a", "text", famous=True)])


def test_files_of_the_same_name_are_twins(tmp_path):
    for arm in ("one", "two"):
        (tmp_path / arm).mkdir()
        for name in ("a.txt", "b.txt"):
            (tmp_path / arm / name).write_text(words(arm + name[0], 40))
    assert arms(tmp_path / "one", tmp_path / "two").paired
    (tmp_path / "two" / "c.txt").write_text(words("c", 40))
    assert not arms(tmp_path / "one", tmp_path / "two").paired


def test_too_short_texts_are_counted_or_refused():
    one = (Passage("a", words("a", 30)), Passage("b", words("b", 5)))
    windows, notes = draw_windows(Arms(one, one[:1], False), length=10, minimum=10, per_arm=9)
    assert notes == {"too_short": 1, "docs_seen": 1, "docs_fresh": 1}
    assert len(windows) == 6
    with pytest.raises(DataError, match=r"longest has 5 words.*at least 10 are needed"):
        draw_windows(Arms(one[1:], one, False), length=10, minimum=10, per_arm=9)


@settings(deadline=None, max_examples=60)
@given(
    sizes=st.lists(st.integers(1, 90), min_size=1, max_size=5),
    length=st.integers(2, 30),
    per_arm=st.integers(1, 12),
    per_text=st.integers(0, 3),
    seed=st.integers(0, 5),
)
def test_windows_do_not_overlap_and_are_spread_evenly(sizes, length, per_arm, per_text, seed):
    docs = tuple(Passage(f"d{i}", words(f"d{i}w", n)) for i, n in enumerate(sizes))
    both = Arms(docs, docs, False)
    draw = {"length": length, "minimum": length, "per_arm": per_arm, "per_text": per_text}
    if max(sizes) < length:
        with pytest.raises(DataError):
            draw_windows(both, **draw, seed=seed)
        return
    windows, _ = draw_windows(both, **draw, seed=seed)
    assert windows == draw_windows(both, **draw, seed=seed)[0]
    for arm in ("seen", "fresh"):
        mine = [w for w in windows if w.arm == arm]
        assert 1 <= len(mine) <= per_arm
        covered: set[str] = set()
        for w in mine:
            assert units(w.text) == length
            assert w.text in next(d.text for d in docs if d.id == w.doc)
            assert not covered & set(w.text.split())
            covered |= set(w.text.split())
        counts = [sum(w.doc == d.id for w in mine) for d in docs]
        room = [n // length for n in sizes]
        assert all(c <= (per_text or 99) for c in counts)
        for c, r in zip(counts, room, strict=True):  # whoever has room is at most one behind
            assert c <= r
            assert c in (r, per_text) or c >= max(counts) - 1
    assert len({w.id for w in windows}) == len(windows)


def test_windows_of_twins_are_twins():
    one = tuple(Passage(f"s{i}", words(f"s{i}", 25 + 10 * i), pair=str(i)) for i in range(3))
    two = tuple(Passage(f"f{i}", words(f"f{i}", 45 - 10 * i), pair=str(i)) for i in range(3))
    windows, _ = draw_windows(Arms(one, two, True), length=10, minimum=10, per_arm=5)
    pairs = {arm: sorted(w.pair for w in windows if w.arm == arm) for arm in ("seen", "fresh")}
    assert pairs["seen"] == pairs["fresh"]
    assert len(set(pairs["seen"])) == 5
