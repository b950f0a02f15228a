"""From observations to a topology: one pure function.

Owns what is common to all flavours: age, which flavour's rules apply, and limits. Must not know how observations are
made, nor the clock: `now` is given.

1. Observations older than `Policy.max_age` do not count.
2. The flavour that is set, or told from what members report, says whose rules apply: the table `RULES`.
3. Where too few answer to tell the flavour, the last known roles stay (BLIND).
4. Members that are too late are withdrawn from reading (`lag`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from cluster.evidence import Evidence, Policy
from cluster.flavours import Flavour, tell
from cluster.galera_rules import judge_galera
from cluster.group_rules import judge_group
from cluster.lag import judge_lag
from cluster.members import Member
from cluster.observations import Observation
from cluster.replication_rules import judge_replication
from cluster.standing import keep_last_known
from cluster.topology import Topology

#: How each flavour's members are judged. The next flavour is another entry.
RULES: Mapping[Flavour, Callable[[Evidence], Topology]] = {
    Flavour.GROUP_REPLICATION: judge_group,
    Flavour.GALERA: judge_galera,
    Flavour.REPLICATION: judge_replication,
}


def diagnose(
    members: Iterable[Member],
    observations: Mapping[str, Observation],
    *,
    now: float,
    previous: Topology,
    policy: Policy,
) -> Topology:
    """Say who may be offered for what.

    Args:
        members: the members to speak of; observations of others are ignored.
        observations: the latest one by member name.
        now: monotonic seconds, the clock of `Observation.taken_at`.
        previous: the topology before this one; its view sets the floor for views that count.
        policy: limits.

    Returns:
        A topology with `previous.version`, raised by one where a fact changed.
    """
    listed = tuple(sorted(set(members), key=lambda member: member.name))
    fresh = {
        member.name: seen
        for member in listed
        if (seen := observations.get(member.name)) is not None and now - seen.taken_at <= policy.max_age
    }
    reports = {name: seen.report for name, seen in fresh.items() if seen.report is not None}
    evidence = Evidence(listed, fresh, reports, previous, policy, now)
    claims = [report.flavour for report in reports.values()]
    all_asked = len(fresh) == len(listed)
    flavour = policy.flavour or tell(claims, len(listed), previous.flavour, all_asked=all_asked)
    rules = RULES.get(flavour) if flavour else None
    topology = rules(evidence) if rules else keep_last_known(evidence, _why_not_judged(evidence))
    topology = replace(judge_lag(topology, previous, policy.lag), version=previous.version, flavour=flavour)
    return topology if topology.same_facts(previous) else replace(topology, version=previous.version + 1)


def _why_not_judged(evidence: Evidence) -> str:
    if not evidence.listed:
        return "no member is known"
    return (
        "too few members answer to tell how they replicate: set the flavour"
        if evidence.reports
        else "no member could be asked"
    )
