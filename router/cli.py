"""The `fairlead` command: finds subcommands among the installed entry points and runs one.

Knows none of them by name, so that every package can bring its own without being imported by the others.
"""

from __future__ import annotations

import argparse
import inspect
import os
import sys
from collections.abc import Sequence
from importlib.metadata import entry_points, version

from router import logs

GROUP = "fairlead.commands"
INTERRUPTED = 130  # 128 + SIGINT, as shells report it


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand and return its exit status."""
    parser = argparse.ArgumentParser(
        prog="fairlead", description="A routing proxy for MySQL, and what belongs to it.", allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"fairlead {version('fairlead')}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name):
        register = entry.load()
        words = inspect.getdoc(register) or ""
        subparser = subparsers.add_parser(
            entry.name,
            help=words.partition("\n")[0],
            description=words,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        subparser.set_defaults(run=register(subparser))
    args = parser.parse_args(argv)
    # What runs for long has the option, or says its level in a file; what ends soon just prints.
    logs.start(getattr(args, "log_level", "WARNING") or "INFO")
    try:
        status: int = args.run(args)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our output went away, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return status


if __name__ == "__main__":
    sys.exit(main())
