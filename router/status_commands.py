"""`fairlead status` and `fairlead top`: what a running router sees and does."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from router.api import Door

FAILED, USAGE = 1, 2
TOKEN, PASSWORD = "FAIRLEAD_ADMIN_TOKEN", "FAIRLEAD_ADMIN_PASSWORD"


def status(parser: argparse.ArgumentParser) -> Callable[[argparse.Namespace], int]:
    """Show what a running router sees and does."""
    _add_door(parser)
    parser.add_argument("--json", action="store_true", help="print a JSON document")
    return _run_status


def top(parser: argparse.ArgumentParser) -> Callable[[argparse.Namespace], int]:
    """Watch a running router: members, routes, rates, workers and what happens. Ends on q or Ctrl-C."""
    _add_door(parser)
    parser.add_argument("--interval", type=float, default=1.0, metavar="SECONDS", help="between looks (default 1)")
    parser.add_argument("--once", action="store_true", help="look twice, print one screen, and end; for pipes")
    return _run_top


def _add_door(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--admin",
        default="127.0.0.1:8443",
        metavar="ADDR:PORT|URL",
        help="the router's HTTP listener (default 127.0.0.1:8443); https://… where it speaks TLS",
    )
    parser.add_argument("--token-file", type=Path, metavar="FILE", help=f"a token in its first line; else ${TOKEN}")
    parser.add_argument("--user", metavar="USER", help="a user of its users_file")
    parser.add_argument("--password-file", type=Path, metavar="FILE", help=f"the user's password; else ${PASSWORD}")
    parser.add_argument("--ca", type=Path, metavar="FILE", help="the authorities to believe, PEM; else the system's")
    parser.add_argument(
        "--fingerprint", default="", metavar="SHA256", help="believe the certificate of this fingerprint, as logged"
    )


class _UsageError(Exception):
    """The arguments do not go together, or name what cannot be read."""


def _door(args: argparse.Namespace) -> Door:
    from urllib.parse import urlsplit

    from router.api import Door, basic, bearer

    authorization = ""
    if args.user is not None:
        password = _secret(args.password_file, PASSWORD)
        if not password:
            raise _UsageError(f"--user needs a password: name a file with --password-file, or set {PASSWORD}")
        authorization = basic(args.user, password)
    elif token := _secret(args.token_file, TOKEN):
        authorization = bearer(token)
    if args.ca is not None and not args.ca.is_file():
        raise _UsageError(f"--ca {args.ca}: there is no such file")
    door = Door(args.admin, authorization, args.ca, args.fingerprint)
    if authorization and urlsplit(door.url).scheme == "http" and not _is_loopback(door.url):
        raise _UsageError(f"a credential would cross the network in clear; write --admin https://{args.admin}")
    return door


def _secret(file: Path | None, variable: str) -> str:
    if file is None:
        return os.environ.get(variable, "")
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as exc:
        raise _UsageError(f"{file}: {getattr(exc, 'strerror', None) or 'is not UTF-8'}") from exc
    if not lines or not lines[0]:
        raise _UsageError(f"{file}: its first line must be the secret")
    return lines[0]


def _is_loopback(url: str) -> bool:
    import ipaddress
    from urllib.parse import urlsplit

    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _tell(command: str, args: argparse.Namespace, work: Callable[[Door], None]) -> int:
    from router.api import NoRouterError
    from router.printable import printable

    try:
        work(_door(args))
    except (_UsageError, ValueError) as error:
        print(f"fairlead {command}: {error}", file=sys.stderr)
        return USAGE
    except KeyError as error:
        words = f"the answer of {args.admin} lacks {error}: not a Fairlead router?"
        print(f"fairlead {command}: {words}", file=sys.stderr)
        return FAILED
    except NoRouterError as error:
        # What it answered is somebody's text.
        words = f"no router answers at {args.admin}: {printable(str(error))}; name it with --admin"
        print(f"fairlead {command}: {words}", file=sys.stderr)
        return FAILED
    return 0


def _run_status(args: argparse.Namespace) -> int:
    import json

    from router.api import ask
    from router.tables import status_tables

    def show(door: Door) -> None:
        documents = {key: ask(door, f"/api/v1/{key}") for key in ("topology", "routes", "workers")}
        merged = {key: value for document in documents.values() for key, value in document.items()}
        print(json.dumps(merged, indent=2) if args.json else status_tables(merged))

    return _tell("status", args, show)


def _run_top(args: argparse.Namespace) -> int:
    from router.top import watch

    if not 0.1 <= args.interval <= 3600:
        print("fairlead top: --interval must be from 0.1 to 3600 seconds", file=sys.stderr)
        return USAGE
    return _tell("top", args, lambda door: watch(door, args.interval, once=args.once))
