"""Books as sequences of words: the user's own files, Project Gutenberg's frame and titles taken off.

The same class holds any other sequence of events (notes of a memory, lines of a log): then every
event is one "word", and segments may start anywhere.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from byheart.audits._sort.epub import read_epub
from byheart.core.errors import DataError, UsageError

__all__ = ["MAX_BYTES", "SUFFIXES", "Book", "ends_sentence", "read_book", "read_books"]

SUFFIXES = (".txt", ".md", ".epub")
MAX_BYTES = 64 << 20
"""Most bytes of a plain text; the Bible has five million."""

_MARKS = frozenset(".?!;")
_NO_END = frozenset(("mr.", "mrs.", "dr."))
_BEGIN = re.compile(r"^\s*\*\*\* ?START OF (?:THE|THIS) PROJECT GUTENBERG[^\n]*$", re.M | re.I)
_END = re.compile(r"^\s*\*\*\* ?END OF (?:THE|THIS) PROJECT GUTENBERG", re.M | re.I)
_NUMBER = (
    r"(?:[ivxlcdm]+|\d{1,3}|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|the "
    r"(?:first|last))"
)
_HEADING = re.compile(
    rf"(?:(?:chapter|book|part|volume|canto|act|scene|letter|section)\s+{_NUMBER}\b.{{0,80}}"
    r"|[IVXLC]+\.?|\d{1,3}\.?|the end\.?|finis\.?|\[illustration.{0,200}\])",
    re.I | re.S,
)


def ends_sentence(word: str) -> bool:
    """Whether a word ends a sentence, in the authors' sense: it contains any of ``. ? ! ;``.

    Only mr., mrs. and dr. are excepted, so "3.14" and "St." count as ends, as they do there.

    >>> [ends_sentence(w) for w in ("rain", "rain.", 'Mr.', "3.14")]
    [False, True, False, True]
    """
    return word.lower() not in _NO_END and not _MARKS.isdisjoint(word)


@dataclass(frozen=True)
class Book:
    """A sequence in its order.

    Args:
        title: As it is named in questions.
        words: In order; for a text what lies between white space, for other sequences one event each.
        id: Unique among the books of an audit; the title if it is empty.
        sentences: Segments and excerpts start where a sentence does (else anywhere).
        joint: What stands between two words where they are written down.

    >>> book = Book.from_text("It rained. We stayed in; she read.", title="A day")
    >>> len(book), [book.words[i] for i in book.starts.nonzero()[0]]
    (7, ['It', 'We', 'she'])
    """

    title: str
    words: tuple[str, ...]
    id: str = ""
    sentences: bool = True
    joint: str = " "

    def __post_init__(self) -> None:
        object.__setattr__(self, "words", tuple(self.words))
        if not self.words:
            raise DataError(f"{self.title or 'the book'} is empty: it has no words")
        if not self.id:
            object.__setattr__(self, "id", self.title or "book")

    def __len__(self) -> int:
        return len(self.words)

    @cached_property
    def starts(self) -> np.ndarray:
        """``[T]`` bool, where a segment may start: word 0, and after every end of a sentence."""
        out = np.ones(len(self.words), dtype=bool)
        if self.sentences:
            out[1:] = [ends_sentence(w) for w in self.words[:-1]]
        return out

    def text(self, start: int, length: int) -> str:
        """`length` words from `start` on."""
        return self.joint.join(self.words[start : start + length])

    @cached_property
    def digest(self) -> str:
        """Of title and words."""
        whole = "\x00".join((self.title, *self.words)).encode("utf-8", "surrogatepass")
        return hashlib.sha256(whole).hexdigest()[:16]

    @classmethod
    def from_text(cls, text: str, *, title: str = "", id: str = "", headings: bool = False) -> Book:
        """A book from its text.

        Project Gutenberg's header and licence are cut off. Paragraphs that are but the number or
        title of a chapter are dropped, as in the paper, unless `headings` keeps them; other matter in
        front of the story is not recognised.

        Raises:
            DataError: If no words are left.
        """
        text = text.removeprefix("\ufeff")
        begin, end = _BEGIN.search(text), _END.search(text)
        text = text[begin.end() if begin else 0 : end.start() if end else len(text)]
        paragraphs = re.split(r"\n[ \t]*\n", text)
        if not headings:
            paragraphs = [p for p in paragraphs if not _is_heading(p)]
        return cls(title, tuple(w for p in paragraphs for w in p.split()), id)

    def between(self, first: str = "", last: str = "") -> Book:
        """The part from the first place where `first` stands up to the first `last` after it.

        Takes off a table of contents or an author's note: name the story's first words.

        Raises:
            DataError: If a phrase does not occur.

        >>> Book.from_text("Contents. I. Rain. It rained. The end.").between("It rained", "The end").words
        ('It', 'rained.')
        """
        begin, end = 0, len(self.words)
        if first:
            begin = self._find(first, 0)
        if last:
            end = self._find(last, begin)
        return replace(self, words=self.words[begin:end])

    def _find(self, phrase: str, start: int) -> int:
        sought = phrase.split()
        for i in range(start, len(self.words) - len(sought) + 1):
            window = self.words[i : i + len(sought)]
            if window[:-1] == tuple(sought[:-1]) and window[-1].startswith(sought[-1]):
                return i
        raise DataError(f"{self.id}: the words {phrase[:60]!r} do not stand in it")

    @classmethod
    def from_events(cls, events: Iterable[Any], *, title: str = "", id: str = "") -> Book:
        """Any sequence, one event each: strings, or items with a `content` (notes of a memory).

        The order given is the order asked about. Line breaks inside an event become spaces.

        >>> Book.from_events(["woke up", "had tea", "went out"], title="today").text(0, 2)
        'woke up\\nhad tea'
        """
        told = (str(getattr(e, "content", e)) for e in events)
        return cls(title, tuple(" ".join(t.split()) for t in told), id, False, "\n")


def _is_heading(paragraph: str) -> bool:
    line = " ".join(paragraph.split())
    return 0 < len(line) <= 200 and len(line.split()) <= 12 and bool(_HEADING.fullmatch(line))


def read_book(path: str | Path, *, title: str = "", id: str = "", headings: bool = False) -> Book:
    """A book from a plain text (UTF-8) or an EPUB.

    Args:
        path: The file; what it is shows in its first bytes, not in its name.
        title: As named in questions; empty takes the EPUB's title, or the name of the file.
        id: Unique among books; empty takes the file's name.
        headings: Keep titles of chapters.

    Raises:
        DataError: If it is missing, empty, too large, no text (a PDF, a picture, another encoding),
            or no readable EPUB.
    """
    path = Path(path).expanduser()
    try:
        if not path.is_file():
            what = "a folder" if path.is_dir() else "not there"
            raise DataError(f"{path} is {what}; name a .txt or .epub file")
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(4)
            data = b"" if head == b"PK\x03\x04" else head + file.read(MAX_BYTES)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    named = title
    if head == b"PK\x03\x04":
        told, text = read_epub(path, headings=headings)
        named = title or told
    else:
        if size > MAX_BYTES:
            raise DataError(f"{path} has {size:,} bytes; a text may have {MAX_BYTES:,}")
        text = _plain(path, data)
    named = named or path.stem.replace("_", " ").replace("-", " ").strip()
    try:
        return Book.from_text(text, title=named, id=id or path.name, headings=headings)
    except DataError as error:
        raise DataError(f"{path} is empty: there are no words in it") from error


def _plain(path: Path, data: bytes) -> str:
    if data.startswith(b"%PDF"):
        raise DataError(f"{path} is a PDF; save it as plain text or EPUB")
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is no UTF-8 text: byte 0x{data[error.start]:02x} at position {error.start}; is "
            "it a binary file? Save texts as UTF-8"
        ) from error
    strange = [c for c in text if c < " " and c not in "\t\n\r\f\v\x1a"]
    if strange:
        raise DataError(
            f"{path} is no text: it holds {len(strange)} control characters, the first is "
            f"{strange[0]!r}; is it a binary file?"
        )
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_books(paths: str | Path | Sequence[str | Path], *, headings: bool = False) -> list[Book]:
    """Books from files and folders (searched through, files in order of their names).

    Raises:
        DataError: As `read_book`; or if a folder holds no book, or the same book stands twice.
    """
    entries = [paths] if isinstance(paths, str | Path) else list(paths)
    if not entries:
        raise UsageError("no book is named; give .txt or .epub files, or a folder of them")
    found: list[tuple[Path, str]] = []
    for entry in (Path(e).expanduser() for e in entries):
        if entry.is_dir():
            inside = sorted(
                p for p in entry.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file()
            )
            if not inside:
                raise DataError(f"folder {entry} holds no book ({', '.join(SUFFIXES)})")
            found += [(p, p.relative_to(entry).as_posix()) for p in inside]
        else:
            found.append((entry, entry.name))
    names = [name for _, name in found]
    books = [
        read_book(p, id=name if names.count(name) == 1 else f"{i}:{name}", headings=headings)
        for i, (p, name) in enumerate(found)
    ]
    seen: dict[tuple[str, ...], str] = {}
    for book in books:
        if book.words in seen:
            raise DataError(f"{book.id} and {seen[book.words]} are the same book; name it once")
        seen[book.words] = book.id
    return books
