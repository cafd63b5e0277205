"""Two texts beside each other with what they share marked, as safe HTML."""

from __future__ import annotations

import difflib
import html
import re

__all__ = ["LIMIT", "clean", "marked"]

LIMIT = 4000
"""Characters of one text that are shown; the whole of it stays in the report's JSON."""

_WORDS = re.compile(r"\w+|\s+|[^\w\s]")
_PICTURES = {c: 0x2400 + c for c in range(32) if c not in (9, 10)} | {0x7F: 0x2421}
# marks that turn the reading direction of what follows are shown instead of obeyed
_PICTURES |= dict.fromkeys((*range(8234, 8239), *range(8294, 8298)), 65533)
_PICTURES |= dict.fromkeys(range(55296, 57344), 65533)


def clean(text: str) -> str:
    """Text that a page can hold: control characters become visible signs."""
    return text.replace("\r\n", "\n").translate(_PICTURES)


def marked(expected: str, produced: str) -> tuple[str, str, float]:
    """Mark words that both share, what is missing, and what was added.

    Args:
        expected: What reciting would have produced.
        produced: What came.

    Returns:
        Both as escaped HTML (``mark`` shared, ``del`` missing, ``ins`` added), and the share of
        the expected characters that came back, in [0, 1].

    >>> marked("must be in want", "must be in need")
    ('<mark>must be in </mark><del>want</del>', '<mark>must be in </mark><ins>need</ins>', 0.7333333333333333)
    """
    a, b = _WORDS.findall(clean(expected[:LIMIT])), _WORDS.findall(clean(produced[:LIMIT]))
    total = sum(map(len, a))
    codes = _opcodes(a, b, least=1)
    if _shared(a, codes) < total / 2:  # unlike texts share their small words by chance
        codes = _opcodes(a, b, least=3)
    left, right = [], []
    for tag, i1, i2, j1, j2 in codes:
        kinds = ("mark", "mark") if tag == "equal" else ("del", "ins")
        left.append(_wrap(kinds[0], "".join(a[i1:i2])))
        right.append(_wrap(kinds[1], "".join(b[j1:j2])))
    return (
        "".join(left) + _rest(expected),
        "".join(right) + _rest(produced),
        _shared(a, codes) / total if total else 0.0,
    )


def plain(text: str) -> str:
    """Escaped text, cut at `LIMIT`."""
    return html.escape(clean(text[:LIMIT])) + _rest(text)


Codes = list[tuple[str, int, int, int, int]]


def _shared(a: list[str], codes: Codes) -> int:
    return sum(len(w) for tag, i1, i2, _, _ in codes if tag == "equal" for w in a[i1:i2])


def _opcodes(a: list[str], b: list[str], least: int) -> Codes:
    """difflib's operations, where fewer than `least` shared words between differences differ.

    Single shared blanks and commas would chop two unrelated sentences into confetti.
    """
    out: Codes = []
    for tag, i1, i2, j1, j2 in difflib.SequenceMatcher(None, a, b, autojunk=False).get_opcodes():
        if tag == "equal" and sum(bool(re.match(r"\w", w)) for w in a[i1:i2]) < least:
            edge = least == 1 and ((i1 == j1 == 0) or (i2 == len(a) and j2 == len(b)))
            tag = "equal" if edge else "replace"
        if out and tag != "equal" and out[-1][0] != "equal":
            _, p1, _, q1, _ = out.pop()
            out.append(("replace", p1, i2, q1, j2))
        else:
            out.append((tag, i1, i2, j1, j2))
    return out


def _wrap(tag: str, text: str) -> str:
    return f"<{tag}>{html.escape(text)}</{tag}>" if text else ""


def _rest(text: str) -> str:
    if len(text) <= LIMIT:
        return ""
    return f'<span class="cut">\u2026 cut after {LIMIT:,} of {len(text):,} characters; all of it is in the JSON</span>'
