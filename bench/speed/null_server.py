"""A server that greets and lets anybody in, and nothing else: so that a proxy, and not MySQL, is what is measured.

`python -m bench.speed.null_server FD` serves on a listening socket that it was handed, until SIGTERM. It speaks as much
of the classic protocol as a proxy that parses the handshake must see (manual, "Connection Phase"): a greeting, OK for
whatever comes, and for text an echo, by which a client can time the way to here and back.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
from typing import cast

import uvloop

BACKLOG = 4096  # as Fairlead's own listeners
# Capabilities: long password, protocol 4.1, transactions, secure connection, plugin authentication. No TLS.
_CAPABILITIES = 0x0000_0001 | 0x0000_0200 | 0x0000_2000 | 0x0000_8000 | 0x0008_0000
_PLUGIN = b"mysql_native_password\0"
COM_QUIT = b"\x01\x00\x00\x00\x01"
COM_PING = b"\x01\x00\x00\x00\x0e"


def packet(sequence: int, payload: bytes) -> bytes:
    """A packet of the classic protocol."""
    return len(payload).to_bytes(3, "little") + bytes([sequence]) + payload


GREETING = packet(
    0,
    b"\x0a9.7.0-null\0"
    + (1).to_bytes(4, "little")
    + b"12345678\0"
    + (_CAPABILITIES & 0xFFFF).to_bytes(2, "little")
    + b"\xff\x02\x00"
    + (_CAPABILITIES >> 16).to_bytes(2, "little")
    + bytes([21])
    + bytes(10)
    + b"123456789012\0"
    + _PLUGIN,
)
LOGIN = packet(
    1,
    _CAPABILITIES.to_bytes(4, "little")
    + (1 << 24).to_bytes(4, "little")
    + b"\xff"
    + bytes(23)
    + b"nobody\0"
    + bytes([20])
    + b"x" * 20
    + _PLUGIN,
)
"""What a client answers to the greeting."""


def ok(sequence: int) -> bytes:
    """An OK packet."""
    return packet(sequence, b"\x00\x00\x00\x02\x00\x00\x00")


LOGIN_OK, PING_OK = ok(2), ok(1)


class _Session(asyncio.Protocol):
    __slots__ = ("_transport",)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(GREETING)

    def data_received(self, data: bytes) -> None:
        # What clients send here fits one packet, and one read.
        if data == COM_QUIT:
            self._transport.close()
        else:
            self._transport.write(ok(data[3] + 1))


async def serve(sock: socket.socket) -> None:
    """Serve until SIGTERM."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    server = await loop.create_server(_Session, sock=sock, backlog=BACKLOG)
    await ended.wait()
    server.close()


def main() -> int:
    """Be the server."""
    uvloop.run(serve(socket.socket(fileno=int(sys.argv[1]))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
