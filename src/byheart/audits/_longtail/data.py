"""Labelled data sets out of names and files, and pictures of their examples."""

from __future__ import annotations

import base64
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from byheart.audits._longtail.files import read_npz
from byheart.core.errors import DataError, UnknownName, UsageError, need

__all__ = ["Labelled", "picture", "read_data"]

NAMES = ("breast-cancer", "digits", "iris", "wine")


@dataclass(frozen=True)
class Labelled:
    """Training and test examples with labels.

    Attributes:
        name: For headings.
        x: ``[n, ...]``; pictures are ``[n, height, width]`` or ``[n, height, width, 3]``.
        y: ``[n]``.
        x_test: ``[n_test, ...]``.
        y_test: ``[n_test]``.
    """

    name: str
    x: np.ndarray
    y: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray

    @property
    def pictures(self) -> bool:
        """Whether examples can be shown as pictures."""
        shape = self.x.shape[1:]
        return len(shape) == 2 or (len(shape) == 3 and shape[2] in (1, 3))


def read_data(what: Any, *, label: str | None = None, test: float = 0.3, seed: int = 0) -> Labelled:
    """A data set by name or file.

    - ``digits``, ``iris``, ``wine``, ``breast-cancer``: scikit-learn's (digits: rows 0 to 1256 train);
    - an ``.npz`` file with ``x`` and ``y`` (or ``x_train, y_train``; ``X`` for ``x``), and perhaps ``x_test``,
      ``y_test``; nothing pickled in it is read;
    - a ``.csv`` file with a heading, whose column `label` (the last, if left out) holds the labels and
      whose others hold numbers;
    - a folder that ``datasets`` saved, or a `datasets.Dataset`, with columns of numbers or images.

    Args:
        what: Name, path, `Labelled`, `datasets.Dataset`, or a pair (x, y).
        label: Column of the labels, of a CSV file or a data set.
        test: Share of the examples that becomes the test set where there is none.
        seed: Of that choice.

    Raises:
        UnknownName: Neither a name nor a file.
        DataError: A file that cannot be used; says which line or array.
    """
    if isinstance(what, Labelled):
        return what
    if isinstance(what, tuple) and len(what) == 2:
        return _split("data", np.asarray(what[0]), np.asarray(what[1]), test, seed)
    if hasattr(what, "features") and hasattr(what, "column_names"):
        return _split("data set", *_dataset(what, label, "data set"), test, seed)
    if str(what) in NAMES:
        return _named(str(what), test, seed)
    path = Path(what)
    if path.is_dir():
        load = need("datasets", "audit").load_from_disk
        try:
            held = load(str(path))
        except (FileNotFoundError, ValueError) as error:
            raise DataError(f"{path}: no data set that datasets saved ({error})") from error
        if not hasattr(held, "features"):
            parts = {k: _dataset(held[k], label, f"{path}/{k}") for k in held}
            if "train" not in parts:
                raise DataError(f"{path}: has no split 'train', only {', '.join(parts)}")
            if "test" in parts:
                return Labelled(path.name, *parts["train"], *parts["test"])
            return _split(path.name, *parts["train"], test, seed)
        return _split(path.name, *_dataset(held, label, str(path)), test, seed)
    if not path.exists():
        raise UnknownName("data set or file", str(what), NAMES)
    if path.suffix == ".npz":
        return _npz(path, test, seed)
    if path.suffix == ".csv":
        return _split(path.stem, *_csv(path, label), test, seed)
    raise DataError(f"{path}: expected an .npz or .csv file, or a folder that datasets saved")


def _named(name: str, test: float, seed: int) -> Labelled:
    sets = need("sklearn.datasets", "audit")
    held = getattr(sets, f"load_{name.replace('-', '_')}")()
    if name == "digits":
        x, y = held.images / 16, held.target
        return Labelled(name, x[:1257], y[:1257], x[1257:], y[1257:])
    x = (held.data - held.data.mean(0)) / held.data.std(0)
    return _split(name, x, held.target, test, seed)


def _split(name: str, x: np.ndarray, y: np.ndarray, test: float, seed: int) -> Labelled:
    if not 0 < test < 1:
        raise UsageError(f"test is a share of the examples in (0, 1), got {test}")
    if len(x) != len(y) or len(y) < 4:
        raise DataError(f"{name}: {len(x)} examples and {len(y)} labels; at least four of both are needed")  # fmt: skip
    order = np.random.default_rng([seed, 7]).permutation(len(y))
    held = max(1, round(test * len(y)))
    train, rest = np.sort(order[held:]), np.sort(order[:held])
    return Labelled(name, x[train], y[train], x[rest], y[rest])


