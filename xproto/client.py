"""The client's side of a session, without I/O: bytes in, events and bytes out. Owns the order of the protocol.

It opens by itself: capabilities, the point where TLS starts, login, with PLAIN after SHA256_MEMORY if the line is
encrypted. Then it runs one statement at a time, and pings between them. Notices come out as events wherever they arrive
and answer nothing. It must not know sockets, clocks or clusters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from xproto.auth import SHA256_MEMORY, Login, Mechanism, candidates
from xproto.codec import PING, PONG, decode_server, encode_client, encode_statement
from xproto.errors import LocalProtocolError, RemoteProtocolError, ServerError
from xproto.events import Completed, Ended, Event, Failed, NoticeReceived, Opened, Result, TlsAccepted
from xproto.frames import Frame, FrameDecoder
from xproto.messages import (
    Arg,
    AuthenticateContinue,
    AuthenticateOk,
    AuthenticateStart,
    Capabilities,
    CapabilitiesGet,
    CapabilitiesSet,
    ClientMessage,
    ConClose,
    Error,
    FetchDone,
    FetchDoneMoreOutParams,
    FetchDoneMoreResultsets,
    Ok,
    Row,
    ServerMessage,
    StmtExecuteOk,
)
from xproto.notices import Notice, ServerHello, ServerWarning, SessionParameter, SessionStateChanged, WarningLevel
from xproto.rows import Column, Value, decode_row
from xproto.states import RECEIVED, STATEMENT_STATES, State
from xproto.tls import TlsMode

__all__ = ["Client", "Limits", "Result", "State", "TlsMode"]

# ER_ACCESS_DENIED_ERROR and ER_NOT_SUPPORTED_AUTH_MODE: another mechanism may still be accepted. No other error is like
# that: a locked account or a member in offline mode refuses every mechanism.
_ACCESS_DENIED = 1045
_NOT_SUPPORTED = 1251
_TRY_NEXT_MECHANISM = frozenset({_ACCESS_DENIED, _NOT_SUPPORTED})
# A server in clear answers a right password that it has not cached with the same words as a wrong one.
_NOT_CACHED = (
    "the password is wrong, or the server has not cached it and the line is not encrypted: use TLS, or log in with it"
    " over TLS once after each start of the server"
)
_CAPABILITY_REFUSED = 5001
_NO_TLS = "the server takes no TLS on this port: give it a certificate, or choose preferred or disabled here"
# As an X frame, the first packet of a classic server is of these types: its greeting, or an error in its place.
_CLASSIC_TYPES = frozenset({10, 255})


@dataclass(frozen=True, slots=True)
class Limits:
    """What one session takes from its peer at most. Notices are handed on at once: none are kept, none counted."""

    # Before the login the peer may be anybody. A real server's hello, capabilities and challenge are below 1 KiB each.
    handshake_bytes: int = 64 * 1024
    # One message. A checker reads a few short rows.
    frame_bytes: int = 256 * 1024
    # One result: MySQL itself stops at 4,096 columns.
    columns: int = 4096
    # One result. Far above a group's nine members, far below what would be felt in memory.
    rows: int = 10_000
    # One result, as it is on the wire. Decoding takes several times as much memory, and the event loop's time: at worst
    # 0.4 s for each MiB.
    result_bytes: int = 1024 * 1024


class Client:
    """One session's state. Feed what arrives, take events until there are none, send what there is to send.

    Args:
        login: who to be; None opens no further than the capabilities, in clear.
        tls: whether to encrypt.
        limits: what to take from the peer at most.
    """

    def __init__(self, login: Login | None, tls: TlsMode, limits: Limits) -> None:
        self.state = State.NEW
        self.hello_seen = False
        self.tls = False
        self.capabilities: Mapping[str, Arg] = {}
        self.client_id: int | None = None
        self.error: ServerError | None = None
        self._login = login
        self._tls_mode = tls
        self.limits = limits
        self._decoder = FrameDecoder(limits.handshake_bytes)
        self._outgoing = bytearray()
        self._mechanisms: list[Mechanism] = []
        self._denied: Error | None = None
        self._denied_hint = ""
        self._pinged = False
        self._columns: list[Column] = []
        self._rows: list[tuple[Value, ...]] = []
        self._results_read = self._rows_read = self._bytes_read = 0

    # What our side does.

    def open(self) -> None:
        """Begin: ask for the capabilities. The rest of the opening follows from what the server says."""
        self._leave({State.NEW})
        self._send(CapabilitiesGet(), State.READING_CAPABILITIES)

    def tls_established(self) -> None:
        """The TLS handshake that `TlsAccepted` called for is done."""
        self._leave({State.TLS_HANDSHAKE})
        self.tls = True
        self._start_login()

    def execute(self, statement: str, args: Sequence[Arg] = (), namespace: str = "sql") -> None:
        """Send a statement; `Completed`, `Failed` or `Ended` answers it."""
        self._leave({State.IDLE})
        self._columns, self._rows = [], []
        self._results_read = self._rows_read = self._bytes_read = 0
        self._outgoing += encode_statement(statement, tuple(args), namespace)
        self.state = State.EXECUTING

    def ping(self) -> None:
        """Send the admin command `ping`, unless one is unanswered. The answer is no event; a statement may follow.

        A ping outside IDLE is none: whoever speaks already need not.
        """
        if self.state is State.IDLE and not self._pinged:
            self._outgoing += PING
            self._pinged = True

    def close(self) -> None:
        """Say good-bye; `Ended` answers it. Only between statements."""
        self._leave({State.IDLE, State.ANONYMOUS})
        self._send(ConClose(), State.CLOSING)

    def data_to_send(self) -> bytes:
        """The bytes to write to the peer now; each is given once."""
        data = bytes(self._outgoing)
        self._outgoing.clear()
        return data

    # What the peer does.

    def receive_data(self, data: bytes) -> None:
        """Take what arrived. Bytes after the session's end are dropped.

        Raises:
            RemoteProtocolError: bytes in clear where the TLS handshake is due. A TLS server waits for the client, so
                somebody tries to be taken for the encrypted server.
        """
        if self.state is State.TLS_HANDSHAKE and data:
            self.state = State.CLOSED
            raise RemoteProtocolError("bytes in clear between the server's consent to TLS and the handshake")
        if self._pinged and data == PONG and not self._decoder.pending:
            self._pinged = False  # the usual answer, alone: nothing to cut or to decode
        elif self.state is not State.CLOSED:
            self._decoder.feed(data)

    def next_event(self) -> Event | None:
        """The next thing that happened, or None until more bytes arrive.

        Raises:
            RemoteProtocolError: the peer broke the protocol or a limit. The state is CLOSED then.
        """
        try:
            while self.state is not State.CLOSED and (frame := self._decoder.next_frame()):
                if event := self._handle(frame):
                    return event
        except RemoteProtocolError:
            self.state = State.CLOSED
            raise
        return None

    def _handle(self, frame: Frame) -> Event | None:
        if self.state is State.READING_CAPABILITIES and frame.type in _CLASSIC_TYPES and not self.hello_seen:
            raise RemoteProtocolError("this is a port of the classic protocol; the X Protocol's is usually 33060")
        message = decode_server(frame)
        if self._pinged and not isinstance(message, Notice) and self._answers_ping(message):
            return None
        if isinstance(message, Error):
            return self._refused(message)
        if isinstance(message, Notice):
            return self._noticed(message)
        state = RECEIVED.get((self.state, type(message)))
        if state is None:
            raise RemoteProtocolError(f"{type(message).__name__} in state {self.state.name}")
        self.state = state
        match message:
            case Capabilities(values):
                self.capabilities = values
                return self._negotiated()
            case AuthenticateContinue(nonce):
                self._answer(nonce)
            case Column() | Row():
                self._collect(message, len(frame.payload))
            case FetchDone() | FetchDoneMoreResultsets() | FetchDoneMoreOutParams():
                self._results_read += 1
            case AuthenticateOk():
                self._decoder.limit = self.limits.frame_bytes
                return Opened()
            case StmtExecuteOk():
                return Completed(Result(tuple(self._columns), tuple(self._rows)))
            case Ok():
                if state is State.CLOSED:
                    return Ended(None)
                if self._decoder.pending:
                    raise RemoteProtocolError("bytes in clear between the server's consent to TLS and the handshake")
                return TlsAccepted()
        return None

    def _answers_ping(self, message: ServerMessage) -> bool:
        """Whether this is a ping's answer; only a fatal error is not. Answers come in order: nothing comes before."""
        if isinstance(message, Error) and message.fatal:
            return False
        if not isinstance(message, StmtExecuteOk | Error):
            raise RemoteProtocolError(f"{type(message).__name__} in answer to a ping")
        self._pinged = False  # refused or not: the next statement says what is wrong
        return True

    def _noticed(self, notice: Notice) -> Event:
        match notice:
            case ServerHello():
                self.hello_seen = True
            case SessionStateChanged(SessionParameter.CLIENT_ID_ASSIGNED, values):
                self.client_id = next((value for value in values if isinstance(value, int)), None)
            case ServerWarning(WarningLevel.ERROR, code, message, global_scope=True):
                self.state = State.CLOSED
                self.error = ServerError(code, "HY000", message, fatal=True)
                return Ended(self.error)
        return NoticeReceived(notice)

    def _refused(self, error: Error) -> Event | None:
        """What an error means: it depends on what was asked, and one that answers nothing ends the session."""
        hint = ""
        if self.state in STATEMENT_STATES and not error.fatal:
            self.state = State.IDLE
            return Failed(_raisable(error))
        if self.state is State.ASKING_TLS:
            if self._tls_mode is TlsMode.PREFERRED and not error.fatal:
                self._start_login()
                return None
            hint = _NO_TLS if error.code == _CAPABILITY_REFUSED else ""
        if self.state in (State.AUTHENTICATING, State.ANSWERED) and error.code in _TRY_NEXT_MECHANISM:
            if error.code == _ACCESS_DENIED:
                self._denied = error
            del self._mechanisms[0]
            if self._mechanisms and not error.fatal:
                self._authenticate()
                return None
            # That the last mechanism is not the account's says less than that another was and found a wrong password.
            error, hint = self._denied or error, self._denied_hint
        self.state = State.CLOSED
        self.error = _raisable(error, hint)
        return Ended(self.error)

    # The opening.

    def _negotiated(self) -> Event | None:
        if self._login is None:
            self.state = State.ANONYMOUS
            return Opened()
        # Who insists asks even if it was not offered, so that the server says in its own words why not.
        unwanted = self._tls_mode is TlsMode.PREFERRED and "tls" not in self.capabilities
        if unwanted or self._tls_mode is TlsMode.DISABLED:
            self._start_login()
        else:
            self._send(CapabilitiesSet({"tls": True}), State.ASKING_TLS)
        return None

    def _start_login(self) -> None:
        offered = self.capabilities.get("authentication.mechanisms", ())
        names = [name for name in offered if isinstance(name, str)] if isinstance(offered, list) else []
        self._mechanisms = list(candidates(names, tls=self.tls))
        self._denied_hint = _NOT_CACHED if SHA256_MEMORY in self._mechanisms and not self.tls else ""
        self._authenticate()

    def _authenticate(self) -> None:
        assert self._login is not None  # noqa: S101 - without a login the opening ends at the capabilities
        mechanism = self._mechanisms[0]
        self._send(AuthenticateStart(mechanism.name, mechanism.start(self._login)), State.AUTHENTICATING)

    def _answer(self, nonce: bytes) -> None:
        mechanism = self._mechanisms[0]
        if self._login is None or mechanism.answer is None:
            raise RemoteProtocolError(f"a challenge, which {mechanism.name} does not have")
        self._send(AuthenticateContinue(mechanism.answer(self._login, nonce)), State.ANSWERED)

    # Results.

    def _collect(self, message: Column | Row, size: int) -> None:
        limits = self.limits
        self._bytes_read += size
        if self._bytes_read > limits.result_bytes:
            raise RemoteProtocolError(f"a result of more than {limits.result_bytes} bytes")
        if isinstance(message, Row):
            self._rows_read += 1
            if self._rows_read > limits.rows:
                raise RemoteProtocolError(f"a result of more than {limits.rows} rows")
        if self._results_read:
            return  # a further result set: counted, not kept
        if isinstance(message, Row):
            self._rows.append(decode_row(message.fields, self._columns))
        elif len(self._columns) == limits.columns:
            raise RemoteProtocolError(f"a result of more than {limits.columns} columns")
        else:
            self._columns.append(message)

    # Both.

    def _leave(self, allowed: set[State]) -> None:
        if self.state not in allowed:
            raise LocalProtocolError(f"not possible in state {self.state.name}")

    def _send(self, message: ClientMessage, state: State) -> None:
        self._outgoing += encode_client(message)
        self.state = state


def _raisable(error: Error, hint: str = "") -> ServerError:
    return ServerError(error.code, error.sql_state, error.message, error.fatal, hint)
