"""Front matter: a strict subset of YAML 1.2, read with line and column, and written.

Read: mappings and sequences in blocks and in ``[...]``, ``{...}``; plain, single- and double-quoted
text on one line; text blocks (``|`` and ``>``); comments; null, true, false and numbers as YAML's
core schema has them. Times stay text. Refused, since a file may come from anybody: tags, anchors
and aliases (nothing is constructed, nothing grows), merge and duplicate keys, tabs in indentation,
text that goes on over several lines without a block.

>>> read("type: Note\\ntags: [a, 'b c']\\n", "x.md")
{'type': 'Note', 'tags': ['a', 'b c']}
>>> print(write({"type": "Note", "labels": {"count": 1, "size": "1"}}), end="")
type: Note
labels:
  count: 1
  size: "1"
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, NoReturn

from byheart.core.errors import DataError

__all__ = ["read", "write"]

_INT = re.compile(r"[-+]?[0-9]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_KEY = re.compile(r"""("(?:[^"\\]|\\.)*"|'(?:[^']|'')*'|[^\s"'\[\]{}#&*!|>%@`,?:-][^#]*?|-[^\s][^#]*?)\s*:(?=\s|$)""")  # fmt: skip
_WORDS = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None, "true": True, "True": True,
    "TRUE": True, "false": False, "False": False, "FALSE": False,
}  # fmt: skip
_ESCAPES = {
    "0": "\0", "a": "\a", "b": "\b", "t": "\t", "n": "\n", "v": "\v", "f": "\f", "r": "\r",
    "e": "\x1b", " ": " ", '"': '"', "/": "/", "\\": "\\", "N": "\x85", "_": "\xa0",
    "L": "\u2028", "P": "\u2029",
}  # fmt: skip
_DEPTH = 40
_REFUSED = {
    "!": "tags (!) are not read: nothing is constructed out of a file",
    "&": "anchors (&) are not read; write the value out, or put it in quotes",
    "*": "aliases (*) are not read; write the value out, or put it in quotes",
    "%": "a value that begins with % needs quotes",
    "@": "a value that begins with @ needs quotes",
    "`": "a value that begins with a backtick needs quotes",
}


def read(text: str, where: str, *, line: int = 1) -> dict[str, Any]:
    """A mapping out of front matter.

    Args:
        text: Without the ``---`` lines; line ends are ``\\n``.
        where: Name of the file, for messages.
        line: Number of its first line in the file.

    Raises:
        DataError: With file, line and column.
    """
    return _Reader(text, where, line).document()


