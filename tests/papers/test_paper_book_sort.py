"""SORT's claim on a small transformer, the language model's part with stand-ins, and R's files."""

import gzip
import json
import struct
import zlib
from collections import Counter

import numpy as np
import pytest

from byheart.audits.book_sort import chronicle
from byheart.core.errors import DataError, UsageError
from byheart.core.model import CallableModel
from byheart.papers import _austen, _sort_net
from byheart.papers import book_sort as paper


@pytest.mark.slow
def test_the_claim_holds_with_one_seed(tmp_path):
    result = paper.run(seeds=1, out=tmp_path, model="none")
    assert [(c.name, c.measured) for c in result.checks if not c.passed] == []
    assert result.verdict == "reproduced"
    assert len(json.loads((tmp_path / "result.json").read_text())["checks"]) == 5
    assert result.findings[0].gap.low > 0.4
    assert result.findings[0].verdict() == "no verdict"


def test_untrained_the_claim_is_not_reproduced(tmp_path):
    result = paper.run(seeds=2, steps=2, model="none", out=tmp_path)
    assert result.verdict == "not reproduced"
    passed = {c.name: c.passed for c in result.checks}
    assert not passed["with the text the order is told, on new excerpts"]
    assert not passed["the books are stored"]
    assert [p.name for p in result.figures] == ["book-sort.svg"]
    assert (tmp_path / "book-sort.svg").stat().st_size > 5000


def test_each_check_can_fail():
    def net(**changed):
        told = {"steps": [9], "context": [1.0], "books_in_context": [1.0], "memory": [0.5],
                "loss": [0.001], "ended": 9, "other_pairs": 0.9, **changed}  # fmt: skip
        return _sort_net.Measured(**told)

    assert all(c.passed for c in paper._checks([net(), net()]))
    for n, changed in enumerate((
        {"context": [0.9]}, {"books_in_context": [0.9]}, {"loss": [0.5]}, {"memory": [0.7]},
        {"other_pairs": 0.5},
    )):  # fmt: skip
        assert [c.passed for c in paper._checks([net(**changed)])] == [i != n for i in range(5)]


def test_questions_are_right_by_looking():
    rng = np.random.default_rng(0)
    excerpts, at = _sort_net._excerpts(rng, 200), _sort_net._places(rng, 200)
    tokens, key = _sort_net.questions(excerpts, at)
    for row, k in zip(tokens.tolist(), key.tolist(), strict=True):
        excerpt = row[1:13]
        assert len(set(excerpt)) == 12
        assert row[14] != row[16]
        assert (excerpt.index(row[16]) < excerpt.index(row[14])) == bool(k)
    blind, same = _sort_net.questions(excerpts, at, np.full(200, 3), text=False)
    assert (blind[:, 1:13] == _sort_net._PAD).all()
    assert (blind[:, 0] == _sort_net.TOKENS + 3).all()
    assert (same == key).all()
    assert 60 < key.sum() < 140


def test_the_control_asks_about_other_pairs():
    asked, other = _sort_net._split(np.random.default_rng(1))
    sets = {tuple(r) for r in asked.tolist()}, {tuple(r) for r in other.tolist()}
    assert not sets[0] & sets[1]
    assert len(sets[0] | sets[1]) == 8 * 66
    assert {b for b, _, _ in sets[0]} == set(range(6))
    assert sum(b >= 6 for b, _, _ in sets[1]) == 132
    turned = _sort_net._turned(asked, np.random.default_rng(2))
    assert (np.sort(turned, axis=1) == asked[:, 1:]).all()
    assert 0.3 < (turned[:, 0] > turned[:, 1]).mean() < 0.7


def test_the_same_seed_trains_the_same_net():
    one, two = (_sort_net.train(5, steps=3, control_steps=2, batch=16, every=2) for _ in range(2))
    assert one.steps == two.steps == [2, 3]
    assert one.loss == two.loss
    assert one.loss != _sort_net.train(6, steps=3, control_steps=0, batch=16, every=2).loss


def _reader(known, likes="A"):
    """Looks segments up in the text it is given, else in `known`; else it says what it likes."""

    def answer(prompt):
        text = prompt[-1][1]
        a, b = text.split("Segment A: ")[1].split("\n\n")[0].split("\nSegment B: ")
        source = text if "Please read" in text else known
        at = source.find(a), source.find(b)
        return likes if min(at) < 0 or at[0] == at[1] else "A" if at[0] < at[1] else "B"

    return CallableModel(answer)


