"""What is said of members whatever their flavour: their own word against themselves, and what is kept of them.

Pure, for the rules of flavours to use.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from cluster.evidence import Evidence
from cluster.members import State
from cluster.observations import Observation, Outcome
from cluster.topology import MemberStatus, Topology, Trust

SaysOut = Callable[[Observation | None], str]
"""Why a member is not to be used by its own word; empty where it says nothing of the kind."""


def offline(seen: Observation | None) -> str:
    """Whether a member says that it is in offline_mode: what every flavour has."""
    report = seen.report if seen is not None else None
    turned_away = seen is not None and seen.outcome is Outcome.OFFLINE_MODE
    return "it is in offline_mode" if turned_away or (report is not None and report.offline_mode) else ""


def keep_last_known(evidence: Evidence, reason: str, says_out: SaysOut = offline) -> Topology:
    """A topology of what was last known: nobody can confirm or refute it (BLIND)."""
    previous = evidence.previous
    kept = []
    for member in evidence.listed:
        before, seen = previous.status_of(member.name), evidence.fresh.get(member.name)
        against = says_out(seen)
        if before is None or before.member != member:
            status = MemberStatus(member, reason=against or why_unheard(seen))
        elif before.offered is None:
            status = replace(before, reason=against or why_unheard(seen))
        else:
            status = replace(before, state=State.UNKNOWN, offered=None, reason=against) if against else before
        kept.append(status)
    return replace(previous, trust=Trust.BLIND, reason=reason, members=tuple(kept))


def why_unheard(seen: Observation | None) -> str:
    """Why nothing is known of a member, by the latest look at it."""
    return "no answer yet" if seen is None else f"{seen.outcome.value}: {seen.detail}".removesuffix(": ")
