"""Buffers as CSV, and the verb that packs them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from byheart.core.errors import DataError, OutputError
from byheart.states.planner import (
    Buffer,
    plan_memory,
    read_buffers,
    read_offsets,
    write_buffers,
    write_plan,
)

ROWS = "id,lower,upper,size\nb1,0,3,4\nb2,3,9,4\nb3,0,9,4\nb4,9,21,4\nb5,0,21,4\n"


def written(folder: Path, text: str | bytes) -> Path:
    file = folder / "in.csv"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return file


def test_reads_minimallocs_format(tmp_path: Path) -> None:
    found = read_buffers(written(tmp_path, ROWS))
    assert found[0] == Buffer("b1", 0, 3, 4)
    assert len(found) == 5
    for other in (
        ROWS.replace("\n", "\r\n"),
        "\ufeff" + ROWS,
        ROWS + "\n\n",
        "size,upper,lower,id\n" + "\n".join(",".join(r.split(",")[::-1]) for r in ROWS.split()[1:]),
        ROWS.replace("id,lower", "buffer_id,start"),
    ):
        assert read_buffers(written(tmp_path, other)) == found


def test_an_end_is_the_last_moment(tmp_path: Path) -> None:
    assert read_buffers(written(tmp_path, "buffer,start,end,size\na,0,2,4\n")) == (
        Buffer("a", 0, 3, 4),
    )


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.text(st.characters(blacklist_categories=["Cs", "Cc"]), min_size=1).filter(
                lambda t: t == t.strip()
            ),
            st.integers(0, 2**40),
            st.integers(1, 2**20),
            st.integers(1, 2**40),
        ),
        unique_by=lambda row: row[0],
        max_size=8,
    )
)
def test_what_is_written_is_read(rows: list[tuple[str, int, int, int]]) -> None:
    import tempfile

    buffers = tuple(Buffer(i, a, a + w, s) for i, a, w, s in rows)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "out.csv"
        write_buffers(buffers, file)
        assert read_buffers(file) == buffers
        plan = plan_memory(buffers, solver="greedy")
        write_plan(plan, file)
        assert read_offsets(file) == plan.address
        assert b"\r" not in file.read_bytes()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("a,0,1,2\n", "lacks id"),
        ("id,lower,upper\na,0,1\n", "lacks size"),
        ("id,lower,upper,size,size\n", "names size twice"),
        ("id,lower,upper,size,colour\n", "no column 'colour'"),
        ("id,lower,upper,size\na,0,1\n", "line 2: 3 fields"),
        ("id,lower,upper,size\na,0,1,4\nb,0,x,4\n", "line 3: upper is 'x'"),
        ("id,lower,upper,size\na,0,1,4.5\n", "line 2: size is '4.5'"),
        ("id,lower,upper,size\na,0,1,1e3\n", "line 2: size is '1e3'"),
        ("id,lower,upper,size\na,5,1,4\n", "line 2: buffer 'a': upper is 1"),
        ("id,lower,upper,size\na,0,1,0\n", "line 2: buffer 'a': size is 0"),
        ("id,lower,upper,size\na,-3,1,4\n", "line 2: buffer 'a': lower is -3"),
        ("id,lower,upper,size\na,0,1,4\n\na,2,3,4\n", "line 4: id 'a' stands in line 2"),
        ("id,lower,upper,size\n,0,1,4\n", "line 2: the id is empty"),
        ("id,lower,upper,size\na,0,1,99999999999999999999\n", "line 2: size is"),
        ("id,lower,upper,size,gaps\na,0,9,4,1-2\n", "line 2: gaps"),
        ("id,lower,upper,size,alignment\na,0,9,4,8\n", "line 2: alignment is 8"),
        (b"id,lower,upper,size\na\0,0,1,4\n", "line 2: holds a NUL"),
        (b"id,lower,upper,size\n\xff,0,1,4\n", "not UTF-8"),
    ],
)
def test_broken_files_name_the_line(tmp_path: Path, text: str | bytes, said: str) -> None:
    with pytest.raises(DataError, match=said):
        read_buffers(written(tmp_path, text))


def test_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        read_buffers(tmp_path / "none.csv")
    with pytest.raises(DataError):
        read_buffers(tmp_path)
    with pytest.raises(OutputError):
        write_buffers([], tmp_path / "none" / "x.csv")
    with pytest.raises(DataError, match="no offset"):
        read_offsets(written(tmp_path, ROWS))


def test_verb_packs(cli, tmp_path: Path) -> None:
    file, out, page = written(tmp_path, ROWS), tmp_path / "out.csv", tmp_path / "plan.html"
    code, text, _ = cli(
        "plan", "--buffers", file, "--capacity", "12", "--json", "-o", out, "--html", page
    )
    assert code == 0
    told = json.loads(text)
    assert (told["height"], told["proven"], told["capacity"]) == (12, True, 12)
    assert {b["id"]: b["offset"] for b in told["buffers"]} == read_offsets(out)
    assert "<svg" in page.read_text()
    assert "http" not in page.read_text().replace("http://www.w3.org/", "")
    code, text, _ = cli("plan", "--buffers", file)
    assert "5 buffers in 12 bytes" in text


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "either a model"),
        (["7b", "--buffers", "FILE"], "either a model"),
        (["--buffers", "FILE", "--sequence", "1M"], "--sequence belongs"),
        (["7b", "--sequence", "1K", "--capacity", "4"], "--capacity belongs"),
        (["--buffers", "FILE", "--capacity", "11"], "that will do is 12"),
        (["--buffers", "FILE", "--capacity", "lots"], "lots"),
    ],
)
def test_verb_refuses(cli, tmp_path: Path, words: list[str], said: str) -> None:
    file = str(written(tmp_path, ROWS))
    code, _, err = cli("plan", *(file if w == "FILE" else w for w in words))
    assert code == 2
    assert said in err
