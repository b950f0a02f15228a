"""`fairlead resolve` and `fairlead srv serve`. Owns their arguments and words; imports the rest when run."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from cluster.commands import PASSWORD_VARIABLE, read_password

if TYPE_CHECKING:
    import ssl

    from srv.lookup import Lookup
    from srv.probed import Settings
    from srv.server import Address

CANNOT_TELL = 2  # as `presentation` has it
DONE, FAILED, USAGE = 0, 1, 2
DNS_PORT = 53
DEFAULT_LISTEN = "127.0.0.1:5353"
KEEP_ROLES_LIMIT = 86400  # seconds; whoever believes in roles longer than a day does not follow a group


def resolve(parser: argparse.ArgumentParser) -> Callable[[argparse.Namespace], int]:
    """Look SRV names up and print the targets in the order of use.

    Exit status 0: there is an answer; 1: decidedly not (no such name, an empty set, "."); 2: cannot tell.
    """
    parser.add_argument(
        "name",
        help="an SRV name (_mysql._tcp.…), or a cluster's domain for all its names; with a final dot it is not searched"
        " for under the domains of /etc/resolv.conf",
    )
    parser.add_argument(
        "--resolver",
        action="append",
        metavar="ADDR[:PORT]",
        help="ask this name server for the name as it stands; may be repeated (default: /etc/resolv.conf, with its"
        " search list)",
    )
    parser.add_argument(
        "--timeout", type=float, metavar="SECONDS", help="a try (default: what /etc/resolv.conf says, else 1)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    return _resolve


def srv(parser: argparse.ArgumentParser) -> Callable[[argparse.Namespace], int]:
    """Publish a cluster's SRV records."""
    commands = parser.add_subparsers(dest="srv_command", metavar="COMMAND", required=True)
    serve = commands.add_parser(
        "serve",
        help="follow a group and serve its zone over DNS",
        description="Follow a group and serve its zone over DNS, until SIGTERM or SIGINT.",
    )
    serve.add_argument("--domain", required=True, help="the cluster's domain, such as orders.db.example.com")
    serve.add_argument(
        "--listen",
        action="append",
        metavar="ADDR:PORT",
        help=f"serve here over UDP and TCP; may be repeated (default: {DEFAULT_LISTEN})",
    )
    serve.add_argument(
        "--member",
        action="append",
        required=True,
        metavar="NAME=HOST[:PORT[/XPORT]]",
        help="a member of the group, published as NAME.DOMAIN; may be repeated (default ports: 3306/33060)",
    )
    serve.add_argument("--probe-user", required=True, metavar="USER", help="the account to ask the members with")
    serve.add_argument(
        "--probe-password-file", metavar="FILE", help=f"its password, the first line (default: ${PASSWORD_VARIABLE})"
    )
    serve.add_argument("--tls-ca", metavar="FILE", help="probe over TLS only, to members certified by these CAs")
    serve.add_argument("--ttl", type=int, default=5, metavar="SECONDS", help="of all records (default: 5)")
    serve.add_argument(
        "--interval", type=float, default=0.5, metavar="SECONDS", help="between looks at a member (default: 0.5)"
    )
    serve.add_argument(
        "--keep-roles",
        type=float,
        default=30.0,
        metavar="SECONDS",
        help="publish the last known roles for so long while no member answers; after that they fail (default: 30)",
    )
    serve.add_argument("--log-level", default="INFO", choices=["DEBUG", "INFO", "WARNING", "ERROR"])
    serve.add_argument(
        "--listed-only", action="store_true", help="publish no members that only the group's own view names"
    )
    return _serve


def _resolve(args: argparse.Namespace) -> int:
    import asyncio
    import json
    import math
    import random

    from srv.names import canonical
    from srv.presentation import as_json, as_text, exit_status
    from srv.resolver import Resolver
    from srv.zone import service_names

    try:
        name = canonical(args.name)
        names = [name] if name.startswith("_") else [canonical(each) for each in service_names(name).values()]
        if args.name.endswith("."):
            names = [f"{each}." for each in names]
        if args.timeout is not None and not 0 < args.timeout < math.inf:
            raise ValueError(f"--timeout {args.timeout:g}: wanted a number of seconds above zero")
        nameservers = [_address(text, DNS_PORT) for text in args.resolver] if args.resolver else None
        resolver = Resolver(nameservers, timeout=args.timeout)
    except ValueError as exc:
        print(f"fairlead resolve: {exc}", file=sys.stderr)
        return CANNOT_TELL

    async def look() -> list[Lookup]:
        return list(await asyncio.gather(*map(resolver.srv, names)))

    lookups = asyncio.run(look())
    rng = random.Random()
    if args.json:
        print(json.dumps(as_json(lookups, rng), indent=2))
    else:
        print("\n\n".join(as_text(lookup, rng) for lookup in lookups))
    return exit_status([lookup.outcome for lookup in lookups])


