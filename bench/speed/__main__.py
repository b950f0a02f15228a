"""`python -m bench.speed`: how fast the router is beside MySQL Router and HAProxy, in paired rounds.

The server and the load generator share one core, and each proxy in its turn has the other to itself, with one thread.
What is decided is decided on ratios within a round. Writes rounds, tables and a picture below --out.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import NoReturn

from bench.sandbox.errors import SandboxError
from bench.speed import contest, lag, plot, proxies, sessions, summary
from bench.speed.cases import (
    IDLE,
    IDLE_BYTES,
    IDLE_REPEATS,
    IDLE_SESSIONS,
    LAG,
    LAG_ROUNDS,
    OURS,
    QUICK_LAG_ROUNDS,
    QUICK_ROUNDS,
    QUICK_SECONDS,
    QUICK_THREADS,
    ROUNDS,
    SECONDS,
    THREADS,
    VARIANTS,
    Case,
    Round,
    cases,
)
from bench.speed.ground import laid
from bench.speed.lag import Lag
from bench.speed.sessions import Idle

OUT = Path("build") / "bench" / "speed"


class Report:
    """What was measured so far, written anew after each case: an interruption loses nothing."""

    def __init__(self, directory: Path, preface: list[str]) -> None:
        self.rounds: list[Round] = []
        self.idle: list[Idle] = []
        self.lags: list[Lag] = []
        self._directory = directory
        self._preface = preface
        directory.mkdir(parents=True, exist_ok=True)

    def save(self) -> None:
        """Write everything."""
        (self._directory / "rounds.json").write_text(summary.encode(self.rounds))
        (self._directory / "idle.json").write_text(json.dumps([asdict(one) for one in self.idle], indent=1) + "\n")
        document = summary.markdown(self.rounds, self._preface)
        for title, lines in self._chapters():
            document += "\n".join(["", f"## {title}", "", *(f"- {line}" for line in lines), ""])
        (self._directory / "speed.md").write_text(document)
        (self._directory / "speed.svg").write_text(plot.draw(self.rounds))

    def show(self) -> None:
        """Print everything."""
        if self.rounds:
            print("\n" + summary.terminal(self.rounds))
        for _, lines in self._chapters():
            print("\n".join(lines))
        print(f"written to {self._directory}")

    def _chapters(self) -> list[tuple[str, list[str]]]:
        chapters = [
            ("Sessions that wait", sessions.idle_lines(self.idle, IDLE_BYTES, OURS)),
            ("Answers while sessions come", lag.lag_lines(self.lags, OURS)),
        ]
        return [(title, lines) for title, lines in chapters if lines]


def main(arguments: list[str] | None = None) -> int:
    """Measure, write, print; 0 when all was measured, whatever the verdicts, and 2 when it cannot be."""
    args = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, _interrupt)
    rounds = args.rounds or (QUICK_ROUNDS if args.quick else ROUNDS)
    seconds = args.seconds or (QUICK_SECONDS if args.quick else SECONDS)
    threads = args.threads or (QUICK_THREADS if args.quick else THREADS)
    variants = [name for name in proxies.available(group=args.group) if name in args.variants]
    report = Report(args.out, [f"{rounds} rounds of {seconds} s. {__doc__.partition(chr(10) * 2)[2].strip()}"])
    try:
        _contest(args, report, cases(threads, args.only), variants, rounds, seconds)
        if not args.group:
            _sessions(args, report, variants, rounds, seconds)
    except SandboxError as exc:
        print(f"bench: {exc}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("bench: interrupted; what was measured is written", file=sys.stderr)
        return 130
    finally:
        if report.rounds or report.idle or report.lags:
            report.save()
            report.show()
    return 0


def _contest(
    args: argparse.Namespace, report: Report, chosen: list[Case], variants: list[str], rounds: int, seconds: int
) -> None:
    if not chosen:
        return
    with _directory() as directory, laid(Path(directory), _tell, group=args.group) as ground:
        for one in contest.rounds_of(ground, chosen, variants, rounds, seconds, args.patience, _tell):
            if report.rounds and report.rounds[-1].case != one.case:
                report.save()
            report.rounds.append(one)


def _sessions(args: argparse.Namespace, report: Report, variants: list[str], rounds: int, seconds: int) -> None:
    opening, lagging, waiting = (
        not args.only or any(word in name for word in args.only) for name in (sessions.CASE, LAG, IDLE)
    )
    if not (opening or lagging or waiting):
        return
    with _directory() as name, sessions.null_ground(Path(name)) as ground:
        if opening:
            for one in sessions.rounds_of(Path(name), ground, variants, rounds, seconds, _tell):
                report.rounds.append(one)
        if lagging:
            turns = QUICK_LAG_ROUNDS if args.quick else LAG_ROUNDS
            for each in lag.lags_of(Path(name), ground, variants, turns, seconds, _tell):
                report.lags.append(each)
        if waiting:
            count = sessions.most_sessions(args.sessions)
            repeats = 1 if args.quick else IDLE_REPEATS
            _tell(f"{IDLE}: {repeats} times {count}, the most that {args.sessions} wanted and the descriptors allow")
            for found in sessions.idle_of(Path(name), ground, variants, count, repeats):
                report.idle.append(found)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.speed", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a smoke test: 3 rounds of 1 s with 8 threads")
    parser.add_argument(
        "--group",
        action="store_true",
        help="the server is the primary of three, which Fairlead finds by SRV records and MySQL Router by its metadata",
    )
    parser.add_argument("--rounds", type=int, help=f"of each case (default: {ROUNDS})")
    parser.add_argument("--seconds", type=int, help=f"of each variant in a round (default: {SECONDS})")
    parser.add_argument(
        "--patience",
        type=float,
        default=0.0,
        metavar="SECONDS",
        help="how long to wait, before each variant of a round, until nobody else uses the machine (default: not)",
    )
    parser.add_argument("--threads", type=_numbers, help="of the load generator (default: 1,8,64,256)")
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="WORD",
        help=f"cases with this in their name, as point_select/plain, {sessions.CASE}, {LAG}, {IDLE} (repeatable)",
    )
    parser.add_argument(
        "--variants", type=lambda text: text.split(","), default=list(VARIANTS), help=f"of {','.join(VARIANTS)}"
    )
    parser.add_argument(
        "--sessions", type=int, default=IDLE_SESSIONS, help="to hold while they wait (default: %(default)s)"
    )
    parser.add_argument("--out", type=Path, default=OUT, help=f"directory (default: {OUT})")
    return parser


def _numbers(text: str) -> list[int]:
    return [int(one) for one in text.split(",")]


def _directory() -> tempfile.TemporaryDirectory[str]:
    """A short path, since sockets are in it."""
    return tempfile.TemporaryDirectory(prefix="fl-", dir="/tmp")


def _tell(text: str) -> None:
    print(f"bench: {text} (load {os.getloadavg()[0]:.1f})", flush=True)


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
