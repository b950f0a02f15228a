"""Sessions on the loopback against a fake member: both event loops, TLS, and a wire that fails in every phase."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from tests.xproto.conftest import SERVER_NAME, TlsPair
from tests.xproto.fake_member import NONCE, FakeMember, Script, Wire, sent_statements, text_result
from xproto.codec import encode_server
from xproto.errors import LocalProtocolError, RemoteProtocolError, ServerError, TurnedAwayError
from xproto.messages import (
    AuthenticateContinue,
    AuthenticateOk,
    AuthenticateStart,
    Capabilities,
    ConClose,
    FetchDone,
    Ok,
    StmtExecute,
    StmtExecuteOk,
)
from xproto.notices import (
    GROUP_REPLICATION_NOTICES,
    GroupChange,
    GroupReplicationStateChanged,
    Notice,
    ServerHello,
    ServerWarning,
    WarningLevel,
)
from xproto.rows import Column, ColumnType
from xproto.session import Limits, Login, Session, TlsMode

SECONDS = 5.0
SOON = 0.05
LOGIN = Login(FakeMember.user, FakeMember.password)
CHANGED = GroupReplicationStateChanged(GroupChange.MEMBER_ROLE_CHANGE, "1:2")
OFFER = Capabilities({"authentication.mechanisms": ["SHA256_MEMORY"]})


async def open_session(member: FakeMember, login: Login | None = LOGIN, **options: Any) -> Session:
    return await Session.open(member.host, member.port, login, **{"timeout": SECONDS, **options})


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(SECONDS):
        while not condition():  # noqa: ASYNC110 - conditions of the fake's own, which have no event
            await asyncio.sleep(0)  # one turn of the loop


# --- opening ---------------------------------------------------------------------------------------------------------


async def test_a_session_in_clear() -> None:
    async with FakeMember(cached=True) as member:
        session = await open_session(member)
        assert session.hello_seen
        assert session.client_id == 7
        assert session.capabilities["node_type"] == "mysql"
        assert not session.tls
        assert not session.closed
        assert (await session.execute("SELECT 1", timeout=SECONDS)).rows == (("1",),)
        await session.close()
        assert session.closed
        assert member.received[-1] == ConClose()


async def test_a_session_over_tls_with_a_cold_and_then_a_warm_cache(tls_pair: TlsPair) -> None:
    async with FakeMember(tls=tls_pair.server) as member:
        for mechanisms in (["SHA256_MEMORY", "PLAIN"], ["SHA256_MEMORY"]):
            member.received.clear()
            session = await open_session(member)
            assert session.tls
            assert [m.mechanism for m in member.received if isinstance(m, AuthenticateStart)] == mechanisms
            assert (await session.execute("SELECT 1", timeout=SECONDS)).rows == (("1",),)
            await session.close()


@pytest.mark.parametrize("encrypted", [False, True])
async def test_a_server_that_has_only_the_old_mechanism(tls_pair: TlsPair, encrypted: bool) -> None:
    async with FakeMember(old=True, tls=tls_pair.server if encrypted else None) as member:
        session = await open_session(member)
        assert session.tls == encrypted
        assert [m.mechanism for m in member.received if isinstance(m, AuthenticateStart)] == ["MYSQL41"]
        assert (await session.execute("SELECT 1", timeout=SECONDS)).rows == (("1",),)
        await session.close()
        with pytest.raises(ServerError) as caught:
            await open_session(member, Login(member.user, "wrong"))
        assert caught.value.code == 1045


async def test_without_hello(tls_pair: TlsPair) -> None:
    async with FakeMember(hello=False, tls=tls_pair.server) as member:
        session = await open_session(member)
        assert not session.hello_seen
        await session.close()


async def test_without_a_login_there_is_only_a_sign_of_life() -> None:
    async with FakeMember() as member:
        session = await open_session(member, None)
        assert session.hello_seen
        assert session.capabilities["node_type"] == "mysql"
        with pytest.raises(LocalProtocolError):
            await session.execute("SELECT 1", timeout=SECONDS)
        await session.close()
        assert member.received[-1] == ConClose()


async def test_a_server_that_speaks_before_we_know_that_the_handshake_is_done(tls_pair: TlsPair) -> None:
    async def eager(wire: Wire) -> None:
        await wire.receive()
        wire.send(Capabilities({"tls": False, "authentication.mechanisms": ["PLAIN"]}))
        await wire.receive()
        wire.send(Ok())
        await wire.start_tls(tls_pair.server)
        wire.send(CHANGED)
        await wire.receive()
        wire.send(AuthenticateOk())
        await wire.receive()
        wire.send(Ok())

    newest = tls_pair.server.maximum_version
    tls_pair.server.maximum_version = ssl.TLSVersion.TLSv1_2  # in which the server's side is done first
    try:
        async with FakeMember(script=eager) as member:
            for _ in range(10):
                seen: list[Notice] = []
                session = await open_session(member, on_notice=seen.append)
                assert seen == [CHANGED]
                await session.close()
    finally:
        tls_pair.server.maximum_version = newest


async def test_a_verified_certificate(tls_pair: TlsPair) -> None:
    async with FakeMember(tls=tls_pair.server) as member:
        session = await open_session(
            member, tls=TlsMode.REQUIRED, ssl_context=tls_pair.verifying_client, server_hostname=SERVER_NAME
        )
        assert session.tls
        await session.close()


async def test_a_server_that_leaves_right_after_the_handshake(tls_pair: TlsPair) -> None:
    """As one does that refuses our certificate: with TLS 1.3 our side of the handshake is done by then."""

    async def leave(wire: Wire) -> None:
        await wire.receive()
        wire.send(Capabilities({"tls": False, "authentication.mechanisms": ["PLAIN"]}))
        await wire.receive()
        wire.send(Ok())
        await wire.start_tls(tls_pair.server)
        await wire.receive()
        wire.abort()

    async with FakeMember(script=leave) as member:
        with pytest.raises(ssl.SSLError, match="right after the handshake"):
            await open_session(member)


async def test_a_certificate_for_another_name(tls_pair: TlsPair) -> None:
    async with FakeMember(tls=tls_pair.server) as member:
        with pytest.raises(ssl.SSLCertVerificationError):
            await open_session(member, ssl_context=tls_pair.verifying_client)


@pytest.mark.parametrize("mode", [TlsMode.VERIFY_CA, TlsMode.VERIFY_IDENTITY])
async def test_a_mode_that_verifies_needs_a_context_that_does(mode: TlsMode) -> None:
    with pytest.raises(LocalProtocolError, match=mode.value):
        await Session.open("127.0.0.1", 1, LOGIN, tls=mode, timeout=SECONDS)


async def test_required_tls_that_the_server_does_not_have() -> None:
    async with FakeMember(cached=True) as member:
        with pytest.raises(ServerError) as caught:
            await open_session(member, tls=TlsMode.REQUIRED)
        assert caught.value.code == 5001
        assert not any(isinstance(message, AuthenticateStart) for message in member.received)


async def test_a_wrong_password(tls_pair: TlsPair) -> None:
    async with FakeMember(tls=tls_pair.server) as member:
        with pytest.raises(ServerError) as caught:
            await open_session(member, Login("probe", "wrong"))
        assert caught.value.code == 1045


async def test_nobody_listens() -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        with pytest.raises(ConnectionRefusedError):
            await Session.open("127.0.0.1", reserved.getsockname()[1], LOGIN, timeout=SECONDS)


async def test_small_packets_are_not_held_back() -> None:
    async with FakeMember(cached=True) as member:
        session = await open_session(member)
        transport = session._link._transport
        assert transport is not None
        client_side = transport.get_extra_info("socket")
        assert client_side.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
        await session.close()


async def silent(wire: Wire) -> None:
    await wire.eof()


async def too_many(wire: Wire) -> None:
    """What a server does beyond mysqlx_max_connections."""
    wire.close()


async def test_a_peer_that_closes_without_a_byte_is_told_from_others() -> None:
    async with FakeMember(script=too_many) as member:
        with pytest.raises(TurnedAwayError, match="without a byte"):
            await open_session(member)
    async with FakeMember(script=hello_and_close) as member:
        with pytest.raises(ConnectionError) as caught:
            await open_session(member)
        assert not isinstance(caught.value, TurnedAwayError)


async def hello_and_close(wire: Wire) -> None:
    wire.send(ServerHello())
    await wire.receive()
    wire.close()


async def silent_after_capabilities(wire: Wire) -> None:
    await wire.receive()
    wire.send(OFFER)
    await wire.eof()


async def silent_in_the_handshake(wire: Wire) -> None:
    await wire.receive()
    wire.send(Capabilities({"tls": False}))
    await wire.receive()
    wire.send(Ok())
    await wire.eof()


async def dripping(wire: Wire) -> None:
    """Never ends a frame, never stops sending."""
    wire.send_bytes(b"\xff\x00\x00\x00\x02")
    while True:
        wire.send_bytes(b"x")
        await wire.writer.drain()
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("script", [silent, silent_after_capabilities, silent_in_the_handshake, dripping])
async def test_a_slow_peer_is_bounded_by_the_timeout(script: Script) -> None:
    async with FakeMember(script=script) as member:
        with pytest.raises(TimeoutError):
            await open_session(member, timeout=SOON)


async def close_at_once(wire: Wire) -> None:
    pass


async def close_after_hello(wire: Wire) -> None:
    wire.send(ServerHello())
    await wire.receive()


async def close_at_tls(wire: Wire) -> None:
    await wire.receive()
    wire.send(Capabilities({"tls": False}))
    await wire.receive()


async def close_in_the_handshake(wire: Wire) -> None:
    await close_at_tls(wire)
    wire.send(Ok())


async def abort_in_the_handshake(wire: Wire) -> None:
    await close_in_the_handshake(wire)
    await wire.receive_any()
    wire.abort()


async def close_at_the_challenge(wire: Wire) -> None:
    await wire.receive()
    wire.send(OFFER)
    await wire.receive()
    wire.send(AuthenticateContinue(NONCE))
    await wire.receive()


@pytest.mark.parametrize(
    "script",
    [
        close_at_once,
        close_after_hello,
        close_at_tls,
        close_in_the_handshake,
        abort_in_the_handshake,
        close_at_the_challenge,
    ],
)
async def test_a_peer_that_closes_while_opening(script: Script) -> None:
    async with FakeMember(script=script) as member:
        with pytest.raises(ConnectionError):
            await open_session(member)


async def not_mysql(wire: Wire) -> None:
    wire.send_bytes(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    await wire.eof()


async def classic_protocol(wire: Wire) -> None:
    """A greeting of the classic protocol is a whole frame of type 10."""
    wire.send_bytes(b"\x49\x00\x00\x00\x0a9.7.4\x00" + bytes(66))
    await wire.eof()


async def oversized(wire: Wire) -> None:
    wire.send_bytes(b"\xff\xff\xff\xff\x02")
    await wire.eof()


async def out_of_order(wire: Wire) -> None:
    wire.send(AuthenticateOk())
    await wire.eof()


async def clear_text_after_consent_to_tls(wire: Wire) -> None:
    await wire.receive()
    wire.send(Capabilities({"tls": False}))
    await wire.receive()
    wire.send(Ok(), AuthenticateOk())
    await wire.eof()


@pytest.mark.parametrize(
    "script", [not_mysql, classic_protocol, oversized, out_of_order, clear_text_after_consent_to_tls]
)
async def test_a_peer_that_is_no_x_server(script: Script) -> None:
    async with FakeMember(script=script) as member:
        with pytest.raises(RemoteProtocolError):
            await open_session(member)


async def garbage_for_a_handshake(wire: Wire) -> None:
    await wire.receive()
    wire.send(Capabilities({"tls": False}))
    await wire.receive()
    wire.send(Ok())
    await wire.receive_any()
    wire.send_bytes(b"this is no TLS record")
    await wire.eof()


async def test_a_tls_handshake_that_fails() -> None:
    async with FakeMember(script=garbage_for_a_handshake) as member:
        with pytest.raises(OSError) as caught:
            await open_session(member)
        assert not isinstance(caught.value, TimeoutError)


@pytest.mark.parametrize("phase", [silent, silent_after_capabilities, silent_in_the_handshake])
async def test_opening_can_be_cancelled(phase: Script) -> None:
    async with FakeMember(script=phase) as member:
        opening = asyncio.create_task(open_session(member))
        await until(lambda: bool(member.wires))
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        await member.scripts_done()  # the peer has seen the connection end


# --- statements ------------------------------------------------------------------------------------------------------


async def test_statements_one_after_another_and_one_that_fails(tls_pair: TlsPair) -> None:
    async with FakeMember(tls=tls_pair.server) as member:
        member.answers["SELECT 2"] = text_result(a="x", b=None)
        member.answers["bad"] = ServerError(1064, "42000", "syntax")
        session = await open_session(member)
        with pytest.raises(ServerError) as caught:
            await session.execute("bad", timeout=SECONDS)
        assert (caught.value.code, caught.value.sql_state, caught.value.fatal) == (1064, "42000", False)
        result = await session.execute("SELECT 2", timeout=SECONDS)
        assert [column.name for column in result.columns] == ["a", "b"]
        assert result.rows == (("x", None),)
        assert (await session.execute("SELECT 1", timeout=SECONDS)).rows == (("1",),)
        await session.close()


async def test_arguments_and_the_request_for_notices() -> None:
    async with FakeMember(cached=True) as member:
        session = await open_session(member)
        await session.execute("SELECT 1", [1, "a", None], timeout=SECONDS)
        assert member.received[-1] == StmtExecute("SELECT 1", (1, "a", None))
        await session.enable_notices(timeout=SECONDS)
        request = ({"notice": list(GROUP_REPLICATION_NOTICES)},)
        assert member.received[-1] == StmtExecute("enable_notices", request, "mysqlx")
        await session.close()


async def test_a_big_result(tls_pair: TlsPair) -> None:
    async with FakeMember(tls=tls_pair.server) as member:
        text = "x" * 200_000
        member.answers["SELECT big"] = text_result(big=text)
        session = await open_session(member)
        assert (await session.execute("SELECT big", timeout=SECONDS)).rows == ((text,),)
        await session.close()


async def test_a_result_above_the_limits_closes_the_session() -> None:
    async with FakeMember(cached=True) as member:
        member.answers["SELECT big"] = text_result(big="x" * 3000)
        session = await open_session(member, limits=Limits(frame_bytes=2000))
        with pytest.raises(RemoteProtocolError, match="above the limit"):
            await session.execute("SELECT big", timeout=SECONDS)
        assert session.closed
        with pytest.raises(RemoteProtocolError, match="above the limit"):
            await session.execute("SELECT 1", timeout=SECONDS)


async def half_an_answer(wire: Wire) -> None:
    wire.send(Column("n", ColumnType.BYTES))


async def test_a_statement_out_of_time_closes_the_session() -> None:
    async with FakeMember(cached=True) as member:
        member.answers["SELECT SLEEP(9)"] = half_an_answer
        session = await open_session(member)
        with pytest.raises(TimeoutError):
            await session.execute("SELECT SLEEP(9)", timeout=SOON)
        assert session.closed
        with pytest.raises(ConnectionError):
            await session.execute("SELECT 1", timeout=SECONDS)
        await session.close()


async def test_a_cancelled_statement_closes_the_session() -> None:
    async with FakeMember(cached=True) as member:
        member.answers["SELECT SLEEP(9)"] = half_an_answer
        session = await open_session(member)
        running = asyncio.create_task(session.execute("SELECT SLEEP(9)", timeout=SECONDS))
        await until(lambda: "SELECT SLEEP(9)" in sent_statements(member.received))
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert session.closed
        await asyncio.wait_for(session.wait_closed(), SECONDS)


async def test_one_statement_at_a_time_and_close_meanwhile() -> None:
    async with FakeMember(cached=True) as member:
        member.answers["SELECT SLEEP(9)"] = half_an_answer
        session = await open_session(member)
        running = asyncio.create_task(session.execute("SELECT SLEEP(9)", timeout=SECONDS))
        await until(lambda: "SELECT SLEEP(9)" in sent_statements(member.received))
        with pytest.raises(LocalProtocolError):
            await session.execute("SELECT 1", timeout=SECONDS)
        assert not session.closed  # the other statement is not disturbed
        await session.close()
        with pytest.raises(ConnectionError):
            await running


async def hang_up(wire: Wire) -> None:
    wire.send(Column("n", ColumnType.BYTES))
    await wire.writer.drain()
    wire.close()


async def shut_down(wire: Wire) -> None:
    wire.send(ServerWarning(WarningLevel.ERROR, 1053, "Server shutdown in progress", global_scope=True))
    wire.close()


async def nonsense(wire: Wire) -> None:
    wire.send(FetchDone())


@pytest.mark.parametrize(
    ("script", "expected"), [(hang_up, ConnectionError), (shut_down, ServerError), (nonsense, RemoteProtocolError)]
)
async def test_a_statement_that_the_peer_does_not_answer_well(script: Script, expected: type[Exception]) -> None:
    async with FakeMember(cached=True) as member:
        member.answers["SELECT x"] = script
        session = await open_session(member)
        with pytest.raises(expected):
            await session.execute("SELECT x", timeout=SECONDS)
        assert session.closed


@pytest.mark.parametrize("share", [step / 30 for step in range(31)])
async def test_a_real_server_that_is_cut_off_anywhere(exchange: list[tuple[str, bytes]], share: float) -> None:
    said = sum(len(data) for speaker, data in exchange if speaker == "server")
    good_bye = len(exchange[-1][1].split(b"\x11")[-1])  # the last answer ends with StmtExecuteOk, a notice follows
    cut = int(said * share)

    async def play(wire: Wire) -> None:
        left = cut
        for speaker, data in exchange:
            if speaker == "client":
                await wire.receive()
            else:
                wire.send_bytes(data[: max(left, 0)])
                left -= len(data)
            if left <= 0:
                await wire.writer.drain()
                return

    answers = 0
    async with FakeMember(script=play) as member:
        with pytest.raises(ConnectionError):  # noqa: PT012 - where it comes is what varies
            session = await open_session(member, tls=TlsMode.DISABLED)
            for _ in range(4):
                with suppress(ServerError):  # the real server refused the third statement
                    await session.execute("SELECT 1", timeout=SECONDS)
                answers += 1
            await asyncio.wait_for(session.wait_closed(), SECONDS)
            await session.execute("SELECT 1", timeout=SECONDS)
    assert (answers == 4) == (cut >= said - good_bye)


# --- idle ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encrypted", [False, True])
async def test_notices_while_idle(tls_pair: TlsPair, encrypted: bool) -> None:
    seen: asyncio.Queue[Notice] = asyncio.Queue()
    async with FakeMember(cached=True, tls=tls_pair.server if encrypted else None) as member:
        session = await open_session(member, on_notice=seen.put_nowait)
        assert session.tls == encrypted
        assert await asyncio.wait_for(seen.get(), SECONDS) == ServerHello()
        await asyncio.wait_for(seen.get(), SECONDS)  # the client id
        member.notify(CHANGED, CHANGED)
        assert await asyncio.wait_for(seen.get(), SECONDS) == CHANGED
        assert await asyncio.wait_for(seen.get(), SECONDS) == CHANGED
        assert (await session.execute("SELECT 1", timeout=SECONDS)).rows == (("1",),)
        await session.close()


@pytest.mark.parametrize("encrypted", [False, True])
async def test_pings_and_statements_in_any_order(tls_pair: TlsPair, encrypted: bool) -> None:
    async with FakeMember(cached=True, tls=tls_pair.server if encrypted else None) as member:
        session = await open_session(member)
        for _ in range(3):
            assert session.ping()
            assert session.ping()  # not sent while the first is unanswered
            assert (await session.execute("SELECT 1", timeout=SECONDS)).rows == (("1",),)
        assert sent_statements(member.received) == ["ping", "SELECT 1"] * 3
        assert session.ping()
        await session.close()
        assert not session.ping()


async def test_an_unanswered_ping_is_waited_for_within_the_next_statements_time() -> None:
    async with FakeMember(script=deaf) as member:
        session = await open_session(member)
        assert session.ping()
        with pytest.raises(TimeoutError):
            await session.execute("SELECT 1", timeout=SOON)
        assert session.closed
        assert not session.ping()


async def test_a_listener_that_fails_does_not_cost_the_session() -> None:
    reported: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))

    def fail(notice: Notice) -> None:
        raise ZeroDivisionError

    async with FakeMember(cached=True) as member:
        session = await open_session(member, on_notice=fail)
        assert (await session.execute("SELECT 1", timeout=SECONDS)).rows == (("1",),)
        await session.close()
    assert reported
    assert all(isinstance(context["exception"], ZeroDivisionError) for context in reported)


async def test_a_server_that_shuts_down_says_so() -> None:
    async with FakeMember(cached=True) as member:
        session = await open_session(member)
        await shut_down(member.wires[0])
        await asyncio.wait_for(session.wait_closed(), SECONDS)
        assert session.closed
        assert session.last_words is not None
        assert session.last_words.code == 1053
        with pytest.raises(ConnectionError, match="Server shutdown in progress") as caught:
            await session.execute("SELECT 1", timeout=SECONDS)
        assert isinstance(caught.value.__cause__, ServerError)
        await session.close()


async def test_a_peer_that_closes_while_idle() -> None:
    async with FakeMember(cached=True) as member:
        session = await open_session(member)
        member.wires[0].close()
        await asyncio.wait_for(session.wait_closed(), SECONDS)
        with pytest.raises(ConnectionResetError, match="closed the connection"):
            await session.execute("SELECT 1", timeout=SECONDS)


@pytest.mark.parametrize("data", [b"\x00\x00\x00\x00", b"\x01\x00\x00\x00\xee", encode_server(StmtExecuteOk())])
async def test_garbage_while_idle(data: bytes) -> None:
    async with FakeMember(cached=True) as member:
        session = await open_session(member)
        member.wires[0].send_bytes(data)
        await asyncio.wait_for(session.wait_closed(), SECONDS)
        for _ in range(2):
            with pytest.raises(RemoteProtocolError):
                await session.execute("SELECT 1", timeout=SECONDS)


# --- closing ---------------------------------------------------------------------------------------------------------


async def test_closing_again_and_at_the_same_time(tls_pair: TlsPair) -> None:
    async with FakeMember(tls=tls_pair.server) as member:
        session = await open_session(member)
        await asyncio.gather(session.close(), session.close())
        await session.close()
        assert session.closed
        assert member.received.count(ConClose()) == 1


async def deaf(wire: Wire) -> None:
    """Logs everybody in and never answers again."""
    await wire.receive()
    wire.send(OFFER)
    await wire.receive()
    wire.send(AuthenticateOk())
    await wire.eof()


async def test_a_deaf_peer_does_not_hold_up_closing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xproto.session._CLOSE_SECONDS", SOON)
    async with FakeMember(script=deaf) as member:
        session = await open_session(member)
        await asyncio.wait_for(session.close(), SECONDS)
        assert session.closed
        await member.scripts_done()


async def test_closing_can_be_cancelled() -> None:
    async with FakeMember(script=deaf) as member:
        session = await open_session(member)
        closing = asyncio.create_task(session.close())
        await asyncio.sleep(0)
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        assert session.closed
        await member.scripts_done()
