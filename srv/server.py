"""The authoritative server: zones that may change at any time, served over UDP and TCP on each address.

Owns which sockets there are, and who is told of changes. Must not know packets (`desk`), nor a cluster.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import logging
import socket
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Never

from srv.allowance import Allowance, Limits
from srv.connections import Connections
from srv.datagrams import Datagrams
from srv.desk import Address as Address
from srv.desk import Desk
from srv.notifier import Notifier
from srv.publisher import PublishError
from srv.zone import Zone

log = logging.getLogger("fairlead.srv")

# TCP connections; only truncated answers and transfers need any. Past it the longest idle one of the most crowded
# source goes. A descriptor and some 30 KiB each.
CONNECTIONS = 128
IDLE_TIMEOUT = 10.0  # seconds without a whole query, or with a reply that is not taken (RFC 7766, 6.2.3: "seconds")
BACKLOG = 64
PORT_DRAWS = 16  # tries to find one port free for both UDP and TCP, where port 0 asks for any


class ListenError(PublishError):
    """An address cannot be listened on; the text says which and why."""


class Server:
    """Serves zones. Each packet is answered from one snapshot; `publish` and `withdraw` may be called at any time.

    Args:
        listen: IP addresses and ports; each is served over UDP and TCP. No wildcard address: it answers from whichever
            address the kernel picks. Port 0 draws a free one.
        zones: those to begin with.
        transfer_to: addresses or networks (`ADDRESS/BITS`) of the secondaries, which may have whole zones.
        notify: secondaries that are told of each change (RFC 1996), by address and port.
        limits: what one source may do.
        idle_timeout: seconds, see `IDLE_TIMEOUT`.
        connections: at most so many TCP connections.

    Raises:
        ValueError: something in `transfer_to` is neither an address nor a network, or in `notify` no address.
    """

    def __init__(
        self,
        listen: Sequence[Address],
        zones: Iterable[Zone] = (),
        *,
        transfer_to: Iterable[str] = (),
        notify: Iterable[Address] = (),
        limits: Limits = Limits(),  # noqa: B008 - frozen
        idle_timeout: float = IDLE_TIMEOUT,
        connections: int = CONNECTIONS,
    ) -> None:
        self._listen = tuple(listen)
        self._desk = Desk(zones, transfer_to)
        self._limits = limits
        self._allowance = Allowance(limits.packets, limits.packet_burst)
        self._large = Allowance(limits.large, limits.large)
        self._udp: list[Datagrams] = []
        self._tcp = Connections(self._desk, limits, total=connections, idle_timeout=idle_timeout)
        self._notify = tuple(dict.fromkeys((str(ipaddress.ip_address(host)), port) for host, port in notify))
        self._notifiers: list[Notifier] = []
        self._bound: list[Address] = []

    @property
    def zones(self) -> tuple[Zone, ...]:
        """What is served."""
        return tuple(self._desk.zones.values())

    @property
    def counts(self) -> Counter[str]:
        """Packets by transport and outcome, as `udp NOERROR`, `tcp dropped`.

        `udp shed` are those beyond the limits, `udp slipped` those of them that were sent to TCP, and `udp too large`
        those whose answers were.
        """
        return self._desk.counts

    @property
    def addresses(self) -> tuple[Address, ...]:
        """Where it listens, with the ports that were drawn."""
        return tuple(self._bound)

    @property
    def connected(self) -> int:
        """TCP connections that are open."""
        return len(self._tcp)

    def __str__(self) -> str:
        return "server"

    def publish(self, zone: Zone) -> None:
        """Serve a zone, in the place of one with its origin, and tell the secondaries."""
        self._desk.zones[zone.origin] = zone
        for notifier in self._notifiers:
            notifier.owe(zone)

    def withdraw(self, origin: str) -> None:
        """Serve a zone no longer; nothing happens where there is none."""
        self._desk.zones.pop(origin, None)
        for notifier in self._notifiers:
            notifier.drop(origin)

    async def run(self) -> Never:
        """Serve, and tell secondaries of changes, until cancelled; `start` has been called."""
        for host, port in self.addresses:
            log.info("listening address=%s port=%d", host, port)
        async with asyncio.TaskGroup() as tasks:
            for notifier in self._notifiers:
                tasks.create_task(notifier.run(), name="notify")
            await asyncio.Event().wait()
        raise AssertionError("unreachable")

    async def start(self) -> None:
        """Listen on every address.

        Raises:
            ListenError: one of them cannot be had; then none is kept.
        """
        pairs: list[tuple[socket.socket, socket.socket]] = []
        try:
            for address in self._listen:
                pairs.append(_bound_pair(address))  # noqa: PERF401 - those before one that fails are needed
        except BaseException:
            for sock in (sock for pair in pairs for sock in pair):
                sock.close()
            raise
        for udp, tcp in pairs:
            self._bound.append(udp.getsockname()[:2])
            self._udp.append(Datagrams(self._desk, udp, self._limits, self._allowance, self._large))
            self._tcp.listen(tcp)
        try:
            self._open_notifiers()
        except ListenError:
            await self.close()
            raise

    async def close(self) -> None:
        """Stop listening and cut what is connected; `run` has been cancelled where it was called."""
        for notifier in self._notifiers:
            notifier.close()
        for one in self._udp:
            one.close()
        await self._tcp.close()
        self._udp, self._bound, self._notifiers = [], [], []
        if self.counts:
            counts = " ".join(f"{what.replace(' ', '-')}={count}" for what, count in sorted(self.counts.items()))
            log.info("served %s", counts)

    def _open_notifiers(self) -> None:
        sources = [host for host, _ in self._bound]
        for secondary in self._notify:
            try:
                notifier = Notifier(secondary, self._desk.zones.get, self.counts, sources)
            except OSError as exc:
                raise ListenError(f"cannot notify {secondary[0]} port {secondary[1]}: {exc.strerror or exc}") from exc
            self._notifiers.append(notifier)
            for zone in self.zones:
                notifier.owe(zone)


def _bound_pair(address: Address) -> tuple[socket.socket, socket.socket]:
    """A UDP and a TCP socket, bound to one address and port."""
    draws = PORT_DRAWS if address[1] == 0 else 1
    while True:
        draws -= 1
        tcp = _bound_socket(address, socket.SOCK_STREAM)
        try:
            return _bound_socket((address[0], tcp.getsockname()[1]), socket.SOCK_DGRAM), tcp
        except ListenError:
            tcp.close()
            if draws == 0:
                raise


def _bound_socket(address: Address, kind: socket.SocketKind) -> socket.socket:
    """A bound socket. No SO_REUSEPORT, and SO_REUSEADDR for TCP alone: a second server must fail, not share."""
    host, port = address
    transport = "TCP" if kind is socket.SOCK_STREAM else "UDP"
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, kind)
    try:
        sock.setblocking(False)
        if kind is socket.SOCK_STREAM:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if sock.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((host, port))
        if kind is socket.SOCK_STREAM:
            sock.listen(BACKLOG)  # here already, so that a port in use shows before anything is served
    except OSError as exc:
        sock.close()
        raise ListenError(f"cannot listen on {host} port {port} over {transport}: {_remedy(exc)}") from exc
    return sock


def _remedy(exc: OSError) -> str:
    match exc.errno:
        case errno.EADDRINUSE:
            return "another process has it; stop that one or choose another port"
        case errno.EACCES:
            return "ports below 1024 need root or CAP_NET_BIND_SERVICE; grant it or choose a higher port"
        case errno.EADDRNOTAVAIL:
            return "this machine has no such address"
        case _:
            return exc.strerror or str(exc)
