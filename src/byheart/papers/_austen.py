"""Jane Austen's novels from Debian's package r-cran-janeaustenr, read without R.

R keeps a package's data in two files: an index (a compressed serialisation) of places in a file of
compressed serialisations. Only what those of this package hold is read: lists, texts and numbers.
Nothing in them is executed, there is no code in this reader that could.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import struct
import sys
import zlib
from pathlib import Path
from typing import Any

from byheart.audits._sort.books import Book
from byheart.core.errors import DataError

__all__ = ["PLACES", "TITLES", "austen_books", "holds_austen"]

PLACES = (Path("/usr/lib/R/site-library/janeaustenr"), Path(sys.prefix) / "janeaustenr")
"""Where Debian puts the package, and where ``make test`` unpacks it."""

TITLES = {
    "emma": "Emma",
    "mansfieldpark": "Mansfield Park",
    "northangerabbey": "Northanger Abbey",
    "persuasion": "Persuasion",
    "prideprejudice": "Pride and Prejudice",
    "sensesensibility": "Sense and Sensibility",
}
_MOST = 64 << 20


def holds_austen(folder: str | Path) -> bool:
    """Whether `folder` is the installed package."""
    return (Path(folder).expanduser() / "data" / "Rdata.rdx").is_file()


def austen_books(folder: str | Path = PLACES[0], *, headings: bool = False) -> list[Book]:
    """The six novels, by name.

    Args:
        folder: The installed package, which has the folder ``data``.
        headings: Keep titles of chapters.

    Raises:
        DataError: If the package is not there, or its files are of another kind.
    """
    folder = Path(folder).expanduser()
    index = folder / "data" / "Rdata.rdx"
    if not holds_austen(folder):
        raise DataError(
            f"{folder} holds no Jane Austen; install Debian's r-cran-janeaustenr, or name a folder of "
            "books with --data"
        )
    try:
        packed = index.read_bytes()
        told = _Reader(
            gzip.decompress(packed) if packed[:2] == b"\x1f\x8b" else zlib.decompress(packed)
        ).root()
        store = index.with_suffix(".rdb").read_bytes()
        out = []
        for name, title in TITLES.items():
            at, length = (int(v) for v in told["variables"][name])
            lines = _Reader(_unpacked(store[at : at + length])).root()
            out.append(Book.from_text("\n".join(lines), title=title, id=name, headings=headings))
    except (OSError, EOFError, KeyError, TypeError, ValueError, IndexError, zlib.error, lzma.LZMAError,
            struct.error) as error:  # fmt: skip
        raise DataError(f"{index} is not as r-cran-janeaustenr's ({error})") from error
    return out


def _unpacked(data: bytes) -> bytes:
    size = struct.unpack(">i", data[:4])[0]
    if not 0 <= size <= _MOST:
        raise ValueError(f"a text of {size} bytes")
    kind, rest = data[4:5], data[5:]
    if kind == b"2":
        out = bz2.decompress(rest)
    elif kind == b"Z":
        out = lzma.decompress(
            rest, format=lzma.FORMAT_RAW, filters=[{"id": lzma.FILTER_LZMA2, "preset": 6}]
        )
    else:
        stream = zlib.decompressobj()
        out = stream.decompress(data[4:], size + 1)
        if not stream.eof:  # its checksum is missing, or it goes on
            raise ValueError("a text that does not end")
    if len(out) != size:
        raise ValueError(f"{len(out)} bytes where {size} are told")
    return out


class _Reader:
    """R's serialisation in its portable form (XDR), versions 2 and 3, data only."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0
        self.symbols: list[Any] = []

    def root(self) -> Any:
        if self._take(2) != b"X\n":
            raise ValueError("no portable serialisation")
        version = self._int()
        self._take(8)
        if version == 3:
            self._take(self._int())
        elif version != 2:
            raise ValueError(f"serialisation of version {version}")
        return self._item()

    def _take(self, n: int) -> bytes:
        if n < 0 or self.at + n > len(self.data):
            raise ValueError("it ends too early")
        self.at += n
        return self.data[self.at - n : self.at]

    def _int(self) -> int:
        return int(struct.unpack(">i", self._take(4))[0])

    def _item(self) -> Any:
        flags = self._int()
        kind, attributes, tag = flags & 0xFF, flags & 0x200, flags & 0x400
        if kind == 254:
            return None
        if kind == 255:
            return self.symbols[(flags >> 8) - 1 if flags >> 8 else self._int() - 1]
        if kind == 1:
            self.symbols.append(self._item())
            return self.symbols[-1]
        if kind == 9:
            n = self._int()
            return (
                None if n == -1 else self._take(n).decode("latin-1" if flags >> 12 & 4 else "utf-8")
            )
        if kind == 2:
            return self._pairs(bool(attributes), bool(tag))
        n = self._int()
        if not 0 <= n <= len(self.data):
            raise ValueError(f"a vector of {n}")
        value: Any
        if kind in (10, 13):
            value = list(struct.unpack(f">{n}i", self._take(4 * n)))
        elif kind == 14:
            value = list(struct.unpack(f">{n}d", self._take(8 * n)))
        elif kind in (16, 19):
            value = [self._item() for _ in range(n)]
        else:
            raise ValueError(f"something of R's type {kind}")
        names = (self._item() or {}).get("names") if attributes else None
        return dict(zip(names, value, strict=True)) if names else value

    def _pairs(self, attributes: bool, tag: bool) -> dict[str, Any]:
        """A linked list with names, such as attributes are."""
        out: dict[str, Any] = {}
        while True:
            if attributes:
                self._item()
            name = str(self._item()) if tag else str(len(out))
            out[name] = self._item()
            flags = self._int()
            if flags & 0xFF != 2:
                if flags & 0xFF != 254:
                    raise ValueError("a list without an end")
                return out
            attributes, tag = bool(flags & 0x200), bool(flags & 0x400)
