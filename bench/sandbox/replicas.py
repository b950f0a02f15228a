"""The members as a source and its replicas, with semi-synchronous acknowledgement: who is what, and making it so.

SQL over Unix sockets, as for a group; knows neither processes nor networks.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.sandbox.deadlines import PACE
from bench.sandbox.errors import SandboxError
from bench.sandbox.grants import GRANTEES
from bench.sandbox.group import VIEW_TIMEOUT, Group, in_parallel
from bench.sandbox.layout import Layout
from bench.sandbox.record import Member
from bench.sandbox.statements import StatementError
from bench.sandbox.views import Standing, all_online, most_advanced, primary_of

STATE_QUERY = (
    "SELECT @@server_uuid, @@read_only, COALESCE((SELECT source_uuid "
    "FROM performance_schema.replication_connection_status JOIN performance_schema.replication_applier_status "
    "USING (channel_name) WHERE channel_name = '' AND replication_connection_status.service_state = 'ON' "
    "AND replication_applier_status.service_state = 'ON'), '')"
)
RECEIVED = (
    "COALESCE((SELECT received_transaction_set FROM performance_schema.replication_connection_status "
    "WHERE channel_name = ''), '')"
)
HELD_QUERY = f"SELECT @@GLOBAL.gtid_executed, GTID_SUBTRACT({RECEIVED}, @@GLOBAL.gtid_executed)"
# Seconds for which a replica may go on applying what it has received before it becomes the source: what was
# acknowledged may be there and nowhere else.
APPLY_TIMEOUT = 20


@dataclass(frozen=True, slots=True)
class Place:
    """What one member says of itself.

    Attributes:
        source: the UUID of the server that it replicates from while both of its threads run; else empty.
    """

    uuid: str
    read_only: bool
    source: str


class Replicas(Group):
    """The source and the replicas of one sandbox."""

    def __init__(self, layout: Layout, members: Sequence[Member]) -> None:
        super().__init__(layout, members)
        self._members = {member.name: member for member in members}

    def standings(self) -> dict[str, Standing]:
        """Return what to believe of the members that answer, in a group's words."""
        return judge_places(self._places())

    def form(self, names: Sequence[str], timeout: float) -> None:
        """Make these members, whose servers run, one source and its replicas.

        The one that takes writes stays the source; else it is the one that has the most transactions.

        Raises:
            SandboxError: it did not come about in time.
        """
        deadline = time.monotonic() + timeout
        source = primary_of(self.standings())
        if source is None or source not in names:
            rows = in_parallel(lambda name: self.run(name, [HELD_QUERY]).rows[0], names)
            held = zip(names, rows, strict=True)
            source = most_advanced({name: [str(value) for value in row] for name, row in held})
        self._follow(names, source)
        self._promote(source)
        self._wait_online(names, deadline)

    def forgets(self, uuid: str) -> bool:
        """Always: a source does not mind who replicated from it before."""
        return True

    def bring_online(self, name: str, timeout: float, *, joins_by_itself: bool) -> None:
        """Make a member follow the source; one that has no source to follow stays as it is.

        Raises:
            SandboxError: it does not in time.
        """
        standings = self.standings()
        source = primary_of(standings)
        if source is None or (name in standings and standings[name].state == "ONLINE"):
            return
        self._follow([name], source)
        self._wait_online([name], time.monotonic() + timeout)

    def switch(self, name: str, timeout: float) -> None:
        """Make a member the source, in order: it has every transaction of the old one first.

        Raises:
            SandboxError: a member refuses, or it takes longer than `timeout` seconds.
        """
        deadline = time.monotonic() + timeout
        places = self._places()
        standings = judge_places(places)
        if primary_of(standings) == name and all_online(self._names, standings):
            return
        for old, place in places.items():
            if old != name and not place.read_only:
                self.run(old, ["SET GLOBAL super_read_only = ON"], timeout)
                held = self.run(old, [HELD_QUERY]).rows[0][0]
                self.run(name, [f"DO WAIT_FOR_EXECUTED_GTID_SET('{held}', {int(timeout)})"], timeout)
        self._promote(name)
        self._follow(list(places), name)
        self._wait_online(list(places), deadline)

    def _places(self) -> dict[str, Place]:
        found = in_parallel(self._place, self._names)
        return {name: place for name, place in zip(self._names, found, strict=True) if place is not None}

    def _place(self, name: str) -> Place | None:
        try:
            [(uuid, read_only, source)] = self.run(name, [STATE_QUERY], VIEW_TIMEOUT).rows
        except StatementError:
            return None
        return Place(str(uuid), bool(read_only), str(source))

    def _promote(self, name: str) -> None:
        self.run(
            name,
            [
                *("STOP REPLICA IO_THREAD", f"DO WAIT_FOR_EXECUTED_GTID_SET({RECEIVED}, {APPLY_TIMEOUT})"),
                *("STOP REPLICA", "RESET REPLICA ALL", "SET GLOBAL rpl_semi_sync_source_enabled = ON"),
                *("SET GLOBAL super_read_only = OFF", "SET GLOBAL read_only = OFF"),
            ],
        )

    def _follow(self, names: Sequence[str], source: str) -> None:
        where = self._members[source]
        change = (
            f"CHANGE REPLICATION SOURCE TO SOURCE_HOST='{where.host}', SOURCE_PORT={where.port}, "
            f"SOURCE_USER='{GRANTEES['replication'].user}', SOURCE_PASSWORD='{self._replication_password}', "
            "SOURCE_SSL=1, SOURCE_AUTO_POSITION=1, SOURCE_CONNECT_RETRY=1, SOURCE_RETRY_COUNT=86400, SOURCE_DELAY=0"
        )
        statements = [
            *("SET GLOBAL super_read_only = ON", "SET GLOBAL rpl_semi_sync_source_enabled = OFF"),
            *("STOP REPLICA", change, "START REPLICA"),
        ]
        in_parallel(lambda name: self.run(name, statements), [name for name in names if name != source])

    def _wait_online(self, names: Sequence[str], deadline: float) -> None:
        while not all_online(names, standings := self.standings()):
            if time.monotonic() > deadline:
                states = ", ".join(f"{name} {one.state}" for name, one in standings.items())
                raise SandboxError(f"not all replicas follow the source in time: {states}")
            time.sleep(PACE)


def judge_places(places: Mapping[str, Place]) -> dict[str, Standing]:
    """Return each member's standing: the one that takes writes, and those that follow it, are ONLINE.

    Where several take writes none is PRIMARY, and nobody knows whom to follow.
    """
    writers = [place.uuid for place in places.values() if not place.read_only]
    source = writers[0] if len(writers) == 1 else None
    standings = {}
    for name, place in places.items():
        if place.uuid == source:
            standings[name] = Standing(place.uuid, "ONLINE", "PRIMARY")
        elif source is not None and place.source == source:
            standings[name] = Standing(place.uuid, "ONLINE", "SECONDARY")
        else:
            standings[name] = Standing(place.uuid, "OFFLINE", "")
    return standings
