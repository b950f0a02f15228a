"""The router as a whole on loopback, without any cluster: what it says of itself, and how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
import time
import urllib.error
import urllib.request
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cluster.members import Endpoint
from router.addresses import UnixPath
from router.handover import HELD_BACK, Legacy, command, hand_over, try_out
from router.listening import ListenError, open_socket
from router.notify import name_of
from router.reports import RouteReport
from router.service import Phase, Router
from router.settings import Settings, SettingsError, parse
from router.sockets import SO_ATTACH_FILTER
from srv.lookup import Outcome
from tests.router.conftest import Run
from tests.router.fakes import until


def free_port() -> int:
    with open_socket(Endpoint("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


def settings(**options: Any) -> Settings:
    cluster = {"srv": "db.test", "resolvers": [f"127.0.0.1:{free_port()}"]}
    ports = {"listen": f"127.0.0.1:{free_port()}", "protocol": "classic", "destination": "PRIMARY", **options}
    return parse(
        {
            "clusters": {"main": cluster},
            "routes": {"rw": ports},
            "admin": {"listen": f"127.0.0.1:{free_port()}"},
            "drain_timeout": 5,
        }
    )


def get(chosen: Settings, path: str) -> tuple[int, str]:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://{chosen.admin.listen}{path}", timeout=5) as reply:
            return reply.status, reply.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


async def until_parked(router: Router) -> None:
    """Wait until one session is parked, as a worker tells."""
    async with asyncio.timeout(10):
        while router.overview.report()["rw"].parked_now != 1:
            await router.overview.refresh()


def test_what_a_router_says_of_itself_and_how_it_ends(run: Run) -> None:
    async def scenario() -> None:
        chosen = settings(parking_timeout=1)
        router = Router(chosen, {})
        task = asyncio.create_task(router.run())
        await until(lambda: router.phase is Phase.SERVING, "it serves")
        assert await asyncio.to_thread(get, chosen, "/livez") == (200, "alive\n")
        assert await asyncio.to_thread(get, chosen, "/readyz") == (503, "no topology seen yet of main\n")
        listen = chosen.routes["rw"].listen
        assert isinstance(listen, Endpoint)
        reader, writer = await asyncio.open_connection(listen.host, listen.port)
        await until_parked(router)
        status, text = await asyncio.to_thread(get, chosen, "/metrics")
        assert status == 200
        assert 'fairlead_sessions_parked{route="rw"} 1.0' in text
        assert 'fairlead_topology_trust{cluster="main",trust="blind"} 1.0' in text
        assert "fairlead_ready 0.0" in text
        for outcome in Outcome:
            sample = f'name="_mysql._tcp.db.test",outcome="{outcome.value}"'
            assert f'fairlead_dns_lookups_total{{cluster="main",{sample}}}' in text
        [session] = json.loads((await asyncio.to_thread(get, chosen, "/api/v1/sessions"))[1])["sessions"]
        assert (session["phase"], session["member"]) == ("parked", None)
        [route] = json.loads((await asyncio.to_thread(get, chosen, "/api/v1/routes"))[1])["routes"]
        assert (route["name"], route["parked"], route["listening"]) == ("rw", 1, True)
        topology = json.loads((await asyncio.to_thread(get, chosen, "/api/v1/topology"))[1])
        assert topology["clusters"]["main"]["trust"] == "blind"
        [worker] = json.loads((await asyncio.to_thread(get, chosen, "/api/v1/workers"))[1])["workers"]
        assert (worker["state"], worker["sessions"]) == ("serving", 1)
        assert worker["pid"] != os.getpid()
        assert (await asyncio.to_thread(get, chosen, "/nothing"))[0] == 404
        router.stop()
        await until(lambda: router.phase is Phase.DRAINING, "it drains")
        assert await asyncio.to_thread(get, chosen, "/readyz") == (503, "draining\n")
        assert b"no server for route rw" in await reader.read()
        writer.close()
        await task
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(listen.host, listen.port)

    run(scenario())


@pytest.mark.parametrize(
    "garbage",
    [b"\x16\x03\x01 not HTTP \xff\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET /" + b"a" * 20000 + b" HTTP/1.1\r\n\r\n"],
)
def test_what_is_not_http_is_answered_and_told_in_one_line(
    run: Run, garbage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        router = Router(settings(), {})
        task = asyncio.create_task(router.run())
        await until(lambda: router.phase is Phase.SERVING, "it serves")
        listen = router.settings.admin.listen
        reader, writer = await asyncio.open_connection(listen.host, listen.port)
        writer.write(garbage)
        assert b" 400 Bad Request" in await reader.read()
        writer.close()
        router.stop()
        await task

    run(scenario())
    [told] = [record for record in caplog.records if record.name == "fairlead.admin"]
    assert "client 127.0.0.1 sent what is not HTTP" in told.getMessage()
    assert told.levelname == "WARNING"
    assert told.exc_info is None


def test_a_second_stop_does_not_wait_for_sessions(run: Run) -> None:
    async def scenario() -> None:
        router = Router(settings(parking_timeout=60), {})
        task = asyncio.create_task(router.run())
        await until(lambda: router.phase is Phase.SERVING, "it serves")
        listen = router.settings.routes["rw"].listen
        assert isinstance(listen, Endpoint)
        reader, writer = await asyncio.open_connection(listen.host, listen.port)
        await until_parked(router)
        router.stop()
        router.stop()
        began = time.monotonic()
        await task
        assert time.monotonic() - began < 4
        assert b"no server for route rw" in await reader.read()
        writer.close()

    run(scenario())


def test_a_port_in_use_is_named(run: Run) -> None:
    async def scenario() -> None:
        chosen = settings()
        with open_socket(chosen.routes["rw"].listen) as taken:
            taken.listen()
            with pytest.raises(SettingsError, match=r"routes\.rw\.listen: 127\.0\.0\.1:\d+: Address already in use"):
                await Router(chosen, {}).run()
        with open_socket(chosen.admin.listen) as taken:
            taken.listen()
            with pytest.raises(SettingsError, match=r"admin\.listen: 127\.0\.0\.1:\d+: Address already in use"):
                await Router(chosen, {}).run()

    run(scenario())


def test_an_address_that_is_not_ours_is_named() -> None:
    with pytest.raises(ListenError, match=r"192\.0\.2\.1:6446: Cannot assign requested address"):
        open_socket(Endpoint("192.0.2.1", 6446))


def a_failing_exec(monkeypatch: pytest.MonkeyPatch) -> list[set[signal.Signals]]:
    """Have the new program pass its trial and not be run; return what signals are held back at each try."""
    held: list[set[signal.Signals]] = []

    async def tried() -> None:
        pass

    def fail(*_: object) -> None:
        held.append(signal.pthread_sigmask(signal.SIG_BLOCK, ()))
        raise OSError(8, "Exec format error")

    monkeypatch.setattr("router.service.try_out", tried)
    monkeypatch.setattr("router.handover.os.execve", fail)
    return held


def test_a_program_that_cannot_be_run_leaves_everything_as_it_is(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    a_failing_exec(monkeypatch)

    async def scenario() -> None:
        chosen = settings(parking_timeout=60)
        router = Router(chosen, {}, reread=lambda: (chosen, {}))
        task = asyncio.create_task(router.run())
        await until(lambda: router.phase is Phase.SERVING, "it serves")
        pids = [worker.pid for worker in router.overview.workers()]
        with pytest.raises(SettingsError, match="the program cannot be run: Exec format error"):
            await router.hand_over()
        listen = chosen.routes["rw"].listen
        assert isinstance(listen, Endpoint)
        _, writer = await asyncio.open_connection(listen.host, listen.port)
        await until_parked(router)
        assert [worker.pid for worker in router.overview.workers()] == pids
        changed = chosen.model_copy(update={"drain_timeout": 0.1, "workers": 2})
        router._reread = lambda: (changed, {})
        assert (await router.reload()).lines() == ["workers 1 -> 2", "drain_timeout 5.0 -> 0.1"]
        await until(lambda: len(router.overview.workers()) == 2, "there are two")
        writer.close()
        router.stop()
        await task

    run(scenario())


def test_the_command_that_is_run_again_is_the_one_that_ran() -> None:
    assert command() == [sys.executable, *sys.orig_argv[1:]]
    with pytest.raises(SettingsError, match="the new program does not start"):
        asyncio.run(try_out())  # this is pytest, which knows no --check


def test_a_cluster_that_a_reload_removes_is_followed_while_its_sessions_drain(run: Run) -> None:
    async def scenario() -> None:
        chosen = settings(parking_timeout=60)
        router = Router(chosen, {}, reread=lambda: (without, {}))
        without = parse(
            {
                "routes": {
                    "rw": {
                        "listen": str(chosen.routes["rw"].listen),
                        "protocol": "classic",
                        "members": [f"127.0.0.1:{free_port()}"],
                    }
                },
                "admin": {"listen": str(chosen.admin.listen)},
                "drain_timeout": 0.1,
            }
        )
        task = asyncio.create_task(router.run())
        await until(lambda: router.phase is Phase.SERVING, "it serves")
        clusters = router._clusters
        assert clusters is not None
        was = clusters.followed["main"].task
        assert was is not None
        await router.reload()
        assert not router.overview.watchers
        await asyncio.sleep(without.drain_timeout)
        assert not was.done(), "workers hear of it later"
        await until(was.done, "nobody is left who needs it")
        router.stop()
        await task

    run(scenario())


@pytest.mark.parametrize("moment", ["while it is tried", "as signals are held back"])
def test_a_router_that_was_asked_to_end_is_not_replaced(run: Run, monkeypatch: pytest.MonkeyPatch, moment: str) -> None:
    held = a_failing_exec(monkeypatch)

    async def asked() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        if moment == "while it is tried":
            await until(lambda: router.phase is Phase.DRAINING, "it drains")

    async def scenario() -> None:
        task = asyncio.create_task(router.run())
        await until(lambda: router.phase is Phase.SERVING, "it serves")
        listen = chosen.routes["rw"].listen
        assert isinstance(listen, Endpoint)
        _, writer = await asyncio.open_connection(listen.host, listen.port)
        await until_parked(router)
        assert router._crew is not None
        if moment == "while it is tried":
            monkeypatch.setattr("router.service.try_out", asked)
        else:
            monkeypatch.setattr(router._crew, "refresh", asked)
        with pytest.raises(SettingsError, match="the router is ending"):
            await router.hand_over()
        monkeypatch.undo()
        assert not held
        assert signal.SIGTERM not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
        writer.close()
        await task

    chosen = settings(parking_timeout=60)
    router = Router(chosen, {}, reread=lambda: (chosen, {}))
    run(scenario())


def test_signals_wait_while_the_router_is_replaced_and_a_worker_that_just_died_is_not_left_to_the_next(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = a_failing_exec(monkeypatch)
    left: list[Legacy] = []

    def note(legacy: Legacy) -> None:
        left.append(legacy)
        hand_over(legacy)

    monkeypatch.setattr("router.service.hand_over", note)

    async def scenario() -> None:
        chosen = settings(parking_timeout=60).model_copy(update={"workers": 2})
        router = Router(chosen, {}, reread=lambda: (chosen, {}))
        task = asyncio.create_task(router.run())
        await until(lambda: router.phase is Phase.SERVING, "it serves")
        crew = router._crew
        assert crew is not None
        one, other = crew.hands.values()
        monkeypatch.setattr(other, "_reap", lambda *_: None)  # dead, and not buried when the next takes over
        one.report = replace(one.report, routes=(RouteReport("rw", started=3),))
        other.report = replace(other.report, routes=(RouteReport("rw", started=4, sessions=1),))
        other.kill()
        await until(lambda: not other.link.open, "its end is noticed")
        crew.memory.add(0, other.column, 1)
        monkeypatch.setattr(crew, "refresh", nothing)
        with pytest.raises(SettingsError, match="Exec format error"):
            await router.hand_over()
        monkeypatch.undo()
        [legacy] = left
        assert [hand.serial for hand in legacy.hands] == [one.serial]
        assert [(past.started, past.sessions) for past in legacy.gone] == [(4, 0)]
        assert crew.memory.sum(0) == 0
        assert set(HELD_BACK) <= held[0]
        assert not set(HELD_BACK) & signal.pthread_sigmask(signal.SIG_BLOCK, ())
        other._reap(0.0)
        listen = chosen.routes["rw"].listen
        assert isinstance(listen, Endpoint)
        _, writer = await asyncio.open_connection(listen.host, listen.port)
        await until_parked(router)
        os.kill(one.pid, signal.SIGKILL)
        await until(lambda: one.serial not in crew.hands, "the other is still heard")
        writer.close()
        router.stop()
        await task

    async def nothing() -> None:
        pass

    run(scenario())


def test_a_socket_of_an_earlier_start_that_nobody_asks_for_is_given_up_by_systemd_too(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told,
        socket.create_server(("127.0.0.1", 0)) as stray,
        open_socket(UnixPath(str(tmp_path / "stray.sock"))) as file,
    ):
        told.bind(str(tmp_path / "told"))
        told.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "told"))
        fds = [os.dup(one.fileno()) for one in (stray, file)]
        monkeypatch.setattr("router.service.take_from_systemd", lambda *_: fds)

        async def scenario() -> None:
            router = Router(settings(), {})
            task = asyncio.create_task(router.run())
            await until(lambda: router.phase is Phase.SERVING, "it serves")
            router.stop()
            await task

        run(scenario())
        heard = []
        with contextlib.suppress(BlockingIOError):
            while True:
                data, stored, _, _ = socket.recv_fds(told, 4096, 8)
                heard.append(data.decode())
                for fd in stored:
                    os.close(fd)
        for address in (f"127.0.0.1:{stray.getsockname()[1]}", f"unix:{tmp_path / 'stray.sock'}"):
            assert f"FDSTOREREMOVE=1\nFDNAME={name_of(address)}" in heard
        assert not (tmp_path / "stray.sock").exists()


def test_a_start_that_fails_leaves_what_systemd_keeps(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "stray.sock"
    with open_socket(UnixPath(str(path))) as file:
        fd = os.dup(file.fileno())
        monkeypatch.setattr("router.service.take_from_systemd", lambda *_: [fd])
        chosen = settings()
        with open_socket(chosen.routes["rw"].listen) as taken:
            taken.listen()
            with pytest.raises(SettingsError, match="Address already in use"):
                asyncio.run(Router(chosen, {}).run())
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(fd)
        assert path.exists()


def test_a_router_whose_workers_were_taken_over_is_ready_before_new_ones_serve(run: Run) -> None:
    async def scenario() -> None:
        router = Router(settings(), {})
        assert router.not_ready_because() == "starting"
        task = asyncio.create_task(router.run())
        await until(lambda: router.phase is Phase.SERVING, "it serves")
        router.phase = Phase.STARTING
        assert router.not_ready_because() == "no topology seen yet of main"
        assert router._crew is not None
        for hand in router._crew.hands.values():
            hand.retired = True
        assert router.not_ready_because() == "starting"
        router.phase = Phase.SERVING
        router.stop()
        await task

    run(scenario())


def test_a_client_that_waits_for_a_member_is_told_when_the_drain_is_over(run: Run) -> None:
    async def scenario() -> None:
        chosen = settings(parking_timeout=60).model_copy(update={"drain_timeout": 0.3})
        router = Router(chosen, {})
        task = asyncio.create_task(router.run())
        await until(lambda: router.phase is Phase.SERVING, "it serves")
        listen = chosen.routes["rw"].listen
        assert isinstance(listen, Endpoint)
        reader, writer = await asyncio.open_connection(listen.host, listen.port)
        await until_parked(router)
        crew = router._crew
        assert crew is not None
        router.stop()
        said = await reader.read()
        assert b"no server for route rw" in said
        assert b"the router ends" in said
        await task  # though the client closes nothing
        assert crew.cut_at_end == 1, "once"
        writer.close()

    run(scenario())


def test_a_reload_hushes_a_socket_before_its_route_goes(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        chosen = settings()
        moved = chosen.routes["rw"].model_copy(update={"listen": Endpoint("127.0.0.1", free_port())})
        router = Router(chosen, {}, reread=lambda: (chosen.model_copy(update={"routes": {"rw": moved}}), {}))
        task = asyncio.create_task(router.run())
        await until(lambda: router.phase is Phase.SERVING, "it serves")
        sock, configure = router._sockets._sockets[str(chosen.routes["rw"].listen)], router._configure

        def note() -> None:
            hushed.append(bool(sock.getsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, 64)))
            configure()

        hushed: list[bool] = []
        monkeypatch.setattr(router, "_configure", note)
        await router.reload()
        assert hushed == [True], "what came between the last accept and the close would be reset"
        router.stop()
        await task

    run(scenario())
