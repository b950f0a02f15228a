"""A thousand clusters in one publisher: from a change in what members say to the changed answer over UDP.

The publisher is the real one, sources, diagnosis, controller and sockets, in a process of its own; only what members
answer is made up. This process asks it as a client would, and says what it cost: `python -m bench.figures.clusters`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Never, cast

import uvloop

from cluster.access import Access
from cluster.members import Member, Role, State
from cluster.observations import Observation, Outcome, Report, ViewId, ViewRow
from cluster.watch import Watch
from srv.assembly import group_timing
from srv.controller import Controller
from srv.hosts import Hosts
from srv.probed import ProbedGroup, Settings
from srv.publication import Known
from srv.records import Kind
from srv.server import Server
from srv.wire import IN, Query, Question, write_query
from srv.zone import SERVICES, Part, service_names
from xproto.notices import Notice

MEMBERS = 3
POLL = 0.005  # seconds between questions while a change is awaited; part of what is measured
PATIENCE = 10.0  # seconds until a change is given up for lost
CHANGES = 10.0  # a second: a thousand clusters of which each fails over every hundred seconds
LIMIT = 1.0  # seconds from a change to its answer, and of processor time a second


@dataclass(slots=True)
class World:
    """What the members of all clusters would say."""

    primaries: list[int]
    reports: dict[str, Report] = field(default_factory=dict)
    _rng: random.Random = field(default_factory=lambda: random.Random(1))

    def move(self, number: int) -> int:
        """Give a cluster another primary, and return which."""
        self.primaries[number] = (self.primaries[number] + self._rng.randrange(1, MEMBERS)) % MEMBERS
        rows = tuple(
            ViewRow(
                f"u{number}-{one}",
                f"m{one}",
                3306,
                Role.PRIMARY if one == self.primaries[number] else Role.SECONDARY,
                State.ONLINE,
            )
            for one in range(MEMBERS)
        )
        for one in range(MEMBERS):
            self.reports[f"m{one}.{domain_of(number)}"] = Report(
                f"u{number}-{one}", one != self.primaries[number], False, f"g{number}", ViewId("v", 1), rows
            )
        return self.primaries[number]

    def measure(self, name: str) -> Report:
        """What a member says now: its queue and load differ from look to look, as real ones do."""
        report = self.reports[name]
        queued, load = self._rng.randrange(50), self._rng.randrange(20)
        return Report(
            *(report.uuid, report.read_only, report.offline_mode, report.group_name, report.view_id, report.rows),
            queued=queued,
            lag=self._rng.random() / 2,
            load=load,
        )


class SyntheticProbe:
    """Answers for a member from the world, after a moment as a network takes it."""

    hears_notices = False

    def __init__(self, world: World, member: Member, clock: Callable[[], float]) -> None:
        self._world, self._member, self._clock = world, member, clock

    async def look(self) -> Observation:
        taken_at = self._clock()
        await asyncio.sleep(0)
        return Observation(self._member, taken_at, Outcome.ANSWERED, self._world.measure(self._member.name))

    def nudge(self) -> bool:
        return True

    async def read_status(self, timeout: float) -> None:
        """It counts nothing of itself."""

    async def close(self) -> None:
        pass


def domain_of(number: int) -> str:
    """A cluster's domain."""
    return f"c{number}.bench.test"


async def publish(clusters: int, seconds: float) -> None:
    """The publisher's process: tells of each change and, at the end, of its costs on standard output."""
    world = World([0] * clusters)
    hosts, timing = Hosts(), group_timing(clusters, 0.5)
    sources = []
    for number in range(clusters):
        world.move(number)
        known = tuple(Known(f"m{one}", f"10.{number >> 8}.{number & 255}.{one}", 3306, 33060) for one in range(MEMBERS))

        def make_probe(
            member: Member,
            access: Access,
            *,
            timeout: float,
            on_notice: Callable[[Notice], None] | None = None,
            clock: Callable[[], float] = time.monotonic,
        ) -> SyntheticProbe:
            return SyntheticProbe(world, member, clock)

        watch = Watch(Access(None), timing=timing, make_probe=make_probe)
        sources.append(ProbedGroup(Settings(domain_of(number), known), watch, locate=hosts.locate))
    server = Server([("127.0.0.1", 0)])
    controller = Controller(sources, [server], nameserver_addresses=("127.0.0.1",))
    began = time.monotonic()
    running = asyncio.create_task(controller.run(), name="controller")
    while not server.addresses or len(controller.zones) < clusters or any(zone.withheld for zone in controller.zones):
        await asyncio.sleep(0.05)
        if running.done():
            running.result()
    _say(began=time.monotonic() - began, port=server.addresses[0][1])
    await asyncio.sleep(2.0)
    rng, at = random.Random(2), time.monotonic()
    used, until = _processor_time(), at + seconds
    while (now := time.monotonic()) < until:
        await asyncio.sleep(rng.expovariate(CHANGES))
        number = rng.randrange(clusters)
        primary = world.move(number)
        _say(cluster=number, primary=primary, at=time.monotonic())
    _say(
        load=(_processor_time() - used) / (now - at), memory=_memory(), changes=sum(z.serial for z in controller.zones)
    )
    running.cancel()
    await asyncio.wait([running])


