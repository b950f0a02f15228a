"""`fairlead probe`: one member asked once, as a command for people and for health checks."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cluster.observations import Channel, GaleraNode, Observation, Replication, Report

HEALTHY, UNHEALTHY, CANNOT_TELL = 0, 1, 2
TLS_HELP = (
    "disabled, preferred, required, verify-ca or verify-identity: MySQL's own modes (default preferred, or verify-ca"
    " where an authority is given)"
)
PASSWORD_VARIABLE = "FAIRLEAD_PROBE_PASSWORD"  # noqa: S105 - the variable's name


def read_password(file: str | None, option: str = "--password-file") -> str:
    """The probe account's password: a file's first line, or else the environment's.

    Args:
        file: where it is, if anywhere.
        option: what names the file, for the error's words.

    Raises:
        ValueError: neither is there; the message says what to do.
    """
    if file is not None:
        try:
            password = Path(file).read_text(encoding="utf-8").partition("\n")[0].rstrip("\r")
        except (OSError, UnicodeDecodeError) as exc:
            raise ValueError(f"{option} {file}: {getattr(exc, 'strerror', None) or exc}") from exc
        if not password or "\0" in password:
            raise ValueError(f"{option} {file}: its first line must be the password")
        return password
    if PASSWORD_VARIABLE in os.environ:
        return os.environ[PASSWORD_VARIABLE]
    raise ValueError(f"no password: name a file with {option}, or set {PASSWORD_VARIABLE}")


def probe(parser: argparse.ArgumentParser) -> Callable[[argparse.Namespace], int]:
    """Ask one MySQL or MariaDB server how it is, over the X Protocol or, with --classic, over the classic one.

    Exit status 0: healthy; 1: not healthy; 2: cannot tell.
    """
    parser.add_argument(
        "address", metavar="HOST[:PORT]", help="the server's address; default port 33060, with --classic 3306"
    )
    parser.add_argument("--classic", action="store_true", help="ask over the classic protocol, as MariaDB must be")
    parser.add_argument("--user", help="account to ask with; without one only a sign of life can be told")
    parser.add_argument("--password-file", metavar="FILE", help=f"its password; else ${PASSWORD_VARIABLE}")
    parser.add_argument("--tls", metavar="MODE", help=TLS_HELP)
    parser.add_argument(
        "--tls-ca", metavar="FILE", help="the authorities to believe, PEM; needed by the last two modes"
    )
    parser.add_argument("--tls-cert", metavar="FILE", help="our own certificate, for accounts that REQUIRE one")
    parser.add_argument("--tls-key", metavar="FILE", help="its key; left out if it is in the same file")
    parser.add_argument("--timeout", type=float, default=5.0, metavar="SECONDS", help="for the whole probe (default 5)")
    parser.add_argument("--json", action="store_true", help="print a JSON document")
    return _run


def _run(args: argparse.Namespace) -> int:
    import asyncio
    import json

    from cluster.access import make_access
    from cluster.members import CLASSIC_PORT, X_PORT, Member, parse_endpoint
    from cluster.probe import make_probe
    from xproto.session import Login

    try:
        endpoint = parse_endpoint(args.address, CLASSIC_PORT if args.classic else X_PORT)
        login = Login(args.user, read_password(args.password_file)) if args.user else None
        access = make_access(login, tls=args.tls, ca=args.tls_ca, cert=args.tls_cert, key=args.tls_key)
        if not 0 < args.timeout <= 3600:
            raise ValueError(f"--timeout {args.timeout}: must be more than 0 and at most 3600 seconds")
    except ValueError as error:
        print(f"fairlead probe: {error}", file=sys.stderr)
        return CANNOT_TELL

    async def ask() -> Observation:
        classic, x = (endpoint, None) if args.classic else (None, endpoint)
        one = make_probe(Member(endpoint.host, classic, x), access, timeout=args.timeout)
        try:
            return await one.look()
        finally:
            await one.close()

    seen = asyncio.run(ask())
    status, words = verdict(seen)
    if args.json:
        print(json.dumps(describe(seen, status, words), indent=2))
    else:
        print(f"{endpoint}: {words}")
    return status


def verdict(seen: Observation) -> tuple[int, str]:
    """The exit status for an observation, and the reason in words."""
    from cluster.group_rules import has_quorum
    from cluster.members import State
    from cluster.observations import Outcome

    report = seen.report
    if report is None:
        cannot_tell = seen.outcome in {
            Outcome.ALIVE,
            Outcome.DENIED,
            Outcome.LOCKED,
            Outcome.TLS,
            Outcome.TOO_MANY,
        }
        return (CANNOT_TELL if cannot_tell else UNHEALTHY), f"{seen.outcome.value}: {seen.detail}"
    if report.offline_mode:
        return UNHEALTHY, "it is in offline_mode"
    writable = "read-only" if report.read_only else "writable"
    if report.galera is not None:
        return _galera_verdict(report.galera, f"{writable}, {report.version}")
    own = report.own_row
    if own is None:
        if report.group_name:
            return UNHEALTHY, "Group Replication is configured and not running"
        if report.replication is None:  # MariaDB is asked for Galera alone
            return HEALTHY, f"server outside of Galera, {writable}, {report.version}"
        return _replication_verdict(report, report.replication, f"{writable}, MySQL {report.version}")
    words = f"{own.role.value} {own.state.value}, {writable}, MySQL {report.version}"
    if own.state is not State.ONLINE:
        return UNHEALTHY, words
    if not has_quorum(report):
        return UNHEALTHY, f"{words}; it sees no majority of its group"
    return HEALTHY, words


def _galera_verdict(node: GaleraNode, server: str) -> tuple[int, str]:
    from cluster.galera_rules import SYNCED, has_component

    words = f"Galera node, {node.state_comment}, {server}"
    if not node.primary:
        return UNHEALTHY, f"{words}; it belongs to no primary component"
    if not has_component(node):
        return UNHEALTHY, f"{words}; it is not ready for statements"
    if node.local_state != SYNCED:
        return UNHEALTHY, f"{words}; it is not Synced{' (wsrep_desync = ON)' if node.desync else ''}"
    return HEALTHY, words


def _replication_verdict(report: Report, replication: Replication, server: str) -> tuple[int, str]:
    from cluster.sources import judge_channel

    used = _channels_used(report, replication)
    stopped = [one for one in replication.channels if one not in used]
    parts = [server]
    if used:
        parts.insert(0, "replica of " + ", ".join(map(_source_of, used)))
    elif not replication.replicas:
        parts.insert(0, "standalone server")
    if replication.replicas:
        parts.insert(len(used[:1]), f"source (replicas connected: {replication.replicas})")
    parts += [f"the channel from {_source_of(one)} is stopped" for one in stopped]
    lines = [(f"channel {one.name}: " if one.name else "", judge_channel(one)) for one in used]
    wrong = [f"{name}{line.broken or line.doubt}" for name, line in lines if line.broken or line.doubt]
    if late := max((line.lag or 0.0 for _, line in lines), default=0.0):
        parts.append(f"{late:.1f} s late")
    return (UNHEALTHY if wrong else HEALTHY), "; ".join([", ".join(parts), *wrong])


def _channels_used(report: Report, replication: Replication) -> list[Channel]:
    """The channels that make it a replica: not what a promotion has left behind, stopped on a writable server."""
    from cluster.observations import Receiver

    return [
        one
        for one in replication.channels
        if report.read_only or one.receiver is not Receiver.OFF or one.applying or one.applier_error
    ]


def _source_of(channel: Channel) -> str:
    from cluster.members import Endpoint

    return str(Endpoint(channel.host, channel.port))


def describe(seen: Observation, status: int, words: str) -> dict[str, object]:
    """The observation as a JSON document."""
    report = seen.report
    document: dict[str, object] = {
        "address": str(seen.member.x or seen.member.classic),
        "verdict": {HEALTHY: "healthy", UNHEALTHY: "unhealthy", CANNOT_TELL: "cannot tell"}[status],
        "reason": words,
        "outcome": seen.outcome.value,
    }
    if report is not None:
        document["server"] = {
            "uuid": report.uuid,
            "version": report.version,
            "read_only": report.read_only,
            "offline_mode": report.offline_mode,
            "transactions_queued": report.queued,
        }
        if report.galera is not None:
            document["galera"] = {
                "state_uuid": report.galera.state_uuid,
                "configuration": report.galera.conf_id,
                "primary": report.galera.primary,
                "connected": report.galera.connected,
                "ready": report.galera.ready,
                "state": report.galera.state_comment,
                "desync": report.galera.desync,
                "size": report.galera.size,
                "addresses": list(report.galera.addresses),
            }
        if report.replication is not None:
            document["replication"] = _describe_replication(report, report.replication)
        document["group"] = {
            "name": report.group_name,
            "view": f"{report.view_id.prefix}:{report.view_id.counter}" if report.view_id else None,
            "members": [
                {
                    "uuid": row.uuid,
                    "host": row.host,
                    "port": row.port,
                    "role": row.role.value,
                    "state": row.state.value,
                    "version": row.version,
                }
                for row in report.rows
            ],
        }
    return document


def _describe_replication(report: Report, replication: Replication) -> dict[str, object]:
    roles = ["replica"] if _channels_used(report, replication) else []
    roles += ["source"] if replication.replicas else []
    semi_sync = replication.semi_sync
    return {
        "roles": roles or ["standalone"],
        "replicas_connected": replication.replicas,
        "gtid_executed": None if replication.executed is None else str(replication.executed),
        "semi_sync": {
            "source": semi_sync.wanted,
            "active": semi_sync.active,
            "replicas": semi_sync.replicas,
            "acknowledges": semi_sync.acknowledges,
        }
        if semi_sync
        else None,
        "channels": [
            {
                "name": one.name,
                "source": _source_of(one),
                "source_uuid": one.source_uuid or None,
                "receiver": one.receiver.value,
                "receiver_error": one.receiver_error or None,
                "applying": one.applying,
                "applier_error": one.applier_error or None,
                "transactions_waiting": one.waiting,
                "seconds_late": one.lag,
                "seconds_silent": one.silent,
            }
            for one in replication.channels
        ],
    }
