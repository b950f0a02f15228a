"""`fairlead resolve`, `fairlead srv serve` and `fairlead srv agent`.

Owns their arguments and words; imports the rest when run.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from srv import agent_command
from srv.agent_command import add_probe_flags, refuse

if TYPE_CHECKING:
    from srv.lookup import Lookup
    from srv.server import Address
    from srv.settings import Settings

CANNOT_TELL = 2  # as `presentation` has it
DONE, FAILED = 0, 1
ONLY = "main"  # the name of what is given by flags alone
# Which flag gives which key of the configuration, so that errors speak of what was written.
SERVE_FLAGS: Mapping[str, str] = {
    "server.listen": "--listen",
    f"clusters.{ONLY}.domain": "--domain",
    f"clusters.{ONLY}.members": "--member",
    f"clusters.{ONLY}.probe_user": "--probe-user",
    f"clusters.{ONLY}.probe_password_file": "--probe-password-file",
    f"clusters.{ONLY}.probe_tls_ca": "--tls-ca",
    f"clusters.{ONLY}.ttl": "--ttl",
    f"clusters.{ONLY}.interval": "--interval",
    f"clusters.{ONLY}.keep_roles": "--keep-roles",
    f"clusters.{ONLY}.adopt": "--listed-only",
    f"clusters.{ONLY}: ": "",
}


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
    """Publish clusters' SRV records."""
    commands = parser.add_subparsers(dest="srv_command", metavar="COMMAND", required=True)
    serve = commands.add_parser(
        "serve",
        help="follow clusters and serve their zones over DNS",
        description="Follow clusters and serve their zones over DNS, until SIGTERM or SIGINT. What to follow is in a"
        " file, or, for one group, in flags.",
        allow_abbrev=False,
    )
    serve.add_argument("--config", type=Path, metavar="FILE", help="TOML configuration; no other flags go with it")
    serve.add_argument("--check", action="store_true", help="check the configuration, print what it means, and end")
    serve.add_argument("--domain", help="the cluster's domain, such as orders.db.example.com")
    serve.add_argument(
        "--listen",
        action="append",
        metavar="ADDR:PORT",
        help="serve here over UDP and TCP; may be repeated (default: 127.0.0.1:5353)",
    )
    serve.add_argument(
        "--member",
        action="append",
        metavar="NAME=HOST[:PORT[/XPORT]]",
        help="a member of the group, published as NAME.DOMAIN; may be repeated (default ports: 3306/33060; XPORT 0: it"
        " has no X Protocol)",
    )
    add_probe_flags(serve)
    serve.add_argument("--ttl", type=int, metavar="SECONDS", help="of all records (default: 5)")
    serve.add_argument(
        "--keep-roles",
        type=float,
        metavar="SECONDS",
        help="publish the last known roles for so long while no member answers; after that they fail (default: 30)",
    )
    serve.add_argument(
        "--listed-only", action="store_true", help="publish no members that only the group's own view names"
    )
    agent = commands.add_parser(
        "agent",
        help="stand beside one member and keep its key in etcd",
        description="Look at one member from beside it and keep its leased key in etcd, from which `srv serve`"
        " publishes it. SIGUSR1 drains the member, SIGUSR2 takes that back; SIGTERM or SIGINT takes the key away.",
        allow_abbrev=False,
    )
    agent_command.add_arguments(agent)
    return lambda args: (agent_command.run if args.srv_command == "agent" else _serve)(args)


def _resolve(args: argparse.Namespace) -> int:
    import asyncio
    import json
    import math
    import random

    from srv.names import canonical
    from srv.presentation import as_json, as_text, exit_status
    from srv.resolvconf import DNS_PORT
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

    from srv.assembly import assemble, check_files
    from srv.controller import run_until_stopped
    from srv.documents import DocumentError
    from srv.publisher import PublishError

    try:
        settings = _settings(args)
        controller = assemble(settings)
        if args.check:
            check_files(settings)
    except DocumentError as exc:
        return refuse("serve", exc, {} if args.config else SERVE_FLAGS)
    if args.check:
        print(_explain(settings))
        return DONE

    async def serve() -> None:
        signalled = await run_until_stopped(controller)
        if signalled:
            logging.getLogger("fairlead.srv").info("stopped signal=%s", signalled.name)

    try:
        uvloop.run(serve())
    except PublishError as exc:
        print(f"fairlead srv serve: {exc}", file=sys.stderr)
        return FAILED
    return DONE


def _settings(args: argparse.Namespace) -> Settings:
    from srv.settings import DocumentError, Settings, load, parse

    of_cluster = {
        "domain": args.domain,
        "members": args.member,
        "probe_user": args.probe_user,
        "probe_password_file": args.probe_password_file,
        "probe_tls_ca": args.tls_ca,
        "ttl": args.ttl,
        "interval": args.interval,
        "keep_roles": args.keep_roles,
        "adopt": False if args.listed_only else None,
    }
    given = {key: value for key, value in of_cluster.items() if value is not None}
    if args.config:
        if given or args.listen:
            raise DocumentError("--config: the file says everything; leave the other flags out")
        return load(args.config)
    document: dict[str, Any] = {"clusters": {ONLY: {"source": "group", **given}}}
    if args.listen:
        document["server"] = {"listen": args.listen}
    return parse(Settings, document)


def _explain(settings: Settings) -> str:
    from srv.settings import FileTable, GroupTable

    lines = ["The configuration is valid."]
    for name, cluster in settings.clusters.items():
        match cluster:
            case GroupTable():
                members = ", ".join(one.label for one in cluster.members)
                words = f"{cluster.domain}, members {members} probed as {cluster.probe_user}"
            case FileTable():
                words = f"as {cluster.path} lists"
            case _:
                etcd = settings.etcd[settings.etcd_of(cluster)]
                words = f"{cluster.domain}, from keys below {etcd.prefix} in etcd at {', '.join(etcd.endpoints)}"
        lines.append(f"cluster {name}: {words}")
    listen = ", ".join(map(str, settings.server.listen)) or "nowhere"
    lines.append(f"server: {listen}")
    if settings.server.transfer_to:
        lines.append(f"transfers: to {', '.join(settings.server.transfer_to)}")
    if settings.server.notify:
        lines.append(f"notifies: {', '.join(map(str, settings.server.notify))}")
    lines.extend(f"updates {name}: {one.zone} on {one.server}" for name, one in settings.updates.items())
    return "\n".join(lines)


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
