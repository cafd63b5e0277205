"""A policy as a plugin cache of libCacheSim."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Hashable
from typing import Any

from byheart.core.errors import MissingExtra, UnknownName, UsageError
from byheart.states._paging.policies import POLICIES, Policy

__all__ = ["libcachesim_plugin"]


class _State:
    """The policy, and victims that it named and libCacheSim has not taken yet."""

    def __init__(self, policy: Policy, hint: Callable[[Hashable], Any] | None) -> None:
        self.policy, self.hint = policy, hint
        self.waiting: dict[Hashable, None] = {}
        self.served: Hashable | None = None

    def touch(self, page: Hashable) -> None:
        self.waiting.pop(page, None)
        done = self.policy.access(page, None if self.hint is None else self.hint(page))
        self.waiting.update(dict.fromkeys(done.evicted))

    def hit(self, request: Any) -> None:
        self.touch(request.obj_id)

    def miss(self, request: Any) -> None:
        if self.served == request.obj_id:  # it had to make room, and was told to the policy then
            self.served = None
            return
        self.touch(request.obj_id)

    def evict(self, request: Any) -> Any:
        if not self.waiting:
            self.touch(request.obj_id)
            self.served = request.obj_id
        if not self.waiting:
            raise UsageError(
                f"{self.policy.title} names no victim for {request.obj_id}; its k must be the cache's size"
            )
        victim = next(iter(self.waiting))
        del self.waiting[victim]
        return victim

    def remove(self, page: Hashable) -> None:
        if page in self.waiting:
            del self.waiting[page]
        elif page in self.policy:
            self.policy.drop(page)


def libcachesim_plugin(
    policy: str | Policy,
    k: int,
    *,
    hint: Callable[[Hashable], Any] | None = None,
    seed: int = 0,
) -> Any:
    """A policy of byheart as `libcachesim.PluginCache`, to stand beside libCacheSim's own.

    Objects have size 1. A policy that evicts one page a miss has the same misses as in `simulate`;
    one that evicts several at once (FlushWhenAll0s, eager Mark0) leaves them in libCacheSim's table
    until room is needed, and may hit them there.

    Args:
        policy: A name of `POLICIES`, or a policy of `k` pages that holds nothing yet.
        k: Pages of the cache.
        hint: Asked with each page for what the policy wants to know.
        seed: Of the coins of a policy by name.

    Returns:
        The cache; `process_trace(reader)` plays a trace.

    Raises:
        MissingExtra: If libcachesim is not installed.
        UsageError: If `k` is not positive, or the policy needs a hint and there is none.
    """
    if importlib.util.find_spec("libcachesim") is None:
        raise MissingExtra("libcachesim is not installed; type: pip install libcachesim")
    import libcachesim

    if isinstance(k, bool) or not isinstance(k, int) or k < 1:
        raise UsageError(f"k must be a whole number of 1 or more, got {k!r}")
    if isinstance(policy, str):
        if policy not in POLICIES:
            raise UnknownName("policy", policy, POLICIES)
        policy = POLICIES[policy](k, seed)
    if policy.hint and hint is None:
        raise UsageError(
            f"{policy.title} wants to know more of a page (its {policy.hint}): give hint="
        )
    state = _State(policy, hint)
    return libcachesim.PluginCache(
        cache_size=k,
        cache_init_hook=lambda params: state,
        cache_hit_hook=lambda data, request: data.hit(request),
        cache_miss_hook=lambda data, request: data.miss(request),
        cache_eviction_hook=lambda data, request: data.evict(request),
        cache_remove_hook=lambda data, page: data.remove(page),
        cache_free_hook=lambda data: None,
        cache_name=f"byheart-{policy.title}",
    )