def test_a_language_model_is_asked_as_the_sheet_says(tmp_path, monkeypatch):
    """Forty pairs a bin from memory, the first quarter of the excerpts with the text as well."""
    whole = chronicle(40_000, seed=4).text(0, 40_000)
    (tmp_path / "a.txt").write_text(whole)
    books = paper._books(tmp_path)
    monkeypatch.setattr("byheart.core.model.load", lambda *a, **k: _reader(""))
    shares = []
    rows, about = paper._talk("stand-in", books, 160, None, lambda _, share: shares.append(share))
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert Counter(r.meta["bin"] for r in rows) == dict.fromkeys((62, 83, 125, 200), 40)
    assert len({r.id for r in rows}) == 160
    shown = [r for r in rows if r.values.get("context/debiased") is not None]
    assert {r.values["context/debiased"] for r in shown} == {1.0}
    assert Counter(r.meta["excerpt_index"] for r in shown) == dict.fromkeys(range(10), 4)
    check, note = paper._told(rows, about)
    assert check.passed  # one label for whatever it does not find
    assert "raw 0.50, label A 100%, n = 160; with the text 1.000" in check.measured
    assert "a: 160 pairs from memory and 40 of them with the text" in note
    finding = paper._findings([], rows)[0]
    assert (finding.seen.value, finding.fresh.value, finding.n) == (1.0, 0.5, 40)
    monkeypatch.setattr("byheart.core.model.load", lambda *a, **k: _reader(whole))
    assert not paper._told(*paper._talk("stand-in", books, 24, None, None))[0].passed


def test_without_books_the_passages_are_asked(monkeypatch):
    monkeypatch.setattr("byheart.core.model.load", lambda *a, **k: _reader(""))
    rows, about = paper._talk("stand-in", [], 12, None, None)
    assert 8 <= len(rows) <= 12  # a passage without two sentences has no pair
    assert "shipped passages" in about
    assert paper._told(rows, about)[0].passed


def test_a_model_of_small_context_is_asked_from_memory_only(tmp_path, monkeypatch):
    (tmp_path / "a.txt").write_text(chronicle(9000, seed=4).text(0, 9000))

    class Small(CallableModel):
        context_length = 300
        own_tokens = True

    monkeypatch.setattr("byheart.core.model.load", lambda *a, **k: Small(lambda p: "A"))
    rows, about = paper._talk("stand-in", paper._books(tmp_path), 8, None, None)
    check, note = paper._told(rows, about)
    assert "with the text" not in check.measured
    assert "8 pairs from memory and 0 of them" in note


def test_the_figure_shows_both_conditions_by_distance(tmp_path, monkeypatch):
    (tmp_path / "a.txt").write_text(chronicle(9000, seed=4).text(0, 9000))
    monkeypatch.setattr("byheart.core.model.load", lambda *a, **k: _reader(""))
    small = {"context": [1.0], "books_in_context": [1.0], "memory": [0.5], "loss": [0.001]}
    nets = [_sort_net.Measured(steps=[9], ended=9, other_pairs=0.9, **small)]
    for books, names in ((True, ("to 62", "to 83", "to 125", "to 200")), (False, ("to ",))):
        rows, _ = paper._talk("stand-in", paper._books(tmp_path) if books else [], 16, None, None)
        text = paper._figure(nets, rows, tmp_path / str(books)).read_text()
        assert all(f"<!-- {name}" in text for name in ("with the text", "from memory", *names))


def test_the_package_is_found_where_it_lies(tmp_path, monkeypatch):
    folder = _package(tmp_path / "r", {n: ["It rained."] for n in _austen.TITLES})
    assert [b.id for b in paper._books(folder)] == list(_austen.TITLES)
    monkeypatch.setattr(paper, "PLACES", (tmp_path / "none", folder))
    assert len(paper._books(None)) == 6
    monkeypatch.setattr(paper, "PLACES", (tmp_path / "none",))
    assert paper._books(None) == []


