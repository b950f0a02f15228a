"""One question to one name server: over UDP, and over TCP where the answer does not fit.

Owns client sockets and their deadline. Must not know what an answer means, nor other name servers.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

from srv.records import Rcode
from srv.wire import UDP_PAYLOAD, MalformedError, Query, Reply, read_reply, write_query

Address = tuple[str, int]


class NoReplyError(Exception):
    """Nothing usable came; the text says how that showed."""


async def exchange(query: Query, nameserver: Address, timeout: float) -> Reply:
    """Ask, and return the whole answer.

    EDNS0 is offered, and left out in a second question to a server that does not know it (RFC 6891, 7).

    Args:
        query: the question; its `payload` is set here.
        nameserver: IP address and port.
        timeout: seconds for all of it.

    Raises:
        NoReplyError: no answer in time, or the server is out of reach.
        MalformedError: the server answers with something that is not a DNS response.
    """
    seen = _Seen()
    try:
        async with asyncio.timeout(timeout):
            asked = replace(query, payload=UDP_PAYLOAD)
            reply = await _over_udp(asked, nameserver, seen)
            if reply.rcode in (Rcode.FORMERR, Rcode.NOTIMP, Rcode.BADVERS):
                asked = replace(query, payload=None)
                reply = await _over_udp(asked, nameserver, seen)
            seen.unreadable = None  # the answer has come after all
            if reply.truncated:
                reply = await _over_tcp(asked, nameserver)
            return reply
    except TimeoutError as exc:
        if seen.unreadable is not None:
            raise MalformedError(str(seen.unreadable)) from seen.unreadable
        passed_over = f" ({seen.strangers} replies to something else passed over)" if seen.strangers else ""
        raise NoReplyError(f"no answer within {timeout:g} s{passed_over}") from exc
    except OSError as exc:
        raise NoReplyError(exc.strerror or str(exc)) from exc
    except asyncio.IncompleteReadError as exc:
        raise NoReplyError("it closed the TCP connection without an answer") from exc


class _Seen:
    """What came in besides the answer."""

    def __init__(self) -> None:
        self.strangers = 0
        self.unreadable: MalformedError | None = None


class _Asker(asyncio.DatagramProtocol):
    """Waits for the one datagram that answers; the connected socket lets only the server's own through."""

    def __init__(self, query: Query, seen: _Seen) -> None:
        self._query = query
        self._seen = seen
        self.reply: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if self.reply.done():
            return
        try:
            reply = read_reply(data, self._query)
        except MalformedError as exc:
            self._seen.unreadable = exc  # a stranger's, maybe, who guesses: the server's own may yet come
            return
        if reply is None:
            self._seen.strangers += 1
        else:
            self.reply.set_result(reply)

    def error_received(self, exc: Exception) -> None:
        if not self.reply.done():
            self.reply.set_exception(exc)


async def _over_udp(query: Query, nameserver: Address, seen: _Seen) -> Reply:
    """A socket for each question, so that the port is as hard to guess as the number (RFC 5452)."""
    loop = asyncio.get_running_loop()
    transport, asker = await loop.create_datagram_endpoint(lambda: _Asker(query, seen), remote_addr=nameserver)
    try:
        transport.sendto(write_query(query))
        return await asker.reply
    finally:
        transport.close()


async def _over_tcp(query: Query, nameserver: Address) -> Reply:
    reader, writer = await asyncio.open_connection(*nameserver)
    try:
        wire = write_query(query)
        writer.write(len(wire).to_bytes(2, "big") + wire)
        await writer.drain()
        length = int.from_bytes(await reader.readexactly(2), "big")
        reply = read_reply(await reader.readexactly(length), query)
        if reply is None:
            raise MalformedError("the answer over TCP is to something else")
        if reply.truncated:
            raise MalformedError("the answer over TCP is truncated, too")
        return reply
    finally:
        writer.transport.abort()
