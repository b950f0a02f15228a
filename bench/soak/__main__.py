"""`python -m bench.soak`: mixed load through a real router before a real group, with trouble all the while.

Kills, cuts, freezes and switchovers of members, reloads and upgrades of the router, in an order that is drawn from a
seed. At the end no acknowledged write may be missing, no session unaccounted for, and no process may have grown.
Writes what was found, the samples and a picture below --out; exit status 1 where something does not hold.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import uvloop

from bench.demo.drivers import DriverError
from bench.demo.run import DemoError
from bench.demo.stage import arrange
from bench.sandbox.errors import SandboxError
from bench.sandbox.sandbox import Sandbox
from bench.soak import findings, plot
from bench.soak.course import perform
from bench.soak.record import Plan, Record
from bench.soak.steps import BAG, Kind

OUT = Path("build") / "soak"
MINUTES = 30.0
FAILURES = (DemoError, SandboxError, DriverError, TimeoutError, OSError)


def soak(directory: Path, plan: Plan) -> Record:
    """Bring a group up, run the plan on it, and end everything whatever happens."""
    sandbox = Sandbox(directory / "s", members=3, progress=_tell)
    stage = arrange(sandbox, directory)
    try:
        sandbox.up()
        return uvloop.run(perform(stage, plan, _tell))
    finally:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # once is enough: what follows is bounded
            signal.signal(number, signal.SIG_IGN)
        stage.children.end()
        sandbox.down(purge=True)


def save(record: Record, out: Path) -> None:
    """Write what was found, and the picture."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "soak.json").write_text(findings.encode(record), encoding="utf-8")
    (out / "soak.txt").write_text(findings.terminal(record) + "\n", encoding="utf-8")
    (out / "soak.svg").write_text(plot.draw(record), encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run; 0 where everything holds, 1 where something does not, 2 where it could not be run."""
    args = _parser().parse_args(arguments)
    plan = Plan(args.minutes * 60, args.seed, tuple(args.only))
    for number in (signal.SIGTERM, signal.SIGHUP):  # a polite end is Ctrl-C's
        signal.signal(number, _interrupt)
    print(f"soak: {plan.seconds:.0f} s with seed {plan.seed}; the same again with --seed {plan.seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="fl-", dir="/tmp") as name:  # short, since sockets are in it
        try:
            record = _attempt(Path(name), plan)
        except KeyboardInterrupt:
            return 130
        finally:
            log = Path(name) / "router.log"
            if log.exists():
                args.out.mkdir(parents=True, exist_ok=True)
                (args.out / log.name).write_bytes(log.read_bytes())
    if record is None:
        return 2
    save(record, args.out)
    print(findings.terminal(record))
    print(f"soak: written below {args.out}")
    return 0 if all(one.holds for one in findings.findings(record)) else 1


def _attempt(directory: Path, plan: Plan) -> Record | None:
    """Soak; None where that cannot be, which has been told then."""
    record = None
    try:
        record = soak(directory, plan)
    except* FAILURES as group:
        for error in _leaves(group):
            print(f"soak: {error or type(error).__name__}", file=sys.stderr)
    return record


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=__doc__)
    minutes = float(os.environ.get("MINUTES") or MINUTES)
    parser.add_argument("--minutes", type=float, default=minutes, help=f"of load (default: {minutes:g}, or MINUTES=…)")
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000), help="of the trouble (default: any)")
    kinds = ",".join(Kind)
    parser.add_argument(
        "--only",
        type=lambda text: [Kind(one) for one in text.split(",")],
        default=list(BAG),
        help=f"kinds of trouble, of {kinds} (default: all)",
    )
    parser.add_argument("--out", type=Path, default=OUT, help=f"directory (default: {OUT})")
    return parser


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    return [
        leaf for one in group.exceptions for leaf in (_leaves(one) if isinstance(one, BaseExceptionGroup) else [one])
    ]


def _tell(text: str) -> None:
    print(f"soak: {text}", flush=True)


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
