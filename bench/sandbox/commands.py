"""`fairlead sandbox`: words of the command line, and what they say to a person. Cheap to import."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from bench.sandbox.sandbox import Sandbox

OK = 0
FAILED = 1
NOT_UP = 3
MODES = ("single-primary", "multi-primary", "replication")
INTERRUPTIONS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

Run = Callable[[argparse.Namespace], int]


def sandbox(parser: argparse.ArgumentParser) -> Run:
    """Run a real MySQL group on this machine, and do to it what befalls a cluster."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")

    up = _action(actions, "up", "start it, with the data it had; a second time does nothing")
    up.add_argument("--members", type=int, metavar="N", help="how many members a new one has (1-9, default 3)")
    up.add_argument("--mode", choices=MODES, help="of a new one (default single-primary)")
    up.add_argument(
        "--mysqld", metavar="PATH", help="the server program (else FAIRLEAD_MYSQLD, PATH, or a private one is fetched)"
    )

    status = _action(actions, "status", "show every member; exits 0 if all are ONLINE, 1 if not, 3 if it is not up")
    status.add_argument("--json", action="store_true", help="as JSON")
    env = _action(actions, "env", "print endpoints and accounts for scripts")
    env.add_argument("--json", action="store_true", help="as JSON, with passwords (else shell exports)")

    sql = _action(actions, "sql", "run a statement on a member as its administrator", member=True)
    sql.add_argument("statement", metavar="STATEMENT")
    _action(actions, "stop", "end a member's server in order", member=True)
    _action(actions, "start", "start a member's server and wait until it is ONLINE", member=True)
    _action(actions, "kill", "kill a member's server (SIGKILL)", member=True)
    _action(actions, "freeze", "stop a member's server where it stands (SIGSTOP)", member=True)
    _action(actions, "switch", "make a member the primary, in order", member=True)

    cut = _action(actions, "cut", "drop a member's packets", member=True)
    cut.add_argument(
        "--from", dest="side", required=True, choices=["peers", "clients", "all"], help="cut off from whom"
    )
    cut.add_argument("--direction", choices=["in", "out", "both"], default="both", help="as the member sees it")
    _action(
        actions, "heal", "let a member's packets pass and its server go on, and wait until it is ONLINE", member=True
    )

    down = _action(actions, "down", "end it and leave the machine as it was")
    down.add_argument("--purge", action="store_true", help="delete its directory too")
    return run


def run(arguments: argparse.Namespace) -> int:
    """Do what the command line says and return the exit status."""
    from pathlib import Path

    try:
        from bench.sandbox.errors import NotUpError, SandboxError
        from bench.sandbox.record import Mode
        from bench.sandbox.sandbox import Sandbox
    except ModuleNotFoundError as exc:
        print(f"fairlead sandbox: {exc.name} is not installed: pip install 'fairlead[demo]'", file=sys.stderr)
        return FAILED

    for number in INTERRUPTIONS:
        # nohup(1) has it ignored.
        if number is not signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _interrupt)
    try:
        target = Sandbox(
            Path(arguments.dir) if arguments.dir else None,
            members=getattr(arguments, "members", None),
            mode=Mode(arguments.mode) if getattr(arguments, "mode", None) else None,
            mysqld=Path(arguments.mysqld) if getattr(arguments, "mysqld", None) else None,
            progress=_tell,
        )
        return ACTIONS[arguments.action](target, arguments)
    except NotUpError as exc:
        print(f"fairlead sandbox: {exc}", file=sys.stderr)
        return NOT_UP
    except SandboxError as exc:
        print(f"fairlead sandbox: {exc}", file=sys.stderr)
        return FAILED
    except BrokenPipeError:
        raise
    except OSError as exc:
        where = f"{exc.filename}: " if exc.filename else ""
        print(f"fairlead sandbox: {where}{exc.strerror or exc}", file=sys.stderr)
        return FAILED


def _tell(text: str) -> None:
    # The terminal may be gone, and what was begun is cleaned up all the same.
    with suppress(OSError):
        print(f"fairlead sandbox: {text}", file=sys.stderr, flush=True)


