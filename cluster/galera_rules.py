"""How a Galera cluster is judged: which component counts, and who is offered for what.

Owns those rules; the first three are carried out in `galera_components`. Must not know the clock, nor how old an
observation may be: what comes here is fresh.

Every node of a Galera cluster takes writes. Two writers are safe, for what they write is certified; but where they
meet, one of them gets a deadlock error (1213). So one node is offered as PRIMARY, and the others as SECONDARY. The
rules, in their order:

1. A node *counts* where it says that its component is primary (has a majority), that it is connected, and that it is
   ready. Nodes that name the same state UUID and configuration number form one *component*, unless their lists of
   addresses have nothing in common; two components never merge.
2. The configuration number rises with each change while the cluster lives, and begins anew when it does. So a component
   with a lower number than the one trusted last counts only if one of its nodes has begun anew since: it has
   restarted (`wsrep_gcomm_uuid` is another after each start), or said meanwhile that it is in none. For a frozen node
   that goes on claims for seconds what was true when it was frozen.
3. Of components with one state UUID and a common node the later one wins, unless only the earlier has a node that was
   trusted last. Else the one with a node that was trusted last stays, among several of these the one with the writer;
   else the one of which more nodes report, then the larger; a tie trusts none.
4. Inside the winner are its nodes, and those that it lists and that speak of an earlier configuration: they were asked
   before the change. A node inside is offered while it is Synced, unless it rejects statements
   (`wsrep_reject_queries`). Donor/Desynced, Joined and Joining ones are not: they are behind, and a donor may not even
   answer.
5. The writer offered last stays while it is Synced, has `read_only = OFF` and has not restarted. As a donor it stays
   for `DONOR_GRACE`, and beyond while no other can take its place: to bring a node back that was away for a moment
   takes its donor less than a second, in which it takes writes. Else the writer is the one that has been up longest,
   so that a node that returns does not take the role; of those that started within `UPTIME_GRAIN` the first by name.
   Nodes with `read_only = ON` are read from only.
6. Who has known no writer yet prefers the node that writes began on while it was being looked at, above uptime: the
   role may have moved without a restart. None is chosen before every member was asked twice. Routers do not talk, so
   two may still have chosen differently: where nobody wrote at that moment, where a node was out of Synced so briefly
   that only one of them saw it, or where two nodes started about `UPTIME_GRAIN` apart. It lasts until either writer
   leaves, and costs conflicts, not data.
7. One that answers but does not let itself be asked stays as it was offered while the component lists its address.
   Silence is no such answer: the role moves, for whoever hangs for us most likely hangs for its users.
8. No component that counts: if some node says that it is in none, nobody is offered (NO_QUORUM). Without a majority a
   node refuses statements (error 1047), so the policies `read` and `all` have only those read from that allow it by
   `wsrep_dirty_reads = ON`; none takes writes. If nobody can tell, the last known roles stay (BLIND).

States: ONLINE is Synced, RECOVERING any other state inside the component, OFFLINE what says itself that it is in none,
UNREACHABLE what speaks of a component that the others have left behind. A member's `uuid` is that of its start when it
was in the component trusted last.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from cluster.evidence import Evidence, QuorumPolicy
from cluster.galera_components import Component, choose_component, known_as, own_address
from cluster.galera_components import has_component as has_component  # whoever asks one node judges by it, too
from cluster.members import CLASSIC_PORT, Member, Role, State, parse_endpoint
from cluster.observations import GaleraNode, Observation, Outcome
from cluster.standing import keep_last_known, offline, why_unheard
from cluster.topology import MemberStatus, Topology, Trust, UnlistedMember

UPTIME_GRAIN = 2.0  # seconds; uptimes are whole seconds, and two routers do not ask at the same moment
# Seconds. What a node missed while it restarted is sent in well below one. A donor that sends a whole copy by rsync
# takes no writes until all is sent, and nothing in its status tells.
DONOR_GRACE = 3.0
DONOR, SYNCED = 2, 4
# Of a node inside a component, by `wsrep_local_state`: what it is called here, and why it is not used.
_STANDING: Mapping[int, tuple[State, str]] = {
    0: (State.OFFLINE, "it is starting or ending (Initialized)"),
    1: (State.RECOVERING, "it is being sent the data (Joining)"),
    DONOR: (State.RECOVERING, "it feeds another node or is backed up, and falls behind meanwhile (Donor/Desynced)"),
    3: (State.RECOVERING, "it is catching up with the others (Joined)"),
    SYNCED: (State.ONLINE, ""),
}
_STRANGE = (State.ERROR, "it is in a state that no healthy node has")
# A look that ended so shows a server that answers, and says nothing of the node itself: it may well serve others.
_CANNOT_BE_ASKED = frozenset({Outcome.DENIED, Outcome.LOCKED, Outcome.TLS, Outcome.TOO_MANY, Outcome.ALIVE})


def judge_galera(evidence: Evidence) -> Topology:
    """Say who may be offered for what."""
    component, conflict = choose_component(evidence)
    return _by_component(evidence, component) if component else _without_component(evidence, conflict)


def _by_component(evidence: Evidence, component: Component) -> Topology:
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
        taken_at=max(evidence.fresh[name].taken_at for name in component.nodes),
        trust=Trust.QUORUM,
        reason="",
        view_id=component.view_id,
        members=tuple(statuses),
        unlisted=_unlisted(component, evidence),
    )


def _status(member: Member, component: Component, evidence: Evidence) -> MemberStatus:
    """One member as the winner has it; the writer is chosen later."""
    seen, before = evidence.fresh.get(member.name), evidence.previous.status_of(member.name)
    report = evidence.reports.get(member.name)
    if report is None:
        return _status_unheard(member, seen, component, before)
    state, reason = _standing(member.name, report.galera, component)
    status = MemberStatus(
        member, report.uuid, state=state, reason=reason, queued=report.queued, lag=report.lag, load=report.load
    )
    if member.name not in component.nodes:
        return replace(status, uuid=known_as(member, evidence.previous))
    return replace(status, role=Role.SECONDARY, offered=None if reason else Role.SECONDARY)


def _status_unheard(
    member: Member, seen: Observation | None, component: Component, before: MemberStatus | None
) -> MemberStatus:
    if before is None or before.member != member:
        return MemberStatus(member, reason=why_unheard(seen))
    if before.offered and seen is not None and seen.outcome in _CANNOT_BE_ASKED and _is_listed(member, component):
        # Not as PRIMARY yet, which is for one to be.
        return replace(before, role=Role.SECONDARY, offered=Role.SECONDARY, reason="")
    return MemberStatus(member, before.uuid, reason=why_unheard(seen))


def _standing(name: str, node: GaleraNode | None, component: Component | None) -> tuple[State, str]:
    """The state of one that answers, and why it is not used; empty where it may be."""
    if node is None:
        return State.OFFLINE, "Galera is not running there"
    if not has_component(node) or (component is not None and name in component.nodes):
        return _own_word(node)
    if component is None:
        return State.UNREACHABLE, "it speaks of a component that cannot be trusted"
    if node.state_uuid != component.view_id.prefix:
        return State.UNREACHABLE, "it belongs to another cluster"
    return State.UNREACHABLE, "it belongs to another component, or speaks of an earlier one"


def _own_word(node: GaleraNode) -> tuple[State, str]:
    if not node.connected:
        return State.OFFLINE, "it is not connected to a cluster: Galera starts or ends there"
    if not node.primary:
        refusal = "" if node.dirty_reads else ", and refuses statements (wsrep_dirty_reads = OFF)"
        return State.OFFLINE, f"it belongs to no primary component{refusal}"
    state, reason = _STANDING.get(node.local_state, _STRANGE)
    if node.rejects:
        reason = "it rejects statements (wsrep_reject_queries)"
    elif node.desync and reason:
        reason = "it is desynced by its administrator (wsrep_desync = ON)"
    return (state, reason) if node.ready or reason else (State.RECOVERING, "it is not ready for statements yet")


def _without_doubles(statuses: Sequence[MemberStatus], component: Component) -> list[MemberStatus]:
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


def _choose_writer(statuses: Sequence[MemberStatus], component: Component, evidence: Evidence) -> str | None:
    nodes, last = component.nodes, evidence.previous.last_primary
    usable = {status.member.name: status.uuid for status in statuses if status.offered is not None}
    writable = [name for name in usable if name not in nodes or not evidence.reports[name].read_only]
    if kept := [name for name in writable if usable[name] == last]:
        return kept[0]
    able = [name for name in writable if name in nodes] if len(evidence.fresh) == len(evidence.listed) else []
    donor = next((one.member.name for one in statuses if one.uuid == last and _may_write_as_donor(one, evidence)), None)
    if donor is not None and (not able or nodes[donor].in_state < DONOR_GRACE):
        return donor
    if last is None:
        if not all(nodes[name].compared for name in able):
            return None  # where writes are is not told yet; the next look does
        most = max((nodes[name].written for name in able), default=0.0)
        able = [name for name in able if nodes[name].written == most]
    started = {name: evidence.fresh[name].taken_at - nodes[name].uptime for name in able}
    earliest = min(started.values(), default=0.0)
    return min((name for name, at in started.items() if at - earliest <= UPTIME_GRAIN), default=None)


def _may_write_as_donor(status: MemberStatus, evidence: Evidence) -> bool:
    report = evidence.reports.get(status.member.name)
    if report is None or report.galera is None or status.role is not Role.SECONDARY:
        return False
    return report.galera.local_state == DONOR and not report.galera.rejects and not report.read_only


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


def _is_listed(member: Member, component: Component) -> bool:
    return bool(_addresses_of(member) & _read_addresses(component.addresses))


def _unlisted(component: Component, evidence: Evidence) -> tuple[UnlistedMember, ...]:
    """Nodes of the component that are not among ours: by their address, or by their own word on which is theirs."""
    ours = {address for member in evidence.listed for address in _addresses_of(member)}
    ours.update(_read_addresses(own_address(node) for node in component.nodes.values()))
    return tuple(
        UnlistedMember("", host, port, Role.UNKNOWN, State.UNKNOWN)
        for host, port in sorted(_read_addresses(component.addresses))
        if (host, port) not in ours
    )


def _without_component(evidence: Evidence, conflict: str) -> Topology:
    listed, fresh, reports, previous = evidence.listed, evidence.fresh, evidence.reports, evidence.previous
    nodes = {name: report.galera for name, report in reports.items() if report.galera is not None}
    # One that is not connected, as while it starts or ends, knows nothing of the others.
    if not conflict and all(node.primary for node in nodes.values() if node.connected):
        words = "no node of the component trusted last could be asked" if nodes else "no node could be asked"
        return keep_last_known(evidence, words if listed else "no member is known", _says_out)
    readable = not conflict and evidence.policy.quorum is not QuorumPolicy.NONE
    statuses = []
    for member in listed:
        report, node = reports.get(member.name), nodes.get(member.name)
        status = MemberStatus(member, known_as(member, previous), reason=why_unheard(fresh.get(member.name)))
        if report is not None:
            state, reason = _standing(member.name, node, None)
            status = replace(status, state=state, reason=reason, queued=report.queued, load=report.load)
        if readable and node is not None and not node.primary and node.dirty_reads and not node.rejects:
            status = replace(status, role=Role.SECONDARY, offered=Role.SECONDARY)
        statuses.append(status)
    return Topology(
        taken_at=max(fresh[name].taken_at for name in nodes),
        trust=Trust.NO_QUORUM,
        reason=conflict or "no primary component answers",
        view_id=previous.view_id,
        members=tuple(statuses),
        last_primary=previous.last_primary,
    )


def _says_out(seen: Observation | None) -> str:
    """Why a node is not to be used by its own word, which always counts; empty where it says nothing of the kind."""
    node = seen.report.galera if seen is not None and seen.report is not None else None
    return offline(seen) or (_own_word(node)[1] if node is not None else "")
