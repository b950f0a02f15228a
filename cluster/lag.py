"""Who is too late to be read from. Owns the limits' meaning; pure, and the same for every flavour."""

from __future__ import annotations

from dataclasses import replace

from cluster.evidence import LagLimits, LagPolicy
from cluster.members import Role
from cluster.topology import MemberStatus, Topology, Trust


def judge_lag(topology: Topology, previous: Topology, limits: LagLimits) -> Topology:
    """Withdraw readers that are beyond the limits, and mark those that are well behind.

    One that was withdrawn comes back only when it is below `limits.resume` of them. When all are beyond, the policy
    says which are read from all the same. Nothing new is said of a topology that is BLIND.
    """
    if topology.trust is Trust.BLIND:
        return topology
    shares = {
        status.member.name: _share(status, limits) for status in topology.members if status.offered is Role.SECONDARY
    }
    late = {name for name, share in shares.items() if share > (limits.resume if _was_lagging(previous, name) else 1.0)}
    spared: set[str] = set()
    if late and len(late) == len(shares):
        least = min(shares.values())
        # Whoever was read from stays until another is fresher by a whole limit: the least late change with each look.
        margins = {name: 1.0 if _was_offered(previous, name) else limits.resume for name in shares}
        spared = {
            LagPolicy.FRESHEST: {name for name, share in shares.items() if share <= least + margins[name]},
            LagPolicy.ALL: set(late),
            LagPolicy.NONE: set(),
        }[limits.when_all]
    return replace(
        topology, members=tuple(_judged(status, shares, late, spared, limits) for status in topology.members)
    )


def _judged(
    status: MemberStatus, shares: dict[str, float], late: set[str], spared: set[str], limits: LagLimits
) -> MemberStatus:
    name = status.member.name
    if name not in shares:
        return status
    if name not in late:
        return replace(status, behind=shares[name] > limits.resume)
    if name in spared:
        return replace(status, lagging=True, behind=True, reason=f"late, and no other is less so ({_limit(limits)})")
    return replace(status, lagging=True, offered=None, reason=f"late, beyond {_limit(limits)}")


def _share(status: MemberStatus, limits: LagLimits) -> float:
    """How much of a limit is used up; above 1 is beyond it."""
    seconds = (status.lag or 0.0) / limits.seconds if limits.seconds else 0.0
    queued = status.queued / limits.queued if limits.queued else 0.0
    return max(seconds, queued)


def _was_lagging(previous: Topology, name: str) -> bool:
    before = previous.status_of(name)
    return before is not None and before.lagging


def _was_offered(previous: Topology, name: str) -> bool:
    before = previous.status_of(name)
    return before is not None and before.offered is Role.SECONDARY


def _limit(limits: LagLimits) -> str:
    words = [f"{limits.seconds:g} s"] if limits.seconds else []
    words += [f"{limits.queued} transactions"] if limits.queued else []
    return " or ".join(words)