def _interrupt(number: int, frame: Any) -> NoReturn:
    """Interrupt once: what was begun is cleaned up, and nobody's second Ctrl-C stops that."""
    for each in INTERRUPTIONS:
        signal.signal(each, signal.SIG_IGN)
    raise KeyboardInterrupt


def _action(actions: Any, name: str, summary: str, *, member: bool = False) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = actions.add_parser(name, help=summary, description=f"{summary}.")
    parser.add_argument(
        "--dir", metavar="DIR", help="the sandbox's directory (default ~/.local/state/fairlead/sandbox)"
    )
    if member:
        parser.add_argument("member", metavar="MEMBER", help="mysql-0, mysql-1, …")
    return parser


def _up(target: Sandbox, arguments: argparse.Namespace) -> int:
    from bench.sandbox.report import status_table

    began = time.monotonic()
    if target.up():
        print(f"up in {time.monotonic() - began:.1f} s, in {target.dir}")
    else:
        print(f"already up in {target.dir}")
    print(status_table(target.status()), end="")
    return OK


def _status(target: Sandbox, arguments: argparse.Namespace) -> int:
    from bench.sandbox.report import status_table

    status = target.status()
    if arguments.json:
        print(json.dumps(status.document(), indent=2))
    else:
        print(status_table(status), end="")
    return OK if status.all_online else FAILED


def _env(target: Sandbox, arguments: argparse.Namespace) -> int:
    from bench.sandbox.report import shell_exports

    document = target.env()
    print(json.dumps(document, indent=2) if arguments.json else shell_exports(document), end="\n" * arguments.json)
    return OK


def _sql(target: Sandbox, arguments: argparse.Namespace) -> int:
    from bench.sandbox.report import table

    result = target.sql(arguments.member, arguments.statement)
    if result.columns:
        print(table(result.columns, result.rows), end="")
    return OK


def _stop(target: Sandbox, arguments: argparse.Namespace) -> int:
    return _timed(lambda: target.stop(arguments.member), f"{arguments.member} stopped")


def _start(target: Sandbox, arguments: argparse.Namespace) -> int:
    return _timed(lambda: target.start(arguments.member), f"{arguments.member} is ONLINE")


def _kill(target: Sandbox, arguments: argparse.Namespace) -> int:
    return _timed(lambda: target.kill(arguments.member), f"{arguments.member} killed")


def _freeze(target: Sandbox, arguments: argparse.Namespace) -> int:
    return _timed(lambda: target.freeze(arguments.member), f"{arguments.member} is frozen")


def _switch(target: Sandbox, arguments: argparse.Namespace) -> int:
    return _timed(lambda: target.switch(arguments.member), f"{arguments.member} is the primary")


def _cut(target: Sandbox, arguments: argparse.Namespace) -> int:
    target.cut(arguments.member, arguments.side, arguments.direction)
    print(f"{arguments.member} is cut from {arguments.side} ({arguments.direction})")
    return OK


def _heal(target: Sandbox, arguments: argparse.Namespace) -> int:
    return _timed(lambda: target.heal(arguments.member), f"{arguments.member} is healed")


def _down(target: Sandbox, arguments: argparse.Namespace) -> int:
    if target.down(purge=arguments.purge):
        print(f"down{' and deleted' if arguments.purge else ''}: {target.dir}")
    else:
        print(f"no sandbox in {target.dir}")
    return OK


def _timed(call: Callable[[], None], done: str) -> int:
    began = time.monotonic()
    call()
    print(f"{done} ({time.monotonic() - began:.1f} s)")
    return OK


ACTIONS: dict[str, Callable[[Sandbox, argparse.Namespace], int]] = {
    "up": _up,
    "status": _status,
    "env": _env,
    "sql": _sql,
    "stop": _stop,
    "start": _start,
    "kill": _kill,
    "freeze": _freeze,
    "switch": _switch,
    "cut": _cut,
    "heal": _heal,
    "down": _down,
}
