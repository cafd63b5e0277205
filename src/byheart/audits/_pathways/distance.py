"""Pathway distance: edit distance between the experts that samples pass through, layer by layer.

Distances are computed by rapidfuzz's bit-parallel algorithm in blocks of pairs, and only sums are
kept: memory grows with the samples and not with their pairs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from byheart.audits._pathways.snapshot import Snapshot, _threshold
from byheart.core.errors import DataError, UsageError, need

__all__ = ["PathwayDistance", "path_lengths", "pathway_distance", "pathways"]

_CELLS = 1 << 16
"""Distances held at a time."""
_TIE = 1e-6
"""Rounding of a cumulative weight in float32: it must exceed the threshold by more."""
_UNITS = ("expert", "char")
_SURROGATES = 0xD800
_BEHIND = 0xE000


@dataclass(frozen=True)
class PathwayDistance:
    """Mean pathway distance of a group of samples.

    Attributes:
        mean: Over pairs of samples.
        se: Its standard error, of the samples as drawn from a population and of the pairs as drawn
            from all; NaN where fewer than three samples are there.
        per_layer: ``L`` means, each over the same pairs, or empty.
        unit: ``"expert"`` or ``"char"``.
        normalize: ``"length"``, or empty.
        threshold: Share of each layer's weight that a path covers.
        pairs: How many pairs were compared.
        samples: How many samples they are of.
        length: Mean length of a path, in the unit: it alone moves a raw distance.
        entropy: Mean routing entropy, in nats.
    """

    mean: float
    se: float
    per_layer: tuple[float, ...]
    unit: str
    normalize: str
    threshold: float
    pairs: int
    samples: int
    length: float
    entropy: float

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        record = asdict(self)
        record["per_layer"] = list(self.per_layer)
        record["se"] = None if np.isnan(self.se) else self.se
        return record


def path_lengths(g: np.ndarray, threshold: float = 0.7) -> np.ndarray:
    """``[..., L]`` how many experts it takes until their weights exceed the threshold.

    >>> path_lengths(np.full((1, 1, 8), 1 / 8))
    array([[6]])
    """
    return _ranked(np.asarray(g), threshold)[1]


def _ranked(g: np.ndarray, threshold: float, top: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """``[N, L, K]`` experts by falling weight (ties by number), and the length of each prefix."""
    _threshold(threshold)
    order = np.argsort(-g, axis=-1, kind="stable")
    if top:
        return order, np.full(g.shape[:-1], top)
    total = np.cumsum(np.take_along_axis(g, order, -1), axis=-1, dtype=float)
    counts = np.sum(total <= threshold + _TIE, axis=-1) + 1
    return order, np.minimum(counts, g.shape[-1])


def pathways(snap: Snapshot, *, threshold: float | None = None) -> list[str]:
    """Every sample's pathway as the paper writes it (§4.1): experts by falling weight, the shortest
    list whose weights exceed the threshold, commas within a layer and hyphens between layers.

    Args:
        snap: A snapshot.
        threshold: None is the snapshot's own.

    >>> g = np.array([[[0.1, 0.6, 0.3], [0.8, 0.1, 0.1]]])
    >>> pathways(Snapshot(g, (np.eye(3), np.eye(3)), np.zeros(1)))
    ['1,2-0']
    """
    threshold = snap.threshold if threshold is None else threshold
    order, counts = _ranked(snap.g, threshold, snap.top)
    return [
        "-".join(",".join(map(str, row[:c].tolist())) for row, c in zip(layers, cut, strict=True))
        for layers, cut in zip(order, counts, strict=True)
    ]


def _codes(layers: int, experts: int) -> np.ndarray:
    """``[L, K]`` one character an expert, another in every layer.

    Experts of different layers are never the same: then renumbering the experts of any layer
    changes nothing.
    """
    if layers * experts > 0x110000 - (_BEHIND - _SURROGATES):
        raise DataError(f"{layers} layers of {experts} experts exceed the characters there are")
    code = np.arange(experts)[None] + experts * np.arange(layers)[:, None]
    return np.where(code >= _SURROGATES, code + (_BEHIND - _SURROGATES), code).astype("<u4")


def _letters(snap: Snapshot, threshold: float) -> list[list[str]]:
    """``[L][N]`` paths of every layer, written with `_codes`."""
    order, counts = _ranked(snap.g, threshold, snap.top)
    code = _codes(*snap.g.shape[1:])
    out = []
    for layer in range(snap.g.shape[1]):
        coded, width = code[layer][order[:, layer]], counts[:, layer]
        out.append([coded[i, : width[i]].tobytes().decode("utf-32-le") for i in range(snap.n)])
    return out


def spelled(paths: Sequence[Sequence[Sequence[int]]], experts: int) -> list[str]:
    """Paths ``[N][L][...]`` of expert numbers, with one character an expert."""
    code = _codes(len(paths[0]), experts)
    return [
        "".join(
            code[layer][list(part)].tobytes().decode("utf-32-le") for layer, part in enumerate(p)
        )
        for p in paths
    ]


def compared(
    first: Sequence[str], second: Sequence[str] | None = None, *, by_length: bool = True
) -> tuple[float, float]:
    """Mean distance over all pairs of spelled paths, and its standard error."""
    sums = _sums(first, second, None, by_length, 1)
    return sums.mean, sums.se()


def _written(snap: Snapshot, threshold: float, unit: str) -> tuple[list[str], list[list[str]]]:
    """Paths to be compared: whole ones, and those of each layer."""
    if unit == "char":
        whole = pathways(snap, threshold=threshold)
        split = [path.split("-") for path in whole]
        return whole, [list(layer) for layer in zip(*split, strict=True)]
    layers = _letters(snap, threshold)
    return ["".join(parts) for parts in zip(*layers, strict=True)], layers


def pathway_distance(
    snap: Snapshot,
    *,
    other: Snapshot | None = None,
    unit: str = "expert",
    normalize: str | None = None,
    threshold: float | None = None,
    pairs: int | None = None,
    per_layer: bool = False,
    seed: int = 0,
    workers: int = 1,
) -> PathwayDistance:
    """Mean edit distance between the pathways of a group's samples (paper, §4.1).

    ``D(i, j) = Levenshtein(path i, path j)``, unit costs, over pairs of samples. The paper does not
    say whether a path's unit is a character of the written string or an expert, and its figures fit
    neither alone; trends are what can be compared, not values.

    Args:
        snap: Routing of the samples; `Snapshot.take` gives a group.
        other: A second group: all pairs of one sample of each, instead of pairs within `snap`.
        unit: ``"expert"`` counts experts, those of different layers as different (renumbering a
            layer's experts changes nothing). ``"char"`` is the written string, in which 3 is nearer
            to 13 than to 7.
        normalize: ``"length"`` divides each distance by the longer of its two paths: between 0 and
            1. None leaves it raw, and then longer paths alone raise it.
        threshold: None is the snapshot's.
        pairs: At most so many pairs, drawn without repetition; None takes all.
        per_layer: Also give the mean distance in each layer.
        seed: Of drawing pairs.
        workers: Threads; -1 is as many as there are cores.

    Raises:
        DataError: Fewer than two samples, or groups of different layers.
        UsageError: An unknown unit or normalisation, or no pairs.
        MissingExtra: rapidfuzz is not installed.

    >>> g = np.array([[[1.0, 0, 0]], [[1.0, 0, 0]], [[0, 1.0, 0]]])
    >>> snap = Snapshot(g, (np.eye(3),), np.zeros(3))
    >>> round(pathway_distance(snap, normalize="length").mean, 4)
    0.6667
    """
    if unit not in _UNITS:
        raise UsageError(f"unit is expert or char, got {unit!r}")
    if normalize not in (None, "", "length"):
        raise UsageError(f"normalize is 'length' or None, got {normalize!r}")
    if pairs is not None and pairs < 1:
        raise UsageError(f"pairs must be at least 1, got {pairs}")
    threshold = snap.threshold if threshold is None else threshold
    if other is None and snap.n < 2:
        raise DataError("a distance needs two samples, and the group has one")
    if other is not None and other.g.shape[1:] != snap.g.shape[1:]:
        raise DataError(
            f"the groups are of models of {snap.g.shape[1:]} and {other.g.shape[1:]} layers and "
            "experts; they cannot be compared"
        )
    whole, layers = _written(snap, threshold, unit)
    whole2, layers2 = (None, None) if other is None else _written(other, threshold, unit)
    total = snap.n * (snap.n - 1) // 2 if other is None else snap.n * other.n
    chosen = None if pairs is None or pairs >= total else _draw(total, pairs, seed)
    scale = normalize == "length"
    sums = _sums(whole, whole2, chosen, scale, workers)
    each: tuple[float, ...] = ()
    if per_layer:
        second: Sequence[list[str] | None] = layers2 or [None] * len(layers)
        each = tuple(
            _sums(a, b, chosen, scale, workers).mean for a, b in zip(layers, second, strict=True)
        )
    lengths = [len(p) for p in whole] + [len(p) for p in whole2 or ()]
    entropy = np.concatenate([s.entropy for s in (snap, other) if s is not None])
    return PathwayDistance(
        sums.mean, sums.se(), each, unit, normalize or "", threshold, sums.pairs,
        snap.n + (0 if other is None else other.n), float(np.mean(lengths)), float(entropy.mean()),
    )  # fmt: skip


def _draw(total: int, pairs: int, seed: int) -> np.ndarray:
    """`pairs` different numbers below `total`, sorted, without holding all of them."""
    rng = np.random.default_rng([seed, 4])
    if pairs * 3 > total:
        return np.sort(rng.permutation(total)[:pairs])
    drawn = np.unique(rng.integers(0, total, pairs + pairs // 2 + 16))
    while len(drawn) < pairs:
        drawn = np.unique(np.concatenate([drawn, rng.integers(0, total, pairs)]))
    return np.sort(rng.permutation(drawn)[:pairs])


def _unrank(ranks: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """The pairs i < j of n samples with these numbers, counted row by row."""
    starts = np.concatenate([[0], np.cumsum(np.arange(n - 1, 0, -1))])
    i = np.searchsorted(starts, ranks, "right") - 1
    return i, ranks - starts[i] + i + 1


@dataclass
class _Sums:
    """Sums over pairs: in all, squared, and by sample."""

    n: int
    m: int
    pairs: int = 0
    total: float = 0.0
    square: float = 0.0

    def __post_init__(self) -> None:
        size = self.n + self.m
        self.by, self.count = np.zeros(size), np.zeros(size)

    def add(self, i: np.ndarray, j: np.ndarray, d: np.ndarray) -> None:
        self.pairs += len(d)
        self.total += float(d.sum())
        self.square += float((d * d).sum())
        for index in (i, j + self.n if self.m else j):
            self.by += np.bincount(index, d, len(self.by))
            self.count += np.bincount(index, minlength=len(self.by))

    @property
    def mean(self) -> float:
        return self.total / self.pairs

    def se(self) -> float:
        """Of the mean as a U-statistic over drawn pairs.

        Var = c * zeta / n + sigma^2 / pairs, with zeta the variance of a sample's own mean distance
        (c = 4 within a group; 1 for each of two groups), estimated from the samples' means less
        what their finite number of pairs adds.
        """
        if self.pairs < 3 or min(self.n, self.m or self.n) < 3:
            return float("nan")
        spread = max(0.0, self.square / self.pairs - self.mean**2) * self.pairs / (self.pairs - 1)
        out = spread / self.pairs
        for part, size, weight in (
            (slice(0, self.n), self.n, 1.0 if self.m else 4.0),
            (slice(self.n, None), self.m, 1.0),
        ):
            count = self.count[part]
            if not size or not (count > 0).any():
                continue
            own = self.by[part][count > 0] / count[count > 0]
            share = 1.0 / count[count > 0]
            if len(own) < 2:
                continue
            between = own.var(ddof=1)
            # var(own) = zeta + (spread - zeta) * mean(1 / count)
            noise = float(share.mean())
            zeta = (between - spread * noise) / max(1 - noise, 1e-9)
            out += weight * max(0.0, zeta) / size
        return float(np.sqrt(out))


def _sums(
    first: Sequence[str],
    second: Sequence[str] | None,
    chosen: np.ndarray | None,
    scale: bool,
    workers: int,
) -> _Sums:
    out = _Sums(len(first), 0 if second is None else len(second))
    against = first if second is None else second
    long1 = np.array([len(p) for p in first])
    long2 = np.array([len(p) for p in against])
    blocks = (
        _all_pairs(first, against, second is None, workers)
        if chosen is None
        else _some_pairs(first, against, second is None, chosen, workers)
    )
    for i, j, d in blocks:
        d = d.astype(float)
        out.add(i, j, d / np.maximum(long1[i], long2[j]) if scale else d)
    return out


def _all_pairs(
    first: Sequence[str], second: Sequence[str], same: bool, workers: int
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    process = need("rapidfuzz.process", "audit")
    distance = need("rapidfuzz.distance", "audit").Levenshtein.distance
    step = max(1, _CELLS // max(1, len(second)))
    if same:  # in narrow blocks nearly nothing below the diagonal is computed
        step = min(step, len(first) // 32 + 1)
    for begin in range(0, len(first), step):
        rows = first[begin : begin + step]
        at = begin + 1 if same else 0
        if at >= len(second):
            return
        table = process.cdist(rows, second[at:], scorer=distance, dtype=np.int32, workers=workers)
        i, j = np.indices(table.shape)
        i, j = i.ravel() + begin, j.ravel() + at
        d = table.ravel()
        if same:
            keep = j > i
            i, j, d = i[keep], j[keep], d[keep]
        yield i, j, d


def _some_pairs(
    first: Sequence[str], second: Sequence[str], same: bool, chosen: np.ndarray, workers: int
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    process = need("rapidfuzz.process", "audit")
    distance = need("rapidfuzz.distance", "audit").Levenshtein.distance
    for begin in range(0, len(chosen), _CELLS):
        ranks = chosen[begin : begin + _CELLS]
        i, j = _unrank(ranks, len(first)) if same else np.divmod(ranks, len(second))
        d = process.cpdist(
            [first[a] for a in i], [second[b] for b in j],
            scorer=distance, dtype=np.int32, workers=workers,
        )  # fmt: skip
        yield i, j, d
