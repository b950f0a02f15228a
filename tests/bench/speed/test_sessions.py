"""The proxies' configurations, the server that does nothing, what its clients do, and what the kernel counts."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import tomllib
from pathlib import Path

import pytest

from bench.speed import proxies, usage
from bench.speed.cases import DIRECT, LAG_SECONDS, OURS, ROUTER
from bench.speed.lag import Lag, lag_lines
from bench.speed.null_server import COM_PING, GREETING, LOGIN_OK, PING_OK
from bench.speed.openers import log_in, log_out, loop
from bench.speed.proxy import Discovery, Upstream, free_port, greets
from bench.speed.sessions import Idle, idle_lines, most_sessions
from router import settings

UPSTREAM = Upstream(("10.0.0.7", 3306), Discovery("a.test", "127.0.0.1:53", "probe", Path("/p")))


def test_our_configuration_is_valid() -> None:
    parsed = settings.parse(tomllib.loads(proxies.fairlead_text(UPSTREAM, 1234, 1235, 1)))
    assert [str(route.listen).rpartition(":")[2] for route in parsed.routes.values()] == ["1234"]


def test_a_server_by_itself_is_named() -> None:
    named = Upstream(UPSTREAM.address)
    parsed = settings.parse(tomllib.loads(proxies.fairlead_text(named, 1234, 1235, 1)))
    assert [str(member) for route in parsed.routes.values() for member in dict(route)["members"]] == ["10.0.0.7:3306"]


def test_all_proxies_lead_to_the_server() -> None:
    assert "destinations = 10.0.0.7:3306" in proxies.mysqlrouter_text(UPSTREAM, 1)
    assert "server one 10.0.0.7:3306" in proxies.haproxy_text(UPSTREAM, 1)


def test_processor_time_and_memory_of_a_family() -> None:
    script = "import os, subprocess, sys\nsubprocess.run([sys.executable, '-c', 'print(1, flush=True); input()'])"
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        found = usage.family(process.pid)
        assert (len(found), found[0]) == (2, process.pid)
        assert usage.own_bytes(found) > usage.own_bytes([process.pid]) > 2**20
        process.communicate(b"\n")
    assert usage.cpu_seconds([process.pid]) == 0
    before, busy = usage.cpu_seconds([os.getpid()]), usage.busy_seconds()
    while usage.cpu_seconds([os.getpid()]) < before + 0.1:
        pass
    assert usage.busy_seconds() >= busy + 0.05  # the two are counted at different moments


def test_a_session_of_the_null_server() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        process = subprocess.Popen(
            [sys.executable, "-m", "bench.speed.null_server", str(listener.fileno())], pass_fds=[listener.fileno()]
        )
        try:
            address = listener.getsockname()
            assert greets(address)
            with log_in(address) as sock:
                sock.sendall(COM_PING)
                assert sock.recv(100) == PING_OK
                log_out(sock)
            assert len(loop(address, 0.05)) > 3
        finally:
            process.terminate()
            assert process.wait(10) == 0
    assert (GREETING[4], LOGIN_OK[3]) == (10, 2)


def test_an_error_packet_is_no_greeting() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def refuse() -> None:
            with listener.accept()[0] as sock:
                sock.sendall(b"\x05\x00\x00\x00\xff\x10\x04no")

        thread = threading.Thread(target=refuse)
        thread.start()
        with pytest.raises(ConnectionError, match="no greeting"):
            log_in(listener.getsockname())
        thread.join()
    assert not greets(("127.0.0.1", free_port()))


def test_sessions_that_wait() -> None:
    found = [Idle(OURS, 100, 23 * 1024, 0, 8192), Idle(ROUTER, 100, 60 * 1024, 0, 8192)]
    ours, router = idle_lines(found, 24 * 1024, OURS)
    assert "23.0 KiB" in ours
    assert ours.endswith("met")
    assert "met" not in router.lower()
    [missed] = idle_lines([Idle(OURS, 100, 25 * 1024, 0, 8192)], 24 * 1024, OURS)
    assert missed.endswith("MISSED")
    assert 100 <= most_sessions(10_000) <= 10_000


def test_answers_while_sessions_come() -> None:
    well = Lag(OURS, [0.001] * 100, [0.0005] * 100, [0.002] * 10)
    direct = Lag(DIRECT, [0.0005] * 100, [0.0005] * 100, [0.001] * 10)
    ours, straight = lag_lines([well, direct], OURS)
    assert "1.00 ms (median)" in ours
    assert ours.endswith("in the worst round: 0.50 ms; below 5 ms: met")
    assert "beyond" not in straight
    held = Lag(OURS, [0.001] * 98 + [LAG_SECONDS + 0.001] * 2, [0.0005] * 100, [0.002] * 10)
    [missed] = lag_lines([well, held], OURS)
    assert missed.endswith("MISSED")


def test_quiet_is_waited_for() -> None:
    assert usage.wait_quiet(float(os.cpu_count() or 1) + 1, 5)
    assert not usage.wait_quiet(-1.0, 0.1)
    assert usage.wait_quiet(-1.0, 0.0)  # not asked for
