"""A cluster's name followed into a topology: SRV records give the members, probes give their roles.

Owns the pairing of classic and X records, and at which of its addresses a member is met. Must not know routes.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import NoReturn

from cluster.members import Endpoint, Member
from cluster.observations import Observation, Outcome
from cluster.watch import Watch
from srv.following import Following, Looks
from srv.lookup import Target
from srv.zone import SERVICES

log = logging.getLogger("fairlead.router")

# Outcomes that a member would have which is not at its address any more: nothing there, or something else.
LOST = frozenset({Outcome.REFUSED, Outcome.TIMEOUT, Outcome.BROKEN})
# Seconds between two looks at DNS that one lost member asks for: doubled from the floor up to this, the TTL that
# headless Services and our own records have. A member that stays away for a day must not cost a question a second.
HINT_CEILING = 5.0
# Seconds for a member's address to accept a connection, when it is being found out which one does.
ACCEPT_TIMEOUT = 1.0


def addresses_of(classic: Iterable[Target], x: Iterable[Target]) -> dict[str, tuple[str, ...]]:
    """Each target's addresses, in the order of its records: those that both protocols' answers have, else all.

    The two names are asked one after the other, so of a member that moves one answer may have the old address still.
    """
    found: dict[str, list[tuple[str, ...]]] = {}
    for target in (*classic, *x):
        if target.addresses:
            found.setdefault(target.name, []).append(target.addresses)
    agreed = {}
    for name, lists in found.items():
        every = tuple(dict.fromkeys(address for addresses in lists for address in addresses))
        agreed[name] = tuple(one for one in every if all(one in addresses for addresses in lists)) or every
    return agreed


def pair(classic: Iterable[Target], x: Iterable[Target], met_at: Mapping[str, str]) -> tuple[Member, ...]:
    """Make members of both protocols' records: what names the same target is one member, at one address.

    Args:
        classic: the targets of `_mysql._tcp`.
        x: the targets of `_mysqlx._tcp`.
        met_at: the address of each target. One without an address is left out: there is nothing to connect to.
    """
    ports: dict[str, list[Endpoint | None]] = {}
    first: dict[str, Target] = {}  # whose priority and weight count, where the two records differ
    for index, targets in enumerate((classic, x)):
        for target in targets:
            if target.name in met_at:
                ports.setdefault(target.name, [None, None])[index] = Endpoint(met_at[target.name], target.port)
                first.setdefault(target.name, target)
    return tuple(
        Member(name, on_classic, on_x, first[name].priority, first[name].weight)
        for name, (on_classic, on_x) in sorted(ports.items())
    )


@dataclass(frozen=True, slots=True)
class _Pace:
    """When a lost member may next ask for a look at DNS (monotonic seconds), and the wait after that one."""

    next_at: float
    gap: float


class Watcher:
    """Follows one cluster.

    A member of several addresses (IPv4 and IPv6, or an old one and a new one) is met at one of them: the first of its
    records, and from then on the same for as long as DNS names it and it accepts connections. When a look at the member
    fails, its addresses are tried, the present one first, and it is met at the first that accepts. So a lost packet
    moves nobody, and where no address accepts none is better than the one where it was.

    Args:
        domain: the cluster's domain, under which `_mysql._tcp` and `_mysqlx._tcp` are looked up; with a final dot it is
            not searched for.
        resolver: whom to ask.
        watch: gets the members, and has the topology. Whoever makes it passes its observations to `observed`.
        floor: seconds between two looks at a name, whatever its TTL.
        ceiling: seconds between two looks at a name at most.
        keep_last_good: seconds for which a good answer outlives the server that gave it.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        domain: str,
        resolver: Looks,
        watch: Watch,
        *,
        floor: float,
        ceiling: float,
        keep_last_good: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.watch = watch
        self._floor = floor
        self._clock = clock
        self._addresses: dict[str, tuple[str, ...]] = {}
        self._met_at: dict[str, str] = {}
        self._paces: dict[str, _Pace] = {}
        self._finding: set[str] = set()
        self._tasks: asyncio.TaskGroup | None = None
        self.names = {
            one.name: one
            for one in (
                Following(
                    resolver,
                    f"{service}.{domain}",
                    on_change=lambda _: self._pair(),
                    floor=floor,
                    ceiling=ceiling,
                    keep_last_good=keep_last_good,
                )
                for service in SERVICES
            )
        }

    async def run(self) -> NoReturn:
        """Follow until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            for name, following in self.names.items():
                tasks.create_task(following.run(), name=f"follow {name}")
            tasks.create_task(self.watch.run(), name="watch")
        raise AssertionError("unreachable")

    def observed(self, seen: Observation) -> None:
        """Take note of a look at a member: one that is lost may have moved."""
        name = seen.member.name
        if seen.outcome not in LOST:
            self._paces.pop(name, None)
            return
        self.suspect(seen.member)
        if len(self._addresses.get(name, ())) > 1 and name not in self._finding and self._tasks is not None:
            finding = self._find_address(seen.member)
            try:
                self._tasks.create_task(finding, name=f"find {name}")
            except RuntimeError:
                finding.close()  # a look that ends while everything does
            else:
                self._finding.add(name)

    def suspect(self, member: Member) -> None:
        """Look at DNS again soon, for a member does not accept connections where DNS says it is."""
        now = self._clock()
        pace = self._paces.get(member.name)
        if pace is not None and now < pace.next_at:
            return
        gap = self._floor if pace is None else min(2 * pace.gap, max(HINT_CEILING, self._floor))
        self._paces[member.name] = _Pace(now + gap, gap)
        self._refresh()

    def _refresh(self) -> None:
        for following in self.names.values():
            following.refresh_soon()

    def _pair(self) -> None:
        states = [following.state for following in self.names.values()]
        if any(state.outcome is None for state in states):
            return  # half a member is worse than one a moment later
        if any(state.answer for state in states):
            for following in self.names.values():
                if following.state.answer is None:
                    following.refresh_soon()  # the name server is back: the other name need not wait for its turn
        classic, x = (state.targets for state in states)
        at = {target.name: target.addresses for target in classic}
        if any(at.get(target.name, target.addresses) != target.addresses for target in x):
            self._refresh()  # one of them is out of date
        self._addresses = addresses_of(classic, x)
        self._meet()

    def _meet(self) -> None:
        """Hand the members on, each at the address where it was, if DNS still names that, else at its first."""
        self._met_at = {
            name: before if (before := self._met_at.get(name, "")) in addresses else addresses[0]
            for name, addresses in self._addresses.items()
        }
        self._paces = {name: pace for name, pace in self._paces.items() if name in self._met_at}
        classic, x = (following.state.targets for following in self.names.values())
        self.watch.set_members(pair(classic, x, self._met_at))

    async def _find_address(self, member: Member) -> None:
        """Meet a member that is lost at the first of its addresses that accepts a connection, the present one first."""
        try:
            endpoint = member.x or member.classic
            present = self._met_at.get(member.name, "")
            others = (one for one in self._addresses.get(member.name, ()) if one != present)
            for address in (present, *others):
                if endpoint is not None and await _accepts(Endpoint(address, endpoint.port)):
                    break
            else:
                return
            if address != present and address in self._addresses.get(member.name, ()):
                log.info("member %s: met at %s from now on, for %s does not accept", member.name, address, present)
                self._met_at[member.name] = address
                self._meet()
        finally:
            self._finding.discard(member.name)


async def _accepts(endpoint: Endpoint) -> bool:
    try:
        async with asyncio.timeout(ACCEPT_TIMEOUT):
            _, writer = await asyncio.open_connection(endpoint.host, endpoint.port)
    except (OSError, TimeoutError):
        return False
    writer.transport.abort()
    return True
