"""Hosts looked up by the system, which takes as long as it likes."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time

import pytest

from srv import hosts
from srv.hosts import Hosts, locate

ENDS = """
import asyncio, socket, sys, threading, uvloop
from srv.hosts import locate
asked = threading.Event()
def slow(*_, **__):
    asked.set()
    threading.Event().wait()
socket.getaddrinfo = slow
async def serve():
    looking = asyncio.create_task(locate("slow.example"))
    await asyncio.to_thread(asked.wait)
    looking.cancel()
uvloop.run(serve())
print("ended")
"""


async def test_the_systems_own_names() -> None:
    assert "127.0.0.1" in await locate("localhost")  # from /etc/hosts


async def test_no_more_than_a_few_are_looked_up_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    running, most, lock = 0, 0, threading.Lock()

    def slow(host: str) -> tuple[str, ...]:
        nonlocal running, most
        with lock:
            running, most = running + 1, max(most, running + 1)
        time.sleep(0.01)  # what the system takes
        with lock:
            running -= 1
        return (host,)

    monkeypatch.setattr(hosts, "_ask_system", slow)
    found = await asyncio.gather(*map(Hosts().locate, [f"db{n}" for n in range(50)]))
    assert found == [(f"db{n}",) for n in range(50)]
    assert 1 < most <= hosts.LOOKUPS


async def test_one_that_takes_too_long_is_given_up_and_keeps_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    let_go = threading.Event()

    def stuck(host: str) -> tuple[str, ...]:
        if host == "slow":
            let_go.wait()
        return (host,)

    monkeypatch.setattr(hosts, "_ask_system", stuck)
    monkeypatch.setattr(hosts, "HOST_TIMEOUT", 0.02)
    monkeypatch.setattr(hosts, "LOOKUPS", 1)
    some = Hosts()
    assert await some.locate("slow") == ()
    other = asyncio.create_task(some.locate("other"))
    await asyncio.sleep(0.05)
    assert not other.done()
    let_go.set()
    assert await asyncio.wait_for(other, 10) == ("other",)


async def test_one_that_cannot_begin_finds_nothing_and_keeps_no_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(hosts, "LOOKUPS", 1)
    monkeypatch.setattr(hosts, "_ask_system", lambda host: (host,))
    some = Hosts()
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", start)
        for _ in range(3):
            assert await asyncio.wait_for(some.locate("db"), 10) == ()
    assert await asyncio.wait_for(some.locate("db"), 10) == ("db",)


def test_a_process_ends_without_waiting_for_the_system() -> None:
    done = subprocess.run([sys.executable, "-c", ENDS], capture_output=True, text=True, timeout=20, check=False)
    assert (done.stdout, done.stderr, done.returncode) == ("ended\n", "", 0)
