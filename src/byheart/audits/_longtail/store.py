"""Files of runs: our own, which a run goes on from, plain arrays, and the authors' aux arrays."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from byheart.audits._longtail.files import read_npz, write_npz
from byheart.audits._longtail.runs import Runs
from byheart.core.errors import DataError, UsageError

__all__ = ["State", "load_runs", "read_state", "save_aux", "save_runs", "write_state"]

FORMAT = "byheart.runs/1"


@dataclass(frozen=True)
class State:
    """What a file of ours holds. `numbers` ``[t]`` says which runs of the estimator these are."""

    fingerprint: str
    numbers: np.ndarray
    runs: Runs
    votes: np.ndarray


def write_state(path: Path, fingerprint: str, numbers: np.ndarray, runs: Runs) -> Path:
    """Write runs as packed bits."""
    held = {k: getattr(runs, k) for k in ("y", "y_test", "votes", "classes")}
    arrays: dict[str, Any] = {
        "format": np.array(FORMAT),
        "fingerprint": np.array(fingerprint),
        "about": np.array(json.dumps(runs.about)),
        "runs": np.asarray(numbers, np.int64),
        "sizes": np.array([runs.mask.shape[1], runs.correct_test.shape[1]]),
        **{
            k: np.packbits(getattr(runs, k), axis=1)
            for k in ("mask", "correct_train", "correct_test")
        },
    }
    for name, array in held.items():
        if array is not None and not np.asarray(array).dtype.hasobject:
            arrays[name] = np.asarray(array)
    return write_npz(path, arrays)


def save_runs(runs: Runs, path: str | Path) -> Path:
    """Write runs to an npz file of packed bits, which `load_runs` reads."""
    return write_state(Path(path), "", np.arange(len(runs)), runs)


def read_state(path: str | Path) -> State:
    """Read a file of ours.

    Raises:
        DataError: It cannot be read, or is of another format.
    """
    with read_npz(path) as held:
        if "format" not in held.files or str(held["format"]) != FORMAT:
            raise DataError(f"{path}: no file of runs ({FORMAT})")
        try:
            n, n_test = (int(s) for s in held["sizes"])
            bits = {
                name: np.unpackbits(held[name], axis=1, count=size).astype(bool)
                for name, size in (("mask", n), ("correct_train", n), ("correct_test", n_test))
            }
            votes = held["votes"] if "votes" in held.files else None
            classes = held["classes"] if "classes" in held.files else None
            runs = Runs(
                **bits,
                y=held["y"] if "y" in held.files else None,
                y_test=held["y_test"] if "y_test" in held.files else None,
                votes=votes,
                classes=classes,
                about=json.loads(str(held["about"])),
            )
            empty = np.zeros((n, 0), np.int32)
            return State(
                str(held["fingerprint"]), held["runs"], runs, empty if votes is None else votes
            )
        except KeyError as error:
            raise DataError(f"{path}: the array {error} is missing; the file was edited") from error


_AUX = ("correctness_train", "correctness_removed", "index_train", "index_removed", "subsample_idx")


def load_runs(path: str | Path) -> Runs:
    """Read runs from a file or folder.

    - a file that `MemorizationEstimator.run` or `save_runs` wrote;
    - an npz file with ``mask`` [t, n], ``correct_train`` [t, n] and, if there are test examples,
      ``correct_test`` [t, n_test]; ``y`` and ``y_test`` may be beside them;
    - a folder of the authors' files, one a run (``*/aux_arrays.npz`` or ``*.npz``): ``correctness_S`` and
      ``index_S`` for S in train, removed, test, and ``subsample_idx``; a ``labels.npz`` with ``y`` and
      ``y_test`` may lie beside them.

    Raises:
        DataError: Nothing of these, or arrays that contradict each other; names the file.
    """
    path = Path(path)
    if path.is_dir():
        return _aux_folder(path)
    with read_npz(path) as held:
        names = set(held.files)
        if "format" not in names:
            if not {"mask", "correct_train"} <= names:
                if set(_AUX) <= names:
                    raise DataError(
                        f"{path}: one run of the authors' layout; name the folder of all runs"
                    )
                raise DataError(
                    f"{path}: needs mask and correct_train (and correct_test), it has "
                    f"{', '.join(held.files[:8]) or 'nothing'}"
                )
            mask = held["mask"]
            empty = np.zeros((len(mask), 0), bool)
            try:
                return Runs(
                    mask,
                    held["correct_train"],
                    held["correct_test"] if "correct_test" in names else empty,
                    held["y"] if "y" in names else None,
                    held["y_test"] if "y_test" in names else None,
                    about={"from": path.name},
                )
            except DataError as error:
                raise DataError(f"{path}: {error}") from error
    return read_state(path).runs


def _aux_folder(folder: Path) -> Runs:
    files = sorted(
        (f for f in folder.rglob("*.npz") if f.name != "labels.npz"),
        key=lambda f: [
            (0, int(p), "") if p.isdigit() else (1, 0, p) for p in f.with_suffix("").parts
        ],
    )
    if not files:
        raise DataError(f"{folder}: no npz files in it; expected one aux_arrays.npz a run")
    if len(files) < 2:
        raise DataError(f"{folder}: one run only ({files[0]}); an estimate needs at least two")
    masks: list[np.ndarray] = []
    train: list[np.ndarray] = []
    test: list[np.ndarray] = []
    for file in files:
        mask, right, right_test = _aux_run(file)
        if masks and (len(mask), len(right_test)) != (len(masks[0]), len(test[0])):
            raise DataError(
                f"{file}: {len(mask)} training and {len(right_test)} test examples, {files[0]} has "
                f"{len(masks[0])} and {len(test[0])}; the runs are not of one data set"
            )
        masks.append(mask)
        train.append(right)
        test.append(right_test)
    y = y_test = None
    if (folder / "labels.npz").exists():
        with read_npz(folder / "labels.npz") as held:
            y = held["y"] if "y" in held.files else None
            y_test = held["y_test"] if "y_test" in held.files else None
    about = {"from": folder.name, "layout": "aux arrays"}
    return Runs(np.stack(masks), np.stack(train), np.stack(test), y, y_test, about=about)


def _aux_run(file: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mask, correctness on training and on test examples of one run."""
    with read_npz(file) as held:
        missing = [k for k in _AUX if k not in held.files]
        if missing:
            raise DataError(f"{file}: lacks {', '.join(missing)} of the authors' layout")
        parts = {k: np.asarray(held[k]).reshape(-1) for k in held.files if k in (*_AUX, "correctness_test", "index_test")}  # fmt: skip
    index = np.concatenate([parts["index_train"], parts["index_removed"]]).astype(np.int64)
    right = np.concatenate([parts["correctness_train"], parts["correctness_removed"]])
    n = len(index)
    if len(right) != n:
        raise DataError(f"{file}: {n} indices and {len(right)} entries of correctness")
    if not np.array_equal(np.sort(index), np.arange(n)):
        raise DataError(
            f"{file}: index_train and index_removed together must name 0..{n - 1} once each"
        )
    chosen = parts["subsample_idx"].astype(np.int64)
    if not np.array_equal(np.sort(chosen), np.sort(parts["index_train"])):
        raise DataError(f"{file}: subsample_idx and index_train name different examples")
    mask = np.zeros(n, bool)
    mask[chosen] = True
    out = np.zeros(n, bool)
    out[index] = _bits(right, file)
    if "correctness_test" not in parts:
        return mask, out, np.zeros(0, bool)
    right_test = parts["correctness_test"]
    at = parts.get("index_test", np.arange(len(right_test))).astype(np.int64)
    if not np.array_equal(np.sort(at), np.arange(len(right_test))):
        raise DataError(f"{file}: index_test must name 0..{len(right_test) - 1} once each")
    out_test = np.zeros(len(right_test), bool)
    out_test[at] = _bits(right_test, file)
    return mask, out, out_test


