"""What processes take of the machine, as the kernel counts it (proc(5)). Linux only; reads files, starts nothing."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from bench.sandbox.deadlines import wait_until

PROC = Path("/proc")
LOOK = 0.3  # seconds to see in whether a machine is quiet
TICKS = os.sysconf("SC_CLK_TCK")  # a second
PAGE = os.sysconf("SC_PAGE_SIZE")  # bytes
# Fields of /proc/stat's first line, in its order, in which a core did nothing for anybody: idle and iowait. `guest`
# time is in `user` already.
_IDLE = (3, 4)
_COUNTED = 8


def family(pid: int | None) -> list[int]:
    """A process and all that it has started and what those have, as far as they run; nothing of none."""
    found = [] if pid is None else [pid]
    for one in found:  # grows meanwhile
        for children in (PROC / str(one) / "task").glob("*/children"):
            try:
                found += map(int, children.read_text().split())
            except OSError:  # a thread that has just ended
                continue
    return found


def cpu_seconds(pids: Iterable[int]) -> float:
    """Processor time of processes since they began, user and system, with all their threads."""
    ticks = 0
    for pid in pids:
        try:
            # The second field is the program's name in parentheses and may hold anything.
            fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        ticks += int(fields[11]) + int(fields[12])
    return ticks / TICKS


def wait_quiet(most: float, patience: float) -> bool:
    """Wait until no more than so many cores are busy, at most `patience` seconds; say whether that came."""

    def quiet() -> bool:
        before = busy_seconds()
        time.sleep(LOOK)
        return (busy_seconds() - before) / LOOK <= most

    return patience <= 0 or wait_until(quiet, patience)


def ended_seconds() -> float:
    """Processor time of this process's children that have ended and been waited for."""
    times = os.times()
    return times.children_user + times.children_system


def own_bytes(pids: Iterable[int]) -> int:
    """Memory of processes, proportional: what several share counts once between them."""
    total = 0
    for pid in pids:
        try:
            text = (PROC / str(pid) / "smaps_rollup").read_text()
        except OSError:
            continue
        match = re.search(r"^Pss:\s+(\d+) kB", text, re.MULTILINE)
        total += int(match[1]) * 1024 if match else 0
    return total


def busy_seconds() -> float:
    """Processor time that all cores together have worked for anybody since boot."""
    fields = [int(field) for field in (PROC / "stat").read_text().splitlines()[0].split()[1 : 1 + _COUNTED]]
    return (sum(fields) - sum(fields[one] for one in _IDLE)) / TICKS


@dataclass(frozen=True, slots=True)
class KernelMemory:
    """What the kernel holds for sockets, in bytes, of all processes of this network namespace.

    Attributes:
        buffers: queued data of TCP (/proc/net/sockstat, `mem`).
        slab: kernel objects that cannot be reclaimed, sockets among them (/proc/meminfo, `SUnreclaim`).
        sockets: TCP sockets in use.
    """

    buffers: int
    slab: int
    sockets: int


def kernel_memory() -> KernelMemory:
    """Look at what the kernel holds now."""
    tcp = re.search(r"^TCP: inuse (\d+) .*mem (\d+)$", (PROC / "net" / "sockstat").read_text(), re.MULTILINE)
    slab = re.search(r"^SUnreclaim:\s+(\d+) kB", (PROC / "meminfo").read_text(), re.MULTILINE)
    return KernelMemory(
        buffers=int(tcp[2]) * PAGE if tcp else 0,
        slab=int(slab[1]) * 1024 if slab else 0,
        sockets=int(tcp[1]) if tcp else 0,
    )


def pin(pid: int, cores: Iterable[int]) -> None:
    """Keep a running process, all of its threads and those that they start, on some cores."""
    chosen = set(cores)
    for thread in (PROC / str(pid) / "task").iterdir():
        try:
            os.sched_setaffinity(int(thread.name), chosen)
        except ProcessLookupError:  # it has just ended
            continue
