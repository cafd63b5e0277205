"""A stand-in encoder, thoughts and a scripted model for the tests of Think-in-Memory."""

from __future__ import annotations

import itertools

import numpy as np

from byheart.core.model import CallableModel
from byheart.notes._thought import Thought


def letters(texts):
    """A stand-in encoder: counts of letter pairs, so that like texts are near."""
    out = np.zeros((len(texts), 64))
    for row, text in enumerate(texts):
        for a, b in itertools.pairwise(f" {text.lower()} "):
            out[row, (ord(a) * 31 + ord(b)) % 64] += 1
    return out


letters.name = "letters"


def texts(memory, **times):
    return sorted(t.text for t in memory.thoughts(**times))


def lives(place, since=None, head="Ana"):
    return Thought(f"{head} lives in {place}", head, "lives in", place, valid_from=since)


def likes(what, head="Ana", **more):
    return Thought(f"{head} likes {what}", head, "likes", what, **more)


def scripted(**replies):
    """Answers by the kind of task; keeps what it was asked."""
    asked = []

    def answer(prompt):
        system, user = prompt[0][1], prompt[-1][1]
        asked.append((system, user))
        kind = (
            "extract" if "inductive" in system else "forget" if "contradicts" in system else "merge"
        )
        reply = replies[kind]
        reply = reply.pop(0) if isinstance(reply, list) else reply
        if isinstance(reply, Exception):
            raise reply
        return reply

    model = CallableModel(answer, "scripted")
    model.asked = asked
    return model
