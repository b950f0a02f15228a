"""How a Galera cluster is judged: which component counts, and who is offered for what.

Owns those rules. Must not know the clock, nor how old an observation may be: what comes here is fresh.

Every node of a Galera cluster takes writes; writes to several at once end in deadlock errors where they meet. So one
node is offered as PRIMARY, chosen stably, and the others as SECONDARY. The rules, in their order:

1. A node *counts* where it says that its component is primary (has a majority), that it is connected, and that it is
   ready. Nodes that name the same state UUID, configuration number and addresses form one *component*; two components
   never merge.
2. The configuration number rises with each change while the cluster lives, and begins anew when it does. So a component
   with a lower number than the one trusted last counts only if one of its nodes has begun anew since: it has
   restarted (`wsrep_gcomm_uuid` is another after each start), or said meanwhile that it is in none. For a frozen node
   that goes on claims for seconds what was true when it was frozen.
3. Of components with one state UUID and a common node the later one wins, unless only the earlier has a node that was
   trusted last. Else the one with a node that was trusted last stays, among several of these the one with the writer;
   else the one of which more nodes report, then the larger; a tie trusts none.
4. Inside the winner are its nodes, and those that it lists and that speak of an earlier configuration: they were asked
   before the change. A node inside is offered while it is Synced. Donor/Desynced, Joined and Joining ones are not: they
   are behind, and a donor may not even answer.
5. The writer offered last stays while it is Synced, has `read_only = OFF` and has not restarted. Else it is the one
   that has been up longest: routers that start at different times choose the same one without talking, and a node
   that returns does not take the role. Of those that started within `UPTIME_GRAIN` the first by name. None is chosen
   before every member was asked once, or it would be whoever answers first. Nodes with `read_only = ON` are read from
   only.
6. One that cannot be asked (but does not refuse either) stays as it was offered while the component lists its address.
7. No component that counts: if some node says that it is in none, nobody is offered (NO_QUORUM). Without a majority a
   node refuses statements (error 1047), so the policies `read` and `all` have only those read from that allow it by
   `wsrep_dirty_reads = ON`; none takes writes. If nobody can tell, the last known roles stay (BLIND).

States: ONLINE is Synced, RECOVERING any other state inside the component, OFFLINE what says itself that it is in none,
UNREACHABLE what speaks of a component that the others have left behind. A member's `uuid` is that of its start when it
was in the component trusted last.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from cluster.evidence import Evidence, QuorumPolicy
from cluster.members import CLASSIC_PORT, Member, Role, State, parse_endpoint
from cluster.observations import GaleraNode, Observation, Outcome, Report, ViewId
from cluster.standing import keep_last_known, offline, why_unheard
from cluster.topology import MemberStatus, Topology, Trust, UnlistedMember

UPTIME_GRAIN = 2.0  # seconds; uptimes are whole seconds, and two routers do not ask at the same moment
SYNCED = 4
# Of a node inside a component, by `wsrep_local_state`: what it is called here, and why it is not used.
_STANDING: Mapping[int, tuple[State, str]] = {
    0: (State.OFFLINE, "it is starting or ending (Initialized)"),
    1: (State.RECOVERING, "it is being sent the data (Joining)"),
    2: (State.RECOVERING, "it feeds another node or is backed up, and falls behind meanwhile (Donor/Desynced)"),
    3: (State.RECOVERING, "it is catching up with the others (Joined)"),
    SYNCED: (State.ONLINE, ""),
}
_STRANGE = (State.ERROR, "it is in a state that no healthy node has")
# A look that ended so says nothing of the node itself: it may well serve others.
_CANNOT_BE_ASKED = frozenset(
    {Outcome.TIMEOUT, Outcome.DENIED, Outcome.LOCKED, Outcome.TLS, Outcome.TOO_MANY, Outcome.ALIVE}
)


@dataclass(frozen=True, slots=True)
class _Component:
    """Nodes that name the same component, by member name."""

    state_uuid: str
    conf_id: int
    addresses: tuple[str, ...]
    nodes: Mapping[str, GaleraNode]

    @property
    def listed(self) -> set[str]:
        return set(self.addresses) - {""}

    @property
    def view_id(self) -> ViewId:
        return ViewId(self.state_uuid, self.conf_id)

    def meets(self, other: _Component) -> bool:
        """Whether the two cannot both be whole: one is the other at another time."""
        if self.state_uuid != other.state_uuid:
            return False
        return not self.listed or not other.listed or bool(self.listed & other.listed)


def judge_galera(evidence: Evidence) -> Topology:
    """Say who may be offered for what."""
    everyone = _components(evidence.reports)
    components = [one for one in everyone if not _outlived(one, evidence)]
    current = [one for one in components if not any(_supersedes(other, one, evidence) for other in components)]
    ranked = sorted(current, key=lambda one: _weight(one, evidence), reverse=True)
    if len(ranked) > 1 and _weight(ranked[0], evidence) == _weight(ranked[1], evidence):
        return _without_component(
            evidence, f"{len(ranked)} components answer under one name, and none can be preferred"
        )
    if ranked:
        return _by_component(evidence, _with_late(ranked[0], everyone))
    return _without_component(evidence, "")


def has_component(node: GaleraNode) -> bool:
    """Whether a node says that it belongs to a primary component and serves."""
    return node.primary and node.connected and node.ready and node.conf_id is not None


def _components(reports: Mapping[str, Report]) -> list[_Component]:
    found: dict[tuple[str, int, tuple[str, ...]], dict[str, GaleraNode]] = {}
    for name, report in reports.items():
        node = report.galera
        if node is not None and has_component(node) and node.conf_id is not None:
            key = node.state_uuid, node.conf_id, tuple(sorted(node.addresses))
            found.setdefault(key, {})[name] = node
    return [_Component(*key, nodes) for key, nodes in found.items()]


def _outlived(component: _Component, evidence: Evidence) -> bool:
    """Whether a component is older than the one trusted last."""
    floor = evidence.previous.view_id
    if floor is None or component.state_uuid != floor.prefix or component.conf_id >= floor.counter:
        return False
    witnessed = any(_known_as(member, evidence.previous) for member in evidence.listed)
    return witnessed and not any(_began_anew(name, evidence) for name in component.nodes)


def _began_anew(name: str, evidence: Evidence) -> bool:
    """Whether a node cannot be speaking of what it belonged to when a component was trusted last."""
    seen, report, before = evidence.fresh[name], evidence.reports[name], evidence.previous.status_of(name)
    if report.galera is not None and seen.taken_at - report.galera.uptime > evidence.previous.taken_at:
        return True
    known = _known_as(seen.member, evidence.previous)
    return known not in (None, report.uuid) or (before is not None and before.state is State.OFFLINE)


def _known_as(member: Member, previous: Topology) -> str | None:
    before = previous.status_of(member.name)
    return before.uuid if before is not None and before.member == member else None


def _trusted(component: _Component, evidence: Evidence) -> set[str]:
    """The nodes of a component that were in the one trusted last, and have run ever since."""
    before = {status.uuid: status for status in evidence.previous.members if status.role is not Role.UNKNOWN}
    return {name for name in component.nodes if evidence.reports[name].uuid in before}


def _supersedes(later: _Component, earlier: _Component, evidence: Evidence) -> bool:
    if later.conf_id <= earlier.conf_id or not later.meets(earlier):
        return False
    return bool(_trusted(later, evidence)) or not _trusted(earlier, evidence)


def _with_late(winner: _Component, components: Sequence[_Component]) -> _Component:
    """The winner, with the nodes that it lists and that were asked before it came about."""
    late = {
        name: node
        for one in components
        if one.conf_id < winner.conf_id and one.state_uuid == winner.state_uuid
        for name, node in one.nodes.items()
        if _own_address(node) in winner.listed
    }
    return replace(winner, nodes={**winner.nodes, **late})


def _own_address(node: GaleraNode) -> str | None:
    return node.addresses[node.index] if node.index is not None and node.index < len(node.addresses) else None


def _weight(component: _Component, evidence: Evidence) -> tuple[bool, bool, int, int]:
    trusted = _trusted(component, evidence)
    written = any(evidence.reports[name].uuid == evidence.previous.last_primary for name in component.nodes)
    size = max(node.size for node in component.nodes.values())
    return bool(trusted), written, len(component.nodes), size


def _by_component(evidence: Evidence, component: _Component) -> Topology:
    statuses = [_status(member, component, evidence) for member in evidence.listed]
    statuses = _without_doubles(statuses, component)
    writer = _choose_writer(statuses, component, evidence)
    statuses = [
        replace(status, role=Role.PRIMARY, offered=Role.PRIMARY) if status.member.name == writer else status
        for status in statuses
    ]
    written = next((status.uuid for status in statuses if status.offered is Role.PRIMARY), None)
    return Topology(
        last_primary=written or evidence.previous.last_primary,
        taken_at=max(
            evidence.fresh[name].taken_at for name, node in component.nodes.items() if node.conf_id == component.conf_id
        ),
        trust=Trust.QUORUM,
        reason="",
        view_id=component.view_id,
        members=tuple(statuses),
        unlisted=_unlisted(component, evidence),
    )


def _status(member: Member, component: _Component, evidence: Evidence) -> MemberStatus:
    """One member as the winner has it; the writer is chosen later."""
    seen, before = evidence.fresh.get(member.name), evidence.previous.status_of(member.name)
    report = evidence.reports.get(member.name)
    if report is None:
        return _status_unheard(member, seen, component, before)
    status = MemberStatus(member, report.uuid, queued=report.queued, lag=report.lag, load=report.load)
    node = component.nodes.get(member.name)
    if node is None:
        state, reason = _standing_outside(report, component)
        return replace(status, uuid=_known_as(member, evidence.previous), state=state, reason=reason)
    state, reason = _STANDING.get(node.local_state, _STRANGE)
    if node.desync and node.local_state != SYNCED:
        reason = "it is desynced by its administrator (wsrep_desync = ON)"
    reason = offline(seen) or reason
    return replace(status, role=Role.SECONDARY, state=state, offered=None if reason else Role.SECONDARY, reason=reason)


def _status_unheard(
    member: Member, seen: Observation | None, component: _Component, before: MemberStatus | None
) -> MemberStatus:
    if before is None or before.member != member:
        return MemberStatus(member, reason=offline(seen) or why_unheard(seen))
    if before.offered and seen is not None and seen.outcome in _CANNOT_BE_ASKED and _is_listed(member, component):
        # Not as PRIMARY yet, which is for one to be.
        return replace(before, role=Role.SECONDARY, offered=Role.SECONDARY, reason="")
    return MemberStatus(member, before.uuid, reason=offline(seen) or why_unheard(seen))


def _standing_outside(report: Report, component: _Component) -> tuple[State, str]:
    """The state of one that answers and is not in the winner, and why."""
    node = report.galera
    if node is None:
        return State.OFFLINE, "Galera is not running there"
    if not node.primary:
        return State.OFFLINE, "it belongs to no primary component"
    if not has_component(node):
        state, reason = _STANDING.get(node.local_state, _STRANGE)
        return (State.RECOVERING, "it is not ready for statements yet") if state is State.ONLINE else (state, reason)
    if node.state_uuid != component.state_uuid:
        return State.UNREACHABLE, "it belongs to another cluster"
    return State.UNREACHABLE, "it belongs to another component, or speaks of an earlier one"


def _without_doubles(statuses: Sequence[MemberStatus], component: _Component) -> list[MemberStatus]:
    """Offer a server once, should two members be the same."""
    first: dict[str, str] = {}
    kept = []
    for status in statuses:
        name = status.member.name
        if status.uuid is not None and name in component.nodes and first.setdefault(status.uuid, name) != name:
            reason = f"the same server as {first[status.uuid]}"
            kept.append(MemberStatus(status.member, status.uuid, reason=reason))
        else:
            kept.append(status)
    return kept


def _choose_writer(statuses: Sequence[MemberStatus], component: _Component, evidence: Evidence) -> str | None:
    reports = evidence.reports
    usable = {status.member.name: status for status in statuses if status.offered is not None}
    writable = [name for name in usable if name not in reports or not reports[name].read_only]
    for name in writable:
        if usable[name].uuid is not None and usable[name].uuid == evidence.previous.last_primary:
            return name
    if len(evidence.fresh) < len(evidence.listed):
        return None
    started = {
        name: evidence.fresh[name].taken_at - component.nodes[name].uptime
        for name in writable
        if name in component.nodes
    }
    earliest = min(started.values(), default=0.0)
    return min((name for name, at in started.items() if at - earliest <= UPTIME_GRAIN), default=None)


def _addresses_of(member: Member) -> set[tuple[str, int]]:
    if member.classic is None:
        return set()
    return {(host, member.classic.port) for host in (member.classic.host, member.name, member.name.partition(".")[0])}


def _read_addresses(texts: Iterable[str]) -> set[tuple[str, int]]:
    found = set()
    for text in texts:
        try:
            endpoint = parse_endpoint(text, CLASSIC_PORT)
        except ValueError:  # none told, or nothing to connect to: an arbitrator, say
            continue
        found.add((endpoint.host, endpoint.port))
    return found


def _is_listed(member: Member, component: _Component) -> bool:
    return bool(_addresses_of(member) & _read_addresses(component.addresses))


def _unlisted(component: _Component, evidence: Evidence) -> tuple[UnlistedMember, ...]:
    """Nodes of the component that are not among ours: by their address, or by their own word on which is theirs."""
    ours = {address for member in evidence.listed for address in _addresses_of(member)}
    ours.update(_read_addresses([_own_address(node) or "" for node in component.nodes.values()]))
    return tuple(
        UnlistedMember("", host, port, Role.UNKNOWN, State.UNKNOWN)
        for host, port in sorted(_read_addresses(component.addresses))
        if (host, port) not in ours
    )


def _without_component(evidence: Evidence, conflict: str) -> Topology:
    listed, fresh, reports, previous = evidence.listed, evidence.fresh, evidence.reports, evidence.previous
    nodes = {name: report.galera for name, report in reports.items() if report.galera is not None}
    if not conflict and all(node.primary for node in nodes.values()):
        words = "no node of the component trusted last could be asked" if nodes else "no node could be asked"
        return keep_last_known(evidence, words if listed else "no member is known", _says_out)
    readable = not conflict and evidence.policy.quorum is not QuorumPolicy.NONE
    statuses = []
    for member in listed:
        seen, report, node = fresh.get(member.name), reports.get(member.name), nodes.get(member.name)
        status = MemberStatus(member, _known_as(member, previous), reason=offline(seen) or why_unheard(seen))
        if report is not None:
            state, reason = _standing_without(node)
            status = replace(status, state=state, reason=reason, queued=report.queued, load=report.load)
        if readable and node is not None and not node.primary and node.dirty_reads:
            status = replace(status, role=Role.SECONDARY, offered=Role.SECONDARY)
        statuses.append(status)
    newest = max(fresh[name].taken_at for name in nodes)
    reason = conflict or "no primary component answers"
    return Topology(
        taken_at=newest,
        trust=Trust.NO_QUORUM,
        reason=reason,
        view_id=previous.view_id,
        members=tuple(statuses),
        last_primary=previous.last_primary,
    )


def _says_out(seen: Observation | None) -> str:
    """Why a node is not to be used by its own word, which always counts; empty where it says nothing of the kind."""
    node = seen.report.galera if seen is not None and seen.report is not None else None
    if node is not None and has_component(node) and node.local_state == SYNCED:
        return offline(seen)
    return offline(seen) or ("it is not Synced by its own word" if node is not None else "")


def _standing_without(node: GaleraNode | None) -> tuple[State, str]:
    if node is None:
        return State.OFFLINE, "Galera is not running there"
    if node.primary:
        return State.UNREACHABLE, "it speaks of a component that cannot be trusted"
    refusal = "" if node.dirty_reads else ", and refuses statements (wsrep_dirty_reads = OFF)"
    return State.OFFLINE, f"it belongs to no primary component{refusal}"