def _say(**words: Any) -> None:
    print(json.dumps(words), flush=True)


def _processor_time() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _memory() -> dict[str, float]:
    """Resident memory now and at most, in MiB."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return {key: round(int(status[name].split()[0]) / 1024, 1) for key, name in (("now", "VmRSS"), ("peak", "VmHWM"))}


class Client(asyncio.DatagramProtocol):
    """Asks for primaries' names over UDP, one question for each change that is awaited."""

    def __init__(self) -> None:
        self.awaited: dict[int, tuple[int, float]] = {}
        self.delays: list[float] = []
        self.lost = self.overtaken = 0

    def expect(self, cluster: int, primary: int, at: float) -> None:
        """A cluster has another primary since then."""
        self.overtaken += cluster in self.awaited
        self.awaited[cluster] = (primary, at)

    async def keep_asking(self, transport: asyncio.DatagramTransport) -> Never:
        """Ask in a rhythm."""
        while True:
            self.ask(transport)
            await asyncio.sleep(POLL)

    def ask(self, transport: asyncio.DatagramTransport) -> None:
        """Ask for all that is awaited."""
        for number, (_, at) in list(self.awaited.items()):
            if time.monotonic() - at > PATIENCE:
                self.lost += 1
                del self.awaited[number]
            else:
                transport.sendto(question(number))

    def datagram_received(self, data: bytes, addr: Any) -> None:
        number = int.from_bytes(data[:2], "big")
        if number not in self.awaited:
            return
        primary, at = self.awaited[number]
        if b"\x02m%d" % primary in data:
            self.delays.append(time.monotonic() - at)
            del self.awaited[number]


@cache
def question(number: int) -> bytes:
    """Who is the primary of a cluster? Its number is the query's."""
    name = service_names(domain_of(number))[SERVICES[0], Part.PRIMARY]
    return write_query(Query(number, Question(name, Kind.SRV, IN), recursion_desired=False))


async def measure(clusters: int, seconds: float, out: Path | None) -> bool:
    """Run the publisher, ask it, print what was found; say whether it is within the limits."""
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.figures.clusters", "--publish"),
        *("--clusters", str(clusters), "--seconds", str(seconds)),
        stdout=subprocess.PIPE,
    )
    told = cast("asyncio.StreamReader", child.stdout)
    found: dict[str, Any] = {}

    client, transport = Client(), None
    try:
        async for line in told:
            words = json.loads(line)
            if "cluster" in words:
                client.expect(**words)
                continue
            found |= words
            if transport is None:
                transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
                    lambda: client, remote_addr=("127.0.0.1", words["port"])
                )
                asking = asyncio.create_task(client.keep_asking(transport), name="questions")
        await child.wait()
    finally:
        if transport is not None:
            asking.cancel()
            transport.close()
        if child.returncode is None:
            child.terminate()
            await child.wait()
    return report(client, found, clusters, seconds, out)


def report(client: Client, found: dict[str, Any], clusters: int, seconds: float, out: Path | None) -> bool:
    """Print the figures, and say whether they are within the limits."""
    delays = sorted(client.delays)
    if not delays or "load" not in found:
        print("the publisher ended before it was measured", file=sys.stderr)
        return False
    figures = {
        "clusters": clusters,
        "members": clusters * MEMBERS,
        "seconds": seconds,
        "answered_changes": len(delays),
        "overtaken_changes": client.overtaken,
        "lost_changes": client.lost,
        "delay_seconds": {
            "median": round(statistics.median(delays), 3),
            "p99": round(delays[min(len(delays) - 1, int(len(delays) * 0.99))], 3),
            "max": round(delays[-1], 3),
        },
        "cores": round(found["load"], 3),
        "memory_mib": found["memory"],
        "first_answers_seconds": round(found["began"], 2),
    }
    text = json.dumps(figures, indent=2)
    print(text)
    if out is not None:
        out.write_text(text + "\n", encoding="utf-8")
    return not client.lost and delays[-1] <= LIMIT and found["load"] < LIMIT


def main() -> int:
    """Measure, or be what is measured."""
    parser = argparse.ArgumentParser(prog="python -m bench.figures.clusters", description=__doc__)
    parser.add_argument("--clusters", type=int, default=1000, help="default: 1000")
    parser.add_argument("--seconds", type=float, default=30.0, help="to measure for (default: 30)")
    parser.add_argument("--out", type=Path, help="write the figures here too, as JSON")
    parser.add_argument("--publish", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.publish:
        uvloop.run(publish(args.clusters, args.seconds))
        return 0
    return 0 if asyncio.run(measure(args.clusters, args.seconds, args.out)) else 1


if __name__ == "__main__":
    sys.exit(main())
