"""From a topology to what is published. Owns the rules; must not know sockets or name resolution. Time is given.

Presence is not health: the all-members names carry every member, the role names those that the topology offers.
"""

from __future__ import annotations

import statistics
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from cluster.members import CLASSIC_PORT, X_PORT, Endpoint, Member, State, parse_endpoint
from cluster.topology import Topology, Trust, UnlistedMember
from srv.desired import Desired, can_be_found
from srv.names import NAME_CHARACTERS, is_address, is_host_label
from srv.weights import Strain, Weighing, scaled
from srv.zone import DEFAULT_WEIGHT, NAMESERVER_LABEL, Part, ZoneMember

Parts = Mapping[str, frozenset[Part]]  # by label

IN_GROUP = frozenset({State.ONLINE, State.RECOVERING, State.UNREACHABLE})
JOINED = frozenset({State.ONLINE, State.RECOVERING})
UUID_CHARACTERS = 8  # enough, as a rule, to tell the at most nine members of a group apart


@dataclass(frozen=True, slots=True)
class Known:
    """A member that we publish, by its label. `uuid` is set for one that the group's view told us of.

    `x_port`: None where it has no X Protocol.
    """

    label: str
    host: str
    classic_port: int = CLASSIC_PORT
    x_port: int | None = X_PORT
    uuid: str | None = None

    def member(self, domain: str) -> Member:
        """The member as probes know it."""
        x = Endpoint(self.host, self.x_port) if self.x_port else None
        return Member(f"{self.label}.{domain}", Endpoint(self.host, self.classic_port), x)


def parse_known(text: str) -> Known:
    """Read `NAME=HOST[:PORT[/XPORT]]`; 0 for XPORT: it has no X Protocol.

    Raises:
        ValueError: what is wrong, in words for a user.
    """
    label, equals, rest = text.partition("=")
    if not equals or not is_host_label(label):
        raise ValueError(f"{text!r}: wanted NAME=HOST[:PORT[/XPORT]], NAME of letters, digits and inner hyphens")
    if label.lower() == NAMESERVER_LABEL:
        raise ValueError(f"{text!r}: the name {label!r} is taken by the name server; choose another")
    address, slash, x_port = rest.partition("/")
    endpoint = parse_endpoint(address, CLASSIC_PORT)
    known = Known(label.lower(), endpoint.host, endpoint.port)
    if not slash:
        return known
    if not (x_port.isascii() and x_port.isdigit() and int(x_port) < 65536):
        raise ValueError(f"{text!r}: the X port must be a number from 1 to 65535, or 0 where there is none")
    return replace(known, x_port=int(x_port) or None)


@dataclass(frozen=True, slots=True)
class Newcomers:
    """Members that only the group's view names: those to adopt, and those for which there is no label."""

    adoptable: tuple[Known, ...] = ()
    unnameable: tuple[UnlistedMember, ...] = ()


def parts_by_label(
    topology: Topology, before: Parts | None, *, all_seen: bool, now: float, keep_roles: float
) -> Parts | None:
    """Who stands in the role names; None where that is not known.

    A topology that is blind says nothing new: records must not come and go with our own view of the members, unless
    that view is lost for long. The first looks tell of some members only: until a primary is seen among them, an empty
    set could be due to those that were not asked yet.

    Args:
        topology: how the group stands.
        before: the parts so far.
        all_seen: whether every member has been looked at once, with whatever outcome.
        now: monotonic seconds, the clock of `Topology.taken_at`.
        keep_roles: seconds for which roles are believed while no member can be asked.
    """
    if topology.trust is Trust.BLIND:
        return before if now - topology.taken_at < keep_roles else None
    if before is None and not all_seen and not (topology.trust is Trust.QUORUM and topology.primaries()):
        return None
    parts: dict[str, frozenset[Part]] = {}
    for part, statuses in ((Part.PRIMARY, topology.primaries()), (Part.REPLICAS, topology.secondaries())):
        for status in statuses:
            label = _label(status.member)
            parts[label] = parts.get(label, frozenset()) | {part}
    return parts