def _serve(args: argparse.Namespace) -> int:
    import uvloop

    from cluster.access import Access
    from cluster.watch import Timing, Watch
    from srv.controller import Controller, run_until_stopped
    from srv.probed import ProbedGroup
    from srv.publisher import PublishError
    from srv.server import Server
    from xproto.session import Login, TlsMode

    try:
        listen = [_address(text, None) for text in args.listen or [DEFAULT_LISTEN]]
        if len(set(listen)) < len(listen):
            raise ValueError("--listen: one address is given twice; leave one out")
        if not 0.01 <= args.interval <= 60:
            raise ValueError(f"--interval {args.interval}: wanted 0.01 to 60 seconds")
        if not 0 <= args.keep_roles <= KEEP_ROLES_LIMIT:
            raise ValueError(f"--keep-roles {args.keep_roles:g}: wanted 0 to {KEEP_ROLES_LIMIT} seconds")
        settings = _settings(args, listen)
        login = Login(args.probe_user, read_password(args.probe_password_file, "--probe-password-file"))
        access = Access(login)
        if args.tls_ca:
            access = Access(login, TlsMode.REQUIRED, _tls(args.tls_ca))
    except ValueError as exc:
        print(f"fairlead srv serve: {exc}", file=sys.stderr)
        return USAGE
    server = Server(listen)

    async def serve() -> None:
        group = ProbedGroup(settings, Watch(access, timing=Timing(poll=args.interval)))
        own = tuple(host for host, _ in listen)
        signalled = await run_until_stopped(Controller([group], [server], nameserver_addresses=own))
        if signalled:
            logging.getLogger("fairlead.srv").info("stopped signal=%s", signalled.name)

    try:
        uvloop.run(serve())
    except PublishError as exc:
        print(f"fairlead srv serve: {exc}", file=sys.stderr)
        return FAILED
    return DONE


def _settings(args: argparse.Namespace, listen: list[Address]) -> Settings:
    import ipaddress

    from srv.names import canonical
    from srv.probed import Settings
    from srv.publication import desired_of, parse_known

    members = tuple(parse_known(text) for text in args.member)
    for host, port in listen:
        if ipaddress.ip_address(host).is_unspecified:
            where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
            raise ValueError(
                f"--listen {where}: name the address that clients ask (repeat --listen for more): the zone tells"
                " it, and replies come from it"
            )
    own = tuple(host for host, _ in listen)
    settings = Settings(canonical(args.domain), members, args.ttl, not args.listed_only, args.keep_roles)
    # Laid out once with stand-in addresses, so that what cannot be published shows here and not when it runs.
    stand_ins = {one.host: ("192.0.2.1",) for one in members}
    desired = desired_of(settings.domain, members, stand_ins, None, ttl=args.ttl)
    desired.zone(serial=1, nameserver_addresses=own)
    return settings


def _tls(ca_file: str) -> ssl.SSLContext:
    """Checks the chain and not the name: the certificates that MySQL makes for itself bear no host names."""
    import ssl

    try:
        context = ssl.create_default_context(cafile=ca_file)
    except OSError as exc:  # an SSLError is one
        raise ValueError(f"--tls-ca {ca_file}: {exc.strerror or exc}; wanted a file of PEM certificates") from exc
    context.check_hostname = False
    return context


def _address(text: str, default_port: int | None) -> Address:
    """Read an IP address with a port, `[ADDRESS]:PORT` for IPv6."""
    import ipaddress

    from cluster.members import parse_endpoint

    endpoint = parse_endpoint(text, default_port or 0)
    if endpoint.port == 0:
        raise ValueError(f"{text!r}: the port is missing; write ADDRESS:PORT")
    try:
        ipaddress.ip_address(endpoint.host)
    except ValueError as exc:
        raise ValueError(f"{text!r}: wanted an IP address, and {endpoint.host!r} is none") from exc
    return endpoint.host, endpoint.port
