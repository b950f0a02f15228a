"""How a Group Replication cluster is judged: whose view counts, and who is offered for what.

Owns those rules. Must not know the clock, nor how old an observation may be: what comes here is fresh.

The rules, in their order:

1. A member's *view* counts only if the member itself stands ONLINE or RECOVERING in it and more than half of its
   rows do (quorum), and if it is not older than the last view that was trusted.
2. Views of different groups or prefixes never merge. The group that was trusted last may speak. Another may only
   where more than half of the listed members report it, or every other one is known to be out (it says so, or nothing
   listens there): anyone can found a group of its own. Before any was trusted, one member may speak for a view of more
   than half of them, once all have been looked at. Of those that may, the one that more members report wins, then the
   one that was trusted, then the larger; a tie trusts none. Of views with one prefix the highest counter wins.
   Observers of the winning view are the *voters*; others are not offered.
3. A member's state is what most voters besides itself say; its own word decides a tie or stands alone.
4. A member's own word against itself always counts (Group Replication stopped there, offline_mode).
5. PRIMARY is offered for one that the voters agree on, and that by its own report is writable and sees a majority
   (or was offered before, while it cannot be asked). Where voters disagree, as during a switchover, only for one that
   itself reports PRIMARY and `read_only = 0`. In single-primary mode never for two.
6. No countable view: if some member does answer from inside a minority, or all say that they are out, nobody is
   offered (NO_QUORUM), unless `Policy.quorum` has those inside used all the same; if nobody can tell, the last known
   roles stay (BLIND) and the age tells how old they are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from cluster.evidence import Evidence, QuorumPolicy
from cluster.members import Member, Role, State
from cluster.observations import LIVE, Observation, Outcome, Report, ViewId, ViewRow
from cluster.standing import keep_last_known, offline, why_unheard
from cluster.topology import MemberStatus, Topology, Trust, UnlistedMember

NO_VIEW_ID = ViewId("", 0)


@dataclass(frozen=True, slots=True)
class _Verdict:
    """What the voters say of one server."""

    row: ViewRow
    role: Role
    state: State
    offered: Role | None
    reason: str


def judge_group(evidence: Evidence) -> Topology:
    """Say who may be offered for what."""
    reports, previous = evidence.reports, evidence.previous
    voters, conflict = _voters(evidence)
    if voters:
        return _by_majority(evidence.listed, evidence.fresh, reports, voters, previous)
    return _without_view(evidence, conflict)


def has_quorum(report: Report) -> bool:
    """Whether the member stands in its own view and more than half of that view is alive."""
    own = report.own_row
    live = sum(row.state in LIVE for row in report.rows)
    return own is not None and own.state in LIVE and 2 * live > len(report.rows)


def _group(report: Report) -> tuple[str, str]:
    return report.group_name, (report.view_id or NO_VIEW_ID).prefix


def _outdated(report: Report, previous: Topology) -> bool:
    view, floor = report.view_id, previous.view_id
    return view is not None and floor is not None and view.prefix == floor.prefix and view.counter < floor.counter


def _voters(evidence: Evidence) -> tuple[list[Report], str]:
    """The reports that carry the winning view; where several may speak and none wins, why."""
    floor = evidence.previous.view_id
    views = {
        name: report
        for name, report in evidence.reports.items()
        if has_quorum(report) and not _outdated(report, evidence.previous)
    }
    # VIEW_ID comes from another table than the rows: a member that has none yet speaks only where nobody ever had one.
    if floor is not None or any(report.view_id is not None for report in views.values()):
        views = {name: report for name, report in views.items() if report.view_id is not None}
    groups: dict[tuple[str, str], dict[str, Report]] = {}
    for name, report in views.items():
        groups.setdefault(_group(report), {})[name] = report
    ranked = sorted(
        (
            ((len(of), floor is not None and prefix == floor.prefix, _size(of.values())), list(of.values()))
            for (_, prefix), of in groups.items()
            if _may_speak(of, evidence)
        ),
        key=lambda pair: pair[0],
        reverse=True,
    )
    if not ranked:
        return [], ""
    if len(ranked) > 1 and ranked[0][0] == ranked[1][0]:
        return [], f"{len(ranked)} groups answer under one name, and none can be preferred"
    winner = ranked[0][1]
    latest = max((report.view_id or NO_VIEW_ID).counter for report in winner)
    return [report for report in winner if (report.view_id or NO_VIEW_ID).counter == latest], ""


def _may_speak(group: Mapping[str, Report], evidence: Evidence) -> bool:
    """Whether those that report one group may speak for the listed members (rule 2)."""
    floor = evidence.previous.view_id
    others = [member.name for member in evidence.listed if member.name not in group]
    if 2 * len(group) > len(evidence.listed) or all(_known_out(evidence.fresh.get(name)) for name in others):
        return True
    if floor is not None:
        return any(report.view_id is not None and report.view_id.prefix == floor.prefix for report in group.values())
    return 2 * _size(group.values()) > len(evidence.listed) and all(name in evidence.fresh for name in others)


def _known_out(seen: Observation | None) -> bool:
    return seen is not None and (bool(_says_out(seen)) or seen.outcome in {Outcome.REFUSED, Outcome.SHUTTING_DOWN})


def _size(reports: Iterable[Report]) -> int:
    """How many members are alive in the largest of the views."""
    return max(sum(row.state in LIVE for row in report.rows) for report in reports)


def _by_majority(
    listed: Sequence[Member],
    fresh: Mapping[str, Observation],
    reports: Mapping[str, Report],
    voters: list[Report],
    previous: Topology,
) -> Topology:
    verdicts = _verdicts(voters, reports.values(), previous)
    claimed = _claims(listed, reports, voters, verdicts, previous)
    uuids = {name: uuid for uuid, name in claimed.items()}
    statuses: list[MemberStatus] = []
    for member in listed:
        uuid = uuids.get(member.name)
        verdict = verdicts.get(uuid) if uuid else None
        own = reports.get(member.name)
        if uuid is None and own is not None:
            status = MemberStatus(member, own.uuid, reason=f"the same server as {claimed[own.uuid]}")
        elif verdict is None:
            state = own.own_row.state if own and own.own_row and own.own_row.state not in LIVE else State.UNKNOWN
            status = MemberStatus(member, uuid, state=state, reason=_why_unknown(fresh.get(member.name)))
        else:
            status = MemberStatus(member, uuid, verdict.role, verdict.state, verdict.offered, reason=verdict.reason)
            if own is not None:
                status = replace(status, queued=own.queued, lag=own.lag, load=own.load)
            against = _says_out(fresh.get(member.name))
            status = replace(status, offered=None, reason=against) if against else status
        statuses.append(status)
    unlisted = tuple(
        UnlistedMember(uuid, verdict.row.host, verdict.row.port, verdict.role, verdict.state)
        for uuid, verdict in sorted(verdicts.items())
        if uuid not in claimed
    )
    taken_at = max(seen.taken_at for seen in fresh.values() if seen.report in voters)
    return Topology(
        taken_at=taken_at,
        trust=Trust.QUORUM,
        reason="",
        view_id=voters[0].view_id or previous.view_id,
        members=tuple(statuses),
        unlisted=unlisted,
    )


def _verdicts(voters: list[Report], reports: Iterable[Report], previous: Topology) -> dict[str, _Verdict]:
    by_uuid: dict[str, dict[str, ViewRow]] = {}  # server -> voter -> what that voter sees
    for voter in voters:
        for row in voter.rows:
            by_uuid.setdefault(row.uuid, {})[voter.uuid] = row
    voting = {voter.uuid for voter in voters}
    asked = {report.uuid: report for report in reports} | {voter.uuid: voter for voter in voters}
    offered_before = {status.uuid for status in previous.primaries()}
    claims = {uuid for uuid, seen in by_uuid.items() if any(row.role is Role.PRIMARY for row in seen.values())}
    several = not all(voter.single_primary for voter in voters)
    disputed = not several and (
        len(claims) > 1 or any(row.role is not Role.PRIMARY for uuid in claims for row in by_uuid[uuid].values())
    )
    verdicts: dict[str, _Verdict] = {}
    for uuid, seen in by_uuid.items():
        row, own = next(iter(seen.values())), asked.get(uuid)
        state = _state_by_vote(uuid, seen)
        role = _role_by_vote(uuid, seen)
        offered: Role | None = None
        reason = "" if state is State.ONLINE else f"the majority sees it {state.value}"
        if state is State.ONLINE and role is Role.SECONDARY:
            offered = Role.SECONDARY
        elif state is State.ONLINE and role is Role.PRIMARY:
            if own is not None and own.read_only:
                reason = "not writable yet"
            elif own is not None and not has_quorum(own):
                reason = "it sees no majority itself"
            elif uuid not in voting and (disputed or uuid not in offered_before):
                reason = "cannot be asked whether it is writable"
            else:
                offered = Role.PRIMARY
        elif state is State.ONLINE:
            reason = "its role is disputed and it cannot be asked"
        verdicts[uuid] = _Verdict(row, role, state, offered, reason)
    writers = [uuid for uuid, verdict in verdicts.items() if verdict.offered is Role.PRIMARY]
    if not several and len(writers) > 1:
        for uuid in writers:
            verdicts[uuid] = replace(verdicts[uuid], offered=None, reason="more than one reports itself as primary")
    return verdicts


def _state_by_vote(uuid: str, seen: Mapping[str, ViewRow]) -> State:
    votes = Counter(row.state for voter, row in seen.items() if voter != uuid)
    for voices in (votes, votes + Counter(row.state for voter, row in seen.items() if voter == uuid)):
        ranked = voices.most_common(2)
        if len(ranked) == 1 or (len(ranked) == 2 and ranked[0][1] > ranked[1][1]):
            return ranked[0][0]
    return min((row.state for row in seen.values()), key=lambda state: state is State.ONLINE)  # a tie: not ONLINE


def _role_by_vote(uuid: str, seen: Mapping[str, ViewRow]) -> Role:
    roles = {row.role for row in seen.values()}
    if len(roles) == 1:
        return roles.pop()
    return seen[uuid].role if uuid in seen else Role.UNKNOWN


def _claims(
    listed: Sequence[Member],
    reports: Mapping[str, Report],
    voters: list[Report],
    verdicts: Mapping[str, _Verdict],
    previous: Topology,
) -> dict[str, str]:
    """Which member each server is, by its UUID: what a member reports goes before what is remembered or guessed."""
    claimed: dict[str, str] = {}
    voting = [member for member in listed if reports.get(member.name) in voters]
    for member in (*voting, *listed):
        if member.name in reports:
            claimed.setdefault(reports[member.name].uuid, member.name)
    for known in (_remembered, _guessed):
        for member in listed:
            if member.name not in reports and member.name not in claimed.values():
                uuid = known(member, verdicts, previous)
                if uuid is not None:
                    claimed.setdefault(uuid, member.name)
    return claimed


def _remembered(member: Member, verdicts: Mapping[str, _Verdict], previous: Topology) -> str | None:
    before = previous.status_of(member.name)
    return before.uuid if before is not None and before.member == member else None


def _guessed(member: Member, verdicts: Mapping[str, _Verdict], previous: Topology) -> str | None:
    """The one row that names the member's address, for a member that could not be asked yet."""
    names = {member.name, member.name.partition(".")[0]} | ({member.classic.host} if member.classic else set())
    matching = [
        uuid
        for uuid, verdict in verdicts.items()
        if verdict.row.host in names and member.classic and verdict.row.port == member.classic.port
    ]
    return matching[0] if len(matching) == 1 else None


