"""Who replicates from whom: the members of a cluster by their servers, and how one follows another.

Owns what `replication_rules` decides by. Must not know who is offered for what.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from cluster.evidence import Evidence
from cluster.members import Endpoint, Role
from cluster.observations import Channel, Observation, Receiver, Report
from cluster.standing import offline


@dataclass(frozen=True, slots=True)
class Servers:
    """The members by the UUIDs of their servers.

    names: who each known server is; for one that cannot be asked, as it was last known.
    reports: of those that answer.
    last_primary: the one that was PRIMARY last, if it is still among the members.
    """

    evidence: Evidence
    names: Mapping[str, str]
    reports: Mapping[str, Report]
    by_endpoint: Mapping[Endpoint, str]
    last_primary: str | None

    @classmethod
    def of(cls, evidence: Evidence) -> Servers:
        """Tell the servers apart. Of two members with one UUID, the one that was offered before is that server."""
        names: dict[str, str] = {}
        reports: dict[str, Report] = {}
        offered = {one.member.name: one.uuid for one in evidence.previous.members if one.offered is not None}
        for name, report in sorted(
            evidence.reports.items(), key=lambda item: (offered.get(item[0]) != item[1].uuid, item[0])
        ):
            if names.setdefault(report.uuid, name) == name:
                reports[report.uuid] = report
        for member in evidence.listed:
            before = evidence.previous.status_of(member.name)
            if member.name not in evidence.reports and before and before.uuid and before.member == member:
                names.setdefault(before.uuid, member.name)
        uuids = {name: uuid for uuid, name in names.items()}
        places = {one.classic: uuids[one.name] for one in evidence.listed if one.classic and one.name in uuids}
        last = evidence.previous.last_primary
        return cls(evidence, names, reports, places, last if last in names else None)

    def name(self, uuid: str) -> str:
        """The member's name, or the UUID of a server that is not listed."""
        return self.names.get(uuid, uuid)

    def seen(self, uuid: str) -> Observation | None:
        """The latest look at it, if that is fresh."""
        return self.evidence.fresh.get(self.names.get(uuid, ""))

    def was_secondary(self, uuid: str) -> bool:
        """Whether it has been seen read-only since another one became PRIMARY."""
        before = self.evidence.previous.status_of(self.names[uuid])
        return before is not None and before.uuid == uuid and before.role is Role.SECONDARY

    def channels(self, uuid: str) -> tuple[Channel, ...]:
        """Its channels by its own word; none where it does not answer."""
        report = self.reports.get(uuid)
        return report.replication.channels if report and report.replication else ()

    def source(self, channel: Channel) -> str:
        """The UUID at the other end; empty where it is unknown."""
        return channel.source_uuid or self.by_endpoint.get(Endpoint(channel.host, channel.port), "")

    def place(self, channel: Channel) -> str:
        """What is at the other end, for people."""
        return self.names.get(self.source(channel)) or str(Endpoint(channel.host, channel.port))

    def writable(self, uuid: str) -> bool:
        """Whether it answers and takes writes by its own word."""
        report = self.reports.get(uuid)
        return report is not None and not report.read_only and not offline(self.seen(uuid))

    def followed(self, uuid: str) -> Iterator[str]:
        """The listed servers that it replicates from, connected or not."""
        for channel in self.channels(uuid):
            if channel.receiver is not Receiver.OFF or channel.applying:
                source = self.source(channel)
                if source in self.names and source != uuid:
                    yield source

    def vouchers(self, uuid: str) -> frozenset[str]:
        """The others that are connected to it, directly or through members between."""
        connected = {
            other: {one.source_uuid for one in self.channels(other) if one.receiver is Receiver.ON}
            for other in self.reports
        }
        reached = {uuid}
        while more := {other for other, sources in connected.items() if other not in reached and sources & reached}:
            reached |= more
        return frozenset(reached - {uuid})


@dataclass(frozen=True, slots=True)
class Line:
    """How a replica follows.

    broken: why it does not, else empty; `failed` where it is an error that stopped it.
    doubt: with what reservation it does.
    """

    broken: str = ""
    failed: bool = False
    doubt: str = ""
    waiting: int = 0
    lag: float | None = None


def follow(uuid: str, target: str | None, servers: Servers) -> Line:
    """How a server follows the target, through others if need be; any source, where there is no target."""
    return _follow(uuid, target, servers, {})


def judge_channel(channel: Channel) -> Line:
    """How a channel stands by itself, whatever its source may be."""
    line = Line(waiting=channel.waiting, lag=channel.lag)
    if not channel.applying:
        error = channel.applier_error
        broken = f"its applier has stopped: {error}" if error else "its applier is stopped"
        return replace(line, broken=broken, failed=bool(error))
    if channel.receiver is Receiver.ON:
        return line
    error = f": {channel.receiver_error}" if channel.receiver_error else ""
    doubt = f"its receiver is not connected ({channel.receiver.value}){error}"
    if channel.silent is None:
        return replace(line, broken=f"{doubt}; it has heard nothing yet", lag=None)
    return replace(line, doubt=doubt, lag=max(channel.lag, channel.silent))


def _follow(uuid: str, target: str | None, servers: Servers, known: dict[str, Line | None]) -> Line:
    """Search for a whole line, through each server once: with all paths tried, nine servers would take seconds.

    Args:
        known: of the servers come by so far what is broken there, None for those on the way to this one.
    """
    known[uuid] = None
    lines: list[Line] = []
    for channel in servers.channels(uuid):
        lines.append(_along(channel, target, servers, known))
        if not lines[-1].broken:
            return lines[-1]
    known[uuid] = broken = lines[0] if lines else Line("it replicates from nobody")
    return broken


def _along(channel: Channel, target: str | None, servers: Servers, known: dict[str, Line | None]) -> Line:
    source, line = servers.source(channel), judge_channel(channel)
    between = source != target and source in servers.reports and bool(servers.channels(source))
    circular = source in known and known[source] is None
    if source != target and target is not None and (circular or not between):
        return Line(f"it replicates from {servers.place(channel)}, not from {servers.name(target)}")
    if line.broken or not between or circular:  # what is above a broken channel leads nowhere
        return line
    above = known.get(source) or _follow(source, target, servers, known)
    if above.broken:
        return Line(f"its source is {servers.name(source)}: {above.broken}")
    return replace(line, doubt=line.doubt or above.doubt, lag=max(line.lag or 0.0, above.lag or 0.0))
