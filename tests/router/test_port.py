"""Limits, modes and strategies of a port at work on loopback."""

from __future__ import annotations

import asyncio
import socket
import stat
import time
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from cluster.members import Endpoint, Member, Role
from router import sweeps
from router.addresses import UnixPath
from router.dialing import Names
from router.host_errors import HostErrors
from router.listener import Listener
from router.listening import ListenError, file_of, open_socket, remove_file, remove_stale
from router.port import Port
from router.proxy_header import Header, encode, parse
from router.routes import Leave, Limits, Route, Wire, static_topology
from router.sessions import Phase
from router.sockets import ListeningSockets
from router.splice import End
from router.words import Destination, Protocol, ProxyProtocol, StrategyName
from tests.router.conftest import Run
from tests.router.fakes import Cluster, echo, listening, member, route, until
from tests.router.test_sessions import NOWHERE, Clients, error_of

P, S = Role.PRIMARY, Role.SECONDARY
ELSEWHERE = b"PROXY TCP4 192.0.2.7 198.51.100.7 5555 6446\r\n"


@pytest.fixture(autouse=True)
def _brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeps, "TICK", 0.05)


class Silent:
    """Accepts and never speaks."""

    def __init__(self) -> None:
        self.accepted = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        await reader.read()


async def aloof(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Greet, and wait for the client."""
    writer.write(b"hello ")
    await reader.read()


def proxied(chosen: Route, *networks: str) -> Route:
    return replace(chosen, proxy_networks=networks or ("127.0.0.0/8",))


def test_too_many_connections_are_refused_as_mysql_says_it(run: Run) -> None:
    async def scenario(limits: Limits) -> None:
        cluster = Cluster()
        async with (
            Clients() as clients,
            member() as one,
            listening(cluster, replace(route(), limits=limits)) as listener,
        ):
            cluster.set((one, P))
            reader, writer = await clients.connect(listener.endpoint)
            await reader.readexactly(6)
            for _ in range(3):
                refused, _ = await clients.connect(listener.endpoint)
                assert error_of(await refused.read()) == (1040, b"#08004", "Too many connections")
            assert listener.port.counts.total() == 1, "those refused do not count"
            writer.close()
            await until(lambda: listener.port.counts.sessions("test") == 0, "it is gone")
            reader, _ = await clients.connect(listener.endpoint)
            assert await reader.readexactly(6) == b"hello "
            assert listener.port.tally.refused == {1040: 3}

    run(scenario(Limits(max_connections=1)))
    run(scenario(Limits(max_total_connections=1)))


def test_an_x_client_is_told_so_too(run: Run) -> None:
    async def scenario() -> None:
        cluster = Cluster()
        chosen = replace(route(protocol=Protocol.X), limits=Limits(max_connections=1))
        async with Clients() as clients, member() as one, listening(cluster, chosen) as listener:
            cluster.set((one, P))
            first, _ = await clients.connect(listener.endpoint)
            await first.readexactly(6)
            reader, _ = await clients.connect(listener.endpoint)
            frame = await reader.read()
            assert (frame[4], b"Too many connections" in frame, b"08004" in frame) == (1, True, True)

    run(scenario())


def test_hosts_that_hang_up_are_blocked_by_the_address_that_a_trusted_proxy_names(run: Run) -> None:
    async def scenario() -> None:
        cluster = Cluster()
        chosen = replace(proxied(route()), limits=Limits(max_connect_errors=2))
        async with Clients() as clients, member(handler=aloof) as one, listening(cluster, chosen) as listener:
            port, hosts = listener.port, listener.port.hosts
            assert isinstance(hosts, HostErrors)

            async def begin(header: bytes = ELSEWHERE) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
                reader, writer = await clients.connect(listener.endpoint)
                writer.write(header)
                return reader, writer

            async def hang_up() -> None:
                reader, writer = await begin()
                assert await reader.readexactly(6) == b"hello "
                writer.close()
                await until(lambda: not port.sessions, "it is gone")

            reader, writer = await begin()
            await until(lambda: port.parked_now == 1, "it is parked")
            writer.close()
            await until(lambda: not port.sessions, "it is gone")
            assert hosts.errors() == {}, "nobody had greeted it"
            cluster.set((one, P))
            await hang_up()
            reader, writer = await begin()
            await reader.readexactly(6)
            writer.write(b"answer")
            await until(lambda: hosts.errors() == {}, "a handshake that is done makes up for it")
            writer.close()
            await hang_up()
            await hang_up()
            assert hosts.blocked() == ("192.0.2.7",)
            reader, _ = await begin()
            words = "Host '192.0.2.7' is blocked because of many connection errors"
            assert error_of(await reader.read()) == (1129, b"#HY000", words)
            reader, _ = await begin(ELSEWHERE.replace(b"192.0.2.7", b"192.0.2.8"))
            assert await reader.readexactly(6) == b"hello ", "another host is welcome"
            assert hosts.reset() == ("192.0.2.7",)
            reader, _ = await begin()
            assert await reader.readexactly(6) == b"hello "

    run(scenario())


def test_loopback_is_never_blocked(run: Run) -> None:
    async def scenario() -> None:
        cluster = Cluster()
        chosen = replace(route(), limits=Limits(max_connect_errors=1))
        async with Clients() as clients, member(handler=aloof) as one, listening(cluster, chosen) as listener:
            cluster.set((one, P))
            for _ in range(3):
                reader, writer = await clients.connect(listener.endpoint)
                assert await reader.readexactly(6) == b"hello "
                writer.close()
                await until(lambda: not listener.port.sessions, "it is gone")

    run(scenario())


def test_a_member_that_never_speaks_costs_a_bounded_time_and_goes_into_quarantine(run: Run) -> None:
    async def scenario() -> None:
        cluster, silent = Cluster(), Silent()
        chosen = route(Destination.SECONDARY, connect_timeout=0.2)
        chosen = replace(chosen, limits=Limits(client_connect_timeout=0.3, quarantine_interval=0.1))
        async with (
            Clients() as clients,
            member("mute", silent) as mute,
            member("well") as well,
            listening(cluster, chosen) as listener,
        ):
            cluster.set((mute, S), (well, S))
            began = time.monotonic()
            reader, _ = await clients.connect(listener.endpoint)
            code, _, message = error_of(await reader.read())
            assert (code, "mute accepted and said nothing" in message) == (2003, True)
            assert 0.3 <= time.monotonic() - began < 2
            await until(lambda: silent.accepted >= 3, "it is looked at, twice")
            for _ in range(4):
                reader, _ = await clients.connect(listener.endpoint)
                assert await reader.readexactly(6) == b"hello "
            assert list(listener.port.quarantine.held) == ["mute"], "it accepts, and that is not enough"
            tally = listener.port.tally
            assert tally.dial_failures == {"mute": 1}
            assert tally.ended == {"silent member": 1}
            assert tally.started + tally.ended["silent member"] == sum(tally.joined.values()) + tally.refused[2003]

    run(scenario())


def test_a_client_that_never_speaks_is_ended(run: Run) -> None:
    async def scenario(protocol: Protocol) -> None:
        cluster = Cluster()
        chosen = replace(proxied(route(protocol=protocol)), limits=Limits(client_connect_timeout=0.2))
        async with Clients() as clients, member(handler=aloof) as one, listening(cluster, chosen) as listener:
            cluster.set((one, P))
            reader, writer = await clients.connect(listener.endpoint)
            writer.write(ELSEWHERE)
            assert await reader.read() == b"hello "
            assert listener.port.tally.ended == {"silent client": 1}
            assert isinstance(listener.port.hosts, HostErrors)
            assert listener.port.hosts.errors() == {"192.0.2.7": 1}

    run(scenario(Protocol.CLASSIC))
    run(scenario(Protocol.X))


def test_a_member_is_back_in_turn_once_it_greets_again(run: Run) -> None:
    async def scenario() -> None:
        cluster = Cluster()
        chosen = replace(route(Destination.SECONDARY), limits=Limits(quarantine_interval=0.1))
        with socket.create_server(("127.0.0.1", 0)) as gone:
            endpoint = Endpoint(*gone.getsockname())
        back = Member("back", endpoint, endpoint)
        async with Clients() as clients, member("well") as well, listening(cluster, chosen) as listener:
            cluster.set((back, S), (well, S))
            for _ in range(3):
                reader, _ = await clients.connect(listener.endpoint)
                assert await reader.readexactly(6) == b"hello "
            assert listener.port.tally.dial_failures == {"back": 1}
            server = await asyncio.start_server(echo, endpoint.host, endpoint.port)
            await until(lambda: not listener.port.quarantine.held, "it is looked at")
            for _ in range(2):
                reader, _ = await clients.connect(listener.endpoint)
                assert await reader.readexactly(6) == b"hello "
            assert listener.port.tally.joined["back"] == 1
            for session in list(listener.port.sessions.values()):
                session.cut("the test ends")
            server.close()

    run(scenario())


def test_a_route_whose_members_all_fail_still_tries_them(run: Run) -> None:
    async def scenario() -> None:
        cluster = Cluster()
        async with Clients() as clients, listening(cluster, route(parking_timeout=0.3)) as listener:
            cluster.set((NOWHERE, P))
            reader, _ = await clients.connect(listener.endpoint)
            assert error_of(await reader.read())[0] == 2003
            assert listener.port.tally.dial_failures["gone"] >= 2

    run(scenario())


def test_idle_sessions_are_ended_and_busy_ones_are_not(run: Run) -> None:
    async def scenario() -> None:
        cluster = Cluster()
        chosen = replace(route(), limits=Limits(idle_timeout=0.4))
        async with Clients() as clients, member() as one, listening(cluster, chosen) as listener:
            cluster.set((one, P))
            idle, _ = await clients.connect(listener.endpoint)
            busy, writer = await clients.connect(listener.endpoint)
            await busy.readexactly(6)
            began = time.monotonic()

            async def chat() -> None:
                while True:
                    writer.write(b"x")
                    await busy.readexactly(1)
                    await asyncio.sleep(0.02)

            chatting = asyncio.create_task(chat())
            assert await idle.read() == b"hello "
            assert 0.4 <= time.monotonic() - began < 1.5
            await asyncio.sleep(0.5)
            assert not chatting.done()
            assert listener.port.tally.ended == {"idle": 1}
            chatting.cancel()

    run(scenario())


def test_a_member_that_is_left_gets_no_sessions_and_loses_those_it_has_in_time(run: Run) -> None:
    async def scenario() -> None:
        cluster = Cluster()
        async with (
            Clients() as clients,
            member("a") as a,
            member("b") as b,
            listening(cluster, route(Destination.SECONDARY)) as listener,
        ):
            port = listener.port
            cluster.set((a, S), (b, S))
            for _ in range(20):
                reader, _ = await clients.connect(listener.endpoint)
                await reader.readexactly(6)
            port.set_member_modes({"a": Leave()})
            for _ in range(2):
                reader, _ = await clients.connect(listener.endpoint)
                await reader.readexactly(6)
            assert (port.loads.by_member(), port.tally.ended) == ({"a": 10, "b": 12}, {})
            port.set_member_modes({"a": Leave(0.5)})
            began, counts = time.monotonic(), set()
            while port.loads.by_member().get("a"):
                counts.add(port.loads.by_member()["a"])
                assert time.monotonic() - began < 3
                await asyncio.sleep(0.01)
            assert len(counts) >= 5, "not all at once"
            assert 0.3 < time.monotonic() - began < 1.5
            assert port.tally.ended == {"drained": 10}
            port.set_member_modes({"b": Leave(0.0, "hidden")})
            await until(lambda: "b" not in port.loads.by_member(), "these at once")
            assert port.tally.ended == {"drained": 10, "hidden": 12}
            reader, _ = await clients.connect(listener.endpoint)
            assert await reader.readexactly(6) == b"hello "
            assert port.loads.by_member() == {"a": 1}
            port.set_member_modes({"a": Leave(), "b": Leave()})
            reader, _ = await clients.connect(listener.endpoint)
            await until(lambda: port.parked_now == 1, "nobody is left")
            port.set_member_modes({"b": Leave()})
            assert await reader.readexactly(6) == b"hello "

    run(scenario())


def test_sessions_move_to_a_member_that_is_back_at_a_pace_the_quiet_ones_first(run: Run) -> None:
    async def scenario() -> None:
        cluster = Cluster()
        chosen = replace(route(Destination.SECONDARY, fallback_to_primary=True), rebalance_rate=100.0)
        async with (
            Clients() as clients,
            member("a") as a,
            member("b") as b,
            member("p") as p,
            listening(cluster, chosen) as listener,
        ):
            port = listener.port
            cluster.set((a, S), (b, None), (p, P))
            opened = [await clients.connect(listener.endpoint) for _ in range(10)]
            for reader, _ in opened:
                await reader.readexactly(6)
            assert port.loads.by_member() == {"a": 10}
            busy, writer = opened[0]

            said = 0

            async def chat() -> None:
                nonlocal said
                while True:
                    writer.write(b"x")
                    await busy.readexactly(1)
                    said += 1
                    await asyncio.sleep(0.005)

            chatting = asyncio.create_task(chat())
            cluster.set((a, S), (b, S), (p, P))
            await until(lambda: port.loads.by_member() == {"a": 5}, "as many as it has too many")
            for _ in range(10):
                port.sweeps.sweep(time.monotonic())
            assert port.loads.by_member() == {"a": 5}, "nobody has come back, and it ends there"
            assert port.tally.ended == {"rebalanced": 5}
            before = said
            await until(lambda: chatting.done() or said > before + 2, "it goes on")
            assert not chatting.done(), "the oldest, and not quiet"
            chatting.cancel()

    run(scenario())


def test_the_least_connected_member_is_chosen_while_others_still_dial(run: Run) -> None:
    async def scenario() -> None:
        cluster = Cluster()
        chosen = route(strategy=StrategyName.LEAST_CONNECTIONS)
        async with (
            Clients() as clients,
            member("a") as a,
            member("b") as b,
            listening(cluster, chosen) as listener,
        ):
            cluster.set((a, P), (b, P))
            await asyncio.gather(*(clients.connect(listener.endpoint) for _ in range(20)))
            await until(lambda: sum(listener.port.tally.joined.values()) == 20, "all have a member")
            assert listener.port.tally.joined == {"a": 10, "b": 10}

    run(scenario())


def test_headers_are_required_of_proxies_and_read_from_nobody_else(run: Run) -> None:
    async def scenario() -> None:
        cluster = Cluster()
        patience = Limits(client_connect_timeout=0.3)
        trusting = replace(proxied(route()), limits=patience)
        wary = replace(proxied(route(), "192.0.2.0/24"), limits=patience)
        async with (
            Clients() as clients,
            member() as one,
            listening(cluster, trusting) as behind,
            listening(cluster, wary) as open_to_all,
        ):
            cluster.set((one, P))
            for header in (ELSEWHERE, b"PROXY UNKNOWN\r\n"):
                for pieces in ([header + b"world"], [bytes([byte]) for byte in header + b"world"]):
                    reader, writer = await clients.connect(behind.endpoint)
                    for piece in pieces:
                        writer.write(piece)
                        await asyncio.sleep(0)
                    assert await reader.readexactly(11) == b"hello world"
                    [session] = behind.port.sessions.values()
                    source = Endpoint("192.0.2.7", 5555) if header is ELSEWHERE else session.source
                    assert session.source == source
                    assert source is not None
                    assert (source.host == "127.0.0.1") is (header is not ELSEWHERE)
                    writer.close()
                    await until(lambda: not behind.port.sessions, "it is gone")
            for bytes_sent in (b"", b"\x01\x00\x00\x00\x01", b"PROXY TCP4 nonsense\r\n", b"PROX"):
                began = time.monotonic()
                reader, writer = await clients.connect(behind.endpoint)
                writer.write(bytes_sent)
                with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                    await reader.readexactly(1)
                assert time.monotonic() - began < 1.5
            assert behind.port.tally.started == 4
            reader, writer = await clients.connect(open_to_all.endpoint)
            writer.write(ELSEWHERE)
            assert await reader.readexactly(6 + len(ELSEWHERE)) == b"hello " + ELSEWHERE, "it is the client's own bytes"
            [session] = open_to_all.port.sessions.values()
            assert session.source is not None
            assert session.source.host == "127.0.0.1"

    run(scenario())


@pytest.mark.parametrize("version", [ProxyProtocol.V1, ProxyProtocol.V2])
def test_members_are_told_the_clients_address_before_its_first_byte(run: Run, version: ProxyProtocol) -> None:
    async def scenario() -> None:
        cluster = Cluster()
        chosen = replace(proxied(route(protocol=Protocol.X)), send_proxy=version)
        async with Clients() as clients, member() as one, listening(cluster, chosen) as listener:
            cluster.set((one, P))
            reader, writer = await clients.connect(listener.endpoint)
            writer.write(ELSEWHERE + b"first")
            source, destination = Endpoint("192.0.2.7", 5555), Endpoint("198.51.100.7", 6446)
            header = encode(version, source, destination)
            assert await reader.readexactly(6 + len(header) + 5) == b"hello " + header + b"first"
            assert parse(header) == Header(source, destination, len(header))
            reader, writer = await clients.connect(listener.endpoint)
            writer.write(b"PROXY UNKNOWN\r\nfirst")
            own = encode(version, Endpoint(*writer.get_extra_info("sockname")), listener.endpoint)
            assert await reader.readexactly(6 + len(own) + 5) == b"hello " + own + b"first"

    run(scenario())


def test_a_unix_socket_is_listened_on_and_removed(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "rw.sock"

    async def scenario() -> None:
        cluster = Cluster()
        chosen = replace(proxied(route(), "unix"), wire=Wire(socket_mode=0o640), send_proxy=ProxyProtocol.V1)
        async with AsyncExitStack() as stack, asyncio.TaskGroup() as tasks:
            one = await stack.enter_async_context(member())
            port = Port(chosen, lambda: cluster.topology, tasks)
            cluster.ports.append(port)
            cluster.set((one, P))
            listener = Listener(port, open_socket(UnixPath(str(path)), chosen.wire))
            assert listener.address == UnixPath(str(path))
            assert stat.S_IMODE(path.stat().st_mode) == 0o640
            with pytest.raises(ListenError, match="Address already in use"):
                open_socket(UnixPath(str(path)))
            await listener.start()
            reader, writer = await asyncio.open_unix_connection(path)
            writer.write(b"PROXY UNKNOWN\r\nworld")
            assert await reader.readexactly(26) == b"hello PROXY UNKNOWN\r\nworld"
            [session] = port.sessions.values()
            assert (session.peer, session.phase) == ("unix", Phase.JOINED)
            writer.close()
            await until(lambda: not port.sessions, "it is gone")
            listener.close()
            assert path.exists(), "another process may still listen there"

    run(scenario())


def test_a_socket_file_that_nobody_listens_on_is_replaced_and_no_other_file(tmp_path: Path) -> None:
    path = tmp_path / "x.sock"
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(path))
    stale.close()
    with open_socket(UnixPath(str(path))) as sock:
        before = path.stat().st_ino
        remove_stale(str(path))
        assert path.stat().st_ino == before, "somebody listens"
        file = file_of(sock)
        assert file is not None
    path.rename(tmp_path / "old.sock")
    with open_socket(UnixPath(str(path))):
        remove_file(file)
        assert path.exists(), "it is another's by now"
    path.unlink()
    sockets = ListeningSockets()
    sockets.open({"one": (UnixPath(str(path)), Wire())})
    sockets.close([f"unix:{path}"])
    assert not path.exists()
    path.write_text("precious")
    with pytest.raises(ListenError, match="Address already in use"):
        open_socket(UnixPath(str(path)))
    assert path.read_text() == "precious"
    with pytest.raises(ListenError, match="No such file"):
        open_socket(UnixPath(str(tmp_path / "none" / "x.sock")))


def test_dual_stack_takes_both_and_tells_ipv4_clients_by_their_own_address(run: Run) -> None:
    async def scenario() -> None:
        cluster = Cluster()
        chosen = replace(route(), wire=Wire(dual_stack=True))
        async with AsyncExitStack() as stack, asyncio.TaskGroup() as tasks:
            one = await stack.enter_async_context(member())
            port = Port(chosen, lambda: cluster.topology, tasks)
            cluster.set((one, P))
            listener = Listener(port, open_socket(Endpoint("::", 0), chosen.wire))
            await listener.start()
            for host in ("127.0.0.1", "::1"):
                reader, writer = await asyncio.open_connection(host, listener.endpoint.port)
                await reader.readexactly(6)
                [session] = port.sessions.values()
                assert session.source is not None
                assert session.source.host == host
                writer.close()
                await until(lambda: not port.sessions, "it is gone")
            listener.close()
        with open_socket(Endpoint("::", 0)) as sock:
            assert sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) == 1

    run(scenario())


def test_keepalive_is_set_on_both_sides(run: Run) -> None:
    async def scenario() -> None:
        cluster = Cluster()
        wire = Wire(keepalive_idle=77, keepalive_interval=7, keepalive_count=3, tcp_user_timeout=33)
        chosen = replace(route(), wire=wire)
        async with AsyncExitStack() as stack, asyncio.TaskGroup() as tasks:
            clients = await stack.enter_async_context(Clients())
            one = await stack.enter_async_context(member())
            port = Port(chosen, lambda: cluster.topology, tasks)
            cluster.set((one, P))
            listener = Listener(port, open_socket(Endpoint("127.0.0.1", 0), wire))
            await listener.start()
            reader, writer = await clients.connect(listener.endpoint)
            await reader.readexactly(6)
            [session] = port.sessions.values()

            def is_watched(end: End | None) -> bool:
                assert end is not None
                assert end.transport is not None
                sock = end.transport.get_extra_info("socket")
                options = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT, socket.TCP_USER_TIMEOUT)
                values = [sock.getsockopt(socket.IPPROTO_TCP, one) for one in options]
                return bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)) and values == [77, 7, 3, 33000]

            assert is_watched(session.client)
            assert not is_watched(session._member_end)
            writer.write(b"x")
            await until(lambda: is_watched(session._member_end), "once the handshake is done, at the next sweep")
            session.cut("the test ends")
            listener.close()

    run(scenario())


def test_a_list_of_servers_is_routed_to_by_name(run: Run) -> None:
    async def scenario() -> None:
        asked: list[str] = []

        async def locate(host: str) -> tuple[str, ...]:
            asked.append(host)
            return ("127.0.0.9", "127.0.0.1")  # nobody listens on the first

        async with AsyncExitStack() as stack, asyncio.TaskGroup() as tasks:
            clients = await stack.enter_async_context(Clients())
            one = await stack.enter_async_context(member())
            assert one.classic is not None
            listed = Endpoint("db.test", one.classic.port)
            both = route(Destination.PRIMARY_AND_SECONDARY, strategy=StrategyName.FIRST_AVAILABLE)
            chosen = replace(both, members=(listed,))
            alone = static_topology(chosen.members)
            port = Port(chosen, lambda: alone, tasks)
            port.names = Names(tasks, locate)
            listener = Listener(port, open_socket(Endpoint("127.0.0.1", 0)))
            await listener.start()
            for _ in range(5):
                reader, _ = await clients.connect(listener.endpoint)
                assert await reader.readexactly(6) == b"hello "
            assert asked == ["db.test"], "once for all"
            assert await port.names.addresses("db.test") == ("127.0.0.1", "127.0.0.9"), "the one that accepts is first"
            assert port.tally.joined == {str(listed): 5}
            for session in list(port.sessions.values()):
                session.cut("the test ends")
            listener.close()

    run(scenario())


async def test_names_are_kept_looked_up_again_and_outlive_a_resolver_that_fails() -> None:
    now, answers, asked = [0.0], [("10.0.0.1",)], []

    async def locate(host: str) -> tuple[str, ...]:
        asked.append(now[0])
        return answers[0]

    async with asyncio.TaskGroup() as tasks:
        names = Names(tasks, locate, clock=lambda: now[0])
        assert await names.addresses("::1") == ("::1",)
        assert await asyncio.gather(*(names.addresses("db") for _ in range(5))) == [("10.0.0.1",)] * 5
        now[0] = 29.0
        await names.addresses("db")
        assert asked == [0.0]
        answers[0] = ("10.0.0.2",)
        now[0] = 31.0
        assert await names.addresses("db") == ("10.0.0.1",), "what is known serves while it is looked up"
        await until(lambda: len(asked) == 2, "it is looked up")
        assert await names.addresses("db") == ("10.0.0.2",)
        answers[0] = ()
        names.doubt("db")
        now[0] = 33.0
        await names.addresses("db")
        await until(lambda: len(asked) == 3, "a failure asks sooner")
        assert await names.addresses("db") == ("10.0.0.2",), "nothing found is no reason to forget"
        assert await names.addresses("db") == ("10.0.0.2",)
        assert await names.addresses("other") == ()