def _without_view(evidence: Evidence, conflict: str) -> Topology:
    listed, fresh, reports, previous = evidence.listed, evidence.fresh, evidence.reports, evidence.previous
    minority = any(
        report.own_row is not None and report.own_row.state in LIVE and not has_quorum(report)
        for report in reports.values()
    )
    all_out = bool(listed) and all(_says_out(fresh.get(member.name)) for member in listed)
    if not (minority or all_out or conflict):
        strangers = [name for name, report in reports.items() if _is_stranger(report)]
        reason = f"{', '.join(strangers)}: in a view that most members do not confirm" if strangers else ""
        reason = reason or ("no member could be asked" if listed else "no member is known")
        return keep_last_known(evidence, reason, lambda seen: _says_out(seen) or _says_strange(seen))
    offers = {} if conflict else _offers_without_quorum(evidence)
    statuses = []
    for member in listed:
        report = reports.get(member.name)
        before = previous.status_of(member.name)
        own = report.own_row if report else None
        offered = offers.get(member.name)
        against = _says_out(fresh.get(member.name))
        unheard = "it answers, but from no majority" if report else _why_unknown(fresh.get(member.name))
        statuses.append(
            MemberStatus(
                member,
                report.uuid if report else before.uuid if before else None,
                role=own.role if own and offered else Role.UNKNOWN,
                state=own.state if own else State.UNKNOWN,
                offered=offered,
                queued=report.queued if report else 0,
                reason=against or unheard,
            )
        )
    newest = max((seen.taken_at for seen in fresh.values()), default=previous.taken_at)
    reason = conflict or ("every member says it is out of the group" if all_out else "no majority of the group answers")
    return Topology(0, newest, Trust.NO_QUORUM, reason, previous.view_id, tuple(statuses))