class _Reader:
    def __init__(self, text: str, where: str, line: int) -> None:
        self.lines, self.where, self.first = text.split("\n"), where, line
        self.at = 0
        self.opened = (0, 0)  # column and line of the last bracket

    def fail(self, what: str, column: int = 0, at: int | None = None) -> NoReturn:
        line = self.first + (self.at if at is None else at)
        raise DataError(f"{self.where}, line {line}, column {column + 1}: {what}")

    # ---------------------------------------------------------------- blocks

    def document(self) -> dict[str, Any]:
        indent = self.peek()
        if indent is None:
            return {}
        if indent:
            self.fail("the first key must begin the line", 0)
        out = self.mapping(0, 0)
        if self.peek() is not None:
            self.fail("a key: value is wanted here", self.peek() or 0)
        return out

    def peek(self) -> int | None:
        """Indentation of the next line that says something; None at the end."""
        while self.at < len(self.lines):
            line = self.lines[self.at]
            self.no_marker(line)
            stripped = line.lstrip(" ")
            if stripped and stripped[0] == "\t" and stripped.strip():
                self.fail("a tab indents; use spaces", len(line) - len(stripped))
            if stripped.strip() and not stripped.startswith("#"):
                return len(line) - len(stripped)
            self.at += 1
        return None

    def no_marker(self, line: str) -> None:
        """A line that would begin or end a document of YAML."""
        if line[:3] in ("---", "...") and line[3:4] in ("", " ", "\t"):
            self.fail(f"{line[:3]} begins or ends a document; put it in quotes")

    def node(self, indent: int, depth: int) -> Any:
        if depth > _DEPTH:
            self.fail(f"nested more than {_DEPTH} deep", indent)
        rest = self.lines[self.at][indent:]
        if rest == "-" or rest.startswith("- "):
            return self.sequence(indent, depth)
        return self.mapping(indent, depth)

    def mapping(self, indent: int, depth: int) -> dict[str, Any]:
        out: dict[str, Any] = {}
        while (now := self.peek()) is not None and now >= indent:
            line = self.lines[self.at]
            if now > indent:
                self.fail("indented more than the key above; put text of several lines in quotes "
                          "or a | block", now)  # fmt: skip
            if line[indent : indent + 1] in ("?", "!", "&", "*"):
                self.fail(_REFUSED.get(line[indent], "keys marked with ? are not read"), indent)
            found = _KEY.match(line, indent)
            if not found:
                self.fail("a key: value is wanted here", indent)
            key = found.group(1)
            if key == "<<":
                self.fail("merge keys (<<) are not read; write the keys out", indent)
            if key[0] in "\"'":
                key, _ = self.quoted(line, indent)
            if key in out:
                self.fail(f"the key {key!r} is given twice", indent)
            out[key] = self.value(found.end(), indent, depth, sibling=True)
        return out

    def sequence(self, indent: int, depth: int) -> list[Any]:
        out = []
        while self.peek() == indent:
            line = self.lines[self.at]
            if not (line[indent:] == "-" or line.startswith("- ", indent)):
                break
            begin = indent + 1 + len(line[indent + 1 :]) - len(line[indent + 1 :].lstrip(" "))
            rest = line[begin:]
            if _KEY.match(line, begin) or rest == "-" or rest.startswith("- "):
                self.lines[self.at] = line[:indent] + " " + line[indent + 1 :]
                out.append(self.node(begin, depth + 1))
            else:
                out.append(self.value(indent + 1, indent, depth, sibling=False))
        return out

    def value(self, column: int, indent: int, depth: int, *, sibling: bool) -> Any:
        """What stands behind a key or a dash; the reader is on the next line after it."""
        line = self.lines[self.at]
        begin = column + len(line[column:]) - len(line[column:].lstrip(" \t"))
        rest = line[begin:]
        if not rest or rest.startswith("#"):
            self.at += 1
            below = self.peek()
            if below is not None and below > indent:
                return self.node(below, depth + 1)
            if sibling and below == indent and (self.lines[self.at][indent:] + " ")[:2] == "- ":
                return self.sequence(indent, depth + 1)
            return None
        if rest[0] in "|>":
            return self.block(rest, begin, indent)
        if rest[0] in "\"'":
            value, end = self.quoted(line, begin)
        elif rest[0] in "[{":
            value, end = self.flow(begin, depth + 1)
            line = self.lines[self.at]
        else:
            if rest[0] in _REFUSED:
                self.fail(_REFUSED[rest[0]], begin)
            text = re.split(r"\s#", rest, maxsplit=1)[0].rstrip()
            if ": " in text or text.endswith(":"):
                self.fail("text with a colon in it needs quotes", begin + text.index(":"))
            if text[0] in ",]}" or (text[0] in "?-" and text[1:2] in ("", " ")):
                self.fail(f"a value cannot begin with {text[0]!r}; put it in quotes", begin)
            made = self.plain(text, begin)
            self.at += 1
            return made
        after = line[end:].strip()
        if after and not (after.startswith("#") and line[end] in " \t"):
            self.fail(f"nothing may follow the value, got {after[:20]!r}", end)
        self.at += 1
        return value

    def block(self, rest: str, begin: int, indent: int) -> str:
        head = re.fullmatch(r"([|>])([-+]?)\s*(#.*)?", rest)
        if not head:
            self.fail("a block begins with |, |-, |+, >, >- or >+ alone", begin)
        self.at += 1
        lines: list[str] = []
        width = None
        while self.at < len(self.lines):
            line = self.lines[self.at]
            n = len(line) - len(line.lstrip(" "))
            if line.strip(" "):
                if width is None:
                    width = n
                if n <= indent:
                    break
                if n < width:
                    self.fail("indented less than the block's first line", n)
            lines.append(line[width:] if width is not None else "")
            self.at += 1
        cut = self.at == len(self.lines) and bool(self.lines[-1])  # no line end behind it
        while lines and not lines[-1]:
            if head.group(2) == "+":
                break
            lines.pop()
        if head.group(1) == ">":
            if any(x.startswith((" ", "\t")) for x in lines):
                self.fail("a folded block (>) keeps one indentation; use | instead", begin)
            text = re.sub(r"(?<!\n)\n(?!\n)", " ", "\n".join(lines))
            text = re.sub(r"\n(\n+)", r"\1", text)
        else:
            text = "\n".join(lines)
        return text + ("\n" if lines and head.group(2) != "-" and not cut else "")

    # ---------------------------------------------------------------- scalars

    def plain(self, text: str, column: int) -> Any:
        if text in _WORDS:
            return _WORDS[text]
        if _INT.fullmatch(text):
            if len(text) > 1000:
                self.fail("a number of more than 1000 digits", column)
            return int(text)
        if _FLOAT.fullmatch(text):
            value = float(text)
            if value in (float("inf"), float("-inf")):
                self.fail(f"{text} is beyond what a number can hold; put it in quotes", column)
            return value
        return text

    def quoted(self, line: str, begin: int) -> tuple[str, int]:
        """Text in quotes from `begin` on, and where it ends."""
        quote, i, out = line[begin], begin + 1, []
        while i < len(line):
            c = line[i]
            if quote == "'" and c == "'" and line[i + 1 : i + 2] == "'":
                out.append("'")
                i += 2
            elif c == quote:
                text = "".join(out)
                try:  # escapes of JSON may come as pairs of surrogates
                    return text.encode("utf-16", "surrogatepass").decode("utf-16"), i + 1
                except UnicodeDecodeError:
                    self.fail("half a character (a lone surrogate) in quotes", begin)
            elif quote == '"' and c == "\\":
                step, made = self.escape(line, i)
                out.append(made)
                i += step
            else:
                out.append(c)
                i += 1
        self.fail(f"the quote {quote} is not closed on its line", begin)

    def escape(self, line: str, i: int) -> tuple[int, str]:
        kind = line[i + 1 : i + 2]
        if kind in _ESCAPES:
            return 2, _ESCAPES[kind]
        width = {"x": 2, "u": 4, "U": 8}.get(kind, 0)
        digits = line[i + 2 : i + 2 + width]
        if not width or not re.fullmatch(f"[0-9a-fA-F]{{{width}}}", digits):
            self.fail(f"no such escape: {line[i : i + 2 + width]!r}", i)
        if int(digits, 16) > 0x10FFFF:
            self.fail(f"no such character: {line[i : i + 2 + width]!r}", i)
        return 2 + width, chr(int(digits, 16))

    # ---------------------------------------------------------------- flow

    def flow(self, column: int, depth: int) -> tuple[Any, int]:
        """A value of ``[...]`` or ``{...}``, which may go on over lines; and where it ends."""
        if depth > _DEPTH:
            self.fail(f"nested more than {_DEPTH} deep", column)
        line = self.lines[self.at]
        if line[column] in "[{":
            return self.flow_items(column, depth)
        if line[column] in "\"'":
            return self.quoted(line, column)
        if line[column] in _REFUSED:
            self.fail(_REFUSED[line[column]], column)
        end = column
        while end < len(line) and line[end] not in ",[]{}":
            if line[end] == ":" and (line[end + 1 : end + 2] or " ") in " \t,[]{}":
                break
            if line[end] == "#" and line[end - 1] in " \t":
                break
            end += 1
        text = line[column:end].rstrip()
        if not text:
            self.fail("a value is wanted here", column)
        return self.plain(text, column), end

    def flow_items(self, column: int, depth: int) -> tuple[Any, int]:
        close = "]" if self.lines[self.at][column] == "[" else "}"
        values: list[Any] = []
        pairs: dict[str, Any] = {}
        self.opened = column, self.at
        column = self.gap(column + 1)
        while self.lines[self.at][column] != close:
            begin, at = column, self.at
            value, column = self.flow(column, depth + 1)
            column = self.gap(column)
            if close == "}":
                if not isinstance(value, str):
                    value = self.lines[at][begin:column].strip()
                if value in pairs or (value == "<<" and self.lines[at][begin] == "<"):
                    self.fail(f"the key {value!r} is given twice or cannot be one", begin, at)
                pairs[value] = None
                if self.lines[self.at][column] == ":":
                    column = self.gap(column + 1)
                    if self.lines[self.at][column] not in ",}":
                        pairs[value], column = self.flow(column, depth + 1)
                        column = self.gap(column)
            else:
                values.append(value)
            if self.lines[self.at][column] == ",":
                column = self.gap(column + 1)
            elif self.lines[self.at][column] != close:
                self.fail(f"a comma or {close} is wanted here", column)
        return (values if close == "]" else pairs), column + 1

    def gap(self, column: int) -> int:
        """Over spaces, comments and line ends within brackets."""
        while True:
            line = self.lines[self.at]
            while column < len(line) and line[column] in " \t":
                column += 1
            if column < len(line) and not (line[column] == "#" and line[column - 1] in " \t"):
                return column
            if self.at + 1 >= len(self.lines):
                self.fail("the bracket is not closed", *self.opened)
            self.at, column = self.at + 1, 0
            self.no_marker(self.lines[self.at])


