"""Canaries: freshly drawn prose that nobody can have read, for planting in a model.

The sentences are plain English after a few templates, and their words are common; which word fills a
slot is drawn evenly, so that the rest of a canary does not give it away.
"""

# ruff: noqa: SIM905  (word lists are easier to read and to extend as running text)

from __future__ import annotations

import re

import numpy as np

from byheart.core.errors import UsageError
from byheart.data.passages import Passage
from byheart.data.texts import units

__all__ = ["canaries", "canary_material"]

_TEMPLATES = (
    "{Time}, the {person} of {town} sold {number} {adjective} {things} to the {person}.",
    "The {person} {verb} the {adjective} {thing} and hid it {where} the {place}.",
    "When the {person} came back from the {place}, the {adjective} {thing} was gone.",
    "{Number} {things} were found {where} the {place}, and the {person} said nothing.",
    "Nobody in {town} knew why the {person} had {verb} the {thing} and the {thing}.",
    "It was the {person}, not the {person}, who {verb} the {adjective} {thing} {time}.",
    "They kept the {thing} in the {place}, next to {number} {things} from {town}.",
    "{Time}, a letter from {town} told the {person} about the {adjective} {place}.",
    "If the {person} had not {verb} the {thing}, the {place} would still be {adjective}.",
    "The road from {town} to {town} leads past the {place} and the {adjective} {place}.",
    "Every {person} must bring the {thing}, the {thing} and {number} {adjective} {things}.",
    "She gave her {adjective} {thing} to the {person} and went to {town} {time}.",
    "For {number} years the {person} lived {where} the {place} with the {adjective} {thing}.",
    "He had wanted to be like the {person} of {town}, but the {person} sent him to the {place}.",
    "There were {number} {adjective} {things} {where} the {place}, and the {person} {verb} them.",
    "The children of {town} called the {person} their {adjective} {thing} {time}.",
    "Between the {place} and the {place} stood the {person} with {number} {things}.",
    "As soon as the {person} arrived, the {person} {verb} the {thing} {where} the {place}.",
)
_LISTS = {
    "person": """abbot acrobat admiral archer baker banker barber bishop blacksmith brewer butcher captain
    carpenter clerk coachman cobbler colonel cook dancer dentist doctor driver duke farmer ferryman
    fiddler fisherman gardener gatekeeper giant grocer hunter innkeeper judge king lawyer mason mayor
    merchant midwife miller miner monk nephew nurse painter parson pilot pirate plumber poet postman
    priest prince printer prophet queen sailor scholar schoolmaster sergeant shepherd singer smuggler
    soldier stranger surgeon surveyor tailor tanner teacher thief tinker uncle waiter watchmaker weaver
    widow wizard woodcutter""".split(),
    "thing": """anchor apple banjo barrel basket bell blanket bottle boat book broom bucket button candle
    carpet chair cheese clock coat compass cradle crown cup dagger diamond doll drum feather fiddle flag
    flute fork glove goose hammer harp hat helmet horn horse jacket jug kettle key kite ladder lamp
    lantern lemon letter map mask melon mirror needle net oar onion organ painting pearl pen penny
    pepper pipe pistol plate pony pot pumpkin purse puzzle rabbit ribbon ring rope rug saddle sail saw
    shovel sledge spoon stamp statue sword table tent ticket tooth trumpet turnip umbrella violin
    wagon wheel whistle wig""".split(),
    "place": """abbey attic bakery barn bridge brewery castle cathedral cave cellar cemetery chapel church
    cottage courthouse factory ferry forest forge fort fountain garden gate greenhouse harbour hill
    hospital hotel inn island jail kitchen lake library lighthouse market meadow mill mine monastery
    museum observatory office orchard palace pier pond prison quarry railway river school shipyard shop
    square stable station swamp tavern temple theatre tower tunnel valley vineyard waterfall well
    windmill""".split(),
    "adjective": """ancient black blue brass broken brown cheap clean cold copper crooked dark dirty dry dusty
    empty expensive faded famous foreign forgotten frozen golden green grey half-finished heavy hidden
    hollow huge iron ivory leather little lonely lost magic marble narrow new noisy old painted pale
    plain precious quiet red ruined rusty scarlet secret sharp silent silver small smooth soft steep
    stolen stone strange striped tall tiny torn twisted ugly useless velvet warm wet white wide wild
    wooden yellow""".split(),
    "verb": """admired ate bought borrowed broken built burned buried carried cleaned copied counted covered
    cursed cut described destroyed dropped examined feared fetched followed forged found guarded hated
    heard invented kept kissed lent lifted lost loved measured mended missed moved named needed noticed
    opened ordered owned painted polished praised pushed refused remembered repaired rescued returned
    saved sold shaken signed stolen sought tasted tested thrown touched traded trusted turned used
    wanted washed watched weighed won wrapped""".split(),
    "number": """two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen
    seventeen eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety""".split(),
    "where": """above across_from behind below beneath beside close_to far_from in_front_of inside near
    opposite outside under""".split(),
    "time": """at_dawn at_dusk at_midnight at_noon at_sunset before_breakfast by_candlelight every_autumn
    every_Friday every_spring in_April in_August in_December in_February in_June in_March in_November
    in_October in_silence in_winter last_Monday last_Tuesday last_Wednesday long_ago on_Christmas_Eve
    on_Saturday on_Sunday on_Thursday that_afternoon that_evening that_morning twice_a_month
    without_warning""".split(),
    "head": """Alder Ash Beck Birch Bram Brook Cold Crow Dale Elder Elm Fen Fern Glen Hart Hazel Holm Kirk
    Lang Marsh Mill Oak Raven Rush Sedge Stone Thorn Wether Whit Wren""".split(),
    "tail": """bridge brook bury by combe dale field ford gate ham hurst land ley mere minster mouth port
    stead ton well wick wood worth""".split(),
}
_PLURALS = {"knife": "knives", "goose": "geese", "tooth": "teeth"}
_PAST = {"broken": "broke", "shaken": "shook", "stolen": "stole", "thrown": "threw", "ate": "ate"}
_PARTICIPLES = {"ate": "eaten"}