def _bits(array: np.ndarray, file: Path) -> np.ndarray:
    if not np.isin(array, (0, 1)).all():
        raise DataError(f"{file}: correctness is 0 or 1, got {np.unique(array)[:4].tolist()}")
    return array.astype(bool)


def save_aux(runs: Runs, folder: str | Path) -> Path:
    """Write runs in the authors' layout, ``FOLDER/k/aux_arrays.npz``, and ``labels.npz`` beside them."""
    folder = Path(folder)
    if folder.exists() and any(folder.iterdir()):
        raise UsageError(f"{folder} is not empty; name another folder")
    for k in range(len(runs)):
        inside, outside = np.flatnonzero(runs.mask[k]), np.flatnonzero(~runs.mask[k])
        write_npz(
            folder / str(k) / "aux_arrays.npz",
            {
                "correctness_train": runs.correct_train[k, inside],
                "correctness_removed": runs.correct_train[k, outside],
                "correctness_test": runs.correct_test[k],
                "index_train": inside,
                "index_removed": outside,
                "index_test": np.arange(runs.correct_test.shape[1]),
                "subsample_idx": inside,
            },
        )
    labels = {k: v for k, v in (("y", runs.y), ("y_test", runs.y_test)) if v is not None}
    if labels:
        write_npz(folder / "labels.npz", labels)
    return folder