# -------------------------------------------------------------------- writing

_SAFE = re.compile(r"[A-Za-z/](?:[A-Za-z0-9_./@+~-]| (?=[A-Za-z0-9_./@+~-]))*(?::[A-Za-z0-9_./@+~-]+)*")  # fmt: skip


def write(mapping: Mapping[str, Any]) -> str:
    """Front matter that any YAML reader takes, without the ``---`` lines."""
    return "".join(line + "\n" for line in _block(mapping, ""))


def _block(mapping: Mapping[str, Any], indent: str) -> list[str]:
    out = []
    for key, value in mapping.items():
        head = f"{indent}{_text(key)}:"
        if isinstance(value, Mapping) and value and len(indent) < 4:
            out += [head, *_block(value, indent + "  ")]
        elif isinstance(value, list) and any(isinstance(v, Mapping) for v in value):
            out += [head, *(f"{indent}  - {_flow(v)}" for v in value)]
        else:
            out.append(f"{head} {_flow(value)}")
    return out


def _flow(value: Any) -> str:
    if isinstance(value, Mapping):
        inner = ", ".join(f"{_quote(k)}: {_flow(v)}" for k, v in value.items())
        return "{" + inner + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_flow, value)) + "]"
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, float):
        text = repr(value)
        return text if "e" not in text or "." in text else text.replace("e", ".0e")
    return json.dumps(value)


def _text(text: str) -> str:
    return text if _SAFE.fullmatch(text) and text.lower() not in _LIKE else _quote(text)


_LIKE = {"null", "true", "false", "yes", "no", "on", "off", "y", "n"}


def _quote(text: str) -> str:
    out = []
    for c in text:
        if c in '"\\':
            out.append("\\" + c)
        elif c.isprintable():
            out.append(c)
        elif c in "\n\t\r":
            out.append({"\n": "\\n", "\t": "\\t", "\r": "\\r"}[c])
        else:
            out.append(f"\\u{ord(c):04x}" if ord(c) < 0x10000 else f"\\U{ord(c):08x}")
    return '"' + "".join(out) + '"'
