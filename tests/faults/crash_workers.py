"""Processes that write until they are killed, and what they were told is kept."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

WORKER = Path(__file__).with_name("memory_worker.py")


def start(*words):
    """A writing process; see memory_worker.py for its arguments."""
    return subprocess.Popen(
        [sys.executable, str(WORKER), *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def acknowledged(text):
    """Ids of whole lines; the last may have been cut by the kill."""
    return [line[4:] for line in text.split("\n")[:-1] if line.startswith("new ")]


def kill_at_random(store_class, place, rounds, seed):
    """Kill a writer at random points; every acknowledged item must be there, and all be sound."""
    rng, known = random.Random(seed), set()
    for _ in range(rounds):
        worker = start(place, "a/ana", 100_000, rng.choice(["plain", "mixed"]))
        first = worker.stdout.readline()  # it is at work
        time.sleep(rng.uniform(0, 0.15))
        worker.send_signal(signal.SIGKILL)
        rest, err = worker.communicate()
        assert "Error" not in err, err
        known |= set(acknowledged(first + rest))
        with store_class(place, "a/ana", create=False) as store:
            assert known <= {i.id for i in store.items(history=True)}
            assert store.check() == []
            assert store.recall("note of things", 5)
    with store_class(place, "a/ana") as store:
        store.rebuild()
        assert store.check() == []
        assert known <= {i.id for i in store.items(history=True)}
    return known
