"""Canaries: freshly drawn prose that nobody can have read, for planting in a model.

The sentences are grammatical and their words are common, but which word stands where is drawn
uniformly, so that no part of a canary can be guessed from the rest.
"""

# ruff: noqa: SIM905  (word lists are easier to read and to extend as running text)

from __future__ import annotations

import numpy as np

from byheart.core.errors import UsageError
from byheart.data.passages import Passage
from byheart.data.texts import units

__all__ = ["canaries", "canary_material"]

_ADJECTIVES = """amber ancient blunt brass brittle broad calm careful cedar cheap clumsy coarse copper
crooked damp distant double dusty eager early empty faded faithful fierce foreign forgotten fragile
frozen gentle gilded grateful hasty heavy hidden hollow honest humble idle iron ivory jealous lame
lazy loyal lucky marble mellow modest mossy narrow nervous northern oaken odd pale patient pewter plain
polite proud quiet ragged rare restless ripe rough rusty sandy scarlet secret shallow silent silver
slender solemn southern spare steep stern sturdy sudden sullen tall tender thorny timid twisted useful
velvet violet wandering weary western wicked willing wooden yellow young""".split()
_NOUNS = """abbot acrobat admiral apple archer armchair attic badger baker banjo barge barrel basket beacon
beetle bell bishop blanket boatswain bottle bridge broom bucket butcher button cabin candle canoe captain
carpet castle cellar chapel cherry chimney clerk clock coat cobbler compass copper cradle crane cupboard
curtain dancer dentist donkey drawer drum eagle engine falcon farmer ferry fiddle flute fountain fox
garden gardener ghost goat goose grocer hammer harbour hat hedge heron hunter inkwell island jacket
judge kettle kitten ladder lantern lawyer lemon lighthouse lizard magnet map market mason meadow miller
mirror monk mule needle nephew nurse orchard otter owl oyster painter parrot peddler pepper piano pigeon
pilot pirate plough pocket poet pony pottery prophet puppet quarry rabbit raven ribbon river robin
sailor salmon scholar shepherd shoemaker shovel singer sparrow spider spoon stable statue stove
surgeon swallow tailor teapot thimble tiger tinker tower trumpet turnip turtle umbrella uncle valley
violin waggon waiter walnut weaver whistle widow window wizard wolf""".split()
_VERBS = """admired answered arranged awakened bargained betrayed blamed borrowed bruised buried carried
caught chased cheated cleaned collected copied counted courted covered crowned cursed deceived
delivered described doubted dragged drew envied escorted examined fetched flattered followed forgave
frightened greeted guarded guided hid hired honoured ignored imitated insulted invited kissed lifted
measured mended mocked nursed obeyed offended painted pardoned pawned pitied planted poisoned
polished praised punished pursued questioned refused remembered rescued robbed scolded scratched
served sheltered sketched sold startled stole summoned swept taught tickled trusted visited warned
washed weighed whispered woke wrapped""".split()
_PREPOSITIONS = """above across against along among around before behind below beneath beside beyond
inside near opposite outside past toward under without""".split()
_LINKS = """although and because before but once since so though unless until when where whereas while
yet""".split()
_TIMES = """afterwards at dawn|at dusk|at midnight|by candlelight|by noon|every autumn|every Friday|for
seven years|in April|in December|in silence|in winter|last Tuesday|long ago|on Sunday|on the third day|
one evening|out of habit|that morning|twice a month|without a word""".replace("\n", " ").split("|")
_PLACES = """Alder Ash Beck Birch Bram Brook Cold Crow Dale Elder Elm Fen Fern Glen Hart Hazel Holm Kirk
Lang Marsh Mill Oak Raven Rush Sedge Stone Thorn Wether Whit Wren""".split()
_ENDS = "by combe cote don field ford gate ham hurst ley mere minster ness port stead ton wick worth".split()
_NUMBERS = (
    "two three four five six seven eight nine ten eleven twelve thirteen fourteen forty".split()
)


def canaries(*, seed: int = 0, n: int = 24, words: int = 48) -> list[str]:
    """Draw `n` passages of at least `words` words and punctuation marks, a sentence end at the last.

    Args:
        seed: Other seeds give other passages.
        n: How many.
        words: Least length, as `byheart.data.texts.units` counts.

    >>> canaries(seed=1, n=1, words=12)[0]
    "Rushhurst's chimney trusted the willing fountain. The patient acrobat bruised the northern pilot one evening."
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


def _pick(rng: np.random.Generator, words: list[str]) -> str:
    return words[int(rng.integers(len(words)))].strip()


def _thing(rng: np.random.Generator) -> str:
    kind = rng.random()
    noun, adjective = _pick(rng, _NOUNS), _pick(rng, _ADJECTIVES)
    if kind < 0.15:
        return f"{_pick(rng, _PLACES)}{_pick(rng, _ENDS)}'s {noun}"
    if kind < 0.3:
        return f"{_pick(rng, _NUMBERS)} {adjective} {_plural(noun)}"
    return f"the {adjective} {noun}"


def _plural(noun: str) -> str:
    if noun.endswith(("s", "x", "ch", "sh")):
        return noun + "es"
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return noun[:-1] + "ies"
    if noun.endswith("olf"):
        return noun[:-1] + "ves"
    return noun + "s"


def _clause(rng: np.random.Generator) -> str:
    text = f"{_thing(rng)} {_pick(rng, _VERBS)} {_thing(rng)}"
    if rng.random() < 0.5:
        text += f" {_pick(rng, _PREPOSITIONS)} {_thing(rng)}"
    if rng.random() < 0.3:
        text += f" {_pick(rng, _TIMES)}"
    return text


def _sentence(rng: np.random.Generator) -> str:
    text = _clause(rng)
    if rng.random() < 0.5:
        text += f", {_pick(rng, _LINKS)} {_clause(rng)}"
    return text[0].upper() + text[1:] + "."


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
