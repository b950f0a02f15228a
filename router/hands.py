"""One worker process, as the main process has it: its start, its link, its answers and its end.

Owns the process. Must not know which routes it holds, nor who takes its place.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from router import logs
from router.counts import SharedMemory
from router.link import Link, make_pair
from router.messages import Killed, Message, Report, Serving, Sessions
from router.reports import WorkerReport, WorkerState
from router.worker import LINK_FD, MEMORY_FD

log = logging.getLogger("fairlead.router")

KEPT = ("LANG", "LC_ALL", "LC_CTYPE", "TZ", "LD_LIBRARY_PATH")
"""What a worker gets of the environment, besides what is Python's own (PYTHON…)."""
END_PATIENCE = 1.0
"""Seconds for a process to be gone after its link has ended; then it is killed."""
LOW_FDS = 10  # a worker's own descriptors are numbered below
FREED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


@dataclass(frozen=True, slots=True)
class HandState:
    """What the next main process must know of a worker that it takes over. Times monotonic."""

    serial: int
    column: int
    pid: int
    link: int  # descriptor
    started_at: float
    report: WorkerReport
    retired: bool


class Hand:
    """A worker process.

    Args:
        state: who it is.
        on_message: told of what it says of its own accord.
        on_end: told when it is gone, and how.
    """

    def __init__(
        self,
        state: HandState,
        on_message: Callable[[Hand, Message], None],
        on_end: Callable[[Hand, str], None],
    ) -> None:
        self.serial, self.column, self.pid = state.serial, state.column, state.pid
        self.started_at, self.report, self.retired = state.started_at, state.report, state.retired
        self.serving = state.report.state is WorkerState.SERVING
        self.sockets: frozenset[str] = frozenset()  # addresses whose listening sockets it was sent
        self.unanswered = 0  # pulses since it was heard last
        self._on_message, self._on_end = on_message, on_end
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._loop = asyncio.get_running_loop()
        self.link = Link(socket.socket(fileno=state.link), self._hear, self._link_ended)

    def state(self) -> HandState:
        """Who it is, for the next main process."""
        fd = self.link.fileno()
        return HandState(self.serial, self.column, self.pid, fd, self.started_at, self.report, self.retired)

    def send(self, message: Message, fds: Sequence[int] = ()) -> None:
        """Tell it something."""
        self.link.send(message, fds)

    async def ask(self, number: int, message: Message, timeout: float) -> Any:
        """Tell it something and return the answer of that number; None where it gives none in time."""
        answer: asyncio.Future[Any] = self._loop.create_future()
        self._answers[number] = answer
        self.link.send(message)
        try:
            async with asyncio.timeout(timeout):
                return await answer
        except TimeoutError:
            return None
        finally:
            del self._answers[number]

    def kill(self) -> None:
        """End it at once, whatever it does."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    def _hear(self, message: Message, fds: list[int]) -> None:
        self.unanswered = 0
        for fd in fds:
            os.close(fd)  # workers have nothing to hand us
        match message:
            case Report():
                self.report = message.worker
                self._answer(message.number, message.worker)
            case Sessions() | Killed():
                self._answer(message.number, message.sessions)
            case Serving():
                self.serving = True
                self.report = replace(self.report, state=WorkerState.SERVING)
                self._on_message(self, message)
            case _:
                self._on_message(self, message)

    def _answer(self, number: int, answer: object) -> None:
        waiting = self._answers.get(number)
        if waiting is not None and not waiting.done():
            waiting.set_result(answer)

    def _link_ended(self) -> None:
        for waiting in self._answers.values():
            if not waiting.done():
                waiting.set_result(None)
        self._reap(self._loop.time() + END_PATIENCE)

    def _reap(self, deadline: float) -> None:
        try:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
        except ChildProcessError:
            self._on_end(self, "it is gone")
            return
        if pid:
            self._on_end(self, _describe(status))
            return
        if self._loop.time() >= deadline:
            self.kill()
        self._loop.call_later(0.01, self._reap, deadline)


def spawn(
    serial: int,
    column: int,
    memory: SharedMemory,
    on_message: Callable[[Hand, Message], None],
    on_end: Callable[[Hand, str], None],
) -> Hand:
    """Start a worker process.

    Raises:
        OSError: there is no descriptor, no memory or no process to be had.
    """
    ours, theirs = make_pair()
    high = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, LOW_FDS) for fd in (theirs.fileno(), memory.fd)]
    # Nothing is imported from where the user happens to be (-P): who may write there would run as us.
    argv = [sys.executable, "-P", "-m", "router.worker", str(serial), str(column), *logs.words()]
    try:
        pid = os.posix_spawn(
            sys.executable,
            argv,
            {name: value for name, value in os.environ.items() if name in KEPT or name.startswith("PYTHON")},
            file_actions=[
                (os.POSIX_SPAWN_DUP2, high[0], LINK_FD),
                (os.POSIX_SPAWN_DUP2, high[1], MEMORY_FD),
            ],
            setsigmask=[],
            setsigdef=FREED,
        )
    except OSError:
        ours.close()
        raise
    finally:
        theirs.close()
        for fd in high:
            os.close(fd)
    now = time.monotonic()
    report = WorkerReport(serial, pid, now, WorkerState.STARTING)
    return Hand(HandState(serial, column, pid, ours.detach(), now, report, retired=False), on_message, on_end)


def _describe(status: int) -> str:
    if os.WIFSIGNALED(status):
        return f"killed by {signal.Signals(os.WTERMSIG(status)).name}"
    return f"exit status {os.waitstatus_to_exitcode(status)}"
