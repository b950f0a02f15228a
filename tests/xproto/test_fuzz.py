"""Whatever a peer sends: a value, or one of the two documented exceptions, and no more memory than the limits allow."""

from __future__ import annotations

import json
import tracemalloc
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import strategies as st

from tests.fuzzing import changed, cuts, fuzz, pieces
from xproto.auth import Login
from xproto.client import Client, Limits
from xproto.codec import decode_client, decode_server, encode_client, encode_server
from xproto.errors import RemoteProtocolError
from xproto.events import Completed, Event, Failed, Opened, TlsAccepted
from xproto.frames import Frame, FrameDecoder, encode_frame
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
    StmtExecute,
    StmtExecuteOk,
)
from xproto.notices import (
    GroupReplicationStateChanged,
    ServerHello,
    ServerWarning,
    SessionStateChanged,
    SessionVariableChanged,
    UnknownNotice,
)
from xproto.rows import Column, ColumnType, decode_row
from xproto.states import State
from xproto.tls import TlsMode

LOGIN = Login("probe", "probe-secret")
# So small that inputs of a few hundred bytes reach every one of them.
TIGHT = Limits(handshake_bytes=256, frame_bytes=256, columns=3, rows=4, result_bytes=400)
HEADER = 5

# --- what both sides say, at random -----------------------------------------------------------------------------------

NUMBERS = st.integers(0, 1 << 31)
TEXTS = st.text(max_size=12)
SCALARS = (
    st.none() | st.booleans() | st.integers(-(1 << 63), (1 << 64) - 1) | st.floats() | TEXTS | st.binary(max_size=9)
)
ARGS: st.SearchStrategy[Arg] = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3), max_leaves=6
)
NONCES = st.binary(min_size=20, max_size=20) | st.binary(max_size=25)
MECHANISMS = st.lists(st.sampled_from(["PLAIN", "SHA256_MEMORY", "MYSQL41", "?"]), max_size=4)
OFFERS = st.dictionaries(TEXTS, ARGS, max_size=3) | st.builds(
    lambda tls, names: {**({"tls": False} if tls else {}), "authentication.mechanisms": names},
    st.booleans(),
    MECHANISMS,
)
COLUMNS = st.builds(
    Column, TEXTS, st.sampled_from(ColumnType), NUMBERS, st.integers(0, 3), st.integers(0, 31), NUMBERS, NUMBERS
)
ERRORS = st.builds(Error, st.sampled_from([1045, 1251, 1053, 5001, 3032]) | NUMBERS, TEXTS, TEXTS, st.booleans())
NOTICES = (
    st.builds(ServerWarning, st.integers(1, 3), NUMBERS, TEXTS, st.booleans())
    | st.builds(SessionVariableChanged, TEXTS, SCALARS)
    | st.builds(SessionStateChanged, st.integers(1, 13), st.lists(SCALARS, max_size=3).map(tuple))
    | st.builds(GroupReplicationStateChanged, st.integers(1, 5), TEXTS)
    | st.builds(ServerHello)
    | st.builds(UnknownNotice, st.integers(6, 99), st.binary(max_size=9))
)
FROM_SERVER: st.SearchStrategy[ServerMessage] = (
    st.builds(Ok, TEXTS)
    | ERRORS
    | st.builds(Capabilities, OFFERS)
    | st.builds(AuthenticateContinue, NONCES)
    | st.builds(AuthenticateOk)
    | COLUMNS
    | st.builds(Row, st.lists(st.binary(max_size=12), max_size=4).map(tuple))
    | st.sampled_from([FetchDone(), FetchDoneMoreResultsets(), FetchDoneMoreOutParams(), StmtExecuteOk()])
    | NOTICES
)
FROM_CLIENT: st.SearchStrategy[ClientMessage] = (
    st.sampled_from([CapabilitiesGet(), ConClose()])
    | st.builds(CapabilitiesSet, OFFERS)
    | st.builds(AuthenticateStart, TEXTS, st.binary(max_size=40))
    | st.builds(AuthenticateContinue, NONCES)
    | st.builds(StmtExecute, TEXTS, st.lists(ARGS, max_size=3).map(tuple), TEXTS)
)
# What comes after the login is reached by few inputs that are random from their first byte.
OPENED = b"".join(
    map(
        encode_server,
        [
            Capabilities({"authentication.mechanisms": ["SHA256_MEMORY"]}),
            AuthenticateContinue(bytes(20)),
            AuthenticateOk(),
        ],
    )
)
RECORDED = b"".join(
    bytes.fromhex(turn["hex"])
    for turn in json.loads(Path(__file__).with_name("vectors").joinpath("session.json").read_text())["exchange"]
    if turn["from"] == "server"
)
# What the state machine would have: a result, with the cells that its columns ask for, and a ping's answer before it.
CELLS = st.sampled_from([(ColumnType.SINT, b"\x02"), (ColumnType.BYTES, b"a\0"), (ColumnType.DECIMAL, b"\x00\x1c")])


