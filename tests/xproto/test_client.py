"""The client's state machine, as transcripts: what the server says, what comes of it, what is sent."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xproto.auth import Login
from xproto.client import Client, Limits, Result
from xproto.codec import PING, PONG, decode_client, encode_server
from xproto.errors import LocalProtocolError, RemoteProtocolError, ServerError
from xproto.events import Completed, Ended, Event, Failed, NoticeReceived, Opened, TlsAccepted
from xproto.frames import FrameDecoder
from xproto.messages import (
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
    UnknownNotice,
    WarningLevel,
)
from xproto.rows import Column, ColumnType
from xproto.states import State
from xproto.tls import TlsMode

LOGIN = Login("probe", "probe-secret")
NONCE = bytes(20)
LIMITS = Limits()
OFFER = Capabilities({"tls": False, "authentication.mechanisms": ["SHA256_MEMORY"]})
OFFER_WITHOUT_TLS = Capabilities({"authentication.mechanisms": ["SHA256_MEMORY"]})
DENIED = Error(1045, "HY000", "Access denied")
NUMBER = Column("n", ColumnType.SINT)
CHANGED = GroupReplicationStateChanged(GroupChange.MEMBER_ROLE_CHANGE, "1:2")
KILLED = ServerWarning(WarningLevel.ERROR, 3169, "Session was killed", global_scope=True)


class Play:
    """A client and the part of the server, told line by line."""

    def __init__(self, login: Login | None = LOGIN, tls: TlsMode = TlsMode.PREFERRED, limits: Limits = LIMITS) -> None:
        self.client = Client(login, tls, limits)
        self._decoder = FrameDecoder(1 << 20)
        self.client.open()

    def server(self, *messages: ServerMessage) -> list[Event]:
        return self.bytes(b"".join(map(encode_server, messages)))

    def bytes(self, data: bytes) -> list[Event]:
        self.client.receive_data(data)
        return list(iter(self.client.next_event, None))

    def sent(self) -> list[ClientMessage]:
        self._decoder.feed(self.client.data_to_send())
        return [decode_client(frame) for frame in iter(self._decoder.next_frame, None)]


def opened(limits: Limits = LIMITS) -> Play:
    play = Play(tls=TlsMode.DISABLED, limits=limits)
    events = play.server(OFFER) + play.server(AuthenticateContinue(NONCE)) + play.server(AuthenticateOk())
    assert events == [Opened()]
    play.sent()
    return play


def same(left: Event, right: Event) -> bool:
    """Equality, where exceptions are equal by what they say."""
    return repr(left) == repr(right)


# --- a real server's session -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_a_session_with_a_real_server(exchange: list[tuple[str, bytes]], size: int) -> None:
    client = Client(LOGIN, TlsMode.DISABLED, Limits())
    events: list[Event] = []
    sent: list[bytes] = []
    statements: Iterator[Callable[[], None]] = iter(
        [
            lambda: client.execute(
                "SELECT MEMBER_ID, MEMBER_STATE, @@read_only, ? FROM "
                "performance_schema.replication_group_members RIGHT JOIN (SELECT 1) AS one ON TRUE",
                ["é"],
            ),
            lambda: client.execute("enable_notices", [{"notice": ["group_replication/membership/view"]}], "mysqlx"),
            lambda: client.execute("SELECT * FROM nowhere.nothing"),
            lambda: client.execute("SET SESSION mysqlx_wait_timeout = 1"),
        ]
    )
    client.open()
    sent.append(client.data_to_send())
    for speaker, data in exchange:
        if speaker == "client":
            continue
        for chunk in batches(data, size):
            client.receive_data(chunk)
            while event := client.next_event():
                if not isinstance(event, NoticeReceived):
                    events.append(event)
                if isinstance(event, Opened | Completed | Failed) and (statement := next(statements, None)):
                    statement()
            if answer := client.data_to_send():
                sent.append(answer)

    assert sent == [data for speaker, data in exchange if speaker == "client"]
    first, *rest = events
    assert first == Opened()
    assert isinstance(rest[0], Completed)
    assert [column.name for column in rest[0].result.columns] == ["MEMBER_ID", "MEMBER_STATE", "@@read_only", "é"]
    assert rest[0].result.rows == ((None, None, 0, "é"),)
    assert rest[1] == Completed(Result((), ()))
    assert same(rest[2], Failed(ServerError(1049, "42000", "Unknown database 'nowhere'", False)))
    assert rest[3] == Completed(Result((), ()))
    assert same(rest[4], Ended(ServerError(1810, "HY000", "IO Read error: read_timeout exceeded", True)))
    assert client.hello_seen
    assert client.client_id == 11
    assert client.capabilities["authentication.mechanisms"] == ["SHA256_MEMORY"]


def batches(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


# --- opening ---------------------------------------------------------------------------------------------------------


def test_opening_in_clear() -> None:
    play = Play(tls=TlsMode.DISABLED)
    assert play.sent() == [CapabilitiesGet()]
    assert play.server(ServerHello()) == [NoticeReceived(ServerHello())]
    assert play.client.hello_seen
    assert play.server(OFFER) == []
    assert play.sent() == [AuthenticateStart("SHA256_MEMORY")]
    assert play.server(AuthenticateContinue(NONCE)) == []
    (answer,) = play.sent()
    assert isinstance(answer, AuthenticateContinue)
    assert answer.data.startswith(b"\0probe\0")
    identity = SessionStateChanged(SessionParameter.CLIENT_ID_ASSIGNED, (7,))
    assert play.server(identity, AuthenticateOk()) == [NoticeReceived(identity), Opened()]
    assert play.client.client_id == 7
    assert not play.client.tls


def test_opening_with_tls_and_a_cold_cache() -> None:
    play = Play()
    play.server(ServerHello(), OFFER)
    assert play.sent() == [CapabilitiesGet(), CapabilitiesSet({"tls": True})]
    assert play.server(Ok()) == [TlsAccepted()]
    assert play.sent() == []
    play.client.tls_established()
    assert play.client.tls
    assert play.sent() == [AuthenticateStart("SHA256_MEMORY")]
    play.server(AuthenticateContinue(NONCE))
    play.sent()
    assert play.server(DENIED) == []
    assert play.sent() == [AuthenticateStart("PLAIN", b"\0probe\0probe-secret")]
    assert play.server(AuthenticateOk()) == [Opened()]


@pytest.mark.parametrize("code", [1045, 1251])
def test_the_password_is_never_shown_in_clear(code: int) -> None:
    play = Play(tls=TlsMode.DISABLED)
    play.server(OFFER)
    (ended,) = play.server(Error(code, "HY000", "no"))
    assert isinstance(ended, Ended)
    assert play.client.state is State.CLOSED
    assert [message.mechanism for message in play.sent() if isinstance(message, AuthenticateStart)] == ["SHA256_MEMORY"]


@pytest.mark.parametrize("code", [1040, 1049, 1862, 3032, 3118])
def test_other_refusals_are_not_tried_again(code: int) -> None:
    play = Play()
    play.server(OFFER, Ok())
    play.client.tls_established()
    play.sent()
    (ended,) = play.server(Error(code, "HY000", "no"))
    assert same(ended, Ended(ServerError(code, "HY000", "no", False)))
    assert play.sent() == []


def test_both_mechanisms_denied() -> None:
    play = Play()
    play.server(OFFER, Ok())
    play.client.tls_established()
    assert play.server(DENIED) == []
    (ended,) = play.server(DENIED)
    assert same(ended, Ended(ServerError(1045, "HY000", "Access denied", False)))


def test_what_the_other_mechanisms_say_does_not_hide_a_denial() -> None:
    play = Play(tls=TlsMode.DISABLED)
    play.server(Capabilities({"authentication.mechanisms": ["MYSQL41", "SHA256_MEMORY"]}))
    assert play.server(AuthenticateContinue(NONCE), DENIED) == []
    assert [m.mechanism for m in play.sent() if isinstance(m, AuthenticateStart)] == ["SHA256_MEMORY", "MYSQL41"]
    (ended,) = play.server(Error(1251, "HY000", "Invalid authentication method MYSQL41"))
    assert isinstance(ended, Ended)
    assert ended.error is not None
    assert ended.error.code == 1045


def test_a_denial_that_is_final_is_not_argued_with() -> None:
    play = Play()
    play.server(OFFER, Ok())
    play.client.tls_established()
    play.sent()
    (ended,) = play.server(Error(1045, "HY000", "Access denied", fatal=True))
    assert same(ended, Ended(ServerError(1045, "HY000", "Access denied", True)))
    assert play.sent() == []


@pytest.mark.parametrize(("offered", "helped"), [("SHA256_MEMORY", True), ("MYSQL41", False)])
def test_in_clear_a_denial_may_mean_a_cold_cache_and_says_so(offered: str, helped: bool) -> None:
    play = Play(tls=TlsMode.DISABLED)
    play.server(Capabilities({"authentication.mechanisms": [offered]}))
    (ended,) = play.server(DENIED)
    assert isinstance(ended, Ended)
    assert ended.error is not None
    assert ("use TLS" in str(ended.error)) == helped


@pytest.mark.parametrize("kind", [10, 255])
def test_the_classic_protocols_greeting_is_known(kind: int) -> None:
    play = Play()
    with pytest.raises(RemoteProtocolError, match=r"classic protocol.*33060"):
        play.bytes(b"\x49\x00\x00\x00" + bytes([kind]) + bytes(72))
    late = Play()
    late.server(ServerHello())
    with pytest.raises(RemoteProtocolError, match="type"):
        late.bytes(b"\x49\x00\x00\x00" + bytes([kind]) + bytes(72))


def test_preferred_tls_that_is_not_offered_is_not_asked_for() -> None:
    play = Play()
    play.server(OFFER_WITHOUT_TLS)
    assert play.sent() == [CapabilitiesGet(), AuthenticateStart("SHA256_MEMORY")]


def test_preferred_tls_that_is_refused_is_done_without() -> None:
    play = Play()
    play.server(OFFER)
    play.sent()
    assert play.server(Error(5001, "HY000", "Capability prepare failed for 'tls'")) == []
    assert play.sent() == [AuthenticateStart("SHA256_MEMORY")]
    assert not play.client.tls


@pytest.mark.parametrize("mode", [TlsMode.REQUIRED, TlsMode.VERIFY_CA, TlsMode.VERIFY_IDENTITY])
def test_required_tls_is_asked_for_in_any_case_and_never_done_without(mode: TlsMode) -> None:
    play = Play(tls=mode)
    play.server(OFFER_WITHOUT_TLS)
    assert play.sent() == [CapabilitiesGet(), CapabilitiesSet({"tls": True})]
    (ended,) = play.server(Error(5001, "HY000", "no TLS here"))
    assert isinstance(ended, Ended)
    assert ended.error is not None
    assert ended.error.code == 5001
    assert "the server takes no TLS" in ended.error.hint
    assert play.sent() == []


def test_another_error_in_the_place_of_consent_is_not_taken_for_a_lack_of_tls() -> None:
    play = Play(tls=TlsMode.REQUIRED)
    play.server(OFFER)
    (ended,) = play.server(Error(1053, "08S01", "Server shutdown in progress"))
    assert same(ended, Ended(ServerError(1053, "08S01", "Server shutdown in progress")))


def test_bytes_in_clear_together_with_the_consent_to_tls_are_an_attack() -> None:
    play = Play()
    play.server(OFFER)
    with pytest.raises(RemoteProtocolError, match="bytes in clear"):
        play.server(Ok(), AuthenticateOk())
    assert play.client.state is State.CLOSED


def test_bytes_in_clear_before_the_handshake_are_an_attack() -> None:
    play = Play()
    play.server(OFFER)
    assert play.server(Ok()) == [TlsAccepted()]
    with pytest.raises(RemoteProtocolError, match="bytes in clear"):
        play.server(AuthenticateOk())
    assert play.client.state is State.CLOSED


def test_without_a_login_only_the_capabilities_are_read() -> None:
    play = Play(login=None, tls=TlsMode.REQUIRED)
    assert play.server(ServerHello(), OFFER) == [NoticeReceived(ServerHello()), Opened()]
    assert play.sent() == [CapabilitiesGet()]
    with pytest.raises(LocalProtocolError):
        play.client.execute("SELECT 1")
    play.client.close()
    assert play.sent() == [ConClose()]
    assert play.server(Ok("bye!")) == [Ended(None)]


def test_an_error_instead_of_anything_ends_the_opening() -> None:
    play = Play()
    (ended,) = play.server(Error(1040, "HY000", "Too many connections", fatal=True))
    assert same(ended, Ended(ServerError(1040, "HY000", "Too many connections", True)))
    assert play.server(OFFER) == []  # what comes after the end is dropped


def test_before_the_login_less_is_taken() -> None:
    limits = Limits(handshake_bytes=100, frame_bytes=1000)
    with pytest.raises(RemoteProtocolError, match="above the limit of 100"):
        Play(limits=limits).server(Capabilities({"x": "y" * 100}))
    play = opened(limits)
    play.client.execute("SELECT 1")
    play.server(Column("c" * 500, ColumnType.BYTES))
    with pytest.raises(RemoteProtocolError, match="above the limit of 1000"):
        play.server(Column("c" * 1000, ColumnType.BYTES))


def test_plain_has_no_challenge() -> None:
    play = Play()
    play.server(OFFER, Ok())
    play.client.tls_established()
    play.server(DENIED)
    with pytest.raises(RemoteProtocolError, match="PLAIN"):
        play.server(AuthenticateContinue(NONCE))


def test_one_challenge_is_enough() -> None:
    play = Play(tls=TlsMode.DISABLED)
    play.server(OFFER, AuthenticateContinue(NONCE))
    with pytest.raises(RemoteProtocolError, match="AuthenticateContinue in state ANSWERED"):
        play.server(AuthenticateContinue(NONCE))


# --- statements ------------------------------------------------------------------------------------------------------


def test_a_statement_with_notices_in_between() -> None:
    play = opened()
    play.client.execute("SELECT ?", [1])
    assert play.sent() == [StmtExecute("SELECT ?", (1,))]
    notice = NoticeReceived(CHANGED)
    assert play.server(CHANGED, NUMBER, CHANGED, Row((b"\x02",)), CHANGED, FetchDone(), CHANGED) == [notice] * 4
    assert play.server(StmtExecuteOk()) == [Completed(Result((NUMBER,), ((1,),)))]


def test_results_do_not_leak_into_the_next_statement() -> None:
    play = opened()
    for number in (b"\x02", b"\x04"):
        play.client.execute("SELECT 1")
        (done,) = play.server(NUMBER, Row((number,)), FetchDone(), StmtExecuteOk())
        assert done == Completed(Result((NUMBER,), ((number[0] // 2,),)))


def test_a_statement_that_fails_after_rows() -> None:
    play = opened()
    play.client.execute("CALL p()")
    (failed,) = play.server(NUMBER, Row((b"\x02",)), FetchDoneMoreResultsets(), Error(1644, "45000", "boo"))
    assert same(failed, Failed(ServerError(1644, "45000", "boo", False)))
    play.client.execute("DO 1")
    assert play.server(StmtExecuteOk()) == [Completed(Result((), ()))]


@pytest.mark.parametrize("more", [FetchDoneMoreResultsets(), FetchDoneMoreOutParams()])
def test_the_first_of_several_results_is_kept(more: ServerMessage) -> None:
    play = opened()
    play.client.execute("CALL p()")
    second: list[ServerMessage] = [
        NUMBER,
        NUMBER,
        Row((b"\x04", b"\x06")),
        FetchDoneMoreResultsets(),
        FetchDone(),
        StmtExecuteOk(),
    ]
    (done,) = play.server(NUMBER, Row((b"\x02",)), more, *second)
    assert done == Completed(Result((NUMBER,), ((1,),)))


def test_a_fatal_error_ends_the_session() -> None:
    play = opened()
    play.client.execute("SELECT 1")
    (ended,) = play.server(Error(1053, "08S01", "Server shutdown in progress", fatal=True))
    assert same(ended, Ended(ServerError(1053, "08S01", "Server shutdown in progress", True)))


def test_one_statement_at_a_time() -> None:
    play = opened()
    play.client.execute("SELECT 1")
    with pytest.raises(LocalProtocolError):
        play.client.execute("SELECT 2")
    with pytest.raises(LocalProtocolError):
        play.client.close()


def test_an_argument_without_a_form_leaves_the_session_usable() -> None:
    play = opened()
    with pytest.raises(LocalProtocolError):
        play.client.execute("SELECT ?", [1 << 64])
    assert play.sent() == []
    play.client.execute("SELECT 1")
    assert play.sent() == [StmtExecute("SELECT 1")]


@pytest.mark.parametrize(
    ("limits", "messages", "why"),
    [
        (Limits(rows=2), [NUMBER, *[Row((b"\x02",))] * 3], "more than 2 rows"),
        (Limits(columns=2), [NUMBER] * 3, "more than 2 columns"),
        (Limits(result_bytes=100), [NUMBER, *[Row((b"\x02",))] * 100], "more than 100 bytes"),
        (
            Limits(rows=2),
            [NUMBER, Row((b"\x02",)), FetchDoneMoreResultsets(), NUMBER, *[Row((b"\x02",))] * 2],
            "more than 2 rows",
        ),
    ],
)
def test_a_result_has_limits(limits: Limits, messages: list[ServerMessage], why: str) -> None:
    play = opened(limits)
    play.client.execute("SELECT 1")
    with pytest.raises(RemoteProtocolError, match=why):
        play.server(*messages)
    assert play.client.state is State.CLOSED


# --- pings -----------------------------------------------------------------------------------------------------------


def test_a_ping_is_sent_once_and_its_answer_is_no_event() -> None:
    play = opened()
    play.client.ping()
    play.client.ping()
    assert play.client.data_to_send() == PING
    assert play.bytes(PONG) == []
    play.client.ping()
    assert play.client.data_to_send() == PING
    assert play.server(CHANGED, StmtExecuteOk(), CHANGED) == [NoticeReceived(CHANGED)] * 2
    play.client.execute("SELECT 1")
    (done,) = play.server(NUMBER, Row((b"\x02",)), FetchDone(), StmtExecuteOk())
    assert done == Completed(Result((NUMBER,), ((1,),)))


def test_bytes_like_a_pings_answer_that_end_another_message() -> None:
    play = opened()
    play.client.ping()
    notice = UnknownNotice(99, b"..." + PONG)
    data = encode_server(notice)
    assert data.endswith(PONG)
    assert play.bytes(data.removesuffix(PONG)) == []
    assert play.bytes(PONG) == [NoticeReceived(notice)]
    assert play.bytes(PONG) == []
    play.client.execute("SELECT 1")
    assert play.server(StmtExecuteOk()) == [Completed(Result((), ()))]


@pytest.mark.parametrize("size", [1, 3, 5, 1000])
def test_a_statement_may_follow_an_unanswered_ping(size: int) -> None:
    play = opened()
    play.client.ping()
    play.client.execute("SELECT 1")
    play.client.ping()  # none: a statement runs
    assert play.sent() == [StmtExecute("ping", (), "mysqlx"), StmtExecute("SELECT 1")]
    answers = [StmtExecuteOk(), NUMBER, Row((b"\x02",)), FetchDone(), StmtExecuteOk()]
    events: list[Event] = []
    for chunk in batches(b"".join(map(encode_server, answers)), size):
        events += play.bytes(chunk)
    assert events == [Completed(Result((NUMBER,), ((1,),)))]
    assert play.client.state is State.IDLE


def test_a_statement_that_fails_after_an_unanswered_ping() -> None:
    play = opened()
    play.client.ping()
    play.client.execute("SELECT 1")
    assert play.server(Error(1142, "42000", "the ping is denied")) == []
    (failed,) = play.server(Error(1064, "42000", "the statement is wrong"))
    assert same(failed, Failed(ServerError(1064, "42000", "the statement is wrong")))


def test_good_bye_after_an_unanswered_ping() -> None:
    play = opened()
    play.client.ping()
    play.client.close()
    assert play.server(StmtExecuteOk(), Ok("bye!")) == [Ended(None)]


@pytest.mark.parametrize("busy", [False, True])
def test_a_fatal_error_in_place_of_a_pings_answer_ends_the_session(busy: bool) -> None:
    play = opened()
    play.client.ping()
    if busy:
        play.client.execute("SELECT 1")
    (ended,) = play.server(Error(1317, "70100", "interrupted", fatal=True))
    assert same(ended, Ended(ServerError(1317, "70100", "interrupted", True)))


def test_what_no_ping_is_answered_with() -> None:
    play = opened()
    play.client.ping()
    with pytest.raises(RemoteProtocolError, match="Row in answer to a ping"):
        play.server(Row((b"\x02",)))


def test_an_answer_to_a_ping_that_was_not_sent() -> None:
    play = opened()
    with pytest.raises(RemoteProtocolError, match="StmtExecuteOk in state IDLE"):
        play.bytes(PONG)


# --- idle and the end ------------------------------------------------------------------------------------------------


def test_notices_while_idle() -> None:
    play = opened()
    assert play.server(CHANGED, CHANGED) == [NoticeReceived(CHANGED)] * 2
    assert play.client.state is State.IDLE


@pytest.mark.parametrize("busy", [False, True])
def test_a_notice_that_ends_the_session(busy: bool) -> None:
    play = opened()
    if busy:
        play.client.execute("SELECT 1")
    (ended,) = play.server(KILLED)
    assert same(ended, Ended(ServerError(3169, "HY000", "Session was killed", True)))
    assert play.client.error is not None


def test_a_statements_own_error_notice_ends_nothing() -> None:
    play = opened()
    play.client.execute("INSERT IGNORE ...")
    notice = ServerWarning(WarningLevel.ERROR, 1364, "no default value")
    assert play.server(notice, StmtExecuteOk()) == [NoticeReceived(notice), Completed(Result((), ()))]


@pytest.mark.parametrize("fatal", [False, True])
def test_an_error_while_idle_ends_the_session(fatal: bool) -> None:
    play = opened()
    (ended,) = play.server(Error(3032, "HY000", "offline", fatal))
    assert same(ended, Ended(ServerError(3032, "HY000", "offline", fatal)))


def test_good_bye() -> None:
    play = opened()
    play.client.close()
    assert play.sent() == [ConClose()]
    assert play.server(CHANGED, Ok("bye!")) == [NoticeReceived(CHANGED), Ended(None)]
    with pytest.raises(LocalProtocolError):
        play.client.execute("SELECT 1")


def test_events_before_a_violation_are_not_lost() -> None:
    play = opened()
    play.client.receive_data(encode_server(CHANGED) + encode_server(Ok()))
    assert play.client.next_event() == NoticeReceived(CHANGED)
    with pytest.raises(RemoteProtocolError, match="Ok in state IDLE"):
        play.client.next_event()
    assert play.client.next_event() is None


# --- anything --------------------------------------------------------------------------------------------------------

ANYTHING: list[ServerMessage] = [
    Ok(),
    DENIED,
    Error(1, "HY000", "", fatal=True),
    OFFER,
    OFFER_WITHOUT_TLS,
    AuthenticateContinue(NONCE),
    AuthenticateOk(),
    NUMBER,
    Row((b"\x02",)),
    Row(()),
    FetchDone(),
    FetchDoneMoreResultsets(),
    FetchDoneMoreOutParams(),
    StmtExecuteOk(),
    ServerHello(),
    CHANGED,
    KILLED,
]


def drive(play: Play, data: bytes) -> None:
    """Feed bytes and go along with whatever happens."""
    try:
        events = play.bytes(data)
    except RemoteProtocolError:
        assert play.client.state is State.CLOSED
        return
    if TlsAccepted() in events:
        play.client.tls_established()
    if play.client.state is State.IDLE:
        play.client.execute("SELECT 1")
    play.sent()


@given(st.lists(st.sampled_from(ANYTHING), max_size=30), st.sampled_from(TlsMode), st.sampled_from([LOGIN, None]))
def test_any_order_of_messages_is_followed_or_a_remote_error(
    messages: list[ServerMessage], tls: TlsMode, login: Login | None
) -> None:
    play = Play(login, tls)
    for message in messages:
        drive(play, encode_server(message))


@given(st.lists(st.binary(max_size=60), max_size=10), st.booleans())
def test_any_bytes_are_followed_or_a_remote_error(chunks: list[bytes], late: bool) -> None:
    play = opened() if late else Play()
    for chunk in chunks:
        drive(play, chunk)


@given(st.data())
def test_a_real_session_with_bytes_changed_is_followed_or_a_remote_error(
    exchange: list[tuple[str, bytes]], data: st.DataObject
) -> None:
    stream = bytearray(b"".join(part for speaker, part in exchange if speaker == "server"))
    for _ in range(data.draw(st.integers(1, 5))):
        stream[data.draw(st.integers(0, len(stream) - 1))] = data.draw(st.integers(0, 255))
    play = Play(tls=TlsMode.DISABLED)
    for chunk in batches(bytes(stream), data.draw(st.integers(1, len(stream)))):
        drive(play, chunk)
