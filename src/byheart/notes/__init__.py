"""Memory in text: finding notes again."""

from byheart.core.minilm import MiniLM
from byheart.notes.linked import LinkedNote, LinkedNotes, LinkReceipt
from byheart.notes.ranker import NoteRanker
from byheart.notes.search import Match, Note, NoteSearch, Weights
from byheart.notes.thoughts import Thought, ThoughtMemory, cross_polytope_hash
from byheart.notes.time_expressions import TimeSpan, find_times, parse_moment

__all__ = [
    "LinkReceipt",
    "LinkedNote",
    "LinkedNotes",
    "Match",
    "MiniLM",
    "Note",
    "NoteRanker",
    "NoteSearch",
    "Thought",
    "ThoughtMemory",
    "TimeSpan",
    "Weights",
    "cross_polytope_hash",
    "find_times",
    "parse_moment",
]