def answer_of(cells: list[tuple[ColumnType, bytes]], rows: int, pong: bool, more: bool, notice: ServerMessage) -> bytes:
    """All that a server says to one statement; more cells or rows than the limits allow, too."""
    one: list[ServerMessage] = [Column("n", kind) for kind, _ in cells]
    one += [Row(tuple(field for _, field in cells))] * rows
    said = [*([StmtExecuteOk()] if pong else []), *one, notice]
    said += [FetchDoneMoreResultsets(), *one, FetchDone()] if more else [FetchDone()] if cells else []
    return b"".join(map(encode_server, [*said, StmtExecuteOk()]))


ANSWERS = st.lists(
    st.builds(answer_of, st.lists(CELLS, max_size=4), st.integers(0, 5), st.booleans(), st.booleans(), NOTICES),
    max_size=4,
).map(b"".join)
SAID = st.lists(FROM_SERVER.map(encode_server), max_size=12).map(b"".join)
STREAMS = st.one_of(
    st.binary(max_size=300),
    changed(SAID),
    changed(SAID.map(lambda said: OPENED + said)),
    changed(ANSWERS).map(lambda said: OPENED + said),
    changed(st.just(RECORDED)),
)


# --- the targets ------------------------------------------------------------------------------------------------------


FRAMES = st.lists(st.builds(encode_frame, st.integers(0, 255), st.binary(max_size=40)), max_size=6).map(b"".join)


@fuzz(st.lists(st.binary(max_size=60) | changed(FRAMES), max_size=6), st.integers(1, 60))
def test_fuzz_frames(chunks: list[bytes], limit: int) -> None:
    decoder = FrameDecoder(limit)
    fed, given = b"".join(chunks), b""
    for chunk in chunks:
        decoder.feed(chunk)
        try:
            for frame in iter(decoder.next_frame, None):
                assert len(frame.payload) < limit
                given += encode_frame(frame.type, frame.payload)
        except RemoteProtocolError:
            return
        assert decoder.pending < HEADER - 1 + limit
    assert fed.startswith(given)
    assert len(fed) == len(given) + decoder.pending


@fuzz(st.integers(0, 255), st.binary(max_size=200))
def test_fuzz_messages(kind: int, payload: bytes) -> None:
    for decode in (decode_server, decode_client):
        with suppress(RemoteProtocolError):
            decode(Frame(kind, payload))


@fuzz(changed(FROM_SERVER.map(encode_server)))
def test_fuzz_changed_messages_of_a_server(data: bytes) -> None:
    if len(data) >= HEADER:
        with suppress(RemoteProtocolError):
            decode_server(Frame(data[HEADER - 1], data[HEADER:]))


@fuzz(changed(FROM_CLIENT.map(encode_client)))
def test_fuzz_changed_messages_of_a_client(data: bytes) -> None:
    if len(data) >= HEADER:
        with suppress(RemoteProtocolError):
            decode_client(Frame(data[HEADER - 1], data[HEADER:]))


@fuzz(st.lists(st.tuples(COLUMNS, st.binary(max_size=90)), max_size=4))
def test_fuzz_rows(cells: list[tuple[Column, bytes]]) -> None:
    try:
        values = decode_row([field for _, field in cells], [column for column, _ in cells])
    except RemoteProtocolError:
        return
    assert len(values) == len(cells)
    for value, (_, field) in zip(values, cells, strict=True):
        assert (value is None) == (not field)


