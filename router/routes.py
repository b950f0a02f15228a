"""Which members a route may use, and in which order.

Owns what a route is, who is in question for its role, and the rule that ends sessions. Pure: topology, load and chance
are given. Must not know sockets, nor how settings are read.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from cluster.members import Endpoint, Member, Role, State
from cluster.topology import MemberStatus, Topology, Trust
from router.strategies import STRATEGIES, Contender, Draw
from router.words import Destination, Protocol, ProxyProtocol, StrategyName
from srv.weights import Strain, share_now


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a route bears; `route_settings` has each one's default and its reason. Times in seconds; 0 is none."""

    max_connections: int = 0
    max_total_connections: int = 0
    client_connect_timeout: float = 9.0
    max_connect_errors: int = 100
    idle_timeout: float = 0.0
    quarantine_threshold: int = 1
    quarantine_interval: float = 1.0


@dataclass(frozen=True, slots=True)
class Wire:
    """What a route's sockets are set to. Times in whole seconds; 0 leaves it to the kernel."""

    backlog: int = 4096
    dual_stack: bool = False
    socket_mode: int = 0o666
    keepalive_idle: int = 60
    keepalive_interval: int = 10
    keepalive_count: int = 6
    tcp_user_timeout: int = 120


@dataclass(frozen=True, slots=True)
class Route:
    """What a listening port stands for. Times in seconds.

    `members`: a list that stands for itself, without a cluster; its hosts may be names. `proxy_networks`: who must say
    whose connection it hands on, by a PROXY header. `rebalance_rate`: sessions a second that may be moved off an
    overfull member; 0 is none. `leaves_promoted`: sessions end when their member becomes primary.
    """

    name: str
    protocol: Protocol
    destination: Destination
    strategy: StrategyName
    fallback_to_primary: bool
    topology_max_age: float
    parking_timeout: float
    parking_limit: int
    connect_timeout: float
    members: tuple[Endpoint, ...] = ()
    limits: Limits = field(default_factory=Limits)
    wire: Wire = field(default_factory=Wire)
    proxy_networks: tuple[str, ...] = ()
    send_proxy: ProxyProtocol = ProxyProtocol.OFF
    rebalance_rate: float = 0.0
    leaves_promoted: bool = False

    @property
    def leads_to(self) -> str:
        """Its destination, for people."""
        return ", ".join(map(str, self.members)) if self.members else f"{self.destination.value} members"


@dataclass(frozen=True, slots=True)
class Leave:
    """What an operator wants of a member: no new sessions, and an end of those that it has.

    end_within: seconds in which they are ended, evenly; 0 at once, None not at all. why: the word for it, such as
    `drained` or `hidden`.
    """

    end_within: float | None = None
    why: str = "drained"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A member to dial, and where."""

    member: Member
    endpoint: Endpoint


@dataclass(frozen=True, slots=True)
class Pick:
    """Candidates in the order to try them; where there are none, `reason` says why."""

    candidates: tuple[Candidate, ...]
    reason: str = ""


Pools = Sequence[Sequence[MemberStatus]]


def _writers(topology: Topology) -> Pools:
    return [topology.primaries()]


def _readers(topology: Topology) -> Pools:
    return _by_freshness(topology.secondaries())


def _everyone(topology: Topology) -> Pools:
    return _by_freshness(status for status in topology.members if status.offered is not None)


def _by_freshness(statuses: Iterable[MemberStatus]) -> Pools:
    every = list(statuses)
    return [[one for one in every if not one.behind], [one for one in every if one.behind]]


POOLS: Mapping[Destination, Callable[[Topology], Pools]] = {
    Destination.PRIMARY: _writers,
    Destination.SECONDARY: _readers,
    Destination.PRIMARY_AND_SECONDARY: _everyone,
}
"""Who is in question for a role: pools to be used one after the other, each in the strategy's order."""


def static_topology(members: Sequence[Endpoint]) -> Topology:
    """A list of servers as a topology in which every one may be used for anything, for nobody is asked."""
    statuses = tuple(
        MemberStatus(Member(str(endpoint), endpoint, endpoint), offered=Role.PRIMARY) for endpoint in members
    )
    return Topology(version=1, trust=Trust.QUORUM, reason="", members=statuses)


