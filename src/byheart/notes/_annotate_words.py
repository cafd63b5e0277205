"""Word lists of the rules that annotate: fields of life, and words that are no topic."""

from __future__ import annotations

__all__ = ["CALENDAR", "FIELDS", "SMALL"]

FIELDS = {
    "family": """family mom mum dad mother father son daughter sister brother kid child parent wife
        husband grandma grandpa grandmother aunt uncle cousin baby marriage wedding adoption""",
    "friends": "friend buddy neighbour neighbor party invite meetup companion mentor community",
    "home": "home house apartment room kitchen garden furniture move rent renovation neighbourhood",
    "work": """work job career boss office company business colleague client interview salary
        promotion startup project meeting store shop customer""",
    "study": "school university college class course student teacher exam degree study research",
    "health": """health doctor hospital illness therapy therapist sick pain medicine allergy diet
        yoga meditation counseling sleep injury surgery""",
    "sport": """sport run race marathon gym football soccer basketball tennis swim hike climb
        workout training team match game score dance""",
    "food": "food cook recipe restaurant dinner lunch breakfast cake bake coffee meal vegan eat",
    "travel": "travel trip vacation holiday flight hotel beach visit country city road camping tour",
    "nature": "nature forest mountain lake river sea animal bird flower tree sunset park wildlife",
    "pets": "pet dog cat puppy kitten turtle rabbit horse leash shelter",
    "art": """art paint draw sculpture pottery photo photography museum exhibition craft design
        gallery""",
    "music": "music song band guitar piano violin concert sing album festival choir",
    "reading": "book novel read author library story poem write screenplay magazine",
    "film": "movie film series show actor cinema theater theatre script watch",
    "technology": "computer phone software app code program game console internet laptop robot data",
    "money": "money budget price loan bank invest savings donate debt tax cost fund",
    "feelings": """happy sad proud afraid fear anxious stress grateful hope love angry lonely nervous
        excited thankful worried courage confidence""",
    "faith": "church faith religion pray god spiritual temple bible",
    "politics": "politics election campaign vote government law military veteran council",
    "event": "event festival parade conference ceremony celebration race competition workshop fair",
}
"""Broad fields of life with a few words each; a note is tagged where a word has the same stem."""

_SMALL = """
hey hi hello bye wow yeah yep yes no nope ok okay oh ah aw aww haha lol thanks thank please whoa woah
congrats congratulations gosh omg hmm sorry cool awesome great good nice amazing super totally really
sure absolutely definitely glad sounds gonna wanna gotta kinda kind lot lots thing things way bit
stuff something anything everything someone anyone everyone nothing much many more most almost just
also even still ever never always often maybe hope hopefully unfortunately honestly well now then
here there today tomorrow yesterday tonight ago soon later lately recently since after day days week
weeks weekend month months year years time times morning evening afternoon night last next make makes
made making take takes taking took get gets getting got go goes going went gone come came say said
tell told know think feel look see let want need like love happy agree keep kept start started try
tried give gave given hear heard keen wait up out off over down again back around away been first one
two
"""
SMALL = frozenset(_SMALL.split())
"""Words that say little about a topic: greetings, applause, light verbs, the clock."""

_CALENDAR = """
monday tuesday wednesday thursday friday saturday sunday january february march april may june july
august september october november december spring summer autumn fall winter
"""
CALENDAR = frozenset(_CALENDAR.split())
"""Days, months and seasons."""
