"""Pairs of a memorised training example and a test example that depends on it."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from byheart.core.errors import DataError, UsageError

if TYPE_CHECKING:
    from byheart.audits._longtail.runs import Runs

__all__ = ["Pairs", "high_influence_pairs", "pairs_of_runs", "read_pairs"]


@dataclass(frozen=True)
class Pairs:
    """High-influence pairs, strongest first; each array is ``[pairs]``.

    Attributes:
        train: Index of the training example.
        test: Index of the test example.
        infl: Influence of the first on the second.
        mem: Memorisation of the first.
    """

    train: np.ndarray
    test: np.ndarray
    infl: np.ndarray
    mem: np.ndarray

    def __len__(self) -> int:
        return len(self.train)

    def __iter__(self) -> Iterator[tuple[int, int, float, float]]:
        for i, j, a, b in zip(self.train, self.test, self.infl, self.mem, strict=True):
            yield int(i), int(j), float(a), float(b)

    @property
    def tests(self) -> int:
        """Distinct test examples."""
        return len(np.unique(self.test))

    @property
    def single(self) -> int:
        """Test examples with exactly one influential training example."""
        return int((np.unique(self.test, return_counts=True)[1] == 1).sum())

    def save(self, path: str | Path) -> Path:
        """Write the arrays of the published files: ``tr_idx, tt_idx, infl, mem``."""
        from byheart.audits._longtail.files import write_npz

        return write_npz(
            Path(path),
            {"tr_idx": self.train, "tt_idx": self.test, "infl": self.infl, "mem": self.mem},
        )


def _of(train: Any, test: Any, infl: Any, mem: Any) -> Pairs:
    infl = np.asarray(infl)
    order = np.argsort(-infl, kind="stable")
    parts = [np.asarray(a)[order] for a in (train, test, infl, mem)]
    return Pairs(*parts)


def _thresholds(mem: float, infl: float) -> None:
    if not (-1 <= mem <= 1 and -1 <= infl <= 1):
        raise UsageError(f"thresholds lie in [-1, 1], got mem {mem}, infl {infl}")


def high_influence_pairs(
    memorisation: Any,
    influence: Any,
    y: Any = None,
    y_test: Any = None,
    *,
    mem: float = 0.25,
    infl: float = 0.15,
) -> Pairs:
    """Training and test examples of one class with much memorisation and influence.

    Args:
        memorisation: ``[n]``.
        influence: ``[n, n_test]``, training examples first.
        y: ``[n]`` labels; without labels pairs need not be of the same class.
        y_test: ``[n_test]`` labels.
        mem: Least memorisation of the training example (paper, section 4: .25).
        infl: Least influence (paper: .15).

    Raises:
        UsageError: Shapes that do not fit, only one of the two labels.

    >>> found = high_influence_pairs([.9, .1], [[.5, 0], [.4, .2]], y=[0, 1], y_test=[0, 1])
    >>> list(found)
    [(0, 0, 0.5, 0.9)]
    """
    _thresholds(mem, infl)
    m, matrix = np.asarray(memorisation, float), np.asarray(influence, float)
    if m.ndim != 1 or matrix.ndim != 2 or len(matrix) != len(m):
        turned = matrix.ndim == 2 and matrix.shape[1] == len(m)
        raise UsageError(
            f"influence is [train, test] = [{len(m)}, tests], got {matrix.shape}"
            + ("; transpose it" if turned else "")
        )
    if (y is None) != (y_test is None):
        raise UsageError("give the labels of both sets, or of none")
    high = (matrix >= infl) & (m >= mem)[:, None]  # comparisons with NaN are False
    if y is not None:
        a, b = np.asarray(y), np.asarray(y_test)
        if a.shape != m.shape or b.shape != matrix.shape[1:]:
            raise UsageError(
                f"labels are {m.shape} and {matrix.shape[1:]}, got {a.shape}, {b.shape}"
            )
        high &= a[:, None] == b
    i, j = np.nonzero(high)
    return _of(i, j, matrix[i, j], m[i])


def pairs_of_runs(runs: Runs, *, mem: float = 0.25, infl: float = 0.15, block: int = 512) -> Pairs:
    """`high_influence_pairs` of runs, `block` test examples at a time, so memory stays small."""
    _thresholds(mem, infl)
    m = runs.mem
    parts = []
    for begin in range(0, runs.correct_test.shape[1], block):
        at = slice(begin, begin + block)
        labels = (
            (None, None) if runs.y is None or runs.y_test is None else (runs.y, runs.y_test[at])
        )
        found = high_influence_pairs(m, runs.influence(at), *labels, mem=mem, infl=infl)
        parts.append((found.train, found.test + begin, found.infl, found.mem))
    if not parts:
        none = np.zeros(0, int)
        return Pairs(none, none, np.zeros(0), np.zeros(0))
    return _of(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def read_pairs(path: str | Path, *, mem: float = 0.25, infl: float = 0.15) -> Pairs:
    """Read published scores: a file of pairs, or class-wise influence matrices with ``tr_mem``.

    Both layouts are those of the authors' page: ``tr_idx, tt_idx, infl, mem``; or
    ``infl_matrix_class{K}`` ``[train, test]`` with ``tr_classidx_{K}``, ``tt_classidx_{K}``, ``tr_mem``.

    Args:
        path: The .npz file. Nothing pickled in it is read.
        mem: Least memorisation.
        infl: Least influence.

    Raises:
        DataError: No such file, or arrays of neither layout.
    """
    from byheart.audits._longtail.files import read_npz

    _thresholds(mem, infl)
    with read_npz(path) as held:
        try:
            if {"tr_idx", "tt_idx", "infl", "mem"} <= set(held.files):
                parts = [held[k] for k in ("tr_idx", "tt_idx", "infl", "mem")]
                if len({a.shape for a in parts}) != 1 or parts[0].ndim != 1:
                    raise DataError(
                        f"{path}: its arrays differ in length: {[a.shape for a in parts]}"
                    )
                keep = (parts[2] >= infl) & (parts[3] >= mem)
                return _of(*(a[keep] for a in parts))
            names = [k for k in held.files if k.startswith("infl_matrix_class")]
            if not names or "tr_mem" not in held.files:
                raise DataError(
                    f"{path}: holds neither tr_idx, tt_idx, infl, mem nor infl_matrix_class0, ... with "
                    f"tr_mem; it has {', '.join(held.files[:8]) or 'nothing'}"
                )
            every, rows = held["tr_mem"], []
            for name in names:
                k = name.removeprefix("infl_matrix_class")
                tr, tt = held[f"tr_classidx_{k}"], held[f"tt_classidx_{k}"]
                found = high_influence_pairs(every[tr], held[name], mem=mem, infl=infl)
                rows.append((tr[found.train], tt[found.test], found.infl, found.mem))
            return _of(*(np.concatenate(column) for column in zip(*rows, strict=True)))
        except (KeyError, ValueError, IndexError, zipfile.BadZipFile) as error:
            if isinstance(error, DataError):
                raise
            raise DataError(f"{path}: cannot be read as influence scores: {error}") from error
