"""Sessions by the thousand, before a server that does nothing: how many can be opened a second, and what one costs that
waits. Needs a server of its own, which greets and lets in: MySQL would be the limit else.
"""

from __future__ import annotations

import os
import resource
import socket
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.sandbox.errors import SandboxError
from bench.sandbox.processes import spawn
from bench.sandbox.programs import need_program
from bench.speed import proxies, usage
from bench.speed.cases import DIRECT, NEW_SESSIONS, OPENERS, Round, orders
from bench.speed.ground import need_cores
from bench.speed.null_server import BACKLOG
from bench.speed.openers import HOLD, LOOP, Opener
from bench.speed.proxy import HOST, LOAD_CORE, Proxy, Upstream

HOLDERS = 4  # processes that hold sessions: each has descriptors for one end, a proxy needs them for two
SPARE = 200  # descriptors that a proxy needs for itself
CASE = f"{NEW_SESSIONS}/plain/{OPENERS}"


@dataclass(frozen=True, slots=True)
class Idle:
    """What sessions that wait cost, each, in bytes.

    Attributes:
        own: the proxy's processes, proportional set size, beyond what they had without sessions.
        buffers: TCP's queues of all four ends, as the kernel says.
        slab: the kernel's objects, of all four ends; whatever else the machine does is in it.
    """

    variant: str
    sessions: int
    own: float
    buffers: float
    slab: float


@dataclass(frozen=True, slots=True)
class NullGround:
    """Where proxies lead, and the processes there."""

    upstream: Upstream
    servers: tuple[int, ...]


@contextmanager
def null_ground(directory: Path) -> Iterator[NullGround]:
    """Start the null server.

    Raises:
        SandboxError: it does not start, or cannot be measured against here.
    """
    need_cores()
    with _null_server(directory) as server:
        yield NullGround(Upstream(server.address), tuple(usage.family(server.pid)))


def _null_server(directory: Path) -> Proxy:
    with socket.socket() as sock:
        sock.bind((HOST, 0))
        sock.listen(BACKLOG)
        sock.setblocking(False)
        sock.set_inheritable(True)
        pin = [need_program("taskset", "util-linux"), "--cpu-list", str(LOAD_CORE)]
        argv = [*pin, sys.executable, "-m", "bench.speed.null_server", str(sock.fileno())]
        log = directory / "null.log"
        server = Proxy("null server", sock.getsockname(), spawn(argv, dict(os.environ), log), log)
    try:
        server.wait_ready()
    except BaseException:
        server.stop()
        raise
    return server


def rounds_of(
    directory: Path,
    ground: NullGround,
    variants: Sequence[str],
    rounds: int,
    seconds: float,
    progress: Callable[[str], None],
) -> Iterator[Round]:
    """Open, log in and end sessions in rounds; yields each as it is done.

    Raises:
        SandboxError: a proxy does not start, or a session fails.
    """
    with ExitStack() as stack:
        ways = {name: stack.enter_context(proxies.start(name, directory / name, ground.upstream)) for name in variants}
        progress(f"{CASE}: {rounds} rounds of {len(variants)} × {seconds:g} s")
        for number, order in enumerate(orders(variants, rounds)):
            for name in order:
                yield _measure(ways[name], ground.servers, number, seconds)


def _measure(way: Proxy, server: Sequence[int], number: int, seconds: float) -> Round:
    own = usage.family(way.pid)
    with ExitStack() as stack:
        openers = [stack.enter_context(Opener(LOOP, way.address, LOAD_CORE, seconds=seconds)) for _ in range(OPENERS)]
        for opener in openers:
            opener.wait_ready()
        known = [*own, *server, *(opener.pid for opener in openers)]
        took, cpu, busy = usage.cpu_seconds(known), usage.cpu_seconds(own), usage.busy_seconds()
        ended = usage.ended_seconds()
        for opener in openers:
            opener.begin()
        times = sorted(one for opener in openers for one in opener.times())
        # An opener that has ended counts for its parent, from its beginning on.
        ended, busy = usage.ended_seconds() - ended, usage.busy_seconds() - busy
        took, cpu = usage.cpu_seconds(known) + ended - took, usage.cpu_seconds(own) - cpu
    p50, p95, p99 = (1000 * times[int(share * (len(times) - 1))] for share in (0.50, 0.95, 0.99))
    return Round(
        *(CASE, way.name, number, len(times), seconds, p50, p95, p99, cpu),
        memory=usage.own_bytes(own),
        others=max(0.0, busy - took) / seconds,
    )


def most_sessions(wanted: int) -> int:
    """As many of the sessions as a proxy has descriptors for here: two each.

    Raises:
        SandboxError: there are not even for a hundred.
    """
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    most = min(wanted, (limit - SPARE) // 2) if limit != resource.RLIM_INFINITY else wanted
    if most < 100:
        raise SandboxError(f"{limit} descriptors a process are too few: raise the hard limit (ulimit -Hn)")
    return most


def idle_of(directory: Path, ground: NullGround, variants: Sequence[str], wanted: int, repeats: int) -> Iterator[Idle]:
    """Hold sessions that wait, through a proxy that was just started; yields what one costs.

    Raises:
        SandboxError: a proxy does not start, or a session fails.
    """
    count = most_sessions(wanted)
    for repeat in range(repeats):
        for name in variants:
            if name != DIRECT:
                with proxies.start(name, directory / f"idle-{name}-{repeat}", ground.upstream) as way:
                    yield _hold(way, count)


def _hold(way: Proxy, count: int) -> Idle:
    own = usage.family(way.pid)
    memory, kernel = usage.own_bytes(own), usage.kernel_memory()
    each = count // HOLDERS
    with ExitStack() as stack:
        holders = [stack.enter_context(Opener(HOLD, way.address, LOAD_CORE, amount=each)) for _ in range(HOLDERS)]
        for holder in holders:
            holder.wait_ready()
        after = usage.kernel_memory()
        held = each * HOLDERS
        return Idle(
            way.name,
            held,
            (usage.own_bytes(own) - memory) / held,
            (after.buffers - kernel.buffers) / held,
            (after.slab - kernel.slab) / held,
        )


def idle_lines(found: Sequence[Idle], bound: float, ours: str) -> list[str]:
    """What waiting sessions cost, a line for each variant, and the verdict on ours."""
    told = []
    for name in dict.fromkeys(one.variant for one in found):
        all_ = [one for one in found if one.variant == name]
        own, buffers, slab = (
            statistics.median(figures) / 1024
            for figures in zip(*((one.own, one.buffers, one.slab) for one in all_), strict=True)
        )
        text = f"{name}: {own:.1f} KiB of its own for each of {all_[0].sessions} sessions that wait"
        text += f", {buffers:.1f} KiB in the kernel's queues and {slab:.1f} KiB of its objects for all four ends"
        if name == ours:
            text += f"; at most {bound / 1024:g} KiB: {'met' if max(one.own for one in all_) <= bound else 'MISSED'}"
        told.append(text)
    return told