def _offers_without_quorum(evidence: Evidence) -> dict[str, Role]:
    """Whom the policy has used all the same: those inside a minority, never one that takes itself for a majority."""
    policy = evidence.policy.quorum
    inside = {
        name: report
        for name, report in evidence.reports.items()
        if not _says_out(evidence.fresh[name])
        and report.own_row is not None
        and report.own_row.state is State.ONLINE
        and not has_quorum(report)
    }
    if policy is QuorumPolicy.NONE:
        return {}
    offers = dict.fromkeys(inside, Role.SECONDARY)
    if policy is QuorumPolicy.ALL:
        writable = [
            name
            for name, report in inside.items()
            if report.own_row and report.own_row.role is Role.PRIMARY and not report.read_only
        ]
        if len(writable) == 1 or not any(report.single_primary for report in inside.values()):
            offers |= dict.fromkeys(writable, Role.PRIMARY)
    return offers


def _says_out(seen: Observation | None) -> str:
    """Why a member is out of its group by its own word, which always counts; empty where it is in."""
    report = seen.report if seen is not None else None
    if against := offline(seen):
        return against
    if report is None:
        return ""
    if not report.rows:
        return "Group Replication is not running there"
    if report.own_row is None:
        return "it says itself that it is in no group"
    return "" if report.own_row.state in LIVE else f"it says itself that it is {report.own_row.state.value}"


def _why_unknown(seen: Observation | None) -> str:
    if seen is None or seen.report is None:
        return _says_out(seen) or why_unheard(seen)
    return _says_out(seen) or "the majority's view does not contain it"


def _is_stranger(report: Report) -> bool:
    return has_quorum(report) and report.view_id is not None


def _says_strange(seen: Observation | None) -> str:
    """Why a member is not to be used whose view has a majority of its own making; only where no view won."""
    report = seen.report if seen is not None else None
    return "most members do not confirm its view" if report is not None and _is_stranger(report) else ""
