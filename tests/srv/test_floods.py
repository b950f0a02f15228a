"""Who floods, and the kernel's filter; the kernel itself runs it."""

from __future__ import annotations

import asyncio
import contextlib
import socket

import pytest

from srv.allowance import Allowance, Limits, source_of
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
        ("127.7.7.9", ["127.7.7.7"], 0),
        ("127.7.8.7", ["127.7.7.7"], 100),
        ("127.16.7.200", FLOODERS, 0),
        ("127.1.7.200", FLOODERS, 0),
        ("127.0.0.1", FLOODERS, 100),
        ("127.0.0.1", ["::1"], 100),
        ("::1", ["::1"], 0),
        ("::1", ["2001:db8::1", "::ffff:0:0:1", "::2"], 0),
        ("::1", ["0:0:0:100::1", "0:0:1::", "1::", "127.0.0.1"], 100),
    ],
)
async def test_the_kernel_runs_the_program(host: str, sieved: list[str], through: int) -> None:
    with bound(host) as sock:
        datagrams = Datagrams(Desk([], []), sock, Limits(), Allowance(1.0, 1.0))
        asyncio.get_running_loop().remove_reader(sock)
        sieve = Sieve(tuple(map(source_of, sieved)), 2**16)
        datagrams._attach(program(sieve, ipv6=":" in host))
        assert came_through(sock, host, 100) <= through + 1
        assert came_through(sock, host, 100) >= through
        datagrams._attach(b"")
        assert came_through(sock, host, 100) == 100
        datagrams.close()


async def test_one_in_so_many_comes_through() -> None:
    with bound("127.0.0.1") as sock:
        datagrams = Datagrams(Desk([], []), sock, Limits(), Allowance(1.0, 1.0))
        asyncio.get_running_loop().remove_reader(sock)
        datagrams._attach(program(Sieve((source_of("127.7.7.7"),), 4), ipv6=False))
        count = sum(came_through(sock, "127.7.7.7", 100) for _ in range(20))
        assert 350 < count < 650  # of 2000; eight standard deviations to either side
        datagrams.close()
