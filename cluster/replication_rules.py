"""How servers in asynchronous or semi-synchronous replication are judged: who is the source, and who may be read from.

Owns those rules. Must not know the clock, nor how old an observation may be: what comes here is fresh.

Nothing here has a majority: whoever promotes a replica decides, and tells nobody. So QUORUM means less than it does for
a group, that members answer and their words fit together, and `Policy.quorum` does not apply. A source that is cut off
from its replicas together with us cannot be told from one that has merely lost them: only fencing by whoever promotes
another prevents that. As soon as the replicas can be asked, they decide.

The rules, in their order:

1. *Contenders* for PRIMARY are the members that answer and are writable, by their own word, and do not themselves
   replicate from another listed member. Exempt are two that replicate from each other, and the last PRIMARY as long as
   its own source is not writable: with a ring, or with its passive half down, writes must go on.
2. A *voucher* is another member that answers and whose receiver is connected to the contender, directly or through
   members between.
3. The last PRIMARY, while it cannot be asked, still contends if it has a voucher, or if it is merely our account that
   it turns away and no replica says that it has lost it.
4. The contender with the most vouchers is PRIMARY. Among equals it is the last PRIMARY; else none, for then two are
   writable and only a person can tell which is right (split brain).
5. One without any voucher, that was not the last PRIMARY, is accepted only if no answering member is connected to a
   member that cannot be asked; and if it was seen read-only while the last PRIMARY was, or, where none is known, if at
   least half of the members answer. So an old source that returns writable is not taken for a new one. While no PRIMARY
   is known, one that makes up less than a majority with its vouchers waits until every member has been looked at, with
   whatever outcome: else the first answer would decide between two, in each router another way.
6. SECONDARY is offered for a member that is read-only and follows the PRIMARY, directly or through listed members that
   do themselves, with an applier that runs, and that has no errant transactions. While there is no PRIMARY, the last
   one is what is followed, and that one may itself be read from once it is read-only. *Errant* is what the PRIMARY
   still lacks when it is asked after the replica has told of it, for the two are not asked at one instant; until then,
   and while the PRIMARY cannot be asked, the last verdict stays. What was begun on the PRIMARY, or on a server that it
   replicates from and so will have it from, is never errant.
7. A replica's lag is that of what it applies, or of its source if that is later. Where its receiver is not connected,
   what it lacks is unknown: it then counts as late since it last heard of its source, so that reads survive a failover
   and not much more; where it never heard of it, it is not offered. What a connected receiver has yet to fetch cannot
   be told. The limits are those of `cluster.lag`.
8. A member's word against itself (offline_mode) always counts. No answer at all: the last known roles stay (BLIND).
9. A server on which `group_replication_group_name` is set is asked as a member of that group, also where this flavour
   is set: its channels stay unknown, and read-only it is not offered. The variable must be empty there.
"""

from __future__ import annotations

from dataclasses import replace

from cluster.evidence import Evidence
from cluster.gtids import GtidSet
from cluster.members import Member, Role, State
from cluster.observations import Outcome, Receiver
from cluster.sources import Servers, follow
from cluster.standing import keep_last_known, offline, why_unheard
from cluster.topology import MemberStatus, Surplus, Topology, Trust

#: Outcomes of a look at a server that is there: it is we who may not ask it.
THERE = frozenset({Outcome.ALIVE, Outcome.DENIED, Outcome.TOO_MANY})
#: Servers named in a reason as those on which errant transactions were begun: it is nearly always one.
UUIDS_TOLD = 3


def judge_replication(evidence: Evidence) -> Topology:
    """Say who may be offered for what."""
    if not evidence.reports:
        return keep_last_known(evidence, "no member could be asked" if evidence.listed else "no member is known")
    servers = Servers.of(evidence)
    primary, why_none = _choose(servers)
    last = primary or servers.last_primary
    return Topology(
        taken_at=max(seen.taken_at for seen in evidence.fresh.values() if seen.report is not None),
        trust=Trust.QUORUM,
        reason=why_none,
        members=tuple(_status(member, servers, primary, last, why_none) for member in evidence.listed),
        last_primary=last,
    )


