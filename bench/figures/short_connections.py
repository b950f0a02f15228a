"""Short connections by the hundred thousand: how many a second, and what they leave behind in the router.

`python -m bench.figures.short_connections`: a server that does nothing, the router with two workers, and clients that
log in, leave, and come again. Half of them leave in order; of the others each second one resets its connection. Told
are memory, descriptors, threads and tasks of every process, by a line through what was seen of them.
"""

from __future__ import annotations

import argparse
import os
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from bench.sandbox.deadlines import wait_until
from bench.sandbox.errors import SandboxError
from bench.sandbox.processes import spawn
from bench.soak.record import MAIN, Sample, processes_of
from bench.soak.sampling import look
from bench.soak.slopes import fit
from bench.speed import proxies, sessions
from bench.speed.openers import log_in, log_out
from bench.speed.proxy import HOST, Proxy, free_port
from router.api import NoRouterError, fetch

CONNECTIONS = 100_000
OPENERS = 4
WORKERS = 2
PACE = 1.0  # seconds between two looks
REST_TIMEOUT = 30.0  # seconds until the last session is gone
RESET = struct.pack("ii", 1, 0)
"""SO_LINGER with which a close is a reset (socket(7))."""
GROWTH = 2 << 20
"""Bytes that a process may have grown by at the end: 20 for each of a hundred thousand."""
WARM = 0.1  # of all connections, before the first look that counts


def come_and_go(address: tuple[str, int], count: int) -> None:
    """Open so many sessions, one after the other, and leave each in its manner.

    Raises:
        OSError: one failed.
    """
    for number in range(count):
        sock = log_in(address)
        if number % 4 != 1:
            log_out(sock)
        else:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            sock.close()


def measure(directory: Path, connections: int) -> bool:
    """Measure, print, and say whether nothing was left behind.

    Raises:
        SandboxError: something does not start, or a connection fails.
    """
    admin, port = f"{HOST}:{free_port()}", free_port()
    with sessions.null_ground(directory) as ground, ExitStack() as stack:
        config, log = directory / "router.toml", directory / "router.log"
        config.write_text(proxies.fairlead_text(ground.upstream, port, int(admin.rpartition(":")[2]), WORKERS))
        argv = [sys.executable, "-m", "router.cli", "router", "--config", str(config), "--log-level", "WARNING"]
        process = spawn(argv, dict(os.environ), log)
        way = stack.enter_context(Proxy("fairlead", (HOST, port), process, log))
        way.wait_ready()
        _run(way.address, int(connections * WARM))
        _rest(admin)
        seen, began = look(admin, 0.0, 1), time.monotonic()
        openers = [_opener(way.address, connections // OPENERS) for _ in range(OPENERS)]
        try:
            while any(one.poll() is None for one in openers):
                time.sleep(PACE)
                seen += look(admin, time.monotonic() - began, 1)
        finally:
            for one in openers:
                one.kill()
                one.wait()
        took = time.monotonic() - began
        if any(one.returncode for one in openers):
            raise SandboxError("a connection failed; the complaint is above")
        _rest(admin)
        seen += look(admin, time.monotonic() - began, 1)
        route = fetch(admin, "/api/v1/routes")["routes"][0]
    made = connections // OPENERS * OPENERS
    print(f"{made} connections in {took:.1f} s: {made / took:.0f} a second; accepted {route['accepted_total']} in all")
    return _told(seen, made)


def _told(seen: Sequence[Sample], connections: int) -> bool:
    holds = True
    for name, samples in processes_of(seen):
        first, last = samples[0], samples[-1]
        grown = last.own - first.own
        line = fit([(one.at, one.own) for one in samples])
        along = f"{line.growth / 1024:+.0f} KiB along its line" if line else "too few looks for a line"
        words = f"{name}: own memory {first.own / 2**20:.1f} -> {last.own / 2**20:.1f} MiB"
        words += f" ({grown / connections:+.1f} bytes a connection; {along})"
        for what in ("descriptors", "threads", "tasks"):
            was, now = getattr(first, what), getattr(last, what)
            words += f", {what} {was} -> {now}"
            holds &= now <= was or name.startswith(MAIN)
        holds &= grown <= GROWTH
        print(words)
    print(f"nothing is left behind, and at most {GROWTH >> 20} MiB in a process: {'met' if holds else 'MISSED'}")
    return holds


def _rest(admin: str) -> None:
    def at_rest() -> bool:
        try:
            return not any(route["sessions"] for route in fetch(admin, "/api/v1/routes")["routes"])
        except NoRouterError:
            return False

    if not wait_until(at_rest, REST_TIMEOUT):
        raise SandboxError(f"the router still has sessions {REST_TIMEOUT:g} s after the last client has left")
    time.sleep(2 * PACE)  # closed sockets are let go of


def _opener(address: tuple[str, int], count: int) -> subprocess.Popen[bytes]:
    argv = [sys.executable, "-m", "bench.figures.short_connections", "--open", str(count)]
    return subprocess.Popen([*argv, "--port", str(address[1])], start_new_session=True)


def _run(address: tuple[str, int], count: int) -> None:
    opener = _opener(address, count)
    try:
        if opener.wait():
            raise SandboxError("a connection failed; the complaint is above")
    finally:
        opener.kill()
        opener.wait()


def main() -> int:
    """Measure; 1 where something is left behind, 2 where it cannot be measured."""
    parser = argparse.ArgumentParser(prog="python -m bench.figures.short_connections", description=__doc__)
    parser.add_argument("--connections", type=int, default=CONNECTIONS, help=f"in all (default: {CONNECTIONS})")
    parser.add_argument("--open", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, default=0, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.open:
        come_and_go((HOST, args.port), args.open)
        return 0
    try:
        with tempfile.TemporaryDirectory(prefix="fl-", dir="/tmp") as name:
            return 0 if measure(Path(name), args.connections) else 1
    except (SandboxError, NoRouterError) as exc:
        print(f"bench-short: {exc}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
