"""How often a caller may call: token buckets in this process, and what the headers say of them.

A bucket holds two seconds' worth of requests and fills all the time; an idle one is full. It is one
number: when it will be full again (the "generic cell rate algorithm"). A request takes from the
bucket of its key or user and from that of its workspace; one that nobody is behind takes from its
address's, so that guessing keys is slow. RateLimit headers are of the IETF's draft-10.

Each instance counts for itself: behind a balancer with n instances a caller may get up to n times
as much. The limit is there so that nobody's loop takes the machine from the others, not to bill.
"""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Sequence
from dataclasses import dataclass

from services.api.callers import Caller
from shared.problems import Problem

BURST_S = 2.0
ROUNDING = 1e-3  # of a request: what adding up seconds may be off by
ENTRIES_MAX = 50_000  # of a kind of bucket; past it the full ones are forgotten
STRANGERS_PER_S = 100.0
SUBSCRIBER_BITS = 64
ADDRESS_MAX_CHARS = 64  # what is no address may be anything


@dataclass(frozen=True, slots=True)
class Standing:
    """One bucket as it stands: requests left, seconds until it is full."""

    policy: str
    quota: int
    window_s: float
    left: int
    full_in_s: float


class Buckets:
    """All buckets of one kind; each holds ``burst_s`` worth of requests. ``per_s`` 0: no limit."""

    __slots__ = ("_full_at_s", "_most_s", "capacity_s", "each_s", "name", "quota")

    def __init__(self, name: str, per_s: float, burst_s: float = BURST_S) -> None:
        self.name = name
        self.each_s = 1.0 / per_s if per_s > 0 else 0.0
        self.quota = max(1, round(per_s * burst_s))
        self.capacity_s = self.quota * self.each_s
        self._most_s = self.capacity_s + self.each_s * ROUNDING
        self._full_at_s: dict[str, float] = {}

    def take(self, key: str, now_s: float) -> float:
        """Take a request out of ``key``'s bucket. Seconds until it is full again; negative: it
        was empty, and so many seconds are to be waited."""
        full_at_s = self._full_at_s.get(key, 0.0)
        if full_at_s < now_s:
            full_at_s = now_s
        full_at_s += self.each_s
        wait_s = full_at_s - now_s
        if wait_s > self._most_s:
            return self.capacity_s - wait_s
        if len(self._full_at_s) >= ENTRIES_MAX:
            self._forget(now_s)
        self._full_at_s[key] = full_at_s
        return wait_s

    def look(self, key: str, now_s: float) -> Standing:
        """How ``key``'s bucket stands, without taking anything."""
        full_in_s = max(0.0, self._full_at_s.get(key, 0.0) - now_s)
        return Standing(self.name, self.quota, self.capacity_s, self.left(full_in_s), full_in_s)

    def left(self, full_in_s: float) -> int:
        """Requests left in a bucket that is full in ``full_in_s``."""
        return int((self.capacity_s - full_in_s) / self.each_s + ROUNDING)

    def _forget(self, now_s: float) -> None:
        kept = {key: at_s for key, at_s in self._full_at_s.items() if at_s > now_s}
        self._full_at_s = kept if len(kept) < ENTRIES_MAX else {}


class RateLimits:
    """The buckets of this process."""

    def __init__(self, key_per_s: float, workspace_per_s: float) -> None:
        self._keys = Buckets("key", key_per_s)
        self._workspaces = Buckets("workspace", workspace_per_s)
        self._strangers = Buckets("address", STRANGERS_PER_S)
        self.policy = _policy((self._keys, self._workspaces))
        """The RateLimit-Policy header for who is known."""
        self.strangers_policy = _policy((self._strangers,))

    def take(self, caller: Caller, now_s: float) -> str:
        """Count a request of ``caller``; the RateLimit header. A 429 Problem when it is too many.

        A request that its workspace's bucket refuses was counted for its key: it was made.
        """
        keys, workspaces = self._keys, self._workspaces
        mine_s = keys.take(caller.actor.id, now_s)
        if mine_s < 0.0:
            raise _too_many(keys, -mine_s)
        ours_s = workspaces.take(caller.workspace_id, now_s)
        if ours_s < 0.0:
            raise _too_many(workspaces, -ours_s)
        said = f'"key";r={keys.left(mine_s)};t={math.ceil(mine_s)}' if keys.each_s else ""
        if not workspaces.each_s:
            return said
        ours = f'"workspace";r={workspaces.left(ours_s)};t={math.ceil(ours_s)}'
        return f"{said}, {ours}" if said else ours

    def take_stranger(self, address: str, now_s: float) -> None:
        """Count a request that nobody is behind. A 429 Problem when it is too many."""
        wait_s = self._strangers.take(address, now_s)
        if wait_s < 0.0:
            raise _too_many(self._strangers, -wait_s)

    def stranger(self, address: str, now_s: float) -> str:
        """The RateLimit header of an address."""
        return _said(self._strangers.look(address, now_s))

    def look(self, caller: Caller, now_s: float) -> Sequence[Standing]:
        """How the buckets of ``caller`` stand; none where there is no limit."""
        found = (
            (self._keys, caller.actor.id),
            (self._workspaces, caller.workspace_id),
        )
        return [buckets.look(key, now_s) for buckets, key in found if buckets.each_s]


def subscriber(address: str) -> str:
    """Whom an address stands for: of IPv6 a network of 64 bits, which one customer has whole."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address[:ADDRESS_MAX_CHARS]
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            return str(found.ipv4_mapped)
        return str(ipaddress.ip_network((found, SUBSCRIBER_BITS), strict=False))
    return str(found)


def _policy(kinds: Sequence[Buckets]) -> str:
    return ", ".join(
        f'"{kind.name}";q={kind.quota};w={max(1, math.ceil(kind.capacity_s))}'
        for kind in kinds
        if kind.each_s
    )


def _said(standing: Standing) -> str:
    return f'"{standing.policy}";r={standing.left};t={math.ceil(standing.full_in_s)}'


def _too_many(kind: Buckets, wait_s: float) -> Problem:
    after_s = max(1, math.ceil(wait_s))
    return Problem(
        429,
        "rate_limited",
        f"More requests came than one {kind.name} may make. Wait {after_s} s.",
        headers={
            "Retry-After": str(after_s),
            "RateLimit": f'"{kind.name}";r=0;t={after_s}',
        },
        violated_policies=[kind.name],
    )