def strains_by_label(topology: Topology) -> dict[str, Strain]:
    """How the replicas that are offered bear up, beside each other. Of a primary there is no question."""
    replicas = {_label(status.member): status for status in topology.secondaries()}
    loads = {label: status.load for label, status in replicas.items() if status.load is not None}
    return {
        label: Strain(
            status.lag, status.queued, status.load, _median(load for one, load in loads.items() if one != label)
        )
        for label, status in replicas.items()
    }


def _median(values: Iterable[int]) -> float | None:
    found = list(values)
    return statistics.median(found) if found else None


def newcomers(
    domain: str, topology: Topology, known: Collection[Known], addresses: Mapping[str, tuple[str, ...]]
) -> Newcomers:
    """The members of the group's view that are not known here, under labels made from their host names.

    Args:
        domain: under which their labels come to stand.
        topology: where they are seen; nobody is adopted on the word of one without a majority.
        known: the members so far.
        addresses: of hosts, where known: a member is not adopted at an address and port that a known one has.
    """
    if topology.trust is not Trust.QUORUM:
        return Newcomers()
    places = {place for one in known for place in _places(one, addresses)}
    labels = {one.label for one in known}
    x_port = X_PORT if any(one.x_port for one in known) else None  # as the others
    found: list[Known] = []
    unnameable: list[UnlistedMember] = []
    for seen in topology.unlisted:
        if seen.state not in JOINED or not seen.host or not 0 < seen.port < 65536:
            continue
        label = _free_label(seen, labels, domain)
        one = Known(label or "", seen.host, seen.port, x_port, uuid=seen.uuid)
        if not places.isdisjoint(_places(one, addresses)):
            continue
        if label is None:
            unnameable.append(seen)
        else:
            labels.add(label)
            found.append(one)
    return Newcomers(tuple(found), tuple(unnameable))


def departed(topology: Topology, known: Iterable[Known]) -> set[str]:
    """The labels of adopted members that the majority does not count among its own any more."""
    if topology.trust is not Trust.QUORUM:
        return set()
    states = {_label(status.member): status.state for status in topology.members}
    seen = {one.uuid for one in topology.unlisted}  # in the view, where the member itself cannot be asked who it is
    return {
        one.label
        for one in known
        if one.uuid and one.uuid not in seen and states.get(one.label, State.ONLINE) not in IN_GROUP
    }


def desired_of(
    domain: str,
    known: Iterable[Known],
    addresses: Mapping[str, tuple[str, ...]],
    parts: Parts | None,
    *,
    ttl: int,
    weighings: Mapping[str, Weighing] = MappingProxyType({}),
) -> Desired:
    """What to publish. A member whose host has no address yet is left out: nobody could reach it.

    Where that leaves nobody in a role that somebody has, roles are not known.
    """
    known = tuple(known)
    members = tuple(
        ZoneMember(
            one.label,
            addresses[one.host],
            one.classic_port,
            one.x_port,
            (parts or {}).get(one.label, frozenset()),
            weight=scaled(DEFAULT_WEIGHT, weighings.get(one.label)),
        )
        for one in known
        if addresses.get(one.host)
    )
    offered = (((parts or {}).get(one.label, frozenset()), bool(addresses.get(one.host))) for one in known)
    return Desired(domain, members, ttl, roles_known=parts is not None and can_be_found(offered))


def _label(member: Member) -> str:
    return member.name.partition(".")[0]


def _places(one: Known, addresses: Mapping[str, tuple[str, ...]]) -> set[tuple[str, int]]:
    return {(place, one.classic_port) for place in (one.host.lower(), *addresses.get(one.host, ()))}


def _free_label(seen: UnlistedMember, taken: Collection[str], domain: str) -> str | None:
    """The first label of the host's name where that can be used, else one made from the server's UUID.

    None where neither can, and where the UUID is none: by it we tell later whether the member has left.
    """
    uuid = seen.uuid.lower()
    if not is_host_label(f"member-{uuid}"):
        return None
    labels = [f"member-{uuid[:UUID_CHARACTERS]}", f"member-{uuid}"]
    if not is_address(seen.host):
        labels.insert(0, seen.host.partition(".")[0].lower())
    return next((label for label in labels if label not in taken and _is_usable(label, domain)), None)


def _is_usable(label: str, domain: str) -> bool:
    return is_host_label(label) and label != NAMESERVER_LABEL and len(f"{label}.{domain}") <= NAME_CHARACTERS