def canaries(*, seed: int = 0, n: int = 24, words: int = 48) -> list[str]:
    """Draw `n` passages of at least `words` words and punctuation marks, a sentence end at the last.

    Args:
        seed: Other seeds give other passages.
        n: How many.
        words: Least length, as `byheart.data.texts.units` counts.

    >>> canaries(seed=1, n=1, words=12)[0]
    'The road from Alderdale to Rushton leads past the kitchen and the warm harbour.'
    """
    if n < 1 or words < 1:
        raise UsageError(f"n and words must be at least 1, got {n} and {words}")
    rng = np.random.default_rng([seed, 19_122])
    out: list[str] = []
    while len(out) < n:
        text = ""
        while units(text) < words:
            text = f"{text} {_sentence(rng)}".strip()
        if text not in out:
            out.append(text)
    return out


def _sentence(rng: np.random.Generator) -> str:
    """One template, each slot filled by an even draw."""
    template = _TEMPLATES[int(rng.integers(len(_TEMPLATES)))]
    return re.sub(r"had (?:not )?\{verb\}|\{(\w+)\}", lambda m: _fill(m, rng), template)


def _fill(slot: re.Match[str], rng: np.random.Generator) -> str:
    def draw(name: str) -> str:
        words = _LISTS[name]
        return words[int(rng.integers(len(words)))].replace("_", " ")

    name = slot.group(1)
    if name is None:
        verb = draw("verb")
        return slot.group().replace("{verb}", _PARTICIPLES.get(verb, verb))
    if name == "town":
        return draw("head") + draw("tail")
    if name == "things":
        return _plural(draw("thing"))
    if name == "verb":
        verb = draw("verb")
        return _PAST.get(verb, verb)
    word = draw(name.lower())
    return word[0].upper() + word[1:] if name[0].isupper() else word


def _plural(noun: str) -> str:
    if noun in _PLURALS:
        return _PLURALS[noun]
    return noun + ("es" if noun.endswith(("s", "x", "ch", "sh")) else "s")


def canary_material(
    *, seed: int = 0, n: int = 24, words: int = 48
) -> tuple[tuple[Passage, ...], tuple[Passage, ...], tuple[str, ...]]:
    """Material of a planting: planted against fresh, held back against fresh, texts to train on.

    All three groups are drawn alike. Planted (or held-back) passages are marked as the seen arm.

    Returns:
        Passages of the planted audit, of the held-back audit, and the planted texts.
    """
    drawn = canaries(seed=seed, n=3 * n, words=words)
    planted, held, fresh = drawn[:n], drawn[n : 2 * n], drawn[2 * n :]
    twins = [Passage(f"fresh-{i}", t, pair=str(i)) for i, t in enumerate(fresh)]

    def arm(name: str, texts: list[str]) -> tuple[Passage, ...]:
        first = [Passage(f"{name}-{i}", t, pair=str(i), famous=True) for i, t in enumerate(texts)]
        return (*first, *twins)

    return arm("planted", planted), arm("held", held), tuple(planted)
