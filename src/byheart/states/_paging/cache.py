"""A cache that a program uses: keys, values, a bound in bytes, and any policy that says what goes."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from byheart.core.errors import UnknownName, UsageError
from byheart.states._paging.policies import POLICIES, Policy

__all__ = ["CacheStats", "PagedCache"]

V = TypeVar("V")
MANY = 2**31
"""Room of a policy in pages where bytes are the bound."""


@dataclass
class CacheStats:
    """What a cache did so far.

    Args:
        hits: Keys that were there.
        misses: Keys that were not.
        evictions: Values that had to leave.
        bytes: What is held now.
    """

    hits: int = 0
    misses: int = 0
    evictions: int = 0
    bytes: int = 0


class PagedCache(Generic[V]):
    """Values under keys, at most so many bytes; a policy of `byheart.states.paging` says what goes.

    Safe to use from several threads. The policy counts values, not bytes: it is asked for a victim
    until there is room.

    Args:
        capacity: Bytes.
        policy: A name of `POLICIES` or a policy of yours that is still empty and can `evict`.
        size: Bytes of a value; the length of what has one in bytes (`nbytes`, or bytes), else
            `sys.getsizeof`.
        hint: Asked with each key for what the policy wants to know: a bit, or a time.
        seed: Of the coins of a policy by name.
        evicted: Told each key and value that left, after it did.

    >>> cache = PagedCache(10, "lru")
    >>> cache.put("a", b"12345"), cache.put("b", b"12345")
    (True, True)
    >>> cache.get("a"), cache.put("c", b"123"), "b" in cache
    (b'12345', True, False)
    """

    def __init__(
        self,
        capacity: int,
        policy: str | Policy = "lru",
        *,
        size: Callable[[V], int] | None = None,
        hint: Callable[[Hashable], Any] | None = None,
        seed: int = 0,
        evicted: Callable[[Hashable, V], None] | None = None,
    ) -> None:
        if isinstance(capacity, bool) or not isinstance(capacity, int) or capacity < 1:
            raise UsageError(f"capacity is a number of bytes above 0, got {capacity!r}")
        if isinstance(policy, str):
            if policy not in POLICIES:
                raise UnknownName("policy", policy, POLICIES)
            policy = POLICIES[policy](MANY, seed)
        if len(policy):
            raise UsageError("give a policy that holds nothing yet")
        policy.evict()  # of nothing: raises where the policy cannot
        if policy.hint and hint is None:
            raise UsageError(
                f"{policy.title} wants to know more of a key (its {policy.hint} "
                f"{'time' if policy.hint == 'next' else 'bit'}): give hint="
            )
        self.capacity, self.policy = capacity, policy
        self._size, self._hint, self._evicted = size or _bytes, hint, evicted
        self._values: dict[Hashable, tuple[V, int]] = {}
        self._lock = threading.RLock()
        self.stats = CacheStats()

    def get(self, key: Hashable, default: Any = None) -> Any:
        """The value, or `default`."""
        with self._lock:
            found = self._values.get(key)
            if found is None:
                self.stats.misses += 1
                return default
            self.stats.hits += 1
            gone = self._touch(key)
        self._tell(gone)
        return found[0]

    def put(self, key: Hashable, value: V) -> bool:
        """Keep a value; False if it alone is larger than the cache, which then keeps what it has.

        Raises:
            UsageError: Its size is no whole number of at least 0.
        """
        n = self._size(value)
        if isinstance(n, bool) or not isinstance(n, int) or n < 0:
            raise UsageError(f"the size of a value is a whole number of bytes, got {n!r}")
        with self._lock:
            if n > self.capacity:
                return False
            gone = []
            if key in self._values:
                self._remove(key)
            while self.stats.bytes + n > self.capacity:
                gone += [(k, self._forget(k)) for k in self.policy.evict()]
            self._values[key] = value, n
            self.stats.bytes += n
            gone += self._touch(key)
        self._tell(gone)
        return True

    def drop(self, key: Hashable) -> bool:
        """Take a value out; whether it was there."""
        with self._lock:
            if key not in self._values:
                return False
            self._remove(key)
            return True

    def _touch(self, key: Hashable) -> list[tuple[Hashable, V]]:
        done = self.policy.access(key, None if self._hint is None else self._hint(key))
        return [(k, self._forget(k)) for k in done.evicted]

    def _remove(self, key: Hashable) -> None:
        self.policy.drop(key)
        self.stats.bytes -= self._values.pop(key)[1]

    def _forget(self, key: Hashable) -> V:
        value, n = self._values.pop(key)
        self.stats.bytes -= n
        self.stats.evictions += 1
        return value

    def _tell(self, gone: list[tuple[Hashable, V]]) -> None:
        for key, value in gone if self._evicted is not None else ():
            self._evicted(key, value)  # type: ignore[misc]

    def __contains__(self, key: object) -> bool:
        with self._lock:
            return key in self._values

    def __len__(self) -> int:
        return len(self._values)

    def __iter__(self) -> Iterator[Hashable]:
        with self._lock:
            return iter(list(self._values))


def _bytes(value: Any) -> int:
    nbytes = getattr(value, "nbytes", None)
    if isinstance(nbytes, int):
        return nbytes
    return len(value) if isinstance(value, bytes | bytearray) else sys.getsizeof(value)
