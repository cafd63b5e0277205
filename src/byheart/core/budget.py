"""Budgets: one way to count what exemplars, models, caches and notes cost."""

from __future__ import annotations

import math
import re
import threading
import time
from dataclasses import dataclass
from types import TracebackType

from byheart.core.errors import BudgetExceeded, UsageError

__all__ = ["Amount", "Budget"]

_BYTES = {
    "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12,
    "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40,
}  # fmt: skip
_SECONDS = {"ms": 0.001, "s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}
_SCALE = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9}
_AMOUNT = re.compile(
    r"(?P<number>\d+(?:[._]\d+)*(?:[eE][+-]?\d+)?)\s*(?P<unit>[A-Za-z]+(?:\s*tok(?:ens?)?)?)"
)
_EXAMPLE = "write for example '2GB', '512MiB', '8m' (minutes), '1e6 tokens', or several with commas"


@dataclass(frozen=True, slots=True)
class Amount:
    """So many bytes, tokens and seconds; None means without limit."""

    bytes: int | None = None
    tokens: int | None = None
    seconds: float | None = None


class Budget:
    """A limit on bytes, tokens and seconds, and what has been spent of it. Safe between threads.

    As a context manager it counts wall-clock seconds: inside the block `remaining` runs down, at
    its end the time is spent. Leaving late does not raise (the time is gone, and the result would
    be lost with it): ask `exceeded`, or call `check` where to stop.

    Args:
        bytes: Limit; None is without limit.
        tokens: Limit, likewise.
        seconds: Limit, likewise.

    Raises:
        UsageError: If a limit is negative or not a finite number.

    >>> budget = Budget.parse("2kB, 100 tokens")
    >>> budget.spend(bytes=1500)
    >>> budget.remaining
    Amount(bytes=500, tokens=100, seconds=None)
    >>> budget.fits(bytes=600)
    False
    """

    def __init__(
        self,
        bytes: int | None = None,
        tokens: int | None = None,
        seconds: float | None = None,
    ) -> None:
        self.limit = Amount(
            _whole("bytes", bytes), _whole("tokens", tokens), _real("seconds", seconds)
        )
        self._bytes = 0
        self._tokens = 0
        self._seconds = 0.0
        self._running: dict[int, list[float]] = {}
        self._lock = threading.RLock()

    @classmethod
    def parse(cls, text: str) -> Budget:
        """A budget from words: ``"2GB"``, ``"512MiB"``, ``"8m"``, ``"1e6 tokens"``, ``"1GB, 30s"``.

        kB, MB, GB are powers of 1000, KiB, MiB, GiB of 1024; ms, s, m (or min), h, d are time;
        tokens may be counted in ``k``, ``M``, ``G``.

        Raises:
            UsageError: What could not be read, and examples.
        """
        limits: dict[str, int | float] = {}
        for part in text.split(","):
            kind, amount = _parse_part(part.strip(), text)
            if kind in limits:
                raise UsageError(f"{text!r} gives {kind} twice; {_EXAMPLE}")
            limits[kind] = amount
        return cls(**limits)  # type: ignore[arg-type]

    @property
    def spent(self) -> Amount:
        """What has been spent so far, running context managers included."""
        with self._lock:
            return Amount(self._bytes, self._tokens, self._seconds + self._elapsed())

    @property
    def remaining(self) -> Amount:
        """What is left, never below zero; None where there is no limit."""
        spent, limit = self.spent, self.limit
        return Amount(
            None if limit.bytes is None else max(0, limit.bytes - (spent.bytes or 0)),
            None if limit.tokens is None else max(0, limit.tokens - (spent.tokens or 0)),
            None if limit.seconds is None else max(0.0, limit.seconds - (spent.seconds or 0.0)),
        )

    @property
    def exceeded(self) -> bool:
        """Whether more has been spent than there was (only time can be)."""
        limit = self.limit.seconds
        return limit is not None and (self.spent.seconds or 0.0) > limit

    def fits(self, bytes: int = 0, tokens: int = 0, seconds: float = 0.0) -> bool:
        """Whether `spend` with these would succeed."""
        return not self._lacking(*_costs(bytes, tokens, seconds))

    def spend(self, bytes: int = 0, tokens: int = 0, seconds: float = 0.0) -> None:
        """Take from the budget: all of it, or nothing.

        Raises:
            BudgetExceeded: Names what is short, asked and left; nothing is spent then.
            UsageError: If a cost is negative or not finite.
        """
        costs = _costs(bytes, tokens, seconds)
        with self._lock:
            lacking = self._lacking(*costs)
            if lacking:
                raise BudgetExceeded(f"{'; '.join(lacking)}; raise the limit or ask for less")
            self._bytes += costs[0]
            self._tokens += costs[1]
            self._seconds += costs[2]

    def check(self) -> None:
        """Stop here if the time is used up.

        Raises:
            BudgetExceeded: If it is.
        """
        if self.exceeded:
            raise BudgetExceeded(
                f"time is used up: {self.spent.seconds:.3g} of {self.limit.seconds:.3g} seconds; "
                "raise the limit or ask for less"
            )

    def __enter__(self) -> Budget:
        with self._lock:
            self._running.setdefault(threading.get_ident(), []).append(time.monotonic())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._lock:
            mine = self._running[threading.get_ident()]
            begun = mine.pop()
            if not mine:  # nested blocks of one thread are the same time, counted once
                del self._running[threading.get_ident()]
                self._seconds += time.monotonic() - begun

    def __repr__(self) -> str:
        spent, limit = self.spent, self.limit
        parts = [
            f"{name} {getattr(spent, name):.6g} of {getattr(limit, name):.6g}"
            for name in ("bytes", "tokens", "seconds")
            if getattr(limit, name) is not None
        ]
        return f"<Budget {', '.join(parts) or 'without limit'}>"

    def _elapsed(self) -> float:
        now = time.monotonic()
        return sum(now - starts[0] for starts in self._running.values())

    def _lacking(self, bytes: int, tokens: int, seconds: float) -> list[str]:
        with self._lock:
            left = self.remaining
        return [
            f"{cost:g} {name} asked for, {have:g} left"
            for name, cost, have in (
                ("bytes", bytes, left.bytes),
                ("tokens", tokens, left.tokens),
                ("seconds", seconds, left.seconds),
            )
            if have is not None and cost > have
        ]


