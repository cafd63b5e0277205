"""Two arms of text: the user's own files, or the shipped passages, cut into windows."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from byheart.core.errors import DataError, UsageError
from byheart.data.passages import Passage, shipped

__all__ = ["Arms", "Window", "arms", "draw_windows", "read_texts", "units"]

SUFFIXES = (".txt", ".md")
_UNIT = re.compile(r"\w+|[^\w\s]")

Paths = str | Path | Sequence[str | Path] | None


def units(text: str) -> int:
    """Length of a text in words and punctuation marks, whatever the model's tokens are.

    >>> units("Call me Ishmael.")
    4
    """
    return len(_UNIT.findall(text))


def read_texts(paths: Paths) -> list[Passage]:
    """Read text files and folders of them.

    Args:
        paths: One or several ``.txt`` or ``.md`` files, or folders, which are searched through with
            their subfolders. A file's `pair` is its path below the folder that was named.

    Raises:
        DataError: If a path is missing, a folder holds no such file, a file is empty, unreadable or
            not UTF-8 (with the position of the first wrong byte), or nothing was named.
    """
    if paths is None or isinstance(paths, str | Path):
        paths = [] if paths is None else [paths]
    found: list[tuple[Path, str]] = []
    for entry in map(Path, paths):
        if entry.is_dir():
            inside = sorted(
                p for p in entry.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file()
            )
            if not inside:
                raise DataError(
                    f"folder {entry} holds no {' or '.join(SUFFIXES)} file; put texts there or "
                    "name files"
                )
            found += [(p, p.relative_to(entry).as_posix()) for p in inside]
        elif entry.is_file():
            found.append((entry, entry.name))
        else:
            raise DataError(
                f"no file or folder {entry}; name .txt or .md files, or a folder of them"
            )
    if not found:
        raise DataError("no text was named; give .txt or .md files, or a folder of them")
    return [Passage(f"{i}:{path}", _read(path), pair=name, work=name) for i, (path, name) in
            enumerate(found)]  # fmt: skip


def _read(path: Path) -> str:
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is not UTF-8: byte 0x{error.object[error.start]:02x} at position {error.start}; "
            "save it as UTF-8"
        ) from error
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    if not text.strip():
        raise DataError(f"{path} is empty; remove it or put a text there")
    return text.replace("\r\n", "\n").replace("\r", "\n").replace("\x00", "")


@dataclass(frozen=True)
class Arms:
    """Documents of both arms.

    Attributes:
        seen: What the model may know.
        fresh: Twins.
        paired: Whether documents of both arms are matched by `Passage.pair`.
        stand_in: Whether the fresh arm is the shipped obscure passages, for want of twins.
        openings: Whether only the beginning of each document is asked about (passages), not windows
            anywhere in it (files).
    """

    seen: tuple[Passage, ...]
    fresh: tuple[Passage, ...]
    paired: bool
    stand_in: bool = False
    openings: bool = False


def arms(texts: Paths, fresh: Paths, material: Sequence[Passage] | None = None) -> Arms:
    """Both arms from the user's paths, from given passages, or from what byheart ships.

    Files of `texts` and `fresh` that bear the same name are twins. Without `fresh` the shipped
    obscure passages stand in, so that something can be shown; no verdict may rest on them.

    Raises:
        DataError: See `read_texts`; or if the same text stands in both arms.
        UsageError: If `fresh` is given without `texts`.
    """
    if texts is None and fresh is not None:
        raise UsageError("fresh twins are given without texts; name the texts to be audited too")
    if texts is None:
        known = tuple(material) if material is not None else shipped()
        one, two = (tuple(p for p in known if p.famous is flag) for flag in (True, False))
        if not one or not two:
            raise DataError(
                f"the material has {len(one)} seen and {len(two)} fresh passages; "
                "at least one of each is needed"
            )
        return Arms(one, two, _matched(one, two), openings=True)
    seen = tuple(read_texts(texts))
    if fresh is None:
        return Arms(seen, tuple(p for p in shipped() if not p.famous), False, stand_in=True)
    other = tuple(read_texts(fresh))
    both = {p.text.strip() for p in seen} & {p.text.strip() for p in other}
    if both:
        name = next(p.work for p in other if p.text.strip() in both)
        raise DataError(
            f"{len(both)} text(s) stand in both arms (first: {name}); a twin must be another text"
        )
    return Arms(seen, other, _matched(seen, other))


def _matched(seen: Iterable[Passage], fresh: Iterable[Passage]) -> bool:
    a, b = [p.pair for p in seen], [p.pair for p in fresh]
    unique = len(set(a)) == len(a) and len(set(b)) == len(b)
    return unique and all(a) and sorted(a) == sorted(b)


@dataclass(frozen=True)
class Window:
    """A stretch of one document.

    Attributes:
        id: Unique over both arms.
        arm: ``"seen"`` or ``"fresh"``.
        text: The stretch, from a word's first letter to a word's last.
        doc: The document's name.
        pair: Shared with its twin; empty where arms are not paired.
        title: Author and work, or file name.
    """

    id: str
    arm: str
    text: str
    doc: str
    pair: str
    title: str


def draw_windows(
    both: Arms,
    *,
    length: int,
    minimum: int,
    per_arm: int,
    per_text: int = 0,
    seed: int = 0,
) -> tuple[list[Window], dict[str, Any]]:
    """Cut windows that do not overlap, spread evenly over the documents of each arm.

    Of a shipped passage the beginning is taken; a file is cut into slots, and slots are drawn.
    Documents are visited in turn, one slot at a time, in drawn order, until `per_arm` windows are
    there. Where documents are twins, the k-th windows of both are twins.

    Args:
        both: The documents.
        length: Of a window, in `units`.
        minimum: Documents shorter than this are left out.
        per_arm: At most so many windows an arm.
        per_text: At most so many of one document; 0 sets no such limit.
        seed: Of the drawing.

    Returns:
        The windows, seen arm first, and notes on them: documents an arm (``docs_seen``,
        ``docs_fresh``) and how many were too short (``too_short``).

    Raises:
        DataError: If an arm has no document that is long enough.
    """
    rng = np.random.default_rng([seed, 1813])
    out: dict[str, list[Window]] = {"seen": [], "fresh": []}
    notes: dict[str, Any] = {"too_short": 0}
    order: dict[str, float] = {}
    usable: dict[str, list[tuple[Passage, list[tuple[int, int]]]]] = {}
    for arm, documents in (("seen", both.seen), ("fresh", both.fresh)):
        most = 1 if both.openings else None
        slots = [(d, _slots(d.text, length, minimum)[:most]) for d in documents]
        usable[arm] = [(d, s) for d, s in slots if s]
        notes["too_short"] += len(slots) - len(usable[arm])
        if not usable[arm]:
            longest = max(units(d.text) for d in documents)
            raise DataError(
                f"no text of the {arm} arm is long enough: the longest has {longest} words and "
                f"punctuation marks, at least {minimum} are needed; give longer texts or ask for "
                "shorter windows"
            )
    if both.paired:
        common = {d.pair for d, _ in usable["seen"]} & {d.pair for d, _ in usable["fresh"]}
        if not common:
            raise DataError(f"no pair of twins has both texts of at least {minimum} words")
        for arm in usable:
            usable[arm] = [(d, s) for d, s in usable[arm] if d.pair in common]
        order = {pair: rng.random() for pair in sorted(common)}
        room = {
            pair: min(len(s) for a in usable for d, s in usable[a] if d.pair == pair)
            for pair in common
        }
    for arm, cut in usable.items():
        keys = [order.get(d.pair, rng.random()) for d, _ in cut]
        cut = [cut[i] for i in np.argsort(keys, kind="stable")]
        drawn: list[list[tuple[int, int]]] = []
        for d, s in cut:
            count = room[d.pair] if both.paired else len(s)
            picks = rng.permutation(len(s))[:count] if len(s) > 1 else np.zeros(1, int)
            drawn.append([s[int(i)] for i in picks])
        turn = 0
        while len(out[arm]) < per_arm and any(turn < len(d) for d in drawn):
            if per_text and turn >= per_text:
                break
            for (d, _), spans in zip(cut, drawn, strict=True):
                if turn < len(spans) and len(out[arm]) < per_arm:
                    a, b = spans[turn]
                    pair = f"{d.pair}#{turn}" if both.paired else ""
                    title = ", ".join(x for x in (d.author, d.work) if x) or d.id
                    name = f"{arm}:{d.id}#{turn}"
                    out[arm].append(Window(name, arm, d.text[a:b], d.id, pair, title))
            turn += 1
        notes[f"docs_{arm}"] = len({w.doc for w in out[arm]})
    return [*out["seen"], *out["fresh"]], notes


def _slots(text: str, length: int, minimum: int) -> list[tuple[int, int]]:
    """Character spans of consecutive windows of about `length` units, cut between words."""
    spans: list[tuple[int, int]] = []
    start, count, end = -1, 0, 0
    for word in re.finditer(r"\S+", text):
        if start < 0:
            start = word.start()
        count += units(word.group())
        end = word.end()
        if count >= length:
            spans.append((start, end))
            start, count = -1, 0
    if start >= 0 and not spans and count >= minimum:
        spans.append((start, end))
    return spans