def test_the_large_case_asks_at_three_lengths(tmp_path, monkeypatch):
    (tmp_path / "a.txt").write_text(chronicle(60_000, seed=4).text(0, 60_000))
    monkeypatch.setattr("byheart.core.model.load", lambda *a, **k: CallableModel(lambda p: "A"))
    result = paper.run(full=True, model="stand-in", pairs=16, data=tmp_path, out=tmp_path / "out")
    assert [c.name.split(":")[0] for c in result.checks] == [
        "250 words",
        "1000 words",
        "2500 words",
    ]
    assert result.verdict == "not reproduced"
    monkeypatch.setattr(paper, "PLACES", ())
    with pytest.raises(DataError, match="needs books"):
        paper.run(full=True)


def test_knobs_that_cannot_be(tmp_path):
    for knobs in ({"seeds": 0}, {"steps": 0}, {"pairs": 7}):
        with pytest.raises(UsageError, match="at least"):
            paper.run(**knobs)
    with pytest.raises(DataError, match="not there"):
        paper.run(data=tmp_path / "none")


def _string(text):
    raw = text.encode()
    return struct.pack(">ii", 9 | 0x40000, len(raw)) + raw


def _strings(texts):
    return struct.pack(">ii", 16, len(texts)) + b"".join(map(_string, texts))


def _named(values):
    """A list with names: the attribute is a linked list whose tag is the symbol `names`."""
    body = struct.pack(">ii", 19 | 0x200, len(values)) + b"".join(values.values())
    names = struct.pack(">i", 2 | 0x400) + struct.pack(">i", 1) + _string("names")
    return body + names + _strings(list(values)) + struct.pack(">i", 254)


def _serial(item, version=3):
    told = struct.pack(">iii", version, 0x40201, 0x30500)
    return b"X\n" + told + (struct.pack(">i", 5) + b"UTF-8" if version == 3 else b"") + item


def _package(folder, books, version=3):
    store, places = b"", {}
    for name, lines in books.items():
        raw = _serial(_strings(lines), version)
        packed = struct.pack(">i", len(raw)) + zlib.compress(raw)
        places[name] = struct.pack(">iiii", 13, 2, len(store), len(packed))
        store += packed
    (folder / "data").mkdir(parents=True)
    index = _serial(_named({"variables": _named(places)}), version)
    (folder / "data" / "Rdata.rdx").write_bytes(gzip.compress(index))
    (folder / "data" / "Rdata.rdb").write_bytes(store)
    return folder


@pytest.mark.parametrize("version", [2, 3])
def test_rs_files_are_read_without_r(tmp_path, version):
    books = {name: [title.upper(), "", f"It rained in {title}.", "Café."]
             for name, title in _austen.TITLES.items()}  # fmt: skip
    found = _austen.austen_books(_package(tmp_path / "r", books, version))
    assert [b.title for b in found] == list(_austen.TITLES.values())
    assert found[3].words == ("PERSUASION", "It", "rained", "in", "Persuasion.", "Café.")


def test_damaged_files_of_r_are_an_error(tmp_path):
    folder = _package(tmp_path / "r", {n: ["It rained."] for n in _austen.TITLES})
    for name in ("Rdata.rdx", "Rdata.rdb"):
        path = folder / "data" / name
        whole = path.read_bytes()
        for cut in range(0, len(whole), 7):
            path.write_bytes(whole[:cut])
            with pytest.raises(DataError, match="r-cran-janeaustenr"):
                _austen.austen_books(folder)
        path.write_bytes(whole)
    (folder / "data" / "Rdata.rdx").write_bytes(zlib.compress(_serial(struct.pack(">ii", 3, 0))))
    with pytest.raises(DataError, match="R's type 3"):  # a closure: code is not read
        _austen.austen_books(folder)
    with pytest.raises(DataError, match="install Debian's"):
        _austen.austen_books(tmp_path)


def test_the_novels_have_the_words_that_were_counted():
    """Counts of the sheet; `make test` fetches Debian's package."""
    places = [p for p in _austen.PLACES if _austen.holds_austen(p)]
    if not places:
        pytest.skip("Debian's r-cran-janeaustenr is not here; `make test` fetches it")
    counts = {b.id: len(b) for b in _austen.austen_books(places[0], headings=True)}
    assert counts == {
        "emma": 157_441, "mansfieldpark": 159_540, "northangerabbey": 77_141,
        "persuasion": 83_283, "prideprejudice": 121_567, "sensesensibility": 118_565,
    }  # fmt: skip
