"""EPUB books as plain text, with the standard library, from files that nobody vouches for.

An EPUB is a ZIP file: ``META-INF/container.xml`` names a package file, whose spine lists the
chapters in reading order. Sizes are bounded by what is really unpacked and not by what the file
claims, no entity is ever declared or fetched, and nothing is written to disk.
"""

from __future__ import annotations

import posixpath
import re
import zipfile
import zlib
from html.parser import HTMLParser
from pathlib import Path
from typing import IO
from urllib.parse import unquote
from xml.parsers import expat

from byheart.core.errors import DataError

__all__ = ["MAX_FILES", "MAX_MEMBER", "MAX_TOTAL", "read_epub"]

MAX_FILES = 10_000
"""Most members of an archive."""
MAX_MEMBER = 16 << 20
"""Most bytes of one unpacked chapter."""
MAX_TOTAL = 128 << 20
"""Most bytes of all that is unpacked of one book."""

_FONTS = ("http://www.idpf.org/2008/embedding", "http://ns.adobe.com/pdf/enc#RC")
_KNOWN = ("utf-8", "utf-16", "us-ascii", "iso-8859-1", "windows-1252")
_DECLARED = re.compile(rb"""^\s*<\?xml[^>]*?encoding\s*=\s*["']([A-Za-z0-9._-]+)["']""")
_SKIPPED = frozenset(("head", "script", "style", "nav", "svg", "template"))
_HEADINGS = frozenset(("h1", "h2", "h3", "h4", "h5", "h6"))
_BLOCKS = frozenset(
    [
        "address",
        "article",
        "aside",
        "blockquote",
        "body",
        "caption",
        "center",
        "dd",
        "div",
        "dl",
        "dt",
        "figcaption",
        "figure",
        "footer",
        "form",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "header",
        "hr",
        "li",
        "main",
        "ol",
        "p",
        "pre",
        "section",
        "table",
        "td",
        "th",
        "tr",
        "ul",
    ]
)

Element = tuple[str, dict[str, str], list[str]]


class _Reader:
    """Members of one archive, with a budget of bytes over all of them."""

    def __init__(self, path: Path, archive: zipfile.ZipFile) -> None:
        self.path, self.archive, self.left = path, archive, MAX_TOTAL
        self.names = set(archive.namelist())
        if len(archive.infolist()) > MAX_FILES:
            raise DataError(f"{path} holds {len(archive.infolist())} files, more than {MAX_FILES}")

    def read(self, name: str) -> bytes:
        if name not in self.names:
            raise DataError(f"{self.path} is no whole EPUB: it holds no {name!r}")
        room = min(MAX_MEMBER, self.left)
        try:
            with self.archive.open(name) as member:
                data = _bounded(member, room)
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, OSError) as error:
            raise DataError(f"{self.path}: {name!r} cannot be unpacked ({error})") from error
        except RuntimeError as error:  # what zipfile raises for a password
            raise DataError(f"{self.path}: {name!r} is encrypted ({error})") from error
        if len(data) > room:
            raise DataError(
                f"{self.path}: {name!r} unpacks to more than {room:,} bytes; no book is that long"
            )
        self.left -= len(data)
        return data


def _bounded(member: IO[bytes], room: int) -> bytes:
    return member.read(room + 1)


def read_epub(path: str | Path, *, headings: bool = False) -> tuple[str, str]:
    """Title and text of an EPUB, chapters in reading order, paragraphs apart by empty lines.

    Args:
        path: The file.
        headings: Keep the text of headings (the paper drops titles of chapters).

    Raises:
        DataError: If it is no EPUB, broken, encrypted, too large, or holds no text.
    """
    path = Path(path)
    try:
        with zipfile.ZipFile(path) as archive:
            return _read(_Reader(path, archive), headings)
    except zipfile.BadZipFile as error:
        raise DataError(f"{path} is no EPUB: not a ZIP file ({error})") from error
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error