def _npz(path: Path, test: float, seed: int) -> Labelled:
    with read_npz(path) as held:
        names = {k.lower(): k for k in held.files}

        def find(*options: str) -> np.ndarray | None:
            return next((held[names[o]] for o in options if o in names), None)

        x, y = find("x_train", "x"), find("y_train", "y")
        x_test, y_test = find("x_test"), find("y_test")
    if x is None or y is None:
        raise DataError(f"{path}: needs x and y (or x_train and y_train), it has {', '.join(names) or 'nothing'}")  # fmt: skip
    if x.dtype == np.uint8:
        x, x_test = x / np.float32(255), None if x_test is None else x_test / np.float32(255)
    y = y.reshape(-1) if y.ndim == 2 and y.shape[1] == 1 else y
    if x_test is None or y_test is None:
        return _split(path.stem, x, y, test, seed)
    return Labelled(path.stem, x, y, x_test, y_test.reshape(-1))


def _csv(path: Path, label: str | None) -> tuple[np.ndarray, np.ndarray]:
    import csv

    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.reader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read: {error}") from error
    if len(rows) < 2:
        raise DataError(f"{path}: needs a heading and at least one row")
    heading = [h.strip() for h in rows[0]]
    if label is not None and label not in heading:
        raise UnknownName(f"column of {path.name}", label, heading)
    at = heading.index(label) if label is not None else len(heading) - 1
    x, y = [], []
    for line, row in enumerate(rows[1:], 2):
        if not row:
            continue
        if len(row) != len(heading):
            raise DataError(
                f"{path}, line {line}: {len(row)} fields, the heading has {len(heading)}"
            )
        try:
            x.append([float(v) for i, v in enumerate(row) if i != at])
        except ValueError as error:
            raise DataError(f"{path}, line {line}: {error}; all columns but the label are numbers") from error  # fmt: skip
        y.append(row[at].strip())
    return np.array(x), np.array(y)


def _dataset(held: Any, label: str | None, where: str) -> tuple[np.ndarray, np.ndarray]:
    """Examples and labels of a `datasets.Dataset`."""
    columns = list(held.column_names)
    name = label or next((c for c in ("label", "labels", "target", "y") if c in columns), None)
    if name not in columns:
        raise UnknownName(f"column of {where}", str(name), columns)
    rest = [c for c in columns if c != name]
    pictures = [c for c in rest if type(held.features[c]).__name__ == "Image"]
    if pictures:
        try:
            x = np.stack([np.asarray(image) for image in held[pictures[0]]]) / np.float32(255)
        except ValueError as error:
            raise DataError(f"{where}: its images differ in size: {error}") from error
        return x, np.asarray(held[name])
    try:
        parts = [np.asarray(held[c][:], dtype=float).reshape(len(held), -1) for c in rest]
        return np.concatenate(parts, axis=1), np.asarray(held[name][:])
    except (TypeError, ValueError) as error:
        raise DataError(f"{where}: its columns {', '.join(rest)} are no numbers or images: {error}") from error  # fmt: skip


def picture(*images: np.ndarray) -> str:
    """Images side by side as a PNG in a data URI. Values from 0 to 1, or bytes; black on white."""
    parts: list[np.ndarray] = []
    for image in images:
        a = np.asarray(image, float)
        a = a / 255 if a.max(initial=0) > 1.5 else a
        a = np.clip(a, 0, 1)
        a = np.repeat(1 - a[..., None], 3, 2) if a.ndim == 2 else np.repeat(a, 3, 2) if a.shape[2] == 1 else a  # fmt: skip
        if parts:
            parts.append(np.full((len(a), max(1, len(a) // 8), 3), 0.75))
        parts.append(a)
    pixels = np.rint(255 * np.concatenate(parts, axis=1)).astype(np.uint8)
    height, width, _ = pixels.shape
    raw = b"".join(b"\0" + row.tobytes() for row in pixels)

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    png = b"\x89PNG\r\n\x1a\n" + chunk(
        b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    )
    png += chunk(b"IDAT", zlib.compress(raw, 9)) + chunk(b"IEND", b"")
    return "data:image/png;base64," + base64.b64encode(png).decode()
