"""From the words of a puzzle back to its statements: the inverse of `render`."""

from __future__ import annotations

import re
from dataclasses import dataclass

from byheart.audits._kk.grammar import Statement
from byheart.audits._kk.sampler import Puzzle
from byheart.audits._kk.wording import TEMPLATES, Layout
from byheart.core.errors import DataError

__all__ = ["read_quiz"]

_HEAD = re.compile(
    r"A very special island is inhabited only by (?P<a>\w+)s and (?P<b>\w+)s\. "
    r"\w+s always tell the truth, and \w+s always lie\. "
    r"You meet \d+ inhabitants: (?P<names>[^.]+)\. "
)
_TAIL = re.compile(r"So who is (?P<a>an? \w+) and who is (?P<b>an? \w+)\?\s*$")
_DEEPEST = 40


@dataclass
class _Reader:
    """Recursive descent over one quiz."""

    text: str
    names: tuple[str, ...]
    roles: tuple[str, str]

    def take(self, at: int, literal: str) -> int | None:
        return at + len(literal) if self.text.startswith(literal, at) else None

    def leaf(self, at: int) -> tuple[Statement, int] | None:
        for i, name in enumerate(self.names):
            after = self.take(at, f"{name} is ")
            if after is None:
                continue
            negated = self.take(after, "not ")
            for kind, role in zip(("telling-truth", "lying"), self.roles, strict=True):
                end = self.take(after if negated is None else negated, role)
                if end is not None:
                    found: Statement = (kind, i)
                    return (found if negated is None else ("not", found)), end
        return None

    def operand(self, at: int, level: int) -> tuple[Statement, int] | None:
        inside = self.take(at, "(")
        if inside is None:
            return self.leaf(at)
        found = self.statement(inside, level + 1)
        if found is None or (end := self.take(found[1], ")")) is None:
            return None
        return found[0], end

    def statement(self, at: int, level: int = 0) -> tuple[Statement, int] | None:
        """The longest statement that begins here, with its end."""
        if level > _DEEPEST:
            return None
        after = self.take(at, "it is not the case that ")
        if after is not None:
            found = self.operand(after, level)
            return found and (("not", found[0]), found[1])
        after = self.take(at, "If ")
        if after is not None:
            first = self.operand(after, level)
            then = first and self.take(first[1], " then ")
            second = self.operand(then, level) if then else None
            return second and (("->", first[0], second[0]), second[1])  # type: ignore[index]
        found = self.operand(at, level)
        if found is None:
            return None
        for operator, words in (("<=>", " if and only if "), ("and", " and "), ("or", " or ")):
            parts, end = [found[0]], found[1]
            while (then := self.take(end, words)) and (more := self.operand(then, level)):
                parts.append(more[0])
                end = more[1]
                if operator == "<=>":
                    break
            if len(parts) > 1:
                return (operator, *parts), end
        return found

    def sentence(self, at: int) -> tuple[int, int, Statement, int] | None:
        """Template, speaker, statement and end of the sentence that begins here."""
        for t, template in enumerate(TEMPLATES):
            for speaker, name in enumerate(self.names):
                before, after = template.replace("{name}", name).split("{content}")
                start = self.take(at, before)
                found = None if start is None else self.statement(start)
                end = None if found is None else self.take(found[1], after + " ")
                if found is not None and end is not None:
                    return t, speaker, found[0], end
        return None


def read_quiz(quiz: str, index: int = 0) -> tuple[Puzzle, Layout]:
    """The puzzle and its wording.

    Args:
        quiz: Text as `render` writes it and as it is published, in any style.
        index: Given to the puzzle.

    Raises:
        DataError: If this is no such text, or the puzzle has no solution or several.

    >>> from byheart.audits._kk.wording import render
    >>> puzzle = Puzzle.of((("lying", 1), ("and", ("telling-truth", 0), ("lying", 0))))
    >>> read_quiz(render(puzzle, "flip_role").quiz)[0] == puzzle
    True
    """
    quiz = quiz.strip()
    head, tail = _HEAD.match(quiz), _TAIL.search(quiz)
    if head is None or tail is None:
        raise DataError(
            f"this is no knights-and-knaves text: it must open with 'A very special island' and "
            f"close with 'So who is ...?', got {quiz[:60]!r}"
        )
    names = tuple(n.removeprefix("and ").strip() for n in head["names"].split(", "))
    if len(set(names)) != len(names):
        raise DataError(f"a name occurs twice: {', '.join(names)}")
    reader = _Reader(quiz[: tail.start()], names, (tail["a"], tail["b"]))
    at, spoken = head.end(), {}
    while at < tail.start():
        found = reader.sentence(at)
        if found is None:
            raise DataError(f"this sentence cannot be read: {quiz[at : at + 80]!r}")
        template, speaker, statement, at = found
        if speaker in spoken:
            raise DataError(f"{names[speaker]} speaks twice")
        spoken[speaker] = (template, statement)
    silent = [name for i, name in enumerate(names) if i not in spoken]
    if silent:
        raise DataError(f"{', '.join(silent)} said nothing; everybody must make one statement")
    order = tuple(spoken)
    people = range(len(names))
    layout = Layout(
        names,
        reader.roles,
        tuple(spoken[i][0] for i in people),
        () if order == tuple(people) else order,
    )
    return Puzzle.of(tuple(spoken[i][1] for i in people), index), layout