def _choose(servers: Servers) -> tuple[str | None, str]:
    """The UUID of the PRIMARY, or None and why there is none."""
    contenders = [uuid for uuid in sorted(servers.reports) if servers.writable(uuid) and not _bar(uuid, servers)]
    last = servers.last_primary
    if last and _contends_unasked(last, servers):
        contenders.append(last)
    votes = {uuid: len(servers.vouchers(uuid)) for uuid in contenders}
    leading = [uuid for uuid in contenders if votes[uuid] == max(votes.values())]
    if last in leading:
        return last, ""
    if len(leading) > 1:
        several = ", ".join(sorted(map(servers.name, leading)))
        return None, f"{several} are writable, and the replicas prefer none of them: set all but one read_only"
    if not leading:
        writable = any(map(servers.writable, servers.reports))
        return None, "only replicas are writable" if writable else "no member is writable"
    [only] = leading
    listed = len(servers.evidence.listed)
    if last is None and 2 * (votes[only] + 1) <= listed and len(servers.evidence.fresh) < listed:
        return None, f"{servers.name(only)} is writable, but not every member has been asked yet"
    against = "" if votes[only] else _why_unaccepted(only, servers)
    return (None, f"{servers.name(only)} is writable, but {against}") if against else (only, "")


def _bar(uuid: str, servers: Servers) -> str:
    """The UUID of the member whose replica a writable one is, for which it cannot be the PRIMARY; or empty."""
    for source in servers.followed(uuid):
        ring = uuid in servers.followed(source)
        stays = uuid == servers.last_primary and not servers.writable(source)
        if not ring and not stays:
            return source
    return ""


def _contends_unasked(uuid: str, servers: Servers) -> bool:
    seen = servers.seen(uuid)
    if uuid in servers.reports or offline(seen):
        return False
    if servers.vouchers(uuid):
        return True
    lost = any(servers.source(channel) == uuid for other in servers.reports for channel in servers.channels(other))
    return seen is not None and seen.outcome in THERE and not lost


def _why_unaccepted(uuid: str, servers: Servers) -> str:
    """Why a writable member that nobody replicates from is not taken for the PRIMARY; empty where it is."""
    strangers = len(servers.names) < len(servers.evidence.listed)  # a member that was never asked may be any server
    for other in sorted(servers.reports, key=servers.name):
        for channel in servers.channels(other):
            source = servers.source(channel)
            unasked = source not in servers.reports and (strangers or source in servers.names)
            if other != uuid and channel.receiver is Receiver.ON and unasked:
                return f"{servers.name(other)} replicates from {servers.place(channel)}"
    last = servers.last_primary
    if last is not None and not servers.was_secondary(uuid):
        return f"{servers.name(last)} was the primary last, and no replica follows this one"
    if last is None and 2 * len(servers.reports) < len(servers.evidence.listed):
        return "too few members answer to tell whether another one is the primary"
    return ""


def _status(member: Member, servers: Servers, primary: str | None, last: str | None, why_none: str) -> MemberStatus:
    seen, report = servers.evidence.fresh.get(member.name), servers.evidence.reports.get(member.name)
    before = servers.evidence.previous.status_of(member.name)
    uuid = report.uuid if report else before.uuid if before and before.member == member else None
    if uuid is not None and servers.names.get(uuid) != member.name:
        return MemberStatus(member, uuid, reason=f"the same server as {servers.names[uuid]}")
    stayed = Role.SECONDARY if uuid is not None and servers.was_secondary(uuid) else Role.UNKNOWN
    status = MemberStatus(member, uuid, stayed, load=report.load if report else None)
    if before is not None and before.member == member and before.uuid == uuid != last:
        status = replace(status, errant=before.errant, surplus=before.surplus)
    if uuid is not None and uuid == primary:
        connected = len(servers.vouchers(uuid))
        unasked = f"it cannot be asked ({why_unheard(seen)}); replicas connected to it: {connected}"
        reason, lag = (_semi_sync(uuid, servers), 0.0) if report else (unasked, None)
        return replace(status, role=Role.PRIMARY, state=State.ONLINE, offered=Role.PRIMARY, lag=lag, reason=reason)
    if against := offline(seen):
        return replace(status, state=State.OFFLINE, reason=against)
    if report is None or uuid is None:
        there = seen is not None and seen.outcome in THERE
        role = Role.PRIMARY if uuid is not None and uuid == last else stayed
        return replace(status, role=role, state=_state(there, before), reason=why_unheard(seen))
    if not report.read_only:
        return replace(status, state=State.ONLINE, reason=_why_not_primary(uuid, servers, primary, why_none))
    status = replace(status, role=Role.SECONDARY, state=State.ONLINE)
    if uuid == last:
        return replace(status, offered=Role.SECONDARY, lag=0.0, reason="it was the primary last, and is read-only now")
    line = follow(uuid, last, servers)
    status, unchecked = _compare(replace(status, queued=line.waiting, lag=line.lag), uuid, last, servers)
    if line.broken:
        return replace(status, state=State.ERROR if line.failed else State.ONLINE, reason=line.broken)
    if status.errant:
        begun = ", ".join(status.errant[:UUIDS_TOLD]) + (" and others" if len(status.errant) > UUIDS_TOLD else "")
        lacking = servers.name(last) if last else "the last primary"
        return replace(status, reason=f"it has transactions that {lacking} lacks, begun on {begun}")
    return replace(status, offered=Role.SECONDARY, reason=line.doubt or unchecked)


