"""What watching a cluster at rest costs: processor time and memory of a watch over real members.

`python -m bench.figures.health [MEMBERS] [SECONDS]`: brings a sandbox up, watches it as the router does, takes it down.
The ways of watching take turns, a few seconds each, and the least and the median of their shares are told: the least is
what the watch itself costs, for whatever else a machine does (or its host does to it) only adds.
"""

from __future__ import annotations

import asyncio
import resource
import statistics
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import uvloop

from bench.sandbox.sandbox import Sandbox
from cluster.access import Access
from cluster.members import Endpoint, Member
from cluster.topology import Trust
from cluster.watch import Timing, Watch
from xproto.session import Login

WAYS = {"polls and notices": Timing(), "polls alone": Timing(notice_interval=3600.0)}
TURN = 5.0  # seconds
SETTLE = 3.0  # seconds before the measurement: connecting and logging in are not rest


async def measure(sandbox: Sandbox, timing: Timing, seconds: float) -> tuple[float, int]:
    """Watch the members for so long and return the share of a core that it takes, and the looks that were made."""
    account = sandbox.accounts["probe"]
    looks = 0

    def count(_: object) -> None:
        nonlocal looks
        looks += 1

    watch = Watch(Access(Login(account.user, account.password)), timing=timing, on_observation=count)
    watch.set_members(
        Member(one.name, Endpoint(one.host, one.port), Endpoint(one.host, one.x_port)) for one in sandbox.members
    )
    task = asyncio.create_task(watch.run(), name="watch")
    try:
        await asyncio.sleep(SETTLE)
        if watch.topology.trust is not Trust.QUORUM or task.done():
            raise SystemExit(f"the cluster is not well: {watch.topology.reason}")
        looks = 0
        began, before = time.monotonic(), time.process_time()
        await asyncio.sleep(seconds)
        return (time.process_time() - before) / (time.monotonic() - began), looks
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def main() -> None:
    """Measure each way of watching so many seconds, and print a line for it."""
    members = int(sys.argv[1]) if len(sys.argv) > 1 else 9
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 60.0
    shares: dict[str, list[float]] = {words: [] for words in WAYS}
    looks = 0
    with tempfile.TemporaryDirectory(prefix="fl-", dir="/tmp") as directory:
        sandbox = Sandbox(Path(directory) / "s", members=members, progress=print)
        try:
            sandbox.up()
            for _ in range(max(1, round(seconds / TURN))):
                for words, timing in WAYS.items():
                    share, looks = uvloop.run(measure(sandbox, timing, TURN))
                    shares[words].append(share)
        finally:
            sandbox.down(purge=True)
    for words, found in shares.items():
        told = f"at least {min(found):.2%} of a core, median {statistics.median(found):.2%}, of {len(found)} turns"
        print(f"{members} members, {looks / TURN:.0f} looks a second, {words}: {told}")
    print(f"peak memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


if __name__ == "__main__":
    main()
