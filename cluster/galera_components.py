"""Which component of a Galera cluster counts, of those that its nodes speak of.

Owns rules 1 to 3 of `galera_rules`, and who is inside. Must not know who is offered for what.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from cluster.evidence import Evidence
from cluster.members import Member, Role, State
from cluster.observations import GaleraNode, Report, ViewId
from cluster.topology import Topology


@dataclass(frozen=True, slots=True)
class Component:
    """Nodes that name the same component, by member name, and every address that one of them lists."""

    view_id: ViewId
    addresses: frozenset[str]
    nodes: Mapping[str, GaleraNode]

    def meets(self, other: Component) -> bool:
        """Whether the two cannot both be whole: one is the other at another moment."""
        if self.view_id.prefix != other.view_id.prefix:
            return False
        return not self.addresses or not other.addresses or bool(self.addresses & other.addresses)


def choose_component(evidence: Evidence) -> tuple[Component | None, str]:
    """The component that is trusted, with all who are inside; or None, and why none of several could be preferred."""
    everyone = _components(evidence.reports)
    living = [one for one in everyone if not _outlived(one, evidence)]
    current = [one for one in living if not any(_supersedes(other, one, evidence) for other in living)]
    ranked = sorted(current, key=lambda one: _rank(one, evidence), reverse=True)
    if len(ranked) > 1 and _rank(ranked[0], evidence) == _rank(ranked[1], evidence):
        return None, f"{len(ranked)} components answer under one name, and none can be preferred"
    return (_with_late(ranked[0], everyone) if ranked else None), ""


def has_component(node: GaleraNode) -> bool:
    """Whether a node says that it belongs to a primary component and serves."""
    return node.primary and node.connected and node.ready and node.conf_id is not None


def known_as(member: Member, previous: Topology) -> str | None:
    """The UUID of a member's start when it was in the component trusted last."""
    before = previous.status_of(member.name)
    return before.uuid if before is not None and before.member == member else None


def own_address(node: GaleraNode) -> str:
    """A node's place in its own list; empty where it tells none."""
    return node.addresses[node.index] if node.index is not None and node.index < len(node.addresses) else ""


def _components(reports: Mapping[str, Report]) -> list[Component]:
    found: list[Component] = []
    for name, report in reports.items():
        node = report.galera
        if node is None or node.conf_id is None or not has_component(node):
            continue
        one = Component(ViewId(node.state_uuid, node.conf_id), frozenset(node.addresses) - {""}, {name: node})
        # Their lists may differ: a node tells the new list a moment before the new number.
        same = [other for other in found if other.view_id == one.view_id and other.meets(one)]
        for other in same:
            found.remove(other)
            one = replace(one, addresses=one.addresses | other.addresses, nodes={**other.nodes, **one.nodes})
        found.append(one)
    return found


def _outlived(component: Component, evidence: Evidence) -> bool:
    """Whether a component is older than the one trusted last."""
    floor = evidence.previous.view_id
    if floor is None or component.view_id.prefix != floor.prefix or component.view_id.counter >= floor.counter:
        return False
    witnessed = any(known_as(member, evidence.previous) for member in evidence.listed)
    return witnessed and not any(_began_anew(name, evidence) for name in component.nodes)


def _began_anew(name: str, evidence: Evidence) -> bool:
    """Whether a node cannot be speaking of what it belonged to when a component was trusted last."""
    seen, report, before = evidence.fresh[name], evidence.reports[name], evidence.previous.status_of(name)
    if report.galera is not None and seen.taken_at - report.galera.uptime > evidence.previous.taken_at:
        return True
    known = known_as(seen.member, evidence.previous)
    return known not in (None, report.uuid) or (before is not None and before.state is State.OFFLINE)


def _rank(component: Component, evidence: Evidence) -> tuple[bool, bool, int, int]:
    """What it is preferred by: a node trusted last that has run ever since; the writer; nodes that report it; size."""
    previous = evidence.previous
    trusted = {status.uuid for status in previous.members if status.role is not Role.UNKNOWN}
    uuids = {evidence.reports[name].uuid for name in component.nodes}
    size = max(node.size for node in component.nodes.values())
    return bool(uuids & trusted), previous.last_primary in uuids, len(component.nodes), size


def _supersedes(later: Component, earlier: Component, evidence: Evidence) -> bool:
    if later.view_id.counter <= earlier.view_id.counter or not later.meets(earlier):
        return False
    return _rank(later, evidence)[0] >= _rank(earlier, evidence)[0]


def _with_late(winner: Component, components: Sequence[Component]) -> Component:
    """The winner, with the nodes that it lists and that were asked before it came about."""
    late = {
        name: node
        for one in components
        if one.view_id < winner.view_id and one.view_id.prefix == winner.view_id.prefix
        for name, node in one.nodes.items()
        if own_address(node) in winner.addresses
    }
    return replace(winner, nodes={**winner.nodes, **late})
