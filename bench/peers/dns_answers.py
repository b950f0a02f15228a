"""How many answers a second our server gives on one core, beside Knot and BIND with the same zones on the same core.

Each server runs pinned to one core and is asked by dnsperf on another, in interleaved rounds, so that whatever else the
machine does is the same for all. `python -m bench.peers.dns_answers --help` has the choices.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import random
import re
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.peers.nameservers import Address, free_address, start
from bench.peers.root import PEERS
from bench.peers.zone_files import zone_text
from bench.sandbox.errors import SandboxError
from bench.sandbox.programs import need_program
from srv.zone import Part, Zone, ZoneMember, build_zone, service_names

OURS, RIVALS = "fairlead", ("knot", "bind")
SERVER_CORE, CLIENT_CORE = 0, 1
MANY = 1_000  # zones, one a cluster
CHANGES = 100  # zone changes a second, where they change
DISTINCT = 200_000  # questions that are never asked twice in a round
OUTSTANDING = 100  # questions without an answer yet; dnsperf's own default
CLIENTS = 4  # sockets that they come from
READY = b"ready\n"
NO_LIMIT = 1e9  # packets a second: all come from one address here. The reckoning itself is done
SEED = 20


@dataclass(frozen=True, slots=True)
class Scenario:
    """What is served and asked. `rivals` is false where the others would need another way to change their zones."""

    name: str
    zones: int
    questions: Callable[[list[Zone]], Iterator[str]]
    changes: int = 0  # a second
    rivals: bool = True


@dataclass(frozen=True, slots=True)
class Round:
    """What dnsperf saw."""

    answers: float  # a second
    busy: float  # answers in a second of the server's own time on its core: it waits where dnsperf is the slower one
    codes: frozenset[str]  # response codes that came
    lost: int
    latency: float  # milliseconds, mean


def domain(number: int) -> str:
    """The domain of a cluster."""
    return f"c{number}.demo.fairlead.test"


def zone(number: int, serial: int = 1) -> Zone:
    """A cluster of three. The primary moves with the serial."""
    parts = {label: Part.PRIMARY if label == serial % 3 else Part.REPLICAS for label in range(3)}
    members = [
        ZoneMember(f"mysql-{label}", (f"10.{number >> 8}.{number & 255}.{label + 1}",), 3306, 33060, frozenset({part}))
        for label, part in parts.items()
    ]
    return build_zone(domain(number), members, serial=serial, nameserver_addresses=("127.0.0.1",))


def usual(zones: list[Zone]) -> Iterator[str]:
    """What routers and connectors ask: the service names, and the members' addresses, each as often."""
    rng = random.Random(SEED)
    lines = [f"{name} SRV" for one in zones for name in service_names(one.origin).values()]
    lines += [f"mysql-{label}.{one.origin} A" for one in zones for label in range(3)]
    rng.shuffle(lines)
    yield from lines


def unusual(zones: list[Zone]) -> Iterator[str]:
    """Each question once: names in a case that was not there before, and one in ten that does not exist."""
    rng = random.Random(SEED)
    names = [name for one in zones for name in service_names(one.origin).values()]
    for number in range(DISTINCT):
        name = rng.choice(names)
        if number % 10 == 0:
            yield f"x{number}.{name} SRV"
        else:
            yield "".join(char.upper() if rng.random() < 0.5 else char for char in name) + " SRV"


SCENARIOS = (
    Scenario("one zone, usual questions", 1, usual),
    Scenario(f"{MANY} zones, usual questions", MANY, usual),
    Scenario(f"{MANY} zones, each question new", MANY, unusual),
    Scenario(f"{MANY} zones, {CHANGES} changes a second", MANY, usual, changes=CHANGES, rivals=False),
)


