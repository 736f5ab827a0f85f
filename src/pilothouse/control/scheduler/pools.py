"""What each class of work has of the shared pool, and how much more it may take. Percent are of what all nodes have.

Nothing is set aside on any one node: what is reserved for a class is kept free in the sum.
"""

from pilothouse.control.scheduler.columns import Columns
from pilothouse.control.scheduler.shape import CPU, MEMORY, Need
from pilothouse.model.cluster import ClusterSpec, PoolPolicy
from pilothouse.model.placement import Pool

_SHARED = (CPU, MEMORY)
_WORDS = {CPU: "CPU time", MEMORY: "memory"}


class Pools:
    """The sums by class, and the rules about them."""

    def __init__(self, spec: ClusterSpec) -> None:
        self.spec = spec
        self._used = {pool: dict.fromkeys(_SHARED, 0) for pool in Pool}

    @property
    def limited(self) -> bool:
        """Whether any class is limited at all."""
        return any(policy != PoolPolicy() for policy in self.spec.pools.values())

    def book(self, pool: Pool, need: Need, times: int = 1) -> None:
        """Note that *pool* has so much more, or less."""
        used = self._used[pool]
        for kind, amount in need:
            if kind in used:
                used[kind] += amount * times

    def room(self, columns: Columns, pool: Pool, need: Need, most: int) -> int:
        """Return how many times *need* may be taken by *pool*, at most *most*."""
        if not self.limited:
            return most
        for kind, amount in need:
            if kind in _SHARED and amount > 0:
                most = min(most, max(0, self._left(columns, pool, kind)[0] // amount))
        return most

    def refusal(self, columns: Columns, pool: Pool, need: Need) -> str:
        """Return why *pool* may not take *need*, "" if it may."""
        if not self.limited:
            return ""
        for kind, amount in need:
            if kind not in _SHARED or amount <= 0:
                continue
            left, whole, why = self._left(columns, pool, kind)
            if left < amount:
                has, wants = _percent(self._used[pool][kind], whole), _percent(amount, whole)
                return f"the pool {pool.value!r} has {has} of all {_WORDS[kind]}, the task wants {wants}, and {why}"
        return ""

    def _left(self, columns: Columns, pool: Pool, kind: str) -> tuple[int, int, str]:
        """Return how much *pool* may take, how much there is in all, and the rule that says so."""
        whole = int(columns.capacity_of(kind).sum())
        used = {each: self._used[each][kind] for each in Pool}
        policy = self._policy(pool)
        own = whole * policy.most // 100 - used[pool]
        others = sum(max(used[each], whole * self._policy(each).reserved // 100) for each in Pool if each is not pool)
        shared = whole - others - used[pool]
        if own <= shared:
            return own, whole, f"it may have {policy.most} %"
        kept = [f"{self._policy(p).reserved} % are reserved for {p.value!r}" for p in Pool
                if p is not pool and self._policy(p).reserved]  # fmt: skip
        return shared, whole, " and ".join(kept) or "the rest is in use"

    def _policy(self, pool: Pool) -> PoolPolicy:
        return self.spec.pools.get(pool, PoolPolicy())


def _percent(amount: int, whole: int) -> str:
    return f"{100 * amount / whole:.1f}".rstrip("0").rstrip(".") + " %" if whole else "all"
