"""Invented series as ground truth: nobody can have read of the harbours of Velmora."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from byheart.data.series import Series, month_index, month_label

__all__ = ["Invented", "invented"]

_THINGS = (
    "harbour price index", "lamp oil price", "barley price", "ferry toll index", "wool price index",
    "salt price", "timber price index", "bread price index", "copper price", "rent index",
)  # fmt: skip
_HEADS = ("Vel", "Tor", "Bri", "Cas", "Dun", "Esk", "Fal", "Gor", "Hal", "Ior", "Kel", "Lum", "Mor",
          "Nav", "Ost", "Pel", "Quo", "Ryn", "Sol", "Ul")  # fmt: skip
_MIDS = ("a", "e", "i", "o", "u", "ara", "eli", "ino", "oma", "uri")
_TAILS = ("mora", "drin", "vask", "pool", "nith", "quay", "stead", "zor", "leth", "grim")


@dataclass(frozen=True)
class Invented:
    """Series, and which dates (``"NAME|DATE"``) are planted, held back, and after the cutoff."""

    series: tuple[Series, ...]
    cutoff: str
    start: str
    planted: tuple[str, ...]
    held: tuple[str, ...]
    fresh: tuple[str, ...]


def invented(*, seed: int = 0, n: int = 24, months: int = 120) -> Invented:
    """Draw about ``n / 3`` series, three dates of each in every group.

    The cutoff lies in the middle of each series, as a real cutoff does, so that naive forecasters
    meet the same difficulty on both sides. No two dates of one group share a month.
    """
    rng = np.random.default_rng([seed, 20_250_420])
    half = max(months // 2, 2 * n)
    first = month_index(f"{int(rng.integers(2101, 2180))}-{int(rng.integers(1, 13)):02d}")
    count = max(1, -(-n // 3))
    names: list[str] = []
    while len(names) < count:
        place = "".join(str(rng.choice(p)) for p in (_HEADS, _MIDS, _TAILS))
        name = f"{rng.choice(_THINGS)} of {place}"
        if all(place not in other for other in names):
            names.append(name)
    dates = tuple(month_label(first + i) for i in range(2 * half))
    series = tuple(
        Series(name, "index points", "M", dates, _walk(rng, 2 * half), decimals=1) for name in names
    )
    before, after = rng.permutation(half), half + rng.permutation(half)
    groups = [
        tuple(f"{names[i % count]}|{dates[at]}" for i, at in enumerate(group))
        for group in (before[:n], before[n : 2 * n], after[:n])
    ]
    return Invented(series, dates[half - 1], dates[0], *groups)


def _walk(rng: np.random.Generator, length: int) -> tuple[float, ...]:
    """Logarithms around a level with autocorrelation 0.5 and a spread of 20 %; one decimal.

    No drift: a model that has learned a series' level only has no better guess before the cutoff
    than after it.
    """
    level, x, out = rng.uniform(np.log(40), np.log(500)), 0.0, []
    for step in rng.normal(0.0, 0.2 * 0.75**0.5, length):
        x = 0.5 * x + step
        out.append(round(float(np.exp(level + x)), 1))
    return tuple(out)
