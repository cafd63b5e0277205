"""A language model's opinion of a wrong guess, in the authors' four classes; off by default there too."""

from __future__ import annotations

import re

__all__ = ["CLASSES", "judge_prompt", "read_class"]

CLASSES = {
    "Correct": 1.0,
    "Missing Edge Case": 0.85,
    "Near-Miss Magnitudes": 0.5,
    "Completely Different": 0.0,
}
"""Class and its share of the 1000 points."""

_NAMES = re.compile("|".join(re.escape(name) for name in CLASSES), re.IGNORECASE)


def judge_prompt(rule: str, guess: str) -> str:
    """The question, in our words: how alike are two functions?"""
    return (
        "Compare two Python lambdas and say how alike they are. The classes:\n"
        "Correct: they are equivalent.\n"
        "Missing Edge Case: almost equivalent, but one case at a border differs, as with x < y < z "
        "and x <= y <= z.\n"
        "Near-Miss Magnitudes: the same idea, but with numbers that are somewhat off, as with "
        "0 < x < 5 and -1 < x < 7.\n"
        "Completely Different: anything else.\n\n"
        f"First function: {rule}\nSecond function: {guess}\n\n"
        "Reason first, and end with one line that holds the name of the class and nothing else."
    )


def read_class(reply: str) -> str:
    """The class named last; empty if none is.

    >>> read_class("Not Completely Different.\\n\\nmissing edge case")
    'Missing Edge Case'
    """
    found = _NAMES.findall(reply)
    if not found:
        return ""
    return next(name for name in CLASSES if name.lower() == found[-1].lower())
