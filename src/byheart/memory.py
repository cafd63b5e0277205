"""`byheart.Memory`: write, recall, change, erase; one file, no server, no key."""

from __future__ import annotations

import contextlib
import itertools
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from byheart._memory_cubes import CubeVerbs
from byheart.core.errors import DataError, OutputError, UnknownName, UsageError
from byheart.core.item import Item, Scope
from byheart.core.memory import Event, Hit, Problem, Ranker, Receipt, Selector
from byheart.core.prompt import prompt_text
from byheart.encoders import make_embedder
from byheart.stores._store import Store
from byheart.stores.chat import chat_items
from byheart.stores.exchange import export_lines, import_lines
from byheart.stores.places import open_store

__all__ = ["Memory", "Recall", "make_embedder"]


class Recall(list[Hit]):
    """Hits, best first, and their text for a prompt."""

    def to_prompt(self, *, max_chars: int | None = None) -> str:
        """Fenced text with source and trust of each; see `byheart.core.prompt.prompt_text`."""
        return prompt_text(self, max_chars=max_chars)

    def to_message(self, *, max_chars: int | None = None) -> dict[str, str]:
        """The same as a chat message of the user's, which is not the system's."""
        return {"role": "user", "content": self.to_prompt(max_chars=max_chars)}


class Memory(CubeVerbs):
    """A memory of one scope, in one file or in a PostgreSQL database.

    Args:
        path: The file, made if it is not there; or ``postgresql://user@host/database``, see
            `byheart.stores.PostgresStore`; or a store, of whose place another handle is opened.
        scope: Whose: ``"tenant/user/agent/session"``, ``"user=ana"``, a mapping or a `Scope`. No
            call reaches items of another.
        encoder: None for keywords alone; ``"minilm"`` (all-MiniLM-L6-v2, local); ``"st:NAME"``
            (sentence-transformers); ``"endpoint:URL#MODEL"`` (OpenAI-compatible); or a function
            from texts to ``[N, D]`` numbers, whose attributes `name` and `version` (if it has them)
            say whose vectors they are. See `byheart.encoders.make_embedder`.
        ranker: None or ``"notes"``: words, meaning, neighbours, speakers and times
            (`byheart.notes.ranker.NoteRanker`); ``"plain"``: the mean of min-max scaled BM25 and
            cosine; or a function, see `byheart.core.memory.Ranker`.
        actor: Who calls.
        create: False raises where there is no memory.
        timeout: Seconds to wait for other processes.
        clock: Seconds since 1970; tests give their own.

    Raises:
        CorruptStore: The file is damaged, or no memory.
        UnknownName: No such encoder.

    >>> import tempfile
    >>> with Memory(Path(tempfile.mkdtemp()) / "home.db", scope="acme/ana") as memory:
    ...     receipt = memory.write("Ana is allergic to penicillin.", source="chat:12", trust="user")
    ...     memory.recall("What is Ana allergic to?")[0].item.content
    'Ana is allergic to penicillin.'
    """

    def __init__(
        self,
        path: str | Path | Store,
        scope: Scope | str | Mapping[str, str] | None = None,
        *,
        encoder: str | Callable[[list[str]], Any] | None = None,
        ranker: Ranker | str | None = None,
        actor: str = "local",
        create: bool = True,
        timeout: float = 60.0,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self.ranker = _ranker(ranker)
        embedder = make_embedder(encoder)
        passages = getattr(self.ranker, "passages", None)
        if embedder is not None and passages is not None:
            embedder.passages = passages
            embedder.version += f"/{getattr(passages, '__name__', 'passages')}"
        self.store = open_store(
            path, scope, embedder=embedder, actor=actor, create=create, timeout=timeout, clock=clock
        )

    @property
    def scope(self) -> Scope:
        """Whose memory it is."""
        return self.store.scope

    def write(self, what: str | Item | Mapping[str, Any] | Iterable[Any], **fields: Any) -> Receipt:
        """Keep a text, an item, or several; on disk when it returns, all or none.

        Args:
            what: Text, an `Item`, its fields as a mapping, or an iterable of these.
            fields: Of every item made from text: `source`, `trust`, `valid_from`, `valid_to`,
                `expires_at`, `labels` ... (see `byheart.core.item.Item`).
        """
        several = [what] if isinstance(what, str | Item | Mapping) else what
        return self.store.write([_item(w, fields) for w in several])

    def transaction(self) -> AbstractContextManager[None]:
        """Several writes as one: all of them are kept, or none; see `SqliteStore.transaction`."""
        return self.store.transaction()

    def write_chat(
        self, conversation: Any, *, source: str = "chat", thread: str | None = None
    ) -> Receipt:
        """Keep a conversation, one note a message; see `byheart.stores.chat.chat_items`."""
        return self.store.write(chat_items(conversation, source=source, thread=thread))

    def recall(
        self,
        query: str,
        k: int = 10,
        *,
        as_of: datetime | str | None = None,
        known_at: datetime | str | None = None,
        kinds: Iterable[str] = (),
        archived: bool = False,
        cube: str | None = None,
    ) -> Recall:
        """The best k items for a query, best first; see `SqliteStore.recall`."""
        return Recall(
            self.store.recall(
                query,
                k,
                as_of=as_of,
                known_at=known_at,
                kinds=kinds,
                archived=archived,
                cube=cube,
                ranker=self.ranker,
            )
        )

    def show(self, id: str) -> dict[str, Any]:
        """An item with its state, validity, versions, links and log."""
        return self.store.show(id)

    def get(self, id: str) -> Item:
        """An item by its id."""
        return self.store.get(id)

    def items(self, selector: Selector | None = None, **options: Any) -> Iterator[Item]:
        """Items in the order they were recorded; see `SqliteStore.items`."""
        return self.store.items(selector, **options)

    def log(self, **filters: Any) -> Iterator[Event]:
        """Entries of the log, oldest first; see `SqliteStore.log`."""
        return self.store.log(**filters)

    def supersede(self, id: str, item: Item | str, **fields: Any) -> Receipt:
        """Put an item in the place of another; see `SqliteStore.supersede`."""
        return self.store.supersede(id, _item(item, fields))

    def undo(self, what: Receipt | int) -> Receipt:
        """Take back a write, supersession or undo by its receipt or number in the log."""
        if isinstance(what, int) and not 0 < what < 2**63:  # beyond what a log can count to
            raise UnknownName("entry of the log", str(what), [])
        return self.store.undo(what)

    def erase(self, selector: Selector | str | Iterable[str], **options: bool) -> Receipt:
        """Remove content for good; the receipt says what was reached and what cannot be."""
        return self.store.erase(selector, **options)

    def diff(
        self,
        before: datetime | str,
        after: datetime | str | None = None,
        *,
        clock: str = "recorded",
    ) -> dict[str, list[Any]]:
        """What changed between two times; see `SqliteStore.diff`."""
        return self.store.diff(before, after, clock=clock)

    def use(self, hits: Iterable[Hit | str]) -> Receipt:
        """Note that items were used; a first use activates them."""
        return self.store.use(h.item.id if isinstance(h, Hit) else h for h in hits)

    def expire(self, idle: timedelta | None = None) -> Receipt:
        """Run the timers: time to live, and idleness if asked."""
        return self.store.expire(idle)

    def export(
        self,
        path: str | Path,
        selector: Selector | None = None,
        *,
        history: bool = True,
        cube: str | None = None,
        format: str | None = None,
    ) -> int:
        """Write items to a file of JSON lines, or to a folder of Markdown files.

        The export is entered in the log, so that a later erasure can name it.

        Args:
            path: A file, written whole or not at all; or a folder, see `byheart.stores.FileStore`.
            selector: Which items; all if left out.
            history: Superseded ones too; in JSON lines also what was undone, and cubes.
            cube: Only this cube; in JSON lines with all its versions.
            format: ``"jsonl"``, ``"okf"`` (Markdown in the Open Knowledge Format), or None: a path
                that ends in "/" or is a folder means "okf".

        Returns:
            How many lines, or files.
        """
        folder = str(path).endswith(("/", os.sep)) or Path(path).is_dir()
        if format not in (None, "jsonl", "okf"):
            raise UnknownName("format", str(format), ["jsonl", "okf"])
        path = Path(path)
        if format == "okf" or (format is None and folder):
            from byheart.stores._okf_import import export_folder

            return export_folder(self.store, path, selector, history=history, cube=cube)
        lines = export_lines(self.store, selector, history=history, cube=cube)
        body = {"to": str(path), "cube": cube or ""}
        return _write_lines(path, lines, lambda: self.store.note("export", body=body))

    def export_lines(self, selector: Selector | None = None, **options: Any) -> Iterator[str]:
        """The lines of an export, for a pipe; entered in the log as well."""
        lines = export_lines(self.store, selector, **options)
        begun = list(itertools.islice(lines, 2))  # a cube that is not there raises before the note
        self.store.note("export", body={"to": "a pipe", "cube": options.get("cube") or ""})
        return itertools.chain(begun, lines)

    def import_(
        self,
        source: str | Path | Iterable[str],
        *,
        where: str | None = None,
        take: str | None = None,
    ) -> Receipt:
        """Take in an export, all of it or nothing.

        From a folder: a file that was edited supersedes its item, a new one is written, a missing
        one is named in `beyond` of the receipt and its item stays; `reached` counts them.

        Args:
            source: A file or its lines; or a folder of Markdown files.
            where: Its name, for messages.
            take: Where a file was edited and its item superseded here meanwhile: ``"files"`` or
                ``"memory"`` wins.

        Raises:
            DataError: With line and column of what cannot be read.
            MergeConflict: See `take`; nothing was imported.
        """
        folder = isinstance(source, str | Path) and Path(source).is_dir()
        if folder:
            from byheart.stores._okf_import import import_folder

            return import_folder(self.store, Path(str(source)), take=take)
        if take is not None:
            raise UsageError("take goes with a folder")
        if not isinstance(source, str | Path):
            return import_lines(self.store, source, where or "import")
        path = Path(source)
        try:
            with open(path, encoding="utf-8-sig") as file:
                return import_lines(self.store, file, where or str(path))
        except UnicodeDecodeError as error:
            raise DataError(
                f"{path}: not UTF-8 text (byte {error.start}); nothing was imported"
            ) from error
        except FileNotFoundError as error:
            raise DataError(f"{path} does not exist") from error
        except (NotADirectoryError, PermissionError) as error:
            raise DataError(f"{path}: {error.strerror}") from error

    def rebuild(self) -> dict[str, int]:
        """Make everything derived anew from the log."""
        return self.store.rebuild()

    def check(self, head: str | None = None) -> list[Problem]:
        """Verify file, chain, digests and derived data; empty if all is well."""
        return self.store.check(head)

    def stats(self) -> dict[str, Any]:
        """Counts of this scope."""
        return self.store.stats()

    def embed(self) -> int:
        """Embed now what has no vector yet."""
        return self.store.embed()

    def close(self) -> None:
        """Close the file."""
        self.store.close()

    def __enter__(self) -> Memory:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _item(what: Any, fields: Mapping[str, Any]) -> Item:
    if isinstance(what, Item):
        return what.but(**fields) if fields else what
    if isinstance(what, str):
        wrong = sorted(set(fields) - set(Item.__dataclass_fields__))
        if wrong:
            raise UnknownName("field of an item", wrong[0], Item.__dataclass_fields__)
        return Item(what, **fields)
    if isinstance(what, Mapping):
        return Item.from_dict({**what, **fields})
    raise UsageError(f"an item is text, an Item or a mapping, got {type(what).__name__}")


def _ranker(ranker: Ranker | str | None) -> Ranker | None:
    """What `Memory(ranker=...)` means; None is the store's own."""
    if ranker == "plain":
        return None
    if ranker is None or ranker == "notes":
        from byheart.notes.ranker import NoteRanker

        return NoteRanker()
    if isinstance(ranker, str):
        raise UnknownName("ranker", ranker, ["notes", "plain"])
    if not callable(ranker):
        raise UsageError(f"ranker must be a name or a function, got {type(ranker).__name__}")
    return ranker


def _write_lines(path: Path, lines: Iterable[str], note: Callable[[], object]) -> int:
    """Write beside the file, enter it in the log, move it there: nobody meets half an export."""
    temporary, n = "", 0
    path = Path(os.path.realpath(path))  # a link's target is written, and the link stays
    try:
        if path.exists() and not path.is_file() and not path.is_dir():  # a pipe or a device
            note()
            with open(path, "w", encoding="utf-8", newline="\n") as file:
                for line in lines:
                    file.write(line + "\n")
                    n += 1
            return n
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            for line in lines:
                file.write(line + "\n")
                n += 1
            file.flush()
            os.fsync(file.fileno())
        note()
        os.replace(temporary, path)
        temporary = ""
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        raise OutputError(
            f"cannot write {path}: {error.strerror or error}; choose another folder or free some "
            "space. What was there before is untouched"
        ) from error
    finally:
        if temporary:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
    return n
