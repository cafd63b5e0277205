"""`FileStore`: items as Markdown files that people and other tools read, for exchange."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from byheart.core._files import _umask
from byheart.core.errors import DataError, OutputError, StoreError, UnknownName, UsageError
from byheart.core.item import Item
from byheart.core.memory import Problem
from byheart.stores._okf import Link, Note, file_stem, from_text, shown, to_text

__all__ = ["FileStore", "Link", "Note"]

MANIFEST = ".byheart.json"
_FOLDERS = {"note": "notes", "state": "states", "weights": "weights"}
_RESERVED = ("index.md", "log.md")


class FileStore:
    """A folder in the Open Knowledge Format, version 0.2: one Markdown file an item.

    It is for exchange and for reading and editing by people; it has no log, no second clock and no
    search, so it is no `Memory`. `byheart.Memory.export` and `import_` go through it.

    Args:
        folder: Where; made by the first `write` if it is not there.

    >>> import tempfile
    >>> store = FileStore(Path(tempfile.mkdtemp()) / "notes")
    >>> _ = store.write([Item("Ana lives in Oslo.", id="N1", source="chat:3")])
    >>> [(n.path, n.item.content) for n in store.read()]
    [('notes/ana-lives-in-oslo-b79f477f6d.md', 'Ana lives in Oslo.')]
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    # ---------------------------------------------------------------- reading

    def read(self) -> list[Note]:
        """All notes, by path; the first that cannot be used stops it.

        Raises:
            DataError: A file is broken (with line and column), is a link or no plain file, is not
                UTF-8, or two files have one id.
        """
        self._whole()
        notes: list[Note] = []
        ids: dict[str, str] = {}
        for path in self._files():
            note = self._note(path)
            if note.own_id and note.item.id in ids:
                raise DataError(
                    f"{path} and {ids[note.item.id]} have the id {note.item.id!r} both; remove the "
                    "id from the one that is new"
                )
            if note.own_id:
                ids[note.item.id] = path
            notes.append(note)
        return notes

    def items(self) -> list[Item]:
        """All items, by path."""
        return [n.item for n in self.read()]

    def get(self, id: str) -> Item:
        """An item by its id.

        Raises:
            UnknownName: No file has it.
        """
        items = {n.item.id: n.item for n in self.read() if n.own_id}
        if id not in items:
            raise UnknownName("item", id, items)
        return items[id]

    def check(self) -> list[Problem]:
        """What is broken, edited, new or missing; empty if the folder is as it was written."""
        out: list[Problem] = []
        there: set[str] = set()
        try:
            self._whole()
            paths = list(self._files())
        except DataError as error:
            return [Problem("folder", str(self.folder), str(error))]
        for path in paths:
            try:
                note = self._note(path)
            except DataError as error:
                out.append(Problem("file", path, str(error)))
                continue
            if not note.own_id:
                out.append(Problem("file", path, "it is new; import it to keep it"))
            elif note.item.id in there:
                out.append(Problem("file", path, f"another file has the id {note.item.id!r} too"))
            elif not note.intact:
                out.append(Problem("file", path, "it was edited; import it to keep the change"))
            there.add(note.item.id)
        out += [
            Problem("file", path, f"it is missing; item {id} was in it")
            for id, path in self.manifest().items()
            if id not in there
        ]
        return out

    def manifest(self) -> dict[str, str]:
        """Id to path of what was written; empty for a folder of another origin."""
        told = self._told()
        items = told.get("items", {})
        if not isinstance(items, dict) or not all(isinstance(p, str) for p in items.values()):
            raise DataError(f"{self.folder / MANIFEST}: items must map ids to paths")
        return items

    def _told(self) -> dict[str, Any]:
        path = self.folder / MANIFEST
        if path.is_symlink():
            raise DataError(f"{path} is a link; links are not followed")
        try:
            told = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, RecursionError) as error:
            raise DataError(f"{path} cannot be read: {error}") from error
        if not isinstance(told, dict):
            raise DataError(f"{path} cannot be read: an object is wanted")
        return told

    def _whole(self) -> None:
        if not self.folder.is_dir():
            what = "is no folder" if self.folder.exists() else "does not exist"
            raise DataError(f"{self.folder} {what}")
        if self._told().get("complete") is False:
            raise DataError(
                f"the export into {self.folder} was interrupted; nothing was taken from it. Export "
                "into it again"
            )

    def _files(self) -> Iterator[str]:
        """Paths of the notes, sorted, "/" between; hidden files and folders are passed over."""

        def walk(folder: Path, prefix: str) -> Iterator[str]:
            try:
                entries = sorted(os.scandir(folder), key=lambda e: e.name)
            except OSError as error:
                raise DataError(f"{folder} cannot be read: {error.strerror or error}") from error
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                path = prefix + entry.name
                markdown = entry.name.endswith(".md")
                if entry.is_symlink():
                    raise DataError(f"{self.folder / path} is a link; links are not followed")
                if entry.is_dir(follow_symlinks=False):
                    yield from walk(Path(entry.path), path + "/")
                elif markdown and not entry.is_file(follow_symlinks=False):
                    raise DataError(f"{self.folder / path} is no plain file")
                elif markdown and entry.name not in _RESERVED:
                    yield path

        yield from walk(self.folder, "")

    def _note(self, path: str) -> Note:
        place = self.folder / path
        raw = self._bytes(place)
        try:
            text = raw.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = raw[: error.start].count(b"\n") + 1
            column = error.start - raw.rfind(b"\n", 0, error.start)
            raise DataError(f"{place}, line {line}, column {column}: not UTF-8 text") from error
        note = from_text(
            text.replace("\r\n", "\n"), path, str(place), lambda n: self._bytes(place.parent / n)
        )
        return note

    @staticmethod
    def _bytes(place: Path) -> bytes:
        """A plain file's bytes; a link is refused even if it came there just now."""
        try:
            handle = os.open(place, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | _NONBLOCK)
        except OSError as error:
            what = "is a link; links are not followed" if place.is_symlink() else error.strerror
            raise DataError(f"{place}: {what}") from error
        with os.fdopen(handle, "rb") as file:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise DataError(f"{place} is no plain file")
            return file.read()

    # ---------------------------------------------------------------- writing

    def write(
        self,
        notes: Iterable[Note | Item],
        *,
        saved: Callable[[Note], str | None] | None = None,
        before: Callable[[], object] | None = None,
    ) -> list[str]:
        """Make the folder hold these notes and no others; returns their paths.

        A new folder appears whole or not at all. In one that was written before, each file is
        replaced whole, notes keep the files they have, and files of items that are no longer among
        the notes are removed.

        Args:
            notes: Notes, or items.
            saved: Says under which id a file that was edited or added by hand is kept elsewhere;
                None if it is not. Without it no such file may be there.
            before: Called when all is ready to be written.

        Raises:
            UsageError: Two notes have one id.
            StoreError: A file was edited or added by hand and is not saved; nothing was written.
            OutputError: It cannot be written, or is a folder of something else.
        """
        all_notes = [Note(n) if isinstance(n, Item) else n for n in notes]
        ids = [n.item.id for n in all_notes]
        if len(set(ids)) < len(ids):
            twice = next(i for i in ids if ids.count(i) > 1)
            raise UsageError(f"two notes have the id {twice!r}; an id has one file")
        try:
            here = self.folder.is_dir() and any(self.folder.iterdir())
            if here and not (self.folder / MANIFEST).exists():
                raise OutputError(
                    f"{self.folder} is not empty and no export of a memory; choose another folder"
                )
            old = self._standing(saved) if here else {}
            placed = self._place(all_notes, {i: n.path for i, n in old.items()})
            if before is not None:
                before()
            if self.folder.exists():
                self._put(self.folder, placed, old.values())
            else:
                self.folder.parent.mkdir(parents=True, exist_ok=True)
                made = tempfile.mkdtemp(prefix=f".{self.folder.name}.", dir=self.folder.parent)
                try:
                    self._put(Path(made), placed, ())
                    os.chmod(made, 0o777 & ~_umask())
                    os.rename(made, self.folder)
                finally:
                    if os.path.isdir(made):
                        shutil.rmtree(made)
        except OSError as error:
            if isinstance(error, OutputError | DataError):
                raise
            raise OutputError(
                f"cannot write {self.folder}: {error.strerror or error}; choose another folder or "
                "free some space"
            ) from error
        return [n.path for n in placed]

    def _standing(self, saved: Callable[[Note], str | None] | None) -> dict[str, Note]:
        """Notes that are there, by the id under which they are kept."""
        out: dict[str, Note] = {}
        lost = []
        for path in self._files():
            note = self._note(path)
            id = note.item.id if note.intact else None
            if id is None and saved is not None:
                id = saved(note)
            if id is None:
                lost.append(f"{path} ({'edited' if note.own_id else 'new'})")
            elif id in out:
                raise StoreError(f"{path} and {out[id].path} hold the same item; remove one")
            else:
                out[id] = note
        if lost:
            raise StoreError(
                f"{self.folder} has changes that were never imported: {', '.join(lost[:5])}"
                f"{', ...' if len(lost) > 5 else ''}. Import the folder first, or choose another"
            )
        return out

    @staticmethod
    def _place(notes: list[Note], kept: dict[str, str]) -> list[Note]:
        """Give each note its path; one that has a file keeps it."""

        def fits(note: Note) -> bool:
            path = kept.get(note.item.id)
            return path is not None and (note.status == "deprecated") == path.startswith("history/")

        stay = {n.item.id for n in notes if fits(n)}
        out, taken = [], {kept[i].casefold() for i in stay}
        for note in notes:
            id, old = note.item.id, note.item.supersedes
            path = kept[id] if id in stay else None
            if path is None and note.status != "deprecated" and old in kept and old not in stay:
                path = kept[old]  # it takes the place of an item, and of its file
                path = None if path.casefold() in taken or path.startswith("history/") else path
            if path is not None:
                taken.add(path.casefold())
                out.append(_at(note, path))
                continue
            folder = "history" if note.status == "deprecated" else _FOLDERS[note.item.kind]
            stem, n, path = file_stem(note.item), 1, ""
            while not path or path.casefold() in taken:
                path = f"{folder}/{stem}{'' if n == 1 else f'-{n}'}.md"
                n += 1
            taken.add(path.casefold())
            out.append(_at(note, path))
        return out

    @staticmethod
    def _put(folder: Path, notes: list[Note], old: Iterable[Note]) -> None:
        from byheart import __version__

        paths = {n.item.id: n.path for n in notes}
        titles = {n.item.id: title(n.item) for n in notes}
        maker = f"byheart/{__version__}"
        told: dict[str, Any] = {"okf": "0.2", "complete": False, "items": paths}
        _write(folder / MANIFEST, json.dumps(told, ensure_ascii=False, indent=1))
        new: set[str] = set()
        for note in notes:
            text = to_text(note, paths=paths, titles=titles, maker=maker)
            _write(folder / note.path, text)
            new.add(note.path)
            if note.item.blob is not None:
                blob = note.path.removesuffix(".md") + ".blob"
                _write(folder / blob, note.item.blob)
                new.add(blob)
        for gone in old:
            blob = str(Path(gone.path).with_name(gone.blob).as_posix()) if gone.blob else ""
            for path in (gone.path, blob):
                if path and path not in new:
                    with contextlib.suppress(FileNotFoundError):
                        os.unlink(folder / path)
        _write(folder / "index.md", _index(notes, titles))
        told["complete"] = True
        _write(folder / MANIFEST, json.dumps(told, ensure_ascii=False, indent=1))


