"""From settings to what runs: sources, publishers, an agent. Reads secrets; must not know arguments."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from cluster.access import Access, make_access
from cluster.commands import read_password
from cluster.evidence import Policy
from cluster.watch import Timing, Watch
from srv import agent, leaseholders, listed, probed
from srv.agent import Agent
from srv.controller import Controller
from srv.documents import DocumentError
from srv.etcd import Etcd, Login
from srv.hosts import Hosts
from srv.leased import LeasedClusters
from srv.listed import ListedClusters
from srv.policies import max_age_of
from srv.probed import ProbedGroup
from srv.publisher import Publisher
from srv.server import Server
from srv.settings import EtcdTable, FileTable, GroupTable, LeasedTable, Settings, UpdatesTable
from srv.source import Source
from srv.update_settings import UpdateSettings, read_secret
from srv.updates import UpdatePublisher
from xproto.session import Login as MemberLogin
from xproto.tls import TlsMode, make_context

log = logging.getLogger("fairlead.srv")

# Members are nudged for notices so often in a second, all groups together: a tenth of a core. Beyond ten groups their
# notices come later, and beyond a few hundred with the next look.
NUDGES = 500


def assemble(settings: Settings) -> Controller:
    """A controller with everything that the settings name.

    Raises:
        DocumentError: a password or certificate cannot be read.
    """
    hosts = Hosts()
    groups = sum(isinstance(cluster, GroupTable) for cluster in settings.clusters.values())
    sources: list[Source] = []
    leased: dict[str, list[LeasedTable]] = {}
    for name, cluster in settings.clusters.items():
        match cluster:
            case GroupTable():
                sources.append(_group(f"clusters.{name}", cluster, groups, hosts))
            case FileTable():
                sources.append(ListedClusters(cluster.path, locate=hosts.locate))
            case LeasedTable():
                leased.setdefault(settings.etcd_of(cluster), []).append(cluster)
    for name, clusters in leased.items():
        table = settings.etcd[name]
        wanted = [
            leaseholders.Settings(one.domain, one.ttl, one.keep_roles, one.judging(leaseholders.MAX_AGE))
            for one in clusters
        ]
        sources.append(LeasedClusters(open_etcd(f"etcd.{name}", table), table.prefix, wanted))
    listen = [(endpoint.host, endpoint.port) for endpoint in settings.server.listen]
    publishers: list[Publisher] = []
    if listen:
        notify = [(endpoint.host, endpoint.port) for endpoint in settings.server.notify]
        publishers.append(Server(listen, transfer_to=settings.server.transfer_to, notify=notify))
    publishers.extend(_updater(f"updates.{name}", table) for name, table in settings.updates.items())
    return Controller(sources, publishers, nameserver_addresses=tuple(host for host, _ in listen))


def check_files(settings: Settings) -> None:
    """See that the files that are watched can be used now; later on what was read last would stay.

    Raises:
        DocumentError: one cannot.
    """
    for name, cluster in settings.clusters.items():
        if isinstance(cluster, FileTable):
            try:
                listed.check(cluster.path)
            except DocumentError as exc:
                raise DocumentError(f"clusters.{name}.path: {exc}") from exc


def open_etcd(key: str, table: EtcdTable) -> Etcd:
    """A client for an etcd.

    Args:
        key: the table's, for errors.
        table: where and how.

    Raises:
        DocumentError: a password or certificate cannot be read.
    """
    login: Login | None = None
    context: ssl.SSLContext | None = None
    with _named(key):
        if table.user:
            file = str(table.password_file)
            login = Login(table.user, read_password(file, "password_file"))
            if not table.tls_ca:
                log.warning(
                    "etcd-in-clear table=%s reason='the password of user %s goes over http://: use https'",
                    key,
                    table.user,
                )
        if table.tls_ca:
            context = make_context(
                TlsMode.VERIFY_IDENTITY,
                ca_file=table.tls_ca,
                cert_file=table.tls_cert,
                key_file=table.tls_key,
                option="_tls",
            )
    return Etcd(table.endpoints, login=login, ssl_context=context)


def probe_access(
    key: str, user: str, password_file: Path | None, mode: TlsMode | None, ca_file: Path | None, *, option: str
) -> Access:
    """How probes get in.

    Args:
        key: the table's, for errors.
        user: the account.
        password_file: see `read_password`.
        mode: None for the default that goes with the file.
        ca_file: the authority of the members' certificates.
        option: how the mode's option is called.

    Raises:
        DocumentError: a password or certificate cannot be read.
    """
    with _named(key):
        login = MemberLogin(user, read_password(str(password_file) if password_file else None, "probe_password_file"))
        return make_access(login, tls=mode.value if mode else None, ca=ca_file, option=option)


def make_agent(settings: agent.Settings, etcd: Etcd, access: Access, interval: float) -> Agent:
    """An agent that looks every so many seconds."""
    timing = Timing(poll=interval)
    max_age = max_age_of(timing.timeout, interval)
    watch = Watch(access, timing=timing, policy=Policy(max_age=max_age))
    return Agent(replace(settings, tell_within=max_age), etcd, watch, locate=Hosts().locate)


def _updater(key: str, table: UpdatesTable) -> UpdatePublisher:
    try:
        read_secret(table.key_file)  # again when it starts; here so that a check of the configuration tells
    except ValueError as exc:
        raise DocumentError(f"{key}.key_file: {exc}") from exc
    server = (table.server.host, table.server.port)
    return UpdatePublisher(UpdateSettings(server, table.zone, table.key_name, table.key_file, table.key_algorithm))


def group_timing(groups: int, interval: float) -> Timing:
    """When to look at one of so many groups, every so many seconds while all is calm."""
    return Timing(poll=interval, notice_interval=max(Timing().notice_interval, groups / NUDGES))


def _group(key: str, table: GroupTable, groups: int, hosts: Hosts) -> ProbedGroup:
    access = probe_access(
        key, table.probe_user, table.probe_password_file, table.probe_tls, table.probe_tls_ca, option="probe_tls"
    )
    timing = group_timing(groups, table.interval)
    settings = probed.Settings(table.domain, table.members, table.ttl, table.adopt, table.keep_roles)
    policy = table.judging(max_age_of(timing.timeout, table.interval))
    return ProbedGroup(settings, Watch(access, timing=timing, policy=policy), locate=hosts.locate)


@contextmanager
def _named(key: str) -> Iterator[None]:
    """Put the table's key before an error of one of its files."""
    try:
        yield
    except ValueError as exc:
        raise DocumentError(f"{key}.{str(exc).removeprefix('_')}".removeprefix(".")) from exc
