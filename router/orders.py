"""What every worker is told: routes and their sockets, topologies, what is wanted of members, blocked hosts.

Owns the latest of each, so that a worker that comes is told what the others know. Must not know who the workers are,
nor settings or watchers. Pure: what is to be sent is handed on.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence

from cluster.topology import Topology
from router.host_errors import HostBlocks
from router.link import FDS_AT_ONCE
from router.messages import Blocked, Configure, Handshakes, Message, Modes, Sockets, View
from router.routes import Leave

log = logging.getLogger("fairlead.router")


class Orders:
    """What stands now.

    Args:
        tell: sends a message to every worker there is.
    """

    def __init__(self, tell: Callable[[Message], None]) -> None:
        self.blocks = HostBlocks()
        self._tell = tell
        self._configure: Configure | None = None
        self._sockets: Mapping[str, int] = {}
        self._views: dict[str, Topology] = {}
        self._modes: dict[str, Modes] = {}

    def configure(self, orders: Configure, sockets: Mapping[str, int]) -> None:
        """Have these routes served on these descriptors, by address; whoever is to serve them is briefed after that."""
        self._configure, self._sockets = orders, dict(sockets)
        limits = {one.route.name: one.route.limits.max_connect_errors for one in orders.routes}
        for route in self.blocks.configure(limits):
            self._tell(Blocked(route, *self.blocks.stand(route)))

    def show(self, cluster: str, topology: Topology) -> None:
        """Tell all of a cluster's topology, where it differs from what they know."""
        if self._views.get(cluster) != topology:
            self._views[cluster] = topology
            self._tell(View(cluster, topology))

    def modes(self, cluster: str) -> Mapping[str, Leave]:
        """Which of a cluster's members are to be left, and how."""
        return self._modes[cluster].modes if cluster in self._modes else {}

    def all_modes(self) -> tuple[Modes, ...]:
        """The same of every cluster, as it is told."""
        return tuple(self._modes.values())

    def set_member_modes(self, cluster: str, modes: Mapping[str, Leave]) -> None:
        """Say which of a cluster's members are to be left, and how."""
        self._modes[cluster] = Modes(cluster, dict(modes))
        self._tell(self._modes[cluster])

    def forget(self, cluster: str) -> None:
        """Say nothing more of a cluster."""
        self._views.pop(cluster, None)
        if self._modes.pop(cluster, None) is not None:
            self._tell(Modes(cluster, {}))

    def reset_hosts(self, route: str, host: str | None = None) -> tuple[str, ...]:
        """Let a client host connect to a route again, or all; return those that were blocked."""
        reset = self.blocks.reset(route, host)
        self._tell(Blocked(route, *self.blocks.stand(route)))
        return reset

    def hear(self, handshakes: Handshakes) -> None:
        """A worker says how handshakes ended; tell all whom that blocks."""
        route = handshakes.route
        before = self.blocks.stand(route)[0]
        if self.blocks.hear(route, dict(handshakes.failed), handshakes.done):
            stand = self.blocks.stand(route)
            self._tell(Blocked(route, *stand))
            for host in stand[0][len(before) :]:
                log.warning("route %s: host %s is blocked for hanging up too often", route, host)

    @property
    def addresses(self) -> frozenset[str]:
        """Where workers are to listen."""
        return frozenset(self._sockets)

    def brief(self, send: Callable[[Message, Sequence[int]], None], had: frozenset[str]) -> frozenset[str]:
        """Tell one worker all that it needs in order to serve.

        Args:
            send: sends it a message with descriptors.
            had: addresses whose sockets it was sent before; it may have no descriptors to take them with again.

        Returns:
            those that it was sent by now, and keeps.
        """
        if self._configure is None:
            return had
        for cluster, topology in self._views.items():
            send(View(cluster, topology), ())
        for modes in self._modes.values():
            send(modes, ())
        addresses = [address for address in self._sockets if address not in had]
        for at in range(0, len(addresses), FDS_AT_ONCE):
            some = addresses[at : at + FDS_AT_ONCE]
            send(Sockets(tuple(some)), [self._sockets[address] for address in some])
        send(self._configure, ())
        for order in self._configure.routes:
            stand = self.blocks.stand(order.route.name)
            if any(stand):
                send(Blocked(order.route.name, *stand), ())
        return self.addresses
