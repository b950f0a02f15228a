"""Processes that outlive the command which started them: known by pid and start time, so that a recycled pid is
never taken for one of ours. Linux only."""

from __future__ import annotations

import contextlib
import os
import select
import signal
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
BOOT_ID = PROC / "sys" / "kernel" / "random" / "boot_id"


@dataclass(frozen=True, slots=True)
class Process:
    """One process.

    Attributes:
        start_time: in clock ticks since boot (proc_pid_stat(5), field 22); with the pid it is unique until a reboot.
    """

    pid: int
    start_time: int


def boot_id() -> str:
    """Return what the kernel drew when it started; processes of another boot are gone."""
    return BOOT_ID.read_text().strip()


def spawn(argv: list[str], environment: Mapping[str, str], log: Path) -> Process:
    """Start a process in a session of its own, so that neither Ctrl-C nor the end of this process reaches it.

    Args:
        argv: an absolute path and its arguments.
        environment: all of its environment.
        log: what it writes to standard output and error is appended here.
    """
    pid = os.posix_spawn(
        argv[0],
        argv,
        environment,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
        setsigmask=[],
        setsigdef=[signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE],
    )
    # The child is not reaped by anybody else, so its entry is there even if it has ended already.
    return Process(pid, _start_time(pid) or 0)


def is_alive(process: Process) -> bool:
    """Whether the process still runs. One that has ended and waits to be reaped does not."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(process.pid, os.WNOHANG)
    return _start_time(process.pid) == process.start_time and _state(process.pid) != "Z"


def send(process: Process, number: signal.Signals) -> bool:
    """Send a signal, unless the process has ended; say whether it was sent."""
    try:
        descriptor = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return False
    try:
        # The descriptor stays with the process that has the pid now; what is checked is what gets the signal.
        if not is_alive(process):
            return False
        signal.pidfd_send_signal(descriptor, number)
    except ProcessLookupError:
        return False
    finally:
        os.close(descriptor)
    return True


def wait_gone(process: Process, timeout: float) -> bool:
    """Wait until the process has ended, at most `timeout` seconds; say whether it has."""
    try:
        descriptor = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return True
    try:
        if not is_alive(process):
            return True
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        poll.poll(timeout * 1000)
    finally:
        os.close(descriptor)
    return not is_alive(process)


def find_marked(variable: str, value: str) -> list[Process]:
    """Return the processes that were started with this environment variable."""
    return [process for process, found in marked(variable) if found == value]


def marked(variable: str) -> Iterator[tuple[Process, str]]:
    """Yield the processes that were started with an environment variable, and its value."""
    wanted = f"{variable}=".encode()
    for entry in PROC.iterdir():
        if not entry.name.isdigit():
            continue
        try:
            environment = (entry / "environ").read_bytes()
        except OSError:
            continue
        start_time = _start_time(int(entry.name))
        values = [one.removeprefix(wanted) for one in environment.split(b"\0") if one.startswith(wanted)]
        if values and start_time is not None:
            yield Process(int(entry.name), start_time), os.fsdecode(values[0])


def resident_bytes(process: Process) -> int:
    """Return the process's resident memory."""
    for line in (PROC / str(process.pid) / "status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return 0


def _stat(pid: int) -> list[str]:
    try:
        text = (PROC / str(pid) / "stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return []
    # The second field is the program's name in parentheses and may hold anything.
    return text[text.rindex(")") + 2 :].split()


def _start_time(pid: int) -> int | None:
    fields = _stat(pid)
    return int(fields[19]) if fields else None


def _state(pid: int) -> str:
    fields = _stat(pid)
    return fields[0] if fields else ""
