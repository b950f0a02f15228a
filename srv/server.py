"""The authoritative server's sockets: UDP and TCP on each address, answering from the zones assigned to it.

Owns sockets, limits and complaints about peers. Must not know what the right answer is (`answers`), nor a cluster.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import time
from collections import Counter, OrderedDict
from collections.abc import Sequence
from typing import Never, cast

from srv.answers import Reaction, react
from srv.complaints import Ration
from srv.publisher import PublishError
from srv.zone import Zone

log = logging.getLogger("fairlead.srv")

Address = tuple[str, int]

CONNECTIONS = 64  # TCP connections; only truncated answers need any. Past it the longest idle one goes.
IDLE_TIMEOUT = 10.0  # seconds without a whole query, or with a reply that is not taken (RFC 7766, 6.2.3: "seconds")
BACKLOG = 64
PORT_DRAWS = 16  # tries to find one port free for both UDP and TCP, where port 0 asks for any


class ListenError(PublishError):
    """An address cannot be listened on; the text says which and why."""


class Server:
    """Serves zones. `zones` may be assigned at any time; each packet is answered from one snapshot.

    Args:
        listen: IP addresses and ports; each is served over UDP and TCP. No wildcard address: it answers from whichever
            address the kernel picks. Port 0 draws a free one.
        idle_timeout: seconds, see `IDLE_TIMEOUT`.
        connections: at most so many TCP connections.
    """

    def __init__(
        self,
        listen: Sequence[Address],
        zones: Sequence[Zone] = (),
        *,
        idle_timeout: float = IDLE_TIMEOUT,
        connections: int = CONNECTIONS,
    ) -> None:
        self.zones: tuple[Zone, ...] = tuple(zones)
        self.counts: Counter[str] = Counter()
        """Packets by transport and outcome, as `udp NOERROR`, `tcp dropped`."""
        self._listen = tuple(listen)
        self._idle_timeout = idle_timeout
        self._limit = connections
        self._ration = Ration()
        self._udp: list[asyncio.DatagramTransport] = []
        self._tcp: list[asyncio.Server] = []
        self._open: OrderedDict[asyncio.StreamWriter, asyncio.Task[None]] = OrderedDict()  # the longest idle first
        self._bound: list[Address] = []

    @property
    def addresses(self) -> tuple[Address, ...]:
        """Where it listens, with the ports that were drawn."""
        return tuple(self._bound)

    def __str__(self) -> str:
        return "server"

    def publish(self, zone: Zone) -> None:
        """Serve the zone, in place of the one of its origin."""
        self.zones = (*(one for one in self.zones if one.origin != zone.origin), zone)

    def withdraw(self, origin: str) -> None:
        """Serve the zone no more."""
        self.zones = tuple(one for one in self.zones if one.origin != origin)

    async def run(self) -> Never:
        """Serve until cancelled; `start` has been called."""
        for host, port in self.addresses:
            log.info("listening address=%s port=%d", host, port)
        while True:
            await asyncio.Event().wait()

    async def start(self) -> None:
        """Listen on every address.

        Raises:
            ListenError: one of them cannot be had; then none is kept.
        """
        loop = asyncio.get_running_loop()
        pending: list[socket.socket] = []
        try:
            for address in self._listen:
                udp, tcp = _bound_pair(address)
                pending = [udp, tcp]
                transport, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(self), sock=udp)
                self._udp.append(transport)
                pending = [tcp]
                self._tcp.append(await asyncio.start_server(self._converse, sock=tcp, backlog=BACKLOG))
                pending = []
                self._bound.append(udp.getsockname()[:2])
        except BaseException:
            for sock in pending:
                sock.close()
            await self.close()
            raise

    async def close(self) -> None:
        """Stop listening and cut what is connected."""
        for transport in self._udp:
            transport.close()
        for server in self._tcp:
            server.close()
        for writer in self._open:
            writer.transport.abort()
        if self._open:
            await asyncio.wait(list(self._open.values()))
        for server in self._tcp:
            await server.wait_closed()
        self._udp, self._tcp, self._bound = [], [], []
        if self.counts:
            counts = " ".join(f"{what.replace(' ', '-')}={count}" for what, count in sorted(self.counts.items()))
            log.info("served %s", counts)

    def react(self, wire: bytes, peer: Address, *, over_tcp: bool) -> Reaction:
        """Answer a packet from the present zones, count it, and complain of the peer where that is due."""
        reaction = react(self.zones, wire, over_tcp=over_tcp)
        outcome = reaction.rcode.name if reaction.rcode is not None else "dropped"
        self.counts[f"{'tcp' if over_tcp else 'udp'} {outcome}"] += 1
        if reaction.complaint:
            self.complain(peer, reaction.complaint)
        return reaction

    def complain(self, peer: Address, reason: str) -> None:
        """Log what a peer did wrong, unless it was logged a moment ago."""
        if self._ration.admits(peer[0], time.monotonic()):
            withheld = self._ration.take_withheld()
            log.warning("bad-packet peer=%s port=%d reason=%r withheld=%d", peer[0], peer[1], reason, withheld)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer: Address = (writer.get_extra_info("peername") or ("?", 0))[:2]
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine that runs has one
        if len(self._open) >= self._limit:
            next(iter(self._open)).transport.abort()
            self._open.popitem(last=False)
            self.counts["tcp crowded out"] += 1
        self._open[writer] = task
        try:
            await self._serve(reader, writer, peer)
        except TimeoutError:
            self.counts["tcp idle"] += 1
            writer.transport.abort()
        except (asyncio.IncompleteReadError, OSError):
            pass  # the peer is done, politely or not
        finally:
            writer.close()
            try:
                async with asyncio.timeout(self._idle_timeout):
                    await writer.wait_closed()
            except OSError:  # a TimeoutError is one
                writer.transport.abort()
            self._open.pop(writer, None)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, peer: Address) -> None:
        while True:
            async with asyncio.timeout(self._idle_timeout):
                length = int.from_bytes(await reader.readexactly(2), "big")
                wire = await reader.readexactly(length)
            if writer in self._open:
                self._open.move_to_end(writer)
            reply = self.react(wire, peer, over_tcp=True).reply
            if reply is None:
                return  # whoever sends that over TCP will not say anything sensible later
            if writer.is_closing():
                return  # cut meanwhile, with queries still in the buffer; uvloop raises where one writes then
            writer.write(len(reply).to_bytes(2, "big") + reply)
            async with asyncio.timeout(self._idle_timeout):
                await writer.drain()
            await asyncio.sleep(0)  # neither of the two need have waited: whoever pipelines takes turns with the others


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, server: Server) -> None:
        self._server = server
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)  # uvloop's is one without saying so

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        reply = self._server.react(data, addr[:2], over_tcp=False).reply
        if reply is not None and self._transport is not None and addr[1] != 0:
            self._transport.sendto(reply, addr)

    def error_received(self, exc: Exception) -> None:
        """An earlier reply's recipient has gone (ICMP): nothing to do."""


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