def main() -> int:
    """Measure, print, and return the exit status: 1 where the answers on one core are fewer than wanted."""
    parser = argparse.ArgumentParser(prog="python -m bench.peers.dns_answers", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="for each server (default: 3)")
    parser.add_argument("--seconds", type=int, default=3, help="a round (default: 3)")
    parser.add_argument("--at-least", type=float, default=5_000, help="answers a second wanted of ours (default: 5000)")
    parser.add_argument("--serve", nargs=3, type=int, metavar=("PORT", "ZONES", "CHANGES"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        return _serve(*args.serve)
    try:
        PEERS.ensure(print)
    except SandboxError as exc:
        print(f"bench-dns: {exc}", file=sys.stderr)
        return 2
    if (os.cpu_count() or 1) < 2:
        print("bench-dns: one core is too few: the server and its clients need one each", file=sys.stderr)
        return 2
    worst = float("inf")
    for scenario in SCENARIOS:
        worst = min(worst, _measure(scenario, args.rounds, args.seconds))
    return 0 if worst >= args.at_least else 1


def _measure(scenario: Scenario, rounds: int, seconds: int) -> float:
    """Print a scenario's figures, and return our median."""
    zones = [zone(number) for number in range(scenario.zones)]
    with tempfile.TemporaryDirectory(prefix="fl-", dir="/tmp") as name, contextlib.ExitStack() as stack:
        directory = Path(name)
        (directory / "ask").mkdir()
        (directory / "ask" / "questions").write_text("".join(f"{line}\n" for line in scenario.questions(zones)))
        address, process = stack.enter_context(_ours(scenario))
        servers = {OURS: (address, process.pid)}
        texts = {one.origin: zone_text(one) for one in zones}
        for kind in RIVALS if scenario.rivals else ():
            server = start(kind, directory / kind, texts, core=SERVER_CORE)
            stack.callback(server.stop)
            servers[kind] = (server.address, server.pid)
        found: dict[str, list[Round]] = {kind: [] for kind in servers}
        for _ in range(rounds):
            for kind, (where, pid) in servers.items():
                found[kind].append(_ask(directory / "ask", where, pid, seconds))
        memory = _resident_mib(process.pid)
    print(f"{scenario.name} ({rounds} rounds of {seconds} s each; ours has {memory:.0f} MiB)")
    median = {kind: _median(all_) for kind, all_ in found.items()}
    ours = median[OURS]
    for kind, one in median.items():
        ratio = "" if kind == OURS else f"; ours/{kind} {ours.answers / one.answers:.2f}, {ours.busy / one.busy:.2f}"
        print(
            f"  {kind:9}{one.answers:9.0f} answers a second, {one.busy:9.0f} a second of CPU,"
            f" latency {one.latency:.2f} ms, lost {one.lost}, {' '.join(sorted(one.codes))}{ratio}"
        )
    sys.stdout.flush()
    return ours.answers


def _median(rounds: list[Round]) -> Round:
    return Round(
        answers=statistics.median(each.answers for each in rounds),
        busy=statistics.median(each.busy for each in rounds),
        codes=frozenset().union(*(each.codes for each in rounds)),
        lost=sum(each.lost for each in rounds),
        latency=statistics.median(each.latency for each in rounds),
    )


@contextlib.contextmanager
def _ours(scenario: Scenario) -> Iterator[tuple[Address, subprocess.Popen[bytes]]]:
    address = free_address()
    serve = [str(number) for number in (address[1], scenario.zones, scenario.changes)]
    pin = [need_program("taskset", "util-linux"), "--cpu-list", str(SERVER_CORE)]
    process = subprocess.Popen(
        [*pin, sys.executable, "-m", "bench.peers.dns_answers", "--serve", *serve], stdout=subprocess.PIPE
    )
    try:
        if process.stdout is None or process.stdout.readline() != READY:
            raise SandboxError("our server does not come up; its complaint is above")
        yield address, process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def _ask(directory: Path, address: Address, pid: int, seconds: int) -> Round:
    pin = [need_program("taskset", "util-linux"), "--cpu-list", str(CLIENT_CORE)]
    perf = ["/usr/bin/dnsperf", "-s", address[0], "-p", str(address[1]), "-d", "/srv/questions", "-e"]
    perf += ["-l", str(seconds), "-q", str(OUTSTANDING), "-c", str(CLIENTS), "-T", "1"]
    argv = [*pin, *PEERS.enter(directory), *perf]
    before = _cpu_seconds(pid)
    said = subprocess.run(argv, check=True, capture_output=True, text=True).stdout
    return parse_dnsperf(said, _cpu_seconds(pid) - before)


def parse_dnsperf(said: str, cpu_seconds: float) -> Round:
    """Read what dnsperf prints at its end; the server took so much of its core's time meanwhile."""

    def number(pattern: str) -> float:
        match = re.search(pattern, said)
        if match is None:
            raise SandboxError(f"dnsperf says nothing of {pattern!r}:\n{said}")
        return float(match[1])

    return Round(
        answers=number(r"Queries per second:\s+([\d.]+)"),
        busy=number(r"Queries completed:\s+(\d+)") / max(cpu_seconds, 0.01),
        codes=frozenset(re.findall(r"\b([A-Z]+) \d+ \(", said)),
        lost=int(number(r"Queries lost:\s+(\d+)")),
        latency=1000 * number(r"Average Latency \(s\):\s+([\d.]+)"),
    )


def _resident_mib(pid: int) -> float:
    match = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(match[1]) / 1024 if match else 0.0


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _serve(port: int, zones: int, changes: int) -> int:
    """Be our server, until SIGTERM."""
    import uvloop

    from srv.allowance import Limits
    from srv.server import Server

    async def serve() -> None:
        served = [zone(number) for number in range(zones)]
        limits = Limits(packets=NO_LIMIT, packet_burst=NO_LIMIT, large=NO_LIMIT)
        server = Server([("127.0.0.1", port)], served, limits=limits)
        await server.start()
        ended = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
        sys.stdout.buffer.write(READY)
        sys.stdout.flush()
        number, serial = 0, 1
        while not ended.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1 / changes if changes else None):
                    await ended.wait()
            if changes:
                number = (number + 1) % zones
                serial += number == 0
                server.publish(zone(number, serial))
        await server.close()

    uvloop.run(serve())
    return 0


if __name__ == "__main__":
    sys.exit(main())
