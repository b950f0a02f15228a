"""`fairlead router`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cluster.commands import TLS_HELP

if TYPE_CHECKING:
    from cluster.access import Access
    from router.settings import ClusterSettings, Settings

FAILED, USAGE = 1, 2


def router(parser: argparse.ArgumentParser) -> Callable[[argparse.Namespace], int]:
    """Run the routing proxy.

    Configured by a TOML file, or by flags alone: an SRV name is enough. Ports are MySQL Router's: 6446 and 6447
    classic protocol read-write and read-only, 6448 and 6449 the same for the X Protocol, 8443 HTTP.
    """
    parser.add_argument("--config", type=Path, metavar="FILE", help="TOML configuration; flags override it")
    parser.add_argument("--check", action="store_true", help="check the configuration, print what it means, and end")
    parser.add_argument("--srv", metavar="DOMAIN", help="the cluster's domain, under which _mysql._tcp is looked up")
    parser.add_argument(
        "--resolver", action="append", metavar="ADDR[:PORT]", help="DNS server to ask (repeatable); else resolv.conf's"
    )
    parser.add_argument("--probe-user", metavar="USER", help="account for health checks")
    parser.add_argument("--probe-password-file", metavar="FILE", help="its password; else $FAIRLEAD_PROBE_PASSWORD")
    parser.add_argument("--probe-tls", metavar="MODE", help=TLS_HELP)
    parser.add_argument("--probe-tls-ca", metavar="FILE", help="the authorities that health checks believe, PEM")
    parser.add_argument("--probe-tls-cert", metavar="FILE", help="their own certificate, for an account that needs one")
    parser.add_argument("--probe-tls-key", metavar="FILE", help="its key; left out if it is in the same file")
    parser.add_argument("--bind", metavar="ADDR", help="address of the four usual routes (default 127.0.0.1)")
    parser.add_argument("--admin", metavar="ADDR:PORT", help="address of the HTTP listener (default 127.0.0.1:8443)")
    parser.add_argument("--workers", type=int, metavar="N", help="processes that carry sessions (default 1)")
    parser.add_argument("--admin-anonymous-read", action="store_true", help="let everybody read the API off loopback")
    parser.add_argument(
        "--hash-password", metavar="USER", help="read a password, print USER's line of admin.users_file, and end"
    )
    parser.add_argument("--log-level", choices=["DEBUG", "INFO", "WARNING", "ERROR"], help="default INFO")
    parser.add_argument("--log-format", choices=["text", "json"], help="a line is for people, or a JSON object")
    return _run_router


def _run_router(args: argparse.Namespace) -> int:
    from router.settings import SettingsError

    if args.hash_password is not None:
        return _hash_password(args.hash_password)
    try:
        settings, accesses = _settings(args)
    except SettingsError as error:
        for line in str(error).splitlines():
            print(f"fairlead router: {line}", file=sys.stderr)
        return USAGE
    import uvloop

    from router.service import Router  # before a check ends, too: it shows that the program is whole

    if args.check:
        print(_explain(settings))
        return 0

    from router import logs

    logs.start(settings.log.level, settings.log.format, settings.log.repeats)

    async def serve() -> None:
        await Router(settings, accesses, reread=lambda: _settings(args)).run()

    try:
        uvloop.run(serve())
    except SettingsError as error:
        print(f"fairlead router: {error}", file=sys.stderr)
        return FAILED
    return 0


def _hash_password(user: str) -> int:
    import getpass

    from router.admin_access import hash_password

    if not user or ":" in user or user.startswith("#") or user != user.strip():
        print("fairlead router: a user's name must not be empty, have a colon in it, or begin with #", file=sys.stderr)
        return USAGE
    password = getpass.getpass(f"password of {user}: ") if sys.stdin.isatty() else sys.stdin.readline().rstrip("\n")
    if not password:
        print("fairlead router: the password is empty", file=sys.stderr)
        return USAGE
    print(f"{user}:{hash_password(password)}")
    return 0


def _settings(args: argparse.Namespace) -> tuple[Settings, dict[str, Access]]:
    import ipaddress

    from router.admin_doors import check_files
    from router.settings import SettingsError, default_routes, load, parse

    document: dict[str, Any] = load(args.config) if args.config else {}
    flags = {
        "srv": args.srv,
        "resolvers": args.resolver,
        "probe_user": args.probe_user,
        "probe_password_file": args.probe_password_file,
        "probe_tls": args.probe_tls,
        "probe_tls_ca": args.probe_tls_ca,
        "probe_tls_cert": args.probe_tls_cert,
        "probe_tls_key": args.probe_tls_key,
    }
    given = {key: value for key, value in flags.items() if value is not None}
    clusters = document.get("clusters", {})
    if given and isinstance(clusters, dict):
        if len(clusters) > 1:
            raise SettingsError("flags for a cluster cannot say which of several they mean; use [clusters.NAME]")
        name, chosen = next(iter(clusters.items()), ("main", {}))
        document["clusters"] = {name: {**chosen, **given}} if isinstance(chosen, dict) else clusters
    if "clusters" not in document and "routes" not in document:
        raise SettingsError("no cluster: name a configuration with --config, or the cluster's domain with --srv")
    if args.bind is not None:
        if "routes" in document:
            raise SettingsError("--bind is for the four usual routes, and the configuration has its own [routes]")
        try:
            ipaddress.ip_address(args.bind)
        except ValueError:
            raise SettingsError(f"--bind {args.bind}: must be an IP address, like 127.0.0.1 or ::1") from None
        document["routes"] = default_routes(args.bind)
    if isinstance(document.get("admin", {}), dict):
        listen = {} if args.admin is None else {"listen": args.admin}
        reading = {"anonymous_read": True} if args.admin_anonymous_read else {}
        document["admin"] = {**document.get("admin", {}), **listen, **reading}
    if args.workers is not None:
        document["workers"] = args.workers
    told = {"level": args.log_level, "format": args.log_format}
    if isinstance(document.get("log", {}), dict):
        document["log"] = {
            **document.get("log", {}),
            **{key: value for key, value in told.items() if value is not None},
        }
    settings = parse(document)
    check_files(settings.admin)
    try:
        return settings, {name: _access(name, cluster) for name, cluster in settings.clusters.items()}
    except ValueError as exc:
        raise SettingsError(str(exc)) from exc


def _access(name: str, cluster: ClusterSettings) -> Access:
    from cluster.access import make_access
    from cluster.commands import read_password
    from xproto.session import Login

    key, login = f"clusters.{name}", None
    if cluster.probe_user:
        file = cluster.probe_password_file
        password = read_password(str(file) if file else None, f"{key}.probe_password_file")
        login = Login(cluster.probe_user, password)
    return make_access(
        login,
        tls=cluster.probe_tls.value if cluster.probe_tls else None,
        ca=cluster.probe_tls_ca,
        cert=cluster.probe_tls_cert,
        key=cluster.probe_tls_key,
        option=f"{key}.probe_tls",
    )


def _explain(settings: Settings) -> str:
    lines = ["The configuration is valid."]
    for name, cluster in settings.clusters.items():
        servers = ", ".join(map(str, cluster.resolvers)) or "the name servers of /etc/resolv.conf"
        probes = (
            f"probed as {cluster.probe_user}"
            if cluster.probe_user
            else "probed without an account: no roles, no routing"
        )
        if cluster.probe_user and cluster.probe_tls is not None:
            probes += f", TLS {cluster.probe_tls.value}"
        lines.append(
            f"cluster {name}: _mysql._tcp.{cluster.srv} and _mysqlx._tcp.{cluster.srv} from {servers}; {probes}"
        )
    for name, chosen in settings.routes.items():
        route, cluster_name = settings.route(name), settings.cluster_of(chosen)
        to = f"{route.leads_to} of {cluster_name}" if cluster_name else route.leads_to
        lines.append(f"route {name}: {chosen.listen}, {route.protocol.value} protocol, to {to}, {route.strategy.value}")
    lines.append(f"admin: {settings.admin.url}" if settings.admin.enabled else "admin: off")
    lines.append(f"workers: {settings.workers}")
    return "\n".join(lines)
