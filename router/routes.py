"""Which members a route may use, and in which order.

Owns strategies and the rule that ends sessions. Pure: topology, load and turn are given. Must not know sockets.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cluster.members import Endpoint, Member, Role, State
from cluster.topology import MemberStatus, Topology, Trust
from router.words import Destination, Protocol, StrategyName

if TYPE_CHECKING:  # a worker has no settings, only what was made of them
    from router.settings import ClusterSettings, RouteSettings


@dataclass(frozen=True, slots=True)
class Route:
    """What a listening port stands for. Times in seconds."""

    name: str
    protocol: Protocol
    destination: Destination
    strategy: StrategyName
    fallback_to_primary: bool
    topology_max_age: float
    parking_timeout: float
    parking_limit: int
    connect_timeout: float


def route_of(name: str, chosen: RouteSettings, cluster: ClusterSettings) -> Route:
    """The route that the settings ask for."""
    primary = chosen.destination is Destination.PRIMARY
    usual = StrategyName.FIRST_AVAILABLE if primary else StrategyName.ROUND_ROBIN
    return Route(
        name=name,
        protocol=chosen.protocol,
        destination=chosen.destination,
        strategy=chosen.strategy or usual,
        fallback_to_primary=chosen.fallback_to_primary,
        topology_max_age=cluster.topology_max_age,
        parking_timeout=chosen.parking_timeout,
        parking_limit=chosen.parking_limit,
        connect_timeout=chosen.connect_timeout,
    )


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


Strategy = Callable[[list[MemberStatus], int], list[MemberStatus]]


def _first_available(members: list[MemberStatus], turn: int) -> list[MemberStatus]:
    return members


def _round_robin(members: list[MemberStatus], turn: int) -> list[MemberStatus]:
    start = turn % len(members) if members else 0
    return members[start:] + members[:start]


STRATEGIES: Mapping[StrategyName, Strategy] = {
    StrategyName.FIRST_AVAILABLE: _first_available,
    StrategyName.ROUND_ROBIN: _round_robin,
}


def pick(topology: Topology, route: Route, *, turn: int, now: float) -> Pick:
    """Order the members that a new session of this route may use.

    Args:
        topology: the latest one.
        route: the port the session came to.
        turn: counts the route's sessions; strategies that rotate go by it.
        now: monotonic seconds, the clock of `Topology.taken_at`.
    """
    if topology.trust is Trust.BLIND and now - topology.taken_at > route.topology_max_age:
        return Pick((), f"{topology.reason}, and what was known before is too old to use")
    order = STRATEGIES[route.strategy]
    if route.destination is Destination.PRIMARY:
        usable = order(list(topology.primaries()), turn)
    else:
        readers = topology.secondaries()
        usable = order([status for status in readers if not status.behind], turn)
        usable += order([status for status in readers if status.behind], turn)
        if route.fallback_to_primary:
            usable += topology.primaries()
    candidates = []
    for status in usable:
        endpoint = endpoint_of(status.member, route)
        if endpoint is not None:
            candidates.append(Candidate(status.member, endpoint))
    if candidates:
        return Pick(tuple(candidates))
    nobody = f"no {route.destination.value} is available"
    return Pick((), topology.reason if topology.trust is Trust.NO_QUORUM else nobody)


def endpoint_of(member: Member, route: Route) -> Endpoint | None:
    """Where a member speaks the route's protocol."""
    return member.classic if route.protocol is Protocol.CLASSIC else member.x


def may_stay(topology: Topology, route: Route, member: Member) -> bool:
    """Whether a session that is attached to `member` may live on under a new topology.

    On a PRIMARY route only while the member is offered as PRIMARY, for a write must never reach a demoted one. On a
    SECONDARY route while the majority has it ONLINE, whatever its role became and however late it is; without a
    majority, while it is offered. While nobody can be asked (BLIND) only a member's own word against itself counts, and
    where DNS merely stopped listing a member that serves reads, nothing is known against it.
    """
    status = topology.status_of(member.name)
    if topology.trust is Trust.BLIND:
        withdrawn = status is not None and status.member == member and status.offered is None
        return not withdrawn or (route.destination is Destination.SECONDARY and status.state is State.ONLINE)  # type: ignore[union-attr]
    if route.destination is Destination.PRIMARY:
        return status is not None and status.member == member and status.offered is Role.PRIMARY
    if topology.trust is Trust.NO_QUORUM:
        return status is not None and status.offered is not None
    return status is None or status.member != member or status.state is State.ONLINE