def _state(there: bool, before: MemberStatus | None) -> State:
    if there:
        return State.ONLINE
    return State.UNREACHABLE if before is not None and before.uuid is not None else State.UNKNOWN


def _why_not_primary(uuid: str, servers: Servers, primary: str | None, why_none: str) -> str:
    own, name = servers.name(uuid), servers.name(primary or "")
    if source := _bar(uuid, servers):
        replica = f"writable replica of {servers.name(source)}"
        if source in servers.reports:
            return f"{replica}: set it read_only"
        return f"{replica}, which cannot be asked: end its channel if it is to be the primary, else set it read_only"
    if primary is None:
        return why_none
    if primary in servers.reports:
        return f"writable beside {name}, which is the primary: set it read_only"
    # Nobody can tell here which of the two is the live one: whoever promoted this one does.
    if replicas := sorted(map(servers.name, servers.vouchers(primary))):
        follow_it = f"{', '.join(replicas)} still {'follows' if len(replicas) == 1 else 'follow'} {name}"
        return f"{own} is writable too; {follow_it}, which cannot be asked: repoint to {own} if {name} is gone"
    return f"{own} is writable too, and {name} cannot be asked: see that only one of them is"


def _semi_sync(uuid: str, servers: Servers) -> str:
    """How the PRIMARY's replicas acknowledge, in words; empty where they need not."""
    replication = servers.reports[uuid].replication
    facts = replication.semi_sync if replication else None
    if facts is None or not facts.wanted:
        return ""
    if not facts.active:
        return "semi-sync has fallen back to asynchronous: too few replicas acknowledge in time"
    direct = sum(any(one.source_uuid == uuid for one in servers.channels(other)) for other in servers.reports)
    return f"semi-sync: {facts.replicas} of {max(facts.replicas, direct)} replicas acknowledge"


def _compare(status: MemberStatus, uuid: str, target: str | None, servers: Servers) -> tuple[MemberStatus, str]:
    """The status with its errant transactions as far as they are known; and why they could not be checked, or empty."""
    mine, other = servers.reports[uuid].replication, servers.reports.get(target or "")
    theirs = other.replication if other else None
    if target is None or mine is None:
        return replace(status, errant=(), surplus=None), ""
    seen = servers.seen(target)
    if theirs is None or seen is None:
        return status, ""
    if mine.executed is None or theirs.executed is None:
        unchecked = f"errant transactions not checked: {mine.not_told or theirs.not_told}"
        return replace(status, errant=(), surplus=None), unchecked
    errant, surplus = status.errant, status.surplus
    if surplus is not None and seen.taken_at > surplus.since:
        errant, surplus = _never_had(surplus.gtids - theirs.executed, target, servers).uuids, None
    ahead = _never_had(mine.executed - theirs.executed, target, servers)
    if not ahead:  # what the target had some time ago it has now
        errant, surplus = (), None
    elif surplus is None:
        surplus = Surplus(ahead, servers.evidence.now)  # by now the answer has come; the question may be much older
    return replace(status, errant=errant, surplus=surplus), ""


def _never_had(gtids: GtidSet, target: str, servers: Servers) -> GtidSet:
    """What neither was begun on the target nor comes to it from where it was begun."""
    gtids = gtids.without(target)
    for channel in servers.channels(target):
        if channel.receiver is Receiver.ON and channel.applying:
            gtids = gtids.without(servers.source(channel))
    return gtids
