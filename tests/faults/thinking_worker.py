"""Run as a process of its own by the fault tests: thinks until it is killed.

Usage: thinking_worker.py FILE SCOPE BEGIN [WHAT]. Each turn says where Ana lives, so that a thought
comes and one ends; each note changes its two neighbours. Prints the turn's number before and when it is acknowledged.
"""

import sys

from byheart import Memory
from byheart.notes import LinkedNotes, ThoughtMemory
from byheart.notes._linked_decision import Change, Decision


def think(place, scope, begin):
    """One `post_think` after the other."""
    thoughts = ThoughtMemory(Memory(place, scope=scope))
    for i in range(begin, begin + 100_000):
        print(f"try {i}", flush=True)
        thoughts.post_think(f"I live in Town{i}.", speaker="Ana")
        print(f"new {i}", flush=True)


def link(place, scope, begin):
    """Notes, each of which changes its two neighbours."""

    def linker(note, neighbours):
        changes = {i: Change(context=f"by {note.content}") for i in range(len(neighbours))}
        return Decision(tuple(range(len(neighbours))), changes=changes)

    notes = LinkedNotes(Memory(place, scope=scope), neighbours=2, linker=linker)
    for i in range(begin, begin + 100_000):
        print(f"try {i}", flush=True)
        notes.write(f"the same words each time, and number {i}")
        print(f"new {i}", flush=True)


if __name__ == "__main__":
    {"think": think, "link": link}[sys.argv[4]](sys.argv[1], sys.argv[2], int(sys.argv[3]))
