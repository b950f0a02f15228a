"""Events: what `xproto.client` tells of a session, as frozen values."""

from __future__ import annotations

from dataclasses import dataclass

from xproto.errors import ServerError
from xproto.notices import Notice
from xproto.rows import Column, Value


@dataclass(frozen=True, slots=True)
class Result:
    """A statement's first result set; both are empty for a statement that has none."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[Value, ...], ...]


@dataclass(frozen=True, slots=True)
class NoticeReceived:
    """A notice came."""

    notice: Notice


@dataclass(frozen=True, slots=True)
class TlsAccepted:
    """The TLS handshake is next on this connection; call `Client.tls_established` after it."""


@dataclass(frozen=True, slots=True)
class Opened:
    """The session is ready: logged in, or without a login, capabilities read."""


@dataclass(frozen=True, slots=True)
class Completed:
    """The statement ended well."""

    result: Result


@dataclass(frozen=True, slots=True)
class Failed:
    """The statement failed; the session goes on."""

    error: ServerError


@dataclass(frozen=True, slots=True)
class Ended:
    """The session is over; with the server's reason, if it gave one, be it an `Error` message or a notice."""

    error: ServerError | None


Event = NoticeReceived | TlsAccepted | Opened | Completed | Failed | Ended
