"""A cluster's name followed into a topology: SRV records give the members, probes give their roles.

Owns the pairing of classic and X records. Must not know routes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import NoReturn

from cluster.members import Endpoint, Member
from cluster.watch import Watch
from srv.following import Following
from srv.lookup import Target
from srv.resolver import Resolver
from srv.zone import SERVICES


def pair(classic: Iterable[Target], x: Iterable[Target]) -> tuple[Member, ...]:
    """Make members of both protocols' records: what names the same target is one member.

    A target without an address is left out: there is nothing to connect to.
    """
    ports: dict[str, list[Endpoint | None]] = {}
    for index, targets in enumerate((classic, x)):
        for target in targets:
            if target.addresses:
                ports.setdefault(target.name, [None, None])[index] = Endpoint(target.addresses[0], target.port)
    return tuple(Member(name, *endpoints) for name, endpoints in sorted(ports.items()))


class Watcher:
    """Follows one cluster.

    Args:
        domain: the cluster's domain, under which `_mysql._tcp` and `_mysqlx._tcp` are looked up.
        resolver: whom to ask.
        watch: gets the members, and has the topology.
        keep_last_good: seconds for which a good answer outlives the server that gave it.
    """

    def __init__(self, domain: str, resolver: Resolver, watch: Watch, *, keep_last_good: float) -> None:
        self.watch = watch
        self.names = {
            name: Following(resolver, name, on_change=lambda _: self._pair(), keep_last_good=keep_last_good)
            for name in (f"{service}.{domain}" for service in SERVICES)
        }

    async def run(self) -> NoReturn:
        """Follow until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for name, following in self.names.items():
                tasks.create_task(following.run(), name=f"follow {name}")
            tasks.create_task(self.watch.run(), name="watch")
        raise AssertionError("unreachable")

    def _pair(self) -> None:
        states = [following.state for following in self.names.values()]
        if any(state.outcome is None for state in states):
            return  # half a member is worse than one a moment later
        if any(state.answer for state in states):
            for following in self.names.values():
                if following.state.answer is None:
                    following.refresh_soon()  # the name server is back: the other name need not wait for its turn
        classic, x = (state.answer.targets if state.answer else () for state in states)
        self.watch.set_members(pair(classic, x))
