"""`fairlead srv agent`, and what it shares with `srv serve`. Owns arguments and words; imports the rest when run."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

from cluster.commands import PASSWORD_VARIABLE

DONE, USAGE = 0, 2
# Which flag gives which key of the configuration, so that errors speak of what was written.
ETCD_FLAGS: Mapping[str, str] = {
    "endpoints": "--etcd",
    "prefix": "--etcd-prefix",
    "user": "--etcd-user",
    "password_file": "--etcd-password-file",
    "tls_ca": "--etcd-tls-ca",
    "tls_cert": "--etcd-tls-cert",
    "tls_key": "--etcd-tls-key",
}
AGENT_FLAGS: Mapping[str, str] = {
    **{f"{before}{key}": flag for key, flag in ETCD_FLAGS.items() for before in ("", "etcd.")},
    "probe_password_file": "--probe-password-file",
    "probe_tls_ca": "--tls-ca",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Give the command its arguments."""
    parser.add_argument("--domain", required=True, help="the cluster's domain, such as orders.db.example.com")
    parser.add_argument(
        "--member",
        required=True,
        metavar="NAME=HOST[:PORT[/XPORT]]",
        help="the member as clients reach it, published as NAME.DOMAIN (default ports: 3306/33060;"
        " XPORT 0: it has no X Protocol)",
    )
    parser.add_argument(
        "--probe",
        metavar="HOST[:PORT[/XPORT]]",
        help="the member as it is reached from here (default: 127.0.0.1, with the ports of --member)",
    )
    add_probe_flags(parser)
    parser.add_argument("--weight", type=int, default=100, help="while all is well, 1 to 65535 (default: 100)")
    parser.add_argument("--priority", type=int, default=0, help="0 to 100, the lowest first (default: 0)")
    parser.add_argument("--drain", action="store_true", help="begin with the member drained")
    parser.add_argument(
        "--etcd",
        action="append",
        required=True,
        metavar="URL",
        help="an etcd endpoint, http(s)://HOST:PORT; repeatable",
    )
    parser.add_argument("--etcd-prefix", metavar="PATH", help="what keys begin with (default: /fairlead)")
    parser.add_argument("--etcd-user", metavar="USER", help="where etcd has authentication on")
    parser.add_argument("--etcd-password-file", metavar="FILE", help="its password, the first line")
    parser.add_argument("--etcd-tls-ca", metavar="FILE", help="the authority of etcd's certificates, for https")
    parser.add_argument("--etcd-tls-cert", metavar="FILE", help="our certificate, where etcd asks for one")
    parser.add_argument("--etcd-tls-key", metavar="FILE", help="its key")


def add_probe_flags(parser: argparse.ArgumentParser) -> None:
    """Arguments of whatever looks at members."""
    parser.add_argument("--probe-user", metavar="USER", help="the account to ask members with")
    parser.add_argument(
        "--probe-password-file", metavar="FILE", help=f"its password, the first line (default: ${PASSWORD_VARIABLE})"
    )
    parser.add_argument("--tls-ca", metavar="FILE", help="probe over TLS only, to members certified by these CAs")
    parser.add_argument("--interval", type=float, metavar="SECONDS", help="between looks at a member (default: 0.5)")
    parser.add_argument("--log-level", default="INFO", choices=["DEBUG", "INFO", "WARNING", "ERROR"])


def refuse(command: str, error: Exception, flags: Mapping[str, str]) -> int:
    """Say what is wrong, a line each, and return the exit status; `flags` are those that keys were given by."""
    for line in str(error).splitlines():
        key = max((key for key in flags if line.startswith(key)), key=len, default="")
        print(f"fairlead srv {command}: {flags.get(key, '')}{line.removeprefix(key)}", file=sys.stderr)
    return USAGE


def run(args: argparse.Namespace) -> int:
    """Stand beside the member until SIGTERM or SIGINT."""
    import asyncio

    import uvloop

    from srv.agent import Settings as AgentSettings
    from srv.assembly import make_agent, open_etcd, probe_access
    from srv.controller import run_until_stopped
    from srv.documents import DocumentError, parse
    from srv.leases import check_rank
    from srv.names import canonical
    from srv.publication import parse_known
    from srv.settings import EtcdTable

    of_etcd = {key: getattr(args, flag.strip("-").replace("-", "_")) for key, flag in ETCD_FLAGS.items()}
    interval = 0.5 if args.interval is None else args.interval
    try:
        table = parse(EtcdTable, {key: value for key, value in of_etcd.items() if value is not None})
        if not args.probe_user:
            raise DocumentError("--probe-user: is missing")
        if not 0.01 <= interval <= 60:
            raise DocumentError(f"--interval {interval:g}: wanted 0.01 to 60 seconds")
        check_rank(args.weight, args.priority)
        member = parse_known(args.member)
        ports = f":{member.classic_port}/{member.x_port or 0}"
        probe = parse_known(f"{member.label}={args.probe or '127.0.0.1' + ports}")
        domain = canonical(args.domain)
        settings = AgentSettings(
            domain, member, probe.member(domain), table.prefix, args.weight, args.priority, args.drain
        )
        password_file = Path(args.probe_password_file) if args.probe_password_file else None
        ca_file = Path(args.tls_ca) if args.tls_ca else None
        access = probe_access("", args.probe_user, password_file, None, ca_file, option="probe_tls")
        agent = make_agent(settings, open_etcd("etcd", table), access, interval)
    except (DocumentError, ValueError) as exc:
        return refuse("agent", exc, AGENT_FLAGS)

    async def stand() -> None:
        loop = asyncio.get_running_loop()
        for number, draining in ((signal.SIGUSR1, True), (signal.SIGUSR2, False)):
            loop.add_signal_handler(number, agent.drain, draining)
        signalled = await run_until_stopped(agent)
        if signalled:
            logging.getLogger("fairlead.srv").info("stopped signal=%s", signalled.name)

    uvloop.run(stand())
    return DONE