_NONBLOCK = getattr(os, "O_NONBLOCK", 0)
"""Opening a named pipe does not wait for somebody to write into it."""


def _at(note: Note, path: str) -> Note:
    return Note(note.item, path, note.state, note.status, note.links)


def title(item: Item) -> str:
    """What a link to an item shows."""
    own = item.labels.get("title")
    text = own if isinstance(own, str) and own.strip() else item.content
    return text.strip().split("\n")[0][:80] or item.id


def _index(notes: list[Note], titles: dict[str, str]) -> str:
    out = ['---\nokf_version: "0.2"\n---\n']
    heads: dict[str, list[Note]] = {}
    for note in notes:
        heads.setdefault(note.path.rpartition("/")[0] or ".", []).append(note)
    for folder, some in sorted(heads.items()):
        out.append(f"\n# {folder.capitalize()}\n\n")
        for note in some:
            told = note.item.labels.get("description")
            words = f" - {shown(told)}" if isinstance(told, str) and told.strip() else ""
            out.append(f"* [{shown(titles[note.item.id])}]({note.path}){words}\n")
    return "".join(out)


def _write(path: Path, what: str | bytes) -> None:
    """Write a file whole, beside its place, and move it there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=".byheart-", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(what.encode() if isinstance(what, str) else what)
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
        temporary = ""
    finally:
        if temporary:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