def _read(reader: _Reader, headings: bool) -> tuple[str, str]:
    container = _elements(reader, "META-INF/container.xml")
    roots = [a["full-path"] for tag, a, _ in container if tag == "rootfile" and "full-path" in a]
    if not roots:
        raise DataError(f"{reader.path} is no EPUB: its container names no package file")
    if "META-INF/encryption.xml" in reader.names:
        for tag, a, _ in _elements(reader, "META-INF/encryption.xml"):
            if tag == "EncryptionMethod" and a.get("Algorithm") not in _FONTS:
                raise DataError(f"{reader.path} is encrypted (DRM); its text cannot be read")
    package = _elements(reader, roots[0])
    folder = posixpath.dirname(roots[0])
    items = {a["id"]: a for tag, a, _ in package if tag == "item" and "id" in a and "href" in a}
    title = next(("".join(t) for tag, _, t in package if tag == "title"), "").strip()
    chapters = []
    for tag, a, _ in package:
        if tag != "itemref" or a.get("linear") == "no":
            continue
        item = items.get(a.get("idref", ""))
        if item is None:
            raise DataError(f"{reader.path}: its spine names {a.get('idref')!r}, which is no item")
        kind = item.get("media-type", "application/xhtml+xml")
        if "html" not in kind or "nav" in item.get("properties", "").split():
            continue
        name = posixpath.normpath(posixpath.join(folder, unquote(item["href"].split("#")[0])))
        chapters.append(_text(_decoded(reader, name, reader.read(name)), headings))
    text = "\n\n".join(c for c in chapters if c)
    if not text:
        raise DataError(f"{reader.path} holds no text: pictures only, or an empty book")
    return " ".join(title.split()), text


def _elements(reader: _Reader, name: str) -> list[Element]:
    """All elements of an XML file in order: local name, attributes, own text.

    A declared entity ends the reading: no book needs one, and a few nested ones fill a machine.
    """
    found: list[Element] = []
    stack: list[Element] = []
    parser = expat.ParserCreate(namespace_separator=" ")

    def refuse(*_: object) -> None:
        raise DataError(f"{reader.path}: {name!r} declares XML entities; that is refused")

    def start(tag: str, attributes: dict[str, str]) -> None:
        plain = {k.rpartition(" ")[2]: v for k, v in attributes.items()}
        element: Element = (tag.rpartition(" ")[2], plain, [])
        found.append(element)
        stack.append(element)

    def end(tag: str) -> None:
        stack.pop()

    def text(data: str) -> None:
        if stack:
            stack[-1][2].append(data)

    parser.EntityDeclHandler = refuse
    parser.ExternalEntityRefHandler = refuse  # type: ignore[assignment]
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = text
    try:
        parser.Parse(reader.read(name), True)
    except (expat.ExpatError, LookupError) as error:
        raise DataError(f"{reader.path}: {name!r} is no XML ({error})") from error
    return found


def _decoded(reader: _Reader, name: str, data: bytes) -> str:
    declared = _DECLARED.match(data)
    encoding = declared.group(1).decode("ascii").lower() if declared else "utf-8"
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        encoding = "utf-16"
    elif data[:3] == b"\xef\xbb\xbf":
        encoding = "utf-8-sig"
    elif encoding not in _KNOWN:
        raise DataError(
            f"{reader.path}: {name!r} is in the encoding {encoding!r}; known are {', '.join(_KNOWN)}"
        )
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise DataError(f"{reader.path}: {name!r} is not {encoding} ({error})") from error


class _Strip(HTMLParser):
    """Text of a chapter; character references are replaced, tags are never fetched or followed."""

    def __init__(self, headings: bool) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self._left_out = _SKIPPED if headings else _SKIPPED | _HEADINGS
        self._inside: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "body":
            self._inside.clear()
        if tag in self._left_out:
            self._inside.append(tag)
        self._break(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._break(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in self._inside:
            while self._inside.pop() != tag:
                pass
        self._break(tag)

    def handle_data(self, data: str) -> None:
        if not self._inside:
            self.parts.append(data)

    def _break(self, tag: str) -> None:
        if tag in _BLOCKS:
            self.parts.append("\x00")
        elif tag == "br":
            self.parts.append("\n")


def _text(markup: str, headings: bool) -> str:
    parser = _Strip(headings)
    parser.feed(markup.replace("\x00", ""))
    parser.close()
    blocks = (" ".join(b.split()) for b in "".join(parser.parts).split("\x00"))
    return "\n\n".join(b for b in blocks if b)
