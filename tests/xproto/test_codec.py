"""Messages to frames and back; bad frames; the `Error` frame a router sends."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xproto.codec import decode_client, decode_server, encode_client, encode_error, encode_server
from xproto.errors import LocalProtocolError, RemoteProtocolError
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
    GroupChange,
    GroupReplicationStateChanged,
    ServerHello,
    ServerWarning,
    SessionParameter,
    SessionStateChanged,
    SessionVariableChanged,
    UnknownNotice,
    WarningLevel,
)
from xproto.rows import Column, ColumnType


def frame_of(data: bytes) -> Frame:
    decoder = FrameDecoder(1 << 20)
    decoder.feed(data)
    frame = decoder.next_frame()
    assert frame is not None
    assert decoder.pending == 0
    return frame


@pytest.mark.parametrize(
    "message",
    [
        CapabilitiesGet(),
        CapabilitiesSet({"tls": True}),
        ConClose(),
        AuthenticateStart("PLAIN", b"a\0b\0c"),
        AuthenticateContinue(b"answer"),
        StmtExecute("SELECT ?", (None, True, -1, 1 << 63, 1.5, "é", b"\xff", ["a", 1], {"k": [None]}), "mysqlx"),
    ],
)
def test_client_messages_go_both_ways(message: ClientMessage) -> None:
    assert decode_client(frame_of(encode_client(message))) == message


@pytest.mark.parametrize(
    "message",
    [
        Ok("bye!"),
        Error(1045, "28000", "Access denied", fatal=True),
        Capabilities({"tls": False, "authentication.mechanisms": ["PLAIN"], "compression": {"algorithm": ["x"]}}),
        AuthenticateContinue(bytes(20)),
        AuthenticateOk(),
        Column("n", ColumnType.DECIMAL, 63, 2, 3, 10, 16),
        Row((b"", b"\0", b"\x02")),
        FetchDone(),
        FetchDoneMoreResultsets(),
        FetchDoneMoreOutParams(),
        StmtExecuteOk(),
        ServerHello(),
        ServerWarning(WarningLevel.ERROR, 1053, "Server shutdown in progress", global_scope=True),
        ServerWarning(9, 1, "of a level that is not known"),
        SessionVariableChanged("autocommit", "ON"),
        SessionStateChanged(SessionParameter.CLIENT_ID_ASSIGNED, (7,)),
        SessionStateChanged(99, ()),
        GroupReplicationStateChanged(GroupChange.MEMBER_ROLE_CHANGE, "1:2"),
        GroupReplicationStateChanged(77, ""),
        UnknownNotice(42, b"anything"),
    ],
)
def test_server_messages_go_both_ways(message: ServerMessage) -> None:
    assert decode_server(frame_of(encode_server(message))) == message


def test_an_error_frame_for_a_client_that_cannot_be_served() -> None:
    frame = encode_error(2003, "HY000", "no member")
    assert frame == bytes.fromhex("1800000001080110d30f1a096e6f206d656d62657222054859303030")
    assert decode_server(frame_of(frame)) == Error(2003, "HY000", "no member", fatal=True)
    assert decode_server(frame_of(encode_error(1, "00000", "", fatal=False))) == Error(1, "00000", "")


def test_text_that_was_cut_inside_a_character_is_still_readable() -> None:
    message = decode_server(Frame(1, b"\x10\x01\x1a\x02a\xc3\x22\x05HY000"))
    assert message == Error(1, "HY000", "a�")


@pytest.mark.parametrize(
    ("frame", "why"),
    [
        (Frame(15, b""), "does not belong here"),  # FetchSuspended: no cursor was opened
        (Frame(19, b""), "does not belong here"),  # Compression: never asked for
        (Frame(200, b""), "does not belong here"),
        (Frame(1, b"\xff\xff"), "cannot be decoded"),
        (Frame(1, b""), "cannot be decoded"),  # required fields are missing
        (Frame(12, b"\x08\x63"), "column of type 99"),
        (Frame(2, bytes.fromhex("0a090a0161120408011200")), "cannot be decoded"),
        (Frame(2, bytes.fromhex("0a070a016112020809")), "value of type 9"),
        (Frame(2, bytes.fromhex("0a0b0a01611206080112020863")), "scalar of type 99"),
        (Frame(11, b"\x08\x01\x1a\x01\xff"), "cannot be decoded"),
    ],
)
def test_what_no_server_sends_is_refused(frame: Frame, why: str) -> None:
    with pytest.raises(RemoteProtocolError, match=why):
        decode_server(frame)


def nested(depth: int) -> Arg:
    return [nested(depth - 1)] if depth else 1


@pytest.mark.parametrize("argument", [1 << 64, -(1 << 63) - 1, object(), nested(40), "\udc80", {"k": "\udc80"}])
def test_an_argument_without_a_form_is_our_mistake(argument: Arg) -> None:
    with pytest.raises(LocalProtocolError):
        encode_client(StmtExecute("SELECT ?", (argument,)))


def test_a_number_that_does_not_fit_is_our_mistake() -> None:
    with pytest.raises(LocalProtocolError):
        encode_error(1 << 40, "HY000", "")


@given(st.integers(0, 255), st.binary(max_size=200))
def test_arbitrary_payloads_are_messages_or_a_remote_error(frame_type: int, payload: bytes) -> None:
    for decode in (decode_server, decode_client):
        with suppress(RemoteProtocolError):
            decode(Frame(frame_type, payload))


@given(st.integers(0, 60))
def test_deep_nesting_is_a_message_or_a_remote_error(depth: int) -> None:
    value = b"\x08\x01\x12\x02\x08\x03"
    for _ in range(depth * 4):
        array = b"\x0a" + _varint(len(value)) + value
        value = b"\x08\x03\x22" + _varint(len(array)) + array
    entry = b"\x0a\x01a\x12" + _varint(len(value)) + value
    try:
        decode_server(frame_of(encode_frame(2, b"\x0a" + _varint(len(entry)) + entry)))
    except RemoteProtocolError:
        assert depth > 10


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*encoded, number])
