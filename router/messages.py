"""What the main process and its workers tell each other: one kind of message a class, in a table by name.

Owns the messages and their bytes, cut into packets. Pure; must not know processes or sockets. A message of a kind or
with keys that the reader does not know is of another version, and ignored in that.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from cluster.topology import Topology
from router.forms import FormError, read, write
from router.reports import SessionReport, WorkerReport
from router.routes import Leave, Route

PACKET = 32 * 1024
"""Bytes of a message in one packet: a packet takes its room in the socket's buffer (net.core.wmem_default, 208 KiB by
default, and 64 KiB on some machines) as a whole, and what does not fit at all is an error (EMSGSIZE)."""
PACKET_LIMIT = 64 * 1024 + 1
"""Bytes of a packet that is read: other versions send larger ones."""
MESSAGE_LIMIT = 64 << 20
"""Bytes of one message, put together. A thousand routes are half a megabyte."""
FIRST, LAST = 1, 2  # bits of a packet's first byte


@dataclass(frozen=True, slots=True)
class Sockets:
    """Descriptors that come with this message, in this order: listening sockets, by the addresses they listen on."""

    addresses: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RouteOrder:
    """A route to hold a port for. `row`: where its sessions are counted, in the memory that workers share."""

    route: Route
    cluster: str
    address: str
    row: int


@dataclass(frozen=True, slots=True)
class Configure:
    """Hold ports for these routes and no others. Sessions of a route that is gone have `drain_timeout` seconds."""

    routes: tuple[RouteOrder, ...]
    drain_timeout: float


@dataclass(frozen=True, slots=True)
class Log:
    """Log like this from now on: `logs.words`."""

    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class View:
    """A cluster's topology from now on."""

    cluster: str
    topology: Topology


@dataclass(frozen=True, slots=True)
class Pulse:
    """The main process lives; answer with a `Report` of the same number.

    others: sessions that the other workers had, by member, as they reported last.
    """

    number: int
    others: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ListSessions:
    """Answer with `Sessions` of the same number, at most `limit` of them."""

    number: int
    limit: int
    route: str = ""  # that route's alone


@dataclass(frozen=True, slots=True)
class Kill:
    """End these sessions; answer with `Killed` of the same number."""

    number: int
    sessions: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Modes:
    """What people want of a cluster's members, by name. Those that are not here are in order."""

    cluster: str
    modes: Mapping[str, Leave]


@dataclass(frozen=True, slots=True)
class Blocked:
    """Client hosts that a route turns away from now on (error 1129), of all workers' counts together.

    some_err: whether there are others with errors: then handshakes that are done are worth telling.
    """

    route: str
    hosts: tuple[str, ...]
    some_err: bool


@dataclass(frozen=True, slots=True)
class Retire:
    """Accept no more and end with the last session.

    timeout: seconds after which sessions are cut; None: never. queued: accept first what waits on the listening
    sockets, for nobody will after us.
    """

    timeout: float | None
    queued: bool


@dataclass(frozen=True, slots=True)
class Serving:
    """The worker accepts connections."""


@dataclass(frozen=True, slots=True)
class Lacking:
    """Sockets that the worker has been told to serve on and has not got, for want of descriptors."""

    addresses: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """The answer to `Pulse`. A worker's last has number 0 and comes before it ends."""

    number: int
    worker: WorkerReport


@dataclass(frozen=True, slots=True)
class Sessions:
    """The answer to `ListSessions`."""

    number: int
    sessions: tuple[SessionReport, ...]


@dataclass(frozen=True, slots=True)
class Killed:
    """The answer to `Kill`: those that there were."""

    number: int
    sessions: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class DialFailure:
    """A member that is offered could not be connected to."""

    cluster: str
    member: str


@dataclass(frozen=True, slots=True)
class Handshakes:
    """Since the message before: sessions that ended before theirs was done, by client host, and hosts with one done."""

    route: str
    failed: Mapping[str, int]
    done: tuple[str, ...]


Message = (
    Sockets
    | Configure
    | Log
    | View
    | Pulse
    | ListSessions
    | Kill
    | Modes
    | Blocked
    | Retire
    | Serving
    | Lacking
    | Report
    | Sessions
    | Killed
    | DialFailure
    | Handshakes
)
KINDS: Mapping[str, type[Message]] = {
    "sockets": Sockets,
    "configure": Configure,
    "log": Log,
    "topology": View,
    "pulse": Pulse,
    "list-sessions": ListSessions,
    "kill-sessions": Kill,
    "member-modes": Modes,
    "blocked": Blocked,
    "retire": Retire,
    "serving": Serving,
    "lacking": Lacking,
    "report": Report,
    "sessions": Sessions,
    "killed": Killed,
    "dial-failure": DialFailure,
    "handshakes": Handshakes,
}
NAMES: Mapping[type[Message], str] = {kind: name for name, kind in KINDS.items()}


def encode(message: Message) -> list[bytes]:
    """A message as the packets to send, in order."""
    document = {"kind": NAMES[type(message)], **write(message)}
    data = json.dumps(document, separators=(",", ":")).encode()
    parts = [data[at : at + PACKET] for at in range(0, len(data), PACKET)]
    flags = [(FIRST if at == 0 else 0) | (LAST if at == len(parts) - 1 else 0) for at in range(len(parts))]
    return [bytes([flag]) + part for flag, part in zip(flags, parts, strict=True)]


def decode(data: bytes) -> Message | None:
    """The message in what `Assembly` put together; None where its kind is not known here.

    Raises:
        FormError: it is no message.
    """
    try:
        document = json.loads(data)
    except ValueError as exc:
        raise FormError(str(exc)) from exc
    kind = KINDS.get(str(document.get("kind"))) if isinstance(document, dict) else None
    return read(kind, document) if kind is not None else None


class Assembly:
    """Puts packets together. A message whose beginning was missed is left out."""

    def __init__(self) -> None:
        self._parts: bytearray | None = None

    def add(self, packet: bytes) -> bytes | None:
        """Take one packet; return the whole message that it ends, if it does."""
        flags = packet[0] if packet else 0
        if flags & FIRST:
            self._parts = bytearray()
        if self._parts is None or len(self._parts) + len(packet) > MESSAGE_LIMIT:
            self._parts = None
            return None
        self._parts += packet[1:]
        if not flags & LAST:
            return None
        whole, self._parts = bytes(self._parts), None
        return whole
