"""Clients that open sessions: one after the other as fast as it goes, in a rhythm, or many to hold.

`python -m bench.speed.openers` is one such process; `Opener` starts it. Blocking sockets, one at a time: on one core
nothing that Python has is quicker, and several processes share the core as clients do.
"""

from __future__ import annotations

import argparse
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from types import TracebackType
from typing import IO, Any, cast

from bench.sandbox.errors import SandboxError
from bench.sandbox.programs import need_program
from bench.speed.null_server import COM_PING, COM_QUIT, LOGIN
from bench.speed.proxy import Address

ANSWER_TIMEOUT = 10.0  # seconds for one answer
END_TIMEOUT = 15.0  # seconds until an opener that was told to end is killed
READ_BYTES = 512  # more than any packet of the null server's
PING_INTERVAL = 0.002  # seconds between two looks at how long the way takes
LOOP, PACE, HOLD, PING = "loop", "pace", "hold", "ping"


class Opener:
    """One such process, on a core.

    Args:
        way: `loop`, `pace`, `hold` or `ping`.
        address: where to connect.
        amount: of sessions to hold, or a second with `pace`; else of no meaning.
        seconds: to go on for; `hold` goes on until it is ended.
    """

    def __init__(self, way: str, address: Address, core: int, *, amount: float = 0.0, seconds: float = 0.0) -> None:
        pin = [need_program("taskset", "util-linux"), "--cpu-list", str(core)]
        words = [way, address[0], str(address[1]), str(amount), str(seconds)]
        self._process = subprocess.Popen(
            [*pin, sys.executable, "-m", "bench.speed.openers", *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._patience = seconds + END_TIMEOUT

    def __enter__(self) -> Opener:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGKILL)
        self._process.communicate()

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    def wait_ready(self) -> None:
        """Return when it is about to begin, or with `hold` when all is open.

        Raises:
            SandboxError: it ended before; its complaint is on standard error.
        """
        if not cast(IO[str], self._process.stdout).readline():
            raise SandboxError("sessions cannot be opened; the complaint is above")

    def begin(self) -> None:
        """Let it begin."""
        stdin = cast(IO[str], self._process.stdin)
        stdin.write("\n")
        stdin.flush()

    def times(self) -> list[float]:
        """Return how long each session, or ping, took, in seconds, once its time is over.

        Raises:
            SandboxError: one failed; the complaint is on standard error.
        """
        said, _ = self._process.communicate(timeout=self._patience)
        if self._process.returncode:
            raise SandboxError("a session failed; the complaint is above")
        found: Any = json.loads(said)
        return [float(one) for one in found]


def log_in(address: Address) -> socket.socket:
    """Open a session and log in.

    Raises:
        OSError: it is not to be had.
    """
    sock = socket.create_connection(address, ANSWER_TIMEOUT)
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        _expect(sock.recv(READ_BYTES), 10, "greeting")
        sock.sendall(LOGIN)
        _expect(sock.recv(READ_BYTES), 0, "OK")
    except BaseException:
        sock.close()
        raise
    return sock


def log_out(sock: socket.socket) -> None:
    """End a session as clients do, and wait until the server has closed it."""
    with sock:
        sock.sendall(COM_QUIT)
        while sock.recv(READ_BYTES):
            pass


def loop(address: Address, seconds: float) -> list[float]:
    """Open and end sessions one after the other; return how long each took."""
    times, now = [], time.perf_counter()
    end = now + seconds
    while now < end:
        log_out(log_in(address))
        before, now = now, time.perf_counter()
        times.append(now - before)
    return times


def pace(address: Address, rate: float, seconds: float) -> list[float]:
    """Open and end so many sessions a second; return how late each was done, by its place in the rhythm."""
    times, began = [], time.perf_counter()
    for number in range(int(rate * seconds)):
        due = began + number / rate
        if (left := due - time.perf_counter()) > 0:
            time.sleep(left)
        log_out(log_in(address))
        times.append(time.perf_counter() - due)
    return times


def ping(address: Address, seconds: float) -> list[float]:
    """Ask again and again in one session; return how long each answer took."""
    times, end = [], time.perf_counter() + seconds
    with log_in(address) as sock:
        while (before := time.perf_counter()) < end:
            sock.sendall(COM_PING)
            _expect(sock.recv(READ_BYTES), 0, "OK")
            times.append(time.perf_counter() - before)
            time.sleep(PING_INTERVAL)
    return times


def _expect(data: bytes, kind: int, what: str) -> None:
    if len(data) < 5 or data[4] != kind:
        raise ConnectionError(f"no {what}, but {data[:60]!r}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Be such a process: say a line when ready, begin with a line, print what was timed as JSON."""
    parser = argparse.ArgumentParser(prog="python -m bench.speed.openers", description=__doc__)
    parser.add_argument("way", choices=[LOOP, PACE, HOLD, PING])
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("amount", type=float)
    parser.add_argument("seconds", type=float)
    args = parser.parse_args(arguments)
    address = args.host, args.port
    held = [log_in(address) for _ in range(int(args.amount))] if args.way == HOLD else []
    print(flush=True)
    if not sys.stdin.readline():
        return 0  # whoever started this is gone, or wants no more
    times: list[float] = []
    if args.way == LOOP:
        times = loop(address, args.seconds)
    elif args.way == PACE:
        times = pace(address, args.amount, args.seconds)
    elif args.way == PING:
        times = ping(address, args.seconds)
    for sock in held:
        log_out(sock)
    print(json.dumps([round(one, 7) for one in times]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