class Side:
    """Our side, which goes along with whatever comes: logs in, asks, pings, and says good-bye after a while.

    Args:
        questions: how many statements before the good-bye.
        pings: whether each question is preceded by a ping.
    """

    def __init__(self, tls: TlsMode, questions: int, pings: bool) -> None:
        self.client = Client(LOGIN, tls, TIGHT)
        self.events: list[Event] = []
        self.violated = False
        self._questions = questions
        self._pings = pings
        self.client.open()
        self._flush()

    def hear(self, data: bytes) -> None:
        try:
            self.client.receive_data(data)
            while event := self.client.next_event():
                self.events.append(event)
                self._answer(event)
        except RemoteProtocolError:
            self.violated = True
            assert self.client.state is State.CLOSED
        self._flush()
        self._check_size(len(data))

    def _answer(self, event: Event) -> None:
        client = self.client
        if isinstance(event, TlsAccepted):
            client.tls_established()
        elif isinstance(event, Opened | Completed | Failed) and client.state is State.IDLE:
            if self._pings:
                client.ping()
            if self._questions:
                self._questions -= 1
                client.execute("SELECT 1")
            else:
                client.close()

    def _flush(self) -> None:
        assert len(self.client.data_to_send()) < 1024  # what is sent does not grow with what comes

    def _check_size(self, piece: int) -> None:
        """What is kept between two pieces of the stream is bounded by the limits alone."""
        client = self.client
        if client.state is not State.CLOSED:
            assert client._decoder.pending < HEADER - 1 + max(TIGHT.handshake_bytes, TIGHT.frame_bytes)
        assert len(client._columns) <= TIGHT.columns
        assert len(client._rows) <= TIGHT.rows
        assert client._bytes_read <= TIGHT.result_bytes or client.state is State.CLOSED
        assert len(client._mechanisms) <= 3


ASKED = st.tuples(st.integers(0, 3), st.booleans())


@fuzz(STREAMS, st.sampled_from(TlsMode), ASKED, st.data())
def test_fuzz_the_client(stream: bytes, tls: TlsMode, asked: tuple[int, bool], data: st.DataObject) -> None:
    side = Side(tls, *asked)
    for piece in pieces(stream, data.draw(cuts(len(stream)))):
        side.hear(piece)


@fuzz(STREAMS, ASKED, st.data())
def test_fuzz_that_the_client_does_not_mind_where_a_stream_is_cut(
    stream: bytes, asked: tuple[int, bool], data: st.DataObject
) -> None:
    whole, cut = Side(TlsMode.DISABLED, *asked), Side(TlsMode.DISABLED, *asked)
    whole.hear(stream)
    for piece in pieces(stream, data.draw(cuts(len(stream)))):
        cut.hear(piece)
    assert repr(cut.events) == repr(whole.events)
    assert (cut.client.state, cut.violated) == (whole.client.state, whole.violated)


# --- memory -----------------------------------------------------------------------------------------------------------

# The dearest values for their size on the wire, and a result of nothing but them.
DEAREST = {
    "decimals": (ColumnType.DECIMAL, b"\x00\x1c"),
    "dates": (ColumnType.DATETIME, b"\xea\x0f\x0b\x14"),
    "times": (ColumnType.TIME, b"\x01\x01"),
    "texts": (ColumnType.BYTES, b"ab\x00"),
    "numbers": (ColumnType.UINT, b"\xff\x7f"),
    "sets": (ColumnType.SET, b"\x00" * 40),
    "nothing": (ColumnType.SINT, b""),
}


@pytest.mark.parametrize("kind", DEAREST)
def test_the_dearest_result_within_the_limits_takes_tens_of_megabytes_at_most(kind: str) -> None:
    column_type, field = DEAREST[kind]
    limits = Limits(result_bytes=128 * 1024)  # of which a whole one takes a multiple
    width = 1000
    client = Client(LOGIN, TlsMode.DISABLED, limits)
    client.open()
    client.receive_data(OPENED)
    assert client.next_event() == Opened()
    client.execute("SELECT 1")
    client.receive_data(encode_server(Column("", column_type, 255)) * width)
    assert client.next_event() is None
    row = encode_server(Row((field,) * width))
    tracemalloc.start()
    try:
        with pytest.raises(RemoteProtocolError, match="a result of more than"):  # noqa: PT012 - sooner or later
            while True:
                client.receive_data(row)
                assert client.next_event() is None
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 40 * limits.result_bytes


@pytest.mark.parametrize(
    "message", [ServerHello(), SessionStateChanged(4, (None,) * 100), UnknownNotice(9, bytes(999))]
)
def test_a_flood_of_notices_leaves_nothing_behind(message: ServerMessage) -> None:
    client = Client(LOGIN, TlsMode.DISABLED, Limits())
    client.open()
    client.receive_data(OPENED)
    assert client.next_event() == Opened()
    data = encode_server(message)
    tracemalloc.start()
    try:
        for _ in range(2000):
            client.receive_data(data)
            while client.next_event():
                pass
        left, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert left < 64 * 1024


def test_a_frame_that_never_ends_is_not_waited_for() -> None:
    client = Client(LOGIN, TlsMode.DISABLED, Limits())
    client.open()
    client.receive_data((Limits().handshake_bytes + 1).to_bytes(4, "little"))
    with pytest.raises(RemoteProtocolError, match="above the limit"):
        client.next_event()
