"""`fairlead demo`: its arguments and its words. Cheap to import."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

OK, FAILED = 0, 1


def demo(parser: argparse.ArgumentParser) -> Callable[[argparse.Namespace], int]:
    """See everything work on real MySQL servers: failovers under load, and what they cost.

    Exit status 0 only if no acknowledged write is missing and routing recovered from every event.
    KEEP=1 in the environment leaves all running and prints how to connect.
    """
    parser.add_argument("--switchovers", type=int, default=1, metavar="N", help="planned switchovers (default 1)")
    parser.add_argument("--kills", type=int, default=1, metavar="N", help="kill -9 of the primary (default 1)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the summary there, too")
    parser.add_argument("--dir", type=Path, metavar="DIR", help="where to keep state and logs")
    parser.add_argument("--end", action="store_true", help="end what an earlier run with KEEP=1 left running")
    return _run


def _run(args: argparse.Namespace) -> int:
    try:
        import uvloop

        from bench.demo.children import Children, DamagedRecordError
        from bench.demo.drivers import DriverError
        from bench.demo.run import DemoError, Plan, perform, save, summary_lines
        from bench.demo.show import Show
        from bench.demo.stage import how_to_connect, set_up, strike
        from bench.sandbox.errors import SandboxError
    except ModuleNotFoundError as exc:
        print(f"fairlead demo: {exc.name} is not installed: pip install 'fairlead[demo]'", file=sys.stderr)
        return FAILED
    import signal

    if args.switchovers < 0 or args.kills < 0:
        print("fairlead demo: --switchovers and --kills must be 0 or more", file=sys.stderr)
        return FAILED
    for number in (signal.SIGTERM, signal.SIGHUP):  # a polite end is Ctrl-C's: everything is struck
        signal.signal(number, _interrupt)
    directory = (args.dir or _default_directory()).expanduser().resolve()
    try:
        Children(directory)
        if args.end:
            print("ended" if strike(directory) else "nothing was running")
            return OK
    except (DamagedRecordError, SandboxError) as error:
        print(f"fairlead demo: {error}", file=sys.stderr)
        return FAILED
    plan = Plan(args.switchovers, args.kills, keep=os.environ.get("KEEP", "") not in {"", "0"})
    keep = False
    with Show() as show:
        try:
            stage = set_up(directory, show.event)
            summary = uvloop.run(perform(stage, plan, show))
            show.text("\n" + summary_lines(summary))
            if args.json:
                save(summary, args.json)
            if plan.keep:
                keep = True
                show.text("\n" + how_to_connect(stage, directory))
            return FAILED if summary["writes_missing"] else OK
        except* (DemoError, SandboxError, DriverError, OSError) as group:
            for one in _leaves(group):
                show.text(f"fairlead demo: {one}")
            return_status = FAILED
        finally:
            if not keep:
                for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # once is enough: what follows is bounded
                    signal.signal(number, signal.SIG_IGN)
                show.event("ending everything in order")
                strike(directory)
    return return_status


def _leaves(group: BaseExceptionGroup[Any]) -> list[BaseException]:
    return [
        leaf for one in group.exceptions for leaf in (_leaves(one) if isinstance(one, BaseExceptionGroup) else [one])
    ]


def _default_directory() -> Path:
    state = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(state).expanduser() / "fairlead" / "demo"


def _interrupt(number: int, frame: Any) -> NoReturn:
    raise KeyboardInterrupt