class Lineup:
    """Whom new sessions of a route may use while nothing changes that is known of its members: a pick only orders them.

    Args:
        topology: the latest one.
        route: the port the sessions come to.
        barred: names of members that get no new sessions: drained, or hidden.
        suspects: names of members that could not be connected to lately; they are tried when nobody else is left.
    """

    __slots__ = ("_pools", "_strategy", "barred", "only", "route", "suspects", "topology")

    def __init__(
        self, topology: Topology, route: Route, barred: Collection[str] = (), suspects: Collection[str] = ()
    ) -> None:
        self.topology = topology
        self.route = route
        self.barred = barred
        self.suspects = suspects
        self._strategy = STRATEGIES[route.strategy]
        pools = pools_of(topology, route)
        open_to = [[one for one in pool if one.member.name not in barred] for pool in pools]
        self._pools = [_Pool.of(pool, route) for pool in open_to if pool]
        candidates = tuple(one for pool in self._pools for one in pool.candidates.values())
        self.only: Pick | None = None
        """What every pick is, where there is nothing to choose from and no age to regard."""
        if topology.trust is not Trust.BLIND and len(candidates) <= 1:
            self.only = Pick(candidates, "" if candidates else _why_nobody(topology, route, pools, barred))

    def is_of(self, topology: Topology, route: Route, barred: Collection[str], suspects: Collection[str]) -> bool:
        """Whether it was made of these very objects, and so is what another would be."""
        return self.topology is topology and self.route is route and self.barred is barred and self.suspects is suspects

    def pick(self, draw: Draw, now: float) -> Pick:
        """Order the members that a new session may use.

        Args:
            draw: what the strategy may go by.
            now: monotonic seconds, the clock of `Topology.taken_at`.
        """
        topology = self.topology
        if topology.trust is Trust.BLIND and now - topology.taken_at > self.route.topology_max_age:
            return Pick((), f"{topology.reason}, and what was known before is too old to use")
        if self.only is not None:
            return self.only
        ordered = [
            pool.candidates[one.name]
            for pool in self._pools
            for one in self._strategy(pool.contenders, draw)
            if one.name in pool.candidates
        ]
        if self.suspects:
            ordered.sort(key=lambda one: one.member.name in self.suspects)  # stable
        if not ordered:
            return Pick((), _why_nobody(topology, self.route, pools_of(topology, self.route), self.barred))
        return Pick(tuple(ordered))


@dataclass(frozen=True, slots=True)
class _Pool:
    """Members in question, as a strategy sees them, and where those are that speak the route's protocol."""

    contenders: Sequence[Contender]
    candidates: Mapping[str, Candidate]

    @classmethod
    def of(cls, pool: Sequence[MemberStatus], route: Route) -> _Pool:
        shares = shares_of(pool) if route.strategy is StrategyName.WEIGHTED else {}
        contenders, candidates = {}, {}
        for member in (one.member for one in pool):
            name, endpoint = member.name, endpoint_of(member, route)
            contenders[name] = Contender(name, member.priority, member.weight, shares.get(name, 100))
            if endpoint is not None:
                candidates[name] = Candidate(member, endpoint)
        return cls(tuple(contenders.values()), candidates)


def _why_nobody(topology: Topology, route: Route, pools: Pools, barred: Collection[str]) -> str:
    if topology.trust is Trust.NO_QUORUM:
        return topology.reason
    out = sorted({one.member.name for pool in pools for one in pool if one.member.name in barred})
    why = f": {', '.join(out)} takes no new sessions" if out else ""
    return f"no {route.destination.value} is available{why}"


def pools_of(topology: Topology, route: Route) -> Pools:
    """Who is in question for the route, the primaries last where it may fall back to them."""
    pools = POOLS[route.destination](topology)
    return [*pools, topology.primaries()] if route.fallback_to_primary else pools


def preferred(topology: Topology, route: Route, out: Collection[str]) -> dict[str, int]:
    """Whom new sessions go to while they accept, and their weights; without who only stands in.

    Args:
        topology: the latest one.
        route: whose sessions they are.
        out: names of members that get none now.
    """
    pools = pools_of(topology, route)[: -1 if route.fallback_to_primary else None]
    open_to = ([one.member for one in pool if one.member.name not in out] for pool in pools)
    first = next((pool for pool in open_to if pool), [])
    if route.strategy is not StrategyName.WEIGHTED:
        return dict.fromkeys((one.name for one in first), 1)
    best = min((one.priority for one in first), default=0)
    return {one.name: one.weight for one in first if one.priority == best}


def shares_of(pool: Sequence[MemberStatus]) -> dict[str, int]:
    """Of each member's weight, in a hundred, what it bears now: less where it is late, or far busier than others."""
    loads = {one.member.name: one.load for one in pool if one.load is not None}
    shares = {}
    for one in pool:
        name = one.member.name
        others = [load for other, load in loads.items() if other != name]
        shares[name] = share_now(Strain(one.lag, one.queued, one.load, statistics.median(others) if others else None))
    return shares


def endpoint_of(member: Member, route: Route) -> Endpoint | None:
    """Where a member speaks the route's protocol."""
    return member.classic if route.protocol is Protocol.CLASSIC else member.x


def may_stay(topology: Topology, route: Route, member: Member) -> bool:
    """Whether a session that is attached to `member` may live on under a new topology.

    On a PRIMARY route only while the member is offered as PRIMARY, for a write must never reach a demoted one. On other
    routes while the majority has it ONLINE, whatever its role became and however late it is; without a majority,
    while it is offered. While nobody can be asked (BLIND) only a member's own word against itself counts, and where DNS
    merely stopped listing a member that serves reads, nothing is known against it. Nor is anything of a static list.
    """
    if route.members:
        return True
    status = topology.status_of(member.name)
    if topology.trust is Trust.BLIND:
        withdrawn = status is not None and status.member == member and status.offered is None
        return not withdrawn or (route.destination is not Destination.PRIMARY and status.state is State.ONLINE)  # type: ignore[union-attr]
    if route.destination is Destination.PRIMARY:
        return status is not None and status.member == member and status.offered is Role.PRIMARY
    if topology.trust is Trust.NO_QUORUM:
        return status is not None and status.offered is not None
    return status is None or status.member != member or status.state is State.ONLINE
