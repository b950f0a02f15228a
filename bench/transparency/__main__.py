"""`make transparency`: suites of other projects have the same outcome, test by test, through the router as direct."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

from bench.demo.run import DemoError
from bench.sandbox.errors import SandboxError
from bench.transparency.outcomes import render
from bench.transparency.runs import compare_suite, standing
from bench.transparency.suites import SUITES

INTERRUPTED = 130  # as shells have it


def main() -> int:
    """Run the suites, print what differs, and keep the reports. Status 1 where something does, 2 where none can run."""
    parser = argparse.ArgumentParser(prog="python -m bench.transparency", description=__doc__)
    parser.add_argument("suites", nargs="*", metavar="SUITE", help=f"of {', '.join(SUITES)} (default: all)")
    parser.add_argument("--part", action="store_true", help="the short part that the tests run")
    parser.add_argument("--output", type=Path, default=Path("build/transparency"), help="for reports and logs")
    args = parser.parse_args()
    unknown = [name for name in args.suites if name not in SUITES]
    if unknown:
        parser.error(f"there is no suite {unknown[0]}: choose from {', '.join(SUITES)}")
    output = args.output.resolve() / time.strftime("%Y%m%d-%H%M%S")
    same = True
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a polite end is Ctrl-C's: everything is struck
    try:
        with tempfile.TemporaryDirectory(prefix="fl-", dir="/tmp") as name, standing(Path(name), _tell) as bench:
            output.mkdir(parents=True)
            for suite in args.suites or SUITES:
                work = output / suite
                began = time.monotonic()
                found = compare_suite(bench, SUITES[suite], work, whole=not args.part, progress=_tell)
                (work / "comparison.json").write_text(json.dumps(asdict(found), indent=2) + "\n", encoding="utf-8")
                print(f"{render(suite, found)} ({time.monotonic() - began:.0f} s; {work})", flush=True)
                same = same and found.same
    except (DemoError, SandboxError) as exc:
        print(f"transparency: {exc}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("transparency: interrupted; what was started has ended", file=sys.stderr)
        return INTERRUPTED
    return 0 if same else 1


def _tell(words: str) -> None:
    print(f"transparency: {words}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
