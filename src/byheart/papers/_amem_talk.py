"""Made-up conversations whose multi-hop evidence is known, for where LoCoMo's data is not.

Two friends speak in sessions, a week apart. A *chain* is a rare name that is introduced in one
session ("I adopted a turtle and called her Quillon") and spoken of in a later one without saying
what it is ("Quillon ate my gloves"): asked about what the turtle ate, one needs both turns. Links by
rare names are helped by this on purpose; what it shows is that they do what they are for.
"""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np

from byheart.notes._locomo_data import Conversation, Question, Turn

__all__ = ["talk"]

_THINGS = [
    "turtle",
    "boat",
    "rose bush",
    "violin",
    "scooter",
    "kite",
    "sourdough",
    "telescope",
    "parrot",
    "canoe",
    "cactus",
    "tent",
]
_DEEDS = (
    ("ate my {x}", "What did {who}'s {thing} eat?"),
    ("fell on the {x}", "What did {who}'s {thing} fall on?"),
    ("ended up behind the {x}", "Where did {who}'s {thing} end up?"),
    ("got stuck in the {x}", "What did {who}'s {thing} get stuck in?"),
    ("was hidden under the {x}", "What was {who}'s {thing} hidden under?"),
)
_WHERE = [
    "gloves",
    "piano",
    "fridge",
    "garage door",
    "bookcase",
    "neighbour's hedge",
    "laundry",
    "sofa",
    "attic",
    "mailbox",
]
_SYLLABLES = ["qui", "zan", "bor", "fel", "mir", "tov", "nax", "lum", "wen", "dra", "kos", "pel"]
_SMALL = (
    "How was your week?",
    "Busy, but I slept well.",
    "The weather has been strange lately.",
    "I cooked soup again, with too much salt.",
    "Work keeps me up at night.",
    "Did you watch the match?",
    "We should meet for coffee soon.",
    "My sister came to visit for the weekend.",
    "I keep losing my keys.",
    "That sounds lovely, tell me more.",
    "I finally cleaned the kitchen.",
    "The bus was late twice this week.",
)


def talk(seed: int, *, chains: int = 24, sessions: int = 12, filler: int = 14) -> Conversation:
    """A conversation with `chains` multi-hop questions (category 1) and as many single ones (4).

    Args:
        seed: Draws everything.
        chains: Rare names, each introduced and spoken of later.
        sessions: How many, a week apart.
        filler: Turns of small talk a session.
    """
    rng = np.random.default_rng(seed)
    people = ("Ana", "Ben")
    names: list[str] = []
    while len(names) < chains:
        made = "".join(rng.choice(_SYLLABLES, 3)).capitalize()
        if made not in names:
            names.append(made)
    texts: list[list[tuple[str, str, int, int]]] = [[] for _ in range(sessions)]
    asked = []
    for c, name in enumerate(names):
        who = people[int(rng.integers(2))]
        thing = f"{rng.choice(['old', 'red', 'tiny', 'noisy'])} {_THINGS[c % len(_THINGS)]}"
        deed, question = _DEEDS[int(rng.integers(len(_DEEDS)))]
        place = str(rng.choice(_WHERE))
        first = int(rng.integers(0, sessions - 2))
        second = int(rng.integers(first + 1, sessions))
        texts[first].append((who, f"I got a {thing} and named it {name}.", c, 0))
        texts[second].append((who, f"You will laugh: {name} {deed.format(x=place)}!", c, 1))
        asked.append((question.format(who=who, thing=thing), who, thing, name, place))
    turns: list[Turn] = []
    at: dict[tuple[int, int], int] = {}
    for s in range(sessions):
        rows = [
            *texts[s],
            *((people[i % 2], str(rng.choice(_SMALL)), -1, 0) for i in range(filler)),
        ]
        day = date(2023, 1, 2) + timedelta(weeks=s)
        stamp = f"9:00 am on {day.day} {day:%B}, {day.year}"
        for i in rng.permutation(len(rows)).tolist():
            who, text, c, hop = rows[i]
            if c >= 0:
                at[c, hop] = len(turns)
            turns.append(Turn(f"D{s + 1}:{len(turns) + 1}", who, text, "", s + 1, stamp))
    questions = []
    for c, (question, who, thing, name, place) in enumerate(asked):
        questions.append(Question(question, place, 1, (at[c, 0], at[c, 1])))
        questions.append(Question(f"What did {who} name the {thing}?", name, 4, (at[c, 0],)))
    return Conversation(f"made-up {seed}", tuple(turns), tuple(questions), 0)
