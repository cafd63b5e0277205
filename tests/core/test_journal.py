"""Finished rows survive whatever ends a run."""

import os
import resource
import signal
import subprocess
import sys
import time

import pytest

from byheart.audits import make
from byheart.core.audit import Probe, Row
from byheart.core.errors import OutputError
from byheart.core.finding import Evidence
from byheart.core.journal import Journal, row_key


def row(i: int) -> Row:
    evidence = Evidence(f"p{i}", "seen", "prömpt \x00 \U0001f9e0", "expected", "produced \n", 0.5)
    return Row(f"p{i}", "seen", {"hit": 1.0, "loss": None}, evidence=evidence)


def test_rows_come_back_as_they_went_in(tmp_path):
    with Journal(tmp_path / "rows.jsonl") as journal:
        for i in range(5):
            journal.add(f"k{i}", row(i))
    with Journal(tmp_path / "rows.jsonl") as journal:
        assert [journal.get(f"k{i}") for i in range(5)] == [row(i) for i in range(5)]
        assert journal.get("other") is None


@pytest.mark.parametrize("cut", [1, 7, 40])
def test_a_half_written_line_is_dropped_and_the_rest_kept(tmp_path, cut):
    path = tmp_path / "rows.jsonl"
    with Journal(path) as journal:
        for i in range(3):
            journal.add(f"k{i}", row(i))
    path.write_bytes(path.read_bytes()[:-cut])
    with Journal(path) as journal:
        assert journal.get("k1") == row(1)
        assert journal.get("k2") is None
        journal.add("k2", row(2))
    with Journal(path) as journal:
        assert journal.get("k2") == row(2)
    assert len(path.read_text().splitlines()) == 3


def test_a_broken_line_hides_nothing_before_it(tmp_path):
    path = tmp_path / "rows.jsonl"
    with Journal(path) as journal:
        journal.add("k0", row(0))
    with open(path, "ab") as file:
        file.write(b"{not json}\n")
    with Journal(path) as journal:
        assert journal.get("k0") == row(0)


def test_kill_minus_nine_loses_no_acknowledged_row(tmp_path):
    path = tmp_path / "rows.jsonl"
    script = f"""
import sys
sys.path[:0] = {sys.path!r}
from pathlib import Path
from byheart.core.audit import Row
from byheart.core.journal import Journal
journal = Journal(Path({str(path)!r}))
i = 0
while True:
    journal.add(f"k{{i}}", Row(f"p{{i}}", "seen", {{"hit": float(i)}}))
    print(i, flush=True)
    i += 1
"""
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    time.sleep(1.5)
    os.kill(process.pid, signal.SIGKILL)
    acknowledged = [int(line) for line in process.communicate()[0].split()]
    assert acknowledged
    with Journal(path) as journal:
        for i in acknowledged:
            kept = journal.get(f"k{i}")
            assert kept is not None
            assert kept.values == {"hit": float(i)}


def test_a_full_disk_is_said_and_the_row_is_still_held(tmp_path):
    """The file reaches its limit in the middle of a line; closing has nothing left to write."""
    path = tmp_path / "rows.jsonl"
    with Journal(path) as journal:
        journal.add("k0", row(0))
        size = path.stat().st_size
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 20, before[1]))
        try:
            with pytest.raises(OutputError, match="finished rows are kept"):
                journal.add("k1", row(1))
            with pytest.raises(OutputError, match="finished rows are kept"):
                journal.add("k2", row(2))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert journal.get("k1") == row(1)
        assert path.stat().st_size == size  # no half line that would hide what comes behind it
        journal.add("k3", row(3))
    with Journal(path) as journal:
        assert [journal.get(k) for k in ("k0", "k1", "k3")] == [row(0), None, row(3)]


def test_two_runs_in_one_folder_are_refused(tmp_path):
    """A second one would cut off the line that the first is writing."""
    path = tmp_path / "rows.jsonl"
    with Journal(path) as first:
        first.add("k0", row(0))
        with pytest.raises(OutputError, match="another run is writing"):
            Journal(path)
        first.add("k1", row(1))
    with Journal(path) as journal:
        assert journal.get("k1") == row(1)


def test_an_unwritable_place_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="--out"):
        Journal(tmp_path / "file" / "rows.jsonl")


def test_the_key_depends_on_everything_that_matters():
    audit = make("verbatim")
    probe = Probe("a", "seen", "prompt", "target")
    key = row_key(audit, probe, "model", 0)
    assert key == row_key(audit, probe, "model", 0)
    others = [
        row_key(audit, probe, "other", 0),
        row_key(audit, probe, "model", 1),
        row_key(audit, Probe("a", "seen", "prompt!", "target"), "model", 0),
        row_key(make("verbatim", prefix=17), probe, "model", 0),
        row_key(make("membership"), probe, "model", 0),
    ]
    assert len({key, *others}) == 6
