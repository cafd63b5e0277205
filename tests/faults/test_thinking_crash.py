"""A process that is killed while thinking: a turn is there with all that it changed, or not at all."""

from __future__ import annotations

import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from byheart import Memory

WORKER = Path(__file__).with_name("thinking_worker.py")


def killed(place, what, begin, delay):
    """Numbers that were acknowledged, and the last that was tried."""
    worker = subprocess.Popen(
        [sys.executable, str(WORKER), str(place), "a/ana", str(begin), what],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    first = worker.stdout.readline() + worker.stdout.readline()
    time.sleep(delay)
    worker.send_signal(signal.SIGKILL)
    rest, err = worker.communicate()
    assert "Error" not in err, err
    told = [line.split() for line in (first + rest).split("\n")[:-1]]
    return [int(n) for kind, n in told if kind == "new"], max(int(n) for _, n in told)


def test_a_turn_is_there_with_what_it_ended_or_not_at_all(tmp_path):
    rng, begin, seen = random.Random(4), 0, set()
    for _ in range(6):
        acknowledged, last = killed(tmp_path / "m.db", "think", begin, rng.uniform(0, 0.12))
        begin = last + 1
        with Memory(tmp_path / "m.db", scope="a/ana") as memory:
            now = [i.content for i in memory.items()]
            every = [i.content for i in memory.items(history=True)]
            assert memory.check() == []
        homes = [t for t in now if re.fullmatch(r"Ana lives in Town\d+", t)]
        assert len(homes) == 1  # what a turn ended is never beside what it began
        turns = {int(n) for t in every for n in re.findall(r"live in Town(\d+)\.", t)}
        thoughts = {int(n) for t in every for n in re.findall(r"lives in Town(\d+)", t)}
        assert turns == thoughts
        seen |= set(acknowledged)
        assert seen <= turns
    assert len(seen) > 6


def test_a_note_is_there_with_what_it_changed_or_not_at_all(tmp_path):
    rng, begin, seen = random.Random(5), 0, set()
    for _ in range(6):
        acknowledged, last = killed(tmp_path / "m.db", "link", begin, rng.uniform(0, 0.12))
        begin = last + 1
        with Memory(tmp_path / "m.db", scope="a/ana") as memory:
            history = list(memory.items(history=True))
            assert memory.check() == []
        number = re.compile(r"number (\d+)")
        notes = [int(number.search(i.content)[1]) for i in history if i.supersedes is None]
        changed = Counter(
            int(found[1])
            for i in history
            if i.supersedes is not None and (found := number.search(str(i.labels["context"])))
        )
        assert len(notes) == len(set(notes))
        for place, n in enumerate(sorted(notes)):
            assert changed[n] == min(place, 2), n
        seen |= set(acknowledged)
        assert seen <= set(notes)
    assert len(seen) > 6
