"""Policies made of policies: robust combinations, and Trust&Doubt.

Each is played lazily: it looks at the simulated cache of the policy that it follows, and on a fault
evicts, of its own pages that are not in there, the one used longest ago. Antoniadis, Coester,
Elias, Polak, Simon, "Online metric algorithms with untrusted predictions" (arXiv 2003.02144).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Container, Mapping, Sequence
from typing import Any

from byheart.core.errors import UsageError
from byheart.states._paging.policies import Access, BlindOracle, Page, Policy

__all__ = ["Combine", "TrustAndDoubt"]


class _Lazy(Policy):
    """Follows a goal without ever evicting more than it must."""

    def __init__(self, k: int, seed: int = 0) -> None:
        super().__init__(k, seed)
        self._used: OrderedDict[Page, None] = OrderedDict()

    def _serve(self, page: Page, goal: Container[Page]) -> Access:
        hit, out = page in self._used, []
        if hit:
            self._used.move_to_end(page)
        elif len(self._used) == self.k:
            out = [next(p for p in self._used if p not in goal)]
            del self._used[out[0]]
        self._used[page] = None
        return Access(hit, out)

    def __contains__(self, page: object) -> bool:
        return page in self._used

    def __len__(self) -> int:
        return len(self._used)


class Combine(_Lazy):
    """As good as the better of several policies, up to a factor; which may differ by the trace.

    Args:
        policies: Of the same k; two for the randomised form.
        how: ``"randomized"`` follows by multiplicative weights: a policy that would have faulted
            loses half of `eps` of its weight. ``"deterministic"`` follows one until its faults pass
            a bound, then the next with a bound ``1 + gamma / (m - 1)`` times as high.
        eps: Of the randomised form, 0 to 1.
        gamma: Of the deterministic form, above 0.
        seed: Of its own coins.

    A request's hint is what the policies take; where they take different ones, a mapping with keys
    "discard", "phase", "next".
    """

    title = "Combine"

    def __init__(
        self, policies: Sequence[Policy], how: str = "randomized", *, eps: float = 0.5,
        gamma: float = 0.01, seed: int = 0,
    ) -> None:  # fmt: skip
        if len(policies) < 2 or len({p.k for p in policies}) != 1:
            raise UsageError("combine at least two policies of the same k")
        if how not in ("randomized", "deterministic"):
            raise UsageError(f'how is "randomized" or "deterministic", got {how!r}')
        if how == "randomized" and len(policies) != 2:
            raise UsageError(f"the randomized form combines two policies, got {len(policies)}")
        if not 0 < eps <= 1 or not gamma > 0:
            raise UsageError(f"eps is above 0 and at most 1, gamma above 0, got {eps}, {gamma}")
        if any(len(p) for p in policies):
            raise UsageError("combine policies whose caches are still empty")
        super().__init__(policies[0].k, seed)
        self.policies, self.how, self.eps, self.gamma = list(policies), how, eps, gamma
        kinds = {p.hint for p in policies} - {""}
        self.hint = kinds.pop() if len(kinds) == 1 else "several" if kinds else ""
        self.costs = [0] * len(policies)
        self._share = [1 / len(policies)] * len(policies)
        self._bound, self.following = 1.0, 0
        if how == "randomized":
            self.following = self.coin.below(2)

    def access(self, page: Page, hint: Any = None) -> Access:
        """Serve a request."""
        missed = []
        for policy in self.policies:
            mine = hint.get(policy.hint) if isinstance(hint, Mapping) else hint
            missed.append(not policy.access(page, mine if policy.hint else None).hit)
        self.costs = [c + m for c, m in zip(self.costs, missed, strict=True)]
        if self.how == "randomized":
            self._draw(missed)
        else:
            while self.costs[self.following] > self._bound:
                self.following = (self.following + 1) % len(self.policies)
                self._bound *= 1 + self.gamma / (len(self.policies) - 1)
        # a policy may have let go of the page at once: it is served all the same
        return self._serve(page, self.policies[self.following])

    def _draw(self, missed: Sequence[bool]) -> None:
        weights = [s * (1 - self.eps / 2) ** m for s, m in zip(self._share, missed, strict=True)]
        share = [w / sum(weights) for w in weights]
        before, now = self._share[self.following], share[self.following]
        if now < before and self.coin.below(2**31) < (before - now) / before * 2**31:
            self.following = 1 - self.following
        self._share = share


class TrustAndDoubt(_Lazy):
    """Trusts a predictor's evictions until they prove wrong, then doubts them ever longer.

    The predictor is the cache of `BlindOracle` on the predicted times. Within a phase each clean
    page q (new to this phase and the last) has a page p(q) evicted on its behalf: while q trusts,
    one that the predictor does not hold either. If p(q) is requested, another takes its place and q
    doubts: for as many arrivals as its interval is long, an unmarked page of random priority is out
    instead. Each return of trust doubles the interval.
    """

    hint = "next"
    title = "Trust&Doubt"

    def __init__(self, k: int, seed: int = 0) -> None:
        super().__init__(k, seed)
        self._predictor = BlindOracle(k)
        self._goal: set[Page] = set()
        self._seen: dict[Page, int] = {}
        self._arrived: dict[Page, int] = {}
        self._clock = 0
        self._begin_phase()

    def _begin_phase(self) -> None:
        old = self._goal - self._arrived.keys()
        self._ancient = old  # requested neither in this phase nor in the last
        self._unmarked = self._goal - old
        order = sorted(self._unmarked, key=repr)
        for i in range(len(order) - 1, 0, -1):
            j = self.coin.below(i + 1)
            order[i], order[j] = order[j], order[i]
        self._priority = {p: i for i, p in enumerate(order)}
        self._arrived = {}
        self._out: dict[Page, Page | None] = {}  # q to p(q)
        self._trusts: dict[Page, bool] = {}
        self._since: dict[Page, int] = {}
        self._length: dict[Page, int] = {}

    def access(self, page: Page, hint: Any = None) -> Access:
        """Serve a request; the hint is when the page is expected again."""
        self._predictor.access(page, hint)
        self._seen[page] = self._clock
        self._clock += 1
        if page not in self._arrived and len(self._arrived) == self.k:
            self._begin_phase()
        first = page not in self._arrived
        if first:
            self._arrived[page] = len(self._arrived)
        self._unmarked.discard(page)
        if self._ancient:
            self._evict_ancient(page)
        else:
            self._play(page, first)
        return self._serve(page, self._goal)

    def _evict_ancient(self, page: Page) -> None:
        self._ancient.discard(page)
        if page in self._goal:
            return
        if len(self._goal) == self.k:
            among = {p for p in self._ancient if p not in self._predictor} or self._ancient
            if not among:  # the last ancient page was the one requested
                self._swap_in(page)
                return
            out = self._oldest(among)
            self._ancient.discard(out)
            self._goal.discard(out)
        self._goal.add(page)

    def _play(self, page: Page, first: bool) -> None:
        clean = first and page not in self._priority
        if page not in self._goal:
            self._swap_in(page)
        if clean:
            self._out[page] = self._substitute()
            self._trusts[page], self._length[page] = True, 1
            self._since[page] = len(self._arrived) - 1
        for q, p in self._out.items():
            if p == page:
                self._out[q] = self._substitute()
                self._trusts[q], self._since[q] = False, len(self._arrived)
                break
        if first:
            for q in self._out:
                if len(self._arrived) - self._since[q] == self._length[q]:
                    self._since[q] = len(self._arrived)
                    if not self._trusts[q]:
                        self._length[q] *= 2
                        self._trusts[q] = True
                    self._follow(self._out[q])

    def _swap_in(self, page: Page) -> None:
        """Make room by the unmarked page of least priority."""
        if len(self._goal) == self.k:
            self._goal.discard(min(self._unmarked & self._goal, key=self._priority.__getitem__))
        self._goal.add(page)

    def _follow(self, gone: Page | None) -> None:
        """What is trusted to be out leaves, and an unmarked page comes back for it."""
        if gone is None or gone not in self._goal:
            return
        trusted = {self._out[q] for q, yes in self._trusts.items() if yes}
        back = self._unmarked - self._goal - trusted
        if back:
            self._goal.discard(gone)
            self._goal.add(max(back, key=self._priority.__getitem__))

    def _substitute(self) -> Page | None:
        """A page of this phase that the predictor has evicted and that stands for no other."""
        taken = set(self._out.values())
        among = {
            p for p in self._unmarked | self._arrived.keys()
            if p not in self._predictor and p not in taken
        }  # fmt: skip
        return self._oldest(among) if among else None

    def _oldest(self, pages: set[Page]) -> Page:
        return min(pages, key=lambda p: (self._seen.get(p, -1), repr(p)))
