"""Who floods, and the kernel's filter; the kernel itself runs it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import time

import pytest

from srv import datagrams as module
from srv.allowance import Allowance, Limits, source_of
from srv.complaints import LINES_PER_WINDOW
from srv.datagrams import Datagrams
from srv.desk import Desk
from srv.floods import SOURCES, Floods, Sieve, program

FLOODERS = [f"127.{number}.7.7" for number in range(1, SOURCES + 1)]


def noted(floods: Floods, **counts: int) -> dict[str, int]:
    for source, count in counts.items():
        for _ in range(count):
            floods.note(source)
    return floods.review(0.5)


def test_a_source_well_beyond_its_allowance_floods() -> None:
    floods = Floods(100.0)
    assert noted(floods, a=50, b=51) == {"b": 102}
    assert floods.sieve == Sieve(("b",), 2)


def test_the_share_follows_the_rate_and_the_flood_ends() -> None:
    floods = Floods(100.0)
    noted(floods, a=800)
    assert floods.sieve.share == 16
    assert noted(floods, a=50) == {"a": 1600}  # what comes through, times the share
    assert floods.sieve.share == 16
    noted(floods, a=10)
    assert floods.sieve.share == 4
    noted(floods, a=10)
    assert floods.sieve == Sieve()


def test_the_worst_count() -> None:
    floods = Floods(1.0)
    noted(floods, **{f"s{number:02}": number for number in range(1, 40)})
    assert floods.sieve.sources == tuple(f"s{number:02}" for number in range(40 - SOURCES, 40))


def bound(host: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        sock = socket.socket(family, socket.SOCK_DGRAM)
        sock.setblocking(False)
        sock.bind((host, 0))
    except OSError:
        pytest.skip("no IPv6 here")
    return sock


def came_through(here: socket.socket, host: str, packets: int) -> int:
    with bound(host) as there:
        for _ in range(packets):
            there.sendto(b"x", here.getsockname())
            # So that the queue never runs over.
        count = 0
        with contextlib.suppress(BlockingIOError):
            while True:
                here.recv(10)
                count += 1
    return count


@pytest.mark.parametrize(
    ("host", "sieved", "through"),
    [
        ("127.0.0.1", ["127.7.7.7"], 100),
        ("127.7.7.7", ["127.7.7.7"], 0),
        ("127.7.7.9", ["127.7.7.7"], 100),  # a neighbour
        ("127.16.7.7", FLOODERS, 0),
        ("127.1.7.7", FLOODERS, 0),
        ("127.1.7.8", FLOODERS, 100),
        ("::1", ["::1"], 0),
        ("::1", ["2001:db8::1", "1:0::1", "::2"], 0),
        ("::1", ["0:0:0:1::1", "0:0:1::", "1::"], 100),
    ],
)
async def test_the_kernel_runs_the_program(host: str, sieved: list[str], through: int) -> None:
    with bound(host) as sock:
        datagrams = Datagrams(Desk([], []), sock, Limits(), Allowance(1.0, 1.0), Allowance(1.0, 1.0))
        asyncio.get_running_loop().remove_reader(sock)
        sieve = Sieve(tuple(map(source_of, sieved)), 2**16)
        datagrams._attach(program(sieve))
        assert came_through(sock, host, 100) <= through + 1
        assert came_through(sock, host, 100) >= through
        datagrams._attach(b"")
        assert came_through(sock, host, 100) == 100
        datagrams.close()


async def test_one_in_so_many_comes_through() -> None:
    with bound("127.0.0.1") as sock:
        datagrams = Datagrams(Desk([], []), sock, Limits(), Allowance(1.0, 1.0), Allowance(1.0, 1.0))
        asyncio.get_running_loop().remove_reader(sock)
        datagrams._attach(program(Sieve((source_of("127.7.7.7"),), 4)))
        count = sum(came_through(sock, "127.7.7.7", 100) for _ in range(20))
        assert 350 < count < 650  # of 2000; eight standard deviations to either side
        datagrams.close()


async def test_without_the_filter_packets_are_counted_as_they_come(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with bound("127.0.0.1") as sock:
        datagrams = Datagrams(Desk([], []), sock, Limits(packets=100.0), Allowance(1.0, 1.0), Allowance(1.0, 1.0))
        asyncio.get_running_loop().remove_reader(sock)
        monkeypatch.setattr(module, "SO_ATTACH_FILTER", -1)
        for _ in range(3):
            for _ in range(int(2000 * module.REVIEW)):
                datagrams._floods.note("127.7.7.7")
            datagrams._reviewed_at = time.monotonic() - module.REVIEW
            datagrams._look_for_floods()
            assert datagrams._floods.sieve == Sieve(("127.7.7.7",), 1)
        assert caplog.text.count("cannot-filter") == 1
        assert caplog.text.count("flood source=127.7.7.7 packets_per_second=19") == 1
        datagrams.close()


async def test_floods_that_come_and_go_do_not_fill_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with bound("127.0.0.1") as sock, caplog.at_level(logging.INFO, "fairlead.srv"):
        datagrams = Datagrams(Desk([], []), sock, Limits(packets=100.0), Allowance(1.0, 1.0), Allowance(1.0, 1.0))
        asyncio.get_running_loop().remove_reader(sock)
        for number in range(6):
            for source in range(SOURCES) if number % 2 == 0 else ():
                for _ in range(200):
                    datagrams._floods.note(f"192.0.2.{source}")
            datagrams._reviewed_at = time.monotonic() - module.REVIEW
            datagrams._look_for_floods()
        lines = [record.getMessage().partition(" ")[0] for record in caplog.records]
        assert lines.count("flood") == lines.count("flood-over") == LINES_PER_WINDOW
        datagrams.close()