def _costs(bytes: int, tokens: int, seconds: float) -> tuple[int, int, float]:
    return (
        _whole("bytes", bytes) or 0,
        _whole("tokens", tokens) or 0,
        _real("seconds", seconds) or 0.0,
    )


def _whole(name: str, value: int | float | None) -> int | None:
    """A count; fractions are rounded up, so that nothing is got for free."""
    number = _real(name, value)
    if number is None:
        return None
    return value if isinstance(value, int) else math.ceil(number)


def _real(name: str, value: float | None) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not math.isfinite(value) or value < 0:
        raise UsageError(f"{name} must be a finite number, at least 0, got {value!r}")
    return float(value)


def _parse_part(part: str, text: str) -> tuple[str, int | float]:
    found = _AMOUNT.fullmatch(part)
    if found is None:
        raise UsageError(f"cannot read the amount {part!r} in {text!r}; {_EXAMPLE}")
    number, unit = float(found["number"].replace("_", "")), found["unit"].strip()
    tokens = re.fullmatch(r"([kMG]?)\s*tok(?:ens?)?", unit)
    if tokens:
        return "tokens", math.ceil(number * _SCALE[tokens[1]])
    if unit.lower() in _BYTES:
        return "bytes", math.ceil(number * _BYTES[unit.lower()])
    if unit in _SECONDS:
        return "seconds", number * _SECONDS[unit]
    raise UsageError(f"unknown unit {unit!r} in {text!r}; {_EXAMPLE}")
